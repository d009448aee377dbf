"""SegmentBuilder: writes one complete, synced, checksummed segment directory.

Rows come in blocks and go straight to their files, so memory stays at one block whatever the
segment's size. Files have their final names from the start: nobody refers to the directory until
the catalog does, and a directory the catalog does not list is removed when the collection opens.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from vecdb import ids
from vecdb.index import FEWEST_ROWS, ClusteredIndex, Inverted
from vecdb.quantization import Quantizer
from vecdb.storage import files, fs, layout, lookup
from vecdb.storage.arrays import Expected, PlacedArray
from vecdb.storage.files import FileKind
from vecdb.storage.format import (
    BLOCK_SIZE,
    DataHeader,
    checksum,
    pack_bits,
    pack_blocks,
    pack_footer,
    pack_value,
    padding,
)
from vecdb.storage.row_block import RowBlock
from vecdb.storage.segment_row import FileRow, SegmentRow, VectorRow, pack_segment
from vecdb.vectors.datatypes import FLOAT32, SPARSE, is_multi, narrow
from vecdb.vectors.multi import MultiBlock
from vecdb.vectors.sparse import SparseBlock

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

_JOINED = 1 << 20  # bytes of payloads that are written together
_AT_ONCE = 4096  # payloads whose bounds are numbers of Python together


class DataWriter:
    """One data file, written front to back; checksums are made as the bytes go by."""

    def __init__(self, path: Path, header: DataHeader) -> None:
        self._header = header
        self._file = fs.AppendFile(path)
        self._packed = header.pack()
        try:
            self._file.append([self._packed])
        except BaseException:
            self._file.close()
            raise
        self._rest = b""  # a tail shorter than a block, waiting for more
        self._table: list[int] = []
        self._written = 0

    def append(self, array: Any) -> None:
        """Append the next values, C-contiguous and of the file's dtype (or their bytes)."""
        data = memoryview(array).cast("B") if memoryview(array).nbytes else memoryview(b"")
        self._written += len(data)
        if self._rest:
            need = BLOCK_SIZE - len(self._rest)
            self._rest += bytes(data[:need])
            data = data[need:]
            if len(self._rest) < BLOCK_SIZE:
                return
            self._table.append(checksum(self._rest))
            self._file.append([self._rest])
            self._rest = b""
        whole = len(data) - len(data) % BLOCK_SIZE
        if whole:
            for start in range(0, whole, BLOCK_SIZE):
                self._table.append(checksum(data[start : start + BLOCK_SIZE]))
            self._file.append([data[:whole]])
        self._rest = bytes(data[whole:])

    def finish(self) -> FileRow:
        """Write padding and footer, sync, close. The data must be as long as the header said."""
        try:
            return self._finish()
        finally:
            self._file.close()

    def _finish(self) -> FileRow:
        if self._written != self._header.data_size:
            raise AssertionError(
                f"{self._file.path}: {self._written} bytes written, {self._header.data_size} due"
            )
        last = self._rest + bytes(padding(self._written))
        if last:
            self._table.append(checksum(last))
        table = np.array(self._table, dtype="<u8").tobytes()
        footer = pack_footer(self._packed, table)
        self._file.append([last, table, footer])
        self._file.sync()
        return FileRow(self._file.length, int.from_bytes(footer[8:16], "little"))

    def abandon(self) -> None:
        """Close without finishing."""
        self._file.close()


def write_column(
    directory: Path, uuid: bytes, segment_id: int, field: str, data: Sequence[Any]
) -> FileRow:
    """Write the column of a field, its buffers one after the other, into the directory of a segment
    that is there. It is durable, with its name, when this returns. Raises OSError; then nothing is
    left of it."""
    path = directory / files.COLUMN.file(field)
    dtype = np.dtype(files.COLUMN.dtype)
    size = sum(memoryview(buffer).nbytes for buffer in data)
    header = DataHeader(files.COLUMN.kind, dtype, size, 1, uuid, segment_id)
    fs.remove_file(path)  # what a crash left, or an attempt that failed
    writer = DataWriter(path, header)
    try:
        for buffer in data:
            writer.append(buffer)
        row = writer.finish()
        fs.sync_dir(directory)
        return row
    except BaseException:
        writer.abandon()
        fs.discard(path)
        raise


class SegmentBuilder:
    """Builds ``segments/<id>``: ``add`` blocks of rows, ``quantize`` names, ``finish``.

    After an error call ``abandon``; the directory is then garbage and is removed.
    """

    def __init__(
        self,
        segments: Path,
        uuid: bytes,
        segment_id: int,
        rows: int,
        dims: dict[str, int],
        *,
        wide_ids: bool,
        payload_bytes: int,
        entries: Mapping[str, int] | None = None,
        datatypes: Mapping[str, str] | None = None,
        room: int = sys.maxsize,
    ) -> None:
        """``dims``: the vector names, with their dimensions; ``entries``: how many numbers there
        are of each that is sparse, and tokens of multivectors; ``datatypes``: of those whose
        originals are not float32. ``room``: bytes of memory that it may take to derive files."""
        self._room = room
        self.path = segments / layout.segment_dir(segment_id)
        self.rows = rows
        self.dims = dims
        self._segments = segments
        self._uuid = uuid
        self.segment_id = segment_id
        self._files: dict[str, FileRow] = {}
        self._columns: dict[str, dict[str, Any]] = {}
        self._vectors = {
            name: VectorRow(dim, None, None, (datatypes or {}).get(name, FLOAT32))
            for name, dim in dims.items()
        }
        self._open: dict[str, DataWriter] = {}
        self._ids: list[ids.IdArray] = []
        self._wide = wide_ids
        self._flags: dict[str, list[Flags]] = {name: [] for name in dims}
        self._has: dict[str, Flags] = {}
        self._payload_at = 0
        self._entries = dict.fromkeys(dims, 0)
        fs.make_dir(self.path)
        self._identity = lookup.identity(self.path)
        try:
            self._create_files(payload_bytes, entries or {})
        except BaseException:
            self.abandon()
            raise

    def _create_files(self, payload_bytes: int, entries: Mapping[str, int]) -> None:
        self._create(files.IDS, columns=2 if self._wide else 1)
        self._create(files.SEQS)
        self._create(files.PAYLOAD, rows=payload_bytes)
        self._create(files.PAYLOAD_OFFSETS).append(np.zeros(1, dtype="<u8"))
        for name, dim in self.dims.items():
            if dim == SPARSE:
                self._create(files.SPARSE_OFFSETS, name).append(np.zeros(1, dtype="<u8"))
                self._create(files.SPARSE_INDICES, name, rows=entries[name])
                self._create(files.SPARSE_VALUES, name, rows=entries[name])
            elif is_multi(dim):
                self._create(files.TOKEN_OFFSETS, name).append(np.zeros(1, dtype="<u8"))
                self._create(files.TOKENS, name, rows=entries[name])
            else:
                self._create(files.VECTORS, name)

    def add(self, rows: RowBlock) -> None:
        """The next rows."""
        keys = ids.widen(rows.keys) if self._wide else rows.keys
        self._ids.append(keys)
        self._append(files.IDS, keys)
        self._append(files.SEQS, rows.seqs)
        for some in _in_pieces(rows.payloads):
            self._open[files.PAYLOAD.file()].append(b"".join(some))
        ends = self._payload_at + np.cumsum([len(p) for p in rows.payloads], dtype=np.uint64)
        self._append(files.PAYLOAD_OFFSETS, ends)
        if len(ends):
            self._payload_at = int(ends[-1])
        for name in self.dims:
            block = rows.vectors[name]
            if isinstance(block, SparseBlock):
                self._append(files.SPARSE_OFFSETS, block.offsets[1:] + self._entries[name], name)
                self._append(files.SPARSE_INDICES, block.indices, name)
                self._append(files.SPARSE_VALUES, block.values, name)
                self._entries[name] += int(block.offsets[-1])
            elif isinstance(block, MultiBlock):
                self._append(files.TOKEN_OFFSETS, block.offsets[1:] + self._entries[name], name)
                self._append(files.TOKENS, block.values, name)
                self._entries[name] += int(block.offsets[-1])
            else:
                numbers = narrow(block.values, self._vectors[name].datatype)
                self._append(files.VECTORS, numbers, name)
            self._flags[name].append(block.flags())

    def finish_rows(self) -> None:
        """End the rows, and write the files that are derived from all of them."""
        for name in list(self._open):
            self._files[name] = self._open.pop(name).finish()
        keys = (
            ids.concatenate(self._ids)
            if self._ids
            else np.empty((0, 2) if self._wide else 0, dtype=np.uint64)
        )
        self._write(files.ORDER, ids.sort_order(keys))
        for name, pieces in self._flags.items():
            self._has[name] = np.concatenate(pieces) if pieces else np.empty(0, dtype=np.bool_)
            if not self._has[name].all():
                self._write(files.PRESENT, pack_bits(self._has[name]), name)
        self._flags.clear()
        for name, dim in self.dims.items():
            if dim == SPARSE and self.rows >= FEWEST_ROWS:
                self._write_postings(name)

    def _write_postings(self, name: str) -> None:
        """Write the inverted index of a sparse vector name."""
        block = SparseBlock(
            self._mapped(files.SPARSE_OFFSETS, name).reshape(-1).view(np.int64),
            self._mapped(files.SPARSE_INDICES, name).reshape(-1),
            self._mapped(files.SPARSE_VALUES, name).reshape(-1),
        )
        inverted = Inverted(block, self._room)
        self._create(files.POSTINGS, name, rows=len(block.indices))
        for piece in inverted.pieces():
            self._append(files.POSTINGS, piece, name)
        self._finish(files.POSTINGS, name)
        terms = inverted.terms()
        self._write_state(files.TERMS, name, {"window": terms.window}, terms.state())

    def payloads(self) -> Iterator[memoryview]:
        """The encoded payloads as written, row by row. After ``finish_rows``."""
        data = self._mapped(files.PAYLOAD).reshape(-1).data
        offsets = self._mapped(files.PAYLOAD_OFFSETS).reshape(-1)
        for start in range(0, self.rows, _AT_ONCE):
            ends = offsets[start : start + _AT_ONCE + 1].tolist()
            yield from (data[begin:end] for begin, end in pairwise(ends))

    def vectors(self, name: str) -> npt.NDArray[Any]:
        """The vectors as written, mapped, in their datatype: ``(rows, dim)``. After
        ``finish_rows``."""
        return self._mapped(files.VECTORS, name)

    def _mapped(self, file: FileKind, vector_name: str = "") -> npt.NDArray[Any]:
        """What was written, of one vector name or once, ``(rows, columns)``."""
        name = file.file(vector_name)
        expected = Expected(self._uuid, self.segment_id, file.kind, self._files[name])
        opened = PlacedArray(self.path / name, expected, "cached")
        # These are our own bytes of a moment ago: they need no verification.
        return opened.array.reshape(opened.header.rows, opened.header.columns)

    def tokens(self, name: str) -> Floats:
        """The tokens of all multivectors as written, mapped: ``float32 (m, dim)``. After
        ``finish_rows``."""
        return self._mapped(files.TOKENS, name)

    def rows_with(self, name: str) -> npt.NDArray[np.int64]:
        """The rows that have this vector. After ``finish_rows``."""
        return np.flatnonzero(self._has[name])

    def add_codes(
        self,
        name: str,
        codec: dict[str, Any],
        quantizer: Quantizer,
        blocks: Iterator[npt.NDArray[np.uint8]],
    ) -> npt.NDArray[np.uint8]:
        """Write the quantized vectors of one vector name, or the quantized tokens of its
        multivectors, code blocks in their order. Returns the codes as written, mapped. The
        quantizer's state is taken after the last block."""
        self._vectors[name] = replace(self._vectors[name], codec=codec)
        count = self._entries[name] if is_multi(self.dims[name]) else self.rows
        self._write_blocks(files.CODES, name, blocks, rows=quantizer.codes_shape(count)[0])
        self._write_state(
            files.QUANTIZER,
            name,
            {"kind": quantizer.kind, "metric": quantizer.metric, "dim": quantizer.dim},
            quantizer.state(),
        )
        return self._mapped(files.CODES, name)

    def add_sketch(
        self, name: str, shape: tuple[int, int], blocks: Iterator[npt.NDArray[np.uint8]]
    ) -> npt.NDArray[np.uint8]:
        """Write the sketches of one vector name, in the order of its partitions. Returns them,
        mapped: an index is measured on its sketches before it is written."""
        self._vectors[name] = replace(self._vectors[name], index=shape)
        self._write_blocks(files.SKETCH, name, blocks)
        return self._mapped(files.SKETCH, name)

    def add_index(self, name: str, index: ClusteredIndex) -> None:
        """Write the index of one vector name. After ``add_sketch``."""
        meta = {"metric": index.metric, "dim": index.dim}
        self._write_state(files.INDEX, name, meta, index.state())

    def add_token_index(
        self,
        name: str,
        state: Mapping[str, npt.NDArray[Any]],
        tokens: int,
        labels: Iterator[npt.NDArray[np.uint8]],
    ) -> None:
        """Write the centroids of so many tokens, and the labels of these, in their order."""
        self._write_state(files.TOKEN_INDEX, name, {"tokens": tokens}, state)
        self._create(files.TOKEN_LABELS, name, rows=tokens)
        for piece in labels:
            self._append(files.TOKEN_LABELS, piece, name)
        self._finish(files.TOKEN_LABELS, name)

    @property
    def columns(self) -> Mapping[str, dict[str, Any]]:
        """The fields that have a column so far, and how each was made."""
        return self._columns

    def add_column(self, field: str, made: dict[str, Any], data: Sequence[Any]) -> None:
        """Write the column of a field, its buffers one after the other. ``made``: how it was
        made."""
        self._columns[field] = made
        name = files.COLUMN.file(field)
        self._files[name] = write_column(self.path, self._uuid, self.segment_id, field, data)

    def remove_column(self, field: str) -> None:
        """Remove the column of a field."""
        name = files.COLUMN.file(field)
        del self._columns[field], self._files[name]
        fs.remove_file(self.path / name)

    def finish(self, config: dict[str, Any]) -> SegmentRow:
        """Make the directory durable. Returns the catalog's row of the segment. ``config``: the
        collection's configuration; with the row it goes into the manifest, for ``repair``."""
        row = SegmentRow(self.segment_id, self.rows, self._vectors, self._files, self._columns)
        manifest = pack_value({"config": config, "segment": pack_segment(row)})
        self._write(files.MANIFEST, np.frombuffer(manifest, dtype=np.uint8))
        fs.sync_dir(self.path)
        fs.sync_dir(self._segments)
        return row

    def abandon(self) -> None:
        """Remove everything written: the build failed, was cancelled or is not needed."""
        for writer in self._open.values():
            writer.abandon()
        self._open.clear()
        # After a close the id may have been given again: remove only the directory made here.
        if lookup.exists(self.path) and lookup.identity(self.path) == self._identity:
            fs.remove_tree(self.path)

    def _create(
        self, file: FileKind, of: str = "", *, rows: int = -1, columns: int = -1
    ) -> DataWriter:
        """Begin a file. ``of``: the vector name, or the field. ``rows``, ``columns``: where the
        table of files leaves them open."""
        vector = self._vectors[of] if file.per == "vector" else files.NO_VECTOR
        shape = file.shape(self.rows, vector)
        assert shape is not None
        rows = rows if shape.rows is None else shape.rows
        columns = columns if len(shape.columns) > 1 else shape.columns[0]
        dtype = np.dtype(file.dtype_of(vector))
        header = DataHeader(file.kind, dtype, rows, columns, self._uuid, self.segment_id)
        name = file.file(of)
        writer = self._open[name] = DataWriter(self.path / name, header)
        return writer

    def _append(self, file: FileKind, array: npt.NDArray[Any], of: str = "") -> None:
        """The next rows of a file."""
        writer = self._open[file.file(of)]
        vector = self._vectors[of] if file.per == "vector" else files.NO_VECTOR
        writer.append(np.ascontiguousarray(array, dtype=file.dtype_of(vector)))

    def _finish(self, file: FileKind, of: str) -> None:
        name = file.file(of)
        self._files[name] = self._open.pop(name).finish()

    def _write(self, file: FileKind, array: npt.NDArray[Any], of: str = "") -> None:
        """A whole file."""
        self._create(file, of, rows=len(array))
        self._append(file, array, of)
        self._finish(file, of)

    def _write_blocks(
        self,
        file: FileKind,
        vector_name: str,
        blocks: Iterator[npt.NDArray[np.uint8]],
        *,
        rows: int = -1,
    ) -> None:
        self._create(file, vector_name, rows=rows)
        for block in blocks:
            self._append(file, block, vector_name)
        self._finish(file, vector_name)

    def _write_state(
        self,
        file: FileKind,
        vector_name: str,
        meta: dict[str, Any],
        state: Mapping[str, npt.NDArray[Any]],
    ) -> None:
        arrays = {key: np.ascontiguousarray(value) for key, value in state.items()}
        described = [[key, value.dtype.str, list(value.shape)] for key, value in arrays.items()]
        blocks = pack_blocks({**meta, "arrays": described}, list(arrays.values()))
        data = b"".join(bytes(memoryview(block)) for block in blocks)
        self._write(file, np.frombuffer(data, dtype=np.uint8), vector_name)


def _in_pieces(payloads: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Payloads in pieces of some megabyte: a thousand rows may have a gigabyte of them."""
    first, size = 0, 0
    for number, payload in enumerate(payloads):
        size += len(payload)
        if size >= _JOINED:
            yield payloads[first : number + 1]
            first, size = number + 1, 0
    yield payloads[first:]
