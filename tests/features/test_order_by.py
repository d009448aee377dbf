"""order_by: points in the order of a value of their payload, as Qdrant has it; and by chance."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import Counter
from datetime import date, datetime, timezone
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import qdrant_client
from qdrant_client import models as theirs

import vecdb.qdrant
from tests.cases import first_few
from tests.features.beside_local import FILTERS, TIMES, clients, drawn_filter
from tests.features.beside_local import both as both  # a fixture
from vecdb import AsyncVecDB, VecDB, models
from vecdb.errors import InvalidInputError

KEYS = ["n", "small", "when", "tag", "group", '"a b".c', "n[]", "n[0]", "when[]", "nowhere"]


def drawn(rng: Random) -> theirs.OrderBy:
    start: Any = rng.choice((None, None, 2, 0.5, -1, datetime(2024, 5, 31, 10), date(2024, 5, 31)))
    direction = rng.choice((None, theirs.Direction.ASC, theirs.Direction.DESC))
    return theirs.OrderBy(key=rng.choice(KEYS), direction=direction, start_from=start)


def sorted_by_id(found: list[Any], descending: bool) -> bool:
    """Whether hits of one value are in the order of their ids: numbers, then UUIDs."""

    def key(hit: Any) -> tuple[int, int]:
        return (1, UUID(hit.id).int) if isinstance(hit.id, str) else (0, hit.id)

    keys = [(hit.order_value, *key(hit)) for hit in found]
    return keys == sorted(keys, reverse=descending)


def compare(found: list[Any], expected: list[Any], limit: int, descending: bool) -> None:
    """The same values; of hits that are equally far in the order Qdrant has any."""
    assert [r.order_value for r in found] == [r.order_value for r in expected]
    assert sorted_by_id(found, descending)
    last = found[-1].order_value if len(found) == limit else None
    ids, wanted = (
        Counter((repr(r.order_value), r.id) for r in some if r.order_value != last)
        for some in (found, expected)
    )
    assert ids == wanted


@pytest.mark.parametrize("seed", first_few(15, range(60)))
def test_scroll_as_in_local_mode(both: tuple[VecDB, qdrant_client.QdrantClient], seed: int) -> None:
    ours, client = both
    rng = Random(seed)
    order, limit = drawn(rng), rng.choice((1, 3, 20, 1000))
    asked: dict[str, Any] = {"scroll_filter": drawn_filter(rng), "limit": limit, "order_by": order}
    expected, _ = client.scroll("c", **asked, with_vectors=True)
    found, following = ours.scroll("c", **asked, with_vectors=True)
    assert following is None
    compare(found, expected, limit, order.direction is theirs.Direction.DESC)
    stored = {record.id: record for record in client.retrieve("c", [r.id for r in found])}
    assert all(record.payload == stored[record.id].payload for record in found)
    assert all(len(record.vector) == 5 for record in found)


@pytest.mark.parametrize("seed", first_few(10, range(40)))
def test_queries_as_in_local_mode(
    both: tuple[VecDB, qdrant_client.QdrantClient], seed: int
) -> None:
    ours, client = both
    rng = Random(seed)
    order, limit, offset = drawn(rng), rng.choice((1, 3, 20, 1000)), rng.choice((None, 2, 30))
    asked: dict[str, Any] = {"query_filter": drawn_filter(rng)}
    query = theirs.OrderByQuery(order_by=rng.choice((order, order.key)))
    descending = query.order_by is order and order.direction is theirs.Direction.DESC
    expected = client.query_points("c", query, **asked, limit=limit, offset=offset).points
    found = ours.query_points("c", query, **asked, limit=limit, offset=offset).points
    assert [p.order_value for p in found] == [p.order_value for p in expected]
    assert {p.score for p in found} <= {1.0}
    assert sorted_by_id(found, descending)
    whole = ours.query_points("c", query, **asked, limit=10**6).points
    assert found == whole[offset or 0 :][:limit]
    compare(whole, client.query_points("c", query, **asked, limit=10**6).points, -1, descending)


def test_values_of_all_types() -> None:
    """Numbers and datetimes among each other, each value of an array once, and nothing else."""
    with VecDB() as db:
        db.create_collection("c")
        values = [3, 1.5, True, None, "x", [2, "x", 2.0, 2, [1]], {"a": 1}, "1970-01-01T00:00:01Z"]
        values += [float("nan"), [float("-inf"), 2**63], []]
        points = [{"id": n, "vector": {}, "payload": {"v": v}} for n, v in enumerate(values)]
        db.upsert("c", [*points, {"id": 99, "vector": {}}])
        found, _ = db.scroll("c", order_by="v", limit=100)
        expected = [(9, float("-inf")), (1, 1.5), (5, 2), (0, 3), (7, 1_000_000), (9, 2**63)]
        assert [(r.id, r.order_value) for r in found] == expected
        down, _ = db.scroll("c", order_by={"key": "v", "direction": "desc"}, limit=100)
        assert [(r.id, r.order_value) for r in down] == expected[::-1]


def test_integers_beyond_floats_are_told_apart() -> None:
    with VecDB() as db:
        db.create_collection("c")
        values = [2**60 + 1, 2**60, 2**60 + 2, float(2**60)]
        db.upsert("c", [{"id": n, "vector": {}, "payload": {"v": v}} for n, v in enumerate(values)])
        assert [r.id for r in db.scroll("c", order_by="v")[0]] == [1, 3, 0, 2]
        start = {"key": "v", "start_from": 2**60 + 1}
        assert [r.id for r in db.scroll("c", order_by=start)[0]] == [0, 2]


@pytest.mark.parametrize(
    "start",
    [datetime(2024, 5, 31, 10, tzinfo=timezone.utc), TIMES[0], np.datetime64(TIMES[0][:-1])],
)
def test_start_from_a_moment(start: Any) -> None:
    with VecDB() as db:
        db.create_collection("c")
        points = [{"id": n, "vector": {}, "payload": {"v": t}} for n, t in enumerate(TIMES)]
        db.upsert("c", points)
        order = models.OrderBy(key="v", start_from=start)
        assert [r.id for r in db.scroll("c", order_by=order)[0]] == [0, 1, 3, 5]
        order = models.OrderBy(key="v", start_from=start, direction=models.Direction.DESC)
        found = db.scroll("c", order_by=order, with_payload=["nothing"])[0]
        assert [r.id for r in found] == [1, 0, 2, 4, 6]
        assert found[0].order_value == 1_717_149_600_000_000
        assert found[0].payload == {}


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("every", [1, 5])  # rows that have a value: a column keeps few otherwise
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_a_moment_in_two_spellings_is_one_value(direction: str, every: int, indexed: bool) -> None:
    """A column gave a point twice whose array had 10:00 UTC in two time zones, and a page that
    came short for it."""
    with VecDB() as db:
        db.create_collection("c", optimizers_config={"max_optimization_threads": 0})
        points: list[Any] = [{"id": n, "vector": {}, "payload": {}} for n in range(1000)]
        for n in range(0, 1000, every):
            at = f"{n // 60:02}:{n % 60:02}"
            other = "2024-06-01" if direction == "asc" else "2024-05-01"  # which is read apart
            spelled = [f"2024-05-31 {hour}:{at}{zone}" for hour, zone in ((12, "+02"), (10, ".0"))]
            points[n]["payload"]["v"] = [f"{other} 07:{at}+02", *spelled]
        db.upsert("c", points)
        if indexed:
            db.create_payload_index("c", "v", "geo")  # any kind: a column has all values
        order = {"key": "v", "direction": direction}
        expected = list(range(0, 1000, every))[:: 1 if direction == "asc" else -1]
        for limit in (1, 2, 3, len(expected)):
            found = [r.id for r in db.scroll("c", order_by=order, limit=limit)[0]]
            assert found == expected[:limit]


def test_page_after_page_by_start_from() -> None:
    """As Qdrant's documentation does it: points of the last value are on the next page again."""
    with VecDB() as db:
        db.create_collection("c")
        points = [{"id": n, "vector": {}, "payload": {"v": n // 3}} for n in range(30)]
        db.upsert("c", points)
        seen: list[Any] = []
        start = 0
        while True:
            order = {"key": "v", "start_from": start}
            page = [r for r in db.scroll("c", order_by=order, limit=7)[0] if r.id not in seen]
            if not page:
                break
            seen += [r.id for r in page]
            start = page[-1].order_value  # type: ignore[assignment]
        assert seen == list(range(30))


def test_what_is_kept_is_bounded_by_the_page(tmp_path: Path) -> None:
    """It is a heap of entries, not a sorted list of all records."""
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c")
        text = "text " * 200
        for start in range(0, 20_000, 2000):
            numbers = range(start, start + 2000)
            points = [{"id": n, "vector": {}, "payload": {"v": -n, "text": text}} for n in numbers]
            db.upsert("c", points)
        db.flush("c")
        db.scroll("c", order_by="v", limit=5)
        tracemalloc.start()
        found, _ = db.scroll("c", order_by="v", limit=5)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert [r.id for r in found] == list(range(19_999, 19_994, -1))
    assert most < 4 << 20  # the payloads are 20 MB


def test_a_batch_answers_as_single_queries_do(
    both: tuple[VecDB, qdrant_client.QdrantClient],
) -> None:
    ours, _ = both
    order = {"order_by": {"key": "n", "direction": "desc"}}
    requests = [
        models.QueryRequest(query=models.OrderByQuery(order_by="small"), limit=4, offset=1),
        models.QueryRequest(query=[1.0, 0, 0, 0, 0], limit=4),
        models.QueryRequest(query=order, limit=50, filter=FILTERS[0]),  # type: ignore[arg-type]
        models.QueryRequest(query=None, limit=2),
    ]
    answers = ours.query_batch_points("c", requests)
    alone = [
        ours.query_points(
            "c", r.query, query_filter=r.filter, limit=r.limit, offset=r.offset, with_payload=False
        )
        for r in requests
    ]
    assert answers == alone
    assert [len(answer.points) for answer in answers][:2] == [4, 4]


def test_asynchronously(tmp_path: Path) -> None:
    order = models.OrderBy(key="v", direction=models.Direction.DESC)

    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            await db.create_collection("c")
            points = [{"id": n, "vector": {}, "payload": {"v": n}} for n in range(9)]
            await db.upsert("c", points)
            found, _ = await db.scroll("c", order_by=order, limit=2)
            assert [r.id for r in found] == [8, 7]
            response = await db.query_points("c", models.OrderByQuery(order_by=order), limit=2)
            assert [(p.id, p.order_value) for p in response.points] == [(8, 8), (7, 7)]
            sample = await db.query_points("c", models.SampleQuery(sample=models.Sample.RANDOM))
            assert len(sample.points) == 9

    asyncio.run(main())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order_by": 5}, "order_by: expected a string or OrderBy, got 5"),
        ({"order_by": {"direction": "asc"}}, "order_by: expected one of OrderBy (key)"),
        (
            {"order_by": {"key": "n", "direction": "up"}},
            "order_by.direction: expected one of 'asc'",
        ),
        ({"order_by": {"key": "n", "start_from": True}}, "order_by.start_from: expected"),
        ({"order_by": {"key": "n", "start_from": "x"}}, "order_by.start_from: expected a datetime"),
        ({"order_by": {"key": "n", "start_from": float("nan")}}, "order_by.start_from: expected"),
        ({"order_by": "a..b"}, "order_by.key: 'a..b' is not a path"),
        ({"order_by": ""}, "order_by.key: '' is not a path"),
        ({"order_by": "n", "offset": 3}, "offset: expected None with order_by"),
        ({"order_by": "n", "limit": 0}, "limit: expected an integer >= 1, got 0"),
    ],
)
def test_bad_input_of_scroll(
    both: tuple[VecDB, qdrant_client.QdrantClient], arguments: Any, message: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        both[0].scroll("c", **arguments)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"order_by": 5}, "query.order_by: expected a string or OrderBy, got 5"),
        ({"order_by": "n", "mmr": {}}, "query: unknown field 'mmr'"),
        ({"sample": "best"}, "query.sample: expected 'random', got 'best'"),
        (models.OrderByQuery(order_by="a["), "order_by.key: 'a[' is not a path"),
    ],
)
def test_bad_input_of_queries(
    both: tuple[VecDB, qdrant_client.QdrantClient], query: Any, message: str
) -> None:
    for ask in (
        lambda: both[0].query_points("c", query),
        lambda: both[0].query_batch_points("c", [{"query": query}]),
    ):
        with pytest.raises(InvalidInputError) as caught:
            ask()
        text = str(caught.value).removeprefix("requests[0]")
        assert text.lstrip(".: ").startswith(message)


def test_a_search_takes_no_order(both: tuple[VecDB, qdrant_client.QdrantClient]) -> None:
    with pytest.raises(InvalidInputError, match="query by nearest, got one by order_by"):
        both[0].search("c", models.OrderByQuery(order_by="n"))  # type: ignore[arg-type]


# -- by chance -------------------------------------------------------------------------------------

RANDOM = models.SampleQuery(sample=models.Sample.RANDOM)


def test_a_sample_has_different_points_that_match(
    both: tuple[VecDB, qdrant_client.QdrantClient],
) -> None:
    ours, _ = both
    for filter in (None, *FILTERS):
        wanted = {r.id for r in ours.scroll("c", filter, limit=10**6)[0]}
        for limit in (1, 10, 10**6):
            found = ours.query_points("c", RANDOM, query_filter=filter, limit=limit).points
            ids = {p.id for p in found}
            assert len(ids) == len(found) == min(limit, len(wanted))
            assert ids <= wanted
            assert {p.score for p in found} <= {1.0}


def test_an_offset_leaves_out_none_of_a_sample(
    both: tuple[VecDB, qdrant_client.QdrantClient],
) -> None:
    """So many fewer were returned, where Qdrant knows no first points by chance to leave out."""
    everything = len(both[0].scroll("c", limit=10**6)[0])
    for client, query in zip(both, (RANDOM, RANDOM_), strict=True):
        found = client.query_points("c", query, limit=everything, offset=5).points  # type: ignore[arg-type]
        assert len(found) == everything


def test_every_point_is_drawn(both: tuple[VecDB, qdrant_client.QdrantClient]) -> None:
    """In each place: the chance that this fails is one in 10**12."""
    ours, _ = both
    filter = {"must": [{"has_id": [r.id for r in ours.scroll("c", limit=4)[0]]}]}
    drawn = [ours.query_points("c", RANDOM, query_filter=filter).points for _ in range(120)]
    for place in range(4):
        assert len({points[place].id for points in drawn}) == 4
    request = models.QueryRequest(query={"sample": "random"}, limit=3)
    assert len(ours.query_batch_points("c", [request])[0].points) == 3


# -- by Qdrant's client ----------------------------------------------------------------------------


def test_qdrants_client_gets_its_own_objects() -> None:
    order = theirs.OrderBy(key="n", direction=theirs.Direction.DESC, start_from=3)
    query = theirs.OrderByQuery(order_by="when")
    with clients() as (ours, local):
        for client in (ours, local):
            assert {type(r) for r in client.scroll("c", order_by=order)[0]} == {theirs.Record}
        mine, wanted = (client.scroll("c", order_by=order, limit=30)[0] for client in (ours, local))
        compare(mine, wanted, 30, True)
        mine, wanted = (
            client.query_points("c", query, limit=60).points for client in (ours, local)
        )
        compare(mine, wanted, 60, False)
        assert {type(p) for p in mine} == {theirs.ScoredPoint}
        assert {p.score for p in mine} == {1.0}
        requests = [theirs.QueryRequest(query=query, limit=3), theirs.QueryRequest(query=RANDOM_)]
        first, second = ours.query_batch_points("c", requests)
        assert [p.order_value for p in first.points] == [p.order_value for p in mine[:3]]
        assert len({p.id for p in second.points}) == 10
        with pytest.raises(ValueError, match="offset"):
            ours.scroll("c", order_by="n", offset=3)


RANDOM_ = theirs.SampleQuery(sample=theirs.Sample.RANDOM)


def test_qdrants_client_awaited() -> None:
    async def main() -> None:
        client = vecdb.qdrant.AsyncQdrantClient(":memory:")
        await client.create_collection("c", vectors_config={})
        points = [theirs.PointStruct(id=n, vector={}, payload={"v": -n}) for n in range(9)]
        await client.upsert("c", points)
        found, following = await client.scroll("c", order_by=theirs.OrderBy(key="v"), limit=2)
        assert [(r.id, r.order_value) for r in found] == [(8, -8), (7, -7)]
        assert following is None
        assert len((await client.query_points("c", RANDOM_)).points) == 9
        await client.close()

    asyncio.run(main())
