"""Follower: a collection read by one process while another may be writing to it.

Nothing is locked and nothing written. The state is read from the same three sources as in recovery:
the catalog (a private copy), the segments it lists, the WAL beyond its ``applied_seq``. The writer
moves all three, always in this order: catalog commit, then removal of what the commit made
unnecessary. So what is missing or torn here is damage only if nothing has moved since the catalog
was read. Otherwise the newer state is read instead.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vecdb.engine.budget import Budget
from vecdb.engine.open.places import current_dir, exists, read_format
from vecdb.engine.open.recovery import load, replay_into
from vecdb.engine.store import RecoveryReport, Store
from vecdb.errors import CorruptionError, FormatVersionError
from vecdb.storage import fs, layout, lookup
from vecdb.storage.catalog import Snapshot, read_unlocked, transaction_of
from vecdb.storage.mapping import give_back_freed_memory
from vecdb.storage.replay import Replay
from vecdb.storage.wal import wal_files

T = TypeVar("T")

_TRIES = 100  # each against a writer that has committed or appended since the one before
_WORTH_GIVING_BACK = 8 << 20  # bytes of rows in memory: to give memory back takes milliseconds


class Follower:
    """One collection, as it was at the last ``refresh``. The caller orders the refreshes."""

    def __init__(self, path: Path, budget: Budget) -> None:
        """Raises CorruptionError and FormatVersionError, naming the file."""
        self.path = path
        self._budget = budget
        self._moving = False  # a refresh is under way, or one did not get to its end
        self.store = self._read(None)
        self.store.report = RecoveryReport(
            replayed=self._replay.operations_count, torn_bytes=self._replay.torn_bytes
        )
        self.store.publish()

    @property
    def name(self) -> str:
        """The collection's name."""
        return self.store.name

    def refresh(self) -> bool:
        """Move to the newest state. Returns whether there was anything new. Raises CorruptionError,
        and the state stays as it was."""
        store = self.store
        # An error (Ctrl-C, no memory) may leave half of a change unpublished: the next refresh must
        # not go on from there.
        resumable, self._moving = not self._moving, True
        if resumable and self._transaction_now() == self._transaction:
            try:
                with store.write:
                    replayed = replay_into(store, self._replay)
                    # Else the log was of another collection: a complete read replaces what was made
                    # of it.
                    if self.is_same():
                        if replayed:
                            store.publish()
                        self._moving = False
                        return bool(replayed)
            except CorruptionError:
                pass  # the writer has moved on, or it is damage: a complete read tells
        fresh, before = self._read(store), store.memory.size
        with store.write:
            store.adopt(fresh)
            store.publish()
        self._moving = False
        if before >= _WORTH_GIVING_BACK:  # rows went to files: in the writer, the optimizer does it
            give_back_freed_memory()
        return True

    def _transaction_now(self) -> int | None:
        try:
            return transaction_of(current_dir(self.path) / layout.CATALOG)
        except CorruptionError:
            return None  # a complete read tells

    def is_same(self) -> bool:
        """Whether the directory still holds the collection that was opened, and not one that was
        made or restored in its place."""
        try:
            return identify(current_dir(self.path)) == self._fields
        except (CorruptionError, FormatVersionError):
            return False

    def _read(self, reuse: Store | None) -> Store:
        def read(path: Path, fields: dict[str, str], snapshot: Snapshot) -> tuple[Store, Replay]:
            store, replay = load(path, snapshot, "never", reuse, budget=self._budget)
            require_same(path, fields)
            require_current(store, snapshot)
            self._fields = fields
            return store, replay

        (store, self._replay), self._transaction = newest(self.path, read)
        return store


def identify(path: Path) -> dict[str, str]:
    """The fields of a directory's FORMAT, and which directory and which file it was: a copy of it
    has the same fields. Inodes are given again, at another time. Raises CorruptionError."""
    fields = read_format(path)
    with fs.must_exist(path / layout.FORMAT):
        file = lookup.status(path / layout.FORMAT)
        return {**fields, "file": f"{lookup.identity(path)} {file.st_ino} {file.st_ctime_ns}"}


def require_same(path: Path, fields: dict[str, str]) -> None:
    """Raise CorruptionError unless the directory is what it was before. A restore puts another one
    in its place, and so may anybody: its files may fit, but its log tells another story."""
    if identify(path) != fields:
        raise CorruptionError(path / layout.FORMAT, "was replaced while the collection was read")


def require_current(store: Store, snapshot: Snapshot) -> None:
    """Raise CorruptionError if a segment lacks a derived file only because the writer is removing
    the segment."""
    for state in store.files.values():
        for path, detail in state.segment.damage.items():
            if transaction_of(store.path / layout.CATALOG) != snapshot.transaction:
                raise CorruptionError(path, detail)


def newest(place: Path, read: Callable[[Path, dict[str, str], Snapshot], T]) -> tuple[T, int]:
    """Call ``read`` with the directory, the FORMAT and the newest catalog of the collection at a
    place. Returns its result and the catalog's transaction. What is missing or torn is damage only
    if nothing has moved meanwhile."""
    seen: object = None
    for left in reversed(range(_TRIES)):
        path = current_dir(place)
        try:
            fields = identify(path)
            snapshot, transaction = read_unlocked(path / layout.CATALOG)
            return read(path, fields, snapshot), transaction
        except CorruptionError:
            now = _state(place)
            if now == seen or not left:
                raise
            seen = now
    raise AssertionError


def identity(place: Path) -> object:
    """What tells a collection from another one that is made or restored in its place; None if there
    is nothing. If its FORMAT is damaged, the directory tells."""
    path = current_dir(place)
    try:
        return read_format(path)
    except FormatVersionError as error:
        return str(error)
    except CorruptionError:
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino


def _state(place: Path) -> object:
    """What changes when a collection moves: its directory and the name of that, its catalog's
    transaction, and each file of its log with its length. Damage is no move."""
    path = current_dir(place)
    state: list[object] = [path]
    try:
        state.append(lookup.identity(path))
        state.append(transaction_of(path / layout.CATALOG))
        for first_seq, file in wal_files(path / layout.WAL):
            state.append((first_seq, lookup.status(file).st_size))
    except FileNotFoundError:  # it moves at this moment
        state.append(object() if exists(place) else None)
    except CorruptionError as error:
        state.append(str(error))
    return state
