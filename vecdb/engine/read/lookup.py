"""Look-ups: the vectors that the ids in a query stand for, here or in another collection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from vecdb import ids, models, vectors
from vecdb.engine.read.rows import gather
from vecdb.engine.schema import VectorSchema, vector_schema
from vecdb.engine.view import View
from vecdb.errors import InvalidInputError, NotFoundError
from vecdb.vectors.block import VectorBlock
from vecdb.vectors.blocks import Ragged
from vecdb.vectors.multi import MultiBlock

Floats = npt.NDArray[np.float32]
Elsewhere = Callable[[str], View]
"""The state of the collection with a name; of the one that is read, the very view that is. Raises
NotFoundError."""


class Lookup(Struct, frozen=True, eq=False):
    """Where ids are looked up. ``name``: that of the vectors there; None: the one that is searched
    by."""

    view: View
    name: str | None
    elsewhere: bool
    """Whether it is another collection. Else points that are examples are not among the
    results."""


def lookup(view: View, given: Any, elsewhere: Elsewhere, what: str) -> Lookup:
    """Where ids are looked up, as a request says. Raises InvalidInputError, NotFoundError."""
    if given is None:
        return Lookup(view, None, False)
    asked = models.coerce(models.LookupLocation, given, what)
    try:
        there = elsewhere(asked.collection)
    except NotFoundError as error:
        raise NotFoundError(f"{what}: {error}") from None
    if asked.vector is not None:
        vector_schema(there.schema, asked.vector, "the collection of lookup_from")
    return Lookup(there, asked.vector, there is not view)


def is_id(given: Any) -> bool:
    """Whether it can only be an id."""
    return isinstance(given, (int, np.integer, str)) or type(given).__name__ == "UUID"


def looked_up(
    where: Lookup, point_id: Any, vector: VectorSchema, what: str, *, normalize: bool = True
) -> tuple[Floats | Ragged, tuple[int, ...]]:
    """The vector that an id stands for in a search by ``vector``, and the key of the point if it is
    not to be among the results. Raises InvalidInputError, NotFoundError."""
    name = vector.name if where.name is None else where.name
    place = "the collection of lookup_from" if where.elsewhere else "this collection"
    there = vector_schema(where.view.schema, name, place)
    try:
        key = ids.key_of(point_id)
    except InvalidInputError as error:
        raise InvalidInputError(f"{what}: {error}") from None
    segments, rows = where.view.locate([key])
    if segments[0] < 0:
        raise NotFoundError(f"{what}: point {point_id!r} does not exist{_in(where)}")
    gathered = gather(where.view, segments, rows, there.name)
    if not gathered.flags()[0]:
        raise NotFoundError(f"{what}: point {point_id!r} has no vector {there.name!r}{_in(where)}")
    if there.dim != vector.dim:
        raise InvalidInputError(
            f"{what}: expected an id that stands for {_length(vector)}, got {point_id!r}, whose "
            f"vector {there.name!r}{_in(where)} has {_length(there)}"
        )
    keys = () if where.elsewhere else (key,)
    normalize = normalize and vector.normalize and not there.is_normalized
    if isinstance(gathered, VectorBlock):
        numbers = gathered.values[0]
        if normalize:
            numbers = vectors.to_query(numbers, vector.dim, normalize=True, what=what)
        return numbers, keys
    if isinstance(gathered, MultiBlock) and normalize:
        gathered = vectors.to_multi([gathered.values], vector.size, normalize=True, what=[what])
    return replace(gathered, has=None), keys


def _length(vector: VectorSchema) -> str:
    if vector.is_multi:
        return f"many vectors of {vector.size} numbers"
    return "sparse numbers" if vector.is_sparse else f"{vector.dim} numbers"


def _in(where: Lookup) -> str:
    return " in the collection of lookup_from" if where.elsewhere else ""
