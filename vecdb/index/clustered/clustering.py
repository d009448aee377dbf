"""Partitions: k-means on a sample, and the nearest centroid of every row.

Centroids are kept as bytes (256 levels in each dimension), and residuals are taken from what the
bytes stand for: so nothing is lost by it, and all centroids of a segment fit a processor's cache.

The number of partitions grows with the square root of the rows, as the rows of one do: a query
looks at every centroid and at some whole partitions, and neither should outgrow the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from vecdb.linear_algebra import product

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]
Sizes = npt.NDArray[np.int64]
Poll = Callable[[], None]

_SEED = 20_240_607  # builds are repeatable: same rows, same partitions
_ITERATIONS = 6
_SAMPLE_PER_PARTITION = 32
_MIDDLE_ROWS = 1000
_FAR = (1e30, 16.0, 4.0)
"""A centroid so many times as far from the middle as the median one may be an outlier."""
# Rows whose distances to all centroids are worked out together: a few MB, so that the product runs
# at full speed, and short enough for a search to take its turn.
_STEP_VALUES = 1 << 20


class Clustering(Struct, frozen=True):
    """Centroids as bytes: ``middle[j] + stretch[c] * (low[j] + scale[j] * codes[c, j])``.

    ``codes: uint8[p, d]``, ``low``, ``scale``, ``middle: float32[d]``, ``stretch: float32[p]``. All
    but outliers have a stretch of 1: they do not set how fine the bytes of the others are.
    """

    codes: Bytes
    low: Floats
    scale: Floats
    middle: Floats
    stretch: Floats

    @property
    def partitions(self) -> int:
        return len(self.codes)

    def centroids(self) -> Floats:
        """``float32 (p, d)``, from the middle."""
        values: Floats = self.stretch[:, None] * (self.low + self.scale * self.codes)
        return values

    def assign(self, vectors: Floats) -> Labels:
        """The nearest centroid of each row, among equals the first: ``int32 (n,)``."""
        return _assign(vectors - self.middle, self.centroids())


def partitions_for(rows: int) -> int:
    """How many partitions a segment of so many rows gets."""
    return max(1, min(rows // 8, round(1.5 * math.sqrt(rows))))


def sample_size(rows: int) -> int:
    """How many of the rows ``fit_clustering`` wants to see."""
    return min(rows, _SAMPLE_PER_PARTITION * partitions_for(rows))


def fit_clustering(
    sample: Floats, partitions: int, poll: Poll = lambda: None, *, overwrite: bool = False
) -> Clustering:
    """k-means (Lloyd's) of ``sample: float32[m, d]``, from rows picked at random.

    A centroid that loses its rows moves next to the one that has most: it halves the largest
    partition. ``poll`` is called between steps and may raise. ``overwrite``: the sample is not
    needed any more, and no copy of it is made.
    """
    from vecdb.kernels.clustering import add_up

    random = np.random.default_rng(_SEED)
    # What is far from 0 has squares that leave nothing of how far rows are apart.
    middle = np.median(sample[:: max(1, len(sample) // _MIDDLE_ROWS)], axis=0)
    sample = np.subtract(sample, middle, out=sample if overwrite else None)
    firsts = distinct(sample)
    if len(firsts) < len(sample):
        sample = sample[firsts]
    count = len(sample)
    partitions = max(1, min(partitions, count))
    centroids = sample[random.choice(count, partitions, replace=False)].copy()
    for _ in range(_ITERATIONS):
        labels = _assign(sample, centroids, poll)
        sizes = np.bincount(labels, minlength=partitions)
        order = np.argsort(labels, kind="stable")
        filled = np.flatnonzero(sizes)
        sums = np.zeros_like(centroids)
        add_up(sample, labels, sums)
        centroids[filled] = sums[filled] / sizes[filled, None].astype(np.float32)
        crowded = filled[np.argsort(-sizes[filled], kind="stable")]
        ends = np.cumsum(sizes)
        for turn, partition in enumerate(np.flatnonzero(sizes == 0).tolist()):
            giver = crowded[turn % len(crowded)]
            member = random.integers(ends[giver] - sizes[giver], ends[giver])
            centroids[partition] = sample[order[member]]
        poll()
    squares = np.bincount(labels, np.einsum("ij,ij->i", sample, sample), minlength=partitions)
    squares -= sizes * np.einsum("ij,ij->i", centroids, centroids)
    return _as_bytes(centroids, middle, sizes, np.maximum(squares, 0.0))


def distinct(rows: Floats) -> npt.NDArray[np.int64]:
    """Which of some rows are the first of their equals, rising. In a sample, a heap of equal rows
    would stand for many."""
    shape = rows.shape[1:]
    direction = np.random.default_rng(_SEED).standard_normal(shape, dtype=np.float32)
    along = product(rows, direction)
    firsts: npt.NDArray[np.int64] = np.unique(along, return_index=True)[1]
    return np.sort(firsts)


def _as_bytes(
    centroids: Floats, middle: Floats, sizes: Sizes, spreads: npt.NDArray[np.float64]
) -> Clustering:
    """Centroids, which are from ``middle``, as bytes from a middle of theirs.

    ``spreads``: the sums of squares of their rows' residuals. Whether those that are far away are
    outliers, or rows as others, shows in how many rows have a centroid as bytes have it: a byte of
    all loses what is small beside the outliers, one without them is coarse where they are.
    """
    own = np.median(centroids, axis=0)
    centroids = centroids - own
    away = np.sqrt(np.einsum("ij,ij->i", centroids, centroids, dtype=np.float64))
    best: tuple[float, Clustering] | None = None
    for times in _FAR:
        made = _stretched(centroids, away, times)
        wrong = sizes * np.square(centroids - made.centroids()).sum(axis=1, dtype=np.float64)
        lost = float((sizes * wrong / np.maximum(wrong + spreads, 1e-300)).sum())
        if best is None or lost < 0.9 * best[0]:
            best = lost, made
    assert best is not None
    return replace(best[1], middle=middle + own)


def _stretched(centroids: Floats, away: npt.NDArray[np.float64], times: float) -> Clustering:
    """Centroids as bytes; those more than ``times`` as far away as the median one stretched."""
    far = away > times * np.median(away)
    most = away.max(initial=0.0, where=~far)
    stretch = np.ones(len(centroids), dtype=np.float32)
    if 0.0 < most < np.inf:
        stretch[far] = 2.0 * away[far] / most  # what is as far in one dimension only has room, too
        centroids = centroids / stretch[:, None]
    near = centroids[~far] if most > 0.0 else centroids
    low, high = near.min(axis=0), near.max(axis=0)
    scale = ((high - low) / np.float32(255.0)).astype(np.float32)
    divisor = np.where(scale > 0, scale, np.float32(1.0))
    codes = np.clip(np.rint((centroids - low) / divisor), 0, 255).astype(np.uint8)
    return Clustering(codes, low.astype(np.float32), scale, np.zeros_like(low), stretch)


def _assign(vectors: Floats, centroids: Floats, poll: Poll = lambda: None) -> Labels:
    halves = np.einsum("ij,ij->i", centroids, centroids) * np.float32(0.5)
    columns = np.ascontiguousarray(centroids.T)
    labels = np.empty(len(vectors), dtype=np.int32)
    step = max(16, _STEP_VALUES // len(centroids))
    for start in range(0, len(vectors), step):
        nearness = product(vectors[start : start + step], columns)
        nearness -= halves
        labels[start : start + step] = nearness.argmax(axis=1)
        poll()
    return labels


def partition_order(labels: Iterable[Labels], partitions: int) -> tuple[npt.NDArray[np.int64], ...]:
    """All rows in the order of their partitions, and where each partition starts.

    ``int64 (n,)`` and ``int64 (p + 1,)``. Within a partition, rows keep their order. A label of
    -1 says that the row has no vector: such rows come last, in no partition.
    """
    every = np.concatenate(list(labels)) if labels else np.empty(0, np.int32)
    key = np.where(every < 0, partitions, every)
    order = np.argsort(key, kind="stable")
    starts = np.zeros(partitions + 1, dtype=np.int64)
    np.cumsum(np.bincount(key, minlength=partitions + 1)[:partitions], out=starts[1:])
    return order, starts
