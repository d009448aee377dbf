"""Texts that BM25 makes vectors of: written and asked for in every way there is."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client import models as there
from serving import serving

import vecdb.qdrant
from vecdb import AsyncVecDB, VecDB, bm25, models
from vecdb.errors import InvalidInputError

TEXTS = {
    1: "The quick brown fox jumps over the lazy dog",
    2: "A dog and a fox are friends",
    3: "Vector databases find what is near",
    4: "Databases, databases and nothing but databases",
}
QUESTION = "databases of dogs"
OPTIONS = {"avg_len": 5.0, "language": "english"}


def document(text: str) -> there.Document:
    return there.Document(text=text, model="Qdrant/bm25", options=OPTIONS)


def fill(client: Any) -> None:
    client.create_collection(
        "c",
        vectors_config={"near": there.VectorParams(size=2, distance=there.Distance.DOT)},
        sparse_vectors_config={"words": there.SparseVectorParams(modifier=there.Modifier.IDF)},
    )
    points = [
        there.PointStruct(id=n, vector={"words": document(text), "near": [n, 1.0]}, payload={})
        for n, text in TEXTS.items()
    ]
    client.upsert("c", points[:2])
    client.upload_points("c", points[2:3])
    ids, vectors = [4], {"near": [[4.0, 1.0]], "words": [document(TEXTS[4])]}
    client.upsert("c", there.Batch(ids=ids, vectors=vectors))


def expected() -> dict[int, float]:
    """The scores by the formula of BM25, each part of which stands here by itself."""
    k, b, length = 1.2, 0.75, OPTIONS["avg_len"]
    stems = {
        1: ["quick", "brown", "fox", "jump", "lazi", "dog"],
        2: ["dog", "fox", "friend"],
        3: ["vector", "databas", "find", "near"],
        4: ["databas", "databas", "noth", "databas"],
    }
    scores = {}
    for number, tokens in stems.items():
        score = 0.0
        for token in ("databas", "dog"):
            count = tokens.count(token)
            having = sum(token in other for other in stems.values())
            rarity = math.log(1 + (len(stems) - having + 0.5) / (having + 0.5))
            norm = count + k * (1 - b + b * len(tokens) / float(length))
            score += rarity * count * (k + 1) / norm
        if score:
            scores[number] = score
    return scores


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = ("--sync", "never", "--grpc-port", "0")
    with serving(tmp_path_factory.mktemp("words") / "db", *options) as running:
        yield running


@pytest.fixture(scope="module", params=["VecDB", "client", "http", "grpc"])
def db(request: Any, server: Any) -> Iterator[Any]:
    """Everything that has the verbs."""
    if request.param == "VecDB":
        made: Any = VecDB()
    elif request.param == "client":
        made = vecdb.qdrant.QdrantClient(":memory:")
    elif request.param == "http":
        made = QdrantClient(url=server.url)
    else:
        port = int(server.grpc.rpartition(":")[2])
        made = QdrantClient(host="127.0.0.1", port=server.port, grpc_port=port, prefer_grpc=True)
    if made.collection_exists("c"):
        made.delete_collection("c")
    fill(made)
    yield made
    made.close()


def test_scores_are_bm25s(db: Any) -> None:
    found = db.query_points("c", document(QUESTION), using="words").points
    wanted = expected()
    assert [p.id for p in found] == sorted(wanted, key=lambda n: -wanted[n])
    assert [p.score for p in found] == pytest.approx([wanted[p.id] for p in found], rel=1e-6)


def test_a_point_has_the_vector_and_not_the_text(db: Any) -> None:
    for number, text in TEXTS.items():
        [point] = db.retrieve("c", [number], with_vectors=["words"])
        made = bm25.of_document(document(text), "vector")
        assert list(point.vector["words"].indices) == made.indices
        assert point.vector["words"].values == pytest.approx(made.values, rel=1e-6)


def test_a_text_stands_wherever_a_vector_may(db: Any) -> None:
    question = document(QUESTION)
    asked = [
        there.NearestQuery(nearest=question),
        there.RecommendQuery(recommend=there.RecommendInput(positive=[question])),
        there.FusionQuery(fusion=there.Fusion.RRF),
    ]
    first = [p.id for p in db.query_points("c", question, using="words").points]
    for query in asked[:2]:
        assert [p.id for p in db.query_points("c", query, using="words").points] == first
    request = there.QueryRequest(query=question, using="words", limit=9)
    for response in db.query_batch_points("c", [request, request]):
        assert [p.id for p in response.points] == first
    prefetch = [
        there.Prefetch(query=question, using="words", limit=3),
        there.Prefetch(query=[-1.0, 0.0], using="near", limit=3),
    ]
    hybrid = db.query_points("c", asked[2], prefetch=prefetch).points
    ranks: dict[int, float] = {}
    for branch in (first[:3], [1, 2, 3]):
        for rank, number in enumerate(branch):
            ranks[number] = ranks.get(number, 0.0) + 1 / (rank + 2)
    assert {p.id: p.score for p in hybrid} == pytest.approx(ranks)


def test_a_text_replaces_a_vector(db: Any) -> None:
    words = there.PointVectors(id=2, vector={"words": document("entirely other words")})
    db.update_vectors("c", [words])
    try:
        found = db.query_points("c", document("entirely"), using="words").points
        assert [p.id for p in found] == [2]
    finally:
        again = there.PointVectors(id=2, vector={"words": document(TEXTS[2])})
        db.update_vectors("c", [again])


def test_other_models_are_refused(db: Any) -> None:
    other = there.Document(text="x", model="vendor/splade")
    with pytest.raises(Exception, match=r"(?s)qdrant/bm25|fastembed"):
        db.query_points("c", other, using="words")


def test_bodies_of_http(server: Any) -> None:
    """As programs in other languages write them."""
    with httpx.Client(base_url=server.url) as http:
        text = {"text": "one fox", "model": "qdrant/bm25"}
        body: Any = {"sparse_vectors": {"words": {"modifier": "idf"}}}
        http.put("/collections/plain", json=body).raise_for_status()
        shown = http.get("/collections/plain").json()["result"]["config"]["params"]
        assert shown["sparse_vectors"] == {"words": {"modifier": "idf"}}
        assert shown["vectors"] == {}
        body = {"points": [{"id": 1, "vector": {"words": text}}]}
        http.put("/collections/plain/points", json=body).raise_for_status()
        vector = {"indices": [7, 3], "values": [0.15, 1]}
        body = {"points": [{"id": 2, "vector": {"words": vector}}]}
        http.put("/collections/plain/points", json=body).raise_for_status()
        answer = http.post("/collections/plain/points", json={"ids": [2], "with_vector": True})
        assert '"vector":{"words":{"indices":[3,7],"values":[1.0,0.15]}}' in answer.text
        for query in (text, {"nearest": text}):
            answer = http.post(
                "/collections/plain/points/query", json={"query": query, "using": "words"}
            )
            assert [p["id"] for p in answer.json()["result"]["points"]] == [1]
        older = {"vector": {"name": "words", "vector": vector}, "limit": 3}
        answer = http.post("/collections/plain/points/search", json=older)
        assert [p["id"] for p in answer.json()["result"]] == [2]
        for wrong, status in (
            ({"indices": [1, 1], "values": [1, 2]}, 422),
            ({"indices": [1], "values": [1, 2]}, 422),
            ({"indices": [-1], "values": [1]}, 400),
            ({"text": "x", "model": "other"}, 400),
        ):
            body = {"points": [{"id": 3, "vector": {"words": wrong}}]}
            answer = http.put("/collections/plain/points", json=body)
            assert answer.status_code == status, answer.text
        assert http.patch(
            "/collections/plain", json={"sparse_vectors": {"words": {"index": {"on_disk": True}}}}
        ).json()["result"]
        shown = http.get("/collections/plain").json()["result"]["config"]["params"]
        assert shown["sparse_vectors"] == {"words": {"index": {"on_disk": True}, "modifier": "idf"}}
        http.delete("/collections/plain").raise_for_status()


def test_in_an_event_loop(tmp_path: Path) -> None:
    async def ours() -> list[Any]:
        async with AsyncVecDB(tmp_path / "db") as db:
            await db.create_collection("c", sparse_vectors_config={"words": {"modifier": "idf"}})
            points = [{"id": n, "vector": {"words": document(t)}} for n, t in TEXTS.items()]
            await db.upsert("c", points)
            return (await db.query_points("c", document(QUESTION), using="words")).points

    async def theirs() -> list[Any]:
        client: AsyncQdrantClient = vecdb.qdrant.AsyncQdrantClient(":memory:")
        config = {"words": there.SparseVectorParams(modifier=there.Modifier.IDF)}
        await client.create_collection("c", vectors_config={}, sparse_vectors_config=config)
        points = [there.PointStruct(id=n, vector={"words": document(t)}) for n, t in TEXTS.items()]
        await client.upsert("c", points)
        found = await client.query_points("c", document(QUESTION), using="words")
        await client.close()
        return found.points

    wanted = expected()
    for run in (ours(), theirs()):
        found = asyncio.run(run)
        assert {p.id: p.score for p in found} == pytest.approx(wanted, rel=1e-6)


def test_a_name_that_comes_later_and_goes(tmp_path: Path) -> None:
    config = there.SparseVectorNameConfig(sparse=there.SparseVectorConfig(modifier="idf"))
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"near": {"size": 2, "distance": "Dot"}})
        db.upsert("c", [{"id": n, "vector": {"near": [n, 1]}} for n in TEXTS])
        db.flush()
        db.create_vector_name("c", "words", config)
        db.create_vector_name("c", "words", config)  # there is one like it
        with pytest.raises(InvalidInputError, match="'words' is there already"):
            db.create_vector_name("c", "words", {"dense": {"size": 2, "distance": "Dot"}})
        with pytest.raises(InvalidInputError, match="'near' is there already"):
            db.create_vector_name("c", "near", {"sparse": {}})
        assert db.query_points("c", document(QUESTION), using="words").points == []
        db.update_vectors(
            "c", [{"id": n, "vector": {"words": document(t)}} for n, t in TEXTS.items()]
        )
    with VecDB(tmp_path / "db") as db:
        found = db.query_points("c", document(QUESTION), using="words").points
        assert {p.id: p.score for p in found} == pytest.approx(expected(), rel=1e-6)
        assert db.get_collection("c").config.params.sparse_vectors == {
            "words": models.SparseVectorParams(modifier=models.Modifier.IDF)
        }
        db.delete_vector_name("c", "words")
        assert db.get_collection("c").config.params.sparse_vectors is None
        with pytest.raises(InvalidInputError, match="unknown vector name 'words'"):
            db.query_points("c", document(QUESTION), using="words")
        assert db.count("c").count == len(TEXTS)


def test_what_is_stored_is_the_configuration_in_qdrants_json(tmp_path: Path) -> None:
    sparse = {"words": {"index": {"on_disk": True, "datatype": "float16"}, "modifier": "idf"}}
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", sparse_vectors_config=sparse)
        db.update_collection("c", sparse_vectors_config={"words": {"index": {"on_disk": False}}})
        with pytest.raises(InvalidInputError, match="there is no sparse vector 'other'"):
            db.update_collection("c", sparse_vectors_config={"other": {}})
    with VecDB(tmp_path / "db") as db:
        shown = json.loads(models.to_json(db.get_collection("c").config.params))
    sparse["words"]["index"]["on_disk"] = False
    assert shown == {"vectors": {}, "sparse_vectors": sparse}
