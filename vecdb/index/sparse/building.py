"""The inverted index of a segment that is being built, from its vectors as written.

The postings come some terms at a time, so that memory stays bounded whatever the segment's size.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from vecdb.index.sparse.terms import POSTING_BYTES, WINDOW, Indices, Offsets, Terms
from vecdb.vectors.ragged import offsets_of
from vecdb.vectors.sparse import SparseBlock

FEWEST_ROWS = 256
"""Fewer rows are looked through in the time it takes to ask an index."""

_AT_ONCE = 1 << 22
"""Postings that are sorted together at most."""
_EACH = 24
"""Bytes that each of them takes meanwhile."""


class Inverted:
    """The postings of sparse vectors, and the terms once all postings were taken."""

    def __init__(self, block: SparseBlock, room: int = sys.maxsize) -> None:
        """``room``: bytes of memory that postings may take while they are sorted."""
        self._at_once = min(_AT_ONCE, room // _EACH)
        self._block = block
        self._terms = _distinct(block.indices)
        self._table = _table_of(self._terms)
        self._firsts = offsets_of(self._count())
        self._made: list[tuple[npt.NDArray[np.float32], ...]] = []
        self._blocks: list[tuple[npt.NDArray[np.generic], ...]] = []

    def _count(self) -> Offsets:
        from vecdb.kernels.inverted import count_terms

        counts = np.zeros(len(self._terms), dtype=np.int64)
        count_terms(self._block.indices, self._terms, self._table, counts)
        return counts

    def pieces(self) -> Iterator[npt.NDArray[np.uint8]]:
        """The postings of some terms after the other: ``uint8 (n, 3)``."""
        firsts, count = self._firsts, len(self._terms)
        start = 0
        while start < count:
            stop = int(np.searchsorted(firsts, firsts[start] + self._at_once, side="right")) - 1
            stop = max(stop, start + 1)
            yield self._piece(start, stop)
            start = stop

    def _piece(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        from vecdb.kernels.inverted import gather_postings, pack_postings

        firsts = self._firsts[start : stop + 1] - self._firsts[start]
        size, count = int(firsts[-1]), stop - start
        rows, values = np.empty(size, np.int64), np.empty(size, np.float32)
        gather_postings(
            *(self._block.offsets, self._block.indices, self._block.values),
            *(self._terms, self._table, start, stop, firsts[:-1].copy(), rows, values),
        )
        lows, steps = np.empty(count, np.float32), np.empty(count, np.float32)
        blocks = np.empty(count, np.int64)
        windows = np.empty(size, np.uint32)
        counts, maxima = np.empty(size, np.uint16), np.empty(size, np.uint8)
        packed = np.empty((size, POSTING_BYTES), np.uint8)
        made = pack_postings(
            *(firsts, rows, values, WINDOW, lows, steps),
            *(blocks, windows, counts, maxima, packed.reshape(-1)),
        )
        self._made.append((lows, steps))
        self._blocks.append((blocks, *(x[:made].copy() for x in (windows, counts, maxima))))
        return packed

    def terms(self) -> Terms:
        """What is known of the terms, after all pieces."""
        empty = np.empty(0, np.float32)
        lows, steps = zip((empty, empty), *self._made, strict=True)
        none = np.empty(0, np.int64), *(np.empty(0, d) for d in (np.uint32, np.uint16, np.uint8))
        blocks, windows, counts, maxima = zip(none, *self._blocks, strict=True)
        return Terms(
            window=WINDOW,
            terms=self._terms,
            lows=np.concatenate(lows),
            steps=np.concatenate(steps),
            firsts=self._firsts,
            starts=offsets_of(np.concatenate(blocks)),
            windows=np.concatenate(windows),
            counts=np.concatenate(counts),
            maxima=np.concatenate(maxima),
        )


def _distinct(indices: Indices) -> Indices:
    """All indices, once each, ascending."""
    known = np.empty(0, dtype=np.uint32)
    for start in range(0, len(indices), _AT_ONCE):
        known = np.union1d(known, indices[start : start + _AT_ONCE]).astype(np.uint32)
    return known


def _table_of(terms: Indices) -> npt.NDArray[np.int32]:
    """A hash table of the places of terms, at most half full."""
    from vecdb.kernels.inverted import fill_table

    table = np.full(1 << max(1, (2 * len(terms)).bit_length()), -1, dtype=np.int32)
    fill_table(terms, table)
    return table
