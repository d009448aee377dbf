"""Payload edits: payloads that rows of one segment were given after the rows were written.

A row never changes. Its payload of *now* may stand beside it: in files of the segment's directory,
as of the catalog's state, and then in a list in memory. The list has one entry for each edit of a
row, and a checkpoint turns it into a file. So an edit costs its payload, and the row keeps its
number, its vectors and its index.

Thread safety is that of ``MemorySegment``: one writer (the collection's write lock), any number of
readers. Entries are only ever appended; a reader looks at the first ``seen`` of them, a number it
took when its view was published. Files never change: a checkpoint makes new ``PayloadEdits``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb.errors import CorruptionError
from vecdb.storage import fs, layout
from vecdb.storage.arrays import Expected, PlacedArray
from vecdb.storage.builder import DataWriter
from vecdb.storage.catalog import Bits
from vecdb.storage.files import PAYLOAD_EDITS
from vecdb.storage.format import MAX_PAYLOAD, DamageError, DataHeader, pack_bits
from vecdb.storage.segment_row import FileRow, SegmentRow

Offsets = npt.NDArray[np.int64]

_ENTRY_OVERHEAD = 200  # bytes of Python objects an entry costs beside its payload

# A new file takes in the edits of an older one, unless the older one is so many times as large. So
# a payload is written a few times, and a segment has a handful of files, whatever is edited.
_GROWTH = 4
_SMALL = 1 << 20

_AT_ONCE = 1024  # payloads that are written together

_BASE = -1  # where a payload is: in the row; in a file, from 0 on; in the list, after the files


class EditsTable(Struct, frozen=True):
    """The head of a file: the ``rows``, ascending, the operation that edited each, and where
    payloads begin and the last one ends, counted from the end of the head."""

    rows: Offsets
    seqs: npt.NDArray[np.uint64]
    starts: Offsets

    @staticmethod
    def head_size(rows: int) -> int:
        """Bytes before the first payload: the number of rows, then what the head says of each."""
        return 8 * (3 * rows + 2)

    @classmethod
    def unpack(cls, head: npt.NDArray[np.uint8], size: int, rows: int, seq: int) -> EditsTable:
        """Read the head of a file of ``size`` bytes, with edits up to operation ``seq`` in a
        segment of ``rows`` rows. Raises DamageError for what cannot be so."""
        values = head.view("<u8")
        count = len(values) // 3
        table = cls(
            values[1 : count + 1].view("<i8"),
            values[count + 1 : 2 * count + 1],
            values[2 * count + 1 :].view("<i8"),
        )
        if not count or int(table.rows.min()) < 0 or int(table.rows.max()) >= rows:
            raise DamageError("names rows that there are not")
        if (np.diff(table.rows) <= 0).any():
            raise DamageError("its rows do not ascend")
        if int(table.seqs.max()) > seq:
            raise DamageError(f"names operations after {seq}")
        lengths = np.diff(table.starts)
        ends = int(table.starts[0]), int(table.starts[-1]) + cls.head_size(count)
        if ends != (0, size) or (lengths < 0).any() or (lengths > MAX_PAYLOAD).any():
            raise DamageError("does not cut its payloads into rows")
        return table


class EditsFile:
    """One file of payload edits, open for reading. Immutable and thread-safe."""

    def __init__(self, directory: Path, uuid: bytes, segment: SegmentRow, name: str) -> None:
        """Raises CorruptionError."""
        self.name = name
        self.row = segment.files[name]
        expected = Expected(uuid, segment.id, PAYLOAD_EDITS.kind, self.row)
        self.opened = PlacedArray(directory / name, expected, "cached")
        try:
            self.table = self._read_table(segment.rows)
        except DamageError as error:
            raise CorruptionError(self.opened.path, str(error)) from None
        self._begin = EditsTable.head_size(len(self.table.rows))

    def _read_table(self, rows: int) -> EditsTable:
        shape = PAYLOAD_EDITS.shape(rows)
        assert shape is not None
        shape.require(self.opened.header)
        size = len(self.opened.array)
        if size < EditsTable.head_size(0):
            raise DamageError("holds no payload edits")
        count = int(self.opened.verify_span(0, 8)[:8].view("<u8")[0])
        end = EditsTable.head_size(count)
        if end > size:
            raise DamageError(f"{count} edits in {size} bytes")
        head = self.opened.verify_span(0, end)[:end]
        return EditsTable.unpack(head, size, rows, layout.parse_edits_file(self.name) or 0)

    @property
    def rows(self) -> Offsets:
        """The rows whose payloads are here, ascending."""
        return self.table.rows

    def find(self, rows: Offsets) -> Offsets:
        """The position of each row here, or -1."""
        at = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return np.where(self.rows[at] == rows, at, -1)

    def payloads(self, positions: Offsets) -> list[Any]:
        """The payloads at these positions, as views of the file. Raises CorruptionError."""
        starts = (self.table.starts[positions] + self._begin).tolist()
        stops = (self.table.starts[positions + 1] + self._begin).tolist()
        spans = list(zip(starts, stops, strict=True))
        for start, stop in spans:
            self.opened.verify_span(start, stop)
        data = self.opened.array.data
        return [data[start:stop] for start, stop in spans]

    def payload(self, position: int) -> Any:
        """The payload at one position. Raises CorruptionError."""
        start, stop = (self.table.starts[position : position + 2] + self._begin).tolist()
        return self.opened.verify_span(start, stop)[start:stop].data


def write_edits(
    directory: Path,
    uuid: bytes,
    segment: SegmentRow,
    seq: int,
    rows: Offsets,
    seqs: npt.NDArray[np.uint64],
    payloads: Sequence[Any],
) -> EditsFile:
    """Write a new file with the payloads of some rows, ascending, as of operation ``seq``. It is
    durable, with its name, when this returns. Raises OSError; then nothing is left of it."""
    name = layout.edits_file(seq)
    lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
    starts = np.concatenate(([0], np.cumsum(lengths)))
    head = np.concatenate(([len(rows)], rows, seqs.astype(np.int64), starts)).astype("<u8")
    size = head.nbytes + int(starts[-1])
    dtype = np.dtype(PAYLOAD_EDITS.dtype)
    header = DataHeader(PAYLOAD_EDITS.kind, dtype, size, 1, uuid, segment.id)
    fs.remove_file(directory / name)  # what a crash left, or an attempt that failed
    writer = DataWriter(directory / name, header)
    try:
        writer.append(head)
        for start in range(0, len(payloads), _AT_ONCE):
            writer.append(b"".join(payloads[start : start + _AT_ONCE]))
        row = writer.finish()
        fs.sync_dir(directory)
        return EditsFile(directory, uuid, segment.with_edits({name: row}), name)
    except BaseException:
        writer.abandon()
        fs.discard(directory / name)
        raise


class PayloadEdits:
    """The payload edits of one segment: ``files``, the oldest first, then entries in memory."""

    def __init__(self, files: Sequence[EditsFile] = ()) -> None:
        self.files = tuple(files)
        self.count = 0
        """Entries in memory."""
        self.size = 0
        """About how much memory they take."""
        self._bits: tuple[tuple[int, int], Bits] = ((-1, 0), np.empty(0, dtype=np.uint8))
        self._rows: Offsets = np.empty(0, dtype=np.int64)  # has room for more entries
        self._seqs: list[int] = []
        self._payloads: list[bytes] = []
        self._previous: list[int] = []  # the entry of the same row before this one, or -1
        self._latest: dict[int, int] = {}

    # -- writing (one writer) --------------------------------------------------------------

    def append(self, seqs: Sequence[int], rows: Sequence[int], payloads: Sequence[bytes]) -> None:
        """Give rows new payloads, by these operations."""
        latest, previous = self._latest, self._previous
        self._seqs.extend(seqs)
        self._add_rows(rows)
        self._payloads.extend(payloads)
        # A reader following _previous never sees a gap.
        for entry, row in enumerate(rows, self.count):
            previous.append(latest.get(row, -1))
            latest[row] = entry
        self.size += sum(map(len, payloads)) + _ENTRY_OVERHEAD * len(rows)
        self.count += len(rows)

    def _add_rows(self, rows: Sequence[int]) -> None:
        """Readers hold parts of the array: one that is too short is replaced."""
        end = self.count + len(rows)
        if end > len(self._rows):
            grown = np.empty(2 * end, dtype=np.int64)
            grown[: self.count] = self._rows[: self.count]
            self._rows = grown
        self._rows[self.count : end] = rows

    def copy(self) -> PayloadEdits:
        """The same, which goes its own way from now on."""
        other = PayloadEdits(self.files)
        other.count, other.size, other._bits = self.count, self.size, self._bits
        other._rows, other._seqs = self._rows.copy(), self._seqs.copy()
        other._payloads, other._previous = self._payloads.copy(), self._previous.copy()
        other._latest = self._latest.copy()
        return other

    def take_over(self, other: PayloadEdits, since: int, new_rows: Offsets | None = None) -> None:
        """Take over the entries of another from ``since`` on. ``new_rows``: for each row there its
        row here, or -1; None: the same."""
        rows = other._rows[since : other.count]
        rows = rows if new_rows is None else new_rows[rows]
        kept = np.flatnonzero(rows >= 0)
        entries = (kept + since).tolist()
        self.append(
            [other._seqs[entry] for entry in entries],
            rows[kept].tolist(),
            [other._payloads[entry] for entry in entries],
        )

    # -- reading ---------------------------------------------------------------------------

    def rows(self, seen: int, files: Sequence[EditsFile], since: int = 0) -> Offsets:
        """The rows that were edited, ascending: in these files, or by entries from ``since`` on."""
        entries = self._rows[since:seen]
        return np.unique(np.concatenate([entries, *(file.rows for file in files)]))

    def entries(self, first: int, last: int) -> tuple[Offsets, list[bytes]]:
        """Entries in memory: the row of each, and the payload that it was given."""
        return self._rows[first:last], self._payloads[first:last]

    def payload(self, row: int, seen: int, base: Callable[[int], Any]) -> Any:
        """The payload of one row, as ``payloads`` gives it; in a tenth of the time, as who walks
        through rows reads them one by one."""
        entry = self._latest.get(row, -1) if seen else -1
        while entry >= seen:  # made after the reader's view was published
            entry = self._previous[entry]
        if entry >= 0:
            return self._payloads[entry]
        for file in reversed(self.files):
            position = int(file.rows.searchsorted(row))
            if position < len(file.rows) and file.rows[position] == row:
                return file.payload(position)
        return base(row)

    def payloads(self, rows: Offsets, seen: int, base: Callable[[Offsets], list[Any]]) -> list[Any]:
        """The payloads of some rows; ``base`` gives those that were never edited."""
        sources, positions = self._locate(rows, seen)
        out: list[Any] = [None] * len(rows)
        for source in np.unique(sources).tolist():
            mine = np.flatnonzero(sources == source)
            if source == _BASE:
                payloads = base(rows[mine])
            elif source < len(self.files):
                payloads = self.files[source].payloads(positions[mine])
            else:
                payloads = [self._payloads[entry] for entry in positions[mine].tolist()]
            for position, payload in zip(mine.tolist(), payloads, strict=True):
                out[position] = payload
        return out

    def payload_size(self, rows: Offsets, seen: int, base: Callable[[Offsets], int]) -> int:
        """Bytes of the payloads of some rows."""
        sources, positions = self._locate(rows, seen)
        size = base(rows[sources == _BASE])
        for number, file in enumerate(self.files):
            mine = positions[sources == number]
            size += int((file.table.starts[mine + 1] - file.table.starts[mine]).sum())
        mine = positions[sources == len(self.files)]
        return size + sum(len(self._payloads[entry]) for entry in mine.tolist())

    def seqs(
        self, rows: Offsets, seen: int, base: Callable[[Offsets], npt.NDArray[np.uint64]]
    ) -> npt.NDArray[np.uint64]:
        """The last operations that changed some rows; ``base`` gives those that wrote them."""
        sources, positions = self._locate(rows, seen)
        out = np.empty(len(rows), dtype=np.uint64)
        mine = sources == _BASE
        if mine.any():
            out[mine] = base(rows[mine])
        for number, file in enumerate(self.files):
            mine = sources == number
            out[mine] = file.table.seqs[positions[mine]]
        mine = sources == len(self.files)
        out[mine] = [self._seqs[entry] for entry in positions[mine].tolist()]
        return out

    def _locate(self, rows: Offsets, seen: int) -> tuple[Offsets, Offsets]:
        """The source of the newest payload of each row, and its position there."""
        sources = np.full(len(rows), _BASE, dtype=np.int64)
        positions = np.zeros(len(rows), dtype=np.int64)
        for number, file in enumerate(self.files):
            at = file.find(rows)
            known = at >= 0
            sources[known], positions[known] = number, at[known]
        if seen:
            latest, previous = self._latest, self._previous
            for position, row in enumerate(rows.tolist()):
                entry = latest.get(row, -1)
                while entry >= seen:  # made after the reader's view was published
                    entry = previous[entry]
                if entry >= 0:
                    sources[position], positions[position] = len(self.files), entry
        return sources, positions

    # -- files -----------------------------------------------------------------------------

    @property
    def file_bytes(self) -> int:
        """Bytes of the files."""
        return sum(file.row.length for file in self.files)

    def kept(self, seen: int) -> int:
        """How many files stay as they are when the first ``seen`` entries go to a new one. The
        others, the newest and not much larger than it, go into it, too."""
        size = sum(map(len, self._payloads[:seen])) + EditsTable.head_size(seen)
        files = list(self.files)
        while files and files[-1].row.length <= _GROWTH * max(size, _SMALL):
            size += files.pop().row.length
        return len(files)

    def bits(self, seen: int, rows: int) -> Bits:
        """Bits of the edited rows, among the segment's ``rows``."""
        known, bits = self._bits
        if known != (seen, rows):
            flags = np.zeros(rows, dtype=np.bool_)
            flags[self.rows(seen, self.files)] = True
            bits = pack_bits(flags)
            self._bits = ((seen, rows), bits)
        return bits


def rows_of(files: Iterable[EditsFile]) -> dict[str, FileRow]:
    """What the catalog knows of files of payload edits, by name."""
    return {file.name: file.row for file in files}
