"""The best rows of many, when hundreds are kept: a list that is thinned out, and a threshold.

Where hundreds of rows are kept, to be scored again by better codes, a heap costs more than the
look-ups that find them: each row that enters moves others. Instead, rows that reach the threshold
go to the end of a list; when it is full, the best stay, and the threshold rises to what they have.
At the end, the list becomes a running top-k of `topk`. Better means what it means there.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from vecdb.kernels.compiling import njit, types
from vecdb.kernels.signatures import bytes_1, f32, i64, out_floats_1, out_ints_1, two_ints

__all__ = ["allowed_first", "best_first", "make_heap", "thin"]

_count_and_score: Final[Any] = types.Tuple((i64, f32))


@njit(types.void(out_floats_1, out_ints_1, i64, i64), nogil=True, cache=True)
def best_first(scores, rows, count, k):  # type: ignore[no-untyped-def]
    """Bring the best ``k`` of ``count`` entries to the front, the worst of those to ``k - 1``."""
    low = 0
    high = count - 1
    while low < high:
        middle = (low + high) >> 1
        score = scores[middle]
        row = rows[middle]
        scores[middle] = scores[high]
        rows[middle] = rows[high]
        at = low
        for i in range(low, high):
            # No branch: whether an entry is better cannot be predicted.
            this_score = scores[i]
            this_row = rows[i]
            scores[i] = scores[at]
            rows[i] = rows[at]
            scores[at] = this_score
            rows[at] = this_row
            at += (this_score > score) | ((this_score == score) & (this_row < row))
        scores[high] = scores[at]
        rows[high] = rows[at]
        scores[at] = score
        rows[at] = row
        if at < k - 1:
            low = at + 1
        elif at > k - 1:
            high = at - 1
        else:
            return


@njit(_count_and_score(out_floats_1, out_ints_1, i64, i64), nogil=True, cache=True)
def thin(scores, rows, count, k):  # type: ignore[no-untyped-def]
    """Drop entries that are not among the best ``k``: most of them, if not all.

    Returns how many are left, and the score below which none can be among the best ``k``.
    """
    low = scores[0]
    high = scores[0]
    for i in range(count):
        low = min(low, scores[i])
        high = max(high, scores[i])
    # To halve between the extremes until an eighth too many are left is a few fast loops; only
    # scores that lie very unevenly, or are equal, need the exact order.
    for _ in range(12):
        middle = low + (high - low) * np.float32(0.5)
        reached = np.int32(0)
        for i in range(count):
            reached += np.int32(scores[i] >= middle)
        if reached < k:
            high = middle
        elif reached > k + (k >> 3):
            low = middle
        else:
            at = 0
            for i in range(count):
                score = scores[i]
                scores[at] = score
                rows[at] = rows[i]
                at += score >= middle
            return at, middle
    best_first(scores, rows, count, k)
    return k, scores[k - 1]


@njit(two_ints(bytes_1, i64, out_floats_1, out_ints_1, i64), nogil=True, cache=True)
def allowed_first(mask, wanted, scores, rows, count):  # type: ignore[no-untyped-def]
    """Bring those of ``count`` entries to the front whose rows a mask allows, in their order.

    Returns how many they are, and how many of all entries are as good as the one of them that is
    number ``wanted``: so many have to be looked at to find it. 0: it is not among them.
    """
    allowed = np.int64(0)
    for i in range(count):
        score = scores[i]
        row = rows[i]
        scores[i] = scores[allowed]
        rows[i] = rows[allowed]
        scores[allowed] = score
        rows[allowed] = row
        allowed += mask[row >> 3] >> (row & 7) & 1
    if allowed < wanted:
        return allowed, 0
    if allowed == count:
        return allowed, wanted
    some = scores[:allowed].copy()
    best_first(some, rows[:allowed].copy(), allowed, wanted)
    as_good = np.int64(0)
    for i in range(count):
        as_good += np.int64(scores[i] >= some[wanted - 1])
    return allowed, as_good


@njit(types.void(out_floats_1, out_ints_1, i64), nogil=True, cache=True)
def make_heap(scores, rows, count):  # type: ignore[no-untyped-def]
    """Put ``count`` entries into the order of `topk`: none is worse than the one above it."""
    for start in range((count >> 1) - 1, -1, -1):
        score = scores[start]
        row = rows[start]
        at = start
        while True:
            child = 2 * at + 1
            if child >= count:
                break
            right = child + 1
            if right < count and (
                scores[right] < scores[child]
                or (scores[right] == scores[child] and rows[right] > rows[child])
            ):
                child = right
            if scores[child] > score or (scores[child] == score and rows[child] < row):
                break
            scores[at] = scores[child]
            rows[at] = rows[child]
            at = child
        scores[at] = score
        rows[at] = row
