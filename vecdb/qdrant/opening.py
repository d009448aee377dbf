"""Which database a client gets, and when it is let go.

A client that is made with a path has that database for itself, as in Qdrant's local mode. Those
that are made with an address, where addresses lead to a path, share one, as they would a server.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from vecdb.database import VecDB
from vecdb.errors import InvalidInputError, NotADatabaseError, ReentrantCallError, copy_of
from vecdb.qdrant.errors import AlreadyOpen, raised_as_there

MEMORY = ":memory:"
# A directory that clients open which are made with an address.
VARIABLE = "VECDB_QDRANT_PATH"

OF_BUDGET = ("memory_limit", "on_over_budget")
"""What a client's constructor takes for that of ``VecDB``; of those that share a database the first
decides."""
_UNLIMITED: dict[str, Any] = {}

# Held to look at what follows and at holders, never while a database is opened or closed.
# Re-entrant, as whatever is finalized meanwhile may close a client.
_lock = threading.RLock()
_shared: WeakValueDictionary[str, Opened] = WeakValueDictionary()


class Opened:
    """A database that clients hold. The last of them that is closed closes it; if nothing refers to
    any of them, nothing does to the ``VecDB``, which then lets go of its directory by itself.

    It is in the hands of the thread that makes this until ``open`` has ended, and again while a
    thread closes it."""

    def __init__(self) -> None:
        self.location = MEMORY  # or its path
        self.holders: WeakSet[object] = WeakSet()
        self.database: VecDB | None = None  # while it is open
        self._failure: Exception | None = None
        self._busy_in = threading.get_ident()  # the thread in whose hands it is, or was
        self._idle = threading.Event()

    def open(self, path: str | os.PathLike[str], holder: object, budget: dict[str, Any]) -> None:
        """Open it, for its first holder, with these arguments of ``VecDB``. Raises what that
        raises, and so does ``wait_until_idle``; but what interrupts this thread
        (KeyboardInterrupt) is not for others.
        """
        try:
            self.database = VecDB(path, **budget)
            if path != MEMORY:
                self.location = str(self.database.path)
            self.holders.add(holder)
        except NotADatabaseError as error:
            self._failure = _told_of_local_mode(Path(path), error)
            raise self._failure from None
        except Exception as error:
            self._failure = error
            raise
        finally:
            self._idle.set()

    def take(self, holder: object) -> bool:
        """One holder more, if it is open. Under ``_lock``."""
        if not self._idle.is_set() or self.database is None:
            return False
        self.holders.add(holder)
        return True

    @property
    def gone(self) -> bool:
        """Whether it is not open, nor will be any more. Under ``_lock``."""
        return self._idle.is_set() and self.database is None

    def require_elsewhere(self) -> None:
        """This thread must not wait for itself, as a handler of signals would. Under ``_lock``."""
        if not self._idle.is_set() and self._busy_in == threading.get_ident():
            raise AlreadyOpen("this thread is in the middle of opening or closing this database")

    def wait_until_idle(self) -> None:
        """Wait until it was opened or closed. Raises a copy of what opening it raised."""
        self._idle.wait()
        if self._failure is not None:
            raise copy_of(self._failure)

    def release(self, holder: object) -> None:
        """One holder less; the last one closes the database. Raises what ``VecDB.close`` does; of
        ReentrantCallError nothing has come, and it may be released again."""
        with _lock:
            if holder not in self.holders:
                return
            self.holders.remove(holder)
            if len(self.holders) > 0 or self.database is None:
                return
            self._busy_in = threading.get_ident()
            self._idle.clear()
            database, self.database = self.database, None
        try:
            database.close()
        except ReentrantCallError:
            with _lock:
                self.holders.add(holder)
                self.database = database
            raise
        finally:
            self._idle.set()


def open_path(
    path: str | os.PathLike[str], holder: object, budget: dict[str, Any] = _UNLIMITED
) -> Opened:
    """The database of a directory, which is made with its parents if it is not there.

    Raises AlreadyOpen, which says where, and what ``VecDB`` raises.
    """
    opened = Opened()
    with raised_as_there():
        opened.open(path, holder, budget)
    return opened


def open_shared(
    path: str | os.PathLike[str], holder: object, budget: dict[str, Any] = _UNLIMITED
) -> Opened:
    """The same for all that ask for this directory: the first opens it, others wait for that, and
    for its end while it is closed.

    Raises as ``open_path``.
    """
    key = os.path.realpath(path)
    with raised_as_there():
        while True:
            with _lock:
                there = _shared.get(key)
                if there is None or there.gone:
                    opened = _shared[key] = Opened()
                    break
                if there.take(holder):
                    return there
                there.require_elsewhere()
            there.wait_until_idle()
        opened.open(path, holder, budget)
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

    Raises InvalidInputError for an address that leads nowhere. Arguments without any place are one:
    Qdrant's client connects to localhost then, where what is written stays.
    """
    location, path = given.get("location"), given.get("path")
    budget = {name: given[name] for name in OF_BUDGET if given.get(name) is not None}
    named = [n for n in ("location", "url", "host", "path") if given.get(n) is not None]
    if len(named) > 1:
        raise InvalidInputError(f"expected one of location, url, host and path, got {named}")
    if path is not None:
        return open_path(path, holder, budget)
    if location == MEMORY:  # one of its own, which ends with its client
        return open_path(MEMORY, holder, budget)
    served = _served or os.environ.get(VARIABLE) or None
    if served is not None:
        return open_shared(served, holder, budget)
    asked = f"{named[0]}={given[named[0]]!r}" if named else "no place, which means localhost"
    raise InvalidInputError(
        f"{asked}: vecdb connects to no server. Give path=, the directory of the database, or "
        f"{MEMORY!r} for a temporary one; or let addresses lead to a directory, with the "
        f"environment variable {VARIABLE} or vecdb.qdrant.install(path=...)"
    )
