"""Sketches: candidates from the partitions near each query.

An effort, which was measured, says how many. Where a filter or deletions have left few rows, a
search has to look deeper.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb import models
from vecdb.engine.read.segment.candidates import Candidates, SegmentSearch
from vecdb.engine.read.segment.kernels import allowed_first, metrics
from vecdb.index import Effort, Found
from vecdb.index.clustered.nearest import Search
from vecdb.storage.catalog import Bits
from vecdb.storage.derived import Index, QuantizedVectors

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

TOO_MANY_LEFT_OUT, BLOCK_ROWS = 4, 32  # as in the kernels, which are loaded when needed
_RESERVE = 4
"""A deeper search is for four times as many results: the last of many are the hardest to find."""
_MOST_MATCH = 0.8
"""Where a filter leaves at least this share of the rows, a visit of near partitions is likely to
find enough of them, as deep as it goes for all rows."""


class Visit(Struct, frozen=True, eq=False, gc=False):
    """One search of an index: ``candidates`` rows by their sketches, put in order by codes if there
    are any. ``why`` it differs from a usual one is for ``explain``. ``last``: doubts are left, as
    the caller has said how many candidates there are to be."""

    index: Index
    quantized: QuantizedVectors | None
    effort: Effort
    candidates: int
    why: str = ""
    last: bool = False
    depth: int = 0
    """The results are among so many that a search without a filter would have; 0: as many as are
    asked for."""


def sketches(search: SegmentSearch, visit: Visit) -> Candidates:
    """Candidates among all rows."""
    visited = _visit(search, visit)
    rows, counts = visit.index.clustered.rows_at(visited.positions), visited.counts[:, 0].copy()
    return Candidates(rows, counts, visited.scores, visited.bounds)


def in_one_call(search: SegmentSearch, visit: Visit, vectors: Floats, limit: int) -> Search:
    """A visit as one call of a kernel. ``vectors``: of all rows, in memory. Raises
    CorruptionError."""
    clustered = visit.index.clustered
    return Search(
        index=clustered,
        blocks=visit.index.sketch.verify().reshape(clustered.sketch_shape),
        candidates=visit.candidates,
        gap=visit.effort.gap,
        metric=metrics()[search.vector.of_originals],
        vectors=vectors,
        limit=limit,
        mask=search.mask,
        depth=visit.depth,
    )


def sketches_and_originals(
    search: SegmentSearch, visit: Visit, vectors: Floats
) -> Candidates | None:
    """Both stages in one call of a kernel. ``vectors``: of all rows, in memory. None: that is not
    deep enough for the rows that the mask allows."""
    limit = min(search.limit, visit.candidates)
    nearest = in_one_call(search, visit, vectors, limit).nearest()
    scores, rows, counts, sure = nearest(search.queries)
    if search.mask is not None and bool((sure == -np.inf).any()):
        return None
    if search.explain is not None:
        _explain(search, visit, counts)
        stage = models.SearchStage("originals", int(counts[:, 0].sum()), limit, "rescored")
        search.explain(stage)
    return Candidates(rows, counts[:, 0], scores, sure=sure)


def visit_pays(search: SegmentSearch, index: Index) -> bool:
    """Whether a visit of near partitions for the rows that match a filter is likely to be enough:
    where nearly all of them do."""
    return search.rescore and search.allowed >= _MOST_MATCH * index.clustered.rows


def scan_pays(search: SegmentSearch, visit: Visit) -> bool:
    """Whether it takes less to read the originals of all rows that the mask allows than the
    sketches that a visit takes."""
    _, block_bytes = visit.index.clustered.sketch_shape
    sketched = visit.effort.rows * block_bytes // BLOCK_ROWS
    return search.allowed <= visit.candidates or search.vector.bytes * search.allowed <= sketched


def sketches_of_allowed(search: SegmentSearch, visit: Visit) -> tuple[Candidates, Effort] | None:
    """Candidates among the rows that the mask allows, and the effort it took. None if all of these
    rows had better be looked at.

    How deep to look depends on which rows are missing: none near the query, or just the nearest
    ones. So all rows are searched, as for more and more results, until enough allowed ones are
    among them. What a filter leaves is not searched deeper: to look at the sketches of all that
    match takes less, and does not depend on how filter and query go together.
    """
    clustered, mask = visit.index.clustered, search.mask
    effort, candidates = visit.effort, visit.candidates
    assert mask is not None
    depth, why = visit.depth or search.limit, visit.why
    while True:
        visited = _visit(search, Visit(visit.index, None, effort, candidates, why))
        rows, scores = clustered.rows_at(visited.positions), visited.scores
        counts, needed = _allowed_first(mask, search.limit, scores, rows, visited.counts[:, 0])
        if needed is not None and needed <= depth + depth // TOO_MANY_LEFT_OUT:
            most = counts.max()
            rows = np.ascontiguousarray(rows[:, :most])
            scores = np.ascontiguousarray(scores[:, :most])
            return Candidates(rows, counts, scores, visited.bounds), effort
        if search.filtered:
            return None
        depth = 4 * depth if needed is None else min(needed, 4 * depth)
        why = f" of {depth} results, because rows that are near the query do not count"
        # The last of many results are the hardest to find: an effort finds them less often than its
        # results on average.
        effort = clustered.effort(max(search.recall, visit.effort.recall), _RESERVE * depth)
        candidates = max(candidates, effort.candidates)
        if candidates > search.allowed // 2:
            return None


def _allowed_first(
    mask: Bits, limit: int, scores: Floats, rows: Offsets, found: Offsets
) -> tuple[Offsets, int | None]:
    """How many candidates of each query a mask allows, which come first from now on; and how many
    results among all rows a search needs, to have ``limit`` allowed ones: by the sketches, and for
    the worst query. None: more than there are candidates."""
    counts, depths = np.empty_like(found), []
    for q, count in enumerate(found.tolist()):
        counts[q], depth = allowed_first()(mask, limit, scores[q], rows[q], count)
        depths.append(depth)
    return counts, max(depths) if all(depths) else None


def _visit(search: SegmentSearch, visit: Visit) -> Found:
    clustered = visit.index.clustered
    blocks = visit.index.sketch.verify().reshape(clustered.sketch_shape)
    visited = clustered.visit(search.queries, blocks, visit.candidates, visit.effort.gap)
    _explain(search, visit, visited.counts)
    return visited


def _explain(search: SegmentSearch, visit: Visit, counts: Offsets) -> None:
    if search.explain is None:
        return
    kept, partitions, scored = counts.sum(axis=0).tolist()
    every = visit.index.clustered.clustering.partitions * len(search.queries)
    effort_for = f"a recall of {visit.effort.recall:g}"
    if search.params.hnsw_ef is not None:
        effort_for = f"hnsw_ef={search.params.hnsw_ef}"
    reason = f"{partitions} of {every} partitions, for {effort_for}{visit.why}"
    search.explain(models.SearchStage("sketches", scored, kept, reason))
