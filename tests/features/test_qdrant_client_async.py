"""``vecdb.qdrant.AsyncQdrantClient``: the same client for asyncio."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import qdrant_client
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse
from qdrant_client.http.models import QueryResponse
from qdrant_client.local.async_qdrant_local import AsyncQdrantLocal

import vecdb
from vecdb.aio.handles import Gathering
from vecdb.qdrant import AsyncQdrantClient, install, uninstall

PARAMS = models.VectorParams(size=3, distance=models.Distance.COSINE)
POINT = models.PointStruct(id=1, vector=[1.0, 0.0, 0.0], payload={"a": "x"})


async def filled() -> AsyncQdrantClient:
    client = AsyncQdrantClient(":memory:")
    await client.create_collection("c", vectors_config=PARAMS, sparse_vectors_config={})
    await client.upsert("c", [POINT], shard_key_selector=None)
    return client


def test_it_is_qdrants_async_client_in_local_mode() -> None:
    async def run() -> None:
        async with await filled() as client:
            assert isinstance(client, qdrant_client.AsyncQdrantClient)
            assert isinstance(client._client, AsyncQdrantLocal)
            assert isinstance(client.database, vecdb.VecDB)
            assert client._client.closed is False
        assert client._client.closed is True

    asyncio.run(run())


def test_no_verb_of_local_mode_is_left() -> None:
    async def run() -> None:
        async with await filled() as client:
            ours = type(client._client)
            for name, theirs in inspect.getmembers(AsyncQdrantLocal, inspect.isfunction):
                if name[0] != "_":
                    mine = getattr(ours, name)
                    assert mine is not theirs, name
                    assert inspect.iscoroutinefunction(mine) == inspect.iscoroutinefunction(theirs)

    asyncio.run(run())


def test_its_verbs_are_awaited() -> None:
    async def run() -> None:
        async with await filled() as client:
            found = await client.query_points("c", query=[1.0, 0.0, 0.0], timeout=None)
            assert type(found) is QueryResponse  # that of the same name in models is FastEmbed's
            assert found.points[0].payload == {"a": "x"}
            assert (await client.query_points("c", query=1)).points == []
            assert (await client.query_points("c", [1.0, 0.0, 0.0], None, None, None)).points
            records, following = await client.scroll("c", scroll_filter=None, limit=3)
            assert [record.id for record in records] == [1]
            assert following is None
            batch = await client.query_batch_points(
                "c", requests=[models.QueryRequest(query=[1.0, 0.0, 0.0])]
            )
            assert batch[0].points[0].id == 1
            client.upload_points("c", [POINT.model_copy(update={"id": 2})])
            assert (await client.count("c", exact=True)).count == 2
            await client.delete("c", points_selector=models.PointIdsList(points=[1]))
            assert [each.id for each in await client.retrieve("c", ids=[1, 2])] == [2]
            info = await client.get_collection("c")
            assert info.config.params.vectors == PARAMS
            with pytest.raises(UnexpectedResponse) as caught:
                await client.get_collection("other")
            assert caught.value.status_code == 404
            assert (await client.info()).version

    asyncio.run(run())


@pytest.mark.filterwarnings("ignore:.search:DeprecationWarning")
def test_what_only_vecdb_has_is_there_too() -> None:
    async def run() -> None:
        client: Any = await filled()
        assert (await client.search("c", [1.0, 0.0, 0.0], limit=1))[0].id == 1
        await client.flush()
        assert await client.wait_for_optimizer("c", timeout=30)
        with pytest.raises(AttributeError, match="nothing"):
            _ = client.nothing
        await client.close()
        await client.close()

    asyncio.run(run())


def test_long_calls_do_not_hold_up_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both would wait for ever if one were answered in the loop's own thread."""
    together = threading.Barrier(2, timeout=60)
    scroll = vecdb.Collection.scroll

    def slow(self: Any, *given: Any, **named: Any) -> Any:
        together.wait()
        return scroll(self, *given, **named)

    async def run() -> None:
        async with await filled() as client:
            monkeypatch.setattr(vecdb.Collection, "scroll", slow)
            found = await asyncio.gather(client.scroll("c"), client.scroll("c"))
            assert [len(records) for records, _ in found] == [1, 1]

    asyncio.run(run())


def test_short_reads_are_answered_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the segments are warm and the filter is remembered; a filter of Qdrant's own, too."""
    threads: list[int] = []
    search = vecdb.VecDB.query_points

    def noted(self: Any, *given: Any, **named: Any) -> Any:
        threads.append(threading.get_ident())
        return search(self, *given, **named)

    wanted = models.Filter(
        must=[models.FieldCondition(key="a", match=models.MatchValue(value="x"))]
    )

    async def run() -> None:
        async with await filled() as client:
            monkeypatch.setattr(vecdb.VecDB, "query_points", noted)
            noted.__name__ = "query_points"
            for _ in range(3):
                found = await client.query_points("c", [1.0, 0.0, 0.0], query_filter=wanted)
                assert [point.payload for point in found.points] == [{"a": "x"}]
            assert [each == threading.get_ident() for each in threads] == [False, True, True]
            huge = models.Filter(must=[models.HasIdCondition(has_id=list(range(10_000)))])
            for _ in range(2):
                await client.query_points("c", [1.0, 0.0, 0.0], query_filter=huge)
            assert threading.get_ident() not in threads[3:]

    asyncio.run(run())


def test_writes_that_come_together_are_written_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    commit = Gathering.commit

    def noted(self: Gathering) -> Any:
        sizes.append(len(self))
        return commit(self)

    async def run() -> None:
        async with await filled() as client:
            monkeypatch.setattr(Gathering, "commit", noted)
            points = [POINT.model_copy(update={"id": n}) for n in range(100)]
            results = await asyncio.gather(*(client.upsert("c", [each]) for each in points))
            assert {type(each) for each in results} == {models.UpdateResult}
            assert (await client.count("c")).count == 100

    asyncio.run(run())
    assert sum(sizes) == 100
    assert len(sizes) < 10


@pytest.mark.parametrize("verb", ["upsert", "scroll", "count"])
def test_a_call_that_raises_stop_iteration_ends(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """asyncio's futures do not take it; waiting for them went on for ever."""

    def stops(self: Any, *given: Any, **named: Any) -> Any:
        raise StopIteration

    stops.__name__ = verb

    async def run() -> None:
        async with await filled() as client:
            monkeypatch.setattr(vecdb.Collection, verb, stops)
            further = {"points": [POINT]} if verb == "upsert" else {}
            with pytest.raises(RuntimeError, match="StopIteration"):
                await asyncio.wait_for(getattr(client, verb)("c", **further), 60)

    asyncio.run(run())


def test_closing_waits_for_the_calls_that_were_made(tmp_path: Path) -> None:
    async def run() -> None:
        client = AsyncQdrantClient(path=str(tmp_path / "db"))
        await client.create_collection("c", vectors_config=PARAMS)
        writes = [
            asyncio.ensure_future(client.upsert("c", [POINT.model_copy(update={"id": n})]))
            for n in range(20)
        ]
        for _ in range(2):
            await asyncio.sleep(0)
        await client.close()
        await asyncio.gather(*writes)
        with pytest.raises(RuntimeError, match="closed"):
            await client.count("c")
        async with AsyncQdrantClient(path=str(tmp_path / "db")) as again:
            assert (await again.count("c")).count == 20

    asyncio.run(run())


def test_a_write_that_is_cancelled_is_done_when_the_cancellation_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    upsert = vecdb.Collection.upsert

    def slow(self: Any, *given: Any, **named: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        return upsert(self, *given, **named)

    async def run() -> None:
        async with await filled() as client:
            monkeypatch.setattr(vecdb.Collection, "upsert", slow)
            writing = asyncio.ensure_future(
                client.upsert("c", [POINT.model_copy(update={"id": 2})])
            )
            await asyncio.to_thread(begun.wait, 60)
            writing.cancel()
            await asyncio.sleep(0.05)
            writing.cancel()
            await asyncio.sleep(0.05)
            assert not writing.done()
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await writing
            assert client.database.count("c").count == 2

    asyncio.run(run())


def test_a_write_that_is_cancelled_and_fails_is_no_loose_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[Any] = []

    def failing(self: Any, *given: Any, **named: Any) -> Any:
        time.sleep(0.1)
        raise OSError("no")

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: said.append(what))
        async with await filled() as client:
            monkeypatch.setattr(vecdb.Collection, "upsert", failing)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.upsert("c", [POINT]), 0.01)

    asyncio.run(run())
    assert not said


def test_a_read_that_is_cancelled_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    scroll = vecdb.Collection.scroll

    def slow(self: Any, *given: Any, **named: Any) -> Any:
        assert go_on.wait(60)
        return scroll(self, *given, **named)

    async def run() -> None:
        async with await filled() as client:
            monkeypatch.setattr(vecdb.Collection, "scroll", slow)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.scroll("c"), 0.01)
            go_on.set()

    asyncio.run(run())


def test_what_was_written_is_there_after_the_client_is_gone(tmp_path: Path) -> None:
    async def run() -> None:
        client = AsyncQdrantClient(path=str(tmp_path / "db"))
        await client.create_collection("c", vectors_config=PARAMS)
        await client.upsert("c", [POINT])
        del client
        async with AsyncQdrantClient(path=str(tmp_path / "db")) as client:
            assert (await client.count("c")).count == 1

    asyncio.run(run())


def test_it_shares_an_address_with_the_other_client(tmp_path: Path) -> None:
    async def run() -> None:
        sync = qdrant_client.QdrantClient(url="http://localhost:6333")
        sync.create_collection("c", vectors_config=PARAMS)
        client = qdrant_client.AsyncQdrantClient(**sync.init_options)
        assert type(client) is AsyncQdrantClient
        sync.close()
        assert await client.collection_exists("c")
        await client.close()

    install(tmp_path / "served")
    try:
        asyncio.run(run())
    finally:
        uninstall()
