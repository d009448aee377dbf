"""Which database a client gets, and when it is let go.

A client that is made with a path has that database for itself, as in Qdrant's local mode. Those
that are made with an address, where addresses lead to a path, share one, as they would a server.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

from vecdb.database import VecDB
from vecdb.errors import (
    InvalidInputError,
    LockedError,
    NotADatabaseError,
    ReentrantCallError,
)
from vecdb.qdrant.errors import AlreadyOpen, raised_as_there

MEMORY = ":memory:"
# A directory that clients open which are made with an address.
VARIABLE = "VECDB_QDRANT_PATH"

_PATIENCE = 60.0  # seconds to wait for a client that another thread is closing

_lock = threading.RLock()  # re-entrant: a finalizer may run while it is held
_open: dict[str, Opened] = {}


class Opened:
    """One open database, and how many clients hold it."""

    def __init__(self, database: VecDB, key: str | None, *, shared: bool) -> None:
        self.database = database
        self.key = key
        self.shared = shared
        self.where = _caller()
        self.holders = 1
        self.owner: weakref.ref[Any] | None = None  # the client, if it has it for itself
        self.gone = False  # no Event: a finalizer sets it, maybe in the thread that waits for it

    @property
    def is_orphan(self) -> bool:
        """Whether its client is garbage: it is closed, or will be by the thread that found out."""
        return self.owner is not None and self.owner() is None

    def release(self) -> None:
        """One client less; the last one closes the database."""
        with _lock:
            self._release()

    def abandon(self) -> None:
        """``release`` for a client that nothing refers to any more: in whatever thread, and in the
        middle of whatever, the garbage was collected. Waits for no lock that another may hold."""
        if sys.is_finalizing():
            return  # the database closes itself
        ours = threading.current_thread().name.startswith("vecdb-")
        if not ours and _lock.acquire(blocking=False):
            try:
                return self._release()
            except ReentrantCallError:
                pass
            finally:
                _lock.release()
        threading.Thread(target=self.release, name="vecdb-closing", daemon=True).start()

    def _release(self) -> None:
        self.holders -= 1
        if self.holders > 0:
            return
        try:
            self.database.close()
        except ReentrantCallError:  # and so nothing was closed
            self.holders += 1
            raise
        except BaseException:
            self._forget()
            raise
        self._forget()

    def _forget(self) -> None:
        if self.key is not None and _open.get(self.key) is self:
            del _open[self.key]
        self.gone = True


def open_memory() -> Opened:
    """A database of its own, which ends with its client."""
    return Opened(VecDB(MEMORY), None, shared=False)


def open_path(path: str | os.PathLike[str], *, shared: bool = False) -> Opened:
    """The database of a directory, which is made with its parents if it is not there.

    Raises AlreadyOpen, which says where, and what ``VecDB`` raises.
    """
    key = os.path.realpath(path)
    if not shared:
        _collect(key)
    with _lock, raised_as_there():
        found = _open.get(key)
        if found is not None and found.shared and shared:
            found.holders += 1
            return found
        try:
            database = VecDB(path)
        except LockedError as error:
            if found is not None:
                raise AlreadyOpen(
                    f"{path} is already accessed by another instance of the client in this "
                    f"process, made at {found.where}; close it first"
                ) from error
            raise
        except NotADatabaseError as error:
            raise _told_of_local_mode(Path(path), error) from None
        _open[key] = Opened(database, key, shared=shared)
        return _open[key]


def _collect(key: str) -> None:
    """Let the client that has this path for itself go, if it is garbage; wait until it is closed,
    which may be by another thread."""
    found = _open.get(key)
    if found is None or found.shared:
        return
    _collect_garbage()
    deadline = time.monotonic() + _PATIENCE
    while found.is_orphan and not found.gone and time.monotonic() < deadline:
        time.sleep(0.005)


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


def _told_of_local_mode(path: Path, error: NotADatabaseError) -> NotADatabaseError:
    if not (path / "meta.json").is_file():
        return error
    return NotADatabaseError(
        f"{path} is a database of Qdrant's local mode. To copy it: "
        f"qdrant_client.QdrantClient(path={str(path)!r}).migrate("
        f"vecdb.qdrant.QdrantClient(path=...)), with the path of a new directory"
    )


def _caller() -> str:
    """Where the client is made: the nearest line of neither this package nor Qdrant's."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(("vecdb.qdrant", "qdrant_client", "functools")):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "an unknown place"  # pragma: no cover - something has called


def _after_fork() -> None:
    """The child has none of the parent's databases; and the lock may have been held, by a thread
    that is not there."""
    global _lock
    _lock = threading.RLock()
    _open.clear()


os.register_at_fork(after_in_child=_after_fork)


# -- addresses -------------------------------------------------------------------------------

_served: Path | None = None


def serve(path: str | os.PathLike[str] | None) -> None:
    """Let addresses lead to this directory; None: to what the environment says."""
    global _served
    _served = None if path is None else Path(path).absolute()


def open_given(given: dict[str, Any]) -> Opened:
    """What the arguments of a client's constructor ask for.

    Raises InvalidInputError for an address that leads nowhere.
    """
    location, path = given.get("location"), given.get("path")
    named = [n for n in ("location", "url", "host", "path") if given.get(n) is not None]
    if len(named) > 1:
        raise InvalidInputError(f"expected one of location, url, host and path, got {named}")
    if path is not None:
        return open_memory() if path == MEMORY else open_path(path)
    if location == MEMORY:
        return open_memory()
    served = _served or os.environ.get(VARIABLE) or None
    if served is not None:
        return open_path(served, shared=True)
    if not named:
        return open_memory()
    raise InvalidInputError(
        f"{named[0]}={given[named[0]]!r}: vecdb connects to no server. Give path=, the directory "
        f"of the database; or let addresses lead to one, with the environment variable "
        f"{VARIABLE} or vecdb.qdrant.install(path=...)"
    )
