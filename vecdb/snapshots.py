"""The snapshot verbs of ``VecDB``, with Qdrant's names and shapes."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from vecdb import models, qdrant_arguments
from vecdb.collection import Collection
from vecdb.engine.archive import restore, snapshots
from vecdb.engine.open import database_dir, places
from vecdb.errors import InvalidInputError
from vecdb.open_collections import OpenCollections
from vecdb.qdrant_arguments import OfCollections
from vecdb.storage import layout, lookup
from vecdb.storage.place import Place

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Snapshots:
    """Copies of one exact state, in one file each, taken while reads and writes go on."""

    path: Path
    _place: Place | None
    _lock: threading.RLock
    _temporary: bool
    _collections: OpenCollections

    def check_usable(self) -> None:
        """Raise unless the database may be used."""
        raise NotImplementedError

    def _changing(self) -> Place:
        """The directory, to be entered by who changes what is in it. Raises unless it may be."""
        raise NotImplementedError

    def _looking(self) -> AbstractContextManager[object]:
        """The same for who only looks; a reader's is whatever stands at its path."""
        self.check_usable()
        return nullcontext() if self._place is None else self._place

    def collection(self, collection_name: str) -> Collection:
        """The collection of that name."""
        raise NotImplementedError

    def flush(self, collection_name: str | None = None) -> None:
        """Checkpoint one collection, or all."""
        raise NotImplementedError

    def create_snapshot(
        self, collection_name: str, wait: bool = True
    ) -> models.SnapshotDescription:
        """Write all of a collection to one file, ``snapshots/<collection>/<name>`` in the
        database's directory, with its SHA-256 beside it.

        It holds one exact state, with every write that was acknowledged before the call. Reads,
        writes and the optimizer go on meanwhile. Snapshots stay when the collection is deleted.
        ``wait`` is accepted for compatibility: the snapshot is durable when this returns. Raises
        NotFoundError, StorageFullError, and CorruptionError for a damaged file.
        """
        with self._changing() as place:
            self._fill_files(collection_name)
            path = self.collection(collection_name)._store.path
            directory = self._snapshots_of(collection_name)
            return snapshots.take(place, directory, path.name, [path], whole=False)

    def list_snapshots(self, collection_name: str) -> list[models.SnapshotDescription]:
        """The snapshots of a collection, oldest first; also of one that was deleted."""
        with self._looking():
            return snapshots.listed(self._snapshots_of(collection_name))

    def delete_snapshot(self, collection_name: str, snapshot_name: str, wait: bool = True) -> bool:
        """Remove a snapshot; False if there is none of that name."""
        with self._changing():
            return snapshots.remove(self._snapshots_of(collection_name), snapshot_name)

    def recover_snapshot(
        self,
        collection_name: str,
        location: str | os.PathLike[str],
        checksum: str | None = None,
        wait: bool = True,
        **qdrant: Unpack[OfCollections],
    ) -> bool:
        """Make a collection what a snapshot says, whether it exists, is damaged, or neither.

        ``location``: a path, a ``file://`` URI, or a name that ``list_snapshots`` or
        ``list_full_snapshots`` gives; of a full snapshot, the collection of this name is taken.
        ``checksum``: the SHA-256 that the file must have.

        The file is not trusted: all of it is read and verified first. An error, or a crash, leaves
        the collection as it was. Otherwise handles of the collection that was there raise
        ClosedError from now on; writes to it that are under way are lost with it. Raises
        NotFoundError, CorruptionError (names the file), FormatVersionError, StorageFullError.
        """
        qdrant_arguments.check("VecDB.recover_snapshot", qdrant, OfCollections)
        name = database_dir.check_name(collection_name)
        parent = self.path / layout.COLLECTIONS
        with self._changing():
            archive = self._locate(name, location)
            unpacked = restore.unpack_collection(archive, parent, name, checksum)
            with restore.kept_until_committed(unpacked), self._lock, self._changing():
                self._collections.replace(unpacked)
        return True

    def create_full_snapshot(self, wait: bool = True) -> models.SnapshotDescription:
        """Write all collections to one file, ``snapshots/<name>`` in the database's directory.

        Each collection is in it with one exact state of its own, no older than the call; they need
        not be of the same moment. ``vecdb restore`` makes a database of it. Raises as
        ``create_snapshot`` does, and for a damaged collection.
        """
        with self._changing() as place:
            self._fill_files(None)
            paths = places.collection_dirs(self.path / layout.COLLECTIONS)
            directory = self.path / layout.SNAPSHOTS
            return snapshots.take(place, directory, layout.FULL, paths, whole=True)

    def list_full_snapshots(self) -> list[models.SnapshotDescription]:
        """The snapshots of the whole database, oldest first."""
        with self._looking():
            return snapshots.listed(self.path / layout.SNAPSHOTS)

    def delete_full_snapshot(self, snapshot_name: str, wait: bool = True) -> bool:
        """Remove a snapshot of the whole database; False if there is none of that name."""
        with self._changing():
            return snapshots.remove(self.path / layout.SNAPSHOTS, snapshot_name)

    def _fill_files(self, collection_name: str | None) -> None:
        """A database that ends with its process has no log to copy: all must be in segments."""
        if self._temporary:
            self.flush(collection_name)

    def _snapshots_of(self, collection_name: str) -> Path:
        name = database_dir.check_name(collection_name)
        return self.path / layout.SNAPSHOTS / layout.escape(name)

    def _locate(self, name: str, location: object) -> Path:
        """The file that is meant. Raises InvalidInputError."""
        try:
            text = os.fspath(location)  # type: ignore[call-overload]
        except TypeError:
            text = None
        if not isinstance(text, str) or not text or "\0" in text:
            raise InvalidInputError(f"location: expected a path or URI, got {location!r:.80}")
        parts = urlsplit(text) if "://" in text else None
        if parts is not None and (parts.scheme != "file" or parts.netloc not in ("", "localhost")):
            raise InvalidInputError(f"location: expected a path or a file:// URI, got {text!r:.80}")
        if parts is not None:
            return Path(unquote(parts.path))
        if layout.parse_snapshot_file(text) is not None:
            for place in (self._snapshots_of(name), self.path / layout.SNAPSHOTS):
                if lookup.is_file(place / text):
                    return place / text
        return Path(text).absolute()
