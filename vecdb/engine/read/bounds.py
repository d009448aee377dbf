"""Bounds: what ids, vector names and columns tell of a filter, as bits of a segment's rows.

Without the payload a filter is true, false or open for a row. Two masks tell: *surely* has the rows
that match, *possibly* all rows but those that cannot match. Bits beyond the last row mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from vecdb import ids
from vecdb.engine.read.columns import Columns, columns_of, of_edits, without_damaged
from vecdb.engine.view import Offsets, Segment, SegmentView, View
from vecdb.models.conditions import (
    Condition,
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    IsEmptyCondition,
    IsNullCondition,
    MatchAny,
    MatchExcept,
    MatchPhrase,
    MatchSubstring,
    MatchText,
    MatchTextAny,
    NestedCondition,
    Slice,
    SliceCondition,
)
from vecdb.payload import columns
from vecdb.payload.slices import slices_of
from vecdb.payload.split import members
from vecdb.storage.catalog import Bits
from vecdb.storage.format import DamageError, bits_at, pack_bits, unpack_bits

Bounds = tuple[Bits, Bits]
"""(surely, possibly)."""
Bounded = Callable[[View, SegmentView], Bounds]


class Filtered:
    """A filter, with what of it is worked out once."""

    def __init__(self, filter: Filter, plain: frozenset[str] | None = None) -> None:
        """``plain``: the paths that a plain filter asks for, which names no points."""
        self._filter = filter
        self._keys: dict[int, list[int]] = {}
        if plain is not None:
            self.fields = plain
            return
        self.fields = frozenset(_fields(filter, ""))
        """The paths that it asks for, in their canonical spelling."""
        self._keys = {
            id(each): sorted(set(map(ids.key_of, each.has_id)))
            for each in every_condition(filter)
            if isinstance(each, HasIdCondition)
        }

    def bounds(self, view: View, segment_view: SegmentView) -> Bounds:
        """What is told of it in a segment."""
        rows = segment_view.rows
        count, found = columns_of(view, segment_view, self.fields)

        def written(some: Columns) -> Bounds:
            return self._by(view, segment_view, some, None, count)

        try:
            bounds = written(found)
        except DamageError:
            without_damaged(segment_view, found, written)
            return self.bounds(view, segment_view)
        size = -(-rows // 8)
        if not found or not segment_view.edited:
            surely = bounds[0][:size]
            return surely, surely if bounds[1] is bounds[0] else bounds[1][:size]
        flags = [unpack_bits(bits, rows).copy() for bits in bounds]
        for edited, count, found in of_edits(view, segment_view, self.fields):
            bounds = self._by(view, segment_view, found, edited, count)
            for each, bits in zip(flags, bounds, strict=True):
                each[edited] = unpack_bits(bits, len(edited))  # of a row that comes twice, the last
        return pack_bits(flags[0]), pack_bits(flags[1])

    def _by(
        self,
        view: View,
        segment_view: SegmentView,
        found: Columns,
        rows: Offsets | None,
        count: int,
    ) -> Bounds:
        """By the columns of ``count`` payloads: those of ``rows``, the first ones; None: of the
        first rows."""

        def other(condition: Condition) -> Bounds | None:
            if isinstance(condition, HasIdCondition):
                bounds = _located(segment_view, self._keys[id(condition)])
            elif isinstance(condition, HasVectorCondition):
                bounds = _present(view, segment_view, condition.has_vector)
            elif isinstance(condition, SliceCondition):
                bounds = _sliced(segment_view, condition.slice)
            else:
                return None
            known = pack_bits(bits_at(bounds, rows)) if rows is not None else bounds
            fitted = np.zeros(-(-count // 8), dtype=np.uint8)
            fitted[: len(known)] = known
            return fitted, fitted

        texts = {path: field.text for path, field in view.fields.items() if field.text is not None}
        return columns.bounds(self._filter, found, count, other, texts)


def _located(segment_view: SegmentView, keys: list[int]) -> Bits:
    rows = segment_view.segment.locate(keys, ids.to_array(keys), segment_view.rows)
    rows = rows[rows >= 0]
    bits = np.zeros(-(-segment_view.rows // 8), dtype=np.uint8)
    np.bitwise_or.at(bits, rows >> 3, np.uint8(1) << (rows & 7).astype(np.uint8))
    return bits


def _present(view: View, segment_view: SegmentView, name: str) -> Bits:
    size = -(-segment_view.rows // 8)
    if name not in view.schema:
        return np.zeros(size, dtype=np.uint8)
    bits = segment_view.segment.present(name, segment_view.rows)
    return np.full(size, 0xFF, dtype=np.uint8) if bits is None else bits[:size]


def _sliced(segment_view: SegmentView, slice: Slice) -> Bits:
    slices = _slices(segment_view.segment, segment_view.rows, slice.total)
    return pack_bits(slices == slice.index)


_dealt: WeakKeyDictionary[Segment, tuple[int, npt.NDArray[Any]]] = WeakKeyDictionary()
"""The last number of slices that was asked for, and the slice of each row. Who reads slices reads
all of them, side by side and page by page, and a hash takes half a microsecond."""

_NONE = np.empty(0, dtype=np.uint8)
_SOME = 64
"""So many strings are found sooner than a filter is remembered."""


def _slices(segment: Segment, rows: int, total: int) -> npt.NDArray[Any]:
    last, known = _dealt.get(segment, (0, _NONE))
    if last != total:
        known = _NONE
    if len(known) < rows:
        more = slices_of(segment.id_array(np.arange(len(known), rows)), total)
        known = np.concatenate([known, more.astype(np.min_scalar_type(total - 1))])
        _dealt[segment] = total, known
    return known[:rows]


def every_condition(condition: Condition) -> Iterator[Condition]:
    """The conditions of a filter, at any depth. Inside nested ones no points are named."""
    if not isinstance(condition, Filter):
        yield condition
        return
    for each in members(condition):
        yield from every_condition(each)


def takes_long(view: View, filter: Filter | None) -> bool:
    """Whether columns take longer to tell of a filter than a pass or two: they look for many
    strings, or into each."""
    return filter is not None and any(
        isinstance(each, FieldCondition) and _looks_long(view, each)
        for each in every_condition(filter)
    )


def _looks_long(view: View, condition: FieldCondition) -> bool:
    match condition.match:
        case MatchAny():
            return len(condition.match.any) > _SOME
        case MatchExcept():
            return len(condition.match.except_) > _SOME
        case MatchSubstring() | MatchText() | MatchTextAny() | MatchPhrase():
            field = view.fields.get(columns.canonical(condition.key))
            return field is not None and field.text is None
    return False


def _fields(condition: Condition, inside: str) -> Iterator[str]:
    """The paths that a condition asks for; ``inside``: the path of the objects that it is about."""
    match condition:
        case Filter():
            for each in members(condition):
                yield from _fields(each, inside)
        case NestedCondition():
            elements = f"{inside}{condition.nested.key.removesuffix('[]')}[]."
            yield from _fields(condition.nested.filter, elements)
        case FieldCondition():
            yield columns.canonical(inside + condition.key)
        case IsEmptyCondition():
            yield columns.canonical(inside + condition.is_empty.key)
        case IsNullCondition():
            yield columns.canonical(inside + condition.is_null.key)
