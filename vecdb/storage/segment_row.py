"""The catalog's row of one segment, as values and as the plain data that is stored.

The same row is in the segment's manifest and in archives. Its values need not be possible:
``validate.py`` looks at that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from vecdb.storage import layout
from vecdb.vectors.datatypes import FLOAT32, NUMBERS

T = TypeVar("T")

LARGEST = 1 << 62  # of any number but a checksum, so that sums do not overflow


class FileRow(Struct, frozen=True):
    """What the catalog knows of one data file: enough to tell it from any other."""

    length: int
    checksum: int


class VectorRow(Struct, frozen=True):
    """The files that a segment has of one vector name beside the originals."""

    dim: int
    """What `vectors.datatypes` says: 0 of sparse vectors, below 0 of multivectors."""
    codec: dict[str, Any] | None
    """How codes were made; None: there are none."""
    index: tuple[int, int] | None
    """The shape of the sketches, (blocks, bytes); None: there is no index."""
    datatype: str = FLOAT32
    """Of the originals."""


class SegmentRow(Struct, frozen=True):
    """One segment: its rows, its vector names, its files."""

    id: int
    rows: int
    vectors: dict[str, VectorRow]
    files: dict[str, FileRow]
    """Its files. All but payload edits and columns are as the segment was built; see ``with_edits``
    and ``with_columns``."""
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The fields of the payload that have a column, and how each was made."""

    @property
    def edits(self) -> list[str]:
        """The names of its files of payload edits, the oldest first."""
        return sorted(name for name in self.files if layout.parse_edits_file(name) is not None)

    @property
    def built(self) -> SegmentRow:
        """The segment without what comes and goes while it stays."""
        return self.with_edits({}).with_columns({}, {})

    def with_edits(self, files: Mapping[str, FileRow]) -> SegmentRow:
        """The same segment with these files of payload edits, and no others."""
        edits = self.edits
        built = {name: row for name, row in self.files.items() if name not in edits}
        return replace(self, files={**built, **files})

    def with_columns(
        self, columns: Mapping[str, dict[str, Any]], files: Mapping[str, FileRow]
    ) -> SegmentRow:
        """The same segment with these columns, and no others; ``files``: those of all of them."""
        others = {name: row for name, row in self.files.items() if not layout.is_column(name)}
        return replace(self, columns=dict(columns), files={**others, **files})

    def without_column(self, field: str) -> SegmentRow:
        """The same segment without the column of a field."""
        columns = {other: made for other, made in self.columns.items() if other != field}
        gone = layout.file_of(layout.COLUMN, field)
        files = {n: row for n, row in self.files.items() if layout.is_column(n) and n != gone}
        return self.with_columns(columns, files)

    def without(self, name: str, files: Iterable[str]) -> SegmentRow:
        """The same segment without a vector name, whose files these are."""
        vectors = {other: row for other, row in self.vectors.items() if other != name}
        gone = set(files)
        return replace(
            self, vectors=vectors, files={n: row for n, row in self.files.items() if n not in gone}
        )


def pack_segment(row: SegmentRow) -> dict[str, Any]:
    """A segment row as plain data."""
    return {
        "id": row.id,
        "rows": row.rows,
        "vectors": {name: _pack_vector(vector) for name, vector in row.vectors.items()},
        "files": {name: [file.length, file.checksum] for name, file in row.files.items()},
        **({"columns": row.columns} if row.columns else {}),
    }


def unpack_segment(value: dict[str, Any]) -> SegmentRow:
    """The inverse of ``pack_segment``. Raises KeyError, TypeError, ValueError."""
    vectors, files = typed(value["vectors"], dict), typed(value["files"], dict)
    return SegmentRow(
        id=number(value["id"]),
        rows=number(value["rows"]),
        vectors={name: _unpack_vector(vector) for name, vector in vectors.items()},
        files={name: _unpack_file(*file) for name, file in files.items()},
        columns=_unpack_columns(value.get("columns", {})),  # older rows have none
    )


def _pack_vector(vector: VectorRow) -> dict[str, Any]:
    index = None if vector.index is None else list(vector.index)
    packed = {"dim": vector.dim, "codec": vector.codec, "index": index}
    return packed if vector.datatype == FLOAT32 else {**packed, "datatype": vector.datatype}


def _unpack_vector(vector: dict[str, Any]) -> VectorRow:
    codec = vector["codec"]
    index = vector.get("index")  # rows from before there were indexes have none
    if index is not None:
        blocks, size = typed(index, list)
        index = number(blocks), number(size)
    return VectorRow(
        dim=_dimension(vector["dim"]),
        codec=None if codec is None else typed(codec, dict),
        index=index,
        datatype=_datatype(vector.get("datatype", FLOAT32)),  # rows of float32 have none
    )


def _datatype(value: Any) -> str:
    if typed(value, str) not in NUMBERS:
        raise ValueError(f"unknown datatype {value!r:.60}")
    return str(value)


def _dimension(value: Any) -> int:
    return number(abs(typed(value, int))) * (-1 if value < 0 else 1)


def _unpack_columns(columns: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {typed(name, str): typed(made, dict) for name, made in typed(columns, dict).items()}


def _unpack_file(length: int, checksum: int) -> FileRow:
    return FileRow(number(length), number(checksum, (1 << 64) - 1))


def number(value: Any, largest: int = LARGEST) -> int:
    """Check a number that a catalog may have. Raises TypeError, ValueError."""
    if not 0 <= typed(value, int) <= largest:
        raise ValueError(f"the number {value} is out of range")
    return int(value)


def typed(value: Any, kind: type[T]) -> T:
    """The value, if it is of exactly this type. Raises TypeError."""
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {value!r:.60}")
    return value
