"""How sure a search of each effort is, for queries like the rows and for others: what to doubt.

An effort is measured with rows as queries. How sure a search is of what it found
(`rescoring.sureness`) shows a query that is unlike them, for which the same effort finds less. So
it is measured with some rows, and with *strangers*: queries made to be unlike the rows, each kind
in another way. What is to be doubted is so much that strangers find what is asked for, too, where
what is doubted is searched for again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from vecdb.index.clustered.effort import Effort, usual_calm

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Scores = Callable[[Floats, Ints], Floats]
"""The scores of some positions for a query."""

MARGIN: Final = 0.1
"""This share of what may be missed is kept in reserve: some hundred queries measure a recall of
0.95 to half a percent."""
WORTHWHILE: Final = 16
"""A segment of no more than so many times as many rows as there are candidates is looked at whole:
that takes less time."""
AGAIN: Final = 40_000.0
"""What every search costs besides, in nanoseconds."""
_ALIKE = 0.01
"""Two searches take the same time if they differ by less than this share."""
_CHANCE = 0.01
"""How much of what a kind of strangers misses may be chance, at the most, and no more than half of
what may be missed."""
_DOUBTED = (0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""The largest share of rows, as queries, that are doubted: the first share with which strangers
find what they should. These queries are searched for twice."""
_ALL = 1e30
"""No search is as sure: all are doubted."""
_MOST = 100
"""How many queries are asked how sure they are."""
OF_A_KIND: Final = 32
BEYOND: Final = (0.999, 0.9995)
"""The levels of efforts for what the highest usual one leaves in doubt, each for the one before."""
_SEED = 20_240_611


class Asked(NamedTuple):
    """Rows for a query, best sketches first, the estimates by these, and how far partitions are.

    ``bound``: the best priority as a score, and the inverse of the query's span.
    """

    vector: Floats
    positions: Ints
    estimates: Floats
    gaps: Floats
    bound: tuple[float, float]


def asked_again(count: int) -> range:
    """Which of so many queries are asked how sure they are."""
    return range(0, count, -(-count // _MOST))


def strangers(queries: Floats, middle: Floats, *, distance: bool) -> Floats:
    """Queries unlike rows that are queries: ``float32 (kinds * OF_A_KIND, d)``, kind by kind."""
    rows = queries[asked_again(len(queries))]
    random = np.random.default_rng(_SEED)
    if not distance:
        middle = np.zeros_like(middle)
    count, dim = OF_A_KIND, rows.shape[1]
    away = rows - middle
    some, others = away[_made_of(len(rows))], away[random.integers(len(rows), size=count)]
    directions = random.standard_normal((2, count, dim)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    length = np.float32(np.median(np.linalg.norm(away, axis=1)))
    largest = np.argpartition(-np.abs(some), min(2, dim) - 1, axis=1)[:, :2]
    places = largest, random.integers(dim, size=(count, 2))
    mixed = away[random.integers(len(rows), size=(count, dim)), np.arange(dim)]
    kinds = [
        -some,
        (some + others) / 2,
        mixed,
        *(_only(some, each) for each in places),
        length * directions[0],
        some + np.linalg.norm(some, axis=1, keepdims=True) / 2 * directions[1],
    ]
    if distance:  # lengths do nothing to an inner product
        kinds += [some / 10, 10 * some]
    else:
        kinds += [some - rows.mean(axis=0)]
    made: Floats = np.concatenate(kinds) + middle
    return made


def _only(rows: Floats, places: Ints) -> Floats:
    """Some components of each row, and zeros."""
    made = np.zeros_like(rows)
    np.put_along_axis(made, places, np.take_along_axis(rows, places, axis=1), axis=1)
    return made


@lru_cache(maxsize=1)  # hundreds of choices of one build ask for it
def _made_of(count: int) -> Ints:
    """The rows, of so many, that strangers of each kind are made of, in their order."""
    return np.random.default_rng(_SEED + 1).integers(count, size=OF_A_KIND)


def sure_of(
    metric: str,
    query: Asked,
    owner: Ints,
    starts: Ints,
    tables: Sequence[tuple[int, Sequence[Effort], float]],
    exact: Scores,
) -> list[Floats]:
    """With each effort of some tables, how sure a search for a query is, calm and reach, and which
    part of what it should it finds: ``float32 (efforts, 3)`` a table.

    Each table is of a number of results, the last of which has the score that stands third.
    """
    from vecdb.kernels.efforts import mark_candidates, sureness_of_efforts
    from vecdb.kernels.signatures import METRIC_CODES

    order = np.argsort(query.gaps, kind="stable")
    visited = np.cumsum(np.diff(starts)[order])
    ranked = query.gaps[order]
    away = query.gaps[owner[query.positions]]
    wide, needed = [], np.zeros(len(away), dtype=np.bool_)
    for _, efforts, _ in tables:
        enough = np.searchsorted(visited, [each.candidates for each in efforts])
        gaps = np.maximum(
            np.array([each.gap for each in efforts], dtype=np.float32),
            ranked[np.minimum(enough, len(order) - 1)],
        )
        beyond = np.append(ranked, np.float32(np.inf))[np.searchsorted(ranked, gaps, "right")]
        bounds = np.empty((len(efforts), 2), dtype=np.float32)
        bounds[:, 0], bounds[:, 1] = query.bound[0] - beyond / query.bound[1], query.bound[1]
        most = np.array([each.candidates for each in efforts], dtype=np.int64)
        mark_candidates(away, gaps, most, needed)
        wide.append((gaps, most, bounds))
    scores = np.full(len(away), -np.inf, dtype=np.float32)
    scores[needed] = exact(query.vector, query.positions[needed])
    found = []
    for (limit, efforts, least), (gaps, most, bounds) in zip(tables, wide, strict=True):
        mine = np.empty((len(efforts), 3), dtype=np.float32)
        seen = (METRIC_CODES[metric], query.estimates, scores, away)
        sureness_of_efforts(*seen, gaps, most, bounds, limit, least, mine)
        found.append(mine)
    return found


def chosen(
    efforts: Sequence[Effort],
    levels: Sequence[float],
    costs: Sequence[float],
    rows: Floats,
    kinds: Floats,
    size: int,
    whole: float,
    beyond: int,
) -> tuple[Effort, ...]:
    """For each level of recall the effort that costs least, with the calm and the reach that are
    enough; second searches are in the cost, and in what is found. The last ``beyond`` efforts are
    only for what the highest level leaves in doubt.

    ``rows: float32[q, e, 3]`` and ``kinds: float32[k, q, e, 3]`` is what `sure_of` said of rows as
    queries and of each kind of strangers. Of ``size`` rows; to look at all costs ``whole``. A level
    that takes more than that is left out.
    """
    finite = np.clip(rows[..., :2], -_ALL, _ALL)
    doubts = np.quantile(finite, _DOUBTED, axis=0, method="lower")
    table: list[_Choice] = []  # the highest level first
    usual = len(efforts) - beyond
    for at in reversed(range(usual, len(efforts))):
        measured = rows[:, at], kinds[:, :, at], doubts[:, at]
        effort = replace(efforts[at], recall=float(measured[0][:, 2].mean()))
        level = BEYOND[at - usual]
        mine = _choice(effort, level, costs[at], *measured, table[-1] if table else None, whole)
        if mine is not None and costs[at] < whole:
            table.append(mine)
    for level in reversed(levels):
        enough: list[_Choice] = []
        least = whole
        for at, effort in enumerate(efforts[:usual]):
            if not _as_cheap(costs[at], least):
                continue  # without what is searched for again
            if table and not _within(effort, table[-1].effort):
                continue  # who asks for less would find more
            deeper = next(
                (each for each in reversed(table) if is_deeper(each.effort, effort)), None
            )
            if deeper is not None and WORTHWHILE * deeper.effort.candidates > size:
                deeper = None
            measured = rows[:, at], kinds[:, :, at], doubts[:, at]
            mine = _choice(effort, level, costs[at], *measured, deeper, whole)
            if mine is not None:
                enough.append(mine)
                least = min(least, mine.cost)
        if least < whole:
            alike = [each for each in enough if _as_cheap(each.cost, least)]
            table.append(max(alike, key=lambda each: each.found))
    return tuple(replace(each.effort, recall=level) for level, each in _rising(table))


def _within(one: Effort, other: Effort) -> bool:
    """Whether a search looks at nothing that another does not look at."""
    return one.candidates <= other.candidates and one.gap <= other.gap


def _as_cheap(cost: float, least: float) -> bool:
    """Whether a search of such a cost is no slower than the cheapest, as far as one can tell."""
    return cost - least <= _ALIKE * (least + AGAIN)


def _rising(table: Sequence[_Choice]) -> list[tuple[float, _Choice]]:
    """For each level, lowest first, its choice, or one below it that finds more: doubts may make
    more of a lower level than of the next."""
    found: list[tuple[float, _Choice]] = []
    for each in reversed(table):
        level = each.effort.recall
        below = found[-1][1] if found else each
        if below.found > each.found and (below.of_kinds >= np.minimum(each.of_kinds, level)).all():
            each = below
        found.append((level, each))
    return found


def is_deeper(one: Effort, other: Effort) -> bool:
    """Whether it pays to search again with one effort after the other."""
    return one.candidates >= 2 * other.candidates or one.rows >= 2 * other.rows


class _Choice(NamedTuple):
    """An effort for a level of recall, its cost, and the share of its results that each query
    finds."""

    effort: Effort
    cost: float
    rows: Floats
    kinds: Floats

    @property
    def found(self) -> float:
        """The share of their results that rows find, as queries."""
        return float(self.rows.mean())

    @property
    def of_kinds(self) -> npt.NDArray[np.float64]:
        """And each kind of strangers: ``float64 (k,)``."""
        found: npt.NDArray[np.float64] = self.kinds.mean(axis=-1, dtype=np.float64)
        return found


def _choice(
    effort: Effort,
    level: float,
    cost: float,
    rows: Floats,
    kinds: Floats,
    doubts: Floats,
    deeper: _Choice | None,
    whole: float,
) -> _Choice | None:
    """The effort with the least that is to be doubted, None if that does not do. What is doubted is
    searched for with what is ``deeper``, or in all rows.

    ``doubts: float32[len(_DOUBTED), 2]``: below which calm and reach so large a part of the rows
    stays."""
    missed = 1.0 - level
    if effort.recall < level - missed:  # doubts are not to be relied on for most of it
        return None
    enough = level + MARGIN * missed
    of_rows = deeper.rows if deeper is not None else np.ones(len(rows), dtype=np.float32)
    of_kinds = deeper.kinds if deeper is not None else np.ones(kinds.shape[:2], dtype=np.float32)
    again = (deeper.cost if deeper is not None else whole) + AGAIN
    least = np.minimum(doubts[0], (usual_calm(level), _ALL))
    for limit in (least, *doubts):
        doubted = _doubted(rows, limit)
        mine = np.where(doubted, of_rows, rows[:, 2])
        recall = effort.recall + float((mine - rows[:, 2]).mean())
        if recall < enough:
            continue
        theirs = np.where(_doubted(kinds, limit), of_kinds, kinds[..., 2])
        if (_expected(theirs, mine, min(_CHANCE, missed / 2.0)) < level).any():
            continue
        calm, reach = limit.tolist()
        found = replace(effort, recall=level, calm=calm, reach=reach)
        return _Choice(found, cost + float(doubted.mean()) * again, mine, theirs)
    return None


def _doubted(measured: Floats, limit: Floats) -> npt.NDArray[np.bool_]:
    """Where calm or reach is below its limit. ``any`` over two numbers takes five times as long."""
    calm: npt.NDArray[np.bool_] = measured[..., 0] < limit[0]
    calm |= measured[..., 1] < limit[1]
    return calm


def _expected(kinds: Floats, rows: Floats, most: float) -> Floats:
    """Which part each kind of strangers finds: ``float32 (k,)``, with what may be chance, at most
    so much.

    They are few. As far as they find what the rows find of which they are made, what those rows
    find more or less than all tells what many of a kind would (a control variate).
    """
    own = rows[_made_of(len(rows))]
    apart = own - own.mean()
    squares = float((apart * apart).sum()) or 1.0  # all find as much: nothing is alike
    alike = np.clip((kinds * apart).sum(axis=-1) / squares, 0.0, 1.0)
    left = kinds - np.multiply.outer(alike, apart)
    chance = np.minimum(most, left.std(axis=-1) / math.sqrt(OF_A_KIND))
    expected: Floats = kinds.mean(axis=-1) + alike * (rows.mean() - own.mean()) + chance
    return expected
