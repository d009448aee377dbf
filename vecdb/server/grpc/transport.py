"""Transports: what brings calls to the core, behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod

from vecdb.server.grpc.core import Core
from vecdb.server.settings import Settings

LOCAL = ("127.0.0.1", "::1")
WORTH_PACKING = 1024
"""A shorter response is not compressed; nor is one for this machine."""


class Transport(ABC):
    """Listens on a port. It is made before the database is opened, which may take a while, and
    which a port that is taken makes useless."""

    port: int

    @abstractmethod
    async def start(self, core: Core) -> None:
        """Take calls from now on."""

    @abstractmethod
    async def stop(self, seconds: float) -> None:
        """Take no more calls; those under way have so many seconds to end."""

    @abstractmethod
    def read_certificate(self) -> None:
        """Use the certificate that the files hold now, for connections from now on."""


def listen(settings: Settings) -> Transport:
    """A transport of the kind that is set, which has its port. Raises OSError if that is taken."""
    if settings.grpc_engine == "h2":
        from vecdb.server.grpc.http2 import Http2

        return Http2(settings)
    from vecdb.server.grpc.grpcio import Grpcio

    return Grpcio(settings)
