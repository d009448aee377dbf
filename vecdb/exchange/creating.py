"""Creating a collection like another: configuration and payload indexes."""

from __future__ import annotations

from typing import Any

import msgspec

from vecdb.database import VecDB
from vecdb.models import CollectionConfig


def create_like(db: VecDB, name: str, config: CollectionConfig) -> None:
    """Make an empty collection of this configuration."""
    db.create_collection(
        name,
        config.params.vectors,
        quantization_config=config.quantization_config,
        optimizers_config=_said(config.optimizer_config),
        hnsw_config=_said(config.hnsw_config),
        wal_config=_said(config.wal_config),
        on_disk_payload=config.params.on_disk_payload,
        payload=config.params.payload,
        id_tracker=config.params.id_tracker,
        metadata=config.metadata,
        sparse_vectors_config=config.params.sparse_vectors,
    )
    for field, schema in (config.payload_schema or {}).items():
        db.create_payload_index(name, field, schema, wait=False)


def _said(part: Any) -> dict[str, Any]:
    """What is said in a part of a configuration."""
    return {name: value for name, value in msgspec.to_builtins(part).items() if value is not None}
