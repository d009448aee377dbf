"""Splitting a filter: which of its conditions need payloads.

Ids and vector names are known without.
"""

from __future__ import annotations

from vecdb.models.conditions import (
    Condition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    SliceCondition,
)

Clause = list[Condition] | Condition | None

_OF_POINTS = (HasIdCondition, HasVectorCondition, SliceCondition)


def conditions(clause: Clause) -> list[Condition]:
    """The conditions of a clause in any of its forms."""
    if clause is None:
        return []
    return clause if isinstance(clause, list) else [clause]


def payload_part(filter: Filter) -> Filter | None:
    """The conditions of a filter on payloads: what is left to test for a point that its id and
    vectors let pass. None: these decide alone. A list of ids beside the rest, which may be new each
    time, is no longer in it."""
    must: list[Condition] = []
    for condition in conditions(filter.must):
        if isinstance(condition, Filter):
            condition = payload_part(condition)  # type: ignore[assignment]
        if condition is not None and takes_payload(condition):
            must.append(condition)
    must_not = [each for each in conditions(filter.must_not) if takes_payload(each)]
    should = filter.should if any(map(takes_payload, conditions(filter.should))) else None
    least = filter.min_should
    if least is not None and not any(map(takes_payload, least.conditions)):
        least = None
    if not must and not must_not and should is None and least is None:
        return None
    return Filter(must=must or None, must_not=must_not or None, should=should, min_should=least)


def takes_payload(condition: Condition) -> bool:
    """Whether a condition cannot be decided by a point's id and vectors alone."""
    if isinstance(condition, Filter):
        return any(map(takes_payload, members(condition)))
    return not isinstance(condition, _OF_POINTS)


def names_points(condition: Condition) -> bool:
    """Whether a condition asks for ids or vectors."""
    if isinstance(condition, Filter):
        return any(map(names_points, members(condition)))
    return isinstance(condition, _OF_POINTS)


def members(filter: Filter) -> list[Condition]:
    """The conditions in all clauses of a filter."""
    found = [
        each
        for clause in (filter.must, filter.should, filter.must_not)
        for each in conditions(clause)
    ]
    return found if filter.min_should is None else [*found, *filter.min_should.conditions]
