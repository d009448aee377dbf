"""Binary quantization: one bit a dimension, or one and a half, two or four.

**How a row is coded.** The mean of the sample is taken off and what is left, ``r``, is rotated at
random (`vecdb.kernels.rotation`). Its values are then about normally distributed whatever the data,
and each becomes one of 2, 4 or 16 levels, the best for a normal distribution (J. Max, "Quantizing
for minimum distortion", 1960). Half a bit more is a rotation into half as many dimensions again.

**How a row is scored.** The query ``q`` keeps its numbers: with the mean ``c``,
``<x, q> = <c, q> + <r, c> + <r, q - c>``, of which only the last has to be estimated, from the
levels ``y`` of the rotated row, as ``<y, q - c> * |r|^2 / <r, y>``: without bias, and with an error
that falls with the square root of the dimension (J. Gao, C. Long, "RaBitQ: quantizing
high-dimensional vectors with a theoretical error bound for approximate nearest neighbor search",
SIGMOD 2024). ``<r, c>`` and the factor are kept with the row, in 8 bytes; for Euclidean distances,
``-|r|^2`` and twice the factor. A Manhattan distance is about ``l1_ratio * sqrt(d)`` times a
Euclidean one.

The error is in proportion to ``|q - c|``. An inner product knows no length of its query: so a
query is first given the length at which it is nearest to ``c``, and the score the own length back.

**Data of two values**, such as 1 and -1 or 0 and 1, is recognised in the sample. There a bit says
all, so such data is neither moved nor rotated, and every score is what the metric makes of the
query and the row, but for the rounding of the query to bytes; that of a query of two values is
exact. So rows of 1 and -1 rank as their Hamming distances do.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from vecdb.linear_algebra import dot
from vecdb.quantization.base import (
    Bytes,
    Cancelled,
    Floats,
    Ints,
    Metric,
    State,
    as_query,
    as_vectors,
    check_dim,
    check_metric,
    distances,
    poll,
    state_array,
    state_number,
)
from vecdb.quantization.blocks import PreparedBlocks, blocks_shape, prepare_blocks

__all__ = ["BITS", "BinaryQuantizer", "codes_shape"]

BITS: Final = (1.0, 1.5, 2.0, 4.0)

# The mean need only be small against the spread of the data; and two values in a sample rarely hide
# more.
SAMPLE_ROWS = 10_000
SAMPLE_VALUES = 8_000_000
"""32 MB of float32: beyond 800 dimensions the sample has fewer rows, down to a thousand."""

LARGEST = float(np.finfo(np.float32).max)
LARGEST_RATIO = 1.01  # 1, with room for rounding

LONGEST_QUERY: Final = 1000.0
"""The longest query, in lengths of the center; beyond, rounding to float32 would show in the
scores."""

GAUSSIAN_RATIO = math.sqrt(2.0 / math.pi)
"""L1 / (sqrt(d) * L2) of a difference with normally distributed values; used where the sample
has no two different rows to measure it on."""

# The upper half of the levels; the others are the same below zero. Values of J. Max's table.
_LEVELS: Final = {
    1: (0.7979,),
    2: (0.4528, 1.5104),
    4: (0.1284, 0.3881, 0.6568, 0.9424, 1.2562, 1.6181, 2.0690, 2.7326),
}


class BinaryQuantizer:
    """``center: float32[dim]``; ``half`` 0, or data of the two values ``center`` -+ ``half``."""

    kind: ClassVar[str] = "binary"

    def __init__(
        self, metric: Metric, bits: float, center: Floats, half: float, l1_ratio: float
    ) -> None:
        if bits not in BITS:
            raise ValueError(f"bits must be one of {BITS}, not {bits}")
        self.metric: Metric = metric
        self.dim: int = center.shape[0]
        self.bits = float(bits)
        self.center = center
        self.half = half
        self.l1_ratio = l1_ratio
        self.strays: Ints = np.empty(0, np.int64)
        self._coded = _coded_dim(self.dim, self.bits)
        self._bits = int(bits)  # of a coded dimension
        self._width = 4 // self._bits  # dimensions that share a code
        self._signs: Floats | None = None  # once used
        upper = np.array(_LEVELS[self._bits], np.float32)
        levels = np.concatenate([-upper[::-1], upper])
        if half:
            middle = float(center[0])
            with np.errstate(over="ignore"):
                levels = np.linspace(middle - half, middle + half, len(levels), dtype=np.float32)
        self._levels: Floats = levels[None]
        codes = np.arange(16)
        shifts = self._bits * np.arange(self._width)
        self._codebook = levels[codes[None] >> shifts[:, None] & (len(levels) - 1)]

    def codes_shape(self, rows: int) -> tuple[int, int]:
        return codes_shape(rows, self.dim, self.bits)

    @staticmethod
    def sample_size(dim: int) -> int:
        return min(SAMPLE_ROWS, max(1_000, SAMPLE_VALUES // dim))

    @classmethod
    def fit(
        cls,
        sample: Floats,
        metric: str,
        *,
        bits: float = 1.0,
        cancelled: Cancelled | None = None,
    ) -> BinaryQuantizer:
        """Mean and scale of ``sample: float32[m, d]``, m at least 1; or its two values."""
        sample = as_vectors(sample, least=1)
        m, dim = sample.shape
        check_metric(metric)
        poll(cancelled)
        low, high = float(sample.min()), float(sample.max())
        half = (high - low) / 2.0
        middle = low + half
        total = np.zeros(dim, np.float64)
        l1 = l2 = 0.0
        two_values = half > 0.0
        # A few rows at a time: float64 copies of a sample of long vectors would be large.
        step = max(1, 1_000_000 // dim)
        for start in range(0, m, step):
            poll(cancelled)
            block = sample[start : start + step + 1].astype(np.float64)
            total += block[:step].sum(axis=0)
            differences = np.diff(block, axis=0)
            l1 += float(np.abs(differences).sum())
            l2 += float(np.sqrt(np.square(differences).sum(axis=1)).sum())
            # Values that were normalised differ in their last bits.
            two_values = two_values and bool(
                (np.abs(np.abs(block - middle) - half) <= 1e-5 * half).all()
            )
        ratio = l1 / (math.sqrt(dim) * l2) if l2 > 0.0 else GAUSSIAN_RATIO
        if two_values:
            return cls(check_metric(metric), bits, np.full(dim, middle, np.float32), half, ratio)
        return cls(check_metric(metric), bits, (total / m).astype(np.float32), 0.0, ratio)

    def encode(self, vectors: Floats) -> Bytes:
        from vecdb.kernels.levels import encode_rotated, encode_two_values
        from vecdb.kernels.signatures import METRIC_CODES

        vectors = as_vectors(vectors, self.dim)
        out = np.empty(self.codes_shape(vectors.shape[0]), np.uint8)
        if self.half:
            encode_two_values(vectors, self.center[0], self._bits, self._width, out)
        else:
            encode_rotated(
                METRIC_CODES[self.metric],
                vectors,
                self.center,
                self._rotation(),
                self._levels,
                self._bits,
                self._width,
                out,
            )
        return out

    def errors(self, vectors: Floats) -> Floats:
        """After a rotation, a code tells the same share of whatever length is left."""
        return distances(as_vectors(vectors, self.dim), self.center)

    def cut_off(self, query: Floats, near: Floats) -> float:
        """Nothing: these codes have no bounds."""
        return 0.0

    def prepare(self, query: Floats) -> PreparedBlocks:
        from vecdb.kernels.levels import tables_of_levels
        from vecdb.kernels.rotation import rotate
        from vecdb.kernels.signatures import DOT, METRIC_CODES

        query = as_query(query, self.dim)
        _, width = self.codes_shape(1)
        numbers = np.empty((self._coded // self._width, 16), np.float32)
        if self.half:
            tables_of_levels(
                METRIC_CODES[self.metric], self._codebook, query, self._width, 0, numbers
            )
            return prepare_blocks(numbers, width)
        scale = self._length(query) if self.metric == "dot" else 1.0
        query = (query.astype(np.float64) / scale).astype(np.float32) if scale != 1.0 else query
        rotated = np.zeros(self._coded, np.float32)
        np.subtract(query, self.center, out=rotated[: self.dim])
        away = rotated[: self.dim].astype(np.float64)
        rotate(rotated, self._rotation())
        tables_of_levels(DOT, self._codebook, rotated, self._width, 0, numbers)
        if self.metric == "dot":
            bias = dot(self.center.astype(np.float64), query.astype(np.float64))
        else:
            bias = -dot(away, away)
        root = self.l1_ratio * math.sqrt(self.dim) if self.metric == "manhattan" else 0.0
        return prepare_blocks(numbers, width, min(max(bias, -LARGEST), LARGEST), root, scale)

    def _length(self, query: Floats) -> float:
        """The number that ``query`` is divided by, so that all positive multiples of it give the
        same."""
        wide, center = query.astype(np.float64), self.center.astype(np.float64)
        length, away = math.sqrt(dot(wide, wide)), math.sqrt(dot(center, center))
        if not length:
            return 1.0
        if not away:
            return length
        # Queries across from the center have no nearest length. A long one is nearly as good, but
        # not so long that the numbers kept with the rows are lost beside it.
        return max(dot(wide, center) / away, length / LONGEST_QUERY) / away

    def _rotation(self) -> Floats:
        from vecdb.kernels.rotation import make_signs

        if self._signs is None:
            self._signs = make_signs(self._coded)
        return self._signs

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """``center``, float32[dim]; ``bits``, ``half`` and ``l1_ratio``, float64[1] each;
        ``strays``, float64."""
        return {
            "center": self.center.copy(),
            "bits": np.array([self.bits]),
            "half": np.array([self.half]),
            "l1_ratio": np.array([self.l1_ratio]),
            "strays": self.strays.astype(np.float64),
        }

    @classmethod
    def from_state(cls, metric: str, dim: int, state: State) -> BinaryQuantizer:
        bits = state_number(state, "bits", 1.0, 4.0)
        if bits not in BITS:
            raise ValueError(f"quantizer state 'bits': no such number: {bits}")
        center = state_array(state, "center", (check_dim(dim),))
        half = state_number(state, "half", 0.0, LARGEST)
        if half and (center != center[0]).any():
            raise ValueError("quantizer state 'center': two values have one middle, not several")
        l1_ratio = state_number(state, "l1_ratio", 0.0, LARGEST_RATIO)
        return cls(check_metric(metric), bits, center, half, l1_ratio)


def codes_shape(rows: int, dim: int, bits: float) -> tuple[int, int]:
    """The shape of the codes of ``rows`` vectors."""
    return blocks_shape(rows, _coded_dim(dim, bits) * int(bits) // 4, 2)


def _coded_dim(dim: int, bits: float) -> int:
    """The number of dimensions after the rotation: a multiple of those that share a code, half as
    many again for 1.5."""
    width = 4 // int(bits)
    wide = -(-3 * dim // 2) if bits == 1.5 else dim
    return -(-wide // width) * width
