"""Data files as numpy arrays, placed in anonymous memory or mapped from disk.

*Pinned*: the file is read into private memory, every block is verified on the way in, and the
pages are ours until closed. *Cached* and *cold*: the file is mapped, and the kernel pages it in and
out as it likes; a block is verified the first time anything in it is used. Of a cached file the
kernel reads more than is used, of a cold one nothing beside it. Either way bytes that do not match
their checksum raise CorruptionError with the file's name and are never served.

The length of a file is compared with the catalog before it is mapped: reading past the end of a
shortened file would kill the process. Files are immutable and removed by unlink only, so a
mapping stays good after its file is gone. Once it is open, no array needs a descriptor.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb.errors import CorruptionError, FormatVersionError
from vecdb.storage import fs, lookup
from vecdb.storage.format import (
    BLOCK_SIZE,
    HEADER_SIZE,
    DamageError,
    DataHeader,
    Kind,
    checksum,
    padding,
    unpack_footer,
)
from vecdb.storage.mapping import Mapping, has_read, private_memory
from vecdb.storage.segment_row import FileRow

Placement = Literal["pinned", "cached", "cold"]

_READ_SIZE = 64 * BLOCK_SIZE
# Below this a huge page would be mostly empty.
_HUGE_PAGE_MIN = 4 << 20
_NO_DISK = 50e-6
"""In fewer seconds nothing comes from a disk."""
_AHEAD = 4 << 20
"""So many bytes of a cold file are asked for at once where all of it is read."""
_BLOCKS_AHEAD = _AHEAD // BLOCK_SIZE


class Expected(Struct, frozen=True):
    """What a file must say of itself to be the one the catalog means."""

    uuid: bytes
    segment_id: int
    kind: Kind
    row: FileRow


class PlacedArray:
    """One data file as a read-only array ``(rows,)`` or ``(rows, columns)``.

    Thread-safe: verification marks may be set twice, never wrongly.
    """

    def __init__(self, path: Path, expected: Expected, placement: Placement) -> None:
        self._path = str(path)  # a Path of each file was 3 KB of every small collection
        self.placement: Placement = placement
        self.is_mapped = placement != "pinned"
        self.waits = self.is_mapped
        """Whether the last rows that were read had to be waited for. Readers say; see ``has_taken``
        and ``ask_for``."""
        self._map: Mapping | None = None
        try:
            with fs.must_exist(path), lookup.open_read(path) as file:
                self._open(file.fileno(), expected, placement)
        except DamageError as error:
            raise CorruptionError(path, str(error)) from None
        except FormatVersionError as error:
            raise FormatVersionError(f"{path}: {error}") from None

    def _open(self, fd: int, expected: Expected, placement: Placement) -> None:
        self.file_size = os.fstat(fd).st_size
        if self.file_size != expected.row.length:
            raise DamageError(f"{self.file_size} bytes, expected {expected.row.length}")
        head = os.pread(fd, HEADER_SIZE, 0)
        header = DataHeader.unpack(head)
        if (header.uuid, header.segment_id, header.kind) != (
            expected.uuid,
            expected.segment_id,
            expected.kind,
        ):
            raise DamageError("belongs to another segment, kind or collection")
        if header.file_size != self.file_size:
            raise DamageError(f"{self.file_size} bytes, its header says {header.file_size}")
        self.header = header
        size = header.data_size
        padded = size + padding(size)
        tail = os.pread(fd, self.file_size - HEADER_SIZE - padded, HEADER_SIZE + padded)
        self._table, check = unpack_footer(head, tail)
        if check != expected.row.checksum:
            raise DamageError("is whole, but not the file the catalog names (checksum differs)")
        self.anonymous_size = 0
        self.mapped_size = 0
        self._unverified = np.ones(header.blocks, dtype=np.bool_)
        self.unverified_blocks = header.blocks
        """How many blocks have not been verified by any call yet."""
        self._stride = header.columns * header.dtype.itemsize
        if not self.is_mapped:
            buffer: Any = self._read(fd, padded)
            self.anonymous_size = len(buffer)
            self._bytes = np.frombuffer(buffer, dtype=np.uint8)[:padded]
        elif padded:
            # The mapping outlives this object in every array made from it.
            self._map = Mapping(fd, HEADER_SIZE + padded, read_ahead=placement == "cached")
            self.mapped_size = -(-self._map.size // mmap.PAGESIZE) * mmap.PAGESIZE
            self._bytes = self._map.array()[HEADER_SIZE:]
        else:
            self._bytes = np.empty(0, dtype=np.uint8)
        self._bytes.flags.writeable = False
        flat = self._bytes[:size].view(header.dtype)
        shape = (header.rows,) if header.columns == 1 else (header.rows, header.columns)
        self.array: npt.NDArray[Any] = flat.reshape(shape)

    def _read(self, fd: int, size: int) -> Any:
        """The data in fresh anonymous pages, verified block by block."""
        memory = private_memory(size, huge=size >= _HUGE_PAGE_MIN)
        view = memoryview(memory)
        for start in range(0, size, _READ_SIZE):
            end = min(start + _READ_SIZE, size)
            at = start
            while at < end:
                got = os.preadv(fd, [view[at:end]], HEADER_SIZE + at)
                if got == 0:
                    raise DamageError(f"ends at byte {HEADER_SIZE + at}")
                at += got
            for block in range(start // BLOCK_SIZE, -(-end // BLOCK_SIZE)):
                data = view[block * BLOCK_SIZE : min((block + 1) * BLOCK_SIZE, size)]
                if checksum(data) != self._table[block]:
                    raise DamageError(f"block {block} does not match its checksum")
        self._unverified[:] = False
        self.unverified_blocks = 0
        return memory

    @property
    def path(self) -> Path:
        """Where the file was when it was opened."""
        return Path(self._path)

    def ask_for(self, rows: npt.NDArray[np.int64]) -> None:
        """Let the kernel read the pages of scattered rows, all at once, before they are used.

        Waiting for forty rows one after the other takes forty times the latency of a disk. Does
        nothing unless the last rows were waited for: asking for what is in memory would cost as
        much as reading it.
        """
        if not self.waits or self._map is None:
            return
        starts, ends = rows * self._stride, (rows + 1) * self._stride
        if self.unverified_blocks:  # to be read whole
            first, last = starts // BLOCK_SIZE, (ends - 1) // BLOCK_SIZE
            starts = np.where(self._unverified[first], first * BLOCK_SIZE, starts)
            ends = np.where(self._unverified[last], (last + 1) * BLOCK_SIZE, ends)
        self._map.ask_for(HEADER_SIZE + starts, HEADER_SIZE + ends)

    def is_copied(self) -> None:
        """Note that whoever opened the file has a copy in private memory of what is in it."""
        self.let_go()
        self.anonymous_size = self.header.data_size

    def let_go(self, start: int = 0, stop: int | None = None) -> None:
        """Have the process give up the pages of rows ``start:stop`` that are mapped. They come
        back when they are used."""
        if self._map is not None:
            page, size = mmap.PAGESIZE, self._map.size
            begin = -(-(HEADER_SIZE + start * self._stride) // page) * page if start else 0
            end = size if stop is None else HEADER_SIZE + stop * self._stride
            if begin < end:
                self._map.let_go(begin, end)

    def pieces(self) -> Iterator[tuple[int, int]]:
        """All rows in spans ``start, stop``, to be read one after the other. Of a cold file each
        span is asked for while the one before it is read, and given up afterwards."""
        rows = self.header.rows
        if self.placement != "cold":
            yield 0, rows
            return
        step = max(8, _AHEAD // max(self._stride, 1) & ~7)  # whole bytes of a mask
        self._ask_for_span(0, step)
        for start in range(0, rows, step):
            self._ask_for_span(start + step, start + 2 * step)
            yield start, min(start + step, rows)
            self.let_go(start, min(start + step, rows))

    def _ask_for_span(self, start: int, stop: int) -> None:
        stop = min(stop, self.header.rows)
        if self._map is not None and start < stop:
            at = np.array([start, stop]) * self._stride + HEADER_SIZE
            self._map.ask_for(at[:1], at[1:])

    def has_taken(self, seconds: float) -> None:
        """Note how long a read of some scattered rows took, and whether that was waiting for the
        disk. The last rows of this thread are meant."""
        if self.is_mapped:
            self.waits = seconds > _NO_DISK and has_read()

    def verify(self) -> npt.NDArray[Any]:
        """The array, with every block verified. Raises CorruptionError."""
        if self.unverified_blocks:
            self._verify_blocks(np.flatnonzero(self._unverified))
        return self.array

    def verify_rows(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The array, with every block that holds one of ``rows`` verified."""
        if self.unverified_blocks and len(rows):
            first = rows * self._stride // BLOCK_SIZE
            last = (
                first
                if BLOCK_SIZE % self._stride == 0
                # no row is in two blocks
                else (((rows + 1) * self._stride - 1) // BLOCK_SIZE)
            )
            if self._stride <= BLOCK_SIZE and not (
                self._unverified[first].any() or self._unverified[last].any()
            ):
                return self.array  # nearly always, and all below takes 10 µs
            blocks = np.unique(np.concatenate((first, last)))
            if self._stride > BLOCK_SIZE:
                blocks = np.unique(
                    np.concatenate([np.arange(a, b + 1) for a, b in zip(first, last, strict=True)])
                )
            self._verify_blocks(blocks[self._unverified[blocks]])
        return self.array

    def verify_span(self, start: int, stop: int) -> npt.NDArray[Any]:
        """The array, with every block that holds an element of ``start:stop`` verified."""
        if self.unverified_blocks and stop > start:
            first = start * self._stride // BLOCK_SIZE
            last = (stop * self._stride - 1) // BLOCK_SIZE
            if self._unverified[first : last + 1].any():
                self._verify_blocks(first + np.flatnonzero(self._unverified[first : last + 1]))
        return self.array

    def verify_spans(
        self, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
    ) -> npt.NDArray[Any]:
        """The array, with every block that holds an element of some spans verified."""
        if self.unverified_blocks and len(starts):
            some = stops > starts
            first = starts[some] * self._stride // BLOCK_SIZE
            last = (stops[some] * self._stride - 1) // BLOCK_SIZE
            depth = np.zeros(len(self._unverified) + 1, dtype=np.int64)
            np.add.at(depth, first, 1)
            np.add.at(depth, last + 1, -1)
            self._verify_blocks(np.flatnonzero((np.cumsum(depth)[:-1] > 0) & self._unverified))
        return self.array

    def _verify_blocks(self, blocks: npt.NDArray[np.int64]) -> None:
        for number, block in enumerate(blocks.tolist()):
            if self.placement == "cold" and number % _BLOCKS_AHEAD == 0:
                self._ask_for_blocks(blocks[number : number + 2 * _BLOCKS_AHEAD])
            data = self._bytes[block * BLOCK_SIZE : (block + 1) * BLOCK_SIZE]
            if checksum(data) != self._table[block]:
                raise CorruptionError(self.path, f"block {block} does not match its checksum")
            self._unverified[block] = False
        self.unverified_blocks = int(np.count_nonzero(self._unverified))

    def _ask_for_blocks(self, blocks: npt.NDArray[np.int64]) -> None:
        if self._map is not None:
            starts = HEADER_SIZE + blocks * BLOCK_SIZE
            self._map.ask_for(starts, starts + BLOCK_SIZE)
