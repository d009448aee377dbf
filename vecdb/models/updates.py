"""The operations of ``batch_update_points``, and points with a condition on those there."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from vecdb.errors import InvalidInputError
from vecdb.models.conditions import ExtendedPointId, Filter
from vecdb.models.reading import Model, fields_of
from vecdb.models.requests import (
    Batch,
    FilterSelector,
    Payload,
    PointIdsList,
    PointStruct,
    PointVectors,
    parse_points,
)
from vecdb.models.validation import coerce, read


class UpdateMode(str, Enum):
    """Which points an upsert writes."""

    UPSERT = "upsert"
    INSERT_ONLY = "insert_only"
    """Those that are not there."""
    UPDATE_ONLY = "update_only"
    """Those that are there."""


class PointsBatch(Model, frozen=True, kw_only=True):
    """Points as columns, with the condition of ``upsert``."""

    batch: Batch
    update_filter: Filter | None = None
    update_mode: UpdateMode | None = None


class PointsList(Model, frozen=True, kw_only=True):
    """Points one by one, with the condition of ``upsert``."""

    points: list[PointStruct]
    update_filter: Filter | None = None
    update_mode: UpdateMode | None = None


class SetPayload(Model, frozen=True, kw_only=True):
    """What ``set_payload`` and ``overwrite_payload`` take. If there are ``points``, they count and
    not the ``filter``; so in the others here."""

    payload: Payload
    points: list[ExtendedPointId] | None = None
    filter: Filter | None = None
    key: str | None = None

    def _problem(self) -> str | None:
        return _unselected(self)


class DeletePayload(Model, frozen=True, kw_only=True):
    """Keys to take from payloads."""

    keys: list[str]
    points: list[ExtendedPointId] | None = None
    filter: Filter | None = None

    def _problem(self) -> str | None:
        return _unselected(self)


class DeleteVectors(Model, frozen=True, kw_only=True):
    """Names whose vectors are taken from points."""

    vector: list[str]
    points: list[ExtendedPointId] | None = None
    filter: Filter | None = None

    def _problem(self) -> str | None:
        return _unselected(self)


class UpdateVectors(Model, frozen=True, kw_only=True):
    """Vectors of points that are there, and the filter that these have to match."""

    points: list[PointVectors]
    update_filter: Filter | None = None


def _unselected(given: SetPayload | DeletePayload | DeleteVectors) -> str | None:
    if given.points is None and given.filter is None:
        return "expected points or a filter, got neither"
    return None


class UpsertOperation(Model, frozen=True, kw_only=True):
    """``upsert`` as an operation of ``batch_update_points``."""

    upsert: PointsBatch | PointsList


class DeleteOperation(Model, frozen=True, kw_only=True):
    """``delete`` as an operation of ``batch_update_points``."""

    delete: list[ExtendedPointId] | PointIdsList | FilterSelector | Filter


class SetPayloadOperation(Model, frozen=True, kw_only=True):
    """``set_payload`` as an operation of ``batch_update_points``."""

    set_payload: SetPayload


class OverwritePayloadOperation(Model, frozen=True, kw_only=True):
    """``overwrite_payload`` as an operation of ``batch_update_points``."""

    overwrite_payload: SetPayload


class DeletePayloadOperation(Model, frozen=True, kw_only=True):
    """``delete_payload`` as an operation of ``batch_update_points``."""

    delete_payload: DeletePayload


class ClearPayloadOperation(Model, frozen=True, kw_only=True):
    """``clear_payload`` as an operation of ``batch_update_points``."""

    clear_payload: list[ExtendedPointId] | PointIdsList | FilterSelector | Filter


class UpdateVectorsOperation(Model, frozen=True, kw_only=True):
    """``update_vectors`` as an operation of ``batch_update_points``."""

    update_vectors: UpdateVectors


class DeleteVectorsOperation(Model, frozen=True, kw_only=True):
    """``delete_vectors`` as an operation of ``batch_update_points``."""

    delete_vectors: DeleteVectors


UpdateOperation: TypeAlias = (
    UpsertOperation
    | DeleteOperation
    | SetPayloadOperation
    | OverwritePayloadOperation
    | DeletePayloadOperation
    | ClearPayloadOperation
    | UpdateVectorsOperation
    | DeleteVectorsOperation
)


class Insert(NamedTuple):
    """Points to write, and which of those that are there."""

    points: Batch | list[PointStruct]
    filter: Filter | None
    mode: UpdateMode | None


def parse_insert(value: Any, update_filter: Any, update_mode: Any, what: str = "points") -> Insert:
    """Points in any form, which may bring a condition of their own."""
    filter = read(Filter | None, update_filter, "update_filter")
    mode = read(UpdateMode | None, update_mode, "update_mode")
    fields = fields_of(value)
    value = value if fields is None else fields  # so that it is taken apart once
    if isinstance(value, PointsBatch) or (fields is not None and "batch" in fields):
        columns = coerce(PointsBatch, value, what)
        value, own = columns.batch, (columns.update_filter, columns.update_mode)
    elif isinstance(value, PointsList) or (fields is not None and "points" in fields):
        listed = coerce(PointsList, value, what)
        value, own = listed.points, (listed.update_filter, listed.update_mode)
    else:
        own = (None, None)
    for name, given, beside in (("filter", filter, own[0]), ("mode", mode, own[1])):
        if given is not None and beside is not None:
            raise InvalidInputError(f"update_{name}: is in the points, too; give it once")
    return Insert(parse_points(value, what), filter or own[0], mode or own[1])
