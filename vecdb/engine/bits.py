"""Bits: a mask with one bit for each row, of some rows, counted, in its shortest form."""

from __future__ import annotations

from vecdb import ids
from vecdb.engine.view import Offsets, Segment
from vecdb.storage.catalog import Bits
from vecdb.storage.format import bits_at, count_set, pack_bits
from vecdb.storage.memory import all_alive, killed


def gather_bits(alive: Bits | None, offsets: Offsets) -> Bits:
    """The bits of some rows of a mask, packed in their order."""
    if alive is None:
        return all_alive(len(offsets))
    return pack_bits(bits_at(alive, offsets))


def count_bits(bits: Bits | None, rows: int) -> int:
    """How many of ``rows`` rows a mask lets live."""
    return rows if bits is None else count_set(bits)


def none_if_all(bits: Bits, rows: int) -> Bits | None:
    """A mask in its shortest form: None when every row lives."""
    return None if count_bits(bits, rows) == rows else bits


def without(
    segment: Segment, rows: int, alive: Bits | None, keys: list[int], array: ids.IdArray
) -> tuple[Bits | None, int]:
    """A segment's mask once the points of some keys are dead, and how many of them lived; the same
    mask if none did. ``array``: the keys."""
    found = segment.locate(keys, array, rows)
    found = found[found >= 0]
    if alive is not None and len(found):  # no copy of the mask for what is dead
        found = found[bits_at(alive, found)]
    if not len(found):
        return alive, 0
    return killed(alive if alive is not None else all_alive(rows), found)
