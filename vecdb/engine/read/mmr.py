"""Maximal marginal relevance: hits that are near the query and far from one another.

The nearest comes first. Each next one has the largest ``(1 - diversity) * relevance - diversity *
likeness``: how near it is to the query, and to the nearest of those before it. Both are exact
scores, also where the candidates were found by codes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb import models
from vecdb.engine.read.merge import Hits, Offsets
from vecdb.engine.read.plan import Floats, Mmr
from vecdb.engine.read.segment.originals import exact_scores
from vecdb.engine.read.segment.ragged import ragged_scores
from vecdb.vectors.blocks import Ragged, concat

Doubles = npt.NDArray[np.float64]
Against = Callable[[int | None], Doubles]
"""The scores of all hits against one of them, by its position; None: against the query."""

_BLOCK = 1 << 16
"""Values that are scored at once: what is computed on the way stays in the processor's cache."""
_LEAST = float(np.finfo(np.float32).min)
"""For distances whose squares overflow: infinity times a diversity of 0 is no number."""


def diverse(plan: Mmr, hits: Hits, explained: list[models.SegmentSearch] | None = None) -> Hits:
    """The page of the plan, in the order of choice, of the ``hits`` of its source. How many of each
    segment were candidates, and how many are on the page, is added to ``explained``."""
    scores_against = _ragged(plan, hits) if plan.ragged is not None else _dense(plan, hits)
    order = _choose(plan, len(hits.scores), scores_against)[plan.offset :]
    page = hits.chosen(order)
    if explained is not None:
        _explain(plan, hits, page, explained)
    return page


def _dense(plan: Mmr, hits: Hits) -> Against:
    """How near the hits are to one of them, or to the query."""
    vectors = np.empty((len(hits.scores), plan.vector.dim), dtype=np.float32)
    for segment_view, positions, rows in hits.by_segment:
        some = segment_view.segment.take(plan.vector.name, rows)
        vectors[np.asarray(positions)] = plan.vector.compared(some)
    metric = plan.vector.metric
    return lambda hit: _scores(metric, vectors, plan.query if hit is None else vectors[hit])


def _ragged(plan: Mmr, hits: Hits) -> Against:
    """The same of sparse vectors and multivectors."""
    query: Any = plan.ragged
    assert query is not None
    parts, places = [], []
    for segment_view, positions, rows in hits.by_segment:
        parts.append(segment_view.segment.block(plan.vector.name, rows))
        places.append(np.asarray(positions))
    block = concat(parts).take(np.argsort(np.concatenate(places))) if parts else query.take([])
    each = [block.take([row]) for row in range(len(block))] if plan.vector.is_multi else []

    def against(hit: int | None) -> Doubles:
        if each and hit is not None:  # MaxSim of A in B is not that of B in A: as in Qdrant
            scores = np.concatenate([_against_ragged(plan, each[hit], row) for row in each])
        else:
            scores = _against_ragged(plan, block, query if hit is None else block.take([hit]))
        return np.maximum(scores.astype(np.float64), _LEAST)

    return against


def _against_ragged(plan: Mmr, block: Ragged, query: Ragged) -> Floats:
    scores, _ = ragged_scores(plan.vector.metric, block, query)
    return scores


def _choose(plan: Mmr, size: int, against: Against) -> Offsets:
    """The positions of hits, as many as the plan takes, in the order of choice. Of equal ones the
    first wins."""
    diversity = plan.diversity
    chosen = np.empty(min(plan.offset + plan.limit, size), dtype=np.int64)
    relevance = against(None)
    worth, likeness = relevance.copy(), np.full(size, -np.inf)
    for number in range(len(chosen)):
        if number:
            likest = against(int(chosen[number - 1]))
            np.maximum(likeness, likest, out=likeness)
            worth = (1 - diversity) * relevance - diversity * likeness
            worth[chosen[:number]] = -np.inf
        chosen[number] = worth.argmax()
    return chosen


def _scores(metric: str, vectors: Floats, example: Floats) -> Doubles:
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
