"""Answers: the points of plans.

Searches that differ in nothing but their vector go through the segments together: they share what
is read (see ``scan.py``), and large ones are spread over the processors. What they found goes up
through the plans, and what comes out at the root is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vecdb import ids, models
from vecdb.engine.read.merge import Hits, Offsets
from vecdb.engine.read.mmr import diverse
from vecdb.engine.read.pages import page
from vecdb.engine.read.plan import Nearest, Plan, Ranked, Scroll, Wanted
from vecdb.engine.read.reader import scroll
from vecdb.engine.read.rows import read_payloads, vectors_of
from vecdb.engine.view import SegmentView, View

Explained = list[models.SegmentSearch]


def answer(view: View, plan: Plan, explained: Explained | None = None) -> list[models.ScoredPoint]:
    """The points of one plan. What was done is added to ``explained``."""
    if isinstance(plan, Scroll):
        return _first_points(view, plan)
    [hits] = _found(view, [_leaf(plan)], explained)
    return _points(view, plan, _up(plan, hits, explained))


def answers(view: View, plans: Sequence[Plan]) -> list[list[models.ScoredPoint]]:
    """The points of several plans, each as if it were the only one."""
    points: list[list[models.ScoredPoint]] = [[] for _ in plans]
    groups: dict[Any, list[tuple[int, Ranked, Nearest]]] = {}
    for number, plan in enumerate(plans):
        if isinstance(plan, Scroll):
            points[number] = _first_points(view, plan)
            continue
        search = _leaf(plan)
        key: Any = (
            search.vector.name,
            search.limit,
            search.offset,
            search.params,
            id(search.condition),
        )
        if search.excluded is not None:
            key = number  # alone: its rows are its own
        groups.setdefault(key, []).append((number, plan, search))
    for group in groups.values():
        several = _found(view, [search for _, _, search in group])
        for (number, plan, _), hits in zip(group, several, strict=True):
            points[number] = _points(view, plan, _up(plan, hits))
    return points


def _leaf(plan: Ranked) -> Nearest:
    """The search that a plan rests on."""
    return plan if isinstance(plan, Nearest) else _leaf(plan.source)


def _up(plan: Ranked, found: Hits, explained: Explained | None = None) -> Hits:
    """The hits of a plan, of what its leaf found."""
    if isinstance(plan, Nearest):
        return found if plan.threshold is None else _passing(plan, plan.threshold, found)
    return diverse(plan, _up(plan.source, found, explained), explained)


def _found(
    view: View, searches: Sequence[Nearest], explained: Explained | None = None
) -> list[Hits]:
    """The page of each of some searches that differ in their vectors only."""
    first = searches[0]
    queries = first.query[None] if len(searches) == 1 else np.stack([s.query for s in searches])
    return page(view, first, queries, explained)


def _passing(search: Nearest, threshold: float, hits: Hits) -> Hits:
    """The hits that are better than the threshold."""
    metric = search.vector.metric
    scores = public_scores(metric, hits.scores)
    stop = len(scores)
    while stop and not passes(metric, scores[stop - 1], threshold):
        stop -= 1
    return hits.between(0, stop) if stop < len(scores) else hits


def _points(view: View, plan: Ranked, hits: Hits) -> list[models.ScoredPoint]:
    scores = public_scores(plan.vector.metric, hits.scores)
    points: list[Any] = [None] * len(scores)
    for segment_view, positions, rows in hits.by_segment:  # rows of one segment are read together
        keys = ids.from_array(segment_view.segment.id_array(rows))
        seqs = segment_view.seqs(rows).tolist()
        payloads, vectors = _beside(view, segment_view, rows, plan.wanted)
        columns = zip(positions, keys, seqs, payloads, vectors, strict=True)
        for position, key, seq, payload, vector in columns:
            score = scores[position]
            points[position] = models.ScoredPoint(ids.external(key), seq, score, payload, vector)
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


def _first_points(view: View, plan: Scroll) -> list[models.ScoredPoint]:
    """Without a query all points are as good: their score is 1, as a server has it."""
    records, _ = scroll(view, plan)
    return [models.ScoredPoint(r.id, 0, 1.0, r.payload, r.vector) for r in records]


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
