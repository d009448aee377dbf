"""Sources: the rows that a new segment takes from others, as its builder takes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from vecdb.engine.schema import Schema
from vecdb.engine.store import Store
from vecdb.engine.view import Offsets, Segment, SegmentView
from vecdb.storage.builder import SegmentBuilder
from vecdb.storage.row_block import RowBlock
from vecdb.vectors.block import VectorBlock
from vecdb.vectors.datatypes import bytes_per_vector

_BLOCK_BYTES = 1 << 20


@dataclass(slots=True)
class Source:
    """A segment as it was at some moment, and the rows that a new one takes from it."""

    part: SegmentView
    rows: Offsets

    @classmethod
    def of(cls, part: SegmentView) -> Source:
        """All that lives in it."""
        return cls(part, part.live_offsets())

    @property
    def segment(self) -> Segment:
        """Where the rows are."""
        return self.part.segment


def new_builder(store: Store, sources: list[Source], schema: Schema) -> SegmentBuilder:
    """A builder for a segment of all sources' rows, with these vector names."""
    return SegmentBuilder(
        store.segments_path,
        store.uuid,
        store.take_segment_id(),
        sum(len(source.rows) for source in sources),
        {name: vector.dim for name, vector in schema.items()},
        wide_ids=any(source.segment.id_array(source.rows).ndim == 2 for source in sources),
        payload_bytes=sum(source.part.payload_size(source.rows) for source in sources),
    )


def blocks_of(offsets: Offsets, dims: dict[str, int]) -> Iterator[Offsets]:
    """``offsets`` in pieces whose vectors take about 1 MiB: a build's memory is bounded, and
    so is the time for which searches wait for its Python."""
    step = max(1, _BLOCK_BYTES // bytes_per_vector(*dims.values()))
    for start in range(0, len(offsets), step):
        yield offsets[start : start + step]


def read_rows(part: SegmentView, rows: Offsets, names: Iterable[str]) -> RowBlock:
    """Some rows of a segment, with their vectors of these names."""
    segment = part.segment
    return RowBlock(
        segment.id_array(rows),
        part.seqs(rows),
        part.payloads(rows),
        {n: VectorBlock(segment.take(n, rows), segment.has(n, rows)) for n in names},
    )


def places_in_new(sources: list[Source], order: Offsets | None = None) -> list[Offsets]:
    """For each row of each source the row that it is in the new segment, or -1. ``order``: of all
    sources' rows, those of the new segment; None: they stand as they come."""
    total = sum(len(source.rows) for source in sources)
    rows = np.arange(total)
    if order is not None:
        rows[order] = np.arange(total)
    found, start = [], 0
    for source in sources:
        places = np.full(source.part.rows, -1, dtype=np.int64)
        places[source.rows] = rows[start : start + len(source.rows)]
        found.append(places)
        start += len(source.rows)
    return found
