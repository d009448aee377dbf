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

from vecdb.errors import CorruptionError
from vecdb.storage import fs
from vecdb.storage.format import DamageError, pack_row, pack_value, unpack_row, unpack_value

Bits = npt.NDArray[np.uint8]

DATA = "data.mdb"  # the name LMDB gives its file

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

    def __init__(self, path: Path) -> None:
        self.path = path / DATA
        _check_length_before(self.path)
        self._env = _open(path)
        try:
            _check_length_after(self._env, self.path)
        except CorruptionError:
            self._env.close()
            raise

    @staticmethod
    def create(path: Path, config: dict[str, Any]) -> None:
        """A new catalog with this configuration and no segments, durable but for ``path``'s name.

        LMDB creates its file in two unsynced steps, so this is done under a temporary name.
        """
        fs.make_dir(path)
        env = _open(path)
        try:
            with env.begin(write=True) as transaction:
                _put(transaction, b"config", pack_value(config))
                _put(transaction, b"state", _pack_state(0, 1, {}))
        finally:
            env.close()
        fs.sync_file(path / DATA)
        fs.sync_dir(path)

    def read(self) -> Snapshot:
        """Everything, from one read transaction. Raises CorruptionError."""
        return _read_all(self._env, self.path)

    def commit(self, change: Change) -> None:
        """Make the change true, all of it or nothing; durable when this returns.

        Any error leaves the outcome unknown until the catalog is opened again: the caller must
        stop writing and delete nothing.
        """
        with self._env.begin(write=True) as transaction:
            if change.config is not None:
                _put(transaction, b"config", pack_value(change.config))
            for row in change.add:
                _put(transaction, _key("segment", row.id), pack_value(pack_segment(row)))
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

    def close(self) -> None:
        """Close the environment; harmless when closed already."""
        self._env.close()


def read_unlocked(path: Path) -> tuple[Snapshot, int]:
    """The newest state of a catalog that another process may be writing to, and the number of its
    transaction. Takes no lock and writes nothing beside it. Raises CorruptionError.

    Works on a private copy. LMDB never writes to a page that one of the last two states uses, so
    a copy is whole if no more than one transaction was committed while it was made.
    """
    file = path / DATA
    while True:
        _check_length_before(file)
        data = file.read_bytes()
        newest = _newest_meta(data, file)
        with open(file, "rb") as again:
            now = again.read(2 * newest.page_size)
        if _newest_meta(now, file).transaction <= newest.transaction + 1 and newest.same_in(now):
            break
    scratch = fs.make_temporary_dir()
    try:
        copy = fs.AppendFile(scratch / DATA)
        try:
            copy.append([data])
        finally:
            copy.close()
        env = _open(scratch, alone=True)
        try:
            _check_length_after(env, file)
            return _read_all(env, file), newest.transaction
        finally:
            env.close()
    except CorruptionError as error:
        raise CorruptionError(file, error.detail) from error
    finally:
        fs.remove_tree(scratch)


def transaction_of(path: Path) -> int:
    """The number of the newest transaction. Raises CorruptionError."""
    file = path / DATA
    try:
        with open(file, "rb") as opened:
            return _newest_meta(opened.read(2 << 16), file).transaction
    except FileNotFoundError:
        raise CorruptionError(file, "the catalog is missing") from None


@dataclass(frozen=True, slots=True)
class _Meta:
    """The meta page of one transaction. LMDB writes the two of them in turns."""

    at: int
    page_size: int
    transaction: int
    data: bytes

    def same_in(self, head: bytes) -> bool:
        """Whether ``head`` has these bytes in the same place."""
        return head[self.at : self.at + len(self.data)] == self.data


_LMDB_MAGIC = 0xBEEFC0DE
_META_SIZE = 152
_PAGE_SIZES = [512 << n for n in range(8)]


def _newest_meta(head: bytes, path: Path) -> _Meta:
    """LMDB 0.9's meta page (``MDB_meta`` in mdb.c) with the larger transaction number."""
    found = []
    if len(head) >= _META_SIZE:
        page_size = int.from_bytes(head[40:44], "little")
        for at in (0, page_size) if page_size in _PAGE_SIZES else ():
            data = head[at : at + _META_SIZE]
            if len(data) == _META_SIZE and int.from_bytes(data[16:20], "little") == _LMDB_MAGIC:
                found.append(_Meta(at, page_size, int.from_bytes(data[144:152], "little"), data))
    if len(found) != 2:
        raise CorruptionError(path, "is not a catalog (wrong magic)")
    return max(found, key=lambda meta: meta.transaction)


def _read_all(env: Any, path: Path) -> Snapshot:
    try:
        with env.begin() as transaction:
            return _read(transaction)
    except (DamageError, lmdb.Error, KeyError, TypeError, ValueError) as error:
        raise CorruptionError(path, str(error)) from error


def _read(transaction: Any) -> Snapshot:
    state = unpack_value(_get(transaction, b"state"))
    segments, alive, live = [], {}, {}
    for segment_id, count in state["segments"]:
        row = unpack_segment(unpack_value(_get(transaction, _key("segment", segment_id))))
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


def _check_length_after(env: Any, path: Path) -> None:
    # Reading past the end of a mapped file kills the process, so the length is compared
    # with what the meta page promises before any other page is touched.
    need = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    have = os.stat(os.path.join(env.path(), DATA)).st_size
    if have < need:
        raise CorruptionError(path, f"{have} bytes, expected {need}: the file is cut")


def _open(path: Path, *, alone: bool = False) -> Any:
    """``alone``: nobody else has the file, and it is only read."""
    size = _MAP_SIZE
    while True:
        try:
            env = lmdb.open(
                str(path),
                map_size=size,
                mode=0o600,
                readonly=alone,
                lock=not alone,
                create=not alone,
                readahead=False,
                max_readers=512,
            )
        except lmdb.MemoryError as error:  # a limit on address space: a smaller map will do
            if size <= _SMALLEST_MAP:  # or the size in the meta page is nonsense
                raise CorruptionError(path / DATA, f"cannot be mapped: {error}") from error
            size //= 2
            continue
        except lmdb.Error as error:
            raise CorruptionError(path / DATA, f"cannot be opened: {error}") from error
        if not alone:
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


def pack_segment(row: SegmentRow) -> dict[str, Any]:
    """A segment row as plain data."""
    return {
        "id": row.id,
        "rows": row.rows,
        "vectors": row.vectors,
        "files": {name: [file.length, file.checksum] for name, file in row.files.items()},
    }


def unpack_segment(value: dict[str, Any]) -> SegmentRow:
    """The inverse of ``pack_segment``. Raises KeyError, TypeError, ValueError."""
    return SegmentRow(
        id=value["id"],
        rows=value["rows"],
        vectors=value["vectors"],
        files={name: FileRow(*pair) for name, pair in value["files"].items()},
    )
