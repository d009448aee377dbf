"""A segment remembers which rows match a filter: asking again must find what is there now."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB
from vecdb.engine import masks

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


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows whose payloads are read to test a filter."""
    rows: list[int] = []
    decoded = masks.decoded

    def note(part: Any, row: int, data: Any) -> Any:
        rows.append(row)
        return decoded(part, row, data)

    monkeypatch.setattr(masks, "decoded", note)
    return rows


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


def test_no_more_than_some_filters_are_remembered(db: VecDB) -> None:
    for number in range(3 * masks._REMEMBERED):
        found(db, number)
    [part] = db.collection("c")._store.view.segments
    assert len(part.segment.matches) == masks._REMEMBERED  # type: ignore[union-attr]
    assert found(db, 3) == of_kind(3)


def test_a_very_long_filter_is_not_remembered(db: VecDB) -> None:
    many = {"must_not": [{"has_id": list(range(5000))}]}
    assert db.count("c", many).count == 0
    [part] = db.collection("c")._store.view.segments
    assert not part.segment.matches  # type: ignore[union-attr]
