"""However points come and go, segments, descriptors and space stay bounded.

Limits are set low, so that a few thousand points do what gigabytes do.
"""

from __future__ import annotations

import errno
import gc
import os
import random
import resource
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB, models
from vecdb.engine.open import places
from vecdb.engine.operations import Upsert
from vecdb.engine.optimize.optimizer import Optimizer
from vecdb.engine.repair.check import check_database
from vecdb.engine.write import checkpoint
from vecdb.engine.write.writer import submit
from vecdb.errors import OptimizerError, StorageFullError
from vecdb.storage import fs, lookup
from vecdb.storage.segment import FileSegment
from vecdb.storage.wal import Wal
from vecdb.vectors.block import VectorBlock

DIM = 8
MOST = 12
VECTORS = np.random.default_rng(0).standard_normal((6000, DIM)).astype(np.float32)


def create(db: VecDB, name: str = "c", **optimizer: Any) -> None:
    db.create_collection(
        name, vectors_config={"size": DIM, "distance": "Dot"}, optimizers_config=optimizer
    )


def put(db: VecDB, ids: Any, name: str = "c", tag: int = 0) -> None:
    rows = np.asarray(ids) % len(VECTORS)
    db.upsert(
        name,
        models.Batch(ids=ids, vectors=VECTORS[rows], payloads=[{"tag": tag}] * len(rows)),
    )


def tags(db: VecDB) -> dict[Any, Any]:
    records, after = db.scroll("c", limit=10_000)
    assert after is None
    return {record.id: (record.payload or {})["tag"] for record in records}


def segments(db: VecDB) -> int:
    return sum(segment.kind == "file" for segment in db.get_collection("c").segments)


def directories(path: Path) -> int:
    return len(os.listdir(path / "collections" / "c" / "segments"))


def clean(path: Path) -> None:
    report = check_database(path)
    assert report.ok, report.problems


def refusing(code: int) -> Any:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError(code, os.strerror(code), "injected")

    return refuse


# -- segments --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("threads", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_written_the_segments_stay_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, threads: int
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(checkpoint, "MEMORY_LIMIT", 1 << 15)
    known: dict[int, int] = {}
    optimizer = {"max_optimization_threads": threads, "indexing_threshold": 20}
    db = VecDB(tmp_path / "db", sync="never")
    create(db, **optimizer)
    for step in range(150):
        match rng.choice(("put", "put", "put", "flush", "delete", "reopen")):
            case "put":
                start, count = rng.randrange(5000), rng.choice((1, 1, 20, 200))
                put(db, np.arange(start, start + count), tag=step)
                known.update(dict.fromkeys(range(start, start + count), step))
            case "delete":
                start = rng.randrange(5000)
                db.delete("c", list(range(start, start + 300)))
                known = {key: tag for key, tag in known.items() if not start <= key < start + 300}
            case "reopen":
                db.close()
                db = VecDB(tmp_path / "db", sync="never")
            case "flush":
                db.flush("c")
        assert segments(db) <= MOST
    assert tags(db) == known
    db.close()
    clean(tmp_path / "db")
    with VecDB(tmp_path / "db", read_only=True) as again:
        assert tags(again) == known
        some = rng.sample(sorted(known), 20)
        found = again.retrieve("c", some, with_vectors=True)
        for record in found:
            assert np.array_equal(record.vector, VECTORS[record.id % len(VECTORS)])


RUNS = """
import os, sys
import numpy as np
from vecdb import VecDB

path, runs = sys.argv[1], int(sys.argv[2])
for run in range(runs):
    child = os.fork()
    if not child:
        db = VecDB(path, sync="never")
        if run == 0:
            db.create_collection("c", vectors_config={"size": 8, "distance": "Dot"})
        db.upsert("c", [{"id": run, "vector": np.full(8, run), "payload": {"tag": run}}])
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.slow
def test_runs_that_are_killed_leave_few_segments(tmp_path: Path) -> None:
    """Each recovery makes a checkpoint, and so a segment of its own."""
    subprocess.run([sys.executable, "-c", RUNS, str(tmp_path / "db"), "45"], check=True)
    assert directories(tmp_path / "db") <= MOST
    with VecDB(tmp_path / "db") as db:
        assert tags(db) == {run: run for run in range(45)}
    clean(tmp_path / "db")


def test_a_database_with_many_segments_gets_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an earlier version may have left it."""
    with VecDB(tmp_path / "db", sync="never") as db, monkeypatch.context() as patch:
        patch.setattr(checkpoint, "absorbed", lambda *_: ())
        create(db, max_optimization_threads=0)
        for n in range(60):
            put(db, [n])
            db.flush("c")
        assert segments(db) == 60
    with VecDB(tmp_path / "db", sync="never") as db:
        put(db, [60])
        db.flush("c")
        assert segments(db) <= MOST
        assert sorted(tags(db)) == list(range(61))
    clean(tmp_path / "db")


def test_what_dies_while_it_is_absorbed_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = VecDB(tmp_path / "db", sync="never")
    create(db, max_optimization_threads=0)
    for n in range(10):
        put(db, np.arange(10 * n, 10 * n + 10))
        db.flush("c")
    put(db, np.arange(100, 110))
    real = checkpoint._build

    def write() -> None:
        db.delete("c", [3, 105])
        put(db, [14, 106], tag=1)
        db.set_payload("c", {"tag": 2}, [25])

    def build(store: Any, sources: Any) -> Any:
        built = real(store, sources)
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        return built

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_build", build)
        db.flush("c")
    assert segments(db) <= MOST
    expected = dict.fromkeys(set(range(110)) - {3, 105}, 0) | {14: 1, 106: 1, 25: 2}
    assert tags(db) == expected
    shutil.copytree(tmp_path / "db", tmp_path / "killed")
    db.close()
    for path in (tmp_path / "db", tmp_path / "killed"):
        with VecDB(path) as again:
            assert tags(again) == expected
        clean(path)


def test_a_damaged_segment_keeps_no_checkpoint_from_its_commit(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db", sync="never") as db:
        create(db, max_optimization_threads=0, memmap_threshold=1)
        for n in range(10):
            put(db, np.arange(200 * n, 200 * n + 200))
            db.flush("c")
    path = sorted((tmp_path / "db/collections/c/segments").iterdir())[0] / "vectors"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with VecDB(tmp_path / "db", sync="never") as db:
        for n in range(20):
            put(db, [5000 + n])
            db.flush("c")
            assert db.get_collection("c").wal_bytes < 100
        assert segments(db) <= MOST + 1
        assert db.count("c").count == 2020


def test_absorbing_needs_space_and_does_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VecDB(tmp_path / "db", sync="never") as db:
        create(db, max_optimization_threads=0)
        for n in range(10):
            put(db, np.arange(10 * n, 10 * n + 10))
            db.flush("c")
        with monkeypatch.context() as patch:
            patch.setattr(lookup, "free_bytes", lambda _: 4000)
            put(db, [1000])
            db.flush("c")
            assert segments(db) == 11
        put(db, [1001])
        db.flush("c")
        assert segments(db) <= 10


def test_one_collection_does_not_keep_the_others_waiting(open_db: Callable[..., VecDB]) -> None:
    """The optimizer came to no other while it always found something to do in the first."""
    db = open_db()
    create(db, "busy", indexing_threshold=1)
    create(db, "quiet", indexing_threshold=1)
    stop = threading.Event()

    def write() -> None:
        at = 0
        while not stop.is_set():
            put(db, np.arange(at, at + 500) % 20_000, "busy")
            at += 500

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while db.get_collection("busy").optimizer_progress.completed < 2:
            stop.wait(0.01)
        put(db, np.arange(2000), "quiet")
        assert db.wait_for_optimizer("quiet", timeout=120)
        assert writer.is_alive()
    finally:
        stop.set()
        writer.join()
    assert db.get_collection("quiet").indexed_vectors_count == 2000


def test_collections_take_turns_and_one_that_is_waited_for_more_often(
    open_db: Callable[..., VecDB], monkeypatch: pytest.MonkeyPatch
) -> None:
    db = open_db()
    for name in "abcd":
        create(db, name)
    stores = {store.name: store for store in db._database.stores()}
    optimizer = Optimizer(db._database.stores)
    left, turns = dict.fromkeys("abcd", 5), []

    def step(store: Any, *, patient: bool = False) -> bool:
        turns.append(store.name)
        left[store.name] -= 1
        return left[store.name] >= 0

    monkeypatch.setattr(optimizer, "_step", step)
    optimizer._waited_for = {1: stores["d"], 2: stores["d"]}  # two callers
    optimizer._look()
    assert turns[:8] == ["d", "a", "d", "b", "d", "c", "d", "d"]
    assert set(turns[8:11]) >= {"a"}


# -- space -----------------------------------------------------------------------------------


def test_a_checkpoint_made_again_writes_what_lives_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wrote all that had lived at its first try: on a full disk it failed for ever."""
    db = VecDB(tmp_path / "db", sync="never")
    create(db, max_optimization_threads=0)
    put(db, np.arange(1000))
    for n in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(fs, "make_dir", refusing(errno.ENOSPC))
            with pytest.raises(StorageFullError):
                db.flush("c")
        put(db, np.arange(2000 + n, 2010 + n), tag=n)
        db.set_payload("c", {"tag": 9}, [5 + n])
        db.delete("c", list(range(10, 990 + n)))
        expected = tags(db)
        assert len(expected) == 10 + (10 - n) + 10 + n
        shutil.copytree(tmp_path / "db", tmp_path / f"killed{n}")
        with VecDB(tmp_path / f"killed{n}") as killed:
            assert tags(killed) == expected
    db.flush("c")
    [segment] = db.get_collection("c").segments
    assert (segment.kind, segment.points, segment.deleted) == ("file", len(expected), 0)
    assert db.get_collection("c").wal_bytes < 100
    assert tags(db) == expected
    db.close()
    clean(tmp_path / "db")
    with VecDB(tmp_path / "db") as again:
        assert tags(again) == expected


def test_all_can_be_deleted_without_space_for_a_new_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a log nor a segment can be begun, and the space of all segments is freed."""
    with VecDB(tmp_path / "db", sync="never") as db:
        create(db, max_optimization_threads=0)
        for n in range(3):
            put(db, np.arange(100 * n, 100 * n + 100))
            db.flush("c")
        put(db, [1, 500])
        with monkeypatch.context() as patch:
            patch.setattr(fs.os, "open", refuse_new_files)
            db.delete("c", models.Filter())
            db.flush("c")
        assert directories(tmp_path / "db") == 0
        put(db, [7])
        db.flush("c")
    with VecDB(tmp_path / "db") as db:
        assert sorted(tags(db)) == [7]
    clean(tmp_path / "db")


_open = os.open


def refuse_new_files(path: Any, flags: int, *more: Any, **options: Any) -> int:
    if flags & os.O_EXCL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))
    return _open(path, flags, *more, **options)


def test_a_vacuum_needs_space_for_what_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asked for more than the old segment took, dead rows and all."""
    with VecDB(tmp_path / "db", sync="never") as db:
        create(db, max_optimization_threads=0, indexing_threshold=0)
        put(db, np.arange(5000))
        db.flush("c")
        size = sum(f.stat().st_size for f in (tmp_path / "db").rglob("vectors"))
        monkeypatch.setattr(lookup, "free_bytes", lambda _: size // 2)
        db.delete("c", list(range(500, 5000)))
        assert db.wait_for_optimizer("c")
        assert sum(f.stat().st_size for f in (tmp_path / "db").rglob("vectors")) < size // 4
        assert sorted(tags(db)) == list(range(500))


def test_points_are_refused_while_deleting_still_has_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VecDB(tmp_path / "db", sync="never") as db:
        create(db, max_optimization_threads=0)
        put(db, np.arange(5000))
        kept = db.collection("c")._store.kept_free()
        db.collection("c")._store.room = 0
        assert kept > 20_000
        monkeypatch.setattr(lookup, "free_bytes", lambda _: kept)
        with pytest.raises(StorageFullError, match="kept for deleting"):
            put(db, [1])
        with pytest.raises(StorageFullError, match="kept for deleting"):
            db.set_payload("c", {"tag": 1}, [1])
        db.delete("c", list(range(10, 5000)))
        db.flush("c")
        put(db, [1], tag=1)
        assert tags(db) == dict.fromkeys(range(10), 0) | {1: 1}


# -- descriptors -------------------------------------------------------------------------------


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir("/proc/self/fd"))
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 30, hard))
        with suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        assert taken
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def ten_segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed database, to be copied."""
    path = tmp_path_factory.mktemp("ten") / "db"
    with VecDB(path) as db:
        create(db, max_optimization_threads=0, indexing_threshold=1)
        for n in range(10):
            put(db, np.arange(30 * n, 30 * n + 30))
            db.flush("c")
    return path


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
@pytest.mark.parametrize("left", range(16))
def test_a_shortage_of_descriptors_passes(ten_segments: Path, tmp_path: Path, left: int) -> None:
    """Where it struck between a rename and its sync, or before a commit, the collection took no
    more writes until it was opened again."""
    shutil.copytree(ten_segments, tmp_path / "db")
    db = VecDB(tmp_path / "db")
    put(db, [1000])
    with descriptors_left(left):
        for attempt in (db.flush, db.wait_for_optimizer, lambda name: put(db, [1001])):
            with suppress(OSError, OptimizerError):
                attempt("c")
    put(db, [1002])
    db.flush("c")
    assert db.wait_for_optimizer("c")
    assert db.get_collection("c").status is models.CollectionStatus.GREEN
    found = set(tags(db))
    assert found - {1001} == {*range(300), 1000, 1002}
    assert segments(db) <= MOST
    db.close()
    clean(tmp_path / "db")
    with VecDB(tmp_path / "db") as db:
        assert set(tags(db)) == found


# -- what failed is said -----------------------------------------------------------------------


def test_waiting_for_a_collection_that_takes_no_writes_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It returned True."""
    for threads in (0, 1):
        db = VecDB(tmp_path / f"db{threads}")
        create(db, max_optimization_threads=threads)
        with monkeypatch.context() as patch:
            patch.setattr(Wal, "append", refusing(errno.EIO))
            with pytest.raises(OSError, match="injected"):
                put(db, [1])
        with pytest.raises(OptimizerError, match=r"'c' is closed to writes.*open it again"):
            db.wait_for_optimizer("c")
        with pytest.raises(OptimizerError):
            db.wait_for_optimizer()
        db.close()


def test_waiting_tries_again_what_failed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It raised what had failed before points were deleted to make space."""
    with VecDB(tmp_path / "db", sync="never") as db:
        create(db, indexing_threshold=1)
        with monkeypatch.context() as patch:
            patch.setattr(fs, "make_dir", refusing(errno.ENOSPC))
            put(db, np.arange(1000))
            with pytest.raises(OptimizerError, match="injected"):
                db.wait_for_optimizer("c", timeout=60)
            with pytest.raises(OptimizerError, match="injected"):
                db.wait_for_optimizer("c", timeout=60)
        assert db.wait_for_optimizer("c", timeout=60)


# -- what is held ------------------------------------------------------------------------------


@pytest.fixture
def without_gc() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_gc")
def test_a_reader_that_follows_keeps_nothing_that_was_replaced(tmp_path: Path) -> None:
    """Segments held their store, which held them, until Python looked for cycles."""
    with VecDB(tmp_path / "db", sync="never") as db:
        create(db, max_optimization_threads=0)
        put(db, np.arange(2000))
        db.flush("c")
        reader = VecDB(tmp_path / "db", read_only=True)
        segments: list[weakref.ref[FileSegment]] = []
        for n in range(5):
            store = reader.collection("c")._store
            segments += [weakref.ref(state.segment) for state in store.files.values()]
            del store
            put(db, np.arange(2000), tag=n)
            db.flush("c")
            assert reader.refresh()
        assert len(segments) == 5
        assert [segment() for segment in segments] == [None] * 5
        last = [weakref.ref(s.segment) for s in reader.collection("c")._store.files.values()]
        reader.close()
        assert [segment() for segment in last] == [None]


@pytest.mark.usefixtures("without_gc")
def test_a_write_that_was_refused_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[weakref.ref[Any]] = []
    refused = 0
    with VecDB(tmp_path / "db", sync="never") as db:
        create(db)
        with monkeypatch.context() as patch:
            patch.setattr(fs.os, "writev", refusing(errno.ENOSPC))
            for _ in range(3):
                vectors = VECTORS[:100].copy()
                operation = Upsert(list(range(100)), [b"\x80"] * 100, {"": VectorBlock(vectors)})
                kept.append(weakref.ref(vectors))
                try:
                    submit(db.collection("c")._store, operation)
                except StorageFullError:
                    refused += 1
                del vectors, operation
        assert refused == 3
        assert all(vectors() is None for vectors in kept)


# -- readers -----------------------------------------------------------------------------------


def test_a_collection_made_again_beside_a_reader_is_not_damaged(
    open_db: Callable[..., VecDB], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropped when the reader had listed it, made again when it asked whether it was gone."""
    writer = open_db()
    create(writer)
    put(writer, [1])
    reader = open_db(read_only=True)
    list_them, exists, moments = places.collection_dirs, places.exists, []

    def listed(parent: Path) -> list[Path]:
        paths = list_them(parent)
        writer.delete_collection("c")
        moments.append("dropped")
        return paths

    def there(place: Path) -> bool:
        if moments == ["dropped"]:
            moments.append("made again")
            create(writer)
            put(writer, [2])
        return exists(place)

    with monkeypatch.context() as patch:
        patch.setattr(places, "collection_dirs", listed)
        patch.setattr(places, "exists", there)
        reader.refresh()
    assert moments == ["dropped", "made again"]
    assert reader.damaged == {}
    assert sorted(tags(reader)) == [2]
    reader.refresh()
    assert reader.damaged == {}


def test_collections_made_again_and_again_are_never_damaged(open_db: Callable[..., VecDB]) -> None:
    writer = open_db(sync="never")
    create(writer)
    reader = open_db(read_only=True)
    done = threading.Event()

    def remake() -> None:
        for n in range(60):
            writer.recreate_collection("c", {"size": DIM, "distance": "Dot"})
            put(writer, [n])
        done.set()

    thread = threading.Thread(target=remake)
    thread.start()
    while not done.is_set():
        reader.refresh()
        assert reader.damaged == {}
    thread.join()
    reader.refresh()
    assert sorted(tags(reader)) == [59]


def test_a_checkpoint_that_does_not_fit_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wrote until the disk was full, and removed all again: a deletion that came meanwhile found
    no space for its log."""
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 64, "distance": "Dot"})
        db.upsert("c", models.Batch(ids=range(1000), vectors=np.ones((1000, 64), np.float32)))
        with monkeypatch.context() as patch:
            patch.setattr(lookup, "free_bytes", lambda _: 200_000)
            patch.setattr("vecdb.engine.write.checkpoint.new_builder", None)
            with pytest.raises(StorageFullError, match="needed for a segment, 200000 are free"):
                db.flush("c")
        db.delete("c", list(range(10, 1000)))
        with monkeypatch.context() as patch:
            patch.setattr(lookup, "free_bytes", lambda _: 200_000)
            db.flush("c")
        assert [s.kind for s in db.get_collection("c").segments] == ["file"]
        assert db.count("c").count == 10
