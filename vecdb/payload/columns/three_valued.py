"""Three-valued: which rows surely match, which possibly do, and what that makes of many conditions.

For a row a filter is true, false or open. *Surely* has the rows that match whatever is not known,
*possibly* all rows but those that cannot match. Where nothing is open both are the same array, and
are worked out once. Bits beyond the last row mean nothing. No function changes what it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint8]
Bounds = tuple[Bits, Bits]
"""(surely, possibly), one bit a row."""


def exactly(bits: Bits) -> Bounds:
    """Bounds of what is known of every row."""
    return bits, bits


def no_row(rows: int) -> Bits:
    """The bits of none of so many rows."""
    return np.zeros(-(-rows // 8), dtype=np.uint8)


def every_row(rows: int) -> Bits:
    """The bits of all of so many rows."""
    return np.full(-(-rows // 8), 0xFF, dtype=np.uint8)


def union(parts: Sequence[Bits], rows: int) -> Bits:
    """The rows that are in any of some masks."""
    return reduce(np.bitwise_or, parts) if parts else no_row(rows)


def both(one: Bounds, other: Bounds) -> Bounds:
    """Two conditions must hold."""
    surely = one[0] & other[0]
    return surely, surely if _known(one) and _known(other) else one[1] & other[1]


def either(one: Bounds, other: Bounds) -> Bounds:
    """One of two conditions must hold."""
    surely = one[0] | other[0]
    return surely, surely if _known(one) and _known(other) else one[1] | other[1]


def neither(one: Bounds) -> Bounds:
    """A condition must not hold."""
    surely = ~one[1]
    return surely, surely if _known(one) else ~one[0]


def _known(bounds: Bounds) -> bool:
    return bounds[0] is bounds[1]


def at_least(wanted: int, several: Sequence[Bounds], rows: int) -> Bounds:
    """So many of several conditions must hold."""
    surely = _counted(wanted, (each[0] for each in several), rows)
    if all(map(_known, several)):
        return exactly(surely)
    return surely, _counted(wanted, (each[1] for each in several), rows)


def _counted(wanted: int, several: Iterable[Bits], rows: int) -> Bits:
    """The rows that are in so many masks. Their numbers stand in binary, a mask for each digit."""
    digits: list[Bits] = []
    for carry in several:
        for place, digit in enumerate(digits):
            digits[place], carry = digit ^ carry, digit & carry
        if carry.max(initial=0):
            digits.append(carry)
    if wanted >> len(digits):
        return no_row(rows)
    more, equal = no_row(rows), every_row(rows)
    for place in range(len(digits) - 1, -1, -1):
        if wanted >> place & 1:
            equal = equal & digits[place]
        else:
            more, equal = more | equal & digits[place], equal & ~digits[place]
    return more | equal
