"""Inventory of a damaged collection: who it is, its configuration, its state, its segments.

Three things tell the state: the catalog, the directories of the segments, the names of the log's
files. The catalog counts as long as the other two do not contradict it. Otherwise every segment
counts, and it is not certain which of its rows live.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from vecdb import models
from vecdb.engine.repair.lmdb_pages import CatalogRows, rows_of
from vecdb.engine.repair.salvage import SalvagedFile, SalvagedLog, footer_checksum, mend, read_file
from vecdb.engine.schema import schema_of, vectors_by_name
from vecdb.errors import FormatVersionError
from vecdb.storage import files, layout
from vecdb.storage.catalog import DATA
from vecdb.storage.files import FileKind
from vecdb.storage.format import (
    HEADER_SIZE,
    MAX_FORMAT_LINE,
    DamageError,
    DataHeader,
    WalHeader,
    checksum,
    unpack_bits,
    unpack_value,
)
from vecdb.storage.format_line import unpack_format_line
from vecdb.storage.segment_row import SegmentRow, unpack_segment
from vecdb.vectors.datatypes import SPARSE, is_multi, size_of

Flags = npt.NDArray[np.bool_]
T = TypeVar("T")


class SegmentEntry(Struct, frozen=True):
    """A segment that has something left."""

    id: int
    path: Path
    row: SegmentRow | None
    """What it should be; None: neither the catalog nor its manifest tells."""
    rows: int
    alive: Flags | None
    """False for rows that are known to be dead; None: for no row."""
    certain: bool
    """Whether all the others are known to live."""
    edits: tuple[str, ...] = ()
    """Its files of payload edits, the oldest first."""

    def kind(self, name: str) -> tuple[int, str] | None:
        """The dimension and the datatype of a vector name; None: it has nothing of it, or nothing
        tells."""
        vector = self.row.vectors.get(name) if self.row is not None else None
        return None if vector is None else (vector.dim, vector.datatype)

    def file(self, file: FileKind, uuid: bytes | None, name: str | None = None) -> SalvagedFile:
        """One of its files; ``name``: what it is called, if there may be more than one."""
        name = name or file.file()
        row = self.row.files.get(name) if self.row is not None else None
        return SalvagedFile(self.path / name, uuid, self.id, file, row)


class _State(Struct, frozen=True):
    """The catalog's row ``state``."""

    applied_seq: int
    next_segment_id: int
    live: dict[int, int]
    tree: dict[bytes, bytes]
    """All rows of the catalog in this state, if they can be told from those of others."""


class Inventory:
    """What is left of the collection in ``path``, which should be called ``escaped``.

    Raises FormatVersionError if it is whole and of a newer format.
    """

    def __init__(self, path: Path, escaped: str) -> None:
        self.path = path
        self.damaged: dict[str, str] = {}
        self.name, self.uuid = self._identity(escaped)
        self._directories = _segment_dirs(path / layout.SEGMENTS)
        self._catalog = self._read_catalog()
        self._tree: dict[bytes, bytes] = {}  # of the state, once that was chosen
        self._manifests = {
            number: found
            for number, directory in self._directories.items()
            if (found := _read_manifest(directory, self.uuid, number)) is not None
        }
        if self._is_foreign():
            self.note(path / layout.CATALOG / DATA, "belongs to another collection")
            self._catalog = CatalogRows()
        state, current = self._choose_state()
        self._tree = state.tree if current and state is not None else {}
        self.config = self._choose_config(current)
        self.lost = 0
        """Points that lived in segments with nothing left."""
        self.segments: list[SegmentEntry] = []
        if current and state is not None:
            for number, live in state.live.items():
                self._add_segment(number, live)
        else:
            self.note(path / layout.CATALOG / DATA, "does not tell which rows live")
            for number in self._directories:
                self._add_segment(number, None)
        applied_seq = state.applied_seq if current and state is not None else None
        self.log = SalvagedLog(path / layout.WAL, self.uuid, applied_seq)

    def note(self, path: Path, detail: str) -> None:
        """Say what is wrong with a file; '' is nothing."""
        if detail:
            said = self.damaged.get(str(path))
            self.damaged[str(path)] = f"{said}; {detail}" if said and detail != said else detail

    # -- who it is -------------------------------------------------------------------------

    def _identity(self, escaped: str) -> tuple[str, bytes | None]:
        path = self.path / layout.FORMAT
        fields, detail = read_format_line(path)
        try:
            name = bytes.fromhex(fields["name"]).decode("utf-8")
            if layout.escape(name) == escaped:
                self.note(path, detail)
                return name, bytes.fromhex(fields["uuid"])
            detail = f"names the collection {name!r}, not this one"
        except (KeyError, ValueError):
            detail = detail or "has no valid collection name"
        self.note(path, detail)
        votes = Counter(_uuids(self.path))
        return layout.unescape(escaped), votes.most_common(1)[0][0] if votes else None

    # -- the catalog -----------------------------------------------------------------------

    def _read_catalog(self) -> CatalogRows:
        path = self.path / layout.CATALOG / DATA
        data, problem = read_file(path)
        rows = rows_of(data)
        self.note(path, problem or "; ".join(rows.problems))
        return rows

    def _states(self) -> list[_State]:
        """The states in the catalog: that of the newest tree, of the other tree, then any others,
        newest first."""

        def states(values: list[bytes], tree: dict[bytes, bytes]) -> list[_State]:
            def parse(value: dict[str, Any]) -> _State:
                live = {int(number): int(count) for number, count in value["segments"]}
                return _State(int(value["applied_seq"]), int(value["next_segment_id"]), live, tree)

            return _parsed(values, parse)

        trees = [tree for tree in self._catalog.trees if b"state" in tree]
        others = states(self._catalog.found.get(b"state", []), {})
        others.sort(key=lambda state: (state.applied_seq, state.next_segment_id), reverse=True)
        return [state for tree in trees for state in states([tree[b"state"]], tree)] + others

    def _catalog_rows(self, number: int) -> list[SegmentRow]:
        """The catalog's rows of a segment: in the state that was chosen, then in others."""
        key = f"segment/{number:016x}".encode()
        values = [self._tree[key]] if key in self._tree else []
        values += self._catalog.values(key)
        return [row for row in _parsed(values, unpack_segment) if row.id == number]

    def _masks(self, number: int, rows: int) -> list[Flags]:
        values = self._catalog.values(f"alive/{number:016x}".encode())
        return [
            unpack_bits(np.frombuffer(value, dtype=np.uint8), rows)
            for value in values
            if len(value) == -(-rows // 8)
        ]

    def _is_foreign(self) -> bool:
        """Whether the catalog contradicts the manifest of every segment that both know."""
        shared = [number for number in self._manifests if self._catalog_rows(number)]
        return bool(shared) and not any(self._fitting(number) for number in shared)

    def _choose_state(self) -> tuple[_State | None, bool]:
        """The state to go by, and whether it is the collection's."""
        states = self._states()
        for state in states:
            if self._is_complete(state):
                return state, True
        if not states or not any(b"state" in tree for tree in self._catalog.trees[:1]):
            return None, False
        # The catalog is whole, but something that it names is not there: most likely that was
        # damaged. If there is a segment that the catalog does not know, the catalog is too old.
        unknown = set(self._manifests) - {i for i in states[0].live if self._fitting(i) is not None}
        return states[0], not unknown

    def _is_complete(self, state: _State) -> bool:
        """Whether everything that the state names is there."""
        for number, live in state.live.items():
            row = self._fitting(number)
            if row is None:
                return False
            masks = self._masks(number, row.rows)
            if live != row.rows and not any(mask.sum() == live for mask in masks):
                return False
        log = SalvagedLog(self.path / layout.WAL, self.uuid, state.applied_seq).files()
        return bool(log) and log[0][0] <= state.applied_seq + 1

    def _fitting(self, number: int) -> SegmentRow | None:
        """The catalog's row that describes the files of a segment's directory. If the catalog has
        no row, and so does not contradict it, the manifest's row."""
        rows = self._catalog_rows(number) or self._manifest_rows(number)
        return next((row for row in rows if self._fits(row)), None)

    def _manifest_rows(self, number: int) -> list[SegmentRow]:
        return [self._manifests[number][1]] if number in self._manifests else []

    def _fits(self, row: SegmentRow) -> bool:
        """Whether some file of the directory is the one that the row names."""
        directory = self._directories.get(row.id)
        return directory is not None and any(
            footer_checksum(directory / name, file.length) == file.checksum
            for name, file in row.files.items()
        )

    def _choose_config(self, current: bool) -> models.CollectionConfig | None:
        """The catalog's configuration, unless it may be another collection's; else the newest
        manifest's."""
        manifests = [self._manifests[number][0] for number in sorted(self._manifests, reverse=True)]
        trees = [tree[b"config"] for tree in self._catalog.trees if b"config" in tree]
        stored = _parsed(trees, dict)
        others = _parsed(self._catalog.found.get(b"config", []), dict)
        rows = [row for number in self._directories for row in self._catalog_rows(number)]
        ours = current or any(self._fits(row) for row in rows)
        certain = [*stored, *manifests] if ours else manifests
        doubtful = others if ours else [*stored, *others]
        dims = {
            name: vector.dim
            for _, row in self._manifests.values()
            for name, vector in row.vectors.items()
        }
        self._hints = list(_configs([*others, *certain] if ours else certain))
        sure = next(_configs(certain), None)
        if sure is not None:
            return sure
        for config in _configs(doubtful):
            found = {v.name: v.dim for v in schema_of(config).values()}
            # Vector names may have come and gone since a segment was built, all of them even. What
            # may be another collection's must have something in common with a segment.
            if not dims or (found.items() & dims.items() and _agree(found, dims)):
                return config
        return None

    def guessed(self, name: str, dim: int) -> models.VectorParams | models.SparseVectorParams:
        """What a vector of the log may be that the configuration does not know: what some other
        configuration says that is left, of whatever age; else Dot, which changes no number, and
        ranks vectors that were normalised for Cosine as Cosine does."""
        for config in self._hints:
            vector = schema_of(config).get(name)
            if vector is not None and vector.dim == dim:
                return vectors_by_name(config)[name]
        if dim == SPARSE:
            return models.SparseVectorParams()
        many = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
        return models.VectorParams(
            size=size_of(dim),
            distance=models.Distance.DOT,
            multivector_config=many if is_multi(dim) else None,
        )

    # -- the segments ----------------------------------------------------------------------

    def _add_segment(self, number: int, live: int | None) -> None:
        """Add a segment. ``live``: how many of its rows live; None: that is not known."""
        path = self._directories.get(number)
        if path is None:
            self.lost += live or 0
            missing = self.path / layout.SEGMENTS / layout.segment_dir(number)
            self.note(missing, "the directory is missing")
            return
        row = self._fitting(number)
        if row is None:
            rows = self._manifest_rows(number)
            row = next(iter(rows if live is None else rows + self._catalog_rows(number)), None)
        edits = self._edits_of(number, row)
        entry = SegmentEntry(
            number, path, row, row.rows if row is not None else 0, None, True, edits
        )
        if row is None:
            with entry.file(files.IDS, self.uuid) as ids:
                if ids.header is None:
                    self.lost += live or 0
                    self.note(path, "nothing tells what this segment was")
                    return
                entry = replace(entry, rows=ids.header.rows)
        if live is None or live < entry.rows:
            entry = self._with_mask(entry, live)
        self.segments.append(entry)

    def _edits_of(self, number: int, row: SegmentRow | None) -> tuple[str, ...]:
        """The files of payload edits of a segment. If the catalog is damaged, its row may be an old
        one (and a manifest's knows of no edits): then newer files count, too."""
        named = row.edits if row is not None else []
        whole = str(self.path / layout.CATALOG / DATA) not in self.damaged
        if whole and row in self._catalog_rows(number):
            return tuple(named)
        there = os.listdir(self._directories[number])
        there = [n for n in there if layout.parse_edits_file(n) is not None]
        return (*named, *sorted(name for name in there if name > max(named, default="")))

    def _with_mask(self, entry: SegmentEntry, live: int | None) -> SegmentEntry:
        masks = self._masks(entry.id, entry.rows)
        for mask in masks:
            if mask.sum() == live:
                return replace(entry, alive=mask)
        if live is not None:
            detail = f"does not tell which {live} of {entry.rows} rows of segment {entry.id} live"
            self.note(self.path / layout.CATALOG / DATA, detail)
        # Rows only die: dead in an old state is dead.
        alive = np.logical_and.reduce(masks) if masks else None
        return replace(entry, alive=alive, certain=False)


def read_format_line(path: Path) -> tuple[dict[str, str], str]:
    """The fields of a FORMAT file and what is wrong with it; no fields if they cannot be told.

    Raises FormatVersionError if it is whole and of a newer format.
    """
    data, problem = read_file(path)
    if problem:
        return {}, problem
    try:
        return unpack_format_line(data), ""
    except FormatVersionError as error:
        if _has_checksum(data):
            raise FormatVersionError(f"{path}: {error}") from None
        detail = "FORMAT checksum does not match"
    except DamageError as error:
        detail = str(error)
    mended = mend(data[:MAX_FORMAT_LINE], _is_format_line)
    if mended is None:
        return {}, detail
    return unpack_format_line(mended), "one flipped bit put right"


def _is_format_line(data: Any) -> bool:
    try:
        unpack_format_line(bytes(data))
    except (DamageError, FormatVersionError):
        return False
    return True


def _has_checksum(line: bytes) -> bool:
    text, _, check = line.removeprefix(b"vecdb ").rstrip(b"\n").rpartition(b" check=")
    return check == f"{checksum(text):016x}".encode()


def _uuids(path: Path) -> Iterator[bytes]:
    """Whose the files say they are."""
    headers: list[tuple[str, type[DataHeader] | type[WalHeader]]]
    headers = [(f"{layout.SEGMENTS}/*/*", DataHeader), (f"{layout.WAL}/*.wal", WalHeader)]
    for pattern, header in headers:
        for file in sorted(path.glob(pattern)):
            try:
                yield header.unpack(read_file(file, HEADER_SIZE)[0]).uuid
            except (DamageError, FormatVersionError):
                continue


def _segment_dirs(path: Path) -> dict[int, Path]:
    try:
        entries = sorted(path.iterdir())
    except PermissionError:  # what is there is not lost, only kept from us
        raise
    except OSError:
        return {}
    found = {layout.parse_segment_dir(entry.name): entry for entry in entries if entry.is_dir()}
    return {number: entry for number, entry in found.items() if number is not None}


def _read_manifest(
    directory: Path, uuid: bytes | None, number: int
) -> tuple[dict[str, Any], SegmentRow] | None:
    """The configuration and the segment's row of a whole manifest."""
    path = directory / files.MANIFEST.file()
    with SalvagedFile(path, uuid, number, files.MANIFEST, None) as manifest:
        if manifest.header is None:
            return None
        data, whole = manifest.rows(0, manifest.header.rows)
    if not whole.all():
        return None
    values = _parsed([data.tobytes()], lambda value: (value, unpack_segment(value["segment"])))
    for value, row in values:
        if row.id == number and isinstance(value.get("config"), dict):
            return value["config"], row
    return None


def _configs(values: Iterable[Any]) -> Iterator[models.CollectionConfig]:
    """Those of the values that are a configuration."""
    for value in values:
        with suppress(ValueError):
            yield models.coerce(models.CollectionConfig, value)


def _agree(dims: dict[str, int], others: dict[str, int]) -> bool:
    """Whether the vector names that are in both have the same dimensions."""
    return all(dims[name] == others[name] for name in dims.keys() & others.keys())


def _parsed(values: Iterable[bytes], parse: Callable[[Any], T]) -> list[T]:
    """The msgpack values that ``parse`` can make something of."""
    found = []
    for value in values:
        try:
            found.append(parse(unpack_value(value)))
        except (DamageError, KeyError, TypeError, ValueError, AttributeError):
            continue
    return found
