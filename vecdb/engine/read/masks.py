"""Masks: which rows of a segment a read may return.

Bits, one a row: alive, has the vector, matches the filter. None stands for "all rows".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial

import msgspec
import numpy as np
from msgspec import Struct

from vecdb import ids, models
from vecdb.engine.read.bounds import Bounded, Bounds, Filtered, every_condition, takes_long
from vecdb.engine.read.remembered import is_worth_remembering, recall, remember
from vecdb.engine.read.rows import decoded, in_pieces, read_payload, vector_names
from vecdb.engine.read.selectivity import Selectivity, Share
from vecdb.engine.read.simple import Simple, simple
from vecdb.engine.view import Offsets, Segment, SegmentView, View, live_rows
from vecdb.kernels import at_hand
from vecdb.payload.fields import text_indexes
from vecdb.payload.filters import (
    PayloadSchema,
    Predicate,
    compile_filter,
    lazily,
    plain_fields,
)
from vecdb.payload.split import names_points, payload_part
from vecdb.storage.catalog import Bits
from vecdb.storage.format import count_set, pack_bits

_LOOKED_AT = 4096
_LOOKED_AT_IN_ALL = 1 << 16
_LEAST = 16
"""Payloads that are read to say of how many rows a condition holds; of a filter of many conditions
fewer for each."""

_NO_ROW: Offsets = np.empty(0, dtype=np.int64)


Explain = Callable[[models.SearchStage], None]
"""Takes what a step of a search did."""


class Condition(Struct):
    """A compiled filter. ``bounds``: what ids, vector names and columns tell of it. ``predicate``
    decides the rows they leave open, by the conditions on payloads, which are ``tested``, and
    ``fields`` are the paths they ask for. ``alone``: there are no others. ``filter`` and ``schema``
    are what all of this was made of."""

    bounds: Bounded
    predicate: Predicate
    tested: models.Filter | None
    fields: frozenset[str] = frozenset()
    alone: bool = False
    filter: models.Filter | None = None
    schema: PayloadSchema | None = None
    simple: Simple | None = None
    _digest: bytes | msgspec.UnsetType | None = msgspec.UNSET

    @property
    def digest(self) -> bytes | None:
        """What tells the conditions on payloads from others; None: there are none, or they cannot
        be encoded."""
        if self._digest is msgspec.UNSET:
            self._digest = None if self.tested is None else digest_of(self.tested, self.schema)
        return self._digest


def compiled(
    filter: models.Filter, schema: PayloadSchema | None = None, known: Simple | None = None
) -> Condition:
    """The condition of a filter that was read. ``schema``: the payload indexes of the collection,
    for what it asks of texts. ``known``: what it wants, if that was found simple."""
    fields = plain_fields(filter)
    if fields is not None:  # nearly always, and the rest takes as long as a pass over a column
        bounds, predicate = Filtered(filter, fields).bounds, lazily(filter, schema)
        return Condition(
            bounds, predicate, filter, fields, True, filter, schema, known or simple(filter)
        )
    predicate = compile_filter(filter, schema)  # first: it refuses what is nested too deeply
    payload_filter = payload_part(filter)
    filtered = Filtered(filter)
    if payload_filter is None:
        return Condition(filtered.bounds, predicate, None, filter=filter, schema=schema)
    if not names_points(filter):
        return Condition(filtered.bounds, predicate, filter, filtered.fields, True, filter, schema)
    tests = compile_filter(payload_filter, schema)
    return Condition(filtered.bounds, tests, payload_filter, filtered.fields, False, filter, schema)


def digest_of(filter: models.Filter, schema: PayloadSchema | None = None) -> bytes | None:
    """The digest of a filter, which tells it from others (``==`` takes True for 1), and what it
    means under one text index from what it means under another. None: it has numbers or times that
    cannot be encoded."""
    # Of a range without bounds nothing else tells whether it is one of numbers or of moments.
    dated = [*_dated(filter)]
    try:
        text = msgspec.msgpack.encode((filter, dated, list(text_indexes(schema).items())))
    except (TypeError, ValueError, OverflowError):
        return None
    # A cryptographic hash: of two filters with one digest, one would get the other's points.
    return hashlib.blake2b(text, digest_size=16).digest()


def _dated(filter: models.Filter) -> Iterator[bool]:
    """Of each condition on a field, in the order of the filter, whether its range is of moments."""
    for each in every_condition(filter):
        if isinstance(each, models.NestedCondition):
            yield from _dated(each.nested.filter)
        elif isinstance(each, models.FieldCondition):
            yield isinstance(each.range, models.DatetimeRange)


def allowed(
    view: View,
    segment_view: SegmentView,
    name: str,
    condition: Condition | None,
    excluded: Sequence[int],
    explain: Explain | None = None,
) -> Bits | None:
    """Bits of the rows that live, have the vector and match, without those of the keys
    ``excluded``; None: all rows."""
    mask = segment_view.alive
    present = segment_view.segment.present(name, segment_view.rows)
    if present is not None:
        mask = present if mask is None else mask[: len(present)] & present
    if condition is not None:
        matches = matching(view, segment_view, condition, explain)
        mask = matches if mask is None else mask[: len(matches)] & matches
    if excluded:
        rows = segment_view.segment.locate(excluded, ids.to_array(excluded), segment_view.rows)
        rows = rows[rows >= 0]
        if len(rows):
            full = np.full(-(-segment_view.rows // 8), 0xFF, dtype=np.uint8)
            mask = full if mask is None else mask[: len(full)].copy()
            np.bitwise_and.at(mask, rows >> 3, ~(1 << (rows & 7)).astype(np.uint8))
    if mask is None:
        return None
    return _trim(mask, segment_view.rows)


def count_of(mask: Bits) -> int:
    """How many rows a mask has."""
    return _count_allowed()(mask) if at_hand() else count_set(mask)


@cache
def _count_allowed() -> Callable[[Bits], int]:
    from vecdb.kernels.topk import count_allowed

    return count_allowed


def _trim(mask: Bits, rows: int) -> Bits:
    """Exactly the bytes ``rows`` rows need, with no bit set beyond the last row."""
    mask = mask[: -(-rows // 8)]
    spare = rows & 7
    if spare and len(mask) and mask[-1] >> spare:
        mask = mask.copy()
        mask[-1] &= (1 << spare) - 1
    return mask


def matching(
    view: View, segment_view: SegmentView, condition: Condition, explain: Explain | None = None
) -> Bits:
    """Bits of the live rows that match."""
    remembered = explain is not None and _remembered(segment_view, condition) is not None
    matches, possibly = bounds(view, segment_view, condition)
    rows = None
    if possibly is not matches and (untested := possibly & ~matches).max(initial=0):
        rows = live_rows(untested, segment_view.rows)
        matched = _tested(view, segment_view, condition, rows)
        matches = matches | matched
        if condition.digest is not None:
            # Columns take a pass each for what they tell: it is remembered with the rest.
            known, good = untested, matched
            if condition.alone:
                known, good = _live(segment_view), matches
            remember(segment_view, condition.digest, known, good, len(rows), view.remembered)
        note(view, segment_view, condition, len(rows))
    if explain is not None:
        _explain(view, segment_view, condition, matches, explain, rows, remembered)
    return matches


def _explain(
    view: View,
    segment_view: SegmentView,
    condition: Condition,
    matches: Bits,
    explain: Explain,
    rows: Offsets | None,
    remembered: bool,
) -> None:
    """Say what became of a filter, and of how many rows each of its conditions holds. ``rows``:
    those whose payloads were read."""
    kept, stages = count_set(matches), []
    live = max(1, segment_view.live)
    tested = 0 if rows is None else len(rows)
    if rows is not None:
        why = "payloads read"
    else:
        why = "remembered" if remembered else "no payload needed"
    if condition.filter is not None:
        parts = sum(1 for _ in every_condition(condition.filter))
        most = min(_LOOKED_AT, max(_LEAST, _LOOKED_AT_IN_ALL // max(1, parts)))
        of = partial(_share_of, view, segment_view, condition.schema, most)
        selectivity = Selectivity(segment_view.live, of)
        expected, stages = selectivity.expected(condition.filter), selectivity.stages
        why = f"{why}: {Share(expected, kept / live, 0)}"
    for stage in (models.SearchStage("filter", tested, kept, why), *stages):
        explain(stage)


def _share_of(
    view: View,
    segment_view: SegmentView,
    schema: PayloadSchema | None,
    most: int,
    filter: models.Filter,
) -> Share:
    """For what share of the live rows a filter holds. Of the payloads that it takes no more than
    ``most`` are read, of rows at equal distances."""
    condition, live = compiled(filter, schema), max(1, segment_view.live)
    told, possible = condition.bounds(view, segment_view)
    surely = _alive_of(told, segment_view)
    open_ = live_rows(_alive_of(possible, segment_view) & ~surely, segment_view.rows)
    sure, some = count_set(surely), open_[:: -(-len(open_) // most) or 1]
    matched = count_set(_tested(view, segment_view, condition, some))
    found = sure + matched / max(1, len(some)) * len(open_)
    return Share((sure + len(open_) / 2) / live, found / live, len(some))


def note(view: View, segment_view: SegmentView, condition: Condition, tested: int) -> None:
    """Take note of a test of so many rows, which columns would have spared."""
    if view.demand is not None:
        fields = condition.fields - view.fields.keys()
        view.demand.note(segment_view.segment.id, fields, tested)


def bounds(view: View, segment_view: SegmentView, condition: Condition) -> Bounds:
    """Bits of the live rows that surely match, and of those that possibly do, by ids, vector names,
    columns and what was tested before."""
    if condition.simple is not None:
        found = condition.simple.matching(view, segment_view)
        if found is not None:
            found = _alive_of(found, segment_view)
            return found, found
    surely = _remembered(segment_view, condition)
    if surely is not None:
        return surely, surely
    known = None if condition.digest is None else recall(segment_view, condition.digest)
    if condition.alone and view.fields.keys().isdisjoint(condition.fields):
        possibly = _live(segment_view)
        surely = np.zeros_like(possibly)
    else:
        told, possible = condition.bounds(view, segment_view)
        surely = _alive_of(told, segment_view)
        possibly = surely if possible is told else _alive_of(possible, segment_view)
        if condition.alone and condition.digest is not None and takes_long(view, condition.filter):
            settled = _live(segment_view) & ~(possibly & ~surely)
            count = count_set(settled)
            remember(segment_view, condition.digest, settled, surely, count, view.remembered)
    if known is None:
        return surely, possibly
    tested, matches = known
    surely = surely | possibly & matches
    possibly = surely | possibly & ~tested
    return surely, possibly


def _remembered(segment_view: SegmentView, condition: Condition) -> Bits | None:
    """Bits of the live rows that match, if all of it is remembered."""
    if not condition.alone or condition.digest is None:
        return None
    known = recall(segment_view, condition.digest)
    if known is None:
        return None
    live = _live(segment_view)
    return None if (live & ~known[0]).any() else live & known[1]


def _alive_of(bits: Bits, segment_view: SegmentView) -> Bits:
    """The bits of those rows of a mask that live, none beyond the last row."""
    if segment_view.alive is not None:
        bits = bits & segment_view.alive[: len(bits)]
    return _trim(bits, segment_view.rows)


def _live(segment_view: SegmentView) -> Bits:
    """Bits of the rows that live, none beyond the last row."""
    if segment_view.alive is None:
        return _trim(np.full(-(-segment_view.rows // 8), 0xFF, dtype=np.uint8), segment_view.rows)
    return _trim(segment_view.alive, segment_view.rows)


def _tested(view: View, segment_view: SegmentView, condition: Condition, rows: Offsets) -> Bits:
    """Bits of those of ``rows`` that match. They are read many at a time: one by one, as by a
    ``RowTest``, takes half as long again."""
    segment, predicate, names_of = (
        segment_view.segment,
        condition.predicate,
        _names_of(view, segment_view),
    )
    flags = np.zeros(segment_view.rows, dtype=np.bool_)
    for some in in_pieces(rows):
        keys = ids.from_array(segment.id_array(some))
        columns = zip(some.tolist(), keys, segment_view.payloads(some), strict=True)
        flags[some] = [
            predicate(ids.external(key), decoded(segment_view, row, data), names_of(row))
            for row, key, data in columns
        ]
    return pack_bits(flags)


def that_match(
    view: View,
    segment_view: SegmentView,
    condition: Condition | None,
    explain: Explain | None = None,
) -> Bits:
    """Bits of the live rows that match; None: of all that live."""
    if condition is None:
        return _live(segment_view)
    return matching(view, segment_view, condition, explain)


def rows(view: View, segment_view: SegmentView, condition: Condition | None) -> Offsets:
    """The live rows that match, ascending."""
    if condition is None or segment_view.live == 0:
        return segment_view.live_offsets()
    return live_rows(matching(view, segment_view, condition), segment_view.rows)


def only(chosen: Mapping[Segment, Offsets]) -> Condition:
    """The condition that these rows of segments meet, and no others."""

    def bounds(view: View, segment_view: SegmentView) -> Bounds:
        flags = np.zeros(segment_view.rows, dtype=np.bool_)
        flags[chosen.get(segment_view.segment, _NO_ROW)] = True
        bits = pack_bits(flags)
        return bits, bits

    return Condition(bounds, compile_filter(models.Filter()), None)


def among(chosen: Mapping[Segment, Offsets], condition: Condition) -> Condition:
    """The condition that those of these rows meet that meet another one, too. No other row is
    tested."""
    chosen_bounds, inner = only(chosen).bounds, condition.bounds
    assert chosen_bounds is not None

    def bounds(view: View, segment_view: SegmentView) -> Bounds:
        these, _ = chosen_bounds(view, segment_view)
        if inner is None:
            return np.zeros_like(these), these
        surely, possibly = inner(view, segment_view)
        return surely[: len(these)] & these, possibly[: len(these)] & these

    return Condition(bounds, condition.predicate, condition.tested, schema=condition.schema)


class RowTest:
    """The test of single rows that ``bounds`` leaves open; ``keep`` remembers what it found."""

    def __init__(self, view: View, segment_view: SegmentView, condition: Condition) -> None:
        self._view, self._segment_view = view, segment_view
        self._condition = condition
        self._names_of = _names_of(view, segment_view)
        self._tested = np.zeros(segment_view.rows, dtype=np.bool_)
        self._matched = np.zeros(segment_view.rows, dtype=np.bool_)
        self._count = 0

    def __call__(self, row: int) -> bool:
        segment_view = self._segment_view
        key = ids.external(segment_view.segment.key(row))
        payload = read_payload(segment_view, row)
        matches = self._condition.predicate(key, payload, self._names_of(row))
        self._tested[row], self._matched[row] = True, matches
        self._count += 1
        return matches

    def keep(self) -> None:
        """To be called once, after the last test."""
        digest = self._condition.digest
        if digest is not None and is_worth_remembering(self._segment_view, digest, self._count):
            tested, matched = pack_bits(self._tested), pack_bits(self._matched)
            room = self._view.remembered
            remember(self._segment_view, digest, tested, matched, self._count, room)
        note(self._view, self._segment_view, self._condition, self._count)


def _names_of(view: View, segment_view: SegmentView) -> Callable[[int], list[str]]:
    """The names of the vectors a row has."""
    names = list(view.schema)
    if all(segment_view.segment.present(name, segment_view.rows) is None for name in names):
        return lambda row: names
    return lambda row: vector_names(view, segment_view, row)
