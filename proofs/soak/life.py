"""One life of the soaked database, from an open to the close or the crash.

Each operation is done to the database and to the model of it, and what it answers is compared.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from proofs.lives import Life, Say, Wrong, disk_bytes
from proofs.model import comparison
from proofs.model.settings import create, settings_of
from proofs.model.writes import INDEXES, UPLOADS, VECTOR_NAMES, perform
from proofs.soak.reads import READS
from proofs.soak.world import SCRATCH, Step, World
from vecdb import VecDB
from vecdb.engine.repair.check import check_database
from vecdb.engine.write import checkpoint
from vecdb.errors import PlaceTakenError

READ_EVERY = 300
"""Operations between two questions to the reader."""
SEGMENTS = 12
SPACE = 16 << 20
"""Bytes of segments of a collection of at most a thousand small points."""
DESCRIPTORS = 14
"""Of a segment with several vectors."""


@dataclass(frozen=True)
class Plan:
    """What is drawn for a life."""

    number: int
    first: int
    count: int
    """Of operations."""
    sync: Any
    memory_limit: int
    """Of the memory segment."""
    budget: str | None
    """``memory_limit`` of the database."""
    end: str
    """``close``, ``crash``, or ``torn``: a crash while the last operation was being written."""
    reader: bool
    """Another process reads along."""


def draw_plan(seed: int, number: int, first: int, count: int) -> Plan:
    rng = Random(f"{seed}/life {number}")
    return Plan(
        number=number,
        first=first,
        count=count,
        sync=rng.choice(("always", "interval", "never")),
        memory_limit=rng.choice((64 << 10, 512 << 10, 64 << 20)),
        budget=Random(f"{seed}/budget {number}").choice((None, None, "32MiB", "1GiB")),
        end=rng.choice(("close", "crash", "torn")) if count else "close",
        reader=count > 0 and rng.random() < 0.5,
    )


class Soak:
    """The database of one life, and its model."""

    def __init__(self, db: VecDB, world: World) -> None:
        self.db = db
        self.world = world
        self.comparisons = 0

    def same(self, what: str, problem: str | None) -> None:
        """A comparison was made."""
        self.comparisons += 1
        if problem:
            raise Wrong(f"{what}: {problem}")

    def equal(self, what: str, found: Any, wanted: Any) -> None:
        self.same(what, None if found == wanted else f"{found!r}, not {wanted!r}")

    def bounded(self) -> None:
        """Segments, descriptors and space are few, whatever came before."""
        segments = 0
        for name in self.world.kept:
            collection = self.db.collection(name)
            files = [s for s in collection.info().segments if s.kind == "file"]
            segments += len(files)
            if len(files) > SEGMENTS:
                raise Wrong(f"{name}: {len(files)} segments")
            store = collection._store
            with store.maintenance:  # nothing is half written
                # What a build writes or has replaced stands there, too, and it may end meanwhile.
                quiet = not store.building
                names = os.listdir(store.segments_path)
                quiet = quiet and not store.building
                size = disk_bytes(store.segments_path)
                listed = len(store.files)
            if quiet and len(names) > listed:
                raise Wrong(f"{name}: {len(names)} directories of {listed} segments")
            if size > SPACE:
                raise Wrong(f"{name}: {size} bytes of segments")
        descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        if descriptors > 100 + DESCRIPTORS * segments:
            raise Wrong(f"{descriptors} descriptors for {segments} segments")

    def compare_all(self, rng: Random) -> None:
        """Everything of every collection."""
        self.bounded()
        self.equal("damaged", self.db.damaged, {})
        self.names()
        for name in self.world.kept:
            self.compare(name, rng)

    def compare(self, name: str, rng: Random) -> None:
        """Everything of one collection."""
        kept, collection = self.world.kept[name], self.db.collection(name)
        self.same(name, comparison.difference(collection, kept.oracle, kept.pool, rng))
        self.configured(name)

    def names(self) -> None:
        found = [c.name for c in self.db.get_collections().collections]
        self.equal("collections", found, sorted(self.world.kept))

    def configured(self, name: str) -> None:
        info, kept = self.db.get_collection(name), self.world.kept[name]
        vectors = sum(len(point.vectors) for point in kept.oracle.points.values())
        self.equal(f"{name}: vectors_count", info.vectors_count, vectors)
        self.equal(f"{name}: points_count", info.points_count, len(kept.oracle.points))
        self.equal(f"{name}: settings", settings_of(info.config), kept.settings)
        self.equal(f"{name}: optimizer_status", info.optimizer_status, "ok")
        self.equal(f"{name}: damaged files", info.damaged_files, [])

    def do(self, step: Step) -> None:
        """One operation and what of it can be compared at little cost."""
        if step.write is not None:
            perform(self.db.collection(step.name), step.write)
            ids = self.world.take(step)
            collection, oracle = self.db.collection(step.name), self.world.kept[step.name].oracle
            self.same(step.name, comparison.retrieved(collection, oracle, ids[:3]))
        elif step.verb in READS:
            kept, collection = self.world.kept[step.name], self.db.collection(step.name)
            rng = Random(f"{self.world.seed}/{step.number}/read")
            self.same(step.name, READS[step.verb](collection, kept, rng))
        else:
            self._keep_up(step)

    def _keep_up(self, step: Step) -> None:
        db, name = self.db, step.name
        match step.verb:
            case "get_collections":
                self.names()
            case "collection_exists":
                for candidate in (name, SCRATCH, "other"):
                    exists = candidate in self.world.kept
                    self.equal(candidate, db.collection_exists(candidate), exists)
            case "get_collection":
                self.configured(name)
            case "flush":
                db.flush(name)
            case "run_once":
                db.optimizer.run_once()
            case "wait_for_optimizer":
                self.equal("wait_for_optimizer", db.wait_for_optimizer(name), True)
            case "compare":
                self.compare(name, Random(step.number))
            case "update_collection":
                db.update_collection(name, **step.settings)
            case "create_collection":
                create(db, name, step.vectors, step.settings)
            case "recreate_collection":
                create(db, name, step.vectors, step.settings, again=True)
            case "delete_collection":
                self.equal("delete_collection", db.delete_collection(name), True)
            case "check":
                report = db.check()
                self.same("check", None if report.ok else f"{report.problems}")
            case "create_snapshot":
                db.create_snapshot(name)
            case "create_full_snapshot":
                db.create_full_snapshot()
            case "list_snapshots":
                wanted = len(self.world.snapshots.get(name, []))
                listed = [snapshot.name for snapshot in db.list_snapshots(name)]
                files = [db.snapshot_path(name, each).name for each in listed]
                self.equal(f"snapshots of {name}", (len(listed), files), (wanted, listed))
            case "list_full_snapshots":
                wanted = len(self.world.full_snapshots)
                self.equal("full snapshots", len(db.list_full_snapshots()), wanted)
            case "delete_snapshot":
                deleted = db.delete_snapshot(name, db.list_snapshots(name)[step.position].name)
                self.equal("delete_snapshot", deleted, True)
            case "delete_full_snapshot":
                deleted = db.delete_full_snapshot(db.list_full_snapshots()[step.position].name)
                self.equal("delete_full_snapshot", deleted, True)
            case "recover_snapshot":
                db.recover_snapshot(name, self._source(name, step.position))
            case "taken":
                self._taken(name)
            case _:
                raise AssertionError(step.verb)
        self.world.take(step)
        if step.verb in ("create_collection", "recreate_collection", "recover_snapshot"):
            self.compare(name, Random(step.number))

    def _taken(self, name: str) -> None:
        """The database's directory is moved, which does no harm; then a copy stands in its place,
        which nothing may change; then it comes back."""
        db, path = self.db, Path(self.db.path)
        moved = path.with_name("moved")
        path.rename(moved)
        db.flush(name)
        self.compare(name, Random(0))
        with suppress(shutil.Error):  # the optimizer removes what is being copied
            shutil.copytree(moved, path, ignore=shutil.ignore_patterns("snapshots"))
        before = _contents(path)
        for change in (
            lambda: db.delete(name, [1]),
            lambda: db.create_snapshot(name),
            lambda: db.create_collection("another", {"size": 2, "distance": "Dot"}),
        ):
            try:
                change()
            except PlaceTakenError:
                continue
            raise Wrong(f"a write while another database stands at {path}")
        db.flush(name)
        db.optimizer.run_once()
        self.equal("the files of another database", _contents(path), before)
        shutil.rmtree(path)
        moved.rename(path)

    def _source(self, name: str, position: int) -> str:
        """The name of the snapshot at a position in ``World.sources``."""
        own = [snapshot.name for snapshot in self.db.list_snapshots(name)]
        full = [
            snapshot.name
            for snapshot, held in zip(
                self.db.list_full_snapshots(), self.world.full_snapshots, strict=True
            )
            if name in held
        ]
        return [*own, *full][position]


# -- the process -------------------------------------------------------------------------------


def live(path: Path, world: World, plan: Plan, done: Any, say: Say) -> None:
    """The whole life. ``done[0]`` is shared with the parent: the number of the operation."""
    checkpoint.MEMORY_LIMIT = plan.memory_limit
    if (path / "FORMAT").is_file():
        _require_sound(path, "before opening")
    counts: Counter[str] = Counter()
    with Reader(path, world, plan) as reader:
        started = time.perf_counter()
        options: Any = {"memory_limit": plan.budget, "on_over_budget": "demote"}
        db = VecDB(path, sync=plan.sync, sync_interval=0.01, **options)
        seconds = time.perf_counter() - started
        soak = Soak(db, world)
        if plan.number == 0:
            for name, kept in world.kept.items():
                create(db, name, kept.vectors, kept.settings)
        recovered = [db.collection(name).recovery for name in world.kept]
        soak.compare_all(Random(plan.first))
        for number in range(plan.first, plan.first + plan.count):
            done[0] = number
            step = world.draw(number)
            last = number == plan.first + plan.count - 1
            if last and plan.end == "torn":
                say(tail=_tail(path, step))
            soak.do(step)
            counts[step.verb] += 1
            if number % READ_EVERY == 0:
                soak.bounded()
            if not last and number % READ_EVERY == 0:
                soak.same("reader", reader.ask(number + 1))
        say(
            verbs=counts,
            comparisons=soak.comparisons,
            readings=reader.readings,
            seconds=seconds,
            replayed=sum(report.replayed for report in recovered),
            torn=sum(report.torn_bytes > 0 for report in recovered),
            indexed=sum(comparison.indexed_segments(db, name) for name in world.kept),
        )
        if plan.end != "close":
            os.kill(os.getpid(), signal.SIGKILL)
        db.close()
    _require_sound(path, "after close")


def _contents(path: Path) -> dict[str, bytes | None]:
    """Every file of a directory, with its content; None: a directory."""
    return {
        str(found.relative_to(path)): found.read_bytes() if found.is_file() else None
        for found in sorted(path.rglob("*"))
    }


def _require_sound(path: Path, when: str) -> None:
    report = check_database(path)
    if not report.ok:
        raise Wrong(f"check {when}: {report.problems}")


def _tail(path: Path, step: Step) -> list[Any] | None:
    """The newest log file that the step will be written to, and its length; None for a step that
    is no one write."""
    if step.write is None or step.verb in {**UPLOADS, **INDEXES, **VECTOR_NAMES}:
        return None
    newest = max((path / "collections" / step.name / "wal").glob("*.wal"))
    return [str(newest.relative_to(path)), newest.stat().st_size]


class Reader:
    """Another process that has the database open for reading, and takes the same steps on its own
    copy of the model. Forked before the database is opened."""

    def __init__(self, path: Path, world: World, plan: Plan) -> None:
        self.readings = 0
        self._life: Life | None = None
        if plan.reader:
            questions, self._questions = os.pipe()
            self._life = Life(lambda say: self._read(path, world, plan, questions, say))
            os.close(questions)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *args: object) -> None:
        if self._life is not None:
            os.close(self._questions)
            self._life.listen()
            self._life.__exit__()

    def ask(self, number: int) -> str | None:
        """Let it compare one collection, all operations before ``number`` done."""
        if self._life is None:
            return None
        os.write(self._questions, b"%d\n" % number)
        self.readings += 1
        for answer in self._life.hear():
            problem: str | None = answer["problem"]
            return problem
        return "it died" if self._life.over else self._life.hang()

    def _read(self, path: Path, world: World, plan: Plan, questions: int, say: Say) -> None:
        os.close(self._questions)
        number, db = plan.first, None
        with os.fdopen(questions) as lines:
            for line in lines:  # ends when the writer closes the pipe, or dies
                if db is None:
                    db = VecDB(path, read_only=True)
                world.follow(range(number, int(line)))
                number = int(line)
                db.refresh()
                rng = Random(number)
                soak = Soak(db, world)
                try:
                    soak.names()
                    soak.compare(rng.choice(list(world.kept)), rng)
                except Wrong as wrong:
                    say(problem=str(wrong))
                else:
                    say(problem=None)
