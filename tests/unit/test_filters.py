"""Filters mean what Qdrant's mean: tables of cases, and qdrant_client's local mode as oracle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cases import first_few
from vecdb.errors import InvalidInputError
from vecdb.models import Filter, coerce, parse_field_schema
from vecdb.payload.filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    compile_filter,
    lazily,
    plain_fields,
)
from vecdb.payload.split import payload_part

UUID_TEXT = "6f9619ff-8b86-d011-b42d-00c04fc964ff"


def matches(
    filter: Any, payload: dict[str, Any], point_id: int | str = 1, vectors: tuple[str, ...] = ()
) -> bool:
    read = coerce(Filter, filter, "filter")
    found = compile_filter(read)(point_id, payload, frozenset(vectors))
    if plain_fields(read) is not None:
        assert lazily(read)(point_id, payload, frozenset(vectors)) == found
    return found


def holds(condition: dict[str, Any], payload: dict[str, Any]) -> bool:
    return matches({"must": condition}, payload)


@pytest.mark.parametrize(
    ("wanted", "value", "expected"),
    [
        (1, 1, True),
        (1, True, False),
        (1, 1.0, False),
        (1, "1", False),
        (True, True, True),
        (True, 1, False),
        (False, 0, False),
        ("a", "a", True),
        ("a", "A", False),
        ("a", None, False),
        ("a", ["b", "a"], True),
        ("a", [["a"]], False),
        ("a", {"a": "a"}, False),
        ("a", [], False),
    ],
)
def test_match_value_is_equality_of_json(wanted: Any, value: Any, expected: bool) -> None:
    assert holds({"key": "k", "match": {"value": wanted}}, {"k": value}) is expected
    assert not holds({"key": "k", "match": {"value": wanted}}, {"other": value})
    if type(wanted) is not bool:
        assert holds({"key": "k", "match": {"any": [wanted]}}, {"k": value}) is expected
        assert holds({"key": "k", "match": {"any": [wanted, wanted * 2]}}, {"k": value}) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, False),
        (3, True),
        (1.0, True),
        (True, True),
        ("1", True),
        (None, False),
        ([], False),
        ([1, 2], False),
        ([1, 3], True),
        ([None], False),
        ({}, True),
    ],
)
def test_except_needs_a_value_that_is_not_listed(value: Any, expected: bool) -> None:
    assert holds({"key": "k", "match": {"except": [1, 2]}}, {"k": value}) is expected


def test_empty_lists_match_nothing_and_except_nothing() -> None:
    assert not holds({"key": "k", "match": {"any": []}}, {"k": 1})
    assert holds({"key": "k", "match": {"except": []}}, {"k": 1})
    assert not holds({"key": "k", "match": {"except": []}}, {})


@pytest.mark.parametrize(
    ("bounds", "value", "expected"),
    [
        ({"gte": 1, "lt": 2}, 1, True),
        ({"gte": 1, "lt": 2}, 2, False),
        ({"gt": 1, "lte": 2}, 1.0, False),
        ({"gt": 1, "lte": 2}, 2.0, True),
        ({"gte": 0}, True, False),
        ({"gte": 0}, "5", False),
        ({"gte": 0}, None, False),
        ({"gte": 2}, [1, 3], True),
        ({"gte": 2, "lte": 2}, [1, 3], False),
        ({"gt": 2**53}, 2**53 + 1, True),
        ({"gt": 2**53 + 1}, 2**53 + 1, False),
        ({"gte": 0}, float("nan"), False),
        ({}, 3, True),
        ({}, "3", False),
    ],
)
def test_ranges_are_over_numbers(bounds: Any, value: Any, expected: bool) -> None:
    assert holds({"key": "k", "range": bounds}, {"k": value}) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-06-01T00:00:00Z", True),
        ("2024-06-01T00:00:00z", True),
        ("2024-06-01 00:00:00.5 UTC", True),
        ("2024-06-01", True),
        ("2024-6-1", True),
        (" 2024-06-01T12:30", True),
        ("2024-06-01T00:00:00 +01:00", True),
        ("2024-06-01T01:00:00+0200", False),  # still May
        ("2024-06-01T01:00:00+02", False),
        ("2024-05-31T23:00:00-0130", True),
        ("2024-07-01T00:00:00", False),
        ("2024-06-30T23:59:59.9999999", True),
        ("2024-06-31", False),
        ("2024-06-01T25:00:00", False),
        ("2024-06-01T00:00:00+25:00", False),
        ("2024-06-01T00:00:00+00:75", False),
        ("2024-06-01T00:00:00Z tomorrow", False),
        ("2024-06", False),
        ("", False),
        (20240601, False),
        (["x", "2024-06-02"], True),
    ],
)
def test_datetime_ranges_are_over_moments(value: Any, expected: bool) -> None:
    june = {"gte": "2024-06-01T00:00:00Z", "lt": "2024-07-01"}
    if value == "2024-06-01T00:00:00 +01:00":
        june["gte"] = "2024-05-31T23:00:00Z"
    assert holds({"key": "k", "range": june}, {"k": value}) is expected


@pytest.mark.parametrize("edge", [5, "2024-06-01T00:00:00Z"])
def test_bounds_include_their_edge_or_not(edge: Any) -> None:
    included = {
        name: holds({"key": "k", "range": {name: edge}}, {"k": edge})
        for name in ("gt", "gte", "lt", "lte")
    }
    assert included == {"gt": False, "gte": True, "lt": False, "lte": True}


EMPTY_AND_NULL = [
    # payload, is_empty, is_null
    ({}, True, False),
    ({"k": None}, True, True),
    ({"k": []}, True, False),
    ({"k": [None]}, False, True),
    ({"k": [1, None]}, False, True),
    ({"k": [[None]]}, False, False),
    ({"k": ""}, False, False),
    ({"k": 0}, False, False),
    ({"k": {}}, False, False),
]


@pytest.mark.parametrize(("payload", "empty", "null"), EMPTY_AND_NULL)
def test_empty_and_null(payload: Any, empty: bool, null: bool) -> None:
    assert holds({"is_empty": {"key": "k"}}, payload) is empty
    assert holds({"key": "k", "is_empty": True}, payload) is empty
    assert holds({"key": "k", "is_empty": False}, payload) is not empty
    assert holds({"is_null": {"key": "k"}}, payload) is null
    assert holds({"key": "k", "is_null": True}, payload) is null
    assert holds({"key": "k", "is_null": False}, payload) is not null


@pytest.mark.parametrize(
    ("payload", "count"),
    [({}, 0), ({"k": None}, 0), ({"k": []}, 0), ({"k": 7}, 1), ({"k": {}}, 1), ({"k": [1, 2]}, 2)],
)
def test_values_count(payload: Any, count: int) -> None:
    assert holds({"key": "k", "values_count": {"gte": count, "lte": count}}, payload)
    assert not holds({"key": "k", "values_count": {"gt": count}}, payload)
    assert not holds({"key": "k", "values_count": {"lt": count}}, payload)


def test_values_count_holds_if_one_value_satisfies_all_bounds() -> None:
    payload = {"a": [{"b": [1]}, {"b": [1, 2, 3]}]}
    assert holds({"key": "a[].b", "values_count": {"gt": 2}}, payload)
    assert not holds({"key": "a[].b", "values_count": {"gt": 1, "lt": 3}}, payload)


DEEP = {"a": {"b": [{"c": 1}, {"c": [2, 3]}, 4]}, "x.y": 5, "é_-1": 6, "": 7, "m": [[8]]}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("a.b[].c", 1, True),
        ("a.b[].c", 3, True),
        ("a.b[0].c", 1, True),
        ("a.b[1].c[1]", 3, True),
        ("a.b[1].c[0]", 3, False),
        ("a.b[1].c[]", 3, True),
        ("a.b[9].c", 1, False),
        ("a.b", 4, True),
        ("a.b.c", 1, False),
        ("a[].b", 4, False),
        ('"x.y"', 5, True),
        ("x.y", 5, False),
        ("é_-1", 6, True),
        ('""', 7, True),
        ("m[]", 8, True),
        ("m[][]", 8, True),
        ("m", 8, False),
        ('"a"."b"[0]."c"', 1, True),
    ],
)
def test_paths(path: str, value: int, expected: bool) -> None:
    assert holds({"key": path, "match": {"value": value}}, DEEP) is expected


BAD_PATHS = [
    "",
    ".",
    "a.",
    ".a",
    "a..b",
    "a b",
    "a[",
    "a[-1]",
    "a[x]",
    "[0]",
    'a"b"',
    '"a',
    "a[0]b",
]
BAD_PATHS += ["a\n", '"a"b', "a[²]", "a[" + "1" * 30 + "]"]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_bad_paths_are_refused_when_the_filter_is_compiled(path: str) -> None:
    with pytest.raises(InvalidInputError, match=r"is not a path; expected names like a\.b"):
        holds({"key": path, "match": {"value": 1}}, {})


def test_clauses() -> None:
    one, two = ({"key": "k", "match": {"value": value}} for value in (1, 2))
    assert matches({"must": [one, two]}, {"k": [1, 2]})
    assert not matches({"must": [one, two]}, {"k": 1})
    assert matches({"should": [one, two]}, {"k": 2})
    assert not matches({"should": [one, two]}, {"k": 3})
    assert matches({"must_not": [one, two]}, {"k": 3})
    assert not matches({"must_not": [one, two]}, {"k": 2})
    assert matches(
        {"must": one, "should": two, "must_not": {"is_null": {"key": "k"}}}, {"k": [1, 2]}
    )
    assert not matches({"must": one, "should": two}, {"k": [1]})
    assert matches({"must": {"should": [{"must_not": one}]}}, {"k": 3})


@pytest.mark.parametrize("clause", ["must", "should", "must_not"])
def test_an_empty_clause_asks_for_nothing(clause: str) -> None:
    assert matches({clause: []}, {})
    assert matches({clause: [], "must": []}, {})
    assert matches({}, {})


def test_min_should_counts() -> None:
    parts = [{"key": "k", "match": {"value": value}} for value in (1, 2, 3)]
    for wanted, payload, expected in [
        (1, {"k": 1}, True),
        (2, {"k": 1}, False),
        (2, {"k": [1, 3]}, True),
        (3, {"k": [1, 2, 3]}, True),
        (4, {"k": [1, 2, 3]}, False),
    ]:
        assert (
            matches({"min_should": {"conditions": parts, "min_count": wanted}}, payload) is expected
        )
    assert not matches({"min_should": {"conditions": [], "min_count": 1}}, {})


def test_nested_asks_one_object_for_everything() -> None:
    both = {
        "must": [{"key": "food", "match": {"value": "meat"}}, {"key": "likes", "is_empty": False}]
    }
    one = {"diet": [{"food": "meat", "likes": True}, {"food": "leaves"}]}
    two = {"diet": [{"food": "meat"}, {"food": "leaves", "likes": True}]}
    for key in ("diet", "diet[]"):
        assert holds({"nested": {"key": key, "filter": both}}, one)
        assert not holds({"nested": {"key": key, "filter": both}}, two)
    # Only objects in an array are asked.
    for payload in ({}, {"diet": None}, {"diet": {"food": 1}}, {"diet": [1, None, [{}]]}):
        assert not holds({"nested": {"key": "diet", "filter": {}}}, payload)


@pytest.mark.parametrize(
    "condition", [{"has_id": [1]}, {"has_vector": ""}, {"slice": {"total": 1, "index": 0}}]
)
def test_nested_refuses_conditions_about_points(condition: Any) -> None:
    nested = {"nested": {"key": "a", "filter": {"must_not": [{"should": condition}]}}}
    with pytest.raises(InvalidInputError, match="inside a nested filter is about points"):
        holds(nested, {})


def test_has_id_in_any_spelling() -> None:
    filter = {"must": {"has_id": [1, UUID_TEXT.upper().replace("-", "")]}}
    assert matches(filter, {}, 1)
    assert matches(filter, {}, UUID_TEXT)
    assert not matches(filter, {}, 2)


def test_slices_share_all_ids_out() -> None:
    ids: list[int | str] = [*range(60), 2**63, UUID_TEXT]
    for total in (1, 2, 7):
        dealt = [
            [i for i in ids if matches({"must": {"slice": {"total": total, "index": n}}}, {}, i)]
            for n in range(total)
        ]
        assert sorted(str(i) for part in dealt for i in part) == sorted(map(str, ids))
        assert all(dealt)


def under(schema: dict[str, Any], filter: dict[str, Any], payload: dict[str, Any]) -> bool:
    """Whether a payload matches where fields have these payload indexes."""
    read = {field: parse_field_schema(each) for field, each in schema.items()}
    return compile_filter(coerce(Filter, filter), read)(1, payload, frozenset())


def test_a_text_index_says_what_a_token_is() -> None:
    stem = {"type": "text", "stemmer": {"type": "snowball", "language": "english"}}
    runs = {"must": {"key": "t", "match": {"text": "runs"}}}
    assert not under({}, runs, {"t": "Running"})
    assert not under({"t": "text"}, runs, {"t": "Running"})
    assert not under({"other": stem, "t": "keyword", "t[]": stem}, runs, {"t": "Running"})
    for field in ("t", '"t"'):
        assert under({field: stem}, runs, {"t": "Running"})
        assert under({field: stem}, runs, {"t": [5, "x", "Running"]})
        assert not under({field: stem}, runs, {"t": [["Running"], {"a": "Running"}, 5, None]})


def test_the_texts_of_an_indexed_field_count_together() -> None:
    payload = {"t": ["alpha beta", "gamma"], "o": [{"t": "a b"}, {"t": ["c", "d"]}, 7]}
    both = {"must": {"key": "t", "match": {"text": "gamma alpha"}}}
    assert not under({}, both, payload)
    assert under({"t": "text"}, both, payload)
    assert not under(
        {"t": "text"}, {"must": {"key": "t", "match": {"phrase": "beta gamma"}}}, payload
    )
    for text, alone, together, each in [
        ("a b", True, True, True),
        ("b c", False, True, False),
        ("c d", False, True, True),
        ("e", False, False, False),
    ]:
        asked = {"must": {"key": "o[].t", "match": {"text": text}}}
        assert under({}, asked, payload) is alone
        assert under({"o[].t": "text"}, asked, payload) is together
        assert under({"o[].t": {"type": "text", "nested": "o"}}, asked, payload) is each


def test_a_nested_filter_asks_by_the_index_of_the_whole_path() -> None:
    schema = {"o[].in[].t": {"type": "text", "tokenizer": "prefix"}}
    inner = {"must": {"key": "t", "match": {"text": "qd ve"}}}
    nested = {"nested": {"key": "in", "filter": inner}}
    filter = {"must": {"nested": {"key": "o[]", "filter": {"must": nested}}}}
    assert under(schema, filter, {"o": [{"in": [{"t": "Qdrant vecdb"}]}]})
    assert not under(schema, filter, {"o": [{"in": [{"t": "Qdrant"}, {"t": "vecdb"}]}]})
    assert not under({}, filter, {"o": [{"in": [{"t": "Qdrant vecdb"}]}]})


def test_beginnings_and_parts_of_strings_are_compared_as_they_are() -> None:
    for kind, found, missed in [
        ("prefix", ["", "Be", "Berlin"], ["be", "erl", "Berlin "]),
        ("substring", ["", "erl", "Berlin"], ["ERL", "Bln"]),
    ]:
        for value in found:
            assert holds({"key": "k", "match": {kind: value}}, {"k": ["x", "Berlin"]})
        for value in missed:
            assert not holds({"key": "k", "match": {kind: value}}, {"k": "Berlin"})
        assert not holds({"key": "k", "match": {kind: ""}}, {"k": [1, None, {}, [["a"]]]})


def test_has_vector() -> None:
    assert matches({"must": {"has_vector": "a"}}, {}, vectors=("a", "b"))
    assert not matches({"must": {"has_vector": "a"}}, {}, vectors=("b",))
    assert matches({"must_not": {"has_vector": "a"}}, {})


def nest(depth: int) -> dict[str, Any]:
    filter: dict[str, Any] = {"must": {"key": "k", "match": {"value": 1}}}
    for _ in range(depth - 1):
        filter = {"must": [filter]}
    return filter


def test_depth_and_size_are_limited() -> None:
    assert matches(nest(MAX_DEPTH), {"k": 1})
    with pytest.raises(InvalidInputError, match=f"nested deeper than {MAX_DEPTH} levels"):
        matches(nest(MAX_DEPTH + 1), {"k": 1})
    many = [{"key": "k", "match": {"value": i}} for i in range(MAX_CONDITIONS)]
    assert matches({"should": many}, {"k": 7})
    with pytest.raises(InvalidInputError, match=f"more than {MAX_CONDITIONS} conditions"):
        matches({"should": [*many, many[0]]}, {"k": 7})


HAS_NAME = {"key": "k", "match": {"value": 1}}
NO_NAME = {"is_empty": {"key": "k"}}


@pytest.mark.parametrize(
    ("filter", "part"),
    [
        ({}, None),
        ({"must": {"has_id": [1]}, "must_not": {"has_vector": "a"}}, None),
        ({"should": [{"has_id": [1]}, {"has_vector": "a"}]}, None),
        ({"min_should": {"conditions": [{"has_id": [1]}], "min_count": 1}}, None),
        ({"must": [{"must": [{"must": {"has_id": [1]}}]}]}, None),
        ({"must": HAS_NAME}, {"must": [HAS_NAME]}),
        ({"must": [HAS_NAME, {"has_id": [1]}]}, {"must": [HAS_NAME]}),
        ({"must_not": [HAS_NAME, {"has_id": [1]}]}, {"must_not": [HAS_NAME]}),
        (
            {"must": [{"must": [HAS_NAME, {"has_id": [1]}]}, {"has_vector": "a"}]},
            {"must": [{"must": [HAS_NAME]}]},
        ),
        (
            {"should": [HAS_NAME, {"has_id": [1]}], "must_not": {"has_id": [2]}},
            {"should": [HAS_NAME, {"has_id": [1]}]},
        ),
        (
            {"min_should": {"conditions": [NO_NAME, {"has_id": [1]}], "min_count": 2}},
            {"min_should": {"conditions": [NO_NAME, {"has_id": [1]}], "min_count": 2}},
        ),
    ],
)
def test_payload_part(filter: Any, part: Any) -> None:
    expected = None if part is None else coerce(Filter, part)
    assert payload_part(coerce(Filter, filter)) == expected


# The oracle. Few names and few values, so that filters often meet what they ask for.

NAMES = st.sampled_from(["a", "b", "c d"])
DAYS = ["2024-01-01", "2024-01-01T00:00:00Z", "2024-01-01 02:00:00+02:00", "2024-01-01T00:00:00.5"]
GOOD_DATES = st.sampled_from(DAYS)  # spellings that pydantic reads as well
DATES = st.sampled_from(
    [*DAYS, "2024-01-01T00:30", "2024-01-01T01:00:00+01", "2024-13-01", "2024-01-01T00:00:00 UTC"]
)
WORDS = st.sampled_from(["", "x", "y", "1", "X, y", "yx x", "x y 1", "Éx-y_1"])
NUMBERS = st.integers(-1, 3)
LEAVES = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.sampled_from([0.0, 1.0, 1.5]), WORDS, DATES
)
# A hypothesis that draws areas corner by corner takes minutes; test_geo.py does.
PLACES = st.sampled_from(
    [
        *[{"lon": lon, "lat": lat} for lon in (0, 0.5, 2) for lat in (0, 1.0)],
        *[{"lon": 1}, {"lon": "1", "lat": 1}, {"lon": True, "lat": 1}],
    ]
)
VALUES = st.recursive(
    LEAVES | PLACES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
PAYLOADS = st.dictionaries(NAMES, VALUES, max_size=3)
STEPS = st.tuples(
    st.sampled_from(["a", "b", '"c d"', '"a"']), st.sampled_from(["", "", "", "[]", "[0]", "[][1]"])
).map("".join)
PATHS = st.lists(STEPS, min_size=1, max_size=3).map(".".join)


def bounds(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    some = st.none() | values
    return st.fixed_dictionaries({"gt": some, "gte": some, "lt": some, "lte": some}).map(
        lambda given: {name: bound for name, bound in given.items() if bound is not None}
    )


MATCHES = st.one_of(
    st.fixed_dictionaries({"value": st.booleans() | NUMBERS | WORDS | DATES}),
    st.sampled_from(["text", "text_any", "phrase", "prefix", "substring"]).flatmap(
        lambda kind: st.fixed_dictionaries({kind: WORDS})
    ),
    st.sampled_from(["any", "except"]).flatmap(
        lambda kind: st.fixed_dictionaries(
            {kind: st.lists(NUMBERS, max_size=3) | st.lists(WORDS, max_size=3)}
        )
    ),
)
ORIGIN, EAST, NORTH = {"lon": 0, "lat": 0}, {"lon": 2, "lat": 0}, {"lon": 2, "lat": 2}
TRIANGLE = {"points": [ORIGIN, EAST, NORTH, ORIGIN]}
AREAS = st.sampled_from(
    [
        {"geo_bounding_box": {"top_left": {"lon": -1, "lat": 1}, "bottom_right": EAST}},
        {"geo_bounding_box": {"top_left": EAST, "bottom_right": {"lon": 0, "lat": -1}}},
        {"geo_radius": {"center": ORIGIN, "radius": 60_000}},
        {"geo_radius": {"center": EAST, "radius": 0}},
        {"geo_polygon": {"exterior": TRIANGLE}},
        {"geo_polygon": {"exterior": TRIANGLE, "interiors": [TRIANGLE]}},
    ]
)
TESTS = st.one_of(
    st.fixed_dictionaries({"match": MATCHES}),
    AREAS,
    st.fixed_dictionaries({"range": bounds(st.floats(-1, 3, width=16) | NUMBERS)}),
    st.fixed_dictionaries({"range": bounds(GOOD_DATES).filter(bool)}),
    st.fixed_dictionaries({"values_count": bounds(st.integers(0, 3))}),
    st.fixed_dictionaries({"is_empty": st.booleans()}),
    st.fixed_dictionaries({"is_null": st.booleans()}),
)
ABOUT_VALUES = st.one_of(
    st.builds(lambda key, test: {"key": key, **test}, PATHS, TESTS),
    st.builds(lambda key: {"is_empty": {"key": key}}, PATHS),
    st.builds(lambda key: {"is_null": {"key": key}}, PATHS),
)
ABOUT_POINTS = st.one_of(
    st.lists(st.sampled_from([1, 2, UUID_TEXT, UUID_TEXT.upper()]), max_size=2).map(
        lambda ids: {"has_id": ids}
    ),
    st.sampled_from(["", "text"]).map(lambda name: {"has_vector": name}),
    st.sampled_from([(1, 0), (2, 0), (2, 1), (3, 2)]).map(
        lambda each: {"slice": {"total": each[0], "index": each[1]}}
    ),
)


def filters(conditions: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(conditions, max_size=2)
    min_should = st.fixed_dictionaries(
        {"conditions": st.lists(conditions, max_size=3), "min_count": st.integers(1, 2)}
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "must": conditions | several,
            "should": conditions | several,
            "must_not": conditions | several,
            "min_should": min_should,
        },
    )


def nested(conditions: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda key, inner: {"nested": {"key": key, "filter": inner}}, PATHS, filters(conditions)
    )


INNER = st.recursive(ABOUT_VALUES, lambda c: filters(c) | nested(c), max_leaves=3)
FILTERS = filters(
    st.recursive(ABOUT_VALUES | ABOUT_POINTS, lambda c: filters(c) | nested(INNER), max_leaves=4)
)
POINTS = st.tuples(st.sampled_from([1, 2, UUID_TEXT]), st.sets(st.sampled_from(["", "text"])))

ORACLE = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
EXAMPLES = pytest.mark.parametrize(
    "oracle", first_few(1, [ORACLE, settings(ORACLE, max_examples=600)])
)


def agree_with_local_mode(
    filter: dict[str, Any], payloads: list[dict[str, Any]], point_id: int | str, names: set[str]
) -> None:
    from qdrant_client import models as theirs
    from qdrant_client.local.payload_filters import check_filter

    oracle = theirs.Filter.model_validate(filter)
    predicates = [compile_filter(coerce(Filter, form)) for form in (filter, oracle)]
    for payload in payloads:
        expected = check_filter(oracle, payload, point_id, dict.fromkeys(names, True))
        for predicate in predicates:
            assert predicate(point_id, payload, frozenset(names)) == expected, payload


@EXAMPLES
def test_whole_filters_agree_with_local_mode(oracle: settings) -> None:
    @oracle
    @given(FILTERS, st.lists(PAYLOADS, min_size=2, max_size=4), POINTS)
    def agree(
        filter: dict[str, Any], payloads: list[dict[str, Any]], point: tuple[int | str, set[str]]
    ) -> None:
        agree_with_local_mode(filter, payloads, *point)

    agree()


@EXAMPLES
def test_single_conditions_agree_with_local_mode(oracle: settings) -> None:
    """One key that is there, so that the value decides and not the path."""

    @oracle
    @given(
        TESTS, st.sampled_from(["a", "a[]", "a[0]", "a.b", "a[].b"]), st.lists(VALUES, max_size=5)
    )
    def agree(test: dict[str, Any], path: str, values: list[Any]) -> None:
        payloads: list[dict[str, Any]] = [{"a": values}]
        payloads += [{"a": value} for value in values] + [{"a": {"b": value}} for value in values]
        payloads += [{"a": [{"b": value}, 1]} for value in values]
        agree_with_local_mode({"must": {"key": path, **test}}, payloads, 1, set())

    agree()


@EXAMPLES
def test_nested_conditions_agree_with_local_mode(oracle: settings) -> None:
    @oracle
    @given(
        st.lists(TESTS, min_size=1, max_size=2),
        st.sampled_from(["a", "a[]"]),
        st.lists(st.dictionaries(st.sampled_from(["x", "y"]), VALUES) | LEAVES, max_size=4),
    )
    def agree(tests: list[dict[str, Any]], key: str, elements: list[Any]) -> None:
        inner = [{"key": name, **test} for name, test in zip("xy", tests, strict=False)]
        nested = {"nested": {"key": key, "filter": {"must": inner}}}
        agree_with_local_mode({"must": nested}, [{"a": elements, "x": 1, "y": 1}], 1, set())

    agree()
