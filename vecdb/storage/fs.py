"""The only module that changes files.

Everything durable goes through these functions and ``write(2)``, never through a writable
mapping, so the order of durable steps can be read off the callers and recorded by a test.
Each function does one thing; the protocols (write, sync, sync the directory, publish) are
spelled out where they are used. The one exception is LMDB, which writes its own file
(``catalog.py``).

Directories are made 0700 and files 0600: a database may hold what its user would not show.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vecdb.errors import CorruptionError, LockedError, StorageFullError, WriteError
from vecdb.storage.mapping import Mapping

Buffer = Any  # bytes, memoryview or a C-contiguous numpy array

_ROOMY = 1 << 30  # bytes that are enough for a temporary database to begin with
# Readable only because ``rest`` maps it.
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
_BUFFERS_PER_WRITE = 512  # below IOV_MAX (1024) everywhere


@contextmanager
def required(path: Path, what: str = "file") -> Iterator[None]:
    """Something that must be there is opened: if it is missing, or something else stands in its
    place (a directory, a link to nowhere or to itself), that is damage. Raises CorruptionError."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise CorruptionError(path, f"the {what} is missing") from None
        if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.ELOOP):
            raise CorruptionError(path, f"is not a {what}: {error.strerror}") from None
        raise


@contextmanager
def told_when_full(path: Path) -> Iterator[None]:
    """A full disk is a StorageFullError: for what takes back what it has begun. What says already
    that its outcome is unknown goes on saying so."""
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
    os.mkdir(path, 0o700)


def make_temporary_dir() -> Path:
    """Create a private directory, in memory where the system offers enough of that: a container
    may have 64 MB of it, or none that may be written to."""
    memory, usual = Path("/dev/shm"), Path(tempfile.gettempdir())
    roomy = _free(memory) >= min(_ROOMY, _free(usual))
    for parent in (memory, usual) if roomy else (usual, memory):
        with suppress(OSError):
            return Path(tempfile.mkdtemp(prefix="vecdb-", dir=parent))
    return Path(tempfile.mkdtemp(prefix="vecdb-"))  # the error is the usual place's


def _free(directory: Path) -> int:
    """Bytes that may be written there; 0 if there is no such directory."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


@contextmanager
def private_copy(data: Buffer) -> Iterator[Path]:
    """A file with this content for the time of a block, and a path to open it by: in memory that
    no directory is needed for, where the system offers that."""
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


def identity(path: Path) -> tuple[int, int]:
    """What tells a file from another one that comes into its place while both are there."""
    found = os.stat(path)
    return found.st_dev, found.st_ino


def sync_dir(path: Path) -> None:
    """Make the names in a directory durable."""
    ready = _ready.directories.get(path)
    fd = _open_dir(path) if ready is None else ready
    try:
        os.fsync(fd)
    finally:
        if ready is None:
            _close(fd)


@contextmanager
def ready_to_sync(path: Path) -> Iterator[None]:
    """In the block ``sync_dir`` of this directory needs no descriptor any more. What must not stop
    between a rename and its sync fails before it begins when there is none left."""
    before = _ready.directories
    fd = _open_dir(path)
    _ready.directories = {**before, path: fd}
    try:
        yield
    finally:
        _ready.directories = before
        _close(fd)


class _Ready(threading.local):
    def __init__(self) -> None:
        self.directories: dict[Path, int] = {}


_ready = _Ready()


def _open_dir(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def sync_file(path: Path) -> None:
    """Make the content of an existing file durable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _full_sync(fd)
    finally:
        _close(fd)


def rename(source: Path, target: Path) -> None:
    """Give ``source`` the name ``target`` in one atomic step. Not durable before ``sync_dir``."""
    os.replace(source, target)


def remove_file(path: Path) -> None:
    """Remove a file; one that is gone already is fine."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def remove_tree(path: Path) -> None:
    """Remove a directory and all in it, never following links; fine when it is gone already."""
    if path.is_symlink():
        os.unlink(path)
    elif path.exists():
        shutil.rmtree(path)


def discard(path: Path) -> None:
    """Remove a file or a directory that nothing refers to any more. If it cannot be removed now
    (another process has it open on a network disk, say), that is no failure of what it was
    replaced by: the next open tries again."""
    with suppress(OSError):
        if path.is_dir():
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


def free_bytes(path: Path) -> int | None:
    """What may still be written there; None if that cannot be told, as of what is gone."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def reserve(path: Path, size: int) -> None:
    """Give a file, made if there is none, at least this length, and all of that the space it needs:
    who writes through a mapping to what has none is killed when the disk is full."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    fd = os.open(path, flags, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)
        elif os.fstat(fd).st_size < size:  # pragma: no cover - macOS
            os.pwrite(fd, bytes(size), 0)
    finally:
        _close(fd)


def _close(fd: int) -> None:
    # Whatever close(2) says, the descriptor is free and may be another file's a moment later: it
    # must not be closed again. What had to be durable has been synced before.
    try:
        os.close(fd)
    except OSError:
        pass


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
        self._fd = os.open(path, _APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        found = os.fstat(self._fd)
        self.identity = found.st_dev, found.st_ino

    @property
    def rests(self) -> bool:
        """Whether it must be woken before it is written to."""
        return self._fd < 0

    def rest(self) -> None:
        """Let the descriptor go until ``wake``. All that was written must be synced: nobody would
        hear of it if it failed later. A mapping keeps the file meanwhile, so that its inode is not
        another file's."""
        if self._fd >= 0:
            self._held = self._held or Mapping(self._fd, 1)
            _close(self._fd)
            self._fd = -1

    def wake(self) -> None:
        """Open it again. Raises OSError; ESTALE, if another file stands in its place."""
        if self._fd >= 0:
            return
        fd = os.open(self.path, _APPEND)
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino, found.st_size) != (*self.identity, self.length):
            _close(fd)
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
            _close(self._fd)
            self._fd = -1


def _open_lock(path: Path, reading: bool) -> int:
    if not reading:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            why = f"{path}: {error.strerror}; what may not be written to opens with read_only=True"
            raise OSError(error.errno, why) from None
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


class FileLock:
    """An exclusive lock on a file, held by this handle until ``release`` or process end.

    ``flock`` belongs to the open file, so a second open in the same process is refused too
    (POSIX record locks would be granted, and lost when any descriptor of the file is closed).
    """

    def __init__(self, path: Path, what: str, *, reading: bool = False) -> None:
        """``reading``: nothing will be written, so the file is not made, and need not be ours to
        write to."""
        with required(path):
            self._fd = _open_lock(path, reading)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._holder()
            self.release()
            if holder.startswith(f"pid {os.getpid()} "):
                holder = f"this process ({holder}), by another VecDB that was not closed"
            raise LockedError(
                f"{what} is open for writing by {holder or 'another process'}; "
                f"close it there first (lock file {path})"
            ) from None
        except BaseException:
            self.release()
            raise
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        except OSError:
            pass  # only a courtesy: a full disk must not keep the database from being opened

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
            _close(self._fd)
            self._fd = -1
