"""Columns: those of a segment's rows, in files and in memory, and those of edited payloads.

A column in a file says what was written with the rows. Rows in memory, and payloads that rows were
given later, get columns when a read asks for them, which are kept as long as what they are of.
Nothing waits for a lock: where another thread is adding to a column, a read goes without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from vecdb.engine.columns import Field, Fields
from vecdb.engine.view import Offsets, Segment, SegmentView, View
from vecdb.errors import CorruptionError
from vecdb.payload.columns import Column, Growing, Joined, build
from vecdb.storage.arrays import PlacedArray
from vecdb.storage.catalog import Bits
from vecdb.storage.format import DamageError, pack_bits, unpack_bits
from vecdb.storage.memory import MemorySegment
from vecdb.storage.payload_edits import EditsFile, PayloadEdits
from vecdb.storage.segment import FileSegment

T = TypeVar("T")
Columns = Mapping[str, Column | Joined]
"""By field."""
_Payloads = Callable[[int, int], Sequence[Any]]
"""Gives the payloads from one number up to another."""

FEW_EDITS = 64
"""So many rows are tested one by one sooner than they get columns."""

_of_files: WeakKeyDictionary[PlacedArray, Column] = WeakKeyDictionary()
_of_edits_files: WeakKeyDictionary[EditsFile, dict[str, tuple[Any, Column]]] = WeakKeyDictionary()
_of_memory: WeakKeyDictionary[MemorySegment | PayloadEdits, _Memory] = WeakKeyDictionary()


def columns_of(view: View, segment_view: SegmentView, fields: Set[str]) -> tuple[int, Columns]:
    """The columns of what was written with the rows of a segment, those that there are of some
    fields, and of how many rows they are: if of more than the view knows, of these first."""
    segment, wanted = segment_view.segment, view.fields.keys() & fields
    if isinstance(segment, MemorySegment):
        memory, rows = _of_memory.setdefault(segment, _Memory()), segment_view.rows
        return memory.columns(
            _chosen(view, fields), rows, lambda a, b: segment_view.written(np.arange(a, b))
        )
    assert isinstance(segment, FileSegment)
    found = {}
    for field in wanted:
        column = column_of(view, segment, field)
        if column is not None:
            found[field] = column
    return segment.rows, found


def column_of(view: View, segment: Segment, field: str) -> Column | None:
    """The column of a field in the files of a segment; None: it has none as it is to be."""
    wanted = view.fields.get(field)
    if wanted is None or not isinstance(segment, FileSegment):
        return None
    opened = segment.columns.get(field)
    if opened is None or not wanted.is_made(segment.row.columns[field]):
        return None
    column = _of_files.get(opened)
    if column is None:
        try:
            column = _of_files[opened] = Column.read(opened.verify(), segment.rows)
        except CorruptionError as error:
            segment.quarantine(field, error)
        except DamageError as error:
            segment.quarantine(field, CorruptionError(opened.path, str(error)))
    return column


def answered_by_columns(
    view: View,
    segment_view: SegmentView,
    field: str,
    among: Bits,
    read: Callable[[Column | Joined, Bits], T],
    *,
    texts: bool = False,
) -> tuple[list[tuple[T, Offsets | None]], Offsets]:
    """What ``read`` makes of each column of a field and of a mask of its payloads, with the rows
    that these are of (None: the first payload is of the first row, …), and the rows of ``among``
    that are in no mask: their payloads tell. No column, and all of them, if the field has none.
    ``read`` must leave nothing of the column to be read later, when it may be damaged. ``texts``:
    it reads tokens, which a column has of every text, also of those it has not."""
    count, found = columns_of(view, segment_view, {field})
    column = found.get(field)
    left = unpack_bits(among, segment_view.rows)
    if column is None:
        rows = np.flatnonzero(left)
        if view.demand is not None and field not in view.fields:
            view.demand.note(segment_view.segment.id, {field}, len(rows))
        return [], rows
    written, edited = among, left[:0]
    if segment_view.edited:
        bits = segment_view.edits.bits(segment_view.seen, segment_view.rows)
        written, edited = among & ~bits, unpack_bits(among & bits, segment_view.rows)
    mask = _told(None if texts else column.open, written, count)
    try:
        told: list[tuple[T, Offsets | None]] = [(read(column, mask), None)]
    except DamageError:
        without_damaged(segment_view, found, lambda some: read(some[field], mask))
        return answered_by_columns(view, segment_view, field, among, read, texts=texts)
    left &= ~unpack_bits(mask, count)[: len(left)]
    if not edited.any():
        return told, np.flatnonzero(left)
    last = np.empty(segment_view.rows, dtype=np.int64)
    for rows, count, found in reversed([*of_edits(view, segment_view, {field})]):
        last[rows] = np.arange(len(rows))  # of a row that comes twice, the last
        newest = edited[rows] & (last[rows] == np.arange(len(rows)))
        edited[rows] = False  # older payloads of these rows tell nothing
        column = found.get(field)
        if column is not None:
            mask = _told(None if texts else column.open, pack_bits(newest), count)
            told.append((read(column, mask), rows))
            left[rows[unpack_bits(mask, count)[: len(rows)]]] = False
    return told, np.flatnonzero(left)


def _told(open_: Bits | None, among: Bits, count: int) -> Bits:
    """The mask of those of its ``count`` payloads of which a column has all values; ``open_``: it
    has not those of these."""
    mask = np.zeros(-(-count // 8), dtype=np.uint8)
    mask[: len(among)] = among
    return mask if open_ is None else mask & ~open_


def is_ready(view: View, segment_view: SegmentView, fields: Set[str]) -> bool:
    """Whether columns of these fields are there to be used: none has to be made or verified."""
    wanted, segment = _chosen(view, fields), segment_view.segment
    if isinstance(segment, MemorySegment):
        memory = _of_memory.get(segment)
        return not wanted or (memory is not None and memory.has(wanted, segment_view.rows))
    return all(_of_files.get(array) for f, array in segment.columns.items() if f in wanted)


def private_bytes(held: Segment | PayloadEdits | EditsFile) -> int:
    """About how much private memory the columns take that reads have made of some payloads."""
    if isinstance(held, EditsFile):
        return sum(column.nbytes for _, column in list(_of_edits_files.get(held, {}).values()))
    if not isinstance(held, (MemorySegment, PayloadEdits)):
        return 0  # its columns are mapped
    memory = _of_memory.get(held)
    return 0 if memory is None else memory.nbytes


def without_damaged(
    segment_view: SegmentView, columns: Columns, read: Callable[[Columns], object]
) -> None:
    """Take those columns out of use which cannot be read. Raises DamageError if all can."""
    segment, found = segment_view.segment, False
    for field, column in columns.items():
        try:
            read({field: column})
        except DamageError as error:
            found = True
            opened = segment.columns.get(field)
            if opened is not None:  # else another search has just done the same
                segment.quarantine(field, CorruptionError(opened.path, str(error)))
    if not found:
        raise DamageError("columns that can be read")


def of_edits(
    view: View, segment_view: SegmentView, fields: Set[str]
) -> Iterator[tuple[Offsets, int, Columns]]:
    """The payloads that rows were given after they were written, the oldest first: rows, one for
    each payload, and the columns of these payloads, as from ``columns_of``. A row that comes twice
    has the last."""
    edits, seen = segment_view.edits, segment_view.seen
    wanted = _chosen(view, fields)
    if seen + sum(len(file.rows) for file in edits.files) <= FEW_EDITS:
        rows = edits.rows(seen, edits.files)
        yield rows, len(rows), {}
        return
    for file in edits.files:
        yield file.rows, len(file.rows), _of_edits_file(file, wanted)
    if seen:
        memory = _of_memory.setdefault(edits, _Memory())
        count, columns = memory.columns(wanted, seen, lambda a, b: edits.entries(a, b)[1])
        yield edits.entries(0, seen)[0], count, columns


def _chosen(view: View, fields: Set[str]) -> Fields:
    return {path: view.fields[path] for path in view.fields.keys() & fields}


def _of_edits_file(file: EditsFile, fields: Fields) -> Columns:
    known, found = _of_edits_files.setdefault(file, {}), {}
    for path, field in fields.items():
        column = known.get(path)
        if column is None or column[0] != field.text:
            try:
                made = build(path, file.payloads(np.arange(len(file.rows))), field.text)
            except (CorruptionError, DamageError):  # whoever needs such a payload will say so
                return {}
            column = known[path] = field.text, made
        found[path] = column[1]
    return found


class _Memory:
    """Columns of payloads that only ever get more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._growing: dict[str, tuple[Field, Growing]] = {}
        self._known: tuple[int, dict[str, tuple[Field, Joined]]] = (0, {})

    @property
    def nbytes(self) -> int:
        """About how much memory it takes."""
        made = sum(column.nbytes for _, column in self._known[1].values())
        return made + sum(growing.nbytes for _, growing in self._growing.values())

    def has(self, fields: Fields, count: int) -> bool:
        """Whether there are columns of so many payloads."""
        rows, known = self._known
        return rows >= count and all(_is_of(known, path, fields[path]) for path in fields)

    def columns(self, fields: Fields, count: int, payloads: _Payloads) -> tuple[int, Columns]:
        """The columns of at least the first ``count`` payloads, and of how many they are. There are
        none where another thread is at work, or a payload is damaged."""
        if not self.has(fields, count) and self._lock.acquire(False):
            try:
                self._extend(fields, max(count, self._known[0]), payloads)
            except DamageError:  # whoever needs such a payload will say so
                pass
            finally:
                self._lock.release()
        rows, known = self._known
        if rows < count:
            return count, {}
        return rows, {p: known[p][1] for p, field in fields.items() if _is_of(known, p, field)}

    def _extend(self, fields: Fields, count: int, payloads: _Payloads) -> None:
        growing = {**self._growing}
        for path, field in fields.items():
            if not _is_of(growing, path, field):
                growing[path] = field, Growing(path, field.text)
        self._growing = {}  # if this is cut short, they begin anew
        for _, column in growing.values():
            column.extend(payloads(column.rows, count))
        # They grow on only if all of them have columns: what there is of one whose column could not
        # be made may be of other rows than it counts.
        known = {path: (field, column.column()) for path, (field, column) in growing.items()}
        self._known, self._growing = (count, known), growing


def _is_of(known: Mapping[str, tuple[Field, Any]], path: str, field: Field) -> bool:
    """Whether a column is there, and of the field as it is now."""
    return path in known and known[path][0].text == field.text
