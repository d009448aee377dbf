"""``vecdb serve``: Qdrant's own client, whose answers over HTTP and gRPC are compared with those of
the embedded one on the same data."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import grpc
import numpy as np
import pytest
import qdrant_client
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse
from qdrant_client.http.models import QueryResponse
from serving import Server, serving

import vecdb.qdrant

DIM = 16
ROWS = 300
NAME = "{collection_name}"  # as on Qdrant's pages, braces and all
RNG = np.random.default_rng(5)
VECTORS = RNG.standard_normal((ROWS, DIM)).astype(np.float32)
UUID = "5c56c793-69f3-4fbf-87e6-c4bf54c28c26"

Call = Callable[[qdrant_client.QdrantClient], Any]


@pytest.fixture(scope="module", params=["http", "grpcio", "h2"])
def protocol(request: pytest.FixtureRequest) -> str:
    """What carries the requests."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def server(protocol: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = () if protocol == "http" else ("--grpc-port", "0", "--grpc-engine", protocol)
    directory = tmp_path_factory.mktemp("clients") / "db"
    with serving(directory, "--sync", "never", *options) as running:
        yield running


def address(server: Server) -> dict[str, Any]:
    """Where a client finds it."""
    if not server.grpc:
        return {"url": server.url}
    port = int(server.grpc.rpartition(":")[2])
    return {"host": "127.0.0.1", "port": server.port, "grpc_port": port, "prefer_grpc": True}


@pytest.fixture(scope="module")
def remote(server: Server) -> Iterator[qdrant_client.QdrantClient]:
    # Its look at the version is a thread's, which might find the server gone.
    client = qdrant_client.QdrantClient(**address(server), check_compatibility=False)
    yield client
    client.close()


@pytest.fixture(scope="module")
def both(remote: Any) -> Iterator[tuple[Any, Any]]:
    """The embedded client and the one over HTTP, on the same data."""
    with vecdb.qdrant.QdrantClient(":memory:") as embedded:
        for client in (embedded, remote):
            fill(client)
        yield embedded, remote
    remote.delete_collection("d")
    remote.delete_collection("n")


def fill(client: qdrant_client.QdrantClient) -> None:
    size = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
    client.create_collection("d", vectors_config=size)
    points = [
        models.PointStruct(id=n, vector=VECTORS[n].tolist(), payload=payload(n))
        for n in range(ROWS)
    ]
    client.upsert("d", points)
    client.upsert("d", [models.PointStruct(id=UUID, vector=[1.0] * DIM, payload={})])
    ranking = models.TextIndexParams(type=models.TextIndexType.TEXT, scoring=True)
    client.create_payload_index("d", "words", ranking)
    client.create_collection(
        "n",
        vectors_config={
            "a": models.VectorParams(size=4, distance=models.Distance.EUCLID),
            "b": models.VectorParams(size=2, distance=models.Distance.DOT),
        },
    )
    named: Any = [{"a": VECTORS[n, :4].tolist(), "b": [n, 1.5]} for n in range(20)]
    client.upsert("n", models.Batch(ids=list(range(20)), vectors=_columns(named)))


def _columns(rows: list[dict[str, Any]]) -> Any:
    return {name: [row[name] for row in rows] for name in rows[0]}


def payload(n: int) -> dict[str, Any]:
    return {
        "n": n,
        "city": ["Berlin", "London", "Oslo"][n % 3],
        "tags": [str(n % 5), str(n % 7)],
        "deep": {"x": n / 7, "list": [{"y": n}, None], "null": None},
        "when": f"2024-01-{n % 28 + 1:02d}T00:00:00Z",
        "big": (1 << 63) - 1 - n,
        "text": 'quotes " and \\ and ☃ \u0000',
        "words": f"{'often ' * (n % 4)}{['red', 'green'][n % 2]} {'long ' * (n % 9)}",
    }


QUERY = [round(0.1 * n, 1) for n in range(DIM)]
BERLIN = models.FieldCondition(key="city", match=models.MatchValue(value="Berlin"))
FILTERS: dict[str, models.Filter] = {
    "match": models.Filter(must=[BERLIN]),
    "not": models.Filter(must_not=[BERLIN]),
    "any": models.Filter(
        should=[
            models.FieldCondition(key="tags", match=models.MatchAny(any=["1", "2"])),
            models.HasIdCondition(has_id=[1, UUID]),
        ]
    ),
    "except": models.Filter(
        must=[models.FieldCondition(key="city", match=models.MatchExcept(**{"except": ["Oslo"]}))]
    ),
    "range": models.Filter(
        must=[models.FieldCondition(key="deep.x", range=models.Range(gte=3, lt=20))]
    ),
    "dates": models.Filter(
        must=[
            models.FieldCondition(key="when", range=models.DatetimeRange(gt="2024-01-10T00:00:00Z"))
        ]
    ),
    "count": models.Filter(
        must=[models.FieldCondition(key="tags", values_count=models.ValuesCount(gte=2))]
    ),
    "empty": models.Filter(
        must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="city"))]
    ),
    "null": models.Filter(must=[models.IsNullCondition(is_null=models.PayloadField(key="deep"))]),
    "nested": models.Filter(
        must=[
            models.NestedCondition(
                nested=models.Nested(
                    key="deep.list",
                    filter=models.Filter(
                        must=[models.FieldCondition(key="y", range=models.Range(lt=9))]
                    ),
                )
            )
        ]
    ),
    "some": models.Filter(
        min_should=models.MinShould(
            conditions=[BERLIN, models.FieldCondition(key="n", range=models.Range(lt=100))],
            min_count=2,
        )
    ),
}

BOTH = [
    models.Prefetch(query=QUERY, limit=30, filter=FILTERS["not"]),
    models.Prefetch(query=7, limit=20, score_threshold=-0.5),
    models.Prefetch(query=models.OrderByQuery(order_by="n"), limit=8),
]
RRF = models.FusionQuery(fusion=models.Fusion.RRF)
DECAY = models.DecayParamsExpression(
    x="n", target=models.NegExpression(neg=-40.0), scale=25.0, midpoint=0.25
)
FORMULA = models.FormulaQuery(
    formula=models.SumExpression(
        sum=[
            models.MultExpression(mult=["$score", 2.0, BERLIN]),
            models.MaxExpression(max=["$score[1]", models.MinExpression(min=["none", 0.5])]),
            models.DivExpression(div=models.DivParams(left="n", right="n", by_zero_default=0.5)),
            models.PowExpression(pow=models.PowParams(base="deep.x", exponent=0.5)),
            models.SqrtExpression(sqrt=models.AbsExpression(abs="n")),
            models.LnExpression(ln=models.ExpExpression(exp="deep.x")),
            models.Log10Expression(log10=100.0),
            models.AcoshExpression(acosh=3.0),
            models.LinDecayExpression(lin_decay=DECAY),
            models.ExpDecayExpression(exp_decay=DECAY),
            models.GaussDecayExpression(gauss_decay=models.DecayParamsExpression(x="n")),
            models.ExpDecayExpression(
                exp_decay=models.DecayParamsExpression(
                    x=models.DatetimeKeyExpression(datetime_key="when"),
                    target=models.DatetimeExpression(datetime="2024-01-10T00:00:00Z"),
                    scale=86400.0,
                )
            ),
            models.MultExpression(
                mult=[
                    1e-7,
                    models.GeoDistance(
                        geo_distance=models.GeoDistanceParams(
                            origin=models.GeoPoint(lon=13.4, lat=52.5), to="at"
                        )
                    ),
                ]
            ),
            FILTERS["some"],
        ]
    ),
    defaults={
        "none": 0.25,
        "n": 3.0,
        "deep.x": 1.5,
        "when": "2024-01-01",
        "at": {"lon": 0, "lat": 51},
    },
)

PAIR = models.ContextPair(positive=1, negative=QUERY)
EXAMPLES: dict[str, Any] = {
    "average": models.RecommendQuery(
        recommend=models.RecommendInput(positive=[1, QUERY], negative=[2, UUID])
    ),
    "best": models.RecommendQuery(
        recommend=models.RecommendInput(
            positive=[1, 4], negative=[QUERY], strategy=models.RecommendStrategy.BEST_SCORE
        )
    ),
    "sum": models.RecommendQuery(
        recommend=models.RecommendInput(
            negative=[1, 4], strategy=models.RecommendStrategy.SUM_SCORES
        )
    ),
    "discover": models.DiscoverQuery(
        discover=models.DiscoverInput(
            target=UUID, context=[PAIR, models.ContextPair(positive=5, negative=6)]
        )
    ),
    "one pair": models.DiscoverQuery(discover=models.DiscoverInput(target=QUERY, context=PAIR)),
    "context": models.ContextQuery(context=[models.ContextPair(positive=5, negative=6)]),
    "feedback": models.RelevanceFeedbackQuery(
        relevance_feedback=models.RelevanceFeedbackInput(
            target=QUERY,
            feedback=[
                models.FeedbackItem(example=3, score=0.9),
                models.FeedbackItem(example=QUERY[::-1], score=0.25),
            ],
            strategy=models.NaiveFeedbackStrategy(
                naive=models.NaiveFeedbackStrategyParams(a=0.5, b=1.5, c=0.25)
            ),
        )
    ),
}

TEXT = models.TextQuery(
    text=models.TextQueryInput(
        query="often red", scoring=models.Bm25Scoring(bm25=models.Bm25Params(k=2.0, b=0.5))
    )
)

READS: dict[str, Call] = {
    "by text": lambda c: c.query_points("d", models.TextQuery(text="often green"), using="words"),
    "by text, with numbers": lambda c: c.query_points(
        "d", TEXT, using="words", query_filter=FILTERS["range"], score_threshold=0.5, limit=40
    ),
    "by text and by vector": lambda c: c.query_points(
        "d", RRF, prefetch=[models.Prefetch(query=TEXT, using="words", limit=25), BOTH[0]]
    ),
    "groups by text": lambda c: c.query_points_groups(
        "d", "city", query=TEXT, using="words", group_size=2
    ),
    "fused": lambda c: c.query_points("d", query=RRF, prefetch=BOTH, limit=20),
    "fused by scores": lambda c: c.query_points(
        "d", query=models.FusionQuery(fusion=models.Fusion.DBSF), prefetch=BOTH, offset=3
    ),
    "fused by ranks, without weights": lambda c: c.query_points(
        "d", query=models.RrfQuery(rrf=models.Rrf(k=2)), prefetch=BOTH
    ),
    "fused with weights": lambda c: c.query_points(
        "d",
        query=models.RrfQuery(rrf=models.Rrf(k=60, weights=[1.0, 0.5, 2.0])),
        prefetch=BOTH,
        query_filter=FILTERS["range"],
        score_threshold=0.01,
    ),
    "formula": lambda c: c.query_points("d", query=FORMULA, prefetch=BOTH, limit=40),
    "rescored": lambda c: c.query_points(
        "d",
        query=QUERY,
        prefetch=models.Prefetch(prefetch=BOTH, query=RRF, limit=12),
        with_vectors=True,
    ),
    "prefetched from elsewhere": lambda c: c.query_points(
        "n",
        query=RRF,
        prefetch=[
            models.Prefetch(query=[1.0, 2.0, 3.0, 4.0], using="a"),
            models.Prefetch(
                query=3,
                using="a",
                lookup_from=models.LookupLocation(collection="n", vector="a"),
            ),
        ],
    ),
    "batch of prefetches": lambda c: c.query_batch_points(
        "d",
        [
            models.QueryRequest(query=RRF, prefetch=BOTH, limit=4, with_payload=True),
            models.QueryRequest(query=FORMULA, prefetch=BOTH[0], limit=4),
        ],
    ),
    "groups of prefetches": lambda c: c.query_points_groups(
        "d", "city", query=RRF, prefetch=BOTH, limit=2, group_size=4
    ),
    **{
        f"examples, {name}": lambda c, q=query: (
            c.query_points("d", query=q, limit=6, offset=2),
            c.query_batch_points("d", [models.QueryRequest(query=q, limit=3)]),
            c.query_points_groups("d", "city", query=q, limit=3, group_size=2),
        )
        for name, query in EXAMPLES.items()
    },
    "looked up": lambda c: c.query_points(
        "n",
        query=3,
        using="a",
        limit=4,
        lookup_from=models.LookupLocation(collection="n", vector="a"),
    ),
    "looked up elsewhere": lambda c: c.query_points(
        "d", query=3, limit=4, lookup_from=models.LookupLocation(collection="d")
    ),
    "matrix": lambda c: [
        (pair.a, pair.b, models.ScoredPoint(id=0, version=0, score=pair.score))
        for pair in c.search_matrix_pairs("n", sample=50, limit=2, using="a").pairs
    ],
    "matrix of offsets": lambda c: [
        getattr(c.search_matrix_offsets("n", sample=50, limit=2, using="b"), name)
        for name in ("ids", "offsets_row", "offsets_col")
    ],
    "query": lambda c: c.query_points("d", query=QUERY, limit=20),
    "vectors": lambda c: c.query_points("d", query=QUERY, with_vectors=True, with_payload=False),
    "by id": lambda c: c.query_points("d", query=7, limit=3),
    "by uuid": lambda c: c.query_points("d", query=UUID, limit=3),
    "nearest": lambda c: c.query_points("d", query=models.NearestQuery(nearest=QUERY), limit=3),
    "mmr": lambda c: c.query_points(
        "d",
        query=models.NearestQuery(
            nearest=QUERY, mmr=models.Mmr(diversity=0.7, candidates_limit=40)
        ),
        limit=8,
    ),
    "order": lambda c: c.query_points("d", query=models.OrderByQuery(order_by="n"), limit=4),
    "order of dates": lambda c: c.query_points(
        "d",
        query=models.OrderByQuery(
            order_by=models.OrderBy(
                key="when",
                direction=models.Direction.DESC,
                start_from=datetime(2024, 1, 20, tzinfo=timezone.utc),
            )
        ),
        query_filter=FILTERS["match"],
        limit=40,
    ),
    "sample": lambda c: sorted(
        str(each.id)
        for each in c.query_points(
            "d", query=models.SampleQuery(sample=models.Sample.RANDOM), limit=ROWS + 5
        ).points
    ),
    "facet": lambda c: c.facet("d", "tags[]"),
    "facet some": lambda c: c.facet("d", "n", facet_filter=FILTERS["range"], limit=3, exact=True),
    "groups": lambda c: c.query_points_groups("d", "city", query=QUERY),
    "groups of arrays": lambda c: c.query_points_groups(
        "d",
        "tags[]",
        query=QUERY,
        query_filter=FILTERS["range"],
        limit=4,
        group_size=2,
        with_payload=["n"],
        with_vectors=True,
        score_threshold=-0.2,
    ),
    "groups and lookup": lambda c: c.query_points_groups(
        "d",
        "n",
        query=QUERY,
        limit=90,
        with_lookup=models.WithLookup(collection="n", with_payload=False, with_vectors=["a"]),
        query_filter=models.Filter(
            must=[models.FieldCondition(key="n", range=models.Range(lt=40))]
        ),
    ),
    "groups by id": lambda c: c.query_points_groups("d", "city", query=UUID, group_size=1),
    "offset": lambda c: c.query_points("d", query=QUERY, offset=15, limit=4),
    "threshold": lambda c: c.query_points("d", query=QUERY, score_threshold=0.2, limit=99),
    "include": lambda c: c.query_points("d", query=QUERY, with_payload=["n", "deep.x"]),
    "exclude": lambda c: c.query_points(
        "d", query=QUERY, with_payload=models.PayloadSelectorExclude(exclude=["deep", "text"])
    ),
    "exact": lambda c: c.query_points(
        "d", query=QUERY, search_params=models.SearchParams(exact=True, hnsw_ef=99)
    ),
    "in order": lambda c: c.query_points("d", limit=3),
    "named": lambda c: c.query_points("n", query=[1.0, 2.0, 3.0, 4.0], using="a", limit=4),
    "dot": lambda c: c.query_points("n", query=[1, 2], using="b", with_vectors=["a"], limit=4),
    "batch": lambda c: c.query_batch_points(
        "d",
        [
            models.QueryRequest(query=QUERY, limit=2),
            models.QueryRequest(query=3, limit=2, with_payload=True, filter=FILTERS["match"]),
        ],
    ),
    "retrieve": lambda c: c.retrieve("d", [5, UUID, 4, 9999], with_vectors=True),
    "no payload": lambda c: c.retrieve("d", [5, UUID], with_payload=False),
    "scroll": lambda c: c.scroll("d", limit=7, offset=30),
    "scroll on": lambda c: c.scroll("d", scroll_filter=FILTERS["match"], limit=500),
    "scroll in order": lambda c: c.scroll("d", order_by="deep.x", limit=7),
    "scroll large": lambda c: c.scroll(
        "d",
        order_by=models.OrderBy(key="big", direction=models.Direction.DESC, start_from=1 << 62),
        with_payload=["big"],
        with_vectors=True,
    ),
    "scroll vectors": lambda c: c.scroll("n", limit=2, with_vectors=True),
    "count": lambda c: c.count("d"),
    "exists": lambda c: [c.collection_exists(name) for name in ("d", "none")],
    "collections": lambda c: c.get_collections(),
    **{
        f"filter {name}": lambda c, f=filter: (
            c.query_points("d", query=QUERY, query_filter=f, limit=500, with_payload=["n"]),
            c.count("d", count_filter=f),
        )
        for name, filter in FILTERS.items()
    },
}


@pytest.mark.parametrize("name", READS)
def test_a_read_is_answered_as_by_the_embedded_client(both: Any, name: str) -> None:
    embedded, remote = (READS[name](client) for client in both)
    scores: tuple[list[float], list[float]] = ([], [])
    assert _scores_apart(remote, scores[0]) == _scores_apart(embedded, scores[1])
    # One process may have loaded kernels, and the other not: the last bit differs.
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5, atol=1e-6)


def _scores_apart(value: Any, scores: list[float]) -> Any:
    """What was answered, without its scores, which go to ``scores``."""
    if isinstance(value, (models.ScoredPoint, models.Record)):
        found = value.model_dump()
        if "score" in found:
            scores.append(found.pop("score"))
        found["vector"] = _floats(found["vector"])
        found["payload"] = found["payload"] or None  # which is the same in messages of gRPC
        return type(value).__name__, found
    if isinstance(value, models.GroupsResult):
        return [
            (each.id, _scores_apart(each.hits, scores), _scores_apart(each.lookup, scores))
            for each in value.groups
        ]
    if isinstance(value, QueryResponse):
        return [_scores_apart(each, scores) for each in value.points]
    if isinstance(value, (list, tuple)):
        return [_scores_apart(each, scores) for each in value]
    return value


def _floats(vector: Any) -> Any:
    if isinstance(vector, dict):
        return {name: _floats(each) for name, each in vector.items()}
    return None if vector is None else np.asarray(vector, np.float32).tolist()


WRITES: dict[str, Call] = {
    "upsert": lambda c: c.upsert(
        "w",
        [models.PointStruct(id=n, vector=VECTORS[n].tolist(), payload=payload(n)) for n in (1, 2)],
    ),
    "batch": lambda c: c.upsert(
        "w",
        models.Batch(ids=[3, 4, UUID], vectors=VECTORS[3:6].tolist(), payloads=[{}, {"n": 1}, {}]),
    ),
    "insert only": lambda c: c.upsert(
        "w",
        [models.PointStruct(id=1, vector=VECTORS[9].tolist(), payload={})],
        update_mode=models.UpdateMode.INSERT_ONLY,
    ),
    "set": lambda c: c.set_payload("w", {"a": {"b": 1}}, points=[1, UUID]),
    "set by key": lambda c: c.set_payload("w", {"c": None}, points=[1], key="a"),
    "set by filter": lambda c: c.set_payload("w", {"x": 1.5}, points=FILTERS["match"]),
    "overwrite": lambda c: c.overwrite_payload("w", {"only": [1, 2]}, points=[3]),
    "delete keys": lambda c: c.delete_payload("w", ["city", "deep.x"], points=[1, 2]),
    "clear": lambda c: c.clear_payload("w", points_selector=models.PointIdsList(points=[4])),
    "vectors": lambda c: c.update_vectors(
        "w", [models.PointVectors(id=2, vector=VECTORS[7].tolist())]
    ),
    "delete vectors": lambda c: c.delete_vectors("w", vectors=[""], points=[4]),
    "delete": lambda c: c.delete("w", points_selector=[3]),
    "delete by filter": lambda c: c.delete(
        "w", models.Filter(must=[models.FieldCondition(key="x", match=models.MatchValue(value=9))])
    ),
    "several": lambda c: c.batch_update_points(
        "w",
        [
            models.UpsertOperation(
                upsert=models.PointsList(
                    points=[models.PointStruct(id=8, vector=VECTORS[8].tolist(), payload={"k": 8})]
                )
            ),
            models.SetPayloadOperation(
                set_payload=models.SetPayload(payload={"late": True}, points=[8, 1])
            ),
            models.DeleteOperation(delete=models.PointIdsList(points=[2])),
        ],
    ),
    "upload": lambda c: c.upload_points(
        "w",
        [models.PointStruct(id=n, vector=VECTORS[n].tolist()) for n in range(100, 200)],
        wait=True,
    ),
    "index": lambda c: c.create_payload_index("w", "city", models.PayloadSchemaType.KEYWORD),
}


def test_writes_leave_the_same_as_those_of_the_embedded_client(remote: Any) -> None:
    size = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
    with vecdb.qdrant.QdrantClient(":memory:") as embedded:
        for client in (embedded, remote):
            client.create_collection("w", vectors_config=size)
        for name, write in WRITES.items():
            told = [write(client) for client in (embedded, remote)]
            assert _statuses(told[0]) == _statuses(told[1]), name
            states = [
                client.scroll("w", limit=1000, with_vectors=True) for client in (embedded, remote)
            ]
            assert _scores_apart(states[0], []) == _scores_apart(states[1], []), name
        infos = [client.get_collection("w") for client in (embedded, remote)]
        assert infos[0].payload_schema == infos[1].payload_schema
        assert infos[0].points_count == infos[1].points_count
        assert infos[0].config.params.vectors == infos[1].config.params.vectors
    remote.delete_collection("w")


def _statuses(told: Any) -> Any:
    if isinstance(told, list):
        return [_statuses(each) for each in told]
    return getattr(told, "status", told)


MISTAKES: dict[str, Call] = {
    "no collection": lambda c: c.count("none"),
    "no point": lambda c: c.query_points("d", query=123456),
    "wrong dimension": lambda c: c.query_points("d", query=[1.0]),
    "wrong name": lambda c: c.query_points("d", query=QUERY, using="x"),
    "exists": lambda c: c.create_collection(
        "d", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT)
    ),
    "an empty name": lambda c: c.create_collection(
        "s", vectors_config={}, sparse_vectors_config={"": models.SparseVectorParams()}
    ),
    "order and offset": lambda c: c.scroll("d", order_by="n", offset=3),
    "order of nothing": lambda c: c.scroll("d", order_by=""),
    "facet of none": lambda c: c.facet("none", "n"),
    "facet of a wrong path": lambda c: c.facet("d", "a[x]"),
    "groups of none": lambda c: c.query_points_groups("none", "n"),
    "groups of a wrong vector": lambda c: c.query_points_groups("d", "n", query=[1.0]),
    "groups by a wrong path": lambda c: c.query_points_groups("d", "a[x]", query=QUERY),
    "no lookup": lambda c: c.query_points_groups("d", "n", query=QUERY, with_lookup="none"),
    "wrong id": lambda c: c.upsert("d", [models.PointStruct(id="x", vector=QUERY)]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_has_the_status_of_the_embedded_client(both: Any, name: str) -> None:
    statuses = []
    for client in both:
        with pytest.raises((UnexpectedResponse, grpc.RpcError)) as caught:
            MISTAKES[name](client)
        statuses.append(_status(caught.value))
    assert statuses[0] == statuses[1]


def _status(error: Any) -> int:
    """A status of HTTP, or the one that a code of gRPC stands for."""
    if isinstance(error, grpc.RpcError):
        return {"NOT_FOUND": 404, "INVALID_ARGUMENT": 400, "ALREADY_EXISTS": 409}[error.code().name]
    return int(error.status_code)


def test_a_page_of_qdrants_documentation(remote: Any) -> None:
    """The page on quantization: six ways to make a collection, two to search it."""
    scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
    with_quantile = models.ScalarQuantizationConfig(
        type=models.ScalarType.INT8, quantile=0.99, always_ram=True
    )
    on_disk = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=False)
    binary = models.BinaryQuantizationConfig(always_ram=True)
    product = models.ProductQuantizationConfig(
        compression=models.CompressionRatio.X16, always_ram=True
    )
    mapped = models.OptimizersConfigDiff(memmap_threshold=20000)
    ways: list[tuple[Any, Any]] = [
        (models.ScalarQuantization(scalar=with_quantile), None),
        (models.BinaryQuantization(binary=binary), None),
        (models.ProductQuantization(product=product), None),
        (models.ScalarQuantization(scalar=scalar), mapped),
        (models.ScalarQuantization(scalar=on_disk), mapped),
    ]
    vectors = np.random.default_rng(3).standard_normal((50, 768)).astype(np.float32)
    for quantization, optimizers in ways:
        assert remote.create_collection(
            collection_name=NAME,
            vectors_config=models.VectorParams(size=768, distance=models.Distance.COSINE),
            optimizers_config=optimizers,
            quantization_config=quantization,
        )
        config = remote.get_collection(NAME).config
        assert _rounded(config.quantization_config) == _rounded(quantization)
        remote.upload_collection(NAME, vectors, ids=range(50), wait=True)
        for params in (
            models.QuantizationSearchParams(ignore=False, rescore=True, oversampling=2.0),
            models.QuantizationSearchParams(ignore=True),
        ):
            found = remote.query_points(
                collection_name=NAME,
                query=vectors[3].tolist(),
                search_params=models.SearchParams(quantization=params),
            ).points
            assert found[0].id == 3
            assert found[0].score == pytest.approx(1, abs=1e-5)
        assert remote.delete_collection(NAME)


def _rounded(quantization: Any) -> str:
    """As text: one protocol has a quantile in 64 bits, the other in 32."""
    return re.sub(r"quantile=0\.99\d*", "quantile=0.99", repr(quantization))


def test_coroutines(server: Server) -> None:
    async def work() -> None:
        client = qdrant_client.AsyncQdrantClient(**address(server), check_compatibility=False)
        size = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
        await client.create_collection("async", vectors_config=size)
        writes = [
            client.upsert("async", [models.PointStruct(id=n, vector=VECTORS[n].tolist())])
            for n in range(40)
        ]
        assert {each.status for each in await asyncio.gather(*writes)} == {"completed"}
        searches = [client.query_points("async", query=VECTORS[n].tolist()) for n in range(40)]
        found = await asyncio.gather(*searches)
        assert [each.points[0].id for each in found] == list(range(40))
        await client.delete_collection("async")
        await client.close()

    asyncio.run(work())


def test_aliases_and_snapshots(remote: Any) -> None:
    size = models.VectorParams(size=2, distance=models.Distance.DOT)
    remote.create_collection("s", vectors_config=size)
    remote.upsert("s", [models.PointStruct(id=1, vector=[1.0, 2.0])])
    alias = models.CreateAlias(collection_name="s", alias_name="t")
    remote.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    assert remote.get_aliases().aliases[0].alias_name == "t"
    assert remote.count("t").count == 1
    made = remote.create_snapshot("s")
    assert [each.name for each in remote.list_snapshots("s")] == [made.name]
    remote.delete("s", [1])
    assert remote.recover_snapshot("s", made.name)
    assert remote.count("s").count == 1
    remote.delete_snapshot("s", made.name)
    whole = remote.create_full_snapshot()
    assert [each.name for each in remote.list_full_snapshots()] == [whole.name]
    remote.delete_full_snapshot(whole.name)
    remote.delete_collection("s")


def test_the_version_satisfies_the_client(server: Server, recwarn: Any) -> None:
    before = set(threading.enumerate())
    client = qdrant_client.QdrantClient(**address(server))
    for thread in set(threading.enumerate()) - before:
        thread.join(60)  # one of them looks
    client.close()
    assert not [each for each in recwarn if "version" in str(each.message)]
