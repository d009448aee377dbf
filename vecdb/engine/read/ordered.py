"""Orders: points by a value of their payloads, and points by chance."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np

from vecdb import ids
from vecdb.engine.read import masks
from vecdb.engine.read.merge import Hits, hits_of
from vecdb.engine.read.plan import Ordered, Sampled
from vecdb.engine.read.rows import in_pieces
from vecdb.engine.view import View
from vecdb.models.datetimes import parse_datetime, with_zone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_Entry = tuple[int | float, int, int, int]
"""A value, the key of the point that has it, the position of its segment in the view, its row."""


def by_value(view: View, plan: Ordered) -> Hits:
    """The page of the points, by their values, which are the scores. No more entries are kept than
    the page and what is before it have."""
    count = plan.offset + plan.limit
    pick = heapq.nlargest if plan.descending else heapq.nsmallest
    page: list[_Entry] = pick(count, _entries(view, plan))[plan.offset :]
    return hits_of(view, [entry[0] for entry in page], [entry[2:] for entry in page])


def _entries(view: View, plan: Ordered) -> Iterator[_Entry]:
    start, descending = plan.start, plan.descending
    for number, segment_view in enumerate(view.segments):
        for rows in in_pieces(masks.rows(view, segment_view, plan.condition)):
            keys = ids.from_array(segment_view.segment.id_array(rows))
            columns = zip(keys, rows.tolist(), plan.values(segment_view, rows), strict=True)
            for key, row, found in columns:
                for value in placing(found):
                    if start is None or (value <= start if descending else value >= start):
                        yield value, key, number, row


def placing(values: Sequence[Any]) -> Sequence[int | float]:
    """Those of some values that a point is placed by, each once."""
    placing = [placed for value in values if (placed := _order_value(value)) is not None]
    return placing if len(placing) < 2 else list(dict.fromkeys(placing))


def _order_value(value: Any) -> int | float | None:
    kind = type(value)
    if kind is int or kind is float:  # not isinstance: a bool is an int to Python
        return value if value == value else None  # a NaN has no place
    moment = parse_datetime(value) if kind is str else None
    return None if moment is None else microseconds(moment)


def microseconds(moment: date) -> int:
    """From the beginning of 1970 to a moment."""
    return (with_zone(moment) - _EPOCH) // timedelta(microseconds=1)


def by_chance(view: View, plan: Sampled) -> Hits:
    """So many of the points, each as likely as any other."""
    rows = [masks.rows(view, segment_view, plan.condition) for segment_view in view.segments]
    ends = np.cumsum([len(some) for some in rows], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    drawn = random.sample(range(total), min(total, plan.offset + plan.limit))[plan.offset :]
    where: list[Sequence[int]] = []
    for position in drawn:
        number = int(np.searchsorted(ends, position, side="right"))
        where.append((number, int(rows[number][position - ends[number]])))
    return hits_of(view, [1.0] * len(where), where)
