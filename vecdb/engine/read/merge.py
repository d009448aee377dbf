"""One merged answer: the best rows of every segment, and the best of those.

Inside, a larger score is better: inner product, minus squared Euclidean, minus Manhattan
distance. Every stage, quantized or not, is on that scale, so segments of different kinds merge;
``public_scores`` turns it into what the caller sees.

Where numba has to compile the kernels, small collections are searched with numpy alone: numba takes
0.4 s to load, and a few thousand rows never earn it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb import models
from vecdb.engine.parallel import processors, run_all
from vecdb.engine.read.idf import weighted
from vecdb.engine.read.masks import Explain, allowed, count_of
from vecdb.engine.read.plan import Combined, Nearest, Place
from vecdb.engine.read.segment.candidates import MOST_AT_ONCE, Best, SegmentSearch
from vecdb.engine.read.segment.scan import search_segment
from vecdb.engine.view import SegmentView, View
from vecdb.vectors.sparse import SparseBlock

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

_SHARED_QUERIES = 8
"""Fewer queries are answered sooner than they are handed to another thread."""


class Hits(Struct):
    """Results of one query: scores (of a search, larger is better; of an order, its values), and
    the rows they belong to. A search has the best first.

    ``by_segment``: the hits of each segment: their positions among the scores, rising, and their
    rows.
    """

    scores: list[float]
    by_segment: list[tuple[SegmentView, Sequence[int], Offsets]]

    def between(self, start: int, stop: int) -> Hits:
        """Those from ``start`` up to ``stop``."""
        by_segment: list[tuple[SegmentView, Sequence[int], Offsets]] = []
        for segment_view, positions, rows in self.by_segment:
            kept = [position for position in positions if start <= position < stop]
            if kept:
                first = positions.index(kept[0])
                positions = [position - start for position in kept]
                by_segment.append((segment_view, positions, rows[first : first + len(kept)]))
        return Hits(self.scores[start:stop], by_segment)

    def chosen(self, positions: Offsets) -> Hits:
        """Those at these positions, in this order."""
        new = np.full(len(self.scores), -1, dtype=np.int64)
        new[positions] = np.arange(len(positions))
        by_segment: list[tuple[SegmentView, Sequence[int], Offsets]] = []
        for segment_view, old, rows in self.by_segment:
            now = new[np.asarray(old)]
            order = np.argsort(now)[np.count_nonzero(now < 0) :]
            if len(order):
                by_segment.append((segment_view, now[order].tolist(), rows[order]))
        return Hits([self.scores[position] for position in positions.tolist()], by_segment)


def hits_of(view: View, scores: list[float], where: Sequence[Sequence[int]]) -> Hits:
    """Hits at these places, in this order: each the position of its segment in the view, and its
    row there."""
    return Hits(scores, by_segment(view, where))


def by_segment(
    view: View, where: Sequence[Sequence[int]]
) -> list[tuple[SegmentView, Sequence[int], Offsets]]:
    """Places, by the segments they are in, as `Hits` has them."""
    positions: dict[int, list[int]] = {}
    for position, place in enumerate(where):
        positions.setdefault(place[0], []).append(position)
    return [
        (view.segments[number], at, np.array([where[p][1] for p in at], dtype=np.int64))
        for number, at in sorted(positions.items())
    ]


def places_of(view: View, hits: Hits) -> list[Place]:
    """Where the hits are, in their order."""
    numbers = {id(segment_view): number for number, segment_view in enumerate(view.segments)}
    places: list[Place] = [(0, 0)] * len(hits.scores)
    for segment_view, positions, rows in hits.by_segment:
        number = numbers[id(segment_view)]
        for position, row in zip(positions, rows.tolist(), strict=True):
            places[position] = number, row
    return places


def search_segments(
    view: View,
    request: Nearest,
    queries: Floats,
    *,
    limit: int,
    explained: list[models.SegmentSearch] | None = None,
) -> list[Hits]:
    """For each query the ``limit`` best live points, best first, that have the vector and match.

    ``queries``: ``float32 (q, dim)``, normalised already under Cosine, empty for the one of a
    search by a sparse vector or a multivector; the rest is as ``request``.
    Fewer than ``limit`` come back only when fewer match. What was done in each segment is added to
    ``explained``.
    """
    results = [
        (search.segment_view, _each(search))
        for search in segment_searches(view, request, queries, limit=limit, explained=explained)
    ]
    return [
        merged_hits([(segment_view, best[number]) for segment_view, best in results], limit)
        for number in range(len(queries))
    ]


def segment_searches(
    view: View,
    request: Nearest | Combined,
    queries: Floats,
    *,
    limit: int,
    explained: list[models.SegmentSearch] | None = None,
) -> Iterator[SegmentSearch]:
    """The search of each segment in which a row is allowed. The arguments are those of
    `search_segments`."""
    vector, params, condition = request.vector, request.params, request.condition
    recall = params.recall
    if recall is None:
        recall = view.config.optimizer_config.recall
    ragged = request.ragged
    if isinstance(ragged, SparseBlock) and vector.idf:
        ragged = weighted(view, vector.name, ragged, params)
    for segment_view in view.segments:
        if segment_view.live == 0:
            continue
        explain = None if explained is None else explainer(segment_view, explained)
        mask = allowed(view, segment_view, vector.name, condition, request.excluded, explain)
        many = segment_view.rows if mask is None else count_of(mask)
        if not many:
            continue
        yield SegmentSearch(
            segment_view=segment_view,
            vector=vector,
            queries=queries,
            limit=limit,
            params=params,
            recall=recall,
            filtered=condition is not None,
            mask=mask,
            allowed=many,
            explain=explain,
            ragged=ragged,
        )


def _each(search: SegmentSearch) -> list[Best]:
    """The best rows of a segment for each query; many queries are shared out to all processors."""
    queries = search.queries
    if len(queries) == 1:
        return search_segment(search)
    at_once = max(1, MOST_AT_ONCE // min(search.segment_view.rows, 64 * search.limit))
    if search.mask is not None:
        # How deep an index is searched for the allowed rows depends on the query, and the answer to
        # one query must not depend on the others.
        at_once = 1

    def share(some: Floats) -> list[Best]:
        pieces = [some[start : start + at_once] for start in range(0, len(some), at_once)]
        return [best for piece in pieces for best in search_segment(search.of(piece))]

    shares = min(processors(), len(queries) // _SHARED_QUERIES)
    if shares <= 1:
        return share(queries)
    shared = [partial(share, some) for some in np.array_split(queries, shares)]
    return [best for some in run_all(shared) for best in some]


def merged_hits(
    results: Sequence[tuple[SegmentView, tuple[npt.NDArray[Any], Offsets]]], limit: int
) -> Hits:
    """The best results of one query in all segments, of the best in each: scores and rows, best
    first."""
    if len(results) == 1:
        [(segment_view, (scores, rows))] = results
        hits = Hits(scores.tolist(), [])
        if len(rows):
            hits.by_segment.append((segment_view, range(len(rows)), rows))
        return hits
    merged = [
        (-score, segment, row)
        for segment, (_, (scores, rows)) in enumerate(results)
        for score, row in zip(scores.tolist(), rows.tolist(), strict=True)
    ]
    merged.sort()
    del merged[limit:]
    hits = Hits([-score for score, _, _ in merged], [])
    for segment, (segment_view, _) in enumerate(results):
        positions = [position for position, hit in enumerate(merged) if hit[1] == segment]
        if positions:
            hits.by_segment.append(
                (segment_view, positions, np.array([merged[p][2] for p in positions]))
            )
    return hits


def explainer(segment_view: SegmentView, explained: list[models.SegmentSearch]) -> Explain:
    """What takes the stages of a search in one segment, which is added to ``explained``."""
    segment = models.SegmentSearch(
        f"{segment_view.segment.id:016x}", segment_view.segment.kind, segment_view.live, []
    )
    explained.append(segment)
    return segment.stages.append
