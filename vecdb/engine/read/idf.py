"""IDF: what the values of a sparse query are multiplied by, and how it is known.

``ln(1 + (N - n + 0.5) / (n + 0.5))``: ``N`` points have a vector of the name, ``n`` of them the
index. Both are exact of the view: an inverted index tells how many rows have an index, and what
died since is counted once, row by row. So are rows in memory, of which nothing else tells. What was
counted is kept as long as the segment is, and the next view has only what changed between them.

What is kept is replaced and never changed, so whoever is interrupted leaves what was there. There
is no lock: at worst two threads count the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from vecdb import models
from vecdb.bm25 import rarity
from vecdb.engine.read.masks import Condition, allowed
from vecdb.engine.read.reader import condition
from vecdb.engine.view import Segment, SegmentView, View, live_rows
from vecdb.errors import CorruptionError
from vecdb.storage.catalog import Bits
from vecdb.storage.format import count_set, pack_bits
from vecdb.vectors.sparse import SparseBlock

Counts = npt.NDArray[np.int64]
Indices = npt.NDArray[np.uint32]

_ROWS = 1 << 16
"""So many rows are counted together."""


_RECENT = 4096
"""So many indices are kept apart from the others before they are sorted in: a write before each
search would else have all of them copied."""


class _Counted(Struct, frozen=True):
    """Rows of a segment that were counted, and how many of them have which index, without those
    that the inverted index counts: ``indices``, ascending, with their ``counts``, and what is to be
    added to that."""

    rows: Bits
    indices: Indices = np.empty(0, dtype=np.uint32)
    counts: Counts = np.empty(0, dtype=np.int64)
    recent: dict[int, int] = {}
    points: int = 0
    seen: tuple[Bits | None, int] = (None, -1)
    """The mask of the view that was counted, which is never written to, and its rows."""

    def of(self, indices: Indices) -> Counts:
        """How many of the rows have each of some indices."""
        found = np.array([self.recent.get(index, 0) for index in indices.tolist()], dtype=np.int64)
        if len(self.indices):
            at = np.searchsorted(self.indices, indices).clip(max=len(self.indices) - 1)
            found += np.where(self.indices[at] == indices, self.counts[at], 0)
        return found

    def with_rows(self, segment_view: SegmentView, name: str, rows: Counts, step: int) -> _Counted:
        """The same with some rows counted once more, or once less."""
        pieces = [
            np.unique(
                _block(segment_view, name, rows[start : start + _ROWS]).indices, return_counts=True
            )
            for start in range(0, len(rows), _ROWS)
        ]
        indices, many = pieces[0] if len(pieces) == 1 else _summed(pieces)
        if len(self.recent) + len(indices) <= _RECENT:
            recent = dict(self.recent)
            for index, each in zip(indices.tolist(), many.tolist(), strict=True):
                recent[index] = recent.get(index, 0) + step * each
            return replace(self, recent=recent)
        kept = np.array(list(self.recent), dtype=np.uint32), np.array(list(self.recent.values()))
        indices, counts = _summed([(self.indices, self.counts), kept, (indices, step * many)])
        return replace(self, indices=indices, counts=counts, recent={})

    @property
    def nbytes(self) -> int:
        """About how much memory it takes."""
        arrays = self.rows.nbytes + self.indices.nbytes + self.counts.nbytes
        return arrays + _ENTRY * len(self.recent)


def _block(segment_view: SegmentView, name: str, rows: Counts) -> SparseBlock:
    block = segment_view.segment.block(name, rows)
    assert isinstance(block, SparseBlock)
    return block


def _summed(pieces: Sequence[tuple[Indices, Counts]]) -> tuple[Indices, Counts]:
    """The indices of all pieces, each once and ascending, with the sums of their counts; those of
    which nothing is left are left out."""
    indices, at = np.unique(np.concatenate([each for each, _ in pieces]), return_inverse=True)
    sums = np.zeros(len(indices), dtype=np.int64)
    np.add.at(sums, at, np.concatenate([counts for _, counts in pieces]).astype(np.int64))
    some = sums != 0
    return indices[some], sums[some]


_ENTRY = 100
"""Bytes of an entry of a dict with its numbers."""

_of_segments: WeakKeyDictionary[Segment, dict[tuple[str, bool], _Counted]] = WeakKeyDictionary()


def private_bytes(segment: Segment) -> int:
    """How many bytes of private memory is kept of a segment."""
    return sum(counted.nbytes for counted in list(_of_segments.get(segment, {}).values()))


def weighted(
    view: View, name: str, queries: SparseBlock, params: models.SearchParams
) -> SparseBlock:
    """Queries with their values multiplied. Raises CorruptionError, and InvalidInputError for a
    filter that says among which points (``params.idf``)."""
    indices, at = np.unique(queries.indices, return_inverse=True)
    points, counts = 0, np.zeros(len(indices), dtype=np.int64)
    corpus = None
    if isinstance(params.idf, models.IdfCorpusParams):
        corpus = condition(params.idf.corpus, "search_params.idf.corpus", view)
    for segment_view in view.segments:
        if segment_view.live:
            if corpus is None:
                there, having = _frequencies(view, segment_view, name, indices)
            else:
                there, having = _among(view, segment_view, name, indices, corpus)
            points += there
            counts += having
    values = (queries.values * rarity(points, counts)[at]).astype(np.float32)
    return SparseBlock(queries.offsets, queries.indices, values, queries.has)


def _frequencies(
    view: View, segment_view: SegmentView, name: str, indices: Indices
) -> tuple[int, Counts]:
    """How many live rows of a segment have a vector of the name, and how many each of some
    indices."""
    segment = segment_view.segment
    postings, counts = segment.postings(name), np.zeros(len(indices), dtype=np.int64)
    if postings is not None:
        try:
            counts += postings.terms.frequencies(indices)
        except CorruptionError as error:
            segment.quarantine(name, error)
            postings = None
    counted = _counted(view, segment_view, name, indexed=postings is not None)
    return counted.points, counts + counted.of(indices)


def _among(
    view: View, segment_view: SegmentView, name: str, indices: Indices, corpus: Condition
) -> tuple[int, Counts]:
    """The same of the rows that match: their vectors are looked at."""
    counts = np.zeros(len(indices), dtype=np.int64)
    mask = allowed(view, segment_view, name, corpus, ())
    assert mask is not None
    rows = live_rows(mask, segment_view.rows)
    for start in range(0, len(rows), _ROWS):
        block = _block(segment_view, name, rows[start : start + _ROWS])
        places = np.searchsorted(indices, block.indices[np.isin(block.indices, indices)])
        counts += np.bincount(places, minlength=len(indices))
    return len(rows), counts


def _live(view: View, segment_view: SegmentView, name: str) -> Bits:
    """Bits of the rows that live and have the vector."""
    live = allowed(view, segment_view, name, None, ())
    if live is not None:
        return live
    return pack_bits(np.ones(segment_view.rows, dtype=np.bool_))


def _counted(view: View, segment_view: SegmentView, name: str, *, indexed: bool) -> _Counted:
    """The counts of the rows that live, brought up to date."""
    segment = segment_view.segment
    kept = _of_segments.setdefault(segment, {})
    counted = kept.get((name, indexed))
    if counted is not None:
        alive, rows = counted.seen
        if alive is segment_view.alive and rows == segment_view.rows:
            return counted
    live = _live(view, segment_view, name)
    if counted is None:
        every = segment.present(name, segment_view.rows) if indexed else np.zeros_like(live)
        if every is None:
            every = pack_bits(np.ones(segment_view.rows, dtype=np.bool_))
        counted = _Counted(every[: len(live)].copy())
    size = max(len(live), len(counted.rows))
    before, now = np.zeros(size, dtype=np.uint8), np.zeros(size, dtype=np.uint8)
    before[: len(counted.rows)], now[: len(live)] = counted.rows, live
    for changed, step in ((now & ~before, 1), (before & ~now, -1)):
        if changed.any():
            rows_changed = live_rows(changed, 8 * size)
            counted = counted.with_rows(segment_view, name, rows_changed, step)
    seen = segment_view.alive, segment_view.rows
    counted = kept[name, indexed] = replace(counted, rows=now, points=count_set(live), seen=seen)
    return counted
