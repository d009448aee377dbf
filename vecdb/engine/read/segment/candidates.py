"""The search of one segment, and the candidates that flow through its stages.

A stage takes a search and candidates and returns candidates: fewer, and better known. Only `widen`
knows when they are good enough.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import Struct, structs

from vecdb import models
from vecdb.engine.read.masks import Explain
from vecdb.engine.schema import VectorSchema
from vecdb.engine.view import SegmentView
from vecdb.storage.arrays import PlacedArray
from vecdb.storage.catalog import Bits
from vecdb.storage.derived import QuantizedVectors
from vecdb.vectors.blocks import Ragged

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

MOST_AT_ONCE = 1 << 20
"""So many candidates are kept for queries that go through a segment together: 50 MB or so."""

Best = tuple[Floats, Offsets]
"""The results of a segment for one query: scores and rows, best first, ``float32 (k,)``, ``int64
(k,)``."""


class SegmentSearch(Struct, eq=False, gc=False):
    """A search of one segment. ``queries``: ``float32 (q, dim)``, normalised already under Cosine;
    each has results of its own. ``mask``: the rows that are allowed; None: all of them."""

    segment_view: SegmentView
    vector: VectorSchema
    queries: Floats
    limit: int
    params: models.SearchParams
    recall: float
    filtered: bool
    """A filter was tested on every row: those that match are known one by one."""
    mask: Bits | None
    allowed: int
    """How many rows the mask allows."""
    explain: Explain | None
    """Called with what each stage did, if anybody wants to know."""
    ragged: Ragged | None = None
    """The queries of a search by sparse vectors or multivectors; ``queries`` says how many there
    are."""

    def of(self, queries: Floats) -> SegmentSearch:
        """The same search for some of the queries."""
        return structs.replace(self, queries=queries)

    @property
    def originals(self) -> PlacedArray:
        """The file of the vectors; the segment has one."""
        originals = self.segment_view.segment.vectors(self.vector.name)
        assert originals is not None
        return originals

    @property
    def rescore(self) -> bool:
        """Whether originals decide."""
        quantization = self.params.quantization
        return quantization is None or quantization.rescore is not False

    def by_codes(self, quantized: QuantizedVectors | None) -> bool:
        """Whether codes may be used."""
        quantization = self.params.quantization
        return quantized is not None and not (quantization is not None and quantization.ignore)

    def oversampled(self, quantized: QuantizedVectors | None) -> int | None:
        """How many candidates by their codes the caller wants rescored; None: it is left to us, or
        there are none."""
        quantization = self.params.quantization
        if quantization is None or quantization.oversampling is None:
            return None
        if not self.by_codes(quantized):
            return None
        return max(self.limit, int(quantization.oversampling * self.limit))

    def exactly(self, quantized: QuantizedVectors | None) -> int | None:
        """How many candidates by their codes have their originals read, neither fewer nor more,
        because the caller says so. None: as many as the recall takes, at least."""
        if not self.rescore or self.params.recall is not None:
            return None
        return self.oversampled(quantized)


class Candidates(Struct, eq=False, gc=False):
    """Rows for each query and how good they look: ``rows: int64[q, c]`` with their ``scores:
    float32[q, c]``; the first ``counts[q]`` of them count."""

    rows: Offsets
    counts: Offsets
    scores: Floats
    bounds: Floats | None = None
    """What is known of the rows that were left out: ``float32[q, 2]``, see `rescore`."""
    sure: Floats | None = None
    """How sure it is that nothing better was left out: ``float32[q, 2]``, see `rescore`. None:
    nobody has looked."""

    def best(self) -> list[Best]:
        """The candidates as results, if the last stage has put them in order."""
        rows, scores = self.rows, self.scores
        if len(rows) == 1 and self.counts[0] >= rows.shape[1]:
            return [(scores[0], rows[0])]
        return [(scores[q, :n], rows[q, :n]) for q, n in enumerate(self.counts.tolist())]


def merged(limit: int, one: Best, other: Best) -> Best:
    """The best of two answers to the same search."""
    rows, first = np.unique(np.concatenate((one[1], other[1])), return_index=True)
    scores = np.concatenate((one[0], other[0]))[first]
    order = np.lexsort((rows, -scores))[:limit]
    return scores[order], rows[order]
