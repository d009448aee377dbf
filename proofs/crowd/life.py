"""One life of the crowd: a process with many handles, to its close or its crash.

Each operation is done to the databases and to the model of them, and what it answers is compared.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from proofs.crowd.indexing import indexing
from proofs.crowd.world import DONE, REFUSED, SAMPLE_EVERY, Database, Handle, Step, World
from proofs.lives import Say, Wrong, answer, disk_bytes
from proofs.model import by_examples, by_payload, by_prefetch, comparison
from proofs.model.settings import create
from proofs.model.writes import perform
from vecdb import VecDB
from vecdb.engine.repair.check import check_database
from vecdb.engine.write import checkpoint
from vecdb.errors import ForkError, LockedError, PlaceTakenError, VecdbError


@dataclass(frozen=True)
class Plan:
    """What is drawn for a life."""

    first: int
    count: int
    """Of operations."""
    memory_limit: int
    crash: bool
    """It ends by SIGKILL, else all handles are closed."""


def draw_plan(seed: int, first: int, count: int) -> Plan:
    rng = Random(f"{seed}/life {first}")
    return Plan(first, count, rng.choice((32 << 10, 256 << 10, 64 << 20)), rng.random() < 0.5)


class Crowd:
    """The handles of one life, and the model."""

    def __init__(self, root: Path, world: World) -> None:
        self.root = root
        self.world = world
        self.open: dict[int, VecDB] = {}
        self.comparisons = 0
        self.refused: Counter[str] = Counter()

    # -- one operation ---------------------------------------------------------------------

    def do(self, step: Step) -> str:
        """Do it, here and in the model; whether it was done or refused."""
        work: Callable[[Step], None] = getattr(self, f"_{step.verb}")
        try:
            work(step)
            outcome = DONE
        except (VecdbError, OSError) as error:
            outcome = REFUSED
            self._expected(step, error)
        ids = self.world.take(step, outcome)
        if step.verb == "write" and outcome == DONE:
            handle = self.world.handles[step.handle]
            kept = handle.database.kept[step.name]
            collection = self.open[step.handle].collection(step.name)
            self.same(step, comparison.retrieved(collection, kept.oracle, ids[:3]))
        return outcome

    def _expected(self, step: Step, error: Exception) -> None:
        """Only a handle whose database is gone from its place may be refused; and what is locked
        may not be opened."""
        self.refused[f"{step.verb}: {type(error).__name__}"] += 1
        if step.verb in ("open", "copy"):
            database = self.world.at(step.source)
            assert database is not None
            if isinstance(error, LockedError) and self.world.is_locked(database):
                return
        handle = self.world.handles.get(step.handle)
        if handle is not None and (handle.displaced or handle.lost):
            return
        raise Wrong(f"operation {step.number}: {step}: {type(error).__name__}: {error}")

    def same(self, step: Step, problem: str | None) -> None:
        """A comparison was made."""
        self.comparisons += 1
        if problem:
            raise Wrong(f"operation {step.number}: {step}: {problem}")

    # -- by a handle -----------------------------------------------------------------------

    def _write(self, step: Step) -> None:
        assert step.write is not None
        perform(self.open[step.handle].collection(step.name), step.write)
        if self.world.handles[step.handle].database.place is None:
            raise Wrong(f"operation {step.number}: acknowledged by a removed database: {step}")

    def _read(self, step: Step) -> None:
        kept, rng = self._kept(step.handle)[step.name], Random(step.number)
        collection = self.open[step.handle].collection(step.name)
        problem = comparison.retrieved(collection, kept.oracle, kept.pool.some(rng, 10))
        if not problem:
            problem = comparison.searched(collection, kept.oracle, kept.pool, rng)
        if not problem:
            asked = (
                *(by_payload.ordered, by_payload.faceted, by_payload.grouped),
                *(by_examples.fitting, by_examples.paired, by_prefetch.computed, by_prefetch.near),
            )
            problem = rng.choice(asked)(collection, kept.oracle, kept.pool, rng)
        self.same(step, problem)

    def _compare(self, step: Step) -> None:
        kept = self._kept(step.handle)[step.name]
        collection = self.open[step.handle].collection(step.name)
        rng = Random(step.number)
        self.same(step, comparison.difference(collection, kept.oracle, kept.pool, rng))

    def _kept(self, number: int) -> dict[str, Any]:
        handle = self.world.handles[number]
        return handle.seen if handle.reading else handle.database.kept

    def _flush(self, step: Step) -> None:
        self.open[step.handle].flush(step.name)

    def _optimize(self, step: Step) -> None:
        self.open[step.handle].optimizer.run_once()

    def _snapshot(self, step: Step) -> None:
        db = self.open[step.handle]
        for old in db.list_full_snapshots():
            db.delete_full_snapshot(old.name)
        db.create_full_snapshot()

    def _create_collection(self, step: Step) -> None:
        create(self.open[step.handle], step.name, step.vectors, step.settings)

    def _delete_collection(self, step: Step) -> None:
        self.open[step.handle].delete_collection(step.name)

    def _refresh(self, step: Step) -> None:
        handle, db = self.world.handles[step.handle], self.open[step.handle]
        db.refresh()
        standing = self.world.at(handle.place)
        if standing is None:
            raise Wrong(f"operation {step.number}: refreshed from nothing at {handle.place}")
        self._names(step, db, standing)

    def _close(self, step: Step) -> None:
        self._closed(step.handle, self.open.pop(step.handle))

    def _close_while_indexing(self, step: Step) -> None:
        """The index is kept, whether or not all segments have got their columns."""
        assert step.write is not None
        db = self.open.pop(step.handle)
        with indexing(db.collection(step.name), step.write):
            self._closed(step.handle, db)

    def _closed(self, number: int, db: VecDB) -> None:
        """It may say that its place was taken, if it was; it is closed all the same."""
        handle: Handle = self.world.handles[number]
        try:
            db.close()
        except PlaceTakenError:
            if not (handle.displaced or handle.lost):
                raise

    def _forget(self, step: Step) -> None:
        """Nobody closes it, and nobody refers to it: it is closed, as if it had been."""
        del self.open[step.handle]

    def _names(self, step: Step, db: VecDB, database: Database) -> None:
        found = [each.name for each in db.get_collections().collections]
        wanted = sorted(database.kept)
        self.same(step, None if found == wanted else f"collections {found}, not {wanted}")
        self.same(step, f"damaged: {db.damaged}" if db.damaged else None)

    # -- on places -------------------------------------------------------------------------

    def _open(self, step: Step) -> None:
        self._opened(step, read_only=False)

    def _open_reader(self, step: Step) -> None:
        self._opened(step, read_only=True)

    def _opened(self, step: Step, *, read_only: bool) -> None:
        sync: Any = Random(step.number).choice(("always", "interval", "never", "never"))
        limit = Random(f"limit {step.number}").choice((None, "32MiB"))
        options: Any = {"memory_limit": limit, "on_over_budget": "demote", "read_only": read_only}
        db = VecDB(self.root / step.source, sync=sync, sync_interval=0.05, **options)
        self.open[step.number] = db
        database = self.world.at(step.source)
        assert database is not None
        self._names(step, db, database)

    def _make(self, step: Step) -> None:
        VecDB(self.root / step.target).close()

    def _move(self, step: Step) -> None:
        os.rename(self.root / step.source, self.root / step.target)

    def _copy(self, step: Step) -> None:
        """By hand, as ``cp -r``: with nobody writing, as the documentation asks for."""
        database = self.world.at(step.source)
        assert database is not None
        if self.world.is_locked(database):
            raise LockedError("has a writer")
        shutil.copytree(self.root / step.source, self.root / step.target)

    def _remove(self, step: Step) -> None:
        path = self.root / step.source
        while path.exists():  # an optimizer may add and remove files meanwhile
            shutil.rmtree(path, ignore_errors=True)

    def _fork(self, step: Step) -> None:
        """A child may use none of its parent's handles, and opens its own."""
        database = self.world.at(step.source)
        assert database is not None

        def child() -> dict[str, Any]:
            for db in self.open.values():
                try:
                    db.get_collections()
                except ForkError:
                    continue
                return {"problem": f"a fork used {db!r}"}
            with VecDB(self.root / step.source, read_only=True) as db:
                for name, kept in database.kept.items():
                    rng = Random(step.number)
                    problem = comparison.difference(
                        db.collection(name), kept.oracle, kept.pool, rng
                    )
                    if problem:
                        return {"problem": f"{name}: {problem}"}
            return {"problem": None}

        self.same(step, answer(child)["problem"])

    # -- all of it -------------------------------------------------------------------------

    def compare_all(self, first: int) -> None:
        """Everything of every database that stands, read by a handle of its own."""
        for database in self.world.standing():
            assert database.place is not None
            with VecDB(self.root / database.place, read_only=True) as db:
                step = Step(first, f"compare all of {database.place}")
                self._names(step, db, database)
                for name, kept in database.kept.items():
                    problem = comparison.difference(
                        db.collection(name), kept.oracle, kept.pool, Random(first)
                    )
                    self.same(step, problem and f"{name}: {problem}")

    def close_all(self) -> None:
        """At the end of the life."""
        for number, db in self.open.items():
            self._closed(number, db)
        self.open.clear()

    def holdings(self) -> dict[str, float]:
        """What the process holds, and the disk: MB, and how many there are."""
        gc.collect()
        collections = segments = 0
        for number, db in self.open.items():
            handle = self.world.handles[number]
            if not (handle.displaced or handle.lost):
                for name in self._kept(number):
                    collections += 1
                    segments += len(db.get_collection(name).segments)
        standing = self.world.standing()
        paths = [self.root / each.place for each in standing if each.place]
        return {
            "handles": len(self.open),
            "collections": collections,
            "segments": segments,
            "descriptors": len(os.listdir("/proc/self/fd")),
            "private_mb": _private_bytes() / 1e6,
            "disk_mb": sum(map(disk_bytes, paths)) / 1e6,
            "stored": sum(len(each.kept) for each in standing),
        }


def _private_bytes() -> int:
    """Anonymous memory of this process that it shares with nobody."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_Dirty:"))


def live(root: Path, world: World, plan: Plan, done: Any, say: Say) -> None:
    """The whole life. ``done[0]`` is shared with the parent: the number of the operation."""
    checkpoint.MEMORY_LIMIT = plan.memory_limit
    for database in world.standing():
        _require_sound(root, database, "before opening")
    crowd = Crowd(root, world)
    crowd.compare_all(plan.first)
    before = crowd.holdings()
    verbs: Counter[str] = Counter()
    for number in range(plan.first, plan.first + plan.count):
        done[0] = number
        step = world.draw(number)
        outcome = crowd.do(step)
        verbs[step.verb] += 1
        say(outcome=outcome)
        if number % SAMPLE_EVERY == 0:
            say(sample={"operation": number, **crowd.holdings()})
    say(
        verbs=verbs,
        refused=crowd.refused,
        comparisons=crowd.comparisons,
    )
    if plan.crash:
        os.kill(os.getpid(), signal.SIGKILL)
    crowd.close_all()
    for database in world.standing():
        _require_sound(root, database, "after close")
    say(before=before, after=crowd.holdings())


def _require_sound(root: Path, database: Database, when: str) -> None:
    assert database.place is not None
    report = check_database(root / database.place)
    if not report.ok:
        raise Wrong(f"check of {database.place} {when}: {report.problems}")
