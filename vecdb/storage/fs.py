"""The only module that changes files.

Everything durable goes through these functions and ``write(2)``, never through a writable mapping,
so the order of durable steps can be read in the callers and recorded by a test. Each function does
one thing; the protocols (write, sync, sync the directory, publish) are spelled out where they are
used. The one exception is LMDB, which writes its own file (``catalog.py``).

If the thread has entered a place (``place.py``), a path below it is a name in the directory that
was opened, not in whatever stands at that path now. ``lookup.py`` looks at files in the same way.

Directories are made 0700 and files 0600: a database may hold what its user would not show.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vecdb.errors import CorruptionError, LockedError, StorageFullError, WriteError
from vecdb.storage import lookup
from vecdb.storage.mapping import Mapping
from vecdb.storage.place import Identity, Mark, at, close_descriptor, located, open_at

Buffer = Any  # bytes, memoryview or a C-contiguous numpy array

SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of a process or system that has too much open: nothing was done, and it passes."""

_UNREADABLE = (errno.EIO, errno.EBADMSG, errno.EUCLEAN)
"""Errors of a disk or file system that has lost what it was given."""
_ROOMY = 1 << 30  # bytes that are enough for a temporary database to begin with
# Readable only because ``rest`` maps it.
_APPEND = os.O_RDWR | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
_BUFFERS_PER_WRITE = 512  # below IOV_MAX (1024) everywhere


@contextmanager
def must_exist(path: Path, what: str = "file") -> Iterator[None]:
    """For a block that opens something which must be there: if it is missing, or something else
    stands in its place (a directory, a link to nowhere or to itself), that is damage. Raises
    CorruptionError."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise CorruptionError(path, f"the {what} is missing") from None
        if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.ELOOP):
            raise CorruptionError(path, f"is not a {what}: {error.strerror}") from None
        raise


@contextmanager
def must_be_readable(path: Path) -> Iterator[None]:
    """For a block that reads what can be made anew from other files: if the disk cannot read it,
    that is damage. Raises CorruptionError."""
    try:
        yield
    except OSError as error:
        if error.errno in _UNREADABLE:
            raise CorruptionError(path, f"cannot be read: {error.strerror}") from error
        raise


@contextmanager
def raising_storage_full(path: Path) -> Iterator[None]:
    """Raise a full disk as StorageFullError, for a block that takes back what it has begun. An
    error that says its outcome is unknown goes on saying so."""
    try:
        yield
    except (StorageFullError, WriteError):
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFullError(error.errno, f"{path}: {error.strerror}") from error
        raise


def make_dir(path: Path) -> None:
    """Create one directory, 0700. Not durable before ``sync_dir`` of its parent."""
    with at(path) as (name, within):
        os.mkdir(name, 0o700, dir_fd=within)


TEMPORARY_PREFIX = "vecdb-"


def make_temporary_dir() -> Path:
    """Create a private directory: in memory if the system offers enough of it. A container may have
    64 MB, or none that can be written to."""
    import tempfile  # it brings what only databases in memory have a use for

    memory, usual = Path("/dev/shm"), Path(tempfile.gettempdir())
    roomy = (lookup.free_bytes(memory) or 0) >= min(_ROOMY, lookup.free_bytes(usual) or 0)
    for parent in (memory, usual) if roomy else (usual, memory):
        with suppress(OSError):
            return Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=parent))
    return Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX))  # the error is the usual place's


@contextmanager
def private_copy(data: Buffer) -> Iterator[Path]:
    """A file with this content for the length of a block, and a path to open it by. It is in
    memory, without a directory, if the system offers that."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        with open(os.memfd_create("vecdb"), "wb") as file:
            file.write(data)
            file.flush()
            yield Path(f"/proc/self/fd/{file.fileno()}")
        return
    scratch = make_temporary_dir()  # pragma: no cover - macOS
    try:
        with open(scratch / "copy", "xb") as file:
            file.write(data)
        yield scratch / "copy"
    finally:
        remove_tree(scratch)


def sync_dir(path: Path) -> None:
    """Make the names in a directory durable."""
    ready = _ready.directories.get(path)
    fd = _open_dir(path) if ready is None else ready
    try:
        os.fsync(fd)
    finally:
        if ready is None:
            close_descriptor(fd)


@contextmanager
def ready_to_sync(path: Path) -> Iterator[None]:
    """Hold a descriptor of this directory, so that ``sync_dir`` in the block needs none. If no
    descriptor is left, this fails before a rename that must be synced has begun."""
    before = _ready.directories
    fd = _open_dir(path)
    _ready.directories = {**before, path: fd}
    try:
        yield
    finally:
        _ready.directories = before
        close_descriptor(fd)


class _Ready(threading.local):
    def __init__(self) -> None:
        self.directories: dict[Path, int] = {}


_ready = _Ready()


def _open_dir(path: Path) -> int:
    return open_at(path, os.O_RDONLY | os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make the content of an existing file durable."""
    fd = open_at(path, os.O_RDONLY)
    try:
        _full_sync(fd)
    finally:
        close_descriptor(fd)


def rename(source: Path, target: Path) -> None:
    """Give ``source`` the name ``target`` in one atomic step. Not durable before ``sync_dir``."""
    (old, within), (new, into) = located(source), located(target)
    try:
        os.replace(old, new, src_dir_fd=within, dst_dir_fd=into)
    except OSError as error:
        error.filename, error.filename2 = os.fspath(source), os.fspath(target)
        raise


def remove_file(path: Path) -> None:
    """Remove a file; it may be gone already."""
    try:
        with at(path) as (name, within):
            os.unlink(name, dir_fd=within)
    except FileNotFoundError:
        pass


def remove_tree(path: Path) -> None:
    """Remove a directory and all in it, never following links; it may be gone already."""
    with at(path) as (name, within):
        if _is_directory(name, within):
            _remove_tree(name, within)
        elif lookup.exists(path):
            os.unlink(name, dir_fd=within)


def _is_directory(name: str, within: int | None) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=within, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _remove_tree(name: str, within: int | None) -> None:
    """Remove a tree as ``shutil.rmtree`` does, which takes no descriptor before Python 3.11."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=within)
    try:
        for entry in os.listdir(fd):
            if _is_directory(entry, fd):
                _remove_tree(entry, fd)
            else:
                os.unlink(entry, dir_fd=fd)
    finally:
        close_descriptor(fd)
    os.rmdir(name, dir_fd=within)


def remove_empty_dir(path: Path) -> None:
    """Remove a directory, unless something is in it."""
    with suppress(OSError), at(path) as (name, within):
        os.rmdir(name, dir_fd=within)


def discard(path: Path) -> None:
    """Remove a file or a directory that nothing refers to any more. That it cannot be removed now
    (another process has it open on a network disk, say) is no failure of what replaced it: the next
    open tries again."""
    with suppress(OSError):
        if lookup.is_dir(path):
            remove_tree(path)
        else:
            remove_file(path)


def write_file(path: Path, data: Buffer) -> None:
    """Create a file with this content and sync it. Raises FileExistsError if it exists."""
    file = AppendFile(path)
    try:
        file.append([data])
        file.sync()
    finally:
        file.close()


def reserve(path: Path, size: int) -> None:
    """Make a file if there is none, give it at least this length, and all of that length space on
    the disk. Without space, a process that writes through a mapping is killed when the disk is
    full."""
    fd = open_at(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0))
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)
        elif os.fstat(fd).st_size < size:  # pragma: no cover - macOS
            os.pwrite(fd, bytes(size), 0)
    finally:
        close_descriptor(fd)


# -- files that are open -------------------------------------------------------------------------


def _full_sync(fd: int) -> None:
    # macOS: fsync leaves data in the drive's cache; only F_FULLFSYNC reaches the medium.
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:  # pragma: no cover
        fcntl.fcntl(fd, full)
    else:
        os.fsync(fd)


class AppendFile:
    """A new file that only grows. ``length`` is what has been written, synced or not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.length = 0
        self._held: Mapping | None = None
        self._fd = open_at(path, _APPEND | os.O_CREAT | os.O_EXCL)
        stat = os.fstat(self._fd)
        self.identity: Identity = stat.st_dev, stat.st_ino
        """Whose its name is."""

    def as_mark(self, name: str) -> Mark:
        """This file as the mark of a place, in which it has this name."""
        return Mark(name, self.identity)

    @property
    def is_removed(self) -> bool:
        """Whether the file has no name any more, or rests: then only a look can tell."""
        return self._fd < 0 or not os.fstat(self._fd).st_nlink

    @property
    def rests(self) -> bool:
        """Whether it must be woken before it is written to."""
        return self._fd < 0

    def rest(self) -> None:
        """Let the descriptor go until ``wake``. All that was written must be synced: a later
        failure would go unnoticed. A mapping keeps the file meanwhile, so that its inode is not
        given to another."""
        if self._fd >= 0:
            self._held = self._held or Mapping(self._fd, 1)
            self._let_go()

    def wake(self) -> None:
        """Open it again. Raises OSError; ESTALE, if another file stands in its place."""
        if self._fd >= 0:
            return
        fd = open_at(self.path, _APPEND)
        stat = os.fstat(fd)
        if (stat.st_dev, stat.st_ino, stat.st_size) != (*self.identity, self.length):
            close_descriptor(fd)
            raise OSError(errno.ESTALE, "is not the file that was written", str(self.path))
        self._fd = fd

    def append(self, buffers: Sequence[Buffer]) -> None:
        """Write the buffers one after another. On OSError ``length`` tells how far it came."""
        pending = [memoryview(b).cast("B") for b in buffers if memoryview(b).nbytes]
        while pending:
            written = os.writev(self._fd, pending[:_BUFFERS_PER_WRITE])
            self.length += written
            done = 0
            while done < len(pending) and written >= len(pending[done]):
                written -= len(pending[done])
                done += 1
            pending = pending[done:]
            if written:
                pending[0] = pending[0][written:]

    def sync(self) -> None:
        """fdatasync: content and length are durable when this returns."""
        if hasattr(fcntl, "F_FULLFSYNC"):  # pragma: no cover
            _full_sync(self._fd)
        else:
            os.fdatasync(self._fd)

    def truncate(self, length: int) -> None:
        """Cut the file back to ``length`` bytes (undoing a failed append)."""
        os.ftruncate(self._fd, length)
        self.length = length

    def close(self) -> None:
        """Close the descriptor; harmless when closed already."""
        self._held = None
        if self._fd >= 0:
            self._let_go()

    def _let_go(self) -> None:
        # Forget it first: a child forked in between would close a descriptor that may be another
        # file's.
        fd, self._fd = self._fd, -1
        close_descriptor(fd)


def _open_lock(path: Path, reading: bool) -> int:
    if not reading:
        try:
            return open_at(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            why = f"{path}: {error.strerror}; what may not be written to opens with read_only=True"
            raise OSError(error.errno, why) from None
    try:
        return open_at(path, os.O_RDWR)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return open_at(path, os.O_RDONLY)


class FileLock:
    """An exclusive lock on a file, held by this handle until ``release`` or process end.

    ``flock`` belongs to the open file, so a second open in the same process is refused too
    (POSIX record locks would be granted, and lost when any descriptor of the file is closed).
    """

    def __init__(self, path: Path, what: str, *, reading: bool = False) -> None:
        """``reading``: nothing will be written. The file is then not made, and need not be ours to
        write to."""
        with must_exist(path):
            self._fd = _open_lock(path, reading)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._holder()
            self.release()
            here = holder.startswith(f"pid {os.getpid()} ")
            if here:
                holder = f"this process ({holder}), by another VecDB that was not closed"
            error = LockedError(
                f"{what} is open for writing by {holder or 'another process'}; "
                f"close it there first (lock file {path})"
            )
            error.is_elsewhere = bool(holder) and not here
            raise error from None
        except BaseException:
            self.release()
            raise
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"pid {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        except OSError:
            pass  # only a courtesy: a full disk must not keep the database from being opened

    def as_mark(self, name: str) -> Mark:
        """The lock file as the mark of a place, in which it has this name."""
        stat = os.fstat(self._fd)
        return Mark(name, (stat.st_dev, stat.st_ino))

    def is_at(self, path: Path) -> bool:
        """Whether the file of this path is the one that is locked: it may have been removed before
        the lock was had."""
        with suppress(FileNotFoundError):
            there, mine = os.stat(path), os.fstat(self._fd)
            return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
        return False

    def _holder(self) -> str:
        try:
            return os.pread(self._fd, 200, 0).decode("utf-8", "replace").strip()
        except OSError:
            return ""

    def release(self) -> None:
        """Close our descriptor; in a forked child, the copy that would outlive the parent.

        Harmless when released already.
        """
        if self._fd >= 0:
            close_descriptor(self._fd)
            self._fd = -1
