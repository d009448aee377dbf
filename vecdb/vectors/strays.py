"""Strays: the few rows of which codes, or sketches, tell far less than of others."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

STRAY: Final = 4.0
"""A row is a stray if its code is wrong by so many times the usual error."""
MOST_STRAYS: Final = 64
"""At most one row of so many is a stray: every search scores all strays."""


def strays_among(errors: Floats, rows: Ints) -> Ints:
    """The strays among ``rows``, rising: those whose ``errors: float32[n]`` (of all rows) are far
    above the usual; only the worst, if they are many."""
    if not len(rows):
        return rows
    found = errors[rows]
    bound = STRAY * np.median(found)
    most = -(-len(rows) // MOST_STRAYS)
    astray = np.flatnonzero(found > bound)
    if len(astray) > most:
        worst = np.argsort(-found[astray], kind="stable")[:most]
        astray = np.sort(astray[worst])
    return rows[astray]
