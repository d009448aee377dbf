"""What is asked of prefetched points, and of all that are near enough; as in the model.

Each function returns what an answer is that it should not be; None if all is well.
"""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from proofs.model.by_payload import KEYS, members_of
from proofs.model.drawing import field_condition
from proofs.model.oracle import Oracle, PointId
from proofs.model.searches import EXACT, draw_search
from proofs.model.writes import Pool, random_filter

_OFF = 1e-4
"""How far a score may be from the truth, as a share of the largest."""


def asked_of_prefetched(collection: Any, oracle: Oracle, pool: Pool, rng: Random) -> str | None:
    """One of each."""
    return (
        computed(collection, oracle, pool, rng)
        or fused(collection, oracle, pool, rng)
        or near(collection, oracle, pool, rng)
        or grouped_upon(collection, oracle, pool, rng)
    )


def computed(collection: Any, oracle: Oracle, pool: Pool, rng: Random) -> str | None:
    """A formula of the scores of several searches: the sum of what each finds, and of conditions
    that hold, with weights."""
    if not oracle.vectors:
        return None
    searches = [draw_search(rng, oracle, pool, EXACT) for _ in range(rng.randint(1, 3))]
    weights = [rng.choice((1.0, 0.5, -2.0)) for _ in searches]
    parts: list[Any] = [{"mult": [weight, f"$score[{i}]"]} for i, weight in enumerate(weights)]
    conditions = [field_condition(rng) for _ in range(rng.randrange(3))]
    parts += [{"mult": [0.75, condition]} for condition in conditions]
    limit, every = rng.choice((1, 10, len(oracle.points) + 1)), len(oracle.points) + 1
    found = collection.query_points(
        {"formula": {"sum": parts}},
        prefetch=[
            {
                "query": s.query,
                "using": s.name or None,
                "filter": s.filter,
                "params": EXACT,
                "limit": every,
            }
            for s in searches
        ],
        limit=limit,
        with_payload=False,
    ).points
    true: dict[PointId, float] = {}
    scale = 1.0
    for s, weight in zip(searches, weights, strict=True):
        for point_id, score in oracle.scores(s.name, s.query, s.filter).items():
            true[point_id] = true.get(point_id, 0.0) + weight * score
            scale = max(scale, abs(weight * score))
    for condition in conditions:
        for point_id in oracle.matching({"must": [condition]}):
            if point_id in true:
                true[point_id] += 0.75
    what = f"formula of {[(s.name, s.filter) for s in searches]}, weights {weights}, {conditions}"
    return _unlike(what, found, true, limit, _OFF * scale)


def _unlike(
    what: str, found: list[Any], true: dict[PointId, float], limit: int, off: float
) -> str | None:
    """How points differ from those with the best scores."""
    given = {point.id: point.score for point in found}
    if len(found) != min(limit, len(true)) or len(given) != len(found):
        return f"{what}: {len(found)} points of {len(true)}, limit {limit}"
    if not given.keys() <= true.keys():
        return f"{what}: {list(given)}, which are not all among {list(true)}"
    wanted = sorted(true.values(), reverse=True)[: len(found)]
    of_found = [true[point_id] for point_id in given]
    for scores in (wanted, of_found):
        if not np.allclose(list(given.values()), scores, rtol=_OFF, atol=off):
            return f"{what}: scores {list(given.values())}, not {scores}"
    return None


def fused(collection: Any, oracle: Oracle, pool: Pool, rng: Random) -> str | None:
    """Points of several lists by their ranks there; each is in the order of a number."""
    every, k = len(oracle.points) + 1, rng.choice((None, 1, 60))
    true: dict[PointId, float] = {}
    lists, weights = [], [rng.choice((1.0, 0.5, 3.0)) for _ in range(rng.randint(1, 3))]
    for weight in weights:
        filter, down = random_filter(rng, oracle, pool), rng.random() < 0.5
        limit = rng.choice((3, 20, every))
        order = {"key": "n", "direction": "desc" if down else "asc"}
        lists.append({"query": {"order_by": order}, "filter": filter, "limit": limit})
        numbers = [(oracle.points[i].payload.get("n"), i) for i in oracle.matching(filter)]
        ranked = sorted(
            ((n, (isinstance(i, str), i)) for n, i in numbers if n is not None), reverse=down
        )
        for rank, (_, (_, point_id)) in enumerate(ranked[:limit]):
            score = 1 / ((rank + 1) / weight + (2 if k is None else k) - 1)
            true[point_id] = true.get(point_id, 0.0) + score
    limit = rng.choice((1, 10, every))
    found = collection.query_points(
        {"rrf": {"k": k, "weights": weights}}, prefetch=lists, limit=limit, with_payload=False
    ).points
    return _unlike(f"fusion of {lists}, weights {weights}, k {k}", found, true, limit, 1e-6)


def grouped_upon(collection: Any, oracle: Oracle, pool: Pool, rng: Random) -> str | None:
    """Groups of a search that is made on what another one finds: a point or two at first. There are
    as many as there can be, as full, and their points have the scores of the search."""
    if not oracle.vectors:
        return None
    s, few = draw_search(rng, oracle, pool, EXACT), draw_search(rng, oracle, pool, EXACT)
    key, limit, size = rng.choice(KEYS), rng.choice((1, 3, 100)), rng.choice((1, 3, 100))
    found = collection.query_points_groups(
        key,
        s.query,
        s.name or None,
        s.filter,
        limit=limit,
        group_size=size,
        prefetch={"query": few.query, "using": few.name or None, "params": EXACT, "limit": 1},
    ).groups
    scores = oracle.scores(s.name, s.query, s.filter)
    there = oracle.scores(few.name, few.query, s.filter).keys()
    members = members_of(oracle, key, [i for i in scores if i in there])
    what = f"groups by {key} near {s.name!r} upon {few.name!r}, filter {s.filter}"
    if len(found) != min(limit, len(members)) or len({g.id for g in found}) != len(found):
        return f"{what}: {[g.id for g in found]} of {list(members)}"
    for group in found:
        ids, own = [hit.id for hit in group.hits], members.get(group.id, [])
        if len(ids) != min(size, len(own)) or len(set(ids)) != len(ids) or set(ids) - set(own):
            return f"{what}: in {group.id!r} {ids} of {own}"
        given = [hit.score for hit in group.hits]
        true = oracle.best_first(s.name, [scores[i] for i in ids])
        if not np.allclose(given, true, rtol=_OFF, atol=_OFF):
            return f"{what}: in {group.id!r} scores {given}, not {true}"
    return None


def near(collection: Any, oracle: Oracle, pool: Pool, rng: Random) -> str | None:
    """All points within a distance; of those just at it either is right."""
    if not oracle.vectors:
        return None
    s = draw_search(rng, oracle, pool, EXACT)
    true = oracle.scores(s.name, s.query, s.filter)
    threshold = rng.choice([*true.values(), 0.0])
    found = {
        point.id: point.score
        for point in collection.within(
            s.query, threshold, s.name or None, s.filter, with_payload=False
        )
    }
    what = f"within {threshold} by {s.name!r}, filter {s.filter}"
    if not found.keys() <= true.keys():
        return f"{what}: {list(found)}, which are not all among {list(true)}"
    off = _OFF * max(1.0, *map(abs, true.values())) if true else _OFF
    larger = oracle.best_first(s.name, [0.0, 1.0])[0] == 1.0
    for point_id, score in true.items():
        better = score > threshold if larger else score < threshold
        if better != (point_id in found) and abs(score - threshold) > off:
            return f"{what}: {point_id!r} with {score} is {'not ' if better else ''}there"
        if point_id in found and abs(found[point_id] - score) > off:
            return f"{what}: {point_id!r} has {found[point_id]}, not {score}"
    return None
