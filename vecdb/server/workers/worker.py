"""Worker: the life of one of the processes that answer, from its start by the parent to its end.

    python -m vecdb.server.workers.worker NUMBER CHANNEL BOARD

The numbers are its own, and those of two files that it inherits; standard input has the settings.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import uvloop

from vecdb import AsyncVecDB
from vecdb.errors import VecdbError
from vecdb.server.arenas import keep_few_arenas
from vecdb.server.figures import Figures
from vecdb.server.logs import log_to_stderr
from vecdb.server.running import Running
from vecdb.server.service import Service
from vecdb.server.settings import Settings
from vecdb.server.workers import channel
from vecdb.server.workers.board import Board
from vecdb.server.workers.channel import Channel
from vecdb.server.workers.links import Writer
from vecdb.server.workers.passed_on import PassedOn
from vecdb.server.workers.peers import Peers

if TYPE_CHECKING:
    from vecdb.server.grpc.transport import Transport

FAILED = 2
"""The exit code if it could not begin. It has said why."""

AT_ONCE = 2
"""So often told to stop, it does not wait for requests."""
_LOOK = 0.05
"""Seconds between two looks at whether the followers have ended."""


def main(arguments: list[str]) -> int:
    """Answer requests until the parent says that it is enough, or has ended; the exit code."""
    number, end, board = map(int, arguments)
    # Signals go to the parent, which tells us; a terminal and systemd send them to all of us.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    try:
        settings = Settings.unpacked(sys.stdin.buffer.read())
    except msgspec.DecodeError:  # the parent has ended before it said all
        return FAILED
    log_to_stderr(settings.access_log)
    keep_few_arenas()
    worker = _Worker(number, settings, Channel(socket.socket(fileno=end)), board)
    try:
        uvloop.run(worker.run())
    except (VecdbError, OSError) as error:
        print(f"vecdb: {error}", file=sys.stderr)
        return FAILED
    return 0


class _Worker:
    def __init__(self, number: int, settings: Settings, end: Channel, board: int) -> None:
        self._number = number
        self._settings = settings
        self._channel = end
        self._board = Board(board, settings.workers)
        self._writes = number == 0 and not settings.read_only
        self._running: Running | None = None
        self._passed_on: PassedOn | None = None
        self._stops = 0
        self._tasks: set[asyncio.Future[Any]] = set()

    async def run(self) -> None:
        """All of it. Raises as ``VecDB`` does."""
        self._told_to_open = asyncio.Event()
        self._channel.listen(
            {
                channel.OPEN: lambda _: self._told_to_open.set(),
                channel.CONNECTION: partial(self._take_connection, False),
                channel.GRPC_CONNECTION: partial(self._take_connection, True),
                channel.LINK: self._take_link,
                channel.STOP: lambda _: self._stop(),
                channel.CERTIFICATE: lambda _: self._read_certificate(),
            },
            gone=self._parent_is_gone,
        )
        await self._told_to_open.wait()
        if self._stops:
            return
        settings = self._settings
        database = AsyncVecDB(
            settings.directory,
            sync=settings.sync,  # type: ignore[arg-type]  # the command line has a choice of them
            read_only=not self._writes,
            memory_limit=settings.memory_of_each,
            on_over_budget=settings.on_over_budget,
        )
        async with database:
            if not self._stops:
                await self._serve(database)

    async def _serve(self, database: AsyncVecDB) -> None:
        settings = msgspec.structs.replace(self._settings, read_only=not self._writes)
        transport: Transport | None = None
        if settings.grpc_port is not None:
            from vecdb.server.grpc.engines import listen

            # Only now: a port that is listened to has callers, who would wait for the database.
            transport = listen(settings)
        running = self._running = Running(settings, database, settings.port, transport)
        writer = None if self._settings.read_only or self._writes else Writer(self._hand_over)
        peers = Peers(self._board, self._number, settings.workers, writer)
        peers.read_only = self._settings.read_only
        running.service.meet(peers)
        _go_on(running.service, peers.earlier())
        if self._writes:
            self._passed_on = PassedOn(running.service, running.access)
        try:
            await running.serve([], self._is_ready)
        finally:
            if writer is not None:
                writer.close()
            if self._passed_on is not None:
                await self._outlive_followers(settings.stop_seconds)
                self._passed_on.close()
            if transport is not None:
                await transport.stop(0)

    async def _outlive_followers(self, seconds: float) -> None:
        """They may still have something to pass on."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self._board.followers and self._stops < AT_ONCE and loop.time() < deadline:
            await asyncio.sleep(_LOOK)

    def _is_ready(self) -> None:
        self._channel.tell(channel.READY)

    # -- what the parent says --------------------------------------------------------------------

    def _take_connection(self, grpc: bool, connection: socket.socket | None) -> None:
        closed = partial(self._board.count_closed, self._number, grpc)
        if connection is None:  # this process has too many files open
            closed()
            return
        if self._running is None or self._stops:
            connection.close()
            closed()
            return
        self._do(self._running.take(connection, closed, grpc))

    def _take_link(self, link: socket.socket | None) -> None:
        if link is None:
            return
        if self._passed_on is None:
            link.close()
            return
        self._do(self._passed_on.take(link))

    def _hand_over(self, link: socket.socket) -> bool:
        return self._board.has_writer and self._channel.tell(channel.LINK, link)

    def _stop(self) -> None:
        self._stops += 1
        self._told_to_open.set()
        if self._running is not None:
            self._running.stop()

    def _read_certificate(self) -> None:
        if self._running is not None:
            self._running.read_certificate()

    def _parent_is_gone(self) -> None:
        """Nobody brings callers any more, and another server may be waiting for the database."""
        if self._running is None:
            os._exit(FAILED)  # whoever opens a database may be killed at any time
        while self._stops < AT_ONCE:
            self._stop()

    def _do(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _go_on(service: Service, earlier: Figures) -> None:
    """Count on from what was counted by the process that was this worker before."""
    counters = service.counters
    counters.requests, counters.by_collection = earlier.requests, earlier.by_collection
    counters.refusals, counters.clients = earlier.refusals, earlier.clients
    counters.dropped_fields.update(earlier.dropped_fields)
    service.lanes.taken.update(earlier.lanes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
