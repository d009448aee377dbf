"""Scores of scalar codes, one byte a dimension, and scores of rows by codes of any kind.

Codes of four bits have `fastscan`.

A byte c stands for ``lower[j] + step[j] * c``. Converting it to float32 costs two instructions per
register, which the memory bus hides: the query needs no quantization of its own, there is no
integer overflow to plan for, and distances near zero are exact differences.
"""

from __future__ import annotations

import numpy as np

from vecdb.kernels.compiling import njit, types
from vecdb.kernels.fastscan import score_rows
from vecdb.kernels.prefetch import prefetch_row, rows_ahead
from vecdb.kernels.signatures import (
    DOT,
    EUCLID,
    REASSOCIATE,
    bytes_1,
    bytes_2,
    f32,
    floats_1,
    floats_2,
    i64,
    ints_1,
    out_bytes_2,
    out_floats_1,
    out_ints_1,
)
from vecdb.kernels.topk import BLOCK, offer_rows, select_rows

__all__ = ["encode_scalar", "scan_scalar", "score_codes", "score_scalar_rows"]

_SCALAR_ROW = f32(bytes_2, types.uint64, floats_1, floats_1)


@njit(_SCALAR_ROW, nogil=True, cache=True, fastmath=REASSOCIATE)
def _scalar_dot(codes, row, point, step):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for j in range(point.shape[0]):
        total += np.float32(codes[row, j]) * step[j]
    return total


@njit(_SCALAR_ROW, nogil=True, cache=True, fastmath=REASSOCIATE)
def _scalar_euclid(codes, row, point, step):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for j in range(point.shape[0]):
        difference = point[j] - step[j] * np.float32(codes[row, j])
        total += difference * difference
    return -total


@njit(_SCALAR_ROW, nogil=True, cache=True, fastmath=REASSOCIATE)
def _scalar_manhattan(codes, row, point, step):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for j in range(point.shape[0]):
        total += abs(point[j] - step[j] * np.float32(codes[row, j]))
    return -total


@njit(
    types.void(i64, bytes_2, floats_1, floats_1, f32, ints_1, i64, out_floats_1),
    nogil=True,
    cache=True,
)
def _score_rows(metric, codes, point, step, constant, row_numbers, ahead, out):  # type: ignore[no-untyped-def]
    """Score rows, of which others are asked for so many before they are needed; 0: none is."""
    m = row_numbers.shape[0]
    for i in range(min(ahead, m)):
        prefetch_row(codes, row_numbers[i])
    if metric == DOT:
        for i in range(m):
            if ahead:
                prefetch_row(codes, row_numbers[min(i + ahead, m - 1)])
            out[i] = constant + _scalar_dot(codes, np.uint64(row_numbers[i]), point, step)
    elif metric == EUCLID:
        for i in range(m):
            if ahead:
                prefetch_row(codes, row_numbers[min(i + ahead, m - 1)])
            out[i] = _scalar_euclid(codes, np.uint64(row_numbers[i]), point, step)
    else:
        for i in range(m):
            if ahead:
                prefetch_row(codes, row_numbers[min(i + ahead, m - 1)])
            out[i] = _scalar_manhattan(codes, np.uint64(row_numbers[i]), point, step)


@njit(
    types.void(i64, bytes_2, floats_1, floats_1, f32, ints_1, out_floats_1),
    nogil=True,
    cache=True,
)
def score_scalar_rows(metric, codes, point, step, constant, row_numbers, out):  # type: ignore[no-untyped-def]
    """Write the scores of the rows ``row_numbers: int64[m]`` to ``out: float32[m]``.

    ``codes: uint8[n, d]``. For "dot", ``step[j]`` is query times step and ``constant`` is added;
    else ``point`` is query minus lower bounds and ``step`` the plain steps.
    """
    ahead = rows_ahead(point.shape[0], 1)
    _score_rows(metric, codes, point, step, constant, row_numbers, ahead, out)


@njit(
    i64(i64, bytes_2, floats_1, floats_1, f32, bytes_1, i64, out_floats_1, out_ints_1, i64),
    nogil=True,
    cache=True,
)
def scan_scalar(metric, codes, point, step, constant, mask, base, scores, rows, filled):  # type: ignore[no-untyped-def]
    """Offer every allowed row to the running top-k; arguments as in `score_scalar_rows`."""
    n, dim = codes.shape
    chosen = np.empty(BLOCK, np.int64)
    block_scores = np.empty(BLOCK, np.float32)
    ahead = rows_ahead(dim, mask.shape[0])
    row = 0
    while row < n:
        count, row = select_rows(mask, row, n, chosen)
        _score_rows(metric, codes, point, step, constant, chosen[:count], ahead, block_scores)
        filled = offer_rows(block_scores, chosen, count, base, scores, rows, filled)
    return filled


@njit(
    types.void(bytes_2, bytes_2, floats_1, i64, floats_1, floats_1, ints_1, out_floats_1),
    nogil=True,
    cache=True,
)
def score_codes(codes, tables, numbers, metric, point, step, row_numbers, out):  # type: ignore[no-untyped-def]
    """Write the scores of the rows ``row_numbers: int64[m]`` to ``out: float32[m]``, by codes of
    whatever kind.

    Codes in blocks: ``tables: uint8[1, 64 * quads]`` of `fastscan`; ``numbers`` are step, offset
    and bias, then ``root`` and ``scale`` of `quantization.blocks`. Scalar codes: tables are
    ``uint8[1, 0]``, and the one number is the constant of `score_scalar_rows`.
    """
    if tables.shape[1] == 0:
        score_scalar_rows(metric, codes, point, step, numbers[0], row_numbers, out)
        return
    score_rows(codes, tables, numbers[0], numbers[1], numbers[2], row_numbers, out)
    root = numbers[3]
    scale = numbers[4]
    if root != np.float32(0.0):
        for i in range(out.shape[0]):
            out[i] = np.sqrt(max(-out[i], np.float32(0.0))) * -root
    if scale != np.float32(1.0):
        for i in range(out.shape[0]):
            out[i] *= scale


@njit(types.void(floats_2, floats_1, floats_1, out_bytes_2), nogil=True, cache=True)
def encode_scalar(vectors, lower, inverse, out):  # type: ignore[no-untyped-def]
    """Round ``(vectors - lower) * inverse`` to the nearest of 0 .. 255 (``inverse`` = 1 / step)."""
    for i in range(vectors.shape[0]):
        for j in range(vectors.shape[1]):
            level = (vectors[i, j] - lower[j]) * inverse[j] + np.float32(0.5)
            # In this order NaN (inf * 0, where a difference overflows) ends as 0.
            if not level > np.float32(0.0):
                level = np.float32(0.0)
            if level > np.float32(255.0):
                level = np.float32(255.0)
            out[i, j] = np.uint8(np.int32(level))
