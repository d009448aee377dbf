"""The vectors of one name in memory: chunks that never move.

One writer appends. Readers look at the rows that they know of, and may keep pointing into chunks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb.storage.mapping import private_memory
from vecdb.vectors.block import VectorBlock
from vecdb.vectors.blocks import Ragged, concat, none_of
from vecdb.vectors.datatypes import FLOAT32, NUMBERS, bytes_per_vector, is_ragged, narrow
from vecdb.vectors.multi import MultiBlock
from vecdb.vectors.ragged import Columns, taken
from vecdb.vectors.sparse import SparseBlock

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Offsets = npt.NDArray[np.int64]
B = TypeVar("B", SparseBlock, MultiBlock)

_CHUNK_BYTES = 4 << 20
_FIRST_CHUNK_BYTES = 256 << 10


def vectors_of(dim: int, datatype: str = FLOAT32) -> Vectors | RaggedVectors[Any]:
    """No vectors yet, of this dimension."""
    return RaggedVectors(none_of(0, dim)) if is_ragged(dim) else Vectors(dim, datatype)


class Presence:
    """Which rows have a vector."""

    def __init__(self) -> None:
        self.flags: Flags | None = None
        """None: every row has."""

    def append(self, start: int, count: int, has: Flags | None) -> None:
        """Add what is known of ``count`` rows from ``start`` on; None: all of them have one."""
        end = start + count
        if self.flags is None:
            if has is None or has.all():
                return
            self.flags = np.ones(max(end, 1024), dtype=np.bool_)
        if end > len(self.flags):
            grown = np.ones(2 * end, dtype=np.bool_)
            grown[:start] = self.flags[:start]
            self.flags = grown
        if has is not None:
            self.flags[start:end] = has


class Vectors:
    """Dense vectors, kept in a datatype."""

    def __init__(self, dim: int, datatype: str = FLOAT32) -> None:
        self.dim = dim
        self._datatype, self._bytes = datatype, bytes_per_vector(dim, datatype)
        # Multiples of 8, so that a chunk's bits start at a whole byte of a mask.
        self._first_rows = max(8, _FIRST_CHUNK_BYTES // self._bytes // 8 * 8)
        self._chunk_rows = max(64, _CHUNK_BYTES // self._bytes // 8 * 8)
        self.chunks: list[npt.NDArray[Any]] = []
        self.rows = 0
        self.has = Presence()

    def append(self, block: VectorBlock) -> None:
        """Add rows."""
        count, values = len(block), narrow(block.values, self._datatype)
        self.has.append(self.rows, count, block.has)
        done = 0
        while done < count:
            if self.rows == self._start(len(self.chunks)):
                self.chunks.append(self._new_chunk())
            at = self.rows - self._start(len(self.chunks) - 1)
            chunk = self.chunks[-1]
            step = min(len(chunk) - at, count - done)
            chunk[at : at + step] = values[done : done + step]
            self.rows += step
            done += step

    def bytes_of(self, block: VectorBlock) -> int:
        """Bytes that a block takes here."""
        return self._bytes * len(block)

    def _start(self, number: int) -> int:
        """The first row of a chunk."""
        return self._first_rows + (number - 1) * self._chunk_rows if number else 0

    def _new_chunk(self) -> npt.NDArray[Any]:
        number = len(self.chunks)
        rows = self._start(number + 1) - self._start(number)
        # There may be thousands of collections with a few rows each: no page is large before some
        # MB are filled.
        memory = private_memory(self._bytes * rows, huge=number > 1)
        return np.frombuffer(memory, dtype=NUMBERS[self._datatype]).reshape(rows, self.dim)

    def blocks(self, rows: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """The first ``rows`` rows as (first row, ``(n, dim)`` in the datatype) pieces."""
        for number, chunk in enumerate(self.chunks):
            base = self._start(number)
            if base >= rows:
                return
            yield base, chunk[: rows - base]

    def take(self, offsets: Offsets) -> Floats:
        """Copies of several rows: ``float32 (m, dim)``."""
        out = np.empty((len(offsets), self.dim), dtype=np.float32)
        which = (offsets - self._first_rows) // self._chunk_rows + 1
        for number in np.unique(which).tolist():
            mine = which == number
            out[mine] = self.chunks[number][offsets[mine] - self._start(number)]
        return out


class RaggedVectors(Generic[B]):
    """Sparse vectors, or multivectors. A row is in one chunk, however long it is."""

    def __init__(self, none: B) -> None:
        """``none``: no rows of them."""
        self._none: B = none
        self._entry_bytes = sum(
            column[:0].itemsize * math.prod(column.shape[1:]) for column in none.parts[1:]
        )
        self._chunks: list[_Chunk] = []
        self._bases: list[int] = []
        """The first row of each chunk."""
        self.rows = 0
        self.has = Presence()

    def append(self, block: B) -> None:
        """Add rows."""
        count = len(block)
        self.has.append(self.rows, count, block.has)
        done = 0
        while done < count:
            taken = self._chunks[-1].append(block, done) if self._chunks else 0
            if not taken:
                self._bases.append(self.rows)
                self._chunks.append(self._new_chunk(int(block.sizes[done])))
            self.rows += taken
            done += taken

    def bytes_of(self, block: Ragged) -> int:
        """Bytes that a block takes here."""
        return block.nbytes

    def _new_chunk(self, least: int) -> _Chunk:
        """A chunk in which so many entries have room, as long as it is empty."""
        number = len(self._chunks)
        size = max(self._entry_bytes * least, _CHUNK_BYTES if number else _FIRST_CHUNK_BYTES)
        entries = size // self._entry_bytes
        return _Chunk.of(self._none, entries, max(64, entries // 4), huge=number > 1)

    def blocks(self, rows: int) -> Iterator[tuple[int, B]]:
        """The first ``rows`` rows as (first row, block) pieces."""
        for base, chunk in zip(self._bases.copy(), self._chunks, strict=False):
            if base >= rows:
                return
            yield base, self._block(*chunk.first(rows - base))

    def _block(self, *parts: Any) -> B:
        block: B = type(self._none)(*parts)
        return block

    def take(self, offsets: Offsets) -> B:
        """Copies of several rows."""
        which = np.searchsorted(np.array(self._bases), offsets, side="right") - 1
        parts, places = [self._block(*self._none.parts)], [np.empty(0, dtype=np.int64)]
        for number in np.unique(which).tolist():
            mine = np.flatnonzero(which == number)
            chunk = self._chunks[number]
            begins, columns = taken(
                chunk.offsets, chunk.columns, offsets[mine] - self._bases[number]
            )
            parts.append(self._block(begins, *columns))
            places.append(mine)
        order = np.empty(len(offsets), dtype=np.int64)
        order[np.concatenate(places)] = np.arange(len(offsets))
        joined: B = concat(parts)
        return self._block(*joined.take(order).parts)

    def entries(self, offsets: Offsets) -> int:
        """How many entries several rows have."""
        which = np.searchsorted(np.array(self._bases), offsets, side="right") - 1
        total = 0
        for number in np.unique(which).tolist():
            rows = offsets[which == number] - self._bases[number]
            ends = self._chunks[number].offsets
            total += int((ends[rows + 1] - ends[rows]).sum())
        return total


class _Chunk(Struct):
    """Room for rows, of which the first ``rows`` are there."""

    offsets: Offsets
    columns: Columns
    rows: int = 0

    @classmethod
    def of(cls, like: Ragged, entries: int, rows: int, *, huge: bool) -> _Chunk:
        """An empty chunk for so many entries, as a block has them, and rows."""
        columns = []
        for column in like.parts[1:]:
            shape = (entries, *column.shape[1:])
            memory = private_memory(column.itemsize * math.prod(shape), huge=huge)
            columns.append(
                np.frombuffer(memory, dtype=column.dtype, count=math.prod(shape)).reshape(shape)
            )
        return cls(np.zeros(rows + 1, dtype=np.int64), tuple(columns))

    def append(self, block: Ragged, start: int) -> int:
        """Add as many rows as there is room for, from ``start`` on. Returns how many."""
        begin, at = int(block.offsets[start]), int(self.offsets[self.rows])
        most = begin + len(self.columns[0]) - at
        stop = int(np.searchsorted(block.offsets, most, side="right")) - 1
        stop = min(stop, len(block), start + len(self.offsets) - 1 - self.rows)
        if stop <= start:
            return 0
        end, count = int(block.offsets[stop]), stop - start
        for column, given in zip(self.columns, block.parts[1:], strict=True):
            column[at : at + end - begin] = given[begin:end]
        ends = block.offsets[start + 1 : stop + 1] - begin + at
        self.offsets[self.rows + 1 : self.rows + 1 + count] = ends
        self.rows += count
        return count

    def first(self, rows: int) -> tuple[npt.NDArray[Any], ...]:
        """The parts of a block of its first rows, as far as there are so many."""
        rows = min(rows, self.rows)
        end = int(self.offsets[rows])
        return self.offsets[: rows + 1], *(column[:end] for column in self.columns)
