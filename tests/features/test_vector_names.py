"""Vectors that come to a collection and go: what was there stays, what is gone is gone."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from qdrant_client import models as theirs
from random_life import live

from proofs.model.oracle import Oracle, require_sound
from proofs.model.writes import INDEXES, VECTOR_NAMES, WEIGHTS, Pool
from vecdb import VecDB, models
from vecdb.engine.operations import Upsert
from vecdb.engine.repair.check import check_database
from vecdb.engine.store import Store
from vecdb.engine.write import checkpoint, conditional, vector_names, writer
from vecdb.engine.write.ingest import prepare_upsert
from vecdb.engine.write.writer import submit
from vecdb.errors import InvalidInputError, ReadOnlyError
from vecdb.storage import format, fs
from vecdb.storage.catalog import Catalog

A = {"size": 2, "distance": "Dot"}
DENSE = {"dense": {"size": 3, "distance": "Euclid"}}
QUIET = {"max_optimization_threads": 0, "indexing_threshold": 0}


@pytest.fixture
def db(tmp_path: Path) -> VecDB:
    db = VecDB(tmp_path / "db")
    db.create_collection("c", {"a": A, "b": {"size": 1, "distance": "Dot"}}, None, QUIET)
    db.upsert("c", [{"id": n, "vector": {"a": [n, 1], "b": [n]}} for n in range(20)])
    db.flush()
    db.upsert("c", [{"id": n, "vector": {"a": [n, 1], "b": [n]}} for n in range(20, 30)])
    return db


def vectors_of(db: VecDB) -> dict[Any, Any]:
    return {r.id: r.vector for r in db.scroll("c", limit=1000, with_vectors=True)[0]}


def files_of(db: VecDB) -> set[str]:
    return {path.name for path in (db.path / "collections/c/segments").rglob("*") if path.is_file()}


def names(db: VecDB) -> set[str]:
    vectors = db.get_collection("c").config.params.vectors
    return {""} if isinstance(vectors, models.VectorParams) else set(vectors)


def test_points_that_were_there_lack_a_new_vector(db: VecDB) -> None:
    dense = theirs.DenseVectorConfig(size=3, distance=theirs.Distance.EUCLID)
    result = db.create_vector_name("c", "new", theirs.DenseVectorNameConfig(dense=dense), wait=True)
    assert result.status is models.UpdateStatus.COMPLETED
    assert names(db) == {"a", "b", "new"}
    assert all(set(vector) == {"a", "b"} for vector in vectors_of(db).values())
    assert db.query_points("c", [1, 1, 1], using="new").points == []
    assert db.count("c", {"must": [{"has_vector": "new"}]}).count == 0
    db.update_vectors("c", [{"id": 3, "vector": {"new": [1, 2, 3]}}])
    db.upsert("c", [{"id": 99, "vector": {"new": [1, 1, 1]}}])
    for _ in range(2):
        found = db.query_points("c", [1, 1, 1], using="new", with_vectors=True).points
        assert [hit.id for hit in found] == [99, 3]
        assert found[1].vector == {"a": [3, 1], "b": [3], "new": [1, 2, 3]}
        assert db.count("c", {"must": [{"has_vector": "new"}]}).count == 2
        assert db.query_points("c", [1, 0], using="a", limit=1).points[0].id == 29
        db.flush()
    db.update_collection("c", optimizers_config={"default_segment_number": 1})
    assert db.wait_for_optimizer("c")
    assert vectors_of(db)[99] == {"new": [1, 1, 1]}
    path = db.path
    db.close()
    require_sound(path)
    with VecDB(path) as again:
        assert again.query_points("c", [1, 1, 1], using="new").points[0].id == 99


def test_what_is_taken_away_is_gone_with_its_files(db: VecDB) -> None:
    assert "vectors.b" in files_of(db)
    db.delete_vector_name("c", "b")
    assert names(db) == {"a"}
    assert not {"vectors.b", "present.b"} & files_of(db)
    assert all(set(vector) == {"a"} for vector in vectors_of(db).values())
    with pytest.raises(InvalidInputError, match="unknown vector name 'b'"):
        db.query_points("c", [1], using="b")
    with pytest.raises(InvalidInputError, match="unknown vector name 'b'"):
        db.upsert("c", [{"id": 1, "vector": {"a": [1, 1], "b": [1]}}])
    path = db.path
    db.close()
    require_sound(path)
    with VecDB(path) as again:
        assert names(again) == {"a"}
        again.create_vector_name("c", "b", {"dense": {"size": 7, "distance": "Cosine"}})
        assert all(set(vector) == {"a"} for vector in vectors_of(again).values())


def test_the_unnamed_vector_gets_company_and_goes(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", A)
        db.upsert("c", [{"id": 1, "vector": [1, 2]}])
        db.create_vector_name("c", "new", DENSE)
        assert vectors_of(db) == {1: [1, 2]}
        db.upsert("c", [{"id": 2, "vector": {"": [3, 4], "new": [1, 2, 3]}}])
        db.delete_vector_name("c", "")
        assert vectors_of(db) == {1: {}, 2: {"new": [1, 2, 3]}}
        db.create_vector_name("c", "", {"dense": A})
        db.delete_vector_name("c", "new")
        assert isinstance(db.get_collection("c").config.params.vectors, models.VectorParams)
        assert vectors_of(db) == {1: {}, 2: {}}
        db.update_vectors("c", [{"id": 2, "vector": [5, 6]}])
        assert vectors_of(db) == {1: {}, 2: [5, 6]}


FIELDS = models.VectorParams.__struct_fields__


@pytest.mark.parametrize("form", [dict, theirs.VectorParams, models.VectorParams])
@pytest.mark.parametrize("name", FIELDS)
def test_a_vector_may_be_called_as_a_field_of_its_parameters(
    name: str, form: Any, tmp_path: Path
) -> None:
    """``{"size": …}`` was taken for one unnamed vector, whatever the size was."""
    given = {name: form(size=2, distance="Dot"), "other": form(size=2, distance="Dot")}
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {name: given[name]})
        db.create_collection("d", given)
        db.create_collection("e")
        db.create_vector_name("e", name, {"dense": A})
        for collection in "cde":
            db.upsert(collection, [{"id": 1, "vector": {name: [1, 2]}}])
            db.update_collection(collection, vectors_config={name: {"on_disk": True}})
    with VecDB(tmp_path / "db") as db:
        assert not db.damaged
        assert names(db) == {name}
        for collection in "cde":
            [hit] = db.query_points(collection, [1, 1], using=name, with_vectors=True).points
            assert hit.vector == {name: [1, 2]}
            vectors = db.get_collection(collection).config.params.vectors
            assert isinstance(vectors, dict)
            assert vectors[name].on_disk
        db.delete_vector_name("d", name)
        assert db.retrieve("d", [1], with_vectors=True)[0].vector == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": 2}, "missing field 'distance'"),
        ({"size": None, "distance": "Dot"}, r"vectors_config\.size: expected an integer"),
        ({"size": "2", "distance": "Dot"}, r"vectors_config\.size: expected an integer"),
        ({"size": {"size": 2}}, r"vectors_config\['size'\]: missing field 'distance'"),
        ({"size": A, "distance": "Dot"}, r"vectors_config\.size: expected an integer"),
        ({"size": 2, "distance": "Dot", "a": A}, "unknown field 'a'"),
    ],
)
def test_parameters_that_are_neither_of_one_vector_nor_of_vectors_by_name(
    given: Any, said: str, db: VecDB
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        db.create_collection("d", given)
    assert not db.collection_exists("d")


def test_what_is_so_already_is_no_change(db: VecDB) -> None:
    db.create_vector_name("c", "new", DENSE)
    catalog = db.collection("c")._store.catalog
    assert catalog is not None
    before = catalog.transaction
    db.create_vector_name("c", "new", DENSE)
    db.create_vector_name("c", "a", {"dense": A})
    db.delete_vector_name("c", "unknown")
    assert catalog.transaction == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.create_vector_name("a", DENSE), "'a' is there already, with size 2"),
        (lambda c: c.create_vector_name("n", A), "expected one of DenseVectorNameConfig (dense)"),
        (lambda c: c.create_vector_name("n", {"dense": {"size": 0, "distance": "Dot"}}), ".size"),
        (lambda c: c.create_vector_name("x" * 201, DENSE), "at most 200 bytes"),
        (lambda c: c.create_vector_name(3, DENSE), "vector_name: expected a vector name"),
        (lambda c: c.delete_vector_name(None), "vector_name: expected a vector name"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    db: VecDB, call: Callable[[Any], object], message: str
) -> None:
    before = db.get_collection("c")
    with pytest.raises(InvalidInputError) as caught:
        call(db.collection("c"))
    assert message in str(caught.value)
    assert db.get_collection("c") == before


def test_a_reader_in_another_process_follows(db: VecDB) -> None:
    with VecDB(db.path, read_only=True) as reader:
        db.create_vector_name("c", "new", DENSE)
        db.upsert("c", [{"id": 50, "vector": {"new": [1, 1, 1]}}])
        db.delete_vector_name("c", "b")
        assert names(reader) == {"a", "b"}
        assert vectors_of(reader)[1] == {"a": [1, 1], "b": [1]}  # its files are open
        reader.refresh()
        assert names(reader) == {"a", "new"}
        assert vectors_of(reader) == vectors_of(db)
        with pytest.raises(ReadOnlyError):
            reader.create_vector_name("c", "x", DENSE)


def test_snapshots_of_segments_that_lack_a_vector(db: VecDB) -> None:
    db.create_vector_name("c", "new", DENSE)
    db.delete_vector_name("c", "b")
    db.upsert("c", [{"id": 50, "vector": {"new": [1, 1, 1]}}])
    archive = db.create_snapshot("c")
    db.recover_snapshot("d", db.path / "snapshots/c" / archive.name)
    records = db.scroll("d", limit=100, with_vectors=True)[0]
    assert {record.id: record.vector for record in records} == vectors_of(db)


def test_a_crash_before_the_commit_changes_nothing(
    db: VecDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = vectors_of(db)
    db.flush()

    def crashed(*arguments: object) -> None:
        raise OSError(5, "the power is gone")

    monkeypatch.setattr(Catalog, "commit", crashed)
    with pytest.raises(OSError, match="the power is gone"):
        db.delete_vector_name("c", "b")
    monkeypatch.undo()
    path = db.path
    db.close()
    with VecDB(path) as again:
        assert vectors_of(again) == before


def test_a_crash_after_the_commit_leaves_files_that_are_removed(
    db: VecDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fs, "discard", lambda path: None)
    db.delete_vector_name("c", "b")
    monkeypatch.undo()
    assert "vectors.b" in files_of(db)
    path = db.path
    db.close()
    report = check_database(path)
    assert report.ok
    assert sum(each.leftovers for each in report.collections) > 0
    with VecDB(path) as again:
        assert any("vectors.b" in name for name in again.collection("c").recovery.removed)
        assert "vectors.b" not in files_of(again)
        assert all(set(vector) == {"a"} for vector in vectors_of(again).values())
    require_sound(path)


def test_a_log_that_cannot_be_begun_anew_closes_the_collection_to_writes(
    db: VecDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a reader of the catalog before might take what follows for its own."""
    store = db.collection("c")._store
    db.flush()

    def full(*arguments: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(store, "start_wal_file", full)
    db.create_vector_name("c", "new", DENSE)
    with pytest.raises(ReadOnlyError, match="the log could not be begun anew"):
        db.upsert("c", [{"id": 1, "vector": {"new": [1, 1, 1]}}])
    path = db.path
    db.close()
    with VecDB(path) as again:
        again.upsert("c", [{"id": 1, "vector": {"new": [1, 1, 1]}}])
        assert vectors_of(again)[1] == {"new": [1, 1, 1]}


def test_a_build_that_is_under_way_brings_nothing_back(
    db: VecDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vector is taken away and given again, with the same dimension, while segments are merged:
    the new segment would have the vectors of the one before."""
    from vecdb.storage.builder import SegmentBuilder

    for first in (100, 200, 300):
        db.flush()
        points = [{"id": first + n, "vector": {"a": [n, 1], "b": [n]}} for n in range(20)]
        db.upsert("c", points)  # type: ignore[arg-type]
    db.flush()
    db.update_collection("c", optimizers_config={"default_segment_number": 1})
    finish_rows = SegmentBuilder.finish_rows

    def meanwhile(builder: SegmentBuilder) -> None:
        monkeypatch.undo()
        db.delete_vector_name("c", "b")
        db.create_vector_name("c", "b", {"dense": {"size": 1, "distance": "Dot"}})
        finish_rows(builder)

    monkeypatch.setattr(SegmentBuilder, "finish_rows", meanwhile)
    db.wait_for_optimizer("c")
    assert SegmentBuilder.finish_rows is finish_rows  # it was called
    assert all(set(vector) == {"a"} for vector in vectors_of(db).values())
    assert db.wait_for_optimizer("c")  # the build was given up
    assert len(db.get_collection("c").segments) == 1
    assert all(set(vector) == {"a"} for vector in vectors_of(db).values())
    path = db.path
    db.close()
    require_sound(path)


def test_a_write_that_waits_meets_the_vectors_of_its_turn(db: VecDB) -> None:
    store = db.collection("c")._store
    errors: dict[str, BaseException | None] = {}

    def write(name: str, points: Any) -> None:
        try:
            db.upsert("c", points)
            errors[name] = None
        except InvalidInputError as error:
            errors[name] = error

    waiting: list[tuple[str, Any]] = [
        ("plain", [{"id": 100, "vector": {"a": [1, 1]}}]),
        ("late", [{"id": 101, "vector": {"a": [1, 1], "b": [1]}}]),
    ]
    with store.maintenance:
        threads = [threading.Thread(target=write, args=each) for each in waiting]
        with store.write:
            for number, thread in enumerate(threads, 1):
                thread.start()
                while len(store.queue) < number:
                    pass
            vector_names.remove_vector_name(_Inside(store), "b")  # type: ignore[arg-type]
            vector_names.add_vector_name(_Inside(store), "new", DENSE)  # type: ignore[arg-type]
    for thread in threads:
        thread.join()
    assert errors["plain"] is None
    assert "have been taken from the collection meanwhile" in str(errors["late"])
    assert vectors_of(db)[100] == {"a": [1, 1]}
    assert 101 not in vectors_of(db)
    db.upsert("c", [{"id": 102, "vector": {"new": [1, 1, 1]}}])
    db.flush()


class _Inside:
    """A store, for who holds its locks."""

    def __init__(self, store: Any) -> None:
        object.__setattr__(self, "_store", store)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._store, name, value)

    def require_outside(self) -> None:
        """It is not."""


@pytest.mark.parametrize("seed", range(4))
def test_any_life(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes of every kind, with vectors that come and go, checkpoints, merges, indexes, codes,
    and recoveries in between."""
    monkeypatch.setattr(checkpoint, "MEMORY_LIMIT", 20_000)
    rng = Random(seed)
    vectors: dict[str, tuple[int, str]] = {"": (8, "Dot")}
    if seed % 2:
        vectors = {"a": (8, "Euclid"), "b": (3, "Cosine")}
    oracle, pool = Oracle(vectors), Pool(str(seed), vectors, 400)
    weights = {**WEIGHTS, **INDEXES, **dict.fromkeys(VECTOR_NAMES, 2), "upsert": 16}
    path = tmp_path / "db"
    db = VecDB(path, sync="never")
    named = {name: {"size": dim, "distance": d} for name, (dim, d) in vectors.items()}
    db.create_collection(
        "c",
        named,
        {"scalar": {"type": "int8"}} if seed > 1 else None,
        {"max_optimization_threads": 0, "indexing_threshold": 1, "default_segment_number": 2},
    )
    live(db, oracle, pool, weights, rng)


def test_repair_keeps_what_there_is(db: VecDB, tmp_path: Path) -> None:
    from vecdb.engine.repair.rebuild import repair_database

    db.flush()
    db.create_vector_name("c", "new", DENSE)
    db.delete_vector_name("c", "b")
    db.upsert("c", [{"id": 50, "vector": {"new": [1, 1, 1]}}])
    before = vectors_of(db)
    path = db.path
    db.close()
    repair_database(path, tmp_path / "saved")
    with VecDB(tmp_path / "saved") as saved:
        assert vectors_of(saved) == before
        assert names(saved) == {"a", "new"}


def test_the_log_has_nothing_from_before(db: VecDB) -> None:
    """What is in it was written for the names that the catalog has."""
    db.create_vector_name("c", "new", DENSE)
    store = db.collection("c")._store
    assert store.applied_seq == store.next_seq - 1
    assert [set(state.segment.lacking) for state in store.files.values()] == [{"new"}, {"new"}]


# -- prepared before a name came or went, and done after it ----------------------------------------


def two_names(path: Path) -> VecDB:
    db = VecDB(path, sync="always")
    vectors = {name: models.VectorParams(size=2, distance="Euclid") for name in ("a", "b", "z")}
    db.create_collection("c", vectors)
    db.upsert("c", [{"id": 1, "vector": {"a": [1, 1]}, "payload": {"k": 1}}])
    db.upsert("c", [{"id": 2, "vector": {"b": [1, 1]}}])
    return db


def test_an_edit_that_leaves_nothing_of_a_gone_name(tmp_path: Path) -> None:
    """It was logged with the name, and no open could replay it."""
    db = two_names(tmp_path / "db")
    store = db.collection("c")._store
    edits: Any = [{"id": 1, "vector": {"a": [5, 5]}}, {"id": 2, "vector": {"b": [5, 5]}}]
    condition: Any = {"must": [{"key": "k", "match": {"value": 1}}]}
    request = conditional.update_vectors(store.schema, edits, condition)
    db.delete_vector_name("c", "b")
    submit(store, request)
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "db", copy)  # as a kill leaves it
    db.close()
    with VecDB(copy) as again:
        assert again.damaged == {}
        assert again.retrieve("c", [1], with_vectors=True)[0].vector == {"a": [5.0, 5.0]}


def test_a_write_that_a_new_name_makes_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was acknowledged, in a frame that no open could read back."""
    db = two_names(tmp_path / "db")
    store = db.collection("c")._store
    batch = models.Batch(ids=list(range(10)), vectors={"a": np.ones((10, 2), np.float32)})
    request = prepare_upsert(store.schema, batch)
    db.create_vector_name("c", "n", {"dense": {"size": 1000, "distance": "Dot"}})
    monkeypatch.setattr(writer, "MAX_OPERATION", 20_000)
    with pytest.raises(InvalidInputError, match="the limit of one write"):
        submit(store, request)
    assert db.count("c").count == 2
    db.close()


def _point(store: Store, number: int) -> Upsert:
    point = {"id": number, "vector": {"a": [1, 1]}}
    return prepare_upsert(store.schema, models.parse_points([point]))


@pytest.mark.parametrize("step", ["_with_space", "_resolve"])
def test_a_write_is_not_lost_with_another_that_breaks_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Whoever waited for it waited for ever, with the lock."""
    db = two_names(tmp_path / "db")
    store = db.collection("c")._store
    seventh = _point(store, 7)
    other = writer._ticket([seventh if step == "_with_space" else lambda _: seventh])
    store.queue.append(other)

    def broken_off(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(writer, step, broken_off)
        with pytest.raises(MemoryError):
            submit(store, _point(store, 8))
    submit(store, _point(store, 9))
    assert other.done
    assert other.error is None
    assert [r.id for r in db.retrieve("c", [7, 8, 9])] == [7, 9]
    db.close()


def test_a_frame_that_could_not_be_read_back_is_not_made() -> None:
    with pytest.raises(ValueError, match="a frame of"):
        format.pack_frame(0, 1, [[b""]] * (format.MAX_OPERATIONS + 1), True)
