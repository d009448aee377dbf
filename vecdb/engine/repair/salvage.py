"""Salvage: what checksums prove whole in damaged files: blocks of data, frames of the log.

Nothing here trusts a length, an offset or a neighbour. Files are read, not mapped: a bad sector is
then the error of one read and not the death of the process. Data at rest usually goes bad by a
single flipped bit: that is found by trying each, and put right in what is read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from vecdb.errors import CorruptionError, FormatVersionError
from vecdb.storage.files import FileKind
from vecdb.storage.format import (
    BLOCK_SIZE,
    FOOTER_SIZE,
    FRAME_MAGIC,
    HEADER_SIZE,
    DamageError,
    DataHeader,
    Frame,
    Kind,
    WalHeader,
    checksum,
    frame_size,
    padding,
    unpack_frame,
)
from vecdb.storage.replay import search_budget
from vecdb.storage.segment_row import FileRow
from vecdb.storage.wal import wal_files

Flags = npt.NDArray[np.bool_]

_SECTOR = 4096
_OURS = {errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Errors that are raised: they say nothing of what is on disk."""
_MEND_BLOCKS = 8  # of one file: each costs up to a second, and many are not single flipped bits


def mend(data: bytes, is_good: Callable[[Any], bool]) -> bytes | None:
    """``data`` with one bit flipped back that makes it good, if there is such a bit."""
    trial = bytearray(data)
    for at in range(len(trial)):
        for bit in range(8):
            trial[at] ^= 1 << bit
            if is_good(trial):
                return bytes(trial)
            trial[at] ^= 1 << bit
    return None


def read_file(path: Path, limit: int | None = None) -> tuple[bytes, str]:
    """The bytes of a file (or its beginning), with zeros where the disk cannot read it, and what is
    wrong, or ''."""
    try:
        with FileIO(path) as file:
            size = os.fstat(file.fileno()).st_size
            return _read(file.fileno(), 0, size if limit is None else min(size, limit))
    except OSError as error:
        return b"", _reason(error)


def _read(fd: int, start: int, stop: int) -> tuple[bytes, str]:
    pieces, problem = [], ""
    size = BLOCK_SIZE
    while start < stop:
        try:
            piece = os.pread(fd, min(size, stop - start), start)
        except OSError as error:
            problem = _reason(error)
            if size > _SECTOR:  # as much as can be read around a bad sector
                size = _SECTOR
                continue
            piece = bytes(min(size, stop - start))
        if not piece:
            break
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces), problem


def _reason(error: OSError) -> str:
    if error.errno in _OURS:
        raise error
    if isinstance(error, FileNotFoundError):
        return "the file is missing"
    return error.strerror or str(error)


# -- data files --------------------------------------------------------------------------------


def footer_checksum(path: Path, length: int) -> int | None:
    """The checksum that stands in the footer of a file that should have this length."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, length - 16))
            return int.from_bytes(file.read(8), "little")
    except OSError:
        return None


class SalvagedFile:
    """One data file, as far as it can be read. Rows are read in any order. Rows in blocks that do
    not match their checksum are zeros, and flagged.

    A file is the right one if its footer holds the checksum that ``row`` names; without a row, if
    its header names collection, segment and kind. Use as a context manager.
    """

    def __init__(
        self, path: Path, uuid: bytes | None, segment_id: int, file: FileKind, row: FileRow | None
    ) -> None:
        self.path = path
        self._dtype = np.dtype(file.dtype)
        self.header: DataHeader | None = None
        self.padded = 0
        self._problem = ""
        self._bad: set[int] = set()
        self._mended: dict[int, bytes] = {}
        self._table = np.empty(0, dtype="<u8")
        self._file: FileIO | None = None
        self._fd = -1
        try:
            self._file = FileIO(path)
            self._fd = self._file.fileno()
            self._open(uuid, segment_id, file.kind, row)
        except OSError as error:
            self._problem = _reason(error)
        except DamageError as error:
            self._problem = str(error)

    def __enter__(self) -> SalvagedFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def damage(self) -> str:
        """What has been found wrong so far; '' if nothing."""
        said = [self._problem] if self._problem else []
        if self._bad:
            said.append(f"damaged: {_listed(self._bad)}")
        if self._mended:
            said.append(f"one flipped bit put right: {_listed(self._mended)}")
        return "; ".join(said)

    def _open(self, uuid: bytes | None, segment_id: int, kind: Kind, row: FileRow | None) -> None:
        size = os.fstat(self._fd).st_size
        head, _ = _read(self._fd, 0, HEADER_SIZE)
        try:
            self.header = _data_header(head)
        except DamageError as error:
            self._problem = str(error)
        header = self.header
        named = header is not None and (uuid is None or header.uuid == uuid)
        named = (
            named and header is not None and (header.segment_id, header.kind) == (segment_id, kind)
        )
        if row is None and not named:
            raise DamageError(self._problem or "belongs to another segment, kind or collection")
        length = row.length if row is not None else header.file_size if header is not None else size
        if size != length:
            self._problem = f"{size} bytes, expected {length}"
        self.padded = padded = _padded_size(length)
        tail, _ = _read(self._fd, HEADER_SIZE + padded, length)
        table_size = length - HEADER_SIZE - padded - FOOTER_SIZE
        table, footer = tail[:table_size], tail[table_size:]
        stored = int.from_bytes(footer[8:16], "little") if len(footer) >= 16 else None
        valid = len(footer) >= 16 and stored == checksum(head, table, footer[:8])
        if row is not None and stored != row.checksum:
            if valid:
                raise DamageError("is whole, but not the file the catalog names (checksum differs)")
            if not named or header is None or header.file_size != length:
                raise DamageError(self._problem or "belongs to another segment or collection")
        if not valid:
            self._problem = self._problem or "footer checksum does not match"
        self._table = np.frombuffer(table[: len(table) // 8 * 8], dtype="<u8")

    def expect(self, rows: int, columns: int = 1) -> None:
        """Take nothing from a file that does not have this shape."""
        size = rows * columns * self._dtype.itemsize
        if self.padded != size + padding(size):
            self._problem = self._problem or f"does not hold {rows} rows"
            self._table = self._table[:0]

    def rows(self, start: int, stop: int, columns: int = 1) -> tuple[npt.NDArray[Any], Flags]:
        """Rows ``start`` to ``stop`` as ``(n, columns)``, and which of them are whole."""
        stride = self._dtype.itemsize * columns
        edges = np.arange(start, stop + 1, dtype=np.int64) * stride
        data, whole = self.spans(edges[:-1], edges[1:])
        return data.view(self._dtype).reshape(stop - start, columns), whole

    def spans(
        self, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint8], Flags]:
        """The bytes from the first start to the last stop, both ascending, and which spans are
        whole. An empty span always is."""
        if not len(starts):
            return np.empty(0, dtype=np.uint8), np.empty(0, dtype=np.bool_)
        begin, end = int(starts[0]), int(stops[-1])
        first, last = begin // BLOCK_SIZE, -(-end // BLOCK_SIZE)
        data = np.zeros((last - first) * BLOCK_SIZE, dtype=np.uint8)
        bad = np.zeros(last - first + 1, dtype=np.int64)
        for block in range(first, last):
            found = self._block(block)
            at = (block - first) * BLOCK_SIZE
            if found is None:
                bad[block - first + 1] = 1
            else:
                data[at : at + len(found)] = np.frombuffer(found, dtype=np.uint8)
        bad = np.cumsum(bad)
        low = np.minimum(starts // BLOCK_SIZE - first, last - first)
        high = np.maximum(-(-stops // BLOCK_SIZE) - first, low)
        whole: Flags = (bad[high] == bad[low]) | (starts == stops)
        skip = begin - first * BLOCK_SIZE
        return data[skip : skip + end - begin], whole

    def _block(self, number: int) -> bytes | None:
        """One block, if it matches its checksum."""
        if number in self._mended:
            return self._mended[number]
        size = min(BLOCK_SIZE, self.padded - number * BLOCK_SIZE)
        if number in self._bad or number >= len(self._table) or size <= 0:
            self._bad.add(number)
            return None
        start = HEADER_SIZE + number * BLOCK_SIZE
        data, problem = _read(self._fd, start, start + size)
        want = int(self._table[number])
        # A flipped bit in the table: such a near miss does not happen to damaged data.
        if len(data) == size and (checksum(data) ^ want).bit_count() <= 1:
            return data
        if len(data) == size and not problem and len(self._bad) < _MEND_BLOCKS:
            mended = mend(data, lambda trial: checksum(trial) == want)
            if mended is not None:
                self._mended[number] = mended
                return mended
        self._bad.add(number)
        return None


def _data_header(head: bytes) -> DataHeader:
    """Raises DamageError."""
    try:
        return DataHeader.unpack(head)
    except FormatVersionError as error:
        raise DamageError(str(error)) from None
    except DamageError:
        mended = mend(head, lambda trial: _unpacks(DataHeader, trial))
        if mended is None:
            raise
        return DataHeader.unpack(mended)


def _unpacks(header: type[DataHeader] | type[WalHeader], data: Any) -> bool:
    try:
        header.unpack(data)
    except (DamageError, FormatVersionError):
        return False
    return True


def _padded_size(length: int) -> int:
    """How many bytes of data, padded, a file of this length has. Raises DamageError."""
    rest = length - HEADER_SIZE - FOOTER_SIZE  # data, and 8 bytes for each started block of it
    blocks = -(-rest // (BLOCK_SIZE + 8))
    padded = rest - 8 * blocks
    if rest < 0 or padding(padded) or -(-padded // BLOCK_SIZE) != blocks:
        raise DamageError(f"{length} bytes, no length of a data file")
    return padded


def _listed(blocks: Iterable[int]) -> str:
    numbers = sorted(blocks)
    first = ", ".join(map(str, numbers[:5]))
    more = f" and {len(numbers) - 5:,} more" if len(numbers) > 5 else ""
    return f"block{'' if len(numbers) == 1 else 's'} {first}{more}"


# -- the log -----------------------------------------------------------------------------------


class Gap(Struct, frozen=True):
    """Operations that are lost, the first and the last of them."""

    first: int
    last: int | None
    """None: from ``first`` on; how many there were, if any, cannot be told."""
    reason: str


class SalvagedLog(Struct):
    """Reads what is left of a log. The fields are filled in while ``operations`` is consumed."""

    directory: Path
    uuid: bytes | None
    after_seq: int | None
    """The last operation that the catalog has. None: that is not known, and no operation before the
    first one found is missed."""
    gaps: list[Gap] = field(default_factory=list)
    damaged: list[tuple[Path, str]] = field(default_factory=list)
    torn_bytes: int = 0
    """At the end of the log: an unfinished last write, or damage of it."""
    _next: int = 0
    _budget: int = 0  # of the file being read: what only looks like a frame could cost hours

    def files(self) -> list[tuple[int, Path]]:
        """The files that may hold something beyond ``after_seq``: (first seq, path)."""
        try:
            files = wal_files(self.directory)
        except PermissionError:  # what is there is not lost, only kept from us
            raise
        except (CorruptionError, OSError):
            return []
        if self.after_seq is not None:
            while len(files) > 1 and files[1][0] <= self.after_seq + 1:
                del files[0]
        return files

    def operations(self) -> Iterator[tuple[int, memoryview]]:
        """Each whole operation beyond ``after_seq`` with its seq, in order."""
        files = self.files()
        self._next = 0 if self.after_seq is None else self.after_seq + 1
        if not files and self._next != 1:  # a collection never written to may have no log yet
            self._note_end(self.directory, "there is no log file")
        for number, (first_seq, path) in enumerate(files):
            if not self._next:
                self._next = first_seq
            self._expect(first_seq, f"{path.name} is the next file there is")
            # A file ends where the next one begins: what stood behind a torn write was dropped.
            end = files[number + 1][0] if number + 1 < len(files) else None
            for seq, operation in self._in_file(path, end):
                self._next = seq + 1
                yield seq, operation

    def _in_file(self, path: Path, end: int | None) -> Iterator[tuple[int, memoryview]]:
        data, problem = read_file(path)
        try:
            salt = self._salt(data)
        except DamageError as error:
            self.damaged.append((path, problem or str(error)))
            if end is None:
                self._note_end(path, problem or str(error))
            return
        view = memoryview(data)
        self._budget = search_budget(len(data))
        at = HEADER_SIZE
        while at < len(data):
            frame, offset = self._next_frame(view, at, salt)
            if self._budget < 0:
                reason = f"byte {at} is followed by too much like a write"
                self.damaged.append((path, reason))
                self._note_end(path, reason)
                return
            if frame is None and end is None:
                self.torn_bytes = len(data) - at
            if frame is None or (end is not None and frame.first_seq >= end):
                return
            if offset != at:
                self.damaged.append((path, f"bytes {at} to {offset} are no whole write"))
            self._expect(frame.first_seq, f"{path.name}, bytes {at} to {offset} are damaged")
            for seq, operation in enumerate(frame.operations, frame.first_seq):
                if end is not None and seq >= end:
                    return
                if seq >= self._next:
                    yield seq, operation
            at = offset + frame.size

    def _salt(self, data: bytes) -> int:
        head = data[:HEADER_SIZE]
        if not _unpacks(WalHeader, head):
            head = mend(head, lambda trial: _unpacks(WalHeader, trial)) or head
        try:
            header = WalHeader.unpack(head)
        except FormatVersionError as error:
            raise DamageError(str(error)) from None
        if self.uuid is not None and header.uuid != self.uuid:
            raise DamageError("belongs to another collection")
        return header.salt

    def _next_frame(self, data: memoryview, at: int, salt: int) -> tuple[Frame | None, int]:
        """The first whole frame from ``at`` on, and where it stands."""
        source: Any = data.obj  # bytes: they search faster than a loop here
        offset = at
        while 0 <= offset < len(data) and self._budget >= 0:
            frame = None
            if offset % 8 == 0:
                self._budget -= frame_size(data, offset) or 0
                with suppress(DamageError):  # a right checksum, and no operations
                    frame = unpack_frame(data, offset, salt)
            if frame is not None:
                return frame, offset
            offset = source.find(FRAME_MAGIC, offset + 1)
        return None, len(data)

    def _expect(self, seq: int, reason: str) -> None:
        """Expect ``seq`` next: what should have come before it is lost."""
        if seq > self._next:
            self.gaps.append(Gap(self._next, seq - 1, reason))
            self._next = seq

    def _note_end(self, path: Path, reason: str) -> None:
        self.gaps.append(Gap(self._next, None, f"{path.name}: {reason}"))
