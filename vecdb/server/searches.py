"""Searches: those that come together are made together.

While the loop answers some callers, others ask. What they ask for in one turn of the loop, and
differs in nothing but its vector, is one batch: it reads what it has in common once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

from msgspec import Struct

from vecdb import Collection, models
from vecdb.models.reading import drop_unknown
from vecdb.server.lanes import Lanes

Request = dict[str, Any]
"""The fields of a ``QueryRequest``."""
Shape = Callable[[list[models.ScoredPoint]], Any]
"""What a protocol makes of points."""

_Drop = Callable[[str], None] | None
_Alike = tuple[Hashable, _Drop]
"""What searches have in common that are made together: their kind, and who is told of unknown
fields."""

_AT_ONCE = 16
"""So many searches are a batch; others wait for the next turn."""
_ARGUMENTS = {
    "filter": "query_filter",
    "params": "search_params",
    "with_vector": "with_vectors",
    "shard_key": "shard_key_selector",
}


class Searches:
    """The searches of one event loop."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._asked: dict[_Alike, list[_Search]] = {}

    async def make(
        self,
        kind: Hashable | None,
        collection: Collection,
        request: Request,
        shape: Shape,
        *,
        alone: bool,
        timeout: float | None,
    ) -> Any:
        """The points of one search, in a shape. ``kind``: searches that differ in nothing but their
        vector are of one kind; None: it may be long. ``alone``: no other caller waits."""
        if alone or not self._lanes.is_quick(kind):
            function = partial(_one, collection, request, shape)
            return await self._lanes.read(kind, function, timeout)
        loop = asyncio.get_running_loop()
        if not self._asked:
            loop.call_soon(self._next)
        search = _Search(collection, request, shape, loop.create_future())
        self._asked.setdefault((kind, drop_unknown.get()), []).append(search)
        return await search.future

    def _next(self) -> None:
        """A new turn has begun."""
        asked, self._asked = self._asked, {}
        for alike, searches in asked.items():
            kind, drop = alike
            drop_unknown.set(drop)  # the turn has the context of whoever began it
            self._make(kind, searches[:_AT_ONCE])
            if len(searches) > _AT_ONCE:
                if not self._asked:
                    asyncio.get_running_loop().call_soon(self._next)
                self._asked[alike] = searches[_AT_ONCE:]

    def _make(self, kind: Hashable, searches: list[_Search]) -> None:
        started = time.perf_counter()
        if not _make_together(searches):
            started = time.perf_counter()  # what was in vain says nothing of the kind
            for search in searches:
                if search.future.done():  # its caller has gone
                    continue
                try:
                    found = _one(search.collection, search.request, search.shape)
                except Exception as error:
                    search.future.set_exception(error)
                else:
                    search.future.set_result(found)
        self._lanes.took(kind, time.perf_counter() - started, len(searches))


class _Search(Struct):
    """One that waits for the next turn."""

    collection: Collection
    request: Request
    shape: Shape
    future: asyncio.Future[Any]


def _make_together(searches: list[_Search]) -> bool:
    """Answer all of them by one batch. False: that cannot be, and none is answered, or counted."""
    collection = searches[0].collection
    if len(searches) == 1 or any(search.collection != collection for search in searches):
        return False
    drop, dropped = drop_unknown.get(), list[str]()
    if drop is not None:
        drop_unknown.set(dropped.append)
    try:
        batch = collection.query_batch_points([search.request for search in searches])
        found = [
            search.shape(response.points) for search, response in zip(searches, batch, strict=True)
        ]
    except Exception:  # of one of them, and nobody knows of which
        return False
    finally:
        drop_unknown.set(drop)
    if drop is not None:
        for field in dropped:
            drop(field)
    for search, result in zip(searches, found, strict=True):
        if not search.future.done():
            search.future.set_result(result)
    return True


def _one(collection: Collection, request: Request, shape: Shape) -> Any:
    return shape(collection.query_points(**arguments(request)).points)


def arguments(request: Request) -> dict[str, Any]:
    """A request as the arguments of a verb. Payloads come only if they are asked for."""
    given = {_ARGUMENTS.get(name, name): value for name, value in request.items()}
    if "with_payload" not in given:
        given["with_payload"] = False
    lookup = given.get("with_lookup")
    if isinstance(lookup, dict) and "with_vector" in lookup:  # another name of the same
        lookup = dict(lookup)
        given["with_lookup"] = {"with_vectors": lookup.pop("with_vector"), **lookup}
    return given
