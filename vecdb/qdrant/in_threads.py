"""AsyncVecDBLocal: the verbs of ``VecDBLocal`` as coroutines, each one call in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from qdrant_client.local.async_qdrant_local import AsyncQdrantLocal

from vecdb.qdrant.local import VecDBLocal, verbs_of

# A read that nobody waits for any more may end when it likes.
_READS = frozenset(
    {
        "collection_exists",
        "count",
        "discover",
        "discover_batch",
        "facet",
        "get_aliases",
        "get_collection",
        "get_collection_aliases",
        "get_collections",
        "info",
        "list_full_snapshots",
        "list_snapshots",
        "query_batch_points",
        "query_points",
        "query_points_groups",
        "recommend",
        "recommend_batch",
        "recommend_groups",
        "retrieve",
        "scroll",
        "search",
        "search_batch",
        "search_groups",
        "search_matrix_offsets",
        "search_matrix_pairs",
        "wait_for_optimizer",
    }
)


class AsyncVecDBLocal(AsyncQdrantLocal):
    """The verbs of ``VecDBLocal`` as coroutines: each is one call in a thread."""

    def __init__(self, sync: VecDBLocal) -> None:
        self.sync = sync
        self.location = sync.location
        self.persistent = sync.persistent

    @property
    def closed(self) -> bool:
        return self.sync.closed

    async def run(
        self, verb: str, call: Callable[..., Any], /, *positional: Any, **given: Any
    ) -> Any:
        """What a call answers. A write that is cancelled is waited for."""
        running = asyncio.ensure_future(asyncio.to_thread(call, *positional, **given))
        if verb in _READS:
            return await running
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            while not running.done():
                try:
                    await asyncio.wait([running])
                except asyncio.CancelledError:
                    pass  # it is on its way already
            if not running.cancelled():
                running.exception()  # seen, or asyncio would log it
            raise


def _coroutine(name: str) -> Callable[..., Any]:
    async def call(self: AsyncVecDBLocal, *positional: Any, **given: Any) -> Any:
        return await self.run(name, getattr(self.sync, name), *positional, **given)

    call.__name__ = name
    call.__doc__ = f"As ``VecDBLocal.{name}``."
    return call


def _function(name: str) -> Callable[..., Any]:
    def call(self: AsyncVecDBLocal, *positional: Any, **given: Any) -> Any:
        return getattr(self.sync, name)(*positional, **given)

    call.__name__ = name
    call.__doc__ = f"As ``VecDBLocal.{name}``."
    return call


for _name in verbs_of(AsyncQdrantLocal):
    if _name not in vars(AsyncVecDBLocal) and not _name.isupper():
        _awaited = iscoroutinefunction(getattr(AsyncQdrantLocal, _name))
        setattr(AsyncVecDBLocal, _name, (_coroutine if _awaited else _function)(_name))
