"""Prefetch: what is found first, for a query to be made on it instead of on all points.

Prefetches are requests that have a filter more: that of the query which they are for goes down to
the leaves, so that their limits count points that match; and what is an example there, and so no
result, is none of theirs. So it is in Qdrant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import StructMeta, structs

from vecdb import ids, models
from vecdb.engine.read.plan import (
    Combined,
    Mmr,
    Nearest,
    Ordered,
    Plan,
    Relevant,
    Sampled,
    Scroll,
    Sources,
)
from vecdb.errors import InvalidInputError
from vecdb.payload.split import conditions

MAX_DEPTH = 64
"""Prefetches in one another. Qdrant has the same bound."""

Compile = Callable[[models.QueryRequest, str], Plan]
"""Compiles a request, with what comes before the names of its fields in errors."""


def upon(plan: Plan, request: models.QueryRequest, compile: Compile, where: str) -> Plan:
    """The plan of a request, made on what its prefetches find. Raises InvalidInputError,
    NotFoundError."""
    given = models.parse_prefetch(request.prefetch, f"{where}prefetch")
    if not given:
        return plan
    if where.count("prefetch") == MAX_DEPTH:
        raise InvalidInputError(f"prefetch: nested deeper than {MAX_DEPTH} levels")
    outer = _filter(request)
    if excluded := _excluded(plan):
        has_id = models.HasIdCondition(has_id=[ids.external(key) for key in excluded])
        outer = _both(outer, models.Filter(must_not=has_id))
    alone = not isinstance(request.prefetch, (list, tuple))
    sources = tuple(
        compile(
            _request(each, _both(outer, each.filter)),
            f"{where}prefetch." if alone else f"{where}prefetch[{number}].",
        )
        for number, each in enumerate(given)
    )
    return _on(plan, sources)


def _excluded(plan: Plan) -> Sequence[int]:
    """The keys of points that are examples, and no results."""
    if isinstance(plan, Mmr):
        return _excluded(plan.sources[0])
    return plan.excluded if isinstance(plan, Nearest | Combined) else ()


def _on(plan: Plan, sources: Sources) -> Plan:
    """A plan made on what others find. Of so few points the scores are exact."""
    if isinstance(plan, Mmr):
        return structs.replace(plan, sources=(_on(plan.sources[0], sources),))
    if isinstance(plan, Nearest | Combined):
        params = structs.replace(plan.params, exact=True)
        return structs.replace(plan, sources=sources, condition=None, params=params)
    if isinstance(plan, Relevant | Scroll | Ordered | Sampled):
        return structs.replace(plan, sources=sources, condition=None)
    return structs.replace(plan, sources=sources)


def _request(prefetch: models.Prefetch, filter: models.Filter | None) -> models.QueryRequest:
    fields = {name: getattr(prefetch, name) for name in prefetch.__struct_fields__}
    request: models.QueryRequest = StructMeta.__call__(
        models.QueryRequest, **(fields | {"filter": filter})
    )
    return request


def _filter(request: models.QueryRequest) -> models.Filter | None:
    if request.filter is None:
        return None
    return models.coerce(models.Filter, request.filter, "query_filter")


def _both(outer: models.Filter | None, inner: models.Filter | None) -> models.Filter | None:
    """Two filters as one, clause by clause. Of both ``should`` together one condition suffices, and
    of both ``min_should`` as many as the larger number: as Qdrant has it."""
    if outer is None or inner is None:
        return inner if outer is None else outer
    at_least = outer.min_should or inner.min_should
    if outer.min_should is not None and inner.min_should is not None:
        at_least = models.MinShould(
            conditions=outer.min_should.conditions + inner.min_should.conditions,
            min_count=max(outer.min_should.min_count, inner.min_should.min_count),
        )
    return models.Filter(
        should=_joined(outer.should, inner.should),
        min_should=at_least,
        must=_joined(outer.must, inner.must),
        must_not=_joined(outer.must_not, inner.must_not),
    )


def _joined(outer: Any, inner: Any) -> list[models.Condition] | None:
    if outer is None and inner is None:
        return None
    return [*conditions(outer), *conditions(inner)]


def for_groups(request: models.QueryRequest, key: str, size: int) -> models.QueryRequest:
    """The same request with prefetches that find enough for groups of a size: so many times as many
    points, of those that have a value to be put together by. So it is in Qdrant."""
    given = models.parse_prefetch(request.prefetch)
    if not given:
        return request
    empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
    return structs.replace(
        request,
        prefetch=_deeper(given, size),
        filter=_both(_filter(request), models.Filter(must_not=empty)),
    )


def _deeper(given: list[models.Prefetch], times: int) -> list[models.Prefetch]:
    return [
        structs.replace(
            each,
            limit=each.limit * times,
            prefetch=_deeper(models.parse_prefetch(each.prefetch), times) or None,
        )
        for each in given
    ]
