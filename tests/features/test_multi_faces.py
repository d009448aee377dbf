"""Multivectors by every face: Qdrant's client on vecdb, on a server by HTTP and gRPC, and async."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import qdrant_client
from qdrant_client import models
from serving import error, result, serving

import vecdb.qdrant
from vecdb import AsyncVecDB

MANY = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
RNG = np.random.default_rng(4)
TOKENS = [RNG.standard_normal((RNG.integers(1, 6), 6)).round(3).tolist() for _ in range(60)]
DENSE = RNG.standard_normal((60, 4)).round(3).tolist()
QUERY = RNG.standard_normal((5, 6)).round(3).tolist()


def fill(client: Any) -> None:
    """A collection of named vectors, and one of an unnamed multivector."""
    cosine, dot = models.Distance.COSINE, models.Distance.DOT
    client.create_collection(
        "c",
        vectors_config={
            "late": models.VectorParams(size=6, distance=cosine, multivector_config=MANY),
            "dense": models.VectorParams(size=4, distance=dot),
        },
    )
    client.create_collection(
        "u", vectors_config=models.VectorParams(size=6, distance=dot, multivector_config=MANY)
    )
    for i in range(60):
        vector = {"dense": DENSE[i]} if i % 7 == 0 else {"dense": DENSE[i], "late": TOKENS[i]}
        point = models.PointStruct(id=i, vector=vector, payload={"n": i % 4})
        client.upsert("c", [point], wait=True)
    client.upsert("u", models.Batch(ids=list(range(60)), vectors=TOKENS), wait=True)


def asked(client: Any, alone: Any = QUERY[0]) -> dict[str, Any]:
    """All kinds of queries and reads. ``alone``: one vector is a multivector, but not in local
    mode."""
    prefetch = models.Prefetch(query=DENSE[3], using="dense", limit=20)
    recommend = models.RecommendQuery(
        recommend=models.RecommendInput(positive=[1, QUERY], negative=[2])
    )
    late: dict[str, Any] = {"using": "late", "limit": 8}
    found = {
        "nearest": client.query_points("c", query=QUERY, **late),
        "one": client.query_points("c", query=alone, **late),
        "id": client.query_points("c", query=5, **late),
        "rerank": client.query_points("c", query=QUERY, prefetch=prefetch, **late),
        "recommend": client.query_points("c", query=recommend, **late),
        "unnamed": client.query_points("u", query=QUERY, limit=8),
    }
    scores = {name: [(p.id, p.score) for p in each.points] for name, each in found.items()}
    groups = client.query_points_groups("c", "n", query=QUERY, using="late", limit=3, group_size=2)
    scores["groups"] = [(h.id, h.score) for g in groups.groups for h in g.hits]
    vectors = {p.id: p.vector for p in client.scroll("c", limit=60, with_vectors=True)[0]}
    [one] = client.retrieve("u", [9], with_vectors=True)
    return {"scores": scores, "vectors": vectors, "unnamed": one.vector}


def edited(client: Any) -> None:
    """Vectors come and go."""
    client.update_vectors("c", [models.PointVectors(id=7, vector={"late": TOKENS[8]})])
    client.delete_vectors("c", ["late"], [9, 10])


def alike(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["scores"].keys() == other["scores"].keys()
    for name, wanted in other["scores"].items():
        mine = one["scores"][name]
        assert [i for i, _ in mine] == [i for i, _ in wanted], name
        assert [s for _, s in mine] == pytest.approx([s for _, s in wanted], rel=1e-4), name
    assert one["vectors"].keys() == other["vectors"].keys()
    for point_id, wanted in other["vectors"].items():
        assert one["vectors"][point_id].keys() == wanted.keys()
        for name, vector in wanted.items():
            assert np.allclose(one["vectors"][point_id][name], vector, rtol=1e-5)
    assert np.allclose(one["unnamed"], other["unnamed"])


@pytest.fixture(scope="module")
def wanted() -> Iterator[list[dict[str, Any]]]:
    """What Qdrant's local mode answers, before edits and after."""
    client = qdrant_client.QdrantClient(":memory:")
    fill(client)
    before = asked(client, [QUERY[0]])
    edited(client)
    yield [before, asked(client, [QUERY[0]])]
    client.close()


Open = Callable[[Path], Any]


@pytest.mark.parametrize("face", ["embedded", "http", "grpcio", "h2"])
def test_every_face_answers_as_local_mode(
    face: str, wanted: list[dict[str, Any]], tmp_path: Path
) -> None:
    if face == "embedded":
        with vecdb.qdrant.QdrantClient(path=str(tmp_path / "db")) as client:
            both(client, wanted)
        return
    options = () if face == "http" else ("--grpc-port", "0", "--grpc-engine", face)
    with serving(tmp_path / "db", "--sync", "never", *options) as server:
        where: dict[str, Any] = {"url": server.url}
        if server.grpc:
            port = int(server.grpc.rpartition(":")[2])
            where = {"port": server.port, "grpc_port": port, "prefer_grpc": True}
            where["host"] = "127.0.0.1"
        remote = qdrant_client.QdrantClient(**where, check_compatibility=False)
        try:
            both(remote, wanted)
        finally:
            remote.close()


def both(client: Any, wanted: list[dict[str, Any]]) -> None:
    fill(client)
    params = client.get_collection("c").config.params.vectors["late"]
    assert params.multivector_config == MANY
    alike(asked(client), wanted[0])
    edited(client)
    alike(asked(client), wanted[1])


def test_the_async_face_answers_alike(tmp_path: Path) -> None:
    async def run() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            await db.create_collection(
                "c", {"size": 6, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}
            )
            await db.upsert("c", [{"id": i, "vector": TOKENS[i]} for i in range(60)])
            found = await db.query_points("c", QUERY, limit=3)
            again = await db.query_batch_points("c", [{"query": QUERY, "limit": 3}] * 2)
            for each in again:
                assert [p.id for p in each.points] == [p.id for p in found.points]
            near = {p.id async for p in await db.within("c", QUERY, score_threshold=0.0)}
            assert {p.id for p in found.points if p.score > 0} <= near

    asyncio.run(run())


def test_http_refuses_what_is_no_multivector_and_changes_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "db", "--sync", "never") as server, server.http() as http:
        many = {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}
        result(http.put("/collections/c", json={"vectors": many}))
        for vector in ([], [[]], [[1, 2, 3]], [[1, 2], [1]], {"indices": [1], "values": [1.0]}):
            body = {"points": [{"id": 1, "vector": vector}]}
            said: httpx.Response = http.put("/collections/c/points", json=body)
            assert error(said, said.status_code)
            assert said.status_code in (400, 422)  # the latter for what no vector is like
        assert result(http.post("/collections/c/points/count", json={}))["count"] == 0
        many["multivector_config"] = {"comparator": "other"}
        assert "max_sim" in error(http.put("/collections/d", json={"vectors": many}), 400)
