"""Replay: what a log holds beyond the catalog, and whether it ends in a torn tail or in damage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from vecdb.errors import CorruptionError, FormatVersionError
from vecdb.storage import fs, lookup
from vecdb.storage.format import (
    FRAME_MAGIC,
    HEADER_SIZE,
    DamageError,
    WalHeader,
    frame_size,
    unpack_frame,
)
from vecdb.storage.wal import wal_files

# A limit for hashing, to tell a torn tail from damage: each byte of a file a few times, more often
# in a small file.
_SEARCH_TIMES = 64
_SEARCH_BYTES = 1 << 28


class Replay(Struct):
    """Reads a log. The fields are filled in while ``operations`` is consumed."""

    directory: Path
    uuid: bytes
    after_seq: int
    transaction: int | None = None  # of the catalog; None: not compared
    last_seq: int = 0
    operations_count: int = 0
    torn_bytes: int = 0
    torn_files: list[str] = field(default_factory=list)
    _at: tuple[int, int, int] | None = None  # file, byte in it, seq expected there

    def operations(self) -> Iterator[tuple[int, memoryview]]:
        """Each operation beyond ``after_seq`` with its seq, in order and without holes. A later
        call goes on where the last one stopped: the log may have grown. Raises CorruptionError if
        an operation that was acknowledged is damaged or missing."""
        self.last_seq = max(self.last_seq, self.after_seq)
        self.torn_bytes, self.torn_files = 0, []
        for first_seq, path, start, seq in self._unread():
            for frame_seq, operation in self._file_operations(path, first_seq, start, seq):
                if frame_seq > self.last_seq:
                    self.last_seq = frame_seq
                    self.operations_count += 1
                    yield frame_seq, operation

    def _unread(self) -> Iterator[tuple[int, Path, int, int]]:
        """The files that may hold something new, and the byte and the seq to start from."""
        files = wal_files(self.directory)
        if self._at is None:
            # Files below the catalog's state were removed, perhaps not durably: after a power loss
            # any of them may be back, with gaps between them.
            while len(files) > 1 and files[1][0] <= self.after_seq + 1:
                del files[0]
            if not files:
                raise CorruptionError(self.directory, "the log is missing")
            if files[0][0] > self.after_seq + 1:
                first_seq, path = files[0]
                raise CorruptionError(
                    path,
                    f"starts at operation {first_seq}; the catalog ends at {self.after_seq}",
                )
        else:
            files = [entry for entry in files if entry[0] >= self._at[0]]
            if not files or files[0][0] != self._at[0]:
                raise CorruptionError(self.directory, "a file is gone that was being read")
        for first_seq, path in files:
            if self._at is not None and first_seq == self._at[0]:
                yield first_seq, path, *self._at[1:]
                continue
            if self._at is not None and first_seq > self._at[2]:
                raise CorruptionError(
                    path, f"starts at operation {first_seq}; {self._at[2]} is missing before it"
                )
            yield first_seq, path, HEADER_SIZE, first_seq

    def _file_operations(
        self, path: Path, first_seq: int, start: int, seq: int
    ) -> Iterator[tuple[int, memoryview]]:
        # Read, not mapped: a writer that takes an unfinished frame back cuts the file, and a
        # mapping beyond its end would kill a reader in another process.
        with fs.must_exist(path), lookup.open_read(path) as file:
            head = file.read(HEADER_SIZE)
            file.seek(start)
            data = memoryview(file.read())
        try:
            header = WalHeader.unpack(head)
        except DamageError as error:
            raise CorruptionError(path, str(error)) from None
        except FormatVersionError as error:
            raise FormatVersionError(f"{path}: {error}") from None
        if header.uuid != self.uuid or header.first_seq != first_seq:
            raise CorruptionError(path, "belongs to another collection or place in the log")
        if self.transaction is not None and header.transaction > self.transaction:
            raise CorruptionError(
                path,
                f"was begun at transaction {header.transaction} of the catalog, which is at "
                f"{self.transaction} now: an older copy of it",
            )
        self._at = (first_seq, start, seq)
        at = 0
        while at < len(data):
            try:
                frame = unpack_frame(data, at, header.salt)
            except DamageError as error:
                raise CorruptionError(path, f"operation {seq}: {error}") from None
            if frame is not None and frame.first_seq != seq:
                raise CorruptionError(
                    path, f"operation {seq} is missing: {frame.first_seq} stands in its place"
                )
            if frame is None:
                require_torn_tail(path, data, at, seq, header.salt, start)
                self.torn_bytes += len(data) - at
                self.torn_files.append(path.name)
                return
            for operation in frame.operations:
                yield seq, operation
                seq += 1
            at += frame.size
            self._at = (first_seq, start + at, seq)


def require_torn_tail(
    path: Path, data: memoryview, at: int, seq: int, salt: int, base: int
) -> None:
    """Tell an unfinished last write at ``at`` from damage. Raises CorruptionError for damage.
    ``base``: where ``data`` begins in the file.

    A later frame whose predecessor is known to have been synced proves that the bytes between were
    once good and acknowledged. A checksum tells what only looks like a frame. Thousands that claim
    to be long would take hours to hash, but nobody except an adversary writes those.
    """
    source: Any = data.obj  # bytes: they search faster than a loop here
    doubtful = f"operation {seq} at byte {base + at} is damaged"
    budget = search_budget(len(data))
    start = source.find(FRAME_MAGIC, at + 8)
    while start >= 0:
        size = frame_size(data, start) if start % 8 == 0 else None
        if size is not None:
            budget -= size
            if budget < 0:
                raise CorruptionError(path, f"{doubtful}, followed by too much like a frame")
            try:
                later = unpack_frame(data, start, salt)
            except DamageError as error:
                raise CorruptionError(path, f"{doubtful}, and so is a later one: {error}") from None
            if later is not None and later.first_seq > seq and later.previous_synced:
                raise CorruptionError(
                    path,
                    f"{doubtful}, but operation {later.first_seq} after it is whole: "
                    f"acknowledged data was lost",
                )
        start = source.find(FRAME_MAGIC, start + 1)


def search_budget(size: int) -> int:
    """How many bytes may be hashed to find whole frames among ``size`` bytes that look like
    some."""
    return _SEARCH_BYTES + _SEARCH_TIMES * size
