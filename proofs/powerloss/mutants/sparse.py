"""Bugs in what becomes of sparse vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from msgspec.structs import replace

from proofs.mutants import put
from proofs.powerloss.mutants.registry import caught_by, without_file_sync
from vecdb.storage.builder import SegmentBuilder
from vecdb.storage.row_block import RowBlock
from vecdb.vectors.sparse import SparseBlock


@caught_by("sparse", "sparse-merge")
def no_sparse_sync() -> None:
    """the numbers of sparse vectors are not synced before the commit"""
    without_file_sync(lambda path: path.name.startswith("sparse-"))


@caught_by("sparse-merge")
def no_sparse_offsets_sync() -> None:
    """where sparse vectors begin is not synced before the commit"""
    without_file_sync(lambda path: path.name.startswith("sparse-offsets"))


@caught_by("sparse", "sparse-merge")
def sparse_of_other_rows() -> None:
    """a new segment has the sparse vectors of its rows in the order of before"""
    _written_as(lambda block: block.take(np.roll(np.arange(len(block)), 1)))


@caught_by("sparse")
def sparse_without_holes() -> None:
    """a point whose sparse vector was deleted has an empty one"""
    _written_as(lambda block: replace(block, has=None))


def _written_as(change: Callable[[SparseBlock], SparseBlock]) -> None:
    """Segments are written with other sparse vectors."""
    real = SegmentBuilder.add

    def add(self: SegmentBuilder, rows: RowBlock) -> None:
        vectors = {
            name: change(block) if isinstance(block, SparseBlock) else block
            for name, block in rows.vectors.items()
        }
        real(self, replace(rows, vectors=vectors))

    put(SegmentBuilder, "add", add)
