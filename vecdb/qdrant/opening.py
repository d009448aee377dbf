"""Which database a client gets, and when it is let go.

A client that is made with a path has that database for itself, as in Qdrant's local mode. Those
that are made with an address, where addresses lead to a path, share one, as they would a server.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from vecdb.database import VecDB
from vecdb.errors import InvalidInputError, NotADatabaseError, ReentrantCallError
from vecdb.qdrant.errors import AlreadyOpen, raised_as_there

MEMORY = ":memory:"
# A directory that clients open which are made with an address.
VARIABLE = "VECDB_QDRANT_PATH"

# Held to look at what follows and at holders, never while a database is opened or closed.
# Re-entrant, as whatever is finalized meanwhile may close a client.
_lock = threading.RLock()
_shared: WeakValueDictionary[str, Opened] = WeakValueDictionary()


class Opened:
    """A database that clients hold. The last of them that is closed closes it; if nothing refers to
    any of them, nothing does to the ``VecDB``, which then lets go of its directory by itself."""

    def __init__(self, holder: object) -> None:
        self.location = MEMORY  # or its path
        self.holders: WeakSet[object] = WeakSet([holder])
        self._database: Future[VecDB] = Future()
        self._busy_in = threading.get_ident()  # the thread that opens or closes it
        self._closing: threading.Event | None = None  # set when that has come to an end

    @property
    def database(self) -> VecDB:
        """The database, once it is open. Raises what opening it raised."""
        if not self._database.done():
            self._require_elsewhere()
        return self._database.result()

    def open(self, path: str | os.PathLike[str], before: Opened | None = None) -> None:
        """Open it, once the one before it is closed. Raises what ``VecDB`` raises, and so does
        ``database`` for who waits for it."""
        try:
            if before is not None:
                before.wait_until_closed()
            database = VecDB(path)
        except NotADatabaseError as error:
            self._database.set_exception(_told_of_local_mode(Path(path), error))
        except BaseException as error:
            self._database.set_exception(error)
        else:
            if path != MEMORY:
                self.location = str(database.path)
            self._database.set_result(database)
        self._database.result()

    def take(self, holder: object) -> bool:
        """One holder more, if it is not being closed. Under ``_lock``."""
        if self._closing is not None or _failed(self._database):
            return False
        self.holders.add(holder)
        return True

    def wait_until_closed(self) -> None:
        """If it is being closed, wait until it is."""
        closing = self._closing
        if closing is not None:
            self._require_elsewhere()
            closing.wait()

    def release(self, holder: object) -> None:
        """One holder less; the last one closes the database. Raises what ``VecDB.close`` does; of
        ReentrantCallError nothing has come, and it may be released again."""
        with _lock:
            if holder not in self.holders:
                return
            self.holders.remove(holder)
            if len(self.holders) > 0:
                return
            self._busy_in = threading.get_ident()
            closing = self._closing = threading.Event()
        try:
            self.database.close()
        except ReentrantCallError:
            with _lock:
                self._closing = None
                self.holders.add(holder)
            raise
        finally:
            closing.set()

    def _require_elsewhere(self) -> None:
        """This thread must not wait for itself, as a handler of signals would."""
        if self._busy_in == threading.get_ident():
            raise AlreadyOpen("this thread is in the middle of opening or closing this database")


def _failed(future: Future[VecDB]) -> bool:
    return future.done() and future.exception() is not None


def open_memory(holder: object) -> Opened:
    """A database of its own, which ends with its client."""
    return open_path(MEMORY, holder)


def open_path(path: str | os.PathLike[str], holder: object) -> Opened:
    """The database of a directory, which is made with its parents if it is not there.

    Raises AlreadyOpen, which says where, and what ``VecDB`` raises.
    """
    opened = Opened(holder)
    with raised_as_there():
        opened.open(path)
    return opened


def open_shared(path: str | os.PathLike[str], holder: object) -> Opened:
    """The same for all that ask for this directory: the first opens it, others wait for that.

    Raises as ``open_path``.
    """
    key = os.path.realpath(path)
    with _lock:
        before = _shared.get(key)
        if before is None or not before.take(holder):
            opened = _shared[key] = Opened(holder)
        else:
            opened = before
    with raised_as_there():
        try:
            if opened is before:
                _ = opened.database
            else:
                opened.open(path, before)
        except BaseException:  # it may have been interrupted, and the database be open
            with _lock:
                opened.holders.discard(holder)
            raise
    return opened


def _told_of_local_mode(path: Path, error: NotADatabaseError) -> NotADatabaseError:
    if not (path / "meta.json").is_file():
        return error
    return NotADatabaseError(
        f"{path} is a database of Qdrant's local mode. To copy it: "
        f"qdrant_client.QdrantClient(path={str(path)!r}).migrate("
        f"vecdb.qdrant.QdrantClient(path=...)), with the path of a new directory"
    )


def _after_fork() -> None:
    """The child has none of the parent's databases; and the lock may have been held, by a thread
    that is not there."""
    global _lock
    _lock = threading.RLock()
    _shared.clear()


os.register_at_fork(after_in_child=_after_fork)


# -- addresses -------------------------------------------------------------------------------

_served: Path | None = None


def serve(path: str | os.PathLike[str] | None) -> None:
    """Let addresses lead to this directory; None: to what the environment says."""
    global _served
    _served = None if path is None else Path(path).absolute()


def open_given(given: dict[str, Any], holder: object) -> Opened:
    """What the arguments of a client's constructor ask for.

    Raises InvalidInputError for an address that leads nowhere.
    """
    location, path = given.get("location"), given.get("path")
    named = [n for n in ("location", "url", "host", "path") if given.get(n) is not None]
    if len(named) > 1:
        raise InvalidInputError(f"expected one of location, url, host and path, got {named}")
    if path is not None:
        return open_path(path, holder)
    if location == MEMORY:
        return open_memory(holder)
    served = _served or os.environ.get(VARIABLE) or None
    if served is not None:
        return open_shared(served, holder)
    if not named:
        return open_memory(holder)
    raise InvalidInputError(
        f"{named[0]}={given[named[0]]!r}: vecdb connects to no server. Give path=, the directory "
        f"of the database; or let addresses lead to one, with the environment variable "
        f"{VARIABLE} or vecdb.qdrant.install(path=...)"
    )
