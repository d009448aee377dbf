"""Searches by many vectors, answered in arrays: no object is made for a point."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec.structs import replace

from vecdb import ids, models, vectors
from vecdb.engine.read.answer import hits_of_queries, public_scores
from vecdb.engine.read.lookup import Elsewhere
from vecdb.engine.read.merge import Hits
from vecdb.engine.read.plan import Nearest
from vecdb.engine.read.request import ranked
from vecdb.engine.schema import vector_schema
from vecdb.engine.view import View
from vecdb.errors import InvalidInputError

_UUID = "<U36"


def scored_arrays(
    view: View, request: models.QueryRequest, query_vectors: Any, elsewhere: Elsewhere
) -> models.ScoredArrays:
    """The points nearest to each of many vectors: a request without a query says how. Raises
    InvalidInputError, NotFoundError."""
    vector = vector_schema(view.schema, "" if request.using is None else request.using)
    if vector.is_ragged:
        are = "multivectors" if vector.is_multi else "sparse"
        raise InvalidInputError(
            f"using: expected the name of dense vectors, got {vector.name!r}, which are {are}"
        )
    # What is the same for all queries is checked with one of them.
    request = replace(request, query=np.zeros(vector.dim, dtype=np.float32))
    plan = ranked(view, request, elsewhere)
    assert isinstance(plan, Nearest)
    cosine = vector.distance is models.Distance.COSINE
    queries = vectors.to_matrix(query_vectors, vector.dim, normalize=cosine, what="query_vectors")
    found = hits_of_queries(view, plan, queries) if len(queries) else []
    return _arrays(plan, found)


def _arrays(plan: Nearest, found: list[Hits]) -> models.ScoredArrays:
    shape = len(found), plan.limit
    scores = np.full(shape, np.nan, dtype=np.float32)
    keys = np.zeros((*shape, 2), dtype=np.uint64)
    counts = np.array([len(hits.scores) for hits in found], dtype=np.int64)
    for row, hits in enumerate(found):
        scores[row, : counts[row]] = public_scores(plan.vector.metric, hits.scores)
        for segment_view, positions, rows in hits.by_segment:
            keys[row, positions] = ids.widen(segment_view.segment.id_array(rows))
    if not keys[:, :, 0].any():  # numbers, all of them
        return models.ScoredArrays(keys[:, :, 1].copy(), scores, counts)
    texts = np.full(shape, "", dtype=_UUID)
    for row, count in enumerate(counts.tolist()):
        texts[row, :count] = list(map(str, ids.external_array(keys[row, :count])))
    return models.ScoredArrays(texts, scores, counts)
