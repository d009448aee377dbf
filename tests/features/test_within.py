"""All points within a distance, and how many a deletion took: what Qdrant does not say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import vecdb.qdrant
from tests.cases import first_few
from vecdb import AsyncVecDB, VecDB, models
from vecdb.errors import InvalidInputError, NotFoundError

DIM = 6
POINTS = 900
ROWS = np.random.default_rng(3).standard_normal((POINTS, DIM)).astype(np.float32)
DELETED = set(range(4, POINTS, 19))
EXACT = models.SearchParams(exact=True)


def fill(db: VecDB, distance: str) -> None:
    """File segments with codes, rows in memory; some points without the vector, some deleted."""
    db.create_collection(
        "c",
        {"a": {"size": DIM, "distance": distance}, "b": {"size": 1, "distance": "Dot"}},
        quantization_config={"scalar": {"type": "int8"}},
        optimizers_config={"indexing_threshold": 0},
    )
    for start in range(0, POINTS, 300):
        points = []
        for number in range(start, start + 300):
            vector = {"b": [1.0]} if number % 7 == 0 else {"a": ROWS[number]}
            points.append({"id": number, "vector": vector, "payload": {"n": number}})
        db.upsert("c", points)
        if start < 600:
            db.flush("c")
    db.delete("c", sorted(DELETED))


@pytest.fixture(scope="module", params=["Cosine", "Dot", "Euclid", "Manhattan"])
def db(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VecDB]:
    with VecDB(tmp_path_factory.mktemp("within") / "db") as database:
        fill(database, request.param)
        database.wait_for_optimizer("c")
        yield database


@pytest.mark.parametrize("seed", first_few(4, range(12)))
def test_as_an_exact_search_for_all(db: VecDB, seed: int) -> None:
    rng = Random(seed)
    query: Any = rng.choice((8, ROWS[0], [rng.uniform(-1, 1) for _ in range(DIM)]))
    filter = rng.choice((None, {"must": [{"key": "n", "range": {"lt": 400}}]}))
    everything = db.query_points(
        "c", query, "a", filter, EXACT, limit=POINTS, with_payload=["n"]
    ).points
    # Half-way between two scores: rounding decides nothing.
    place = rng.randrange(len(everything) - 1)
    threshold = (everything[place].score + everything[place + 1].score) / 2
    found = list(db.within("c", query, threshold, "a", filter, with_payload=["n"]))
    assert {p.id for p in found} == {p.id for p in everything[: place + 1]}
    scores = {p.id: p.score for p in everything}
    assert [p.score for p in found] == pytest.approx([scores[p.id] for p in found], abs=1e-5)
    assert all(p.payload == {"n": p.id} for p in found)


def test_it_is_of_one_state(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        fill(db, "Euclid")
        expected = {p.id for p in db.within("c", ROWS[0], 1e9, "a")}
        stream = db.within("c", ROWS[0], 1e9, "a")
        seen = [p.id for p in islice(stream, 10)]
        db.delete("c", models.Filter())
        db.upsert("c", [{"id": 10_000, "vector": {"a": ROWS[0]}}])
        db.flush("c")
        assert db.wait_for_optimizer("c")
        seen += [p.id for p in stream]
        assert len(seen) == len(set(seen))
        assert set(seen) == expected
        assert [p.id for p in db.within("c", ROWS[0], 1e9, "a")] == [10_000]


def test_large_pieces(monkeypatch: pytest.MonkeyPatch, db: VecDB) -> None:
    """Not one piece only."""
    whole = sorted((p.id, p.score) for p in db.within("c", ROWS[1], 0.5, "a"))
    monkeypatch.setattr("vecdb.engine.read.within._BYTES", 50 * 4 * DIM)
    pieces = sorted((p.id, p.score) for p in db.within("c", ROWS[1], 0.5, "a"))
    assert [each[0] for each in pieces] == [each[0] for each in whole]
    assert [each[1] for each in pieces] == pytest.approx([each[1] for each in whole], abs=1e-6)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"score_threshold": None}, "score_threshold: expected a number, got None"),
        ({"score_threshold": "near"}, "score_threshold: expected a number, got 'near'"),
        ({"query": [1.0]}, "query vector 'a': expected 6 numbers"),
        ({"query": 77_777}, "query: point 77777 does not exist"),
        ({"query": {"nearest": 8, "mmr": {}}}, "query: expected no mmr"),
        ({"query": {"fusion": "rrf"}}, "query: expected a vector, an id"),
        ({"query_filter": 3}, "query_filter: expected"),
    ],
)
def test_mistakes_are_met_at_the_call(db: VecDB, asked: dict[str, Any], message: str) -> None:
    given = {"query": 8, "score_threshold": 0.5, "using": "a"} | asked
    with pytest.raises((InvalidInputError, NotFoundError)) as caught:
        db.within("c", **given)  # and not when the first is asked for
    assert str(caught.value).startswith(message)


def test_coroutines(tmp_path: Path) -> None:
    async def work() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            await db.create_collection("c", {"size": 2, "distance": "Dot"})
            points = [{"id": n, "vector": [1.0, n]} for n in range(2500)]
            await db.upsert("c", points)
            found = [point.id async for point in await db.within("c", [0.0, 1.0], 99.5)]
            assert sorted(found) == list(range(100, 2500))
            with pytest.raises(InvalidInputError, match="score_threshold"):
                await db.within("c", [0.0, 1.0], None)  # type: ignore[arg-type]
            assert (await db.delete("c", [1, 2, 99_999])).deleted == 2

    asyncio.run(work())


def test_by_qdrants_client() -> None:
    """Its own objects come, one after the other."""
    from qdrant_client import models as theirs

    with vecdb.qdrant.QdrantClient(":memory:") as client:
        client.create_collection("c", theirs.VectorParams(size=1, distance=theirs.Distance.DOT))
        client.upsert("c", [theirs.PointStruct(id=n, vector=[n]) for n in range(9)])
        found = list(client.within("c", [1.0], 5.5))
        assert {type(point) for point in found} == {theirs.ScoredPoint}
        assert sorted(point.id for point in found) == [6, 7, 8]


# -- how many a deletion took ----------------------------------------------------------------


def test_how_many_were_deleted(tmp_path: Path) -> None:
    some = models.Filter(must=[{"key": "n", "range": {"gte": 40}}])
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 1, "distance": "Dot"})
        points = [{"id": n, "vector": [n], "payload": {"n": n}} for n in range(50)]
        assert db.upsert("c", points).deleted is None
        assert db.delete("c", [1, 2, 2, 777]).deleted == 2
        assert db.delete("c", [1, 2]).deleted == 0
        db.flush("c")
        db.upsert("c", points[:5])  # replaced: still one of each
        assert db.delete("c", [0, 1, 5]).deleted == 3
        assert db.delete("c", some).deleted == 10
        assert db.delete("c", some).deleted == 0
        done = db.batch_update_points(
            "c",
            [
                {"delete": {"points": [6, 7]}},
                {"upsert": {"points": [points[6]]}},
                {"delete": {"points": [6, 7, 8]}},
            ],
        )
        assert [each.deleted for each in done] == [2, None, 2]
        left = db.count("c").count
        assert db.delete("c", models.Filter()).deleted == left
