"""Points: ids, vectors and whole points, as messages have them.

A vector comes in one of two forms. The older, plain one is what clients before 1.16 send and
understand; to these it is sent, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from google.protobuf.unknown_fields import UnknownFieldSet

from vecdb import models
from vecdb.server.grpc.messages import Message, named
from vecdb.server.grpc.shapes import floats, read, reads, writes
from vecdb.server.grpc.values import payload, write_payload
from vecdb.server.status import malformed
from vecdb.server.table import Shapes

_FLOAT32 = np.dtype("<f4")

# -- ids -------------------------------------------------------------------------------------------


@writes("PointId")
def write_id(value: int | str, message: Message) -> None:
    """Put a point's id into a message."""
    if type(value) is int:
        message.num = value
    else:
        message.uuid = value


# -- vectors that come in --------------------------------------------------------------------------


def numbers(message: Message, field: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A list of 32-bit numbers, from a field that holds them one behind the other. Few programs
    send each by itself, which is a field that this one is not; they are found as such. Raises
    Refusal."""
    data: bytes = getattr(message, field)
    if data:
        return floats(data)
    number = message.DESCRIPTOR.fields_by_name[field].number
    single = [each.data for each in UnknownFieldSet(message) if each.field_number == number]
    return np.array(single, np.uint32).view(np.float32)


@reads("DenseVector")
def read_dense(message: Message) -> list[float]:
    """A vector somewhere in a request. Those that a search or a write is about are arrays."""
    return numbers(message, "data").tolist()  # type: ignore[no-any-return]


@reads("SparseVector")
def read_sparse(message: Message) -> Any:
    """A sparse vector."""
    return _sparse(message.indices, numbers(message, "values"))


def _sparse(indices: Iterable[int], values: Any) -> dict[str, Any]:
    return {"indices": list(indices), "values": values.tolist()}


@reads("MultiDenseVector")
def read_multiple(message: Message) -> Any:
    """Several vectors that are one."""
    return [numbers(each, "data").tolist() for each in message.vectors]


@reads("Vector")
def read_vector(message: Message) -> Any:
    """A vector in either form; a plain one as an array. Raises Refusal."""
    kind = message.WhichOneof("vector")
    if kind == "dense":
        return numbers(message.dense, "data")
    if kind is not None:
        return read(getattr(message, kind))
    values = numbers(message, "data")
    if message.HasField("indices"):
        return _sparse(message.indices.data, values)
    if not message.HasField("vectors_count"):
        return values
    count = message.vectors_count
    if not 0 < count <= len(values) or len(values) % count:
        raise malformed(f"vectors_count: {len(values)} numbers are not {count} vectors")
    return values.reshape(count, -1).tolist()


@reads("Vectors")
def read_vectors(message: Message) -> Any:
    """The vector of a point, or its vectors by name."""
    if message.WhichOneof("vectors_options") == "vector":
        return read_vector(message.vector)
    named = message.vectors.vectors
    return {name: read_vector(named[name]) for name in named}


@reads("PointStruct")
def read_point(message: Message) -> dict[str, Any]:
    """A point to write."""
    point: dict[str, Any] = {"payload": payload(message.payload)}
    if message.HasField("id"):
        point["id"] = read(message.id)
    if message.HasField("vectors"):
        point["vector"] = read_vectors(message.vectors)
    return point


# -- points that go out ----------------------------------------------------------------------------


_Hits, _Records, _Record = (
    named(name) for name in ("BatchResult", "GetResponse", "RetrievedPoint")
)


def hits(found: Iterable[models.ScoredPoint]) -> Message:
    """Points that were found, as the ``result`` of a message."""
    made = _Hits()
    result = made.result
    for point in found:
        message = result.add()
        _write_record(point, message)
        message.score = point.score
        message.version = point.version
    return made


def records(found: Iterable[models.Record]) -> Message:
    """Points that were looked up, as the ``result`` of a message."""
    made = _Records()
    for point in found:
        _write_record(point, made.result.add())
    return made


def record(point: models.Record) -> Message:
    """A point that was looked up, as a message."""
    made = _Record()
    _write_record(point, made)
    return made


SHAPES = Shapes(hits, records, record)


def _write_record(point: models.ScoredPoint | models.Record, message: Message) -> None:
    id = point.id
    if type(id) is int:
        message.id.num = id
    else:
        message.id.uuid = id
    if point.payload:
        write_payload(point.payload, message.payload)
    if point.vector is not None:
        _write_vectors(point.vector, message.vectors)
    if point.order_value is not None:
        _write_order_value(point.order_value, message.order_value)


def _write_order_value(value: int | float, message: Message) -> None:
    """An integer beyond 64 bits with a sign becomes a double, as in payloads."""
    if type(value) is int and -(1 << 63) <= value < 1 << 63:
        message.int = value
    else:
        message.float = value


def _write_vectors(vectors: Any, message: Message) -> None:
    if isinstance(vectors, dict):
        message.vectors.SetInParent()
        named = message.vectors.vectors
        for name, vector in vectors.items():
            _write_vector(vector, named[name])
    else:
        _write_vector(vectors, message.vector)


def _write_vector(vector: Any, message: Message) -> None:
    if isinstance(vector, models.SparseVector):
        message.sparse.SetInParent()  # also one without numbers
        message.sparse.indices.extend(vector.indices)
        message.sparse.values = np.asarray(vector.values, _FLOAT32).tobytes()
        return
    array = np.asarray(vector, _FLOAT32)
    if array.ndim == 2:
        for each in array:
            message.multi_dense.vectors.add().data = each.tobytes()
    else:
        message.dense.data = array.tobytes()


def add_older_form(points: Iterable[Message]) -> None:
    """Give the vectors of points in the older form, too."""
    for point in points:
        if not point.HasField("vectors"):
            continue
        if point.vectors.WhichOneof("vectors_options") == "vector":
            _add_older(point.vectors.vector)
        else:
            for vector in point.vectors.vectors.vectors.values():
                _add_older(vector)


def _add_older(vector: Message) -> None:
    kind = vector.WhichOneof("vector")
    if kind == "dense":
        vector.data = vector.dense.data
    elif kind == "sparse":
        vector.data = vector.sparse.values
        vector.indices.data.extend(vector.sparse.indices)
    elif kind == "multi_dense":
        vectors = vector.multi_dense.vectors
        vector.data = b"".join(each.data for each in vectors)
        vector.vectors_count = len(vectors)
