"""The calls of well-known programs, one after the other, as they make them.

Written after what LangChain, LlamaIndex, Haystack, mem0, Open WebUI and Qdrant's MCP server send:
parameters that are None or ``{}``, models, and what they look at in answers and errors. Each flow
runs on Qdrant's local mode, too: a flow that fails there says nothing about vecdb.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import qdrant_client
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse
from qdrant_client.local.qdrant_local import QdrantLocal

import vecdb.qdrant

KINDS = {"Qdrant": qdrant_client, "vecdb": vecdb.qdrant}
IDS = [str(uuid.UUID(int=n)) for n in range(1, 5)]
VECTORS = [[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def client(kind: Any) -> Iterator[qdrant_client.QdrantClient]:
    client = kind.QdrantClient(":memory:")
    yield client
    client.close()


def test_a_store_that_makes_its_collection_if_it_is_missing(
    client: qdrant_client.QdrantClient,
) -> None:
    """As LangChain's, whose default vector has the name "" and whose texts are in the payload."""
    assert isinstance(client, qdrant_client.QdrantClient)
    with pytest.raises((UnexpectedResponse, ValueError)):
        client.get_collection("docs")
    options: dict[str, Any] = {
        "shard_number": None,
        "replication_factor": None,
        "write_consistency_factor": None,
        "on_disk_payload": None,
        "hnsw_config": None,
        "optimizers_config": None,
        "wal_config": None,
        "quantization_config": None,
        "timeout": None,
    }
    assert not client.collection_exists("docs")
    client.create_collection(
        collection_name="docs",
        vectors_config={"": models.VectorParams(size=3, distance=models.Distance.COSINE)},
        sparse_vectors_config={},
        **options,
    )
    params = client.get_collection("docs").config.params.vectors
    if isinstance(params, dict):
        params = params[""]
    assert isinstance(params, models.VectorParams)
    assert (params.size, params.distance) == (3, models.Distance.COSINE)
    points = [
        models.PointStruct(
            id=point_id,
            vector={"": vector},
            payload={"page_content": f"text {n}", "metadata": {"n": n, "who": "a"}},
        )
        for n, (point_id, vector) in enumerate(zip(IDS, VECTORS, strict=True))
    ]
    client.upsert(collection_name="docs", points=points)
    wanted = models.Filter(
        must=[models.FieldCondition(key="metadata.n", match=models.MatchAny(any=[1, 2]))]
    )
    found = client.query_points(
        collection_name="docs",
        query=VECTORS[0],
        using="",
        query_filter=wanted,
        search_params=None,
        limit=4,
        offset=0,
        with_payload=True,
        with_vectors=True,
        score_threshold=None,
        consistency=None,
    ).points
    assert [(hit.id, (hit.payload or {})["page_content"]) for hit in found] == [
        (IDS[1], "text 1"),
        (IDS[2], "text 2"),
    ]
    vector = found[0].vector
    assert len(vector[""] if isinstance(vector, dict) else vector) == 3  # type: ignore[arg-type]
    by_id = client.retrieve("docs", IDS[:2], with_payload=True)
    assert {(record.payload or {})["metadata"]["n"] for record in by_id} == {0, 1}
    deleted = client.delete(
        collection_name="docs", points_selector=[models.PointIdsList(points=IDS[:1]).points[0]]
    )
    assert deleted.status == models.UpdateStatus.COMPLETED
    assert client.count("docs").count == 3


def test_an_index_that_writes_in_both_ways(kind: Any) -> None:
    """As LlamaIndex's: parameters of a cluster with every call, names of vectors looked up in the
    collection's configuration, "already exists" looked for in an error."""
    name = "text-dense"
    cluster: dict[str, Any] = {
        "shard_number": None,
        "replication_factor": None,
        "sharding_method": None,
        "write_consistency_factor": None,
    }

    def create(client: qdrant_client.QdrantClient) -> None:
        client.create_collection(
            collection_name="nodes",
            vectors_config={name: models.VectorParams(size=3, distance=models.Distance.COSINE)},
            quantization_config=None,
            **cluster,
        )

    sync = kind.QdrantClient(":memory:")
    create(sync)
    with pytest.raises((UnexpectedResponse, ValueError), match="already exists"):
        create(sync)
    config = sync.get_collection("nodes").config.params
    assert name in config.vectors
    assert not config.sparse_vectors
    sync.upload_points(
        collection_name="nodes",
        points=[
            models.PointStruct(id=point_id, payload={"doc_id": "d", "n": n}, vector={name: vector})
            for n, (point_id, vector) in enumerate(zip(IDS, VECTORS, strict=True))
        ],
        batch_size=64,
        parallel=1,
        max_retries=3,
        wait=True,
        shard_key_selector=None,
    )
    answers = sync.query_batch_points(
        collection_name="nodes",
        requests=[
            models.QueryRequest(
                query=VECTORS[0],
                using=name,
                limit=2,
                filter=models.Filter(
                    must=[
                        models.FieldCondition(key="doc_id", match=models.MatchValue(value="d")),
                        models.Filter(
                            should=[
                                models.FieldCondition(key="n", range=models.Range(gte=1.0)),
                                models.HasIdCondition(has_id=[IDS[3]]),
                            ]
                        ),
                    ]
                ),
                with_payload=True,
            )
        ],
    )
    assert [hit.id for hit in answers[0].points] == [IDS[1], IDS[2]]
    following, seen = None, []
    while True:
        records, following = sync.scroll(
            collection_name="nodes",
            limit=3,
            offset=following,
            scroll_filter=None,
            with_vectors=True,
            with_payload=True,
        )
        seen += [record.id for record in records]
        if following is None:
            break
    assert seen == IDS
    sync.close()

    async def the_other_way() -> None:
        client = kind.AsyncQdrantClient(":memory:")
        assert not (await client.get_collections()).collections
        await client.create_collection(
            collection_name="nodes",
            vectors_config={name: models.VectorParams(size=3, distance=models.Distance.COSINE)},
            **cluster,
        )
        await client.upsert(
            collection_name="nodes",
            points=[models.PointStruct(id=IDS[0], vector={name: VECTORS[0]}, payload={"n": 0})],
            shard_key_selector=None,
        )
        await client.delete(
            collection_name="nodes",
            points_selector=models.Filter(
                must=[models.FieldCondition(key="n", match=models.MatchValue(value=0))]
            ),
            shard_key_selector=None,
        )
        assert (await client.count("nodes", exact=True)).count == 0
        await client.close()

    asyncio.run(the_other_way())


def test_a_document_store_that_counts_and_pages(client: qdrant_client.QdrantClient) -> None:
    """As Haystack's: made anew, written in batches, filtered in depth, its information dumped."""
    client.create_collection(
        collection_name="Document",
        vectors_config=models.VectorParams(
            size=3, on_disk=False, distance=models.Distance("Cosine")
        ),
        sparse_vectors_config=None,
        shard_number=None,
        replication_factor=None,
        write_consistency_factor=None,
        on_disk_payload=None,
        hnsw_config=None,
        optimizers_config=None,
        wal_config=None,
        quantization_config=None,
    )
    client.upsert(
        collection_name="Document",
        points=models.Batch(
            ids=list(IDS),
            vectors=VECTORS,
            payloads=[{"meta": {"n": n, "kind": "ab"[n % 2]}} for n in range(4)],
        ),
        wait=True,
    )
    deep = models.Filter(
        must=[
            models.Filter(
                must_not=[
                    models.FieldCondition(key="meta.n", range=models.Range(lt=1.0)),
                    models.IsNullCondition(is_null=models.PayloadField(key="meta.kind")),
                ]
            ),
            models.FieldCondition(key="meta.kind", match=models.MatchExcept(**{"except": ["a"]})),
        ]
    )
    assert client.count("Document", count_filter=deep).count == 2
    assert client.count("Document", count_filter=None).count == 4
    assert len(client.scroll("Document", scroll_filter=deep, limit=100)[0]) == 2
    info = client.get_collection("Document").model_dump()
    assert info["config"]["params"]["vectors"]["size"] == 3
    client.delete("Document", points_selector=models.FilterSelector(filter=deep), wait=True)
    assert client.count("Document").count == 2
    client.set_payload("Document", payload={"meta": {"n": 9}}, points=models.Filter())
    assert (client.scroll("Document")[0][0].payload or {})["meta"] == {"n": 9}


def test_a_memory_that_looks_at_names_and_pages(client: qdrant_client.QdrantClient) -> None:
    """As mem0's and Open WebUI's: collections by name, points overwritten, pages of everything."""
    assert [each.name for each in client.get_collections().collections] == []
    client.create_collection(
        collection_name="mem",
        vectors_config=models.VectorParams(size=3, distance=models.Distance.COSINE, on_disk=False),
        hnsw_config=models.HnswConfigDiff(m=0, payload_m=16),
    )
    assert "mem" in [each.name for each in client.get_collections().collections]
    for vector in VECTORS[:2]:
        client.upsert(
            collection_name="mem",
            points=[models.PointStruct(id=IDS[0], vector=vector, payload={"user_id": "u"})],
        )
    mine = models.Filter(
        must=[models.FieldCondition(key="user_id", match=models.MatchValue(value="u"))]
    )
    hits = client.query_points(
        collection_name="mem", query=VECTORS[0], query_filter=mine, limit=5
    ).points
    assert [hit.id for hit in hits] == [IDS[0]]
    assert hits[0].model_dump()["payload"] == {"user_id": "u"}
    assert client.retrieve("mem", ids=[IDS[0]], with_payload=True)[0].payload == {"user_id": "u"}
    everything = client.scroll(
        collection_name="mem",
        scroll_filter=mine,
        limit=999999999,
        with_payload=True,
        with_vectors=False,
    )
    assert len(everything[0]) == 1
    client.delete("mem", points_selector=models.PointIdsList(points=[IDS[0]]))
    assert client.query_points("mem", query=VECTORS[0], limit=5).points == []
    client.delete_collection(collection_name="mem")


def test_programs_that_ask_for_a_server_see_there_is_none(kind: Any, tmp_path: Path) -> None:
    client = kind.QdrantClient(path=str(tmp_path / "deep" / "db"))
    assert isinstance(client._client, QdrantLocal)
    del client
    again = kind.QdrantClient(path=str(tmp_path / "deep" / "db"))
    assert again.get_collections().collections == []
    again.close()
    with pytest.raises(RuntimeError, match="closed"):
        again.get_collections()


def test_a_status_code_tells_a_missing_collection_from_other_trouble() -> None:
    """As programs for a server do, which local mode does not serve."""

    def ensure(client: qdrant_client.QdrantClient) -> None:
        try:
            client.get_collection("c")
        except UnexpectedResponse as error:
            if error.status_code != 404:
                raise
            client.create_collection("c", models.VectorParams(size=3, distance="Cosine"))  # type: ignore[arg-type]

    def create(client: qdrant_client.QdrantClient) -> str:
        try:
            client.create_collection("c", models.VectorParams(size=3, distance="Cosine"))  # type: ignore[arg-type]
        except UnexpectedResponse as error:
            return f"{error.status_code} {error.structured()['status']['error']}"
        return ""

    flows: list[Callable[[Any], Any]] = [ensure, ensure, create]
    with vecdb.qdrant.QdrantClient(":memory:") as client:
        answers = [flow(client) for flow in flows]
    assert answers[-1].startswith("409 ")
    assert "already exists" in answers[-1]
