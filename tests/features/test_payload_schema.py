"""Payload indexes and metadata: kept with the configuration, through all that may happen to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models as theirs

from vecdb import VecDB, models
from vecdb.errors import InvalidInputError, NotFoundError, ReadOnlyError

VECTORS = {"size": 2, "distance": "Dot"}
TEXT = {"type": "text", "tokenizer": "word", "stopwords": "english"}


@pytest.fixture
def db(tmp_path: Path) -> VecDB:
    db = VecDB(tmp_path / "db")
    db.create_collection("c", VECTORS)
    return db


def schema(db: VecDB, name: str = "c") -> dict[str, models.PayloadIndexInfo]:
    return db.get_collection(name).payload_schema


@pytest.mark.parametrize("kind", list(models.PayloadSchemaType))
def test_each_type_is_kept_by_its_name_and_with_parameters(
    db: VecDB, kind: models.PayloadSchemaType
) -> None:
    name = kind.value
    given = getattr(theirs, f"{name.capitalize()}IndexParams")(type=name, on_disk=True)
    for number, each in enumerate((kind, name, theirs.PayloadSchemaType(name), {"type": name})):
        result = db.create_payload_index("c", f"f{number}", each)
        assert result.status is models.UpdateStatus.COMPLETED
        assert schema(db)[f"f{number}"].data_type is kind
    db.create_payload_index("c", "a.b[].c", field_schema=given, wait=False, ordering=None)
    ours = schema(db)["a.b[].c"]
    assert ours.params is not None
    assert ours.params.on_disk is True
    assert type(ours.params).__name__ == type(given).__name__
    assert schema(db)["f0"].params is None
    theirs.PayloadIndexInfo.model_validate(ours, from_attributes=True)


def test_points_are_those_with_a_value(db: VecDB) -> None:
    db.create_payload_index("c", "city", "keyword")
    payloads: list[Any] = [{"city": "x"}, {}, {"city": None}, {"city": []}, {"city": ["a", "b"]}]
    db.upsert("c", models.Batch(ids=range(5), vectors=[[1, 2]] * 5, payloads=payloads))
    assert schema(db)["city"].points == 2
    db.flush()
    db.upsert("c", [{"id": 9, "vector": [1, 2], "payload": {"city": 7}}])
    db.set_payload("c", {"city": "y"}, points=[1])
    db.delete("c", [0])
    assert schema(db)["city"].points == 3


def test_a_schema_is_replaced_kept_and_removed(db: VecDB) -> None:
    db.create_payload_index("c", "a", "keyword")
    transaction = db.collection("c")._store.catalog.transaction  # type: ignore[union-attr]
    db.create_payload_index("c", "a", models.PayloadSchemaType.KEYWORD)  # nothing to do
    db.delete_payload_index("c", "unknown")
    assert db.collection("c")._store.catalog.transaction == transaction  # type: ignore[union-attr]
    db.create_payload_index("c", "a", TEXT)
    assert schema(db)["a"].data_type is models.PayloadSchemaType.TEXT
    db.delete_payload_index("c", "a")
    assert schema(db) == {}
    assert db.get_collection("c").config.payload_schema is None


def test_the_older_name_of_the_parameter(db: VecDB) -> None:
    db.create_payload_index("c", "a", field_type="integer")
    assert schema(db)["a"].data_type is models.PayloadSchemaType.INTEGER
    with pytest.raises(InvalidInputError, match="field_type"):
        db.create_payload_index("c", "a", "keyword", "integer")


def test_configuration_outlives_closing_and_is_in_snapshots(tmp_path: Path) -> None:
    metadata = {"model": "e5", "n": {"of": [1, None]}, "none": None}
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", VECTORS, metadata=metadata)
        db.create_payload_index("c", "a", TEXT)
        db.upsert("c", [{"id": 1, "vector": [1, 2], "payload": {"a": "b"}}])
        db.update_collection("c", optimizers_config={"indexing_threshold": 0})
        archive = db.create_snapshot("c")
        path = db.path / "snapshots" / "c" / archive.name
    with VecDB(tmp_path / "db", read_only=True) as reader:
        assert reader.get_collection("c").config.metadata == metadata
        assert schema(reader)["a"].points == 1
        with pytest.raises(ReadOnlyError):
            reader.create_payload_index("c", "a", TEXT)
    with VecDB(tmp_path / "db") as db:
        db.delete_payload_index("c", "a")
        db.update_collection("c", metadata={"model": None})
        db.recover_snapshot("d", path)
        assert schema(db) == {}
        assert schema(db, "d")["a"].params == models.coerce(models.TextIndexParams, TEXT)
        assert db.get_collection("d").config.metadata == metadata
        assert "model" not in (db.get_collection("c").config.metadata or {})


def test_metadata_is_merged_key_by_key_and_none_takes_away(db: VecDB) -> None:
    def metadata() -> Any:
        return db.get_collection("c").config.metadata

    assert metadata() is None
    db.update_collection("c", metadata={"a": {"x": 1}, "b": 2})
    db.update_collection("c", metadata={"a": {"y": 1}, "b": None, "c": 3})
    assert metadata() == {"a": {"y": 1}, "c": 3}
    db.update_collection("c", metadata={})
    db.update_collection("c", optimizer_config=theirs.OptimizersConfigDiff(deleted_threshold=0.5))
    assert metadata() == {"a": {"y": 1}, "c": 3}
    assert db.get_collection("c").config.optimizer_config.deleted_threshold == 0.5
    db.recreate_collection("c", VECTORS, metadata={"new": True})
    assert metadata() == {"new": True}


def test_attributes_that_programs_read(db: VecDB) -> None:
    info = db.get_collection("c")
    params = info.config.params
    assert params.sparse_vectors is None
    assert params.shard_number == params.replication_factor == params.write_consistency_factor == 1
    assert params.sharding_method is info.config.strict_mode_config is None
    theirs.CollectionInfo.model_validate(info, from_attributes=True)


DEEP: dict[str, Any] = {}
for _ in range(31):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda db: db.create_payload_index("c", "a"), "field_schema: expected a Payload"),
        (lambda db: db.create_payload_index("c", "a", "words"), "field_schema: expected one of"),
        (lambda db: db.create_payload_index("c", "a", {}), "field_schema.type: expected one of"),
        (
            lambda db: db.create_payload_index("c", "a", {"type": "bool", "lookup": True}),
            "field_schema: unknown field 'lookup'",
        ),
        (lambda db: db.create_payload_index("c", "", "bool"), "field_name: '' is not a path"),
        (lambda db: db.create_payload_index("c", 3, "bool"), "field_name: expected a string"),
        (lambda db: db.delete_payload_index("c", "a."), "field_name: 'a.' is not a path"),
        (lambda db: db.update_collection("c", metadata=[1]), "metadata: expected a dict"),
        (lambda db: db.update_collection("c", metadata={1: 2}), "metadata: expected string keys"),
        (lambda db: db.create_collection("d", VECTORS, metadata={"a": b""}), "metadata: expected"),
        (lambda db: db.create_collection("d", VECTORS, metadata=DEEP), "nested too deeply"),
        (
            lambda db: db.update_collection("c", metadata={"a": "x" * 200_000}),
            "too much metadata: the configuration",
        ),
        (
            lambda db: db.update_collection("c", {}, optimizer_config={}),
            "optimizer_config: is optimizers_config's older name",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(
    db: VecDB, call: Callable[[VecDB], object], message: str
) -> None:
    before = db.get_collection("c")
    with pytest.raises(InvalidInputError) as caught:
        call(db)
    assert message in str(caught.value)
    assert db.get_collection("c") == before
    assert [c.name for c in db.get_collections().collections] == ["c"]
    db.upsert("c", [{"id": 1, "vector": [1, 2]}])  # it is not closed to writes


def test_a_collection_that_is_not_there(db: VecDB) -> None:
    with pytest.raises(NotFoundError):
        db.create_payload_index("d", "a", "keyword")
