"""The write-ahead log: frames appended and synced, replayed at open, retired by checkpoints.

Promises: when ``append`` returns at level ``always``, its operations survive power loss; at the
other levels they survive the death of the process, and after power loss a prefix without holes
is left. One frame is one group commit, and at level ``always`` the next frame is written only
after the sync of the one before returned. So a torn tail is exactly one frame, and a valid frame
*after* a bad one is proof of damage if the bad one is known to have been synced.

Recovery never appends to an old file: it starts a new one. Continuity is by sequence number, not
by file position, so a torn tail in one file followed by another file is normal.
"""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from vecdb.errors import (
    CorruptionError,
    NotBegunError,
    StorageFullError,
    WriteError,
)
from vecdb.storage import fs, layout, lookup
from vecdb.storage.format import (
    WalHeader,
    pack_frame,
)
from vecdb.storage.place import Mark

SyncLevel = Literal["always", "interval", "never"]
LogLevel = Literal[SyncLevel, "none"]
"""The sync level, or ``none`` for a database that ends with its process: one file begins, and
nothing is written."""

_MOST_AWAKE = 1024


class Wal:
    """The log of one collection, open for appending. Not thread-safe: the caller's lock orders.

    Invariants: ``_files`` is sorted by first seq and its last entry is the open file; after a
    failure nothing is ever appended or synced again.
    """

    def __init__(self, directory: Path, uuid: bytes, level: LogLevel) -> None:
        self._directory = directory
        self._uuid = uuid
        self._files: list[tuple[int, int]] = []  # first seq, bytes
        for first_seq, path in wal_files(directory):
            try:
                self._files.append((first_seq, lookup.status(path).st_size))
            except OSError:  # only read here, and just retired; or damage, which a replay finds
                pass
        self._file: fs.AppendFile | None = None
        self._guard = threading.RLock()  # between a write and ``rest``, which another log asks for
        self._salt = 0
        self._synced = True  # everything written so far has been synced
        self.level: LogLevel = level
        self.failed: str | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size in self._files)

    @property
    def mark(self) -> Mark | None:
        """The open file, by its name in the collection's directory."""
        file = self._file
        return None if file is None else file.as_mark(f"{layout.WAL}/{file.path.name}")

    @property
    def is_open(self) -> bool:
        """Whether there is a file to append to."""
        return self._file is not None

    @property
    def is_removed(self) -> bool:
        """Whether the open file has no name any more, or rests: then only a look can tell."""
        with self._guard:
            return self._file is None or self._file.is_removed

    @property
    def rests(self) -> bool:
        """Whether the file has to be opened again for the next write."""
        return self._file is not None and self._file.rests and self.level != "none"

    @property
    def dirty(self) -> bool:
        """Whether something was written since the last sync."""
        return not self._synced

    def start_file(self, first_seq: int, transaction: int = 0) -> None:
        """Close the current file and begin one whose first frame starts at ``first_seq``. It says
        that the catalog has got to ``transaction``: an older copy of it is recognised.

        The file gets its name only when its header is durable, so a file with a bad header is
        damage and never a crash. Raises OSError if it could not be begun, and the log goes on in
        the current file; WriteError if nothing may be written any more.
        """
        if self.level == "none" and self._file is not None:
            return  # a gap between two would be missing operations to a reader
        with self._guard:
            self.sync()
            with fs.ready_to_sync(self._directory):
                self._start_file(first_seq, transaction)

    def _start_file(self, first_seq: int, transaction: int) -> None:
        salt = int.from_bytes(os.urandom(8), "big")
        temporary = self._directory / layout.new_dir()
        path = self._directory / layout.wal_file(first_seq)
        header = WalHeader(self._uuid, salt, first_seq, transaction).pack()
        file = fs.AppendFile(temporary)
        try:
            file.append([header])
            file.sync()
        except BaseException:
            file.close()
            fs.remove_file(temporary)
            raise
        file.path = path
        try:
            fs.rename(temporary, path)
            fs.sync_dir(self._directory)
        except BaseException as error:  # also what the handler of a signal raises, a time limit
            # The file may have its name or not, now and after a crash: a rename that failed may
            # have been done. Writing on in the old one would leave operations behind a file that
            # says it begins before them, and with it they would be taken for retired.
            file.close()
            self.failed = f"{path}: it may have its name or not: {error or type(error).__name__}"
            if not isinstance(error, OSError):
                raise
            raise WriteError(error.errno, self.failed) from error
        if self._file is not None:
            self._file.close()
        # An empty file that an earlier open left behind has just been replaced by its namesake.
        self._files = [entry for entry in self._files if entry[0] != first_seq]
        self._file, self._salt = file, salt
        self._files.append((first_seq, file.length))
        with suppress(OSError):  # it will do with a descriptor, too
            file.rest()

    def append(self, first_seq: int, operations: Sequence[Sequence[Any]]) -> None:
        """Write one frame; at level ``always`` it is durable when this returns.

        Raises NotBegunError without a descriptor to write with, StorageFullError when the frame
        could be taken back whole, WriteError when the outcome is unknown: ``failed`` says why.
        """
        if self.level == "none":
            return
        with self._guard:
            if self.rests:
                _awake.enter(self)
                self._wake()
            self._append(first_seq, operations)

    def _append(self, first_seq: int, operations: Sequence[Sequence[Any]]) -> None:
        assert self._file is not None
        assert self.failed is None
        start = self._file.length
        frame = pack_frame(self._salt, first_seq, operations, self._synced)
        try:
            self._file.append(frame)
        except OSError as error:
            self._undo(start, error)
        self._synced = False
        if self.level == "always":
            self.sync()
        self._files[-1] = (self._files[-1][0], self._file.length)

    def sync(self) -> None:
        """Make all that was appended durable. Raises WriteError, after which nothing is written.

        A failed sync is never tried again: the kernel may have dropped the pages and would
        report success without the data.
        """
        with self._guard:
            if self._file is None or self._synced:
                return
            try:
                self._file.sync()
            except OSError as error:
                self.failed = f"{self._file.path}: fsync failed: {error}"
                raise WriteError(error.errno, self.failed) from error
            self._synced = True

    def rest(self) -> bool:
        """Let the descriptor go until the next write. False: a write is under way. A sync that
        fails closes the log to writes, as any other."""
        if not self._guard.acquire(blocking=False):
            return False
        try:
            with suppress(OSError):
                if self._file is not None and self.failed is None:
                    self.sync()
                    self._file.rest()
        finally:
            self._guard.release()
        return True

    def _wake(self) -> None:
        assert self._file is not None
        try:
            self._file.wake()
        except OSError as error:
            path = self._file.path
            if error.errno in fs.SCARCE:
                raise NotBegunError(error.errno, f"{path}: {error.strerror}") from error
            self.failed = f"{path}: cannot be opened again: {error.strerror}"
            raise WriteError(error.errno, self.failed) from error

    def retire(self, applied_seq: int) -> None:
        """Remove files that hold nothing beyond ``applied_seq``; the open file always stays."""
        while len(self._files) > 1 and self._files[1][0] <= applied_seq + 1:
            try:
                fs.remove_file(self._directory / layout.wal_file(self._files[0][0]))
            except OSError:
                return  # it is in nobody's way, and the next removal tries again
            del self._files[0]

    def close(self) -> None:
        """Close the file without syncing; harmless when closed already."""
        with self._guard:
            self.release()
        _awake.leave(self)

    def release(self) -> None:
        """``close`` in a forked child, which must not wait for a lock."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _undo(self, start: int, error: OSError) -> None:
        assert self._file is not None
        path = self._file.path
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            try:
                self._file.truncate(start)
                self._file.sync()
            except OSError:
                pass
            else:
                raise StorageFullError(error.errno, f"{path}: no space for the write") from error
        self.failed = f"{path}: write failed: {error}"
        raise WriteError(error.errno, self.failed) from error


class _Awake:
    """The logs of this process that hold a descriptor. There may be thousands of collections:
    beyond a quarter of all descriptors, the logs that have held theirs longest rest."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin anew, also in a forked child: the logs are its parent's, and their lock may have
        been held."""
        self._lock = threading.Lock()
        self._logs: dict[Wal, None] = {}  # the longest awake first

    def enter(self, log: Wal) -> None:
        """Add a log. The caller holds its guard, or it might be told to rest before it is awake."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most = _MOST_AWAKE if limit < 0 else min(max(1, limit // 4), _MOST_AWAKE)
        with self._lock:
            self._logs.pop(log, None)
            surplus = list(self._logs)[: max(0, len(self._logs) + 1 - most)]
            for other in surplus:
                del self._logs[other]
            self._logs[log] = None
        busy = [other for other in surplus if not other.rest()]
        with self._lock:
            self._logs.update(dict.fromkeys(busy))

    def leave(self, log: Wal) -> None:
        """It has closed its file."""
        with self._lock:
            self._logs.pop(log, None)


_awake = _Awake()
os.register_at_fork(after_in_child=_awake.begin)


def wal_files(directory: Path) -> list[tuple[int, Path]]:
    """The WAL files of a directory, oldest first: (first seq, path)."""
    files = []
    with fs.must_exist(directory, "directory"):
        paths = lookup.entries(directory)
    for path in paths:
        first_seq = layout.parse_wal_file(path.name)
        if first_seq is not None:
            if lookup.is_dir(path):
                raise CorruptionError(path, "is not a file")
            files.append((first_seq, path))
    return sorted(files)
