"""Requests: from the fields of a JSON body to the arguments of a verb.

A field that is null is one that was not given. What neither vecdb nor Qdrant knows is refused by
name, or left out where that is wished (``--lenient``). What is refused in any case is what Qdrant
knows and vecdb has not: the verb says so. Ranges that Qdrant's server checks are checked here,
because programs tell them apart from other mistakes by their status.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from msgspec import Struct

from vecdb.models.reading import drop_unknown
from vecdb.server.status import WRONG, Refusal, malformed, out_of_range

MOST_IDS = 65_536
MOST_SEARCHES = 1_000
_FORBIDDEN_IN_NAMES = re.compile(r'[<>:"/\\|?*\0\x1f]')
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
    ``aliases``. ``ignored`` ones change nothing in a database that is in one place. ``strict``:
    unknown ones are refused even where others are left out, at any depth of the body."""

    def __init__(
        self,
        *known: str,
        required: Sequence[str] = (),
        ignored: Sequence[str] = (),
        aliases: Mapping[str, str] | None = None,
        renamed: Mapping[str, str] | None = None,
        bounds: Sequence[Bound] = (),
        prefix: str = "",
        strict: bool = False,
    ) -> None:
        names = {name: name for name in (*required, *known)}
        names |= aliases or {}
        self.json_names = names
        self.required = tuple(required)
        self.ignored = frozenset(ignored)
        self.prefix = prefix
        self.strict = strict
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
            raise malformed(f"{where.rstrip('.') or 'the body'}: expected an object")
        names, given = self._names, {}
        for key, value in body.items():
            if value is None:
                continue
            name = names.get(key)
            if name is not None:
                given[name] = value
            elif key not in self.ignored:
                drop_or_refuse(key, where, f"one of {', '.join(self.json_names)}")
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


def drop_or_refuse(key: str, where: str, expected: str) -> None:
    """Have an unknown field left out. Raises Refusal if they are not."""
    drop = drop_unknown.get()
    if drop is None:
        raise malformed(f"{where}unknown field `{key:.60}`, expected {expected}")
    drop(key)


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
    if value is None:
        return
    where = where.removesuffix(".")
    if type(value) is not int and type(value) is not float:
        raise malformed(f"{where}: invalid type, expected a number, got {reprlib.repr(value)}")
    if type(value) is int and type(bound.low) is int and value < 0:
        raise malformed(f"{where}: invalid value: integer `{value}`, expected an unsigned integer")
    problem = bound.problem(value)
    if problem is not None:
        problems.append(f"{where}: {problem}")


def check_new_name(
    name: str, where: str = "collection_name", part: str = "path parameters"
) -> None:
    """Raises Refusal if no new collection, or alias of one, may be called that."""
    found = _FORBIDDEN_IN_NAMES.search(name)
    if found:
        problem = f"collection name cannot contain {found[0]!r} char"
    elif name in (".", ".."):  # what most clients make of such a path reaches something else
        problem = f"collection name cannot be {name!r}"
    else:
        return
    raise out_of_range([f"{where}: {problem}"], part)


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
    """Keep a limit within what an engine counts: no collection has more points. Raises Refusal for
    numbers of more than 64 bits, which Qdrant does not count."""
    for key in ("limit", "sample"):
        value = given.get(key)
        if type(value) is int and value >= 1 << 64:
            raise malformed(f"{key}: invalid value: integer `{value}`, expected one of 64 bits")
    limit, offset = given.get("limit"), given.get("offset")
    if type(limit) is int and limit > 1 << 30:
        most = _MOST_RESULTS - (offset if type(offset) is int and offset >= 0 else 0)
        given["limit"] = max(1, min(limit, most))
    return given


def whole(text: str) -> int | None:
    """The number below 2**64 that a text means. None: it means none; Python reads digits of any
    script, knows others that it does not read, and reads no more than 4,300."""
    return int(text) if re.fullmatch(r"[0-9]{1,20}", text) and int(text) < 1 << 64 else None


def point_id(text: str) -> int | str:
    """The id that is meant in a path. Raises Refusal."""
    number = whole(text)
    if number is not None:
        return number
    try:
        return str(UUID(text))
    except ValueError:
        raise Refusal(WRONG, f'Wrong input: Can not recognize "{text}" as point id') from None


def ids(value: Any) -> Any:
    """A list of ids that is not too long. Raises Refusal."""
    if isinstance(value, list) and len(value) > MOST_IDS:
        raise malformed(f"expected at most {MOST_IDS} ids, got {len(value)}")
    return value


def several(fields: Fields, body: dict[str, Any], most: int) -> list[Any]:
    """The items of a request that is a list of them, its only field. Raises Refusal."""
    [(key, items)] = fields.read(body).items()
    if not isinstance(items, list):
        raise malformed(f"{key}: expected a list")
    if len(items) > most:
        raise malformed(f"{key}: expected at most {most}, got {len(items)}")
    return items
