"""Operations with an answer that hardly changes: what this server is, and that it is alone."""

from __future__ import annotations

import shutil
from typing import Any

from vecdb.server.answers import Bare, Redirect, Text
from vecdb.server.pages import is_visit
from vecdb.server.service import Service
from vecdb.server.status import needs_cluster, not_supported
from vecdb.server.table import Call, Right, operation

COMMIT = "0" * 40
"""vecdb has none to name; programs expect one."""


@operation(Right.OPEN)
async def root(service: Service, call: Call) -> Any:
    """Say which server this is. Who looks at it with a browser is sent to the page."""
    if is_visit(call.headers):
        return Redirect("ui/")
    return Bare(
        {
            "title": "qdrant - vector search engine",
            "version": service.settings.api_version,
            "commit": COMMIT,
        }
    )


@operation(Right.READ)
async def describe(service: Service, call: Call) -> Any:
    """Describe the operations, in the form of OpenAPI."""
    return Bare(service.description)


@operation(Right.OPEN)
async def health(service: Service, call: Call) -> Any:
    """Say that the server is there."""
    return Text("healthz check passed")


@operation(Right.OPEN)
async def readiness(service: Service, call: Call) -> Any:
    """Say whether all collections can be used."""
    if service.stopping or service.database.damaged or not service.has_writer:
        return Text("some shards are not ready", http_status=503)
    return Text("all shards are ready")


@operation(Right.READ)
async def list_issues(service: Service, call: Call) -> Any:
    """List what should be looked after: nothing ever is."""
    return {"issues": []}


@operation(Right.MANAGE)
async def clear_issues(service: Service, call: Call) -> Any:
    """Forget what should be looked after."""
    return True


@operation(Right.READ)
async def get_quotas(service: Service, call: Call) -> Any:
    """Show that nothing is limited, and what is used of the machine, in percent."""
    import psutil

    disk = shutil.disk_usage(service.database.path)
    return {
        "config": {"enabled": False, "disk_usage": None, "memory_usage": None},
        "usage": {
            "disk_usage": round(100 * disk.used / max(1, disk.total), 2),
            "memory_usage": psutil.virtual_memory().percent,
        },
    }


@operation(Right.MANAGE)
async def set_quotas(service: Service, call: Call) -> Any:
    """Limit what may be used: not supported."""
    raise not_supported("a quota")


@operation(Right.READ)
async def cluster_status(service: Service, call: Call) -> Any:
    """Say that there is no cluster."""
    return {"status": "disabled"}


@operation(Right.READ)
async def cluster_telemetry(service: Service, call: Call) -> Any:
    """Say that there is no cluster."""
    return {"collections": {}, "cluster": None}


@operation(Right.READ)
async def collection_cluster(service: Service, call: Call) -> Any:
    """Show that all of a collection is here."""
    collection = await service.current(call.collection)
    return {
        "peer_id": 1,
        "shard_count": 1,
        "local_shards": [{"shard_id": 0, "points_count": len(collection), "state": "Active"}],
        "remote_shards": [],
        "shard_transfers": [],
    }


@operation(Right.READ)
async def list_shard_keys(service: Service, call: Call) -> Any:
    """List the keys of shards: there are none."""
    await service.current(call.collection)
    return {}


def _refuse(name: str, summary: str) -> None:
    async def refuse(service: Service, call: Call) -> Any:
        raise needs_cluster()

    refuse.__name__, refuse.__doc__ = name, summary
    operation(Right.MANAGE)(refuse)


for _name, _summary in {
    "recover_cluster": "Recover the state of a cluster: there is none.",
    "remove_peer": "Remove a machine from a cluster: there is none.",
    "update_collection_cluster": "Move a collection in a cluster: there is none.",
    "create_shard_key": "Make a shard: a collection is in one piece.",
    "delete_shard_key": "Remove a shard: a collection is in one piece.",
}.items():
    _refuse(_name, _summary)
