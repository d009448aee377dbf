"""Quantizers: fit, encode, score. Arrays in, arrays out; no files, no threads.

Three kinds share one interface, `Quantizer`: ``"scalar"`` (a byte a dimension), ``"binary"`` (1 to
4 bits a dimension) and ``"product"`` (4 bits a chunk of dimensions). Every score is on the scale of
the original metric, larger is better, so rows of different kinds and of the originals compare.

Importing this package does not load numba; fitting, encoding and scoring do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from vecdb.quantization.base import (
    METRICS,
    Metric,
    PreparedQuery,
    Quantizer,
    state_rows,
)
from vecdb.quantization.binary import BinaryQuantizer
from vecdb.quantization.product import ProductQuantizer
from vecdb.quantization.scalar import ScalarQuantizer

__all__ = [
    "METRICS",
    "QUANTIZERS",
    "BinaryQuantizer",
    "Metric",
    "PreparedQuery",
    "ProductQuantizer",
    "Quantizer",
    "ScalarQuantizer",
    "from_state",
]

AnyQuantizer = ScalarQuantizer | BinaryQuantizer | ProductQuantizer

QUANTIZERS: Final[dict[str, type[AnyQuantizer]]] = {
    "scalar": ScalarQuantizer,
    "binary": BinaryQuantizer,
    "product": ProductQuantizer,
}
"""The class of each kind. The options of ``fit`` differ; see there."""


def from_state(
    kind: str, metric: str, dim: int, state: Mapping[str, np.ndarray[Any, Any]]
) -> Quantizer:
    """The quantizer whose ``kind``, ``metric``, ``dim`` and ``state()`` were kept.

    It scores bit for bit as the one that was fitted. Raises ValueError if its arrays do not fit
    together; they are copied, so ``state`` may lie in a mapped file.
    """
    quantizer = QUANTIZERS.get(kind)
    if quantizer is None:
        raise ValueError(f"unknown kind of quantizer {kind!r}; known are {sorted(QUANTIZERS)}")
    restored = quantizer.from_state(metric, dim, state)
    restored.strays = state_rows(state, "strays")
    return restored
