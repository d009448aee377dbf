"""Sparse vectors: what Qdrant's local mode answers, vecdb answers, wherever the points are."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient
from qdrant_client import models as theirs

from vecdb import VecDB

DENSE, TERMS, RARE, PLAIN = "dense", 40, 3, "plain"
"""``words`` has the IDF modifier, ``plain`` has none."""
NAMES = ("words", PLAIN)


def sparse(rng: Random, *, negative: bool = False) -> theirs.SparseVector:
    """A few of some indices, of which low ones are frequent; now and then none, or the largest."""
    size = rng.choice((0, 1, 2, 3, 5, 8))
    indices = {min(int(rng.expovariate(0.15)), TERMS) for _ in range(size)}
    if rng.random() < 0.1:
        indices.add(2**32 - 1 - rng.randrange(RARE))
    shuffled = sorted(indices, key=lambda _: rng.random())
    # Sixteenths are exact in any order of summing.
    least = -32 if negative else 1
    return theirs.SparseVector(
        indices=shuffled, values=[rng.randint(least, 64) / 16 for _ in shuffled]
    )


class Both:
    """One database of each kind, which are written to alike."""

    def __init__(self, open_db: Callable[..., VecDB], seed: int) -> None:
        self.rng = Random(seed)
        self._open = open_db
        self.negative = seed % 3 == 2
        self.theirs = QdrantClient(":memory:")
        self.ours = open_db()
        for db in (self.ours, self.theirs):
            db.create_collection(
                "c",
                vectors_config={DENSE: theirs.VectorParams(size=3, distance=theirs.Distance.DOT)},
                sparse_vectors_config={
                    "words": theirs.SparseVectorParams(modifier=theirs.Modifier.IDF),
                    PLAIN: theirs.SparseVectorParams(),
                },
            )
        self.known: set[int] = set()

    def both(self, verb: str, *arguments: Any, **named: Any) -> None:
        """Do it in both."""
        for db in (self.ours, self.theirs):
            getattr(db, verb)("c", *arguments, **named)

    def vectors(self) -> dict[str, Any]:
        made: dict[str, Any] = {n: sparse(self.rng, negative=self.negative) for n in NAMES}
        made[DENSE] = [self.rng.randint(-3, 3) for _ in range(3)]
        return {name: vector for name, vector in made.items() if self.rng.random() < 0.85}

    def write(self, count: int) -> None:
        """Something of everything that is written."""
        rng = self.rng
        ids = [rng.randrange(700) for _ in range(count)]
        points = [
            theirs.PointStruct(id=i, vector=self.vectors(), payload={"n": rng.randrange(5)})
            for i in dict.fromkeys(ids)
        ]
        self.both("upsert", points)
        self.known |= set(ids)
        known = sorted(self.known)
        self.both("delete", rng.sample(known, len(known) // 10))
        self.known -= {i for i in known if not self.theirs.retrieve("c", [i])}
        known = sorted(self.known)
        edits = [
            theirs.PointVectors(id=i, vector=made)
            for i in rng.sample(known, len(known) // 12)
            if (made := self.vectors())
        ]
        self.both("update_vectors", edits)
        self.both("delete_vectors", [rng.choice(NAMES)], rng.sample(known, len(known) // 15))

    def reopen(self) -> None:
        self.ours.close()
        self.ours = self._open()

    def asked(self, **query: Any) -> None:
        """The same points with the same scores, but for the order of equal ones."""
        query = {"limit": 1000, "with_payload": False, **query}
        mine = self.ours.query_points("c", **query).points
        wanted = self.theirs.query_points("c", **query).points
        scores, others = {p.id: p.score for p in mine}, {p.id: p.score for p in wanted}
        assert len(scores) == len(mine)
        # A weight that IDF makes is no number of few bits: the last ones depend on who computes.
        assert [p.score for p in mine] == pytest.approx(
            [p.score for p in wanted], rel=2e-6, abs=1e-5
        )
        if query["limit"] == 1000:
            assert scores == pytest.approx(others, rel=2e-6, abs=1e-5)

    def ask(self) -> None:
        """All kinds of queries by sparse vectors."""
        rng = self.rng
        for name in NAMES:
            some = [sparse(rng, negative=self.negative) for _ in range(4)]
            with_it = [i for i in sorted(self.known) if self._has(i, name)][:40]
            ids = rng.sample(with_it, min(3, len(with_it)))
            filter = {"must": [{"key": "n", "match": {"value": rng.randrange(6)}}]}
            query_filter = theirs.Filter(**filter)
            self.asked(query=some[0], using=name)
            self.asked(query=some[0], using=name, limit=3)
            self.asked(query=some[0], using=name, limit=5, offset=4)
            self.asked(query=some[1], using=name, query_filter=query_filter)
            self.asked(query=some[1], using=name, score_threshold=2.0)
            for each in ids[:1]:
                self.asked(query=each, using=name)
            if not with_it:
                continue
            recommend = theirs.RecommendInput
            for strategy in ("average_vector", "best_score", "sum_scores"):
                given = recommend(positive=[some[0], *ids], negative=some[2:3], strategy=strategy)
                self.asked(query=theirs.RecommendQuery(recommend=given), using=name)
            pairs = [theirs.ContextPair(positive=some[1], negative=some[2])]
            discover = theirs.DiscoverInput(target=some[0], context=pairs)
            self.asked(query=theirs.DiscoverQuery(discover=discover), using=name)
            self.asked(query=theirs.ContextQuery(context=pairs), using=name)
            enough = self._uncut(some[0], name, query_filter, 20)
            prefetch = [
                theirs.Prefetch(query=some[0], using=name, limit=enough, filter=query_filter),
                theirs.Prefetch(query=[1.0, 0.0, 2.0], using=DENSE, limit=2000),
            ]
            self.asked(query=some[3], using=name, prefetch=prefetch)

    def _uncut(self, query: Any, name: str, query_filter: Any, least: int) -> int:
        """A limit that does not go through points with equal scores, of which either may come."""
        found = self.theirs.query_points(
            "c", query=query, using=name, query_filter=query_filter, limit=1000
        ).points
        scores = [point.score for point in found]
        cuts = (n for n in range(least, len(scores)) if scores[n - 1] - scores[n] > 1e-4)
        return next(cuts, 1000)

    def _has(self, point_id: int, name: str) -> bool:
        [record] = self.theirs.retrieve("c", [point_id], with_vectors=True)
        return name in record.vector

    def compare(self) -> None:
        """Every point, with its vectors."""
        mine, _ = self.ours.scroll("c", limit=10_000, with_vectors=True)
        wanted, _ = self.theirs.scroll("c", limit=10_000, with_vectors=True)
        assert [p.id for p in mine] == sorted(p.id for p in wanted)
        by_id = {p.id: p for p in wanted}
        for point in mine:
            other = by_id[point.id].vector
            assert point.vector.keys() == other.keys()
            for name in NAMES:
                if name in other:
                    assert point.vector[name].indices == other[name].indices
                    assert point.vector[name].values == other[name].values


@pytest.mark.parametrize("seed", range(6))
def test_every_answer_is_that_of_local_mode(open_db: Callable[..., VecDB], seed: int) -> None:
    both = Both(open_db, seed)
    for step in range(4):
        both.write(40 if step == 0 else 300)
        both.compare()
        both.ask()
        if step == 1:
            both.ours.flush()
        if step == 2:
            both.reopen()
            both.compare()
        both.ask()
    both.reopen()
    both.ask()


@pytest.fixture
def filled(open_db: Callable[..., VecDB]) -> VecDB:
    db = open_db()
    db.create_collection("c", vectors_config={}, sparse_vectors_config={"s": {}})
    rng = np.random.default_rng(3)
    points = [
        {
            "id": i,
            "vector": {
                "s": {
                    "indices": rng.choice(50, 4, replace=False).tolist(),
                    "values": rng.random(4).tolist(),
                }
            },
        }
        for i in range(2000)
    ]
    db.upsert("c", points)
    return db


def test_an_index_finds_what_a_scan_finds(filled: VecDB) -> None:
    query = {"indices": [3, 7, 11, 49], "values": [1.0, 0.5, 2.0, 0.25]}

    def answer(**params: Any) -> list[tuple[Any, float]]:
        found = filled.query_points("c", query, using="s", search_params=params, limit=50).points
        return [(p.id, p.score) for p in found]

    in_memory = answer()
    filled.flush()
    assert answer() == answer(exact=True) == in_memory
    filled.delete("c", [point_id for point_id, _ in in_memory[:25]])
    assert answer()[:25] == in_memory[25:]
    assert answer() == answer(exact=True)
