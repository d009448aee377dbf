"""Scans: the best rows of one segment, by way of its index, its codes or its originals.

Each way ends in the originals, unless the caller does without (``rescore=False``)::

    index      sketches of near partitions  ->  codes, if they tell more  ->  originals
    codes      all codes  ->  originals
    originals  all of them, or those a filter has left

What is damaged is not needed: without its index or its codes, a segment is scanned whole.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb import models
from vecdb.engine.schema import VectorSchema
from vecdb.engine.threads import processors, together
from vecdb.engine.view import SegmentView
from vecdb.errors import CorruptionError
from vecdb.index import Effort, Found
from vecdb.storage import layout
from vecdb.storage.catalog import Bits
from vecdb.storage.format import bits_at, unpack_bits
from vecdb.storage.segment import Companion, FileSegment, Index

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

# Up to here (16 MiB of vectors: 2 ms) numpy does, unless numba is loaded anyway.
_NUMPY_VALUES = 4 << 20
_ALL = np.empty(0, dtype=np.uint8)  # the kernels' mask for "every row"
# From here on (32 MiB), all processors scan: handing out the work takes 0.1 ms.
_SHARED_VALUES = 8 << 20
_RESERVE = 4
_CODES_BYTES = 128 << 10
"""To prepare a query for codes, and to score candidates by them, takes as long as to read so many
bytes of originals from RAM."""
_WAITED = 0.001
"""A query whose originals take so many seconds to read has waited for the disk."""
_FEW = 8
"""Where a filter leaves at most one row of so many, they are read one by one."""

# Candidates per result when codes are scanned whole and the caller leaves the number to us: what
# rescoring needs, by kind of code, to find nearly all of the true neighbours in the text
# embeddings of docs/benchmarks.md. With an index it is measured.
DEFAULT_OVERSAMPLING = {"scalar": 1.5, "product": 4.0, "binary": 8.0}


@dataclass(slots=True)
class Search:
    """What is asked of every segment. ``queries``: ``float32 (q, dim)``, normalised already under
    Cosine; each has results of its own."""

    vector: VectorSchema
    queries: Floats
    limit: int
    params: models.SearchParams
    recall: float
    filtered: bool = False
    """A filter was tested on every row: those that match are known one by one."""

    @property
    def rescore(self) -> bool:
        """Whether originals decide."""
        quantization = self.params.quantization
        return quantization is None or quantization.rescore is not False

    def by_codes(self, companion: Companion | None) -> bool:
        """Whether codes may be used."""
        quantization = self.params.quantization
        return companion is not None and not (quantization is not None and quantization.ignore)

    def oversampled(self) -> int | None:
        """How many candidates the caller wants rescored; None: it is left to us."""
        quantization = self.params.quantization
        if quantization is None or quantization.oversampling is None:
            return None
        return max(self.limit, int(quantization.oversampling * self.limit))


Explain = Callable[[models.SearchStage], None]
Best = tuple[Floats, Offsets]
"""Scores and rows, best first: ``float32 (k,)``, ``int64 (k,)``."""


def search_segment(
    part: SegmentView, search: Search, mask: Bits | None, explain: Explain | None = None
) -> list[Best]:
    """The best allowed rows of a segment, for each query."""
    if search.params.exact or part.segment.kind != "file":
        return exact_scan(part, search, mask, explain)
    segment = part.segment
    assert isinstance(segment, FileSegment)
    name = search.vector.name
    index, companion = segment.indexes.get(name), segment.companions.get(name)
    if index is not None:
        try:
            return _index_scan(part, search, mask, index, companion, explain)
        except CorruptionError as error:
            _lose(segment, name, error)
            return search_segment(part, search, mask, explain)
    if companion is not None and search.by_codes(companion):
        try:
            return _code_scan(part, search, mask, companion, explain)
        except CorruptionError as error:
            _lose(segment, name, error)
    return exact_scan(part, search, mask, explain)


def _lose(segment: FileSegment, name: str, error: CorruptionError) -> None:
    """Go on without a derived file in which damage was found now, in a block never used before.
    Raises what is not about one. That another search has just done the same does not matter."""
    for part, lose in (("sketch", segment.lose_index), ("codes", segment.lose_companion)):
        if error.path == str(segment.path / layout.vector_file(part, name)):
            lose(name, error)
            return
    raise error


# -- by index ----------------------------------------------------------------------------------


def _index_scan(
    part: SegmentView,
    search: Search,
    mask: Bits | None,
    index: Index,
    companion: Companion | None,
    explain: Explain | None,
) -> list[Best]:
    clustered = index.clustered
    effort = clustered.effort(search.recall, search.limit)
    if search.params.hnsw_ef is not None:
        effort = clustered.effort_of(max(search.params.hnsw_ef, search.limit), search.limit)
    wanted = search.oversampled()
    if search.params.hnsw_ef is None and search.rescore and not wanted and effort.everything:
        # No number of candidates was found to be enough: the sketches tell too little.
        return exact_scan(part, search, mask, explain, f"for a recall of {search.recall:g}")
    candidates = max(effort.candidates, wanted or 0)
    if mask is None:
        found = _visit(search, index, effort, candidates, explain)
        rows, counts = clustered.rows_at(found.positions), found.counts[:, 0].copy()
    else:
        allowed = _visit_allowed(part, search, mask, index, effort, candidates, explain)
        if allowed is None:
            why = "all that match the filter" if search.filtered else "so few are left"
            return exact_scan(part, search, mask, explain, why)
        rows, counts = allowed
    if search.rescore and not wanted and not _pays(part, search, effort):
        companion = None
    if companion is None or not search.by_codes(companion):
        return _by_originals(part, search, rows, counts, explain)
    keep = search.limit
    if search.rescore:
        keep = wanted or max(effort.survivors, search.limit)
    best = [
        _by_codes(companion, part.rows, query, mine[:count], keep, explain)
        for query, mine, count in zip(search.queries, rows, counts.tolist(), strict=True)
    ]
    return _rescored(part, search, best, explain) if search.rescore else best


def _visit(
    search: Search, index: Index, effort: Effort, candidates: int, explain: Explain | None
) -> Found:
    clustered = index.clustered
    blocks = index.sketch.verify().reshape(clustered.sketch_shape)
    found = clustered.visit(search.queries, blocks, candidates, effort.gap, candidates)
    if explain is not None:
        _, partitions, visited = found.counts.sum(axis=0).tolist()
        every = clustered.clustering.partitions * len(search.queries)
        reason = f"{partitions} of {every} partitions, for a recall of {effort.recall:g}"
        explain(models.SearchStage("sketches", visited, int(found.counts[:, 0].sum()), reason))
    return found


def _visit_allowed(
    part: SegmentView,
    search: Search,
    mask: Bits,
    index: Index,
    effort: Effort,
    candidates: int,
    explain: Explain | None,
) -> tuple[Offsets, Offsets] | None:
    """Candidates among the rows that a mask leaves: rows and how many, for each query. None if
    these rows had better be looked at one by one.

    How deep one has to look depends on what is missing: nothing near the query, or just the rows
    nearest to it. So all rows are visited, as for more and more results, until what is left of
    them is deep enough.
    """
    clustered = index.clustered
    matches = int(np.bitwise_count(mask).sum())
    if search.filtered or matches <= max(effort.rows, candidates):
        return None  # to test a filter on every row took longer than to score them all
    depth = search.limit
    while True:
        found = _visit(search, index, effort, candidates, explain)
        rows = clustered.rows_at(found.positions)
        left = np.arange(rows.shape[1]) < found.counts[:, :1]
        left[left] = bits_at(mask, rows[left])
        deeper = _depth(found.scores, left, search.limit)
        if deeper is not None and deeper <= depth + depth // 4:
            break
        if deeper is None:
            deeper = 4 * depth
        depth = min(deeper, 4 * depth)
        # The last of many results are the hardest to find: an effort finds them less often than
        # it finds its results in the mean.
        effort = clustered.effort(search.recall, _RESERVE * depth)
        candidates = max(candidates, effort.candidates)
        if candidates > matches // 2:
            return None
    counts = left.sum(axis=1)
    order = np.argsort(~left, axis=1, kind="stable")[:, : counts.max()]
    return np.take_along_axis(rows, order, axis=1), counts


def _depth(scores: Floats, left: npt.NDArray[np.bool_], limit: int) -> int | None:
    """As how many results from among all rows one has to ask for, to have ``limit`` of those that
    are left: by the sketches, and for the worst query. None: more than there are candidates."""
    deepest = limit
    for line, mine in zip(scores, left, strict=True):
        if np.count_nonzero(mine) < limit:
            return None
        worst = np.partition(line[mine], -limit)[-limit]
        deepest = max(deepest, int(np.count_nonzero(line >= worst)))
    return deepest


def _pays(part: SegmentView, search: Search, effort: Effort) -> bool:
    """Whether codes save more than it takes to look at them: always where originals are on disk."""
    if not effort.survivors:
        return False
    assert isinstance(part.segment, FileSegment)
    if part.segment.originals[search.vector.name].placement == "mapped":
        return True
    saved = (effort.candidates - effort.survivors) * 4 * search.vector.dim
    return saved > _CODES_BYTES


def _rescored(
    part: SegmentView, search: Search, best: list[Best], explain: Explain | None
) -> list[Best]:
    """What is best by codes, put in order by vectors."""
    counts = np.array([len(rows) for _, rows in best])
    candidates = np.zeros((len(best), counts.max()), dtype=np.int64)
    for line, (_, rows) in zip(candidates, best, strict=True):
        line[: len(rows)] = np.sort(rows)  # ascending reads: fewer pages, in disk order
    return _by_originals(part, search, candidates, counts, explain)


def _by_codes(
    companion: Companion,
    count: int,
    query: Floats,
    rows: Offsets,
    keep: int,
    explain: Explain | None,
) -> Best:
    """The best of some rows by their codes."""
    codes = companion.codes.verify().reshape(companion.quantizer.codes_shape(count))
    scores = companion.quantizer.prepare(query).score_rows(codes, rows)
    if explain is not None:
        kind = companion.codec["kind"]
        explain(models.SearchStage("codes", len(rows), min(keep, len(rows)), f"{kind} codes"))
    best = np.lexsort((rows, -scores))[:keep]
    return scores[best], rows[best]


def _by_originals(
    part: SegmentView, search: Search, rows: Offsets, counts: Offsets, explain: Explain | None
) -> list[Best]:
    """The best of some rows by their vectors, for each query.

    ``rows: int64[q, c]``, of which the first ``counts[q]`` count.
    """
    segment = part.segment
    assert isinstance(segment, FileSegment)
    originals = segment.originals[search.vector.name]
    if originals.cold:
        originals.ask_for(np.unique(rows))
    started = time.perf_counter()
    vectors = originals.verify_rows(rows.ravel()).reshape(part.rows, search.vector.dim)
    limit = min(search.limit, rows.shape[1])
    scores = np.empty((len(rows), limit), dtype=np.float32)
    best = np.empty((len(rows), limit), dtype=np.int64)
    metric = _metrics()[search.vector.metric]
    _rescore()(metric, vectors, search.queries, rows, counts, scores, best)
    if originals.placement == "mapped":
        originals.cold = time.perf_counter() - started > _WAITED * len(rows)
    lengths = counts.tolist()
    if explain is not None:
        explain(models.SearchStage("originals", sum(lengths), limit, "rescored"))
    return [(scores[q, :n], best[q, :n]) for q, n in enumerate(lengths)]


# -- by codes ----------------------------------------------------------------------------------


def _code_scan(
    part: SegmentView,
    search: Search,
    mask: Bits | None,
    companion: Companion,
    explain: Explain | None,
) -> list[Best]:
    wanted = search.oversampled()
    if wanted is None:
        factor = DEFAULT_OVERSAMPLING[companion.codec["kind"]] if search.rescore else 1.0
        wanted = max(search.limit, int(factor * search.limit))
    best = [code_scan(companion, part.rows, query, wanted, mask) for query in search.queries]
    if explain is not None:
        kind, kept = companion.codec["kind"], sum(len(rows) for _, rows in best)
        explain(models.SearchStage("codes", part.rows, kept, f"all {kind} codes: no index"))
    if search.rescore:
        return _rescored(part, search, best, explain)
    return [(scores[: search.limit], rows[: search.limit]) for scores, rows in best]


def code_scan(
    companion: Companion, count: int, query: Floats, wanted: int, mask: Bits | None
) -> Best:
    """The best rows by their codes."""
    _, topk_sort = _scan_and_sort()
    wanted = min(wanted, count)
    scores = np.empty(wanted, dtype=np.float32)
    rows = np.empty(wanted, dtype=np.int64)
    codes = companion.codes.verify().reshape(companion.quantizer.codes_shape(count))
    prepared = companion.quantizer.prepare(query)
    filled = prepared.scan(codes, count, _ALL if mask is None else mask, 0, scores, rows, 0)
    topk_sort(scores, rows, filled)
    return scores[:filled], rows[:filled]


# -- by originals ------------------------------------------------------------------------------


def exact_scan(
    part: SegmentView,
    search: Search,
    mask: Bits | None,
    explain: Explain | None = None,
    why: str = "no index",
) -> list[Best]:
    """The best allowed rows by their originals, for each query. ``why`` is for ``explain``."""
    count = part.rows if mask is None else int(np.bitwise_count(mask).sum())
    if explain is not None:
        if part.segment.kind != "file":
            why = "not in a file yet"
        elif search.params.exact:
            why = "asked for"
        explain(models.SearchStage("originals", count, min(search.limit, count), why))
    numba = "vecdb.kernels.distance" in sys.modules
    if mask is not None and part.segment.kind == "file" and count * _FEW <= part.rows and numba:
        rows = np.flatnonzero(unpack_bits(mask, part.rows))
        counts = np.full(len(search.queries), len(rows))
        every = np.broadcast_to(rows, (len(counts), len(rows)))
        return _by_originals(part, search, np.ascontiguousarray(every), counts, None)
    return [_exact_scan(part, search, query, mask, numba) for query in search.queries]


def _exact_scan(
    part: SegmentView, search: Search, query: Floats, mask: Bits | None, numba: bool
) -> Best:
    vector = search.vector
    blocks = part.segment.blocks(vector.name, part.rows)
    limit = min(search.limit, part.rows)
    if not numba and part.rows * vector.dim <= _NUMPY_VALUES:
        return _numpy_scan(blocks, vector.metric, query, limit, mask)
    scan, topk_sort = _scan_and_sort()
    metric = _metrics()[vector.metric]

    def best_of(pieces: Iterable[tuple[int, Floats]]) -> Best:
        scores = np.empty(limit, dtype=np.float32)
        rows = np.empty(limit, dtype=np.int64)
        filled = 0
        for base, block in pieces:
            bits = _ALL if mask is None else mask[base >> 3 : (base + len(block) + 7) >> 3]
            filled = scan(metric, block, query, bits, base, scores, rows, filled)
        topk_sort(scores, rows, filled)
        return scores[:filled], rows[:filled]

    if part.segment.kind != "file" or part.rows * vector.dim < _SHARED_VALUES:
        return best_of(blocks)
    shares = [(lambda share=share: best_of(share)) for share in _shares(blocks, processors())]
    found = together(shares)
    scores, rows = (np.concatenate(column) for column in zip(*found, strict=True))
    best = np.lexsort((rows, -scores))[:limit]
    return scores[best], rows[best]


def _shares(blocks: Iterable[tuple[int, Floats]], count: int) -> list[list[tuple[int, Floats]]]:
    """The one block of a file segment in as many parts, each of whole bytes of a mask."""
    [(base, block)] = blocks
    step = max(8, -(-len(block) // count) + 7 & ~7)
    return [[(base + start, block[start : start + step])] for start in range(0, len(block), step)]


@cache
def _scan_and_sort() -> tuple[Callable[..., int], Callable[..., None]]:
    """The first call loads numba; an import statement here would cost 0.5 µs every time."""
    from vecdb.kernels.distance import scan
    from vecdb.kernels.topk import topk_sort

    return scan, topk_sort


@cache
def _rescore() -> Callable[..., int]:
    from vecdb.kernels.partitions import rescore

    return rescore


@cache
def _metrics() -> dict[str, int]:
    """The kernels' numbers of the metrics."""
    from vecdb.kernels.signatures import METRIC_CODES

    return METRIC_CODES


def _numpy_scan(
    blocks: Iterable[tuple[int, Floats]],
    metric: str,
    query: Floats,
    limit: int,
    mask: Bits | None,
) -> tuple[Floats, Offsets]:
    scores = np.concatenate([exact_scores(metric, block, query) for _, block in blocks])
    if mask is not None:
        rows = np.flatnonzero(unpack_bits(mask, len(scores)))
        scores = scores[rows]
    else:
        rows = np.arange(len(scores), dtype=np.int64)
    if limit < len(scores):
        # Of equal scores the lowest rows, as the kernels do it, or pages would overlap.
        worst = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        better = np.flatnonzero(scores > worst)
        best = np.append(better, np.flatnonzero(scores == worst)[: limit - len(better)])
        scores, rows = scores[best], rows[best]
    best = np.lexsort((rows, -scores))
    return scores[best], rows[best]


def exact_scores(metric: str, vectors: Floats, query: Floats) -> Floats:
    """Scores of rows of vectors, larger is better: ``float32 (n,)``."""
    scores: Floats
    if metric == "dot":
        scores = vectors @ query
        return scores
    difference = vectors - query
    if metric == "euclid":
        scores = -np.einsum("ij,ij->i", difference, difference)
    else:
        scores = -np.abs(difference).sum(axis=1)
    return scores


def describe(companion: Any) -> str | None:
    """A codec in words, as ``vecdb info`` shows it."""
    if companion is None:
        return None
    codec = companion.codec
    plain = {"kind": codec["kind"], "quantile": None, "bits": 1.0, "layout": 2}
    details = [f"{key}={value:g}" for key, value in codec.items() if value != plain.get(key)]
    return " ".join([codec["kind"], *details])
