"""Aliases: other names of collections, changed all at once or not at all, and kept."""

from __future__ import annotations

import errno
import inspect
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models as theirs

from vecdb import VecDB, models
from vecdb.engine.archive.restore import restore_collection
from vecdb.engine.repair.check import check_database
from vecdb.engine.repair.rebuild import repair_database
from vecdb.errors import (
    AlreadyExistsError,
    ClosedError,
    CorruptionError,
    FormatVersionError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
    StorageFullError,
    WriteError,
)
from vecdb.storage import fs
from vecdb.storage.alias_file import MAX_ALIASES, pack_aliases, unpack_aliases
from vecdb.storage.format import DamageError

VECTORS = {"size": 2, "distance": "Dot"}


def create(alias: str, collection: str) -> dict[str, Any]:
    return {"create_alias": {"collection_name": collection, "alias_name": alias}}


def delete(alias: str) -> dict[str, Any]:
    return {"delete_alias": {"alias_name": alias}}


def rename(old: str, new: str) -> dict[str, Any]:
    return {"rename_alias": {"old_alias_name": old, "new_alias_name": new}}


def point(number: int) -> models.PointStruct:
    return models.PointStruct(id=number, vector=[1.0, float(number)], payload={"a": 1})


def aliases(db: VecDB) -> dict[str, str]:
    return {each.alias_name: each.collection_name for each in db.get_aliases().aliases}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[VecDB]:
    """Collections ``one`` with the point 1, and ``two`` with the points 1 and 2."""
    with VecDB(tmp_path / "db") as database:
        for number, name in enumerate(("one", "two"), 1):
            database.create_collection(name, VECTORS)
            database.upsert(name, [point(n) for n in range(1, number + 1)])
        yield database


# -- what they are ---------------------------------------------------------------------------


def test_create_switch_rename_delete(db: VecDB) -> None:
    assert aliases(db) == {}
    assert db.update_collection_aliases([create("prod", "one"), create("tést", "one")])
    assert aliases(db) == {"prod": "one", "tést": "one"}
    assert db.count("prod").count == 1
    assert db.update_collection_aliases([create("prod", "two")])
    assert db.count("prod").count == 2
    assert db.update_collection_aliases([rename("tést", "old"), delete("none")])
    assert aliases(db) == {"old": "one", "prod": "two"}
    described = db.get_collection_aliases("one")
    assert described == models.CollectionsAliasesResponse([models.AliasDescription("old", "one")])
    assert db.get_collection_aliases("prod").aliases[0].alias_name == "prod"
    assert db.get_collection_aliases("none").aliases == []
    assert db.update_collection_aliases([delete("prod"), delete("old")])
    assert aliases(db) == {}
    assert db.update_collection_aliases([])


def test_operations_are_done_one_after_the_other(db: VecDB) -> None:
    db.update_collection_aliases(
        [create("a", "one"), rename("a", "b"), create("a", "one"), create("b", "two"), delete("c")]
    )
    assert aliases(db) == {"a": "one", "b": "two"}
    db.update_collection_aliases([rename("a", "b")])
    assert aliases(db) == {"b": "one"}


def test_an_alias_is_of_a_collection(db: VecDB) -> None:
    """Not of another alias, as for a server."""
    db.update_collection_aliases([create("a", "one")])
    with pytest.raises(NotFoundError, match="collection 'a' not found"):
        db.update_collection_aliases([create("b", "a")])
    assert aliases(db) == {"a": "one"}


@pytest.mark.parametrize("source", [models, theirs])
def test_operations_as_objects(db: VecDB, source: Any) -> None:
    m = source
    db.update_collection_aliases(
        change_aliases_operations=[
            m.CreateAliasOperation(
                create_alias=m.CreateAlias(collection_name="one", alias_name="a")
            ),
            m.RenameAliasOperation(
                rename_alias=m.RenameAlias(old_alias_name="a", new_alias_name="b")
            ),
            m.DeleteAliasOperation(delete_alias=m.DeleteAlias(alias_name="c")),
        ],
        timeout=5,
    )
    assert aliases(db) == {"b": "one"}


@pytest.mark.parametrize(
    ("operations", "error", "message"),
    [
        ([create("a", "none")], NotFoundError, "'none' not found"),
        ([create("two", "one")], AlreadyExistsError, "'two'.*already exists"),
        ([rename("none", "b")], NotFoundError, "'none' not found"),
        ([rename("prod", "two")], AlreadyExistsError, "'two'.*already exists"),
        ([create("", "one")], InvalidInputError, "alias_name"),
        ([create("a" * 256, "one")], InvalidInputError, "alias_name"),
        ([create("\ud800", "one")], InvalidInputError, "alias_name"),
        ([{"create_alias": {"alias_name": "a"}}], InvalidInputError, "collection_name"),
        ([{"make_alias": {}}], InvalidInputError, "change_aliases_operations"),
        ("prod", InvalidInputError, "change_aliases_operations"),
        ([create(f"a{n}", "one") for n in range(MAX_ALIASES)], InvalidInputError, "at most"),
    ],
)
def test_all_or_nothing(db: VecDB, operations: Any, error: Any, message: str) -> None:
    db.update_collection_aliases([create("prod", "one")])
    before = (db.path / "ALIASES").read_bytes()
    good = [create("prod", "two"), create("new", "two")]
    with pytest.raises(error, match=message):
        db.update_collection_aliases(
            [*good, *operations] if isinstance(operations, list) else operations
        )
    assert aliases(db) == {"prod": "one"}
    assert (db.path / "ALIASES").read_bytes() == before


# -- every verb ------------------------------------------------------------------------------

TAKES_NO_ALIAS = {"create_collection", "recreate_collection", "delete_collection"}


def test_every_verb_takes_an_alias(db: VecDB) -> None:
    db.update_collection_aliases([create("prod", "two")])
    arguments: dict[str, dict[str, Any]] = {
        "batch_update_points": {"update_operations": [{"delete": {"points": [7]}}]},
        "create_payload_index": {"field_name": "a", "field_schema": "integer"},
        "delete_payload_index": {"field_name": "a"},
        "create_vector_name": {
            "vector_name": "more",
            "vector_name_config": {"dense": {"size": 2, "distance": "Dot"}},
        },
        "delete_vector_name": {"vector_name": "more"},
        "clear_payload": {"points_selector": [1]},
        "collection": {},
        "collection_exists": {},
        "count": {},
        "create_snapshot": {},
        "delete": {"points_selector": [7]},
        "delete_payload": {"keys": ["a"], "points": [1]},
        "delete_vectors": {"vectors": [""], "points": [1]},
        "facet": {"key": "a"},
        "flush": {},
        "get_collection": {},
        "get_collection_aliases": {},
        "list_snapshots": {},
        "memory_report": {},
        "overwrite_payload": {"payload": {"a": 1}, "points": [1]},
        "query_batch_points": {"requests": [{"query": [1.0, 0.0]}]},
        "query_points": {"query": [1.0, 0.0]},
        "query_points_groups": {"group_by": "a", "query": [1.0, 0.0], "with_lookup": "prod"},
        "recommend": {"positive": [[1.0, 0.0]]},
        "recommend_batch": {"requests": [{"positive": [[1.0, 0.0]], "limit": 1}]},
        "recommend_groups": {"group_by": "a", "positive": [[1.0, 0.0]]},
        "discover": {"target": [1.0, 0.0]},
        "discover_batch": {"requests": [{"target": [1.0, 0.0], "limit": 1}]},
        "retrieve": {"ids": [1]},
        "scroll": {},
        "search": {"query_vector": [1.0, 0.0]},
        "search_arrays": {"query_vectors": [[1.0, 0.0]]},
        "search_groups": {"query_vector": [1.0, 0.0], "group_by": "a"},
        "search_matrix_offsets": {},
        "search_matrix_pairs": {},
        "search_batch": {"requests": [{"vector": [1.0, 0.0], "limit": 1}]},
        "set_payload": {"payload": {"a": 1}, "points": [1]},
        "update_collection": {"optimizers_config": {"indexing_threshold": 9}},
        "update_vectors": {"points": [models.PointVectors(id=1, vector=[1.0, 1.0])]},
        "upload_collection": {"vectors": [[1.0, 1.0]], "ids": [1]},
        "upload_points": {"points": [point(1)]},
        "upsert": {"points": [point(1)]},
        "wait_for_optimizer": {},
        "within": {"query": [1.0, 0.0], "score_threshold": 0.0},
    }
    snapshots = {"delete_snapshot", "recover_snapshot", "snapshot_path"}  # below
    verbs = {
        name
        for name, function in inspect.getmembers(VecDB, inspect.isfunction)
        if "collection_name" in inspect.signature(function).parameters
    }
    assert verbs == {*arguments, *snapshots, *TAKES_NO_ALIAS, "refresh"}
    with VecDB(db.path, read_only=True) as reader:
        db.upsert("two", [point(1)])
        assert reader.refresh("prod")
    for verb, given in arguments.items():
        assert getattr(db, verb)("prod", **given) is not False, verb
    assert db.collection("prod") == db.collection("two")
    assert db.get_collection("two").config.optimizer_config.indexing_threshold == 9
    (snapshot,) = db.list_snapshots("two")
    assert snapshot.name.startswith("two-")
    assert db.snapshot_path("prod", snapshot.name) == db.snapshot_path("two", snapshot.name)
    db.delete("two", [1])
    assert db.recover_snapshot("prod", snapshot.name)
    assert db.count("two").count == 2
    assert db.delete_snapshot("prod", snapshot.name)
    assert db.list_snapshots("two") == []


def test_a_collection_stays_with_what_it_was_made_for(db: VecDB) -> None:
    db.update_collection_aliases([create("prod", "one")])
    collection = db.collection("prod")
    db.update_collection_aliases([create("prod", "two")])
    assert collection.name == "one"
    assert len(collection) == 1
    assert len(db.collection("prod")) == 2


def test_making_and_deleting_collections(db: VecDB) -> None:
    db.update_collection_aliases([create("prod", "two"), create("other", "one")])
    for make in (db.create_collection, db.recreate_collection):
        with pytest.raises(AlreadyExistsError, match=r"'prod'.*already exists.*'two'"):
            make("prod", VECTORS)
    assert not db.delete_collection("prod"), "the name of an alias is no collection's"
    assert db.count("prod").count == 2
    assert db.delete_collection("two")
    assert aliases(db) == {"other": "one"}
    assert not db.collection_exists("prod")
    with pytest.raises(NotFoundError, match="'prod' not found"):
        db.count("prod")
    db.create_collection("two", VECTORS)
    assert aliases(db) == {"other": "one"}
    assert db.recreate_collection("one", VECTORS)
    assert aliases(db) == {}
    assert db.create_collection("prod", VECTORS)


def test_a_snapshot_does_not_take_the_name_of_an_alias(db: VecDB) -> None:
    db.create_snapshot("one")
    (snapshot,) = db.list_snapshots("one")
    location = db.path / "snapshots" / "one" / snapshot.name
    db.update_collection_aliases([create("prod", "two")])
    assert db.recover_snapshot("prod", location)
    assert db.count("two").count == 1, "it is recovered to the collection that is meant"
    assert aliases(db) == {"prod": "two"}


# -- they are kept ---------------------------------------------------------------------------


def test_they_are_kept(db: VecDB, tmp_path: Path) -> None:
    db.update_collection_aliases([create("prod", "two"), create("ä/b c", "one")])
    wanted = aliases(db)
    db.close()
    with VecDB(tmp_path / "db") as again:
        assert aliases(again) == wanted
    shutil.copytree(tmp_path / "db", tmp_path / "copy")
    shutil.move(tmp_path / "db", tmp_path / "moved")
    for place in ("copy", "moved"):
        with VecDB(tmp_path / place) as again:
            assert aliases(again) == wanted
            assert again.count("prod").count == 2
        assert check_database(tmp_path / place).ok


def test_a_reader_sees_them_when_it_looks(db: VecDB) -> None:
    with VecDB(db.path, read_only=True) as reader:
        assert aliases(reader) == {}
        db.update_collection_aliases([create("prod", "one")])
        with pytest.raises(NotFoundError):
            reader.count("prod")
        assert reader.refresh()
        assert reader.count("prod").count == 1
        assert not reader.refresh()
        db.update_collection_aliases([create("prod", "two")])
        db.delete_collection("one")
        assert reader.refresh()
        assert reader.count("prod").count == 2
        with pytest.raises(ReadOnlyError):
            reader.update_collection_aliases([delete("prod")])


def test_in_memory_and_after_close() -> None:
    with VecDB() as db:
        db.create_collection("one", VECTORS)
        db.update_collection_aliases([create("prod", "one")])
        assert db.count("prod").count == 0
    for verb in (db.get_aliases, lambda: db.get_collection_aliases("one")):
        with pytest.raises(ClosedError):
            verb()
    with pytest.raises(ClosedError):
        db.update_collection_aliases([delete("prod")])


def test_what_a_crash_leaves(db: VecDB) -> None:
    """The collection is gone, its aliases not yet: they do not count, and never come back."""
    db.update_collection_aliases([create("prod", "two"), create("other", "one")])
    before = (db.path / "ALIASES").read_bytes()
    db.delete_collection("two")
    db.close()
    (db.path / "ALIASES").write_bytes(before)
    (db.path / ".new-0123456789abcdef").write_bytes(before[:50])
    assert check_database(db.path).ok
    with VecDB(db.path) as again:
        assert not (db.path / ".new-0123456789abcdef").exists()
        assert aliases(again) == {"other": "one"}
        assert not again.collection_exists("prod")
        again.create_collection("two", VECTORS)
        assert aliases(again) == {"other": "one"}
    (db.path / "ALIASES").write_bytes(before)
    with VecDB(db.path) as again:
        again.delete_collection("two")
    (db.path / "ALIASES").write_bytes(before)
    with VecDB(db.path) as again:
        again.create_collection("prod", VECTORS)
        again.create_collection("two", VECTORS)
        assert aliases(again) == {"other": "one"}


# -- damage and failures -----------------------------------------------------------------------


def damages(data: bytes) -> Iterator[bytes]:
    yield b""
    yield data[:-1]
    yield data + b"\n"
    yield b"\0" * len(data)
    for position in range(0, len(data), 7):
        yield data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def test_damage_is_noticed() -> None:
    data = pack_aliases({"a": "one", "ä": "two"})
    assert unpack_aliases(data) == {"a": "one", "ä": "two"}
    assert unpack_aliases(pack_aliases({})) == {}
    for damaged in damages(data):
        with pytest.raises((DamageError, FormatVersionError)):
            unpack_aliases(damaged)
    for position in range(len(data)):
        with pytest.raises((DamageError, FormatVersionError)):
            unpack_aliases(data[:position])


def test_a_damaged_file_keeps_no_collection_from_opening(
    db: VecDB, caplog: pytest.LogCaptureFixture
) -> None:
    db.update_collection_aliases([create("prod", "two")])
    db.close()
    file = db.path / "ALIASES"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5] + b"0000\n")
    report = check_database(db.path)
    assert [problem.path for problem in report.problems] == [str(file)]
    for options in ({}, {"read_only": True}):
        caplog.clear()
        with VecDB(db.path, **options) as again:
            assert "aliases cannot be read" in caplog.text
            assert again.count("one").count == 1
            assert again.collection_exists("two")
            for verb in (
                lambda: again.get_aliases(),
                lambda: again.count("prod"),
                lambda: again.collection_exists("prod"),
            ):
                with pytest.raises(CorruptionError, match="ALIASES: checksum"):
                    verb()
    with VecDB(db.path) as again:
        again.upsert("one", [point(5)])
        assert again.delete_collection("one")
        for change in (
            lambda: again.update_collection_aliases([create("a", "two")]),
            lambda: again.create_collection("prod", VECTORS),
        ):
            with pytest.raises(CorruptionError, match="without this file there are no aliases"):
                change()
        assert not again.check().ok
    file.unlink()
    with VecDB(db.path) as again:
        assert aliases(again) == {}
        assert again.create_collection("prod", VECTORS)


def test_repair_keeps_them(db: VecDB, tmp_path: Path) -> None:
    db.update_collection_aliases([create("prod", "two"), create("lost", "one")])
    db.close()
    shutil.rmtree(db.path / "collections" / "one" / "catalog")
    shutil.rmtree(db.path / "collections" / "one" / "segments")
    report = repair_database(db.path, tmp_path / "saved")
    assert [c.name for c in report.collections if c.error is None] == ["two"]
    assert check_database(tmp_path / "saved").ok
    with VecDB(tmp_path / "saved") as saved:
        assert aliases(saved) == {"prod": "two"}
    (db.path / "ALIASES").write_bytes(b"nonsense")
    shutil.rmtree(db.path / "collections" / "one")
    report = repair_database(db.path, tmp_path / "again")
    assert not report.complete, "the aliases are lost"
    assert [problem.path for problem in report.damaged] == [str(db.path / "ALIASES")]
    with VecDB(tmp_path / "again") as saved:
        assert aliases(saved) == {}
        assert saved.count("two").count == 2


def test_restoring_a_collection_by_its_alias(db: VecDB, tmp_path: Path) -> None:
    db.create_snapshot("one")
    (snapshot,) = db.list_snapshots("one")
    archive = db.path / "snapshots" / "one" / snapshot.name
    db.update_collection_aliases([create("prod", "two")])
    dangling = (db.path / "ALIASES").read_bytes()
    db.close()
    with pytest.raises(AlreadyExistsError, match="'two' exists"):
        restore_collection(archive, db.path, "prod")
    assert restore_collection(archive, db.path, "prod", replace=True) == 1
    with VecDB(db.path) as again:
        assert again.count("two").count == 1
        assert again.delete_collection("two")
    (db.path / "ALIASES").write_bytes(dangling)  # a crash in the deletion leaves it
    restore_collection(archive, db.path, "two")
    with VecDB(db.path) as again:
        assert aliases(again) == {}


def test_a_newer_format_is_refused(db: VecDB) -> None:
    db.close()
    (db.path / "ALIASES").write_bytes(b"vecdb aliases format=2\nanything\n")
    with VecDB(db.path) as again:
        assert again.count("two").count == 2
        with pytest.raises(FormatVersionError, match="ALIASES"):
            again.get_aliases()


def failing(function: Any, number: int, when: Any) -> Any:
    def fails(path: Path, *arguments: Any) -> Any:
        if when(path, *arguments):
            raise OSError(number, "planted")
        return function(path, *arguments)

    return fails


def test_a_full_disk_changes_nothing(db: VecDB, monkeypatch: pytest.MonkeyPatch) -> None:
    db.update_collection_aliases([create("prod", "one")])
    with monkeypatch.context() as patch:
        patch.setattr(fs, "write_file", failing(fs.write_file, errno.ENOSPC, lambda *_: True))
        with pytest.raises(StorageFullError):
            db.update_collection_aliases([create("prod", "two")])
        assert db.delete_collection("two")
    assert aliases(db) == {"prod": "one"}
    assert db.update_collection_aliases([delete("prod")])
    assert not [path.name for path in db.path.iterdir() if path.name.startswith(".new-")]


@pytest.mark.parametrize("call", ["rename", "sync_dir"])
def test_an_uncertain_write_closes_them_to_changes(
    db: VecDB, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    db.update_collection_aliases([create("prod", "one")])
    with monkeypatch.context() as patch:
        broken = failing(
            getattr(fs, call), errno.EIO, lambda path, *_: db.path in (path, path.parent)
        )
        patch.setattr(fs, call, broken)
        with pytest.raises(WriteError, match="ALIASES"):
            db.update_collection_aliases([create("prod", "two")])
    with pytest.raises(ReadOnlyError, match="open it again"):
        db.update_collection_aliases([create("prod", "two")])
    assert db.count("prod").count == 1
    db.upsert("one", [point(9)])
    assert db.delete_collection("one"), "the aliases of a collection do not keep it"
    assert aliases(db) == {}
    with pytest.raises(ReadOnlyError, match="open it again"):
        db.create_collection("one", VECTORS)  # the alias in the file would be one of it
    db.close()
    with VecDB(db.path) as again:
        assert aliases(again) == ({} if call == "rename" else {"prod": "two"})
        assert again.create_collection("one", VECTORS)
        assert again.update_collection_aliases([create("prod", "one")])
