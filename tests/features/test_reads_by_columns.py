"""Facets, groups, orders and filters by columns: what they read, and that it is no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB
from vecdb.engine.read import masks, remembered, values
from vecdb.payload.columns.strings import Strings

OpenDB = Callable[..., VecDB]
MANUAL = {"max_optimization_threads": 0, "indexing_threshold": 0, "default_segment_number": 8}
ROWS = 3000


@pytest.fixture
def db(open_db: OpenDB) -> VecDB:
    """Documents of two chunks each, in a file segment, which nothing rewrites."""
    db = open_db()
    db.create_collection("c", {"size": 4, "distance": "Dot"}, optimizers_config=MANUAL)
    vectors = np.random.default_rng(1).standard_normal((ROWS, 4))
    payloads = [{"doc": f"d{n // 2}", "n": n % 100, "kind": n % 7} for n in range(ROWS)]
    db.upload_collection("c", vectors, payloads, range(ROWS))
    db.flush("c")
    return db


@pytest.fixture
def texts_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts of dictionaries each call reads."""
    counts: list[int] = []
    read = Strings.values

    def note(self: Strings, codes: Any) -> list[str]:
        counts.append(len(codes))
        return read(self, codes)

    monkeypatch.setattr(Strings, "values", note)
    return counts


@pytest.fixture
def payloads_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows whose payloads are read, to test a filter or for their values."""
    rows: list[int] = []
    for module in (masks, values):
        decoded = module.decoded

        def note(part: Any, row: int, *data: Any, decoded: Any = decoded) -> Any:
            rows.append(row)
            return decoded(part, row, *data)

        monkeypatch.setattr(module, "decoded", note)
    return rows


def is_(value: Any, key: str = "kind") -> dict[str, Any]:
    return {"must": [{"key": key, "match": {"value": value}}]}


def groups_of(db: VecDB, by: str, **asked: Any) -> list[tuple[Any, list[Any]]]:
    found = db.search_groups("c", [1, 2, 3, 4], by, **asked)
    return [(group.id, [hit.id for hit in group.hits]) for group in found.groups]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_groups_that_are_small_read_no_other_values(
    db: VecDB, texts_read: list[int], payloads_read: list[int], size: int
) -> None:
    """Where groups had fewer points than ``group_size``, all distinct texts were read."""
    expected = groups_of(db, "doc", limit=10, group_size=size)
    payloads_read.clear()
    db.create_payload_index("c", "doc", "keyword")
    assert groups_of(db, "doc", limit=10, group_size=size) == expected
    assert len(expected) == 10
    assert {len(hits) for _, hits in expected} == {min(size, 2)}
    assert not texts_read
    assert len(payloads_read) <= 10 * 10 * 3  # of hits


def test_a_facet_of_counts_that_tie_reads_the_values_it_returns(
    db: VecDB, texts_read: list[int]
) -> None:
    """All values were read, since all had the least of the largest counts."""
    expected = db.facet("c", "doc", limit=10)
    db.create_payload_index("c", "doc", "keyword")
    assert db.facet("c", "doc", limit=10) == expected
    assert texts_read == [10]
    assert [hit.value for hit in expected.hits] == sorted(f"d{n}" for n in range(ROWS // 2))[:10]


@pytest.mark.parametrize("flushed", [False, True])
def test_payloads_that_were_edited_have_columns_for_facets_orders_and_groups(
    db: VecDB, payloads_read: list[int], flushed: bool
) -> None:
    """After ``set_payload`` of many points every facet, order and group read their payloads."""

    def answers() -> list[Any]:
        return [
            db.facet("c", "kind"),
            db.facet("c", "doc", is_(3), limit=5),
            db.scroll("c", order_by="n", limit=50),
            db.scroll("c", is_(4), order_by={"key": "n", "direction": "desc"}, limit=50),
            groups_of(db, "kind", limit=7, group_size=3),
            groups_of(db, "doc", limit=5, group_size=3),
        ]

    db.set_payload("c", {"z": 1}, {"must": [{"key": "n", "range": {"lt": 50}}]})
    db.set_payload("c", {"kind": 4, "n": 1000}, list(range(0, 300, 2)))
    if flushed:
        db.flush("c")
        db.set_payload("c", {"kind": 5, "n": 7}, list(range(0, 300, 3)))
        db.delete_payload("c", ["kind"], list(range(100)))
    expected = answers()
    for field in ("kind", "n", "doc"):
        db.create_payload_index("c", field, "keyword")
    payloads_read.clear()
    assert answers() == expected
    assert len(payloads_read) <= 10 * 7 * 3  # of hits


@pytest.fixture
def few(db: VecDB) -> dict[str, Any]:
    """A filter of which a column leaves a tenth of the rows open."""
    db.create_payload_index("c", "n", "integer")
    return {"must": [{"key": "n", "range": {"lt": 10}}, {"key": "kind", "match": {"value": 3}}]}


def test_a_filter_that_columns_settle_in_part_is_remembered(
    db: VecDB, few: dict[str, Any], payloads_read: list[int]
) -> None:
    """Less than an eighth of the rows were left to test, and were tested at every call."""
    found = db.count("c", few).count
    assert len(payloads_read) == ROWS // 10
    payloads_read.clear()
    assert db.count("c", few).count == found
    assert not payloads_read
    db.set_payload("c", {"kind": 3}, [1, 2])  # are tested again, alone
    assert db.count("c", few).count == found + 2
    assert sorted(payloads_read) == [1, 2]


def test_a_long_list_of_strings_is_looked_for_once(
    db: VecDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its strings was looked for in the column at every call."""
    db.create_payload_index("c", "doc", "keyword")
    wanted = [f"d{n}" for n in range(0, ROWS, 3)]
    either = {"must": [{"key": "doc", "match": {"any": wanted}}]}
    others = {"must": [{"key": "doc", "match": {"except": wanted}}]}
    assert [db.count("c", each).count for each in (either, others)] == [ROWS // 3, ROWS * 2 // 3]
    monkeypatch.setattr(Strings, "find_all", None)  # would raise
    assert [db.count("c", each).count for each in (either, others)] == [ROWS // 3, ROWS * 2 // 3]
    db.delete("c", [0])
    assert [db.count("c", each).count for each in (either, others)] == [
        ROWS // 3 - 1,
        ROWS * 2 // 3,
    ]
    segment = db.collection("c")._store.view.segments[0].segment
    assert len(remembered.matches_of(segment)) == 2
