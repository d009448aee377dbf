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
from vecdb.engine.operations import decode, require_fit
from vecdb.engine.store import FileState, RecoveryReport, Store
from vecdb.engine.writer import apply, rewrite
from vecdb.errors import CorruptionError, FormatVersionError
from vecdb.storage import fs, layout
from vecdb.storage.catalog import DATA, Catalog, Snapshot
from vecdb.storage.format import MAX_FORMAT_LINE, VERSION, DamageError
from vecdb.storage.format_line import pack_format_line, unpack_format_line
from vecdb.storage.wal import Replay, SyncLevel, Wal


def write_format(path: Path, **fields: str) -> None:
    """Write and sync the FORMAT file of a new database or collection."""
    line = pack_format_line({"format": VERSION, "uuid": uuids.uuid4().hex, **fields})
    fs.write_file(path, line)


def read_format(directory: Path) -> dict[str, str]:
    """The fields of a FORMAT file. Raises CorruptionError, FormatVersionError."""
    path = directory / layout.FORMAT
    try:
        with open(path, "rb") as file:
            return unpack_format_line(file.read(MAX_FORMAT_LINE + 1))
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


def collection_dirs(parent: Path) -> list[Path]:
    """The directories of all collections, sorted."""
    try:
        entries = sorted(parent.iterdir())
    except FileNotFoundError:
        raise CorruptionError(parent, "the directory is missing") from None
    return [path for path in entries if path.is_dir() and not path.name.startswith(".")]


def finish_restores(parent: Path) -> None:
    """Let every collection that was restored take its place, and remove what a crash left.

    A restored collection is whole and durable under its ``.restored-`` name, and that name is the
    commit: from then on the old one is only in the way.
    """
    for restored in sorted(parent.iterdir()):
        replaced = layout.parse_restored_dir(restored.name)
        if replaced is None:
            continue
        if (parent / replaced).exists():
            fs.rename(parent / replaced, parent / layout.dropped_dir())
            fs.sync_dir(parent)
        fs.rename(restored, parent / replaced)
        fs.sync_dir(parent)
    for path in sorted(parent.iterdir()):
        if layout.is_leftover(path.name):
            fs.remove_tree(path)


def collection_name(path: Path) -> str:
    """The name of the collection in a directory. Raises CorruptionError."""
    try:
        return bytes.fromhex(read_format(path)["name"]).decode("utf-8")
    except (KeyError, ValueError):
        raise CorruptionError(path / layout.FORMAT, "has no valid collection name") from None


def open_store(path: Path, level: SyncLevel) -> Store:
    """Open a collection for writing. Raises CorruptionError and FormatVersionError, naming the
    file."""
    started = time.monotonic()
    catalog = Catalog(path / layout.CATALOG)
    try:
        store, replay = load(path, catalog.read(), level)
        store.catalog = catalog
        removed = _clean(store)
        store.publish()
        try:
            _make_durable(store)
        except BaseException:
            store.wal.close()
            raise
    except BaseException:
        catalog.close()
        raise
    store.report = RecoveryReport(
        replayed=replay.operations_count,
        torn_bytes=replay.torn_bytes,
        removed=removed,
        seconds=time.monotonic() - started,
    )
    return store


def load(
    path: Path, snapshot: Snapshot, level: SyncLevel, reuse: Store | None = None
) -> tuple[Store, Replay]:
    """A collection in the state that its catalog and its WAL describe. Changes no file.

    ``reuse``: an earlier state of it; segments that are still the same are taken over.
    """
    fields = read_format(path)
    uuid = bytes.fromhex(fields["uuid"])
    try:
        config = models.coerce(models.CollectionConfig, snapshot.config)
    except ValueError as error:
        detail = f"configuration: {error}"
        raise CorruptionError(path / layout.CATALOG / DATA, detail) from None
    wal = Wal(path / layout.WAL, uuid, level)
    store = Store(collection_name(path), path, uuid, config, wal)
    store.applied_seq = snapshot.applied_seq
    store.next_segment_id = snapshot.next_segment_id
    store.memory = store.new_memory()
    for row in snapshot.segments:
        old = reuse.files.get(row.id) if reuse is not None else None
        same = old.segment if old is not None and old.segment.row == row else None
        alive, live = snapshot.alive.get(row.id), snapshot.live[row.id]
        store.files[row.id] = FileState(store.open_segment(row, same), alive, live, alive, live)
    replay = Replay(path / layout.WAL, uuid, store.applied_seq)
    replay_into(store, replay)
    return store, replay


def replay_into(store: Store, replay: Replay) -> int:
    """Apply what the log has beyond the store's state; how many operations that were."""
    before = replay.operations_count
    for seq, data in replay.operations():
        try:
            operation = decode(data)
            require_fit(operation, store.memory.dims)
            apply(store, seq, operation, rewrite(store.make_view(), operation))
        except (DamageError, KeyError, ValueError) as error:
            raise CorruptionError(
                replay.directory, f"operation {seq} cannot be applied: {error}"
            ) from error
    store.next_seq = replay.last_seq + 1
    return replay.operations_count - before


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
                if store.catalog is not None:
                    store.catalog.close()
                store.let_go()
