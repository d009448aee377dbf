"""Columns answer as the row test does, or leave a row open; their bytes are read without trust."""

from __future__ import annotations

import copy
import math
import random
import tracemalloc
import uuid
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vecdb.engine.read.ordered import placing
from vecdb.errors import InvalidInputError
from vecdb.models import FieldCondition, Filter, Range, TextIndexParams, coerce
from vecdb.payload import columns
from vecdb.payload.columns import growing, scanning
from vecdb.payload.columns.collecting import Collector
from vecdb.payload.columns.column import Column
from vecdb.payload.columns.strings import Strings, encoded
from vecdb.payload.columns.three_valued import at_least, exactly
from vecdb.payload.encoding import encode
from vecdb.payload.filters import compile_filter
from vecdb.storage.format import DamageError, pack_bits, pack_blocks, unpack_bits, unpack_blocks

PATHS = ("k", "k[]", "k[0]", "a", "a.b", "a[]", "a[].b", "a[].b[]", "a[].c", '"x y".k')
KEYS = ("k", "a", "b", "c", "x y")

TEXTS = (
    "", "a", "b", "ab", "é", "日本", "\U0001f600", "\x00", "a\x00", "z" * 300,
    "2024-05-06", "2024-05-07", "2024-05-06T07:08:09Z", "2024-05-06T07:08:09.5Z",
    "2024-05-06T09:08:09+02:00", "2024-05-06 07:08:09", " 2024-5-6", "2024-02-30",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-01:00",
    "6f9619ff-8b86-d011-b42d-00c04fc964ff", "00000000-0000-0000-0000-000000000000",
    "6F9619FF-8b86-d011-b42d-00c04fc964ff",
    "the red fox", "The fox", "red", "a red-brown FOX ran", "r" * 257,
)  # fmt: skip
QUERIES = (
    "red", "fox red", "The", "red fox", "cat", "", "a", "2024", "ran brown red", "red red",
)  # fmt: skip
"""A phrase with one token twice was found in all texts that have the token."""
INTS = (
    0, 1, -1, 2, 3, 127, 128, 255, 256, -129, 65536, 1 << 31, 1 << 32, -(1 << 40),
    (1 << 53) + 1, (1 << 63) - 1, -(1 << 63), 1 << 63, (1 << 64) - 1,
)  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, 0.5, 1.5, -2.25, 2.0**53, 2.0**63, 1e300, 5e-324, math.inf, -math.inf)

PLACES: list[Any] = [
    {"lon": 13.4, "lat": 52.5}, {"lon": 13, "lat": 52}, {"lon": 179.9, "lat": -16},
    {"lon": -179.9, "lat": -16.5}, {"lon": 0, "lat": 90}, {"lon": 13.4, "lat": "52"},
    {"lon": 13.4}, {"lon": 13.4, "lat": 52.5, "b": 1}, {"lon": True, "lat": 1},
    {"lon": 13.4, "lat": 452.5}, {"lon": 1e300, "lat": 1}, {"lon": 373.4, "lat": 52.5},
]  # fmt: skip
leaves = st.one_of(
    st.sampled_from(PLACES),
    st.sampled_from(TEXTS),
    st.sampled_from(INTS),
    st.integers(-4, 4),
    st.sampled_from(FLOATS),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.floats(allow_nan=False),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=6,
)
payloads = st.dictionaries(st.sampled_from(KEYS), values, max_size=4)


def bounds_of(number: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    ends = st.sampled_from(("lt", "lte", "gt", "gte"))
    return st.dictionaries(ends, number, min_size=1, max_size=2)


numbers = st.one_of(
    st.sampled_from(INTS), st.sampled_from(FLOATS), st.integers(-4, 4), st.floats(allow_nan=False)
)
moments = st.sampled_from([text for text in TEXTS if text[:1].isdigit() and text[4:5] == "-"][:4])
corners = st.builds(
    lambda lon, lat: {"lon": lon, "lat": lat},
    st.sampled_from((-180.0, -179.0, -5.0, 0.0, 13.0, 13.4, 20.0, 179.0, 180.0)),
    st.sampled_from((-90.0, -20.0, -16.0, 0.0, 52.0, 52.5, 60.0, 90.0)),
)
areas = st.one_of(
    st.builds(
        lambda one, other: {"geo_bounding_box": {"top_left": one, "bottom_right": other}},
        corners,
        corners,
    ),
    st.builds(
        lambda center, radius: {"geo_radius": {"center": center, "radius": radius}},
        corners,
        st.sampled_from((0.0, 1000.0, 60_000.0, 300_000.0, 3e6, 2.1e7)),
    ),
    st.builds(
        lambda points: {"geo_polygon": {"exterior": {"points": [*points, points[0]]}}},
        st.lists(corners, min_size=3, max_size=5),
    ),
)
text_tests = st.builds(
    lambda how, query: {"match": {how: query}},
    st.sampled_from(("text", "text_any", "phrase", "prefix", "substring")),
    st.sampled_from(QUERIES),
)
tests = st.one_of(
    areas,
    text_tests,
    st.builds(
        lambda value: {"match": {"value": value}},
        st.one_of(st.sampled_from(TEXTS), st.sampled_from(INTS), st.booleans()),
    ),
    st.builds(
        lambda how, listed: {"match": {how: listed}},
        st.sampled_from(("any", "except")),
        st.one_of(st.lists(st.sampled_from(TEXTS)), st.lists(st.sampled_from(INTS))),
    ),
    st.builds(lambda ends: {"range": ends}, bounds_of(numbers)),
    st.builds(lambda ends: {"range": ends}, bounds_of(moments)),
    st.builds(lambda ends: {"values_count": ends}, bounds_of(st.integers(0, 3))),
    st.builds(lambda yes: {"is_empty": yes}, st.booleans()),
    st.builds(lambda yes: {"is_null": yes}, st.booleans()),
)
fields = st.builds(lambda key, test: {"key": key, **test}, st.sampled_from(PATHS), tests)
markers = st.builds(
    lambda kind, key: {kind: {"key": key}},
    st.sampled_from(("is_empty", "is_null")),
    st.sampled_from(PATHS),
)


def filters_of(conditions: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    some = st.lists(conditions, min_size=1, max_size=3)
    least = st.builds(
        lambda count, each: {"conditions": each, "min_count": count}, st.integers(1, 3), some
    )
    return st.fixed_dictionaries(
        {}, optional={"must": some, "should": some, "must_not": some, "min_should": least}
    )


inside = st.builds(
    lambda key, test: {"key": key, **test}, st.sampled_from(("b", "c", "b[]", "k")), tests
)
nested = st.builds(
    lambda key, filter: {"nested": {"key": key, "filter": filter}},
    st.sampled_from(("a", "a[]", "k")),
    filters_of(st.one_of(inside, st.builds(lambda key: {"is_null": {"key": key}}, st.just("b")))),
)
filters = filters_of(
    st.recursive(st.one_of(fields, markers, nested), lambda inner: filters_of(inner), max_leaves=4)
)


def stored(rows: list[dict[str, Any]]) -> list[bytes]:
    return [encode(row) for row in rows]


def read_back(column: Column) -> Column:
    """The column from its own bytes."""
    data = np.frombuffer(b"".join(bytes(each) for each in column.pack()), dtype=np.uint8)
    return Column.read(data, column.rows)


def grown(path: str, data: list[bytes]) -> columns.Joined:
    """The column of rows that came a few at a time."""
    column = columns.Growing(path)
    start, step = 0, 1
    while start < len(data):
        column.extend(data[start : start + step])
        column.column()
        start, step = start + step, step * 3
    return column.column()


def of(filter: Any) -> Filter:
    return coerce(Filter, filter, "filter")


def expected(filter: Any, rows: list[dict[str, Any]], schema: Any = None) -> list[bool]:
    predicate = compile_filter(of(filter), schema)
    return [predicate(0, row, ()) for row in rows]


def told(filter: Any, known: Any, rows: int, texts: Any = None) -> tuple[list[bool], list[bool]]:
    """(surely, possibly) by rows."""
    surely, possibly = columns.bounds(of(filter), known, rows, texts=texts)
    return unpack_bits(surely, rows).tolist(), unpack_bits(possibly, rows).tolist()


@given(st.lists(payloads, min_size=1, max_size=20), filters, st.sets(st.sampled_from(PATHS)))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_bounds_enclose_what_the_row_test_says(
    rows: list[dict[str, Any]], filter: Any, missing: set[str]
) -> None:
    data = stored(rows)
    known = {
        columns.canonical(path): columns.build(path, data) for path in PATHS if path not in missing
    }
    truth = expected(filter, rows)
    for each in (known, {path: read_back(column) for path, column in known.items()}):
        surely, possibly = told(filter, each, len(rows))
        for row, (sure, true, possible) in enumerate(zip(surely, truth, possibly, strict=True)):
            assert sure <= true <= possible, (row, rows[row])


few = st.sampled_from((1, 2, "x", None, [1, 2], [1, None]))
objects = st.lists(
    st.one_of(st.dictionaries(st.sampled_from(("b", "c")), few, max_size=2), few), max_size=3
)
of_objects = st.one_of(
    st.builds(
        lambda key, value: {"key": key, "match": {"value": value}},
        *map(st.sampled_from, (("b", "c"), (1, 2, "x"))),
    ),
    st.builds(
        lambda key, listed: {"key": key, "match": {"except": listed}},
        *map(st.sampled_from, (("b", "c"), ([1], [1, 2], ["x"]))),
    ),
    st.builds(
        lambda key, least: {"key": key, "values_count": {"lt": least}},
        *map(st.sampled_from, (("b", "c"), (1, 2, 3))),
    ),
    st.builds(
        lambda key, kind, yes: {"key": key, kind: yes},
        *map(st.sampled_from, (("b", "c"), ("is_empty", "is_null"), (True, False))),
    ),
    st.builds(
        lambda key, kind: {kind: {"key": key}},
        *map(st.sampled_from, (("b", "c"), ("is_empty", "is_null"))),
    ),
)


@given(
    st.lists(st.fixed_dictionaries({"a": objects}), min_size=1, max_size=12),
    filters_of(st.one_of(of_objects, filters_of(of_objects))),
    st.booleans(),
)
@example(
    [{"a": [{"b": 1}, {"c": 2}]}],
    {"must": [{"key": "b", "match": {"value": 1}}, {"key": "c", "match": {"value": 2}}]},
    False,
)
@example(
    [{"a": [{"b": 1}, {"c": 2}]}],
    {
        "should": [{"key": "b", "match": {"value": 1}}],
        "must_not": [{"key": "b", "match": {"value": 1}}],
    },
    False,
)
@settings(max_examples=200)
def test_one_object_must_satisfy_a_whole_nested_filter(
    rows: list[dict[str, Any]], inner: dict[str, Any], negated: bool
) -> None:
    clause = "must_not" if negated else "must"
    filter = {clause: {"nested": {"key": "a", "filter": inner}}}
    known = {path: columns.build(path, stored(rows)) for path in ("a[].b", "a[].c")}
    truth = expected(filter, rows)
    surely, possibly = told(filter, known, len(rows))
    for row, (sure, true, possible) in enumerate(zip(surely, truth, possibly, strict=True)):
        assert sure <= true <= possible, rows[row]
    if len(inner) == 1 and {"must", "should"} & set(inner) and not negated:
        (only, *more) = next(iter(inner.values()))
        if not more and "match" in only:
            assert surely == possibly == truth


@given(st.lists(payloads, min_size=1, max_size=20), fields)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_a_condition_on_one_column_leaves_no_row_open(
    rows: list[dict[str, Any]], field: dict[str, Any]
) -> None:
    column = columns.build(field["key"], stored(rows))
    truth = expected({"must": field}, rows)
    surely, possibly = told({"must": field}, {columns.canonical(field["key"]): column}, len(rows))
    open_ = [False] * len(rows) if column.open is None else unpack_bits(column.open, len(rows))
    for row, true in enumerate(truth):
        if "values_count" in field and "[]" in field["key"]:
            continue  # of several values the fewest and the most elements are known
        if open_[row] or not {"text", "text_any", "phrase", "substring"}.isdisjoint(
            field.get("match", {})
        ):
            # These look at each string, if there are fewer of them than rows.
            assert surely[row] <= true <= possibly[row]
            continue
        assert surely[row] == possibly[row] == true, rows[row]


@given(st.lists(payloads, min_size=1, max_size=20))
def test_rows_are_open_for_large_integers_and_long_strings_alone(
    rows: list[dict[str, Any]],
) -> None:
    open_ = columns.build("k", stored(rows)).open
    found = [
        any(
            (type(each) is int and each >= 1 << 63) or (type(each) is str and len(each) > 256)
            for each in _elements(row.get("k"))
        )
        for row in rows
    ]
    if open_ is None:
        assert not any(found)
    else:
        assert unpack_bits(open_, len(rows)).tolist() == found


def _elements(value: Any) -> list[Any]:
    return value if type(value) is list else [value]


@given(st.lists(payloads, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_facets_count_a_row_once_for_each_value(
    rows: list[dict[str, Any]], rng: random.Random
) -> None:
    chosen = [rng.random() < 0.7 for _ in rows]
    truth: dict[Any, int] = {}
    for row, mine in zip(rows, chosen, strict=True):
        for kind, value in {(type(v), v) for v in map(_hashable, _elements(row.get("k")))}:
            left_out = (kind is int and value >= 1 << 63) or (kind is str and len(value) > 256)
            if mine and kind in (bool, int, str) and not left_out:
                truth[kind, value] = truth.get((kind, value), 0) + 1
    mask = pack_bits(np.array(chosen))
    for column in (columns.build("k", stored(rows)), grown("k", stored(rows))):
        assert counted(column, mask) == truth


def _hashable(value: Any) -> Any:
    return None if isinstance(value, (list, dict)) else value


def counted(column: Column | columns.Joined, mask: Any = None) -> dict[Any, int]:
    """(type, value) -> rows."""
    found: dict[Any, int] = {}
    for facet in column.facet(mask):
        at = np.flatnonzero(facet.counts)
        for value, count in zip(facet.values(at), facet.counts[at].tolist(), strict=True):
            found[type(value), value] = found.get((type(value), value), 0) + count
    return found


@given(
    st.lists(payloads, min_size=1, max_size=30),
    st.booleans(),
    st.integers(0, 8),
    st.one_of(st.none(), numbers),
    st.randoms(use_true_random=False),
)
def test_the_first_rows_by_a_value_are_those_of_a_sort(
    rows: list[dict[str, Any]],
    descending: bool,
    count: int,
    start: float | None,
    rng: random.Random,
) -> None:
    chosen = [rng.random() < 0.8 for _ in rows]
    entries = [
        (value, row)
        for row, payload in enumerate(rows)
        if chosen[row]
        for value in placing(_elements(payload.get("k")))
        if start is None or (value <= start if descending else value >= start)
        if type(value) is float or value < 1 << 63
    ]
    entries.sort(reverse=descending)
    mask = pack_bits(np.array(chosen))
    for column in (columns.build("k", stored(rows)), grown("k", stored(rows))):
        found, where = column.ordered(mask, start, descending, count)
        got = sorted(zip(found, where.tolist(), strict=True), reverse=descending)
        assert len(set(got)) == len(got)
        assert set(got) <= set(entries)
        if count:
            last = entries[:count][-1:]
            tied = [e for e in entries if last and e[0] == last[0][0]]
            assert {*entries[:count], *tied} <= set(got)


@given(st.lists(payloads, min_size=1, max_size=60), fields)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_a_column_that_grew_is_that_of_all_rows(
    rows: list[dict[str, Any]], field: dict[str, Any]
) -> None:
    data, path = stored(rows), columns.canonical(field["key"])
    whole = told({"must": field}, {path: columns.build(path, data)}, len(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing, "_PIECE", 8)
        assert told({"must": field}, {path: grown(path, data)}, len(rows)) == whole


def test_pieces_of_a_growing_column_are_few_and_few_rows_are_read_again() -> None:
    column = columns.Growing("k")
    sizes = []
    for start in range(0, 20_000, 500):
        column.extend(encode({"k": row}) for row in range(start, start + 500))
        sizes.append(len(column.column().pieces))
    assert max(sizes) <= 6
    joined = column.column()
    assert joined.rows == 20_000
    assert counted(joined) == {(int, row): 1 for row in range(20_000)}
    surely, possibly = told({"must": {"key": "k", "range": {"gte": 19_990}}}, {"k": joined}, 20_000)
    assert surely == possibly == [row >= 19_990 for row in range(20_000)]


@pytest.mark.parametrize("at", range(1, 6))
def test_a_growing_column_that_was_cut_short_is_still_that_of_all_rows(
    monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Pieces were gone before there was one of their rows, and rows counted that were in none."""
    column, calls, real = columns.Growing("k"), 0, Collector.column

    def cut_short(self: Collector, begin: int, end: int) -> Column:
        nonlocal calls
        calls += 1
        if calls == at:
            raise MemoryError
        return real(self, begin, end)

    monkeypatch.setattr(growing, "_PIECE", 8)
    monkeypatch.setattr(Collector, "column", cut_short)
    for start in range(0, 64, 16):
        column.extend(encode({"k": row}) for row in range(start, start + 16))
        with suppress(MemoryError):
            column.column()
    assert calls > at
    joined = column.column()
    assert joined.rows == 64
    assert counted(joined) == {(int, row): 1 for row in range(64)}


# --- numbers --------------------------------------------------------------------------------------


@given(st.lists(numbers, min_size=1), bounds_of(numbers))
def test_a_range_is_compared_exactly(held: list[float], ends: dict[str, float]) -> None:
    rows = [{"k": value} for value in held if type(value) is float or value < 1 << 63]
    if rows:
        field = {"must": {"key": "k", "range": ends}}
        column = columns.build("k", stored(rows))
        surely, possibly = told(field, {"k": column}, len(rows))
        assert surely == possibly == expected(field, rows)


def test_what_is_not_a_number_is_in_the_range_without_ends_alone() -> None:
    rows: list[dict[str, Any]] = [{"k": math.nan}, {"k": -math.nan}, {"k": math.inf}, {"k": 1}, {}]
    column = columns.build("k", stored(rows))
    for ends in ({}, {"gte": -math.inf}, {"lte": math.inf}, {"gt": 0}):
        condition = FieldCondition(key="k", range=Range(**ends))
        surely, possibly = told(Filter(must=condition), {"k": column}, 5)
        assert surely == possibly == expected(Filter(must=condition), rows), ends
    assert column.ordered(None, None, False, 10)[0] == [1, math.inf]


@pytest.mark.parametrize("rows", [1, 63, 1000, scanning.COMPILED_FROM + 77])
@pytest.mark.parametrize("spread", [3, 250, 60_000, 1 << 31, 1 << 60])
def test_many_rows_are_told_as_few_are(rows: int, spread: int) -> None:
    """Compiled loops and those of numpy, codes of every width, dense ones and entries."""
    rng = np.random.default_rng(rows)
    held = rng.integers(-spread, spread, rows)
    data = [
        {"k": [int(v), int(w)] if i % 9 == 0 else int(v)} if i % 11 else {}
        for i, (v, w) in enumerate(zip(held, held[::-1], strict=True))
    ]
    column = columns.build("k", stored(data))
    low, high = -spread // 3, spread // 2
    some = held[:: max(rows // 20, 1)].tolist()
    chosen = pack_bits(held > 0)
    for test in (
        {"range": {"gte": low, "lt": high}},
        {"match": {"value": int(held[0])}},
        {"match": {"any": some}},
        {"match": {"except": some}},
    ):
        filter = {"must": {"key": "k", **test}}
        surely, possibly = told(filter, {"k": column}, rows)
        assert surely == possibly == expected(filter, data)
    truth: dict[Any, int] = {}
    for value, row in zip(held.tolist(), data, strict=True):
        for each in set(_elements(row.get("k"))) - {None}:
            truth[int, each] = truth.get((int, each), 0) + (value > 0)
    assert counted(column, chosen) == {key: count for key, count in truth.items() if count}


# --- strings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "texts",
    [
        [f"2024-0{m}-1{d}" for m in range(1, 10) for d in range(10)],
        [f"2024-02-{d:02}" for d in range(20, 40)],
        [f"{y:04}-02-29T23:59:59Z" for y in range(0, 2500, 50)],
        [f"2024-01-01 10:20:30.{d}" for d in range(10)],
        [f"2024-01-01T10:20:30.{d:06}+00:00" for d in range(0, 10**6, 9999)],
        [f"2024-01-01T{h:02}:{h:02}:{2 * h:02}" for h in range(35)],
        [str(uuid.UUID(int=i * 0x1234567890ABCDEF1234567 << 31)) for i in range(1, 50)],
        ["6f9619ff-8b86-d011-b42d-00c04fc964f" + c for c in "0123456789abcdefgABCDEF-"],
    ],
)
@pytest.mark.parametrize("odd", [[], ["x", "2024", "", "é" * 20, "2024-01-01T10:20:30.5Z"]])
def test_strings_in_a_short_form_are_written_again_to_the_letter(
    texts: list[str], odd: list[str]
) -> None:
    rows = [{"k": text} for text in [*texts, *odd, *texts[:3]]]
    column = read_back(columns.build("k", stored(rows)))
    truth: dict[Any, int] = {(str, text): 1 for text in [*texts, *odd]}
    truth.update({(str, text): 2 for text in texts[:3]})
    assert counted(column) == truth
    for text in [*texts, *odd, texts[0] + "Z", texts[0][:-1], texts[0] + "?", texts[0].upper()]:
        filter = {"must": {"key": "k", "match": {"value": text}}}
        surely, possibly = told(filter, {"k": column}, len(rows))
        assert surely == possibly == expected(filter, rows)
    for listed in (texts[::2], [*odd, texts[0] + "Z"]):
        filter = {"must": {"key": "k", "match": {"any": listed}}}
        surely, possibly = told(filter, {"k": column}, len(rows))
        assert surely == possibly == expected(filter, rows)
    for low, high in (("2024-02-01", "2024-02-29"), ("0100-01-01", "2024-01-01T10:20:30.4")):
        filter = {"must": {"key": "k", "range": {"gte": low, "lt": high}}}
        surely, possibly = told(filter, {"k": column}, len(rows))
        assert surely == possibly == expected(filter, rows)


few_letters = st.text("ab", max_size=8)
"""The bytes of many such texts also stand inside others and across two of them."""


@given(
    st.one_of(st.sets(st.text(max_size=4), max_size=200), st.sets(few_letters, max_size=200)),
    st.one_of(st.text(max_size=3), few_letters),
)
@settings(max_examples=100)
def test_a_dictionary_finds_texts_and_prefixes(texts: set[str], prefix: str) -> None:
    listed = sorted(encoded(text) for text in texts)
    strings = Strings.of(listed)
    for text in [*texts, prefix]:
        first, last = strings.find(text)
        assert (first, last) == (1, 0) or listed[first - 1] == encoded(text)
        assert (first <= last) == (text in texts)
    found = strings.find_all([*texts, prefix])
    assert sorted({code for code, last in found if code <= last}) == [*range(1, len(texts) + 1)]
    first, last = strings.prefix(prefix)
    assert [text for text in listed if text.startswith(encoded(prefix))] == listed[first - 1 : last]
    everything = np.arange(1, len(listed) + 1)
    assert strings.values(everything) == [text.decode() for text in listed]


# --- texts ----------------------------------------------------------------------------------------

INDEXES: list[dict[str, Any]] = [
    {"type": "text"},
    {"type": "text", "tokenizer": "whitespace", "lowercase": False},
    {"type": "text", "tokenizer": "prefix", "min_token_len": 2, "max_token_len": 3},
    {"type": "text", "tokenizer": "multilingual"},
    {"type": "text", "tokenizer": "code"},
]


@given(
    st.lists(payloads, min_size=1, max_size=20),
    filters_of(
        st.one_of(
            st.builds(
                lambda key, test: {"key": key, **test},
                st.sampled_from(("k", "a[].b")),
                st.one_of(text_tests, tests),
            ),
            nested,
        )
    ),
    st.sampled_from(INDEXES),
    st.booleans(),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_a_text_index_tells_what_the_row_test_says(
    rows: list[dict[str, Any]], filter: Any, index: dict[str, Any], in_objects: bool
) -> None:
    params = coerce(TextIndexParams, {**index, **({"nested": "a"} if in_objects else {})})
    schema = dict.fromkeys(("k", "a[].b"), params)
    data = stored(rows)
    known = {path: read_back(columns.build(path, data, params)) for path in schema}
    truth = expected(filter, rows, schema)
    surely, possibly = told(filter, known, len(rows), schema)
    for row, (sure, true, possible) in enumerate(zip(surely, truth, possibly, strict=True)):
        assert sure <= true <= possible, (row, rows[row])


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("query", QUERIES)
def test_all_and_any_tokens_are_told_for_sure(index: dict[str, Any], query: str) -> None:
    rows: list[dict[str, Any]] = [{"k": text} for text in TEXTS]
    rows += [{"k": ["the red", "quick fox"]}, {"k": ["red", 1]}, {"k": None}, {}]
    params = coerce(TextIndexParams, index)
    column = columns.build("k", stored(rows), params)
    for how in ("text", "text_any", "phrase"):
        filter = {"must": {"key": "k", "match": {how: query}}}
        truth = expected(filter, rows, {"k": params})
        surely, possibly = told(filter, {"k": column}, len(rows), {"k": params})
        assert all(true <= possible for true, possible in zip(truth, possibly, strict=True))
        if how == "phrase":
            assert all(sure <= true for sure, true in zip(surely, truth, strict=True))
        else:
            assert surely == possibly == truth


def test_tokens_of_another_index_are_not_used() -> None:
    rows = [{"k": "Red fox"}, {"k": "red"}, {"k": "blue"}]
    lower, as_it_is = (coerce(TextIndexParams, each) for each in INDEXES[:2])
    column = columns.build("k", stored(rows), lower)
    filter = {"must": {"key": "k", "match": {"text": "Red"}}}
    assert told(filter, {"k": column}, 3, {"k": lower})[0] == [True, True, False]
    assert told(filter, {"k": column}, 3, {"k": as_it_is}) == ([False] * 3, [True] * 3)
    on_disk = coerce(TextIndexParams, {**INDEXES[0], "on_disk": True})  # makes the same tokens
    assert told(filter, {"k": column}, 3, {"k": on_disk})[0] == [True, True, False]


def test_a_whole_text_is_looked_for_where_its_tokens_are() -> None:
    rows: list[dict[str, Any]] = [
        {"k": "a red fox"},
        {"k": "fox a red"},
        {"k": "a fox"},
        {"k": 1},
        {},
    ]
    params = coerce(TextIndexParams, INDEXES[0])
    column = columns.build("k", stored(rows), params)
    filter = {"must": {"key": "k", "match": {"value": "a red fox"}}}
    surely, possibly = told(filter, {"k": column}, 5, {"k": params})
    assert surely == [False] * 5
    assert possibly == [True, True, False, False, False]


def test_parts_of_strings_are_looked_for_in_each_string_once() -> None:
    rows = [{"k": ["red fox", "blue dog"][row % 2]} for row in range(100)]
    column = columns.build("k", stored(rows))
    for test in (
        {"substring": "fo"},
        {"text": "FOX"},
        {"text_any": "x fox"},
        {"phrase": "red fox"},
    ):
        filter = {"must": {"key": "k", "match": test}}
        surely, possibly = told(filter, {"k": column}, 100)
        assert surely == possibly == [row % 2 == 0 for row in range(100)]


# --- places ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1, 2000])
def test_places_are_found_in_areas_as_each_by_itself(rows: int) -> None:
    rng = np.random.default_rng(rows)
    at = np.column_stack((rng.uniform(-180, 180, rows), rng.uniform(-90, 90, rows))).round(1)
    data = [{"k": {"lon": lon, "lat": lat}} for lon, lat in at.tolist()]
    column = read_back(columns.build("k", stored(data)))
    for lon, lat in ((0, 0), (179.5, 10), (-100, 89), (20, -89.9), (-180, 60)):
        center = {"lon": lon, "lat": lat}
        for radius in (10_000, 500_000, 5_000_000):
            filter = {"must": {"key": "k", "geo_radius": {"center": center, "radius": radius}}}
            surely, possibly = told(filter, {"k": column}, rows)
            assert surely == possibly == expected(filter, data)


def test_a_circle_has_places_that_are_beyond_a_pole() -> None:
    """They lie on the other side of the Earth, and were looked for on this one."""
    at = [(0, 100), (180, 80), (0, -100), (370, 10), (5, 460)]
    data = [{"k": {"lon": lon, "lat": lat}} for lon, lat in at]
    column = read_back(columns.build("k", stored(data)))
    found = []
    for lon, lat in ((180, 78), (180, -78), (-175, 78), (5, 80)):
        circle = {"center": {"lon": lon, "lat": lat}, "radius": 400_000}
        filter = {"must": {"key": "k", "geo_radius": circle}}
        surely, possibly = told(filter, {"k": column}, len(at))
        assert surely == possibly == expected(filter, data)
        found.append([row for row, match in enumerate(surely) if match])
    assert found[:2] == [[0, 1, 4], [2]]


# --- bytes ----------------------------------------------------------------------------------------


def mixed(rows: int) -> list[dict[str, Any]]:
    """Payloads of which a column has all that it can have."""
    each = [
        1, 2.5, True, "a", None, [], [1, 2, "a"], ["2024-05-06"], {"b": 1}, [None, [1]], 1 << 63,
        {"lon": 1, "lat": 2.5}, [{"lon": 3, "lat": 2}], "x" * 300, "one two", "two three",
        "2024-05-06T07:08:09Z", 1 << 40, ["b", "a", "b"],
    ]  # fmt: skip
    return [{"k": each[row % len(each)]} for row in range(rows)]


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 100])
def test_bytes_are_read_back(rows: int) -> None:
    data = mixed(rows)
    column = columns.build("k", stored(data))
    again = read_back(column)
    assert counted(again) == counted(column)
    again.verify()
    assert [bytes(each) for each in again.pack()] == [bytes(each) for each in column.pack()]
    with pytest.raises(DamageError):
        Column.read(np.frombuffer(b"".join(map(bytes, column.pack())), np.uint8), rows + 1)


def test_a_column_that_is_read_copies_nothing() -> None:
    column = columns.build("k", stored(mixed(50_000)))
    data = np.frombuffer(b"".join(map(bytes, column.pack())), np.uint8)
    tracemalloc.start()
    read = Column.read(data, 50_000)
    grown_by, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown_by < 20_000 < len(data)
    assert counted(read) == counted(column)


QUESTIONS: list[dict[str, Any]] = [
    {"match": {"text": "two"}},
    {"match": {"prefix": "o"}},
    {"geo_radius": {"center": {"lon": 1, "lat": 2}, "radius": 100_000}},
    {"match": {"value": 1}},
    {"match": {"any": ["a", "b", "2024-05-06"]}},
    {"match": {"except": list(range(0, 40, 2))}},
    {"range": {"gte": -5, "lt": 1e12}},
    {"range": {"gte": "2020-01-01T00:00:00Z"}},
    {"values_count": {"gte": 2}},
    {"is_empty": True},
    {"is_null": True},
]


TEXT = coerce(TextIndexParams, {"type": "text"})


def ask_everything(data: Any, rows: int) -> None:
    """Whatever the bytes are, answers of the right size, or DamageError."""
    try:
        column = Column.read(data, rows)
    except DamageError:
        return
    mask = pack_bits(np.arange(rows) % 3 > 0)
    for test in QUESTIONS:
        try:
            filter = {"must": {"key": "k", **test}}
            surely, possibly = told(filter, {"k": column}, rows, {"k": TEXT})
            assert len(surely) == len(possibly) == rows
        except DamageError:
            pass
    for ask in (
        lambda: counted(column, mask),
        lambda: column.ordered(mask, None, True, 3),
        lambda: column.ordered(None, 1, False, 3),
        column.verify,
    ):
        try:
            ask()
        except DamageError:
            pass


@pytest.mark.parametrize("rows", [30, 200])
def test_damaged_bytes_give_answers_or_damage_errors(rows: int) -> None:
    data = mixed(rows) + [{"k": "x" * (row % 7)} for row in range(rows)]
    text = TEXT if rows == 30 else None
    whole = b"".join(map(bytes, columns.build("k", stored(data), text).pack()))
    rng = random.Random(rows)
    for _ in range(1000):
        damaged = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 8))):
            damaged[rng.randrange(len(damaged))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0xC0, 5))
        ask_everything(np.frombuffer(bytes(damaged), np.uint8), 2 * rows)
    for length in range(0, len(whole), 7):
        ask_everything(np.frombuffer(whole[:length], np.uint8), 2 * rows)


def test_facts_that_are_nonsense_are_damage() -> None:
    facts, blocks = unpack_blocks(
        memoryview(b"".join(map(bytes, columns.build("k", stored(mixed(40)), TEXT).pack())))
    )
    rng = random.Random(1)
    nonsense: list[Any] = [
        None,
        -1,
        1 << 64,
        1 << 70,
        "x",
        [],
        {},
        [0, 1],
        [99, 8],
        [[]],
        1.5,
        True,
    ]
    for _ in range(3000):
        changed = copy.deepcopy(facts)
        spot: Any = changed
        key: Any = rng.choice(list(changed))
        while isinstance(spot[key], list) and spot[key] and rng.random() < 0.8:
            spot, key = spot[key], rng.randrange(len(spot[key]))
        spot[key] = rng.choice(nonsense)
        try:
            data = b"".join(map(bytes, pack_blocks(changed, blocks)))
        except OverflowError:
            continue
        ask_everything(np.frombuffer(data, np.uint8), 40)


# --- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a", "a"),
        ('"a"."b"[]', "a.b[]"),
        ('"a b".c[007]', '"a b".c[7]'),
        ('"".x', '"".x'),
        ("é-1", "é-1"),
    ],
)
def test_a_path_has_one_spelling(path: str, name: str) -> None:
    assert columns.canonical(path) == name == columns.canonical(name)


def test_a_path_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="not a path"):
        columns.build("a..b", [])


def test_a_payload_that_cannot_be_decoded_is_damage() -> None:
    with pytest.raises(DamageError):
        columns.build("k", [b"\xc1"])


# --- three-valued ---------------------------------------------------------------------------------


@pytest.mark.parametrize("several", [1, 2, 3, 7, 8, 30])
def test_rows_are_counted_by_how_many_conditions_hold(several: int) -> None:
    rng = np.random.default_rng(several)
    surely = rng.random((several, 100)) < 0.4
    possibly = surely | (rng.random((several, 100)) < 0.3)
    masks = [(pack_bits(s), pack_bits(p)) for s, p in zip(surely, possibly, strict=True)]
    known = [exactly(bits) for bits, _ in masks]
    for wanted in range(1, several + 3):
        found = at_least(wanted, masks, 100)
        for bits, flags in zip(found, (surely, possibly), strict=True):
            assert unpack_bits(bits, 100).tolist() == (flags.sum(axis=0) >= wanted).tolist()
        one, same = at_least(wanted, known, 100)
        assert one is same
        assert one.tolist() == found[0].tolist()
