"""Results as arrays, dicts and tables: the same points as in objects."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from vecdb import AsyncVecDB, VecDB, exchange, models
from vecdb.errors import InvalidInputError, NotFoundError

DIM = 6


def filled(db: VecDB, distance: str, ids: list[Any], name: str = "c") -> np.ndarray[Any, Any]:
    """A collection in a segment in a file, and one in memory; its vectors."""
    rows = np.random.default_rng(0).normal(size=(len(ids), DIM)).astype(np.float32)
    db.create_collection(name, {"size": DIM, "distance": distance})
    half = len(ids) // 2
    payloads = [{"n": n} for n in range(len(ids))]
    db.upsert(name, models.Batch(ids=ids[:half], vectors=rows[:half], payloads=payloads[:half]))
    db.flush(name)
    db.upsert(name, models.Batch(ids=ids[half:], vectors=rows[half:], payloads=payloads[half:]))
    return rows


def expected(db: VecDB, queries: Any, **options: Any) -> list[list[models.ScoredPoint]]:
    requests = [models.SearchRequest(vector=query, **options) for query in queries]
    return db.search_batch("c", requests)


@pytest.mark.parametrize("distance", ["Cosine", "Dot", "Euclid", "Manhattan"])
@pytest.mark.parametrize("kind", ["numbers", "uuids", "both"])
def test_arrays_have_the_points_of_a_batch(db: VecDB, distance: str, kind: str) -> None:
    ids: list[Any] = list(range(2**63, 2**63 + 80))
    texts = [str(uuid.UUID(int=number)) for number in range(80)]
    ids = {"numbers": ids, "uuids": texts, "both": ids[:60] + texts[:20]}[kind]
    filled(db, distance, ids)
    queries = np.random.default_rng(1).normal(size=(13, DIM))
    found = db.search_arrays("c", queries, limit=7)
    batch = expected(db, queries, limit=7)
    assert found.ids.dtype == (np.uint64 if kind == "numbers" else np.dtype("<U36"))
    assert found.scores.dtype == np.float32
    assert found.counts.tolist() == [7] * 13
    assert [[str(p.id) for p in points] for points in batch] == found.ids.astype(str).tolist()
    dicts = found.to_dicts()
    assert [[p.id for p in points] for points in batch] == [[d["id"] for d in row] for row in dicts]
    scores = [[p.score for p in points] for points in batch]
    # Lengths of many queries are summed in another order than that of one.
    assert np.allclose(scores, found.scores, rtol=1e-6, atol=1e-6)


def test_what_is_beyond_the_points_says_so(db: VecDB) -> None:
    filled(db, "Dot", list(range(1, 9)))
    queries = np.eye(DIM)
    only = {"must": [{"key": "n", "range": {"lt": 3}}]}
    found = db.search_arrays("c", queries, query_filter=only, limit=5)
    assert found.ids.shape == found.scores.shape == (DIM, 5)
    assert found.counts.tolist() == [3] * DIM
    assert not found.ids[:, 3:].any()
    assert np.isnan(found.scores[:, 3:]).all()
    batch = expected(db, queries, filter=only, limit=5)
    assert found.to_dicts() == [[{"id": p.id, "score": p.score} for p in row] for row in batch]
    better = db.search_arrays("c", queries, limit=5, score_threshold=0.5)
    wanted = expected(db, queries, limit=5, score_threshold=0.5)
    assert better.counts.tolist() == [len(points) for points in wanted]
    assert 0 < better.counts.sum() < 5 * DIM


def test_no_vectors_find_nothing(db: VecDB) -> None:
    filled(db, "Dot", [1, 2, 3])
    found = db.search_arrays("c", np.empty((0, DIM)), limit=4)
    assert (found.ids.shape, found.scores.shape, found.counts.shape) == ((0, 4), (0, 4), (0,))
    db.create_collection("empty", {"size": DIM, "distance": "Dot"})
    assert db.search_arrays("empty", np.eye(DIM)).counts.tolist() == [0] * DIM


def test_of_a_named_vector(db: VecDB) -> None:
    db.create_collection("two", {"a": {"size": 2, "distance": "Dot"}})
    db.upsert("two", [{"id": 4, "vector": {"a": [1, 2]}}])
    assert db.search_arrays("two", [[1, 1]], using="a", limit=1).to_dicts() == [
        [{"id": 4, "score": 3.0}]
    ]
    with pytest.raises((InvalidInputError, NotFoundError), match="'b'"):
        db.search_arrays("two", [[1, 1]], using="b")


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (np.ones(DIM), "query_vectors: expected rows of 6 numbers"),
        (np.ones((2, 5)), "query_vectors: expected rows of 6 numbers"),
        (np.full((2, DIM), np.nan), "query_vectors: expected finite numbers"),
        ("x", "query_vectors: expected"),
    ],
)
def test_wrong_vectors_are_refused(db: VecDB, queries: Any, message: str) -> None:
    filled(db, "Dot", [1, 2, 3])
    with pytest.raises(InvalidInputError, match=message):
        db.search_arrays("c", queries)
    with pytest.raises(InvalidInputError, match="limit"):
        db.search_arrays("c", np.eye(DIM), limit=0)


def test_without_blocking_the_loop() -> None:
    async def found() -> models.ScoredArrays:
        async with AsyncVecDB() as db:
            await db.create_collection("c", models.VectorParams(size=2, distance="Dot"))  # type: ignore[arg-type]
            await db.upsert("c", [models.PointStruct(id=1, vector=[1, 2])])
            return await db.collection("c").search_arrays([[1, 1]], limit=1)

    assert asyncio.run(found()).to_dicts() == [[{"id": 1, "score": 3.0}]]


# -- tables ------------------------------------------------------------------------------------


def test_results_as_dicts_and_tables(db: VecDB) -> None:
    rows = filled(db, "Dot", [5, 6, str(uuid.UUID(int=9))])
    points = db.query_points("c", rows[0], limit=3, with_vectors=True)
    dicts = exchange.to_dicts(points)
    assert dicts == [
        {"id": p.id, "score": p.score, "vector": p.vector, "payload": p.payload}
        for p in points.points
    ]
    frame = exchange.to_pandas(points)
    assert frame.to_dict("records") == dicts
    table = exchange.to_arrow(points.points)
    assert table.schema.field("vector").type == pa.list_(pa.float32(), DIM)
    assert table.column("id").to_pylist() == [str(p.id) for p in points.points]
    assert table.column("score").to_pylist() == [p.score for p in points.points]
    assert [json.loads(t) for t in table.column("payload").to_pylist()] == [
        p.payload for p in points.points
    ]
    records, _ = db.scroll("c", limit=2, with_payload=False)
    assert exchange.to_dicts(records) == [{"id": 5}, {"id": 6}]
    assert exchange.to_arrow(records).schema.field("id").type == pa.uint64()


def test_named_vectors_are_columns(db: VecDB) -> None:
    params = {"size": 2, "distance": "Dot"}
    db.create_collection("two", {"a": params, "b": {**params, "size": 1}})
    db.upsert("two", [{"id": 1, "vector": {"a": [1, 2]}}, {"id": 2, "vector": {"b": [3]}}])
    records, _ = db.scroll("two", with_vectors=True, with_payload=False)
    assert exchange.to_arrow(records).to_pylist() == [
        {"id": 1, "vector_a": [1, 2], "vector_b": None},
        {"id": 2, "vector_a": None, "vector_b": [3]},
    ]


def test_arrays_as_tables(db: VecDB) -> None:
    filled(db, "Dot", [5, 6, 7])
    found = db.search_arrays("c", np.eye(DIM)[:2], limit=5)
    dicts = exchange.to_dicts(found)
    assert [each["query"] for each in dicts] == [0, 0, 0, 1, 1, 1]
    assert exchange.to_arrow(found).to_pylist() == dicts
    assert exchange.to_pandas(found).to_dict("records") == dicts


def test_what_is_no_result_is_refused(db: VecDB) -> None:
    with pytest.raises(InvalidInputError, match="expected Record or ScoredPoint, got int"):
        exchange.to_dicts([1])  # type: ignore[list-item]
    for given in (5, None, "points", {1: 2}):
        for function in (exchange.to_dicts, exchange.to_arrow, exchange.to_pandas):
            with pytest.raises(InvalidInputError, match="expected what a query, scroll or retr"):
                function(given)
    filled(db, "Dot", [5, 6])
    with pytest.raises(InvalidInputError, match=r"of what scroll returned, give \[0\]"):
        exchange.to_pandas(db.scroll("c"))
    assert exchange.to_dicts([]) == []
    assert exchange.to_arrow([]).num_rows == 0


def test_sparse_vectors_in_a_table() -> None:
    """They were taken for lists of numbers."""
    with VecDB(":memory:") as db:
        db.create_collection("c", {}, sparse_vectors_config={"s": {}})
        vector = {"indices": [3, 9], "values": [0.5, 2.0]}
        db.upsert("c", [{"id": 1, "vector": {"s": vector}}, {"id": 2, "vector": {}}])
        points = db.scroll("c", with_vectors=True)[0]
        table = exchange.to_arrow(points)
        assert table.column("vector_s").to_pylist() == [vector, None]
