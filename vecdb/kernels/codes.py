"""Scores of quantized rows: scalar bytes, sign bits and product codes.

Each kind has a ``scan_*`` with the running top-k of `topk` and a function that scores the rows it
is given; both use the same loop over one row. What the query contributes is worked out once, by
`vecdb.quantization`: weights, sign words or look-up tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.core import types
from numba.extending import intrinsic

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
    words_1,
    words_2,
)
from vecdb.kernels.topk import (
    BLOCK,
    offer_rows,
    select_rows,
    topk_push,
    worst_score,
)

__all__ = [
    "encode_scalar",
    "hamming_rows",
    "scan_hamming",
    "scan_scalar",
    "scan_tables",
    "score_scalar_rows",
    "score_tables_rows",
]

# --- scalar: one byte a dimension -----------------------------------------------------------------
#
# A byte c stands for lower[j] + step[j] * c. Converting it to float32 costs two instructions per
# register, which the memory bus hides: the query needs no quantization of its own, there is no
# integer overflow to plan for, and distances near zero are exact differences.

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
    types.void(i64, bytes_2, floats_1, floats_1, f32, ints_1, out_floats_1),
    nogil=True,
    cache=True,
)
def score_scalar_rows(metric, codes, point, step, constant, row_numbers, out):  # type: ignore[no-untyped-def]
    """Write the scores of the rows ``row_numbers: int64[m]`` to ``out: float32[m]``.

    ``codes: uint8[n, d]``. For "dot", ``step[j]`` is query times step and ``constant`` is added;
    else ``point`` is query minus lower bounds and ``step`` the plain steps.
    """
    m = row_numbers.shape[0]
    if metric == DOT:
        for i in range(m):
            out[i] = constant + _scalar_dot(codes, np.uint64(row_numbers[i]), point, step)
    elif metric == EUCLID:
        for i in range(m):
            out[i] = _scalar_euclid(codes, np.uint64(row_numbers[i]), point, step)
    else:
        for i in range(m):
            out[i] = _scalar_manhattan(codes, np.uint64(row_numbers[i]), point, step)


@njit(
    i64(i64, bytes_2, floats_1, floats_1, f32, bytes_1, i64, out_floats_1, out_ints_1, i64),
    nogil=True,
    cache=True,
)
def scan_scalar(metric, codes, point, step, constant, mask, base, scores, rows, filled):  # type: ignore[no-untyped-def]
    """Offer every allowed row to the running top-k; arguments as in `score_scalar_rows`."""
    n = codes.shape[0]
    chosen = np.empty(BLOCK, np.int64)
    found = np.empty(BLOCK, np.float32)
    row = 0
    while row < n:
        count, row = select_rows(mask, row, n, chosen)
        score_scalar_rows(metric, codes, point, step, constant, chosen[:count], found)
        filled = offer_rows(found, chosen, count, base, scores, rows, filled)
    return filled


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


# --- binary: one bit a dimension, in words of 64 --------------------------------------------------


CROWDED = 3
"""Allowed rows of eight from which on all eight are compared: see `scan_hamming`."""


@intrinsic
def _count_ones(typing_context: Any, word: Any) -> Any:
    """LLVM's ``ctpop``: becomes POPCNT, VPOPCNTQ, or byte shuffles, as the processor allows."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return word(word), generate


@njit(i64(words_2, types.uint64, words_1), nogil=True, cache=True)
def _hamming(codes, row, query):  # type: ignore[no-untyped-def]
    total = np.int64(0)
    for j in range(query.shape[0]):
        total += np.int64(_count_ones(codes[row, j] ^ query[j]))  # type: ignore[call-arg]
    return total


@njit(types.void(words_2, words_1, ints_1, out_ints_1), nogil=True, cache=True)
def hamming_rows(codes, query, row_numbers, out):  # type: ignore[no-untyped-def]
    """Write how many bits of each given row differ from the query's to ``out: int64[m]``."""
    for i in range(row_numbers.shape[0]):
        out[i] = _hamming(codes, np.uint64(row_numbers[i]), query)


@njit(i64(floats_1, i64, f32), nogil=True, cache=True)
def _reach(table, limit, worst):  # type: ignore[no-untyped-def]
    """The largest distance up to ``limit`` that still scores ``worst``; -1 if none does."""
    while limit >= 0 and table[limit] < worst:
        limit -= 1
    return limit


@njit(
    i64(words_2, words_1, floats_1, bytes_1, i64, out_floats_1, out_ints_1, i64),
    nogil=True,
    cache=True,
)
def scan_hamming(codes, query, table, mask, base, scores, rows, filled):  # type: ignore[no-untyped-def]
    """Offer every allowed row, with the score its Hamming distance has in ``table``.

    ``codes: uint64[n, w]``, ``query: uint64[w]``; ``table: float32``, strictly falling, has an
    entry for every distance that can come up, 0 included. Rows are compared as integers; only
    those within reach of the heap are looked up.
    """
    n = codes.shape[0]
    limit = _reach(table, np.int64(table.shape[0] - 1), worst_score(scores, filled))
    if mask.shape[0] == 0:
        for row in range(n):
            distance = _hamming(codes, np.uint64(row), query)
            if distance <= limit:
                filled = topk_push(scores, rows, filled, table[distance], base + row)
                limit = _reach(table, limit, worst_score(scores, filled))
        return filled
    for start in range(0, n, 8):
        byte = mask[start >> 3]
        if byte == 0:
            continue
        # Comparing a row costs less than mispredicting whether its bit is set: among several
        # allowed rows the others are compared too, and refused afterwards.
        crowded = _count_ones(byte) >= CROWDED  # type: ignore[call-arg]
        for row in range(start, min(start + 8, n)):
            allowed = (byte >> (row - start)) & 1 != 0
            if crowded or allowed:
                distance = _hamming(codes, np.uint64(row), query)
                if distance <= limit and allowed:
                    filled = topk_push(scores, rows, filled, table[distance], base + row)
                    limit = _reach(table, limit, worst_score(scores, filled))
    return filled


# --- product: one byte a chunk of dimensions, scored by table look-up -----------------------------


@njit(f32(bytes_2, types.uint64, floats_1), nogil=True, cache=True, forceinline=True)
def _look_up(codes, row, tables):  # type: ignore[no-untyped-def]
    # Four sums hide the latency of additions. They are written out, and the order of additions is
    # not free, because LLVM would else use gather instructions, which are slower by a half. A call
    # a row (hence ``forceinline``) would cost as much as a dozen look-ups.
    chunks = codes.shape[1]
    whole = chunks & ~3
    a = np.float32(0.0)
    b = np.float32(0.0)
    c = np.float32(0.0)
    d = np.float32(0.0)
    at = np.uint64(0)
    for j in range(0, whole, 4):
        a += tables[at + codes[row, j]]
        b += tables[at + np.uint64(256) + codes[row, j + 1]]
        c += tables[at + np.uint64(512) + codes[row, j + 2]]
        d += tables[at + np.uint64(768) + codes[row, j + 3]]
        at += np.uint64(1024)
    for j in range(whole, chunks):
        a += tables[at + codes[row, j]]
        at += np.uint64(256)
    return (a + b) + (c + d)


@njit(types.void(bytes_2, floats_1, ints_1, out_floats_1), nogil=True, cache=True)
def score_tables_rows(codes, tables, row_numbers, out):  # type: ignore[no-untyped-def]
    """Write the scores of the given rows to ``out: float32[m]``.

    ``codes: uint8[n, chunks]``, ``tables: float32[chunks * 256]``: a score is the sum of
    ``tables[256 * j + code[j]]``.
    """
    for i in range(row_numbers.shape[0]):
        out[i] = _look_up(codes, np.uint64(row_numbers[i]), tables)


@njit(i64(bytes_2, floats_1, bytes_1, i64, out_floats_1, out_ints_1, i64), nogil=True, cache=True)
def scan_tables(codes, tables, mask, base, scores, rows, filled):  # type: ignore[no-untyped-def]
    """Offer every allowed row of product codes; arguments of `score_tables_rows`."""
    n = codes.shape[0]
    chosen = np.empty(BLOCK, np.int64)
    found = np.empty(BLOCK, np.float32)
    row = 0
    while row < n:
        count, row = select_rows(mask, row, n, chosen)
        score_tables_rows(codes, tables, chosen[:count], found)
        filled = offer_rows(found, chosen, count, base, scores, rows, filled)
    return filled
