"""What tutorials call: Qdrant's own notebooks, and applications that others write about."""

from __future__ import annotations

from typing import Any

import numpy as np
from qdrant_client import models

import vecdb.qdrant
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
from census.frameworks import (
    agno_store,
    haystack_store,
    langchain_store,
    langchain_store_of_its_own,
    llama_index_store,
)

LOCALHOST: dict[str, Any] = {"host": "localhost", "port": 6333}


# -- ai-engineering-hub ----------------------------------------------------------------------------


def in_bulk(client: Calls, search: models.QuantizationSearchParams, **given: Any) -> None:
    """Indexing put off while the vectors come in, binary codes, a time limit for the question."""
    if not client.collection_exists(collection_name="chat"):
        client.create_collection(
            collection_name="chat",
            vectors_config=models.VectorParams(
                size=DIM, distance=models.Distance.DOT, on_disk=True
            ),
            optimizers_config=models.OptimizersConfigDiff(
                default_segment_number=5, indexing_threshold=0
            ),
            **given,
        )
    for start in range(0, 12, 6):
        client.upload_collection(
            collection_name="chat",
            vectors=ROWS[start : start + 6],
            payload=[{"context": f"c{n}"} for n in range(start, start + 6)],
            ids=IDS[start : start + 6],  # its own call names none, as the next one
        )
    client.create_collection(collection_name="random ids", vectors_config=COSINE)
    client.upload_collection(
        collection_name="random ids", vectors=ROWS, payload=[{"context": "c"} for _ in ROWS]
    )
    client.count("random ids")
    client.update_collection(
        collection_name="chat",
        optimizer_config=models.OptimizersConfigDiff(indexing_threshold=20000),
    )
    client.search(
        collection_name="chat",
        query_vector=QUERY,
        search_params=models.SearchParams(quantization=search),
        limit=3,
        timeout=1000,
    )


def in_bulk_with_codes(client: Calls) -> None:
    in_bulk(
        client,
        models.QuantizationSearchParams(ignore=False, rescore=True, oversampling=2.0),
        quantization_config=models.BinaryQuantization(
            binary=models.BinaryQuantizationConfig(always_ram=True)
        ),
    )


def in_bulk_without_codes(client: Calls) -> None:
    in_bulk(client, models.QuantizationSearchParams(ignore=True, rescore=True, oversampling=2.0))


def llama_index_tutorial(client: Calls) -> None:
    llama_index_store(client, "documents")


@program("ai-engineering-hub/fastest-rag-stack", "CIK", prefer_grpc=True, **SERVER)
def fastest_rag_stack(client: Calls) -> None:
    """Once by itself, once through LlamaIndex."""
    in_bulk_with_codes(client)
    llama_index_tutorial(client)


program("ai-engineering-hub/chat-with-audios", "K", prefer_grpc=True, **SERVER)(in_bulk_with_codes)
for each in ("mcp-agentic-rag", "mcp-agentic-rag-firecrawl"):
    program(f"ai-engineering-hub/{each}", "K", prefer_grpc=True, **SERVER)(in_bulk_without_codes)
for each in ("corrective-rag", "document-chat-rag", "o3-vs-claude-code"):
    program(f"ai-engineering-hub/{each}", "CIK", **LOCALHOST)(llama_index_tutorial)


# -- awesome-llm-apps ------------------------------------------------------------------------------


@program("awesome-llm-apps/agentic_rag_math_agent", "CIK", **LOCALHOST)
def math_agent(client: Calls) -> None:
    if not client.collection_exists(collection_name="math"):
        client.create_collection(collection_name="math", vectors_config=COSINE)
    llama_index_store(client, "math", k=1, made=True)


@program("awesome-llm-apps/ai_blog_search", "K", location="https://cloud.example.com", api_key="s")
def blog_search(client: Calls) -> None:
    if not client.collection_exists("blogs"):
        client.create_collection(collection_name="blogs", vectors_config=COSINE)
    langchain_store(client, "blogs", k=5)


@program("awesome-llm-apps/ai_legal_agent_team", "IK", **CLOUD)
def legal_agent_team(client: Calls) -> None:
    agno_store(client, "legal")


@program("awesome-llm-apps/corrective_rag", "K", **CLOUD)
def corrective_rag(client: Calls) -> None:
    try:
        client.delete_collection("rag")
    except Exception:
        raise AssertionError("to delete a collection that is not there is no error") from None
    client.create_collection(collection_name="rag", vectors_config=COSINE)
    langchain_store(client, "rag")


def with_a_threshold(client: Calls) -> None:
    """A collection that may be there already, then LangChain's store with a lowest score."""
    for _ in range(2):
        try:
            client.create_collection(collection_name="agent", vectors_config=COSINE)
        except Exception as error:
            if "already exists" not in str(error).lower():
                raise
    langchain_store(client, "agent", k=5, threshold=0.1)


program("awesome-llm-apps/deepseek_local_rag_agent", "K", timeout=60, **CLOUD)(with_a_threshold)
program("awesome-llm-apps/gemini_agentic_rag", "K", timeout=60, **CLOUD)(with_a_threshold)
program("awesome-llm-apps/qwen_local_rag", "K", **SERVER)(with_a_threshold)


@program("awesome-llm-apps/rag_agent_cohere", "K", timeout=60, **CLOUD)
def rag_agent_cohere(client: Calls) -> None:
    client.get_collections()
    with_a_threshold(client)
    client.delete_collection("agent")
    client.delete_collection("agent_compressed")


@program("awesome-llm-apps/rag_database_routing", "K", **CLOUD)
def database_routing(client: Calls) -> None:
    client.get_collections()
    for name in ("products", "support", "finance"):
        try:
            client.get_collection(name)
        except Exception:
            client.create_collection(collection_name=name, vectors_config=COSINE)
        langchain_store(client, name, k=3)


def voice_agent(client: Calls) -> None:
    try:
        client.create_collection(collection_name="docs", vectors_config=COSINE)
    except Exception as error:
        if "already exists" not in str(error):
            raise
    for point in points(lambda n: {"content": f"c{n}", "url": f"https://example.com/{n}"}):
        client.upsert(collection_name="docs", points=[point])
    client.query_points(
        collection_name="docs", query=np.asarray(QUERY).tolist(), limit=3, with_payload=True
    )


program("awesome-llm-apps/customer_support_voice_agent", **CLOUD)(voice_agent)
program("awesome-llm-apps/voice_rag_openaisdk", **CLOUD)(voice_agent)


# -- qdrant-rag-eval -------------------------------------------------------------------------------


@program("qdrant-rag-eval/workshop-rag-eval-qdrant-arize", "CIK", location="http://localhost:6333")
def rag_eval_arize(client: Calls) -> None:
    client.get_collections()
    llama_index_store(client, "arize")
    client.count(collection_name="arize")
    client.get_collection("arize")


@program("qdrant-rag-eval/workshop-rag-eval-qdrant-ragas-haystack", "IK", **CLOUD)
def rag_eval_haystack(client: Calls) -> None:
    haystack_store(client, "ragas")


# -- qdrant/examples -------------------------------------------------------------------------------


@program("qdrant/examples/agentic_rag_zoom_crewai", **CLOUD)
def zoom_crewai(client: Calls) -> None:
    try:
        client.get_collection("zoom")
    except Exception:
        client.recreate_collection(collection_name="zoom", vectors_config=COSINE)
    written = points(lambda n: {"topic": f"t{n}", "start_time": None, "user": {"id": n}})
    for start in range(0, 12, 4):
        client.upsert(collection_name="zoom", points=written[start : start + 4])
    client.search(collection_name="zoom", query_vector=QUERY, limit=10, score_threshold=0.2)


@program("qdrant/examples/binary-quantization-qdrant", **CLOUD)
def binary_quantization(client: Calls) -> None:
    if not client.collection_exists("bq"):
        client.create_collection(
            collection_name="bq",
            vectors_config=models.VectorParams(
                size=DIM, distance=models.Distance.COSINE, on_disk=True
            ),
            quantization_config=models.BinaryQuantization(
                binary=models.BinaryQuantizationConfig(always_ram=False)
            ),
        )
    client.get_collection(collection_name="bq")
    written = [models.PointStruct(id=n, vector=row) for n, row in enumerate(ROWS)]
    client.upload_points("bq", points=iter(written), batch_size=5)
    client.query_points(
        collection_name="bq",
        query=written[3].vector,
        search_params=models.SearchParams(exact=True),
        limit=4,
    )
    for ignore, rescore, oversampling in ((True, False, 1.0), (False, True, 3.0)):
        client.query_points(
            collection_name="bq",
            query=written[3].vector,
            search_params=models.SearchParams(
                quantization=models.QuantizationSearchParams(
                    ignore=ignore, rescore=rescore, oversampling=oversampling
                ),
                exact=False,
            ),
            limit=4,
        )


@program("qdrant/examples/course-multi-vector-search/module-0", **CLOUD)
def course_module_0(client: Calls) -> None:
    client.get_collections()


@program("qdrant/examples/ecommerce_reverse_image_search", location=":memory:")
def reverse_image_search(client: Calls) -> None:
    client.get_collections()
    client.recreate_collection(collection_name="shop", vectors_config=COSINE)
    client.upload_collection(
        collection_name="shop",
        vectors=list(map(list, ROWS)),
        payload=[{"brand": f"b{n % 3}", "price": n * 1.5} for n in range(12)],
        ids=[each.replace("-", "") for each in IDS],
    )
    client.count("shop")
    client.query_points(collection_name="shop", query=QUERY, with_payload=True, limit=5)


@program("qdrant/examples/extractive_qa", location=":memory:")
def extractive_qa(client: Calls) -> None:
    client.get_collections()
    client.recreate_collection(collection_name="qa", vectors_config=COSINE)
    for start in range(0, 12, 4):
        client.upsert(
            collection_name="qa",
            points=models.Batch(
                ids=list(range(start, start + 4)),
                vectors=ROWS[start : start + 4],
                payloads=[{"title": f"t{n}"} for n in range(start, start + 4)],
            ),
        )
    client.get_collection(collection_name="qa")
    client.query_points(collection_name="qa", query=QUERY, limit=3)
    client.delete_collection(collection_name="qa")


@program("qdrant/examples/graphrag_neo4j", **CLOUD)
def graphrag(client: Calls) -> None:
    """Its points are dicts, which a server takes, and local mode does not."""
    try:
        client.get_collection("graph")
    except Exception:
        client.create_collection(collection_name="graph", vectors_config=COSINE)
    rows: Any = [
        {"id": each, "vector": row, "payload": {"id": f"n{n}"}}
        for n, (each, row) in enumerate(zip(IDS, ROWS, strict=True))
    ]
    if not isinstance(client.client, vecdb.qdrant.QdrantClient):
        rows = [models.PointStruct(**row) for row in rows]
    client.upsert(collection_name="graph", points=rows)
    client.scroll("graph", limit=20)


@program("qdrant/examples/multimodal-search", url="http://localhost:6333/")
def multimodal(client: Calls) -> None:
    if not client.collection_exists("both"):
        client.create_collection(
            collection_name="both",
            vectors_config={
                "image": models.VectorParams(size=DIM, distance=models.Distance.COSINE),
                "text": models.VectorParams(size=DIM, distance=models.Distance.COSINE),
            },
        )
    client.upload_points(
        collection_name="both",
        points=[
            models.PointStruct(
                id=n,
                vector={"text": ROWS[n], "image": ROWS[-n]},
                payload={"image": f"{n}.png", "caption": f"c{n}"},
            )
            for n in range(12)
        ],
    )
    for using, field in (("image", "image"), ("text", "caption")):
        client.query_points(
            collection_name="both", query=QUERY, using=using, with_payload=[field], limit=1
        )


@program("qdrant/examples/qdrant_101_image_data", **LOCALHOST)
def image_data(client: Calls) -> None:
    client.recreate_collection(collection_name="images", vectors_config=COSINE)


@program("qdrant/examples/self-query", "K", location="localhost", api_key=None)
def self_query(client: Calls) -> None:
    """Once by hand, once what LangChain's retriever makes of a question."""
    client.create_collection(collection_name="wine", vectors_config=COSINE)
    client.upload_points(
        collection_name="wine",
        points=points(
            lambda n: {
                "metadata": {"country": ["US", "PT"][n % 2], "price": 10.0 + n, "points": 88 + n},
                "page_content": f"wine {n}",
            }
        ),
    )
    client.search(collection_name="wine", query_vector=QUERY, limit=3)
    client.search(
        collection_name="wine",
        query_vector=QUERY,
        query_filter=models.Filter(
            must=[
                equals("metadata.country", "US"),
                models.FieldCondition(key="metadata.price", range=models.Range(gte=12.0, lte=18.0)),
                models.FieldCondition(key="metadata.points", range=models.Range(gte=90, lte=100)),
            ]
        ),
        limit=3,
    )
    langchain_store_of_its_own(client, "wine of the store")
