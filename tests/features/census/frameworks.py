"""What the stores of LangChain, LlamaIndex, Haystack and agno call for a tutorial."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from grpc import RpcError
from qdrant_client.http import models
from qdrant_client.http.exceptions import UnexpectedResponse

from census.calls import COSINE, DIM, IDS, QUERY, ROWS, Calls, equals, points


def langchain_store(
    client: Calls, name: str, *, k: int = 4, threshold: float | None = None
) -> None:
    """``QdrantVectorStore`` over a collection that is there: looked at, added to, asked."""
    config = client.get_collection(collection_name=name).config.params.vectors
    if isinstance(config, dict):
        config = config[""]
    assert config.size == DIM
    for start in range(0, len(ROWS), 5):
        batch = [
            models.PointStruct(
                id=IDS[n].replace("-", ""),
                vector={"": ROWS[n]},
                payload={"page_content": f"text {n}", "metadata": {"source": f"page {n % 3}"}},
            )
            for n in range(start, min(start + 5, len(ROWS)))
        ]
        client.upsert(collection_name=name, points=batch)
    client.query_points(
        query=QUERY,
        using="",
        collection_name=name,
        query_filter=None,
        search_params=None,
        limit=k,
        offset=0,
        with_payload=True,
        with_vectors=False,
        score_threshold=threshold,
        consistency=None,
    )


def langchain_store_of_its_own(client: Calls, name: str) -> None:
    """``QdrantVectorStore.from_documents``, which makes the collection."""
    assert not client.collection_exists(name)
    client.create_collection(
        collection_name=name, vectors_config={"": COSINE}, sparse_vectors_config={}
    )
    langchain_store(client, name)


def llama_index_store(client: Calls, name: str, *, k: int = 2, made: bool = False) -> None:
    """An index from documents: the collection made unless it is there, nodes added, one question.
    Old names of sparse vectors are looked for."""
    if not client.collection_exists(name):
        assert not made
        cluster: dict[str, Any] = {
            "shard_number": None,
            "replication_factor": None,
            "sharding_method": None,
            "write_consistency_factor": None,
        }
        try:
            client.create_collection(
                collection_name=name, vectors_config=COSINE, quantization_config=None, **cluster
            )
            client.create_payload_index(
                collection_name=name,
                field_name="doc_id",
                field_schema=models.PayloadSchemaType.KEYWORD,
            )
        except (RpcError, ValueError, UnexpectedResponse) as error:
            if "already exists" not in str(error):
                raise
    params = client.get_collection(name).config.params
    assert not params.sparse_vectors
    using = next(iter(params.vectors)) if isinstance(params.vectors, dict) else ""
    nodes: Iterable[Any] = points(
        lambda n: {"_node_content": f'{{"text": "text {n}"}}', "doc_id": f"d{n // 4}"}
    )
    client.upload_points(
        collection_name=name,
        points=nodes,
        batch_size=64,
        parallel=1,
        max_retries=3,
        wait=True,
        shard_key_selector=None,
    )
    client.query_batch_points(
        collection_name=name,
        requests=[
            models.QueryRequest(
                query=QUERY,
                using=using,
                limit=k,
                filter=models.Filter(must=[]),
                with_payload=True,
                shard_key=None,
                params=None,
            )
        ],
    )
    client.delete(
        collection_name=name,
        points_selector=models.Filter(must=[equals("doc_id", "d1")]),
        shard_key_selector=None,
    )


def haystack_store(client: Calls, name: str) -> None:
    """A document store that is made anew, with the embeddings returned."""
    if client.collection_exists(name):
        client.delete_collection(name)
    none: dict[str, Any] = dict.fromkeys(
        (
            "shard_number",
            "replication_factor",
            "write_consistency_factor",
            "on_disk_payload",
            "hnsw_config",
            "optimizers_config",
            "wal_config",
            "quantization_config",
        )
    )
    client.create_collection(
        collection_name=name,
        vectors_config=models.VectorParams(
            size=DIM, on_disk=False, distance=models.Distance.COSINE
        ),
        sparse_vectors_config=None,
        **none,
    )
    client.create_payload_index(
        collection_name=name, field_name="meta.file", field_schema={"type": "keyword"}
    )
    client.upsert(
        collection_name=name,
        points=points(lambda n: {"content": f"c{n}", "meta": {"file": f"f{n % 3}"}, "score": None}),
        wait=True,
    )
    client.count(collection_name=name)
    for wanted in (None, models.Filter(must=[equals("meta.file", "f1")])):
        client.query_points(
            collection_name=name,
            query=QUERY,
            using=None,
            query_filter=wanted,
            limit=3,
            with_vectors=True,
            score_threshold=None,
        )
        client.scroll(
            collection_name=name,
            scroll_filter=wanted,
            limit=10000,
            offset=None,
            with_payload=True,
            with_vectors=True,
        )


def agno_store(client: Calls, name: str) -> None:
    """A knowledge base: what belongs to one user is that user's or nobody's."""
    if not client.collection_exists(collection_name=name):
        client.create_collection(
            collection_name=name, vectors_config=COSINE, sparse_vectors_config=None
        )
        client.create_payload_index(
            collection_name=name,
            field_name="user_id",
            field_schema=models.KeywordIndexParams(
                type=models.KeywordIndexType.KEYWORD, is_tenant=True
            ),
        )
    client.upsert(
        collection_name=name,
        wait=False,
        points=points(
            lambda n: {
                "name": f"doc {n // 6}",
                "meta_data": {"page": n},
                "content_hash": f"h{n // 6}",
                **({"user_id": "ab"[n % 2]} if n % 4 else {}),
            }
        ),
    )
    client.count(collection_name=name, exact=True)
    hash_is = models.Filter(must=[equals("content_hash", "h1")])
    client.scroll(collection_name=name, scroll_filter=hash_is, limit=1)
    client.retrieve(collection_name=name, ids=IDS[:1], with_payload=False, with_vectors=False)
    mine = models.Filter(
        should=[
            equals("user_id", "a"),
            models.IsEmptyCondition(is_empty=models.PayloadField(key="user_id")),
        ]
    )
    for wanted in (None, mine, models.Filter(must=[equals("meta_data.page", 5), mine])):
        client.query_points(
            collection_name=name,
            query=QUERY,
            with_vectors=True,
            with_payload=True,
            limit=5,
            query_filter=wanted,
        )
    client.set_payload(collection_name=name, payload={"meta_data": {"page": 0}}, points=IDS[:2])
    client.count(collection_name=name, count_filter=hash_is, exact=True)
    client.delete(collection_name=name, points_selector=hash_is, wait=True)
    client.delete(
        collection_name=name, points_selector=models.PointIdsList(points=IDS[:1]), wait=True
    )
    client.count(collection_name=name, exact=True)
