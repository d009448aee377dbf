"""Bounds: what ids and vector names alone tell of a filter, as bits of a segment's rows.

Without the payload a filter is true, false or open for a row. Two masks tell: *surely* has the rows
that match whatever their payload is, *possibly* all rows but those that cannot match. Bits beyond
the last row mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from vecdb import ids
from vecdb.engine.view import SegmentView, View
from vecdb.models.conditions import Condition, Filter, HasIdCondition, HasVectorCondition
from vecdb.payload.split import Clause, conditions
from vecdb.storage.catalog import Bits
from vecdb.storage.format import pack_bits, unpack_bits

Bounds = tuple[Bits, Bits]
"""(surely, possibly)."""
Bounded = Callable[[View, SegmentView], Bounds]


def bounded(filter: Filter) -> Bounded:
    """The function that tells the bounds of a filter in a segment."""
    members = _each(filter.must)
    if should := _each(filter.should):
        members.append(_any_of(should))
    if filter.min_should is not None:
        members.append(_at_least(filter.min_should.min_count, _each(filter.min_should.conditions)))
    if must_not := _each(filter.must_not):
        members.append(_none_of(must_not))
    return _all_of(members)


def _each(clause: Clause) -> list[Bounded]:
    return [_of(condition) for condition in conditions(clause)]


def _of(condition: Condition) -> Bounded:
    if isinstance(condition, Filter):
        return bounded(condition)
    if isinstance(condition, HasIdCondition):
        return _located(sorted(set(map(ids.key_of, condition.has_id))))
    if isinstance(condition, HasVectorCondition):
        return _present(condition.has_vector)
    return _open


def _open(view: View, segment_view: SegmentView) -> Bounds:
    """The payload decides: any row may match."""
    return _no_row(segment_view), _every_row(segment_view)


def _located(keys: list[int]) -> Bounded:
    array = ids.to_array(keys)

    def bounds(view: View, segment_view: SegmentView) -> Bounds:
        rows = segment_view.segment.locate(keys, array, segment_view.rows)
        rows = rows[rows >= 0]
        bits = _no_row(segment_view)
        np.bitwise_or.at(bits, rows >> 3, np.uint8(1) << (rows & 7).astype(np.uint8))
        return bits, bits

    return bounds


def _present(name: str) -> Bounded:
    def bounds(view: View, segment_view: SegmentView) -> Bounds:
        if name not in view.schema:
            return _no_row(segment_view), _no_row(segment_view)
        bits = segment_view.segment.present(name, segment_view.rows)
        bits = _every_row(segment_view) if bits is None else bits
        return bits, bits

    return bounds


def _no_row(segment_view: SegmentView) -> Bits:
    return np.zeros(-(-segment_view.rows // 8), dtype=np.uint8)


def _every_row(segment_view: SegmentView) -> Bits:
    return np.full(-(-segment_view.rows // 8), 0xFF, dtype=np.uint8)


def _once(members: Iterable[Bounded]) -> list[Bounded]:
    """Conditions that are the same count once: any number of them on payloads tells no more than
    one."""
    return list(dict.fromkeys(members))


def _all_of(members: list[Bounded]) -> Bounded:
    def bounds(view: View, segment_view: SegmentView) -> Bounds:
        surely, possibly = _every_row(segment_view), _every_row(segment_view)
        for each in _once(members):
            true, open_ = each(view, segment_view)
            surely &= true
            possibly &= open_
        return surely, possibly

    return bounds


def _any_of(members: list[Bounded]) -> Bounded:
    def bounds(view: View, segment_view: SegmentView) -> Bounds:
        surely, possibly = _no_row(segment_view), _no_row(segment_view)
        for each in _once(members):
            true, open_ = each(view, segment_view)
            surely |= true
            possibly |= open_
        return surely, possibly

    return bounds


def _none_of(members: list[Bounded]) -> Bounded:
    some = _any_of(members)

    def bounds(view: View, segment_view: SegmentView) -> Bounds:
        surely, possibly = some(view, segment_view)
        return ~possibly, ~surely

    return bounds


def _at_least(wanted: int, members: list[Bounded]) -> Bounded:
    def bounds(view: View, segment_view: SegmentView) -> Bounds:
        counts = np.zeros((2, segment_view.rows), dtype=np.int32)
        for each in members:
            for count, bits in zip(counts, each(view, segment_view), strict=True):
                count += unpack_bits(bits, segment_view.rows)
        surely, possibly = counts >= wanted
        return pack_bits(surely), pack_bits(possibly)

    return bounds
