"""Sockets: where a server listens."""

from __future__ import annotations

import socket

CONNECTIONS = 1024
"""So many may be open at once."""
IDLE = 60
"""Seconds that a connection may stay open between two requests."""
_BACKLOG = 1024


def address_of(host: str, port: int) -> tuple[str, int]:
    """The address in digits that a host's name means here. Raises OSError."""
    address = _resolved(host, port)[4]
    return str(address[0]), int(address[1])


def _resolved(host: str, port: int) -> tuple[int, int, int, str, tuple[str | int, ...]]:
    found = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return found[0]  # type: ignore[return-value]


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError if the port is taken."""
    family, kind, protocol, _, address = _resolved(host, port)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{host}:{port}: {error.strerror}") from None
    return listener
