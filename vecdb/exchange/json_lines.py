"""JSON lines: a point a line, in the shape in which Qdrant writes points.

``{"id": 1, "vector": [0.1, 0.2], "payload": {"word": "one"}}``; with named vectors ``vector`` is an
object. A point without a vector has an empty one. A sparse vector is an object of ``indices`` and
``values``, a multivector a list of lists. The configuration stands in a file beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vecdb.errors import InvalidInputError
from vecdb.exchange import beside
from vecdb.exchange.columns import (
    ROWS,
    Columns,
    Tick,
    Whole,
    block_of,
    dims_of,
    floats,
    json_error,
    json_of,
    must_be_numbers,
    ragged_block,
    ragged_rows,
)
from vecdb.models.sparse import is_sparse
from vecdb.storage.fs import AppendFile
from vecdb.vectors.block import VectorBlock
from vecdb.vectors.blocks import Block
from vecdb.vectors.datatypes import SPARSE, is_ragged, many_of
from vecdb.vectors.multi import MultiBlock

_FIELDS = {"id", "vector", "payload"}
_EMPTY = {"shard_key", "order_value"}
"""Fields of a record as Qdrant's client dumps it, which are null unless it was asked for them."""


def write(whole: Whole, path: Path, tick: Tick) -> None:
    """Write all points, and the configuration beside them."""
    file = AppendFile(path)
    try:
        for columns in whole.columns(ROWS):
            file.append([b"".join(_lines(columns))])
            tick(len(columns))
        file.sync()
    finally:
        file.close()
    beside.write_config(whole, path)


def _lines(columns: Columns) -> Iterator[bytes]:
    rows = {name: _rows(block) for name, block in columns.vectors.items()}
    has = {name: block.flags().tolist() for name, block in columns.vectors.items()}
    alone = list(rows) == [""]
    for row, point_id in enumerate(columns.ids):
        vectors: Any = {name: rows[name][row] for name in rows if has[name][row]}
        line = {"id": point_id, "vector": vectors.get("", vectors) if alone else vectors}
        if columns.payloads is not None:
            line["payload"] = msgspec.Raw(json_of(columns.payloads[row]))
        yield msgspec.json.encode(line) + b"\n"


def _rows(block: Block) -> list[Any]:
    """The vectors as they are written."""
    if isinstance(block, MultiBlock):
        return [None if row is None else row.tolist() for row in ragged_rows(block)]
    return block.values.tolist() if isinstance(block, VectorBlock) else ragged_rows(block)


class JsonLines:
    """The points of a file, line by line."""

    count: int | None = None

    def __init__(self, path: Path) -> None:
        """Look at the first line, which says what vectors there are if nothing else does. Raises
        InvalidInputError."""
        self._path = path
        self.config = beside.read_config(path)
        if self.config is not None:
            self.dims = dims_of(self.config)
            return
        first = next(self._points(), None)
        if first is None:
            raise InvalidInputError(f"{path}: expected a point in each line, got none")
        self.dims = {name: _dim_of(vector) for name, vector in first[1].items()}

    def columns(
        self, rows: int, names: Sequence[str] | None = None, with_payload: bool = True
    ) -> Iterator[Columns]:
        """All points; every line is read whole, whatever is wanted of it."""
        points = self._points()
        done = 0
        while some := list(islice(points, rows)):
            unknown = {name for each in some for name in each[1]} - self.dims.keys()
            if unknown:
                raise InvalidInputError(
                    f"{self._path}: points {done} to {done + len(some) - 1}: expected vectors "
                    f"{sorted(self.dims)}, got one called {min(unknown)!r}"
                )
            vectors = {
                name: self._block([each[1].get(name) for each in some], name, done)
                for name in (self.dims if names is None else names)
            }
            yield Columns([each[0] for each in some], vectors, [each[2] for each in some])
            done += len(some)

    def _block(self, given: list[Any], name: str, done: int) -> Block:
        dim = self.dims[name]
        if is_ragged(dim):
            called = f"vector {name!r}" if name else "vector"
            where = [f"{self._path}: point {done + row}: {called}" for row in range(len(given))]
            return ragged_block(given, dim, where)
        return self._dense_block(given, name, dim, done)

    def _dense_block(self, given: list[Any], name: str, dim: int, done: int) -> VectorBlock:
        for row, vector in enumerate(given, done):
            if isinstance(vector, dict):
                raise InvalidInputError(
                    f"{self._path}: point {row}: expected {dim} numbers of {name!r}, got a sparse "
                    f"vector"
                )
            if vector is not None and len(vector) != dim:
                called = f"vector {name!r}" if name else "vector"
                raise InvalidInputError(
                    f"{self._path}: point {row}: expected a {called} of {dim} numbers, got "
                    f"{len(vector)}"
                )
        has = np.array([vector is not None for vector in given], dtype=np.bool_)
        where = f"{self._path}: points {done} to {done + len(given) - 1}"
        try:
            some = np.array([vector for vector in given if vector is not None])
        except ValueError:  # a list in the place of a number
            raise InvalidInputError(f"{where}: expected numbers in each vector") from None
        must_be_numbers(some.dtype, where)
        return block_of(floats(some).reshape(-1, dim), has)

    def _points(self) -> Iterator[tuple[Any, dict[str, Any], Any]]:
        """Id, vectors by name and payload of each line."""
        with open(self._path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield self._point(line, f"{self._path}, line {number}")

    def _point(self, line: bytes, where: str) -> tuple[Any, dict[str, Any], Any]:
        try:
            point = json.loads(line, parse_constant=_refuse)
        except ValueError as error:
            raise InvalidInputError(f"{where}: {json_error(error)}") from None
        wrong = None
        if not isinstance(point, dict):
            wrong = repr(line[:60])
        elif "id" not in point:
            wrong = f"no id in {line[:60]!r}"
        elif unknown := [
            key
            for key, value in point.items()
            if key not in _FIELDS and (key not in _EMPTY or value is not None)
        ]:
            wrong = f"the key {unknown[0]!r}"
        if wrong is not None:
            raise InvalidInputError(
                f"{where}: expected an object of id, vector and payload, got {wrong}"
            )
        vector = point.get("vector")
        vectors = {"": vector} if isinstance(vector, list) else vector or {}
        if not isinstance(vectors, dict) or not all(map(_is_vector, vectors.values())):
            raise InvalidInputError(
                f"{where}: expected a list of numbers as vector, or by name lists or objects of "
                f"indices and values, got {vector!r:.60}"
            )
        payload = point.get("payload")
        if payload is not None and not isinstance(payload, dict):
            raise InvalidInputError(f"{where}: expected an object as payload, got {payload!r:.60}")
        return point["id"], vectors, payload


def _dim_of(vector: Any) -> int:
    """What stands for the dimension of a vector (`vecdb.vectors.datatypes`)."""
    if not isinstance(vector, list):
        return SPARSE
    return many_of(len(vector[0])) if vector and isinstance(vector[0], list) else len(vector)


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) or is_sparse(value)


def _refuse(constant: str) -> None:
    raise ValueError(f"expected finite numbers, got {constant}")
