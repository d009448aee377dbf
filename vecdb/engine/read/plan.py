"""Plans: what a request is compiled to. A plan is a tree.

A leaf reads the collection: a search for the points nearest to an example vector (`Nearest`), or
for those that fit several best (`Combined`), or a text (`Relevant`), points in the order of their
ids (`Scroll`) or of a value of their payloads (`Ordered`), or some by chance (`Sampled`). With
``sources``, which are plans, it is made on what these find. Other nodes make another answer of what
their sources found: one list of several (`Fused`), other scores (`Rescored`), a choice (`Mmr`). The
root says which part of the answer is wanted and what to return of it; as a root, `Groups` puts the
answer into groups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb import models
from vecdb.engine.read.masks import Condition
from vecdb.engine.read.segment.rules import Rule
from vecdb.engine.read.values import Values
from vecdb.engine.schema import VectorSchema
from vecdb.engine.view import View
from vecdb.vectors.blocks import Ragged

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
    sources: Sources = ()


class Ordered(Struct, frozen=True):
    """Points in the order of a value of their payloads, those from ``start`` on."""

    values: Values
    descending: bool
    start: int | float | None
    condition: Condition | None
    limit: int
    offset: int
    wanted: Wanted
    sources: Sources = ()


class Sampled(Struct, frozen=True):
    """Points by chance: none of them comes first, so none is left out for an offset."""

    condition: Condition | None
    limit: int
    wanted: Wanted
    sources: Sources = ()


class Relevant(Struct, eq=False, gc=False):
    """Points by how well the texts of a field fit a text: those whose texts have any of ``tokens``.
    ``corpus``: among which points a token is rare; None: among all."""

    field: str
    index: models.TextIndexParams
    tokens: list[str]
    k: float
    b: float
    corpus: Condition | None
    condition: Condition | None
    limit: int
    offset: int
    wanted: Wanted
    threshold: float | None
    sources: Sources = ()


class Nearest(Struct, eq=False, gc=False):
    """A search for the points nearest to a vector. ``excluded``: the keys of points that are
    examples themselves. ``ragged``: the vector, if it is sparse or a multivector; then ``query`` is
    empty."""

    vector: VectorSchema
    query: Floats
    excluded: tuple[int, ...]
    condition: Condition | None
    params: models.SearchParams
    limit: int
    offset: int
    wanted: Wanted
    threshold: float | None
    sources: Sources = ()
    ragged: Ragged | None = None


class Combined(Struct, eq=False, gc=False):
    """A search for the points with the best scores that ``rule`` makes of those against several
    examples, ``float32 (n, dim)``, or ``ragged`` ones of as many rows."""

    vector: VectorSchema
    examples: Floats
    rule: Rule
    excluded: tuple[int, ...]
    condition: Condition | None
    params: models.SearchParams
    limit: int
    offset: int
    wanted: Wanted
    threshold: float | None
    sources: Sources = ()
    ragged: Ragged | None = None


class Mmr(Struct, eq=False, gc=False):
    """Of the points that its source finds those that are near the vector and far from one another:
    maximal marginal relevance. ``diversity``: how much the second counts, 0 to 1."""

    sources: tuple[Plan]
    vector: VectorSchema
    query: Floats
    diversity: float
    limit: int
    offset: int
    wanted: Wanted
    ragged: Ragged | None = None


class Fused(Struct, eq=False, gc=False):
    """The points of all sources in one list, by ranks or by scores. ``k`` and ``weights`` are of
    ranks."""

    method: models.Fusion
    k: int
    weights: list[float] | None
    threshold: float | None
    limit: int
    offset: int
    wanted: Wanted
    sources: Sources = ()


class Rescored(Struct, eq=False, gc=False):
    """The points of all sources, by what a formula makes of their scores and payloads."""

    formula: Evaluate
    threshold: float | None
    limit: int
    offset: int
    wanted: Wanted
    sources: Sources = ()


Leaf = Nearest | Combined | Relevant | Scroll | Ordered | Sampled
"""Reads the collection where it has no sources."""
Plan = Leaf | Mmr | Fused | Rescored
Sources = tuple[Plan, ...]
Place = tuple[int, int]
"""The position of a segment in the view, and a row there."""
Ranking = list[tuple[Place, float]]
"""The points that a plan found, in their order, each with the score that a caller sees."""
Evaluate = Callable[[View, list[Ranking]], tuple[list[Place], list[float]]]
"""Gives every point of some rankings one score. Raises InvalidInputError."""


class Groups(Struct):
    """Of what ``source`` finds the first ``limit`` groups, each with its first ``size`` points:
    those that have one of their ``values`` in common. Of ``source`` so much is taken as is
    needed, of points that meet ``condition``."""

    source: Plan
    values: Values
    condition: Condition | None
    limit: int
    size: int
    wanted: Wanted
