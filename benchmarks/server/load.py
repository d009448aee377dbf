"""Load: callers that send the next request as soon as the last one is answered.

Requests are bytes that were made before, and of an answer only its status and its length are read:
the caller has one processor, and the server should be what is measured.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import cast

import numpy as np
import psutil
from msgspec import Struct

WARM_UP = 1.0


class Figures(Struct, frozen=True):
    """Of one measurement. Times in milliseconds; ``cpu_us``: the server's processor time for a
    request, in microseconds."""

    per_second: float
    p50: float
    p99: float
    cpu_us: float


class Run:
    """The calls of one measurement."""

    def __init__(self, requests: Sequence[bytes]) -> None:
        self.requests: Iterator[bytes] = itertools.cycle(requests)
        self.seconds: list[float] = []
        self.error: Exception | None = None
        self.over = False


class _Caller(asyncio.Protocol):
    """One connection of HTTP/1.1."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._received = bytearray()
        self._wanted: int | None = None
        self._started = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # that of uvloop is not one
        self._ask()

    def _ask(self) -> None:
        self._started = time.perf_counter()
        self._transport.write(next(self._run.requests))

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if self._wanted is None:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(received[:end]).lower()
            length = re.search(rb"content-length: *(\d+)", head)
            if length is None or not head.startswith((b"http/1.1 200", b"http/1.1 201")):
                self._run.error = RuntimeError(bytes(received[:500]).decode(errors="replace"))
                self._transport.close()
                return
            self._wanted = end + 4 + int(length[1])
        if len(received) < self._wanted:
            return
        self._run.seconds.append(time.perf_counter() - self._started)
        received.clear()
        self._wanted = None
        if self._run.over:
            self._transport.close()
        else:
            self._ask()


def post(path: str, body: bytes, method: str = "POST") -> bytes:
    """A request as it is sent."""
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def over_http(
    server: psutil.Process, port: int, requests: Sequence[bytes], connections: int, seconds: float
) -> Figures:
    """So many connections for so long. Raises RuntimeError with an answer that is no success."""

    async def begin(run: Run) -> Callable[[], Awaitable[None]]:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            await loop.create_connection(lambda: _Caller(run), "127.0.0.1", port)

        async def end() -> None:
            await asyncio.sleep(0.2)

        return end

    return _measured(server, requests, begin, seconds)


def over_grpc(
    server: psutil.Process, port: int, method: str, requests: Sequence[bytes], calls: int,
    seconds: float,
) -> Figures:  # fmt: skip
    """So many calls at a time, each on a connection of its own, as HTTP/2 of uvicorn ends one after
    about 4,096 calls. Raises grpc.RpcError."""
    import grpc.aio

    async def begin(run: Run) -> Callable[[], Awaitable[None]]:
        alone = [("grpc.use_local_subchannel_pool", 1)]  # else channels share a connection
        channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", alone) for _ in range(calls)]

        async def caller(channel: grpc.aio.Channel) -> None:
            call = channel.unary_unary(method)
            while not run.over:
                started = time.perf_counter()
                await call(next(run.requests))
                run.seconds.append(time.perf_counter() - started)

        callers = [asyncio.ensure_future(caller(channel)) for channel in channels]

        async def end() -> None:
            await asyncio.gather(*callers)
            await asyncio.gather(*(channel.close() for channel in channels))

        return end

    return _measured(server, requests, begin, seconds)


def _measured(
    server: psutil.Process,
    requests: Sequence[bytes],
    begin: Callable[[Run], Awaitable[Callable[[], Awaitable[None]]]],
    seconds: float,
) -> Figures:
    import uvloop

    async def work() -> Figures:
        run = Run(requests)
        end = await begin(run)
        await asyncio.sleep(WARM_UP)
        run.seconds.clear()
        began, cpu = time.perf_counter(), cpu_seconds(server)
        await asyncio.sleep(seconds)
        taken, spent = time.perf_counter() - began, cpu_seconds(server) - cpu
        times = [*run.seconds]
        run.over = True
        await end()
        if run.error is not None:
            raise run.error
        return figures_of(times, taken, spent)

    return uvloop.run(work())


def figures_of(times: list[float], taken: float, spent: float) -> Figures:
    """From the seconds of each call, of all together, and of the server's processor."""
    if not times:
        raise RuntimeError(f"no answer in {taken:.0f} seconds")
    p50, p99 = np.percentile(times, [50, 99]) * 1e3
    return Figures(len(times) / taken, float(p50), float(p99), spent / len(times) * 1e6)


def cpu_seconds(server: psutil.Process) -> float:
    """Seconds of processor time of a process and of those it started."""
    total = 0.0
    for process in (server, *server.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total
