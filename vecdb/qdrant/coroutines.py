"""AsyncVecDBLocal: the verbs of ``VecDBLocal`` as coroutines, over those of ``AsyncVecDB``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from qdrant_client.local.async_qdrant_local import AsyncQdrantLocal

from vecdb.aio.database import AsyncVecDB
from vecdb.qdrant.answers import as_qdrants
from vecdb.qdrant.arguments import prepared
from vecdb.qdrant.errors import raised_as_there
from vecdb.qdrant.local import VecDBLocal, named_by, verbs_of

_R = TypeVar("_R")

# Reads: nobody waits for one that is cancelled. Their answers may be long, and are made into
# Qdrant's objects where they are made.
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
    }
)


class AsyncVecDBLocal(AsyncQdrantLocal):
    """The verbs of ``VecDBLocal`` as coroutines: short reads in the event loop, all else in
    threads; writes that come together are written together."""

    def __init__(self, sync: VecDBLocal) -> None:
        self.sync = sync
        self.location = sync.location
        self.persistent = sync.persistent
        self._verbs = AsyncVecDB.of(sync.database, sync.close)

    @property
    def closed(self) -> bool:
        return self.sync.closed

    async def close(self, **qdrant: Any) -> None:
        """Wait for the calls that were made, then close. May be repeated."""
        await self._verbs.close()

    async def info(self) -> Any:
        """The version of Qdrant's client."""
        return self.sync.info()

    async def call(self, verb: str, /, *positional: Any, **given: Any) -> Any:
        """As ``VecDBLocal.call``. A write that is cancelled is waited for."""
        with raised_as_there(named_by(positional, given)):
            method = self.sync.method(verb)
            arguments = prepared(verb, method, positional, given)
            if verb in _READS:
                return await self._verbs.run(_converting(verb, method), **arguments)
            coroutine = getattr(self._verbs, verb)(**arguments)
            if verb == "wait_for_optimizer":
                return await coroutine
            return as_qdrants(await _to_its_end(coroutine))


def _converting(verb: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the verb's name, by which ``AsyncVecDB.run`` knows whether it is short."""

    def call(**arguments: Any) -> Any:
        return as_qdrants(method(**arguments))

    call.__name__ = verb
    return call


async def _to_its_end(coroutine: Coroutine[Any, Any, _R]) -> _R:
    """What it returns. If the caller is cancelled it is waited for all the same: when the caller
    goes on, nothing will happen any more."""
    running = asyncio.ensure_future(coroutine)
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
        return await self.call(name, *positional, **given)

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
