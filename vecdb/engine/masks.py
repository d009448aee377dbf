"""Masks: which rows of a segment a read may return.

Bits, one a row: alive, has the vector, matches the filter. None stands for "all rows".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from vecdb import ids, models
from vecdb.engine.rows import decoded, read_payload, vector_names
from vecdb.engine.view import Offsets, SegmentView, View
from vecdb.payload.filters import Predicate, compile_filter, required_ids
from vecdb.storage.catalog import Bits
from vecdb.storage.format import pack_bits, unpack_bits
from vecdb.storage.segment import FileSegment

_REMEMBERED = 32
"""Filters whose matches a segment keeps: a quarter of a byte a row each, with who lived then."""
_AT_ONCE = 1024
"""Rows that are read together to test a filter."""
_LONGEST = 4096
"""Bytes of the text of a filter; a longer one is not remembered."""


Explain = Callable[[models.SearchStage], None]
"""Takes what a step of a search did."""


@dataclass(slots=True)
class Condition:
    """A compiled filter. ``text`` tells it from others, if it can be written down; ``pinned``: the
    only keys that can match, if the filter says so."""

    predicate: Predicate
    text: bytes | None
    pinned: list[int] | None


def compiled(filter: models.Filter) -> Condition:
    """The condition of a filter that was checked."""
    pinned = required_ids(filter)
    keys = None if pinned is None else sorted(map(ids.key_of, pinned))
    return Condition(compile_filter(filter), text_of(filter), keys)


def text_of(filter: models.Filter) -> bytes | None:
    """What tells a filter from others, unlike ``==``, which takes True for 1. None: it has numbers
    or times that the encoding has not."""
    try:
        text = msgspec.msgpack.encode(filter)
    except (TypeError, ValueError, OverflowError):
        return None
    return text if len(text) <= _LONGEST else None


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
    """Bits of the live rows whose payload matches."""
    rows, why = None, "payloads read"
    if condition.pinned is not None:
        found = part.segment.locate(condition.pinned, ids.to_array(condition.pinned), part.rows)
        rows, why = found[part.lives(found)], "the ids that the filter names"
        matches = _tested(view, part, condition, rows)
    elif not isinstance(part.segment, FileSegment) or condition.text is None:
        rows = part.live_offsets()
        matches = _tested(view, part, condition, rows)
    else:
        matches, rows = _remembered(view, part.unedited(), part.segment, condition, condition.text)
        if part.edited:
            matches, more = _amended(view, part, condition, condition.text, matches)
            rows = more if rows is None else np.concatenate((rows, more))
        why = why if rows is not None and len(rows) else "remembered"
    if explain is not None:
        tested = 0 if rows is None else len(rows)
        explain(models.SearchStage("filter", tested, int(np.bitwise_count(matches).sum()), why))
    return matches


def _remembered(
    view: View, part: SegmentView, segment: FileSegment, condition: Condition, text: bytes
) -> tuple[Bits, Offsets | None]:
    """Bits of the live rows of a file that match by the payloads they were written with, and the
    rows that were tested; None: none was, because the filter had been asked before."""
    # To test a row takes microseconds of Python, and rows of a file never change: what matched once
    # does so as long as it lives. No lock: at worst two threads test the same filter.
    tested = None
    alive, matches = segment.matches.pop(text, (None, None))
    if matches is None or _any_more(part.alive, alive):
        alive, tested = part.alive, part.live_offsets()
        matches = _tested(view, part, condition, tested)
        matches.flags.writeable = False
    segment.matches[text] = alive, matches
    for oldest in list(segment.matches)[:-_REMEMBERED]:
        segment.matches.pop(oldest, None)
    return (matches if part.alive is None else matches & part.alive), tested


def _amended(
    view: View, part: SegmentView, condition: Condition, text: bytes, matches: Bits
) -> tuple[Bits, Offsets]:
    """The same by the payloads now, and the rows that were tested: those of which the payload was
    edited, since the filter was asked last."""
    edits, seen = part.edits, part.seen
    before, known = edits.matches.pop(text, (0, None))
    if known is None or before > seen:  # time may run backwards, see ``_any_more``
        rows = edits.rows(seen, edits.files)
        found = _tested(view, part, condition, rows)
    else:
        rows = edits.rows(seen, (), before)
        flags = unpack_bits(known, part.rows)
        flags[rows] = False
        found = pack_bits(flags) | _tested(view, part, condition, rows)
    found.flags.writeable = False
    edits.matches[text] = seen, found
    for oldest in list(edits.matches)[:-_REMEMBERED]:
        edits.matches.pop(oldest, None)
    matches = (matches & ~edits.bits(seen, part.rows)) | found
    return (matches if part.alive is None else matches & part.alive), rows


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


def _any_more(alive: Bits | None, before: Bits | None) -> bool:
    """Whether a row lives that did not before. Time may run backwards: a view that was taken
    earlier is still being read, after one in which the row was gone."""
    if before is None:
        return False
    return alive is None or bool((alive & ~before).any())


def row_test(view: View, part: SegmentView, predicate: Predicate) -> Callable[[int], bool]:
    """Whether one row of a segment matches."""
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
