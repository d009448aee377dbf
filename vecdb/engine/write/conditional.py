"""Conditional writes at the door: points and vectors written only where what is there lets them.

The condition is decided when the request's turn comes, under the write lock: nothing can be
written between the look and the write. What is in the log has no condition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb import ids, models
from vecdb.engine.operations import EditVectors, Operation, Upsert
from vecdb.engine.read import reader
from vecdb.engine.schema import Schema
from vecdb.engine.view import View
from vecdb.engine.write.edits import existing
from vecdb.engine.write.ingest import (
    prepare_upsert,
    prepare_vectors,
    rows_of_points,
    rows_of_upsert,
)
from vecdb.engine.write.writer import Request

Flags = npt.NDArray[np.bool_]
Matching = Callable[[View], Flags]
"""Which of some keys are points that match."""


def upsert(
    schema: Schema, points: Any, update_filter: Any = None, update_mode: Any = None
) -> list[Request]:
    """Points as requests for one write. Those that are there are written only if they match the
    filter and the mode is not ``insert_only``, those that are not only if it is not
    ``update_only``. Raises InvalidInputError."""
    given = models.parse_insert(points, update_filter, update_mode)
    mode = given.mode if given.mode is not models.UpdateMode.UPSERT else None
    if mode is None and given.filter is None:
        whole = prepare_upsert(schema, given.points)
        return [whole if whole.keys else _nothing]
    rows = rows_of_points(schema, given.points)
    parts = [rows_of_upsert(rows, part) for part in _without_repeats(rows.keys)]
    return [_conditional(part, given.filter, mode) for part in parts] or [_nothing]


def update_vectors(schema: Schema, points: Any, update_filter: Any) -> Request:
    """Vectors of those of the points that match; all of them must exist."""
    operation = prepare_vectors(schema, points)
    matching = _matching(operation.keys, update_filter)

    def request(view: View) -> Operation | None:
        existing(view, operation.keys)
        rows = np.flatnonzero(matching(view))
        if not len(rows):
            return None
        keys = [operation.keys[row] for row in rows.tolist()]
        vectors = {name: block.take(rows) for name, block in operation.vectors.items()}
        return EditVectors(keys, vectors, operation.schema)

    return request


def _conditional(
    rows: Upsert, filter: models.Filter | None, mode: models.UpdateMode | None
) -> Request:
    matching = None if filter is None else _matching(rows.keys, filter)

    def request(view: View) -> Operation | None:
        where, _ = view.locate(rows.keys)
        there = where >= 0
        write = np.ones(len(there), dtype=np.bool_)
        if mode is models.UpdateMode.INSERT_ONLY:
            write = ~there
        elif mode is models.UpdateMode.UPDATE_ONLY:
            write = there.copy()
        if matching is not None and (write & there).any():
            write &= ~there | matching(view)
        if write.all():
            return rows
        return rows_of_upsert(rows, np.flatnonzero(write).tolist()) if write.any() else None

    return request


def _matching(keys: list[int], filter: Any) -> Matching:
    given = models.coerce(models.Filter, filter, "update_filter")
    named = models.HasIdCondition(has_id=list(map(ids.external, keys)))
    both = models.Filter(must=[named, given])
    condition = reader.condition(both, "update_filter")
    assert condition is not None

    def matching(view: View) -> Flags:
        found = set(reader.matching_keys(view, reader.condition_in(view, both, condition)))
        return np.fromiter((key in found for key in keys), np.bool_, len(keys))

    return matching


def _without_repeats(keys: list[int]) -> list[list[int]]:
    """Rows cut into parts in none of which a key comes twice: written one after the other they are
    as if each row were written alone."""
    parts: list[list[int]] = []
    seen: set[int] = set()
    for row, key in enumerate(keys):
        if not parts or key in seen:
            parts.append([])
            seen = set()
        parts[-1].append(row)
        seen.add(key)
    return parts


def _nothing(view: View) -> None:
    return None
