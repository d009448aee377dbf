"""Vector names that come to a collection, and go.

    checkpoint   everything goes to segment files: the log has no operation that is made for the
                 names before. Twice, the second time under the write lock, of what came meanwhile
    commit       the configuration, and, if a name goes, the rows of all segments that have it,
                 without it and its files: one transaction                           (write lock)
    publish      views know the new names; a new memory segment has them
    log          a new WAL file: who has read the catalog before finds in its header that it is
                 of a later one
    retire       the files of a name that went are removed

A crash before the commit changes nothing; after it, files are there that the catalog does not list,
and the next open removes them. Segments are not written anew: one that was built before a name came
has nothing of it (``FileSegment.lacking``). A build that is under way is given up at its commit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vecdb import models
from vecdb.engine.commit import committing
from vecdb.engine.pins import settle
from vecdb.engine.schema import VectorsByName, schema_of, vectors_by_name, with_vectors
from vecdb.engine.signals import Uninterrupted
from vecdb.engine.store import Store
from vecdb.engine.write.checkpoint import checkpoint_held, is_due
from vecdb.errors import InvalidInputError
from vecdb.models.validation import read
from vecdb.storage import files, fs
from vecdb.storage.catalog import Change, require_storable
from vecdb.storage.payload_edits import rows_of
from vecdb.storage.segment_row import SegmentRow


def add_vector_name(store: Store, name: Any, config: Any) -> None:
    """Commit a new vector name, which no point has yet. Nothing to do if there is one like it.
    Raises InvalidInputError if there is another of that name."""
    added = read(models.VectorName, name, "vector_name")
    params = models.parse_vector_name_config(config)
    if isinstance(params, models.SparseVectorParams) and not added:
        raise InvalidInputError("vector_name: expected a name of a sparse vector, got an empty one")
    store.require_outside()
    with store.maintenance:
        store.require_writable()
        named = vectors_by_name(store.config)
        if added in named:
            known = named[added]
            if _meaning(known) != _meaning(params):
                raise InvalidInputError(
                    f"vector_name: {added!r} is there already, {_meaning(known)}"
                )
            return
        _change(store, {**named, added: params}, None)


def _meaning(params: models.VectorParams | models.SparseVectorParams) -> str:
    """What of a vector cannot change."""
    if isinstance(params, models.SparseVectorParams):
        return f"sparse, with modifier {(params.modifier or models.Modifier.NONE).value}"
    many = "" if params.multivector_config is None else "of many vectors "
    datatype = models.Datatype.FLOAT32 if params.datatype is None else params.datatype
    narrow = "" if datatype is models.Datatype.FLOAT32 else f" and datatype {datatype.value}"
    return f"{many}with size {params.size} and distance {params.distance.value}{narrow}"


def remove_vector_name(store: Store, name: Any) -> None:
    """Commit that a vector name is gone, with all of its vectors. Nothing to do if there is none
    of that name."""
    removed = read(models.VectorName, name, "vector_name")
    store.require_outside()
    with store.maintenance:
        store.require_writable()
        named = vectors_by_name(store.config)
        if removed not in named:
            return
        _change(store, {n: v for n, v in named.items() if n != removed}, removed)


def _change(store: Store, named: VectorsByName, removed: str | None) -> None:
    """Under the maintenance lock."""
    config = with_vectors(store.config, named)
    require_storable(models.to_builtins(config))
    with store.changing(), fs.raising_storage_full(store.path):
        store.require_in_place()
        if is_due(store):
            checkpoint_held(store)
        with Uninterrupted(), store.write:
            if is_due(store):
                checkpoint_held(store)
            gone = _commit(store, config, removed)
        settle(store)
        for path in gone:
            fs.discard(path)


def _commit(store: Store, config: models.CollectionConfig, removed: str | None) -> list[Path]:
    """Under both locks, with nothing in memory. Opening files may fail, so it comes before the
    commit. Returns the files of the name that is gone."""
    store.require_writable()
    assert not store.memory.rows
    rows: dict[int, SegmentRow] = {}
    gone: list[Path] = []
    for segment_id, state in store.files.items():
        row = state.segment.row
        if removed is not None and removed in row.vectors:
            names = [name for name in files.of_vector(removed) if name in row.files]
            rows[segment_id] = row.without(removed, names)
            gone += [state.segment.path / name for name in names]
    segments = {
        segment_id: store.open_segment(
            rows.get(segment_id, state.segment.row), state.segment, config
        )
        for segment_id, state in store.files.items()
    }
    change = Change(
        store.applied_seq,
        store.next_segment_id,
        live={i: state.committed_live for i, state in store.files.items()},
        config=models.to_builtins(config),
        add=[row.with_edits(rows_of(store.files[i].edits.files)) for i, row in rows.items()],
    )
    with committing(store, change):
        store.config, store.schema = config, schema_of(config)
        store.renamed += 1
        for segment_id, segment in segments.items():
            store.files[segment_id].segment = segment
        store.memory = store.new_memory()
        store.publish()
    try:
        store.start_wal_file()
    except OSError as error:
        store.fail(f"the log could not be begun anew after the vector names changed: {error}")
    return gone
