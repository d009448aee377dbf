"""Facets: how many points have which value, as in Qdrant."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import pytest
import qdrant_client
from qdrant_client import models as theirs

import vecdb.qdrant
from tests.cases import first_few
from tests.features.beside_local import FILTERS, clients, drawn_filter, fields
from tests.features.beside_local import both as both  # a fixture
from vecdb import AsyncVecDB, VecDB, models
from vecdb.errors import ClosedError, InvalidInputError, NotFoundError

KEYS = ["n", "small", "tag", "group", "tag[]", "tag[0]", "deep.list[].k", '"a b".c', "nowhere"]


@pytest.mark.parametrize("seed", first_few(10, range(40)))
def test_as_in_local_mode(both: tuple[VecDB, qdrant_client.QdrantClient], seed: int) -> None:
    """Also the order: the counts, then bools, integers and strings, each in theirs."""
    ours, client = both
    rng = Random(seed)
    asked: dict[str, Any] = {"key": rng.choice(KEYS), "facet_filter": drawn_filter(rng)}
    limit, exact = rng.choice((1, 3, 10, 1000)), rng.random() < 0.5
    expected = client.facet("c", **asked, limit=limit, exact=exact)
    found = ours.facet("c", **asked, limit=limit, exact=exact)
    assert repr([(h.value, h.count) for h in found.hits]) == repr(
        [(h.value, h.count) for h in expected.hits]
    )


def test_a_value_is_what_a_filter_finds(both: tuple[VecDB, qdrant_client.QdrantClient]) -> None:
    ours, _ = both
    hits = ours.facet("c", "tag", limit=100).hits
    assert {type(hit.value) for hit in hits} == {bool, int, str}
    for hit in hits:
        filter = {"must": [{"key": "tag", "match": {"value": hit.value}}]}
        assert ours.count("c", filter).count == hit.count


def test_true_and_one_are_two_values_and_an_array_counts_once() -> None:
    with VecDB() as db:
        db.create_collection("c")
        values = [True, 1, 1.0, [1, 1, True], "1", None, [], [[1]], {"a": 1}, 2**63, -(2**63)]
        db.upsert("c", [{"id": n, "vector": {}, "payload": {"v": v}} for n, v in enumerate(values)])
        hits = db.facet("c", "v").hits
        expected = [(True, 2), (1, 2), (-(2**63), 1), (2**63, 1), ("1", 1)]
        assert repr([(hit.value, hit.count) for hit in hits]) == repr(expected)
        assert db.facet("c", "v", limit=None) == db.facet("c", "v", exact=True)


def test_strings_count_as_they_are_stored() -> None:
    """Local mode writes what Python reads as a UUID in another way, and a filter would not find
    it; a server does so only where the field has an index of that type."""
    digest = "900150983CD24FB0D6963F7D28E17F72"
    with VecDB() as db:
        db.create_collection("c")
        db.upsert("c", [{"id": 1, "vector": {}, "payload": {"md5": digest}}])
        assert db.facet("c", "md5").hits == [models.FacetValueHit(value=digest, count=1)]


def test_nothing_to_count() -> None:
    with VecDB() as db:
        db.create_collection("c")
        assert db.facet("c", "v") == models.FacetResponse([])
        db.upsert("c", [{"id": 1, "vector": {}, "payload": {"v": 1}}])
        db.delete("c", [1])
        assert db.facet("c", "v").hits == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"key": 5}, "key: expected a path in the payload, got 5"),
        ({"key": "a..b"}, "key: 'a..b' is not a path"),
        ({"key": "tag", "limit": 0}, "limit: expected an integer >= 1, got 0"),
        ({"key": "tag", "limit": 2.5}, "limit: expected an integer >= 1, got 2.5"),
        ({"key": "tag", "facet_filter": {"must": 3}}, "facet_filter.must: expected"),
        ({"key": "tag", "shard_key_selector": "a"}, "shard_key_selector: Qdrant's"),
    ],
)
def test_bad_input(
    both: tuple[VecDB, qdrant_client.QdrantClient], arguments: Any, message: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        both[0].facet("c", **arguments)
    assert str(caught.value).startswith(message)


def test_of_no_collection_and_after_the_end() -> None:
    with VecDB() as db:
        with pytest.raises(NotFoundError):
            db.facet("c", "v")
        db.create_collection("c")
    with pytest.raises(ClosedError):
        db.facet("c", "v")


def test_asynchronously(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            await db.create_collection("c")
            points = [{"id": n, "vector": {}, "payload": {"v": n % 2}} for n in range(9)]
            await db.upsert("c", points)
            found = await db.facet("c", "v", FILTERS[4] | {"must": []})
            assert [(h.value, h.count) for h in found.hits] == [(0, 5), (1, 4)]
            assert found == await db.collection("c").facet("v")

    asyncio.run(main())


def test_qdrants_client_gets_its_own_objects() -> None:
    with clients() as (ours, local):
        for key in KEYS:
            found = ours.facet("c", key=key, limit=50, exact=True)
            assert type(found) is theirs.FacetResponse
            expected = local.facet("c", key=key, limit=50, exact=True)
            assert repr(fields(found)) == repr(fields(expected))
        with pytest.raises(ValueError, match="limit"):
            ours.facet("c", "tag", limit=0)


def test_qdrants_client_awaited() -> None:
    async def main() -> None:
        client = vecdb.qdrant.AsyncQdrantClient(":memory:")
        await client.create_collection("c", vectors_config={})
        points = [theirs.PointStruct(id=n, vector={}, payload={"v": n % 2}) for n in range(9)]
        await client.upsert("c", points)
        found = await client.facet("c", "v")
        assert found.hits[0] == theirs.FacetValueHit(value=0, count=5)
        await client.close()

    asyncio.run(main())


def test_rows_in_memory_are_counted_before_the_largest_are_chosen(db_path: Path) -> None:
    """A column in memory counts rows in pieces: the largest of a piece are not those of all."""
    with VecDB(db_path) as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        db.create_payload_index("c", "k", "keyword")
        values = ["a"] * 500 + ["b"] * 400 + ["c"] * 900 + ["b"] * 600 + ["a"] * 100
        for start in range(0, len(values), 500):
            points = [
                {"id": start + n, "vector": [1.0, 0.0], "payload": {"k": value}}
                for n, value in enumerate(values[start : start + 500])
            ]
            db.upsert("c", points)
            db.facet("c", "k", limit=1)
        assert [(hit.value, hit.count) for hit in db.facet("c", "k", limit=1).hits] == [("b", 1000)]
        assert db.facet("c", "k", limit=2).hits[1].count == 900
