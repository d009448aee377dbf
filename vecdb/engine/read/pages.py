"""Pages of a search: no point is on two, and each that a deep enough search finds is on one.

A search for more results may look deeper, and find what one for fewer has missed: cut from two such
searches, pages would overlap. So a page is cut from one list, which begins with what a search for
one page finds; a search for four times as many adds what it finds besides; and so on, as far as is
needed. Page after page of one size thus goes through the same list, as long as the collection stays
the same. Within a page the best come first. A point that a search missed on its page comes later,
then with a better score than some before it.
"""

from __future__ import annotations

from math import gcd

import numpy as np

from vecdb import models
from vecdb.engine.read.merge import Floats, Hits, search_segments
from vecdb.engine.read.plan import Nearest
from vecdb.engine.view import View

_DEEPER = 4
"""The next search of a list is for so many times more results."""

Hit = tuple[float, int, int]
"""Minus the score of a hit, the position of its segment in the view, and its row there: sorts best
first."""


def page(
    view: View,
    request: Nearest,
    queries: Floats,
    explained: list[models.SegmentSearch] | None = None,
) -> list[Hits]:
    """The results of the page, for each query. The rest is as in `search_segments`; what is
    explained is the last search that was done."""
    limit, offset = request.limit, request.offset
    end = offset + limit
    if offset == 0 or _exact(view, request):
        results = search_segments(view, request, queries, limit=end, explained=explained)
        return [hits.between(offset, end) for hits in results] if offset else results
    lists: list[list[Hit]] = [[] for _ in queries]
    depth = gcd(limit, offset)
    while True:
        last = depth >= end
        deeper = search_segments(
            view, request, queries, limit=depth, explained=explained if last else None
        )
        for mine, hits in zip(lists, deeper, strict=True):
            known = {hit[1:] for hit in mine}
            more = [hit for hit in _listed(view, hits) if hit[1:] not in known]
            mine += more[: depth - len(mine)]
        if last:
            return [_hits(view, sorted(mine[offset:end])) for mine in lists]
        depth *= _DEEPER


def _exact(view: View, request: Nearest) -> bool:
    """Whether a search for more results always begins with the results of one for fewer."""
    name = request.vector.name
    return request.params.exact or not any(
        segment_view.segment.index(name) is not None or segment_view.segment.codes(name) is not None
        for segment_view in view.segments
    )


def _listed(view: View, hits: Hits) -> list[Hit]:
    """The hits as a list, best first."""
    positions = {id(segment_view): position for position, segment_view in enumerate(view.segments)}
    listed: list[Hit] = [(0.0, 0, 0)] * len(hits.scores)
    for segment_view, at, rows in hits.by_segment:
        for where, row in zip(at, rows.tolist(), strict=True):
            listed[where] = -hits.scores[where], positions[id(segment_view)], row
    return listed


def _hits(view: View, listed: list[Hit]) -> Hits:
    """The list as hits."""
    hits = Hits([-score for score, _, _ in listed], [])
    for segment in sorted({segment for _, segment, _ in listed}):
        at = [position for position, hit in enumerate(listed) if hit[1] == segment]
        rows = np.array([listed[position][2] for position in at], dtype=np.int64)
        hits.by_segment.append((view.segments[segment], at, rows))
    return hits
