"""Masks: which rows of a segment a read may return.

Bits, one a row: alive, has the vector, matches the filter. None stands for "all rows".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import msgspec
import numpy as np
from msgspec import Struct

from vecdb import ids, models
from vecdb.engine.read.bounds import Bounded, Bounds, bounded
from vecdb.engine.read.remembered import is_worth_remembering, recall, remember
from vecdb.engine.read.rows import decoded, in_pieces, read_payload, vector_names
from vecdb.engine.view import Offsets, Segment, SegmentView, View
from vecdb.payload.filters import Predicate, compile_filter
from vecdb.payload.split import names_points, payload_part
from vecdb.storage.catalog import Bits
from vecdb.storage.format import pack_bits, unpack_bits

_NO_ROW: Offsets = np.empty(0, dtype=np.int64)


Explain = Callable[[models.SearchStage], None]
"""Takes what a step of a search did."""


class Condition(Struct):
    """A compiled filter. ``bounds``: what ids and vector names tell of it, if they tell anything.
    ``predicate`` decides the rows they leave open, by the conditions on payloads; ``digest`` tells
    these conditions from others, if they can be encoded."""

    bounds: Bounded | None
    predicate: Predicate
    digest: bytes | None


def compiled(filter: models.Filter) -> Condition:
    """The condition of a filter that was read."""
    predicate = compile_filter(filter)  # first: it refuses what is nested too deeply
    payload_filter = payload_part(filter)
    if payload_filter is None:
        return Condition(bounded(filter), predicate, None)
    if not names_points(filter):
        return Condition(None, predicate, digest_of(filter))
    return Condition(bounded(filter), compile_filter(payload_filter), digest_of(payload_filter))


def digest_of(filter: models.Filter) -> bytes | None:
    """The digest of a filter, which tells it from others (``==`` takes True for 1). None: it has
    numbers or times that cannot be encoded."""
    try:
        text = msgspec.msgpack.encode(filter)
    except (TypeError, ValueError, OverflowError):
        return None
    # A cryptographic hash: of two filters with one digest, one would get the other's points.
    return hashlib.blake2b(text, digest_size=16).digest()


def allowed(
    view: View,
    segment_view: SegmentView,
    name: str,
    condition: Condition | None,
    excluded: int | None,
    explain: Explain | None = None,
) -> Bits | None:
    """Bits of the rows that live, have the vector and match; None: all rows."""
    mask = segment_view.alive
    present = segment_view.segment.present(name, segment_view.rows)
    if present is not None:
        mask = present if mask is None else mask[: len(present)] & present
    if condition is not None:
        matches = matching(view, segment_view, condition, explain)
        mask = matches if mask is None else mask[: len(matches)] & matches
    if excluded is not None:
        row = int(
            segment_view.segment.locate([excluded], ids.to_array([excluded]), segment_view.rows)[0]
        )
        if row >= 0:
            full = np.full(-(-segment_view.rows // 8), 0xFF, dtype=np.uint8)
            mask = full if mask is None else mask[: len(full)].copy()
            mask[row >> 3] &= ~(1 << (row & 7)) & 0xFF
    if mask is None:
        return None
    return _trim(mask, segment_view.rows)


def _trim(mask: Bits, rows: int) -> Bits:
    """Exactly the bytes ``rows`` rows need, with no bit set beyond the last row."""
    mask = mask[: -(-rows // 8)]
    spare = rows & 7
    if spare and len(mask) and mask[-1] >> spare:
        mask = mask.copy()
        mask[-1] &= (1 << spare) - 1
    return mask


def matching(
    view: View, segment_view: SegmentView, condition: Condition, explain: Explain | None = None
) -> Bits:
    """Bits of the live rows that match."""
    matches, possibly = bounds(view, segment_view, condition)
    untested = possibly & ~matches
    rows = None
    if untested.any():
        rows = np.flatnonzero(unpack_bits(untested, segment_view.rows))
        matched = _tested(view, segment_view, condition, rows)
        matches = matches | matched
        if condition.digest is not None:
            remember(segment_view, condition.digest, untested, matched)
    if explain is not None:
        tested, why = 0, "no payload needed"
        if rows is not None:
            tested, why = len(rows), "payloads read"
        elif condition.digest is not None:
            why = "remembered"
        explain(models.SearchStage("filter", tested, int(np.bitwise_count(matches).sum()), why))
    return matches


def bounds(view: View, segment_view: SegmentView, condition: Condition) -> Bounds:
    """Bits of the live rows that surely match, and of those that possibly do, by ids, vector names
    and what was tested before."""
    live = _live(segment_view)
    if condition.bounds is None:
        surely, possibly = np.zeros_like(live), live
    else:
        surely, possibly = condition.bounds(view, segment_view)
        surely, possibly = surely & live, possibly & live
    if condition.digest is None:
        return surely, possibly
    tested, matches = recall(segment_view, condition.digest)
    surely = surely | possibly & matches
    return surely, surely | possibly & ~tested


def _live(segment_view: SegmentView) -> Bits:
    """Bits of the rows that live, none beyond the last row."""
    if segment_view.alive is None:
        return _trim(np.full(-(-segment_view.rows // 8), 0xFF, dtype=np.uint8), segment_view.rows)
    return _trim(segment_view.alive, segment_view.rows)


def _tested(view: View, segment_view: SegmentView, condition: Condition, rows: Offsets) -> Bits:
    """Bits of those of ``rows`` that match. They are read many at a time: one by one, as by a
    ``RowTest``, takes half as long again."""
    segment, predicate, names_of = (
        segment_view.segment,
        condition.predicate,
        _names_of(view, segment_view),
    )
    flags = np.zeros(segment_view.rows, dtype=np.bool_)
    for some in in_pieces(rows):
        keys = ids.from_array(segment.id_array(some))
        columns = zip(some.tolist(), keys, segment_view.payloads(some), strict=True)
        flags[some] = [
            predicate(ids.external(key), decoded(segment_view, row, data), names_of(row))
            for row, key, data in columns
        ]
    return pack_bits(flags)


def rows(view: View, segment_view: SegmentView, condition: Condition | None) -> Offsets:
    """The live rows that match, ascending."""
    if condition is None or segment_view.live == 0:
        return segment_view.live_offsets()
    return np.flatnonzero(unpack_bits(matching(view, segment_view, condition), segment_view.rows))


def only(chosen: Mapping[Segment, Offsets]) -> Condition:
    """The condition that these rows of segments meet, and no others."""

    def bounds(view: View, segment_view: SegmentView) -> Bounds:
        flags = np.zeros(segment_view.rows, dtype=np.bool_)
        flags[chosen.get(segment_view.segment, _NO_ROW)] = True
        bits = pack_bits(flags)
        return bits, bits

    return Condition(bounds, compile_filter(models.Filter()), None)


class RowTest:
    """The test of single rows that ``bounds`` leaves open; ``keep`` remembers what it found."""

    def __init__(self, view: View, segment_view: SegmentView, condition: Condition) -> None:
        self._segment_view = segment_view
        self._condition = condition
        self._names_of = _names_of(view, segment_view)
        self._tested = np.zeros(segment_view.rows, dtype=np.bool_)
        self._matched = np.zeros(segment_view.rows, dtype=np.bool_)
        self._count = 0

    def __call__(self, row: int) -> bool:
        segment_view = self._segment_view
        key = ids.external(segment_view.segment.key(row))
        payload = read_payload(segment_view, row)
        matches = self._condition.predicate(key, payload, self._names_of(row))
        self._tested[row], self._matched[row] = True, matches
        self._count += 1
        return matches

    def keep(self) -> None:
        """To be called once, after the last test."""
        digest = self._condition.digest
        if digest is not None and is_worth_remembering(self._segment_view, digest, self._count):
            tested, matched = pack_bits(self._tested), pack_bits(self._matched)
            remember(self._segment_view, digest, tested, matched)


def _names_of(view: View, segment_view: SegmentView) -> Callable[[int], list[str]]:
    """The names of the vectors a row has."""
    names = list(view.schema)
    if all(segment_view.segment.present(name, segment_view.rows) is None for name in names):
        return lambda row: names
    return lambda row: vector_names(view, segment_view, row)
