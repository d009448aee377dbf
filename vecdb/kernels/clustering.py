"""k-means for product codes: nearest centroids, Lloyd iterations, look-up tables.

A codebook is ``float32[d, 256]``: row ``j`` holds coordinate ``j`` of the 256 centroids of the
chunk that dimension ``j`` belongs to. Lying centroid by centroid, a distance to all 256 is a
plain loop over 256 neighbours in memory, which vectorizes whatever the width of the chunk.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.core import types

from vecdb.kernels.signatures import (
    DOT,
    EUCLID,
    REASSOCIATE,
    floats_1,
    floats_2,
    i64,
    out_bytes_1,
    out_bytes_2,
    out_floats_1,
    out_floats_2,
    out_int32s_1,
)

__all__ = ["CENTROIDS", "encode_product", "fit_chunk", "product_tables"]

CENTROIDS = 256

_ROWS_AT_ONCE = 64


@njit(
    i64(floats_2, i64, i64, i64, floats_2, i64, out_floats_1, out_int32s_1),
    nogil=True,
    cache=True,
    fastmath=REASSOCIATE,
)
def _nearest(vectors, row, start, width, codebook, first, distances, bits):  # type: ignore[no-untyped-def]
    """The centroid nearest to ``vectors[row, start : start + width]``; among equals the first.

    The chunk's centroids are the rows ``first ..`` of ``codebook``. Leaves all 256 squared
    distances in ``distances``; ``bits`` is the same memory as int32.
    """
    for c in range(CENTROIDS):
        distances[c] = np.float32(0.0)
    j = 0
    # Four dimensions in one pass: the sums stay in registers for four steps, not one.
    while j + 4 <= width:
        x0 = vectors[row, start + j]
        x1 = vectors[row, start + j + 1]
        x2 = vectors[row, start + j + 2]
        x3 = vectors[row, start + j + 3]
        for c in range(CENTROIDS):
            d0 = x0 - codebook[first + j, c]
            d1 = x1 - codebook[first + j + 1, c]
            d2 = x2 - codebook[first + j + 2, c]
            d3 = x3 - codebook[first + j + 3, c]
            distances[c] += d0 * d0 + d1 * d1 + d2 * d2 + d3 * d3
        j += 4
    while j < width:
        x0 = vectors[row, start + j]
        for c in range(CENTROIDS):
            d0 = x0 - codebook[first + j, c]
            distances[c] += d0 * d0
        j += 1
    # Floats that are not negative are ordered as their bits are, and a minimum of integers
    # vectorizes where one of floats does not (four times the speed of the whole). The position
    # takes a pass of its own for the same reason.
    least = bits[0]
    for c in range(CENTROIDS):
        if bits[c] < least:
            least = bits[c]
    nearest = np.int32(CENTROIDS - 1)
    for c in range(CENTROIDS):
        here = np.int32(c) if bits[c] == least else np.int32(CENTROIDS - 1)
        nearest = min(here, nearest)
    return np.int64(nearest)


@njit(types.void(floats_2, floats_2, i64, out_bytes_2), nogil=True, cache=True)
def encode_product(vectors, codebook, width, out):  # type: ignore[no-untyped-def]
    """Write the nearest centroid of each chunk of ``vectors: float32[n, d]`` to ``out[n, chunks]``.

    ``codebook: float32[d, 256]``; chunks are ``width`` dimensions wide, the last may be narrower.
    """
    n, dim = vectors.shape
    distances = np.empty(CENTROIDS, np.float32)
    bits = distances.view(np.int32)
    # Blocks of rows, so that a chunk's centroids are fetched once a block and not once a row.
    for block in range(0, n, _ROWS_AT_ONCE):
        end = min(block + _ROWS_AT_ONCE, n)
        for chunk in range(out.shape[1]):
            start = chunk * width
            this_width = min(width, dim - start)
            for i in range(block, end):
                out[i, chunk] = _nearest(
                    vectors, i, start, this_width, codebook, start, distances, bits
                )


@njit(
    i64(floats_2, out_floats_2, i64, i64, types.float64, out_bytes_1, out_floats_1),
    nogil=True,
    cache=True,
)
def fit_chunk(points, centroids, k, iterations, tolerance, labels, errors):  # type: ignore[no-untyped-def]
    """Lloyd's k-means of ``points: float32[m, w]``, in place in ``centroids: float32[w, 256]``.

    Only the first ``k`` centroids move; the others must be copies of one of them (they are never
    chosen: among equals the first wins). A centroid that loses all its points moves to the point
    that is worst served. Stops after ``iterations``, or when an iteration lowers the total error
    by less than the share ``tolerance``. ``labels: uint8[m]`` and ``errors: float32[m]`` are
    scratch space. Returns the number of iterations.
    """
    m, width = points.shape
    distances = np.empty(CENTROIDS, np.float32)
    bits = distances.view(np.int32)
    sums = np.empty((CENTROIDS, width), np.float64)
    counts = np.empty(CENTROIDS, np.int64)
    before = 0.0
    for iteration in range(iterations):
        sums[:] = 0.0
        counts[:] = 0
        total = 0.0
        for i in range(m):
            label = _nearest(points, i, 0, width, centroids, 0, distances, bits)
            labels[i] = label
            errors[i] = distances[label]
            total += errors[i]
            counts[label] += 1
            for j in range(width):
                sums[label, j] += points[i, j]
        moved = 0
        for c in range(k):
            if counts[c] > 0:
                for j in range(width):
                    centroids[j, c] = sums[c, j] / counts[c]
            else:
                farthest = np.argmax(errors)
                if errors[farthest] > 0.0:
                    errors[farthest] = 0.0
                    moved += 1
                    for j in range(width):
                        centroids[j, c] = points[farthest, j]
        for c in range(k, CENTROIDS):
            for j in range(width):
                centroids[j, c] = centroids[j, 0]
        if total == 0.0 or (moved == 0 and iteration > 0 and before - total <= tolerance * before):
            return iteration + 1
        before = total
    return iterations


@njit(types.void(i64, floats_2, floats_1, i64, out_floats_2), nogil=True, cache=True)
def product_tables(metric, codebook, query, width, out):  # type: ignore[no-untyped-def]
    """Write what each centroid adds to the score of ``query`` to ``out: float32[chunks, 256]``.

    ``codebook: float32[d, 256]``, ``query: float32[d]``, ``metric`` of `signatures.METRIC_CODES`.
    """
    out[:] = np.float32(0.0)
    for j in range(query.shape[0]):
        chunk = j // width
        x = query[j]
        if metric == DOT:
            for c in range(CENTROIDS):
                out[chunk, c] += x * codebook[j, c]
        elif metric == EUCLID:
            for c in range(CENTROIDS):
                difference = x - codebook[j, c]
                out[chunk, c] -= difference * difference
        else:
            for c in range(CENTROIDS):
                out[chunk, c] -= abs(x - codebook[j, c])
