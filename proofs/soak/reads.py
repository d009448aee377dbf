"""The verbs that read, each compared with the model: what is wrong with an answer, or None."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np

from proofs.model import by_examples, by_payload, by_prefetch, by_text, comparison
from proofs.model.comparison import NO_POINT
from proofs.model.multi import MANY
from proofs.model.searches import EXACT, draw_search
from proofs.model.sparse import MODIFIERS
from proofs.model.writes import random_filter
from proofs.soak.world import Kept
from vecdb.models import ScoredPoint

Read = Callable[[Any, Kept, Random], str | None]


def _retrieve(collection: Any, kept: Kept, rng: Random) -> str | None:
    return comparison.retrieved(collection, kept.oracle, [*kept.pool.some(rng, 12), NO_POINT])


def _scroll(collection: Any, kept: Kept, rng: Random) -> str | None:
    if rng.random() < 0.3:
        return by_payload.ordered(collection, kept.oracle, kept.pool, rng)
    filter = random_filter(rng, kept.oracle, kept.pool) if rng.random() < 0.7 else None
    return comparison.paged(collection, kept.oracle, filter, rng.choice((20, 100, 1000)))


def _count(collection: Any, kept: Kept, rng: Random) -> str | None:
    filter = random_filter(rng, kept.oracle, kept.pool)
    return comparison.counted(collection, kept.oracle, filter)


def _search(collection: Any, kept: Kept, rng: Random) -> str | None:
    s = draw_search(rng, kept.oracle, kept.pool)
    hits = collection.search(s.vector, s.filter, s.params, s.limit)
    return s.difference(kept.oracle, hits)


def _search_batch(collection: Any, kept: Kept, rng: Random) -> str | None:
    searches = [draw_search(rng, kept.oracle, kept.pool) for _ in range(3)]
    found = collection.search_batch(
        [
            {
                "vector": {"name": s.name, "vector": s.query} if s.name else s.query,
                "filter": s.filter,
                "params": s.params,
                "limit": s.limit,
                "with_payload": True,
            }
            for s in searches
        ]
    )
    problems = (s.difference(kept.oracle, hits) for s, hits in zip(searches, found, strict=True))
    return next(filter(None, problems), None)


def _search_arrays(collection: Any, kept: Kept, rng: Random) -> str | None:
    s = draw_search(rng, kept.oracle, kept.pool)
    kind = kept.oracle.vectors[s.name]
    if kind[1] in (*MODIFIERS, *MANY):
        return s.difference(kept.oracle, collection.search(s.vector, s.filter, s.params, s.limit))
    vectors = [s.query, kept.pool.vector(rng, s.name, kind)]
    found = collection.search_arrays(np.stack(vectors), s.name, s.filter, s.params, s.limit)
    for query, hits in zip(vectors, found.to_dicts(), strict=True):
        points = [ScoredPoint(hit["id"], 0, hit["score"]) for hit in hits]
        problem = replace(s, query=query).difference(kept.oracle, points)
        if problem:
            return problem
    return None


def _query_points(collection: Any, kept: Kept, rng: Random) -> str | None:
    ways = (
        *(_by_vector, _by_nothing, _by_point, _later_page, _by_chance),
        *(_by_examples, _by_prefetch, _by_texts),
    )
    return rng.choice(ways)(collection, kept, rng)


def _by_vector(collection: Any, kept: Kept, rng: Random) -> str | None:
    s = draw_search(rng, kept.oracle, kept.pool)
    response = collection.query_points(s.query, s.name or None, s.filter, s.params, s.limit)
    return s.difference(kept.oracle, response.points)


def _by_nothing(collection: Any, kept: Kept, rng: Random) -> str | None:
    return comparison.listed(collection, kept.oracle, kept.pool, rng)


def _by_chance(collection: Any, kept: Kept, rng: Random) -> str | None:
    return by_payload.sampled(collection, kept.oracle, kept.pool, rng)


def _by_examples(collection: Any, kept: Kept, rng: Random) -> str | None:
    return by_examples.fitting(collection, kept.oracle, kept.pool, rng)


def _by_prefetch(collection: Any, kept: Kept, rng: Random) -> str | None:
    ask = rng.choice((by_prefetch.computed, by_prefetch.fused))
    return ask(collection, kept.oracle, kept.pool, rng)


def _by_texts(collection: Any, kept: Kept, rng: Random) -> str | None:
    return by_text.ranked_by_texts(collection, kept.oracle, kept.pool, rng)


def _by_point(collection: Any, kept: Kept, rng: Random) -> str | None:
    """The point itself is left out."""
    s, points = draw_search(rng, kept.oracle, kept.pool, EXACT), kept.oracle.points
    known = [i for i, point in points.items() if s.name in point.vectors]
    if not known:
        return None
    point_id = rng.choice(known)
    found = collection.query_points(point_id, s.name or None, s.filter, EXACT, s.limit).points
    others: dict[str, Any] = {"must_not": [{"has_id": [point_id]}]}
    if s.filter is not None:
        others["must"] = [s.filter]
    meant = replace(s, query=points[point_id].vectors[s.name], filter=others)
    return meant.difference(kept.oracle, found)


def _later_page(collection: Any, kept: Kept, rng: Random) -> str | None:
    s, start = draw_search(rng, kept.oracle, kept.pool, EXACT), rng.randrange(20)
    found = collection.query_points(s.query, s.name or None, s.filter, EXACT, s.limit, start).points
    scores = kept.oracle.scores(s.name, s.query, s.filter).values()
    given = [point.score for point in found]
    wanted = kept.oracle.best_first(s.name, scores)[start : start + s.limit]
    if len(given) == len(wanted) and np.allclose(given, wanted, rtol=1e-4, atol=1e-4):
        return None
    return f"offset {start}, limit {s.limit}: scores {given}, not {wanted}"


def _query_batch(collection: Any, kept: Kept, rng: Random) -> str | None:
    searches = [draw_search(rng, kept.oracle, kept.pool) for _ in range(3)]
    found = collection.query_batch_points(
        [
            {
                "query": s.query,
                "using": s.name or None,
                "filter": s.filter,
                "params": s.params,
                "limit": s.limit,
            }
            for s in searches
        ]
    )
    problems = (
        s.difference(kept.oracle, response.points)
        for s, response in zip(searches, found, strict=True)
    )
    return next(filter(None, problems), None)


def _query_groups(collection: Any, kept: Kept, rng: Random) -> str | None:
    ask = rng.choice((by_payload.grouped, by_prefetch.grouped_upon))
    return ask(collection, kept.oracle, kept.pool, rng)


def _groups_by(verb: str) -> Read:
    def read(collection: Any, kept: Kept, rng: Random) -> str | None:
        return by_payload.grouped(collection, kept.oracle, kept.pool, rng, verb)

    return read


def _fitting_by(verb: str) -> Read:
    def read(collection: Any, kept: Kept, rng: Random) -> str | None:
        return by_examples.fitting(collection, kept.oracle, kept.pool, rng, verb)

    return read


def _facet(collection: Any, kept: Kept, rng: Random) -> str | None:
    return by_payload.faceted(collection, kept.oracle, kept.pool, rng)


def _matrix(collection: Any, kept: Kept, rng: Random) -> str | None:
    return by_examples.paired(collection, kept.oracle, kept.pool, rng)


def _within(collection: Any, kept: Kept, rng: Random) -> str | None:
    return by_prefetch.near(collection, kept.oracle, kept.pool, rng)


def _memory_report(collection: Any, kept: Kept, rng: Random) -> str | None:
    report = collection.memory_report()
    parts, total = report["parts"].values(), report["total"]
    fits = total == {figure: sum(part[figure] for part in parts) for figure in total}
    return None if fits and total["file"] > 0 else f"memory report {report}"


def _with_vectors(search: Read) -> Read:
    """A search, where there is a vector to search by."""

    def read(collection: Any, kept: Kept, rng: Random) -> str | None:
        return (search if kept.oracle.vectors else _by_nothing)(collection, kept, rng)

    return read


READS: dict[str, Read] = {
    "retrieve": _retrieve,
    "scroll": _scroll,
    "count": _count,
    "search": _with_vectors(_search),
    "search_arrays": _with_vectors(_search_arrays),
    "search_batch": _with_vectors(_search_batch),
    "query_points": _with_vectors(_query_points),
    "query_batch_points": _with_vectors(_query_batch),
    "query_points_groups": _query_groups,
    "search_groups": _groups_by("search_groups"),
    "recommend": _fitting_by("recommend"),
    "recommend_batch": _fitting_by("recommend_batch"),
    "recommend_groups": _groups_by("recommend_groups"),
    "discover": _fitting_by("discover"),
    "discover_batch": _fitting_by("discover_batch"),
    "facet": _facet,
    "search_matrix_pairs": _matrix,
    "search_matrix_offsets": _matrix,
    "within": _within,
    "memory_report": _memory_report,
}
