"""Plain searches: for what is nearest to a vector, and nothing else is asked for.

Where a collection is one segment with an index, and its vectors are in memory or in a file that is,
such a search is one call of a kernel. What that call takes depends on the view, and is found out
once for each: to do so for every search, as `answer` does, takes as long as the kernel. A search
that is not plain, or leaves doubts, goes that way, and finds the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb import ids, models
from vecdb.engine.read.answer import public_scores
from vecdb.engine.read.asked import MOST
from vecdb.engine.read.merge import segment_searches
from vecdb.engine.read.plan import NOTHING, Nearest
from vecdb.engine.read.rows import read_payloads
from vecdb.engine.read.segment.candidates import SegmentSearch
from vecdb.engine.read.segment.kernels import metrics
from vecdb.engine.read.segment.scan import plain_visit
from vecdb.engine.read.segment.sketches import Visit
from vecdb.engine.view import SegmentView, View
from vecdb.errors import CorruptionError
from vecdb.storage.arrays import PlacedArray
from vecdb.storage.derived import Index
from vecdb.storage.format import BLOCK_SIZE
from vecdb.vectors import plain_query

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_MOST = 64
"""So many kinds of plain searches are remembered of a view. A program has a few."""
_NO_PARAMS = models.SearchParams()
_BESIDE_RECALL = [
    (field, getattr(_NO_PARAMS, field))
    for field in models.SearchParams.__struct_fields__
    if field != "recall"
]
_LONGEST_PAUSE = 31
"""So many searches are not tried plainly after several that left doubts."""


class _Plain(Struct, eq=False, gc=False):
    """What one kind of plain search takes in a view.

    A search that leaves doubts is made again, all of it. So after doubtful ones plain searches
    pause, the longer the more there are: queries unlike the rows all leave doubts.
    """

    segment_view: SegmentView
    index: Index
    originals: PlacedArray
    dim: int
    normalize: bool
    nearest: Callable[[Floats], tuple[Floats, Ints, Ints, Floats]]
    calm: float
    reach: float
    """How sure an answer has to be."""
    pause: int = 0
    """The length of the pause after the last doubtful search."""
    waiting: int = 0
    """How much of it is left, in searches. Threads may count wrongly; nothing hangs on it."""

    def doubt(self) -> None:
        """Pause after a doubtful search."""
        self.pause = self.waiting = min(2 * self.pause + 1, _LONGEST_PAUSE)


def plain_search(view: View, asked: models.QueryRequest) -> list[models.ScoredPoint] | None:
    """The points nearest to a vector, best first: at least one. None: that is no plain search."""
    if (
        asked.filter is not None
        or asked.offset is not None
        or asked.score_threshold is not None
        or asked.prefetch is not None
        or asked.lookup_from is not None
        or asked.with_vector is not False
        or (asked.with_payload is not True and asked.with_payload is not False)
    ):
        return None
    name = "" if asked.using is None else asked.using
    plain = _remembered(view, name, asked.limit, asked.params)
    if plain is None:
        return None
    vector = plain_query(asked.query, plain.dim, normalize=plain.normalize)
    segment_view = plain.segment_view
    segment = segment_view.segment
    if vector is None or segment.index(name) is not plain.index:  # found damaged since
        return None
    if plain.waiting:
        plain.waiting -= 1
        return None
    originals = plain.originals
    if originals.cold or originals.unverified_blocks:  # in a file, and not all of it in memory
        return None
    started = time.perf_counter()
    scores, rows, counts, sure = plain.nearest(vector[None])
    originals.has_taken(time.perf_counter() - started)
    [(calm, reach)] = sure.tolist()
    if calm < plain.calm or reach < plain.reach or counts[0, 0] < asked.limit:
        plain.doubt()
        return None
    plain.pause = 0
    rows = rows[0]
    return list(
        map(
            models.ScoredPoint,
            ids.external_array(segment.id_array(rows)),
            segment_view.seqs(rows).tolist(),
            public_scores(view.schema[name].metric, scores[0].tolist()),
            read_payloads(segment_view, rows) if asked.with_payload else repeat(None),
        )
    )


def _remembered(view: View, name: Any, limit: Any, params: Any) -> _Plain | None:
    """What such a search takes. None: it is not plain in this view."""
    recall = None
    if params is not None:
        if type(params) is not models.SearchParams:
            return None
        recall = params.recall
        if recall is not None and not (type(recall) is float and 0.0 < recall <= 1.0):
            return None
        for field, usual in _BESIDE_RECALL:
            if getattr(params, field) is not usual:
                return None
    if type(name) is not str or type(limit) is not int or not 1 <= limit <= MOST:
        return None
    # A view that is made of another has the other's memory, but segments of its own.
    segments, plain = view.plain.get((name, limit, recall), (None, None))
    if segments is not view.segments:
        plain = _plain(view, name, limit, recall)
        if len(view.plain) >= _MOST:
            view.plain.clear()
        view.plain[name, limit, recall] = view.segments, plain
    return plain  # type: ignore[no-any-return]


def _plain(view: View, name: str, limit: int, recall: float | None) -> _Plain | None:
    vector = view.schema.get(name)
    live = [segment_view for segment_view in view.segments if segment_view.live]
    if vector is None or len(live) != 1 or live[0].segment.index(name) is None:
        return None
    nothing = np.empty((0, vector.dim), dtype=np.float32)
    request = Nearest(
        vector=vector,
        query=nothing,
        excluded=(),
        condition=None,
        params=_NO_PARAMS if recall is None else models.SearchParams(recall=recall),
        limit=limit,
        offset=0,
        wanted=NOTHING,
        threshold=None,
    )
    for search in segment_searches(view, request, nothing, limit=limit):
        visit = plain_visit(search)
        if visit is None:
            return None
        try:
            return _of_visit(search, visit)
        except CorruptionError:
            return None  # searches that are not plain can do without what is damaged, or say so
    return None


def _of_visit(search: SegmentSearch, visit: Visit) -> _Plain:
    """What a search by one visit of an index takes. Raises CorruptionError."""
    segment_view, vector = search.segment_view, search.vector
    clustered, effort = visit.index.clustered, visit.effort
    # Of one row in each block: what is verified wholly is read sooner.
    segment_view.seqs(np.arange(0, segment_view.rows, BLOCK_SIZE // 8))
    all_of_them = visit.candidates >= clustered.rows
    return _Plain(
        segment_view=segment_view,
        index=visit.index,
        originals=search.originals,
        dim=vector.dim,
        normalize=vector.distance is models.Distance.COSINE,
        nearest=clustered.nearest_by(
            visit.index.sketch.verify().reshape(clustered.sketch_shape),
            visit.candidates,
            effort.gap,
            metrics()[vector.metric],
            search.originals.array.reshape(segment_view.rows, vector.dim),
            search.limit,
        ),
        calm=-np.inf if all_of_them else effort.calm,
        reach=-np.inf if all_of_them else effort.reach,
    )
