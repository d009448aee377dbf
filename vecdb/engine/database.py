"""Database: one open database: its directory and lock, its threads, its collections.

``VecDB`` stands on it as ``Collection`` does on ``Store``. Collections are made, dropped and
replaced here, snapshots taken and recovered.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path

from vecdb import models
from vecdb.engine import process
from vecdb.engine.archive import restore, snapshots
from vecdb.engine.budget import Budget
from vecdb.engine.open import database_dir, places, temporary
from vecdb.engine.open.aliases import Aliases
from vecdb.engine.open_collections import OpenCollections
from vecdb.engine.pins import settle_all
from vecdb.engine.repair.check import CheckReport, check_files
from vecdb.engine.store import Store
from vecdb.engine.write.checkpoint import checkpoint
from vecdb.engine.write.syncer import Syncer
from vecdb.errors import (
    ClosedError,
    ForkError,
    LockedError,
    NotFoundError,
    PlaceTakenError,
    ReadOnlyError,
    RefreshError,
    VecdbError,
)
from vecdb.storage import fs, layout, lookup
from vecdb.storage.mapping import give_back_freed_memory
from vecdb.storage.place import Place
from vecdb.storage.wal import LogLevel, SyncLevel

_log = logging.getLogger("vecdb")


class Database:
    """The database in the directory ``path``, open; None: a temporary one, which ``close`` removes.

    Thread-safe. Its lock is taken before any lock of a store; looking at what is open needs none.
    Nothing in it refers to it, neither do its threads: when nobody else does, it is closed. Raises
    LockedError, NotADatabaseError, FormatVersionError, CorruptionError.
    """

    def __init__(
        self,
        path: Path | None,
        budget: Budget,
        sync: SyncLevel,
        sync_interval: float,
        *,
        read_only: bool,
    ) -> None:
        self.holding = process.Holding()
        self._temporary = path is None
        self.path = temporary.make() if path is None else path
        self.read_only = read_only
        self._level: LogLevel = "none" if self._temporary else sync
        self._pid = os.getpid()
        self._lock = threading.RLock()  # guards what is open; before any lock of a store
        self._place: Place | None = None  # held open, and locked, to be written to
        self._file_lock: fs.FileLock | None = None
        self._collections = OpenCollections(self.path / layout.COLLECTIONS, self._level, budget)
        self.budget = budget
        self.optimizer = self._collections.optimizer
        self._aliases = Aliases(self.path, self._collections.__contains__)
        self._syncer = Syncer(self._collections.stores, sync_interval)
        self.closed = False
        self._is_released = False
        process.enter(self)  # before there is a lock that a fork would copy
        if read_only:
            database_dir.require_database(self.path)
            self.refresh()
        else:
            self._open_for_writing()
        try:
            settle_all(budget, self.stores())
            if not read_only:
                self._start_threads()
        except BaseException:  # there may be too many of them, or no room
            with suppress(Exception):
                self.close()
            raise

    def _start_threads(self) -> None:
        self.optimizer.start()
        if self._level == "interval":
            self._syncer.start()

    def _stop_threads(self) -> None:
        """Harmless when they have been stopped."""
        self._syncer.stop()
        self.optimizer.stop()

    def _open_for_writing(self) -> None:
        if not self._temporary:
            database_dir.prepare(self.path)
        self._place, self._file_lock = self._hold()
        mark = self._place.mark
        self.holding.lock_file = None if mark is None else mark.identity
        try:
            with self._place:
                with fs.raising_storage_full(self.path):
                    database_dir.initialize(self.path)
                places.finish_restores(self.path / layout.COLLECTIONS)
                snapshots.clean(self.path / layout.SNAPSHOTS)
                self._aliases.clean()
                self._aliases.read()
                self._collections.open_all(self._place)
        except BaseException:
            self._let_go(keep=False)
            raise

    def _hold(self) -> tuple[Place, fs.FileLock]:
        """Its directory and lock. Raises LockedError, which says where this process opened it."""
        try:
            return database_dir.hold(self.path)
        except LockedError as error:
            if error.is_elsewhere:
                raise
            before = process.holders(self.path / layout.LOCK)
        try:
            return database_dir.hold(self.path)
        except LockedError as error:
            if not before:
                raise
            raise LockedError(f"{error}; it was opened at {' and '.join(before)}") from None

    # -- its end ---------------------------------------------------------------------------

    def close(self) -> None:
        """Stop the threads, checkpoint every collection, release the lock. May be repeated, which
        finishes what Ctrl-C has cut short; does nothing in a forked child."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            if self._is_released:
                return
            for store in self.stores():
                store.require_outside()
            try:
                self.closed = True
                for store in self.stores():
                    store.closing = True  # the optimizer may wait for who writes columns
                self._stop_threads()
            finally:
                self._let_go(keep=not (self._temporary or self.read_only))

    def __del__(self) -> None:
        if not self._is_released and os.getpid() == self._pid:
            process.end(self)

    def _let_go(self, *, keep: bool) -> None:
        """Close every collection, then, whatever came of that, give the lock back."""
        self.closed = True
        try:
            self._collections.close(keep=keep)
        finally:
            process.leave(self)
            if self._temporary:
                self._remove()
            self._release()
            give_back_freed_memory()

    def _release(self) -> None:
        """Give back the lock and the directory. Threads were stopped, unless Ctrl-C was faster."""
        self._stop_threads()
        if self._file_lock is not None:
            self._file_lock.release()
        if self._place is not None:
            self._place.close()
        self._is_released = True

    def _remove(self) -> None:
        """Remove a temporary database, and nothing that was put in its place."""
        if self._place is not None:
            with suppress(PlaceTakenError):
                self._place.require()
                with self._place:
                    for path in lookup.entries(self.path):
                        fs.remove_tree(path)
                fs.remove_empty_dir(self.path)

    def leave(self) -> None:
        """Keep nothing of it, in a forked child: its copy of the lock would keep the database
        locked after the parent has ended, its mappings the space of files that are removed. Takes
        no lock, for any may have been held at the fork, by a thread that is not here."""
        if self._file_lock is not None:
            self._file_lock.release()
        if self._place is not None:
            self._place.leave()
        for store in self.stores():
            store.wal.release()
            store.release()

    # -- whether it may be used ------------------------------------------------------------

    def check_usable(self) -> None:
        """Raise ForkError in a forked child, ClosedError after ``close``."""
        if os.getpid() != self._pid:
            raise ForkError(
                f"database {self.path} was opened by process {self._pid}; this is its fork "
                f"{os.getpid()}. Open databases after forking"
            )
        if self.closed:
            raise ClosedError(f"database {self.path} is closed")

    def _changing(self) -> Place:
        """The directory, to be entered by who changes what is in it. Raises ReadOnlyError,
        PlaceTakenError, and as ``check_usable``."""
        self.check_usable()
        if self._place is None:
            raise ReadOnlyError(f"database {self.path} was opened with read_only=True")
        self._place.require()
        return self._place

    def _looking(self) -> AbstractContextManager[object]:
        """The same for who only looks; a reader's is whatever stands at its path."""
        self.check_usable()
        return nullcontext() if self._place is None else self._place

    # -- its collections -------------------------------------------------------------------

    def stores(self) -> list[Store]:
        """Those that are open."""
        return self._collections.stores()

    def store(self, name: str) -> Store:
        """The open one of that name or alias. Raises NotFoundError, and for a damaged one its
        error."""
        self.check_usable()
        try:
            return self._collections.get(self._aliases.meant(name))
        except NotFoundError:
            self._aliases.require_whole()  # it might be one
            raise

    def names(self) -> list[str]:
        """Of all, also of the damaged ones, sorted."""
        self.check_usable()
        return sorted(self._collections.names())

    def has(self, name: str) -> bool:
        """Whether there is one of that name or alias, also a damaged one."""
        self.check_usable()
        if self._aliases.meant(database_dir.check_name(name)) in self._collections:
            return True
        self._aliases.require_whole()  # it might be one
        return False

    def damaged(self) -> dict[str, VecdbError]:
        """Those that could not be opened, and why."""
        self.check_usable()
        return self._collections.damaged()

    def create(self, name: str, config: models.CollectionConfig) -> None:
        """A new, empty one; durable when this returns. Raises AlreadyExistsError, also if that is
        an alias, and StorageFullError."""
        self.check_usable()  # before the lock: a fork may have copied it locked, for ever
        with self._lock, self._changing():
            if name not in self._collections:
                self._aliases.make_way(name)
            self._collections.create(name, config)

    def delete(self, name: str) -> bool:
        """Remove one, its files and its aliases; False if there was none of that name. The name of
        an alias is none."""
        self.check_usable()
        with self._lock, self._changing():
            deleted = self._collections.delete(database_dir.check_name(name))
            if deleted:
                try:
                    self._aliases.forget(name)
                except (OSError, VecdbError) as error:  # they do not count any more
                    _log.warning("aliases of the deleted collection %r: %s", name, error)
            return deleted

    def recreate(self, name: str, config: models.CollectionConfig) -> None:
        """``delete``, then ``create``; nobody else makes one of that name in between."""
        self.check_usable()
        with self._lock:
            self.delete(name)
            self.create(name, config)

    def refresh(self, name: str | None = None) -> bool:
        """Move what is only read to its newest state, all of it or one collection; whether there
        was anything new. Raises RefreshError when all that can move has."""
        self.check_usable()
        if not self.read_only:
            return False
        with self._lock:
            if name is not None:
                meant = self.meant(database_dir.check_name(name))
                moved = self._collections.refresh_one(meant)
                if moved is not None:
                    return moved
            changed = False
            while True:  # of one database, though another one may be put in its place meanwhile
                database_dir.require_database(self.path)
                found = self.path.stat()
                changed |= self._aliases.read()
                failed: RefreshError | None = None
                try:
                    changed |= self._collections.refresh()
                except RefreshError as error:
                    failed = error
                switched = self._aliases.read()  # one may have got its collection meanwhile
                changed |= switched
                same = self.path.exists() and os.path.samestat(self.path.stat(), found)
                if same and not switched:
                    if failed is not None:
                        raise failed
                    return changed

    def flush(self, store: Store) -> None:
        """Checkpoint one collection."""
        self.check_usable()
        checkpoint(store)
        store.changed()

    def flush_all(self) -> None:
        """Checkpoint all of them."""
        self.check_usable()
        for store in self.stores():
            with suppress(ClosedError):  # dropped or replaced meanwhile
                self.flush(store)
        self.check_usable()

    def check(self) -> CheckReport:
        """Compare every byte of every file with its checksum and with the others. Checkpoints,
        builds and changes of collections wait. Raises ReadOnlyError."""
        self.check_usable()
        if self._place is None:
            raise ReadOnlyError(f"database {self.path}: its writer may change what is checked")
        with self._lock, ExitStack() as held:
            for store in self.stores():
                store.require_outside()
                held.enter_context(store.maintenance)
            return check_files(self._place.now())

    # -- their aliases ---------------------------------------------------------------------

    def aliases(self) -> dict[str, str]:
        """The collection's name by alias, sorted. Raises CorruptionError, FormatVersionError."""
        self.check_usable()
        return self._aliases.listed()

    def change_aliases(self, operations: Sequence[models.AliasOperations]) -> None:
        """Do all of the operations in one step, or none of them; durable when this returns."""
        self.check_usable()
        with self._lock, self._changing():
            self._aliases.change(operations)

    def meant(self, name: str) -> str:
        """The collection that a name means: what it is an alias of, or itself."""
        self.check_usable()
        return self._aliases.meant(name)

    # -- their snapshots -------------------------------------------------------------------

    def create_snapshot(self, name: str) -> models.SnapshotDescription:
        """Write all of a collection to one file."""
        with self._changing() as place:
            store = self.store(name)
            if self._temporary:  # it has no log to copy: all must be in segments
                self.flush(store)
            directory = self._snapshots_of(store.name)
            return snapshots.take(place, directory, store.path.name, [store.path], whole=False)

    def create_full_snapshot(self) -> models.SnapshotDescription:
        """Write all collections to one file."""
        with self._changing() as place:
            if self._temporary:
                self.flush_all()
            paths = places.collection_dirs(self.path / layout.COLLECTIONS)
            directory = self.path / layout.SNAPSHOTS
            return snapshots.take(place, directory, layout.FULL, paths, whole=True)

    def list_snapshots(self, name: str) -> list[models.SnapshotDescription]:
        """Those of a collection, oldest first; also of one that was deleted."""
        with self._looking():
            return snapshots.listed(self._snapshots_of(name))

    def list_full_snapshots(self) -> list[models.SnapshotDescription]:
        """Those of all collections, oldest first."""
        with self._looking():
            return snapshots.listed(self.path / layout.SNAPSHOTS)

    def delete_snapshot(self, name: str, snapshot_name: str) -> bool:
        """Remove one of a collection; False if there is none of that name."""
        with self._changing():
            return snapshots.remove(self._snapshots_of(name), snapshot_name)

    def delete_full_snapshot(self, snapshot_name: str) -> bool:
        """Remove one of all collections; False if there is none of that name."""
        with self._changing():
            return snapshots.remove(self.path / layout.SNAPSHOTS, snapshot_name)

    def find_snapshot(self, name: str | None, snapshot_name: str) -> Path:
        """The file of one of a collection; None: of all. Raises NotFoundError."""
        directory = self.path / layout.SNAPSHOTS if name is None else self._snapshots_of(name)
        with self._looking():
            return snapshots.find(directory, snapshot_name)

    def recover_snapshot(self, name: str, location: object, checksum: str | None) -> None:
        """Make a collection what a snapshot says. An error, or a crash, leaves it as it was."""
        with self._changing() as place:
            if not isinstance(location, Iterator):
                own = (self._snapshots_of(name), self.path / layout.SNAPSHOTS)
                self._recover(name, snapshots.locate(location, own), checksum)
                return
            with snapshots.received(place, self.path / layout.SNAPSHOTS, location) as archive:
                self._recover(name, archive, checksum)

    def _recover(self, name: str, archive: Path, checksum: str | None) -> None:
        name, parent = self._aliases.meant(name), self.path / layout.COLLECTIONS
        unpacked = restore.unpack_collection(archive, parent, name, checksum)
        with restore.kept_until_committed(unpacked), self._lock, self._changing():
            if name not in self._collections:
                self._aliases.make_way(name)
            self._collections.replace(unpacked)

    def _snapshots_of(self, name: str) -> Path:
        name = self._aliases.meant(database_dir.check_name(name))
        return self.path / layout.SNAPSHOTS / layout.escape(name)
