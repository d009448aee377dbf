"""A batch at the door: several operations of different kinds as requests for one write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from vecdb import models
from vecdb.engine.operations import Operation
from vecdb.engine.schema import Schema
from vecdb.engine.view import View
from vecdb.engine.write import conditional, edits
from vecdb.engine.write.writer import Request
from vecdb.errors import InvalidInputError, NotFoundError
from vecdb.models.validation import read


class Batch(Struct, frozen=True):
    """``ends``: for each operation how many requests there are up to its last."""

    requests: list[Request]
    ends: list[int]


def batch(schema: Schema, operations: Any) -> Batch:
    """A list of operations. Raises InvalidInputError that says which of them is wrong."""
    given: list[models.UpdateOperation] = read(
        list[models.UpdateOperation], operations, "update_operations"
    )
    requests: list[Request] = []
    ends = []
    for number, operation in enumerate(given):
        [kind] = type(operation).__struct_fields__
        where = f"update_operations[{number}].{kind}"
        try:
            new = _requests(schema, operation)
        except InvalidInputError as error:
            raise InvalidInputError(f"{where}: {error}") from None
        requests += [_named(request, where) for request in new]
        ends.append(len(requests))
    return Batch(requests, ends)


def _requests(schema: Schema, operation: models.UpdateOperation) -> Sequence[Request]:
    match operation:
        case models.UpsertOperation(upsert=points):
            return conditional.upsert(schema, points)
        case models.DeleteOperation(delete=selector):
            return [edits.delete(selector)]
        case models.SetPayloadOperation(set_payload=given):
            return [edits.set_payload(given.payload, _selected(given), given.key)]
        case models.OverwritePayloadOperation(overwrite_payload=given):
            return [edits.overwrite_payload(given.payload, _selected(given))]
        case models.DeletePayloadOperation(delete_payload=removed):
            return [edits.delete_payload(removed.keys, _selected(removed))]
        case models.ClearPayloadOperation(clear_payload=selector):
            return [edits.clear_payload(selector)]
        case models.UpdateVectorsOperation(update_vectors=vectors):
            if vectors.update_filter is None:
                return [edits.update_vectors(schema, vectors.points)]
            return [conditional.update_vectors(schema, vectors.points, vectors.update_filter)]
        case models.DeleteVectorsOperation(delete_vectors=names):
            return [edits.delete_vectors(schema, names.vector, _selected(names))]


def _selected(given: models.SetPayload | models.DeletePayload | models.DeleteVectors) -> Any:
    if given.points is not None:
        return given.points
    assert given.filter is not None
    return models.FilterSelector(filter=given.filter)


def _named(request: Request, where: str) -> Request:
    """The request, which says where it was in the batch when it cannot be met."""
    if not callable(request):
        return request
    resolve: Callable[[View], Operation | None] = request

    def named(view: View) -> Operation | None:
        try:
            return resolve(view)
        except (InvalidInputError, NotFoundError) as error:
            raise type(error)(f"{where}: {error}") from None

    return named
