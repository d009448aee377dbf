"""The transport of uvicorn's HTTP/2, for which gRPC is a request with trailers.

It takes half the time of grpcio. But zttp, which does the protocol, is young: so nothing here
waits for it without a limit.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto_zttp_impl import AutoZttpProtocol
from zttp import HTTP2  # noqa: F401  # says at once if it is missing

from vecdb.server.bodies import Gone, Receive, chunks, unpack
from vecdb.server.connections import take
from vecdb.server.grpc.core import CODES, Core
from vecdb.server.grpc.transport import Transport, is_worth_packing
from vecdb.server.settings import Settings
from vecdb.server.sockets import CONNECTIONS, IDLE, listening
from vecdb.server.status import TIMEOUT, WRONG, Refusal, Status, refusal_of

_log = logging.getLogger("vecdb.server")

Send = Callable[[dict[str, Any]], Awaitable[None]]
Scope = Mapping[str, Any]
Headers = list[tuple[bytes, bytes]]

TOO_LARGE = Status(400, "RESOURCE_EXHAUSTED")
_KIND = (b"content-type", b"application/grpc")
_ENCODINGS = (b"grpc-accept-encoding", b"identity,gzip")
_PACKED = (b"grpc-encoding", b"gzip")
_OK = (b"grpc-status", b"0")
_PREFIX = struct.Struct(">BI")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_UNSAFE = re.compile(rb"[^ -$&-~]")


class Http2(Transport):
    """A server of uvicorn that speaks HTTP/2."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        port = settings.grpc_port or 0
        self._listeners = [] if settings.hands_grpc_over else [listening(settings.host, port)]
        self.port = port if not self._listeners else self._listeners[0].getsockname()[1]
        self._server: _Server | None = None
        self._serving: asyncio.Future[None] | None = None

    async def _start(self, core: Core) -> None:
        settings = self._settings
        config = uvicorn.Config(
            _App(core, settings),
            http="zttp",
            http2=True,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=IDLE,
            timeout_graceful_shutdown=round(settings.stop_seconds),
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=None if settings.tls_key is None else str(settings.tls_key),
            ssl_ca_certs=None if settings.tls_client_ca is None else str(settings.tls_client_ca),
            ssl_cert_reqs=ssl.CERT_NONE if settings.tls_client_ca is None else ssl.CERT_REQUIRED,
        )
        self._server = _Server(config)
        self._serving = asyncio.ensure_future(self._server.serve(self._listeners))
        started = asyncio.ensure_future(self._server.has_started.wait())
        await asyncio.wait([started, self._serving], return_when=asyncio.FIRST_COMPLETED)
        if self._serving.done():
            started.cancel()
            await self._serving

    async def take(self, connection: socket.socket, closed: Callable[[], None]) -> None:
        """Answer the calls of a connection that another process has accepted."""
        assert self._server is not None
        await take(self._server, _Connection, connection, closed)

    async def stop(self, seconds: float) -> None:
        """Take no more calls; those under way have so many seconds to end."""
        if self._server is None or self._serving is None:
            for listener in self._listeners:
                listener.close()
            return
        self._server.force_exit = not seconds
        self._server.should_exit = True
        await asyncio.shield(self._serving)

    def read_certificate(self) -> None:
        """Use the certificate that the files hold now, for connections from now on."""
        assert self._server is not None
        context, settings = self._server.config.ssl, self._settings
        assert context is not None
        assert settings.tls_cert is not None
        try:
            context.load_cert_chain(settings.tls_cert, settings.tls_key)
        except (OSError, ssl.SSLError) as error:
            _log.error("the certificate for gRPC stays as it was: %s", error)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.has_started = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals as they are."""
        yield

    async def startup(self, sockets: Any = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self.has_started.set()


class _Connection(AutoZttpProtocol):
    """A connection that says when it has ended. It begins as this, until it is known whether the
    caller speaks HTTP/2, and another protocol goes on with it then."""

    closed: Callable[[], None]

    def connection_made(self, transport: Any) -> None:
        """It begins."""
        super().connection_made(transport)
        self._look()

    def data_received(self, data: bytes) -> None:
        """Something came."""
        super().data_received(data)
        self._look()

    def _look(self) -> None:
        other: Any = self.transport.get_protocol()
        if other is self:
            return
        lost = other.connection_lost

        def connection_lost(error: Exception | None) -> None:
            lost(error)
            self.closed()

        other.connection_lost = connection_lost

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended, before the caller said much."""
        super().connection_lost(exc)
        self.closed()


class _App:
    """Calls as requests (ASGI)."""

    def __init__(self, core: Core, settings: Settings) -> None:
        self._core = core
        self._most_bytes = settings.max_body_bytes
        self._body_seconds = settings.body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        headers = dict(scope["headers"])
        if scope["method"] != "POST" or not headers.get(_KIND[0], b"").startswith(_KIND[1]):
            await _send_status_of_http(send, 415)
            return
        try:
            response = await self._answer(scope, headers, receive)
        except Gone:
            return
        except Exception as error:
            await _send_refusal(send, refusal_of(error))
            return
        packs = is_worth_packing(response, scope["client"][0])
        packs = packs and b"gzip" in headers.get(_ENCODINGS[0], b"")
        await _send_response(send, response, packs)

    async def _answer(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive
    ) -> bytes:
        self._core.access.check_source(headers)
        with _Limit(_timeout(headers)):
            with _Limit(self._body_seconds):
                data = await self._message(headers, receive)
            return await self._core.call(scope["path"], data, headers, scope["client"][0])

    async def _message(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The one message of a request. Raises Refusal, Gone."""
        limit = self._most_bytes
        pieces: list[bytes] = []
        size = 0
        async for chunk in chunks(receive):
            pieces.append(chunk)
            size += len(chunk)
            if size > limit + _PREFIX.size:
                raise _too_large(limit)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if len(body) < _PREFIX.size:
            raise Refusal(WRONG, "Format error in body: expected a message")
        packed, length = _PREFIX.unpack_from(body)
        if len(body) != _PREFIX.size + length:
            raise Refusal(WRONG, "Format error in body: expected one message, whole")
        data = body[_PREFIX.size :]
        if not packed:
            return data
        if headers.get(_PACKED[0]) != _PACKED[1]:
            raise Refusal(_UNKNOWN_ENCODING, "of encodings only gzip is understood")
        if length < _LARGE:
            return _unpacked(data, limit)
        return await asyncio.to_thread(_unpacked, data, limit)


class _Limit:
    """Ends what a task does in a block when its seconds are over. A timer of the loop does it: to
    wait for the block as for another task would cost more than all else here."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._is_over = False

    def __enter__(self) -> None:
        if self._seconds is not None:
            task = asyncio.current_task()
            assert task is not None
            self._task = task
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end)

    def _end(self) -> None:
        self._is_over = True
        self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._seconds is None:
            return
        self._timer.cancel()
        if not self._is_over or kind is not asyncio.CancelledError:
            return
        if hasattr(self._task, "uncancel"):  # Python 3.11
            self._task.uncancel()
        text = f"Timeout: the call took longer than {self._seconds:g} s"
        raise Refusal(TIMEOUT, text) from None


_LARGE = 1 << 18
"""Bytes that are unpacked in another thread."""
_UNKNOWN_ENCODING = Status(400, "UNIMPLEMENTED")


def _unpacked(data: bytes, limit: int) -> bytes:
    try:
        return unpack(data, limit)
    except Refusal as refusal:
        if "larger" in refusal.text:
            raise _too_large(limit) from None
        raise


def _too_large(limit: int) -> Refusal:
    return Refusal(TOO_LARGE, f"the message is larger than the limit of {limit} bytes")


def _timeout(headers: Mapping[bytes, bytes]) -> float | None:
    """The seconds that the caller waits, at most. Raises Refusal."""
    text = headers.get(b"grpc-timeout")
    if text is None:
        return None
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        raise Refusal(WRONG, "grpc-timeout: expected up to eight digits and a unit")
    return int(found[1]) * _SECONDS[found[2]]


async def _send_response(send: Send, response: bytes, packs: bool) -> None:
    headers = [_KIND, _ENCODINGS]
    if packs:
        response = gzip.compress(response, 1, mtime=0)
        headers.append(_PACKED)
    await _send(send, headers, _PREFIX.pack(packs, len(response)) + response, [_OK])


async def _send_refusal(send: Send, refusal: Refusal) -> None:
    status = b"%d" % CODES[refusal.status.grpc]
    message = _UNSAFE.sub(lambda byte: b"%%%02X" % byte[0][0], refusal.text.encode())
    trailers = [(b"grpc-status", status), (b"grpc-message", message)]
    await _send(send, [_KIND, _ENCODINGS], b"", trailers)


async def _send(send: Send, headers: Headers, body: bytes, trailers: Headers) -> None:
    start = {"type": "http.response.start", "status": 200, "headers": headers, "trailers": True}
    await send(start)
    await send({"type": "http.response.body", "body": body})
    await send({"type": "http.response.trailers", "headers": trailers})


async def _send_status_of_http(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})
