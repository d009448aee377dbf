"""Connections: uvicorn's, with an eye on callers that keep the server waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vecdb.server.settings import Settings


class Connection(HttpToolsProtocol):
    """One connection, which knows when it last heard from its caller. No timer is set for that: it
    would have to be set anew for every request. ``close_late`` looks at all of them now and then.
    """

    def connection_made(self, transport: Any) -> None:
        """It begins."""
        super().connection_made(transport)
        self.heard = self.loop.time()
        self.unwanted_since: float | None = None

    def data_received(self, data: bytes) -> None:
        """Something came."""
        self.heard = self.loop.time()
        super().data_received(data)

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


def close_late(connections: Iterable[Any], settings: Settings) -> None:
    """Close the connections of callers that are late. What they had asked for ends."""
    now = asyncio.get_running_loop().time()
    for connection in list(connections):
        if connection.is_late(now, settings):
            connection.transport.close()
