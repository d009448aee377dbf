"""Matrix: points by chance, and of each the nearest of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct

from vecdb import ids, models
from vecdb.engine.read.answer import public_scores
from vecdb.engine.read.asked import page_size, whole
from vecdb.engine.read.masks import allowed
from vecdb.engine.read.ordered import drawn
from vecdb.engine.read.reader import condition
from vecdb.engine.read.rows import gather
from vecdb.engine.read.segment.originals import exact_scores
from vecdb.engine.read.segment.ragged import ragged_scores
from vecdb.engine.schema import vector_schema
from vecdb.engine.view import View, live_rows
from vecdb.errors import InvalidInputError
from vecdb.vectors.block import VectorBlock

_LIMIT, _SAMPLE = 3, 10
"""As in Qdrant, if nothing is said."""


class Matrix(Struct):
    """``ids`` of the points, in their order, and the entries that are known: row, column, score.
    The rows come in order; of one the nearest points come first."""

    ids: list[models.ExtendedPointId]
    rows: list[int]
    columns: list[int]
    scores: list[float]


def matrix(view: View, filter: Any, limit: Any, sample: Any, using: Any) -> Matrix:
    """The ``limit`` nearest of each of ``sample`` points that match and have the vector, among the
    others of these. Always exact: it takes time for every two points of the sample. Fewer than two
    points make no matrix. Raises InvalidInputError."""
    if using is not None and not isinstance(using, str):
        raise InvalidInputError(f"using: expected the name of a vector, got {using!r:.60}")
    vector = vector_schema(view.schema, using or "")
    matching = condition(filter, "query_filter", view)
    count = _SAMPLE if sample is None else whole(sample, "sample", least=2)
    each = page_size(_LIMIT if limit is None else limit)
    masks = [
        allowed(view, segment_view, vector.name, matching, ()) for segment_view in view.segments
    ]
    rows = [
        live_rows(mask, segment_view.rows)
        for segment_view, mask in zip(view.segments, masks, strict=True)
    ]
    places = drawn(rows, count)
    if len(places) < 2:
        return Matrix([], [], [], [])
    keyed = sorted((view.segments[at].segment.key(row), at, row) for at, row in places)
    where, at = np.array([place[1:] for place in keyed], dtype=np.int64).T
    block = gather(view, where, at, vector.name)
    if isinstance(block, VectorBlock):
        block = VectorBlock(vector.compared(block.values))
    made = Matrix([ids.external(key) for key, _, _ in keyed], [], [], [])
    for number in range(len(block)):
        if isinstance(block, VectorBlock):
            scores = exact_scores(vector.metric, block.values, block.values[number])
        else:
            scores, _ = ragged_scores(vector.metric, block, block.take([number]))
        nearest = np.lexsort((np.arange(len(scores)), -scores))
        nearest = nearest[nearest != number][:each]
        made.rows += [number] * len(nearest)
        made.columns += nearest.tolist()
        made.scores += public_scores(vector.metric, scores[nearest].tolist())
    return made


def as_pairs(matrix: Matrix) -> models.SearchMatrixPairsResponse:
    """The matrix as a list of pairs of ids."""
    entries = zip(matrix.rows, matrix.columns, matrix.scores, strict=True)
    pairs = [models.SearchMatrixPair(matrix.ids[a], matrix.ids[b], s) for a, b, s in entries]
    return models.SearchMatrixPairsResponse(pairs)


def as_offsets(matrix: Matrix) -> models.SearchMatrixOffsetsResponse:
    """The matrix as positions in a list of ids."""
    return models.SearchMatrixOffsetsResponse(
        offsets_row=matrix.rows,
        offsets_col=matrix.columns,
        scores=matrix.scores,
        ids=matrix.ids,
    )
