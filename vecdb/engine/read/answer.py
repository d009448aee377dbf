"""Answers: the points of plans.

The leaves of all plans come first. Searches that differ in nothing but their vector go through the
segments together: they share what is read (see ``scan.py``), and large ones are spread over the
processors. What they found goes up through the plans, and what comes out at the root is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from vecdb import ids, models
from vecdb.engine.read.columns import columns_of
from vecdb.engine.read.combined import combined
from vecdb.engine.read.fusion import best, fused
from vecdb.engine.read.masks import Condition, only, that_match
from vecdb.engine.read.merge import Floats, Hits, Offsets, explainer, hits_of, places_of
from vecdb.engine.read.mmr import diverse
from vecdb.engine.read.ordered import by_chance, by_value
from vecdb.engine.read.pages import page
from vecdb.engine.read.plan import (
    Combined,
    Fused,
    Mmr,
    Nearest,
    Ordered,
    Plan,
    Relevant,
    Rescored,
    Sampled,
    Scroll,
    Wanted,
)
from vecdb.engine.read.reader import walk
from vecdb.engine.read.rows import read_payloads, vectors_of
from vecdb.engine.read.text import relevant
from vecdb.engine.view import Segment, SegmentView, View
from vecdb.storage.format import count_set

Explained = list[models.SegmentSearch]

Placed = tuple[str | None, Plan]
"""A plan, and which prefetch it is of: as ``prefetch[0]``; None: the query itself."""

_AS_GOOD = 1.0
"""The score of points that nothing scores, as a server has it."""


def answer(view: View, plan: Plan, explained: Explained | None = None) -> list[models.ScoredPoint]:
    """The points of one plan. What was done is added to ``explained``."""
    return points_of(view, plan, plan.wanted, hits_of_plan(view, plan, explained))


def answers(view: View, plans: Sequence[Plan]) -> list[list[models.ScoredPoint]]:
    """The points of several plans, each as if it were the only one."""
    found = found_by(view, [leaf for plan in plans for leaf in leaves_of(plan)])
    hits = [(plan, up(view, plan, found)) for plan in plans]
    runs = itertools.groupby(hits, key=lambda pair: id(pair[0].wanted))
    together = (list(run) for _, run in runs)
    return [line for run in together for line in _points(view, run[0][0].wanted, run)]


def hits_of_plan(view: View, plan: Plan, explained: Explained | None = None) -> Hits:
    """The hits of one plan."""
    if not plan.sources:
        return _read(view, plan, explained)
    return up(view, plan, found_by(view, list(leaves_of(plan)), explained), explained)


def leaves_of(plan: Plan, at: str | None = None) -> Iterator[Placed]:
    """The plans that read the collection, all of it."""
    if not plan.sources:
        yield at, plan
    for place, source in _sources(plan, at):
        yield from leaves_of(source, place)


def _sources(plan: Plan, at: str | None) -> Iterator[Placed]:
    """The plans under a plan, and which prefetch each is."""
    for number, source in enumerate(plan.sources):
        inner = f"prefetch[{number}]" if at is None else f"{at}.prefetch[{number}]"
        yield at if isinstance(plan, Mmr) else inner, source


def found_by(
    view: View, leaves: Sequence[Placed], explained: Explained | None = None
) -> dict[int, Hits]:
    """The hits of leaves, by the ``id`` of each."""
    found: dict[int, Hits] = {}
    groups: dict[Any, list[Nearest]] = {}
    for at, leaf in leaves:
        if explained is not None:
            steps: Explained = []
            found[id(leaf)] = _read(view, leaf, steps)
            for segment in steps:
                segment.prefetch = at
            explained += steps
        elif isinstance(leaf, Nearest):
            groups.setdefault(_alike(leaf), []).append(leaf)
        else:
            found[id(leaf)] = _read(view, leaf)
    for group in groups.values():
        several = _pages(view, group) if len(group) > 1 else [_read(view, group[0])]
        found.update(zip(map(id, group), several, strict=True))
    return found


def _pages(view: View, searches: Sequence[Nearest]) -> list[Hits]:
    """The hits of searches that differ in nothing but their vectors."""
    queries = np.stack([search.query for search in searches])
    pages = page(view, searches[0], queries)
    return [_passing(search, hits) for search, hits in zip(searches, pages, strict=True)]


def hits_of_queries(view: View, search: Nearest, queries: Floats) -> list[Hits]:
    """The hits of one search with each of some vectors, ``float32 (n, dim)``, in its place."""
    return [_passing(search, hits) for hits in page(view, search, queries)]


def _alike(search: Nearest) -> Any:
    """Equal for searches that differ in nothing but their vectors: they are made together."""
    if search.excluded or search.ragged is not None:
        return id(search)  # alone: its rows are its own, or its way to find them
    condition = search.condition
    shared: Any = id(condition)
    if condition is not None and condition.alone and condition.digest is not None:
        shared = condition.digest
    return search.vector.name, search.limit, search.offset, search.params, shared


def _read(view: View, leaf: Plan, explained: Explained | None = None) -> Hits:
    """The hits of a leaf that shares nothing with others."""
    if isinstance(leaf, Nearest):
        [hits] = page(view, leaf, leaf.query[None], explained)
        return _passing(leaf, hits)
    if isinstance(leaf, Combined):
        return combined(view, leaf, explained)
    if isinstance(leaf, Relevant):
        return relevant(view, leaf, explained)
    assert isinstance(leaf, Scroll | Ordered | Sampled)
    if explained is not None:
        _explain(view, leaf, explained)
    if isinstance(leaf, Scroll):
        return _first(view, leaf)
    if isinstance(leaf, Ordered):
        return by_value(view, leaf)
    return by_chance(view, leaf)


def _explain(view: View, leaf: Scroll | Ordered | Sampled, explained: Explained) -> None:
    """Say what a filter leaves in each segment, and by what the points are chosen of it."""
    for segment_view in view.segments:
        if not segment_view.live:
            continue
        explain = explainer(segment_view, explained)
        left = count_set(that_match(view, segment_view, leaf.condition, explain))
        by, why = "ids", "in the order of ids"
        if isinstance(leaf, Sampled):
            by, why = "sample", "by chance"
        elif isinstance(leaf, Ordered):
            field = leaf.values.field
            _, columns = columns_of(view, segment_view, {field})
            by, why = "values", f"{field}: {'column' if field in columns else 'payloads read'}"
        explain(models.SearchStage(by, left, min(left, leaf.limit), why))


def _first(view: View, plan: Scroll) -> Hits:
    """The hits of a walk. Without a query all points are as good."""
    numbers = {id(segment_view): number for number, segment_view in enumerate(view.segments)}
    walked = itertools.islice(walk(view, plan), plan.limit)
    where = [(numbers[id(segment_view)], row) for _, segment_view, row in walked]
    return hits_of(view, [_AS_GOOD] * len(where), where)


def up(
    view: View,
    plan: Plan,
    found: dict[int, Hits],
    explained: Explained | None = None,
    at: str | None = None,
) -> Hits:
    """The hits of a plan, of what its leaves found."""
    if not plan.sources:
        return found[id(plan)]
    hits = [up(view, each, found, explained, place) for place, each in _sources(plan, at)]
    if isinstance(plan, Mmr):
        of_source = explained and [each for each in explained if each.prefetch == at]
        return diverse(plan, hits[0], of_source)
    if isinstance(plan, Fused | Rescored):
        rankings = [
            list(zip(places_of(view, some), _public(source, some), strict=True))
            for source, some in zip(plan.sources, hits, strict=True)
        ]
        if isinstance(plan, Fused):
            return fused(view, plan, rankings)
        return best(view, plan, *plan.formula(view, rankings))
    leaf = replace(plan, sources=(), condition=_one_of(hits))
    return found_by(view, [(at, leaf)], explained)[id(leaf)]


def _one_of(hits: Sequence[Hits]) -> Condition:
    """The condition that a row meets which is one of some hits."""
    chosen: dict[Segment, Offsets] = {}
    for segment_view, _, rows in itertools.chain.from_iterable(some.by_segment for some in hits):
        before = chosen.get(segment_view.segment)
        chosen[segment_view.segment] = rows if before is None else np.concatenate([before, rows])
    return only(chosen)


def _passing(search: Nearest, hits: Hits) -> Hits:
    """The hits that are better than the threshold, if there is one."""
    if search.threshold is None:
        return hits
    metric = search.vector.metric
    scores = public_scores(metric, hits.scores)
    stop = len(scores)
    while stop and not passes(metric, scores[stop - 1], search.threshold):
        stop -= 1
    return hits.between(0, stop) if stop < len(scores) else hits


def points_of(view: View, plan: Plan, want: Wanted, hits: Hits) -> list[models.ScoredPoint]:
    """The points of some hits of a plan, in their order."""
    [points] = _points(view, want, [(plan, hits)])
    return points


def _points(
    view: View, want: Wanted, found: Sequence[tuple[Plan, Hits]]
) -> list[list[models.ScoredPoint]]:
    """The same of several plans that want the same. Rows of one segment are read together."""
    scores = [_public(plan, hits) for plan, hits in found]
    parts: dict[int, list[tuple[SegmentView, int, Sequence[int], Offsets]]] = {}
    for number, (_, hits) in enumerate(found):
        for segment_view, positions, rows in hits.by_segment:
            piece = segment_view, number, positions, rows
            parts.setdefault(id(segment_view), []).append(piece)
    points: list[list[Any]] = [[None] * len(line) for line in scores]
    for part in parts.values():
        segment_view = part[0][0]
        rows = part[0][3] if len(part) == 1 else np.concatenate([each for *_, each in part])
        made = map(
            models.ScoredPoint,
            ids.external_array(segment_view.segment.id_array(rows)),
            segment_view.seqs(rows).tolist(),
            [scores[number][at] for _, number, positions, _ in part for at in positions],
            *_beside(view, segment_view, rows, want),
        )
        for _, number, positions, _ in part:
            line = points[number]
            for at, point in zip(positions, made, strict=False):  # as many as there are positions
                line[at] = point
    for line, (plan, hits) in zip(points, found, strict=True):
        if isinstance(plan, Ordered):
            for point, value in zip(line, hits.scores, strict=True):
                point.order_value = value
    return points


def _beside(
    view: View, segment_view: SegmentView, rows: Offsets, want: Wanted
) -> tuple[Iterable[Any], Iterable[Any]]:
    """Payloads and vectors of some rows, as far as they are wanted."""
    payloads: Iterable[Any] = itertools.repeat(None, len(rows))
    vectors: Iterable[Any] = itertools.repeat(None, len(rows))
    if want.payload is not False:
        payloads = read_payloads(segment_view, rows)
        if want.payload is not True:
            payloads = map(want.payload, payloads)
    if want.vectors is not None:
        vectors = [vectors_of(view, segment_view, row, want.vectors) for row in rows.tolist()]
    return payloads, vectors


def _public(plan: Plan, hits: Hits) -> list[float]:
    """The scores that callers see of the hits of a plan."""
    if isinstance(plan, Nearest | Mmr):
        return public_scores(plan.vector.metric, hits.scores)
    return [_AS_GOOD] * len(hits.scores) if isinstance(plan, Ordered) else hits.scores


def public_scores(metric: str, scores: list[float]) -> list[float]:
    """Scores on the metric's own scale: similarity, or distance (smaller is better)."""
    if metric == "dot":
        return scores
    if metric == "euclid":
        return [max(0.0, -score) ** 0.5 for score in scores]
    return [max(0.0, -score) for score in scores]


def passes(metric: str, score: float, threshold: float) -> bool:
    """Whether a public score is better than the threshold: one that equals it is not, as in
    Qdrant."""
    return score > threshold if metric == "dot" else score < threshold
