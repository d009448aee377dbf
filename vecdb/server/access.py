"""Access: who may call, from where, and what for.

A browser sends its user's requests to this machine, whatever page asks for them. So a request must
name a host that is ours, or a page could reach a server here by a name of its own; and one that
comes from a page must come from an allowed one.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from vecdb.server.settings import Settings, is_loopback
from vecdb.server.status import FORBIDDEN, UNKNOWN_CALLER, Refusal
from vecdb.server.table import Right

Headers = Mapping[bytes, bytes]

_WILDCARDS = frozenset({"0.0.0.0", "::", ""})


class Access:
    """The rules of one server. ``port`` is the one it listens on."""

    def __init__(self, settings: Settings, port: int) -> None:
        self._keys = [key.encode() for key in settings.keys]
        self._read_only_key = (
            None if settings.read_only_key is None else settings.read_only_key.encode()
        )
        self._open = not settings.has_keys
        own = {"localhost", "127.0.0.1", "[::1]", settings.host.lower(), *settings.allowed_hosts}
        names = {_bracketed(name.lower()) for name in own if name not in _WILDCARDS}
        self._names = names
        self._any_address = not is_loopback(settings.host)
        # What nearly all requests have, as it comes.
        self._hosts = {f"{name}:{port}".encode() for name in names} | {n.encode() for n in names}
        self._scheme = settings.scheme
        self._origins = {origin.rstrip("/").lower().encode() for origin in settings.cors_origins}

    def check_source(self, headers: Headers) -> bytes | None:
        """The allowed origin of a request from a page of another server; None: it comes from no
        page, or from our own. Raises Refusal."""
        host = headers.get(b"host", b"")
        if host not in self._hosts and not self._is_ours(host):
            raise Refusal(FORBIDDEN, "Forbidden: this host is not allowed; see --allowed-host")
        origin = headers.get(b"origin")
        if origin is None:
            return None
        origin = origin.lower()
        if origin in self._origins:
            return origin
        if origin == f"{self._scheme}://".encode() + host.lower():
            return None
        raise Refusal(FORBIDDEN, "Forbidden: this origin is not allowed; see --cors-origin")

    def _is_ours(self, host: bytes) -> bool:
        try:
            name = urlsplit(f"//{host.decode('ascii')}").hostname or ""
        except ValueError:
            return False
        if _bracketed(name) in self._names:
            return True
        if self._any_address:  # a page cannot make its name out of digits
            try:
                ipaddress.ip_address(name)
            except ValueError:
                return False
            return True
        return False

    def right_of(self, headers: Headers) -> Right:
        """What the caller may do; OPEN: it has given no key. Raises Refusal for a wrong key."""
        if self._open:
            return Right.MANAGE
        given = headers.get(b"api-key")
        if given is None:
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            given = token.strip() if scheme.lower() == b"bearer" else None
        if not given:
            return Right.OPEN
        # All are compared, so that the time tells nothing of which was nearly right.
        writes = [hmac.compare_digest(given, key) for key in self._keys]
        reads = self._read_only_key is not None and hmac.compare_digest(given, self._read_only_key)
        if any(writes):
            return Right.MANAGE
        if reads:
            return Right.READ
        raise Refusal(UNKNOWN_CALLER, "Invalid API key or JWT")


def check_right(has: Right, needed: Right, collection: str) -> None:
    """Raise Refusal for a caller that may not do something."""
    if has >= needed:
        return
    if has is Right.OPEN:
        raise Refusal(UNKNOWN_CALLER, "Must provide an API key or an Authorization bearer token")
    if needed is Right.WRITE and collection:
        raise Refusal(FORBIDDEN, f"Forbidden: Write access to collection {collection} is required")
    raise Refusal(FORBIDDEN, "Forbidden: Global manage access is required")


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name and not name.startswith("[") else name
