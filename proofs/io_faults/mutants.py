"""Known bugs in what vecdb does about errors, to be planted: ``proofs.io_faults --mutants`` must
find each, or it is broken itself."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from proofs.io_faults.faults import Fault
from vecdb.engine.open import recovery
from vecdb.engine.optimize import build
from vecdb.engine.store import OptimizerState, Store
from vecdb.engine.write import checkpoint
from vecdb.errors import StorageFullError
from vecdb.storage import fs
from vecdb.storage.builder import DataWriter, SegmentBuilder
from vecdb.storage.catalog import Catalog
from vecdb.storage.wal import Wal

Planted = Any  # a context manager, that takes the bug away again


@dataclass(frozen=True)
class Mutant:
    """A bug, and the workload and the fault that show it."""

    plant: Callable[[], Planted]
    workload: str
    fault: Fault


def sync_again() -> Planted:
    """A failed sync of the log is tried again, and the second time it works."""
    real = fs.AppendFile.sync

    def sync(file: fs.AppendFile) -> None:
        try:
            real(file)
        except OSError:
            real(file)

    return patch.object(fs.AppendFile, "sync", sync)


def leave_the_half() -> Planted:
    """Half a frame stays in the log when the disk is full, and the next one follows it."""

    def undo(wal: Wal, start: int, error: OSError) -> None:
        raise StorageFullError(errno.ENOSPC, "no space for the write") from error

    return patch.object(Wal, "_undo", undo)


def believe_it() -> Planted:
    """A write is acknowledged although the disk is full."""
    real = Wal.append

    def append(wal: Wal, first_seq: int, operations: Any) -> None:
        try:
            real(wal, first_seq, operations)
        except StorageFullError:
            pass

    return patch.object(Wal, "append", append)


def go_on() -> Planted:
    """After a failed sync of the log writes are taken again."""
    real = Wal.append

    def append(wal: Wal, first_seq: int, operations: Any) -> None:
        try:
            real(wal, first_seq, operations)
        finally:
            wal.failed = None

    return patch.object(Wal, "append", append)


def retire_early() -> Planted:
    """Files of the log are removed before what they hold is in the catalog."""
    real = checkpoint._commit

    def commit(store: Store, frozen: Any, *more: Any) -> Any:
        store.wal.retire(frozen.seq)
        return real(store, frozen, *more)

    return patch.object(checkpoint, "_commit", commit)


def remove_what_may_be_there() -> Planted:
    """The new segment is removed after a commit of unknown outcome."""

    def abandon(store: Store, builder: SegmentBuilder | None) -> None:
        if builder is not None and builder.segment_id not in store.files:
            builder.abandon()

    return patch.object(checkpoint, "abandon", abandon)


def remove_after_an_unknown_commit() -> Planted:
    """The sources of a build are removed though its commit raised."""
    real = Catalog.commit

    def commit(catalog: Catalog, change: Any) -> None:
        try:
            real(catalog, change)
        except OSError:
            pass

    return patch.object(Catalog, "commit", commit)


def keep_files_open() -> Planted:
    """A build that fails leaves its files open."""
    return patch.object(DataWriter, "abandon", lambda writer: None)


def keep_the_error() -> Planted:
    """The optimizer says for ever that it failed."""
    return patch.object(OptimizerState, "succeeded", lambda state: None)


def leave_rubbish() -> Planted:
    """Opening does not remove what failed builds left."""
    return patch.object(recovery, "_clean", lambda store: [])


def give_up_on_full() -> Planted:
    """A collection takes no more writes once the disk was full."""

    def undo(wal: Wal, start: int, error: OSError) -> None:
        wal.failed = "the disk is full"
        raise StorageFullError(errno.ENOSPC, wal.failed) from error

    return patch.object(Wal, "_undo", undo)


def publish_first() -> Planted:
    """A build shows its segment before the commit, and does not take it back."""
    real = build.committing

    def committing(store: Store, change: Any) -> Any:
        for segment_id in change.drop:
            store.files.pop(segment_id)
        store.publish()
        return real(store, change)

    return patch.object(build, "committing", committing)


_EIO, _FULL = Fault("os", "changes", "EIO"), Fault("os", "changes", "ENOSPC")
MUTANTS: dict[str, Mutant] = {
    plant.__name__.replace("_", "-"): Mutant(plant, workload, fault)
    for plant, workload, fault in (
        (sync_again, "overwrite", Fault("os", "changes", "EIO", "lost")),
        (leave_the_half, "ingest", Fault("os", "changes", "ENOSPC", "short-once")),
        (believe_it, "ingest", _FULL),
        (go_on, "ingest", _EIO),
        (retire_early, "flush", Fault("libc", "catalog", "EIO", "once")),
        (remove_what_may_be_there, "flush", Fault("libc", "catalog", "EIO", "after-on")),
        (remove_after_an_unknown_commit, "merge", Fault("libc", "catalog", "EIO", "on")),
        (keep_files_open, "flush", _EIO),
        (keep_the_error, "convert", _FULL),
        (leave_rubbish, "flush", Fault("os", "changes", "EIO", "on")),
        (give_up_on_full, "ingest", _FULL),
        (publish_first, "merge", Fault("libc", "catalog", "EIO", "once")),
    )
}
