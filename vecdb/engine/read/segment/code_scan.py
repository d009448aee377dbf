"""Scans of codes: the best rows of a segment that has codes and no index."""

from __future__ import annotations

from vecdb import models
from vecdb.engine.read.segment.candidates import Best, SegmentSearch
from vecdb.engine.read.segment.estimates import CodeEstimates, best_by_codes
from vecdb.engine.read.segment.originals import exact_scan
from vecdb.engine.read.segment.until_sure import FEWEST_DIMENSIONS, best_until_sure
from vecdb.storage.derived import QuantizedVectors


def code_scan(
    search: SegmentSearch, quantized: QuantizedVectors, why: str = "no index"
) -> list[Best]:
    """The best allowed rows for each query, found by codes and scored by originals; by codes alone
    if the caller does not want originals to decide."""
    count = search.segment_view.rows
    if not search.rescore:
        wanted = search.oversampled() or search.limit
        best = [
            best_by_codes(quantized, count, quantized.quantizer.prepare(q), wanted, search.mask)
            for q in search.queries
        ]
        if search.explain is not None:
            kept = sum(len(rows) for _, rows in best)
            reason = f"all {quantized.codec['kind']} codes, {why}"
            search.explain(models.SearchStage("codes", count, kept, reason))
        return [(scores[: search.limit], rows[: search.limit]) for scores, rows in best]
    if search.recall >= 1.0:
        return exact_scan(search, "for a recall of 1")
    if search.vector.dim < FEWEST_DIMENSIONS:
        why = f"codes of {search.vector.dim} dimensions tell little, and save nothing"
        return exact_scan(search, why)
    wanted = search.oversampled() or 0
    estimates = CodeEstimates(quantized, count, search.mask)
    return [best_until_sure(search, query, estimates, wanted) for query in search.queries]
