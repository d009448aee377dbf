"""Every exception vecdb raises on purpose.

::

    VecdbError
    ├── InvalidInputError (ValueError)          the request is wrong; nothing was changed
    ├── NotFoundError (LookupError, ValueError) no such collection, point or vector name
    ├── AlreadyExistsError (ValueError)         a collection or alias of that name exists
    ├── NotADatabaseError (ValueError)          the directory holds something else
    ├── FormatVersionError                      written by a newer vecdb
    ├── CorruptionError                         stored bytes are damaged; names the file
    ├── LockedError (BlockingIOError)           another process (or handle) has it open
    ├── ClosedError (ValueError)                used after close()
    ├── ForkError (RuntimeError)                used in a process forked from the opener
    ├── ReadOnlyError (PermissionError)         opened read-only, or closed to writes by a failure
    ├── PlaceTakenError (OSError)               what was opened is gone, or its path is another's
    ├── WriteError (OSError)                    a write failed and its outcome is unknown
    ├── StorageFullError (OSError)              no space; nothing of the write was kept
    ├── NotBegunError (OSError)                 a shortage that passes; nothing was done
    ├── OverBudgetError (MemoryError)           what is to be in memory exceeds memory_limit
    ├── RefreshError (OSError)                  some collections stay as they were
    ├── ReentrantCallError (RuntimeError)       called again from inside itself (signal handler)
    └── OptimizerError (RuntimeError)           a background build failed; the old segments serve

Each also derives from the builtin a caller would expect, so ``except ValueError`` works.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping

__all__ = [
    "AlreadyExistsError",
    "ClosedError",
    "CorruptionError",
    "ForkError",
    "FormatVersionError",
    "InvalidInputError",
    "LockedError",
    "NotADatabaseError",
    "NotBegunError",
    "NotFoundError",
    "OptimizerError",
    "OverBudgetError",
    "PlaceTakenError",
    "ReadOnlyError",
    "ReentrantCallError",
    "RefreshError",
    "StorageFullError",
    "VecdbError",
    "WriteError",
]


class VecdbError(Exception):
    """Base of every error vecdb raises on purpose."""


class InvalidInputError(VecdbError, ValueError):
    """The request is wrong: it says what was expected and what came. Nothing was changed."""


class NotFoundError(VecdbError, LookupError, ValueError):
    """The collection, point or vector name does not exist. A ValueError, too, as in the local mode
    of Qdrant's client: programs catch that to find out whether to make a collection."""


class AlreadyExistsError(VecdbError, ValueError):
    """A collection, or an alias, of that name exists already."""


class NotADatabaseError(VecdbError, ValueError):
    """The directory exists and holds something that is not a vecdb database."""


class FormatVersionError(VecdbError):
    """The files were written in a format newer than this version reads."""


class CorruptionError(VecdbError):
    """Stored bytes do not match their checksum or structure. ``path`` names the file."""

    def __init__(self, path: str | os.PathLike[str], detail: str) -> None:
        super().__init__(f"{os.fspath(path)}: {detail}")
        self.path = os.fspath(path)
        self.detail = detail

    def __reduce__(self) -> tuple[type[CorruptionError], tuple[str, str]]:
        return type(self), (self.path, self.detail)  # the default would pass the message alone


class LockedError(VecdbError, BlockingIOError):
    """Another process, or another handle in this one, has the database open for writing."""

    is_elsewhere = False  # whether that is another process, for sure


class ClosedError(VecdbError, ValueError):
    """The database or collection was used after it was closed."""


class ForkError(VecdbError, RuntimeError):
    """The database was opened in another process; a forked child must open its own."""


class ReadOnlyError(VecdbError, PermissionError):
    """Writes are refused: opened read-only, or an earlier write failed with unknown outcome."""


class PlaceTakenError(VecdbError, OSError):
    """The directory that was opened was removed, or something else stands at its path: nothing was
    written. Says what was expected, where that is now, and what stands in its place."""


class WriteError(VecdbError, OSError):
    """A write or its fsync failed; whether it is on disk is known only after reopening."""


class StorageFullError(VecdbError, OSError):
    """The disk is full. The write was undone; the collection goes on working."""


class NotBegunError(VecdbError, OSError):
    """A change could not be begun, of which nothing was done: there was no descriptor left, or no
    memory. It may be tried again; the collection goes on working."""


class OverBudgetError(VecdbError, MemoryError):
    """What is to be in memory does not fit ``memory_limit``: the database was not opened. Says what
    that is, how many bytes it takes, and what to change."""


class RefreshError(VecdbError, OSError):
    """Some collections could not be read anew, and stay as they were; all others have moved to
    their newest states. ``failed`` has the error of each, by its name."""

    def __init__(self, failed: Mapping[str, OSError]) -> None:
        super().__init__(failed)
        self.failed = dict(failed)

    def __str__(self) -> str:
        return "; ".join(f"collection {name!r}: {error}" for name, error in self.failed.items())


class ReentrantCallError(VecdbError, RuntimeError):
    """A signal handler or finalizer called the database in the middle of a call to it."""


class OptimizerError(VecdbError, RuntimeError):
    """A background build failed. The old segments go on serving; the status tells the reason."""


def copy_of(error: BaseException) -> BaseException:
    """The error once more, caused by it, for another caller: each raises an exception of its own,
    to which it may add what it likes."""
    try:
        own = copy.copy(error)
    except Exception:  # its class takes other arguments
        own = WriteError(f"{type(error).__name__}: {error}")
    if hasattr(error, "__notes__"):
        own.__notes__ = list(error.__notes__)
    own.__cause__ = error
    return own
