"""Placements: where each part of a segment is kept while it is open.

``pinned``: in anonymous memory, which only swap can take back. ``cached``: mapped, and the kernel
reads ahead around what is used. ``cold``: mapped, and only what is used is read. ``files.py`` says
of which part a file is. Nothing on disk depends on this: another placement opens files again.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from vecdb.storage.arrays import Placement
from vecdb.storage.files import FileKind, may_have
from vecdb.storage.segment_row import SegmentRow


class VectorPlacements(Struct, frozen=True):
    """The placements of the parts of one vector name."""

    originals: Placement = "cached"
    codes: Placement = "cached"
    """And of what reads them."""
    index: Placement = "cached"
    """And of its sketches, or postings."""


MAPPED = VectorPlacements()


class Placements(Struct, frozen=True):
    """The placements of all parts of a segment."""

    vectors: Mapping[str, VectorPlacements] = field(default_factory=dict)
    """By vector name; of those that are not here, nothing is pinned."""
    ids: Placement = "cached"
    payload: Placement = "cached"
    columns: Mapping[str, Placement] = field(default_factory=dict)
    """By field; those that are not here are cached."""

    def of(self, file: FileKind, name: str) -> Placement:
        """The placement of a file, of this vector name or field."""
        placement: Placement
        match file.placed:
            case "cached" | "cold" as placement:
                pass
            case "ids":
                placement = self.ids
            case "payload":
                placement = self.payload
            case "columns":
                placement = self.columns.get(name, "cached")
            case part:
                placement = getattr(self.vectors.get(name, MAPPED), part)
        return placement

    def pinned(self, row: SegmentRow) -> dict[str, int]:
        """The files of a segment that are to be pinned, and the bytes that each will take. No file
        is opened for it."""
        return {
            name: row.files[name].length
            for name, file, of in may_have(row)
            if name in row.files and self.of(file, of) == "pinned"
        }

    def demoted(self) -> Placements:
        """The same with ``cached`` in place of ``pinned``."""

        def down(placement: Placement) -> Placement:
            return "cached" if placement == "pinned" else placement

        return Placements(
            {
                name: VectorPlacements(down(v.originals), down(v.codes), down(v.index))
                for name, v in self.vectors.items()
            },
            down(self.ids),
            down(self.payload),
            {field: down(placement) for field, placement in self.columns.items()},
        )
