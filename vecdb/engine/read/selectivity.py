"""Selectivity: of how many rows each condition of a filter holds, for who wants to know.

What is expected of a condition is what ids, vector names and columns tell of it; rows that they
leave open count half. A filter is expected to have conditions that are independent of one another.
What is found is found out of each condition by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from vecdb import models
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
from vecdb.payload.split import Clause, conditions

_LONGEST = 60
"""Letters of what a condition asks for that are shown."""


class Share(NamedTuple):
    """Of what shares of the rows a condition is expected to hold and was found to hold, and how
    many payloads that took."""

    expected: float
    found: float
    payloads: int

    def __str__(self) -> str:
        shares = f"{self.expected:.2%} expected, {self.found:.2%} found"
        return f"{shares} in {self.payloads} payloads" if self.payloads else shares


class Selectivity:
    """What is found out of a filter's conditions in one segment of so many live ``rows``. ``of``
    tells of one."""

    def __init__(self, rows: int, of: Callable[[Filter], Share]) -> None:
        self._rows, self._of = rows, of
        self.stages: list[models.SearchStage] = []
        """One for each condition and each filter in the filter, a filter before its conditions."""

    def expected(self, filter: Filter, at: str = "") -> float:
        """The share of the rows for which a filter can be expected to hold. ``at``: where it is."""
        share = 1.0
        for each in self._shares(filter.must, f"{at}must"):
            share *= each
        for each in self._shares(filter.must_not, f"{at}must_not"):
            share *= 1 - each
        if should := list(self._shares(filter.should, f"{at}should")):
            share *= 1 - float(np.prod([1 - each for each in should]))
        if (least := filter.min_should) is not None:
            some = np.array([*self._shares(least.conditions, f"{at}min_should.conditions")])
            share *= _at_least(some, least.min_count)
        return share

    def _shares(self, clause: Clause, at: str) -> Iterator[float]:
        listed = isinstance(clause, list)
        for number, condition in enumerate(conditions(clause)):
            yield self._expected(condition, f"{at}[{number}]" if listed else at)

    def _expected(self, condition: Condition, at: str) -> float:
        place = len(self.stages)
        if isinstance(condition, Filter):
            share = self._of(condition)._replace(expected=self.expected(condition, f"{at}."))
        else:
            share = self._of(Filter(must=[condition]))
        reason = f"{at} {_name(condition)}: {share}"
        kept = round(share.found * self._rows)
        self.stages.insert(place, models.SearchStage("condition", self._rows, kept, reason))
        return share.expected


def _at_least(shares: np.typing.NDArray[np.float64], wanted: int) -> float:
    """How probably so many of some independent conditions hold."""
    held = np.ones(1)
    for share in shares:
        held = np.convolve(held, (1 - share, share))
    return float(held[wanted:].sum())


def _name(condition: Condition) -> str:
    match condition:
        case Filter():
            return "filter"
        case IsNullCondition():
            return f"{condition.is_null.key} is_null"
        case HasIdCondition():
            return f"has_id ({len(condition.has_id)})"
        case HasVectorCondition():
            return f"has_vector {condition.has_vector!r}"
        case NestedCondition():
            return f"nested {condition.nested.key} {_shown(condition.nested.filter)}"
        case IsEmptyCondition():
            return f"{condition.is_empty.key} is_empty"
        case FieldCondition():
            tests = (name for name in condition.__struct_fields__ if name != "key")
            test = next(name for name in tests if getattr(condition, name) is not None)
            return f"{condition.key} {test} {_shown(getattr(condition, test))}"
    return f"slice {_shown(condition.slice)}"


def _shown(asked: msgspec.Struct) -> str:
    """What a condition asks for, in JSON, as much as fits."""
    given = {
        name: value for name, value in msgspec.structs.asdict(asked).items() if value is not None
    }
    text = msgspec.json.encode(given).decode("utf-8", "replace")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
