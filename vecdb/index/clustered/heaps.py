"""Heaps: many equal rows, such as the vectors of empty texts.

To a query that has them before it, all of a heap would be candidates, and what belongs among the
results stands behind them. A search for up to a hundred results needs no more than a hundred of
them. So the others are *set aside*, in a partition of their own that no search visits. One that
may need them, for more results or because not every row is allowed, scores one of each heap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from vecdb.index.clustered.clustering import Clustering, Labels
from vecdb.index.clustered.effort import TABLE_LIMITS

Floats = npt.NDArray[np.float32]
Keys = npt.NDArray[np.uint32]

ASIDE: Final = -2.5e38
"""The bonus of a partition of rows set aside: farther off than any gap but `EVERYTHING`, also than
twice `ALL_PARTITIONS`, as a search in doubt goes on with."""
KEPT: Final = TABLE_LIMITS[-1]
"""So many of a heap stay among the other rows."""
_LEAST: Final = 4 * KEPT
"""A heap has so many rows, by what a sample says; fewer stand in nobody's way."""
_FEW: Final = 4
"""So many partitions there are for each heap: a query is compared with all."""
_SEED = 20_240_612


class Heaps(Struct):
    """The heaps of some rows, and how many of each were met: ``int64[h]``. ``rows: float32[h, d]``,
    one of each; ``keys: uint32[h]``, rising."""

    rows: Floats
    keys: Keys
    met: npt.NDArray[np.int64]

    @classmethod
    def of(cls, sample: Floats, total: int, partitions: int) -> Heaps:
        """The heaps of ``total`` rows, by a sample of them: the largest, if there are many for so
        many partitions."""
        keys, firsts, counts = np.unique(_keys(sample), return_index=True, return_counts=True)
        large = np.flatnonzero((counts > 1) & (counts * total >= _LEAST * len(sample)))
        largest = np.argsort(-counts[large], kind="stable")[: partitions // _FEW]
        large = np.sort(large[largest])
        return cls(sample[firsts[large]], keys[large], np.zeros(len(large), dtype=np.int64))

    def set_aside(self, vectors: Floats, labels: Labels, first: int) -> None:
        """Write the partition of a heap, ``first`` and its number, to the ``labels`` of those of
        the next rows, ``vectors: float32[n, d]``, that are set aside."""
        if not len(self.rows):
            return
        keys = _keys(vectors)
        which = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        members = np.flatnonzero(self.keys[which] == keys)
        for heap in np.unique(which[members]).tolist():
            mine = members[which[members] == heap]
            mine = mine[(vectors[mine] == self.rows[heap]).all(axis=1)]
            labels[mine[max(0, KEPT - int(self.met[heap])) :]] = first + heap
            self.met[heap] += len(mine)

    def partitions(self, clustering: Clustering) -> Clustering:
        """The partitions, followed by one for what is set aside of each heap."""
        near = clustering.assign(self.rows) if len(self.rows) else np.empty(0, dtype=np.int32)
        codes = np.concatenate((clustering.codes, clustering.codes[near]))
        stretch = np.concatenate((clustering.stretch, clustering.stretch[near]))
        return replace(clustering, codes=codes, stretch=stretch)


def homes(clustering: Clustering, aside: Sequence[int]) -> npt.NDArray[np.int64]:
    """For each partition itself; for one set aside, that with rows equal to its own: ``int64
    (p,)``."""
    found = np.arange(clustering.partitions)
    if aside:
        lines = zip(clustering.codes, clustering.stretch, strict=True)
        keys = [codes.tobytes() + stretch.tobytes() for codes, stretch in lines]
        firsts = {key: each for each, key in reversed(list(enumerate(keys)))}
        found[list(aside)] = [firsts[keys[each]] for each in aside]
    return found


def _keys(rows: Floats) -> Keys:
    """A number for each row, the same for equal ones: ``uint32 (n,)``."""
    random = np.random.default_rng(_SEED)
    factors = random.integers(1 << 32, size=rows.shape[1], dtype=np.uint32) | np.uint32(1)
    keys: Keys = np.ascontiguousarray(rows, dtype=np.float32).view(np.uint32) @ factors
    return keys
