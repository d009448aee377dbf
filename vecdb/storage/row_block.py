"""RowBlock: some rows of a segment, with all that is stored of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb import ids
from vecdb.vectors.blocks import Block, concat

Offsets = npt.NDArray[np.int64]


class RowBlock(Struct, frozen=True):
    """Rows as a builder takes them."""

    keys: ids.IdArray
    seqs: npt.NDArray[np.uint64]
    """The operations that changed them last."""
    payloads: list[Any]
    vectors: dict[str, Block]
    """Of every name."""

    @classmethod
    def concat(cls, blocks: Sequence[RowBlock]) -> RowBlock:
        """The rows of several blocks one after another."""
        return cls(
            ids.concatenate([block.keys for block in blocks]),
            np.concatenate([block.seqs for block in blocks]),
            [payload for block in blocks for payload in block.payloads],
            {name: concat([block.vectors[name] for block in blocks]) for name in blocks[0].vectors},
        )

    def take(self, rows: Offsets) -> RowBlock:
        """Some of the rows, in this order."""
        return RowBlock(
            self.keys[rows],
            self.seqs[rows],
            [self.payloads[row] for row in rows.tolist()],
            {name: block.take(rows) for name, block in self.vectors.items()},
        )
