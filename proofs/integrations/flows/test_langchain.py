"""LangChain's vector store: texts in, filtered searches, stores that make their own collection."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_qdrant import QdrantVectorStore
from qdrant_client import QdrantClient, models

EMBEDDING = DeterministicFakeEmbedding(size=16)
IDS = [f"00000000-0000-0000-0000-{n:012d}" for n in range(4)]
TEXTS = [f"text {n}" for n in range(4)]
METADATA: list[dict[str, Any]] = [{"n": n, "who": "ab"[n % 2], "tags": ["x", n]} for n in range(4)]


@pytest.fixture(params=["", "dense"], ids=["unnamed", "named"])
def store(request: pytest.FixtureRequest) -> QdrantVectorStore:
    """Over a collection that is there, whose vector has a name or none."""
    client = QdrantClient(":memory:")
    params = models.VectorParams(size=16, distance=models.Distance.COSINE)
    name = request.param
    client.create_collection("texts", vectors_config={name: params} if name else params)
    store = QdrantVectorStore(client, "texts", EMBEDDING, vector_name=name)
    assert store.add_texts(TEXTS, METADATA, IDS) == IDS
    return store


def numbers(found: list[Document]) -> list[int]:
    return [each.metadata["n"] for each in found]


def test_the_nearest_come_first(store: QdrantVectorStore) -> None:
    found = store.similarity_search_with_score("text 2", k=2)
    assert found[0][0].page_content == "text 2"
    assert found[0][1] == pytest.approx(1.0)
    assert found[0][0].metadata["_collection_name"] == "texts"
    assert numbers(store.similarity_search_by_vector(EMBEDDING.embed_query("text 3"), k=1)) == [3]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"key": "metadata.who", "match": {"value": "b"}}, {1, 3}),
        ({"key": "metadata.n", "range": {"gte": 2}}, {2, 3}),
        ({"key": "metadata.tags", "match": {"any": [0, 3]}}, {0, 3}),
        ({"key": "page_content", "match": {"except": ["text 1"]}}, {0, 2, 3}),
        ({"has_id": [IDS[1]]}, {1}),
    ],
    ids=str,
)
def test_a_filter(store: QdrantVectorStore, condition: Any, expected: set[int]) -> None:
    found = store.similarity_search("text", k=4, filter=models.Filter(must=[condition]))
    assert set(numbers(found)) == expected


def test_a_page_and_a_lowest_score(store: QdrantVectorStore) -> None:
    everything = store.similarity_search("text 0", k=4)
    assert store.similarity_search("text 0", k=2, offset=2) == everything[2:]
    assert numbers(store.similarity_search("text 0", k=4, score_threshold=0.99)) == [0]


def test_a_retriever(store: QdrantVectorStore) -> None:
    retriever = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"k": 4, "score_threshold": 0.9}
    )
    assert numbers(retriever.invoke("text 1")) == [1]


def test_texts_are_read_replaced_and_deleted(store: QdrantVectorStore) -> None:
    assert {each.metadata["n"] for each in store.get_by_ids(IDS[:2])} == {0, 1}
    store.add_documents([Document("new", metadata={"n": 9})], ids=IDS[:1])
    assert store.get_by_ids(IDS[:1])[0].page_content == "new"
    store.delete(IDS[1:])
    assert numbers(store.similarity_search("anything", k=4)) == [9]


def test_everything_awaited(store: QdrantVectorStore) -> None:
    async def run() -> None:
        await store.aadd_texts(["text 4"], [{"n": 4}])
        assert numbers(await store.asimilarity_search("text 4", k=1)) == [4]
        assert await store.adelete(IDS)
        assert numbers(await store.asimilarity_search("text 4", k=5)) == [4]

    asyncio.run(run())


def test_a_store_makes_its_collection_in_a_directory(tmp_path: Path) -> None:
    """And a second one finds it; one of other embeddings is told that it does not fit."""
    place: dict[str, Any] = {"path": str(tmp_path / "db"), "collection_name": "texts"}
    store = QdrantVectorStore.from_texts(TEXTS, EMBEDDING, METADATA, **place)
    assert numbers(store.similarity_search("text 3", k=1)) == [3]
    store.client.close()
    again = QdrantVectorStore.from_existing_collection(embedding=EMBEDDING, **place)
    assert numbers(again.similarity_search("text 3", k=1)) == [3]
    with pytest.raises(Exception, match="dimensions"):
        QdrantVectorStore(again.client, "texts", DeterministicFakeEmbedding(size=8))
    again.client.close()
    anew = QdrantVectorStore.from_texts(TEXTS[:1], EMBEDDING, force_recreate=True, **place)
    assert len(anew.similarity_search("text", k=4)) == 1
    anew.client.close()


def test_a_missing_collection_is_an_error() -> None:
    with pytest.raises(ValueError, match="not found"):
        QdrantVectorStore(QdrantClient(":memory:"), "missing", EMBEDDING)
