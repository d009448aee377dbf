"""Other embedded libraries, with the settings that make them fastest at taking points in.

None of them syncs here: their writes are lost with the power, and vecdb's are not.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.common import BATCH, Run, small_payloads


@dataclass(frozen=True, slots=True)
class Peer:
    """One library: ``load`` takes everything in and gives the seconds that took."""

    name: str
    module: str
    load: Callable[[Run, list[Any]], float]
    note: str
    slow: bool = False
    check: Callable[[], str | None] = lambda: None

    def missing(self) -> str | None:
        """Why it cannot be measured; None if it can."""
        try:
            importlib.import_module(self.module)
        except ImportError:
            return f"{self.module} is not installed"
        return self.check()

    def ingest(self, run: Run) -> dict[str, float]:
        """Points a second, into a fresh place."""
        seconds = self.load(run, small_payloads(run.rows))
        run.fresh("peer")
        return {"points_per_second": run.rows / seconds}


def _batches(run: Run) -> list[tuple[int, int]]:
    return [(start, min(start + BATCH, run.rows)) for start in range(0, run.rows, BATCH)]


def _qdrant_edge(run: Run, payloads: list[Any]) -> float:
    import qdrant_edge as edge

    path = run.fresh("peer")
    path.mkdir()
    config = edge.EdgeConfig(
        vectors={"": edge.EdgeVectorParams(run.dim, edge.Distance.Cosine)}, wal_enabled=False
    )
    shard = edge.EdgeShard.create(str(path), config)
    started = time.perf_counter()
    for start, end in _batches(run):
        points = [edge.Point(i, run.base[i], payloads[i]) for i in range(start, end)]
        shard.update(edge.UpdateOperation.upsert_points(points))
    seconds = time.perf_counter() - started
    shard.close()
    return seconds


def _sqlite_vec(run: Run, payloads: list[Any]) -> float:
    import json
    import sqlite3

    import sqlite_vec

    path = run.fresh("peer")
    path.mkdir()
    connection = sqlite3.connect(path / "db", isolation_level=None)
    connection.enable_load_extension(True)
    sqlite_vec.load(connection)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = off")
    connection.execute(
        f"create virtual table points using vec0(vector float[{run.dim}], +payload text)"
    )
    started = time.perf_counter()
    for start, end in _batches(run):
        connection.execute("begin")
        connection.executemany(
            "insert into points(rowid, vector, payload) values (?, ?, ?)",
            ((i, run.base[i].data, json.dumps(payloads[i])) for i in range(start, end)),
        )
        connection.execute("commit")
    seconds = time.perf_counter() - started
    connection.close()
    return seconds


def _no_extensions() -> str | None:
    import sqlite3

    if not hasattr(sqlite3.Connection, "enable_load_extension"):
        return "this Python's sqlite3 cannot load extensions"
    return None


def _hnswlib(run: Run, payloads: list[Any]) -> float:
    import hnswlib
    import numpy as np

    index = hnswlib.Index(space="cosine", dim=run.dim)
    index.init_index(max_elements=run.rows, M=16, ef_construction=100)
    index.set_num_threads(1)
    started = time.perf_counter()
    for start, end in _batches(run):
        index.add_items(run.base[start:end], np.arange(start, end))
    return time.perf_counter() - started


PEERS = (
    Peer(
        "qdrant-edge-py",
        "qdrant_edge",
        _qdrant_edge,
        "no sync; its WAL is off; no index is built (optimize() is not called)",
    ),
    Peer(
        "sqlite-vec",
        "sqlite_vec",
        _sqlite_vec,
        "no sync (synchronous=off, WAL); one transaction a batch; no index",
        check=_no_extensions,
    ),
    Peer(
        "hnswlib",
        "hnswlib",
        _hnswlib,
        "memory only, no payload; builds its graph meanwhile (M=16, ef_construction=100); one run",
        slow=True,
    ),
)
