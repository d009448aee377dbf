"""What is asked of payloads: orders, facets, groups and samples, compared with the model.

Each function returns what an answer is that it should not be; None if all is well.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import numpy as np

from proofs.model.meaning import MOMENTS, elements, selected
from proofs.model.oracle import Oracle, Point, PointId
from proofs.model.searches import CODES, ERRORS, EXACT, SKETCHES, draw_search
from proofs.model.writes import Pool, random_filter

KEYS = ("n", "a", "tags", "deep.x", "words", "when", "parts[].n", "parts[].words")


def asked_of_payloads(collection: Any, oracle: Oracle, pool: Pool, rng: Random) -> str | None:
    """One of each."""
    return (
        ordered(collection, oracle, pool, rng)
        or sampled(collection, oracle, pool, rng)
        or faceted(collection, oracle, pool, rng)
        or grouped(collection, oracle, pool, rng)
    )


def _values(point: Point, key: str) -> list[Any]:
    return elements(selected(point.payload, key))


def _number(value: Any) -> float | None:
    """What a value is placed by in an order; None: it is not."""
    if isinstance(value, str):
        return MOMENTS.get(value)
    return value if type(value) in (int, float) else None


def _drawn(rng: Random, oracle: Oracle, pool: Pool) -> dict[str, Any] | None:
    return random_filter(rng, oracle, pool) if rng.random() < 0.5 else None


def ordered(collection: Any, oracle: Oracle, pool: Pool, rng: Random) -> str | None:
    """Points by a value, of a query or of ``scroll``: each once for each number that it has, of one
    number by their ids."""
    key, filter = rng.choice(KEYS), _drawn(rng, oracle, pool)
    down, start = rng.random() < 0.5, rng.choice((None, None, 3, 2.5))
    limit, offset = rng.choice((1, 10, 1000)), rng.choice((0, 0, 3))
    entries = [
        (value, (isinstance(i, str), i))
        for i in oracle.matching(filter)
        for value in dict.fromkeys(
            number for number in map(_number, _values(oracle.points[i], key)) if number is not None
        )
        if start is None or (value <= start if down else value >= start)
    ]
    entries.sort(reverse=down)
    order = {"key": key, "direction": "desc" if down else "asc", "start_from": start}
    if offset:
        query = {"order_by": order}
        found = collection.query_points(query, query_filter=filter, limit=limit, offset=offset)
        records = found.points
    else:
        records, _ = collection.scroll(filter, limit, order_by=order)
    given = [(r.order_value, r.id) for r in records]
    wanted = [(value, point_id) for value, (_, point_id) in entries][offset : offset + limit]
    if repr(given) != repr(wanted):
        return f"{order}, filter {filter}, limit {limit}, offset {offset}: {given}, not {wanted}"
    return _payload_difference(oracle, records)


def _payload_difference(oracle: Oracle, points: list[Any]) -> str | None:
    for point in points:
        if point.payload != oracle.points[point.id].payload:
            return f"point {point.id!r} has payload {point.payload}"
    return None


def sampled(collection: Any, oracle: Oracle, pool: Pool, rng: Random) -> str | None:
    """Points by chance: different ones, all of which match."""
    filter, limit = _drawn(rng, oracle, pool), rng.choice((1, 10, 1000))
    query = {"sample": "random"}
    points = collection.query_points(query, query_filter=filter, limit=limit).points
    found, matching = {point.id for point in points}, set(oracle.matching(filter))
    if len(points) == len(found) == min(limit, len(matching)) and found <= matching:
        return _payload_difference(oracle, points)
    return f"sample of {limit}, filter {filter}: {[p.id for p in points]} of {matching}"


def faceted(collection: Any, oracle: Oracle, pool: Pool, rng: Random) -> str | None:
    """How many points have which value."""
    key, filter = rng.choice(KEYS), _drawn(rng, oracle, pool)
    limit = rng.choice((2, 1000))
    kinds = (bool, int, str)
    counts = Counter(
        kind_and_value
        for i in oracle.matching(filter)
        for kind_and_value in {
            (kinds.index(type(v)), v) for v in _values(oracle.points[i], key) if type(v) in kinds
        }
    )
    wanted = sorted((-count, *value) for value, count in counts.items())[:limit]
    hits = collection.facet(key, filter, limit).hits
    given = [(-hit.count, kinds.index(type(hit.value)), hit.value) for hit in hits]
    return None if given == wanted else f"facet {key}, filter {filter}: {given}, not {wanted}"


def grouped(
    collection: Any, oracle: Oracle, pool: Pool, rng: Random, verb: str = "query_points_groups"
) -> str | None:
    """Points near a vector in groups, which verbs ask for in three ways; where there is no vector,
    points by their ids."""
    key, limit, size = rng.choice(KEYS), rng.choice((1, 3, 100)), rng.choice((1, 3, 100))
    if not oracle.vectors:
        return _grouped_by_ids(collection, oracle, key, limit, size, _drawn(rng, oracle, pool))
    s = draw_search(rng, oracle, pool, rng.choice((EXACT, CODES, SKETCHES, None)))
    if verb == "search_groups":
        answer = collection.search_groups(s.vector, key, s.filter, s.params, limit, size)
    elif verb == "recommend_groups":  # by one vector, whose average is that vector
        answer = collection.recommend_groups(
            key, [s.query], None, s.filter, s.params, limit, size, using=s.name or None
        )
    else:
        answer = collection.query_points_groups(
            key, s.query, s.name or None, s.filter, s.params, limit, size
        )
    found = answer.groups
    what = f"{verb}: by {key} near {s.name!r}, {s.params}, filter {s.filter}, {limit} x {size}"
    scores, exact = oracle.scores(s.name, s.query, s.filter), str(s.params) not in ERRORS
    members = members_of(oracle, key, list(scores))
    if len(found) != min(limit, len(members)) or len({g.id for g in found}) != len(found):
        return f"{what}: {[g.id for g in found]} of {list(members)}"
    for group in found:
        ids, own = [hit.id for hit in group.hits], members.get(group.id, [])
        if len(ids) != min(size, len(own)) or len(set(ids)) != len(ids) or set(ids) - set(own):
            return f"{what}: in {group.id!r} {ids} of {own}"
        wanted = [scores[i] for i in (own if exact else ids)]
        problem = _unlike_best(oracle, s.name, [hit.score for hit in group.hits], wanted)
        if problem:
            return f"{what}: in {group.id!r} {problem}"
    best = [oracle.best_first(s.name, [scores[i] for i in own])[0] for own in members.values()]
    problem = _unlike_best(oracle, s.name, [group.hits[0].score for group in found], best)
    return f"{what}: of the groups {problem}" if exact and problem else None


def _unlike_best(oracle: Oracle, name: str, given: list[float], wanted: list[float]) -> str | None:
    best = oracle.best_first(name, wanted)[: len(given)]
    if np.allclose(given, best, rtol=1e-4, atol=1e-4):
        return None
    return f"the scores {given}, the best are {best}"


def _grouped_by_ids(
    collection: Any, oracle: Oracle, key: str, limit: int, size: int, filter: Any
) -> str | None:
    found = collection.query_points_groups(
        key, query_filter=filter, limit=limit, group_size=size
    ).groups
    members = members_of(oracle, key, oracle.matching(filter))
    wanted = [(group_id, ids[:size]) for group_id, ids in members.items()][:limit]
    given = [(group.id, [hit.id for hit in group.hits]) for group in found]
    return None if given == wanted else f"groups by {key}, filter {filter}: {given}, not {wanted}"


def members_of(oracle: Oracle, key: str, ids: list[PointId]) -> dict[int | str, list[PointId]]:
    """The points of each group, of those given, in their order: by integers and strings, if a point
    has nothing else there."""
    members: dict[int | str, list[PointId]] = {}
    for point_id in ids:
        values = _values(oracle.points[point_id], key)
        if all(type(value) in (int, str) for value in values):
            for value in dict.fromkeys(values):
                members.setdefault(value, []).append(point_id)
    return members
