"""Codes: the candidates that sketches have chosen, scored again by their codes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vecdb import models
from vecdb.engine.read.segment.candidates import Candidates, SegmentSearch
from vecdb.engine.read.segment.kernels import metrics, survivors
from vecdb.engine.read.segment.sketches import Visit
from vecdb.index import Effort
from vecdb.index.clustered.effort import measured_of
from vecdb.storage.derived import QuantizedVectors

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

_CODES_BYTES = 512 << 10
"""To prepare a query for codes and score candidates by them takes as long as to read so many bytes
of originals from RAM."""


def codes(
    search: SegmentSearch, candidates: Candidates, quantized: QuantizedVectors, keep: int
) -> Candidates:
    """The best ``keep`` of some rows by their codes, best first, and how sure that is."""
    rows, bounds = candidates.rows, candidates.bounds
    assert bounds is not None
    sure = np.empty((len(rows), 2), dtype=np.float32)
    counts = np.minimum(candidates.counts, keep)
    kept = np.zeros((len(rows), counts.max()), dtype=np.int64)
    by_codes = np.zeros(kept.shape, dtype=np.float32)
    metric, measured = metrics()[search.vector.metric], measured_of(search.limit)
    for number, count in enumerate(candidates.counts.tolist()):
        mine, some = rows[number, :count], min(keep, count)
        scores = scores_by_codes(quantized, search.segment_view.rows, search.queries[number], mine)
        arguments = metric, candidates.scores[number, :count], bounds[number]
        judged = measured if count >= search.limit else 0
        survivors()(*arguments, judged, some, scores, mine, sure[number])
        kept[number, :some] = mine[:some]
        by_codes[number, :some] = scores[:some]
        if search.explain is not None:
            kind = quantized.codec["kind"]
            search.explain(models.SearchStage("codes", count, some, f"{kind} codes"))
    return Candidates(kept, counts, by_codes, sure=sure)


def to_be_rescored(search: SegmentSearch, candidates: Candidates) -> Candidates:
    """The best by codes, as candidates of which nothing is known of the rows left out."""
    by_codes = candidates.scores
    if search.vector.metric == "manhattan":
        by_codes = -np.square(by_codes)  # as of a Euclidean distance: see `sureness`
    bounds = np.full((len(by_codes), 2), -np.inf, dtype=np.float32)
    return Candidates(candidates.rows, candidates.counts, by_codes, bounds)


def by_codes_too(search: SegmentSearch, effort: Effort, quantized: QuantizedVectors | None) -> bool:
    """Whether candidates of the index are ranked by their codes, before their originals are read or
    instead."""
    if quantized is None or not search.by_codes(quantized):
        return False
    return not search.rescore or search.exactly(quantized) is not None or _pays(search, effort)


def uses_codes(search: SegmentSearch, visit: Visit) -> bool:
    """Whether there is a stage of codes in a visit: if they decide, or spare originals."""
    if visit.quantized is None:
        return False
    return not search.rescore or rescored_of(search, visit) < visit.candidates


def rescored_of(search: SegmentSearch, visit: Visit) -> int:
    """How many candidates have their originals read: as many as the caller says, or else as the
    recall takes."""
    exactly = search.exactly(visit.quantized)
    if exactly is not None:
        return exactly
    least = visit.effort.survivors or visit.candidates
    return max(least, search.oversampled(visit.quantized) or 0, search.limit)


def _pays(search: SegmentSearch, effort: Effort) -> bool:
    """Whether codes save more than they cost: always where originals are on disk."""
    if not effort.survivors:
        return False
    if search.originals.is_mapped:
        return True
    saved = (effort.candidates - effort.survivors) * search.vector.bytes
    return saved > _CODES_BYTES


def scores_by_codes(
    quantized: QuantizedVectors, count: int, query: Floats, rows: Offsets
) -> Floats:
    """What the codes say of some rows."""
    codes = quantized.codes.verify().reshape(quantized.quantizer.codes_shape(count))
    return quantized.quantizer.prepare(query).score_rows(codes, rows)


def describe(quantized: QuantizedVectors | None) -> str | None:
    """A codec in words, as ``vecdb info`` shows it."""
    if quantized is None:
        return None
    codec = quantized.codec
    plain = {"kind": codec["kind"], "quantile": None, "bits": 1.0, "layout": 2}
    details = [f"{key}={value:g}" for key, value in codec.items() if value != plain.get(key)]
    return " ".join([codec["kind"], *details])
