"""Validate: whether what a catalog says can be true.

Its checksums show accidents only. A catalog that came with an archive may say anything, and code
that relies on it would read beyond files, write over a segment, or give away an id twice.
``validate`` looks at the catalog alone; what ``expected_files`` says is then compared with the
header of every file that is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecdb.quantization import binary, product
from vecdb.storage import layout
from vecdb.storage.catalog import LARGEST, SegmentRow, Snapshot, require_live
from vecdb.storage.format import FOOTER_SIZE, HEADER_SIZE, DamageError, DataHeader, Kind

_MOST_ROWS = (1 << 32) - 1  # row numbers in the file ``order`` have 32 bits


@dataclass(frozen=True, slots=True)
class Shape:
    """What a data file must hold."""

    kind: Kind
    dtype: str
    rows: int | None  # None: any number, of bytes
    columns: tuple[int, ...] = (1,)  # one of these

    def require(self, header: DataHeader) -> None:
        """Raise DamageError unless a file with this header is as expected."""
        rows = header.rows if self.rows is None else self.rows
        fits = (header.kind, header.dtype, header.rows) == (self.kind, np.dtype(self.dtype), rows)
        if not fits or header.columns not in self.columns:
            columns = " or ".join(map(str, self.columns))
            raise DamageError(
                f"holds {header.rows} x {header.columns} {header.dtype.str}, "
                f"its segment {rows} x {columns} {self.dtype}"
            )

    def require_length(self, length: int) -> None:
        """Raise DamageError unless a file of this length can be as expected."""
        if self.rows is None:
            if length < HEADER_SIZE + FOOTER_SIZE:
                raise DamageError(f"{length} bytes, too short for a data file")
            return
        dtype = np.dtype(self.dtype)
        sizes = {
            DataHeader(self.kind, dtype, self.rows, columns, b"", 0).file_size
            for columns in self.columns
        }
        if length not in sizes:
            raise DamageError(f"{length} bytes, expected {' or '.join(map(str, sorted(sizes)))}")


def expected_files(row: SegmentRow) -> dict[str, Shape]:
    """Every file that a segment may have, and what it holds. Raises DamageError for a codec that
    is none."""
    n = row.rows
    files = {
        "ids": Shape(Kind.IDS, "<u8", n, (1, 2)),
        "order": Shape(Kind.ORDER, "<u4", n),
        "seqs": Shape(Kind.SEQS, "<u8", n),
        "payload": Shape(Kind.PAYLOAD, "<u1", None),
        "payload-offsets": Shape(Kind.PAYLOAD_OFFSETS, "<u8", n + 1),
        "manifest": Shape(Kind.MANIFEST, "<u1", None),
    }
    files |= {name: Shape(Kind.PAYLOAD_EDITS, "<u1", None) for name in row.edits}
    for name, vector in row.vectors.items():
        dim, codec = vector["dim"], vector["codec"]
        files[layout.vector_file("vectors", name)] = Shape(Kind.VECTORS, "<f4", n, (dim,))
        files[layout.vector_file("present", name)] = Shape(Kind.PRESENT, "<u1", -(-n // 8))
        if codec is not None:
            rows, width = _codes_shape(codec, dim, n)
            files[layout.vector_file("codes", name)] = Shape(Kind.CODES, "<u1", rows, (width,))
            files[layout.vector_file("quantizer", name)] = Shape(Kind.QUANTIZER, "<u1", None)
        if vector["index"] is not None:
            blocks, size = vector["index"]
            if blocks > -(-n // 32) or size > 16 * (dim + 3) + 256:  # what a sketch can be at most
                raise DamageError(f"a sketch of {blocks} x {size} bytes")
            files[layout.vector_file("sketch", name)] = Shape(Kind.SKETCH, "<u1", blocks, (size,))
            files[layout.vector_file("index", name)] = Shape(Kind.INDEX, "<u1", None)
    return files


def _codes_shape(codec: dict[str, Any], dim: int, rows: int) -> tuple[int, int]:
    match codec:
        case {"kind": "scalar", "quantile": None | float() | int()}:
            return rows, dim
        case {"kind": "binary", "layout": 2, "bits": 1 | 1.5 | 2 | 4 as bits}:
            return binary.codes_shape(rows, dim, bits)
        case {"kind": "product", "layout": 2, "compression": 8 | 16 | 32 | 64 as compression}:
            return product.codes_shape(rows, dim, int(compression))
        case {"kind": "binary"} if is_outdated(codec):
            return rows, -(-dim // 64) * 8
        case {"kind": "product", "compression": 4 | 8 | 16 | 32 | 64} if is_outdated(codec):
            return rows, -(-dim // (int(codec["compression"]) // 4))
    raise DamageError(f"unknown codec {codec!r:.80}")


def is_outdated(codec: dict[str, Any]) -> bool:
    """Whether nothing reads these codes any more: signs and codes of a byte, row after row. A
    segment goes on without them, and is written anew."""
    return codec["kind"] in ("binary", "product") and "layout" not in codec


def validate(snapshot: Snapshot, dims: Mapping[str, int]) -> None:
    """Raise DamageError for anything that cannot be so in a collection with these vectors."""
    if max(snapshot.applied_seq, snapshot.next_segment_id) > LARGEST:
        raise DamageError(f"applied_seq or next_segment_id beyond {LARGEST}")
    seen: set[int] = set()
    for row in snapshot.segments:
        try:
            if row.id in seen:
                raise DamageError("is listed twice")
            if not 1 <= row.id < snapshot.next_segment_id:
                raise DamageError(f"next_segment_id is {snapshot.next_segment_id}")
            _validate_row(row, dims)
            if row.edits and row.edits[-1] > layout.edits_file(snapshot.applied_seq):
                raise DamageError(f"{row.edits[-1]} is newer than {snapshot.applied_seq}")
            require_live(row, snapshot.alive.get(row.id), snapshot.live[row.id])
        except DamageError as error:
            raise DamageError(f"segment {row.id:016x}: {error}") from None
        seen.add(row.id)


def _validate_row(row: SegmentRow, dims: Mapping[str, int]) -> None:
    if row.rows > _MOST_ROWS:
        raise DamageError(f"{row.rows} rows; the limit is {_MOST_ROWS}")
    found = {name: vector["dim"] for name, vector in row.vectors.items()}
    if found != dims:
        raise DamageError(f"has vectors {found}, the configuration {dict(dims)}")
    expected = expected_files(row)
    for name, file in row.files.items():
        if name not in expected:
            raise DamageError(f"{name!r:.80} is not a file of a segment")
        try:
            expected[name].require_length(file.length)
        except DamageError as error:
            raise DamageError(f"{name}: {error}") from None
    optional = (Kind.PRESENT, Kind.MANIFEST, Kind.PAYLOAD_EDITS)
    for name, shape in expected.items():
        if name not in row.files and shape.kind not in optional:
            raise DamageError(f"has no file {name}")
