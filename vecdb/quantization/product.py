"""Product quantization: four bits for each chunk of neighbouring dimensions.

H. Jégou, M. Douze, C. Schmid, "Product quantization for nearest neighbor search", PAMI 2011. Each
chunk has its own 16 centroids from k-means; a row's code names the nearest in each. A query is not
quantized: per chunk it has a table of what each centroid adds to the score, under the real metric,
and a row's score is a sum of look-ups. Centroids are chosen by Euclidean distance always, which
keeps codes the same whatever the metric.

Customary are 256 centroids, a byte, for chunks twice as wide. Of the same size, four bits find a
little less, but their tables fit a register (`vecdb.kernels.shuffle`), and they are scanned many
times as fast.

**Rotation.** Where a code stands for two dimensions or more, rows are turned first so that the
variance of the data is shared out evenly among chunks, correlated dimensions in one: principal
components, dealt out in turn (T. Ge and others, "Optimized product quantization", CVPR 2013, the
parametric solution). Their iterations found nothing more in text embeddings. There is none for
Manhattan distances, which a rotation changes; none beyond 1024 dimensions, where the matrix would
outgrow the codes of a small collection.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from vecdb.linear_algebra import principal_components, product
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

__all__ = ["COMPRESSIONS", "ProductQuantizer", "codes_shape"]

CENTROIDS: Final = 16

COMPRESSIONS: Final = (8, 16, 32, 64)

# 500 points a centroid, and enough for the principal components of 1024 dimensions.
SAMPLE_ROWS = 8_192
SAMPLE_VALUES = 8_000_000
"""32 MB of float32: beyond 976 dimensions the sample has fewer rows, down to 1024."""

MOST_ROTATED = 1_024  # dimensions: a matrix of 4 MB

ITERATIONS = 20
TOLERANCE = 1e-3
SEED = 42


class ProductQuantizer:
    """``compression`` 8, 16, 32 or 64: 1 to 8 dimensions a chunk; the last may be narrower.

    ``codebook: float32[dim, 16]``: row ``j`` holds coordinate ``j`` of the 16 centroids of the
    chunk dimension ``j`` belongs to. ``rotation: float32[dim, dim]``: what rows and queries are
    multiplied with first; of shape (0, 0): nothing.
    """

    kind: ClassVar[str] = "product"

    def __init__(
        self, metric: Metric, compression: int, codebook: Floats, rotation: Floats
    ) -> None:
        if compression not in COMPRESSIONS:
            raise ValueError(f"compression must be one of {COMPRESSIONS}, not {compression}")
        self.metric: Metric = metric
        self.dim: int = codebook.shape[0]
        self.compression = compression
        self.width = compression // 8
        self.codebook = codebook
        self.rotation = rotation
        self.strays: Ints = np.empty(0, np.int64)

    @property
    def chunks(self) -> int:
        return -(-self.dim // self.width)

    def codes_shape(self, rows: int) -> tuple[int, int]:
        return codes_shape(rows, self.dim, self.compression)

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
        """Rotation and centroids from ``sample: float32[m, d]``, m at least 1; the same ones every
        time.

        With no more than 16 rows they are the centroids themselves.
        """
        from vecdb.kernels.clustering import chunks_of, fit_chunk

        sample = as_vectors(sample, least=1)
        m, dim = sample.shape
        k = min(m, CENTROIDS)
        nothing = np.empty((0, 0), np.float32)
        codebook = np.empty((dim, CENTROIDS), np.float32)
        quantizer = cls(check_metric(metric), compression, codebook, nothing)
        width = quantizer.width
        poll(cancelled)
        if metric != "manhattan" and 1 < width < dim <= MOST_ROTATED and m > CENTROIDS:
            quantizer.rotation = _rotation(sample, width)
            sample = quantizer._rotated(sample)
        # The first centroids are random rows, the same rows in each chunk. Entries beyond k repeat
        # the first centroid: among equals the first is chosen, so no code names them.
        first = np.random.default_rng(SEED).permutation(m)[:k]
        first = np.concatenate([first, np.full(CENTROIDS - k, first[0])])
        codebook[:] = sample[first].T
        if m <= CENTROIDS:
            return quantizer
        for chunk, points in chunks_of(sample, width):
            poll(cancelled)
            fit_chunk(points, m, codebook[chunk], k, ITERATIONS, TOLERANCE)
        return quantizer

    def _rotated(self, vectors: Floats) -> Floats:
        return product(vectors, self.rotation) if self.rotation.size else vectors

    def encode(self, vectors: Floats) -> Bytes:
        from vecdb.kernels.clustering import encode_product

        vectors = self._rotated(as_vectors(vectors, self.dim))
        out = np.empty(self.codes_shape(vectors.shape[0]), np.uint8)
        encode_product(vectors, self.codebook, self.width, out)
        return out

    def errors(self, vectors: Floats) -> Floats:
        """Far from where most centroids are, none is near."""
        middle = np.median(self.codebook, axis=1)
        if self.rotation.size:
            middle = product(self.rotation, middle)
        return distances(as_vectors(vectors, self.dim), middle.astype(np.float32))

    def decode(self, codes: Bytes, count: int) -> Floats:
        """The vectors, ``float32[count, dim]``, that ``codes`` stand for."""
        from vecdb.kernels.fastscan import unpack

        names = np.empty((count, self.chunks), np.uint8)
        unpack(codes, names)
        dimensions = np.arange(self.dim)
        vectors = self.codebook[dimensions, names[:, dimensions // self.width]]
        return product(vectors, self.rotation.T) if self.rotation.size else vectors

    def cut_off(self, query: Floats, near: Floats) -> float:
        """Nothing: these codes have no bounds."""
        return 0.0

    def prepare(self, query: Floats) -> PreparedBlocks:
        from vecdb.kernels.levels import tables_of_levels
        from vecdb.kernels.signatures import METRIC_CODES

        query = self._rotated(as_query(query, self.dim))
        numbers = np.empty((self.chunks, CENTROIDS), np.float32)
        code, width = METRIC_CODES[self.metric], self.width
        tables_of_levels(code, self.codebook, query, width, width, numbers)
        return prepare_blocks(numbers, self.codes_shape(1)[1])

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """``codebook``, float32[dim, 16], ``rotation``, float32[dim, dim] or [0, 0],
        ``compression``, float64[1], and ``strays``, float64."""
        return {
            "codebook": self.codebook.copy(),
            "rotation": self.rotation.copy(),
            "compression": np.array([float(self.compression)]),
            "strays": self.strays.astype(np.float64),
        }

    @classmethod
    def from_state(cls, metric: str, dim: int, state: State) -> ProductQuantizer:
        compression = state_number(state, "compression", 8.0, 64.0)
        if compression not in COMPRESSIONS:
            raise ValueError(f"quantizer state: no such compression: {compression}")
        codebook = state_array(state, "codebook", (check_dim(dim), CENTROIDS))
        turned = dim <= MOST_ROTATED and "rotation" in state and state["rotation"].size
        side = dim if turned else 0
        rotation = state_array(state, "rotation", (side, side))
        return cls(check_metric(metric), int(compression), codebook, rotation)


def codes_shape(rows: int, dim: int, compression: int) -> tuple[int, int]:
    """The shape of the codes of ``rows`` vectors."""
    return blocks_shape(rows, -(-dim // (compression // 8)), 0)


def _rotation(sample: Floats, width: int) -> Floats:
    """Principal components of ``sample``, dealt out to chunks so that the product of variances,
    the volume a chunk's centroids have to cover, comes out even."""
    dim = sample.shape[1]
    centred = sample.astype(np.float64)
    centred -= centred.mean(axis=0)
    variances, components = principal_components(centred)
    largest = float(variances[-1])
    if not largest > 0.0:
        return np.empty((0, 0), np.float32)
    # Above 1, so that whatever a chunk is given makes it fuller.
    volumes = np.log(np.maximum(variances / largest, 1e-6) * 1e6) + 1e-9
    room = np.full(-(-dim // width), width)
    room[-1] = dim - width * (len(room) - 1)
    filled = np.zeros(len(room))
    chosen: list[list[int]] = [[] for _ in room]
    for component in range(dim - 1, -1, -1):
        chunk = int(np.argmin(np.where(room > 0, filled, np.inf)))
        chosen[chunk].append(component)
        filled[chunk] += volumes[component]
        room[chunk] -= 1
    order = [component for chunk in chosen for component in chunk]
    return np.ascontiguousarray(components[:, order], dtype=np.float32)
