"""Rows of unequal length, one behind the other: columns of entries, and where each row begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Offsets = npt.NDArray[np.int64]
Columns = tuple[npt.NDArray[Any], ...]


def offsets_of(sizes: npt.NDArray[Any]) -> Offsets:
    """Where rows of these sizes begin, and where the last one ends."""
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def taken(
    offsets: npt.NDArray[Any], columns: Sequence[npt.NDArray[Any]], rows: Offsets
) -> tuple[Offsets, Columns]:
    """Copies of some rows: where each begins, and their columns."""
    starts = offsets[rows].astype(np.int64)
    sizes = offsets[rows + 1].astype(np.int64) - starts
    begins = offsets_of(sizes)
    at = np.arange(begins[-1]) + np.repeat(starts - begins[:-1], sizes)
    return begins, tuple(column[at] for column in columns)


def in_pieces(offsets: npt.NDArray[Any], rows: Offsets, most: int) -> Iterator[Offsets]:
    """The rows, about so many entries at a time."""
    ends = np.cumsum(offsets[rows + 1] - offsets[rows])
    cuts = np.flatnonzero(np.diff(ends // most)) + 1
    return (some for some in np.split(rows, cuts) if len(some))
