"""Service: what the operations of one server share."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from typing import Any, TypeVar

from vecdb import AsyncVecDB, Collection, errors
from vecdb.server.counters import Counters
from vecdb.server.figures import Figures
from vecdb.server.following import Following
from vecdb.server.lanes import Lanes, timed_out
from vecdb.server.searches import Searches
from vecdb.server.settings import Settings
from vecdb.server.status import no_collection
from vecdb.server.workers.peers import Peers

_R = TypeVar("_R")


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
        self.counters = Counters(self._has)
        self._drop = self.counters.dropped
        self._drop_of_reader = self.counters.dropped_of_reader
        self.id = str(uuid.uuid4())
        self.started = datetime.now(timezone.utc)
        self.stopping = False
        self.long_jobs = asyncio.Semaphore(1)
        """Of snapshots and restores, one at a time."""
        self.peers: Peers | None = None
        """The other processes of the server, if there are any."""
        self._tasks: set[asyncio.Future[Any]] = set()
        self._following = Following(database, self.lanes) if settings.read_only else None

    def collection(self, name: str) -> Collection:
        """The collection of that name or alias. Raises Refusal, and for a damaged one its error."""
        try:
            return self._collection(name)
        except errors.NotFoundError:
            raise no_collection(name) from None

    def _has(self, name: str) -> bool:
        try:
            self._collection(name)
        except errors.VecdbError:
            return False
        return True

    def drop(self, *, may_write: bool) -> Callable[[str], None] | None:
        """What is told of the unknown fields in a request. ``may_write``: its caller may. None:
        they are refused."""
        if not self.settings.lenient:
            return None
        return self._drop if may_write else self._drop_of_reader

    def changed(self, *, collections: bool) -> None:
        """Something of the database was changed, or may have been: a collection, or which there
        are. Others are told before the caller is."""
        if self.peers is not None:
            self.peers.changed(collections)

    async def current(self, name: str) -> Collection:
        """The collection of that name or alias, in a state that is new enough for a read. Raises
        as ``collection``."""
        if self._following is not None:
            await self._following.follow(name)
        return self.collection(name)

    async def follow(self) -> None:
        """Move a database that is only read to a state that is new enough."""
        if self._following is not None:
            await self._following.follow()

    def meet(self, peers: Peers) -> None:
        """Be one of several processes from now on."""
        self.peers = peers
        if self._following is not None and not peers.read_only:
            self._following.peers = peers

    @property
    def has_writer(self) -> bool:
        """Whether what would change something can be done, as far as that depends on others."""
        return self.peers is None or self.peers.has_writer

    def figures(self) -> Figures:
        """Of this process."""
        import psutil

        counters, process = self.counters, psutil.Process()
        with process.oneshot():
            memory, threads, files = process.memory_info(), process.num_threads(), process.num_fds()
        return Figures(
            requests=counters.requests,
            by_collection=counters.by_collection,
            refusals=counters.refusals,
            clients=counters.clients,
            dropped_fields=dict(counters.dropped_fields),  # which threads add to
            lanes=self.lanes.taken,
            processes=1,
            in_flight=counters.in_flight,
            waiting=self.lanes.waiting,
            tasks=len(asyncio.all_tasks()),
            threads=threads,
            open_files=files,
            resident_bytes=memory.rss,
            virtual_bytes=memory.vms,
            loop_delay=counters.loop_delay,
        )

    def figures_of_all(self) -> Figures:
        """Of all processes of the server; those of others may be half a second old."""
        total = Figures()
        for each in [self.figures(), *(() if self.peers is None else self.peers.figures())]:
            total.add(each)
        return total

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
        self.changed(collections=True)  # perhaps; nobody says what it was
        if not task.cancelled():
            task.exception()  # seen, or asyncio would complain

    async def finish(self) -> None:
        """Wait for work that nobody waits for."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))
