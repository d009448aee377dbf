"""Sparse vectors in the model: arrays of a few places, each of which stands for an index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

MODIFIERS = {"Sparse": "none", "Idf": "idf"}
"""What stands for a distance where vectors are sparse, and its modifier."""
_INDICES = (0, 1, 2, 7, 300, 65_535, 65_536, 2**24 + 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
PLACES = len(_INDICES)
"""The dimension of sparse vectors in the model."""


def given(numbers: Floats) -> dict[str, Any]:
    """The numbers that are not zero, as a collection takes them, the last ones first."""
    places = np.flatnonzero(numbers)[::-1]
    return {
        "indices": [_INDICES[place] for place in places],
        "values": numbers[places].tolist(),
    }


def is_given(vector: Any) -> bool:
    """Whether it is what a collection takes or gives as a sparse vector."""
    return hasattr(vector, "indices") or (isinstance(vector, Mapping) and "indices" in vector)


def numbers_of(vector: Any) -> Floats:
    """The inverse of ``given``, of what a collection gives, too."""
    parts = vector if isinstance(vector, Mapping) else vars_of(vector)
    numbers = np.zeros(PLACES, dtype=np.float32)
    numbers[[_INDICES.index(index) for index in parts["indices"]]] = parts["values"]
    return numbers


def vars_of(vector: Any) -> dict[str, Any]:
    """Its indices and values."""
    return {"indices": vector.indices, "values": vector.values}
