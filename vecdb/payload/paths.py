"""Paths into a payload: ``name``, ``a.b`` (into objects), ``a[0]`` (one element), ``a[]`` (every).

Names with other characters than letters, digits, ``_`` and ``-`` are quoted: ``"a b".c``.
"""

from __future__ import annotations

import re

from vecdb.errors import InvalidInputError

Step = str | int | None
"""An object's key, an array's index, or None for every element."""

# One step of a path: "name" or name, then any number of [], [3]; then a dot or the end.
_STEP = re.compile(r'(?:"([^"]*)"|([\w-]+))((?:\[[0-9]{0,20}\])*)(\.|\Z)')


def parse_path(path: str) -> list[Step]:
    """The steps of a path. Raises InvalidInputError."""
    steps: list[Step] = []
    position = 0
    while True:
        match = _STEP.match(path, position)
        if match is None:
            raise InvalidInputError(
                f"{path[:100]!r} is not a path; expected names like a.b, a[].b or a[0], other "
                'characters than letters, digits, "_" and "-" in double quotes'
            )
        quoted, plain, brackets, end = match.groups()
        steps.append(plain if quoted is None else quoted)
        for index in re.findall(r"\[([0-9]*)\]", brackets):
            steps.append(int(index) if index else None)
        if not end:
            return steps
        position = match.end()
