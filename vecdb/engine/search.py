"""Search: candidates from each segment, rescoring with originals, one merged answer.

Inside, a larger score is better: inner product, minus squared Euclidean, minus Manhattan
distance. Every stage, quantized or not, is on that scale, so segments of different kinds merge;
``public_score`` turns it into what the caller sees.

Small collections are searched with numpy alone: numba costs 0.4 s to load, and a few thousand
rows never earn it back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vecdb import models
from vecdb.engine.masks import Condition, allowed
from vecdb.engine.scan import Explain, Search, search_segment
from vecdb.engine.schema import VectorSchema
from vecdb.engine.view import SegmentView, View

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hits:
    """Results, best first: scores (larger is better), and the segment and row of each."""

    scores: list[float]
    parts: list[SegmentView]
    rows: list[int]


def search(
    view: View,
    vector: VectorSchema,
    query: Floats,
    limit: int,
    params: models.SearchParams,
    condition: Condition | None = None,
    excluded: int | None = None,
    explained: list[models.SegmentSearch] | None = None,
) -> Hits:
    """The ``limit`` best live points, best first, of those that have the vector and match.

    ``query``: ``float32 (dim,)``, normalised already under Cosine. ``excluded`` is a key to leave
    out. Fewer than ``limit`` come back only when fewer match. What was done in each segment is
    added to ``explained``.
    """
    recall = params.recall
    if recall is None:
        recall = view.config.optimizer_config.recall
    asked = Search(vector, query, limit, params, recall)
    found: list[tuple[list[float], SegmentView, list[int]]] = []
    for part in view.segments:
        if part.live == 0:
            continue
        mask = allowed(view, part, vector.name, condition, excluded)
        explain = None if explained is None else _explainer(part, explained)
        if mask is not None and not mask.any():
            continue
        scores, rows = search_segment(part, asked, mask, explain)
        found.append((scores.tolist(), part, rows.tolist()))
    if len(found) == 1:
        [(best, part, rows_of_part)] = found
        return Hits(best, [part] * len(best), rows_of_part)
    merged = [
        (-score, number, row)
        for number, (scores_of_part, _, rows_of_part) in enumerate(found)
        for score, row in zip(scores_of_part, rows_of_part, strict=True)
    ]
    merged.sort()
    del merged[limit:]
    return Hits(
        [-score for score, _, _ in merged],
        [found[number][1] for _, number, _ in merged],
        [row for _, _, row in merged],
    )


def _explainer(part: SegmentView, explained: list[models.SegmentSearch]) -> Explain:
    segment = models.SegmentSearch(f"{part.segment.id:016x}", part.segment.kind, part.live, [])
    explained.append(segment)
    return segment.stages.append


def public_scores(metric: str, scores: list[float]) -> list[float]:
    """Scores on the metric's own scale: similarity, or distance (smaller is better)."""
    if metric == "dot":
        return scores
    if metric == "euclid":
        return [max(0.0, -score) ** 0.5 for score in scores]
    return [max(0.0, -score) for score in scores]


def passes(metric: str, score: float, threshold: float | None) -> bool:
    """Whether a public score is as good as the threshold."""
    return threshold is None or (score >= threshold if metric == "dot" else score <= threshold)
