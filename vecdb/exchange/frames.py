"""Results as tables: of Arrow, and data frames of pandas.

A row a point: ``id``, ``score`` of what was searched for, ``vector`` or ``vector_<name>``,
``payload``, as far as they were asked for; of `ScoredArrays` also ``query``, the number of the
vector searched with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vecdb.errors import InvalidInputError
from vecdb.exchange.columns import column_of, json_of
from vecdb.exchange.extras import library
from vecdb.exchange.parquet import type_of
from vecdb.models import (
    QueryResponse,
    Record,
    ScoredArrays,
    ScoredPoint,
    SparseVector,
    to_builtins,
)
from vecdb.vectors.datatypes import SPARSE, many_of

Points = QueryResponse | ScoredArrays | Sequence[ScoredPoint] | Sequence[Record]
"""What verbs return."""


def to_dicts(points: Points) -> list[dict[str, Any]]:
    """Points as dicts, one a row of the table; payloads as they are.

    Of what ``scroll`` returned give the points: ``to_dicts(db.scroll("texts")[0])``. Raises
    InvalidInputError if ``points`` is nothing that verbs return.
    """
    if isinstance(points, ScoredArrays):
        return [
            {"query": query, **hit} for query, hits in enumerate(points.to_dicts()) for hit in hits
        ]
    if not isinstance(points, (QueryResponse, Sequence)) or isinstance(points, (str, bytes)):
        raise InvalidInputError(
            f"points: expected what a query, scroll or retrieve returned, got {points!r:.60}"
        )
    if isinstance(points, tuple) and points and isinstance(points[0], list):
        raise InvalidInputError(
            "points: expected a list of points, got a tuple of one and more: of what scroll "
            "returned, give [0]"
        )
    given = points.points if isinstance(points, QueryResponse) else list(points)
    for point in given:
        if not isinstance(point, (Record, ScoredPoint)):
            raise InvalidInputError(
                f"points: expected Record or ScoredPoint, got {type(point).__name__}"
            )
    return [_row(point) for point in given]


def _row(point: Any) -> dict[str, Any]:
    row = {"id": point.id}
    if isinstance(point, ScoredPoint):
        row["score"] = point.score
    if isinstance(point.vector, dict):
        row |= {column_of(name): vector for name, vector in point.vector.items()}
    elif point.vector is not None:
        row["vector"] = point.vector
    if point.payload is not None:
        row["payload"] = point.payload
    return row


def to_arrow(points: Points) -> Any:
    """Points as a ``pyarrow.Table``: vectors are lists of one length, sparse ones structs of
    ``indices`` and ``values``, multivectors lists of lists, payloads JSON, as in files of Parquet.
    Raises InvalidInputError if the extra ``arrow`` is not installed."""
    pa = library("pyarrow", "arrow")
    if isinstance(points, ScoredArrays):
        found = np.arange(points.scores.shape[1]) < points.counts[:, None]
        query = np.repeat(np.arange(len(points.counts)), points.counts)
        ids, scores = points.ids[found], points.scores[found]
        return pa.table({"query": query, "id": pa.array(ids), "score": scores})
    rows = to_dicts(points)
    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        if name == "id" and not all(type(value) is int for value in values):
            columns[name] = pa.array(list(map(str, values)))
        elif name == "payload":
            columns[name] = pa.array([json_of(value).decode() for value in values])
        elif name.startswith("vector"):
            columns[name] = _vectors(pa, values)
        else:
            columns[name] = pa.array(values, pa.uint64() if name == "id" else pa.float64())
    return pa.table(columns)


def _vectors(pa: Any, values: list[Any]) -> Any:
    """The vectors of one name: lists of one length, or indices and values."""
    some = next(value for value in values if value is not None)
    if isinstance(some, SparseVector):
        given = [None if each is None else to_builtins(each) for each in values]
        return pa.array(given, type_of(pa, SPARSE))
    many = isinstance(some[0], list)
    return pa.array(values, type_of(pa, many_of(len(some[0])) if many else len(some)))


def to_pandas(points: Points) -> Any:
    """Points as a ``pandas.DataFrame``; payloads are dicts. Raises InvalidInputError if the extra
    ``pandas`` is not installed."""
    pandas = library("pandas", "pandas")
    return pandas.DataFrame(to_dicts(points))
