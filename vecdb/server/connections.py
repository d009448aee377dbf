"""Connections: uvicorn's, with an eye on callers that keep the server waiting."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vecdb.server.settings import Settings

MOST_HEAD_BYTES = 1 << 16
"""Of the head of a request."""


class Connection(HttpToolsProtocol):
    """One connection, which knows when it last heard from its caller. No timer is set for that: it
    would have to be set anew for every request. ``close_late`` looks at all of them now and then.
    A head that does not end is cut off.
    """

    closed: Callable[[], None] | None = None
    """Is called when it has ended."""

    def connection_made(self, transport: Any) -> None:
        """It begins."""
        super().connection_made(transport)
        self.heard = self.loop.time()
        self.unwanted_since: float | None = None
        self.head_bytes: int | None = None
        self._under_way: list[Any] = []

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended, for each of its requests: uvicorn tells only the one that came last, and
        others may wait for their answers, too."""
        super().connection_lost(exc)
        for request in self._under_way:
            request.disconnected = True
            request.message_event.set()
        if self.closed is not None:
            self.closed()

    def data_received(self, data: bytes) -> None:
        """Something came."""
        self.heard = self.loop.time()
        super().data_received(data)
        if self.head_bytes is not None:
            self.head_bytes += len(data)
            if self.head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """The head of a request begins."""
        self.head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """It has ended."""
        self.head_bytes = None
        super().on_headers_complete()
        before = [each for each in self._under_way if not each.response_complete]
        self._under_way = [*before, self.cycle]

    def is_late(self, now: float, settings: Settings) -> bool:
        """Whether the caller owes something, and for too long."""
        request, silent = self.cycle, now - self.heard
        if request is None:
            return silent > settings.header_seconds
        if not request.response_complete:
            # While nothing is read, nothing can come.
            waits = request.more_body and not self.flow.read_paused
            return waits and silent > settings.body_seconds
        if request.more_body:
            if self.unwanted_since is None:
                self.unwanted_since = now
            return now - self.unwanted_since > settings.unwanted_seconds
        self.unwanted_since = None
        between_requests = self.timeout_keep_alive_task is not None  # uvicorn sees to that
        return not between_requests and silent > settings.header_seconds


async def take(
    server: Any, kind: type[Any], connection: socket.socket, closed: Callable[[], None]
) -> None:
    """Have a server of uvicorn's answer a connection that another process has accepted. ``kind``:
    the protocol, which calls its ``closed`` once, when it has ended."""
    config, state = server.config, server.server_state

    def protocol() -> Any:
        made = kind(config=config, server_state=state, app_state=server.lifespan.state)
        made.closed = closed
        return made

    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    loop = asyncio.get_running_loop()
    try:
        await loop.connect_accepted_socket(protocol, connection, ssl=config.ssl)
    except OSError:  # it has ended before it began
        connection.close()
        closed()


def close_late(connections: Iterable[Any], settings: Settings) -> None:
    """Close the connections of callers that are late. What they had asked for ends."""
    now = asyncio.get_running_loop().time()
    for connection in list(connections):
        if connection.is_late(now, settings):
            connection.transport.close()
