"""Loops around the product codes of residuals, for an index being built."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from vecdb.kernels.compiling import njit, types
from vecdb.kernels.shuffle import BLOCK_ROWS
from vecdb.kernels.signatures import (
    REASSOCIATE,
    bytes_2,
    f32,
    floats_1,
    floats_2,
    i64,
    out_floats_1,
    out_floats_2,
)

__all__ = ["products_with_codes", "residuals"]

int32s_1: Final[Any] = types.Array(types.int32, 1, "C", readonly=True)


@njit(
    types.void(
        *(floats_2, int32s_1, bytes_2, floats_1, floats_1, floats_1, floats_1),
        *(f32, f32, out_floats_2, out_floats_1, out_floats_1),
    ),
    nogil=True,
    cache=True,
    fastmath=REASSOCIATE,
)
def residuals(  # type: ignore[no-untyped-def]
    vectors,
    labels,
    centroids,
    low,
    scale,
    stretch,
    middle,
    least,
    most,
    out,
    squares,
    lengths,
):
    """Write ``vectors[i] - middle`` less the centroid of ``labels[i]`` to ``out: float32[n, d]``.

    How long that is goes to ``lengths: float32[n]``; what is shorter than ``least`` or longer than
    ``most`` is written at that length. ``squares: float32[n]``: of ``vectors[i] - middle``.
    """
    dim = vectors.shape[1]
    for i in range(vectors.shape[0]):
        c = labels[i]
        square = np.float32(0.0)
        length = np.float32(0.0)
        for j in range(dim):
            x = vectors[i, j] - middle[j]
            r = x - stretch[c] * (low[j] + scale[j] * np.float32(centroids[c, j]))
            out[i, j] = r
            square += x * x
            length += r * r
        length = np.sqrt(length)
        squares[i] = square
        lengths[i] = length
        if length > np.float32(0.0) and (length < least or length > most):
            share = min(max(length, least), most) / length
            for j in range(dim):
                out[i, j] *= share


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
        for chunk in range((dim + width - 1) // width):
            code = blocks[block, 16 * chunk + at] >> shift & 15
            for j in range(chunk * width, min(chunk * width + width, dim)):
                product += points[i, j] * codebook[j, code]
        products[i] = product
