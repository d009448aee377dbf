"""Sources: the rows that a new segment takes from other segments, in the form its builder takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from msgspec import Struct

from vecdb.engine.columns import Fields
from vecdb.engine.schema import Schema, datatypes_of, dims_of
from vecdb.engine.store import Store
from vecdb.engine.view import Offsets, Segment, SegmentView
from vecdb.payload.columns import build
from vecdb.storage.builder import SegmentBuilder
from vecdb.storage.row_block import RowBlock
from vecdb.vectors.datatypes import bytes_per_vector

_BLOCK_BYTES = 1 << 20
_AT_ONCE = 256
"""So many payloads are read between two turns of searches."""
_ROW_BYTES = 64
"""A row has an id, a seq and a payload, too, and need not have more."""


class Source(Struct):
    """A segment as it was at some moment, and the rows that a new one takes from it."""

    segment_view: SegmentView
    rows: Offsets

    @classmethod
    def of(cls, segment_view: SegmentView) -> Source:
        """All that lives in it."""
        return cls(segment_view, segment_view.live_offsets())

    @property
    def segment(self) -> Segment:
        """Where the rows are."""
        return self.segment_view.segment


def new_builder(store: Store, sources: list[Source], schema: Schema) -> SegmentBuilder:
    """A builder for a segment of all sources' rows, with these vector names."""
    return SegmentBuilder(
        store.segments_path,
        store.uuid,
        store.take_segment_id(),
        sum(len(source.rows) for source in sources),
        dims_of(schema),
        datatypes=datatypes_of(schema),
        wide_ids=any(source.segment.id_array(source.rows).ndim == 2 for source in sources),
        payload_bytes=sum(source.segment_view.payload_size(source.rows) for source in sources),
        entries={
            name: sum(source.segment.entries(name, source.rows) for source in sources)
            for name, vector in schema.items()
            if vector.is_ragged
        },
        room=store.budget.build,
    )


def blocks_of(offsets: Offsets, dims: dict[str, int]) -> Iterator[Offsets]:
    """``offsets`` in pieces whose vectors take about 1 MiB: a build's memory is bounded, and
    so is the time for which searches wait for its Python."""
    step = max(1, _BLOCK_BYTES // max(_ROW_BYTES, sum(map(bytes_per_vector, dims.values()))))
    for start in range(0, len(offsets), step):
        yield offsets[start : start + step]


def read_rows(segment_view: SegmentView, rows: Offsets, names: Iterable[str]) -> RowBlock:
    """Some rows of a segment, with their vectors of these names."""
    segment = segment_view.segment
    return RowBlock(
        segment.id_array(rows),
        segment_view.seqs(rows),
        segment_view.payloads(rows),
        {n: segment.block(n, rows) for n in names},
    )


def add_columns(
    builder: SegmentBuilder, fields: Fields, poll: Callable[[], None] = lambda: None
) -> None:
    """Give a new segment the columns of these fields that it lacks, and take those of others away;
    after its rows. ``poll`` is called now and then."""

    def payloads() -> Iterator[Any]:
        for number, payload in enumerate(builder.payloads()):
            if not number % _AT_ONCE:
                poll()
            yield payload

    for path, made in list(builder.columns.items()):
        if path not in fields or not fields[path].is_made(made):
            builder.remove_column(path)
    for path, field in fields.items():
        if path not in builder.columns:
            builder.add_column(path, field.made, build(path, payloads(), field.text).pack())


def rows_in_new(sources: list[Source], order: Offsets | None = None) -> list[Offsets]:
    """For each row of each source its row in the new segment, or -1. ``order``: the rows of the new
    segment, numbered through all sources; None: all of them as they come."""
    total = sum(len(source.rows) for source in sources)
    rows = np.arange(total)
    if order is not None:
        rows[order] = np.arange(total)
    out, start = [], 0
    for source in sources:
        new_rows = np.full(source.segment_view.rows, -1, dtype=np.int64)
        new_rows[source.rows] = rows[start : start + len(source.rows)]
        out.append(new_rows)
        start += len(source.rows)
    return out
