"""FAISS: a graph over 8-bit codes, and inverted lists of 4-bit product codes with rescoring."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import faiss

from benchmarks.systems import Effort, Floats, System

_FILE = "index.faiss"


class Faiss(System):
    """``ingest`` only keeps the array: an index takes vectors and is built in one step."""

    def factory(self, rows: int) -> str:
        raise NotImplementedError

    def prepare(self) -> None:
        """After the index is there."""

    def set_effort(self, effort: Effort) -> None:
        raise NotImplementedError

    def ingest(self, base: Floats) -> None:
        self._base: Floats | None = base

    def build(self) -> None:
        assert self._base is not None
        faiss.omp_set_num_threads(self.threads)
        metric = faiss.METRIC_L2 if self.metric == "l2" else faiss.METRIC_INNER_PRODUCT
        self.index = faiss.index_factory(self.dim, self.factory(len(self._base)), metric)
        self._effort: Effort = None
        self.prepare()
        self.index.train(self._base)
        self.index.add(self._base)
        self._base = None

    def close(self) -> None:
        self.directory.mkdir()
        faiss.write_index(self.index, str(self.directory / _FILE))
        del self.index

    def open(self) -> None:
        faiss.omp_set_num_threads(self.threads)
        mapped = 0 if self.mode == "all in RAM" else faiss.IO_FLAG_MMAP_IFC
        self.index = faiss.read_index(str(self.directory / _FILE), mapped)
        self._effort = None
        self.prepare()

    def use_threads(self, threads: int) -> None:
        faiss.omp_set_num_threads(threads)

    def search(self, query: Floats, k: int, effort: Effort) -> Sequence[int]:
        return self.batch(query[None], k, effort)[0]

    def batch(self, queries: Floats, k: int, effort: Effort) -> Sequence[Sequence[int]]:
        if effort != self._effort:
            self.set_effort(effort)
            self._effort = effort
        found: list[list[int]] = self.index.search(queries, k)[1].tolist()
        return found


class HnswSq8(Faiss):
    efforts = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
    note = "HNSW M=16, efConstruction=100, 8-bit codes"

    def factory(self, rows: int) -> str:
        return "HNSW16_SQ8"

    def prepare(self) -> None:
        self._graph: Any = faiss.downcast_index(self.index)
        self._graph.hnsw.efConstruction = 100

    def set_effort(self, effort: Effort) -> None:
        self._graph.hnsw.efSearch = effort


class IvfPq(Faiss):
    """An effort is ``nprobe`` and ``k_factor``: candidates that are rescored, by k."""

    efforts = tuple(
        [nprobe, factor] for nprobe in (2, 4, 8, 16, 32, 64, 128) for factor in (2, 4, 10, 20)
    )
    grows = True

    note = (
        "IVF (√n lists), PQ of 4 bits (1 or 2 bits a dimension, fast scan), rescored from float32"
    )

    @property
    def _chunks(self) -> int:
        """Look-ups, one for 4 dimensions; at most 256, or its 16-bit sums overflow."""
        wanted = min(max(self.dim // 4, 64), 256, self.dim)
        return next(m for m in range(wanted, 0, -1) if self.dim % m == 0)

    def factory(self, rows: int) -> str:
        lists = 2 ** round(math.log2(max(math.sqrt(rows), 1)))
        return f"IVF{lists},PQ{self._chunks}x4fs,RFlat"

    def prepare(self) -> None:
        self._refined: Any = faiss.downcast_index(self.index)
        self._lists: Any = faiss.extract_index_ivf(self.index)

    def set_effort(self, effort: Effort) -> None:
        self._lists.nprobe, self._refined.k_factor = effort
