"""Which points of a damaged collection can be saved, and their rows and operations one by one.

A point is found by its newest row that is not known to be dead. Of a row each part counts by
itself: payload and vectors are kept if all of their bytes are proven, and are else left out. Of
each point about 100 bytes are in memory at a time, and of rows 8 MiB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt

from vecdb import ids
from vecdb.engine.operations import (
    Delete,
    DropVectors,
    EditPayload,
    EditVectors,
    Operation,
    Upsert,
    decode,
    require_fit,
)
from vecdb.engine.repair.edit_remains import EditRemains
from vecdb.engine.repair.remains import CollectionRemains, Part
from vecdb.engine.repair.salvage import DataRemains
from vecdb.engine.schema import row_bytes
from vecdb.payload import encoding
from vecdb.storage import files
from vecdb.storage.files import FileKind
from vecdb.storage.format import BLOCK_SIZE, DamageError, unpack_bits
from vecdb.vectors.block import VectorBlock

Flags = npt.NDArray[np.bool_]
Offsets = npt.NDArray[np.int64]

_WINDOW_BYTES = 8 << 20


class Rescue:
    """The points of one collection. First ``rows``, then ``operations``; what was lost on the way
    is in the arrays, one entry a point known by its id, and in ``unknown``."""

    def __init__(self, remains: CollectionRemains, progress: Callable[[int], None]) -> None:
        self.remains = remains
        self.names = list(remains.schema)
        self.unknown = remains.lost
        """Points of which not even the id is left."""
        self.bad_operations: list[str] = []
        self._progress = progress
        self._read_ids()

    # -- ids -------------------------------------------------------------------------------

    def _read_ids(self) -> None:
        keys, seqs, numbers, rows = [], [], [], []
        self._edits_unknown = np.zeros(len(self.remains.parts), dtype=np.bool_)
        for number, part in enumerate(self.remains.parts):
            array, whole = self._ids(part)
            alive = np.ones(part.rows, dtype=np.bool_) if part.alive is None else part.alive
            self.unknown += int((alive & ~whole).sum())
            found = np.flatnonzero(alive & whole)
            keys.append(array[found])
            seqs.append(self._seqs(part, number)[found])
            numbers.append(np.full(len(found), number, dtype=np.int32))
            rows.append(found)
        empty = np.empty(0, dtype=np.int64)
        self.keys = ids.concatenate([*keys, empty.astype(np.uint64)])
        self.seqs = np.concatenate([*seqs, empty.astype(np.uint64)])
        self.part = np.concatenate([*numbers, empty.astype(np.int32)])
        self.row = np.concatenate([*rows, empty])
        parts = self.remains.parts
        self.certain = np.array([part.certain for part in parts], dtype=np.bool_)[self.part]
        described = np.array([part.row is not None for part in parts], dtype=np.bool_)[self.part]
        self._choose(described)
        self.certain &= ~self._edits_unknown[self.part]
        count = len(self.keys)
        self._order = np.arange(count, dtype=np.uint32)
        self.lost = np.zeros((count, 1 + len(self.names)), dtype=np.bool_)
        """Parts of points that are lost: the payload, then each vector name."""
        self.missing = np.zeros(count, dtype=np.bool_)
        """Points that are lost, but for their id."""
        self.settled = np.zeros(count, dtype=np.bool_)
        """Points that the log has replaced or deleted."""

    def _choose(self, described: Flags) -> None:
        """Keep one row of each point: one that is certain to live, else the newest."""
        columns = [self.keys] if self.keys.ndim == 1 else [self.keys[:, 1], self.keys[:, 0]]
        order = np.lexsort((described, self.seqs, self.certain, *columns))
        sorted_keys = self.keys[order]
        last = np.ones(len(order), dtype=np.bool_)
        if len(order):
            differs = sorted_keys[1:] != sorted_keys[:-1]
            last[:-1] = differs if differs.ndim == 1 else differs.any(axis=1)
        chosen = order[last]
        self.keys, self.seqs = self.keys[chosen], self.seqs[chosen]
        self.part, self.row = self.part[chosen], self.row[chosen]
        self.certain = self.certain[chosen]

    def _ids(self, part: Part) -> tuple[ids.IdArray, Flags]:
        with part.file(files.IDS, self.remains.uuid) as file:
            columns = 2 if file.padded >= 16 * part.rows else 1
            file.expect(part.rows, columns)
            array, whole = file.rows(0, part.rows, columns)
            self.remains.note(file.path, file.damage)
        return (array[:, 0] if columns == 1 else array), whole

    def _seqs(self, part: Part, number: int) -> npt.NDArray[np.uint64]:
        """The last operations that changed the rows. Those whose seq is damaged count as new as
        the newest of their segment."""
        with part.file(files.SEQS, self.remains.uuid) as file:
            file.expect(part.rows)
            array, whole = file.rows(0, part.rows)
            self.remains.note(file.path, file.damage)
        seqs = array[:, 0]
        if not whole.all():
            seqs = np.where(whole, seqs, seqs.max(where=whole, initial=0))
        with ExitStack() as held:
            edits = EditRemains(part, self.remains.uuid, held)
            self._edits_unknown[number] = not edits.whole
        changed: npt.NDArray[np.uint64] = np.maximum(seqs, edits.seqs)
        return changed

    def find(self, keys: list[int]) -> Offsets:
        """The place of each key in the arrays, or -1."""
        return ids.find(self.keys, self._order, ids.to_array(keys))

    # -- rows ------------------------------------------------------------------------------

    def rows(self) -> Iterator[Upsert]:
        """Every point that can be saved from the segments, a few megabytes at a time."""
        for number, part in enumerate(self.remains.parts):
            points = np.flatnonzero(self.part == number)
            points = points[np.argsort(self.row[points])]
            if len(points):
                with ExitStack() as held:
                    yield from _PartRows(self, part, held).upserts(points)

    def keep(
        self,
        points: Offsets,
        payloads: list[bytes],
        payload_whole: Flags,
        vectors: dict[str, VectorBlock],
        lost: dict[str, Flags],
    ) -> Upsert | None:
        """One operation for all of the points of which something is left."""
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
            [payloads[place] for place in kept.tolist()],
            {
                name: VectorBlock.of(block.values[kept], block.flags()[kept])
                for name, block in vectors.items()
            },
        )

    def advance(self, done: int) -> None:
        """Report so many more bytes read."""
        self._progress(done)

    # -- the log ---------------------------------------------------------------------------

    def operations(self) -> Iterator[tuple[int, Operation]]:
        """Each operation of the log, for the points that are not newer than it."""
        dims = {name: vector.dim for name, vector in self.remains.schema.items()}
        for seq, data in self.remains.log.operations():
            self._progress(len(data))
            try:
                operation = decode(data)
                require_fit(operation, dims)
            except DamageError as error:
                self.bad_operations.append(f"operation {seq}: {error}")
                continue
            places = self.find(operation.keys)
            # The row's own operation too: a segment may have lost what the log still has.
            due = places < 0
            due[~due] = self.seqs[places[~due]] <= seq
            if not due.all():
                operation = only(operation, np.flatnonzero(due))
            if operation.keys:
                yield seq, operation

    def settle(self, operation: Operation) -> None:
        """What an operation that was applied made good."""
        places = self.find(operation.keys)
        known = places >= 0
        places = places[known]
        if isinstance(operation, (Upsert, Delete)):
            self.lost[places] = False
            self.missing[places] = False
            self.settled[places] = True
        elif isinstance(operation, EditPayload):
            if operation.mode in ("overwrite", "clear"):
                self.lost[places, 0] = False
        elif isinstance(operation, DropVectors):
            for name in operation.names:
                self.lost[places, 1 + self.names.index(name)] = False
        else:
            for name, block in operation.vectors.items():
                given = places[block.flags()[known]]
                self.lost[given, 1 + self.names.index(name)] = False


def only(operation: Operation, places: Offsets) -> Operation:
    """The part of an operation that concerns some of its keys."""
    keys = [operation.keys[place] for place in places.tolist()]
    if isinstance(operation, Delete):
        return Delete(keys)
    if isinstance(operation, DropVectors):
        return DropVectors(keys, operation.names)
    if isinstance(operation, EditPayload):
        return EditPayload(keys, operation.mode, operation.payload, operation.path, operation.paths)
    vectors = {name: block.take(places) for name, block in operation.vectors.items()}
    if isinstance(operation, EditVectors):
        return EditVectors(keys, vectors)
    return Upsert(keys, [operation.payloads[place] for place in places.tolist()], vectors)


class _PartRows:
    """The rows of one segment, read window by window."""

    def __init__(self, rescue: Rescue, part: Part, held: ExitStack) -> None:
        self._rescue = rescue
        self._part = part
        self._uuid = rescue.remains.uuid
        self._held = held
        self._payload = self._open(files.PAYLOAD)
        self._offsets, self._offset_known = self._read_offsets()
        self._edits = EditRemains(part, self._uuid, held)
        self._vectors: dict[str, DataRemains] = {}
        self._present: dict[str, tuple[Flags, Flags]] = {}
        for name in rescue.names:
            if part.row is not None and name not in part.row.vectors:
                continue  # it came to the collection later
            self._vectors[name] = self._open(files.VECTORS, name)
            self._vectors[name].expect(part.rows, rescue.remains.schema[name].dim)
            self._present[name] = self._read_present(name)

    def _open(self, file: FileKind, vector_name: str = "") -> DataRemains:
        remains = self._part.file(file, self._uuid, file.file(vector_name))
        return self._held.enter_context(remains)

    def upserts(self, points: Offsets) -> Iterator[Upsert]:
        """The points, whose rows ascend."""
        schema = self._rescue.remains.schema
        rows = self._rescue.row[points]
        stride = row_bytes(schema)
        # A window ends where its bytes reach the limit, dead rows in it included.
        begins = rows * stride + self._offsets[rows]
        ends = np.flatnonzero(np.diff(begins // _WINDOW_BYTES)) + 1
        for some in np.split(points, ends):
            window = self._rescue.row[some]
            payloads, payload_whole = self._read_payloads(window)
            self._edits.put(window, payloads, payload_whole)
            vectors, lost = {}, {}
            for name in schema:
                vectors[name], lost[name] = self._read_vectors(name, window)
            found = self._rescue.keep(some, payloads, payload_whole, vectors, lost)
            if found is not None:
                yield found
            self._rescue.advance(stride * len(window) + sum(map(len, payloads)))
        for file in (self._payload, *self._edits.files, *self._vectors.values()):
            self._rescue.remains.note(file.path, file.damage)

    # -- payloads --------------------------------------------------------------------------

    def _read_offsets(self) -> tuple[Offsets, Flags]:
        """Where each payload begins and the last one ends; which of these places are known."""
        count = self._part.rows + 1
        file = self._open(files.PAYLOAD_OFFSETS)
        file.expect(count)
        array, known = file.rows(0, count)
        known &= array[:, 0] <= self._payload.padded
        offsets = np.where(known, array[:, 0], 0).astype(np.int64)
        self._rescue.remains.note(file.path, file.damage)
        if not known[0]:
            offsets[0], known[0] = 0, True
        for first in np.flatnonzero(known[:-1] & ~known[1:]).tolist():
            after = np.flatnonzero(known[first + 1 :])
            stop = first + 1 + int(after[0]) if len(after) else count
            end = int(offsets[stop]) if stop < count else self._payload.padded
            # Payloads stand one after another, and each tells where it ends.
            stream = _Stream(self._payload, int(offsets[first]), end)
            for place, size in enumerate(encoding.sizes(stream, stop - first - 1), first + 1):
                offsets[place] = offsets[place - 1] + size
                known[place] = True
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
        part = self._part
        all_rows = np.ones(part.rows, dtype=np.bool_)
        if part.row is not None and files.PRESENT.file(name) not in part.row.files:
            return all_rows, all_rows
        file = self._open(files.PRESENT, name)
        file.expect(-(-part.rows // 8))
        bits, whole = file.rows(0, -(-part.rows // 8))
        if part.row is not None:
            self._rescue.remains.note(file.path, file.damage)
        return unpack_bits(bits[:, 0], part.rows), np.repeat(whole, 8)[: part.rows]

    def _read_vectors(self, name: str, window: Offsets) -> tuple[VectorBlock, Flags]:
        """The vectors, and which of the rows that are without lost theirs."""
        dim = self._rescue.remains.schema[name].dim
        if name not in self._vectors:
            none = VectorBlock.of_none(len(window), dim)
            return none, np.zeros(len(window), dtype=np.bool_)
        first = int(window[0])
        data, whole = self._vectors[name].rows(first, int(window[-1]) + 1, dim)
        block, good = data[window - first], whole[window - first]
        has, known = (flags[window] for flags in self._present[name])
        # Rows without the vector hold zeros.
        there = np.where(known, has, block.any(axis=1)) & good
        block[~there] = 0
        return VectorBlock(block, there), np.where(known, has & ~good, ~there)


class _Stream:
    """A stretch of a file, for a reader; raises DamageError in a block that is not whole."""

    def __init__(self, file: DataRemains, start: int, stop: int) -> None:
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
