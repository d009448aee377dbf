"""Store: one open collection, its parts, its locks, and what is published.

Locks, always taken in this order:

1. ``maintenance``: checkpoint, optimizer commit, configuration change, close. Held for seconds.
2. ``write``: the WAL, the memory segment, every alive mask, ``view``. Held for one group commit.

Readers take no lock: they use ``view``, which is replaced and never changed.

Invariants:

* The catalog is exactly the state at ``applied_seq``; ``FileState.committed`` is its alive mask.
* ``FileState.alive`` is the mask now. Rows only die, so ``alive`` is within ``committed``.
* A live point is in exactly one of: a file segment, ``frozen``, ``memory``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vecdb import ids, models
from vecdb.engine.schema import Schema, placed_once, places, schema_of
from vecdb.engine.view import SegmentView, View
from vecdb.errors import ClosedError, ReadOnlyError, ReentrantCallError
from vecdb.storage import layout
from vecdb.storage.catalog import Bits, Catalog, SegmentRow
from vecdb.storage.format import bits_at, pack_bits
from vecdb.storage.memory import MemorySegment, all_alive, killed
from vecdb.storage.segment import FileSegment, Places
from vecdb.storage.wal import Wal

_FIRST_DELAY = 1.0  # seconds until a failed step is tried again, doubled each time
_LONGEST_DELAY = 300.0


@dataclass(slots=True)
class FileState:
    """A file segment and which of its rows live: now, and in the catalog."""

    segment: FileSegment
    alive: Bits | None
    live: int
    committed: Bits | None
    committed_live: int


@dataclass(frozen=True, slots=True)
class Frozen:
    """A memory segment on its way to files, and every mask as it was at ``seq``."""

    segment: MemorySegment
    seq: int
    alive: Bits | None
    rows: int
    masks: dict[int, tuple[Bits | None, int]]  # file segment -> alive, live


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What opening a collection found and did."""

    replayed: int = 0
    """Operations taken from the WAL."""
    torn_bytes: int = 0
    """Bytes of an unfinished last write that were ignored."""
    removed: list[str] = field(default_factory=list)
    """Directories a crash left behind, now removed."""
    seconds: float = 0.0


@dataclass(slots=True)
class OptimizerState:
    """What the optimizer does with this collection. Written by the optimizer only."""

    task: str | None = None
    done_rows: int = 0
    total_rows: int = 0
    error: str | None = None
    failures: int = 0
    retry_at: float = 0.0
    completed: int = 0

    def failed(self, task: str, error: BaseException) -> None:
        """Keep the reason, and wait longer before each new try."""
        self.error = f"{task}: {type(error).__name__}: {error}"
        self.retry_at = time.monotonic() + min(
            _FIRST_DELAY * 2 ** min(self.failures, 20), _LONGEST_DELAY
        )
        self.failures += 1

    def succeeded(self) -> None:
        """Nothing is wrong any more."""
        self.error, self.failures, self.retry_at = None, 0, 0.0


class Store:
    """One open collection. Constructed by ``recovery.load``."""

    def __init__(
        self,
        name: str,
        path: Path,
        uuid: bytes,
        config: models.CollectionConfig,
        wal: Wal,
    ) -> None:
        self.name = name
        self.path = path
        self.uuid = uuid
        self.catalog: Catalog | None = None  # None: only read, see follower.py
        self.maintenance = threading.RLock()
        self.write = threading.RLock()
        self.report = RecoveryReport()
        self.optimizer = OptimizerState()
        self.changed: Callable[[], None] = lambda: None  # wakes the optimizer
        # Guarded by write:
        self.config = config
        self.schema: Schema = schema_of(config)
        self.wal = wal
        self.files: dict[int, FileState] = {}
        self.frozen: Frozen | None = None
        self.applied_seq = 0
        self.next_seq = 1
        self.next_segment_id = 1
        self.failure: str | None = None  # why nothing may be written any more
        self.closed = False
        self.fate = "is closed"  # what to call that, once it is; whoever drops it says more
        self.written_at = 0.0  # when the last write was applied, by time.monotonic
        self.waiting = 0  # callers that wait for the optimizer
        self.pressed = False  # to give memory back: written by the optimizer only
        self.memory = self.new_memory()
        self.view = View(config, self.schema, ())

    @property
    def segments_path(self) -> Path:
        """Where segment directories are."""
        return self.path / layout.SEGMENTS

    @property
    def is_on_disk(self) -> bool:
        """Whether vectors of some name are to be on disk, however many there are."""
        return any(vector.on_disk for vector in self.schema.values())

    def new_memory(self) -> MemorySegment:
        """An empty memory segment with the collection's vector names."""
        self.next_segment_id += 1
        dims = {name: vector.dim for name, vector in self.schema.items()}
        return MemorySegment(self.next_segment_id - 1, dims)

    def take_segment_id(self) -> int:
        """An id no segment has had. Ids of failed builds are not used again."""
        with self.write:
            self.next_segment_id += 1
            return self.next_segment_id - 1

    def open_segment(self, row: SegmentRow, reuse: FileSegment | None = None) -> FileSegment:
        """The segment's files, placed as the configuration wants."""
        where = self.places(row, self.schema, self.config)
        path = self.segments_path / layout.segment_dir(row.id)
        return FileSegment(path, self.uuid, row, where, reuse, lambda: self.changed())

    def places(
        self, row: SegmentRow, schema: Schema, config: models.CollectionConfig
    ) -> dict[str, Places]:
        """Where a segment's parts are to live."""
        optimizer = config.optimizer_config
        where = {name: places(schema[name], row.rows, optimizer) for name in row.vectors}
        if self.wal.level == "none":
            return {name: placed_once(schema[name], place) for name, place in where.items()}
        return where

    # -- under the write lock --------------------------------------------------------------

    def require_outside(self) -> None:
        """Raise if this thread is in the middle of a change: a signal handler (or ``__del__``)
        that ran there would see and leave half of it. The locks themselves are re-entrant."""
        if self.write._is_owned() or self.maintenance._is_owned():  # type: ignore[attr-defined]
            raise ReentrantCallError(
                f"collection {self.name!r} was called from a signal handler or finalizer in the "
                f"middle of another call; set a flag there and act on it outside"
            )

    def require_writable(self) -> None:
        """Raise unless the collection accepts writes."""
        if self.closed:
            raise ClosedError(f"collection {self.name!r} {self.fate}")
        if self.catalog is None:
            raise ReadOnlyError(f"collection {self.name!r} was opened with read_only=True")
        if self.failure is None and self.wal.failed is not None:
            self.fail(self.wal.failed)
        if self.failure is not None:
            raise ReadOnlyError(
                f"collection {self.name!r} is read-only since a failure: {self.failure}; "
                f"close it and open it again"
            )

    def fail(self, reason: str) -> None:
        """Close the collection to writes: what is on disk is known only after reopening."""
        if self.failure is None:
            self.failure = reason

    def start_wal_file(self) -> None:
        """Go on in a new WAL file, which remembers how far the catalog has got."""
        assert self.catalog is not None
        try:
            self.wal.start_file(self.next_seq, self.catalog.transaction)
        finally:
            if self.wal.failed is not None:
                self.fail(self.wal.failed)

    def kill(self, keys: list[int], *, in_memory: bool) -> None:
        """The live rows of these points die, everywhere but (unless asked) in ``memory``."""
        if not keys:
            return
        array = ids.to_array(keys)
        for state in self.files.values():
            if state.live == 0:
                continue
            rows = state.segment.locate(keys, array, state.segment.rows)
            rows = rows[rows >= 0]
            if state.alive is not None and len(rows):  # no copy of the mask for what is dead
                rows = rows[bits_at(state.alive, rows)]
            if len(rows):
                alive = state.alive if state.alive is not None else all_alive(state.segment.rows)
                state.alive, died = killed(alive, rows)
                state.live -= died
        memories = [self.frozen.segment] if self.frozen is not None else []
        for memory in [*memories, self.memory] if in_memory else memories:
            rows = memory.locate(keys, array, memory.rows)
            rows = rows[rows >= 0]
            if len(rows):
                memory.kill(rows)

    def adopt(self, other: Store) -> None:
        """Take over the state of another store of the same collection, which is given up."""
        self.path, self.config, self.schema = other.path, other.config, other.schema
        self.wal, self.files, self.memory = other.wal, other.files, other.memory
        self.applied_seq, self.next_seq = other.applied_seq, other.next_seq
        self.next_segment_id = other.next_segment_id

    def let_go(self) -> None:
        """Drop every reference to memory and mappings; views that reads still hold keep theirs."""
        self.files = {}
        self.frozen = None
        self.memory = self.new_memory()
        self.view = View(self.config, self.schema, ())

    def make_view(self) -> View:
        """The state now, as a read would see it."""
        parts = [
            SegmentView(state.segment, state.segment.rows, state.alive, state.live)
            for state in self.files.values()
        ]
        memories = [self.memory] if self.frozen is None else [self.frozen.segment, self.memory]
        parts += [SegmentView(m, m.rows, m.alive, m.live) for m in memories if m.rows]
        return View(self.config, self.schema, tuple(parts))

    def publish(self) -> None:
        """Let reads that start from now on see the state as it is."""
        self.view = self.make_view()
        for state in self.files.values():
            state.segment.say_damage()


def gather_bits(alive: Bits | None, offsets: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Bits:
    """The bits of some rows of a mask, packed in their order."""
    if alive is None:
        return all_alive(len(offsets))
    return pack_bits(bits_at(alive, offsets))


def count_bits(bits: Bits | None, rows: int) -> int:
    """How many of ``rows`` rows a mask lets live."""
    return rows if bits is None else int(np.bitwise_count(bits).sum())


def none_if_all(bits: Bits, rows: int) -> Bits | None:
    """A mask in its shortest form: None when every row lives."""
    return None if count_bits(bits, rows) == rows else bits
