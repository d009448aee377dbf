"""Masks: which rows of a segment a read may return.

Bits, one a row: alive, has the vector, matches the filter. None stands for "all rows".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vecdb import ids
from vecdb.engine.rows import read_payload, vector_names
from vecdb.engine.view import SegmentView, View
from vecdb.payload.filters import Predicate
from vecdb.storage.catalog import Bits
from vecdb.storage.format import pack_bits


@dataclass(slots=True)
class Condition:
    """A compiled filter. ``pinned``: the only keys that can match, if the filter says so."""

    predicate: Predicate
    pinned: list[int] | None


def allowed(
    view: View,
    part: SegmentView,
    name: str,
    condition: Condition | None,
    excluded: int | None,
) -> Bits | None:
    """Bits of the rows that live, have the vector and match; None: all rows."""
    mask = part.alive
    present = part.segment.present(name, part.rows)
    if present is not None:
        mask = present if mask is None else mask[: len(present)] & present
    if condition is not None:
        matches = matching(view, part, condition)
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


def matching(view: View, part: SegmentView, condition: Condition) -> Bits:
    """Bits of the live rows whose payload matches."""
    flags = np.zeros(part.rows, dtype=np.bool_)
    if condition.pinned is not None:
        pinned = condition.pinned
        found = part.segment.locate(pinned, ids.to_array(pinned), part.rows)
        candidates = found[part.lives(found)]
    else:
        candidates = part.live_offsets()
    test = row_test(view, part, condition.predicate)
    for row in candidates.tolist():
        flags[row] = test(row)
    return pack_bits(flags)


def row_test(view: View, part: SegmentView, predicate: Predicate) -> Callable[[int], bool]:
    """Whether one row of a segment matches."""
    names = list(view.schema)
    partial = any(part.segment.present(name, part.rows) is not None for name in names)
    key = part.segment.key

    def test(row: int) -> bool:
        has = vector_names(view, part, row) if partial else names
        return predicate(ids.external(key(row)), read_payload(part, row), has)

    return test
