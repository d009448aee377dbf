"""What the numbers of a vector are, in memory, in files and in the log.

Originals may be kept in a smaller type than float32. They are rounded to it once, at the door
(`held`); from then on every conversion is exact, in either direction. The log has float32 always.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

STORED = np.dtype("<f4")
INDICES = np.dtype("<u4")
"""Of the places of numbers in a sparse vector."""

FLOAT32: Final = "float32"
FLOAT16: Final = "float16"
UINT8: Final = "uint8"
NUMBERS: Final[dict[str, np.dtype[Any]]] = {
    FLOAT32: STORED,
    FLOAT16: np.dtype("<f2"),
    UINT8: np.dtype("u1"),
}
"""How dense originals are kept, by the name of the datatype."""

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


def bytes_per_vector(dim: int, datatype: str = FLOAT32) -> int:
    """Bytes of the vector of a row; of sparse ones and multivectors, what is usual."""
    if dim == SPARSE:
        return _USUAL
    return NUMBERS[datatype].itemsize * size_of(dim) * (_USUAL_TOKENS if is_multi(dim) else 1)


def narrow(values: npt.NDArray[np.float32], datatype: str) -> npt.NDArray[Any]:
    """Finite numbers as they are kept: ``float16`` rounds to the nearest; ``uint8`` drops the
    fraction and takes what is out of range to 0 or 255, as Qdrant does."""
    if datatype == UINT8:
        return np.clip(values, 0, 255).astype(NUMBERS[UINT8])
    return values.astype(NUMBERS[datatype], copy=False)


def held(values: npt.NDArray[np.float32], datatype: str) -> npt.NDArray[np.float32]:
    """What is left of float32 numbers in originals of a datatype, as float32."""
    if datatype == FLOAT32:
        return values
    with np.errstate(over="ignore"):  # becomes an infinity, which the door refuses
        return wide(narrow(values, datatype))


def wide(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Originals as float32; the same array if they are."""
    return values.astype(STORED, copy=False)


def for_kernels(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Originals as kernels take them: the bits of float16 as uint16, all else as it is."""
    return values.view(np.uint16) if values.dtype == np.float16 else values


def of_unit_length(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Vectors that could not be scaled to length 1 when they came: of whole numbers. A zero vector
    stays zero."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    lengths[lengths == 0] = 1
    scaled: npt.NDArray[np.float32] = vectors / lengths[:, None]
    return scaled
