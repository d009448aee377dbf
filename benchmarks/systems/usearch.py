"""USearch: a graph over float32 vectors, or over 8-bit ones, in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from usearch.index import Index

from benchmarks.systems import Effort, Floats, System

_FILE = "index.usearch"
_METRICS = {"cosine": "cos", "dot": "ip", "l2": "l2sq"}


class USearch(System):
    """``ingest`` only keeps the array: adding is building."""

    efforts = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
    dtype = "f32"

    def _empty(self) -> Index:
        return Index(
            ndim=self.dim,
            metric=_METRICS[self.metric],
            dtype=self.dtype,
            connectivity=16,
            expansion_add=100,
        )

    def ingest(self, base: Floats) -> None:
        self._base: Floats | None = base

    def build(self) -> None:
        assert self._base is not None
        self.index = self._empty()
        keys = np.arange(len(self._base), dtype=np.uint64)
        self.index.add(keys, self._base, threads=self.threads)
        self._base = None

    def close(self) -> None:
        self.directory.mkdir()
        self.index.save(str(self.directory / _FILE))
        del self.index

    def open(self) -> None:
        self.index = self._empty()
        self.index.load(str(self.directory / _FILE))

    def search(self, query: Floats, k: int, effort: Effort) -> Sequence[int]:
        self.index.expansion_search = effort
        found: list[int] = self.index.search(query, k, threads=self.threads).keys.tolist()
        return found

    def batch(self, queries: Floats, k: int, effort: Effort) -> Sequence[Sequence[int]]:
        self.index.expansion_search = effort
        found: list[list[int]] = self.index.search(queries, k, threads=self.threads).keys.tolist()
        return found


class Float32(USearch):
    note = "connectivity=16, expansion_add=100, float32"


class Int8(USearch):
    note = "connectivity=16, expansion_add=100, 8-bit vectors, no rescoring"
    dtype = "i8"
    metrics = ("cosine",)  # its scaling to 8 bits is that of unit vectors
