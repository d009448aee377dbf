"""Exact scores of originals: scans with a running top-k, and scores of single rows.

The plain loop over one row, with sums free to be reordered, is what LLVM turns into the fastest
code: with rows asked for ahead, it reads at the speed of memory. Two things break that, both
measured: a branch on the metric inside the loop over rows (half the speed on short rows), and
several rows at once (fewer loads of the query, but slower with 32-byte registers).
"""

from __future__ import annotations

import numpy as np

from vecdb.kernels.compiling import njit, types
from vecdb.kernels.prefetch import prefetch_row, rows_ahead
from vecdb.kernels.signatures import (
    COSINE,
    DOT,
    EUCLID,
    MANHATTAN,
    REASSOCIATE,
    Bytes,
    Floats,
    Ints,
    bytes_1,
    f32,
    floats_1,
    i64,
    ints_1,
    originals_2,
    out_floats_1,
    out_ints_1,
)
from vecdb.kernels.topk import BLOCK, check_mask, offer_rows, select_rows
from vecdb.kernels.widening import widened

__all__ = [
    "scan",
    "scan_dot",
    "scan_euclid",
    "scan_manhattan",
    "score_rows",
    "score_rows_dot",
    "score_rows_euclid",
    "score_rows_manhattan",
]

# An unsigned row number spares the test for a negative index.
_ROW = [f32(rows, types.uint64, floats_1) for rows in originals_2]


@njit(_ROW, nogil=True, cache=True, fastmath=REASSOCIATE)
def _dot(vectors, row, query):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for j in range(query.shape[0]):
        total += widened(vectors[row, j]) * query[j]
    return total


@njit(_ROW, nogil=True, cache=True, fastmath=REASSOCIATE)
def _cosine(vectors, row, query):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    square = np.float32(0.0)
    for j in range(query.shape[0]):
        number = widened(vectors[row, j])
        total += number * query[j]
        square += number * number
    return total / np.sqrt(square) if square > np.float32(0.0) else np.float32(0.0)


@njit(_ROW, nogil=True, cache=True, fastmath=REASSOCIATE)
def _euclid(vectors, row, query):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for j in range(query.shape[0]):
        difference = widened(vectors[row, j]) - query[j]
        total += difference * difference
    return -total


@njit(_ROW, nogil=True, cache=True, fastmath=REASSOCIATE)
def _manhattan(vectors, row, query):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for j in range(query.shape[0]):
        total += abs(widened(vectors[row, j]) - query[j])
    return -total


@njit(
    [types.void(i64, rows, floats_1, ints_1, i64, out_floats_1) for rows in originals_2],
    nogil=True,
    cache=True,
)
def _score_rows(metric, vectors, query, row_numbers, ahead, out):  # type: ignore[no-untyped-def]
    """Score rows, of which others are asked for so many before they are needed; 0: none is."""
    m = row_numbers.shape[0]
    for i in range(min(ahead, m)):
        prefetch_row(vectors, row_numbers[i])
    if metric == DOT:
        for i in range(m):
            if ahead:
                prefetch_row(vectors, row_numbers[min(i + ahead, m - 1)])
            out[i] = _dot(vectors, np.uint64(row_numbers[i]), query)
    elif metric == EUCLID:
        for i in range(m):
            if ahead:
                prefetch_row(vectors, row_numbers[min(i + ahead, m - 1)])
            out[i] = _euclid(vectors, np.uint64(row_numbers[i]), query)
    elif metric == COSINE:
        for i in range(m):
            if ahead:
                prefetch_row(vectors, row_numbers[min(i + ahead, m - 1)])
            out[i] = _cosine(vectors, np.uint64(row_numbers[i]), query)
    else:
        for i in range(m):
            if ahead:
                prefetch_row(vectors, row_numbers[min(i + ahead, m - 1)])
            out[i] = _manhattan(vectors, np.uint64(row_numbers[i]), query)


@njit(
    [types.void(i64, rows, floats_1, ints_1, out_floats_1) for rows in originals_2],
    nogil=True,
    cache=True,
)
def score_rows(metric, vectors, query, row_numbers, out):  # type: ignore[no-untyped-def]
    """Write the scores of the rows ``row_numbers: int64[m]`` to ``out: float32[m]``.

    ``metric`` is a number of `signatures.METRIC_CODES`; ``vectors[n, d]`` are `originals_2`,
    ``query: float32[d]``. Row numbers are not checked: each must be in ``0 .. n - 1``.

    The rows come from anywhere in memory. Others are fetched while one is scored; else waiting for
    them would be most of the work.
    """
    ahead = rows_ahead(vectors.itemsize * query.shape[0], 1)
    _score_rows(metric, vectors, query, row_numbers, ahead, out)


@njit(
    [i64(i64, rows, floats_1, bytes_1, i64, out_floats_1, out_ints_1, i64) for rows in originals_2],
    nogil=True,
    cache=True,
)
def scan(metric, vectors, query, mask, base, scores, rows, filled):  # type: ignore[no-untyped-def]
    """Offer every allowed row of a block to the running top-k, as ``base + row``.

    ``metric``, ``vectors`` and ``query`` as in `score_rows`, the mask as in `vecdb.kernels`, the
    rest as in `topk`. Returns the new ``filled``. Shapes are not checked: see `scan_dot`.
    """
    n, dim = vectors.shape
    chosen = np.empty(BLOCK, np.int64)
    block_scores = np.empty(BLOCK, np.float32)
    ahead = rows_ahead(vectors.itemsize * dim, mask.shape[0])
    row = 0
    while row < n:
        count, row = select_rows(mask, row, n, chosen)
        _score_rows(metric, vectors, query, chosen[:count], ahead, block_scores)
        filled = offer_rows(block_scores, chosen, count, base, scores, rows, filled)
    return filled


def _scan(
    metric: int,
    vectors: Floats,
    query: Floats,
    mask: Bytes,
    base: int,
    scores: Floats,
    rows: Ints,
    filled: int,
) -> int:
    if vectors.shape[1] != query.shape[0]:
        raise ValueError(f"vectors have {vectors.shape[1]} dimensions, the query {query.shape[0]}")
    check_mask(mask, vectors.shape[0])
    return int(scan(metric, vectors, query, mask, base, scores, rows, filled))


def scan_dot(
    vectors: Floats, query: Floats, mask: Bytes, base: int, scores: Floats, rows: Ints, filled: int
) -> int:
    """`scan` by inner product (cosine similarity, if the vectors are normalised)."""
    return _scan(DOT, vectors, query, mask, base, scores, rows, filled)


def scan_euclid(
    vectors: Floats, query: Floats, mask: Bytes, base: int, scores: Floats, rows: Ints, filled: int
) -> int:
    """`scan` by minus the squared Euclidean distance."""
    return _scan(EUCLID, vectors, query, mask, base, scores, rows, filled)


def scan_manhattan(
    vectors: Floats, query: Floats, mask: Bytes, base: int, scores: Floats, rows: Ints, filled: int
) -> int:
    """`scan` by minus the sum of absolute differences."""
    return _scan(MANHATTAN, vectors, query, mask, base, scores, rows, filled)


def score_rows_dot(vectors: Floats, query: Floats, row_numbers: Ints, out: Floats) -> None:
    """`score_rows` by inner product."""
    score_rows(DOT, vectors, query, row_numbers, out)


def score_rows_euclid(vectors: Floats, query: Floats, row_numbers: Ints, out: Floats) -> None:
    """`score_rows` by minus the squared Euclidean distance."""
    score_rows(EUCLID, vectors, query, row_numbers, out)


def score_rows_manhattan(vectors: Floats, query: Floats, row_numbers: Ints, out: Floats) -> None:
    """`score_rows` by minus the sum of absolute differences."""
    score_rows(MANHATTAN, vectors, query, row_numbers, out)
