"""Semantic Kernel's collection: records in, read, searched, deleted."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from qdrant_client import models
from semantic_kernel.connectors.qdrant import QdrantCollection, QdrantStore
from semantic_kernel.data.vector import DistanceFunction, VectorStoreField, vectorstoremodel

ROWS = [[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


@vectorstoremodel
@dataclass
class Text:
    id: Annotated[int, VectorStoreField("key")]
    text: Annotated[str, VectorStoreField("data", is_full_text_indexed=True)]
    who: Annotated[str, VectorStoreField("data", is_indexed=True)] = ""
    row: Annotated[
        list[float] | None,
        VectorStoreField(
            "vector",
            dimensions=3,
            type="float",
            distance_function=DistanceFunction.COSINE_SIMILARITY,
        ),
    ] = field(default=None)


def texts() -> list[Text]:
    return [Text(n, f"text {n}", "ab"[n % 2], row) for n, row in enumerate(ROWS)]


def run(flow: Callable[[Any], Awaitable[None]], *, new: bool = True, **given: Any) -> None:
    async def all_of_it() -> None:
        place = given or {"location": ":memory:"}
        async with QdrantCollection(record_type=Text, collection_name="texts", **place) as found:
            if new:
                await found.ensure_collection_exists()
            await flow(found)

    asyncio.run(all_of_it())


async def ids(answer: Any) -> list[int]:
    return [each.record.id async for each in answer.results]


def test_records_are_written_read_and_deleted() -> None:
    async def flow(collection: Any) -> None:
        assert await collection.upsert(texts()) == [0, 1, 2, 3]
        found = await collection.get(2)
        assert (found.text, found.who) == ("text 2", "a")
        assert [each.id for each in await collection.get([1, 3], include_vectors=True)] == [1, 3]
        await collection.delete([1, 2])
        assert await collection.get(1) is None

    run(flow)


def test_the_nearest_come_first() -> None:
    async def flow(collection: Any) -> None:
        await collection.upsert(texts())
        assert await ids(await collection.search(vector=ROWS[0], top=2)) == [0, 1]
        assert await ids(await collection.search(vector=ROWS[0], top=2, skip=1)) == [1, 2]

    run(flow)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (lambda x: x.who == "b" and x.text != "text 1", [3]),
        (lambda x: x.who == "a" or x.text == "text 1", [0, 1, 2]),
        (lambda x: x.who != "b", [0, 2]),
    ],
    ids=["and", "or", "not"],
)
def test_a_filter(wanted: Any, expected: list[int]) -> None:
    async def flow(collection: Any) -> None:
        await collection.upsert(texts())
        found = await ids(await collection.search(vector=ROWS[0], top=9, filter=wanted))
        assert sorted(found) == expected

    run(flow)


def test_vectors_without_a_name() -> None:
    async def flow(collection: Any) -> None:
        await collection.upsert(texts())
        assert await ids(await collection.search(vector=ROWS[3], top=1)) == [3]

    run(flow, location=":memory:", named_vectors=False)


def test_collections_are_managed() -> None:
    async def flow() -> None:
        async with QdrantStore(location=":memory:") as store:
            collection = store.get_collection(Text, collection_name="texts")
            assert not await collection.collection_exists()
            await collection.ensure_collection_exists()
            assert list(await store.list_collection_names()) == ["texts"]
            await collection.ensure_collection_deleted()
            assert not await collection.collection_exists()

    asyncio.run(flow())


def test_a_directory(tmp_path: Path) -> None:
    async def write(collection: Any) -> None:
        await collection.upsert(texts())

    async def look(collection: Any) -> None:
        assert (await collection.get(1)).text == "text 1"

    run(write, path=str(tmp_path / "db"))
    run(look, new=False, path=str(tmp_path / "db"))


def test_a_hybrid_query() -> None:
    async def flow(collection: Any) -> None:
        await collection.upsert(texts())
        answer = await collection.hybrid_search(
            ["text 3"], vector=ROWS[0], top=2, additional_property_name="text"
        )
        assert len(await ids(answer)) == 2

    run(flow)


def test_its_models_are_qdrants() -> None:
    async def flow(collection: Any) -> None:
        info = await collection.qdrant_client.get_collection("texts")
        assert isinstance(info.config.params.vectors["row"], models.VectorParams)

    run(flow)
