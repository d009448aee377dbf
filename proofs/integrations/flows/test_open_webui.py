"""Open WebUI's store of a knowledge base: texts in, searched, listed, deleted.

Its module of settings reads a database of users; here the settings are given.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest
from qdrant_client import QdrantClient


def given(name: str, **attributes: Any) -> None:
    module = ModuleType(name)
    vars(module).update(attributes)
    sys.modules[name] = module


found = find_spec("open_webui")
assert found is not None
given("open_webui", __path__=found.submodule_search_locations)  # its own starts a web server
given(
    "open_webui.config",
    QDRANT_API_KEY=None,
    QDRANT_COLLECTION_PREFIX="open-webui",
    QDRANT_GRPC_PORT=6334,
    QDRANT_HNSW_M=16,
    QDRANT_ON_DISK=False,
    QDRANT_PREFER_GRPC=False,
    QDRANT_TIMEOUT=5,
    QDRANT_URI=None,
)
given(
    "open_webui.env",
    CHAT_STREAM_RESPONSE_CHUNK_MAX_BUFFER_SIZE=None,
    ENABLE_ORJSON=False,
    RAG_METADATA_MAX_VALUE_CHARS=None,
)

from open_webui.retrieval.vector.dbs.qdrant import QdrantClient as Store  # noqa: E402

ROWS = [[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
IDS = [f"00000000-0000-0000-0000-{n:012d}" for n in range(4)]
ITEMS = [
    {
        "id": IDS[n],
        "text": f"text {n}",
        "vector": ROWS[n],
        "metadata": {"file_id": "ab"[n % 2], "hash": f"h{n}", "tags": ["x", n], "content": "long"},
    }
    for n in range(4)
]


@pytest.fixture
def store() -> Any:
    store: Any = Store()
    store.client = QdrantClient(":memory:")
    store.insert("files", ITEMS)
    return store


def test_a_collection_is_made_when_it_is_needed(store: Any) -> None:
    assert store.has_collection("files")
    assert not store.has_collection("others")
    store.insert("others", ITEMS[:1])
    assert store.has_collection("others")


def test_the_nearest_texts(store: Any) -> None:
    result = store.search("files", [ROWS[0]], limit=2)
    assert result.ids == [IDS[:2]]
    assert result.documents == [["text 0", "text 1"]]
    assert result.distances[0][0] == pytest.approx(1.0)
    assert result.metadatas[0][0] == {"file_id": "a", "hash": "h0", "tags": "['x', 0]"}


def test_as_many_as_there_are(store: Any) -> None:
    assert len(store.search("files", [ROWS[0]], limit=None).ids[0]) == 4


def test_search_with_a_filter(store: Any) -> None:
    result = store.search("files", [ROWS[0]], filter={"file_id": "b"}, limit=4)
    assert result.ids == [[IDS[1], IDS[3]]]
    some = store.search("files", [ROWS[0]], filter={"hash": {"$in": ["h2", "h3", "h9"]}}, limit=4)
    assert set(some.ids[0]) == {IDS[2], IDS[3]}


def test_all_texts_and_those_of_a_file(store: Any) -> None:
    assert store.get("files").ids == [IDS]
    assert store.query("files", {"file_id": "a"}).ids == [[IDS[0], IDS[2]]]
    assert store.query("files", {"hash": "h1"}, limit=1).documents == [["text 1"]]
    assert store.query("others", {"hash": "h1"}) is None


def test_more_than_a_page(store: Any) -> None:
    many = [{**ITEMS[0], "id": f"10000000-0000-0000-0000-{n:012d}"} for n in range(2500)]
    store.insert("files", many)
    assert len(store.get("files").ids[0]) == 2504


def test_texts_are_replaced(store: Any) -> None:
    store.upsert("files", [{**ITEMS[0], "text": "new", "vector": ROWS[3]}])
    assert len(store.get("files").ids[0]) == 4
    assert store.search("files", [ROWS[3]], limit=2).documents[0].count("new") == 1


def test_deleting(store: Any) -> None:
    store.delete("files", ids=[IDS[0]])
    assert store.get("files").ids == [IDS[1:]]
    store.delete("files", filter={"file_id": "b"})
    assert store.get("files").ids == [[IDS[2]]]
    store.delete_collection("files")
    assert not store.has_collection("files")
    store.insert("files", ITEMS)
    store.reset()
    assert store.client.get_collections().collections == []
