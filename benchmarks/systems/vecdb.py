"""vecdb with no option set, and with scalar codes in RAM beside the originals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import vecdb
from benchmarks.systems import MODES, Between, Effort, Floats, System
from vecdb import models

NAME = "bench"
CODES: dict[str, dict[str, dict[str, Any]]] = {
    "scalar": {"scalar": {"type": "int8"}},
    "binary": {"binary": {}},
    "product x16": {"product": {"compression": "x16"}},
    "turbo, 4 bits": {"turbo": {"bits": "bits4"}},
}
BATCH = 1000
_DISTANCES = {
    "cosine": models.Distance.COSINE,
    "dot": models.Distance.DOT,
    "l2": models.Distance.EUCLID,
}
_RECALLS = "recall" in models.SearchParams.__struct_fields__
"""False in a version whose searches have no recall target: they are all alike then."""


class Default(System):
    """Efforts below 1 are recall targets, whole numbers are ``hnsw_ef``; None is no option."""

    efforts = (0.8, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999) if _RECALLS else (1,)
    note = "no option set"
    grows = True
    database = True
    background = True
    filters = True
    index_files = MappingProxyType({"index": "index*", "sketches": "sketch*"})
    config: Mapping[str, Any] = MappingProxyType({})

    def arrange(self, codes: str, mode: str) -> None:
        super().arrange(codes, mode)
        if codes != "none":
            [(kind, options)] = CODES[codes].items()
            on_disk, always_ram = MODES[mode]
            if on_disk:  # beside originals in RAM the default is the best
                options = {**options, "always_ram": always_ram}
            self.config = {"quantization_config": {kind: options}}

    def move(self) -> None:
        on_disk, _ = MODES[self.mode]
        self._open()
        vectors = {"": models.VectorParamsDiff(on_disk=on_disk)}
        self.db.update_collection(NAME, vectors_config=vectors, **self.config)
        self.db.wait_for_optimizer(NAME)
        self.db.close()

    def ingest(self, base: Floats) -> None:
        self._open()
        self.db.create_collection(
            NAME,
            models.VectorParams(size=self.dim, distance=_DISTANCES[self.metric]),
            **self.config,
            optimizers_config={} if self.background else {"max_optimization_threads": 0},
        )
        if self.indexed:
            self.create_indexes()
        for start in range(0, len(base), BATCH):
            end = min(start + BATCH, len(base))
            payloads = self.payloads(start, end) if self.fields else None
            batch = models.Batch(ids=range(start, end), vectors=base[start:end], payloads=payloads)
            self.db.upsert(NAME, batch)

    def build(self) -> None:
        if not self.background:
            self.db.update_collection(NAME, optimizers_config={"max_optimization_threads": 1})
        self.db.flush(NAME)
        self.db.wait_for_optimizer(NAME)

    def close(self) -> None:
        self.db.close()

    def open(self) -> None:
        self._open()

    def _open(self) -> None:
        self.db = vecdb.VecDB(self.directory)
        self._params: dict[Effort, models.SearchParams | None] = {None: None}

    def _search_params(self, effort: Effort) -> models.SearchParams | None:
        if effort not in self._params:
            field = "hnsw_ef" if isinstance(effort, int) else "recall"
            self._params[effort] = models.SearchParams(**{field: effort})
        return self._params[effort]

    def search(self, query: Floats, k: int, effort: Effort) -> Sequence[int]:
        found = self.db.query_points(
            NAME,
            query=query,
            limit=k,
            with_payload=False,
            search_params=self._search_params(effort),
        )
        return [point.id for point in found.points]  # type: ignore[misc]

    def search_between(
        self, query: Floats, k: int, effort: Effort, between: Between
    ) -> Sequence[int]:
        field, low, high = between
        found = self.db.query_points(
            NAME,
            query=query,
            query_filter=models.Filter(
                must=[models.FieldCondition(key=field, range=models.Range(gte=low, lt=high))]
            ),
            limit=k,
            with_payload=False,
            search_params=self._search_params(effort),
        )
        return [point.id for point in found.points]  # type: ignore[misc]

    def create_indexes(self) -> None:
        for field, values in self.fields.items():
            kind = "integer" if isinstance(values[0], int) else "keyword"
            self.db.create_payload_index(NAME, field, kind)

    def delete_indexes(self) -> None:
        for field in self.fields:
            self.db.delete_payload_index(NAME, field)

    def batch(self, queries: Floats, k: int, effort: Effort) -> Sequence[Sequence[int]]:
        params = self._search_params(effort)
        requests = [models.QueryRequest(query=query, limit=k, params=params) for query in queries]
        answers = self.db.query_batch_points(NAME, requests)
        return [[point.id for point in answer.points] for answer in answers]  # type: ignore[misc]


class Scalar(Default):
    note = "scalar codes, always_ram"
    grows = False
    config = MappingProxyType(
        {"quantization_config": {"scalar": {"type": "int8", "always_ram": True}}}
    )
