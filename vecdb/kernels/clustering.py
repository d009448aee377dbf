"""k-means: sums of rows by label, and the 16 centroids of each chunk of product codes.

A codebook is ``float32[d, 16]``: row ``j`` holds coordinate ``j`` of the 16 centroids of the chunk
that dimension ``j`` belongs to. Lloyd iterations fit it; the nearest centroids become blocks of
codes. Points are taken 32 at a time, turned so that one coordinate of all is contiguous: their
distances to one centroid are then plain loops over 32 neighbours in memory. Among centroids
equally near, the first is the nearest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from vecdb.kernels.blocks import nearest_of_block
from vecdb.kernels.compiling import njit, types
from vecdb.kernels.shuffle import BLOCK_ROWS
from vecdb.kernels.signatures import Floats, floats_2, i64, out_bytes_2, out_floats_2

__all__ = ["CENTROIDS", "add_up", "chunks_of", "encode_product", "fit_chunk"]

CENTROIDS: Final = 16

int32s_1: Final[Any] = types.Array(types.int32, 1, "C", readonly=True)


@njit(types.void(floats_2, int32s_1, out_floats_2), nogil=True, cache=True)
def add_up(rows, labels, sums):  # type: ignore[no-untyped-def]
    """Add ``rows: float32[n, d]`` to the lines of ``sums: float32[p, d]`` that their labels say."""
    for i in range(rows.shape[0]):
        label = labels[i]
        for j in range(rows.shape[1]):
            sums[label, j] += rows[i, j]


@njit(types.void(floats_2, floats_2, i64, out_bytes_2), nogil=True, cache=True)
def encode_product(vectors, codebook, width, out):  # type: ignore[no-untyped-def]
    """Write the blocks of ``vectors: float32[n, d]``: the nearest centroid of each chunk.

    ``codebook: float32[d or more, 16]``; chunks are ``width`` dimensions wide, the last may be
    narrower. What ``out`` has beside codes becomes zero.
    """
    n, dim = vectors.shape
    lanes = np.zeros((dim, BLOCK_ROWS), np.float32)
    errors = np.empty(BLOCK_ROWS, np.float32)
    labels = np.empty(BLOCK_ROWS, np.int32)
    out[:] = 0
    for block in range(out.shape[0]):
        first = block * BLOCK_ROWS
        count = min(n - first, BLOCK_ROWS)
        for i in range(count):
            for j in range(dim):
                lanes[j, i] = vectors[first + i, j]
        for chunk in range((dim + width - 1) // width):
            start = chunk * width
            wide = min(width, dim - start)
            nearest_of_block(lanes, start, wide, codebook, start, CENTROIDS, errors, labels)
            labels[count:] = 0
            for i in range(16):
                out[block, 16 * chunk + i] = labels[i] | labels[16 + i] << 4


def chunks_of(points: Floats, width: int) -> Iterator[tuple[slice, Floats]]:
    """The dimensions of each chunk of ``points: float32[m, d]``, and the points as `fit_chunk`
    takes them."""
    m, dim = points.shape
    padded = np.zeros((-(-m // BLOCK_ROWS) * BLOCK_ROWS, dim), np.float32)
    padded[:m] = points
    for start in range(0, dim, width):
        chunk = slice(start, min(start + width, dim))
        lanes = padded[:, chunk].reshape(-1, BLOCK_ROWS, chunk.stop - start).transpose(0, 2, 1)
        yield chunk, np.ascontiguousarray(lanes).reshape(-1, BLOCK_ROWS)


@njit(i64(floats_2, i64, out_floats_2, i64, i64, types.float64), nogil=True, cache=True)
def fit_chunk(points, m, centroids, k, iterations, tolerance):  # type: ignore[no-untyped-def]
    """Lloyd's k-means of ``m`` points, in place in ``centroids: float32[width, 16]``.

    ``points: float32[width * ceil(m / 32), 32]``: all coordinates of 32 points, then those of the
    next. Only the first ``k`` centroids move; the others must be copies of one of them (they are
    never chosen: among equals the first wins). A centroid that loses all its points moves to the
    point that is worst served. Stops after ``iterations``, or when an iteration lowers the total
    error by less than the share ``tolerance``. Returns the number of iterations.
    """
    width = centroids.shape[0]
    errors = np.empty(BLOCK_ROWS, np.float32)
    labels = np.empty(BLOCK_ROWS, np.int32)
    served = np.empty(m, np.float32)
    sums = np.empty((CENTROIDS, width), np.float64)
    counts = np.empty(CENTROIDS, np.int64)
    before = 0.0
    for iteration in range(iterations):
        sums[:] = 0.0
        counts[:] = 0
        total = 0.0
        for first in range(0, m, BLOCK_ROWS):
            start = first // BLOCK_ROWS * width
            nearest_of_block(points, start, width, centroids, 0, CENTROIDS, errors, labels)
            for i in range(min(m - first, BLOCK_ROWS)):
                label = labels[i]
                total += errors[i]
                served[first + i] = errors[i]
                counts[label] += 1
                for j in range(width):
                    sums[label, j] += points[start + j, i]
        moved = 0
        for c in range(k):
            if counts[c] > 0:
                for j in range(width):
                    centroids[j, c] = sums[c, j] / counts[c]
            else:
                farthest = np.argmax(served)
                if served[farthest] > 0.0:
                    served[farthest] = 0.0
                    moved += 1
                    start = farthest // BLOCK_ROWS * width
                    for j in range(width):
                        centroids[j, c] = points[start + j, farthest % BLOCK_ROWS]
        for c in range(k, CENTROIDS):
            for j in range(width):
                centroids[j, c] = centroids[j, 0]
        if total == 0.0 or (moved == 0 and iteration > 0 and before - total <= tolerance * before):
            return iteration + 1
        before = total
    return iterations
