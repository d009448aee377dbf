"""The transport of grpcio, the library that gRPC's authors write. It listens by itself; only
handlers are ours, which take and return bytes."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any
from urllib.parse import unquote

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read when grpc is imported; errors come back

import grpc
import grpc.aio

from vecdb.server.grpc.core import Core
from vecdb.server.grpc.transport import LOCAL, WORTH_PACKING, Transport
from vecdb.server.settings import Settings
from vecdb.server.sockets import address_of
from vecdb.server.status import Refusal

_log = logging.getLogger("vecdb.server")

_PINGS = 10_000
"""Milliseconds between the pings that a client may send all the time."""

Context = Any


class Grpcio(Transport):
    """A server of grpcio."""

    def __init__(self, settings: Settings) -> None:
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.max_body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # or a second server would take half of the calls
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", _PINGS),
            ]
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
        await self._server.start()

    async def stop(self, seconds: float) -> None:
        """Take no more calls; those under way have so many seconds to end."""
        await self._server.stop(seconds)

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

    def service(self, details: Any) -> Any:
        """The handler of a call."""
        return grpc.unary_unary_rpc_method_handler(partial(self._call, details.method))

    async def _call(self, path: str, data: bytes, context: Context) -> bytes:
        headers = _headers(context.invocation_metadata())
        client = _client(context.peer())
        try:
            response = await self._core.call(path, data, headers, client)
        except Refusal as refusal:
            code = grpc.StatusCode[refusal.status.grpc]
            await context.abort(code, refusal.text)
            raise AssertionError from None  # abort has raised
        if client not in LOCAL and len(response) > WORTH_PACKING:
            accepted = headers.get(b"grpc-accept-encoding", b"")
            if b"gzip" in accepted:
                context.set_compression(grpc.Compression.Gzip)
        return response


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
