"""Which points of a damaged collection can be saved, and their rows and operations one by one.

A point is found by its newest row that is not known to be dead. Payload and vectors
of a row count each by itself: what has all of its bytes proven is kept, the rest is left out. In
memory are about 100 bytes of each point, and 8 MiB of rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import numpy as np
import numpy.typing as npt

from vecdb import ids, models
from vecdb.engine.operations import (
    Delete,
    DropVectors,
    EditPayload,
    EditVectors,
    Operation,
    Upsert,
    decode,
)
from vecdb.engine.repair.inventory import Inventory, SegmentEntry
from vecdb.engine.repair.log_names import LogNames, names_after
from vecdb.engine.repair.salvage import SalvagedFile, SalvagedLog
from vecdb.engine.repair.salvaged_edits import SalvagedEdits
from vecdb.engine.repair.salvaged_vectors import Salvaged, salvaged_vectors
from vecdb.engine.schema import dims_of, row_bytes, schema_of, vectors_by_name, with_vectors
from vecdb.payload import encoding
from vecdb.storage import files
from vecdb.storage.files import FileKind
from vecdb.storage.format import BLOCK_SIZE, DamageError, unpack_bits
from vecdb.vectors.blocks import Block, filled, none_of, replaced

Flags = npt.NDArray[np.bool_]
Offsets = npt.NDArray[np.int64]
Seqs = npt.NDArray[np.uint64]

_WINDOW_BYTES = 8 << 20


class SalvagedPoints:
    """The points of one collection: first ``rows``, then ``operations``. The arrays have one entry
    for each point whose id is known, and say what was lost of it; ``unknown`` counts the others."""

    def __init__(
        self,
        inventory: Inventory,
        config: models.CollectionConfig,
        progress: Callable[[int], None],
    ) -> None:
        self.inventory = inventory
        self.unknown = inventory.lost
        """Points that have not even their id left."""
        self.bad_operations: list[str] = []
        self._progress = progress
        self._read_ids()
        self.log_names = self._read_names(config)
        self.guessed: list[str] = []
        """Vector names whose parameters nothing tells."""
        self.config = self._renamed(config)
        """``config`` with the vector names that the log ends with."""
        self.schema = schema_of(self.config)
        self.names = list(self.schema)
        self.lost = np.zeros((len(self.keys), 1 + len(self.names)), dtype=np.bool_)
        """What is lost of each point: the payload, then each vector name."""

    # -- ids -------------------------------------------------------------------------------

    def _read_ids(self) -> None:
        keys, seqs, numbers, rows = [], [], [], []
        self._configured_seq = 0
        self._edits_unknown = np.zeros(len(self.inventory.segments), dtype=np.bool_)
        for number, entry in enumerate(self.inventory.segments):
            array, whole = self._ids(entry)
            alive = np.ones(entry.rows, dtype=np.bool_) if entry.alive is None else entry.alive
            self.unknown += int((alive & ~whole).sum())
            found = np.flatnonzero(alive & whole)
            keys.append(array[found])
            seqs.append(self._seqs(entry, number)[found])
            numbers.append(np.full(len(found), number, dtype=np.int32))
            rows.append(found)
        empty = np.empty(0, dtype=np.int64)
        self.keys = ids.concatenate([*keys, empty.astype(np.uint64)])
        self.seqs = np.concatenate([*seqs, empty.astype(np.uint64)])
        self.segment = np.concatenate([*numbers, empty.astype(np.int32)])
        self.row = np.concatenate([*rows, empty])
        entries = self.inventory.segments
        self.certain = np.array([entry.certain for entry in entries], dtype=np.bool_)[self.segment]
        described = np.array([entry.row is not None for entry in entries], dtype=np.bool_)[
            self.segment
        ]
        self._choose(described)
        self.certain &= ~self._edits_unknown[self.segment]
        count = len(self.keys)
        self._order = np.arange(count, dtype=np.uint32)
        self.missing = np.zeros(count, dtype=np.bool_)
        """Points that are lost, but for their id."""
        self.rewritten = np.zeros(count, dtype=np.bool_)
        """Points that the log has replaced or deleted."""

    def _choose(self, described: Flags) -> None:
        """Keep one row of each point: a row that is certain to live, else the newest."""
        columns = [self.keys] if self.keys.ndim == 1 else [self.keys[:, 1], self.keys[:, 0]]
        order = np.lexsort((described, self.seqs, self.certain, *columns))
        sorted_keys = self.keys[order]
        last = np.ones(len(order), dtype=np.bool_)
        if len(order):
            differs = sorted_keys[1:] != sorted_keys[:-1]
            last[:-1] = differs if differs.ndim == 1 else differs.any(axis=1)
        chosen = order[last]
        self.keys, self.seqs = self.keys[chosen], self.seqs[chosen]
        self.segment, self.row = self.segment[chosen], self.row[chosen]
        self.certain = self.certain[chosen]

    def _ids(self, entry: SegmentEntry) -> tuple[ids.IdArray, Flags]:
        with entry.file(files.IDS, self.inventory.uuid) as file:
            columns = 2 if file.padded >= 16 * entry.rows else 1
            file.expect(entry.rows, columns)
            array, whole = file.rows(0, entry.rows, columns)
            self.inventory.note(file.path, file.damage)
        return (array[:, 0] if columns == 1 else array), whole

    def _seqs(self, entry: SegmentEntry, number: int) -> Seqs:
        """The last operations that changed the rows. A damaged seq counts as the newest of its
        segment."""
        with entry.file(files.SEQS, self.inventory.uuid) as file:
            file.expect(entry.rows)
            array, whole = file.rows(0, entry.rows)
            self.inventory.note(file.path, file.damage)
        seqs = array[:, 0]
        if not whole.all():
            seqs = np.where(whole, seqs, seqs.max(where=whole, initial=0))
        if entry.row is not None:  # the configuration is not older than what it was written with
            self._configured_seq = max(self._configured_seq, int(seqs.max(initial=0)))
        with ExitStack() as held:
            edits = SalvagedEdits(entry, self.inventory.uuid, held)
            self._edits_unknown[number] = not edits.whole
        changed: Seqs = np.maximum(seqs, edits.seqs)
        return changed

    def find(self, keys: list[int]) -> Offsets:
        """The position of each key in the arrays, or -1."""
        return ids.find(self.keys, self._order, ids.to_array(keys))

    # -- vector names ----------------------------------------------------------------------

    def _read_names(self, config: models.CollectionConfig) -> LogNames:
        dims = dims_of(schema_of(config))
        log = self.inventory.log
        # A log of its own: what is wrong with it is noted where the operations are applied.
        log = SalvagedLog(log.directory, log.uuid, log.after_seq)
        return names_after(log, dims, self._configured_seq)

    def _renamed(self, config: models.CollectionConfig) -> models.CollectionConfig:
        known, dims = dims_of(schema_of(config)), self.log_names.dims
        if dims == known:
            return config
        named = vectors_by_name(config)
        for name, dim in dims.items():
            if known.get(name) != dim:
                named[name] = self.inventory.guessed(name, dim)
                self.guessed.append(name)
        return with_vectors(config, {name: named[name] for name in dims})

    # -- rows ------------------------------------------------------------------------------

    def rows(self) -> Iterator[Upsert]:
        """Every point that can be saved from the segments, a few megabytes at a time."""
        for number, entry in enumerate(self.inventory.segments):
            points = np.flatnonzero(self.segment == number)
            points = points[np.argsort(self.row[points])]
            if len(points):
                with ExitStack() as held:
                    yield from _SegmentRows(self, entry, held).upserts(points)

    def keep(
        self,
        points: Offsets,
        payloads: list[bytes],
        payload_whole: Flags,
        vectors: dict[str, Block],
        lost: dict[str, Flags],
    ) -> Upsert | None:
        """One operation for all of the points that have something left."""
        has_vector = np.zeros(len(points), dtype=np.bool_)
        for block in vectors.values():
            has_vector |= block.flags()
        self.lost[points, 0] = ~payload_whole
        for column, name in enumerate(self.names, 1):
            self.lost[points, column] = lost[name]
        has_payload = np.array([payload != encoding.EMPTY for payload in payloads], np.bool_)
        harmed = self.lost[points].any(axis=1)
        missing = harmed & ~has_vector & ~has_payload
        self.missing[points] = missing
        kept = np.flatnonzero(~missing)
        if not len(kept):
            return None
        return Upsert(
            ids.from_array(self.keys[points[kept]]),
            [payloads[position] for position in kept.tolist()],
            {name: block.take(kept) for name, block in vectors.items()},
        )

    def advance(self, done: int) -> None:
        """Report so many more bytes read."""
        self._progress(done)

    # -- the log ---------------------------------------------------------------------------

    def operations(self) -> Iterator[tuple[int, Operation]]:
        """Each operation of the log, for the points that are not newer than it."""
        for seq, data in self.inventory.log.operations():
            self._progress(len(data))
            try:
                operation = self.log_names.fitted(seq, decode(data))
            except DamageError as error:
                self.bad_operations.append(f"operation {seq}: {error}")
                continue
            positions = self.find(operation.keys)
            # The row's own operation too: a segment may have lost what the log still has.
            due = positions < 0
            due[~due] = self.seqs[positions[~due]] <= seq
            if not due.all():
                operation = only(operation, np.flatnonzero(due))
            if operation.keys:
                yield seq, operation

    def note_applied(self, operation: Operation) -> None:
        """Note what an operation that was applied has written anew."""
        positions = self.find(operation.keys)
        known = positions >= 0
        positions = positions[known]
        if isinstance(operation, (Upsert, Delete)):
            self.lost[positions] = False
            self.missing[positions] = False
            self.rewritten[positions] = True
        elif isinstance(operation, EditPayload):
            if operation.mode in ("overwrite", "clear"):
                self.lost[positions, 0] = False
        elif isinstance(operation, DropVectors):
            for name in operation.names:
                self.lost[positions, 1 + self.names.index(name)] = False
        else:
            for name, block in operation.vectors.items():
                given = positions[block.flags()[known]]
                self.lost[given, 1 + self.names.index(name)] = False


def only(operation: Operation, positions: Offsets) -> Operation:
    """An operation without those of its keys that are not at ``positions``."""
    keys = [operation.keys[position] for position in positions.tolist()]
    if isinstance(operation, Delete):
        return Delete(keys)
    if isinstance(operation, DropVectors):
        return DropVectors(keys, operation.names)
    if isinstance(operation, EditPayload):
        return EditPayload(keys, operation.mode, operation.payload, operation.path, operation.paths)
    vectors = {name: block.take(positions) for name, block in operation.vectors.items()}
    if isinstance(operation, EditVectors):
        return EditVectors(keys, vectors)
    return Upsert(keys, [operation.payloads[position] for position in positions.tolist()], vectors)


class _SegmentRows:
    """The rows of one segment, read window by window."""

    def __init__(self, salvaged: SalvagedPoints, entry: SegmentEntry, held: ExitStack) -> None:
        self._salvaged = salvaged
        self._entry = entry
        self._uuid = salvaged.inventory.uuid
        self._held = held
        self._payload = self._open(files.PAYLOAD)
        self._offsets, self._offset_known = self._read_offsets()
        self._edits = SalvagedEdits(entry, self._uuid, held)
        self._vectors: dict[str, Salvaged] = {}
        self._present: dict[str, tuple[Flags, Flags]] = {}
        for name in salvaged.names:
            dim, datatype = salvaged.schema[name].dim, salvaged.schema[name].datatype
            if entry.row is not None and entry.kind(name) != (dim, datatype):
                continue  # it came to the collection later
            self._vectors[name] = salvaged_vectors(
                partial(self._open, vector_name=name), entry.rows, dim, datatype
            )
            self._present[name] = self._read_present(name)

    def _open(self, file: FileKind, vector_name: str = "") -> SalvagedFile:
        return self._held.enter_context(self._entry.file(file, self._uuid, file.file(vector_name)))

    def upserts(self, points: Offsets) -> Iterator[Upsert]:
        """The points, whose rows ascend."""
        schema = self._salvaged.schema
        rows = self._salvaged.row[points]
        stride = row_bytes(schema)
        # A window ends where its bytes reach the limit, dead rows in it included.
        begins = rows * stride + self._offsets[rows]
        ends = np.flatnonzero(np.diff(begins // _WINDOW_BYTES)) + 1
        for some in np.split(points, ends):
            window = self._salvaged.row[some]
            payloads, payload_whole = self._read_payloads(window)
            self._edits.put(window, payloads, payload_whole)
            vectors, lost = {}, {}
            for name in schema:
                vectors[name], lost[name] = self._read_vectors(
                    name, window, self._salvaged.seqs[some]
                )
            found = self._salvaged.keep(some, payloads, payload_whole, vectors, lost)
            if found is not None:
                yield found
            self._salvaged.advance(stride * len(window) + sum(map(len, payloads)))
        of_vectors = [file for vectors in self._vectors.values() for file in vectors.files]
        for file in (self._payload, *self._edits.files, *of_vectors):
            self._salvaged.inventory.note(file.path, file.damage)

    # -- payloads --------------------------------------------------------------------------

    def _read_offsets(self) -> tuple[Offsets, Flags]:
        """Where each payload begins and the last one ends; which of these offsets are known."""
        count = self._entry.rows + 1
        file = self._open(files.PAYLOAD_OFFSETS)
        file.expect(count)
        array, known = file.rows(0, count)
        known &= array[:, 0] <= self._payload.padded
        offsets = np.where(known, array[:, 0], 0).astype(np.int64)
        self._salvaged.inventory.note(file.path, file.damage)
        if not known[0]:
            offsets[0], known[0] = 0, True
        for first in np.flatnonzero(known[:-1] & ~known[1:]).tolist():
            after = np.flatnonzero(known[first + 1 :])
            stop = first + 1 + int(after[0]) if len(after) else count
            end = int(offsets[stop]) if stop < count else self._payload.padded
            # Payloads stand one after another, and each tells where it ends.
            stream = _Stream(self._payload, int(offsets[first]), end)
            for position, size in enumerate(encoding.sizes(stream, stop - first - 1), first + 1):
                offsets[position] = offsets[position - 1] + size
                known[position] = True
        offsets = np.maximum.accumulate(np.where(known, offsets, 0))
        return offsets, known

    def _read_payloads(self, window: Offsets) -> tuple[list[bytes], Flags]:
        starts, stops = self._offsets[window], self._offsets[window + 1]
        data, whole = self._payload.spans(starts, stops)
        whole &= self._offset_known[window] & self._offset_known[window + 1] & (starts < stops)
        joined, base = data.tobytes(), int(starts[0])
        payloads = [
            joined[start - base : stop - base] if good else encoding.EMPTY
            for start, stop, good in zip(
                starts.tolist(), stops.tolist(), whole.tolist(), strict=True
            )
        ]
        return payloads, whole

    # -- vectors ---------------------------------------------------------------------------

    def _read_present(self, name: str) -> tuple[Flags, Flags]:
        """Which rows have the vector, and for which of them that is known."""
        entry = self._entry
        all_rows = np.ones(entry.rows, dtype=np.bool_)
        if entry.row is not None and files.PRESENT.file(name) not in entry.row.files:
            return all_rows, all_rows
        file = self._open(files.PRESENT, name)
        file.expect(-(-entry.rows // 8))
        bits, whole = file.rows(0, -(-entry.rows // 8))
        if entry.row is not None:
            self._salvaged.inventory.note(file.path, file.damage)
        return unpack_bits(bits[:, 0], entry.rows), np.repeat(whole, 8)[: entry.rows]

    def _read_vectors(self, name: str, window: Offsets, seqs: Seqs) -> tuple[Block, Flags]:
        """The vectors, and which rows have lost theirs."""
        none = none_of(len(window), self._salvaged.schema[name].dim)
        if name not in self._vectors:
            return none, np.zeros(len(window), dtype=np.bool_)
        block, good = self._vectors[name].read(window)
        has, known = (flags[window] for flags in self._present[name])
        # Rows without the vector hold zeros, or no numbers.
        there = np.where(known, has, filled(block)) & good
        lost = np.where(known, has & ~good, ~there)
        absent = self._salvaged.log_names.absent
        if name in absent:
            there &= seqs > absent[name]
            lost &= seqs > absent[name]
        return replaced(block, ~there, none), lost


class _Stream:
    """A stretch of a file, for a reader; raises DamageError in a block that is not whole."""

    def __init__(self, file: SalvagedFile, start: int, stop: int) -> None:
        self._file = file
        self._at = start
        self._stop = stop

    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size``."""
        block_end = (self._at // BLOCK_SIZE + 1) * BLOCK_SIZE
        stop = min(self._at + size, self._stop, block_end)
        starts, stops = np.array([self._at], np.int64), np.array([stop], np.int64)
        data, whole = self._file.spans(starts, stops)
        if not whole.all():
            raise DamageError("the payload is damaged")
        self._at = stop
        return data.tobytes()
