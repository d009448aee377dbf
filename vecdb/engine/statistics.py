"""What the planner looks at in an open collection, taken under its write lock."""

from __future__ import annotations

from vecdb.engine.planner import SegmentStats, Stats
from vecdb.engine.store import FileState, Store
from vecdb.storage import lookup


def statistics(store: Store, *, settled: bool, rushing: bool = False) -> Stats:
    """The figures of this moment. ``settled``: writing has paused, or somebody waits for the
    optimizer. ``rushing``: points come so fast that building an index would only slow them down."""
    return Stats(
        segments=[_of_segment(state) for state in store.files.values()],
        memory_rows=store.memory.live,
        memory_bytes=sum(memory.size for memory in store.memories()),
        free_bytes=lookup.free_bytes(store.path),
        settled=settled,
        payload_bytes=store.payload_bytes,
        pressed=store.pressed,
        rushing=rushing,
    )


def _of_segment(state: FileState) -> SegmentStats:
    row = state.segment.row
    return SegmentStats(
        id=row.id,
        rows=row.rows,
        live=state.live,
        committed_live=state.committed_live,
        codecs={name: vector.codec for name, vector in row.vectors.items()},
        indexed=all(vector.index for vector in row.vectors.values()),
        damaged=bool(state.segment.damage),
        file_bytes=state.segment.file_bytes + state.edits.file_bytes,
    )
