"""Operations: what the WAL records and the memory segment applies.

An operation is complete: filters were resolved to ids and vectors checked before it was made, so
applying it to the state it was made for cannot fail, and replaying it gives the same state again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from vecdb import ids
from vecdb.engine.schema import Schema
from vecdb.errors import InvalidInputError
from vecdb.storage.format import MAX_PAYLOAD, DamageError, pack_blocks, unpack_blocks
from vecdb.vectors.block import VectorBlock
from vecdb.vectors.blocks import Block, none_of
from vecdb.vectors.datatypes import (
    INDICES,
    SPARSE,
    STORED,
    bytes_per_vector,
    is_multi,
    size_of,
)
from vecdb.vectors.multi import MultiBlock
from vecdb.vectors.ragged import offsets_of
from vecdb.vectors.sparse import SparseBlock, ascend

Keys = list[int]


class Upsert(Struct):
    """Whole new rows for distinct keys. ``vectors`` holds every name of the collection."""

    keys: Keys
    payloads: list[bytes]
    vectors: dict[str, Block]
    schema: Schema | None = None
    """What the vectors were checked against; None: what is so in the state that it applies to."""


class Delete(Struct):
    """These points are gone; unknown ones are ignored."""

    keys: Keys


class EditPayload(Struct):
    """Change the payload of existing points.

    ``set`` merges ``payload`` into the object at ``path`` ('' is the top), ``overwrite`` replaces
    all, ``delete`` removes the ``paths``, ``clear`` removes all.
    """

    keys: Keys
    mode: Literal["set", "overwrite", "delete", "clear"]
    payload: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    paths: list[str] = field(default_factory=list)


class EditVectors(Struct):
    """Give existing points new vectors of some names; those that a block has none for keep what
    they have."""

    keys: Keys
    vectors: dict[str, Block]
    schema: Schema | None = None
    """As of an ``Upsert``."""


class DropVectors(Struct):
    """Take the vectors of these names from existing points."""

    keys: Keys
    names: list[str]


Operation = Upsert | Delete | EditPayload | EditVectors | DropVectors


def encode(operation: Operation) -> list[Any]:
    """The buffers of an operation; large arrays are passed on, not copied."""
    array = ids.to_array(operation.keys)
    meta: dict[str, Any] = {"op": type(operation).__name__, "wide": array.ndim == 2}
    blocks: list[Any] = [array.astype("<u8", copy=False)]
    if isinstance(operation, Upsert):
        lengths = np.fromiter(map(len, operation.payloads), np.uint32, len(operation.payloads))
        blocks += [lengths.astype("<u4", copy=False), b"".join(operation.payloads)]
    if isinstance(operation, (Upsert, EditVectors)):
        given = operation.vectors
        flagged = {name: block.has for name, block in given.items() if block.has is not None}
        meta["vectors"] = [[name, block.dim] for name, block in given.items()]
        meta["absent"] = list(flagged)
        for block in given.values():
            if not isinstance(block, VectorBlock):
                blocks.append(block.sizes.astype("<u4"))
            if isinstance(block, SparseBlock):
                blocks.append(block.indices.astype(INDICES, copy=False))
            blocks.append(block.values.astype(STORED, copy=False))
        blocks += [(~has).view(np.uint8) for has in flagged.values()]
    elif isinstance(operation, EditPayload):
        meta |= {
            "mode": operation.mode,
            "payload": operation.payload,
            "path": operation.path,
            "paths": operation.paths,
        }
    elif isinstance(operation, DropVectors):
        meta["names"] = operation.names
    return pack_blocks(meta, blocks)


def decode(data: memoryview) -> Operation:
    """The operation; its arrays are views of ``data``. Raises DamageError."""
    meta, blocks = unpack_blocks(data)
    try:
        return _decode(meta, deque(blocks))
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DamageError(f"not a valid operation: {error!r}") from None


def require_fit(operation: Operation, dims: Mapping[str, int]) -> None:
    """Raise DamageError for an operation that does not fit a collection with these vectors."""
    names = set(dims)
    if isinstance(operation, (Upsert, EditVectors)):
        given = {name: block.dim for name, block in operation.vectors.items()}
        if isinstance(operation, Upsert) and set(given) != names:
            raise DamageError(f"vectors {sorted(given)}, expected {sorted(names)}")
        if not given.items() <= dims.items():
            raise DamageError(f"vectors of dimensions {given}, expected {dict(dims)}")
    elif isinstance(operation, DropVectors) and not set(operation.names) <= names:
        raise DamageError(f"vectors {operation.names}, expected some of {sorted(names)}")


def fitted(operation: Operation, schema: Schema) -> Operation:
    """The operation as one of a collection that has these vectors now: names may have come or gone
    since it was made. Raises InvalidInputError for vectors of one that is gone, or is another now.
    """
    if isinstance(operation, (Upsert, EditVectors)):
        if operation.schema is schema:
            return operation
        given = operation.vectors
        gone = [name for name in given if not _is_meant(name, operation, schema)]
        if any(given[name].flags().any() for name in gone):
            raise InvalidInputError(f"vectors {gone} have been taken from the collection meanwhile")
        kept = {n: block for n, block in given.items() if n not in gone}
        if isinstance(operation, Upsert) and (gone or len(given) != len(schema)):
            rows = len(operation.keys)
            none = {n: none_of(rows, vector.dim) for n, vector in schema.items()}
            return Upsert(operation.keys, operation.payloads, none | kept, schema)
        if isinstance(operation, EditVectors) and gone:
            return EditVectors(operation.keys, kept, schema)
    elif isinstance(operation, DropVectors) and not schema.keys() >= set(operation.names):
        known = sorted(schema)
        raise InvalidInputError(f"vectors {operation.names}: the collection has {known} now")
    return operation


def _is_meant(name: str, operation: Upsert | EditVectors, schema: Schema) -> bool:
    """Whether a vector name is still what the operation was made for. Another of the same name has
    another dimension, or a distance or datatype for which vectors may be kept in another form."""
    vector = schema.get(name)
    if vector is None or vector.dim != operation.vectors[name].dim:
        return False
    if operation.schema is None:
        return True
    checked = operation.schema[name]
    return (vector.distance, vector.datatype) == (checked.distance, checked.datatype)


def _decode(meta: dict[str, Any], blocks: deque[memoryview]) -> Operation:
    keys = _decode_keys(meta["wide"], blocks.popleft())
    operation: Operation
    match meta["op"]:
        case "Upsert":
            payloads = _decode_payloads(blocks.popleft(), blocks.popleft(), len(keys))
            operation = Upsert(keys, payloads, _decode_vectors(meta, blocks, len(keys)))
        case "EditVectors":
            operation = EditVectors(keys, _decode_vectors(meta, blocks, len(keys)))
        case "Delete":
            operation = Delete(keys)
        case "EditPayload":
            payload, path, paths = meta["payload"], meta["path"], _texts(meta["paths"])
            _require(isinstance(payload, dict) and isinstance(path, str), "payload or path")
            _require(meta["mode"] in ("set", "overwrite", "delete", "clear"), "mode")
            operation = EditPayload(keys, meta["mode"], payload, path, paths)
        case "DropVectors":
            operation = DropVectors(keys, _texts(meta["names"]))
        case unknown:
            raise DamageError(f"unknown operation {unknown!r:.60}")
    _require(not blocks, "number of arrays")
    return operation


def _require(fact: bool, what: str) -> None:
    if not fact:
        raise DamageError(f"not a valid operation: {what}")


def _texts(value: Any) -> list[str]:
    _require(isinstance(value, list) and all(isinstance(text, str) for text in value), "names")
    return value  # type: ignore[no-any-return]


def _decode_keys(wide: bool, block: memoryview) -> Keys:
    array = np.frombuffer(block, dtype="<u8")
    _require(isinstance(wide, bool), "width of the keys")
    keys = ids.from_array(array.reshape(-1, 2) if wide else array)
    _require(len(set(keys)) == len(keys), "a key twice")
    return keys


def _decode_payloads(lengths: memoryview, joined: memoryview, rows: int) -> list[bytes]:
    sizes = np.frombuffer(lengths, dtype="<u4")
    ends = np.cumsum(sizes, dtype=np.int64).tolist()
    _require(len(ends) == rows and (ends[-1] if ends else 0) == len(joined), "payload lengths")
    _require(int(sizes.max(initial=0)) <= MAX_PAYLOAD, "a payload too long")
    data = bytes(joined)
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _decode_vectors(meta: dict[str, Any], blocks: deque[memoryview], rows: int) -> dict[str, Block]:
    """Takes the arrays it uses off ``blocks``."""
    vectors: dict[str, Block] = {}
    for name, dim in meta["vectors"]:
        _require(isinstance(name, str) and type(dim) is int, "vector names")
        _require(name not in vectors, "a vector name twice")
        if dim == SPARSE:
            vectors[name] = _decode_sparse(blocks, rows)
        elif is_multi(dim):
            vectors[name] = _decode_multi(blocks, rows, size_of(dim))
        else:
            vectors[name] = _decode_dense(blocks.popleft(), rows, dim)
    for name in _texts(meta["absent"]):
        absent = np.frombuffer(blocks.popleft(), dtype=np.uint8)
        _require(name in vectors and vectors[name].has is None, "absent vectors")
        _require(len(absent) == rows and not (absent > 1).any(), "absent vectors")
        vectors[name] = replace(vectors[name], has=absent == 0)
    for block in vectors.values():
        if isinstance(block, MultiBlock):
            _require(
                bool(((block.sizes > 0) == block.flags()).all()), "multivectors without vectors"
            )
    return vectors


def _decode_dense(block: memoryview, rows: int, dim: int) -> VectorBlock:
    _require(len(block) == rows * bytes_per_vector(dim), "size of an array")
    values = np.frombuffer(block, dtype=STORED).reshape(rows, dim)
    _require(bool(np.isfinite(values).all()), "values that are not finite")
    return VectorBlock(values)


def _decode_sparse(blocks: deque[memoryview], rows: int) -> SparseBlock:
    sizes = np.frombuffer(blocks.popleft(), dtype="<u4")
    indices = np.frombuffer(blocks.popleft(), dtype=INDICES)
    values = np.frombuffer(blocks.popleft(), dtype=STORED)
    offsets = offsets_of(sizes)
    _require(len(sizes) == rows and offsets[-1] == len(indices) == len(values), "size of an array")
    _require(bool(np.isfinite(values).all()), "values that are not finite")
    _require(ascend(offsets, indices), "indices that do not ascend")
    return SparseBlock(offsets, indices, values)


def _decode_multi(blocks: deque[memoryview], rows: int, size: int) -> MultiBlock:
    sizes = np.frombuffer(blocks.popleft(), dtype="<u4")
    values = np.frombuffer(blocks.popleft(), dtype=STORED)
    offsets = offsets_of(sizes)
    _require(len(sizes) == rows and offsets[-1] * size == len(values), "size of an array")
    _require(bool(np.isfinite(values).all()), "values that are not finite")
    return MultiBlock(offsets, values.reshape(-1, size))
