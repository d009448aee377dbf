"""What libraries call that offer a program a store: write texts, find them, forget them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from grpc import RpcError
from qdrant_client.http.exceptions import UnexpectedResponse
from qdrant_client.http.models import (
    Batch,
    Distance,
    FieldCondition,
    Filter,
    FilterSelector,
    HasIdCondition,
    MatchAny,
    PayloadSchemaType,
    PointIdsList,
    PointStruct,
    QueryRequest,
    SearchParams,
    VectorParams,
)

from census.calls import (
    CLOUD,
    COSINE,
    DIM,
    IDS,
    QUERY,
    ROWS,
    SERVER,
    Calls,
    equals,
    points,
    program,
)


@program("autorag 0.3.27", **SERVER)
def autorag(client: Calls) -> None:
    if not client.collection_exists("passages"):
        client.create_collection(
            "passages", vectors_config=VectorParams(size=DIM, distance=Distance.DOT)
        )
    client.get_collection("passages")
    client.upload_points(
        collection_name="passages",
        points=[PointStruct(id=each, vector=ROWS[n]) for n, each in enumerate(IDS)],
        batch_size=4,
        parallel=1,
        max_retries=3,
        wait=True,
    )
    client.retrieve(collection_name="passages", ids=IDS[:3], with_vectors=True)
    client.scroll(
        collection_name="passages", scroll_filter=Filter(must=[HasIdCondition(has_id=IDS[2:5])])
    )
    client.query_batch_points(
        collection_name="passages",
        requests=[QueryRequest(query=each, limit=3, with_vector=True) for each in ROWS[:2]],
    )
    client.delete(collection_name="passages", points_selector=PointIdsList(points=IDS[:2]))
    client.delete_collection("passages")


@program("camel-ai 0.2.90", "C", path="camel/store")
def camel(client: Calls) -> None:
    client.get_collections()
    client.create_collection(
        collection_name="agent", vectors_config=VectorParams(size=DIM, distance=Distance.EUCLID)
    )
    client.upsert(
        collection_name="agent", points=points(lambda n: {"role": "ab"[n % 2]}), wait=True
    )
    info = client.get_collection(collection_name="agent")
    assert isinstance(info.config.params.vectors, VectorParams)
    client.set_payload(
        collection_name="agent", payload={"seen": True}, points=PointIdsList(points=IDS[:2])
    )
    client.delete(
        collection_name="agent", points_selector=Filter(must=[equals("role", "b")]), wait=True
    )
    client.delete(collection_name="agent", points_selector=PointIdsList(points=IDS[:1]))
    for wanted in (Filter(must=[equals("role", "a")]), None):
        client.query_points(
            collection_name="agent",
            query=QUERY,
            with_payload=True,
            with_vectors=True,
            limit=5,
            query_filter=wanted,
        )
    client.scroll(
        collection_name="agent",
        limit=1000,
        scroll_filter=Filter(must=[equals("seen", True)]),
        with_payload=True,
        with_vectors=False,
    )
    client.delete_collection(collection_name="agent")


@program("chonkie 1.7.0", location=":memory:")
def chonkie(client: Calls) -> None:
    if not client.collection_exists("chunks"):
        client.create_collection(collection_name="chunks", vectors_config=COSINE)
    client.upsert(
        collection_name="chunks", points=points(lambda n: {"text": f"chunk {n}"}), wait=True
    )
    client.query_points(collection_name="chunks", query=QUERY, limit=4, with_payload=True)


@program("Cinnamon/kotaemon", path="kotaemon")
def kotaemon(client: Calls) -> None:
    client.create_collection("nodes", vectors_config=COSINE)
    client.upsert("nodes", points=points(lambda n: {"doc_id": f"doc {n // 4}"}))
    client.delete(collection_name="nodes", points_selector=PointIdsList(points=IDS[:3]))
    client.count(collection_name="nodes", exact=True)
    client.delete_collection("nodes")


@program("crewai-tools 1.15.30", url="http://localhost:6333", api_key=None)
def crewai_tools(client: Calls) -> None:
    client.create_collection("knowledge", vectors_config=COSINE)
    client.upsert("knowledge", points=points(lambda n: {"text": f"text {n}", "metadata": {"n": n}}))
    for conditions in ([], [equals("metadata.n", 3)]):
        client.query_points(
            collection_name="knowledge",
            query=QUERY,
            query_filter=Filter(must=conditions),
            limit=3,
            score_threshold=-0.5,
        )


def dspy_retriever(client: Calls) -> None:
    """Asks for the name of the first vector, and accumulates what several queries find."""
    named = {"dense": VectorParams(size=DIM, distance=Distance.COSINE)}
    for name, config, vector in [("plain", COSINE, None), ("named", named, "dense")]:
        client.create_collection(name, vectors_config=config)
        vectors: Iterable[Any] = [{vector: row} for row in ROWS] if vector else ROWS
        client.upsert(
            name,
            points=[
                PointStruct(id=n, vector=each, payload={"document": f"text {n}", "rest": n})
                for n, each in enumerate(vectors)
            ],
        )
        params = client.get_collection(name).config.params.vectors
        first = next(iter(params)) if isinstance(params, dict) else None
        client.query_batch_points(
            name,
            requests=[
                QueryRequest(
                    query=each,
                    using=first,
                    limit=3,
                    with_payload=["document"],
                    filter=Filter(must=[FieldCondition(key="rest", match=MatchAny(any=[1, 2, 5]))]),
                )
                for each in ROWS[:2]
            ],
        )


program("dspy-qdrant 0.1.4", location=":memory:")(dspy_retriever)
program("dspy 2.5.43", **CLOUD)(dspy_retriever)


@program("embedbase-qdrant 1.0.1", "C", host="localhost", port=6333)
def embedbase(client: Calls) -> None:
    """Its ``scroll(query_filter=…)``, which no version of the client takes, is mended here."""
    try:
        client.count(collection_name="dataset", count_filter=Filter(must=[equals("user_id", "u")]))
    except (UnexpectedResponse, ValueError):
        client.create_collection(collection_name="dataset", vectors_config=COSINE)
    client.upsert(
        collection_name="dataset",
        points=points(lambda n: {"user_id": "u", "hash": f"h{n}", "metadata": {}, "data": f"d{n}"}),
    )
    mine = equals("user_id", "u")
    client.scroll(
        collection_name="dataset",
        scroll_filter=Filter(
            must=[mine], should=[equals("hash", "h3"), HasIdCondition(has_id=IDS[5:6])]
        ),
        with_payload=True,
        with_vectors=False,
        limit=100,
    )
    client.search(
        collection_name="dataset",
        query_vector=QUERY,
        limit=3,
        query_filter=Filter(must=[mine]),
        with_vectors=True,
        with_payload=True,
    )
    client.delete(
        wait=True,
        collection_name="dataset",
        points_selector=FilterSelector(filter=Filter(must=[mine, equals("hash", "h1")])),
    )
    for each in client.get_collections().collections:
        client.count(collection_name=each.name, count_filter=Filter(must=[mine]))


@program("embedchain 0.1.128", url=None, api_key=None)
def embedchain(client: Calls) -> None:
    client.get_collections()
    client.recreate_collection(
        collection_name="embedchain",
        vectors_config=VectorParams(
            size=DIM,
            distance=Distance.COSINE,
            hnsw_config=None,
            quantization_config=None,
            on_disk=None,
        ),
    )
    payloads = [{"identifier": f"i{n}", "metadata": {"app_id": "ab"[n % 2]}} for n in range(12)]
    for start in range(0, 12, 5):
        part = slice(start, start + 5)
        client.upsert(
            collection_name="embedchain",
            points=Batch(ids=IDS[part], payloads=payloads[part], vectors=ROWS[part]),
        )
    some = FieldCondition(key="identifier", match=MatchAny(any=["i1", "i2", "i4"]))
    only = equals("metadata.app_id", "a")
    offset = None
    while True:
        _, offset = client.scroll(
            collection_name="embedchain",
            scroll_filter=Filter(must=[some, only]),
            offset=offset,
            limit=2,
        )
        if offset is None:
            break
    client.search(
        collection_name="embedchain", query_filter=Filter(must=[only]), query_vector=QUERY, limit=3
    )
    client.delete(collection_name="embedchain", points_selector=Filter(must=[only]))
    client.get_collection(collection_name="embedchain")
    client.delete_collection(collection_name="embedchain")


@program("feast 0.67.0", "I", location=None, url=None, path="feast", timeout=None, grpc_port=6334)
def feast(client: Calls) -> None:
    client.create_collection(
        collection_name="features",
        vectors_config={"": VectorParams(size=DIM, distance=Distance.COSINE)},
    )
    for field in ("entity_key", "feature_name"):
        client.create_payload_index(
            collection_name="features", field_name=field, field_schema=PayloadSchemaType.KEYWORD
        )
    client.upload_points(
        collection_name="features",
        batch_size=64,
        points=[
            PointStruct(
                id=each.replace("-", ""),  # what uuid4().hex looks like
                payload={
                    "entity_key": f"e{n % 3}",
                    "feature_name": "ab"[n % 2],
                    "created_ts": None,
                },
                vector={"": ROWS[n]},
            )
            for n, each in enumerate(IDS)
        ],
        wait=True,
    )
    wanted = [
        FieldCondition(key="entity_key", match=MatchAny(any=["e0", "e1"])),
        FieldCondition(key="feature_name", match=MatchAny(any=["b"])),
    ]
    client.scroll(
        collection_name="features",
        limit=1000,
        offset=None,
        with_payload=True,
        scroll_filter=Filter(must=wanted),
    )
    client.query_points(
        collection_name="features",
        query=QUERY,
        limit=3,
        with_payload=True,
        with_vectors=True,
        using=None,
    )
    client.delete_collection(collection_name="features")


@program("griptape 1.13.0", location=":memory:", force_disable_check_same_thread=False, timeout=5)
def griptape(client: Calls) -> None:
    client.create_collection("vectors", vectors_config=COSINE)
    for n, each in enumerate(IDS):
        client.upsert(
            collection_name="vectors",
            points=Batch(ids=[each], vectors=[ROWS[n]], payloads=[{"meta": n}] if n else None),
        )
    client.search(collection_name="vectors", query_vector=QUERY, limit=4)
    client.search(collection_name="vectors", query_vector=QUERY)
    client.retrieve(collection_name="vectors", ids=[IDS[3]])
    client.retrieve(collection_name="vectors", ids=IDS[:2], with_payload=True, with_vectors=True)
    client.delete(collection_name="vectors", points_selector=PointIdsList(points=[IDS[3]]))


@program("neo4j-graphrag 1.22.0", "C", **SERVER)
def neo4j_graphrag(client: Calls) -> None:
    client.create_collection(
        "nodes", vectors_config={"text": VectorParams(size=DIM, distance=Distance.COSINE)}
    )
    client.upsert(
        "nodes",
        points=[
            PointStruct(id=n, vector={"text": row}, payload={"id": f"node {n}", "other": n})
            for n, row in enumerate(ROWS)
        ],
    )
    client.query_points(
        collection_name="nodes", query=QUERY, using="text", limit=5, with_payload=["id"]
    )


@program("superduper-qdrant 0.10.0", location=":memory:")
def superduper(client: Calls) -> None:
    try:
        client.get_collection("vectors")
    except Exception:
        client.create_collection(
            collection_name="vectors",
            vectors_config=VectorParams(size=DIM, distance=Distance.EUCLID),
        )
    client.upsert(collection_name="vectors", points=points(lambda n: {"_id": f"o{n}"}))
    some = Filter(must=[FieldCondition(key="_id", match=MatchAny(any=["o1", "o4", "o9"]))])
    for wanted in (some, None):
        client.query_points(
            collection_name="vectors",
            query=QUERY,
            limit=2,
            query_filter=wanted,
            with_payload=["_id"],
            using=None,
        )
    client.query_points(
        collection_name="vectors", query=IDS[4], limit=2, with_payload=["_id"], using=None
    )
    client.delete(collection_name="vectors", points_selector=some)
    if client.collection_exists("vectors"):
        client.delete_collection("vectors")


@program("swarmauri-vectorstore-qdrant 0.9.2", **CLOUD)
def swarmauri(client: Calls) -> None:
    names = [each.name for each in client.get_collections().collections]
    if "documents" not in names:
        client.recreate_collection(collection_name="documents", vectors_config=COSINE)
    written = points(lambda n: {"content": f"c{n}", "metadata": {"n": n}})
    client.upsert(collection_name="documents", points=written[:1])
    client.upsert("documents", points=written)
    client.retrieve(collection_name="documents", ids=[IDS[2]])
    client.scroll(collection_name="documents")
    client.delete("documents", points_selector=[IDS[2]])
    client.search(collection_name="documents", query_vector=QUERY, limit=3)
    client.delete_collection("documents")


@program("qdrant-txtai 2.0.0", "C", location=None, port=6333, path="txtai", grpc_options=None)
def txtai(client: Calls) -> None:
    try:
        client.count(collection_name="embeddings")
    except (UnexpectedResponse, RpcError, ValueError):
        client.recreate_collection(collection_name="embeddings", vectors_config=COSINE)
    embeddings = np.asarray(ROWS, np.float32)
    client.upload_collection(
        collection_name="embeddings", vectors=embeddings, ids=list(range(len(embeddings)))
    )
    client.search_batch(
        collection_name="embeddings",
        requests=[
            {"vector": query.tolist(), "params": SearchParams(hnsw_ef=100), "limit": 3}
            for query in embeddings[:3]
        ],
    )
    client.delete(collection_name="embeddings", points_selector=PointIdsList(points=[1, 2]))
    client.count(collection_name="embeddings")


@program("vanna 2.0.2", "C", path=":memory:")
def vanna(client: Calls) -> None:
    if "memory" not in [each.name for each in client.get_collections().collections]:
        client.create_collection(collection_name="memory", vectors_config=COSINE)
    written = points(
        lambda n: {"tool_name": "ab"[n % 2], "success": n % 3 > 0, "is_text_memory": n > 8}
    )
    for point in written:
        client.upsert(collection_name="memory", points=[point])
    wanted = Filter(must=[equals("success", True), equals("tool_name", "a")])
    client.query_points(
        collection_name="memory", query=QUERY, limit=5, query_filter=wanted, score_threshold=-0.3
    )
    client.search(  # with an older client
        collection_name="memory",
        query_vector=QUERY,
        limit=5,
        query_filter=wanted,
        score_threshold=-0.3,
    )
    client.scroll(
        collection_name="memory",
        scroll_filter=Filter(must=[equals("is_text_memory", True)]),
        limit=1000,
        with_payload=True,
        with_vectors=False,
    )
    client.retrieve(collection_name="memory", ids=[IDS[1]], with_payload=False, with_vectors=False)
    client.delete(collection_name="memory", points_selector=[IDS[1]])
    client.delete(collection_name="memory", points_selector=Filter(must=[equals("tool_name", "b")]))
    client.count("memory")
    client.delete_collection(collection_name="memory")
    if not client.collection_exists("sql"):  # and the class that it had before
        client.create_collection(collection_name="sql", vectors_config=COSINE, on_disk_payload=True)
    client.upsert("sql", points=points(lambda n: {"question": f"q{n}", "sql": f"select {n}"}))
    client.query_points("sql", query=QUERY, limit=3, with_payload=True)
    offset = None
    while True:
        _, offset = client.scroll(
            "sql", limit=5, offset=offset, with_payload=True, with_vectors=False
        )
        if offset is None:
            break
