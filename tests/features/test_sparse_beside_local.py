"""Sparse vectors: what Qdrant's local mode answers, vecdb answers, wherever the points are."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from qdrant_client import models as theirs

from tests.features.beside_local import Both
from vecdb import VecDB

TERMS, RARE = 40, 3
NAMES = ("words", "plain")


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


class Sparse(Both):
    """With the IDF modifier, and without."""

    names, ids = NAMES, 700
    rel = 2e-6  # a weight that IDF makes is no number of few bits

    def __init__(self, open_db: Callable[..., VecDB], seed: int) -> None:
        self.negative = seed % 3 == 2
        config = {
            "words": theirs.SparseVectorParams(modifier=theirs.Modifier.IDF),
            "plain": theirs.SparseVectorParams(),
        }
        super().__init__(open_db, seed, {}, sparse_vectors_config=config)

    def vector(self, name: str) -> theirs.SparseVector:
        return sparse(self.rng, negative=self.negative)

    def same(self, name: str, mine: Any, wanted: Any) -> None:
        assert mine.indices == wanted.indices
        assert mine.values == wanted.values


@pytest.mark.parametrize("seed", range(6))
def test_every_answer_is_that_of_local_mode(open_db: Callable[..., VecDB], seed: int) -> None:
    both = Sparse(open_db, seed)
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
