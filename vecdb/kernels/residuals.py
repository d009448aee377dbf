"""Loops that turn rows into residuals and these into product codes, for an index being built.

A codebook is ``float32[m * width, 16]``: line ``j`` holds coordinate ``j`` of the 16 entries of the
place that dimension ``j`` belongs to, ``width`` dimensions a place.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numba.core import types

from vecdb.kernels.signatures import (
    bytes_2,
    floats_1,
    floats_2,
    i64,
    out_bytes_2,
    out_floats_1,
    out_floats_2,
)

__all__ = ["encode_residuals", "fit_codebook", "residuals"]

ENTRIES: Final = 16

int32s_1: Final[Any] = types.Array(types.int32, 1, "C", readonly=True)


@njit(
    types.void(floats_2, int32s_1, bytes_2, floats_1, floats_1, out_floats_2),
    nogil=True,
    cache=True,
)
def residuals(vectors, labels, centroids, low, scale, out):  # type: ignore[no-untyped-def]
    """Write ``vectors[i]`` less the centroid of ``labels[i]`` to ``out``."""
    for i in range(vectors.shape[0]):
        c = labels[i]
        for j in range(vectors.shape[1]):
            out[i, j] = vectors[i, j] - (low[j] + scale[j] * np.float32(centroids[c, j]))


@njit(i64(floats_2, i64, i64, i64, floats_2, out_floats_1), nogil=True, cache=True)
def _nearest(points, row, first, wide, codebook, distances):  # type: ignore[no-untyped-def]
    """The nearest entry of one place; among equals the first."""
    for c in range(ENTRIES):
        distances[c] = np.float32(0.0)
    for j in range(first, first + wide):
        x = points[row, j]
        for c in range(ENTRIES):
            difference = x - codebook[j, c]
            distances[c] += difference * difference
    nearest = 0
    least = distances[0]
    for c in range(1, ENTRIES):
        closer = distances[c] < least
        nearest = c if closer else nearest
        least = distances[c] if closer else least
    return nearest


@njit(types.void(floats_2, i64, i64, out_floats_2), nogil=True, cache=True)
def fit_codebook(points, width, iterations, codebook):  # type: ignore[no-untyped-def]
    """Lloyd's k-means of each place, in place in ``codebook: float32[m * width, 16]``.

    ``points: float32[s, d]``, d at most ``m * width``; what lies beyond d stays zero. An entry
    that nothing is nearest to keeps its value.
    """
    count, dim = points.shape
    sums = np.empty((width, ENTRIES), np.float64)
    sizes = np.empty(ENTRIES, np.int64)
    distances = np.empty(ENTRIES, np.float32)
    for first in range(0, codebook.shape[0], width):
        wide = min(width, dim - first)
        for _ in range(iterations):
            sums[:] = 0.0
            sizes[:] = 0
            for i in range(count):
                nearest = _nearest(points, i, first, wide, codebook, distances)
                sizes[nearest] += 1
                for j in range(wide):
                    sums[j, nearest] += points[i, first + j]
            for c in range(ENTRIES):
                if sizes[c]:
                    for j in range(wide):
                        codebook[first + j, c] = sums[j, c] / sizes[c]


@njit(
    types.void(floats_2, floats_2, i64, out_bytes_2, out_floats_1, out_floats_1),
    nogil=True,
    cache=True,
)
def encode_residuals(points, codebook, width, codes, squares, products):  # type: ignore[no-untyped-def]
    """Write the nearest entries of ``points: float32[n, d]`` to ``codes: uint8[n, m]``.

    And of each row its squared length and its inner product with what its codes stand for.
    """
    dim = points.shape[1]
    distances = np.empty(ENTRIES, np.float32)
    for i in range(points.shape[0]):
        square = np.float32(0.0)
        product = np.float32(0.0)
        for place in range(codes.shape[1]):
            first = place * width
            wide = min(width, dim - first)
            nearest = _nearest(points, i, first, wide, codebook, distances)
            codes[i, place] = nearest
            for j in range(first, first + wide):
                square += points[i, j] * points[i, j]
                product += points[i, j] * codebook[j, nearest]
        squares[i] = square
        products[i] = product
