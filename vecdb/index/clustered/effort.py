"""Effort: what a search does for a recall that was measured."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

TABLE_LIMITS: Final = (1, 10, 100)
"""Numbers of results that have a table of efforts; a search for more or others goes by the next."""

MEASURED: Final = TABLE_LIMITS[1:]
"""Numbers of results that are measured. A search for one is done as for ten, so that more is known
of how sure it is; but the first of ten must be found as often as all of them."""

EFFORT_FIELDS: Final = (5, 6, 7)
"""How many numbers an effort has: without doubts in the first indexes, with them since."""
_CERTAIN = -1.0e30

EVERYTHING: Final = 3.0e38
ALL_PARTITIONS: Final = 1.0e38
"""A gap that leaves out no partition but what is set aside, see `heaps`."""


class Effort(Struct, frozen=True):
    """What to do for a recall that was measured: partitions within ``gap`` of the best one are
    visited, ``candidates`` rows come from their sketches. ``rows`` were visited, in the median."""

    recall: float
    gap: float
    candidates: int
    rows: int
    survivors: int
    """How many candidates are worth their vectors after better codes have ranked them; 0: there are
    no such codes, or they tell no more than the sketch."""
    calm: float = _CERTAIN
    reach: float = _CERTAIN
    """The calm and reach that few queries like the rows fall below (see `rescoring.sureness`): a
    query that does is of another kind, and needs more."""

    @property
    def everything(self) -> bool:
        """Whether it is the last of its table, for more than any recall that was reached."""
        return self.gap >= EVERYTHING

    def for_limit(self, limit: int) -> Effort:
        """With candidates for so many results.

        For more than were measured, candidates in proportion and some more, from all partitions:
        how far apart those of so many neighbours are is not known, and to look at every sketch
        takes less time than to read so many originals.
        """
        most = TABLE_LIMITS[-1]
        if limit <= self.candidates and limit <= most:
            return self  # nearly always
        if limit <= most:
            return replace(self, candidates=limit)
        # In whole numbers: 100 * 1.13 is less than 113.
        candidates, survivors = (
            count * limit * 5 // (most * 4) for count in (self.candidates, self.survivors)
        )
        gap = max(self.gap, ALL_PARTITIONS)
        return replace(self, gap=gap, candidates=max(candidates, limit), survivors=survivors)

    def sure_enough(self, asked: Effort, recall: float) -> tuple[float, float]:
        """The calm and the reach below which a search leaves doubts that makes this effort where
        ``asked`` is the one for the recall that is asked for. If it looks deeper, because a query
        was in doubt, it has to find what was asked for, and not what its line was measured for."""
        calm = min(self.calm, max(asked.calm, usual_calm(recall)))
        return calm, min(self.reach, asked.reach)

    def as_numbers(self) -> tuple[float, ...]:
        """The effort as a row of an array."""
        counts = (self.candidates, self.rows, self.survivors)
        return (self.recall, self.gap, *counts, self.calm, self.reach)

    @classmethod
    def from_numbers(cls, row: npt.NDArray[np.float64]) -> Effort:
        """Back from the row of an array. Raises ValueError."""
        first = EFFORT_FIELDS[0]
        counts = row[2:first]
        if not (row[:first] >= 0).all() or (counts > 1e15).any():
            raise ValueError(f"an effort of {row.tolist()}")
        recall = float(row[0])
        reach = _CERTAIN
        if len(row) < EFFORT_FIELDS[-1]:  # nothing that is measured as it is now
            calm = usual_calm(recall) if row[1] < EVERYTHING else _CERTAIN
        else:
            calm, reach = float(row[first]), float(row[first + 1])
        candidates, rows, survivors = map(int, counts)
        return cls(recall, float(row[1]), candidates, rows, survivors, calm, reach)


def measured_of(limit: int) -> int:
    """The number of results that a search for ``limit`` is judged by: as many as were measured."""
    return max(limit, MEASURED[0] if limit <= MEASURED[0] else MEASURED[-1])


def usual_calm(recall: float) -> float:
    """What is calm enough whatever that of rows is, if strangers agree: where sketches tell much,
    theirs is far more."""
    return -math.log(max(1.0 - recall, 1e-6))
