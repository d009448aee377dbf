"""Engines: the transports there are. Only the one that is used is imported."""

from __future__ import annotations

from vecdb.errors import InvalidInputError
from vecdb.server.grpc.transport import Transport
from vecdb.server.settings import Settings


def listen(settings: Settings) -> Transport:
    """A transport of the kind that is set, which has its port. Raises OSError if that is taken, and
    InvalidInputError if a package is missing."""
    extra = "h2" if settings.grpc_engine == "h2" else "server"
    try:
        if extra == "h2":
            from vecdb.server.grpc.http2 import Http2

            return Http2(settings)
        from vecdb.server.grpc.grpcio import Grpcio

        return Grpcio(settings)
    except ModuleNotFoundError as error:
        text = f"gRPC needs more packages: pip install 'vecdb-embedded[{extra}]', or say --no-grpc"
        raise InvalidInputError(f"{text} (there is no {error.name})") from None
