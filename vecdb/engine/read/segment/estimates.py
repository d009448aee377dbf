"""Estimates: what codes, or the sketches of an index, say of every row that a search may return.

Both are used alike: the best rows by their estimates are scored by their originals, and these
scores tell what the estimates are worth for this query (see ``until_sure``).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from vecdb.engine.read.segment.candidates import Best
from vecdb.engine.read.segment.kernels import scan_and_sort
from vecdb.quantization import PreparedQuery
from vecdb.storage.catalog import Bits
from vecdb.storage.derived import Index, QuantizedVectors
from vecdb.storage.format import bits_at, pack_bits

Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

_ALL = np.empty(0, dtype=np.uint8)  # the kernels' mask for "every row"
_FIRST = {"scalar": 1.5, "product": 2.0, "binary": 2.0}
_LISTED = {"scalar": 1.25, "product": 4.0, "binary": 4.0}
_LISTED_LEAST = {"scalar": 32, "product": 160, "binary": 160}
"""See `Estimates`, by kind of code."""


class Estimates(Protocol):
    """The estimates of the rows that one search may return, of one query after the other."""

    by: str
    """``codes`` or ``sketches``, for ``explain``."""
    name: str
    rows: int
    """How many are looked at, for ``explain``."""
    first: float
    """Candidates per result to begin with."""
    listed: float
    """So many times more rows are listed than are candidates at first: what is left out is judged
    by them."""
    listed_least: int
    """So many cost next to nothing beside the scan."""
    strays: Offsets
    """Rows of which estimates tell nothing, and which are not among the ``best``: all of them are
    candidates."""
    others: Floats
    """The scales of rows in general, and the share of the rows that has each: ``float32 (s, 2)``,
    see `kernels.certainty`."""

    def ask(self, query: Floats) -> None:
        """From now on they are those for this query."""
        ...

    def best(self, wanted: int) -> tuple[Floats, Offsets, Floats]:
        """The rows with the best estimates, best first: these, the rows, their scales."""
        ...

    def cut_off(self, near: Floats) -> float:
        """How much of a score is lost at least, as far as ``near: float32[n, dim]`` can say, which
        are the rows with the best estimates."""
        ...


class CodeEstimates:
    """By the codes of a segment, ``count`` rows of which those of a mask are allowed."""

    by = "codes"
    others = np.ones((1, 2), dtype=np.float32)
    _query: Floats
    _prepared: PreparedQuery

    def __init__(self, quantized: QuantizedVectors, count: int, mask: Bits | None) -> None:
        kind = quantized.codec["kind"]
        self.name, self.rows = f"{kind} codes", count
        self.first, self.listed = _FIRST[kind], _LISTED[kind]
        self.listed_least = _LISTED_LEAST[kind]
        self.strays, self._mask = _apart(quantized.quantizer.strays, quantized.regular, mask)
        self._quantized = quantized

    def ask(self, query: Floats) -> None:
        self._query, self._prepared = query, self._quantized.quantizer.prepare(query)

    def best(self, wanted: int) -> tuple[Floats, Offsets, Floats]:
        scores, rows = best_by_codes(self._quantized, self.rows, self._prepared, wanted, self._mask)
        return scores, rows, np.ones(len(rows), dtype=np.float32)

    def cut_off(self, near: Floats) -> float:
        return self._quantized.quantizer.cut_off(self._query, near)


class SketchEstimates:
    """By the sketches of all partitions of an index, of ``allowed`` rows, those of a mask."""

    by = "sketches"
    name = "sketches"
    first, listed, listed_least = 2.0, 4.0, 192
    _query: Floats

    def __init__(self, index: Index, mask: Bits, allowed: int) -> None:
        clustered, self._spread = index.clustered, index.spread
        self.rows, self.others = allowed, index.spread.scales
        self.strays, regular = _apart(index.spread.strays, index.regular, mask)
        assert regular is not None  # there is a mask
        if len(clustered.order):  # bits of positions, not of rows
            regular = pack_bits(bits_at(regular, clustered.order.astype(np.int64)))
        self._clustered, self._mask = clustered, regular
        self._blocks = index.sketch.verify().reshape(clustered.sketch_shape)

    def ask(self, query: Floats) -> None:
        self._query = query

    def best(self, wanted: int) -> tuple[Floats, Offsets, Floats]:
        clustered = self._clustered
        scores, positions = clustered.every(self._query, self._blocks, wanted, self._mask)
        scales = clustered.scales(self._blocks, positions, self._spread)
        return scores, clustered.rows_at(positions), scales

    def cut_off(self, near: Floats) -> float:
        return 0.0


def _apart(strays: Offsets, regular: Bits | None, mask: Bits | None) -> tuple[Offsets, Bits | None]:
    """The strays that a mask allows, and the mask without them."""
    if regular is None:
        return strays, mask
    if mask is None:
        return strays, regular
    return strays[bits_at(mask, strays)], mask & regular


def best_by_codes(
    quantized: QuantizedVectors, count: int, query: PreparedQuery, wanted: int, mask: Bits | None
) -> Best:
    """The best rows of a mask by their codes."""
    _, topk_sort = scan_and_sort()
    wanted = min(wanted, count)
    scores = np.empty(wanted, dtype=np.float32)
    rows = np.empty(wanted, dtype=np.int64)
    codes = quantized.codes.verify().reshape(quantized.quantizer.codes_shape(count))
    filled = query.scan(codes, count, _ALL if mask is None else mask, 0, scores, rows, 0)
    topk_sort(scores, rows, filled)
    return scores[:filled], rows[:filled]
