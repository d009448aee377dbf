"""chonkie's handshake: chunks of text in, searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from chonkie.embeddings import BaseEmbeddings
from chonkie.handshakes.qdrant import QdrantHandshake
from chonkie.types import Chunk
from qdrant_client import QdrantClient


class Letters(BaseEmbeddings):  # type: ignore[misc]  # its package is not here
    """How often a text has each letter of the alphabet."""

    def embed(self, text: str) -> Any:
        return np.array([text.count(chr(97 + n)) + 0.01 for n in range(26)], np.float32)

    @property
    def dimension(self) -> int:
        return 26

    def get_tokenizer(self) -> Any:
        return str.split

    def similarity(self, u: Any, v: Any) -> Any:
        return np.float32(u @ v)


def chunks() -> list[Chunk]:
    texts = ["aaa", "bbb", "abc"]
    return [
        Chunk(text=text, start_index=3 * n, end_index=3 * n + 3, token_count=1)
        for n, text in enumerate(texts)
    ]


def test_what_is_written_is_found() -> None:
    shake = QdrantHandshake(embedding_model=Letters())
    shake.write(chunks())
    found = shake.search("aab", limit=2)
    assert [each["text"] for each in found] == ["aaa", "abc"]
    assert shake.search(embedding=Letters().embed("b").tolist(), limit=1)[0]["text"] == "bbb"


def test_one_chunk_and_the_same_again() -> None:
    client = QdrantClient(":memory:")
    shake = QdrantHandshake(client, collection_name="c", embedding_model=Letters())
    shake.write(chunks()[0])
    shake.write(chunks()[0])
    assert client.count("c").count == 1


def test_a_directory(tmp_path: Path) -> None:
    shake = QdrantHandshake(path=tmp_path / "db", collection_name="c", embedding_model=Letters())
    shake.write(chunks())
    shake.client.close()
    again = QdrantHandshake(path=tmp_path / "db", collection_name="c", embedding_model=Letters())
    assert again.client.count("c").count == 3
    assert again.search("bbb", limit=1)[0]["text"] == "bbb"
    again.client.close()
