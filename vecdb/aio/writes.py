"""Writes of coroutines: those that come together are written together.

Each collection has a queue. What one turn of an event loop calls for is handed over at once, and
one thread at a time empties the queue: it has the arguments of all waiting writes checked, commits
them in as few groups as they fit in, and only then answers each. So many coroutines that await a
write share an fsync, which is theirs as much as if each had made its own. Writes to a collection
are done in the order in which they were called. One of several operations is one of them.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from itertools import groupby
from typing import Any

from vecdb import models
from vecdb.aio.futures import handed_over
from vecdb.aio.handles import Gathering
from vecdb.collection import Collection
from vecdb.errors import copy_of

_AT_ONCE = 1024
"""So many writes are checked before the first of them is committed."""


Answer = models.UpdateResult | list[models.UpdateResult]
"""What a verb returns that writes: a result, or one for each of its operations."""

Outcome = Answer | BaseException

_KEPT = models.UpdateResult(None, models.UpdateStatus.ACKNOWLEDGED)
"""The answer of an upsert until it is committed."""


class Write:
    """A write that a coroutine waits for. ``point``: all that it is, is an upsert of this one."""

    __slots__ = ("context", "future", "loop", "point", "verb")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        verb: Callable[[Collection], Answer],
        point: Any = None,
    ) -> None:
        self.loop = loop
        self.verb = verb
        self.point = point
        self.context: Context = copy_context()
        self.future: asyncio.Future[Any] = loop.create_future()


class WriteQueues:
    """The queues of all collections. ``start`` runs a function in a thread."""

    def __init__(self, start: Callable[[Callable[[], None]], object]) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._waiting: dict[Collection, deque[Write]] = {}  # as long as a thread empties it

    def hand_over(self, collection: Collection, writes: list[Write]) -> None:
        """Let a thread do these writes, after those that wait. Called in the writes' loop."""
        with self._lock:
            queue = self._waiting.get(collection)
            if queue is not None:
                queue.extend(writes)
                return
            self._waiting[collection] = deque(writes)
        try:
            self._start(lambda: self._empty(collection))
        except Exception as error:  # there is no thread to be had, or the database was closed
            _answer_all([(write, copy_of(error)) for write in self._give_up(collection)])

    def _empty(self, collection: Collection) -> None:
        while writes := self._take(collection):
            try:
                _commit(collection, writes)
            except BaseException as error:
                _answer_all([(write, copy_of(error)) for write in writes])
                if not isinstance(error, Exception):
                    _answer_all([(write, copy_of(error)) for write in self._give_up(collection)])
                    raise

    def _take(self, collection: Collection) -> list[Write]:
        with self._lock:
            queue = self._waiting.get(collection, ())
            if not queue:
                self._waiting.pop(collection, None)
                return []
            assert isinstance(queue, deque)
            return [queue.popleft() for _ in range(min(len(queue), _AT_ONCE))]

    def _give_up(self, collection: Collection) -> list[Write]:
        with self._lock:
            return list(self._waiting.pop(collection, ()))


def _commit(collection: Collection, writes: list[Write]) -> None:
    gathering = Gathering(collection)
    outcomes: list[tuple[Write, Outcome]] = []
    kept: list[tuple[Write, Answer]] = []
    # Before anything of them was done some may have been cancelled.
    waiting = (write for write in writes if not write.future.cancelled())
    for are_points, alike in groupby(waiting, key=lambda write: write.point is not None):
        some = list(alike)
        # Not in their contexts, which say what becomes of unknown fields: such points are refused.
        if are_points and len(some) > 1 and gathering.upsert_each([each.point for each in some]):
            kept += [(write, _KEPT) for write in some]
            continue
        for write in some:
            try:
                answer = write.context.run(write.verb, gathering)
            except Exception as error:
                gathering.keep(len(kept))
                outcomes.append((write, error))
            else:
                if len(gathering) == len(kept):  # there was nothing to write
                    outcomes.append((write, answer))
                    continue
                kept.append((write, answer))
                assert len(gathering) == len(kept), "a verb that writes more than once"
    committed = gathering.commit() if kept else []
    for (write, answer), outcome in zip(kept, committed, strict=True):
        if isinstance(outcome, BaseException) or isinstance(answer, list):
            outcomes.append((write, outcome))
        else:
            outcomes.append((write, outcome[0]))
    _answer_all(outcomes)
    if not all(isinstance(outcome, BaseException) for outcome in committed):
        gathering.written()


def _answer_all(outcomes: list[tuple[Write, Outcome]]) -> None:
    """Wake each loop once, with all that is for it."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Write, Outcome]]] = {}
    for write, outcome in outcomes:
        by_loop.setdefault(write.loop, []).append((write, outcome))
    for loop, mine in by_loop.items():
        with suppress(RuntimeError):  # it has ended, and nobody waits any more
            loop.call_soon_threadsafe(_answer, mine)


def _answer(outcomes: list[tuple[Write, Any]]) -> None:
    for write, outcome in outcomes:
        future = write.future
        if future.done():
            continue
        # The thread has the write for a moment longer. It must not have what its caller raises.
        write.future = write.loop.create_future()
        write.future.cancel()
        if not isinstance(outcome, BaseException):
            future.set_result(outcome)
            continue
        try:
            future.set_exception(handed_over(outcome))
        except Exception as error:  # those after it are to be answered all the same
            future.set_exception(RuntimeError(f"{type(outcome).__name__}: {error}"))
