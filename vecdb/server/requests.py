"""Requests: from the fields of a JSON body to the arguments of a verb.

A field that is null is one that was not given. What neither vecdb nor Qdrant knows is refused by
name, and so is what Qdrant knows and vecdb has not: the verb says so. Ranges that Qdrant's server
checks are checked here, because programs tell them apart from other mistakes by their status.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from msgspec import Struct

from vecdb.server.status import WRONG, Refusal, malformed, out_of_range

MOST_IDS = 65_536
MOST_SEARCHES = 1_000
_MOST_RESULTS = 1 << 31  # an engine's limit and offset together


class Bound(Struct, frozen=True):
    """The range of a number. ``path``: the fields down to it; ``*`` is any key of an object."""

    path: str
    low: float
    high: float | None = None

    def problem(self, value: float) -> str | None:
        """What is wrong with a value."""
        if self.low <= value and (self.high is None or value <= self.high):
            return None
        if self.high is None:
            return f"value {value} invalid, must be {self.low} or larger"
        return f"value {value} invalid, must be from {self.low} to {self.high}"


class Fields:
    """The fields of a body. ``renamed``: what the verb calls a field; other names it has are
    ``aliases``. ``ignored`` ones change nothing in a database that is in one place."""

    def __init__(
        self,
        *known: str,
        required: Sequence[str] = (),
        ignored: Sequence[str] = (),
        aliases: Mapping[str, str] | None = None,
        renamed: Mapping[str, str] | None = None,
        bounds: Sequence[Bound] = (),
        prefix: str = "",
    ) -> None:
        names = {name: name for name in (*required, *known)}
        names |= aliases or {}
        self.json_names = names
        self.required = tuple(required)
        self.ignored = frozenset(ignored)
        self.prefix = prefix
        self._names = {alias: (renamed or {}).get(name, name) for alias, name in names.items()}
        self._needed = [(self._names[name], name) for name in required]
        self._bounds: dict[str, list[tuple[Bound, tuple[str, ...]]]] = {}
        for bound in bounds:
            first, *path = bound.path.split(".")
            self._bounds.setdefault(first, []).append((bound, tuple(path)))

    def read(self, body: Any, where: str = "") -> dict[str, Any]:
        """What was given, by the names of the verb. ``where``: the path to the body in a larger
        one. Raises Refusal."""
        if not isinstance(body, dict):
            raise malformed(f"{where or 'the body'}: expected an object")
        names, given = self._names, {}
        for key, value in body.items():
            if value is None:
                continue
            name = names.get(key)
            if name is not None:
                given[name] = value
            elif key not in self.ignored:
                known = ", ".join(self.json_names)
                raise malformed(f"{where}unknown field `{key:.60}`, expected one of {known}")
        for name, key in self._needed:
            if name not in given:
                raise malformed(f"{where}missing field `{key}`")
        if self._bounds:
            self._check(body, where)
        return given

    def _check(self, body: dict[str, Any], where: str) -> None:
        problems: list[str] = []
        for key, bounds in self._bounds.items():
            value = body.get(key)
            if value is not None:
                for bound, path in bounds:
                    _collect(bound, path, value, f"{where}{self.prefix}{key}.", problems)
        if problems:
            raise out_of_range(problems)


def _collect(
    bound: Bound, path: tuple[str, ...], value: Any, where: str, problems: list[str]
) -> None:
    """Add what is wrong with the numbers at a path."""
    if path:
        if isinstance(value, dict):
            keys = list(value) if path[0] == "*" else [path[0]]
            for key in keys:
                shown = "?" if path[0] == "*" else key
                if key in value:
                    _collect(bound, path[1:], value[key], f"{where}{shown}.", problems)
        return
    if type(value) is not int and type(value) is not float:
        return  # the verb says what it expected
    where = where.removesuffix(".")
    if type(value) is int and type(bound.low) is int and value < 0:
        raise malformed(f"{where}: invalid value: integer `{value}`, expected an unsigned integer")
    problem = bound.problem(value)
    if problem is not None:
        problems.append(f"{where}: {problem}")


def vector(value: Any) -> Any:
    """A plain vector as an array, which is the quickest form; anything else as it is."""
    if type(value) is list and value and type(value[0]) in (float, int):
        try:
            with np.errstate(over="ignore"):  # an infinity then, which the verb refuses
                return np.array(value, np.float32)
        except (ValueError, TypeError, OverflowError):
            return value  # the verb says what is wrong with it
    return value


def page(given: dict[str, Any]) -> dict[str, Any]:
    """Keep a limit within what an engine counts: no collection has more points."""
    limit, offset = given.get("limit"), given.get("offset")
    if type(limit) is int and limit > 1 << 30:
        most = _MOST_RESULTS - (offset if type(offset) is int and offset >= 0 else 0)
        given["limit"] = max(1, min(limit, most))
    return given


def point_id(text: str) -> int | str:
    """The id that is meant in a path. Raises Refusal."""
    if re.fullmatch(r"[0-9]{1,20}", text) and int(text) < 1 << 64:
        return int(text)
    try:
        return str(UUID(text))
    except ValueError:
        raise Refusal(WRONG, f'Wrong input: Can not recognize "{text}" as point id') from None


def ids(value: Any) -> Any:
    """A list of ids that is not too long. Raises Refusal."""
    if isinstance(value, list) and len(value) > MOST_IDS:
        raise malformed(f"expected at most {MOST_IDS} ids, got {len(value)}")
    return value


def several(body: dict[str, Any], key: str, most: int) -> list[Any]:
    """The items of a request that is a list of them. Raises Refusal."""
    items = body.get(key)
    if items is None:
        raise malformed(f"missing field `{key}`")
    if not isinstance(items, list):
        raise malformed(f"{key}: expected a list")
    if len(items) > most:
        raise malformed(f"{key}: expected at most {most}, got {len(items)}")
    return items
