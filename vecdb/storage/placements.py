"""Placements: where each part of a segment is kept while it is open.

``pinned``: in anonymous memory, which only swap can take back. ``cached``: mapped, and the kernel
reads ahead around what is used. ``cold``: mapped, and only what is used is read. ``files.py`` says
of which part a file is. Nothing on disk depends on this: another placement opens files again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import Struct, field

from vecdb.storage.arrays import Placement
from vecdb.storage.files import FileKind, Part, may_have
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

    def pinned_parts(self, row: SegmentRow) -> dict[tuple[str, str], int]:
        """The parts of a segment that are to be pinned, each with the vector name or field that it
        is of, and the bytes that each will take. No file is opened for it."""
        sizes: dict[tuple[str, str], int] = {}
        for name, file, of in may_have(row):
            if name in row.files and self.of(file, of) == "pinned":
                part = file.placed, of
                sizes[part] = sizes.get(part, 0) + row.files[name].length
        return sizes

    def demoted(self, kept: Collection[tuple[str, str]] = ()) -> Placements:
        """The same with ``cached`` in place of ``pinned``, but for the parts that are ``kept``."""

        def down(placement: Placement, part: Part, of: str = "") -> Placement:
            return "cached" if placement == "pinned" and (part, of) not in kept else placement

        return Placements(
            {
                name: VectorPlacements(
                    down(v.originals, "originals", name),
                    down(v.codes, "codes", name),
                    down(v.index, "index", name),
                )
                for name, v in self.vectors.items()
            },
            down(self.ids, "ids"),
            down(self.payload, "payload"),
            {field: down(place, "columns", field) for field, place in self.columns.items()},
        )
