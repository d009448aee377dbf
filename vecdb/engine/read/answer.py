"""Answers: the points of compiled requests, best first.

Searches that differ in nothing but their vector go through the segments together: they share what
is read (see ``scan.py``), and large ones are spread over the processors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vecdb import ids, models
from vecdb.engine.read.merge import Hits, Offsets
from vecdb.engine.read.pages import page
from vecdb.engine.read.reader import Scroll, Wanted, scroll
from vecdb.engine.read.request import Leaf, Nearest
from vecdb.engine.read.rows import read_payloads, vectors_of
from vecdb.engine.view import SegmentView, View

Explained = list[models.SegmentSearch]


def answer(
    view: View, request: Leaf, explained: Explained | None = None
) -> list[models.ScoredPoint]:
    """The points of one request. What was done is added to ``explained``."""
    if isinstance(request, Scroll):
        return _first_points(view, request)
    [hits] = _hits(view, [request], explained)
    return _points(view, request, hits)


def answers(view: View, requests: Sequence[Leaf]) -> list[list[models.ScoredPoint]]:
    """The points of several requests, each as if it were the only one."""
    points: list[list[models.ScoredPoint]] = [[] for _ in requests]
    groups: dict[Any, list[tuple[int, Nearest]]] = {}
    for number, request in enumerate(requests):
        if isinstance(request, Scroll):
            points[number] = _first_points(view, request)
            continue
        key: Any = (
            request.vector.name,
            request.limit,
            request.offset,
            request.params,
            id(request.condition),
        )
        if request.excluded is not None:
            key = number  # alone: its rows are its own
        groups.setdefault(key, []).append((number, request))
    for group in groups.values():
        several = _hits(view, [request for _, request in group])
        for (number, request), hits in zip(group, several, strict=True):
            points[number] = _points(view, request, hits)
    return points


def _hits(
    view: View, searches: Sequence[Nearest], explained: Explained | None = None
) -> list[Hits]:
    """The page of each of some searches that differ in their vectors only."""
    first = searches[0]
    queries = first.query[None] if len(searches) == 1 else np.stack([s.query for s in searches])
    return page(view, first, queries, explained)


def _points(view: View, request: Nearest, hits: Hits) -> list[models.ScoredPoint]:
    metric, threshold = request.vector.metric, request.threshold
    scores = public_scores(metric, hits.scores)
    stop = len(scores)
    if threshold is not None:
        while stop and not passes(metric, scores[stop - 1], threshold):
            stop -= 1
    if stop < len(scores):
        hits, scores = hits.between(0, stop), scores[:stop]
    points: list[Any] = [None] * len(scores)
    for segment_view, positions, rows in hits.by_segment:  # rows of one segment are read together
        keys = ids.from_array(segment_view.segment.id_array(rows))
        seqs = segment_view.seqs(rows).tolist()
        payloads, vectors = _beside(view, segment_view, rows, request.wanted)
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
    if want.vectors:
        vectors = [vectors_of(view, segment_view, row, want.vectors) for row in rows.tolist()]
    return payloads, vectors


def _first_points(view: View, request: Scroll) -> list[models.ScoredPoint]:
    """Without a query all points are as good: their score is 1, as a server has it."""
    records, _ = scroll(view, request)
    return [models.ScoredPoint(r.id, 0, 1.0, r.payload, r.vector) for r in records]


def public_scores(metric: str, scores: list[float]) -> list[float]:
    """Scores on the metric's own scale: similarity, or distance (smaller is better)."""
    if metric == "dot":
        return scores
    if metric == "euclid":
        return [max(0.0, -score) ** 0.5 for score in scores]
    return [max(0.0, -score) for score in scores]


def passes(metric: str, score: float, threshold: float | None) -> bool:
    """Whether a public score is as good as the threshold."""
    return threshold is None or (score >= threshold if metric == "dot" else score <= threshold)
