"""Tokens: the best rows of a segment by the index of its multivectors' tokens.

    estimate   what a row scores if each of its tokens were its centroid: a look-up for each
    rescore    rows by their tokens, those of the best estimates first, until the others are
               unlikely to be among the best

How far estimates are from the scores shows in the rows that were rescored: each query measures that
for itself, so nothing is assumed of the data, or of how much a query is like them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vecdb import models
from vecdb.engine.read.segment.candidates import Best, SegmentSearch
from vecdb.engine.read.segment.kernels import add_best, metrics, score_maxsim, score_rows
from vecdb.engine.view import live_rows
from vecdb.linear_algebra import product
from vecdb.storage.multi_files import TokenIndex

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.int64]

_ALL = np.empty(0, dtype=np.uint8)  # the kernels' mask for "every row"
_LANES, _NARROW = 16, 32
"""As the kernels have it, which are not loaded where numpy does."""
_FEW = 256
"""So few rows are scored sooner than they are estimated."""
_FIRST = 64
"""Rows that are rescored first."""
_WIDE = 8
"""So many times more are put in order as are rescored next."""
_LOGISTIC = 1.702
"""The logistic function of so many times a number is that of the normal distribution, to 1 %."""


class Query:
    """A multivector to search with, in the forms that kernels and numpy take."""

    def __init__(self, metric: str, tokens: Floats) -> None:
        self.metric, self.tokens = metric, tokens
        self.groups = -(-len(tokens) // _LANES)

    def packed(self) -> Floats:
        """The tokens as `kernels.maxsim` takes them, the first two axes as one."""
        count, dim = self.tokens.shape
        padded = np.zeros((self.groups * _LANES, dim), dtype=np.float32)
        padded[:count] = self.tokens
        lanes = padded.reshape(self.groups, _LANES, dim).transpose(0, 2, 1)
        return np.ascontiguousarray(lanes).reshape(-1, _LANES)

    def room(self) -> Floats:
        """What a kernel keeps the best scores in."""
        return np.empty(self.groups * _LANES, dtype=np.float32)


# Where numbers overflow, nothing is sure, and all rows are rescored.
@np.errstate(over="ignore", invalid="ignore")
def by_tokens(search: SegmentSearch, query: Query, index: TokenIndex) -> Best:
    """The best allowed rows by the index. Raises CorruptionError."""
    offsets = index.originals.offsets
    rows = live_rows(search.mask, search.segment_view.rows)
    rows = rows[offsets[rows + 1] > offsets[rows]]
    if len(rows) <= max(_FEW, search.limit):
        scores = rescored(query, index, rows)
        return _best(search, scores, rows, "originals", len(rows), "few rows are allowed")
    estimates = _estimates(search, query, index)[rows]
    if search.explain is not None:
        of = f"by {len(index.centroids)} centroids of tokens"
        search.explain(models.SearchStage("estimates", len(rows), len(rows), of))
    chosen, scores = _until_sure(search, query, index, rows, estimates)
    return _best(search, scores, rows[chosen], "originals", len(chosen), "rescored")


def _best(
    search: SegmentSearch, scores: Floats, rows: Offsets, stage: str, seen: int, why: str
) -> Best:
    order = np.lexsort((rows, -scores))[: search.limit]
    if search.explain is not None:
        search.explain(models.SearchStage(stage, seen, len(order), why))
    return scores[order], rows[order]


def rescored(query: Query, index: TokenIndex, rows: Offsets) -> Floats:
    """The scores of some rows by their tokens."""
    originals, out = index.originals, np.empty(len(rows), dtype=np.float32)
    originals.verify_rows(rows)
    score_maxsim()(
        *(metrics()[query.metric], originals.offsets, originals.values, query.packed()),
        *(len(query.tokens), query.room(), rows, out),
    )
    return out


def _estimates(search: SegmentSearch, query: Query, index: TokenIndex) -> Floats:
    """What each row scores, about: ``float32 (n,)``."""
    against = _against_centroids(query, index.centroids)
    # What is worse than the usual is the best of no row: bytes need not tell it apart.
    lows = against.mean(axis=0)
    step = max(float((against.max(axis=0) - lows).max()) / 255, 1e-30)
    against -= lows
    against *= np.float32(1 / step)
    table = np.clip(against, 0, 255, out=against).astype(np.uint8)
    sums = np.zeros(search.segment_view.rows, dtype=np.int32)
    mask = _ALL if search.mask is None else search.mask
    for start in range(0, len(query.tokens), _NARROW):
        some = np.zeros((len(table), _NARROW), dtype=np.uint8)
        part = table[:, start : start + _NARROW]
        some[:, : part.shape[1]] = part
        add_best()(index.originals.offsets, index.of_tokens, some, mask, sums)
    estimates: Floats = sums * np.float32(step) + np.float32(lows.sum())
    return estimates


def _against_centroids(query: Query, centroids: Floats) -> Floats:
    """The scores of centroids against the tokens of a query, ``float32 (c, q)``."""
    if query.metric == "dot":
        return product(centroids, query.tokens.T)
    scores = np.empty((len(query.tokens), len(centroids)), dtype=np.float32)
    every, code = np.arange(len(centroids)), metrics()[query.metric]
    for token, out in zip(query.tokens, scores, strict=True):
        score_rows()(code, centroids, token, every, out)
    return np.ascontiguousarray(scores.T)


def _until_sure(
    search: SegmentSearch, query: Query, index: TokenIndex, rows: Offsets, estimates: Floats
) -> tuple[Offsets, Floats]:
    """Which rows were rescored, by their positions, and their scores."""
    step = max(_FIRST, 2 * search.limit, search.params.hnsw_ef or 0)
    ordered = _first(estimates, _WIDE * step)
    scores = np.empty(0, dtype=np.float32)
    while True:
        stop = min(len(rows), len(scores) + step)
        if stop > len(ordered):
            ordered = _first(estimates, _WIDE * stop)
        more = rescored(query, index, rows[ordered[len(scores) : stop]])
        scores = np.concatenate([scores, more])
        chosen = ordered[:stop]
        if (
            stop == len(rows)
            or _missing(search, estimates, chosen, scores) <= (1 - search.recall) * search.limit
        ):
            return chosen, scores
        step = max(step, stop // 2)


def _first(estimates: Floats, count: int) -> Offsets:
    """The positions of the best so many estimates, best first; of equal ones the first wins."""
    if count >= len(estimates):
        return np.argsort(-estimates, kind="stable")
    # Cut at a value: whichever of equal ones a partition takes, a deeper search begins alike.
    worst = np.partition(estimates, len(estimates) - count)[len(estimates) - count]
    some = np.flatnonzero(estimates >= worst)
    return some[np.argsort(-estimates[some], kind="stable")]


def _missing(search: SegmentSearch, estimates: Floats, chosen: Offsets, scores: Floats) -> float:
    """How many rows that were not rescored are among the best, as is to be expected of how far
    estimates were from the scores so far."""
    worst = float(np.partition(scores, len(scores) - search.limit)[len(scores) - search.limit])
    apart = scores.astype(np.float64) - estimates[chosen]
    usual, spread = float(apart.mean()), max(float(apart.std()), 1e-9)
    rest = np.ones(len(estimates), dtype=np.bool_)
    rest[chosen] = False
    short: Doubles = (worst - usual - estimates[rest].astype(np.float64)) / spread
    return float((1 / (1 + np.exp(np.minimum(_LOGISTIC * short, 700.0)))).sum())
