"""Facets: how many points have which value."""

from __future__ import annotations

import heapq
from functools import partial
from typing import Any

from vecdb import models
from vecdb.engine.read import masks
from vecdb.engine.read.columns import answered_by_columns
from vecdb.engine.read.values import Values
from vecdb.engine.view import Offsets, SegmentView, View
from vecdb.payload.columns import Column, Joined
from vecdb.storage.catalog import Bits

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
        # Elsewhere each part of the rows may have any of the values.
        enough = limit if len(live) == 1 and not segment_view.edited else None
        told, rows = answered_by_columns(
            view,
            segment_view,
            values.field,
            masks.that_match(view, segment_view, condition),
            partial(_counted, enough),
        )
        for counted, _ in told:
            for value, count in counted:
                of_kind = counts[type(value)]
                of_kind[value] = of_kind.get(value, 0) + count
        _add_rows(counts, values, segment_view, rows)
    every = (
        (-count, order, value)
        for order, kind in enumerate(_KINDS)
        for value, count in counts[kind].items()
    )
    best = heapq.nsmallest(limit, every)
    return [models.FacetValueHit(value, -negative) for negative, _, value in best]


def _counted(enough: int | None, column: Column | Joined, mask: Bits) -> list[tuple[Any, int]]:
    """The values of the rows of a mask, and of how many; ``enough``: so many of the largest counts
    are, if the column has all values of all rows."""
    counted: list[tuple[Any, int]] = []
    for facet in column.facet(mask):
        all_there = isinstance(column, Column) and column.open is None
        at = facet.largest(enough if enough is not None and all_there else len(facet.counts))
        counted += zip(facet.values(at), facet.counts[at].tolist(), strict=True)
    return counted


def _add_rows(counts: Counts, values: Values, segment_view: SegmentView, rows: Offsets) -> None:
    """Add the values of some rows."""
    for found in values.read(segment_view, rows):
        if len(found) > 1:
            found = [value for _, value in {(type(v), v) for v in found if type(v) in counts}]
        for value in found:
            of_kind = counts.get(type(value))
            if of_kind is not None:
                of_kind[value] = of_kind.get(value, 0) + 1
