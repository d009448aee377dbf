"""Conditions of every kind, drawn at random and put together, on vecdb and on local mode.

Where the two are known to differ is in ``DIFFERENCES``, and nowhere else: nothing that is drawn is
passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest
import qdrant_client
from beside_local import DIM, POINTS, ROWS, TIMES, clients, payload, point_id
from qdrant_client import models as theirs

from tests.cases import first_few
from vecdb import VecDB
from vecdb.errors import InvalidInputError

TEXTS = [
    "Good cheap hardware",
    "cheap; GOOD",
    "goodness",
    "hard-ware, good_cheap",
    "Été à Łódź",
    "été",
    "今天 good",
    "",
    "...",
    "good",
]
QUERIES = [*TEXTS, "good cheap", "cheap good", "goo", "hardware zzz", "ÉTÉ", "hard"]
DEGREES = [-180, -179.5, -10, -0.5, 0, 0.5, 1, 10, 179.5, 180]


def place(rng: Random) -> dict[str, Any]:
    return {"lon": rng.choice(DEGREES), "lat": rng.choice([-90, -10, -1, 0, 0.5, 1, 10, 90])}


def richer(rng: Random) -> dict[str, Any]:
    """A payload with texts and places as well, some of them broken, in arrays and below others."""

    def some(draw: Callable[[], Any]) -> Any:
        return [draw() for _ in range(rng.randrange(4))] if rng.random() < 0.3 else draw()

    def broken_or_place() -> Any:
        if rng.random() < 0.8:
            return place(rng)
        return rng.choice(
            [{"lon": 1}, {"lon": "1", "lat": 1}, {"lon": True, "lat": 0}, [0, 0], None]
        )

    def text() -> Any:
        return rng.choice([*TEXTS, 5, None, ["good"]])

    made = {
        "text": some(text),
        "place": some(broken_or_place),
        "parts": [
            {"text": some(text), "place": broken_or_place(), "n": rng.randrange(4)}
            for _ in range(rng.randrange(4))
        ],
    }
    kept = {name: value for name, value in made.items() if rng.random() < 0.9}
    return {**payload(rng), **kept}


# -- what is asked ---------------------------------------------------------------------------------


def ring(rng: Random) -> dict[str, Any]:
    corners = [place(rng) for _ in range(rng.randrange(3, 6))]
    return {"points": [*corners, corners[0]]}


def bounds(rng: Random, values: list[Any]) -> dict[str, Any]:
    names = rng.sample(["gt", "gte", "lt", "lte"], rng.randrange(1, 3))
    return {name: rng.choice(values) for name in names}


def text_match(rng: Random) -> dict[str, Any]:
    kind = rng.choice(["text", "text_any", "phrase", "prefix", "substring", "value"])
    return {"match": {kind: rng.choice(QUERIES)}}


def area(rng: Random) -> dict[str, Any]:
    box = {"top_left": place(rng), "bottom_right": place(rng)}
    circle = {"center": place(rng), "radius": rng.choice([0, 1, 60_000.5, 2e6, 1e7])}
    polygon: dict[str, Any] = {"exterior": ring(rng)}
    if rng.random() < 0.5:
        polygon["interiors"] = [ring(rng) for _ in range(rng.randrange(3))]
    return rng.choice([{"geo_bounding_box": box}, {"geo_radius": circle}, {"geo_polygon": polygon}])


def keyword_match(rng: Random) -> dict[str, Any]:
    listed = rng.choice([["a", "x", "ä"], [1, 0, 3], []])
    return rng.choice(
        [
            {"match": {"value": rng.choice(["a", "x", 1, 0, True, False, 2**60 + 1])}},
            {"match": {"any": listed}},
            {"match": {"except": listed}},
        ]
    )


def of_field(rng: Random, below: bool) -> dict[str, Any]:
    """One test of one field; ``below``: of an object in ``parts``."""
    texts = ["text"] if below else ["text", "text[]", "parts[].text", "text[0]", "tag"]
    places = ["place"] if below else ["place", "place[]", "parts[].place", "parts[0].place", "n"]
    others = ["n", "text"] if below else ["n", "small", "tag", "when", "group", "deep.list[].k"]
    kinds: list[Callable[[], dict[str, Any]]] = [
        lambda: {"key": rng.choice(texts), **text_match(rng)},
        lambda: {"key": rng.choice(places), **area(rng)},
        lambda: {"key": rng.choice(others), **keyword_match(rng)},
        lambda: {"key": rng.choice(others), "range": bounds(rng, [-1, 0, 1.0, 2.5, 3])},
        lambda: {"key": rng.choice(others), "range": bounds(rng, TIMES[:4])},
        lambda: {"key": rng.choice(others), "values_count": bounds(rng, [0, 1, 2, 3])},
        lambda: {"key": rng.choice(texts + places), "is_empty": rng.random() < 0.5},
        lambda: {"key": rng.choice(texts + places), "is_null": rng.random() < 0.5},
        lambda: {"is_empty": {"key": rng.choice(others)}},
        lambda: {"is_null": {"key": rng.choice(others)}},
    ]
    return rng.choice(kinds)()


def of_point(rng: Random) -> dict[str, Any]:
    total = rng.choice([1, 2, 3, 10])
    return rng.choice(
        [
            {"has_id": [point_id(rng.randrange(POINTS)) for _ in range(rng.choice([1, 60]))]},
            {"has_vector": rng.choice(["", "other"])},
            {"slice": {"total": total, "index": rng.randrange(total)}},
        ]
    )


def condition(rng: Random, depth: int, below: bool = False) -> dict[str, Any]:
    chance = rng.random()
    if depth and chance < 0.15:
        return whole(rng, depth - 1, below)
    if depth and not below and chance < 0.3:
        key = rng.choice(["parts", "parts[]", "tag"])
        return {"nested": {"key": key, "filter": whole(rng, depth - 1, below=True)}}
    if not below and chance < 0.45:
        return of_point(rng)
    return of_field(rng, below)


def whole(rng: Random, depth: int = 2, below: bool = False) -> dict[str, Any]:
    """A filter."""

    def some() -> list[dict[str, Any]]:
        return [condition(rng, depth, below) for _ in range(rng.choice([1, 1, 2, 3]))]

    clauses: dict[str, Callable[[], Any]] = {
        "must": some,
        "should": some,
        "must_not": some,
        "min_should": lambda: {"conditions": some(), "min_count": rng.choice([1, 2])},
    }
    names = rng.choices(list(clauses), weights=[4, 3, 2, 1], k=rng.choice([1, 1, 2]))
    return {name: clauses[name]() for name in names}


# -- both ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def local() -> Iterator[qdrant_client.QdrantClient]:
    client = qdrant_client.QdrantClient(":memory:")
    params = theirs.VectorParams(size=DIM, distance=theirs.Distance.DOT)
    client.create_collection("c", vectors_config=params)
    yield client
    client.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, local: qdrant_client.QdrantClient) -> Path:
    """A database with the points that ``local`` has: in two segments of files and one in memory,
    with points that were deleted and edited."""
    path, rng = tmp_path_factory.mktemp("beside") / "db", Random(3)
    with VecDB(path) as db:
        db.create_collection(
            "c",
            {"size": DIM, "distance": "Dot"},
            optimizers_config={"max_optimization_threads": 0},
        )
        for start in range(0, POINTS, 60):
            points = [
                theirs.PointStruct(id=point_id(n), vector=ROWS[n].tolist(), payload=richer(rng))
                for n in range(start, min(start + 60, POINTS))
            ]
            for each in (db, local):
                each.upsert("c", points)
            if start < 120:
                db.flush("c")
        dead = [point_id(n) for n in rng.sample(range(POINTS), 15)]
        edited = [point_id(n) for n in range(0, POINTS, 9) if point_id(n) not in dead]
        for each in (db, local):
            each.delete("c", dead)
        for one in edited:
            change = richer(rng)
            for each in (db, local):
                each.set_payload("c", change, points=[one])
    return path


def same(db: VecDB, local: qdrant_client.QdrantClient, filter: dict[str, Any]) -> int:
    """How many points match; the same ones in both."""
    read = theirs.Filter.model_validate(filter)
    expected = {
        record.id for record in local.scroll("c", read, limit=POINTS, with_payload=False)[0]
    }
    records, _ = db.scroll("c", filter, limit=POINTS, with_payload=False)
    assert {record.id for record in records} == expected, filter
    assert db.count("c", read).count == len(expected), filter
    hits = db.search("c", ROWS[0], query_filter=read, limit=POINTS)
    assert {hit.id for hit in hits} == expected, filter
    return len(expected)


@pytest.mark.parametrize("seed", first_few(1, range(4)))
def test_filters_of_every_kind(path: Path, local: qdrant_client.QdrantClient, seed: int) -> None:
    rng = Random(seed)
    with VecDB(path) as db:
        found = [same(db, local, whole(rng)) for _ in range(120)]
    assert len(set(found)) > 25, "filters that tell points apart"


def test_single_conditions_of_every_kind(path: Path, local: qdrant_client.QdrantClient) -> None:
    rng = Random(9)
    some: dict[str, int] = {}
    with VecDB(path) as db:
        for _ in range(300):
            asked = of_field(rng, below=False) if rng.random() < 0.9 else of_point(rng)
            [*_, test] = asked
            kind = f"match {next(iter(asked['match']))}" if test == "match" else test
            count = same(db, local, {"must": asked})
            some[kind] = some.get(kind, 0) + (0 < count < POINTS - 15)
    assert len(some) >= 18
    assert some.pop("has_vector") == 0, "all have the only one, and none another"
    assert all(some.values()), some


def test_indexes_that_are_not_of_texts_change_no_filter(
    path: Path, local: qdrant_client.QdrantClient
) -> None:
    rng = Random(11)
    with VecDB(path) as db:
        for field, kind in [
            *[("n", "integer"), ("small", "integer"), ("tag", "keyword"), ("when", "datetime")],
            *[("place", "geo"), ("parts[].place", "geo"), ("group", "keyword")],
        ]:
            db.create_payload_index("c", field, kind)
        with VecDB(path, read_only=True) as reader:
            for _ in range(60):
                filter = whole(rng)
                assert same(db, local, filter) == same(reader, local, filter)
        for field in ("n", "small", "tag", "when", "place", "parts[].place", "group"):
            db.delete_payload_index("c", field)


def test_qdrants_client_asks_the_same() -> None:
    rng = Random(17)
    with clients() as (ours, client):
        points = [
            theirs.PointStruct(id=200 + n, vector=ROWS[n].tolist(), payload=richer(rng))
            for n in range(40)
        ]
        for each in (ours, client):
            each.upsert("c", points)
        for _ in range(60):
            filter = theirs.Filter.model_validate(whole(rng))
            found, expected = (each.scroll("c", filter, limit=200) for each in (ours, client))
            assert [record.id for record in found[0]] == [record.id for record in expected[0]]


def test_text_indexes_decide_from_when_they_are_there(tmp_path: Path) -> None:
    """What was found before must not be remembered as what is found now."""
    stem = {"type": "snowball", "language": "english"}
    runs = {"must": [{"key": "t", "match": {"text": "Runs"}}]}
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 1, "distance": "Dot"})
        texts = ["running", "runs", "RUN", ["a", "runs b"], "walks", 5]
        points = [{"id": n, "vector": [1.0], "payload": {"t": t}} for n, t in enumerate(texts)]
        db.upsert("c", points)
        db.flush("c")

        def found() -> list[Any]:
            records, _ = db.scroll("c", runs)
            hits = [hit.id for hit in db.search("c", [1.0], query_filter=runs, limit=9)]
            assert sorted(hits) == [record.id for record in records]
            assert db.count("c", runs).count == len(hits)
            return [record.id for record in records]

        assert found() == [1, 3]
        db.create_payload_index("c", "t", {"type": "text", "stemmer": stem})
        assert found() == [0, 1, 2, 3]
        db.create_payload_index("c", "t", {"type": "text", "lowercase": False})
        assert found() == []
        db.create_payload_index("c", "t", {"type": "text", "stopwords": {"custom": ["runs"]}})
        assert found() == []
        db.create_payload_index("c", "t", "text")
        assert found() == [1, 3]
        db.create_payload_index("c", "t", {"type": "text", "stemmer": stem})
        db.set_payload("c", {"seen": True}, points=runs)
        db.delete("c", {"filter": runs})
        assert [record.id for record in db.scroll("c")[0]] == [4, 5]
        db.upsert("c", [{"id": 7, "vector": [1.0], "payload": {"t": "run"}}])
        new = {"id": 7, "vector": [1.0], "payload": {"t": "new"}}
        db.upsert("c", [new], update_filter=runs)
        assert db.retrieve("c", [7])[0].payload == {"t": "new"}
    with VecDB(tmp_path / "db") as db:
        db.upsert("c", [{"id": 8, "vector": [1.0], "payload": {"t": "running"}}])
        assert [record.id for record in db.scroll("c", runs)[0]] == [8]
        db.delete_payload_index("c", "t")
        assert db.count("c", runs).count == 0


OPEN = {"points": [{"lon": 0, "lat": 0}, {"lon": 9, "lat": 0}, {"lon": 9, "lat": 9}]}
STEMS = {"t": {"type": "text", "stemmer": {"type": "snowball", "language": "english"}}}
# What, the filter's only condition, a payload, what vecdb says, what local mode says, why.
DIFFERENCES: list[tuple[dict[str, Any], dict[str, Any], bool | None, bool, str]] = [
    (
        {"key": "t", "match": {"text": "ह"}},
        {"t": "हिन्दी"},
        False,
        True,
        "a vowel sign belongs to its word in Qdrant's engine; local mode cuts there",
    ),
    (
        {"key": "t", "match": {"text": "runs"}},
        {"t": "running"},
        True,
        False,
        "a text index decides, as in Qdrant's server; local mode has none",
    ),
    (
        {"key": "p", "geo_polygon": {"exterior": OPEN}},
        {"p": {"lon": 8, "lat": 1}},
        None,
        True,
        "an open line is refused, as by Qdrant's server; local mode closes it",
    ),
    (
        {"key": "t", "match": {"value": "x"}, "is_empty": True},
        {},
        None,
        True,
        "several tests are refused: the server joins them with or, local mode takes one",
    ),
    (
        {"nested": {"key": "t", "filter": {"must_not": [{"has_id": [1]}]}}},
        {"t": [{}]},
        None,
        True,
        "an object of an array has no id: refused, where Qdrant lets it never match",
    ),
    (
        {"key": "t", "range": {"gte": "2024-01-01T00:00:00+01:00"}},
        {"t": "2024-01-01T12:00:00+01:00:30"},
        False,
        True,
        "offsets are whole minutes",
    ),
]


@pytest.mark.parametrize(
    ("asked", "stored", "ours", "of_local", "why"), DIFFERENCES, ids=lambda each: str(each)[:20]
)
def test_known_differences(
    asked: dict[str, Any], stored: dict[str, Any], ours: bool | None, of_local: bool, why: str
) -> None:
    """None: refused. One that is no longer there should leave the list."""
    client = qdrant_client.QdrantClient(":memory:")
    with VecDB(":memory:") as db:
        for each in (db, client):
            params = theirs.VectorParams(size=1, distance=theirs.Distance.DOT)
            each.create_collection("c", vectors_config=params)
            each.upsert("c", [theirs.PointStruct(id=1, vector=[1.0], payload=stored)])
        db.create_payload_index("c", "t", STEMS["t"])
        filter = theirs.Filter.model_validate({"must": [asked]})
        assert client.count("c", filter).count == of_local, why
        if ours is None:
            with pytest.raises(InvalidInputError):
                db.count("c", filter)
        else:
            assert db.count("c", filter).count == ours, why
    client.close()


def test_slices_are_read_side_by_side(path: Path, local: qdrant_client.QdrantClient) -> None:
    """Page by page, and with points that came meanwhile."""
    with VecDB(path) as db:
        ids = []
        for index in range(3):
            filter = {"must": [{"slice": {"total": 3, "index": index}}]}
            offset: Any = None
            while True:
                records, offset = db.scroll("c", filter, limit=7, offset=offset)
                ids += [record.id for record in records]
                if offset is None:
                    break
        assert len(ids) == len(set(ids)) == db.count("c").count
        new = [str(UUID(int=n)) for n in range(1000, 1030)]
        db.upsert("c", [{"id": each, "vector": ROWS[0]} for each in new])
        counts = [
            db.count("c", {"must": [{"slice": {"total": total, "index": n}}]}).count
            for total in (3, 300)
            for n in range(total)
        ]
        assert sum(counts) == 2 * db.count("c").count
        db.delete("c", new)
