"""Each pass over codes agrees with one line of numpy, for codes of every width, on odd shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vecdb.kernels import columns

SIZES = (0, 1, 7, 8, 63, 64, 65, 200, 1000)
WIDTHS = (np.uint8, np.uint16, np.uint32, np.uint64)


def codes_of(rng: np.random.Generator, rows: int, kind: Any) -> Any:
    """Small codes, the least and the largest; read-only, as those of a mapped file."""
    codes = rng.integers(0, 200, rows).astype(kind)
    codes[::17] = np.iinfo(kind).max
    codes.setflags(write=False)
    return codes


def packed(flags: Any) -> Any:
    return np.packbits(flags, bitorder="little")


@pytest.mark.parametrize("kind", WIDTHS)
@pytest.mark.parametrize("rows", SIZES)
def test_codes_of_an_interval_are_found(rows: int, kind: Any) -> None:
    rng = np.random.default_rng(rows)
    codes, most = codes_of(rng, rows, kind), int(np.iinfo(kind).max)
    for first, last in ((0, 0), (7, 7), (20, 50), (1, most), (0, most), (150, most), (most, most)):
        bits = rng.integers(0, 256, -(-rows // 8)).astype(np.uint8)
        before = bits.copy()
        columns.within(codes, first, last - first, bits)
        np.testing.assert_array_equal(bits, before | packed((codes >= first) & (codes <= last)))


@pytest.mark.parametrize("kind", WIDTHS)
@pytest.mark.parametrize("rows", SIZES)
def test_codes_are_looked_up(rows: int, kind: Any) -> None:
    rng = np.random.default_rng(rows)
    codes = codes_of(rng, rows, kind)
    for size in (1, 2, 150, 300):
        table = rng.integers(0, 2, size).astype(np.uint8)
        table[-1] = 0
        bits = rng.integers(0, 256, -(-rows // 8)).astype(np.uint8)
        before = bits.copy()
        columns.look_up(codes, table, bits)
        at = np.minimum(codes, np.uint64(size - 1)).astype(int)
        np.testing.assert_array_equal(bits, before | packed(table[at]))


@pytest.mark.parametrize("kind", WIDTHS)
@pytest.mark.parametrize("rows", SIZES)
def test_codes_are_counted(rows: int, kind: Any) -> None:
    rng = np.random.default_rng(rows)
    codes = codes_of(rng, rows, kind)
    for share in (None, 0.0, 0.02, 0.5, 1.0):
        chosen = np.ones(rows, bool) if share is None else rng.random(rows) < share
        for size in (0, 100, 256):
            counts = np.zeros(size, np.int64)
            mask = np.empty(0, np.uint8) if share is None else packed(chosen)
            if share is not None and rows == 0:
                continue  # a mask of no bytes means all rows
            columns.count(codes, mask, counts)
            kept = codes[chosen & (codes < size)].astype(int)
            np.testing.assert_array_equal(counts, np.bincount(kept, minlength=size))


def test_masks_and_tables_that_are_too_short_are_refused() -> None:
    codes = np.zeros(9, np.uint8)
    with pytest.raises(ValueError, match="bits"):
        columns.within(codes, 0, 0, np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match="bits"):
        columns.look_up(codes, np.zeros(1, np.uint8), np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match="empty"):
        columns.look_up(codes, np.zeros(0, np.uint8), np.zeros(2, np.uint8))
    with pytest.raises(ValueError, match="mask"):
        columns.count(codes, np.ones(1, np.uint8), np.zeros(1, np.int64))
