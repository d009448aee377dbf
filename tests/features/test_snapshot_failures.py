"""When a step of a snapshot or a restore fails, at each of its calls that write.

An error before the commit changes nothing and leaves nothing behind.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from snapshot_tools import (
    VECTORS,
    OpenDb,
    content,
    files_of,
    filled,
    hidden,
    put,
    snapshot_path,
)
from snapshot_tools import db as db  # fixtures
from snapshot_tools import full as full

from vecdb import VecDB
from vecdb.engine.archive import restore, snapshots
from vecdb.engine.repair.check import check_database
from vecdb.errors import (
    AlreadyExistsError,
    CorruptionError,
    ReadOnlyError,
    StorageFullError,
    WriteError,
)
from vecdb.storage import fs


class Faults:
    """The k-th call that writes raises; counted at the one door to the disk."""

    NAMES = ("make_dir", "sync_dir", "sync_file", "rename", "write_file")

    def __init__(self, at: int, error: BaseException) -> None:
        self._left = at
        self._error = error
        self.fired: str | None = None

    def __enter__(self) -> Faults:
        self._patch = pytest.MonkeyPatch()
        for name in self.NAMES:
            self._patch.setattr(fs, name, self._wrap(name, getattr(fs, name)))
        for name in ("append", "sync", "__init__"):
            function = getattr(fs.AppendFile, name)
            self._patch.setattr(fs.AppendFile, name, self._wrap(f"AppendFile.{name}", function))
        return self

    def __exit__(self, *exception: object) -> None:
        self._patch.undo()

    def _wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                self.fired = name
                raise self._error
            return function(*arguments, **keywords)

        return wrapped


def every_call(error: Callable[[], BaseException]) -> Iterator[Faults]:
    """Faults at the first call, the second, and so on, until one does not get that far."""
    for k in range(1, 1000):
        faults = Faults(k, error())
        yield faults
        if faults.fired is None:
            assert k > 10
            return
    raise AssertionError("never comes to an end")


ERRORS: dict[str, Callable[[], BaseException]] = {
    "full": lambda: OSError(errno.ENOSPC, "injected"),
    "broken": lambda: OSError(errno.EIO, "injected"),
    "interrupted": KeyboardInterrupt,
}


@pytest.mark.parametrize("kind", ERRORS)
def test_taking_fails_at_every_call(kind: str, db: VecDB) -> None:
    before, want = files_of(db.path), content(db)
    for faults in every_call(ERRORS[kind]):
        with faults:
            try:
                found = db.create_snapshot("c")
            except StorageFullError:
                raised = "full"
            except OSError:
                raised = "broken"
            except KeyboardInterrupt:
                raised = "interrupted"
            else:
                raised = None
        assert raised == (kind if faults.fired else None), faults.fired
        if faults.fired is not None:
            assert files_of(db.path) == before, faults.fired
            assert not hidden(db.path)
    assert db.recover_snapshot("c", found.name)
    assert content(db) == want


@pytest.mark.slow
@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("there", [True, False], ids=["replaced", "new"])
def test_recovering_fails_at_every_call(
    there: bool, kind: str, db: VecDB, open_db: OpenDb, tmp_path: Path
) -> None:
    """Before the commit nothing has changed, the collection goes on, and nothing is left behind.
    After it the next open finishes what was begun."""
    archive = tmp_path / "archive"
    shutil.copy(snapshot_path(db, db.create_snapshot("c")), archive)
    new = content(db)
    if there:
        put(db, 900)
        db.flush()
        old = content(db)
    else:
        db.delete_collection("c")
    db.close()
    shutil.copytree(db.path, tmp_path / "template")
    outcomes = set()
    for number, faults in enumerate(every_call(ERRORS[kind])):
        path = tmp_path / f"db{number}"
        shutil.copytree(tmp_path / "template", path)
        opened = open_db(path)
        before = files_of(path)
        with faults:
            try:
                opened.recover_snapshot("c", archive)
                outcome = "done"
            except (OSError, KeyboardInterrupt):
                outcome = "failed" if "c" not in opened.damaged else "later"
        outcomes.add(outcome)
        if outcome == "failed":
            left = [name for name in hidden(path) if not str(name).endswith(".restored-c")]
            assert not left, faults.fired
            kept = {name for name in files_of(path) if ".restored-c" not in str(name)}
            assert kept == set(before), faults.fired
            assert opened.collection_exists("c") == there
            if there:
                assert content(opened) == old
                put(opened, 5, 1)
        elif outcome == "later":
            with pytest.raises(CorruptionError, match="restored, but not open"):
                opened.count("c")
            opened.close()
            opened = open_db(path)
            assert content(opened) == new, faults.fired
        else:
            assert content(opened) == new, faults.fired
        opened.close()
        assert check_database(path).ok
        with VecDB(path) as again:
            assert not hidden(path)
            assert again.recover_snapshot("c", archive)
            assert content(again) == new
        shutil.rmtree(path)
    assert outcomes >= {"done", "failed"}


@pytest.mark.parametrize("after", ["delete", "recover", "create"])
@pytest.mark.parametrize("failing", [2, 3], ids=["old-stays", "old-gone"])
def test_what_can_be_done_with_a_collection_that_did_not_get_its_place(
    failing: int, after: str, db: VecDB, open_db: OpenDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, want = db.create_snapshot("c"), content(db)
    put(db, 900)
    rename, renamed = fs.rename, []

    def fails(source: Path, target: Path) -> None:
        renamed.append(target)
        if len(renamed) == failing:  # the first one is the commit
            raise OSError(errno.EIO, "injected")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(fs, "rename", fails)
        with pytest.raises(OSError, match="injected"):
            db.recover_snapshot("c", found.name)
    assert list(db.damaged) == ["c"]
    if after == "delete":
        assert db.delete_collection("c")
        assert not db.collection_exists("c")
        db.close()
        assert not open_db().collection_exists("c")
        return
    if after == "recover":
        assert db.recover_snapshot("c", found.name)
        assert content(db) == want
        put(db, 10, 1)
        want = content(db)
    else:
        with pytest.raises(AlreadyExistsError):
            db.create_collection("c", VECTORS)
    db.close()
    again = open_db()
    assert content(again) == want
    assert not hidden(again.path)


def test_a_commit_of_which_nobody_knows_whether_it_is_durable(
    db: VecDB, open_db: OpenDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sync after the rename fails, and the one that would make the withdrawal durable, too.
    After a crash the restored collection may be there, so nothing more may be acknowledged for the
    old one, and of what was restored nothing may be removed."""
    found, want = db.create_snapshot("c"), content(db)
    sync_dir = fs.sync_dir

    def fails(path: Path) -> None:
        if path.name in ("collections", ".restored-c"):
            raise OSError(errno.EIO, "injected")
        sync_dir(path)

    with monkeypatch.context() as patch:
        patch.setattr(fs, "sync_dir", fails)
        with pytest.raises(WriteError):
            db.recover_snapshot("c", found.name)
    assert content(db) == want
    with pytest.raises(ReadOnlyError):
        put(db, 5)
    assert sorted(os.listdir(db.path / "collections" / ".restored-c")) == [
        "WITHDRAWN",
        "catalog",
        "segments",
        "wal",
    ]
    db.close()
    assert content(open_db()) == want
    assert not hidden(db.path)


def test_a_commit_that_was_taken_back_needs_no_name_to_be_durable(
    db: VecDB, open_db: OpenDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sync after the rename fails. It was taken back by another rename, and after a power loss
    the first one might have been there without the second: the collection was replaced, with all
    that had been written to it since, by what was left of the restored one."""
    found = db.create_snapshot("c")
    put(db, 900)
    sync_dir = fs.sync_dir
    durable: list[str] = []

    def fails(path: Path) -> None:
        if path.name == "collections":
            raise OSError(errno.EIO, "injected")
        sync_dir(path)
        if path.name == ".restored-c":
            shutil.copytree(path, tmp_path / "withdrawn")
            durable.append(path.name)

    with monkeypatch.context() as patch:
        patch.setattr(fs, "sync_dir", fails)
        with pytest.raises(OSError, match="injected") as raised:
            db.recover_snapshot("c", found.name)
    assert not isinstance(raised.value, WriteError)
    assert durable == [".restored-c"]
    put(db, 5, 1)
    want = content(db)
    db.close()
    # Power loss: its name is there, and one of its files is not.
    (tmp_path / "withdrawn" / "catalog" / "data.mdb").unlink()
    shutil.rmtree(db.path / "collections" / ".restored-c", ignore_errors=True)
    shutil.copytree(tmp_path / "withdrawn", db.path / "collections" / ".restored-c")
    with VecDB(db.path, read_only=True) as reader:
        assert content(reader) == want
    assert check_database(db.path).ok
    again = open_db()
    assert content(again) == want
    assert not hidden(again.path)


def test_a_withdrawn_restore_is_removed_only_when_that_is_durable(
    db: VecDB, open_db: OpenDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = content(db)
    path = db.path / "collections" / ".restored-c"
    shutil.copytree(db.path / "collections" / "c", path)
    (path / "FORMAT").rename(path / "WITHDRAWN")
    db.close()
    seen: list[str] = []
    sync_dir, rename, discard = fs.sync_dir, fs.rename, fs.discard

    def note(name: str, call: Callable[..., None]) -> Callable[..., None]:
        return lambda path, *more: (seen.append(f"{name} {path.name}"), call(path, *more))

    with monkeypatch.context() as patch:
        patch.setattr(fs, "sync_dir", note("sync", sync_dir))
        patch.setattr(fs, "rename", note("rename", rename))
        patch.setattr(fs, "discard", note("discard", discard))
        again = open_db()
    first = seen.index("sync .restored-c")
    *steps, last = seen[first : first + 4]
    assert steps == ["sync .restored-c", "rename .restored-c", "sync collections"]
    assert last.startswith("discard .dropped-")
    assert content(again) == want
    assert not hidden(again.path)


def test_a_restored_collection_without_its_format_is_not_removed_for_that(
    db: VecDB, tmp_path: Path
) -> None:
    """The one it replaces has gone already: removed, nothing was left and nothing was said."""
    place, line = db.path / "collections" / "c", tmp_path / "FORMAT"
    want = content(db)
    db.close()
    (place / "FORMAT").rename(line)
    place.rename(place.with_name(".restored-c"))
    with VecDB(db.path) as again:
        assert list(again.damaged) == ["c"]
        with pytest.raises(CorruptionError, match="FORMAT"):
            again.count("c")
    line.rename(place / "FORMAT")
    with VecDB(db.path) as again:
        assert content(again) == want


def test_a_withdrawn_restore_that_cannot_be_removed_is_in_nobodys_way(
    db: VecDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, want = db.create_snapshot("c"), content(db)
    path = db.path / "collections" / ".restored-c"
    shutil.copytree(db.path / "collections" / "c", path)
    (path / "FORMAT").rename(path / "WITHDRAWN")
    put(db, 900)
    with monkeypatch.context() as patch:
        patch.setattr(fs, "discard", lambda path: None)
        assert db.recover_snapshot("c", found.name)
    assert content(db) == want


@pytest.mark.parametrize("crash", [True, False], ids=["killed", "failed"])
def test_a_second_restore_takes_nothing_from_the_first(
    crash: bool, db: VecDB, open_db: OpenDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first did not get to its place. The second moved it away before it had its own: killed
    there, or failing, it left neither."""
    found, want = db.create_snapshot("c"), content(db)
    put(db, 900)
    rename = fs.rename

    def not_placed(source: Path, target: Path) -> None:
        if source.name == ".restored-c":
            raise OSError(errno.EIO, "injected")
        rename(source, target)

    def not_committed(source: Path, target: Path) -> None:
        if target.name == ".restored-c":
            shutil.copytree(db.path, tmp_path / "killed")
            raise OSError(errno.EIO, "injected")
        rename(source, target)

    for fails in (not_placed, not_committed):
        with monkeypatch.context() as patch:
            patch.setattr(fs, "rename", fails)
            with pytest.raises(OSError, match="injected"):
                db.recover_snapshot("c", found.name)
    db.close()
    assert content(open_db(tmp_path / "killed" if crash else db.path)) == want


@pytest.mark.parametrize("how", ["withdrawn", "waiting"])
def test_a_restore_that_did_not_take_place_does_not_replace_a_new_collection(
    how: str, db: VecDB, open_db: OpenDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not seen by ``create_collection`` and ``delete_collection``, and took the place of
    what was made and written to after it, at the next open."""
    found = db.create_snapshot("c")
    rename = fs.rename

    def fails(source: Path, target: Path) -> None:
        if target.name == "WITHDRAWN":
            raise OSError(errno.EIO, "injected")
        if how == "withdrawn" and target.name == ".restored-c":
            rename(source, target)
            raise OSError(errno.EIO, "injected")
        if how == "waiting" and source.name == ".restored-c":
            raise OSError(errno.EIO, "injected")
        rename(source, target)

    if how == "withdrawn":  # in vain
        db.delete_collection("c")
    with monkeypatch.context() as patch:
        patch.setattr(fs, "rename", fails)
        with pytest.raises(OSError, match="injected"):
            db.recover_snapshot("c", found.name)
        if how == "waiting":
            with pytest.raises(OSError, match="injected"):
                db.delete_collection("c")
    if how == "waiting":
        assert db.delete_collection("c")
    db.create_collection("c", VECTORS)
    put(db, 5, 2)
    want = content(db)
    db.close()
    assert content(open_db()) == want


def test_what_cannot_be_removed_fails_no_restore(
    db: VecDB, open_db: OpenDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, want = db.create_snapshot("c"), content(db)
    put(db, 900)

    remove_tree = fs.remove_tree

    def stays(path: Path) -> None:
        if ".dropped-" in path.name:
            raise OSError(errno.EBUSY, "injected")
        remove_tree(path)

    with monkeypatch.context() as patch:
        patch.setattr(fs, "remove_tree", stays)
        assert db.recover_snapshot("c", found.name)
        assert content(db) == want
        db.close()
        assert hidden(db.path)
        again = open_db()  # and no open
        assert content(again) == want
        again.close()
    again = open_db()
    assert content(again) == want
    assert not hidden(again.path)


def test_directories_of_snapshots_are_synced_whoever_made_them(
    open_db: OpenDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the sync failed, they were there: the next snapshot was acknowledged without one."""
    db = filled(open_db())
    sync_dir = fs.sync_dir
    synced: list[Path] = []

    def once(path: Path) -> None:
        synced.append(path)
        if len(synced) == 1:
            raise OSError(errno.EIO, "injected")
        sync_dir(path)

    with monkeypatch.context() as patch:
        patch.setattr(fs, "sync_dir", once)
        with pytest.raises(OSError, match="injected"):
            db.create_snapshot("c")
        synced[1:] = []
        db.create_snapshot("c")
    assert {db.path, db.path / "snapshots", db.path / "snapshots" / "c"} <= set(synced[1:])
    db.close()
    with monkeypatch.context() as patch:
        patch.setattr(fs, "sync_dir", lambda path: (synced.append(path), sync_dir(path)))
        synced.clear()
        open_db()
    assert {db.path / "snapshots", db.path / "snapshots" / "c"} <= set(synced)


def test_a_new_database_of_which_nobody_knows_whether_it_has_its_name(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood there whole, and the error said that nothing was left behind."""
    rename, root = fs.rename, tmp_path / "new"

    def fails(source: Path, target: Path) -> None:
        rename(source, target)
        if target == root:
            raise OSError(errno.EIO, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(fs, "rename", fails)
        with pytest.raises(WriteError, match="may not be durable"):
            restore.restore_database(full, root)
    assert check_database(root).ok


def test_no_space(db: VecDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known before anything is written: the database may need the rest of the disk itself."""
    found = db.create_snapshot("c")
    before = files_of(db.path)

    class Full:
        f_bavail, f_frsize = 1, 512

    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", lambda path: Full)
        for call in (
            lambda: db.create_snapshot("c"),
            lambda: db.recover_snapshot("c", found.name),
            lambda: snapshots.take_as(tmp_path / "x", [db.path], whole=False, progress=print),
        ):
            with pytest.raises(StorageFullError, match="are free"):
                call()
    assert files_of(db.path) == before


@pytest.mark.parametrize("kind", ERRORS)
def test_a_new_database_fails_at_every_call(kind: str, full: Path, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    parent.mkdir()
    root = parent / "new"
    for faults in every_call(ERRORS[kind]):
        with faults:
            try:
                restore.restore_database(full, root)
            except (OSError, KeyboardInterrupt):
                pass
        # The rename to its name is the commit; the sync after it may fail.
        if root.exists():
            assert check_database(root).ok
            with VecDB(root) as db:
                assert len(db.get_collections().collections) == 3
            shutil.rmtree(root)
        assert list(parent.iterdir()) == [], faults.fired
