"""Calibration: how much effort which recall takes, measured on the segment's own rows.

Some rows are taken as queries. Their true neighbours are known exactly; for each, what must be
done to find it is known too: how far below the best priority its partition is, and how many rows
that would be visited look better by their sketches. From these two numbers the recall of every
pair of *gap* and *candidates* follows without a search, and for each level of recall the cheapest
pair is kept. No caller has to know how hard their data is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from vecdb.index.clustered import ClusteredIndex

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Poll = Callable[[], None]

TABLE_LIMITS: Final = (10, 100)
"""Numbers of results that are measured; a search for more or others goes by the next."""
RECALLS: Final = (
    *(0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 0.998),
    1.0,
)
QUERIES: Final = 400
_MARGIN = 0.1
"""Part of what may be missed that is kept in reserve: some hundred queries measure a recall of 0.95
to half a percent."""
_FEWEST_QUERIES = 100
"""A small segment is searched fast whatever is measured; its build should be short, too."""
BONUS_FACTORS: Final = (0.0, 0.25, 0.5, 0.75)
_SEED = 20_240_609
# Gaps that are looked at: those that let so large a share of true neighbours be visited.
_SHARES = 1.0 - np.append(np.geomspace(0.5, 0.0005, 31), 0.0)
_DEPTH = {10: 1024, 100: 4096}
"""Sketch ranks that are looked at: a neighbour beyond is called lost."""
EFFORT_FIELDS: Final = 5
_EVERYTHING = 3.0e38
_ALL_PARTITIONS = 1.0e38
# What it costs, roughly and in nanoseconds: bytes of sketches in the caches, bytes of vectors that
# come from memory, and each of those rows besides.
_SKETCH_BYTES = 40.0
_VECTOR_BYTES = 12.0
_VECTOR = 40.0


@dataclass(frozen=True, slots=True)
class Effort:
    """What to do for a recall that was measured: partitions within ``gap`` of the best one are
    visited, ``candidates`` rows come from their sketches. ``rows`` were visited, in the median."""

    recall: float
    gap: float
    candidates: int
    rows: int
    survivors: int
    """Of the candidates, how many are worth their vectors after a companion has ranked them;
    0: there is no companion, or it tells no more than the sketch."""

    @property
    def everything(self) -> bool:
        """Whether it is the last of its table: what is beyond any recall that was reached."""
        return self.gap >= _EVERYTHING

    def for_limit(self, limit: int) -> Effort:
        """With candidates for so many results.

        For more than were measured, candidates in proportion and some more, from all partitions:
        how far apart those of so many neighbours are is not known, and to look at every sketch
        takes less time than to read so many originals.
        """
        most = TABLE_LIMITS[-1]
        if limit <= self.candidates and limit <= most:
            return self  # nearly always
        if limit <= most:
            return replace(self, candidates=limit)
        # In whole numbers: 100 * 1.13 is less than 113.
        candidates, survivors = (
            count * limit * 5 // (most * 4) for count in (self.candidates, self.survivors)
        )
        gap = max(self.gap, _ALL_PARTITIONS)
        return replace(self, gap=gap, candidates=max(candidates, limit), survivors=survivors)

    def as_numbers(self) -> tuple[float, ...]:
        """As a row of an array."""
        return (self.recall, self.gap, self.candidates, self.rows, self.survivors)

    @classmethod
    def from_numbers(cls, row: npt.NDArray[np.float64]) -> Effort:
        """Back from the row of an array. Raises ValueError."""
        if not (row >= 0).all() or (row[2:] > 1e15).any():
            raise ValueError(f"an effort of {row.tolist()}")
        recall, gap, *counts = row.tolist()
        return cls(recall, gap, *map(int, counts))


def calibrate(
    index: ClusteredIndex,
    blocks: npt.NDArray[np.uint8],
    queries: Floats,
    own: Ints,
    neighbours: Ints,
    companion: Callable[[Floats, Ints], Floats] | None = None,
    poll: Poll = lambda: None,
) -> tuple[tuple[Effort, ...], ...]:
    """A table of efforts for each of ``TABLE_LIMITS``, recall rising.

    ``queries: float32[q, d]`` stand at the positions ``own: int64[q]``; ``neighbours: int64[q, k]``
    are the positions of their nearest others. ``companion(query, positions)`` are scores by better
    codes.
    """
    owner = np.repeat(np.arange(len(index.starts) - 1), np.diff(index.starts))
    sizes = np.diff(index.starts)
    gaps = _gaps_of(index, queries)
    deepest = min(max(_DEPTH.values()), index.rows)
    seen = []
    for query, me in zip(queries, own.tolist(), strict=True):
        poll()
        found = index.visit(query[None], blocks, deepest + 1, _EVERYTHING)
        count = found.counts[0, 0]
        best = np.argsort(-found.scores[0, :count], kind="stable")
        positions = found.positions[0, best]
        seen.append(positions[positions != me][:deepest])
    tables = []
    for limit in TABLE_LIMITS:
        depth = min(_DEPTH[limit], deepest)
        truth = neighbours[:, :limit]
        found_gaps = np.sort(gaps[np.arange(len(queries))[:, None], owner[truth]].ravel())
        steps = np.unique(np.quantile(found_gaps, _SHARES).astype(np.float32))
        rows = np.stack([(gaps <= step) @ sizes for step in steps], axis=1)
        recalls = np.zeros((len(steps), depth), dtype=np.float64)
        ranks: list[Ints] = []
        for query, positions, mine, line in zip(queries, seen, truth, gaps, strict=True):
            poll()
            positions = positions[:depth]
            hits = np.isin(positions, mine)
            within = line[owner[positions]] <= steps[:, None]
            place = np.cumsum(within, axis=1)
            for step in range(len(steps)):
                np.add.at(recalls[step], place[step, hits & within[step]] - 1, 1.0)
            if companion is not None and hits.any():
                by_codes = np.argsort(-companion(query, positions), kind="stable")
                ranks.append(np.flatnonzero(hits[by_codes]) + 1)
        recalls = np.cumsum(recalls, axis=1) / max(1, truth.size)
        tables.append(_cheapest(index, blocks, limit, steps, rows, recalls, ranks))
    return tuple(tables)


def _cheapest(
    index: ClusteredIndex,
    blocks: npt.NDArray[np.uint8],
    limit: int,
    steps: Floats,
    rows: Ints,
    recalls: npt.NDArray[np.float64],
    ranks: Sequence[Ints],
) -> tuple[Effort, ...]:
    """For each level of recall, the cheapest gap and candidates that reach it."""
    typical = np.median(rows, axis=0)
    candidates = np.arange(1, recalls.shape[1] + 1)
    each = blocks.shape[1] / 32 / _SKETCH_BYTES
    cost = typical[:, None] * each + candidates * (_VECTOR + 4 * index.dim / _VECTOR_BYTES)
    allowed = candidates >= limit
    efforts = []
    for recall in RECALLS:
        enough = (recalls >= recall + _MARGIN * (1.0 - recall)) & allowed
        if not enough.any():
            break
        step, place = np.unravel_index(np.where(enough, cost, np.inf).argmin(), cost.shape)
        survivors = _survivors(ranks, recall, limit, int(candidates[place]))
        efforts.append(
            Effort(
                float(recall),
                float(steps[step]),
                int(candidates[place]),
                int(typical[step]),
                survivors,
            )
        )
    # More than any level that was reached: everything that was ever needed, and then some.
    most = 2 * recalls.shape[1]
    efforts.append(Effort(1.0, _EVERYTHING, most, index.rows, most if ranks else 0))
    return tuple(efforts)


def _survivors(ranks: Sequence[Ints], recall: float, limit: int, candidates: int) -> int:
    """How many of the candidates to keep by their companion's scores: so many that it loses a
    tenth of what may be lost. 0 if that is most of them."""
    if not ranks:
        return 0
    every = np.sort(np.concatenate(ranks))
    share = recall + (1.0 - recall) * 0.9
    keep = int(every[min(len(every) - 1, int(np.ceil(share * len(every))) - 1)])
    keep = max(keep, limit)
    return keep if 2 * keep <= candidates else 0


def choose_bonuses(index: ClusteredIndex, queries: Floats, spreads: Floats, truth: Ints) -> Floats:
    """The bonus of each partition, ``float32[p]``: the multiple of its spread with which the
    partitions of the true neighbours ``truth: int64[q, k]`` (positions) are visited cheapest.

    ``spreads: float32[p]``: root mean square of a partition's residuals, squared for a distance.
    """
    owner = np.repeat(np.arange(len(index.starts) - 1), np.diff(index.starts))
    sizes = np.diff(index.starts)
    best: tuple[float, float] | None = None
    for factor in BONUS_FACTORS:
        gaps = _gaps_of(index, queries, (factor * spreads).astype(np.float32))
        needed = np.sort(gaps[np.arange(len(queries))[:, None], owner[truth]].ravel())
        cost = 0.0
        for recall in (0.95, 0.98):
            gap = needed[min(len(needed) - 1, int(recall * len(needed)))]
            cost += float(np.median(((gaps <= gap) * sizes).sum(axis=1)))
        if best is None or cost < 0.97 * best[0]:  # no bonus unless it pays
            best = cost, factor
    assert best is not None
    return (best[1] * spreads).astype(np.float32)


def _gaps_of(index: ClusteredIndex, queries: Floats, bonuses: Floats | None = None) -> Floats:
    """How far each partition's priority is below the best one's: ``float32 (q, p)``."""
    factor = np.float32(2.0 if index.distance else 1.0)
    priorities = factor * (queries @ index.clustering.centroids().T) + index.constants
    priorities += index.bonuses if bonuses is None else bonuses
    gaps: Floats = priorities.max(axis=1, keepdims=True) - priorities
    return gaps


def pick_queries(rows: int) -> Ints:
    """Positions that serve as queries: ``int64``, rising."""
    count = min(rows, QUERIES, max(_FEWEST_QUERIES, rows // 20))
    return np.sort(np.random.default_rng(_SEED).choice(rows, count, replace=False))


def nearest_others(
    metric: str,
    queries: Floats,
    own: Ints,
    blocks: Iterable[tuple[int, Floats]],
    poll: Poll = lambda: None,
) -> Ints:
    """The positions of the ``max(TABLE_LIMITS)`` nearest rows of each query but itself.

    ``blocks``: first position and ``float32[b, d]`` of all rows in turn. ``int64 (q, k)``; fewer
    columns if there are fewer rows.
    """
    wanted = max(TABLE_LIMITS)
    scores = np.empty((len(queries), 0), dtype=np.float32)
    positions = np.empty((len(queries), 0), dtype=np.int64)
    for start, vectors in blocks:
        poll()
        here = _scores(metric, queries, vectors)
        mine = (own >= start) & (own < start + len(vectors))
        here[np.flatnonzero(mine), own[mine] - start] = -np.inf
        where = np.broadcast_to(np.arange(start, start + len(vectors)), here.shape)
        if here.shape[1] > wanted:
            chosen = np.argpartition(-here, wanted - 1, axis=1)[:, :wanted]
            here = np.take_along_axis(here, chosen, axis=1)
            where = chosen + start
        scores = np.concatenate((scores, here), axis=1)
        positions = np.concatenate((positions, where), axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :wanted]
        scores = np.take_along_axis(scores, best, axis=1)
        positions = np.take_along_axis(positions, best, axis=1)
    keep = min(wanted, int(np.isfinite(scores).sum(axis=1).min())) if len(queries) else 0
    return positions[:, :keep]


def _scores(metric: str, queries: Floats, vectors: Floats) -> Floats:
    if metric == "manhattan":
        return np.stack([-np.abs(vectors - query).sum(axis=1) for query in queries])
    products: Floats = queries @ vectors.T
    if metric == "euclid":
        products = 2.0 * products - np.einsum("ij,ij->i", vectors, vectors)
    return products
