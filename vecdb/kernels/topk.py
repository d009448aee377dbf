"""The running top-k: the best ``k`` rows seen so far, over any number of blocks and segments.

It is three plain values: ``scores: float32[k]``, ``rows: int64[k]`` and the number ``filled`` of
entries in use. They hold a binary heap with the *worst* entry on top, so that a scan compares
each row with one number. Better means a higher score, and among equal scores the lower row: the
result does not depend on the order in which rows were seen.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from vecdb.kernels.blocks import count_ones, count_trailing_zeros
from vecdb.kernels.compiling import njit, types
from vecdb.kernels.signatures import (
    Bytes,
    Floats,
    Ints,
    bytes_1,
    f32,
    floats_1,
    i64,
    ints_1,
    out_floats_1,
    out_ints_1,
    two_ints,
)

__all__ = [
    "BLOCK",
    "check_mask",
    "count_allowed",
    "offer_rows",
    "select_rows",
    "topk_new",
    "topk_push",
    "topk_sort",
    "worst_score",
]

BLOCK: Final = 256
"""Rows a scan scores before it offers them. Scoring in a loop of its own, without a branch to the
heap in it, is what keeps short rows fast; 256 row numbers and scores stay in the L1 cache."""


def topk_new(k: int) -> tuple[Floats, Ints]:
    """Empty ``scores`` and ``rows`` for a top-k of ``k`` entries (start with ``filled = 0``)."""
    return np.empty(k, np.float32), np.empty(k, np.int64)


def check_mask(mask: Bytes, n: int) -> None:
    """Refuse a mask too short for ``n`` rows: kernels read it without bounds checks."""
    if mask.shape[0] and mask.shape[0] * 8 < n:
        raise ValueError(f"a mask of {mask.shape[0]} bytes is too short for {n} rows")


@njit(types.boolean(f32, i64, f32, i64), nogil=True, cache=True)
def _is_worse(score_a, row_a, score_b, row_b):  # type: ignore[no-untyped-def]
    return score_a < score_b or (score_a == score_b and row_a > row_b)


@njit(types.void(out_floats_1, out_ints_1, i64, f32, i64), nogil=True, cache=True)
def _sift_down(scores, rows, filled, score, row):  # type: ignore[no-untyped-def]
    """Put an entry where the root was and move it down to its place."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= filled:
            break
        right = child + 1
        if right < filled and _is_worse(scores[right], rows[right], scores[child], rows[child]):
            child = right
        if not _is_worse(scores[child], rows[child], score, row):
            break
        scores[at] = scores[child]
        rows[at] = rows[child]
        at = child
    scores[at] = score
    rows[at] = row


@njit(i64(out_floats_1, out_ints_1, i64, f32, i64), nogil=True, cache=True)
def topk_push(scores, rows, filled, score, row):  # type: ignore[no-untyped-def]
    """Offer one row; returns the new ``filled``. NaN (overflow in a sum) counts as minus inf."""
    if score != score:
        score = np.float32(-np.inf)
    k = scores.shape[0]
    if filled < k:
        at = filled
        while at > 0:
            parent = (at - 1) >> 1
            if not _is_worse(score, row, scores[parent], rows[parent]):
                break
            scores[at] = scores[parent]
            rows[at] = rows[parent]
            at = parent
        scores[at] = score
        rows[at] = row
        return filled + 1
    if k > 0 and _is_worse(scores[0], rows[0], score, row):
        _sift_down(scores, rows, k, score, row)
    return filled


@njit(types.void(out_floats_1, out_ints_1, i64), nogil=True, cache=True)
def topk_sort(scores, rows, filled):  # type: ignore[no-untyped-def]
    """Sort the ``filled`` entries in place, best first. No row can be pushed afterwards."""
    for end in range(filled - 1, 0, -1):
        score = scores[end]
        row = rows[end]
        scores[end] = scores[0]
        rows[end] = rows[0]
        _sift_down(scores, rows, end, score, row)


@njit(f32(out_floats_1, i64), nogil=True, cache=True)
def worst_score(scores, filled):  # type: ignore[no-untyped-def]
    """What a row must reach to be worth a push (an equal score may win by its row number).

    Compare as ``not score < worst``: NaN must reach `topk_push` while the heap is not full.
    """
    if filled < scores.shape[0]:
        return np.float32(-np.inf)
    if filled == 0:
        return np.float32(np.inf)
    return scores[0]


@njit(two_ints(bytes_1, i64, i64, out_ints_1), nogil=True, cache=True)
def select_rows(mask, start, n, chosen):  # type: ignore[no-untyped-def]
    """Fill ``chosen`` with allowed rows from ``start`` on, a multiple of 8.

    Returns how many there are and the row to go on from: ``n`` if that is the end.
    """
    room = chosen.shape[0]
    if mask.shape[0] == 0:
        count = min(room, n - start)
        for i in range(count):
            chosen[i] = start + i
        return count, start + count
    count = 0
    row = start
    # From one bit that is set to the next: where few are, most words have none.
    while row + 64 <= n and count + 64 <= room:
        word = np.int64(0)
        for i in range(8):  # one load
            word |= np.int64(mask[(row >> 3) + i]) << np.int64(8 * i)
        while word != 0:
            chosen[count] = row + count_trailing_zeros(word)
            count += 1
            word &= word - 1
        row += 64
    while row < n and count + 8 <= room:
        byte = np.int64(mask[row >> 3])
        if n - row < 8:
            byte &= (1 << (n - row)) - 1
        while byte != 0:
            chosen[count] = row + count_trailing_zeros(byte)
            count += 1
            byte &= byte - 1
        row += 8
    return count, min(row, n)


@njit(i64(bytes_1), nogil=True, cache=True)
def count_allowed(mask):  # type: ignore[no-untyped-def]
    """How many bits of a mask are set."""
    count = np.int64(0)
    words = mask.shape[0] >> 3
    for at in range(words):
        word = np.int64(0)
        for i in range(8):  # one load
            word |= np.int64(mask[8 * at + i]) << np.int64(8 * i)
        count += count_ones(word)
    for at in range(8 * words, mask.shape[0]):
        count += count_ones(np.int64(mask[at]))
    return count


@njit(
    i64(floats_1, ints_1, i64, i64, out_floats_1, out_ints_1, i64),
    nogil=True,
    cache=True,
)
def offer_rows(block_scores, chosen, count, base, scores, rows, filled):  # type: ignore[no-untyped-def]
    """Offer ``count`` scored rows, as ``base + chosen[i]``; returns the new ``filled``."""
    worst = worst_score(scores, filled)
    for i in range(count):
        if not block_scores[i] < worst:
            filled = topk_push(scores, rows, filled, block_scores[i], base + chosen[i])
            worst = worst_score(scores, filled)
    return filled
