"""Snapshots that come and go as bytes: the file of one, and a collection made of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from snapshot_tools import OpenDb, content, filled, full_snapshot

from vecdb import AsyncVecDB, VecDB, models
from vecdb.errors import CorruptionError, InvalidInputError, NotFoundError, ReadOnlyError


@pytest.fixture
def db(open_db: OpenDb) -> VecDB:
    return filled(open_db())


def pieces(data: bytes, size: int = 999) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def files(db: VecDB) -> list[str]:
    """What is in the directory of snapshots itself, hidden or not."""
    return sorted(each.name for each in (db.path / "snapshots").iterdir() if each.is_file())


def test_a_snapshot_goes_out_and_comes_back(db: VecDB) -> None:
    made, before = db.create_snapshot("c"), content(db)
    path = db.snapshot_path("c", made.name)
    assert path.stat().st_size == made.size
    data = path.read_bytes()
    db.delete("c", models.Filter())
    assert db.recover_snapshot("c", pieces(data), checksum=made.checksum)
    assert content(db) == before
    assert db.recover_snapshot("other", iter([data]))
    assert content(db, "other") == before
    assert files(db) == []


def test_the_file_of_a_whole_database(db: VecDB) -> None:
    path = full_snapshot(db)
    assert db.snapshot_path(None, path.name) == path
    before = content(db)
    db.delete_collection("c")
    assert db.recover_snapshot("c", pieces(path.read_bytes()))
    assert content(db) == before


def test_into_a_database_in_memory(db: VecDB) -> None:
    data = db.snapshot_path("c", db.create_snapshot("c").name).read_bytes()
    with VecDB() as memory:
        assert memory.recover_snapshot("c", pieces(data))
        assert content(memory) == content(db)


@pytest.mark.parametrize("damage", ["cut", "changed", "nothing", "checksum", "failing"])
def test_what_is_not_whole_changes_nothing(db: VecDB, damage: str) -> None:
    made, before = db.create_snapshot("c"), content(db)
    data = bytearray(db.snapshot_path("c", made.name).read_bytes())
    checksum = None
    expected: type[Exception] = CorruptionError
    if damage == "cut":
        del data[-700:]
    elif damage == "changed":
        data[len(data) // 2] ^= 1
    elif damage == "nothing":
        data.clear()
    elif damage == "checksum":
        checksum = "0" * 64

    def sent() -> Iterator[bytes]:
        yield from pieces(bytes(data))
        if damage == "failing":
            raise ConnectionError("it was cut off")

    if damage == "failing":
        expected = ConnectionError
    with pytest.raises(expected):
        db.recover_snapshot("c", sent(), checksum=checksum)
    assert content(db) == before
    assert files(db) == []


@pytest.mark.parametrize("name", ["none.snapshot", "c-000009-2024-01-01-00-00-00.snapshot"])
def test_a_snapshot_that_is_not_there(db: VecDB, name: str) -> None:
    for collection in ("c", "other", None):
        with pytest.raises(NotFoundError):
            db.snapshot_path(collection, name)


@pytest.mark.parametrize("name", ["../FORMAT", "FORMAT", "", ".", "a/b.snapshot", 7])
def test_a_name_is_never_a_path(db: VecDB, name: Any) -> None:
    for collection in ("c", None):
        with pytest.raises(InvalidInputError):
            db.snapshot_path(collection, name)


def test_a_reader_gives_and_does_not_take(db: VecDB, open_db: OpenDb) -> None:
    made = db.create_snapshot("c")
    reader = open_db(read_only=True)
    path = reader.snapshot_path("c", made.name)
    assert path == db.snapshot_path("c", made.name)
    with pytest.raises(ReadOnlyError):
        reader.recover_snapshot("c", pieces(path.read_bytes()))


def test_coroutines_do_the_same(db: VecDB, tmp_path: Path) -> None:
    data = db.snapshot_path("c", db.create_snapshot("c").name).read_bytes()

    async def work() -> list[str]:
        async with AsyncVecDB(tmp_path / "async") as database:
            await database.recover_snapshot("c", pieces(data))
            made = await database.create_snapshot("c")
            path = await database.snapshot_path("c", made.name)
            assert path.stat().st_size == made.size
            return content(database.database)

    assert asyncio.run(work()) == content(db)
