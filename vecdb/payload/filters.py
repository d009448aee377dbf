"""What a filter means: ``compile_filter`` turns one into a predicate on a point.

The semantics are those of Qdrant:

* A key is a path: ``a.b`` goes into objects, ``a[0]`` takes one element, ``a[]`` every element;
  a name with other characters than letters, digits, ``_`` and ``-`` is quoted: ``"a b".c``. A
  path selects any number of values, none if something on the way is missing.
* ``match``, ``range`` and the tests of places hold if they hold for any selected value, where an
  array stands for its elements (one level). ``except`` holds if any value that is not null is none
  of those listed.
* Types are JSON's: ``true`` is not ``1``, ``1.0`` is not ``1``, a bool is in no number range.
* ``text``, ``text_any`` and ``phrase`` compare tokens, see ``vecdb.payload.texts``: those of each
  text by itself, or, where the field has a text index, of all its texts together, by the rules of
  the index. ``prefix`` and ``substring`` compare characters.
* Places are in ``vecdb.payload.geo``, slices of the ids in ``vecdb.payload.slices``.
* ``is_empty``: nothing selected, or only nulls and empty arrays. ``is_null``: a selected value is
  null or an array that holds a null.
* ``values_count`` counts an array's elements, 1 for another value, 0 for null or missing.
* ``nested`` holds if one object of the array satisfies the whole inner filter by itself.
* An empty clause asks for nothing.

Deliberate differences from qdrant_client's local mode:

* A field condition carries exactly one test; more or fewer are refused when the filter is read.
* ``has_id``, ``has_vector`` and ``slice`` inside ``nested`` are refused: they are about points, not
  objects. Local mode lets them never match there.
* Text indexes decide what a token is, as in Qdrant's server; local mode has none. A vowel sign
  belongs to its word, which local mode cuts there.
* Integers are compared with an integer bound exactly, also above 2**53; Qdrant compares floats.
* Datetimes: offsets are whole minutes below 24 hours (``+01:00:30`` is not read).

This module evaluates decoded payloads, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from vecdb.errors import InvalidInputError
from vecdb.models.conditions import (
    Condition,
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    IsEmptyCondition,
    IsNullCondition,
    Nested,
    NestedCondition,
    PointId,
    SliceCondition,
)
from vecdb.models.payload_schema import PayloadFieldSchema
from vecdb.payload.columns.naming import canonical
from vecdb.payload.fields import (
    Path,
    Test,
    TextIndexes,
    field_test,
    is_empty,
    is_null,
    text_indexes,
)
from vecdb.payload.paths import parse_path, selector
from vecdb.payload.slices import slice_of
from vecdb.payload.split import Clause, conditions

# Deep nesting costs the stack of whoever evaluates it, and no query needs it.
MAX_DEPTH = 32
# Every condition is paid for on every point. Long lists belong into one MatchAny or HasId.
MAX_CONDITIONS = 10_000

Payload = dict[str, Any]
PayloadSchema = Mapping[str, PayloadFieldSchema]
"""The payload indexes of a collection, by the paths of their fields."""
Predicate = Callable[[PointId, Payload, Collection[str]], bool]
"""(canonical id, decoded payload, names of the vectors the point has) -> does it count?"""


def compile_filter(filter: Filter, schema: PayloadSchema | None = None) -> Predicate:
    """Compile a filter that came through ``coerce``. ``schema``: the payload indexes of the
    collection; those of texts say what a token is. Raises InvalidInputError."""
    return _Compiler(text_indexes(schema)).filter(filter, depth=1)


def lazily(filter: Filter, schema: PayloadSchema | None = None) -> Predicate:
    """The same of a plain filter, compiled when it is first asked for: of most filters columns tell
    all."""
    compiled: list[Predicate] = []

    def predicate(point_id: PointId, payload: Payload, vectors: Collection[str]) -> bool:
        if not compiled:
            compiled.append(compile_filter(filter, schema))
        return compiled[0](point_id, payload, vectors)

    return predicate


_FEW = 64
"""A filter of more conditions is not plain."""


def plain_fields(filter: Filter) -> frozenset[str] | None:
    """The canonical paths that a plain filter asks for, which has nothing that could be refused:
    each of a few fields must match or be in a range. None: it is not plain."""
    if not (filter.should is None and filter.min_should is None and filter.must_not is None):
        return None
    must = conditions(filter.must)
    if not 0 < len(must) <= _FEW:
        return None
    for each in must:
        if type(each) is not FieldCondition or (each.match is None and each.range is None):
            return None
    try:
        return frozenset([canonical(each.key) for each in must if type(each) is FieldCondition])
    except InvalidInputError:  # to be refused with the place of the condition
        return None


class _Compiler:
    """One compilation; it counts the conditions."""

    def __init__(self, texts: TextIndexes) -> None:
        self.texts = texts
        self.count = 0

    def filter(self, filter: Filter, depth: int, at: str = "", within: Path = ()) -> Predicate:
        """``at``: what comes before its clauses in errors; ``within``: the path to the objects
        that a nested filter is asked of."""
        if depth > MAX_DEPTH:
            raise InvalidInputError(f"nested deeper than {MAX_DEPTH} levels")

        def compiled(clause: Clause, name: str) -> list[Predicate]:
            listed = isinstance(clause, list)
            return [
                self.condition(each, depth, f"{at}{name}[{n}]" if listed else at + name, within)
                for n, each in enumerate(conditions(clause))
            ]

        clauses = compiled(filter.must, "must")
        if should := compiled(filter.should, "should"):
            clauses.append(_any_of(should))
        if filter.min_should is not None:
            alternatives = compiled(filter.min_should.conditions, "min_should.conditions")
            clauses.append(_at_least(filter.min_should.min_count, alternatives))
        if must_not := compiled(filter.must_not, "must_not"):
            clauses.append(_none_of(must_not))
        return _all_of(clauses)

    def condition(self, condition: Condition, depth: int, place: str, within: Path) -> Predicate:
        self.count += 1
        if self.count > MAX_CONDITIONS:
            raise InvalidInputError(
                f"more than {MAX_CONDITIONS} conditions; match a list of values with "
                "MatchAny, a list of ids with HasIdCondition"
            )
        if isinstance(condition, Filter):
            return self.filter(condition, depth + 1, f"{place}.", within)
        if isinstance(condition, NestedCondition):
            return self.nested(condition.nested, depth, f"{place}.nested", within)
        try:
            return self.test(condition, within)
        except InvalidInputError as error:
            raise InvalidInputError(f"{place}: {error}") from None

    def test(self, condition: Condition, within: Path) -> Predicate:
        """The test of a condition that has no others in it."""
        if isinstance(condition, FieldCondition):
            return _of_payload(field_test(condition, within, self.texts))
        if isinstance(condition, IsEmptyCondition):
            return _of_payload(is_empty(condition.is_empty.key))
        if isinstance(condition, IsNullCondition):
            return _of_payload(is_null(condition.is_null.key))
        if within:
            raise InvalidInputError(
                f"{type(condition).__name__} inside a nested filter is about points, not "
                "about the objects there; put it beside the nested condition"
            )
        if isinstance(condition, HasIdCondition):
            ids = frozenset(condition.has_id)
            return lambda point_id, payload, vectors: point_id in ids
        if isinstance(condition, HasVectorCondition):
            name = condition.has_vector
            return lambda point_id, payload, vectors: name in vectors
        if isinstance(condition, SliceCondition):
            total, index = condition.slice.total, condition.slice.index
            return lambda point_id, payload, vectors: slice_of(point_id, total) == index
        raise InvalidInputError(f"unknown condition {type(condition).__name__}")

    def nested(self, nested: Nested, depth: int, place: str, within: Path) -> Predicate:
        key = nested.key.removesuffix("[]")  # both spellings mean the elements
        path = parse_path(key, f"{place}.key")
        select = selector(path)
        inner = self.filter(nested.filter, depth + 1, f"{place}.filter.", (*within, *path, None))

        def predicate(point_id: PointId, payload: Payload, vectors: Collection[str]) -> bool:
            for value in select(payload):
                if type(value) is list:
                    for element in value:
                        if type(element) is dict and inner(point_id, element, vectors):
                            return True
            return False

        return predicate


def _of_payload(test: Test) -> Predicate:
    return lambda point_id, payload, vectors: test(payload)


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
