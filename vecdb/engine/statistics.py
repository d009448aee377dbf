"""What the planner looks at in an open collection, taken under its write lock."""

from __future__ import annotations

from typing import Any

from vecdb.engine.columns import Fields
from vecdb.engine.planner import SegmentStats, Stats
from vecdb.engine.store import FileState, Store
from vecdb.storage import lookup
from vecdb.storage.files import TOKEN_INDEX
from vecdb.storage.segment import FileSegment
from vecdb.storage.segment_row import SegmentRow
from vecdb.vectors.datatypes import is_multi, is_ragged


def statistics(store: Store, *, settled: bool, rushing: bool = False) -> Stats:
    """The figures of this moment. ``settled``: writing has paused, or somebody waits for the
    optimizer. ``rushing``: points come so fast that building an index would only slow them down."""
    return Stats(
        segments=[_of_segment(store, state) for state in store.files.values()],
        memory_rows=store.memory.live,
        memory_bytes=sum(memory.size for memory in store.memories()),
        free_bytes=lookup.free_bytes(store.path),
        settled=settled,
        payload_bytes=store.payload_bytes,
        pressed=store.pressed,
        rushing=rushing,
        most_rows=store.budget.rows_of_build(len(store.fields)),
    )


def kept_columns(segment: FileSegment, fields: Fields) -> dict[str, dict[str, Any]]:
    """Those of a segment's columns that are whole and as they are to be, and how each was made."""
    return {
        field: made
        for field, made in segment.row.columns.items()
        if field in segment.columns and field in fields and fields[field].is_made(made)
    }


def _columns_due(store: Store, segment: FileSegment) -> bool:
    """Whether columns are to be written, or removed. If payloads are damaged, they cannot be."""
    fields, row = store.fields, segment.row
    kept = len(kept_columns(segment, fields))
    return kept < len(row.columns) or (kept < len(fields) and row.id not in store.unreadable)


def _is_indexed(row: SegmentRow, name: str) -> bool:
    """Whether a vector name has the index that a build gives it; the inverted one of sparse vectors
    is there from the start."""
    vector = row.vectors[name]
    if is_multi(vector.dim):
        return TOKEN_INDEX.file(name) in row.files
    return is_ragged(vector.dim) or vector.index is not None


def _of_segment(store: Store, state: FileState) -> SegmentStats:
    row = state.segment.row
    return SegmentStats(
        id=row.id,
        rows=row.rows,
        live=state.live,
        committed_live=state.committed_live,
        codecs={name: vector.codec for name, vector in row.vectors.items()},
        indexed=all(_is_indexed(row, name) for name in row.vectors),
        damaged=state.segment.is_damaged,
        columns_due=_columns_due(store, state.segment),
        file_bytes=state.segment.file_bytes + state.edits.file_bytes,
    )
