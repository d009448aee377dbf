"""Loops of the clustered index: which partitions a query visits, and the best rows in them.

A row is its partition's centroid plus a residual. Centroids are bytes, ``low[j] + scale[j] * code``
in dimension ``j``; residuals are 4-bit product codes in the blocks of `fastscan`, ``width``
dimensions a code, their codebook ``float32[m * width, 16]`` (line ``j`` holds coordinate ``j`` of
the 16 entries of its place, so that a look-up table is 16 neighbours in memory). The index says
what the numbers mean; here they are only added up.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba.core import types

from vecdb.kernels.blocks import products_of_place
from vecdb.kernels.compiling import njit
from vecdb.kernels.fastscan import quantize_tables, scan
from vecdb.kernels.rescoring import rescore
from vecdb.kernels.signatures import (
    MANHATTAN,
    REASSOCIATE,
    bytes_2,
    f32,
    floats_1,
    floats_2,
    i64,
    ints_1,
    out_floats_1,
    out_floats_2,
    out_ints_2,
    two_floats,
)

__all__ = [
    "inverse_spans",
    "nearest",
    "priorities",
    "query_tables",
    "visit",
]

ENTRIES: Final = 16
_TIERS: Final = 2
_MORE_TIERS: Final = 24
_LEAST: Final = np.float32(1e-30)

uint32s_1: Final[Any] = types.Array(types.uint32, 1, "C", readonly=True)
_index: Final[Any] = (
    *(bytes_2, floats_1, floats_1, floats_1, floats_1, ints_1),
    *(floats_2, i64, f32, f32, bytes_2),
)
"""Of `visit` and `nearest`, the arguments from ``centroids`` to ``blocks``."""
out_int16s_1: Final[Any] = types.Array(types.int16, 1, "C")


@njit(
    two_floats(floats_1, floats_1, floats_1, out_int16s_1),
    nogil=True,
    cache=True,
    fastmath=REASSOCIATE,
)
def _as_int16s(query, low, scale, out):  # type: ignore[no-untyped-def]
    """Write ``query * scale`` as whole numbers, as fine as 32-bit sums of their products with
    bytes allow. Returns the step between them, and ``query . low``."""
    dim = query.shape[0]
    base = np.float32(0.0)
    for j in range(dim):
        base += query[j] * low[j]
    largest = np.float32(0.0)  # in a loop of its own, or neither is vectorized
    for j in range(dim):
        largest = max(largest, abs(query[j] * scale[j]))
    most = np.float32(min(32767, 2147483647 // (255 * dim)))
    # Below, the step or its inverse would be no number that float32 has.
    step = largest / most if largest > _LEAST else np.float32(1.0)
    inverse = np.float32(1.0) / step
    for j in range(dim):
        # Truncated towards zero, not rounded: half a step of 16 bits is nothing, a call is not.
        out[j] = np.int16(query[j] * scale[j] * inverse)
    return step, base


@njit(
    types.void(floats_2, bytes_2, floats_1, floats_1, floats_1, f32, out_floats_2),
    nogil=True,
    cache=True,
)
def priorities(queries, centroids, low, scale, constants, factor, out):  # type: ignore[no-untyped-def]
    """Write ``factor * query . centroid + constant`` to ``out: float32[p, q]``.

    Numba sums in 64 bits; that only 32 of them are used (`np.int32`) lets LLVM multiply and add
    16 numbers at a time.
    """
    asked, dim = queries.shape
    numbers = np.empty((asked, dim), np.int16)
    steps = np.empty(asked, np.float32)
    bases = np.empty(asked, np.float32)
    for q in range(asked):
        steps[q], bases[q] = _as_int16s(queries[q], low, scale, numbers[q])
    for c in range(centroids.shape[0]):
        for q in range(asked):
            total = np.int32(0)
            for j in range(dim):
                total += np.int32(centroids[c, j]) * np.int32(numbers[q, j])
            similarity = bases[q] + np.float32(np.int32(total)) * steps[q]
            out[c, q] = factor * similarity + constants[c]


@njit(types.void(floats_1, floats_2, i64, out_floats_2), nogil=True, cache=True)
def query_tables(query, codebook, width, out):  # type: ignore[no-untyped-def]
    """Write a query's inner products with the codebook's entries to ``out: float32[m, 16]``."""
    dim = query.shape[0]
    for place in range(out.shape[0]):
        first = place * width
        last = min(first + width, dim)
        products_of_place(query, codebook, first, last, place, out)  # type: ignore[call-arg]


@njit(types.void(floats_2, floats_1, floats_1, out_floats_1), nogil=True, cache=True)
def _best(biases, bonuses, inverses, out):  # type: ignore[no-untyped-def]
    """Write the largest ``bias * inverse + bonus`` of each query to ``out: float32[q]``."""
    partitions, asked = biases.shape
    out[:] = -np.inf
    if asked == 1:
        # A maximum in each of 16 lanes is one instruction; one maximum is a chain of them.
        lanes = np.full(16, -np.inf, np.float32)
        whole = partitions & ~15
        for c in range(0, whole, 16):
            for lane in range(16):
                x = biases[c + lane, 0] * inverses[0] + bonuses[c + lane]
                lanes[lane] = x if x > lanes[lane] else lanes[lane]
        for lane in range(16):
            out[0] = max(out[0], lanes[lane])
        for c in range(whole, partitions):
            out[0] = max(out[0], biases[c, 0] * inverses[0] + bonuses[c])
    else:
        for c in range(partitions):
            for q in range(asked):
                x = biases[c, q] * inverses[q] + bonuses[c]
                out[q] = x if x > out[q] else out[q]


@njit(
    types.void(floats_2, floats_2, f32, f32, out_floats_1),
    nogil=True,
    cache=True,
    fastmath=REASSOCIATE,
)
def inverse_spans(queries, biases, factor, typical, out):  # type: ignore[no-untyped-def]
    """Write ``1 / span`` of each query to ``out: float32[q]``: how far its scores are apart,
    compared with the queries of which gaps were measured.

    Inner products are as far apart as the query is long: ``|query| / typical``. Distances of a
    partition's rows, as it is far from their centroid; and where it is at the centroid, as they
    are: ``sqrt((away ** 2 / typical ** 2 + 1) / 2)``, ``away`` from the nearest centroid. What
    cannot be told is 1, as all are if ``typical`` is 0.
    """
    asked, dim = queries.shape
    out[:] = np.float32(1.0)
    if not typical > np.float32(0.0):
        return
    nearest = np.zeros(asked, np.float32)
    if factor > np.float32(1.0):
        ones = np.ones(asked, np.float32)
        _best(biases, np.zeros(biases.shape[0], np.float32), ones, nearest)
    for q in range(asked):
        square = np.float32(0.0)
        for j in range(dim):
            square += queries[q, j] * queries[q, j]
        if factor > np.float32(1.0):
            away = np.sqrt(max(square - nearest[q], np.float32(0.0))) / typical
            span = np.sqrt((away * away + np.float32(1.0)) * np.float32(0.5))
        else:
            span = np.sqrt(square) / typical
        inverse = np.float32(1.0) / span if span > np.float32(0.0) else np.float32(1.0)
        if inverse > np.float32(0.0) and inverse < np.float32(np.inf):
            out[q] = inverse


@njit(types.void(floats_2, floats_1, floats_1, out_floats_2), nogil=True, cache=True)
def _gaps(biases, bonuses, inverses, out):  # type: ignore[no-untyped-def]
    """Write how far each priority, bias and bonus, is below the query's best to ``out[p, q]``, in
    units of its span.

    Where numbers overflow that may be no number: infinity then, or the rows would never be found.
    """
    partitions, asked = biases.shape
    best = np.empty(asked, np.float32)
    _best(biases, bonuses, inverses, best)
    for c in range(partitions):
        for q in range(asked):
            x = best[q] - (biases[c, q] * inverses[q] + bonuses[c])
            out[c, q] = x if x == x else np.float32(np.inf)


@njit(
    types.void(
        floats_2,
        *_index,
        f32,
        out_floats_2,
        out_ints_2,
        out_ints_2,
    ),
    nogil=True,
    cache=True,
)
def visit(  # type: ignore[no-untyped-def]
    queries,
    centroids,
    low,
    scale,
    constants,
    bonuses,
    starts,
    codebook,
    width,
    factor,
    typical,
    blocks,
    gap,
    scores,
    positions,
    counts,
):
    """Of each query, the best positions by their codes in the partitions that may hold near ones.

    A partition is visited if its priority, `priorities` plus its bonus, is at most ``gap`` below
    the best one's, both in units of the query's span (`inverse_spans`); then, in falling order,
    more until there are k positions. Queries that visit the same partition share a pass over it.

    Results come unsorted to ``scores: float32[q, k]``, ``positions: int64[q, k]``. ``counts:
    int64[q, 3]``, zeros before, tells how many there are, and how many partitions and positions
    were visited.
    """
    asked, wanted = scores.shape
    partitions = centroids.shape[0]
    biases = np.empty((partitions, asked), np.float32)
    priorities(queries, centroids, low, scale, constants, factor, biases)
    inverses = np.empty(asked, np.float32)
    inverse_spans(queries, biases, factor, typical, inverses)
    below = np.empty((partitions, asked), np.float32)  # the best priority
    _gaps(biases, bonuses, inverses, below)
    # What `scan` takes: ranges of rows, and the queries of each.
    ranges = np.empty((asked * partitions, 2), np.int64)
    firsts = np.empty(asked * partitions + 1, np.int64)
    visitors = np.empty(asked * partitions, np.int64)
    chosen = np.empty(asked * partitions, np.float32)
    firsts[0] = 0
    pairs = 0
    count = 0
    # In tiers, best first: the sooner good rows are found, the fewer others are kept. A sort of
    # all partitions would cost more than the scan of most.
    after = np.float32(-1.0)
    for tier in range(_TIERS + _MORE_TIERS):
        if tier < _TIERS:
            until = gap * np.float32(0.25 ** (_TIERS - 1 - tier))
        elif tier < _TIERS + _MORE_TIERS - 1 and gap > np.float32(0.0):
            until *= np.float32(1.25)
        else:
            until = np.float32(np.inf)
        for c in range(partitions):
            size = np.int64(-1)
            for q in range(asked):
                gap_here = below[c, q]
                if not (after < gap_here <= until):
                    continue
                if tier >= _TIERS and counts[q, 2] >= wanted:
                    continue
                size = starts[c + 1] - starts[c]
                visitors[pairs] = q
                chosen[pairs] = biases[c, q]
                pairs += 1
                counts[q, 1] += 1
                counts[q, 2] += size
            if size >= 0:
                ranges[count, 0] = starts[c]
                ranges[count, 1] = starts[c + 1]
                count += 1
                firsts[count] = pairs
        after = until
        missing = tier < _TIERS - 1
        for q in range(asked):
            missing |= counts[q, 2] < wanted
        if not missing or until == np.float32(np.inf):
            break
    places = codebook.shape[0] // width
    numbers = np.empty((places, ENTRIES), np.float32)
    tables = np.empty((asked, 64 * ((places + 3) >> 2)), np.uint8)
    steps = np.empty(asked, np.float32)
    offsets = np.empty(asked, np.float32)
    for q in range(asked):
        query_tables(queries[q], codebook, width, numbers)
        steps[q], offsets[q] = quantize_tables(numbers, tables[q])
    filled = np.zeros(asked, np.int64)
    scan(
        blocks,
        tables,
        steps,
        offsets,
        ranges[:count],
        firsts[: count + 1],
        visitors[:pairs],
        chosen[:pairs],
        np.empty(0, np.uint8),  # no mask
        0,
        scores,
        positions,
        filled,
    )
    counts[:, 0] = filled


@njit(
    types.void(
        floats_2,
        *_index,
        f32,
        i64,
        uint32s_1,
        i64,
        floats_2,
        out_floats_2,
        out_ints_2,
        out_ints_2,
        out_floats_1,
    ),
    nogil=True,
    cache=True,
)
def nearest(  # type: ignore[no-untyped-def]
    queries,
    centroids,
    low,
    scale,
    constants,
    bonuses,
    starts,
    codebook,
    width,
    factor,
    typical,
    blocks,
    gap,
    candidates,
    order,
    metric,
    vectors,
    scores,
    rows,
    counts,
    margins,
):
    """`visit`, then `rescore`: a call of its own for each takes a fifth of a search.

    ``order: uint32[n]``: the row at each position, empty if they are the same.
    """
    asked = queries.shape[0]
    sketched = np.empty((asked, candidates), np.float32)
    chosen = np.empty((asked, candidates), np.int64)
    visit(
        queries,
        centroids,
        low,
        scale,
        constants,
        bonuses,
        starts,
        codebook,
        width,
        factor,
        typical,
        blocks,
        gap,
        sketched,
        chosen,
        counts,
    )
    if order.shape[0]:
        for q in range(asked):
            for i in range(counts[q, 0]):
                chosen[q, i] = order[chosen[q, i]]
    found = counts[:, 0].copy()
    if metric == MANHATTAN:  # sketches know of another distance
        sketched = np.empty((asked, 0), np.float32)
    rescore(metric, vectors, queries, chosen, found, sketched, scores, rows, margins)
