"""Multivectors at the door: lists of vectors in, checked and normalised tokens out.

Refused: no vector at all, vectors of another size, and what is refused of a dense vector. Under
Cosine each token is scaled to length 1. One vector alone is a multivector of one token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vecdb.errors import InvalidInputError
from vecdb.vectors.datatypes import STORED
from vecdb.vectors.door import Floats, to_matrix
from vecdb.vectors.multi import MultiBlock
from vecdb.vectors.ragged import offsets_of


def to_multi(
    given: Sequence[Any], size: int, *, normalize: bool, what: Sequence[str]
) -> MultiBlock:
    """Multivectors, each a 2-d array or a list of vectors of ``size`` numbers; ``what``: what each
    is, in errors. Raises InvalidInputError."""
    rows = [
        _tokens(each, size, normalize=normalize, what=name)
        for each, name in zip(given, what, strict=True)
    ]
    sizes = np.array([len(tokens) for tokens in rows], dtype=np.int64)
    return MultiBlock(offsets_of(sizes), np.concatenate([np.empty((0, size), dtype=STORED), *rows]))


def _tokens(given: Any, size: int, *, normalize: bool, what: str) -> Floats:
    if not isinstance(given, (list, tuple, np.ndarray)):
        given = np.asarray(given)
    if isinstance(given, np.ndarray) and given.ndim == 0:
        raise InvalidInputError(
            f"{what}: expected a list of vectors of {size} numbers, got {given.item()!r:.60}"
        )
    if not len(given):
        raise InvalidInputError(
            f"{what}: expected a multivector of at least one vector of {size} numbers, got none"
        )
    if isinstance(given, np.ndarray):
        given = given[None] if given.ndim == 1 else given
    elif _is_number(given[0]):
        given = [given]
    return to_matrix(given, size, normalize=normalize, what=what)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
