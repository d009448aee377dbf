"""Recommend and discover as clients asked for them once: they answer as today's queries do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from qdrant_client import grpc as q
from qdrant_client import models
from serving import Server, error, new_collection, put, result, serving

import vecdb.qdrant

ROWS = np.random.default_rng(3).standard_normal((60, 4)).astype(np.float32)
COSINE = {"size": 4, "distance": "Cosine"}
VECTOR = ROWS[59].tolist()
POINTS: list[dict[str, Any]] = [
    {"id": n, "vector": ROWS[n].tolist(), "payload": {"n": n, "tag": "xyz"[n % 3]}}
    for n in range(60)
]
FILTER: dict[str, Any] = {"must": [{"key": "n", "range": {"lt": 40}}]}
PAIRS = [{"positive": 7, "negative": 8}, {"positive": VECTOR, "negative": 9}]
RECOMMEND: dict[str, dict[str, Any]] = {
    "average": {"positive": [1, VECTOR], "negative": [2]},
    "best score": {"positive": [1, VECTOR], "negative": [2], "strategy": "best_score"},
    "sum of scores": {"negative": [3], "strategy": "sum_scores"},
}
DISCOVER: dict[str, dict[str, Any]] = {
    "target": {"target": 5, "context": PAIRS},
    "vector": {"target": VECTOR, "context": PAIRS[:1]},
    "no pairs": {"target": 5},
    "context": {"context": PAIRS},
}


def as_query(given: dict[str, Any]) -> dict[str, Any]:
    """Today's form."""
    if "context" not in given and "target" not in given:
        return {"recommend": given}
    if "target" in given:
        return {"discover": {"target": given["target"], "context": given.get("context", [])}}
    return {"context": given["context"]}


# -- Qdrant's client -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Any: the newest client's class has not these verbs."""
    with vecdb.qdrant.QdrantClient(":memory:") as made:
        size = models.VectorParams(size=4, distance=models.Distance.COSINE)
        made.create_collection("c", vectors_config=size)
        made.upsert("c", [models.PointStruct(**point) for point in POINTS])
        yield made


def their_query(given: dict[str, Any]) -> Any:
    """Today's object."""
    query = as_query(given)
    kinds = {
        "recommend": models.RecommendQuery,
        "discover": models.DiscoverQuery,
        "context": models.ContextQuery,
    }
    [kind] = query
    return kinds[kind].model_validate(query)


def meant(client: Any, given: dict[str, Any], **more: Any) -> Any:
    """What today's client gets."""
    return client.query_points("c", query=their_query(given), **more).points


@pytest.mark.parametrize("name", RECOMMEND)
def test_recommend(client: Any, name: str) -> None:
    given = RECOMMEND[name]
    asked = {"query_filter": models.Filter(**FILTER), "limit": 4, "offset": 1}
    wanted = meant(client, given, **asked)
    assert len(wanted) == 4
    found = client.recommend("c", **given, **asked)
    assert found == wanted
    assert type(found[0]) is models.ScoredPoint
    request = {**given, "filter": FILTER, "limit": 4, "offset": 1, "with_payload": True}
    assert client.recommend_batch("c", [request, {**request, "offset": None}]) == [
        wanted,
        meant(client, given, query_filter=models.Filter(**FILTER), limit=4),
    ]
    groups = client.recommend_groups("c", "tag", **given, limit=2, group_size=2)
    query = their_query(given)
    assert groups == client.query_points_groups("c", "tag", query=query, limit=2, group_size=2)


@pytest.mark.parametrize("name", DISCOVER)
def test_discover(client: Any, name: str) -> None:
    given = DISCOVER[name]
    asked = {"query_filter": models.Filter(**FILTER), "limit": 4, "with_vectors": True}
    assert client.discover("c", **given, **asked) == meant(client, given, **asked)
    request = {**given, "limit": 3, "with_payload": True}
    assert client.discover_batch("c", requests=[request]) == [meant(client, given, limit=3)]


def test_a_coroutine_does_the_same(client: Any) -> None:
    async def ask() -> Any:
        other: Any = vecdb.qdrant.AsyncQdrantClient(":memory:")
        async with other:
            size = models.VectorParams(size=4, distance=models.Distance.COSINE)
            await other.create_collection("c", vectors_config=size)
            await other.upsert("c", [models.PointStruct(**point) for point in POINTS])
            return await asyncio.gather(
                other.recommend("c", **RECOMMEND["average"]),
                other.discover("c", **DISCOVER["target"]),
            )

    assert asyncio.run(ask()) == [
        meant(client, RECOMMEND["average"]),
        meant(client, DISCOVER["target"]),
    ]


def test_arguments_that_no_version_has(client: Any) -> None:
    with pytest.raises(TypeError, match="'target'"):
        client.recommend("c", target=1)
    with pytest.raises(AttributeError):
        client.recommend_all("c")


# -- a server --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("older") / "db"
    with serving(directory, "--sync", "never", "--grpc-port", "0") as running:
        with running.http() as http:
            put(http, new_collection(http, "c", vectors=COSINE), *POINTS)
        yield running


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with server.http() as opened:
        yield opened


def post(http: httpx.Client, where: str, body: Any) -> Any:
    return result(http.post(f"/collections/c/points/{where}", json=body))


@pytest.mark.parametrize("name", [*RECOMMEND, *DISCOVER])
def test_over_http(http: httpx.Client, name: str) -> None:
    given = RECOMMEND.get(name) or DISCOVER[name]
    verb = "recommend" if name in RECOMMEND else "discover"
    more = {"filter": FILTER, "limit": 4, "with_payload": True, "params": None}
    wanted = post(http, "query", {"query": as_query(given), **more})["points"]
    assert len(wanted) == 4
    assert post(http, verb, {**given, **more}) == wanted
    top = {"top": 4, **{key: value for key, value in more.items() if key != "limit"}}
    batch = post(http, f"{verb}/batch", {"searches": [{**given, **more}, {**given, **top}]})
    assert batch == [wanted, wanted]
    if verb == "recommend":
        grouping = {"group_by": "tag", "group_size": 2, "limit": 2}
        groups = post(http, "query/groups", {"query": as_query(given), **grouping})
        assert post(http, "recommend/groups", {**given, **grouping}) == groups


def test_what_is_wrong_over_http(http: httpx.Client) -> None:
    def refused(where: str, body: Any, status: int = 400) -> str:
        return error(http.post(f"/collections/c/points/{where}", json=body), status)

    assert "missing field `limit`" in refused("recommend", {"positive": [1]})
    text = refused("recommend", {"positive": [1], "limit": 0}, 422)
    assert "recommend_request.limit: value 0 invalid, must be 1 or larger" in text
    assert refused("recommend", {"limit": 1}).startswith("Wrong input: positive: ")
    text = refused("recommend", {"positive": [777], "limit": 1}, 404)
    assert text == "Not found: No point with id 777 found"
    text = refused("recommend", {"positive": [1, -5], "limit": 1})
    assert text == "Wrong input: positive[1]: point id -5: expected 0 <= id < 2**64"
    text = refused("recommend", {"positive": [1], "negative": ["x"], "limit": 1})
    assert text.startswith('Wrong input: Can not recognize "x" as point id; negative[0]: ')
    text = refused("search", {"vector": -5, "limit": 1})
    assert text == "Wrong input: vector: point id -5: expected 0 <= id < 2**64"
    second = {"query": 1, "prefetch": {"query": "x"}}
    text = refused("query/batch", {"searches": [{"query": 1}, second]})
    place = "searches[1].prefetch.query: "
    assert text.startswith(f'Wrong input: Can not recognize "x" as point id; {place}')
    text = refused("discover", {"target": 1, "limit": 1, "positive": [1]})
    assert "unknown field `positive`" in text
    assert "[1].missing field `limit`" in refused(
        "discover/batch", {"searches": [{"target": 1, "limit": 1}, {"target": 1}]}
    )
    text = refused("search/matrix/pairs", {"sample": 1}, 422)
    assert "search_request.sample: value 1 invalid, must be 2 or larger" in text
    body = {"query": 1, "lookup_from": {"collection": "none"}}
    text = error(http.post("/collections/c/points/query", json=body), 404)
    assert text.startswith("Not found: ")


def test_matrices_over_http(http: httpx.Client) -> None:
    asked = {"sample": 100, "limit": 2, "filter": FILTER}
    pairs = post(http, "search/matrix/pairs", asked)["pairs"]
    assert len(pairs) == 80
    assert pairs[0].keys() == {"a", "b", "score"}
    matrix = post(http, "search/matrix/offsets", asked)
    assert matrix.keys() == {"offsets_row", "offsets_col", "scores", "ids"}
    ids = matrix["ids"]
    entries = zip(matrix["offsets_row"], matrix["offsets_col"], strict=True)
    assert [(ids[a], ids[b]) for a, b in entries] == [(each["a"], each["b"]) for each in pairs]
    assert len(post(http, "search/matrix/pairs", {})["pairs"]) == 30


def test_over_grpc(server: Server, http: httpx.Client) -> None:
    """Ids and vectors are in fields apart."""
    with grpc.insecure_channel(server.grpc) as channel:
        points = q.PointsStub(channel)
        one, two = q.PointId(num=1), q.PointId(num=2)
        common: Any = {"collection_name": "c", "limit": 4}
        asked = q.RecommendPoints(
            positive=[one], positive_vectors=[q.Vector(data=VECTOR)], negative=[two], **common
        )
        ids = {
            name: [
                each["id"]
                for each in post(http, "query", {"query": as_query(given), "limit": 4})["points"]
            ]
            for name, given in {**RECOMMEND, **DISCOVER}.items()
        }
        assert [each.id.num for each in points.Recommend(asked).result] == ids["average"]
        batch = q.RecommendBatchPoints(collection_name="c", recommend_points=[asked])
        [found] = points.RecommendBatch(batch).result
        assert [each.id.num for each in found.result] == ids["average"]
        asked.strategy = q.RecommendStrategy.BestScore
        assert [each.id.num for each in points.Recommend(asked).result] == ids["best score"]
        groups = q.RecommendPointGroups(positive=[one], group_by="tag", group_size=1, **common)
        assert len(points.RecommendGroups(groups).result.groups) == 3

        def example(given: Any) -> q.VectorExample:
            if isinstance(given, int):
                return q.VectorExample(id=q.PointId(num=given))
            return q.VectorExample(vector=q.Vector(data=given))

        pairs = [
            q.ContextExamplePair(positive=example(p["positive"]), negative=example(p["negative"]))
            for p in PAIRS
        ]
        near = q.DiscoverPoints(target=q.TargetVector(single=example(5)), context=pairs, **common)
        assert [each.id.num for each in points.Discover(near).result] == ids["target"]
        alone = q.DiscoverPoints(context=pairs, **common)
        several = q.DiscoverBatchPoints(collection_name="c", discover_points=[near, alone])
        found = points.DiscoverBatch(several).result
        assert [[each.id.num for each in some.result] for some in found] == [
            ids["target"],
            ids["context"],
        ]
        matrix = q.SearchMatrixPoints(collection_name="c", sample=100, limit=2)
        assert len(points.SearchMatrixPairs(matrix).result.pairs) == 120
        assert len(points.SearchMatrixOffsets(matrix).result.ids) == 60
