"""Fusion: one list of several, whose scores do not compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vecdb import models
from vecdb.engine.read.asked import Asked
from vecdb.engine.read.merge import Hits, hits_of
from vecdb.engine.read.plan import Fused, Place, Ranking
from vecdb.engine.view import View
from vecdb.errors import InvalidInputError

_K = 2
"""As in Qdrant. Many others have 60, after the paper."""

Scores = dict[Place, float]
"""The points in the order in which they come up first: of equal scores the first wins."""


def fusion(view: View, query: models.FusionQuery, asked: Asked) -> Fused:
    """The plan of a fusion by its name. Raises InvalidInputError."""
    return _plan(query.fusion, models.Rrf(), asked)


def rrf(view: View, query: models.RrfQuery, asked: Asked) -> Fused:
    """The plan of a fusion by ranks. Raises InvalidInputError."""
    weights, count = query.rrf.weights, asked.prefetches
    if weights is not None and len(weights) != count:
        raise InvalidInputError(
            f"{asked.where}query.rrf.weights: expected {count}, one for each prefetch, got "
            f"{len(weights)}"
        )
    return _plan(models.Fusion.RRF, query.rrf, asked)


def _plan(method: models.Fusion, numbers: models.Rrf, asked: Asked) -> Fused:
    if not asked.prefetches:
        raise InvalidInputError(
            f"{asked.where}prefetch: expected the lists to fuse into one, got none"
        )
    if asked.using:
        raise InvalidInputError(
            f"{asked.where}using: expected None, got {asked.using!r:.60}. Fusion queries cannot be "
            f"combined with the 'using' field."
        )
    return Fused(
        method=method,
        k=_K if numbers.k is None else numbers.k,
        weights=numbers.weights,
        threshold=asked.threshold,
        limit=asked.limit,
        offset=asked.offset,
        wanted=asked.wanted,
    )


def fused(view: View, plan: Fused, rankings: Sequence[Ranking]) -> Hits:
    """The page of the plan, of what its sources found."""
    if plan.method is models.Fusion.RRF:
        scores = _by_ranks(rankings, plan.k, plan.weights or [1.0] * len(rankings))
    else:
        scores = _by_scores(rankings)
    places, values = list(scores), list(scores.values())
    return best(view, plan, places, values)


def best(view: View, plan: Any, places: Sequence[Place], scores: Sequence[float]) -> Hits:
    """The page of a plan, of places with scores: the largest first, and of equal ones the first. As
    in Qdrant, one that equals the threshold suffices."""
    order = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
    page = order[plan.offset : plan.offset + plan.limit]
    if plan.threshold is not None:
        page = [position for position in page if scores[position] >= plan.threshold]
    return hits_of(view, [scores[position] for position in page], [places[p] for p in page])


def _by_ranks(rankings: Sequence[Ranking], k: int, weights: Sequence[float]) -> Scores:
    scores: Scores = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, (place, _) in enumerate(ranking):
            share = 1 / ((rank + 1) / weight + (k - 1)) if weight > 0 else 0.0
            scores[place] = scores.get(place, 0.0) + share
    return scores


def _by_scores(rankings: Sequence[Ranking]) -> Scores:
    scores: Scores = {}
    for ranking in rankings:
        for (place, _), score in zip(ranking, _levelled(ranking), strict=True):
            scores[place] = scores.get(place, 0.0) + score
    return scores


def _levelled(ranking: Ranking) -> list[float]:
    """The scores of a list, with a mean of 0.5 and a standard deviation (of a sample) of 1/6."""
    count = len(ranking)
    if count < 2:
        return [0.5] * count
    mean = sum(score for _, score in ranking) / count
    variance = sum((score - mean) ** 2 for _, score in ranking) / (count - 1)
    if variance == 0:
        return [0.5] * count
    low, width = mean - 3 * variance**0.5, 6 * variance**0.5
    return [(score - low) / width for _, score in ranking]
