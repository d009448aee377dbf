"""VecDB: a directory of collections, open for writing in one process at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from vecdb import models, qdrant_arguments
from vecdb.engine.budget import Budget, OverBudget, parse_limit, parse_over
from vecdb.engine.database import Database
from vecdb.engine.open import database_dir
from vecdb.engine.optimize.optimizer import deadline_of
from vecdb.engine.repair.check import CheckReport
from vecdb.engine.write.configure import new_config, update_config
from vecdb.errors import InvalidInputError, VecdbError
from vecdb.models.validation import read
from vecdb.qdrant_arguments import OfClient, OfCollections, Unpack
from vecdb.storage.wal import SyncLevel
from vecdb.verbs import Verbs
from vecdb.version import VERSION


class VecDB(Verbs):
    """An embedded vector database in one directory.

    ``path``: the directory, made with its parents if it does not exist. Without one, or with
    ``":memory:"`` as ``path`` or ``location``, the database is a temporary one that is removed by
    ``close``. None as ``path`` is refused, as what was meant to name a directory may be unset, and
    so is an address. ``sync`` says when a write is on disk for good: ``"always"`` before it
    returns, ``"interval"`` within ``sync_interval`` seconds, ``"never"`` when the kernel likes. At
    every level acknowledged writes survive the death of the process.

    ``read_only``: look at a database that another process may have open and be writing to. Nothing
    is locked or written; what is seen is the state of the moment of opening, or of the last
    ``refresh``. Any number of processes may do so.

    ``memory_limit``: how much private memory vecdb is to take, in bytes or as ``"512MB"``, beside
    Python and libraries (docs/configuration.md). Where what is to be in memory does not fit,
    opening raises OverBudgetError; ``on_over_budget="demote"`` maps it instead.

    A collection of which files are damaged does not keep the others from opening: ``damaged``
    names it, and using it raises its error.

    Use it as a context manager, or call ``close``. One that nobody refers to any more is closed,
    too, as is each at the interpreter's end. Thread-safe. Not to be used in a forked child
    (ForkError).

    ``**qdrant``: what Qdrant's client takes besides, here and in each verb. As None, or empty, all
    of it is accepted. Of other values those that decide nothing in one process (``timeout``,
    ``consistency``, ``ordering``, ``shard_number``, ``api_key``); those that ask for another answer
    (``url``, ``prefetch``, ``shard_key_selector``) raise InvalidInputError.

    Raises LockedError (open elsewhere: names the process, and in this one the line that opened
    it), NotADatabaseError, FormatVersionError, CorruptionError (names the file).
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = ":memory:",
        *,
        location: str | None = None,
        sync: SyncLevel = "always",
        sync_interval: float = 1.0,
        read_only: bool = False,
        memory_limit: int | str | None = None,
        on_over_budget: OverBudget = "raise",
        **qdrant: Unpack[OfClient],
    ) -> None:
        qdrant_arguments.check("VecDB", qdrant, OfClient)
        if sync not in ("always", "interval", "never"):
            raise InvalidInputError(f"sync: expected 'always', 'interval' or 'never', got {sync!r}")
        if not isinstance(sync_interval, (int, float)) or not 0.001 <= sync_interval <= 3600:
            raise InvalidInputError(
                f"sync_interval: expected 0.001 to 3600 seconds, got {sync_interval!r}"
            )
        if not isinstance(read_only, bool):
            raise InvalidInputError(f"read_only: expected True or False, got {read_only!r:.60}")
        qdrant_arguments.check_place(path, location)
        given = None if location is not None else database_dir.parse_path(path)
        if read_only and given is None:
            raise InvalidInputError(
                "read_only: a database in memory is new, and nobody else has it; expected a path"
            )
        budget = Budget(parse_limit(memory_limit), parse_over(on_over_budget))
        database = Database(given, budget, sync, sync_interval, read_only=read_only)
        super().__init__(database)
        self.path = database.path
        self.read_only = database.read_only
        self.optimizer = database.optimizer

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
        database = self._database
        state = "closed" if database.closed else f"{len(database.stores())} collections"
        return f"<VecDB {str(self.path)!r}: {state}>"

    def __reduce__(self) -> NoReturn:
        there = f"VecDB({str(self.path)!r}, read_only=True)"
        raise TypeError(f"a VecDB cannot be sent to a process; open it there instead, with {there}")

    def close(self, **qdrant: Unpack[OfCollections]) -> None:
        """Stop the optimizer, checkpoint every collection, release the lock. May be repeated."""
        qdrant_arguments.check("VecDB.close", qdrant, OfCollections)
        self._database.close()

    def check_usable(self) -> None:
        """Raise ForkError in a forked child, ClosedError after ``close``."""
        self._database.check_usable()

    @property
    def damaged(self) -> dict[str, VecdbError]:
        """Collections that could not be opened, and why: CorruptionError or FormatVersionError.

        They can be deleted, recovered from a snapshot, or saved with ``vecdb repair``.
        """
        return self._database.damaged()

    def refresh(self, collection_name: str | None = None) -> bool:
        """Move a database opened with ``read_only=True`` to its newest state; whether there was
        anything new. Each collection moves to one exact state of it, wholly. A writer's own
        handle is always at the newest state, and this does nothing.

        With a name only that collection moves, which takes less time if there are many. Aliases,
        and which collections there are, stay as they were, unless it has gone.

        Raises RefreshError if files of some collections cannot be read (no permission, too many
        open files): these stay as they were, and all others have moved. A damaged collection is
        set aside, as ``damaged`` says."""
        return self._database.refresh(collection_name)

    # -- collections -----------------------------------------------------------------------

    def create_collection(
        self,
        collection_name: str,
        vectors_config: models.VectorsConfigInput | None = None,
        quantization_config: models.QuantizationInput | None = None,
        optimizers_config: models.OptimizersInput | None = None,
        hnsw_config: models.HnswInput | None = None,
        wal_config: models.WalInput | None = None,
        on_disk_payload: bool | None = None,
        metadata: models.Payload | None = None,
        sparse_vectors_config: models.SparseVectorsConfigInput | None = None,
        payload: models.PayloadStorageInput | None = None,
        id_tracker: models.IdTrackerInput | None = None,
        **qdrant: Unpack[OfCollections],
    ) -> bool:
        """Make an empty collection; durable when this returns.

        ``vectors_config``: ``VectorParams``, or a dict of them by vector name; without any, points
        have an id and a payload. ``sparse_vectors_config``: ``SparseVectorParams`` by vector name,
        which no dense one has. ``metadata``: JSON that is kept with the configuration.
        ``memory`` of vectors, of their index, codes and field indexes, of ``payload`` and of
        ``id_tracker`` says where each part is kept: "pinned", "cached" or "cold". What else
        ``hnsw_config`` and ``wal_config`` say is accepted for compatibility.
        Raises AlreadyExistsError, InvalidInputError, StorageFullError.
        """
        qdrant_arguments.check("VecDB.create_collection", qdrant, OfCollections)
        name = database_dir.check_name(collection_name)
        given = vectors_config, sparse_vectors_config, quantization_config, optimizers_config
        others = hnsw_config, wal_config, on_disk_payload, metadata, payload, id_tracker
        config = new_config(*given, *others)
        self._database.create(name, config)
        return True

    def recreate_collection(
        self,
        collection_name: str,
        vectors_config: models.VectorsConfigInput | None = None,
        quantization_config: models.QuantizationInput | None = None,
        optimizers_config: models.OptimizersInput | None = None,
        hnsw_config: models.HnswInput | None = None,
        wal_config: models.WalInput | None = None,
        on_disk_payload: bool | None = None,
        metadata: models.Payload | None = None,
        sparse_vectors_config: models.SparseVectorsConfigInput | None = None,
        payload: models.PayloadStorageInput | None = None,
        id_tracker: models.IdTrackerInput | None = None,
        **qdrant: Unpack[OfCollections],
    ) -> bool:
        """``delete_collection`` if it exists, then ``create_collection``."""
        qdrant_arguments.check("VecDB.recreate_collection", qdrant, OfCollections)
        name = database_dir.check_name(collection_name)
        given = vectors_config, sparse_vectors_config, quantization_config, optimizers_config
        others = hnsw_config, wal_config, on_disk_payload, metadata, payload, id_tracker
        config = new_config(*given, *others)  # before anything is deleted: it may be refused
        self._database.recreate(name, config)
        return True

    def delete_collection(self, collection_name: str, **qdrant: Unpack[OfCollections]) -> bool:
        """Remove a collection and its files; False if there was none."""
        qdrant_arguments.check("VecDB.delete_collection", qdrant, OfCollections)
        return self._database.delete(collection_name)

    def update_collection(
        self,
        collection_name: str,
        optimizers_config: models.OptimizersInput | None = None,
        hnsw_config: models.HnswInput | None = None,
        quantization_config: models.QuantizationDiffInput | None = None,
        vectors_config: models.VectorsConfigDiffInput | None = None,
        metadata: models.Payload | None = None,
        optimizer_config: models.OptimizersInput | None = None,
        sparse_vectors_config: models.SparseVectorsConfigInput | None = None,
        collection_params: models.CollectionParamsDiffInput | None = None,
        **qdrant: Unpack[OfCollections],
    ) -> bool:
        """Change a collection's configuration.

        Fields not given stay. ``quantization_config`` may be ``"Disabled"``; ``vectors_config`` is
        a dict by vector name (``""``: the unnamed one) whose entries may set ``memory``,
        ``on_disk``, ``quantization_config`` and ``hnsw_config``; those of ``sparse_vectors_config``
        ``index`` and ``modifier``; ``collection_params`` ``payload``, ``on_disk_payload`` and
        ``id_tracker``. ``metadata`` is merged into that there is, key by key; None as a value takes
        its key away. ``optimizer_config`` is the older name of ``optimizers_config``. A change of
        where things live re-opens files; a change of codes is built by the optimizer in the
        background.
        """
        qdrant_arguments.check("VecDB.update_collection", qdrant, OfCollections)
        if optimizer_config is not None:
            if optimizers_config is not None:
                raise InvalidInputError("optimizer_config: is optimizers_config's older name")
            optimizers_config = optimizer_config
        given = optimizers_config, hnsw_config, quantization_config, vectors_config
        store = self._database.store(collection_name)
        update_config(store, *given, sparse_vectors_config, metadata, collection_params)
        store.changed()
        return True

    def get_collection(
        self, collection_name: str, **qdrant: Unpack[OfCollections]
    ) -> models.CollectionInfo:
        """Configuration, counts, status, segments and what the optimizer is doing."""
        qdrant_arguments.check("VecDB.get_collection", qdrant, OfCollections)
        return self.collection(collection_name).info()

    def get_collections(self, **qdrant: Unpack[OfCollections]) -> models.CollectionsResponse:
        """The names of all collections, sorted."""
        qdrant_arguments.check("VecDB.get_collections", qdrant, OfCollections)
        names = self._database.names()
        return models.CollectionsResponse([models.CollectionDescription(name) for name in names])

    def collection_exists(self, collection_name: str, **qdrant: Unpack[OfCollections]) -> bool:
        """Whether there is a collection of that name."""
        qdrant_arguments.check("VecDB.collection_exists", qdrant, OfCollections)
        return self._database.has(collection_name)

    def info(self, **qdrant: Unpack[OfCollections]) -> models.VersionInfo:
        """Which vecdb this is, in the shape of what Qdrant says of itself."""
        qdrant_arguments.check("VecDB.info", qdrant, OfCollections)
        self.check_usable()
        return models.VersionInfo("vecdb", VERSION)

    # -- aliases ------------------------------------------------------------------------------

    def update_collection_aliases(
        self,
        change_aliases_operations: models.AliasOperationsInput,
        **qdrant: Unpack[OfCollections],
    ) -> bool:
        """Change other names of collections: a list of ``CreateAliasOperation``,
        ``DeleteAliasOperation`` and ``RenameAliasOperation``, done one after the other.

        All of them are done in one step, durable when this returns, or none. An alias that exists
        is switched to the new collection; deleting one that does not is fine. Every verb takes an
        alias for the name of its collection but ``create_collection``, which refuses it, and
        ``delete_collection``, for which it is no collection: that removes the aliases of the
        collection it deletes. A ``Collection`` stays with the collection it was made for.

        Raises NotFoundError (no such collection, or no alias to rename), AlreadyExistsError (a
        collection has that name), InvalidInputError, StorageFullError; WriteError (what came of it
        is known after reopening), CorruptionError (the file of aliases is damaged).
        """
        qdrant_arguments.check("VecDB.update_collection_aliases", qdrant, OfCollections)
        operations = read(
            list[models.AliasOperations], change_aliases_operations, "change_aliases_operations"
        )
        self._database.change_aliases(operations)
        return True

    def get_aliases(self, **qdrant: Unpack[OfCollections]) -> models.CollectionsAliasesResponse:
        """All aliases, sorted. Raises CorruptionError if their file is damaged."""
        qdrant_arguments.check("VecDB.get_aliases", qdrant, OfCollections)
        return _described(self._database.aliases())

    def get_collection_aliases(
        self, collection_name: str, **qdrant: Unpack[OfCollections]
    ) -> models.CollectionsAliasesResponse:
        """The aliases of one collection, sorted. Raises CorruptionError if their file is
        damaged."""
        qdrant_arguments.check("VecDB.get_collection_aliases", qdrant, OfCollections)
        wanted = self._database.meant(database_dir.check_name(collection_name))
        aliases = self._database.aliases()
        return _described({alias: name for alias, name in aliases.items() if name == wanted})

    # -- all collections ----------------------------------------------------------------------

    def flush(self, collection_name: str | None = None) -> None:
        """Checkpoint one collection, or all."""
        if collection_name is not None:
            return self.collection(collection_name).flush()
        return self._database.flush_all()

    def memory_report(self, collection_name: str | None = None) -> dict[str, Any]:
        """Of one collection, see ``Collection.memory_report``; or of all: their reports by name, as
        ``collections``, the ``total``, the ``memory_limit`` in bytes, and what the ``process`` has,
        of that what is its ``own``. Asking for all at once takes no longer than for one."""
        if collection_name is not None:
            return self.collection(collection_name).memory_report()
        from vecdb.engine.memory.report import memory_reports

        self.check_usable()
        limit = self._database.budget.limit
        return memory_reports(self.path, self._database.stores(), limit)

    def check(self) -> CheckReport:
        """Read every byte of every file and compare it with its checksum and with the others.

        Reads and writes go on meanwhile; checkpoints, builds and changes of collections wait.
        """
        return self._database.check()

    def wait_for_optimizer(
        self, collection_name: str | None = None, timeout: float | None = None
    ) -> bool:
        """Wait for one collection, or all; see ``Collection.wait_for_optimizer``."""
        self.check_usable()
        deadline = deadline_of(timeout)
        names = [store.name for store in self._database.stores()]
        for name in names if collection_name is None else [collection_name]:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self.collection(name).wait_for_optimizer(left):
                return False
        return True

    # -- snapshots ----------------------------------------------------------------------------

    def create_snapshot(
        self, collection_name: str, wait: bool = True, **qdrant: Unpack[OfCollections]
    ) -> models.SnapshotDescription:
        """Write all of a collection to one file, ``snapshots/<collection>/<name>`` in the
        database's directory, with its SHA-256 beside it.

        It holds one exact state, with every write that was acknowledged before the call. Reads,
        writes and the optimizer go on meanwhile. Snapshots stay when the collection is deleted.
        ``wait`` is accepted for compatibility: the snapshot is durable when this returns. Raises
        NotFoundError, StorageFullError, and CorruptionError for a damaged file.
        """
        qdrant_arguments.check("VecDB.create_snapshot", qdrant, OfCollections)
        return self._database.create_snapshot(collection_name)

    def list_snapshots(
        self, collection_name: str, **qdrant: Unpack[OfCollections]
    ) -> list[models.SnapshotDescription]:
        """The snapshots of a collection, oldest first; also of one that was deleted."""
        qdrant_arguments.check("VecDB.list_snapshots", qdrant, OfCollections)
        return self._database.list_snapshots(collection_name)

    def delete_snapshot(
        self,
        collection_name: str,
        snapshot_name: str,
        wait: bool = True,
        **qdrant: Unpack[OfCollections],
    ) -> bool:
        """Remove a snapshot; False if there is none of that name."""
        qdrant_arguments.check("VecDB.delete_snapshot", qdrant, OfCollections)
        return self._database.delete_snapshot(collection_name, snapshot_name)

    def recover_snapshot(
        self,
        collection_name: str,
        location: str | os.PathLike[str] | Iterator[bytes],
        checksum: str | None = None,
        wait: bool = True,
        **qdrant: Unpack[OfCollections],
    ) -> bool:
        """Make a collection what a snapshot says, whether it exists, is damaged, or neither.

        ``location``: a path, a ``file://`` URI, or a name that ``list_snapshots`` or
        ``list_full_snapshots`` gives; of a full snapshot, the collection of this name is taken. Or
        an iterator of the bytes of one, as they come from elsewhere.
        ``checksum``: the SHA-256 that the file must have.

        The file is not trusted: all of it is read and verified first. An error, or a crash, leaves
        the collection as it was. Otherwise handles of the collection that was there raise
        ClosedError from now on; writes to it that are under way are lost with it. Raises
        NotFoundError, CorruptionError (names the file), FormatVersionError, StorageFullError.
        """
        qdrant_arguments.check("VecDB.recover_snapshot", qdrant, OfCollections)
        name = database_dir.check_name(collection_name)
        self._database.recover_snapshot(name, location, checksum)
        return True

    def snapshot_path(self, collection_name: str | None, snapshot_name: str) -> Path:
        """The file of a snapshot, to be copied elsewhere; None: of the whole database. Raises
        NotFoundError."""
        return self._database.find_snapshot(collection_name, snapshot_name)

    def create_full_snapshot(
        self, wait: bool = True, **qdrant: Unpack[OfCollections]
    ) -> models.SnapshotDescription:
        """Write all collections to one file, ``snapshots/<name>`` in the database's directory.

        Each collection is in it with one exact state of its own, no older than the call; they need
        not be of the same moment. Aliases are not in it. ``vecdb restore`` makes a database of it.
        Raises as ``create_snapshot`` does, and for a damaged collection.
        """
        qdrant_arguments.check("VecDB.create_full_snapshot", qdrant, OfCollections)
        return self._database.create_full_snapshot()

    def list_full_snapshots(
        self, **qdrant: Unpack[OfCollections]
    ) -> list[models.SnapshotDescription]:
        """The snapshots of the whole database, oldest first."""
        qdrant_arguments.check("VecDB.list_full_snapshots", qdrant, OfCollections)
        return self._database.list_full_snapshots()

    def delete_full_snapshot(
        self, snapshot_name: str, wait: bool = True, **qdrant: Unpack[OfCollections]
    ) -> bool:
        """Remove a snapshot of the whole database; False if there is none of that name."""
        qdrant_arguments.check("VecDB.delete_full_snapshot", qdrant, OfCollections)
        return self._database.delete_full_snapshot(snapshot_name)


def _described(aliases: dict[str, str]) -> models.CollectionsAliasesResponse:
    return models.CollectionsAliasesResponse(
        [models.AliasDescription(alias, name) for alias, name in aliases.items()]
    )
