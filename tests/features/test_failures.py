"""When a step fails: what was acknowledged stays, what was not has no effect, and the rest works.

Each test names a way of failing. I/O errors are injected at the one door to the disk.
"""

from __future__ import annotations

import copy
import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecdb
from vecdb import VecDB, models
from vecdb.engine import database as engine_database
from vecdb.engine import open_collections
from vecdb.engine.open import places, recovery
from vecdb.engine.optimize import optimizer as optimizer_module
from vecdb.engine.repair.check import check_database
from vecdb.engine.signals import Uninterrupted
from vecdb.engine.store import OptimizerState
from vecdb.engine.write import writer as writer_module
from vecdb.engine.write.ingest import prepare_upsert
from vecdb.errors import (
    CorruptionError,
    InvalidInputError,
    ReadOnlyError,
    ReentrantCallError,
    StorageFullError,
    WriteError,
)
from vecdb.storage import fs
from vecdb.storage.catalog import Catalog

DIM = 8


def make(path: Path, **optimizer: Any) -> VecDB:
    db = VecDB(path)
    db.create_collection(
        "c",
        vectors_config={"size": DIM, "distance": "Dot"},
        optimizers_config={"max_optimization_threads": 0, **optimizer},
    )
    return db


def put(db: VecDB, start: int, count: int, tag: int = 0) -> None:
    rng = np.random.default_rng(start)
    vectors = rng.standard_normal((count, DIM)).astype(np.float32)
    ids = np.arange(start, start + count)
    db.upsert("c", models.Batch(ids=ids, vectors=vectors, payloads=[{"tag": tag}] * count))


def tags(db: VecDB) -> dict[Any, Any]:
    records, after = db.scroll("c", limit=10_000)
    assert after is None
    return {record.id: (record.payload or {}).get("tag") for record in records}


def clean(path: Path) -> None:
    report = check_database(path)
    assert report.ok, report.problems


def raising(code: int) -> Any:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(code, "injected")

    return fail


def test_an_edit_of_a_damaged_row_is_refused_before_it_is_logged(tmp_path: Path) -> None:
    """Logged first, it failed again at every open and made the collection unopenable."""
    db = make(tmp_path / "db", memmap_threshold=1)
    put(db, 0, 50_000)
    db.close()
    [path] = (tmp_path / "db").glob("collections/c/segments/*/vectors")
    damaged = bytearray(path.read_bytes())
    damaged[64 + 4 * DIM * 49_990] ^= 1
    path.write_bytes(damaged)
    with VecDB(tmp_path / "db") as db:
        with pytest.raises(CorruptionError, match="vectors"):
            db.update_vectors("c", [{"id": 49_990, "vector": [1.0] * DIM}])
        db.set_payload("c", {"tag": 1}, [3, 49_990])  # needs no vectors
    with VecDB(tmp_path / "db") as db:
        assert [r.payload for r in db.retrieve("c", [3, 49_990])] == [{"tag": 1}] * 2
        assert db.count("c").count == 50_000


def test_a_group_never_grows_beyond_what_recovery_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small writes queued before a large one made a frame longer than MAX_FRAME."""
    monkeypatch.setattr(writer_module, "_GROUP_BYTES", 4000)
    sizes: list[int] = []
    db = make(tmp_path / "db")
    store = db.collection("c")._store
    real = store.wal.append

    def append(first_seq: int, operations: Any) -> None:
        sizes.append(sum(memoryview(b).nbytes for buffers in operations for b in buffers))
        real(first_seq, operations)

    monkeypatch.setattr(store.wal, "append", append)
    with store.write:  # so that all of them queue up
        threads = [threading.Thread(target=put, args=(db, 100 * n, 20)) for n in range(12)]
        for thread in threads:
            thread.start()
        while len(db.collection("c")._store.queue) < 12:
            pass
    for thread in threads:
        thread.join()
    assert db.count("c").count == 240
    assert max(sizes) <= 4000
    assert len(sizes) < 12
    db.close()


def test_a_write_too_large_for_a_frame_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = make(tmp_path / "db")
    monkeypatch.setattr(writer_module, "MAX_OPERATION", 1000)
    put(db, 0, 5)
    with pytest.raises(InvalidInputError, match="limit of one write is 1000"):
        put(db, 0, 100)
    assert db.count("c").count == 5
    db.close()


def test_a_failed_sync_closes_the_collection_to_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = make(tmp_path / "db")
    put(db, 0, 10)
    with monkeypatch.context() as patch:
        patch.setattr(fs.AppendFile, "sync", raising(errno.EIO))
        with pytest.raises(WriteError):
            put(db, 10, 10)
    with pytest.raises(ReadOnlyError, match="fsync failed"):
        put(db, 20, 10)
    with pytest.raises(ReadOnlyError):
        db.flush("c")
    assert len(tags(db)) == 10
    info = db.get_collection("c")
    assert info.status is models.CollectionStatus.RED
    db.close()
    with VecDB(tmp_path / "db") as db:
        found = len(tags(db))
        assert found in (10, 20)  # the outcome was unknown; half of a batch never is
        put(db, 20, 10)
    clean(tmp_path / "db")


def test_a_full_disk_refuses_the_write_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = make(tmp_path / "db")
    put(db, 0, 10)
    with monkeypatch.context() as patch:
        patch.setattr(fs.os, "writev", raising(errno.ENOSPC))
        with pytest.raises(StorageFullError):
            put(db, 10, 10)
    put(db, 20, 10)
    assert sorted(tags(db)) == [*range(10), *range(20, 30)]
    db.close()
    with VecDB(tmp_path / "db") as db:
        assert sorted(tags(db)) == [*range(10), *range(20, 30)]
    clean(tmp_path / "db")


def test_a_flush_on_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It raised a bare OSError without a path."""
    with make(tmp_path / "db") as db:
        put(db, 0, 5)
        with monkeypatch.context() as patch:
            patch.setattr(fs, "make_dir", raising(errno.ENOSPC))
            with pytest.raises(StorageFullError, match=r"collections/c: injected"):
                db.flush("c")
        put(db, 5, 5)
        db.flush("c")
        assert sorted(tags(db)) == list(range(10))


def test_nothing_new_is_made_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It raised a bare OSError without a path."""
    with make(tmp_path / "db") as db:
        with monkeypatch.context() as patch:
            patch.setattr(fs.os, "writev", raising(errno.ENOSPC))
            with pytest.raises(StorageFullError, match="collections/new: injected"):
                db.create_collection("new", {"size": 2, "distance": "Dot"})
            with pytest.raises(StorageFullError, match="other: injected"):
                VecDB(tmp_path / "other")
        assert not db.collection_exists("new")
        assert db.create_collection("new", {"size": 2, "distance": "Dot"})
    VecDB(tmp_path / "other").close()
    clean(tmp_path / "db")


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EACCES, errno.EIO])
def test_a_database_whose_parent_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """It is somebody else's, and may be of a kind of file system that is never synced. Unless the
    sync fails: then a name may be lost with all that is acknowledged below it."""
    make(tmp_path / "db").close()
    sync_dir = fs.sync_dir

    def refuse(path: Path) -> None:
        if path == tmp_path:
            raise OSError(code, "injected")
        sync_dir(path)

    monkeypatch.setattr(fs, "sync_dir", refuse)
    if code == errno.EIO:
        with pytest.raises(OSError, match="injected"):
            VecDB(tmp_path / "db")
        return
    with VecDB(tmp_path / "db") as db:
        put(db, 0, 3)
        db.create_full_snapshot()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_what_may_not_be_written_to_says_how_it_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    make(tmp_path / "db").close()
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & (os.O_RDWR | os.O_CREAT) and str(path).endswith("LOCK"):
            raise OSError(code, os.strerror(code), path)
        return real(path, flags, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(OSError, match=r"LOCK: .*read_only=True") as raised:
            VecDB(tmp_path / "db")
        assert raised.value.errno == code
        VecDB(tmp_path / "db", read_only=True).close()


@pytest.mark.parametrize("distance", ["Dot", "Euclid", "Manhattan"])
@pytest.mark.parametrize("length", [1e-20, 1e-30])
def test_very_short_vectors_are_indexed(tmp_path: Path, distance: str, length: float) -> None:
    """Their centroids could not be compared with a query: the optimizer tried for ever."""
    rng = np.random.default_rng(3)
    vectors = (length * rng.standard_normal((600, DIM))).astype(np.float32)
    with VecDB(tmp_path / "db") as db:
        db.create_collection(
            "c",
            {"size": DIM, "distance": distance},
            optimizers_config={"max_optimization_threads": 0, "indexing_threshold": 1},
        )
        db.upsert("c", models.Batch(ids=range(600), vectors=vectors))
        db.wait_for_optimizer("c")
        assert db.get_collection("c").indexed_vectors_count == 600
        assert len(db.search("c", vectors[0], limit=10)) == 10


@pytest.mark.parametrize("name", ["make_dir", "sync_dir", "AppendFile"])
def test_a_checkpoint_that_fails_before_its_commit_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    db = make(tmp_path / "db")
    put(db, 0, 10)
    real = getattr(fs, name)

    def fail(path: Path, *more: Any) -> Any:
        if path.name == "wal":  # that of a new WAL file fails closed: the next test
            return real(path, *more)
        raise OSError(errno.EIO, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(fs, name, fail)
        with pytest.raises(OSError, match="injected"):
            db.flush("c")
    assert len(tags(db)) == 10
    put(db, 5, 10, tag=7)
    db.delete("c", [0])
    expected = {**dict.fromkeys(range(1, 5), 0), **dict.fromkeys(range(5, 15), 7)}
    assert tags(db) == expected
    db.flush("c")
    assert tags(db) == expected
    assert db.collection("c")._store.wal.size == 64  # an empty file: nothing waits in the WAL
    db.close()
    with VecDB(tmp_path / "db") as db:
        assert tags(db) == expected
    clean(tmp_path / "db")


def test_a_new_wal_file_whose_name_may_not_be_durable_closes_the_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing on in the old file made recovery find a gap before the new one."""
    db = make(tmp_path / "db")
    put(db, 0, 10)
    with monkeypatch.context() as patch:
        patch.setattr(fs, "sync_dir", raising(errno.EIO))
        with pytest.raises(WriteError, match="its name or not"):
            db.flush("c")
    with pytest.raises(ReadOnlyError, match="its name or not"):
        put(db, 10, 10)
    db.close()
    for _ in range(2):
        with VecDB(tmp_path / "db") as db:
            assert len(tags(db)) == 10
            put(db, 0, 10)
    clean(tmp_path / "db")


def test_a_sync_that_fails_while_freezing_closes_the_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next write ran into an assertion instead of an error."""
    db = VecDB(tmp_path / "db", sync="never")
    db.create_collection("c", vectors_config={"size": DIM, "distance": "Dot"})
    put(db, 0, 10)
    with monkeypatch.context() as patch:
        patch.setattr(fs.AppendFile, "sync", raising(errno.EIO))
        with pytest.raises(WriteError):
            db.flush("c")
    with pytest.raises(ReadOnlyError, match="fsync failed"):
        put(db, 10, 10)
    db.close()


def test_a_refused_recreation_deletes_nothing(tmp_path: Path) -> None:
    """An unknown argument was noticed only after the collection was gone."""
    db = make(tmp_path / "db")
    put(db, 0, 10)
    with pytest.raises(TypeError):
        db.recreate_collection("c", {"size": 4, "distance": "Dot"}, quantisation_config={})  # type: ignore[call-arg]
    with pytest.raises(InvalidInputError):
        db.recreate_collection("c", {"size": 4, "distance": "Dot"}, optimizers_config={"x": 1})
    assert len(tags(db)) == 10
    db.close()


def test_a_build_of_points_that_all_died_meanwhile_adds_no_segment(tmp_path: Path) -> None:
    from vecdb.engine.optimize import build as build_module

    db = make(tmp_path / "db")
    put(db, 0, 10)
    db.flush("c")
    store = db.collection("c")._store

    def delete_all(done: int, total: int) -> None:
        db.delete("c", list(range(10)))
        db.flush("c")

    build_module.build(store, tuple(store.files), progress=delete_all)
    assert store.files == {}
    assert not list(store.segments_path.iterdir())
    db.close()
    clean(tmp_path / "db")


def test_a_commit_of_unknown_outcome_deletes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction was durable and reported an error: its files must not be removed."""
    db = make(tmp_path / "db")
    put(db, 0, 10)
    real = Catalog.commit

    def commit(self: Catalog, change: Any) -> None:
        real(self, change)
        raise OSError(errno.EIO, "injected after the commit")

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "commit", commit)
        with pytest.raises(OSError, match="injected"):
            db.flush("c")
    with pytest.raises(ReadOnlyError):
        put(db, 20, 1)
    assert len(tags(db)) == 10
    db.close()
    with VecDB(tmp_path / "db") as db:
        assert len(tags(db)) == 10
    clean(tmp_path / "db")


def test_a_failed_build_leaves_no_files_and_the_old_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = make(tmp_path / "db", default_segment_number=1)
    for start in (0, 10, 20):
        put(db, start, 10)
        db.flush("c")
    segments = tmp_path / "db" / "collections" / "c" / "segments"
    before = sorted(p.name for p in segments.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(fs, "sync_dir", raising(errno.EIO))
        with pytest.raises(OSError, match="injected"):
            db.optimizer.run_once()
    assert sorted(p.name for p in segments.iterdir()) == before
    assert "injected" in str(db.get_collection("c").optimizer_status)
    assert len(tags(db)) == 30
    assert db.wait_for_optimizer("c")
    assert len(list(segments.iterdir())) == 1
    assert len(tags(db)) == 30
    assert db.get_collection("c").optimizer_status == "ok"
    db.close()
    clean(tmp_path / "db")


def test_points_changed_during_a_build_are_settled_at_its_commit(tmp_path: Path) -> None:
    """Deleted, overwritten and edited between pin and commit; then a kill before a checkpoint."""
    from vecdb.engine.optimize import build as build_module

    db = make(tmp_path / "db", default_segment_number=1)
    for start in (0, 10, 20):
        put(db, start, 10)
        db.flush("c")
    store = db.collection("c")._store

    def meddle(done: int, total: int) -> None:
        if done == total:
            db.delete("c", [0, 11])
            put(db, 5, 2, tag=5)
            db.set_payload("c", {"tag": 9}, [22])

    build_module.build(store, tuple(store.files), progress=meddle)
    expected = {
        **{n: 0 for n in range(30) if n not in (0, 11)},
        5: 5,
        6: 5,
        22: 9,
    }
    assert tags(db) == expected
    killed_path = tmp_path / "copy"
    shutil.copytree(tmp_path / "db", killed_path)  # as a kill would leave it
    with VecDB(killed_path) as killed:
        assert tags(killed) == expected
    db.close()
    with VecDB(tmp_path / "db") as db:
        assert tags(db) == expected
    clean(tmp_path / "db")
    clean(killed_path)


def test_a_crash_loses_no_edit_of_a_row_that_a_build_moved(tmp_path: Path) -> None:
    """An edit in the WAL needs the row it edits: a vacuum must keep rows that died since the
    last checkpoint, or replay would find nothing to edit and lose the point."""
    db = make(tmp_path / "db", vacuum_min_vector_number=1, deleted_threshold=0.1)
    put(db, 0, 10)
    db.flush("c")
    db.delete("c", [0, 1, 2])
    db.flush("c")
    db.set_payload("c", {"tag": 3}, [5])
    while db.optimizer.run_once():
        pass
    shutil.copytree(tmp_path / "db", tmp_path / "copy")
    with VecDB(tmp_path / "copy") as killed:
        assert tags(killed) == {**dict.fromkeys(range(3, 10), 0), 5: 3}
    db.close()


def test_ctrl_c_in_an_optimizer_commit_keeps_the_segment_just_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interrupt came out after the commit, and the handler removed the new directory."""
    db = make(tmp_path / "db", default_segment_number=1)
    for start in (0, 10, 20, 30):
        put(db, start, 10)
        db.flush("c")
    real = Catalog.commit

    def commit(self: Catalog, change: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        real(self, change)

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "commit", commit)
        with pytest.raises(KeyboardInterrupt):
            db.optimizer.run_once()
    assert len(tags(db)) == 40
    db.close()
    with VecDB(tmp_path / "db") as db:
        assert len(tags(db)) == 40
    clean(tmp_path / "db")


def test_a_signal_handler_inside_a_write_runs_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It re-entered the lock between the WAL and the memory segment: operations were lost."""
    db = make(tmp_path / "db")
    put(db, 0, 10)
    store = db.collection("c")._store
    real = store.wal.append

    def append(first_seq: int, operations: Any) -> None:
        real(first_seq, operations)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_: db.flush("c"))
    try:
        with monkeypatch.context() as patch:
            patch.setattr(store.wal, "append", append)
            put(db, 10, 10)
        put(db, 20, 10)
    finally:
        signal.signal(signal.SIGTERM, before)
    db.close()
    with VecDB(tmp_path / "db") as db:
        assert sorted(tags(db)) == list(range(30))


def test_calls_from_inside_a_change_are_refused(tmp_path: Path) -> None:
    db = make(tmp_path / "db")
    put(db, 0, 10)
    store = db.collection("c")._store
    with store.write:
        for call in (lambda: put(db, 1, 1), lambda: db.flush("c"), db.close):
            with pytest.raises(ReentrantCallError, match="signal handler"):
                call()
    put(db, 10, 10)
    assert len(tags(db)) == 20
    db.close()


def test_the_array_of_the_caller_is_not_kept(tmp_path: Path) -> None:
    """It was logged without a copy: changing it meanwhile made a frame with a wrong checksum."""
    with make(tmp_path / "db") as db:
        mine = np.ones((3, DIM), dtype=np.float32)
        upsert = prepare_upsert(
            db.collection("c")._store.schema, models.Batch(ids=[1, 2, 3], vectors=mine)
        )
        assert not np.shares_memory(upsert.vectors[""], mine)


def test_a_wal_frame_in_the_place_of_another_is_damage(tmp_path: Path) -> None:
    """A whole frame with the wrong seq was taken for a torn tail and silently dropped."""
    db = make(tmp_path / "db")
    for n in range(3):
        put(db, 10 * n, 5)
    shutil.copytree(tmp_path / "db", tmp_path / "copy")
    db.close()
    [path] = (tmp_path / "copy").glob("collections/c/wal/*.wal")
    data = path.read_bytes()
    frame = (len(data) - 64) // 3
    path.write_bytes(data[: 64 + frame] + data[64 + 2 * frame :])
    with (
        VecDB(tmp_path / "copy") as db,
        pytest.raises(CorruptionError, match="operation 2 is missing"),
    ):
        db.collection("c")


def test_a_full_disk_at_open_leaves_the_collection_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint at open was mandatory: no space meant no database."""
    db = make(tmp_path / "db")
    put(db, 0, 10)
    shutil.copytree(tmp_path / "db", tmp_path / "copy")
    db.close()
    with monkeypatch.context() as patch:
        patch.setattr(fs, "make_dir", raising(errno.ENOSPC))
        with VecDB(tmp_path / "copy") as db:
            assert len(tags(db)) == 10
            with pytest.raises(ReadOnlyError, match="new files"):
                put(db, 10, 1)
    with VecDB(tmp_path / "copy") as db:
        put(db, 10, 10)
        assert len(tags(db)) == 20
    clean(tmp_path / "copy")


def test_ctrl_c_at_the_end_of_a_write_leaves_no_other_signal_held_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It came between the return of its own handler and that of the others, which never returned:
    SIGTERM was held back until the process was killed."""
    real = signal.signal
    came: list[int] = []

    def signaled(number: int, handler: Any) -> Any:
        before = real(number, handler)
        if number == signal.SIGINT and handler is signal.default_int_handler:
            raise KeyboardInterrupt
        return before

    before = real(signal.SIGTERM, lambda *_: came.append(1))
    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), Uninterrupted():
            patch.setattr(signal, "signal", signaled)
        signal.raise_signal(signal.SIGTERM)
    finally:
        real(signal.SIGTERM, before)
    assert came == [1]


def test_a_handler_that_raises_before_it_is_held_back_leaves_ctrl_c_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C was held back for ever."""
    real = signal.signal

    def signaled(number: int, handler: Any) -> Any:
        if number == signal.SIGTERM and handler is not its_own:
            raise SystemExit
        return real(number, handler)

    def its_own(*_: Any) -> None:
        pass

    before = real(signal.SIGTERM, its_own)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(signal, "signal", signaled)
            with pytest.raises(SystemExit):
                Uninterrupted().__enter__()
    finally:
        real(signal.SIGTERM, before)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def at_line(number: int, *modules: Any) -> Callable[..., Any]:
    """What makes Python raise KeyboardInterrupt at one of the lines that run in some modules, as
    Ctrl-C may; but for those that enter and leave blocks of locks, and the first of what is done in
    any case: there it comes a moment later, when the call is done."""
    lines = {module.__file__: Path(module.__file__).read_text().split("\n") for module in modules}
    left = [number]

    def local(frame: Any, event: str, _: Any) -> Any:
        before, text = lines[frame.f_code.co_filename][frame.f_lineno - 2 : frame.f_lineno]
        later = text.lstrip().startswith("with ") or before.strip() == "finally:"
        if event == "line" and not later:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
        return local

    return lambda frame, *_: local if frame.f_code.co_filename in lines else None


def test_a_close_that_was_interrupted_anywhere_is_finished_by_the_next(tmp_path: Path) -> None:
    """It was closed for itself and open for all others: the lock stayed with the process."""
    every: list[VecDB] = []  # or they are finalized in the middle of others' closes
    for number in itertools.count(1):
        db = make(tmp_path / "db")
        every.append(db)
        put(db, 0, 10)
        sys.settrace(at_line(number, engine_database, open_collections))
        try:
            db.close()
            break
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        db.close()
        assert db.optimizer._thread is not None
        assert not db.optimizer._thread.is_alive()
        with VecDB(tmp_path / "db") as again:
            every.append(again)
            assert len(tags(again)) == 10
            again.delete_collection("c")
    assert number > 20


def test_who_waits_for_the_optimizer_may_be_interrupted_anywhere(tmp_path: Path) -> None:
    """The optimizer waited for ever for who had gone, or took writing for paused."""
    with VecDB(tmp_path / "db") as db:
        db.create_collection(
            "c", {"size": 2, "distance": "Dot"}, optimizers_config={"max_optimization_threads": 0}
        )
        store = db.collection("c")._store
        for number in itertools.count(1):
            sys.settrace(at_line(number, optimizer_module))
            try:
                assert db.wait_for_optimizer("c")
                break
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(None)
            assert not store.waiting
            assert not db.optimizer._callers
            assert db.optimizer._current is None
        assert number > 20


def test_a_failed_close_gives_the_lock_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the closing checkpoint left the database locked until the process ended."""
    db = make(tmp_path / "db")
    put(db, 0, 10)

    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fs, "make_dir", interrupted)
        with pytest.raises(KeyboardInterrupt):
            db.close()
    with VecDB(tmp_path / "db") as db:
        assert len(tags(db)) == 10


def test_a_catalog_is_durable_before_anything_refers_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process was killed between LMDB's write and the end of its sync; the next one began a log
    # that names this transaction; power was lost. The catalog was then an older copy, and the
    # collection refused.
    path = tmp_path / "killed.db"
    with VecDB(path) as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
    done: list[str] = []
    sync, begin = fs.sync_file, fs.AppendFile.__init__

    def noted(file: Path) -> None:
        sync(file)
        done.append(file.name)

    def begun(self: fs.AppendFile, file: Path) -> None:
        begin(self, file)
        done.append(file.parent.name)

    monkeypatch.setattr(fs, "sync_file", noted)
    monkeypatch.setattr(fs.AppendFile, "__init__", begun)
    with VecDB(path):
        assert done.index("data.mdb") < done.index("wal")


def test_a_close_on_a_full_disk_says_where_and_that_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "full.db"
    db = VecDB(path)
    db.create_collection("c", {"size": 2, "distance": "Dot"})
    db.upsert("c", [{"id": 1, "vector": [1, 2]}])
    with monkeypatch.context() as patch:
        patch.setattr(fs, "make_dir", raising(errno.ENOSPC))
        with pytest.raises(StorageFullError, match=r"full\.db.*nothing is lost"):
            db.close()
    with VecDB(path) as db:
        assert len(db.collection("c")) == 1


def test_pages_of_equal_scores_do_not_overlap(tmp_path: Path) -> None:
    """numpy picked arbitrary rows among ties at the end of a page."""
    with make(tmp_path / "db") as db:
        vectors = np.ones((500, DIM), dtype=np.float32)
        db.upsert("c", models.Batch(ids=np.arange(500), vectors=vectors))
        seen = [
            point.id
            for offset in range(0, 500, 10)
            for point in db.search("c", vectors[0], limit=10, offset=offset)
        ]
    assert sorted(seen) == list(range(500))


def test_a_closed_collection_keeps_no_memory(tmp_path: Path) -> None:
    db = make(tmp_path / "db")
    put(db, 0, 10)
    db.flush("c")
    store = db.collection("c")._store
    assert store.files
    db.close()
    assert not store.files
    assert not store.view.segments


def test_many_failures_still_have_a_delay() -> None:
    state = OptimizerState(failures=5000)
    state.failed("merge", OSError("no space"))
    assert state.retry_at > 0


@pytest.mark.parametrize("step", ["rename", "sync_dir"])
def test_a_collection_that_cannot_be_made_can_be_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with VecDB(tmp_path / "db") as db:
        with monkeypatch.context() as patch:
            patch.setattr(fs, step, raising(errno.EIO))
            with pytest.raises(OSError, match="injected"):
                db.create_collection("c", {"size": DIM, "distance": "Dot"})
        assert not db.collection_exists("c")
        db.create_collection("c", {"size": DIM, "distance": "Dot"})
        put(db, 0, 3)
        with monkeypatch.context() as patch:
            patch.setattr(fs, "rename", raising(errno.EIO))
            with pytest.raises(OSError, match="injected"):
                db.delete_collection("c")
        assert db.delete_collection("c")
    with VecDB(tmp_path / "db") as db:
        assert not db.collection_exists("c")


def test_corruption_errors_can_be_pickled() -> None:
    """A pool of processes could not bring one home, and hung."""
    error = copy.copy(CorruptionError("file", "is damaged"))
    assert (error.path, error.detail, str(error)) == ("file", "is damaged", "file: is damaged")


@pytest.mark.parametrize("which", ["vecdb-optimizer", "vecdb-sync"])
def test_without_a_thread_to_be_had_the_lock_is_given_back(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process had it until its end, and could not open the database again."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == which:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            VecDB(tmp_path / "db", sync="interval")
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})


@pytest.mark.parametrize("done", [True, False])
def test_a_log_that_may_have_its_name_or_not_closes_the_collection_to_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    """The rename was done and then said to have failed: writes went on in the log before it, which
    the next open took for retired. All of them were lost."""
    db = make(tmp_path / "db")
    put(db, 0, 5)
    rename = fs.rename

    def fail(source: Path, target: Path) -> None:
        if done:
            rename(source, target)
        raise OSError(errno.EIO, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(fs, "rename", fail)
        with pytest.raises(WriteError, match=r"may have its name or not: .*injected"):
            db.flush("c")
    with pytest.raises(ReadOnlyError, match="injected"):
        put(db, 5, 5)
    assert sorted(tags(db)) == list(range(5))
    db.close()
    clean(tmp_path / "db")
    with VecDB(tmp_path / "db") as db:
        put(db, 5, 5)
        db.flush("c")
    with VecDB(tmp_path / "db") as db:
        assert sorted(tags(db)) == list(range(10))
    clean(tmp_path / "db")


@pytest.mark.parametrize("call", ["flush", "update_collection"])
def test_a_database_with_a_log_that_may_have_its_name_or_not_can_be_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Closing it raised ReadOnlyError, unless a write had been refused before, and until then its
    status was green."""
    db = make(tmp_path / "db")
    put(db, 0, 5)
    with monkeypatch.context() as patch:
        patch.setattr(fs, "rename", raising(errno.EIO))
        if call == "flush":
            with pytest.raises(WriteError):
                db.flush("c")
        else:
            db.update_collection("c", optimizers_config={"indexing_threshold": 5000})
    assert db.get_collection("c").status is models.CollectionStatus.RED
    db.close()
    with VecDB(tmp_path / "db") as db:
        assert sorted(tags(db)) == list(range(5))


def test_a_time_limit_that_ends_while_a_log_is_begun_closes_the_collection_to_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler of SIGALRM raised between the rename and the next line. With nothing new since
    the last checkpoint the new log has the name of the open one: writes went on in a file without a
    name, were acknowledged, and were gone after a kill."""

    class TooLate(Exception):
        pass

    def late(*_: object) -> None:
        raise TooLate

    db = make(tmp_path / "db")
    put(db, 0, 5)
    db.flush("c")
    sync_dir = fs.sync_dir

    def alarm(path: Path) -> None:
        if path.name == "wal":
            signal.raise_signal(signal.SIGALRM)
        sync_dir(path)

    before = signal.signal(signal.SIGALRM, late)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(fs, "sync_dir", alarm)
            with pytest.raises(TooLate):
                db.update_collection("c", optimizers_config={"indexing_threshold": 5000})
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(ReadOnlyError, match="may have its name or not"):
        put(db, 5, 5)
    db.close()
    with VecDB(tmp_path / "db") as db:
        assert sorted(tags(db)) == list(range(5))
    clean(tmp_path / "db")


def test_a_failed_sync_is_not_tried_again_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = VecDB(tmp_path / "db", sync="interval", sync_interval=3600)
    db.create_collection("c", {"size": DIM, "distance": "Dot"})
    put(db, 0, 5)
    synced: list[Path] = []

    def fails(file: fs.AppendFile) -> None:
        synced.append(file.path)
        raise OSError(errno.EIO, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(fs.AppendFile, "sync", fails)
        with pytest.raises(WriteError):
            db.flush("c")
        db._database._syncer._sync_all()
    assert len(synced) == 1
    db.close()


def test_what_cannot_be_removed_fails_no_checkpoint_and_no_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that is no longer needed stayed: the flush raised though it was committed, and opening
    left the collection read-only. A segment that nothing refers to stayed: nothing opened."""
    db = make(tmp_path / "db")
    put(db, 0, 5)
    logs = tmp_path / "db" / "collections" / "c" / "wal"
    segments = logs.with_name("segments")
    with monkeypatch.context() as patch:
        patch.setattr(fs, "remove_file", raising(errno.EBUSY))
        patch.setattr(fs, "remove_tree", raising(errno.EBUSY))
        db.flush("c")
        put(db, 5, 5)
        assert len(list(logs.iterdir())) == 2
        shutil.copytree(tmp_path / "db", tmp_path / "killed")
        db.close()
        killed = tmp_path / "killed" / "collections" / "c"
        for number in (4, 5):
            (killed / "segments" / f"{number:016x}").mkdir()
        with VecDB(tmp_path / "killed") as db:
            put(db, 10, 5)
            db.flush("c")
            assert sorted(tags(db)) == list(range(15))
    assert len(list(segments.iterdir())) >= 1
    for name, count in (("db", 10), ("killed", 15)):
        with VecDB(tmp_path / name) as db:
            assert sorted(tags(db)) == list(range(count))
        clean(tmp_path / name)


def test_a_collection_that_was_not_made_is_never_left_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sync of its name failed. It was renamed back and removed: after a power loss it might
    have had its name again, and some of its files not."""
    with VecDB(tmp_path / "db") as db:
        sync_dir = fs.sync_dir

        def fails(path: Path) -> None:
            if path.name == "collections":
                raise OSError(errno.EIO, "injected")
            sync_dir(path)

        with monkeypatch.context() as patch:
            patch.setattr(fs, "sync_dir", fails)
            with pytest.raises(OSError, match="injected"):
                db.create_collection("c", {"size": DIM, "distance": "Dot"})
        assert not db.collection_exists("c")
        (left,) = (tmp_path / "db" / "collections").iterdir()
        assert (left / "FORMAT").exists()
        assert (left / "segments").exists()
        shutil.copytree(tmp_path / "db", tmp_path / "lost")
    (tmp_path / "lost" / "collections" / left.name).rename(tmp_path / "lost" / "collections" / "c")
    with VecDB(tmp_path / "lost") as db:
        assert db.count("c").count == 0
    with VecDB(tmp_path / "db"):
        assert not list((tmp_path / "db" / "collections").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user")
@pytest.mark.parametrize("where", ["snapshots", "collections"])
def test_the_directory_that_a_mounted_disk_has_is_nobodys(where: str) -> None:
    """``lost+found`` can only be read by root: the database was refused."""
    code = """
import os, sys
from vecdb import VecDB
for path in sys.argv[1:]:
    with VecDB(path) as db:
        print(db.count("c").count, db.damaged)
    os.seteuid(65534)  # all modules are loaded, from where others may not look
"""
    with tempfile.TemporaryDirectory(prefix="vecdb-test-") as parent:
        os.chmod(parent, 0o755)
        path = Path(parent) / "db"
        db = make(path)
        put(db, 0, 5)
        db.create_snapshot("c")
        db.close()
        shutil.copytree(path, path.with_name("warm"))
        for part in [path, *path.rglob("*")]:
            os.chown(part, 65534, 65534)
        (path / where / "lost+found").mkdir(mode=0o700)
        words = [sys.executable, "-c", code, str(path.with_name("warm")), str(path)]
        environment = os.environ | {"PYTHONPATH": str(Path(vecdb.__file__).parent.parent)}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.split() == ["5", "{}"] * 2, done.stderr


def test_a_restore_whose_commit_is_said_to_have_failed_does_not_take_place_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rename was done all the same: the next open put the restored collection in the place of
    the one that had been written to since."""
    db = make(tmp_path / "db")
    put(db, 0, 5)
    name = db.create_snapshot("c").name
    rename = fs.rename

    def fail(source: Path, target: Path) -> None:
        rename(source, target)
        if not failed and ".restored-" in target.name:
            failed.append(target)
            raise OSError(errno.EIO, "injected")

    failed: list[Path] = []
    with monkeypatch.context() as patch:
        patch.setattr(fs, "rename", fail)
        with pytest.raises(OSError, match="injected"):
            db.recover_snapshot("c", name)
    assert failed
    put(db, 5, 5)
    db.close()
    with VecDB(tmp_path / "db") as db:
        assert sorted(tags(db)) == list(range(10))
    clean(tmp_path / "db")


def test_a_collection_that_cannot_be_taken_back_is_said_to_be_uncertain(
    db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made, cannot be opened, nor removed: that the disk is full would say that it is not."""

    def full(*given: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with VecDB(db_path) as db:
        with monkeypatch.context() as broken:
            broken.setattr(recovery, "open_store", full)
            broken.setattr(places, "drop_collection", full)
            with pytest.raises(WriteError, match=r"'c' could not be opened .* nor taken back"):
                db.create_collection("c", {"size": 2, "distance": "Dot"})
        assert not db.collection_exists("c")
    with VecDB(db_path) as db:
        assert db.count("c").count == 0


def test_ctrl_c_while_a_close_waits_leaves_nothing_open(tmp_path: Path) -> None:
    """The lock was given back, and whoever the close had waited for went on to write."""
    db = make(tmp_path / "db")
    put(db, 0, 10)
    store = db.collection("c")._store
    held, interrupted = threading.Event(), threading.Event()
    refused: list[vecdb.errors.LockedError] = []

    def hold() -> None:
        with store.maintenance:
            held.set()
            interrupted.wait(60)
            try:
                VecDB(tmp_path / "db").close()
            except vecdb.errors.LockedError as error:
                refused.append(error)

    def interrupt() -> None:
        while not store.closing:
            time.sleep(0.01)
        time.sleep(0.1)  # now it waits, nearly always
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        interrupted.set()

    threads = [threading.Thread(target=hold), threading.Thread(target=interrupt)]
    threads[0].start()
    held.wait(60)
    threads[1].start()
    with pytest.raises(KeyboardInterrupt):
        db.close()
    for thread in threads:
        thread.join()
    assert store.closed
    assert refused
    with VecDB(tmp_path / "db") as db:
        assert sorted(tags(db)) == list(range(10))
