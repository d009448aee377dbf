"""Maximal marginal relevance: hits that are near the query and far from one another.

The nearest comes first. Each next one has the largest ``(1 - diversity) * relevance - diversity *
likeness``: how near it is to the query, and to the nearest of those before it. Both are exact
scores, also where the candidates were found by codes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vecdb import models
from vecdb.engine.read.merge import Hits, Offsets
from vecdb.engine.read.plan import Floats, Mmr
from vecdb.engine.read.segment.originals import exact_scores

_BLOCK = 1 << 16
"""Values that are scored at once: what is computed on the way stays in the processor's cache."""
_LEAST = float(np.finfo(np.float32).min)
"""For distances whose squares overflow: infinity times a diversity of 0 is no number."""


def diverse(plan: Mmr, hits: Hits, explained: list[models.SegmentSearch] | None = None) -> Hits:
    """The page of the plan, in the order of choice, of the ``hits`` of its source. How many of each
    segment were candidates, and how many are on the page, is added to ``explained``."""
    order = _choose(plan, _vectors(plan, hits), plan.offset + plan.limit)[plan.offset :]
    page = hits.chosen(order)
    if explained is not None:
        _explain(plan, hits, page, explained)
    return page


def _vectors(plan: Mmr, hits: Hits) -> Floats:
    """The vectors of the hits, by their positions: ``float32 (n, dim)``."""
    vectors = np.empty((len(hits.scores), plan.vector.dim), dtype=np.float32)
    for segment_view, positions, rows in hits.by_segment:
        vectors[np.asarray(positions)] = segment_view.segment.take(plan.vector.name, rows)
    return vectors


def _choose(plan: Mmr, vectors: Floats, count: int) -> Offsets:
    """The positions of ``count`` vectors, of all if there are fewer, in the order of choice. Of
    equal ones the first wins."""
    metric, diversity = plan.vector.metric, plan.diversity
    chosen = np.empty(min(count, len(vectors)), dtype=np.int64)
    relevance = _scores(metric, vectors, plan.query)
    worth, likeness = relevance.copy(), np.full(len(vectors), -np.inf)
    for number in range(len(chosen)):
        if number:
            likest = _scores(metric, vectors, vectors[chosen[number - 1]])
            np.maximum(likeness, likest, out=likeness)
            worth = (1 - diversity) * relevance - diversity * likeness
            worth[chosen[:number]] = -np.inf
        chosen[number] = worth.argmax()
    return chosen


def _scores(metric: str, vectors: Floats, example: Floats) -> npt.NDArray[np.float64]:
    scores = np.empty(len(vectors), dtype=np.float64)
    step = max(1, _BLOCK // len(example))
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step]
        scores[start : start + step] = exact_scores(metric, block, example)
    return np.maximum(scores, _LEAST, out=scores)


def _explain(plan: Mmr, hits: Hits, page: Hits, explained: list[models.SegmentSearch]) -> None:
    """Add a stage to each segment that has candidates."""
    candidates, kept = _counts(hits), _counts(page)
    why = f"of {len(hits.scores)} candidates, with a diversity of {plan.diversity:g}"
    for segment in explained:
        if segment.id in candidates:
            count = candidates[segment.id]
            segment.stages.append(models.SearchStage("mmr", count, kept.get(segment.id, 0), why))


def _counts(hits: Hits) -> dict[str, int]:
    """How many hits are of which segment, as `SegmentSearch` names it."""
    return {f"{view.segment.id:016x}": len(rows) for view, _, rows in hits.by_segment}
