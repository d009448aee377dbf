"""Entries: which rows have which values of a column, and how many have each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb.payload.columns.body import Array
from vecdb.payload.columns.keys import Interval
from vecdb.payload.columns.sections import Offsets, Section
from vecdb.payload.columns.three_valued import Bits


class Entries(NamedTuple):
    """Which rows have which values, all of some ``kinds``, by their codes."""

    kinds: tuple[type, ...]
    find: Callable[[Any], Sequence[Interval]]
    """(a value) -> its code."""
    codes: Array
    rows: Offsets

    def code(self, value: int | str) -> int:
        """The code of a value; 0: no row has it."""
        found = self.find(value) if type(value) in self.kinds else ()
        return next((first for first, last in found if first <= last), 0)


class Facet(Struct):
    """How many rows have each value of one type: bool, int or str."""

    counts: npt.NDArray[np.int64]
    values: Callable[[npt.NDArray[np.int64]], list[Any]]
    """The values at some positions in ``counts``. Raises DamageError."""

    def largest(self, enough: int) -> npt.NDArray[np.int64]:
        """The positions of so many of the largest counts; of equal ones those of the least values,
        whose codes come first."""
        at = np.flatnonzero(self.counts)
        if len(at) <= enough:
            return at
        counts = self.counts[at]
        least = np.partition(counts, len(at) - enough)[len(at) - enough]
        larger = at[counts > least]
        return np.concatenate([larger, at[counts == least][: enough - len(larger)]])


def facet_of(
    section: Section, mask: Bits | None, most: int, values: Callable[[Array], list[Any]]
) -> Facet:
    """The facet of a section whose codes are up to ``most``. Raises DamageError."""
    if most <= max(4 * section.rows, 1 << 16):
        return Facet(section.counts(mask, most), lambda at: values(at + 1))
    # The codes are far apart: integers over a wide range.
    pairs = [codes for _, codes in section.pairs(mask)]
    joined = np.concatenate(pairs) if pairs else np.empty(0, dtype=np.uint64)
    codes, counts = np.unique(joined, return_counts=True)
    return Facet(counts.astype(np.int64), lambda at: values(codes[at]))
