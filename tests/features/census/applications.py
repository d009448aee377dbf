"""What applications call: servers, agents and memories that people run."""

from __future__ import annotations

from typing import Any

from qdrant_client.http.exceptions import UnexpectedResponse
from qdrant_client.http.models import (
    Batch,
    Distance,
    FieldCondition,
    Filter,
    FilterSelector,
    HnswConfigDiff,
    KeywordIndexParams,
    KeywordIndexType,
    PointIdsList,
    Range,
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


@program("decodingai-magazine/llm-twin-course", host="localhost", port=6333)
def llm_twin_course(client: Calls) -> None:
    try:
        client.get_collection(collection_name="posts")
    except Exception:
        client.create_collection(collection_name="posts", vectors_config=COSINE)
    client.upsert(
        collection_name="posts",
        points=Batch(
            ids=IDS, vectors=ROWS, payloads=[{"author_id": "ab"[n % 2]} for n in range(12)]
        ),
    )
    client.scroll(collection_name="posts", limit=10000)
    for conditions in ([equals("author_id", "a")], None):
        client.search(
            collection_name="posts",
            query_filter=Filter(must=conditions),
            query_vector=QUERY,
            limit=9 // 3,
        )


@program("lightrag-hku 1.5.7", "I", **CLOUD)
def lightrag(client: Calls) -> None:
    """Several workspaces in one collection, which an older one of theirs moves to."""
    client.collection_exists("lightrag")
    client.create_collection(
        "lightrag", vectors_config=COSINE, hnsw_config=HnswConfigDiff(payload_m=16, m=0)
    )
    client.create_payload_index(
        collection_name="lightrag",
        field_name="workspace_id",
        field_schema=KeywordIndexParams(type=KeywordIndexType.KEYWORD, is_tenant=True),
    )
    client.get_collection("lightrag")
    client.upsert(
        collection_name="lightrag",
        points=points(
            lambda n: {"workspace_id": "ab"[n % 2], "src_id": f"e{n % 3}", "tgt_id": f"e{n % 4}"}
        ),
        wait=True,
    )
    mine = equals("workspace_id", "a")
    client.count(collection_name="lightrag", count_filter=Filter(must=[mine]), exact=True)
    client.scroll(collection_name="lightrag", limit=10, with_payload=True, with_vectors=False)
    client.query_points(
        collection_name="lightrag",
        query=QUERY,
        limit=3,
        with_payload=True,
        score_threshold=-0.2,
        query_filter=Filter(must=[mine]),
    )
    relations = Filter(must=[mine], should=[equals("src_id", "e1"), equals("tgt_id", "e2")])
    offset, found = None, []
    while True:
        records, offset = client.scroll(
            collection_name="lightrag",
            scroll_filter=relations,
            with_payload=False,
            with_vectors=False,
            limit=2,
            offset=offset,
        )
        found += [record.id for record in records]
        if offset is None:
            break
    client.delete(collection_name="lightrag", points_selector=PointIdsList(points=found), wait=True)
    client.retrieve(collection_name="lightrag", ids=IDS, with_vectors=True, with_payload=True)
    client.delete(
        collection_name="lightrag",
        points_selector=FilterSelector(filter=Filter(must=[mine])),
        wait=True,
    )
    client.count(collection_name="lightrag", exact=True)
    client.delete_collection(collection_name="lightrag")


@program("metagpt 0.8.2", "K", host="localhost", port=6333, api_key=None)
def metagpt(client: Calls) -> None:
    try:
        client.get_collection("roles")
    except Exception:
        client.recreate_collection("roles", vectors_config=COSINE)
    client.upsert("roles", points(lambda n: {"n": n}))
    client.search(
        collection_name="roles",
        query_vector=QUERY,
        query_filter=Filter(must=[FieldCondition(key="n", range=Range(gte=4))]),
        limit=3,
        with_vectors=True,
    )
    client.delete_collection("roles", timeout=60)


@program("open-webui 0.12.4", "CI", prefer_grpc=False, grpc_port=6334, timeout=5, **CLOUD)
def open_webui(client: Calls) -> None:
    """A collection for each knowledge base, or one for all with the tenant in the payload."""
    name = "open-webui_files"
    client.collection_exists(name)
    client.create_collection(
        collection_name=name,
        vectors_config=VectorParams(size=DIM, distance=Distance.COSINE, on_disk=False),
        hnsw_config=HnswConfigDiff(m=16),
    )
    for field, tenant in (
        ("metadata.hash", False),
        ("metadata.file_id", False),
        ("tenant_id", True),
    ):
        client.create_payload_index(
            collection_name=name,
            field_name=field,
            field_schema=KeywordIndexParams(
                type=KeywordIndexType.KEYWORD, is_tenant=tenant, on_disk=False
            ),
        )
    written = points(
        lambda n: {"text": f"t{n}", "metadata": {"hash": f"h{n % 5}"}, "tenant_id": "ab"[n % 2]}
    )
    client.upload_points(name, written, wait=True)
    client.upsert(name, written)
    mine = equals("tenant_id", "a")
    client.count(collection_name=name, count_filter=Filter(must=[mine]))
    client.query_points(collection_name=name, query=QUERY, limit=4, query_filter=None)
    client.query_points(collection_name=name, query=QUERY, using=None, limit=2)
    found = client.query_points(
        collection_name=name, query=QUERY, limit=4, query_filter=Filter(must=[mine])
    )
    assert found.points[0].model_dump()["payload"]["tenant_id"] == "a"
    some = [equals("metadata.hash", "h1"), equals("metadata.hash", "h2")]
    offset = None
    while True:
        _, offset = client.scroll(
            collection_name=name, scroll_filter=Filter(should=some), limit=2, offset=offset
        )
        if offset is None:
            break
    client.scroll(collection_name=name, scroll_filter=Filter(must=[mine, *some[:1]]), limit=99999)
    client.delete(collection_name=name, points_selector=PointIdsList(points=IDS[:2]))
    client.delete(
        collection_name=name,
        points_selector=FilterSelector(filter=Filter(must=[equals("metadata.hash", "h3")])),
    )
    for each in client.get_collections().collections:
        client.delete_collection(collection_name=each.name)


@program("PacktPublishing/LLM-Engineers-Handbook", "C", **CLOUD)
def llm_engineers_handbook(client: Calls) -> None:
    def write() -> None:
        client.upsert(
            collection_name="queries", points=points(lambda n: {"author_id": "ab"[n % 2]})
        )

    try:
        write()
    except (UnexpectedResponse, ValueError):
        client.create_collection(collection_name="queries", vectors_config=COSINE)
        write()
    client.get_collection(collection_name="queries")
    client.scroll(
        collection_name="queries", limit=5, with_payload=True, with_vectors=False, offset=IDS[3]
    )
    client.search(
        collection_name="queries",
        query_vector=QUERY,
        limit=4,
        with_payload=True,
        with_vectors=False,
        query_filter=Filter(must=[equals("author_id", "b")]),
    )


@program("pymemoryos 0.1.4", "CI", url="http://localhost:6333", api_key=None)
def pymemoryos(client: Calls) -> None:
    if not client.collection_exists("memories"):
        try:
            client.create_collection(collection_name="memories", vectors_config=COSINE)
            for field in ("user_id", "pair_id"):
                client.create_payload_index(
                    collection_name="memories", field_name=field, field_schema="keyword"
                )
        except UnexpectedResponse:
            raise AssertionError("its own collection") from None
    client.upsert(
        collection_name="memories",
        points=points(
            lambda n: {"user_id": "u", "pair_id": f"p{n % 3}", "score": 1.0, "similarity": None}
        ),
    )
    mine = Filter(must=[equals("user_id", "u"), equals("pair_id", "p1")])
    client.query_points(
        collection_name="memories", query=QUERY, query_filter=mine, limit=4, with_payload=True
    )
    client.search(
        collection_name="memories",
        query_vector=QUERY,
        query_filter=None,
        limit=4,
        with_payload=True,
    )
    for wanted, vectors in ((mine, True), (None, False)):
        client.scroll(
            collection_name="memories",
            scroll_filter=wanted,
            limit=1000,
            with_payload=True,
            with_vectors=vectors,
        )
    client.set_payload(collection_name="memories", payload={"access_count": 1}, points=[IDS[1]])
    client.delete(collection_name="memories", points_selector=PointIdsList(points=IDS[:3]))
    client.get_collections()


@program("r2r 0.2.0", location="localhost", port=6333, api_key="secret")
def r2r(client: Calls) -> None:
    client.create_collection(collection_name="r2r", vectors_config=COSINE)
    client.upsert(collection_name="r2r", points=points(lambda n: {"document_id": f"d{n // 3}"}))
    for name, value in (("document_id", "d1"), ("document_id", "none")):
        client.search(
            collection_name="r2r",
            query_filter=Filter(must=[equals(name, value)]),
            query_vector=QUERY,
            limit=5,
        )
    client.scroll(
        collection_name="r2r",
        scroll_filter=Filter(must=[equals("document_id", "d2")]),
        offset=None,
        limit=100,
        with_payload=True,
    )
    client.delete(
        collection_name="r2r",
        points_selector=FilterSelector(filter=Filter(must=[equals("document_id", "d1")])),
    )
    client.count("r2r")


@program("TransformerOptimus/SuperAGI", "K", host="localhost", port=6333)
def superagi(client: Calls) -> None:
    names = [each.name for each in client.get_collections().collections]
    assert names == []
    client.create_collection(collection_name="agi", vectors_config=COSINE)
    client.get_collection(collection_name="agi")
    client.upsert(
        collection_name="agi",
        points=Batch(ids=IDS, vectors=ROWS, payloads=[{"agent_id": n % 2} for n in range(12)]),
    )
    conditions: Any = [{"key": "agent_id", "match": {"value": 1}}]
    client.search(
        collection_name="agi",
        query_vector=QUERY,
        query_filter=Filter(must=conditions),
        search_params=None,
        limit=4,
        offset=0,
        with_payload=True,
        with_vectors=False,
        score_threshold=None,
        consistency=None,
    )
    client.delete(collection_name="agi", points_selector=PointIdsList(points=IDS[:2]))


@program("workspace-qdrant-mcp 0.3.0", timeout=60, **SERVER)
def workspace_mcp(client: Calls) -> None:
    try:
        client.get_collection("project")
    except Exception:
        client.create_collection(collection_name="project", vectors_config=COSINE)
    for point in points(lambda n: {"content": f"c{n}", "branch": "main", "file_type": "code"}):
        client.upsert(collection_name="project", points=[point])
    wanted = Filter(must=[equals("branch", "main"), equals("file_type", "code")])
    client.search(
        collection_name="project",
        query_vector=QUERY,
        query_filter=wanted,
        limit=3,
        score_threshold=0.1,
    )
    client.scroll(collection_name="project", scroll_filter=wanted, limit=3 * 2)
    for each in client.get_collections().collections:
        client.get_collection(each.name)
    client.retrieve(collection_name="project", ids=[IDS[0]])
    client.delete_collection("project")
