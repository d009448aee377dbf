"""Selectivity: of how many rows each condition of a filter holds, for who wants to know.

A condition is asked by itself, of ids, vector names and columns. What they leave open counts half.
The estimate for the filter takes its conditions for independent of one another.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vecdb import models
from vecdb.engine.read.bounds import Filtered
from vecdb.engine.view import SegmentView, View
from vecdb.models.conditions import (
    Condition,
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    IsEmptyCondition,
    IsNullCondition,
    NestedCondition,
)
from vecdb.payload.split import conditions
from vecdb.storage.catalog import Bits
from vecdb.storage.format import count_set


class Selectivity:
    """What is found out of a filter's conditions in one segment. ``live``: bits of its rows."""

    def __init__(self, view: View, segment_view: SegmentView, live: Bits) -> None:
        self._view, self._segment_view, self._live = view, segment_view, live
        self.stages: list[models.SearchStage] = []
        """One for each condition that needs no payload."""

    def share(self, filter: Filter) -> float:
        """The share of the rows for which a filter can be expected to hold."""
        share = 1.0
        for each in self._shares(filter.must):
            share *= each
        for each in self._shares(filter.must_not):
            share *= 1 - each
        if should := list(self._shares(filter.should)):
            share *= 1 - float(np.prod([1 - each for each in should]))
        if filter.min_should is not None:
            some = np.array([*self._shares(filter.min_should.conditions)])
            share *= _at_least(some, filter.min_should.min_count)
        return share

    def _shares(self, clause: list[Condition] | Condition | None) -> Iterator[float]:
        return map(self._of, conditions(clause))

    def _of(self, condition: Condition) -> float:
        if isinstance(condition, Filter):
            return self.share(condition)
        bounds = Filtered(Filter(must=[condition])).bounds(self._view, self._segment_view)
        surely, possibly = (count_set(bits & self._live) for bits in bounds)
        live = max(1, self._segment_view.live)
        if known := live - (possibly - surely):
            stage = models.SearchStage("condition", known, surely, _name(condition))
            self.stages.append(stage)
        return (surely + possibly) / 2 / live


def _at_least(shares: np.typing.NDArray[np.float64], wanted: int) -> float:
    """How probably so many of some independent conditions hold."""
    held = np.ones(1)
    for share in shares:
        held = np.convolve(held, (1 - share, share))
    return float(held[wanted:].sum())


def _name(condition: Condition) -> str:
    match condition:
        case IsNullCondition():
            return f"{condition.is_null.key} is_null"
        case HasIdCondition():
            return "has_id"
        case HasVectorCondition():
            return f"has_vector {condition.has_vector!r}"
        case NestedCondition():
            return f"nested {condition.nested.key}"
        case IsEmptyCondition():
            return f"{condition.is_empty.key} is_empty"
        case FieldCondition():
            tests = (name for name in condition.__struct_fields__ if name != "key")
            test = next(name for name in tests if getattr(condition, name) is not None)
            return f"{condition.key} {test}"
    return "slice"
