"""Combined: the points that fit several examples best.

Where a rule knows vectors near which these are (`Rule.near`), searches near them find candidates,
whose scores by the rule are exact. No row that none of the searches has found can be better than
`Rule.beyond` says: candidates that are at least as good are the best there are, as far as each
search has found what it should. While too few are, the searches go deeper. Where that would be
about as much work as to score all rows, all are.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from msgspec import Struct, structs

from vecdb import models
from vecdb.engine.read.merge import Hits, Offsets, merged_hits, search_segments, segment_searches
from vecdb.engine.read.pages import Explained, cut, is_exact
from vecdb.engine.read.plan import NOTHING, Combined, Nearest
from vecdb.engine.read.segment.candidates import SegmentSearch
from vecdb.engine.read.segment.compared import Best, best_of_all, scores_of
from vecdb.engine.read.segment.rules import Doubles
from vecdb.engine.view import SegmentView, View

_DEEPER = 4
"""The next searches are for so many times more candidates."""
_SHARE = 8
"""Where one row of so many would be a candidate, all rows are scored."""


def combined(view: View, plan: Combined, explained: Explained | None = None) -> Hits:
    """The page of a plan."""
    [hits] = cut(view, plan, partial(_search, view, plan), explained)
    if plan.threshold is None:
        return hits
    passing = sum(score > plan.threshold for score in hits.scores)
    return hits.between(0, passing)


def _search(
    view: View, plan: Combined, limit: int, explained: Explained | None = None
) -> list[Hits]:
    """The best ``limit`` rows by the rule."""
    if is_exact(view, plan) or plan.ragged is not None:
        why = "asked for" if plan.params.exact else "no index that tells which"
        return [_of_all(view, plan, limit, explained, why)]
    near = plan.rule.near(plan.examples, plan.vector.metric)
    if near is None:
        why = f"{plan.rule.name} has no vector near which the best must be"
        return [_of_all(view, plan, limit, explained, why)]
    depth, search = plan.rule.depth(limit), _nearest(plan)
    while depth * _SHARE <= view.live:
        steps: Explained | None = None if explained is None else []
        found = search_segments(view, search, near, limit=depth, explained=steps)
        hits = _surely_best(view, plan, found, depth, limit, steps)
        if hits is not None:
            if explained is not None and steps is not None:
                explained += steps
            return [hits]
        depth *= _DEEPER
    why = f"too few of the nearest are surely the best by {plan.rule.name}"
    return [_of_all(view, plan, limit, explained, why)]


def _nearest(plan: Combined) -> Nearest:
    """The search for rows near one of the vectors. Codes alone do not decide: of what they find the
    scores are exact."""
    params, quantization = plan.params, plan.params.quantization
    if quantization is not None and quantization.rescore is False:
        params = structs.replace(params, quantization=structs.replace(quantization, rescore=None))
    return Nearest(
        vector=plan.vector,
        query=plan.examples[0],
        excluded=plan.excluded,
        condition=plan.condition,
        params=params,
        limit=plan.limit,
        offset=0,
        wanted=NOTHING,
        threshold=None,
    )


def _of_all(view: View, plan: Combined, limit: int, explained: Explained | None, why: str) -> Hits:
    """The best rows of all."""
    results: list[tuple[SegmentView, Best]] = []
    settled = 0
    searches = segment_searches(view, plan, plan.examples, limit=limit, explained=explained)
    for search in searches:
        best = best_of_all(search, plan.rule, why)
        results.append((search.segment_view, best))
        settled += int(np.count_nonzero(best[0] >= plan.rule.most))
        if settled >= limit:  # no other segment has better ones
            break
    return merged_hits(results, limit)


def _surely_best(
    view: View,
    plan: Combined,
    found: list[Hits],
    depth: int,
    limit: int,
    explained: Explained | None,
) -> Hits | None:
    """The best ``limit`` of what searches near some vectors have found, ``depth`` rows each. None:
    a row that none of them has found may be better."""
    scored = [_scored(plan, segment_view, found) for segment_view in view.segments]
    beyond = -math.inf
    if all(len(hits.scores) == depth for hits in found):  # else one has found all there are
        beyond = plan.rule.beyond(np.min([each.least for each in scored], axis=0))
    sure = sum(int(np.count_nonzero(each.scores >= beyond)) for each in scored)
    if sure < limit and beyond > -math.inf:
        return None
    results: list[tuple[SegmentView, Best]] = []
    for each in scored:
        order = np.lexsort((each.rows, -each.scores))[:limit]
        results.append((each.segment_view, (each.scores[order], each.rows[order])))
    hits = merged_hits(results, limit)
    if explained is not None:
        _explain(plan, scored, hits, explained)
    return hits


class _Scored(Struct):
    """What searches have found in one segment, with the scores by the rule. ``least``: the worst
    score that each search has found here, against its vector."""

    segment_view: SegmentView
    rows: Offsets
    scores: Doubles
    least: Doubles


def _scored(plan: Combined, segment_view: SegmentView, found: list[Hits]) -> _Scored:
    of_each = [_rows_in(segment_view, hits) for hits in found]
    rows = np.unique(np.concatenate(of_each))
    search = SegmentSearch(
        segment_view=segment_view,
        vector=plan.vector,
        queries=plan.examples,
        limit=plan.limit,
        params=plan.params,
        recall=1.0,
        filtered=False,
        mask=None,
        allowed=segment_view.rows,
        explain=None,
    )
    against = scores_of(search, rows)
    least = np.full(len(found), np.inf)
    for number, mine in enumerate(of_each):
        if len(mine):
            least[number] = against[number, np.searchsorted(rows, mine)].min()
    return _Scored(segment_view, rows, plan.rule.score(against), least)


def _rows_in(segment_view: SegmentView, hits: Hits) -> Offsets:
    """The rows of one segment among hits."""
    for other, _, rows in hits.by_segment:
        if other is segment_view:
            return rows
    return np.empty(0, dtype=np.int64)


def _explain(plan: Combined, scored: list[_Scored], hits: Hits, explained: Explained) -> None:
    """Add a stage to each segment that was searched."""
    kept = {id(segment_view): len(rows) for segment_view, _, rows in hits.by_segment}
    number = len(plan.examples)
    why = f"against {number} example{'s' * (number > 1)}, by {plan.rule.name}"
    by_id = {f"{each.segment_view.segment.id:016x}": each for each in scored}
    for segment in explained:
        each = by_id[segment.id]
        count = kept.get(id(each.segment_view), 0)
        segment.stages.append(models.SearchStage("examples", len(each.rows), count, why))
