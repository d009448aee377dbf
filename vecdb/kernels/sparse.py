"""Exact scores of sparse vectors: scans, single rows, and the search of an inverted index.

A block of rows is three arrays: ``offsets: int64[n + 1]``, ``indices: uint32[m]``, ascending in
each row, and ``values: float32[m]``. A query is a row of the same kind. Products are summed in
float64 in the order of the indices, so a row has the same score wherever it is computed.
"""

from __future__ import annotations

import numpy as np

from vecdb.kernels.compiling import njit, types
from vecdb.kernels.signatures import (
    bytes_1,
    floats_1,
    floats_2,
    i64,
    ints_1,
    out_floats_1,
    out_ints_1,
    shorts_1,
    words_1,
)
from vecdb.kernels.topk import topk_push, worst_score

__all__ = ["scan_sparse", "score_sparse", "search_postings"]

_SHORT = 8
"""A query with one index for so many of a row looks each up; else both are merged."""
_CHUNK = 64
_SCATTERED = 512
"""Fewer postings are gone through again, rather than all rows of their window."""
_LOOK_UP = 512
"""To score a row by its vector takes as long as to add up so many postings."""

_ROW = types.UniTuple(types.float64, 2)(ints_1, words_1, floats_1, i64, words_1, floats_1)


@njit(_ROW, nogil=True, cache=True)
def _dot(offsets, indices, values, row, query, weights):  # type: ignore[no-untyped-def]
    """The inner product of a row with a query, and how many indices they have in common."""
    at = offsets[row]
    end = offsets[row + 1]
    total = 0.0
    common = 0.0
    m = query.shape[0]
    if m * _SHORT <= end - at:
        for j in range(m):
            wanted = query[j]
            size = end - at
            while size > 1:
                half = size >> 1
                # Without a branch: which half it is cannot be predicted.
                at += half * np.int64(indices[at + half - 1] < wanted)
                size -= half
            if size == 0:
                break
            at += np.int64(indices[at] < wanted)
            if at < end and indices[at] == wanted:
                total += np.float64(values[at]) * np.float64(weights[j])
                common += 1.0
                at += 1
        return total, common
    j = 0
    while at < end and j < m:
        index = indices[at]
        if index == query[j]:
            total += np.float64(values[at]) * np.float64(weights[j])
            common += 1.0
            at += 1
            j += 1
        elif index < query[j]:
            at += 1
        else:
            j += 1
    return total, common


@njit(
    i64(
        *(ints_1, words_1, floats_1, words_1, floats_1, bytes_1, i64),
        *(out_floats_1, out_ints_1, i64),
    ),
    nogil=True,
    cache=True,
)
def scan_sparse(offsets, indices, values, query, weights, mask, base, scores, rows, filled):  # type: ignore[no-untyped-def]
    """Offer every allowed row of a block that has an index in common with the query to the running
    top-k, as ``base + row``. The mask is of the whole segment. Returns the new ``filled``."""
    for row in range(offsets.shape[0] - 1):
        place = base + row
        if mask.shape[0] == 0 or (mask[place >> 3] >> (place & 7)) & 1:
            total, common = _dot(offsets, indices, values, row, query, weights)
            if common > 0:
                filled = topk_push(scores, rows, filled, np.float32(total), place)
    return filled


@njit(
    types.void(
        *(ints_1, words_1, floats_1, words_1, floats_1, ints_1),
        *(out_floats_1, out_ints_1),
    ),
    nogil=True,
    cache=True,
)
def score_sparse(offsets, indices, values, query, weights, row_numbers, out, shared):  # type: ignore[no-untyped-def]
    """Write the scores of the rows ``row_numbers: int64[r]`` to ``out: float32[r]``, and how many
    indices each has in common with the query to ``shared: int64[r]``."""
    for i in range(row_numbers.shape[0]):
        total, common = _dot(offsets, indices, values, row_numbers[i], query, weights)
        out[i] = np.float32(total)
        shared[i] = np.int64(common)


@njit(
    types.void(bytes_1, i64, i64, floats_1, out_floats_1),
    nogil=True,
    cache=True,
)
def _add(postings, first, count, bounds, sums):  # type: ignore[no-untyped-def]
    """Add the bounds of a block's postings to those of their rows."""
    # Unsigned numbers spare the test for a negative index.
    one = np.uint64(1)
    at = np.uint64(3 * first)
    codes = np.uint64(3 * first + 2 * count)
    last = np.uint64(sums.shape[0] - 1)
    for _ in range(count):
        row = np.uint64(postings[at]) | (np.uint64(postings[at + one]) << np.uint64(8))
        sums[row & last] += bounds[np.uint64(postings[codes])]
        at += np.uint64(2)
        codes += one


@njit(i64(floats_1, types.float32), nogil=True, cache=True)
def _count_above(sums, least):  # type: ignore[no-untyped-def]
    """How many sums are above ``least``; without a branch, many at once."""
    above = np.int32(0)
    for row in range(sums.shape[0]):
        above += np.int32(sums[row] > least)
    return np.int64(above)


@njit(
    i64(
        *(shorts_1, bytes_1, ints_1, i64, i64, ints_1, ints_1),
        *(out_floats_1, types.float32, out_ints_1),
    ),
    nogil=True,
    cache=True,
)
def _above(counts, postings, order, start, stop, blocks, firsts, sums, least, found):  # type: ignore[no-untyped-def]
    """Find the rows whose sums are above ``least``, which is not negative, among those of the
    postings of some terms. Returns how many there are."""
    many = np.int64(0)
    total = np.int64(0)
    for i in range(start, stop):
        total += np.int64(counts[blocks[order[i]]])
    size = sums.shape[0]
    if total < _SCATTERED:
        for i in range(start, stop):
            term = order[i]
            place = 3 * firsts[term]
            for k in range(np.int64(counts[blocks[term]])):
                at = place + 2 * k
                row = (np.int64(postings[at]) | (np.int64(postings[at + 1]) << 8)) & (size - 1)
                if sums[row] > least:
                    found[many] = row
                    many += 1
                    # Else it would be found again with the next of its terms.
                    sums[row] = -sums[row]
        for i in range(many):
            sums[found[i]] = -sums[found[i]]
        return many
    for chunk in range(0, size, _CHUNK):
        some = sums[chunk : chunk + _CHUNK]
        above = np.int32(0)
        for i in range(_CHUNK):  # without a branch: many at once
            above += np.int32(some[i] > least)
        if above > 0:
            for i in range(_CHUNK):
                if some[i] > least:
                    found[many] = chunk + i
                    many += 1
    return many


@njit(
    i64(
        *(words_1, shorts_1, bytes_1, bytes_1, out_ints_1, ints_1, out_ints_1, floats_2),
        *(ints_1, words_1, floats_1, words_1, floats_1, bytes_1),
        *(out_floats_1, out_floats_1, out_ints_1, out_ints_1),
        *(out_floats_1, out_ints_1, out_ints_1, out_ints_1),
    ),
    nogil=True,
    cache=True,
)
def search_postings(  # type: ignore[no-untyped-def]
    windows, counts, maxima, postings, blocks, ends, firsts, bounds,
    offsets, indices, values, query, weights, mask,
    sums, most, order, found, scores, rows, done, looked_at,
):  # fmt: skip
    """Fill the top-k ``scores``, ``rows`` with the best allowed rows by an inverted index. Returns
    how many there are; ``done: int64[2]``: how many postings were added up, and how many rows were
    scored by their vectors, the first of which are in ``looked_at``.

    ``windows``, ``counts``, ``maxima``, ``postings``: the index, see ``index.sparse.terms``. Of
    each term of the query that occurs: its ``blocks: int64[t]`` from the first one to ``ends``,
    its ``firsts``, the first posting of these, and the ``bounds: float32[t, 256]`` of its codes.
    ``blocks`` and ``firsts`` are used up. ``offsets`` to ``weights``: the vectors and the query.
    Room: ``sums: float32[window]``, all 0, ``most: float32[t]``, ``order: int64[t]``, ``found:
    int64[window]``.

    Window by window: the terms whose bounds together cannot reach the worst result need not be
    added up, as no row is a result by these alone. Rows that may be results with them are scored
    by their vectors; where these would be many, the other terms are added up first.
    """
    terms = blocks.shape[0]
    window = sums.shape[0]
    n = offsets.shape[0] - 1
    filled = np.int64(0)
    added = np.int64(0)
    scored = np.int64(0)
    while True:
        now = np.int64(1) << 40
        for t in range(terms):
            if blocks[t] < ends[t]:
                now = min(now, np.int64(windows[blocks[t]]))
        if now == np.int64(1) << 40:
            break
        active = 0
        total = np.float32(0.0)
        for t in range(terms):
            if blocks[t] < ends[t] and np.int64(windows[blocks[t]]) == now:
                # Where the query's value is negative, the smallest codes count for most.
                bound = max(bounds[t, maxima[blocks[t]]], bounds[t, 0])
                most[t] = bound
                total += bound
                at = active
                while at > 0 and most[order[at - 1]] > bound:
                    order[at] = order[at - 1]
                    at -= 1
                order[at] = t
                active += 1
        worst = worst_score(scores, filled)
        if total > worst:
            others = 0
            rest = np.float32(0.0)
            spared = np.int64(0)
            while others < active and rest + most[order[others]] <= worst:
                rest += most[order[others]]
                spared += np.int64(counts[blocks[order[others]]])
                others += 1
            for i in range(others, active):
                t = order[i]
                _add(postings, firsts[t], np.int64(counts[blocks[t]]), bounds[t], sums)
                added += np.int64(counts[blocks[t]])
            least = max(worst - rest, np.float32(0.0))
            if spared > 0 and _count_above(sums, least) * _LOOK_UP > spared:
                for i in range(others):
                    t = order[i]
                    _add(postings, firsts[t], np.int64(counts[blocks[t]]), bounds[t], sums)
                added += spared
                others = 0
                rest = np.float32(0.0)
                least = max(worst, np.float32(0.0))
            many = _above(
                counts, postings, order, others, active, blocks, firsts, sums, least, found
            )
            for i in range(many):
                row = now * window + found[i]
                if row >= n or not sums[found[i]] + rest > worst:
                    continue
                if mask.shape[0] == 0 or (mask[row >> 3] >> (row & 7)) & 1:
                    score, common = _dot(offsets, indices, values, row, query, weights)
                    if scored < looked_at.shape[0]:
                        looked_at[scored] = row
                    scored += 1
                    if common > 0:
                        filled = topk_push(scores, rows, filled, np.float32(score), row)
                        worst = worst_score(scores, filled)
            for row in range(window):
                sums[row] = 0.0
        for i in range(active):
            t = order[i]
            firsts[t] += np.int64(counts[blocks[t]])
            blocks[t] += 1
    done[0] = added
    done[1] = scored
    return filled
