"""Place: a directory that was opened, told from whatever stands at its path later.

Every call that takes a path looks it up anew. If the directory was moved or removed, and another
one stands there, such a call writes to, renames in or removes from a stranger's directory. So a
process that has a database open holds a descriptor of its directory, and enters it for each step
that changes files::

    with place:
        fs.rename(place.path / "a", place.path / "b")

For the length of the block, every function of ``fs`` in this thread takes a path below
``place.path`` as a name in the directory that was opened, wherever that is now.

The directory of a collection is a place in that of its database. There may be thousands of them, so
each has a descriptor only for the length of a block, and must then be the same directory as before.
Inode numbers are given again after a removal, but not that of a file that somebody has open. So a
place is known by such a file in it, its *mark*: the LOCK of a database, the newest file of a
collection's log.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from vecdb.errors import PlaceTakenError, VecdbError

_log = logging.getLogger("vecdb")

Identity = tuple[int, int]
"""Device and inode: what tells a file from another one while both are there."""


class Mark(NamedTuple):
    """A file in a place that is held open, and the name it must have there."""

    name: str
    identity: Identity


MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)
"""Errors that say that there is nothing."""

_LOOK_EVERY = 0.001  # seconds
# O_PATH, for the directory itself is not read: one that may only be searched can be a place.
_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


class _Entered(threading.local):
    """The places that a thread has entered, the innermost last: the beginning of their paths, and
    descriptors."""

    def __init__(self) -> None:
        self.places: list[tuple[str, int]] = []


_entered = _Entered()


def located(path: str | os.PathLike[str]) -> tuple[str, int | None]:
    """The arguments of a system call for a path: a name, and the descriptor of the entered place
    that it is in; or the path itself. The place itself is ``"."``, which can be opened but not
    renamed or removed."""
    text = os.fspath(path)
    for prefix, fd in reversed(_entered.places):
        if text.startswith(prefix):
            return text[len(prefix) :], fd
        if text == prefix[:-1]:
            return ".", fd
    return text, None


@contextmanager
def at(path: Path) -> Iterator[tuple[str, int | None]]:
    """The result of ``located``, for a call in the block. An error names the path."""
    name, within = located(path)
    try:
        yield name, within
    except OSError as error:
        if within is not None and error.filename is not None:
            error.filename = os.fspath(path)
        raise


def open_at(path: str | Path, flags: int) -> int:
    """Open a path, as ``os.open`` does. A file that is made has the mode 0600."""
    name, within = located(path)
    try:
        return os.open(name, flags | os.O_CLOEXEC, 0o600, dir_fd=within)
    except OSError as error:
        error.filename = os.fspath(path)
        raise


def close_descriptor(fd: int) -> None:
    """Close a descriptor once. Whatever close(2) says, it is free and may be another file's a
    moment later: it must not be closed again. What had to be durable has been synced before."""
    try:
        os.close(fd)
    except OSError:
        pass


def path_of(fd: int) -> Path | None:
    """The path of a descriptor's directory now, as far as the system tells."""
    try:
        if hasattr(fcntl, "F_GETPATH"):  # pragma: no cover - macOS
            return Path(os.fsdecode(fcntl.fcntl(fd, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")))
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        return path if _identity(path) == _identity(fd) else None
    except OSError:
        return None


def _identity(file: str | Path | int, within: int | None = None) -> Identity | None:
    """Device and inode of a path, of a name in a directory, or of a descriptor; None if there is
    nothing."""
    try:
        stat = os.stat(file, dir_fd=within)
    except OSError as error:
        if error.errno in MISSING:
            return None
        raise
    return stat.st_dev, stat.st_ino


def _is(path: Path, fd: int) -> bool:
    """Whether the directory of a descriptor stands at a path, as far as one can tell."""
    try:
        return _identity(path) == _identity(fd)
    except OSError:
        return False


class Place:
    """A directory that was opened; any thread may enter it. ``path``: its path at that time.
    ``database``: the place that this one is in, whose descriptor leads to it. Without one, it holds
    a descriptor of its own until ``close``."""

    def __init__(self, path: Path, database: Place | None = None) -> None:
        """Raises OSError, and PlaceTakenError as ``__enter__`` does."""
        self.path = path
        self.mark: Mark | None = None
        """The file that tells this directory from any other, set by whoever holds it open."""
        self._database = database
        self._prefix = f"{path}/"
        self._guard = threading.Lock()  # between entering and closing
        self._lost: str | None = None
        self._told = False
        self._good_until = 0.0
        self._fd = -1
        if database is None:
            name, within = located(path)
            self._fd = os.open(name, _DIRECTORY, dir_fd=within)
            try:
                self._first = _identity(self._fd)
            except BaseException:
                self.close()
                raise
        else:
            with database:
                name, within = located(path)
                self._first = _identity(name, within)

    @property
    def is_lost(self) -> bool:
        """Whether it was found to be gone: then it stays so, whatever comes back."""
        return self._lost is not None

    def require_not_lost(self) -> None:
        """Raise PlaceTakenError if it ``is_lost``."""
        if self._lost is not None:
            raise self._taken(self._lost)

    def close(self) -> None:
        """Let the descriptor go; harmless when done already. A thread that has entered it stays in
        it."""
        with self._guard:
            if self._fd >= 0:
                close_descriptor(self._fd)
                self._fd = -1

    def leave(self) -> None:
        """``close``, in a forked child: another thread may have been copied in the middle."""
        self._guard = threading.Lock()
        self.close()

    # -- changing what is in it ----------------------------------------------------------------

    def __enter__(self) -> Place:
        """Enter it. Raises PlaceTakenError if the directory that was opened is no longer there: it
        was removed, or another stands in its place."""
        fd = self._opened()
        try:
            self._require_own(fd)
        except BaseException:
            close_descriptor(fd)
            raise
        _entered.places.append((self._prefix, fd))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave it. Raises PlaceTakenError if the block failed because the directory is gone."""
        _, fd = _entered.places.pop()
        try:
            if isinstance(error, (OSError, VecdbError)):
                self._require_own(fd)
        except PlaceTakenError as taken:
            raise taken from error
        except OSError:
            pass  # it cannot be told: the error stands
        finally:
            close_descriptor(fd)

    def _opened(self) -> int:
        """A new descriptor of the directory, or of what stands in its place in the database."""
        self.require_not_lost()
        if self._database is None:
            with self._guard:
                return os.dup(self._fd)
        with self._database:
            name, within = located(self.path)
            try:
                return os.open(name, _DIRECTORY, dir_fd=within)
            except OSError as error:
                if error.errno not in MISSING:
                    raise
                raise self._mark_lost("it was removed or moved away") from None

    def _require_own(self, fd: int) -> None:
        while True:
            mark = self.mark
            if mark is None:
                if _identity(fd) == self._first and os.fstat(fd).st_nlink:
                    return
            elif _identity(mark.name, fd) == mark.identity:
                return
            if self.mark is mark:  # else it has got another one meanwhile
                raise self._mark_lost(self._what_happened(fd, mark))

    def _what_happened(self, fd: int, mark: Mark | None) -> str:
        if os.fstat(fd).st_nlink == 0:
            return "it was removed"
        if mark is None or (self._database is not None and _identity(fd) != self._first):
            return "another directory stands there now"
        gone = "was removed" if _identity(mark.name, fd) is None else "is another file now"
        others = ": others may have opened it since" if self._database is None else ""
        return f"its {mark.name} {gone}{others}"

    # -- telling whether it is where it was ------------------------------------------------------

    def require(self) -> None:
        """Raise PlaceTakenError unless what is written here can be found later: the directory is
        there, and nothing else stands at its path. One that was moved, with nothing in its old
        place, is as good as ever."""
        self.require_not_lost()
        if self._database is not None:
            self._database.require()
        if self._is_at_path():
            return
        with self:
            if self._database is not None:
                return
            fd = _entered.places[-1][1]
            if _is(self.path, fd):
                return  # it could not be looked at this moment
            if os.path.lexists(self.path):
                raise self._taken(f"{_what_is_at(self.path)} stands there now", path_of(fd))
            self._tell_moved(path_of(fd))

    def require_for_write(self, *, removed: bool) -> None:
        """``require``, cheap enough for every write. A removal, which would lose the write, is seen
        at once: ``removed`` says that the mark has no name any more, or that nobody knows. For
        anything else one look a millisecond is enough: what is written until then is where all
        before it is."""
        if removed or time.monotonic() >= self._good_until:
            self.require()
            self._good_until = time.monotonic() + _LOOK_EVERY

    def now(self) -> Path:
        """Where the directory is now. Raises PlaceTakenError as ``__enter__`` does."""
        with self:
            if self._is_at_path():
                return self.path
            return path_of(_entered.places[-1][1]) or self.path

    def _is_at_path(self) -> bool:
        mark = self.mark
        try:
            if mark is not None:
                stat = os.stat(self._prefix + mark.name)
                return (stat.st_dev, stat.st_ino) == mark.identity
            return _identity(self.path) == self._first
        except OSError:
            return False

    def _tell_moved(self, now: Path | None) -> None:
        if not self._told:
            self._told = True
            _log.warning("%s was moved while it is open, to %s; it goes on there", self.path, now)

    def _mark_lost(self, why: str) -> PlaceTakenError:
        self._lost = why
        return self._taken(why)

    def _taken(self, why: str, now: Path | None = None) -> PlaceTakenError:
        where = f", which is {now} now" if now is not None else ""
        return PlaceTakenError(
            errno.ESTALE,
            f"{self.path}: expected the directory that was opened here{where}; {why}. No more "
            f"writes are taken: close this handle, and open what is to be used",
        )


@contextmanager
def entered(path: Path) -> Iterator[Place]:
    """Open a directory, and enter it for the length of a block."""
    place = Place(path)
    try:
        with place:
            yield place
    finally:
        place.close()


def _what_is_at(path: Path) -> str:
    """For a message."""
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            return "something that is no directory"
    except OSError:
        return "a link to nowhere"
    return "another database" if (path / "FORMAT").exists() else "another directory"
