"""Lanes: where a read runs, in the event loop's thread or in another.

To hand a search to a thread costs more than a small search takes, and two threads that search at
once are slower than one, as both need the interpreter. So what was quick lately runs in the loop,
and all else in threads. A kind of read begins in a thread; how long it took says where the next of
its kind runs. What takes a thread anyway (writes, changes of collections, snapshots) does not come
by here: ``AsyncVecDB`` has threads for these, and lets writes share a sync.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import TypeVar

from vecdb import AsyncVecDB
from vecdb.server.status import BUSY, TIMEOUT, Refusal

_R = TypeVar("_R")

QUICK = 0.002
"""Seconds that a read may hold up the others in the loop."""
_RISING, _FALLING = 0.1, 0.4
"""How much a read counts that was slower, or quicker, than those before it: one that had to wait
for a busy machine says nothing of its kind, and the first of a kind loads what the others use."""
_KINDS = 4096
WAITING = 64
"""So many reads may wait for a thread."""


class Lanes:
    """The lanes of one event loop."""

    def __init__(self, database: AsyncVecDB) -> None:
        self._database = database
        self._seconds: dict[Hashable, float] = {}
        self.waiting = 0
        self.taken = {"loop": 0, "thread": 0}
        """How many reads each lane took."""

    async def read(
        self, kind: Hashable | None, function: Callable[[], _R], timeout: float | None = None
    ) -> _R:
        """What the function returns. ``kind``: reads that take about as long are of one kind; None:
        it may be long. Raises Refusal if there are too many, or the time is up."""
        if self.is_quick(kind):
            self.taken["loop"] += 1
            started = time.perf_counter()
            result = function()
            self.note(kind, time.perf_counter() - started)
            return result
        return await self._in_thread(kind, function, timeout)

    def is_quick(self, kind: Hashable | None) -> bool:
        """Whether reads of a kind were quick lately."""
        return kind is not None and self._seconds.get(kind, 1.0) < QUICK

    def took(self, kind: Hashable, seconds: float, reads: int = 1) -> None:
        """So many reads of a kind took so long together, in the loop."""
        self.taken["loop"] += reads
        self.note(kind, seconds / reads)

    async def _in_thread(
        self, kind: Hashable | None, function: Callable[[], _R], timeout: float | None
    ) -> _R:
        if self.waiting >= WAITING:
            raise Refusal(BUSY, "Service unavailable: too many reads are waiting; try again")
        self.waiting += 1
        self.taken["thread"] += 1
        call = asyncio.ensure_future(self._database.run(_timed, function))
        call.add_done_callback(self._ended)
        try:
            # A thread cannot be stopped: it goes on, and keeps its place until it ends.
            result, took = await asyncio.wait_for(asyncio.shield(call), timeout)
        except asyncio.TimeoutError:
            raise timed_out(timeout) from None
        if kind is not None:
            self.note(kind, took)
        return result

    def note(self, kind: Hashable, took: float) -> None:
        """Work of a kind took so many seconds."""
        if len(self._seconds) >= _KINDS:
            self._seconds.clear()
        before = self._seconds.get(kind, took)
        weight = _RISING if took > before else _FALLING
        self._seconds[kind] = before + (took - before) * weight

    def _ended(self, call: asyncio.Future[tuple[_R, float]]) -> None:
        self.waiting -= 1
        if not call.cancelled():
            call.exception()  # nobody may be waiting for it any more


def timed_out(timeout: float | None) -> Refusal:
    """The time of a call is up."""
    return Refusal(TIMEOUT, f"Timeout: the operation timed out after {timeout:g} seconds")


def _timed(function: Callable[[], _R]) -> tuple[_R, float]:
    started = time.perf_counter()
    result = function()
    return result, time.perf_counter() - started
