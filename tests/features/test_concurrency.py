"""Readers, writers and the optimizer at the same time, in threads of one process."""

from __future__ import annotations

import itertools
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofs.model.oracle import SCALE, require_sound
from vecdb import VecDB, errors, models
from vecdb.engine.optimize import build as builds
from vecdb.engine.optimize import optimizer
from vecdb.engine.store import Store
from vecdb.storage import fs

DIM = 64
POINTS = 240
QUERIES = 3
NAME = "points"
SCALAR = {"scalar": {"type": "int8"}}
BINARY = {"binary": {"always_ram": True}}
PRODUCT = {"product": {"compression": "x8"}}

SEARCHES: list[dict[str, Any] | None] = [
    None,
    {"exact": True},
    {"quantization": {"rescore": False}},
    {"quantization": {"oversampling": 3.0}},
]


@pytest.fixture(autouse=True)
def _quick_switching() -> Iterator[None]:
    """Readers that never block keep the GIL for 5 ms at a time, and a write asks for it often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)
    yield
    sys.setswitchinterval(before)


def together(*works: Callable[[], None]) -> None:
    """Each in a thread of its own; raises what the first of them raised."""
    raised: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def until_closed(work: Callable[[int], Any]) -> None:
    """``work(0)``, ``work(1)``, … until it raises ClosedError."""
    for number in itertools.count():
        try:
            work(number)
        except errors.ClosedError:
            return


def create(db: VecDB, quantization: Any = SCALAR, **optimizer: Any) -> Any:
    db.create_collection(
        NAME,
        {"size": DIM, "distance": "Euclid"},
        quantization_config=quantization,
        optimizers_config={
            "indexing_threshold": 1,
            "default_segment_number": 1,
            "vacuum_min_vector_number": 10,
            **optimizer,
        },
    )
    return db.collection(NAME)


@pytest.fixture
def vectors(make_vectors: Callable[..., Any]) -> Any:
    return make_vectors(POINTS, DIM)


class Versions:
    """Points that are overwritten all the time, each with its own vector and a higher version."""

    def __init__(self, collection: Any, vectors: Any) -> None:
        self.collection = collection
        self.vectors = vectors
        self.begun = [0] * POINTS
        self.acked = [0] * POINTS
        self.write(range(POINTS))
        self.running = 0
        self.reads = 0

    def write(self, ids: Any) -> None:
        ids = list(ids)
        for i in ids:
            self.begun[i] += 1
        payloads = [{"version": self.begun[i]} for i in ids]
        batch = {"ids": ids, "vectors": self.vectors[ids], "payloads": payloads}
        self.collection.upsert(batch)
        for i in ids:
            self.acked[i] = self.begun[i]

    def writer(self, part: int, parts: int, rounds: int) -> Callable[[], None]:
        """Overwrites the points ``part``, ``part + parts``, …, which no other writer touches."""
        rng = np.random.default_rng(part)
        mine = np.arange(part, POINTS, parts)
        self.running += 1

        def work() -> None:
            try:
                for n in range(rounds):
                    chosen = rng.choice(mine, int(rng.integers(1, 20)), replace=False).tolist()
                    if n % 7 == 3:  # an edit moves the row too
                        for i in chosen:
                            self.begun[i] += 1
                            self.collection.set_payload({"version": self.begun[i]}, [i])
                            self.acked[i] = self.begun[i]
                    else:
                        self.write(chosen)
                    if n % 20 == 19:
                        self.collection.flush()
            finally:
                self.running -= 1

        return work

    def reader(self, read: Callable[[int], list[Any]]) -> Callable[[], None]:
        """Whatever ``read`` returns must be every point once, in a version of that time."""

        def work() -> None:
            number = 0
            while self.running or number < 4:
                before = list(self.acked)
                points = read(number)
                after = list(self.begun)
                found = [point.id for point in points]
                assert sorted(found) == list(range(POINTS)), (
                    f"read {number}: missing {set(range(POINTS)) - set(found)}, "
                    f"twice {sorted(i for i in set(found) if found.count(i) > 1)}"
                )
                for point in points:
                    version = point.payload["version"]
                    assert before[point.id] <= version <= after[point.id], (
                        f"read {number}: point {point.id} has version {version}, written were "
                        f"{before[point.id]} before and {after[point.id]} after"
                    )
                number += 1
            self.reads += number

        return work

    def search(self, number: int) -> list[Any]:
        query = self.vectors[number % QUERIES]
        params = SEARCHES[number % len(SEARCHES)]
        hits: list[Any] = self.collection.search(query, search_params=params, limit=POINTS + 9)
        if params is None or "exact" in params:
            best = [int(i) for i in np.argsort(((self.vectors - query) ** 2).sum(axis=1))]
            assert [hit.id for hit in hits] == best
        return hits

    def scroll(self, number: int) -> list[Any]:
        records, following = self.collection.scroll(limit=POINTS)
        assert following is None
        assert [r.id for r in records] == sorted(r.id for r in records)
        return list(records)

    def retrieve(self, number: int) -> list[Any]:
        assert self.collection.count().count == POINTS
        assert self.collection.count({"must": [{"key": "version", "range": {"gte": 1}}]}).count == (
            POINTS
        )
        records: list[Any] = self.collection.retrieve(range(POINTS), with_vectors=True)
        for record in records:
            assert np.array_equal(np.float32(record.vector), self.vectors[record.id])
        return records


@pytest.mark.parametrize("quantization", [SCALAR, BINARY, PRODUCT], ids=lambda q: next(iter(q)))
def test_reads_see_every_point_once(
    quantization: Any, open_db: Callable[..., VecDB], vectors: Any
) -> None:
    db = open_db(sync="never")
    collection = create(db, quantization, memmap_threshold=20)
    points = Versions(collection, vectors)
    writers = [points.writer(part, 2, 80 * SCALE) for part in range(2)]
    readers = [points.reader(read) for read in (points.search, points.scroll, points.retrieve)]
    together(*writers, *readers)
    assert db.wait_for_optimizer(timeout=60)
    assert collection.info().optimizer_progress.completed > 3
    assert sorted(r.id for r in points.search(0)) == list(range(POINTS))
    db.close()
    reopened = open_db().collection(NAME)
    versions = {r.id: r.payload["version"] for r in reopened.scroll(limit=POINTS)[0]}
    assert versions == dict(enumerate(points.acked))


def test_reads_see_every_point_once_while_the_configuration_changes(
    open_db: Callable[..., VecDB], vectors: Any
) -> None:
    db = open_db(sync="never")
    points = Versions(create(db), vectors)

    def changes() -> Iterator[dict[str, Any]]:
        while True:
            for quantization in (BINARY, SCALAR, "Disabled", PRODUCT):
                yield {"quantization_config": quantization}
                yield {"optimizers_config": {"memmap_threshold": 1}}
                yield {"vectors_config": {"": {"on_disk": True}}}
                yield {"vectors_config": {"": {"on_disk": False}}}
                yield {"optimizers_config": {"memmap_threshold": 0}}

    def configure() -> None:
        stream = changes()
        for _ in range(20):
            db.update_collection(NAME, **next(stream))
            db.collection(NAME).count()
        while points.running:
            db.update_collection(NAME, **next(stream))

    together(
        points.writer(0, 1, 60 * SCALE),
        points.reader(points.search),
        points.reader(points.retrieve),
        configure,
    )
    assert db.wait_for_optimizer(timeout=60)
    assert points.reads >= 8


def test_a_view_outlives_the_segments_it_shows(open_db: Callable[..., VecDB], vectors: Any) -> None:
    """A search that began before a merge reads files that are gone by now."""
    db = open_db()
    collection = create(db, memmap_threshold=1, max_optimization_threads=0)
    for start in range(0, POINTS, 60):
        ids = list(range(start, start + 60))
        collection.upsert(
            {"ids": ids, "vectors": vectors[ids], "payloads": [{"i": i} for i in ids]}
        )
        collection.flush()
    view = collection._store.view
    old = [part.segment.path for part in view.segments]
    assert db.wait_for_optimizer()
    collection.delete(list(range(0, POINTS, 2)))
    collection.flush()
    assert db.wait_for_optimizer()
    assert len(old) == 4
    assert not any(path.exists() for path in old)
    from vecdb.engine.read.answer import answer
    from vecdb.engine.read.request import compiled

    asked = models.QueryRequest(query=vectors[5], limit=POINTS, with_payload=True, with_vector=True)
    hits = answer(view, compiled(view, asked, lambda name: view))
    assert sorted(hit.id for hit in hits) == list(range(POINTS))
    assert all(hit.payload == {"i": hit.id} for hit in hits)
    assert all(np.array_equal(np.float32(hit.vector), vectors[hit.id]) for hit in hits)


# -- several writers -------------------------------------------------------------------------


@pytest.mark.parametrize("sync", ["always", "interval", "never"])
def test_everything_acknowledged_by_any_thread_is_there(
    sync: str, open_db: Callable[..., VecDB], tmp_path: Path, vectors: Any
) -> None:
    db = open_db(sync=sync)
    collection = create(db)
    acked: list[dict[int, int]] = [{} for _ in range(8)]
    seqs: list[list[int]] = [[] for _ in range(8)]

    def writer(number: int) -> Callable[[], None]:
        rng = np.random.default_rng(number)

        def work() -> None:
            for n in range(25 * SCALE):
                ids = (np.unique(rng.integers(0, 50, 5)) * 8 + number).tolist()
                batch = {
                    "ids": ids,
                    "vectors": vectors[: len(ids)],
                    "payloads": [{"n": n}] * len(ids),
                }
                result = collection.upsert(batch)
                seqs[number].append(result.operation_id)
                acked[number].update(dict.fromkeys(ids, n))
                if n % 5 == 4:
                    gone = ids[0]
                    seqs[number].append(collection.delete([gone]).operation_id)
                    del acked[number][gone]

        return work

    together(*map(writer, range(8)))
    expected = {i: n for part in acked for i, n in part.items()}
    every = [seq for part in seqs for seq in part]
    assert len(set(every)) == len(every)  # each operation has its place
    assert all(part == sorted(part) for part in seqs)  # in the order of its thread

    def content(db: VecDB) -> dict[Any, int]:
        records, _ = db.collection(NAME).scroll(limit=10_000)
        return {record.id: record.payload["n"] for record in records}

    assert content(db) == expected
    assert db.wait_for_optimizer(timeout=60)
    collection.upsert({"ids": [0], "vectors": vectors[:1], "payloads": [{"n": -1}]})
    expected[0] = -1
    shutil.copytree(db.path, tmp_path / "killed")  # what a killed process would leave
    with VecDB(tmp_path / "killed") as copy:
        assert content(copy) == expected
    require_sound(tmp_path / "killed")
    db.close()
    assert content(open_db()) == expected


def test_edits_by_many_threads_lose_nothing(open_db: Callable[..., VecDB], vectors: Any) -> None:
    """What depends on the state (filters, edits) sees every write before it."""
    collection = create(open_db(sync="never"))
    collection.upsert({"ids": [1, 2], "vectors": vectors[:2], "payloads": [{"on": True}] * 2})

    def writer(number: int) -> Callable[[], None]:
        def work() -> None:
            for n in range(30):
                selector = [1, 2] if n % 2 else {"must": [{"key": "on", "match": {"value": True}}]}
                collection.set_payload({f"{number}-{n}": n}, selector)
                if n % 10 == 9:
                    collection.flush()

        return work

    together(*map(writer, range(4)))
    wanted = {"on": True} | {f"{number}-{n}": n for number in range(4) for n in range(30)}
    assert [record.payload for record in collection.retrieve([1, 2])] == [wanted] * 2


def test_close_while_others_write_and_read(open_db: Callable[..., VecDB], vectors: Any) -> None:
    """They get ClosedError and nothing else; what was acknowledged is there."""
    db = open_db()
    collection = create(db)
    acked: list[int] = []
    warm = threading.Barrier(4)

    def write(number: int) -> None:
        collection.upsert({"ids": [number], "vectors": vectors[:1]})
        acked.append(number)

    def search(number: int) -> None:
        collection.search(vectors[0], limit=5)

    def flush(number: int) -> None:
        collection.flush()

    def after_ten(work: Callable[[int], None]) -> Callable[[], None]:
        def run() -> None:
            for number in range(10):
                work(number)
            warm.wait()
            until_closed(lambda number: work(10 + number))

        return run

    def close() -> None:
        warm.wait()
        db.close()

    together(after_ten(write), after_ten(search), after_ten(flush), close)
    found = [r.id for r in open_db().collection(NAME).scroll(limit=10**6)[0]]
    assert found in (acked, list(range(len(acked) + 1)))


def test_drop_while_others_write_and_build(open_db: Callable[..., VecDB], vectors: Any) -> None:
    db = open_db(sync="never")
    for _ in range(5):
        collection = create(db)
        warm = threading.Barrier(3)

        def write_some(number: int, collection: Any = collection) -> None:
            ids = list(range(number % 7 * 20, number % 7 * 20 + 20))
            collection.upsert({"ids": ids, "vectors": vectors[ids]})

        def write(warm: threading.Barrier = warm, write_some: Any = write_some) -> None:
            for number in range(9):
                write_some(number)
            warm.wait()
            until_closed(write_some)

        def read(collection: Any = collection, warm: threading.Barrier = warm) -> None:
            warm.wait()
            until_closed(lambda number: collection.search(vectors[0], limit=POINTS))

        def drop(warm: threading.Barrier = warm) -> None:
            warm.wait()
            db.delete_collection(NAME)

        together(write, read, drop)
        assert not db.collection_exists(NAME)
        assert list((db.path / "collections").iterdir()) == []


# -- space comes back ------------------------------------------------------------------------


def segment_bytes(db: VecDB) -> int:
    segments = db.path / "collections" / NAME / "segments"
    return sum(path.stat().st_size for path in segments.rglob("*") if path.is_file())


@pytest.mark.parametrize("threads", [None, 0])
@pytest.mark.parametrize("quantization", [None, SCALAR])
def test_deleting_gives_the_space_back(
    threads: Any, quantization: Any, open_db: Callable[..., VecDB], vectors: Any
) -> None:
    db = open_db()
    collection = create(db, quantization, max_optimization_threads=threads)
    collection.upsert({"ids": list(range(POINTS)), "vectors": vectors})
    collection.flush()
    assert db.wait_for_optimizer(timeout=60)
    before = segment_bytes(db)
    assert before > POINTS * DIM * 4
    collection.delete(list(range(POINTS - 10)))
    assert db.wait_for_optimizer(timeout=60)
    assert segment_bytes(db) < before / 4
    assert [r.id for r in collection.scroll(limit=POINTS)[0]] == list(range(POINTS - 10, POINTS))
    collection.delete(list(range(POINTS)))
    assert db.wait_for_optimizer(timeout=60)
    assert segment_bytes(db) == 0
    assert collection.count().count == 0


def test_who_waits_for_the_optimizer_waits_until_files_are_gone(
    open_db: Callable[..., VecDB], vectors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was seen that no step runs, and then that none is due: between the two a step had begun
    and committed, and was about to remove the files of before."""
    db = open_db()
    collection = create(db, None)
    collection.upsert({"ids": list(range(POINTS)), "vectors": vectors})
    collection.flush()
    assert db.wait_for_optimizer(timeout=60)
    begin, committed, returned = (threading.Event() for _ in range(3))
    late: list[bool] = []
    waits, discard, look = threading.get_ident(), fs.discard, optimizer.next_step

    def next_step(*arguments: Any, **options: Any) -> Any:
        if threading.get_ident() != waits:
            assert begin.wait(60)
            return look(*arguments, **options)
        begin.set()
        assert committed.wait(60)
        return look(*arguments, **options)

    def discard_late(path: Path) -> None:
        committed.set()
        late.append(returned.wait(0.5))
        discard(path)

    monkeypatch.setattr(optimizer, "next_step", next_step)
    monkeypatch.setattr(fs, "discard", discard_late)
    collection.delete(list(range(POINTS)))
    assert db.wait_for_optimizer(timeout=60)
    returned.set()
    assert late == [False] * len(late)
    assert late


def test_overwriting_gives_the_space_back(open_db: Callable[..., VecDB], vectors: Any) -> None:
    db = open_db(sync="never")
    collection = create(db)
    for _ in range(20):
        collection.upsert({"ids": list(range(POINTS)), "vectors": vectors})
        collection.flush()
    assert db.wait_for_optimizer(timeout=60)
    assert segment_bytes(db) < 3 * POINTS * DIM * 5
    assert collection.count().count == POINTS


def build_while(db: VecDB, write: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """An optimizer's build; what is written after its copy of the rows, and before its commit."""
    copy = builds._copy

    def copy_then_write(*args: Any) -> None:
        copy(*args)
        write()

    with patch.context() as patched:
        patched.setattr(builds, "_copy", copy_then_write)
        assert db.optimizer.run_once()


def test_what_is_deleted_during_a_build_stays_deleted(
    open_db: Callable[..., VecDB], vectors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deletes, overwrites and a checkpoint between the copy of the rows and the commit."""
    db = open_db()
    collection = create(db, max_optimization_threads=0)
    collection.upsert({"ids": list(range(POINTS)), "vectors": vectors})
    collection.flush()

    def write() -> None:
        collection.delete([0, 1, 2])
        collection.flush()
        collection.delete([3, 4, 5])
        collection.upsert([{"id": 6, "vector": vectors[7], "payload": {"new": True}}])

    build_while(db, write, monkeypatch)
    for _ in range(2):
        assert [r.id for r in collection.scroll(limit=POINTS)[0]] == list(range(6, POINTS))
        [record] = collection.retrieve([6], with_vectors=True)
        assert record.payload == {"new": True}
        assert np.array_equal(np.float32(record.vector), vectors[7])
        hits = collection.search(vectors[0], limit=POINTS)
        assert sorted(h.id for h in hits) == list(range(6, POINTS))
        db.close()
        db = open_db()
        collection = db.collection(NAME)


def test_space_of_what_is_deleted_during_a_build_comes_back(
    open_db: Callable[..., VecDB], vectors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything a build copies is deleted and checkpointed before it commits."""
    db = open_db()
    collection = create(db, max_optimization_threads=0)
    collection.upsert({"ids": list(range(POINTS)), "vectors": vectors})
    collection.flush()

    def delete() -> None:
        collection.delete(list(range(POINTS)))
        collection.flush()

    build_while(db, delete, monkeypatch)
    assert collection.count().count == 0
    assert db.wait_for_optimizer()
    assert segment_bytes(db) == 0


def test_a_read_that_a_close_overtakes_does_not_find_an_empty_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had asked whether the collection is closed, and then took a view that had become empty."""
    db = VecDB(tmp_path / "db")
    db.create_collection(NAME, {"size": 2, "distance": "Dot"})
    db.upsert(NAME, [{"id": 1, "vector": [1.0, 2.0]}])
    asked: list[bool] = []

    def overtaken(store: Store) -> Any:
        closed = store.__dict__["closed"]
        if not asked:
            asked.append(closed)
            db.close()
        return closed

    def remember(store: Store, closed: bool) -> None:
        store.__dict__["closed"] = closed

    monkeypatch.setattr(Store, "closed", property(overtaken, remember), raising=False)
    assert db.collection(NAME).count().count == 1
    assert asked == [False]
    with pytest.raises(errors.ClosedError):
        db.count(NAME)
