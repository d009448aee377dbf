"""LangChain's standard tests of a vector store, over the store for Qdrant."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from langchain_core.vectorstores import VectorStore
from langchain_qdrant import QdrantVectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests
from qdrant_client import QdrantClient, models


class TestQdrantVectorStore(VectorStoreIntegrationTests):  # type: ignore[misc]  # it is not here
    @pytest.fixture
    def vectorstore(self) -> Iterator[VectorStore]:
        client = QdrantClient(":memory:")
        embedding = self.get_embeddings()
        size = len(embedding.embed_query("a"))
        client.create_collection(
            "texts",
            vectors_config=models.VectorParams(size=size, distance=models.Distance.COSINE),
        )
        yield QdrantVectorStore(client, "texts", embedding=embedding)
        client.close()
