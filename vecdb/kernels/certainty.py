"""How sure it is that codes have left out no better row: what a search without an index rests on.

Rows are chosen by what their codes say, the *estimates*, and some of them are scored by their
vectors. What scores are like at an estimate does not depend on which estimates were looked at; so
a line through those scores, and how far they lie about it, tell of the rows left out as well.

Estimates may be more exact of some rows than of others. The *scale* of a row says how far its score
lies from the line, compared with others. The line goes nearest by those that lie near, and rises or
falls with the scale, too.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from vecdb.kernels.compiling import njit, types
from vecdb.kernels.distance import score_rows
from vecdb.kernels.signatures import (
    f32,
    floats_1,
    floats_2,
    i64,
    ints_1,
    originals_2,
    out_floats_1,
    out_ints_1,
    three_ints,
)
from vecdb.kernels.topk import topk_push

__all__ = [
    "DOUBTFUL",
    "HOPELESS",
    "SURE",
    "missed",
    "rescore_until_sure",
    "scale_rows",
    "score_candidates",
]

DOUBTFUL: Final = 0
SURE: Final = 1
HOPELESS: Final = 2
"""What `rescore_until_sure` says of some candidates."""

_ROUNDING: Final = 4e-7
_FEWEST: Final = 4
"""Scores that a line is drawn through; copies of a row are one."""
_NEAR: Final = 0.1
"""Scores at one estimate that differ by less than this share of the deviation are near copies'."""
_INDEPENDENT: Final = 1e-3
"""Where less of the scales than that share does not follow from the estimates, they tell nothing
besides these."""
_MANY: Final = 150
"""Fewer scores do not tell what codes are worth far from them."""
_UNUSUAL: Final = np.float32(1.5)
"""So many times the usual correction is not only that of codes that tell little."""
_LEAST_SCALE: Final = np.float32(1e-6)
_f64: Final = types.float64
_two: Final[Any] = types.UniTuple(types.float64, 2)


@njit(types.void(floats_2, i64, ints_1, f32, out_floats_1), nogil=True, cache=True)
def scale_rows(blocks, first, positions, usual, scales):  # type: ignore[no-untyped-def]
    """Write how far off the sketches at ``positions: int64[n]`` are to ``scales: float32[n]``.

    ``blocks: float32[b, c]`` are those of `fastscan`, in which the corrections of 32 rows begin at
    ``first``; ``usual`` is one in the median. A sketch is as far off as the residual is long. Its
    length is in the correction only where it is unusual, and half of it then, or double.
    """
    for i in range(positions.shape[0]):
        scale = blocks[positions[i] >> 5, first + (positions[i] & 31)] / usual
        scale = max(scale, np.float32(2.0) * scale - _UNUSUAL)
        scales[i] = max(scale, _LEAST_SCALE)


@njit(
    [
        i64(i64, vectors, floats_1, ints_1, out_floats_1, out_floats_1, out_ints_1, i64)
        for vectors in originals_2
    ],
    nogil=True,
    cache=True,
)
def score_candidates(metric, vectors, query, rows, found, scores, best, filled):  # type: ignore[no-untyped-def]
    """Write the scores of ``rows: int64[m]`` to ``found: float32[m]``, and offer them to the
    running top-k ``scores``, ``best`` of `topk`; returns the new ``filled``."""
    score_rows(metric, vectors, query, rows, found)
    for i in range(rows.shape[0]):
        filled = topk_push(scores, best, filled, found[i], rows[i])
    return filled


@njit(_f64(_f64), nogil=True, cache=True)
def _beyond(deviations):  # type: ignore[no-untyped-def]
    """The share of a normal distribution that lies above so many standard deviations."""
    return 0.5 * math.erfc(deviations * 0.7071067811865476)


@njit(_two(floats_1, floats_1, floats_2, floats_1, i64, i64, _f64, _f64), nogil=True, cache=True)
def missed(estimates, scales, others, scores, allowed, deeper, last, known):  # type: ignore[no-untyped-def]
    """How many of the rows left out score above ``last``, as far as one can expect; and how many
    that would be if there were ``deeper`` candidates. Infinity where that cannot be told.

    ``estimates``, ``scales: float32[m]``, best first, of ``allowed`` rows; ``scores: float32[c]``
    of the first of them. Beyond m, each step down that is as long as that from c to m is taken to
    hold as many times more rows. ``others: float32[s, 2]`` are the scales of these, and the share
    of them that has each.
    """
    kept = scores.shape[0]
    listed = estimates.shape[0]
    count = 0
    weights = 0.0
    of_estimates = 0.0
    of_scales = 0.0
    of_scores = 0.0
    largest = 0.0
    widest = 0.0
    for i in range(kept):
        largest = max(largest, abs(np.float64(scores[i])))
        widest = max(widest, np.float64(scales[i]))
        if i and estimates[i] == estimates[i - 1] and scores[i] == scores[i - 1]:
            continue
        count += 1
        weight = 1.0 / (np.float64(scales[i]) * scales[i])
        weights += weight
        of_estimates += weight * estimates[i]
        of_scales += weight * scales[i]
        of_scores += weight * scores[i]
    if count < _FEWEST:
        return np.inf, np.inf
    of_estimates /= weights
    of_scales /= weights
    of_scores /= weights
    squares = 0.0
    products = 0.0
    of_both = 0.0
    scales_squares = 0.0
    scales_products = 0.0
    all_squares = 0.0
    for i in range(kept):
        if i and estimates[i] == estimates[i - 1] and scores[i] == scores[i - 1]:
            continue
        weight = 1.0 / (np.float64(scales[i]) * scales[i])
        across = estimates[i] - of_estimates
        wider = scales[i] - of_scales
        up = scores[i] - of_scores
        squares += weight * across * across
        products += weight * across * up
        of_both += weight * across * wider
        scales_squares += weight * wider * wider
        scales_products += weight * wider * up
        all_squares += weight * up * up
    # Rows of large scale may be estimated too low on the whole: of skewed data and a query that
    # asks for all of it. That is seen where scales differ.
    determinant = squares * scales_squares - of_both * of_both
    by_scale = determinant > _INDEPENDENT * squares * scales_squares
    slope = 0.0
    lift = 0.0
    if by_scale:
        slope = (products * scales_squares - scales_products * of_both) / determinant
        lift = (scales_products * squares - products * of_both) / determinant
    elif squares > 0.0:
        slope = products / squares
    # A line that falls would be one through a stray: what is left of the line counts as error.
    if slope < 0.0:
        slope = 0.0
        lift = scales_products / scales_squares if by_scale else 0.0
    left = max(all_squares - slope * products - lift * scales_products, 0.0)
    # Near copies of a row share its codes and their error: so many scores tell no more than one.
    near = _NEAR * math.sqrt(left / count)
    apart = 1
    for i in range(1, kept):
        apart += (
            estimates[i] != estimates[i - 1]
            or not abs(scores[i] - scores[i - 1]) <= near * scales[i]
        )
    if apart < _FEWEST:
        return np.inf, np.inf
    free = apart - 3 if by_scale else apart - 2
    deviation = math.sqrt(left / count * apart / free) * (1.0 + 1.0 / math.sqrt(apart))
    farthest = 0.0
    for i in range(kept):
        expected = (
            of_scores + slope * (estimates[i] - of_estimates) + lift * (scales[i] - of_scales)
        )
        farthest = max(farthest, (scores[i] - expected) / scales[i])
    # Among so many normal errors hardly any is larger; if one is, so are others that are not seen.
    deviation = max(deviation, farthest / math.sqrt(2.0 * math.log(apart)), known)
    if not deviation < np.inf:
        return np.inf, np.inf
    for i in range(others.shape[0]):
        widest = max(widest, np.float64(others[i, 0]))
    if deviation * widest <= _ROUNDING * largest:
        # Either the codes are exact, and rows of equal score are not missed; or all scores seen so
        # far are equal, and nothing is known of others.
        return (0.0, 0.0) if slope > 0.0 else (np.inf, np.inf)
    # What few scores tell of the line is uncertain, and less the farther one goes.
    variance = deviation * deviation
    unsure = variance * count / apart
    of_line = unsure / weights
    across_by = 0.0
    both_by = 0.0
    wider_by = 0.0
    if by_scale:
        across_by = unsure * scales_squares / determinant
        both_by = -2.0 * unsure * of_both / determinant
        wider_by = unsure * squares / determinant
    elif squares > 0.0:
        across_by = unsure / squares
    found = 0.0
    found_deeper = 0.0
    for i in range(kept, listed):
        across = estimates[i] - of_estimates
        wider = scales[i] - of_scales
        spread = variance * scales[i] * scales[i] + of_line
        spread += across_by * across * across + both_by * across * wider + wider_by * wider * wider
        above = last - of_scores - slope * across - lift * wider
        share = _beyond(above / math.sqrt(spread))
        found += share
        if i >= deeper:
            found_deeper += share
    at = listed
    estimate = np.float64(estimates[listed - 1])
    step = estimates[kept - 1] - estimate
    while at < allowed:
        end = min(allowed, max(at + 1, at * listed // kept))
        across = estimate - of_estimates
        share = 0.0
        for i in range(others.shape[0]):
            scale = np.float64(others[i, 0])
            wider = scale - of_scales
            spread = variance * scale * scale + of_line
            spread += (
                across_by * across * across + both_by * across * wider + wider_by * wider * wider
            )
            above = last - of_scores - slope * across - lift * wider
            share += others[i, 1] * _beyond(above / math.sqrt(spread))
        found += share * (end - at)
        found_deeper += share * max(0, end - max(at, deeper))
        at = end
        estimate -= step
    if found != found:
        return np.inf, np.inf
    return found, found_deeper


@njit(
    [
        three_ints(
            *(i64, vectors, floats_1, floats_1, floats_1, floats_2, ints_1),
            *(i64, i64, i64, i64, i64, _f64, _f64),
            *(out_floats_1, out_floats_1, out_ints_1, i64),
        )
        for vectors in originals_2
    ],
    nogil=True,
    cache=True,
)
def rescore_until_sure(  # type: ignore[no-untyped-def]
    metric,
    vectors,
    query,
    estimates,
    scales,
    others,
    rows,
    done,
    next_,
    stop,
    allowed,
    deeper,
    may_be_missed,
    known,
    found,
    scores,
    best,
    filled,
):
    """Score candidates, twice as many each time, until no more of those left out can be expected to
    be better than the last result than ``may_be_missed``.

    ``estimates``, ``scales: float32[m]``, ``rows: int64[m]``: the candidates, best first, of
    ``allowed`` rows; ``others`` and ``known`` are those of `missed`. The first ``done`` are scored
    already, in ``found: float32[m]``; so many as ``next_`` are then, at most ``stop``. ``scores``,
    ``best`` and ``filled`` are a top-k of `topk`. Returns how many are scored; the new ``filled``;
    and `SURE`, `DOUBTFUL` (there may be too few), or `HOPELESS`: ``deeper`` would be too few, as
    far as many scores can say.
    """
    while True:
        filled = score_candidates(
            metric, vectors, query, rows[done:next_], found[done:next_], scores, best, filled
        )
        done = next_
        if done == allowed:
            return done, filled, SURE
        if filled < scores.shape[0]:
            return done, filled, DOUBTFUL
        some, then = missed(
            estimates, scales, others, found[:done], allowed, deeper, scores[0], known
        )
        if some <= may_be_missed:
            return done, filled, SURE
        if then > may_be_missed and done >= _MANY:
            return done, filled, HOPELESS
        if 2 * done > stop:
            return done, filled, DOUBTFUL
        next_ = 2 * done
