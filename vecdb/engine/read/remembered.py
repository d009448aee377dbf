"""Remembered: which rows of a segment are known to match a filter, or not to.

To test a row takes microseconds of Python, and a row never changes: what matched once does so as
long as it lives. So what is known only grows, and holds for earlier and later views as well. Rows
whose payload was edited are kept apart, with the number of edits that were seen: what was edited
since is tested again.

It is kept as long as the segment is. There is no lock: at worst two threads test the same filter.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from vecdb.engine.view import Segment, SegmentView
from vecdb.storage.catalog import Bits
from vecdb.storage.format import count_set, pack_bits
from vecdb.storage.payload_edits import EditsFile, PayloadEdits

Matches = dict[bytes, tuple[Bits, Bits]]
"""By the digest of a filter: the rows that are known, and those of them that match."""
EditedMatches = dict[bytes, tuple[int, Bits, Bits]]
"""The same for rows whose payload was edited, after the number of edits that were seen."""

_of_segments: WeakKeyDictionary[Segment, Matches] = WeakKeyDictionary()
_of_edits: WeakKeyDictionary[PayloadEdits, EditedMatches] = WeakKeyDictionary()

_REMEMBERED = 32
"""A segment remembers so many filters, and more if they take less than ``_BYTES``: a filter for
each of a thousand tenants, where there are few points."""
_BYTES = 1 << 20
_EACH = 512
"""A filter takes so many bytes, and a quarter of a byte a row: tested, and matching."""
_FEW = 8
_MANY = 256
"""A test of less than this share of a segment's rows, and of less than so many, is not worth
forgetting another filter for."""


def matches_of(segment: Segment) -> Matches:
    """What is remembered of a segment; the filter that was used last comes last."""
    return _of_segments.setdefault(segment, {})


def _matches_of_edits(edits: PayloadEdits) -> EditedMatches:
    return _of_edits.setdefault(edits, {})


def private_bytes(held: Segment | PayloadEdits | EditsFile) -> int:
    """How many bytes is remembered of a segment, or of its edits, in private memory."""
    if isinstance(held, EditsFile):
        return 0
    if isinstance(held, PayloadEdits):
        known = [both for _, *both in list(_of_edits.get(held, {}).values())]
    else:
        known = [list(both) for both in list(_of_segments.get(held, {}).values())]
    return sum(bits.nbytes for both in known for bits in both)


def take_over(segment: Segment, other: Segment) -> None:
    """Remember of a segment what is remembered of another one, which has the same rows."""
    _of_segments[segment] = matches_of(other)


def recall(segment_view: SegmentView, digest: bytes) -> tuple[Bits, Bits] | None:
    """Bits of the rows that are known, and of those of them that match; None: of no row."""
    kept = matches_of(segment_view.segment)
    both = kept.pop(digest, None)
    if both is not None:
        kept[digest] = both  # as the last that was asked for
    elif not segment_view.edited:
        return None
    tested, matches = (_of_view(bits, segment_view) for bits in both or (_NONE, _NONE))
    if not segment_view.edited:
        return tested, matches
    edited = segment_view.edits.bits(segment_view.seen, segment_view.rows)
    known, good = _known_of_edits(segment_view, digest)
    return tested & ~edited | known, matches & ~edited | good


def is_worth_remembering(segment_view: SegmentView, digest: bytes, tested: int) -> bool:
    """Whether a test of so many rows would be kept: of few it is only beside what is known."""
    kept = matches_of(segment_view.segment)
    return tested > 0 and (digest in kept or _is_much(tested, segment_view.live))


def _is_much(tested: int, rows: int) -> bool:
    """Whether that many are to be remembered of so many rows."""
    return tested >= _MANY or _FEW * tested >= rows


def remember(
    segment_view: SegmentView, digest: bytes, known: Bits, matches: Bits, tested: int, room: int
) -> None:
    """Remember which rows are known now, by their payloads in the view, and which of them match.
    ``tested``: it took the test of so many rows, or as long. ``room``: bytes for the filters of the
    segment, see `View.remembered`."""
    if segment_view.edited:
        edited = segment_view.edits.bits(segment_view.seen, segment_view.rows)
        _remember_edits(
            segment_view, digest, known & edited, matches & edited, edited, tested, room
        )
        known, matches = known & ~edited, matches & ~edited
    kept = matches_of(segment_view.segment)
    before = kept.pop(digest, None)
    if before is not None:
        known, matches = _union(known, before[0]), _union(matches, before[1])
    elif not _is_much(tested, segment_view.live):
        return
    kept[digest] = known, matches
    _forget_oldest(kept, segment_view.rows, room)


def _known_of_edits(segment_view: SegmentView, digest: bytes) -> tuple[Bits, Bits]:
    """The same of rows whose payload was edited."""
    seen, *known = _matches_of_edits(segment_view.edits).get(digest, (0, _NONE, _NONE))
    if seen > segment_view.seen:  # time may run backwards: an earlier view is still being read
        known = [_NONE, _NONE]
    tested, matches = (_of_view(bits, segment_view) for bits in known)
    if seen < segment_view.seen and tested.any():
        flags = np.zeros(segment_view.rows, dtype=np.bool_)
        flags[segment_view.edits.rows(segment_view.seen, (), seen)] = True
        tested, matches = tested & ~pack_bits(flags), matches & ~pack_bits(flags)
    return tested, matches


def _remember_edits(
    segment_view: SegmentView,
    digest: bytes,
    known: Bits,
    matches: Bits,
    edited: Bits,
    tested: int,
    room: int,
) -> None:
    kept = _matches_of_edits(segment_view.edits)
    sure, good = _known_of_edits(segment_view, digest)
    before = kept.pop(digest, None)
    if before is not None and before[0] > segment_view.seen:
        kept[digest] = before
        return
    if before is None and not _is_much(tested, count_set(edited)):
        return
    kept[digest] = segment_view.seen, sure | known, good | matches
    _forget_oldest(kept, segment_view.rows, room)


def _forget_oldest(kept: dict[bytes, Any], rows: int, room: int) -> None:
    size = _EACH + rows // 4
    most = max(1, min(max(_REMEMBERED, _BYTES // size), room // size))
    if len(kept) > most:
        for oldest in list(kept)[:-most]:
            kept.pop(oldest, None)


def _of_view(bits: Bits, segment_view: SegmentView) -> Bits:
    """Bits cut or filled with zeros to the bytes that the view's rows take: a memory segment
    grows."""
    return _resized(bits, -(-segment_view.rows // 8))


def _union(some: Bits, others: Bits) -> Bits:
    length = max(len(some), len(others))
    return _resized(some, length) | _resized(others, length)


def _resized(bits: Bits, length: int) -> Bits:
    if len(bits) >= length:
        return bits[:length]
    return np.concatenate([bits, np.zeros(length - len(bits), dtype=np.uint8)])


_NONE: Bits = np.empty(0, dtype=np.uint8)
