"""VectorBlock: the vectors of one name for a number of rows; some rows may have none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


class VectorBlock(Struct, frozen=True):
    """Dense vectors, row by row: ``values: float32 (n, dim)``, zeros where a row has none."""

    values: Floats
    has: Flags | None = None
    """Which rows have a vector; None: all of them."""

    @classmethod
    def of(cls, values: Floats, has: Flags) -> VectorBlock:
        """Make a block; flags are left out if all rows have a vector."""
        return cls(values, None if has.all() else has)

    @classmethod
    def of_some(cls, given: Floats, has: Flags) -> VectorBlock:
        """Make a block from the vectors of the rows that have one."""
        values = np.zeros((len(has), given.shape[1]), dtype=np.float32)
        values[has] = given
        return cls(values, has)

    @classmethod
    def of_none(cls, rows: int, dim: int) -> VectorBlock:
        """Make a block of rows without vectors."""
        return cls(np.zeros((rows, dim), dtype=np.float32), np.zeros(rows, dtype=np.bool_))

    @classmethod
    def concat(cls, blocks: Sequence[VectorBlock]) -> VectorBlock:
        """The rows of several blocks one after another."""
        has = None
        if any(block.has is not None for block in blocks):
            has = np.concatenate([block.flags() for block in blocks])
        return cls(np.concatenate([block.values for block in blocks]), has)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dim(self) -> int:
        """Numbers of a vector."""
        return int(self.values.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return self.values.nbytes

    def flags(self) -> Flags:
        """Which rows have a vector."""
        return np.ones(len(self.values), dtype=np.bool_) if self.has is None else self.has

    def take(self, rows: Any) -> VectorBlock:
        """Copies of some rows."""
        return VectorBlock(self.values[rows], None if self.has is None else self.has[rows])
