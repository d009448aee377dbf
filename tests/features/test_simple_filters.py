"""Simple filters have a short way. It says of every row what the long way says, or says nothing."""

from __future__ import annotations

import datetime
import itertools
import math
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecdb
from vecdb import models
from vecdb.engine.read import masks, reader
from vecdb.engine.read.simple import simple
from vecdb.models import FieldCondition, Filter, MatchAny, MatchValue, Range

FIELDS = ("number", "text", "mixed", "a.b[]", "none")
HUGE, LONG = (1 << 63) + 5, "x" * 5000
VALUES: list[Any] = [
    *(0, 1, -3, 7, 2**53 + 1, -(2**63), 2**63 - 1, HUGE, 0.0, -0.5, 7.0, 1e300, True, False),
    *("", "red", "Red", "blue", "2024-05-01", LONG, None, [], [1, "red"], [[1]], {"b": 1}),
]
ASKED: list[Any] = [each for each in VALUES if type(each) in (int, bool, str)] + [
    "green",
    12345,
    1 << 80,
]
BOUNDS: list[Any] = [each for each in VALUES if type(each) in (int, float)] + [math.pi, -1e-300]


def payload(random: np.random.Generator) -> dict[str, Any]:
    some = {
        "number": int(random.integers(0, 50)),
        "text": ["red", "blue", "green"][int(random.integers(0, 3))],
        "mixed": VALUES[int(random.integers(0, len(VALUES)))],
        "a": {"b": [VALUES[i] for i in random.integers(0, 6, int(random.integers(0, 3)))]},
    }
    return {key: some[key] for key in some if random.random() < 0.9}


def condition(random: np.random.Generator) -> FieldCondition:
    key = FIELDS[int(random.integers(0, len(FIELDS)))]
    if random.random() < 0.5:
        value = ASKED[int(random.integers(0, len(ASKED)))]
        return FieldCondition(key=key, match=MatchValue(value=value))
    ends = random.permutation(["lt", "gt", "gte", "lte"])[: int(random.integers(0, 3))]
    given = {end: BOUNDS[int(random.integers(0, len(BOUNDS)))] for end in ends.tolist()}
    return FieldCondition(key=key, range=Range(**given))


def test_the_short_way_finds_what_the_long_way_finds(tmp_path: Path) -> None:
    """Over several segments, deleted and edited rows, and values that a column has not."""
    random = np.random.default_rng(3)
    small = models.OptimizersConfigDiff(default_segment_number=3, indexing_threshold=1)
    with vecdb.VecDB(tmp_path / "db") as db:
        db.create_collection(
            "c",
            vectors_config=models.VectorParams(size=2, distance="Dot"),
            optimizers_config=small,
        )
        for field in FIELDS[:-1]:
            db.create_payload_index("c", field, "keyword")
        told = 0
        for step in range(4):
            ids = range(200 * step, 200 * step + 200)
            vectors = random.standard_normal((200, 2)).astype(np.float32)
            db.upload_collection("c", vectors, ids=ids, payload=[payload(random) for _ in ids])
            if step < 3:
                db.wait_for_optimizer("c")
            told += _compared(db, random)
            db.delete("c", random.integers(0, 200 * step + 200, 7).tolist())
            told += _compared(db, random)
        alive = [point.id for point in db.scroll("c", limit=1000)[0]]
        for point in random.permutation(alive)[:9].tolist():
            db.set_payload("c", {"number": 3, "mixed": "red"}, points=[point])
        told += _compared(db, random)
        assert told > 300  # the short way was taken


def _compared(db: vecdb.VecDB, random: np.random.Generator) -> int:
    """Of how many segments the short way told."""
    told = 0
    view = db.collection("c")._view()
    for _ in range(150):
        must = [condition(random) for _ in range(int(random.integers(1, 4)))]
        compiled = reader.condition(Filter(must=must), "filter", view)
        assert compiled is not None
        assert compiled.simple is not None
        for segment_view in view.segments:
            short = compiled.simple.matching(view, segment_view)
            told += short is not None
            found = masks.matching(view, segment_view, compiled)
            compiled.simple = None
            expected = masks.matching(view, segment_view, compiled)
            compiled.simple = simple(Filter(must=must))
            np.testing.assert_array_equal(found, expected, err_msg=repr(must))
    return told


NEVER_SIMPLE: list[Any] = [
    None,
    {},
    {"must": [{"key": "a", "match": {"value": 1}}]},
    Filter(),
    Filter(must=[]),
    Filter(must=[FieldCondition(key="a", match=MatchValue(value=1))] * 17),
    Filter(must=[FieldCondition(key="a", match=MatchValue(value=1.5))]),
    Filter(must=[FieldCondition(key="a", match=MatchValue(value=uuid.UUID(int=7)))]),
    Filter(must=[FieldCondition(key="a", match=MatchAny(any=["x"]))]),
    Filter(must=[FieldCondition(key="a", match={"value": 1})]),  # type: ignore[arg-type]
    Filter(must=[FieldCondition(key="a", range=Range(gte=math.nan))]),
    Filter(must=[FieldCondition(key="a", range=Range(gte=math.inf))]),
    Filter(must=[FieldCondition(key="a", range=Range(gte=True))]),
    Filter(must=[FieldCondition(key="a", range=Range(gte=np.float64(1)))]),
    Filter(
        must=[FieldCondition(key="a", range=models.DatetimeRange(gte=datetime.date(2024, 1, 1)))]
    ),
    Filter(must=[FieldCondition(key="a")]),
    Filter(must=[FieldCondition(key="a", match=MatchValue(value=1), range=Range(gte=1))]),
    Filter(must=[FieldCondition(key="a", match=MatchValue(value=1), is_null=True)]),
    Filter(must=[FieldCondition(key=7, match=MatchValue(value=1))]),  # type: ignore[arg-type]
    Filter(must=[FieldCondition(key="a[", match=MatchValue(value=1))]),
    Filter(must=[models.HasIdCondition(has_id=[1])]),
    Filter(must=(FieldCondition(key="a", match=MatchValue(value=1)),)),  # type: ignore[arg-type]
    *(
        Filter(**{clause: FieldCondition(key="a", match=MatchValue(value=1))})
        for clause in ("should", "must_not")
    ),
]


@pytest.mark.parametrize("filter", NEVER_SIMPLE, ids=range(len(NEVER_SIMPLE)))
def test_what_may_be_refused_or_changed_takes_the_long_way(filter: Any) -> None:
    assert simple(filter) is None


@pytest.mark.parametrize(
    "test",
    [
        *({"match": MatchValue(value=value)} for value in ASKED),
        *({"range": Range(gte=low, lt=high)} for low, high in itertools.pairwise(BOUNDS)),
    ],
    ids=lambda test: repr(test)[:90],
)
@pytest.mark.parametrize("one", [False, True])
def test_a_simple_filter_is_in_its_final_form(test: dict[str, Any], one: bool) -> None:
    each = FieldCondition(key='"a".b[]', **test)
    given = Filter(must=each if one else [each])
    found = simple(given)
    assert found is not None
    assert [field for field, _ in found.wants] == ["a.b[]"]
    assert repr(models.coerce(Filter, given, "filter")) == repr(given)


def test_filters_that_are_equal_are_one_in_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were searched one by one, as each was a condition of its own."""
    from vecdb.engine.read import answer

    asked: list[int] = []
    page = answer.page

    def noted(view: Any, search: Any, queries: Any, *rest: Any) -> Any:
        asked.append(len(queries))
        return page(view, search, queries, *rest)

    monkeypatch.setattr(answer, "page", noted)
    vectors = np.random.default_rng(1).standard_normal((50, 4)).astype(np.float32)
    with vecdb.VecDB(tmp_path / "db") as db:
        db.create_collection("c", vectors_config=models.VectorParams(size=4, distance="Dot"))
        db.upload_collection("c", vectors, ids=range(50), payload=[{"n": n % 3} for n in range(50)])

        def request(n: int, query: Any) -> models.QueryRequest:
            some = Filter(must=[FieldCondition(key="n", match=MatchValue(value=n))])
            return models.QueryRequest(query=query, filter=some, limit=5)

        requests = [request(n, row) for n, row in zip((0, 1, 0, 0, 1), vectors, strict=False)]
        found = db.query_batch_points("c", requests)
        assert sorted(asked) == [2, 3]
        for each, answers in zip(requests, found, strict=True):
            alone = db.query_points("c", each.query, query_filter=each.filter, limit=5)
            assert [p.id for p in answers.points] == [p.id for p in alone.points]
            assert {p.id % 3 for p in answers.points} == {each.filter.must[0].match.value}


def test_a_list_that_is_changed_while_its_filter_is_in_use(tmp_path: Path) -> None:
    """The points of the changed filter were found, and could be remembered as those of another."""
    with vecdb.VecDB(tmp_path / "db") as db:
        db.create_collection("c", vectors_config=models.VectorParams(size=2, distance="Euclid"))
        payload = [{"n": number % 3} for number in range(30)]
        db.upload_collection("c", np.ones((30, 2), dtype=np.float32), payload, range(30))
        is_one = FieldCondition(key="n", match=MatchValue(value=1))
        filter = Filter(must=[is_one])
        condition = reader.condition(filter, "filter")
        found = db.within("c", [1.0, 1.0], 5.0, query_filter=filter)
        assert isinstance(filter.must, list)
        filter.must.clear()
        assert {point.id % 3 for point in found} == {1}
        assert condition is not None
        assert condition.digest == masks.digest_of(Filter(must=[is_one]))
