"""What stands at a database's path is exchanged while it is open: no file of a stranger is touched,
what was acknowledged is kept, and whoever writes is told.

``tests/crash/test_taken_at_every_call.py`` does it at every call.
"""

from __future__ import annotations

import errno
import logging
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proofs.model.oracle import require_sound
from vecdb import VecDB
from vecdb.engine.archive import restore, snapshots
from vecdb.engine.optimize.optimizer import next_step
from vecdb.errors import (
    AlreadyExistsError,
    ClosedError,
    NotADatabaseError,
    PlaceTakenError,
    ReadOnlyError,
    WriteError,
)
from vecdb.storage import fs, place
from vecdb.storage.place import Mark, Place

VECTORS: Any = {"size": 2, "distance": "Dot"}
MANUAL: Any = {"max_optimization_threads": 0}


def write(db: VecDB, first: int, count: int = 5, name: str = "c") -> None:
    db.upsert(name, [{"id": first + n, "vector": [1, n]} for n in range(count)])


def make(path: Path, first: int = 0, **options: Any) -> VecDB:
    """A database with five points, not yet in a segment."""
    db = VecDB(path, **options)
    db.create_collection("c", VECTORS, optimizers_config=MANUAL)
    write(db, first)
    return db


def stranger(path: Path) -> dict[str, Any]:
    """Another database, with points in a segment and in the log; its files."""
    made = path.with_name("made")
    with make(made, 1000) as db:
        db.flush("c")
        write(db, 2000)
        shutil.copytree(made, path)
    shutil.rmtree(made)
    return contents(path)


def contents(path: Path) -> dict[str, bytes | None]:
    """Every file of a directory, with its content; None: a directory."""
    return {
        str(found.relative_to(path)): found.read_bytes() if found.is_file() else None
        for found in sorted(path.rglob("*"))
    }


def ids(path: Path, name: str = "c") -> list[int]:
    """The points of a database that nobody has open."""
    with VecDB(path) as db:
        assert db.damaged == {}
        found = sorted(record.id for record in db.scroll(name, limit=1000)[0])
    require_sound(path)
    return found


FIRST = list(range(5))


def later() -> None:
    """Whether something else stands at its path is looked at no more often than that."""
    time.sleep(0.002)


# -- the database ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["old first", "new first"])
def test_a_forgotten_handle_harms_nothing(db_path: Path, order: str) -> None:
    old = make(db_path)
    shutil.rmtree(db_path)
    new = make(db_path, 100)
    for db in (old, new) if order == "old first" else (new, old):
        if db is new:
            db.close()
        else:
            with pytest.raises(PlaceTakenError, match="it was removed"):
                db.close()
            db.close()  # once is enough
    assert ids(db_path) == list(range(100, 105))


def test_forgotten_handles_of_a_program_that_ends(db_path: Path) -> None:
    program = f"""
import gc, shutil, vecdb
for first in (0, 10, 20):
    shutil.rmtree({str(db_path)!r}, ignore_errors=True)
    db = vecdb.VecDB({str(db_path)!r})
    db.create_collection("c", {VECTORS})
    db.upsert("c", [{{"id": first, "vector": [1, 2]}}])
    gc.collect()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ids(db_path) == [20]


@pytest.mark.parametrize("sync", ["always", "interval", "never"])
def test_no_write_is_acknowledged_once_the_directory_is_removed(db_path: Path, sync: str) -> None:
    db = make(db_path, sync=sync)
    shutil.rmtree(db_path)
    for change in (
        lambda: write(db, 5),
        lambda: db.delete("c", [1]),
        lambda: db.set_payload("c", {"a": 1}, [1]),
        lambda: db.flush("c"),
        lambda: db.create_collection("d", VECTORS),
        lambda: db.delete_collection("d"),
        lambda: db.update_collection("c", optimizers_config={"flush_interval_sec": 9}),
        lambda: db.create_snapshot("c"),
        lambda: db.create_full_snapshot(),
        lambda: db.delete_snapshot("c", "c.snapshot"),
        lambda: db.check(),
    ):
        with pytest.raises(PlaceTakenError, match="it was removed") as caught:
            change()
        assert caught.value.errno == errno.ESTALE
    assert not db_path.exists()
    assert db.count("c").count == 5  # reads go on
    assert next_step(db.collection("c")._store) is None  # and nothing is tried again and again
    with pytest.raises(PlaceTakenError):
        db.close()
    with pytest.raises(ClosedError):
        write(db, 5)
    assert not db_path.exists()


def test_no_write_that_does_nothing_is_acknowledged_either(db_path: Path) -> None:
    """A write on a condition that no point meets was, and a program may go by what it was told."""
    none: Any = {"must": [{"has_id": [77]}]}
    points: Any = [{"id": 77, "vector": [1, 1]}]
    db = make(db_path)
    shutil.rmtree(db_path)
    for nothing in (
        lambda: db.upsert("c", points, update_mode="update_only"),
        lambda: db.delete("c", {"filter": none}),
        lambda: db.set_payload("c", {"n": 1}, none),
    ):
        with pytest.raises(PlaceTakenError):
            nothing()
    with pytest.raises(PlaceTakenError):
        db.close()


def test_closing_what_has_nothing_to_write_is_no_error(db_path: Path) -> None:
    db = make(db_path)
    db.flush("c")
    shutil.rmtree(db_path)
    db.close()
    assert not db_path.exists()


def test_a_backup_is_put_in_its_place(db_path: Path) -> None:
    """The same uuid, the same names, and inode numbers that may be given again."""
    make(db_path).close()
    backup, old = db_path.with_name("backup"), db_path.with_name("old")
    shutil.copytree(db_path, backup)
    app = VecDB(db_path)
    write(app, 100)
    db_path.rename(old)
    shutil.copytree(backup, db_path)
    later()
    other = VecDB(db_path)
    write(other, 200)
    with pytest.raises(PlaceTakenError) as caught:
        write(app, 300)
    for part in (str(db_path), str(old), "another database stands there now", "expected"):
        assert part in str(caught.value)
    before = contents(db_path)
    assert app.flush("c") is None  # in the directory that it opened
    with pytest.raises(PlaceTakenError):
        app.create_collection("d", VECTORS)
    app.close()
    assert contents(db_path) == before
    write(other, 210)
    other.close()
    assert ids(db_path) == [*FIRST, *range(200, 205), *range(210, 215)]
    assert ids(old) == [*FIRST, *range(100, 105)]


def test_close_says_where_the_last_checkpoint_went(db_path: Path) -> None:
    db = make(db_path)
    old = db_path.with_name("old")
    db_path.rename(old)
    before = stranger(db_path)
    with pytest.raises(PlaceTakenError, match=f"{old} now; another database stands there now"):
        db.close()
    assert contents(db_path) == before
    assert ids(old) == FIRST
    with VecDB(old) as opened:
        assert opened.collection("c").recovery.replayed == 0


@pytest.mark.parametrize("what", ["the directory", "its parent"])
def test_one_that_is_moved_goes_on(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "parent").mkdir()
    path = tmp_path / "parent" / "db"
    db = make(path)
    if what == "the directory":
        now = tmp_path / "parent" / "moved"
        path.rename(now)
    else:
        (tmp_path / "parent").rename(tmp_path / "elsewhere")
        now = tmp_path / "elsewhere" / "db"
    later()
    with caplog.at_level(logging.WARNING, "vecdb"):
        write(db, 5)
        write(db, 10)
    assert [str(now) in record.getMessage() for record in caplog.records] == [True]
    db.flush("c")
    db.create_collection("d", VECTORS)
    write(db, 0, name="d")
    db.update_collection("c", vectors_config={"": {"on_disk": True}})
    snapshot = db.create_snapshot("c")
    assert [found.name for found in db.list_snapshots("c")] == [snapshot.name]
    db.recover_snapshot("e", path / "snapshots" / "c" / snapshot.name)
    db.delete_snapshot("c", snapshot.name)
    db.create_full_snapshot()
    db.delete_collection("d")
    db.create_collection("d", VECTORS)
    assert db.check().ok
    db.close()
    assert not path.exists()
    assert ids(now) == list(range(15))
    assert ids(now, "e") == list(range(15))
    assert len(list((now / "snapshots").glob("*.snapshot"))) == 1


def test_one_that_comes_back_goes_on(db_path: Path) -> None:
    old = db_path.with_name("old")
    db = make(db_path)
    db_path.rename(old)
    db_path.mkdir()
    later()
    with pytest.raises(PlaceTakenError, match="another directory stands there"):
        write(db, 5)
    db_path.rmdir()
    old.rename(db_path)
    write(db, 5)
    db.close()
    assert ids(db_path) == list(range(10))


def test_a_link_that_leads_elsewhere_now(tmp_path: Path) -> None:
    link, first, second = (tmp_path / name for name in ("link", "first", "second"))
    first.mkdir()
    link.symlink_to(first)
    db = make(link)
    before = stranger(second)
    link.unlink()
    link.symlink_to(second)
    later()
    with pytest.raises(PlaceTakenError, match=str(first)):
        write(db, 5)
    with pytest.raises(PlaceTakenError):
        db.close()
    assert contents(second) == before
    assert ids(first) == FIRST


def test_a_lock_that_is_not_the_one_others_see(db_path: Path) -> None:
    db = make(db_path)
    (db_path / "LOCK").unlink()
    point = {"id": 100, "vector": [1, 2]}
    program = f"import vecdb\nvecdb.VecDB({str(db_path)!r}).upsert('c', [{point}])"
    subprocess.run([sys.executable, "-c", program], check=True)
    before = contents(db_path)
    with pytest.raises(PlaceTakenError, match="LOCK is another file now"):
        write(db, 5)
    with pytest.raises(PlaceTakenError):
        db.close()
    assert contents(db_path) == before
    assert ids(db_path) == [*FIRST, 100]


def test_emptied_and_filled_anew(db_path: Path) -> None:
    """The directory is the same one; what is in it is not."""
    db = make(db_path)
    for found in db_path.iterdir():
        shutil.rmtree(found) if found.is_dir() else found.unlink()
    other = db_path.with_name("other")
    before = stranger(other)
    shutil.copytree(other, db_path, dirs_exist_ok=True)
    for change in (lambda: write(db, 5), lambda: db.flush("c"), db.create_full_snapshot, db.close):
        with pytest.raises(PlaceTakenError):
            change()
    assert contents(db_path) == before


def test_a_copy_beside_it_is_another_database(db_path: Path) -> None:
    copy = db_path.with_name("copy")
    make(db_path).close()
    shutil.copytree(db_path, copy)
    with VecDB(db_path) as db, VecDB(copy) as other:
        write(db, 5)
        write(other, 50)
    assert ids(db_path) == list(range(10))
    assert ids(copy) == [*FIRST, *range(50, 55)]


def test_a_temporary_database_removes_only_itself() -> None:
    db = VecDB(":memory:")
    path = Path(db.path)
    shutil.rmtree(path)
    path.mkdir()
    (path / "mine").touch()
    try:
        db.close()
        assert (path / "mine").exists()
    finally:
        shutil.rmtree(path)


def test_a_handle_holds_one_descriptor_of_its_directory(db_path: Path) -> None:
    def held() -> int:
        paths = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
        return sum(os.path.isdir(path) and str(db_path) in os.readlink(path) for path in paths)

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("the system does not say which descriptors there are")
    with VecDB(db_path) as db:
        for name in "abc":
            db.create_collection(name, VECTORS)
            write(db, 0, name=name)
        db.create_full_snapshot()
        assert db.wait_for_optimizer()
        assert held() == 1
        child = os.fork()
        if child == 0:
            os._exit(held())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        write(db, 5, name="a")
    assert held() == 0


def test_the_error_can_be_sent_to_a_process() -> None:
    error = PlaceTakenError(errno.ESTALE, "gone")
    assert isinstance(error, OSError)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.errno, str(again)) == (PlaceTakenError, errno.ESTALE, str(error))


# -- a collection ----------------------------------------------------------------------------------


def moved_away(place: Path, other: Path) -> None:
    place.rename(place.parents[2] / "moved")


def removed(place: Path, other: Path) -> None:
    shutil.rmtree(place)


def exchanged(place: Path, other: Path) -> None:
    moved_away(place, other)
    shutil.copytree(other / "collections" / "c", place)


def made_again(place: Path, other: Path) -> None:
    removed(place, other)
    shutil.copytree(other / "collections" / "c", place)


def put_back_from_a_copy(place: Path, other: Path) -> None:
    """Also with the same uuid, and the log that is open now."""
    copy = place.parents[2] / "copy"
    shutil.copytree(place, copy)
    shutil.rmtree(place)
    copy.rename(place)


@pytest.mark.parametrize(
    "happens", [moved_away, removed, exchanged, made_again, put_back_from_a_copy]
)
def test_the_directory_of_a_collection(
    db_path: Path, happens: Callable[[Path, Path], None]
) -> None:
    other, place = db_path.with_name("other"), db_path / "collections" / "c"
    stranger(other)
    db = make(db_path)
    db.create_collection("d", VECTORS)
    db.create_snapshot("c")
    happens(place, other)
    later()
    there = contents(place) if place.exists() else None
    for change in (
        lambda: write(db, 5),
        lambda: db.flush("c"),
        lambda: db.update_collection("c", optimizers_config={"flush_interval_sec": 9}),
    ):
        with pytest.raises(PlaceTakenError, match=str(place)):
            change()
    if there is not None:
        with pytest.raises(PlaceTakenError):
            db.delete_collection("c")
        with pytest.raises(PlaceTakenError):
            db.recover_snapshot("c", db.list_snapshots("c")[0].name)
    assert db.count("c").count == 5
    write(db, 0, name="d")  # others go on
    with pytest.raises(PlaceTakenError):
        db.close()
    assert (contents(place) if place.exists() else None) == there
    if (kept := db_path.with_name("moved")).exists():
        shutil.rmtree(place, ignore_errors=True)
        kept.rename(place)
        assert ids(db_path) == FIRST
    assert ids(db_path, "d") == FIRST


def test_a_collection_that_is_gone_can_be_deleted_and_made_again(db_path: Path) -> None:
    db = make(db_path)
    shutil.rmtree(db_path / "collections" / "c")
    assert db.delete_collection("c")
    db.create_collection("c", VECTORS)
    write(db, 50)
    db.close()
    assert ids(db_path) == list(range(50, 55))


def test_what_was_put_beside_the_collections_is_not_made_anew(db_path: Path) -> None:
    other, place = db_path.with_name("other"), db_path / "collections" / "c"
    stranger(other)
    with VecDB(db_path) as db:
        shutil.copytree(other / "collections" / "c", place)
        before = contents(place)
        with pytest.raises(AlreadyExistsError, match="while the database is open"):
            db.create_collection("c", VECTORS)
        assert contents(place) == before
    assert ids(db_path) == [*range(1000, 1005), *range(2000, 2005)]


def test_what_was_put_in_the_place_of_a_damaged_one_is_kept(db_path: Path) -> None:
    other, place = db_path.with_name("other"), db_path / "collections" / "c"
    stranger(other)
    with make(db_path) as db:
        snapshot = db.create_snapshot("c").name
    (place / "catalog" / "data.mdb").write_bytes(b"")
    with VecDB(db_path) as db:
        assert list(db.damaged) == ["c"]
        shutil.rmtree(place)
        shutil.copytree(other / "collections" / "c", place)
        before = contents(place)
        for change in (
            lambda: db.delete_collection("c"),
            lambda: db.recover_snapshot("c", snapshot),
        ):
            with pytest.raises(AlreadyExistsError, match="while the database is open"):
                change()
        assert contents(place) == before
    assert ids(db_path) == [*range(1000, 1005), *range(2000, 2005)]


# -- snapshots and restores ------------------------------------------------------------------------


def test_a_database_that_is_restored_into(db_path: Path) -> None:
    """Exchanged while the archive is read."""
    other, old = db_path.with_name("other"), db_path.with_name("old")
    with make(db_path) as db:
        name = db.create_snapshot("c").name
    archive = db_path.with_name("archive")
    shutil.copy(db_path / "snapshots" / "c" / name, archive)
    before = stranger(other)

    def exchange(*_: Any) -> None:
        if other.exists():
            db_path.rename(old)
            other.rename(db_path)

    with pytest.raises(PlaceTakenError):
        restore.restore_collection(archive, db_path, "c", replace=True, progress=exchange)
    assert contents(db_path) == before
    assert ids(old) == FIRST


def test_the_parent_of_a_new_database(tmp_path: Path) -> None:
    parent, moved = tmp_path / "parent", tmp_path / "moved"
    parent.mkdir()
    with make(tmp_path / "db") as db:
        db.create_full_snapshot()
    [archive] = (tmp_path / "db" / "snapshots").glob("*.snapshot")

    def exchange(*_: Any) -> None:
        if not moved.exists():
            parent.rename(moved)
            parent.mkdir()
            (parent / "mine").touch()

    with pytest.raises(PlaceTakenError, match=str(moved)):
        restore.restore_database(archive, parent / "new", progress=exchange)
    assert os.listdir(parent) == ["mine"]
    assert ids(moved / "new") == FIRST


def test_the_directory_of_the_snapshots(db_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = make(db_path)
    place, moved = db_path / "snapshots" / "c", db_path.with_name("moved")
    first = db.create_snapshot("c").name
    real = snapshots.write_archive

    def write_archive(*args: Any, **options: Any) -> str:
        place.rename(moved)
        place.mkdir()
        (place / first).write_bytes(b"mine")
        return real(*args, **options)

    monkeypatch.setattr(snapshots, "write_archive", write_archive)
    with pytest.raises(PlaceTakenError, match=str(place)):
        db.create_snapshot("c")
    monkeypatch.undo()
    assert contents(place) == {first: b"mine"}
    assert len(list(moved.glob("*.snapshot"))) == 2
    assert [found.name for found in db.list_snapshots("c")] == [first]  # of what stands there now
    db.close()


# -- readers ---------------------------------------------------------------------------------------


def test_a_reader_follows_what_stands_at_its_path(db_path: Path) -> None:
    """A copy has the same uuid, and its log may be as long."""
    backup, old = db_path.with_name("backup"), db_path.with_name("old")
    make(db_path).close()
    shutil.copytree(db_path, backup)
    app = VecDB(db_path)
    write(app, 100)
    with VecDB(backup) as other:
        write(other, 200)
        shutil.copytree(backup, db_path.with_name("in use"))
    reader = VecDB(db_path, read_only=True)
    handle = reader.collection("c")
    db_path.rename(old)
    assert reader.count("c").count == 10
    with pytest.raises(NotADatabaseError, match="nothing of that name"):
        reader.refresh()
    assert reader.count("c").count == 10
    db_path.with_name("in use").rename(db_path)
    assert {r.id for r in reader.scroll("c", limit=100)[0]} == {*FIRST, *range(100, 105)}
    assert reader.refresh()
    assert {r.id for r in reader.scroll("c", limit=100)[0]} == {*FIRST, *range(200, 205)}
    with pytest.raises(ClosedError, match="was replaced"):
        handle.count()
    assert not reader.refresh()
    reader.close()
    with pytest.raises(PlaceTakenError):
        app.close()


# -- the place itself ------------------------------------------------------------------------------


def test_a_place_is_told_by_its_mark(tmp_path: Path) -> None:
    """The number of an inode may be given again, but not while somebody has the file open."""
    path = tmp_path / "place"
    path.mkdir()
    place = Place(path)
    with open(path / "mark", "wb") as file:
        found = os.fstat(file.fileno())
        place.mark = Mark("mark", (found.st_dev, found.st_ino))
        with place:
            place.require()
        (path / "mark").rename(tmp_path / "elsewhere")
        (path / "mark").touch()
        with pytest.raises(PlaceTakenError, match="its mark is another file now"), place:
            pass
        (tmp_path / "elsewhere").rename(path / "mark")
        with pytest.raises(PlaceTakenError):  # it stays lost: others may have written meanwhile
            place.require()
    assert place.is_lost
    place.close()


def test_no_thread_is_in_the_place_of_another(tmp_path: Path) -> None:
    from threading import Thread

    from vecdb.storage.place import located

    path = tmp_path / "place"
    path.mkdir()
    place, seen = Place(path), []
    with place:
        thread = Thread(target=lambda: seen.append(located(path / "file")))
        thread.start()
        thread.join()
        name, within = located(path / "file")
        assert (name, within is None) == ("file", False)
        assert located(tmp_path / "placebo")[1] is None
    assert seen == [(str(path / "file"), None)]
    assert located(path / "file")[1] is None
    place.close()


def test_a_log_that_replaces_its_namesake_does_not_lose_the_place(
    db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the configuration begins a log; if nothing was written since the one before, of
    the same name. An optimizer that entered the place in that moment found another file in it than
    its mark, and the collection took no more writes."""
    real, looks = fs.sync_dir, []

    def sync_dir(path: Path) -> None:
        real(path)
        if path.name == "wal":  # the new one has its name, and is not the mark yet
            looking = threading.Thread(target=lambda: looks.append(store.place.now()))
            looking.start()
            looking.join()

    db = make(db_path)
    db.flush("c")
    store = db.collection("c")._store
    assert store.place is not None
    monkeypatch.setattr(fs, "sync_dir", sync_dir)
    db.update_collection("c", optimizers_config={"flush_interval_sec": 9})
    monkeypatch.undo()
    assert looks == [store.path]
    write(db, 5)
    db.close()
    assert ids(db_path) == list(range(10))


def test_a_log_that_may_have_its_name_or_not_is_not_taken_for_a_lost_place(
    db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the error was that closed the collection to writes was hidden behind another one."""

    def sync_dir(path: Path) -> None:
        if path.name == "wal":
            raise OSError(errno.EIO, "injected")
        real(path)

    db, real = make(db_path), fs.sync_dir
    db.update_collection("c", optimizers_config={"flush_interval_sec": 9})  # begins a log
    monkeypatch.setattr(fs, "sync_dir", sync_dir)
    with pytest.raises(WriteError, match="injected"):
        db.flush("c")
    monkeypatch.undo()
    with pytest.raises(ReadOnlyError, match="injected"):
        write(db, 5)
    db.close()
    assert ids(db_path) == FIRST


def test_a_place_that_cannot_be_looked_at_for_a_moment_is_not_taken(
    db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that answered once with an error was said to be another database."""

    def stat(path: Any, **options: Any) -> os.stat_result:
        if str(path) == str(db_path / "LOCK"):
            raise OSError(errno.EIO, "injected")
        return real(path, **options)

    real = os.stat
    with make(db_path) as db:
        later()
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", stat)
            write(db, 5)
        assert db.count("c").count == 10
    assert ids(db_path) == list(range(10))


def test_a_place_that_cannot_be_looked_at_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails as the directory is looked at for the first time kept it open."""

    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, "no answer")

    monkeypatch.setattr(place, "_identity", fail)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="no answer"):
        place.Place(tmp_path)
    assert os.listdir("/proc/self/fd") == before
