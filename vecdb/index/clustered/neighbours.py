"""True neighbours of some queries, by all vectors: what efforts are measured against.

Where rows have near copies, a row is too easy a query: its copies are what it finds. So it is asked
for its neighbours twice, with its copies and as if there were none, as for a query that is new.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from vecdb.linear_algebra import product

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Poll = Callable[[], None]

MOST: Final = 101
"""How many neighbours are looked for: one more than a table measures, to know equals by."""
QUERIES: Final = 400
_FEWEST_QUERIES = 100
"""A small segment is searched fast whatever is measured; its build should be short, too."""
_OF_A_QUERY = 1 << 17
"""Bytes: thousands of rows by their sketches, as calibration looks at them, and its own numbers."""
_SEED = 20_240_609
_COPY = 0.1
"""A row so near to another, in parts of what two rows are apart in the median, is its copy. At
0.17, searches of sentence embeddings looked at a quarter more rows for a recall of 0.98."""
_MOST_COPIES = 1000
"""A row with more rows so near to it lies in a crowd of its own kind; queries come from there,
too."""


_FEW_VALUES = 8
"""A row of no more different numbers is made of bits or small counts."""
_NOISE = 1e-3
"""A share of a row's length: less than sets two such rows apart, and more than float32 rounds
by."""


class Neighbours(NamedTuple):
    """What is nearest to some queries, besides what is left out."""

    positions: Ints
    """``int64 (q, k)``, nearest first."""
    scores: Floats
    """``float32 (q, k)``, larger is nearer."""
    left_out: Sequence[Ints]
    """For each query itself, and maybe its copies."""


def pick_queries(rows: int, room: int = sys.maxsize) -> Ints:
    """Positions that serve as queries: ``int64``, rising. ``room``: bytes of memory that they, and
    what is found for them, may take."""
    most = max(_FEWEST_QUERIES, min(QUERIES, room // _OF_A_QUERY))
    count = min(rows, most, max(_FEWEST_QUERIES, rows // 20))
    return np.sort(np.random.default_rng(_SEED).choice(rows, count, replace=False))


def breaking_ties(rows: Floats) -> Floats:
    """Rows as queries. Where they have few values (bits, small counts), many others are as near to
    one of them as the last result, and any is right; to a query with values of its own they are
    not. So such rows get a little noise, ``float32 (q, d)``; it tells no equal rows apart."""
    few = [len(np.unique(row)) <= _FEW_VALUES for row in rows]
    if 2 * sum(few) <= len(rows):
        return rows
    noise = np.random.default_rng(_SEED).standard_normal(rows.shape, dtype=np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows) / max(1, rows.shape[1]))
    told_apart: Floats = rows + (_NOISE * lengths)[:, None] * noise
    return told_apart


def nearest_others(
    metric: str,
    queries: Floats,
    own: Ints,
    blocks: Iterable[tuple[int, Floats]],
    poll: Poll = lambda: None,
) -> tuple[list[Neighbours], Neighbours]:
    """The ``MOST`` nearest rows of each query but itself; then, if any query has near copies, the
    nearest that are no copies either. And those of strangers.

    The first ``len(own)`` of ``queries: float32[q, d]`` stand at the positions ``own``, the others
    are no rows. ``blocks``: first position and ``float32[b, d]`` of all rows in turn. Fewer
    neighbours if there are fewer rows.
    """
    count = len(own)
    near = _copies_within(metric, queries[:count])
    # With and without copies. Until its first one, both are the same for a query.
    scores = np.full((2, len(queries), MOST), -np.inf, dtype=np.float32)
    positions = np.zeros(scores.shape, dtype=np.int64)
    counts = np.zeros(count, dtype=np.int64)
    copies = [[each] for each in own[:, None]]
    for start, vectors in blocks:
        poll()
        here, distances = _compared(metric, queries, vectors)
        distances = distances[:count]
        mine = np.flatnonzero((own >= start) & (own < start + len(vectors)))
        here[mine, own[mine] - start] = -np.inf
        distances[mine, own[mine] - start] = np.inf
        close = distances < near
        more = np.count_nonzero(close, axis=1)
        first = np.flatnonzero((more > 0) & (counts == 0))
        scores[1, first], positions[1, first] = scores[0, first], positions[0, first]
        counts += more
        _offer(scores[0], positions[0], np.arange(len(queries)), here, start)
        copied = np.flatnonzero(counts)
        here[:count][close] = -np.inf
        _offer(scores[1], positions[1], copied, here[copied], start)
        for query in np.flatnonzero((more > 0) & (counts <= _MOST_COPIES)).tolist():
            copies[query].append(np.flatnonzero(close[query]) + start)
    nothing = list(np.empty((len(queries) - count, 0), dtype=np.int64))
    strangers = Neighbours(*_columns(scores[0, count:], positions[0, count:]), nothing)
    scores, positions = scores[:, :count], positions[:, :count]
    known = [Neighbours(*_columns(scores[0], positions[0]), list(own[:, None]))]
    few = (counts > 0) & (counts <= _MOST_COPIES)
    if few.any():
        scores[1, ~few], positions[1, ~few] = scores[0, ~few], positions[0, ~few]
        left_out = [
            np.concatenate(theirs if has else theirs[:1])
            for theirs, has in zip(copies, few.tolist(), strict=True)
        ]
        distinct = Neighbours(*_columns(scores[1], positions[1]), left_out)
        known += [distinct] * (distinct.positions.shape[1] > 0)
    return known, strangers


def _offer(scores: Floats, positions: Ints, queries: Ints, here: Floats, start: int) -> None:
    """Put what is better of a block's scores among the best of some queries, in place."""
    keep = scores.shape[1]
    better = here > scores[queries, -1:]
    most = int(better.sum(axis=1).max(initial=0))
    if 4 * most <= here.shape[1]:  # nearly always, after the first blocks
        query, where = np.nonzero(better)
        firsts = np.cumsum(better.sum(axis=1)) - better.sum(axis=1)
        at = np.arange(len(query)) - firsts[query]
        offered = np.full((len(queries), most), -np.inf, dtype=np.float32)
        numbers = np.zeros((len(queries), most), dtype=np.int64)
        offered[query, at] = here[query, where]
        numbers[query, at] = where + start
    elif here.shape[1] > keep:
        numbers = np.argpartition(-here, keep - 1, axis=1)[:, :keep]
        offered = np.take_along_axis(here, numbers, axis=1)
        numbers += start
    else:
        offered = here
        numbers = np.broadcast_to(np.arange(start, start + here.shape[1]), here.shape)
    offered = np.concatenate((scores[queries], offered), axis=1)
    numbers = np.concatenate((positions[queries], numbers), axis=1)
    best = np.argsort(-offered, axis=1, kind="stable")[:, :keep]
    scores[queries] = np.take_along_axis(offered, best, axis=1)
    positions[queries] = np.take_along_axis(numbers, best, axis=1)


def _columns(scores: Floats, positions: Ints) -> tuple[Ints, Floats]:
    """The best of each query: as many as every query has."""
    count = int(np.isfinite(scores).sum(axis=1).min(initial=MOST))
    return positions[:, :count], scores[:, :count]


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
    products = product(queries, vectors.T)
    # In place where that can be: two such arrays are most of what a build holds.
    nearness = np.multiply(products, 2.0, out=products if metric == "euclid" else None)
    nearness -= np.einsum("ij,ij->i", vectors, vectors)
    squares = np.einsum("ij,ij->i", queries, queries)[:, None]
    if metric == "euclid":
        return nearness, squares - nearness
    return products, np.subtract(squares, nearness, out=nearness)
