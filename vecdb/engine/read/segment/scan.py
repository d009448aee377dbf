"""Scans: the best rows of one segment, by way of its index, its codes or its originals.

Each way ends in the originals, unless the caller does without (``rescore=False``)::

    index      sketches of near partitions  ->  codes, if they tell more  ->  originals
    codes      all codes  ->  originals
    originals  all of them, or those a filter has left

What is damaged is not needed: without its index or its codes, a segment is scanned whole.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb import models
from vecdb.engine.read.masks import Explain
from vecdb.engine.read.segment.code_scan import code_scan
from vecdb.engine.read.segment.originals import (
    Best,
    Search,
    by_originals,
    exact_scan,
    metrics,
    sureness,
)
from vecdb.engine.view import SegmentView
from vecdb.errors import CorruptionError
from vecdb.index import Effort, Found
from vecdb.index.clustered.index import measured_of
from vecdb.storage import layout
from vecdb.storage.catalog import Bits
from vecdb.storage.format import bits_at
from vecdb.storage.segment import Companion, FileSegment, Index

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

_RESERVE = 4
"""As how many times more results a search does that has to look deeper than its limit: the last of
many are the hardest to find."""
_FILTERED_VALUES = 4 << 20
"""Up to here (16 MiB of vectors: a millisecond) the rows that match a filter are all scored: how
deep an index had to be searched for them depends on how filter and query go together."""
MOST_AT_ONCE = 1 << 20
"""Of queries that go through a segment together, so many candidates are kept: 50 MB or so."""
_CODES_BYTES = 128 << 10
"""To prepare a query for codes, and to score candidates by them, takes as long as to read so many
bytes of originals from RAM."""


def search_segment(
    part: SegmentView, search: Search, mask: Bits | None, explain: Explain | None = None
) -> list[Best]:
    """The best allowed rows of a segment, for each query."""
    if search.params.exact or part.segment.kind != "file":
        return exact_scan(part, search, mask, explain)
    segment = part.segment
    assert isinstance(segment, FileSegment)
    name = search.vector.name
    index, companion = segment.indexes.get(name), segment.companions.get(name)
    if index is not None:
        try:
            return _index_scan(part, search, mask, index, companion, explain)
        except CorruptionError as error:
            _lose(segment, name, error)
            return search_segment(part, search, mask, explain)
    if companion is not None and search.by_codes(companion):
        try:
            return code_scan(part, search, mask, companion, explain)
        except CorruptionError as error:
            _lose(segment, name, error)
    return exact_scan(part, search, mask, explain)


def _lose(segment: FileSegment, name: str, error: CorruptionError) -> None:
    """Go on without a derived file in which damage was found now, in a block never used before.
    Raises what is not about one. That another search has just done the same does not matter."""
    for part, lose in (("sketch", segment.lose_index), ("codes", segment.lose_companion)):
        if error.path == str(segment.path / layout.vector_file(part, name)):
            lose(name, error)
            return
    raise error


# -- by index ----------------------------------------------------------------------------------


def _index_scan(
    part: SegmentView,
    search: Search,
    mask: Bits | None,
    index: Index,
    companion: Companion | None,
    explain: Explain | None,
) -> list[Best]:
    clustered, ef = index.clustered, search.params.hnsw_ef
    effort = clustered.effort(search.recall, search.limit)
    if ef is not None and (ef < effort.candidates or not search.rescore):
        effort = clustered.effort_of(max(ef, search.limit), search.limit)
        if not (search.rescore and effort.everything):
            return _wide(part, search, mask, index, companion, effort, explain)
    if search.rescore and effort.everything:
        # No number of candidates was found to be enough: the sketches tell too little.
        return exact_scan(part, search, mask, explain, f"for a recall of {search.recall:g}")
    by_codes = companion if _by_codes_too(part, search, effort, companion) else None
    candidates = min(max(ef or 0, search.oversampled() or 0), clustered.rows)
    if candidates and search.rescore:
        # With more candidates, or codes, fewer searches are in doubt: more might find less.
        plain = search.without_candidates()
        as_plain = by_codes is None or _by_codes_too(part, plain, effort, companion)
        if candidates > effort.candidates or not as_plain:
            usual = _index_scan(part, plain, mask, index, companion, explain)
            effort = clustered.effort_of(max(candidates, effort.candidates), search.limit)
            best = _wide(part, search, mask, index, companion, effort, explain)
            return [_merged(search.limit, *pair) for pair in zip(best, usual, strict=True)]
    candidates = max(effort.candidates, candidates)
    return _surely(part, search, mask, index, by_codes, effort, candidates, explain)


def _wide(
    part: SegmentView,
    search: Search,
    mask: Bits | None,
    index: Index,
    companion: Companion | None,
    effort: Effort,
    explain: Explain | None,
) -> list[Best]:
    """The best of as many candidates as the caller said: no doubts, that is what they get."""
    by_codes = companion if _by_codes_too(part, search, effort, companion) else None
    effort = replace(effort, calm=-math.inf, reach=-math.inf)
    return _surely(part, search, mask, index, by_codes, effort, effort.candidates, explain)


def _merged(limit: int, one: Best, other: Best) -> Best:
    """The best of two answers to the same search."""
    rows, first = np.unique(np.concatenate((one[1], other[1])), return_index=True)
    scores = np.concatenate((one[0], other[0]))[first]
    order = np.lexsort((rows, -scores))[:limit]
    return scores[order], rows[order]


def _surely(
    part: SegmentView,
    search: Search,
    mask: Bits | None,
    index: Index,
    companion: Companion | None,
    effort: Effort,
    candidates: int,
    explain: Explain | None,
    deeper: str = "",
) -> list[Best]:
    """The best rows for each query; once more with more candidates where what was left out may be
    better than the last result. So it is for queries that are unlike the rows: an effort was
    measured with rows as queries."""
    assert isinstance(part.segment, FileSegment)
    clustered, originals = index.clustered, part.segment.originals[search.vector.name]
    if mask is not None:
        allowed = _visit_allowed(part, search, mask, index, effort, candidates, explain, deeper)
        if allowed is None:
            why = "all that match the filter" if search.filtered else "so few are left"
            return exact_scan(part, search, mask, explain, why)
        best, sure = _ranked(part, search, companion, *allowed, effort.survivors, explain)
    elif companion is None and originals.placement == "anonymous":
        vectors = originals.array.reshape(part.rows, search.vector.dim)  # verified when loaded
        best, sure = _by_both(search, index, effort, candidates, vectors, explain, deeper)
    else:
        found = _visit(search, index, effort, candidates, explain, deeper)
        rows, counts = clustered.rows_at(found.positions), found.counts[:, 0].copy()
        estimates = (found.scores, found.bounds)
        best, sure = _ranked(
            part, search, companion, rows, counts, *estimates, effort.survivors, explain
        )
    if candidates == clustered.rows:
        return best
    # A comparison of arrays takes longer than it looks.
    least, nearest = effort.calm, effort.reach
    doubtful = [
        q for q, (calm, reach) in enumerate(sure.tolist()) if calm < least or reach < nearest
    ]
    if not doubtful:
        return best
    again_with = clustered.deeper(effort, candidates, search.limit)
    at_once = max(1, MOST_AT_ONCE // (again_with or effort).candidates)
    for start in range(0, len(doubtful), at_once):
        numbers = doubtful[start : start + at_once]
        some = replace(search, queries=search.queries[numbers])
        if again_with is not None:
            deep = again_with, again_with.candidates
            why = " of a query unlike the rows"
            again = _surely(part, some, mask, index, companion, *deep, explain, why)
        elif companion is not None and not search.rescore:
            again = code_scan(part, some, mask, companion, explain)
        else:
            again = exact_scan(part, some, mask, explain, "sketches tell too little of this query")
        for number, mine in zip(numbers, again, strict=True):
            best[number] = mine
    return best


def _ranked(
    part: SegmentView,
    search: Search,
    companion: Companion | None,
    rows: Offsets,
    counts: Offsets,
    estimates: Floats,
    bounds: Floats,
    survivors: int,
    explain: Explain | None,
) -> tuple[list[Best], Floats]:
    """Some rows in order, for each query; by their codes before their originals, if there is a
    companion. And how sure that is: see `rescore`; the less sure step, if there are two."""
    if companion is None:
        return by_originals(part, search, rows, counts, explain, estimates, bounds)
    keep = search.limit
    if search.rescore:  # more than what the recall takes, if that is wanted, but never less
        keep = max(survivors or rows.shape[1], search.oversampled() or 0, search.limit)
    sure = np.full((len(rows), 2), np.inf, dtype=np.float32)
    best = []
    for number, (query, count) in enumerate(zip(search.queries, counts.tolist(), strict=True)):
        scores = _scores_by_codes(companion, part.rows, query, rows[number, :count])
        if count >= search.limit:
            at = -min(measured_of(search.limit), count)
            asked = (metrics()[search.vector.metric], estimates[number, :count], scores)
            sure[number] = np.array(
                sureness()(*asked, bounds[number], -at, np.partition(scores, at)[at])
            )
        order = np.lexsort((rows[number, :count], -scores))[:keep]
        best.append((scores[order], rows[number, order]))
        if explain is not None:
            kind = companion.codec["kind"]
            explain(models.SearchStage("codes", count, len(order), f"{kind} codes"))
    if not search.rescore:
        return best, sure
    best, by_codes = _rescored(part, search, best, explain)
    if keep < rows.shape[1]:
        np.minimum(sure[:, 0], by_codes[:, 0], out=sure[:, 0])
    return best, sure


def _by_codes_too(
    part: SegmentView, search: Search, effort: Effort, companion: Companion | None
) -> bool:
    """Whether the index's candidates are ranked by their codes before their originals are read, or
    instead of it."""
    if companion is None or not search.by_codes(companion):
        return False
    return not search.rescore or bool(search.oversampled()) or _pays(part, search, effort)


def _by_both(
    search: Search,
    index: Index,
    effort: Effort,
    candidates: int,
    vectors: Floats,
    explain: Explain | None,
    deeper: str,
) -> tuple[list[Best], Floats]:
    """Sketches and then originals, which are in memory: one call of a kernel. And how sure that
    is."""
    clustered = index.clustered
    blocks = index.sketch.verify().reshape(clustered.sketch_shape)
    metric, limit = metrics()[search.vector.metric], min(search.limit, candidates)
    scores, rows, counts, sure = clustered.nearest(
        search.queries, blocks, candidates, effort.gap, metric, vectors, limit
    )
    if explain is not None:
        _explain_visit(search, index, effort, counts, explain, deeper)
        explain(models.SearchStage("originals", int(counts[:, 0].sum()), limit, "rescored"))
    if len(counts) == 1 and counts[0, 0] >= limit:
        return [(scores[0], rows[0])], sure
    return [(scores[q, :n], rows[q, :n]) for q, n in enumerate(counts[:, 0].tolist())], sure


def _visit(
    search: Search,
    index: Index,
    effort: Effort,
    candidates: int,
    explain: Explain | None,
    deeper: str = "",
) -> Found:
    clustered = index.clustered
    blocks = index.sketch.verify().reshape(clustered.sketch_shape)
    found = clustered.visit(search.queries, blocks, candidates, effort.gap)
    if explain is not None:
        _explain_visit(search, index, effort, found.counts, explain, deeper)
    return found


def _explain_visit(
    search: Search,
    index: Index,
    effort: Effort,
    counts: Offsets,
    explain: Explain,
    deeper: str = "",
) -> None:
    kept, partitions, visited = counts.sum(axis=0).tolist()
    every = index.clustered.clustering.partitions * len(search.queries)
    effort_for = f"a recall of {effort.recall:g}"
    if search.params.hnsw_ef is not None:
        effort_for = f"hnsw_ef={search.params.hnsw_ef}"
    reason = f"{partitions} of {every} partitions, for {effort_for}{deeper}"
    explain(models.SearchStage("sketches", visited, kept, reason))


def _visit_allowed(
    part: SegmentView,
    search: Search,
    mask: Bits,
    index: Index,
    effort: Effort,
    candidates: int,
    explain: Explain | None,
    deeper: str,
) -> tuple[Offsets, Offsets, Floats, Floats] | None:
    """Candidates among the rows that a mask leaves: rows, how many, their sketches' scores, and the
    bounds of what is not visited, for each query. None if these rows had better be looked at one
    by one.

    How deep one has to look depends on what is missing: nothing near the query, or just the rows
    nearest to it. So all rows are visited, as for more and more results, until what is left of
    them is deep enough.
    """
    clustered = index.clustered
    matches = int(np.bitwise_count(mask).sum())
    if matches <= max(effort.rows, candidates):
        return None
    if search.filtered and matches * search.vector.dim <= _FILTERED_VALUES:
        return None
    depth, why = search.limit, deeper
    while True:
        found = _visit(search, index, effort, candidates, explain, why)
        rows = clustered.rows_at(found.positions)
        left = np.arange(rows.shape[1]) < found.counts[:, :1]
        found.scores[~left] = -np.inf  # beyond the count
        left[left] = bits_at(mask, rows[left])
        needed = _depth(found.scores, left, search.limit)
        if needed is not None and needed <= depth + depth // 4:
            break
        depth = 4 * depth if needed is None else min(needed, 4 * depth)
        why = f" of {depth} results, because rows that are near the query do not count"
        # The last of many results are the hardest to find: an effort finds them less often than
        # it finds its results in the mean.
        effort = clustered.effort(search.recall, _RESERVE * depth)
        candidates = max(candidates, effort.candidates)
        if candidates > matches // 2:
            return None
    counts = left.sum(axis=1)
    order = np.argsort(~left, axis=1, kind="stable")[:, : counts.max()]
    scores = np.take_along_axis(found.scores, order, axis=1)
    return np.take_along_axis(rows, order, axis=1), counts, scores, found.bounds


def _depth(scores: Floats, left: npt.NDArray[np.bool_], limit: int) -> int | None:
    """As how many results from among all rows one has to ask for, to have ``limit`` of those that
    are left: by the sketches, and for the worst query. None: more than there are candidates."""
    deepest = limit
    for line, mine in zip(scores, left, strict=True):
        if np.count_nonzero(mine) < limit:
            return None
        worst = np.partition(line[mine], -limit)[-limit]
        deepest = max(deepest, int(np.count_nonzero(line >= worst)))
    return deepest


def _pays(part: SegmentView, search: Search, effort: Effort) -> bool:
    """Whether codes save more than it takes to look at them: always where originals are on disk."""
    if not effort.survivors:
        return False
    assert isinstance(part.segment, FileSegment)
    if part.segment.originals[search.vector.name].placement == "mapped":
        return True
    saved = (effort.candidates - effort.survivors) * 4 * search.vector.dim
    return saved > _CODES_BYTES


def _rescored(
    part: SegmentView, search: Search, best: list[Best], explain: Explain | None
) -> tuple[list[Best], Floats]:
    """What is best by codes, put in order by vectors; and how sure that is, see `rescore`."""
    counts = np.array([len(rows) for _, rows in best])
    candidates = np.zeros((len(best), counts.max()), dtype=np.int64)
    by_codes = np.zeros(candidates.shape, dtype=np.float32)
    bounds = np.full((len(best), 2), -np.inf, dtype=np.float32)
    for number, (scores, rows) in enumerate(best):
        order = np.argsort(rows)  # ascending reads: fewer pages, in disk order
        candidates[number, : len(rows)] = rows[order]
        by_codes[number, : len(rows)] = scores[order]
    if search.vector.metric == "manhattan":
        by_codes = -np.square(by_codes)  # as of a Euclidean distance: see `sureness`
    return by_originals(part, search, candidates, counts, explain, by_codes, bounds)


def _scores_by_codes(companion: Companion, count: int, query: Floats, rows: Offsets) -> Floats:
    """What the codes say of some rows."""
    codes = companion.codes.verify().reshape(companion.quantizer.codes_shape(count))
    return companion.quantizer.prepare(query).score_rows(codes, rows)


def describe(companion: Any) -> str | None:
    """A codec in words, as ``vecdb info`` shows it."""
    if companion is None:
        return None
    codec = companion.codec
    plain = {"kind": codec["kind"], "quantile": None, "bits": 1.0, "layout": 2}
    details = [f"{key}={value:g}" for key, value in codec.items() if value != plain.get(key)]
    return " ".join([codec["kind"], *details])
