"""Snapshots: one exact state of a collection in a file, and a collection made of one again.

Taken while everything goes on, and by the commands: ``test_snapshot_commands.py``. When a step
fails: ``test_snapshot_failures.py``. Archives that are damaged or malicious: ``test_archives.py``.
What a killed process leaves: ``tests/crash``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from snapshot_tools import (
    QUIET,
    VECTORS,
    OpenDb,
    content,
    files_of,
    hidden,
    put,
    snapshot_path,
)
from snapshot_tools import db as db  # fixtures

import vecdb
from proofs.model.oracle import Oracle
from vecdb import VecDB, models
from vecdb.cli.snapshot import write_archive
from vecdb.engine.archive import capture, restore
from vecdb.engine.open import follower, places
from vecdb.engine.repair.check import check_database
from vecdb.errors import (
    ClosedError,
    CorruptionError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
)
from vecdb.storage import fs

# -- what is in one ----------------------------------------------------------------------------

QUANTIZATIONS: dict[str, Any] = {
    "none": None,
    "scalar": {"scalar": {"type": "int8", "quantile": 0.99}},
    "binary": {"binary": {}},
    "product": {"product": {"compression": "x8"}},
}


@pytest.mark.parametrize("on_disk", [False, True], ids=["ram", "disk"])
@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_everything_comes_back(
    kind: str, on_disk: bool, open_db: OpenDb, rng: np.random.Generator
) -> None:
    """Named vectors that some points lack, numbers and UUIDs, codes, dead rows, and a log."""
    sizes = {"a": (16, "Cosine"), "Ünnamed/..": (9, "Manhattan")}
    oracle = Oracle(sizes)
    db = open_db()
    db.create_collection(
        "Old Näme",
        {n: {"size": d, "distance": s, "on_disk": on_disk} for n, (d, s) in sizes.items()},
        quantization_config=QUANTIZATIONS[kind],
        optimizers_config={**QUIET, "indexing_threshold": 1, "vacuum_min_vector_number": 10**6},
    )
    ids = [i if i % 3 else str(uuid.UUID(int=i)) for i in range(400)]

    def write(chosen: list[Any], tag: str) -> None:
        rows = []
        for point in chosen:
            names = ["a"] if rng.random() < 0.3 else list(sizes)
            vectors = {n: rng.standard_normal(sizes[n][0]).astype(np.float32) for n in names}
            rows.append((point, {"tag": tag, "deep": {"x": [1, 2.5, None, "ü"]}}, vectors))
        db.upsert("Old Näme", [{"id": i, "payload": p, "vector": v} for i, p, v in rows])
        oracle.upsert(rows)

    write(ids[:300], "first")
    db.flush()
    write(ids[200:], "second")
    db.flush()
    db.wait_for_optimizer()
    segments = db.get_collection("Old Näme").segments
    assert any(s.vectors["a"].quantization for s in segments) == (kind != "none")
    db.delete("Old Näme", ids[50:60])
    oracle.delete(ids[50:60])
    db.flush()
    db.set_payload("Old Näme", {"tag": "third"}, ids[10:20])
    oracle.set_payload(ids[10:20], {"tag": "third"})
    db.delete_vectors("Old Näme", ["a"], ids[20:25])
    oracle.delete_vectors(ids[20:25], ["a"])
    queries = {n: rng.standard_normal(d).astype(np.float32) for n, (d, _) in sizes.items()}

    def hits(name: str) -> list[Any]:
        found = [db.search(name, (n, q), limit=20) for n, q in queries.items()]
        return [[(hit.id, hit.score) for hit in result] for result in found]

    before, then = hits("Old Näme"), oracle.copy()
    found = db.create_snapshot("Old Näme")
    assert db.recover_snapshot("new", snapshot_path(db, found), found.checksum)
    write(ids, "later")
    assert db.recover_snapshot("Old Näme", found.name)
    for name in ("new", "Old Näme"):
        assert then.difference(db.collection(name)) is None
        assert hits(name) == before
    assert db.get_collection("new").config == db.get_collection("Old Näme").config
    assert not hidden(db.path)


@pytest.mark.parametrize("where", ["log", "files", "nothing", "all dead"])
def test_wherever_the_points_are(where: str, open_db: OpenDb) -> None:
    db = open_db()
    db.create_collection("c", VECTORS, optimizers_config=QUIET)
    if where != "nothing":
        put(db, 0, 25)
    if where == "files":
        db.flush()
    if where == "all dead":
        db.flush()
        db.delete("c", models.Filter())
    want = content(db)
    assert len(want) == (25 if where in ("log", "files") else 0)
    found = db.create_snapshot("c")
    put(db, 100)
    assert db.recover_snapshot("c", found.name)
    assert content(db) == want
    put(db, 7, 3)  # and goes on: seqs, segment ids and the log continue
    db.flush()
    want = content(db)
    db.close()
    assert content(open_db()) == want


def test_a_snapshot_is_of_the_moment_it_was_taken(db: VecDB) -> None:
    want = content(db)
    found = db.create_snapshot("c")
    db.delete("c", models.Filter())
    db.flush()
    db.update_collection("c", quantization_config={"binary": {}})
    assert db.recover_snapshot("c", found.name)
    assert content(db) == want
    assert db.get_collection("c").config.quantization_config is None


def test_restored_into_another_database(db: VecDB, open_db: OpenDb, tmp_path: Path) -> None:
    """Where a collection of that name has other vectors."""
    found = db.create_snapshot("c")
    other = open_db(tmp_path / "other")
    other.create_collection("c", {"x": {"size": 3, "distance": "Cosine"}})
    other.create_collection("d", VECTORS)
    put(other, 0, 5, "d")
    kept = content(other, "d")
    assert other.recover_snapshot("c", snapshot_path(db, found))
    assert content(other) == content(db)
    assert content(other, "d") == kept
    put(other, 500)
    put(db, 600)
    assert len(content(other)) == len(content(db))


def test_in_memory(tmp_path: Path) -> None:
    with VecDB(":memory:") as db:
        db.create_collection("c", VECTORS)
        put(db, 0)
        found = db.create_snapshot("c")
        want = content(db)
        shutil.copy(snapshot_path(db, found), tmp_path / "kept")
        put(db, 50)
        assert db.recover_snapshot("c", tmp_path / "kept", found.checksum)
        assert content(db) == want


# -- names, list, delete -----------------------------------------------------------------------


def test_names_sort_and_never_collide(db: VecDB) -> None:
    db.create_collection("Ünï / c", VECTORS)
    names = [db.create_snapshot("c").name for _ in range(12)]
    assert names == sorted(names)
    assert len(set(names)) == 12
    assert [found.name for found in db.list_snapshots("c")] == names
    other = db.create_snapshot("Ünï / c")
    assert [found.name for found in db.list_snapshots("Ünï / c")] == [other.name]
    assert db.list_full_snapshots() == []
    full = db.create_full_snapshot()
    assert db.list_full_snapshots() == [full]
    assert db.delete_snapshot("c", names[3]) is True
    assert db.delete_snapshot("c", names[3]) is False
    assert [found.name for found in db.list_snapshots("c")] == names[:3] + names[4:]
    assert db.create_snapshot("c").name not in names
    assert db.delete_full_snapshot(full.name) is True
    assert db.delete_full_snapshot(full.name) is False
    left = [path.name for path in (db.path / "snapshots").iterdir() if path.is_file()]
    assert left == []


def test_what_is_said_of_a_snapshot_is_true(db: VecDB) -> None:
    found = db.create_snapshot("c")
    path = snapshot_path(db, found)
    data = path.read_bytes()
    assert found == db.list_snapshots("c")[0]
    assert found.size == len(data)
    assert found.checksum == hashlib.sha256(data).hexdigest()
    assert found.creation_time is not None
    assert found.creation_time.replace("T", "-").replace(":", "-") in found.name
    assert path.stat().st_mode & 0o777 == 0o600
    done = subprocess.run(
        ["sha256sum", "-c", f"{found.name}.sha256"], cwd=path.parent, capture_output=True
    )
    assert done.returncode == 0
    path.with_name(f"{found.name}.sha256").unlink()
    assert db.list_snapshots("c")[0].checksum is None


def test_tar_can_list_one(db: VecDB) -> None:
    """Also members of which the name is too long for a header."""
    long = "Ü" * 100
    db.create_collection("long", {long: {"size": 4, "distance": "Dot"}})
    db.upsert("long", [{"id": 1, "vector": {long: [1, 2, 3, 4]}}])
    db.flush()
    path = snapshot_path(db, db.create_snapshot("long"))
    done = subprocess.run(["tar", "tvf", path], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    names = [line.split()[-1] for line in done.stdout.splitlines()]
    assert names[:3] == ["FORMAT", "1/manifest", "1/wal"]
    [vectors] = list(db.path.glob("collections/long/segments/*/vectors.*"))
    assert f"1/segments/{vectors.parent.name}/{vectors.name}" in names
    done = subprocess.run(["tar", "xOf", path, names[-1]], capture_output=True, check=True)
    assert done.stdout == vectors.read_bytes()
    assert db.recover_snapshot("long", path)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../c.snapshot", "/etc/passwd", "a/b.snapshot", ".new-1.snapshot", "c.tar",
     None, 7, b"c.snapshot", "a\0b.snapshot"],
)  # fmt: skip
def test_a_name_is_not_a_path(name: Any, db: VecDB) -> None:
    before = files_of(db.path)
    with pytest.raises(InvalidInputError, match="snapshot_name"):
        db.delete_snapshot("c", name)
    with pytest.raises(InvalidInputError, match="snapshot_name"):
        db.delete_full_snapshot(name)
    assert files_of(db.path) == before


def test_snapshots_outlive_their_collection(db: VecDB) -> None:
    found, want = db.create_snapshot("c"), content(db)
    db.delete_collection("c")
    assert db.list_snapshots("c") == [found]
    assert db.recover_snapshot("c", found.name)
    assert content(db) == want


def test_other_files_in_the_directory_stay(db: VecDB, open_db: OpenDb) -> None:
    """What somebody put there is listed if it is called a snapshot, and never removed."""
    found = db.create_snapshot("c")
    directory = snapshot_path(db, found).parent
    shutil.copy(directory / found.name, directory / "before the move.snapshot")
    (directory / "notes.txt").write_text("mine")
    unfinished = [directory / ".new-0123456789abcdef", directory.parent / ".new-0123456789abcdef"]
    for path in unfinished:
        path.write_text("of a killed process")
    names = [found.name for found in db.list_snapshots("c")]
    assert names == ["before the move.snapshot", found.name]
    db.close()
    again = open_db()
    assert not any(path.exists() for path in unfinished)
    assert (directory / "notes.txt").read_text() == "mine"
    assert again.recover_snapshot("c", "before the move.snapshot")
    assert again.delete_snapshot("c", "before the move.snapshot")


# -- locations and requests that are wrong -----------------------------------------------------


def test_locations(db: VecDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, want = db.create_snapshot("c"), content(db)
    full = db.create_full_snapshot()
    path = tmp_path / "a b%41.tar"
    shutil.copy(snapshot_path(db, found), path)
    monkeypatch.chdir(tmp_path)
    uri = path.as_uri()
    assert "%20" in uri
    for location in (path, str(path), path.name, uri, found.name, full.name):
        put(db, 500)
        assert db.recover_snapshot("c", location, wait=True)
        assert content(db) == want, location


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("http://example.org/c.snapshot", InvalidInputError),
        ("https://example.org/c.snapshot", InvalidInputError),
        ("s3://bucket/c.snapshot", InvalidInputError),
        ("file://other-host/c.snapshot", InvalidInputError),
        ("", InvalidInputError),
        ("a\0b", InvalidInputError),
        (None, InvalidInputError),
        (b"c.snapshot", InvalidInputError),
        (7, InvalidInputError),
        ("missing.snapshot", NotFoundError),
        ("no/such/file", NotFoundError),
        (os.sep, CorruptionError),
        (os.devnull, CorruptionError),
    ],
)
def test_a_location_that_is_none(location: Any, error: type[Exception], db: VecDB) -> None:
    before = files_of(db.path)
    with pytest.raises(error):
        db.recover_snapshot("c", location)
    assert files_of(db.path) == before


def test_a_pipe_is_not_waited_for(db: VecDB, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorruptionError, match="is not a file"):
        db.recover_snapshot("c", tmp_path / "pipe")


def test_the_checksum_must_be_right(db: VecDB) -> None:
    found = db.create_snapshot("c")
    path, before = snapshot_path(db, found), files_of(db.path)
    assert found.checksum is not None
    wrong = found.checksum[:-1] + ("0" if found.checksum[-1] != "0" else "1")
    with pytest.raises(
        CorruptionError, match=f"SHA-256 is {found.checksum}, not {wrong}"
    ) as raised:
        db.recover_snapshot("c", path, wrong)
    assert raised.value.path == str(path)
    for malformed in ("", "abc", found.checksum + "0", "g" * 64, 7, b"0" * 64):
        with pytest.raises(InvalidInputError, match="checksum"):
            db.recover_snapshot("c", path, malformed)  # type: ignore[arg-type]
    assert files_of(db.path) == before
    assert not hidden(db.path)
    assert db.recover_snapshot("c", path, found.checksum.upper())


def test_names_of_collections_are_checked(db: VecDB) -> None:
    found = db.create_snapshot("c")
    for name in ("", "x" * 256, None, 7):
        for call in (db.create_snapshot, db.list_snapshots):
            with pytest.raises(InvalidInputError, match="collection_name"):
                call(name)  # type: ignore[operator]
        with pytest.raises(InvalidInputError, match="collection_name"):
            db.recover_snapshot(name, found.name)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match="nobody"):
        db.create_snapshot("nobody")
    assert db.list_snapshots("nobody") == []
    assert not (db.path / "snapshots" / "nobody").exists()


def test_a_database_that_may_not_be_written_to(db: VecDB, open_db: OpenDb) -> None:
    found = db.create_snapshot("c")
    reader = open_db(read_only=True)
    assert reader.list_snapshots("c") == [found]
    for call in (
        lambda: reader.create_snapshot("c"),
        lambda: reader.create_full_snapshot(),
        lambda: reader.delete_snapshot("c", found.name),
        lambda: reader.delete_full_snapshot(found.name),
        lambda: reader.recover_snapshot("c", found.name),
    ):
        with pytest.raises(ReadOnlyError):
            call()
    db.close()
    for call in (
        lambda: db.create_snapshot("c"),
        lambda: db.list_snapshots("c"),
        lambda: db.recover_snapshot("c", found.name),
    ):
        with pytest.raises(ClosedError):
            call()


# -- taking the place of what is there ---------------------------------------------------------


def test_handles_of_the_collection_that_was_there(db: VecDB) -> None:
    found = db.create_snapshot("c")
    handle, view = db.collection("c"), db.collection("c")._store.view
    db.recover_snapshot("c", found.name)
    for call in (handle.count, lambda: handle.retrieve([1]), handle.info, handle.flush):
        with pytest.raises(ClosedError):
            call()
    with pytest.raises(ClosedError):
        handle.delete([1])
    assert view.live == 30  # a read that had begun goes on to its end
    assert db.collection("c").count().count == 30


@pytest.mark.parametrize("what", ["FORMAT", "catalog", "segment", "log", "everything"])
def test_a_damaged_collection_is_recovered(what: str, db: VecDB, open_db: OpenDb) -> None:
    found, want = db.create_snapshot("c"), content(db)
    put(db, 700)
    db.flush()
    directory = db.collection("c")._store.path
    db.close()
    if what == "FORMAT":
        (directory / "FORMAT").unlink()
    elif what == "catalog":
        (directory / "catalog" / "data.mdb").write_bytes(b"x" * 9000)
    elif what == "segment":
        for path in directory.glob("segments/*/ids"):
            path.write_bytes(path.read_bytes()[:-1])
    elif what == "log":
        for path in directory.glob("wal/*"):
            path.write_bytes(b"nonsense" * 20)
    else:
        for path in list(directory.rglob("*")):
            if path.is_file():
                path.unlink()
    again = open_db()
    assert list(again.damaged) == ["c"]
    with pytest.raises(CorruptionError):
        again.create_snapshot("c")
    with pytest.raises(CorruptionError):
        again.create_full_snapshot()
    assert again.recover_snapshot("c", found.name)
    assert again.damaged == {}
    assert content(again) == want
    put(again, 800)
    assert not hidden(again.path)


def test_a_damaged_file_is_named_and_nothing_is_left(db: VecDB) -> None:
    db.flush()
    directory = db.path / "snapshots" / "c"
    path = max(db.path.glob("collections/c/segments/*/payload"))
    good = path.read_bytes()
    bad = bytearray(good)
    bad[70] ^= 1
    path.write_bytes(bad)
    with pytest.raises(CorruptionError, match="block 0") as raised:
        db.create_snapshot("c")
    assert raised.value.path == str(path)
    with pytest.raises(CorruptionError):
        db.create_full_snapshot()
    assert list(directory.iterdir()) == []
    assert not hidden(db.path)
    path.write_bytes(good)
    db.create_snapshot("c")


def test_a_running_build_is_given_up(open_db: OpenDb, monkeypatch: pytest.MonkeyPatch) -> None:
    from vecdb.engine.optimize import build

    db = open_db()
    db.create_collection("c", VECTORS, optimizers_config=QUIET)
    put(db, 0, 200)
    db.flush()
    found, want = db.create_snapshot("c"), content(db)
    building, go_on = threading.Event(), threading.Event()
    copy = build._copy

    def slow(*arguments: Any) -> Any:
        building.set()
        assert go_on.wait(60)
        return copy(*arguments)

    monkeypatch.setattr(build, "_copy", slow)
    db.update_collection(
        "c", optimizers_config={"indexing_threshold": 1, "max_optimization_threads": 1},
        quantization_config={"binary": {}},
    )  # fmt: skip
    assert building.wait(60)
    recovering = threading.Thread(target=db.recover_snapshot, args=("c", found.name))
    recovering.start()
    while not db.collection("c")._store.closed:
        recovering.join(0.001)
    go_on.set()
    recovering.join()
    assert content(db) == want
    assert db.wait_for_optimizer()


def test_recovering_in_several_threads(db: VecDB) -> None:
    """Of one collection, while others take snapshots and write: each has one of the outcomes."""
    first, a = db.create_snapshot("c"), content(db)
    db.delete("c", models.Filter())
    second, b = db.create_snapshot("c"), content(db)
    errors: list[BaseException] = []

    def recover(name: str) -> None:
        try:
            for _ in range(5):
                assert db.recover_snapshot("c", name)
        except BaseException as error:
            errors.append(error)

    def look() -> None:
        try:
            for _ in range(10):
                db.create_snapshot("c")
                try:
                    assert content(db) in (a, b)
                except ClosedError:
                    pass
        except NotFoundError:
            pass  # between the one and the other
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=recover, args=(n.name,)) for n in (first, second)]
    threads.append(threading.Thread(target=look))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert content(db) in (a, b)
    assert not hidden(db.path)


def test_readers_see_what_was_restored(db: VecDB, open_db: OpenDb) -> None:
    """Although the catalogs may have the same transaction number and the logs the same names: a
    reader that went on in the log where it had stopped would mix two stories."""
    found, want = db.create_snapshot("c"), content(db)
    for flushes in range(5):
        db.recover_snapshot("c", found.name)
        for number in range(flushes):
            put(db, 1000 + 10 * number)
            db.flush()
        put(db, 2000)
        reader = open_db(read_only=True)
        assert content(reader) == content(db)
        db.recover_snapshot("c", found.name)
        assert content(db) == want
        for number in range(flushes + 1):
            put(db, 3000 + 10 * number, 3)
            if number % 2:
                db.flush()
        assert reader.refresh()
        assert content(reader) == content(db)


def test_taken_while_another_takes_the_place(db: VecDB, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the catalog of the old one was read: the log of the new one goes on with the same
    numbers, and tells of other writes."""
    found = db.create_snapshot("c")
    put(db, 900)
    db.flush()
    log_beyond, calls = capture._log_beyond, []

    def replaced_first(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            db.recover_snapshot("c", found.name)
            for number in range(5):
                put(db, 5000 + 10 * number)
        return log_beyond(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(capture, "_log_beyond", replaced_first)
        second = db.create_snapshot("c")
    assert len(calls) == 2
    want = content(db)
    db.recover_snapshot("c", second.name)
    assert content(db) == want


def test_a_reader_while_a_restored_collection_has_not_its_place_yet(
    db: VecDB, open_db: OpenDb
) -> None:
    """As a crash between the commit and the second rename leaves it."""
    found, want = db.create_snapshot("c"), content(db)
    put(db, 900)
    unpacked = restore.unpack_collection(snapshot_path(db, found), db.path / "collections", "c")
    reader = open_db(read_only=True)
    assert content(reader) != want
    committed = restore.commit(unpacked)
    assert reader.refresh()
    assert content(reader) == want
    db.close()
    (db.path / "collections" / "c").rename(db.path / "collections" / ".dropped-0123456789abcdef")
    reader.refresh()
    assert content(reader) == want
    assert check_database(db.path).ok
    again = open_db()
    assert not committed.exists()
    assert content(again) == want
    assert not hidden(again.path)


@pytest.mark.parametrize("who", ["reader", "command"])
def test_one_that_is_being_restored_is_never_missing(
    who: str, db: VecDB, open_db: OpenDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looked where the collections are and came when a restore had moved one on did without
    it: a snapshot of the whole database was made that lacked it, and nothing was said."""
    db.create_collection("other", VECTORS)
    found, want = db.create_snapshot("c"), content(db)
    put(db, 900)
    reader = open_db(read_only=True)
    unpacked = restore.unpack_collection(snapshot_path(db, found), db.path / "collections", "c")
    db.close()
    collection_dirs = places.collection_dirs

    def moved_on(parent: Path) -> list[Path]:
        restored = restore.commit(unpacked)
        found = collection_dirs(parent)
        places.take_place(restored)
        return found

    archive_path = tmp_path / "full"
    with monkeypatch.context() as patch:
        patch.setattr(places, "collection_dirs", moved_on)
        if who == "reader":
            assert reader.refresh()
        else:
            write_archive(db.path, None, archive_path, lambda done, total: None)
    if who == "command":
        assert restore.contents(archive_path) == (True, ["c", "other"])
        restore.restore_database(archive_path, tmp_path / "restored")
        reader = open_db(tmp_path / "restored")
    assert reader.damaged == {}
    assert content(reader) == want


@pytest.mark.parametrize("looks", [*combinations_with_replacement(range(4), 3)])
def test_a_collection_is_found_wherever_a_restore_has_it(
    looks: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory changes names between any two looks, and must not be missed for that.
    ``looks``: how far the restore has got at each."""
    place, restored = tmp_path / "c", tmp_path / ".restored-c"
    place.mkdir()
    moves = [
        lambda: restored.mkdir(),
        lambda: place.rename(tmp_path / ".dropped-0123456789abcdef"),
        lambda: restored.rename(place),
    ]
    is_dir, is_file, left = Path.is_dir, Path.is_file, list(looks)

    def look(path: Path) -> bool:
        due = left.pop(0)
        while len(moves) > 3 - due:
            moves.pop(0)()
        return is_file(path) if path.name == "FORMAT" else is_dir(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_dir", look)
        patch.setattr(Path, "is_file", look)
        assert places.exists(place)


def test_the_first_snapshots_of_two_threads(db: VecDB, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both saw that there is no directory for them, and the second to make it failed."""
    make_dir, together = fs.make_dir, threading.Barrier(2)

    def at_once(path: Path) -> None:
        if path.name == "snapshots":
            together.wait(30)
        make_dir(path)

    monkeypatch.setattr(fs, "make_dir", at_once)
    with ThreadPoolExecutor(2) as threads:
        taken = list(threads.map(db.create_snapshot, ["c", "c"]))
    assert {found.name for found in taken} == {found.name for found in db.list_snapshots("c")}
    assert len(taken) == 2


def test_a_reader_that_a_restore_overtakes_at_every_step(
    db: VecDB, open_db: OpenDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the same directory was found, under two names: that was taken for damage that stays."""
    found, want = db.create_snapshot("c"), content(db)
    put(db, 900)
    place = db.path / "collections" / "c"
    unpacked = restore.unpack_collection(snapshot_path(db, found), place.parent, "c")
    db.close()
    read_format, calls = follower.read_format, []

    def overtaken(path: Path) -> dict[str, str]:
        calls.append(path.name)
        if len(calls) == 1:
            restore.commit(unpacked)
            place.rename(place.with_name(".dropped-0123456789abcdef"))
        fields = read_format(path)
        if len(calls) == 2:
            path.rename(place)
        return fields

    with monkeypatch.context() as patch:
        patch.setattr(follower, "read_format", overtaken)
        reader = open_db(read_only=True)
    assert calls[:3] == ["c", ".restored-c", "c"]
    assert reader.damaged == {}
    assert content(reader) == want


def test_reads_while_the_place_is_taken(db: VecDB, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads were told that the collection does not exist."""
    found, want = db.create_snapshot("c"), content(db)
    put(db, 900)
    take_place, looks = places.take_place, []

    def look_first(restored: Path) -> Any:
        looks.append(db.collection_exists("c"))
        looks.append([c.name for c in db.get_collections().collections])
        with pytest.raises(ClosedError):
            db.count("c")
        return take_place(restored)

    monkeypatch.setattr(places, "take_place", look_first)
    db.recover_snapshot("c", found.name)
    assert looks == [True, ["c"]]
    assert content(db) == want


def test_in_a_forked_child(db: VecDB) -> None:
    found = db.create_snapshot("c")
    child = os.fork()
    if child == 0:
        try:
            for call in (db.create_snapshot, db.create_full_snapshot, db.list_snapshots):
                try:
                    call("c") if call != db.create_full_snapshot else call()  # type: ignore[operator]
                except vecdb.errors.ForkError:
                    continue
                os._exit(1)
            try:
                db.recover_snapshot("c", found.name)
            except vecdb.errors.ForkError:
                os._exit(0)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
