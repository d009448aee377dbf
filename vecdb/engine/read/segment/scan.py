"""Scans: the best rows of one segment, by way of its index, its codes or its originals.

Each way ends in the originals, unless the caller does without (``rescore=False``)::

    index      sketches of near partitions  ->  codes, if they tell more  ->  originals
    filter     sketches, or codes, of all that match  ->  originals
    codes      all codes  ->  originals
    originals  all of them, or those a filter has left

A damaged index or damaged codes are not needed: without them a segment is scanned whole.
"""

from __future__ import annotations

from vecdb.engine.read.segment.candidates import Best, SegmentSearch, merged
from vecdb.engine.read.segment.code_scan import code_scan
from vecdb.engine.read.segment.codes import by_codes_too
from vecdb.engine.read.segment.inverted import sparse_search
from vecdb.engine.read.segment.originals import exact_scan
from vecdb.engine.read.segment.sketches import Visit, visit_pays
from vecdb.engine.read.segment.widen import (
    all_rows,
    all_that_match,
    until_confident,
    without_doubts,
)
from vecdb.errors import CorruptionError
from vecdb.index import Effort
from vecdb.index.clustered.heaps import KEPT
from vecdb.storage.derived import Index, QuantizedVectors


def search_segment(search: SegmentSearch) -> list[Best]:
    """The best allowed rows of a segment, for each query."""
    if search.sparse is not None:
        return sparse_search(search)
    if search.params.exact:
        return exact_scan(search, "asked for")
    segment, name = search.segment_view.segment, search.vector.name
    index, quantized = segment.index(name), segment.codes(name)
    if index is not None:
        try:
            return _index_scan(search, index, quantized)
        except CorruptionError as error:
            segment.quarantine(name, error)
            return search_segment(search)
    if quantized is not None and search.by_codes(quantized):
        try:
            return code_scan(search, quantized)
        except CorruptionError as error:
            segment.quarantine(name, error)
    return exact_scan(search)


def plain_visit(search: SegmentSearch) -> Visit | None:
    """The visit of the index that with originals is all there is to a search, unless it leaves
    doubts. None: there is more to it."""
    segment, name = search.segment_view.segment, search.vector.name
    index, quantized = segment.index(name), segment.codes(name)
    if index is None or search.mask is not None:
        return None
    effort = index.clustered.effort(search.recall, search.limit)
    if effort.everything or by_codes_too(search, effort, quantized):
        return None
    if search.limit > index.clustered.rows or (index.clustered.aside and search.limit > KEPT):
        return None
    return Visit(index, None, effort, effort.candidates)


def _index_scan(
    search: SegmentSearch, index: Index, quantized: QuantizedVectors | None
) -> list[Best]:
    clustered, ef = index.clustered, search.params.hnsw_ef
    effort = clustered.effort(search.recall, search.limit)
    if search.filtered and not visit_pays(search, index):
        return all_that_match(search, index, quantized if search.by_codes(quantized) else None)
    if ef is not None and (ef < effort.candidates or not search.rescore):
        least = max(search.limit, search.oversampled() or 0 if search.rescore else 0)
        effort = clustered.effort_of(max(ef, least), search.limit)
        if not (search.rescore and effort.everything):
            return _wide(search, index, quantized, effort)
    by_codes = quantized if by_codes_too(search, effort, quantized) else None
    if effort.everything and (search.rescore or (by_codes is not None and not search.filtered)):
        # No number of candidates was found to be enough: the sketches tell too little.
        return all_rows(search, by_codes, f"for a recall of {search.recall:g}")
    candidates = min(max(ef or 0, search.oversampled() or 0), clustered.rows)
    if candidates and search.rescore:
        # With more candidates, or codes, fewer searches are in doubt: more might find less.
        plain = search.without_candidates()
        as_plain = by_codes is None or by_codes_too(plain, effort, quantized)
        if candidates > effort.candidates or not as_plain:
            usual = _index_scan(plain, index, quantized)
            effort = clustered.effort_of(max(candidates, effort.candidates), search.limit)
            best = _wide(search, index, quantized, effort)
            return [merged(search.limit, *pair) for pair in zip(best, usual, strict=True)]
    candidates = max(effort.candidates, candidates)
    return until_confident(search, Visit(index, by_codes, effort, candidates))


def _wide(
    search: SegmentSearch, index: Index, quantized: QuantizedVectors | None, effort: Effort
) -> list[Best]:
    """Search with as many candidates as the caller said."""
    by_codes = quantized if by_codes_too(search, effort, quantized) else None
    return without_doubts(search, Visit(index, by_codes, effort, effort.candidates))
