"""Queries by examples: what is like some points, and unlike others.

An example is a vector, or the id of a point, which stands for that point's vector. A point that is
an example by its id is not among the results, as in Qdrant.

``s(x, e)`` is the score of a point against an example as the engine has it: the inner product for
Cosine and Dot, minus the *squared* distance for Euclid, minus the distance for Manhattan. The score
of a result is what the query makes of these: larger is better, under every metric. Examples of a
Cosine vector are normalised first, but for the average.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from vecdb.models.named import vector_name
from vecdb.models.reading import By, Model, converter, fields_of


def _as_given(value: Any) -> Any:
    return value


VectorInput = Annotated[Any, By(_as_given, "a vector or an id")]
"""Who reads the query reads it: what the numbers must be is known there."""


class RecommendStrategy(str, Enum):
    """How examples make one score. ``P`` are the positive ones, ``N`` the negative ones."""

    AVERAGE_VECTOR = "average_vector"
    """A search for the points nearest to ``mean(P) + mean(P) - mean(N)``; without negatives
    ``mean(P)``. Scores are those of a search, distances for Euclid and Manhattan."""
    BEST_SCORE = "best_score"
    """With ``f(s) = (s / (1 + |s|) + 1) / 2`` and the best scores ``p`` against ``P``, ``n``
    against ``N``: ``f(p)`` if ``p > n``, else ``-f(n)``."""
    SUM_SCORES = "sum_scores"
    """The sum of the scores against ``P`` minus that of the scores against ``N``."""


class RecommendInput(Model, frozen=True, kw_only=True):
    """Points to find others like them, and points to find none like them."""

    positive: list[VectorInput] | None = None
    negative: list[VectorInput] | None = None
    strategy: RecommendStrategy | None = None
    """None: the average, which needs a positive example. The others need an example of any
    kind."""


class RecommendQuery(Model, frozen=True, kw_only=True):
    """Points that are like some examples and unlike others."""

    recommend: RecommendInput


class ContextPair(Model, frozen=True, kw_only=True):
    """Two examples that part all points: those nearer to the positive one, and the others."""

    positive: VectorInput
    negative: VectorInput


def _pairs(value: Any) -> Any:
    """One pair may stand alone; null is none."""
    if value is None:
        return []
    if isinstance(value, ContextPair) or fields_of(value) is not None:
        value = [value]
    return converter(list[ContextPair])(value)


ContextInput = Annotated[list[ContextPair] | ContextPair, By(_pairs, "a list of pairs of examples")]


class DiscoverInput(Model, frozen=True, kw_only=True):
    """A target, and pairs of examples that say on which side of them results should be."""

    target: VectorInput
    context: ContextInput


class DiscoverQuery(Model, frozen=True, kw_only=True):
    """Points that are on the right side of as many pairs as possible, and of these the nearest to a
    target. The score is ``f(s(x, target))`` (see `RecommendStrategy`), plus 1 for each pair on
    whose right side the point is, minus 1 for each on whose wrong side."""

    discover: DiscoverInput


class ContextQuery(Model, frozen=True, kw_only=True):
    """Points on the right side of all pairs, or nearly. The score is the sum of ``d / (1 + |d|)``,
    for each pair, of ``d = min(s(x, positive) - s(x, negative) - 1.2e-7, 0)``: 0 in the whole
    region that is right, where any points are as good as others."""

    context: ContextInput


class FeedbackItem(Model, frozen=True, kw_only=True):
    """An example, and how relevant it was found to be: any number, larger is better."""

    example: VectorInput
    score: float


class NaiveFeedbackStrategyParams(Model, frozen=True, kw_only=True):
    """The numbers of the formula, fitted to the data and to who gives the feedback."""

    a: float
    b: float
    c: float


class NaiveFeedbackStrategy(Model, frozen=True, kw_only=True):
    """``a s(x, target)``, plus ``(score - score')^b c (s(x, example) - s(x, example'))`` for each
    two items of which the first has the larger score."""

    naive: NaiveFeedbackStrategyParams


class RelevanceFeedbackInput(Model, frozen=True, kw_only=True):
    """A target, and what was found out about some points since."""

    target: VectorInput
    feedback: list[FeedbackItem]
    strategy: NaiveFeedbackStrategy


class RelevanceFeedbackQuery(Model, frozen=True, kw_only=True):
    """Points near a target, more like those that were found relevant than like the others."""

    relevance_feedback: RelevanceFeedbackInput


class LookupLocation(Model, frozen=True, kw_only=True):
    """Where the ids of a query are looked up."""

    collection: str
    vector: Annotated[str, By(vector_name, "a vector name")] | None = None
    """The name of the vector there; None: the name that is searched by here."""


def recommend_query(fields: dict[str, Any]) -> dict[str, Any]:
    """The query of an older request for a recommendation, whose examples are fields of its own.
    They are taken out of these."""
    names = "positive", "negative", "strategy"
    return {"recommend": {name: fields.pop(name) for name in names if name in fields}}


def discover_query(fields: dict[str, Any]) -> dict[str, Any]:
    """The same for a discovery. Without a target it is a context search."""
    target, context = fields.pop("target", None), fields.pop("context", None)
    context = [] if context is None else context
    if target is None:
        return {"context": context}
    return {"discover": {"target": target, "context": context}}
