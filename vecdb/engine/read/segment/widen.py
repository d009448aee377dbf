"""Widening: an index is searched with more and more candidates, until the answer can be trusted.

An effort was measured with rows as queries. For a query that is unlike the rows, a row that was
left out may be better than the last result: that query is searched once more, deeper. Only this
module knows what is sure enough.
"""

from __future__ import annotations

import numpy as np
from msgspec import structs

from vecdb.engine.read.segment.candidates import MOST_AT_ONCE, Best, Candidates, SegmentSearch
from vecdb.engine.read.segment.code_scan import code_scan
from vecdb.engine.read.segment.codes import codes, rescored_of, to_be_rescored, uses_codes
from vecdb.engine.read.segment.equals import with_equals
from vecdb.engine.read.segment.estimates import CodeEstimates, Estimates, SketchEstimates
from vecdb.engine.read.segment.originals import exact_scan, originals
from vecdb.engine.read.segment.sketches import (
    Visit,
    scan_pays,
    sketches,
    sketches_and_originals,
    sketches_of_allowed,
)
from vecdb.engine.read.segment.until_sure import FEWEST_DIMENSIONS, best_until_sure
from vecdb.index import Effort
from vecdb.storage.derived import Index, QuantizedVectors
from vecdb.storage.memory import all_alive
from vecdb.vectors.datatypes import FLOAT32

_SCAN_BYTES = 256 << 10
"""To prepare a query for a scan of estimates, and to score some dozen candidates, takes as long as
to read so many bytes of originals."""
_HERE_AND_THERE = 3
"""Codes of the rows that match lie here and there: to score them takes so many times as long as to
read as many bytes of originals, as most of it is waiting."""
_MOST_RESULTS = 8
"""Where more than one row of so many is a result, originals are read: see ``until_sure``."""
_NEVER = 1 << 62
_UNLIKE_THE_ROWS = "near partitions tell too little of this query"
_NOTHING: Best = np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)


def until_confident(search: SegmentSearch, visit: Visit) -> list[Best]:
    """The best rows for each query, searched deeper until the answer is sure enough."""
    best, doubtful = _tried(search, visit)
    if not doubtful:
        return best
    deeper = searched_deeper(search.of(search.queries[doubtful]), visit)
    for number, mine in zip(doubtful, deeper, strict=True):
        best[number] = mine
    return best


def searched_deeper(search: SegmentSearch, visit: Visit) -> list[Best]:
    """The best rows for each query, all of which a visit has left doubtful."""
    best: list[Best] = [_NOTHING] * len(search.queries)
    waiting = _deeper_pieces(search, visit, [*range(len(best))])
    while waiting:
        wider, numbers = waiting.pop(0)
        some = search.of(search.queries[numbers])
        doubtful: list[int] = []
        if wider is not None:
            results, doubtful = _tried(some, wider)
        else:
            results = all_allowed(some, visit.index, visit.quantized, _UNLIKE_THE_ROWS)
        for number, mine in zip(numbers, results, strict=True):
            best[number] = mine
        if wider is not None and doubtful:
            waiting += _deeper_pieces(search, wider, [numbers[each] for each in doubtful])
    return best


def all_rows(search: SegmentSearch, quantized: QuantizedVectors | None, why: str) -> list[Best]:
    """The best of all rows: by their originals, or by their codes where these decide, or say whose
    originals are read."""
    if quantized is not None and not (search.rescore and search.exactly(quantized) is None):
        return code_scan(search, quantized, why)
    return exact_scan(search, why)


def all_allowed(
    search: SegmentSearch,
    index: Index,
    quantized: QuantizedVectors | None,
    why: str = "all that match the filter",
) -> list[Best]:
    """The best of all rows that are allowed: by whatever takes least to read of originals, codes
    and sketches, or by codes where these decide."""
    if search.rescore or quantized is None:
        estimates = _cheapest(search, index, quantized)
        if estimates is None:
            return exact_scan(search, why)
        if search.exactly(quantized) is None:
            wanted = max(search.params.hnsw_ef or 0, search.oversampled(quantized) or 0)
            return [best_until_sure(search, query, estimates, wanted) for query in search.queries]
    return all_rows(search, quantized, why)


def _cheapest(
    search: SegmentSearch, index: Index, quantized: QuantizedVectors | None
) -> Estimates | None:
    """What to estimate the rows that are allowed by. None: their originals have to be read, or had
    better be.

    Of codes it may be those of 8 bits that clip nothing. Others stand in blocks, as sketches do,
    and tell less. What is clipped shows in few candidates: of heavy tails 0.94 was found of 0.97.
    """
    dim, allowed, count = search.vector.dim, search.allowed, search.segment_view.rows
    if dim < FEWEST_DIMENSIONS or search.recall >= 1.0:
        return None
    blocks, block_bytes = index.clustered.sketch_shape
    sketches, codes = _SCAN_BYTES + min(blocks, allowed) * block_bytes, _NEVER
    codec = {} if quantized is None else quantized.codec
    if codec.get("kind") == "scalar" and codec.get("quantile") is None:
        codes = _SCAN_BYTES + _HERE_AND_THERE * allowed * dim
        if search.originals.is_mapped:
            # These codes tell more: fewer originals are read.
            sketches, codes = _NEVER, _SCAN_BYTES + allowed * dim
    originals = search.vector.bytes * allowed
    if _MOST_RESULTS * search.limit > allowed or originals <= min(sketches, codes):
        return None
    if quantized is not None and codes < sketches:
        return CodeEstimates(quantized, count, search.mask)
    mask = all_alive(count) if search.mask is None else search.mask
    return SketchEstimates(index, mask, allowed)


def deeper_visit(search: SegmentSearch, visit: Visit) -> Visit | None:
    """How to go on where a visit leaves doubts. None: all rows are looked at, as they are at once
    where a filter has made the first visit deeper."""
    if visit.depth:
        return None
    effort = visit.index.clustered.deeper(visit.effort, visit.candidates, search.limit)
    if effort is None:
        return None
    why = " of a query unlike the rows"
    return Visit(visit.index, visit.quantized, effort, effort.candidates, why)


def _deeper_pieces(
    search: SegmentSearch, visit: Visit, numbers: list[int]
) -> list[tuple[Visit | None, list[int]]]:
    """How to search doubtful queries again: pieces of them with the deeper visit for each."""
    wider = deeper_visit(search, visit)
    at_once = max(1, MOST_AT_ONCE // (wider or visit).effort.candidates)
    return [(wider, numbers[start : start + at_once]) for start in range(0, len(numbers), at_once)]


def _tried(search: SegmentSearch, visit: Visit) -> tuple[list[Best], list[int]]:
    """The best rows for each query, and the numbers of the queries that leave doubts."""
    stages = _through_stages(search, visit)
    if stages is None:
        if search.filtered:
            return all_allowed(search, visit.index, visit.quantized), []
        return all_rows(search, visit.quantized, "so few are left"), []
    candidates, deepest = stages
    best = with_equals(search, visit, candidates.best())
    if visit.last or visit.candidates >= visit.index.clustered.rows:
        return best, []
    clustered = visit.index.clustered
    asked = visit.effort if visit.depth else clustered.effort(search.recall, search.limit)
    least, nearest = visit.effort.sure_enough(asked, search.recall)
    if deepest is not visit.effort:
        # A gap is measured from the best partition. Where all near rows are deleted, that one tells
        # nothing of how far the results are, and only what the deeper effort asks for does.
        least, nearest = max(least, deepest.calm), max(nearest, deepest.reach)
    # A comparison of arrays takes longer than it looks.
    assert candidates.sure is not None
    doubtful = [
        q
        for q, (calm, reach) in enumerate(candidates.sure.tolist())
        if calm < least or reach < nearest
    ]
    return best, doubtful


def _through_stages(search: SegmentSearch, visit: Visit) -> tuple[Candidates, Effort] | None:
    """Sketches, then codes if they tell more, then originals; and the effort that was made. None:
    see `sketches_of_allowed`."""
    effort, vectors_file = visit.effort, search.originals
    if search.mask is not None and scan_pays(search, visit):
        return None
    by_codes = visit.quantized if uses_codes(search, visit) else None
    if by_codes is None and not vectors_file.is_mapped and search.vector.datatype == FLOAT32:
        vectors = vectors_file.array.reshape(search.segment_view.rows, search.vector.dim)
        found = sketches_and_originals(search, visit, vectors)  # verified when loaded
        if found is not None:
            return found, effort
    if search.mask is None:
        candidates = sketches(search, visit)
    else:
        allowed = sketches_of_allowed(search, visit)
        if allowed is None:
            return None
        candidates, effort = allowed
    if by_codes is None:
        return originals(search, candidates), effort
    if not search.rescore:
        return codes(search, candidates, by_codes, search.limit), effort
    ranked = codes(search, candidates, by_codes, rescored_of(search, visit))
    best = originals(search, to_be_rescored(search, ranked))
    sure, at_last = ranked.sure, best.sure
    assert sure is not None
    assert at_last is not None
    if search.exactly(by_codes) is None:  # the less sure of two steps
        np.minimum(sure[:, 0], at_last[:, 0], out=sure[:, 0])
    return structs.replace(best, sure=sure), effort
