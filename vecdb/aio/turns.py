"""Turns of an event loop: what vecdb does in the loop itself, and how much of it in one turn.

A loop runs what is ready, then looks for events, and so on. A thousand searches that are called in
one turn would keep it from the events for as long as all of them take: so only some run at once,
the others in later turns.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from vecdb.aio.futures import raisable
from vecdb.aio.writes import Write, WriteQueues
from vecdb.collection import Collection

_LONGEST = 0.001
"""Seconds after which no further read is begun in a turn."""


class Turns:
    """The turns of one event loop. Used in that loop only."""

    def __init__(self, queues: WriteQueues) -> None:
        self._queues = queues
        self._writes: dict[Collection, list[Write]] = {}
        self._reads: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()
        self._spent = 0.0
        self._next_is_called = False

    async def read(self, loop: asyncio.AbstractEventLoop, function: Callable[[], Any]) -> Any:
        """Call a function that is short, in this turn or in one of the next."""
        if not self._reads and self._spent < _LONGEST:
            started = time.perf_counter()
            try:
                return function()
            finally:
                self._spent += time.perf_counter() - started
                self._call_next(loop)
        future: asyncio.Future[Any] = loop.create_future()
        self._reads.append((future, function))
        self._call_next(loop)
        return await future

    def write(self, collection: Collection, write: Write) -> None:
        """Hand a write over at the end of this turn, with the others of it."""
        self._writes.setdefault(collection, []).append(write)
        self._call_next(write.loop)

    def end(self) -> None:
        """Do all that has waited for a later turn."""
        self._hand_over()
        while self._reads:
            self._read_one()

    def _call_next(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._next_is_called:
            self._next_is_called = True
            loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """A new turn has begun."""
        self._next_is_called = False
        self._hand_over()
        started = time.perf_counter()
        self._spent = 0.0
        while self._reads:
            self._read_one()
            self._spent = time.perf_counter() - started
            if self._spent >= _LONGEST:
                break
        if self._spent:
            self._call_next(loop)

    def _hand_over(self) -> None:
        writes, self._writes = self._writes, {}
        for collection, mine in writes.items():
            self._queues.hand_over(collection, mine)

    def _read_one(self) -> None:
        future, function = self._reads.popleft()
        if future.done():  # cancelled
            return
        try:
            result = function()
        except Exception as error:
            future.set_exception(raisable(error))
        else:
            future.set_result(result)
