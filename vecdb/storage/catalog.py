"""The catalog: one LMDB environment a collection, and the only commit point.

Rows (every one carries a checksum of its key and value)::

    config            the collection's configuration
    state             applied_seq, next segment id, and the list of segments with live counts
    segment/<id>      rows, vector names and codecs, and every file's length and checksum
    alive/<id>        bits of the rows that live; absent: all of them

The catalog is exactly the collection's state at ``applied_seq``. One transaction moves all of it:
data files are durable before it, WAL files are retired after it. LMDB runs with full sync and
never ``writemap``: without sync it can come back with wrong rows, and a full disk under a
writable map is a SIGBUS. LMDB has no checksums, hence ours; and because a checksum cannot show a
*missing* row, ``state`` lists the segments and what lives in each.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import numpy.typing as npt

from vecdb.errors import CorruptionError, ReadOnlyError
from vecdb.storage import fs
from vecdb.storage.format import DamageError, pack_row, pack_value, unpack_row, unpack_value

Bits = npt.NDArray[np.uint8]

# Virtual size: costs address space, not disk. A catalog holds one bit a row, so 4 GiB is ten
# thousand million rows in segments that are all being rewritten at once.
_MAP_SIZE = 1 << 32
_SMALLEST_MAP = 1 << 26


@dataclass(frozen=True, slots=True)
class FileRow:
    """What the catalog knows of one data file: enough to tell it from any other."""

    length: int
    checksum: int


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One segment: its rows, its vector names with dimension and codec, its files."""

    id: int
    rows: int
    vectors: dict[str, dict[str, Any]]  # name -> {"dim": int, "codec": dict | None}
    files: dict[str, FileRow]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of the catalog as one read transaction sees it."""

    config: dict[str, Any]
    applied_seq: int
    next_segment_id: int
    segments: list[SegmentRow]
    alive: dict[int, Bits]  # absent: every row lives
    live: dict[int, int]


@dataclass(slots=True)
class Change:
    """What one commit moves. Segments not named stay as they are."""

    applied_seq: int
    next_segment_id: int
    live: dict[int, int]  # every segment after the commit, in order
    config: dict[str, Any] | None = None
    add: list[SegmentRow] = field(default_factory=list)
    drop: list[int] = field(default_factory=list)
    alive: dict[int, Bits | None] = field(default_factory=dict)


class Catalog:
    """One open LMDB environment. Thread-safe for reads; commits are ordered by the caller."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path / "data.mdb"
        self._read_only = read_only
        _check_length_before(self.path)
        self._env = _open(path, read_only=read_only)
        self._check_length_after()

    @staticmethod
    def create(path: Path, config: dict[str, Any]) -> None:
        """A new catalog with this configuration and no segments, durable but for ``path``'s name.

        LMDB creates its file in two unsynced steps, so this is done under a temporary name.
        """
        fs.make_dir(path)
        env = _open(path, read_only=False)
        try:
            with env.begin(write=True) as transaction:
                _put(transaction, b"config", pack_value(config))
                _put(transaction, b"state", _pack_state(0, 1, {}))
        finally:
            env.close()
        fs.sync_file(path / "data.mdb")
        fs.sync_dir(path)

    def read(self) -> Snapshot:
        """Everything, from one read transaction. Raises CorruptionError."""
        try:
            with self._env.begin() as transaction:
                return self._read(transaction)
        except (DamageError, lmdb.Error, KeyError, TypeError, ValueError) as error:
            raise CorruptionError(self.path, str(error)) from error

    def _read(self, transaction: Any) -> Snapshot:
        state = unpack_value(_get(transaction, b"state"))
        segments, alive, live = [], {}, {}
        for segment_id, count in state["segments"]:
            row = _unpack_segment(unpack_value(_get(transaction, _key("segment", segment_id))))
            key = _key("alive", segment_id)
            raw = transaction.get(key)
            if raw is not None:
                bits = np.frombuffer(unpack_row(key, raw), dtype=np.uint8)
                if len(bits) != -(-row.rows // 8):
                    raise DamageError(f"alive/{segment_id:016x}: wrong length")
                alive[segment_id] = bits
            found = row.rows if raw is None else int(np.bitwise_count(alive[segment_id]).sum())
            if found != count:
                raise DamageError(f"segment {segment_id:016x}: {found} live rows, not {count}")
            segments.append(row)
            live[segment_id] = count
        return Snapshot(
            config=unpack_value(_get(transaction, b"config")),
            applied_seq=state["applied_seq"],
            next_segment_id=state["next_segment_id"],
            segments=segments,
            alive=alive,
            live=live,
        )

    def commit(self, change: Change) -> None:
        """Make the change true, all of it or nothing; durable when this returns.

        Any error leaves the outcome unknown until the catalog is opened again: the caller must
        stop writing and delete nothing.
        """
        if self._read_only:
            raise ReadOnlyError(f"{self.path} is open read-only")
        with self._env.begin(write=True) as transaction:
            if change.config is not None:
                _put(transaction, b"config", pack_value(change.config))
            for row in change.add:
                _put(transaction, _key("segment", row.id), pack_value(_pack_segment(row)))
            for segment_id, bits in change.alive.items():
                if bits is None:
                    transaction.delete(_key("alive", segment_id))
                else:
                    _put(transaction, _key("alive", segment_id), bits.tobytes())
            for segment_id in change.drop:
                transaction.delete(_key("segment", segment_id))
                transaction.delete(_key("alive", segment_id))
            _put(
                transaction,
                b"state",
                _pack_state(change.applied_seq, change.next_segment_id, change.live),
            )

    def size(self) -> int:
        """Bytes of the file."""
        return os.stat(self.path).st_size

    def close(self) -> None:
        """Close the environment; harmless when closed already."""
        self._env.close()

    def _check_length_after(self) -> None:
        # Reading past the end of a mapped file kills the process, so the length is compared
        # with what the meta page promises before any other page is touched.
        info = self._env.info()
        need = (info["last_pgno"] + 1) * self._env.stat()["psize"]
        have = os.stat(self.path).st_size
        if have < need:
            self._env.close()
            raise CorruptionError(self.path, f"{have} bytes, expected {need}: the file is cut")


def _open(path: Path, *, read_only: bool) -> Any:
    size = _MAP_SIZE
    while True:
        try:
            env = lmdb.open(
                str(path),
                map_size=size,
                mode=0o600,
                readonly=read_only,
                create=not read_only,
                readahead=False,
                max_readers=512,
            )
        except lmdb.MemoryError as error:  # a limit on address space: a smaller map will do
            if size <= _SMALLEST_MAP:  # or the size in the meta page is nonsense
                raise CorruptionError(path / "data.mdb", f"cannot be mapped: {error}") from error
            size //= 2
            continue
        except lmdb.Error as error:
            raise CorruptionError(path / "data.mdb", f"cannot be opened: {error}") from error
        if not read_only:
            env.reader_check()  # slots of readers that were killed
        return env


def _check_length_before(path: Path) -> None:
    try:
        length = os.stat(path).st_size
    except FileNotFoundError:
        raise CorruptionError(path, "the catalog is missing") from None
    if length < 8192:
        raise CorruptionError(path, f"{length} bytes, too short for a catalog")


def _key(kind: str, segment_id: int) -> bytes:
    return f"{kind}/{segment_id:016x}".encode()


def _get(transaction: Any, key: bytes) -> bytes:
    raw = transaction.get(key)
    if raw is None:
        raise DamageError(f"catalog row {key.decode()} is missing")
    return unpack_row(key, raw)


def _put(transaction: Any, key: bytes, value: bytes) -> None:
    transaction.put(key, pack_row(key, value))


def _pack_state(applied_seq: int, next_segment_id: int, live: dict[int, int]) -> bytes:
    segments: Iterable[tuple[int, int]] = live.items()
    return pack_value(
        {
            "applied_seq": applied_seq,
            "next_segment_id": next_segment_id,
            "segments": [list(pair) for pair in segments],
        }
    )


def _pack_segment(row: SegmentRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "rows": row.rows,
        "vectors": row.vectors,
        "files": {name: [file.length, file.checksum] for name, file in row.files.items()},
    }


def _unpack_segment(value: dict[str, Any]) -> SegmentRow:
    return SegmentRow(
        id=value["id"],
        rows=value["rows"],
        vectors=value["vectors"],
        files={name: FileRow(*pair) for name, pair in value["files"].items()},
    )
