"""MaxSim: the answer of a segment to a search by a multivector.

Each token of the query has its best score against any token of a row; the score of the row is the
sum of these. Where tokens have an index, `tokens` finds rows that may be among the best; else all
rows are scored, or those a filter has left.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb import models
from vecdb.engine.parallel import processors, run_all
from vecdb.engine.read.segment.candidates import Best, SegmentSearch
from vecdb.engine.read.segment.kernels import metrics, scan_maxsim, score_maxsim
from vecdb.engine.read.segment.multi_query import MultiQuery
from vecdb.engine.read.segment.tokens import by_tokens, codes_in_use, rescored
from vecdb.engine.view import live_rows
from vecdb.errors import CorruptionError
from vecdb.kernels import at_hand
from vecdb.linear_algebra import product
from vecdb.vectors.multi import MultiBlock
from vecdb.vectors.ragged import in_pieces

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]
Piece = tuple[int, MultiBlock]
"""The first row of a block in its segment, and the block."""

_ALL = np.empty(0, dtype=np.uint8)  # the kernels' mask for "every row"
_FEW = 8
"""If at most one row of so many is allowed, no others are read from a file, or verified."""
_NUMPY_PRODUCTS = 8 << 20
"""Up to so many products of numbers numpy does, unless kernels are at hand."""
_SHARED_PRODUCTS = 16 << 20
"""From here on, all processors score: handing out the work takes 0.1 ms."""
_AT_ONCE = 1 << 15
"""Tokens of rows that numpy scores together."""


def multi_search(search: SegmentSearch) -> list[Best]:
    """The best allowed rows of a segment for each query. Raises CorruptionError."""
    queries = search.ragged
    assert isinstance(queries, MultiBlock)
    return [_answer(search, queries.row(number)) for number in range(len(queries))]


def _answer(search: SegmentSearch, tokens: Floats) -> Best:
    segment, name = search.segment_view.segment, search.vector.name
    if search.params.exact:
        return _scan(search, tokens, "asked for")
    files = segment.multivectors(name)
    if files is None:
        return _scan(search, tokens, "not in a file yet")
    index, quantized = segment.token_index(name), codes_in_use(search, files, segment.codes(name))
    if index is None and quantized is None:
        return _scan(search, tokens, "no index")
    query = MultiQuery(search.vector.metric, tokens)
    try:
        return by_tokens(search, query, files, index, quantized)
    except CorruptionError as error:
        segment.quarantine(name, error)
        return _answer(search, tokens)


def multi_scores(metric: str, block: MultiBlock, tokens: Floats) -> Floats:
    """The score of each row of a block against the tokens of a query, ``float32 (n,)``; minus
    infinity where there is none."""
    scores = np.full(len(block), -np.inf, dtype=np.float32)
    rows = np.flatnonzero(block.sizes)
    if at_hand() or tokens.size * len(block.values) > _NUMPY_PRODUCTS:
        query, found = MultiQuery(metric, tokens), np.empty(len(rows), dtype=np.float32)
        score_maxsim()(
            *(metrics()[metric], *block.parts, query.packed(), len(tokens)),
            *(query.room(), rows, found),
        )
        scores[rows] = found
    else:
        for some in in_pieces(block.offsets, rows, _AT_ONCE):
            scores[some] = _numpy_scores(metric, block, some, tokens)
    return scores


def _numpy_scores(metric: str, block: MultiBlock, rows: Offsets, tokens: Floats) -> Floats:
    """The scores of rows that all have tokens."""
    some = MultiBlock(*block.parts).take(rows)
    if metric == "dot":
        of_tokens = product(some.values, tokens.T)
    else:
        apart = [some.values - token for token in tokens]
        power = np.square if metric == "euclid" else np.abs
        of_tokens = np.stack([-power(each).sum(axis=1) for each in apart], axis=1)
    best = np.maximum.reduceat(of_tokens, some.offsets[:-1], axis=0)
    scores: Floats = best.sum(axis=1, dtype=np.float64).astype(np.float32)
    return scores


def _scan(search: SegmentSearch, tokens: Floats, why: str) -> Best:
    """The best rows by their multivectors, of all that are allowed. ``why`` is for ``explain``."""
    segment_view, name = search.segment_view, search.vector.name
    if search.mask is not None and search.allowed * _FEW <= segment_view.rows:
        best = _of_rows(search, tokens, live_rows(search.mask, segment_view.rows))
        why = "few rows are allowed"
    else:
        best = _of_blocks(
            search, tokens, segment_view.segment.ragged_blocks(name, segment_view.rows)
        )
    if search.explain is not None:
        search.explain(models.SearchStage("originals", search.allowed, len(best[1]), why))
    return best


def _of_rows(search: SegmentSearch, tokens: Floats, rows: Offsets) -> Best:
    """The best of some rows."""
    metric = search.vector.metric
    files = search.segment_view.segment.multivectors(search.vector.name)
    if files is not None and at_hand():  # nothing need be copied
        rows = rows[files.offsets[rows + 1] > files.offsets[rows]]
        return _best(rescored(MultiQuery(metric, tokens), files, rows), rows, search.limit)
    block = search.segment_view.segment.block(search.vector.name, rows)
    assert isinstance(block, MultiBlock)
    return _best(multi_scores(metric, block, tokens), rows, search.limit)


def _best(scores: Floats, rows: Offsets, limit: int) -> Best:
    order = np.lexsort((rows, -scores))[:limit]
    return scores[order], rows[order]


def _of_blocks(search: SegmentSearch, tokens: Floats, blocks: Iterable[Any]) -> Best:
    pieces: list[Piece] = list(blocks)
    products = tokens.size * sum(len(block.values) for _, block in pieces)
    if not at_hand() and products <= _NUMPY_PRODUCTS:
        allowed = live_rows(search.mask, search.segment_view.rows)
        block = MultiBlock.concat([MultiBlock.of_none(0, tokens.shape[1]), *(b for _, b in pieces)])
        rows = allowed[block.sizes[allowed] > 0]
        scores = multi_scores(search.vector.metric, MultiBlock(*block.parts), tokens)
        return _best(scores[rows], rows, search.limit)
    if products >= _SHARED_PRODUCTS and processors() > 1:
        pieces = [part for piece in pieces for part in _parted(*piece, processors())]
        shares = [pieces[number :: processors()] for number in range(processors())]
    else:
        shares = [pieces]
    query = MultiQuery(search.vector.metric, tokens)
    packed = query.packed()
    results = run_all([partial(_scanned, search, query, packed, share) for share in shares])
    if len(results) == 1:
        return results[0]
    scores_of_all, rows = (np.concatenate(column) for column in zip(*results, strict=True))
    return _best(scores_of_all, rows, search.limit)


def _parted(base: int, block: MultiBlock, count: int) -> list[Piece]:
    """A block in ``count`` pieces."""
    step = max(1, -(-len(block) // count))
    return [
        (base + start, MultiBlock(block.offsets[start : start + step + 1], block.values))
        for start in range(0, len(block), step)
    ]


def _scanned(search: SegmentSearch, query: MultiQuery, packed: Floats, pieces: list[Piece]) -> Best:
    """The best rows of some pieces, by the kernel."""
    limit = min(search.limit, search.segment_view.rows)
    scores, rows, filled = np.empty(limit, np.float32), np.empty(limit, np.int64), 0
    mask = _ALL if search.mask is None else search.mask
    scan, topk_sort = scan_maxsim()
    metric, room = metrics()[query.metric], query.room()
    for base, block in pieces:
        parts = (*block.parts, packed, len(query.tokens), mask, base, room)
        filled = scan(metric, *parts, scores, rows, filled)
    topk_sort(scores, rows, filled)
    return scores[:filled], rows[:filled]
