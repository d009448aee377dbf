"""Passed on: the requests and calls that followers leave to the writer, as they reach it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from vecdb.server.access import Access
from vecdb.server.app import App
from vecdb.server.bodies import Gone, read_packed
from vecdb.server.service import Service
from vecdb.server.status import refusal_of
from vecdb.server.workers.links import CALL, STATUS

if TYPE_CHECKING:
    from vecdb.server.grpc.core import Core

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_LONG = 10**9
"""Seconds that a link may be idle: followers give it up, not we."""


class PassedOn:
    """The links from followers. What comes by them is answered as if the callers had come here, and
    their keys are looked at again."""

    def __init__(self, service: Service, access: Access) -> None:
        self._app = App(service, access, passed_on=True)
        self._core: Core | None = None
        self._most_bytes = service.settings.max_body_bytes
        if service.settings.grpc_port is not None:
            from vecdb.server.grpc.core import Core

            self._core = Core(service, access, passed_on=True)
        self._state = ServerState()
        self._config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            http=HttpToolsProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=_LONG,
        )
        self._config.load()

    async def take(self, link: socket.socket) -> None:
        """Answer what comes by a link."""
        link.setblocking(False)
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # it has ended already
            await loop.connect_accepted_socket(
                lambda: HttpToolsProtocol(self._config, self._state, {}), link
            )

    def close(self) -> None:
        """End all links."""
        for connection in list(self._state.connections):
            connection.transport.close()

    async def _answer(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if self._core is None or headers.get(CALL[0]) != CALL[1]:
            await self._app(scope, receive, send)
            return
        try:
            data = await read_packed(receive, headers, self._most_bytes)
            body = await self._core.call(scope["path"], data, headers, "")
            status: list[tuple[bytes, bytes]] = []
        except Gone:
            return
        except Exception as error:
            refusal = refusal_of(error)
            body = refusal.text.encode()
            status = [(STATUS, f"{refusal.status.http} {refusal.status.grpc}".encode())]
        headers_back = [*status, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers_back})
        await send({"type": "http.response.body", "body": body})
