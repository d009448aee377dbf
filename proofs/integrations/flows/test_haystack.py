"""Haystack's document store: documents in, filters in its language, retrieval, both clients."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from haystack import Document, Pipeline
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack_integrations.components.retrievers.qdrant import QdrantEmbeddingRetriever
from haystack_integrations.document_stores.qdrant import QdrantDocumentStore

ROWS = [[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def documents() -> list[Document]:
    return [
        Document(
            content=f"text {n}",
            embedding=row,
            meta={"n": n, "who": "ab"[n % 2], "day": f"2026-01-0{n + 1}T00:00:00"},
        )
        for n, row in enumerate(ROWS)
    ]


def empty(**given: Any) -> QdrantDocumentStore:
    options: dict[str, Any] = {
        "location": ":memory:",
        "embedding_dim": 3,
        "return_embedding": True,
        "wait_result_from_api": True,
        "payload_fields_to_index": [{"field_name": "meta.who", "field_schema": "keyword"}],
    }
    return QdrantDocumentStore(**(options | given))


@pytest.fixture
def store() -> QdrantDocumentStore:
    store = empty()
    assert store.write_documents(documents()) == 4
    return store


def numbers(found: list[Document]) -> list[int]:
    return [each.meta["n"] for each in found]


def test_documents_are_counted_read_and_deleted(store: QdrantDocumentStore) -> None:
    assert store.count_documents() == 4
    found = store.filter_documents({"field": "meta.n", "operator": "==", "value": 2})
    assert found[0].content == "text 2"
    assert found[0].embedding == pytest.approx(ROWS[2])
    store.delete_documents([found[0].id])
    assert sorted(numbers(store.filter_documents())) == [0, 1, 3]


@pytest.mark.parametrize(
    ("operator", "field", "value", "expected"),
    [
        ("==", "who", "b", {1, 3}),
        ("!=", "who", "b", {0, 2}),
        (">", "n", 1, {2, 3}),
        ("<=", "n", 1, {0, 1}),
        (">=", "day", "2026-01-03T00:00:00", {2, 3}),
        ("in", "n", [0, 3], {0, 3}),
        ("not in", "n", [0, 3], {1, 2}),
    ],
)
def test_a_filter(
    store: QdrantDocumentStore, operator: str, field: str, value: Any, expected: set[int]
) -> None:
    condition = {"field": f"meta.{field}", "operator": operator, "value": value}
    assert set(numbers(store.filter_documents(condition))) == expected


def test_conditions_of_conditions(store: QdrantDocumentStore) -> None:
    def is_(n: int) -> dict[str, Any]:
        return {"field": "meta.n", "operator": "==", "value": n}

    either = {"operator": "OR", "conditions": [is_(0), is_(3)]}
    odd = {"field": "meta.who", "operator": "==", "value": "b"}
    assert numbers(store.filter_documents({"operator": "AND", "conditions": [either, odd]})) == [3]
    neither = {"operator": "NOT", "conditions": [is_(0), is_(1)]}
    assert set(numbers(store.filter_documents(neither))) == {2, 3}


def test_a_retriever_in_a_pipeline(store: QdrantDocumentStore) -> None:
    pipeline = Pipeline()
    pipeline.add_component("retriever", QdrantEmbeddingRetriever(document_store=store, top_k=3))

    def ask(**given: Any) -> list[Document]:
        answer = pipeline.run({"retriever": {"query_embedding": ROWS[0], **given}})
        return list(answer["retriever"]["documents"])

    assert numbers(ask())[:2] == [0, 1]
    only = {"field": "meta.who", "operator": "==", "value": "b"}
    assert numbers(ask(filters=only))[0] == 1
    assert numbers(ask(score_threshold=0.999)) == [0]


def test_what_is_there_already(store: QdrantDocumentStore) -> None:
    with pytest.raises(DuplicateDocumentError):
        store.write_documents(documents(), policy=DuplicatePolicy.FAIL)
    changed = [Document(id=documents()[0].id, content="new", embedding=ROWS[3], meta={"n": 9})]
    store.write_documents(changed, policy=DuplicatePolicy.SKIP)
    assert set(numbers(store.filter_documents())) == {0, 1, 2, 3}
    store.write_documents(changed, policy=DuplicatePolicy.OVERWRITE)
    assert set(numbers(store.filter_documents())) == {9, 1, 2, 3}


def test_many_are_changed_and_deleted_by_a_filter(store: QdrantDocumentStore) -> None:
    odd = {"field": "meta.who", "operator": "==", "value": "b"}
    assert store.update_by_filter(odd, {"who": "c"}) == 2
    assert store.filter_documents(odd) == []
    changed = {"field": "meta.who", "operator": "==", "value": "c"}
    assert store.delete_by_filter(changed) == 2
    assert store.count_documents() == 2


def test_a_directory_is_opened_again(tmp_path: Path) -> None:
    place: dict[str, Any] = {"location": None, "path": str(tmp_path / "db")}
    store = empty(**place)
    store.write_documents(documents())
    store.close()
    again = empty(**place)
    assert again.count_documents() == 4
    again.close()
    anew = empty(recreate_index=True, **place)
    assert anew.count_documents() == 0
    anew.close()


def test_another_size_of_embeddings_is_an_error(tmp_path: Path) -> None:
    place: dict[str, Any] = {"location": None, "path": str(tmp_path / "db")}
    store = empty(**place)
    store.write_documents(documents())
    store.close()
    with pytest.raises(ValueError, match=r"vector size|dimension|embedding_dim"):
        empty(embedding_dim=4, **place).count_documents()


def test_everything_awaited() -> None:
    async def run() -> None:
        store = empty()
        assert await store.write_documents_async(documents()) == 4
        assert await store.count_documents_async() == 4
        retriever = QdrantEmbeddingRetriever(document_store=store, top_k=1)
        found = (await retriever.run_async(query_embedding=ROWS[2]))["documents"]
        assert numbers(found) == [2]
        await store.delete_documents_async([found[0].id])
        assert sorted(numbers(await store.filter_documents_async())) == [0, 1, 3]

    asyncio.run(run())
