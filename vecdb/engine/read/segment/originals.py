"""Originals: the answer of a segment by the vectors themselves.

Every way to search (see ``scan``) ends here: candidates are scored again by their vectors. Where
there is no other way, or a filter leaves few rows, all of them are.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import structs

from vecdb import models
from vecdb.engine.parallel import processors, run_all
from vecdb.engine.read.segment.candidates import Best, Candidates, SegmentSearch
from vecdb.engine.read.segment.kernels import metrics, rescore, scan_and_sort, select_rows
from vecdb.index.clustered.effort import measured_of
from vecdb.kernels import at_hand
from vecdb.linear_algebra import dots
from vecdb.storage.catalog import Bits
from vecdb.storage.format import unpack_bits
from vecdb.vectors.datatypes import for_kernels, of_unit_length, wide

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]
Block = tuple[int, npt.NDArray[Any]]
"""The first row of some, and their vectors in their datatype, ``(n, dim)``."""

# Up to here (16 MiB of vectors: 2 ms) numpy does, unless kernels are at hand.
_NUMPY_VALUES = 4 << 20
_ALL = np.empty(0, dtype=np.uint8)  # the kernels' mask for "every row"
# From here on (32 MiB), all processors scan: handing out the work takes 0.1 ms.
_SHARED_VALUES = 8 << 20
_UNKNOWN = np.empty((0, 0), dtype=np.float32)
"""Stands for the scores of candidates that were not chosen by any."""
_FEW = 8
"""If a filter leaves at most one row of so many, no others are read from a file, or verified."""


def originals(search: SegmentSearch, candidates: Candidates) -> Candidates:
    """The best candidates by their vectors, in order, and how sure that is.

    ``candidates.scores`` are the estimates by which they were chosen. They tell nothing without
    ``bounds`` of the rows that were left out.
    """
    rows, counts, queries = candidates.rows, candidates.counts, len(candidates.rows)
    vectors_file = search.originals
    if vectors_file.waits:
        vectors_file.ask_for(np.unique(rows))
    started = time.perf_counter()
    vectors = for_kernels(vectors_file.verify_rows(rows.ravel())).reshape(
        search.segment_view.rows, search.vector.dim
    )
    limit = min(search.limit, rows.shape[1])
    scores = np.empty((queries, limit), dtype=np.float32)
    best = np.empty((queries, limit), dtype=np.int64)
    metric = metrics()[search.vector.of_originals]
    sure = np.empty((queries, 2), dtype=np.float32)
    estimates, bounds = candidates.scores, candidates.bounds
    if bounds is None:
        estimates, bounds = np.empty((queries, 0), dtype=np.float32), sure
    measured = measured_of(search.limit)
    rescore()(
        *(metric, vectors, search.queries, rows, counts, estimates, bounds, measured),
        *(scores, best, sure),
    )
    vectors_file.has_taken((time.perf_counter() - started) / queries)
    if search.explain is not None:
        search.explain(models.SearchStage("originals", int(counts.sum()), limit, "rescored"))
    return Candidates(best, counts, scores, sure=sure)


def waits(search: SegmentSearch) -> bool:
    """Whether the last rows came from the disk: then only what is needed should be read."""
    return search.originals.waits


@contextmanager
def reading(search: SegmentSearch, rows: Offsets) -> Iterator[npt.NDArray[Any]]:
    """The vectors of a segment in their datatype, ``(n, dim)``, for a block that reads these
    ``rows`` of them."""
    originals = search.originals
    if originals.waits:
        originals.ask_for(np.unique(rows))
    started = time.perf_counter()
    yield originals.verify_rows(rows).reshape(search.segment_view.rows, search.vector.dim)
    originals.has_taken(time.perf_counter() - started)


def exact_scan(search: SegmentSearch, why: str = "no index") -> list[Best]:
    """The best allowed rows by their originals, for each query. ``why`` is for ``explain``."""
    segment_view, mask = search.segment_view, search.mask
    count = search.allowed
    in_file = segment_view.segment.vectors(search.vector.name) is not None
    if search.explain is not None:
        if not in_file:
            why = "not in a file yet"
        search.explain(models.SearchStage("originals", count, min(search.limit, count), why))
    if not count:
        return [(np.empty(0, np.float32), np.empty(0, np.int64))] * len(search.queries)
    compiled = at_hand()
    few = mask is not None and in_file and count * _FEW <= segment_view.rows
    if few and compiled and (search.originals.waits or search.originals.unverified_blocks):
        rows = np.empty(count + 64, dtype=np.int64)  # the kernel needs some room
        select_rows()(mask, 0, segment_view.rows, rows)
        counts = np.full(len(search.queries), count)
        every = rows[None, :count]
        if len(counts) > 1:
            every = np.ascontiguousarray(np.broadcast_to(every, (len(counts), count)))
        alone = structs.replace(search, explain=None)  # told already
        return originals(alone, Candidates(every, counts, _UNKNOWN)).best()
    return [_exact_scan(search, query, compiled) for query in search.queries]


def _exact_scan(search: SegmentSearch, query: Floats, compiled: bool) -> Best:
    segment_view, vector, mask = search.segment_view, search.vector, search.mask
    blocks = segment_view.segment.blocks(vector.name, segment_view.rows)
    limit = min(search.limit, segment_view.rows)
    if not compiled and segment_view.rows * vector.dim <= _NUMPY_VALUES:
        return _numpy_scan(blocks, vector.of_originals, query, limit, mask)
    scan, topk_sort = scan_and_sort()
    metric = metrics()[vector.of_originals]

    def best_of(pieces: Iterable[Block]) -> Best:
        scores = np.empty(limit, dtype=np.float32)
        rows = np.empty(limit, dtype=np.int64)
        filled = 0
        for base, block in pieces:
            bits = _ALL if mask is None else mask[base >> 3 : (base + len(block) + 7) >> 3]
            filled = scan(metric, for_kernels(block), query, bits, base, scores, rows, filled)
        topk_sort(scores, rows, filled)
        return scores[:filled], rows[:filled]

    vectors_file = segment_view.segment.vectors(vector.name)
    if (
        vectors_file is None
        or vectors_file.placement == "cold"  # it comes in pieces, and the disk is what takes time
        or search.allowed * vector.dim < _SHARED_VALUES
    ):
        return best_of(blocks)
    shares = [(lambda share=share: best_of(share)) for share in _shares(blocks, processors())]
    results = run_all(shares)
    scores, rows = (np.concatenate(column) for column in zip(*results, strict=True))
    best = np.lexsort((rows, -scores))[:limit]
    return scores[best], rows[best]


def _shares(blocks: Iterable[Block], count: int) -> list[list[Block]]:
    """The one block of a file segment in ``count`` shares, each of whole bytes of a mask."""
    [(base, block)] = blocks
    step = max(8, -(-len(block) // count) + 7 & ~7)
    return [[(base + start, block[start : start + step])] for start in range(0, len(block), step)]


def _numpy_scan(
    blocks: Iterable[Block],
    metric: str,
    query: Floats,
    limit: int,
    mask: Bits | None,
) -> tuple[Floats, Offsets]:
    scores = np.concatenate([exact_scores(metric, block, query) for _, block in blocks])
    if mask is not None:
        rows = np.flatnonzero(unpack_bits(mask, len(scores)))
        scores = scores[rows]
    else:
        rows = np.arange(len(scores), dtype=np.int64)
    if limit < len(scores):
        # Among equal scores the lowest rows win, as in the kernels; else pages would overlap.
        worst = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        better = np.flatnonzero(scores > worst)
        best = np.append(better, np.flatnonzero(scores == worst)[: limit - len(better)])
        scores, rows = scores[best], rows[best]
    best = np.lexsort((rows, -scores))
    return scores[best], rows[best]


def exact_scores(metric: str, vectors: npt.NDArray[Any], query: Floats) -> Floats:
    """Scores of rows of vectors in any datatype, larger is better: ``float32 (n,)``."""
    vectors = wide(vectors)
    scores: Floats
    if metric in ("dot", "cosine"):
        scores = dots(vectors if metric == "dot" else of_unit_length(vectors), query)
        return scores
    difference = vectors - query
    if metric == "euclid":
        scores = -np.einsum("ij,ij->i", difference, difference)
    else:
        scores = -np.abs(difference).sum(axis=1)
    return scores
