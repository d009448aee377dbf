"""Product quantization: one byte for each chunk of neighbouring dimensions.

H. Jégou, M. Douze, C. Schmid, "Product quantization for nearest neighbor search", PAMI 2011. Each
chunk has its own 256 centroids from k-means; a row's code names the nearest in each. A query is not
quantized: per chunk it has a table of what each centroid adds to the score, under the real metric,
and a row's score is a sum of look-ups. Centroids are chosen by Euclidean distance always, which
keeps codes the same whatever the metric.
"""

from __future__ import annotations

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
    state_array,
    state_number,
)

__all__ = ["ProductQuantizer"]

CENTROIDS = 256

COMPRESSIONS = (4, 8, 16, 32, 64)

# 40 points a centroid, as the customary 39 has it. More gained nothing measurable.
SAMPLE_ROWS = 40 * CENTROIDS
SAMPLE_VALUES = 16_000_000
"""64 MB of float32: beyond 1 562 dimensions the sample has fewer rows, down to 1024."""

ITERATIONS = 20
TOLERANCE = 1e-3
SEED = 42


class ProductQuantizer:
    """``compression`` 4, 8, 16, 32 or 64: 1 to 16 dimensions a chunk; the last may be narrower.

    ``codebook: float32[dim, 256]``: row ``j`` holds coordinate ``j`` of the 256 centroids of the
    chunk dimension ``j`` belongs to.
    """

    kind: ClassVar[str] = "product"

    def __init__(self, metric: Metric, compression: int, codebook: Floats) -> None:
        if compression not in COMPRESSIONS:
            raise ValueError(f"compression must be one of {COMPRESSIONS}, not {compression}")
        self.metric: Metric = metric
        self.dim: int = codebook.shape[0]
        self.compression = compression
        self.width = compression // 4
        self.codebook = codebook

    @property
    def code_size(self) -> int:
        return -(-self.dim // self.width)

    @staticmethod
    def sample_size(dim: int) -> int:
        return min(SAMPLE_ROWS, max(1_024, SAMPLE_VALUES // dim))

    @classmethod
    def fit(
        cls,
        sample: Floats,
        metric: str,
        *,
        compression: int = 16,
        cancelled: Cancelled | None = None,
    ) -> ProductQuantizer:
        """Centroids from ``sample: float32[m, d]``, m at least 1; the same ones every time.

        With no more than 256 rows they are the centroids themselves.
        """
        from vecdb.kernels.clustering import fit_chunk

        sample = as_vectors(sample, least=1)
        m, dim = sample.shape
        k = min(m, CENTROIDS)
        quantizer = cls(check_metric(metric), compression, np.empty((dim, CENTROIDS), np.float32))
        # The first centroids are random rows, the same rows in each chunk. Places beyond k repeat
        # the first centroid: among equals the first is chosen, so no code names them.
        first = np.random.default_rng(SEED).permutation(m)[:k]
        first = np.concatenate([first, np.full(CENTROIDS - k, first[0])])
        labels = np.empty(m, np.uint8)
        errors = np.empty(m, np.float32)
        for start in range(0, dim, quantizer.width):
            poll(cancelled)
            points = np.ascontiguousarray(sample[:, start : start + quantizer.width])
            centroids = np.ascontiguousarray(points[first].T)
            if m > CENTROIDS:
                fit_chunk(points, centroids, k, ITERATIONS, TOLERANCE, labels, errors)
            quantizer.codebook[start : start + quantizer.width] = centroids
        return quantizer

    def encode(self, vectors: Floats) -> Bytes:
        from vecdb.kernels.clustering import encode_product

        vectors = as_vectors(vectors, self.dim)
        out = np.empty((vectors.shape[0], self.code_size), np.uint8)
        encode_product(vectors, self.codebook, self.width, out)
        return out

    def decode(self, codes: Bytes) -> Floats:
        """The vectors, ``float32[n, dim]``, that ``codes`` stand for."""
        chunk = np.arange(self.dim) // self.width
        return self.codebook[np.arange(self.dim), as_codes(codes, self.code_size)[:, chunk]]

    def prepare(self, query: Floats) -> PreparedProduct:
        from vecdb.kernels.clustering import product_tables
        from vecdb.kernels.signatures import METRIC_CODES

        query = as_query(query, self.dim)
        tables = np.empty((self.code_size, CENTROIDS), np.float32)
        product_tables(METRIC_CODES[self.metric], self.codebook, query, self.width, tables)
        return PreparedProduct(tables.reshape(-1))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """``codebook``, float32[dim, 256], and ``compression``, float64[1]."""
        return {
            "codebook": self.codebook.copy(),
            "compression": np.array([float(self.compression)]),
        }

    @classmethod
    def from_state(cls, metric: str, dim: int, state: State) -> ProductQuantizer:
        compression = state_number(state, "compression", 4.0, 64.0)
        if compression not in COMPRESSIONS:
            raise ValueError(f"quantizer state: no such compression: {compression}")
        codebook = state_array(state, "codebook", (check_dim(dim), CENTROIDS))
        return cls(check_metric(metric), int(compression), codebook)


@dataclass(frozen=True, slots=True)
class PreparedProduct:
    """A query for product codes: its look-up tables, ``float32[chunks * 256]``."""

    tables: Floats

    def scan(
        self, codes: Bytes, mask: Bytes, base: int, scores: Floats, rows: Ints, filled: int
    ) -> int:
        from vecdb.kernels.codes import scan_tables
        from vecdb.kernels.topk import check_mask

        as_codes(codes, self.tables.shape[0] // CENTROIDS)
        check_mask(mask, codes.shape[0])
        return int(scan_tables(codes, self.tables, mask, base, scores, rows, filled))

    def score_rows(self, codes: Bytes, row_numbers: Ints) -> Floats:
        from vecdb.kernels.codes import score_tables_rows

        as_codes(codes, self.tables.shape[0] // CENTROIDS)
        out = np.empty(row_numbers.shape[0], np.float32)
        score_tables_rows(codes, self.tables, row_numbers, out)
        return out

    def score_all(self, codes: Bytes) -> Floats:
        return self.score_rows(codes, np.arange(codes.shape[0], dtype=np.int64))
