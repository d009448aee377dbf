"""Codes of a few bits a dimension: each value of a row becomes one of 2, 4 or 16 levels.

32 rows at a time, turned so that the same dimension of all rows is contiguous: every step, the
rotation included, then works on 32 numbers at once. The layout of blocks is that of `fastscan`.
"""

from __future__ import annotations

import numpy as np

from vecdb.kernels.blocks import nearest_of_block
from vecdb.kernels.compiling import njit, types
from vecdb.kernels.rotation import rotate_lanes
from vecdb.kernels.shuffle import BLOCK_ROWS
from vecdb.kernels.signatures import (
    DOT,
    EUCLID,
    f32,
    floats_1,
    floats_2,
    i64,
    out_bytes_2,
    out_floats_2,
)
from vecdb.kernels.views import floats_of

__all__ = ["encode_rotated", "encode_two_values", "tables_of_levels"]

_LARGEST = float(np.finfo(np.float32).max)


@njit(types.void(floats_2, f32, i64, i64, out_bytes_2), nogil=True, cache=True)
def encode_two_values(vectors, middle, bits, width, out):  # type: ignore[no-untyped-def]
    """Write the blocks of ``vectors: float32[n, d]``: whether a value is above ``middle``.

    If a dimension has several bits, all of them are set or none. ``width`` dimensions of ``bits``
    bits share a code, the first in the lowest bits. The columns are those that change no score.
    """
    n, dim = vectors.shape
    out[:] = 0
    for row in range(n):
        at = row & 15
        shift = (row & 16) >> 2
        for j in range(dim):
            if vectors[row, j] > middle:
                sub = j // width
                code = ((1 << bits) - 1) << (bits * (j - sub * width))
                out[row >> 5, 16 * sub + at] |= code << shift
        columns = floats_of(out[row >> 5, out.shape[1] - 8 * BLOCK_ROWS :])
        columns[row & 31] = np.float32(1.0)


@njit(
    types.void(i64, floats_2, floats_1, floats_2, floats_2, i64, i64, out_bytes_2),
    nogil=True,
    cache=True,
)
def encode_rotated(metric, vectors, center, signs, levels, bits, width, out):  # type: ignore[no-untyped-def]
    """Write the blocks of ``vectors: float32[n, d]``; ``bits`` and ``width`` as above.

    ``center: float32[d]`` is taken off, ``signs: float32[rounds, D]`` rotate what is left, `D` a
    multiple of ``width`` and not less than `d`; ``levels: float32[1, 2 ** bits]`` are the levels of
    a row whose values have a mean square of 1. The columns are the factors that
    `vecdb.quantization.binary` explains.
    """
    n, dim = vectors.shape
    wide = signs.shape[1]
    lanes = np.empty((wide, BLOCK_ROWS), np.float32)
    squares = np.empty(BLOCK_ROWS, np.float64)
    inner = np.empty(BLOCK_ROWS, np.float64)
    along = np.empty(BLOCK_ROWS, np.float64)
    scale = np.empty(BLOCK_ROWS, np.float32)
    errors = np.empty(BLOCK_ROWS, np.float32)
    labels = np.empty(BLOCK_ROWS, np.int32)
    codes = np.empty(BLOCK_ROWS, np.int32)
    out[:] = 0
    for block in range(out.shape[0]):
        first = block * BLOCK_ROWS
        count = min(n - first, BLOCK_ROWS)
        lanes[:] = np.float32(0.0)
        for i in range(count):
            for j in range(dim):
                lanes[j, i] = vectors[first + i, j] - center[j]
        squares[:] = 0.0
        along[:] = 0.0
        for j in range(dim):
            for i in range(BLOCK_ROWS):
                value = np.float64(lanes[j, i])
                squares[i] += value * value
                along[i] += value * center[j]
        rotate_lanes(lanes, signs)
        for i in range(BLOCK_ROWS):
            scale[i] = (wide / squares[i]) ** 0.5 if squares[i] > 0.0 else 0.0
        inner[:] = 0.0
        for sub in range(wide // width):
            codes[:] = 0
            for turn in range(width):
                j = sub * width + turn
                for i in range(BLOCK_ROWS):
                    lanes[j, i] *= scale[i]
                nearest_of_block(lanes, j, 1, levels, 0, levels.shape[1], errors, labels)
                for i in range(BLOCK_ROWS):
                    codes[i] |= labels[i] << (bits * turn)
                    inner[i] += lanes[j, i] * levels[0, np.uint64(labels[i])]
            for i in range(count, BLOCK_ROWS):
                codes[i] = 0
            for i in range(16):
                out[block, 16 * sub + i] = codes[i] | codes[16 + i] << 4
        columns = floats_of(out[block, out.shape[1] - 8 * BLOCK_ROWS :])
        for i in range(count):
            # The squared length of the scaled row is ``wide``.
            factor = wide / inner[i] / scale[i] if scale[i] > 0.0 else 0.0
            if metric == DOT:
                columns[i] = factor
                columns[BLOCK_ROWS + i] = min(max(along[i], -_LARGEST), _LARGEST)
            else:
                columns[i] = 2.0 * factor
                columns[BLOCK_ROWS + i] = -min(squares[i], _LARGEST)


@njit(types.void(i64, floats_2, floats_1, i64, i64, out_floats_2), nogil=True, cache=True)
def tables_of_levels(metric, codebook, query, width, stride, out):  # type: ignore[no-untyped-def]
    """Write what each code adds to the score of ``query: float32[d]`` to ``out: float32[m, 16]``.

    Sub-quantizer ``p`` has the dimensions from ``p * width`` on, ``width`` of them or what is left.
    What code ``c`` stands for in the ``i``-th of them is ``codebook[p * stride + i, c]``: with
    ``stride`` 0, all sub-quantizers share their levels.
    """
    dim = query.shape[0]
    for sub in range(out.shape[0]):
        for c in range(16):
            out[sub, c] = np.float32(0.0)
        for i in range(min(width, dim - sub * width)):
            x = query[sub * width + i]
            row = sub * stride + i
            if metric == DOT:
                for c in range(16):
                    out[sub, c] += x * codebook[row, c]
            elif metric == EUCLID:
                for c in range(16):
                    difference = x - codebook[row, c]
                    out[sub, c] -= difference * difference
            else:
                for c in range(16):
                    out[sub, c] -= abs(x - codebook[row, c])
