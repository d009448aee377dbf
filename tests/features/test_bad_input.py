"""Wrong requests: each is refused with a plain error of ours, and nothing at all changes."""

from __future__ import annotations

import itertools
import math
import os
import pickle
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB, models
from vecdb.errors import (
    AlreadyExistsError,
    ClosedError,
    CorruptionError,
    FormatVersionError,
    InvalidInputError,
    LockedError,
    NotADatabaseError,
    NotFoundError,
)

UUID = str(uuid.UUID(int=5))
GOOD = {"id": 100, "vector": [1.0, 2.0]}


@pytest.fixture(scope="module")
def unchanged() -> Iterator[list[VecDB]]:
    """A database for the next test: that of the last one, which has changed nothing."""
    kept: list[VecDB] = []
    yield kept
    for database in kept:
        database.close()


@pytest.fixture
def db(unchanged: list[VecDB]) -> Iterator[VecDB]:
    """``u``: one unnamed vector; ``n``: vectors a and b. Points in a file and in memory."""
    database = unchanged.pop() if unchanged else filled()
    before = state(database)
    yield database
    if not database._database.closed and state(database) == before:
        unchanged.append(database)
    else:
        database.close()


def filled() -> VecDB:
    database = VecDB(":memory:")
    database.create_collection("u", {"size": 2, "distance": "Cosine"})
    kinds = {"a": {"size": 2, "distance": "Dot"}, "b": {"size": 3, "distance": "Euclid"}}
    database.create_collection("n", kinds)
    database.upsert("u", [{"id": 1, "vector": [1, 0], "payload": {"k": 1}}])
    database.upsert("n", [{"id": 1, "vector": {"a": [1, 2]}, "payload": {"k": [1]}}])
    database.flush()
    database.upsert("u", [{"id": UUID, "vector": [0, 1], "payload": {"k": {"deep": 2}}}])
    return database


def state(db: VecDB) -> Any:
    """All there is to see, the last operation's number and the log's length included."""
    seen: dict[str, Any] = {"": db.get_aliases()}
    db.wait_for_optimizer()
    for description in db.get_collections().collections:
        collection = db.collection(description.name)
        info = collection.info()
        seen[description.name] = (
            collection.scroll(limit=1000, with_vectors=True),
            [point.version for point in collection.query_points(limit=1000).points],
            collection.count(),
            models.to_builtins(info.config),
            info.wal_bytes,
            info.status,
        )
    return seen


@pytest.fixture
def refuses(db: VecDB) -> Callable[..., str]:
    """``refuses(error, call, *words)``: the message, when all the words are in it and nothing
    changed."""

    def check(kind: type[Exception], call: Callable[[], Any], *words: Any) -> str:
        before = state(db)
        with pytest.raises(kind) as caught:
            call()
        assert type(caught.value) is kind
        assert state(db) == before
        message = str(caught.value)
        for word in words:
            assert str(word) in message, message
        assert len(message) < 1000
        return message

    return check


# -- vectors -------------------------------------------------------------------------------

BAD_VECTORS: list[tuple[Any, str]] = [
    ([1.0], "1"),
    ([1.0, 2.0, 3.0], "3"),
    ([], "0"),
    ([[1.0, 2.0]], "(1, 2)"),
    (1.5, "()"),
    ([1.0, math.nan], "nan"),
    ([math.inf, 1.0], "inf"),
    ([1.0, -math.inf], "-inf"),
    ([1e39, 0.0], "1e+39, which float32 cannot hold"),
    ([1e20, 1e20], "1.8e19"),
    ([10**400, 1], "numbers"),
    ([1.0, None], "numbers"),
    ([1.0, "2"], "numbers"),
    ([True, False], "bool"),
    ([1j, 0], "numbers"),
    ([1.0, [2.0]], "expected"),
    (b"ab", "numbers"),
    ({1.0, 2.0}, "numbers"),
    (np.array(["a", "b"]), "numbers"),
    (np.array([1, 2], dtype=object), "numbers"),
    (np.ma.array([1.0, 2.0], mask=[True, False]), "masked array"),
    (np.zeros((2, 0), np.float32), "(2, 0)"),
    (object(), "numbers"),
]
BAD_VECTOR_IDS = [repr(vector)[:20] for vector, _ in BAD_VECTORS]


@pytest.mark.parametrize(("vector", "got"), BAD_VECTORS, ids=BAD_VECTOR_IDS)
def test_bad_vectors(db: VecDB, refuses: Any, vector: Any, got: str) -> None:
    points = [{"id": 8, "vector": [1, 2]}] if got != "bool" else []
    points += [{"id": 7, "vector": vector}]
    refuses(InvalidInputError, lambda: db.upsert("u", points), "point 7", "vector", got)
    structs = [models.PointStruct(id=7, vector=vector)]
    refuses(InvalidInputError, lambda: db.upsert("u", structs), "point 7", "vector", got)
    named = [{"id": UUID, "vector": {"a": vector}}]
    refuses(InvalidInputError, lambda: db.upsert("n", named), UUID, "'a'")
    if got != "bool":  # among numbers, bools are numbers to numpy
        batch = models.Batch(ids=[100, 7], vectors=[[1.0, 2.0], vector])
        refuses(InvalidInputError, lambda: db.upsert("u", batch), "vectors")
    update = [{"id": 1, "vector": vector}]
    refuses(InvalidInputError, lambda: db.update_vectors("u", update), "point 1", got)
    refuses(InvalidInputError, lambda: db.search("u", vector), "query", got)
    refuses(InvalidInputError, lambda: db.search("n", ("a", vector)), "query", "'a'", got)
    refuses(InvalidInputError, lambda: db.query_points("n", vector, using="a"), "'a'", got)
    refuses(InvalidInputError, lambda: db.search_batch("u", [{"vector": vector, "limit": 1}]), got)
    refuses(InvalidInputError, lambda: db.query_batch_points("u", [{"query": vector}]), got)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 3), np.float32), ["2", "(2, 3)"]),
        (np.zeros(2, np.float32), ["expected"]),
        (np.zeros((2, 2, 2)), ["(2, 2, 2)"]),
        (np.array([[1, 2], [3, np.nan]], np.float32), ["nan", "row 1", "component 1"]),
        (np.array([[1, 2], [np.inf, 1]]), ["inf", "row 1", "component 0"]),
        (np.array([[1, 2], [3, 4]]) * 1e30, ["row 1", "1.8e19"]),
        (np.array([["a", "b"], ["c", "d"]]), ["numbers"]),
        ([[1.0, 2.0], [1.0]], ["equal length"]),
    ],
    ids=str,
)
def test_bad_arrays(db: VecDB, refuses: Any, array: Any, words: list[str]) -> None:
    batch = models.Batch(ids=[8, 9], vectors=array)
    refuses(InvalidInputError, lambda: db.upsert("u", batch), "vectors", *words)
    refuses(InvalidInputError, lambda: db.upsert("n", models.Batch(ids=[8, 9], vectors={"a": array})), "'a'", *words)  # fmt: skip  # noqa: E501
    call = lambda: db.upload_collection("u", array, ids=[8, 9])  # noqa: E731
    refuses(InvalidInputError, call, "vectors", *words)


def test_vector_names(db: VecDB, refuses: Any) -> None:
    upsert = lambda name, vector: db.upsert(name, [GOOD, {"id": 7, "vector": vector}])  # noqa: E731
    refuses(InvalidInputError, lambda: upsert("u", {"a": [1, 2]}), "point 7", "'a'", "unnamed")
    bad_points = [{"id": 7, "vector": {"a": [1, 2], "c": [1]}}]
    refuses(InvalidInputError, lambda: db.upsert("n", bad_points), "7", "'c'", "'a', 'b'")
    refuses(InvalidInputError, lambda: upsert("n", [1, 2]), "100", "name")
    refuses(InvalidInputError, lambda: upsert("n", {5: [1, 2]}), "name")
    refuses(InvalidInputError, lambda: upsert("u", None), "point 7", "got None")
    none = [models.PointStruct(id=7, vector=None)]  # type: ignore[arg-type]
    refuses(InvalidInputError, lambda: db.upsert("u", none), "point 7", "None")
    bad_batch = {"ids": [7], "vectors": {"c": [[1]]}}
    refuses(InvalidInputError, lambda: db.upsert("n", bad_batch), "'c'", "'a', 'b'")
    refuses(InvalidInputError, lambda: db.search("n", [1, 2]), "name", "'a', 'b'")
    refuses(InvalidInputError, lambda: db.search("n", ("c", [1, 2])), "'c'", "'a', 'b'")
    refuses(InvalidInputError, lambda: db.search("n", {"name": "c", "vector": [1]}), "'c'")
    refuses(InvalidInputError, lambda: db.query_points("n", [1, 2], using="c"), "'c'")
    refuses(InvalidInputError, lambda: db.query_points("n", [1, 2], using=5), "5")
    refuses(InvalidInputError, lambda: db.query_points("n", using="c"), "'c'")
    refuses(InvalidInputError, lambda: db.query_points("n", ("a", [1, 2]), using="b"), "'b'")
    refuses(InvalidInputError, lambda: db.query_points("u", [1, 2], using="a"), "'a'")
    refuses(InvalidInputError, lambda: db.retrieve("n", [1], with_vectors=["c"]), "'c'")
    refuses(InvalidInputError, lambda: db.scroll("n", with_vectors="a"), "'a'")
    refuses(InvalidInputError, lambda: db.delete_vectors("n", ["a", "c"], [1]), "'c'")
    refuses(InvalidInputError, lambda: db.update_vectors("n", [{"id": 1, "vector": {"c": [1]}}]), "'c'")  # fmt: skip  # noqa: E501
    refuses(InvalidInputError, lambda: db.update_collection("n", vectors_config={"c": {}}), "'c'")
    for bad in (None, 5, "a", [], [5], [None], {"a": 1}):
        refuses(InvalidInputError, lambda bad=bad: db.delete_vectors("n", bad, [1]), "vectors")


# -- ids -----------------------------------------------------------------------------------

BAD_IDS = [-1, 2**64, 1.0, 0.5, math.nan, True, False, None, "", "7", "abc", b"\0" * 16, [1], (1,)]
BAD_IDS += [{"num": 1}, np.float64(1), np.bool_(True), UUID + "0", "ffffffff-ffff-ffff-ffff-fffffffffffe"]  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("bad", BAD_IDS, ids=repr)
def test_bad_ids(db: VecDB, refuses: Any, bad: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: db.upsert("u", [GOOD, {"id": bad, "vector": [1, 2]}]),
        lambda: db.upsert("u", [models.PointStruct(id=bad, vector=[1, 2])]),
        lambda: db.upsert("u", models.Batch(ids=[100, bad], vectors=[[1, 2], [3, 4]])),
        lambda: db.upload_points("u", [models.PointStruct(id=bad, vector=[1, 2])]),
        lambda: db.upload_collection("u", [[1, 2], [3, 4]], ids=[100, bad]),
        lambda: db.delete("u", [1, bad]),
        lambda: db.delete("u", models.PointIdsList(points=[1, bad])),
        lambda: db.set_payload("u", {"x": 1}, [1, bad]),
        lambda: db.overwrite_payload("u", {"x": 1}, [1, bad]),
        lambda: db.delete_payload("u", ["k"], [1, bad]),
        lambda: db.clear_payload("u", [1, bad]),
        lambda: db.update_vectors(
            "u", [{"id": 1, "vector": [1, 1]}, {"id": bad, "vector": [1, 2]}]
        ),
        lambda: db.delete_vectors("u", [""], [1, bad]),
        lambda: db.retrieve("u", [1, bad]),
        lambda: db.count("u", {"must": [{"has_id": [1, bad]}]}),
    ]
    if bad is not None:
        refuses(InvalidInputError, lambda: db.scroll("u", offset=bad), "offset: point id")
    for call in calls:
        message = refuses(InvalidInputError, call)
        assert "id" in message
        assert "expected" in message or "reserved" in message or "missing" in message


@pytest.mark.parametrize(
    "bad", [None, 5, "1", UUID, {0.5}, {"a": 1}, np.array(1), np.array([[1]]), np.array([1.0])]
)
def test_bad_lists_of_ids(db: VecDB, refuses: Any, bad: Any) -> None:
    for call in (
        lambda: db.upsert("u", models.Batch(ids=bad, vectors=[[1, 2]])),
        lambda: db.delete("u", bad),
        lambda: db.set_payload("u", {"x": 1}, bad),
        lambda: db.clear_payload("u", bad),
        lambda: db.delete_vectors("u", [""], bad),
    ):
        refuses(InvalidInputError, call, "expected")
    if not isinstance(bad, dict):
        refuses(InvalidInputError, lambda: db.retrieve("u", bad), "ids" if bad is None else "id")


def test_empty_selections(db: VecDB, refuses: Any) -> None:
    for call in (
        lambda: db.update_vectors("u", []),
        lambda: db.delete("u", []),
        lambda: db.delete("u", models.PointIdsList(points=[])),
        lambda: db.set_payload("u", {"x": 1}, []),
        lambda: db.clear_payload("u", []),
        lambda: db.delete_payload("u", [], [1]),
    ):
        refuses(InvalidInputError, call, "at least one", "none")
    seq = db.upsert("u", [GOOD]).operation_id
    empty = models.Batch(ids=np.empty(0, int), vectors=np.empty((0, 2)))
    for nothing in ([], models.Batch(ids=[], vectors=[]), empty):  # to write nothing is no mistake
        assert db.upsert("u", nothing).operation_id == seq


def test_an_empty_dict_selects_nothing_by_accident(db: VecDB, refuses: Any) -> None:
    """It was a filter without conditions, and ``delete("u", {})`` took every point."""
    for call in (
        lambda: db.delete("u", {}),
        lambda: db.set_payload("u", {"x": 1}, {}),
        lambda: db.overwrite_payload("u", {"x": 1}, {}),
        lambda: db.delete_payload("u", ["k"], {}),
        lambda: db.clear_payload("u", {}),
        lambda: db.delete_vectors("u", [""], {}),
    ):
        refuses(InvalidInputError, call, "expected ids or a filter, got an empty dict")
    db.delete("u", models.Filter())
    db.delete("n", {"filter": {}})
    assert db.count("u").count == db.count("n").count == 0


def test_a_set_of_ids_is_a_list_of_ids(db: VecDB) -> None:
    """``retrieve`` took one, and ``delete`` did not."""
    assert len(db.retrieve("u", {1, UUID})) == 2
    db.set_payload("u", {"x": 1}, {1, UUID})
    assert all(record.payload["x"] == 1 for record in db.scroll("u")[0])
    db.delete("u", {1, UUID})
    assert db.count("u").count == 0


def test_edits_of_points_that_do_not_exist(db: VecDB, refuses: Any) -> None:
    for call in (
        lambda: db.set_payload("u", {"x": 1}, [1, 99]),
        lambda: db.overwrite_payload("u", {"x": 1}, [1, 99]),
        lambda: db.delete_payload("u", ["k"], [1, 99]),
        lambda: db.clear_payload("u", [1, 99]),
        lambda: db.delete_vectors("u", [""], [1, 99]),
        lambda: db.update_vectors("u", [{"id": 1, "vector": [1, 1]}, {"id": 99, "vector": [1, 1]}]),
        lambda: db.query_points("u", 99),
    ):
        refuses(NotFoundError, call, "99", "does not exist")
    refuses(NotFoundError, lambda: db.query_points("n", 1, using="b"), "1", "'b'")
    twice = [{"id": 1, "vector": [1, 1]}, {"id": 1, "vector": [2, 1]}]
    refuses(InvalidInputError, lambda: db.update_vectors("u", twice), "twice")


# -- batches -------------------------------------------------------------------------------


def test_lengths_that_differ(db: VecDB, refuses: Any) -> None:
    two = [[1, 2], [3, 4]]
    for batch, words in (
        ({"ids": [8], "vectors": two}, ["1 vectors", "2"]),
        ({"ids": [8, 9, 10], "vectors": two}, ["3 vectors", "2"]),
        ({"ids": [8, 9], "vectors": two, "payloads": [{}]}, ["2 payloads", "1"]),
        ({"ids": [8, 9], "vectors": two, "payloads": [{}] * 3}, ["2 payloads", "3"]),
        ({"ids": [8, 9], "vectors": {"": two[:1]}}, ["2 vectors['']", "1"]),
        ({"ids": [8, 9], "vectors": two, "payloads": {}}, ["payloads", "dict"]),
        ({"ids": [8, 9], "vectors": "ab"}, ["vectors", "str"]),
        ({"ids": [8, 9]}, ["vectors", "missing"]),
        ({"ids": [8, 9], "vectors": two, "payload": []}, ["'payload'", "payloads"]),
    ):
        refuses(InvalidInputError, lambda batch=batch: db.upsert("u", batch), *words)
    uneven = {"ids": [8, 9], "vectors": {"a": two, "b": [[1, 2, 3]]}}
    refuses(InvalidInputError, lambda: db.upsert("n", uneven), "vectors['b']", "2", "1")
    # Also when an upload is split, the lengths are compared before the first batch is written.
    for arguments, word in (
        ({"ids": [8]}, "ids"),
        ({"ids": [8, 9, 10]}, "ids"),
        ({"ids": [8, 9], "payload": [{}]}, "payload"),
        ({"ids": [8, 9], "payload": [{}] * 3}, "payload"),
        ({"ids": 8}, "ids"),
        ({"ids": "89"}, "ids"),
        ({"payload": 8}, "payload"),
        ({"payload": {"a": 1}}, "payload"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 1.5}, "batch_size"),
    ):
        options = {"batch_size": 1, **arguments}
        call = lambda options=options: db.upload_collection("u", two, **options)  # noqa: E731
        refuses(InvalidInputError, call, word)
    for columns in ({"a": two, "b": [[1, 2, 3]]}, {"a": two[:1], "b": [[1, 2, 3]] * 2}, {}):
        call = lambda columns=columns: db.upload_collection("n", columns, batch_size=1)  # noqa: E731
        refuses(InvalidInputError, call, "vectors")
    for bad in (None, 5, "ab", {"a": 5}, {"a": None}, np.array(5.0)):
        refuses(InvalidInputError, lambda bad=bad: db.upload_collection("u", bad), "vectors")
        refuses(InvalidInputError, lambda bad=bad: db.upload_points("u", bad), "points")


def test_an_upload_of_iterables_that_end_too_soon_says_which(db: VecDB) -> None:
    """It was a batch of so many ids and so many vectors, of which the caller knew nothing."""

    def upload(vectors: int, **columns: Any) -> None:
        rows = ([1.0, 2.0] for _ in range(vectors))
        db.upload_collection("u", rows, batch_size=2, **columns)

    with pytest.raises(InvalidInputError, match=r"^ids: .*ended after 3; the first 2 points are"):
        upload(5, ids=iter([10, 11, 12]))
    assert db.count("u").count == 4
    with pytest.raises(InvalidInputError, match=r"^payload: .*ended after 4; the first 4 points"):
        upload(5, ids=range(10, 15), payload=iter([{}] * 4))
    with pytest.raises(
        InvalidInputError, match=r"^ids: expected 3, one for each .* got 5; the first 3"
    ):
        upload(3, ids=[10, 11, 12, 13, 14])
    assert db.count("u").count == 6
    upload(3, ids=itertools.count(10))  # an endless one is welcome


@pytest.mark.parametrize("place", [0, 500, 999])
def test_one_bad_point_among_many(db: VecDB, refuses: Any, place: int) -> None:
    good = [{"id": 1000 + n, "vector": [n, 1.0], "payload": {"n": n}} for n in range(1000)]
    for change in (
        {"vector": [1.0]},
        {"vector": [1.0, math.nan]},
        {"vector": None},
        {"vector": {"x": [1.0, 2.0]}},
        {"payload": {"s": {1}}},
        {"payload": {5: 5}},
        {"payload": []},
    ):
        points = [dict(point) for point in good]
        points[place].update(change)
        message = refuses(InvalidInputError, lambda points=points: db.upsert("u", points))
        assert f"point {1000 + place}" in message or f"points[{place}]" in message, message
    for change in ({"id": -1}, {"id": None}, {"id": "x"}, {"vectors": []}):
        points = [dict(point) for point in good]
        points[place].update(change)
        refuses(InvalidInputError, lambda points=points: db.upsert("u", points), f"points[{place}]")
    vectors = np.ones((1000, 2), np.float32)
    vectors[place, 1] = np.nan
    batch = models.Batch(ids=np.arange(1000), vectors=vectors)
    refuses(InvalidInputError, lambda: db.upsert("u", batch), f"row {place}")
    payloads: list[Any] = [{}] * 1000
    payloads[place] = {"x": b"bytes"}
    batch = models.Batch(ids=np.arange(1000), vectors=np.ones((1000, 2)), payloads=payloads)
    refuses(InvalidInputError, lambda: db.upsert("u", batch), f"point {place}", "bytes")


@pytest.mark.parametrize("bad", [None, 5, "ab", {}, {"id": 1, "vector": [1, 2]}, [5], [[1, 2]], [None]])  # fmt: skip  # noqa: E501
def test_points_of_the_wrong_type(db: VecDB, refuses: Any, bad: Any) -> None:
    refuses(InvalidInputError, lambda: db.upsert("u", bad), "points")
    refuses(InvalidInputError, lambda: db.update_vectors("u", bad), "points")


def test_a_generator_of_points_is_a_list_of_them(db: VecDB, refuses: Any) -> None:
    db.upsert("u", (point for point in [GOOD]))
    assert db.count("u").count == 3
    refuses(InvalidInputError, lambda: db.upsert("u", iter([GOOD, 3])), "points[1]: expected")


# -- payloads ------------------------------------------------------------------------------


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = [value]
    return value


class Odd(Enum):
    DICT = {1: 2}  # noqa: RUF012
    BYTES = b"x"


BAD_PAYLOADS: list[tuple[Any, str]] = [
    ({1: 1}, "1"),
    ({None: 1}, "None"),
    ({True: 1}, "True"),
    ({("a",): 1}, "'a'"),
    ({"a": {"b": [{2: 1}]}}, "2"),
    ({"a": {1, 2}}, "set"),
    ({"a": [frozenset()]}, "frozenset"),
    ({"a": b"x"}, "bytes"),
    ({"a": [bytearray(b"x")]}, "bytearray"),
    ({"a": memoryview(b"x")}, "memoryview"),
    ({"a": object()}, "object"),
    ({"a": 1 + 2j}, "complex"),
    ({"a": (n for n in [1])}, "generator"),
    ({"a": VecDB}, "type"),
    ({"a": 2**64}, "64 bits"),
    ({"a": -(2**63) - 1}, "64 bits"),
    ({"a": np.array([{1}])}, "set"),
    ({"a": np.array([b"x"])}, "bytes"),
    ({"a": np.bytes_(b"x")}, "bytes"),
    ({"a": np.array([{1: 1}], dtype=object)}, "string keys"),
    ({"a": np.zeros((1,) * 40)}, "deeper"),
    ({"a": Odd.DICT}, "string keys"),
    ({"a": Odd.BYTES}, "bytes"),
    ({"a": "\ud800"}, "payload"),
    ({"\udfff": 1}, "payload"),
    ({"a": "x" * (2 << 20)}, "limit"),
    ({str(n): n for n in range(200_000)}, "limit"),
    (nested(33), "deeper"),
    (nested(100_000), "deeper"),
    (cyclic(), "deeper"),
    ([], "dict"),
    ([{}], "dict"),
    ("text", "dict"),
    (5, "dict"),
    (True, "dict"),
    (0, "dict"),
]


@pytest.mark.parametrize(("payload", "got"), BAD_PAYLOADS, ids=[w for _, w in BAD_PAYLOADS])
def test_bad_payloads(db: VecDB, refuses: Any, payload: Any, got: str) -> None:
    points = [GOOD, {"id": 7, "vector": [1, 2], "payload": payload}]
    message = refuses(InvalidInputError, lambda: db.upsert("u", points), "payload", got)
    assert "point 7" in message or "points[1]" in message
    batch = models.Batch(ids=[100, 7], vectors=[[1, 2], [3, 4]], payloads=[{}, payload])
    refuses(InvalidInputError, lambda: db.upsert("u", batch), "point 7", "payload", got)
    for key in (None, "k"):
        call = lambda key=key: db.set_payload("u", payload, [1], key=key)  # noqa: E731
        refuses(InvalidInputError, call, "payload", got)
    refuses(InvalidInputError, lambda: db.overwrite_payload("u", payload, [1]), "payload", got)


def test_common_python_values_become_json(db: VecDB) -> None:
    class Colour(Enum):
        RED = "red"

    moment = datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    payload = {
        "numpy": [np.int64(1), np.float32(0.5), np.bool_(True), np.str_("s"), np.arange(2)],
        "dates": [moment, moment.date(), np.datetime64("2024-01-02")],
        "nanoseconds": np.datetime64("2024-01-02T03:04:05", "ns"),
        "array": np.array([["2024-01-02T03:04:05"]], "datetime64[ns]"),
        "other": (uuid.UUID(UUID), Colour.RED),
        "limits": [2**64 - 1, -(2**63)],
    }
    expected = {
        "numpy": [1, 0.5, True, "s", [0, 1]],
        "dates": ["2024-01-02T03:04:05+00:00", "2024-01-02", "2024-01-02"],
        "nanoseconds": "2024-01-02T03:04:05",
        "array": [["2024-01-02T03:04:05"]],
        "other": [UUID, "red"],
        "limits": [2**64 - 1, -(2**63)],
    }
    db.upsert("u", [{"id": 5, "vector": [1, 2], "payload": payload}])
    db.set_payload("u", payload, [1], key="at.key")
    assert db.retrieve("u", [5])[0].payload == expected
    assert db.retrieve("u", [1])[0].payload == {"k": 1, "at": {"key": expected}}


def test_keys_of_a_payload_may_be_numpys_strings(db: VecDB) -> None:
    """An array of names has them; they were refused as no strings."""
    for key in np.array(["x", "y"]):
        db.set_payload("u", {key: {key: 1}}, [1])
    payload = db.retrieve("u", [1])[0].payload
    assert payload == {"k": 1, "x": {"x": 1}, "y": {"y": 1}}
    assert {type(key) for key in payload} == {str}


def test_what_was_written_to_a_payload_is_found_by_it(db: VecDB) -> None:
    """A UUID is stored as text; a filter refused all but the text."""

    class Colour(Enum):
        RED = "red"

    for value in (uuid.UUID(UUID), Colour.RED, date(2024, 1, 2), np.datetime64("2024-01-02", "ns")):
        db.set_payload("u", {"it": value}, [1])
        for match in ({"value": value}, {"any": [value]}, {"any": ["other", value]}):
            found, _ = db.scroll("u", {"must": [{"key": "it", "match": match}]})
            assert [record.id for record in found] == [1], match


def test_payload_edits_that_grow_too_large(db: VecDB, refuses: Any) -> None:
    half = "x" * 700_000
    db.set_payload("u", {"one": half}, [1])
    refuses(InvalidInputError, lambda: db.set_payload("u", {"two": half}, [UUID, 1]), "limit")
    refuses(InvalidInputError, lambda: db.set_payload("u", {"t": half}, {"must": []}), "limit")
    deep = ".".join(["a"] * 40)
    refuses(InvalidInputError, lambda: db.set_payload("u", {"x": 1}, [1], key=deep), "deeper")
    db.set_payload("u", {"two": half}, [UUID])


def test_payload_arguments(db: VecDB, refuses: Any) -> None:
    for verb in (db.set_payload, db.overwrite_payload):
        refuses(InvalidInputError, lambda verb=verb: verb("u", None, [1]), "payload", "dict")
    # "" was no path at all: the payload as a whole was changed.
    for key in (5, ["a"], "", "a..b", ".", "a[", "a[x]", 'a"', "a b", "a[-1]"):
        call = lambda key=key: db.set_payload("u", {"x": 1}, [1], key=key)  # noqa: E731
        refuses(InvalidInputError, call)
    for keys in (None, 5, "k", b"k", {"k": 1}, [5], [None], ["k", ""], ["k", "a..b"]):
        refuses(InvalidInputError, lambda keys=keys: db.delete_payload("u", keys, [1]))
    for selector in ({"include": 5}, {"include": ["k"], "exclude": 5}, 1, "k", [5], {"x": ["k"]}):
        for call in (
            lambda s=selector: db.retrieve("u", [1], with_payload=s),
            lambda s=selector: db.scroll("u", with_payload=s),
            lambda s=selector: db.search("u", [1, 0], with_payload=s),
            lambda s=selector: db.query_points("u", with_payload=s),
        ):
            refuses(InvalidInputError, call, "with_payload")
    refuses(InvalidInputError, lambda: db.retrieve("u", [1], with_payload=["a..b"]), "a..b")


# -- searches ------------------------------------------------------------------------------


def test_none_is_the_default_of_limits_and_batches(db: VecDB) -> None:
    batch = models.Batch(ids=list(range(20, 40)), vectors=np.ones((20, 2), np.float32))
    db.upsert("u", batch)
    assert len(db.search("u", [1, 0], limit=None)) == 10  # type: ignore[arg-type]
    assert len(db.query_points("u", [1, 0], limit=None).points) == 10  # type: ignore[arg-type]
    assert len(db.query_points("u", limit=None).points) == 10  # type: ignore[arg-type]
    assert len(db.scroll("u", limit=None)[0]) == 10  # type: ignore[arg-type]
    more = np.ones((1500, 2), np.float32)
    db.upload_collection("u", more, batch_size=None)  # type: ignore[arg-type]
    db.upload_points("u", [], batch_size=None)  # type: ignore[arg-type]
    assert db.count("u").count > 1500


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "3", [3], math.nan, math.inf, 2.0])
def test_limits_and_offsets(db: VecDB, refuses: Any, bad: Any) -> None:
    where = {"must": [{"key": "k", "match": {"value": 1}}]}
    for call in (
        lambda: db.search("u", [1, 0], limit=bad),
        lambda: db.query_points("u", [1, 0], limit=bad),
        lambda: db.query_points("u", limit=bad),
        lambda: db.query_points("u", limit=bad, query_filter=where),
        lambda: db.scroll("u", limit=bad),
    ):
        refuses(InvalidInputError, call, "limit", "expected an integer >= 1", repr(bad))
    refuses(
        InvalidInputError,
        lambda: db.search_batch("u", [{"vector": [1, 0], "limit": bad}]),
        "requests[0].limit",
    )
    refuses(
        InvalidInputError,
        lambda: db.query_batch_points("u", [{}, {"query": [1, 0], "limit": bad}]),
        "requests[1].limit",
    )
    if bad != 0:
        for call in (
            lambda: db.search("u", [1, 0], offset=bad),
            lambda: db.query_points("u", [1, 0], offset=bad),
            lambda: db.query_points("u", offset=bad),
        ):
            refuses(InvalidInputError, call, "offset", "expected an integer >= 0", repr(bad))


def test_enormous_limits_are_no_trap(db: VecDB, refuses: Any) -> None:
    assert len(db.search("u", [1, 0], limit=2**31)) == 2
    assert len(db.query_points("u", limit=2**31).points) == 2
    assert len(db.scroll("u", limit=2**31)[0]) == 2
    assert db.search("u", [1, 0], limit=np.int64(1))[0].id == 1
    assert db.scroll("u", limit=np.int64(1))[0][0].id == 1
    for limit in (2**40, 2**63, 2**70):
        for call in (
            lambda n=limit: db.search("u", [1, 0], limit=n),
            lambda n=limit: db.query_points("u", limit=n),
            lambda n=limit: db.scroll("u", limit=n),  # took any
        ):
            refuses(InvalidInputError, call, "limit: expected at most", limit)
    refuses(InvalidInputError, lambda: db.search("u", [1, 0], offset=2**40), "offset")


@pytest.mark.parametrize("bad", ["yes", 1, None])
def test_explain(db: VecDB, refuses: Any, bad: Any) -> None:
    refuses(InvalidInputError, lambda: db.query_points("u", [1, 0], explain=bad), "explain")
    refuses(InvalidInputError, lambda: db.query_points("u", explain=bad), "explain")


@pytest.mark.parametrize("bad", ["x", True, [1], math.nan, 1j])
def test_score_thresholds(db: VecDB, refuses: Any, bad: Any) -> None:
    for call in (
        lambda: db.search("u", [1, 0], score_threshold=bad),
        lambda: db.query_points("u", [1, 0], score_threshold=bad),
        lambda: db.query_points("u", score_threshold=bad),
    ):
        refuses(InvalidInputError, call, "score_threshold")


BAD_PARAMS: list[tuple[Any, str]] = [
    (5, "SearchParams"),
    ("exact", "SearchParams"),
    ({"exact": "yes"}, "search_params.exact"),
    ({"hnsw_ef": -1}, "search_params.hnsw_ef"),
    ({"exakt": True}, "'exakt'"),
    ({"quantization": {"oversampling": 0.99}}, "search_params.quantization.oversampling"),
    ({"quantization": {"oversampling": 0}}, "search_params.quantization.oversampling"),
    ({"quantization": {"oversampling": -2}}, "search_params.quantization.oversampling"),
    ({"quantization": {"oversampling": math.nan}}, "search_params.quantization.oversampling"),
    ({"quantization": {"oversampling": math.inf}}, "search_params.quantization.oversampling"),
    ({"quantization": {"oversampling": "2"}}, "search_params.quantization.oversampling"),
    ({"quantization": {"rescore": 1}}, "search_params.quantization.rescore"),
    ({"quantization": {"rescoring": True}}, "'rescoring'"),
    ({"quantization": True}, "search_params.quantization"),
    (models.SearchParams(exact="no"), "search_params.exact"),  # type: ignore[arg-type]
    (
        models.SearchParams(quantization=models.QuantizationSearchParams(oversampling=0.5)),
        "search_params.quantization.oversampling",
    ),
]


@pytest.mark.parametrize(("params", "where"), BAD_PARAMS)
def test_search_params(db: VecDB, refuses: Any, params: Any, where: str) -> None:
    refuses(InvalidInputError, lambda: db.search("u", [1, 0], search_params=params), where)
    refuses(InvalidInputError, lambda: db.query_points("u", [1, 0], search_params=params), where)
    refuses(InvalidInputError, lambda: db.query_points("u", search_params=params), where)
    tail = where.removeprefix("search_params")
    request = {"vector": [1, 0], "limit": 1, "params": params}
    refuses(InvalidInputError, lambda: db.search_batch("u", [request]), tail)


BAD_FILTERS: list[Any] = [
    5,
    "k",
    [],
    [{"key": "k", "match": {"value": 1}}],
    {"must": 5},
    {"mast": []},
    {"must": [{"key": "k"}]},
    {"must": [{"key": "k", "match": {"value": 1.5}}]},
    {"must": [{"key": "k", "match": {"val": 1}}]},
    {"must": [{"key": 5, "match": {"value": 1}}]},
    {"must": [{"key": "a..b", "match": {"value": 1}}]},
    {"must": [{"key": "k", "range": {"gte": "soon"}}]},
    {"must": [{"key": "k", "range": {"ge": 1}}]},
    {"must": [{"key": "k", "match": {"any": [1, "a"]}}]},
    {"must": [{"has_id": 5}]},
    {"min_should": {"conditions": [], "min_count": 0}},
    {"must": [{"nested": {"key": "k", "filter": {"must": [{"has_id": [1]}]}}}]},
    {"must": [{"nested": {"key": "k", "filter": {"must": [{"slice": {"total": 2, "index": 1}}]}}}]},
    {"must": [{"key": "k", "match": {"text": 5}}]},
    {"must": [{"key": "k", "match": {"prefix": None}}]},
    {"must": [{"key": "k", "geo_radius": {"center": {"lon": 1, "lat": 1}, "radius": -5}}]},
    {"must": [{"key": "k", "geo_radius": {"center": {"lon": 1, "lat": 91}, "radius": 5}}]},
    {"must": [{"key": "k", "geo_bounding_box": {"top_left": {"lon": 1, "lat": 1}}}]},
    {"must": [{"key": "k", "geo_polygon": {"exterior": {"points": [{"lon": 1, "lat": 1}]}}}]},
    {"must": [{"slice": {"total": 2, "index": 2}}]},
    {"must": [{"slice": {"total": 0, "index": 0}}]},
]


@pytest.mark.parametrize("bad", BAD_FILTERS, ids=repr)
def test_filters(db: VecDB, refuses: Any, bad: Any) -> None:
    calls = [
        lambda: db.search("u", [1, 0], query_filter=bad),
        lambda: db.query_points("u", [1, 0], query_filter=bad),
        lambda: db.query_points("u", query_filter=bad),
        lambda: db.scroll("u", scroll_filter=bad),
        lambda: db.count("u", count_filter=bad),
    ]
    if not isinstance(bad, list):
        calls += [
            lambda: db.delete("u", bad),
            lambda: db.delete("u", {"filter": bad}),
            lambda: db.set_payload("u", {"x": 1}, bad),
            lambda: db.clear_payload("u", bad),
        ]
    for call in calls:
        refuses(InvalidInputError, call)


def test_what_is_no_path_says_where_it_stood(db: VecDB, refuses: Any) -> None:
    condition = {"must": [{"key": "a[", "match": {"value": 1}}]}
    inside = {"must": [{"nested": {"key": "a", "filter": condition}}]}
    empty = {"must": {"is_empty": {"key": "a["}}}
    both, one = {"include": ["a"], "exclude": ["a["]}, {"query": [1, 2], "filter": condition}
    queries: dict[str, Callable[[], Any]] = {
        "query_filter: must[0]": lambda: db.query_points("u", [1, 2], query_filter=condition),
        "count_filter: must[0].nested.filter.must[0]": lambda: db.count("u", inside),
        "scroll_filter: must": lambda: db.scroll("u", empty),
        "points_selector.filter: must[0]": lambda: db.delete("u", {"filter": condition}),
        "points: must[0]": lambda: db.set_payload("u", {}, models.Filter(**condition)),
        "prefetch[0].filter: must[0]": lambda: db.query_points("u", [1, 2], prefetch=[one]),
        "requests[1].filter: must[0]": lambda: db.query_batch_points("u", [{"query": [1, 2]}, one]),
        "with_payload": lambda: db.retrieve("u", [1], with_payload=["a["]),
        "with_payload.include": lambda: db.scroll("u", with_payload={"include": ["a["]}),
        "with_payload.exclude": lambda: db.scroll("u", with_payload=both),
        "key": lambda: db.set_payload("u", {"a": 1}, [1], key="a["),
        "keys[1]": lambda: db.delete_payload("u", ["a", "a["], [1]),
    }
    for place, query in queries.items():
        assert refuses(InvalidInputError, query).startswith(f"{place}: 'a[' is not a path")


def test_requests_of_a_batch(db: VecDB, refuses: Any) -> None:
    for bad in (None, 5, "x", {"vector": [1, 0]}, [5], [None]):
        refuses(InvalidInputError, lambda bad=bad: db.search_batch("u", bad), "requests")
        refuses(InvalidInputError, lambda bad=bad: db.query_batch_points("u", bad), "requests")
    bad_request = {"vector": [1, 0], "limit": 1, "top": 5}
    refuses(InvalidInputError, lambda: db.search_batch("u", [bad_request]), "'top'")
    for bad_query in (True, "abc"):
        refuses(InvalidInputError, lambda q=bad_query: db.query_points("u", q))
    refuses(InvalidInputError, lambda: db.search("u", None), "query")


class Dumped:
    """What is asked of an object of ``qdrant_client.models``."""

    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)

    def model_dump(self, **options: Any) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if value is not None}


TEXT_QUERY = {"text": {"query": "x"}}


@pytest.mark.parametrize("fields", [{"nearest": TEXT_QUERY}, {}], ids=str)
def test_what_is_no_query(db: VecDB, refuses: Any, fields: dict[str, Any]) -> None:
    """It was called a NamedVector without a name, or a number of a wrong type."""
    for query in (fields, Dumped(**fields)):
        refuses(InvalidInputError, lambda q=query: db.query_points("u", q), "query")
        refuses(InvalidInputError, lambda q=query: db.query_batch_points("u", [{"query": q}]))
        with pytest.raises(InvalidInputError, match=r"^query: expected a vector, an id, "):
            db.query_points("u", query)


def test_a_text_query_without_a_field(db: VecDB, refuses: Any) -> None:
    for query in (TEXT_QUERY, Dumped(**TEXT_QUERY)):
        refuses(InvalidInputError, lambda q=query: db.query_points("u", q), "using")


SPARSE = {"indices": [1], "values": [0.5]}


@pytest.mark.parametrize("query", [{"nearest": SPARSE}, {"nearest": SPARSE, "mmr": {}}, SPARSE])
def test_a_sparse_query_of_a_dense_vector(db: VecDB, refuses: Any, query: Any) -> None:
    for given in (query, Dumped(**query)):
        refuses(InvalidInputError, lambda q=given: db.query_points("u", q), "got a sparse vector")
    refuses(InvalidInputError, lambda: db.query_points("n", ("a", SPARSE)), "sparse")
    named = {"name": "a", "vector": SPARSE}
    refuses(InvalidInputError, lambda: db.query_points("n", named), "sparse")


def test_a_query_may_say_nearest(db: VecDB) -> None:
    expected = db.query_points("u", [1.0, 0.5])
    for nearest in ([1.0, 0.5], np.array([1.0, 0.5])):
        for query in ({"nearest": nearest}, Dumped(nearest=nearest, mmr=None)):
            assert db.query_points("u", query) == expected
            assert db.query_batch_points("u", [{"query": query}])[0].points[0].id == 1
    assert db.query_points("u", {"nearest": 1}) == db.query_points("u", 1)


@pytest.mark.parametrize(
    ("mmr", "expected"),
    [
        ({"diversity": -0.1}, "query.mmr.diversity: expected a number from 0.0 to 1.0, got -0.1"),
        ({"diversity": "a"}, "query.mmr.diversity: expected a number from 0.0 to 1.0, got 'a'"),
        ({"candidates_limit": 0}, "query.mmr.candidates_limit: expected an integer from 1 to"),
        ({"candidates_limit": 20_000}, "query.mmr.candidates_limit: expected an integer from 1 to"),
        ({"lambda": 0.5}, "query.mmr: unknown field 'lambda'"),
        (0.5, "query.mmr: expected Mmr or its dict, got 0.5"),
    ],
    ids=str,
)
def test_mmr(db: VecDB, refuses: Any, mmr: Any, expected: str) -> None:
    asked = [{"nearest": [1, 0], "mmr": mmr}, models.NearestQuery(nearest=[1, 0], mmr=mmr)]
    for query in asked:
        refuses(InvalidInputError, lambda q=query: db.query_points("u", q), expected)
        refuses(InvalidInputError, lambda q=query: db.query_batch_points("u", [{"query": q}]))


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.uint8])
def test_an_integer_of_numpy_is_a_query_by_id(db: VecDB, kind: Any) -> None:
    """It was an id everywhere else, and as a query no vector."""
    expected = db.query_points("u", 1)
    assert [point.id for point in expected.points] == [UUID]
    assert db.query_points("u", kind(1)) == expected
    requests = [models.QueryRequest(query=kind(1), with_payload=True), {"query": kind(1)}]
    assert db.query_batch_points("u", requests)[0] == expected
    assert db.query_batch_points("u", requests)[1].points[0].id == UUID


# -- collections ---------------------------------------------------------------------------

BAD_NAMES: list[Any] = [None, 5, b"u", ["u"], "", "x" * 256, "ä" * 128, "\ud800", object()]


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda n: repr(n)[:12])
def test_collection_names(db: VecDB, refuses: Any, name: Any) -> None:
    vectors = {"size": 2, "distance": "Dot"}
    for call in (
        lambda: db.create_collection(name, vectors),
        lambda: db.recreate_collection(name, vectors),
        lambda: db.update_collection(name),
        lambda: db.delete_collection(name),
        lambda: db.get_collection(name),
        lambda: db.collection_exists(name),
        lambda: db.collection(name),
        lambda: db.upsert(name, [GOOD]),
        lambda: db.search(name, [1, 2]),
        lambda: db.memory_report("" if name is None else name),  # None: all of them
    ):
        refuses(InvalidInputError, call, "collection_name")


def test_unknown_and_duplicate_collections(db: VecDB, refuses: Any) -> None:
    for verb, arguments in {
        "upsert": ([GOOD],),
        "upload_points": ([GOOD],),
        "upload_collection": ([[1, 2]],),
        "delete": ([1],),
        "set_payload": ({}, [1]),
        "overwrite_payload": ({}, [1]),
        "delete_payload": (["a"], [1]),
        "clear_payload": ([1],),
        "update_vectors": ([GOOD],),
        "delete_vectors": ([""], [1]),
        "retrieve": ([1],),
        "scroll": (),
        "count": (),
        "search": ([1, 2],),
        "search_batch": ([],),
        "query_points": ([1, 2],),
        "query_batch_points": ([],),
        "query_points_groups": ("a",),
        "search_groups": ([1, 2], "a"),
        "facet": ("a",),
        "flush": (),
        "wait_for_optimizer": (),
        "memory_report": (),
        "get_collection": (),
        "update_collection": (),
        "collection": (),
    }.items():
        call = lambda verb=verb, arguments=arguments: getattr(db, verb)("nope", *arguments)  # noqa: E731
        refuses(NotFoundError, call, "'nope'", "'n', 'u'")
    create = lambda: db.create_collection("u", {"size": 9, "distance": "Dot"})  # noqa: E731
    refuses(AlreadyExistsError, create, "'u'")


BAD_CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"vectors_config": 5}, "vectors_config"),
    ({"vectors_config": {"size": 2}}, "'distance'"),
    ({"vectors_config": {"size": 0, "distance": "Dot"}}, "vectors_config.size"),
    ({"vectors_config": {"size": 65537, "distance": "Dot"}}, "65536"),
    ({"vectors_config": {"size": 2.0, "distance": "Dot"}}, "vectors_config.size"),
    ({"vectors_config": {"size": "2", "distance": "Dot"}}, "vectors_config.size"),
    ({"vectors_config": {"size": 2, "distance": "L2"}}, "'L2'"),
    ({"vectors_config": {"size": 2, "distance": "Dot", "dim": 1}}, "'dim'"),
    ({"vectors_config": {"a": {"size": 2}}}, "['a']"),
    ({"vectors_config": {"x" * 201: {"size": 2, "distance": "Dot"}}}, "vector name"),
    ({"vectors_config": {"a" * 201: {"size": 2, "distance": "Dot"}}}, "200"),
    ({"vectors_config": {5: {"size": 2, "distance": "Dot"}}}, "5"),
    ({"quantization_config": 5}, "quantization_config"),
    ({"quantization_config": "Disabled"}, "quantization_config"),
    ({"quantization_config": {}}, "quantization_config"),
    ({"quantization_config": {"scalar": {}}}, "'type'"),
    ({"quantization_config": {"scalar": {"type": "int4"}}}, "'int4'"),
    ({"quantization_config": {"scalar": {"type": "int8", "quantile": 0.49}}}, "0.5 to 1.0"),
    ({"quantization_config": {"scalar": {"type": "int8", "quantile": 1.1}}}, "0.5 to 1.0"),
    ({"quantization_config": {"scalar": {"type": "int8", "quantile": math.nan}}}, "0.5 to 1.0"),
    ({"quantization_config": {"scalar": {"type": "int8", "quantile": "1"}}}, "0.5 to 1.0"),
    ({"quantization_config": {"scalar": {"type": "int8", "always_ram": 1}}}, "always_ram"),
    ({"quantization_config": {"scalar": {"type": "int8"}, "binary": {}}}, "'binary'"),
    ({"quantization_config": {"product": {"compression": "x7"}}}, "'x7'"),
    ({"quantization_config": {"product": {"compression": 16}}}, "16"),
    ({"quantization_config": {"binary": {"encoding": "three_bits"}}}, "'three_bits'"),
    ({"quantization_config": {"turbo": {"bits": "bits3"}}}, "'bits3'"),
    ({"optimizers_config": 5}, "optimizers_config"),
    ({"optimizers_config": {"memmap_treshold": 1}}, "'memmap_treshold'"),
    ({"optimizers_config": {"memmap_threshold": -1}}, "memmap_threshold"),
    ({"optimizers_config": {"memmap_threshold": 1.5}}, "memmap_threshold"),
    ({"optimizers_config": {"deleted_threshold": 2}}, "deleted_threshold"),
    ({"hnsw_config": {"ef": 1}}, "'ef'"),
    ({"wal_config": {"wal_capacity_mb": 0}}, "wal_capacity_mb"),
]


@pytest.mark.parametrize(("bad", "word"), BAD_CONFIGS, ids=[repr(c)[:70] for c, _ in BAD_CONFIGS])
def test_configurations(db: VecDB, refuses: Any, bad: dict[str, Any], word: str) -> None:
    config = {"vectors_config": {"size": 2, "distance": "Dot"}, **bad}
    files = sorted(db.path.rglob("*"))
    refuses(InvalidInputError, lambda: db.create_collection("new", **config), word)
    refuses(InvalidInputError, lambda: db.recreate_collection("u", **config), word)
    if not {"vectors_config", "wal_config"} & bad.keys() and "Disabled" not in bad.values():
        refuses(InvalidInputError, lambda: db.update_collection("u", **bad), word)
    assert sorted(db.path.rglob("*")) == files


def test_updates(db: VecDB, refuses: Any) -> None:
    for bad in (
        5,
        [],
        {"on_disk": True},
        {"": {"size": 3}},
        {"": {"on_disk": 1}},
        {"": {"quantization_config": {"scalar": {}}}},
        {"": 5},
    ):
        refuses(InvalidInputError, lambda b=bad: db.update_collection("u", vectors_config=b))


def test_a_refused_collection_leaves_nothing_that_stops_the_next_open(tmp_path: Path) -> None:
    with VecDB(tmp_path / "x") as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        with pytest.raises(InvalidInputError, match="on_disk_payload"):
            db.create_collection("d", {"size": 2, "distance": "Dot"}, on_disk_payload="yes")  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="on_disk_payload"):
            db.recreate_collection("c", {"size": 2, "distance": "Dot"}, on_disk_payload="yes")
        assert db.collection_exists("c")
    VecDB(tmp_path / "x").close()


# -- databases -----------------------------------------------------------------------------


def test_places_that_are_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"precious")
    with pytest.raises(NotADatabaseError, match="is a file"):
        VecDB(file)
    assert file.read_bytes() == b"precious"
    for below in (file / "below", file / "further" / "below"):
        with pytest.raises(NotADatabaseError, match="is a file"):
            VecDB(below)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        NotADatabaseError, match=r"does not exist; os\.path\.expanduser makes ~ the"
    ):
        VecDB("~/db")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "thesis.tex").write_text("mine")
    with pytest.raises(NotADatabaseError, match=r"thesis\.tex"):
        VecDB(stranger)
    assert [p.name for p in stranger.iterdir()] == ["thesis.tex"]
    for options in ({"sync": "sometimes"}, {"sync": None}, {"sync_interval": 0}):
        with pytest.raises(InvalidInputError, match=next(iter(options))):
            VecDB(tmp_path / "options", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "options").exists()


@pytest.mark.parametrize("path", [5, b"bytes", ""])
def test_paths_of_the_wrong_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    with pytest.raises(InvalidInputError, match="path"):
        VecDB(path).close()  # "" would make the working directory a database
    assert list(empty.iterdir()) == []


def test_numbers_of_the_database_of_the_wrong_type(db: VecDB, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="timeout"):
        db.wait_for_optimizer("u", timeout="soon")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="sync_interval"):
        VecDB(tmp_path / "options", sync_interval="1")  # type: ignore[arg-type]


def test_timeouts(db: VecDB, refuses: Any) -> None:
    collection = db.collection("u")
    for bad in ("1", True, math.nan, [1]):
        refuses(InvalidInputError, lambda bad=bad: collection.wait_for_optimizer(bad), "timeout")
    assert collection.wait_for_optimizer(0)


def use(path: Path) -> None:
    """Open a database, then its collection: one that is damaged keeps no other from opening."""
    with VecDB(path) as db:
        db.collection("c")


def test_a_newer_format_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with VecDB(path) as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
    original = (path / "FORMAT").read_bytes()
    assert b" format=1 " in original
    formats = [path / "FORMAT", *path.glob("collections/*/FORMAT")]
    assert len(formats) == 2
    for format_file in formats:
        good = format_file.read_bytes()
        files = {
            p: p.stat().st_mtime_ns for p in path.rglob("*") if p.is_file() and p.name != "LOCK"
        }
        newer = good.replace(b" format=1 ", b" format=2 ")
        for content, error in (
            (newer, FormatVersionError),
            (good.replace(b"uuid=", b"uuid=0"), CorruptionError),
            (good[:20], CorruptionError),
            (good + b"x", CorruptionError),
            (b"", CorruptionError),
            (b"\xff\xfe\n", CorruptionError),
        ):
            format_file.write_bytes(content)
            with pytest.raises(error, match="FORMAT"):
                use(path)
            assert format_file.read_bytes() == content
        format_file.write_bytes(good)
        after = {
            p: p.stat().st_mtime_ns for p in path.rglob("*") if p.is_file() and p.name != "LOCK"
        }
        assert after.keys() == files.keys()
    with VecDB(path) as db:
        assert db.collection_exists("c")


def test_a_second_writer_is_refused(db: VecDB, refuses: Any, tmp_path: Path) -> None:
    refuses(LockedError, lambda: VecDB(db.path), str(db.path))
    code = f"from vecdb import VecDB; VecDB({str(db.path)!r})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "LockedError" in run.stderr
    db.upsert("u", [GOOD])  # the first goes on
    with VecDB(tmp_path / "x"), pytest.raises(LockedError, match=str(os.getpid())):
        VecDB(tmp_path / "x")
    VecDB(tmp_path / "x").close()


# -- after close -----------------------------------------------------------------------------

COLLECTION_CALLS: dict[str, tuple[Any, ...]] = {
    "upsert": ([GOOD],),
    "upload_points": ([GOOD],),
    "upload_collection": ([[1.0, 2.0]],),
    "delete": ([1],),
    "set_payload": ({"x": 1}, [1]),
    "overwrite_payload": ({"x": 1}, [1]),
    "delete_payload": (["k"], [1]),
    "clear_payload": ([1],),
    "update_vectors": ([{"id": 1, "vector": [1, 2]}],),
    "delete_vectors": ([""], [1]),
    "retrieve": ([1],),
    "scroll": (),
    "count": (),
    "search": ([1, 2],),
    "search_batch": ([{"vector": [1, 2], "limit": 1}],),
    "query_points": ([1, 2],),
    "query_batch_points": ([{"query": [1, 2]}],),
    "query_points_groups": ("a",),
    "search_groups": ([1, 2], "a"),
    "facet": ("a",),
    "flush": (),
    "info": (),
    "memory_report": (),
    "wait_for_optimizer": (),
    "__len__": (),
}


def test_use_after_close(db: VecDB) -> None:
    collection = db.collection("u")
    db.close()
    for verb, arguments in COLLECTION_CALLS.items():
        with pytest.raises(ClosedError, match="closed"):
            getattr(collection, verb)(*arguments)
        if verb not in ("info", "__len__"):
            with pytest.raises(ClosedError, match="closed"):
                getattr(db, verb)("u", *arguments)
    for call in (
        lambda: db.create_collection("c", {"size": 2, "distance": "Dot"}),
        lambda: db.recreate_collection("u", {"size": 2, "distance": "Dot"}),
        lambda: db.update_collection("u"),
        lambda: db.delete_collection("u"),
        lambda: db.get_collection("u"),
        lambda: db.get_collections(),
        lambda: db.collection_exists("u"),
        lambda: db.collection("u"),
        lambda: db.flush(),
        lambda: db.wait_for_optimizer(),
    ):
        with pytest.raises(ClosedError, match="closed"):
            call()
    assert "closed" in repr(db)
    assert "closed" in repr(collection)
    db.close()


@pytest.mark.parametrize("again", [False, True], ids=["deleted", "recreated"])
def test_handles_of_a_deleted_collection(db: VecDB, again: bool) -> None:
    old = db.collection("u")
    view = old.search([1, 0])
    if again:
        db.recreate_collection("u", {"size": 2, "distance": "Dot"})
    else:
        db.delete_collection("u")
    for verb, arguments in COLLECTION_CALLS.items():
        if verb == "wait_for_optimizer":
            continue  # there is nothing left to wait for
        with pytest.raises(ClosedError, match=r"^collection 'u' was deleted$"):
            getattr(old, verb)(*arguments)
    assert "was deleted" in repr(old)
    assert view[0].payload == {"k": 1}  # results belong to the caller
    if again:
        assert db.count("u").count == 0
        db.upsert("u", [GOOD])
        assert [r.id for r in db.scroll("u")[0]] == [100]
    else:
        with pytest.raises(NotFoundError):
            db.count("u")
    assert db.count("n").count == 1


@pytest.mark.parametrize("read_only", ["no", 1, None])
def test_read_only_is_true_or_false(read_only: Any, tmp_path: Path) -> None:
    # Any text, "no" as well, opened it for reading only.
    with pytest.raises(InvalidInputError, match="read_only: expected True or False"):
        VecDB(tmp_path / "new.db", read_only=read_only)
    assert list(tmp_path.iterdir()) == []


def test_sending_a_database_to_a_process_says_what_to_do(db: VecDB) -> None:
    # It said that an RLock cannot be pickled.
    with pytest.raises(TypeError, match=r"open it there instead, with VecDB\("):
        pickle.dumps(db)


def test_a_condition_that_is_refused_says_where_it_stands(db: VecDB, refuses: Any) -> None:
    """Nothing said which of many conditions it was."""
    nested = {"nested": {"key": "a", "filter": {"must_not": {"has_id": [1]}}}}
    deep = {"must": [{"has_id": [1]}, {"should": [nested]}]}
    message = refuses(InvalidInputError, lambda: db.count("u", deep))
    assert message.startswith("count_filter: must[1].should[0].nested.filter.must_not: HasId")


def test_what_is_refused_is_not_among_what_is_expected(db: VecDB, refuses: Any) -> None:
    """`within` and `search` named all kinds of queries, and order and sample that there was no
    query."""
    query = {"recommend": {"positive": [1]}}
    for ask in (lambda: next(db.within("u", query, 0.5)), lambda: db.search("u", query)):
        message = refuses(InvalidInputError, ask)
        assert message.endswith("a vector, an id, or a query by nearest, got one by recommend")
    unscored = {"in an order": {"order_by": "n"}, "in a sample": {"sample": "random"}}
    for where, query in {**unscored, "without a query": None}.items():
        message = refuses(
            InvalidInputError, lambda q=query: db.query_points("u", q, score_threshold=0.5)
        )
        assert f"expected None {where}, where points have no scores" in message


def test_a_look_up_says_whose_vector_names_it_means(db: VecDB, refuses: Any) -> None:
    """It spoke of "this collection" and meant the other one."""
    db.create_collection("there", {"a": {"size": 2, "distance": "Dot"}})
    for location in ({"collection": "there", "vector": "b"}, {"collection": "there"}):
        message = refuses(
            InvalidInputError, lambda at=location: db.query_points("u", 1, lookup_from=at)
        )
        assert message.endswith("; the collection of lookup_from has 'a'")
