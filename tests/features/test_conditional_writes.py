"""Points that are written only where what is there lets them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient
from qdrant_client import models as theirs

from vecdb import VecDB, models
from vecdb.errors import InvalidInputError, NotFoundError

OLD = {"must": [{"key": "version", "range": {"lt": 3}}]}
Point = dict[str, Any]


def point(id: int, version: int | None = None) -> Point:
    return {"id": id, "vector": [id, version or 0], "payload": {"version": version}}


@pytest.fixture
def db() -> Iterator[VecDB]:
    with VecDB(":memory:") as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        db.upsert("c", [point(1, 1), point(2, 3)])
        db.flush()
        db.upsert("c", [point(3, 1), point(4, 3)])
        yield db


def versions(db: Any) -> dict[Any, Any]:
    return {r.id: r.payload["version"] for r in db.scroll("c", limit=100)[0]}


BEFORE = {1: 1, 2: 3, 3: 1, 4: 3}
NEW = [point(n, 9) for n in range(1, 7)]
CASES: list[tuple[Any, Any, dict[int, int]]] = [
    (None, None, {**BEFORE, **dict.fromkeys(range(1, 7), 9)}),
    (None, "upsert", {**BEFORE, **dict.fromkeys(range(1, 7), 9)}),
    (OLD, None, {**BEFORE, 1: 9, 3: 9, 5: 9, 6: 9}),
    (None, "insert_only", {**BEFORE, 5: 9, 6: 9}),
    (None, "update_only", {1: 9, 2: 9, 3: 9, 4: 9}),
    (OLD, "update_only", {**BEFORE, 1: 9, 3: 9}),
    (OLD, "insert_only", {**BEFORE, 5: 9, 6: 9}),
]


@pytest.mark.parametrize(("filter", "mode", "expected"), CASES)
@pytest.mark.parametrize("form", ["list", "batch", "points list", "points batch", "generator"])
def test_what_is_written(
    db: VecDB, form: str, filter: Any, mode: Any, expected: dict[int, int]
) -> None:
    columns = models.Batch(
        ids=[p["id"] for p in NEW],
        vectors=np.array([p["vector"] for p in NEW], np.float32),
        payloads=[p["payload"] for p in NEW],
    )
    condition = {"update_filter": filter, "update_mode": mode}
    match form:
        case "list":
            result = db.upsert("c", NEW, **condition)
        case "batch":
            result = db.upsert("c", columns, **condition)
        case "points list":
            result = db.upsert("c", models.PointsList(points=NEW, **condition))  # type: ignore[arg-type]
        case "points batch":
            result = db.upsert("c", models.PointsBatch(batch=columns, **condition))
        case _:
            result = db.upsert("c", (each for each in NEW), **condition)
    assert result.status is models.UpdateStatus.COMPLETED
    assert versions(db) == expected
    db.flush()
    assert versions(db) == expected


@pytest.mark.parametrize(("filter", "mode", "expected"), CASES)
def test_as_qdrants_client_does(filter: Any, mode: Any, expected: dict[int, int]) -> None:
    """The local mode of ``qdrant_client``, and vecdb with its objects."""
    client = QdrantClient(":memory:")
    with VecDB(":memory:") as db:
        for each in (client, db):
            c: Any = each
            c.create_collection(
                "c", vectors_config=theirs.VectorParams(size=2, distance=theirs.Distance.DOT)
            )
            old, new = (
                [theirs.PointStruct.model_validate(p) for p in points]
                for points in ([point(1, 1), point(2, 3), point(3, 1), point(4, 3)], NEW)
            )
            c.upsert("c", old)
            c.upsert(
                "c",
                new,
                update_filter=None if filter is None else theirs.Filter.model_validate(filter),
                update_mode=None if mode is None else theirs.UpdateMode(mode),
            )
            assert versions(c) == expected
    client.close()


@pytest.mark.parametrize("mode", [None, "insert_only", "update_only"])
def test_a_point_that_comes_twice_is_written_as_if_one_by_one(mode: str | None) -> None:
    rng = np.random.default_rng(7)
    for _ in range(30):
        new = [point(int(id), int(v)) for id, v in rng.integers(0, 7, (8, 2))]
        with VecDB(":memory:") as db, VecDB(":memory:") as other:
            for each in (db, other):
                each.create_collection("c", {"size": 2, "distance": "Dot"})
                each.upsert("c", [point(id, 2) for id in range(3)])
            db.upsert("c", new, update_filter=OLD, update_mode=mode)
            for one in new:
                other.upsert("c", [one], update_filter=OLD, update_mode=mode)
            assert versions(db) == versions(other)


def test_vectors_of_points_that_match(db: VecDB) -> None:
    new: Any = [{"id": n, "vector": [7, 7]} for n in (1, 2, 4)]
    db.update_vectors("c", new, update_filter=OLD)
    found = {r.id: r.vector for r in db.retrieve("c", [1, 2, 4], with_vectors=True)}
    assert found == {1: [7, 7], 2: [2, 3], 4: [4, 3]}
    with pytest.raises(NotFoundError):
        db.update_vectors("c", [*new, {"id": 99, "vector": [1, 1]}], update_filter=OLD)
    operation: Any = {"update_vectors": {"points": new, "update_filter": {"must_not": [OLD]}}}
    db.batch_update_points("c", [operation])
    assert db.retrieve("c", [4], with_vectors=True)[0].vector == [7, 7]


def test_uploads_take_a_condition(db: VecDB) -> None:
    db.upload_points("c", NEW, batch_size=2, update_mode="insert_only")
    assert versions(db) == {**BEFORE, 5: 9, 6: 9}
    db.upload_collection(
        "c",
        np.ones((4, 2), np.float32),
        payload=[{"version": 7}] * 4,
        ids=[1, 2, 3, 8],
        batch_size=3,
        update_filter=OLD,
    )
    assert versions(db) == {1: 7, 2: 3, 3: 7, 4: 3, 5: 9, 6: 9, 8: 7}


def test_no_write_comes_between_the_look_and_the_write(db: VecDB) -> None:
    """Many writers count one number up, each from what it has read: none of the steps is lost."""
    db.upsert("c", [point(1, 0)])
    done: list[int] = []

    def count_up() -> None:
        won = 0
        while won < 15:
            now = db.retrieve("c", [1])[0].payload["version"]  # type: ignore[index]
            same = {"must": [{"key": "version", "match": {"value": now}}]}
            before = db.collection("c")._store.next_seq
            result = db.upsert("c", [point(1, now + 1)], update_filter=same)
            record = db.retrieve("c", [1])[0]
            won += result.operation_id is not None and result.operation_id >= before
            assert record.payload["version"] >= now  # type: ignore[index]
        done.append(won)

    db.upsert("c", [point(50, 0)])
    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 4
    first = [point(n, 1) for n in range(100, 140)]
    winners: list[int] = []

    def claim(number: int) -> None:
        for each in first:
            claimed = {**each, "payload": {"version": number}}
            db.upsert("c", [claimed], update_mode="insert_only")
            winners.append(db.retrieve("c", [each["id"]])[0].payload["version"])  # type: ignore[index]

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = [versions(db)[each["id"]] for each in first]
    assert sorted(winners) == sorted(kept * 4)  # everybody has seen the same one


def test_nothing_to_write(db: VecDB) -> None:
    for nothing in ([], iter([]), models.Batch(ids=[], vectors=[]), {"points": []}):
        assert db.upsert("c", nothing).status is models.UpdateStatus.COMPLETED
        assert db.upsert("c", nothing, update_mode="insert_only").operation_id == 2
    assert db.upsert("c", NEW[:1], update_filter={"must": [{"has_id": [77]}]}).operation_id == 2
    assert versions(db) == BEFORE


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"update_mode": "sometimes"}, "update_mode: expected one of 'upsert', 'insert_only'"),
        ({"update_filter": {"mist": []}}, "update_filter: unknown field 'mist'"),
        ({"update_filter": [1]}, "update_filter: expected Filter or its dict"),
        (
            {"points": {"points": NEW, "update_mode": "insert_only"}, "update_mode": "upsert"},
            "update_mode: is in the points, too",
        ),
        ({"points": {"points": NEW, "shard_key": "a"}}, "points: unknown field 'shard_key'"),
    ],
)
def test_what_cannot_be_meant_is_refused(db: VecDB, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        db.upsert("c", **{"points": NEW, **given})
    assert message in str(caught.value)
    assert versions(db) == BEFORE
