"""Logic: what columns tell of a whole filter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import reduce

from vecdb.models.conditions import (
    Condition,
    FieldCondition,
    Filter,
    IsEmptyCondition,
    IsNullCondition,
    MatchPhrase,
    MatchText,
    MatchTextAny,
    NestedCondition,
)
from vecdb.models.payload_schema import TextIndexParams
from vecdb.payload.columns.column import Column
from vecdb.payload.columns.growing import Joined
from vecdb.payload.columns.naming import canonical
from vecdb.payload.columns.three_valued import (
    Bounds,
    at_least,
    both,
    either,
    every_row,
    exactly,
    neither,
    no_row,
)
from vecdb.payload.columns.wanted import wanted
from vecdb.payload.split import conditions

Columns = Mapping[str, Column | Joined]
"""By the canonical spelling of their paths."""

Other = Callable[[Condition], Bounds | None]
"""What else tells of a condition than columns; None: nothing does."""


def bounds(
    filter: Filter,
    columns: Columns,
    rows: int,
    other: Other = lambda condition: None,
    texts: Mapping[str, TextIndexParams] | None = None,
) -> Bounds:
    """What columns of ``rows`` rows tell of a filter that came through ``coerce``, and ``other`` of
    its conditions that columns say nothing about (`HasIdCondition`). ``texts``: the text indexes of
    the collection, by the canonical spelling of their paths. Raises DamageError."""
    return _Reading(columns, rows, other, texts or {}).filter(filter)


class _Reading:
    """One filter on one segment."""

    def __init__(
        self, columns: Columns, rows: int, other: Other, texts: Mapping[str, TextIndexParams]
    ) -> None:
        self.columns, self.rows, self.other, self.texts = columns, rows, other, texts

    def filter(self, filter: Filter) -> Bounds:
        must = conditions(filter.must)
        if len(must) == 1 and not (filter.should or filter.min_should or filter.must_not):
            return self.condition(must[0])  # nearly always
        found: Bounds | None = None
        for clause in self._clauses(filter):
            found = clause if found is None else both(found, clause)
            if not found[1].max(initial=0):  # in a tenth of the time that any() takes
                break
        return exactly(every_row(self.rows)) if found is None else found

    def _clauses(self, filter: Filter) -> Iterator[Bounds]:
        """Each clause of a filter, a condition that must hold being one."""
        yield from map(self.condition, conditions(filter.must))
        if should := conditions(filter.should):
            yield self._any_of(should)
        if filter.min_should is not None:
            several = [self.condition(each) for each in filter.min_should.conditions]
            yield at_least(filter.min_should.min_count, several, self.rows)
        if must_not := conditions(filter.must_not):
            yield neither(self._any_of(must_not))

    def _any_of(self, clause: list[Condition]) -> Bounds:
        return reduce(either, map(self.condition, clause))

    def condition(self, condition: Condition) -> Bounds:
        if isinstance(condition, Filter):
            return self.filter(condition)
        if isinstance(condition, NestedCondition):
            return self.nested(_elements(condition.nested.key), condition.nested.filter)
        if isinstance(condition, FieldCondition):
            found = self.field(condition.key, condition)
        elif isinstance(condition, IsEmptyCondition):
            found = self.field(condition.is_empty.key, condition)
        elif isinstance(condition, IsNullCondition):
            found = self.field(condition.is_null.key, condition)
        else:
            found = None
        if found is None:
            found = self.other(condition)
        return self.unknown() if found is None else found

    def field(self, path: str, condition: Condition, one_object: bool = False) -> Bounds | None:
        """What the column of a path tells of a condition on it; None: nothing. ``one_object``: it
        is asked of one object of an array, which has a part of the values."""
        path = canonical(path)
        column = self.columns.get(path)
        if column is None:
            return None
        if isinstance(condition, IsEmptyCondition):
            return exactly(column.empty())
        if isinstance(condition, IsNullCondition):
            return exactly(column.null())
        assert isinstance(condition, FieldCondition)
        if condition.values_count is not None:
            return column.counted(condition.values_count)
        if condition.is_empty is not None:
            return exactly(column.empty() if condition.is_empty else ~column.empty())
        if condition.is_null is not None:
            return exactly(column.null() if condition.is_null else ~column.null())
        match, params = condition.match, self.texts.get(path)
        if params is not None and isinstance(match, (MatchText, MatchTextAny, MatchPhrase)):
            return column.tokens(match, params, one_object)
        values = wanted(condition, self.rows)
        return None if values is None else column.matching(values, params)

    # -- one object of an array ------------------------------------------------------------------

    def nested(self, elements: str, filter: Filter) -> Bounds:
        """Whether one object among the elements at a path satisfies a whole filter: never if for
        some clause there is none that does; surely if there is one for the only clause."""
        clauses = [self._one_has(elements, each) for each in conditions(filter.must)]
        if should := conditions(filter.should):
            clauses.append(self._one_has_any(elements, should))
        if filter.min_should is not None:
            found = self._one_has_any(elements, filter.min_should.conditions)
            one_is_enough = filter.min_should.min_count == 1
            clauses.append(found if one_is_enough else (no_row(self.rows), found[1]))
        if conditions(filter.must_not) or not clauses:
            clauses.append(self.unknown())
        found = reduce(both, clauses)
        return found if len(clauses) == 1 else (no_row(self.rows), found[1])

    def _one_has_any(self, elements: str, clause: list[Condition]) -> Bounds:
        each = (self._one_has(elements, condition) for condition in clause)
        return reduce(either, each, exactly(no_row(self.rows)))

    def _one_has(self, elements: str, condition: Condition) -> Bounds:
        """Whether a condition holds for one of the objects. What asks for a value there is the same
        question of all their values together; what asks for none of it is not."""
        if isinstance(condition, Filter):
            return self.nested(elements, condition)
        found = None
        if isinstance(condition, NestedCondition):
            inner = f"{elements}.{_elements(condition.nested.key)}"
            return self.nested(inner, condition.nested.filter)
        if isinstance(condition, IsNullCondition):
            found = self.field(f"{elements}.{condition.is_null.key}", condition, one_object=True)
        elif isinstance(condition, FieldCondition) and _asks_for_a_value(condition):
            found = self.field(f"{elements}.{condition.key}", condition, one_object=True)
        return self.unknown() if found is None else found

    def unknown(self) -> Bounds:
        return no_row(self.rows), every_row(self.rows)


def _elements(key: str) -> str:
    """The path of the elements that a nested condition is about, in either spelling."""
    return key.removesuffix("[]") + "[]"


def _asks_for_a_value(condition: FieldCondition) -> bool:
    """Whether an object without a value at the key cannot satisfy a condition."""
    if condition.values_count is not None:
        return False
    return condition.is_empty is not True and condition.is_null is not False
