"""Compared: rows scored against several examples, by their originals.

``search.queries`` are the examples. All scores that a rule makes one of are exact, whatever codes
there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb import models
from vecdb.engine.parallel import processors, run_all
from vecdb.engine.read.segment.candidates import SegmentSearch
from vecdb.engine.read.segment.kernels import metrics, score_rows
from vecdb.engine.read.segment.originals import exact_scores, reading
from vecdb.engine.read.segment.ragged import ragged_scores
from vecdb.engine.read.segment.rules import Doubles, Rule
from vecdb.engine.view import live_rows
from vecdb.kernels import at_hand
from vecdb.storage.format import unpack_bits
from vecdb.vectors.datatypes import bytes_per_vector, for_kernels

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

Best = tuple[Doubles, Offsets]
"""The best rows by a rule: scores and rows, best first."""

_PIECE = 1 << 17
"""So many values (512 KiB) are scored against each example in turn: they stay in the processor's
cache meanwhile."""
_NUMPY_VALUES = 4 << 20
"""Up to here numpy does, unless kernels are at hand."""
_SHARED_VALUES = 8 << 20
"""From so many values on, times the examples, all processors score."""
_FEW = 8
"""If at most one row of so many is allowed, only these are read."""


def scores_of(search: SegmentSearch, rows: Offsets) -> Floats:
    """The scores of some rows against each example: ``float32 (examples, n)``."""
    if search.ragged is not None:
        return _ragged_scores(search, rows)
    scores = np.empty((len(search.queries), len(rows)), dtype=np.float32)
    compiled = _compiled(search, len(rows))
    if search.segment_view.segment.vectors(search.vector.name) is None:
        vectors = search.segment_view.segment.take(search.vector.name, rows)
        _score(search, vectors, np.arange(len(rows)), scores, compiled)
    else:
        with reading(search, rows) as vectors:
            _score(search, vectors, rows, scores, compiled)
    return scores


def best_of_all(search: SegmentSearch, rule: Rule, why: str) -> Best:
    """The best allowed rows by a rule. ``why`` all are scored is for ``explain``."""
    segment_view, mask = search.segment_view, search.mask
    count = search.allowed
    compiled = _compiled(search, count)
    if search.ragged is not None or (mask is not None and count * _FEW <= segment_view.rows):
        rows = live_rows(mask, segment_view.rows)
        best, step = _Best(rule, search.limit), _step(search)
        for start in range(0, len(rows), step):
            piece = rows[start : start + step]
            best.offer(scores_of(search, piece), piece)
    else:
        best = _best_of_blocks(search, rule, compiled)
    if search.explain is not None:
        number = len(search.queries)
        many = f"against {number} example{'s' * (number > 1)}"
        search.explain(models.SearchStage("examples", best.seen, len(best), f"{many}, {why}"))
    return best.ordered()


def _ragged_scores(search: SegmentSearch, rows: Offsets) -> Floats:
    """The same of sparse vectors, 0 where a row has no index in common with an example, and of
    multivectors."""
    block: Any = search.segment_view.segment.block(search.vector.name, rows)
    examples, metric = search.ragged, search.vector.metric
    assert examples is not None
    several = [examples.take([number]) for number in range(len(examples))]
    return np.stack([ragged_scores(metric, block, example)[0] for example in several])


def _best_of_blocks(search: SegmentSearch, rule: Rule, compiled: bool) -> _Best:
    segment_view, name = search.segment_view, search.vector.name
    blocks = segment_view.segment.blocks(name, segment_view.rows)
    pieces = _pieces(search, blocks)

    def best_of(some: Iterator[tuple[int, npt.NDArray[Any], Offsets]]) -> _Best:
        best = _Best(rule, search.limit)
        for base, vectors, rows in some:
            scores = np.empty((len(search.queries), len(rows)), dtype=np.float32)
            _score(search, vectors, rows, scores, compiled)
            best.offer(scores, base + rows)
            if best.settled:
                break
        return best

    values = segment_view.rows * search.vector.dim * len(search.queries)
    vectors_file = segment_view.segment.vectors(name)
    alone = vectors_file is None or vectors_file.placement == "cold"  # it comes in pieces
    if alone or values < _SHARED_VALUES or rule.most < math.inf or processors() == 1:
        return best_of(pieces)
    every = list(pieces)
    count = processors()
    shares = [every[number::count] for number in range(count)]
    results = run_all([partial(best_of, iter(share)) for share in shares])
    for other in results[1:]:
        results[0].take(other)
    return results[0]


def _pieces(
    search: SegmentSearch, blocks: Iterator[tuple[int, npt.NDArray[Any]]]
) -> Iterator[tuple[int, npt.NDArray[Any], Offsets]]:
    """The allowed rows of blocks, some at a time: (first row of the block, the block, rows in
    it)."""
    step = _step(search)
    for base, block in blocks:
        if search.mask is None:
            rows = np.arange(len(block))
        else:
            bits = search.mask[base >> 3 : (base + len(block) + 7) >> 3]
            rows = np.flatnonzero(unpack_bits(bits, len(block)))
        for start in range(0, len(rows), step):
            yield base, block, rows[start : start + step]


def _step(search: SegmentSearch) -> int:
    return max(16, 4 * _PIECE // bytes_per_vector(search.vector.dim))


def _compiled(search: SegmentSearch, rows: int) -> bool:
    """Whether a kernel scores so many rows."""
    values = rows * search.vector.dim * len(search.queries)
    return values > _NUMPY_VALUES or at_hand()


def _score(
    search: SegmentSearch,
    vectors: npt.NDArray[Any],
    rows: Offsets,
    out: Floats,
    compiled: bool,
) -> None:
    metric = search.vector.of_originals
    if not compiled:
        chosen = vectors[rows]
        for number, example in enumerate(search.queries):
            out[number] = exact_scores(metric, chosen, example)
        return
    score, code = score_rows(), metrics()[metric]
    for number, example in enumerate(search.queries):
        score(code, for_kernels(vectors), example, rows, out[number])


class _Best:
    """The best rows so far."""

    def __init__(self, rule: Rule, limit: int) -> None:
        self._rule = rule
        self._limit = limit
        self._least = -math.inf  # what does not reach it is not among the best
        self._scores: list[Doubles] = []
        self._rows: list[Offsets] = []
        self._kept = 0
        self.seen = 0

    def __len__(self) -> int:
        return min(self._kept, self._limit)

    @property
    def settled(self) -> bool:
        """Whether no row after those that were offered can be better."""
        return self._least >= self._rule.most

    def offer(self, scores: Floats, rows: Offsets) -> None:
        """Rows after all those before, with their scores against each example."""
        self.seen += len(rows)
        combined = self._rule.score(scores)
        if self._least > -math.inf:
            better = combined >= self._least
            combined, rows = combined[better], rows[better]
        self._scores.append(combined)
        self._rows.append(rows)
        self._kept += len(rows)
        if self._kept >= 2 * self._limit:
            self._forget()

    def take(self, other: _Best) -> None:
        """Those that were offered to another, too."""
        self.seen += other.seen
        self._scores += other._scores
        self._rows += other._rows
        self._kept += other._kept

    def ordered(self) -> Best:
        """The best, in their order."""
        self._forget()
        return self._scores[0], self._rows[0]

    def _forget(self) -> None:
        """All but the best. Of equal ones the lowest rows win."""
        if not self._scores:
            self._scores, self._rows = [np.empty(0)], [np.empty(0, dtype=np.int64)]
        scores, rows = np.concatenate(self._scores), np.concatenate(self._rows)
        order = np.lexsort((rows, -scores))[: self._limit]
        self._scores, self._rows = [scores[order]], [rows[order]]
        self._kept = len(order)
        if self._kept == self._limit:
            self._least = float(scores[order[-1]])
