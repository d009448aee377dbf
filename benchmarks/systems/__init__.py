"""Systems under comparison: vecdb and its peers, a module each, all behind one small interface.

A system is one configuration of one library. It lives in a worker process of its own (see
``benchmarks.worker``), so it may load what it likes; nothing here imports a library.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Effort = Any
"""What a search takes to work harder: a number, or a list of them. JSON carries it."""
Between = Sequence[Any]
"""A filter: a field of integers, the least that passes, and the least above that does not."""

SYSTEMS: dict[str, tuple[str, str, str]] = {
    "vecdb": ("vecdb", "vecdb-embedded", "Default"),
    "vecdb scalar": ("vecdb", "vecdb-embedded", "Scalar"),
    "Qdrant Edge scalar": ("qdrant_edge", "qdrant-edge-py", "Scalar"),
    "Qdrant Edge TurboQuant": ("qdrant_edge", "qdrant-edge-py", "Turbo"),
    "Qdrant Edge binary": ("qdrant_edge", "qdrant-edge-py", "Binary"),
    "FAISS HNSW-SQ8": ("faiss", "faiss-cpu", "HnswSq8"),
    "FAISS IVF-PQ": ("faiss", "faiss-cpu", "IvfPq"),
    "hnswlib": ("hnswlib", "hnswlib", "Hnswlib"),
    "USearch": ("usearch", "usearch", "Float32"),
    "USearch i8": ("usearch", "usearch", "Int8"),
    "zvec": ("zvec", "zvec", "Zvec"),
    "LanceDB": ("lancedb", "lancedb", "LanceDB"),
    "sqlite-vec": ("sqlite_vec", "sqlite-vec", "SqliteVec"),
}
"""Label: the library's module (and ours of the same name), its distribution, the class here."""

OTHERS: dict[str, tuple[str, str, str]] = {
    "Qdrant Edge": ("qdrant_edge", "qdrant-edge-py", "Placed"),
    "LanceDB IVF-PQ": ("lancedb", "lancedb", "IvfPq"),
}
"""Likewise, what only ``benchmarks.footprint`` measures."""

MODES: dict[str, tuple[bool, bool]] = {
    "all in RAM": (False, True),
    "originals on disk, codes in RAM": (True, True),
    "all on disk": (True, False),
}
"""Storage modes: whether originals are on disk, and whether codes are in RAM."""


class System:
    """The interface. Ids are row numbers; no payload; vectors arrive normalised under cosine.

    Calls come in this order: ``ingest``, ``build``, ``ready``, searches, ``close``; or, in another
    process and on the same ``directory``: ``open``, searches, ``close``.
    """

    efforts: Sequence[Effort]
    """From cheap to thorough."""
    note = ""
    """Its settings, for the table."""
    metrics: tuple[str, ...] = ("cosine", "dot", "l2")
    grows = False
    """Takes part in the measurement of growth: a million vectors are built in minutes."""
    database = False
    """It keeps points and answers before an index is built, and while one is."""

    index_files: Mapping[str, str] = MappingProxyType({})
    """What the index adds to vectors and codes, by name: patterns of its files, where it has files
    of its own."""

    background = False
    """Builds by itself, from when points are taken in; ``build`` only waits for the end."""

    filters = False
    """Searches can have a filter."""
    fields: Mapping[str, Sequence[Any]] = MappingProxyType({})
    """Payload by field, an integer or a string a point: what ``ingest`` takes in, too."""
    indexed = True
    """``ingest`` gives each field an index, before the first point."""

    codes = "none"
    """Which codes there are, by the library's own word."""
    mode = "all in RAM"
    """One of ``MODES``."""

    def __init__(self, directory: Path, dim: int, metric: str, threads: int) -> None:
        self.directory, self.dim, self.metric, self.threads = directory, dim, metric, threads

    @classmethod
    def unfit(cls) -> str | None:
        """Why it cannot work on this machine although it is installed."""
        return None

    def arrange(self, codes: str, mode: str) -> None:
        """Before ``ingest`` or ``open``, where a library has a choice of codes and of modes."""
        self.codes, self.mode = codes, mode

    def move(self) -> None:
        """Open what was built in another mode and put it into this one, for the next ``open``."""

    def hold(self) -> None:
        """Build nothing before ``build`` is called. Before ``ingest``, where it matters."""
        self.background = False

    def ingest(self, base: Floats) -> None:
        """Take in all vectors (n x d), with the ids 0 to n - 1."""
        raise NotImplementedError

    def build(self) -> None:
        """Return when the index is complete and searches use it."""
        raise NotImplementedError

    def ready(self) -> None:
        """After ``build``, when only searches follow: whatever makes those fastest."""

    def use_threads(self, threads: int) -> None:
        """From here on, searches run on that many."""
        self.threads = threads

    def close(self) -> None:
        """Put everything on disk and let go of it."""
        raise NotImplementedError

    def open(self) -> None:
        """Open what ``close`` left behind."""
        raise NotImplementedError

    def search(self, query: Floats, k: int, effort: Effort) -> Sequence[int]:
        """The ids of the nearest, best first."""
        raise NotImplementedError

    def search_between(
        self, query: Floats, k: int, effort: Effort, between: Between
    ) -> Sequence[int]:
        """The nearest of those that pass. What the library calls a filter is made anew."""
        raise NotImplementedError

    def create_indexes(self) -> None:
        """Give each field an index. Returns when filters can use it."""
        raise NotImplementedError

    def delete_indexes(self) -> None:
        """Take them away."""
        raise NotImplementedError

    def payloads(self, start: int, end: int) -> list[dict[str, Any]]:
        """What the fields hold of some points, as objects."""
        parts = (values[start:end] for values in self.fields.values())
        names = tuple(self.fields)
        return [dict(zip(names, values, strict=True)) for values in zip(*parts, strict=True)]

    def batch(self, queries: Floats, k: int, effort: Effort) -> Sequence[Sequence[int]]:
        """The same for many queries at once, by the library's own way of doing that."""
        return [self.search(query, k, effort) for query in queries]


def _known() -> dict[str, tuple[str, str, str]]:
    return {**SYSTEMS, **OTHERS}


def load(label: str) -> type[System]:
    """The class of a system. Imports the library."""
    module, _, name = _known()[label]
    found: type[System] = getattr(importlib.import_module(f"benchmarks.systems.{module}"), name)
    return found


def missing(label: str) -> str | None:
    """Why a system cannot take part; None if it can."""
    module, distribution, _ = _known()[label]
    if importlib.util.find_spec(module) is None:
        return f"{distribution} is not installed"
    return load(label).unfit()
