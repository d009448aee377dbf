"""Loops around the product codes of residuals, for an index being built."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba.core import types

from vecdb.kernels.compiling import njit
from vecdb.kernels.shuffle import BLOCK_ROWS
from vecdb.kernels.signatures import (
    bytes_2,
    floats_1,
    floats_2,
    i64,
    out_floats_1,
    out_floats_2,
)

__all__ = ["products_with_codes", "residuals"]

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


@njit(types.void(floats_2, floats_2, i64, bytes_2, out_floats_1), nogil=True, cache=True)
def products_with_codes(points, codebook, width, blocks, products):  # type: ignore[no-untyped-def]
    """Write the inner product of each of ``points: float32[n, d]`` with what its codes stand for.

    ``codebook: float32[d or more, 16]``, chunks of ``width`` dimensions as in
    `vecdb.kernels.clustering`, whose `encode_product` has written the codes to ``blocks``.
    """
    dim = points.shape[1]
    for i in range(points.shape[0]):
        block = i // BLOCK_ROWS
        at = i & 15
        shift = (i & 16) >> 2
        product = np.float32(0.0)
        for place in range((dim + width - 1) // width):
            code = blocks[block, 16 * place + at] >> shift & 15
            for j in range(place * width, min(place * width + width, dim)):
                product += points[i, j] * codebook[j, code]
        products[i] = product
