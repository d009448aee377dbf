"""Capture: one exact state of a collection, held while it is written to an archive.

It reads as a ``Follower`` does: without a lock, from any process, while anybody writes.
"""

from __future__ import annotations

import logging
import os
import uuid as uuids
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
from msgspec.structs import replace

from vecdb.engine.archive.manifest import Manifest, members
from vecdb.engine.open.follower import newest, require_same
from vecdb.engine.open.places import exists
from vecdb.engine.open.recovery import valid_config
from vecdb.errors import CorruptionError
from vecdb.storage import fs, layout, lookup
from vecdb.storage.catalog import Snapshot, transaction_of
from vecdb.storage.files import expected_files
from vecdb.storage.format import (
    BLOCK_SIZE,
    FOOTER_SIZE,
    HEADER_SIZE,
    VERSION,
    DamageError,
    DataHeader,
    WalHeader,
    checksum,
    pack_frame,
    padding,
    unpack_footer,
)
from vecdb.storage.format_line import pack_format_line
from vecdb.storage.replay import Replay
from vecdb.storage.segment_row import SegmentRow, pack_segment
from vecdb.storage.tar import Progress, TarWriter, no_progress

_log = logging.getLogger("vecdb")

_READ_SIZE = 64 * BLOCK_SIZE


def copy_data_file(
    read: Callable[[int], bytes],
    write: Callable[[list[bytes]], object],
    uuid: str,
    row: SegmentRow,
    file: str,
) -> None:
    """Copy a file of a segment; every block is verified before it is passed on. Raises
    DamageError."""
    head = read(HEADER_SIZE)
    header = DataHeader.unpack(head)
    if (header.uuid.hex(), header.segment_id) != (uuid, row.id):
        raise DamageError("belongs to another segment or collection")
    expected_files(row)[file].require(header)
    if header.file_size != row.files[file].length:
        raise DamageError(f"{row.files[file].length} bytes, its header says {header.file_size}")
    write([head])
    table = bytearray()
    left = header.data_size + padding(header.data_size)
    while left:
        data = read(min(left, _READ_SIZE))
        left -= len(data)
        for start in range(0, len(data), BLOCK_SIZE):
            block = memoryview(data)[start : start + BLOCK_SIZE]
            table += checksum(block).to_bytes(8, "little")
        write([data])
    tail = read(8 * header.blocks + FOOTER_SIZE)
    sums, check = unpack_footer(head, tail)
    wrong = np.flatnonzero(sums != np.frombuffer(bytes(table), dtype="<u8"))
    if len(wrong):
        raise DamageError(f"block {wrong[0]} does not match its checksum")
    if check != row.files[file].checksum:
        raise DamageError("is whole, but not the file the catalog names (checksum differs)")
    write([tail])


class Captured:
    """One exact state of a collection, held: its files are open, its log is in memory."""

    def __init__(self, path: Path, fields: dict[str, str], snapshot: Snapshot) -> None:
        self.path = path
        self._held = ExitStack()
        self._files: dict[tuple[int, str], BinaryIO] = {}
        valid_config(path, snapshot, fields["uuid"])
        try:
            rows = [self._hold(row, snapshot) for row in snapshot.segments]
            self._wal, last_seq = _log_beyond(path, fields["uuid"], snapshot)
            require_same(path, fields)
            # Last, as it takes long: from here on the writer may do what it likes.
            rows = [self._with_whole_columns(row, fields["uuid"]) for row in rows]
            self._snapshot = replace(snapshot, segments=rows)
            self.manifest = _manifest_of(path, fields, self._snapshot, last_seq, self._wal)
        except BaseException:
            self.close()
            raise

    def _hold(self, row: SegmentRow, snapshot: Snapshot) -> SegmentRow:
        """Open the files of a segment. Returns its row without the columns that are not there."""
        for field in row.columns:
            name = layout.file_of(layout.COLUMN, field)
            try:
                with fs.must_be_readable(self._path_of(row, name)):
                    self._open(row, name)
            except CorruptionError as error:
                if transaction_of(self.path / layout.CATALOG) != snapshot.transaction:
                    raise  # the writer may have removed it
                row = _without(row, field, error)
        for name in row.files:
            if not layout.is_column(name):
                self._open(row, name)
        return row

    def _path_of(self, row: SegmentRow, name: str) -> Path:
        return self.path / layout.SEGMENTS / layout.segment_dir(row.id) / name

    def _open(self, row: SegmentRow, name: str) -> None:
        path = self._path_of(row, name)
        if name not in row.files:
            raise CorruptionError(path, "the catalog does not know this file")
        with fs.must_exist(path):
            # An open file stays, whatever becomes of its name.
            file = self._held.enter_context(lookup.open_read(path))
        length, expected = os.fstat(file.fileno()).st_size, row.files[name]
        if length != expected.length:
            raise CorruptionError(path, f"{length} bytes, expected {expected.length}")
        # Written anew, a column may have the length that it had.
        check = int.from_bytes(os.pread(file.fileno(), 8, max(0, length - 16)), "little")
        if layout.is_column(name) and check != expected.checksum:
            detail = "is not the file the catalog names (checksum differs)"
            raise CorruptionError(path, detail)
        self._files[row.id, name] = file

    def _with_whole_columns(self, row: SegmentRow, uuid: str) -> SegmentRow:
        """The row without the columns that are damaged. All of each is read, as the archive says at
        its beginning what it holds."""
        for field in row.columns:
            name = layout.file_of(layout.COLUMN, field)
            try:
                with fs.must_be_readable(self._path_of(row, name)):
                    self._copy(lambda _: None, uuid, row, name)
            except CorruptionError as error:
                row = _without(row, field, error)
        return row

    def close(self) -> None:
        """Let the files go."""
        self._held.close()

    def write(self, tar: TarWriter, prefix: str) -> None:
        """Append the collection to an archive. Raises CorruptionError for a damaged file."""
        manifest = self.manifest.pack()
        tar.begin(f"{prefix}/manifest", len(manifest))
        tar.append([manifest])
        for member in members(self.manifest):
            tar.begin(f"{prefix}/{member.name}", member.size)
            if member.row is None:
                tar.append(self._wal)
            elif member.file is None:
                tar.append([self._snapshot.alive[member.row.id].tobytes()])
            else:
                self._copy(tar.append, self.manifest.uuid, member.row, member.file)

    def _copy(
        self, write: Callable[[list[bytes]], object], uuid: str, row: SegmentRow, name: str
    ) -> None:
        opened = self._files[row.id, name]
        opened.seek(0)
        try:
            copy_data_file(lambda size: _exactly(opened, size), write, uuid, row, name)
        except DamageError as error:
            raise CorruptionError(opened.name, str(error)) from None


def capture(path: Path) -> Captured:
    """Hold the newest state of the collection at a place. Raises CorruptionError, and
    FormatVersionError."""
    captured, _ = newest(path, Captured)
    return captured


def write_archive(
    path: Path, collections: Iterable[Path], *, whole: bool, progress: Progress = no_progress
) -> str:
    """Write an archive of collections, one after the other, under a new name, and make its content
    durable. Returns its SHA-256. A collection that is dropped meanwhile is left out. Raises
    CorruptionError, OSError; the caller then removes the file."""
    tar = TarWriter(path, progress)
    try:
        kind = "database" if whole else "collection"
        line = pack_format_line({"format": VERSION, "uuid": uuids.uuid4().hex, "archive": kind})
        tar.begin(layout.FORMAT, len(line))
        tar.append([line])
        number = 0
        for directory in collections:
            try:
                captured = capture(directory)
            except CorruptionError:
                if whole and not exists(directory):
                    continue
                raise
            number += 1
            try:
                captured.write(tar, str(number))
            finally:
                captured.close()
        return tar.finish()
    finally:
        tar.close()


def _without(row: SegmentRow, field: str, error: CorruptionError) -> SegmentRow:
    """A segment without a column that is damaged. Whoever restores the archive writes it anew."""
    _log.warning("%s; the snapshot is taken without this column", error)
    return row.without_column(field)


def _manifest_of(
    path: Path, fields: dict[str, str], snapshot: Snapshot, last_seq: int, wal: list[bytes]
) -> Manifest:
    try:
        name = bytes.fromhex(fields["name"]).decode("utf-8")
    except (KeyError, ValueError):
        raise CorruptionError(path / layout.FORMAT, "has no valid collection name") from None
    return Manifest(
        name=name,
        uuid=fields["uuid"],
        config=snapshot.config,
        applied_seq=snapshot.applied_seq,
        last_seq=last_seq,
        next_segment_id=snapshot.next_segment_id,
        segments=[pack_segment(row) for row in snapshot.segments],
        live=[snapshot.live[row.id] for row in snapshot.segments],
        masks={layout.segment_dir(i): checksum(bits) for i, bits in snapshot.alive.items()},
        wal=(sum(map(len, wal)), checksum(*wal)),
    )


def _log_beyond(path: Path, uuid: str, snapshot: Snapshot) -> tuple[list[bytes], int]:
    """A WAL file of the operations beyond a catalog's state, and the last of them."""
    seq, transaction = snapshot.applied_seq, snapshot.transaction
    replay = Replay(path / layout.WAL, bytes.fromhex(uuid), seq, transaction)
    salt = int.from_bytes(os.urandom(8), "big")
    pieces, frames = [], [WalHeader(replay.uuid, salt, seq + 1).pack()]
    size = 0
    for seq, operation in replay.operations():
        frames += pack_frame(salt, seq, [[operation]], True)
        size += len(operation)
        if size > _READ_SIZE:  # copied, so that the files' contents need not be kept
            pieces.append(b"".join(frames))
            frames, size = [], 0
    return [*pieces, b"".join(frames)], replay.last_seq


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise DamageError(f"ends at byte {file.tell()}")
    return data
