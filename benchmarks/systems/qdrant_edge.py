"""Qdrant Edge: HNSW over quantized vectors in RAM, originals mapped for rescoring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qdrant_edge as edge

from benchmarks.systems import MODES, Between, Effort, Floats, System

BATCH = 1000
_DISTANCES = {
    "cosine": edge.Distance.Cosine,
    "dot": edge.Distance.Dot,
    "l2": edge.Distance.Euclid,
}


class QdrantEdge(System):
    """An effort is ``hnsw_ef`` and ``oversampling``. ``optimize()`` is called once, as it asks."""

    database = True
    filters = True
    oversamplings: tuple[float, ...] = (1.0,)
    efs: tuple[int, ...] = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
    codes_in_ram = True
    originals_on_disk: bool | None = None
    graph_on_disk: bool | None = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.efforts = [[ef, over] for over in self.oversamplings for ef in self.efs]

    def quantization(self) -> Any:
        raise NotImplementedError

    def ingest(self, base: Floats) -> None:
        config = edge.EdgeConfig(
            vectors={
                "": edge.EdgeVectorParams(
                    self.dim, _DISTANCES[self.metric], on_disk=self.originals_on_disk
                )
            },
            quantization_config=self.quantization(),
            hnsw_config=edge.HnswIndexConfig(
                m=16,
                ef_construct=100,
                # KiB of vectors. The server's default, with which few points that pass are scanned:
                # its graph finds less there.
                full_scan_threshold=10_000 if self.fields else 100,
                max_indexing_threads=self.threads,
                on_disk=self.graph_on_disk,
            ),
            # One segment: several are searched one after another on one core.
            optimizers=edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=100),
            wal_enabled=False,
        )
        self.directory.mkdir()
        self.shard = edge.EdgeShard.create(str(self.directory), config)
        if self.indexed:
            self.create_indexes()
        for start in range(0, len(base), BATCH):
            end = min(start + BATCH, len(base))
            payloads = self.payloads(start, end) if self.fields else [{}] * (end - start)
            points = [
                edge.Point(i, base[i], payload)
                for i, payload in zip(range(start, end), payloads, strict=True)
            ]
            self.shard.update(edge.UpdateOperation.upsert_points(points))

    def build(self) -> None:
        self.shard.optimize()

    def close(self) -> None:
        self.shard.flush()
        self.shard.close()

    def open(self) -> None:
        self.shard = edge.EdgeShard.load(str(self.directory))

    def _request(self, query: Floats, k: int, effort: Effort, within: Any = None) -> Any:
        ef, oversampling = effort
        return edge.QueryRequest(
            limit=k,
            query=edge.Query.Nearest(query),
            filter=within,
            params=edge.SearchParams(
                hnsw_ef=ef,
                quantization=edge.QuantizationSearchParams(rescore=True, oversampling=oversampling),
            ),
            with_payload=False,
            with_vector=False,
        )

    def search(self, query: Floats, k: int, effort: Effort) -> Sequence[int]:
        return [point.id for point in self.shard.query(self._request(query, k, effort))]

    def search_between(
        self, query: Floats, k: int, effort: Effort, between: Between
    ) -> Sequence[int]:
        field, low, high = between
        range = edge.RangeFloat(gte=low, lt=high)
        within = edge.Filter(must=[edge.FieldCondition(key=field, range=range)])
        return [point.id for point in self.shard.query(self._request(query, k, effort, within))]

    def create_indexes(self) -> None:
        for field, values in self.fields.items():
            kinds = edge.PayloadSchemaType
            kind = kinds.Integer if isinstance(values[0], int) else kinds.Keyword
            self.shard.update(edge.UpdateOperation.create_field_index(field, kind))

    def delete_indexes(self) -> None:
        for field in self.fields:
            self.shard.update(edge.UpdateOperation.delete_field_index(field))

    def batch(self, queries: Floats, k: int, effort: Effort) -> Sequence[Sequence[int]]:
        requests = [self._request(query, k, effort) for query in queries]
        answers = self.shard.query_batch(edge.QueryBatchRequest(requests))
        return [[point.id for point in answer] for answer in answers]


class Scalar(QdrantEdge):
    note = "HNSW m=16, ef_construct=100; int8 in RAM, rescored; no WAL"
    oversamplings = (1.0, 2.0)

    def quantization(self) -> Any:
        return edge.ScalarQuantizationConfig(
            type=edge.ScalarType.Int8, always_ram=self.codes_in_ram
        )


class Turbo(QdrantEdge):
    note = "HNSW m=16, ef_construct=100; TurboQuant 4 bits in RAM, rescored; no WAL"
    oversamplings = (1.0, 2.0, 4.0)

    def quantization(self) -> Any:
        return edge.TurboQuantQuantizationConfig(
            always_ram=self.codes_in_ram, bits=edge.TurboQuantBitSize.Bits4
        )


class Binary(QdrantEdge):
    note = "HNSW m=16, ef_construct=100; 1 bit in RAM, 8-bit queries, rescored; no WAL"
    oversamplings = (2.0, 4.0, 8.0)
    efs = (16, 32, 64, 128, 256, 512)

    def quantization(self) -> Any:
        return edge.BinaryQuantizationConfig(
            always_ram=self.codes_in_ram,
            query_encoding=edge.BinaryQuantizationQueryEncoding.Scalar8Bits,
        )


class Placed(QdrantEdge):
    """Some codes in any mode. Another mode is another build: it writes the files anew."""

    note = "HNSW m=16, ef_construct=100; rescored; no WAL"

    def arrange(self, codes: str, mode: str) -> None:
        super().arrange(codes, mode)
        self._kind: type[QdrantEdge] = {"scalar": Scalar, "binary": Binary}[codes]
        self.efforts = [[ef, over] for over in self._kind.oversamplings for ef in self._kind.efs]
        self.originals_on_disk, self.codes_in_ram = MODES[mode]
        self.graph_on_disk = not self.codes_in_ram

    def quantization(self) -> Any:
        return self._kind.quantization(self)
