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
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from vecdb.index.calibration import Effort

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Scores = Callable[[Floats, Ints], Floats]
"""Of a query and some positions."""

_CHANCE = 0.015
"""How much of what a kind of strangers misses may be chance, at the most."""
_DOUBTED = (0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Which part of the rows, as queries, is doubted at the most: the first with which strangers find
what they should. Those are searched for twice."""
_ALL = 1e30
"""No search is as sure: all are doubted."""
OF_A_KIND: Final = 16
_SEED = 20_240_611


class Asked(NamedTuple):
    """Rows for a query, best sketches first, the estimates by these, and how far partitions are.

    ``bound``: the best priority as a score, and the inverse of the query's span; ``least``: the
    score of its last true neighbour.
    """

    vector: Floats
    positions: Ints
    estimates: Floats
    gaps: Floats
    bound: tuple[float, float]
    least: float


def strangers(rows: Floats, middle: Floats, *, distance: bool) -> Floats:
    """Queries unlike some rows: ``float32 (kinds * OF_A_KIND, d)``, kind by kind."""
    random = np.random.default_rng(_SEED)
    if not distance:
        middle = np.zeros_like(middle)
    count, dim = OF_A_KIND, rows.shape[1]
    away = rows - middle
    some, others = (away[random.integers(len(rows), size=count)] for _ in range(2))
    directions = random.standard_normal((2, count, dim)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    length = np.float32(np.median(np.linalg.norm(away, axis=1)))
    mixed = away[random.integers(len(rows), size=(count, dim)), np.arange(dim)]
    kinds = [
        -some,
        (some + others) / 2,
        mixed,
        length * directions[0],
        some + np.linalg.norm(some, axis=1, keepdims=True) / 2 * directions[1],
    ]
    if distance:  # lengths do nothing to an inner product
        kinds += [some / 10, 10 * some]
    else:
        kinds += [some - rows.mean(axis=0)]
    made: Floats = np.concatenate(kinds) + middle
    return made


def sure_of(
    metric: str,
    query: Asked,
    owner: Ints,
    starts: Ints,
    efforts: Sequence[Effort],
    limit: int,
    exact: Scores,
) -> npt.NDArray[np.float64]:
    """With each effort but the last, how sure a search for a query is, calm and reach, and which
    part of what it should it finds: ``(efforts, 3)``."""
    from vecdb.kernels.rescoring import sureness
    from vecdb.kernels.signatures import METRIC_CODES

    order = np.argsort(query.gaps, kind="stable")
    visited = np.cumsum(np.diff(starts)[order])
    away = query.gaps[owner[query.positions]]
    chosen, bounds = [], []
    for effort in efforts[:-1]:
        enough = min(int(np.searchsorted(visited, effort.candidates)), len(order) - 1)
        gap = max(effort.gap, float(query.gaps[order[enough]]))
        chosen.append(np.flatnonzero(away <= gap)[: effort.candidates])
        beyond = float(query.gaps.min(initial=np.inf, where=query.gaps > gap))
        bounds.append((query.bound[0] - beyond / query.bound[1], query.bound[1]))
    places = np.unique(np.concatenate([*chosen, np.empty(0, dtype=np.int64)]))
    scores = exact(query.vector, query.positions[places])
    found = []
    for mine, bound in zip(chosen, bounds, strict=True):
        theirs = scores[np.searchsorted(places, mine)]
        share = min(1.0, np.count_nonzero(theirs >= query.least) / limit)
        if len(mine) < limit:
            found.append((np.inf, np.inf, share))
            continue
        last = np.partition(theirs, -limit)[-limit]
        sure = sureness(
            *(METRIC_CODES[metric], query.estimates[mine], theirs),
            *(np.array(bound, dtype=np.float32), limit, last),
        )
        found.append((*sure, share))
    return np.array(found, dtype=np.float64).reshape(len(chosen), 3)


def with_margins(
    efforts: Sequence[Effort],
    rows: npt.NDArray[np.float64],
    kinds: Sequence[npt.NDArray[np.float64]],
) -> tuple[Effort, ...]:
    """The efforts with the calm and the reach that are enough, by what `sure_of` said of rows as
    queries and of each kind of strangers: ``(q, e, 3)``."""
    found = []
    for at, effort in enumerate(efforts[:-1]):
        calm, reach = _enough(effort, rows[:, at], [kind[:, at] for kind in kinds])
        found.append(replace(effort, calm=calm, reach=reach))
    return (*found, efforts[-1])


def _enough(
    effort: Effort,
    rows: npt.NDArray[np.float64],
    kinds: Sequence[npt.NDArray[np.float64]],
) -> tuple[float, float]:
    finite = np.clip(rows[:, :2], -_ALL, _ALL)
    levels = [
        np.minimum(
            np.quantile(finite, _DOUBTED[0], axis=0, method="lower"),
            (usual_calm(effort.recall), _ALL),
        ),
        *(np.quantile(finite, part, axis=0, method="lower") for part in _DOUBTED),
    ]
    for level in levels:
        if all(_found(kind, level) >= effort.recall for kind in kinds):
            return float(level[0]), float(level[1])
    return _ALL, _ALL


def usual_calm(recall: float) -> float:
    """What is calm enough whatever that of rows is, if strangers agree: where sketches tell much,
    theirs is far more."""
    return -math.log(max(1.0 - recall, 1e-6))


def _found(queries: npt.NDArray[np.float64], level: npt.NDArray[np.float64]) -> float:
    """Which part queries find, where those that are less sure are searched for until all is found;
    with what so few of them may be wrong by."""
    doubted = (queries[:, :2] < level).any(axis=1)
    shares = np.where(doubted, 1.0, queries[:, 2])
    return float(shares.mean() + min(_CHANCE, shares.std() / math.sqrt(len(shares))))
