"""Planted bugs: each switches one step of the protocol off. The power-loss test must catch them.

    python tools/crash_mutants.py MUTANT PROGRAM ARGUMENT ...

runs a Python program with the bug in place.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vecdb.storage import builder, catalog, fs, layout, wal


def no_wal_sync() -> None:
    """a write is acknowledged without fdatasync"""
    real = fs.AppendFile.sync

    def sync(self: fs.AppendFile) -> None:
        if self.path.parent.name != layout.WAL or self.length <= 64:  # the header is still synced
            real(self)

    fs.AppendFile.sync = sync  # type: ignore[method-assign]


def no_wal_header_sync() -> None:
    """a new WAL file gets its name before its header is durable"""
    real = fs.AppendFile.sync

    def sync(self: fs.AppendFile) -> None:
        if not (self.path.parent.name == layout.WAL and self.length <= 64):
            real(self)

    fs.AppendFile.sync = sync  # type: ignore[method-assign]


def _without_dir_sync(skip: Callable[[Path], bool]) -> None:
    real = fs.sync_dir

    def sync_dir(path: Path) -> None:
        if not skip(path):
            real(path)

    fs.sync_dir = sync_dir


def no_wal_dir_sync() -> None:
    """a new WAL file without fsync of its directory"""
    _without_dir_sync(lambda path: path.name == layout.WAL)


def no_segment_dir_sync() -> None:
    """a segment's files without fsync of their directory"""
    _without_dir_sync(lambda path: path.parent.name == layout.SEGMENTS)


def no_segments_dir_sync() -> None:
    """a segment directory without fsync of its parent"""
    _without_dir_sync(lambda path: path.name == layout.SEGMENTS)


def no_collections_dir_sync() -> None:
    """a new collection without fsync of its parent after the rename"""
    _without_dir_sync(lambda path: path.name == layout.COLLECTIONS)


def no_segment_sync() -> None:
    """segment files are not synced before the commit"""
    real = builder.DataWriter._finish

    def finish(self: Any) -> Any:
        self._file.sync = lambda: None
        return real(self)

    builder.DataWriter._finish = finish  # type: ignore[method-assign]


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


def lmdb_without_sync() -> None:
    """LMDB opened with sync=False"""
    import lmdb

    real = lmdb.open

    def without_sync(*arguments: Any, **options: Any) -> Any:
        return real(*arguments, **{**options, "sync": False})

    lmdb.open = without_sync


def sources_removed_before_commit() -> None:
    """the optimizer removes its source segments before the commit that drops them"""
    real = catalog.Catalog.commit

    def commit(self: catalog.Catalog, change: catalog.Change) -> None:
        segments = self.path.parent.parent / layout.SEGMENTS
        for segment_id in change.drop:
            fs.remove_tree(segments / layout.segment_dir(segment_id))
        real(self, change)

    catalog.Catalog.commit = commit  # type: ignore[method-assign]


def build_forgets_the_dead() -> None:
    """the optimizer commits what lives now instead of what lived at applied_seq"""
    from vecdb.engine import build

    real = build._masks
    build._masks = lambda store, sources, *, committed: real(store, sources, committed=False)


def checkpoint_of_later_masks() -> None:
    """a checkpoint moves applied_seq beyond the operations its segments hold"""
    real = catalog.Catalog.commit

    def commit(self: catalog.Catalog, change: catalog.Change) -> None:
        if change.add:
            change.applied_seq += 1
        real(self, change)

    catalog.Catalog.commit = commit  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (
        no_wal_sync,
        no_wal_header_sync,
        no_wal_dir_sync,
        no_segment_dir_sync,
        no_segments_dir_sync,
        no_collections_dir_sync,
        no_segment_sync,
        collection_in_place,
        retire_before_commit,
        lmdb_without_sync,
        sources_removed_before_commit,
        build_forgets_the_dead,
        checkpoint_of_later_masks,
    )
}


if __name__ == "__main__":
    MUTANTS[sys.argv[1]]()
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
