"""The last step of a search: candidates in order by their vectors, and how sure that makes it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba.core import types

from vecdb.kernels.compiling import njit
from vecdb.kernels.distance import score_rows
from vecdb.kernels.prefetch import prefetch_row
from vecdb.kernels.shortlist import best_first, make_heap
from vecdb.kernels.signatures import (
    EUCLID,
    MANHATTAN,
    f32,
    floats_1,
    floats_2,
    i64,
    ints_1,
    ints_2,
    out_floats_1,
    out_floats_2,
    out_ints_2,
    two_floats,
)
from vecdb.kernels.topk import topk_sort

__all__ = ["margin", "rescore"]

_ROUNDING: Final = np.float32(1e-6)
_AHEAD: Final = 4
"""Rows that are fetched while one is scored."""


@njit(two_floats(i64, floats_1, floats_1, floats_1), nogil=True, cache=True)
def _errors(metric, query, estimates, scores):  # type: ignore[no-untyped-def]
    """The least of some estimates, and the standard deviation of what all are wrong by. 0 if that
    is no more than float32 rounds by."""
    count = estimates.shape[0]
    offset = np.float32(0.0)
    if metric == EUCLID:  # they leave out what is the same for all rows
        for j in range(query.shape[0]):
            offset -= query[j] * query[j]
    least = np.float32(np.inf)
    largest = np.float32(0.0)
    mean = 0.0
    for i in range(count):
        least = min(least, estimates[i])
        largest = max(largest, abs(estimates[i]))
        mean += (scores[i] - estimates[i]) / count
    squares = 0.0
    for i in range(count):
        squares += (scores[i] - estimates[i] - mean) ** 2
    deviation = np.float32(np.sqrt(squares / count))
    if not deviation > _ROUNDING * largest:
        deviation = np.float32(0.0)
    return least + offset, deviation


@njit(f32(f32, f32, f32), nogil=True, cache=True)
def _margin(last, least, deviation):  # type: ignore[no-untyped-def]
    if not deviation > np.float32(0.0):
        return np.float32(np.inf)
    found = (last - least) / deviation
    return found if found == found else np.float32(np.inf)


@njit(f32(i64, floats_1, floats_1, floats_1, f32), nogil=True, cache=True)
def margin(metric, query, estimates, scores, last):  # type: ignore[no-untyped-def]
    """How far a score, the last of some results, is above the least estimate of the candidates, in
    standard deviations of what estimates are wrong by. A row that was left out would have to be as
    wrong as that to be a result. Infinity where that cannot be told."""
    if metric == MANHATTAN or estimates.shape[0] == 0:  # sketches know of another distance
        return np.float32(np.inf)
    least, deviation = _errors(metric, query, estimates, scores)
    return _margin(last, least, deviation)


@njit(
    types.void(
        *(i64, floats_2, floats_2, ints_2, ints_1, floats_2),
        *(out_floats_2, out_ints_2, out_floats_1),
    ),
    nogil=True,
    cache=True,
)
def rescore(metric, vectors, queries, candidates, counts, estimates, scores, rows, margins):  # type: ignore[no-untyped-def]
    """Of each query, write the best of some rows by their vectors, best first.

    ``candidates[q, : counts[q]]`` are the rows; ``min(k, counts[q])`` results go to
    ``scores: float32[q, k]``, ``rows: int64[q, k]``. The candidates' vectors come from anywhere in
    memory: each is asked for while others are scored, or waiting for them would be most of the
    work.

    ``estimates: float32[q, c]`` are the scores by which the candidates were chosen, if they are
    known. ``margins: float32[q]``: see `margin`; infinity also where there are fewer candidates
    than asked for, so that none was left out.
    """
    most = scores.shape[1]
    found = np.empty(candidates.shape[1], np.float32)
    order = np.empty(candidates.shape[1], np.int64)
    for q in range(queries.shape[0]):
        count = counts[q]
        margins[q] = np.inf
        for i in range(min(_AHEAD, count)):
            prefetch_row(vectors, candidates[q, i])  # type: ignore[call-arg]
        for i in range(count):
            if i + _AHEAD < count:
                prefetch_row(vectors, candidates[q, i + _AHEAD])  # type: ignore[call-arg]
            order[i] = candidates[q, i]
            score_rows(metric, vectors, queries[q], order[i : i + 1], found[i : i + 1])
            if found[i] != found[i]:
                found[i] = np.float32(-np.inf)
        k = min(most, count)
        if k == 0:
            continue
        chosen = count == estimates.shape[1]
        if chosen:
            least, deviation = _errors(metric, queries[q], estimates[q], found)
        if k < count:
            best_first(found, order, count, k)
        scores[q, :k] = found[:k]
        rows[q, :k] = order[:k]
        make_heap(scores[q], rows[q], k)
        topk_sort(scores[q], rows[q], k)
        if chosen and k == most:
            margins[q] = _margin(scores[q, k - 1], least, deviation)
