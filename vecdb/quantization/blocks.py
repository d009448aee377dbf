"""A query for codes in blocks of 32 rows: what binary and product codes have in common.

Both are codes of 4 bits whose scores are sums of look-ups (`vecdb.kernels.fastscan`); they differ
in what the codes of a row mean, and so in what the tables of a query hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from vecdb.quantization.base import Bytes, Floats, Ints, as_codes

__all__ = ["PreparedBlocks", "blocks_shape", "prepare_blocks", "scan_together"]

_NOTHING = np.empty(0, np.float32)
BLOCK_ROWS = 32  # as in the kernels, which load numba


def blocks_shape(rows: int, m: int, columns: int) -> tuple[int, int]:
    """`fastscan.block_shape` without loading numba."""
    return -(-rows // BLOCK_ROWS), 64 * -(-m // 4) + 4 * BLOCK_ROWS * columns


class PreparedBlocks(Struct, frozen=True):
    """The tables of one query, and the numbers that make scores of their sums: see `fastscan`.

    ``score = ((sum * step + offset) * multiply[row] + add[row] + bias) * scale``. Where ``root`` is
    not 0, that is minus a squared Euclidean distance; minus ``root`` times its square root is a
    Manhattan distance.
    """

    tables: Bytes
    """uint8[1, 64 * quads]"""
    numbers: Floats
    """float32[5]: step, offset, bias, root and scale, which is above 0, so that it changes no
    order."""
    width: int
    """Bytes of a block."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        return self.tables, self.numbers, 0, _NOTHING, _NOTHING

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
        counts = np.array([filled], np.int64)
        scan_together([self], codes, count, mask, base, scores[None], rows[None], counts)
        return int(counts[0])

    def score_rows(self, codes: Bytes, row_numbers: Ints) -> Floats:
        from vecdb.kernels.codes import score_codes

        out = np.empty(row_numbers.shape[0], np.float32)
        as_codes(codes, (codes.shape[0], self.width))
        score_codes(codes, *self.arguments, row_numbers, out)
        return out

    def score_all(self, codes: Bytes, count: int) -> Floats:
        from vecdb.kernels import fastscan

        as_codes(codes, (-(-count // BLOCK_ROWS), self.width))
        out = np.empty(count, np.float32)
        fastscan.score_all(codes, self.tables, *self.numbers[:3], out)
        return self._finished(out)

    @property
    def _unfinished(self) -> bool:
        """Whether the kernels' sums still have to be turned into scores."""
        _, _, _, root, scale = self.numbers.tolist()
        return bool(root) or scale != 1.0

    def _finished(self, scores: Floats) -> Floats:
        _, _, _, root, scale = self.numbers
        if root:
            np.maximum(-scores, np.float32(0.0), out=scores)
            np.sqrt(scores, out=scores)
            scores *= -root
        if scale != 1.0:
            with np.errstate(over="ignore"):  # where the exact score overflows, too
                scores *= scale
        return scores


def prepare_blocks(
    numbers: Floats, width: int, bias: float = 0.0, root: float = 0.0, scale: float = 1.0
) -> PreparedBlocks:
    """Prepare a query from what each code adds to its scores, ``numbers: float32[m, 16]``."""
    from vecdb.kernels import fastscan

    tables = np.empty((1, 64 * -(-numbers.shape[0] // 4)), np.uint8)
    step, offset = fastscan.quantize_tables(numbers, tables[0])
    scored = np.array([step, offset, bias, root, scale], np.float32)
    return PreparedBlocks(tables, scored, width)


def scan_together(
    queries: Sequence[PreparedBlocks],
    codes: Bytes,
    count: int,
    mask: Bytes,
    base: int,
    scores: Floats,
    rows: Ints,
    filled: Ints,
) -> None:
    """`PreparedQuery.scan` for several queries of one quantizer in one pass over the codes.

    ``scores: float32[q, k]``, ``rows: int64[q, k]`` and ``filled: int64[q]`` are changed in place.
    """
    from vecdb.kernels import fastscan
    from vecdb.kernels.topk import check_mask, offer_rows

    q = scores.shape[0]
    as_codes(codes, (-(-count // BLOCK_ROWS), queries[0].width))
    check_mask(mask, count)
    ranges = np.array([[0, count]], np.int64)
    tables = queries[0].tables if q == 1 else np.concatenate([x.tables for x in queries])
    steps, offsets, biases, _, _ = np.stack([x.numbers for x in queries], axis=1)
    starts = np.array([0, q], np.int64)
    every = np.arange(q, dtype=np.int64)
    if not any(query._unfinished for query in queries):
        top = scores, rows, filled
        fastscan.scan(
            codes, tables, steps, offsets, ranges, starts, every, biases, mask, base, *top
        )
        return
    # The kernel compares numbers that are not scores yet: its best are finished before they are
    # offered.
    found, found_rows = np.empty_like(scores), np.empty_like(rows)
    counts = np.zeros(q, np.int64)
    top = found, found_rows, counts
    fastscan.scan(codes, tables, steps, offsets, ranges, starts, every, biases, mask, base, *top)
    for i, query in enumerate(queries):
        best = query._finished(found[i, : counts[i]])  # nobody has written what lies beyond
        filled[i] = offer_rows(best, found_rows[i], counts[i], 0, scores[i], rows[i], filled[i])
