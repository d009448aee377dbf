"""Scans of codes: the best rows of a segment that has codes and no index.

All codes are scored, and the best rows are scored again by their originals: so many that the wanted
recall can be expected. What codes are worth depends on the data and on the query. Each search finds
it out from the first candidates: their scores by codes and by originals are compared
(`kernels.certainty`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vecdb import models
from vecdb.engine.read.segment.candidates import Best, SegmentSearch
from vecdb.engine.read.segment.kernels import metrics, scan_and_sort, until_sure
from vecdb.engine.read.segment.originals import cold, exact_scan, reading
from vecdb.quantization import PreparedQuery
from vecdb.storage.catalog import Bits
from vecdb.storage.format import bits_at
from vecdb.storage.segment import QuantizedVectors

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

SURE, DOUBTFUL = 1, 0  # as in the kernel, which loads numba
_ALL = np.empty(0, dtype=np.uint8)  # the kernels' mask for "every row"
_FIRST = {"scalar": 1.5, "product": 2.0, "binary": 2.0}
"""Candidates per result to begin with, by kind of code."""
_FEWEST_DIMENSIONS = 8
"""With fewer dimensions many rows share their codes, and chance decides which of them are
candidates."""
_FEWEST = 16
"""Fewer scores do not tell what codes are worth."""
_RESERVE = 0.3
"""This share of what may be missed is kept in reserve: the expected recall is an estimate."""
_LISTED = {"scalar": 1.25, "product": 4.0, "binary": 4.0}
"""So many times more rows are listed by their codes than are candidates at first: what is left out
is judged by them."""
_LISTED_LEAST = {"scalar": 32, "product": 160, "binary": 160}
"""So many cost next to nothing beside the scan."""
_LISTED_AGAIN = 4
_MOST = 4
"""Where more than one row of so many would be a candidate, all rows are scored."""


def code_scan(
    search: SegmentSearch, quantized: QuantizedVectors, why: str = "no index"
) -> list[Best]:
    """The best allowed rows for each query, found by codes and scored by originals; by codes alone
    if the caller does not want originals to decide."""
    segment_view, mask = search.segment_view, search.mask
    if not search.rescore:
        wanted = search.oversampled() or search.limit
        best = [
            best_by_codes(
                quantized, segment_view.rows, quantized.quantizer.prepare(q), wanted, mask
            )
            for q in search.queries
        ]
        _explain(search, quantized, sum(len(rows) for _, rows in best), why)
        return [(scores[: search.limit], rows[: search.limit]) for scores, rows in best]
    if search.recall >= 1.0:
        return exact_scan(search, "for a recall of 1")
    if search.vector.dim < _FEWEST_DIMENSIONS:
        why = f"codes of {search.vector.dim} dimensions tell little, and save nothing"
        return exact_scan(search, why)
    allowed = segment_view.rows if mask is None else int(np.bitwise_count(mask).sum())
    return [_until_confident(search, q, allowed, quantized) for q in search.queries]


def _until_confident(
    search: SegmentSearch, query: Floats, allowed: int, quantized: QuantizedVectors
) -> Best:
    """The best rows for one query: from so many candidates that the recall can be expected, or from
    all rows where codes tell too little.

    The number of candidates does not depend on how many the caller wants rescored besides, and does
    not fall as the recall rises: asking for more of either never gives less.
    """
    segment_view, mask = search.segment_view, search.mask
    kind, metric = quantized.codec["kind"], metrics()[search.vector.metric]
    limit, wanted = min(search.limit, allowed), min(search.oversampled() or 0, allowed)
    (score, rescore_until_sure), (_, topk_sort) = until_sure(), scan_and_sort()
    best, filled = (np.empty(limit, np.float32), np.empty(limit, np.int64)), 0
    strays, others = quantized.quantizer.strays, mask
    if quantized.regular is not None:  # codes tell nothing of strays: all of them are candidates
        strays = strays if mask is None else strays[bits_at(mask, strays)]
        others = quantized.regular if mask is None else mask & quantized.regular
        allowed -= len(strays)
        with reading(search, strays) as vectors:
            exact = np.empty(len(strays), np.float32)
            filled = score(metric, vectors, query, strays, exact, *best, filled)
    prepared = quantized.quantizer.prepare(query)
    kept, upto = 0, max(_FEWEST, int(_FIRST[kind] * limit))
    most = max(upto, allowed // _MOST)
    listed = max(_LISTED_LEAST[kind], int(_LISTED[kind] * upto))
    may_be_missed = (1.0 - _RESERVE) * (1.0 - search.recall) * limit
    exact, sure = np.empty(0, np.float32), DOUBTFUL
    while sure == DOUBTFUL and upto <= most:
        if upto > 7 * len(exact) // 8:
            estimates, rows = best_by_codes(quantized, segment_view.rows, prepared, listed, others)
            exact = np.append(exact[:kept], np.empty(len(rows) - kept, np.float32))
            listed *= _LISTED_AGAIN
        upto = min(upto, len(rows))
        stop = upto if cold(search) else 7 * len(rows) // 8
        with reading(search, rows[kept : max(upto, stop)]) as vectors:
            kept, filled, sure = rescore_until_sure(
                *(metric, vectors, query, estimates, rows, kept, upto, stop),
                *(allowed, most, may_be_missed, exact, *best, filled),
            )
        upto = 2 * kept
    if sure != SURE:
        alone = search.of(query[None])
        why = f"{kind} codes tell too little of this query"
        return exact_scan(alone, why)[0]
    if kept < wanted:
        if wanted > len(rows):
            _, rows = best_by_codes(quantized, segment_view.rows, prepared, wanted, others)
            exact = np.empty(len(rows), np.float32)
        with reading(search, rows[kept:wanted]) as vectors:
            more = rows[kept:wanted], exact[kept:wanted]
            filled = score(metric, vectors, query, *more, *best, filled)
        kept = min(wanted, len(rows))
    topk_sort(*best, filled)
    if search.explain is not None:
        kept += len(strays)
        _explain(search, quantized, kept, f"for a recall of {search.recall:g}")
        search.explain(models.SearchStage("originals", kept, filled, "rescored"))
    return best[0][:filled], best[1][:filled]


def _explain(search: SegmentSearch, quantized: QuantizedVectors, kept: int, why: str) -> None:
    if search.explain is not None:
        reason = f"all {quantized.codec['kind']} codes, {why}"
        search.explain(models.SearchStage("codes", search.segment_view.rows, kept, reason))


def best_by_codes(
    quantized: QuantizedVectors, count: int, query: PreparedQuery, wanted: int, mask: Bits | None
) -> Best:
    """The best rows by their codes."""
    _, topk_sort = scan_and_sort()
    wanted = min(wanted, count)
    scores = np.empty(wanted, dtype=np.float32)
    rows = np.empty(wanted, dtype=np.int64)
    codes = quantized.codes.verify().reshape(quantized.quantizer.codes_shape(count))
    filled = query.scan(codes, count, _ALL if mask is None else mask, 0, scores, rows, 0)
    topk_sort(scores, rows, filled)
    return scores[:filled], rows[:filled]
