"""Running: a server from the opening of its database to the closing of it."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
import uvloop

from vecdb import AsyncVecDB
from vecdb.server.access import Access
from vecdb.server.app import App
from vecdb.server.connections import Connection, close_late
from vecdb.server.description import described
from vecdb.server.service import Service
from vecdb.server.settings import Settings

_log = logging.getLogger("vecdb.server")

_BACKLOG = 1024
_CONNECTIONS = 1024
_IDLE = 60
"""Seconds that a connection may stay open between two requests."""
_BEAT = 0.5
"""Seconds between two looks at how late the event loop is."""

Say = Callable[[str], None]


def run(settings: Settings, say: Say) -> None:
    """Serve until a signal ends it. ``say`` is called with each line for whoever started it. Raises
    as ``VecDB`` does, and OSError if the address is taken."""
    uvloop.run(_run(settings, say))


async def _run(settings: Settings, say: Say) -> None:
    listener = _listen(settings)
    try:
        database = AsyncVecDB(
            settings.directory,
            sync=settings.sync,  # type: ignore[arg-type]  # the command line has a choice of them
            read_only=settings.read_only,
        )
        async with database:
            await _serve(settings, database, listener, say)
    finally:
        listener.close()


async def _serve(
    settings: Settings, database: AsyncVecDB, listener: socket.socket, say: Say
) -> None:
    service = Service(database, settings, described())
    port: int = listener.getsockname()[1]
    app = App(service, Access(settings, port))
    server = _Server(_config(settings, app), service)
    server.started_with = lambda: _say_where(settings, port, say)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    if settings.tls_cert is not None:
        loop.add_signal_handler(signal.SIGHUP, server.read_certificate)
    watch = asyncio.ensure_future(_watch(service, server.server_state.connections))
    try:
        await server.serve([listener])
    finally:
        watch.cancel()
        await service.finish()


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
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_IDLE,
        timeout_graceful_shutdown=round(settings.stop_seconds),
        ssl_certfile=_text(settings.tls_cert),
        ssl_keyfile=_text(settings.tls_key),
        ssl_ca_certs=_text(settings.tls_client_ca),
        ssl_cert_reqs=ssl.CERT_NONE if settings.tls_client_ca is None else ssl.CERT_REQUIRED,
    )


def _text(path: Any) -> str | None:
    return None if path is None else str(path)


def _listen(settings: Settings) -> socket.socket:
    """The socket, before the database is opened: a port that is taken is no reason to wait."""
    found = socket.getaddrinfo(
        settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{settings.host}:{settings.port}: {error.strerror}") from None
    return listener


def _say_where(settings: Settings, port: int, say: Say) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    mode = ", read only" if settings.read_only else ""
    say(f"vecdb serves {settings.directory} at {settings.scheme}://{host}:{port}{mode}")
    say("Ctrl-C or SIGTERM stops it.")


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
        """Take no more connections, and end when the requests have ended; called again, at once.
        The database is closed in either case."""
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
