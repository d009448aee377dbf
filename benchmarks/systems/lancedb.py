"""LanceDB: HNSW over 8-bit vectors in one partition, and product codes in many; both rescored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lancedb
import pyarrow as pa
from lancedb.index import HnswSq
from lancedb.index import IvfPq as IvfPqIndex

from benchmarks.systems import Effort, Floats, System

BATCH = 10_000
_METRICS = {"cosine": "cosine", "dot": "dot", "l2": "l2"}


class LanceDB(System):
    """An effort is ``ef``; candidates are rescored at twice the limit."""

    efforts: Sequence[Effort] = (20, 32, 64, 128, 256, 512)
    note = "IVF_HNSW_SQ, 1 partition, m=16, ef_construction=100, refine_factor=2"
    database = True

    def ingest(self, base: Floats) -> None:
        schema = pa.schema([("id", pa.int64()), ("v", pa.list_(pa.float32(), self.dim))])
        self.table = lancedb.connect(self.directory).create_table("bench", schema=schema)
        for start in range(0, len(base), BATCH):
            rows = base[start : start + BATCH]
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), self.dim)
            ids = pa.array(range(start, start + len(rows)), pa.int64())
            self.table.add(pa.table([ids, vectors], schema=schema))

    def index(self) -> Any:
        return HnswSq(
            distance_type=_METRICS[self.metric], num_partitions=1, m=16, ef_construction=100
        )

    def build(self) -> None:
        self.table.create_index("v", config=self.index())
        self.table.optimize()

    def close(self) -> None:
        del self.table

    def open(self) -> None:
        self.table = lancedb.connect(self.directory).open_table("bench")

    def search(self, query: Floats, k: int, effort: Effort) -> Sequence[int]:
        asked = self.table.search(query, vector_column_name="v")
        found = (
            self.with_effort(asked.distance_type(_METRICS[self.metric]).limit(k), effort)
            .select(["id", "_distance"])  # without the distance it logs a warning, each time
            .to_arrow()
        )
        ids: list[int] = found["id"].to_pylist()
        return ids

    def with_effort(self, asked: Any, effort: Effort) -> Any:
        return asked.ef(effort).refine_factor(2)


class IvfPq(LanceDB):
    """An effort is ``nprobes`` and ``refine_factor``: candidates that are rescored, by k."""

    efforts = tuple([probes, factor] for probes in (10, 20, 40, 80) for factor in (5, 10))
    note = "IVF (√n lists), PQ of 8 bits, 8 dimensions each, rescored from float32"

    def index(self) -> Any:
        lists = max(1, round(math.sqrt(self.table.count_rows())))
        chunks = next(m for m in range(max(self.dim // 8, 1), 0, -1) if self.dim % m == 0)
        return IvfPqIndex(
            distance_type=_METRICS[self.metric], num_partitions=lists, num_sub_vectors=chunks
        )

    def with_effort(self, asked: Any, effort: Effort) -> Any:
        probes, factor = effort
        return asked.nprobes(probes).refine_factor(factor)
