"""Rules: one score of the scores that a row has against several examples.

Scores against examples are on the inner scale, larger is better (see ``merge``); so is what a rule
makes of them, and it is what callers see. The formulas are in ``models.examples``.

Most rules know vectors near which their best rows are. Searches near these find candidates, and
``beyond`` tells how good a row can be that none of them has found. So it is known which candidates
are surely the best, as far as the searches found what they should.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_LEAST = float(np.finfo(np.float32).min)
"""For distances whose squares overflow: a difference of infinities is no number."""
_EPSILON = float(np.finfo(np.float32).eps)
_SLIGHT = 0.05
"""Where the weights nearly cancel out, the middle of the examples is so far away that distances
from it tell nothing."""

_LONGEST = 1e19
"""The scores of longer vectors may overflow float32."""


class Rule(Protocol):
    """One way to make one score of several."""

    @property
    def name(self) -> str:
        """What callers call it."""

    @property
    def most(self) -> float:
        """No row has a better score."""

    def score(self, scores: Floats) -> Doubles:
        """The score of each row, ``(n,)``, by its scores against the examples, ``(examples,
        n)``."""

    def near(self, examples: Floats, metric: str) -> Floats | None:
        """Vectors near which the best rows are: some of the examples, the first ones, or a vector
        that stands for all. None: they may be anywhere."""

    def depth(self, limit: int) -> int:
        """How many rows near each of these to look at first, for so many results."""

    def beyond(self, least: Doubles) -> float:
        """The best score of a row that no search has found; the worst that each has found has the
        score ``least`` against its vector."""


class BestScore(Struct, frozen=True):
    """The best score against the positive examples, which come first, or against the others."""

    positives: int
    negatives: int
    name: str = "best_score"
    most: float = math.inf

    def score(self, scores: Floats) -> Doubles:
        against = _finite(scores)
        if not self.negatives:
            return _sigmoid(against.max(axis=0))
        if not self.positives:
            return -_sigmoid(against.max(axis=0))
        positive = against[: self.positives].max(axis=0)
        negative = against[self.positives :].max(axis=0)
        return np.where(positive > negative, _sigmoid(positive), -_sigmoid(negative))

    def near(self, examples: Floats, metric: str) -> Floats | None:
        return examples[: self.positives] if self.positives else None

    def depth(self, limit: int) -> int:
        return 2 * limit if self.negatives else limit

    def beyond(self, least: Doubles) -> float:
        return float(_sigmoid(least.max()))


class Weighted(Struct, frozen=True, eq=False):
    """The sum of the scores, each times its weight.

    Under an inner product that is the score against one vector, the same sum of the examples. The
    squared distances from several points differ by a constant from that from their weighted mean,
    times the sum of the weights. Manhattan distances have nothing of the kind.
    """

    weights: Doubles
    name: str
    most: float = math.inf

    def score(self, scores: Floats) -> Doubles:
        result: Doubles = np.einsum("i,ij->j", self.weights, _finite(scores))
        return result

    def near(self, examples: Floats, metric: str) -> Floats | None:
        weights = self.weights
        total = weights.sum()
        if metric == "manhattan":
            return None
        if metric == "euclid":
            if total <= _SLIGHT * np.abs(weights).sum():
                return None
            weights = weights / total
        vector: Doubles = np.einsum("i,ij->j", weights, examples.astype(np.float64))
        if not np.sqrt(np.square(vector).sum()) < _LONGEST:
            return None
        alone: Floats = vector.astype(np.float32)[None]
        return alone

    def depth(self, limit: int) -> int:
        return limit

    def beyond(self, least: Doubles) -> float:
        return -math.inf  # the search is for the best by this very score


class Discovery(Struct, frozen=True):
    """On how many right sides of pairs a row is, minus the wrong ones; and how near the target,
    which is the first example. After it the pairs come one by one, their positive example first."""

    pairs: int
    name: str = "discover"
    most: float = math.inf

    def score(self, scores: Floats) -> Doubles:
        against = _finite(scores)
        sides = np.sign(against[1::2] - against[2::2]).sum(axis=0)
        result: Doubles = sides + _sigmoid(against[0])
        return result

    def near(self, examples: Floats, metric: str) -> Floats | None:
        return examples[:1]

    def depth(self, limit: int) -> int:
        return 4 * limit if self.pairs else limit

    def beyond(self, least: Doubles) -> float:
        return self.pairs + float(_sigmoid(least[0]))


class Context(Struct, frozen=True):
    """How far a row is on the wrong sides of pairs, of which the positive example comes first."""

    name: str = "context"
    most: float = 0.0

    def score(self, scores: Floats) -> Doubles:
        against = _finite(scores)
        wrong = np.minimum(against[::2] - against[1::2] - _EPSILON, 0.0)
        result: Doubles = (wrong / (1.0 + np.abs(wrong))).sum(axis=0)
        return result

    def near(self, examples: Floats, metric: str) -> Floats | None:
        return None  # whole regions are as good, wherever they are

    def depth(self, limit: int) -> int:
        return limit

    def beyond(self, least: Doubles) -> float:
        return 0.0


def _finite(scores: Floats) -> Doubles:
    """As float64, where small differences of large scores are not lost."""
    result: Doubles = np.fmax(scores.astype(np.float64), _LEAST)
    return result


def _sigmoid(scores: Doubles) -> Doubles:
    """From 0 to 1, rising."""
    result: Doubles = (scores / (1.0 + np.abs(scores)) + 1.0) / 2.0
    return result
