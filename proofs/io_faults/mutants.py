"""Known bugs in what vecdb does about errors, to be planted.

``proofs.io_faults --mutants`` must find each, or it is broken itself.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Any

from proofs.io_faults.faults import Fault
from proofs.mutants import Mutant, put
from proofs.powerloss.mutants.columns import columns_removed_before_commit
from vecdb.engine import commit
from vecdb.engine.open import recovery
from vecdb.engine.optimize import build, columns
from vecdb.engine.store import OptimizerState, Store
from vecdb.engine.write import checkpoint
from vecdb.errors import StorageFullError
from vecdb.storage import fs
from vecdb.storage.builder import DataWriter, SegmentBuilder
from vecdb.storage.catalog import Catalog
from vecdb.storage.files import COLUMN
from vecdb.storage.segment import FileSegment
from vecdb.storage.wal import Wal


@dataclass(frozen=True)
class Shown:
    """The workload and the fault that show a bug."""

    workload: str
    fault: Fault


def sync_again() -> None:
    """A failed sync of the log is tried again, and the second time it works."""
    real = fs.AppendFile.sync

    def sync(file: fs.AppendFile) -> None:
        try:
            real(file)
        except OSError:
            real(file)

    put(fs.AppendFile, "sync", sync)


def leave_the_half() -> None:
    """Half a frame stays in the log when the disk is full, and the next one follows it."""

    def undo(wal: Wal, start: int, error: OSError) -> None:
        raise StorageFullError(errno.ENOSPC, "no space for the write") from error

    put(Wal, "_undo", undo)


def believe_it() -> None:
    """A write is acknowledged although the disk is full."""
    real = Wal.append

    def append(wal: Wal, first_seq: int, operations: Any) -> None:
        try:
            real(wal, first_seq, operations)
        except StorageFullError:
            pass

    put(Wal, "append", append)


def go_on() -> None:
    """After a failed sync of the log writes are taken again."""
    real = Wal.append

    def append(wal: Wal, first_seq: int, operations: Any) -> None:
        try:
            real(wal, first_seq, operations)
        finally:
            wal.failed = None

    put(Wal, "append", append)


def retire_early() -> None:
    """Files of the log are removed before what they hold is in the catalog."""
    real = checkpoint._commit

    def commit(store: Store, frozen: Any, *more: Any) -> Any:
        store.wal.retire(frozen.seq)
        return real(store, frozen, *more)

    put(checkpoint, "_commit", commit)


def remove_what_may_be_there() -> None:
    """The new segment is removed after a commit of unknown outcome."""

    def abandon(store: Store, builder: SegmentBuilder | None) -> None:
        if builder is not None and builder.segment_id not in store.files:
            builder.abandon()

    put(checkpoint, "abandon", abandon)


def remove_after_an_unknown_commit() -> None:
    """The sources of a build are removed though its commit raised."""
    real = Catalog.commit

    def commit(catalog: Catalog, change: Any) -> None:
        try:
            real(catalog, change)
        except OSError:
            pass

    put(Catalog, "commit", commit)


def keep_files_open() -> None:
    """A build that fails leaves its files open."""
    put(DataWriter, "abandon", lambda writer: None)


def keep_the_error() -> None:
    """The optimizer says for ever that it failed."""
    put(OptimizerState, "succeeded", lambda state: None)


def leave_rubbish() -> None:
    """Opening does not remove what failed builds left."""
    put(recovery, "_clean", lambda store: [])


def give_up_on_full() -> None:
    """A collection takes no more writes once the disk was full."""

    def undo(wal: Wal, start: int, error: OSError) -> None:
        wal.failed = "the disk is full"
        raise StorageFullError(errno.ENOSPC, wal.failed) from error

    put(Wal, "_undo", undo)


def publish_first() -> None:
    """A build shows its segment before the commit, and does not take it back."""
    real = commit.committing

    def committing(store: Store, change: Any) -> Any:
        for segment_id in change.drop:
            store.files.pop(segment_id)
        store.publish()
        return real(store, change)

    put(build, "committing", committing)


def remove_columns_that_may_be_there() -> None:
    """New columns are removed after a commit of unknown outcome."""

    def give_up(store: Store, segment: FileSegment, written: Any, error: BaseException) -> None:
        for field in written:
            fs.discard(segment.path / COLUMN.file(field))

    put(columns, "_give_up", give_up)


_EIO, _FULL = Fault("os", "changes", "EIO"), Fault("os", "changes", "ENOSPC")
MUTANTS: dict[str, Mutant[Shown]] = {
    plant.__name__.replace("_", "-"): Mutant(plant, Shown(workload, fault))
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
        (remove_columns_that_may_be_there, "columns", Fault("libc", "catalog", "EIO", "after-on")),
        (columns_removed_before_commit, "columns", Fault("libc", "catalog", "EIO", "once")),
    )
}
