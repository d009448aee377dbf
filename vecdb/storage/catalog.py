"""The catalog: one LMDB environment a collection, and the only commit point.

Rows (every one carries a checksum of its key and value)::

    uuid              whose it is
    config            the collection's configuration
    state             applied_seq, next segment id, and the list of segments with live counts
    segment/<id>      rows, vector names and codecs, and every file's length and checksum
    alive/<id>        bits of the rows that live; absent: all of them

The catalog is exactly the collection's state at ``applied_seq``. One transaction moves all of it:
data files are durable before it, WAL files are retired after it. LMDB runs with full sync and never
``writemap``: without sync it can come back with wrong rows, and a full disk under a writable map is
a SIGBUS. LMDB has no checksums, hence ours. A checksum cannot show a *missing* row, so ``state``
lists the segments and what lives in each.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import lmdb
import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from vecdb.errors import CorruptionError, InvalidInputError, NotBegunError, WriteError
from vecdb.storage import fs, lookup
from vecdb.storage.catalog_file import (
    LOCK,
    newest_meta,
    require_length,
    require_lock_file,
    require_sound,
)
from vecdb.storage.format import (
    MAX_VALUE,
    DamageError,
    pack_row,
    pack_value,
    unpack_row,
    unpack_value,
)
from vecdb.storage.segment_row import SegmentRow, number, pack_segment, typed, unpack_segment

Bits = npt.NDArray[np.uint8]
T = TypeVar("T")

_MAX_CONFIG = MAX_VALUE // 24

DATA = "data.mdb"  # the name LMDB gives its file

# Virtual size: costs address space, not disk. A catalog holds one bit a row, so 4 GiB are enough
# for ten thousand million rows, even while all their segments are being rewritten.
_MAP_SIZE = 1 << 32
_SMALLEST_MAP = 1 << 26
_MAX_READERS = 512
_LOCK_SIZE = 64 * _MAX_READERS + 4096  # a slot is a cache line; a page is ample for the head


class Snapshot(Struct, frozen=True):
    """All of the catalog, as one read transaction sees it."""

    config: dict[str, Any]
    applied_seq: int
    next_segment_id: int
    segments: list[SegmentRow]
    alive: dict[int, Bits]  # absent: every row lives
    live: dict[int, int]
    uuid: str = ""
    transaction: int = 0


class Change(Struct):
    """What one commit changes. Segments that are not named stay as they are."""

    applied_seq: int
    next_segment_id: int
    live: dict[int, int]  # every segment after the commit, in order
    config: dict[str, Any] | None = None
    add: list[SegmentRow] = field(default_factory=list)
    """New segments, and those whose payload edits are in other files now."""
    drop: list[int] = field(default_factory=list)
    alive: dict[int, Bits | None] = field(default_factory=dict)


class Catalog:
    """The catalog of one collection that is open for writing. Calls are ordered by the caller.

    LMDB has the file open only during a call: an environment takes 2 MB of memory and two
    descriptors, and a database may have thousands of collections. So each commit makes sure that it
    continues the transaction of the one before, in the same file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / DATA
        self._directory = path
        require_lock_file(path)
        require_sound(self.path)
        self._file = lookup.identity(self.path)
        self._uuid: bytes | None = None  # until it is read
        self.transaction = 0
        """The number of the newest transaction, once it was read."""

    @staticmethod
    def create(path: Path, config: dict[str, Any], uuid: str) -> None:
        """Create a catalog with this configuration and no segments, durable but for the name
        ``path``. LMDB creates its file in two unsynced steps, so this is done under a temporary
        name."""
        fs.make_dir(path)
        try:
            with _opened(path) as env, env.begin(write=True) as transaction:
                _put(transaction, b"uuid", uuid.encode())
                _put(transaction, b"config", _pack_config(config))
                _put_state(transaction, Change(0, 1, {}))
        except lmdb.Error as error:
            raise _meaning(error, path / DATA, "cannot be written") from error
        fs.sync_file(path / DATA)
        fs.sync_dir(path)

    def read(self) -> Snapshot:
        """Everything, from one read transaction. Raises CorruptionError."""
        with _opened(self.path, alone=True) as env:
            snapshot = _read_all(env, self.path)
        self._uuid, self.transaction = snapshot.uuid.encode(), snapshot.transaction
        return snapshot

    def commit(self, change: Change) -> None:
        """Make the change true, all of it or nothing; durable when this returns.

        Raises NotBegunError if nothing has changed. Any other error leaves the outcome unknown
        until the catalog is opened again: the caller must stop writing and delete nothing. Raises
        WriteError, CorruptionError.
        """
        with ExitStack() as held:
            try:
                if self._uuid is None:
                    self.read()
                # LMDB trusts it, and it may have been damaged since it was opened.
                require_sound(self.path)
                env = held.enter_context(_opened(self._directory))
                self._require_same()
            except OSError as error:
                raise NotBegunError(error.errno, f"{self.path}: {error}") from error
            try:
                self._commit(env, change)
            except lmdb.Error as error:
                raise WriteError(_errno(error) or errno.EIO, f"{self.path}: {error}") from error

    def _require_same(self) -> None:
        """Raise CorruptionError if another file stands in place of the one that was open."""
        if lookup.identity(self.path) != self._file:
            raise CorruptionError(self.path, "is not the file that was opened")

    def _commit(self, env: Any, change: Change) -> None:
        with env.begin(write=True) as transaction:
            number = transaction.id()
            if _get(transaction, b"uuid") != self._uuid or number != self.transaction + 1:
                detail = f"is not this collection's at transaction {self.transaction}"
                raise CorruptionError(self.path, detail)
            if change.config is not None:
                _put(transaction, b"config", _pack_config(change.config))
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
            _put_state(transaction, change)
        self.transaction = number


def read_unlocked(path: Path) -> tuple[Snapshot, int]:
    """Read the newest state of a catalog that another process may be writing to, and the number of
    its transaction. Takes no lock and writes nothing beside it. Raises CorruptionError.

    This works on a private copy. LMDB never writes to a page that one of the last two states uses,
    so a copy is whole if at most one transaction was committed while it was made.
    """
    file = path / DATA
    while True:
        require_length(file)
        with fs.must_exist(file):  # its collection may be dropped at any moment
            with lookup.open_read(file) as opened:
                data = opened.read()
            newest = newest_meta(data, file)
            with lookup.open_read(file) as again:
                now = again.read(2 * newest.page_size)
        if newest_meta(now, file).transaction <= newest.transaction + 1 and newest.same_in(now):
            break
    try:
        with fs.private_copy(data) as copy:
            require_sound(copy)
            with _opened(copy, alone=True) as env:
                return _read_all(env, file), newest.transaction
    except CorruptionError as error:
        raise CorruptionError(file, error.detail) from error


def transaction_of(path: Path) -> int:
    """The number of the newest transaction. Raises CorruptionError."""
    file = path / DATA
    with fs.must_exist(file), lookup.open_read(file) as opened:
        return newest_meta(opened.read(2 << 16), file).transaction


def _read_all(env: Any, path: Path) -> Snapshot:
    try:
        with env.begin() as transaction:
            return _read(transaction)
    except lmdb.Error as error:
        raise _meaning(error, path, "cannot be read") from error
    except (DamageError, KeyError, TypeError, ValueError) as error:
        raise CorruptionError(path, str(error)) from error


def _read(transaction: Any) -> Snapshot:
    state = unpack_value(_get(transaction, b"state"))
    if dict(state)["transaction"] != transaction.id():  # a page of another state, or a meta page
        raise DamageError("the state is not that of the newest transaction")
    segments, alive, live = [], {}, {}
    for segment_id, count in typed(dict(state)["segments"], list):
        name = f"segment {number(segment_id):016x}"
        row = unpack_segment(unpack_value(_get(transaction, _key("segment", segment_id))))
        if row.id != segment_id:
            raise DamageError(f"{name}: its row is that of {row.id:016x}")
        key = _key("alive", segment_id)
        raw = transaction.get(key)
        if raw is not None:
            alive[segment_id] = np.frombuffer(unpack_row(key, raw), dtype=np.uint8)
        try:
            require_live(row, alive.get(segment_id), number(count))
        except DamageError as error:
            raise DamageError(f"{name}: {error}") from None
        segments.append(row)
        live[segment_id] = count
    return Snapshot(
        config=unpack_value(_get(transaction, b"config")),
        applied_seq=number(state["applied_seq"]),
        next_segment_id=number(state["next_segment_id"]),
        segments=segments,
        alive=alive,
        live=live,
        uuid=_get(transaction, b"uuid").decode("ascii"),
        transaction=transaction.id(),
    )


def require_live(row: SegmentRow, alive: Bits | None, live: int) -> None:
    """Raise DamageError unless ``live`` is the number of rows that the mask lets live."""
    counted = row.rows
    if alive is not None:
        if len(alive) != -(-row.rows // 8):
            raise DamageError(f"an alive mask of {len(alive)} bytes for {row.rows} rows")
        if row.rows % 8 and alive[-1] >> row.rows % 8:
            raise DamageError("its alive mask goes beyond its last row")
        counted = int(np.bitwise_count(alive).sum())
    if counted != live:
        raise DamageError(f"{counted} live rows, not {live}")


@contextmanager
def _opened(path: Path, *, alone: bool = False) -> Iterator[Any]:
    """Open the environment in a directory for a block. ``alone``: open one data file, which is only
    read and which nobody writes to."""
    env = _open(path, alone)
    try:
        yield env
    finally:
        env.close()


def _open(path: Path, alone: bool) -> Any:
    if not alone:
        fs.reserve(path / LOCK, _LOCK_SIZE)  # LMDB writes to it through a mapping
    file = path if alone else path / DATA
    size = _MAP_SIZE
    while True:
        try:
            env = lmdb.open(
                str(lookup.real_path(path)),
                map_size=size,
                subdir=not alone,
                mode=0o600,
                readonly=alone,
                lock=not alone,
                create=not alone,
                readahead=False,
                max_readers=_MAX_READERS,
            )
        except lmdb.MemoryError as error:  # a limit on address space: a smaller map will do
            if size <= _SMALLEST_MAP:  # or the size in the meta page is nonsense
                raise CorruptionError(file, f"cannot be mapped: {error}") from error
            size //= 2
            continue
        except lmdb.Error as error:
            raise _meaning(error, file, "cannot be opened") from error
        if not alone:
            env.reader_check()  # slots of readers that were killed
        return env


def _meaning(error: Any, path: Path, what: str) -> Exception:
    """Raise an error of the disk or of the process as it is: it is no reason to call a file
    damaged."""
    if _errno(error):
        return OSError(_errno(error), f"{what}: {error.reason}", str(path))
    return CorruptionError(path, f"{what}: {error}")


def _errno(error: Any) -> int:
    """The errno of an error; 0 for LMDB's own, whose codes are negative, and for those without a
    code."""
    return max(getattr(error, "code", 0), 0)


def _key(kind: str, segment_id: int) -> bytes:
    return f"{kind}/{segment_id:016x}".encode()


def _get(transaction: Any, key: bytes) -> bytes:
    raw = transaction.get(key)
    if raw is None:
        raise DamageError(f"catalog row {key.decode()} is missing")
    return unpack_row(key, raw)


def _put(transaction: Any, key: bytes, value: bytes) -> None:
    transaction.put(key, pack_row(key, value))


def require_storable(config: dict[str, Any]) -> None:
    """Raise InvalidInputError for a configuration that could not be stored, or not be read back
    from where it stands one level deeper, in the manifests of segments and archives."""
    _pack_config(config)
    try:
        unpack_value(pack_value({"config": config}))
    except DamageError as error:
        raise InvalidInputError(f"the configuration {error}") from None


def _pack_config(config: dict[str, Any]) -> bytes:
    """Raise InvalidInputError for more vector names than a segment's row can hold: a name and its
    files take up to 23 times its length there."""
    data = pack_value(config)
    if len(data) > _MAX_CONFIG:
        raise InvalidInputError(
            f"too many vectors or too much metadata: the configuration is {len(data)} bytes, the "
            f"limit is {_MAX_CONFIG}"
        )
    return data


def _put_state(transaction: Any, change: Change) -> None:
    state = {
        "transaction": transaction.id(),
        "applied_seq": change.applied_seq,
        "next_segment_id": change.next_segment_id,
        "segments": [list(pair) for pair in change.live.items()],
    }
    _put(transaction, b"state", pack_value(state))
