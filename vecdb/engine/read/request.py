"""Requests: what a caller asks for, unread, compiled once to what the engine runs.

A request is a ``QueryRequest`` of whatever the caller gave, field by field. Compiled it is a leaf:
a search for the nearest points (`Nearest`), or points in the order of their ids (`Scroll`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct, StructMeta

from vecdb import ids, models, vectors
from vecdb.engine.read.masks import Condition, digest_of
from vecdb.engine.read.reader import Scroll, Wanted, condition, wanted
from vecdb.engine.read.rows import gather_vectors
from vecdb.engine.schema import VectorSchema, vector_schema
from vecdb.engine.view import View
from vecdb.errors import InvalidInputError, NotFoundError
from vecdb.models.reading import fields_of

Floats = npt.NDArray[np.float32]

_NOTHING = models.SearchParams()
_PLAIN = frozenset({np.ndarray, list, int, str})  # of queries
_MOST = 1 << 31  # results asked for, those skipped included
_BESIDES = attrgetter(*(name for name in models.QueryRequest.__struct_fields__ if name != "query"))
"""All of a request but its query."""


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


Leaf = Nearest | Scroll

unread: Callable[..., models.QueryRequest] = partial(StructMeta.__call__, models.QueryRequest)
"""Make a request of whatever a caller gave: it is read when it is compiled. This calls past the
request's own constructor, which takes a microsecond more to word mistakes that no verb makes."""


def compiled(view: View, request: models.QueryRequest) -> Leaf:
    """Compile one request: without a query, points in id order. Raises InvalidInputError,
    NotFoundError."""
    return _in_order(view, request) if request.query is None else nearest(view, request)


def nearest(view: View, request: models.QueryRequest) -> Nearest:
    """Compile one search. Raises InvalidInputError, NotFoundError."""
    vector, query, excluded = _query(view, request.query, request.using)
    params = _params(request.params)
    limit, offset = _page(request.limit, request.offset)
    want = wanted(view, request.with_payload, request.with_vector)
    threshold = _threshold(request.score_threshold)
    return Nearest(
        vector=vector,
        query=query,
        excluded=excluded,
        condition=condition(request.filter, "query_filter"),
        params=params,
        limit=limit,
        offset=offset,
        wanted=want,
        threshold=threshold,
    )


def _in_order(view: View, request: models.QueryRequest) -> Scroll:
    if request.using is not None:
        vector_schema(view.schema, request.using)
    _params(request.params)
    if request.score_threshold is not None:
        raise InvalidInputError(
            f"score_threshold: expected None without a query, got {request.score_threshold!r:.60}"
        )
    limit, offset = _page(request.limit, request.offset)
    want = wanted(view, request.with_payload, request.with_vector)
    matching = condition(request.filter, "query_filter")
    return Scroll(condition=matching, limit=limit, skipped=offset, wanted=want)


def walk(
    view: View, *, filter: Any, limit: Any, offset: Any, with_payload: Any, with_vectors: Any
) -> Scroll:
    """Compile a walk in id order, from the id ``offset`` on. Raises InvalidInputError."""
    return Scroll(
        condition=condition(filter, "scroll_filter"),
        limit=_page(limit, None)[0],
        start=0 if offset is None else ids.key_of(models.parse_point_id(offset, "offset")),
        wanted=wanted(view, with_payload, with_vectors),
    )


def several(view: View, requests: Sequence[models.QueryRequest]) -> list[Leaf]:
    """Compile several requests that were read. What a request shares with the search before it is
    not checked again."""
    checked: list[Leaf] = []
    last: Nearest | None = None
    before, filter = None, None
    for request in requests:
        if request.query is None:
            checked.append(_in_order(view, request))
            continue
        besides = _BESIDES(request)
        if last is not None and besides == before and _are_one(filter, request.filter):
            vector, query, excluded = _query(view, request.query, request.using)
            last = copy(last)
            last.vector, last.query, last.excluded = vector, query, excluded
        else:
            last, before, filter = nearest(view, request), besides, request.filter
        checked.append(last)
    return checked


def _are_one(filter: models.Filter | None, other: models.Filter | None) -> bool:
    """Whether two filters are the same; ``==`` alone takes True for 1."""
    if filter is None or other is None:
        return filter is other
    digest = digest_of(filter)
    return digest is not None and digest == digest_of(other)


def _params(params: Any) -> models.SearchParams:
    if params is None:
        return _NOTHING
    return models.coerce(models.SearchParams, params, "search_params")


def _page(limit: Any, offset: Any) -> tuple[int, int]:
    """How many points, and how many are skipped before them; None is as if not given. Raises
    InvalidInputError."""
    limit = 10 if limit is None else _whole(limit, "limit", least=1)
    offset = 0 if offset is None else _whole(offset, "offset", least=0)
    if limit + offset > _MOST:
        what = "limit + offset" if offset else "limit"
        raise InvalidInputError(f"{what}: expected at most {_MOST}, got {limit + offset}")
    return limit, offset


def _threshold(value: Any) -> float | None:
    return None if value is None else _number(value, "score_threshold")


def _query(view: View, query: Any, using: str | None) -> tuple[VectorSchema, Floats, int | None]:
    """The vector to search with, its schema, and the point to leave out (a query by id)."""
    name = using
    if type(query) not in _PLAIN:  # seldom; the questions then take longer than they look
        name, query = _unwrapped(query, using)
    if using is not None and not isinstance(using, str):
        raise InvalidInputError(f"using: expected the name of a vector, got {using!r:.60}")
    if using is not None and name != using:
        raise InvalidInputError(f"using: expected {name!r}, as the query says, got {using!r:.60}")
    vector = vector_schema(view.schema, "" if name is None else name)
    cosine = vector.distance is models.Distance.COSINE
    if isinstance(query, (int, np.integer, str)) or type(query).__name__ == "UUID":
        key = ids.key_of(query)
        where, rows = view.locate([key])
        if where[0] < 0:
            raise NotFoundError(f"query: point {query!r} does not exist")
        gathered, has = gather_vectors(view, where, rows, vector.name)
        if not has[0]:
            raise NotFoundError(f"query: point {query!r} has no vector {vector.name!r}")
        return vector, gathered[0], key
    what = "query vector" if not vector.name else f"query vector {vector.name!r}"
    return vector, vectors.to_query(query, vector.dim, normalize=cosine, what=what), None


def _unwrapped(query: Any, name: str | None) -> tuple[str | None, Any]:
    """The name and the vector (or id) in a query of any form but the plainest."""
    if type(query) is tuple and len(query) == 2 and isinstance(query[0], str):
        name, query = query
    elif isinstance(query, models.NamedVector) or "vector" in (fields_of(query) or ()):
        named = models.coerce(models.NamedVector, query, "query")
        name, query = named.name, named.vector
    elif hasattr(query, "nearest"):
        if getattr(query, "mmr", None) is not None:
            raise InvalidInputError("query.mmr: Qdrant's, not supported by vecdb")
        query = query.nearest
    elif (fields_of(query) or {}).keys() == {"nearest"}:
        query = query["nearest"]
    fields = fields_of(query)
    if fields is not None:
        raise InvalidInputError(
            f"query: expected a vector, an id, (name, vector), NamedVector or NearestQuery, got "
            f"{type(query).__name__} with {', '.join(map(repr, fields)) or 'nothing'} (Qdrant's "
            f"other queries and sparse vectors are not supported by vecdb)"
        )
    return name, query


def explanation(wanted: Any) -> list[models.SegmentSearch] | None:
    """Where to write what was done, if that is wanted. Raises InvalidInputError."""
    if not isinstance(wanted, bool):
        raise InvalidInputError(f"explain: expected True or False, got {wanted!r:.60}")
    return [] if wanted else None


def _whole(value: Any, what: str, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InvalidInputError(f"{what}: expected an integer >= {least}, got {value!r:.60}")
    return int(value)


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InvalidInputError(f"{what}: expected a number, got {value!r:.60}")
    if value != value:  # NaN: nothing is as good as it
        raise InvalidInputError(f"{what}: expected a number, got {value!r:.60}")
    return float(value)
