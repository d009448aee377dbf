"""safetensors: arrays by name in one file, as models are stored.

Eight bytes with the length of a JSON head, the head, the arrays. Points are ``ids``, ``vector`` (or
``vector_<name>`` of each), ``present_…`` where some points lack the vector, and ``payload``: bytes
of JSON, a line a point. Sparse vectors are rows in compressed form (CSR): ``indptr_vector_<name>``,
``indices_vector_<name>`` and ``values_vector_<name>``. Of multivectors all vectors stand in
``tokens_vector_<name>``, those of a point from one number of ``indptr_…`` to the next.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb.errors import InvalidInputError
from vecdb.exchange.columns import (
    ROWS,
    Columns,
    PointId,
    Tick,
    Whole,
    array_of_ids,
    column_of,
    config_of_text,
    floats,
    ids_of_array,
    json_of,
    name_of,
    payload_of,
    text_of_config,
)
from vecdb.models import Payload
from vecdb.storage.fs import AppendFile
from vecdb.vectors.block import VectorBlock
from vecdb.vectors.blocks import Block, Ragged
from vecdb.vectors.datatypes import SPARSE, is_ragged, many_of, size_of
from vecdb.vectors.multi import MultiBlock
from vecdb.vectors.sparse import SparseBlock, ascend

_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1",
}  # fmt: skip
_MAX_HEAD = 100_000_000  # what the library of that name allows
_CONFIG = "vecdb"
_NOT_VECTORS = ("ids", "payload")
_PARTS = {"indptr": "I64", "indices": "U32", "values": "F32", "tokens": "F32"}
"""Of vectors of unequal length, with the types of their numbers."""


class Tensor(Struct, frozen=True):
    """An array of a file: where it is, and what."""

    path: Path
    name: str
    type: str
    shape: tuple[int, ...]
    start: int

    def rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Some of its rows."""
        width = int(np.prod(self.shape[1:], dtype=np.int64))
        dtype = np.dtype(_TYPES[self.type])
        offset = self.start + start * width * dtype.itemsize
        array = np.fromfile(self.path, dtype, (stop - start) * width, offset=offset)
        if self.type == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << 16).view(np.float32)
        return array.reshape(-1, *self.shape[1:])


# -- writing -------------------------------------------------------------------------------------


def write(whole: Whole, path: Path, tick: Tick, notes: Mapping[str, str] | None = None) -> None:
    """Write all points; ``notes`` are kept in the head."""
    shapes = _shapes(whole)
    head: dict[str, Any] = {
        "__metadata__": {_CONFIG: text_of_config(whole.config), **(notes or {})}
    }
    at = 0
    for name, (kind, shape) in shapes.items():
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(_TYPES[kind]).itemsize
        head[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)  # so that arrays are aligned
    file = AppendFile(path)
    try:
        file.append([struct.pack("<Q", len(text)), text])
        for name in shapes:
            for array in _arrays(whole, name, tick):
                file.append([array])
        file.sync()
    finally:
        file.close()


def _shapes(whole: Whole) -> dict[str, tuple[str, list[int]]]:
    """The arrays of the file, those of wider numbers first."""
    n = whole.count
    shapes: dict[str, tuple[str, list[int]]] = {}
    shapes["ids"] = ("U64", [n]) if whole.numbers else ("U8", [n, 36])
    for name, dim in whole.dims.items():
        if is_ragged(dim):
            pieces = whole.columns(ROWS, [name], with_payload=False)
            entries = sum(len(columns.vectors[name].values) for columns in pieces)
            parts = {"indices": [entries], "values": [entries]}
            if dim != SPARSE:
                parts = {"tokens": [entries, size_of(dim)]}
            for part, shape in {"indptr": [n + 1], **parts}.items():
                shapes[f"{part}_{column_of(name)}"] = _PARTS[part], shape
        else:
            shapes[column_of(name)] = "F32", [n, dim]
    for name in whole.dims:
        if name in whole.holes:
            shapes[_present(name)] = "BOOL", [n]
    if whole.with_payload:
        size = sum(len(line) for columns in whole.columns(ROWS, []) for line in _lines(columns))
        shapes["payload"] = "U8", [size]
    return shapes


def _arrays(whole: Whole, array: str, tick: Tick) -> Iterator[Any]:
    """The rows of one array, piece by piece."""
    if array == "payload":
        for columns in whole.columns(ROWS, []):
            yield b"".join(_lines(columns))
    elif array == "ids":
        for columns in whole.columns(ROWS, [], with_payload=False):
            tick(len(columns))
            yield array_of_ids(columns.ids, numbers=whole.numbers)
    else:
        part, column = ("", array) if array.startswith("vector") else array.split("_", 1)
        name = name_of(column)
        if part == "indptr":
            yield np.zeros(1, "<i8")
        before = 0
        for columns in whole.columns(ROWS, [name], with_payload=False):
            block = columns.vectors[name]
            if part == "present":
                yield block.flags()
            elif part == "indptr":
                assert not isinstance(block, VectorBlock)
                yield block.offsets[1:] + before
                before += len(block.values)
            elif part == "indices":
                assert isinstance(block, SparseBlock)
                yield np.ascontiguousarray(block.indices, _TYPES[_PARTS[part]])
            else:
                yield np.ascontiguousarray(block.values, _TYPES["F32"])


def _lines(columns: Columns) -> Iterator[bytes]:
    return (json_of(payload) + b"\n" for payload in columns.payloads or ())


def _present(name: str) -> str:
    return f"present_{column_of(name)}"


# -- reading -------------------------------------------------------------------------------------


class Safetensors:
    """The points of a file: every array of rows of floats is a vector."""

    def __init__(self, path: Path) -> None:
        """Read the head and compare it with the length of the file. Raises InvalidInputError."""
        self._path = path
        self.notes, self.tensors = read_head(path)
        text = self.notes.get(_CONFIG)
        self.config = None if text is None else config_of_text(text, str(path))
        self._ragged = _ragged_parts(self.tensors)
        self._vectors = {
            name_of(name): tensor
            for name, tensor in self.tensors.items()
            if _is_vector(tensor) and not any(tensor in parts for parts in self._ragged.values())
        }
        if not self._vectors and not self._ragged and "ids" not in self.tensors:
            raise InvalidInputError(f"{path}: expected an array of vectors, (n, dim), got none")
        self.dims = {name: tensor.shape[1] for name, tensor in self._vectors.items()}
        self.dims |= {name: _dim(parts) for name, parts in self._ragged.items()}
        others = ["ids", *map(_present, self.dims)]
        alike = [*self._vectors.values(), *(t for n, t in self.tensors.items() if n in others)]
        self.count = alike[0].shape[0] if alike else self._rows_of_ragged()
        for tensor in alike:
            if tensor.shape[0] != self.count:
                raise InvalidInputError(
                    f"{path}: expected as many rows of {tensor.name!r} as of {alike[0].name!r}, "
                    f"{self.count}, got {tensor.shape[0]}"
                )

        for indptr, *parts in self._ragged.values():
            if indptr.shape != (self.count + 1,) or len({part.shape for part in parts}) > 1:
                got = ", ".join(str(part.shape) for part in (indptr, *parts))
                raise InvalidInputError(
                    f"{path}: expected {self.count + 1} of {indptr.name!r} and as many "
                    f"{parts[0].name!r} as values, got {got}"
                )

    def _rows_of_ragged(self) -> int:
        return next(iter(self._ragged.values()))[0].shape[0] - 1

    @property
    def holes(self) -> set[str]:
        """Vector names that some points lack."""
        return {name for name in self.dims if _present(name) in self.tensors}

    @property
    def numbers(self) -> bool:
        """Whether all ids are integers."""
        return "ids" not in self.tensors or self.tensors["ids"].type != "U8"

    @property
    def with_payload(self) -> bool:
        """Whether it has payloads."""
        return "payload" in self.tensors

    def columns(
        self, rows: int, names: Sequence[str] | None = None, with_payload: bool = True
    ) -> Iterator[Columns]:
        """All points; without ids, they have the numbers of their rows."""
        payloads = self._payloads() if with_payload and self.with_payload else None
        for start in range(0, self.count, rows):
            stop = min(start + rows, self.count)
            vectors = {
                name: self._block(name, start, stop)
                for name in (self.dims if names is None else names)
            }
            some = None if payloads is None else [next(payloads) for _ in range(stop - start)]
            yield Columns(self._ids(start, stop), vectors, some)

    def _block(self, name: str, start: int, stop: int) -> Block:
        present = self.tensors.get(_present(name))
        has = None if present is None else present.rows(start, stop)
        if name in self._ragged:
            return self._ragged_block(name, start, stop, has)
        values = floats(self._vectors[name].rows(start, stop))
        return VectorBlock(values) if has is None else VectorBlock.of(values, has)

    def _ragged_block(self, name: str, start: int, stop: int, has: Any) -> Ragged:
        indptr, *parts = self._ragged[name]
        entries = parts[-1].shape[0]
        bounds = indptr.rows(start, stop + 1).astype(np.int64)
        first, last = int(bounds[0]), int(bounds[-1])
        where = f"in rows {start} to {stop - 1}"
        if (bounds[1:] < bounds[:-1]).any() or first < 0 or last > entries:
            raise InvalidInputError(
                f"{self._path}: {indptr.name!r}: expected rising numbers up to {entries} {where}"
            )
        values, offsets = floats(parts[-1].rows(first, last)), bounds - first
        if len(parts) == 1:
            return MultiBlock(offsets, values, has)
        places = parts[0].rows(first, last)
        if not ascend(offsets, places):
            raise InvalidInputError(
                f"{self._path}: {parts[0].name!r}: expected the indices of each row to rise {where}"
            )
        return SparseBlock(offsets, places, values, has)

    def _ids(self, start: int, stop: int) -> list[PointId]:
        ids = self.tensors.get("ids")
        if ids is None:
            return list(range(start, stop))
        array = ids.rows(start, stop)
        if array.ndim == 2:  # text, a row of bytes each
            array = np.ascontiguousarray(array).view(f"S{array.shape[1]}")[:, 0]
        return ids_of_array(array, f"{self._path}: ids")

    def _payloads(self) -> Iterator[Payload | None]:
        tensor = self.tensors["payload"]
        with open(self._path, "rb") as file:
            file.seek(tensor.start)
            for row in range(self.count):
                line = file.readline()
                if file.tell() > tensor.start + tensor.shape[0]:
                    raise InvalidInputError(f"{self._path}: expected a payload a row, got {row}")
                yield payload_of(line, f"{self._path}: row {row}")


def _ragged_parts(tensors: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
    """The arrays of vectors of unequal length, by the names of these: where rows begin, indices and
    values of sparse ones, tokens of multivectors."""
    found = {}
    for array, indptr in tensors.items():
        part, _, column = array.partition("_")
        if part != "indptr" or not column.startswith("vector") or len(indptr.shape) != 1:
            continue
        for kinds in (("indices", "values"), ("tokens",)):
            parts = [tensors.get(f"{kind}_{column}") for kind in kinds]
            several = [part for part in parts if part is not None]
            if len(several) == len(kinds) and all(map(_is_part, several)):
                found[name_of(column)] = [indptr, *several]
    return found


def _is_part(tensor: Tensor) -> bool:
    return len(tensor.shape) == 2 if tensor.name.startswith("tokens_") else len(tensor.shape) == 1


def _dim(parts: Sequence[Tensor]) -> int:
    """What stands for the dimension of these vectors (`vecdb.vectors.datatypes`)."""
    return SPARSE if len(parts) > 2 else many_of(parts[-1].shape[1])


def _is_vector(tensor: Tensor) -> bool:
    return tensor.name not in _NOT_VECTORS and len(tensor.shape) == 2 and tensor.shape[1] > 0


def read_head(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The notes of a file and its arrays by name. Raises InvalidInputError."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else _MAX_HEAD + 1
        if length > min(_MAX_HEAD, size - 8):
            raise InvalidInputError(
                f"{path}: is no safetensors file, or it was cut off in its head"
            )
        text = file.read(length)
    try:
        head = json.loads(text)
        notes = head.pop("__metadata__", {})
        tensors = {name: _tensor(path, name, said, 8 + length) for name, said in head.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInputError(f"{path}: is no safetensors file: {error!r}") from None
    for tensor in tensors.values():
        if tensor.type not in _TYPES:
            raise InvalidInputError(
                f"{path}: {tensor.name!r} is of {tensor.type}, which is not known"
            )
        width = np.dtype(_TYPES[tensor.type]).itemsize
        end = tensor.start + int(np.prod(tensor.shape, dtype=np.int64)) * width
        if end > size:
            raise InvalidInputError(
                f"{path}: expected {end} bytes up to {tensor.name!r}, got {size}"
            )
    return dict(notes), tensors


def _tensor(path: Path, name: str, said: dict[str, Any], base: int) -> Tensor:
    shape = tuple(int(n) for n in said["shape"])
    start, end = said["data_offsets"]
    if min((*shape, start, end - start)) < 0:
        raise ValueError(f"{name!r} has a shape or place below zero")
    return Tensor(path, name, str(said["dtype"]), shape, base + start)
