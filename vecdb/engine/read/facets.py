"""Facets: how many points have which value."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np

from vecdb import models
from vecdb.engine.read import masks
from vecdb.engine.read.columns import answered_by_column
from vecdb.engine.read.values import Values
from vecdb.engine.view import Offsets, SegmentView, View
from vecdb.payload.columns import Facet
from vecdb.storage.memory import MemorySegment

_KINDS = (bool, int, str)
"""What is counted; of values of different kinds, which are never equal, the order."""

Counts = dict[type, dict[Any, int]]


def facets(
    view: View, values: Values, condition: masks.Condition | None, limit: int
) -> list[models.FacetValueHit]:
    """The values that most points have, with their counts: the largest first, of equal counts the
    smallest value. A point counts once for a value, however often it has it."""
    counts: Counts = {kind: {} for kind in _KINDS}
    live = [segment_view for segment_view in view.segments if segment_view.live]
    for segment_view in live:
        counted, rows = answered_by_column(
            view,
            segment_view,
            values.field,
            masks.that_match(view, segment_view, condition),
            lambda column, mask: column.facet(mask),
        )
        # Rows in memory are counted in pieces, each of which may have any of the values.
        whole = not isinstance(segment_view.segment, MemorySegment) and not len(rows)
        enough = limit if len(live) == 1 and whole else None
        for facet in counted or ():
            _add(counts, facet, enough)
        _add_rows(counts, values, segment_view, rows)
    every = (
        (-count, order, value)
        for order, kind in enumerate(_KINDS)
        for value, count in counts[kind].items()
    )
    best = heapq.nsmallest(limit, every)
    return [models.FacetValueHit(value, -negative) for negative, _, value in best]


def _add(counts: Counts, facet: Facet, enough: int | None) -> None:
    """Add what a column counted; ``enough``: so many of the largest counts are."""
    at = np.flatnonzero(facet.counts)
    if enough is not None and len(at) > enough:
        largest = facet.counts[at]
        at = at[largest >= np.partition(largest, len(at) - enough)[len(at) - enough]]
    values = facet.values(at)
    for value, count in zip(values, facet.counts[at].tolist(), strict=True):
        of_kind = counts[type(value)]
        of_kind[value] = of_kind.get(value, 0) + count


def _add_rows(counts: Counts, values: Values, segment_view: SegmentView, rows: Offsets) -> None:
    """Add the values of some rows."""
    for found in values.read(segment_view, rows):
        if len(found) > 1:
            found = [value for _, value in {(type(v), v) for v in found if type(v) in counts}]
        for value in found:
            of_kind = counts.get(type(value))
            if of_kind is not None:
                of_kind[value] = of_kind.get(value, 0) + 1
