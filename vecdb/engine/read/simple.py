"""Simple filters: each of a few fields must have a value, or a number in a range.

Nearly all filters are. Such a one needs no reading, as nothing in it could be refused, and where
its fields have columns these tell all of it: a kernel is called for each condition, and little else
is done. Whatever is not so is left to `bounds`, which finds the same.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

from msgspec import Struct

from vecdb.engine.read.columns import column_of
from vecdb.engine.view import SegmentView, View
from vecdb.errors import InvalidInputError
from vecdb.models.conditions import FieldCondition, Filter, MatchValue, Range
from vecdb.payload.columns import canonical
from vecdb.payload.columns.wanted import Wanted, wanted
from vecdb.storage.catalog import Bits
from vecdb.storage.format import DamageError

_FEW = 16
"""Conditions."""


class Simple(Struct, frozen=True, gc=False):
    """What a simple filter wants of the column of each field."""

    wants: list[tuple[str, Wanted]]
    filter: Filter
    """The filter, with a list of its own: a caller may change the other while this is in use."""

    def matching(self, view: View, segment_view: SegmentView) -> Bits | None:
        """The rows of a segment that match, deleted ones and bits beyond the last row aside. None:
        columns do not tell all of it, or can not be read."""
        if segment_view.edited:
            return None
        found: Bits | None = None
        for field, values in self.wants:
            column = column_of(view, segment_view.segment, field)
            if column is None:
                return None
            try:
                surely, possibly = column.matching(values, view.fields[field].text)
            except DamageError:
                return None
            if possibly is not surely:
                return None
            found = surely if found is None else found & surely
        return found


def simple(filter: Any) -> Simple | None:
    """What a filter wants that is simple, and in the form that `models.coerce` gives; None: it is
    another."""
    if (
        type(filter) is not Filter
        or filter.should is not None
        or filter.min_should is not None
        or filter.must_not is not None
    ):
        return None
    clause = filter.must
    if type(clause) is list:
        clause = clause.copy()
        filter = Filter(must=clause)
    must = clause if type(clause) is list else [clause]
    if not 0 < len(must) <= _FEW or not all(map(_is_simple, must)):
        return None
    try:
        wants = [(canonical(each.key), wanted(each, 0)) for each in must]  # type: ignore
    except InvalidInputError:  # to be refused with the place of the condition
        return None
    return Simple(wants, filter)  # type: ignore


def _is_simple(condition: Any) -> bool:
    if (
        type(condition) is not FieldCondition
        or type(condition.key) is not str
        or condition.geo_bounding_box is not None
        or condition.geo_radius is not None
        or condition.geo_polygon is not None
        or condition.values_count is not None
        or condition.is_empty is not None
        or condition.is_null is not None
    ):
        return False
    match, range = condition.match, condition.range
    if match is None:
        return type(range) is Range and all(
            map(_is_bound, (range.lt, range.gt, range.gte, range.lte))
        )
    return range is None and type(match) is MatchValue and type(match.value) in (str, int, bool)


def _is_bound(number: Any) -> bool:
    return number is None or type(number) is int or (type(number) is float and isfinite(number))
