"""Vectors at the door: any array or list in, checked and normalised ``float32`` out.

Refused: wrong dimension, NaN or infinity, masked arrays, and lengths beyond 1.8e19, whose scores
would overflow float32. Under Cosine vectors are scaled to length 1 once, here (a zero vector stays
zero). Those of length 1 are left alone: what is read and written again stays the same to the bit.
What is kept as float16 or uint8 is rounded to that here, too; queries never are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb.errors import InvalidInputError
from vecdb.linear_algebra import dot
from vecdb.vectors.datatypes import FLOAT16, FLOAT32, UINT8, held

Floats = npt.NDArray[np.float32]

_TINY = 1e-30  # a squared length below this has lost its digits in float32
_UNIT = 2e-6
"""A squared length that is no farther from 1 is as near as float32 makes it."""
_UNIT_OF_HALVES = 1.02 * 2.0**-10
"""The same of numbers that have been rounded to float16."""


def plain_query(value: Any, dim: int, *, normalize: bool) -> Floats | None:
    """What `to_query` makes of an array of ``float32`` of the right length. None: it has more to
    do than that, or to refuse."""
    if type(value) is not np.ndarray or value.dtype != np.float32 or value.shape != (dim,):
        return None
    length = dot(value, value)
    if not length < np.inf:
        return None
    if not normalize:
        return _for_kernels(value)
    if abs(length - 1.0) <= _UNIT:
        return _for_kernels(value)
    if not length > _TINY:
        return None
    return np.divide(value, np.float32(length**0.5), dtype=np.float32)


def to_query(value: Any, dim: int, *, normalize: bool, what: str) -> Floats:
    """One vector: ``float32 (dim,)``. Raises InvalidInputError."""
    vector = _floats(value, what)
    if vector.shape != (dim,):
        raise InvalidInputError(f"{what}: expected {dim} numbers, got {_shape(vector)}")
    length = dot(vector, vector)
    if not length < np.inf:  # NaN fails the comparison too
        _refuse(vector[None], value, what)
    if normalize and abs(length - 1.0) <= _UNIT:
        return _for_kernels(vector)
    if normalize and length > _TINY:
        return vector / np.float32(length**0.5)
    if normalize:
        vector = _normalized(vector[None], np.array([length], dtype=np.float32))[0]
    return _for_kernels(vector)


def to_matrix(
    value: Any, dim: int, *, normalize: bool, what: str, datatype: str = FLOAT32
) -> Floats:
    """Rows of vectors: C-contiguous ``float32 (n, dim)``, of numbers that originals of the datatype
    hold. Raises InvalidInputError."""
    matrix = _floats(value, what)
    if matrix.ndim != 2 or matrix.shape[1] != dim:
        raise InvalidInputError(f"{what}: expected rows of {dim} numbers, got {_shape(matrix)}")
    with np.errstate(over="ignore"):
        lengths = np.einsum("ij,ij->i", matrix, matrix)
    if not np.isfinite(lengths).all():
        _refuse(matrix, value, what)
    if datatype == UINT8:
        return held(matrix, UINT8)
    if normalize:
        matrix = _normalized(matrix, lengths, datatype)
    if datatype == FLOAT16:
        halves = held(matrix, FLOAT16)
        if not np.isfinite(halves).all():
            _refuse(halves, value, what, FLOAT16)
        return _for_kernels(halves)
    if isinstance(value, np.ndarray) and np.may_share_memory(matrix, value):
        # The caller may change its array while the copy here is checksummed, written and kept.
        matrix = matrix.copy()
    return _for_kernels(matrix)


def _for_kernels(array: Floats) -> Floats:
    """The same numbers, one behind the other and aligned: a field of packed records is not."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.array(array, order="C")


def _floats(value: Any, what: str) -> Floats:
    if type(value) is not np.ndarray and _is_masked(value):
        raise InvalidInputError(f"{what}: expected plain numbers, got a masked array")
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        raise InvalidInputError(
            f"{what}: expected rows of equal length{_difference(value)}"
        ) from None
    if array.dtype.kind not in "fiu":
        raise InvalidInputError(f"{what}: expected numbers, got {_kind(value, array)}")
    # Overflow on the way to float32 becomes an infinity, which is refused by name.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _is_masked(value: Any) -> bool:
    """Whether numpy would silently forget the mask of an array, or of one in a list."""
    nested = isinstance(value, (list, tuple)) and value and type(value[0]) is not float
    kinds = set(map(type, value)) if nested else {type(value)}
    return any(issubclass(kind, np.ndarray) and hasattr(kind, "mask") for kind in kinds)


def _normalized(matrix: Floats, lengths: Floats, datatype: str = FLOAT32) -> Floats:
    far = np.abs(lengths - 1) > _UNIT
    if datatype == FLOAT16 and far.any():
        near = far & (np.abs(lengths - 1) <= _UNIT_OF_HALVES)
        far[near] = (held(matrix[near], FLOAT16) != matrix[near]).any(axis=1)
    if far.all():
        return _scaled(matrix, lengths)
    result = matrix.copy()
    result[far] = _scaled(matrix[far], lengths[far])
    return result


def _scaled(matrix: Floats, lengths: Floats) -> Floats:
    # Squares of very small components vanish in float32: those rows are measured in float64.
    norms = np.sqrt(lengths)
    tiny = lengths <= _TINY
    if tiny.any():
        norms[tiny] = np.sqrt(np.square(matrix[tiny].astype(np.float64)).sum(axis=1))
        norms[norms == 0] = 1
    scaled: Floats = np.divide(matrix, norms[:, None], dtype=np.float32)
    return scaled


def _refuse(matrix: Floats, value: Any, what: str, datatype: str = FLOAT32) -> None:
    """Say what is wrong with some row of ``value``, which in the datatype is ``matrix``."""
    bad = ~np.isfinite(matrix)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        came = np.asarray(value).reshape(matrix.shape)[row, column]
        too_large = f", which {datatype} cannot hold," if np.isfinite(came) else ""
        where = f"row {row}, component {column}" if len(matrix) > 1 else f"component {column}"
        raise InvalidInputError(
            f"{what}: expected finite numbers, got {came}{too_large} at {where}"
        )
    row = int(np.argmax(np.square(matrix.astype(np.float64)).sum(axis=1)))
    which = f"the vector of row {row}" if len(matrix) > 1 else "the vector"
    raise InvalidInputError(f"{what}: {which} is longer than 1.8e19; scores would overflow")


def _shape(array: npt.NDArray[Any]) -> str:
    if array.ndim == 1:
        return f"{len(array)}"
    return f"an array of shape {array.shape}"


def _difference(value: Any) -> str:
    """The first row that is not as long as the one before it."""
    if isinstance(value, (list, tuple)):
        sizes = [f"{len(row)} numbers" if hasattr(row, "__len__") else repr(row) for row in value]
        for row in range(1, len(sizes)):
            if sizes[row] != sizes[row - 1]:
                return f", got {sizes[row - 1]:.60} in row {row - 1}, {sizes[row]:.60} in row {row}"
    return ""


def _kind(value: Any, array: npt.NDArray[Any]) -> str:
    if array.size == 0:
        return "nothing"
    if isinstance(value, (list, tuple)) and array.dtype.kind in "OU":
        for at, item in np.ndenumerate(np.asarray(value, dtype=object)):
            if not isinstance(item, (int, float, np.integer, np.floating)):
                row = f"row {at[0]}, " if len(at) > 1 else ""
                return f"{item!r:.60} at {row}component {at[-1]}"
    return f"{type(value).__name__} of {array.dtype}"
