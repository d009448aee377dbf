"""Multivectors: what Qdrant's local mode answers, vecdb answers, wherever the points are."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from qdrant_client import models as theirs

from tests.features.beside_local import Both
from vecdb import VecDB

DISTANCES = {"cos": "Cosine", "dot": "Dot", "euclid": "Euclid", "city": "Manhattan"}
SIZES = {"cos": 5, "dot": 3, "euclid": 4, "city": 2}
NAMES = tuple(DISTANCES)
Tokens = list[list[float]]


def tokens(rng: Random, name: str, most: int = 5) -> Tokens:
    """Some vectors. Eighths are exact in any order of summing; under Cosine nothing is 0."""
    least = 1 if name == "cos" else -24

    def one() -> list[float]:
        return [rng.randint(least, 24) / 8 for _ in range(SIZES[name])]

    return [one() for _ in range(rng.randint(1, most))]


class Multivectors(Both):
    """Of each distance."""

    names, ids, rel = NAMES, 300, 1e-5

    def __init__(self, open_db: Callable[..., VecDB], seed: int) -> None:
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
        super().__init__(open_db, seed, vectors)

    def vector(self, name: str) -> Tokens:
        return tokens(self.rng, name)

    def same(self, name: str, mine: Any, wanted: Any) -> None:
        assert len(mine) == len(wanted)
        for token, wanted_token in zip(mine, wanted, strict=True):
            assert token == pytest.approx(wanted_token, rel=1e-5)

    def ask(self) -> None:
        super().ask()
        for name in NAMES:
            self.asked(query=tokens(self.rng, name, 40), using=name, limit=3)


@pytest.mark.parametrize("seed", range(4))
def test_every_answer_is_that_of_local_mode(open_db: Callable[..., VecDB], seed: int) -> None:
    both = Multivectors(open_db, seed)
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
    both = Multivectors(open_db, seed)
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
    both = Multivectors(open_db, 1)
    random = both.rng.uniform

    def some(name: str) -> list[list[float]]:
        return [[random(-1, 1) for _ in range(SIZES[name])] for _ in range(both.rng.randint(1, 6))]

    points = [
        theirs.PointStruct(id=id, vector={name: some(name) for name in NAMES}) for id in range(40)
    ]
    both._do("upsert", points)
    for name in NAMES:
        for diversity in (0.3, 0.8):
            mmr = theirs.Mmr(diversity=diversity, candidates_limit=40)
            query = theirs.NearestQuery(nearest=some(name), mmr=mmr)
            both.asked(query=query, using=name, limit=12)
