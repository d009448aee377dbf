"""Disks that fail: the short form of ``proofs.io_faults``, and a test for each bug it found."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecdb
from proofs.model.oracle import SCALE, require_sound
from vecdb import VecDB, models
from vecdb.errors import NotBegunError, ReadOnlyError, StorageFullError, WriteError
from vecdb.storage import fs

VECTORS = {"size": 4, "distance": "Dot"}
SETTINGS = {"max_optimization_threads": 0}


def run_tool(*arguments: str) -> str:
    """What the tool says; it must be content."""
    paths = [str(Path(vecdb.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "proofs.io_faults", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.crash
def test_nothing_acknowledged_is_lost_whatever_call_fails(tmp_path: Path) -> None:
    """A sample of all cases: calls of Python, calls of LMDB, a full tmpfs, files that end."""
    figures = tmp_path / "figures.json"
    every = 293 // SCALE or 1  # odd, or it would always meet the same of two endings
    run_tool("--every", str(every), "--json", str(figures), "--keep", str(tmp_path))
    found = json.loads(figures.read_text())
    assert found["failures"] == []
    ran = {kind.split("/")[0] for kind in found["by_kind"]}
    assert ran == {"os", "libc", "tmpfs", "fsize"} - set(found["skipped"])
    assert found["reached"] > 50
    assert found["went_on"] > 5
    assert found["closed_to_writes"] > 5


@pytest.mark.slow
@pytest.mark.crash
def test_bugs_that_are_planted_are_found() -> None:
    """The tool would say nothing, too, if it looked at nothing."""
    found = run_tool("--mutants").splitlines()
    assert len(found) >= 12
    assert not [line for line in found if "NOT FOUND" in line]


# -- bugs it found -----------------------------------------------------------------------------


def make(path: Path, **options: Any) -> VecDB:
    db = VecDB(path, **options)
    db.create_collection("c", VECTORS, optimizers_config=SETTINGS)
    return db


def put(db: VecDB, first: int, count: int = 5) -> None:
    ids = list(range(first, first + count))
    db.upsert("c", models.Batch(ids=ids, vectors=np.ones((count, 4), dtype=np.float32)))


def failing(code: int = errno.EIO) -> Any:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(code, "injected")

    return fail


@contextmanager
def longest_file(size: int) -> Iterator[None]:
    """No file may grow beyond this: an error that LMDB meets, too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def highest_descriptor(more: int) -> Iterator[None]:
    """Only so many more files than now can be opened."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(map(int, os.listdir("/dev/fd"))) + 1
    filling = [os.open(os.devnull, os.O_RDONLY)]  # numbers that files closed before have left free
    while filling[-1] < used:
        filling.append(os.open(os.devnull, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (filling[-1] + 1 + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for fd in filling:
            os.close(fd)


@pytest.mark.parametrize("spare", [0, 1])
def test_a_write_for_which_no_descriptor_is_left_may_be_tried_again(
    tmp_path: Path, spare: int
) -> None:
    """A log that rests is opened again in the directory that was opened. If that could not be
    entered, what the log held was taken for unknown, and the collection took no more writes."""
    with make(tmp_path / "db") as db:
        put(db, 0)
        db.flush("c")  # from here on the log rests
        with highest_descriptor(spare), pytest.raises(NotBegunError):
            put(db, 5)
        put(db, 10)
        assert db.count("c").count == 10
    require_sound(tmp_path / "db")


def test_what_cannot_be_looked_at_is_not_taken_for_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection whose directory gave an error was said to be deleted, and was there again."""

    def stat(path: Any, **options: Any) -> os.stat_result:
        if Path(str(path)).name in ("c", ".restored-c"):
            raise OSError(errno.EIO, "injected")
        return real(path, **options)

    real = os.stat
    with make(tmp_path / "db") as db:
        put(db, 0)
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", stat)
            with pytest.raises(OSError, match="injected"):
                db.delete_collection("c")
            with pytest.raises(OSError, match="injected"):
                VecDB(tmp_path / "db", read_only=True)
        assert db.delete_collection("c")
        assert not db.collection_exists("c")
    with VecDB(tmp_path / "db") as db:
        assert not db.collection_exists("c")


@pytest.mark.parametrize("call", ["ftruncate", "pwrite"])
def test_a_full_disk_does_not_keep_a_database_from_being_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """There was no space for the holder's name in LOCK; and the error left it locked for good."""
    make(tmp_path / "db").close()
    with monkeypatch.context() as patch:
        patch.setattr(fs.os, call, failing(errno.ENOSPC))
        VecDB(tmp_path / "db").close()
    VecDB(tmp_path / "db").close()


def test_an_error_of_the_lock_leaves_it_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The descriptor stayed open, and with it the lock."""
    make(tmp_path / "db").close()
    with monkeypatch.context() as patch:
        patch.setattr(fs.fcntl, "flock", failing(errno.ENOLCK))
        before = len(os.listdir("/dev/fd"))
        with pytest.raises(OSError, match="injected"):
            VecDB(tmp_path / "db")
        assert len(os.listdir("/dev/fd")) == before
    VecDB(tmp_path / "db").close()


def test_a_descriptor_is_closed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a close(2) that failed it was closed again, when it might have been another file's;
    and the files that were to be closed after it stayed open."""
    closed: list[int] = []
    real = os.close

    def close(fd: int) -> None:
        closed.append(fd)
        real(fd)
        raise OSError(errno.EIO, "injected")

    file = fs.AppendFile(tmp_path / "file")
    with monkeypatch.context() as patch:
        patch.setattr(fs.os, "close", close)
        file.close()
        file.close()
    assert len(closed) == 1


def test_a_collection_that_could_not_be_written_to_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the space for its log it was made all the same, and refused every write."""
    real = fs.AppendFile

    def create(path: Path) -> fs.AppendFile:
        if path.parent.parts[-2:] == ("c", "wal"):
            raise OSError(errno.ENOSPC, "injected")
        return real(path)

    with VecDB(tmp_path / "db") as db:
        with monkeypatch.context() as patch:
            patch.setattr(fs, "AppendFile", create)
            with pytest.raises(OSError, match="injected"):
                db.create_collection("c", VECTORS)
        assert not db.collection_exists("c")
        assert list((tmp_path / "db" / "collections").iterdir()) == []
        db.create_collection("c", VECTORS)
        put(db, 0)


@pytest.mark.parametrize("taken_back", [True, False])
def test_a_collection_that_was_made_and_not_opened_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken_back: bool
) -> None:
    """It was on disk and not in the list: "directory not empty", until the database was opened
    again."""
    with VecDB(tmp_path / "db") as db:
        with monkeypatch.context() as patch:
            patch.setattr("vecdb.engine.open_collections.OpenCollections._open_one", failing())
            if not taken_back:
                patch.setattr("vecdb.engine.open.places.drop_collection", failing())
            with pytest.raises(OSError, match="injected"):
                db.create_collection("c", VECTORS)
        assert not db.collection_exists("c")
        db.create_collection("c", VECTORS)
        put(db, 0)
    with VecDB(tmp_path / "db") as db:
        assert db.count("c").count == 5


def test_a_creation_taken_back_half_way_leaves_nothing_that_is_not_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was removed file by file under its own name; when that failed, the database did not open
    any more."""
    with VecDB(tmp_path / "db") as db:
        real, rename = fs.sync_dir, fs.rename

        def moved(source: Path, target: Path) -> None:
            rename(source, target)
            if target.name == "c":
                patch.setattr(fs, "sync_dir", failing())

        def half(path: Path) -> None:
            (path / "FORMAT").unlink()
            raise OSError(errno.EIO, "injected")

        with monkeypatch.context() as patch:
            patch.setattr(fs, "rename", moved)
            patch.setattr(fs, "remove_tree", half)
            with pytest.raises(OSError, match="injected"):
                db.create_collection("c", VECTORS)
        assert fs.sync_dir is real
        db.create_collection("c", VECTORS)
        put(db, 0)
    with VecDB(tmp_path / "db") as db:
        assert db.damaged == {}
        assert db.count("c").count == 5
        assert [p.name for p in (tmp_path / "db" / "collections").iterdir()] == ["c"]


@pytest.mark.parametrize("step", ["sync_dir", "remove_tree"])
def test_a_collection_that_is_gone_is_not_in_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """It could be neither deleted again nor made again."""
    with make(tmp_path / "db") as db:
        put(db, 0)
        with monkeypatch.context() as patch:
            patch.setattr(fs, step, failing())
            if step == "sync_dir":
                with pytest.raises(OSError, match="injected"):
                    db.delete_collection("c")
            else:
                assert db.delete_collection("c")
        assert not db.collection_exists("c")
        db.create_collection("c", VECTORS)
    with VecDB(tmp_path / "db") as db:
        assert db.count("c").count == 0
        assert [p.name for p in (tmp_path / "db" / "collections").iterdir()] == ["c"]
    require_sound(tmp_path / "db")


def test_an_error_of_a_commit_is_one_of_vecdb(tmp_path: Path) -> None:
    """An lmdb.Error came out, also of a write, and nobody was told to expect one."""
    db = make(tmp_path / "db")
    put(db, 0)
    with longest_file(8192), pytest.raises(WriteError) as raised:
        db.flush("c")
    assert raised.value.errno in (errno.EFBIG, errno.EIO)
    with pytest.raises(ReadOnlyError, match=r"data\.mdb"):
        put(db, 5)
    assert db.count("c").count == 5
    db.close()
    with VecDB(tmp_path / "db") as db:
        put(db, 5)
        assert db.count("c").count == 10
    require_sound(tmp_path / "db")


def test_an_error_of_the_process_is_not_damage(tmp_path: Path) -> None:
    """With too few descriptors LMDB could not open its files, and the collection was said to be
    damaged."""
    db = make(tmp_path / "db")
    put(db, 0)
    db.close()
    refused = 0
    for more in range(100):
        try:
            with highest_descriptor(more):
                db = VecDB(tmp_path / "db")
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            refused += 1
        else:
            break
    assert refused >= 2  # its lock file, and one file after the other
    assert db.damaged == {}
    assert db.count("c").count == 5
    db.close()


def test_a_full_disk_is_noticed_before_it_kills_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LMDB writes to its lock file through a mapping; where the file had no space yet and there
    was none, that was a SIGBUS. A tmpfs or a database without its lock file was enough."""
    make(tmp_path / "db").close()
    lock = tmp_path / "db" / "collections" / "c" / "catalog" / "lock.mdb"
    found = lock.stat()
    assert found.st_blocks * 512 >= found.st_size
    lock.unlink()
    with VecDB(tmp_path / "db") as db:
        put(db, 0)
        with monkeypatch.context() as patch:
            patch.setattr(fs, "reserve", failing(errno.ENOSPC))
            with pytest.raises(StorageFullError, match="injected"):
                db.flush()
        put(db, 5)  # nothing was begun: the collection goes on
        db.flush()
        assert db.count("c").count == 10


def test_a_sync_that_fails_in_the_background_closes_the_collection_to_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = make(tmp_path / "db", sync="interval", sync_interval=0.001)
    with monkeypatch.context() as patch:
        patch.setattr(fs.AppendFile, "sync", failing())
        put(db, 0)
        while db.get_collection("c").status is not models.CollectionStatus.RED:
            pass
    with pytest.raises(ReadOnlyError, match="fsync failed"):
        put(db, 5)
    assert db.count("c").count == 5
    db.close()
    with VecDB(tmp_path / "db") as db:
        assert db.count("c").count == 5
    require_sound(tmp_path / "db")
