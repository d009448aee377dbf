"""Where a server's reads run, and which of them are made together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vecdb import AsyncVecDB, Collection, errors
from vecdb.models.reading import drop_unknown
from vecdb.server.lanes import QUICK, WAITING, Lanes
from vecdb.server.searches import Searches
from vecdb.server.status import Refusal


def with_database(work: Callable[[AsyncVecDB], Any]) -> None:
    async def run() -> None:
        async with AsyncVecDB(":memory:") as database:
            await work(database)

    asyncio.run(run())


def test_a_kind_begins_in_a_thread_and_moves_to_the_loop_when_it_is_quick() -> None:
    async def work(database: AsyncVecDB) -> None:
        lanes = Lanes(database)
        threads = [await lanes.read("quick", threading.get_ident) for _ in range(20)]
        assert threads[0] != threading.get_ident()
        assert threads[-1] == threading.get_ident()
        assert lanes.taken["thread"] < 20
        assert await lanes.read(None, threading.get_ident) != threading.get_ident()
        assert await lanes.read("other", threading.get_ident) != threading.get_ident()

    with_database(work)


def test_a_kind_that_is_slow_leaves_the_loop_and_comes_back() -> None:
    async def work(database: AsyncVecDB) -> None:
        lanes = Lanes(database)
        for _ in range(30):
            await lanes.read("kind", lambda: None)
        assert lanes.is_quick("kind")
        lanes.took("kind", QUICK * 5)  # once says nothing
        assert lanes.is_quick("kind")
        for _ in range(10):
            lanes.took("kind", QUICK * 5)
        assert not lanes.is_quick("kind")
        for _ in range(30):
            await lanes.read("kind", lambda: None)
        assert lanes.is_quick("kind")

    with_database(work)


def test_a_read_that_fails_is_counted_wherever_it_ran() -> None:
    """In the loop it was not."""

    def fail() -> None:
        raise errors.InvalidInputError("wrong")

    async def work(database: AsyncVecDB) -> None:
        lanes = Lanes(database)
        while not lanes.is_quick("kind"):
            await lanes.read("kind", lambda: None)
        before = dict(lanes.taken)
        for kind in ("kind", None):
            with pytest.raises(errors.InvalidInputError):
                await lanes.read(kind, fail)
        assert lanes.taken == {lane: count + 1 for lane, count in before.items()}

    with_database(work)


def test_time_is_up_and_the_read_keeps_its_place() -> None:
    async def work(database: AsyncVecDB) -> None:
        lanes, go = Lanes(database), threading.Event()
        with pytest.raises(Refusal) as caught:
            await lanes.read(None, go.wait, timeout=0.01)
        assert caught.value.status.http == 408
        assert lanes.waiting == 1
        go.set()
        while lanes.waiting:
            await asyncio.sleep(0.001)

    with_database(work)


def test_too_many_wait() -> None:
    async def work(database: AsyncVecDB) -> None:
        lanes, go = Lanes(database), threading.Event()
        reads = [asyncio.ensure_future(lanes.read(None, go.wait)) for _ in range(WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as caught:
            await lanes.read(None, go.wait)
        assert caught.value.status.http == 503
        go.set()
        assert await asyncio.gather(*reads) == [True] * WAITING
        assert lanes.waiting == 0

    with_database(work)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many searches each batch had."""
    made: list[int] = []
    plain = Collection.query_batch_points

    def counted(self: Collection, requests: Any, **rest: Any) -> Any:
        made.append(len(requests))
        return plain(self, requests, **rest)

    monkeypatch.setattr(Collection, "query_batch_points", counted)
    return made


def test_searches_of_one_turn_are_one_batch(batches: list[int]) -> None:
    vectors = np.random.default_rng(1).standard_normal((200, 8)).astype(np.float32)

    async def work(database: AsyncVecDB) -> None:
        await database.create_collection("c", {"size": 8, "distance": "Dot"})
        await database.upsert("c", {"ids": list(range(200)), "vectors": vectors})
        collection = database.database.collection("c")
        lanes = Lanes(database)
        searches = Searches(lanes)

        def make(row: int, kind: str = "kind", alone: bool = False, **more: Any) -> Any:
            request = {"query": vectors[row], "limit": 5, **more}
            return searches.make(kind, collection, request, list, alone=alone, timeout=None)

        while not lanes.is_quick("kind"):
            await make(0)
        assert not batches
        expected = [collection.query_points(vectors[n], limit=5).points for n in range(40)]
        for points in expected:
            for point in points:
                point.payload = None  # as it is not asked for
        assert await asyncio.gather(*(make(n) for n in range(40))) == expected
        assert batches == [16, 16, 8]
        batches.clear()
        assert await make(3, alone=True) == expected[3]
        assert await make(4) == expected[4]
        assert not batches
        # One that is wrong is told so, and the others are answered.
        wrong = searches.make(
            "kind", collection, {"query": [1.0], "limit": 5}, list, alone=False, timeout=None
        )
        mixed = await asyncio.gather(make(1), wrong, make(2), return_exceptions=True)
        assert [mixed[0], mixed[2]] == expected[1:3]
        assert isinstance(mixed[1], errors.InvalidInputError)
        # A caller that has gone is not searched for, and keeps nobody waiting.
        task = asyncio.ensure_future(make(5))
        await asyncio.sleep(0)
        task.cancel()
        assert await make(6) == expected[6]

    with_database(work)


def test_what_is_made_again_one_by_one_is_counted_once() -> None:
    """Searches were counted twice, and so were their unknown fields, where one of those that were
    made together failed."""

    async def work(database: AsyncVecDB) -> None:
        await database.create_collection("c", {"size": 2, "distance": "Dot"})
        await database.upsert("c", [{"id": 1, "vector": [1.0, 2.0]}])
        collection = database.database.collection("c")
        lanes = Lanes(database)
        searches = Searches(lanes)
        told: dict[str, list[str]] = {"a": [], "b": []}
        tell = {name: fields.append for name, fields in told.items()}

        def make(query: list[float], who: str) -> Any:
            drop_unknown.set(tell[who])
            request = {"query": query, "params": {"new": 1}}
            made = searches.make("kind", collection, request, list, alone=False, timeout=None)
            return asyncio.ensure_future(made)

        while not lanes.is_quick("kind"):
            await lanes.read("kind", lambda: None)
        for queries, wrong in (([1.0, 2.0], 0), ([1.0], 1)):
            before = sum(lanes.taken.values())
            for fields in told.values():
                fields.clear()
            made = [make([1.0, 2.0], "a"), make([2.0, 1.0], "b"), make(queries, "a")]
            found = await asyncio.gather(*made, return_exceptions=True)
            assert sum(isinstance(each, errors.InvalidInputError) for each in found) == wrong
            assert sum(lanes.taken.values()) == before + 3
            # Each caller's fields are told to whom its own are told.
            assert told == {"a": ["SearchParams.new"] * 2, "b": ["SearchParams.new"]}

    with_database(work)
