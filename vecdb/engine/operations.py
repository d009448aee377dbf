"""Operations: what the WAL records and the memory segment applies.

An operation is complete: filters were resolved to ids and vectors checked before it was made, so
applying it to the state it was made for cannot fail, and replaying it gives the same state again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vecdb import ids
from vecdb.storage.format import DamageError, pack_blocks, unpack_blocks

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Keys = list[int]


@dataclass(slots=True)
class Upsert:
    """Whole new rows for distinct keys. ``vectors`` holds every name of the collection."""

    keys: Keys
    payloads: list[bytes]
    vectors: dict[str, Floats]
    absent: dict[str, Flags] = field(default_factory=dict)


@dataclass(slots=True)
class Delete:
    """These points are gone; unknown ones are ignored."""

    keys: Keys


@dataclass(slots=True)
class EditPayload:
    """Change the payload of existing points.

    ``set`` merges ``payload`` into the object at ``path`` ('' is the top), ``overwrite`` replaces
    all, ``delete`` removes the ``paths``, ``clear`` removes all.
    """

    keys: Keys
    mode: Literal["set", "overwrite", "delete", "clear"]
    payload: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    paths: list[str] = field(default_factory=list)


@dataclass(slots=True)
class EditVectors:
    """Give existing points new vectors of some names; flagged rows keep what they have."""

    keys: Keys
    vectors: dict[str, Floats]
    absent: dict[str, Flags] = field(default_factory=dict)


@dataclass(slots=True)
class DropVectors:
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
        meta["vectors"] = [[name, block.shape[1]] for name, block in operation.vectors.items()]
        meta["absent"] = list(operation.absent)
        blocks += [block.astype("<f4", copy=False) for block in operation.vectors.values()]
        blocks += [flags.view(np.uint8) for flags in operation.absent.values()]
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
        return _decode(meta, blocks)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DamageError(f"not a valid operation: {error!r}") from None


def _decode(meta: dict[str, Any], blocks: list[memoryview]) -> Operation:
    array = np.frombuffer(blocks[0], dtype="<u8")
    keys = ids.from_array(array.reshape(-1, 2) if meta["wide"] else array)
    match meta["op"]:
        case "Upsert":
            ends = np.cumsum(np.frombuffer(blocks[1], dtype="<u4"), dtype=np.int64).tolist()
            joined = bytes(blocks[2])
            starts = [0, *ends[:-1]]
            payloads = [joined[a:b] for a, b in zip(starts, ends, strict=True)]
            vectors, absent = _decode_vectors(meta, blocks[3:], len(keys))
            return Upsert(keys, payloads, vectors, absent)
        case "EditVectors":
            vectors, absent = _decode_vectors(meta, blocks[1:], len(keys))
            return EditVectors(keys, vectors, absent)
        case "Delete":
            return Delete(keys)
        case "EditPayload":
            return EditPayload(keys, meta["mode"], meta["payload"], meta["path"], meta["paths"])
        case "DropVectors":
            return DropVectors(keys, meta["names"])
        case unknown:
            raise DamageError(f"unknown operation {unknown!r}")


def _decode_vectors(
    meta: dict[str, Any], blocks: list[memoryview], rows: int
) -> tuple[dict[str, Floats], dict[str, Flags]]:
    vectors = {
        name: np.frombuffer(block, dtype="<f4").reshape(rows, dim)
        for (name, dim), block in zip(meta["vectors"], blocks, strict=False)
    }
    absent = {
        name: np.frombuffer(block, dtype=np.bool_)
        for name, block in zip(meta["absent"], blocks[len(vectors) :], strict=True)
    }
    return vectors, absent
