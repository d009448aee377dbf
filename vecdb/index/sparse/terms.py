"""Terms: the indices that occur in a segment's sparse vectors, and where the postings of each are.

A *posting* is a row that has a term, and a code of its value there. Those of a term stand by rows,
in *blocks*, one for each *window* of rows in which the term occurs: the places of the rows in their
window, two bytes each, then their codes, a byte each. What is known of a block is its window, how
many postings it has, and the largest of their codes. A code stands for a value that is at least the
true one, and less than a step above it: what is left out by codes need not be looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]

WINDOW: Final = 16384
"""Rows of a window: what is added up for them, 64 KiB, stays in the processor's second cache."""
POSTING_BYTES: Final = 3

_TINY = 1e-30
"""A bound is never 0: that is for rows that have none of the terms."""
_ROUNDING = float(np.finfo(np.float32).eps)


class Terms(Struct, frozen=True, eq=False):
    """``terms: uint32[t]`` ascending, with ``lows`` and ``steps: float32[t]``, by which codes are
    read; ``firsts: int64[t + 1]``: their first postings; ``starts: int64[t + 1]``: their first
    blocks; of each block ``windows: uint32[b]``, ``counts: uint16[b]``, ``maxima: uint8[b]``."""

    window: int
    terms: Indices
    lows: Floats
    steps: Floats
    firsts: Offsets
    starts: Offsets
    windows: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.uint16]
    maxima: npt.NDArray[np.uint8]

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays, by name."""
        return {name: getattr(self, name) for name in _DTYPES}

    @classmethod
    def from_state(cls, window: int, postings: int, state: Mapping[str, npt.NDArray[Any]]) -> Terms:
        """The inverse of ``state``, for so many postings. Raises KeyError, and ValueError
        for what would lead a search out of its arrays."""
        if window != WINDOW:
            raise ValueError(f"windows of {window!r:.60} rows, not {WINDOW}")
        arrays = {name: state[name] for name in _DTYPES}
        for name, dtype in _DTYPES.items():
            if arrays[name].dtype != np.dtype(dtype) or arrays[name].ndim != 1:
                raise ValueError(f"{name} are {arrays[name].dtype}")
        made = cls(window, **arrays)
        made._require_sound(postings)
        return made

    def _require_sound(self, postings: int) -> None:
        count, blocks = len(self.terms), len(self.windows)
        if (len(self.lows), len(self.steps)) != (count, count):
            raise ValueError("not as many entries as terms")
        if (len(self.firsts), len(self.starts)) != (count + 1, count + 1):
            raise ValueError("not as many beginnings as terms, and an end")
        if (len(self.counts), len(self.maxima)) != (blocks, blocks):
            raise ValueError("not as many entries as blocks")
        if (self.terms[1:] <= self.terms[:-1]).any():
            raise ValueError("terms that do not ascend")
        for offsets, last in ((self.starts, blocks), (self.firsts, postings)):
            if (int(offsets[0]), int(offsets[-1])) != (0, last) or (np.diff(offsets) < 1).any():
                raise ValueError("terms without their blocks")
        # Of the windows nothing is asked: a search goes by them, but never beyond its arrays.
        if count and not np.array_equal(
            np.add.reduceat(self.counts, self.starts[:-1], dtype=np.int64), np.diff(self.firsts)
        ):
            raise ValueError("blocks that do not add up")
        if not (np.isfinite(self.lows).all() and (self.steps >= 0).all()):
            raise ValueError("values that are not finite")

    def slots(self, indices: Indices) -> npt.NDArray[np.int64]:
        """The places of some indices among the terms, or -1."""
        if not len(self.terms):
            return np.full(len(indices), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.terms, indices), len(self.terms) - 1)
        return np.where(self.terms[at] == indices, at, -1)

    def frequencies(self, indices: Indices) -> npt.NDArray[np.int64]:
        """How many rows have each of some indices, dead or alive."""
        slots = self.slots(indices)
        there = np.maximum(slots, 0)
        if not len(self.terms):
            return np.zeros(len(indices), dtype=np.int64)
        return np.where(slots >= 0, self.firsts[there + 1] - self.firsts[there], 0)

    def bounds(self, slots: npt.NDArray[np.int64], values: Floats) -> Floats:
        """The most that a code can stand for, times a query's value, for some terms: ``float32
        (terms, 256)``. It is above 0, and above what sums of products in float32 may be wrong
        by."""
        codes = np.arange(256, dtype=np.float64)
        lows, steps = self.lows[slots].astype(np.float64), self.steps[slots].astype(np.float64)
        wide = values.astype(np.float64)[:, None]
        # A negative value of the query makes the least of what a code stands for the most.
        taken = np.where(wide >= 0, codes, np.maximum(codes - 1.0, 0.0))
        most = wide * (lows[:, None] + steps[:, None] * taken)
        most += np.abs(most) * ((len(slots) + 4) * _ROUNDING)
        with np.errstate(over="ignore"):
            bounds: Floats = np.maximum(most, _TINY).astype(np.float32)
        return bounds


_DTYPES: Final = {
    "terms": "<u4",
    "lows": "<f4",
    "steps": "<f4",
    "firsts": "<i8",
    "starts": "<i8",
    "windows": "<u4",
    "counts": "<u2",
    "maxima": "|u1",
}
