"""vecdb's results as Qdrant's own objects, of ``qdrant_client.http.models``.

Points are made by the thousand and have a way of their own: the constructor is quickest, but for
vectors, which it would read number by number. Any other result becomes the model of the same name,
by its attributes; so what vecdb comes to answer needs no change here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import GeneratorType
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
        made.vector = _vector(point.vector)
    if point.order_value is not None:
        made.order_value = point.order_value
    return made


def _record(record: models.Record) -> there.Record:
    made = there.Record(id=record.id, payload=record.payload, vector=None)
    if record.vector is not None:
        made.vector = _vector(record.vector)
    if record.order_value is not None:
        made.order_value = record.order_value
    return made


def _vector(vector: Any) -> Any:
    """A vector, or vectors by name, of which the sparse ones are objects."""
    if not isinstance(vector, dict):
        return vector
    return {name: _sparse(v) if type(v) is models.SparseVector else v for name, v in vector.items()}


def _sparse(vector: models.SparseVector) -> there.SparseVector:
    return there.SparseVector.model_construct(indices=vector.indices, values=vector.values)


def _query_response(response: models.QueryResponse) -> there.QueryResponse:
    return there.QueryResponse.model_construct(points=list(map(_scored_point, response.points)))


def _group(group: models.PointGroup) -> there.PointGroup:
    return there.PointGroup.model_construct(
        hits=list(map(_scored_point, group.hits)),
        id=group.id,
        lookup=None if group.lookup is None else _record(group.lookup),
    )


def _list(values: list[Any]) -> list[Any]:
    return [as_qdrants(value) for value in values]


_CONVERTERS: dict[type, Callable[[Any], Any]] = {
    models.SparseVector: _sparse,
    list: _list,
    tuple: lambda values: tuple(_list(list(values))),
    GeneratorType: partial(map, as_qdrants),
    models.Record: _record,
    models.ScoredPoint: _scored_point,
    models.QueryResponse: _query_response,
    models.PointGroup: _group,
    models.GroupsResult: lambda result: there.GroupsResult.model_construct(
        groups=_list(result.groups)
    ),
}
