"""Store: one open collection, its segments, its locks, and what is published.

Locks, always taken in this order:

1. ``columns``: columns of segments that are there, close. Held until those of a segment are made.
2. ``maintenance``: checkpoint, optimizer commit, configuration change, close. Held for seconds.
3. ``write``: the WAL, the memory segment, every alive mask, ``view``. Held for one group commit.

Readers take no lock: they use ``view``, which is replaced and never changed.

Invariants:

* The catalog is exactly the state at ``applied_seq``; ``FileState.committed`` is its alive mask.
* ``FileState.alive`` is the mask now. Rows only die, so ``alive`` is within ``committed``.
* A live point is in exactly one of: a file segment, ``frozen``, ``memory``.
* ``FileState.edits`` has the payload edits of the catalog in files, and those after ``applied_seq``
  in memory.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from vecdb import ids, models
from vecdb.engine.bits import without
from vecdb.engine.budget import Budget, Pin
from vecdb.engine.columns import Demand, Fields, fields_of
from vecdb.engine.rush import Rush
from vecdb.engine.schema import Schema, datatypes_of, dims_of, placements_of, schema_of
from vecdb.engine.view import SegmentView, View
from vecdb.errors import ClosedError, NotBegunError, ReadOnlyError, ReentrantCallError
from vecdb.storage import fs, layout
from vecdb.storage.catalog import Bits, Catalog
from vecdb.storage.memory import MemorySegment
from vecdb.storage.payload_edits import EditsFile, PayloadEdits
from vecdb.storage.place import Place
from vecdb.storage.placements import Placements
from vecdb.storage.segment import FileSegment
from vecdb.storage.segment_row import SegmentRow
from vecdb.storage.wal import Wal

_FIRST_DELAY = 1.0  # seconds until a failed step is tried again, doubled each time
_LONGEST_DELAY = 300.0

_MOST_KEPT = 64 << 20


class FileState(Struct):
    """A file segment: which of its rows live, now and in the catalog, and which payloads they were
    given since it was built."""

    segment: FileSegment
    alive: Bits | None
    live: int
    committed: Bits | None
    committed_live: int
    edits: PayloadEdits = field(default_factory=PayloadEdits)

    def view(self) -> SegmentView:
        """The segment now."""
        edits = self.edits
        return SegmentView(
            self.segment, self.segment.rows, self.alive, self.live, edits, edits.count
        )

    def committed_view(self) -> SegmentView:
        """The segment in the catalog's state."""
        committed, live = self.committed, self.committed_live
        return SegmentView(self.segment, self.segment.rows, committed, live, self.edits, 0)


class Frozen(Struct, frozen=True):
    """Memory segments on their way to files, and every segment as it was at ``seq``."""

    memory_views: tuple[SegmentView, ...]
    """There is more than one after a checkpoint that failed: the next one takes what came since,
    too."""
    seq: int
    files: dict[int, SegmentView]
    absorbed: tuple[int, ...] = ()
    """Small file segments that are written anew with them."""

    @property
    def memories(self) -> tuple[MemorySegment, ...]:
        """The memory segments, the oldest first."""
        return tuple(
            segment_view.segment
            for segment_view in self.memory_views
            if isinstance(segment_view.segment, MemorySegment)
        )


class RecoveryReport(Struct, frozen=True):
    """What opening a collection found and did."""

    replayed: int = 0
    """Operations taken from the WAL."""
    torn_bytes: int = 0
    """Bytes of an unfinished last write that were ignored."""
    removed: list[str] = field(default_factory=list)
    """Directories, and files of payload edits, that a crash left behind, now removed."""
    seconds: float = 0.0


class OptimizerState(Struct):
    """What the optimizer does with this collection. Written by the optimizer only."""

    task: str | None = None
    done_rows: int = 0
    total_rows: int = 0
    error: str | None = None
    failures: int = 0
    retry_at: float = 0.0
    completed: int = 0
    begun: int = 0
    """Steps; and the one of them that failed last:"""
    failed_in: int = 0

    def failed(self, task: str, error: BaseException) -> None:
        """Keep the reason, and wait longer before each new try."""
        self.failed_in = self.begun
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
        budget: Budget,
    ) -> None:
        self.name = name
        self.path = path
        self.uuid = uuid
        self.budget = budget
        self.demoted: tuple[Pin, ...] = ()  # what was asked for and has no room: see pins.py
        self.catalog: Catalog | None = None  # None: only read, see follower.py
        self.place: Place | None = None  # the directory that was opened to be written to
        self.columns = threading.RLock()
        self.maintenance = threading.RLock()
        self.write = threading.RLock()
        self.pins = True  # False: nothing is read into memory, whatever the configuration says
        self.report = RecoveryReport()
        self.optimizer = OptimizerState()
        self.changed: Callable[[], None] = lambda: None  # wakes the optimizer
        self.queue: deque[Any] = deque()  # tickets of writer.py, for whoever gets write first
        # Guarded by write:
        self.config = config
        self.schema: Schema = schema_of(config)
        self.renamed = 0  # how often vector names were added or taken away
        self.wal = wal
        self.files: dict[int, FileState] = {}
        self.frozen: Frozen | None = None
        self.applied_seq = 0
        self.next_seq = 1
        self.next_segment_id = 1
        self.building: tuple[int, ...] = ()  # file segments that the optimizer is rewriting
        self.unreadable: set[int] = set()  # those that could not be absorbed: rows are damaged
        self.failure: str | None = None  # why nothing may be written any more
        self.closing = False  # it is about to be closed: long work stops
        self.closed = False
        self.closed_because = "is closed"  # once it is; whoever drops it says more
        self.written_at = 0.0  # when the last write was applied, by time.monotonic
        self.waiting: set[object] = set()  # something of each caller that waits for the optimizer
        self.rush = Rush()
        self.pressed = False  # to give memory back: written by the optimizer only
        self.room = 0  # bytes that may be written before the disk is asked whether it is full
        self.memory = self.new_memory()
        self.automatic: frozenset[str] = frozenset()
        """Fields that are to have columns though nobody asked for it by name."""
        self._fields: tuple[Any, Any, Fields] = (None, None, {})
        held = weakref.ref(self)
        self.demand = Demand(lambda: _changed(held))
        self.view = View(config, self.schema, ())

    @property
    def segments_path(self) -> Path:
        """Where segment directories are."""
        return self.path / layout.SEGMENTS

    @property
    def is_on_disk(self) -> bool:
        """Whether vectors of some name are to be on disk, however few or many there are, or there
        are only payloads."""
        return not self.schema or any(vector.on_disk for vector in self.schema.values())

    def new_memory(self) -> MemorySegment:
        """An empty memory segment with the collection's vector names."""
        self.next_segment_id += 1
        dims, datatypes = dims_of(self.schema), datatypes_of(self.schema)
        return MemorySegment(self.next_segment_id - 1, dims, datatypes)

    def memories(self) -> list[MemorySegment]:
        """The frozen memory segments, then the one that takes new rows."""
        frozen = self.frozen.memories if self.frozen is not None else ()
        return [*frozen, self.memory]

    def kept_free(self) -> int:
        """Bytes of the disk that only deleting may use. With them most of the points can be
        deleted, and the rest written anew."""
        files = sum(state.segment.file_bytes for state in self.files.values())
        return min(self.wal.size // 8 + files // 16, _MOST_KEPT)

    def take_segment_id(self) -> int:
        """An id no segment has had. Ids of failed builds are not used again."""
        with self.write:
            self.next_segment_id += 1
            return self.next_segment_id - 1

    def open_segment(
        self,
        row: SegmentRow,
        reuse: FileSegment | None = None,
        config: models.CollectionConfig | None = None,
    ) -> FileSegment:
        """Open the files of a segment, but for payload edits, with the placements that the
        configuration wants: the present one, or another that is about to be."""
        row = row.with_edits({})
        schema = self.schema if config is None else schema_of(config)
        wanted = self.placements(row, schema, self.config if config is None else config, reuse)
        path = self.segments_path / layout.segment_dir(row.id)
        # A segment that held its store would form a cycle with it, and its mappings would stay
        # until Python looks for cycles.
        held = weakref.ref(self)
        lacking = {n: v.dim for n, v in schema.items() if n not in row.vectors}
        return FileSegment(path, self.uuid, row, wanted, reuse, lambda: _changed(held), lacking)

    def open_edits(self, row: SegmentRow, reuse: PayloadEdits | None = None) -> PayloadEdits:
        """Open the payload edits of a segment that the catalog has."""
        old = {(f.name, f.row): f for f in reuse.files} if reuse is not None else {}
        path = self.segments_path / layout.segment_dir(row.id)
        return PayloadEdits(
            [
                old.get((name, row.files[name])) or EditsFile(path, self.uuid, row, name)
                for name in row.edits
            ]
        )

    @property
    def fields(self) -> Fields:
        """The fields of the payload that segments are to have columns of."""
        config, automatic, fields = self._fields
        if config is not self.config or automatic is not self.automatic:
            fields = fields_of(self.config, self.automatic)
            self._fields = self.config, self.automatic, fields
        return fields

    @property
    def memory_size(self) -> int:
        """About how much memory what is not in files yet takes."""
        return self.memory.size + sum(state.edits.size for state in self.files.values())

    @property
    def unwritten_size(self) -> int:
        """The same, with what a checkpoint is at."""
        frozen = () if self.frozen is None else self.frozen.memories
        return self.memory_size + sum(memory.size for memory in frozen)

    @property
    def payload_bytes(self) -> int:
        """How much of it is payloads."""
        edits = [self.memory.edits, *(state.edits for state in self.files.values())]
        return self.memory.payload_bytes + sum(each.size for each in edits)

    def placements(
        self,
        row: SegmentRow,
        schema: Schema,
        config: models.CollectionConfig,
        there: FileSegment | None = None,
    ) -> Placements:
        """The placements that a segment is opened with. Within a budget nothing is pinned by that,
        but what is so in the segment that is ``there``: ``pins.settle`` comes after it."""
        wanted = self.wanted(row, schema, config)
        if self.budget.limit is None:
            return wanted
        return wanted.demoted(() if there is None else there.placements.pinned_parts(there.row))

    def wanted(
        self, row: SegmentRow, schema: Schema, config: models.CollectionConfig
    ) -> Placements:
        """The placements that the parts of a segment are to have."""
        wanted = placements_of(row, schema, config, in_memory=self.wal.level == "none")
        return wanted if self.pins else wanted.demoted()

    # -- under the write lock --------------------------------------------------------------

    def require_outside(self) -> None:
        """Raise if this thread is in the middle of a change: a signal handler (or ``__del__``)
        that ran there would see and leave half of it. The locks themselves are re-entrant."""
        locks: tuple[Any, ...] = (self.write, self.maintenance, self.columns)
        if any(lock._is_owned() for lock in locks):
            raise ReentrantCallError(
                f"collection {self.name!r} was called from a signal handler or finalizer in the "
                f"middle of another call; set a flag there and act on it outside"
            )

    def require_writable(self) -> None:
        """Raise unless the collection accepts writes."""
        if self.closed:
            raise ClosedError(f"collection {self.name!r} {self.closed_because}")
        if self.catalog is None:
            raise ReadOnlyError(f"collection {self.name!r} was opened with read_only=True")
        if self.place is not None:
            self.place.require_not_lost()
        if self.failure is None and self.wal.failed is not None:
            self.fail(self.wal.failed)
        if self.failure is not None:
            raise ReadOnlyError(
                f"collection {self.name!r} is read-only since a failure: {self.failure}; "
                f"close it and open it again"
            )

    def require_in_place(self) -> None:
        """Raise PlaceTakenError unless what is written to the collection will be found."""
        if self.place is not None:
            self.place.require()

    def append(self, first_seq: int, operations: Sequence[Sequence[Any]]) -> None:
        """Append to the log, if it is still in its place. Raises PlaceTakenError, and as
        ``Wal.append``."""
        with ExitStack() as held:
            try:
                if self.place is not None:
                    self.place.require_for_write(removed=self.wal.is_removed)
                    if self.wal.rests:  # it is opened again by its name
                        held.enter_context(self.place)
            except OSError as error:
                if error.errno not in fs.SCARCE:
                    raise
                raise NotBegunError(error.errno, f"{self.path}: {error.strerror}") from error
            self.wal.append(first_seq, operations)

    @property
    def is_lost(self) -> bool:
        """Whether its directory was found to be gone."""
        return self.place is not None and self.place.is_lost

    def changing(self) -> Place:
        """The collection's directory, to be entered by code that changes its files. Raises as
        ``require_writable``."""
        self.require_writable()
        assert self.place is not None
        return self.place

    def fail(self, reason: str) -> None:
        """Close the collection to writes: what is on disk is known only after reopening."""
        if self.failure is None:
            self.failure = reason

    def start_wal_file(self) -> None:
        """Go on in a new WAL file, which remembers how far the catalog has got. The place is
        entered."""
        assert self.catalog is not None
        assert self.place is not None
        # If nothing was written since, the new file takes the name of the one that is the mark.
        # Whoever looks in that moment would take the place for lost. Until there is a new mark the
        # directory itself tells: it is entered, so no other has its inode.
        self.place.mark = None
        try:
            self.wal.start_file(self.next_seq, self.catalog.transaction)
        finally:
            if self.wal.failed is None:
                self.place.mark = self.wal.mark
            else:  # which of the two has the name is not known
                self.fail(self.wal.failed)

    def kill(self, keys: list[int], *, in_memory: bool) -> int:
        """Kill the live rows of these points in all segments; in ``memory`` only if asked to. How
        many there were."""
        if not keys:
            return 0
        killed, array = 0, ids.to_array(keys)
        for state in self.files.values():
            if state.live:
                rows = state.segment.rows
                state.alive, died = without(state.segment, rows, state.alive, keys, array)
                state.live -= died
                killed += died
        for memory in self.memories() if in_memory else self.memories()[:-1]:
            dead = memory.locate(keys, array, memory.rows)
            dead = dead[dead >= 0]
            if len(dead):
                before = memory.live
                memory.kill(dead)  # of those some may be dead already
                killed += before - memory.live
        return killed

    def adopt(self, other: Store) -> None:
        """Take over the state of another store of the same collection, which is given up."""
        self.path, self.config, self.schema = other.path, other.config, other.schema
        self.wal, self.files, self.memory = other.wal, other.files, other.memory
        self.applied_seq, self.next_seq = other.applied_seq, other.next_seq
        self.next_segment_id = other.next_segment_id
        self.automatic = other.automatic

    def release(self) -> None:
        """Drop every reference to memory and mappings; views that reads still hold keep theirs."""
        self.files = {}
        self.frozen = None
        self.memory = self.new_memory()
        self.view = View(self.config, self.schema, ())

    def make_view(self) -> View:
        """The state now, as a read would see it."""
        segment_views = [state.view() for state in self.files.values()]
        segment_views += [view_of(memory) for memory in self.memories() if memory.rows]
        own = self.config, self.schema, tuple(segment_views)
        remembered = self.budget.remembered_of(len(segment_views))
        return View(*own, self.fields, self.demand, remembered)

    def publish(self) -> None:
        """Let reads that start from now on see the state as it is."""
        self.view = self.make_view()
        for state in self.files.values():
            state.segment.log_damage()


def _changed(held: weakref.ref[Store]) -> None:
    store = held()
    if store is not None:
        store.changed()


def view_of(memory: MemorySegment) -> SegmentView:
    """A memory segment now."""
    edits = memory.edits
    return SegmentView(memory, memory.rows, memory.alive, memory.live, edits, edits.count)
