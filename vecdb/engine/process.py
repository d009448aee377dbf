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
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from vecdb.errors import PlaceTakenError

_log = logging.getLogger("vecdb")


class OpenDatabase(Protocol):
    """What this module has to know of a database."""

    path: Path
    opened_at: str

    def close(self) -> None:
        """Close it, or wait until it is closed."""

    def leave(self) -> None:
        """Let go of it in a forked child."""

    def is_at(self, path: Path) -> bool:
        """Whether it is the one that stands there, open to be written to."""


_open: dict[int, weakref.ref[OpenDatabase]] = {}
"""By their ``id``. Not a WeakSet: that cannot be gone through while another thread adds to it."""

_ending: set[OpenDatabase] = set()
"""Those that nobody else can reach any more, until they are closed."""


def enter(database: OpenDatabase) -> None:
    """It is about to be opened: from now on a fork must let go of what it holds."""
    key = id(database)
    _open[key] = weakref.ref(database, partial(_forget, key))


def leave(database: OpenDatabase) -> None:
    """It is closed."""
    _open.pop(id(database), None)


def _forget(key: int, gone: object) -> None:
    _open.pop(key, None)


def _known() -> list[OpenDatabase]:
    """Those that are open or ending, as they are now. There is no lock: finalizers call for it."""
    while True:
        try:
            found = [each() for each in list(_open.values())]
            return [each for each in (*found, *list(_ending)) if each is not None]
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


def holders(path: Path) -> list[str]:
    """Where those were opened that hold the database at a path. One that nobody can reach any more
    does not count: it is closed first."""
    if not any(database.is_at(path) for database in _known()):
        return []
    gc.collect()  # it may be in a cycle
    for database in list(_ending):
        _close(database)
    return [database.opened_at for database in _known() if database.is_at(path)]


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
        return
    try:
        threading.Thread(target=_close, args=(database,), name="vecdb-end").start()
    except RuntimeError:
        pass  # too many threads: the next open of its place closes it, or the interpreter's end


def _close(database: OpenDatabase) -> None:
    try:
        database.close()
    except PlaceTakenError:
        pass  # it was removed: there is nothing that could be lost
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
