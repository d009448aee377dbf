"""What the tests of the server have in common: real processes on free ports, and plain requests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

import vecdb

_ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("VECDB_API", "VECDB_ALT", "VECDB_READ", "QDRANT_"))
} | {"PYTHONPATH": str(Path(vecdb.__file__).parent.parent)}


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        assert process.stdout is not None
        self.lines = [process.stdout.readline().rstrip("\n") for _ in range(2)]
        assert self.lines[0].startswith("vecdb serves "), log.read_text()
        self.url = self.lines[0].partition(" at ")[2].partition(",")[0]
        self.port = int(self.url.rpartition(":")[2])
        grpc = re.match(r"gRPC is at (\S+)\.", self.lines[1])
        self.grpc = "" if grpc is None else grpc[1]
        """The address for gRPC."""

    def http(self, key: str | None = None, **options: Any) -> httpx.Client:
        """A client with its own connections."""
        headers = {} if key is None else {"api-key": key}
        options.setdefault("verify", False)  # to load all certificates there are takes a while
        return httpx.Client(
            base_url=self.url, headers=headers, trust_env=False, timeout=60, **options
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


def start(
    directory: Path,
    *options: str | Path,
    environment: Mapping[str, str] | None = None,
    program: str | None = None,
) -> subprocess.Popen[str]:
    """The process of a server, which may not come up. Its errors go to a file beside it.
    ``program``: what to run in the place of the command."""
    words = [sys.executable, "-m", "vecdb", "serve", str(directory), *map(str, options)]
    if program is not None:
        words = [sys.executable, "-c", program, str(directory)]
    elif "--port" not in options:
        words += ["--port", "0"]
    if "--grpc-port" not in options:
        words.append("--no-grpc")
    with open(log_of(directory), "a") as errors:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**_ENVIRONMENT, **(environment or {})},
        )


def log_of(directory: Path) -> Path:
    """What a server writes to standard error."""
    return directory.with_name(f"{directory.name}.log")


@contextmanager
def serving(
    directory: Path,
    *options: str | Path,
    environment: Mapping[str, str] | None = None,
    program: str | None = None,
) -> Iterator[Server]:
    """A server, for the length of the block."""
    process = start(directory, *options, environment=environment, program=program)
    try:
        yield Server(process, log_of(directory))
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()
            assert process.stdout is not None
            process.stdout.close()


BEGUN = (
    b"PUT /collections/c/points HTTP/1.1\r\nhost: localhost\r\n"
    b"content-type: application/json\r\ncontent-length: 100\r\n\r\n{"
)
"""A request whose end does not come."""


def end_by_two_signals(server: Server) -> None:
    """Of a server with a request that does not end: it waits after the first signal, and not after
    the second."""
    time.sleep(0.2)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert server.process.poll() is None
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0


def workers(server: Server) -> dict[int, psutil.Process]:
    """The processes by their numbers."""
    children = psutil.Process(server.process.pid).children()
    found = {}
    for child in children:
        try:
            words = child.cmdline()
        except psutil.Error:  # it has just ended
            continue
        if "vecdb.server.workers.worker" in words:
            found[int(words[words.index("vecdb.server.workers.worker") + 1])] = child
    return found


def result(response: httpx.Response) -> Any:
    """What a request came to."""
    assert response.status_code == 200, (response.status_code, response.text)
    body = response.json()
    assert body.keys() == {"result", "status", "time"}
    assert body["status"] == "ok"
    assert isinstance(body["time"], float)
    return body["result"]


def error(response: httpx.Response, status: int) -> str:
    """The text of a refusal."""
    assert response.status_code == status, (response.status_code, response.text)
    body = response.json()
    assert body.keys() == {"status", "time"}
    text: str = body["status"]["error"]
    return text


def new_collection(http: httpx.Client, name: str, **config: Any) -> str:
    """An empty collection of vectors of four numbers."""
    body = {"vectors": {"size": 4, "distance": "Dot"}, **config}
    assert result(http.put(f"/collections/{name}", json=body)) is True
    return f"/collections/{name}"


def put(http: httpx.Client, path: str, *points: dict[str, Any]) -> Any:
    """Write points."""
    return result(http.put(f"{path}/points", params={"wait": "true"}, json={"points": points}))
