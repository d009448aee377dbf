"""Keys: numbers and moments as 64-bit integers in the same order, and ranges as intervals of them.

An interval is ``(first, last)``, both included; it is empty if ``first > last``.
"""

from __future__ import annotations

import math
import struct
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb.models.conditions import DatetimeRange, Range
from vecdb.models.datetimes import with_zone

Keys = npt.NDArray[np.int64]
Interval = tuple[int, int]

LEAST, MOST = -(1 << 63), (1 << 63) - 1
NOTHING: Interval = (1, 0)
EVERYTHING: Interval = (LEAST, MOST)

_INFINITY = 0x7FF << 52
NOT_A_NUMBER = 0x7FF8 << 48
"""The key of every NaN. It is beyond that of infinity, and so in no range that has an end."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


# -- floats ------------------------------------------------------------------------------------


def keys_of_floats(values: npt.NDArray[np.float64]) -> Keys:
    """Sign and magnitude: both zeros are 0, as they are equal."""
    bits = values.view(np.int64)
    magnitude = bits & MOST
    keys = np.where(bits < 0, -magnitude, magnitude)
    keys[magnitude > _INFINITY] = NOT_A_NUMBER
    return keys


def floats_of_keys(keys: Keys) -> npt.NDArray[np.float64]:
    """The inverse; numbers that are no key may become any float."""
    bits = np.where(keys < 0, -keys | LEAST, keys)
    return bits.view(np.float64)


def _key_of_float(value: float) -> int:
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits if bits >= 0 else -(bits & MOST)


def _nearest(bound: float) -> tuple[float, int]:
    """The float nearest to a bound, which may be an int no float represents, and whether the bound
    is below it (-1), equal (0) or above it (1)."""
    try:
        value = float(bound)
    except OverflowError:
        value = math.inf if bound > 0 else -math.inf
    return value, (bound > value) - (bound < value)


def float_interval(bounds: Range) -> Interval:
    """The keys of the floats in a range, compared exactly: 2**53 + 1 is not 2.0**53. Without any
    end a NaN is in it, too; none is an end."""
    first, last = -_INFINITY, _INFINITY
    if _ends(bounds) == []:
        return first, NOT_A_NUMBER
    for bound, below, included in _ends(bounds):
        value, side = _nearest(bound)
        key = _key_of_float(value)
        if below:
            # Beyond the nearest float if that is less than the bound, or equal and not wanted.
            first = max(first, key + (side > 0 or (side == 0 and not included)))
        else:
            last = min(last, key - (side < 0 or (side == 0 and not included)))
    return first, last


# -- integers ----------------------------------------------------------------------------------


def int_interval(bounds: Range) -> Interval:
    """The integers of 64 bits in a range."""
    first, last = EVERYTHING
    if bounds.gt is not None:
        first = max(first, _whole(bounds.gt, up=True, strict=True))
    if bounds.gte is not None:
        first = max(first, _whole(bounds.gte, up=True, strict=False))
    if bounds.lt is not None:
        last = min(last, _whole(bounds.lt, up=False, strict=True))
    if bounds.lte is not None:
        last = min(last, _whole(bounds.lte, up=False, strict=False))
    return first, last


def _whole(bound: float, *, up: bool, strict: bool) -> int:
    """The first integer from a bound on, upwards or downwards."""
    if type(bound) is int:
        return (bound + 1 if up else bound - 1) if strict else bound
    if bound in (math.inf, -math.inf):
        return MOST + 1 if bound > 0 else LEAST - 1  # beyond every key: nothing, or no bound
    whole = math.ceil(bound) if up else math.floor(bound)
    if strict and whole == bound:
        whole += 1 if up else -1
    return whole


def _ends(bounds: Any) -> list[tuple[Any, bool, bool]]:
    """(bound, whether it is a lower one, whether it belongs to the range)."""
    ends = [
        (bounds.gt, True, False),
        (bounds.gte, True, True),
        (bounds.lt, False, False),
        (bounds.lte, False, True),
    ]
    return [end for end in ends if end[0] is not None]


# -- moments -----------------------------------------------------------------------------------


def moment_interval(bounds: DatetimeRange) -> Interval:
    """The microseconds since the beginning of 1970 in a range."""
    first, last = EVERYTHING
    for bound, below, included in _ends(bounds):
        key = microseconds(with_zone(bound))
        if below:
            first = max(first, key if included else key + 1)
        else:
            last = min(last, key if included else key - 1)
    return first, last


def microseconds(moment: datetime) -> int:
    """From the beginning of 1970 to a moment with a zone."""
    return (moment - _EPOCH) // timedelta(microseconds=1)
