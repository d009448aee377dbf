"""Sketches: 4-bit product codes of residuals, with a correction for each row.

A residual is what is left of a row without its partition's centroid; every ``width`` dimensions of
it become one of 16 entries of a codebook (H. Jégou, M. Douze, C. Schmid, "Product quantization for
nearest neighbor search", PAMI 2011). Codes shrink a residual: the inner product of a query with
what they stand for is too small, and by how much differs from row to row. So each row keeps the
factor ``|r|^2 / <r, codes of r>``, which makes the estimate unbiased (J. Gao, C. Long, "RaBitQ:
quantizing high-dimensional vectors with a theoretical error bound", SIGMOD 2024). On text
embeddings that is worth half the candidates.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb.index.clustered.clustering import Clustering, Labels

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

_FIT_VALUES = 1 << 21
_SEED = 20_240_608
_ITERATIONS = 8
_TOLERANCE = 1e-3
_LEAST_PLACES = 96
"""Fewer codes a row tell too little: below 384 dimensions a code stands for fewer of them."""
_MOST_PLACES = 512
"""More codes a row tell no more than is needed: long vectors estimate well from fewer bits."""
_LARGEST_FACTOR = 8.0
"""Where codes have next to nothing in common with their row, a correction would be noise."""
_REACH = 2.0
"""Residuals are coded at half to double their usual length, others as if they were so long."""
_TINY = np.float32(1e-30)


def width_for(dim: int) -> int:
    """How many dimensions one code stands for: four, fewer for short vectors, more for long."""
    return max(1, min(4, dim // _LEAST_PLACES), dim // _MOST_PLACES)


def sample_size(dim: int) -> int:
    """How many rows ``Sketcher.fit`` wants to see."""
    return max(1024, min(4096, _FIT_VALUES // dim))


class Sketcher(Struct, frozen=True):
    """Turns rows of known partitions into blocks of `vecdb.kernels.fastscan`.

    ``codebook: float32[m * width, 16]``. Blocks have two columns of numbers for a distance (the
    correction, and what the row's own length adds), one for an inner product.
    """

    clustering: Clustering
    codebook: Floats
    width: int
    distance: bool
    usual: float = 0.0
    """How long residuals are, in the median: the codebook is made for such."""

    @classmethod
    def fit(
        cls, sample: Floats, labels: Labels, clustering: Clustering, *, distance: bool
    ) -> Sketcher:
        """Learn the codebook from rows ``float32[s, d]`` and their partitions."""
        from vecdb.kernels.clustering import CENTROIDS, chunks_of, fit_chunk

        dim = sample.shape[1]
        width = width_for(dim)
        places = -(-dim // width)
        codebook = np.zeros((places * width, CENTROIDS), dtype=np.float32)
        points, _, lengths = _residuals(sample, labels, clustering)
        usual = float(np.median(lengths))
        if np.isfinite(usual):
            points *= (_coded(lengths, usual) / np.maximum(lengths, _TINY))[:, None]
        count = len(points)
        picked = np.random.default_rng(_SEED).choice(count, CENTROIDS, replace=count < CENTROIDS)
        codebook[:dim] = points[picked].T
        for chunk, lanes in chunks_of(points, width):
            fit_chunk(lanes, count, codebook[chunk], CENTROIDS, _ITERATIONS, _TOLERANCE)
        return cls(clustering, codebook, width, distance, usual)

    @property
    def columns(self) -> int:
        """Float32 numbers beside the codes of a row."""
        return 2 if self.distance else 1

    def shape(self, rows: int) -> tuple[int, int]:
        """The shape of the blocks of so many rows."""
        return block_shape(rows, len(self.codebook), self.width, distance=self.distance)

    def encode(self, vectors: Floats, labels: Labels) -> tuple[Bytes, Floats]:
        """The blocks of rows ``float32[n, d]``, and the squared lengths of their residuals.

        To be followed by more rows, n must be a multiple of 32.
        """
        from vecdb.kernels.clustering import encode_product
        from vecdb.kernels.residuals import products_with_codes

        points, squares, lengths = _residuals(vectors, labels, self.clustering, self.usual)
        blocks = np.empty(self.shape(len(points)), dtype=np.uint8)
        encode_product(points, self.codebook, self.width, blocks)
        products = np.empty(len(points), dtype=np.float32)
        products_with_codes(points, self.codebook, self.width, blocks, products)
        coded = _coded(lengths, self.usual)
        corrections = lengths / np.maximum(coded, _TINY)
        large = products * _LARGEST_FACTOR > coded * coded
        np.divide(lengths * coded, products, out=corrections, where=large & (products > 0))
        numbers = np.zeros((self.columns, 32 * len(blocks)), dtype=np.float32)
        if self.distance:
            numbers[0, : len(points)] = 2.0 * corrections
            # |q - c - r|^2 = |q - c|^2 - 2 q.r + (2 c.r + |r|^2); 2 c.r + |r|^2 = |c + r|^2 - |c|^2
            centroids = np.einsum("ij,ij->i", *[self.clustering.centroids()] * 2)
            numbers[1, : len(points)] = centroids[labels] - squares
        else:
            numbers[0, : len(points)] = corrections
        # As `vecdb.kernels.fastscan` has them: beside the codes of 32 rows, each column of these.
        beside = blocks[:, -128 * self.columns :].view(np.float32)
        beside[:] = numbers.reshape(self.columns, -1, 32).swapaxes(0, 1).reshape(beside.shape)
        return blocks, lengths * lengths


def block_shape(rows: int, lines: int, width: int, *, distance: bool) -> tuple[int, int]:
    """The shape of a sketch: blocks of 32 rows, and bytes a block."""
    places = lines // width
    return -(-rows // 32), 64 * -(-places // 4) + 128 * (2 if distance else 1)


def _coded(lengths: Floats, usual: float) -> Floats:
    """At what lengths residuals are coded. Outliers would be all that a codebook learns, and their
    wide step, which all sub-quantizers share, would leave nothing of the others."""
    if not usual > 0.0:
        return lengths
    coded: Floats = np.clip(lengths, np.float32(usual / _REACH), np.float32(usual * _REACH))
    return coded


def _residuals(
    vectors: Floats, labels: Labels, clustering: Clustering, usual: float = 0.0
) -> tuple[Floats, Floats, Floats]:
    """What is left of rows without their centroids, at the length at which it is coded; the squares
    of the rows' distances to the middle; how long the residuals are."""
    from vecdb.kernels.residuals import residuals

    out = np.empty(vectors.shape, dtype=np.float32)
    squares = np.empty(len(vectors), dtype=np.float32)
    lengths = np.empty(len(vectors), dtype=np.float32)
    least, most = (usual / _REACH, usual * _REACH) if usual > 0.0 else (0.0, np.inf)
    residuals(
        np.ascontiguousarray(vectors),
        *(labels, clustering.codes, clustering.low, clustering.scale),
        *(clustering.stretch, clustering.middle, least, most, out, squares, lengths),
    )
    return out, squares, lengths
