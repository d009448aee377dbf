"""The last step of a search: candidates in order by their vectors, and how sure that makes it."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from vecdb.kernels.compiling import njit, types
from vecdb.kernels.distance import score_rows
from vecdb.kernels.shortlist import best_first, make_heap
from vecdb.kernels.signatures import (
    DOT,
    MANHATTAN,
    REASSOCIATE,
    f32,
    floats_1,
    floats_2,
    i64,
    ints_1,
    ints_2,
    originals_2,
    out_floats_1,
    out_floats_2,
    out_ints_1,
    out_ints_2,
    two_floats,
)
from vecdb.kernels.topk import topk_sort

__all__ = ["rescore", "sureness", "survivors"]

_ROUNDING: Final = np.float32(1e-6)
_ROOT: Final = math.sqrt(0.5)
_HALF: Final = np.float32(math.log(2.0))
"""Half of an exponential distribution is within so much of its mean."""
_MOST: Final = 100.0
_GIANT: Final = np.float32(10.0)
"""A candidate whose score is so many times as large as the median one is a giant."""
_four: Final[Any] = types.UniTuple(types.float32, 4)


@njit(f32(i64, floats_1, floats_1), nogil=True, cache=True)
def _share(metric, estimates, scores):  # type: ignore[no-untyped-def]
    """The factor from Euclidean to Manhattan distances: estimates are squared Euclidean distances.
    0 under a metric that estimates are of."""
    euclidean = 0.0
    total = 0.0
    if metric == MANHATTAN:
        for i in range(estimates.shape[0]):
            euclidean += np.sqrt(max(-estimates[i], np.float32(0.0)))
            total -= scores[i]
    return np.float32(total / euclidean) if euclidean > 0.0 else np.float32(0.0)


@njit(f32(out_floats_1), nogil=True, cache=True)
def _median(values):  # type: ignore[no-untyped-def]
    """The middle one of some numbers, of two the less; they come into another order."""
    low = 0
    high = values.shape[0] - 1
    middle = values.shape[0] >> 1
    while low < high:
        pivot = values[(low + high) >> 1]
        values[(low + high) >> 1] = values[high]
        at = low
        for i in range(low, high):
            # No branch: which numbers are larger cannot be predicted. Every other equal one counts
            # as larger, or it would take a pass for each.
            this = values[i]
            values[i] = values[at]
            values[at] = this
            at += (this > pivot) | ((this == pivot) & (i & 1 == 1))
        values[high] = values[at]
        values[at] = pivot
        if at < middle:
            low = at + 1
        elif at > middle:
            high = at - 1
        else:
            break
    return values[middle]


@njit(_four(floats_1, floats_1, f32, out_floats_1), nogil=True, cache=True, fastmath=REASSOCIATE)
def _errors(estimates, scores, share, scratch):  # type: ignore[no-untyped-def]
    """The least and the median of some estimates; the mean and the standard deviation of their
    errors, 0 if these are no more than float32 rounds by. ``scratch`` is as long."""
    count = estimates.shape[0]
    if share > np.float32(0.0):
        for i in range(count):
            scratch[i] = -share * np.sqrt(max(-estimates[i], np.float32(0.0)))
    else:
        for i in range(count):
            scratch[i] = estimates[i]
    least = np.float32(np.inf)
    largest = np.float32(0.0)
    for i in range(count):
        least = min(least, scratch[i])
        largest = max(largest, abs(scratch[i]))
    wrong = 0.0
    for i in range(count):
        wrong += scores[i] - scratch[i]
    wrong /= count
    squares = 0.0
    for i in range(count):
        squares += (scores[i] - scratch[i] - wrong) ** 2
    deviation = np.float32(np.sqrt(squares / count))
    if not deviation > _ROUNDING * largest:
        deviation = np.float32(0.0)
    if not abs(wrong) > _ROUNDING * largest:
        wrong = 0.0
    # Not the mean: one row that is far nearer than all others would be most of it.
    return least, _median(scratch[:count]), np.float32(wrong), deviation


@njit(_four(i64, floats_1, floats_1, _four, out_floats_1), nogil=True, cache=True)
def _without_giants(metric, estimates, scores, errors, scratch):  # type: ignore[no-untyped-def]
    """What `_errors` says, without the errors of giants among the candidates: rows so much longer
    than the others that their scores are many times as large, and with them their errors. They are
    few, and the rows left out are not like them. ``scratch`` is as long."""
    least, middle, _, deviation = errors
    count = estimates.shape[0]
    if metric != DOT or not deviation > middle - least:
        return errors
    for i in range(count):
        scratch[i] = abs(scores[i])
    most = _GIANT * _median(scratch[:count])
    few = 0
    wrong = 0.0
    for i in range(count):
        if abs(scores[i]) <= most:
            few += 1
            wrong += scores[i] - estimates[i]
    if few == count or 4 * few < 3 * count or not most > np.float32(0.0):
        return errors
    wrong /= few
    squares = 0.0
    for i in range(count):
        if abs(scores[i]) <= most:
            squares += (scores[i] - estimates[i] - wrong) ** 2
    deviation = np.float32(np.sqrt(squares / few))
    if not deviation > _ROUNDING * most:
        return errors
    return least, middle, np.float32(wrong), deviation


@njit(f32(f32, i64, i64, f32, f32, f32, f32), nogil=True, cache=True)
def _calm(last, count, measured, least, middle, wrong, deviation):  # type: ignore[no-untyped-def]
    """Minus the logarithm of the share of the results that may be missing. See `sureness`."""
    if not deviation > np.float32(0.0):
        # All are equally wrong; the rows left out may be wrong in another way.
        equal = wrong != np.float32(0.0) and not last > least + wrong
        return np.float32(-_MOST if equal else np.inf)
    margin = (last - least) / deviation
    above = (middle - least) / (deviation * _HALF)
    if margin != margin or above != above:
        return np.float32(np.inf)
    rate = min(1.0 / max(above, 1e-3), 30.0)
    beyond = 0.5 * math.erfc((margin - rate) * _ROOT)
    missed = count * (
        math.exp(min(rate * rate / 2.0 - rate * margin, 500.0)) * beyond
        - 0.5 * math.erfc(margin * _ROOT)
    )
    if not missed > 0.0:
        return np.float32(_MOST)
    return np.float32(min(max(-math.log(missed / measured), -_MOST), _MOST))


@njit(f32(f32, floats_1, f32), nogil=True, cache=True)
def _reach(last, bound, share):  # type: ignore[no-untyped-def]
    if not bound[0] > np.float32(-np.inf):
        return np.float32(np.inf)
    if share > np.float32(0.0):
        last = -((last / share) ** 2)
    reach = (last - bound[0]) * bound[1]
    return reach if reach == reach else np.float32(np.inf)


@njit(two_floats(i64, floats_1, floats_1, floats_1, i64, f32), nogil=True, cache=True)
def sureness(metric, estimates, scores, bound, measured, last):  # type: ignore[no-untyped-def]
    """How sure it is that few rows left out are better than ``last``, the score of result number
    ``measured``, by the estimates and the scores of the candidates: calm and reach.

    *Calm* is minus the logarithm of the share of the results that may be missing though their
    partitions were visited. A row that was left out has an estimate below the least of the
    candidates; to be a result, it must be wrong by more than ``last`` is above its estimate. Errors
    are taken to be normally distributed, with the deviation of the candidates' errors. Estimates
    are taken to fall off exponentially, as those of the candidates do above the least: the denser
    they are there, the more rows are just below.

    *Reach* is how far ``last`` is above the priority of the best partition that was not visited, in
    units of the query's span (``bound: float32[2]``: of `partitions.visit`). Infinity where that
    cannot be told.
    """
    if estimates.shape[0] == 0:
        return np.float32(np.inf), np.float32(np.inf)
    share = _share(metric, estimates, scores)
    scratch = np.empty(len(estimates), np.float32)
    errors = _errors(estimates, scores, share, scratch)
    errors = _without_giants(metric, estimates, scores, errors, scratch)
    calm = _calm(last, len(estimates), measured, *errors)
    return calm, _reach(last, bound, share)


@njit(
    [
        types.void(
            *(i64, vectors, floats_2, ints_2, ints_1, floats_2, floats_2, i64),
            *(out_floats_2, out_ints_2, out_floats_2),
        )
        for vectors in originals_2
    ],
    nogil=True,
    cache=True,
)
def rescore(  # type: ignore[no-untyped-def]
    metric,
    vectors,
    queries,
    candidates,
    counts,
    estimates,
    bounds,
    measured,
    scores,
    rows,
    sure,
):
    """Write the best rows for each query by their vectors, best first.

    ``candidates[q, : counts[q]]`` are the rows; ``min(k, counts[q])`` results go to ``scores:
    float32[q, k]``, ``rows: int64[q, k]``.

    ``estimates: float32[q, c]`` are the scores by which the candidates were chosen, if they are
    known, and ``bounds: float32[q, 2]`` what `partitions.visit` says of the others. ``sure:
    float32[q, 2]``: `sureness`, of the result number ``measured``: the first of ten is far above
    what was left out, whatever the query. Infinity also where there are fewer than k candidates.
    """
    most = scores.shape[1]
    exact = np.empty(candidates.shape[1], np.float32)
    order = np.empty(candidates.shape[1], np.int64)
    scratch = np.empty(candidates.shape[1], np.float32)
    for q in range(queries.shape[0]):
        count = counts[q]
        sure[q] = np.inf
        for i in range(count):
            order[i] = candidates[q, i]
        score_rows(metric, vectors, queries[q], order[:count], exact)
        for i in range(count):
            if exact[i] != exact[i]:
                exact[i] = np.float32(-np.inf)
        k = min(most, count)
        if k == 0:
            continue
        chosen = k == most and count <= estimates.shape[1]
        if chosen:
            share = _share(metric, estimates[q, :count], exact)
            errors = _errors(estimates[q, :count], exact, share, scratch)
            errors = _without_giants(metric, estimates[q, :count], exact, errors, scratch)
        last = min(max(measured, k), count)
        if last < count:
            best_first(exact, order, count, last)
        if chosen:
            worst = exact[0]
            for i in range(last):
                worst = min(worst, exact[i])
            sure[q, 0] = _calm(worst, count, last, *errors)
            sure[q, 1] = _reach(worst, bounds[q], share)
        if k < last:
            best_first(exact, order, last, k)
        for i in range(k):
            scores[q, i] = exact[i]
            rows[q, i] = order[i]
        make_heap(scores[q], rows[q], k)
        topk_sort(scores[q], rows[q], k)


@njit(
    types.void(
        *(i64, floats_1, floats_1, i64, i64, out_floats_1, out_ints_1, out_floats_1),
    ),
    nogil=True,
    cache=True,
)
def survivors(metric, estimates, bound, measured, kept, scores, rows, sure):  # type: ignore[no-untyped-def]
    """Sort the best ``kept`` of some candidates to the front, best first, by the scores that better
    codes give them.

    ``estimates``, ``scores: float32[c]``, ``rows: int64[c]``: what the candidates were chosen by,
    what codes say, and which rows they are. ``sure: float32[2]``: `sureness`, of the candidate
    number ``measured`` by codes; 0 of these: infinity, as nobody wants to know.
    """
    count = rows.shape[0]
    sure[:] = np.inf
    if measured > 0:
        measured = min(measured, count)
        some = scores.copy()
        best_first(some, rows.copy(), count, measured)
        last = some[0]
        for i in range(measured):
            last = min(last, some[i])
        sure[0], sure[1] = sureness(metric, estimates, scores, bound, measured, last)
    if kept < count:
        best_first(scores, rows, count, kept)
    make_heap(scores, rows, kept)
    topk_sort(scores, rows, kept)
