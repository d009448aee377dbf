"""Facets: how many points have which value."""

from __future__ import annotations

import heapq
from typing import Any

from vecdb import models
from vecdb.engine.read import masks
from vecdb.engine.read.values import Values
from vecdb.engine.view import View

_KINDS = (bool, int, str)
"""What is counted; of values of different kinds, which are never equal, the order."""


def facets(
    view: View, values: Values, condition: masks.Condition | None, limit: int
) -> list[models.FacetValueHit]:
    """The values that most points have, with their counts: the largest first, of equal counts the
    smallest value. A point counts once for a value, however often it has it."""
    counts: dict[type, dict[Any, int]] = {kind: {} for kind in _KINDS}
    for segment_view in view.segments:
        rows = masks.rows(view, segment_view, condition)
        for found in values(segment_view, rows):
            if len(found) > 1:
                found = [value for _, value in {(type(v), v) for v in found if type(v) in counts}]
            for value in found:
                of_kind = counts.get(type(value))
                if of_kind is not None:
                    of_kind[value] = of_kind.get(value, 0) + 1
    every = (
        (-count, order, value)
        for order, kind in enumerate(_KINDS)
        for value, count in counts[kind].items()
    )
    best = heapq.nsmallest(limit, every)
    return [models.FacetValueHit(value, -negative) for negative, _, value in best]
