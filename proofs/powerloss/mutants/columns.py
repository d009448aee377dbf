"""Bugs in what becomes of the columns of fields that have an index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proofs.mutants import put
from proofs.powerloss.mutants.registry import caught_by, without_dir_sync, without_file_sync
from vecdb.engine import sources
from vecdb.engine.optimize import build
from vecdb.engine.read import bounds
from vecdb.engine.write import checkpoint, configure
from vecdb.storage import fs, layout
from vecdb.storage.builder import SegmentBuilder
from vecdb.storage.files import COLUMN


@caught_by("columns", "columns-merge")
def no_column_sync() -> None:
    """a column is not synced before the commit"""
    without_file_sync(lambda path: layout.is_column(path.name))


@caught_by("columns")
def no_column_dir_sync() -> None:
    """a column without fsync of its directory"""
    without_dir_sync(lambda path: any(path.glob("column.*")))


@caught_by("columns")
def columns_removed_before_commit() -> None:
    """columns are removed before the commit of the index that is dropped"""
    real = configure._commit

    def commit(store: Any, config: Any, rows: Any = None) -> None:
        for segment_id, row in (rows or {}).items():
            segment = store.files[segment_id].segment
            for field in segment.row.columns.keys() - row.columns.keys():
                fs.discard(segment.path / COLUMN.file(field))
        real(store, config, rows)

    put(configure, "_commit", commit)


@caught_by("columns", "columns-merge")
def columns_of_other_rows() -> None:
    """a new segment has the columns of its rows in the order of before"""

    class Turned:
        def __init__(self, builder: SegmentBuilder) -> None:
            self.add_column, self.columns = builder.add_column, builder.columns
            self._builder = builder

        def payloads(self) -> Iterator[Any]:
            first, *others = self._builder.payloads()
            return iter([*others, first])

    real: Any = sources.add_columns
    for module in (build, checkpoint):
        put(module, "add_columns", lambda builder, *rest: real(Turned(builder), *rest))


@caught_by("columns", "columns-merge")
def columns_ignore_edits() -> None:
    """a column answers for rows whose payload was edited since"""
    put(bounds, "of_edits", lambda *_: iter(()))
