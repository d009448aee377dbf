"""Calls of coroutines: run in the event loop or in threads, by what they are."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextvars import copy_context
from functools import partial
from itertools import islice
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from vecdb.aio.futures import raisable
from vecdb.aio.handles import Reading, Stoppable
from vecdb.aio.threads import Threads
from vecdb.aio.turns import Turns
from vecdb.aio.writes import Answer, Write, WriteQueues
from vecdb.collection import Collection
from vecdb.database import VecDB
from vecdb.engine.optimize.optimizer import deadline_of
from vecdb.errors import ClosedError

_P = ParamSpec("_P")
_R = TypeVar("_R")
_A = TypeVar("_A", bound=Answer)

_PIECE = 1000
"""Of a stream, so many come from a thread at once."""
_SLICE = 0.25
"""Seconds that a thread waits for the optimizer before it looks whether anybody still does."""


class Calls:
    """The calls of one open database, from any number of event loops."""

    def __init__(self, database: VecDB, close: Callable[[], None] | None = None) -> None:
        self.database = database
        self.threads = Threads(database.path)
        self._close_it = close or database.close
        self._queues = WriteQueues(self.threads.start)  # not of this: that would be a cycle
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()
        self._pid = os.getpid()
        self._lock = threading.Lock()  # guards the beginning of the end
        self._closing = threading.Event()
        self._close_begun = False
        self._closed: concurrent.futures.Future[None] = concurrent.futures.Future()

    # -- what is called ------------------------------------------------------------------------

    async def read(
        self,
        collection: Reading,
        verb: Callable[Concatenate[Collection, _P], _R],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _R:
        """A read of a collection; one that is short runs in the loop."""
        function = partial(verb, collection, *args, **kwargs)
        if args:  # the rule knows arguments by their names
            return await self.call(function)
        return await self.by_rule(collection, verb.__name__, kwargs, function)

    async def by_rule(
        self,
        collection: Reading,
        verb: str,
        arguments: Mapping[str, Any],
        function: Callable[[], _R],
    ) -> _R:
        """A function that does what a verb of the collection does with these arguments."""
        self.require_open()
        if collection.is_short(verb, arguments):
            loop = asyncio.get_running_loop()
            result: _R = await self._turns_of(loop).read(loop, function)
            return result
        before = collection.view()
        result = await self._in_thread(function)
        collection.mark_warm(before, arguments)
        return result

    async def write(
        self,
        collection: Collection,
        verb: Callable[Concatenate[Collection, _P], _A],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _A:
        """A verb that writes once; it shares a commit with others that are called meanwhile."""
        self.require_open()
        loop = asyncio.get_running_loop()
        point = None if args else _only_point(verb.__name__, kwargs)
        write = Write(loop, lambda gathering: verb(gathering, *args, **kwargs), point)
        self._turns_of(loop).write(collection, write)
        answer: _A = await write.future
        return answer

    async def upload(
        self,
        collection: Collection,
        verb: Callable[Concatenate[Collection, _P], _R],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _R:
        """A verb that writes many times; when the caller is cancelled, it stops between two."""
        cancelled = threading.Event()
        stoppable = Stoppable(collection, cancelled, self._closing)
        try:
            return await self.last(partial(verb, stoppable, *args, **kwargs))
        finally:
            cancelled.set()

    async def wait(self, collection: Collection, timeout: float | None) -> bool:
        """Wait for the optimizer; when the caller is cancelled, no thread goes on waiting."""
        self.require_open()
        deadline = deadline_of(timeout)
        while not self._closing.is_set():
            left = _SLICE if deadline is None else min(_SLICE, deadline - time.monotonic())
            if await self.last(collection.wait_for_optimizer, max(0.0, left)):
                return True
            if deadline is not None and time.monotonic() >= deadline:
                break
        return False

    async def call(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Any other function, in a thread."""
        self.require_open()
        return await self._in_thread(partial(function, *args, **kwargs))

    async def stream(
        self,
        collection: Collection,
        verb: Callable[Concatenate[Collection, _P], Iterator[_R]],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> AsyncIterator[_R]:
        """What a verb of a collection gives one after the other, some at a time from a thread."""
        return self._pieces(await self.call(verb, collection, *args, **kwargs))

    async def _pieces(self, found: Iterator[_R]) -> AsyncIterator[_R]:
        while some := await self.call(lambda: list(islice(found, _PIECE))):
            for each in some:
                yield each

    async def here(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """A function that is always short, in the loop."""
        self.require_open()
        return function(*args, **kwargs)

    async def last(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """A function that may last, in a thread."""
        self.require_open()
        return await self._in_thread(partial(function, *args, **kwargs), lasting=True)

    def require_open(self) -> None:
        """Raise ClosedError once ``close`` was called, ForkError in a forked child."""
        if self._closing.is_set():
            raise ClosedError(f"database {self.database.path} is closed")
        self.database.check_usable()

    # -- threads -------------------------------------------------------------------------------

    async def _in_thread(self, function: Callable[[], _R], *, lasting: bool = False) -> _R:
        """A call that was cancelled before a thread has begun it is not made; one that was begun
        goes on to its end."""
        call = partial(copy_context().run, function)
        return await asyncio.wrap_future(self.threads.start(call, lasting=lasting))

    def _turns_of(self, loop: asyncio.AbstractEventLoop) -> Turns:
        turns = self._turns.get(loop)
        if turns is None:
            turns = self._turns[loop] = Turns(self._queues)
        return turns

    # -- its end -------------------------------------------------------------------------------

    async def close(self) -> None:
        """Take no more calls, wait for those that were made, close the database, end the threads.
        A caller that is cancelled does not stop it. May be repeated; does nothing in a forked
        child."""
        if os.getpid() != self._pid:
            return
        loop = asyncio.get_running_loop()
        with self._lock:
            first = not self._closing.is_set()
            self._closing.set()
        if first:
            try:
                self._turns_of(loop).end()
            finally:
                self.begin_to_close()
        if first or not self._closed.done():
            await asyncio.shield(asyncio.wrap_future(self._closed))

    def begin_to_close(self) -> None:
        """Close the database, once, from a thread of its own."""
        with self._lock:
            if self._close_begun:
                return
            self._close_begun = True
            self._closing.set()
        try:
            threading.Thread(target=self._close, name="vecdb-async-close").start()
        except RuntimeError:  # there is no thread to be had
            self._close()

    def _close(self) -> None:
        try:
            try:
                self.threads.join()
                self._close_it()
            finally:
                self.threads.end()
        except BaseException as error:
            self._closed.set_exception(raisable(error))
        else:
            self._closed.set_result(None)


_PLAIN = {"points", "wait", "update_filter", "update_mode"}


def _only_point(verb: str, arguments: Mapping[str, Any]) -> Any:
    """The point of an upsert that has only one and no condition; None: it is no such."""
    if verb != "upsert" or arguments.keys() != _PLAIN:
        return None
    if arguments["update_filter"] is not None or arguments["update_mode"] is not None:
        return None
    points = arguments["points"]
    return points[0] if type(points) is list and len(points) == 1 else None
