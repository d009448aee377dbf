"""Checkpoint: the memory segment becomes a file segment, in one catalog commit.

    freeze   rotate the WAL; the memory segment takes no more rows; note every mask and
             how many payload edits there are                                           (write lock)
    build    write and sync the segment directory, and payload edits of older segments  (no lock)
    commit   segment rows, alive masks as of the freeze, applied_seq: one transaction   (write lock)
    publish  views now show the file segment instead of the frozen one
    retire   remove WAL files that hold nothing newer, and replaced payload edits

A crash before the commit leaves files nobody refers to; after it, WAL files and payload edits
nobody needs. All are removed by the next open or checkpoint. An error before the commit leaves
everything as it was, with the frozen segment still serving; the next one takes it up again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb import models
from vecdb.engine.store import (
    FileState,
    Frozen,
    Store,
    count_bits,
    gather_bits,
    none_if_all,
    view_of,
)
from vecdb.engine.view import SegmentView
from vecdb.engine.writer import Uninterrupted
from vecdb.storage import fs
from vecdb.storage.builder import SegmentBuilder
from vecdb.storage.catalog import Change, NotBegun
from vecdb.storage.payload_edits import EditsFile, PayloadEdits, rows_of, write_edits
from vecdb.storage.segment import FileSegment

Offsets = npt.NDArray[np.int64]
Columns = tuple[Any, Any, list[Any], dict[str, Any], dict[str, Any]]
"""Ids, seqs, payloads, vectors by name, flags of presence by name: see ``SegmentBuilder.add``."""

# A memory segment of this size is checkpointed by the write that fills it. Larger means fewer,
# larger segments and a longer replay after a crash.
MEMORY_LIMIT = 64 << 20

_BLOCK_BYTES = 1 << 20


def checkpoint_if_full(store: Store) -> None:
    """The write that fills the memory segment pays for its checkpoint; others go on meanwhile."""
    if _is_full(store):
        with store.maintenance:
            if _is_full(store):
                checkpoint_held(store)


def _is_full(store: Store) -> bool:
    if store.memory_size < MEMORY_LIMIT and store.wal.size < 4 * MEMORY_LIMIT:
        return False
    return time.monotonic() >= store.optimizer.retry_at  # not again at once after a failure


def checkpoint(store: Store) -> bool:
    """Bring the catalog up to the last operation before this call; False if it is there already.

    Raises StorageFullError, OSError and VecdbError; unless the catalog commit itself failed,
    nothing has changed.
    """
    store.require_outside()
    with store.maintenance, fs.told_when_full(store.path):
        done = checkpoint_held(store)
    if done:
        store.changed()
    return done


def checkpoint_held(store: Store) -> bool:
    """``checkpoint``, under the maintenance lock."""
    store.require_writable()
    finished = store.frozen is not None
    if store.frozen is not None:  # left by a checkpoint that failed
        _finish(store, store.frozen)
    with Uninterrupted(), store.write:
        store.require_writable()
        frozen = freeze(store) if store.applied_seq < store.next_seq - 1 else None
    if frozen is not None:
        _finish(store, frozen)
    if (store.optimizer.error or "").startswith("checkpoint:"):
        store.optimizer.succeeded()
    return finished or frozen is not None


def _finish(store: Store, frozen: Frozen) -> None:
    """Everything after the freeze. Under the maintenance lock."""
    builder, segment, offsets = _build(store, frozen)
    edits: dict[int, tuple[EditsFile, ...]] = {}
    try:
        for segment_id, part in frozen.files.items():
            if part.seen and part.live:
                edits[segment_id] = _write_edits(store, part, frozen.seq)
        with Uninterrupted(), store.write:
            dropped = _commit(store, frozen, segment, offsets, edits)
            store.wal.retire(store.applied_seq)
    except BaseException:
        abandon(store, builder)
        _abandon_edits(store, frozen, edits)
        raise
    for path in dropped:
        fs.discard(path)


def freeze(store: Store) -> Frozen:
    """Start a new WAL file and a new memory segment. Under both locks.

    In recovery no file is open yet: the new one must not vouch for what was replayed before that
    is in the catalog, because it may be in the page cache only.
    """
    memory, fresh = store.memory, store.new_memory()
    if store.wal.is_open:
        store.start_wal_file()
    frozen = store.frozen = Frozen(
        segment=memory,
        seq=store.next_seq - 1,
        part=view_of(memory),
        files={i: state.view() for i, state in store.files.items()},
    )
    store.memory = fresh
    store.publish()
    return frozen


def abandon(store: Store, builder: SegmentBuilder | None) -> None:
    """Remove what a failed build wrote; unless it was committed, or may have been."""
    if builder is not None and store.failure is None and builder.segment_id not in store.files:
        builder.abandon()


def _build(
    store: Store, frozen: Frozen
) -> tuple[SegmentBuilder | None, FileSegment | None, Offsets]:
    """Files for the rows that lived at the freeze; (None, None, []) if there are none."""
    memory, part = frozen.segment, frozen.part
    offsets = part.live_offsets()
    if not len(offsets):
        return None, None, offsets
    builder = SegmentBuilder(
        store.segments_path,
        store.uuid,
        store.take_segment_id(),
        len(offsets),
        memory.dims,
        wide_ids=memory.id_array(offsets).ndim == 2,
        payload_bytes=part.payload_size(offsets),
    )
    try:
        for rows in blocks_of(offsets, memory.dims):
            builder.add(*columns_of(part, memory.dims, rows))
        builder.finish_rows()
        return (
            builder,
            store.open_segment(builder.finish(models.to_builtins(store.config))),
            offsets,
        )
    except BaseException:
        builder.abandon()
        raise


def _write_edits(store: Store, part: SegmentView, seq: int) -> tuple[EditsFile, ...]:
    """The files of a segment's payload edits as of the freeze: a new one, and those that stay."""
    segment, edits = part.segment, part.edits
    assert isinstance(segment, FileSegment)
    kept = edits.kept(part.seen)
    rows = edits.rows(part.seen, edits.files[len(kept) :])
    rows = rows[part.lives(rows)]
    if not len(rows):
        return kept
    columns = (rows, part.seqs(rows), part.payloads(rows))
    return (*kept, write_edits(segment.path, store.uuid, segment.row, seq, *columns))


def _abandon_edits(store: Store, frozen: Frozen, edits: dict[int, tuple[EditsFile, ...]]) -> None:
    """Remove what was written for nothing; unless it was committed, or may have been."""
    if store.failure is None and store.applied_seq < frozen.seq:
        for segment_id, files in edits.items():
            for file in files:
                if file not in frozen.files[segment_id].edits.files:
                    fs.discard(file.part.path)


def _commit(
    store: Store,
    frozen: Frozen,
    segment: FileSegment | None,
    offsets: Offsets,
    edits: dict[int, tuple[EditsFile, ...]],
) -> list[Path]:
    """Commit and publish. Returns what is of no use any more: the directories of segments in which
    nothing lives, and replaced payload edits."""
    store.require_writable()
    change = Change(frozen.seq, store.next_segment_id, live={})
    for segment_id, part in frozen.files.items():
        if part.live == 0:
            change.drop.append(segment_id)
            continue
        change.live[segment_id] = part.live
        state = store.files[segment_id]
        if part.live != state.committed_live:
            change.alive[segment_id] = part.alive
        if segment_id in edits:
            change.add.append(state.segment.row.with_edits(rows_of(edits[segment_id])))
    if segment is not None:
        change.add.append(segment.row)
        change.live[segment.id] = segment.rows
    with committing(store, change):
        paths = _publish(store, frozen, change, segment, offsets, edits)
    return paths


def _publish(
    store: Store,
    frozen: Frozen,
    change: Change,
    segment: FileSegment | None,
    offsets: Offsets,
    edits: dict[int, tuple[EditsFile, ...]],
) -> list[Path]:
    paths = [store.files.pop(i).segment.path for i in change.drop]
    for segment_id, part in frozen.files.items():
        if segment_id in store.files:
            state = store.files[segment_id]
            state.committed, state.committed_live = part.alive, part.live
            if segment_id in edits:
                files = edits[segment_id]
                paths += [f.part.path for f in part.edits.files if f not in files]
                state.edits = PayloadEdits(files)
                state.edits.take_over(part.edits, part.seen)
    if segment is not None:
        now = none_if_all(gather_bits(frozen.segment.alive, offsets), segment.rows)
        live = count_bits(now, segment.rows)
        state = FileState(segment, now, live, None, segment.rows)
        places = places_of(offsets, frozen.part.rows)
        state.edits.take_over(frozen.segment.edits, frozen.part.seen, places)
        store.files[segment.id] = state
    store.applied_seq = frozen.seq
    store.frozen = None
    store.publish()
    return paths


@contextmanager
def committing(store: Store, change: Change) -> Iterator[None]:
    """The one commit point, then the block that makes memory agree with it.

    If either fails, what the catalog says and what memory says may differ, so nothing is written
    or deleted after it.
    """
    catalog = store.catalog
    assert catalog is not None, "require_writable comes first"
    try:
        catalog.commit(change)
        yield
    except NotBegun:  # nothing has changed, here or there
        raise
    except BaseException as error:
        store.fail(f"{catalog.path}: commit failed: {type(error).__name__}: {error}")
        raise


def blocks_of(offsets: Offsets, dims: dict[str, int]) -> Iterator[Offsets]:
    """``offsets`` in pieces whose vectors take about 1 MiB: a build's memory is bounded, and
    so is the time for which searches wait for its Python."""
    step = max(1, _BLOCK_BYTES // (4 * sum(dims.values())))
    for start in range(0, len(offsets), step):
        yield offsets[start : start + step]


def columns_of(source: SegmentView, dims: dict[str, int], rows: Offsets) -> Columns:
    """Some rows of a segment, as a builder takes them."""
    segment = source.segment
    return (
        segment.id_array(rows),
        source.seqs(rows),
        source.payloads(rows),
        {name: segment.take(name, rows) for name in dims},
        {name: segment.has(name, rows) for name in dims},
    )


def places_of(offsets: Offsets, rows: int) -> Offsets:
    """For each of a segment's ``rows`` rows its place among ``offsets``, or -1."""
    places = np.full(rows, -1, dtype=np.int64)
    places[offsets] = np.arange(len(offsets))
    return places
