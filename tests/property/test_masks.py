"""Filters as masks: what a filter finds is what its predicate says of each point, and payloads are
read of those rows only which ids and vector names leave open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proofs.model.oracle import SCALE
from vecdb import VecDB, ids, models
from vecdb.engine.read import masks, remembered, rows
from vecdb.engine.view import View, live_rows
from vecdb.payload.filters import compile_filter
from vecdb.storage.format import pack_bits

POINTS = 90
UUIDS = [f"00000000-0000-0000-0000-{number:012x}" for number in range(POINTS // 3)]
IDS = [UUIDS[n // 3] if n % 3 == 0 else n for n in range(POINTS)]

of_ids = st.fixed_dictionaries({"has_id": st.lists(st.sampled_from([*IDS, 777]), max_size=30)})
of_vectors = st.sampled_from([{"has_vector": name} for name in ("a", "b", "none")])
of_payloads = st.sampled_from(
    [
        {"key": "n", "match": {"value": 1}},
        {"key": "n", "range": {"lt": 3}},
        {"is_empty": {"key": "m"}},
        {"nested": {"key": "l", "filter": {"must": [{"key": "x", "match": {"value": 0}}]}}},
    ]
)


def _filters(conditions: Any) -> Any:
    clause = st.lists(conditions, max_size=3) | conditions
    least = st.fixed_dictionaries(
        {"conditions": st.lists(conditions, max_size=4), "min_count": st.integers(1, 3)}
    )
    return st.fixed_dictionaries(
        {}, optional={"must": clause, "should": clause, "must_not": clause, "min_should": least}
    )


leaves = of_ids | of_vectors | of_payloads
filters = _filters(st.recursive(leaves, _filters, max_leaves=6))
without_payload = _filters(st.recursive(of_ids | of_vectors, _filters, max_leaves=6))


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VecDB]:
    """Numbers and UUIDs in file segments and the memory segment; rows are dead, payloads edited."""
    with VecDB(Path(tmp_path_factory.mktemp("masks")) / "db", sync="never") as db:
        kinds = {name: {"size": 2, "distance": "Dot"} for name in "ab"}
        db.create_collection("c", kinds, optimizers_config={"max_optimization_threads": 0})
        for start in (0, POINTS // 3, 2 * POINTS // 3):
            db.upsert("c", [point(number, 0) for number in range(start, start + POINTS // 3)])
            if start < 2 * POINTS // 3:
                db.flush("c")
        db.upsert("c", [point(number, 1) for number in range(0, POINTS, 4)])
        db.set_payload("c", {"n": 1}, [IDS[number] for number in range(0, POINTS, 11)])
        db.flush("c")
        db.upsert("c", [point(number, 2) for number in range(1, POINTS, 9)])
        db.set_payload("c", {"n": 2}, [IDS[number] for number in range(0, POINTS, 13)])
        db.delete("c", [IDS[number] for number in range(0, POINTS, 7)])
        yield db


def point(number: int, turn: int) -> dict[str, Any]:
    vectors = {"a": [number, 1.0]} if number % 5 else {"b": [1.0, number]}
    if number % 2:
        vectors = {"a": [number, 1.0], "b": [1.0, 2.0]}
    payload: dict[str, Any] = {"n": (number + turn) % 4, "l": [{"x": number % 2}]}
    if number % 3:
        payload["m"] = number
    return {"id": IDS[number], "vector": vectors, "payload": payload}


def truth(view: View, filter: models.Filter) -> list[int]:
    """The keys of the points for which the predicate holds."""
    predicate = compile_filter(filter)
    return [
        key
        for key, part, row in view.in_order(0)
        if predicate(
            ids.external(key), rows.read_payload(part, row), rows.vector_names(view, part, row)
        )
    ]


STARTS = st.sampled_from([0, 1, 40, *UUIDS[:2]])
NAMED = {"has_id": [*IDS[3:9], 777]}
NAME = {"key": "n", "match": {"value": 1}}


few = settings(
    max_examples=100 * SCALE, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@few
@given(raw=filters, start=STARTS)
@example(raw={"should": [NAMED, NAME], "must_not": [{"has_vector": "b"}]}, start=0)
@example(raw={"must": [{"must": [NAMED, NAME]}, {"should": []}]}, start=4)
@example(raw={"min_should": {"conditions": [NAMED, NAME, NAMED], "min_count": 2}}, start=0)
@example(raw={"must_not": [{"should": [NAMED, NAME]}, {"must": [NAMED, NAME]}]}, start=0)
def test_a_filter_finds_what_its_predicate_says(db: VecDB, raw: Any, start: Any) -> None:
    require_found(db, raw, start)


@pytest.mark.slow
@settings(few, max_examples=300 * SCALE)
@given(raw=filters, start=STARTS)
def test_many_filters_find_what_their_predicates_say(db: VecDB, raw: Any, start: Any) -> None:
    require_found(db, raw, start)


def require_found(db: VecDB, raw: Any, start: Any) -> None:
    """Every way to read finds the points for which the predicate holds."""
    view = db.collection("c")._store.view
    expected = truth(view, models.coerce(models.Filter, raw))
    found = [ids.external(key) for key in expected]
    has_a = {hit.id for hit in db.search("c", ("a", [1.0, 1.0]), limit=POINTS)}
    for remembers in (False, True, True):
        if not remembers:
            for part in view.segments:
                remembered.matches_of(part.segment).clear()
        assert db.count("c", raw).count == len(found)
        after = [i for i, key in zip(found, expected, strict=True) if key >= ids.key_of(start)]
        records, following = db.scroll("c", raw, limit=7, offset=start)
        assert [record.id for record in records] == after[:7]
        assert following == (after[7] if len(after) > 7 else None)
        pages = db.query_points("c", query_filter=raw, limit=POINTS).points
        assert [hit.id for hit in pages] == found
        hits = db.search("c", ("a", [1.0, 1.0]), raw, limit=POINTS, with_vectors=["a"])
        assert {hit.id for hit in hits} == set(found) & has_a


@few
@given(raw=without_payload)
def test_ids_and_vector_names_take_no_payload(
    db: VecDB, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = db.collection("c")._store.view
    expected = [ids.external(key) for key in truth(view, models.coerce(models.Filter, raw))]
    with monkeypatch.context() as patched:
        patched.setattr(masks, "decoded", None)  # would raise
        patched.setattr(masks, "read_payload", None)
        assert db.count("c", raw).count == len(expected)
        records, _ = db.scroll("c", raw, limit=POINTS)
        assert [record.id for record in records] == expected
        db.search("c", ("a", [1.0, 1.0]), raw)


@pytest.mark.parametrize(
    ("raw", "most"),
    [
        ({"must": [NAMED, NAME]}, 6),
        ({"must": [NAME, {"should": NAMED}]}, 6),
        ({"must": [{"must": [NAMED]}, {"must": [NAME]}]}, 6),
        ({"must_not": [{"must": [NAMED, NAME]}]}, 6),
        ({"min_should": {"conditions": [NAMED, NAME], "min_count": 2}}, 6),
        ({"should": [{"must_not": [NAMED]}, NAME]}, 6),
        ({"must_not": [{"has_vector": "a"}], "must": [NAME]}, POINTS // 8),
    ],
)
def test_payloads_are_read_of_open_rows_only(
    db: VecDB, raw: Any, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested: list[int] = []
    for name in ("decoded", "read_payload"):
        plain = getattr(masks, name)

        def note(part: Any, row: int, *rest: Any, _plain: Any = plain) -> Any:
            tested.append(row)
            return _plain(part, row, *rest)

        monkeypatch.setattr(masks, name, note)
    for part in db.collection("c")._store.view.segments:
        remembered.matches_of(part.segment).clear()
    db.scroll("c", raw, limit=POINTS, with_payload=False)
    assert 0 < len(tested) <= most
    tested.clear()
    db.count("c", raw)
    assert 0 < len(tested) <= most


@pytest.mark.parametrize("count", [1, 63, 64, 65, 1000, 4097])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 1.0])
def test_rows_of_few_bits_and_of_many(count: int, share: float) -> None:
    flags = np.random.default_rng(count).random(count + 37) < share  # a mask may go beyond
    assert live_rows(pack_bits(flags), count).tolist() == np.flatnonzero(flags[:count]).tolist()
