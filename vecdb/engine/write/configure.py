"""Configuration: of a new collection, and changes to an open one."""

from __future__ import annotations

from typing import Any

import msgspec

from vecdb import models
from vecdb.engine.commit import committing
from vecdb.engine.schema import schema_of, vector_schema
from vecdb.engine.signals import Uninterrupted
from vecdb.engine.store import Store
from vecdb.errors import InvalidInputError
from vecdb.storage.catalog import Change


def new_config(
    vectors_config: Any,
    quantization_config: Any = None,
    optimizers_config: Any = None,
    hnsw_config: Any = None,
    wal_config: Any = None,
    on_disk_payload: bool | None = None,
) -> models.CollectionConfig:
    """The configuration of a new collection. Raises InvalidInputError."""
    config = models.CollectionConfig(
        params=models.CollectionParams(
            vectors=models.parse_vectors_config(vectors_config), on_disk_payload=on_disk_payload
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
    )
    return models.coerce(models.CollectionConfig, config, "configuration")


def update_config(
    store: Store,
    optimizers_config: Any,
    hnsw_config: Any,
    quantization_config: Any,
    vectors_config: Any,
) -> None:
    """Commit a changed configuration, and open again the segments whose placements it changes."""
    optimizers = models.coerce(models.OptimizersConfigDiff, optimizers_config, "optimizers_config")
    hnsw = models.coerce(models.HnswConfigDiff, hnsw_config, "hnsw_config")
    quantization = models.parse_quantization_config_diff(quantization_config)
    store.require_outside()
    with store.maintenance:
        old = store.config
        if quantization is None:
            quantization = old.quantization_config
        config = models.CollectionConfig(
            params=models.CollectionParams(
                vectors=_changed_vectors(old, vectors_config, store),
                on_disk_payload=old.params.on_disk_payload,
            ),
            hnsw_config=models.merge(old.hnsw_config, hnsw),
            optimizer_config=models.merge(old.optimizer_config, optimizers),
            wal_config=old.wal_config,
            quantization_config=None if quantization is models.Disabled.DISABLED else quantization,
        )
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
    named = {"": vectors} if isinstance(vectors, models.VectorParams) else dict(vectors)
    for name, change in vectors_config.items():
        vector_schema(store.schema, name)
        diff = models.coerce(models.VectorParamsDiff, change, f"vectors_config[{name!r}]")
        changes = {
            field: getattr(diff, field)
            for field in ("on_disk", "quantization_config", "hnsw_config")
            if getattr(diff, field) is not None
        }
        if changes.get("quantization_config") is models.Disabled.DISABLED:
            changes["quantization_config"] = None
        named[name] = msgspec.structs.replace(named[name], **changes)
    return named[""] if isinstance(vectors, models.VectorParams) else named


def _commit(store: Store, config: models.CollectionConfig) -> None:
    """Commit under the maintenance lock. Opening files may fail, so it comes before the commit."""
    schema = schema_of(config)
    reopened = {}
    for segment_id, state in store.files.items():
        segment = state.segment
        placements = store.placements(segment.row, schema, config)
        if placements != segment.placements:
            reopened[segment_id] = segment.moved(placements)
    with Uninterrupted(), store.write:
        store.require_writable()
        change = Change(
            store.applied_seq,
            store.next_segment_id,
            live={i: state.committed_live for i, state in store.files.items()},
            config=models.to_builtins(config),
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
