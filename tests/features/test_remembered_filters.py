"""A segment remembers which rows match a filter: asking again must find what is there now."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import Any

import numpy as np
import pytest
from payload_reads import tested as tested  # a fixture

from vecdb import VecDB
from vecdb.engine.read import masks, remembered
from vecdb.models import (
    DatetimeRange,
    FieldCondition,
    Filter,
    Nested,
    NestedCondition,
    QueryRequest,
    Range,
)

ROWS = 200
OpenDB = Callable[..., VecDB]


def is_(value: Any) -> dict[str, Any]:
    return {"must": [{"key": "kind", "match": {"value": value}}]}


@pytest.fixture
def db(open_db: OpenDB) -> VecDB:
    """Points of seven kinds in one file segment, which nothing rewrites."""
    db = open_db()
    db.create_collection(
        "c", {"size": 4, "distance": "Dot"}, optimizers_config={"max_optimization_threads": 0}
    )
    vectors = np.random.default_rng(1).standard_normal((ROWS, 4))
    payload = [{"kind": number % 7} for number in range(ROWS)]
    db.upload_collection("c", vectors, payload, range(ROWS))
    db.flush("c")
    return db


def found(db: VecDB, kind: Any) -> set[Any]:
    """The points of a kind, by all that looks for them."""
    hits = {hit.id for hit in db.search("c", [1, 2, 3, 4], query_filter=is_(kind), limit=ROWS)}
    assert db.count("c", is_(kind)).count == len(hits)
    records, _ = db.scroll("c", is_(kind), limit=ROWS)
    assert {record.id for record in records} == hits
    return hits


def of_kind(kind: int) -> set[int]:
    return {number for number in range(ROWS) if number % 7 == kind}


def test_a_filter_is_tested_once(db: VecDB, tested: list[int]) -> None:
    for _ in range(3):
        assert db.count("c", is_(3)).count == len(of_kind(3))
    assert sorted(tested) == list(range(ROWS))


def test_what_was_deleted_or_changed_matches_no_more(db: VecDB, tested: list[int]) -> None:
    assert found(db, 3) == of_kind(3)
    db.delete("c", [3, 10])
    db.set_payload("c", {"kind": 4}, [17])
    db.set_payload("c", {"kind": 3}, [4])
    tested.clear()
    assert found(db, 3) == of_kind(3) - {3, 10, 17} | {4}
    assert found(db, 4) == of_kind(4) - {4} | {17}
    db.flush("c")
    assert found(db, 3) == of_kind(3) - {3, 10, 17} | {4}
    db.delete("c", {"filter": is_(3)})
    assert found(db, 3) == set()


def test_an_earlier_view_has_what_a_later_one_has_not(db: VecDB) -> None:
    """Its rows were dead when the filter was tested."""
    store = db.collection("c")._store
    before = store.view
    db.delete("c", [3])
    assert found(db, 3) == of_kind(3) - {3}
    condition = masks.compiled(masks.models.coerce(masks.models.Filter, is_(3)))
    [part] = before.segments
    bits = np.unpackbits(masks.matching(before, part, condition), bitorder="little")
    assert set(np.flatnonzero(bits)) == of_kind(3)
    assert found(db, 3) == of_kind(3) - {3}


def test_values_that_python_calls_equal_are_different_filters(db: VecDB) -> None:
    db.upsert("c", [{"id": ROWS, "vector": [1, 1, 1, 1], "payload": {"kind": True}}])
    db.flush("c")
    assert found(db, 1) == of_kind(1)
    assert found(db, True) == {ROWS}
    assert found(db, 1) == of_kind(1)


@pytest.mark.parametrize("nested", [False, True])
def test_ranges_without_bounds_of_numbers_and_of_moments_differ(db: VecDB, nested: bool) -> None:
    """They were written down alike, and the second got the answer of the first."""
    moment = "2024-05-01T00:00:00Z"
    payload = {"kind": moment, "all": [{"kind": moment}]}
    db.upsert("c", [{"id": ROWS, "vector": [1, 1, 1, 1], "payload": payload}])
    db.flush("c")

    def in_range(range_: Any) -> Filter:
        inner = Filter(must=[FieldCondition(key="kind", range=range_)])
        if not nested:
            return inner
        return Filter(must=[NestedCondition(nested=Nested(key="all", filter=inner))])

    numbers = 0 if nested else ROWS
    both = [(Range(), numbers), (DatetimeRange(), 1)]
    for range_, count in both + both[::-1]:
        assert db.count("c", in_range(range_)).count == count
    requests = [QueryRequest(query=[1, 2, 3, 4], filter=in_range(r), limit=ROWS) for r, _ in both]
    answers = db.query_batch_points("c", requests)
    assert [len(answer.points) for answer in answers] == [numbers, 1]


class Color(str, Enum):
    RED = "red"


class Stamp(datetime):
    """As pandas has one."""


@pytest.mark.parametrize("first", [Color.RED, "red", np.str_("red")])
def test_an_enum_of_strings_means_its_string(db: VecDB, first: Any) -> None:
    """It was written down as the plain one and matched nothing: what was asked first decided."""
    db.upsert("c", [{"id": ROWS, "vector": [1, 1, 1, 1], "payload": {"kind": "red"}}])
    db.flush("c")
    for value in (first, "red", Color.RED):
        assert found(db, value) == {ROWS}
        assert db.count("c", {"must_not": is_(value)["must"]}).count == ROWS
    db.delete("c", {"filter": {"must_not": is_(first)["must"]}})
    assert db.count("c").count == 1


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ({"key": "kind", "range": {"lt": 10**30}}, ROWS),
        ({"key": "kind", "values_count": {"lt": 2**70}}, ROWS),
        ({"key": "kind", "match": {"value": 2**70}}, 0),
        ({"key": "kind", "match": {"value": "\ud800"}}, 0),
        ({"key": "when", "range": {"gte": Stamp(2020, 1, 1)}}, 0),
        ({"key": "when", "range": {"gte": "0001-01-01T00:00:00+05:00"}}, 0),
    ],
)
def test_what_cannot_be_written_down_is_tested_each_time(
    db: VecDB, condition: dict[str, Any], count: int
) -> None:
    """It was an OverflowError, a TypeError or a UnicodeEncodeError."""
    filter_ = {"must": [condition]}
    for _ in range(2):
        assert db.count("c", filter_).count == count
        assert len(db.search("c", [1, 2, 3, 4], query_filter=filter_, limit=ROWS)) == count
    points = db.query_batch_points("c", [{"query": [1, 2, 3, 4], "filter": filter_}] * 2)
    assert [len(found.points) for found in points] == [min(10, count)] * 2


def test_in_a_batch_equal_values_of_different_types_are_different_filters(db: VecDB) -> None:
    """The second got the answer of the first."""
    db.upsert("c", [{"id": ROWS, "vector": [1, 1, 1, 1], "payload": {"kind": True}}])
    asked = [{"query": [1, 2, 3, 4], "filter": is_(kind), "limit": ROWS} for kind in (1, True, 1)]
    ids = [{p.id for p in answer.points} for answer in db.query_batch_points("c", asked)]
    assert ids == [of_kind(1), {ROWS}, of_kind(1)]


def test_a_filter_for_each_of_many_tenants_is_remembered(db: VecDB, tested: list[int]) -> None:
    """The hundredth put the first out."""
    for number in range(100):
        found(db, number)
    tested.clear()
    assert found(db, 3) == of_kind(3)
    assert not tested


def test_no_more_than_some_filters_are_remembered(
    db: VecDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "_BYTES", 0)
    for number in range(3 * remembered._REMEMBERED):
        found(db, number)
    [part] = db.collection("c")._store.view.segments
    assert len(remembered.matches_of(part.segment)) == remembered._REMEMBERED
    assert found(db, 3) == of_kind(3)


def one_of(count: int, missing: int = 0) -> dict[str, Any]:
    """A filter with a list of numbers."""
    kinds = [1000 + number for number in range(count)] + [3] * (1 - missing)
    return {"must": [{"key": "kind", "match": {"any": kinds}}]}


def test_a_long_filter_is_remembered_and_takes_no_more_memory(db: VecDB, tested: list[int]) -> None:
    """Of more than 4 KiB it was tested each time."""
    for turn in range(3):
        assert db.count("c", one_of(5000)).count == len(of_kind(3))
        assert len(db.search("c", [1, 2, 3, 4], query_filter=one_of(5000), limit=ROWS)) == 29
        assert len(tested) == ROWS, turn
    assert db.count("c", one_of(5000, missing=1)).count == 0
    assert db.count("c", one_of(5001)).count == len(of_kind(3))
    [part] = db.collection("c")._store.view.segments
    for digest, bits in remembered.matches_of(part.segment).items():
        assert len(digest) == 16
        assert [len(some) for some in bits] == [ROWS // 8] * 2


def test_what_was_tested_in_the_memory_segment_is_remembered_as_it_grows(
    db: VecDB, tested: list[int]
) -> None:
    """It was tested at each search, and by each search of a batch."""
    for start in (0, 50, 100):  # 50 is not at a whole byte
        points = [
            {"id": ROWS + start + n, "vector": [1, 1, 1, 1], "payload": {"kind": n % 7}}
            for n in range(50)
        ]
        db.upsert("c", points)
        before = len(tested)
        for _ in range(3):
            assert db.count("c", is_(6)).count == len(of_kind(6)) + (start // 50 + 1) * 7
        assert len(tested) - before == 50 + (ROWS if start == 0 else 0)
    db.delete("c", [ROWS + 6, ROWS + 56, 6])
    assert db.count("c", is_(6)).count == len(of_kind(6)) + 21 - 3
    assert db.count("c", is_(0)).count == len(of_kind(0)) + 24


def test_an_earlier_view_of_a_growing_segment(db: VecDB) -> None:
    points = [{"id": 500 + n, "vector": [1, 1, 1, 1], "payload": {"kind": 1}} for n in range(20)]
    db.upsert("c", points[:10])
    before = db.collection("c")._store.view
    db.upsert("c", points[10:])
    condition = masks.compiled(masks.models.coerce(masks.models.Filter, is_(1)))
    assert db.count("c", is_(1)).count == len(of_kind(1)) + 20
    part = before.segments[-1]
    assert int(np.bitwise_count(masks.matching(before, part, condition)).sum()) == 10
    assert db.count("c", is_(1)).count == len(of_kind(1)) + 20


@pytest.mark.parametrize("verb", ["query_batch_points", "search_batch"])
@pytest.mark.parametrize("flushed", [True, False])
@pytest.mark.parametrize(
    "filter_", [is_(3), one_of(500), {"must_not": [{"has_id": [*range(5, ROWS)]}]}]
)
def test_a_batch_tests_a_filter_once(
    open_db: OpenDB, tested: list[int], verb: str, flushed: bool, filter_: Any
) -> None:
    db = open_db(":memory:")
    db.create_collection("c", {"size": 4, "distance": "Dot"})
    vectors = np.random.default_rng(2).standard_normal((ROWS, 4))
    db.upload_collection("c", vectors, [{"kind": n % 7} for n in range(ROWS)], range(ROWS))
    if flushed:
        db.flush("c")
    expected = [db.search("c", q, filter_, limit=7) for q in vectors[:40]]
    remembered.matches_of(db.collection("c")._store.view.segments[0].segment).clear()
    tested.clear()
    name = "query" if verb == "query_batch_points" else "vector"
    fields = {"limit": 7, "filter": filter_, "with_payload": True}
    answers = getattr(db, verb)("c", [{name: q.tolist(), **fields} for q in vectors[:40]])
    assert len(tested) == (0 if "must_not" in filter_ else ROWS)
    assert [getattr(answer, "points", answer) for answer in answers] == expected


def test_other_ids_beside_a_filter_do_not_make_it_new(db: VecDB, tested: list[int]) -> None:
    """As of recommendations: each leaves out the points it was asked for with."""
    for left_out in range(20):
        ids_ = {"has_id": [left_out, left_out + 7]}
        found_ = db.search(
            "c", [1, 2, 3, 4], {**is_(3), "must_not": [ids_]}, limit=ROWS, with_payload=False
        )
        assert {hit.id for hit in found_} == of_kind(3) - set(ids_["has_id"])
    assert len(tested) == len(set(tested)) <= ROWS


def test_few_rows_take_no_place(
    db: VecDB, tested: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "_BYTES", 0)
    assert db.count("c", is_(3)).count == len(of_kind(3))
    for number in range(2 * remembered._REMEMBERED):
        one = {"must": [*is_(number)["must"], {"has_id": [number]}]}
        assert db.count("c", one).count == (number < 7)
    tested.clear()
    assert db.count("c", is_(3)).count == len(of_kind(3))
    assert not tested


def test_what_a_walk_has_tested_is_remembered(db: VecDB, tested: list[int]) -> None:
    """Each scroll with a filter tested all payloads anew."""
    expected = sorted(of_kind(3))
    assert [r.id for r in db.scroll("c", is_(3), limit=ROWS)[0]] == expected
    read = len(tested)
    assert [r.id for r in db.scroll("c", is_(3), limit=ROWS)[0]] == expected
    assert db.count("c", is_(3)).count == len(expected)
    assert len(tested) == read
    db.set_payload("c", {"kind": 3}, [0, 1])  # these are tested again
    assert [r.id for r in db.scroll("c", is_(3), limit=ROWS)[0]] == sorted({*expected, 0, 1})


def test_a_walk_that_ends_early_remembers_what_it_knows(db: VecDB) -> None:
    page, offset = db.scroll("c", is_(3), limit=ROWS // 14)
    assert [r.id for r in page] == sorted(of_kind(3))[: ROWS // 14]
    rest, _ = db.scroll("c", is_(3), limit=ROWS, offset=offset)
    assert [r.id for r in (*page, *rest)] == sorted(of_kind(3))
    assert found(db, 3) == of_kind(3)


def test_pages_use_what_is_remembered(db: VecDB, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = sorted(of_kind(3))
    assert [r.id for r in db.scroll("c", is_(3), limit=ROWS)[0]] == expected
    assert db.count("c", is_(3)).count == len(expected)
    monkeypatch.setattr(masks, "read_payload", None)  # would raise
    assert [r.id for r in db.scroll("c", is_(3), limit=ROWS)[0]] == expected
    assert [r.id for r in db.scroll("c", is_(3), limit=2, offset=4)[0]] == [10, 17]
    assert db.scroll("c", is_(3), limit=2)[1] == 17


def test_only_payloads_that_were_edited_since_are_tested_again(
    db: VecDB, tested: list[int]
) -> None:
    assert db.count("c", is_(3)).count == len(of_kind(3))
    tested.clear()
    db.set_payload("c", {"kind": 3}, [4, 5])
    for _ in range(2):
        assert found(db, 3) == of_kind(3) | {4, 5}
    assert sorted(tested) == [4, 5]
    before = db.collection("c")._store.view
    db.set_payload("c", {"kind": 1}, [5, 10])
    for _ in range(2):
        assert found(db, 3) == of_kind(3) - {10} | {4}
    assert sorted(tested) == [4, 5, 5, 10]
    condition = masks.compiled(masks.models.coerce(masks.models.Filter, is_(3)))
    [part] = before.segments
    bits = np.unpackbits(masks.matching(before, part, condition), bitorder="little")
    assert set(np.flatnonzero(bits)) == of_kind(3) | {4, 5}
    assert found(db, 3) == of_kind(3) - {10} | {4}
    db.flush("c")
    assert found(db, 3) == of_kind(3) - {10} | {4}
    db.set_payload("c", {"kind": 3}, [10, 4])
    db.clear_payload("c", [3])
    assert found(db, 3) == of_kind(3) - {3} | {4}


def test_edits_in_the_memory_segment(db: VecDB) -> None:
    """It grows after the edit: by rows in the byte of an edited one, and beyond."""
    expected = of_kind(3)
    for turn in range(6):
        points = [
            {"id": 300 + 5 * turn + n, "vector": [1, 1, 1, 1], "payload": {"kind": 2 + n}}
            for n in range(5)
        ]
        db.upsert("c", points)
        expected = expected | {300 + 5 * turn + 1}
        assert found(db, 3) == expected
        db.set_payload("c", {"kind": 3}, [300 + 5 * turn])
        expected = expected | {300 + 5 * turn}
        assert found(db, 3) == expected
        db.set_payload("c", {"kind": 9}, [300 + 5 * turn + 1])
        expected = expected - {300 + 5 * turn + 1}
        assert found(db, 3) == expected
