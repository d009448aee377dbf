"""zvec: HNSW over 8-bit vectors, rescored from float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import zvec

from benchmarks.systems import Effort, Floats, System

BATCH = 1000
_METRICS = {
    "cosine": zvec.MetricType.COSINE,
    "dot": zvec.MetricType.IP,
    "l2": zvec.MetricType.L2,
}


class Zvec(System):
    """An effort is ``ef`` and how many candidates are rescored, by k (0: none).

    Ids are strings, as it wants them.

    Once it is ``ready``, searches use its fast path, which only a read-only collection has.
    """

    efforts = tuple(
        [ef, factor] for factor in (0, 2) for ef in (10, 16, 32, 48, 64, 96, 128, 192, 256, 384)
    )
    note = "HNSW m=16, ef_construction=100, int8, rescored or not; read-only fast path"
    database = True
    read_only = False

    def ingest(self, base: Floats) -> None:
        self._init()
        index = zvec.HnswIndexParam(
            metric_type=_METRICS[self.metric],
            m=16,
            ef_construction=100,
            quantize_type=zvec.QuantizeType.INT8,
        )
        schema = zvec.CollectionSchema(
            name="bench",
            vectors=zvec.VectorSchema("v", zvec.DataType.VECTOR_FP32, self.dim, index),
        )
        self.collection = zvec.create_and_open(str(self.directory), schema)
        for start in range(0, len(base), BATCH):
            end = min(start + BATCH, len(base))
            docs = [zvec.Doc(id=str(i), vectors={"v": base[i]}) for i in range(start, end)]
            for status in self.collection.insert(docs):
                if not status.ok():
                    raise RuntimeError(f"zvec: {status}")

    def build(self) -> None:
        self.collection.optimize(zvec.OptimizeOption(concurrency=self.threads))

    def ready(self) -> None:
        self.collection.close()
        self._open()

    def close(self) -> None:
        self.collection.close()

    def open(self) -> None:
        self._init()
        self._open()

    def _init(self) -> None:
        zvec.init(
            log_level=zvec.LogLevel.ERROR,
            query_threads=self.threads,
            optimize_threads=self.threads,
        )

    def _open(self) -> None:
        self.collection = zvec.open(str(self.directory), zvec.CollectionOption(read_only=True))
        self.read_only = True

    def search(self, query: Floats, k: int, effort: Effort) -> Sequence[int]:
        ef, factor = effort
        param = zvec.HnswQueryParam(ef=ef, is_using_refiner=factor > 0, scale_factor=factor)
        asked: Any = zvec.Query("v", vector=query, param=param)
        if self.read_only:
            internal = self.collection.query_internal_ids(asked, topk=k)
            names = self.collection.resolve_internal_ids(internal)
            return [int(name) for name in names if name is not None]
        return [int(doc.id) for doc in self.collection.query(asked, topk=k, output_fields=[])]
