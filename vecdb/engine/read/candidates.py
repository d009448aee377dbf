"""Candidates: the points that a formula gives scores, as columns of what it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb import ids
from vecdb.engine.read import masks
from vecdb.engine.read.merge import by_segment
from vecdb.engine.read.plan import Place, Ranking
from vecdb.engine.read.values import Values
from vecdb.engine.view import View
from vecdb.storage.format import unpack_bits

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

NOTHING = object()
"""Stands for a value that a point does not have."""


class Candidates:
    """The points of some rankings, each once, in the order in which they come up first."""

    def __init__(self, view: View, rankings: Sequence[Ranking]) -> None:
        self.view = view
        self.places: list[Place] = list(
            dict.fromkeys(place for ranking in rankings for place, _ in ranking)
        )
        self._by_segment = by_segment(view, self.places)
        self._scores = [dict(ranking) for ranking in rankings]

    def scores(self, source: int, default: float) -> Doubles:
        """The scores that one source gave, ``float64 (n,)``; the default to the points it did not
        find."""
        found = self._scores[source] if source < len(self._scores) else {}
        return np.array([found.get(place, default) for place in self.places], dtype=np.float64)

    def values(self, at: Values) -> list[Any]:
        """What each has at a path: a value, a list of several, or NOTHING."""
        found: list[Any] = [NOTHING] * len(self.places)
        for segment_view, positions, rows in self._by_segment:
            for position, values in zip(positions, at.read(segment_view, rows), strict=True):
                if values:
                    found[position] = values[0] if len(values) == 1 else list(values)
        return found

    def matching(self, condition: masks.Condition) -> Flags:
        """Which meet a condition."""
        matching = np.zeros(len(self.places), dtype=np.bool_)
        chosen = {segment_view.segment: rows for segment_view, _, rows in self._by_segment}
        these = masks.among(chosen, condition)
        for segment_view, positions, rows in self._by_segment:
            bits = masks.matching(self.view, segment_view, these)
            matching[np.asarray(positions)] = unpack_bits(bits, segment_view.rows)[rows]
        return matching

    def name(self, position: int) -> str:
        """Which point it is, for an error."""
        number, row = self.places[position]
        return f"point {ids.external(self.view.segments[number].segment.key(row))!r}"
