"""The files of a segment: one row for each, with all that the rest of vecdb must know of it.

Builder, reader, validation, check, repair, archives and the memory report ask this table. A new
kind of file is a row here, a number in ``format.Kind``, a line in ``docs/file-format.md``, and the
code that writes and uses it. ``layout.py`` makes the names.

A *derived* file can be made from the others: damage there loses nothing. An *optional* one may be
missing. A file is *placed* as the part of the segment that it is of; ``placements.py`` says what
placements there are. Payload edits and columns come to a segment, and go, after it was built; all
other files stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import numpy as np
from msgspec import Struct

from vecdb.quantization import binary, product
from vecdb.storage import layout
from vecdb.storage.format import FOOTER_SIZE, HEADER_SIZE, DamageError, DataHeader, Kind
from vecdb.storage.segment_row import SegmentRow, VectorRow
from vecdb.vectors.datatypes import INDICES, NUMBERS, SPARSE, STORED, is_multi, is_ragged, size_of

Extent = tuple[int | None, tuple[int, ...]]
"""How many rows (None: any number, of bytes), and how many columns there may be."""

Part = Literal["originals", "codes", "index", "ids", "payload", "columns"]
"""What has a placement. The first three are of a vector name, the last of a field."""

_BYTES: Extent = (None, (1,))
NO_VECTOR = VectorRow(0, None, None)
"""For files that a segment has once."""


class Shape(Struct, frozen=True):
    """What one data file must hold."""

    kind: Kind
    dtype: str
    rows: int | None  # None: any number, of bytes
    columns: tuple[int, ...]  # one of these

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


class FileKind(Struct, frozen=True):
    """One row of the table."""

    kind: Kind
    name: str
    """The vector name, the operation or the field follows it if there may be more than one."""
    per: Literal["segment", "vector", "edit", "field"]
    dtype: str
    """Of dense originals: ``dtype_of``."""
    extent: Callable[[int, VectorRow], Extent | None]
    """The extent, from the segment's rows and what is known of the vector name; None: there is no
    such file. Raises DamageError for what no vector can have."""
    part: str
    """What the memory report counts it as."""
    placed: Part | Literal["cached", "cold"]
    """What it is placed with; or the placement that it always has. *Cold* is of what nothing is
    read once it is opened."""
    derived: bool = False
    optional: bool = False

    def file(self, name: str = "") -> str:
        """The name of the file of a vector name or of a field."""
        return layout.file_of(self.name, name)

    def dtype_of(self, vector: VectorRow) -> str:
        """The type of its numbers."""
        return NUMBERS[vector.datatype].str if self.kind is Kind.VECTORS else self.dtype

    def shape(self, rows: int, vector: VectorRow = NO_VECTOR) -> Shape | None:
        """What it must hold in a segment of so many rows; None: there is no such file."""
        extent = self.extent(rows, vector)
        return None if extent is None else Shape(self.kind, self.dtype_of(vector), *extent)


def _one_each(rows: int, vector: VectorRow) -> Extent:
    return rows, (1,)


def _any_bytes(rows: int, vector: VectorRow) -> Extent:
    return _BYTES


def _only(
    applies: Callable[[int], bool],
    columns: Callable[[int], int] = lambda dim: 1,
    more_rows: int | None = None,
) -> Callable[[int, VectorRow], Extent | None]:
    """The extent of a file that only some kind of vectors has; with so many rows more than the
    segment, if a number is given."""

    def extent(rows: int, vector: VectorRow) -> Extent | None:
        if not applies(vector.dim):
            return None
        return None if more_rows is None else rows + more_rows, (columns(vector.dim),)

    return extent


def _is_sparse(dim: int) -> bool:
    return dim == SPARSE


def _codes(rows: int, vector: VectorRow) -> Extent | None:
    if vector.codec is None:
        return None
    if is_multi(vector.dim):  # the codes are of tokens, whose number the row does not know
        return None, (_codes_shape(vector.codec, size_of(vector.dim), 0)[1],)
    blocks, width = _codes_shape(vector.codec, vector.dim, rows)
    return blocks, (width,)


def _sketches(rows: int, vector: VectorRow) -> Extent | None:
    if vector.index is None:
        return None
    blocks, size = vector.index
    if blocks > -(-rows // 32) or size > 16 * (vector.dim + 3) + 256:  # what it can be at most
        raise DamageError(f"a sketch of {blocks} x {size} bytes")
    return blocks, (size,)


IDS = FileKind(
    Kind.IDS, "ids", "segment", "<u8", lambda rows, _: (rows, (1, 2)), "ids", placed="ids"
)
ORDER = FileKind(
    Kind.ORDER, "order", "segment", "<u4", _one_each, "ids", placed="ids", derived=True
)
SEQS = FileKind(Kind.SEQS, "seqs", "segment", "<u8", _one_each, "seqs", placed="ids")
PAYLOAD = FileKind(
    Kind.PAYLOAD, "payload", "segment", "<u1", _any_bytes, "payload", placed="payload"
)
PAYLOAD_OFFSETS = FileKind(
    Kind.PAYLOAD_OFFSETS,
    "payload-offsets",
    "segment",
    "<u8",
    lambda rows, _: (rows + 1, (1,)),
    "payload",
    placed="payload",
)
PAYLOAD_EDITS = FileKind(
    Kind.PAYLOAD_EDITS,
    "payload-edits",
    "edit",
    "<u1",
    _any_bytes,
    "payload",
    placed="cached",
    optional=True,
)
VECTORS = FileKind(
    Kind.VECTORS,
    "vectors",
    "vector",
    STORED.str,
    lambda rows, vector: None if is_ragged(vector.dim) else (rows, (vector.dim,)),
    "originals",
    placed="originals",
)
SPARSE_OFFSETS = FileKind(
    Kind.SPARSE_OFFSETS,
    "sparse-offsets",
    "vector",
    "<u8",
    _only(_is_sparse, more_rows=1),
    "originals",
    placed="originals",
)
SPARSE_INDICES = FileKind(
    Kind.SPARSE_INDICES,
    "sparse-indices",
    "vector",
    INDICES.str,
    _only(_is_sparse),
    "originals",
    placed="originals",
)
SPARSE_VALUES = FileKind(
    Kind.SPARSE_VALUES,
    "sparse-values",
    "vector",
    STORED.str,
    _only(_is_sparse),
    "originals",
    placed="originals",
)
TOKEN_OFFSETS = FileKind(
    Kind.TOKEN_OFFSETS,
    "token-offsets",
    "vector",
    "<u8",
    _only(is_multi, more_rows=1),
    "originals",
    placed="originals",
)
TOKENS = FileKind(
    Kind.TOKENS,
    "tokens",
    "vector",
    STORED.str,
    _only(is_multi, size_of),
    "originals",
    placed="originals",
)
TOKEN_INDEX = FileKind(
    Kind.TOKEN_INDEX,
    "token-index",
    "vector",
    "<u1",
    _only(is_multi),
    "indexes",
    placed="index",
    derived=True,
    optional=True,
)
TOKEN_LABELS = FileKind(
    Kind.TOKEN_LABELS,
    "token-labels",
    "vector",
    "<u1",
    _only(is_multi, lambda dim: 2),
    "indexes",
    placed="index",
    derived=True,
    optional=True,
)
PRESENT = FileKind(
    Kind.PRESENT,
    "present",
    "vector",
    "<u1",
    lambda rows, _: (-(-rows // 8), (1,)),
    "ids",
    placed="ids",
    optional=True,
)
CODES = FileKind(
    Kind.CODES, "codes", "vector", "<u1", _codes, "codes", placed="codes", derived=True
)
QUANTIZER = FileKind(
    Kind.QUANTIZER,
    "quantizer",
    "vector",
    "<u1",
    lambda _, vector: None if vector.codec is None else _BYTES,
    "quantizers",
    placed="cold",
    derived=True,
)
SKETCH = FileKind(
    Kind.SKETCH, "sketch", "vector", "<u1", _sketches, "sketches", placed="index", derived=True
)
INDEX = FileKind(
    Kind.INDEX,
    "index",
    "vector",
    "<u1",
    lambda _, vector: None if vector.index is None else _BYTES,
    "indexes",
    placed="cold",
    derived=True,
)
TERMS = FileKind(
    Kind.TERMS,
    "terms",
    "vector",
    "<u1",
    _only(_is_sparse),
    "indexes",
    placed="index",
    derived=True,
    optional=True,
)
POSTINGS = FileKind(
    Kind.POSTINGS,
    "postings",
    "vector",
    "<u1",
    _only(_is_sparse, lambda dim: 3),
    "indexes",
    placed="index",
    derived=True,
    optional=True,
)
COLUMN = FileKind(
    Kind.COLUMN,
    layout.COLUMN,
    "field",
    "<u1",
    _any_bytes,
    "columns",
    placed="columns",
    derived=True,
    optional=True,
)
MANIFEST = FileKind(
    Kind.MANIFEST,
    "manifest",
    "segment",
    "<u1",
    _any_bytes,
    "manifests",
    placed="cold",
    derived=True,
    optional=True,
)

# In the order of the memory report.
FILES = (
    VECTORS,
    SPARSE_OFFSETS,
    SPARSE_INDICES,
    SPARSE_VALUES,
    TOKEN_OFFSETS,
    TOKENS,
    CODES,
    QUANTIZER,
    SKETCH,
    INDEX,
    TERMS,
    POSTINGS,
    TOKEN_INDEX,
    TOKEN_LABELS,
    IDS,
    ORDER,
    PRESENT,
    PAYLOAD,
    PAYLOAD_OFFSETS,
    PAYLOAD_EDITS,
    COLUMN,
    SEQS,
    MANIFEST,
)
BY_KIND = {file.kind: file for file in FILES}


def of_vector(name: str) -> list[str]:
    """Every file that a segment may have for a vector name."""
    return [file.file(name) for file in FILES if file.per == "vector"]


def may_be_left_over(name: str) -> bool:
    """Whether a file in a segment's directory that the catalog does not list may be what a crash
    has left there: payload edits, a column, or vectors of a name that is gone."""
    if layout.parse_edits_file(name) is not None:
        return True
    kind = name.partition(".")[0]
    return any(file.per in ("vector", "field") and file.name == kind for file in FILES)


def expected_files(row: SegmentRow) -> dict[str, Shape]:
    """Every file that a segment may have, and the shape of each. Raises DamageError for a codec
    that does not exist."""
    shapes = {
        name: file.shape(row.rows, row.vectors[of] if file.per == "vector" else NO_VECTOR)
        for name, file, of in may_have(row)
    }
    return {name: shape for name, shape in shapes.items() if shape is not None}


def may_have(row: SegmentRow) -> Iterator[tuple[str, FileKind, str]]:
    """Every file that a segment may have: its name, what it is, and the vector name or field that
    it is of, if any."""
    for file in FILES:
        if file.per == "edit":
            yield from ((name, file, "") for name in row.edits)
            continue
        of: Iterable[str] = ("",)
        if file.per in ("vector", "field"):
            of = row.vectors if file.per == "vector" else row.columns
        yield from ((file.file(name), file, name) for name in of)


def _codes_shape(codec: dict[str, Any], dim: int, rows: int) -> tuple[int, int]:
    """The shape of the codes of so many vectors, of rows or of tokens. Raises DamageError for a
    codec that does not exist."""
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
    """Whether nothing reads these codes any more: signs, and codes of a byte, row after row. A
    segment does without them, and is written anew."""
    return codec["kind"] in ("binary", "product") and "layout" not in codec
