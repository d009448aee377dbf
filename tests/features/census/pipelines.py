"""What calls a program that moves data, makes the client for others, or measures and checks it."""

from __future__ import annotations

import numpy as np
from grpc import RpcError
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from qdrant_client.http.models import (
    Batch,
    BinaryQuantization,
    BinaryQuantizationConfig,
    Distance,
    FieldCondition,
    Filter,
    HnswConfigDiff,
    KeywordIndexParams,
    OptimizersConfigDiff,
    PayloadSchemaType,
    PointStruct,
    QuantizationSearchParams,
    QueryRequest,
    Range,
    SearchParams,
    VectorParams,
)

from census.calls import CLOUD, COSINE, DIM, QUERY, ROWS, SERVER, Calls, equals, points, program


@program("apache-airflow-providers-qdrant 1.6.1", "C", host="localhost", port=6333, grpc_port=6334)
def airflow(client: Calls) -> None:
    try:
        client.get_collections()
    except (UnexpectedResponse, RpcError, ValueError):
        raise AssertionError("a connection is tested by a first call") from None
    client.create_collection("dag", vectors_config=COSINE)
    client.upload_collection(
        collection_name="dag",
        vectors=ROWS,
        payload=[{"run": n} for n in range(len(ROWS))],
        ids=list(range(len(ROWS))),
        batch_size=5,
        parallel=1,
        method=None,
        max_retries=3,
        wait=True,
    )
    client.count("dag")


@program("daft-qdrant 0.2.0", "C", **SERVER)
def daft(client: Calls) -> None:
    rows = [{"id": n, "vector": row, "word": f"w{n}"} for n, row in enumerate(ROWS)]

    def write(name: str) -> None:
        given = [dict(row) for row in rows]
        client.upsert(
            collection_name=name,
            points=[
                PointStruct(id=row.pop("id"), vector=row.pop("vector"), payload=row)
                for row in given
            ],
            wait=True,
        )

    try:
        write("frame")
    except (ResponseHandlingException, UnexpectedResponse, ValueError):
        client.create_collection("frame", vectors_config=COSINE)
        write("frame")
    client.count("frame")


@program("dagster-qdrant 0.0.4", location=":memory:", port=6333, grpc_port=6334, https=None)
def dagster(client: Calls) -> None:
    """Makes the client and closes it; what is between is its users' own."""
    client.get_collections()


@program("ray-qdrant 0.1.1", api_key=None, **SERVER)
def ray(client: Calls) -> None:
    for name in ("", "text"):
        collection = f"rows {name}".strip()
        params = VectorParams(size=DIM, distance=Distance("Dot"))
        if not client.collection_exists(collection):
            client.create_collection(
                collection_name=collection, vectors_config={name: params} if name else params
            )
        for start in range(0, 12, 7):
            chunk = np.asarray(ROWS[start : start + 7]).tolist()
            client.upsert(
                collection_name=collection,
                points=Batch(
                    ids=list(range(start, start + len(chunk))),
                    vectors={name: chunk} if name else chunk,
                    payloads=None,
                ),
                wait=True,
            )
        client.scroll(collection, with_vectors=True, limit=20)


@program("qdrant-vector-aggregator 1.0.2", timeout=120, **CLOUD)
def aggregator(client: Calls) -> None:
    client.recreate_collection(collection_name="all", vectors_config=COSINE)
    client.upsert(collection_name="all", points=points(lambda n: {"id": n // 2}), wait=True)
    offset = None
    while True:
        _, offset = client.scroll(
            collection_name="all", limit=5, offset=offset, with_payload=True, with_vectors=True
        )
        if offset is None:
            break


@program("qdrantsync 0.1.0", "K", timeout=30, **CLOUD)
def qdrantsync(client: Calls) -> None:
    """Copies a collection to another, and marks what it has copied."""
    client.create_collection("source", vectors_config=COSINE)
    client.upsert("source", points=points(lambda n: {"n": n}))
    left = Filter(must_not=[equals("_copied", True)])
    client.get_collections()
    if not client.collection_exists("copy"):
        params = client.get_collection("source").config.params
        client.create_collection(
            collection_name="copy",
            vectors_config=params.vectors,
            replication_factor=2,
            write_consistency_factor=params.write_consistency_factor,
            on_disk_payload=params.on_disk_payload,
        )
    client.count(collection_name="source", count_filter=left, exact=False)
    while True:
        records, _ = client.scroll(
            collection_name="source",
            scroll_filter=left,
            limit=5,
            with_payload=True,
            with_vectors=True,
            offset=None,
        )
        if not records:
            break
        client.upsert(
            collection_name="copy",
            points=[
                PointStruct(id=each.id, vector=each.vector, payload=each.payload)
                for each in records
            ],
        )
        client.set_payload(
            collection_name="source",
            payload={"_copied": True},
            points=[each.id for each in records],
        )
    client.scroll(collection_name="copy", limit=20, with_vectors=True)


@program("orthant 0.1.2", **CLOUD)
def orthant(client: Calls) -> None:
    """Hands the client to migrations that its users write, such as this one."""
    client.create_collection("schema", vectors_config=COSINE)
    client.get_collection("schema")


@program("rag-staleness-check 0.1.2", timeout=10, **SERVER)
def staleness_check(client: Calls) -> None:
    client.create_collection("kb", vectors_config=COSINE)
    client.upsert("kb", points=points(lambda n: {"source": f"page {n}"}))
    client.get_collection(collection_name="kb")
    records, _ = client.scroll(
        collection_name="kb", limit=3, offset=None, with_payload=True, with_vectors=False
    )
    client.retrieve(collection_name="kb", ids=[records[0].id], with_vectors=True)
    client.query_batch_points(
        collection_name="kb",
        requests=[QueryRequest(query=row, limit=4, with_payload=False) for row in ROWS[:3]],
    )


@program("vhecfsck 0.1.3", host="localhost", port=6333, api_key=None, prefer_grpc=False)
def vhecfsck(client: Calls) -> None:
    """Samples a collection and looks whether its index finds what an exact search finds."""
    client.create_collection(
        "checked", vectors_config={"dense": VectorParams(size=DIM, distance=Distance.MANHATTAN)}
    )
    client.upsert(
        "checked",
        points=[
            PointStruct(id=n, vector={"dense": row}, payload={"tenant_id": f"t{n % 2}"})
            for n, row in enumerate(ROWS)
        ],
    )
    config = client.get_collection("checked").config
    assert config.hnsw_config.ef_construct is not None
    assert int(config.params.vectors["dense"].size) == DIM
    records, offset = client.scroll(
        collection_name="checked", limit=5, with_vectors=False, with_payload=False
    )
    client.scroll(
        collection_name="checked", limit=256, with_vectors=True, with_payload=False, offset=offset
    )
    client.retrieve(
        collection_name="checked",
        ids=[each.id for each in records],
        with_vectors=True,
        with_payload=False,
    )
    client.query_points(
        collection_name="checked",
        query=QUERY,
        limit=5,
        search_params=SearchParams(hnsw_ef=32),
        using="dense",
        query_filter=Filter(must=[equals("tenant_id", "t0")]),
    )


@program("vectordb-bench 2.0.0", "IK", prefer_grpc=True, **CLOUD)
def vectordb_bench(client: Calls) -> None:
    client.create_collection(
        collection_name="bench",
        vectors_config=VectorParams(size=DIM, distance="Cosine", on_disk=True),
        hnsw_config=HnswConfigDiff(m=16, payload_m=16, ef_construct=100, on_disk=False),
        optimizers_config=OptimizersConfigDiff(default_segment_number=2),
        quantization_config=BinaryQuantization(binary=BinaryQuantizationConfig(always_ram=True)),
    )
    client.create_payload_index(
        collection_name="bench", field_name="pk", field_schema=PayloadSchemaType.INTEGER
    )
    client.create_payload_index(
        collection_name="bench",
        field_name="label",
        field_schema=KeywordIndexParams(type=PayloadSchemaType.KEYWORD, is_tenant=True),
    )
    client.get_collection("bench")
    client.update_collection(
        collection_name="bench", optimizer_config=OptimizersConfigDiff(indexing_threshold=0)
    )
    client.upsert(
        collection_name="bench",
        wait=True,
        points=Batch(
            ids=list(range(12)),
            payloads=[{"pk": n, "label": f"l{n % 2}"} for n in range(12)],
            vectors=ROWS,
        ),
    )
    client.update_collection(
        collection_name="bench", optimizer_config=OptimizersConfigDiff(indexing_threshold=100)
    )
    rescored = QuantizationSearchParams(ignore=False, rescore=True, oversampling=2.0)
    conditions: list[FieldCondition | None] = [
        None,
        FieldCondition(key="pk", range=Range(gte=4)),
        FieldCondition(key="label", match={"value": "l1"}),
    ]
    for condition in conditions:
        client.query_points(
            collection_name="bench",
            query=QUERY,
            limit=5,
            query_filter=Filter(must=[condition]) if condition else None,
            search_params=SearchParams(
                hnsw_ef=64, exact=False, indexed_only=False, quantization=rescored
            ),
            with_payload=False,
            timeout=10,
        )
    client.delete_collection("bench")
