"""A folder of vectors with the true neighbours of its queries; and a made-up one of any size."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
K = 10
METRICS = ("cosine", "dot", "l2")


class Data:
    """Vectors, queries, truth. See docs/benchmarks.md for the files.

    Without ``gt_<metric>.npy`` the true neighbours are worked out here, exactly.
    """

    def __init__(self, folder: Path, metric: str | None = None, queries: int | None = None) -> None:
        self.name = folder.resolve().name
        self.base_path = base_of(folder)
        self.metric = metric or _own_metric(folder)
        if self.metric not in METRICS:
            raise SystemExit(f"bench: metric {self.metric!r}; expected {', '.join(METRICS)}")
        # Mapped: of ten million vectors there is room for one copy, the engine's.
        base = np.load(self.base_path, mmap_mode="r")
        self.base: Floats = base.astype(np.float32, copy=False)
        self.queries: Floats = np.load(folder / "queries.npy").astype(np.float32)[:queries]
        self.vectors = prepared(self.base, self.metric)
        self.asked = prepared(self.queries, self.metric)
        file = folder / f"gt_{self.metric}.npy"
        if file.exists():
            self.truth: Rows = np.load(file)[: len(self.queries), :K].astype(np.int64)
        else:
            self.truth = exact(self.vectors, self.asked, self.metric)
        self._least = [
            self._scores(rows, query).min()
            for rows, query in zip(self.truth, self.asked, strict=True)
        ]
        payload = folder / "payload.jsonl.gz"
        self.payload = _read_payload(payload) if payload.exists() else None

    @property
    def rows(self) -> int:
        return len(self.base)

    @property
    def dim(self) -> int:
        return int(self.base.shape[1])

    def recall(self, found: list[list[int]]) -> float:
        """The share of true neighbours found by the first ``len(found)`` queries.

        By score, because real data has ties: a hit is not worse than the true k-th neighbour, but
        for a millionth (of the score, where scores are large).
        """
        hits = 0
        for rows, query, least in zip(found, self.asked, self._least, strict=False):
            distinct = np.unique(np.array(rows[:K], dtype=np.int64))
            near = self._scores(distinct, query) >= least - 1e-6 * max(1.0, abs(least))
            hits += min(self.truth.shape[1], int(near.sum()))
        return float(hits / (self.truth.shape[1] * len(found)))

    def _scores(self, rows: Rows, query: Floats) -> npt.NDArray[np.float64]:
        near = self.vectors[rows].astype(np.float64)
        if self.metric == "l2":
            return np.asarray(-np.square(near - query).sum(axis=1))
        return near @ query.astype(np.float64)


def base_of(folder: Path) -> Path:
    """The file of the vectors."""
    path = folder / "base.npy"
    return path if path.exists() else folder / "vectors.npy"


def rows_of(folder: Path) -> int:
    """How many vectors there are."""
    return len(np.load(base_of(folder), mmap_mode="r"))


def prepared(vectors: npt.NDArray[Any], metric: str) -> Floats:
    """Float32 as every system gets it: normalised under cosine (zeros stay), contiguous."""
    floats = np.ascontiguousarray(vectors, dtype=np.float32)
    if metric != "cosine":
        return floats
    norms = np.sqrt(np.einsum("ij,ij->i", floats, floats))[:, None]
    if len(norms) and np.abs(norms - 1).max() < 1e-6:
        return floats
    normalised: Floats = np.divide(floats, norms, out=np.zeros_like(floats), where=norms > 0)
    return normalised


def exact(base: Floats, queries: Floats, metric: str, block: int = 100_000) -> Rows:
    """The rows of the K nearest by brute force (q x K), best first."""
    best = np.full((len(queries), 0), 0.0, np.float32)
    rows = np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(base), block):
        part = base[start : start + block]
        scores = scored(part, queries, metric)
        ids = np.broadcast_to(np.arange(start, start + len(part)), scores.shape)
        best, rows = np.hstack([best, scores]), np.hstack([rows, ids])
        if best.shape[1] > K:  # a stable sort of all would take longer than the products
            keep = np.sort(np.argpartition(-best, K - 1, axis=1)[:, :K], axis=1)
            best, rows = np.take_along_axis(best, keep, 1), np.take_along_axis(rows, keep, 1)
    order = np.argsort(-best, axis=1, kind="stable")
    return np.take_along_axis(rows, order, 1)


def scored(base: Floats, queries: Floats, metric: str) -> Floats:
    """How near each row is to each query (q x n): more is nearer. Both are ``prepared``."""
    scores: Floats = queries @ base.T
    if metric == "l2":
        scores = 2 * scores - np.einsum("ij,ij->i", base, base)
    return scores


def resized(source: Path, folder: Path, rows: int, seed: int) -> None:
    """Write a folder with the queries of another one and ``rows`` of its vectors.

    Where it has fewer, they come round again, each time with other normal noise, half as long as
    the vector: about as far from the first as rows are from their neighbours. All are normalised.
    """
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    base = prepared(np.load(base_of(source)), "cosine")
    np.save(folder / "queries.npy", np.load(source / "queries.npy"))
    file = np.lib.format.open_memmap(folder / "base.npy", "w+", np.float32, (rows, base.shape[1]))
    for start in range(0, rows, len(base)):
        part = base[: rows - start]
        if start:
            noise = random.standard_normal(part.shape, dtype=np.float32)
            part = prepared(part + noise * np.float32(0.5 / np.sqrt(base.shape[1])), "cosine")
        file[start : start + len(part)] = part
    file.flush()


def synthetic(folder: Path, rows: int, dim: int, queries: int, seed: int) -> None:
    """Write a folder of clustered unit vectors; the same arguments give the same values.

    Like embeddings, they have few degrees of freedom and clusters of unequal size: 2,000 centres
    from a normal distribution in min(dim, 48) latent dimensions, each with a log-normal weight
    (sigma 1); a vector is its centre plus normal noise of 0.5 in the latent space, carried to
    ``dim`` dimensions by one random matrix, plus normal noise of a twentieth of its length,
    normalised. Queries are drawn in the same way. A larger set is the same distribution, denser.
    """
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    latent, clusters = min(dim, 48), 2000
    centres = random.standard_normal((clusters, latent), dtype=np.float32)
    weights = np.exp(random.standard_normal(clusters))
    weights /= weights.sum()
    carry = random.standard_normal((latent, dim), dtype=np.float32)

    def draw(count: int) -> Floats:
        of = random.choice(clusters, count, p=weights)
        inner = centres[of] + 0.5 * random.standard_normal((count, latent), dtype=np.float32)
        outer = inner @ carry
        lengths = np.linalg.norm(outer, axis=1, keepdims=True)
        noise = random.standard_normal((count, dim), dtype=np.float32)
        return prepared(outer + noise * (0.05 * lengths / np.sqrt(dim)), "cosine")

    np.save(folder / "queries.npy", draw(queries))
    file = np.lib.format.open_memmap(folder / "base.npy", "w+", np.float32, (rows, dim))
    for start in range(0, rows, 50_000):
        file[start : start + 50_000] = draw(min(50_000, rows - start))
    file.flush()


def _own_metric(folder: Path) -> str:
    """What stats.json names first; or the first of which there is a truth; or cosine."""
    stats = folder / "stats.json"
    if stats.exists():
        named = json.loads(stats.read_text()).get("metrics", [])
        if named:
            return str(named[0])
    return next((m for m in METRICS if (folder / f"gt_{m}.npy").exists()), "cosine")


def _read_payload(path: Path) -> list[Any]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]
