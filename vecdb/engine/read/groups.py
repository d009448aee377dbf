"""Groups: what a plan finds, put together by a value of the payloads.

The first hits may all be of few groups, so a search goes deeper until it has enough. Where that
would take long, the column of the field, or the payloads, are read instead: which groups there are,
and which rows are in each.
Then one search among the rows of other groups finds what is missing, and one among its own rows
fills a group that has too few. So the groups are those of a search for all points, if each search
finds what it should. Where a query is made on what prefetches find, these are the searches.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from vecdb import ids, models
from vecdb.engine.read import masks, reader
from vecdb.engine.read.answer import hits_of_plan, points_of
from vecdb.engine.read.asked import MOST
from vecdb.engine.read.columns import answered_by_column
from vecdb.engine.read.merge import hits_of
from vecdb.engine.read.pages import Hit, listed
from vecdb.engine.read.plan import Combined, Groups, Mmr, Nearest, Plan, Wanted
from vecdb.engine.read.prefetched import Prefetched, Rows
from vecdb.engine.view import Segment, View
from vecdb.errors import InvalidInputError

_DEEPER = 4
"""The next search is for so many times more hits."""
_MORE = 16
"""The same for what prefetches find later, …"""
_MOST_ADDED = 1 << 14
"""… which is not made for more, where so many were no hits of the query."""
_SHARE = 8
"""A search for this share of all points takes much less time than to read all payloads."""

_Numbers = npt.NDArray[Any]
_Found = dict[models.GroupId, list[Hit]]
"""The hits of each group, best first; the group with the best hit first."""


Lookup = tuple[View, Wanted]
"""Another collection, and what to return of its points."""


def grouped(view: View, plan: Groups, lookup: Lookup | None) -> list[models.PointGroup]:
    """The groups; each with the point that has its value as an id, if such are to be looked up."""
    source = plan.source
    if source.sources and not isinstance(source, Mmr):
        found = _of_prefetched(view, plan, Prefetched(view, source))
    else:
        found, all_of_them = _of_hits(view, plan)
        if not all_of_them:
            assert isinstance(source, Nearest | Combined)
            found = _of_rows(view, plan, source, found)
    hits = [hit for group in found.values() for hit in group]
    read = hits_of(view, [-score for score, _, _ in hits], [hit[1:] for hit in hits])
    points = iter(points_of(view, source, plan.wanted, read))
    records = {} if lookup is None else _looked_up(lookup, found)
    return [
        models.PointGroup([next(points) for _ in group], group_id, records.get(group_id))
        for group_id, group in found.items()
    ]


def _looked_up(
    lookup: Lookup, group_ids: Collection[models.GroupId]
) -> dict[models.GroupId, models.Record]:
    """The points that have these values as ids. A value that is no id has none."""
    keys: dict[models.GroupId, int] = {}
    for group_id in group_ids:
        with suppress(InvalidInputError):
            keys[group_id] = ids.key_of(group_id)
    view, want = lookup
    records = {ids.key_of(r.id): r for r in reader.retrieve(view, list(keys.values()), want)}
    return {group_id: records[key] for group_id, key in keys.items() if key in records}


def _of_hits(view: View, plan: Groups) -> tuple[_Found, bool]:
    """The groups among the first hits of the source, and whether these are all that is wanted."""
    depth = plan.limit * plan.size
    while True:
        hits = _hits(view, plan.source, depth)
        found = _put_together(view, plan, hits, ())
        if len(hits) < depth or _is_full(plan, found):
            return found, True
        depth *= _DEEPER
        if _searches_all(plan.source) and depth * _SHARE > view.live:
            return found, False


def _of_rows(view: View, plan: Groups, source: Nearest | Combined, found: _Found) -> _Found:
    """The groups, of which the first are found: the rest, and all with as many hits as they
    have."""
    members = _members(view, plan)
    depth = plan.limit * plan.size
    while len(found) < plan.limit and len(found) < len(members.numbers):
        others = masks.only(members.outside(found))
        hits = _hits(view, replace(source, condition=others), depth)
        if not hits:
            break
        found |= _put_together(view, plan, hits, found)
    for group_id, hits in found.items():
        if len(hits) < min(plan.size, members.count(group_id)):
            own = replace(source, condition=masks.only(members.inside([group_id])))
            found[group_id] = _hits(view, own, plan.size) or hits
    return dict(sorted(found.items(), key=lambda group: group[1][0]))


def _of_prefetched(view: View, plan: Groups, prefetched: Prefetched) -> _Found:
    """The groups of what was prefetched. Where that does not suffice, prefetches find more: of
    other groups, and then of those that have too few hits. What they find is no hit perhaps: it may
    lack the vector, or the score, that the query asks for. Then they find more, up to a bound."""

    def groups() -> _Found:
        return _put_together(view, plan, prefetched.hits(MOST), ())

    found = groups()
    if _is_full(plan, found):
        return found
    members = _members(view, plan)
    depth = plan.limit * plan.size
    while len(found) < min(plan.limit, len(members.numbers)):
        others = members.outside(found)
        prefetched.add([(others, depth)])
        before, found = len(found), groups()
        if len(found) <= before:
            if depth >= min(_MOST_ADDED, sum(map(len, others.values()))):
                break
            depth *= _MORE
    tried: dict[models.GroupId, int] = {}
    while few := [
        group_id
        for group_id, hits in found.items()
        if len(hits) < min(plan.size, members.count(group_id))
        and tried.get(group_id, 0) < min(_MOST_ADDED, members.count(group_id))
    ]:
        for group_id in few:
            tried[group_id] = max(plan.size, _MORE * tried.get(group_id, 0))
        prefetched.add([(members.inside([group_id]), tried[group_id]) for group_id in few])
        found = groups()
    return found


def _hits(view: View, source: Plan, limit: int) -> list[Hit]:
    return listed(view, hits_of_plan(view, replace(source, limit=limit)))


def _searches_all(source: Plan) -> bool:
    """Whether a source is a search of all points."""
    return isinstance(source, Nearest | Combined) and not source.sources


def _is_full(plan: Groups, found: _Found) -> bool:
    return len(found) == plan.limit and all(len(hits) == plan.size for hits in found.values())


def _put_together(
    view: View, plan: Groups, hits: list[Hit], known: Collection[models.GroupId]
) -> _Found:
    """The groups that hits are in, as many as are wanted with those that are known, which are left
    out; each with as many hits as it may have. In the order of a value a point may be hit twice: it
    is in a group once."""
    first: dict[tuple[int, int], Hit] = {}
    for hit in hits:
        first.setdefault(hit[1:], hit)
    hits = list(first.values())
    of_hit: list[Collection[models.GroupId]] = [()] * len(hits)
    for number, segment_view in enumerate(view.segments):
        at = [position for position, hit in enumerate(hits) if hit[1] == number]
        rows = np.array([hits[position][2] for position in at], dtype=np.int64)
        for position, values in zip(at, plan.values.read(segment_view, rows), strict=True):
            of_hit[position] = group_ids(values)
    found: _Found = {}
    for hit, in_groups in zip(hits, of_hit, strict=True):
        for group_id in in_groups:
            group = found.get(group_id)
            if group is None:
                if group_id not in known and len(known) + len(found) < plan.limit:
                    found[group_id] = [hit]
            elif len(group) < plan.size:
                group.append(hit)
    return found


def group_ids(values: Sequence[Any]) -> Collection[models.GroupId]:
    """The groups that a point with these values is in: none if one of them is neither an integer
    nor a string."""
    if any(type(value) is not int and type(value) is not str for value in values):
        return ()
    return dict.fromkeys(values)


class _Members(Struct):
    """Which rows are in which group. ``numbers``: those of the groups. The entries are in the
    order of these numbers, and ``starts`` tells where those of each begin."""

    numbers: dict[models.GroupId, int]
    starts: npt.NDArray[np.int64]
    segments: npt.NDArray[np.uint16]
    rows: npt.NDArray[np.uint32]
    view: View

    def count(self, group_id: models.GroupId) -> int:
        """How many rows are in a group; 0 if there is no such group."""
        number = self.numbers.get(group_id)
        return 0 if number is None else int(self.starts[number + 1] - self.starts[number])

    def outside(self, groups: Collection[models.GroupId]) -> Rows:
        """The rows that are in a group which is none of these."""
        return self.inside([each for each in self.numbers if each not in groups])

    def inside(self, groups: Collection[models.GroupId]) -> Rows:
        """The rows that are in one of these groups."""
        wanted = np.zeros(len(self.numbers), dtype=np.bool_)
        wanted[[self.numbers[group_id] for group_id in groups]] = True
        entries = np.flatnonzero(np.repeat(wanted, np.diff(self.starts)))
        chosen: dict[Segment, npt.NDArray[np.int64]] = {}
        for number, segment_view in enumerate(self.view.segments):
            of_segment = entries[self.segments[entries] == number]
            chosen[segment_view.segment] = self.rows[of_segment].astype(np.int64)
        return chosen


def _members(view: View, plan: Groups) -> _Members:
    """The groups of all rows that match, by the column of the field where there is one. Takes some
    30 bytes a row while it is made, and what the different values take."""
    values, condition = plan.values, plan.condition
    numbers: dict[models.GroupId, int] = {}
    # Of each entry the number of its group, its segment and its row.
    entries: list[tuple[_Numbers, _Numbers, _Numbers]] = []

    def add(number: int, groups: npt.ArrayLike, rows: npt.ArrayLike) -> None:
        of_rows = np.array(rows, dtype=np.uint32)
        of_segment = np.full(len(of_rows), number, dtype=np.uint16)
        entries.append((np.array(groups, dtype=np.uint32), of_segment, of_rows))

    add(0, (), ())  # there may be no row at all
    for number, segment_view in enumerate(view.segments):
        if not segment_view.live:
            continue
        told, left = answered_by_column(
            view,
            segment_view,
            values.field,
            masks.that_match(view, segment_view, condition),
            lambda column, mask: list(column.members(mask)),
        )
        for some, which, of_some in told or ():
            numbered = [numbers.setdefault(value, len(numbers)) for value in some]
            add(number, np.array(numbered, dtype=np.uint32)[which], of_some)
        groups, rows = array("I"), array("I")
        for row, found in zip(left.tolist(), values.read(segment_view, left), strict=True):
            for group_id in group_ids(found):
                groups.append(numbers.setdefault(group_id, len(numbers)))
                rows.append(row)
        add(number, groups, rows)
    by_group, of_entry, rows_of = map(np.concatenate, zip(*entries, strict=True))
    order = np.argsort(by_group, kind="stable")
    counts = np.bincount(by_group, minlength=len(numbers))
    return _Members(
        numbers=numbers,
        starts=np.concatenate([[0], np.cumsum(counts)]),
        segments=of_entry[order],
        rows=rows_of[order],
        view=view,
    )
