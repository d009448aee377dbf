"""VecDB: a directory of collections, open for writing in one process at a time."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from vecdb import models
from vecdb.collection import Collection
from vecdb.engine import directory, recovery
from vecdb.engine.configure import new_config, update_config
from vecdb.engine.optimizer import Optimizer, deadline_of
from vecdb.engine.store import Store
from vecdb.engine.writer import Uninterrupted
from vecdb.errors import (
    AlreadyExistsError,
    ClosedError,
    CorruptionError,
    ForkError,
    InvalidInputError,
    NotFoundError,
    WriteError,
)
from vecdb.storage import fs, layout
from vecdb.storage.wal import SyncLevel

_open_databases: weakref.WeakSet[VecDB] = weakref.WeakSet()


class VecDB:
    """An embedded vector database in one directory.

    ``path``: the directory, made if it does not exist; ``":memory:"`` is a temporary one that is
    removed by ``close``. ``sync`` says when a write is on disk for good: ``"always"`` before it
    returns, ``"interval"`` within ``sync_interval`` seconds, ``"never"`` when the kernel likes.
    At every level acknowledged writes survive the death of the process.

    Use it as a context manager, or call ``close``; an interpreter that ends without either closes
    it too. Thread-safe. Not to be used in a forked child (ForkError).

    Raises LockedError (open elsewhere, names the pid), NotADatabaseError, FormatVersionError,
    CorruptionError (names the file).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: SyncLevel = "always",
        sync_interval: float = 1.0,
    ) -> None:
        if sync not in ("always", "interval", "never"):
            raise InvalidInputError(f"sync: expected 'always', 'interval' or 'never', got {sync!r}")
        if not isinstance(sync_interval, (int, float)) or not 0.001 <= sync_interval <= 3600:
            raise InvalidInputError(
                f"sync_interval: expected 0.001 to 3600 seconds, got {sync_interval!r}"
            )
        given = directory.parse_path(path)
        self._temporary = given is None
        self.path = fs.make_temporary_dir() if given is None else given
        self._level: SyncLevel = "never" if self._temporary else sync
        self._pid = os.getpid()
        self._closed = False
        self._lock = threading.RLock()  # guards _collections; before any lock of a store
        self._collections: dict[str, Collection] = {}
        directory.prepare(self.path)
        self._file_lock = fs.FileLock(self.path / layout.LOCK, f"database {self.path}")
        try:
            directory.initialize(self.path)
            self.optimizer = Optimizer(self._stores)
            self._open_collections()
        except BaseException:
            for collection in self._collections.values():
                recovery.close_store(collection._store, keep=False)
            self._file_lock.release()
            if self._temporary:
                fs.remove_tree(self.path)
            raise
        self.optimizer.start()
        self._stop_syncing = threading.Event()
        if self._level == "interval":
            threading.Thread(
                target=_sync_loop,
                args=(weakref.ref(self), self._stop_syncing, sync_interval),
                name="vecdb-sync",
                daemon=True,
            ).start()
        _open_databases.add(self)

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
        state = "closed" if self._closed else f"{len(self._collections)} collections"
        return f"<VecDB {str(self.path)!r}: {state}>"

    def close(self) -> None:
        """Stop the optimizer, checkpoint every collection, release the lock. May be repeated."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            if self._closed:
                return
            for collection in self._collections.values():
                collection._store.require_outside()
            self._closed = True
            try:
                self._stop_syncing.set()
                self.optimizer.stop()
            finally:
                self._close_stores()

    def _close_stores(self) -> None:
        """Close every collection whatever happens to another, then give the lock back."""
        first: BaseException | None = None
        for collection in self._collections.values():
            try:
                recovery.close_store(collection._store, keep=not self._temporary)
            except BaseException as error:
                first = first or error
        self._file_lock.release()
        _open_databases.discard(self)
        if self._temporary:
            fs.remove_tree(self.path)
        if first is not None:
            raise first

    def check_usable(self) -> None:
        """Raise ForkError in a forked child, ClosedError after ``close``."""
        if os.getpid() != self._pid:
            raise ForkError(
                f"database {self.path} was opened by process {self._pid}; this is its fork "
                f"{os.getpid()}. Open databases after forking"
            )
        if self._closed:
            raise ClosedError(f"database {self.path} is closed")

    # -- collections -----------------------------------------------------------------------

    def create_collection(
        self,
        collection_name: str,
        vectors_config: Any,
        quantization_config: Any = None,
        optimizers_config: Any = None,
        hnsw_config: Any = None,
        wal_config: Any = None,
        on_disk_payload: bool | None = None,
    ) -> bool:
        """Make an empty collection; durable when this returns.

        ``vectors_config``: ``VectorParams``, or a dict of them by vector name. Payloads always
        stay on disk; ``hnsw_config``, ``wal_config`` and ``on_disk_payload`` are accepted for
        compatibility. Raises AlreadyExistsError, InvalidInputError.
        """
        name = directory.check_name(collection_name)
        config = new_config(
            vectors_config,
            quantization_config,
            optimizers_config,
            hnsw_config,
            wal_config,
            on_disk_payload,
        )
        self.check_usable()  # before the lock: a fork may have copied it locked, for ever
        with self._lock:
            self.check_usable()
            if name in self._collections:
                raise AlreadyExistsError(f"collection {name!r} already exists")
            with Uninterrupted():  # on disk and in the list, or in neither
                path = recovery.create_collection(self.path / layout.COLLECTIONS, name, config)
                self._open_collection(path)
        return True

    def recreate_collection(
        self,
        collection_name: str,
        vectors_config: Any,
        quantization_config: Any = None,
        optimizers_config: Any = None,
        hnsw_config: Any = None,
        wal_config: Any = None,
        on_disk_payload: bool | None = None,
    ) -> bool:
        """``delete_collection`` if it exists, then ``create_collection``."""
        config = (
            vectors_config,
            quantization_config,
            optimizers_config,
            hnsw_config,
            wal_config,
            on_disk_payload,
        )
        directory.check_name(collection_name)
        new_config(*config)  # what is wrong with it must be said before anything is deleted
        self.check_usable()
        with self._lock:
            self.delete_collection(collection_name)
            return self.create_collection(collection_name, *config)

    def delete_collection(self, collection_name: str) -> bool:
        """Remove a collection and its files; False if there was none."""
        self.check_usable()
        with self._lock:
            self.check_usable()
            collection = self._collections.get(directory.check_name(collection_name))
            if collection is None:
                return False
            store = collection._store
            recovery.close_store(store, keep=False)
            self.optimizer.leave(store)
            with Uninterrupted():  # on disk and in the list, or in neither
                recovery.drop_collection(store.path)
                del self._collections[collection_name]
            return True

    def update_collection(
        self,
        collection_name: str,
        optimizers_config: Any = None,
        hnsw_config: Any = None,
        quantization_config: Any = None,
        vectors_config: Any = None,
    ) -> bool:
        """Change a collection's configuration.

        Fields not given stay. ``quantization_config`` may be ``"Disabled"``; ``vectors_config`` is
        a dict by vector name (``""``: the unnamed one) whose entries may set ``on_disk``,
        ``quantization_config`` and ``hnsw_config``. A change of where things live re-opens files;
        a change of codes is built by the optimizer in the background.
        """
        store = self.collection(collection_name)._store
        update_config(store, optimizers_config, hnsw_config, quantization_config, vectors_config)
        self.optimizer.wake()
        return True

    def get_collection(self, collection_name: str) -> models.CollectionInfo:
        """Configuration, counts, status, segments and what the optimizer is doing."""
        return self.collection(collection_name).info()

    def get_collections(self) -> models.CollectionsResponse:
        """The names of all collections, sorted."""
        self.check_usable()
        names = sorted(self._collections)
        return models.CollectionsResponse([models.CollectionDescription(name) for name in names])

    def collection_exists(self, collection_name: str) -> bool:
        """Whether there is a collection of that name."""
        self.check_usable()
        return directory.check_name(collection_name) in self._collections

    def collection(self, collection_name: str) -> Collection:
        """A handle with the same verbs and no name argument. Raises NotFoundError."""
        self.check_usable()
        try:
            return self._collections[collection_name]
        except (KeyError, TypeError):
            directory.check_name(collection_name)
            known = ", ".join(map(repr, sorted(self._collections))) or "none"
            raise NotFoundError(
                f"collection {collection_name!r} does not exist; there are: {known}"
            ) from None

    # -- points: the verbs of Collection, with its name first --------------------------------

    def upsert(self, collection_name: str, points: Any, wait: bool = True) -> models.UpdateResult:
        """See ``Collection.upsert``."""
        return self.collection(collection_name).upsert(points, wait)

    def upload_points(
        self,
        collection_name: str,
        points: Iterable[Any],
        batch_size: int = 1000,
        parallel: int = 1,
        max_retries: int = 3,
        wait: bool = True,
        progress: bool = False,
    ) -> None:
        """See ``Collection.upload_points``."""
        self.collection(collection_name).upload_points(
            points, batch_size, parallel, max_retries, wait, progress
        )

    def upload_collection(
        self,
        collection_name: str,
        vectors: Any,
        payload: Iterable[Any] | None = None,
        ids: Any = None,
        batch_size: int = 1000,
        parallel: int = 1,
        max_retries: int = 3,
        wait: bool = True,
        progress: bool = False,
    ) -> None:
        """See ``Collection.upload_collection``."""
        self.collection(collection_name).upload_collection(
            vectors, payload, ids, batch_size, parallel, max_retries, wait, progress
        )

    def delete(
        self, collection_name: str, points_selector: Any, wait: bool = True
    ) -> models.UpdateResult:
        """See ``Collection.delete``."""
        return self.collection(collection_name).delete(points_selector, wait)

    def set_payload(
        self,
        collection_name: str,
        payload: dict[str, Any],
        points: Any,
        key: str | None = None,
        wait: bool = True,
    ) -> models.UpdateResult:
        """See ``Collection.set_payload``."""
        return self.collection(collection_name).set_payload(payload, points, key, wait)

    def overwrite_payload(
        self, collection_name: str, payload: dict[str, Any], points: Any, wait: bool = True
    ) -> models.UpdateResult:
        """See ``Collection.overwrite_payload``."""
        return self.collection(collection_name).overwrite_payload(payload, points, wait)

    def delete_payload(
        self, collection_name: str, keys: Sequence[str], points: Any, wait: bool = True
    ) -> models.UpdateResult:
        """See ``Collection.delete_payload``."""
        return self.collection(collection_name).delete_payload(keys, points, wait)

    def clear_payload(
        self, collection_name: str, points_selector: Any, wait: bool = True
    ) -> models.UpdateResult:
        """See ``Collection.clear_payload``."""
        return self.collection(collection_name).clear_payload(points_selector, wait)

    def update_vectors(
        self, collection_name: str, points: Any, wait: bool = True
    ) -> models.UpdateResult:
        """See ``Collection.update_vectors``."""
        return self.collection(collection_name).update_vectors(points, wait)

    def delete_vectors(
        self, collection_name: str, vectors: Sequence[str], points: Any, wait: bool = True
    ) -> models.UpdateResult:
        """See ``Collection.delete_vectors``."""
        return self.collection(collection_name).delete_vectors(vectors, points, wait)

    def retrieve(
        self,
        collection_name: str,
        ids: Sequence[Any],
        with_payload: Any = True,
        with_vectors: Any = False,
    ) -> list[models.Record]:
        """See ``Collection.retrieve``."""
        return self.collection(collection_name).retrieve(ids, with_payload, with_vectors)

    def scroll(
        self,
        collection_name: str,
        scroll_filter: Any = None,
        limit: int = 10,
        offset: Any = None,
        with_payload: Any = True,
        with_vectors: Any = False,
    ) -> tuple[list[models.Record], int | str | None]:
        """See ``Collection.scroll``."""
        return self.collection(collection_name).scroll(
            scroll_filter, limit, offset, with_payload, with_vectors
        )

    def count(
        self, collection_name: str, count_filter: Any = None, exact: bool = True
    ) -> models.CountResult:
        """See ``Collection.count``."""
        return self.collection(collection_name).count(count_filter, exact)

    def search(
        self,
        collection_name: str,
        query_vector: Any,
        query_filter: Any = None,
        search_params: Any = None,
        limit: int = 10,
        offset: int | None = None,
        with_payload: Any = True,
        with_vectors: Any = False,
        score_threshold: float | None = None,
    ) -> list[models.ScoredPoint]:
        """See ``Collection.search``."""
        return self.collection(collection_name).search(
            query_vector,
            query_filter,
            search_params,
            limit,
            offset,
            with_payload,
            with_vectors,
            score_threshold,
        )

    def search_batch(
        self, collection_name: str, requests: Sequence[Any]
    ) -> list[list[models.ScoredPoint]]:
        """See ``Collection.search_batch``."""
        return self.collection(collection_name).search_batch(requests)

    def query_points(
        self,
        collection_name: str,
        query: Any = None,
        using: str | None = None,
        query_filter: Any = None,
        search_params: Any = None,
        limit: int = 10,
        offset: int | None = None,
        with_payload: Any = True,
        with_vectors: Any = False,
        score_threshold: float | None = None,
    ) -> models.QueryResponse:
        """See ``Collection.query_points``."""
        return self.collection(collection_name).query_points(
            query,
            using,
            query_filter,
            search_params,
            limit,
            offset,
            with_payload,
            with_vectors,
            score_threshold,
        )

    def query_batch_points(
        self, collection_name: str, requests: Sequence[Any]
    ) -> list[models.QueryResponse]:
        """See ``Collection.query_batch_points``."""
        return self.collection(collection_name).query_batch_points(requests)

    def flush(self, collection_name: str | None = None) -> None:
        """Checkpoint one collection, or all."""
        for name in [collection_name] if collection_name is not None else list(self._collections):
            self.collection(name).flush()

    def wait_for_optimizer(
        self, collection_name: str | None = None, timeout: float | None = None
    ) -> bool:
        """Wait for one collection, or all; see ``Collection.wait_for_optimizer``."""
        self.check_usable()
        deadline = deadline_of(timeout)
        for name in [collection_name] if collection_name is not None else list(self._collections):
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self.collection(name).wait_for_optimizer(left):
                return False
        return True

    def memory_report(self, collection_name: str) -> dict[str, Any]:
        """See ``Collection.memory_report``."""
        return self.collection(collection_name).memory_report()

    # -- opening ---------------------------------------------------------------------------

    def _stores(self) -> list[Store]:
        return [collection._store for collection in list(self._collections.values())]

    def _open_collections(self) -> None:
        parent = self.path / layout.COLLECTIONS
        for path in sorted(parent.iterdir()):
            if layout.is_leftover(path.name):
                fs.remove_tree(path)
            elif path.is_dir():
                self._open_collection(path)

    def _open_collection(self, path: Path) -> None:
        store = recovery.open_store(path, self._level)
        if path.name != layout.escape(store.name):
            recovery.close_store(store, keep=False)
            raise CorruptionError(path, f"holds the collection {store.name!r}, not its own")
        store.changed = self.optimizer.wake
        self._collections[store.name] = Collection(self, store)
        self.optimizer.wake()


def _sync_loop(database: weakref.ref[VecDB], stop: threading.Event, interval: float) -> None:
    while not stop.wait(interval):
        open_database = database()
        if open_database is None:
            return
        _sync_all(open_database)
        del open_database


def _sync_all(database: VecDB) -> None:
    for store in database._stores():
        with store.write:
            if store.closed or store.failure is not None or not store.wal.dirty:
                continue
            try:
                store.wal.sync()
            except WriteError as error:
                store.fail(str(error))


def _close_all() -> None:
    for database in list(_open_databases):
        try:
            database.close()
        except Exception:
            pass  # the interpreter is ending; what was acknowledged is in the WAL


def _after_fork() -> None:
    # The child's copy of the lock would keep the database locked after the parent has ended.
    for database in list(_open_databases):
        database._file_lock.release()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
