"""Priorities: how near the centroids of all partitions are to a query, and how far apart.

Centroids are bytes, ``stretch[c] * (low[j] + scale[j] * code)`` in dimension ``j``, from a middle.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from vecdb.kernels.blocks import TOGETHER, products_of_four, products_of_one
from vecdb.kernels.compiling import njit, types
from vecdb.kernels.signatures import (
    REASSOCIATE,
    bytes_2,
    f32,
    floats_1,
    floats_2,
    out_floats_1,
    out_floats_2,
    two_floats,
)
from vecdb.kernels.views import flat

__all__ = ["beyond", "gaps", "inverse_spans", "priorities", "product"]

_LEAST: Final = np.float32(1e-30)
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


@njit(f32(floats_1, floats_1, out_floats_1), nogil=True, cache=True, fastmath=REASSOCIATE)
def _copied(query, middle, out):  # type: ignore[no-untyped-def]
    """Write the query to ``out``. Returns ``query . middle``: one pass for both."""
    total = np.float32(0.0)
    for j in range(query.shape[0]):
        out[j] = query[j]
        total += query[j] * middle[j]
    return total


@njit(f32(floats_1, floats_1), nogil=True, cache=True, fastmath=REASSOCIATE)
def product(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for j in range(a.shape[0]):
        total += a[j] * b[j]
    return total


@njit(
    types.void(
        *(floats_2, bytes_2, floats_1, floats_1, floats_1, floats_1, floats_1),
        *(f32, out_floats_2, out_floats_2),
    ),
    nogil=True,
    cache=True,
)
def priorities(  # type: ignore[no-untyped-def]
    queries,
    centroids,
    low,
    scale,
    middle,
    stretch,
    constants,
    factor,
    moved,
    out,
):
    """Write ``factor * query . centroid + constant`` to ``out: float32[p, q]``.

    For a distance (``factor`` 2) both are taken from the middle; the queries less the middle are
    written to ``moved: float32[q, d]``. For an inner product ``moved`` becomes the queries as they
    are.
    """
    n_queries, dim = queries.shape
    partitions = centroids.shape[0]
    numbers = np.empty((n_queries, dim), np.int16)
    steps = np.empty(n_queries, np.float32)
    bases = np.empty(n_queries, np.float32)
    offsets = np.zeros(n_queries, np.float32)
    for q in range(n_queries):
        if factor > np.float32(1.0):
            for j in range(dim):
                moved[q, j] = queries[q, j] - middle[j]
        else:
            offsets[q] = _copied(queries[q], middle, moved[q])
        steps[q], bases[q] = _as_int16s(moved[q], low, scale, numbers[q])
    totals = np.empty(TOGETHER, np.int32)
    for c in range(partitions):
        at = 0
        while at < n_queries:
            together = TOGETHER if at + TOGETHER <= n_queries else 1
            if together == TOGETHER:
                products_of_four(centroids, c, numbers, at, totals)
            else:
                products_of_one(centroids, c, numbers, at, totals)
            for i in range(together):
                q = at + i
                similarity = bases[q] + np.float32(totals[i]) * steps[q]
                similarity = offsets[q] + stretch[c] * similarity
                out[c, q] = factor * similarity + constants[c]
            at += together


@njit(types.void(floats_2, floats_1, floats_1, out_floats_1), nogil=True, cache=True)
def _best(biases, bonuses, inverses, out):  # type: ignore[no-untyped-def]
    """Write the largest ``bias * inverse + bonus`` of each query to ``out: float32[q]``."""
    partitions, n_queries = biases.shape
    out[:] = -np.inf
    if n_queries == 1:
        # A maximum in each of 16 lanes is one instruction; one maximum is a chain of them. Of a
        # matrix, LLVM does not know that its columns are neighbours.
        line = flat(biases)
        lanes = np.full(16, -np.inf, np.float32)
        whole = partitions & ~15
        for c in range(0, whole, 16):
            for lane in range(16):
                x = line[c + lane] * inverses[0] + bonuses[c + lane]
                lanes[lane] = x if x > lanes[lane] else lanes[lane]
        for lane in range(16):
            out[0] = max(out[0], lanes[lane])
        for c in range(whole, partitions):
            out[0] = max(out[0], line[c] * inverses[0] + bonuses[c])
    else:
        for c in range(partitions):
            for q in range(n_queries):
                x = biases[c, q] * inverses[q] + bonuses[c]
                out[q] = x if x > out[q] else out[q]


@njit(
    types.void(floats_2, floats_2, floats_1, f32, f32, f32, out_floats_1),
    nogil=True,
    cache=True,
)
def inverse_spans(queries, biases, common, factor, typical, radius, out):  # type: ignore[no-untyped-def]
    """Write ``1 / span`` of each query to ``out: float32[q]``: how far its scores are apart,
    compared with the queries that gaps were measured with. ``queries`` are as `priorities` leaves
    them.

    Inner products are as far apart as the query is long: ``|query| / typical``. What all rows have
    in common, ``common: float32[d]``, makes a query long and no two scores different: its square is
    taken off. Distances are as far apart as the query is from the centroid of the rows, ``away /
    typical``; near the centroid, as the rows themselves are: ``sqrt((away ** 2 / typical ** 2 + 1)
    / 2)``, ``away`` from the nearest centroid. A query far outside may have a centroid of its own
    and is as far from all others: from the middle, in units of twice the centroids' ``radius``.
    What cannot be told is 1, as all are if ``typical`` is 0.
    """
    n_queries = queries.shape[0]
    out[:] = np.float32(1.0)
    if not typical > np.float32(0.0):
        return
    nearest = np.zeros(n_queries, np.float32)
    if factor > np.float32(1.0):
        ones = np.ones(n_queries, np.float32)
        _best(biases, np.zeros(biases.shape[0], np.float32), ones, nearest)
    for q in range(n_queries):
        square = product(queries[q], queries[q])
        if factor > np.float32(1.0):
            away = np.sqrt(max(square - nearest[q], np.float32(0.0))) / typical
            span = max(away, np.sqrt((away * away + np.float32(1.0)) * np.float32(0.5)))
            if radius > np.float32(0.0):
                span = max(span, np.sqrt(square) / (radius + radius))
        else:
            shared = product(queries[q], common)
            span = np.sqrt(max(square - shared * shared, np.float32(0.0))) / typical
        inverse = np.float32(1.0) / span if span > np.float32(0.0) else np.float32(1.0)
        if inverse > np.float32(0.0) and inverse < np.float32(np.inf):
            out[q] = inverse


@njit(types.void(floats_2, floats_1, floats_1, out_floats_1, out_floats_2), nogil=True, cache=True)
def gaps(biases, bonuses, inverses, best, out):  # type: ignore[no-untyped-def]
    """Write how far each priority, bias and bonus, is below the query's best to ``out[p, q]``, in
    units of its span, and the best ones to ``best[q]``.

    Where numbers overflow that may be no number: infinity then, or the rows would never be found.
    """
    partitions, n_queries = biases.shape
    _best(biases, bonuses, inverses, best)
    if n_queries == 1:
        line, gap = flat(biases), flat(out)
        for c in range(partitions):
            x = best[0] - (line[c] * inverses[0] + bonuses[c])
            gap[c] = x if x == x else np.float32(np.inf)
        return
    for c in range(partitions):
        for q in range(n_queries):
            x = best[q] - (biases[c, q] * inverses[q] + bonuses[c])
            out[c, q] = x if x == x else np.float32(np.inf)


@njit(types.void(floats_2, floats_1, out_floats_1), nogil=True, cache=True)
def beyond(gaps, reached, out):  # type: ignore[no-untyped-def]
    """Write the least gap of each query that is more than ``reached: float32[q]``, infinity if
    there is none, to ``out: float32[q]``."""
    partitions, n_queries = gaps.shape
    out[:] = np.inf
    if n_queries == 1:  # in lanes, as in `_best`
        line = flat(gaps)
        lanes = np.full(16, np.inf, np.float32)
        whole = partitions & ~15
        for c in range(0, whole, 16):
            for lane in range(16):
                x = line[c + lane] if line[c + lane] > reached[0] else np.float32(np.inf)
                lanes[lane] = x if x < lanes[lane] else lanes[lane]
        for lane in range(16):
            out[0] = min(out[0], lanes[lane])
        for c in range(whole, partitions):
            out[0] = min(out[0], line[c] if line[c] > reached[0] else np.float32(np.inf))
        return
    for c in range(partitions):
        for q in range(n_queries):
            x = gaps[c, q]
            out[q] = x if x > reached[q] and x < out[q] else out[q]
