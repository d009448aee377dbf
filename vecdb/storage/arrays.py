"""Data files as numpy arrays, placed in anonymous memory or mapped from disk.

*Anonymous*: the file is read into private memory, every block is verified on the way in, and the
pages are ours until closed. *Mapped*: the kernel pages the file in and out as it likes; a block
is verified the first time anything in it is used. Either way bytes that do not match their
checksum raise CorruptionError with the file's name and are never served.

The length of a file is compared with the catalog before it is mapped: reading past the end of a
shortened file would kill the process. Files are immutable and removed by unlink only, so a
mapping stays good after its file is gone. Once it is open, no array needs a descriptor.
"""

from __future__ import annotations

import mmap
import os
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
from vecdb.storage.mapping import Mapping, private_memory
from vecdb.storage.segment_row import FileRow

Placement = Literal["anonymous", "mapped"]

_READ_SIZE = 64 * BLOCK_SIZE
# Below this a huge page would be mostly empty.
_HUGE_PAGE_MIN = 4 << 20
_WAITED = 0.001
"""Rows that took so many seconds to read have been waited for."""


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
        self.path = path
        self.placement: Placement = placement
        self.cold = placement == "mapped"
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
        if placement == "anonymous":
            buffer: Any = self._read(fd, padded)
            self.anonymous_size = len(buffer)
            self._bytes = np.frombuffer(buffer, dtype=np.uint8)[:padded]
        elif padded:
            # The mapping outlives this object in every array made from it.
            self._map = Mapping(fd, HEADER_SIZE + padded)
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

    def ask_for(self, rows: npt.NDArray[np.int64]) -> None:
        """Let the kernel read the pages of scattered rows, all at once, before they are used.

        Waiting for forty rows one after the other takes forty times the latency of a disk. Does
        nothing unless ``cold``: asking for what is in memory would cost as much as reading it.
        """
        if not self.cold or self._map is None:
            return
        page = mmap.PAGESIZE
        starts = (HEADER_SIZE + rows * self._stride) // page * page
        ends = HEADER_SIZE + (rows + 1) * self._stride
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            self._map.ask_for(start, end)

    def has_taken(self, seconds: float) -> None:
        """Note how long a read of some scattered rows took, and whether that was waiting."""
        if self.placement == "mapped":
            self.cold = seconds > _WAITED

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
        for block in blocks.tolist():
            data = self._bytes[block * BLOCK_SIZE : (block + 1) * BLOCK_SIZE]
            if checksum(data) != self._table[block]:
                raise CorruptionError(self.path, f"block {block} does not match its checksum")
            self._unverified[block] = False
        self.unverified_blocks = int(np.count_nonzero(self._unverified))
