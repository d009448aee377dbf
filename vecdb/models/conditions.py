"""Filters: which points count. What they mean is in ``vecdb.payload.filters``."""

from __future__ import annotations

from collections.abc import Set
from datetime import date
from enum import Enum
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import msgspec
import numpy as np
from msgspec import Meta

from vecdb import ids
from vecdb.errors import InvalidInputError
from vecdb.models.datetimes import parse_datetime, with_zone
from vecdb.models.json_values import json_value
from vecdb.models.reading import (
    By,
    KnowsItsFields,
    Refused,
    Strict,
    converter,
    fields_of,
    refuse,
)

PointId = int | str
"""An id in its canonical form: an int, or a lower-case hyphenated UUID."""


def _point_id(value: Any) -> Any:
    try:
        return ids.external(ids.key_of(value))
    except InvalidInputError as error:
        raise Refused(str(error)) from None


def _json(value: Any) -> Any:
    """What a payload would hold for the value: what was written as a UUID is found by it."""
    return json_value(value) if isinstance(value, (UUID, Enum, date, np.datetime64)) else value


def _keyword(value: Any) -> Any:
    return converter(bool | int | str)(_json(value))


def _keyword_list(value: Any) -> Any:
    if isinstance(value, (list, tuple, Set)):
        value = [_json(item) for item in value]
    values = converter(list[int | str])(value)
    if len({isinstance(item, str) for item in values}) > 1:
        raise Refused("expected only integers or only strings, got both")
    return values


def _moment(value: Any) -> Any:
    text = str(json_value(value)) if isinstance(value, np.datetime64) else value
    moment = parse_datetime(text) if isinstance(text, str) else text
    if isinstance(moment, date):
        return with_zone(moment)
    raise refuse("a datetime or an RFC 3339 string", value)


def _range(value: Any) -> Any:
    if isinstance(value, (Range, DatetimeRange)):
        return converter(type(value))(value)
    fields = fields_of(value)
    if fields is None:
        raise refuse("Range or DatetimeRange", value)
    dated = any(isinstance(bound, (str, date, np.datetime64)) for bound in fields.values())
    return converter(DatetimeRange if dated else Range)(fields)


ExtendedPointId = Annotated[int | str | UUID, By(_point_id, "an unsigned 64-bit integer or a UUID")]
Keyword = Annotated[
    bool | int | str | UUID | Enum | date, By(_keyword, "a bool, an integer or a string")
]
KeywordList = Annotated[
    list[int] | list[str], By(_keyword_list, "a list of integers or a list of strings")
]
Moment = Annotated[date | str | np.datetime64, By(_moment, "a datetime or an RFC 3339 string")]
# An int stays an int, because a payload may hold one that no float can represent.
Number = int | float
Count = Annotated[int, Meta(ge=0)]


class MatchValue(Strict, frozen=True, kw_only=True):
    """A value that equals this one."""

    value: Keyword


class MatchText(Strict, frozen=True, kw_only=True):
    """All tokens of the text, in any order."""

    text: str


class MatchTextAny(Strict, frozen=True, kw_only=True):
    """At least one token of the text."""

    text_any: str


class MatchPhrase(Strict, frozen=True, kw_only=True):
    """All tokens of the phrase, in a row."""

    phrase: str


class MatchPrefix(Strict, frozen=True, kw_only=True):
    """A string that begins so."""

    prefix: str


class MatchSubstring(Strict, frozen=True, kw_only=True):
    """A string that has this in it."""

    substring: str


class MatchAny(Strict, frozen=True, kw_only=True):
    """A value that equals one of these."""

    any: KeywordList


class _AcceptsKeyword(KnowsItsFields):
    """``except`` is a Python keyword: Qdrant's code writes ``MatchExcept(**{"except": [...]})``."""

    def __call__(cls, *values: Any, **fields: Any) -> Any:
        if "except" in fields:
            fields["except_"] = fields.pop("except")
        return super().__call__(*values, **fields)


class MatchExcept(Strict, frozen=True, kw_only=True, metaclass=_AcceptsKeyword):
    """A value that is not null and equals none of these."""

    except_: KeywordList = msgspec.field(name="except")


class Range(Strict, frozen=True, kw_only=True):
    """Numbers within all bounds that are given; ``gte`` and ``lte`` are within."""

    lt: Number | None = None
    gt: Number | None = None
    gte: Number | None = None
    lte: Number | None = None


class DatetimeRange(Strict, frozen=True, kw_only=True):
    """Texts that are dates within all bounds that are given."""

    lt: Moment | None = None
    gt: Moment | None = None
    gte: Moment | None = None
    lte: Moment | None = None


class ValuesCount(Strict, frozen=True, kw_only=True):
    """How many elements there are: 1 of what is no array, 0 of null and of a missing field."""

    lt: Count | None = None
    gt: Count | None = None
    gte: Count | None = None
    lte: Count | None = None


class GeoPoint(Strict, frozen=True, kw_only=True):
    """A place, in degrees."""

    lon: Annotated[float, Meta(ge=-180, le=180)]
    lat: Annotated[float, Meta(ge=-90, le=90)]


class GeoBoundingBox(Strict, frozen=True, kw_only=True):
    """Without its border. One whose left side is east of its right side goes across the
    antimeridian."""

    top_left: GeoPoint
    bottom_right: GeoPoint


class GeoRadius(Strict, frozen=True, kw_only=True):
    """Places that are nearer to the center than so many metres."""

    center: GeoPoint
    radius: Annotated[float, Meta(ge=0)]


class GeoLineString(Strict, frozen=True, kw_only=True):
    """A closed line."""

    points: list[GeoPoint]

    def _problem(self) -> str | None:
        count = len(self.points)
        if count < 4:
            return f"expected at least 4 points, of which the last is the first, got {count}"
        if self.points[0] != self.points[-1]:
            return "expected a closed line, whose last point is the first"
        return None


class GeoPolygon(Strict, frozen=True, kw_only=True):
    """What is within the exterior and in none of the interiors, which are holes."""

    exterior: GeoLineString
    interiors: list[GeoLineString] | None = None


Match: TypeAlias = (
    MatchValue
    | MatchText
    | MatchTextAny
    | MatchPhrase
    | MatchPrefix
    | MatchSubstring
    | MatchAny
    | MatchExcept
)
RangeInterface = Annotated[Range | DatetimeRange, By(_range, "Range or DatetimeRange")]


class FieldCondition(Strict, frozen=True, kw_only=True):
    """One test of what is at a path of the payload; of an array one element has to pass it."""

    key: str
    match: Match | None = None
    range: RangeInterface | None = None
    geo_bounding_box: GeoBoundingBox | None = None
    geo_radius: GeoRadius | None = None
    geo_polygon: GeoPolygon | None = None
    values_count: ValuesCount | None = None
    is_empty: bool | None = None
    is_null: bool | None = None

    def _problem(self) -> str | None:
        tests = [name for name in self.__struct_fields__[1:] if getattr(self, name) is not None]
        if len(tests) == 1:
            return None
        # Qdrant's server joins several with "or", its local mode obeys the first: refuse.
        return (
            f"expected exactly one of {', '.join(self.__struct_fields__[1:])}, "
            f"got {' and '.join(tests) or 'none'}; give each its own condition"
        )


class PayloadField(Strict, frozen=True, kw_only=True):
    """A path of the payload."""

    key: str


class IsEmptyCondition(Strict, frozen=True, kw_only=True):
    """The field is missing, null or an empty array."""

    is_empty: PayloadField


class IsNullCondition(Strict, frozen=True, kw_only=True):
    """The field is null, or an array that holds a null."""

    is_null: PayloadField


class HasIdCondition(Strict, frozen=True, kw_only=True):
    """The point has one of these ids."""

    has_id: list[ExtendedPointId]


class HasVectorCondition(Strict, frozen=True, kw_only=True):
    """The point has a vector of this name."""

    has_vector: str
    """``""`` is the vector of a collection that names none."""


class Slice(Strict, frozen=True, kw_only=True):
    """One of ``total`` parts of all ids, as large as each other and always the same."""

    total: Annotated[int, Meta(ge=1, le=2**64 - 1)]
    index: Count

    def _problem(self) -> str | None:
        if self.index < self.total:
            return None
        return f"expected an index below the total of {self.total}, got {self.index}"


class SliceCondition(Strict, frozen=True, kw_only=True):
    """The point is in one of the equal parts of all."""

    slice: Slice


class Nested(Strict, frozen=True, kw_only=True):
    """An array of objects, and the filter that one of them has to satisfy by itself."""

    key: str
    filter: Filter


class NestedCondition(Strict, frozen=True, kw_only=True):
    """One object of an array satisfies a whole filter by itself."""

    nested: Nested


class MinShould(Strict, frozen=True, kw_only=True):
    """At least so many of these conditions."""

    conditions: list[Condition]
    min_count: Annotated[int, Meta(ge=1)]


class Filter(Strict, frozen=True, kw_only=True):
    """Points that satisfy every clause given. A clause is one condition or a list of them."""

    should: list[Condition] | Condition | None = None
    """At least one of these."""
    min_should: MinShould | None = None
    """At least so many of these."""
    must: list[Condition] | Condition | None = None
    """All of these."""
    must_not: list[Condition] | Condition | None = None
    """None of these."""


Condition: TypeAlias = (
    FieldCondition
    | IsEmptyCondition
    | IsNullCondition
    | HasIdCondition
    | HasVectorCondition
    | SliceCondition
    | NestedCondition
    | Filter
)
