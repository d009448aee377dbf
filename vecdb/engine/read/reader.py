"""Reading points for callers: retrieve, scroll, count, each on one view."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vecdb import ids, models
from vecdb.engine.read import masks
from vecdb.engine.read.plan import NOTHING, Scroll, Wanted
from vecdb.engine.read.rows import read_payload, vectors_of
from vecdb.engine.read.simple import simple
from vecdb.engine.schema import vector_schema
from vecdb.engine.view import SegmentView, View
from vecdb.errors import InvalidInputError
from vecdb.payload.fields import text_indexes
from vecdb.payload.projection import projection
from vecdb.storage.catalog import Bits
from vecdb.storage.format import count_set


def wanted(view: View, with_payload: Any, with_vectors: Any, where: str = "") -> Wanted:
    """Both arguments checked. ``where``: the path to a request that has them, in errors. Raises
    InvalidInputError."""
    if with_payload is not True and with_payload is not False:
        with_payload = models.parse_with_payload(with_payload, f"{where}with_payload")
    if not isinstance(with_payload, bool):
        with_payload = projection(with_payload, f"{where}with_payload")
    if with_vectors is False or with_vectors is None:
        return NOTHING if with_payload is False else Wanted(with_payload, None)
    what = f"{where}with_vector" if where else "with_vectors"
    names = models.parse_with_vectors(with_vectors, what)
    if names is True:
        return Wanted(with_payload, list(view.schema))
    return Wanted(with_payload, [vector_schema(view.schema, n).name for n in names or []] or None)


def condition(filter: Any, what: str, view: View | None = None) -> masks.Condition | None:
    """A filter argument, compiled by the text indexes of a view; None for none. Raises
    InvalidInputError."""
    if filter is None:
        return None
    schema = None if view is None else view.config.payload_schema
    known = simple(filter)  # to read it would take as long as a pass over a column
    given = known.filter if known is not None else models.coerce(models.Filter, filter, what)
    try:
        return masks.compiled(given, schema, known)
    except InvalidInputError as error:
        raise InvalidInputError(f"{what}: {error}") from None


def condition_in(view: View, filter: models.Filter, known: masks.Condition) -> masks.Condition:
    """The condition of a filter by the text indexes of a view, which are not known before a write's
    turn comes. ``known``: the condition without any."""
    schema = view.config.payload_schema
    return masks.compiled(filter, schema) if text_indexes(schema) else known


def _payload_of(segment_view: SegmentView, row: int, selected: Any) -> dict[str, Any] | None:
    if selected is False:
        return None
    payload = read_payload(segment_view, row)
    return payload if selected is True else selected(payload)


def retrieve(view: View, keys: list[int], want: Wanted) -> list[models.Record]:
    """The points that exist, in the order asked for."""
    where, rows = view.locate(keys)
    records = []
    for key, number, row in zip(keys, where.tolist(), rows.tolist(), strict=True):
        if number < 0:
            continue
        segment_view = view.segments[number]
        records.append(
            models.Record(
                ids.external(key),
                _payload_of(segment_view, row, want.payload),
                vectors_of(view, segment_view, row, want.vectors),
            )
        )
    return records


def walk(view: View, plan: Scroll) -> Iterator[tuple[int, SegmentView, int]]:
    """The points of a walk, without end: (key, segment, row). What the filter found is remembered
    when the walk is left."""
    filter, skipped = plan.condition, plan.skipped
    tests: dict[int, tuple[Bits, masks.RowTest]] = {}

    def possible(segment_view: SegmentView) -> Bits | None:
        if filter is None:
            return segment_view.alive
        surely, possibly = masks.bounds(view, segment_view, filter)
        tests[id(segment_view)] = surely, masks.RowTest(view, segment_view, filter)
        return possibly

    try:
        for key, segment_view, row in view.in_order(plan.start, possible):
            if filter is not None:
                surely, matches = tests[id(segment_view)]
                if not (surely[row >> 3] >> (row & 7) & 1 or matches(row)):
                    continue
            if skipped:
                skipped -= 1
                continue
            yield key, segment_view, row
    finally:
        for _, test in tests.values():
            test.keep()


def scroll(view: View, plan: Scroll) -> tuple[list[models.Record], int | str | None]:
    """The points of a walk, and the id to go on with."""
    records: list[models.Record] = []
    for key, segment_view, row in walk(view, plan):
        if len(records) == plan.limit:
            return records, ids.external(key)
        records.append(
            models.Record(
                ids.external(key),
                _payload_of(segment_view, row, plan.wanted.payload),
                vectors_of(view, segment_view, row, plan.wanted.vectors),
            )
        )
    return records, None


def count(view: View, filter: masks.Condition | None) -> int:
    """How many live points match."""
    if filter is None:
        return view.live
    return sum(
        count_set(masks.matching(view, segment_view, filter))
        for segment_view in view.segments
        if segment_view.live
    )


def matching_keys(view: View, filter: masks.Condition) -> list[int]:
    """The keys of the live points that match."""
    keys = []
    for segment_view in view.segments:
        if segment_view.live:
            rows = masks.rows(view, segment_view, filter)
            keys += [segment_view.segment.key(row) for row in rows.tolist()]
    return keys
