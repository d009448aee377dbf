"""One optimizer build: some file segments become one, in the six steps of a checkpoint.

    pin      note the sources and which of their rows the catalog lets live        (write lock)
    build    stream those rows, partition by partition; codes, sketches; sync      (no lock)
             columns, until they are those of the fields that have an index now
    commit   new segment row, its masks, the sources dropped: one transaction      (both locks)
    publish  views now show the new segment
    retire   remove the sources' directories

Points changed meanwhile are settled at the commit: a row that died in its source is dead in the
copy, because both masks of the new segment are read from the sources at that moment. Rows only die,
so "is its bit still set" is all the comparison that is needed. The catalog keeps what was alive at
``applied_seq``: the WAL may still need such rows to replay an edit of them. Payload edits go three
ways: those in the catalog at the pin are in the copied payloads; those that checkpoints committed
since go to a file of the new segment; those in memory go to its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb import models
from vecdb.engine.bits import count_bits, gather_bits, none_if_all
from vecdb.engine.commit import abandon, committing
from vecdb.engine.optimize.indexing import Arrangement, arrange, index, leading
from vecdb.engine.optimize.meter import Cancelled, Meter
from vecdb.engine.optimize.quantizing import quantize
from vecdb.engine.optimize.tokens import index_tokens
from vecdb.engine.pins import settle
from vecdb.engine.planner import is_optimized, space_for, wants_index
from vecdb.engine.schema import Schema, VectorSchema
from vecdb.engine.signals import Uninterrupted
from vecdb.engine.sources import (
    Source,
    add_columns,
    blocks_of,
    new_builder,
    read_rows,
    rows_in_new,
)
from vecdb.engine.store import FileState, Store
from vecdb.errors import OptimizerError
from vecdb.storage import fs, lookup
from vecdb.storage.builder import SegmentBuilder
from vecdb.storage.catalog import Bits, Change
from vecdb.storage.format import pack_bits, unpack_bits
from vecdb.storage.payload_edits import EditsFile, PayloadEdits, rows_of, write_edits
from vecdb.storage.row_block import RowBlock
from vecdb.storage.segment import FileSegment
from vecdb.storage.segment_row import SegmentRow

Offsets = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class _Pin(Struct, frozen=True):
    """What a build begins with: the operation of which the sources are the catalog's state, and
    the vector names there were."""

    seq: int
    renamed: int
    schema: Schema


def build(
    store: Store,
    segment_ids: tuple[int, ...],
    *,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Merge, convert, rebuild or vacuum: the new segment is as the configuration wants it, whatever
    the sources are. On any error the old segments go on serving. Raises Cancelled."""
    store.require_outside()
    with store.write:
        store.require_writable()
        if store.frozen is not None and not set(segment_ids).isdisjoint(store.frozen.absorbed):
            return  # a checkpoint has begun to rewrite some of them
        states = [store.files[i] for i in segment_ids if i in store.files]
        sources = [Source.of(state.committed_view()) for state in states]
        pinned = _Pin(store.applied_seq, store.renamed, store.schema)
        store.building = segment_ids
    try:
        if any(len(source.rows) for source in sources):
            with store.changing():
                _build(store, sources, pinned, cancelled, progress)
    finally:
        store.building = ()
    del states, sources  # what they have in memory makes room
    settle(store)


def _build(
    store: Store,
    sources: list[Source],
    pinned: _Pin,
    cancelled: Callable[[], bool],
    progress: Callable[[int, int], None],
) -> None:
    """Build and commit."""
    total = sum(len(source.rows) for source in sources)
    _require_space(store, sources)
    builder: SegmentBuilder | None = None
    try:
        builder = new_builder(store, sources, pinned.schema)
        schema = list(pinned.schema.values())
        everything = max(total, store.view.live)
        large = is_optimized(total, everything, pinned.schema, store.config.optimizer_config)
        quantized = [v for v in schema if large and v.codec is not None]
        dense = [vector for vector in schema if not vector.is_ragged]
        indexed = large and wants_index(total, store.config.optimizer_config)
        clustered = dense if indexed else []
        meter = Meter(total * (1 + len(quantized) + len(clustered)), cancelled, progress)
        room = store.budget.build
        arranged = _arrange(sources, leading(clustered), total, meter, room) if clustered else None
        order = np.arange(total) if arranged is None else arranged.order
        _copy(builder, sources, order, meter)
        scorers = {vector.name: quantize(builder, vector, meter, room) for vector in quantized}
        for vector in clustered:
            scorer = scorers.get(vector.name)
            index(builder, vector, arranged, scorer, meter.poll, meter.advance, room)
        for vector in schema:
            if indexed and vector.is_multi:
                index_tokens(builder, vector, meter.poll)
        retired: list[FileSegment] | None = None
        while retired is None:
            fields = store.fields
            add_columns(builder, fields, meter.poll)
            with store.maintenance:
                if store.fields == fields:  # else an index came or went meanwhile
                    row = builder.finish(models.to_builtins(store.config))
                    retired = _commit(store, sources, pinned, order, row)
    except BaseException:
        abandon(store, builder)
        raise
    for segment in retired:
        fs.discard(segment.path)


def _require_space(store: Store, sources: list[Source]) -> None:
    need = 0
    for source in sources:
        assert isinstance(source.segment, FileSegment)
        rows = max(1, source.segment.rows)
        length = source.segment.file_bytes + source.segment_view.edits.file_bytes
        need += space_for(length * len(source.rows) // rows)
    free = lookup.free_bytes(store.path)
    if free is not None and free < need:
        raise OptimizerError(f"{store.path}: {free} bytes free, {need} needed to rewrite segments")


def _arrange(
    sources: list[Source], vector: VectorSchema, total: int, meter: Meter, room: int
) -> Arrangement:
    """The order of all sources' rows that makes partitions contiguous."""
    has = np.ones(total, dtype=np.bool_)
    for source, start in _starts(sources):
        flags = source.segment.has(vector.name, source.rows)
        if flags is not None:
            has[start : start + len(flags)] = flags

    def read(rows: Offsets) -> Floats:
        out = np.empty((len(rows), vector.dim), dtype=np.float32)
        for source, positions, offsets in _by_source(sources, rows):
            out[positions] = vector.compared(source.segment.take(vector.name, offsets))
        return out

    return arrange(vector, total, has, read, meter.poll, room)


def _copy(builder: SegmentBuilder, sources: list[Source], order: Offsets, meter: Meter) -> None:
    """All sources' rows, in this order of them."""
    for rows in blocks_of(order, builder.dims):
        meter.poll()
        blocks = [
            (positions, read_rows(source.segment_view, offsets, builder.dims))
            for source, positions, offsets in _by_source(sources, rows)
        ]
        builder.add(blocks[0][1] if len(blocks) == 1 else _interleaved(blocks))
        meter.advance(len(rows))
    builder.finish_rows()


def _starts(sources: list[Source]) -> Iterator[tuple[Source, int]]:
    """Each source, and where its rows begin among those of all."""
    start = 0
    for source in sources:
        yield source, start
        start += len(source.rows)


def _by_source(sources: list[Source], rows: Offsets) -> Iterator[tuple[Source, Offsets, Offsets]]:
    """Split rows by source: each source, the positions of its rows in ``rows``, and their offsets
    in its segment. Rows are numbered through all sources."""
    for source, start in _starts(sources):
        positions = np.flatnonzero((rows >= start) & (rows < start + len(source.rows)))
        if len(positions):
            yield source, positions, source.rows[rows[positions] - start]


def _interleaved(blocks: list[tuple[Offsets, RowBlock]]) -> RowBlock:
    """The rows of several sources, each at its position."""
    positions = np.concatenate([positions for positions, _ in blocks])
    where = np.empty(len(positions), dtype=np.int64)
    where[positions] = np.arange(len(positions))
    return RowBlock.concat([rows for _, rows in blocks]).take(where)


def _commit(
    store: Store, sources: list[Source], pinned: _Pin, order: Offsets, row: SegmentRow
) -> list[FileSegment]:
    """Commit and publish. Under the maintenance lock; returns the retired segments."""
    if store.renamed != pinned.renamed:
        raise Cancelled  # some vectors are gone since, or new
    segment = store.open_segment(row)
    for path, detail in segment.damage.items():
        # Or it would be built again, and again.
        raise OptimizerError(f"{path}, written a moment ago, cannot be read back: {detail}")
    new_rows = rows_in_new(sources, order)
    files = _committed_edits(store, sources, pinned.seq, new_rows, segment)
    with Uninterrupted(), store.write:
        store.require_writable()
        if store.frozen is not None:
            raise OptimizerError("a checkpoint failed half-way and must be finished first")
        edits = _edits_in_memory(store, sources, new_rows, files)
        committed = none_if_all(_masks(store, sources, order, committed=True), segment.rows)
        alive = none_if_all(_masks(store, sources, order, committed=False), segment.rows)
        gone = [source.segment.id for source in sources]
        change = Change(
            store.applied_seq,
            store.next_segment_id,
            live={i: s.committed_live for i, s in store.files.items() if i not in gone},
            add=[row.with_edits(rows_of(files))],
            drop=[i for i in gone if i in store.files],
            alive={row.id: committed},
        )
        committed_live = count_bits(committed, segment.rows)
        if committed_live:
            change.live[row.id] = committed_live
        else:  # all of it was deleted meanwhile
            change.add, change.alive = [], {}
        with committing(store, change):
            retired = [store.files.pop(i).segment for i in change.drop]
            if committed_live:
                live = count_bits(alive, segment.rows)
                state = FileState(segment, alive, live, committed, committed_live, edits)
                store.files[segment.id] = state
            else:
                retired.append(segment)
            store.publish()
    return retired


def _committed_edits(
    store: Store,
    sources: list[Source],
    pinned: int,
    new_rows: list[Offsets],
    segment: FileSegment,
) -> list[EditsFile]:
    """The payload edits that checkpoints have committed since the pin, in a file of the new
    segment. Under the maintenance lock: there is no checkpoint now."""
    rows, seqs, payloads = [], [], []
    for source, new in zip(sources, new_rows, strict=True):
        state = store.files.get(source.segment.id)
        if state is None:
            continue
        segment_view = state.committed_view()
        edited = segment_view.edits.rows(0, segment_view.edits.files)
        edited = edited[new[edited] >= 0]
        edited = edited[segment_view.seqs(edited) > pinned]
        rows.append(new[edited])
        seqs.append(segment_view.seqs(edited))
        payloads += segment_view.payloads(edited)
    if not payloads:
        return []
    joined = np.concatenate(rows)
    order = np.argsort(joined)
    ordered = [payloads[each] for each in order.tolist()]
    columns = (joined[order], np.concatenate(seqs)[order], ordered)
    return [write_edits(segment.path, store.uuid, segment.row, store.applied_seq, *columns)]


def _edits_in_memory(
    store: Store, sources: list[Source], new_rows: list[Offsets], files: list[EditsFile]
) -> PayloadEdits:
    """The payload edits of the new segment: those in files, and those that no checkpoint has
    committed yet."""
    edits = PayloadEdits(files)
    for source, new in zip(sources, new_rows, strict=True):
        state = store.files.get(source.segment.id)
        if state is not None:
            edits.take_over(state.edits, 0, new)
    return edits


def _masks(store: Store, sources: list[Source], order: Offsets, *, committed: bool) -> Bits:
    """The mask of the new segment's rows, read from where each row came from."""
    flags = []
    for source in sources:
        state = store.files.get(source.segment.id)
        if state is None:  # nothing in it lived any more, and a checkpoint dropped it
            flags.append(np.zeros(len(source.rows), dtype=np.bool_))
            continue
        bits = gather_bits(state.committed if committed else state.alive, source.rows)
        flags.append(unpack_bits(bits, len(source.rows)))
    return pack_bits(np.concatenate(flags)[order])
