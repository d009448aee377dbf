"""LlamaIndex's vector store: nodes in, filtered queries, an index end to end, both clients."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import AsyncQdrantClient, QdrantClient, models

ROWS = [[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
IDS = [f"00000000-0000-0000-0000-{n:012d}" for n in range(4)]


def nodes() -> list[TextNode]:
    return [
        TextNode(
            id_=IDS[n],
            text=f"text {n}",
            embedding=row,
            metadata={"n": n, "who": "ab"[n % 2], "tags": ["x", f"t{n}"]},
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"doc-{n // 2}")},
        )
        for n, row in enumerate(ROWS)
    ]


@pytest.fixture
def store() -> QdrantVectorStore:
    store = QdrantVectorStore("nodes", client=QdrantClient(":memory:"))
    assert store.add(nodes()) == IDS
    return store


def ask(**given: Any) -> VectorStoreQuery:
    return VectorStoreQuery(query_embedding=ROWS[0], similarity_top_k=4, **given)


def filtered(*filters: MetadataFilter, condition: str = "and") -> MetadataFilters:
    return MetadataFilters(filters=list(filters), condition=FilterCondition(condition))


def test_the_nearest_come_first(store: QdrantVectorStore) -> None:
    found = store.query(ask())
    assert found.ids is not None
    assert found.ids[:2] == IDS[:2]
    assert found.nodes is not None
    assert found.nodes[0].get_content() == "text 0"
    assert found.nodes[0].metadata["who"] == "a"


@pytest.mark.parametrize(
    ("operator", "key", "value", "expected"),
    [
        (FilterOperator.EQ, "who", "b", {1, 3}),
        (FilterOperator.EQ, "n", 2, {2}),
        (FilterOperator.NE, "who", "b", {0, 2}),
        (FilterOperator.GT, "n", 1, {2, 3}),
        (FilterOperator.GTE, "n", 1, {1, 2, 3}),
        (FilterOperator.LT, "n", 1, {0}),
        (FilterOperator.LTE, "n", 1, {0, 1}),
        (FilterOperator.IN, "who", ["a", "c"], {0, 2}),
        (FilterOperator.NIN, "who", ["a", "c"], {1, 3}),
        (FilterOperator.IN, "tags", ["t3"], {3}),
        (FilterOperator.IS_EMPTY, "missing", None, {0, 1, 2, 3}),
        (FilterOperator.TEXT_MATCH, "who", "b", {1, 3}),
    ],
)
def test_a_filter(
    store: QdrantVectorStore,
    operator: FilterOperator,
    key: str,
    value: Any,
    expected: set[int],
) -> None:
    only = filtered(MetadataFilter(key=key, value=value, operator=operator))
    found = store.query(ask(filters=only))
    assert set(found.ids or []) == {IDS[n] for n in expected}


def test_filters_are_combined(store: QdrantVectorStore) -> None:
    first = MetadataFilter(key="n", value=0)
    second = MetadataFilter(key="who", value="b")
    either = store.query(ask(filters=filtered(first, second, condition="or")))
    assert set(either.ids or []) == {IDS[0], IDS[1], IDS[3]}
    assert store.query(ask(filters=filtered(first, second))).ids == []


def test_a_query_of_some_nodes(store: QdrantVectorStore) -> None:
    found = store.query(ask(node_ids=[IDS[2], IDS[3]]))
    assert set(found.ids or []) == {IDS[2], IDS[3]}
    found = store.query(ask(doc_ids=["doc-1"]))
    assert set(found.ids or []) == {IDS[2], IDS[3]}


def test_a_query_of_qdrants_own_filter(store: QdrantVectorStore) -> None:
    own = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=3))])
    assert store.query(ask(), qdrant_filters=own).ids == [IDS[3]]


def test_nodes_are_read(store: QdrantVectorStore) -> None:
    assert {node.node_id for node in store.get_nodes(IDS[:2])} == set(IDS[:2])
    only = filtered(MetadataFilter(key="who", value="b"))
    assert {node.node_id for node in store.get_nodes(filters=only)} == {IDS[1], IDS[3]}


def test_nodes_are_deleted(store: QdrantVectorStore) -> None:
    store.delete("doc-0")
    assert set(store.query(ask()).ids or []) == {IDS[2], IDS[3]}
    store.delete_nodes([IDS[2]])
    assert store.query(ask()).ids == [IDS[3]]
    store.delete_nodes(filters=filtered(MetadataFilter(key="n", value=3)))
    assert store.query(ask()).ids == []


def test_it_is_cleared(store: QdrantVectorStore) -> None:
    store.clear()
    assert not store.client.collection_exists("nodes")
    store.add(nodes()[:1])
    assert store.query(ask()).ids == IDS[:1]


def test_what_is_there_is_found_again() -> None:
    client = QdrantClient(":memory:")
    QdrantVectorStore("nodes", client=client).add(nodes())
    again = QdrantVectorStore("nodes", client=client)
    assert (again.query(ask()).ids or [])[0] == IDS[0]
    again.add(nodes()[:1])
    assert client.count("nodes").count == 4


def test_a_store_in_a_directory(tmp_path: Path) -> None:
    client = QdrantClient(path=str(tmp_path / "db"))
    QdrantVectorStore("nodes", client=client).add(nodes())
    client.close()
    client = QdrantClient(path=str(tmp_path / "db"))
    assert len(QdrantVectorStore("nodes", client=client).query(ask()).ids or []) == 4
    client.close()


def test_with_indexes_of_payloads() -> None:
    indexes = [{"field_name": "who", "field_schema": models.PayloadSchemaType.KEYWORD}]
    client = QdrantClient(":memory:")
    store = QdrantVectorStore("nodes", client=client, payload_indexes=indexes)
    store.add(nodes())
    only = filtered(MetadataFilter(key="who", value="b"))
    assert set(store.query(ask(filters=only)).ids or []) == {IDS[1], IDS[3]}


def test_an_index_end_to_end() -> None:
    store = QdrantVectorStore("index", client=QdrantClient(":memory:"))
    model = MockEmbedding(embed_dim=8)
    index = VectorStoreIndex.from_documents(
        [Document(text="one", id_="d1"), Document(text="two", id_="d2")],
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=model,
    )
    assert len(index.as_retriever(similarity_top_k=2).retrieve("one")) == 2
    index.delete_ref_doc("d1")
    left = VectorStoreIndex.from_vector_store(store, embed_model=model).as_retriever()
    assert [each.get_content() for each in left.retrieve("one")] == ["two"]


def test_everything_awaited() -> None:
    async def run() -> None:
        client = AsyncQdrantClient(":memory:")
        store = QdrantVectorStore("nodes", aclient=client)
        assert await store.async_add(nodes()) == IDS
        assert ((await store.aquery(ask())).ids or [])[:2] == IDS[:2]
        only = filtered(MetadataFilter(key="who", value="b"))
        assert set((await store.aquery(ask(filters=only))).ids or []) == {IDS[1], IDS[3]}
        assert {node.node_id for node in await store.aget_nodes(IDS[:1])} == {IDS[0]}
        await store.adelete("doc-0")
        await store.adelete_nodes([IDS[2]])
        assert (await store.aquery(ask())).ids == [IDS[3]]
        await store.aclear()
        assert not await client.collection_exists("nodes")
        await client.close()

    asyncio.run(run())


def sparse(texts: list[str]) -> tuple[list[list[int]], list[list[float]]]:
    """One dimension a text."""
    return [[hash(text) % 1000] for text in texts], [[1.0] for _ in texts]


def test_a_hybrid_query() -> None:
    store = QdrantVectorStore(
        "nodes",
        client=QdrantClient(":memory:"),
        enable_hybrid=True,
        sparse_doc_fn=sparse,
        sparse_query_fn=sparse,
    )
    store.add(nodes())
    found = store.query(ask(query_str="text 3", mode=VectorStoreQueryMode.HYBRID, sparse_top_k=2))
    assert found.ids
