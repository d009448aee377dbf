"""Orders: points by a value of their payloads, by their ids, and by chance."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np

from vecdb import ids, models
from vecdb.engine.read import masks
from vecdb.engine.read.asked import Asked
from vecdb.engine.read.columns import answered_by_columns
from vecdb.engine.read.masks import Condition
from vecdb.engine.read.merge import Hits, Offsets, hits_of
from vecdb.engine.read.plan import Ordered, Sampled, Scroll, Wanted
from vecdb.engine.read.rows import in_pieces
from vecdb.engine.read.values import Values
from vecdb.engine.schema import vector_schema
from vecdb.engine.view import View
from vecdb.errors import InvalidInputError
from vecdb.models.datetimes import parse_datetime, with_zone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_Entry = tuple[int | float, int, int, int]
"""A value, the key of the point that has it, the position of its segment in the view, its row."""


def in_order(view: View, query: models.OrderByQuery, asked: Asked) -> Ordered:
    """The plan of a query for points in the order of a value. Raises InvalidInputError."""
    _check_unscored(view, asked, "in an order")
    order = models.parse_order_by(query.order_by, f"{asked.where}query.order_by")
    return ordered(order, asked.condition, asked.limit, asked.offset, asked.wanted)


def ordered(
    order: models.OrderBy, condition: Condition | None, limit: int, offset: int, wanted: Wanted
) -> Ordered:
    """The plan of an order. Raises InvalidInputError."""
    start: Any = order.start_from
    return Ordered(
        values=Values(order.key, "order_by.key"),
        descending=order.direction is models.Direction.DESC,
        start=microseconds(start) if isinstance(start, date) else start,
        condition=condition,
        limit=limit,
        offset=offset,
        wanted=wanted,
    )


def sampled(view: View, query: models.SampleQuery, asked: Asked) -> Sampled:
    """The plan of a query for points by chance. Raises InvalidInputError."""
    _check_unscored(view, asked, "in a sample")
    return Sampled(condition=asked.condition, limit=asked.limit, wanted=asked.wanted)


def by_id(view: View, asked: Asked) -> Scroll:
    """The plan of a request without a query. Raises InvalidInputError."""
    _check_unscored(view, asked, "without a query")
    return Scroll(
        condition=asked.condition, limit=asked.limit, skipped=asked.offset, wanted=asked.wanted
    )


def _check_unscored(view: View, asked: Asked, where: str) -> None:
    """Raise InvalidInputError for what only points with scores have."""
    if asked.using is not None:
        vector_schema(view.schema, asked.using)
    if asked.threshold is not None:
        raise InvalidInputError(
            f"{asked.where}score_threshold: expected None {where}, where points have no scores, "
            f"got {asked.threshold!r:.60}"
        )


def by_value(view: View, plan: Ordered) -> Hits:
    """The page of the points, by their values, which are the scores. No more entries are kept than
    the page and what is before it have."""
    count = plan.offset + plan.limit
    pick = heapq.nlargest if plan.descending else heapq.nsmallest
    page: list[_Entry] = pick(count, _entries(view, plan))[plan.offset :]
    return hits_of(view, [entry[0] for entry in page], [entry[2:] for entry in page])


def _entries(view: View, plan: Ordered) -> Iterator[_Entry]:
    start, descending, count = plan.start, plan.descending, plan.offset + plan.limit
    for number, segment_view in enumerate(view.segments):
        if not segment_view.live:
            continue
        told, left = answered_by_columns(
            view,
            segment_view,
            plan.values.field,
            masks.that_match(view, segment_view, plan.condition),
            lambda column, mask: column.ordered(mask, start, descending, count),
        )
        for (values, rows), owners in told:
            rows = rows if owners is None else owners[rows]
            keys = ids.from_array(segment_view.segment.id_array(rows))
            yield from zip(values, keys, itertools.repeat(number), rows.tolist())
        for rows in in_pieces(left):
            keys = ids.from_array(segment_view.segment.id_array(rows))
            columns = zip(keys, rows.tolist(), plan.values.read(segment_view, rows), strict=True)
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
    where = drawn(rows, plan.limit)
    return hits_of(view, [1.0] * len(where), where)


def drawn(rows: Sequence[Offsets], count: int) -> list[tuple[int, int]]:
    """``count`` of the rows of some segments by chance, or all if there are not so many: the
    position of each one's segment, and the row."""
    ends = np.cumsum([len(some) for some in rows], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    where = []
    for position in random.sample(range(total), min(total, count)):
        number = int(np.searchsorted(ends, position, side="right"))
        where.append((number, int(rows[number][position - ends[number]])))
    return where
