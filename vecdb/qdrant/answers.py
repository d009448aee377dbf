"""vecdb's results as Qdrant's own objects, of ``qdrant_client.http.models``.

Points are made by the thousand and have a way of their own: the constructor is quickest, but for
vectors, which it would read number by number. Any other result becomes the model of the same name,
by its attributes; so what vecdb comes to answer needs no change here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from qdrant_client.http import models as there

from vecdb import models


def as_qdrants(value: Any) -> Any:
    """A result as Qdrant's object; a list or tuple of results as one of Qdrant's objects; anything
    else as it is."""
    convert = _CONVERTERS.get(type(value))
    if convert is not None:
        return convert(value)
    if isinstance(value, Struct):
        model = getattr(there, type(value).__name__, None)
        return value if model is None else model.model_validate(value, from_attributes=True)
    return value


def _scored_point(point: models.ScoredPoint) -> there.ScoredPoint:
    made = there.ScoredPoint(
        id=point.id, version=point.version, score=point.score, payload=point.payload, vector=None
    )
    if point.vector is not None:
        made.vector = point.vector  # type: ignore[assignment]
    return made


def _record(record: models.Record) -> there.Record:
    made = there.Record(id=record.id, payload=record.payload, vector=None)
    if record.vector is not None:
        made.vector = record.vector  # type: ignore[assignment]
    return made


def _query_response(response: models.QueryResponse) -> there.QueryResponse:
    return there.QueryResponse.model_construct(points=list(map(_scored_point, response.points)))


def _list(values: list[Any]) -> list[Any]:
    return [as_qdrants(value) for value in values]


_CONVERTERS: dict[type, Callable[[Any], Any]] = {
    list: _list,
    tuple: lambda values: tuple(_list(list(values))),
    models.Record: _record,
    models.ScoredPoint: _scored_point,
    models.QueryResponse: _query_response,
}
