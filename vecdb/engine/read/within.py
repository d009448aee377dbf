"""Within: all points with a better score than a threshold, some at a time.

Each row is scored by its original, so none is missing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec.structs import replace

from vecdb import models
from vecdb.engine.read.answer import passes, points_of, public_scores
from vecdb.engine.read.idf import weighted
from vecdb.engine.read.masks import allowed
from vecdb.engine.read.merge import Hits
from vecdb.engine.read.plan import Nearest
from vecdb.engine.read.segment.inverted import sparse_scores
from vecdb.engine.read.segment.originals import exact_scores
from vecdb.engine.view import Offsets, SegmentView, View
from vecdb.storage.format import unpack_bits
from vecdb.vectors.sparse import SparseBlock

_USUAL = 128
"""Numbers of a sparse vector, more or less."""
_VALUES = 1 << 20
"""So many values of vectors (4 MiB) are scored together."""


def within(view: View, plan: Nearest) -> Iterator[models.ScoredPoint]:
    """The points, segment by segment. Raises CorruptionError."""
    if plan.sparse is not None and plan.vector.idf:
        weights = weighted(view, plan.vector.name, plan.sparse, plan.params)
        plan = replace(plan, sparse=weights)
    step = max(1, _VALUES // (plan.vector.dim or _USUAL))
    for segment_view in view.segments:
        rows = _rows(view, segment_view, plan)
        for start in range(0, len(rows), step):
            hits = _near(plan, segment_view, rows[start : start + step])
            yield from points_of(view, plan, plan.wanted, hits)


def _rows(view: View, segment_view: SegmentView, plan: Nearest) -> Offsets:
    if segment_view.live == 0:
        return np.empty(0, dtype=np.int64)
    mask = allowed(view, segment_view, plan.vector.name, plan.condition, plan.excluded)
    if mask is None:
        return np.arange(segment_view.rows)
    return np.flatnonzero(unpack_bits(mask, segment_view.rows))


def _near(plan: Nearest, segment_view: SegmentView, rows: Offsets) -> Hits:
    """Those of some rows that are near enough."""
    metric, threshold = plan.vector.metric, plan.threshold
    assert threshold is not None
    if plan.sparse is not None:
        block = segment_view.segment.block(plan.vector.name, rows)
        assert isinstance(block, SparseBlock)
        scores, shared = sparse_scores(block, plan.sparse)
        scores, rows = scores[shared], rows[shared]
    else:
        vectors = segment_view.segment.take(plan.vector.name, rows)
        scores = exact_scores(plan.vector.of_originals, vectors, plan.query)
    passing = [
        position
        for position, score in enumerate(public_scores(metric, scores.tolist()))
        if passes(metric, score, threshold)
    ]
    kept = np.array(passing, dtype=np.int64)
    return Hits(scores[kept].tolist(), [(segment_view, range(len(kept)), rows[kept])])
