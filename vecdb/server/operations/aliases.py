"""Operations on other names of collections."""

from __future__ import annotations

from typing import Any

from vecdb import errors, models
from vecdb.server.requests import Fields, several
from vecdb.server.service import Service
from vecdb.server.status import no_collection
from vecdb.server.table import Call, Right, operation

UPDATE = Fields(required=("actions",))


@operation(Right.MANAGE, UPDATE)
async def update_aliases(service: Service, call: Call) -> Any:
    """Change aliases in one step: all of the changes, or none."""
    actions = several(call.body, "actions", 10_000)
    try:
        changed = service.database.update_collection_aliases(actions)
        return await service.within(call.timeout, changed)
    except errors.NotFoundError:
        for action in actions:
            name = (action.get("create_alias") or {}).get("collection_name")
            if name is not None and not await service.database.collection_exists(name):
                raise no_collection(name) from None
        raise


@operation(Right.READ)
async def list_aliases(service: Service, call: Call) -> Any:
    """List the aliases of all collections."""
    await service.follow()
    return models.to_builtins(await service.database.get_aliases())


@operation(Right.READ)
async def list_collection_aliases(service: Service, call: Call) -> Any:
    """List the aliases of a collection."""
    await service.current(call.collection)
    return models.to_builtins(await service.database.get_collection_aliases(call.collection))
