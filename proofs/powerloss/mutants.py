"""Planted bugs: each switches one step of the protocol off. The power-loss test must catch them.

    python -m proofs.powerloss.mutants MUTANT MODULE ARGUMENT ...

runs a Python program with the bug in place.
"""

from __future__ import annotations

import dataclasses
import os
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vecdb.engine.archive import restore
from vecdb.engine.open import places, recovery
from vecdb.engine.optimize import build
from vecdb.engine.write import checkpoint, syncer
from vecdb.storage import builder, catalog, fs, layout, payload_edits, place, wal


@dataclass(frozen=True)
class Mutant:
    """A bug, and the workloads each of which must catch it."""

    plant: Callable[[], None]
    workloads: tuple[str, ...]

    @property
    def what(self) -> str:
        """One line."""
        return (self.plant.__doc__ or "").strip()


MUTANTS: dict[str, Mutant] = {}


def caught_by(*workloads: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a mutant."""

    def register(plant: Callable[[], None]) -> Callable[[], None]:
        MUTANTS[plant.__name__] = Mutant(plant, workloads)
        return plant

    return register


# -- the log ---------------------------------------------------------------------------------------


@caught_by("ingest", "group")
def no_wal_sync() -> None:
    """a write is acknowledged without fdatasync"""
    real = fs.AppendFile.sync

    def sync(self: fs.AppendFile) -> None:
        if self.path.parent.name != layout.WAL or self.length <= 64:  # the header is still synced
            real(self)

    fs.AppendFile.sync = sync  # type: ignore[method-assign]


@caught_by("checkpoint")
def no_wal_header_sync() -> None:
    """a new WAL file gets its name before its header is durable"""
    real = fs.AppendFile.sync

    def sync(self: fs.AppendFile) -> None:
        if not (self.path.parent.name == layout.WAL and self.length <= 64):
            real(self)

    fs.AppendFile.sync = sync  # type: ignore[method-assign]


@caught_by("ingest")
def no_wal_dir_sync() -> None:
    """a new WAL file without fsync of its directory"""
    _without_dir_sync(lambda path: path.name == layout.WAL)


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

    catalog.Catalog.commit = commit  # type: ignore[method-assign]


@caught_by("interval")
def no_interval_sync() -> None:
    """the thread of the level "interval" says it synced and did not"""

    def sync_all(self: syncer.Syncer) -> None:
        for store in self._stores():
            store.wal._synced = True

    syncer.Syncer._sync_all = sync_all  # type: ignore[method-assign]


@caught_by("failed-sync")
def recovery_appends() -> None:
    """what was replayed is not made durable before the log goes on in a new file"""

    def make_durable(store: Any, **_: Any) -> None:
        store.wal.start_file(store.next_seq)

    recovery._make_durable = make_durable


# -- checkpoint and catalog ------------------------------------------------------------------------


@caught_by("checkpoint")
def no_segment_sync() -> None:
    """segment files are not synced before the commit"""
    real = builder.DataWriter._finish

    def finish(self: Any) -> Any:
        self._file.sync = lambda: None
        return real(self)

    builder.DataWriter._finish = finish  # type: ignore[method-assign]


@caught_by("checkpoint")
def no_segment_dir_sync() -> None:
    """a segment's files without fsync of their directory"""
    _without_dir_sync(lambda path: path.parent.name == layout.SEGMENTS)


@caught_by("checkpoint")
def no_segments_dir_sync() -> None:
    """a segment directory without fsync of its parent"""
    _without_dir_sync(lambda path: path.name == layout.SEGMENTS)


@caught_by("checkpoint")
def lmdb_without_sync() -> None:
    """LMDB opened with sync=False"""
    import lmdb

    real = lmdb.open

    def without_sync(*arguments: Any, **options: Any) -> Any:
        return real(*arguments, **{**options, "sync": False})

    lmdb.open = without_sync


@caught_by("checkpoint")
def checkpoint_of_later_masks() -> None:
    """a checkpoint moves applied_seq beyond the operations its segments hold"""
    real = catalog.Catalog.commit

    def commit(self: catalog.Catalog, change: catalog.Change) -> None:
        if change.add:
            change.applied_seq += 1
        real(self, change)

    catalog.Catalog.commit = commit  # type: ignore[method-assign]


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

    checkpoint._finish = finish


# -- payload edits ---------------------------------------------------------------------------------


@caught_by("payloads", "merge-payloads")
def no_edits_sync() -> None:
    """a file of payload edits is not synced before the commit"""
    _without_file_sync(lambda path: layout.parse_edits_file(path.name) is not None)


@caught_by("payloads", "merge-payloads")
def no_edits_dir_sync() -> None:
    """a file of payload edits without fsync of its directory"""
    _without_dir_sync(lambda path: any(path.glob("payload-edits.*")))


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

    catalog.Catalog.commit = commit  # type: ignore[method-assign]


@caught_by("payloads", "payloads-named")
def checkpoint_forgets_edits() -> None:
    """a checkpoint writes no payload edits, and removes the log that has them"""
    checkpoint._write_edits = lambda store, part, seq: part.edits.files


@caught_by("payloads")
def edits_without_the_older() -> None:
    """a new file of payload edits has only those since the last one, and takes its place"""
    real = payload_edits.PayloadEdits.rows
    payload_edits.PayloadEdits.rows = lambda self, seen, files, since=0: real(  # type: ignore[method-assign]
        self, seen, (), since
    )


@caught_by("merge-payloads")
def build_forgets_committed_edits() -> None:
    """the new segment lacks the payload edits that were committed since the build's start"""
    build._committed_edits = lambda *_: []


@caught_by("merge-payloads")
def build_forgets_later_edits() -> None:
    """the new segment lacks the payload edits that no checkpoint has committed yet"""
    build._edits_in_memory = lambda store, sources, places, files: payload_edits.PayloadEdits(files)


# -- collections -----------------------------------------------------------------------------------


@caught_by("create", "restore")
def no_collections_dir_sync() -> None:
    """a new collection without fsync of its parent after the rename"""
    _without_dir_sync(lambda path: path.name == layout.COLLECTIONS)


@caught_by("create")
def collection_in_place() -> None:
    """a collection's files are not synced before it gets its name"""
    fs.sync_file = lambda path: None
    real = fs.write_file

    def write_file(path: Path, data: Any) -> None:
        if path.parent.name.startswith(".new-"):
            path.write_bytes(data)
        else:
            real(path, data)

    fs.write_file = write_file


@caught_by("killed-collections")
def names_of_the_killed() -> None:
    """opening does not make durable what a killed process has renamed and not synced"""
    real = places.finish_restores

    def finish_restores(parent: Path) -> None:
        sync_dir = fs.sync_dir
        fs.sync_dir = lambda path: None if path == parent else sync_dir(path)
        try:
            real(parent)
        finally:
            fs.sync_dir = sync_dir

    places.finish_restores = finish_restores


@caught_by("killed-checkpoint")
def log_of_the_killed() -> None:
    """opening does not make durable the log that a killed process had begun"""
    real = recovery.open_store

    def open_store(path: Path, *arguments: Any, **options: Any) -> Any:
        sync_dir, logs = fs.sync_dir, path / layout.WAL

        def first_not(directory: Path) -> None:
            if directory == logs:
                fs.sync_dir = sync_dir
            else:
                sync_dir(directory)

        fs.sync_dir = first_not
        try:
            return real(path, *arguments, **options)
        finally:
            fs.sync_dir = sync_dir

    recovery.open_store = open_store


@caught_by("collections")
def dropped_in_place() -> None:
    """a collection is removed file by file without a rename before it"""
    places.drop_collection = fs.remove_tree


# -- the optimizer ---------------------------------------------------------------------------------


@caught_by("merge", "convert")
def sources_removed_before_commit() -> None:
    """the optimizer removes its source segments before the commit that drops them"""
    real = catalog.Catalog.commit

    def commit(self: catalog.Catalog, change: catalog.Change) -> None:
        _remove_segments(self, change.drop)
        real(self, change)

    catalog.Catalog.commit = commit  # type: ignore[method-assign]


@caught_by("failed-commit")
def sources_removed_without_commit() -> None:
    """the optimizer removes its source segments although the commit failed"""
    real = build._commit

    def commit(store: Any, sources: Any, *rest: Any) -> Any:
        try:
            return real(store, sources, *rest)
        except OSError:
            _remove_segments(store.catalog, [source.segment.id for source in sources])
            raise

    build._commit = commit


@caught_by("merge", "merge-writing")
def build_forgets_the_dead() -> None:
    """the optimizer commits what lives now instead of what lived at applied_seq"""
    real = build._masks
    build._masks = lambda *given, committed: real(*given, committed=False)


@caught_by("merge-writing", "convert-writing", "vacuum-writing")
def masks_of_the_pin() -> None:
    """the new segment's masks are those of the build's start, not those of its commit"""
    build._masks = lambda store, sources, order, *, committed: catalog.np.packbits(
        [1] * sum(len(source.rows) for source in sources), bitorder="little"
    )


@caught_by("convert", "rebuild")
def no_codes_sync() -> None:
    """the codes of a new segment are not synced before its commit"""
    _without_file_sync(lambda path: path.name == "codes")


@caught_by("merge-codes")
def no_quantizer_sync() -> None:
    """the quantizer of a new segment is not synced before its commit"""
    _without_file_sync(lambda path: path.name == "quantizer")


@caught_by("index", "index-rebuild")
def no_sketch_sync() -> None:
    """the sketches of a new segment are not synced before its commit"""
    _without_file_sync(lambda path: path.name.startswith("sketch"))


@caught_by("index", "index-writing")
def no_index_sync() -> None:
    """the index of a new segment is not synced before its commit"""
    _without_file_sync(lambda path: path.name.startswith("index"))


@caught_by("index-writing", "index-rebuild")
def masks_in_the_old_order() -> None:
    """the new segment's masks are in the order that its rows had before partitions ordered them"""
    real = build._masks

    def masks(store: Any, sources: Any, order: Any, *, committed: bool) -> Any:
        return real(store, sources, catalog.np.arange(len(order)), committed=committed)

    build._masks = masks


@caught_by("merge", "convert")
def committed_before_the_names() -> None:
    """the optimizer commits its segment before ``finish`` has synced the directories"""
    real_finish, real_commit = builder.SegmentBuilder.finish, build._commit
    sync_dir = fs.sync_dir
    late: list[Path] = []

    def finish(self: builder.SegmentBuilder, *arguments: Any) -> Any:
        fs.sync_dir = late.append
        try:
            return real_finish(self, *arguments)
        finally:
            fs.sync_dir = sync_dir

    def commit(*arguments: Any) -> Any:
        try:
            return real_commit(*arguments)
        finally:
            while late:
                sync_dir(late.pop())

    builder.SegmentBuilder.finish = finish  # type: ignore[method-assign]
    build._commit = commit


@caught_by("merge", "vacuum")
def two_commits() -> None:
    """the new segment is committed first, and its sources are dropped in a second transaction"""
    real = catalog.Catalog.commit

    def commit(self: catalog.Catalog, change: catalog.Change) -> None:
        if change.add and change.drop:
            state = self.read()
            both = {**{i: state.live[i] for i in change.drop if i in state.live}, **change.live}
            real(self, dataclasses.replace(change, drop=[], live=both))
        real(self, change)

    catalog.Catalog.commit = commit  # type: ignore[method-assign]


@caught_by("merge", "never-optimizing")
def build_moves_applied_seq() -> None:
    """the optimizer's commit says that the catalog holds operations that are in memory only"""
    real = build._commit

    def commit(store: Any, sources: Any, *rest: Any) -> Any:
        applied_seq = store.applied_seq
        store.applied_seq = store.next_seq - 1
        try:
            return real(store, sources, *rest)
        finally:
            store.applied_seq = applied_seq

    build._commit = commit


@caught_by("merge-writing", "vacuum-writing")
def build_retires_the_log() -> None:
    """the optimizer removes the log as if it had been a checkpoint"""
    real = build._commit

    def commit(store: Any, sources: Any, *rest: Any) -> Any:
        retired = real(store, sources, *rest)
        store.wal.start_file(store.next_seq)
        store.wal.retire(store.next_seq - 1)
        return retired

    build._commit = commit


# -- snapshots -------------------------------------------------------------------------------------


@caught_by("snapshot")
def no_archive_sync() -> None:
    """an archive gets its name before it is durable"""
    _without_file_sync(lambda path: path.parent.parent.name == layout.SNAPSHOTS)


@caught_by("restore")
def no_restored_sync() -> None:
    """a restored collection is committed before its files are durable"""
    _without_file_sync(lambda path: path.parents[2].name.startswith(".new-"))


@caught_by("restore")
def replaced_before_restored() -> None:
    """the collection that is there is removed before the restored one is committed"""
    real = restore.commit

    def commit(unpacked: Any) -> Path:
        fs.remove_tree(unpacked.path.parent / layout.escape(unpacked.name))
        return real(unpacked)

    restore.commit = commit


# -- what no crash shows ---------------------------------------------------------------------------


def paths_instead_of_places() -> None:
    """what stands at a path is taken for the directory that was opened"""

    def located(path: Any) -> tuple[str, None]:
        return os.fspath(path), None

    place.located = fs.located = located  # type: ignore[assignment]
    place.Place.require = place.Place.require_for_write = lambda self, **_: None  # type: ignore[method-assign]


WITHOUT_A_CRASH = {"paths_instead_of_places": paths_instead_of_places}
"""Bugs that ``proofs.soak`` and the tests must find."""


# -- how -------------------------------------------------------------------------------------------


def _without_dir_sync(skip: Callable[[Path], bool]) -> None:
    real = fs.sync_dir

    def sync_dir(path: Path) -> None:
        if not skip(path):
            real(path)

    fs.sync_dir = sync_dir


def _without_file_sync(skip: Callable[[Path], bool]) -> None:
    real = fs.AppendFile.sync

    def sync(self: fs.AppendFile) -> None:
        if not skip(self.path):
            real(self)

    fs.AppendFile.sync = sync  # type: ignore[method-assign]


def _remove_segments(open_catalog: catalog.Catalog, segment_ids: list[int]) -> None:
    segments = open_catalog.path.parent.parent / layout.SEGMENTS
    for segment_id in segment_ids:
        fs.remove_tree(segments / layout.segment_dir(segment_id))


if __name__ == "__main__":
    name = sys.argv[1]
    (WITHOUT_A_CRASH.get(name) or MUTANTS[name].plant)()
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
