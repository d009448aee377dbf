"""Columns: a number of points as arrays, the unit in which points are exchanged; and their sources.

A file that is read is a `Source`. What is written is a `Whole`: a source of which all is known
before the first row is read, as most formats have to say it in their head.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb.errors import InvalidInputError
from vecdb.models import (
    Batch,
    CollectionConfig,
    CollectionParams,
    Payload,
    Record,
    SparseVector,
    VectorParams,
    coerce,
)
from vecdb.vectors import to_multi, to_sparse
from vecdb.vectors.block import Floats, VectorBlock
from vecdb.vectors.blocks import Block, Ragged
from vecdb.vectors.datatypes import SPARSE, is_ragged, many_of, size_of
from vecdb.vectors.multi import MultiBlock
from vecdb.vectors.sparse import SparseBlock

PointId = int | str
Tick = Callable[[int], None]
"""Told how many more rows are done."""

ROWS = 4096
"""How many points are in memory at a time, where nothing else decides it."""
_ID_BYTES = 36  # of a UUID as text


class Columns(Struct):
    """Points, one a row."""

    ids: list[PointId]
    vectors: Mapping[str, Block]
    payloads: list[Payload | None] | None = None
    """None: there are none, or they were not wanted."""

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self) -> Batch:
        """The points as ``upsert`` takes them."""
        vectors = {name: _with_holes(block) for name, block in self.vectors.items()}
        return Batch(ids=self.ids, vectors=vectors, payloads=self.payloads)


def _with_holes(block: Block) -> Any:
    """An array, or a list of vectors of unequal length; a list with None in the rows without a
    vector, if there are any."""
    if not isinstance(block, VectorBlock):
        return ragged_rows(block)
    if block.has is None:
        return block.values
    return [row if has else None for row, has in zip(block.values, block.has, strict=True)]


def ragged_rows(block: Ragged) -> list[Any]:
    """The sparse vectors or multivectors of a block, row by row; None where there is none."""
    rows: list[Any] = []
    for row, has in enumerate(block.flags().tolist()):
        if not has:
            rows.append(None)
        elif isinstance(block, MultiBlock):
            rows.append(block.row(row))
        else:
            indices, values = block.row(row)
            rows.append(SparseVector(indices=indices, values=values))
    return rows


class Source(Protocol):
    """What points come from: a file that was opened and looked at."""

    @property
    def count(self) -> int | None:
        """How many points; None: nobody knows before the end."""

    @property
    def dims(self) -> dict[str, int]:
        """What stands for the dimension of each name, as ``dims_of`` has it."""

    @property
    def config(self) -> CollectionConfig | None:
        """That of the collection that was exported; None: it is another program's file."""

    def columns(
        self, rows: int, names: Sequence[str] | None = None, with_payload: bool = True
    ) -> Iterator[Columns]:
        """All points in their order, at most ``rows`` at a time; of the vectors those of some names
        only, if given. Raises InvalidInputError at what cannot be read."""


class Whole(Protocol):
    """What a file is written from: all that it says in its head is known."""

    @property
    def count(self) -> int:
        """How many points."""

    @property
    def dims(self) -> dict[str, int]:
        """What stands for the dimension of each name, as ``dims_of`` has it."""

    @property
    def config(self) -> CollectionConfig:
        """That of the collection, with these vectors."""

    @property
    def numbers(self) -> bool:
        """Whether all ids are integers."""

    @property
    def holes(self) -> set[str]:
        """Vector names that some points lack."""

    @property
    def with_payload(self) -> bool:
        """Whether payloads are wanted."""

    def columns(
        self, rows: int, names: Sequence[str] | None = None, with_payload: bool = True
    ) -> Iterator[Columns]:
        """As of a source."""


def columns_of(records: Sequence[Record], dims: dict[str, int], *, with_payload: bool) -> Columns:
    """What ``scroll`` returned, as arrays."""
    vectors: dict[str, Block] = {}
    for name, dim in dims.items():
        given = [_vector(record, name) for record in records]
        if is_ragged(dim):
            vectors[name] = ragged_block(given, dim, [name] * len(given))
            continue
        some = np.array([each for each in given if each is not None], dtype=np.float32)
        has = np.array([each is not None for each in given], dtype=np.bool_)
        vectors[name] = block_of(some.reshape(-1, dim), has)
    payloads = [record.payload for record in records] if with_payload else None
    ids: list[Any] = [record.id for record in records]  # canonical, as they come back
    return Columns(ids, vectors, payloads)


def block_of(some: Any, has: npt.NDArray[np.bool_]) -> VectorBlock:
    """A block of the vectors of the rows that have one."""
    return VectorBlock(some) if has.all() else VectorBlock.of_some(some, has)


def ragged_block(given: Sequence[Any], dim: int, what: Sequence[str]) -> Ragged:
    """A block of sparse vectors or multivectors, as ``dim`` says, None where there is none.
    ``what`` each is, in errors. Raises InvalidInputError."""
    has = np.array([each is not None for each in given], dtype=np.bool_)
    named = [(each, name) for each, name in zip(given, what, strict=True) if each is not None]
    some, names = [each for each, _ in named], [name for _, name in named]
    if dim == SPARSE:
        return ragged_of(to_sparse(some, names), has)
    return ragged_of(to_multi(some, size_of(dim), normalize=False, what=names), has)


def ragged_of(some: Ragged, has: npt.NDArray[np.bool_]) -> Ragged:
    """A block of the vectors of the rows that have one."""
    if has.all():
        return some
    if isinstance(some, SparseBlock):
        return SparseBlock.of_some(some, has)
    return MultiBlock.of_some(some, has)


def _vector(record: Record, name: str) -> Any:
    """The vector of a name, as it was returned; None: the point has none."""
    vector: Any = record.vector
    if isinstance(vector, dict):
        return vector.get(name)
    return None if name else vector


# -- ids -----------------------------------------------------------------------------------------


def array_of_ids(ids: Sequence[PointId], *, numbers: bool) -> npt.NDArray[Any]:
    """``uint64 (n,)`` if all ids of the file are numbers, else text: ``S36 (n,)``."""
    if numbers:
        return np.array(ids, dtype=np.uint64)
    return np.array([str(each).encode() for each in ids], dtype=f"S{_ID_BYTES}")


def ids_of_array(array: npt.NDArray[Any], what: str) -> list[PointId]:
    """Ids from an array of integers or of text. Raises InvalidInputError."""
    if array.ndim == 1 and array.dtype.kind in "ui":
        return array.tolist()  # type: ignore[no-any-return]
    if array.ndim == 1 and array.dtype.kind in "SUO":
        texts = (
            t.decode("ascii", "replace") if isinstance(t, bytes) else t for t in array.tolist()
        )
        return [id_of_text(text) for text in texts]
    raise InvalidInputError(
        f"{what}: expected integers or UUIDs in one dimension, got {array.dtype} of shape "
        f"{array.shape}"
    )


def id_of_text(text: Any) -> PointId:
    """An integer that was written as text, or what was written."""
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else text


# -- names ---------------------------------------------------------------------------------------


def column_of(name: str) -> str:
    """What the vectors of a name are called in a file."""
    return f"vector_{name}" if name else "vector"


def name_of(column: str) -> str:
    """The vector name that a column of a file is for."""
    return "" if column == "vector" else column.removeprefix("vector_")


# -- configurations ------------------------------------------------------------------------------


def vector_params(config: CollectionConfig) -> dict[str, VectorParams]:
    """The dense vectors of a collection by name; the unnamed one's is empty."""
    vectors = config.params.vectors
    return {"": vectors} if isinstance(vectors, VectorParams) else dict(vectors)


def dims_of(config: CollectionConfig) -> dict[str, int]:
    """What stands for the dimension of each name (`vecdb.vectors.datatypes`): how many numbers
    dense vectors have, ``SPARSE``, or ``many_of`` so many."""
    dims = {
        name: params.size if params.multivector_config is None else many_of(params.size)
        for name, params in vector_params(config).items()
    }
    return dims | dict.fromkeys(config.params.sparse_vectors or (), SPARSE)


def config_with(config: CollectionConfig, names: Sequence[str]) -> CollectionConfig:
    """The same configuration with the vectors of some names only."""
    dense, sparse = vector_params(config), config.params.sparse_vectors or {}
    vectors = {name: dense[name] for name in names if name in dense}
    params = CollectionParams(
        vectors=vectors[""] if list(vectors) == [""] else vectors,
        on_disk_payload=config.params.on_disk_payload,
        payload=config.params.payload,
        id_tracker=config.params.id_tracker,
        sparse_vectors={name: sparse[name] for name in names if name in sparse} or None,
    )
    return msgspec.structs.replace(config, params=params)


def text_of_config(config: CollectionConfig) -> str:
    """A configuration as JSON, for the head of a file or a file beside it."""
    return msgspec.json.encode(config).decode()


def config_of_text(text: str | bytes, what: str) -> CollectionConfig:
    """The configuration that ``text_of_config`` wrote. Raises InvalidInputError."""
    try:
        return coerce(CollectionConfig, json.loads(text), "config")
    except ValueError as error:
        raise InvalidInputError(
            f"{what}: the configuration of the collection in it cannot be read: {error}"
        ) from None


# -- payloads ------------------------------------------------------------------------------------


def json_of(payload: Payload | None) -> bytes:
    """A payload as JSON, without a line break."""
    return msgspec.json.encode(payload or {})


def json_error(error: ValueError) -> str:
    """What is wrong with a text that is to be JSON, by its character: the reader calls each text
    line 1, and whoever calls this knows the line."""
    if isinstance(error, json.JSONDecodeError):
        return f"is no JSON: {error.msg} at character {error.pos + 1}"
    return f"is no JSON: {error}" if isinstance(error, UnicodeError) else str(error)


def payload_of(text: str | bytes, where: str) -> Payload | None:
    """A payload from its JSON: an object, or null. Raises InvalidInputError."""
    try:
        payload = json.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"{where}: the payload {json_error(error)}") from None
    if payload is not None and not isinstance(payload, dict):
        raise InvalidInputError(f"{where}: expected a JSON object as payload, got {payload!r:.60}")
    return payload


def floats(array: npt.NDArray[Any]) -> Floats:
    """Any numbers in any order of bytes, as what a block holds. What float32 cannot hold becomes an
    infinity, which is refused by whoever takes it."""
    with np.errstate(over="ignore"):
        return np.array(array, dtype=np.float32, order="C")


def must_be_matrix(shape: tuple[int, ...], where: str) -> tuple[int, int]:
    """Rows and dimension of an array that is to be vectors. Raises InvalidInputError."""
    if len(shape) != 2 or not shape[1]:
        raise InvalidInputError(f"{where}: expected rows of vectors, (n, dim), got shape {shape}")
    return shape[0], shape[1]


def must_be_numbers(dtype: np.dtype[Any], where: str) -> None:
    """Raise InvalidInputError unless an array is of integers or floats."""
    if dtype.kind not in "fiu":
        raise InvalidInputError(f"{where}: expected numbers, got {dtype}")


def source_error(path: Path, error: Exception) -> InvalidInputError:
    """What a library says of a file that it cannot read, by the name of the file."""
    return InvalidInputError(f"{path}: cannot be read: {error}")
