"""Operations of Qdrant that vecdb does not have. Each is refused by its name."""

from __future__ import annotations

from typing import Any

from vecdb.server.service import Service
from vecdb.server.status import not_supported
from vecdb.server.table import Call, Right, operation

UNSERVED = {
    "search_matrix_pairs": "a matrix of distances",
    "search_matrix_offsets": "a matrix of distances",
    "recommend": "recommend",
    "recommend_batch": "recommend",
    "recommend_groups": "recommend",
    "discover": "discover",
    "discover_batch": "discover",
}


def _refuse(name: str, what: str) -> None:
    async def refuse(service: Service, call: Call) -> Any:
        await service.current(call.collection)
        raise not_supported(what)

    refuse.__name__ = name
    refuse.__doc__ = f"Not supported: {what}."
    operation(Right.READ)(refuse)


for _name, _what in UNSERVED.items():
    _refuse(_name, _what)
