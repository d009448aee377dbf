"""`shares_allowed` against numpy, on odd shapes."""

from __future__ import annotations

import numpy as np
import pytest

from vecdb.kernels.priorities import priorities
from vecdb.kernels.shares import shares_allowed

LEAST = 128


@pytest.mark.parametrize("factor", [1.0, 2.0])
@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize(
    ("rows", "partitions", "dim", "wanted"),
    [(1000, 17, 40, 300), (999, 40, 7, 1), (1001, 3, 33, 5000), (90, 5, 16, 60), (0, 1, 8, 9)],
)
@pytest.mark.parametrize("asked", [1, 3])
def test_the_rows_near_a_query_are_counted(
    factor: float, moved: bool, rows: int, partitions: int, dim: int, wanted: int, asked: int
) -> None:
    random = np.random.default_rng(rows + dim)
    starts = np.array(
        [0, *np.sort(random.integers(0, rows + 1, partitions - 1)), rows], dtype=np.int64
    )
    numbers = random.standard_normal((4, dim)).astype(np.float32)
    index = (
        random.integers(0, 256, (partitions, dim), dtype=np.uint8),
        *(numbers[0], np.abs(numbers[1]), numbers[2]),
        *random.standard_normal((2, partitions)).astype(np.float32),
    )
    index[5][0] = np.nan  # what overflowed is not near
    queries = random.standard_normal((asked, dim)).astype(np.float32)
    order = random.permutation(rows).astype(np.uint32) if moved else np.empty(0, np.uint32)
    allowed = random.random(rows) < 0.4
    out = np.empty(asked, np.float32)
    mask = np.packbits(allowed, bitorder="little")
    shares_allowed(queries, *index, starts, factor, order, mask, wanted, out)

    biases = np.empty((partitions, asked), np.float32)
    priorities(queries, *index, factor, np.empty_like(queries), biases)
    at = allowed[order] if moved else allowed
    for q in range(asked):
        nearest = [c for c in np.argsort(-biases[:, q]) if biases[c, q] == biases[c, q]]
        sizes = np.cumsum([starts[c + 1] - starts[c] for c in nearest] or [0])
        counts = np.cumsum([at[starts[c] : starts[c + 1]].sum() for c in nearest] or [0])
        last = min(int(np.searchsorted(sizes, wanted)), len(sizes) - 1)
        sizes, counts = sizes[: last + 1], counts[: last + 1]
        enough = sizes >= LEAST
        whole = counts[-1] / sizes[-1] if sizes[-1] else 0.0
        expected = (counts[enough] / sizes[enough]).min() if enough.any() else whole
        assert out[q] == np.float32(expected)
