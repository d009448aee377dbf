"""Opening a collection: verify, clean, replay, report. And creating one.

    FORMAT     whose it is, and in which format
    catalog    length, then every row's checksum, then counts
    segments   every listed file opened and compared with its row
    replay     WAL operations beyond applied_seq, without holes; nothing is removed before it
    clean      directories the catalog does not list
    checkpoint what was replayed goes to segment files, and the WAL on in a fresh file

Recovery changes nothing it needs itself, so it can be interrupted and repeated.
"""

from __future__ import annotations

import time
import uuid as uuids
from pathlib import Path

from vecdb import models
from vecdb.engine.checkpoint import checkpoint, checkpoint_held
from vecdb.engine.operations import decode
from vecdb.engine.store import FileState, RecoveryReport, Store
from vecdb.engine.writer import apply, rewrite
from vecdb.errors import CorruptionError, FormatVersionError
from vecdb.storage import fs, layout
from vecdb.storage.catalog import Catalog
from vecdb.storage.format import (
    VERSION,
    DamageError,
    pack_format_line,
    unpack_format_line,
)
from vecdb.storage.wal import Replay, SyncLevel, Wal


def write_format(path: Path, **fields: str) -> None:
    """Write and sync the FORMAT file of a new database or collection."""
    line = pack_format_line({"format": VERSION, "uuid": uuids.uuid4().hex, **fields})
    fs.write_file(path, line)


def read_format(directory: Path) -> dict[str, str]:
    """The fields of a FORMAT file. Raises CorruptionError, FormatVersionError."""
    path = directory / layout.FORMAT
    try:
        return unpack_format_line(path.read_bytes())
    except FileNotFoundError:
        raise CorruptionError(path, "the file is missing") from None
    except DamageError as error:
        raise CorruptionError(path, str(error)) from None
    except FormatVersionError as error:
        raise FormatVersionError(f"{path}: {error}") from None


def create_collection(parent: Path, name: str, config: models.CollectionConfig) -> Path:
    """A new, empty collection, there wholly or not at all. Returns its directory.

    It is made under a temporary name and renamed when all of it is durable.
    """
    temporary = parent / layout.new_dir()
    path = parent / layout.escape(name)
    try:
        fs.make_dir(temporary)
        write_format(temporary / layout.FORMAT, name=name.encode("utf-8").hex())
        Catalog.create(temporary / layout.CATALOG, models.to_builtins(config))
        fs.make_dir(temporary / layout.WAL)
        fs.make_dir(temporary / layout.SEGMENTS)
        fs.sync_dir(temporary)
        fs.rename(temporary, path)
        try:
            fs.sync_dir(parent)
        except BaseException:
            fs.remove_tree(path)
            raise
    except BaseException:
        fs.remove_tree(temporary)
        raise
    return path


def drop_collection(path: Path) -> None:
    """Remove a collection: gone in one rename, then file by file."""
    dropped = path.parent / layout.dropped_dir()
    fs.rename(path, dropped)
    fs.sync_dir(path.parent)
    fs.remove_tree(dropped)


def collection_name(path: Path) -> str:
    """The name of the collection in a directory. Raises CorruptionError."""
    try:
        return bytes.fromhex(read_format(path)["name"]).decode("utf-8")
    except (KeyError, ValueError):
        raise CorruptionError(path / layout.FORMAT, "has no valid collection name") from None


def open_store(path: Path, level: SyncLevel, *, read_only: bool = False) -> Store:
    """Open a collection; ``read_only`` changes no file (under the database's lock all the same).

    Raises CorruptionError and FormatVersionError, naming the file.
    """
    started = time.monotonic()
    fields = read_format(path)
    name = collection_name(path)
    uuid = bytes.fromhex(fields["uuid"])
    catalog = Catalog(path / layout.CATALOG)
    wal = Wal(path / layout.WAL, uuid, level)
    try:
        snapshot = catalog.read()
        try:
            config = models.coerce(models.CollectionConfig, snapshot.config)
        except ValueError as error:
            raise CorruptionError(catalog.path, f"configuration: {error}") from None
        store = Store(name, path, uuid, config, catalog, wal)
        store.applied_seq = snapshot.applied_seq
        store.next_segment_id = snapshot.next_segment_id
        store.memory = store.new_memory()
        for row in snapshot.segments:
            alive, live = snapshot.alive.get(row.id), snapshot.live[row.id]
            store.files[row.id] = FileState(store.open_segment(row), alive, live, alive, live)
        replay = _replay(store)
        removed = [] if read_only else _clean(store)
        store.publish()
        if read_only:
            store.read_only = True
        else:
            _make_durable(store)
    except BaseException:
        wal.close()
        catalog.close()
        raise
    store.report = RecoveryReport(
        replayed=replay.operations_count,
        torn_bytes=replay.torn_bytes,
        removed=removed,
        seconds=time.monotonic() - started,
    )
    return store


def _make_durable(store: Store) -> None:
    """Bring what was replayed into segment files, then begin a new WAL file.

    Some of it may be in the page cache only: after a failed fsync even a second fsync of the same
    file proves nothing. New writes after it would be unreachable if it went missing. Without the
    space for that the collection opens all the same, for reading.
    """
    try:
        checkpoint(store)
        store.wal.start_file(store.next_seq)
    except OSError as error:
        store.fail(f"what was recovered could not be written to new files: {error}")


def _replay(store: Store) -> Replay:
    replay = Replay(store.path / layout.WAL, store.uuid, store.applied_seq)
    for seq, data in replay.operations():
        try:
            operation = decode(data)
            apply(store, seq, operation, rewrite(store.make_view(), operation))
        except (DamageError, KeyError, ValueError) as error:
            raise CorruptionError(
                store.path / layout.WAL, f"operation {seq} cannot be applied: {error}"
            ) from error
    store.next_seq = replay.last_seq + 1
    return replay


def _clean(store: Store) -> list[str]:
    """Remove segment directories the catalog does not list and unfinished WAL files."""
    removed = []
    for path in sorted(store.segments_path.iterdir()):
        segment_id = layout.parse_segment_dir(path.name)
        if segment_id is not None and segment_id not in store.files:
            fs.remove_tree(path)
            removed.append(path.name)
    for path in (store.path / layout.WAL).iterdir():
        if layout.is_leftover(path.name):
            fs.remove_file(path)
            removed.append(path.name)
    # Ids of removed directories may be used again: nothing refers to them.
    return removed


def close_store(store: Store, *, keep: bool = True) -> None:
    """Checkpoint (unless the collection is being dropped or has failed) and close every file."""
    store.require_outside()
    with store.maintenance:
        if store.closed:
            return
        try:
            if keep and store.failure is None:
                checkpoint_held(store)
        finally:
            with store.write:
                store.closed = True
                store.wal.close()
                store.catalog.close()
                store.let_go()
