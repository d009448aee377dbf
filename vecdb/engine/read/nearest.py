"""Nearest: from a vector or the id of a point, in any form, to the search for what is near it."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb import bm25, models, vectors
from vecdb.engine.read.asked import Asked
from vecdb.engine.read.lookup import is_id, looked_up
from vecdb.engine.read.plan import NOTHING, Mmr, Nearest
from vecdb.engine.schema import VectorSchema, vector_schema
from vecdb.engine.view import View
from vecdb.errors import InvalidInputError
from vecdb.models.documents import is_document, makes_sparse
from vecdb.models.reading import fields_of
from vecdb.models.sparse import is_sparse
from vecdb.vectors.blocks import Ragged

Floats = npt.NDArray[np.float32]

Vector = Floats | Ragged
"""A vector as it is searched with: its numbers, or a block of one row."""

_NO_NUMBERS = np.empty(0, dtype=np.float32)
_NAMED = (models.NamedVector, models.NamedSparseVector)

PLAIN = frozenset({np.ndarray, list, int, str})
"""Types that are vectors and ids."""


def nearest(view: View, query: Any, asked: Asked) -> Nearest:
    """The search for the points nearest to a vector or a point. Raises InvalidInputError,
    NotFoundError."""
    name, query = (asked.using, query) if type(query) in PLAIN else _named(query, asked)
    return search_of(asked, *_example(view, query, name, asked))


def search_of(
    asked: Asked, vector: VectorSchema, query: Vector, excluded: tuple[int, ...]
) -> Nearest:
    """The search for the points nearest to a vector that was read. Raises InvalidInputError."""
    require_idf(asked, vector)
    dense, ragged = parted(query)
    return Nearest(
        vector=vector,
        query=dense,
        ragged=ragged,
        excluded=excluded,
        condition=asked.condition,
        params=asked.params,
        limit=asked.limit,
        offset=asked.offset,
        wanted=asked.wanted,
        threshold=asked.threshold,
    )


def another(search: Any, query: Any) -> Nearest | None:
    """The same search for another vector. None: it has to be read as the first one was."""
    if not isinstance(search, Nearest) or search.excluded or search.ragged is not None:
        return None
    cosine = search.vector.distance is models.Distance.COSINE
    vector = vectors.plain_query(query, search.vector.dim, normalize=cosine)
    if vector is None:
        return None
    found = copy(search)
    found.query = vector
    return found


def require_idf(asked: Asked, vector: VectorSchema) -> None:
    """Raise InvalidInputError for frequencies that would count for nothing."""
    if isinstance(asked.params.idf, models.IdfCorpusParams) and not vector.idf:
        raise InvalidInputError(
            f"{asked.where}{'params' if asked.where else 'search_params'}.idf: expected a sparse "
            f"vector with the modifier 'idf', got the vector {vector.name!r}"
        )


def parted(query: Vector) -> tuple[Floats, Ragged | None]:
    """A vector as plans have it: its numbers, or nothing and the sparse vector or multivector."""
    return (query, None) if isinstance(query, np.ndarray) else (_NO_NUMBERS, query)


def nearest_query(view: View, query: models.NearestQuery, asked: Asked) -> Nearest | Mmr:
    """The same, and perhaps a choice of what is found."""
    search = nearest(view, query.nearest, asked)
    return search if query.mmr is None else _diverse(search, query.mmr)


def _diverse(search: Nearest, mmr: models.Mmr) -> Mmr:
    """The page of a search, chosen from its first ``candidates_limit`` results; as in Qdrant these
    are ``limit`` if nothing is said, whatever the offset."""
    candidates = copy(search)
    candidates.limit = mmr.candidates_limit or search.limit
    candidates.offset = 0
    candidates.wanted = NOTHING
    return Mmr(
        sources=(candidates,),
        vector=search.vector,
        query=search.query,
        ragged=search.ragged,
        diversity=mmr.diversity,
        limit=search.limit,
        offset=search.offset,
        wanted=search.wanted,
    )


def _example(
    view: View, query: Any, name: Any, asked: Asked
) -> tuple[VectorSchema, Vector, tuple[int, ...]]:
    """The schema of the vector to search with, the vector, and the point to leave out (a query by
    id)."""
    using, at = asked.using, asked.where
    if using is not None and not isinstance(using, str):
        raise InvalidInputError(f"{at}using: expected the name of a vector, got {using!r:.60}")
    if using is not None and name != using:
        raise InvalidInputError(
            f"{at}using: expected {name!r}, as the query says, got {using!r:.60}"
        )
    vector = vector_schema(view.schema, "" if name is None else name)
    if is_id(query):
        return vector, *looked_up(asked.lookup, query, vector, f"{at}query")
    what = f"{at}query vector" if not vector.name else f"{at}query vector {vector.name!r}"
    return vector, read_vector(vector, query, what), ()


def read_vector(vector: VectorSchema, given: Any, what: str, *, normalize: bool = True) -> Vector:
    """A vector of a name as it is searched with. Raises InvalidInputError."""
    text = is_document(given)
    if vector.is_sparse:
        return vectors.to_sparse([bm25.of_query(given, what) if text else given], [what])
    if text or is_sparse(given):
        came = "a text" if text else "a sparse vector"
        many = "vectors of " if vector.is_multi else ""
        raise InvalidInputError(f"{what}: expected {many}{vector.size} numbers, got {came}")
    cosine = normalize and vector.normalize
    if vector.is_multi:
        return vectors.to_multi([given], vector.size, normalize=cosine, what=[what])
    return vectors.to_query(given, vector.dim, normalize=cosine, what=what)


def _named(query: Any, asked: Asked) -> tuple[Any, Any]:
    """The name and the vector (or id) in a query of any form but the plainest."""
    name, fields = asked.using, fields_of(query)
    if type(query) is tuple and len(query) == 2 and isinstance(query[0], str):
        name, query = query
    elif isinstance(query, _NAMED) or "vector" in (fields or ()):
        kind: Any = type(query)
        if kind not in _NAMED:
            kind = _NAMED[makes_sparse((fields or {})["vector"])]
        named: Any = models.coerce(kind, fields or query, f"{asked.where}query")
        name, query = named.name, named.vector
    fields = fields_of(query)
    if fields is not None and not makes_sparse(query):
        raise InvalidInputError(
            f"{asked.where}query: expected a vector, an id, a Document, (name, "
            f"vector), NamedVector, NamedSparseVector, or a query by nearest, recommend, discover, "
            f"context, relevance_feedback, fusion, rrf, formula, order_by, sample or text, got "
            f"{type(query).__name__} with {', '.join(map(repr, fields)) or 'nothing'}"
        )
    return name, query
