"""Equals: rows that the index has set aside (`heaps`), where they belong among the results.

All rows of a heap have the same score, so that of one tells whether they do.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import structs

from vecdb import models
from vecdb.engine.read.segment.candidates import Best, Candidates, SegmentSearch, merged
from vecdb.engine.read.segment.codes import scores_by_codes
from vecdb.engine.read.segment.originals import originals
from vecdb.engine.read.segment.sketches import Visit
from vecdb.index.clustered.heaps import KEPT
from vecdb.storage.format import bits_at

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

_UNKNOWN = np.empty((0, 0), dtype=np.float32)


def with_equals(search: SegmentSearch, visit: Visit, best: list[Best]) -> list[Best]:
    """The best rows for each query, and of those set aside what is as good. No more are needed
    where all rows are allowed and no more results wanted than were kept of a heap."""
    clustered = visit.index.clustered
    if not clustered.aside or (search.mask is None and search.limit <= KEPT):
        return best  # nearly always
    firsts, ends = clustered.starts[:-1], clustered.starts[1:]
    heaps = [each for each in clustered.aside if firsts[each] < ends[each]]
    if not heaps:
        return best
    ones = clustered.rows_at(firsts[heaps])
    results, more = [], 0
    for query, mine in zip(search.queries, best, strict=True):
        scores = _scores(search, visit, query, ones)
        last = mine[0].min() if len(mine[0]) >= search.limit else -np.inf
        for heap, score in zip(heaps, scores.tolist(), strict=True):
            if score > last:
                rows = clustered.rows_at(np.arange(firsts[heap], ends[heap]))
                if search.mask is not None:
                    rows = rows[bits_at(search.mask, rows)]
                rows = rows[: search.limit]
                more += len(rows)
                theirs = np.full(len(rows), score, dtype=np.float32)
                mine = merged(search.limit, mine, (theirs, rows))
        results.append(mine)
    if search.explain is not None:
        by = "codes" if _by_codes(search, visit) else "originals"
        count = len(heaps) * len(search.queries)
        search.explain(models.SearchStage(by, count, more, "one of each heap of equal rows"))
    return results


def _by_codes(search: SegmentSearch, visit: Visit) -> bool:
    return visit.quantized is not None and not search.rescore


def _scores(search: SegmentSearch, visit: Visit, query: Floats, rows: Offsets) -> Floats:
    """By what decides."""
    if visit.quantized is not None and not search.rescore:
        return scores_by_codes(visit.quantized, search.segment_view.rows, query, rows)
    alone = structs.replace(search.of(query[None]), limit=len(rows), explain=None)
    found = originals(alone, Candidates(rows[None], np.array([len(rows)]), _UNKNOWN))
    scores = np.empty(len(rows), dtype=np.float32)
    scores[np.argsort(rows)] = found.scores[0, np.argsort(found.rows[0])]
    return scores
