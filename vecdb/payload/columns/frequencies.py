"""Frequencies: how long the texts of rows are, and how often they have a token, for BM25.

Most tokens of a text are there once. So what is kept of a row is the number of its tokens, and only
of a token that it has several times how often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vecdb.payload.columns.body import Array, Reader, Writer, narrowest
from vecdb.payload.columns.sections import Offsets
from vecdb.storage.format import DamageError

Counts = npt.NDArray[np.int64]


class Occurrences(NamedTuple):
    """Where some tokens are."""

    lengths: Array
    """How many tokens each row has."""
    having: Sequence[tuple[Offsets, Counts]]
    """Of each of the tokens: the rows that have it, rising, and how often."""


class Frequencies:
    """The lengths of rows' texts, and the tokens that a row has several times."""

    def __init__(self, lengths: Array, codes: Array, rows: Array, times: Array) -> None:
        self.lengths = lengths
        # Sorted by code and then by row; a time is at least 2.
        self._codes, self._rows, self._times = codes, rows, times

    @classmethod
    def of(cls, lengths: Array, codes: Array, rows: Offsets, times: Array) -> Frequencies:
        """Of entries in any order."""
        order = np.lexsort((rows, codes))
        return cls(
            lengths.astype(narrowest(int(lengths.max(initial=0)))),
            codes[order].astype(narrowest(int(codes.max(initial=0)))),
            rows[order].astype(narrowest(max(len(lengths) - 1, 0))),
            times[order].astype(narrowest(int(times.max(initial=0)))),
        )

    def counts(self, code: int, rows: Offsets) -> Counts:
        """How often each of the rows that have a token has it. Raises DamageError."""
        if code > np.iinfo(self._codes.dtype).max:
            return np.ones(len(rows), dtype=np.int64)
        wanted = self._codes.dtype.type(code)
        first, last = (np.searchsorted(self._codes, wanted, side=side) for side in _SIDES)
        several = self._rows[first:last]
        if not len(several):
            return np.ones(len(rows), dtype=np.int64)
        of_all = np.zeros(len(self.lengths), dtype=np.int64)
        of_all[rows] = 1
        if several.max() >= len(of_all) or not of_all[several].all():
            raise DamageError("a column has a token several times where it has it not at all")
        of_all[several] = self._times[first:last]
        counts: Counts = of_all[rows]
        return counts

    @property
    def nbytes(self) -> int:
        """Of the arrays."""
        arrays = (self.lengths, self._codes, self._rows, self._times)
        return sum(array.nbytes for array in arrays)

    def pack(self, writer: Writer) -> list[Any]:
        """The facts that ``read`` reads."""
        return [writer.put(a) for a in (self.lengths, self._codes, self._rows, self._times)]

    @classmethod
    def read(cls, facts: Any, reader: Reader, rows: int) -> Frequencies:
        """Raises DamageError."""
        if type(facts) is not list or len(facts) != 4:
            raise DamageError(f"no frequencies are {facts!r:.60}")
        lengths, codes, owners, times = facts
        of_codes = reader.array(codes)
        count = len(of_codes)
        return cls(
            reader.array(lengths, rows),
            of_codes,
            reader.array(owners, count),
            reader.array(times, count),
        )

    def verify(self, most: int) -> None:
        """Raises DamageError for a code beyond ``most``, a row beyond the last, and what is not
        sorted."""
        codes, rows, times = self._codes, self._rows, self._times
        rising = (codes[1:] > codes[:-1]) | ((codes[1:] == codes[:-1]) & (rows[1:] > rows[:-1]))
        inside = (codes >= 1) & (codes <= most) & (rows < len(self.lengths)) & (times >= 2)
        if not (rising.all() and inside.all()):
            raise DamageError("a column has frequencies that are not sorted")


_SIDES: tuple[Any, Any] = ("left", "right")
