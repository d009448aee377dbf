"""Paths into a payload: ``name``, ``a.b`` (into objects), ``a[0]`` (one element), ``a[]`` (every).

Names with other characters than letters, digits, ``_`` and ``-`` are quoted: ``"a b".c``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from vecdb.errors import InvalidInputError

Step = str | int | None
"""An object's key, an array's index, or None for every element."""

Select = Callable[[Any], Sequence[Any]]
"""Finds the values at a path in a payload: any number of them, arrays unopened."""

# One step of a path: "name" or name, then any number of [], [3]; then a dot or the end.
_STEP = re.compile(r'(?:"([^"]*)"|([\w-]+))((?:\[[0-9]{0,20}\])*)(\.|\Z)')


def parse_path(path: str, what: str = "") -> list[Step]:
    """The steps of a path. ``what`` it is given as, in errors. Raises InvalidInputError."""
    place = what and f"{what}: "
    try:
        path.encode()
    except UnicodeEncodeError:  # JSON has lone surrogates, no payload does
        raise InvalidInputError(f"{place}{path[:100]!a} is not a path; expected Unicode") from None
    steps: list[Step] = []
    position = 0
    while True:
        match = _STEP.match(path, position)
        if match is None:
            raise InvalidInputError(
                f"{place}{path[:100]!r} is not a path; expected names like a.b, a[].b or a[0], "
                'other characters than letters, digits, "_" and "-" in double quotes'
            )
        quoted, plain, brackets, end = match.groups()
        steps.append(plain if quoted is None else quoted)
        for index in re.findall(r"\[([0-9]*)\]", brackets):
            steps.append(int(index) if index else None)
        if not end:
            return steps
        position = match.end()


def selector(steps: list[Step]) -> Select:
    """The function that finds the values at a path."""
    if len(steps) == 1:
        name = steps[0]

        def top_level(payload: Any) -> Sequence[Any]:
            return (payload[name],) if name in payload else ()

        return top_level

    def select(payload: Any) -> Sequence[Any]:
        values = [payload]
        for step in steps:
            if step is None:
                values = [item for value in values if type(value) is list for item in value]
            elif type(step) is int:
                values = [v[step] for v in values if type(v) is list and step < len(v)]
            else:
                values = [v[step] for v in values if type(v) is dict and step in v]
            if not values:
                break
        return values

    return select


def elements(values: Sequence[Any]) -> Sequence[Any]:
    """The values, an array replaced by its elements."""
    if not any(type(value) is list for value in values):
        return values
    return [element for value in values for element in (value if type(value) is list else (value,))]
