"""Within: all points with a better score than a threshold, some at a time.

Each row is scored by its original, so none is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from msgspec.structs import replace

from vecdb import models
from vecdb.engine.read.answer import passes, points_of, public_scores
from vecdb.engine.read.idf import weighted
from vecdb.engine.read.masks import allowed
from vecdb.engine.read.merge import Hits
from vecdb.engine.read.plan import Nearest
from vecdb.engine.read.segment.originals import exact_scores
from vecdb.engine.read.segment.ragged import ragged_scores
from vecdb.engine.view import Offsets, SegmentView, View
from vecdb.storage.format import unpack_bits
from vecdb.vectors.datatypes import bytes_per_vector
from vecdb.vectors.sparse import SparseBlock

_BYTES = 4 << 20
"""So many bytes of vectors are scored together."""


def within(view: View, plan: Nearest) -> Iterator[models.ScoredPoint]:
    """The points, segment by segment. Raises CorruptionError."""
    if isinstance(plan.ragged, SparseBlock) and plan.vector.idf:
        weights = weighted(view, plan.vector.name, plan.ragged, plan.params)
        plan = replace(plan, ragged=weights)
    step = max(1, _BYTES // bytes_per_vector(plan.vector.dim))
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
    if plan.ragged is not None:
        block: Any = segment_view.segment.block(plan.vector.name, rows)
        scores, found = ragged_scores(metric, block, plan.ragged)
        scores, rows = scores[found], rows[found]
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
