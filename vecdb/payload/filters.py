"""What a filter means: ``compile_filter`` turns one into a predicate on a point.

The semantics are those of Qdrant:

* A key is a path: ``a.b`` goes into objects, ``a[0]`` takes one element, ``a[]`` every element;
  a name with other characters than letters, digits, ``_`` and ``-`` is quoted: ``"a b".c``. A
  path selects any number of values, none if something on the way is missing.
* ``match`` and ``range`` hold if they hold for any selected value, where an array stands for its
  elements (one level). ``except`` holds if any value that is not null is none of those listed.
* Types are JSON's: ``true`` is not ``1``, ``1.0`` is not ``1``, a bool is in no number range.
* ``is_empty``: nothing selected, or only nulls and empty arrays. ``is_null``: a selected value is
  null or an array that holds a null.
* ``values_count`` counts an array's elements, 1 for another value, 0 for null or missing.
* ``nested`` holds if one object of the array satisfies the whole inner filter by itself.
* An empty clause asks for nothing.

Deliberate differences from qdrant_client's local mode:

* A field condition carries exactly one test; more or fewer are refused when the filter is read.
* ``has_id`` and ``has_vector`` inside ``nested`` are refused: they are about points, not objects.
  Local mode lets the first never match there.
* Integers are compared with an integer bound exactly, also above 2**53; Qdrant compares floats.
* Datetimes: offsets are whole minutes below 24 hours (``+01:00:30`` is not read).

This module evaluates decoded payloads, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, cast

from vecdb.errors import InvalidInputError
from vecdb.models.conditions import (
    Condition,
    DatetimeRange,
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    IsEmptyCondition,
    IsNullCondition,
    Match,
    MatchAny,
    MatchExcept,
    MatchValue,
    Nested,
    NestedCondition,
    PointId,
    Range,
    ValuesCount,
)
from vecdb.models.datetimes import parse_datetime, with_zone
from vecdb.payload.paths import Select, parse_path, selector
from vecdb.payload.split import Clause, conditions

# Deep nesting costs the stack of whoever evaluates it, and no query needs it.
MAX_DEPTH = 32
# Every condition is paid for on every point. Long lists belong into one MatchAny or HasId.
MAX_CONDITIONS = 10_000

Payload = dict[str, Any]
Predicate = Callable[[PointId, Payload, Collection[str]], bool]
"""(canonical id, decoded payload, names of the vectors the point has) -> does it count?"""

Test = Callable[[Any], bool]


def compile_filter(filter: Filter) -> Predicate:
    """Compile a filter that came through ``coerce``."""
    return _Compiler().filter(filter, depth=1)


class _Compiler:
    """One compilation; it counts the conditions."""

    def __init__(self) -> None:
        self.count = 0

    def filter(self, filter: Filter, depth: int, nested: bool = False) -> Predicate:
        if depth > MAX_DEPTH:
            raise InvalidInputError(f"filter: nested deeper than {MAX_DEPTH} levels")

        def compiled(clause: Clause) -> list[Predicate]:
            return [self.condition(each, depth, nested) for each in conditions(clause)]

        clauses = compiled(filter.must)
        if should := compiled(filter.should):
            clauses.append(_any_of(should))
        if filter.min_should is not None:
            alternatives = compiled(filter.min_should.conditions)
            clauses.append(_at_least(filter.min_should.min_count, alternatives))
        if must_not := compiled(filter.must_not):
            clauses.append(_none_of(must_not))
        return _all_of(clauses)

    def condition(self, condition: Condition, depth: int, nested: bool) -> Predicate:
        self.count += 1
        if self.count > MAX_CONDITIONS:
            raise InvalidInputError(
                f"filter: more than {MAX_CONDITIONS} conditions; match a list of values with "
                "MatchAny, a list of ids with HasIdCondition"
            )
        if isinstance(condition, FieldCondition):
            return _field(condition)
        if isinstance(condition, Filter):
            return self.filter(condition, depth + 1, nested)
        if isinstance(condition, NestedCondition):
            return self.nested(condition.nested, depth)
        if isinstance(condition, IsEmptyCondition):
            return _is_empty(_select(condition.is_empty.key))
        if isinstance(condition, IsNullCondition):
            return _is_null(_select(condition.is_null.key))
        if nested:
            raise InvalidInputError(
                f"filter: {type(condition).__name__} inside a nested filter is about points, not "
                "about the objects there; put it beside the nested condition"
            )
        if isinstance(condition, HasIdCondition):
            ids = frozenset(condition.has_id)
            return lambda point_id, payload, vectors: point_id in ids
        if isinstance(condition, HasVectorCondition):
            name = condition.has_vector
            return lambda point_id, payload, vectors: name in vectors
        raise InvalidInputError(f"filter: unknown condition {type(condition).__name__}")

    def nested(self, nested: Nested, depth: int) -> Predicate:
        inner = self.filter(nested.filter, depth + 1, nested=True)
        select = _select(nested.key.removesuffix("[]"))  # both spellings mean the elements

        def predicate(point_id: PointId, payload: Payload, vectors: Collection[str]) -> bool:
            for value in select(payload):
                if type(value) is list:
                    for element in value:
                        if type(element) is dict and inner(point_id, element, vectors):
                            return True
            return False

        return predicate


def _all_of(predicates: list[Predicate]) -> Predicate:
    if len(predicates) == 1:
        return predicates[0]

    def predicate(point_id: PointId, payload: Payload, vectors: Collection[str]) -> bool:
        for each in predicates:  # noqa: SIM110 - a generator for all() costs more than the loop
            if not each(point_id, payload, vectors):
                return False
        return True

    return predicate


def _any_of(predicates: list[Predicate]) -> Predicate:
    if len(predicates) == 1:
        return predicates[0]

    def predicate(point_id: PointId, payload: Payload, vectors: Collection[str]) -> bool:
        for each in predicates:  # noqa: SIM110
            if each(point_id, payload, vectors):
                return True
        return False

    return predicate


def _none_of(predicates: list[Predicate]) -> Predicate:
    some = _any_of(predicates)
    return lambda point_id, payload, vectors: not some(point_id, payload, vectors)


def _at_least(wanted: int, predicates: list[Predicate]) -> Predicate:
    def predicate(point_id: PointId, payload: Payload, vectors: Collection[str]) -> bool:
        missing = wanted
        for each in predicates:
            if each(point_id, payload, vectors):
                missing -= 1
                if missing == 0:
                    return True
        return False

    return predicate


def _field(condition: FieldCondition) -> Predicate:
    select = _select(condition.key)
    if condition.match is not None:
        return _any_element(select, _match_test(condition.match))
    if isinstance(condition.range, Range):
        return _any_element(select, _range_test(condition.range))
    if isinstance(condition.range, DatetimeRange):
        return _any_element(select, _datetime_test(condition.range))
    if condition.values_count is not None:
        return _values_count(select, condition.values_count)
    if condition.is_empty is not None:
        empty = _is_empty(select)
        return empty if condition.is_empty else _none_of([empty])
    if condition.is_null is not None:
        null = _is_null(select)
        return null if condition.is_null else _none_of([null])
    raise InvalidInputError(f"filter: the condition on {condition.key!r} tests nothing")


def _any_element(select: Select, test: Test) -> Predicate:
    def predicate(point_id: PointId, payload: Payload, vectors: Collection[str]) -> bool:
        for value in select(payload):
            if type(value) is list:
                for element in value:
                    if test(element):
                        return True
            elif test(value):
                return True
        return False

    return predicate


def _match_test(match: Match) -> Test:
    if isinstance(match, MatchValue):
        return _one_of([cast("bool | int | str", match.value)])
    if isinstance(match, MatchAny):
        return _one_of(match.any)
    if isinstance(match, MatchExcept):
        listed = _one_of(match.except_)
        return lambda value: value is not None and not listed(value)
    raise InvalidInputError(f"filter: unknown match {type(match).__name__}")


def _one_of(wanted: Sequence[bool | int | str]) -> Test:
    """Equality as in JSON, where Python would have ``True == 1 == 1.0``."""
    kinds = {type(value) for value in wanted}
    if len(wanted) == 1:
        only, kind = wanted[0], type(wanted[0])
        return lambda value: type(value) is kind and value == only
    # All of one kind: a list of match values holds only integers or only strings.
    values = frozenset(wanted)
    return lambda value: type(value) in kinds and value in values


def _range_test(bounds: Range) -> Test:
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


def _datetime_test(bounds: DatetimeRange) -> Test:
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


def _values_count(select: Select, bounds: ValuesCount) -> Predicate:
    in_bounds = _range_test(Range(lt=bounds.lt, gt=bounds.gt, gte=bounds.gte, lte=bounds.lte))

    def count(value: Any) -> int:
        if value is None:
            return 0
        return len(value) if type(value) is list else 1

    def predicate(point_id: PointId, payload: Payload, vectors: Collection[str]) -> bool:
        return any(in_bounds(count(value)) for value in select(payload) or (None,))

    return predicate


def _is_empty(select: Select) -> Predicate:
    return lambda point_id, payload, vectors: all(
        value is None or value == [] for value in select(payload)
    )


def _is_null(select: Select) -> Predicate:
    def predicate(point_id: PointId, payload: Payload, vectors: Collection[str]) -> bool:
        for value in select(payload):
            if value is None:
                return True
            if type(value) is list and any(element is None for element in value):
                return True
        return False

    return predicate


def _select(key: str) -> Select:
    return selector(parse_path(key))
