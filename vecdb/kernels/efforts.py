"""What calibration asks of efforts: which rows are candidates, what they find, how sure it is.

Rows of a query stand in the order of their estimates, best first, and are as far ``away`` as their
partitions.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from vecdb.kernels.compiling import njit, types
from vecdb.kernels.rescoring import sureness
from vecdb.kernels.shortlist import best_first
from vecdb.kernels.signatures import f32, floats_1, floats_2, i64, ints_1, out_floats_2, out_ints_2

__all__ = ["count_hits", "mark_candidates", "sureness_of_efforts"]

flags_1: Final[Any] = types.Array(types.boolean, 1, "C", readonly=True)
out_flags_1: Final[Any] = types.Array(types.boolean, 1, "C")


@njit(types.void(floats_1, flags_1, i64, floats_1, out_ints_2), nogil=True, cache=True)
def count_hits(away, hits, most, steps, counts):  # type: ignore[no-untyped-def]
    """Count in ``counts: int64[s, n]``, for each gap of ``steps: float32[s]``, at which places
    among the rows within it hits are; the first ``most`` of them, all if that is 0."""
    end = away.shape[0]
    while end > 0 and not hits[end - 1]:
        end -= 1
    for s in range(steps.shape[0]):
        within = 0
        found = 0
        for i in range(end):
            if away[i] <= steps[s]:
                if hits[i]:
                    counts[s, within] += 1
                    found += 1
                    if found == most:
                        break
                within += 1


@njit(types.void(floats_1, floats_1, ints_1, out_flags_1), nogil=True, cache=True)
def mark_candidates(away, gaps, most, marked):  # type: ignore[no-untyped-def]
    """Mark the rows that are candidates of any effort, see `sureness_of_efforts`."""
    for e in range(gaps.shape[0]):
        count = 0
        for i in range(away.shape[0]):
            if count == most[e]:
                break
            if away[i] <= gaps[e]:
                marked[i] = True
                count += 1


@njit(
    types.void(
        *(i64, floats_1, floats_1, floats_1, floats_1, ints_1, floats_2, i64, f32),
        out_floats_2,
    ),
    nogil=True,
    cache=True,
)
def sureness_of_efforts(  # type: ignore[no-untyped-def]
    metric, estimates, scores, away, gaps, most, bounds, measured, least, out
):
    """For one query and each effort, write `sureness` (infinity if there are fewer candidates than
    results) and the share of the results that is found: ``out: float32[e, 3]``.

    Rows stand in the order of ``estimates: float32[n]``, best first. An effort's candidates are
    the first ``most[e]`` of those whose partition is no more than ``gaps[e]`` ``away``. Results
    are ``measured`` rows whose score is ``least`` or better.
    """
    mine = np.empty(estimates.shape[0], np.float32)
    theirs = np.empty(estimates.shape[0], np.float32)
    ranked = np.empty(estimates.shape[0], np.float32)
    places = np.zeros(estimates.shape[0], np.int64)
    for e in range(gaps.shape[0]):
        count = 0
        hits = 0
        for i in range(estimates.shape[0]):
            if count == most[e]:
                break
            if away[i] <= gaps[e]:
                mine[count] = estimates[i]
                theirs[count] = ranked[count] = scores[i]
                hits += scores[i] >= least
                count += 1
        out[e, 0] = out[e, 1] = np.inf
        out[e, 2] = min(1.0, hits / measured)
        if count >= measured:
            best_first(ranked, places, count, measured)
            out[e, 0], out[e, 1] = sureness(
                metric, mine[:count], theirs[:count], bounds[e], measured, ranked[measured - 1]
            )
