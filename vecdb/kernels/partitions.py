"""Loops of the clustered index: which partitions a query visits, and the best rows in them.

A row is its partition's centroid plus a residual. Centroids are bytes (see `priorities`);
residuals are 4-bit product codes in the blocks of `fastscan`, ``width`` dimensions a code, their
codebook ``float32[m * width, 16]`` (line ``j`` holds coordinate ``j`` of the 16 entries of its
sub-quantizer, so that a look-up table is 16 neighbours in memory). The index says what the numbers
mean; here they are only added up.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from vecdb.kernels.blocks import LANES, count_trailing_zeros, products_of_sub, within
from vecdb.kernels.compiling import njit, types
from vecdb.kernels.fastscan import quantize_tables, scan
from vecdb.kernels.priorities import beyond, gaps, inverse_spans, priorities, product
from vecdb.kernels.signatures import (
    bytes_1,
    bytes_2,
    f32,
    floats_1,
    floats_2,
    i64,
    ints_1,
    out_floats_1,
    out_floats_2,
    out_ints_1,
    out_ints_2,
)
from vecdb.kernels.topk import topk_sort
from vecdb.kernels.views import flat

__all__ = [
    "INDEX",
    "every",
    "query_tables",
    "visit",
]

ENTRIES: Final = 16
_TIERS: Final = 2
_MORE_TIERS: Final = 24
bytes_table: Final[Any] = types.Array(types.uint8, 2, "C")
INDEX: Final[Any] = (
    *(bytes_2, floats_1, floats_1, floats_1, floats_1, floats_1, floats_1, ints_1),
    *(floats_2, i64, f32, floats_1, f32, f32, bytes_2),
)
"""The types of the arguments that searches share, from ``centroids`` to ``blocks``."""


@njit(types.void(floats_1, floats_2, i64, out_floats_2), nogil=True, cache=True)
def query_tables(query, codebook, width, out):  # type: ignore[no-untyped-def]
    """Write a query's inner products with the codebook's entries to ``out: float32[m, 16]``."""
    dim = query.shape[0]
    for sub in range(out.shape[0]):
        first = sub * width
        last = min(first + width, dim)
        products_of_sub(query, codebook, first, last, sub, out)


@njit(bytes_table(floats_2, floats_2, i64, out_floats_1, out_floats_1), nogil=True, cache=True)
def _bytes_of_tables(queries, codebook, width, steps, offsets):  # type: ignore[no-untyped-def]
    """The tables of some queries as `scan` takes them, with their ``steps`` and ``offsets``."""
    m = codebook.shape[0] // width
    numbers = np.empty((m, ENTRIES), np.float32)
    tables = np.empty((queries.shape[0], 64 * ((m + 3) >> 2)), np.uint8)
    for q in range(queries.shape[0]):
        query_tables(queries[q], codebook, width, numbers)
        steps[q], offsets[q] = quantize_tables(numbers, tables[q])
    return tables


@njit(
    types.void(
        floats_2,
        *INDEX,
        f32,
        out_floats_2,
        out_ints_2,
        out_ints_2,
        out_floats_2,
    ),
    nogil=True,
    cache=True,
)
def visit(  # type: ignore[no-untyped-def]
    queries,
    centroids,
    low,
    scale,
    middle,
    stretch,
    constants,
    bonuses,
    starts,
    codebook,
    width,
    factor,
    common,
    typical,
    radius,
    blocks,
    gap,
    scores,
    positions,
    counts,
    bounds,
):
    """Write the best positions for each query, by their codes, in the partitions that may hold near
    ones.

    The priority of a partition is its number in `priorities` plus its bonus, in units of the
    query's span (`inverse_spans`). A partition is visited if its priority is at most ``gap`` below
    the best; then more are, in falling order, until there are k positions. Queries that visit the
    same partition share a pass over it.

    Results come unsorted to ``scores: float32[q, k]``, ``positions: int64[q, k]``. ``counts:
    int64[q, 3]``, zeros before, tells how many there are, and how many partitions and positions
    were visited. ``bounds: float32[q, 2]``: the best priority of the others, as a score, and the
    factor that turns a score into units of the span.
    """
    n_queries, k = scores.shape
    partitions = centroids.shape[0]
    biases = np.empty((partitions, n_queries), np.float32)
    moved = np.empty(queries.shape, np.float32)
    priorities(
        queries,
        centroids,
        low,
        scale,
        middle,
        stretch,
        constants,
        factor,
        moved,
        biases,
    )
    inverses = np.empty(n_queries, np.float32)
    inverse_spans(moved, biases, common, factor, typical, radius, inverses)
    # The best priority; rows more, that no gap takes in, for `within` to read.
    below = np.empty((partitions + LANES, n_queries), np.float32)
    below[partitions:] = np.float32(-np.inf)
    best = np.empty(n_queries, np.float32)
    gaps(biases, bonuses, inverses, best, below[:partitions])
    reached = np.empty(n_queries, np.float32)
    # What `scan` takes: ranges of rows, and the queries of each.
    ranges = np.empty((n_queries * partitions, 2), np.int64)
    firsts = np.empty(n_queries * partitions + 1, np.int64)
    visitors = np.empty(n_queries * partitions, np.int64)
    chosen = np.empty(n_queries * partitions, np.float32)
    firsts[0] = 0
    pairs = 0
    count = 0
    # In tiers, best first: the sooner good rows are found, the fewer others are kept. A sort of
    # all partitions would cost more than the scan of most.
    every_gap, every_bias = flat(below), flat(biases)
    after = np.float32(-1.0)
    for tier in range(_TIERS + _MORE_TIERS):
        if tier < _TIERS:
            until = gap * np.float32(0.25 ** (_TIERS - 1 - tier))
        elif tier < _TIERS + _MORE_TIERS - 1 and gap > np.float32(0.0):
            until *= np.float32(1.25)
        else:
            until = np.float32(np.inf)
        for q in range(n_queries):
            if tier < _TIERS or counts[q, 2] < k:
                reached[q] = until
        last = np.int64(-1)
        for start in range(0, partitions * n_queries, LANES):
            bits = within(every_gap, start, after, until)
            while bits != 0:
                at = start + count_trailing_zeros(bits)
                bits &= bits - 1
                c = at // n_queries
                q = at - c * n_queries
                if tier >= _TIERS and counts[q, 2] >= k:
                    continue
                size = starts[c + 1] - starts[c]
                if c != last:
                    ranges[count, 0] = starts[c]
                    ranges[count, 1] = starts[c + 1]
                    count += 1
                    last = c
                visitors[pairs] = q
                chosen[pairs] = every_bias[at]
                pairs += 1
                firsts[count] = pairs
                counts[q, 1] += 1
                counts[q, 2] += size
        after = until
        missing = tier < _TIERS - 1
        for q in range(n_queries):
            missing |= counts[q, 2] < k
        if not missing or until == np.float32(np.inf):
            break
    steps = np.empty(n_queries, np.float32)
    offsets = np.empty(n_queries, np.float32)
    tables = _bytes_of_tables(moved, codebook, width, steps, offsets)
    filled = np.zeros(n_queries, np.int64)
    scan(
        blocks,
        tables,
        steps,
        offsets,
        ranges[:count],
        firsts[: count + 1],
        visitors[:pairs],
        chosen[:pairs],
        np.empty(0, np.uint8),  # no mask
        0,
        scores,
        positions,
        filled,
    )
    for q in range(n_queries):
        counts[q, 0] = filled[q]
    following = np.empty(n_queries, np.float32)
    beyond(below[:partitions], reached, following)
    for q in range(n_queries):
        bounds[q, 0] = (best[q] - following[q]) / inverses[q]
        bounds[q, 1] = inverses[q]
        if factor > np.float32(1.0):  # what scores leave out because it is the same for all rows
            square = product(moved[q], moved[q])
            bounds[q, 0] -= square
            for i in range(filled[q]):
                scores[q, i] -= square
        if reached[q] > gap and following[q] < np.float32(np.inf):
            # One partition stands alone and holds too few rows: nothing is known of the others.
            bounds[q, 0] = np.inf


@njit(
    types.void(floats_2, *INDEX, bytes_1, out_floats_2, out_ints_2, out_ints_1),
    nogil=True,
    cache=True,
)
def every(  # type: ignore[no-untyped-def]
    queries,
    centroids,
    low,
    scale,
    middle,
    stretch,
    constants,
    bonuses,
    starts,
    codebook,
    width,
    factor,
    common,
    typical,
    radius,
    blocks,
    mask,
    scores,
    positions,
    filled,
):
    """Write the best allowed positions of all partitions for each query, by their codes, best
    first: no partition is too far off. The bits of the mask are of positions.

    Results as of `visit`, and ``filled: int64[q]``, zeros before, tells how many there are.
    """
    n_queries = queries.shape[0]
    partitions = centroids.shape[0]
    biases = np.empty((partitions, n_queries), np.float32)
    moved = np.empty(queries.shape, np.float32)
    priorities(queries, centroids, low, scale, middle, stretch, constants, factor, moved, biases)
    ranges = np.empty((partitions, 2), np.int64)
    firsts = np.empty(partitions + 1, np.int64)
    visitors = np.empty(n_queries * partitions, np.int64)
    for c in range(partitions):
        ranges[c, 0] = starts[c]
        ranges[c, 1] = starts[c + 1]
        firsts[c] = n_queries * c
        for q in range(n_queries):
            visitors[n_queries * c + q] = q
    firsts[partitions] = n_queries * partitions
    steps = np.empty(n_queries, np.float32)
    offsets = np.empty(n_queries, np.float32)
    tables = _bytes_of_tables(moved, codebook, width, steps, offsets)
    scan(
        blocks,
        tables,
        steps,
        offsets,
        ranges,
        firsts,
        visitors,
        flat(biases),
        mask,
        0,
        scores,
        positions,
        filled,
    )
    for q in range(n_queries):
        if factor > np.float32(1.0):  # what scores leave out because it is the same for all rows
            square = product(moved[q], moved[q])
            for i in range(filled[q]):
                scores[q, i] -= square
        topk_sort(scores[q], positions[q], filled[q])
