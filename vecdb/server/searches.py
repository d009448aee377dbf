"""Searches: those that come together are made together.

While the loop answers some callers, others ask. What they ask for in one turn of the loop, and
differs in nothing but its vector, is one batch: it reads what it has in common once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable
from functools import partial
from typing import Any

from vecdb import Collection, models
from vecdb.server.lanes import Lanes

Request = dict[str, Any]
"""The fields of a ``QueryRequest``."""

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
        self._asked: dict[Hashable, list[tuple[Collection, Request, asyncio.Future[Any]]]] = {}

    async def make(
        self,
        kind: Hashable | None,
        collection: Collection,
        request: Request,
        *,
        alone: bool,
        timeout: float | None,
    ) -> list[models.ScoredPoint]:
        """The points of one search. ``kind``: searches that differ in nothing but their vector are
        of one kind; None: it may be long. ``alone``: no other caller waits."""
        if not self._lanes.is_quick(kind):
            return await self._lanes.read(kind, partial(_one, collection, request), timeout)
        if alone:
            started = time.perf_counter()
            found = _one(collection, request)
            self._lanes.took(kind, time.perf_counter() - started)
            return found
        loop = asyncio.get_running_loop()
        if not self._asked:
            loop.call_soon(self._next)
        future: asyncio.Future[list[models.ScoredPoint]] = loop.create_future()
        self._asked.setdefault(kind, []).append((collection, request, future))
        return await future

    def _next(self) -> None:
        """A new turn has begun."""
        asked, self._asked = self._asked, {}
        for kind, searches in asked.items():
            self._make(kind, searches[:_AT_ONCE])
            if len(searches) > _AT_ONCE:
                if not self._asked:
                    asyncio.get_running_loop().call_soon(self._next)
                self._asked[kind] = searches[_AT_ONCE:]

    def _make(
        self, kind: Hashable, searches: list[tuple[Collection, Request, asyncio.Future[Any]]]
    ) -> None:
        started = time.perf_counter()
        collection = searches[0][0]
        if len(searches) > 1 and all(other == collection for other, _, _ in searches):
            try:
                found = collection.query_batch_points([request for _, request, _ in searches])
            except Exception:  # of one of them, and nobody knows of which
                pass
            else:
                for (_, _, future), response in zip(searches, found, strict=True):
                    if not future.done():
                        future.set_result(response.points)
                self._lanes.took(kind, time.perf_counter() - started, len(searches))
                return
        for collection, request, future in searches:
            if future.done():  # its caller has gone
                continue
            try:
                future.set_result(_one(collection, request))
            except Exception as error:
                future.set_exception(error)
        self._lanes.took(kind, time.perf_counter() - started, len(searches))


def _one(collection: Collection, request: Request) -> list[models.ScoredPoint]:
    arguments = {_ARGUMENTS.get(name, name): value for name, value in request.items()}
    if "with_payload" not in arguments:
        arguments["with_payload"] = False
    return collection.query_points(**arguments).points
