"""The verbs of ``VecDB`` on collections and on the database, as coroutines.

Not written by hand: ``python docs/make_async.py`` makes this file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from vecdb import models
from vecdb.aio.verbs import AsyncVerbs
from vecdb.database import VecDB
from vecdb.engine.budget import OverBudget
from vecdb.engine.repair.check import CheckReport
from vecdb.qdrant_arguments import OfClient, OfCollections, Unpack
from vecdb.storage.wal import SyncLevel


class AsyncDatabaseVerbs(AsyncVerbs):
    """One coroutine for each verb of ``VecDB``."""

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
        super().__init__(
            partial(
                VecDB,
                path=path,
                location=location,
                sync=sync,
                sync_interval=sync_interval,
                read_only=read_only,
                memory_limit=memory_limit,
                on_over_budget=on_over_budget,
                **qdrant,
            ),
        )

    async def refresh(self, collection_name: str | None = None) -> bool:
        """Move a database opened with ``read_only=True`` to its newest state; whether there was
        anything new. Each collection moves to one exact state of it, wholly. A writer's own
        handle is always at the newest state, and this does nothing.

        With a name only that collection moves, which takes less time if there are many. Aliases,
        and which collections there are, stay as they were, unless it has gone.

        Raises RefreshError if files of some collections cannot be read (no permission, too many
        open files): these stay as they were, and all others have moved. A damaged collection is
        set aside, as ``damaged`` says.
        """
        return await self._calls.call(self.database.refresh, collection_name=collection_name)

    async def create_collection(
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
        return await self._calls.call(
            self.database.create_collection,
            collection_name=collection_name,
            vectors_config=vectors_config,
            quantization_config=quantization_config,
            optimizers_config=optimizers_config,
            hnsw_config=hnsw_config,
            wal_config=wal_config,
            on_disk_payload=on_disk_payload,
            metadata=metadata,
            sparse_vectors_config=sparse_vectors_config,
            payload=payload,
            id_tracker=id_tracker,
            **qdrant,
        )

    async def recreate_collection(
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
        return await self._calls.call(
            self.database.recreate_collection,
            collection_name=collection_name,
            vectors_config=vectors_config,
            quantization_config=quantization_config,
            optimizers_config=optimizers_config,
            hnsw_config=hnsw_config,
            wal_config=wal_config,
            on_disk_payload=on_disk_payload,
            metadata=metadata,
            sparse_vectors_config=sparse_vectors_config,
            payload=payload,
            id_tracker=id_tracker,
            **qdrant,
        )

    async def delete_collection(
        self, collection_name: str, **qdrant: Unpack[OfCollections]
    ) -> bool:
        """Remove a collection and its files; False if there was none."""
        return await self._calls.call(
            self.database.delete_collection, collection_name=collection_name, **qdrant
        )

    async def update_collection(
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
        return await self._calls.call(
            self.database.update_collection,
            collection_name=collection_name,
            optimizers_config=optimizers_config,
            hnsw_config=hnsw_config,
            quantization_config=quantization_config,
            vectors_config=vectors_config,
            metadata=metadata,
            optimizer_config=optimizer_config,
            sparse_vectors_config=sparse_vectors_config,
            collection_params=collection_params,
            **qdrant,
        )

    async def get_collection(
        self, collection_name: str, **qdrant: Unpack[OfCollections]
    ) -> models.CollectionInfo:
        """Configuration, counts, status, segments and what the optimizer is doing."""
        return await self._calls.call(
            self.database.get_collection, collection_name=collection_name, **qdrant
        )

    async def get_collections(self, **qdrant: Unpack[OfCollections]) -> models.CollectionsResponse:
        """The names of all collections, sorted."""
        return await self._calls.here(self.database.get_collections, **qdrant)

    async def collection_exists(
        self, collection_name: str, **qdrant: Unpack[OfCollections]
    ) -> bool:
        """Whether there is a collection of that name."""
        return await self._calls.here(
            self.database.collection_exists, collection_name=collection_name, **qdrant
        )

    async def info(self, **qdrant: Unpack[OfCollections]) -> models.VersionInfo:
        """Which vecdb this is, in the shape of what Qdrant says of itself."""
        return await self._calls.call(self.database.info, **qdrant)

    async def update_collection_aliases(
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
        return await self._calls.call(
            self.database.update_collection_aliases,
            change_aliases_operations=change_aliases_operations,
            **qdrant,
        )

    async def get_aliases(
        self, **qdrant: Unpack[OfCollections]
    ) -> models.CollectionsAliasesResponse:
        """All aliases, sorted. Raises CorruptionError if their file is damaged."""
        return await self._calls.call(self.database.get_aliases, **qdrant)

    async def get_collection_aliases(
        self, collection_name: str, **qdrant: Unpack[OfCollections]
    ) -> models.CollectionsAliasesResponse:
        """The aliases of one collection, sorted. Raises CorruptionError if their file is
        damaged."""
        return await self._calls.call(
            self.database.get_collection_aliases, collection_name=collection_name, **qdrant
        )

    async def flush(self, collection_name: str | None = None) -> None:
        """Checkpoint one collection, or all."""
        await self._calls.last(self.database.flush, collection_name=collection_name)

    async def memory_report(self, collection_name: str | None = None) -> dict[str, Any]:
        """Of one collection, see ``Collection.memory_report``; or of all: their reports by name, as
        ``collections``, the ``total``, the ``memory_limit`` in bytes, and what the ``process`` has,
        of that what is its ``own``. Asking for all at once takes no longer than for one."""
        return await self._calls.call(self.database.memory_report, collection_name=collection_name)

    async def check(self) -> CheckReport:
        """Read every byte of every file and compare it with its checksum and with the others.

        Reads and writes go on meanwhile; checkpoints, builds and changes of collections wait.
        """
        return await self._calls.last(self.database.check)

    async def create_snapshot(
        self, collection_name: str, wait: bool = True, **qdrant: Unpack[OfCollections]
    ) -> models.SnapshotDescription:
        """Write all of a collection to one file, ``snapshots/<collection>/<name>`` in the
        database's directory, with its SHA-256 beside it.

        It holds one exact state, with every write that was acknowledged before the call. Reads,
        writes and the optimizer go on meanwhile. Snapshots stay when the collection is deleted.
        ``wait`` is accepted for compatibility: the snapshot is durable when this returns. Raises
        NotFoundError, StorageFullError, and CorruptionError for a damaged file.
        """
        return await self._calls.last(
            self.database.create_snapshot, collection_name=collection_name, wait=wait, **qdrant
        )

    async def list_snapshots(
        self, collection_name: str, **qdrant: Unpack[OfCollections]
    ) -> list[models.SnapshotDescription]:
        """The snapshots of a collection, oldest first; also of one that was deleted."""
        return await self._calls.call(
            self.database.list_snapshots, collection_name=collection_name, **qdrant
        )

    async def delete_snapshot(
        self,
        collection_name: str,
        snapshot_name: str,
        wait: bool = True,
        **qdrant: Unpack[OfCollections],
    ) -> bool:
        """Remove a snapshot; False if there is none of that name."""
        return await self._calls.call(
            self.database.delete_snapshot,
            collection_name=collection_name,
            snapshot_name=snapshot_name,
            wait=wait,
            **qdrant,
        )

    async def recover_snapshot(
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
        return await self._calls.last(
            self.database.recover_snapshot,
            collection_name=collection_name,
            location=location,
            checksum=checksum,
            wait=wait,
            **qdrant,
        )

    async def snapshot_path(self, collection_name: str | None, snapshot_name: str) -> Path:
        """The file of a snapshot, to be copied elsewhere; None: of the whole database. Raises
        NotFoundError."""
        return await self._calls.here(
            self.database.snapshot_path,
            collection_name=collection_name,
            snapshot_name=snapshot_name,
        )

    async def create_full_snapshot(
        self, wait: bool = True, **qdrant: Unpack[OfCollections]
    ) -> models.SnapshotDescription:
        """Write all collections to one file, ``snapshots/<name>`` in the database's directory.

        Each collection is in it with one exact state of its own, no older than the call; they need
        not be of the same moment. Aliases are not in it. ``vecdb restore`` makes a database of it.
        Raises as ``create_snapshot`` does, and for a damaged collection.
        """
        return await self._calls.last(self.database.create_full_snapshot, wait=wait, **qdrant)

    async def list_full_snapshots(
        self, **qdrant: Unpack[OfCollections]
    ) -> list[models.SnapshotDescription]:
        """The snapshots of the whole database, oldest first."""
        return await self._calls.call(self.database.list_full_snapshots, **qdrant)

    async def delete_full_snapshot(
        self, snapshot_name: str, wait: bool = True, **qdrant: Unpack[OfCollections]
    ) -> bool:
        """Remove a snapshot of the whole database; False if there is none of that name."""
        return await self._calls.call(
            self.database.delete_full_snapshot, snapshot_name=snapshot_name, wait=wait, **qdrant
        )
