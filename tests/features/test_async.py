"""``AsyncVecDB``: the verbs of ``VecDB`` as coroutines."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import itertools
import os
import random
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecdb import AsyncCollection, AsyncVecDB, Collection, VecDB, errors, models
from vecdb.aio import opening, writes
from vecdb.aio.writes import Write, _answer
from vecdb.engine import process
from vecdb.storage import fs

DIM = 8
NAME = "points"
CONFIG = models.VectorParams(size=DIM, distance=models.Distance.DOT)
LONG = 30.0  # seconds until a test that waits gives up


def vectors(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


def point(id: int, **payload: Any) -> models.PointStruct:
    return models.PointStruct(id=id, vector=[float(id % 7)] * DIM, payload=payload)


def batch(ids: Iterable[int], vectors: Any, payloads: Any = None) -> models.Batch:
    return models.Batch(ids=list(ids), vectors=vectors, payloads=payloads)


async def with_points(db: AsyncVecDB, count: int = 50) -> AsyncCollection:
    await db.create_collection(NAME, CONFIG)
    payloads = [{"n": n} for n in range(count)]
    await db.upsert(NAME, batch(range(count), vectors(count), payloads))
    return db.collection(NAME)


async def until(condition: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.002)

    await asyncio.wait_for(wait(), LONG)


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that have synced a file of a log, one entry a time."""
    threads: list[str] = []
    sync = fs.AppendFile.sync

    def noted(file: fs.AppendFile) -> None:
        threads.append(threading.current_thread().name)
        sync(file)

    monkeypatch.setattr(fs.AppendFile, "sync", noted)
    return threads


class Gate:
    """Holds the log's next sync until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        sync = fs.AppendFile.sync

        def held(file: fs.AppendFile) -> None:
            self.reached.set()
            assert self.opened.wait(LONG)
            sync(file)

        monkeypatch.setattr(fs.AppendFile, "sync", held)

    async def wait(self) -> None:
        await until(self.reached.is_set)


# -- the verbs -----------------------------------------------------------------------------------


def public(cls: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(cls, inspect.isfunction) if name[0] != "_"}


@pytest.mark.parametrize(("twin", "cls"), [(AsyncVecDB, VecDB), (AsyncCollection, Collection)])
def test_every_verb_has_a_twin_with_its_signature_and_docstring(twin: type, cls: type) -> None:
    assert public(cls) - public(twin) == set()
    for name in public(cls) - {"collection", "check_usable"}:
        mine, theirs = getattr(twin, name), getattr(cls, name)
        assert inspect.iscoroutinefunction(mine), name
        signature = inspect.signature(theirs)
        if name == "within":  # points come as they are found
            returned = str(signature.return_annotation)
            signature = signature.replace(return_annotation=f"Async{returned}")
        assert inspect.signature(mine) == signature, name
        if name not in ("close", "wait_for_optimizer"):
            assert inspect.getdoc(mine) == inspect.getdoc(theirs), name
    assert list(inspect.signature(AsyncVecDB).parameters) == list(
        inspect.signature(VecDB).parameters
    )


def test_each_verb_answers_as_its_twin(tmp_path: Path) -> None:
    query = vectors(1, 5)[0]
    rows = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(lt=20))])

    async def main() -> list[Any]:
        async with AsyncVecDB(tmp_path / "async") as db:
            c = await with_points(db)
            await db.set_payload(NAME, {"t": 1}, [1])
            await c.delete([2])
            await db.delete_payload(NAME, ["n"], [3])
            await db.upload_points(NAME, (point(100 + n) for n in range(30)), batch_size=7)
            await c.upload_collection(vectors(3), ids=[200, 201, 202])
            reads = [
                await db.search(NAME, query),
                await c.search(query, query_filter=rows, limit=3),
                await db.query_points(NAME, query, explain=True),
                await db.retrieve(NAME, [1, 2, 3, 100, 202]),
                await c.scroll(limit=5),
                await db.count(NAME),
                await c.count(rows),
                await db.search_batch(NAME, [models.SearchRequest(vector=query, limit=3)]),
                await db.query_batch_points(NAME, [models.QueryRequest(query=query, limit=3)]),
                await db.collection_exists(NAME),
                await db.get_collections(),
            ]
            assert (await db.get_collection(NAME)).points_count == (await c.count()).count == len(c)
            assert (await db.memory_report(NAME))["total"]
            name = (await db.create_snapshot(NAME)).name
            assert [s.name for s in await db.list_snapshots(NAME)] == [name]
            await c.delete([1])
            assert await db.recover_snapshot(NAME, name)
            assert await db.retrieve(NAME, [1])
            await db.flush()
            assert await db.wait_for_optimizer(timeout=LONG)
            assert (await db.check()).ok
            assert await db.delete_collection(NAME)
            return reads

    reads = asyncio.run(main())
    with VecDB(tmp_path / "sync") as db:
        db.create_collection(NAME, CONFIG)
        db.upsert(NAME, batch(range(50), vectors(50), [{"n": n} for n in range(50)]))
        db.set_payload(NAME, {"t": 1}, [1])
        db.delete(NAME, [2])
        db.delete_payload(NAME, ["n"], [3])
        db.upload_points(NAME, [point(100 + n) for n in range(30)])
        db.upload_collection(NAME, vectors(3), ids=[200, 201, 202])
        explained = db.query_points(NAME, query, explain=True)
        assert reads == [
            db.search(NAME, query),
            db.search(NAME, query, query_filter=rows, limit=3),
            explained,
            db.retrieve(NAME, [1, 2, 3, 100, 202]),
            db.scroll(NAME, limit=5),
            db.count(NAME),
            db.count(NAME, rows),
            db.search_batch(NAME, [models.SearchRequest(vector=query, limit=3)]),
            db.query_batch_points(NAME, [models.QueryRequest(query=query, limit=3)]),
            db.collection_exists(NAME),
            db.get_collections(),
        ]


def test_errors_are_those_of_the_verbs(tmp_path: Path) -> None:
    deep: Any = {"must": []}
    for _ in range(5000):
        deep = {"must": [deep]}

    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            c = await with_points(db)
            await c.search([0.0] * DIM)
            await c.search([0.0] * DIM, query_filter=models.Filter())
            calls: list[tuple[type[Exception], Awaitable[Any]]] = [
                (errors.NotFoundError, db.search("none", [0.0] * DIM)),
                (errors.InvalidInputError, db.search(NAME, [0.0] * 3)),
                (errors.InvalidInputError, db.search(NAME, [0.0] * DIM, limit=-1)),
                (errors.InvalidInputError, c.search([0.0] * DIM, search_params={"exact": 3})),  # type: ignore[dict-item]
                (errors.InvalidInputError, c.search([0.0] * DIM, query_filter=deep)),
                (errors.InvalidInputError, c.search([0.0] * DIM, {"must": [3]})),  # type: ignore[dict-item]
                (errors.InvalidInputError, c.upsert([3])),  # type: ignore[list-item]
                (errors.InvalidInputError, c.upload_points([point(1)], batch_size=0)),
                (errors.NotFoundError, c.set_payload({"a": 1}, [999])),
                (errors.AlreadyExistsError, db.create_collection(NAME, CONFIG)),
                (errors.NotFoundError, db.create_snapshot("none")),
                (errors.InvalidInputError, db.wait_for_optimizer(timeout=float("nan"))),
                (TypeError, db.upsert(NAME, [point(1)], nonsense=1)),  # type: ignore[call-arg]
            ]
            for kind, call in calls:
                with pytest.raises(kind):
                    await call

    asyncio.run(main())


def test_a_database_that_does_not_open_says_why(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(errors.InvalidInputError):
            await AsyncVecDB(tmp_path / "db", sync="perhaps")  # type: ignore[arg-type]
        async with AsyncVecDB(tmp_path / "db"):
            with pytest.raises(errors.LockedError):
                async with AsyncVecDB(tmp_path / "db"):
                    raise AssertionError("not reached")

    asyncio.run(main())


def test_the_error_says_where_it_was_made(tmp_path: Path) -> None:
    async def main() -> None:
        made = AsyncVecDB(tmp_path / "db"); line = sys._getframe().f_lineno  # noqa: E702 # fmt: skip
        async with made:
            with pytest.raises(errors.LockedError, match=rf"opened at {__file__}:{line}$"):
                await AsyncVecDB(tmp_path / "db")
            with pytest.raises(errors.LockedError, match=rf"opened at {__file__}:{line}$"):
                VecDB(tmp_path / "db")

    asyncio.run(main())


def test_before_it_is_open_and_after_its_end_it_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        db = AsyncVecDB(tmp_path / "db")
        with pytest.raises(errors.ClosedError, match="not open yet"):
            await db.count(NAME)
        assert await db is db
        assert await db is db
        c = await with_points(db)
        await db.close()
        await db.close()
        for call in (db.count(NAME), c.count(), c.search([1.0] * DIM), c.upsert([point(1)])):
            with pytest.raises(errors.ClosedError):
                await call
        with pytest.raises(errors.ClosedError):
            await db
        never = AsyncVecDB(tmp_path / "never")
        await never.close()
        assert not (tmp_path / "never").exists()

    asyncio.run(main())


# -- short reads ---------------------------------------------------------------------------------


class Threads:
    """Notes in which thread a verb of ``Collection`` runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *verbs: str) -> None:
        self.main: list[bool] = []
        for verb in verbs:
            original = getattr(Collection, verb)

            def noted(*args: Any, _original: Any = original, **kwargs: Any) -> Any:
                self.main.append(threading.current_thread() is threading.main_thread())
                return _original(*args, **kwargs)

            noted.__name__ = verb
            monkeypatch.setattr(Collection, verb, noted)

    def last(self) -> bool:
        """Whether the last call was in the loop's thread, and the only one since."""
        [where] = self.main
        self.main.clear()
        return where


def test_short_reads_run_in_the_loop_and_others_in_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads(monkeypatch, "search", "retrieve", "count", "query_points", "scroll")
    query = vectors(1)[0]
    rows = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(lt=20))])

    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            c = await with_points(db)
            ids = models.Filter(must=[models.HasIdCondition(has_id=[1, 2])])
            untested = models.Filter(
                must=[models.FieldCondition(key="n", range=models.Range(gt=9))]
            )
            for call in (
                lambda: c.search(query),
                lambda: c.search(query, query_filter=rows),
            ):
                await call()
                assert not threads.last(), "the first search of a segment may load and verify much"
            short: list[Callable[[], Awaitable[Any]]] = [
                lambda: c.search(query),
                lambda: db.search(NAME, ("", query.tolist()), limit=32, score_threshold=0.5),
                lambda: c.search(query, search_params=models.SearchParams(recall=0.5)),
                lambda: c.query_points(query),
                lambda: c.query_points(3),
                lambda: c.search(query, query_filter=rows),
                lambda: c.search(query, query_filter=ids),
                lambda: c.search(query, query_filter={"must": [{"has_id": [1]}]}),  # type: ignore[arg-type]
                lambda: c.retrieve([1, 2]),
                lambda: c.count(),
            ]
            for call in short:
                await call()
                assert threads.last()
            long: list[Callable[[], Awaitable[Any]]] = [
                lambda: c.search(query, limit=33),
                lambda: c.search(query, offset=30),
                lambda: c.search(query, with_vectors=True),
                lambda: c.search(query, query_filter=untested),
                lambda: c.search(
                    query,
                    query_filter=models.Filter(
                        must=[models.HasIdCondition(has_id=list(range(200)))]
                    ),
                ),
                lambda: c.search(query, search_params={"exact": True}),  # type: ignore[arg-type]
                lambda: c.query_points(query, explain=True),
                lambda: c.query_points(),
                lambda: c.retrieve(range(33)),  # type: ignore[arg-type]
                lambda: c.retrieve([1], with_vectors=True),
                lambda: c.count(rows),
                lambda: c.scroll(),
            ]
            for call in long:
                await call()
                assert not threads.last()

            await db.flush()  # a new segment
            await c.search(query)
            assert not threads.last()
            await c.search(query)
            assert threads.last()
            await c.upsert(batch([10**6], vectors(1), [{"much": "x" * 10**6}]))
            await c.search(query, with_payload=False)
            threads.main.clear()
            await c.search(query)
            assert not threads.last(), "payloads are large"
            await c.search(query, with_payload=False)
            assert threads.last()
            await c.upsert(batch(range(2**17), np.ones((2**17, DIM), np.float32)))
            for _ in range(2):
                threads.main.clear()
                await c.search(query, with_payload=False)
            assert not threads.last(), "many rows have no index"

    asyncio.run(main())


def test_many_short_reads_let_the_loop_do_other_things(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Called at once, and one after another: the loop has turns in between."""
    monkeypatch.setattr("vecdb.aio.turns._LONGEST", 1e-9)  # a read is as much as a turn may have
    query = vectors(1)[0]

    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            c = await with_points(db)
            expected = await c.search(query)
            turns = 0

            async def other() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            task = asyncio.create_task(other())
            for _ in range(50):
                assert await c.search(query) == expected
            assert turns >= 40
            turns = 0
            assert await asyncio.gather(*(c.search(query) for _ in range(50))) == [expected] * 50
            assert turns >= 40
            waiting = [asyncio.create_task(c.search(query)) for _ in range(50)]
            await asyncio.sleep(0)
            for each in waiting[1::2]:
                each.cancel()
            done = await asyncio.gather(*waiting, return_exceptions=True)
            assert done[::2] == [expected] * 25
            assert all(isinstance(each, asyncio.CancelledError) for each in done[3::2])
            bad = await asyncio.gather(
                *(c.search(query[:3]) for _ in range(5)), return_exceptions=True
            )
            assert all(isinstance(each, errors.InvalidInputError) for each in bad)
            last = asyncio.gather(*(c.search(query) for _ in range(20)))
            await asyncio.sleep(0)
            await db.close()
            assert await last == [expected] * 20
            task.cancel()

    asyncio.run(main())


# -- writes --------------------------------------------------------------------------------------


def test_writes_that_come_together_share_group_commits(tmp_path: Path, syncs: list[str]) -> None:
    count = 1000

    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            await db.create_collection(NAME, CONFIG)
            await db.upsert(NAME, [point(count)])
            syncs.clear()
            results = await asyncio.gather(*(db.upsert(NAME, [point(n)]) for n in range(count)))
            assert len(syncs) == 4, "256 operations a frame"
            assert [r.operation_id for r in results] == list(range(2, count + 2)), "in order"
            assert (await db.count(NAME)).count == count + 1

    asyncio.run(main())
    with VecDB(tmp_path / "db", read_only=True) as db:
        assert db.count(NAME).count == count + 1


def test_an_await_that_returned_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            await with_points(db)
            with monkeypatch.context() as patched:
                gate = Gate(patched)
                writes = [asyncio.create_task(db.upsert(NAME, [point(n)])) for n in range(20)]
                await gate.wait()
                await asyncio.sleep(0.05)
                assert not any(write.done() for write in writes)
                gate.opened.set()
                await asyncio.gather(*writes)

    asyncio.run(main())


def test_a_bad_write_among_others_fails_alone(tmp_path: Path, syncs: list[str]) -> None:
    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            c = await with_points(db)
            syncs.clear()
            outcomes = await asyncio.gather(
                c.upsert([point(1000)]),
                c.upsert([models.PointStruct(id=1001, vector=[1.0])]),
                c.delete([1000]),
                c.set_payload({"a": 1}, [1000]),
                c.upsert([point(1002)]),
                c.set_payload({"a": 1}, [1002]),
                c.delete([]),
                return_exceptions=True,
            )
            kinds = [type(each).__name__ for each in outcomes]
            assert kinds == [
                *("UpdateResult", "InvalidInputError", "UpdateResult", "NotFoundError"),
                *("UpdateResult", "UpdateResult", "InvalidInputError"),
            ]
            assert [r.payload for r in await c.retrieve([1000, 1001, 1002])] == [{"a": 1}]

    asyncio.run(main())


def test_writes_are_made_in_the_order_in_which_they_were_called(
    tmp_path: Path, syncs: list[str]
) -> None:
    """Those of several operations are in it, and answered with a result for each."""

    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            c = await with_points(db)
            replace = {"upsert": {"points": [point(1000, n=2)]}}
            syncs.clear()
            outcomes = await asyncio.gather(
                c.upsert([point(1000, n=1)]),
                c.batch_update_points([replace, {"upsert": {"points": [point(1001, n=2)]}}]),
                c.upsert([point(1000, n=3)]),
                c.batch_update_points([]),
                c.set_payload({"a": 1}, [1001]),
                c.batch_update_points(
                    [
                        {"set_payload": {"payload": {"b": 1}, "points": [1001]}},
                        {"upsert": {"points": []}},
                        {"delete": {"points": [1000]}},
                    ]
                ),
                c.batch_update_points(
                    [replace, {"set_payload": {"payload": {}, "points": [4711]}}]
                ),
                c.set_payload({"c": 1}, [1001]),
                return_exceptions=True,
            )
            assert len(syncs) == 4  # three upserts, and each edit
            assert isinstance(outcomes[6], errors.NotFoundError)
            done = [each for each in outcomes if not isinstance(each, BaseException)]
            assert [len(each) if isinstance(each, list) else None for each in done] == [
                *(None, 2, None, 0, None, 3, None)
            ]
            flat = [r for each in done for r in (each if isinstance(each, list) else [each])]
            assert {r.status for r in flat} == {models.UpdateStatus.COMPLETED}
            first = flat[0].operation_id
            assert first is not None
            assert [r.operation_id for r in flat] == [
                first + n for n in (0, 1, 2, 3, 4, 5, 5, 6, 7)
            ]
            found = [r.payload for r in await c.retrieve([1000, 1001])]
            assert found == [{"n": 2, "a": 1, "b": 1, "c": 1}]

    asyncio.run(main())


def test_points_that_come_together_are_checked_together_and_refused_apart(
    tmp_path: Path, syncs: list[str]
) -> None:
    good = [{"id": n, "vector": [float(n)] * DIM} for n in range(1, 8)]
    wrong = {"id": 100, "vector": [1.0]}
    unknown = {"id": 101, "vector": [1.0] * DIM, "colour": "red"}
    again = {"id": 1, "vector": [9.0] * DIM, "payload": {"n": 2}}
    points = [*good[:3], wrong, *good[3:], unknown, again]

    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            await db.create_collection(NAME, CONFIG)
            syncs.clear()
            for some in (points, [*good, again]):
                outcomes = await asyncio.gather(
                    *(db.upsert(NAME, [each]) for each in some), return_exceptions=True
                )
                refused = [str(each) for each in outcomes if isinstance(each, Exception)]
                if some is points:
                    assert len(refused) == 2
                    assert "point 100" in refused[0]
                    assert "colour" in refused[1]
                else:
                    assert not refused
                done = [e.operation_id for e in outcomes if isinstance(e, models.UpdateResult)]
                assert done == list(range(done[0] or 0, (done[0] or 0) + len(good) + 1)), "in order"
            assert len(syncs) == 2
            found = await db.retrieve(NAME, range(1, 102), with_vectors=True)
            assert [each.id for each in found] == list(range(1, 8))
            assert found[0].payload == {"n": 2}
            assert list(found[0].vector or []) == [9.0] * DIM

    asyncio.run(main())


class Stopping(list[Any]):
    """A list that cannot be read: an error in a program's own iterator."""

    def __iter__(self) -> Iterator[Any]:
        raise StopIteration("of the program")


def test_a_stop_iteration_reaches_who_waits_and_nobody_else(tmp_path: Path) -> None:
    """No future takes one, so it comes as the RuntimeError that it is in every coroutine."""

    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            c = await with_points(db)
            writes = [c.upsert([point(1000)]), c.delete(Stopping([1])), c.upsert([point(1001)])]
            outcomes = await asyncio.wait_for(
                asyncio.gather(*writes, return_exceptions=True), LONG / 3
            )
            assert [type(each).__name__ for each in outcomes] == [
                *("UpdateResult", "RuntimeError", "UpdateResult")
            ]
            assert isinstance(outcomes[1], RuntimeError)
            assert isinstance(outcomes[1].__cause__, StopIteration)
            assert len(await c.retrieve([1, 1000, 1001])) == 3

            empty: Iterator[int] = iter(())
            with pytest.raises(RuntimeError) as raised:
                await asyncio.wait_for(db.run(next, empty), LONG / 3)
            assert isinstance(raised.value.__cause__, StopIteration)

    asyncio.run(main())


def test_a_read_that_stops_among_short_ones_keeps_none_from_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrieve = Collection.retrieve

    @functools.wraps(retrieve)
    def stopping(self: Collection, ids: Any, *args: Any, **kwargs: Any) -> Any:
        if ids == [13]:
            raise StopIteration("of the program")
        time.sleep(0.002)  # so the next is for another turn
        return retrieve(self, ids, *args, **kwargs)

    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            c = await with_points(db)
            monkeypatch.setattr(Collection, "retrieve", stopping)
            reads = [c.retrieve(ids=[number]) for number in (11, 12, 13, 14)]
            outcomes = await asyncio.wait_for(
                asyncio.gather(*reads, return_exceptions=True), LONG / 3
            )
            assert [type(each).__name__ for each in outcomes] == [
                *("list", "list", "RuntimeError", "list")
            ]

    asyncio.run(main())


def test_an_error_that_cannot_be_handed_on_keeps_no_other_from_its_answer() -> None:
    class Refusing(asyncio.Future[Any]):
        def set_exception(self, error: Any) -> None:
            if isinstance(error, KeyError):
                raise TypeError("not this one")
            super().set_exception(error)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        first, second = Write(loop, lambda c: c.delete([1])), Write(loop, lambda c: c.delete([1]))
        first.future = Refusing()
        futures = first.future, second.future
        _answer([(first, KeyError("a")), (second, ValueError("b"))])
        with pytest.raises(RuntimeError, match="KeyError"):
            await futures[0]
        with pytest.raises(ValueError, match="b"):
            await futures[1]

    asyncio.run(main())


def test_a_failed_sync_fails_all_that_shared_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            c = await with_points(db)

            def broken(file: fs.AppendFile) -> None:
                raise OSError(5, "no")

            with monkeypatch.context() as patched:
                patched.setattr(fs.AppendFile, "sync", broken)
                writes = (c.upsert([point(n)]) for n in range(1000, 1600))
                outcomes = await asyncio.gather(*writes, return_exceptions=True)
            assert {type(each) for each in outcomes} <= {errors.WriteError, errors.ReadOnlyError}
            with pytest.raises(errors.ReadOnlyError):
                await c.upsert([point(1)])
            assert (await c.count()).count == 50

    asyncio.run(main())


def test_collections_do_not_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            await with_points(db)
            await db.create_collection("other", CONFIG)
            other = db.database.collection("other")._store.wal
            sync, go = fs.AppendFile.sync, threading.Event()

            def held(file: fs.AppendFile) -> None:
                if file is not other._file:
                    assert go.wait(LONG)
                sync(file)

            with monkeypatch.context() as patched:
                patched.setattr(fs.AppendFile, "sync", held)
                first = asyncio.create_task(db.upsert(NAME, [point(1)]))
                await asyncio.wait_for(db.upsert("other", [point(1)]), LONG)
                assert not first.done()
                go.set()
                await first

    asyncio.run(main())


# -- cancellation --------------------------------------------------------------------------------


def test_a_cancelled_write_that_has_begun_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            c = await with_points(db, 1)
            with monkeypatch.context() as patched:
                gate = Gate(patched)
                begun = asyncio.create_task(c.upsert([point(1000)]))
                await gate.wait()
                waiting = asyncio.create_task(c.upsert([point(1001)]))
                await asyncio.sleep(0.01)
                for task in (begun, waiting):
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                gate.opened.set()
            await c.upsert([point(1002)])
            found = {record.id for record in await c.retrieve([1000, 1001, 1002])}
            assert found == {1000, 1002}, "what had not begun is not done at all"

    asyncio.run(main())


def test_a_cancelled_upload_ends_between_two_batches(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            c = await with_points(db, 1)
            sent = itertools.count()
            endless = (point(10 + next(sent)) for _ in itertools.repeat(None))
            upload = asyncio.create_task(c.upload_points(endless, batch_size=10))
            while (await c.count()).count < 50:
                await asyncio.sleep(0.001)
            upload.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upload
            await until(lambda: not db._calls.threads._at_work)
            written = (await c.count()).count - 1
            assert written % 10 == 0
            assert next(sent) in (written, written + 10)

    asyncio.run(main())


def test_who_no_longer_waits_for_the_optimizer_holds_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecdb.engine.optimize.optimizer.next_step", lambda *a, **k: object())
    monkeypatch.setattr("vecdb.engine.optimize.optimizer.Optimizer._step", lambda *a, **k: False)

    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            await with_points(db)
            assert not await db.wait_for_optimizer(timeout=0.01)
            waits = [asyncio.create_task(db.wait_for_optimizer(NAME)) for _ in range(40)]
            await asyncio.sleep(0.01)
            assert (await db.count(NAME, models.Filter())).count == 50, "a thread is left"
            for task in waits[1:]:
                task.cancel()
            await asyncio.gather(*waits[1:], return_exceptions=True)
            await until(lambda: len(db._calls.threads._at_work) <= 1)
            await db.close()
            assert await waits[0] is False

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_cancelled_what_was_acknowledged_is_there_and_nothing_is_there_in_halves(
    tmp_path: Path, seed: int
) -> None:
    """Writers of triples of points, each with a version, are cancelled at random; so is the end."""
    chance = random.Random(seed)
    acknowledged = [0] * 12
    tried = [0] * 12

    async def write(c: AsyncCollection, writer: int, version: int) -> None:
        tried[writer] = version
        points = [point(3 * writer + n, version=version) for n in range(3)]
        await c.upsert(points)
        acknowledged[writer] = version

    async def writing(c: AsyncCollection, writer: int) -> None:
        for version in itertools.count(1):
            task = asyncio.create_task(write(c, writer, version))
            if chance.random() < 0.4:
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(chance.choice([0, 0, 0.0005]))
                task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and task.exception() is not None:
                assert isinstance(task.exception(), errors.ClosedError)
                return

    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            await db.create_collection(NAME, CONFIG)
            c = db.collection(NAME)
            writers = [asyncio.create_task(writing(c, n)) for n in range(12)]
            await until(lambda: min(acknowledged) >= 3)
            await asyncio.sleep(chance.random() * 0.02)
            await db.close()
            await asyncio.gather(*writers)

    asyncio.run(main())
    with VecDB(tmp_path / "db") as db:
        for writer in range(12):
            ids = [3 * writer + n for n in range(3)]
            versions = {record.payload["version"] for record in db.retrieve(NAME, ids)}
            assert len(versions) == 1
            assert acknowledged[writer] <= versions.pop() <= tried[writer]


# -- its end -------------------------------------------------------------------------------------


def test_close_waits_for_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            c = await with_points(db)
            gate = Gate(monkeypatch)
            writes = [asyncio.create_task(c.upsert([point(1000)]))]
            await gate.wait()
            writes += [asyncio.create_task(c.upsert([point(n)])) for n in range(1001, 1005)]
            await asyncio.sleep(0)
            closing = asyncio.create_task(db.close())
            await asyncio.sleep(0.05)
            assert not closing.done()
            with pytest.raises(errors.ClosedError):
                await c.count()
            gate.opened.set()
            await closing
            await asyncio.gather(*writes)

    asyncio.run(main())
    with VecDB(tmp_path / "db") as db:
        assert len(db.retrieve(NAME, list(range(1000, 1005)))) == 5


def test_close_returns_when_the_threads_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, opened = threading.Event(), threading.Event()
    shutdown = ThreadPoolExecutor.shutdown

    def held(pool: ThreadPoolExecutor, *args: Any, **kwargs: Any) -> None:
        if threading.current_thread().name == "vecdb-async-close":
            reached.set()
            assert opened.wait(LONG)
        shutdown(pool, *args, **kwargs)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", held)

    async def main() -> None:
        db = await AsyncVecDB(tmp_path / "db")
        await with_points(db)
        closing = asyncio.ensure_future(db.close())
        try:
            await until(reached.is_set)
            for _ in range(5):
                await asyncio.sleep(0)
            assert not closing.done()
        finally:
            opened.set()
        await closing
        names = [each.name for each in threading.enumerate()]
        assert not [n for n in names if n.startswith(("vecdb-async_", "vecdb-async-lasting"))]

    asyncio.run(main())


def test_an_end_whose_caller_is_cancelled_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        db = await AsyncVecDB(tmp_path / "db")
        c = await with_points(db)
        gate = Gate(monkeypatch)
        write = asyncio.create_task(c.upsert([point(1000)]))
        await gate.wait()
        closing = asyncio.create_task(db.close())
        await asyncio.sleep(0.01)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        gate.opened.set()
        await write
        await db.close()
        assert db.database._database.closed

    asyncio.run(main())


def test_opening_that_is_cancelled_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    prepare = fs.FileLock.__init__

    def slow(self: Any, *args: Any, **kwargs: Any) -> None:
        assert go.wait(LONG)
        prepare(self, *args, **kwargs)

    monkeypatch.setattr(fs.FileLock, "__init__", slow)

    async def main() -> None:
        db = AsyncVecDB(tmp_path / "db")
        opening = asyncio.ensure_future(db.__aenter__())
        await asyncio.sleep(0.01)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        go.set()
        await db.close()
        async with AsyncVecDB(tmp_path / "db"):
            pass

    asyncio.run(main())


def let_go_when_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when somebody who opens a database waits for threads that may still have it."""
    waited = threading.Event()
    wait = process._wait_for_threads

    def waiting(lock_file: Path) -> None:
        holdings = process._holdings_of(lock_file)
        assert all(each.left_to for each in holdings), "nobody knows that threads have it"
        waited.set()
        wait(lock_file)

    monkeypatch.setattr(process, "_wait_for_threads", waiting)
    return waited


@pytest.mark.parametrize("fails", [False, True])
def test_who_lets_go_of_one_may_open_it_again_while_a_thread_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    # There was LockedError for as long as the thread that had written was on its way out.
    waited = let_go_when_somebody_waits(monkeypatch)
    answer_all = writes._answer_all

    def lingering(outcomes: Any) -> None:
        answer_all(outcomes)
        assert waited.wait(LONG)
        assert outcomes

    async def main() -> None:
        db = await AsyncVecDB(tmp_path / "db")
        await with_points(db)
        monkeypatch.setattr(writes, "_answer_all", lingering)
        if fails:
            with suppress(errors.InvalidInputError):
                await db.upsert(NAME, batch([1], vectors(2)))
        else:
            await db.upsert(NAME, [point(1000)])
        del db
        async with AsyncVecDB(tmp_path / "db") as db:
            assert waited.is_set()
            assert (await db.count(NAME)).count == (50 if fails else 51)

    asyncio.run(main())


def test_who_lets_go_of_one_may_open_it_again_while_the_thread_that_opened_it_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = let_go_when_somebody_waits(monkeypatch)
    run = opening._run

    def lingering(opened: Any, *more: Any) -> None:
        run(opened, *more)
        if not waited.is_set():
            assert waited.wait(LONG)
        assert opened.done()

    monkeypatch.setattr(opening, "_run", lingering)

    async def main() -> None:
        db = await AsyncVecDB(tmp_path / "db")
        del db
        again = AsyncVecDB(tmp_path / "db")
        await again
        await again.close()

    asyncio.run(main())


def test_one_that_somebody_has_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            c = await with_points(db)
            gate = Gate(monkeypatch)
            write = asyncio.create_task(c.upsert([point(1000)]))
            await gate.wait()
            with pytest.raises(errors.LockedError):
                await AsyncVecDB(tmp_path / "db")
            assert not write.done()
            gate.opened.set()
            await write

    asyncio.run(main())


def test_nothing_is_left_when_it_is_closed(tmp_path: Path) -> None:
    def ours() -> Iterator[str]:
        """All but those of the process, which another test may have started."""
        names = (thread.name for thread in threading.enumerate())
        return (n for n in names if n.startswith("vecdb") and not n.startswith("vecdb-search"))

    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            c = await with_points(db)
            await asyncio.gather(*(c.scroll() for _ in range(20)))
            assert any(name.startswith("vecdb-async") for name in ours())
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    deadline = time.monotonic() + LONG
    while list(ours()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not list(ours())


def test_a_forked_child_is_told_so_and_closes_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            await with_points(db)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # threads and forks
                child = os.fork()
            if child == 0:
                code = 1
                try:
                    with pytest.raises(errors.ForkError):
                        db.count(NAME).send(None)
                    with pytest.raises(errors.ForkError):
                        db.upsert(NAME, [point(1)]).send(None)
                    with pytest.raises(StopIteration):
                        db.close().send(None)
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
            await db.upsert(NAME, [point(1)])

    asyncio.run(main())


def test_a_read_only_database_refuses_writes_and_is_well(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as writer:
            await with_points(writer)
            async with AsyncVecDB(tmp_path / "db", read_only=True) as db:
                assert db.read_only
                with pytest.raises(errors.ReadOnlyError):
                    await db.upsert(NAME, [point(1)])
                assert (await db.get_collection(NAME)).optimizer_status == "ok"
                await writer.upsert(NAME, [point(1000)])
                assert await db.refresh()
                assert await db.retrieve(NAME, [1000])

    asyncio.run(main())


def test_an_upload_ends_when_the_database_is_closed(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            c = await with_points(db, 1)
            endless = (point(n) for n in itertools.count(10))
            upload = asyncio.create_task(c.upload_points(endless, batch_size=10))
            while (await c.count()).count < 50:
                await asyncio.sleep(0.001)
            await db.close()
            with pytest.raises(errors.ClosedError):
                await upload

    asyncio.run(main())


# -- loops, threads, contexts --------------------------------------------------------------------


def test_two_event_loops_in_two_threads_use_one_database(tmp_path: Path) -> None:
    raised: list[BaseException] = []

    def in_its_own_loop(db: AsyncVecDB, first: int) -> None:
        async def work() -> None:
            writes = (db.upsert(NAME, [point(first + n, n=n)]) for n in range(200))
            await asyncio.gather(*writes, *(db.search(NAME, [1.0] * DIM) for _ in range(200)))
            assert len(await db.retrieve(NAME, list(range(first, first + 200)))) == 200

        try:
            asyncio.run(work())
        except BaseException as error:
            raised.append(error)

    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            await with_points(db)
            works = [asyncio.to_thread(in_its_own_loop, db, 1000 * n) for n in (1, 2)]
            await asyncio.gather(*works, *(db.upsert(NAME, [point(n)]) for n in range(50)))
            assert (await db.count(NAME)).count == 450

    asyncio.run(main())
    assert not raised


def test_a_loop_that_ended_keeps_no_other_from_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has left writes that were called and never waited for, and one that was under way."""
    db = AsyncVecDB(tmp_path / "db")
    loop = asyncio.new_event_loop()
    c = loop.run_until_complete(_opened(db))
    with monkeypatch.context() as patched:
        gate = Gate(patched)
        tasks = [loop.create_task(c.upsert([point(1000)]))]
        loop.run_until_complete(gate.wait())
        tasks.append(loop.create_task(c.upsert([point(1001)])))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        gate.opened.set()

        async def main() -> None:
            await db.upsert(NAME, [point(1002)])
            assert {r.id for r in await db.retrieve(NAME, [1000, 1002])} == {1000, 1002}
            await db.close()

        asyncio.run(main())
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]


async def _opened(db: AsyncVecDB) -> AsyncCollection:
    return await with_points(await db)


def test_context_variables_are_those_of_the_caller(tmp_path: Path) -> None:
    variable = contextvars.ContextVar("variable", default=0)
    seen: list[int] = []

    def points() -> Iterator[models.PointStruct]:
        seen.append(variable.get())
        yield point(1)

    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            c = await with_points(db)
            variable.set(7)
            await c.upload_points(points())

    asyncio.run(main())
    assert seen == [7]


def test_any_function_runs_by_the_rule_of_the_verb_whose_name_it_has(tmp_path: Path) -> None:
    where: list[bool] = []

    class Client(VecDB):
        def search(self, *args: Any, **kwargs: Any) -> Any:
            where.append(threading.current_thread() is threading.main_thread())
            return super().search(*args, **kwargs)

    async def main() -> None:
        client = Client(tmp_path / "db")
        async with AsyncVecDB.of(client) as db:
            await with_points(db)
            query = [1.0] * DIM
            for _ in range(2):
                found = await db.run(client.search, collection_name=NAME, query_vector=query)
            assert found == await db.search(NAME, query)
            await db.run(client.search, NAME, query)
            assert where == [False, True, False]
            assert await db.run(os.getpid) == os.getpid()
            with pytest.raises(errors.NotFoundError):
                await db.run(client.search, collection_name="none", query_vector=query)
        assert client._database.closed

    asyncio.run(main())


def test_a_temporary_database_is_removed(tmp_path: Path) -> None:
    async def main() -> Path:
        async with AsyncVecDB(":memory:") as db:
            await with_points(db)
            assert db.path.exists()
            assert not db.read_only
            assert db.damaged == {}
            return db.path

    assert not asyncio.run(main()).exists()
