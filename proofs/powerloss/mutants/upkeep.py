"""Bugs in what happens to a database besides writes: collections, the optimizer, snapshots."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from proofs.mutants import Mutant, put
from proofs.powerloss.mutants.registry import (
    caught_by,
    remove_segments,
    without_dir_sync,
    without_file_sync,
)
from vecdb.engine.archive import restore
from vecdb.engine.open import aliases, places, recovery
from vecdb.engine.optimize import build
from vecdb.engine.write import vector_names
from vecdb.storage import builder, catalog, files, fs, layout, place

# -- collections -----------------------------------------------------------------------------------


@caught_by("names")
def vectors_removed_before_commit() -> None:
    """files of a vector name that goes are removed before the commit"""
    real = vector_names._commit

    def commit(store: Any, config: Any, removed: str | None) -> Any:
        for state in store.files.values():
            for name in files.of_vector(removed) if removed is not None else ():
                if name in state.segment.row.files:
                    fs.discard(state.segment.path / name)
        return real(store, config, removed)

    put(vector_names, "_commit", commit)


@caught_by("create", "restore")
def no_collections_dir_sync() -> None:
    """a new collection without fsync of its parent after the rename"""
    without_dir_sync(lambda path: path.name == layout.COLLECTIONS)


@caught_by("create")
def collection_in_place() -> None:
    """a collection's files are not synced before it gets its name"""
    put(fs, "sync_file", lambda path: None)
    real = fs.write_file

    def write_file(path: Path, data: Any) -> None:
        if path.parent.name.startswith(".new-"):
            path.write_bytes(data)
        else:
            real(path, data)

    put(fs, "write_file", write_file)


@caught_by("aliases")
def aliases_without_sync() -> None:
    """the file of aliases gets its name before it is synced"""
    real = fs.write_file

    def write_file(path: Path, data: Any) -> None:
        if bytes(data).startswith(b"vecdb aliases"):
            path.write_bytes(data)
        else:
            real(path, data)

    put(fs, "write_file", write_file)


@caught_by("aliases", "first-alias")
def no_aliases_dir_sync() -> None:
    """aliases without fsync of the directory after the rename"""

    def publish(self: aliases.Aliases, temporary: Path) -> None:
        fs.rename(temporary, temporary.with_name(layout.ALIASES))

    put(aliases.Aliases, "_publish", publish)


@caught_by("aliases")
def aliases_in_place() -> None:
    """the file of aliases is written over, not replaced"""

    def replace(self: aliases.Aliases, data: bytes) -> None:
        with open(self._path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    put(aliases.Aliases, "_replace", replace)


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

    put(places, "finish_restores", finish_restores)


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

        fs.sync_dir = first_not  # type: ignore[assignment]
        try:
            return real(path, *arguments, **options)
        finally:
            fs.sync_dir = sync_dir

    put(recovery, "open_store", open_store)


@caught_by("collections")
def dropped_in_place() -> None:
    """a collection is removed file by file without a rename before it"""
    put(places, "drop_collection", fs.remove_tree)


# -- the optimizer ---------------------------------------------------------------------------------


@caught_by("merge", "convert")
def sources_removed_before_commit() -> None:
    """the optimizer removes its source segments before the commit that drops them"""
    real = catalog.Catalog.commit

    def commit(self: catalog.Catalog, change: catalog.Change) -> None:
        remove_segments(self, change.drop)
        real(self, change)

    put(catalog.Catalog, "commit", commit)


@caught_by("failed-commit")
def sources_removed_without_commit() -> None:
    """the optimizer removes its source segments although the commit failed"""
    real = build._commit

    def commit(store: Any, sources: Any, *rest: Any) -> Any:
        try:
            return real(store, sources, *rest)
        except OSError:
            remove_segments(store.catalog, [source.segment.id for source in sources])
            raise

    put(build, "_commit", commit)


@caught_by("merge-named", "never-optimizing")
def build_forgets_the_dead() -> None:
    """the optimizer commits what lives now instead of what lived at applied_seq"""
    real = build._masks
    put(build, "_masks", lambda *given, committed: real(*given, committed=False))


@caught_by("merge-writing", "convert-writing", "vacuum-writing")
def masks_of_the_pin() -> None:
    """the new segment's masks are those of the build's start, not those of its commit"""
    put(
        build,
        "_masks",
        lambda store, sources, order, *, committed: np.packbits(
            [1] * sum(len(source.rows) for source in sources), bitorder="little"
        ),
    )


@caught_by("convert", "rebuild")
def no_codes_sync() -> None:
    """the codes of a new segment are not synced before its commit"""
    without_file_sync(lambda path: path.name == "codes")


@caught_by("merge-codes")
def no_quantizer_sync() -> None:
    """the quantizer of a new segment is not synced before its commit"""
    without_file_sync(lambda path: path.name == "quantizer")


@caught_by("multi-codes")
def no_token_codes_sync() -> None:
    """the codes of a segment's multivectors are not synced before its commit"""
    without_file_sync(lambda path: path.name == "codes.m")


@caught_by("index", "index-rebuild")
def no_sketch_sync() -> None:
    """the sketches of a new segment are not synced before its commit"""
    without_file_sync(lambda path: path.name.startswith("sketch"))


@caught_by("index", "index-writing")
def no_index_sync() -> None:
    """the index of a new segment is not synced before its commit"""
    without_file_sync(lambda path: path.name.startswith("index"))


@caught_by("index-writing", "index-rebuild")
def masks_in_the_old_order() -> None:
    """the new segment's masks are in the order that its rows had before partitions ordered them"""
    real = build._masks

    def masks(store: Any, sources: Any, order: Any, *, committed: bool) -> Any:
        return real(store, sources, np.arange(len(order)), committed=committed)

    put(build, "_masks", masks)


@caught_by("merge", "convert")
def committed_before_the_names() -> None:
    """the optimizer commits its segment before ``finish`` has synced the directories"""
    real_finish, real_commit = builder.SegmentBuilder.finish, build._commit
    sync_dir = fs.sync_dir
    late: list[Path] = []

    def finish(self: builder.SegmentBuilder, *arguments: Any) -> Any:
        fs.sync_dir = late.append  # type: ignore[assignment]
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

    put(builder.SegmentBuilder, "finish", finish)
    put(build, "_commit", commit)


@caught_by("merge", "vacuum")
def two_commits() -> None:
    """the new segment is committed first, and its sources are dropped in a second transaction"""
    real = catalog.Catalog.commit

    def commit(self: catalog.Catalog, change: catalog.Change) -> None:
        if change.add and change.drop:
            state = self.read()
            both = {**{i: state.live[i] for i in change.drop if i in state.live}, **change.live}
            real(self, msgspec.structs.replace(change, drop=[], live=both))
        real(self, change)

    put(catalog.Catalog, "commit", commit)


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

    put(build, "_commit", commit)


@caught_by("merge-writing", "vacuum-writing")
def build_retires_the_log() -> None:
    """the optimizer removes the log as if it had been a checkpoint"""
    real = build._commit

    def commit(store: Any, sources: Any, *rest: Any) -> Any:
        retired = real(store, sources, *rest)
        store.start_wal_file()
        store.wal.retire(store.next_seq - 1)
        return retired

    put(build, "_commit", commit)


# -- snapshots -------------------------------------------------------------------------------------


@caught_by("snapshot")
def no_archive_sync() -> None:
    """an archive gets its name before it is durable"""
    without_file_sync(lambda path: path.parent.parent.name == layout.SNAPSHOTS)


@caught_by("restore")
def no_restored_sync() -> None:
    """a restored collection is committed before its files are durable"""
    without_file_sync(lambda path: path.parents[2].name.startswith(".new-"))


@caught_by("restore")
def replaced_before_restored() -> None:
    """the collection that is there is removed before the restored one is committed"""
    real = restore.commit

    def commit(unpacked: Any) -> Path:
        fs.remove_tree(unpacked.path.parent / layout.escape(unpacked.name))
        return real(unpacked)

    put(restore, "commit", commit)


# -- what no crash shows ---------------------------------------------------------------------------


def paths_instead_of_places() -> None:
    """what stands at a path is taken for the directory that was opened"""

    def located(path: Any) -> tuple[str, None]:
        return os.fspath(path), None

    for module in (place, fs):
        put(module, "located", located)
    for name in ("require", "require_for_write"):
        put(place.Place, name, lambda self, **_: None)


WITHOUT_A_CRASH = {"paths_instead_of_places": Mutant(paths_instead_of_places, ("soak",))}
"""Bugs that ``proofs.soak`` and the tests must find."""
