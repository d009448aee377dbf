"""Contenders: servers that can be started here, filled with the same points and asked the same."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil

from benchmarks.data import Data, K
from benchmarks.server.load import post

_BATCH = 500
_SECONDS = 600
_REST = 5.0
ASKED = 300
"""Searches of which recall is measured."""
EFFORTS = (10, 12, 16, 20, 24, 32, 40, 50, 64, 80, 100, 150, 200, 400)
"""Of graphs: how many candidates a search keeps."""
VECDB = (
    f"{shlex.quote(sys.executable)} -m vecdb serve {{directory}} "
    "--port {port} --grpc-port {grpc_port} --sync {sync}"
)


class Contender:
    """One that speaks Qdrant's interface. ``command``: how it is started, with places for
    ``{directory}`` (or ``{filled}``: the database that vecdb has filled), ``{port}``,
    ``{grpc_port}`` and ``{sync}``."""

    def __init__(self, name: str, command: str) -> None:
        self.name = name
        self.command = command.replace("{filled}", "{directory}")
        self.opens_vecdbs = "{filled}" in command

    @contextmanager
    def running(
        self, directory: Path, cores: Sequence[int], sync: str = "never"
    ) -> Iterator[Running]:
        """The server, on these processors, for the length of the block."""
        ports = {"port": _free_port(), "grpc_port": _free_port()}
        words = shlex.split(self.command.format(directory=directory / "db", sync=sync, **ports))
        with (directory / "log").open("ab") as log:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory
            )
        psutil.Process(process.pid).cpu_affinity(list(cores))
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{ports['port']}", timeout=_SECONDS, trust_env=False
            ) as http:
                running = Running(http, psutil.Process(process.pid), **ports)
                self._wait(running, process)
                yield running
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    ready = "/"

    def answers(self, running: Running) -> bool:
        """Whether it is there."""
        try:
            return running.http.get(self.ready).status_code == 200
        except httpx.TransportError:
            return False

    def _wait(self, running: Running, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with code {process.returncode}")
            if self.answers(running):
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} does not answer")

    def fill(self, running: Running, data: Data) -> None:
        """Write all points, and wait until they are indexed."""
        size = {"size": data.dim, "distance": "Cosine"}
        running.http.put("/collections/b", json={"vectors": size}).raise_for_status()
        payload = data.payload or [{}] * data.rows
        for first in range(0, data.rows, _BATCH):
            rows = range(first, min(first + _BATCH, data.rows))
            points = [
                {"id": n, "vector": data.base[n].tolist(), "payload": payload[n]} for n in rows
            ]
            body = msgspec.json.encode({"points": points})
            running.put("/collections/b/points?wait=true", body)
        self.settle(running)

    def settle(self, running: Running) -> None:
        """Wait until all is indexed, and stays as it is: seconds after a load vecdb merges what the
        load has left, which takes half of the processor from the searches meanwhile."""
        deadline, since, before = time.monotonic() + _SECONDS, time.monotonic(), None
        while time.monotonic() < deadline:
            info = running.http.get("/collections/b").json()["result"]
            state = info["status"], info["segments_count"], info["indexed_vectors_count"]
            if state != before or state[0] != "green" or not state[2]:
                since, before = time.monotonic(), state
            elif time.monotonic() - since > _REST:
                return
            time.sleep(0.5)
        raise RuntimeError(f"not indexed and at rest after {_SECONDS} seconds")

    has_effort = False

    def set_effort(self, running: Running, effort: int) -> None:
        """Set the effort of searches, from the next start of the server on."""
        raise NotImplementedError(f"{self.name} has no search effort that can be set")

    def recall(self, running: Running, data: Data) -> float:
        """The share of true neighbours that it finds."""
        asked = self.searches(data, with_payload=False)[:ASKED]
        return data.recall([self.found(running.ask(each)) for each in asked])

    def searches(self, data: Data, *, with_payload: bool) -> list[bytes]:
        """A request for each query."""
        return [
            post(
                "/collections/b/points/query",
                msgspec.json.encode(
                    {"query": query.tolist(), "limit": K, "with_payload": with_payload}
                ),
            )
            for query in data.queries
        ]

    def found(self, answer: Any) -> list[int]:
        """The rows in an answer."""
        return [point["id"] for point in answer["result"]["points"]]


class Chroma(Contender):
    """ChromaDB's server, of the same environment."""

    ready = "/api/v2/heartbeat"
    _PATH = "/api/v2/tenants/default_tenant/databases/default_database/collections"

    def __init__(self) -> None:
        chroma = shlex.quote(str(Path(sys.executable).with_name("chroma")))
        super().__init__("ChromaDB", f"{chroma} run --path {{directory}} --port {{port}}")
        self._collection = ""

    def fill(self, running: Running, data: Data) -> None:
        """As above; its index is there when a write has been answered."""
        configuration = {"hnsw": {"space": "cosine"}}
        made = running.http.post(self._PATH, json={"name": "bench", "configuration": configuration})
        made.raise_for_status()
        self.settle(running)
        for first in range(0, data.rows, _BATCH):
            rows = range(first, min(first + _BATCH, data.rows))
            body: dict[str, Any] = {
                "ids": [str(n) for n in rows],
                "embeddings": [data.base[n].tolist() for n in rows],
            }
            if data.payload:
                body["metadatas"] = [_flat(data.payload[n]) for n in rows]
            answer = running.http.post(f"{self._collection}/upsert", json=body)
            answer.raise_for_status()

    def settle(self, running: Running) -> None:
        """Find the collection: its requests name it by an id."""
        answer = running.http.get(f"{self._PATH}/bench")
        answer.raise_for_status()
        self._collection = f"{self._PATH}/{answer.json()['id']}"

    has_effort = True

    def set_effort(self, running: Running, effort: int) -> None:
        """As above: ``ef_search``. A server goes on with that of the index it has loaded."""
        configuration = {"new_configuration": {"hnsw": {"ef_search": effort}}}
        running.http.put(self._collection, json=configuration).raise_for_status()

    def searches(self, data: Data, *, with_payload: bool) -> list[bytes]:
        """As above."""
        wanted = ["distances", "metadatas"] if with_payload else ["distances"]
        return [
            post(
                f"{self._collection}/query",
                msgspec.json.encode(
                    {"query_embeddings": [query.tolist()], "n_results": K, "include": wanted}
                ),
            )
            for query in data.queries
        ]

    def found(self, answer: Any) -> list[int]:
        """As above."""
        return [int(id) for id in answer["ids"][0]]


def least_effort(found: Callable[[int], float], recall: float) -> int:
    """The first effort whose recall is that, or more; the largest if none is. It is set last."""
    for effort in EFFORTS:
        if found(effort) >= recall:
            return effort
    return EFFORTS[-1]


def _flat(payload: dict[str, Any]) -> dict[str, Any]:
    """What its metadata can hold."""
    return {key: value for key, value in payload.items() if isinstance(value, (str, int, float))}


class Running:
    """A server that answers."""

    def __init__(
        self, http: httpx.Client, process: psutil.Process, port: int, grpc_port: int
    ) -> None:
        self.http = http
        self.process = process
        self.port = port
        self.grpc_port = grpc_port

    def put(self, path: str, body: bytes) -> None:
        """Write something."""
        headers = {"content-type": "application/json"}
        self.http.put(path, content=body, headers=headers).raise_for_status()

    def ask(self, request: bytes) -> Any:
        """The answer to a request that was made for the load."""
        head, _, body = request.partition(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].decode()
        headers = {"content-type": "application/json"}
        answer = self.http.post(path, content=body, headers=headers)
        answer.raise_for_status()
        return answer.json()

    @property
    def private_bytes(self) -> int:
        """Memory that it alone has."""
        processes = (self.process, *self.process.children(recursive=True))
        return sum(each.memory_full_info().uss for each in processes)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
