"""Service: what the operations of one server share."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from functools import partial
from typing import Any, TypeVar

from vecdb import AsyncVecDB, Collection, errors
from vecdb.server.counters import Counters
from vecdb.server.lanes import Lanes, timed_out
from vecdb.server.searches import Searches
from vecdb.server.settings import Settings
from vecdb.server.status import no_collection

_R = TypeVar("_R")

FRESH = 0.05
"""Seconds that a follower's state may be old."""


class Service:
    """An open database with its lanes and counters."""

    def __init__(
        self, database: AsyncVecDB, settings: Settings, description: dict[str, Any]
    ) -> None:
        self.database = database
        self._collection = database.database.collection  # looked up once: it is asked for it often
        self.settings = settings
        self.description = description
        """Of all operations."""
        self.lanes = Lanes(database)
        self.searches = Searches(self.lanes)
        self.counters = Counters()
        self.id = str(uuid.uuid4())
        self.started = datetime.now(timezone.utc)
        self.stopping = False
        self.long_jobs = asyncio.Semaphore(1)
        """Of snapshots and restores, one at a time."""
        self._tasks: set[asyncio.Future[Any]] = set()
        self._following: asyncio.Future[bool] | None = None
        self._followed = 0.0

    def collection(self, name: str) -> Collection:
        """The collection of that name or alias. Raises Refusal, and for a damaged one its error."""
        try:
            return self._collection(name)
        except errors.NotFoundError:
            raise no_collection(name) from None

    async def current(self, name: str) -> Collection:
        """The same, in a state that is new enough for a read."""
        await self.follow()
        return self.collection(name)

    async def follow(self) -> None:
        """Move a database that is only read to a state that is new enough."""
        if not self.settings.read_only or time.monotonic() - self._followed < FRESH:
            return
        if self._following is None or self._following.done():
            began = time.monotonic()
            self._following = asyncio.ensure_future(self.database.run(self._refresh))
            self._following.add_done_callback(partial(self._has_followed, began))
        await asyncio.shield(self._following)

    def _refresh(self) -> bool:
        return self.database.database.refresh()

    def _has_followed(self, began: float, following: asyncio.Future[bool]) -> None:
        if not following.cancelled() and following.exception() is None:
            self._followed = began

    async def within(self, timeout: float | None, work: Awaitable[_R]) -> _R:
        """What the work returns. Raises Refusal when the time is up; the work goes on."""
        if timeout is None:
            return await work
        task = asyncio.ensure_future(work)
        done, _ = await asyncio.wait([task], timeout=timeout)
        if done:
            return task.result()
        self.begin(task)
        raise timed_out(timeout)

    async def long(self, work: Callable[[], Awaitable[_R]]) -> _R:
        """Work that may last, when that before it has ended. A caller that hangs up does not stop
        it."""

        async def alone() -> _R:
            async with self.long_jobs:
                return await work()

        task = asyncio.ensure_future(alone())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    def begin(self, work: Awaitable[object]) -> None:
        """Let work go on that nobody waits for."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, or asyncio would complain

    async def finish(self) -> None:
        """Wait for work that nobody waits for."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))
