"""Process: the databases that this process has open, and their ends that nobody calls for.

A database that nobody can reach any more is closed; so is each at the interpreter's end. In a
forked child each is left to the parent.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from vecdb.errors import PlaceTakenError, ReentrantCallError

_T = TypeVar("_T")

_log = logging.getLogger("vecdb")

_PATIENCE = 30.0
"""Seconds: what a thread does may be waiting for this one."""


class Threads(Protocol):
    """A thread, or several."""

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended what it was asked for, or for that many seconds."""


class Holding:
    """Where a database was opened, and the lock file it holds. It does not refer to the database:
    what somebody looks at is not kept from being garbage."""

    def __init__(self) -> None:
        self.opened_at = caller()
        self.lock_file: tuple[int, int] | None = None  # device and inode; none when only reading
        self.left_to: list[Threads] = []  # its user has let go of it; they do when they have ended

    def is_of(self, lock_file: Path) -> bool:
        """Whether it holds the file that has this path now."""
        with suppress(OSError):
            found = os.stat(lock_file)
            return self.lock_file == (found.st_dev, found.st_ino)
        return False


class OpenDatabase(Protocol):
    """What this module has to know of a database."""

    path: Path
    holding: Holding

    def close(self) -> None:
        """Close it, or wait until it is closed."""

    def leave(self) -> None:
        """Let go of it in a forked child."""


_open: dict[int, weakref.ref[OpenDatabase]] = {}
"""By their ``id``. Not a WeakSet: that cannot be gone through while another thread adds to it."""

_holdings: dict[int, Holding] = {}
"""Those of the same databases."""

_ending: set[OpenDatabase] = set()
"""Those that nobody else can reach any more, until they are closed."""


def enter(database: OpenDatabase) -> None:
    """It is about to be opened: from now on a fork must let go of what it holds."""
    key = id(database)
    _open[key] = weakref.ref(database, partial(_forget, key))
    _holdings[key] = database.holding


def leave(database: OpenDatabase) -> None:
    """It is closed."""
    _forget(id(database))


def _forget(key: int, gone: object = None) -> None:
    _open.pop(key, None)
    _holdings.pop(key, None)


def _known() -> list[OpenDatabase]:
    """Those that are open or ending, as they are now."""
    found = [each() for each in _as_they_are(_open.values)]
    return [each for each in (*found, *_as_they_are(lambda: _ending)) if each is not None]


def _as_they_are(entries: Callable[[], Iterable[_T]]) -> list[_T]:
    """There is no lock: finalizers change them."""
    while True:
        try:
            return list(entries())
        except RuntimeError:  # garbage was collected between two entries; seldom
            continue


_asked = threading.local()


def caller() -> str:
    """The line outside of vecdb that is being executed: ``file:line``; in a thread that works for
    a caller, that caller's."""
    where: str | None = getattr(_asked, "where", None)
    if where is not None:
        return where
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_globals):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


@contextmanager
def on_behalf_of(where: str) -> Iterator[None]:
    """In a block what this thread does was asked for there, see ``caller``."""
    _asked.where = where
    try:
        yield
    finally:
        _asked.where = None


def _is_ours(module: dict[str, object]) -> bool:
    return str(module.get("__name__")).partition(".")[0] == "vecdb"


def holders(lock_file: Path) -> list[str]:
    """Where those were opened that hold this lock file. One that nobody can reach any more does not
    count: it is closed first."""
    _wait_for_threads(lock_file)
    # It may be in a cycle. Another thread may have found that, and not have called ``end`` yet:
    # then nothing is known of it, and all that can be done is to wait for that thread.
    _collect_garbage()
    for database in _as_they_are(lambda: _ending):
        _close(database)
    return [holding.opened_at for holding in _holdings_of(lock_file)]


def _holdings_of(lock_file: Path) -> list[Holding]:
    return [each for each in _as_they_are(_holdings.values) if each.is_of(lock_file)]


def _wait_for_threads(lock_file: Path) -> None:
    """Wait until those have let go of it to which users have left it."""
    deadline = time.monotonic() + _PATIENCE
    for holding in _holdings_of(lock_file):
        for threads in list(holding.left_to):
            threads.join(max(0.0, deadline - time.monotonic()))


def _collect_garbage() -> None:
    """All of it. Python does nothing if another thread is about it, and does not say so."""
    ended: list[str] = []  # no Event: ``note`` may run in the middle of a wait for it
    here = threading.get_ident()

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] == 2 and threading.get_ident() == here:
            ended.append(phase)

    deadline = time.monotonic() + 5.0  # it may be this very thread, further up
    gc.callbacks.append(note)
    try:
        gc.collect()
        while not ended and time.monotonic() < deadline:
            time.sleep(0.01)
            gc.collect()
    finally:
        gc.callbacks.remove(note)


def end(database: OpenDatabase) -> None:
    """Close a database that nobody can reach any more. To be called by its finalizer.

    That may run anywhere, as Python looks for cycles whenever something is made: in a call to
    another database that holds a lock, or in a thread that ``close`` waits for. There another
    thread closes it.
    """
    _ending.add(database)
    frame = sys._getframe(1).f_back  # where the finalizer was called
    while frame is not None and not _is_ours(frame.f_globals):
        frame = frame.f_back
    if frame is None:
        _close(database)
    else:
        _close_elsewhere(database)


def _close_elsewhere(database: OpenDatabase) -> None:
    try:
        threading.Thread(target=_close, args=(database,), name="vecdb-end").start()
    except RuntimeError:
        pass  # too many threads: the next open of its place closes it, or the interpreter's end


def _close(database: OpenDatabase) -> None:
    try:
        database.close()
    except PlaceTakenError:
        pass  # it was removed: there is nothing that could be lost
    except ReentrantCallError:  # this thread holds a lock of it, and nothing was closed
        _close_elsewhere(database)
        return
    except Exception as error:
        _log.warning("database %s, which nobody has closed: %s", database.path, error)
    _ending.discard(database)


def close_all() -> None:
    """Close what is open, whatever comes of it: the interpreter is ending."""
    for database in _known():
        try:
            database.close()
        except Exception:
            pass  # what was acknowledged is in the WAL


def _after_fork() -> None:
    for database in _known():
        database.leave()
    _ending.clear()


atexit.register(close_all)
os.register_at_fork(after_in_child=_after_fork)
