"""The operation that tells about the server: counts, sizes and times, at some level of detail."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from vecdb import Collection, errors
from vecdb.server.counters import GRPC, Durations
from vecdb.server.figures import Figures
from vecdb.server.operations.collections import shown
from vecdb.server.requests import whole
from vecdb.server.service import Service
from vecdb.server.status import WRONG, Refusal
from vecdb.server.table import Call, Right, operation

_MOST_DETAILED = 10


@operation(Right.READ, at_writer=True)
async def telemetry(service: Service, call: Call) -> Any:
    """Tell about the server, its collections and its requests."""
    level = _level(call.options.get("details_level", "0"))
    await service.follow()
    names = [each.name for each in service.database.database.get_collections().collections]
    figures = service.figures_of_all()
    answer: dict[str, Any] = {
        "id": service.id,
        "app": _app(service, level),
        "collections": {"number_of_collections": len(names)},
        "cluster": {"enabled": False},
        "requests": _requests(figures, call.options.get("per_collection") == "true"),
        "quota": {"enabled": False},
    }
    if level >= 1:
        answer["collections"]["collections"] = await service.lanes.read(
            None, lambda: list(_collections(service, names, level)), call.timeout
        )
        answer["collections"]["snapshots"] = []
        answer["memory"] = {
            "resident_bytes": figures.resident_bytes,
            "virtual_bytes": figures.virtual_bytes,
        }
        answer["hardware"] = {"collection_data": {}}
        answer["search_pool"] = {"lanes": figures.lanes}
    return answer


def _level(text: str) -> int:
    level = whole(text)
    if level is None:
        raise Refusal(WRONG, "Deserialize error in query parameters: details_level: not a number")
    return min(level, _MOST_DETAILED)


def _app(service: Service, level: int) -> dict[str, Any]:
    app: dict[str, Any] = {
        "name": "qdrant",
        "version": service.settings.api_version,
        "startup": service.started.isoformat().replace("+00:00", "Z"),
    }
    if level >= 1:
        app["features"] = {
            "debug": False,
            "service_debug_feature": False,
            "recovery_mode": False,
            "gpu": False,
            "rocksdb": False,
            "staging": False,
        }
        app["system"] = {"distribution": platform.system(), "cores": os.cpu_count()}
        app["jwt_rbac"] = False
        app["hide_jwt_dashboard"] = True
    return app


def _requests(figures: Figures, by_collection: bool) -> dict[str, Any]:
    responses: dict[str, dict[str, Any]] = {}
    calls: dict[str, dict[str, Any]] = {}
    for (method, path, status), durations in figures.requests.items():
        if method == GRPC:
            calls.setdefault(path, {})[str(status)] = _shown(durations)
        else:
            responses.setdefault(f"{method} {path}", {})[str(status)] = _shown(durations)
    rest: dict[str, Any] = {"responses": responses}
    grpc: dict[str, Any] = {"responses": calls}
    if by_collection:
        for protocol in (rest, grpc):
            protocol["per_collection_responses"] = {}
        for (method, path, status, name), durations in figures.by_collection.items():
            protocol, endpoint = (grpc, path) if method == GRPC else (rest, f"{method} {path}")
            apart = protocol["per_collection_responses"].setdefault(name, {})
            apart.setdefault(endpoint, {})[str(status)] = _shown(durations)
    return {"rest": rest, "grpc": grpc}


def _shown(durations: Durations) -> dict[str, Any]:
    last = datetime.fromtimestamp(durations.last, timezone.utc)
    return {
        "count": durations.count,
        "avg_duration_micros": durations.total / durations.count * 1e6,
        "min_duration_micros": durations.least * 1e6,
        "max_duration_micros": durations.most * 1e6,
        "total_duration_micros": round(durations.total * 1e6),
        "last_responded": last.isoformat().replace("+00:00", "Z"),
    }


def _collections(service: Service, names: list[str], level: int) -> Iterable[dict[str, Any]]:
    for name in names:
        try:
            collection = service.database.database.collection(name)
            yield _collection(name, collection, level)
        except errors.VecdbError:  # damaged, or deleted this moment
            continue


def _collection(name: str, collection: Collection, level: int) -> dict[str, Any]:
    info = collection.info()
    plain = shown(info)
    if level == 1:
        return {
            "vectors": plain["vectors_count"],
            "optimizers_status": plain["optimizer_status"],
            "params": plain["config"]["params"],
        }
    answer = {"id": name, "init_time_ms": 0, "config": plain["config"]}
    if level >= 3:
        parts = collection.memory_report()["parts"]
        local: dict[str, Any] = {
            "variant_name": "local",
            "status": plain["status"],
            "total_optimized_points": plain["indexed_vectors_count"],
            "vectors_size_bytes": sum(parts["originals"][each] for each in ("file", "anonymous")),
            "payloads_size_bytes": sum(parts["payload"][each] for each in ("file", "anonymous")),
            "num_points": plain["points_count"],
            "num_vectors": plain["vectors_count"],
            "num_vectors_by_name": {},
            "optimizations": {"status": plain["optimizer_status"]},
            "async_scorer": False,
            "update_queue": {"length": 0, "op_num": info.last_operation_id},
        }
        if level >= 4:
            local["segments"] = [
                {
                    "info": {"uuid": each.id, "num_points": each.points, "segment_type": each.kind},
                    "config": {},
                    "vector_index_searches": [],
                    "payload_field_indices": [],
                }
                for each in info.segments
            ]
            local["indexed_only_excluded_vectors"] = {}
        shard: dict[str, Any] = {
            "id": 0,
            "key": None,
            "local": local,
            "remote": [],
            "replicate_states": {"1": "Active"},
            "partial_snapshot": {"ongoing_create_snapshot_requests": 0, "is_recovering": False},
        }
        answer |= {"shards": [shard], "transfers": [], "resharding": []}
    return answer
