"""Groups: what a search finds, by a value of the payload; as in Qdrant, and as sure as searches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import qdrant_client
from qdrant_client import models as theirs

import vecdb.qdrant
from tests.cases import first_few
from tests.features.beside_local import (
    DIM,
    FILTERS,
    clients,
    drawn_filter,
    fields,
    point_id,
)
from tests.features.beside_local import both as both  # a fixture
from vecdb import AsyncVecDB, VecDB, models
from vecdb.engine.read.values import Values
from vecdb.errors import InvalidInputError, NotFoundError

EXACT = models.SearchParams(exact=True)
KEYS = ["n", "small", "tag", "group", "tag[]", "deep.list[].k", '"a b".c', "when", "nowhere"]
Group = tuple[Any, list[tuple[Any, float]]]


def shown(result: Any) -> str:
    """The groups and their hits, without scores."""
    return repr([(g.id, [(h.id, h.payload) for h in g.hits]) for g in result.groups])


def scores_of(result: Any) -> list[float]:
    return [hit.score for group in result.groups for hit in group.hits]


@pytest.mark.parametrize("seed", first_few(15, range(60)))
def test_as_in_local_mode(both: tuple[VecDB, qdrant_client.QdrantClient], seed: int) -> None:
    ours, client = both
    rng = Random(seed)
    query: Any = np.random.default_rng(seed).standard_normal(DIM).tolist()
    if rng.random() < 0.3:
        query = ours.scroll("c", limit=9)[0][rng.randrange(9)].id
    asked: dict[str, Any] = {
        "group_by": rng.choice(KEYS),
        "query": query,
        "query_filter": drawn_filter(rng),
        "limit": rng.choice((1, 2, 4, 100)),
        "group_size": rng.choice((1, 2, 5, 300)),
        "score_threshold": rng.choice((None, None, 0.5, 2.0)),
        "with_payload": rng.choice((True, False, ["small", "group"])),
    }
    expected = client.query_points_groups("c", **asked)
    found = ours.query_points_groups("c", **asked)
    assert shown(found) == shown(expected)
    assert scores_of(found) == pytest.approx(scores_of(expected), abs=1e-4)
    assert shown(ours.query_points_groups("c", **asked, search_params=EXACT)) == shown(expected)
    if not isinstance(query, int | str):
        asked["query_vector"] = asked.pop("query")
        assert ours.search_groups("c", **asked) == found


@pytest.mark.parametrize("seed", first_few(6, range(20)))
def test_without_a_query_the_first_by_their_ids(
    both: tuple[VecDB, qdrant_client.QdrantClient], seed: int
) -> None:
    ours, client = both
    rng = Random(seed)
    asked: dict[str, Any] = {
        "group_by": rng.choice(KEYS),
        "query_filter": drawn_filter(rng),
        "limit": rng.choice((1, 3, 100)),
        "group_size": rng.choice((1, 4)),
    }
    expected = client.query_points_groups("c", **asked)
    found = ours.query_points_groups("c", **asked)
    ids = [(g.id, [h.id for h in g.hits]) for g in found.groups]
    assert repr(ids) == repr([(g.id, [h.id for h in g.hits]) for g in expected.groups])


def test_in_the_order_of_a_value_and_by_chance(
    both: tuple[VecDB, qdrant_client.QdrantClient],
) -> None:
    ours, _ = both
    order = {"order_by": {"key": "n", "direction": "desc"}}
    whole = ours.query_points("c", order, limit=10**6).points
    expected: dict[Any, list[Any]] = {}
    for point in whole:  # a point with two values counts for the first
        group = expected.setdefault(point.payload.get("group"), [])
        if point.id not in [p.id for p in group]:
            group.append(point)
    del expected[None]
    found = ours.query_points_groups("c", "group", order, limit=3, group_size=4).groups
    assert [g.id for g in found] == list(expected)[:3]
    for group in found:
        assert group.hits == expected[group.id][:4]
    sample = ours.query_points_groups("c", "group", {"sample": "random"}, group_size=2).groups
    assert {g.id for g in sample} == set(expected)
    assert all(len({h.id for h in g.hits}) == 2 for g in sample)


def test_chosen_points(both: tuple[VecDB, qdrant_client.QdrantClient]) -> None:
    """Of as many candidates as MMR was given, or as make the groups full."""
    ours, _ = both
    query = {"nearest": [1.0, 0, 0, 0, 0], "mmr": {"diversity": 0.5, "candidates_limit": 30}}
    chosen = ours.query_points("c", query, limit=30).points
    found = ours.query_points_groups("c", "group", query, limit=2, group_size=5).groups
    in_order = [p for p in chosen if "group" in p.payload]
    assert [g.id for g in found] == list(dict.fromkeys(p.payload["group"] for p in in_order))[:2]
    for group in found:
        assert group.hits == [p for p in in_order if p.payload["group"] == group.id][:5]
    few = {"nearest": [1.0, 0, 0, 0, 0], "mmr": {}}
    hits = [h for g in ours.query_points_groups("c", "group", few, limit=2).groups for h in g.hits]
    assert {h.id for h in hits} <= {p.id for p in ours.query_points("c", few, limit=6).points}


# -- what is looked up -----------------------------------------------------------------------------


def test_with_lookup_as_in_local_mode(both: tuple[VecDB, qdrant_client.QdrantClient]) -> None:
    ours, client = both
    uuid = point_id(3)
    for db in (ours, client):
        if db.collection_exists("d"):
            db.delete_collection("d")
            db.delete_collection("e")
        params = theirs.VectorParams(size=2, distance=theirs.Distance.DOT)
        db.create_collection("d", vectors_config=params)
        db.create_collection("e", vectors_config=params)
        documents: list[Any] = [
            theirs.PointStruct(id=5, vector=[1, 2], payload={"title": "five", "x": 1}),
            theirs.PointStruct(id=uuid, vector=[3, 4], payload={"title": "uuid"}),
        ]
        db.upsert("d", documents)
        groups: list[Any] = [5, 6, -1, uuid, "no id", str(uuid).upper(), [5, uuid]]
        points: list[Any] = [
            theirs.PointStruct(id=n, vector=[1.0, -n], payload={"of": group})
            for n, group in enumerate(groups)
        ]
        db.upsert("e", points)
    lookups: list[Any] = [
        "d",
        theirs.WithLookup(collection="d"),
        theirs.WithLookup(collection="d", with_payload=False, with_vectors=True),
        theirs.WithLookup(collection="d", with_payload=["title"]),
    ]
    for lookup in lookups:
        asked: dict[str, Any] = {"group_by": "of", "query": [1.0, 1.0], "with_lookup": lookup}
        expected = client.query_points_groups("e", **asked)
        found = ours.query_points_groups("e", **asked)
        assert shown(found) == shown(expected)
        for mine, other in zip(found.groups, expected.groups, strict=True):
            if isinstance(mine.id, str) and mine.id.isupper():
                continue  # another spelling of an id: local mode does not find it
            assert (mine.lookup is None) == (other.lookup is None)
            if mine.lookup is not None and other.lookup is not None:
                dump = other.lookup.model_dump(exclude={"shard_key"})
                assert mine.lookup.model_dump() == dump
    ours.update_collection_aliases(
        [{"create_alias": {"collection_name": "d", "alias_name": "documents"}}]
    )
    found = ours.query_points_groups("e", "of", [1.0, 1.0], with_lookup="documents")
    titles = {
        g.id: g.lookup.payload["title"] for g in found.groups if g.lookup and g.lookup.payload
    }
    assert titles == {5: "five", uuid: "uuid", str(uuid).upper(): "uuid"}


# -- deeper than the first hits --------------------------------------------------------------------

COUNT, SIDE = 4000, 24
_rng = np.random.default_rng(11)
TOWARDS = np.eye(SIDE)[0]
CROWDED = _rng.standard_normal((COUNT, SIDE)) + 3 * TOWARDS * (np.arange(COUNT) < 3600)[:, None]
"""Those below 3600 are near ``TOWARDS``, and all of group 0."""
OWNERS = np.where(np.arange(COUNT) < 3600, 0, np.arange(COUNT) % 37)
QUANTIZATIONS: dict[str, Any] = {
    "none": None,
    "scalar": {"scalar": {"type": "int8"}},
    "binary": {"binary": {}},
}


def true_groups(distance: str, query: Any, limit: int, size: int, among: Any) -> list[Group]:
    """By numpy, in float64."""
    rows = CROWDED.astype(np.float32).astype(np.float64)
    if distance == "Cosine":
        scores = rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
        order = np.argsort(-scores)
    else:
        scores = np.linalg.norm(rows - query, axis=1)
        order = np.argsort(scores)
    groups: dict[int, list[tuple[Any, float]]] = {}
    for number in order[among[order]].tolist():
        group = groups.setdefault(int(OWNERS[number]), [])
        if len(group) < size:
            group.append((number, float(scores[number])))
    return list(groups.items())[:limit]


@pytest.fixture(scope="module", params=QUANTIZATIONS.values(), ids=QUANTIZATIONS.keys())
def crowded(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VecDB]:
    """Under both metrics: a segment with an index and perhaps codes, and one in memory."""
    with VecDB(tmp_path_factory.mktemp("crowded") / "db") as db:
        for distance in ("Cosine", "Euclid"):
            db.create_collection(
                distance,
                {"size": SIDE, "distance": distance},
                quantization_config=request.param,
                optimizers_config={"indexing_threshold": 100},
            )
            payloads = [{"owner": int(owner), "odd": n % 2} for n, owner in enumerate(OWNERS)]
            for first, last in ((0, 3900), (3900, COUNT)):
                batch = models.Batch(
                    ids=range(first, last),
                    vectors=CROWDED[first:last].astype(np.float32),
                    payloads=payloads[first:last],
                )
                db.upsert(distance, batch)
                if first == 0:
                    db.flush(distance)
                    assert db.wait_for_optimizer(distance)
            segments = db.get_collection(distance).segments
            assert [s.vectors[""].index is not None for s in segments] == [True, False]
        yield db


@pytest.mark.parametrize("distance", ["Cosine", "Euclid"])
@pytest.mark.parametrize("filter", [None, {"must": [{"key": "odd", "match": {"value": 1}}]}])
@pytest.mark.parametrize(("limit", "size"), [(1, 3), (5, 1), (8, 4), (100, 2), (3, 400)])
def test_groups_beyond_a_crowd_are_found_and_filled(
    crowded: VecDB, distance: str, filter: Any, limit: int, size: int
) -> None:
    """The first 3600 hits are all of one group."""
    among = np.ones(COUNT, dtype=bool) if filter is None else np.arange(COUNT) % 2 == 1
    query = 4 * TOWARDS + 0.1
    expected = true_groups(distance, query, limit, size, among)
    arguments = (query, None, filter)
    found = crowded.query_points_groups(
        distance, "owner", *arguments, EXACT, limit=limit, group_size=size
    ).groups
    assert [(g.id, len(g.hits)) for g in found] == [(owner, len(hits)) for owner, hits in expected]
    assert all(OWNERS[h.id] == g.id for g in found for h in g.hits)  # type: ignore[index]
    assert all(len({h.id for h in g.hits}) == len(g.hits) for g in found)
    scores = [score for _, hits in expected for _, score in hits]
    assert [h.score for g in found for h in g.hits] == pytest.approx(scores, abs=1e-4)
    # What is asked for by default may miss a hit, and never one of a group that has few.
    usual = crowded.query_points_groups(distance, "owner", *arguments, limit=limit, group_size=size)
    assert len(usual.groups) == len(expected)
    sizes = {owner: int((among & (owner == OWNERS)).sum()) for owner in set(OWNERS.tolist())}
    for group in usual.groups:
        assert len(group.hits) == min(size, sizes[group.id])  # type: ignore[index]
        assert {int(OWNERS[h.id]) for h in group.hits} == {group.id}  # type: ignore[index]
        ordered = sorted((h.score for h in group.hits), reverse=distance == "Cosine")
        assert [h.score for h in group.hits] == ordered
    wanted = {number for _, hits in expected for number, _ in hits}
    given = {h.id for g in usual.groups for h in g.hits}
    assert len(wanted & given) >= 0.9 * len(wanted)


def test_a_threshold_ends_the_groups(crowded: VecDB) -> None:
    query = 4 * TOWARDS
    every = np.ones(COUNT, dtype=bool)
    expected = true_groups("Euclid", query, 100, 2, every)
    best = sorted(hits[0][1] for _, hits in expected)
    threshold = (best[4] + best[5]) / 2
    found = crowded.query_points_groups(
        "Euclid", "owner", query, None, None, EXACT, 100, 2, score_threshold=threshold
    ).groups
    assert [g.id for g in found] == [owner for owner, hits in expected if hits[0][1] <= threshold]
    assert len(found) == 5
    assert all(h.score <= threshold for g in found for h in g.hits)


def test_a_point_that_is_the_query_is_in_no_group(crowded: VecDB) -> None:
    found = crowded.query_points_groups("Cosine", "owner", 3999, limit=40, group_size=200).groups
    assert 3999 not in {h.id for g in found for h in g.hits}
    [own] = [g for g in found if g.id == OWNERS[3999]]
    assert len(own.hits) == np.count_nonzero(OWNERS == 3999 % 37) - 1


def test_points_of_several_groups_are_in_each(tmp_path: Path) -> None:
    """Also where a group is found by its second member's other group."""
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 1, "distance": "Dot"})
        payloads = [{"g": "big"} for _ in range(500)]
        payloads += [
            {"g": ["big", "a"]},
            {"g": ["b", "a", "b"]},
            {"g": ["b", 2.5]},
            {"g": True},
            {},
        ]
        points = [
            {"id": n, "vector": [float(-n)], "payload": payload}
            for n, payload in enumerate(payloads)
        ]
        db.upsert("c", points)
        found = db.query_points_groups("c", "g", [1.0], limit=3, group_size=2).groups
        ids = {g.id: [h.id for h in g.hits] for g in found}
        assert ids == {"big": [0, 1], "a": [500, 501], "b": [501]}
        assert list(ids) == ["big", "a", "b"]


def test_groups_by_a_field_with_an_index_are_the_same_and_read_few_payloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which rows are in which group is read off the column; what it has not, off the payload."""
    rows = 2500
    others: list[Any] = [2.5, True, None, [], {"a": 1}, [[3]], 2**63 + 9, "long " * 60]
    others += [["a", 2.5], ["a", None], ["a", "b", "a", 7], [7, 2**63 + 9], [7, {}], "7"]

    def payload(n: int) -> dict[str, Any]:
        if n < rows - 600:
            return {"g": "crowd"}
        return {} if n % 50 == 0 else {"g": others[n % 40] if n % 40 < len(others) else n % 23}

    read: list[int] = []
    of_payloads = Values.read

    def note(self: Values, segment_view: Any, found: Any) -> Any:
        read.append(len(found))
        return of_payloads(self, segment_view, found)

    monkeypatch.setattr(Values, "read", note)
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 1, "distance": "Dot"})
        for first, last in ((0, 1000), (1000, 2200), (2200, rows)):
            points = [
                {"id": n, "vector": [float(-n)], "payload": payload(n)} for n in range(first, last)
            ]
            db.upsert("c", points)
            if last < rows:
                db.flush("c")
        db.set_payload("c", {"g": "edited"}, list(range(0, rows, 19)))
        db.delete("c", list(range(5, rows, 31)))
        odd = {"must": [{"has_id": list(range(1, rows, 2))}]}

        def ask() -> list[Any]:
            return [
                [
                    (group.id, [(hit.id, hit.score) for hit in group.hits])
                    for group in db.query_points_groups(
                        "c", "g", [1.0], None, filter, EXACT, limit, size, with_payload=False
                    ).groups
                ]
                for filter in (None, odd)
                for limit, size in ((3, 2), (10, 1), (100, 100))
            ]

        before, of_all = ask(), sum(read)
        assert len(before[2]) > 25
        read.clear()
        db.create_payload_index("c", "g", "keyword")
        assert ask() == before
        assert sum(read) < 0.7 * of_all


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group_by": 5}, "group_by: expected a path in the payload, got 5"),
        ({"group_by": "a..b"}, "group_by: 'a..b' is not a path"),
        ({"limit": 0}, "limit: expected an integer >= 1, got 0"),
        ({"group_size": 0}, "group_size: expected an integer >= 1, got 0"),
        ({"group_size": True}, "group_size: expected an integer >= 1, got True"),
        ({"group_size": None}, "group_size: expected an integer >= 1, got None"),
        ({"limit": 2**20, "group_size": 2**20}, "limit x group_size: expected at most"),
        ({"with_lookup": 5}, "with_lookup: expected a string or WithLookup, got 5"),
        ({"with_lookup": {"with_payload": True}}, "with_lookup: expected one of WithLookup"),
        ({"query_filter": {"must": 3}}, "query_filter.must: expected"),
        ({"query": [1.0]}, "query vector: expected"),
        ({"prefetch": [{"query": [1.0]}]}, "prefetch[0].query vector: expected"),
    ],
)
def test_bad_input(
    both: tuple[VecDB, qdrant_client.QdrantClient], arguments: Any, message: str
) -> None:
    given: dict[str, Any] = {"group_by": "group", "query": [1.0] * DIM} | arguments
    with pytest.raises(InvalidInputError) as caught:
        both[0].query_points_groups("c", **given)
    assert str(caught.value).startswith(message)


def test_lookups_in_no_collection_and_for_no_vector(
    both: tuple[VecDB, qdrant_client.QdrantClient],
) -> None:
    ours, _ = both
    for filter in (None, FILTERS[4]):  # also if there is nothing to look up
        with pytest.raises(NotFoundError, match="nowhere"):
            ours.query_points_groups("c", "group", query_filter=filter, with_lookup="nowhere")
        lookup = models.WithLookup(collection="c", with_vectors=["b"])
        with pytest.raises((InvalidInputError, NotFoundError), match="'b'"):
            ours.query_points_groups("c", "group", query_filter=filter, with_lookup=lookup)


def test_search_groups_takes_what_a_search_takes(
    both: tuple[VecDB, qdrant_client.QdrantClient],
) -> None:
    ours, _ = both
    named = ours.search_groups("c", ("", [1.0] * DIM), "group", group_size=2)
    assert named == ours.search_groups("c", [1.0] * DIM, "group", group_size=2)
    assert all(len(group.hits) == 2 for group in named.groups)
    for query in (None, {"order_by": "n"}, models.SampleQuery(sample=models.Sample.RANDOM)):
        with pytest.raises(InvalidInputError, match=r"^query"):
            ours.search_groups("c", query, "group")  # type: ignore[arg-type]


def test_asynchronously(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            await db.create_collection("c", {"size": 2, "distance": "Dot"})
            points = [{"id": n, "vector": [1.0, n], "payload": {"g": n % 3}} for n in range(9)]
            await db.upsert("c", points)
            found = await db.query_points_groups("c", "g", [0.0, 1.0], limit=2, group_size=2)
            ids = [(g.id, [h.id for h in g.hits]) for g in found.groups]
            assert ids == [(2, [8, 5]), (1, [7, 4])]
            again = await db.search_groups("c", [0.0, 1.0], "g", limit=2, with_lookup="c")
            assert [(g.id, g.lookup.id) for g in again.groups if g.lookup] == [(2, 2), (1, 1)]

    asyncio.run(main())


def test_qdrants_client_gets_its_own_objects() -> None:
    asked: dict[str, Any] = {"query": [1.0, 2.0, 0.0, 0.5, 0.3], "limit": 20, "with_lookup": "c"}
    with clients() as (ours, local):
        for key in KEYS:
            found, expected = (
                client.query_points_groups("c", group_by=key, **asked) for client in (ours, local)
            )
            assert repr(fields(found)) == repr(fields(expected))
            assert scores_of(found) == pytest.approx(scores_of(expected), abs=1e-4)
        found = ours.search_groups("c", asked["query"], "small", limit=2, with_vectors=True)
        assert type(found) is theirs.GroupsResult
        assert all(len(hit.vector) == DIM for group in found.groups for hit in group.hits)
        with pytest.raises(ValueError, match="nowhere"):
            ours.query_points_groups("c", "n", with_lookup="nowhere")


def test_qdrants_client_awaited() -> None:
    async def main() -> None:
        client = vecdb.qdrant.AsyncQdrantClient(":memory:")
        params = theirs.VectorParams(size=2, distance=theirs.Distance.DOT)
        await client.create_collection("c", vectors_config=params)
        points = [theirs.PointStruct(id=n, vector=[1.0, n], payload={"g": n % 3}) for n in range(9)]
        await client.upsert("c", points)
        found = await client.query_points_groups("c", "g", query=[0.0, 1.0], limit=2)
        assert [(g.id, [h.id for h in g.hits]) for g in found.groups] == [
            (2, [8, 5, 2]),
            (1, [7, 4, 1]),
        ]
        again = await client.search_groups("c", query_vector=[0.0, 1.0], group_by="g", limit=1)
        assert [h.id for h in again.groups[0].hits] == [8]
        await client.close()

    asyncio.run(main())
