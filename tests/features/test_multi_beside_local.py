"""Multivectors: what Qdrant's local mode answers, vecdb answers, wherever the points are."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from qdrant_client import QdrantClient
from qdrant_client import models as theirs

from vecdb import VecDB

DISTANCES = {"cos": "Cosine", "dot": "Dot", "euclid": "Euclid", "city": "Manhattan"}
SIZES = {"cos": 5, "dot": 3, "euclid": 4, "city": 2}
NAMES = tuple(DISTANCES)
DENSE = "dense"
Tokens = list[list[float]]


def tokens(rng: Random, name: str, most: int = 5) -> Tokens:
    """Some vectors. Eighths are exact in any order of summing; under Cosine nothing is 0."""
    least = 1 if name == "cos" else -24

    def one() -> list[float]:
        return [rng.randint(least, 24) / 8 for _ in range(SIZES[name])]

    return [one() for _ in range(rng.randint(1, most))]


class Both:
    """One database of each kind, which are written to alike."""

    def __init__(self, open_db: Callable[..., VecDB], seed: int) -> None:
        self.rng = Random(seed)
        self._open = open_db
        self.theirs = QdrantClient(":memory:")
        self.ours = open_db()
        many = theirs.MultiVectorConfig(comparator=theirs.MultiVectorComparator.MAX_SIM)
        vectors = {
            name: theirs.VectorParams(
                size=SIZES[name],
                distance=theirs.Distance(distance),
                multivector_config=many,
                on_disk=seed % 2 == 0,
            )
            for name, distance in DISTANCES.items()
        }
        vectors[DENSE] = theirs.VectorParams(size=3, distance=theirs.Distance.DOT)
        for db in (self.ours, self.theirs):
            db.create_collection("c", vectors_config=vectors)
        self.known: set[int] = set()

    def both(self, verb: str, *arguments: Any, **named: Any) -> None:
        """Do it in both."""
        for db in (self.ours, self.theirs):
            getattr(db, verb)("c", *arguments, **named)

    def vectors(self) -> dict[str, Any]:
        made: dict[str, Any] = {name: tokens(self.rng, name) for name in NAMES}
        made[DENSE] = [self.rng.randint(-3, 3) for _ in range(3)]
        return {name: vector for name, vector in made.items() if self.rng.random() < 0.85}

    def write(self, count: int) -> None:
        """Something of everything that is written."""
        rng = self.rng
        ids = [rng.randrange(300) for _ in range(count)]
        points = [
            theirs.PointStruct(id=i, vector=self.vectors(), payload={"n": rng.randrange(5)})
            for i in dict.fromkeys(ids)
        ]
        self.both("upsert", points)
        self.known |= set(ids)
        known = sorted(self.known)
        gone = rng.sample(known, len(known) // 10)
        self.both("delete", gone)
        self.known -= set(gone)
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
        close: dict[str, Any] = {"rel": 1e-5, "abs": 1e-5}
        assert [p.score for p in mine] == pytest.approx([p.score for p in wanted], **close)
        if query["limit"] == 1000:
            scores = {p.id: p.score for p in mine}
            assert len(scores) == len(mine)
            assert scores == pytest.approx({p.id: p.score for p in wanted}, **close)

    def ask(self) -> None:
        """All kinds of queries by multivectors."""
        rng = self.rng
        for name in NAMES:
            some = [tokens(rng, name) for _ in range(4)]
            with_it = [i for i in sorted(self.known) if self._has(i, name)]
            ids = rng.sample(with_it, min(3, len(with_it)))
            query_filter = theirs.Filter.model_validate(
                {"must": [{"key": "n", "match": {"value": rng.randrange(6)}}]}
            )
            self.asked(query=some[0], using=name)
            self.asked(query=tokens(rng, name, 40), using=name, limit=3)
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
            prefetch = [
                # Without a cut: of equal scores at one, either side may take another point.
                theirs.Prefetch(query=some[0], using=name, limit=2000, filter=query_filter),
                theirs.Prefetch(query=[1.0, 0.0, 2.0], using=DENSE, limit=2000),
            ]
            self.asked(query=some[3], using=name, prefetch=prefetch)
            fusion = theirs.FusionQuery(fusion=theirs.Fusion.DBSF)
            self.asked(query=fusion, prefetch=prefetch)

    def _has(self, point_id: int, name: str) -> bool:
        [record] = self.theirs.retrieve("c", [point_id], with_vectors=True)
        return name in record.vector

    def compare(self) -> None:
        """Every point, with its vectors."""
        mine: Any
        wanted: Any
        mine, _ = self.ours.scroll("c", limit=10_000, with_vectors=True)
        wanted, _ = self.theirs.scroll("c", limit=10_000, with_vectors=True)
        assert [p.id for p in mine] == sorted(p.id for p in wanted)
        by_id = {p.id: p for p in wanted}
        for point in mine:
            other = by_id[point.id].vector
            assert point.vector.keys() == other.keys()
            for name in NAMES:
                if name in other:
                    assert len(point.vector[name]) == len(other[name])
                    for token, wanted_token in zip(point.vector[name], other[name], strict=True):
                        assert token == pytest.approx(wanted_token, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_every_answer_is_that_of_local_mode(open_db: Callable[..., VecDB], seed: int) -> None:
    both = Both(open_db, seed)
    for step in range(4):
        both.write(40 if step == 0 else 150)
        both.compare()
        both.ask()
        if step == 1:
            both.ours.flush()
        if step == 2:
            both.reopen()
            both.compare()
            both.ask()
    both.ours.update_collection("c", optimizers_config={"indexing_threshold": 1})
    both.ours.flush()
    assert both.ours.wait_for_optimizer("c", timeout=300)
    both.reopen()
    both.ask()


@pytest.mark.parametrize("seed", range(3))
def test_groups_and_diversity_are_those_of_local_mode(
    open_db: Callable[..., VecDB], seed: int
) -> None:
    both = Both(open_db, seed)
    both.write(120)
    both.ours.flush()
    both.write(60)
    for name in NAMES:
        some = tokens(both.rng, name)
        groups = [
            db.query_points_groups("c", "n", query=some, using=name, limit=6, group_size=4).groups
            for db in (both.ours, both.theirs)
        ]
        scores = [{g.id: [h.score for h in g.hits] for g in found} for found in groups]
        assert scores[0].keys() == scores[1].keys()
        for group, wanted in scores[1].items():
            assert scores[0][group] == pytest.approx(wanted, rel=1e-5, abs=1e-5)
        mmr = theirs.Mmr(diversity=0.0, candidates_limit=30)
        both.asked(query=theirs.NearestQuery(nearest=some, mmr=mmr), using=name, limit=8)


def test_likeness_is_how_well_a_candidate_is_found_in_one_that_was_chosen(
    open_db: Callable[..., VecDB],
) -> None:
    """MaxSim has a direction: it was the other one. Of these numbers no two scores are equal."""
    both = Both(open_db, 1)
    random = both.rng.uniform

    def some(name: str) -> list[list[float]]:
        return [[random(-1, 1) for _ in range(SIZES[name])] for _ in range(both.rng.randint(1, 6))]

    points = [
        theirs.PointStruct(id=id, vector={name: some(name) for name in NAMES}) for id in range(40)
    ]
    both.both("upsert", points)
    for name in NAMES:
        for diversity in (0.3, 0.8):
            mmr = theirs.Mmr(diversity=diversity, candidates_limit=40)
            query = theirs.NearestQuery(nearest=some(name), mmr=mmr)
            both.asked(query=query, using=name, limit=12)
