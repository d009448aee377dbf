"""Opening a collection: verify, clean, replay, report.

    FORMAT     whose it is, and in which format
    catalog    length, then every row's checksum, then counts
    segments   every listed file opened and compared with its row
    replay     WAL operations beyond applied_seq, without holes; nothing is removed before it
    clean      directories the catalog does not list
    checkpoint what was replayed goes to segment files, and the WAL on in a fresh file

Recovery changes nothing it needs itself, so it can be interrupted and repeated.
"""

from __future__ import annotations

import errno
import time
from pathlib import Path

from vecdb import models
from vecdb.engine.budget import Budget
from vecdb.engine.columns import automatic_in, fields_of
from vecdb.engine.open.places import collection_name, read_format
from vecdb.engine.operations import decode, require_fit
from vecdb.engine.schema import datatypes_of, dims_of, schema_of
from vecdb.engine.store import FileState, RecoveryReport, Store
from vecdb.engine.write.checkpoint import checkpoint, checkpoint_held, is_due
from vecdb.engine.write.effects import apply, rewrite
from vecdb.errors import CorruptionError, InvalidInputError, StorageFullError
from vecdb.storage import files, fs, layout, lookup
from vecdb.storage.catalog import DATA, Catalog, Snapshot
from vecdb.storage.format import DamageError
from vecdb.storage.place import Place
from vecdb.storage.replay import Replay
from vecdb.storage.validate import validate
from vecdb.storage.wal import LogLevel, Wal


def open_store(
    path: Path,
    level: LogLevel,
    *,
    new: bool = False,
    database: Place | None = None,
    budget: Budget | None = None,
) -> Store:
    """Open a collection for writing. Raises CorruptionError and FormatVersionError, naming the
    file. ``new``: it was just made, so it is of no use if it can only be read. ``database``: its
    parent directory, which is held open. ``budget``: the database's; None: without end."""
    with fs.must_exist(path, "directory"):
        place = Place(path, database)
    try:
        with place:
            return _open_store(place, level, new, budget)
    except BaseException:
        place.close()
        raise


def _open_store(place: Place, level: LogLevel, new: bool, budget: Budget | None) -> Store:
    started, path = time.monotonic(), place.path
    catalog = Catalog(path / layout.CATALOG)
    # A process killed in its commit may have written it and not synced it. What begins now refers
    # to that commit: if power loss took it, the catalog would pass for an older copy. In the same
    # way the name of a log may not be durable yet: if the log before it were removed, power loss
    # would take both.
    fs.sync_file(path / layout.CATALOG / DATA)
    with fs.must_exist(path / layout.WAL, "directory"):
        fs.sync_dir(path / layout.WAL)
    store, replay = load(path, catalog.read(), level, budget=budget)
    store.catalog, store.place = catalog, place
    removed = _clean(store)
    store.publish()
    try:
        _make_durable(store, required=new)
    except BaseException:
        store.wal.close()
        raise
    store.report = RecoveryReport(
        replayed=replay.operations_count,
        torn_bytes=replay.torn_bytes,
        removed=removed,
        seconds=time.monotonic() - started,
    )
    return store


def load(
    path: Path,
    snapshot: Snapshot,
    level: LogLevel,
    reuse: Store | None = None,
    *,
    mapped: bool = False,
    budget: Budget | None = None,
) -> tuple[Store, Replay]:
    """Load a collection in the state that its catalog and its WAL describe. Changes no file.
    ``reuse``: an earlier state of it; segments that are still the same are taken over. ``mapped``:
    nothing is read into memory, whatever the configuration wants."""
    fields = read_format(path)
    uuid = bytes.fromhex(fields["uuid"])
    config = valid_config(path, snapshot, fields["uuid"])
    wal = Wal(path / layout.WAL, uuid, level)
    store = Store(collection_name(path), path, uuid, config, wal, budget or Budget())
    store.budget.enter(store)
    store.pins = not mapped
    store.applied_seq = snapshot.applied_seq
    store.next_segment_id = snapshot.next_segment_id
    store.memory = store.new_memory()
    store.automatic = store.demand.due = automatic_in(snapshot.segments)
    for row in snapshot.segments:
        old = reuse.files.get(row.id) if reuse is not None else None
        same = old if old is not None and old.segment.row.built == row.built else None
        edits = store.open_edits(row, None if same is None else same.edits)
        alive, live = snapshot.alive.get(row.id), snapshot.live[row.id]
        segment = store.open_segment(row, None if same is None else same.segment)
        store.files[row.id] = FileState(segment, alive, live, alive, live, edits)
    replay = Replay(path / layout.WAL, uuid, store.applied_seq, snapshot.transaction)
    replay_into(store, replay)
    return store, replay


def valid_config(path: Path, snapshot: Snapshot, uuid: str) -> models.CollectionConfig:
    """The configuration in a catalog that is the collection's and whose content can be true.
    Raises CorruptionError."""
    if snapshot.uuid != uuid:
        raise CorruptionError(path / layout.CATALOG / DATA, "belongs to another collection")
    try:
        config = models.coerce(models.CollectionConfig, snapshot.config)
        schema = schema_of(config)
        validate(snapshot, dims_of(schema), datatypes_of(schema))
        fields_of(config, automatic_in(snapshot.segments))
    except InvalidInputError as error:
        detail = f"configuration: {error}"
        raise CorruptionError(path / layout.CATALOG / DATA, detail) from None
    except DamageError as error:
        raise CorruptionError(path / layout.CATALOG / DATA, str(error)) from None
    return config


def replay_into(store: Store, replay: Replay) -> int:
    """Apply what the log has beyond the store's state. Returns how many operations that were."""
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


def _make_durable(store: Store, *, required: bool) -> None:
    """Bring what was replayed into segment files, then begin a new WAL file.

    Some of it may be in the page cache only, and after a failed fsync even a second fsync of the
    same file proves nothing. If it went missing, new writes after it could not be reached. Without
    the space for that the collection opens for reading only, unless this is ``required``.
    """
    try:
        checkpoint(store)
        store.start_wal_file()
    except OSError as error:
        if required or error.errno in (errno.EMFILE, errno.ENFILE):  # that passes: open it again
            raise
        store.fail(f"what was recovered could not be written to new files: {error}")


def _clean(store: Store) -> list[str]:
    """Remove segment directories, and files in them, that the catalog does not list, and unfinished
    WAL files."""
    removed = []
    with fs.must_exist(store.segments_path, "directory"):
        paths = lookup.entries(store.segments_path)
    for path in paths:
        segment_id = layout.parse_segment_dir(path.name)
        if segment_id is None:
            continue
        if segment_id in store.files:
            removed += _clean_segment(path, store.files[segment_id])
            continue
        fs.discard(path)
        removed.append(path.name)
        if lookup.exists(path):  # else its id may be given again, for nothing refers to it
            store.next_segment_id = max(store.next_segment_id, segment_id + 1)
    for path in lookup.entries(store.path / layout.WAL):
        if layout.is_leftover(path.name):
            fs.discard(path)
            removed.append(path.name)
    return removed


def _clean_segment(path: Path, state: FileState) -> list[str]:
    """Remove payload edits and columns of a segment that the catalog does not list, and vectors of
    names that are gone."""
    known = {file.name for file in state.edits.files} | state.segment.row.files.keys()
    removed = []
    for name in sorted(lookup.names(path)):
        if name not in known and files.may_be_left_over(name):
            fs.discard(path / name)
            removed.append(f"{path.name}/{name}")
    return removed


def close_store(store: Store, *, keep: bool = True) -> None:
    """Checkpoint (unless the collection is being dropped or has failed) and close every file."""
    store.require_outside()
    store.closing = True
    with store.columns, store.maintenance:
        if store.closed:
            return
        try:
            if keep and store.failure is None and is_due(store):
                _last_checkpoint(store)
                store.require_in_place()  # else it is where nobody will look for it
        finally:
            with store.write:
                store.closed = True
                store.wal.close()
                if store.place is not None:
                    store.place.close()
                store.release()
                store.budget.forget(store)


def _last_checkpoint(store: Store) -> None:
    try:
        checkpoint_held(store)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageFullError(
            error.errno,
            f"{store.path}: closed, but no space for a checkpoint ({error.strerror}); nothing is "
            f"lost, the next open reads the log",
        ) from error
