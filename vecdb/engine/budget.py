"""Budget: how much memory a database may take, and who may have how much of it.

One object a database. Whoever holds much memory for long asks it first:

    rows        in memory, of all collections: checkpoints come when they fill their share
    a build     one at a time: samples, and how many rows a new segment has
    what reads  remember of filters
    pins        parts of segments in private memory, see ``pins.py``

What is left over is for all that is small. The pins have what nobody else needs; what they leave is
the build's. Without a limit every share is without end, and nothing is counted.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
from msgspec import Struct

from vecdb.errors import InvalidInputError

OverBudget = Literal["raise", "demote"]

LEAST = 32 << 20
"""With less there is no room for a build beside the rows that come in meanwhile."""
_ENDLESS = 1 << 62

# Parts of the limit. Rows are there twice: those that come in, and those that a checkpoint writes.
_ROWS = 8
_BUILD = 4
_REMEMBERED = 32
_SMALL = 4

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_ROW_OF_BUILD = 64
"""Bytes that a build takes for a row, whatever its vectors: its id, its place, its partition."""
_FIELD_OF_BUILD = 160
"""And while it makes the column of a field."""


class Pin(Struct, frozen=True):
    """A part of a segment that is to be in private memory."""

    collection: str
    segment: int
    part: str
    """As in ``storage/files.py``: originals, codes, …"""
    of: str
    """The vector name, or the field."""
    size: int
    asked: bool
    """Somebody has said so; else it is what is done where there is room."""

    def __str__(self) -> str:
        of = f" of {self.of!r}" if self.of else ""
        return f"{self.part}{of} in segment {self.segment} of {self.collection!r}: {self.size:,}"


class Budget:
    """The memory of one database. Thread-safe; its lock stands alone."""

    def __init__(self, limit: int | None = None, over: OverBudget = "raise") -> None:
        """``limit``: bytes, as `parse_limit` gives them. ``over``: what becomes of pins that do not
        fit when the database opens."""
        self.limit = limit
        self.over = over
        self.begun = False
        """Whether the database is open: until then nothing is pinned."""
        self._lock = threading.RLock()  # a signal's handler may write in the middle of a call
        self._rows: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._total = 0
        self._pinned: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    @property
    def rows(self) -> int:
        """Bytes of rows in memory at which a collection makes a checkpoint."""
        return _ENDLESS if self.limit is None else self.limit // _ROWS

    @property
    def build(self) -> int:
        """Bytes that a build may take: what pins leave, or its own part."""
        if self.limit is None:
            return _ENDLESS
        return max(self.limit // _BUILD, self.limit // _BUILD + self.pins - self.pinned)

    def remembered_of(self, segments: int) -> int:
        """Bytes that is remembered of the filters of a segment, where a collection has so many."""
        if self.limit is None:
            return _ENDLESS
        return self.limit // _REMEMBERED // (max(1, len(self._rows)) * max(1, segments))

    @property
    def pins(self) -> int:
        """Bytes that may be pinned."""
        if self.limit is None:
            return _ENDLESS
        shares = (
            2 * self.rows,
            self.limit // _BUILD,
            self.limit // _REMEMBERED,
            self.limit // _SMALL,
        )
        return self.limit - sum(shares)

    @property
    def pinned(self) -> int:
        """Bytes that are."""
        with self._lock:
            return sum(self._pinned.values())

    def rows_of_build(self, fields: int) -> int:
        """The most rows of a segment that is made of others. ``fields``: how many have columns,
        which are made one after the other."""
        if self.limit is None:
            return _ENDLESS
        # Half of it is for samples and what is measured with them.
        return self.build // 2 // (_ROW_OF_BUILD + (_FIELD_OF_BUILD if fields else 0))

    def enter(self, owner: Any) -> None:
        """A collection is there, which has nothing yet."""
        with self._lock:
            self._rows.setdefault(owner, 0)

    def fullest(self, owner: Any, size: int) -> Any:
        """Note that the rows in memory of a collection take so much. Returns the collection that
        has most, if all of them have more than there is room for."""
        with self._lock:
            self._total += size - self._rows.get(owner, 0)
            self._rows[owner] = size
            if self._total <= 2 * self.rows:
                return None
            self._total = sum(self._rows.values())  # without those that are gone
            if self._total <= 2 * self.rows:
                return None
            return max(self._rows, key=lambda each: self._rows[each])

    def forget(self, owner: Any) -> None:
        """A collection is closed, and has nothing."""
        with self._lock:
            self._total -= self._rows.pop(owner, 0)
            self._pinned.pop(owner, None)

    def grant(self, owner: Any, wanted: Iterable[Pin]) -> list[Pin]:
        """Which of the pins that a collection wants it has, from now on. What was asked for comes
        first, then all but originals, of which a search reads few; small ones before large ones."""
        with self._lock:
            left = self.pins - sum(n for each, n in self._pinned.items() if each is not owner)
            granted = []
            for pin in sorted(wanted, key=_rank):
                if pin.size <= left:
                    granted.append(pin)
                    left -= pin.size
            self._pinned[owner] = sum(pin.size for pin in granted)
        return granted


def _rank(pin: Pin) -> tuple[bool, bool, int]:
    return not pin.asked, pin.part == "originals", pin.size


def parse_limit(value: Any) -> int | None:
    """A ``memory_limit`` in bytes, from bytes or from text as ``"512MB"`` or ``"1GiB"``. Raises
    InvalidInputError."""
    expected = "memory_limit: expected bytes or a size as '512MB' or '1GiB'"
    if value is None:
        return None
    if isinstance(value, str):
        found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?) ?([KMG]i?B)", value.strip())
        if found is None:
            raise InvalidInputError(f"{expected}, got {value!r:.60}")
        limit = int(float(found[1]) * _UNITS[found[2]])
    elif isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InvalidInputError(f"{expected}, got {value!r:.60}")
    else:
        limit = int(value)
    if limit < LEAST:
        raise InvalidInputError(
            f"memory_limit: expected at least {LEAST:,} bytes ({LEAST >> 20}MiB), got {value!r:.60}"
        )
    return limit


def parse_over(value: Any) -> OverBudget:
    """Check ``on_over_budget``. Raises InvalidInputError."""
    if isinstance(value, str) and value == "raise":
        return "raise"
    if isinstance(value, str) and value == "demote":
        return "demote"
    raise InvalidInputError(f"on_over_budget: expected 'raise' or 'demote', got {value!r:.60}")
