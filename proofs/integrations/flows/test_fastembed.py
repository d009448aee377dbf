"""Documents in the place of vectors, embedded by FastEmbed with a real model.

What is found, and with which scores, is what the model's own vectors say.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastembed import TextEmbedding
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from proofs.integrations.flows.local_model import NAME, SIZE, TEXTS, unpacked

PARAMS = models.VectorParams(size=SIZE, distance=models.Distance.COSINE)
QUESTION = "an animal that is asleep"


@pytest.fixture(scope="session")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return unpacked(tmp_path_factory.mktemp("model"))


def document(text: str, options: dict[str, Any]) -> models.Document:
    return models.Document(text=text, model=NAME, options=options)


def points(options: dict[str, Any], name: str | None = None) -> list[models.PointStruct]:
    return [
        models.PointStruct(
            id=n,
            vector=document(text, options) if name is None else {name: document(text, options)},
            payload={"text": text},
        )
        for n, text in enumerate(TEXTS)
    ]


def expected(options: dict[str, Any]) -> list[tuple[int, Any]]:
    model = TextEmbedding(NAME, **options)
    rows = np.stack(list(model.embed(TEXTS)))
    [query] = model.query_embed(QUESTION)
    scores = rows @ query
    return [(int(n), pytest.approx(scores[n], abs=1e-3)) for n in np.argsort(-scores)]


def found(answer: Any) -> list[tuple[Any, float]]:
    return [(hit.id, hit.score) for hit in answer.points]


def filled(client: QdrantClient, options: dict[str, Any]) -> QdrantClient:
    client.create_collection("texts", vectors_config=PARAMS)
    client.upsert("texts", points(options))
    return client


def test_documents_are_found_by_a_document(options: dict[str, Any]) -> None:
    client = filled(QdrantClient(":memory:"), options)
    answer = client.query_points("texts", document(QUESTION, options), limit=6)
    assert found(answer) == expected(options)
    assert {hit.id for hit in answer.points[:2]} == {0, 1}


def test_vectors_are_those_of_the_model(options: dict[str, Any]) -> None:
    client = filled(QdrantClient(":memory:"), options)
    [row] = TextEmbedding(NAME, **options).embed(TEXTS[3])
    [record] = client.retrieve("texts", [3], with_vectors=True)
    assert np.allclose(np.array(record.vector), row, atol=1e-3)


def test_in_a_batch_and_under_a_name(options: dict[str, Any]) -> None:
    client = QdrantClient(":memory:")
    client.create_collection("texts", vectors_config={"words": PARAMS})
    client.upload_points("texts", points(options, "words"))
    wanted = models.Filter(must_not=[models.HasIdCondition(has_id=[0])])
    request = models.QueryRequest(
        query=models.NearestQuery(nearest=document(QUESTION, options)),
        using="words",
        filter=wanted,
        limit=9,
    )
    [answer] = client.query_batch_points("texts", [request])
    assert found(answer) == [each for each in expected(options) if each[0] != 0]


def test_a_batch_of_documents_and_a_vector_changed(options: dict[str, Any]) -> None:
    client = QdrantClient(":memory:")
    client.create_collection("texts", vectors_config=PARAMS)
    batch = models.Batch(ids=[1, 2], vectors=[document(text, options) for text in TEXTS[:2]])
    client.upsert("texts", batch)
    changed = models.PointVectors(id=2, vector=document(TEXTS[2], options))
    client.update_vectors("texts", [changed])
    client.upload_collection("texts", [document(TEXTS[4], options)], ids=[3])
    for text, point_id in ((TEXTS[0], 1), (TEXTS[3], 2), (TEXTS[5], 3)):
        [hit] = client.query_points("texts", document(text, options), limit=1).points
        assert hit.id == point_id


def test_a_directory_and_coroutines(options: dict[str, Any], tmp_path: Path) -> None:
    filled(QdrantClient(path=str(tmp_path / "db")), options).close()

    async def ask() -> Any:
        client = AsyncQdrantClient(path=str(tmp_path / "db"))
        answers = [
            client.query_points("texts", document(QUESTION, options), limit=6) for _ in range(3)
        ]
        answer = (await asyncio.gather(*answers))[-1]
        await client.close()
        return answer

    assert found(asyncio.run(ask())) == expected(options)


def test_a_model_that_is_not_there(options: dict[str, Any]) -> None:
    client = filled(QdrantClient(":memory:"), options)
    with pytest.raises(ValueError, match="no-such-model"):
        client.query_points("texts", models.Document(text="x", model="no-such-model"))
