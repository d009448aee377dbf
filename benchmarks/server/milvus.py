"""Milvus Lite: a server of its own, asked through its own client, as it speaks nothing else."""

from __future__ import annotations

import shlex
import socket
import sys
import threading
import time
from typing import Any

import psutil

from benchmarks.data import Data, K
from benchmarks.server.contenders import ASKED, Contender, Running, least_effort
from benchmarks.server.load import WARM_UP, Figures, cpu_seconds, figures_of

_BATCH = 500
_FIELDS = ("id", "vector")


class Milvus(Contender):
    """Milvus Lite, of the same environment. ``MilvusClient`` with a path would run it within the
    caller's process, where it cannot be told from the caller."""

    def __init__(self) -> None:
        python = shlex.quote(sys.executable)
        super().__init__(
            "Milvus Lite",
            f"{python} -m milvus_lite server --data-dir {{directory}} --port {{port}}",
        )

    def answers(self, running: Running) -> bool:
        """Whether somebody listens; its client waits for the rest."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", running.port)) == 0

    def fill(self, running: Running, data: Data) -> None:
        """As above, by its client."""
        from pymilvus import DataType, MilvusClient

        client = MilvusClient(uri=f"http://127.0.0.1:{running.port}")
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=data.dim)
        index = client.prepare_index_params()  # by itself it would compare with every vector
        graph = {"M": 16, "efConstruction": 200}
        index.add_index("vector", index_type="HNSW", metric_type="COSINE", params=graph)
        client.create_collection("b", schema=schema, index_params=index)
        for first in range(0, data.rows, _BATCH):
            rows = range(first, min(first + _BATCH, data.rows))
            client.insert(
                "b", [dict(zip(_FIELDS, (n, data.base[n].tolist()), strict=True)) for n in rows]
            )
        client.flush("b")
        client.release_collection("b")  # loading makes the index, if it is not loaded
        client.load_collection("b")
        client.close()


def measure(running: Running, data: Data, recall: float, seconds: float) -> dict[str, Any]:
    """Its recall, at least that, and its searches for ids by 16 threads and by one."""
    from pymilvus import MilvusClient

    client = MilvusClient(uri=f"http://127.0.0.1:{running.port}")
    client.load_collection("b")
    queries = [query.tolist() for query in data.queries]

    def search(number: int, effort: int) -> list[int]:
        query = queries[number % len(queries)]
        (hits,) = client.search("b", [query], limit=K, search_params={"params": {"ef": effort}})
        return [hit["id"] for hit in hits]

    def found(effort: int) -> float:
        return data.recall([search(n, effort) for n in range(ASKED)])

    effort = least_effort(found, recall)
    figures: dict[str, Any] = {"recall": found(effort), "effort": effort}
    for threads in (16, 1):
        figures[f"by its client, {threads}"] = _load(
            running.process, lambda number: search(number, effort), threads, seconds
        )
    client.close()
    return figures


def _load(server: psutil.Process, search: Any, threads: int, seconds: float) -> Figures:
    times: list[float] = []
    over = threading.Event()

    def ask(number: int) -> None:
        while not over.is_set():
            started = time.perf_counter()
            search(number)
            times.append(time.perf_counter() - started)
            number += threads

    callers = [threading.Thread(target=ask, args=(n,)) for n in range(threads)]
    for caller in callers:
        caller.start()
    time.sleep(WARM_UP)
    times.clear()
    began, cpu = time.perf_counter(), cpu_seconds(server)
    time.sleep(seconds)
    found = figures_of([*times], time.perf_counter() - began, cpu_seconds(server) - cpu)
    over.set()
    for caller in callers:
        caller.join()
    return found
