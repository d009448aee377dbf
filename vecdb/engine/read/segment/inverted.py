"""Inverted: the answer of a segment to a search by a sparse vector, exact by whatever way.

The inverted index finds rows that may be among the best, and these are scored by their vectors.
Rows in memory, which have no index, and the few that a filter leaves are scored one by one. A row
that has no index in common with the query is no result.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vecdb import models
from vecdb.engine.read.segment.candidates import Best, SegmentSearch
from vecdb.engine.read.segment.kernels import scan_sparse, score_sparse, search_postings
from vecdb.engine.view import live_rows
from vecdb.errors import CorruptionError
from vecdb.kernels import at_hand
from vecdb.storage.format import unpack_bits
from vecdb.storage.sparse_files import Postings
from vecdb.vectors.sparse import SparseBlock

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

_ALL = np.empty(0, dtype=np.uint8)  # the kernels' mask for "every row"
_LOOK_UP = 512
"""To score a row by its vector takes as long as to add up so many postings."""
_LOOKED_AT = 1 << 14
"""If more rows were scored, all of the file is verified."""
_NUMPY_ENTRIES = 1 << 20
"""Numbers of vectors that numpy looks through in some 10 ms, where kernels are not at hand."""


def sparse_search(search: SegmentSearch) -> list[Best]:
    """The best allowed rows of a segment for each query. Raises CorruptionError."""
    queries = search.ragged
    assert isinstance(queries, SparseBlock)
    if search.params.exact:
        return [_scan(search, query, "asked for") for query in _each(queries)]
    segment, name = search.segment_view.segment, search.vector.name
    postings = segment.postings(name)
    if postings is None:
        why = "no index" if segment.kind == "file" else "not in a file yet"
        return [_scan(search, query, why) for query in _each(queries)]
    try:
        return [_by_postings(search, query, postings) for query in _each(queries)]
    except CorruptionError as error:
        segment.quarantine(name, error)
        return sparse_search(search)


def sparse_scores(block: SparseBlock, query: SparseBlock) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The score of each row of a block against a query of one row, 0 where they have no index in
    common, and whether they have one."""
    if not at_hand() and len(block.indices) <= _NUMPY_ENTRIES:
        return block.dots(query)
    out, shared = np.empty(len(block), np.float32), np.empty(len(block), np.int64)
    rows = np.arange(len(block))
    score_sparse()(*block.parts, query.indices, query.values, rows, out, shared)
    return out, shared > 0


def _each(queries: SparseBlock) -> list[SparseBlock]:
    """Queries one by one."""
    return [queries.take([number]) for number in range(len(queries))]


def _by_postings(search: SegmentSearch, query: SparseBlock, postings: Postings) -> Best:
    """The best rows by the inverted index."""
    terms = postings.terms
    slots = terms.slots(query.indices)
    known = slots >= 0
    slots = slots[known]
    starts, stops = terms.firsts[slots], terms.firsts[slots + 1]
    many = int((stops - starts).sum())
    if search.mask is not None and search.allowed * _LOOK_UP <= many:
        return _of_few(search, query, postings)
    packed = postings.postings.verify_spans(starts, stops).reshape(-1)
    originals = postings.originals
    looked_at = np.empty(0 if originals.is_verified else _LOOKED_AT, dtype=np.int64)
    limit = min(search.limit, search.segment_view.rows)
    scores, rows = np.empty(limit, dtype=np.float32), np.empty(limit, dtype=np.int64)
    count, room = len(slots), terms.window
    done = np.zeros(2, dtype=np.int64)
    search_kernel, topk_sort = search_postings()
    filled = search_kernel(
        *(terms.windows, terms.counts, terms.maxima, packed),
        *(terms.starts[slots], terms.starts[slots + 1], starts),
        terms.bounds(slots, query.values[known]),
        *(*originals.parts, query.indices, query.values),
        _ALL if search.mask is None else search.mask,
        *(np.zeros(room, np.float32), np.empty(count, np.float32), np.empty(count, np.int64)),
        *(np.empty(room, np.int64), scores, rows, done, looked_at),
    )
    if len(looked_at):  # an answer counts if all that it was made of is whole
        if done[1] > len(looked_at):
            originals.all()
        else:
            originals.verify_rows(looked_at[: done[1]])
    topk_sort(scores, rows, filled)
    if search.explain is not None:
        added, scored = done.tolist()
        search.explain(models.SearchStage("postings", added, scored, f"of {many} of {count} terms"))
        search.explain(models.SearchStage("originals", scored, filled, "rescored"))
    return scores[:filled], rows[:filled]


def _of_few(search: SegmentSearch, query: SparseBlock, postings: Postings) -> Best:
    """The best of the allowed rows, which are few: only they are looked at."""
    rows = live_rows(search.mask, search.segment_view.rows)
    postings.originals.verify_rows(rows)
    scores, shared = np.empty(len(rows), np.float32), np.empty(len(rows), np.int64)
    parts = postings.originals.parts
    score_sparse()(*parts, query.indices, query.values, rows, scores, shared)
    found = np.flatnonzero(shared)
    best = found[np.lexsort((rows[found], -scores[found]))][: search.limit]
    if search.explain is not None:
        stage = models.SearchStage("originals", len(rows), len(best), "few rows are allowed")
        search.explain(stage)
    return scores[best], rows[best]


def _scan(search: SegmentSearch, query: SparseBlock, why: str) -> Best:
    """The best rows by their vectors, all that are allowed. ``why`` is for ``explain``."""
    segment_view, name = search.segment_view, search.vector.name
    pieces = segment_view.segment.ragged_blocks(name, segment_view.rows)
    limit = min(search.limit, segment_view.rows)
    scores, rows, filled = np.empty(limit, np.float32), np.empty(limit, np.int64), 0
    if at_hand() or segment_view.rows > _NUMPY_ENTRIES // 64:
        mask = _ALL if search.mask is None else search.mask
        scan, topk_sort = scan_sparse()
        for base, block in pieces:
            assert isinstance(block, SparseBlock)
            parts = (*block.parts, query.indices, query.values)
            filled = scan(*parts, mask, base, scores, rows, filled)
        topk_sort(scores, rows, filled)
        scores, rows = scores[:filled], rows[:filled]
    else:
        scores, rows = _numpy_scan(search, query)
    if search.explain is not None:
        search.explain(models.SearchStage("originals", search.allowed, len(rows), why))
    return scores, rows


def _numpy_scan(search: SegmentSearch, query: SparseBlock) -> Best:
    segment_view = search.segment_view
    found = [(np.empty(0, np.float32), np.empty(0, np.int64))]
    for base, block in segment_view.segment.ragged_blocks(search.vector.name, segment_view.rows):
        assert isinstance(block, SparseBlock)
        scores, shared = block.dots(query)
        if search.mask is not None:
            shared &= unpack_bits(search.mask, segment_view.rows)[base : base + len(block)]
        rows = np.flatnonzero(shared)
        found.append((scores[rows], base + rows))
    every, places = (np.concatenate(column) for column in zip(*found, strict=True))
    best = np.lexsort((places, -every))[: search.limit]
    return every[best], places[best]
