"""Running: a server from the opening of its database to the closing of it."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from vecdb import AsyncVecDB
from vecdb.server.access import Access
from vecdb.server.app import App
from vecdb.server.arenas import keep_few_arenas
from vecdb.server.connections import Connection, close_late, take
from vecdb.server.description import described
from vecdb.server.service import Service
from vecdb.server.settings import Settings
from vecdb.server.sockets import CONNECTIONS, IDLE, listening

if TYPE_CHECKING:
    from vecdb.server.grpc.transport import Transport

_log = logging.getLogger("vecdb.server")

_BEAT = 0.5
"""Seconds between two looks at how late the event loop is."""

Tell = Callable[[str, str | None], None]


def run(settings: Settings, tell: Tell) -> None:
    """Serve until a signal ends it. ``tell`` is called with the URL, and with the address for gRPC
    if there is one, when callers find it there. Raises as ``VecDB`` does, and OSError if an address
    is taken."""
    keep_few_arenas()
    uvloop.run(_run(settings, tell))


async def _run(settings: Settings, tell: Tell) -> None:
    listener = listening(settings.host, settings.port)
    transport = None
    try:
        port: int = listener.getsockname()[1]
        if settings.grpc_port is not None:
            from vecdb.server.grpc.engines import listen

            transport = listen(settings)
        grpc = None if transport is None else settings.address(transport.port)
        database = AsyncVecDB(
            settings.directory,
            sync=settings.sync,  # type: ignore[arg-type]  # the command line has a choice of them
            read_only=settings.read_only,
            memory_limit=settings.memory_of_each,
            on_over_budget=settings.on_over_budget,
        )
        async with database:
            running = Running(settings, database, port, transport)
            _obey_signals(running)
            url = f"{settings.scheme}://{settings.address(port)}"
            await running.serve([listener], lambda: tell(url, grpc))
    finally:
        listener.close()
        if transport is not None:
            await transport.stop(0)


def _obey_signals(running: Running) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.stop)
    if running.service.settings.tls_cert is not None:
        loop.add_signal_handler(signal.SIGHUP, running.read_certificate)


class Running:
    """A server on an open database. ``port``: where callers reach it."""

    def __init__(
        self, settings: Settings, database: AsyncVecDB, port: int, transport: Transport | None
    ) -> None:
        self.service = Service(database, settings, described())
        self.access = Access(settings, port)
        self._server = _Server(_config(settings, App(self.service, self.access)), self.service)
        self._transport = transport
        self._stops: list[asyncio.Future[None]] = []

    async def serve(self, listeners: list[socket.socket], started: Callable[[], None]) -> None:
        """Answer requests until it is stopped, and end what they have begun. ``started`` is called
        when requests can come."""
        self._server.started_with = started
        if self._transport is not None:
            await self._transport.start(self.service)
        watch = asyncio.ensure_future(_watch(self.service, self._server.server_state.connections))
        try:
            await self._server.serve(listeners)
        finally:
            watch.cancel()
            await asyncio.gather(*self._stops)
            await self.service.finish()

    async def take(
        self, connection: socket.socket, closed: Callable[[], None], grpc: bool = False
    ) -> None:
        """Answer the requests of a connection that another process has accepted, or its calls.
        ``closed`` is called once, when it has ended."""
        if not grpc:
            await take(self._server, Connection, connection, closed)
            return
        assert self._transport is not None
        await self._transport.take(connection, closed)

    def stop(self) -> None:
        """Take no more requests, and end when those have ended that are under way; called again,
        at once. The database is closed in either case."""
        self._server.stop()
        if self._transport is not None:
            seconds = 0 if self._server.force_exit else self.service.settings.stop_seconds
            self._stops.append(asyncio.ensure_future(self._transport.stop(seconds)))

    def read_certificate(self) -> None:
        """Use the certificate that the files hold now, for connections from now on."""
        self._server.read_certificate()
        if self._transport is not None:
            self._transport.read_certificate()


def _config(settings: Settings, app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # what callers do wrong would fill a log
        access_log=False,
        server_header=False,
        proxy_headers=False,  # it would believe what a caller says of who it is
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=round(settings.stop_seconds),
        ssl_certfile=_text(settings.tls_cert),
        ssl_keyfile=_text(settings.tls_key),
        ssl_ca_certs=_text(settings.tls_client_ca),
        ssl_cert_reqs=ssl.CERT_NONE if settings.tls_client_ca is None else ssl.CERT_REQUIRED,
    )


def _text(path: Any) -> str | None:
    return None if path is None else str(path)


class _Server(uvicorn.Server):
    """uvicorn's server with signals of our own: its would end the process by the signal."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.started_with: Callable[[], None] = lambda: None
        self._service = service

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals as they are."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets)
        self.started_with()

    def stop(self) -> None:
        """As ``Running.stop``."""
        self.force_exit = self.should_exit
        self.should_exit = self._service.stopping = True

    def read_certificate(self) -> None:
        """Use the certificate that the files hold now, for connections from now on."""
        context, config = self.config.ssl, self.config
        assert context is not None
        assert config.ssl_certfile is not None
        try:
            context.load_cert_chain(config.ssl_certfile, config.ssl_keyfile)
        except (OSError, ssl.SSLError) as error:
            _log.error("the certificate stays as it was: %s", error)


async def _watch(service: Service, connections: set[Any]) -> None:
    """Note how late the event loop is, which is what a read in it makes others wait; and close the
    connections of callers that are late."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _BEAT
        await asyncio.sleep(_BEAT)
        late = max(0.0, loop.time() - due)
        service.counters.loop_delay = max(late, service.counters.loop_delay * 0.5)
        close_late(connections, service.settings)
        if service.peers is not None:
            service.peers.show(service.figures())
