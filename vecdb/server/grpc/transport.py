"""Transport: what brings calls to the core."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable

from vecdb.server.access import Access
from vecdb.server.grpc.core import Core
from vecdb.server.service import Service

_LOCAL = ("127.0.0.1", "::1")
_WORTH_PACKING = 1024


def is_worth_packing(response: bytes, client: str) -> bool:
    """Whether a response should go out compressed: if it is long, and for another machine."""
    return len(response) > _WORTH_PACKING and client not in _LOCAL


class Transport(ABC):
    """Listens on a port. It is made before the database is opened, which may take a while, and
    which a port that is taken makes useless."""

    port: int

    async def start(self, service: Service) -> None:
        """Take calls from now on."""
        await self._start(Core(service, Access(service.settings, self.port)))

    @abstractmethod
    async def _start(self, core: Core) -> None: ...

    async def take(self, connection: socket.socket, closed: Callable[[], None]) -> None:
        """Answer the calls of a connection that another process has accepted, as
        ``Settings.hands_grpc_over`` says. ``closed`` is called once, when it has ended."""
        raise NotImplementedError

    @abstractmethod
    async def stop(self, seconds: float) -> None:
        """Take no more calls; those under way have so many seconds to end. Called again, it may be
        fewer."""

    @abstractmethod
    def read_certificate(self) -> None:
        """Use the certificate that the files hold now, for connections from now on."""
