"""Operations that look inside: what vecdb has and Qdrant's interface has no words for.

Where the bytes of collections are, segments with their indexes, and what each recall takes. The
page at ``/ui`` shows it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from vecdb import VecDB, __version__, errors, models
from vecdb.server.service import Service
from vecdb.server.table import Call, Right, operation


@operation(Right.READ)
async def overview(service: Service, call: Call) -> Any:
    """Show every collection: its state, its points, and where its bytes are."""
    await service.follow()
    database = service.database.database
    answer = await service.lanes.read(None, partial(_overview, database), call.timeout)
    peers = service.peers  # of which one may write, if this process does not
    read_only = service.settings.read_only if peers is None else peers.read_only
    return {"version": __version__, "read_only": read_only, **answer}


def _overview(database: VecDB) -> dict[str, Any]:
    aliases: dict[str, list[str]] = {}
    for each in database.get_aliases().aliases:
        aliases.setdefault(each.collection_name, []).append(each.alias_name)
    collections = []
    for name, report in sorted(database.memory_report()["collections"].items()):
        try:
            info = database.get_collection(name)
        except errors.NotFoundError:  # deleted meanwhile
            continue
        collections.append(
            {
                "name": name,
                "aliases": aliases.get(name, []),
                "status": info.status,
                "points_count": info.points_count,
                "segments_count": info.segments_count,
                "vectors": models.to_builtins(info.config.params.vectors),
                "bytes": report["total"],
            }
        )
    # Why they are damaged is said by each of them, and not to everybody.
    return {"collections": collections, "damaged": sorted(database.damaged)}


@operation(Right.READ)
async def inspect(service: Service, call: Call) -> Any:
    """Show all of a collection's state: segments, indexes and what each recall takes, the
    optimizer's progress, damaged files."""
    collection = await service.current(call.collection)
    info = await service.lanes.read((call.collection, "info"), collection.info, call.timeout)
    for damaged in info.damaged_files:
        segment, name = Path(damaged.path).parts[-2:]
        damaged.path = f"{segment}/{name}"  # not where this machine has its databases
    return info


@operation(Right.READ)
async def memory_report(service: Service, call: Call) -> Any:
    """Show where the bytes of each part of a collection are: in files, in private memory, mapped,
    and how much of that is resident."""
    collection = await service.current(call.collection)
    return await service.lanes.read(None, collection.memory_report, call.timeout)
