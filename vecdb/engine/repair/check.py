"""Check: read everything a database has and compare it with what it should be. Changes nothing.

It compares every block of every file with its checksum, reads every row of the catalog and every
WAL frame, decodes every payload, and reads the aliases. Ids must be in order, each live in one row
only, and nothing may be missing or left over.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from vecdb import ids, models
from vecdb.engine.open.aliases import read_aliases
from vecdb.engine.open.database_dir import lock_to_read, require_format_file
from vecdb.engine.open.places import collection_dirs, collection_name, current_dir, read_format
from vecdb.engine.open.recovery import valid_config
from vecdb.engine.operations import Upsert, decode, require_fit
from vecdb.engine.schema import Schema, dims_of, schema_of
from vecdb.errors import CorruptionError, FormatVersionError
from vecdb.index import Inverted
from vecdb.payload import encoding
from vecdb.payload.columns import Column, build
from vecdb.storage import files, layout
from vecdb.storage.catalog import Snapshot, read_unlocked
from vecdb.storage.catalog_file import require_lock_file
from vecdb.storage.format import DamageError, unpack_bits
from vecdb.storage.payload_edits import EditsFile
from vecdb.storage.placements import Placements
from vecdb.storage.replay import Replay
from vecdb.storage.segment import FileSegment
from vecdb.storage.segment_row import SegmentRow
from vecdb.storage.sparse_files import Postings


class Problem(Struct):
    """One thing that is not as it should be."""

    path: str
    detail: str


class CollectionCheck(Struct):
    """What was read of one collection."""

    name: str
    points: int = 0
    """Points live in segment files; operations still in the WAL are not counted."""
    segments: int = 0
    files: int = 0
    bytes: int = 0
    wal_operations: int = 0
    torn_bytes: int = 0
    leftovers: int = 0
    """Directories of builds, and payload edits, that a crash cut short or outlived; the next open
    removes them."""


class CheckReport(Struct):
    """``ok`` when nothing is damaged."""

    ok: bool = True
    problems: list[Problem] = field(default_factory=list)
    collections: list[CollectionCheck] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, path: Path | str, detail: str) -> None:
        """Note a problem, once."""
        problem = Problem(str(path), detail)
        if problem not in self.problems:
            self.problems.append(problem)
        self.ok = False

    def unreadable(self, path: Path, error: OSError) -> None:
        """Note a file that could not be read."""
        self.add(error.filename or path, error.strerror or str(error))


class _ReportOfNewFiles(CheckReport):
    def unreadable(self, path: Path, error: OSError) -> None:
        raise error


def check_database(path: Path | str) -> CheckReport:
    """Check a database that nobody has open for writing.

    Raises NotADatabaseError, LockedError, FormatVersionError; damage is in the report.
    """
    root = Path(path).absolute()
    require_format_file(root)
    lock = lock_to_read(root)
    try:
        return check_files(root)
    finally:
        if lock is not None:
            lock.release()


def check_files(root: Path) -> CheckReport:
    """Check a database in which nothing is committed meanwhile; the caller sees to that."""
    started = time.monotonic()
    report = CheckReport()
    with _noted(report, root):
        read_format(root)
        with _noted(report, root):
            read_aliases(root)
        parent = root / layout.COLLECTIONS
        for place in collection_dirs(parent):
            _check_collection(report, current_dir(place), place.name)
    report.seconds = time.monotonic() - started
    return report


def check_directory(path: Path, escaped: str) -> CheckReport:
    """Check a collection that is to take the place with this escaped name. Its files have just been
    written: an OSError says nothing about them, and is raised."""
    report = _ReportOfNewFiles()
    _check_collection(report, path, escaped)
    return report


@contextmanager
def _noted(report: CheckReport, path: Path) -> Iterator[None]:
    """Note damage inside the block, and skip what depends on the damaged file."""
    try:
        yield
    except CorruptionError as error:
        report.add(error.path, error.detail)
    except DamageError as error:
        report.add(path, str(error))
    except FormatVersionError:
        raise
    except OSError as error:
        report.unreadable(path, error)


def _check_collection(report: CheckReport, path: Path, escaped: str) -> None:
    check = CollectionCheck(name=path.name)
    report.collections.append(check)
    with _noted(report, path):
        fields = read_format(path)
        check.name = collection_name(path)
        if layout.escape(check.name) != escaped:
            report.add(path / layout.FORMAT, f"names the collection {check.name!r}, not this one")
        uuid = bytes.fromhex(fields["uuid"])
        require_lock_file(path / layout.CATALOG)
        snapshot, _ = read_unlocked(path / layout.CATALOG)
        check.segments = len(snapshot.segments)
        schema = schema_of(valid_config(path, snapshot, fields["uuid"]))
        _check_wal(report, check, path, uuid, snapshot, schema)
        live: list[ids.IdArray] = []
        for row in snapshot.segments:
            with _noted(report, path):
                live.append(_check_segment(report, check, path, uuid, row, snapshot))
        _check_unique(report, path, live)
        known = {row.id for row in snapshot.segments}
        for entry in (path / layout.SEGMENTS).iterdir():
            if layout.parse_segment_dir(entry.name) not in known:
                check.leftovers += 1


def _check_wal(
    report: CheckReport,
    check: CollectionCheck,
    path: Path,
    uuid: bytes,
    snapshot: Snapshot,
    schema: Schema,
) -> None:
    dims = dims_of(schema)
    with _noted(report, path / layout.WAL):
        replay = Replay(path / layout.WAL, uuid, snapshot.applied_seq, snapshot.transaction)
        for seq, data in replay.operations():
            try:
                operation = decode(data)
                require_fit(operation, dims)
                if isinstance(operation, Upsert):
                    for payload in operation.payloads:
                        encoding.verify(payload)
            except DamageError as error:
                report.add(path / layout.WAL, f"operation {seq}: {error}")
        check.wal_operations = replay.operations_count
        check.torn_bytes = replay.torn_bytes


def _check_segment(
    report: CheckReport,
    check: CollectionCheck,
    path: Path,
    uuid: bytes,
    row: SegmentRow,
    snapshot: Snapshot,
) -> ids.IdArray:
    """Check all of one segment. Returns the ids that live in it."""
    directory = path / layout.SEGMENTS / layout.segment_dir(row.id)
    segment = FileSegment(directory, uuid, row, Placements())
    for file, detail in segment.damage.items():
        report.add(file, detail)
    for array in segment.arrays.values():
        if str(array.path) not in segment.damage:
            with _noted(report, directory):
                array.verify()
        check.files += 1
        check.bytes += array.file_size
    for entry in directory.iterdir():
        if entry.name not in row.files:
            if files.may_be_left_over(entry.name):
                check.leftovers += 1
            else:
                report.add(entry, "is not a file of this segment")
    _check_order(report, directory, segment)
    if int(segment.seq_array(np.arange(row.rows)).max(initial=0)) > snapshot.applied_seq:
        report.add(directory / files.SEQS.file(), f"names operations after {snapshot.applied_seq}")
    with _noted(report, directory / files.PAYLOAD.file()):
        for offset in range(segment.rows):
            encoding.verify(segment.payload(offset))
    for column, opened in segment.columns.items():
        with _noted(report, opened.path):
            _check_column(column, opened.verify(), segment)
    for ragged in segment.ragged.values():
        with _noted(report, directory):
            ragged.require_sound()
    for index in segment.token_indexes.values():
        with _noted(report, index.labels.path):
            index.of_tokens.max(initial=0)
    for postings in segment.inverted.values():
        with _noted(report, postings.postings.path):
            _check_postings(postings)
    for name in row.edits:
        with _noted(report, directory / name):
            _check_edits(check, EditsFile(directory, uuid, row, name))
    alive = snapshot.alive.get(row.id)
    check.points += snapshot.live[row.id]
    flags = np.ones(row.rows, dtype=np.bool_) if alive is None else unpack_bits(alive, row.rows)
    return segment.id_array(np.flatnonzero(flags))


def _check_column(field: str, data: npt.NDArray[np.uint8], segment: FileSegment) -> None:
    """Raise DamageError if the column of a field does not say what the payloads do."""
    Column.read(data, segment.rows)
    text = segment.row.columns[field].get("text")
    params = None if text is None else models.coerce(models.TextIndexParams, text)
    due = build(field, segment.payloads(np.arange(segment.rows)), params)
    if data.tobytes() != b"".join(memoryview(buffer).tobytes() for buffer in due.pack()):
        raise DamageError("is not what the payloads have there")


def _check_postings(postings: Postings) -> None:
    """Raise DamageError if an inverted index does not say what the vectors do."""
    written, at = postings.postings.verify(), 0
    due = Inverted(postings.originals.all())
    for piece in due.pieces():
        if not np.array_equal(written[at : at + len(piece)], piece):
            raise DamageError("is not what the vectors have there")
        at += len(piece)
    found = postings.terms.state()
    if any(not np.array_equal(found[name], array) for name, array in due.terms().state().items()):
        raise DamageError(f"does not fit {postings.opened.path.name}")


def _check_edits(check: CollectionCheck, file: EditsFile) -> None:
    check.files += 1
    check.bytes += file.opened.file_size
    file.opened.verify()
    for payload in file.payloads(np.arange(len(file.rows))):
        encoding.verify(payload)


def _check_order(report: CheckReport, directory: Path, segment: FileSegment) -> None:
    keys = list(segment.from_key(0, segment.rows))
    if sorted(keys) != list(range(segment.rows)):
        report.add(directory / files.ORDER.file(), "is not a permutation of the rows")
        return
    ordered = ids.from_array(segment.id_array(np.array(keys, dtype=np.int64)))
    if any(a > b for a, b in pairwise(ordered)):
        report.add(directory / files.ORDER.file(), "does not sort the ids")


def _check_unique(report: CheckReport, path: Path, live: list[ids.IdArray]) -> None:
    keys = [key for array in live for key in ids.from_array(array)]
    if len(set(keys)) != len(keys):
        seen: set[int] = set()
        twice = next(key for key in keys if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        report.add(path, f"point {ids.external(twice)!r} lives in two rows")
