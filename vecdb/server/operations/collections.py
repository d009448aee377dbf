"""Operations on collections and on their configuration."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from vecdb import models
from vecdb.server.requests import Bound, Fields, check_new_name, drop_or_refuse
from vecdb.server.service import Service
from vecdb.server.status import (
    EXISTS,
    OUT_OF_RANGE,
    WRONG,
    Refusal,
    malformed,
    not_supported,
    out_of_range,
)
from vecdb.server.table import Call, Right, operation

_CLUSTER = (
    Bound("shard_number", 1),
    Bound("replication_factor", 1),
    Bound("write_consistency_factor", 1),
    Bound("read_fan_out_factor", 1),
    Bound("read_fan_out_delay_ms", 1),
)
_HNSW = (
    ("ef_construct", 4, None),
    ("full_scan_threshold", 10, None),
    ("m", 0, None),
    ("payload_m", 0, None),
)
_CONFIG = (
    *(Bound(f"hnsw_config.{name}", low, high) for name, low, high in _HNSW),
    *(Bound(f"vectors.hnsw_config.{name}", low, high) for name, low, high in _HNSW),
    *(Bound(f"vectors.*.hnsw_config.{name}", low, high) for name, low, high in _HNSW),
    Bound("quantization_config.scalar.quantile", 0.5, 1.0),
    Bound("vectors.quantization_config.scalar.quantile", 0.5, 1.0),
    Bound("vectors.*.quantization_config.scalar.quantile", 0.5, 1.0),
    Bound("optimizers_config.deleted_threshold", 0.0, 1.0),
    Bound("optimizers_config.vacuum_min_vector_number", 100),
    Bound("optimizers_config.max_segment_size", 1),
    Bound("wal_config.wal_capacity_mb", 1),
    Bound("wal_config.wal_retain_closed", 1),
)
_ALIASES = {"quantization": "quantization_config", "optimizer_config": "optimizers_config"}
_OF_OPTIMIZERS = ("max_segment_size", "memmap_threshold", "indexing_threshold")

CREATE = Fields(
    "vectors",
    "sparse_vectors",
    "hnsw_config",
    "optimizers_config",
    "wal_config",
    "quantization_config",
    "on_disk_payload",
    "payload",
    "id_tracker",
    "strict_mode_config",
    "metadata",
    "init_from",
    *("sharding_method", "shard_number", "replication_factor", "write_consistency_factor"),
    ignored=("timeout",),
    aliases=_ALIASES,
    renamed={"vectors": "vectors_config", "sparse_vectors": "sparse_vectors_config"},
    bounds=(
        Bound("vectors.size", 1, 65_536),
        Bound("vectors.*.size", 1, 65_536),
        *_CLUSTER,
        *_CONFIG,
    ),
)
UPDATE = Fields(
    "vectors",
    "hnsw_config",
    "optimizers_config",
    "quantization_config",
    "params",
    "sparse_vectors",
    "strict_mode_config",
    "metadata",
    ignored=("timeout",),
    aliases=_ALIASES,
    renamed={
        "vectors": "vectors_config",
        "sparse_vectors": "sparse_vectors_config",
        "params": "collection_params",
    },
    bounds=(*_CONFIG, *(Bound(f"params.{bound.path}", bound.low) for bound in _CLUSTER)),
)
INDEX = Fields("field_schema", "field_type", required=("field_name",))
VECTOR_NAME = Fields(*("dense", "sparse", "multi_dense"), bounds=(Bound("dense.size", 1, 65_536),))


@operation(Right.READ)
async def list_collections(service: Service, call: Call) -> Any:
    """List the collections."""
    await service.follow()
    found = await service.database.get_collections()
    return {"collections": [{"name": each.name} for each in found.collections]}


@operation(Right.READ)
async def collection_exists(service: Service, call: Call) -> Any:
    """Say whether there is a collection of that name or alias."""
    await service.follow()
    return {"exists": await service.database.collection_exists(call.collection)}


@operation(Right.READ, at_writer=True)
async def get_collection(service: Service, call: Call) -> Any:
    """Show the configuration and state of a collection."""
    collection = await service.current(call.collection)
    info = await service.lanes.read(
        (call.collection, "info"), collection.info, timeout=call.timeout
    )
    return shown(info)


def shown(info: models.CollectionInfo) -> dict[str, Any]:
    """A collection in the shape of Qdrant's server."""
    plain = models.to_builtins(info)
    config = plain["config"]
    config["params"] = {
        "vectors": {},
        "shard_number": 1,
        "replication_factor": 1,
        "write_consistency_factor": 1,
        "on_disk_payload": True,
        **config["params"],
    }
    optimizers = config["optimizer_config"]
    for own in ("recall", "automatic_indexes"):
        optimizers.pop(own, None)
    for name in (*_OF_OPTIMIZERS, "max_optimization_threads"):
        optimizers.setdefault(name, None)
    config.setdefault("quantization_config", None)
    config.pop("payload_schema", None)
    answer = {
        "status": plain["status"],
        "optimizer_status": plain["optimizer_status"],
        "vectors_count": plain["vectors_count"],
        "indexed_vectors_count": plain["indexed_vectors_count"],
        "points_count": plain["points_count"],
        "segments_count": max(1, plain["segments_count"]),
        "config": config,
        "payload_schema": plain["payload_schema"],
        "update_queue": {"length": 0},
    }
    if plain["warnings"]:
        answer["warnings"] = plain["warnings"]
    return answer


@operation(Right.MANAGE, CREATE)
async def create_collection(service: Service, call: Call) -> Any:
    """Make a collection."""
    check_new_name(call.collection)
    given = _without_old_names(CREATE.read(call.body))
    _check_storage(given, "")
    database = service.database.database
    if database.collection_exists(call.collection):
        if all(call.collection != each.name for each in database.get_collections().collections):
            raise Refusal(WRONG, f"Wrong input: Alias `{call.collection}` already exists!")
        text = f"Wrong input: Collection `{call.collection}` already exists!"
        raise Refusal(EXISTS, text)
    given.setdefault("vectors_config", {})
    created = service.database.create_collection(call.collection, **given)
    return await service.within(call.timeout, created)


def _check_storage(params: Any, where: str) -> None:
    """Where payloads and ids are to be. Payloads can be pinned here; but what Qdrant refuses is
    refused."""
    for part in ("payload", "id_tracker"):
        said = params.get(part) if isinstance(params, dict) else None
        if not isinstance(said, dict):
            continue
        for key in [key for key in said if key != "memory"]:
            drop_or_refuse(key, f"{where}{part}.", "memory")
            del said[key]
        if part == "payload" and said.get("memory") == "pinned":
            problem = "`pinned` memory placement is not supported for payload storage"
            raise out_of_range([f"{where}payload.memory: {problem}"])


def _without_old_names(given: dict[str, Any]) -> dict[str, Any]:
    """The sizes of an optimizer with the unit in their name, without it."""
    sizes = given.get("optimizers_config")
    if isinstance(sizes, dict):
        given["optimizers_config"] = {
            key[:-3] if key.endswith("_kb") and key[:-3] in _OF_OPTIMIZERS else key: value
            for key, value in sizes.items()
        }
    hnsw = given.get("hnsw_config")
    if isinstance(hnsw, dict) and "full_scan_threshold_kb" in hnsw:
        hnsw = dict(hnsw)
        hnsw["full_scan_threshold"] = hnsw.pop("full_scan_threshold_kb")
        given["hnsw_config"] = hnsw
    return given


@operation(Right.WRITE, UPDATE)
async def update_collection(service: Service, call: Call) -> Any:
    """Change the configuration of a collection."""
    service.collection(call.collection)
    given = _without_old_names(UPDATE.read(call.body))
    if given.pop("strict_mode_config", None):
        raise not_supported("strict_mode_config")
    _check_storage(given.get("collection_params"), "params.")
    changed = service.database.update_collection(call.collection, **given)
    return await service.within(call.timeout, changed)


@operation(Right.MANAGE)
async def delete_collection(service: Service, call: Call) -> Any:
    """Remove a collection."""
    return await service.within(call.timeout, service.database.delete_collection(call.collection))


@operation(Right.WRITE, INDEX)
async def create_payload_index(service: Service, call: Call) -> Any:
    """Say of which type a field of the payload is."""
    service.collection(call.collection)
    given = INDEX.read(call.body)
    schema = given.get("field_schema")
    if isinstance(schema, dict) and schema.get("lookup") is schema.get("range") is False:
        problem = "the 'lookup' and 'range' capabilities can't be both disabled"
        raise Refusal(OUT_OF_RANGE, f"Validation error: {problem}")
    done = await service.within(
        call.timeout, service.database.create_payload_index(call.collection, **given)
    )
    return _told(call, done)


@operation(Right.WRITE)
async def delete_payload_index(service: Service, call: Call) -> Any:
    """Take back what was said of a field of the payload."""
    service.collection(call.collection)
    done = await service.within(
        call.timeout, service.database.delete_payload_index(call.collection, call.item)
    )
    return _told(call, done)


@operation(Right.WRITE, VECTOR_NAME)
async def create_vector_name(service: Service, call: Call) -> Any:
    """Add a vector to a collection."""
    service.collection(call.collection)
    given = VECTOR_NAME.read(call.body)
    if not given:
        raise malformed("expected the configuration of a vector, such as `dense`")
    done = await service.within(
        call.timeout,
        service.database.create_vector_name(call.collection, call.item, given),
    )
    return _told(call, done)


@operation(Right.WRITE)
async def delete_vector_name(service: Service, call: Call) -> Any:
    """Take a vector from a collection."""
    service.collection(call.collection)
    done = await service.within(
        call.timeout, service.database.delete_vector_name(call.collection, call.item)
    )
    return _told(call, done)


def _told(call: Call, done: models.UpdateResult) -> dict[str, Any]:
    status = "completed" if call.wait else "acknowledged"
    return {"operation_id": done.operation_id, "status": status}


@operation(Right.READ, at_writer=True)
async def optimizations(service: Service, call: Call) -> Any:
    """Show what the optimizer has done and has to do."""
    await service.follow()
    wanted = [each.strip() for each in call.options.get("with", "").split(",") if each.strip()]
    for each in wanted:
        if each not in ("queued", "completed", "idle_segments"):
            raise Refusal(WRONG, f"Wrong input: Unknown field in 'with' parameter: {each}")
    collection = service.collection(call.collection)
    info = await service.lanes.read((call.collection, "info"), collection.info, call.timeout)
    progress = info.optimizer_progress
    segments = [_segment(each) for each in info.segments] or [_segment(None)]
    running = [] if progress.running is None else [_running(progress, segments)]
    queued = [] if progress.pending is None else [{"optimizer": progress.pending, "segments": []}]
    answer: dict[str, Any] = {
        "summary": {
            "queued_optimizations": len(queued),
            "queued_segments": 0,
            "queued_points": 0,
            "idle_segments": 0 if running else len(segments),
        },
        "running": running,
    }
    found = {"queued": queued, "completed": [], "idle_segments": [] if running else segments}
    return answer | {name: found[name] for name in wanted}


def _segment(segment: models.SegmentInfo | None) -> dict[str, Any]:
    number = 0 if segment is None else int(segment.id, 16)
    return {
        "uuid": str(uuid.UUID(int=number & ((1 << 128) - 1))),
        "points_count": 0 if segment is None else segment.points,
    }


def _running(progress: models.OptimizerProgress, segments: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "uuid": str(uuid.UUID(int=progress.completed + 1)),
        "optimizer": progress.running,
        "status": "optimizing",
        "segments": segments,
        "progress": {
            "name": progress.running,
            "done": progress.rows_done,
            "total": progress.rows_total,
        },
    }


_LEAF = {
    "disk_bytes": "file",
    "ram_bytes": "anonymous",
    "cached_bytes": "resident",
    "expected_cache_bytes": "mapped",
}
_OF_VECTOR = {
    "storage": ("originals",),
    "index": ("sketches", "indexes"),
    "quantized": ("codes", "quantizers"),
}


@operation(Right.READ, at_writer=True)
async def memory(service: Service, call: Call) -> Any:
    """Show where the bytes of a collection are."""
    collection = await service.current(call.collection)
    report = await service.lanes.read(None, collection.memory_report, call.timeout)
    info = await service.lanes.read((call.collection, "info"), collection.info, call.timeout)
    parts, sparse = report["parts"], info.config.params.sparse_vectors or {}
    vectors = {
        name: {"name": name, **{key: _leaf(own, *names) for key, names in _OF_VECTOR.items()}}
        for name, own in report["vectors"].items()
    }
    return {
        "total": _leaf(parts, *parts),
        "vectors": [each for name, each in vectors.items() if name not in sparse],
        "sparse_vectors": [each for name, each in vectors.items() if name in sparse],
        "payload": _leaf(parts, "payload"),
        "payload_index": [
            {"name": field, "index": _leaf({field: figures}, field)}
            for field, figures in report["columns"].items()
        ],
        "other": {
            "id_tracker": _leaf(parts, "ids", "seqs", "masks"),
            "memory_segment": _leaf(parts, "memory_segment"),
        },
    }


def _leaf(parts: Mapping[str, Mapping[str, int]], *names: str) -> dict[str, int]:
    """The bytes of some parts, as far as there are any, in Qdrant's words."""
    figures = [parts[name] for name in names if name in parts]
    return {key: sum(each[figure] for each in figures) for key, figure in _LEAF.items()}
