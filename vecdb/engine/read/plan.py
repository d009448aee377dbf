"""Plans: what a request is compiled to. A plan is a tree.

A leaf reads the collection: a search for the points nearest to an example vector (`Nearest`), or
points in the order of their ids (`Scroll`). An inner node (`Mmr`) makes another answer of what the
plan under it found. The root says which part of the answer is wanted and what to return of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb import models
from vecdb.engine.read.masks import Condition
from vecdb.engine.schema import VectorSchema

Floats = npt.NDArray[np.float32]


class Wanted(Struct, frozen=True):
    """Which fields of a point to return."""

    payload: bool | Callable[[dict[str, Any]], dict[str, Any]]  # all, nothing, or what this takes
    vectors: list[str] | None  # those of these names; None: no ``vector`` at all


NOTHING = Wanted(False, None)


class Scroll(Struct, frozen=True):
    """A walk through the points in the order of their ids: ``limit`` of them from the key
    ``start`` on, without the first ``skipped``."""

    condition: Condition | None
    limit: int
    wanted: Wanted
    start: int = 0
    skipped: int = 0


class Nearest(Struct, eq=False, gc=False):
    """A search for the points nearest to a vector. ``excluded`` is the point that is the query."""

    vector: VectorSchema
    query: Floats
    excluded: int | None
    condition: Condition | None
    params: models.SearchParams
    limit: int
    offset: int
    wanted: Wanted
    threshold: float | None


class Mmr(Struct, eq=False, gc=False):
    """Of the points that ``source`` finds those that are near the vector and far from one another:
    maximal marginal relevance. ``diversity``: how much the second counts, 0 to 1."""

    source: Ranked
    vector: VectorSchema
    query: Floats
    diversity: float
    limit: int
    offset: int
    wanted: Wanted


Ranked = Nearest | Mmr
"""A plan that finds points with scores."""
Plan = Ranked | Scroll
