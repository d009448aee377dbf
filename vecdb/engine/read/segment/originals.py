"""Originals: what is asked of a segment, and its answer by the vectors themselves.

Every way to search (see ``scan``) ends here: candidates are scored again by their vectors. Where
there is no other way, or a filter leaves few rows, all of them are.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt
from msgspec import structs

from vecdb import models
from vecdb.engine.parallel import processors, together
from vecdb.engine.read.masks import Explain
from vecdb.engine.schema import VectorSchema
from vecdb.engine.view import SegmentView
from vecdb.index.clustered.index import measured_of
from vecdb.linear_algebra import product
from vecdb.storage.arrays import PlacedArray
from vecdb.storage.catalog import Bits
from vecdb.storage.format import unpack_bits
from vecdb.storage.segment import Companion

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

# Up to here (16 MiB of vectors: 2 ms) numpy does, unless numba is loaded anyway.
_NUMPY_VALUES = 4 << 20
_ALL = np.empty(0, dtype=np.uint8)  # the kernels' mask for "every row"
# From here on (32 MiB), all processors scan: handing out the work takes 0.1 ms.
_SHARED_VALUES = 8 << 20
_WAITED = 0.001
"""A query whose originals take so many seconds to read has waited for the disk."""
_FEW = 8
"""Where a filter leaves at most one row of so many, they are read one by one."""


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

    def without_candidates(self) -> Search:
        """The same without asking for a number of candidates."""
        quantization = self.params.quantization
        if quantization is not None:
            quantization = structs.replace(quantization, oversampling=None)
        params = structs.replace(self.params, quantization=quantization, hnsw_ef=None)
        return replace(self, params=params)


Best = tuple[Floats, Offsets]
"""Scores and rows, best first: ``float32 (k,)``, ``int64 (k,)``."""


def by_originals(
    part: SegmentView,
    search: Search,
    rows: Offsets,
    counts: Offsets,
    explain: Explain | None,
    estimates: Floats | None = None,
    bounds: Floats | None = None,
) -> tuple[list[Best], Floats]:
    """The best of some rows by their vectors, for each query, and how sure that is: see `rescore`.

    ``rows: int64[q, c]``, of which the first ``counts[q]`` count; ``estimates: float32[q, c]`` by
    which they were chosen, ``bounds: float32[q, 2]`` of what was not.
    """
    originals = originals_of(part, search)
    if originals.cold:
        originals.ask_for(np.unique(rows))
    started = time.perf_counter()
    vectors = originals.verify_rows(rows.ravel()).reshape(part.rows, search.vector.dim)
    limit = min(search.limit, rows.shape[1])
    scores = np.empty((len(rows), limit), dtype=np.float32)
    best = np.empty((len(rows), limit), dtype=np.int64)
    metric = metrics()[search.vector.metric]
    sure = np.empty((len(rows), 2), dtype=np.float32)
    if estimates is None or bounds is None:
        estimates, bounds = np.empty((len(rows), 0), dtype=np.float32), sure
    measured = measured_of(search.limit)
    _rescore()(
        *(metric, vectors, search.queries, rows, counts, estimates, bounds, measured),
        *(scores, best, sure),
    )
    if originals.placement == "mapped":
        originals.cold = time.perf_counter() - started > _WAITED * len(rows)
    lengths = counts.tolist()
    if explain is not None:
        explain(models.SearchStage("originals", sum(lengths), limit, "rescored"))
    return [(scores[q, :n], best[q, :n]) for q, n in enumerate(lengths)], sure


def originals_of(part: SegmentView, search: Search) -> PlacedArray:
    """The file of the vectors of a segment that has one."""
    originals = part.segment.vectors(search.vector.name)
    assert originals is not None
    return originals


def cold(part: SegmentView, search: Search) -> bool:
    """Whether rows had to be waited for: only what is needed should be read."""
    return originals_of(part, search).cold


@contextmanager
def reading(part: SegmentView, search: Search, rows: Offsets) -> Iterator[Floats]:
    """The vectors of a segment, ``float32 (n, dim)``, of which ``rows`` are about to be used."""
    originals = originals_of(part, search)
    if originals.cold:
        originals.ask_for(np.unique(rows))
    started = time.perf_counter()
    yield originals.verify_rows(rows).reshape(part.rows, search.vector.dim)
    if originals.placement == "mapped":
        originals.cold = time.perf_counter() - started > _WAITED


def exact_scan(
    part: SegmentView,
    search: Search,
    mask: Bits | None,
    explain: Explain | None = None,
    why: str = "no index",
) -> list[Best]:
    """The best allowed rows by their originals, for each query. ``why`` is for ``explain``."""
    count = part.rows if mask is None else int(np.bitwise_count(mask).sum())
    in_file = part.segment.vectors(search.vector.name) is not None
    if explain is not None:
        if not in_file:
            why = "not in a file yet"
        elif search.params.exact:
            why = "asked for"
        explain(models.SearchStage("originals", count, min(search.limit, count), why))
    numba = "vecdb.kernels.distance" in sys.modules
    if mask is not None and in_file and count * _FEW <= part.rows and numba:
        rows = np.flatnonzero(unpack_bits(mask, part.rows))
        counts = np.full(len(search.queries), len(rows))
        every = np.broadcast_to(rows, (len(counts), len(rows)))
        return by_originals(part, search, np.ascontiguousarray(every), counts, None)[0]
    return [_exact_scan(part, search, query, mask, numba) for query in search.queries]


def _exact_scan(
    part: SegmentView, search: Search, query: Floats, mask: Bits | None, numba: bool
) -> Best:
    vector = search.vector
    blocks = part.segment.blocks(vector.name, part.rows)
    limit = min(search.limit, part.rows)
    if not numba and part.rows * vector.dim <= _NUMPY_VALUES:
        return _numpy_scan(blocks, vector.metric, query, limit, mask)
    scan, topk_sort = scan_and_sort()
    metric = metrics()[vector.metric]

    def best_of(pieces: Iterable[tuple[int, Floats]]) -> Best:
        scores = np.empty(limit, dtype=np.float32)
        rows = np.empty(limit, dtype=np.int64)
        filled = 0
        for base, block in pieces:
            bits = _ALL if mask is None else mask[base >> 3 : (base + len(block) + 7) >> 3]
            filled = scan(metric, block, query, bits, base, scores, rows, filled)
        topk_sort(scores, rows, filled)
        return scores[:filled], rows[:filled]

    if part.segment.vectors(vector.name) is None or part.rows * vector.dim < _SHARED_VALUES:
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
def scan_and_sort() -> tuple[Callable[..., int], Callable[..., None]]:
    """The first call loads numba; an import statement here would cost 0.5 µs every time."""
    from vecdb.kernels.distance import scan
    from vecdb.kernels.topk import topk_sort

    return scan, topk_sort


@cache
def _rescore() -> Callable[..., int]:
    from vecdb.kernels.rescoring import rescore

    return rescore


@cache
def sureness() -> Callable[..., tuple[float, float]]:
    """The kernel of that name."""
    from vecdb.kernels.rescoring import sureness

    return sureness


@cache
def metrics() -> dict[str, int]:
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
        scores = product(vectors, query)
        return scores
    difference = vectors - query
    if metric == "euclid":
        scores = -np.einsum("ij,ij->i", difference, difference)
    else:
        scores = -np.abs(difference).sum(axis=1)
    return scores
