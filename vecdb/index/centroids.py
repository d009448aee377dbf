"""Centroids of tokens: which of the vectors of a segment's multivectors are alike.

A token stands near one of some thousand centroids. What a query's tokens score against these tells,
by a look-up for each token of a row, about what the row scores: K. Santhanam et al., "PLAID: An
Efficient Engine for Late Interaction Retrieval", CIKM 2022. Rows that may be among the best are
then scored by their tokens.

Centroids are found in two steps, and so is the nearest: of all of them one would look at too many.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb.index.clustered.clustering import Poll, fit_clustering
from vecdb.linear_algebra import product

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint16]

MOST_CENTROIDS: Final = 1 << 15
"""A label has 16 bits; and scores against more would no longer fit a processor's cache."""
_PER_CENTROID = 16
"""Tokens of the sample."""
_STEP_VALUES = 1 << 20


def centroids_for(tokens: int) -> int:
    """How many centroids a segment with so many tokens gets."""
    return max(1, min(MOST_CENTROIDS, tokens // _PER_CENTROID, round(16 * math.sqrt(tokens))))


def sample_for(tokens: int) -> int:
    """How many tokens ``fit_centroids`` wants to see."""
    return min(tokens, _PER_CENTROID * centroids_for(tokens))


class Centroids(Struct, frozen=True, eq=False):
    """``values: float32[c, d]``; those from ``starts[i]`` to ``starts[i + 1]`` are near the coarse
    centroid ``coarse[i]``."""

    values: Floats
    coarse: Floats
    starts: npt.NDArray[np.int64]

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that a search needs, by name."""
        return {"centroids": self.values}

    def assign(self, tokens: Floats) -> Labels:
        """About the nearest centroid of each token: the nearest near its coarse one."""
        labels = np.empty(len(tokens), dtype=np.uint16)
        of_coarse = nearest(tokens, self.coarse)
        order = np.argsort(of_coarse, kind="stable")
        ends = np.searchsorted(of_coarse[order], np.arange(len(self.coarse) + 1))
        for number in np.unique(of_coarse).tolist():
            mine = order[ends[number] : ends[number + 1]]
            start, stop = self.starts[number], self.starts[number + 1]
            labels[mine] = start + nearest(tokens[mine], self.values[start:stop])
        return labels


def read_centroids(state: Mapping[str, npt.NDArray[Any]], size: int) -> Floats:
    """What ``Centroids.state`` holds. Raises KeyError, and ValueError for other arrays."""
    values = state["centroids"]
    if values.dtype != np.float32 or values.ndim != 2 or values.shape[1] != size:
        raise ValueError(f"centroids are {values.dtype} {values.shape}")
    if not 1 <= len(values) <= MOST_CENTROIDS or not np.isfinite(values).all():
        raise ValueError("centroids that there cannot be")
    return values


def fit_centroids(sample: Floats, count: int, poll: Poll = lambda: None) -> Centroids:
    """About ``count`` centroids of ``sample: float32[m, d]``, which has a row at least. ``poll`` is
    called between steps and may raise."""
    made = fit_clustering(sample, max(1, round(math.sqrt(count) / 2)), poll)
    coarse = made.centroids() + made.middle
    labels = nearest(sample, coarse)
    parts = []
    for number, centroid in enumerate(coarse):
        mine = sample[labels == number]
        wanted = round(count * len(mine) / len(sample))
        if wanted < 2:
            parts.append(centroid[None])
            continue
        fine = fit_clustering(mine, wanted, poll)
        parts.append(fine.centroids() + fine.middle)
        poll()
    sizes = [len(part) for part in parts]
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)])
    return Centroids(np.concatenate(parts).astype(np.float32), coarse.astype(np.float32), starts)


def nearest(vectors: Floats, centroids: Floats) -> npt.NDArray[np.int64]:
    """The nearest centroid of each vector, among equals the first."""
    halves = np.einsum("ij,ij->i", centroids, centroids) * np.float32(0.5)
    labels = np.empty(len(vectors), dtype=np.int64)
    step = max(16, _STEP_VALUES // len(centroids))
    for start in range(0, len(vectors), step):
        nearness = product(vectors[start : start + step], centroids.T)
        nearness -= halves
        labels[start : start + step] = nearness.argmax(axis=1)
    return labels
