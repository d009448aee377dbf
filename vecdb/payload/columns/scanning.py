"""Scanning: passes over the codes of all rows, compiled where there are many."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import ModuleType

import numpy as np
import numpy.typing as npt

from vecdb.kernels import at_hand
from vecdb.payload.columns.body import Array
from vecdb.payload.columns.keys import Interval
from vecdb.payload.columns.three_valued import Bits
from vecdb.storage.format import DamageError, pack_bits

COMPILED_FROM = 1 << 16
"""Rows from which compiled loops are used: with fewer, numpy is fast enough, and a small collection
must not wait for a compiler."""
_FASTER_FROM = 1 << 11
"""Rows from which they are used if they are at hand."""
_AT_ONCE = 1 << 15
_FEW = 8
"""Intervals up to which a pass for each is faster than looking every code up."""
_LOW = (1 << 16) - 1
_TABLE = 1 << 24
"""Codes up to which they are looked up in a table of as many bytes."""


def _compiled(codes: Array) -> bool:
    """Whether compiled loops go through codes."""
    rows = len(codes)
    return rows >= COMPILED_FROM or (rows >= _FASTER_FROM and at_hand())


@cache
def _kernels() -> ModuleType:
    """The compiled loops."""
    from vecdb.kernels import columns

    return columns


def within(codes: Array, wanted: Sequence[Interval], bits: Bits) -> None:
    """Set the bits of rows whose code, not 0, is in one of some intervals."""
    most = (1 << 8 * codes.dtype.itemsize) - 1
    intervals = [(max(first, 1), min(last, most)) for first, last in wanted]
    if len(intervals) != 1 or intervals[0][0] > intervals[0][1]:
        intervals = _joined([each for each in intervals if each[0] <= each[1]])
    if len(intervals) <= _FEW:
        for first, last in intervals:
            _within_one(codes, first, last, bits)
    elif intervals[-1][1] < _TABLE:
        table = np.zeros(intervals[-1][1] + 2, dtype=np.bool_)
        for first, last in intervals:
            table[first : last + 1] = True
        _look_up(codes, table, bits)
    else:
        _search(codes, intervals, bits)


def _joined(intervals: list[Interval]) -> list[Interval]:
    """The same codes in as few intervals as can be, sorted."""
    joined: list[Interval] = []
    for first, last in sorted(intervals):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def _within_one(codes: Array, first: int, last: int, bits: Bits) -> None:
    if _compiled(codes):
        _kernels().within(codes, first, last - first, bits)
        return
    kind = codes.dtype.type
    for start in range(0, len(codes), _AT_ONCE):
        some = codes[start : start + _AT_ONCE]
        flags = some == kind(first) if first == last else some - kind(first) <= kind(last - first)
        _add(bits, start, flags)


def _add(bits: Bits, start: int, flags: npt.NDArray[np.bool_]) -> None:
    packed = pack_bits(flags)
    bits[start // 8 : start // 8 + len(packed)] |= packed


def _look_up(codes: Array, table: npt.NDArray[np.bool_], bits: Bits) -> None:
    """By a table whose last entry, which is false, stands for all beyond it."""
    if _compiled(codes):
        _kernels().look_up(codes, table.view(np.uint8), bits)
        return
    for start in range(0, len(codes), _AT_ONCE):
        _add(bits, start, table.take(codes[start : start + _AT_ONCE], mode="clip"))


def _search(codes: Array, intervals: list[Interval], bits: Bits) -> None:
    """By binary search among the intervals. Where these are single codes, few others have the low
    bits of one of them, which is quickly seen."""
    firsts = np.array([first for first, _ in intervals], dtype=codes.dtype)
    lasts = np.array([0, *(last for _, last in intervals)], dtype=codes.dtype)
    single = all(first == last for first, last in intervals)
    low = codes.dtype.type(_LOW)
    likely = np.zeros(_LOW + 1, dtype=np.bool_)
    likely[firsts & low] = True
    for start in range(0, len(codes), _AT_ONCE):
        some = codes[start : start + _AT_ONCE]
        flags = likely[some & low] if single else np.ones(len(some), dtype=np.bool_)
        chosen = np.flatnonzero(flags)
        some = some[chosen]
        at = np.searchsorted(firsts, some, side="right")
        flags[chosen] = (some <= lasts[at]) & (at > 0)
        _add(bits, start, flags)


def count(codes: Array, mask: Bits | None, counts: npt.NDArray[np.int64]) -> None:
    """Add to ``counts[c]`` how many of the rows of a mask have code ``c``. Raises DamageError for a
    code beyond the counts."""
    if int(codes.max(initial=0)) >= len(counts):
        raise DamageError(f"a column has a code that none of its {len(counts) - 1} values has")
    if _compiled(codes) and codes.dtype.itemsize < 8:
        _kernels().count(codes, np.empty(0, np.uint8) if mask is None else mask, counts)
        return
    if mask is not None:
        codes = codes[np.unpackbits(mask, count=len(codes), bitorder="little").view(np.bool_)]
    counts += np.bincount(codes.astype(np.int64), minlength=len(counts))
