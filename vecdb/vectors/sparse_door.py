"""Sparse vectors at the door: indices and values in any order in, checked and sorted ones out.

Refused: more indices than values, or fewer; an index twice, or beyond 32 bits; numbers that are not
finite; and lengths beyond 1.8e19, as of dense vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb.errors import InvalidInputError
from vecdb.vectors.datatypes import INDICES, STORED
from vecdb.vectors.ragged import offsets_of
from vecdb.vectors.sparse import SparseBlock

_MOST = (1 << 32) - 1
_LONGEST = 1.8e19


def to_sparse(given: Sequence[Any], what: Sequence[str]) -> SparseBlock:
    """Sparse vectors, each with ``indices`` and ``values``, as attributes or in a dict; ``what``:
    what each is, in errors. Raises InvalidInputError."""
    rows = [_one(each, name) for each, name in zip(given, what, strict=True)]
    sizes = np.array([len(indices) for indices, _ in rows], dtype=np.int64)
    indices = np.concatenate([np.empty(0, dtype=INDICES), *(indices for indices, _ in rows)])
    values = np.concatenate([np.empty(0, dtype=STORED), *(values for _, values in rows)])
    return SparseBlock(offsets_of(sizes), indices, values)


def _one(given: Any, what: str) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]:
    indices, values = _parts(given, what)
    if len(indices) != len(values):
        raise InvalidInputError(
            f"{what}: expected as many indices as values, got {len(indices)} indices and "
            f"{len(values)} values"
        )
    if not len(indices):
        return indices.astype(INDICES), values.astype(STORED)
    if indices.dtype.kind not in "iu":
        raise InvalidInputError(f"{what}: expected whole numbers as indices, got {indices.dtype}")
    least, most = int(indices.min()), int(indices.max())
    if least < 0 or most > _MOST:
        wrong = least if least < 0 else most
        raise InvalidInputError(f"{what}: expected indices from 0 to {_MOST}, got {wrong}")
    if values.dtype.kind not in "fiu":
        raise InvalidInputError(f"{what}: expected numbers as values, got {values.dtype}")
    with np.errstate(over="ignore"):
        numbers = values.astype(STORED)
    if not np.isfinite(numbers).all():
        wrong = values[~np.isfinite(numbers)][0]
        raise InvalidInputError(f"{what}: expected finite numbers of float32, got {wrong}")
    if not np.square(numbers, dtype=np.float64).sum() < _LONGEST**2:
        raise InvalidInputError(f"{what}: the vector is longer than 1.8e19; scores would overflow")
    places = indices.astype(INDICES)
    if not (places[1:] > places[:-1]).all():
        order = np.argsort(places, kind="stable")
        places, numbers = places[order], numbers[order]
        twice = np.flatnonzero(places[1:] == places[:-1])
        if len(twice):
            raise InvalidInputError(
                f"{what}: expected each index once, got {places[twice[0]]} twice"
            )
    return places, numbers


def _parts(given: Any, what: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Its indices and its values as arrays."""
    parts = []
    fields = ("indices", "values")
    for field in fields:
        try:
            part = given[field] if isinstance(given, Mapping) else getattr(given, field)
            array = np.asarray(part)
        except (KeyError, AttributeError, ValueError):
            raise InvalidInputError(
                f"{what}: expected a sparse vector with indices and values, got {given!r:.60}"
            ) from None
        if hasattr(part, "mask"):  # numpy would forget it
            raise InvalidInputError(f"{what}: expected plain {field}, got a masked array")
        if array.ndim != 1:
            raise InvalidInputError(f"{what}: expected a list of {field}, got {part!r:.60}")
        parts.append(array)
    return parts[0], parts[1]
