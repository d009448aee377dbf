"""Points at the door: they come in any form, are checked once and become arrays.

A batch is applied only if all of it is good. Among points with one id the last counts, as if they
had been written one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb import bm25, ids, models, vectors
from vecdb.engine.operations import EditVectors, Upsert
from vecdb.engine.schema import Schema, VectorSchema, vector_schema
from vecdb.errors import InvalidInputError
from vecdb.models import parse_points
from vecdb.models.validation import read
from vecdb.payload import encoding
from vecdb.vectors.block import VectorBlock
from vecdb.vectors.blocks import Block, Ragged, none_of
from vecdb.vectors.sparse import SparseBlock

Floats = npt.NDArray[np.float32]


Points = models.Batch | list[models.PointStruct]


def prepare_upsert(schema: Schema, points: Points) -> Upsert:
    """Points, as they were read, as one operation. Raises InvalidInputError."""
    upsert = rows_of_points(schema, points)
    last = _last_of_each(upsert.keys)
    return upsert if last is None else rows_of_upsert(upsert, last)


def prepare_each(schema: Schema, points: list[Any]) -> list[Upsert]:
    """Points in any form as one operation each, all made together: that is quicker than one after
    the other. Raises InvalidInputError, which may be of any of them."""
    rows = rows_of_points(schema, parse_points(points))
    return [rows_of_upsert(rows, [row]) for row in range(len(points))]


def rows_of_points(schema: Schema, points: Points) -> Upsert:
    """The same row by row as given: a key may come more than once. There may be no rows at all.
    Raises InvalidInputError."""
    if isinstance(points, models.Batch):
        keys = ids.keys_of(points.ids)
        columns = _columns_of_batch(schema, points.vectors, len(keys)) if keys else {}
        payloads = (
            [encoding.EMPTY] * len(keys)
            if points.payloads is None
            else _encode(keys, list(points.payloads))
        )
    else:
        keys = [ids.key_of(point.id) for point in points]
        columns = _columns_of_points(schema, keys, [point.vector for point in points])
        payloads = _encode(keys, [point.payload for point in points])
    for name, vector in schema.items():  # a row has an entry for every name
        if name not in columns:
            columns[name] = none_of(len(keys), vector.dim)
    return Upsert(keys, payloads, columns, schema)


def rows_of_upsert(upsert: Upsert, rows: Sequence[int]) -> Upsert:
    """Some rows of an operation."""
    return Upsert(
        [upsert.keys[row] for row in rows],
        [upsert.payloads[row] for row in rows],
        {name: block.take(list(rows)) for name, block in upsert.vectors.items()},
        upsert.schema,
    )


def prepare_vectors(schema: Schema, points: Any) -> EditVectors:
    """A list of PointVectors as one operation. Raises InvalidInputError."""
    parsed: list[models.PointVectors] = read(list[models.PointVectors], points, "points")
    keys = [ids.key_of(point.id) for point in parsed]
    _require_some(keys)
    last = _last_of_each(keys)
    if last is not None:
        raise InvalidInputError("points: an id occurs twice; give all its vectors at once")
    columns = _columns_of_points(schema, keys, [point.vector for point in parsed])
    if not columns:
        raise InvalidInputError("points: expected at least one vector")
    return EditVectors(keys, columns, schema)


def _require_some(keys: list[int]) -> None:
    if not keys:
        raise InvalidInputError("points: expected at least one, got none")


def _last_of_each(keys: list[int]) -> list[int] | None:
    """The position of the last point with each id, ascending; None when no id is repeated."""
    if len(set(keys)) == len(keys):
        return None
    return sorted({key: position for position, key in enumerate(keys)}.values())


def _encode(keys: list[int], payloads: Sequence[Any]) -> list[bytes]:
    encoded = []
    pack = encoding.packer()
    for number, payload in enumerate(payloads):
        try:
            encoded.append(encoding.encode(payload, pack))
        except InvalidInputError as error:
            raise InvalidInputError(f"point {ids.external(keys[number])!r}: {error}") from None
    return encoded


def _matrix(vector: VectorSchema, values: Any, what: str) -> Floats:
    return vectors.to_matrix(
        values,
        vector.dim,
        normalize=vector.is_normalized,
        what=what,
        datatype=vector.datatype,
    )


def _columns_of_batch(schema: Schema, values: Any, count: int) -> dict[str, Block]:
    named = values if isinstance(values, Mapping) else {"": values}
    columns: dict[str, Block] = {}
    for name, rows in named.items():
        vector = vector_schema(schema, name)
        what = f"vectors[{name!r}]" if name else "vectors"
        if vector.is_ragged:
            columns[name] = _ragged_column(vector, rows, what)
        elif not isinstance(rows, np.ndarray) and any(row is None for row in rows):
            has = np.array([row is not None for row in rows], dtype=np.bool_)
            if has.any():
                given = [row for row in rows if row is not None]
                columns[name] = VectorBlock.of_some(_matrix(vector, given, what), has)
            else:
                columns[name] = VectorBlock.of_none(count, vector.dim)
        else:
            columns[name] = VectorBlock(_matrix(vector, rows, what))
    return columns


def _ragged_column(vector: VectorSchema, rows: Any, what: str) -> Block:
    """A list of sparse vectors or multivectors, or of None where a point has none."""
    if isinstance(rows, np.ndarray) and vector.is_multi and rows.ndim == 3:
        rows = list(rows)
    if not isinstance(rows, (list, tuple)):
        kind = "multivectors" if vector.is_multi else "sparse vectors"
        raise InvalidInputError(f"{what}: expected a list of {kind}, got {rows!r:.60}")
    has = np.array([row is not None for row in rows], dtype=np.bool_)
    where = np.flatnonzero(has).tolist()
    given = _to_ragged(vector, [rows[i] for i in where], [f"{what}[{i}]" for i in where])
    return given if len(where) == len(rows) else given.of_some(given, has)  # type: ignore[arg-type]


def _to_ragged(vector: VectorSchema, given: list[Any], what: list[str]) -> Ragged:
    if vector.is_multi:
        return vectors.to_multi(given, vector.size, normalize=vector.normalize, what=what)
    return _to_sparse(given, what)


def _to_sparse(given: list[Any], what: list[str]) -> SparseBlock:
    """Sparse vectors, and texts of which BM25 makes some."""
    plain = [
        bm25.of_document(each, name) if models.is_document(each) else each
        for each, name in zip(given, what, strict=True)
    ]
    return vectors.to_sparse(plain, what)


def _columns_of_points(schema: Schema, keys: list[int], values: list[Any]) -> dict[str, Block]:
    """The vectors of a list of points, gathered by name."""
    positions: dict[str, list[int]] = {}
    given: dict[str, list[Any]] = {}
    for position, value in enumerate(values):
        for name, vector in (value if isinstance(value, Mapping) else {"": value}).items():
            if name not in schema or vector is None:
                _refuse_vector(schema, keys[position], name)
            positions.setdefault(name, []).append(position)
            given.setdefault(name, []).append(vector)
    columns: dict[str, Block] = {}
    for name, where in positions.items():
        has = np.zeros(len(keys), dtype=np.bool_)
        has[where] = True
        if schema[name].is_ragged:
            of = f"vector {name!r}" if name else "vector"
            what = [f"point {ids.external(keys[each])!r}, {of}" for each in where]
            some = _to_ragged(schema[name], given[name], what)
            columns[name] = some if has.all() else some.of_some(some, has)  # type: ignore[arg-type]
            continue
        rows = _rows_of_points(schema[name], keys, where, given[name])
        if len(where) == len(keys):
            columns[name] = VectorBlock(rows)
            continue
        columns[name] = VectorBlock.of_some(rows, has)
    return columns


def _rows_of_points(
    vector: VectorSchema, keys: list[int], where: list[int], given: list[Any]
) -> Floats:
    what = f"vector {vector.name!r}" if vector.name else "vector"
    try:
        return _matrix(vector, given, what)
    except InvalidInputError:
        # To name the bad point, check one by one. A good batch never needs that.
        for position, value in zip(where, given, strict=True):
            named = f"point {ids.external(keys[position])!r}, {what}"
            vectors.to_query(value, vector.dim, normalize=vector.is_normalized, what=named)
            _matrix(vector, [value], named)
        raise


def _refuse_vector(schema: Schema, key: int, name: Any) -> None:
    try:
        vector_schema(schema, name)
    except InvalidInputError as error:
        raise InvalidInputError(f"point {ids.external(key)!r}: {error}") from None
    raise InvalidInputError(f"point {ids.external(key)!r}: expected a vector, got None")
