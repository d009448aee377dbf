"""LanceDB: HNSW over 8-bit vectors in one partition, rescored."""

from __future__ import annotations

from collections.abc import Sequence

import lancedb
import pyarrow as pa
from lancedb.index import HnswSq

from benchmarks.systems import Effort, Floats, System

BATCH = 10_000
_METRICS = {"cosine": "cosine", "dot": "dot", "l2": "l2"}


class LanceDB(System):
    """An effort is ``ef``; candidates are rescored at twice the limit."""

    efforts = (20, 32, 64, 128, 256, 512)
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

    def build(self) -> None:
        config = HnswSq(
            distance_type=_METRICS[self.metric], num_partitions=1, m=16, ef_construction=100
        )
        self.table.create_index("v", config=config)
        self.table.optimize()

    def close(self) -> None:
        del self.table

    def open(self) -> None:
        self.table = lancedb.connect(self.directory).open_table("bench")

    def search(self, query: Floats, k: int, effort: Effort) -> Sequence[int]:
        found = (
            self.table.search(query, vector_column_name="v")
            .distance_type(_METRICS[self.metric])
            .limit(k)
            .ef(effort)
            .refine_factor(2)
            .select(["id", "_distance"])  # without the distance it logs a warning, each time
            .to_arrow()
        )
        ids: list[int] = found["id"].to_pylist()
        return ids
