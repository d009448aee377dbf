"""View: the immutable set of segments, alive masks and payload edits that one read sees.

A read takes the current view by one reference and works on it to the end, whatever is written,
checkpointed or optimized meanwhile. In a view every live point is in exactly one row, so a read
neither misses a point nor sees it twice.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vecdb import ids, models
from vecdb.engine.schema import Schema
from vecdb.errors import CorruptionError
from vecdb.storage.arrays import PlacedArray
from vecdb.storage.catalog import Bits
from vecdb.storage.format import bits_at, unpack_bits
from vecdb.storage.payload_edits import PayloadEdits
from vecdb.storage.segment import Companion, Index

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

_FEW_ROWS = 1024
"""So many are put in order faster than they are picked out of all rows."""
_FIRST_ROWS, _MOST_ROWS = 32, 1 << 16
"""Of how many rows at once the ids are read."""


class Segment(Protocol):
    """Rows in memory or in files, as reads see them. ``rows`` says how many of them a reader knows:
    those in memory become more. None stands for what a segment has not.

    What a row's payload is, and which operation was the last to change it, say `SegmentView`'s
    methods of the same names: it may have been edited."""

    @property
    def kind(self) -> str:
        """``"file"`` or ``"memory"``."""

    @property
    def id(self) -> int:
        """Unique in its collection."""

    @property
    def dims(self) -> dict[str, int]:
        """The vector names, and their dimensions; of those only that it has something of."""

    def locate(self, keys: Sequence[int], array: ids.IdArray, rows: int) -> Offsets:
        """For each key the row that has it, dead or alive, or -1."""

    def key(self, offset: int) -> int:
        """The key of one row."""

    def id_array(self, offsets: Offsets) -> ids.IdArray:
        """The keys of several rows."""

    def from_key(self, key: int, rows: int) -> npt.NDArray[np.uint32]:
        """All rows in id order, starting at the first id not below ``key``."""

    def seq_array(self, offsets: Offsets) -> npt.NDArray[np.uint64]:
        """The operations that wrote several rows."""

    def payload(self, offset: int) -> bytes:
        """The encoded payload of one row."""

    def payloads(self, offsets: Offsets) -> list[Any]:
        """The encoded payloads of several rows."""

    def payload_size(self, rows: Offsets) -> int:
        """Bytes of the encoded payloads of several rows."""

    def take(self, name: str, offsets: Offsets) -> Floats:
        """Copies of several rows' vectors: ``float32 (m, dim)``."""

    def has(self, name: str, offsets: Offsets) -> npt.NDArray[np.bool_] | None:
        """Which of the rows have this vector; None: all of them."""

    def present(self, name: str, rows: int) -> Bits | None:
        """Bits of the rows that have this vector; None: all of them."""

    def blocks(self, name: str, rows: int) -> Iterator[tuple[int, Floats]]:
        """The vectors of a name as (first row, ``float32 (n, dim)``) pieces."""

    def vectors(self, name: str) -> PlacedArray | None:
        """The vectors of a name as one file; None: they are in memory, in pieces, or no row has
        one."""

    def index(self, name: str) -> Index | None:
        """The index of a vector name."""

    def codes(self, name: str) -> Companion | None:
        """The quantized form of a vector name."""

    def lose(self, name: str, error: CorruptionError) -> None:
        """Go on without what is derived of a vector name, in which a search has met damage. Raises
        the error if it is not about that."""


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
        if not self.edited:
            return self.segment.seq_array(rows)
        return self.edits.seqs(rows, self.seen, self.segment.seq_array)

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

    def in_order(
        self, key: int, among: Callable[[SegmentView], Bits | None] = lambda part: part.alive
    ) -> Iterator[tuple[int, SegmentView, int]]:
        """All live points in id order from the first id not below ``key``: (key, segment, row).

        ``among``: the bits of those rows of a segment to look at; all of them must live.
        """
        streams = [_in_order(part, key, among(part)) for part in self.segments if part.live]
        return heapq.merge(*streams, key=lambda item: item[0])


def _in_order(
    part: SegmentView, key: int, mask: Bits | None
) -> Iterator[tuple[int, SegmentView, int]]:
    segment = part.segment
    if mask is not None and int(np.bitwise_count(mask).sum()) <= _FEW_ROWS:
        rows = live_rows(mask, part.rows)
        rows = rows[ids.sort_order(segment.id_array(rows))]
        for each, row in zip(ids.from_array(segment.id_array(rows)), rows.tolist(), strict=True):
            if each >= key:
                yield each, part, row
        return
    order = segment.from_key(key, part.rows)
    start, step = 0, _FIRST_ROWS
    while start < len(order):  # more and more at once: few may be wanted, and few may be left
        rows = order[start : start + step].astype(np.int64)
        if mask is not None:
            rows = rows[bits_at(mask, rows)]
        for each, row in zip(ids.from_array(segment.id_array(rows)), rows.tolist(), strict=True):
            yield each, part, row
        start, step = start + step, min(2 * step, _MOST_ROWS)
