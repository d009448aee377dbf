"""Groups: what a plan finds, put together by a value of the payloads.

The first hits may all be of few groups, so a search goes deeper until it has enough. Where that
would take long, the column of the field, or the payloads, are read instead: which rows are in which
group.
Then one search among the rows of other groups finds what is missing, and one among its own rows
fills a group that has too few. So the groups are those of a search for all points, if each search
finds what it should. Where a query is made on what prefetches find, these are the searches.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from vecdb import ids, models
from vecdb.engine.read import masks, reader
from vecdb.engine.read.answer import hits_of_plan, points_of
from vecdb.engine.read.asked import MOST
from vecdb.engine.read.columns import answered_by_columns
from vecdb.engine.read.merge import hits_of
from vecdb.engine.read.pages import Hit, listed
from vecdb.engine.read.plan import Combined, Groups, Mmr, Nearest, Plan, Wanted
from vecdb.engine.read.prefetched import Prefetched
from vecdb.engine.view import Offsets, Segment, View
from vecdb.errors import InvalidInputError
from vecdb.payload.columns import Entries
from vecdb.payload.columns.keys import Interval

_DEEPER = 4
"""The next search is for so many times more hits."""
_MORE = 16
"""The same for what prefetches find later, …"""
_MOST_ADDED = 1 << 14
"""… which is not made for more, where so many were no hits of the query."""
_SHARE = 8
"""A search for this share of all points takes much less time than to read all payloads, …"""
_SHARE_WITH_COLUMN = 256
"""… and for this share than to read a column."""

_Found = dict[models.GroupId, list[Hit]]
"""The hits of each group, best first; the group with the best hit first."""

Rows = dict[Segment, Offsets]
"""Rows of segments, at least one of each."""
Lookup = tuple[View, Wanted]
"""Another collection, and what to return of its points."""


def grouped(view: View, plan: Groups, lookup: Lookup | None) -> list[models.PointGroup]:
    """The groups; each with the point that has its value as an id, if such are to be looked up."""
    try:
        found = _groups(view, plan, by_columns=True)
    except _Contradicted:
        found = _groups(view, plan, by_columns=False)
    hits = [hit for group in found.values() for hit in group]
    read = hits_of(view, [-score for score, _, _ in hits], [hit[1:] for hit in hits])
    points = iter(points_of(view, plan.source, plan.wanted, read))
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


def _groups(view: View, plan: Groups, *, by_columns: bool) -> _Found:
    """The groups with their hits. Raises _Contradicted, if ``by_columns``."""
    source = plan.source
    if source.sources and not isinstance(source, Mmr):
        return _of_prefetched(view, plan, Prefetched(view, source), by_columns)
    found, all_of_them = _of_hits(view, plan)
    if all_of_them:
        return found
    assert isinstance(source, Nearest | Combined)
    return _of_rows(view, plan, source, found, by_columns)


def _of_hits(view: View, plan: Groups) -> tuple[_Found, bool]:
    """The groups among the first hits of the source, and whether these are all that is wanted."""
    depth = plan.limit * plan.size
    share = _SHARE_WITH_COLUMN if plan.values.field in view.fields else _SHARE
    while True:
        hits = _hits(view, plan.source, depth)
        found = _put_together(view, plan, hits, ())
        if len(hits) < depth or _is_full(plan, found):
            return found, True
        depth *= _DEEPER
        if _searches_all(plan.source) and depth * share > view.live:
            return found, False


def _of_rows(
    view: View, plan: Groups, source: Nearest | Combined, found: _Found, by_columns: bool
) -> _Found:
    """The groups, of which the first are found: the rest, and all with as many hits as they
    have."""
    members = _members(view, plan, by_columns)
    depth = plan.limit * plan.size
    while len(found) < plan.limit and (others := members.outside(found)):
        hits = _hits(view, replace(source, condition=masks.only(others)), depth)
        more = _put_together(view, plan, hits, found)
        if not more:
            if hits and by_columns:  # of groups that are known, and by the column are not
                raise _Contradicted
            break  # they have no such vector
        found |= more
    members.require(found)
    too_few = {group_id for group_id, hits in found.items() if len(hits) < plan.size}
    for group_id, rows in members.of(too_few).items():
        if len(found[group_id]) < min(plan.size, _count(rows)):
            own = replace(source, condition=masks.only(rows))
            found[group_id] = _hits(view, own, plan.size) or found[group_id]
    return dict(sorted(found.items(), key=lambda group: group[1][0]))


def _of_prefetched(view: View, plan: Groups, prefetched: Prefetched, by_columns: bool) -> _Found:
    """The groups of what was prefetched. Where that does not suffice, prefetches find more: of
    other groups, and then of those that have too few hits. What they find is no hit perhaps: it may
    lack the vector, or the score, that the query asks for. Then they find more, up to a bound."""

    def groups() -> _Found:
        return _put_together(view, plan, prefetched.hits(MOST), ())

    found = groups()
    if _is_full(plan, found):
        return found
    members = _members(view, plan, by_columns)
    depth = plan.limit * plan.size
    while len(found) < plan.limit and (others := members.outside(found)):
        prefetched.add([(others, depth)])
        before, found = len(found), groups()
        if len(found) <= before:
            if depth >= min(_MOST_ADDED, _count(others)):
                break
            depth *= _MORE
    members.require(found)
    own = members.of(found)
    tried: dict[models.GroupId, int] = {}
    while few := [
        group_id
        for group_id, hits in found.items()
        if len(hits) < min(plan.size, _count(own[group_id]))
        and tried.get(group_id, 0) < min(_MOST_ADDED, _count(own[group_id]))
    ]:
        for group_id in few:
            tried[group_id] = max(plan.size, _MORE * tried.get(group_id, 0))
        prefetched.add([(own[group_id], tried[group_id]) for group_id in few])
        found = groups()
        members.require(found)
        own |= members.of(found.keys() - own.keys())
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


class _Contradicted(Exception):
    """A column says something else of groups than payloads: it was damaged after it had been
    verified."""


class _Members(Struct):
    """Which rows are in which group: entries, each with the position of its segment in the view.
    No value is read but those of the groups that are asked for."""

    view: View
    by_columns: bool
    entries: list[tuple[int, Entries]]

    def require(self, found: _Found) -> None:
        """Raise _Contradicted where by a column the best hit of a group is none of its rows."""
        best = {group_id: hits[0] for group_id, hits in found.items()}
        known: set[models.GroupId] = set()
        for number, entries in self.entries:
            here = {
                group_id: row for group_id, (_, segment, row) in best.items() if segment == number
            }
            flags = np.zeros(self.view.segments[number].rows, dtype=np.bool_)
            flags[list(here.values())] = True
            at = np.flatnonzero(flags[entries.rows])
            pairs = set(zip(entries.rows[at].tolist(), entries.codes[at].tolist(), strict=True))
            known |= {each for each, row in here.items() if (row, entries.code(each)) in pairs}
        if self.by_columns and known != best.keys():
            raise _Contradicted

    def of(self, groups: Iterable[models.GroupId]) -> dict[models.GroupId, Rows]:
        """The rows of each of these groups."""
        groups = list(groups)
        found: dict[models.GroupId, Rows] = {group_id: {} for group_id in groups}
        for segment, entries, codes in self._by_code(groups):
            wanted = np.isin(entries.codes, list(codes))
            some, rows = entries.codes[wanted], entries.rows[wanted]
            for code, group_id in codes.items():
                _add(found[group_id], segment, rows[some == code])
        return found

    def outside(self, groups: Iterable[models.GroupId]) -> Rows:
        """The rows that are in a group which is none of these."""
        rows: Rows = {}
        for segment, entries, codes in self._by_code(list(groups)):
            _add(rows, segment, entries.rows[~np.isin(entries.codes, list(codes))])
        return rows

    def _by_code(
        self, groups: list[models.GroupId]
    ) -> Iterator[tuple[Segment, Entries, dict[int, models.GroupId]]]:
        """All entries, and which groups are which of their codes."""
        for number, entries in self.entries:
            codes = {entries.code(group_id): group_id for group_id in groups}
            codes.pop(0, None)
            yield self.view.segments[number].segment, entries, codes


def _add(rows: Rows, segment: Segment, more: Offsets) -> None:
    if len(more):
        rows[segment] = np.concatenate([rows[segment], more]) if segment in rows else more


def _count(rows: Rows) -> int:
    return sum(map(len, rows.values()))


def _members(view: View, plan: Groups, by_columns: bool) -> _Members:
    """The rows of the groups that there are: by the column of the field, or by all payloads."""
    members = _Members(view, by_columns, [])
    for number, segment_view in enumerate(view.segments):
        if not segment_view.live:
            continue
        told, left = answered_by_columns(
            view if by_columns else replace(view, fields={}, demand=None),
            segment_view,
            plan.values.field,
            masks.that_match(view, segment_view, plan.condition),
            lambda column, mask: list(column.members(mask)),
        )
        for several, owners in told:
            for each in several:
                rows = each.rows if owners is None else owners[each.rows]
                members.entries.append((number, each._replace(rows=rows)))
        if len(left):
            read = _by_payloads(plan.values.read(segment_view, left), left)
            members.entries.append((number, read))
    return members


def _by_payloads(values: Iterable[Sequence[Any]], owners: Offsets) -> Entries:
    """The entries of some rows that have these values."""
    codes: dict[models.GroupId, int] = {}
    of_entry, rows = array("Q"), array("q")
    for row, found in zip(owners.tolist(), values, strict=True):
        for group_id in group_ids(found):
            of_entry.append(codes.setdefault(group_id, len(codes) + 1))
            rows.append(row)

    def find(value: models.GroupId) -> list[Interval]:
        code = codes.get(value, 0)
        return [(code, code)]

    return Entries((int, str), find, np.array(of_entry), np.array(rows))
