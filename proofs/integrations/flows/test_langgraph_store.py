"""LangGraph's store on Qdrant: values by namespace and key, searched, listed, expired."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.store.qdrant import AsyncQdrantStore, QdrantStore
from qdrant_client import AsyncQdrantClient, QdrantClient


def embed(texts: list[str]) -> list[list[float]]:
    """How often a text has each letter of the alphabet."""
    return [[text.count(chr(97 + n)) + 0.01 for n in range(26)] for text in texts]


INDEX: dict[str, Any] = {"dims": 26, "embed": embed, "fields": ["text"]}


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Any:
    """Without vectors, if a test does not ask for them."""
    store = QdrantStore(QdrantClient(":memory:"), index=getattr(request, "param", None))
    store.setup()
    for n, text in enumerate(["aaa", "bbb", "abc"]):
        store.put(("users", "ab"[n % 2]), f"k{n}", {"text": text, "n": n})
    return store


def keys(found: Any) -> list[str]:
    return [item.key for item in found]


def test_values_are_read_replaced_and_deleted(store: Any) -> None:
    assert store.get(("users", "a"), "k0").value == {"text": "aaa", "n": 0}
    assert store.get(("users", "b"), "k0") is None
    store.put(("users", "a"), "k0", {"text": "zzz", "n": 9})
    assert store.get(("users", "a"), "k0").value["n"] == 9
    store.delete(("users", "a"), "k0")
    assert store.get(("users", "a"), "k0") is None


@pytest.mark.parametrize("store", [INDEX], indirect=True, ids=["index"])
def test_the_nearest_come_first(store: Any) -> None:
    assert keys(store.search(("users",), query="aa"))[0] == "k0"
    assert keys(store.search(("users", "b"), query="aa")) == ["k1"]


def test_a_filter(store: Any) -> None:
    assert set(keys(store.search(("users",), filter={"n": {"$gte": 1}}))) == {"k1", "k2"}
    assert keys(store.search(("users",), filter={"text": "bbb"})) == ["k1"]


def test_namespaces_are_listed(store: Any) -> None:
    assert store.list_namespaces(prefix=("users",)) == [("users", "a"), ("users", "b")]


def test_setting_up_again_changes_nothing(store: Any) -> None:
    store.setup()
    assert store.get(("users", "a"), "k2").value["text"] == "abc"


@pytest.mark.parametrize("index", [None, INDEX], ids=["without", "with"])
def test_everything_awaited(index: Any) -> None:
    async def run() -> None:
        client = AsyncQdrantClient(":memory:")
        async with AsyncQdrantStore(client, index=index) as store:
            await store.setup()
            await store.aput(("u",), "k", {"text": "abc"})
            assert (await store.aget(("u",), "k")).value == {"text": "abc"}
            assert keys(await store.asearch(("u",), query="a")) == ["k"]
            await store.adelete(("u",), "k")
            assert await store.aget(("u",), "k") is None
        await client.close()

    asyncio.run(run())
