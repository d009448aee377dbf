"""Until sure: the best rows of a segment by estimates of all of them, as many as it takes.

All rows that a search may return are estimated, and the best are scored by their originals: so many
that the wanted recall can be expected. What estimates are worth depends on the data and on the
query. Each search finds it out from the first candidates: their estimates and their scores are
compared (`kernels.certainty`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vecdb import models
from vecdb.engine.read.segment.candidates import Best, SegmentSearch
from vecdb.engine.read.segment.estimates import Estimates
from vecdb.engine.read.segment.kernels import metrics, scan_and_sort, until_sure
from vecdb.engine.read.segment.originals import exact_scan, reading, waits
from vecdb.vectors.datatypes import for_kernels

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

SURE, DOUBTFUL = 1, 0  # as in the kernel, which is loaded when it is needed
FEWEST_DIMENSIONS = 8
"""With fewer dimensions many rows share their codes, and chance decides which of them are
candidates."""
_FEWEST = 16
"""Fewer scores do not tell what estimates are worth."""
_RESERVE = 0.3
"""This share of what may be missed is kept in reserve: the expected recall is an estimate."""
_LEAST_RECALL = 0.95
"""Less saves next to nothing beside the scan. Of ten results one more or less is missed by chance:
a query that is asked again and again would have too few of them for good."""
_LISTED_AGAIN = 4
_MOST = 4
"""Where more than one row of so many would be a candidate, all rows are scored."""


def best_until_sure(
    search: SegmentSearch, query: Floats, estimates: Estimates, wanted: int
) -> Best:
    """The best rows for one query: from so many candidates that the recall can be expected, or from
    all rows where estimates tell too little.

    The number of candidates does not depend on how many are ``wanted`` besides, and does not fall
    as the recall rises: asking for more of either never gives less.
    """
    estimates.ask(query)
    metric, strays = metrics()[search.vector.of_originals], estimates.strays
    limit, wanted = min(search.limit, search.allowed), min(wanted, search.allowed)
    allowed = search.allowed - len(strays)
    (score, rescore_until_sure), (_, topk_sort) = until_sure(), scan_and_sort()
    best, filled = (np.empty(limit, np.float32), np.empty(limit, np.int64)), 0
    if len(strays):
        with reading(search, strays) as vectors:
            exact = np.empty(len(strays), np.float32)
            filled = score(metric, for_kernels(vectors), query, strays, exact, *best, filled)
    kept, upto = 0, max(_FEWEST, int(estimates.first * limit))
    most = max(upto, allowed // _MOST)
    listed = max(estimates.listed_least, int(estimates.listed * upto))
    may_be_missed = (1.0 - _RESERVE) * (1.0 - max(search.recall, _LEAST_RECALL)) * limit
    exact, sure, known = np.empty(0, np.float32), DOUBTFUL, 0.0
    while sure == DOUBTFUL and upto <= most:
        if upto > 7 * len(exact) // 8:
            estimated, rows, scales = estimates.best(listed)
            if len(rows) <= kept:
                break
            exact = np.append(exact[:kept], np.empty(len(rows) - kept, np.float32))
            listed *= _LISTED_AGAIN
        upto = min(upto, len(rows))
        stop = upto if waits(search) else 7 * len(rows) // 8
        with reading(search, rows[kept : max(upto, stop)]) as vectors:
            if kept == 0:
                known = estimates.cut_off(search.vector.compared(vectors[rows[:_FEWEST]]))
            kept, filled, sure = rescore_until_sure(
                *(metric, for_kernels(vectors), query, estimated, scales, estimates.others, rows),
                *(kept, upto, stop, allowed, most, may_be_missed, known, exact, *best, filled),
            )
        upto = 2 * kept
    if sure != SURE:
        why = f"{estimates.name} tell too little of this query"
        return exact_scan(search.of(query[None]), why)[0]
    if kept < wanted:
        if wanted > len(rows):
            _, rows, _ = estimates.best(wanted)
            exact = np.empty(len(rows), np.float32)
        with reading(search, rows[kept:wanted]) as vectors:
            more = rows[kept:wanted], exact[kept:wanted]
            filled = score(metric, for_kernels(vectors), query, *more, *best, filled)
        kept = min(wanted, len(rows))
    topk_sort(*best, filled)
    if search.explain is not None:
        kept += len(strays)
        reason = f"all {estimates.name}, for a recall of {search.recall:g}"
        search.explain(models.SearchStage(estimates.by, estimates.rows, kept, reason))
        search.explain(models.SearchStage("originals", kept, filled, "rescored"))
    return best[0][:filled], best[1][:filled]
