"""Fetching: a snapshot from a URL, if the server was told that it may.

A server that fetches what callers name reaches what they cannot: other services of its machine and
its network, and of a cloud its metadata. So a name is looked up once and its addresses are checked,
it is these that are connected to, and an answer that leads elsewhere is not followed.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any
from urllib.parse import SplitResult, urlsplit

from vecdb.server.status import BUSY, FULL, WRONG, Refusal

_SECONDS = 30.0
"""How long a server may take to connect, and for its next bytes, at least ``_LEAST`` of them."""
_LEAST = 1 << 10
_LOOK = 0.1
"""Seconds between two looks at whether nobody waits any more."""
_PIECE = 1 << 18
_PORTS = {"http": 80, "https": 443}
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""Addresses that have one of IPv4 at their end, which is reached by them."""


def is_url(location: str) -> bool:
    """Whether it is elsewhere."""
    return location.lower().startswith(("http://", "https://"))


def _never() -> bool:
    return False


def fetched(
    url: str,
    hosts: Collection[str],
    most: int,
    key: str | None = None,
    stops: Callable[[], bool] = _never,
) -> Iterator[bytes]:
    """The bytes at a URL, ``most`` of them. ``hosts`` may have any address, others only one that is
    reached by everybody. ``key`` is sent along as ``api-key``. Waits for the network, until
    ``stops``. Raises Refusal."""
    try:
        yield from _fetched(url, hosts, most, key, stops)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _cannot(f"{type(error).__name__}: {error}") from None


def _fetched(
    url: str, hosts: Collection[str], most: int, key: str | None, stops: Callable[[], bool]
) -> Iterator[bytes]:
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        raise _cannot("expected http:// or https://, a host, and no user")
    with _connected(parts, hosts) as connected:
        connection = http.client.HTTPConnection(parts.hostname, _port(parts))
        # Only another port is named: signed URLs are signed with the host alone.
        connection.default_port = _PORTS[parts.scheme]
        connection.sock = connected
        target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        headers = {} if key is None else {"api-key": key}
        connection.request("GET", target, headers=headers)
        incoming: Any = _Incoming(connected, stops)
        with http.client.HTTPResponse(incoming, method="GET") as response:
            response.begin()
            if response.status != 200:
                raise _cannot(f"it is answered with status {response.status}")
            size = response.length or 0
            _check_size(size, most)
            read = 0
            while piece := response.read(_PIECE):
                read += len(piece)
                _check_size(read, most)
                yield piece
            if read < size:
                raise _cannot(f"it ends after {read} of {size} bytes")


class _Incoming(io.RawIOBase):
    """What comes by a connection, as long as it comes: the other side could keep us, and whoever
    waits for us to end, with a byte now and then. Time in which nobody reads does not count."""

    def __init__(self, connected: socket.socket, stops: Callable[[], bool]) -> None:
        self._connected, self._stops = connected, stops
        connected.settimeout(_LOOK)
        self._came, self._waited = 0, 0.0

    def makefile(self, mode: str) -> io.BufferedReader:
        """As of a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some. Raises OSError, and Refusal when it stops."""
        while True:
            if self._stops():
                raise Refusal(BUSY, "Service unavailable: the server ends")
            began = time.monotonic()
            try:
                count: int | None = self._connected.recv_into(buffer)
            except TimeoutError:
                count = None
            self._waited += time.monotonic() - began
            self._came += count or 0
            if self._came >= _LEAST:
                self._came, self._waited = 0, 0.0
            elif self._waited > _SECONDS:
                raise TimeoutError(f"fewer than {_LEAST} bytes came in {_SECONDS:g} seconds")
            if count is not None:
                return count


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS[parts.scheme]


def _connected(parts: SplitResult, hosts: Collection[str]) -> socket.socket:
    host = parts.hostname
    assert host is not None
    found = socket.getaddrinfo(host, _port(parts), type=socket.SOCK_STREAM)
    addresses = [str(each[4][0]) for each in found]
    if host not in hosts:
        for address in addresses:
            if not _is_public(address):
                raise _cannot(f"{host} is in a network that is not public; see --snapshot-host")
    connected = _reached(addresses, _port(parts))
    if parts.scheme == "http":
        return connected
    try:
        return ssl.create_default_context().wrap_socket(connected, server_hostname=host)
    except BaseException:
        connected.close()
        raise


def _reached(addresses: list[str], port: int) -> socket.socket:
    """A connection to the first that takes one. A name may have an address of IPv6 that leads
    nowhere."""
    failed = OSError("it has no address")
    for address in dict.fromkeys(addresses):
        try:
            return socket.create_connection((address, port), _SECONDS)
        except OSError as error:
            failed = error
    raise failed


def _is_public(address: str) -> bool:
    read = ipaddress.ip_address(address.partition("%")[0])
    if read in _TRANSLATED:
        read = ipaddress.ip_address(int(read) & 0xFFFFFFFF)
    for inner in (getattr(read, "ipv4_mapped", None), getattr(read, "sixtofour", None)):
        read = inner or read
    left_to_networks = (
        read.is_multicast or read.is_reserved or getattr(read, "is_site_local", False)
    )
    return read.is_global and not left_to_networks


def _check_size(size: int, most: int) -> None:
    if size > most:
        text = f"the snapshot has more than {most} bytes, half of what is free"
        raise Refusal(FULL, f"Insufficient storage: {text}")


def _cannot(why: str) -> Refusal:
    return Refusal(WRONG, f"Bad request: the snapshot cannot be fetched: {why:.300}")
