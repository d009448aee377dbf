"""Examples: from queries that have several to a search, and the rule that makes one score of many.

The average of examples is a vector like any other. All else is a `Combined` plan.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb import models, vectors
from vecdb.engine.read.asked import Asked
from vecdb.engine.read.lookup import is_id, looked_up
from vecdb.engine.read.nearest import Vector, read_vector, require_idf, search_of
from vecdb.engine.read.plan import Combined, Nearest
from vecdb.engine.read.segment.rules import BestScore, Context, Discovery, Rule, Weighted
from vecdb.engine.schema import VectorSchema, vector_schema
from vecdb.engine.view import View
from vecdb.errors import InvalidInputError
from vecdb.models.documents import makes_sparse
from vecdb.models.reading import fields_of
from vecdb.vectors.blocks import concat
from vecdb.vectors.sparse import weighted_sum

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_NO_NUMBERS = np.empty(0, dtype=np.float32)
_AVERAGE, _BEST = models.RecommendStrategy.AVERAGE_VECTOR, models.RecommendStrategy.BEST_SCORE


def recommend(view: View, query: models.RecommendQuery, asked: Asked) -> Nearest | Combined:
    """Compile a recommendation. Raises InvalidInputError, NotFoundError."""
    given = query.recommend
    strategy = given.strategy or _AVERAGE
    examples = _Examples(view, asked, normalize=strategy is not _AVERAGE)
    positive = examples.several(given.positive, "query.recommend.positive")
    negative = examples.several(given.negative, "query.recommend.negative")
    if strategy is _AVERAGE:
        if not positive:
            raise InvalidInputError(
                "query.recommend.positive: expected at least one example for an average, got none"
            )
        return _average(examples, positive, negative, asked)
    if not positive and not negative:
        raise InvalidInputError(
            "query.recommend: expected at least one example, positive or negative, got none"
        )
    rule: Rule
    if strategy is _BEST:
        rule = BestScore(len(positive), len(negative))
    else:
        weights = np.repeat([1.0, -1.0], [len(positive), len(negative)])
        rule = Weighted(weights, strategy.value)
    return examples.plan(positive + negative, rule)


def _average(
    examples: _Examples, positive: list[Vector], negative: list[Vector], asked: Asked
) -> Nearest:
    if examples.schema.is_sparse:
        weights = [1.0 / len(positive)] * len(positive)
        if negative:
            weights = [2 * each for each in weights] + [-1.0 / len(negative)] * len(negative)
        sparse = weighted_sum(concat([*positive, *negative]), weights)
        return search_of(asked, examples.schema, sparse, tuple(examples.keys))
    if examples.schema.is_multi:
        # As in Qdrant: nothing is averaged, all vectors are those of one query.
        tokens = np.concatenate([concat(positive).values, *(-concat([n]).values for n in negative)])
        query = read_vector(examples.schema, tokens, "query.recommend")
        return search_of(asked, examples.schema, query, tuple(examples.keys))
    mean = _mean(positive)
    if negative:
        mean = mean + mean - _mean(negative)
    vector = examples.schema
    cosine = vector.distance is models.Distance.COSINE
    query = vectors.to_query(mean, vector.dim, normalize=cosine, what="query.recommend")
    return search_of(asked, vector, query, tuple(examples.keys))


def _mean(examples: list[Any]) -> Doubles:
    mean: Doubles = np.stack(examples).mean(axis=0, dtype=np.float64)
    return mean


def discover(view: View, query: models.DiscoverQuery, asked: Asked) -> Combined:
    """Compile a discovery. Raises InvalidInputError, NotFoundError."""
    examples = _Examples(view, asked)
    target = examples.one(query.discover.target, "query.discover.target")
    pairs = examples.pairs(query.discover.context, "query.discover.context")
    return examples.plan([target, *pairs], Discovery(len(pairs) // 2))


def context(view: View, query: models.ContextQuery, asked: Asked) -> Combined:
    """Compile a context search. Raises InvalidInputError, NotFoundError."""
    examples = _Examples(view, asked)
    pairs = examples.pairs(query.context, "query.context")
    if not pairs:
        raise InvalidInputError("query.context: expected at least one pair of examples, got none")
    return examples.plan(pairs, Context())


def relevance_feedback(view: View, query: models.RelevanceFeedbackQuery, asked: Asked) -> Combined:
    """Compile a search with feedback. Raises InvalidInputError, NotFoundError."""
    given, what = query.relevance_feedback, "query.relevance_feedback"
    examples = _Examples(view, asked)
    vectors = [examples.one(given.target, f"{what}.target")]
    for number, item in enumerate(given.feedback):
        vectors.append(examples.one(item.example, f"{what}.feedback[{number}].example"))
    weights = _weights(given)
    if not np.isfinite(weights).all():
        params = given.strategy.naive
        raise InvalidInputError(
            f"{what}: expected scores and coefficients of which the formula makes finite weights, "
            f"got scores {[item.score for item in given.feedback]!r:.60} with a={params.a:g}, "
            f"b={params.b:g}, c={params.c:g}"
        )
    return examples.plan(vectors, Weighted(weights, "relevance_feedback"))


def _weights(given: models.RelevanceFeedbackInput) -> Doubles:
    """What the score against the target, and against the example of each item, counts."""
    params = given.strategy.naive
    weights = np.zeros(1 + len(given.feedback))
    weights[0] = params.a
    scores = np.array([item.score for item in given.feedback], dtype=np.float64)
    with np.errstate(all="ignore"):
        for better, worse in permutations(range(len(scores)), 2):
            if scores[better] > scores[worse]:
                weight = (scores[better] - scores[worse]) ** params.b * params.c
                weights[1 + better] += weight
                weights[1 + worse] -= weight
    return weights


class _Examples:
    """The examples of one query. ``keys``: those of the points here that are examples."""

    def __init__(self, view: View, asked: Asked, *, normalize: bool = True) -> None:
        using = asked.using
        if using is not None and not isinstance(using, str):
            raise InvalidInputError(f"using: expected the name of a vector, got {using!r:.60}")
        self.schema: VectorSchema = vector_schema(view.schema, using or "")
        self.keys: list[int] = []
        self._asked = asked
        self._normalize = normalize

    def several(self, given: list[Any] | None, what: str) -> list[Vector]:
        """Their vectors."""
        return [self.one(each, f"{what}[{number}]") for number, each in enumerate(given or ())]

    def pairs(self, given: Any, what: str) -> list[Vector]:
        """The vectors of pairs, one pair after the other, the positive example first."""
        found = []
        for number, pair in enumerate(given):
            found.append(self.one(pair.positive, f"{what}[{number}].positive"))
            found.append(self.one(pair.negative, f"{what}[{number}].negative"))
        return found

    def one(self, given: Any, what: str) -> Vector:
        """The vector of one. Raises InvalidInputError, NotFoundError."""
        vector, normalize = self.schema, self._normalize
        if is_id(given):
            numbers, keys = looked_up(self._asked.lookup, given, vector, what, normalize=normalize)
            self.keys += keys
            return numbers
        fields = fields_of(given)
        if (fields is not None and not makes_sparse(given)) or given is None:
            came = "None" if fields is None else f"an object with {', '.join(map(repr, fields))}"
            raise InvalidInputError(f"{what}: expected a vector or an id, got {came}")
        return read_vector(vector, given, what, normalize=normalize)

    def plan(self, examples: list[Vector], rule: Rule) -> Combined:
        """The plan of all."""
        asked = self._asked
        require_idf(asked, self.schema)
        ragged = concat(examples) if self.schema.is_ragged else None
        given: Any = examples if ragged is None else [_NO_NUMBERS] * len(examples)
        return Combined(
            vector=self.schema,
            examples=np.ascontiguousarray(np.stack(given)),
            ragged=ragged,
            rule=rule,
            excluded=tuple(dict.fromkeys(self.keys)),
            condition=asked.condition,
            params=asked.params,
            limit=asked.limit,
            offset=asked.offset,
            wanted=asked.wanted,
            threshold=asked.threshold,
        )
