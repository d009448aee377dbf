"""The vectors of one name in a damaged segment, as far as they can be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from vecdb.engine.repair.salvage import SalvagedFile
from vecdb.storage import files
from vecdb.storage.files import FileKind
from vecdb.vectors.block import VectorBlock
from vecdb.vectors.blocks import Block
from vecdb.vectors.datatypes import INDICES, NUMBERS, SPARSE, STORED, is_multi, size_of, wide
from vecdb.vectors.multi import MultiBlock
from vecdb.vectors.ragged import offsets_of, taken
from vecdb.vectors.sparse import SparseBlock, rows_of

Flags = npt.NDArray[np.bool_]
Offsets = npt.NDArray[np.int64]
Opened = Callable[[FileKind], SalvagedFile]


Salvaged: TypeAlias = "SalvagedVectors | SalvagedSparse | SalvagedMulti"


def salvaged_vectors(opened: Opened, rows: int, dim: int, datatype: str) -> Salvaged:
    """What reads the vectors of a name in a segment of so many rows."""
    if dim == SPARSE:
        return SalvagedSparse(opened, rows)
    if is_multi(dim):
        return SalvagedMulti(opened, rows, size_of(dim))
    return SalvagedVectors(opened, rows, dim, datatype)


class SalvagedVectors:
    """Dense vectors."""

    def __init__(self, opened: Opened, rows: int, dim: int, datatype: str) -> None:
        self._dim = dim
        self._file = opened(replace(files.VECTORS, dtype=NUMBERS[datatype].str))
        self._file.expect(rows, dim)
        self.files = (self._file,)

    def read(self, window: Offsets) -> tuple[Block, Flags]:
        """The vectors of some rows, which ascend, and which of them are whole. One that is not has
        zeros."""
        first = int(window[0])
        data, whole = self._file.rows(first, int(window[-1]) + 1, self._dim)
        return VectorBlock(wide(data[window - first])), whole[window - first]


class SalvagedSparse:
    """Sparse vectors. Where a row begins is told by nothing but its offset."""

    def __init__(self, opened: Opened, rows: int) -> None:
        offsets = opened(files.SPARSE_OFFSETS)
        self._indices = opened(files.SPARSE_INDICES)
        self._values = opened(files.SPARSE_VALUES)
        self.files = (offsets, self._indices, self._values)
        self._offsets, self._known = _salvaged_offsets(
            offsets, rows, self._indices.padded // INDICES.itemsize
        )

    def read(self, window: Offsets) -> tuple[Block, Flags]:
        """The vectors of some rows, which ascend, and which of them are whole. One that is not has
        no numbers."""
        starts, stops = self._offsets[window], self._offsets[window + 1]
        good = self._known[window] & self._known[window + 1]
        size = INDICES.itemsize
        parts = []
        for file in (self._indices, self._values):
            data, whole = file.spans(starts * size, stops * size)
            good &= whole
            parts.append(data)
        indices, values = parts[0].view(INDICES), parts[1].view(np.float32)
        numbers = rows_of(_edges(starts, stops), indices, values, 2 * np.arange(len(window)))
        good &= _sound(numbers)
        sizes = np.where(good, numbers.sizes, 0)
        kept = np.repeat(good, numbers.sizes)
        return SparseBlock(offsets_of(sizes), numbers.indices[kept], numbers.values[kept]), good


class SalvagedMulti:
    """Multivectors. Where a row begins is told by nothing but its offset."""

    def __init__(self, opened: Opened, rows: int, size: int) -> None:
        offsets = opened(files.TOKEN_OFFSETS)
        self._tokens = opened(files.TOKENS)
        self._size = size
        self.files = (offsets, self._tokens)
        self._offsets, self._known = _salvaged_offsets(
            offsets, rows, self._tokens.padded // (STORED.itemsize * size)
        )

    def read(self, window: Offsets) -> tuple[Block, Flags]:
        """The multivectors of some rows, which ascend, and which of them are whole. One that is not
        has no tokens."""
        starts, stops = self._offsets[window], self._offsets[window + 1]
        bytes_of_token = STORED.itemsize * self._size
        data, good = self._tokens.spans(starts * bytes_of_token, stops * bytes_of_token)
        good &= self._known[window] & self._known[window + 1]
        values = data.view(np.float32).reshape(-1, self._size)
        begins, columns = taken(_edges(starts, stops), (values,), 2 * np.arange(len(window)))
        block = MultiBlock(begins, *columns)
        rows = np.repeat(np.arange(len(window)), block.sizes)
        finite = np.isfinite(block.values).all(axis=1)
        good &= np.bincount(rows[~finite], minlength=len(window)) == 0
        good &= block.sizes > 0
        kept = np.repeat(good, block.sizes)
        return MultiBlock(offsets_of(np.where(good, block.sizes, 0)), block.values[kept]), good


def _salvaged_offsets(file: SalvagedFile, rows: int, most: int) -> tuple[Offsets, Flags]:
    """Where each of so many rows begins and the last one ends, and which of that is known. A later
    file may be cut, and what an offset says is no reason to ask for memory: ``most`` entries have
    room there."""
    file.expect(rows + 1)
    array, known = file.rows(0, rows + 1)
    known &= array[:, 0] <= most
    rising = np.maximum.accumulate(np.where(known, array[:, 0], 0))
    return rising.astype(np.int64), known


def _edges(starts: Offsets, stops: Offsets) -> Offsets:
    """Where rows begin and end in what was read of them. Rows between those of the window are in
    it, too: each has two edges of its own."""
    edges: Offsets = np.stack([starts, stops], axis=1).reshape(-1) - int(starts[0])
    return edges


def _sound(block: SparseBlock) -> Flags:
    """Which rows have ascending indices and finite values."""
    bad = ~np.isfinite(block.values)
    bad[1:] |= block.indices[1:] <= block.indices[:-1]
    begins = block.offsets[:-1][block.sizes > 0]
    bad[begins] = ~np.isfinite(block.values[begins])
    rows = np.repeat(np.arange(len(block)), block.sizes)
    sound: Flags = np.bincount(rows[bad], minlength=len(block)) == 0
    return sound
