"""``vecdb.qdrant`` answers the same calls as Qdrant's own client does in local mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import qdrant_client
from qdrant_client import models
from qdrant_pair import PAYLOADS, ROWS, filled, plain

from vecdb.qdrant import QdrantClient

ODD = models.Filter(
    must=[models.FieldCondition(key="tag", match=models.MatchValue(value="b"))],
    must_not=[models.FieldCondition(key="n", range=models.Range(lt=9.0))],
)


@pytest.fixture
def both() -> Iterator[tuple[qdrant_client.QdrantClient, QdrantClient]]:
    theirs, ours = qdrant_client.QdrantClient(":memory:"), QdrantClient(":memory:")
    yield filled(theirs), filled(ours)  # type: ignore[misc]
    theirs.close()
    ours.close()


Q = ROWS[3].tolist()
CALLS: dict[str, Callable[[qdrant_client.QdrantClient], Any]] = {
    "query": lambda c: c.query_points("one", query=Q, limit=5),
    "query of an array": lambda c: c.query_points("one", query=ROWS[3], limit=5),
    "query by position": lambda c: c.query_points("two", Q, "a"),
    "query by id": lambda c: c.query_points("one", query=5, limit=4),
    "query with a filter": lambda c: c.query_points("one", query=Q, query_filter=ODD),
    "query without payload": lambda c: c.query_points("one", query=Q, with_payload=False),
    "query with some payload": lambda c: c.query_points("one", query=Q, with_payload=["n"]),
    "query with but some payload": lambda c: c.query_points(
        "one", query=Q, with_payload=models.PayloadSelectorExclude(exclude=["deep"])
    ),
    "query with vectors": lambda c: c.query_points("one", query=Q, with_vectors=True),
    "query with one of the vectors": lambda c: c.query_points(
        "two", query=Q, using="b", with_vectors=["a"]
    ),
    "query with an offset": lambda c: c.query_points("one", query=Q, limit=3, offset=2),
    "query with a threshold": lambda c: c.query_points("one", query=Q, score_threshold=0.3),
    "query in an order": lambda c: c.query_points(
        "one", query=models.OrderByQuery(order_by="n"), limit=7, offset=2, with_vectors=True
    ),
    "scroll in an order": lambda c: c.scroll(
        "one", order_by=models.OrderBy(key="n", direction=models.Direction.DESC, start_from=31)
    ),
    "facet": lambda c: c.facet("one", key="tag", facet_filter=ODD),
    "groups": lambda c: c.query_points_groups(
        "one", group_by="tag", query=Q, group_size=4, with_lookup="two", with_vectors=True
    ),
    "query of a nearest": lambda c: c.query_points("one", query=models.NearestQuery(nearest=Q)),
    "query of various": lambda c: c.query_points(
        "one",
        query=models.NearestQuery(nearest=Q, mmr=models.Mmr(diversity=0.4, candidates_limit=30)),
        query_filter=ODD,
        limit=4,
        offset=1,
        with_vectors=True,
    ),
    "query of various by id": lambda c: c.query_points(
        "two", query=models.NearestQuery(nearest=4, mmr=models.Mmr()), using="b", limit=6
    ),
    "query with Nones": lambda c: c.query_points(
        "one",
        query=Q,
        using=None,
        prefetch=None,
        query_filter=None,
        search_params=None,
        offset=None,
        score_threshold=None,
        lookup_from=None,
        consistency=None,
        shard_key_selector=None,
        timeout=None,
    ),
    "query with no prefetch": lambda c: c.query_points("one", query=Q, prefetch=[], timeout=3),
    "query of a shard": lambda c: c.query_points("one", query=Q, shard_key_selector="a"),
    "queries": lambda c: c.query_batch_points(
        "one",
        requests=[
            models.QueryRequest(query=Q, limit=3, with_payload=True),
            models.QueryRequest(query=7, filter=ODD, with_vector=True),
            models.QueryRequest(
                query=models.NearestQuery(nearest=Q, mmr=models.Mmr(diversity=0.3))
            ),
        ],
        consistency=None,
    ),
    "scroll": lambda c: c.scroll("one", limit=7),
    "scroll on": lambda c: c.scroll("one", limit=7, offset=50, with_vectors=True),
    "scroll with a filter": lambda c: c.scroll("one", scroll_filter=ODD, limit=99),
    "scroll without anything": lambda c: c.scroll("two", with_payload=False, with_vectors=False),
    "retrieve": lambda c: c.retrieve("one", ids=[3, 1, 99]),
    "retrieve named vectors": lambda c: c.retrieve("two", [0, 1], with_vectors=True),
    "count": lambda c: c.count("one", count_filter=ODD, exact=True),
    "exists": lambda c: (c.collection_exists("one"), c.collection_exists("three")),
    "delete a collection": lambda c: (c.delete_collection("one"), c.collection_exists("one")),
    "upsert": lambda c: (
        c.upsert("one", [models.PointStruct(id=1, vector=Q, payload={"x": 1})], wait=True),
        c.retrieve("one", [1], with_vectors=True),
    ),
    "upsert a UUID": lambda c: (
        c.upsert("one", [models.PointStruct(id="0" * 31 + "a", vector=Q)], ordering="weak"),
        c.count("one"),
    ),
    "delete ids": lambda c: (
        c.delete("one", points_selector=models.PointIdsList(points=[1, 2])),
        c.delete("one", [3, 1000]),
        c.count("one"),
    ),
    "delete by a filter": lambda c: (
        c.delete("one", models.FilterSelector(filter=ODD)),
        c.delete("two", ODD),
        c.count("one"),
        c.count("two"),
    ),
    "set payload": lambda c: (
        c.set_payload("one", payload={"new": 1}, points=[1, 2], key=None),
        c.set_payload("one", payload={"new": 1}, points=ODD, key="deep"),
        c.scroll("one", limit=99),
    ),
    "overwrite payload": lambda c: (
        c.overwrite_payload("one", payload={"new": 1}, points=[1, 2]),
        c.retrieve("one", [1, 2, 3]),
    ),
    "delete and clear payload": lambda c: (
        c.delete_payload("one", keys=["tag", "deep"], points=[1, 2]),
        c.clear_payload("one", points_selector=[3]),
        c.retrieve("one", [1, 2, 3]),
    ),
    "change vectors": lambda c: (
        c.update_vectors("two", points=[models.PointVectors(id=1, vector={"a": Q})]),
        c.delete_vectors("two", vectors=["b"], points=[2]),
        c.retrieve("two", [1, 2], with_vectors=True),
    ),
    "delete the only vector": lambda c: (  # that was None, where {} is expected
        c.delete_vectors("one", vectors=[""], points=[2]),
        c.retrieve("one", [1, 2], with_vectors=True),
        c.retrieve("one", [2]),
    ),
    "upload a collection": lambda c: (
        c.upload_collection(
            "one", vectors=ROWS[:9], payload=PAYLOADS[:9], ids=range(100, 109), parallel=1
        ),
        c.retrieve("one", ids=list(range(100, 109)), with_vectors=True),
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_call_is_answered_as_in_local_mode(
    both: tuple[qdrant_client.QdrantClient, QdrantClient],
    call: Callable[[qdrant_client.QdrantClient], Any],
) -> None:
    theirs, ours = both
    assert plain(call(ours)) == plain(call(theirs))


def test_the_configuration_has_what_programs_read(
    both: tuple[qdrant_client.QdrantClient, QdrantClient],
) -> None:
    for client in both:
        for name in ("one", "two"):
            info = client.get_collection(name)
            assert type(info) is models.CollectionInfo
            assert info.status == models.CollectionStatus.GREEN
            assert info.points_count == 60
            assert info.config.params.sparse_vectors is None
            assert info.config.params.shard_number in (1, None)
            assert info.payload_schema == {}
            assert info.model_dump()["config"]["params"]["vectors"]
        one = client.get_collection("one").config.params.vectors
        assert isinstance(one, models.VectorParams)
        assert one == models.VectorParams(size=8, distance=models.Distance.COSINE)
        two = client.get_collection("two").config.params.vectors
        assert isinstance(two, dict)
        assert two["b"].distance is models.Distance.EUCLID
        names = [each.name for each in client.get_collections().collections]
        assert sorted(names) == ["one", "two"]


def test_local_mode_is_copied_to_vecdb_and_back(
    both: tuple[qdrant_client.QdrantClient, QdrantClient],
) -> None:
    theirs, _ = both
    with QdrantClient(":memory:") as ours:
        theirs.migrate(ours)
        back = qdrant_client.QdrantClient(":memory:")
        ours.migrate(back)
        for name in ("one", "two"):
            assert plain(back.scroll(name, limit=99, with_vectors=True)) == plain(
                theirs.scroll(name, limit=99, with_vectors=True)
            )
        back.close()
