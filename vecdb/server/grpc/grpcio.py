"""The transport of grpcio, the library that gRPC's authors write.

It listens by itself; only handlers are ours, which take and return bytes. Its server is the one
with threads, though everything else here is in an event loop: each call has a thread that waits for
the loop to answer it. grpcio's own server for event loops brings calls one by one, at twice the
cost; from threads, those that come together are in the loop together, and their searches are made
together.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any
from urllib.parse import unquote

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read when grpc is imported; errors come back

import grpc

from vecdb.server.grpc.core import Core
from vecdb.server.grpc.transport import Transport, is_worth_packing
from vecdb.server.settings import Settings
from vecdb.server.sockets import address_of
from vecdb.server.status import Refusal

_log = logging.getLogger("vecdb.server")

_PINGS = 10_000
"""Milliseconds between the pings that a client may send all the time."""
_LOW = 1
"""The level of compression. grpcio says how, by what the caller knows: there is no other way to be
told of that."""
_REFUSING = 16
"""Threads for calls that are refused, as there are too many others."""

Context = Any


class Grpcio(Transport):
    """A server of grpcio."""

    def __init__(self, settings: Settings) -> None:
        self._threads = ThreadPoolExecutor(settings.max_in_flight + _REFUSING, "vecdb-grpc")
        self._server = grpc.server(
            self._threads,
            options=[
                ("grpc.max_receive_message_length", settings.max_body_bytes),
                ("grpc.max_send_message_length", -1),
                # Only for workers of one server: a second one would take half of the calls.
                ("grpc.so_reuseport", int(settings.workers > 1)),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", _PINGS),
                ("grpc.default_compression_level", _LOW),
            ],
        )
        self._settings = settings
        host, port = address_of(settings.host, settings.grpc_port or 0)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if settings.tls_cert is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self._certificate = _certificate(settings)
                credentials = grpc.dynamic_ssl_server_credentials(
                    self._certificate,
                    lambda: self._certificate,
                    require_client_authentication=settings.tls_client_ca is not None,
                )
                self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError:
            raise OSError(f"{settings.host}:{port}: cannot listen there for gRPC") from None

    async def _start(self, core: Core) -> None:
        self._server.add_generic_rpc_handlers((_Handlers(core),))
        self._server.start()

    async def stop(self, seconds: float) -> None:
        """Take no more calls; those under way have so many seconds to end."""
        ended = self._server.stop(seconds)
        await asyncio.to_thread(ended.wait)

    def read_certificate(self) -> None:
        """Use the certificate that the files hold now, for connections from now on."""
        try:
            self._certificate = _certificate(self._settings)
        except OSError as error:
            _log.error("the certificate for gRPC stays as it was: %s", error)


def _certificate(settings: Settings) -> Any:
    assert settings.tls_cert is not None
    assert settings.tls_key is not None
    authority = settings.tls_client_ca
    return grpc.ssl_server_certificate_configuration(
        [(settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())],
        None if authority is None else authority.read_bytes(),
    )


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # has no types
    """A handler for any path; what is no method the core refuses."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._loop = asyncio.get_running_loop()

    def service(self, details: Any) -> Any:
        """The handler of a call."""
        return grpc.unary_unary_rpc_method_handler(partial(self._call, details.method))

    def _call(self, path: str, data: bytes, context: Context) -> bytes:
        """Answer a call, in a thread of its own."""
        headers = _headers(context.invocation_metadata())
        client = _client(context.peer())
        call = _Call(self._loop, self._core, (path, data, headers, client))
        self._loop.call_soon_threadsafe(call.begin)
        context.add_callback(call.end)
        try:
            response = call.response.result()
        except Refusal as refusal:
            context.abort(grpc.StatusCode[refusal.status.grpc], refusal.text)
            raise AssertionError from None  # abort has raised
        except CancelledError:
            return b""  # nobody waits for it
        if not is_worth_packing(response, client):
            context.disable_next_message_compression()
        return response


class _Call:
    """One call on its way from a thread to the loop and back."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        core: Core,
        given: tuple[str, bytes, Mapping[bytes, bytes], str],
    ) -> None:
        self._loop, self._core, self._given = loop, core, given
        self.response: Future[bytes] = Future()

    def begin(self) -> None:
        """Answer it, in the loop."""
        self._task = self._loop.create_task(self._core.call(*self._given))
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[bytes]) -> None:
        if task.cancelled():
            self.response.cancel()
            return
        error = task.exception()
        if error is None:
            self.response.set_result(task.result())
        else:
            self.response.set_exception(error)

    def end(self) -> None:
        """The call has ended, by an answer, the caller or its deadline. In a thread of grpcio."""
        if not self.response.done():
            self._loop.call_soon_threadsafe(lambda: self._task.cancel())


def _headers(metadata: Any) -> Mapping[bytes, bytes]:
    return {
        key.encode(): value if isinstance(value, bytes) else value.encode()
        for key, value in metadata or ()
    }


@lru_cache(1024)
def _client(peer: str) -> str:
    """The address in a text such as ``ipv4:127.0.0.1:4711`` or ``ipv6:%5B::1%5D:4711``."""
    _, _, address = unquote(peer).partition(":")
    host, _, _ = address.rpartition(":")
    return host.strip("[]")
