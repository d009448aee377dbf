"""Codings: the values of one type as codes 1, 2, …, in the order of the values. 0 is no value.

A test for a value, a range or a prefix so becomes an interval of codes, and what looks for codes
(`sections`) never asks what they mean.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vecdb.payload.columns.body import Array, Reader, Writer, narrowest, whole
from vecdb.payload.columns.keys import LEAST, MOST, NOTHING, Interval, Keys
from vecdb.storage.format import DamageError

MAX_CODE = (1 << 64) - 1


class NumberCoding(Protocol):
    """Keys (`keys`) as codes."""

    count: int
    """The highest code."""

    def interval(self, keys: Interval) -> Interval:
        """The codes of an interval of keys."""
        ...

    def keys(self, codes: Array) -> Keys:
        """The inverse; codes that are none give any keys, or DamageError."""
        ...

    @property
    def nbytes(self) -> int:
        """Of the arrays."""
        ...

    def pack(self, writer: Writer) -> list[Any]:
        """The facts that ``read_numbers`` reads."""
        ...


class Stepped:
    """Keys at equal distances: ``least + step * (code - 1)``. Most numbers need no more."""

    def __init__(self, least: int, step: int, count: int) -> None:
        self.least, self.step, self.count = least, step, count

    def interval(self, keys: Interval) -> Interval:
        first, last = keys
        if first > last:
            return NOTHING
        low = max(-((self.least - first) // self.step), 0)
        high = min((last - self.least) // self.step, self.count - 1)
        return low + 1, high + 1

    def codes(self, keys: Keys) -> npt.NDArray[np.uint64]:
        """Of keys that it was made for."""
        far = keys.view(np.uint64) - np.uint64(self.least & MAX_CODE)  # modulo 2**64
        return (far if self.step == 1 else far // np.uint64(self.step)) + np.uint64(1)

    def keys(self, codes: Array) -> Keys:
        steps = codes.astype(np.uint64) - np.uint64(1)
        return (steps * np.uint64(self.step) + np.uint64(self.least & MAX_CODE)).view(np.int64)

    @property
    def nbytes(self) -> int:
        return 0

    def pack(self, writer: Writer) -> list[Any]:
        return ["stepped", self.least, self.step, self.count]


class Listed:
    """Any keys, in a sorted list."""

    def __init__(self, listed: Keys) -> None:
        self.listed = listed
        self.count = len(listed)

    def interval(self, keys: Interval) -> Interval:
        first, last = max(keys[0], LEAST), min(keys[1], MOST)
        if first > last:
            return NOTHING
        low = np.searchsorted(self.listed, np.int64(first), side="left")
        high = np.searchsorted(self.listed, np.int64(last), side="right")
        return int(low) + 1, int(high)

    def codes(self, keys: Keys) -> npt.NDArray[np.uint64]:
        """Of keys that are in the list."""
        return np.searchsorted(self.listed, keys).astype(np.uint64) + np.uint64(1)

    def keys(self, codes: Array) -> Keys:
        return self.listed[positions(codes, self.count)]

    @property
    def nbytes(self) -> int:
        return self.listed.nbytes

    def pack(self, writer: Writer) -> list[Any]:
        return ["listed", writer.put(self.listed)]


def positions(codes: Array, count: int) -> npt.NDArray[np.int64]:
    """Where the values of codes stand in a list. Raises DamageError for what is no code."""
    if len(codes) and not 1 <= int(codes.min()) <= int(codes.max()) <= count:
        raise DamageError(f"a column has a code that none of its {count} values has")
    return codes.astype(np.int64) - 1


def number_coding(distinct: Keys, slots: int) -> Stepped | Listed:
    """What takes fewer bytes for sorted distinct keys, of which codes stand in so many places."""
    least, most = int(distinct[0]), int(distinct[-1])
    step = _common_step(distinct)
    count = (most - least) // step + 1
    if count > MAX_CODE:
        return Listed(distinct)
    stepped = slots * narrowest(count).itemsize
    listed = slots * narrowest(len(distinct)).itemsize + 8 * len(distinct)
    return Stepped(least, step, count) if stepped <= listed else Listed(distinct)


def _common_step(distinct: Keys) -> int:
    """The largest distance that divides all distances."""
    steps = np.diff(distinct.view(np.uint64))
    step, start = 0, 0
    while start < len(steps) and step != 1:  # nearly always 1 after some
        some = steps[start : start + 1024]
        step = int(np.gcd(np.gcd.reduce(some), np.uint64(step)))
        start += 1024
    return step or 1


def read_numbers(facts: Any, reader: Reader) -> NumberCoding:
    """A coding of numbers from its facts. Raises DamageError."""
    kind, *rest = facts if type(facts) is list and facts else [None]
    if kind == "stepped" and len(rest) == 3:
        least = whole(rest[0], LEAST, MOST)
        step = whole(rest[1], 1, MAX_CODE)
        return Stepped(least, step, whole(rest[2], 1, MAX_CODE))
    if kind == "listed" and len(rest) == 1:
        return Listed(reader.keys(rest[0]))
    raise DamageError(f"no coding of numbers is {facts!r:.60}")
