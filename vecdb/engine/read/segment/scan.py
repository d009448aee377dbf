"""Scans: the best rows of one segment, by way of its index, its codes or its originals.

Each way ends in the originals, unless the caller does without (``rescore=False``)::

    index      sketches of near partitions  ->  codes, if they tell more  ->  originals
    filter     sketches, or codes, of all that match  ->  originals
    codes      all codes  ->  originals
    originals  all of them, or those a filter has left

A damaged index or damaged codes are not needed: without them a segment is scanned whole.
"""

from __future__ import annotations

from math import ceil, sqrt

from msgspec.structs import replace

from vecdb.engine.read.segment.candidates import Best, SegmentSearch
from vecdb.engine.read.segment.code_scan import code_scan
from vecdb.engine.read.segment.codes import by_codes_too
from vecdb.engine.read.segment.originals import exact_scan
from vecdb.engine.read.segment.ragged import ragged_search
from vecdb.engine.read.segment.sketches import Visit, scan_pays, visit_pays
from vecdb.engine.read.segment.widen import (
    all_allowed,
    all_rows,
    until_confident,
)
from vecdb.errors import CorruptionError
from vecdb.index import Effort
from vecdb.index.clustered.effort import MEASURED
from vecdb.index.clustered.heaps import KEPT
from vecdb.storage.derived import Index, QuantizedVectors

_DEVIATIONS = 1.0
"""By chance fewer of the rows near a query match than anywhere: so many deviations fewer, and a
quarter more, hardly ever."""
_RARE = 32
"""Where a filter leaves fewer than one row of so many, they are hardly ever close together."""
_NEAR, _NEAR_RESULTS = 1024, 16
"""So many rows near a query say how many of those there match, and so many for each result."""
_TINY = 1e-9
_MOST_VISITED = 2
"""Where a deep visit takes more than one row of so many, it takes less to look at all sketches."""
_CHOICE = 2
"""So many times as many rows come from sketches as originals are read of the best by codes: else
sketches would choose them."""


def search_segment(search: SegmentSearch) -> list[Best]:
    """The best allowed rows of a segment, for each query."""
    if search.ragged is not None:
        return ragged_search(search)
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


def first_visit(search: SegmentSearch) -> Visit | None:
    """The visit that a search of a segment begins with, whatever the query. None: it has no index,
    or another way is taken."""
    segment, name = search.segment_view.segment, search.vector.name
    index, quantized = segment.index(name), segment.codes(name)
    if index is None or search.params.exact or (search.filtered and not visit_pays(search, index)):
        return None
    return _visit(search, index, quantized if search.by_codes(quantized) else None)


def is_plain(search: SegmentSearch, visit: Visit) -> bool:
    """Whether a visit is all that is looked at, unless it leaves doubts."""
    aside, masked = visit.index.clustered.aside, search.mask is not None
    if search.limit > visit.index.clustered.rows:
        return False
    if aside and (masked or search.limit > KEPT):
        return False
    return not (masked and scan_pays(search, visit))


def _index_scan(
    search: SegmentSearch, index: Index, quantized: QuantizedVectors | None
) -> list[Best]:
    if not search.by_codes(quantized):
        quantized = None
    if search.filtered and not visit_pays(search, index):
        deep = _deep_visit(search, index, quantized)
        if deep is None:
            return all_allowed(search, index, quantized)
        return until_confident(search, deep)
    visit = _visit(search, index, quantized)
    if visit is None:
        return all_rows(search, quantized, f"for a recall of {search.recall:g}")
    return until_confident(search, visit)


def _visit(search: SegmentSearch, index: Index, quantized: QuantizedVectors | None) -> Visit | None:
    """The first visit of an index. None: no number of candidates was found to be enough, as the
    sketches tell too little."""
    clustered, ef, limit = index.clustered, search.params.hnsw_ef, search.limit
    effort = clustered.effort(search.recall, limit)
    if ef is not None and (ef < effort.candidates or not search.rescore):
        least = (search.oversampled(quantized) or limit) if search.rescore else limit
        said = clustered.effort_of(max(ef, least), limit)
        if not (search.rescore and said.everything):
            return _of_effort(search, index, quantized, said, last=True)
    if effort.everything and (search.rescore or (quantized is not None and not search.filtered)):
        return None
    exactly = search.exactly(quantized)
    rescored = search.oversampled(quantized) or 0 if exactly is None else _CHOICE * exactly
    wanted = min(max(ef or 0, rescored), clustered.rows)
    if wanted > effort.candidates:
        # What is visited beside more candidates, too, and no less is doubted: asking for more gives
        # no less.
        wide = clustered.effort_of(wanted, limit)
        calm, reach = max(effort.calm, wide.calm), max(effort.reach, wide.reach)
        effort = replace(wide, calm=calm, reach=reach)
    return _of_effort(search, index, quantized, effort)


def _deep_visit(
    search: SegmentSearch, index: Index, quantized: QuantizedVectors | None
) -> Visit | None:
    """A visit of near partitions, deep enough to find the rows that match a filter if these are as
    frequent among its results as a little farther off. None: to look at the sketches of all of them
    takes less, or the caller says how many candidates there are to be."""
    clustered, limit, mask = index.clustered, search.limit, search.mask
    if not search.rescore or search.params.hnsw_ef or search.oversampled(quantized) is not None:
        return None
    if mask is None or _RARE * search.allowed < clustered.rows:
        return None
    near = max(_NEAR, _NEAR_RESULTS * limit)
    share = float(clustered.shares_allowed(search.queries, mask, near).min())
    depth = ceil((limit + _DEVIATIONS * sqrt(limit)) / max(share, _TINY))
    if depth > MEASURED[-1]:
        return None
    effort = clustered.effort_at(search.recall, depth)
    if effort.everything or _MOST_VISITED * effort.rows > clustered.rows:
        return None
    by_codes = quantized if by_codes_too(search, effort, quantized) else None
    if by_codes is None and quantized is not None and search.originals.is_mapped:
        return None  # codes of all that match leave fewer originals to be read
    why = f" of {depth} results, because not all rows near the query match the filter"
    return Visit(index, by_codes, effort, effort.candidates, why, depth=depth)


def _of_effort(
    search: SegmentSearch,
    index: Index,
    quantized: QuantizedVectors | None,
    effort: Effort,
    *,
    last: bool = False,
) -> Visit:
    by_codes = quantized if by_codes_too(search, effort, quantized) else None
    return Visit(index, by_codes, effort, effort.candidates, last=last)
