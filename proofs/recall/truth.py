"""What is true of a search: scores in float64, and how good a result must be to count.

Results count by score, so that of equal rows any will do: a row counts whose true score is not
below that of the true k-th best row, but for what float32 cannot tell apart. Inside, a larger
score is better: similarity, or distance negated.
"""

# mypy: disable-error-code=no-any-return
# (what arithmetic on arrays gives is Any)

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from proofs.recall.generators import Data

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_DEPTHS = (50, 300)
"""So many best rows are looked for, or so many: no more are asked for."""
_SPARE = 30
_ROUNDING = {"Cosine": 5e-7, "Dot": 5e-7, "Euclid": 2e-6, "Manhattan": 2e-6}
"""What float32 cannot tell apart: a difference of cosines; under Dot in parts of the lengths'
product; of distances in parts of the distance."""
_SCORES = 4.0
"""As many times that a score which is returned may be off: sums of many terms were rounded."""
_AT_ONCE = 100


class Truth:
    """The true scores of one set of data under one metric."""

    def __init__(self, data: Data, metric: str) -> None:
        self.metric = metric
        self.base = data.base.astype(np.float64)
        self.queries = data.queries.astype(np.float64)
        if metric == "Cosine":
            self.base, self.queries = _unit(self.base), _unit(self.queries)
        self.lengths: Floats = np.linalg.norm(self.base, axis=1)
        self.query_lengths: Floats = np.linalg.norm(self.queries, axis=1)
        self._best: dict[tuple[bytes, int], tuple[Floats, Rows]] = {}

    def bars(self, allowed: Mask, count: int, k: int) -> tuple[Floats, Floats]:
        """How good a row must be to count, for the first ``count`` queries, and the true score of
        the k-th best (of as many as there are)."""
        scores, rows = self._known(allowed, count, k)
        last = min(k, scores.shape[1]) - 1
        kth = scores[:count, last]
        return kth - self.rounding(kth, rows[:count, last]), kth

    def nearest(self, allowed: Mask, count: int, k: int) -> Rows:
        """The ``k`` best rows for the first ``count`` queries, best first."""
        return self._known(allowed, count, k)[1][:count, :k]

    def rounding(self, scores: Floats, rows: Rows) -> Floats:
        """What float32 cannot tell from these scores, of these rows, of the queries in order."""
        part = _ROUNDING[self.metric]
        if self.metric == "Cosine":
            return np.full_like(scores, part)
        if self.metric == "Dot":
            lengths = self.query_lengths[: len(scores)]
            return part * self.lengths[rows] * lengths.reshape(-1, *[1] * (scores.ndim - 1))
        return part * np.abs(scores)

    def scores(self, rows: Rows) -> Floats:
        """True scores of rows, for the queries in order: ``rows: int64 (q, k)``."""
        found = np.empty(rows.shape)
        for start in range(0, len(rows), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            found[some] = self._exact(self.base[rows[some]], self.queries[some][: len(found[some])])
        return found

    def score_error(self, scores: Floats, rows: Rows) -> Floats:
        """How far a returned score may be off."""
        return _SCORES * self.rounding(scores, rows) + 1e-30

    def _known(self, allowed: Mask, count: int, k: int) -> tuple[Floats, Rows]:
        """Scores and rows of ``k`` or more, for ``count`` queries or more."""
        depth = next(depth for depth in _DEPTHS if depth >= k)
        key = np.packbits(allowed).tobytes(), depth
        scores, rows = self._best.get(key, (np.zeros((0, 0)), np.zeros((0, 0), np.int64)))
        while len(scores) < count:
            start, end = len(scores), min(count, len(scores) + _AT_ONCE)
            more = self._search(np.flatnonzero(allowed), start, end, depth)
            scores = np.concatenate([scores.reshape(-1, more[0].shape[1]), more[0]])
            rows = np.concatenate([rows.reshape(-1, more[1].shape[1]), more[1]])
            self._best[key] = (scores, rows)
        return scores, rows

    def _exact(self, vectors: Floats, queries: Floats) -> Floats:
        """``vectors: (q, k, d)``, ``queries: (q, d)``."""
        if self.metric in ("Cosine", "Dot"):
            products: Floats = np.einsum("qkd,qd->qk", vectors, queries)
            return products
        differences = vectors - queries[:, None, :]
        if self.metric == "Euclid":
            return -np.sqrt(np.square(differences).sum(axis=2))
        return -np.abs(differences).sum(axis=2)

    def _search(self, allowed: Rows, start: int, end: int, depth: int) -> tuple[Floats, Rows]:
        """The best of all, best first."""
        base, queries = self.base[allowed], self.queries[start:end]
        if self.metric == "Manhattan":
            floats, asked = base.astype(np.float32), queries.astype(np.float32)
            rough = np.array([-np.abs(floats - query).sum(axis=1) for query in asked])
        elif self.metric == "Euclid":
            rough = 2 * queries @ base.T - np.square(self.lengths[allowed])
        else:
            rough = queries @ base.T
        # More than are wanted, since rough distances are not quite right.
        some = min(depth + _SPARE, len(allowed))
        near = np.argpartition(-rough, some - 1, axis=1)[:, :some]
        scores = self._exact(base[near], queries)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
        return np.take_along_axis(scores, order, 1), allowed[np.take_along_axis(near, order, 1)]


def _unit(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
