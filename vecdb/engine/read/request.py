"""Requests: what a caller asks for, unread, compiled once to what the engine runs.

A request is a ``QueryRequest`` of whatever the caller gave, field by field. Compiled it is a plan.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
from msgspec import StructMeta
from msgspec.structs import replace

from vecdb import ids, models
from vecdb.engine.read.asked import MOST, Asked, asked_of, page_size, whole
from vecdb.engine.read.lookup import Elsewhere
from vecdb.engine.read.masks import digest_of
from vecdb.engine.read.nearest import another
from vecdb.engine.read.ordered import by_id, ordered
from vecdb.engine.read.plan import Groups, Nearest, Ordered, Plan, Scroll
from vecdb.engine.read.prefetch import for_groups, upon
from vecdb.engine.read.queries import SEARCHES, plan_of
from vecdb.engine.read.reader import condition, wanted
from vecdb.engine.read.values import Values
from vecdb.engine.view import View
from vecdb.errors import InvalidInputError, NotFoundError

_FIELDS = models.QueryRequest.__struct_fields__
_BESIDES = attrgetter(*(name for name in _FIELDS if name != "query"))
"""All of a request but its query."""
_LONGEST_PATH = 80
"""Letters of a path that an error begins with."""


unread: Callable[..., models.QueryRequest] = partial(StructMeta.__call__, models.QueryRequest)
"""Make a request of whatever a caller gave: it is read when it is compiled. This calls past the
request's own constructor, which takes a microsecond more to word mistakes that no verb makes."""


def compiled(view: View, request: models.QueryRequest, elsewhere: Elsewhere) -> Plan:
    """Compile one request: without a query, points in id order. Raises InvalidInputError,
    NotFoundError."""
    return _compiled(view, elsewhere, request, "")


def _compiled(view: View, elsewhere: Elsewhere, request: models.QueryRequest, where: str) -> Plan:
    """The same of a request at a path. What is wrong says where, whoever has found it."""
    try:
        plan = _plan(view, request.query, asked_of(view, request, elsewhere, where))
        if request.prefetch is None:
            return plan
        return upon(plan, request, partial(_compiled, view, elsewhere), where)
    except (InvalidInputError, NotFoundError) as error:
        text, place = str(error), _shown(where)
        if text.startswith((where, place)):
            raise
        begins_with_a_field = re.split(r"\W", text, maxsplit=1)[0] in _FIELDS
        raise type(error)(f"{place if begins_with_a_field else f'{place[:-1]}: '}{text}") from None


def _shown(where: str) -> str:
    """As much of a path as tells where something is."""
    return where if len(where) <= _LONGEST_PATH else f"{where[:_LONGEST_PATH]}…."


def ranked(view: View, request: models.QueryRequest, elsewhere: Elsewhere) -> Plan:
    """Compile a request for what is near a vector. Raises InvalidInputError, NotFoundError."""
    return plan_of(view, request.query, asked_of(view, request, elsewhere), SEARCHES)


def nearer(view: View, request: models.QueryRequest, elsewhere: Elsewhere) -> Nearest:
    """Compile a request for all that is nearer to a vector than a threshold. Raises
    InvalidInputError, NotFoundError."""
    plan = ranked(view, request, elsewhere)
    if not isinstance(plan, Nearest):
        raise InvalidInputError("query: expected no mmr, which chooses among a number of points")
    if plan.threshold is None:
        raise InvalidInputError("score_threshold: expected a number, got None")
    return plan


def _plan(view: View, query: Any, asked: Asked) -> Plan:
    if query is not None:
        return plan_of(view, query, asked)
    if asked.prefetches:
        raise InvalidInputError(
            f"{asked.where}query: expected what to make of the points that were prefetched, got "
            f"None"
        )
    return by_id(view, asked)


def walk(
    view: View,
    *,
    filter: Any,
    limit: Any,
    offset: Any,
    order_by: Any,
    with_payload: Any,
    with_vectors: Any,
) -> Scroll | Ordered:
    """Compile a walk in id order, from the id ``offset`` on, or in the order of a value. Raises
    InvalidInputError."""
    matching = condition(filter, "scroll_filter", view)
    count = page_size(limit)
    start = 0 if offset is None else ids.key_of(models.parse_point_id(offset, "offset"))
    want = wanted(view, with_payload, with_vectors)
    if order_by is None:
        return Scroll(condition=matching, limit=count, start=start, wanted=want)
    order = models.parse_order_by(order_by)
    if offset is not None:
        raise InvalidInputError(
            f"offset: expected None with order_by, whose start_from says where to begin, got "
            f"{offset!r:.60}"
        )
    return ordered(order, matching, count, 0, want)


def groups(
    view: View,
    request: models.QueryRequest,
    group_by: Any,
    group_size: Any,
    elsewhere: Elsewhere,
    compile: Callable[[View, models.QueryRequest, Elsewhere], Plan] = compiled,
) -> Groups:
    """Compile a request for groups, as many as its limit. Raises InvalidInputError,
    NotFoundError."""
    values = Values(group_by, "group_by")
    size = whole(group_size, "group_size", least=1)
    limit = page_size(request.limit)
    if limit * size > MOST:
        raise InvalidInputError(
            f"limit x group_size: expected at most {MOST}, got {limit} x {size}"
        )
    # Of so many MMR chooses, too, if nothing else is said.
    request = for_groups(request, group_by, size)
    source = compile(view, replace(request, limit=limit * size), elsewhere)
    return Groups(
        source=source,
        values=values,
        condition=condition(request.filter, "query_filter", view),
        limit=limit,
        size=size,
        wanted=source.wanted,
    )


def several(
    view: View, requests: Sequence[models.QueryRequest], elsewhere: Elsewhere, first: int = 0
) -> list[Plan]:
    """Compile several requests that were read, ``first`` the number of the first one. What a
    request shares with the one before it is not checked again, and such searches are made
    together."""
    plans: list[Plan] = []
    last: models.QueryRequest | None = None
    search: Plan | None = None  # the last one, of a plain vector
    for number, request in enumerate(requests, first):
        try:
            if last is None or not _are_alike(last, request):
                asked, search = asked_of(view, request, elsewhere), None
            last = request
            if request.prefetch is None:
                plan = another(search, request.query) or _plan(view, request.query, asked)
                plans.append(plan)
                # One of ("name", vector) is by another name than the request says.
                search = plan if type(request.query) is np.ndarray else None
            else:
                plans.append(compiled(view, request, elsewhere))
            continue
        except (InvalidInputError, NotFoundError):
            pass
        # Once more, to say which it is: paths of all that are right would cost more.
        plans.append(_compiled(view, elsewhere, request, f"requests[{number}]."))
    return plans


def _are_alike(request: models.QueryRequest, other: models.QueryRequest) -> bool:
    """Whether two requests are the same but for their query."""
    if request.prefetch is not None or other.prefetch is not None:
        return False  # they have queries of their own
    return _BESIDES(request) == _BESIDES(other) and _are_one(request.filter, other.filter)


def _are_one(filter: models.Filter | None, other: models.Filter | None) -> bool:
    """Whether two filters are the same; ``==`` alone takes True for 1."""
    if filter is None or other is None:
        return filter is other
    digest = digest_of(filter)
    return digest is not None and digest == digest_of(other)


def explanation(wanted: Any) -> list[models.SegmentSearch] | None:
    """Where to write what was done, if that is wanted. Raises InvalidInputError."""
    if not isinstance(wanted, bool):
        raise InvalidInputError(f"explain: expected True or False, got {wanted!r:.60}")
    return [] if wanted else None
