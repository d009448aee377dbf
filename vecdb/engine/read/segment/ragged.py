"""Ragged: searches and scores of vectors of unequal length, sparse ones and multivectors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vecdb.engine.read.segment.candidates import Best, SegmentSearch
from vecdb.engine.read.segment.inverted import sparse_scores, sparse_search
from vecdb.engine.read.segment.maxsim import multi_scores, multi_search
from vecdb.vectors.blocks import Ragged
from vecdb.vectors.multi import MultiBlock
from vecdb.vectors.sparse import SparseBlock

Floats = npt.NDArray[np.float32]


def ragged_search(search: SegmentSearch) -> list[Best]:
    """The best allowed rows of a segment, for each query."""
    return multi_search(search) if search.vector.is_multi else sparse_search(search)


def ragged_scores(
    metric: str, block: Ragged, query: Ragged
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The score of each row of a block against a query of one row, and whether it is a result: a
    sparse vector that has no index in common with the query is none."""
    if isinstance(block, SparseBlock):
        assert isinstance(query, SparseBlock)
        return sparse_scores(block, query)
    assert isinstance(query, MultiBlock)
    return multi_scores(metric, block, query.values), block.sizes > 0
