"""VecDB: a directory of collections, open for writing in one process at a time."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from contextlib import ExitStack, suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from vecdb import models, qdrant_arguments
from vecdb.collection import Collection
from vecdb.engine.archive import snapshots
from vecdb.engine.open import database_dir, places
from vecdb.engine.optimize.optimizer import Optimizer, deadline_of
from vecdb.engine.repair.check import CheckReport, check_files
from vecdb.engine.store import Store
from vecdb.engine.write.configure import new_config, update_config
from vecdb.engine.write.syncer import Syncer
from vecdb.errors import (
    ClosedError,
    ForkError,
    InvalidInputError,
    NotFoundError,
    PlaceTakenError,
    ReadOnlyError,
    VecdbError,
)
from vecdb.open_collections import OpenCollections
from vecdb.qdrant_arguments import OfCollections
from vecdb.snapshots import Snapshots
from vecdb.storage import fs, layout, lookup
from vecdb.storage.mapping import give_back_freed_memory
from vecdb.storage.place import Place
from vecdb.storage.wal import LogLevel, SyncLevel
from vecdb.verbs import Verbs

if TYPE_CHECKING:
    from typing_extensions import Unpack


_open_databases: weakref.WeakSet[VecDB] = weakref.WeakSet()


class VecDB(Verbs, Snapshots):
    """An embedded vector database in one directory.

    ``path``: the directory, made if it does not exist; ``":memory:"`` is a temporary one that is
    removed by ``close``. ``sync`` says when a write is on disk for good: ``"always"`` before it
    returns, ``"interval"`` within ``sync_interval`` seconds, ``"never"`` when the kernel likes.
    At every level acknowledged writes survive the death of the process.

    ``read_only``: look at a database that another process may have open and be writing to. Nothing
    is locked or written; what is seen is the state of the moment of opening, or of the last
    ``refresh``. Any number of processes may do so.

    A collection of which files are damaged does not keep the others from opening: ``damaged``
    names it, and using it raises its error.

    Use it as a context manager, or call ``close``; an interpreter that ends without either closes
    it too. Thread-safe. Not to be used in a forked child (ForkError).

    ``**qdrant``: what Qdrant's client takes besides. As None, or empty, all of it is accepted. Of
    other values those that decide nothing in one process (``timeout``, ``consistency``,
    ``ordering``, ``shard_number``); those that ask for another answer (``prefetch``, ``order_by``,
    ``shard_key_selector``) raise InvalidInputError.

    Raises LockedError (open elsewhere, names the pid), NotADatabaseError, FormatVersionError,
    CorruptionError (names the file).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: SyncLevel = "always",
        sync_interval: float = 1.0,
        read_only: bool = False,
    ) -> None:
        if sync not in ("always", "interval", "never"):
            raise InvalidInputError(f"sync: expected 'always', 'interval' or 'never', got {sync!r}")
        if not isinstance(sync_interval, (int, float)) or not 0.001 <= sync_interval <= 3600:
            raise InvalidInputError(
                f"sync_interval: expected 0.001 to 3600 seconds, got {sync_interval!r}"
            )
        if not isinstance(read_only, bool):
            raise InvalidInputError(f"read_only: expected True or False, got {read_only!r:.60}")
        given = database_dir.parse_path(path)
        if read_only and given is None:
            raise InvalidInputError("path: ':memory:' makes a new database; it cannot be read_only")
        self._temporary = given is None
        self.path = fs.make_temporary_dir() if given is None else given
        self.read_only = read_only
        self._level: LogLevel = "none" if self._temporary else sync
        self._pid = os.getpid()
        self._closed = False
        self._lock = threading.RLock()  # guards what is open; before any lock of a store
        self._place: Place | None = None  # held open, and locked, to be written to
        self._file_lock: fs.FileLock | None = None
        self.optimizer = Optimizer(self._stores)
        self._syncer = Syncer(self._stores, sync_interval)
        self._collections = OpenCollections(
            self.path / layout.COLLECTIONS, self._level, self.optimizer, partial(Collection, self)
        )
        _open_databases.add(self)  # before there is a lock that a fork would copy
        if read_only:
            database_dir.require_database(self.path)
            self.refresh()
        else:
            self._open_for_writing()
            try:
                self._start_threads()
            except BaseException:  # there may be too many of them
                with suppress(Exception):
                    self.close()
                raise

    def _start_threads(self) -> None:
        self.optimizer.start()
        if self._level == "interval":
            self._syncer.start()

    def _open_for_writing(self) -> None:
        database_dir.prepare(self.path)
        self._place, self._file_lock = database_dir.hold(self.path)
        try:
            with self._place:
                with fs.told_when_full(self.path):
                    database_dir.initialize(self.path)
                places.finish_restores(self.path / layout.COLLECTIONS)
                snapshots.clean(self.path / layout.SNAPSHOTS)
                self._collections.open_all(self._place)
        except BaseException:
            self._let_go(keep=False)
            raise

    def __enter__(self) -> VecDB:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._stores())} collections"
        return f"<VecDB {str(self.path)!r}: {state}>"

    def __reduce__(self) -> NoReturn:
        there = f"VecDB({str(self.path)!r}, read_only=True)"
        raise TypeError(f"a VecDB cannot be sent to a process; open it there instead, with {there}")

    def close(self, **qdrant: Unpack[OfCollections]) -> None:
        """Stop the optimizer, checkpoint every collection, release the lock. May be repeated."""
        qdrant_arguments.check("VecDB.close", qdrant, OfCollections)
        if os.getpid() != self._pid:
            return
        with self._lock:
            if self._closed:
                return
            for store in self._stores():
                store.require_outside()
            self._closed = True
            try:
                self._syncer.stop()
                self.optimizer.stop()
            finally:
                self._let_go(keep=not (self._temporary or self.read_only))

    def _let_go(self, *, keep: bool) -> None:
        """Close every collection, then, whatever came of that, give the lock back."""
        try:
            self._collections.close(keep=keep)
        finally:
            _open_databases.discard(self)
            if self._temporary:
                self._remove()
            self._release()
            give_back_freed_memory()

    def _release(self) -> None:
        """Give back the lock and the directory."""
        if self._file_lock is not None:
            self._file_lock.release()
        if self._place is not None:
            self._place.close()

    def _remove(self) -> None:
        """Remove a temporary database, and nothing that was put in its place."""
        if self._place is not None:
            with suppress(PlaceTakenError):
                self._place.require()
                with self._place:
                    for path in lookup.entries(self.path):
                        fs.remove_tree(path)
                fs.remove_empty_dir(self.path)

    def _stores(self) -> list[Store]:
        return self._collections.stores()

    def check_usable(self) -> None:
        """Raise ForkError in a forked child, ClosedError after ``close``."""
        if os.getpid() != self._pid:
            raise ForkError(
                f"database {self.path} was opened by process {self._pid}; this is its fork "
                f"{os.getpid()}. Open databases after forking"
            )
        if self._closed:
            raise ClosedError(f"database {self.path} is closed")

    def _changing(self) -> Place:
        self.check_usable()
        if self._place is None:
            raise ReadOnlyError(f"database {self.path} was opened with read_only=True")
        self._place.require()
        return self._place

    @property
    def damaged(self) -> dict[str, VecdbError]:
        """Collections that could not be opened, and why: CorruptionError or FormatVersionError.

        They can be deleted, recovered from a snapshot, or saved with ``vecdb repair``.
        """
        self.check_usable()
        return self._collections.damaged()

    def refresh(self) -> bool:
        """Move a database opened with ``read_only=True`` to its newest state; whether there was
        anything new. Each collection moves to one exact state of it, wholly. A writer's own
        handle is always at the newest state, and this does nothing."""
        self.check_usable()
        if not self.read_only:
            return False
        with self._lock:
            changed = False
            while True:  # of one database, though another one may be put in its place meanwhile
                database_dir.require_database(self.path)
                found = self.path.stat()
                changed |= self._collections.refresh()
                if self.path.exists() and os.path.samestat(self.path.stat(), found):
                    return changed

    # -- collections -----------------------------------------------------------------------

    def create_collection(
        self,
        collection_name: str,
        vectors_config: models.VectorsConfigInput,
        quantization_config: models.QuantizationInput | None = None,
        optimizers_config: models.OptimizersInput | None = None,
        hnsw_config: models.HnswInput | None = None,
        wal_config: models.WalInput | None = None,
        on_disk_payload: bool | None = None,
        metadata: models.Payload | None = None,
        **qdrant: Unpack[OfCollections],
    ) -> bool:
        """Make an empty collection; durable when this returns.

        ``vectors_config``: ``VectorParams``, or a dict of them by vector name. ``metadata``: JSON
        that is kept with the configuration. Payloads always stay on disk; ``hnsw_config``,
        ``wal_config`` and ``on_disk_payload`` are accepted for compatibility.
        Raises AlreadyExistsError, InvalidInputError, StorageFullError.
        """
        qdrant_arguments.check("VecDB.create_collection", qdrant, OfCollections)
        name = database_dir.check_name(collection_name)
        config = new_config(
            vectors_config,
            quantization_config,
            optimizers_config,
            hnsw_config,
            wal_config,
            on_disk_payload,
            metadata,
        )
        self.check_usable()  # before the lock: a fork may have copied it locked, for ever
        with self._lock, self._changing():
            self._collections.create(name, config)
        return True

    def recreate_collection(
        self,
        collection_name: str,
        vectors_config: models.VectorsConfigInput,
        quantization_config: models.QuantizationInput | None = None,
        optimizers_config: models.OptimizersInput | None = None,
        hnsw_config: models.HnswInput | None = None,
        wal_config: models.WalInput | None = None,
        on_disk_payload: bool | None = None,
        metadata: models.Payload | None = None,
        **qdrant: Unpack[OfCollections],
    ) -> bool:
        """``delete_collection`` if it exists, then ``create_collection``."""
        qdrant_arguments.check("VecDB.recreate_collection", qdrant, OfCollections)
        config = (
            vectors_config,
            quantization_config,
            optimizers_config,
            hnsw_config,
            wal_config,
            on_disk_payload,
            metadata,
        )
        database_dir.check_name(collection_name)
        new_config(*config)  # what is wrong with it must be said before anything is deleted
        self.check_usable()
        with self._lock:
            self.delete_collection(collection_name)
            return self.create_collection(collection_name, *config)

    def delete_collection(self, collection_name: str, **qdrant: Unpack[OfCollections]) -> bool:
        """Remove a collection and its files; False if there was none."""
        qdrant_arguments.check("VecDB.delete_collection", qdrant, OfCollections)
        self.check_usable()
        with self._lock, self._changing():
            return self._collections.delete(database_dir.check_name(collection_name))

    def update_collection(
        self,
        collection_name: str,
        optimizers_config: models.OptimizersInput | None = None,
        hnsw_config: models.HnswInput | None = None,
        quantization_config: models.QuantizationDiffInput | None = None,
        vectors_config: models.VectorsConfigDiffInput | None = None,
        metadata: models.Payload | None = None,
        optimizer_config: models.OptimizersInput | None = None,
        **qdrant: Unpack[OfCollections],
    ) -> bool:
        """Change a collection's configuration.

        Fields not given stay. ``quantization_config`` may be ``"Disabled"``; ``vectors_config`` is
        a dict by vector name (``""``: the unnamed one) whose entries may set ``on_disk``,
        ``quantization_config`` and ``hnsw_config``. ``metadata`` is merged into that there is, key
        by key; None as a value takes its key away. ``optimizer_config`` is the older name of
        ``optimizers_config``. A change of where things live re-opens files;
        a change of codes is built by the optimizer in the background.
        """
        qdrant_arguments.check("VecDB.update_collection", qdrant, OfCollections)
        if optimizer_config is not None:
            if optimizers_config is not None:
                raise InvalidInputError("optimizer_config: is optimizers_config's older name")
            optimizers_config = optimizer_config
        store = self.collection(collection_name)._store
        changes = optimizers_config, hnsw_config, quantization_config, vectors_config, metadata
        update_config(store, *changes)
        self.optimizer.wake()
        return True

    def get_collection(self, collection_name: str) -> models.CollectionInfo:
        """Configuration, counts, status, segments and what the optimizer is doing."""
        return self.collection(collection_name).info()

    def get_collections(self) -> models.CollectionsResponse:
        """The names of all collections, sorted."""
        self.check_usable()
        names = sorted({*self._collections.names(), *self._collections.damaged()})
        return models.CollectionsResponse([models.CollectionDescription(name) for name in names])

    def collection_exists(self, collection_name: str) -> bool:
        """Whether there is a collection of that name."""
        self.check_usable()
        return database_dir.check_name(collection_name) in self._collections

    def collection(self, collection_name: str) -> Collection:
        """A handle with the same verbs and no name argument. Raises NotFoundError, and for a
        collection in ``damaged`` its error."""
        self.check_usable()
        return self._collections.get(collection_name)

    # -- all collections ----------------------------------------------------------------------

    def flush(self, collection_name: str | None = None) -> None:
        """Checkpoint one collection, or all."""
        if collection_name is not None:
            return self.collection(collection_name).flush()
        self.check_usable()
        for name in self._collections.names():
            with suppress(ClosedError, NotFoundError):  # dropped or replaced meanwhile
                self.collection(name).flush()
        self.check_usable()

    def memory_report(self, collection_name: str | None = None) -> dict[str, Any]:
        """Of one collection, see ``Collection.memory_report``; or of all: their reports by name, as
        ``collections``, and the ``total``. Asking for all at once takes no longer than for one."""
        if collection_name is not None:
            return self.collection(collection_name).memory_report()
        from vecdb.engine.memory.report import memory_reports

        self.check_usable()
        return memory_reports(self.path, self._stores())

    def check(self) -> CheckReport:
        """Read every byte of every file and compare it with its checksum and with the others.

        Reads and writes go on meanwhile; checkpoints, builds and changes of collections wait.
        """
        self.check_usable()
        if self._place is None:
            raise ReadOnlyError(f"database {self.path}: its writer may change what is checked")
        with self._lock, ExitStack() as held:
            for store in self._stores():
                store.require_outside()
                held.enter_context(store.maintenance)
            return check_files(self._place.now())

    def wait_for_optimizer(
        self, collection_name: str | None = None, timeout: float | None = None
    ) -> bool:
        """Wait for one collection, or all; see ``Collection.wait_for_optimizer``."""
        self.check_usable()
        deadline = deadline_of(timeout)
        for name in self._collections.names() if collection_name is None else [collection_name]:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self.collection(name).wait_for_optimizer(left):
                return False
        return True


def _close_all() -> None:
    for database in list(_open_databases):
        try:
            database.close()
        except Exception:
            pass  # the interpreter is ending; what was acknowledged is in the WAL


def _after_fork() -> None:
    """The child may not use it, and keeps nothing of it: its copy of the lock would keep the
    database locked after the parent has ended, its mappings the space of files that are removed.
    Takes no lock, for any may have been held at the fork, by a thread that is not here."""
    for database in list(_open_databases):
        if database._file_lock is not None:
            database._file_lock.release()
        if database._place is not None:
            database._place.leave()
        for store in database._stores():
            store.wal.let_go()
            store.let_go()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
