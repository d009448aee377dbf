"""Texts in and out, by verbs that older clients have for it: ``set_model``, ``add``, ``query``."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from proofs.integrations.flows.local_model import NAME, TEXTS, unpacked

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
QUESTION = "an animal that is asleep"


@pytest.fixture(scope="session")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return unpacked(tmp_path_factory.mktemp("model"))


@pytest.fixture
def client(options: dict[str, Any]) -> Any:
    client: Any = QdrantClient(":memory:")
    client.set_model(NAME, **options)
    metadata = [{"kind": kind} for kind in ("cat", "cat", "bank", "bank", "bread", "bread")]
    ids = client.add("texts", TEXTS, metadata=metadata, ids=list(range(6)))
    assert ids == list(range(6))
    return client


def test_what_was_added_is_found(client: Any) -> None:
    hits = client.query("texts", QUESTION, limit=2)
    assert {hit.id for hit in hits} == {0, 1}
    assert {hit.document for hit in hits} == set(TEXTS[:2])
    assert hits[0].metadata["kind"] == "cat"
    assert hits[0].score > hits[1].score > 0.2


def test_a_filter_and_several_questions(client: Any) -> None:
    wanted = models.Filter(
        must=[models.FieldCondition(key="kind", match=models.MatchValue(value="bread"))]
    )
    assert {hit.id for hit in client.query("texts", QUESTION, query_filter=wanted)} == {4, 5}
    answers = client.query_batch("texts", [QUESTION, "what money costs"], limit=2)
    assert [{hit.id for hit in hits} for hits in answers] == [{0, 1}, {2, 3}]


def test_ids_are_made_and_texts_added_later(client: Any) -> None:
    [made] = client.add("texts", ["A dog barks at the postman."])
    [hit] = client.query("texts", "barking", limit=1)
    assert uuid.UUID(hit.id) == uuid.UUID(made)  # a server spells it in its own way
    assert client.count("texts").count == 7


def test_the_parameters_of_its_vectors(client: Any) -> None:
    assert (
        client.get_collection("texts").config.params.vectors == client.get_fastembed_vector_params()
    )


def test_a_directory_and_coroutines(options: dict[str, Any], tmp_path: Path) -> None:
    async def run() -> Any:
        client: Any = AsyncQdrantClient(path=str(tmp_path / "db"))
        client.set_model(NAME, **options)
        await client.add("texts", TEXTS, ids=list(range(6)))
        hits = await client.query("texts", QUESTION, limit=2)
        await client.close()
        return hits

    assert {hit.id for hit in asyncio.run(run())} == {0, 1}
