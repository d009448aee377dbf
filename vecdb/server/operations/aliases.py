"""Operations on other names of collections."""

from __future__ import annotations

from typing import Any

from vecdb import errors, models
from vecdb.server.requests import Fields, check_new_name, several
from vecdb.server.service import Service
from vecdb.server.status import no_collection
from vecdb.server.table import Call, Right, operation

UPDATE = Fields(required=("actions",), strict=True)


@operation(Right.MANAGE, UPDATE)
async def update_aliases(service: Service, call: Call) -> Any:
    """Change aliases in one step: all of the changes, or none."""
    actions = several(UPDATE, call.body, 10_000)
    for number, action in enumerate(actions):
        _check_alias(action, f"actions[{number}]")
    try:
        changed = service.database.update_collection_aliases(actions)
        return await service.within(call.timeout, changed)
    except errors.NotFoundError:
        for action in actions:
            name = (action.get("create_alias") or {}).get("collection_name")
            if name is not None and not await service.database.collection_exists(name):
                raise no_collection(name) from None
        raise


def _check_alias(action: Any, where: str) -> None:
    """Raises Refusal for a new alias that would be no name of a collection; the verb sees to all
    else."""
    for kind, field in (("create_alias", "alias_name"), ("rename_alias", "new_alias_name")):
        given = action.get(kind) if isinstance(action, dict) else None
        name = given.get(field) if isinstance(given, dict) else None
        if isinstance(name, str):
            check_new_name(name, f"{where}.{kind}.{field}", "JSON body")


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
