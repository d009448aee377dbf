"""Wanted: which values satisfy a condition, whatever column they are in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from msgspec import Struct

from vecdb.models.conditions import (
    DatetimeRange,
    FieldCondition,
    MatchAny,
    MatchExcept,
    MatchPhrase,
    MatchPrefix,
    MatchSubstring,
    MatchText,
    MatchTextAny,
    MatchValue,
    Range,
)
from vecdb.payload.columns.keys import (
    EVERYTHING,
    Interval,
    float_interval,
    int_interval,
    moment_interval,
)
from vecdb.payload.columns.places import Area
from vecdb.payload.columns.texts import TextCoding
from vecdb.payload.texts import document_test

OfTexts = Callable[[TextCoding], Sequence[Interval] | None]
"""(a coding) -> the codes of the strings wanted; None: it cannot say."""


class Wanted(Struct):
    """The values that satisfy a condition, each by itself: numbers and bools as intervals of keys
    (`keys`), strings as intervals of codes."""

    bools: Sequence[Interval] = ()
    ints: Sequence[Interval] = ()
    floats: Callable[[], Sequence[Interval]] = tuple
    texts: OfTexts | None = None
    listed: Sequence[str] | None = None
    """The strings that are wanted or, with ``rest``, those that are not. None: it takes a look at
    each."""
    rest: bool = False
    """All values but those listed: objects, and arrays in arrays, too."""
    area: Area | None = None
    """Where a place must be."""


def wanted(condition: FieldCondition, rows: int) -> Wanted | None:
    """What a condition wants of a column of so many rows; None: it is not about single values."""
    match, range = condition.match, condition.range
    if isinstance(range, Range):
        return Wanted(ints=[int_interval(range)], floats=lambda: [float_interval(range)])
    if isinstance(match, MatchValue):
        return _one_of([match.value])
    if isinstance(match, MatchAny):
        return _one_of(match.any)
    if isinstance(match, MatchExcept):
        return _except(_one_of(match.except_))
    if isinstance(match, MatchPrefix):
        prefix = match.prefix
        return Wanted(texts=lambda coding: coding.prefix(prefix))
    if isinstance(match, MatchSubstring):
        substring = match.substring
        return Wanted(texts=_each(lambda text: substring in text, rows))
    if isinstance(match, (MatchText, MatchTextAny, MatchPhrase)):
        test = document_test(match)
        return Wanted(texts=_each(lambda text: test((text,)), rows))
    if isinstance(range, DatetimeRange):
        moments = moment_interval(range)
        return Wanted(texts=lambda coding: coding.within(moments))
    area = condition.geo_bounding_box or condition.geo_radius or condition.geo_polygon
    return None if area is None else Wanted(area=area)


def _one_of(values: Iterable[object]) -> Wanted:
    bools = [(int(value), int(value)) for value in values if type(value) is bool]
    ints = [(value, value) for value in values if type(value) is int]
    texts = [value for value in values if type(value) is str]
    find: OfTexts | None = None
    if texts:
        find = lambda coding: coding.find_all(texts)  # noqa: E731
    return Wanted(bools, ints, texts=find, listed=texts)


def _except(listed: Wanted) -> Wanted:
    """All values but these, and null."""
    find = listed.texts

    def others(coding: TextCoding) -> Sequence[Interval]:
        return without((find and find(coding)) or (), (1, coding.count))

    return Wanted(
        without(listed.bools, (0, 1)),
        without(listed.ints, EVERYTHING),
        lambda: [float_interval(Range())],
        others,
        listed.listed,
        rest=True,
    )


def _each(test: Callable[[str], bool], rows: int) -> OfTexts:
    """Those strings that pass a test, each tested once: not if the rows themselves are as few."""

    def of_texts(coding: TextCoding) -> list[Interval] | None:
        if 2 * coding.count > rows:
            return None
        texts = coding.values(np.arange(1, coding.count + 1))
        return [(code, code) for code, text in enumerate(texts, 1) if test(text)]

    return of_texts


def without(listed: Sequence[Interval], among: Interval) -> list[Interval]:
    """The numbers of an interval that are in none of some others."""
    left, first = [], among[0]
    for low, high in sorted(each for each in listed if each[0] <= each[1]):
        if low > among[1]:
            break
        if first < low:
            left.append((first, low - 1))
        first = max(first, high + 1)
    if first <= among[1]:
        left.append((first, among[1]))
    return left
