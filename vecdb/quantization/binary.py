"""Binary quantization: one bit a dimension, whether the value is above zero.

Rows rank by Hamming distance h to the signs of the query. The share of signs that differ estimates
an angle, h / d * pi (M. Charikar, "Similarity estimation techniques from rounding algorithms",
STOC 2002): exact for random directions, rough for real data, but it puts every score on the scale
of the original metric. The estimate falls strictly with h, so it ranks as h does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vecdb.quantization.base import (
    Bytes,
    Cancelled,
    Floats,
    Ints,
    Metric,
    State,
    as_codes,
    as_query,
    as_vectors,
    check_dim,
    check_metric,
    poll,
    state_number,
)

__all__ = ["BinaryQuantizer"]

Words = npt.NDArray[np.uint64]

# Two averages are fitted: a thousand rows settle them to a few percent.
SAMPLE_ROWS = 2_000

# What 65536 dimensions of float32 can come to, and the ratio's bound (1) with room for rounding.
LARGEST_NORM = 1e41
LARGEST_RATIO = 1.01

GAUSSIAN_RATIO = math.sqrt(2.0 / math.pi)
"""L1 / (sqrt(d) * L2) of a difference with normally distributed values; used where the sample
has no two different rows to measure it on."""


class BinaryQuantizer:
    """Codes are whole 64-bit words; bit ``j`` of the row, little order, is ``vector[j] > 0``.

    ``norm`` is the typical (root mean square) length of a row, ``l1_ratio`` what turns a Euclidean
    distance into a Manhattan one: L1 is about ``l1_ratio * sqrt(d) * L2``.
    """

    kind: ClassVar[str] = "binary"

    def __init__(self, metric: Metric, dim: int, norm: float, l1_ratio: float) -> None:
        self.metric: Metric = metric
        self.dim = dim
        self.norm = norm
        self.l1_ratio = l1_ratio
        self._cosines = np.cos(np.arange(dim + 1) * (math.pi / dim))

    @property
    def code_size(self) -> int:
        return (self.dim + 63) // 64 * 8

    @staticmethod
    def sample_size(dim: int) -> int:
        return SAMPLE_ROWS

    @classmethod
    def fit(
        cls, sample: Floats, metric: str, *, cancelled: Cancelled | None = None
    ) -> BinaryQuantizer:
        """Measure the scale of ``sample: float32[m, d]``, m at least 1."""
        sample = as_vectors(sample, least=1)
        dim = sample.shape[1]
        squares = l1 = l2 = 0.0
        # A few rows at a time: float64 copies of a sample of long vectors would be large.
        step = max(1, 1_000_000 // dim)
        for start in range(0, sample.shape[0], step):
            poll(cancelled)
            block = sample[start : start + step + 1].astype(np.float64)
            squares += float(np.square(block[:step]).sum())
            differences = np.diff(block, axis=0)
            l1 += float(np.abs(differences).sum())
            l2 += float(np.sqrt(np.square(differences).sum(axis=1)).sum())
        ratio = l1 / (math.sqrt(dim) * l2) if l2 > 0.0 else GAUSSIAN_RATIO
        return cls(check_metric(metric), dim, math.sqrt(squares / sample.shape[0]), ratio)

    def encode(self, vectors: Floats) -> Bytes:
        vectors = as_vectors(vectors, self.dim)
        out = np.zeros((vectors.shape[0], self.code_size), np.uint8)
        out[:, : (self.dim + 7) // 8] = np.packbits(vectors > 0, axis=1, bitorder="little")
        return out

    def prepare(self, query: Floats) -> PreparedBinary:
        query = as_query(query, self.dim)
        signs = self.encode(query[None, :])[0].view(np.uint64)
        return PreparedBinary(signs, self._scores(query))

    def _scores(self, query: Floats) -> Floats:
        """The score of each Hamming distance 0 .. dim, strictly falling."""
        length = math.sqrt(float(np.square(query, dtype=np.float64).sum()))
        dots = length * self.norm * self._cosines
        if self.metric == "dot":
            return _strictly_falling(dots)
        squares = np.maximum(length * length + self.norm * self.norm - 2.0 * dots, 0.0)
        if self.metric == "euclid":
            return _strictly_falling(-squares)
        return _strictly_falling(-self.l1_ratio * math.sqrt(self.dim) * np.sqrt(squares))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """``norm`` and ``l1_ratio``, float64[1] each."""
        return {"norm": np.array([self.norm]), "l1_ratio": np.array([self.l1_ratio])}

    @classmethod
    def from_state(cls, metric: str, dim: int, state: State) -> BinaryQuantizer:
        norm = state_number(state, "norm", 0.0, LARGEST_NORM)
        l1_ratio = state_number(state, "l1_ratio", 0.0, LARGEST_RATIO)
        return cls(check_metric(metric), check_dim(dim), norm, l1_ratio)


def _strictly_falling(values: npt.NDArray[np.float64]) -> Floats:
    """``values``, which fall, as float32 in which each is below the one before.

    Near h = 0 the cosine is too flat for float32 to tell neighbours apart, and a query or sample of
    zeros has one score for all; equal scores would let the lower row win over the nearer one.
    Float32 in integer order (sign and magnitude to two's complement) makes "the next lower number"
    a subtraction.
    """
    # Far enough inside the range that stepping down cannot reach infinity.
    largest = float(np.finfo(np.float32).max) * 0.99
    scores = np.clip(values, -largest, largest).astype(np.float32)
    if (scores[1:] < scores[:-1]).all():  # as a rule, up to some thousand dimensions
        return scores
    bits = scores.view(np.int32).astype(np.int64)
    order = np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))
    position = np.arange(order.shape[0])
    order = np.minimum.accumulate(order + position) - position
    bits = np.where(order >= 0, order, -order | 0x80000000)
    return bits.astype(np.uint32).view(np.float32)


@dataclass(frozen=True, slots=True)
class PreparedBinary:
    """A query for sign bits: its own signs, and the score of each Hamming distance."""

    signs: Words
    table: Floats

    def _words(self, codes: Bytes) -> Words:
        return as_codes(codes, self.signs.shape[0] * 8).view(np.uint64)

    def scan(
        self, codes: Bytes, mask: Bytes, base: int, scores: Floats, rows: Ints, filled: int
    ) -> int:
        from vecdb.kernels.codes import scan_hamming
        from vecdb.kernels.topk import check_mask

        words = self._words(codes)
        check_mask(mask, words.shape[0])
        return int(scan_hamming(words, self.signs, self.table, mask, base, scores, rows, filled))

    def score_rows(self, codes: Bytes, row_numbers: Ints) -> Floats:
        from vecdb.kernels.codes import hamming_rows

        distances = np.empty(row_numbers.shape[0], np.int64)
        hamming_rows(self._words(codes), self.signs, row_numbers, distances)
        # Codes from elsewhere may have bits beyond the last dimension.
        return self.table.take(distances, mode="clip")

    def score_all(self, codes: Bytes) -> Floats:
        return self.score_rows(codes, np.arange(codes.shape[0], dtype=np.int64))
