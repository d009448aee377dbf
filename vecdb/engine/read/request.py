"""Requests: what a caller asks for, unread, compiled once to what the engine runs.

A request is a ``QueryRequest`` of whatever the caller gave, field by field. Compiled it is a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import StructMeta

from vecdb import ids, models, vectors
from vecdb.engine.read.masks import digest_of
from vecdb.engine.read.plan import NOTHING, Mmr, Nearest, Plan, Ranked, Scroll
from vecdb.engine.read.reader import condition, wanted
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


unread: Callable[..., models.QueryRequest] = partial(StructMeta.__call__, models.QueryRequest)
"""Make a request of whatever a caller gave: it is read when it is compiled. This calls past the
request's own constructor, which takes a microsecond more to word mistakes that no verb makes."""


def compiled(view: View, request: models.QueryRequest) -> Plan:
    """Compile one request: without a query, points in id order. Raises InvalidInputError,
    NotFoundError."""
    return _in_order(view, request) if request.query is None else ranked(view, request)


def ranked(view: View, request: models.QueryRequest) -> Ranked:
    """Compile a request that has a query. Raises InvalidInputError, NotFoundError."""
    vector, query, excluded, mmr = _query(view, request.query, request.using)
    search = _search(view, request, vector, query, excluded)
    return search if mmr is None else _diverse(search, mmr)


def _search(
    view: View,
    request: models.QueryRequest,
    vector: VectorSchema,
    query: Floats,
    excluded: int | None,
) -> Nearest:
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


def _diverse(search: Nearest, mmr: models.Mmr) -> Mmr:
    """The page of a search, chosen from its first ``candidates_limit`` results; as in Qdrant these
    are ``limit`` if nothing is said, whatever the offset."""
    candidates = copy(search)
    candidates.limit = mmr.candidates_limit or search.limit
    candidates.offset = 0
    candidates.wanted = NOTHING
    return Mmr(
        source=candidates,
        vector=search.vector,
        query=search.query,
        diversity=mmr.diversity,
        limit=search.limit,
        offset=search.offset,
        wanted=search.wanted,
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


def several(view: View, requests: Sequence[models.QueryRequest]) -> list[Plan]:
    """Compile several requests that were read. What a request shares with the search before it is
    not checked again."""
    plans: list[Plan] = []
    last: Nearest | None = None
    before, filter = None, None
    for request in requests:
        if request.query is None:
            plans.append(_in_order(view, request))
            continue
        vector, query, excluded, mmr = _query(view, request.query, request.using)
        besides = _BESIDES(request)
        if last is not None and besides == before and _are_one(filter, request.filter):
            last = copy(last)
            last.vector, last.query, last.excluded = vector, query, excluded
        else:
            last = _search(view, request, vector, query, excluded)
            before, filter = besides, request.filter
        plans.append(last if mmr is None else _diverse(last, mmr))
    return plans


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


def _query(
    view: View, query: Any, using: str | None
) -> tuple[VectorSchema, Floats, int | None, models.Mmr | None]:
    """The schema of the vector to search with, the vector, the point to leave out (a query by id),
    and how to choose among what is found."""
    name, mmr = using, None
    if type(query) not in _PLAIN:  # seldom; the questions then take longer than they look
        name, query, mmr = _unwrapped(query, using)
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
        return vector, gathered[0], key, mmr
    what = "query vector" if not vector.name else f"query vector {vector.name!r}"
    return vector, vectors.to_query(query, vector.dim, normalize=cosine, what=what), None, mmr


def _unwrapped(query: Any, name: str | None) -> tuple[str | None, Any, models.Mmr | None]:
    """The name, the vector (or id) and the MMR in a query of any form but the plainest."""
    mmr, fields = None, fields_of(query)
    if type(query) is tuple and len(query) == 2 and isinstance(query[0], str):
        name, query = query
    elif isinstance(query, models.NamedVector) or "vector" in (fields or ()):
        named = models.coerce(models.NamedVector, fields or query, "query")
        name, query = named.name, named.vector
    elif isinstance(query, models.NearestQuery) or "nearest" in (fields or ()):
        asked = models.coerce(models.NearestQuery, fields or query, "query")
        query, mmr = asked.nearest, asked.mmr
    fields = fields_of(query)
    if fields is not None:
        raise InvalidInputError(
            f"query: expected a vector, an id, (name, vector), NamedVector or NearestQuery, got "
            f"{type(query).__name__} with {', '.join(map(repr, fields)) or 'nothing'} (Qdrant's "
            f"other queries and sparse vectors are not supported by vecdb)"
        )
    return name, query, mmr


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
