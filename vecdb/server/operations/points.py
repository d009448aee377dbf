"""Operations that change points. Each is one write; those that come together share a sync."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from vecdb import AsyncCollection, models
from vecdb.server.requests import Fields, ids, several
from vecdb.server.service import Service
from vecdb.server.status import TIMEOUT, WRONG, Refusal, malformed, out_of_range
from vecdb.server.table import Call, Right, operation

_SHARD = {"shard_key": "shard_key_selector"}
_SELECTOR = ("points", "filter", "shard_key")
_POINT = Fields("payload", required=("id", "vector"), aliases={"vectors": "vector"})
_POINT_VECTORS = Fields(required=("id", "vector"), aliases={"vectors": "vector"})
_BATCH = Fields("payloads", required=("ids", "vectors"), aliases={"vector": "vectors"})

UPSERT = Fields(
    *("points", "batch", "update_filter", "update_mode", "shard_key"), renamed=_SHARD, strict=True
)
DELETE = Fields(*_SELECTOR, renamed=_SHARD, strict=True)
SET_PAYLOAD = Fields(*_SELECTOR, "key", required=("payload",), renamed=_SHARD, strict=True)
DELETE_PAYLOAD = Fields(*_SELECTOR, required=("keys",), renamed=_SHARD, strict=True)
UPDATE_VECTORS = Fields(
    "update_filter", "shard_key", required=("points",), renamed=_SHARD, strict=True
)
DELETE_VECTORS = Fields(
    *_SELECTOR, required=("vector",), aliases={"vectors": "vector"}, renamed=_SHARD, strict=True
)
BATCH_UPDATE = Fields(
    required=("operations",),
    ignored=("timeout", "wait", "ordering"),  # qdrant-js sends such options in the body
    strict=True,
)


def _collection(service: Service, call: Call) -> AsyncCollection:
    service.collection(call.collection)  # says so in Qdrant's words if there is none
    return service.database.collection(call.collection)


async def _result(
    service: Service, call: Call, write: Awaitable[models.UpdateResult]
) -> dict[str, Any]:
    """What a caller is told of a write. It is always done by then, but programs compare what they
    are told with what they asked for."""
    try:
        done = await service.within(call.timeout, write)
    except Refusal as refusal:
        if refusal.status is not TIMEOUT:
            raise
        return {"operation_id": None, "status": "wait_timeout"}  # it goes on
    return _told(call, done)


def _told(call: Call, done: models.UpdateResult) -> dict[str, Any]:
    status = "completed" if call.wait else "acknowledged"
    return {"operation_id": done.operation_id, "status": status}


def _points(given: dict[str, Any], where: str = "") -> Any:
    """The points of an upsert, in the form of the verb. ``where``: the path to it in a batch."""
    if "batch" in given:
        if "points" in given:
            raise malformed(f"{where}expected points or a batch, got both")
        batch = _BATCH.read(given.pop("batch"), f"{where}batch.")
        _check_sparse(batch["vectors"], f"{where}batch.vectors")
        return models.Batch(**batch)
    points = given.pop("points", None)
    if points is None:
        raise malformed(f"{where}missing field `points`")
    return _each(points, f"{where}points")


def _each(points: Any, where: str) -> list[dict[str, Any]]:
    """Points by themselves, read. Of those with the same id the last one counts."""
    if not isinstance(points, list):
        raise malformed(f"{where}: expected a list")
    read = [_POINT.read(point, f"{where}[{number}].") for number, point in enumerate(points)]
    for number, point in enumerate(read):
        _check_sparse(point["vector"], f"{where}[{number}].vector")
        _check_lists(point["vector"], f"{where}[{number}].vector")
    try:
        by_id = {point["id"]: point for point in read}
    except TypeError:  # no id at all, which the verb says
        return read
    return read if len(by_id) == len(read) else list(by_id.values())


def _check_sparse(vectors: Any, where: str) -> None:
    """Programs tell what is wrong with a sparse vector by Qdrant's words. Raises Refusal."""
    if type(vectors) is not dict:
        return
    problems = []
    for vector in vectors.values():
        for given in vector if type(vector) is list else [vector]:  # of one point, or of several
            if type(given) is not dict:
                break
            indices, values = given.get("indices"), given.get("values")
            if type(indices) is not list or type(values) is not list:
                continue
            if len(indices) != len(values):
                problem = "must be the same length as indices"
                problems.append(f"{where}.?.values: Validation error: {problem} [{{}}]")
            elif len(set(map(str, indices))) != len(indices):
                problem = "must be unique"
                problems.append(f"{where}.?.indices: Validation error: {problem} [{{}}]")
    if problems:
        raise out_of_range(problems)


def _check_lists(vectors: Any, where: str) -> None:
    """The same for what has no number, or is many vectors. Raises Refusal."""
    named = vectors.items() if type(vectors) is dict else [("", vectors)]
    problems = []
    for name, vector in named:
        at = f"{where}.?" if name else where
        if type(vector) is not list:  # an array, from gRPC
            continue
        if not vector:
            problems.append(f"{at}: dense vector must not be empty")
        elif type(vector[0]) is list:
            lengths = [len(row) for row in vector if type(row) is list]
            other = next((length for length in lengths if length != lengths[0]), None)
            if not all(lengths):
                problems.append(f"{at}.data: all vectors must be non-empty")
            elif other is not None:
                problem = "all vectors must have the same dimension, found vector with dimension"
                problems.append(f"{at}.data: {problem} {other}")
    if problems:
        raise out_of_range(problems)


def _vectors(points: Any, where: str = "") -> list[dict[str, Any]]:
    """Points with new vectors. Those with the same id are one, with the vectors of all of them."""
    where += "points"
    if not isinstance(points, list):
        raise malformed(f"{where}: expected a list")
    if not points:
        raise out_of_range([f"{where}: must specify points to update"])
    found: dict[Any, dict[str, Any]] = {}
    for number, point in enumerate(points):
        at = f"{where}[{number}]."
        given = _POINT_VECTORS.read(point, at)
        vector, name = given["vector"], given["id"]
        _check_sparse(vector, f"{at}vector")
        _check_lists(vector, f"{at}vector")
        if isinstance(vector, dict) and not vector:
            raise out_of_range([f"{at}vector: must specify vectors to update for point"])
        if not isinstance(name, (int, str)):
            raise malformed(f"{at}id: expected a number or a string")
        before = found.get(name, {}).get("vector")
        if isinstance(before, dict) and isinstance(vector, dict):
            given["vector"] = before | vector
        found[name] = given
    return list(found.values())


def _names(names: Any, where: str = "") -> Any:
    """Names of vectors, of which there is one at least. Raises Refusal."""
    if names == []:
        raise out_of_range([f"{where}vector: must specify vector names to delete"])
    return names


def _selected(given: dict[str, Any]) -> Any:
    """The points that are meant: their ids, or a filter."""
    points, filter = given.pop("points", None), given.pop("filter", None)
    if points is not None:
        return ids(points)
    if filter is not None:
        return {"filter": filter}
    raise Refusal(WRONG, "Bad request: Either list of point ids or filter must be provided")


@operation(Right.WRITE, UPSERT)
async def upsert(service: Service, call: Call) -> Any:
    """Write points; those that are there are replaced."""
    collection = _collection(service, call)
    given = UPSERT.read(call.body)
    points = _points(given)
    return await _result(service, call, collection.upsert(points, **given))


@operation(Right.WRITE, DELETE)
async def delete(service: Service, call: Call) -> Any:
    """Remove points."""
    collection = _collection(service, call)
    given = DELETE.read(call.body)
    return await _result(service, call, collection.delete(_selected(given), **given))


@operation(Right.WRITE, SET_PAYLOAD)
async def set_payload(service: Service, call: Call) -> Any:
    """Merge a payload into that of points."""
    collection = _collection(service, call)
    given = SET_PAYLOAD.read(call.body)
    return await _result(service, call, collection.set_payload(points=_selected(given), **given))


@operation(Right.WRITE, SET_PAYLOAD)
async def overwrite_payload(service: Service, call: Call) -> Any:
    """Replace the payload of points."""
    collection = _collection(service, call)
    given = SET_PAYLOAD.read(call.body)
    if "key" in given:
        return await _result(
            service, call, collection.set_payload(points=_selected(given), **given)
        )
    return await _result(
        service, call, collection.overwrite_payload(points=_selected(given), **given)
    )


@operation(Right.WRITE, DELETE_PAYLOAD)
async def delete_payload(service: Service, call: Call) -> Any:
    """Remove keys from the payload of points."""
    collection = _collection(service, call)
    given = DELETE_PAYLOAD.read(call.body)
    return await _result(service, call, collection.delete_payload(points=_selected(given), **given))


@operation(Right.WRITE, DELETE)
async def clear_payload(service: Service, call: Call) -> Any:
    """Remove the whole payload of points."""
    collection = _collection(service, call)
    given = DELETE.read(call.body)
    return await _result(service, call, collection.clear_payload(_selected(given), **given))


@operation(Right.WRITE, UPDATE_VECTORS)
async def update_vectors(service: Service, call: Call) -> Any:
    """Replace vectors of points; the rest of these stays."""
    collection = _collection(service, call)
    given = UPDATE_VECTORS.read(call.body)
    points = _vectors(given.pop("points"))
    return await _result(service, call, collection.update_vectors(points, **given))


@operation(Right.WRITE, DELETE_VECTORS)
async def delete_vectors(service: Service, call: Call) -> Any:
    """Take vectors from points; the points stay."""
    collection = _collection(service, call)
    given = DELETE_VECTORS.read(call.body)
    names = _names(given.pop("vector"))
    return await _result(
        service, call, collection.delete_vectors(names, points=_selected(given), **given)
    )


_OF_BATCHES = {
    "upsert": UPSERT,
    "delete": DELETE,
    "set_payload": SET_PAYLOAD,
    "overwrite_payload": SET_PAYLOAD,
    "delete_payload": DELETE_PAYLOAD,
    "clear_payload": DELETE,
    "update_vectors": UPDATE_VECTORS,
    "delete_vectors": DELETE_VECTORS,
}


@operation(Right.WRITE, BATCH_UPDATE)
async def batch_update(service: Service, call: Call) -> Any:
    """Do several operations as one write: all of them, or none."""
    collection = _collection(service, call)
    operations = [
        _of_batch(item, f"operations[{number}].")
        for number, item in enumerate(several(BATCH_UPDATE, call.body, 10_000))
    ]
    done = await collection.batch_update_points(operations)
    return [_told(call, each) for each in done]


def _of_batch(item: Any, where: str) -> dict[str, Any]:
    """One operation, as the verb takes it."""
    given = {}
    if isinstance(item, dict):
        given = {key: value for key, value in item.items() if value is not None}
    if len(given) != 1 or not given.keys() <= _OF_BATCHES.keys():
        raise malformed(f"{where} expected one of {', '.join(_OF_BATCHES)}")
    [(name, body)] = given.items()
    where += f"{name}."
    given = _OF_BATCHES[name].read(body, where)
    if given.pop("shard_key_selector", None) is not None:
        raise Refusal(WRONG, "Bad request: shard_key is Qdrant's, and not supported by vecdb")
    if name == "upsert":
        points = _points(given, where)
        kind = "batch" if isinstance(points, models.Batch) else "points"
        return {name: {kind: points, **given}}
    if name == "delete_vectors":
        _names(given["vector"], where)
    if name == "update_vectors":
        return {name: {**given, "points": _vectors(given["points"], where)}}
    if name in ("delete", "clear_payload"):
        selected = _selected(given)
        return {name: selected if isinstance(selected, dict) else {"points": selected}}
    return {name: given}
