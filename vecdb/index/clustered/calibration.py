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

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from vecdb.index.clustered.effort import ALL_PARTITIONS, EVERYTHING, MEASURED, Effort
from vecdb.index.clustered.heaps import ASIDE, homes
from vecdb.index.clustered.index import ClusteredIndex
from vecdb.index.clustered.margins import (
    BEYOND,
    OF_A_KIND,
    WORTHWHILE,
    Asked,
    Scores,
    asked_again,
    chosen,
    sure_of,
)
from vecdb.index.clustered.neighbours import Neighbours
from vecdb.linear_algebra import dot, product
from vecdb.vectors.datatypes import bytes_per_vector

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Poll = Callable[[], None]
Among = Callable[[Ints, Ints], npt.NDArray[np.bool_]]
"""Which of some positions are among others."""

RECALLS: Final = (
    *(0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 0.998),
)
"""Levels that are measured. That some hundred queries find all they should says no more than the
last: for a higher one, originals are scanned."""
_LOOKED_AT = (*(0.5, 0.6, 0.7, 0.75), *np.arange(0.8, 0.99, 0.01), *RECALLS[-3:])
"""The cheapest effort is looked at for each of these recalls. Doubtful queries are searched again,
so that more comes out."""
BONUS_FACTORS: Final = (0.0, 0.25, 0.5, 0.75)
# Gaps that are looked at: those that let so large a share of true neighbours be visited.
_SHARES = 1.0 - np.append(np.geomspace(0.5, 0.0005, 31), 0.0)
_DEPTH = {10: 1024, 100: 4096}
"""Sketch ranks that are looked at: a neighbour beyond is called lost."""
_EQUAL = 1e-6
"""Scores are equal if they differ by less than this share of the largest."""
# What it costs, roughly: bytes of sketches in a nanosecond; of vectors from here and there, and
# nanoseconds for each besides; of all vectors one after the other, and for each besides.
_SKETCH_BYTES = 28.0
_VECTOR_BYTES = 25.0
_VECTOR = 100.0
_SCANNED_BYTES = 20.0
_SCANNED = 15.0


class Stranger(NamedTuple):
    """Queries that are no rows, and what is nearest to them."""

    queries: Floats
    known: Neighbours


def calibrate(
    index: ClusteredIndex,
    blocks: npt.NDArray[np.uint8],
    queries: Floats,
    spreads: Floats,
    known: Sequence[Neighbours],
    exact: Scores,
    companion: Scores | None = None,
    poll: Poll = lambda: None,
    unlike: Stranger | None = None,
) -> ClusteredIndex:
    """The index with its bonuses, and with a table of efforts for each of ``TABLE_LIMITS``, recall
    rising.

    ``queries: float32[q, d]`` are rows of the index, ``known`` what `nearest_others` found for
    them. ``spreads: float32[p]``: root mean square of a partition's residuals, squared for a
    distance. ``exact(query, positions)`` are scores by the vectors, ``companion`` those by better
    codes. ``unlike``: `margins.strangers`.
    """
    from vecdb.kernels.efforts import count_hits

    owner = np.repeat(np.arange(len(index.starts) - 1), np.diff(index.starts))
    index = _with_spans(index, queries)
    home = homes(index.clustering, index.aside)[owner]  # of equal rows any is right
    bonuses, gaps = _choose_bonuses(index, queries, spreads, home[known[-1].positions[:, :10]])
    index = replace(index, bonuses=bonuses)
    deepest = max(_DEPTH.values()) + max(len(rows) for each in known for rows in each.left_out)
    looked = list(_looked_at(index, blocks, queries, deepest, poll))
    among = _among(index.rows)
    tables = []
    for limit in MEASURED:
        depth = min(_DEPTH[limit], index.rows)
        truths = [each.positions[:, :limit] for each in known]
        needed = np.concatenate([_needed(gaps, home[truth]) for truth in truths])
        steps = np.unique(np.quantile(needed, _SHARES).astype(np.float32))
        rows = np.stack([(gaps <= step) @ np.diff(index.starts) for step in steps], axis=1)
        wanted = (limit, 1) if limit == MEASURED[0] else (limit,)
        counts = np.zeros((len(wanted), len(known), len(steps), depth), dtype=np.int64)
        ranks: list[list[Ints]] = [[] for _ in known]
        for i, query in enumerate(queries):
            poll()
            for which, each in enumerate(known):
                if which == 0 or len(each.left_out[i]) > 1:  # else it has no copies: all as before
                    seen = looked[i].positions
                    positions = seen[~among(seen, each.left_out[i])][:depth]
                    away = gaps[i, owner[positions]]
                    hits = [_hits(each, i, few, query, positions, exact, among) for few in wanted]
                    ranked = hits[0][0]
                    if companion is not None:
                        ranked = ranked[np.argsort(-companion(query, positions), kind="stable")]
                for number, (right, most) in enumerate(hits):
                    count_hits(away, right, most, steps, counts[number, which])
                ranks[which].append(np.flatnonzero(ranked)[:limit] + 1)
        sizes = [[max(1, truth[:, :few].size) for truth in truths] for few in wanted]
        recalls = (np.cumsum(counts, axis=3) / np.array(sizes)[:, :, None, None]).min(axis=1)
        by_codes = [np.sort(np.concatenate(each)) for each in ranks] if companion else []
        if limit == MEASURED[0]:
            tables.append(
                _cheapest(index, blocks, limit, steps, rows, recalls.min(axis=0), by_codes)
            )
        tables.append(_cheapest(index, blocks, limit, steps, rows, recalls[0], by_codes))

    some = asked_again(len(queries))
    both: Iterable[tuple[Asked, Neighbours, int]] = [(looked[i], known[-1], i) for i in some]
    if unlike:  # looked at one by one: what is found for all of them is many megabytes
        others = _looked_at(index, blocks, unlike.queries, deepest, poll)
        both = chain(both, ((each, unlike.known, i) for i, each in enumerate(others)))
    same = tables[0] == tables[1]  # nearly always
    beyond = [_beyond(index, gaps, table, deepest) for table in tables]
    tried = [table + deeper for table, deeper in zip(tables, beyond, strict=True)]
    judged = list(zip((MEASURED[0], *MEASURED), tried, strict=True))[same:]
    sure: list[list[Floats]] = [[] for _ in judged]
    for asked, of, i in both:
        poll()
        left = ~among(asked.positions, of.left_out[i])
        asked = asked._replace(positions=asked.positions[left], estimates=asked.estimates[left])
        leasts = {limit: _least(asked.vector, of, i, limit, exact) for limit in MEASURED}
        measured = [(limit, efforts, leasts[limit]) for limit, efforts in judged]
        said = sure_of(index.metric, asked, owner, index.starts, measured, exact)
        for lines, mine in zip(sure, said, strict=True):
            lines.append(mine)
    finished = [
        _finished(index, blocks, efforts, np.array(mine), len(some), len(deeper))
        for (_, efforts), mine, deeper in zip(judged, sure, beyond[same:], strict=True)
    ]
    return replace(index, efforts=(*finished[:same], *finished))


def _finished(
    index: ClusteredIndex,
    blocks: npt.NDArray[np.uint8],
    efforts: Sequence[Effort],
    sure: Floats,
    count: int,
    beyond: int,
) -> tuple[Effort, ...]:
    """The table of efforts, from measurements with ``count`` rows and then strangers; the last
    ``beyond`` of ``efforts`` are those of `_beyond`."""
    visited, candidates = ([getattr(each, of) for each in efforts] for of in ("rows", "candidates"))
    costs = _costs(index, blocks, visited, candidates).tolist()
    kinds = sure[count:].reshape((len(sure) - count) // OF_A_KIND, OF_A_KIND, *sure.shape[1:])
    whole = index.rows * (_SCANNED + bytes_per_vector(index.dim) / _SCANNED_BYTES)
    table = chosen(efforts, RECALLS, costs, sure[:count], kinds, index.rows, whole, beyond)
    # More than any level that was reached: everything that was ever needed, and then some.
    most = 2 * max(_DEPTH.values())
    survivors = most if any(each.survivors for each in efforts) else 0
    return (*table, Effort(1.0, EVERYTHING, most, index.rows, survivors))


def _beyond(
    index: ClusteredIndex, gaps: Floats, table: Sequence[Effort], deepest: int
) -> tuple[Effort, ...]:
    """Efforts for what the last of the table leaves in doubt: each looks four times as deep as the
    one before, as long as that is among what was looked at."""
    if not table:  # no gap and no number of candidates finds enough
        return ()
    efforts: list[Effort] = []
    gap, survivors = max(each.gap for each in table), table[-1].survivors
    candidates = max(each.candidates for each in table)
    for _ in BEYOND:
        gap, candidates, survivors = 2.0 * gap, 4 * candidates, 4 * survivors
        if candidates > min(deepest, index.rows // WORTHWHILE):
            break
        visited = int(np.median((gaps <= gap) @ np.diff(index.starts)))
        efforts.append(Effort(1.0, gap, candidates, visited, min(candidates, survivors)))
    return tuple(efforts)


def _looked_at(
    index: ClusteredIndex,
    blocks: npt.NDArray[np.uint8],
    queries: Floats,
    deepest: int,
    poll: Poll,
) -> Iterator[Asked]:
    """What is best for some queries by the sketches, and how far away their partitions are: one
    after the other."""
    priorities, inverses = index.priorities(queries)
    priorities = priorities * inverses[:, None] + index.bonuses
    best = priorities.max(axis=1)
    gap = ALL_PARTITIONS  # but those set aside
    deepest = min(deepest, index.rows - sum(np.diff(index.starts)[list(index.aside)].tolist()))
    moved = queries - index.clustering.middle
    squares = np.einsum("ij,ij->i", moved, moved) if index.distance else np.zeros(len(queries))
    for i, query in enumerate(queries):
        poll()
        found = index.visit(queries[i : i + 1], blocks, deepest, gap)
        order = np.argsort(-found.scores[0, : found.counts[0, 0]], kind="stable")
        bound = (float(best[i] / inverses[i] - squares[i]), float(inverses[i]))
        positions, scores = found.positions[0, order], found.scores[0, order]
        yield Asked(query, positions, scores, best[i] - priorities[i], bound)


def _tied(known: Neighbours, query: int, limit: int) -> bool:
    """Whether more rows than ``limit`` are as near to a query as its result number ``limit``."""
    scores = known.scores[query]
    if len(scores) <= limit:
        return False
    return bool(scores[limit - 1] - scores[limit] <= _EQUAL * np.abs(scores[:limit]).max())


def _least(query: Floats, known: Neighbours, i: int, limit: int, exact: Scores) -> float:
    """The score of the last of ``limit`` true neighbours, less what float32 rounds by; minus
    infinity if there are none, as where scores overflow."""
    scores = exact(query, known.positions[i, :limit])
    if not len(scores):
        return -float("inf")
    return float(scores.min() - _EQUAL * np.abs(scores).max())


def _among(rows: int) -> Among:
    """``numpy.isin`` of positions below ``rows``, for one thread: it sorts nothing."""
    marks = np.zeros(rows, dtype=np.bool_)

    def among(positions: Ints, some: Ints) -> npt.NDArray[np.bool_]:
        marks[some] = True
        found: npt.NDArray[np.bool_] = marks[positions]
        marks[some] = False
        return found

    return among


def _hits(
    known: Neighbours,
    i: int,
    limit: int,
    query: Floats,
    positions: Ints,
    exact: Scores,
    among: Among,
) -> tuple[npt.NDArray[np.bool_], int]:
    """Which of some positions are among the ``limit`` true neighbours of a query, and how many of
    them count, 0: all. Of equal rows, any is right."""
    if not _tied(known, i, limit):
        return among(positions, known.positions[i, :limit]), 0
    return exact(query, positions) >= _least(query, known, i, limit, exact), limit


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
    cost = _costs(index, blocks, typical[:, None], candidates)
    allowed = candidates >= limit
    efforts = []
    for recall in _LOOKED_AT:
        enough = (recalls >= recall) & allowed
        if not enough.any():
            break
        step, place = np.unravel_index(np.where(enough, cost, np.inf).argmin(), cost.shape)
        survivors = _survivors(ranks, recall, limit, int(candidates[place]))
        efforts.append(
            Effort(
                float(recalls[step, place]),
                float(steps[step]),
                int(candidates[place]),
                int(typical[step]),
                survivors,
            )
        )
    return tuple(efforts)


def _costs(
    index: ClusteredIndex, blocks: npt.NDArray[np.uint8], visited: Any, candidates: Any
) -> npt.NDArray[np.float64]:
    """The cost of visiting so many rows and scoring so many of them, in nanoseconds."""
    each = blocks.shape[1] / 32 / _SKETCH_BYTES
    costs: npt.NDArray[np.float64] = np.asarray(visited) * each + np.asarray(candidates) * (
        _VECTOR + bytes_per_vector(index.dim) / _VECTOR_BYTES
    )
    return costs


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


def _with_spans(index: ClusteredIndex, queries: Floats) -> ClusteredIndex:
    """The index with what spans are measured by, ``common`` and ``typical``, from some queries."""
    if index.distance:
        moved = (queries - index.clustering.middle).astype(np.float64)
        squares = np.einsum("ij,ij->i", moved, moved) - index.priorities(queries)[0].max(axis=1)
    else:
        common = _common(index)
        index = replace(index, common=common)
        squares = np.einsum("ij,ij->i", queries, queries, dtype=np.float64)
        squares -= product(queries, common).astype(np.float64) ** 2
    typical = float(np.median(np.sqrt(np.maximum(squares, 0.0))))
    return replace(index, typical=typical if 0.0 < typical < np.inf else 0.0)


def _common(index: ClusteredIndex) -> Floats:
    """The direction in which all rows are from 0, as long as they differ less in it than in others:
    1 where they do not differ, 0 where as much."""
    middle = index.clustering.middle.astype(np.float64)
    length = float(np.sqrt(dot(middle, middle)))
    nothing = np.zeros(len(middle), dtype=np.float32)
    if not 0.0 < length < np.inf:
        return nothing
    centroids = index.clustering.centroids()
    along = float(np.var(product(centroids, middle / length)))
    usual = float(np.var(centroids, axis=0).mean())
    share = 1.0 - along / usual if usual > 0.0 else 0.0
    return (middle * (np.sqrt(share) / length)).astype(np.float32) if share > 0.0 else nothing


def _choose_bonuses(
    index: ClusteredIndex, queries: Floats, spreads: Floats, truth: Ints
) -> tuple[Floats, Floats]:
    """The bonus of each partition, ``float32[p]``: the multiple of its spread with which ``truth:
    int64[q, k]``, the partitions of true neighbours, are visited cheapest.

    And how far each partition's priority is below the best one's then, in units of the query's
    span: ``float32 (q, p)``.
    """
    priorities, inverses = index.priorities(queries)
    plain = priorities * inverses[:, None]
    sizes = np.diff(index.starts)
    best: tuple[float, Floats, Floats] | None = None
    for share in BONUS_FACTORS:
        bonuses = (share * spreads).astype(np.float32)
        bonuses[list(index.aside)] = ASIDE
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
