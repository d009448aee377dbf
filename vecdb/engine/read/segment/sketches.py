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
from vecdb.engine.read.segment.kernels import metrics
from vecdb.index import Effort, Found
from vecdb.storage.derived import Index, QuantizedVectors
from vecdb.storage.format import bits_at

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

_RESERVE = 4
"""A deeper search is for four times as many results: the last of many are the hardest to find."""
_MOST_MATCH = 0.8
"""Where a filter leaves at least this share of the rows, a visit of near partitions is likely to
find enough of them, as deep as it goes for all rows."""


class Visit(Struct, frozen=True, eq=False, gc=False):
    """One search of an index: ``candidates`` rows by their sketches, put in order by codes if there
    are any. ``why`` it differs from a usual one is for ``explain``."""

    index: Index
    quantized: QuantizedVectors | None
    effort: Effort
    candidates: int
    why: str = ""


def sketches(search: SegmentSearch, visit: Visit) -> Candidates:
    """Candidates among all rows."""
    visited = _visit(search, visit)
    rows, counts = visit.index.clustered.rows_at(visited.positions), visited.counts[:, 0].copy()
    return Candidates(rows, counts, visited.scores, visited.bounds)


def sketches_and_originals(search: SegmentSearch, visit: Visit, vectors: Floats) -> Candidates:
    """Both stages in one call of a kernel. ``vectors: float32 (rows, dim)``, in memory."""
    index, effort, candidates = visit.index, visit.effort, visit.candidates
    clustered = index.clustered
    blocks = index.sketch.verify().reshape(clustered.sketch_shape)
    metric, limit = metrics()[search.vector.metric], min(search.limit, candidates)
    scores, rows, counts, sure = clustered.nearest(
        search.queries, blocks, candidates, effort.gap, metric, vectors, limit
    )
    if search.explain is not None:
        _explain(search, visit, counts)
        stage = models.SearchStage("originals", int(counts[:, 0].sum()), limit, "rescored")
        search.explain(stage)
    return Candidates(rows, counts[:, 0], scores, sure=sure)


def visit_pays(search: SegmentSearch, index: Index) -> bool:
    """Whether a visit of near partitions for the rows that match a filter is likely to be enough:
    where nearly all of them do."""
    return search.rescore and search.allowed >= _MOST_MATCH * index.clustered.rows


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
    matches = search.allowed
    if matches <= max(effort.rows, candidates):
        return None
    depth, why = search.limit, visit.why
    while True:
        visited = _visit(search, Visit(visit.index, None, effort, candidates, why))
        rows = clustered.rows_at(visited.positions)
        left = np.arange(rows.shape[1]) < visited.counts[:, :1]
        visited.scores[~left] = -np.inf  # beyond the count
        left[left] = bits_at(mask, rows[left])
        needed = _needed_depth(visited.scores, left, search.limit)
        if needed is not None and needed <= depth + depth // 4:
            break
        if search.filtered:
            return None
        depth = 4 * depth if needed is None else min(needed, 4 * depth)
        why = f" of {depth} results, because rows that are near the query do not count"
        # The last of many results are the hardest to find: an effort finds them less often than its
        # results on average.
        effort = clustered.effort(max(search.recall, visit.effort.recall), _RESERVE * depth)
        candidates = max(candidates, effort.candidates)
        if candidates > matches // 2:
            return None
    counts = left.sum(axis=1)
    order = np.argsort(~left, axis=1, kind="stable")[:, : counts.max()]
    scores = np.take_along_axis(visited.scores, order, axis=1)
    rows = np.take_along_axis(rows, order, axis=1)
    return Candidates(rows, counts, scores, visited.bounds), effort


def _needed_depth(scores: Floats, left: npt.NDArray[np.bool_], limit: int) -> int | None:
    """How many results among all rows a search needs, to have ``limit`` allowed ones: by the
    sketches, and for the worst query. None: more than there are candidates."""
    deepest = limit
    for line, mine in zip(scores, left, strict=True):
        if np.count_nonzero(mine) < limit:
            return None
        worst = np.partition(line[mine], -limit)[-limit]
        deepest = max(deepest, int(np.count_nonzero(line >= worst)))
    return deepest


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
