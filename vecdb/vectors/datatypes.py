"""What the numbers of a vector are, in memory, in files and in the log."""

from __future__ import annotations

from typing import Final

import numpy as np

STORED = np.dtype("<f4")
INDICES = np.dtype("<u4")
"""Of the places of numbers in a sparse vector."""

SPARSE: Final = 0
"""Stands for the dimension of sparse vectors, which have none: any of 2^32 numbers may be there."""

_USUAL = 1024
"""Bytes of a sparse vector: 128 numbers and their indices, as a text has words. What is planned by
sizes need not know them."""


def bytes_per_vector(*dims: int) -> int:
    """Bytes of a vector, or of a row with several; of sparse ones, what is usual."""
    return sum(STORED.itemsize * dim if dim != SPARSE else _USUAL for dim in dims)
