"""Steps of crash workloads in which several things go on at once, or something goes wrong."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofs.powerloss.steps import Lanes, PointStep, Run, State, Step
from vecdb import errors
from vecdb.storage import fs
from vecdb.storage.catalog import Catalog

_PATIENCE = 60
"""Seconds that a step waits for another thread before it calls the run a failure."""


@dataclass(frozen=True)
class AtRest(Step):
    """Wait until the background optimizer has nothing left to do."""

    into: str = "c"

    def perform(self, run: Run) -> int:
        assert run.db.wait_for_optimizer(self.into, timeout=_PATIENCE)
        return 0


@dataclass(frozen=True)
class Synced(Step):
    """Wait until the thread of the level "interval" has synced everything."""

    into = "*"
    fence = True

    def perform(self, run: Run) -> int:
        stores = [run.db.collection(name)._store for name in run.spaces]
        _wait(lambda: not any(store.wal.dirty for store in stores), "nothing was synced")
        return 0


@dataclass(frozen=True)
class Threads(Step):
    """Lanes of steps, each in a thread of its own."""

    lanes: tuple[tuple[Step, ...], ...]

    def inner(self) -> tuple[tuple[Step, ...], ...]:
        return self.lanes

    def perform_all(self, run: Run, lanes: Lanes) -> int:
        with _threads(lanes):
            pass
        return 0


@dataclass(frozen=True)
class Together(Step):
    """Writes of as many threads that meet in one group commit, in this order."""

    steps: tuple[PointStep, ...]
    into: str = "c"

    def inner(self) -> tuple[tuple[Step, ...], ...]:
        return tuple((step,) for step in self.steps)

    def perform_all(self, run: Run, lanes: Lanes) -> int:
        collection = run.db.collection(self.into)
        queue = collection._store.queue
        with collection._store.write:
            threads = []
            for number, lane in enumerate(lanes):
                threads.append(_threads([lane]))
                threads[-1].__enter__()
                _wait(lambda n=number: len(queue) > n, "a write was not queued")  # type: ignore[misc]
        for thread in threads:
            thread.__exit__(None, None, None)
        return 0


@contextmanager
def _threads(lanes: Lanes) -> Iterator[None]:
    failed: list[BaseException] = []

    def perform(lane: list[Callable[[], None]]) -> None:
        try:
            for task in lane:
                task()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=perform, args=(lane,)) for lane in lanes]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _wait(done: Callable[[], bool], otherwise: str) -> None:
    for _ in range(_PATIENCE * 1000):
        if done():
            return
        time.sleep(0.001)
    raise AssertionError(otherwise)


# -- failures ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failing(Step):
    """A step that must fail, because one call of the system below it does.

    ``segment``  a new segment's directory cannot be synced
    ``commit``   the catalog cannot be written
    ``full``     no space for the frame, half of which is written
    ``sync``     the log cannot be synced; its pages may reach the disk all the same
    """

    where: str
    step: Step

    def inner(self) -> tuple[tuple[Step, ...], ...]:
        return self.step.inner()

    @property
    def into(self) -> str:  # type: ignore[override]
        return self.step.into

    @property
    def promised(self) -> bool:  # type: ignore[override]
        return self.where != "sync"

    def pass_through(self, state: State) -> list[State]:
        return self.step.pass_through(state) if self.where == "sync" else [state]

    def perform_all(self, run: Run, lanes: Lanes) -> int:
        with _breaking(self.where):
            try:
                self.step.perform_all(run, lanes)
            except (OSError, errors.VecdbError):
                return 0
        raise AssertionError(f"{self} did not fail")


@contextmanager
def _breaking(where: str) -> Iterator[None]:
    sync_dir, commit, writev, sync = fs.sync_dir, Catalog.commit, os.writev, fs.AppendFile.sync
    broken = OSError(errno.EIO, "broken on purpose")

    def no_sync_dir(path: Path) -> None:
        if path.parent.name == "segments":
            raise broken
        sync_dir(path)

    def half_a_write(fd: int, buffers: Any) -> int:
        if os.writev is half_a_write:
            os.writev = no_write
        data = b"".join(bytes(buffer) for buffer in buffers)
        return os.write(fd, data[: len(data) // 2])

    def no_write(fd: int, buffers: Any) -> int:
        raise OSError(errno.ENOSPC, "full on purpose")

    def raising(*arguments: Any) -> None:
        raise broken

    if where == "segment":
        fs.sync_dir = no_sync_dir
    elif where == "commit":
        Catalog.commit = raising  # type: ignore[method-assign, assignment]
    elif where == "full":
        os.writev = half_a_write
    else:
        fs.AppendFile.sync = raising  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        fs.sync_dir, Catalog.commit, os.writev = sync_dir, commit, writev  # type: ignore[method-assign]
        fs.AppendFile.sync = sync  # type: ignore[method-assign]
