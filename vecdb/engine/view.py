"""View: the immutable set of segments, alive masks and payload edits that one read sees.

A read takes the current view by one reference and works on it to the end, whatever is written,
checkpointed or optimized meanwhile. In a view every live point is in exactly one row, so a read
neither misses a point nor sees it twice.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb import ids, models
from vecdb.engine.columns import Demand, Fields
from vecdb.engine.schema import Schema
from vecdb.errors import CorruptionError
from vecdb.storage.arrays import PlacedArray
from vecdb.storage.catalog import Bits
from vecdb.storage.derived import Index, QuantizedVectors
from vecdb.storage.format import bits_at, count_set, unpack_bits
from vecdb.storage.multi_files import MultiFiles, TokenIndex
from vecdb.storage.payload_edits import PayloadEdits
from vecdb.storage.sparse_files import Postings
from vecdb.vectors.blocks import Block, Ragged

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

_FEW_ROWS = 1024
"""So many rows are sorted faster than they are picked out of all rows in id order."""
_FEW_BITS = 128
"""A bit in so many: then it is faster to look only at words that have some."""
_FIRST_ROWS, _MOST_ROWS = 32, 1 << 16
"""How many ids are read at once, at first and at most."""


class Segment(Protocol):
    """Rows in memory or in files, as reads see them. ``rows``: how many of them the reader knows; a
    memory segment grows. None stands for what a segment does not have.

    The payload of a row, and the operation that changed it last, may have been edited since: ask
    `SegmentView`, which has methods of the same names.
    """

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
        """Copies of several rows' dense vectors: ``float32 (m, dim)``."""

    def has(self, name: str, offsets: Offsets) -> npt.NDArray[np.bool_] | None:
        """Which of the rows have this vector; None: all of them."""

    def present(self, name: str, rows: int) -> Bits | None:
        """Bits of the rows that have this vector; None: all of them."""

    def block(self, name: str, offsets: Offsets) -> Block:
        """Copies of several rows' vectors, of any kind."""

    def entries(self, name: str, offsets: Offsets) -> int:
        """How many numbers several rows' sparse vectors have, or tokens their multivectors."""

    def blocks(self, name: str, rows: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """The dense vectors of a name as (first row, ``(n, dim)`` in their datatype) pieces."""

    def ragged_blocks(self, name: str, rows: int) -> Iterator[tuple[int, Ragged]]:
        """The sparse vectors, or multivectors, of a name as (first row, block) pieces."""

    def vectors(self, name: str) -> PlacedArray | None:
        """The dense vectors of a name as one file; None: they are in memory, in pieces, or no row
        has one."""

    def index(self, name: str) -> Index | None:
        """The index of a vector name."""

    def codes(self, name: str) -> QuantizedVectors | None:
        """The quantized vectors of a vector name."""

    def postings(self, name: str) -> Postings | None:
        """The inverted index of a vector name."""

    def multivectors(self, name: str) -> MultiFiles | None:
        """The multivectors of a name, if they are in files."""

    def token_index(self, name: str) -> TokenIndex | None:
        """The index of a name of multivectors."""

    @property
    def columns(self) -> Mapping[str, PlacedArray]:
        """By field: the bytes of its column, of rows in files."""

    def quarantine(self, name: str, error: CorruptionError) -> None:
        """Go on without the derived files of a vector name or of a field, in which a search has met
        damage. Raises the error if it is not about those."""


class SegmentView(Struct, frozen=True):
    """The first ``rows`` rows of a segment, ``live`` of them alive, and the first ``seen`` edits of
    their payloads. It tells the payload of a row and the operation that changed it last; the
    segment knows only what was written with the row."""

    segment: Segment
    rows: int
    alive: Bits | None  # None: all of them
    live: int
    edits: PayloadEdits
    seen: int

    @property
    def edited(self) -> bool:
        """Whether some row has another payload than was written with it."""
        return self.seen > 0 or bool(self.edits.files)

    def payload(self, row: int) -> Any:
        """The encoded payload of one row."""
        if not self.edited:
            return self.segment.payload(row)
        return self.edits.payload(row, self.seen, self.segment.payload)

    def payloads(self, rows: Offsets) -> list[Any]:
        """The encoded payloads of several rows."""
        if not self.edited:
            return self.segment.payloads(rows)
        return self.edits.payloads(rows, self.seen, self.segment.payloads)

    def written(self, rows: Offsets) -> list[Any]:
        """The encoded payloads that several rows had at first, whatever they were given since."""
        return self.segment.payloads(rows)

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
    if _FEW_BITS * count_set(alive) > rows:
        return np.flatnonzero(unpack_bits(alive, rows))
    bits = alive[: -(-rows // 8)]
    words = np.zeros(-(-len(bits) // 8), dtype=np.uint64)
    words.view(np.uint8)[: len(bits)] = bits
    some = np.flatnonzero(words)
    at = np.flatnonzero(unpack_bits(words[some].view(np.uint8), 64 * len(some)))
    found: Offsets = some[at >> 6] * 64 + (at & 63)
    return found[: np.searchsorted(found, rows)]


class View(Struct, frozen=True):
    """Everything a read needs: the configuration and the segments of one moment."""

    config: models.CollectionConfig
    schema: Schema
    segments: tuple[SegmentView, ...]
    fields: Fields = {}
    """The fields of the payload that segments have columns of, or are to get them."""
    demand: Demand | None = None
    """Takes note of fields that would have been of use."""
    remembered: int = sys.maxsize
    """Bytes that reads may remember of the filters of each segment."""
    plain: dict[Any, Any] = {}
    """What plain searches of this view take, see `read.plain`."""

    @property
    def live(self) -> int:
        """How many points there are."""
        return sum(segment_view.live for segment_view in self.segments)

    def locate(self, keys: Sequence[int]) -> tuple[npt.NDArray[np.int64], Offsets]:
        """For each key the index of its segment in ``segments`` and its row there, or (-1, -1)."""
        where = np.full(len(keys), -1, dtype=np.int64)
        rows = np.full(len(keys), -1, dtype=np.int64)
        array = ids.to_array(keys)
        for number, segment_view in enumerate(self.segments):
            if segment_view.live == 0:
                continue
            offsets = segment_view.segment.locate(keys, array, segment_view.rows)
            alive = segment_view.lives(offsets)
            where[alive] = number
            rows[alive] = offsets[alive]
        return where, rows

    def in_order(
        self,
        key: int,
        among: Callable[[SegmentView], Bits | None] = lambda segment_view: segment_view.alive,
    ) -> Iterator[tuple[int, SegmentView, int]]:
        """All live points in id order from the first id not below ``key``: (key, segment, row).

        ``among``: the bits of those rows of a segment to look at; all of them must live.
        """
        streams = [
            _in_order(segment_view, key, among(segment_view))
            for segment_view in self.segments
            if segment_view.live
        ]
        return heapq.merge(*streams, key=lambda item: item[0])


def _in_order(
    segment_view: SegmentView, key: int, mask: Bits | None
) -> Iterator[tuple[int, SegmentView, int]]:
    segment = segment_view.segment
    if mask is not None and count_set(mask) <= _FEW_ROWS:
        rows = live_rows(mask, segment_view.rows)
        rows = rows[ids.sort_order(segment.id_array(rows))]
        for each, row in zip(ids.from_array(segment.id_array(rows)), rows.tolist(), strict=True):
            if each >= key:
                yield each, segment_view, row
        return
    order = segment.from_key(key, segment_view.rows)
    start, step = 0, _FIRST_ROWS
    while start < len(order):  # more and more at once: few may be wanted, and few may be left
        rows = order[start : start + step].astype(np.int64)
        if mask is not None:
            rows = rows[bits_at(mask, rows)]
        for each, row in zip(ids.from_array(segment.id_array(rows)), rows.tolist(), strict=True):
            yield each, segment_view, row
        start, step = start + step, min(2 * step, _MOST_ROWS)
