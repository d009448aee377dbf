"""Passes over the codes of a column: which rows have one of some codes, how many have each.

Codes are unsigned, of 1, 2, 4 or 8 bytes, one a row. A pass reads each of them once and nothing
else, so narrow codes are what makes it fast.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vecdb.kernels.compiling import intrinsic, njit, types
from vecdb.kernels.shuffle import LONG, load, spread
from vecdb.kernels.signatures import bytes_1, codes_1, out_bytes_1, out_ints_1

__all__ = ["count", "look_up", "within"]


@intrinsic
def _bits_of_64(typing_context: Any, codes: Any, at: Any, first: Any, span: Any) -> Any:
    """Of the 64 codes from ``at`` on, a bit each: whether it is from ``first`` to ``first + span``.

    Compilers find no instruction that makes bits of comparisons, though all processors have one.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        kind = context.get_data_type(signature.args[0].dtype)
        low, high = (
            spread(builder, number if kind.width == 64 else builder.trunc(number, kind), 64)
            for number in arguments[2:]
        )
        some = load(builder, array.data, arguments[1], kind, 64)
        flags = builder.icmp_unsigned("<=", builder.sub(some, low), high)
        return builder.bitcast(flags, LONG)

    return types.uint64(codes, at, first, span), generate


@intrinsic
def _add_64(typing_context: Any, bits: Any, at: Any, word: Any) -> Any:
    """Set bits from byte ``at`` on, 64 at once: the first is the lowest of the word."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        here = builder.gep(array.data, [arguments[1]])
        here = builder.bitcast(here, LONG.as_pointer())
        builder.store(builder.or_(builder.load(here, align=1), arguments[2]), here, align=1)
        return context.get_dummy_value()

    return types.void(bits, at, types.uint64), generate


@njit(
    [types.void(codes, types.uint64, types.uint64, out_bytes_1) for codes in codes_1],
    nogil=True,
    cache=True,
)
def within(codes, first, span, bits):  # type: ignore[no-untyped-def]
    """Set the bits of rows whose code is from ``first`` to ``first + span``; both fit the codes."""
    rows = codes.shape[0]
    if bits.shape[0] * 8 < rows:
        raise ValueError("fewer bits than rows")
    whole = rows // 64
    for block in range(whole):
        found: Any = _bits_of_64(codes, np.int64(64 * block), first, span)
        _add_64(bits, np.int64(8 * block), found)
    for row in range(64 * whole, rows):
        if first <= codes[row] and codes[row] - first <= span:
            bits[row >> 3] |= np.uint8(1 << (row & 7))


@njit(
    [types.void(codes, bytes_1, out_bytes_1) for codes in codes_1],
    nogil=True,
    cache=True,
)
def look_up(codes, table, bits):  # type: ignore[no-untyped-def]
    """Set the bits of rows for whose code the table has 1; its last entry, 0, is that of all codes
    beyond it."""
    rows, last = codes.shape[0], np.uint64(table.shape[0] - 1)
    if bits.shape[0] * 8 < rows or table.shape[0] == 0:
        raise ValueError("fewer bits than rows, or an empty table")
    for byte in range(rows >> 3):
        found = np.uint8(0)
        for bit in range(8):
            code = np.uint64(codes[8 * byte + bit])
            found |= table[min(code, last)] << np.uint8(bit)
        bits[byte] |= found
    for row in range(rows & ~7, rows):
        bits[row >> 3] |= table[min(np.uint64(codes[row]), last)] << np.uint8(row & 7)


@njit(
    [types.void(codes, bytes_1, out_ints_1) for codes in codes_1],
    nogil=True,
    cache=True,
)
def count(codes, mask, counts):  # type: ignore[no-untyped-def]
    """Add 1 to ``counts[code]`` for each row of a mask; codes beyond the counts are passed over."""
    rows, most = codes.shape[0], np.uint64(counts.shape[0])
    if mask.shape[0] == 0:
        for row in range(rows):
            if np.uint64(codes[row]) < most:
                counts[np.int64(codes[row])] += 1
        return
    if mask.shape[0] * 8 < rows:
        raise ValueError("a mask of fewer rows")
    for byte in range((rows + 7) >> 3):
        bits = mask[byte]
        if bits == 0:
            continue
        if bits == 255 and 8 * byte + 8 <= rows:  # most, if all rows live
            for row in range(8 * byte, 8 * byte + 8):
                if np.uint64(codes[row]) < most:
                    counts[np.int64(codes[row])] += 1
            continue
        for row in range(8 * byte, min(8 * byte + 8, rows)):
            # Adding 0 costs less than a branch nobody can foresee.
            if np.uint64(codes[row]) < most:
                counts[np.int64(codes[row])] += np.int64((bits >> np.uint8(row & 7)) & np.uint8(1))
