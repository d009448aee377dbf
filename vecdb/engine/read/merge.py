"""One merged answer: the best rows of every segment, and the best of those.

Inside, a larger score is better: inner product, minus squared Euclidean, minus Manhattan
distance. Every stage, quantized or not, is on that scale, so segments of different kinds merge;
``public_scores`` turns it into what the caller sees.

Small collections are searched with numpy alone: numba costs 0.4 s to load, and a few thousand
rows never earn it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb import models
from vecdb.engine.parallel import processors, run_all
from vecdb.engine.read.masks import Explain, allowed
from vecdb.engine.read.plan import Nearest
from vecdb.engine.read.segment.candidates import MOST_AT_ONCE, Best, SegmentSearch
from vecdb.engine.read.segment.scan import search_segment
from vecdb.engine.view import SegmentView, View

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

_SHARED_QUERIES = 8
"""Fewer queries are answered sooner than they are handed to another thread."""


class Hits(Struct):
    """Results of one query: scores (larger is better), and the rows they belong to. A search has
    the best first.

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


def search_segments(
    view: View,
    request: Nearest,
    queries: Floats,
    *,
    limit: int,
    explained: list[models.SegmentSearch] | None = None,
) -> list[Hits]:
    """For each query the ``limit`` best live points, best first, that have the vector and match.

    ``queries``: ``float32 (q, dim)``, normalised already under Cosine; the rest is as ``request``.
    Fewer than ``limit`` come back only when fewer match. What was done in each segment is added to
    ``explained``.
    """
    vector, params, condition = request.vector, request.params, request.condition
    recall = params.recall
    if recall is None:
        recall = view.config.optimizer_config.recall
    results: list[tuple[SegmentView, list[Best]]] = []
    for segment_view in view.segments:
        if segment_view.live == 0:
            continue
        explain = None if explained is None else _explainer(segment_view, explained)
        mask = allowed(view, segment_view, vector.name, condition, request.excluded, explain)
        if mask is not None and not mask.any():
            continue
        search = SegmentSearch(
            segment_view=segment_view,
            vector=vector,
            queries=queries,
            limit=limit,
            params=params,
            recall=recall,
            filtered=condition is not None,
            mask=mask,
            explain=explain,
        )
        results.append((segment_view, _each(search)))
    return [_merged(results, number, limit) for number in range(len(queries))]


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


def _merged(results: list[tuple[SegmentView, list[Best]]], number: int, limit: int) -> Hits:
    """The best results of one query in all segments."""
    if len(results) == 1:
        [(segment_view, best)] = results
        scores, rows = best[number]
        return Hits(scores.tolist(), [(segment_view, range(len(rows)), rows)])
    merged = [
        (-score, segment, row)
        for segment, (_, best) in enumerate(results)
        for score, row in zip(best[number][0].tolist(), best[number][1].tolist(), strict=True)
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


def _explainer(segment_view: SegmentView, explained: list[models.SegmentSearch]) -> Explain:
    segment = models.SegmentSearch(
        f"{segment_view.segment.id:016x}", segment_view.segment.kind, segment_view.live, []
    )
    explained.append(segment)
    return segment.stages.append
