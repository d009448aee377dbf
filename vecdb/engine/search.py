"""Search: candidates from each segment, rescoring with originals, one merged answer.

Inside, a larger score is better: inner product, minus squared Euclidean, minus Manhattan
distance. Every stage, quantized or not, is on that scale, so segments of different kinds merge;
``public_score`` turns it into what the caller sees.

Small collections are searched with numpy alone: numba costs 0.4 s to load, and a few thousand
rows never earn it back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb import ids, models
from vecdb.engine.rows import read_payload, vector_names
from vecdb.engine.schema import VectorSchema
from vecdb.engine.view import SegmentView, View
from vecdb.errors import CorruptionError
from vecdb.payload.filters import Predicate
from vecdb.storage.catalog import Bits
from vecdb.storage.format import pack_bits, unpack_bits
from vecdb.storage.segment import Companion, FileSegment

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

# Up to here (16 MiB of vectors: 2 ms) numpy does, unless numba is loaded anyway.
_NUMPY_VALUES = 4 << 20
_ALL = np.empty(0, dtype=np.uint8)  # the kernels' mask for "every row"

# Candidates per result when the caller leaves the number to us: what rescoring needs, by kind of
# code, to find nearly all of the true neighbours in the text embeddings of docs/benchmarks.md.
DEFAULT_OVERSAMPLING = {"scalar": 1.5, "product": 4.0, "binary": 8.0}


@dataclass(frozen=True, slots=True)
class Hits:
    """Results, best first: scores (larger is better), and the segment and row of each."""

    scores: list[float]
    parts: list[SegmentView]
    rows: list[int]


@dataclass(slots=True)
class Condition:
    """A compiled filter. ``pinned``: the only keys that can match, if the filter says so."""

    predicate: Predicate
    pinned: list[int] | None


def search(
    view: View,
    vector: VectorSchema,
    query: Floats,
    limit: int,
    params: models.SearchParams,
    condition: Condition | None = None,
    excluded: int | None = None,
) -> Hits:
    """The ``limit`` best live points, best first, of those that have the vector and match.

    ``query``: ``float32 (dim,)``, normalised already under Cosine. ``excluded`` is a key to leave
    out. Fewer than ``limit`` come back only when fewer match.
    """
    found: list[tuple[list[float], SegmentView, list[int]]] = []
    for part in view.segments:
        if part.live == 0:
            continue
        mask = allowed(view, part, vector.name, condition, excluded)
        if mask is not None and not mask.any():
            continue
        scores, rows = _search_segment(part, vector, query, limit, params, mask)
        found.append((scores.tolist(), part, rows.tolist()))
    if len(found) == 1:
        [(best, part, rows_of_part)] = found
        return Hits(best, [part] * len(best), rows_of_part)
    merged = [
        (-score, number, row)
        for number, (scores_of_part, _, rows_of_part) in enumerate(found)
        for score, row in zip(scores_of_part, rows_of_part, strict=True)
    ]
    merged.sort()
    del merged[limit:]
    return Hits(
        [-score for score, _, _ in merged],
        [found[number][1] for _, number, _ in merged],
        [row for _, _, row in merged],
    )


def _search_segment(
    part: SegmentView,
    vector: VectorSchema,
    query: Floats,
    limit: int,
    params: models.SearchParams,
    mask: Bits | None,
) -> tuple[Floats, Offsets]:
    quantization = params.quantization
    companion: Companion | None = getattr(part.segment, "companions", {}).get(vector.name)
    if companion is None or params.exact or (quantization is not None and quantization.ignore):
        return exact_scan(part, vector, query, limit, mask)
    rescore = quantization is None or quantization.rescore is not False
    oversampling = quantization.oversampling if quantization is not None else None
    if oversampling is None:
        oversampling = DEFAULT_OVERSAMPLING[companion.codec["kind"]] if rescore else 1.0
    wanted = max(limit, int(oversampling * limit))
    try:
        scores, rows = code_scan(companion, part.rows, query, wanted, mask)
    except CorruptionError as error:  # found now, in a block that is mapped and was never used
        assert isinstance(part.segment, FileSegment)
        part.segment.lose_companion(vector.name, error)
        return exact_scan(part, vector, query, limit, mask)
    if rescore:
        rows = np.sort(rows)  # ascending reads: fewer pages, in disk order
        scores = exact_scores(vector.metric, part.segment.take(vector.name, rows), query)
        best = np.argsort(-scores, kind="stable")
        scores, rows = scores[best], rows[best]
    return scores[:limit], rows[:limit]


def exact_scan(
    part: SegmentView, vector: VectorSchema, query: Floats, limit: int, mask: Bits | None
) -> tuple[Floats, Offsets]:
    """The best rows by their originals: ``float32 (k,)``, ``int64 (k,)``, best first."""
    blocks = part.segment.blocks(vector.name, part.rows)
    limit = min(limit, part.rows)
    if "vecdb.kernels.distance" not in sys.modules and part.rows * vector.dim <= _NUMPY_VALUES:
        return _numpy_scan(blocks, vector.metric, query, limit, mask)
    scan, topk_sort, metrics = _kernels()
    scores = np.empty(limit, dtype=np.float32)
    rows = np.empty(limit, dtype=np.int64)
    filled = 0
    metric = metrics[vector.metric]
    for base, block in blocks:
        bits = _ALL if mask is None else mask[base >> 3 : (base + len(block) + 7) >> 3]
        filled = scan(metric, block, query, bits, base, scores, rows, filled)
    topk_sort(scores, rows, filled)
    return scores[:filled], rows[:filled]


@cache
def _kernels() -> tuple[Callable[..., int], Callable[..., None], dict[str, int]]:
    """Scan, sort, and the kernels' numbers of the metrics.

    The first call loads numba; an import statement here would cost 0.5 µs every time.
    """
    from vecdb.kernels.distance import scan
    from vecdb.kernels.signatures import METRIC_CODES
    from vecdb.kernels.topk import topk_sort

    return scan, topk_sort, METRIC_CODES


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


def code_scan(
    companion: Companion, count: int, query: Floats, wanted: int, mask: Bits | None
) -> tuple[Floats, Offsets]:
    """The best rows by their codes: ``float32 (k,)``, ``int64 (k,)``, best first."""
    _, topk_sort, _ = _kernels()
    wanted = min(wanted, count)
    scores = np.empty(wanted, dtype=np.float32)
    rows = np.empty(wanted, dtype=np.int64)
    codes = companion.codes.verify().reshape(count, companion.quantizer.code_size)
    prepared = companion.quantizer.prepare(query)
    filled = prepared.scan(codes, _ALL if mask is None else mask, 0, scores, rows, 0)
    topk_sort(scores, rows, filled)
    return scores[:filled], rows[:filled]


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


def allowed(
    view: View,
    part: SegmentView,
    name: str,
    condition: Condition | None,
    excluded: int | None,
) -> Bits | None:
    """Bits of the rows that live, have the vector and match; None: all rows."""
    mask = part.alive
    present = part.segment.present(name, part.rows)
    if present is not None:
        mask = present if mask is None else mask[: len(present)] & present
    if condition is not None:
        matches = matching(view, part, condition)
        mask = matches if mask is None else mask[: len(matches)] & matches
    if excluded is not None:
        row = int(part.segment.locate([excluded], ids.to_array([excluded]), part.rows)[0])
        if row >= 0:
            full = np.full(-(-part.rows // 8), 0xFF, dtype=np.uint8)
            mask = full if mask is None else mask[: len(full)].copy()
            mask[row >> 3] &= ~(1 << (row & 7)) & 0xFF
    if mask is None:
        return None
    return _trim(mask, part.rows)


def _trim(mask: Bits, rows: int) -> Bits:
    """Exactly the bytes ``rows`` rows need, with no bit set beyond the last row."""
    mask = mask[: -(-rows // 8)]
    spare = rows & 7
    if spare and len(mask) and mask[-1] >> spare:
        mask = mask.copy()
        mask[-1] &= (1 << spare) - 1
    return mask


def matching(view: View, part: SegmentView, condition: Condition) -> Bits:
    """Bits of the live rows whose payload matches."""
    flags = np.zeros(part.rows, dtype=np.bool_)
    if condition.pinned is not None:
        pinned = condition.pinned
        found = part.segment.locate(pinned, ids.to_array(pinned), part.rows)
        candidates = found[part.lives(found)]
    else:
        candidates = part.live_offsets()
    test = row_test(view, part, condition.predicate)
    for row in candidates.tolist():
        flags[row] = test(row)
    return pack_bits(flags)


def row_test(view: View, part: SegmentView, predicate: Predicate) -> Callable[[int], bool]:
    """Whether one row of a segment matches."""
    names = list(view.schema)
    partial = any(part.segment.present(name, part.rows) is not None for name in names)
    key = part.segment.key

    def test(row: int) -> bool:
        has = vector_names(view, part, row) if partial else names
        return predicate(ids.external(key(row)), read_payload(part, row), has)

    return test


def public_scores(metric: str, scores: list[float]) -> list[float]:
    """Scores on the metric's own scale: similarity, or distance (smaller is better)."""
    if metric == "dot":
        return scores
    if metric == "euclid":
        return [max(0.0, -score) ** 0.5 for score in scores]
    return [max(0.0, -score) for score in scores]


def passes(metric: str, score: float, threshold: float | None) -> bool:
    """Whether a public score is as good as the threshold."""
    return threshold is None or (score >= threshold if metric == "dot" else score <= threshold)


def describe(companion: Any) -> str | None:
    """A codec in words, as ``vecdb info`` shows it."""
    if companion is None:
        return None
    codec = companion.codec
    details = [f"{key}={value}" for key, value in codec.items() if key != "kind" and value]
    return " ".join([codec["kind"], *details])
