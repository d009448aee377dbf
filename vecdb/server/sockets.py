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
    listener = _bound(host, port, False)
    try:
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _not_there(host, port, error) from None
    listener.setblocking(False)
    return listener


def reserved(host: str, port: int) -> socket.socket:
    """A socket that does not listen, and keeps the port for those that listen there, shared. Raises
    OSError if the port is taken."""
    # By one that does not share: nobody else may listen there.
    with _bound(host, port, False) as alone:
        port = alone.getsockname()[1]
    return _bound(host, port, True)


def _bound(host: str, port: int, shared: bool) -> socket.socket:
    family, kind, protocol, _, address = _resolved(host, port)
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _not_there(host, port, error) from None
    return bound


def _not_there(host: str, port: int, error: OSError) -> OSError:
    return OSError(error.errno, f"{host}:{port}: {error.strerror}")
