"""Salvaged edits: what is left of the payload edits of one segment of a damaged collection.

The head of a file tells which rows had their payload edited. If it is lost, the payload of any row
may be an older one.
"""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import numpy.typing as npt

from vecdb.engine.repair.inventory import SegmentEntry
from vecdb.engine.repair.salvage import SalvagedFile
from vecdb.payload import encoding
from vecdb.storage import layout
from vecdb.storage.files import PAYLOAD_EDITS
from vecdb.storage.format import DamageError
from vecdb.storage.payload_edits import EditsTable

Flags = npt.NDArray[np.bool_]
Offsets = npt.NDArray[np.int64]


class SalvagedEdits:
    """The payload edits of a segment. The files stay open as long as ``files``."""

    def __init__(self, entry: SegmentEntry, uuid: bytes | None, files: ExitStack) -> None:
        self.whole = True
        """Whether all files tell which rows they are about."""
        self.seqs = np.zeros(entry.rows, dtype=np.uint64)
        """The operation that edited each row last; 0: none."""
        self.files: list[SalvagedFile] = []
        self._tables: list[EditsTable | None] = []
        self._file = np.full(entry.rows, -1, dtype=np.int32)  # that has the payload now; -1: none
        self._position = np.zeros(entry.rows, dtype=np.int64)
        for number, name in enumerate(entry.edits):
            file = files.enter_context(entry.file(PAYLOAD_EDITS, uuid, name))
            table = _table_of(file, entry.rows, layout.parse_edits_file(name) or 0)
            self.files.append(file)
            self._tables.append(table)
            if table is None:
                self.whole = False
                continue
            self._file[table.rows] = number
            self._position[table.rows] = np.arange(len(table.rows))
            self.seqs[table.rows] = table.seqs

    def put(self, rows: Offsets, payloads: list[bytes], whole: Flags) -> None:
        """Replace the payloads that were written with the ``rows``, ascending, by edited ones. A
        lost payload is empty, and not ``whole``."""
        chosen = self._file[rows]
        for number, (file, table) in enumerate(zip(self.files, self._tables, strict=True)):
            mine = np.flatnonzero(chosen == number)
            if table is None or not len(mine):
                continue
            positions = self._position[rows[mine]]
            begin = EditsTable.head_size(len(table.rows))
            starts, stops = table.starts[positions] + begin, table.starts[positions + 1] + begin
            data, good = file.spans(starts, stops)
            good &= starts < stops
            whole[mine] = good
            spans = zip(mine.tolist(), (starts - starts[0]).tolist(), strict=True)
            ends = (stops - starts[0]).tolist()
            for (position, start), end, known in zip(spans, ends, good.tolist(), strict=True):
                payloads[position] = data[start:end].tobytes() if known else encoding.EMPTY


def _table_of(file: SalvagedFile, rows: int, seq: int) -> EditsTable | None:
    """The head of a file, if all of it is whole."""
    data, whole = file.rows(0, 8)
    count = int(data[:, 0].view("<u8")[0])
    end = EditsTable.head_size(count)
    if not whole.all() or end > file.padded:
        return None
    data, whole = file.rows(0, end)
    if not whole.all():
        return None
    head = data[:, 0]
    size = end + int(head[-8:].view("<i8")[0])
    try:
        if not 0 <= file.padded - size < 8:
            raise DamageError("is not as long as its payloads")
        return EditsTable.unpack(head, size, rows, seq)
    except DamageError:
        return None
