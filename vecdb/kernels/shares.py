"""Shares: how many of the rows near a query a filter allows, before any of them is looked at."""

from __future__ import annotations

from typing import Final

import numpy as np

from vecdb.kernels.compiling import njit, types
from vecdb.kernels.priorities import priorities
from vecdb.kernels.signatures import (
    bytes_1,
    bytes_2,
    f32,
    floats_1,
    floats_2,
    i64,
    ints_1,
    out_floats_1,
    words_1,
)

__all__ = ["shares_allowed"]

_FEWEST: Final = 128
"""Of fewer rows the share is a matter of chance."""


@njit(
    types.void(
        *(floats_2, bytes_2, floats_1, floats_1, floats_1, floats_1, floats_1, ints_1, f32),
        *(words_1, bytes_1, i64, out_floats_1),
    ),
    nogil=True,
    cache=True,
)
def shares_allowed(  # type: ignore[no-untyped-def]
    queries,
    centroids,
    low,
    scale,
    middle,
    stretch,
    constants,
    starts,
    factor,
    order,
    mask,
    wanted,
    out,
):
    """Write to ``out: float32[q]`` for what share of the rows near each query a mask has a bit: of
    those in the partitions whose centroids are nearest, up to ``wanted`` rows or some more. If it
    is less of the nearest ones among them, then that: what lies at the border of the rows that
    match is not found as soon as what is among them.

    ``order: uint32[n]``: the row at each position, empty if they are the same. The others are those
    of `visit`. Of no rows the share is 0.
    """
    partitions = centroids.shape[0]
    biases = np.empty((partitions, queries.shape[0]), np.float32)
    moved = np.empty(queries.shape, np.float32)
    priorities(queries, centroids, low, scale, middle, stretch, constants, factor, moved, biases)
    for q in range(queries.shape[0]):
        out[q] = np.float32(1.0)
        seen = 0
        allowed = 0
        while seen < wanted and partitions:
            best = 0
            for c in range(1, partitions):
                # Not of a number, which is never the largest, but it must not be the first.
                if biases[c, q] > biases[best, q] or biases[best, q] != biases[best, q]:
                    best = c
            if not biases[best, q] > np.float32(-np.inf):
                break
            biases[best, q] = -np.inf
            for position in range(starts[best], starts[best + 1]):
                row = np.int64(order[position]) if order.shape[0] else position
                allowed += (mask[row >> 3] >> (row & 7)) & 1
            seen += starts[best + 1] - starts[best]
            if seen >= _FEWEST:
                out[q] = min(out[q], np.float32(allowed) / np.float32(seen))
        if seen < _FEWEST:
            out[q] = np.float32(allowed) / np.float32(seen) if seen else np.float32(0.0)
