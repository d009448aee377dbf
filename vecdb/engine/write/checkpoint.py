"""Checkpoint: the memory segment becomes a file segment, in one catalog commit.

    freeze   rotate the WAL; the memory segment takes no more rows; note every mask and
             how many payload edits there are                                           (write lock)
    build    write and sync the segment directory, small segments' rows along, and the
             payload edits of the other segments                                        (no lock)
    commit   segment rows, alive masks as of the freeze, applied_seq: one transaction   (write lock)
    publish  views now show the file segment instead of the frozen one
    retire   remove WAL files that hold nothing newer, and replaced payload edits

A crash before the commit leaves files nobody refers to; after it, WAL files and payload edits
nobody needs. All are removed by the next open or checkpoint. An error before the commit leaves
everything as it was, with the frozen segment still serving. The next checkpoint takes it up again,
with what was written since and without what has died since. On a full disk that helps.

The number of segments stays bounded, however often a checkpoint is made and whether or not the
optimizer gets a turn: one that would leave too many takes the smallest along
(``planner.absorbed``).
"""

from __future__ import annotations

import errno
import logging
import time
from pathlib import Path

import numpy as np

from vecdb import models
from vecdb.engine.bits import count_bits, gather_bits, none_if_all
from vecdb.engine.commit import abandon, committing
from vecdb.engine.pins import settle
from vecdb.engine.planner import absorbed, space_for
from vecdb.engine.schema import row_bytes
from vecdb.engine.signals import Uninterrupted
from vecdb.engine.sources import (
    Source,
    add_columns,
    blocks_of,
    new_builder,
    read_rows,
    rows_in_new,
)
from vecdb.engine.statistics import statistics
from vecdb.engine.store import FileState, Frozen, Store, view_of
from vecdb.engine.view import SegmentView
from vecdb.errors import (
    ClosedError,
    CorruptionError,
    ReentrantCallError,
    StorageFullError,
    VecdbError,
)
from vecdb.storage import fs, lookup
from vecdb.storage.builder import SegmentBuilder
from vecdb.storage.catalog import Bits, Change
from vecdb.storage.format import pack_bits, unpack_bits
from vecdb.storage.memory import MemorySegment
from vecdb.storage.payload_edits import EditsFile, PayloadEdits, rows_of, write_edits
from vecdb.storage.segment import FileSegment

_log = logging.getLogger("vecdb")

Edits = dict[int, tuple[EditsFile, ...]]
"""The new list of payload edit files, for each file segment where it changes with the commit."""

# A memory segment of this size is checkpointed by the write that fills it. Larger means fewer,
# larger segments and a longer replay after a crash.
MEMORY_LIMIT = 64 << 20

_SPARED = 4
"""A checkpoint leaves one share of so many of what is kept free for deleting: it frees the log
itself."""


def checkpoint_if_full(store: Store) -> None:
    """The write that fills the memory segment pays for its checkpoint; others go on meanwhile. The
    one that fills what there is for all collections pays for that of the fullest."""
    if _is_full(store):
        began = time.monotonic()
        with store.maintenance:
            if _is_full(store):
                checkpoint_held(store)
        store.rush.held_up(began, time.monotonic())
    if store.budget.limit is not None:
        fullest = store.budget.fullest(store, store.unwritten_size)
        if fullest is not None:
            _make_room(fullest)


def _make_room(store: Store) -> None:
    """Make a checkpoint of the collection that has most in memory, whichever was written to."""
    try:
        if time.monotonic() >= store.optimizer.retry_at:
            checkpoint(store)
    except (ClosedError, ReentrantCallError):
        pass  # it has nothing any more; or a signal's handler has come into a change of it
    except (OSError, VecdbError) as error:  # the write has succeeded, of whichever it was
        store.optimizer.failed("checkpoint", error)
    store.budget.fullest(store, store.unwritten_size)


def _is_full(store: Store) -> bool:
    limit = min(MEMORY_LIMIT, store.budget.rows)
    if store.memory_size < limit and store.wal.size < 4 * limit:
        return False
    return time.monotonic() >= store.optimizer.retry_at  # not again at once after a failure


def checkpoint(store: Store) -> bool:
    """Bring the catalog up to the last operation before this call; False if it is there already.

    Raises StorageFullError, OSError and VecdbError; unless the catalog commit itself failed,
    nothing has changed.
    """
    store.require_outside()
    with store.maintenance, fs.raising_storage_full(store.path):
        done = checkpoint_held(store)
    if done:
        store.changed()
    return done


def checkpoint_held(store: Store) -> bool:
    """``checkpoint``, under the maintenance lock."""
    with store.changing():
        done = _checkpoint(store)
    settle(store)
    return done


def is_due(store: Store) -> bool:
    """Whether the catalog is behind. Under the maintenance lock."""
    return store.frozen is not None or store.applied_seq < store.next_seq - 1


def _checkpoint(store: Store) -> bool:
    with Uninterrupted(), store.write:
        store.require_writable()
        frozen = freeze(store) if store.applied_seq < store.next_seq - 1 else None
    if frozen is not None:
        _finish(store, frozen)
    if (store.optimizer.error or "").startswith("checkpoint:"):
        store.optimizer.succeeded()
    return frozen is not None


def _finish(store: Store, frozen: Frozen) -> None:
    """Do everything that follows the freeze. Under the maintenance lock."""
    if frozen.absorbed:
        try:
            return _write(store, frozen, frozen.absorbed)
        except Exception as error:
            if store.failure is not None:
                raise
            # If other segments cannot be taken along, the rows must leave memory all the same.
            if isinstance(error, CorruptionError):
                paths = {i: str(store.files[i].segment.path) for i in frozen.absorbed}
                store.unreadable.update(i for i, path in paths.items() if path in error.path)
            _log.warning("collection %r: small segments stay: %s", store.name, error)
    _write(store, frozen, ())


def _write(store: Store, frozen: Frozen, absorbed: tuple[int, ...]) -> None:
    segment_views = [*frozen.memory_views, *(frozen.files[segment_id] for segment_id in absorbed)]
    sources = [Source.of(segment_view) for segment_view in segment_views]
    builder, segment = _build(store, sources)
    edits: Edits = {}
    try:
        for segment_id, segment_view in frozen.files.items():
            if segment_view.seen and segment_view.live and segment_id not in absorbed:
                edits[segment_id] = _write_edits(store, segment_view, frozen.seq)
        with Uninterrupted(), store.write:
            dropped = _commit(store, frozen, absorbed, segment, sources, edits)
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
    earlier, memory = store.frozen, store.memory
    if store.wal.is_open and (earlier is None or earlier.seq < store.next_seq - 1):
        try:
            store.start_wal_file()
        except OSError:
            # Without space or a descriptor for a new file the log goes on in the old one, which a
            # later checkpoint removes. Deleting everything must free space even then.
            if store.failure is not None:
                raise
    memory_views = [view_of(each) for each in store.memories() if each.live]
    frozen = store.frozen = Frozen(
        memory_views=tuple(memory_views),
        seq=store.next_seq - 1,
        files={i: state.view() for i, state in store.files.items()},
        absorbed=_absorbed(store) if memory_views else (),
    )
    if memory.rows:
        store.memory = store.new_memory()
    store.publish()
    return frozen


def _absorbed(store: Store) -> tuple[int, ...]:
    """The small segments to take along, if there is space for their rows, too."""
    stats = statistics(store, settled=False)
    apart = {*store.building, *store.unreadable}
    chosen = absorbed(stats, apart, store.schema, store.config.optimizer_config)
    need = sum(space_for(each.live_bytes) for each in stats.segments if each.id in chosen)
    return chosen if stats.free_bytes is None or need < stats.free_bytes else ()


def _build(store: Store, sources: list[Source]) -> tuple[SegmentBuilder | None, FileSegment | None]:
    """Write the files for all sources' rows; (None, None) if there are none."""
    total = sum(len(source.rows) for source in sources)
    if not total:
        return None, None
    _require_space(store, total * row_bytes(store.schema))
    builder = new_builder(store, sources, store.schema)
    try:
        for source in sources:
            for rows in blocks_of(source.rows, builder.dims):
                builder.add(read_rows(source.segment_view, rows, builder.dims))
        builder.finish_rows()
        add_columns(builder, store.fields)
        return builder, store.open_segment(builder.finish(models.to_builtins(store.config)))
    except BaseException:
        builder.abandon()
        raise


def _require_space(store: Store, vectors: int) -> None:
    """Raise StorageFullError if so many bytes of vectors do not fit. Writing until the disk is
    full, and removing all again, would take the space that a deletion needs meanwhile for its
    log."""
    free, kept = lookup.free_bytes(store.path), store.kept_free() // _SPARED
    if free is not None and free < vectors + kept:
        why = f"{store.path}: {vectors + kept} bytes needed for a segment, {free} are free"
        raise StorageFullError(errno.ENOSPC, why)


def _write_edits(store: Store, segment_view: SegmentView, seq: int) -> tuple[EditsFile, ...]:
    """The files of a segment's payload edits as of the freeze: those that stay, and a new one."""
    segment, edits = segment_view.segment, segment_view.edits
    assert isinstance(segment, FileSegment)
    kept = edits.kept(segment_view.seen)
    while True:
        rows = edits.rows(segment_view.seen, edits.files[kept:])
        rows = rows[segment_view.lives(rows)]
        try:
            columns = (rows, segment_view.seqs(rows), segment_view.payloads(rows))
            break
        except CorruptionError:  # one that cannot be taken along must not keep the others back
            if kept == len(edits.files):
                raise
            kept += 1
    stay = edits.files[:kept]
    if not len(rows):
        return stay
    return (*stay, write_edits(segment.path, store.uuid, segment.row, seq, *columns))


def _abandon_edits(store: Store, frozen: Frozen, edits: Edits) -> None:
    """Remove what was written in vain, unless it was committed or may have been."""
    if store.failure is None and store.applied_seq < frozen.seq:
        for segment_id, files in edits.items():
            for file in files:
                if file not in frozen.files[segment_id].edits.files:
                    fs.discard(file.opened.path)


def _commit(
    store: Store,
    frozen: Frozen,
    absorbed: tuple[int, ...],
    segment: FileSegment | None,
    sources: list[Source],
    edits: Edits,
) -> list[Path]:
    """Commit and publish. Returns what is no longer needed: the directories of segments in which
    nothing lives, and replaced payload edits."""
    store.require_writable()
    change = Change(frozen.seq, store.next_segment_id, live={})
    for segment_id, segment_view in frozen.files.items():
        if segment_view.live == 0 or segment_id in absorbed:
            change.drop.append(segment_id)
            continue
        change.live[segment_id] = segment_view.live
        state = store.files[segment_id]
        if segment_view.live != state.committed_live:
            change.alive[segment_id] = segment_view.alive
        if segment_id in edits:
            change.add.append(state.segment.row.with_edits(rows_of(edits[segment_id])))
    if segment is not None:
        change.add.append(segment.row)
        change.live[segment.id] = segment.rows
    with committing(store, change):
        paths = _publish(store, frozen, change, segment, sources, edits)
    return paths


def _publish(
    store: Store,
    frozen: Frozen,
    change: Change,
    segment: FileSegment | None,
    sources: list[Source],
    edits: Edits,
) -> list[Path]:
    now = _alive_now(store, sources)
    paths = [store.files.pop(i).segment.path for i in change.drop]
    for segment_id, segment_view in frozen.files.items():
        if segment_id in store.files:
            state = store.files[segment_id]
            state.committed, state.committed_live = segment_view.alive, segment_view.live
            if segment_id in edits:
                files = edits[segment_id]
                paths += [f.opened.path for f in segment_view.edits.files if f not in files]
                state.edits = PayloadEdits(files)
                state.edits.take_over(segment_view.edits, segment_view.seen)
    if segment is not None:
        live = count_bits(now, segment.rows)
        alive = none_if_all(now, segment.rows)
        state = FileState(segment, alive, live, None, segment.rows)
        for source, new in zip(sources, rows_in_new(sources), strict=True):
            state.edits.take_over(source.segment_view.edits, source.segment_view.seen, new)
        store.files[segment.id] = state
    store.applied_seq = frozen.seq
    store.frozen = None
    store.publish()
    return paths


def _alive_now(store: Store, sources: list[Source]) -> Bits:
    """The mask of the new segment's rows: some have died in their sources since the freeze."""
    flags = [np.empty(0, dtype=np.bool_)]
    for source in sources:
        segment = source.segment
        known = segment if isinstance(segment, MemorySegment) else store.files[segment.id]
        alive = known.alive
        flags.append(unpack_bits(gather_bits(alive, source.rows), len(source.rows)))
    return pack_bits(np.concatenate(flags))
