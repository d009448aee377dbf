"""agno's vector database: documents of a knowledge base in, searched, updated, deleted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from agno.knowledge.document import Document
from agno.knowledge.embedder.base import Embedder
from agno.vectordb.qdrant import Qdrant


class Letters(Embedder):  # type: ignore[misc]  # its package is not here
    """How often a text has each letter of the alphabet."""

    def __init__(self) -> None:
        super().__init__(dimensions=26)

    def get_embedding(self, text: str) -> list[float]:
        return [text.count(chr(97 + n)) + 0.01 for n in range(26)]

    def get_embedding_and_usage(self, text: str) -> tuple[list[float], None]:
        return self.get_embedding(text), None

    async def async_get_embedding(self, text: str) -> list[float]:
        return self.get_embedding(text)

    async def async_get_embedding_and_usage(self, text: str) -> tuple[list[float], None]:
        return self.get_embedding_and_usage(text)


def make(**given: Any) -> Qdrant:
    return Qdrant(collection="docs", embedder=Letters(), **given)


def documents() -> list[Document]:
    return [
        Document(
            content=letter * 3, name=f"doc {letter}", meta_data={"kind": letter}, content_id=letter
        )
        for letter in "abc"
    ]


@pytest.fixture
def db() -> Qdrant:
    db = make(location=":memory:")
    db.create()
    db.insert("hash", documents())
    return db


def contents(found: list[Document]) -> list[str]:
    return [document.content for document in found]


def test_the_nearest_come_first(db: Qdrant) -> None:
    found = db.search("aaab", limit=2)
    assert contents(found) == ["aaa", "bbb"]
    assert found[0].meta_data["kind"] == "a"
    assert db.get_count() == 3


def test_a_filter(db: Qdrant) -> None:
    assert contents(db.search("aaa", filters={"kind": "b"})) == ["bbb"]


def test_owners_are_told_apart(db: Qdrant) -> None:
    db.insert("other", [Document(content="aad", name="mine")], user_id="u")
    assert "aad" in contents(db.search("aa", user_id="u"))
    assert "aad" not in contents(db.search("aa", user_id="v"))


def test_what_is_there_is_told(db: Qdrant) -> None:
    assert db.exists()
    assert db.name_exists("doc a")
    assert not db.name_exists("doc z")
    assert db.content_hash_exists("hash")
    assert not db.content_hash_exists("other")
    assert not db.id_exists("00000000-0000-0000-0000-000000000001")


def test_the_same_again_is_no_second(db: Qdrant) -> None:
    db.upsert("hash", documents())
    assert db.get_count() == 3


def test_metadata_is_updated(db: Qdrant) -> None:
    db.update_metadata("a", {"further": 1})
    records, _ = db.client.scroll("docs", with_payload=True)
    further = {(record.payload or {})["name"]: (record.payload or {}) for record in records}
    assert further["doc a"]["filters"] == {"further": 1}
    assert "filters" not in further["doc b"]


def test_documents_are_deleted(db: Qdrant) -> None:
    assert db.delete_by_name("doc a")
    assert db.delete_by_metadata({"kind": "b"})
    assert db.delete_by_content_id("c")
    assert db.get_count() == 0


def test_the_collection_is_dropped(db: Qdrant) -> None:
    db.drop()
    assert not db.exists()
    db.create()
    assert db.search("a") == []


def test_there_is_nothing_in_a_collection_that_is_not_there() -> None:
    db = make(location=":memory:")
    assert not db.exists()


def test_a_directory(tmp_path: Path) -> None:
    db = make(path=str(tmp_path / "db"))
    db.create()
    db.insert("hash", documents())
    db.close()
    again = make(path=str(tmp_path / "db"))
    assert again.exists()
    assert contents(again.search("ccc", limit=1)) == ["ccc"]
    again.close()


def test_everything_awaited() -> None:
    async def run() -> None:
        db = make(location=":memory:")
        await db.async_create()
        assert await db.async_exists()
        await db.async_insert("hash", documents())
        assert contents(await db.async_search("bbb", limit=1)) == ["bbb"]
        assert contents(await db.async_search("bbb", filters={"kind": "c"})) == ["ccc"]
        assert await db.async_name_exists("doc c")
        await db.async_upsert("hash", documents())
        await db.async_drop()
        assert not await db.async_exists()
        await db.async_close()

    asyncio.run(run())
