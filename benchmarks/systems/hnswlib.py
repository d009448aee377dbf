"""hnswlib: a graph over float32 vectors in memory."""

from __future__ import annotations

from collections.abc import Sequence

import hnswlib

from benchmarks.systems import Effort, Floats, System

_FILE = "index.bin"
# Under cosine vectors arrive normalised, so that it need not do it again.
_SPACES = {"cosine": "ip", "dot": "ip", "l2": "l2"}


class Hnswlib(System):
    """``ingest`` only keeps the array: adding is building."""

    efforts = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
    note = "M=16, ef_construction=100, float32"

    def ingest(self, base: Floats) -> None:
        self._base: Floats | None = base

    def build(self) -> None:
        assert self._base is not None
        self.index = hnswlib.Index(space=_SPACES[self.metric], dim=self.dim)
        self.index.init_index(max_elements=len(self._base), M=16, ef_construction=100)
        self.index.set_num_threads(self.threads)
        self.index.add_items(self._base)
        self._base = None

    def close(self) -> None:
        self.directory.mkdir()
        self.index.save_index(str(self.directory / _FILE))
        del self.index

    def open(self) -> None:
        self.index = hnswlib.Index(space=_SPACES[self.metric], dim=self.dim)
        self.index.load_index(str(self.directory / _FILE))
        self.index.set_num_threads(self.threads)

    def use_threads(self, threads: int) -> None:
        self.index.set_num_threads(threads)

    def search(self, query: Floats, k: int, effort: Effort) -> Sequence[int]:
        return self.batch(query[None], k, effort)[0]

    def batch(self, queries: Floats, k: int, effort: Effort) -> Sequence[Sequence[int]]:
        self.index.set_ef(effort)
        found: list[list[int]] = self.index.knn_query(queries, k=k)[0].tolist()
        return found
