"""zvec: HNSW over 8-bit vectors, rescored from float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import zvec

from benchmarks.systems import Between, Effort, Floats, System

BATCH = 1000
_METRICS = {
    "cosine": zvec.MetricType.COSINE,
    "dot": zvec.MetricType.IP,
    "l2": zvec.MetricType.L2,
}


class Zvec(System):
    """An effort is ``ef`` and how many candidates are rescored, by k (0: none).

    Ids are strings, as it wants them, and so are filters. Fields get their index with the schema.

    Once it is ``ready``, searches use its fast path, which only a read-only collection has.
    """

    efforts = tuple(
        [ef, factor] for factor in (0, 2) for ef in (10, 16, 32, 48, 64, 96, 128, 192, 256, 384)
    )
    note = "HNSW m=16, ef_construction=100, int8, rescored or not; read-only fast path"
    database = True
    filters = True
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
            fields=[
                zvec.FieldSchema(
                    field,
                    zvec.DataType.INT64 if isinstance(values[0], int) else zvec.DataType.STRING,
                    index_param=zvec.InvertIndexParam(enable_range_optimization=True),
                )
                for field, values in self.fields.items()
            ],
            vectors=zvec.VectorSchema("v", zvec.DataType.VECTOR_FP32, self.dim, index),
        )
        self.collection = zvec.create_and_open(str(self.directory), schema)
        for start in range(0, len(base), BATCH):
            end = min(start + BATCH, len(base))
            payloads = self.payloads(start, end) if self.fields else [{}] * (end - start)
            docs = [
                zvec.Doc(id=str(i), vectors={"v": base[i]}, fields=payload)
                for i, payload in zip(range(start, end), payloads, strict=True)
            ]
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
        return self._search(query, k, effort, None)

    def search_between(
        self, query: Floats, k: int, effort: Effort, between: Between
    ) -> Sequence[int]:
        field, low, high = between
        return self._search(query, k, effort, f"{field} >= {low} AND {field} < {high}")

    def _search(self, query: Floats, k: int, effort: Effort, within: str | None) -> Sequence[int]:
        ef, factor = effort
        param = zvec.HnswQueryParam(ef=ef, is_using_refiner=factor > 0, scale_factor=factor)
        asked: Any = zvec.Query("v", vector=query, param=param)
        if self.read_only:
            internal = self.collection.query_internal_ids(asked, topk=k, filter=within)
            names = self.collection.resolve_internal_ids(internal)
            return [int(name) for name in names if name is not None]
        found = self.collection.query(asked, topk=k, filter=within, output_fields=[])
        return [int(doc.id) for doc in found]
