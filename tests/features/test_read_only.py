"""``read_only=True``: looking at a database that a writer has open."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofs.model.oracle import Oracle
from vecdb import VecDB
from vecdb.engine.open import follower, places, recovery
from vecdb.engine.store import Store
from vecdb.errors import (
    ClosedError,
    CorruptionError,
    InvalidInputError,
    NotADatabaseError,
    NotFoundError,
    ReadOnlyError,
    RefreshError,
)
from vecdb.storage import catalog

DIM = 8
VECTORS: Any = {"size": DIM, "distance": "Dot"}


def digest(path: Path) -> dict[str, tuple[bytes, int]]:
    """Every file, its content and when it was written."""
    return {
        str(p): (hashlib.blake2b(p.read_bytes()).digest(), p.stat().st_mtime_ns)
        for p in path.rglob("*")
        if p.is_file()
    }


def put(db: VecDB, first: int, count: int = 10, name: str = "c") -> None:
    ids = list(range(first, first + count))
    block = np.arange(count * DIM, dtype=np.float32).reshape(count, DIM) + first
    db.upsert(name, {"ids": ids, "vectors": block, "payloads": [{"first": first}] * count})


def ids_of(db: VecDB, name: str = "c") -> list[Any]:
    return [r.id for r in db.scroll(name, limit=10**6)[0]]


@pytest.fixture
def writer(open_db: Callable[..., VecDB]) -> VecDB:
    db = open_db()
    db.create_collection("c", VECTORS, optimizers_config={"max_optimization_threads": 0})
    put(db, 0)
    return db


def test_the_last_operation_is_told_by_who_writes_and_who_reads(
    writer: VecDB, open_db: Callable[..., VecDB]
) -> None:
    writer.create_collection("d", VECTORS)
    assert writer.get_collection("d").last_operation_id == 0
    reader = open_db(read_only=True)
    for step in range(4):
        done = writer.set_payload("c", {"a": step}, [step])
        if step % 2:
            writer.flush("c")
        assert writer.get_collection("c").last_operation_id == done.operation_id
        reader.refresh()
        assert reader.get_collection("c").last_operation_id == done.operation_id
    writer.close()
    assert open_db().get_collection("c").last_operation_id == done.operation_id


def test_a_reader_sees_what_was_acknowledged_and_moves_when_told(
    writer: VecDB, open_db: Callable[..., VecDB]
) -> None:
    reader = open_db(read_only=True)
    handle = reader.collection("c")
    assert ids_of(reader) == list(range(10))
    assert reader.refresh() is False
    put(writer, 10)
    writer.delete("c", [3])
    assert ids_of(reader) == list(range(10))  # not before it is told
    assert reader.refresh() is True
    assert ids_of(reader) == [i for i in range(20) if i != 3]
    writer.flush()
    put(writer, 20)
    writer.set_payload("c", {"x": 1}, [20])
    assert reader.refresh() is True
    assert len(handle) == 29
    assert handle.retrieve([20])[0].payload == {"first": 20, "x": 1}
    put(writer, 100, 50)
    writer.update_collection(
        "c",
        optimizers_config={"indexing_threshold": 1, "memmap_threshold": 1},
        quantization_config={"scalar": {"type": "int8"}},
    )
    writer.flush()
    assert writer.wait_for_optimizer()
    assert reader.refresh() is True
    query = [1.0] * DIM
    assert reader.search("c", query, limit=99) == writer.search("c", query, limit=99)
    found = [s.vectors[""].quantization for s in reader.get_collection("c").segments]
    assert "scalar" in found
    assert reader.get_collection("c").config == writer.get_collection("c").config


def test_memory_is_given_back_when_a_checkpoint_takes_rows_out_of_it(
    writer: VecDB, open_db: Callable[..., VecDB], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The optimizer gives it back in the writer; a reader has none, and kept 20 of 33 MB."""
    reader = open_db(read_only=True)
    given_back: list[int] = []

    def note() -> None:
        given_back.append(sum(m.rows for m in reader.collection("c")._store.memories()))

    monkeypatch.setattr(follower, "give_back_freed_memory", note)
    monkeypatch.setattr(follower, "_WORTH_GIVING_BACK", 1 << 20)
    put(writer, 0, 20)
    writer.flush()
    assert reader.refresh() is True
    assert given_back == []  # a few kilobytes are not worth milliseconds
    put(writer, 0, 10_000)
    assert reader.refresh() is True
    assert given_back == []
    writer.flush()
    assert reader.refresh() is True
    assert given_back == [0]  # once, when the rows are gone


def test_collections_come_and_go(writer: VecDB, open_db: Callable[..., VecDB]) -> None:
    reader = open_db(read_only=True)
    old = reader.collection("c")
    writer.create_collection("new", VECTORS)
    assert not reader.collection_exists("new")
    assert reader.refresh() is True
    assert len(reader.collection("new")) == 0
    writer.recreate_collection("c", {"size": 2, "distance": "Dot"})
    writer.upsert("c", [{"id": 1, "vector": [1, 2]}])
    assert len(old) == 10  # its files are gone, what was mapped is not
    assert reader.refresh() is True
    assert ids_of(reader) == [1]
    with pytest.raises(ClosedError, match=r"^collection 'c' was replaced$"):
        len(old)
    old = reader.collection("new")
    writer.delete_collection("new")
    assert reader.refresh() is True
    with pytest.raises(ClosedError, match=r"^collection 'new' was deleted$"):
        len(old)
    with pytest.raises(NotFoundError):
        reader.collection("new")


def test_one_collection_moves_by_itself(writer: VecDB, open_db: Callable[..., VecDB]) -> None:
    writer.create_collection("other", VECTORS)
    alias = {"create_alias": {"collection_name": "c", "alias_name": "a"}}
    writer.update_collection_aliases([alias])
    reader = open_db(read_only=True)
    put(writer, 10)
    put(writer, 0, 5, name="other")
    assert reader.refresh("other") is True
    assert reader.refresh("other") is False
    assert (reader.count("other").count, reader.count("c").count) == (5, 10)
    assert reader.refresh("a") is True
    assert reader.count("c").count == 20
    writer.flush()
    assert reader.refresh("c") is True  # the catalog has moved
    writer.create_collection("new", VECTORS)
    assert reader.refresh("c") is False
    assert not reader.collection_exists("new")
    assert reader.refresh("new") is True  # not known: all of them move
    old = reader.collection("other")
    writer.recreate_collection("other", {"size": 2, "distance": "Dot"})
    writer.upsert("other", [{"id": 1, "vector": [1, 2]}])
    assert reader.refresh("other") is True
    assert reader.count("other").count == 1
    with pytest.raises(ClosedError, match="was replaced"):
        len(old)
    writer.delete_collection("other")
    assert reader.refresh("other") is True
    assert not reader.collection_exists("other")
    for wrong in (7, "", "x" * 300):
        with pytest.raises(InvalidInputError):
            reader.refresh(wrong)  # type: ignore[arg-type]


def test_nothing_is_written(writer: VecDB, open_db: Callable[..., VecDB], db_path: Path) -> None:
    put(writer, 10)
    before = digest(db_path)
    reader = open_db(read_only=True)
    reader.search("c", [1.0] * DIM)
    reader.refresh()
    reader.close()
    assert digest(db_path) == before
    writer.close()
    before = digest(db_path)
    with VecDB(db_path, read_only=True) as reader:  # nobody has it open
        assert len(reader.collection("c")) == 20
    assert digest(db_path) == before


def test_every_write_is_refused(writer: VecDB, open_db: Callable[..., VecDB]) -> None:
    reader = open_db(read_only=True)
    before = ids_of(reader)
    for write in (
        lambda: put(reader, 50),
        lambda: reader.delete("c", [1]),
        lambda: reader.delete("c", {"must": []}),
        lambda: reader.set_payload("c", {"a": 1}, [1]),
        lambda: reader.update_vectors("c", [{"id": 1, "vector": [0.0] * DIM}]),
        lambda: reader.create_collection("x", VECTORS),
        lambda: reader.recreate_collection("c", VECTORS),
        lambda: reader.delete_collection("c"),
        lambda: reader.update_collection("c", optimizers_config={"indexing_threshold": 5}),
        lambda: reader.flush(),
        lambda: reader.check(),
    ):
        with pytest.raises(ReadOnlyError):
            write()
    assert reader.wait_for_optimizer()
    assert ids_of(reader) == before


def test_what_is_not_a_database_is_refused_and_not_made_one(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(NotADatabaseError):
            VecDB(path, read_only=True)
    with pytest.raises(InvalidInputError):
        VecDB(":memory:", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_directory_is_enough(db_path: Path) -> None:
    with VecDB(db_path) as db:
        db.create_collection("c", VECTORS)
        put(db, 0)
    paths = [db_path, *db_path.rglob("*")]
    for path in paths:
        os.chmod(path, 0o500 if path.is_dir() else 0o400)
    try:
        with VecDB(db_path, read_only=True) as reader:
            assert len(reader.collection("c")) == 10
    finally:
        for path in paths:
            os.chmod(path, 0o700 if path.is_dir() else 0o600)


def test_a_reader_of_a_killed_writers_log_sees_all_of_it(
    writer: VecDB, tmp_path: Path, db_path: Path
) -> None:
    """Nobody has recovered it, and the reader must not."""
    import shutil

    put(writer, 10)
    shutil.copytree(db_path, tmp_path / "copy")
    [wal] = (tmp_path / "copy").glob("collections/c/wal/*.wal")
    whole = wal.read_bytes()
    before = digest(tmp_path / "copy")
    with VecDB(tmp_path / "copy", read_only=True) as reader:
        assert ids_of(reader) == list(range(20))
        assert reader.collection("c").recovery.replayed == 2
    assert digest(tmp_path / "copy") == before
    wal.write_bytes(whole[:-5])
    with VecDB(tmp_path / "copy", read_only=True) as reader:
        assert ids_of(reader) == list(range(10))
        wal.write_bytes(whole)  # as if it had been being written just then
        assert reader.refresh()
        assert ids_of(reader) == list(range(20))


def test_damage_is_told_from_a_writer_at_work(db_path: Path) -> None:
    with VecDB(db_path) as db:
        db.create_collection("c", VECTORS)
        put(db, 0)
    with VecDB(db_path, read_only=True) as reader:
        [vectors] = db_path.glob("collections/c/segments/*/vectors")
        vectors.rename(vectors.with_name("away"))
        assert reader.refresh() is False  # what is mapped stays good
        assert len(reader.collection("c")) == 10
    with VecDB(db_path, read_only=True) as reader:
        assert list(reader.damaged) == ["c"]
        with pytest.raises(CorruptionError, match="vectors: the file is missing"):
            reader.collection("c")
        vectors.with_name("away").rename(vectors)
        assert reader.refresh() is True
        assert reader.damaged == {}
        assert len(reader.collection("c")) == 10


def test_a_reader_follows_a_long_history(
    open_db: Callable[..., VecDB], rng: np.random.Generator
) -> None:
    """After every step it agrees with the model, whatever the writer did."""
    db = open_db()
    db.create_collection(
        "c",
        VECTORS,
        quantization_config={"scalar": {"type": "int8"}},
        optimizers_config={"indexing_threshold": 1, "vacuum_min_vector_number": 5},
    )
    model = Oracle({"": (DIM, "Dot")})
    reader = open_db(read_only=True)
    for step in range(150):
        ids = rng.choice(100, size=int(rng.integers(1, 12)), replace=False).tolist()
        kind = rng.choice(["put", "put", "delete", "set", "flush", "optimize"])
        if kind == "put":
            block = rng.standard_normal((len(ids), DIM)).astype(np.float32)
            db.upsert("c", {"ids": ids, "vectors": block, "payloads": [{"n": step}] * len(ids)})
            model.upsert((i, {"n": step}, {"": v}) for i, v in zip(ids, block, strict=True))
        elif kind == "delete":
            db.delete("c", ids)
            model.delete(ids)
        elif kind == "set":
            known = [i for i in ids if i in model.points]
            if known:
                db.set_payload("c", {"set": step}, known)
                model.set_payload(known, {"set": step})
        elif kind == "flush":
            db.flush()
        else:
            db.wait_for_optimizer()
        reader.refresh()
        problem = model.difference(reader.collection("c"))
        assert problem is None, f"step {step}, {kind}: {problem}"


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_refresh_that_was_interrupted_is_made_up_for(
    kept: int, writer: VecDB, open_db: Callable[..., VecDB], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one went on behind the operation at which Ctrl-C came, and never showed it; what
    had been applied before an error was not shown either."""
    reader = open_db(read_only=True)
    for first in (100, 200, 300):
        put(writer, first)
    apply, calls = recovery.apply, []

    def interrupted(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) > kept:
            raise KeyboardInterrupt
        apply(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(recovery, "apply", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reader.refresh()
    assert ids_of(reader) == list(range(10))
    assert reader.refresh()
    assert ids_of(reader) == ids_of(writer)
    put(writer, 400)
    assert reader.refresh()
    assert ids_of(reader) == ids_of(writer)


def test_a_complete_read_that_was_not_taken_over_is_repeated(
    writer: VecDB, open_db: Callable[..., VecDB], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = open_db(read_only=True)
    put(writer, 100)
    writer.flush()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "adopt", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reader.refresh()
    assert reader.refresh()
    assert ids_of(reader) == ids_of(writer)


def test_damage_that_is_gone_is_not_remembered(
    writer: VecDB, open_db: Callable[..., VecDB], db_path: Path
) -> None:
    reader = open_db(read_only=True)
    put(writer, 100)
    writer.flush()
    [vectors] = db_path.glob("collections/c/segments/*/vectors")
    vectors.rename(vectors.with_name("away"))
    reader.refresh()
    assert list(reader.damaged) == ["c"]
    assert [c.name for c in reader.get_collections().collections] == ["c"]  # not twice
    vectors.with_name("away").rename(vectors)
    assert reader.refresh()
    assert reader.damaged == {}
    assert ids_of(reader) == ids_of(writer)


def test_a_copy_of_a_collection_under_another_name_is_not_served_as_the_first(
    writer: VecDB, open_db: Callable[..., VecDB], db_path: Path
) -> None:
    writer.flush()
    shutil.copytree(db_path / "collections" / "c", db_path / "collections" / "d")
    put(writer, 100)
    reader = open_db(read_only=True)
    assert ids_of(reader) == ids_of(writer)
    assert list(reader.damaged) == ["d"]
    shutil.rmtree(db_path / "collections" / "d")  # before all of it is checked


def test_a_collection_dropped_while_it_is_read_is_gone(
    writer: VecDB, open_db: Callable[..., VecDB], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that went between two looks at it was an error of the reader's."""
    put(writer, 100)
    writer.flush()
    reader = open_db(read_only=True)
    put(writer, 200)
    writer.flush()
    require_length = catalog.require_length

    def dropped_after(path: Path) -> None:
        require_length(path)
        if writer.collection_exists("c"):
            writer.delete_collection("c")

    monkeypatch.setattr(catalog, "require_length", dropped_after)
    reader.refresh()
    assert reader.damaged == {}
    assert reader.refresh()
    assert not reader.collection_exists("c")


def test_a_segment_that_is_being_removed_is_not_damaged(
    writer: VecDB,
    open_db: Callable[..., VecDB],
    db_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A reader that came when some of its files were gone said that they were missing, and did
    without codes and order until the next refresh; then it read again, but had logged it."""
    writer.flush()
    put(writer, 100)
    writer.flush()
    [order, *_] = sorted(db_path.glob("collections/c/segments/*/order"))
    load, calls = follower.load, []

    def overtaken(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            return load(*arguments, **options)
        order.unlink()
        loaded = load(*arguments, **options)
        writer.delete("c", list(range(10)))
        writer.flush()  # nothing in it lives: it goes
        return loaded

    monkeypatch.setattr(follower, "load", overtaken)
    reader = open_db(read_only=True)
    assert len(calls) == 2
    assert reader.get_collection("c").damaged_files == []
    assert caplog.text == ""
    assert ids_of(reader) == ids_of(writer)


def test_a_collection_that_cannot_be_read_keeps_no_other_from_moving(
    writer: VecDB, open_db: Callable[..., VecDB], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refresh ended at the first one, and those after it stayed as they were."""
    writer.create_collection("d", VECTORS)
    reader = open_db(read_only=True)
    put(writer, 10)
    put(writer, 0, name="d")
    writer.create_collection("e", VECTORS)
    plain = follower.Follower.refresh

    def refresh(self: follower.Follower) -> bool:
        if self.name == "c":
            raise PermissionError(13, "Permission denied")
        return plain(self)

    monkeypatch.setattr(follower.Follower, "refresh", refresh)
    with pytest.raises(RefreshError, match=r"collection 'c': .*Permission denied") as caught:
        reader.refresh()
    assert list(caught.value.failed) == ["c"]
    assert (len(ids_of(reader)), len(ids_of(reader, "d"))) == (10, 10)
    assert reader.collection_exists("e")
    assert not reader.damaged
    assert reader.refresh("d") is False
    with pytest.raises(RefreshError, match=r"collection 'c': .*Permission denied") as caught:
        reader.refresh("c")
    assert isinstance(caught.value.failed["c"], PermissionError)
    monkeypatch.undo()
    assert reader.refresh() is True
    assert len(ids_of(reader)) == 20


def test_an_alias_is_moved_though_another_collection_cannot_be_read(
    writer: VecDB, open_db: Callable[..., VecDB], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alias that was switched during the refresh led to the collection that was dropped: the
    error of another one came before the second look at aliases."""

    def switch(name: str) -> None:
        switched = {"create_alias": {"collection_name": name, "alias_name": "now"}}
        writer.update_collection_aliases([switched])

    for name in "de":
        writer.create_collection(name, VECTORS)
    switch("d")
    put(writer, 0, name="e")
    reader = open_db(read_only=True)
    plain, list_them = follower.Follower.refresh, places.collection_dirs

    def refresh(self: follower.Follower) -> bool:
        if self.name == "c":
            raise PermissionError(13, "Permission denied")
        return plain(self)

    def collection_dirs(parent: Path) -> Any:
        if writer.collection_exists("d"):
            switch("e")
            writer.delete_collection("d")
        return list_them(parent)

    monkeypatch.setattr(follower.Follower, "refresh", refresh)
    monkeypatch.setattr(places, "collection_dirs", collection_dirs)
    with pytest.raises(RefreshError, match="collection 'c'"):
        reader.refresh()
    assert not reader.collection_exists("d")
    assert len(ids_of(reader, "now")) == 10
