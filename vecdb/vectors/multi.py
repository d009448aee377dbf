"""MultiBlock: the multivectors of one name for a number of rows; some rows may have none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb.vectors.datatypes import STORED, many_of
from vecdb.vectors.ragged import Offsets, offsets_of, taken

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


class MultiBlock(Struct, frozen=True):
    """Multivectors, row by row: the vectors ``values: float32 (m, dim)``, called tokens. Those of
    row ``i`` are from ``offsets[i]`` to ``offsets[i + 1]``, ``int64 (n + 1,)``. A row that has a
    multivector has at least one token."""

    offsets: Offsets
    values: Floats
    has: Flags | None = None
    """Which rows have a multivector; None: all of them."""

    @classmethod
    def of_none(cls, rows: int, size: int) -> MultiBlock:
        """Make a block of rows without multivectors, of tokens of ``size`` numbers."""
        none = np.empty((0, size), dtype=STORED)
        return cls(np.zeros(rows + 1, dtype=np.int64), none, np.zeros(rows, dtype=np.bool_))

    @classmethod
    def of_one(cls, tokens: Floats) -> MultiBlock:
        """Make a block of one row."""
        return cls(np.array([0, len(tokens)], dtype=np.int64), tokens)

    @classmethod
    def of_some(cls, given: MultiBlock, has: Flags) -> MultiBlock:
        """Make a block from the multivectors of the rows that have one."""
        sizes = np.zeros(len(has), dtype=np.int64)
        sizes[has] = given.sizes
        return cls(offsets_of(sizes), given.values, has)

    @classmethod
    def concat(cls, blocks: Sequence[MultiBlock]) -> MultiBlock:
        """The rows of several blocks one after another."""
        has = None
        if any(block.has is not None for block in blocks):
            has = np.concatenate([block.flags() for block in blocks])
        return cls(
            offsets_of(np.concatenate([block.sizes for block in blocks])),
            np.concatenate([block.values for block in blocks]),
            has,
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def dim(self) -> int:
        """What stands for multivectors of this size."""
        return many_of(self.values.shape[1])

    @property
    def sizes(self) -> Offsets:
        """How many tokens each row has."""
        sizes: Offsets = np.diff(self.offsets)
        return sizes

    @property
    def nbytes(self) -> int:
        """Bytes of the tokens, and of where rows begin."""
        return self.offsets.nbytes + self.values.nbytes

    def flags(self) -> Flags:
        """Which rows have a multivector."""
        return np.ones(len(self), dtype=np.bool_) if self.has is None else self.has

    def take(self, rows: Any) -> MultiBlock:
        """Copies of some rows."""
        rows = np.asarray(rows, dtype=np.int64)
        offsets, (values,) = taken(self.offsets, (self.values,), rows)
        return MultiBlock(offsets, values, None if self.has is None else self.has[rows])

    @property
    def parts(self) -> tuple[Offsets, Floats]:
        """All but the flags."""
        return self.offsets, self.values

    def row(self, number: int) -> Floats:
        """The tokens of one row, ``float32 (m, dim)``."""
        return self.values[int(self.offsets[number]) : int(self.offsets[number + 1])]
