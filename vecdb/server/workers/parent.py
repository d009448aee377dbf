"""Parent: the process that listens for the others, starts them, and starts again what has ended.

It reads no request and never opens the database. A connection that it accepts is handed to a worker
that has come up. With grpcio the workers listen for gRPC by themselves, as it takes no connection
from others.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import msgspec

from vecdb.server.settings import Settings
from vecdb.server.sockets import listening, reserved
from vecdb.server.workers import channel
from vecdb.server.workers.board import Board, new_board
from vecdb.server.workers.channel import Channel
from vecdb.server.workers.door import Door

_log = logging.getLogger("vecdb.server")

FAILED = 2
"""The exit code if it could not begin, or could not go on."""
_PAUSE = 0.1
"""Seconds before a worker is started for the third time in a minute. It doubles each time."""
_LONGEST_PAUSE = 5.0
_LINKS = 256
"""So many links wait for a writer that stands still. More would leave no files for callers."""
_MINUTE = 60.0

Tell = Callable[[str, str | None], None]


def run(settings: Settings, tell: Tell) -> int:
    """Serve by several processes until a signal ends it; the exit code. ``tell`` is called as by
    ``running.run``. Raises OSError if an address is taken."""
    return asyncio.run(_run(settings, tell))


async def _run(settings: Settings, tell: Tell) -> int:
    with listening(settings.host, settings.port) as listener, _for_grpc(settings) as of_grpc:
        port: int = listener.getsockname()[1]
        grpc_port: int | None = None if of_grpc is None else of_grpc.getsockname()[1]
        given = msgspec.structs.replace(settings, port=port, grpc_port=grpc_port)
        grpc = None if grpc_port is None else settings.address(grpc_port)
        parent = _Parent(given, listener, of_grpc if given.hands_grpc_over else None)
        parent.started = partial(tell, f"{settings.scheme}://{settings.address(port)}", grpc)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, parent.stop)
        if settings.tls_cert is not None:
            loop.add_signal_handler(signal.SIGHUP, parent.read_certificate)
        return await parent.run()


@contextmanager
def _for_grpc(settings: Settings) -> Iterator[socket.socket | None]:
    """A socket that listens for gRPC, or keeps the port for the workers, which do."""
    if settings.grpc_port is None:
        yield None
        return
    take = listening if settings.hands_grpc_over else reserved
    with take(settings.host, settings.grpc_port) as found:
        yield found


class _Worker:
    """A worker as its parent sees it, whichever process it is."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.channel: Channel | None = None
        self.is_ready = False
        self.ends: list[float] = []
        """When it ended, in the last minute."""

    def __str__(self) -> str:
        return f"worker {self.number}"


class _Parent:
    def __init__(
        self, settings: Settings, listener: socket.socket, of_grpc: socket.socket | None
    ) -> None:
        self._settings = settings
        self._file = new_board(settings.workers)
        self._board = Board(self._file, settings.workers)
        self._workers = [_Worker(number) for number in range(settings.workers)]
        self._is_there = settings.read_only
        """The database, which the first writer makes."""
        self._doors = [Door(listener, channel.CONNECTION, self._ready, self._board.closed)]
        if of_grpc is not None:
            ended = partial(self._board.closed, grpc=True)
            self._doors.append(Door(of_grpc, channel.GRPC_CONNECTION, self._ready, ended))
        self._has_started = False
        self._stopping = False
        self._code = 0
        self._changed = asyncio.Event()
        self.started: Callable[[], None] = lambda: None
        """Is called when callers can come."""

    async def run(self) -> int:
        """All of it; the exit code."""
        tasks = [asyncio.ensure_future(self._keep(worker)) for worker in self._workers]
        await self._until(lambda: all(worker.is_ready for worker in self._workers))
        if not self._stopping:
            self._has_started = True
            self._listen()
            self.started()
        await asyncio.gather(*tasks)
        self._close_doors()
        os.close(self._file)
        return self._code

    async def _until(self, happened: Callable[[], bool]) -> None:
        """Wait for it, or for the end of all."""
        while not happened() and not self._stopping:
            self._changed.clear()
            await self._changed.wait()

    # -- workers ---------------------------------------------------------------------------------

    async def _keep(self, worker: _Worker) -> None:
        """Have a process for a worker, until it is enough."""
        while not self._stopping:
            code = await self._live(worker)
            if self._stopping:
                return
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            if not self._has_started:  # if it could say why, it has
                self._give_up(f"{worker} ended {how} before it could answer" if code < 0 else "")
                return
            now = time.monotonic()
            worker.ends = [end for end in worker.ends if now - end < _MINUTE] + [now]
            if len(worker.ends) > self._settings.restarts:
                times = f"{len(worker.ends)} times within a minute"
                self._give_up(f"{worker} ended {times}, now {how}; the server ends")
                return
            _log.error("%s ended %s, and is started again", worker, how)
            await self._pause(worker)

    async def _pause(self, worker: _Worker) -> None:
        """Before it is started again, longer each time; none at first."""
        times = len(worker.ends) - 2
        if times >= 0:
            seconds = min(_LONGEST_PAUSE, _PAUSE * 2**times)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._until(lambda: False), seconds)

    async def _live(self, worker: _Worker) -> int:
        """One process of a worker, from its start to its end; its exit code, negative: the signal
        that ended it."""
        mine, other = socket.socketpair()
        try:
            process = await self._begin(worker, other)
        except OSError as error:  # no memory, or too many processes
            _log.error("%s cannot be started: %s", worker, error)
            mine.close()
            return FAILED
        finally:
            other.close()
        end = worker.channel = Channel(mine)
        self._board.followers += not self._is_writer(worker)
        for door in self._doors:
            door.begins(worker.number)
        end.listen(
            {
                channel.READY: lambda _: self._is_ready(worker),
                channel.LINK: self._link,
            },
            gone=lambda: None,  # its exit code comes soon
            emptied=self._listen,
        )
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.write(self._settings.packed())
            await process.stdin.drain()
        process.stdin.close()
        if self._is_writer(worker) or self._is_there:
            end.tell(channel.OPEN)
        if self._stopping:
            end.tell(channel.STOP)
        try:
            return await process.wait()
        finally:
            worker.is_ready, worker.channel = False, None
            if self._is_writer(worker):
                self._board.has_writer = False
            else:
                self._board.followers -= 1
            end.close()
            self._changed.set()

    async def _begin(self, worker: _Worker, other: socket.socket) -> asyncio.subprocess.Process:
        numbers = [worker.number, other.fileno(), self._file]
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vecdb.server.workers.worker", *map(str, numbers)),
            stdin=asyncio.subprocess.PIPE,
            pass_fds=numbers[1:],
            start_new_session=True,  # what is typed at a terminal is for its parent alone
        )

    def _is_writer(self, worker: _Worker) -> bool:
        return worker.number == 0 and not self._settings.read_only

    def _is_ready(self, worker: _Worker) -> None:
        worker.is_ready = True
        if self._is_writer(worker):
            self._board.has_writer = True
            if not self._is_there:
                self._is_there = True
                self._tell_all(channel.OPEN)
        self._listen()
        self._changed.set()

    def _link(self, link: socket.socket | None) -> None:
        """A follower has something for the writer. If there is none, or too many links wait for it
        already, the link ends."""
        if link is None:  # this process has too many files open
            return
        writer = self._workers[0]
        with link:
            if writer.channel is None or not writer.is_ready:
                return
            if writer.channel.waiting < _LINKS:
                writer.channel.tell(channel.LINK, link)

    # -- callers ---------------------------------------------------------------------------------

    def _ready(self) -> dict[int, Channel]:
        """The channels of the workers that can be given something."""
        workers = [worker for worker in self._workers if worker.is_ready]
        return {each.number: each.channel for each in workers if each.channel is not None}

    def _listen(self) -> None:
        if self._has_started and not self._stopping:
            for door in self._doors:
                door.open()

    # -- the end ---------------------------------------------------------------------------------

    def stop(self) -> None:
        """Take no more connections, and end when the requests have ended; called again, at once.
        The database is closed in either case."""
        self._stopping = True
        self._close_doors()
        self._changed.set()
        self._tell_all(channel.STOP)

    def _close_doors(self) -> None:
        for door in self._doors:
            door.close()

    def _give_up(self, why: str) -> None:
        if why:
            print(f"vecdb: {why}", file=sys.stderr)
        self._code = FAILED
        self.stop()

    def read_certificate(self) -> None:
        """Have all workers use the certificate that the files hold now."""
        self._tell_all(channel.CERTIFICATE)

    def _tell_all(self, letter: bytes) -> None:
        for worker in self._workers:
            if worker.channel is not None:
                worker.channel.tell(letter)
