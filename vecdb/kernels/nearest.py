"""Searches in one call of a kernel: partitions are visited, and what was found is put in order.

A second call would take a fifth of a search. Only originals of float32 are put in order here: for
each type these kernels take as long to compile as all others together.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from vecdb.kernels.codes import score_codes
from vecdb.kernels.compiling import njit, types
from vecdb.kernels.partitions import INDEX, visit
from vecdb.kernels.rescoring import rescore, survivors
from vecdb.kernels.shortlist import allowed_first
from vecdb.kernels.signatures import (
    COSINE,
    DOT,
    MANHATTAN,
    bytes_1,
    bytes_2,
    f32,
    floats_1,
    floats_2,
    i64,
    ints_1,
    out_floats_2,
    out_ints_1,
    out_ints_2,
    words_1,
)

__all__ = ["TOO_MANY_LEFT_OUT", "nearest", "nearest_by_codes"]

TOO_MANY_LEFT_OUT: Final = 4
"""Where the results of a mask are among more rows than a search was for, by more than one in so
many, it was not as deep as it had to be."""


@njit(
    types.void(words_1, bytes_1, i64, i64, out_floats_2, out_ints_2, ints_1, out_ints_1),
    nogil=True,
    cache=True,
)
def _allowed_rows(order, mask, depth, wanted, sketched, chosen, found, counted):  # type: ignore[no-untyped-def]
    """Turn the positions that a visit has found into rows, ``found: int64[q]`` of them, those that
    a mask allows first: ``counted: int64[q]``. 0: it was not deep enough for the mask."""
    for q in range(found.shape[0]):
        counted[q] = found[q]
        if order.shape[0]:
            for i in range(found[q]):
                chosen[q, i] = order[chosen[q, i]]
        if mask.shape[0]:
            allowed, needed = allowed_first(mask, wanted, sketched[q], chosen[q], found[q])
            enough = 0 < needed <= depth + depth // TOO_MANY_LEFT_OUT
            counted[q] = allowed if enough else 0


@njit(
    types.void(
        *(floats_2, *INDEX, f32, i64, words_1, bytes_1, i64),
        *(i64, floats_2, i64, out_floats_2, out_ints_2, out_ints_2, out_floats_2),
    ),
    nogil=True,
    cache=True,
)
def nearest(  # type: ignore[no-untyped-def]
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
    candidates,
    order,
    mask,
    depth,
    metric,
    vectors,
    measured,
    scores,
    rows,
    counts,
    margins,
):
    """`visit`, then `rescore`.

    ``order: uint32[n]``: the row at each position, empty if they are the same. Candidates that the
    mask does not allow, whose bits are of rows, are left out. The results have to be among so many
    of all rows as ``depth`` says, and some more (`TOO_MANY_LEFT_OUT`): else this was no search for
    them, margins are minus infinity, and there are no results.
    """
    n_queries = queries.shape[0]
    sketched = np.empty((n_queries, candidates), np.float32)
    chosen = np.empty((n_queries, candidates), np.int64)
    bounds = np.empty((n_queries, 2), np.float32)
    visit(
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
        sketched,
        chosen,
        counts,
        bounds,
    )
    found = counts[:, 0].copy()
    counted = np.empty(n_queries, np.int64)
    _allowed_rows(order, mask, depth, scores.shape[1], sketched, chosen, found, counted)
    rescore(
        metric, vectors, queries, chosen, counted, sketched, bounds, measured, scores, rows, margins
    )
    for q in range(n_queries):
        if counted[q] == 0 and found[q] > 0:
            margins[q] = -np.inf
        counts[q, 0] = counted[q]


@njit(
    types.void(
        *(floats_2, *INDEX, f32, i64, words_1, bytes_1, i64),
        *(bytes_2, bytes_2, floats_1, i64, floats_1, floats_1, i64, i64),
        *(i64, floats_2, i64, out_floats_2, out_ints_2, out_ints_2, out_floats_2),
    ),
    nogil=True,
    cache=True,
)
def nearest_by_codes(  # type: ignore[no-untyped-def]
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
    candidates,
    order,
    mask,
    depth,
    codes,
    tables,
    numbers,
    codes_metric,
    point,
    step,
    kept,
    judged,
    metric,
    vectors,
    measured,
    scores,
    rows,
    counts,
    margins,
):
    """`nearest` for one query, ``float32[1, d]``, with codes between sketches and vectors: of the
    candidates, the best ``kept`` by their codes are put in order by their vectors. If ``vectors``
    has no rows, codes have the last word.

    ``codes`` to ``step`` are arguments of `score_codes`. Margins say what sketches may have left
    out; if ``judged`` is not 0, calm is no more than what vectors say of codes.
    """
    sketched = np.empty((1, candidates), np.float32)
    chosen = np.empty((1, candidates), np.int64)
    bounds = np.empty((1, 2), np.float32)
    visit(
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
        sketched,
        chosen,
        counts,
        bounds,
    )
    found = counts[:, 0].copy()
    counted = np.empty(1, np.int64)
    wanted = scores.shape[1]
    _allowed_rows(order, mask, depth, wanted, sketched, chosen, found, counted)
    count = counted[0]
    counts[0, 0] = count
    margins[0] = -np.inf if count == 0 and found[0] > 0 else np.inf
    if count == 0:
        return
    estimates = np.empty((1, count), np.float32)
    score_codes(codes, tables, numbers, codes_metric, point, step, chosen[0, :count], estimates[0])
    kept = min(kept, count)
    survivors(
        DOT if metric == COSINE else metric,  # what estimates are of
        sketched[0, :count],
        bounds[0],
        measured if count >= wanted else 0,
        kept,
        estimates[0],
        chosen[0, :count],
        margins[0],
    )
    if vectors.shape[0] == 0:
        for i in range(min(wanted, kept)):
            scores[0, i] = estimates[0, i]
            rows[0, i] = chosen[0, i]
        return
    if metric == MANHATTAN:  # as of a Euclidean distance: see `sureness`
        for i in range(kept):
            estimates[0, i] = -(estimates[0, i] * estimates[0, i])
    calm = margins[0, 0]
    reach = margins[0, 1]
    counted[0] = kept
    bounds[0] = -np.inf
    rescore(
        metric,
        vectors,
        queries,
        chosen,
        counted,
        estimates,
        bounds,
        measured,
        scores,
        rows,
        margins,
    )
    margins[0, 0] = min(margins[0, 0], calm) if judged else calm
    margins[0, 1] = reach
