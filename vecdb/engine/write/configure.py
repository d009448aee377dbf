"""Configuration: of a new collection, and changes to an open one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from vecdb import models
from vecdb.engine.columns import fields_of
from vecdb.engine.commit import committing
from vecdb.engine.pins import settle
from vecdb.engine.schema import dense_by_name, dense_of, schema_of, vector_schema
from vecdb.engine.signals import Uninterrupted
from vecdb.engine.store import Store
from vecdb.errors import InvalidInputError
from vecdb.payload import columns, encoding
from vecdb.payload.paths import parse_path
from vecdb.payload.texts import tokenizer
from vecdb.storage import fs
from vecdb.storage.catalog import Change, require_storable
from vecdb.storage.files import COLUMN
from vecdb.storage.payload_edits import rows_of
from vecdb.storage.segment_row import SegmentRow


def new_config(
    vectors_config: Any,
    sparse_vectors_config: Any = None,
    quantization_config: Any = None,
    optimizers_config: Any = None,
    hnsw_config: Any = None,
    wal_config: Any = None,
    on_disk_payload: Any = None,
    metadata: Any = None,
    payload: Any = None,
    id_tracker: Any = None,
) -> models.CollectionConfig:
    """The configuration of a new collection. Raises InvalidInputError."""
    config = models.CollectionConfig(
        params=models.CollectionParams(
            vectors=models.parse_vectors_config(vectors_config),
            sparse_vectors=models.parse_sparse_vectors_config(sparse_vectors_config),
            on_disk_payload=on_disk_payload,
            payload=_storage(models.PayloadStorageParams, payload, "payload"),
            id_tracker=_storage(models.IdTrackerParams, id_tracker, "id_tracker"),
        ),
        hnsw_config=models.merge(
            models.HnswConfig(), models.coerce(models.HnswConfigDiff, hnsw_config, "hnsw_config")
        ),
        optimizer_config=models.merge(
            models.OptimizersConfig(),
            models.coerce(models.OptimizersConfigDiff, optimizers_config, "optimizers_config"),
        ),
        wal_config=models.merge(
            models.WalConfig(), models.coerce(models.WalConfigDiff, wal_config, "wal_config")
        ),
        quantization_config=models.parse_quantization_config(quantization_config),
        metadata=None if metadata is None else _plain(metadata),
    )
    config = models.coerce(models.CollectionConfig, config, "configuration")
    require_storable(models.to_builtins(config))
    return config


def _storage(kind: Any, value: Any, what: str) -> Any:
    return None if value is None else models.coerce(kind, value, what)


def update_config(
    store: Store,
    optimizers_config: Any,
    hnsw_config: Any,
    quantization_config: Any,
    vectors_config: Any,
    sparse_vectors_config: Any = None,
    metadata: Any = None,
    collection_params: Any = None,
) -> None:
    """Commit a changed configuration, and open again the segments whose placements it changes."""
    optimizers = models.coerce(models.OptimizersConfigDiff, optimizers_config, "optimizers_config")
    hnsw = models.coerce(models.HnswConfigDiff, hnsw_config, "hnsw_config")
    quantization = models.parse_quantization_config_diff(quantization_config)
    additions = {} if metadata is None else _plain(metadata)
    params = models.coerce(models.CollectionParamsDiff, collection_params, "collection_params")
    moved = {
        field: getattr(params, field)
        for field in ("on_disk_payload", "payload", "id_tracker")
        if getattr(params, field) is not None
    }

    def changed(old: models.CollectionConfig) -> models.CollectionConfig:
        new_codes = old.quantization_config if quantization is None else quantization
        return msgspec.structs.replace(
            old,
            params=msgspec.structs.replace(
                old.params,
                vectors=_changed_vectors(old, vectors_config, store),
                sparse_vectors=models.changed_sparse_vectors(
                    old.params.sparse_vectors, sparse_vectors_config
                ),
                **moved,
            ),
            hnsw_config=models.merge(old.hnsw_config, hnsw),
            optimizer_config=models.merge(old.optimizer_config, optimizers),
            quantization_config=None if new_codes is models.Disabled.DISABLED else new_codes,
            metadata=_merged(old.metadata, additions),
        )

    _change(store, changed)


def set_payload_index(store: Store, field: Any, schema: Any) -> None:
    """Commit that a field of the payload is of a type. Nothing to do if that is known."""
    name, given = _field_name(field), models.parse_field_schema(schema)
    if isinstance(given, models.TextIndexParams):
        tokenizer(given)  # it refuses what is not installed

    def changed(old: models.CollectionConfig) -> models.CollectionConfig | None:
        known = old.payload_schema or {}
        if known.get(name) == given:
            return None
        return msgspec.structs.replace(old, payload_schema={**known, name: given})

    _change(store, changed)


def drop_payload_index(store: Store, field: Any) -> None:
    """Commit that nothing is said of a field of the payload, and that no segment has a column of
    it; then remove these. Nothing to do if that is so."""
    name = _field_name(field)
    path = columns.canonical(name)
    store.require_outside()
    with store.maintenance:
        store.require_writable()
        schema = dict(store.config.payload_schema or {})
        said = schema.pop(name, None) is not None
        config = msgspec.structs.replace(store.config, payload_schema=schema or None)
        rows: dict[int, SegmentRow] = {}
        if path not in fields_of(config, ()):  # in another spelling
            with store.write:
                store.demand.forget(path)
                store.automatic -= {path}
                store.publish()  # or its columns in memory went on, and it was never asked for
            for segment_id, state in store.files.items():
                if path in state.segment.row.columns:
                    rows[segment_id] = state.segment.row.without_column(path)
        if not said and not rows:
            return
        with store.changing():
            store.require_in_place()
            _commit(store, config, rows)
            for segment_id in rows:
                fs.discard(store.files[segment_id].segment.path / COLUMN.file(path))


def _field_name(field: Any) -> str:
    if not isinstance(field, str):
        raise InvalidInputError(f"field_name: expected a string, got {type(field).__name__}")
    parse_path(field, "field_name")
    return str.__str__(field)


def _plain(metadata: Any) -> dict[str, Any]:
    """Metadata as it will be stored: plain JSON."""
    if not isinstance(metadata, dict):
        raise InvalidInputError(f"metadata: expected a dict, got {type(metadata).__name__}")
    try:
        return encoding.decode(encoding.encode(metadata))
    except InvalidInputError as error:
        raise InvalidInputError(f"metadata: {str(error).removeprefix('payload: ')}") from None


def _merged(old: dict[str, Any] | None, additions: dict[str, Any]) -> dict[str, Any] | None:
    """Metadata with some keys set, and those taken away that are set to None."""
    if not additions:
        return old
    gone = {key for key, value in additions.items() if value is None}
    return {k: v for k, v in {**(old or {}), **additions}.items() if k not in gone}


def _change(
    store: Store, change: Callable[[models.CollectionConfig], models.CollectionConfig | None]
) -> None:
    """Commit what ``change`` makes of the configuration; None: it stays as it is."""
    store.require_outside()
    with store.maintenance:
        store.require_writable()
        config = change(store.config)
        if config is None:
            return
        require_storable(models.to_builtins(config))
        with store.changing():
            store.require_in_place()
            _commit(store, config)


def _changed_vectors(old: models.CollectionConfig, vectors_config: Any, store: Store) -> Any:
    vectors = old.params.vectors
    if vectors_config is None:
        return vectors
    if not isinstance(vectors_config, dict):
        raise InvalidInputError(
            f"vectors_config: expected a dict by vector name, got {type(vectors_config).__name__}"
        )
    named = dense_by_name(old)
    for name, change in vectors_config.items():
        vector_schema(dense_of(store.schema), name)
        diff = models.coerce(models.VectorParamsDiff, change, f"vectors_config[{name!r}]")
        changes = {
            field: getattr(diff, field)
            for field in ("on_disk", "memory", "quantization_config", "hnsw_config")
            if getattr(diff, field) is not None
        }
        if changes.get("quantization_config") is models.Disabled.DISABLED:
            changes["quantization_config"] = None
        named[name] = msgspec.structs.replace(named[name], **changes)
    return named[""] if isinstance(vectors, models.VectorParams) else named


def _commit(
    store: Store, config: models.CollectionConfig, rows: Mapping[int, SegmentRow] | None = None
) -> None:
    """Commit under the maintenance lock; ``rows``: of segments that change with it. Opening files
    may fail, so it comes before the commit."""
    schema, rows = schema_of(config), rows or {}
    reopened = {}
    for segment_id, state in store.files.items():
        segment = state.segment
        placements = store.placements(segment.row, schema, config, segment)
        if segment_id in rows:
            reopened[segment_id] = store.open_segment(rows[segment_id], segment, config)
        elif placements != segment.placements:
            reopened[segment_id] = segment.moved(placements)
    with Uninterrupted(), store.write:
        store.require_writable()
        change = Change(
            store.applied_seq,
            store.next_segment_id,
            live={i: state.committed_live for i, state in store.files.items()},
            config=models.to_builtins(config),
            add=[row.with_edits(rows_of(store.files[i].edits.files)) for i, row in rows.items()],
        )
        with committing(store, change):
            store.config, store.schema = config, schema
            for segment_id, segment in reopened.items():
                store.files[segment_id].segment = segment
            store.publish()
        try:
            store.start_wal_file()  # the log can then tell an older configuration from this one
        except OSError:
            pass
    settle(store)
