"""A multivector to search with, in the forms that kernels and numpy take."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_LANES: Final = 16
"""As `kernels.maxsim` has it, which is not loaded where numpy does."""


class MultiQuery:
    """The tokens of a query, ``float32 (q, dim)``."""

    def __init__(self, metric: str, tokens: Floats) -> None:
        self.metric, self.tokens = metric, tokens
        self.groups = -(-len(tokens) // _LANES)

    def packed(self) -> Floats:
        """The tokens as `kernels.maxsim` takes them, the first two axes as one."""
        count, dim = self.tokens.shape
        padded = np.zeros((self.groups * _LANES, dim), dtype=np.float32)
        padded[:count] = self.tokens
        lanes = padded.reshape(self.groups, _LANES, dim).transpose(0, 2, 1)
        return np.ascontiguousarray(lanes).reshape(-1, _LANES)

    def room(self) -> Floats:
        """What a kernel keeps the best scores in."""
        return np.empty(self.groups * _LANES, dtype=np.float32)
