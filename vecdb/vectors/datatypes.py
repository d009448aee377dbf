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
_USUAL_TOKENS = 64
"""Vectors of a multivector, as a passage has tokens. The same goes for them."""


def many_of(size: int) -> int:
    """What stands for the dimension of multivectors, each of any number of vectors of ``size``
    numbers: a number below 0, as no dense vector has."""
    return -size


def size_of(dim: int) -> int:
    """How many numbers each of these has: a dense vector, or each vector of a multivector."""
    return abs(dim)


def is_multi(dim: int) -> bool:
    """Whether it stands for multivectors."""
    return dim < 0


def is_ragged(dim: int) -> bool:
    """Whether rows are of unequal length: sparse vectors, and multivectors."""
    return dim <= SPARSE


def bytes_per_vector(*dims: int) -> int:
    """Bytes of a vector, or of a row with several; of sparse ones and multivectors, what is
    usual."""
    return sum(map(_bytes_of, dims))


def _bytes_of(dim: int) -> int:
    if dim == SPARSE:
        return _USUAL
    return STORED.itemsize * size_of(dim) * (_USUAL_TOKENS if is_multi(dim) else 1)
