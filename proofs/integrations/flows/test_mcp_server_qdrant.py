"""Qdrant's MCP server: its connector, with embeddings that are made up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from mcp_server_qdrant.embeddings.base import EmbeddingProvider
from mcp_server_qdrant.qdrant import Entry, QdrantConnector
from qdrant_client import models


class Letters(EmbeddingProvider):  # type: ignore[misc]  # its package is not here
    """How often a text has each letter of the alphabet."""

    async def embed_documents(self, documents: list[str]) -> list[list[float]]:
        return [[text.count(chr(97 + n)) + 0.01 for n in range(26)] for text in documents]

    async def embed_query(self, query: str) -> list[float]:
        return (await self.embed_documents([query]))[0]

    def get_vector_name(self) -> str:
        return "letters"

    def get_vector_size(self) -> int:
        return 26


def run(flow: Callable[[QdrantConnector], Awaitable[None]], **given: object) -> None:
    async def all_of_it() -> None:
        place = {"qdrant_url": ":memory:", "qdrant_api_key": None, **given}
        connector = QdrantConnector(collection_name="notes", embedding_provider=Letters(), **place)
        await flow(connector)
        await connector._client.close()

    asyncio.run(all_of_it())


def test_what_is_stored_is_found() -> None:
    async def flow(connector: QdrantConnector) -> None:
        await connector.store(Entry(content="aaa", metadata={"n": 1}))
        await connector.store(Entry(content="bbb"))
        found = await connector.search("aab", limit=1)
        assert [(entry.content, entry.metadata) for entry in found] == [("aaa", {"n": 1})]
        assert len(await connector.search("b")) == 2

    run(flow)


def test_nothing_is_found_where_nothing_is() -> None:
    async def flow(connector: QdrantConnector) -> None:
        assert await connector.search("a") == []
        assert await connector.search("a", collection_name="other") == []
        assert await connector.get_collection_names() == []

    run(flow)


def test_collections_are_told_apart() -> None:
    async def flow(connector: QdrantConnector) -> None:
        await connector.store(Entry(content="aaa"), collection_name="other")
        assert await connector.search("a") == []
        assert len(await connector.search("a", collection_name="other")) == 1
        assert await connector.get_collection_names() == ["other"]

    run(flow)


def test_a_filter() -> None:
    async def flow(connector: QdrantConnector) -> None:
        for n in range(3):
            await connector.store(Entry(content="a" * (n + 1), metadata={"n": n}))
        only = models.Filter(
            must=[models.FieldCondition(key="metadata.n", match=models.MatchValue(value=2))]
        )
        assert [each.content for each in await connector.search("a", query_filter=only)] == ["aaa"]

    run(flow)


def test_with_indexes_of_payloads() -> None:
    async def flow(connector: QdrantConnector) -> None:
        await connector.store(Entry(content="aaa", metadata={"n": 1}))
        assert len(await connector.search("a")) == 1

    run(flow, field_indexes={"metadata.n": models.PayloadSchemaType.INTEGER})


@pytest.mark.parametrize("times", [2])
def test_a_directory(tmp_path: Path, times: int) -> None:
    async def flow(connector: QdrantConnector) -> None:
        await connector.store(Entry(content="aaa"))

    async def look(connector: QdrantConnector) -> None:
        assert len(await connector.search("a")) == times

    for _ in range(times):
        run(flow, qdrant_url=None, qdrant_local_path=str(tmp_path / "db"))
    run(look, qdrant_url=None, qdrant_local_path=str(tmp_path / "db"))
