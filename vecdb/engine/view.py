"""View: the immutable set of segments, alive masks and payload edits that one read sees.

A read takes the current view by one reference and works on it to the end, whatever is written,
checkpointed or optimized meanwhile. In a view every live point is in exactly one row, so a read
neither misses a point nor sees it twice.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb import ids, models
from vecdb.engine.schema import Schema
from vecdb.storage.catalog import Bits
from vecdb.storage.format import bits_at, unpack_bits
from vecdb.storage.memory import MemorySegment
from vecdb.storage.payload_edits import PayloadEdits
from vecdb.storage.segment import FileSegment

Segment = MemorySegment | FileSegment
Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SegmentView:
    """The first ``rows`` rows of a segment, of which ``live`` are alive, and the first ``seen``
    edits of their payloads. What is the payload of a row, and which operation was the last to
    change it, is asked here: the segment knows what was written with the row."""

    segment: Segment
    rows: int
    alive: Bits | None  # None: all of them
    live: int
    edits: PayloadEdits
    seen: int

    @property
    def edited(self) -> bool:
        """Whether a payload is another than was written with its row."""
        return self.seen > 0 or bool(self.edits.files)

    def unedited(self) -> SegmentView:
        """The same rows with the payloads that were written with them."""
        return replace(self, edits=PayloadEdits(), seen=0)

    def payload(self, row: int) -> Any:
        """The encoded payload of one row."""
        if not self.edited:
            return self.segment.payload(row)
        return self.payloads(np.array([row], dtype=np.int64))[0]

    def payloads(self, rows: Offsets) -> list[Any]:
        """The encoded payloads of several rows."""
        if not self.edited:
            return self.segment.payloads(rows)
        return self.edits.payloads(rows, self.seen, self.segment.payloads)

    def payload_size(self, rows: Offsets) -> int:
        """Bytes of the encoded payloads of several rows."""
        if not self.edited:
            return self.segment.payload_size(rows)
        return self.edits.payload_size(rows, self.seen, self.segment.payload_size)

    def seqs(self, rows: Offsets) -> npt.NDArray[np.uint64]:
        """The operations that changed several rows last."""
        seqs = self.segment.seq_array(rows)
        return self.edits.seqs(rows, self.seen, seqs) if self.edited else seqs

    def lives(self, offsets: Offsets) -> npt.NDArray[np.bool_]:
        """Which of these rows are alive; -1 is not."""
        known = offsets >= 0
        if self.alive is None:
            return known
        at = np.where(known, offsets, 0)
        return known & bits_at(self.alive, at)

    def live_offsets(self) -> Offsets:
        """All live rows, ascending."""
        return live_rows(self.alive, self.rows)


def live_rows(alive: Bits | None, rows: int) -> Offsets:
    """The rows that a mask lets live, ascending."""
    if alive is None:
        return np.arange(rows, dtype=np.int64)
    return np.flatnonzero(unpack_bits(alive, rows))


@dataclass(frozen=True, slots=True)
class View:
    """Everything a read needs: the configuration and the segments of one moment."""

    config: models.CollectionConfig
    schema: Schema
    segments: tuple[SegmentView, ...]

    @property
    def live(self) -> int:
        """How many points there are."""
        return sum(part.live for part in self.segments)

    def locate(self, keys: Sequence[int]) -> tuple[npt.NDArray[np.int64], Offsets]:
        """For each key the index of its segment in ``segments`` and its row there, or (-1, -1)."""
        where = np.full(len(keys), -1, dtype=np.int64)
        rows = np.full(len(keys), -1, dtype=np.int64)
        array = ids.to_array(keys)
        for number, part in enumerate(self.segments):
            if part.live == 0:
                continue
            offsets = part.segment.locate(keys, array, part.rows)
            found = part.lives(offsets)
            where[found] = number
            rows[found] = offsets[found]
        return where, rows

    def in_order(self, key: int) -> Iterator[tuple[int, SegmentView, int]]:
        """All live points in id order from the first id not below ``key``: (key, segment, row)."""

        def walk(part: SegmentView) -> Iterator[tuple[int, SegmentView, int]]:
            alive = part.alive
            for row in part.segment.from_key(key, part.rows):
                if alive is None or alive[row >> 3] >> (row & 7) & 1:
                    yield part.segment.key(row), part, row

        streams = [walk(part) for part in self.segments if part.live]
        return heapq.merge(*streams, key=lambda item: item[0])
