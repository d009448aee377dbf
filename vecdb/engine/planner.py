"""Planner: pure policy. From numbers to the one next step, or None when all is as it should be.

Sizes are kilobytes of vector data of a segment's largest vector name, as in the configuration.
The rules, in order:

1. *checkpoint* when the memory segment has reached a threshold at which it would be optimized,
   or when rows that died since the last checkpoint are all that keeps a segment from shrinking.
2. *merge* the smallest segments when there are too many, towards ``default_segment_number``.
3. *convert* a segment that reached a threshold and has no codes, *rebuild* one whose codes are
   not those the configuration asks for or of which a derived file is damaged. The largest first.
4. *vacuum* a segment of which too many rows are dead.

Every step makes one of these conditions go away and none come back, so the plan ends.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from vecdb import models
from vecdb.engine.schema import Schema, vector_kilobytes

Task = Literal["checkpoint", "merge", "convert", "rebuild", "vacuum"]

# Above this a merged segment would take too long to build and to load. Qdrant's figure for the
# two threads it would use here.
_MAX_SEGMENT_KB = 512_000


@dataclass(frozen=True, slots=True)
class SegmentStats:
    """What the policy looks at in one file segment."""

    id: int
    rows: int
    live: int
    committed_live: int
    codecs: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    damaged: bool = False
    """A derived file is damaged: the rows are well, the segment has to be written anew."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What the policy looks at in a collection."""

    segments: Sequence[SegmentStats]
    memory_rows: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """One step: what, and which segments it reads."""

    task: Task
    segments: tuple[int, ...] = ()


def plan(stats: Stats, schema: Schema, optimizer: models.OptimizersConfig) -> Plan | None:
    """The next step, or None."""
    limit = optimizer.max_segment_size or _MAX_SEGMENT_KB
    segments = [s for s in stats.segments if s.live > 0]
    if stats.memory_rows and _wants_files(stats.memory_rows, schema, optimizer):
        return Plan("checkpoint")
    if any(_shrinks_by_checkpoint(s, optimizer) for s in stats.segments):
        return Plan("checkpoint")

    merge = _merge(segments, schema, segment_number(optimizer), limit)
    if merge:
        return Plan("merge", merge)

    mismatched = [s for s in segments if _mismatch(s, schema, optimizer) is not None]
    if mismatched:
        largest = max(mismatched, key=lambda s: s.live)
        task = _mismatch(largest, schema, optimizer)
        assert task is not None
        return Plan(task, (largest.id,))

    for segment in segments:
        if _mostly_dead(segment.rows, segment.committed_live, optimizer):
            return Plan("vacuum", (segment.id,))
    return None


def segment_number(optimizer: models.OptimizersConfig) -> int:
    """How many segments to aim for."""
    if optimizer.default_segment_number:
        return optimizer.default_segment_number
    return min(max((os.cpu_count() or 1) // 2, 2), 8)


def indexed(rows: int, schema: Schema, optimizer: models.OptimizersConfig) -> bool:
    """Whether a segment of ``rows`` rows is large enough to be optimized."""
    size = _kilobytes(rows, schema)
    thresholds = (optimizer.indexing_threshold, optimizer.memmap_threshold)
    return any(threshold and size >= threshold for threshold in thresholds)


def _kilobytes(rows: int, schema: Schema) -> int:
    return max(vector_kilobytes(rows, vector.dim) for vector in schema.values())


def _wants_files(rows: int, schema: Schema, optimizer: models.OptimizersConfig) -> bool:
    """Whether the rows in memory would be kept in another form if they were a file segment."""
    if any(vector.codec for vector in schema.values()):
        return indexed(rows, schema, optimizer)
    threshold = optimizer.memmap_threshold
    return bool(threshold) and _kilobytes(rows, schema) >= (threshold or 0)


def _mostly_dead(rows: int, live: int, optimizer: models.OptimizersConfig) -> bool:
    return (
        rows >= max(1, optimizer.vacuum_min_vector_number)
        and (rows - live) / rows > optimizer.deleted_threshold
    )


def _shrinks_by_checkpoint(segment: SegmentStats, optimizer: models.OptimizersConfig) -> bool:
    """Rows that are dead only since the last checkpoint still have to be kept by a build."""
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
    segment: SegmentStats, schema: Schema, optimizer: models.OptimizersConfig
) -> Literal["convert", "rebuild"] | None:
    if segment.damaged:
        return "rebuild"
    large = indexed(segment.live, schema, optimizer)
    for name, vector in schema.items():
        codec = segment.codecs.get(name)
        if codec is not None and codec != vector.codec:
            return "rebuild"
        if codec is None and vector.codec is not None and large:
            return "convert"
    return None


def _merge(
    segments: Sequence[SegmentStats], schema: Schema, wanted: int, limit: int
) -> tuple[int, ...]:
    """The smallest segments, if merging them brings the number down to ``wanted``.

    One more than wanted is let be: merging two at a time would rewrite the larger of them for
    every new small one.
    """
    excess = len(segments) - wanted
    if excess < 2:
        return ()
    chosen: list[int] = []
    size = 0
    for segment in sorted(segments, key=lambda s: (s.live, s.id)):
        size += _kilobytes(segment.live, schema)
        if size > limit or len(chosen) > excess:
            break
        chosen.append(segment.id)
    return tuple(chosen) if len(chosen) >= 2 else ()
