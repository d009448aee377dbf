"""Scans of codes: the best rows of a segment that has codes and no index."""

from __future__ import annotations

import numpy as np

from vecdb import models
from vecdb.engine.read.segment.candidates import Best, Candidates, SegmentSearch
from vecdb.engine.read.segment.estimates import CodeEstimates, best_by_codes
from vecdb.engine.read.segment.originals import exact_scan, originals
from vecdb.engine.read.segment.until_sure import FEWEST_DIMENSIONS, best_until_sure
from vecdb.storage.derived import QuantizedVectors


def code_scan(
    search: SegmentSearch, quantized: QuantizedVectors, why: str = "no index"
) -> list[Best]:
    """The best allowed rows for each query, found by codes and scored by originals; by codes alone
    if the caller does not want originals to decide."""
    count = search.segment_view.rows
    if not search.rescore:
        wanted = search.oversampled(quantized) or search.limit
        best = [
            best_by_codes(quantized, count, quantized.quantizer.prepare(q), wanted, search.mask)
            for q in search.queries
        ]
        if search.explain is not None:
            kept = sum(len(rows) for _, rows in best)
            reason = f"all {quantized.codec['kind']} codes, {why}"
            search.explain(models.SearchStage("codes", count, kept, reason))
        return [(scores[: search.limit], rows[: search.limit]) for scores, rows in best]
    exactly = search.exactly(quantized)
    if exactly is not None and search.vector.dim >= FEWEST_DIMENSIONS:
        return _rescored(search, quantized, exactly, why)
    if search.recall >= 1.0:
        return exact_scan(search, "for a recall of 1")
    if search.vector.dim < FEWEST_DIMENSIONS:
        why = f"codes of {search.vector.dim} dimensions tell little, and save nothing"
        return exact_scan(search, why)
    wanted = search.oversampled(quantized) or 0
    estimates = CodeEstimates(quantized, count, search.mask)
    return [best_until_sure(search, query, estimates, wanted) for query in search.queries]


def _rescored(
    search: SegmentSearch, quantized: QuantizedVectors, exactly: int, why: str
) -> list[Best]:
    """The best of so many candidates by their codes, by originals."""
    count, results = search.segment_view.rows, []
    for query in search.queries:
        prepared = quantized.quantizer.prepare(query)
        scores, rows = best_by_codes(quantized, count, prepared, exactly, search.mask)
        if search.explain is not None:
            reason = f"all {quantized.codec['kind']} codes, {why}"
            search.explain(models.SearchStage("codes", count, len(rows), reason))
        found = Candidates(np.sort(rows)[None], np.array([len(rows)]), scores[None])
        results += originals(search.of(query[None]), found).best()
    return results
