"""Naming: one spelling for each path, by which a column is found."""

from __future__ import annotations

import re
from functools import lru_cache

from vecdb.payload.paths import Step, parse_path

_PLAIN = re.compile(r"[\w-]+")


@lru_cache(maxsize=1024)
def canonical(path: str) -> str:
    """The shortest spelling of a path: ``"a".b[07]`` is ``a.b[7]``. Raises InvalidInputError."""
    return spelled(parse_path(path))


def spelled(steps: list[Step]) -> str:
    """The path of these steps."""
    path = ""
    for step in steps:
        if isinstance(step, str):
            name = step if _PLAIN.fullmatch(step) else f'"{step}"'
            path += f".{name}" if path else name
        else:
            path += "[]" if step is None else f"[{step}]"
    return path
