"""Edits and deletions at the door: checked once and turned into a request for the writer.

Points are named by ids or selected by a filter. A filter is resolved to ids when the request's turn
comes, before anything is logged: the log needs no filters.

Every function raises InvalidInputError for arguments that make no sense. An edit of a point that
does not exist raises NotFoundError when its turn comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vecdb import ids, models
from vecdb.engine.operations import (
    Delete,
    DropVectors,
    EditPayload,
    EditVectors,
    Operation,
)
from vecdb.engine.read import reader
from vecdb.engine.schema import Schema, vector_schema
from vecdb.engine.view import View
from vecdb.engine.write.ingest import prepare_vectors
from vecdb.engine.write.writer import Request
from vecdb.errors import InvalidInputError, NotFoundError
from vecdb.payload import encoding
from vecdb.payload.paths import parse_path


def delete(selector: Any) -> Request:
    """Remove the points. Ids that do not exist are fine."""
    what = "points_selector"
    selected = models.parse_points_selector(selector, what)
    if isinstance(selected, models.Filter):
        return _of_matching(selected, _place(selector, what), Delete)
    return Delete(_some_keys(selected, what))


def set_payload(payload: Any, points: Any, key: Any) -> Request:
    """Merge ``payload`` into that of the points, at the path ``key`` if given."""
    if key is not None and not isinstance(key, str):
        raise InvalidInputError(f"key: expected a string, got {type(key).__name__}")
    if key is not None:
        parse_path(key, "key")  # "" is no path, though that of no path in the log
    path = key or ""
    given = _plain(payload)
    return _of_existing(points, "points", lambda keys: EditPayload(keys, "set", given, path=path))


def overwrite_payload(payload: Any, points: Any) -> Request:
    """Replace the payload of the points."""
    given = _plain(payload)
    return _of_existing(points, "points", lambda keys: EditPayload(keys, "overwrite", given))


def delete_payload(paths: Any, points: Any) -> Request:
    """Remove what is at these paths from the payload of the points."""
    given = _strings(paths, "keys")
    for number, path in enumerate(given):
        parse_path(path, f"keys[{number}]")
    return _of_existing(points, "points", lambda keys: EditPayload(keys, "delete", paths=given))


def clear_payload(selector: Any) -> Request:
    """The points have an empty payload."""
    return _of_existing(selector, "points_selector", lambda keys: EditPayload(keys, "clear"))


def update_vectors(schema: Schema, points: Any) -> Request:
    """Give points new vectors of some names: a list of PointVectors."""
    operation = prepare_vectors(schema, points)

    def request(view: View) -> EditVectors:
        existing(view, operation.keys)
        return operation

    return request


def delete_vectors(schema: Schema, names: Any, points: Any) -> Request:
    """Remove the vectors of these names from the points."""
    given = [vector_schema(schema, name).name for name in _strings(names, "vectors")]
    return _of_existing(points, "points", lambda keys: DropVectors(keys, given))


def existing(view: View, keys: list[int]) -> list[int]:
    """The keys, if all of them are live points. Raises NotFoundError naming the first that is
    not."""
    where, _ = view.locate(keys)
    missing = np.flatnonzero(where < 0)
    if len(missing):
        point = ids.external(keys[int(missing[0])])
        raise NotFoundError(f"point {point!r} does not exist ({len(missing)} of {len(keys)} ids)")
    return keys


def _of_existing(selector: Any, what: str, make: Callable[[list[int]], Operation]) -> Request:
    """An operation on selected points; all of them must exist."""
    selected = models.parse_points_selector(selector, what)
    if isinstance(selected, models.Filter):
        return _of_matching(selected, _place(selector, what), make)
    keys = _some_keys(selected, what)
    return lambda view: make(existing(view, keys))


def _place(selector: Any, what: str) -> str:
    """Where the filter of a selector is."""
    return what if isinstance(selector, models.Filter) else f"{what}.filter"


def _of_matching(
    filter: models.Filter, what: str, make: Callable[[list[int]], Operation]
) -> Request:
    """An operation on the points that match when its turn comes; none if there are none."""
    condition = reader.condition(filter, what)
    assert condition is not None

    def request(view: View) -> Operation | None:
        keys = reader.matching_keys(view, reader.condition_in(view, filter, condition))
        return make(keys) if keys else None

    return request


def _some_keys(point_ids: list[Any], what: str) -> list[int]:
    """The keys of at least one id, each once, in order."""
    keys = list(dict.fromkeys(map(ids.key_of, point_ids)))
    if not keys:
        raise InvalidInputError(f"{what}: expected at least one id, got none")
    return keys


def _plain(payload: Any) -> dict[str, Any]:
    """A payload as it will be stored: plain JSON."""
    if not isinstance(payload, dict):
        raise InvalidInputError(f"payload: expected a dict, got {type(payload).__name__}")
    return encoding.decode(encoding.encode(payload))


def _strings(values: Any, what: str) -> list[str]:
    """A list of strings, at least one."""
    if not isinstance(values, (list, tuple, set, frozenset)):
        got = type(values).__name__
        raise InvalidInputError(f"{what}: expected a list of strings, got {got} {values!r:.60}")
    for value in values:
        if not isinstance(value, str):
            raise InvalidInputError(f"{what}: expected strings, got {value!r:.60}")
    if not values:
        raise InvalidInputError(f"{what}: expected at least one string, got none")
    return list(values)
