"""Scalar quantization: one byte a dimension, 256 levels between bounds of that dimension.

Bounds are *per dimension*: a dimension with large values costs its neighbours nothing. With a
``quantile`` below 1, that share of a dimension's values lies between its bounds and the rest, half
on either side, is clipped to them. Only rows are quantized: a query keeps its float32 values.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb.linear_algebra import dot
from vecdb.quantization.base import (
    NO_TABLES,
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
    distances,
    poll,
    state_array,
    state_number,
)

__all__ = ["ScalarQuantizer"]

LEVELS = 256

# Quantiles of 0.5 % and 99.5 % from 20 000 rows rest on 100 values each.
SAMPLE_ROWS = 20_000
SAMPLE_VALUES = 8_000_000
"""32 MB of float32: beyond 400 dimensions the sample has fewer rows, down to a thousand."""

_ZERO = np.zeros(1, np.float32)

# Dimensions to sort at a time: bounds memory, and gives cancelling a chance.
_COLUMNS_AT_ONCE = 64


class ScalarQuantizer:
    """Level ``c`` of dimension ``j`` stands for ``lower[j] + c * (upper[j] - lower[j]) / 255``."""

    kind: ClassVar[str] = "scalar"

    def __init__(self, metric: Metric, lower: Floats, upper: Floats, quantile: float) -> None:
        self.metric: Metric = metric
        self.dim: int = lower.shape[0]
        self.quantile = quantile
        self.strays: Ints = np.empty(0, np.int64)
        self._middle: Floats | None = None  # of the sample, and how far its rows are from it
        self._usual = 0.0
        self._set_bounds(lower, upper)

    def _set_bounds(self, lower: Floats, upper: Floats) -> None:
        self.lower = lower
        self.upper = upper
        # In float64: the difference of two float32 may be too large for a third.
        step = (upper.astype(np.float64) - lower.astype(np.float64)) / (LEVELS - 1)
        # A constant dimension has one level: step 0. So has one too narrow for its steps to have
        # a reciprocal in float32.
        step[step < 1e-37] = 0.0
        self._step = step.astype(np.float32)
        inverse = np.zeros_like(step)
        np.divide(1.0, step, out=inverse, where=step > 0.0)
        self._inverse = inverse.astype(np.float32)

    def codes_shape(self, rows: int) -> tuple[int, int]:
        return rows, self.dim

    @staticmethod
    def sample_size(dim: int) -> int:
        return min(SAMPLE_ROWS, max(1_000, SAMPLE_VALUES // dim))

    @classmethod
    def fit(
        cls,
        sample: Floats,
        metric: str,
        *,
        quantile: float | None = None,
        cancelled: Cancelled | None = None,
    ) -> ScalarQuantizer:
        """Bounds from ``sample: float32[m, d]``, m at least 1.

        ``quantile``, 0.5 to 1, is the share of each dimension's values inside its bounds; None and
        1 mean all of them. Rows outside the bounds are clipped: if nothing may be, show the
        quantizer every row with `widen` before encoding.
        """
        check_metric(metric)
        share = 1.0 if quantile is None else float(quantile)
        if not 0.5 <= share <= 1.0:
            raise ValueError(f"quantile must be between 0.5 and 1, not {quantile}")
        sample = as_vectors(sample, least=1)
        poll(cancelled)
        if share == 1.0:
            bounds = np.stack([sample.min(axis=0), sample.max(axis=0)])
        else:
            tail = (1.0 - share) / 2.0
            bounds = np.empty((2, sample.shape[1]), np.float32)
            for start in range(0, sample.shape[1], _COLUMNS_AT_ONCE):
                poll(cancelled)
                columns = np.ascontiguousarray(sample[:, start : start + _COLUMNS_AT_ONCE].T)
                bounds[:, start : start + _COLUMNS_AT_ONCE] = np.quantile(
                    columns, [tail, 1.0 - tail], axis=1, overwrite_input=True
                )
        found = cls(check_metric(metric), bounds[0].copy(), bounds[1].copy(), share)
        found._middle = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        found._usual = float(np.median(distances(sample, found._middle)))
        return found

    def widen(self, vectors: Floats) -> None:
        """Take ``vectors`` into the bounds, if these are to hold everything (no quantile).

        For the rows a sample left out. Changes what codes mean: only before the first `encode`.
        """
        vectors = as_vectors(vectors, self.dim)
        if self.quantile < 1.0 or vectors.shape[0] == 0:
            return
        self._set_bounds(
            np.minimum(self.lower, vectors.min(axis=0)), np.maximum(self.upper, vectors.max(axis=0))
        )

    def encode(self, vectors: Floats) -> Bytes:
        from vecdb.kernels import codes

        vectors = as_vectors(vectors, self.dim)
        out = np.empty(vectors.shape, np.uint8)
        codes.encode_scalar(vectors, self.lower, self._inverse, out)
        return out

    def errors(self, vectors: Floats) -> Floats:
        """What clipping takes from ``vectors``, as a multiple of what is lost between levels; or,
        if that is more, how far they are from the middle of the sample, as a multiple of what is
        usual there. A row so far out is coded as well as others, but by its own measure: what is
        learned from one about the other kind is wrong."""
        vectors = as_vectors(vectors, self.dim)
        clipped = distances(vectors, np.clip(vectors, self.lower, self.upper))
        rounded = float(np.sqrt(np.square(self._step, dtype=np.float64).sum() / 12.0))
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            found: Floats = np.nan_to_num(np.hypot(clipped / rounded, np.float32(1.0)), nan=1.0)
            if self._middle is not None:
                away = distances(vectors, self._middle) / np.float32(self._usual)
                found = np.maximum(found, np.nan_to_num(away, nan=1.0))
        return found.astype(np.float32)

    def cut_off(self, query: Floats, near: Floats) -> float:
        """What clipping takes from the score of a row like ``query``. Errors of clipped rows are
        rare and large, and largest where a query matches them: few scores do not show them."""
        if self.quantile == 1.0 or not len(near):
            return 0.0
        like = as_query(query, self.dim).astype(np.float64)
        if self.metric == "dot":
            length = float(np.median(np.linalg.norm(near.astype(np.float64), axis=1)))
            like *= length / max(float(np.linalg.norm(like)), 1e-300)
        beyond = like - np.clip(like, self.lower, self.upper)
        match self.metric:
            case "dot":
                return max(float(query @ beyond), 0.0)
            case "euclid":
                return float(beyond @ beyond)
            case "manhattan":
                return float(np.abs(beyond).sum())

    def decode(self, codes: Bytes) -> Floats:
        """The vectors, ``float32[n, dim]``, that ``codes`` stand for."""
        codes = as_codes(codes, (codes.shape[0], self.dim))
        # By halves: from one end of float32 to the other it is twice as far as the largest number.
        half = np.float32(0.5)
        vectors: Floats = np.multiply(codes, self._step * half, dtype=np.float32)
        vectors += self.lower * half
        vectors *= np.float32(2.0)
        return vectors

    def prepare(self, query: Floats) -> PreparedScalar:
        from vecdb.kernels.signatures import METRIC_CODES

        query = as_query(query, self.dim)
        code = METRIC_CODES[self.metric]
        # Where numbers overflow here, the exact metric overflows too: infinity is the answer.
        with np.errstate(over="ignore"):
            if self.metric == "dot":
                constant = dot(query.astype(np.float64), self.lower.astype(np.float64))
                numbers = np.array([constant], np.float32)
                return PreparedScalar(code, query, query * self._step, numbers)
            return PreparedScalar(code, query - self.lower, self._step, _ZERO)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """``lower`` and ``upper``, float32[dim]; ``quantile``, float64[1]; ``strays``, float64."""
        return {
            "lower": self.lower.copy(),
            "upper": self.upper.copy(),
            "quantile": np.array([self.quantile]),
            "strays": self.strays.astype(np.float64),
        }

    @classmethod
    def from_state(cls, metric: str, dim: int, state: State) -> ScalarQuantizer:
        shape = (check_dim(dim),)
        lower = state_array(state, "lower", shape)
        upper = state_array(state, "upper", shape)
        if (lower > upper).any():
            raise ValueError("quantizer state: a lower bound is above its upper bound")
        return cls(check_metric(metric), lower, upper, state_number(state, "quantile", 0.5, 1.0))


class PreparedScalar(Struct, frozen=True):
    """A query for scalar codes; the fields are the arguments of `kernels.codes.scan_scalar`."""

    metric_code: int
    point: Floats
    step: Floats
    numbers: Floats
    """The constant that is added: ``float32[1]``."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        return NO_TABLES, self.numbers, self.metric_code, self.point, self.step

    def scan(
        self,
        codes: Bytes,
        count: int,
        mask: Bytes,
        base: int,
        scores: Floats,
        rows: Ints,
        filled: int,
    ) -> int:
        from vecdb.kernels.codes import scan_scalar
        from vecdb.kernels.topk import check_mask

        as_codes(codes, (count, self.point.shape[0]))
        check_mask(mask, count)
        query = (self.point, self.step, self.numbers[0])
        return int(scan_scalar(self.metric_code, codes, *query, mask, base, scores, rows, filled))

    def score_rows(self, codes: Bytes, row_numbers: Ints) -> Floats:
        from vecdb.kernels.codes import score_codes

        as_codes(codes, (codes.shape[0], self.point.shape[0]))
        out = np.empty(row_numbers.shape[0], np.float32)
        score_codes(codes, *self.arguments, row_numbers, out)
        return out

    def score_all(self, codes: Bytes, count: int) -> Floats:
        as_codes(codes, (count, self.point.shape[0]))
        return self.score_rows(codes, np.arange(count, dtype=np.int64))
