"""sqlite-vec: exact search in SQL, the plain way of many applications."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import sqlite_vec

from benchmarks.systems import Effort, Floats, System

BATCH = 1000
_METRICS = {"cosine": "cosine", "l2": "l2"}


class SqliteVec(System):
    efforts = (1,)
    note = "exact; WAL, synchronous=off, one transaction a batch of 1000"
    metrics = ("cosine", "l2")
    database = True

    @classmethod
    def unfit(cls) -> str | None:
        if not hasattr(sqlite3.Connection, "enable_load_extension"):
            return "this Python's sqlite3 cannot load extensions"
        return None

    def ingest(self, base: Floats) -> None:
        self.directory.mkdir()
        self.open()
        self.connection.execute("pragma journal_mode = wal")
        self.connection.execute("pragma synchronous = off")
        self.connection.execute(
            "create virtual table points using vec0("
            f"v float[{self.dim}] distance_metric={_METRICS[self.metric]})"
        )
        for start in range(0, len(base), BATCH):
            end = min(start + BATCH, len(base))
            self.connection.execute("begin")
            self.connection.executemany(
                "insert into points(rowid, v) values (?, ?)",
                ((i, base[i].data) for i in range(start, end)),
            )
            self.connection.execute("commit")

    def build(self) -> None:
        """There is no index."""

    def close(self) -> None:
        self.connection.close()

    def open(self) -> None:
        self.connection = sqlite3.connect(self.directory / "db", isolation_level=None)
        self.connection.enable_load_extension(True)
        sqlite_vec.load(self.connection)

    def search(self, query: Floats, k: int, effort: Effort) -> Sequence[int]:
        found = self.connection.execute(
            "select rowid from points where v match ? and k = ? order by distance",
            (query.data, k),
        )
        return [row for (row,) in found]
