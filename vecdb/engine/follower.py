"""Follower: a collection read by one process while another may be writing to it.

Nothing is locked and nothing written. The state is taken from the same three places as in
recovery: the catalog (a private copy), the segments it lists, the WAL beyond its ``applied_seq``.
The writer moves all three, always in this order: catalog commit, then removal of what the commit
made unnecessary. So whatever is missing or torn here is damage only if nothing has moved since
the catalog was read; otherwise the newer state is read instead.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vecdb.engine.recovery import load, read_format, replay_into
from vecdb.engine.store import RecoveryReport, Store
from vecdb.errors import CorruptionError
from vecdb.storage import layout
from vecdb.storage.catalog import Snapshot, read_unlocked, transaction_of
from vecdb.storage.wal import Replay, wal_files

T = TypeVar("T")

_TRIES = 100  # each against a writer that has committed or appended since the one before


class Follower:
    """One collection, as it was at the last ``refresh``. The caller orders the refreshes."""

    def __init__(self, path: Path) -> None:
        """Raises CorruptionError and FormatVersionError, naming the file."""
        self.path = path
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
        """Move to the newest state; whether there was anything new. Raises CorruptionError, and
        the state stays as it was."""
        store = self.store
        if transaction_of(self.path / layout.CATALOG) == self._transaction:
            try:
                with store.write:
                    found = replay_into(store, self._replay)
                    # Else the log was another's: a complete read replaces what was made of it.
                    if self.is_same():
                        if found:
                            store.publish()
                        return bool(found)
            except CorruptionError:
                pass  # the writer has moved on, or it is damage: a complete read tells
        fresh = self._read(store)
        with store.write:
            store.adopt(fresh)
            store.publish()
        return True

    def is_same(self) -> bool:
        """Whether the directory still holds the collection that was opened, not one that was made
        or restored in its place."""
        try:
            return read_format(self.path) == self._fields
        except CorruptionError:
            return False

    def _read(self, reuse: Store | None) -> Store:
        def read(fields: dict[str, str], snapshot: Snapshot) -> tuple[Store, Replay]:
            store, replay = load(self.path, snapshot, "never", reuse)
            require_same(self.path, fields)
            self._fields = fields
            return store, replay

        (store, self._replay), self._transaction = newest(self.path, read)
        return store


def require_same(path: Path, fields: dict[str, str]) -> None:
    """Raise CorruptionError unless the directory's FORMAT is what it was before. A restore puts
    another directory in its place, whose files may fit those of the one before, but whose log
    tells another story."""
    if read_format(path) != fields:
        raise CorruptionError(path / layout.FORMAT, "was replaced while the collection was read")


def newest(path: Path, read: Callable[[dict[str, str], Snapshot], T]) -> tuple[T, int]:
    """What ``read`` makes of the FORMAT and the newest catalog of a collection, and the catalog's
    transaction. What is missing or torn is damage only if nothing has moved meanwhile."""
    seen: object = None
    for left in reversed(range(_TRIES)):
        fields = read_format(path)
        snapshot, transaction = read_unlocked(path / layout.CATALOG)
        try:
            return read(fields, snapshot), transaction
        except CorruptionError:
            now = (transaction, _log_state(path))
            if now == seen or not left:
                raise
            seen = now
    raise AssertionError


def _log_state(path: Path) -> list[tuple[int, int]]:
    """What tells whether the log has moved: each file and its length."""
    found = []
    for first_seq, file in wal_files(path / layout.WAL):
        try:
            found.append((first_seq, file.stat().st_size))
        except FileNotFoundError:
            found.append((first_seq, -1))
    return found
