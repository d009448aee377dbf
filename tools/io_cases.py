"""One case of ``io_errors.py``: a workload under a fault, and what must be true afterwards.

While the fault is there and after it: a step that returned is there, one that raised has no
effect that is seen; after an error of unknown outcome nothing is acknowledged until the next
open. After reopening: all that was acknowledged, what raised wholly or not at all, nothing left
over, ``check`` clean, and everything works.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from io_faults import Fault, Injector, injector
from io_workloads import BASE, NAME, WRITES, Points, Step, Workload, change, perform, put, read
from io_workloads import vector as vector_of

from vecdb import VecDB
from vecdb.engine import checkpoint, store
from vecdb.engine.check import check_database
from vecdb.errors import NotFoundError, ReadOnlyError, StorageFullError, VecdbError

PATIENCE = 60.0  # seconds; only for what goes on in the background
OPENING = ("open", "reopen", "close", "create", "drop", "restore")


class Wrong(Exception):
    """What a case found."""


def require(condition: bool, message: str) -> None:
    if not condition:
        raise Wrong(message)


@dataclass
class World:
    """What is known to be there. ``maybe``: what a step that raised may have left."""

    points: Points
    names: set[str]
    maybe_points: list[Points] = field(default_factory=list)
    maybe_names: set[str] = field(default_factory=set)
    config: str | None = None
    maybe_config: bool = False
    saved: list[Points] = field(default_factory=list)
    """What the newest snapshot may hold, the likeliest first."""

    def after(self, step: Step) -> Points:
        """The points after a step that works."""
        if step[0] == "restore":
            return self.saved[0] if self.saved else self.points
        return change(self.points, step)

    def take(self, step: Step) -> None:
        """The step was acknowledged."""
        self.points = self.after(step)
        if step[0] == "restore":
            self.maybe_points, self.maybe_config = self.saved[1:], True
        elif step[0] == "create":
            self.names.add(step[1])
        elif step[0] == "drop":
            self.names.discard(step[1])
        elif step[0] == "snapshot":
            self.saved = [self.points, *self.maybe_points]

    def doubt(self, step: Step) -> None:
        """The step raised, and nobody knows what is on disk."""
        after = self.after(step)
        if after != self.points:
            self.maybe_points.append(after)
        if step[0] in ("create", "drop"):
            self.maybe_names.add(step[1])
        self.maybe_config |= step[0] in ("update", "restore")


class Case:
    """A workload with a fault, in the directory ``path``; ``ending`` is *stay* (the fault goes
    away while the database is open) or *close* (it is still there when it is closed)."""

    def __init__(self, workload: Workload, fault: Fault, ending: str, path: Path) -> None:
        self.workload = workload
        self.fault = fault
        self.ending = ending
        self.path = path
        self.injector: Injector = injector(fault, path)
        points: Points = {}
        for step in workload.setup:
            points = change(points, step)
        self.world = World(points, set() if workload.new else {NAME})
        self.db: VecDB | None = None
        self.raised: list[str] = []
        self.closed_to_writes = False
        self.unknown = False  # a write raised, and its outcome is unknown
        self._crashed: World | None = None  # what was known at the crash
        self._threads: list[str] = []

    def run(self) -> dict[str, Any]:
        """Figures; raises Wrong."""
        _quieten(self._threads)
        if self.workload.memory_limit:
            checkpoint.MEMORY_LIMIT = self.workload.memory_limit
        store._FIRST_DELAY = 0.02  # of what is tried again in the background
        before = _descriptors()
        if not self.workload.opens:
            self._open()
            self._note_config()
        self.injector.arm()
        if self.workload.opens:
            self.step(("open",))
        for step in self.workload.steps:
            self.step(step)
        self._require_reads(under_fault=True)
        hit = bool(self.injector.hits)
        if self.ending == "close" and (self.fault.lasts or not hit):
            self.step(("close",))
        self.injector.lift()
        if self.db is not None:
            self._stays()
            self.db.close()
            self.db = None
        gc.collect()
        require(not self._threads, f"a thread died: {self._threads}")
        leaked = {n: name for n, name in _descriptors().items() if n not in before}
        require(not leaked, f"descriptors leaked: {sorted(leaked.values())}")
        if self._crashed is not None:
            _require_sound(self.path)
            self.world, closed = self._crashed, self.world
            self._recovers(self.crashed_path)
            self.world = closed
        self._recovers(self.path)
        return {
            "hits": len(self.injector.hits),
            "first": self.injector.hits[:1],
            "seen": dict(self.injector.seen),
            "longest": max(p.stat().st_size for p in self.path.rglob("*") if p.is_file()),
            "raised": sorted(set(self.raised)),
            "closed_to_writes": self.closed_to_writes,
        }

    @property
    def crashed_path(self) -> Path:
        """What a crash would have left after the fault, before anything was put right."""
        return self.path.with_name(self.path.name + ".crashed")

    # -- under the fault -------------------------------------------------------------------

    def step(self, step: Step) -> None:
        """Do a step; what it says is taken for true from then on."""
        count = len(self.injector.hits)
        try:
            if not self._do(step):
                return
        except (VecdbError, OSError) as error:
            self._raised(step, error)
        else:
            self._returned(step, self.injector.hits[count:])
        log = rf"sync \S+ collections/{NAME}/wal(/\d+\.wal)?$"
        if step[0] not in OPENING and any(re.match(log, h) for h in self.injector.hits[count:]):
            self.unknown = True  # what it has synced before it was closed and opened is unknown

    def _do(self, step: Step) -> bool:
        """False if there is nothing to do it on."""
        if step[0] in ("close", "reopen"):
            db, self.db = self.db, None
            self._note_failure(db)
            try:
                if db is not None:
                    db.close()
            finally:
                if step[0] == "reopen":
                    self._open()
            return True
        if step[0] == "open":
            self._open()
            return True
        if self.db is None and not self.fault.lasts:
            self._open()  # it failed once: now it must work
        if self.db is None:
            return False
        perform(self.db, step)
        return True

    def _open(self) -> None:
        self.db = VecDB(self.path, sync=self.workload.level)
        self.unknown = False
        if not self._damaged():
            self._settle()

    def _settle(self) -> None:
        assert self.db is not None
        try:
            self._settle_doubts(self.db)
        except (VecdbError, OSError) as error:
            require(self.fault.what == "reads", f"opened, but a read raised {error!r}")

    def _raised(self, step: Step, error: Exception) -> None:
        self.raised.append(f"{step[0]}: {type(error).__name__}")
        if step[0] in ("close", "reopen", "open"):
            return
        if isinstance(error, StorageFullError):
            return
        if isinstance(error, NotFoundError):
            require(self._lacks(step), f"{step[0]}: {error!r}")
            return
        if isinstance(error, ReadOnlyError):
            require(self._failure() is not None, f"{step[0]}: {error!r}, and the status is fine")
            return
        self.world.doubt(step)
        self._same_config(step)
        if step[0] == "restore" and self._live(NAME):
            self._settle()
            if self._failure() is not None:  # the next open may yet let it take its place
                self.world.doubt(step)
        if step[0] == "snapshot" and self._has_snapshot():
            self.world.take(step)  # though it may not be durable
        if step[0] in WRITES and self._live(NAME):
            self.unknown = True
            require(self._failure() is not None, f"{step[0]}: {error!r}, and writes go on")

    def _has_snapshot(self) -> bool:
        try:
            return self.db is not None and bool(self.db.list_snapshots(NAME))
        except OSError:
            return False

    def _lacks(self, step: Step) -> bool:
        """Whether an earlier step did not make what this one needs."""
        if NAME not in self.world.names:
            return True
        if step[0] == "restore":
            return not self.world.saved or self.fault.what == "reads"  # who fails to find it
        return step[0] == "set" and not set(step[1]) <= self.world.points.keys()

    def _returned(self, step: Step, hits: list[str]) -> None:
        if step[0] in WRITES:
            require(not self.unknown, f"{step[0]} acknowledged after an unknown outcome")
            lost = [h for h in hits if re.match(r"sync \S+ .*/wal/\d+\.wal$", h)]
            require(not lost, f"{step[0]} acknowledged, although its sync failed: {lost}")
        self.world.take(step)
        if step[0] == "restore":  # another collection, just opened
            self.unknown = False
            self._settle()
        if step[0] == "update":
            self._note_config()

    def _require_reads(self, *, under_fault: bool) -> None:
        """The open database shows exactly what is known."""
        if self.db is None:
            return
        try:
            problem = difference(self.db, self.world, self._live)
        except (VecdbError, OSError) as error:
            require(under_fault and self.fault.what == "reads", f"a read raised {error!r}")
            return
        require(problem is None, f"with the fault {'there' if under_fault else 'gone'}: {problem}")

    # -- the fault is gone, the database still open ----------------------------------------

    def _stays(self) -> None:
        """Reads go on; writes too, unless it is closed to them, which needs a reason."""
        db = self.db
        assert db is not None
        if self._damaged():
            # Errors of the disk are not damage; but a restored collection must be opened somehow.
            restored = any(raised.startswith("restore") for raised in self.raised)
            require(restored, f"said to be damaged: {db.damaged}")
            return
        self._require_reads(under_fault=False)
        for name in sorted(self.world.maybe_names | {"later"}):
            self._make_and_drop(name)
        if not self._live(NAME):
            return
        self._note_failure(db)
        if self._failure() is not None:
            require(not self._must_go_on(), f"closed to writes by {self.injector.hits[:2]}: "
                    f"{self._failure()}")  # fmt: skip
            try:
                perform(db, put(9000, 1, 1))
            except ReadOnlyError:
                self._crash()
                return
            raise Wrong("a write was acknowledged after a failure of unknown outcome")
        require(not self.unknown, "it is not closed to writes after a failed sync")
        self._write(db)
        self._crash()
        self._come_to_rest(db)
        self._require_reads(under_fault=False)

    def _crash(self) -> None:
        """Note what would be there if the process died now."""
        if not self.workload.background:
            shutil.copytree(self.path, self.crashed_path)
            self._crashed = deepcopy(self.world)

    def _must_go_on(self) -> bool:
        """Whether a full disk is all that happened, and not while opening or committing."""
        return (
            self.fault.where == "os"
            and self.fault.is_full
            and not self.workload.opens
            and not any(step[0] in ("reopen", "restore") for step in self.workload.steps)
            and all(re.match("write|create|mkdir", hit) for hit in self.injector.hits)
        )

    def _make_and_drop(self, name: str) -> None:
        """What could not be made or dropped can be now."""
        db = self.db
        assert db is not None
        if name != NAME:
            if db.collection_exists(name):
                require(db.delete_collection(name), f"{name!r} was there and not there")
            db.create_collection(name, **BASE)
            require(db.count(name).count == 0, f"{name!r} is not empty")
            require(db.delete_collection(name), f"{name!r} was not there")
            self.world.names.discard(name)
        elif not db.collection_exists(name):
            db.create_collection(name, **BASE)
            self.world.take(("create", name))
        self.world.maybe_names.discard(name)

    def _write(self, db: VecDB) -> None:
        for step in (put(9000, 3, 1), ("set", [9001])):
            perform(db, step)
            self.world.take(step)

    def _come_to_rest(self, db: VecDB) -> None:
        """Checkpoints and the optimizer work."""
        if self.workload.background:
            _wait_until(lambda: db.get_collection(NAME).optimizer_status == "ok")
        else:
            db.flush(NAME)
        require(db.wait_for_optimizer(NAME, PATIENCE), "the optimizer does not come to rest")
        status = db.get_collection(NAME).optimizer_status
        require(status == "ok", f"the optimizer says {status!r} with the fault gone")
        if ("snapshot",) in self.workload.steps:
            for step in (("snapshot",), ("delete", [9000]), ("restore",)):
                perform(db, step)
                self.world.take(step)

    # -- afterwards ------------------------------------------------------------------------

    def _recovers(self, found: Path) -> None:
        """Works on a copy, so that what was found is kept."""
        path = found.with_name(found.name + ".recovered")
        shutil.copytree(found, path)
        if not (path / "FORMAT").exists():
            require(self.workload.new, "FORMAT is gone")
        else:
            _require_sound(path)
        with VecDB(path) as db:
            require(not db.damaged, f"damaged: {db.damaged}")
            self._settle_doubts(db)
            _require_tidy(db, path)
            if NAME not in self.world.names:
                db.create_collection(NAME, **BASE)
                self.world.take(("create", NAME))
            self._write(db)
            self._come_to_rest(db)
            _require_known(db, self.world)
            _require_tidy(db, path)
        _require_sound(path)
        with VecDB(path) as db:
            _require_known(db, self.world)

    def _settle_doubts(self, db: VecDB) -> None:
        """One of the things that may be there is."""
        world = self.world
        names = {c.name for c in db.get_collections().collections}
        require(
            names - world.maybe_names == world.names - world.maybe_names,
            f"collections {sorted(names)}; {sorted(world.names)} are known, "
            f"{sorted(world.maybe_names)} not",
        )
        world.names, world.maybe_names = names, set()
        if NAME in names:
            points = read(db)
            problems = [_difference(points, state) for state in [world.points, *world.maybe_points]]
            require(None in problems, f"after reopening: {problems}")
            world.points = points
            config = repr(db.get_collection(NAME).config)
            fine = world.maybe_config or world.config in (None, config)
            require(fine, f"the configuration is {config}, not {world.config}")
            world.config = config
        world.maybe_points, world.maybe_config = [], False

    # -- asking ----------------------------------------------------------------------------

    def _live(self, name: str) -> bool:
        """Whether the collection can be read now. A failed deletion may have closed it."""
        if self.db is None or self._damaged() or not self.db.collection_exists(name):
            return False
        return not self.db.collection(name)._store.closed

    def _damaged(self) -> bool:
        return self.db is not None and bool(self.db.damaged)

    def _failure(self) -> str | None:
        if not self._live(NAME):
            return "closed"
        assert self.db is not None
        inner = self.db.collection(NAME)._store
        return inner.failure or inner.wal.failed

    def _note_failure(self, db: VecDB | None) -> None:
        if db is not None and self._live(NAME):
            self.closed_to_writes |= self._failure() is not None

    def _note_config(self) -> None:
        if self._live(NAME):
            assert self.db is not None
            self.world.config = repr(self.db.get_collection(NAME).config)

    def _same_config(self, step: Step) -> None:
        if step[0] == "update" and self._live(NAME):
            assert self.db is not None
            config = repr(self.db.get_collection(NAME).config)
            require(config == self.world.config, "a configuration that was refused is used")


# -- comparing -------------------------------------------------------------------------------


def difference(db: VecDB, world: World, live: Callable[[str], bool]) -> str | None:
    """What an open database shows that it should not; None if it is as it should be."""
    names = {c.name for c in db.get_collections().collections}
    if names - world.maybe_names != world.names - world.maybe_names:
        return f"collections {sorted(names)}, not {sorted(world.names)}"
    if NAME not in names or not live(NAME):
        return None
    return _difference(read(db), world.points) or _search(db, world.points)


def _difference(found: Points, expected: Points) -> str | None:
    if found == expected:
        return None
    missing = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    changed = sorted(k for k in found.keys() & expected.keys() if found[k] != expected[k])
    return f"missing {missing[:5]}, unexpected {extra[:5]}, different {changed[:5]}"


def _search(db: VecDB, points: Points) -> str | None:
    query = np.array(vector_of(17, 3), dtype=np.float64)
    true = {i: float(np.array(values) @ query) for i, (values, _) in points.items()}
    best = sorted(true.values(), reverse=True)[:10]
    for params in (None, {"exact": True}):
        hits = db.search(NAME, query, search_params=params, limit=10)
        if len(hits) != len(best) or any(abs(true[h.id] - h.score) > 1 for h in hits):  # type: ignore[index]
            return f"search {params}: {[(h.id, h.score) for h in hits]}, the best are {best}"
        if params and [h.score for h in hits] != best:
            return f"exact search: {[h.score for h in hits]}, the best are {best}"
    return None


def _require_known(db: VecDB, world: World) -> None:
    problem = difference(db, world, lambda name: True)
    require(problem is None, f"reopened and used: {problem}")


def _require_sound(path: Path) -> None:
    report = check_database(path)
    require(report.ok, f"check: {report.problems[:3]}")


def _require_tidy(db: VecDB, path: Path) -> None:
    """Nothing is there that nobody will ever remove."""
    strays = [str(p.relative_to(path)) for p in path.rglob(".*")]
    for name in [c.name for c in db.get_collections().collections]:
        inner = db.collection(name)._store
        listed = {segment.id for segment in db.get_collection(name).segments}
        strays += [p.name for p in inner.segments_path.iterdir() if p.name not in listed]
    require(not strays, f"left over: {strays}")


def _descriptors() -> dict[int, str]:
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            found[int(entry)] = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:
            pass
    return found


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        require(time.monotonic() < deadline, "it does not recover by itself")
        time.sleep(0.01)


def _quieten(dead: list[str]) -> None:
    logging.getLogger("vecdb").setLevel(logging.CRITICAL)
    threading.excepthook = lambda args: dead.append(f"{args.thread}: {args.exc_value!r}")
