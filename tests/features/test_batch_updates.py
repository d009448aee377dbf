"""Several operations as one write: each sees those before it, and all of them happen or none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models as theirs

from vecdb import VecDB, models
from vecdb.engine.write import writer as writer_module
from vecdb.errors import InvalidInputError, NotFoundError, WriteError
from vecdb.storage.replay import Replay

VECTORS = {"a": {"size": 2, "distance": "Dot"}, "b": {"size": 1, "distance": "Dot"}}


def point(id: int, **payload: Any) -> dict[str, Any]:
    return {"id": id, "vector": {"a": [id, 1], "b": [id]}, "payload": payload}


def match(key: str, value: Any) -> dict[str, Any]:
    return {"must": [{"key": key, "match": {"value": value}}]}


@pytest.fixture
def db(tmp_path: Path) -> VecDB:
    db = VecDB(tmp_path / "db")
    db.create_collection("c", VECTORS, optimizers_config={"max_optimization_threads": 0})
    db.upsert("c", [point(n, n=n) for n in range(6)])
    db.flush()
    db.upsert("c", [point(n, n=n) for n in range(6, 9)])
    return db


def everything(db: VecDB) -> dict[Any, tuple[Any, Any]]:
    records, _ = db.scroll("c", limit=1000, with_vectors=True)
    return {record.id: (record.payload, record.vector) for record in records}


def every_kind() -> list[dict[str, Any]]:
    """One of each, in an order in which each depends on those before it."""
    return [
        {"upsert": {"points": [point(20, n=20), point(1, n=100)]}},
        {"set_payload": {"payload": {"seen": 1}, "filter": match("n", 100)}},
        {"set_payload": {"payload": {"x": 2}, "points": [20, 2], "key": "deep"}},
        {"overwrite_payload": {"payload": {"over": True}, "filter": match("deep.x", 2)}},
        {"delete_payload": {"keys": ["n"], "filter": match("seen", 1)}},
        {"update_vectors": {"points": [{"id": 20, "vector": {"b": [7]}}]}},
        {"delete_vectors": {"vector": ["a"], "filter": match("over", True)}},
        {"clear_payload": {"points": [3]}},
        {"delete": {"filter": {"must": [{"is_empty": {"key": "n"}}, {"has_id": [3, 4]}]}}},
        {"upsert": {"batch": {"ids": [3], "vectors": {"a": [[9, 9]], "b": [[9]]}}}},
    ]


EXPECTED = {
    1: ({"seen": 1}, {"a": [1, 1], "b": [1]}),
    2: ({"over": True}, {"b": [2]}),
    3: ({}, {"a": [9, 9], "b": [9]}),
    20: ({"over": True}, {"b": [7]}),
}


def as_qdrants(operation: dict[str, Any]) -> Any:
    [kind] = operation
    name = "".join(map(str.capitalize, kind.split("_"))) + "Operation"
    return getattr(theirs, name).model_validate(operation)


def as_ours(operation: dict[str, Any]) -> Any:
    [kind] = operation
    name = "".join(map(str.capitalize, kind.split("_"))) + "Operation"
    return models.coerce(getattr(models, name), operation)


@pytest.mark.parametrize("form", [lambda operation: operation, as_qdrants, as_ours])
def test_each_operation_sees_those_before_it(db: VecDB, form: Callable[[Any], Any]) -> None:
    before = everything(db)
    results = db.batch_update_points("c", list(map(form, every_kind())), wait=True, ordering=None)
    assert everything(db) == {**before, **EXPECTED}
    assert all(result.status is models.UpdateStatus.COMPLETED for result in results)
    numbers = [result.operation_id for result in results]
    assert numbers == list(range(3, 3 + len(results)))
    db.flush()
    assert everything(db) == {**before, **EXPECTED}
    path = db.path
    db.close()
    with VecDB(path) as again:
        assert everything(again) == {**before, **EXPECTED}


def test_a_batch_is_as_its_operations_one_by_one(db: VecDB) -> None:
    db.batch_update_points("c", every_kind())
    together = everything(db)
    with VecDB(":memory:") as other:
        other.create_collection("c", VECTORS)
        other.upsert("c", [point(n, n=n) for n in range(9)])
        for operation in every_kind():
            other.batch_update_points("c", [operation])
        assert everything(other) == together


@pytest.mark.parametrize(
    ("last", "kind", "message"),
    [
        ({"clear_payload": {"points": [77]}}, NotFoundError, "[10].clear_payload: point 77"),
        (
            {"delete_vectors": {"vector": ["c"], "points": [1]}},
            InvalidInputError,
            "update_operations[10].delete_vectors: unknown",
        ),
        ({"set_payload": {"payload": {}}}, InvalidInputError, "[10].set_payload: expected points"),
        (
            {"upsert": {"points": [{"id": 1, "vector": [1]}]}},
            InvalidInputError,
            "[10].upsert: point",
        ),
        ({"remove": {"points": [1]}}, InvalidInputError, "update_operations[10]: expected one of"),
        (3, InvalidInputError, "update_operations[10]: expected"),
        (
            {"set_payload": {"payload": {"x": "y" * 600_000}, "points": [8], "key": "second"}},
            InvalidInputError,
            "payload: 1200",
        ),
    ],
)
def test_if_one_cannot_be_none_is(
    db: VecDB, last: Any, kind: type[Exception], message: str
) -> None:
    db.set_payload("c", {"x": "y" * 600_000}, [8], key="first")
    before, seq = everything(db), db.collection("c")._store.next_seq
    with pytest.raises(kind) as caught:
        db.batch_update_points("c", [*every_kind(), last])
    assert message in str(caught.value)
    assert everything(db) == before
    assert db.collection("c")._store.next_seq == seq
    db.batch_update_points("c", every_kind())  # the next one begins with what is there
    assert everything(db) == {**before, **EXPECTED}


def test_a_batch_is_one_frame(db: VecDB) -> None:
    """So a crash leaves all of it or nothing."""
    db.flush()
    store = db.collection("c")._store
    first = store.next_seq
    db.batch_update_points("c", every_kind())
    [path] = [p for p in (store.path / "wal").iterdir() if p.name == f"{first:020}.wal"]
    assert path.read_bytes().count(b"VFRM") == 1
    replay = Replay(store.path / "wal", store.uuid, store.applied_seq)
    assert len(list(replay.operations())) == len(every_kind())
    whole = path.read_bytes()
    db.collection("c")._store.fail("so that closing writes nothing")
    database = db.path
    db.close()
    path.write_bytes(whole[:-100])
    with VecDB(database) as cut:
        assert set(everything(cut)) == set(range(9))
        assert cut.collection("c").recovery.torn_bytes > 0


def test_nothing_to_do_is_done(db: VecDB) -> None:
    assert db.batch_update_points("c", []) == []
    seq = db.collection("c")._store.next_seq - 1
    nothing = match("n", "no such")
    results = db.batch_update_points(
        "c", [{"delete": {"filter": nothing}}, {"clear_payload": {"filter": nothing}}]
    )
    assert [result.operation_id for result in results] == [seq, seq]
    assert db.collection("c")._store.next_seq - 1 == seq


def test_no_reader_sees_a_part(db: VecDB) -> None:
    """All points have one and the same number in every view."""
    stop = threading.Event()
    seen: set[int] = set()

    def look() -> None:
        while not stop.is_set():
            values = {payload.get("n") for payload, _ in everything(db).values()}
            seen.add(len(values))

    db.overwrite_payload("c", {"n": -1}, list(range(9)))
    thread = threading.Thread(target=look)
    thread.start()
    try:
        for number in range(60):
            each = [
                {"overwrite_payload": {"payload": {"n": number}, "points": [id]}}
                if id % 2
                else {"upsert": {"points": [point(id, n=number)]}}
                for id in range(9)
            ]
            db.batch_update_points("c", each)
    finally:
        stop.set()
        thread.join()
    assert seen == {1}


def test_a_failed_log_changes_nothing(db: VecDB, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(db)

    def broken(*arguments: Any) -> None:
        raise WriteError(5, "the disk is gone")

    monkeypatch.setattr(db.collection("c")._store.wal, "append", broken)
    with pytest.raises(WriteError):
        db.batch_update_points("c", every_kind())
    assert everything(db) == before


def test_payload_edits_that_are_not_in_files_yet(db: VecDB) -> None:
    """A batch is tried on a copy of them."""
    db.set_payload("c", {"early": 1}, [1, 2, 7])
    edit = {"set_payload": {"payload": {"late": 1}, "filter": match("early", 1)}}
    with pytest.raises(NotFoundError):
        db.batch_update_points("c", [edit, {"clear_payload": {"points": [99]}}])
    assert db.count("c", match("late", 1)).count == 0
    db.batch_update_points("c", [edit, edit, {"delete": {"filter": match("late", 1)}}])
    assert set(everything(db)) == {0, 3, 4, 5, 6, 8}


def test_too_much_for_one_write(db: VecDB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "MAX_OPERATION", 2000)
    operation = {"upsert": {"points": [point(n) for n in range(20)]}}
    db.batch_update_points("c", [operation])
    with pytest.raises(InvalidInputError, match="limit of one write is 2000"):
        db.batch_update_points("c", [operation] * 5)
    monkeypatch.setattr(writer_module, "MAX_OPERATIONS", 3)
    with pytest.raises(InvalidInputError, match="4 operations; the limit"):
        db.batch_update_points("c", [{"delete": [1]}] * 4)
