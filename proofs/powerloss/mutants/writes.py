"""Bugs in what a write does: the log, checkpoints, payload edits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lmdb

from proofs.mutants import put
from proofs.powerloss.mutants.registry import (
    caught_by,
    without_dir_sync,
    without_file_sync,
)
from vecdb import writing
from vecdb.engine.open import recovery
from vecdb.engine.optimize import build
from vecdb.engine.store import Store
from vecdb.engine.write import checkpoint, syncer, writer
from vecdb.storage import builder, catalog, fs, layout, payload_edits, wal

# -- the log ---------------------------------------------------------------------------------------


@caught_by("ingest", "group")
def no_wal_sync() -> None:
    """a write is acknowledged without fdatasync"""
    real = fs.AppendFile.sync

    def sync(self: fs.AppendFile) -> None:
        if self.path.parent.name != layout.WAL or self.length <= 64:  # the header is still synced
            real(self)

    put(fs.AppendFile, "sync", sync)


@caught_by("checkpoint")
def no_wal_header_sync() -> None:
    """a new WAL file gets its name before its header is durable"""
    real = fs.AppendFile.sync

    def sync(self: fs.AppendFile) -> None:
        if not (self.path.parent.name == layout.WAL and self.length <= 64):
            real(self)

    put(fs.AppendFile, "sync", sync)


@caught_by("ingest")
def no_wal_dir_sync() -> None:
    """a new WAL file without fsync of its directory"""
    without_dir_sync(lambda path: path.name == layout.WAL)


@caught_by("checkpoint", "recovery", "crashed-checkpoint")
def retire_before_commit() -> None:
    """WAL files are removed before the commit that makes them unnecessary"""
    real = catalog.Catalog.commit

    def commit(self: catalog.Catalog, change: catalog.Change) -> None:
        directory = self.path.parent.parent / layout.WAL
        for first_seq, path in wal.wal_files(directory)[:-1]:
            if first_seq <= change.applied_seq:
                fs.remove_file(path)
        real(self, change)

    put(catalog.Catalog, "commit", commit)


@caught_by("interval")
def no_interval_sync() -> None:
    """the thread of the level "interval" says it synced and did not"""

    def sync_all(self: syncer.Syncer) -> None:
        for store in self._stores():
            store.wal._synced = True

    put(syncer.Syncer, "_sync_all", sync_all)


@caught_by("batch")
def batch_in_pieces() -> None:
    """each operation of a batch is a frame of its own"""
    real = writer.submit_all

    def submit_all(store: Store, requests: Sequence[writer.Request]) -> list[writer.Done]:
        return [done for request in requests for done in real(store, [request])]

    put(writing, "submit_all", submit_all)


@caught_by("failed-sync")
def recovery_appends() -> None:
    """what was replayed is not made durable before the log goes on in a new file"""

    def make_durable(store: Any, **_: Any) -> None:
        store.wal.start_file(store.next_seq)

    put(recovery, "_make_durable", make_durable)


# -- checkpoint and catalog ------------------------------------------------------------------------


@caught_by("checkpoint")
def no_segment_sync() -> None:
    """segment files are not synced before the commit"""
    real = builder.DataWriter._finish

    def finish(self: Any) -> Any:
        self._file.sync = lambda: None
        return real(self)

    put(builder.DataWriter, "_finish", finish)


@caught_by("checkpoint")
def no_segment_dir_sync() -> None:
    """a segment's files without fsync of their directory"""
    without_dir_sync(lambda path: path.parent.name == layout.SEGMENTS)


@caught_by("checkpoint")
def no_segments_dir_sync() -> None:
    """a segment directory without fsync of its parent"""
    without_dir_sync(lambda path: path.name == layout.SEGMENTS)


@caught_by("checkpoint")
def lmdb_without_sync() -> None:
    """LMDB opened with sync=False"""
    real = lmdb.open

    def without_sync(*arguments: Any, **options: Any) -> Any:
        return real(*arguments, **{**options, "sync": False})

    put(lmdb, "open", without_sync)


@caught_by("checkpoint")
def checkpoint_of_later_masks() -> None:
    """a checkpoint moves applied_seq beyond the operations its segments hold"""
    real = catalog.Catalog.commit

    def commit(self: catalog.Catalog, change: catalog.Change) -> None:
        if change.add:
            change.applied_seq += 1
        real(self, change)

    put(catalog.Catalog, "commit", commit)


@caught_by("failed-checkpoint")
def failed_checkpoint_retires() -> None:
    """a checkpoint that failed removes the log of what it did not write"""
    real = checkpoint._finish

    def finish(store: Any, frozen: Any) -> None:
        try:
            real(store, frozen)
        except OSError:
            store.wal.retire(frozen.seq)
            raise

    put(checkpoint, "_finish", finish)


# -- payload edits ---------------------------------------------------------------------------------


@caught_by("payloads", "merge-payloads")
def no_edits_sync() -> None:
    """a file of payload edits is not synced before the commit"""
    without_file_sync(lambda path: layout.parse_edits_file(path.name) is not None)


@caught_by("payloads", "merge-payloads")
def no_edits_dir_sync() -> None:
    """a file of payload edits without fsync of its directory"""
    without_dir_sync(lambda path: any(path.glob("payload-edits.*")))


@caught_by("payloads")
def edits_removed_before_commit() -> None:
    """payload edits are removed before the commit of those that replace them"""
    real = catalog.Catalog.commit

    def commit(self: catalog.Catalog, change: catalog.Change) -> None:
        for row in change.add:
            directory = self.path.parent.parent / layout.SEGMENTS / layout.segment_dir(row.id)
            for path in directory.glob("payload-edits.*"):
                if path.name not in row.files:
                    fs.remove_file(path)
        real(self, change)

    put(catalog.Catalog, "commit", commit)


@caught_by("payloads", "payloads-named")
def checkpoint_forgets_edits() -> None:
    """a checkpoint writes no payload edits, and removes the log that has them"""
    put(checkpoint, "_write_edits", lambda store, segment_view, seq: segment_view.edits.files)


@caught_by("payloads")
def edits_without_the_older() -> None:
    """a new file of payload edits has only those since the last one, and takes its place"""
    real = payload_edits.PayloadEdits.rows
    put(
        payload_edits.PayloadEdits,
        "rows",
        lambda self, seen, files, since=0: real(self, seen, (), since),
    )


@caught_by("merge-payloads")
def build_forgets_committed_edits() -> None:
    """the new segment lacks the payload edits that were committed since the build's start"""
    put(build, "_committed_edits", lambda *_: [])


@caught_by("merge-payloads")
def build_forgets_later_edits() -> None:
    """the new segment lacks the payload edits that no checkpoint has committed yet"""
    put(
        build,
        "_edits_in_memory",
        lambda store, sources, new_rows, files: payload_edits.PayloadEdits(files),
    )
