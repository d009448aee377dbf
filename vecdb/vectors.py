"""Vectors at the door: any array or list in, checked and normalised ``float32`` out.

Refused: wrong dimension, NaN or infinity, and lengths beyond 1.8e19, whose scores would overflow
float32. Under Cosine vectors are scaled to length 1 once, here (a zero vector stays zero).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb.errors import InvalidInputError

Floats = npt.NDArray[np.float32]

_TINY = 1e-30  # a squared length below this has lost its digits in float32


def to_query(value: Any, dim: int, *, normalize: bool, what: str) -> Floats:
    """One vector: ``float32 (dim,)``. Raises InvalidInputError."""
    vector = _floats(value, what)
    if vector.shape != (dim,):
        raise InvalidInputError(f"{what}: expected {dim} numbers, got {_shape(vector)}")
    length = float(np.vdot(vector, vector))  # unlike dot, silent where it overflows
    if not length < np.inf:  # NaN fails the comparison too
        _refuse(vector[None], what)
    if normalize and length > _TINY:
        return vector / np.float32(length**0.5)
    if normalize:
        vector = _normalized(vector[None], np.array([length], dtype=np.float32))[0]
    return np.ascontiguousarray(vector)


def to_matrix(value: Any, dim: int, *, normalize: bool, what: str) -> Floats:
    """Rows of vectors: C-contiguous ``float32 (n, dim)``. Raises InvalidInputError."""
    matrix = _floats(value, what)
    if matrix.ndim != 2 or matrix.shape[1] != dim:
        raise InvalidInputError(f"{what}: expected rows of {dim} numbers, got {_shape(matrix)}")
    with np.errstate(over="ignore"):
        lengths = np.einsum("ij,ij->i", matrix, matrix)
    if not np.isfinite(lengths).all():
        _refuse(matrix, what)
    if normalize:
        matrix = _normalized(matrix, lengths)
    elif isinstance(value, np.ndarray) and np.may_share_memory(matrix, value):
        # The caller may change its array while the copy here is checksummed, written and kept.
        matrix = matrix.copy()
    return np.ascontiguousarray(matrix)


def _floats(value: Any, what: str) -> Floats:
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return value
    try:
        # Overflow on the way to float32 becomes an infinity, which is refused by name.
        with np.errstate(over="ignore"):
            array = np.asarray(value)
            if array.dtype.kind not in "fiu":
                raise InvalidInputError(f"{what}: expected numbers, got {_kind(value, array)}")
            return array.astype(np.float32)
    except ValueError as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"{what}: expected rows of equal length ({error})") from None


def _normalized(matrix: Floats, lengths: Floats) -> Floats:
    # Squares of very small components vanish in float32: those rows are measured in float64.
    norms = np.sqrt(lengths)
    tiny = lengths <= _TINY
    if tiny.any():
        norms[tiny] = np.sqrt(np.square(matrix[tiny].astype(np.float64)).sum(axis=1))
        norms[norms == 0] = 1
    scaled: Floats = np.divide(matrix, norms[:, None], dtype=np.float32)
    return scaled


def _refuse(matrix: Floats, what: str) -> None:
    bad = ~np.isfinite(matrix)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise InvalidInputError(
            f"{what}: expected finite numbers, got {matrix[row, column]} at row {row}, "
            f"component {column}"
        )
    row = int(np.argmax(np.square(matrix.astype(np.float64)).sum(axis=1)))
    raise InvalidInputError(
        f"{what}: the vector of row {row} is longer than 1.8e19; scores would overflow"
    )


def _shape(array: npt.NDArray[Any]) -> str:
    if array.ndim == 1:
        return f"{len(array)}"
    return f"an array of shape {array.shape}"


def _kind(value: Any, array: npt.NDArray[Any]) -> str:
    if array.size == 0:
        return "nothing"
    return f"{type(value).__name__} of {array.dtype}"
