"""One case of ``proofs.io_faults``: a workload under a fault, and what must be true afterwards.

While the fault is there and after it: a step that returned is there, one that raised has no
effect that is seen; after an error of unknown outcome nothing is acknowledged until the next
open. After reopening: all that was acknowledged, what raised wholly or not at all, nothing left
over, ``check`` clean, and everything works.
"""

from __future__ import annotations

import gc
import re
import shutil
import time
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from proofs.io_faults.faults import Fault
from proofs.io_faults.injectors import Injector, injector
from proofs.io_faults.workloads import (
    BASE,
    CLOSE,
    NAME,
    OPEN,
    RESTORE,
    SNAPSHOT,
    Step,
    Workload,
    change,
    create,
    delete,
    do,
    edit,
    put,
)
from proofs.io_faults.world import (
    PATIENCE,
    World,
    Wrong,
    descriptors,
    difference,
    quieten,
    require,
    require_known,
    require_sound,
    require_tidy,
    wait_until,
)
from proofs.model.oracle import Points
from proofs.model.writes import Write
from vecdb import VecDB
from vecdb.engine import store
from vecdb.engine.write import checkpoint
from vecdb.errors import NotBegunError, NotFoundError, ReadOnlyError, StorageFullError, VecdbError

OPENING = ("open", "reopen", "close", "create", "drop", "restore")


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
            points = change(points, step) if isinstance(step, Write) else points
        self.world = World(points, set() if workload.new else {NAME})
        self.db: VecDB | None = None
        self.raised: list[str] = []
        self.closed_to_writes = False
        self.unknown = False  # a write raised, and its outcome is unknown
        self._crashed: World | None = None  # what was known at the crash
        self._threads: list[str] = []

    def run(self) -> dict[str, Any]:
        """Figures; raises Wrong."""
        quieten(self._threads)
        if self.workload.memory_limit:
            checkpoint.MEMORY_LIMIT = self.workload.memory_limit
        store._FIRST_DELAY = 0.02  # of what is tried again in the background
        before = descriptors()
        if not self.workload.opens:
            self._open()
            self._note_config()
        self.injector.arm()
        if self.workload.opens:
            self.step(OPEN)
        for step in self.workload.steps:
            self.step(step)
        self._require_reads(under_fault=True)
        hit = bool(self.injector.hits)
        if self.ending == "close" and (self.fault.lasts or not hit):
            self.step(CLOSE)
        self.injector.lift()
        if self.db is not None:
            self._stays()
            self.db.close()
            self.db = None
        if self.workload.new:  # nothing of it may have been made
            self.path.mkdir(exist_ok=True)
        require(not self._threads, f"a thread died: {self._threads}")
        leaked = _leaked(before)
        require(not leaked, f"descriptors leaked: {leaked}")
        if self._crashed is None:
            self._recovers(self.path)
        else:
            self._opens(self.path)
            self.world = self._crashed
            self._recovers(self.crashed_path)
        return {
            "hits": len(self.injector.hits),
            "first": self.injector.hits[:1],
            "seen": dict(self.injector.seen),
            "longest": max(
                (p.stat().st_size for p in self.path.rglob("*") if p.is_file()), default=0
            ),
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
        if step.verb not in OPENING and any(re.match(log, h) for h in self.injector.hits[count:]):
            self.unknown = True  # what it has synced before it was closed and opened is unknown

    def _do(self, step: Step) -> bool:
        """False if there is nothing to do it on."""
        if step.verb in ("close", "reopen"):
            self._note_failure()
            db, self.db = self.db, None
            try:
                if db is not None:
                    db.close()
            finally:
                if step.verb == "reopen":
                    self._open()
            return True
        if step.verb == "open":
            self._open()
            return True
        if self.db is None and not self.fault.lasts:
            self._open_again()
        if self.db is None:
            return False
        do(self.db, step)
        return True

    def _open(self) -> None:
        self.db = VecDB(self.path, sync=self.workload.level)
        self.unknown = False
        if not self._damaged():
            self._settle()

    def _open_again(self) -> None:
        try:
            self._open()
        except (VecdbError, OSError) as error:
            raise Wrong(f"it does not open once the fault is gone: {error!r}") from error

    def _settle(self) -> None:
        assert self.db is not None
        try:
            self.world.settle(self.db)
        except (VecdbError, OSError) as error:
            require(self.fault.what == "reads", f"opened, but a read raised {error!r}")

    def _raised(self, step: Step, error: Exception) -> None:
        self.raised.append(f"{step.verb}: {type(error).__name__}")
        if step.verb in ("close", "reopen", "open"):
            return
        if isinstance(error, StorageFullError):
            return
        if isinstance(error, NotFoundError):
            require(self._lacks(step), f"{step.verb}: {error!r}")
            return
        if isinstance(error, ReadOnlyError):
            require(self._failure() is not None, f"{step.verb}: {error!r}, and the status is fine")
            return
        if isinstance(step, Write) and isinstance(error, NotBegunError):
            return  # nothing was written: what is known stays so
        self.world.doubt(step)
        self._same_config(step)
        # A write of unknown outcome before it stays unknown: what is seen now is without it.
        if step.verb == "restore" and self._live(NAME) and not self.unknown:
            self._settle()
            if self._failure() is not None:  # the next open may yet let it take its place
                self.world.doubt(step)
        if step.verb == "snapshot" and self._has_snapshot():
            self.world.take(step)  # though it may not be durable
        if isinstance(step, Write) and self._live(NAME):
            self.unknown = True
            require(self._failure() is not None, f"{step.verb}: {error!r}, and writes go on")

    def _has_snapshot(self) -> bool:
        try:
            return self.db is not None and bool(self.db.list_snapshots(NAME))
        except OSError:
            return False

    def _lacks(self, step: Step) -> bool:
        """Whether an earlier step did not make what this one needs."""
        if NAME not in self.world.names:
            return True
        if step.verb == "restore":
            return not self.world.saved or self.fault.what == "reads"  # who fails to find it
        if not isinstance(step, Write):
            return False
        return step.verb == "set_payload" and not set(step.ids) <= self.world.points.keys()

    def _returned(self, step: Step, hits: list[str]) -> None:
        if isinstance(step, Write):
            require(not self.unknown, f"{step.verb} acknowledged after an unknown outcome")
            lost = [h for h in hits if re.match(r"sync \S+ .*/wal/\d+\.wal$", h)]
            require(not lost, f"{step.verb} acknowledged, although its sync failed: {lost}")
        self.world.take(step)
        if step.verb == "restore":  # another collection, just opened
            self.unknown = False
            self._settle()
        if step.verb == "update":
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
        self._note_failure()
        if self._failure() is not None:
            require(not self._must_go_on(), f"closed to writes by {self.injector.hits[:2]}: "
                    f"{self._failure()}")  # fmt: skip
            try:
                do(db, put(9000, 1, 1))
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
        """Whether a full disk is all that happened, and not while opening or committing; or a
        shortage of descriptors."""
        passes = self.fault.error == "EMFILE"
        return (
            self.fault.where == "os"
            and (passes or self.fault.is_full)
            and not self.workload.opens
            and not any(step.verb in ("reopen", "restore") for step in self.workload.steps)
            and (
                passes
                or all(re.match("write|allocate|create|mkdir", hit) for hit in self.injector.hits)
            )
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
            self.world.take(create(name))
        self.world.maybe_names.discard(name)

    def _write(self, db: VecDB) -> None:
        for step in (put(9000, 3, 1), edit(9001)):
            do(db, step)
            self.world.take(step)

    def _come_to_rest(self, db: VecDB) -> None:
        """Checkpoints and the optimizer work."""
        if self.workload.background:
            wait_until(lambda: db.get_collection(NAME).optimizer_status == "ok")
        else:
            db.flush(NAME)
        require(db.wait_for_optimizer(NAME, PATIENCE), "the optimizer does not come to rest")
        status = db.get_collection(NAME).optimizer_status
        require(status == "ok", f"the optimizer says {status!r} with the fault gone")
        if SNAPSHOT in self.workload.steps:
            for step in (SNAPSHOT, delete(9000), RESTORE):
                do(db, step)
                self.world.take(step)

    # -- afterwards ------------------------------------------------------------------------

    def _opens(self, found: Path) -> None:
        """What was closed is as it was. On a copy, so that what was found is kept."""
        require_sound(found)
        path = found.with_name(found.name + ".recovered")
        shutil.copytree(found, path)
        with VecDB(path) as db:
            self.world.settle(db)
            require_known(db, self.world)

    def _recovers(self, found: Path) -> None:
        """It opens, has all that was acknowledged, and works. On a copy, too."""
        path = found.with_name(found.name + ".recovered")
        shutil.copytree(found, path)
        if not (path / "FORMAT").exists():
            require(self.workload.new, "FORMAT is gone")
        else:
            require_sound(path)
        with VecDB(path) as db:
            require(not db.damaged, f"damaged: {db.damaged}")
            self.world.settle(db)
            if not self.workload.background:
                require_tidy(db, path)
            if NAME not in self.world.names:
                db.create_collection(NAME, **BASE)
                self.world.take(create(NAME))
            self._write(db)
            self._come_to_rest(db)
            require_known(db, self.world)
            require_tidy(db, path)
        require_sound(path)
        with VecDB(path) as db:
            require_known(db, self.world)

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

    def _note_failure(self) -> None:
        if self._live(NAME):
            self.closed_to_writes |= self._failure() is not None

    def _note_config(self) -> None:
        if self._live(NAME):
            assert self.db is not None
            self.world.config = repr(self.db.get_collection(NAME).config)

    def _same_config(self, step: Step) -> None:
        if step.verb == "update" and self._live(NAME):
            assert self.db is not None
            config = repr(self.db.get_collection(NAME).config)
            require(config == self.world.config, "a configuration that was refused is used")


def _leaked(before: Mapping[int, str]) -> list[str]:
    """Files that are open and were not before. A thread that has just ended may still be about to
    let go of what its last step had: what stays open for a second is leaked."""
    for _ in range(20):
        gc.collect()
        leaked = sorted(name for number, name in descriptors().items() if number not in before)
        if not leaked:
            break
        time.sleep(0.05)
    return leaked
