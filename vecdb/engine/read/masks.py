"""Masks: which rows of a segment a read may return.

Bits, one a row: alive, has the vector, matches the filter. None stands for "all rows".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from vecdb import ids, models
from vecdb.engine.read.bounds import Bounded, Bounds, bounded
from vecdb.engine.read.remembered import recall, remember
from vecdb.engine.read.rows import decoded, read_payload, vector_names
from vecdb.engine.view import Offsets, SegmentView, View
from vecdb.payload.filters import Predicate, compile_filter
from vecdb.payload.split import names_points, payload_part
from vecdb.storage.catalog import Bits
from vecdb.storage.format import pack_bits, unpack_bits

_AT_ONCE = 1024
"""Rows that are read together to test a filter."""


Explain = Callable[[models.SearchStage], None]
"""Takes what a step of a search did."""


@dataclass(slots=True)
class Condition:
    """A compiled filter. ``bounds``: what ids and vector names say of it, if they say anything.
    ``predicate`` decides the rows they leave open, by the part of the filter that takes payloads;
    ``digest`` tells that part from others, if it can be written down."""

    bounds: Bounded | None
    predicate: Predicate
    digest: bytes | None


def compiled(filter: models.Filter) -> Condition:
    """The condition of a filter that was read."""
    predicate = compile_filter(filter)  # first: it refuses what is nested too deeply
    part = payload_part(filter)
    if part is None:
        return Condition(bounded(filter), predicate, None)
    if not names_points(filter):
        return Condition(None, predicate, digest_of(filter))
    return Condition(bounded(filter), compile_filter(part), digest_of(part))


def digest_of(filter: models.Filter) -> bytes | None:
    """What tells a filter from others, unlike ``==``, which takes True for 1. None: it has numbers
    or times that the encoding has not."""
    try:
        text = msgspec.msgpack.encode(filter)
    except (TypeError, ValueError, OverflowError):
        return None
    # A hash that nobody can find two filters for: one would get the other's points.
    return hashlib.blake2b(text, digest_size=16).digest()


def allowed(
    view: View,
    part: SegmentView,
    name: str,
    condition: Condition | None,
    excluded: int | None,
    explain: Explain | None = None,
) -> Bits | None:
    """Bits of the rows that live, have the vector and match; None: all rows."""
    mask = part.alive
    present = part.segment.present(name, part.rows)
    if present is not None:
        mask = present if mask is None else mask[: len(present)] & present
    if condition is not None:
        matches = matching(view, part, condition, explain)
        mask = matches if mask is None else mask[: len(matches)] & matches
    if excluded is not None:
        row = int(part.segment.locate([excluded], ids.to_array([excluded]), part.rows)[0])
        if row >= 0:
            full = np.full(-(-part.rows // 8), 0xFF, dtype=np.uint8)
            mask = full if mask is None else mask[: len(full)].copy()
            mask[row >> 3] &= ~(1 << (row & 7)) & 0xFF
    if mask is None:
        return None
    return _trim(mask, part.rows)


def _trim(mask: Bits, rows: int) -> Bits:
    """Exactly the bytes ``rows`` rows need, with no bit set beyond the last row."""
    mask = mask[: -(-rows // 8)]
    spare = rows & 7
    if spare and len(mask) and mask[-1] >> spare:
        mask = mask.copy()
        mask[-1] &= (1 << spare) - 1
    return mask


def matching(
    view: View, part: SegmentView, condition: Condition, explain: Explain | None = None
) -> Bits:
    """Bits of the live rows that match."""
    matches, possibly = bounds(view, part, condition)
    untested = possibly & ~matches
    rows = None
    if untested.any():
        rows = np.flatnonzero(unpack_bits(untested, part.rows))
        found = _tested(view, part, condition, rows)
        matches = matches | found
        if condition.digest is not None:
            remember(part, condition.digest, untested, found)
    if explain is not None:
        tested, why = 0, "no payload needed"
        if rows is not None:
            tested, why = len(rows), "payloads read"
        elif condition.digest is not None:
            why = "remembered"
        explain(models.SearchStage("filter", tested, int(np.bitwise_count(matches).sum()), why))
    return matches


def bounds(view: View, part: SegmentView, condition: Condition) -> Bounds:
    """Bits of the live rows that surely match, and of those that possibly do: by ids and vector
    names, and by what was tested before."""
    live = _live(part)
    if condition.bounds is None:
        surely, possibly = np.zeros_like(live), live
    else:
        surely, possibly = condition.bounds(view, part)
        surely, possibly = surely & live, possibly & live
    if condition.digest is None:
        return surely, possibly
    tested, matches = recall(part, condition.digest)
    surely = surely | possibly & matches
    return surely, surely | possibly & ~tested


def _live(part: SegmentView) -> Bits:
    """Bits of the rows that live, none beyond the last row."""
    if part.alive is None:
        return _trim(np.full(-(-part.rows // 8), 0xFF, dtype=np.uint8), part.rows)
    return _trim(part.alive, part.rows)


def _tested(view: View, part: SegmentView, condition: Condition, rows: Offsets) -> Bits:
    """Bits of those of some rows that match. They are read many at a time: one by one, as for
    ``row_test``, takes half as long again."""
    segment, predicate, names_of = part.segment, condition.predicate, _names_of(view, part)
    flags = np.zeros(part.rows, dtype=np.bool_)
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        keys = ids.from_array(segment.id_array(some))
        columns = zip(some.tolist(), keys, part.payloads(some), strict=True)
        flags[some] = [
            predicate(ids.external(key), decoded(part, row, data), names_of(row))
            for row, key, data in columns
        ]
    return pack_bits(flags)


def row_test(view: View, part: SegmentView, condition: Condition) -> Callable[[int], bool]:
    """Whether one row of a segment matches, of those that ``bounds`` leaves open."""
    predicate = condition.predicate
    key, names_of = part.segment.key, _names_of(view, part)

    def test(row: int) -> bool:
        return predicate(ids.external(key(row)), read_payload(part, row), names_of(row))

    return test


def _names_of(view: View, part: SegmentView) -> Callable[[int], list[str]]:
    """The names of the vectors a row has."""
    names = list(view.schema)
    if all(part.segment.present(name, part.rows) is None for name in names):
        return lambda row: names
    return lambda row: vector_names(view, part, row)
