"""Widening: an index is searched with more and more candidates, until the answer can be trusted.

An effort was measured with rows as queries. For a query that is unlike the rows, a row that was
left out may be better than the last result: that query is searched once more, deeper. Only this
module knows what is sure enough.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import structs
from msgspec.structs import replace

from vecdb.engine.read.segment.candidates import MOST_AT_ONCE, Best, Candidates, SegmentSearch
from vecdb.engine.read.segment.code_scan import code_scan
from vecdb.engine.read.segment.codes import codes, to_be_rescored
from vecdb.engine.read.segment.equals import with_equals
from vecdb.engine.read.segment.originals import exact_scan, originals
from vecdb.engine.read.segment.sketches import (
    Visit,
    sketches,
    sketches_and_originals,
    sketches_of_allowed,
)
from vecdb.storage.segment import QuantizedVectors


def without_doubts(search: SegmentSearch, visit: Visit) -> list[Best]:
    """The best rows of as many candidates as the caller said, whatever doubts are left."""
    effort = replace(visit.effort, calm=-math.inf, reach=-math.inf)
    return until_confident(search, structs.replace(visit, effort=effort))


def until_confident(search: SegmentSearch, visit: Visit) -> list[Best]:
    """The best rows for each query, searched deeper until the answer is sure enough."""
    best, doubtful = _tried(search, visit)
    waiting = _deeper_pieces(search, visit, doubtful) if doubtful else []
    while waiting:
        wider, numbers = waiting.pop(0)
        some = search.of(search.queries[numbers])
        doubtful = []
        if wider is not None:
            results, doubtful = _tried(some, wider)
        else:
            results = all_rows(some, visit.quantized, "sketches tell too little of this query")
        for number, mine in zip(numbers, results, strict=True):
            best[number] = mine
        if wider is not None and doubtful:
            waiting += _deeper_pieces(search, wider, [numbers[each] for each in doubtful])
    return best


def all_rows(search: SegmentSearch, quantized: QuantizedVectors | None, why: str) -> list[Best]:
    """The best of all rows: by their originals, or by their codes where these decide."""
    if quantized is not None and not search.rescore:
        return code_scan(search, quantized, why)
    return exact_scan(search, why)


def _deeper_pieces(
    search: SegmentSearch, visit: Visit, numbers: list[int]
) -> list[tuple[Visit | None, list[int]]]:
    """How to search doubtful queries again: pieces of them with the deeper visit for each. None:
    all rows are scored."""
    effort = visit.index.clustered.deeper(visit.effort, visit.candidates, search.limit)
    wider = None
    if effort is not None:
        why = " of a query unlike the rows"
        wider = Visit(visit.index, visit.quantized, effort, effort.candidates, why)
    at_once = max(1, MOST_AT_ONCE // (effort or visit.effort).candidates)
    return [(wider, numbers[start : start + at_once]) for start in range(0, len(numbers), at_once)]


def _tried(search: SegmentSearch, visit: Visit) -> tuple[list[Best], list[int]]:
    """The best rows for each query, and the numbers of the queries that leave doubts."""
    candidates = _through_stages(search, visit)
    if candidates is None:
        if search.filtered:
            return exact_scan(search, "all that match the filter"), []
        return all_rows(search, visit.quantized, "so few are left"), []
    best = with_equals(search, visit, candidates.best())
    if visit.candidates >= visit.index.clustered.rows:
        return best, []
    # A comparison of arrays takes longer than it looks.
    least, nearest = visit.effort.calm, visit.effort.reach
    assert candidates.sure is not None
    doubtful = [
        q
        for q, (calm, reach) in enumerate(candidates.sure.tolist())
        if calm < least or reach < nearest
    ]
    return best, doubtful


def _through_stages(search: SegmentSearch, visit: Visit) -> Candidates | None:
    """Sketches, then codes if they tell more, then originals. None: see `sketches_of_allowed`."""
    if search.mask is not None:
        candidates = sketches_of_allowed(search, visit)
        if candidates is None:
            return None
    else:
        vectors_file = search.originals
        if visit.quantized is None and vectors_file.placement == "anonymous":
            vectors = vectors_file.array.reshape(search.segment_view.rows, search.vector.dim)
            return sketches_and_originals(search, visit, vectors)  # verified when loaded
        candidates = sketches(search, visit)
    if visit.quantized is None:
        return originals(search, candidates)
    if not search.rescore:
        return codes(search, candidates, visit.quantized, search.limit)
    # The caller may want more than the recall takes, but never gets less.
    width = candidates.rows.shape[1]
    keep = max(visit.effort.survivors or width, search.oversampled() or 0, search.limit)
    ranked = codes(search, candidates, visit.quantized, keep)
    best = originals(search, to_be_rescored(search, ranked))
    sure, by_codes = ranked.sure, best.sure
    assert sure is not None
    assert by_codes is not None
    if keep < width:  # the less sure of two steps
        np.minimum(sure[:, 0], by_codes[:, 0], out=sure[:, 0])
    return structs.replace(best, sure=sure)
