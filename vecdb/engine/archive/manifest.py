"""What is in an archive: an exact state of a collection, or of each of a database, in one file.

    FORMAT        whose it is, in which format, and what kind of archive
    1/manifest    the catalog of the first collection, and size and checksum of all that follows
    1/alive/…     alive masks
    1/wal         the operations beyond the catalog's state
    1/segments/…  every data file, as it is
    2/manifest    the second collection, and so on

LMDB's file is not in it: the catalog goes in as values. So restoring an archive (``restore.py``)
opens no LMDB file that somebody else made.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from vecdb.storage import layout
from vecdb.storage.catalog import Bits, Snapshot
from vecdb.storage.files import expected_files
from vecdb.storage.format import (
    MAX_VALUE,
    DamageError,
    pack_row,
    pack_value,
    unpack_row,
    unpack_value,
)
from vecdb.storage.segment_row import LARGEST, SegmentRow, unpack_segment

MAX_MANIFEST = MAX_VALUE + 8

_KEY = b"manifest"

_Number = Annotated[int, Meta(ge=0, le=LARGEST)]


class Manifest(Struct, forbid_unknown_fields=True):
    """One collection of an archive: what its catalog said, and what follows in the file."""

    name: str
    uuid: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    config: dict[str, Any]
    applied_seq: _Number
    last_seq: _Number
    next_segment_id: _Number
    segments: list[dict[str, Any]]
    """The segments' rows."""
    live: list[_Number]
    """How many rows live, of each segment."""
    masks: dict[str, int]
    """Directory of a segment: checksum of its alive mask. Without one, every row lives."""
    wal: tuple[_Number, int]
    """Length and checksum of the log."""

    def pack(self) -> bytes:
        """The member's content."""
        return pack_row(_KEY, pack_value(msgspec.to_builtins(self)))

    @classmethod
    def unpack(cls, data: bytes) -> Manifest:
        """The inverse of ``pack``. Raises DamageError."""
        try:
            manifest = msgspec.convert(unpack_value(unpack_row(_KEY, data)), cls)
            rows = manifest.rows()
        except (KeyError, TypeError, ValueError) as error:
            raise DamageError(f"not a valid manifest: {error!r:.200}") from None
        for row in rows:
            if not row.files.keys() <= expected_files(row).keys():
                raise DamageError("not a valid manifest: files that no segment has")
        known = {layout.segment_dir(row.id) for row in rows}
        if not manifest.masks.keys() <= known or len(manifest.live) != len(rows):
            raise DamageError("not a valid manifest: masks of other segments")
        return manifest

    def rows(self) -> list[SegmentRow]:
        """The segments' rows, as the catalog has them."""
        return [unpack_segment(value) for value in self.segments]

    def snapshot(self, alive: dict[int, Bits]) -> Snapshot:
        """The catalog, with these masks."""
        rows = self.rows()
        live = {row.id: count for row, count in zip(rows, self.live, strict=True)}
        return Snapshot(self.config, self.applied_seq, self.next_segment_id, rows, alive, live)


class Member(Struct, frozen=True):
    """A file of an archive that belongs to a collection."""

    name: str
    size: int
    row: SegmentRow | None = None
    """The segment to which the alive mask or data file belongs; None: it is the log."""
    file: str | None = None
    """The name of the data file."""


def members(manifest: Manifest) -> list[Member]:
    """What follows a manifest, in order. Members are named only here."""
    masks, files = [], []
    for row in manifest.rows():
        directory = layout.segment_dir(row.id)
        if directory in manifest.masks:
            masks.append(Member(f"alive/{directory}", -(-row.rows // 8), row))
        for file in sorted(row.files):
            name = f"{layout.SEGMENTS}/{directory}/{file}"
            files.append(Member(name, row.files[file].length, row, file))
    return [*masks, Member("wal", manifest.wal[0]), *files]
