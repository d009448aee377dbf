"""Groups of what prefetches find: as many, and as full, as in Qdrant."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import qdrant_client

from tests.cases import first_few
from tests.features.test_prefetch import EXACT, FILTERS, a_vector, as_theirs, same
from tests.features.test_prefetch import both as both  # a fixture
from vecdb import VecDB, models

ALL = 300
"""More than there are groups, or points in one."""
RANKS: list[dict[str, Any]] = [{"query": {"fusion": "rrf"}}, {"query": {"fusion": "dbsf"}}]
OWN: list[dict[str, Any]] = [
    {"query": {"formula": {"sum": ["$score", {"mult": [0.01, "n"]}]}}},
    {"query": [0.3, -0.5, 1.0], "using": "b"},
    {"query": {"recommend": {"positive": [1, 2], "strategy": "sum_scores"}}, "using": "b"},
    {"query": {"order_by": {"key": "n", "direction": "desc"}}},
]
"""A point has the same score there, whatever else is found."""
KEYS = ("tag", "n", "one")


def few(rng: Random, name: str) -> dict[str, Any]:
    """A prefetch that finds a few points."""
    return {"query": a_vector(rng, name), "using": name, "limit": rng.choice((1, 3, 10))}


def asked(rng: Random, query: dict[str, Any]) -> dict[str, Any]:
    """A query of one prefetch, of two, or of what was fused of two."""
    if query in RANKS:
        prefetch: Any = [few(rng, "a"), few(rng, "b")]
    else:
        prefetch = few(rng, "a")
        if "formula" not in query["query"] and rng.random() < 0.4:
            inner = [prefetch, few(rng, "b")]
            prefetch = {"prefetch": inner, "query": {"fusion": "rrf"}, "limit": 4}
    return query | {
        "prefetch": prefetch,
        "query_filter": rng.choice((None, *FILTERS)),
        "with_payload": ["n"],
        "search_params": EXACT,
    }


def groups_of(db: Any, key: str, size: int, request: dict[str, Any]) -> list[Any]:
    if not isinstance(db, VecDB):
        request = {k: v for k, v in as_theirs(request | {"offset": None}).items() if k != "offset"}
    groups: list[Any] = db.query_points_groups("c", key, group_size=size, **request).groups
    return groups


@pytest.mark.parametrize("seed", first_few(12, range(60)))
@pytest.mark.parametrize("query", RANKS + OWN, ids=lambda query: str(query["query"])[:20])
def test_as_many_and_as_full_as_in_local_mode(
    both: tuple[VecDB, qdrant_client.QdrantClient], query: dict[str, Any], seed: int
) -> None:
    """Groups were of the first points that prefetches found, and no others: too few, or with too
    few hits."""
    ours, client = both
    rng = Random(seed)
    request = asked(rng, query) | {"limit": rng.choice((3, ALL))}
    key, size = rng.choice(KEYS), rng.choice((1, 4, ALL))
    found, expected = groups_of(ours, key, size, request), groups_of(client, key, size, request)
    assert len(found) == len(expected)
    every = expected if request["limit"] == ALL else groups_of(client, key, size, whole(request))
    fullest = {group.id: len(group.hits) for group in every}
    assert all(len(group.hits) == fullest[group.id] for group in found)
    if request["limit"] == size == ALL:  # all points there are
        assert {group.id: ids_of(group) for group in found} == {
            group.id: ids_of(group) for group in expected
        }
        if query in OWN:
            assert [group.id for group in found] == [group.id for group in expected]
            for mine, other in zip(found, expected, strict=True):
                assert same(mine.hits, other.hits)


def whole(request: dict[str, Any]) -> dict[str, Any]:
    return request | {"limit": ALL}


def ids_of(group: Any) -> set[Any]:
    return {hit.id for hit in group.hits}


@pytest.mark.parametrize("query", RANKS, ids=str)
def test_scores_of_all_rounds_compare(both: tuple[VecDB, Any], query: dict[str, Any]) -> None:
    """What was found later is ranked behind what was found first, in the same list."""
    ours, _ = both
    request = asked(Random(5), query) | {"limit": ALL, "query_filter": None}
    first = ours.query_points("c", **request).points
    groups = groups_of(ours, "n", 1, request)  # each point is a group
    assert len(groups) > len(first)
    scores = [group.hits[0].score for group in groups]
    assert scores == sorted(scores, reverse=True)
    if query == RANKS[0]:
        assert [group.hits[0].id for group in groups[: len(first)]] == [hit.id for hit in first]


def test_what_mmr_chose_is_left_as_it_is(both: tuple[VecDB, Any]) -> None:
    ours, _ = both
    mmr = {"nearest": [1.0, 0.0, 0.0], "mmr": {"diversity": 0.5, "candidates_limit": 20}}
    prefetch = {"query": mmr, "using": "b", "limit": 6}
    chosen = {p.id for p in ours.query_points("c", mmr, using="b", limit=6).points}
    for query in (RANKS[0], OWN[1], {"query": mmr, "using": "b"}):
        request = query | {"prefetch": prefetch, "limit": 9, "search_params": EXACT}
        found = groups_of(ours, "tag", 1, request)
        assert {hit.id for group in found for hit in group.hits} <= chosen


def test_what_is_found_first_may_be_no_hit(tmp_path: Path) -> None:
    """The first of other groups, and of a group, may lack what the query asks for: its vector, or a
    score. Those behind them do not."""
    with VecDB(tmp_path / "db") as db:
        db.create_collection(
            "c", {"a": {"size": 1, "distance": "Dot"}, "b": {"size": 1, "distance": "Dot"}}
        )
        for number in range(400):
            vector = {"a": [-number], "b": [number]}
            if number < 300 and number % 100:  # the nearest by the one have not the other
                del vector["b"]
            payload = {"g": number // 100, "h": number // 10}
            db.upsert("c", [{"id": number, "vector": vector, "payload": payload}])
        few = {"query": [1], "using": "a", "limit": 1}
        found = groups_of(db, "g", 3, {"query": [1], "using": "b", "prefetch": few})
        assert [group.id for group in found] == [3, 2, 1, 0]
        assert [[hit.id for hit in group.hits] for group in found[1:]] == [[200], [100], [0]]
        assert len(found[0].hits) == 3
        above = {"query": [1], "using": "b", "prefetch": few, "score_threshold": 350}
        found = groups_of(db, "g", 3, above)
        assert [(group.id, len(group.hits)) for group in found] == [(3, 3)]
        found = groups_of(db, "h", 2, above | {"limit": 9})
        assert {group.id: len(group.hits) for group in found} == dict.fromkeys(range(35, 40), 2)


def test_where_no_point_is_there_is_no_group() -> None:
    with VecDB(":memory:") as db:
        db.create_collection("c", {"size": 1, "distance": "Dot"})
        request = {"query": [1], "prefetch": {"query": [1]}}
        assert groups_of(db, "g", 3, request) == []
        db.upsert("c", [{"id": 1, "vector": [1], "payload": {"g": 1}}])
        db.delete("c", [1])
        assert groups_of(db, "g", 3, request) == []


SIDE, COUNT = 12, 3000


def test_beyond_a_crowd_by_an_index_and_codes(tmp_path: Path) -> None:
    """All that prefetches find first is of one group."""
    rng = np.random.default_rng(3)
    crowd = np.arange(COUNT) < 2700
    rows = rng.standard_normal((COUNT, SIDE)) + 4 * np.eye(SIDE)[0] * crowd[:, None]
    owners = np.where(crowd, 0, np.arange(COUNT) % 23)
    with VecDB(tmp_path / "db") as db:
        db.create_collection(
            "c",
            {"size": SIDE, "distance": "Cosine"},
            quantization_config={"scalar": {"type": "int8"}},
            optimizers_config={"indexing_threshold": 100},
        )
        for first, last in ((0, 2900), (2900, COUNT)):
            payloads = [{"owner": int(owner)} for owner in owners[first:last]]
            batch = models.Batch(
                ids=range(first, last), vectors=rows[first:last].astype("f4"), payloads=payloads
            )
            db.upsert("c", batch)
            if first == 0:
                db.flush("c")
                assert db.wait_for_optimizer("c")
        towards = (5 * np.eye(SIDE)[0] + 0.1).tolist()
        prefetch = [{"query": towards, "limit": 20}, {"query": [2.0, *towards[1:]], "limit": 20}]
        for index in (False, True):
            if index:
                db.create_payload_index("c", "owner", "integer")
            for query in ({"fusion": "rrf"}, {"fusion": "dbsf"}, towards):
                found = db.query_points_groups(
                    "c", "owner", query, prefetch=prefetch, limit=23, group_size=4
                ).groups
                assert [len(group.hits) for group in found] == [4] * 23
                assert {group.id for group in found} == set(range(23))
                assert found[0].id == 0
                assert all(owners[hit.id] == group.id for group in found for hit in group.hits)  # type: ignore[index]
