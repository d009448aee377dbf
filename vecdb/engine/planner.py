"""Planner: pure policy, from numbers to the one next step, or None when all is as it should be.

Sizes are kilobytes of vector data of a segment's largest vector name, as in the configuration. In a
collection without vectors they are those of its files; no threshold of the configuration is reached
there, as there is nothing to index.
A collection is *large* when all of it reaches a threshold; then even small segments get an index,
because to scan them whole would soon cost more than to search all the rest.

The rules, in order:

1. *checkpoint* when the memory segment is large enough to be optimized, or in a large collection
   as soon as writing has paused; when writing has paused, or memory is short, and they are to be
   on disk; or when rows that died since the last checkpoint are all that
   keeps a segment from shrinking.
2. *merge* the smallest segments when there are too many, towards ``default_segment_number``. Once
   writing has paused, down to that number, unless a large one would be rewritten for a little.
3. *columns* of a segment that lacks that of a field with an index, or has one that is damaged or of
   no use any more. Then *convert* a segment that should have codes or an index and has none,
   *rebuild* one that has other codes than the configuration asks for, or another derived file that
   is damaged. The largest comes first.
4. *vacuum* a segment with too many dead rows. This comes first if there is no space for another
   step.

While points are written, a collection that has too many segments already is not given one more by
rule 1: their merge comes first. That holds as long as the optimizer keeps up. Where it does not,
or gets no turn, ``absorbed`` tells a checkpoint which segments to take along.

Every step makes one of these conditions go away and none come back, so the plan ends.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from msgspec import Struct, field

from vecdb import models
from vecdb.engine.schema import Schema, vector_kilobytes

T = TypeVar("T")

Task = Literal["checkpoint", "merge", "columns", "convert", "rebuild", "vacuum"]

# Above this a merged segment would take minutes to build, and as much free space.
_MAX_SEGMENT_KB = 2_048_000

INDEX_ROWS = 256
"""Fewer rows are scanned in the time it takes to ask an index."""

# No more segments than this can still be merged, whoever writes them; two more while all of them
# are being rewritten. An optimizer that keeps up has far fewer.
_MOST_SEGMENTS = 10
_CROWD = 4  # beyond the number aimed for

_COLUMNS = 8
"""The columns of a segment take up to one byte for so many of the segment."""

# So many bytes are written anew in a few milliseconds.
_TRIFLE = 1 << 20

# In a large collection so many bytes in memory are worth files of their own: to scan them takes as
# long as to search all the rest.
_MEMORY_KB = 2048

# What is to be on disk and no more than this stays in memory while nothing is written: vectors of
# names that are ``on_disk``, and payloads, which always are.
_IDLE_KB = 64
_IDLE_PAYLOAD = 1 << 20

MEMORY_BUDGET = 64 << 20
"""Bytes of rows in memory, of all collections that are to be on disk."""

# A segment is rewritten for others only if they come to this share of it. Up to a size that takes
# seconds to rewrite, a smaller share is enough.
_WORTH_A_MERGE = 8
_WORTH_IF_CHEAP = 64
_CHEAP_KB = 128_000


class SegmentStats(Struct, frozen=True):
    """What the policy looks at in one file segment."""

    id: int
    rows: int
    live: int
    committed_live: int
    codecs: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    indexed: bool = False
    """Every vector name has an index; sparse ones have theirs from the start."""
    damaged: bool = False
    """A derived file is damaged: the rows are well, the segment has to be written anew."""
    columns_due: bool = False
    """It lacks columns, or has some that are damaged or of no use."""
    file_bytes: int = 0
    """Bytes of all its files, dead rows included."""

    @property
    def live_bytes(self) -> int:
        """What its live rows take of them."""
        return self.file_bytes * self.live // max(1, self.rows)

    @property
    def new_bytes(self) -> int:
        """The space that it takes to write it anew: a build copies what lives in the catalog."""
        return space_for(self.file_bytes * self.committed_live // max(1, self.rows))


class Stats(Struct, frozen=True):
    """What the policy looks at in a collection."""

    segments: Sequence[SegmentStats]
    memory_rows: int = 0
    memory_bytes: int = 0
    free_bytes: int | None = None
    """Free bytes of the disk; None: enough."""
    settled: bool = False
    """Writing has paused, or somebody waits for the optimizer."""
    payload_bytes: int = 0
    """Bytes of the payloads of rows in memory, and of payload edits of other rows."""
    pressed: bool = False
    """All collections have too much in memory, and this one is to give some back."""
    rushing: bool = False
    """Points come faster than an index of them could be built."""
    most_rows: int = sys.maxsize
    """A segment of more rows could not be built in the memory that there is for it."""

    @property
    def rows(self) -> int:
        """All live points."""
        return sum(segment.live for segment in self.segments) + self.memory_rows


class Plan(Struct, frozen=True):
    """One step: what, and which segments it reads."""

    task: Task
    segments: tuple[int, ...] = ()


def plan(stats: Stats, schema: Schema, optimizer: models.OptimizersConfig) -> Plan | None:
    """The next step, or None."""
    step = _wanted(stats, schema, optimizer)
    if step is None or stats.free_bytes is None:
        return step
    need = sum(segment.new_bytes for segment in stats.segments if segment.id in step.segments)
    if step.task == "columns":
        need //= _COLUMNS
    if need <= stats.free_bytes:
        return step
    return _makes_room(stats, stats.free_bytes, optimizer) or step


def absorbed(
    stats: Stats, apart: set[int], schema: Schema, optimizer: models.OptimizersConfig
) -> tuple[int, ...]:
    """The smallest segments, which a checkpoint that would leave too many writes anew together with
    its own rows. Those in ``apart`` are not touched.

    It takes as many as it must, and then each that is no larger than all before it. So a row that
    is written again gets into a segment of twice the size: the work for a row grows with the
    logarithm of the number of rows, whatever their order.
    """
    limit = optimizer.max_segment_size or _MAX_SEGMENT_KB
    small = [s for s in stats.segments if s.live and 2 * _size(s, schema) <= limit]
    small = [s for s in small if 2 * s.live <= stats.most_rows]
    free = sorted((s for s in small if s.id not in apart), key=lambda s: (s.live_bytes, s.id))
    most = max(_MOST_SEGMENTS, segment_number(optimizer) + _CROWD)
    excess = len(free) + 1 - max(2, most - (len(small) - len(free)))
    if excess <= 0:
        return ()
    taken: list[int] = []
    rows, size = stats.memory_rows, stats.memory_bytes
    for segment in free:
        rows += segment.live
        if _kilobytes(rows, schema, size + segment.live_bytes) > limit or rows > stats.most_rows:
            break
        if len(taken) >= excess and segment.live_bytes > max(size, _TRIFLE):
            break
        size += segment.live_bytes
        taken.append(segment.id)
    return tuple(taken)


def space_for(size: int) -> int:
    """Free bytes that there must be before so many are written."""
    return size + size // 4


def _wanted(stats: Stats, schema: Schema, optimizer: models.OptimizersConfig) -> Plan | None:
    limit = optimizer.max_segment_size or _MAX_SEGMENT_KB
    segments = [s for s in stats.segments if s.live > 0]
    crowded = len(segments) > segment_number(optimizer) + _CROWD and not stats.settled
    if not crowded and _wants_files(stats, schema, optimizer):
        return Plan("checkpoint")
    if any(_shrinks_by_checkpoint(s, optimizer) for s in stats.segments):
        return Plan("checkpoint")

    if stats.rushing:  # what a load leaves is indexed once, unless it is too large to be merged
        segments = [
            s for s in segments if 2 * _size(s, schema) > limit or 2 * s.live > stats.most_rows
        ]

    wanted = segment_number(optimizer)
    excess = len(segments) - wanted
    settled = stats.settled and is_optimized(stats.rows, stats.rows, schema, optimizer)
    # While points are written one more than wanted is let be: merging two at a time would rewrite
    # the larger of them for every new small one.
    merge: tuple[int, ...] = ()
    if excess >= (1 if settled else 2):
        merge = _merge(segments, schema, excess, limit, stats.most_rows)
    if merge:
        return Plan("merge", merge)

    due = [s for s in segments if s.columns_due]
    if due:
        return Plan("columns", (max(due, key=lambda s: s.live).id,))

    mismatched = [s for s in segments if _mismatch(s, stats.rows, schema, optimizer) is not None]
    if mismatched:
        largest = max(mismatched, key=lambda s: s.live)
        task = _mismatch(largest, stats.rows, schema, optimizer)
        assert task is not None
        return Plan(task, (largest.id,))

    for segment in segments:
        if _mostly_dead(segment.rows, segment.committed_live, optimizer):
            return Plan("vacuum", (segment.id,))
    return None


def segment_number(optimizer: models.OptimizersConfig) -> int:
    """How many segments to aim for: one, unless told otherwise. A search asks each in turn."""
    return optimizer.default_segment_number or 1


def is_optimized(
    rows: int, everything: int, schema: Schema, optimizer: models.OptimizersConfig
) -> bool:
    """Whether a segment of ``rows`` rows is kept with codes, in a collection of ``everything``."""
    thresholds = (optimizer.indexing_threshold, optimizer.memmap_threshold)
    sizes = [_kilobytes(rows, schema)]
    if rows >= INDEX_ROWS:
        sizes.append(_kilobytes(everything, schema))
    return any(threshold and max(sizes) >= threshold for threshold in thresholds)


def wants_index(rows: int, optimizer: models.OptimizersConfig) -> bool:
    """Whether a segment that is optimized has indexes, too."""
    return rows >= INDEX_ROWS and optimizer.indexing_threshold > 0


def _kilobytes(rows: int, schema: Schema, data: int = 0) -> int:
    """The size of so many rows. ``data``: the bytes that they take where they have no vectors."""
    sizes = (vector_kilobytes(rows, vector) for vector in schema.values())
    return max(sizes, default=data // 1024)


def _size(segment: SegmentStats, schema: Schema) -> int:
    return _kilobytes(segment.live, schema, segment.live_bytes)


def _wants_files(stats: Stats, schema: Schema, optimizer: models.OptimizersConfig) -> bool:
    """Whether the rows in memory should become a file segment, to be kept in another form."""
    rows = stats.memory_rows
    if (stats.settled or stats.pressed) and _belongs_on_disk(stats, schema):
        return True  # without rows, too: for payload edits
    if not rows:
        return False
    size = _kilobytes(rows, schema)
    if optimizer.memmap_threshold and size >= optimizer.memmap_threshold:
        return True
    if not wants_index(rows, optimizer) and not any(vector.codec for vector in schema.values()):
        return False
    if is_optimized(rows, rows, schema, optimizer):
        return True
    large = is_optimized(rows, stats.rows, schema, optimizer)
    return large and (stats.settled or size >= _MEMORY_KB)


def _belongs_on_disk(stats: Stats, schema: Schema) -> bool:
    """Whether files would take the rows out of memory: there may be thousands of collections, none
    of them large. Else each pause in writing would leave a segment behind."""
    mapped = sum(vector_kilobytes(stats.memory_rows, v) for v in schema.values() if v.on_disk)
    return mapped >= _IDLE_KB or stats.payload_bytes >= _IDLE_PAYLOAD


def over_budget(on_disk: Mapping[T, int]) -> set[T]:
    """The collections whose rows in memory become files though they are still written to: those
    with the most first, until all of them together hold no more than ``MEMORY_BUDGET``.
    ``on_disk``: bytes of the rows in memory, of collections that are to be on disk."""
    chosen: set[T] = set()
    total = sum(on_disk.values())
    for key in sorted(on_disk, key=on_disk.__getitem__, reverse=True):
        if total <= MEMORY_BUDGET:
            break
        chosen.add(key)
        total -= on_disk[key]
    return chosen


def _mostly_dead(rows: int, live: int, optimizer: models.OptimizersConfig) -> bool:
    return (
        rows >= max(1, optimizer.vacuum_min_vector_number)
        and (rows - live) / rows > optimizer.deleted_threshold
    )


def _makes_room(stats: Stats, free: int, optimizer: models.OptimizersConfig) -> Plan | None:
    """The vacuum that frees the most, of those for which there is space."""

    def gain(segment: SegmentStats) -> int:
        return segment.file_bytes - segment.new_bytes

    fitting = [
        segment
        for segment in stats.segments
        if segment.new_bytes <= free
        and segment.rows - segment.committed_live > optimizer.deleted_threshold * segment.rows
        and gain(segment) > 0
    ]
    return Plan("vacuum", (max(fitting, key=gain).id,)) if fitting else None


def _shrinks_by_checkpoint(segment: SegmentStats, optimizer: models.OptimizersConfig) -> bool:
    """Whether only a checkpoint lets a segment shrink: a build has to keep rows that died since the
    last one."""
    if segment.live == segment.committed_live:
        return False
    if segment.live == 0:
        return True
    # Once the catalog agrees that it is mostly dead, no further checkpoint is needed for the
    # vacuum; under steady overwriting there would always be a reason for one more.
    return _mostly_dead(segment.rows, segment.live, optimizer) and not _mostly_dead(
        segment.rows, segment.committed_live, optimizer
    )


def _mismatch(
    segment: SegmentStats, everything: int, schema: Schema, optimizer: models.OptimizersConfig
) -> Literal["convert", "rebuild"] | None:
    if segment.damaged:
        return "rebuild"
    large = is_optimized(segment.live, everything, schema, optimizer)
    for name, vector in schema.items():
        if name not in segment.codecs:
            continue  # no row has such a vector
        codec = segment.codecs[name]
        if codec is not None and codec != vector.codec:
            return "rebuild"
        if codec is None and vector.codec is not None and large:
            return "convert"
    if large and not segment.indexed and wants_index(segment.live, optimizer):
        return "convert"
    return None


def _merge(
    segments: Sequence[SegmentStats], schema: Schema, excess: int, limit: int, most_rows: int
) -> tuple[int, ...]:
    """The smallest segments, at most ``excess`` more than one, that are worth a merge.

    A segment is rewritten only for others that come to some share of it. Else a large one would be
    rewritten for every few points.
    """
    ranked = sorted(segments, key=lambda s: (s.live, s.id))
    sizes = [max(1, _size(segment, schema)) for segment in ranked]
    for first in range(len(ranked) - 1):
        last, size, rows = first + 1, sizes[first], ranked[first].live
        while last < len(ranked) and last - first <= excess:
            total = size + sizes[last]
            worth = _WORTH_IF_CHEAP if total <= _CHEAP_KB else _WORTH_A_MERGE
            rows += ranked[last].live
            if total > limit or rows > most_rows or sizes[last] > size * worth:
                break
            last, size = last + 1, total
        if last - first >= 2:
            return tuple(segment.id for segment in ranked[first:last])
    return ()
