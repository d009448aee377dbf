"""FastScan: sums of table look-ups for 32 rows at once, and the best rows by them.

A row has a code, a whole number 0 .. 15, of each of ``m`` sub-quantizers. A query has a table of 16
bytes for each of them; the sum of a row is that of the bytes its codes name.

**Layout.** Rows stand in blocks of 32: ``blocks: uint8[ceil(n / 32), 64 * quads + 128 * columns]``
with ``quads = ceil(m / 4)``. In a block,

* byte ``16 * j + i`` (``j < 4 * quads``, ``i < 16``) has code ``j`` of row ``i`` in its low four
  bits and code ``j`` of row ``16 + i`` in its high four. Codes from ``m`` on are 0;
* then come 0, 1 or 2 columns of 32 float32: what the sum of each row is multiplied by, and what is
  added to it then. Beside the codes, they are read in one stream.

Rows missing to a whole block are zeros. Blocks may start anywhere in memory, but from a multiple
of 64 bytes on they are read faster by a sixth. Tables are ``uint8[q, 64 * quads]``, a row a query:
byte ``16 * j + c`` is what code ``c`` of sub-quantizer ``j`` adds. From ``m`` on they must be
zeros.

**Scores** are float32, worked out in this order on every processor, without what there is no column
of::

    score = (sum * step + offset) * multiply[row] + add[row] + bias

``step`` and ``offset`` undo what made bytes of the query's numbers (`quantize_tables`); ``bias``
belongs to a range of rows, such as a partition. How a block is summed is in `shuffle`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from vecdb.kernels.blocks import (
    TOGETHER,
    bytes_of_table,
    count_trailing_zeros,
    range_of_table,
    scores_of_block,
    sums_of_four,
    sums_of_one,
    sums_of_three,
    sums_of_two,
)
from vecdb.kernels.compiling import njit, types
from vecdb.kernels.prefetch import prefetch_row, rows_ahead
from vecdb.kernels.shortlist import best_first, make_heap, thin
from vecdb.kernels.shuffle import BLOCK_ROWS
from vecdb.kernels.signatures import (
    Bytes,
    Ints,
    bytes_1,
    bytes_2,
    f32,
    floats_1,
    floats_2,
    i64,
    ints_1,
    ints_2,
    out_bytes_1,
    out_bytes_2,
    out_floats_1,
    out_floats_2,
    out_int32s_1,
    out_ints_1,
    out_ints_2,
    two_floats,
)
from vecdb.kernels.topk import check_mask, worst_score

__all__ = [
    "BLOCK_ROWS",
    "block_shape",
    "check_shapes",
    "quantize_tables",
    "scan",
    "score_all",
    "score_rows",
    "sum_all",
    "unpack",
]

STEPS: Final = 252


def block_shape(n: int, m: int, columns: int = 0) -> tuple[int, int]:
    """The shape of the blocks of ``n`` rows of ``m`` codes."""
    return -(-n // BLOCK_ROWS), 64 * -(-m // 4) + 4 * BLOCK_ROWS * columns


def check_shapes(blocks: Bytes, tables: Bytes, ranges: Ints, mask: Bytes) -> None:
    """Refuse what the kernels would read out of bounds."""
    if blocks.ndim != 2 or tables.ndim != 2 or tables.shape[1] % 64:
        raise ValueError(f"expected blocks and tables, got {blocks.shape} and {tables.shape}")
    if blocks.shape[1] - tables.shape[1] not in (0, 128, 256):
        raise ValueError(
            f"tables of {tables.shape[1]} bytes do not fit blocks of {blocks.shape[1]} bytes"
        )
    if ranges.ndim != 2 or ranges.shape[1] != 2:
        raise ValueError(f"expected ranges int64[p, 2], got shape {ranges.shape}")
    if ranges.size:
        end = int(ranges.max())
        if ranges.min() < 0 or end > BLOCK_ROWS * blocks.shape[0]:
            raise ValueError(f"a range reaches beyond {blocks.shape[0]} blocks")
        check_mask(mask, end)


# --- blocks and tables ----------------------------------------------------------------------------


@njit(types.void(bytes_2, out_bytes_2), nogil=True, cache=True)
def unpack(blocks, codes):  # type: ignore[no-untyped-def]
    """Write the codes of the first rows of ``blocks`` to ``codes: uint8[n, m]``."""
    for row in range(codes.shape[0]):
        at = row & 15
        shift = (row & 16) >> 2
        for sub in range(codes.shape[1]):
            codes[row, sub] = blocks[row >> 5, 16 * sub + at] >> shift & 15


@njit(two_floats(floats_2, out_bytes_1), nogil=True, cache=True)
def quantize_tables(numbers, out):  # type: ignore[no-untyped-def]
    """Write bytes that stand for ``numbers: float32[m, 16]`` to ``out: uint8[64 * ceil(m / 4)]``.

    Returns ``step`` and ``offset``: m of the numbers make about ``sum of bytes * step + offset``.
    All sub-quantizers share one step, or sums of bytes would mean nothing; the one with the widest
    range sets it. That range is 252 steps, not 255: what is made of four equal parts, such as the
    four bits of a code under a query of 1 and -1, is then told apart without rounding.
    """
    m = numbers.shape[0]
    least = np.empty(m, np.float32)
    offset = 0.0
    widest = np.float32(0.0)
    for sub in range(m):
        low, high = range_of_table(numbers, sub)
        least[sub] = low
        offset += low
        widest = max(widest, high - low)
    inverse = np.float32(STEPS) / widest if widest > np.float32(0.0) else np.float32(0.0)
    for sub in range(m):
        bytes_of_table(numbers, sub, least[sub], inverse, out)
    out[16 * m :] = 0
    return widest / np.float32(STEPS), np.float32(offset)


# --- scores ---------------------------------------------------------------------------------------


@njit(types.void(bytes_2, bytes_2, out_int32s_1), nogil=True, cache=True)
def sum_all(blocks, tables, out):  # type: ignore[no-untyped-def]
    """Write the sums of all rows under the first of the tables to ``out: int32[n]``."""
    n = out.shape[0]
    query = np.zeros(1, np.int64)
    sums = np.empty(BLOCK_ROWS, np.int32)
    for start in range(0, n, BLOCK_ROWS):
        sums_of_one(blocks, start >> 5, tables, query, 0, sums)
        for i in range(min(BLOCK_ROWS, n - start)):
            out[np.uint64(start + i)] = sums[i]  # unsigned: no test for a negative index


@njit(types.void(bytes_2, bytes_2, f32, f32, f32, out_floats_1), nogil=True, cache=True)
def score_all(blocks, tables, step, offset, bias, out):  # type: ignore[no-untyped-def]
    """Write the scores of all rows under the first of the tables to ``out: float32[n]``."""
    n = out.shape[0]
    columns = tables.shape[1]
    query = np.zeros(1, np.int64)
    sums = np.empty(BLOCK_ROWS, np.int32)
    block_scores = np.empty(BLOCK_ROWS, np.float32)
    for start in range(0, n, BLOCK_ROWS):
        block = start >> 5
        sums_of_one(blocks, block, tables, query, 0, sums)
        scores_of_block(blocks, block, columns, sums, 0, step, offset, bias, step, block_scores)
        for i in range(min(BLOCK_ROWS, n - start)):
            out[np.uint64(start + i)] = block_scores[i]


@njit(types.void(bytes_2, bytes_2, f32, f32, f32, ints_1, out_floats_1), nogil=True, cache=True)
def score_rows(blocks, tables, step, offset, bias, row_numbers, out):  # type: ignore[no-untyped-def]
    """Write the scores of the rows ``row_numbers: int64[r]`` to ``out: float32[r]``.

    The whole block of a row is summed, once for neighbours in the list: the look-ups of one row
    alone take as long as those of eight blocks. Blocks come from anywhere in memory, and others are
    fetched meanwhile.
    """
    count = row_numbers.shape[0]
    ahead = rows_ahead(blocks.shape[1], 1)
    for i in range(min(ahead, count)):
        prefetch_row(blocks, row_numbers[i] >> 5)
    query = np.zeros(1, np.int64)
    sums = np.empty(BLOCK_ROWS, np.int32)
    block_scores = np.empty(BLOCK_ROWS, np.float32)
    last = np.int64(-1)
    for i in range(count):
        block = row_numbers[i] >> 5
        following = row_numbers[min(i + ahead, count - 1)] >> 5
        if following != block:
            prefetch_row(blocks, following)
        if block != last:
            sums_of_one(blocks, block, tables, query, 0, sums)
            scores_of_block(
                blocks, block, tables.shape[1], sums, 0, step, offset, bias, step, block_scores
            )
            last = block
        out[i] = block_scores[np.uint64(row_numbers[i] & 31)]


# --- the best rows --------------------------------------------------------------------------------


@njit(
    types.void(
        bytes_2,
        bytes_2,
        floats_1,
        floats_1,
        ints_2,
        ints_1,
        ints_1,
        floats_1,
        bytes_1,
        i64,
        out_floats_2,
        out_ints_2,
        out_ints_1,
    ),
    nogil=True,
    cache=True,
)
def scan(  # type: ignore[no-untyped-def]
    blocks,
    tables,
    steps,
    offsets,
    ranges,
    starts,
    queries,
    biases,
    mask,
    base,
    scores,
    rows,
    filled,
):
    """Offer the allowed rows of some ranges to the running top-k of some queries.

    * ``tables: uint8[q, 64 * quads]``, ``steps``, ``offsets: float32[q]``: the queries;
    * ``ranges: int64[p, 2]``, first row and end: no row may be in two ranges of a query. Ranges may
      start and end within a block;
    * ``queries[starts[i] : starts[i + 1]]`` (int64) are the queries that scan range ``i``, with the
      ``biases`` (float32) at the same positions. ``starts: int64[p + 1]``. Four queries that share
      a range take little more than half the time of four scans;
    * ``scores: float32[q, k]``, ``rows: int64[q, k]``, ``filled: int64[q]``: of each query, what
      `topk` says; rows are offered as ``base + row``. The mask is as in `vecdb.kernels`.

    Shapes are not checked: see `check_shapes`.
    """
    k = scores.shape[1]
    if k == 0:
        return
    columns = tables.shape[1]
    room = 2 * k + BLOCK_ROWS
    kept = np.empty((scores.shape[0], room + BLOCK_ROWS), np.float32)
    kept_rows = np.empty((scores.shape[0], room + BLOCK_ROWS), np.int64)
    worst = np.empty(scores.shape[0], np.float32)
    for query in range(scores.shape[0]):
        for i in range(filled[query]):
            kept[query, i] = scores[query, i]
            kept_rows[query, i] = rows[query, i]
        worst[query] = worst_score(scores[query], filled[query])
    sums = np.empty(TOGETHER * BLOCK_ROWS, np.int32)
    block_scores = np.empty(BLOCK_ROWS, np.float32)
    last_byte = mask.shape[0] - 1
    for p in range(ranges.shape[0]):
        first = ranges[p, 0]
        end = ranges[p, 1]
        at = starts[p]
        while at < starts[p + 1]:
            together = min(TOGETHER, starts[p + 1] - at)
            for start in range(first & ~31, end, BLOCK_ROWS):
                allowed = np.int64(0xFFFFFFFF)
                if last_byte >= 0:
                    byte = start >> 3
                    allowed = (
                        np.int64(mask[byte])
                        | np.int64(mask[min(byte + 1, last_byte)]) << 8
                        | np.int64(mask[min(byte + 2, last_byte)]) << 16
                        | np.int64(mask[min(byte + 3, last_byte)]) << 24
                    )
                if start < first:
                    allowed &= np.int64(0xFFFFFFFF) << (first - start)
                if start + BLOCK_ROWS > end:
                    allowed &= np.int64(0xFFFFFFFF) >> (start + BLOCK_ROWS - end)
                if allowed == 0:
                    continue
                block = start >> 5
                if together == TOGETHER:
                    sums_of_four(blocks, block, tables, queries, at, sums)
                elif together == 1:
                    sums_of_one(blocks, block, tables, queries, at, sums)
                elif together == 2:
                    sums_of_two(blocks, block, tables, queries, at, sums)
                else:
                    sums_of_three(blocks, block, tables, queries, at, sums)
                for i in range(together):
                    query = queries[at + i]
                    bits = allowed & scores_of_block(
                        blocks,
                        block,
                        columns,
                        sums,
                        BLOCK_ROWS * i,
                        steps[query],
                        offsets[query],
                        biases[at + i],
                        worst[query],
                        block_scores,
                    )
                    if bits == 0:
                        continue
                    count = filled[query]
                    while bits != 0:
                        row = count_trailing_zeros(bits)
                        bits &= bits - 1
                        score = block_scores[row]
                        if score != score:  # as in `topk_push`
                            score = np.float32(-np.inf)
                        kept[query, count] = score
                        kept_rows[query, count] = base + start + row
                        count += 1
                    if count > room:
                        count, worst[query] = thin(kept[query], kept_rows[query], count, k)
                    filled[query] = count
            at += together
    for query in range(scores.shape[0]):
        if filled[query] > k:
            best_first(kept[query], kept_rows[query], filled[query], k)
            filled[query] = k
        for i in range(filled[query]):
            scores[query, i] = kept[query, i]
            rows[query, i] = kept_rows[query, i]
        make_heap(scores[query], rows[query], filled[query])
