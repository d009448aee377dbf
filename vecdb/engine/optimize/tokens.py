"""The centroids of a segment's tokens, written when the segment is built."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from vecdb.engine.schema import VectorSchema
from vecdb.index.centroids import centroids_for, fit_centroids, sample_for
from vecdb.index.clustered.clustering import Poll
from vecdb.storage.builder import SegmentBuilder

_SEED = 20_261_201  # builds are repeatable: same rows, same centroids
_AT_ONCE = 1 << 14
"""Tokens between two turns of searches."""


# Numbers that overflow are near no centroid, or near any: rows are scored by their tokens.
@np.errstate(over="ignore", invalid="ignore")
def index_tokens(builder: SegmentBuilder, vector: VectorSchema, poll: Poll) -> None:
    """Write the centroids of a name of multivectors, and which is the nearest of each token."""
    tokens = builder.tokens(vector.name)
    count = len(tokens)
    chosen = np.random.default_rng(_SEED).choice(count, sample_for(count), replace=False)
    sample = tokens[np.sort(chosen)] if count else np.zeros((1, vector.size), dtype=np.float32)
    centroids = fit_centroids(sample, centroids_for(count), poll)

    def labels() -> Iterator[npt.NDArray[np.uint8]]:
        for start in range(0, count, _AT_ONCE):
            poll()
            some = centroids.assign(tokens[start : start + _AT_ONCE])
            yield some.astype("<u2").view(np.uint8).reshape(-1, 2)

    builder.add_token_index(vector.name, centroids.state(), count, labels())
