"""Checkpoint: the memory segment becomes a file segment, in one catalog commit.

    freeze   rotate the WAL; the memory segment takes no more rows; note every mask     (write lock)
    build    write and sync the segment directory                                       (no lock)
    commit   segment row, alive masks as of the freeze, applied_seq: one transaction    (write lock)
    publish  views now show the file segment instead of the frozen one
    retire   remove WAL files that hold nothing newer

A crash before the commit leaves a directory nobody refers to; after it, WAL files nobody needs.
Both are removed by the next open or checkpoint. An error before the commit leaves everything as
it was, with the frozen segment still serving; the next checkpoint takes it up again.
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
from vecdb.engine.store import FileState, Frozen, Store, count_bits, gather_bits, none_if_all
from vecdb.engine.view import Segment, live_rows
from vecdb.engine.writer import Uninterrupted
from vecdb.storage import fs
from vecdb.storage.builder import SegmentBuilder
from vecdb.storage.catalog import Change, NotBegun
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
    if store.memory.size < MEMORY_LIMIT and store.wal.size < 4 * MEMORY_LIMIT:
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
    with store.changing():
        return _checkpoint(store)


def is_due(store: Store) -> bool:
    """Whether the catalog is behind. Under the maintenance lock."""
    return store.frozen is not None or store.applied_seq < store.next_seq - 1


def _checkpoint(store: Store) -> bool:
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
    try:
        with Uninterrupted(), store.write:
            dropped = _commit(store, frozen, segment, offsets)
            store.wal.retire(store.applied_seq)
    except BaseException:
        abandon(store, builder)
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
        alive=memory.alive,
        rows=memory.rows,
        masks={i: (state.alive, state.live) for i, state in store.files.items()},
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
    memory = frozen.segment
    offsets = live_rows(frozen.alive, frozen.rows)
    if not len(offsets):
        return None, None, offsets
    builder = SegmentBuilder(
        store.segments_path,
        store.uuid,
        store.take_segment_id(),
        len(offsets),
        memory.dims,
        wide_ids=memory.id_array(offsets).ndim == 2,
        payload_bytes=sum(len(memory.payload(row)) for row in offsets.tolist()),
    )
    try:
        for part in blocks_of(offsets, memory.dims):
            builder.add(*columns_of(memory, memory.dims, part))
        builder.finish_rows()
        return (
            builder,
            store.open_segment(builder.finish(models.to_builtins(store.config))),
            offsets,
        )
    except BaseException:
        builder.abandon()
        raise


def _commit(
    store: Store, frozen: Frozen, segment: FileSegment | None, offsets: Offsets
) -> list[Path]:
    """Commit and publish; the directories of segments in which nothing lives any more."""
    store.require_writable()
    change = Change(frozen.seq, store.next_segment_id, live={})
    for segment_id, (alive, live) in frozen.masks.items():
        if live == 0:
            change.drop.append(segment_id)
            continue
        change.live[segment_id] = live
        if live != store.files[segment_id].committed_live:
            change.alive[segment_id] = alive
    if segment is not None:
        change.add.append(segment.row)
        change.live[segment.id] = segment.rows
    with committing(store, change):
        paths = _publish(store, frozen, change, segment, offsets)
    return paths


def _publish(
    store: Store,
    frozen: Frozen,
    change: Change,
    segment: FileSegment | None,
    offsets: Offsets,
) -> list[Path]:
    paths = [store.files.pop(i).segment.path for i in change.drop]
    for segment_id, (alive, live) in frozen.masks.items():
        if segment_id in store.files:
            store.files[segment_id].committed = alive
            store.files[segment_id].committed_live = live
    if segment is not None:
        now = none_if_all(gather_bits(frozen.segment.alive, offsets), segment.rows)
        live = count_bits(now, segment.rows)
        store.files[segment.id] = FileState(segment, now, live, None, segment.rows)
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


def columns_of(source: Segment, dims: dict[str, int], rows: Offsets) -> Columns:
    """Some rows of a segment, as a builder takes them."""
    return (
        source.id_array(rows),
        source.seq_array(rows),
        source.payloads(rows),
        {name: source.take(name, rows) for name in dims},
        {name: source.has(name, rows) for name in dims},
    )
