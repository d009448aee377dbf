"""Columns of a segment that is there: those that are due are written, the others removed.

    take away  a commit without the columns that nobody wants, that are made in another way or
               damaged; their files are removed after it              (maintenance and write)
    write      each missing column to its file; file and directory are synced       (neither)
    commit     the segment's row with the new columns: one transaction  (maintenance and write)
    publish    views now show the segment with them

``Store.columns`` is held from the first to the last: who closes the collection waits for that.
A crash before a commit, or an error, leaves files that the catalog does not list: the next open, or
the next try, removes them. A segment that a build or a checkpoint writes has its columns from the
start (``sources.add_columns``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vecdb.engine.columns import Fields
from vecdb.engine.commit import committing
from vecdb.engine.optimize.meter import Cancelled, Meter
from vecdb.engine.read.remembered import take_over
from vecdb.engine.read.rows import in_pieces
from vecdb.engine.signals import Uninterrupted
from vecdb.engine.statistics import kept_columns
from vecdb.engine.store import Store
from vecdb.engine.view import SegmentView
from vecdb.errors import ClosedError, CorruptionError, OptimizerError
from vecdb.payload.columns import build
from vecdb.storage import fs
from vecdb.storage.builder import write_column
from vecdb.storage.catalog import Change
from vecdb.storage.files import COLUMN
from vecdb.storage.payload_edits import rows_of
from vecdb.storage.segment import FileSegment
from vecdb.storage.segment_row import FileRow, SegmentRow


def write_all_columns(store: Store) -> None:
    """Give all segments in files the columns that they are to have, here and now. Raises OSError,
    VecdbError; ClosedError if the collection is closed meanwhile."""
    with store.write:
        store.require_writable()
        segment_ids = list(store.files)
    try:
        for segment_id in segment_ids:
            write_columns(store, segment_id, cancelled=lambda: store.closing)
    except Cancelled:
        raise ClosedError(f"collection {store.name!r} {store.closed_because}") from None


def write_columns(
    store: Store,
    segment_id: int,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Give one segment the columns that it is to have; nothing to do if it is gone. On any error it
    goes on serving as it was. Raises Cancelled."""
    store.require_outside()
    with store.columns:
        if cancelled():  # it may have been closed while this waited
            raise Cancelled
        with store.changing():
            _write_columns(store, segment_id, cancelled, progress)


def _write_columns(
    store: Store,
    segment_id: int,
    cancelled: Callable[[], bool],
    progress: Callable[[int, int], None],
) -> None:
    with store.write:
        state = store.files.get(segment_id)
        if state is None:
            return
        segment, fields, segment_view = state.segment, store.fields, state.view()
    kept = kept_columns(segment, fields)
    if len(kept) < len(segment.row.columns):
        _take_away(store, segment_id)
    missing = {path: field for path, field in fields.items() if path not in kept}
    if not missing:
        return
    meter = Meter(segment.rows * len(missing), cancelled, progress)
    written: dict[str, FileRow] = {}
    try:
        for path, field in missing.items():
            column = build(path, _payloads(segment_view, meter), field.text)
            written[path] = write_column(segment.path, store.uuid, segment.id, path, column.pack())
        with store.maintenance:
            _add(store, segment_id, missing, written)
    except BaseException as error:
        _give_up(store, segment, written, error)
        if segment_id in store.files or store.closing or not isinstance(error, Exception):
            raise


def _payloads(segment_view: SegmentView, meter: Meter) -> Iterator[Any]:
    """What was written with each row."""
    for rows in in_pieces(np.arange(segment_view.rows)):
        meter.poll()
        yield from segment_view.written(rows)
        meter.advance(len(rows))


def _take_away(store: Store, segment_id: int) -> None:
    """Commit that a segment has only those columns that it is to have, and remove the others'
    files."""
    with store.maintenance:
        state = store.files.get(segment_id)
        if state is None:
            return
        row = state.segment.row
        kept = kept_columns(state.segment, store.fields)
        names = {COLUMN.file(field) for field in kept}
        segment = _commit(
            store, segment_id, row.with_columns(kept, {name: row.files[name] for name in names})
        )
    for field in row.columns.keys() - kept.keys():
        fs.discard(segment.path / COLUMN.file(field))


def _add(
    store: Store,
    segment_id: int,
    made: Fields,
    written: Mapping[str, FileRow],
) -> None:
    """Commit new columns of a segment, those that are still wanted. Under the maintenance lock."""
    state = store.files.get(segment_id)
    if state is None:
        raise Cancelled
    row, fields = state.segment.row, store.fields
    wanted = [path for path in written if path in fields and fields[path].is_made(made[path].made)]
    columns = {**row.columns, **{path: made[path].made for path in wanted}}
    rows = {**row.files, **{COLUMN.file(field): written[field] for field in wanted}}
    files = {COLUMN.file(field): rows[COLUMN.file(field)] for field in columns}
    segment = _commit(store, segment_id, row.with_columns(columns, files))
    _remove(segment.path, written.keys() - set(wanted))


def _commit(store: Store, segment_id: int, row: SegmentRow) -> FileSegment:
    """Commit and publish another row of a segment. Under the maintenance lock."""
    state = store.files[segment_id]
    segment = store.open_segment(row, state.segment)
    for path in segment.damage.keys() - state.segment.damage.keys():
        # Or it would be written again, and again.
        detail = segment.damage[path]
        raise OptimizerError(f"{path}, written a moment ago, cannot be read back: {detail}")
    take_over(segment, state.segment)
    with Uninterrupted(), store.write:
        store.require_writable()
        change = Change(
            store.applied_seq,
            store.next_segment_id,
            live={i: state.committed_live for i, state in store.files.items()},
            add=[row.with_edits(rows_of(state.edits.files))],
        )
        with committing(store, change):
            state.segment = segment
            store.publish()
    return segment


def _give_up(
    store: Store, segment: FileSegment, written: Mapping[str, FileRow], error: BaseException
) -> None:
    """Remove what was written in vain, unless it was committed or may have been."""
    with store.write:
        state = store.files.get(segment.id)
        if isinstance(error, CorruptionError):
            store.unreadable.add(segment.id)
    # A closed store knows no segments, and what is in its place may be another's by now.
    if store.failure is not None or store.closed:
        return
    committed = state.segment.row.columns if state is not None else {}
    _remove(segment.path, written.keys() - committed.keys())
    if state is None:  # who removed the directory may have left it, for a file of ours
        fs.remove_empty_dir(segment.path)


def _remove(directory: Path, fields: Iterable[str]) -> None:
    for field in fields:
        fs.discard(directory / COLUMN.file(field))
