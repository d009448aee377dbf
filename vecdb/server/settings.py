"""Settings: what ``vecdb serve`` is told by its arguments and by the environment."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from vecdb.errors import InvalidInputError

PORT = 6333
GRPC_PORT = 6334
GRPC_ENGINES = ("grpcio", "h2")
HOST = "127.0.0.1"
MOST_WORKERS = 64
API_VERSION = "1.19.0"
"""Of the server whose interface this is. Qdrant's clients warn if theirs is far from it."""


class Settings(Struct, frozen=True, kw_only=True):
    """Everything a server is told."""

    directory: Path
    host: str = HOST
    port: int = PORT
    """0: any that is free."""
    grpc_port: int | None = None
    """None: gRPC is not served."""
    grpc_engine: str = GRPC_ENGINES[0]
    sync: str = "always"
    read_only: bool = False
    workers: int = 1
    memory_limit: int | None = None
    """Bytes for all its processes, each of which has an equal part."""
    on_over_budget: Literal["raise", "demote"] = "raise"
    """Processes that answer."""
    keys: tuple[str, ...] = ()
    """Each may do everything."""
    read_only_key: str | None = None
    insecure: bool = False
    """Listen to other machines without a key."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    max_body_bytes: int = 32 << 20
    max_in_flight: int = 256
    lenient: bool = False
    """Unknown fields of requests are left out, and counted."""
    metrics_prefix: str = ""
    api_version: str = API_VERSION
    access_log: bool = False
    static_dir: Path | None = None
    snapshot_urls: bool = False
    """Snapshots are fetched from URLs that callers name."""
    snapshot_hosts: tuple[str, ...] = ()
    """Those of them that may have any address."""
    restarts: int = 10
    """How often a worker may end within a minute, and is started again."""
    stop_seconds: float = 10.0
    """How long requests may take that are under way when it is told to stop."""
    body_seconds: float = 60.0
    """How long a body may keep the server waiting for its next bytes."""
    header_seconds: float = 10.0
    """How long a connection may take to send the head of a request."""
    unwanted_seconds: float = 5.0
    """How long a body is still taken in whose request was refused: a caller that is cut off while
    it sends may not see why."""

    def packed(self) -> bytes:
        """As another process of the server reads it."""
        return msgspec.json.encode(self, enc_hook=str)

    @staticmethod
    def unpacked(text: bytes) -> Settings:
        """What was packed."""
        return msgspec.json.decode(text, type=Settings, dec_hook=lambda kind, value: Path(value))

    @property
    def has_keys(self) -> bool:
        """Whether a caller must give one."""
        return bool(self.keys) or self.read_only_key is not None

    @property
    def hands_grpc_over(self) -> bool:
        """Whether the workers are handed their connections for gRPC, or listen by themselves:
        grpcio takes no connection from others."""
        return self.grpc_port is not None and self.workers > 1 and self.grpc_engine == "h2"

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return "http" if self.tls_cert is None else "https"

    def address(self, port: int) -> str:
        """Where a port is reached."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"

    @property
    def memory_of_each(self) -> int | None:
        """The ``memory_limit`` of one process."""
        return None if self.memory_limit is None else self.memory_limit // self.workers

    def problem(self) -> str | None:
        """Why it should not be served like this."""
        if (self.tls_cert is None) != (self.tls_key is None):
            return "--tls-cert and --tls-key: expected both or neither"
        if self.tls_client_ca is not None and self.tls_cert is None:
            return "--tls-client-ca: expected --tls-cert and --tls-key, too"
        if self.snapshot_hosts and not self.snapshot_urls:
            return "--snapshot-host: expected --snapshot-urls, too"
        if self.workers > MOST_WORKERS:
            return f"--workers: expected at most {MOST_WORKERS}, got {self.workers}"
        if self.workers > 1 and str(self.directory) == ":memory:":
            return "--workers: a database in memory is in one process"
        if not re.fullmatch(r"\d+\.\d+\.\d+", self.api_version):
            return f"--api-version: expected one as 1.20.0, got {self.api_version!r}"
        if not re.fullmatch(r"[a-zA-Z_:]?[a-zA-Z0-9_:]*", self.metrics_prefix):
            return f"--metrics-prefix: expected letters, digits and _, got {self.metrics_prefix!r}"
        if not is_loopback(self.host) and not self.has_keys and not self.insecure:
            return (
                f"{self.host} is reached from other machines, and there is no key: set "
                "VECDB_API_KEY, or say --insecure"
            )
        return None

    def warning(self) -> str | None:
        """What whoever starts it should know."""
        if not is_loopback(self.host) and self.has_keys and self.tls_cert is None:
            return "keys cross the network in the clear without --tls-cert and --tls-key"
        return None


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def keys_of(environment: Mapping[str, str]) -> tuple[tuple[str, ...], str | None]:
    """The keys that may do everything, and the one that may read. An empty one is none."""
    names = ("VECDB_API_KEY", "VECDB_ALT_API_KEY", "QDRANT__SERVICE__API_KEY")
    keys = tuple(environment[name] for name in names if environment.get(name))
    read_only = environment.get("VECDB_READ_ONLY_API_KEY") or environment.get(
        "QDRANT__SERVICE__READ_ONLY_API_KEY"
    )
    return tuple(dict.fromkeys(keys)), read_only or None


def address_of(environment: Mapping[str, str]) -> tuple[str, int, int | None]:
    """Where to listen, and where for gRPC, if the command does not say it. None: nothing does.
    Raises InvalidInputError."""
    host = environment.get("QDRANT__SERVICE__HOST") or HOST
    port = _port_of(environment, "QDRANT__SERVICE__HTTP_PORT")
    return host, PORT if port is None else port, _port_of(environment, "QDRANT__SERVICE__GRPC_PORT")


def _port_of(environment: Mapping[str, str], name: str) -> int | None:
    port = environment.get(name)
    if not port:
        return None
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise InvalidInputError(f"{name}: expected a port, got {port!r}")
    return int(port)
