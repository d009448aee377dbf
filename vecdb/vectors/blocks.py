"""Blocks: the vectors of one name for a number of rows, whatever kind of vectors they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vecdb.vectors.block import VectorBlock
from vecdb.vectors.datatypes import SPARSE, is_multi, size_of
from vecdb.vectors.multi import MultiBlock
from vecdb.vectors.sparse import SparseBlock

Ragged: TypeAlias = SparseBlock | MultiBlock
"""Vectors of unequal length."""
Block: TypeAlias = VectorBlock | Ragged


def none_of(rows: int, dim: int) -> Block:
    """A block of rows without vectors of this dimension."""
    if is_multi(dim):
        return MultiBlock.of_none(rows, size_of(dim))
    return SparseBlock.of_none(rows) if dim == SPARSE else VectorBlock.of_none(rows, dim)


def concat(blocks: Sequence[Any]) -> Any:
    """The rows of several blocks of one kind one after another."""
    kind = type(blocks[0])
    return kind.concat(blocks)


def replaced(block: Block, which: npt.NDArray[np.bool_], by: Block) -> Block:
    """The block with some rows from another one, at the same places."""
    own = np.arange(len(block))
    whole: Block = concat([block, by]).take(np.where(which, own + len(block), own))
    return whole


def filled(block: Block) -> npt.NDArray[np.bool_]:
    """Which rows have numbers; dense ones some that are not zero."""
    flags: npt.NDArray[np.bool_] = (
        (block.values != 0).any(axis=1) if isinstance(block, VectorBlock) else block.sizes > 0
    )
    return flags
