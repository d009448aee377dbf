"""Asked: what a request asks for besides its query, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct

from vecdb import models
from vecdb.engine.read.lookup import Elsewhere, Lookup, lookup
from vecdb.engine.read.masks import Condition
from vecdb.engine.read.plan import Wanted
from vecdb.engine.read.reader import condition, wanted
from vecdb.engine.view import View
from vecdb.errors import InvalidInputError

MOST = 1 << 31
"""Results asked for, those skipped included."""
_NO_PARAMS = models.SearchParams()


class Asked(Struct, frozen=True, eq=False):
    """All of a request but its query. ``using`` is as given: what it names depends on the query.
    ``prefetches``: how many there are. ``where``: what comes before the names of fields in
    errors."""

    using: Any
    condition: Condition | None
    params: models.SearchParams
    limit: int
    offset: int
    wanted: Wanted
    threshold: float | None
    lookup: Lookup
    prefetches: int = 0
    where: str = ""


def asked_of(
    view: View, request: models.QueryRequest, elsewhere: Elsewhere, where: str = ""
) -> Asked:
    """What a request asks for besides its query. Raises InvalidInputError, NotFoundError. A request
    within another one (``where``) has the names of its fields, the outermost those of a verb's
    arguments."""
    filter, params = ("filter", "params") if where else ("query_filter", "search_params")
    limit, offset = _page(request.limit, request.offset, where)
    want = wanted(view, request.with_payload, request.with_vector, where)
    threshold = _threshold(request.score_threshold, where)
    return Asked(
        using=request.using,
        condition=condition(request.filter, f"{where}{filter}", view),
        params=_params(request.params, f"{where}{params}"),
        limit=limit,
        offset=offset,
        wanted=want,
        threshold=threshold,
        lookup=lookup(view, request.lookup_from, elsewhere, f"{where}lookup_from"),
        prefetches=len(models.parse_prefetch(request.prefetch, f"{where}prefetch")),
        where=where,
    )


def _params(params: Any, what: str) -> models.SearchParams:
    if params is None:
        return _NO_PARAMS
    return models.coerce(models.SearchParams, params, what)


def page_size(limit: Any) -> int:
    """How many are wanted. Raises InvalidInputError."""
    return _page(limit, None)[0]


def _page(limit: Any, offset: Any, where: str = "") -> tuple[int, int]:
    """How many points, and how many are skipped before them; None is as if not given. Raises
    InvalidInputError."""
    limit = 10 if limit is None else whole(limit, f"{where}limit", least=1)
    offset = 0 if offset is None else whole(offset, f"{where}offset", least=0)
    if limit + offset > MOST:
        what = "limit + offset" if offset else "limit"
        raise InvalidInputError(f"{where}{what}: expected at most {MOST}, got {limit + offset}")
    return limit, offset


def whole(value: Any, what: str, *, least: int) -> int:
    """A whole number. Raises InvalidInputError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InvalidInputError(f"{what}: expected an integer >= {least}, got {value!r:.60}")
    return int(value)


def _threshold(value: Any, where: str) -> float | None:
    if value is None:
        return None
    number = not isinstance(value, bool) and isinstance(
        value, (int, float, np.integer, np.floating)
    )
    if not number or value != value:  # NaN: nothing is as good as it
        raise InvalidInputError(f"{where}score_threshold: expected a number, got {value!r:.60}")
    return float(value)
