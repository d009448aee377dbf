"""Tokens: the best rows of a segment by its multivectors, without reading all of these.

    estimate   what a row scores if each of its tokens were its centroid: a look-up for each
    codes      what rows score by the codes of their tokens, those of the best estimates first
    originals  rows by their tokens, those that the stage before says are best first

A stage ends when the rows it has not scored are unlikely to be among the best. How far a stage is
from the next shows in the rows that both have scored: each query measures that for itself, so
nothing is assumed of the data, or of how much a query is like them.

There may be no index, or no codes. Codes save reading: beside originals in RAM they are used only
if the caller says so, as to score by them takes as long.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from vecdb import models
from vecdb.engine.read.segment.candidates import Best, SegmentSearch
from vecdb.engine.read.segment.kernels import add_best, metrics, score_maxsim, score_rows
from vecdb.engine.read.segment.multi_query import MultiQuery
from vecdb.engine.read.segment.token_codes import scores_by_codes
from vecdb.engine.read.segment.until_sure import FEWEST_DIMENSIONS
from vecdb.engine.view import live_rows
from vecdb.linear_algebra import product
from vecdb.storage.derived import QuantizedVectors
from vecdb.storage.multi_files import MultiFiles, TokenIndex

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.int64]
Score = Callable[[Offsets], Floats]
"""The scores of some rows, ``float32 (n,)``."""

_ALL = np.empty(0, dtype=np.uint8)  # the kernels' mask for "every row"
_NARROW = 32
"""As the kernels have it, which are not loaded where numpy does."""
_FEW = 256
"""So few rows are scored sooner than they are estimated."""
_FIRST = 64
"""Rows that are scored first by originals, or by codes."""
_FIRST_READ = 24
"""Rows that are scored first by originals, if codes have said which."""
_CHOICE = 2
"""So many times as many rows are the best by codes as are wanted by originals: else estimates would
choose them."""
_WIDE = 8
"""So many times more are put in order as are scored next."""
_LOGISTIC = 1.702
"""The logistic function of so many times a number is that of the normal distribution, to 1 %."""


def codes_in_use(
    search: SegmentSearch, files: MultiFiles, quantized: QuantizedVectors | None
) -> QuantizedVectors | None:
    """The codes, if they decide, or spare originals that would be read from disk."""
    if quantized is None or not search.by_codes(quantized):
        return None
    if not search.rescore or search.exactly(quantized) is not None:
        return quantized
    if search.recall >= 1.0 or search.vector.size < FEWEST_DIMENSIONS:
        return None
    return quantized if files.tokens.is_mapped else None


# Where numbers overflow, nothing is sure, and all rows are scored.
@np.errstate(over="ignore", invalid="ignore")
def by_tokens(
    search: SegmentSearch,
    query: MultiQuery,
    files: MultiFiles,
    index: TokenIndex | None,
    quantized: QuantizedVectors | None,
) -> Best:
    """The best allowed rows by the index, the codes, or both. Raises CorruptionError."""
    rows = live_rows(search.mask, search.segment_view.rows)
    rows = rows[files.offsets[rows + 1] > files.offsets[rows]]
    few = len(rows) <= max(_FEW, search.limit)
    originals = partial(rescored, query, files)
    if few and quantized is None:
        return _best(search, originals(rows), rows, "originals", len(rows), "few rows are allowed")
    estimates = None
    if index is not None and not few:
        estimates = _estimates(search, query, index)[rows]
        if search.explain is not None:
            of = f"by {len(index.centroids)} centroids of tokens"
            search.explain(models.SearchStage("estimates", len(rows), len(rows), of))
    first, tolerance = _FIRST, (1 - search.recall) * search.limit
    if quantized is not None:
        by_codes = partial(scores_by_codes, quantized, files.offsets, query=query)
        if estimates is not None:
            tolerance /= 2  # the other half is for the stage of originals
        wanted = search.oversampled(quantized) or search.limit
        if search.rescore and search.exactly(quantized) is None:
            wanted *= _CHOICE
        chosen, scores = _scored(search, by_codes, rows, estimates, wanted, _FIRST, tolerance)
        rows, why = rows[chosen], f"{quantized.codec['kind']} codes of tokens"
        if not search.rescore:
            return _best(search, scores, rows, "codes", len(rows), why)
        exactly = search.exactly(quantized)
        if exactly is not None:
            rows = rows[_first(scores, exactly)[:exactly]]
        if search.explain is not None:
            search.explain(models.SearchStage("codes", len(chosen), len(rows), why))
        if exactly is not None:
            return _best(search, originals(rows), rows, "originals", len(rows), "rescored")
        estimates, first = scores, max(_FIRST_READ, search.oversampled(quantized) or 0)
    chosen, scores = _scored(search, originals, rows, estimates, search.limit, first, tolerance)
    return _best(search, scores, rows[chosen], "originals", len(chosen), "rescored")


def _best(
    search: SegmentSearch, scores: Floats, rows: Offsets, stage: str, seen: int, why: str
) -> Best:
    order = np.lexsort((rows, -scores))[: search.limit]
    if search.explain is not None:
        search.explain(models.SearchStage(stage, seen, len(order), why))
    return scores[order], rows[order]


def rescored(query: MultiQuery, files: MultiFiles, rows: Offsets) -> Floats:
    """The scores of some rows by their tokens."""
    out = np.empty(len(rows), dtype=np.float32)
    files.verify_rows(rows)
    score_maxsim()(
        *(metrics()[query.metric], files.offsets, files.values, query.packed()),
        *(len(query.tokens), query.room(), rows, out),
    )
    return out


def _estimates(search: SegmentSearch, query: MultiQuery, index: TokenIndex) -> Floats:
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


def _against_centroids(query: MultiQuery, centroids: Floats) -> Floats:
    """The scores of centroids against the tokens of a query, ``float32 (c, q)``."""
    if query.metric == "dot":
        return product(centroids, query.tokens.T)
    scores = np.empty((len(query.tokens), len(centroids)), dtype=np.float32)
    every, code = np.arange(len(centroids)), metrics()[query.metric]
    for token, out in zip(query.tokens, scores, strict=True):
        score_rows()(code, centroids, token, every, out)
    return np.ascontiguousarray(scores.T)


def _scored(
    search: SegmentSearch,
    score: Score,
    rows: Offsets,
    estimates: Floats | None,
    limit: int,
    first: int,
    tolerance: float,
) -> tuple[Offsets, Floats]:
    """Which rows were scored, by their positions, and their scores: those of the best estimates,
    until no more of the others are to be expected among the best so many than are tolerated; all of
    them if nothing is known. ``first``: how many at first, at least."""
    if estimates is None:
        return np.arange(len(rows)), score(rows)
    step = max(first, 2 * limit, search.params.hnsw_ef or 0)
    ordered = _first(estimates, _WIDE * step)
    scores = np.empty(0, dtype=np.float32)
    while True:
        stop = min(len(rows), len(scores) + step)
        if stop > len(ordered):
            ordered = _first(estimates, _WIDE * stop)
        more = score(rows[ordered[len(scores) : stop]])
        scores = np.concatenate([scores, more])
        chosen = ordered[:stop]
        if stop == len(rows) or _missing(limit, estimates, chosen, scores) <= tolerance:
            return chosen, scores
        step = max(step, stop // 2)


def _first(estimates: Floats, count: int) -> Offsets:
    """The positions of the best so many estimates, best first; of equal ones the first wins.
    What is no number, because it is of numbers that overflowed, comes last."""
    estimates = np.fmax(estimates, -np.inf)  # or the cut would be no number, and leave none
    if count >= len(estimates):
        return np.argsort(-estimates, kind="stable")
    # Cut at a value: whichever of equal ones a partition takes, a deeper search begins alike.
    worst = np.partition(estimates, len(estimates) - count)[len(estimates) - count]
    some = np.flatnonzero(estimates >= worst)
    return some[np.argsort(-estimates[some], kind="stable")]


def _missing(limit: int, estimates: Floats, chosen: Offsets, scores: Floats) -> float:
    """How many rows that were not scored are among the best so many, as is to be expected of how
    far estimates were from the scores so far."""
    worst = float(np.partition(scores, len(scores) - limit)[len(scores) - limit])
    apart = scores.astype(np.float64) - estimates[chosen]
    usual, spread = float(apart.mean()), max(float(apart.std()), 1e-9)
    rest = np.ones(len(estimates), dtype=np.bool_)
    rest[chosen] = False
    short: Doubles = (worst - usual - estimates[rest].astype(np.float64)) / spread
    return float((1 / (1 + np.exp(np.minimum(_LOGISTIC * short, 700.0)))).sum())
