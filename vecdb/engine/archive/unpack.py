"""Unpacking: a collection out of an archive that may come from anybody.

Members are read into a new directory, in the order and of the sizes that the manifest implies;
every block is verified. Then all of it is read once more: what ``check`` reads and what the archive
claims about its segments; and the log is applied. Checksums show accidents, not intent. So whatever
an archive says is compared with what it contains before anything relies on it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from vecdb import models
from vecdb.engine.archive.capture import copy_data_file
from vecdb.engine.archive.manifest import MAX_MANIFEST, Manifest, Member, members
from vecdb.engine.archive.snapshots import require_space
from vecdb.engine.open import database_dir, places, recovery
from vecdb.engine.repair.check import check_directory
from vecdb.engine.schema import datatypes_of, dims_of, schema_of
from vecdb.engine.store import Store
from vecdb.errors import (
    CorruptionError,
    FormatVersionError,
    InvalidInputError,
    NotFoundError,
    VecdbError,
)
from vecdb.storage import files, fs, layout, lookup
from vecdb.storage.catalog import Catalog, Change, Snapshot, read_unlocked
from vecdb.storage.format import MAX_FORMAT_LINE, DamageError, checksum
from vecdb.storage.format_line import unpack_format_line
from vecdb.storage.segment import FileSegment
from vecdb.storage.segment_row import SegmentRow
from vecdb.storage.tar import Progress, TarReader, member_size, no_progress
from vecdb.storage.validate import validate

_READ_SIZE = 4 << 20


class Unpacked(Struct, frozen=True):
    """A collection from an archive, whole, durable and verified, under a temporary name."""

    path: Path
    name: str
    points: int


class Archive:
    """An archive being read. Methods raise CorruptionError and FormatVersionError, naming it."""

    def __init__(
        self, path: Path, checksum: str | None = None, progress: Progress = no_progress
    ) -> None:
        """``checksum``: the SHA-256 it must have. Raises NotFoundError, InvalidInputError."""
        self.path = path
        self._wanted = _check_sha256(checksum)
        try:
            self._tar = TarReader(path, hashing=checksum is not None, progress=progress)
        except FileNotFoundError:
            raise NotFoundError(f"{path}: there is no such file") from None
        self._number = 0
        try:
            with self._damage():
                length = self._begin()
                fields = unpack_format_line(self._tar.read(length))
                self._tar.end(length)
                if fields.get("archive") not in ("collection", "database"):
                    raise DamageError("is not an archive of vecdb")
                self.whole = fields["archive"] == "database"
        except BaseException:
            self._tar.close()
            raise

    def _begin(self) -> int:
        try:
            return self._tar.begin_any_size(layout.FORMAT, MAX_FORMAT_LINE)
        except CorruptionError as error:
            detail = f"is not a vecdb snapshot, or its beginning is damaged: {error.detail}"
            raise DamageError(detail) from None

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exception: object) -> None:
        self._tar.close()

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """Report whatever is wrong with the data inside the block as damage of the archive."""
        try:
            yield
        except DamageError as error:
            raise CorruptionError(self.path, str(error)) from None
        except FormatVersionError as error:
            raise FormatVersionError(f"{self.path}: {error}") from None

    def collections(self) -> Iterator[Manifest]:
        """The collections in the archive; the caller reads each by ``unpack`` or ``skip``. Whether
        there is more in the file, and its SHA-256, are known at the end only."""
        while not self._tar.at_end():
            with self._damage():
                self._number += 1
                length = self._tar.begin_any_size(f"{self._number}/manifest", MAX_MANIFEST)
                manifest = Manifest.unpack(self._tar.read(length))
                self._tar.end(length)
                try:
                    database_dir.check_name(manifest.name)
                except InvalidInputError as error:
                    raise DamageError(f"not a valid manifest: {error}") from None
                due = sum(
                    member_size(self._name(member), member.size) for member in members(manifest)
                )
                self._tar.require_left(due, last=not self.whole)
            yield manifest
        if not self._number and not self.whole:
            raise CorruptionError(self.path, "holds no collection")
        if self._wanted is not None and self._tar.sha256() != self._wanted:
            detail = f"its SHA-256 is {self._tar.sha256()}, not {self._wanted}"
            raise CorruptionError(self.path, detail)

    def _name(self, member: Member) -> str:
        return f"{self._number}/{member.name}"

    def skip(self, manifest: Manifest) -> None:
        """Pass over a collection."""
        for member in members(manifest):
            self._tar.skip(self._name(member), member.size)

    def unpack(self, manifest: Manifest, parent: Path, name: str) -> Unpacked:
        """Write a collection to a new directory, durable and verified, to be called ``name``.

        Raises StorageFullError and OSError, too; then nothing is left behind.
        """
        path = parent / layout.new_dir()
        contents = members(manifest)
        require_space(parent, sum(member.size for member in contents))
        try:
            with fs.raising_storage_full(parent), self._damage():
                snapshot = self._catalog(manifest, contents)
                self._write(manifest, contents, snapshot, path, name)
                points = _verified(manifest, path, name)
        except BaseException:
            fs.remove_tree(path)
            raise
        return Unpacked(path, name, points)

    def _catalog(self, manifest: Manifest, contents: list[Member]) -> Snapshot:
        """What the manifest and the masks after it say, if it can be so."""
        alive = {}
        for member in contents:
            if member.row is not None and member.file is None:
                data = self._content(member)
                if checksum(data) != manifest.masks[layout.segment_dir(member.row.id)]:
                    raise DamageError(f"{member.name} does not match its checksum")
                alive[member.row.id] = np.frombuffer(data, dtype=np.uint8)
        snapshot = manifest.snapshot(alive)
        try:
            config = models.coerce(models.CollectionConfig, snapshot.config)
        except InvalidInputError as error:
            raise DamageError(f"not a valid manifest: {error}") from None
        schema = schema_of(config)
        validate(snapshot, dims_of(schema), datatypes_of(schema))
        return replace(snapshot, config=models.to_builtins(config))

    def _content(self, member: Member) -> bytes:
        self._tar.begin(self._name(member), member.size)
        data = self._tar.read(member.size)
        self._tar.end(member.size)
        return data

    def _write(
        self, manifest: Manifest, contents: list[Member], snapshot: Snapshot, path: Path, name: str
    ) -> None:
        fs.make_dir(path)
        # A restored collection has the files of the one it replaces, and from here a history of its
        # own.
        places.write_format(
            path / layout.FORMAT,
            uuid=manifest.uuid,
            name=name.encode("utf-8").hex(),
            restored=os.urandom(8).hex(),
        )
        directories = [path / layout.WAL, path / layout.SEGMENTS]
        for row in snapshot.segments:
            directories.append(path / layout.SEGMENTS / layout.segment_dir(row.id))
        for made in directories:
            fs.make_dir(made)
        for member in contents:
            if member.row is None:
                data = self._content(member)
                if checksum(data) != manifest.wal[1]:
                    raise DamageError(f"{member.name} does not match its checksum")
                fs.write_file(path / layout.WAL / layout.wal_file(manifest.applied_seq + 1), data)
            elif member.file is not None:
                self._copy(path, manifest.uuid, member, member.row, member.file)
        for made in reversed(directories):
            fs.sync_dir(made)
        _make_catalog(path / layout.CATALOG, snapshot, manifest.uuid)
        fs.sync_dir(path)

    def _copy(self, path: Path, uuid: str, member: Member, row: SegmentRow, file: str) -> None:
        target = fs.AppendFile(path / layout.SEGMENTS / layout.segment_dir(row.id) / file)
        try:
            self._tar.begin(self._name(member), member.size)
            copy_data_file(self._tar.read, target.append, uuid, row, file)
            self._tar.end(member.size)
            target.sync()
        except DamageError as error:
            raise DamageError(f"{member.name}: {error}") from None
        finally:
            target.close()


def _check_sha256(text: object) -> str | None:
    if text is None:
        return None
    if not isinstance(text, str) or not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise InvalidInputError(
            f"checksum: expected a SHA-256, 64 hexadecimal digits, got {text!r:.80}"
        )
    return text.lower()


def _make_catalog(path: Path, snapshot: Snapshot, uuid: str) -> None:
    change = Change(
        snapshot.applied_seq,
        snapshot.next_segment_id,
        live=snapshot.live,
        add=snapshot.segments,
        alive=dict(snapshot.alive),
    )
    Catalog.create(path, snapshot.config, uuid)
    Catalog(path).commit(change)


def _verified(manifest: Manifest, path: Path, name: str) -> int:
    """Read all of a directory that was written from an archive. Returns how many points it has.
    Raises DamageError for anything that is not as every collection would have it."""
    try:
        path = lookup.real_path(path)
        report = check_directory(path, layout.escape(name))
        for problem in report.problems:
            raise DamageError(f"{os.path.relpath(problem.path, path)}: {problem.detail}")
        snapshot, _ = read_unlocked(path / layout.CATALOG)
        store, replay = recovery.load(path, snapshot, "never", mapped=True)
        if replay.last_seq != manifest.last_seq or replay.torn_bytes:
            raise DamageError(f"the log ends at operation {replay.last_seq}")
        for state in store.files.values():
            _verify_segment(state.segment, store)
        points = store.make_view().live
        store.release()
        return points
    except CorruptionError as error:
        raise DamageError(f"{os.path.relpath(error.path, path)}: {error.detail}") from None
    except (DamageError, VecdbError, OSError):
        raise
    except Exception as error:
        raise DamageError(f"is whole, but nonsense: {type(error).__name__}: {error}") from error


def _verify_segment(segment: FileSegment, store: Store) -> None:
    """Check what ``check`` takes for granted in files that vecdb wrote. Raises CorruptionError."""
    payload_offsets = segment.arrays[files.PAYLOAD_OFFSETS.file()]
    offsets = payload_offsets.verify()
    ends = (offsets[0], offsets[-1]) == (0, segment.arrays[files.PAYLOAD.file()].array.size)
    if not ends or (offsets[1:] < offsets[:-1]).any():
        raise CorruptionError(payload_offsets.path, "does not cut up the payload")
    seqs = segment.arrays[files.SEQS.file()]
    if segment.rows and int(seqs.verify().max()) > store.applied_seq:
        raise CorruptionError(seqs.path, f"has operations beyond {store.applied_seq}")
    for name in segment.row.vectors:
        present = segment.present(name, segment.rows)
        if present is not None and segment.rows % 8 and present[-1] >> segment.rows % 8:
            file = segment.arrays[files.PRESENT.file(name)]
            raise CorruptionError(file.path, "goes beyond the last row")
    for ragged in segment.ragged.values():
        ragged.require_sound()
    for name, originals in segment.originals.items():
        vector = store.schema[name]
        step = max(1, _READ_SIZE // vector.bytes)
        for start in range(0, segment.rows, step):
            if not np.isfinite(
                originals.verify_span(start, start + step)[start : start + step]
            ).all():
                raise CorruptionError(originals.path, "has values that are not finite")
        quantized = segment.quantized.get(name)
        if quantized is not None and quantized.quantizer.metric != vector.metric:
            file = segment.arrays[files.QUANTIZER.file(name)]
            raise CorruptionError(file.path, f"is for another metric than {vector.metric}")
        index = segment.indexes.get(name)
        if index is not None and index.clustered.metric != vector.metric:
            file = segment.arrays[files.INDEX.file(name)]
            raise CorruptionError(file.path, f"is for another metric than {vector.metric}")
