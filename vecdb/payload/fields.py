"""Fields: what the test of a field asks of the values that a payload has there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from vecdb.errors import InvalidInputError
from vecdb.models.conditions import (
    DatetimeRange,
    FieldCondition,
    GeoBoundingBox,
    GeoPolygon,
    GeoRadius,
    Match,
    MatchAny,
    MatchExcept,
    MatchPhrase,
    MatchPrefix,
    MatchSubstring,
    MatchText,
    MatchTextAny,
    MatchValue,
    Range,
    ValuesCount,
)
from vecdb.models.datetimes import parse_datetime, with_zone
from vecdb.models.payload_schema import (
    PayloadFieldSchema,
    PayloadSchemaType,
    TextIndexParams,
    TextIndexType,
)
from vecdb.payload.geo import area_test, place
from vecdb.payload.paths import Select, Step, elements, parse_path, selector
from vecdb.payload.texts import document_test

Test = Callable[[Any], bool]
"""(a payload, or an object in it) -> does the field satisfy the condition?"""
Path = tuple[Step, ...]
TextIndexes = Mapping[Path, TextIndexParams]
"""The text indexes of a collection, by the paths of their fields."""

ValueTest = Callable[[Any], bool]


def text_indexes(schema: Mapping[str, PayloadFieldSchema] | None) -> TextIndexes:
    """The text indexes among the payload indexes of a collection."""
    found = {}
    for field, of_field in (schema or {}).items():
        if of_field is PayloadSchemaType.TEXT:
            of_field = TextIndexParams(type=TextIndexType.TEXT)
        if isinstance(of_field, TextIndexParams):
            found[tuple(parse_path(field))] = of_field
    return found


def field_test(condition: FieldCondition, within: Path, texts: TextIndexes) -> Test:
    """The test of a condition. ``within``: the path to the objects that it is asked of, as a nested
    filter asks the elements of an array."""
    path = parse_path(condition.key)
    select, match = selector(path), condition.match
    if isinstance(match, (MatchText, MatchTextAny, MatchPhrase)):
        return _text_test(match, path, texts.get((*within, *path)))
    if match is not None:
        return _any_element(select, _match_test(match))
    if isinstance(condition.range, Range):
        return _any_element(select, range_test(condition.range))
    if isinstance(condition.range, DatetimeRange):
        return _any_element(select, datetime_test(condition.range))
    area = condition.geo_bounding_box or condition.geo_radius or condition.geo_polygon
    if area is not None:
        return _any_element(select, _place_test(area))
    if condition.values_count is not None:
        return _values_count(select, condition.values_count)
    if condition.is_empty is not None:
        return _is(condition.is_empty, is_empty(condition.key))
    if condition.is_null is not None:
        return _is(condition.is_null, is_null(condition.key))
    raise InvalidInputError(f"the condition on {condition.key!r} tests nothing")


def is_empty(key: str) -> Test:
    """Whether there is nothing, or only nulls and empty arrays."""
    select = selector(parse_path(key))
    return lambda payload: all(value is None or value == [] for value in select(payload))


def is_null(key: str) -> Test:
    """Whether a value is null, or an array that holds a null."""
    select = selector(parse_path(key))

    def test(payload: Any) -> bool:
        for value in select(payload):
            if value is None:
                return True
            if type(value) is list and any(element is None for element in value):
                return True
        return False

    return test


def _is(wanted: bool, test: Test) -> Test:
    return test if wanted else lambda payload: not test(payload)


def _any_element(select: Select, test: ValueTest) -> Test:
    def any_element(payload: Any) -> bool:
        for value in select(payload):
            if type(value) is list:
                for element in value:
                    if test(element):
                        return True
            elif test(value):
                return True
        return False

    return any_element


def _values_count(select: Select, bounds: ValuesCount) -> Test:
    in_bounds = range_test(Range(lt=bounds.lt, gt=bounds.gt, gte=bounds.gte, lte=bounds.lte))

    def count(value: Any) -> int:
        if value is None:
            return 0
        return len(value) if type(value) is list else 1

    return lambda payload: any(in_bounds(count(value)) for value in select(payload) or (None,))


# -- texts -----------------------------------------------------------------------------------------


def _text_test(
    match: MatchText | MatchTextAny | MatchPhrase, path: list[Step], index: TextIndexParams | None
) -> Test:
    """To a text index all texts of a field are one document; those in one object of an array, if
    it is ``nested``. Without one each text is."""
    if index is None:
        test, documents = document_test(match), _single_texts(path)
    else:
        test, documents = document_test(match, index), documents_of(path, index)
    return lambda payload: any(map(test, documents(payload)))


Documents = Callable[[Any], Sequence[Sequence[str]]]
"""(a payload, or an object in it) -> its documents, each of which is some texts."""


def documents_of(path: list[Step], index: TextIndexParams) -> Documents:
    """The function that finds the documents of a field with a text index."""
    inner = None if index.nested is None else _below([*parse_path(index.nested), None], path)
    return _all_texts(path) if inner is None else inner


def _texts(select: Select, payload: Any) -> list[str]:
    return [value for value in elements(select(payload)) if type(value) is str]


def _single_texts(path: list[Step]) -> Documents:
    select = selector(path)
    return lambda payload: [(text,) for text in _texts(select, payload)]


def _all_texts(path: list[Step]) -> Documents:
    select = selector(path)
    return lambda payload: (_texts(select, payload),)


def _below(objects: list[Step], path: list[Step]) -> Documents | None:
    """The texts of each object on the way; None: they are not on the way."""
    if path[: len(objects)] != objects or path == objects:
        return None
    outer, inner = selector(objects), selector(path[len(objects) :])
    return lambda payload: [_texts(inner, each) for each in outer(payload) if type(each) is dict]


# -- values ----------------------------------------------------------------------------------------


def _match_test(match: Match) -> ValueTest:
    if isinstance(match, MatchValue):
        return _one_of([cast("bool | int | str", match.value)])
    if isinstance(match, MatchAny):
        return _one_of(match.any)
    if isinstance(match, MatchExcept):
        listed = _one_of(match.except_)
        return lambda value: value is not None and not listed(value)
    if isinstance(match, MatchPrefix):
        prefix = match.prefix
        return lambda value: type(value) is str and value.startswith(prefix)
    if isinstance(match, MatchSubstring):
        substring = match.substring
        return lambda value: type(value) is str and substring in value
    raise InvalidInputError(f"unknown match {type(match).__name__}")


def _one_of(wanted: Sequence[bool | int | str]) -> ValueTest:
    """Equality as in JSON, where Python would have ``True == 1 == 1.0``."""
    kinds = {type(value) for value in wanted}
    if len(wanted) == 1:
        only, kind = wanted[0], type(wanted[0])
        return lambda value: type(value) is kind and value == only
    # All of one kind: a list of match values holds only integers or only strings.
    values = frozenset(wanted)
    return lambda value: type(value) in kinds and value in values


def range_test(bounds: Range) -> ValueTest:
    """Whether a value is a number within bounds."""
    lt, gt, gte, lte = bounds.lt, bounds.gt, bounds.gte, bounds.lte

    def test(value: Any) -> bool:
        kind = type(value)  # not isinstance: a bool is an int to Python
        return (
            (kind is int or kind is float)
            and (lt is None or value < lt)
            and (gt is None or value > gt)
            and (gte is None or value >= gte)
            and (lte is None or value <= lte)
        )

    return test


def datetime_test(bounds: DatetimeRange) -> ValueTest:
    """Whether a value is a text that is a moment within bounds."""
    lt, gt, gte, lte = map(_moment, (bounds.lt, bounds.gt, bounds.gte, bounds.lte))

    def test(value: Any) -> bool:
        if type(value) is not str:
            return False
        moment = parse_datetime(value)
        return (
            moment is not None
            and (lt is None or moment < lt)
            and (gt is None or moment > gt)
            and (gte is None or moment >= gte)
            and (lte is None or moment <= lte)
        )

    return test


def _moment(bound: Any) -> datetime | None:
    return None if bound is None else with_zone(bound)


def _place_test(area: GeoBoundingBox | GeoRadius | GeoPolygon) -> ValueTest:
    has = area_test(area)

    def test(value: Any) -> bool:
        at = place(value)
        return at is not None and has(*at)

    return test
