"""Indexes of fields that are being made while something else happens to their collection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vecdb import AsyncVecDB, VecDB
from vecdb.engine.columns import MANY_ROWS, Demand
from vecdb.engine.optimize import build as building
from vecdb.engine.optimize import columns as writing
from vecdb.engine.optimize import optimizer as optimizing
from vecdb.errors import ClosedError, NotFoundError, ReentrantCallError

OpenDB = Callable[..., VecDB]
MANUAL = {"max_optimization_threads": 0, "indexing_threshold": 0, "default_segment_number": 8}
ROWS = 300
SECONDS = 20
"""So long a test waits for another thread; nothing takes as long."""


def is_(value: Any) -> dict[str, Any]:
    return {"must": [{"key": "kind", "match": {"value": value}}]}


def fill(db: VecDB, rows: int = ROWS, first: int = 0, **settings: Any) -> None:
    """Points of seven kinds in a file segment of their own."""
    if not db.collection_exists("c"):
        optimizer = {**MANUAL, **settings}
        db.create_collection("c", {"size": 2, "distance": "Dot"}, optimizers_config=optimizer)
    numbers = range(first, first + rows)
    db.upsert("c", [{"id": n, "vector": [1, n], "payload": {"kind": n % 7}} for n in numbers])
    db.flush("c")


def files_of(path: str | Path) -> dict[str, list[str]]:
    """The columns in each segment's directory."""
    segments = Path(path) / "collections/c/segments"
    return {
        each.name: sorted(file.name for file in each.iterdir() if file.name.startswith("column"))
        for each in sorted(segments.iterdir())
    }


def until(done: Callable[[], bool]) -> None:
    tick = threading.Event()
    for _ in range(SECONDS * 100):
        if done():
            return
        tick.wait(0.01)
    raise AssertionError("it did not come to that")


class Halt:
    """A call that waits, before or after what it does, until it may go on."""

    def __init__(self, patched: pytest.MonkeyPatch, owner: Any, name: str, *, after: bool) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        real = getattr(owner, name)

        def call(*args: Any, **more: Any) -> Any:
            result = real(*args, **more) if after else None
            self.begun.set()
            assert self.go.wait(SECONDS)
            return result if after else real(*args, **more)

        patched.setattr(owner, name, call)


@pytest.fixture
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    """Other threads."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


def closing(db: VecDB) -> Callable[[], bool]:
    store = db.collection("c")._store
    return lambda: store.closing


@pytest.mark.parametrize("where", ["build", "write_column"])
def test_a_close_while_an_index_is_made_loses_no_segment(
    open_db: OpenDB,
    elsewhere: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    """The index took the closed collection's segment for one that was removed, and removed it."""
    db = open_db()
    fill(db)
    before, is_closing = files_of(db.path), closing(db)
    with monkeypatch.context() as patched:
        halt = Halt(patched, writing, where, after=where == "write_column")
        index = elsewhere.submit(db.create_payload_index, "c", "kind", "integer")
        assert halt.begun.wait(SECONDS)
        closed = elsewhere.submit(db.close)
        until(is_closing)
        halt.go.set()
        closed.result(SECONDS)
        if where == "build":
            with pytest.raises(ClosedError):
                index.result(SECONDS)
        else:  # it was as good as there
            assert index.result(SECONDS).status == "completed"
    assert files_of(db.path) == {name: ["column.kind"] * (where != "build") for name in before}
    db = open_db()
    assert db.count("c").count == ROWS
    assert db.count("c", is_(3)).count == 43
    db.wait_for_optimizer("c")
    assert files_of(db.path) == {name: ["column.kind"] for name in before}


def test_what_is_left_of_an_index_that_was_closed_is_none_of_its_business(
    open_db: OpenDB,
) -> None:
    """Whoever has the database open by then may be writing a column of that name."""
    db = open_db()
    fill(db)
    store = db.collection("c")._store
    [state] = store.files.values()
    db.close()
    kept = Path(state.segment.path) / "column.kind"
    kept.write_bytes(b"another's")
    writing._give_up(store, state.segment, {"kind": None}, writing.Cancelled())  # type: ignore
    assert kept.read_bytes() == b"another's"


@pytest.mark.parametrize("what", ["delete", "recreate", "recover"])
def test_a_collection_that_is_taken_away_while_an_index_is_made(
    open_db: OpenDB, elsewhere: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    db = open_db()
    fill(db)
    snapshot = db.create_snapshot("c").name
    fill(db, 10, ROWS)
    is_closing = closing(db)
    take: dict[str, Callable[[], Any]] = {
        "delete": lambda: db.delete_collection("c"),
        "recreate": lambda: db.recreate_collection("c", {"size": 2, "distance": "Dot"}),
        "recover": lambda: db.recover_snapshot("c", snapshot),
    }
    with monkeypatch.context() as patched:
        halt = Halt(patched, writing, "build", after=False)
        index = elsewhere.submit(db.create_payload_index, "c", "kind", "integer")
        assert halt.begun.wait(SECONDS)
        taken: Future[Any] = elsewhere.submit(take[what])
        until(is_closing)
        halt.go.set()
        taken.result(SECONDS)
        with pytest.raises(ClosedError):
            index.result(SECONDS)
    if what == "delete":
        with pytest.raises(NotFoundError):
            db.count("c")
    else:
        assert db.count("c").count == (ROWS if what == "recover" else 0)
    assert db.check().ok


def test_an_async_close_while_an_index_is_made_loses_no_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VecDB(tmp_path) as db:
        fill(db)

    async def run() -> None:
        halt = Halt(monkeypatch, writing, "build", after=False)
        db = await AsyncVecDB(tmp_path)
        index = asyncio.create_task(db.create_payload_index("c", "kind", "integer"))
        assert await asyncio.to_thread(halt.begun.wait, SECONDS)
        closed = asyncio.create_task(db.close())
        await asyncio.sleep(0.05)
        halt.go.set()
        await asyncio.gather(index, closed, return_exceptions=True)

    asyncio.run(run())
    with VecDB(tmp_path) as db:
        assert db.count("c", is_(3)).count == 43
        assert db.check().ok


def test_nothing_is_closed_by_who_is_in_the_middle_of_an_index(
    open_db: OpenDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a signal handler would be: the segment's directory is entered, and would stay so."""
    db = open_db()
    fill(db)
    real = writing.build

    def build(*args: Any) -> Any:
        with pytest.raises(ReentrantCallError):
            db.close()
        return real(*args)

    monkeypatch.setattr(writing, "build", build)
    db.create_payload_index("c", "kind", "integer")
    assert db.count("c", is_(3)).count == 43


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_ctrl_c_is_not_lost_where_the_segment_is_gone_meanwhile(
    open_db: OpenDB,
    elsewhere: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    """Of a segment that was merged away meanwhile any other error says nothing."""
    db = open_db()
    fill(db)
    fill(db, first=ROWS)
    store = db.collection("c")._store

    def merged_away(*_: Any) -> Any:
        elsewhere.submit(building.build, store, tuple(store.files)).result(SECONDS)
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(writing, "write_column", merged_away)
        if error is KeyboardInterrupt:
            with pytest.raises(KeyboardInterrupt):
                db.create_payload_index("c", "kind", "integer")
        else:
            db.create_payload_index("c", "kind", "integer")
    assert list(files_of(db.path).values()) == [["column.kind"]]
    assert db.count("c", is_(3)).count == 86


def test_an_edit_that_asks_for_a_column_and_who_waits_for_the_optimizer_wait_for_each_other(
    open_db: OpenDB, elsewhere: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The edit held the write lock and woke the optimizer, whose condition the other held while it
    asked for the write lock."""
    db = open_db()
    fill(db, MANY_ROWS, max_optimization_threads=1)
    assert db.wait_for_optimizer("c")
    for kind in (7, 8):
        db.count("c", is_(kind))
    optimizer, store = db.optimizer, db.collection("c")._store
    has_lock, looks = threading.Event(), threading.Event()
    note, next_step = Demand.note, optimizing.next_step

    def noting(*args: Any) -> None:
        assert store.write._is_owned()  # type: ignore[attr-defined]
        has_lock.set()
        assert looks.wait(SECONDS)
        note(*args)

    def looking(*args: Any, **more: Any) -> Any:
        if threading.current_thread().name.startswith("ThreadPool"):
            assert has_lock.wait(SECONDS)
            looks.set()
        return next_step(*args, **more)

    until(lambda: not optimizer._changed)  # else it is not woken
    with monkeypatch.context() as patched:
        patched.setattr(Demand, "note", noting)
        patched.setattr(optimizing, "next_step", looking)
        waits = elsewhere.submit(optimizer._wait, store, None, store.optimizer.begun)
        edits = elsewhere.submit(db.set_payload, "c", {"x": 1}, is_(9))
        edits.result(SECONDS)
        assert waits.result(SECONDS)
    assert list(db.get_collection("c").columns) == ["kind"]


def merged_while(db: VecDB, patched: pytest.MonkeyPatch, *changes: Callable[[], Any]) -> None:
    """Merge two segments of a collection; each time the new one has its columns something happens,
    as long as there is something."""
    fill(db, MANY_ROWS, max_optimization_threads=0)
    fill(db, first=MANY_ROWS)
    todo, real = list(changes), building.add_columns

    def add_columns(*args: Any) -> None:
        real(*args)
        if todo:
            todo.pop(0)()

    patched.setattr(building, "add_columns", add_columns)
    store = db.collection("c")._store
    building.build(store, tuple(store.files))
    assert not todo


def test_an_index_that_is_made_while_segments_are_merged_is_there_when_that_returns(
    open_db: OpenDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The merged segment was built without it, and took the place of those that had got it."""
    db = open_db()

    def made() -> None:
        db.create_payload_index("c", "kind", "integer")
        assert all(each == ["column.kind"] for each in list(files_of(db.path).values())[:2])

    merged_while(db, monkeypatch, made, lambda: db.create_payload_index("c", "late", "integer"))
    assert list(files_of(db.path).values()) == [["column.kind", "column.late"]]
    assert db.get_collection("c").optimizer_progress.pending is None
    assert db.count("c", is_(3)).count == len(range(3, MANY_ROWS + ROWS, 7))


def test_an_index_that_is_made_in_another_way_while_segments_are_merged(
    open_db: OpenDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = open_db()
    text = {"type": "text", "tokenizer": "word"}
    merged_while(
        db,
        monkeypatch,
        lambda: db.create_payload_index("c", "kind", "integer"),
        lambda: db.create_payload_index("c", "kind", text),
    )
    assert list(files_of(db.path).values()) == [["column.kind"]]
    assert db.get_collection("c").optimizer_progress.pending is None


def test_an_automatic_index_that_is_dropped_while_segments_are_merged_stays_away(
    open_db: OpenDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The merged segment had a column of it, which the next open took for one that is wanted."""
    db = open_db()
    fill(db, MANY_ROWS)
    for kind in range(3):
        db.count("c", is_(kind))
    assert db.optimizer.run_once()
    with monkeypatch.context() as patched:
        merged_while(db, patched, lambda: db.delete_payload_index("c", "kind"))
    assert list(files_of(db.path).values()) == [[]]
    db.close()
    db = open_db()
    assert db.get_collection("c").columns == {}
    assert not db.optimizer.run_once()
