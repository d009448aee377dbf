"""Searches that are one call of a kernel: by sketches, perhaps by codes, and by originals."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb.index.clustered.effort import measured_of
from vecdb.index.clustered.index import ClusteredIndex

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

Searcher = Callable[[Floats], tuple[Floats, Ints, Ints, Floats]]
"""What tells of queries ``float32 (q, d)``: scores and rows, best first, ``(q, limit)``, the counts
of `Found`, and how sure that is: ``(q, 2)``, see `rescore`; minus infinity where the search was not
deep enough for its mask."""

_TOGETHER = 64
"""So many queries go through the partitions together: what is kept of more would not stay in a
processor's own cache."""
_EVERY_ROW: Bytes = np.empty(0, dtype=np.uint8)  # the kernels' mask


class Search(Struct, frozen=True, eq=False):
    """What is the same for all queries.

    ``candidates`` in partitions within ``gap`` come from the sketches, ``blocks``; rows rank by
    ``vectors: float32[rows, d]`` under a metric of the kernels. Only rows of the mask are
    found, where they are among the ``depth`` best of all rows.
    """

    index: ClusteredIndex
    blocks: Bytes
    candidates: int
    gap: float
    metric: int
    vectors: Floats
    limit: int
    mask: Bytes | None = None
    depth: int = 0
    """0: as many as ``limit``."""

    @property
    def _candidates(self) -> tuple[Any, ...]:
        index, mask = self.index, _EVERY_ROW if self.mask is None else self.mask
        candidates = min(self.candidates, index.rows)
        found = *index.for_kernel, self.blocks, self.gap, candidates, index.order
        return *found, mask, self.depth or self.limit

    @property
    def _originals(self) -> tuple[Any, ...]:
        return self.metric, self.vectors, measured_of(self.limit)

    def nearest(self) -> Searcher:
        """What puts the candidates in order by their vectors."""
        kernel, _ = _kernels()
        arguments, limit = (*self._candidates, *self._originals), self.limit

        def nearest(queries: Floats) -> tuple[Floats, Ints, Ints, Floats]:
            asked = len(queries)
            found = _room(asked, limit)
            if asked <= _TOGETHER:  # slices cost a search alone a microsecond
                kernel(queries, *arguments, *found)
                return found
            for start in range(0, asked, _TOGETHER):
                some = slice(start, start + _TOGETHER)
                kernel(queries[some], *arguments, *(each[some] for each in found))
            return found

        return nearest

    def nearest_by_codes(
        self, codes: Bytes, prepare: Callable[[Floats], tuple[Any, ...]], kept: int, *, judged: bool
    ) -> Searcher:
        """What puts the best ``kept`` candidates by ``codes`` in order by their vectors, for one
        query; if there are no vectors, by their codes. ``prepare`` turns a query, ``float32[d]``,
        into arguments of `score_codes`. ``judged``: whether codes have left out better rows counts,
        too."""
        _, kernel = _kernels()
        candidates, originals, limit = self._candidates, self._originals, self.limit

        def nearest(queries: Floats) -> tuple[Floats, Ints, Ints, Floats]:
            found = _room(1, limit)
            by_codes = codes, *prepare(queries[0]), kept, int(judged)
            kernel(queries, *candidates, *by_codes, *originals, *found)
            return found

        return nearest


def _room(asked: int, limit: int) -> tuple[Floats, Ints, Ints, Floats]:
    """What a kernel writes its results to."""
    scores = np.empty((asked, limit), np.float32)
    rows = np.empty((asked, limit), np.int64)
    return scores, rows, np.zeros((asked, 3), np.int64), np.empty((asked, 2), np.float32)


@cache
def _kernels() -> tuple[Callable[..., None], Callable[..., None]]:
    """Imported once; an import statement in each search would take longer than it looks."""
    from vecdb.kernels.nearest import nearest, nearest_by_codes

    return nearest, nearest_by_codes
