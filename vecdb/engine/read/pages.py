"""Pages of a search: no point is on two, and each that a deep enough search finds is on one.

A search for more results may look deeper, and find what one for fewer has missed: cut from two such
searches, pages would overlap. So a page is cut from one list, which begins with what a search for
one page finds; a search for four times as many adds what it finds besides; and so on, as far as is
needed. Page after page of one size thus goes through the same list, as long as the collection stays
the same. Within a page the best come first. A point that a search missed on its page comes later,
then with a better score than some before it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

from vecdb import models
from vecdb.engine.read.merge import Floats, Hits, hits_of, places_of, search_segments
from vecdb.engine.read.plan import Combined, Nearest
from vecdb.engine.view import View

_DEEPER = 4
"""The next search of a list is for so many times more results."""

Explained = list[models.SegmentSearch]
Search = Callable[[int, Explained | None], list[Hits]]
"""Finds the first so many hits of each of some lists."""
Hit = tuple[float, int, int]
"""Minus the score of a hit, the position of its segment in the view, and its row there: sorts best
first."""


def page(
    view: View,
    request: Nearest,
    queries: Floats,
    explained: Explained | None = None,
) -> list[Hits]:
    """The results of the page, for each query. The rest is as in `search_segments`; what is
    explained is the last search that was done."""

    def search(limit: int, explained: Explained | None) -> list[Hits]:
        return search_segments(view, request, queries, limit=limit, explained=explained)

    return cut(view, request, search, explained)


def cut(
    view: View, request: Nearest | Combined, search: Search, explained: Explained | None = None
) -> list[Hits]:
    """The page of each list of hits that a search finds."""
    limit, offset = request.limit, request.offset
    end = offset + limit
    if offset == 0 or is_exact(view, request):
        results = search(end, explained)
        return [hits.between(offset, end) for hits in results] if offset else results
    lists: list[list[Hit]] = []
    depth = gcd(limit, offset)
    while True:
        last = depth >= end
        deeper = search(depth, explained if last else None)
        lists = lists or [[] for _ in deeper]
        for mine, hits in zip(lists, deeper, strict=True):
            known = {hit[1:] for hit in mine}
            more = [hit for hit in listed(view, hits) if hit[1:] not in known]
            mine += more[: depth - len(mine)]
        if last:
            return [_hits(view, sorted(mine[offset:end])) for mine in lists]
        depth *= _DEEPER


def is_exact(view: View, request: Nearest | Combined) -> bool:
    """Whether nothing but originals is looked at. Then a search for more results always begins with
    those of one for fewer."""
    name = request.vector.name
    return request.params.exact or not any(
        segment_view.segment.index(name) is not None
        or segment_view.segment.codes(name) is not None
        or segment_view.segment.token_index(name) is not None
        for segment_view in view.segments
    )


def listed(view: View, hits: Hits) -> list[Hit]:
    """The hits as a list, best first."""
    return [(-score, *at) for score, at in zip(hits.scores, places_of(view, hits), strict=True)]


def _hits(view: View, places: list[Hit]) -> Hits:
    """The list as hits."""
    return hits_of(view, [-score for score, _, _ in places], [hit[1:] for hit in places])
