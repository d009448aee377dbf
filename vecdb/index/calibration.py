"""Calibration: how much effort which recall takes, measured on the segment's own rows.

Some rows are taken as queries. Their true neighbours are known exactly; for each, what must be
done to find it is known too: how far below the best priority its partition is, and how many rows
that would be visited look better by their sketches. From these two numbers the recall of every
pair of *gap* and *candidates* follows without a search, and for each level of recall the cheapest
pair is kept. No caller has to know how hard their data is.

Where rows have near copies, a row is too easy a query: its copies are what it finds. So it is asked
for its neighbours twice, with its copies and as if there were none, as for a query that is new;
what counts is the lower recall of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from vecdb.index.margins import Asked, Scores, margins_of, with_margins

if TYPE_CHECKING:
    from vecdb.index.clustered import ClusteredIndex

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Poll = Callable[[], None]

TABLE_LIMITS: Final = (10, 100)
"""Numbers of results that are measured; a search for more or others goes by the next."""
RECALLS: Final = (
    *(0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 0.998),
)
"""Levels that are measured. That some hundred queries find all they should says no more than the
last: for a higher one, originals are scanned."""
QUERIES: Final = 400
_MARGIN = 0.1
"""Part of what may be missed that is kept in reserve: some hundred queries measure a recall of 0.95
to half a percent."""
_FEWEST_QUERIES = 100
"""A small segment is searched fast whatever is measured; its build should be short, too."""
BONUS_FACTORS: Final = (0.0, 0.25, 0.5, 0.75)
_SEED = 20_240_609
_COPY = 0.1
"""A row so near to another, in parts of what two rows are apart in the median, is its copy. At
0.17, searches of sentence embeddings looked at a quarter more rows for a recall of 0.98."""
_MOST_COPIES = 1000
"""A row with more so near to it is in a place of its own kind, where queries come from, too."""
# Gaps that are looked at: those that let so large a share of true neighbours be visited.
_SHARES = 1.0 - np.append(np.geomspace(0.5, 0.0005, 31), 0.0)
_DEPTH = {10: 1024, 100: 4096}
"""Sketch ranks that are looked at: a neighbour beyond is called lost."""
EFFORT_FIELDS: Final = 6
FIRST_FIELDS: Final = 5
"""What the first indexes had: no margin."""
_CERTAIN = -1.0e30
_MARGIN_QUERIES = 100
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
    margin: float = _CERTAIN
    """What few queries like the rows stay below (see `rescoring.margin`): one that does is another
    kind of query, and needs more."""

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
        return (self.recall, self.gap, self.candidates, self.rows, self.survivors, self.margin)

    @classmethod
    def from_numbers(cls, row: npt.NDArray[np.float64]) -> Effort:
        """Back from the row of an array. Raises ValueError."""
        counts = row[2:FIRST_FIELDS]
        if not (row[:FIRST_FIELDS] >= 0).all() or (counts > 1e15).any():
            raise ValueError(f"an effort of {row.tolist()}")
        margin = [float(row[FIRST_FIELDS])] if len(row) > FIRST_FIELDS else []
        return cls(float(row[0]), float(row[1]), *map(int, counts), *margin)


class Neighbours(NamedTuple):
    """What is nearest to some queries, besides what is left out."""

    positions: Ints
    """``int64 (q, k)``, nearest first."""
    left_out: Sequence[Ints]
    """For each query itself, and maybe its copies."""


def calibrate(
    index: ClusteredIndex,
    blocks: npt.NDArray[np.uint8],
    queries: Floats,
    spreads: Floats,
    known: Sequence[Neighbours],
    exact: Scores,
    companion: Scores | None = None,
    poll: Poll = lambda: None,
) -> ClusteredIndex:
    """The index with its bonuses, and with a table of efforts for each of ``TABLE_LIMITS``, recall
    rising.

    ``queries: float32[q, d]`` are rows of the index, ``known`` what `nearest_others` found for
    them. ``spreads: float32[p]``: root mean square of a partition's residuals, squared for a
    distance. ``exact(query, positions)`` are scores by the vectors, ``companion`` those by better
    codes.
    """
    owner = np.repeat(np.arange(len(index.starts) - 1), np.diff(index.starts))
    index = replace(index, typical=_typical(index, queries))
    bonuses, gaps = _choose_bonuses(index, queries, spreads, owner[known[-1].positions[:, :10]])
    index = replace(index, bonuses=bonuses)
    seen, estimates = [], []
    for i in range(len(queries)):
        poll()
        deepest = max(_DEPTH.values()) + max(len(each.left_out[i]) for each in known)
        found = index.visit(queries[i : i + 1], blocks, deepest, _EVERYTHING)
        best = np.argsort(-found.scores[0, : found.counts[0, 0]], kind="stable")
        seen.append(found.positions[0, best])
        estimates.append(found.scores[0, best])
    tables = []
    for limit in TABLE_LIMITS:
        depth = min(_DEPTH[limit], index.rows)
        truths = [each.positions[:, :limit] for each in known]
        needed = np.concatenate([_needed(gaps, owner[truth]) for truth in truths])
        steps = np.unique(np.quantile(needed, _SHARES).astype(np.float32))
        rows = np.stack([(gaps <= step) @ np.diff(index.starts) for step in steps], axis=1)
        counts = np.zeros((len(known), len(steps), depth), dtype=np.float64)
        ranks: list[list[Ints]] = [[] for _ in known]
        for i, query in enumerate(queries):
            poll()
            for which, each in enumerate(known):
                if which == 0 or len(each.left_out[i]) > 1:  # else it has no copies: all as before
                    positions = seen[i][~np.isin(seen[i], each.left_out[i])][:depth]
                    hits = np.isin(positions, truths[which][i])
                    places = _places(gaps[i, owner[positions]], hits, steps)
                    if companion is not None:
                        hits = hits[np.argsort(-companion(query, positions), kind="stable")]
                np.add.at(counts[which], places, 1.0)
                ranks[which].append(np.flatnonzero(hits) + 1)
        sizes = np.array([max(1, truth.size) for truth in truths])
        recalls = (np.cumsum(counts, axis=2) / sizes[:, None, None]).min(axis=0)
        by_codes = [np.sort(np.concatenate(each)) for each in ranks] if companion else []
        efforts = _cheapest(index, blocks, limit, steps, rows, recalls, by_codes)
        margins = []
        for i in range(0, len(queries), -(-len(queries) // _MARGIN_QUERIES)):
            poll()
            others = ~np.isin(seen[i], known[-1].left_out[i])
            asked = Asked(queries[i], seen[i][others], estimates[i][others], gaps[i], owner)
            margins.append(margins_of(index.metric, asked, efforts, limit, exact))
        tables.append(with_margins(efforts, np.array(margins)))
    return replace(index, efforts=tuple(tables))


def _places(gaps: Floats, hits: npt.NDArray[np.bool_], steps: Floats) -> tuple[Ints, Ints]:
    """Of the neighbours among some rows, best sketches first, those that are visited with each of
    ``steps``: the step, and how many better rows are visited with it.

    ``gaps`` of the rows' partitions, ``float32[n]``; ``hits: bool[n]`` says which are neighbours.
    """
    within = gaps <= steps[:, None]
    step, at = np.nonzero(within & hits)
    return step, np.cumsum(within, axis=1)[step, at] - 1


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
    tenth of what may be lost. 0 if that is most of them.

    ``ranks``: those of neighbours by their companion's scores, rising; of each of ``known``.
    """
    if not ranks or not all(map(len, ranks)):
        return 0
    share = recall + (1.0 - recall) * 0.9
    keep = limit
    for every in ranks:
        keep = max(keep, int(every[min(len(every) - 1, int(np.ceil(share * len(every))) - 1)]))
    return keep if 2 * keep <= candidates else 0


def _typical(index: ClusteredIndex, queries: Floats) -> float:
    """What ``index.typical`` is, by its definition."""
    lengths = np.einsum("ij,ij->i", queries, queries, dtype=np.float64)
    if index.distance:
        lengths = np.maximum(lengths - _priorities(index, queries).max(axis=1), 0.0)
    typical = float(np.median(np.sqrt(lengths)))
    return typical if 0.0 < typical < np.inf else 0.0


def _priorities(index: ClusteredIndex, queries: Floats) -> Floats:
    """Of every partition for each query, without bonuses: ``float32 (q, p)``."""
    factor = np.float32(2.0 if index.distance else 1.0)
    found: Floats = factor * (queries @ index.clustering.centroids().T) + index.constants
    return found


def _choose_bonuses(
    index: ClusteredIndex, queries: Floats, spreads: Floats, truth: Ints
) -> tuple[Floats, Floats]:
    """The bonus of each partition, ``float32[p]``: the multiple of its spread with which ``truth:
    int64[q, k]``, the partitions of true neighbours, are visited cheapest.

    And how far each partition's priority is below the best one's then, in units of the query's
    span: ``float32 (q, p)``.
    """
    plain = _priorities(index, queries) * index.inverse_spans(queries)[:, None]
    sizes = np.diff(index.starts)
    best: tuple[float, Floats, Floats] | None = None
    for share in BONUS_FACTORS:
        bonuses = (share * spreads).astype(np.float32)
        priorities = plain + bonuses
        gaps = priorities.max(axis=1, keepdims=True) - priorities
        needed = np.sort(_needed(gaps, truth))
        cost = 0.0
        for recall in (0.95, 0.98):
            gap = needed[min(len(needed) - 1, int(recall * len(needed)))]
            cost += float(np.median(((gaps <= gap) * sizes).sum(axis=1)))
        if best is None or cost < 0.97 * best[0]:  # no bonus unless it pays
            best = cost, bonuses, gaps
    assert best is not None
    return best[1], best[2]


def _needed(gaps: Floats, partitions: Ints) -> Floats:
    """The gaps with which some partitions of each query are visited, of all queries."""
    return np.take_along_axis(gaps, partitions, axis=1).ravel()


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
) -> list[Neighbours]:
    """The ``max(TABLE_LIMITS)`` nearest rows of each query but itself; then, if any query has near
    copies, the nearest that are no copies either.

    ``queries`` stand at the positions ``own: int64[q]``. ``blocks``: first position and
    ``float32[b, d]`` of all rows in turn. Fewer neighbours if there are fewer rows.
    """
    near = _copies_within(metric, queries)
    # With and without copies. Until its first one, both are the same for a query.
    scores = np.full((2, len(queries), max(TABLE_LIMITS)), -np.inf, dtype=np.float32)
    positions = np.zeros(scores.shape, dtype=np.int64)
    counts = np.zeros(len(queries), dtype=np.int64)
    copies = [[each] for each in own[:, None]]
    for start, vectors in blocks:
        poll()
        here, distances = _compared(metric, queries, vectors)
        mine = np.flatnonzero((own >= start) & (own < start + len(vectors)))
        here[mine, own[mine] - start] = -np.inf
        distances[mine, own[mine] - start] = np.inf
        close = distances < near
        more = np.count_nonzero(close, axis=1)
        first = (more > 0) & (counts == 0)
        scores[1, first], positions[1, first] = scores[0, first], positions[0, first]
        counts += more
        _offer(scores[0], positions[0], np.arange(len(queries)), here, start)
        here[close] = -np.inf
        copied = np.flatnonzero(counts)
        _offer(scores[1], positions[1], copied, here[copied], start)
        for query in np.flatnonzero((more > 0) & (counts <= _MOST_COPIES)).tolist():
            copies[query].append(np.flatnonzero(close[query]) + start)
    known = [Neighbours(_columns(scores[0], positions[0]), list(own[:, None]))]
    few = (counts > 0) & (counts <= _MOST_COPIES)
    if few.any():
        scores[1, ~few], positions[1, ~few] = scores[0, ~few], positions[0, ~few]
        left_out = [
            np.concatenate(theirs if has else theirs[:1])
            for theirs, has in zip(copies, few.tolist(), strict=True)
        ]
        distinct = Neighbours(_columns(scores[1], positions[1]), left_out)
        known += [distinct] * (distinct.positions.shape[1] > 0)
    return known


def _offer(scores: Floats, positions: Ints, queries: Ints, here: Floats, start: int) -> None:
    """Put what is better of a block's scores among the best of some queries, in place."""
    keep = scores.shape[1]
    where = np.broadcast_to(np.arange(start, start + here.shape[1]), here.shape)
    if here.shape[1] > keep:
        chosen = np.argpartition(-here, keep - 1, axis=1)[:, :keep]
        here = np.take_along_axis(here, chosen, axis=1)
        where = chosen + start
    here = np.concatenate((scores[queries], here), axis=1)
    where = np.concatenate((positions[queries], where), axis=1)
    best = np.argsort(-here, axis=1, kind="stable")[:, :keep]
    scores[queries] = np.take_along_axis(here, best, axis=1)
    positions[queries] = np.take_along_axis(where, best, axis=1)


def _columns(scores: Floats, positions: Ints) -> Ints:
    """As many of the best as every query has."""
    return positions[:, : int(np.isfinite(scores).sum(axis=1).min())] if len(scores) else positions


def _copies_within(metric: str, queries: Floats) -> float:
    """What `_compared` says of rows that are copies is less than this."""
    _, distances = _compared(metric, queries, queries)
    pairs = distances[np.triu_indices(len(queries), 1)]
    typical = float(np.median(pairs)) if len(pairs) else 0.0
    return _COPY * _COPY * typical if np.isfinite(typical) else 0.0


def _compared(metric: str, queries: Floats, vectors: Floats) -> tuple[Floats, Floats]:
    """Scores, and distances squared: ``float32 (q, n)`` each."""
    if metric == "manhattan":
        sums = np.empty((len(queries), len(vectors)), dtype=np.float32)
        for query, line in zip(queries, sums, strict=True):
            np.abs(vectors - query).sum(axis=1, out=line)
        return -sums, sums * sums
    products: Floats = queries @ vectors.T
    nearness = 2.0 * products - np.einsum("ij,ij->i", vectors, vectors)
    distances = np.einsum("ij,ij->i", queries, queries)[:, None] - nearness
    return (nearness if metric == "euclid" else products), distances
