"""Building an inverted index: the postings of each term, by rows, with a byte for each value."""

from __future__ import annotations

import numpy as np

from vecdb.kernels.compiling import njit, types
from vecdb.kernels.signatures import (
    floats_1,
    i64,
    ints_1,
    out_bytes_1,
    out_floats_1,
    out_int32s_1,
    out_ints_1,
    out_shorts_1,
    out_words_1,
    slots_1,
    words_1,
)

__all__ = ["count_terms", "fill_table", "gather_postings", "pack_postings"]

_NORMAL = np.finfo(np.float32).tiny
"""The smallest number with all its digits."""


@njit(i64(types.uint32, i64), nogil=True, cache=True)
def _home(index, size):  # type: ignore[no-untyped-def]
    """Where to look for an index first in a table of ``size`` places, a power of two."""
    mixed = np.uint64(index) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((mixed >> np.uint64(32)) & np.uint64(size - 1))


@njit(types.void(words_1, out_int32s_1), nogil=True, cache=True)
def fill_table(terms, table):  # type: ignore[no-untyped-def]
    """Enter the places of ``terms: uint32[t]`` in ``table: int32``, which has -1 everywhere and
    a power of two places, more than ``t``."""
    size = table.shape[0]
    for slot in range(terms.shape[0]):
        at = _home(terms[slot], size)
        while table[at] >= 0:
            at = (at + 1) & (size - 1)
        table[at] = slot


@njit(i64(types.uint32, words_1, slots_1), nogil=True, cache=True)
def _slot(index, terms, table):  # type: ignore[no-untyped-def]
    """The place of an index among the terms; it is one of them."""
    size = table.shape[0]
    at = _home(index, size)
    while terms[table[at]] != index:
        at = (at + 1) & (size - 1)
    return table[at]


@njit(types.void(words_1, words_1, slots_1, out_ints_1), nogil=True, cache=True)
def count_terms(indices, terms, table, counts):  # type: ignore[no-untyped-def]
    """Add to ``counts: int64[t]`` how often each term is among ``indices``, which are terms all."""
    for i in range(indices.shape[0]):
        counts[_slot(indices[i], terms, table)] += 1


@njit(
    types.void(
        *(ints_1, words_1, floats_1, words_1, slots_1, i64, i64),
        *(out_ints_1, out_ints_1, out_floats_1),
    ),
    nogil=True,
    cache=True,
)
def gather_postings(offsets, indices, values, terms, table, start, stop, ends, rows, out):  # type: ignore[no-untyped-def]
    """Write the rows and the values of the terms from ``start`` to ``stop``, each term's together
    and by rows; ``ends: int64[stop - start]``: where those of each begin, then where they end."""
    least = terms[start]
    most = terms[stop - 1]
    for row in range(offsets.shape[0] - 1):
        for i in range(offsets[row], offsets[row + 1]):
            index = indices[i]
            if least <= index and index <= most:
                slot = _slot(index, terms, table) - start
                at = ends[slot]
                rows[at] = row
                out[at] = values[i]
                ends[slot] = at + 1


@njit(
    i64(
        *(ints_1, ints_1, floats_1, i64, out_floats_1, out_floats_1),
        *(out_ints_1, out_words_1, out_shorts_1, out_bytes_1, out_bytes_1),
    ),
    nogil=True,
    cache=True,
)
def pack_postings(  # type: ignore[no-untyped-def]
    firsts, rows, values, window, lows, steps, blocks, windows, counts, maxima, packed
):
    """Pack the postings of some terms, of which those of term ``t`` are from ``firsts[t]`` on:
    ``lows`` and ``steps``, how many ``blocks`` each has, what is known of each block, and the
    bytes. Returns the number of blocks. A code is rounded up."""
    made = 0
    for t in range(firsts.shape[0] - 1):
        first = firsts[t]
        stop = firsts[t + 1]
        low = values[first]
        high = values[first]
        for i in range(first, stop):
            low = min(low, values[i])
            high = max(high, values[i])
        # A little wider than exact, so that the largest value has a code in spite of rounding.
        step = np.float32((np.float64(high) - np.float64(low)) / 255.0 * (1.0 + 1e-6))
        if high > low and step < _NORMAL:  # below that it would be rounded down, and bounds with it
            step = _NORMAL
        lows[t] = low
        steps[t] = step
        before = made
        at = first
        while at < stop:
            number = rows[at] // window
            end = at
            while end < stop and rows[end] // window == number:
                end += 1
            largest = np.int64(0)
            place = 3 * at
            codes = place + 2 * (end - at)
            for i in range(at, end):
                row = rows[i] - number * window
                packed[place] = row & 255
                packed[place + 1] = row >> 8
                place += 2
                code = np.int64(0)
                if step > 0:
                    over = (np.float64(values[i]) - np.float64(low)) / np.float64(step)
                    code = np.int64(min(np.ceil(over), 255.0))
                packed[codes] = code
                codes += 1
                largest = max(largest, code)
            windows[made] = number
            counts[made] = end - at
            maxima[made] = largest
            made += 1
            at = end
        blocks[t] = made - before
    return made
