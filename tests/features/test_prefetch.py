"""Prefetch: fused, rescored and computed as in Qdrant's local mode, in trees of any shape."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
import pytest
import qdrant_client
from qdrant_client import models as theirs

from tests.cases import first_few
from vecdb import VecDB, models
from vecdb.errors import InvalidInputError, NotFoundError

POINTS = 150
DISTANCES = ["Cosine", "Dot", "Euclid", "Manhattan"]
ROWS = np.random.default_rng(11).standard_normal((2 * POINTS, 6)).astype(np.float32)
OTHERS = np.random.default_rng(12).standard_normal((2 * POINTS, 3)).astype(np.float32)
EXACT = {"exact": True}
BATCH = 25
"""Random requests of one seed."""


def point(number: int, version: int = 0) -> dict[str, Any]:
    """Every eleventh has only one of the vectors. ``n`` is another in every point, ``w`` is not
    everywhere, ``one`` is sometimes an array of one number."""
    row = number + version * POINTS
    vector = {"a": ROWS[row].tolist(), "b": OTHERS[row].tolist()}
    if number % 11 == 0:
        del vector["ab"[number % 2]]
    payload: dict[str, Any] = {
        "n": (number * 37) % POINTS + version * 1000,
        "tag": "xyz"[number % 3],
        "at": f"2024-0{1 + number % 9}-{1 + number % 28:02d}T{number % 24:02d}:00:00Z",
        "place": {"lon": (number * 7) % 180 - 90.5, "lat": (number * 3) % 120 - 60.25},
        "one": [number / 8] if number % 2 else number / 8,
        "deep": {"w": number - POINTS / 2},
    }
    if number % 5:
        payload["w"] = number / 7
    return {"id": number, "vector": vector, "payload": payload}


def fill(db: VecDB | qdrant_client.QdrantClient, distance: str) -> None:
    """Ours with several segments, of files and in memory; both with points replaced and deleted."""
    vectors = {
        "a": theirs.VectorParams(size=6, distance=theirs.Distance(distance)),
        "b": theirs.VectorParams(size=3, distance=theirs.Distance.DOT),
    }
    db.create_collection("c", vectors_config=vectors)
    for first in range(0, POINTS, 40):
        numbers = range(first, min(first + 40, POINTS))
        db.upsert("c", [theirs.PointStruct(**point(number)) for number in numbers])
        if isinstance(db, VecDB) and first < 80:
            db.flush("c")
    replaced = range(5, POINTS, 29)
    db.upsert("c", [theirs.PointStruct(**point(number, version=1)) for number in replaced])
    db.delete("c", list(range(3, POINTS, 17)))


@pytest.fixture(scope="module", params=DISTANCES)
def both(
    request: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[VecDB, qdrant_client.QdrantClient]]:
    """vecdb and Qdrant's local mode, filled alike."""
    ours = VecDB(tmp_path_factory.mktemp("both") / "db")
    client = qdrant_client.QdrantClient(":memory:")
    for db in (ours, client):
        fill(db, request.param)
    yield ours, client
    ours.close()
    client.close()


# -- random requests -------------------------------------------------------------------------

FILTERS: list[dict[str, Any]] = [
    {"must": [{"key": "tag", "match": {"value": "y"}}]},
    {"must_not": [{"key": "n", "range": {"gte": 110}}]},
    {"must": [{"key": "w", "range": {"lt": 20}}], "must_not": [{"has_id": [1, 8, 30]}]},
    {"must": [{"has_vector": "b"}]},
]
OUTER = [*FILTERS, {"should": [{"key": "tag", "match": {"any": ["x", "z"]}}, {"has_id": [7]}]}]


def a_vector(rng: Random, name: str) -> list[float]:
    dim = 6 if name == "a" else 3
    drawn = np.random.default_rng(rng.randrange(10**6)).standard_normal(dim)
    return [float(value) for value in drawn.astype(np.float32)]


def nearest(rng: Random) -> dict[str, Any]:
    """By a vector, or by a point that has it; sometimes a choice."""
    using = rng.choice("ab")
    query: Any = a_vector(rng, using)
    if rng.random() < 0.15:
        query = rng.choice([1, 2, 6, 8, 12])
    if rng.random() < 0.15:
        mmr = {"diversity": rng.choice((0.1, 0.5)), "candidates_limit": rng.choice((None, 15))}
        return {"query": {"nearest": query, "mmr": mmr}, "using": using}
    return {"query": {"nearest": query} if rng.random() < 0.3 else query, "using": using}


ORDERS = [{"order_by": {"key": "n", "direction": direction}} for direction in ("asc", "desc")]


def order(rng: Random) -> dict[str, Any]:
    return {"query": rng.choice(ORDERS)}


def fusion(rng: Random, sources: int) -> dict[str, Any]:
    if rng.random() < 0.5:
        return {"query": {"fusion": rng.choice(("rrf", "dbsf"))}}
    numbers: dict[str, Any] = {}
    if rng.random() < 0.7:
        numbers["k"] = rng.choice((1, 2, 10, 60))
    if rng.random() < 0.7:
        numbers["weights"] = [rng.choice((0.5, 1.0, 1.3, 3.0, 0.0)) for _ in range(sources)]
    return {"query": {"rrf": numbers}}


def expression(rng: Random, depth: int) -> Any:
    """One that has a value for every point."""

    def inner() -> Any:
        return expression(rng, depth - 1)

    def positive() -> Any:
        return {"sum": [{"abs": inner()}, 1.5]}

    def decay() -> dict[str, Any]:
        shape: dict[str, Any] = {"x": inner()}
        if rng.random() < 0.6:
            shape["target"] = inner()
        if rng.random() < 0.6:
            shape["scale"] = rng.choice((0.5, 3.0, 50.0))
        if rng.random() < 0.6:
            shape["midpoint"] = rng.choice((0.1, 0.5, 0.9))
        return shape

    if depth == 0 or rng.random() < 0.2:
        return rng.choice(
            (
                round(rng.uniform(-3, 3), 2),
                "$score",
                "$score[1]",
                "$score[5]",
                "n",
                "w",
                "one",
                "deep.w",
                {"datetime": "2024-03-01"},
                {"datetime_key": "at"},
                {"geo_distance": {"origin": {"lon": 13.4, "lat": 52.5}, "to": "place"}},
                {"key": "tag", "match": {"value": "x"}},
                {"must_not": [{"key": "n", "range": {"lt": 100}}, {"has_id": [2, 4]}]},
                {"has_vector": "a"},
                {"is_empty": {"key": "w"}},
            )
        )
    return rng.choice(
        (
            lambda: {"sum": [inner() for _ in range(rng.randrange(1, 4))]},
            lambda: {"mult": [inner() for _ in range(rng.randrange(1, 4))]},
            lambda: {"max": [inner(), inner()]},
            lambda: {"min": [inner(), inner()]},
            lambda: {"neg": inner()},
            lambda: {"abs": inner()},
            lambda: {"div": {"left": inner(), "right": inner(), "by_zero_default": 0.25}},
            lambda: {"div": {"left": inner(), "right": positive()}},
            lambda: {"sqrt": positive()},
            lambda: {"pow": {"base": positive(), "exponent": rng.choice((-1, 0.5, 2))}},
            lambda: {"exp": {"neg": {"ln": positive()}}},
            lambda: {"ln": positive()},
            lambda: {"log10": positive()},
            lambda: {"acosh": positive()},
            lambda: {"lin_decay": decay()},
            lambda: {"exp_decay": decay()},
            lambda: {"gauss_decay": decay()},
        )
    )()


def formula(rng: Random) -> dict[str, Any]:
    defaults = {"w": 2.5, "$score[1]": rng.choice((0.0, -1.0))}
    return {"query": {"formula": expression(rng, 3), "defaults": defaults}}


def drawn(rng: Random, depth: int) -> dict[str, Any]:
    """A request, or a prefetch, with so many levels of prefetches below it at most."""
    if depth == 0 or rng.random() < 0.2:
        asked = rng.choice((nearest, nearest, nearest, order, lambda rng: {}))(rng)
    else:
        sources = [drawn(rng, depth - 1) for _ in range(rng.randrange(1, 4))]
        kind = rng.randrange(8)
        if kind < 3:
            asked = fusion(rng, len(sources))
        elif kind < 5:
            asked = formula(rng)
        else:
            asked = order(rng) if kind == 5 else nearest(rng)
        asked["prefetch"] = sources if len(sources) > 1 or rng.random() < 0.5 else sources[0]
    asked["limit"] = rng.choice((3, 5, 10, 20, 40))
    if rng.random() < 0.3:
        asked["filter"] = rng.choice(FILTERS)
    scored = "query" in asked and asked["query"] not in ORDERS
    if scored and rng.random() < 0.2:
        asked["score_threshold"] = round(rng.uniform(-0.5, 1.5), 2)
    return asked


def root(rng: Random) -> dict[str, Any]:
    asked = drawn(rng, rng.choice((1, 1, 2, 3)))
    asked["query_filter"] = asked.pop("filter", None)
    if rng.random() < 0.3:
        asked["query_filter"] = rng.choice(OUTER)
    if rng.random() < 0.3:
        asked["offset"] = rng.choice((1, 4, 15))
    return asked | {"with_payload": ["n"], "search_params": EXACT}


def as_theirs(asked: dict[str, Any]) -> dict[str, Any]:
    request = {key: value for key, value in asked.items() if key not in ("search_params",)}
    request["filter"] = request.pop("query_filter")
    checked = theirs.QueryRequest.model_validate(request)
    return {
        "query": checked.query,
        "prefetch": checked.prefetch,
        "using": checked.using,
        "query_filter": checked.filter,
        "limit": checked.limit,
        "offset": checked.offset,
        "score_threshold": checked.score_threshold,
        "with_payload": checked.with_payload,
    }


def same(found: list[models.ScoredPoint], expected: list[Any]) -> bool:
    """Whether two answers are the same but for what rounding can do."""
    ours, others = [p.score for p in found], [p.score for p in expected]
    if len(ours) != len(others) or ours != pytest.approx(others, rel=2e-5, abs=2e-5):
        return False
    return [p.id for p in found] == [p.id for p in expected]


@pytest.mark.parametrize("seed", first_few(6, range(20)))
def test_as_in_local_mode(both: tuple[VecDB, qdrant_client.QdrantClient], seed: int) -> None:
    ours, client = both
    rng = Random(seed)
    for number in range(BATCH):
        asked = root(rng)
        try:
            expected: Any = client.query_points("c", **as_theirs(asked)).points
        except ValueError as error:
            expected = error
        if isinstance(expected, ValueError):
            with pytest.raises(InvalidInputError):
                ours.query_points("c", **asked)
            continue
        if number % 2:  # objects of Qdrant's client are taken as well
            asked = as_theirs(asked) | {"search_params": EXACT}
        found = ours.query_points("c", **asked).points
        assert same(found, expected), (number, asked)


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_is_its_requests(both: tuple[VecDB, Any], seed: int) -> None:
    ours, _ = both
    rng = Random(seed)
    requests = []
    while len(requests) < 12:
        asked = root(rng)
        try:
            expected = ours.query_points("c", **asked).points
        except InvalidInputError:
            continue
        renamed = {"query_filter": "filter", "search_params": "params"}
        request = {renamed.get(name, name): value for name, value in asked.items()}
        requests.append((request, expected))
        if rng.random() < 0.3:  # and once more: what it has in common is made once
            requests.append((request, expected))
    found = ours.query_batch_points("c", [request for request, _ in requests])
    for response, (_, expected) in zip(found, requests, strict=True):
        assert same(response.points, expected)


GROUPED: list[dict[str, Any]] = [
    {"query": {"fusion": "rrf"}},
    {"query": {"fusion": "dbsf"}, "query_filter": FILTERS[1]},
    {"query": {"formula": {"sum": ["$score", {"mult": [0.01, "n"]}]}}},
    {"query": {"order_by": "n"}},
]


@pytest.mark.parametrize("number", range(len(GROUPED)))
def test_groups(both: tuple[VecDB, qdrant_client.QdrantClient], number: int) -> None:
    """Local mode prefetches all points for groups: so do limits that are as large."""
    ours, client = both
    rng = Random(number)
    prefetch = [
        {"query": a_vector(rng, "a"), "using": "a", "limit": POINTS},
        {"query": a_vector(rng, "b"), "using": "b", "limit": POINTS},
    ]
    asked = root(Random(1)) | GROUPED[number] | {"prefetch": prefetch, "limit": 3}
    asked = {name: value for name, value in asked.items() if name not in ("offset", "using")}
    asked["score_threshold"] = None
    theirs_ = {name: value for name, value in as_theirs(asked).items() if name != "offset"}
    expected = client.query_points_groups("c", "tag", group_size=4, **theirs_).groups
    found = ours.query_points_groups("c", "tag", group_size=4, **asked).groups
    assert [group.id for group in found] == [group.id for group in expected]
    for group, other in zip(found, expected, strict=True):
        assert same(group.hits, other.hits)


def test_groups_take_more_of_prefetches(both: tuple[VecDB, Any]) -> None:
    """As many times more as a group has points."""
    ours, _ = both
    few = {"query": a_vector(Random(1), "a"), "using": "a", "limit": 4}
    groups = ours.query_points_groups(
        "c", "tag", {"fusion": "rrf"}, prefetch=few, group_size=5, limit=10
    ).groups
    assert sum(len(group.hits) for group in groups) > 10


def test_by_an_index_and_codes_as_without(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is asked exactly does not depend on what a segment has."""
    rng = Random(3)
    rows = np.random.default_rng(4).standard_normal((2400, 9)).astype(np.float32)
    with VecDB(tmp_path_factory.mktemp("indexed") / "db") as db, VecDB(":memory:") as plain:
        for each, quantized in ((db, True), (plain, False)):
            each.create_collection(
                "c",
                {
                    "a": {"size": 6, "distance": "Cosine"},
                    "b": {"size": 3, "distance": "Dot"},
                },
                quantization_config={"scalar": {"type": "int8"}} if quantized else None,
                optimizers_config={"indexing_threshold": 1 if quantized else 0},
            )
            for start in range(0, len(rows), 800):
                points = [
                    point(number % POINTS)
                    | {"id": number, "vector": {"a": rows[number, :6], "b": rows[number, 6:]}}
                    for number in range(start, start + 800)
                ]
                for number, made in enumerate(points):
                    made["payload"]["n"] = start + number
                each.upsert("c", points)
            each.delete("c", list(range(7, 2400, 31)))
        db.flush("c")
        db.wait_for_optimizer("c")
        assert db.get_collection("c").indexed_vectors_count
        for _ in range(40):
            asked = exactly(root(rng))
            try:
                expected = plain.query_points("c", **asked).points
            except InvalidInputError:
                continue
            assert same(db.query_points("c", **asked).points, expected), asked
            by_index = {name: value for name, value in asked.items() if name != "search_params"}
            assert len(db.query_points("c", **by_index).points) <= asked["limit"]


def exactly(asked: dict[str, Any]) -> dict[str, Any]:
    """The same, with prefetches that miss nothing."""
    given = asked.get("prefetch")
    if given is None:
        return asked
    alone = not isinstance(given, list)
    inner = [exactly(each) | {"params": EXACT} for each in ([given] if alone else given)]
    return asked | {"prefetch": inner[0] if alone else inner}


ONE = {"query": [1.0, 0.0, 0.0], "using": "b"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"query": {"fusion": "rrf"}}, "prefetch: expected the lists to fuse into one, got none"),
        ({"query": {"rrf": {}}}, "prefetch: expected the lists to fuse"),
        ({"query": {"formula": 1.0}}, "prefetch: expected the points to give scores to, got none"),
        ({"prefetch": ONE}, "query: expected what to make of the points that were prefetched"),
        ({"query": {"fusion": "best"}, "prefetch": ONE}, "query.fusion: expected one of 'rrf',"),
        ({"query": {"rrf": {"k": 0}}, "prefetch": ONE}, "query.rrf.k: expected an integer >= 1"),
        ({"query": {"fusion": "rrf"}, "prefetch": ONE, "using": "zz"}, "using: expected None"),
        (
            {"query": {"rrf": {"weights": [1.0]}}, "prefetch": [ONE, ONE]},
            "query.rrf.weights: expected 2, one for each prefetch, got 1",
        ),
        ({"query": {"fusion": "rrf"}, "prefetch": 3}, "prefetch: expected a list or Prefetch"),
        (
            {"query": {"fusion": "rrf"}, "prefetch": [ONE, {"querry": [1.0]}]},
            "prefetch[1]: unknown field 'querry'",
        ),
        (
            {"query": {"fusion": "rrf"}, "prefetch": [ONE, ONE | {"limit": 0}]},
            "prefetch[1].limit: expected an integer >= 1, got 0",
        ),
        (
            {"query": {"fusion": "rrf"}, "prefetch": [ONE | {"query": [1.0]}]},
            "prefetch[0].query vector 'b': expected 3 numbers",
        ),
        (
            {"query": {"fusion": "rrf"}, "prefetch": {"prefetch": [ONE], "query": None}},
            "prefetch.query: expected what to make of",
        ),
        (
            {"query": {"fusion": "rrf"}, "prefetch": [{"query": {"fusion": "rrf"}}]},
            "prefetch[0].prefetch: expected the lists to fuse",
        ),
        (
            {"query": {"fusion": "rrf"}, "prefetch": [ONE | {"query": 999}]},
            "prefetch[0].query: point 999 does not exist",
        ),
        (
            {"query": {"formula": {"sum": [1.0, {"sin": 1.0}]}}, "prefetch": ONE},
            "query.formula.sum[1]: expected a number, a variable",
        ),
        ({"query": {"formula": {"max": []}}, "prefetch": ONE}, "query.formula: expected at least"),
        ({"query": {"formula": "$scores"}, "prefetch": ONE}, "query.formula: expected $score"),
        ({"query": {"formula": "a..b"}, "prefetch": ONE}, "query.formula: 'a..b' is not a path"),
        (
            {"query": {"formula": 1.0, "defaults": {"$x": 1}}, "prefetch": ONE},
            "query.defaults['$x']: expected $score",
        ),
        (
            {"query": {"formula": {"mult": [2.0, "none"]}}, "prefetch": ONE},
            "query.formula.mult[1]: expected a number at 'none' of point",
        ),
        (
            {"query": {"formula": {"neg": "tag"}}, "prefetch": ONE},
            "query.formula.neg: expected a number at 'tag' of point",
        ),
        (
            {"query": {"formula": {"div": {"left": 1.0, "right": {"neg": 0}}}}, "prefetch": ONE},
            "query.formula: expected a finite number for point",
        ),
        (
            {"query": {"formula": {"sum": [{"ln": -1}]}}, "prefetch": ONE},
            "query.formula.sum[0]: expected a finite number for point",
        ),
        (
            {"query": {"formula": {"exp_decay": {"x": 1, "scale": 0}}}, "prefetch": ONE},
            "query.formula.exp_decay: expected a scale above 0, got 0",
        ),
        (
            {"query": {"formula": {"gauss_decay": {"x": 1, "midpoint": 1}}}, "prefetch": ONE},
            "query.formula: expected a midpoint above 0 and below 1, got 1",
        ),
        (
            {"query": {"formula": {"datetime_key": "n"}}, "prefetch": ONE},
            "query.formula.datetime_key: expected a datetime at 'n' of point",
        ),
    ],
    ids=str,
)
def test_bad_input(both: tuple[VecDB, Any], asked: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidInputError, NotFoundError)) as caught:
        both[0].query_points("c", **asked)
    assert str(caught.value).startswith(message)


def test_depth_is_bounded(both: tuple[VecDB, Any]) -> None:
    ours, _ = both
    nested = dict(ONE)
    for _ in range(64):
        nested = ONE | {"prefetch": nested}
    with pytest.raises(InvalidInputError, match="prefetch: nested deeper than 64 levels") as caught:
        ours.query_points("c", **ONE, prefetch=nested)
    assert len(str(caught.value)) < 150  # it said "prefetch." 65 times
    inner = nested["prefetch"]
    assert ours.query_points("c", **ONE, prefetch=inner).points
    deep: Any = 1.0
    for _ in range(63):
        deep = {"neg": deep}
    assert ours.query_points("c", {"formula": deep}, prefetch=ONE).points
    with pytest.raises(InvalidInputError, match="nested deeper than 64 levels"):
        ours.query_points("c", {"formula": {"neg": deep}}, prefetch=ONE)


def test_a_factor_of_0_hides_what_has_no_value(both: tuple[VecDB, Any]) -> None:
    ours, _ = both
    hidden = {"sum": [{"mult": [0, "none"]}, {"div": {"left": 0, "right": "none"}}, 2]}
    found = ours.query_points("c", {"formula": hidden}, prefetch=ONE).points
    assert {point.score for point in found} == {2.0}


def test_chance(both: tuple[VecDB, Any]) -> None:
    """Drawn from what was found."""
    ours, _ = both
    prefetch = ONE | {"limit": 20}
    there = {point.id for point in ours.query_points("c", **prefetch).points}
    drawn = ours.query_points("c", {"sample": "random"}, prefetch=prefetch, limit=15).points
    assert len({point.id for point in drawn}) == 15
    assert {point.id for point in drawn} <= there


def test_examples_of_what_was_found(both: tuple[VecDB, Any]) -> None:
    """A recommendation is made on candidates, none of which is an example."""
    ours, _ = both
    like = {"recommend": {"positive": [1, 2], "strategy": "sum_scores"}}
    everything = ours.query_points("c", like, using="b", limit=POINTS, search_params=EXACT).points
    prefetch = ONE | {"limit": 20}
    found = ours.query_points("c", like, using="b", prefetch=prefetch, limit=9).points
    without = {"must_not": [{"has_id": [1, 2]}]}
    there = {p.id for p in ours.query_points("c", **prefetch, query_filter=without).points}
    assert same(found, [point for point in everything if point.id in there][:9])


def test_each_prefetch_is_explained(both: tuple[VecDB, Any]) -> None:
    ours, _ = both
    mmr = {"query": {"nearest": [0.0, 1.0, 0.0], "mmr": {}}, "using": "b", "limit": 9}
    prefetch = [ONE, mmr | {"prefetch": ONE | {"limit": 30}}]
    asked: Any = {"query": [1.0, 1.0, 1.0], "using": "b", "prefetch": prefetch}
    steps = ours.query_points("c", **asked, explain=True).explanation
    assert steps is not None
    by_place: dict[Any, set[str]] = {}
    for step in steps:
        by_place.setdefault(step.prefetch, set()).update(stage.by for stage in step.stages)
    assert list(by_place) == ["prefetch[0]", "prefetch[1].prefetch[0]", "prefetch[1]", None]
    assert "mmr" in by_place["prefetch[1]"]
    assert "mmr" not in by_place["prefetch[1].prefetch[0]"] | by_place[None]
    rows = [stage.rows for s in steps if s.prefetch is None for stage in s.stages]
    assert max(rows) <= 19, "only candidates were looked at"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"filter": {"must": [{"key": "n", "match": {"value": []}}]}}, ".filter.must[0].match.value: "),
    ({"params": {"hnsw_ef": "x"}}, ".params.hnsw_ef: expected an integer"),
    ({"limit": 0}, ".limit: expected an integer >= 1"),
    ({"limit": 1 << 40}, ".limit: expected at most"),
    ({"score_threshold": "x"}, ".score_threshold: expected a number"),
    ({"using": "x"}, ": unknown vector name 'x'"),
    ({"query": [1.0]}, ".query vector 'b': expected 3 numbers, got 1"),
    ({"query": 10**6}, ".query: point 1000000 does not exist"),
    ({"query": {"recommend": {"positive": [[1.0]]}}}, ".query.recommend.positive[0]: expected 3"),
    ({"query": {"fusion": "rrf"}, "using": None}, ".prefetch: expected the lists to fuse"),
    ({"query": {"order_by": "n"}, "using": None, "score_threshold": 1.0}, ".score_threshold: "),
    ({"lookup_from": {"collection": "none"}}, ".lookup_from: collection 'none' not found"),
]


@pytest.mark.parametrize(("wrong", "text"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_says_where(
    both: tuple[VecDB, Any], wrong: dict[str, Any], text: str
) -> None:
    """Of several queries and prefetches most errors said what, and not in which of them."""
    ours, _ = both
    good: dict[str, Any] = {"query": [1.0, 1.0, 1.0], "using": "b"}
    bad = good | wrong
    within = good | {"prefetch": [good, good | {"prefetch": bad}]}
    for where, ask in (
        ("prefetch", lambda: ours.query_points("c", **good, prefetch=bad)),
        ("prefetch[1].prefetch", lambda: ours.query_points("c", **within)),
        ("requests[2]", lambda: ours.query_batch_points("c", [good, good, bad])),
        ("requests[1].prefetch[1].prefetch", lambda: ours.query_batch_points("c", [good, within])),
    ):
        with pytest.raises((InvalidInputError, NotFoundError)) as caught:
            ask()
        assert str(caught.value).startswith(f"{where}{text}")


def test_what_only_a_request_has_says_where_it_is_wrong(both: tuple[VecDB, Any]) -> None:
    ours, _ = both
    good: dict[str, Any] = {"query": [1.0, 1.0, 1.0], "using": "b"}
    for wrong, text in (
        ({"offset": -1}, ".offset: expected an integer >= 0"),
        ({"with_payload": 5}, ".with_payload: expected a bool"),
        ({"with_vector": 5}, ".with_vector: expected a bool"),
        ({"with_vector": ["x"]}, ": unknown vector name 'x'"),
    ):
        with pytest.raises(InvalidInputError) as caught:
            ours.query_batch_points("c", [good, good | wrong])
        assert str(caught.value).startswith(f"requests[1]{text}")
