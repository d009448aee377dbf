"""Parquet, as data frames and analytical databases read it.

A column ``id``, one for each vector name (``vector``, or ``vector_<name>``): lists of one length,
or of sparse vectors structs of the lists ``indices`` and ``values``, or of multivectors lists of
such lists; and ``payload``: JSON. In files of others every column of equally long lists of floats
is a vector, and what is neither vector nor id is a key of the payload.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from vecdb.errors import InvalidInputError
from vecdb.exchange.columns import (
    Columns,
    PointId,
    Tick,
    Whole,
    block_of,
    column_of,
    config_of_text,
    floats,
    id_of_text,
    json_of,
    name_of,
    payload_of,
    ragged_block,
    source_error,
    text_of_config,
)
from vecdb.exchange.extras import library
from vecdb.models import Payload
from vecdb.storage.fs import AppendFile
from vecdb.vectors.block import VectorBlock
from vecdb.vectors.blocks import Block
from vecdb.vectors.datatypes import (
    SPARSE,
    bytes_per_vector,
    is_multi,
    is_ragged,
    many_of,
    size_of,
)
from vecdb.vectors.multi import MultiBlock
from vecdb.vectors.sparse import SparseBlock

_CONFIG = b"vecdb"
_GROUP_ROWS = 32_768  # that are compressed together, and read together
_GROUP_BYTES = 16 << 20  # of their vectors


class _File(io.RawIOBase):
    """A new file as the library writes to it."""

    def __init__(self, file: AppendFile) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._file.append([data])
        return memoryview(data).nbytes

    def tell(self) -> int:
        return self._file.length


def write(whole: Whole, path: Path, tick: Tick) -> None:
    """Write all points, a group of rows after the other."""
    pa = library("pyarrow", "arrow")
    parquet = library("pyarrow.parquet", "arrow")
    fields = [pa.field("id", pa.uint64() if whole.numbers else pa.string(), nullable=False)]
    for name, dim in whole.dims.items():
        fields.append(pa.field(column_of(name), type_of(pa, dim)))
    if whole.with_payload:
        fields.append(pa.field("payload", pa.string()))
    schema = pa.schema(fields, metadata={_CONFIG: text_of_config(whole.config)})
    rows = max(
        1, min(_GROUP_ROWS, _GROUP_BYTES // (sum(map(bytes_per_vector, whole.dims.values())) or 1))
    )
    file = AppendFile(path)
    try:
        # Vectors repeat nothing: a dictionary of them would be a second copy.
        with parquet.ParquetWriter(
            _File(file), schema, compression="zstd", use_dictionary=False
        ) as writer:
            for columns in whole.columns(rows):
                writer.write_table(pa.table(_arrays(pa, whole, columns), schema))
                tick(len(columns))
        file.sync()
    finally:
        file.close()


def _arrays(pa: Any, whole: Whole, columns: Columns) -> list[Any]:
    ids = columns.ids if whole.numbers else list(map(str, columns.ids))
    arrays = [pa.array(ids, pa.uint64() if whole.numbers else pa.string())]
    for name, dim in whole.dims.items():
        block = columns.vectors[name]
        absent = None if block.has is None else pa.array(~block.has)
        if isinstance(block, MultiBlock):
            tokens = pa.FixedSizeListArray.from_arrays(
                pa.array(block.values.reshape(-1)), size_of(dim)
            )
            offsets = pa.array(block.offsets.astype(np.int32), mask=_absent_offsets(block.has))
            arrays.append(pa.ListArray.from_arrays(offsets, tokens))
            continue
        if isinstance(block, SparseBlock):
            offsets = pa.array(block.offsets.astype(np.int32))
            parts = [
                pa.ListArray.from_arrays(offsets, pa.array(numbers))
                for numbers in (block.indices, block.values)
            ]
            fields = [type_of(pa, SPARSE).field(n) for n in range(2)]
            arrays.append(pa.StructArray.from_arrays(parts, fields=fields, mask=absent))
            continue
        values = pa.array(block.values.reshape(-1))
        arrays.append(pa.FixedSizeListArray.from_arrays(values, dim, mask=absent))
    if whole.with_payload:
        arrays.append(pa.array([json_of(each).decode() for each in columns.payloads or ()]))
    return arrays


def type_of(pa: Any, dim: int) -> Any:
    """The type of a column of vectors, by what stands for their dimension."""
    if dim == SPARSE:
        return pa.struct([("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))])
    of_one = pa.list_(pa.float32(), size_of(dim))
    return pa.list_(of_one) if is_multi(dim) else of_one


def _absent_offsets(has: Any) -> Any:
    """Which offsets say that a list is null: that of the row itself; there is one offset more."""
    return None if has is None else np.append(~has, False)


class Parquet:
    """The points of a file."""

    def __init__(self, path: Path) -> None:
        """Read the head: which columns are vectors, and how long. Raises
        InvalidInputError."""
        self._pa = library("pyarrow", "arrow")
        self._compute = library("pyarrow.compute", "arrow")
        parquet = library("pyarrow.parquet", "arrow")
        self._path = path
        try:
            self._file = parquet.ParquetFile(path)
        except (self._pa.ArrowException, OSError) as error:
            raise source_error(path, error) from None
        self.count = self._file.metadata.num_rows
        schema = self._file.schema_arrow
        text = (schema.metadata or {}).get(_CONFIG)
        self.config = None if text is None else config_of_text(text, str(path))
        self._columns = schema.names
        self._vectors = self._found_vectors(schema)
        if self.config is None and len(self._vectors) == 1:  # the only one needs no name
            self._vectors = {"": next(iter(self._vectors.values()))}
        ragged = {f.name: dim for f in schema if (dim := self._ragged_dim(f)) is not None}
        self._vectors |= {name_of(column): column for column in ragged}
        if not self._vectors and "id" not in self._columns:
            raise InvalidInputError(
                f"{path}: expected a column of lists of floats, got {', '.join(self._columns)}"
            )
        self.dims = {
            name: ragged[column] if column in ragged else self._dim(column)
            for name, column in self._vectors.items()
        }

    def _found_vectors(self, schema: Any) -> dict[str, str]:
        """Columns of lists by the names of their vectors; if some lists are all of one length by
        their type, those."""
        types = self._pa.types
        for kinds in ([types.is_fixed_size_list], [types.is_list, types.is_large_list]):
            found = {
                name_of(field.name): field.name
                for field in schema
                if any(kind(field.type) for kind in kinds)
                and types.is_floating(field.type.value_type)
            }
            if found:
                return found
        return {}

    def _ragged_dim(self, field: Any) -> int | None:
        """What stands for the dimension of a column of sparse vectors or multivectors; None: it is
        of neither."""
        types, kind = self._pa.types, field.type
        if self._is_sparse(kind):
            return SPARSE
        if not (types.is_list(kind) or types.is_large_list(kind)):
            return None
        of_one = kind.value_type
        lists = types.is_fixed_size_list, types.is_list, types.is_large_list
        if not any(is_one(of_one) for is_one in lists) or not types.is_floating(of_one.value_type):
            return None
        return many_of(self._dim(field.name))

    def _is_sparse(self, kind: Any) -> bool:
        """Whether a column is of structs of indices and values."""
        types = self._pa.types
        if not types.is_struct(kind) or {f.name for f in kind} != {"indices", "values"}:
            return False
        indices, values = kind.field("indices").type, kind.field("values").type
        lists = [types.is_list(each) or types.is_large_list(each) for each in (indices, values)]
        return all(lists) and types.is_integer(indices.value_type)

    def _is_text(self, kind: Any) -> bool:
        types = self._pa.types
        return bool(types.is_string(kind) or types.is_large_string(kind))

    def _dim(self, column: str) -> int:
        """The length of the first vector of a column."""
        kind = self._file.schema_arrow.field(column).type
        if self._pa.types.is_nested(kind.value_type):  # of a multivector
            kind = kind.value_type
        if self._pa.types.is_fixed_size_list(kind):
            return int(kind.list_size)
        for batch in self._file.iter_batches(1024, columns=[column]):
            for vector in batch.column(0).to_pylist():
                while vector and isinstance(vector[0], list):
                    vector = vector[0]
                if vector:
                    return len(vector)
        raise InvalidInputError(f"{self._path}: no row has a vector in {column!r}")

    def columns(
        self, rows: int, names: Sequence[str] | None = None, with_payload: bool = True
    ) -> Iterator[Columns]:
        """All points; without ids, they have the numbers of their rows."""
        vectors = {name: self._vectors[name] for name in (self.dims if names is None else names)}
        others = [c for c in self._columns if c != "id" and c not in self._vectors.values()]
        wanted = [c for c in self._columns if c == "id"] + list(vectors.values())
        wanted += others if with_payload else []
        done = 0
        if not wanted:  # the library would have to be told how many rows of nothing
            for start in range(0, self.count, rows):
                yield Columns(list(range(start, min(start + rows, self.count))), {})
            return
        try:
            for batch in self._file.iter_batches(rows, columns=wanted):
                blocks = {name: self._block(batch, name, done) for name in vectors}
                payloads = self._payloads(batch, others, done) if with_payload and others else None
                yield Columns(self._ids(batch, done), blocks, payloads)
                done += batch.num_rows
        except (self._pa.ArrowException, OSError) as error:
            raise source_error(self._path, error) from None

    def _ids(self, batch: Any, done: int) -> list[PointId]:
        if "id" not in self._columns:
            return list(range(done, done + batch.num_rows))
        return [id_of_text(each) for each in batch.column("id").to_pylist()]

    def _block(self, batch: Any, name: str, done: int) -> Block:
        column = batch.column(self._vectors[name])
        has = column.is_valid().to_numpy(zero_copy_only=False)
        if is_ragged(self.dims[name]):
            where = [self._where(name, done + row) for row in range(len(column))]
            return ragged_block(column.to_pylist(), self.dims[name], where)
        return self._dense_block(column, has, name, done)

    def _dense_block(self, column: Any, has: Any, name: str, done: int) -> VectorBlock:
        dim = self.dims[name]
        lengths = self._compute.list_value_length(column).fill_null(dim).to_numpy(False)
        if (lengths != dim).any():
            row = int(np.argmax(lengths != dim))
            raise InvalidInputError(
                f"{self._where(name, done + row)}: expected vectors of {dim} numbers, got "
                f"{lengths[row]}"
            )
        values = column.flatten()  # of the rows that have a vector
        if values.null_count:
            missing = int(np.argmax(values.is_null().to_numpy(False)))
            row = int(np.flatnonzero(has)[missing // dim])
            raise InvalidInputError(
                f"{self._where(name, done + row)}: null in the place of number {missing % dim}, "
                f"which is also how pandas writes NaN"
            )
        some = floats(values.to_numpy(zero_copy_only=False))
        return block_of(some.reshape(-1, dim), has)

    def _where(self, name: str, row: int) -> str:
        return f"{self._path}: row {row} of column {self._vectors[name]!r}"

    def _payloads(self, batch: Any, others: list[str], done: int) -> list[Payload | None]:
        """The column of JSON, if it is one, and each other column as a key."""
        payloads: list[Payload | None] = [{} for _ in range(batch.num_rows)]
        for column in others:
            values = batch.column(column)
            ours = column == "payload" and self._is_text(values.type)
            for row, value in enumerate(values.to_pylist()):
                payload = payloads[row]
                assert payload is not None
                if ours:
                    where = f"{self._path}: row {done + row}"
                    payload.update({} if value is None else payload_of(value, where) or {})
                elif value is not None:
                    payload[column] = value.isoformat() if isinstance(value, date) else value
        return payloads
