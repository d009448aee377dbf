"""What is asked by examples: recommendations, discoveries, feedback, matrices; as in the model.

Each function returns what an answer is that it should not be; None if all is well.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from proofs.model.oracle import Oracle, PointId
from proofs.model.searches import EXACT, Search, draw_search
from proofs.model.writes import Pool, random_filter

Scores = npt.NDArray[np.float64]


def asked_by_examples(collection: Any, oracle: Oracle, pool: Pool, rng: Random) -> str | None:
    """One of each."""
    return fitting(collection, oracle, pool, rng) or paired(collection, oracle, pool, rng)


def _sigmoid(scores: Scores) -> Scores:
    result: Scores = (scores / (1 + np.abs(scores)) + 1) / 2
    return result


class _Asked:
    """A query that is drawn: ``query`` in its JSON form, and how it scores rows."""

    def __init__(
        self, oracle: Oracle, pool: Pool, rng: Random, name: str, kinds: Sequence[str]
    ) -> None:
        self._oracle, self._pool, self._rng, self._name = oracle, pool, rng, name
        self.ids: set[PointId] = set()
        self.kind = rng.choice(kinds)
        self._examples: list[Scores] = []
        self.query: Any = getattr(self, f"_{self.kind}")()

    def _example(self) -> Any:
        """A vector, or the id of a point that has one."""
        points, name = self._oracle.points, self._name
        known = [i for i, point in points.items() if name in point.vectors]
        if known and self._rng.random() < 0.6:
            chosen = self._rng.choice(known)
            self.ids.add(chosen)
            self._examples.append(self._oracle.weighted(name, points[chosen].vectors[name]))
            return chosen
        vector = self._pool.vector(self._rng, name, self._oracle.vectors[name])
        asked = self._oracle.asked(name, vector)
        self._examples.append(self._oracle.weighted(name, asked))
        return vector

    def _some(self, least: int, most: int) -> list[Any]:
        return [self._example() for _ in range(self._rng.randint(least, most))]

    def _pairs(self) -> list[Any]:
        return [
            {"positive": self._example(), "negative": self._example()}
            for _ in range(self._rng.randint(1, 3))
        ]

    def _recommend(self) -> Any:
        positive = self._some(0, 3)
        self._positives = len(positive)
        negative = self._some(0 if positive else 1, 2)
        return {"recommend": {"positive": positive, "negative": negative, "strategy": self.kind}}

    _best_score = _sum_scores = _recommend

    def _discover(self) -> Any:
        return {"discover": {"target": self._example(), "context": self._pairs()}}

    def _context(self) -> Any:
        return {"context": self._pairs()}

    def _feedback(self) -> Any:
        target = self._example()
        feedback = [{"example": e, "score": self._rng.random()} for e in self._some(0, 3)]
        self._relevance = [item["score"] for item in feedback]
        strategy = {"naive": {"a": 0.9, "b": 1.5, "c": 0.4}}
        return {
            "relevance_feedback": {"target": target, "feedback": feedback, "strategy": strategy}
        }

    def scores(self, rows: Any) -> Scores:
        """Of some rows."""
        against = np.array(
            [self._oracle.similarities(self._name, rows, example) for example in self._examples]
        )
        result: Scores
        if self.kind == "sum_scores":
            result = against[: self._positives].sum(axis=0)
            result = result - against[self._positives :].sum(axis=0)
            return result
        if self.kind == "best_score":
            worst = np.full((1, len(rows)), -1e300)
            good = np.vstack([worst, against[: self._positives]]).max(axis=0)
            bad = np.vstack([worst, against[self._positives :]]).max(axis=0)
            return np.where(good > bad, _sigmoid(good), -_sigmoid(bad))
        if self.kind == "discover":
            sides = np.sign(against[1::2] - against[2::2]).sum(axis=0)
            result = sides + _sigmoid(against[0])
            return result
        if self.kind == "context":
            wrong = np.minimum(against[::2] - against[1::2] - 2.0**-23, 0)
            result = (wrong / (1 + np.abs(wrong))).sum(axis=0)
            return result
        result = 0.9 * against[0]
        for better, worse in permutations(range(len(self._relevance)), 2):
            apart = self._relevance[better] - self._relevance[worse]
            if apart > 0:
                result = result + apart**1.5 * 0.4 * (against[1 + better] - against[1 + worse])
        return result


_RECOMMEND = ("best_score", "sum_scores")
_DISCOVER = ("discover", "context")
_KINDS = {
    "query_points": (*_RECOMMEND, *_DISCOVER, "feedback"),
    "recommend": _RECOMMEND,
    "recommend_batch": _RECOMMEND,
    "discover": _DISCOVER,
    "discover_batch": _DISCOVER,
}
"""What verbs ask by examples: the older ones take the fields of a query as their own."""


def _answered(collection: Any, verb: str, asked: _Asked, s: Search) -> list[Any]:
    if verb == "query_points":
        answer = collection.query_points(
            asked.query, s.name or None, s.filter, s.params, s.limit, with_payload=False
        )
        return list(answer.points)
    (inner,) = asked.query.values()
    fields = inner if isinstance(inner, dict) else asked.query
    if not verb.endswith("_batch"):
        found = getattr(collection, verb)(
            **fields,
            query_filter=s.filter,
            search_params=s.params,
            limit=s.limit,
            using=s.name or None,
            with_payload=False,
        )
        return list(found)
    request = {**fields, "filter": s.filter, "params": s.params, "limit": s.limit}
    once, again = getattr(collection, verb)([{**request, "using": s.name or None}] * 2)
    assert once == again, f"{verb}: {once}, and the same again: {again}"
    return list(once)


def fitting(
    collection: Any, oracle: Oracle, pool: Pool, rng: Random, verb: str = "query_points"
) -> str | None:
    """Points that fit several examples. By an index points may be missed; the score of what is
    found is what it is. Where a side is decided by the last bits either is right."""
    if not oracle.vectors:
        return None
    s = draw_search(rng, oracle, pool, rng.choice((EXACT, EXACT, None)))
    asked = _Asked(oracle, pool, rng, s.name, _KINDS[verb])
    found = _answered(collection, verb, asked, s)
    there = [
        i
        for i in oracle.matching(s.filter)
        if s.name in oracle.points[i].vectors and i not in asked.ids
    ]
    what = f"{verb}: {asked.kind} by {s.name!r}, filter {s.filter}, limit {s.limit}, {s.params}"
    if len(found) != min(s.limit, len(there)):
        return f"{what}: {len(found)} points of {len(there)}"
    if not found:
        return None
    rows = oracle.rows(s.name, there)
    true = dict(zip(there, asked.scores(rows).tolist(), strict=True))
    given = {point.id: point.score for point in found}
    if len(given) != len(found) or not given.keys() <= true.keys():
        return f"{what}: {[point.id for point in found]}, which are not all among {there}"
    scale = max(1.0, *map(abs, true.values()))
    off = [i for i in given if abs(given[i] - true[i]) > 1e-4 * scale]
    if asked.kind == "discover":
        off = [i for i in off if abs(given[i] - true[i]) % 1 > 1e-3]
    if off:
        return f"{what}: {off[0]!r} has {given[off[0]]}, not {true[off[0]]}"
    if s.params is EXACT and asked.kind != "discover":
        wanted = sorted(true.values(), reverse=True)[: len(found)]
        if not np.allclose([p.score for p in found], wanted, rtol=0, atol=1e-4 * scale):
            return f"{what}: scores {[p.score for p in found]}, not {wanted}"
    return None


def paired(collection: Any, oracle: Oracle, pool: Pool, rng: Random) -> str | None:
    """A matrix: of different points that match, with true scores; as pairs and as offsets."""
    if not oracle.vectors:
        return None
    name = rng.choice(sorted(oracle.vectors))
    filter = random_filter(rng, oracle, pool) if rng.random() < 0.5 else None
    limit, sample = rng.choice((1, 3, 50)), rng.choice((2, 8, 30))
    there = [i for i in oracle.matching(filter) if name in oracle.points[i].vectors]
    count = min(sample, len(there))
    expected = count * min(limit, count - 1) if count > 1 else 0
    what = f"matrix by {name!r}, filter {filter}, sample {sample}, limit {limit}"
    given = {"query_filter": filter, "limit": limit, "sample": sample, "using": name or None}
    pairs = [(p.a, p.b, p.score) for p in collection.search_matrix_pairs(**given).pairs]
    matrix = collection.search_matrix_offsets(**given)
    entries = zip(matrix.offsets_row, matrix.offsets_col, matrix.scores, strict=True)
    of_offsets = [(matrix.ids[row], matrix.ids[column], score) for row, column, score in entries]
    for found in (pairs, of_offsets):
        if len(found) != expected:
            return f"{what}: {len(found)} pairs, not {expected}"
        for a, b, score in found:
            if a == b or a not in there or b not in there:
                return f"{what}: pair {a!r}, {b!r} of {there}"
            vectors = [oracle.points[i].vectors[name] for i in (b, a)]
            true = oracle.scores(name, vectors[1]).get(b, 0.0)
            if oracle.vectors[name][1] == "Idf":
                true = float(np.dot(*vectors))
            if not np.isclose(score, true, rtol=1e-3, atol=1e-3):
                return f"{what}: {a!r}, {b!r} have {score}, not {true}"
    return None
