"""How sure a search of each effort is, for queries like the rows: what others are told by.

An effort is measured with rows as queries. The margin of a search (`rescoring.margin`) shows a
query that is unlike them, for which the same effort finds less; so the margins of rows are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from vecdb.index.calibration import Effort

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Scores = Callable[[Floats, Ints], Floats]
"""Of a query and some positions."""

_DOUBTED = 0.03
"""At most so large a part of the rows, as queries, has a margin that is too small: for them a
search is done twice."""
_CALM = 1.3
"""A margin as large as the normal distribution has it for the recall, less this, is enough
whatever that of rows is: where sketches tell much, theirs is far larger."""


class Asked(NamedTuple):
    """Rows for a query, best sketches first, the estimates by these, and how far partitions are."""

    vector: Floats
    positions: Ints
    estimates: Floats
    gaps: Floats
    owner: Ints


def margins_of(
    metric: str, query: Asked, efforts: Sequence[Effort], limit: int, exact: Scores
) -> list[float]:
    """The margin of a query with each effort."""
    from vecdb.kernels.rescoring import margin
    from vecdb.kernels.signatures import METRIC_CODES

    away = query.gaps[query.owner[query.positions]]
    chosen = [np.flatnonzero(away <= effort.gap)[: effort.candidates] for effort in efforts[:-1]]
    places = np.unique(np.concatenate([*chosen, np.empty(0, dtype=np.int64)]))
    scores = exact(query.vector, query.positions[places])
    margins = []
    for effort, mine in zip(efforts, chosen, strict=False):
        found = scores[np.searchsorted(places, mine)]
        if len(mine) < max(effort.candidates, limit):  # nothing was left out
            margins.append(np.inf)
            continue
        last = np.partition(found, -limit)[-limit]
        estimates = query.estimates[mine]
        margins.append(margin(METRIC_CODES[metric], query.vector, estimates, found, last))
    return margins


def with_margins(efforts: Sequence[Effort], margins: npt.NDArray[np.float64]) -> tuple[Effort, ...]:
    """The efforts with the margins that are enough, by those of some queries: ``(q, e)``, of all
    efforts but the last."""
    found = []
    for column, effort in enumerate(efforts[:-1]):
        least = float(np.quantile(margins[:, column], _DOUBTED, method="lower"))
        enough = NormalDist().inv_cdf(effort.recall) - _CALM
        found.append(replace(effort, margin=min(least, enough)) if np.isfinite(least) else effort)
    return (*found, efforts[-1])
