"""Plain searches: for what is nearest to a vector, best first, perhaps beside a filter.

Nearly all searches are. What they take of a view is worked out once for each kind of them: to do so
every time, as `answer` does, takes as long as the kernels. Where a segment has an index, and its
vectors are in memory or in a file that is, its search is one call of a kernel; whatever else a
segment has, or lacks, is left to `search_segment`. So both ways find the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from vecdb import ids, models
from vecdb.engine.read.answer import public_scores
from vecdb.engine.read.asked import MOST
from vecdb.engine.read.masks import count_of, matching
from vecdb.engine.read.merge import segment_searches
from vecdb.engine.read.plan import NOTHING, Nearest
from vecdb.engine.read.reader import condition
from vecdb.engine.read.rows import read_payloads
from vecdb.engine.read.segment.candidates import Best, SegmentSearch
from vecdb.engine.read.segment.codes import rescored_of, uses_codes
from vecdb.engine.read.segment.scan import first_visit, is_plain, search_segment
from vecdb.engine.read.segment.sketches import Visit, in_one_call
from vecdb.engine.read.segment.widen import deeper_visit, searched_deeper, until_confident
from vecdb.engine.view import SegmentView, View
from vecdb.errors import CorruptionError
from vecdb.index.clustered.nearest import Search, Searcher
from vecdb.storage.arrays import PlacedArray
from vecdb.storage.catalog import Bits
from vecdb.storage.format import BLOCK_SIZE
from vecdb.vectors import plain_query
from vecdb.vectors.datatypes import FLOAT32

Floats = npt.NDArray[np.float32]

_MOST = 64
"""So many kinds of plain searches are remembered of a view. A program has a few."""
_NO_PARAMS = models.SearchParams()
_NO_CODES = models.QuantizationSearchParams()
_FLAGS = (None, True, False)
_NO_VECTORS = np.empty((0, 0), dtype=np.float32)


class _Call(Struct, eq=False, gc=False):
    """A visit of an index as one call of a kernel, originals and all."""

    visit: Visit
    originals: PlacedArray | None
    """None: codes have the last word."""
    nearest: Searcher
    calm: float
    reach: float
    """How sure an answer has to be."""
    deeper: _Call | None = None
    """What goes on where it is not. None: not known yet, or it takes something else."""

    @property
    def is_in_memory(self) -> bool:
        """Whether originals need not be waited for, nor verified."""
        originals = self.originals
        return originals is None or not (originals.waits or originals.unverified_blocks)


class _Part(Struct, eq=False, gc=False):
    """The search of one segment, for whatever query. ``visit`` and ``call``: None if it takes
    something else, or more."""

    search: SegmentSearch
    visit: Visit | None
    call: _Call | None

    def best(self, queries: Floats) -> Best:
        """The best rows for one query, ``float32 (1, dim)``."""
        search, visit, call = self.search.of(queries), self.visit, self.call
        index = search.segment_view.segment.index(search.vector.name)
        if visit is None or index is not visit.index:  # found damaged since
            return search_segment(search)[0]
        if call is None:
            return _until_confident(search, visit)
        while call.is_in_memory:
            started = time.perf_counter()
            scores, rows, counts, sure = call.nearest(queries)
            if call.originals is not None:
                call.originals.has_taken(time.perf_counter() - started)
            [(calm, reach)] = sure.tolist()
            if counts[0, 0] < search.limit:  # too many of those near the query are not allowed
                break
            if calm >= call.calm and reach >= call.reach:
                return scores[0], rows[0]
            deeper = call.deeper or _deeper(search, call)
            if deeper is None:
                return searched_deeper(search, call.visit)[0]
            call = deeper
        return _until_confident(search, call.visit)

    def best_of(self, mask: Bits, queries: Floats) -> Best | None:
        """The best of the rows of a mask that was made by a filter; None: there are none."""
        search = self.search
        if search.mask is not None:
            mask = search.mask[: len(mask)] & mask
        allowed = count_of(mask)
        if not allowed:
            return None
        some = replace(search, queries=queries, filtered=True, mask=mask, allowed=allowed)
        return search_segment(some)[0]


class _Plain(Struct, eq=False, gc=False):
    """What one kind of plain search takes in a view."""

    dim: int
    normalize: bool
    metric: str
    limit: int
    parts: list[_Part]


def plain_search(view: View, asked: models.QueryRequest) -> list[models.ScoredPoint] | None:
    """The points nearest to a vector, best first. None: that is no plain search. Raises
    InvalidInputError for a filter that is none."""
    if (
        asked.offset is not None
        or asked.score_threshold is not None
        or asked.prefetch is not None
        or asked.lookup_from is not None
        or asked.with_vector is not False
        or (asked.with_payload is not True and asked.with_payload is not False)
    ):
        return None
    plain = _remembered(view, "" if asked.using is None else asked.using, asked.limit, asked.params)
    if plain is None:
        return None
    vector = plain_query(asked.query, plain.dim, normalize=plain.normalize)
    if vector is None:
        return None
    queries, found = vector[None], []
    if asked.filter is None:
        for part in plain.parts:
            found.append((part.search.segment_view, part.best(queries)))
    else:
        matches = condition(asked.filter, "query_filter", view)
        assert matches is not None
        for part in plain.parts:
            segment_view = part.search.segment_view
            best = part.best_of(matching(view, segment_view, matches), queries)
            if best is not None:
                found.append((segment_view, best))
    if len(found) == 1:
        return list(_points(plain, *found[0], payload=asked.with_payload))
    return _merged(plain, found, payload=asked.with_payload)


def _merged(
    plain: _Plain, found: list[tuple[SegmentView, Best]], *, payload: bool
) -> list[models.ScoredPoint]:
    """The best points of several segments, of the best rows in each."""
    ranked = [
        (-score, number)
        for number, (_, (scores, _)) in enumerate(found)
        for score in scores.tolist()
    ]
    ranked.sort()
    order = [number for _, number in ranked[: plain.limit]]
    points = []
    for number, (segment_view, (scores, rows)) in enumerate(found):
        some = order.count(number)  # its best ones
        best = scores[:some], rows[:some]
        points.append(_points(plain, segment_view, best, payload=payload) if some else iter(()))
    return [next(points[number]) for number in order]


def _points(
    plain: _Plain, segment_view: SegmentView, best: Best, *, payload: bool
) -> Iterator[models.ScoredPoint]:
    """The points of some rows of a segment, in their order."""
    scores, rows = best
    return map(
        models.ScoredPoint,
        ids.external_array(segment_view.segment.id_array(rows)),
        segment_view.seqs(rows).tolist(),
        public_scores(plain.metric, scores.tolist()),
        read_payloads(segment_view, rows) if payload else repeat(None),
    )


# -- what is remembered --------------------------------------------------------------------------


def _remembered(view: View, name: Any, limit: Any, params: Any) -> _Plain | None:
    """What such a search takes. None: it is not plain."""
    if type(name) is not str or type(limit) is not int or not 1 <= limit <= MOST:
        return None
    options = () if params is None else _options(params)
    if options is None:
        return None
    # A view that is made of another has the other's memory, but segments of its own.
    key = name, limit, options
    segments, plain = view.plain.get(key, (None, None))
    if segments is not view.segments:
        plain = _plain(view, name, limit, params)
        if len(view.plain) >= _MOST:
            view.plain.clear()
        view.plain[key] = view.segments, plain
    return plain  # type: ignore[no-any-return]


def _options(params: Any) -> tuple[Any, ...] | None:
    """What tells search parameters from others. None: they are none, or it takes a closer look."""
    codes = params.quantization if type(params) is models.SearchParams else None
    if codes is None and type(params) is models.SearchParams:
        codes = _NO_CODES
    if type(codes) is not models.QuantizationSearchParams:
        return None
    recall, ef, factor = params.recall, params.hnsw_ef, codes.oversampling
    if (
        (recall is not None and not (type(recall) is float and 0.0 < recall <= 1.0))
        or (ef is not None and not (type(ef) is int and ef >= 0))
        or (factor is not None and not (type(factor) is float and 1.0 <= factor < np.inf))
        or not any(codes.rescore is each for each in _FLAGS)
        or not any(codes.ignore is each for each in _FLAGS)
        or not any(params.exact is each for each in _FLAGS)
        or params.indexed_only is not _NO_PARAMS.indexed_only
        or params.acorn is not None
    ):
        return None
    return recall, ef, factor, codes.rescore, codes.ignore, params.exact


def _plain(view: View, name: str, limit: int, params: models.SearchParams | None) -> _Plain | None:
    vector = view.schema.get(name)
    if vector is None or vector.is_ragged:
        return None
    nothing = np.empty((0, vector.dim), dtype=np.float32)
    request = Nearest(
        vector=vector,
        query=nothing,
        excluded=(),
        condition=None,
        params=_NO_PARAMS
        if params is None
        else models.coerce(models.SearchParams, params, "search_params"),
        limit=limit,
        offset=0,
        wanted=NOTHING,
        threshold=None,
    )
    searches = segment_searches(view, request, nothing, limit=limit)
    return _Plain(
        dim=vector.dim,
        normalize=vector.distance is models.Distance.COSINE,
        metric=vector.metric,
        limit=limit,
        parts=list(map(_part, searches)),
    )


def _part(search: SegmentSearch) -> _Part:
    visit = first_visit(search)
    return _Part(search, visit, None if visit is None else _call(search, visit))


def _until_confident(search: SegmentSearch, visit: Visit) -> Best:
    try:
        return until_confident(search, visit)[0]
    except CorruptionError:
        return search_segment(search)[0]  # does without what is damaged


def _deeper(search: SegmentSearch, call: _Call) -> _Call | None:
    """What goes on where a call leaves doubts, if that is a call, too; it is remembered."""
    visit = deeper_visit(search, call.visit)
    if visit is not None:
        call.deeper = _call(search, visit)
    return call.deeper


def _call(search: SegmentSearch, visit: Visit) -> _Call | None:
    if not is_plain(search, visit):
        return None
    segment_view, clustered, effort = search.segment_view, visit.index.clustered, visit.effort
    by_codes = uses_codes(search, visit)
    if by_codes and not search.rescore:
        vectors = _NO_VECTORS
    elif search.vector.datatype == FLOAT32:
        vectors = search.originals.array.reshape(segment_view.rows, search.vector.dim)
    else:
        return None
    try:
        call = in_one_call(search, visit, vectors, search.limit)
        nearest = _by_codes(search, visit, call) if by_codes else call.nearest()
        # Of one row in each block: what is verified wholly is read sooner.
        segment_view.seqs(np.arange(0, segment_view.rows, BLOCK_SIZE // 8))
    except CorruptionError:
        return None  # other ways do without what is damaged, or say so
    asked = clustered.effort(search.recall, search.limit)
    calm, reach = effort.sure_enough(asked, search.recall)
    without_doubts = visit.last or visit.candidates >= clustered.rows
    return _Call(
        visit=visit,
        originals=search.originals if len(vectors) else None,
        nearest=nearest,
        calm=-np.inf if without_doubts else calm,
        reach=-np.inf if without_doubts else reach,
    )


def _by_codes(search: SegmentSearch, visit: Visit, call: Search) -> Searcher:
    quantized = visit.quantized
    assert quantized is not None
    quantizer, rows = quantized.quantizer, search.segment_view.rows
    return call.nearest_by_codes(
        quantized.codes.verify().reshape(quantizer.codes_shape(rows)),
        lambda query: quantizer.prepare(query).arguments,
        rescored_of(search, visit) if search.rescore else search.limit,
        judged=search.exactly(quantized) is None,
    )
