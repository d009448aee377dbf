"""SparseBlock: the sparse vectors of one name for a number of rows; some rows may have none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb.vectors.datatypes import INDICES, SPARSE, STORED
from vecdb.vectors.ragged import Offsets, offsets_of, taken

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.uint32]
Flags = npt.NDArray[np.bool_]


class SparseBlock(Struct, frozen=True):
    """Sparse vectors, row by row: the numbers ``values: float32 (m,)`` at ``indices: uint32 (m,)``,
    which ascend in each row. Those of row ``i`` are from ``offsets[i]`` to ``offsets[i + 1]``,
    ``int64 (n + 1,)``. A vector may have no numbers."""

    offsets: Offsets
    indices: Indices
    values: Floats
    has: Flags | None = None
    """Which rows have a vector; None: all of them."""

    @classmethod
    def of_none(cls, rows: int) -> SparseBlock:
        """Make a block of rows without vectors."""
        offsets = np.zeros(rows + 1, dtype=np.int64)
        empty = np.empty(0, dtype=INDICES), np.empty(0, dtype=STORED)
        return cls(offsets, *empty, np.zeros(rows, dtype=np.bool_))

    @classmethod
    def of_some(cls, given: SparseBlock, has: Flags) -> SparseBlock:
        """Make a block from the vectors of the rows that have one."""
        sizes = np.zeros(len(has), dtype=np.int64)
        sizes[has] = given.sizes
        return cls(offsets_of(sizes), given.indices, given.values, has)

    @classmethod
    def concat(cls, blocks: Sequence[SparseBlock]) -> SparseBlock:
        """The rows of several blocks one after another."""
        has = None
        if any(block.has is not None for block in blocks):
            has = np.concatenate([block.flags() for block in blocks])
        return cls(
            offsets_of(np.concatenate([block.sizes for block in blocks])),
            np.concatenate([block.indices for block in blocks]),
            np.concatenate([block.values for block in blocks]),
            has,
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def dim(self) -> int:
        """There is none."""
        return SPARSE

    @property
    def sizes(self) -> Offsets:
        """How many numbers each row has."""
        sizes: Offsets = np.diff(self.offsets)
        return sizes

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers, their indices, and where rows begin."""
        return self.offsets.nbytes + self.indices.nbytes + self.values.nbytes

    def flags(self) -> Flags:
        """Which rows have a vector."""
        return np.ones(len(self), dtype=np.bool_) if self.has is None else self.has

    def take(self, rows: Any) -> SparseBlock:
        """Copies of some rows."""
        rows = np.asarray(rows, dtype=np.int64)
        taken = rows_of(self.offsets, self.indices, self.values, rows)
        return taken if self.has is None else SparseBlock(*taken.parts, self.has[rows])

    @property
    def parts(self) -> tuple[Offsets, Indices, Floats]:
        """All but the flags."""
        return self.offsets, self.indices, self.values

    def dots(self, query: SparseBlock) -> tuple[Floats, Flags]:
        """The inner product of each row with the one row of ``query``, summed in float64 in the
        order of the indices, ``float32 (n,)``; and whether they have an index in common."""
        if not len(query.indices) or not len(self.indices):
            return np.zeros(len(self), dtype=np.float32), np.zeros(len(self), dtype=np.bool_)
        at = np.searchsorted(query.indices, self.indices)
        np.minimum(at, len(query.indices) - 1, out=at)
        shared = np.flatnonzero(query.indices[at] == self.indices)
        rows = np.searchsorted(self.offsets, shared, side="right") - 1
        products = self.values[shared].astype(np.float64) * query.values[at[shared]]
        with np.errstate(over="ignore"):
            scores = np.bincount(rows, products, len(self)).astype(np.float32)
        return scores, np.bincount(rows, minlength=len(self)) > 0

    def row(self, number: int) -> tuple[list[int], list[float]]:
        """The indices and the values of one row."""
        start, stop = int(self.offsets[number]), int(self.offsets[number + 1])
        return self.indices[start:stop].tolist(), self.values[start:stop].tolist()


def rows_of(
    offsets: npt.NDArray[Any], indices: Indices, values: Floats, rows: Offsets
) -> SparseBlock:
    """Copies of some rows, of which nothing says whether they have a vector."""
    begins, columns = taken(offsets, (indices, values), rows)
    return SparseBlock(begins, *columns)


def ascend(offsets: Offsets, indices: Indices) -> bool:
    """Whether the indices of each row ascend."""
    rises = indices[1:] > indices[:-1]
    begins = offsets[1:-1]
    rises[begins[(begins > 0) & (begins < len(indices))] - 1] = True
    return bool(rises.all())


def weighted_sum(block: SparseBlock, weights: Sequence[float]) -> SparseBlock:
    """The sum of all rows, each times its weight, as a block of one row. It has every index that
    some row has."""
    factors = np.repeat(np.asarray(weights, dtype=np.float64), block.sizes)
    indices, at = np.unique(block.indices, return_inverse=True)
    values = np.bincount(at, block.values * factors, len(indices)).astype(STORED)
    return SparseBlock(np.array([0, len(indices)], dtype=np.int64), indices, values)
