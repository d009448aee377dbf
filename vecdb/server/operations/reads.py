"""Operations that read points."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable
from functools import partial
from itertools import islice
from typing import Any

import msgspec

from vecdb import models
from vecdb.server.answers import Lines, Page, Points, hit_lines
from vecdb.server.requests import (
    MOST_SEARCHES,
    Bound,
    Fields,
    ids,
    page,
    point_id,
    several,
    vector,
)
from vecdb.server.searches import arguments
from vecdb.server.service import Service
from vecdb.server.status import NOT_FOUND, Refusal, malformed
from vecdb.server.table import Call, Right, Shapes, operation

_VECTORS = {"with_vectors": "with_vector"}
_PARAMS = (
    Bound("limit", 1),
    Bound("params.hnsw_ef", 1),
    Bound("params.quantization.oversampling", 1.0),
    Bound("params.acorn.max_selectivity", 0.0, 1.0),
)
_WANTED = ("with_payload", "with_vector", "score_threshold", "shard_key")

_QUERY = ("query", "using", "filter", "params", "limit", "offset", *_WANTED)
_FROM = ("prefetch", "lookup_from")
_KINDS = (
    Bound("query.mmr.diversity", 0.0, 1.0),
    Bound("query.mmr.candidates_limit", 1, 16_384),
    Bound("query.rrf.k", 1),
)
QUERY = Fields(*(*_QUERY, *_FROM), aliases=_VECTORS, bounds=(*_PARAMS, *_KINDS), prefix="internal.")
_QUERY_OF_BATCH = Fields(*_QUERY, *_FROM, aliases=_VECTORS, bounds=(*_PARAMS, *_KINDS))
QUERY_BATCH = Fields(required=("searches",))
_PREFETCH = Fields(
    *("query", "using", "filter", "params", "limit", "score_threshold", *_FROM),
    bounds=(*_PARAMS, *_KINDS),
)
_DEEPEST = 64
"""Prefetches in one another, as the verb has it, which refuses what is deeper."""

_SEARCH = ("filter", "params", "offset", *_WANTED)
_TOP = {**_VECTORS, "top": "limit"}
WITHIN = Fields(
    *("using", "filter", "with_payload", "with_vector", "shard_key"),
    required=("query", "score_threshold"),
    aliases=_VECTORS,
)
SEARCH = Fields(
    *_SEARCH,
    required=("vector", "limit"),
    aliases=_TOP,
    renamed={"vector": "query"},
    bounds=(*_PARAMS, Bound("top", 1)),
    prefix="search_request.",
)
_SEARCH_OF_BATCH = Fields(
    *_SEARCH, required=("vector", "limit"), aliases=_TOP, bounds=(*_PARAMS, Bound("top", 1))
)
SEARCH_BATCH = Fields(required=("searches",))

_GROUP_SIZE = Bound("group_size", 1)
QUERY_GROUPS = Fields(
    *("query", "using", "filter", "params", "limit", *_WANTED, *_FROM),
    *("group_size", "with_lookup"),
    required=("group_by",),
    aliases=_VECTORS,
    bounds=(*_PARAMS, *_KINDS, _GROUP_SIZE),
)
SEARCH_GROUPS = Fields(
    *("filter", "params", *_WANTED, "with_lookup"),
    required=("vector", "group_by", "group_size", "limit"),
    aliases=_VECTORS,
    renamed={"vector": "query_vector"},
    bounds=(*_PARAMS, _GROUP_SIZE),
)

RETRIEVE = Fields(
    *("with_payload", "with_vector", "shard_key"),
    required=("ids",),
    aliases=_VECTORS,
    renamed={"with_vector": "with_vectors", "shard_key": "shard_key_selector"},
)
SCROLL = Fields(
    *("filter", "limit", "offset", "with_payload", "with_vector", "order_by", "shard_key"),
    aliases=_VECTORS,
    renamed={
        "filter": "scroll_filter",
        "with_vector": "with_vectors",
        "shard_key": "shard_key_selector",
    },
    bounds=(Bound("limit", 1),),
    prefix="scroll_request.",
)
COUNT = Fields(
    *("filter", "exact", "shard_key"),
    renamed={"filter": "count_filter", "shard_key": "shard_key_selector"},
)
FACET = Fields(
    *("filter", "limit", "exact", "shard_key"),
    required=("key",),
    renamed={"filter": "facet_filter", "shard_key": "shard_key_selector"},
    bounds=(Bound("limit", 1),),
)

_PLAIN = {"query", "limit", "with_payload"}
_PIECE = 256
"""So many points within a distance are sent at once."""
_SHORT = 100
"""So many results are an answer that is short."""
_FEW = 8
"""So many searches are a batch that is short."""


@operation(Right.READ, QUERY)
async def query(service: Service, call: Call) -> Any:
    """Find the points nearest to a vector or to a point, points in the order of a value, or some by
    chance; or, without a query, the first ones. Or find such points first, and make a query, one
    list or other scores of them."""
    return Points(await found(service, call, _query(QUERY, call.body)))


async def found(service: Service, call: Call, request: dict[str, Any]) -> Any:
    """The points of one request."""
    return await service.searches.make(
        _kind(call.collection, request),
        await service.current(call.collection),
        request,
        call.shapes.hits,
        alone=call.alone,
        timeout=call.timeout,
    )


@operation(Right.READ, QUERY)
async def explain(service: Service, call: Call) -> Any:
    """Make a query, and say what it did in each segment: by what how many rows were looked at, how
    many went on, and why."""
    collection = await service.current(call.collection)
    request = arguments(_query(QUERY, call.body))

    def work() -> Any:
        found = collection.query_points(**request, explain=True)
        return {"points": call.shapes.hits(found.points), "explanation": found.explanation}

    return await service.lanes.read(None, work, call.timeout)


@operation(Right.READ, WITHIN)
async def within(service: Service, call: Call) -> Any:
    """Find all points with a better score than a threshold, as JSON lines, which are sent as they
    are found: in no order, and of one state."""
    collection = await service.current(call.collection)
    given = page(WITHIN.read(call.body))
    asked = tidy({**given, "query": vector(given["query"])})
    found = collection.within(**arguments(asked))

    def work() -> bytes:
        return hit_lines(list(islice(found, _PIECE)))

    async def lines(first: bytes) -> AsyncIterator[bytes]:
        piece = first
        while piece:
            yield piece
            piece = await service.lanes.read(None, work, call.timeout)

    # The first ones are found before the answer begins: what goes wrong now is refused as usual.
    return Lines(lines(await service.lanes.read(None, work, call.timeout)))


def _query(fields: Fields, body: Any, where: str = "") -> dict[str, Any]:
    """A query, as ``QueryRequest`` has it."""
    given = page(fields.read(body, where))
    asked = given.get("query")
    if type(asked) is dict:
        asked = {key: value for key, value in asked.items() if value is not None}
        asked = asked["nearest"] if asked.keys() == {"nearest"} else asked
    given["query"] = vector(asked)
    if "prefetch" in given:
        place = f"{where}{fields.prefix}prefetch"
        given["prefetch"] = _prefetch(given["prefetch"], place, _DEEPEST)
    return tidy(given, where)


def _prefetch(given: Any, where: str, depth: int) -> Any:
    """What is found first: one prefetch, or a list of them. Raises Refusal."""
    if not depth:
        return given
    if isinstance(given, list):
        return [_one_prefetch(each, f"{where}[{at}]", depth) for at, each in enumerate(given)]
    return _one_prefetch(given, where, depth)


def _one_prefetch(given: Any, where: str, depth: int) -> dict[str, Any]:
    read = _PREFETCH.read(given, f"{where}.")
    if "prefetch" in read:
        read["prefetch"] = _prefetch(read["prefetch"], f"{where}.prefetch", depth - 1)
    return read


def tidy(given: dict[str, Any], where: str = "") -> dict[str, Any]:
    """A request without what says nothing."""
    using = given.get("using", "")
    if not isinstance(using, str):
        raise malformed(f"{where}using: expected a string")
    if not using:
        given.pop("using", None)  # the unnamed one
    for name in ("prefetch", "lookup_from", "shard_key"):
        if given.get(name) == []:
            del given[name]
    return given


@operation(Right.READ, QUERY_BATCH)
async def query_batch(service: Service, call: Call) -> Any:
    """Make several queries of one and the same state."""
    collection = await service.current(call.collection)
    requests = [
        _query(_QUERY_OF_BATCH, item, f"searches[{number}].")
        for number, item in enumerate(several(QUERY_BATCH, call.body, MOST_SEARCHES))
    ]
    shape = call.shapes.hits

    def work() -> list[Points]:
        return [Points(shape(each.points)) for each in collection.query_batch_points(requests)]

    kind = _kind_of_batch(call.collection, "query_batch", requests)
    return await service.lanes.read(kind, work, call.timeout)


@operation(Right.READ, SEARCH)
async def search(service: Service, call: Call) -> Any:
    """Find the points nearest to a vector."""
    request = page(SEARCH.read(call.body))
    asked = request["query"]
    if type(asked) is dict and asked.keys() == {"name", "vector"}:
        request["using"], asked = asked["name"], asked["vector"]
    request["query"] = vector(asked)
    return await found(service, call, request)


@operation(Right.READ, SEARCH_BATCH)
async def search_batch(service: Service, call: Call) -> Any:
    """Make several searches of one and the same state."""
    collection = await service.current(call.collection)
    requests = []
    for number, item in enumerate(several(SEARCH_BATCH, call.body, MOST_SEARCHES)):
        given = page(_SEARCH_OF_BATCH.read(item, f"searches[{number}]."))
        if type(given["vector"]) is list:
            given["vector"] = vector(given["vector"])
        requests.append(given)
    shape = call.shapes.hits

    def work() -> list[Any]:
        return [shape(each) for each in collection.search_batch(requests)]

    kind = _kind_of_batch(call.collection, "search_batch", requests)
    return await service.lanes.read(kind, work, call.timeout)


@operation(Right.READ, QUERY_GROUPS)
async def query_groups(service: Service, call: Call) -> Any:
    """Make a query whose points come in groups, by a value of their payload."""
    collection = await service.current(call.collection)
    given = arguments(_query(QUERY_GROUPS, call.body))

    def work() -> Any:
        return groups_of(call.shapes, collection.query_points_groups(**given))

    return await service.lanes.read(None, work, call.timeout)


@operation(Right.READ, SEARCH_GROUPS)
async def search_groups(service: Service, call: Call) -> Any:
    """Make a search whose points come in groups, by a value of their payload."""
    collection = await service.current(call.collection)
    given = arguments(page(SEARCH_GROUPS.read(call.body)))
    given["query_vector"] = vector(given["query_vector"])

    def work() -> Any:
        return groups_of(call.shapes, collection.search_groups(**given))

    return await service.lanes.read(None, work, call.timeout)


def groups_of(shapes: Shapes, result: models.GroupsResult) -> dict[str, Any]:
    """What was found in groups, as an answer."""
    groups = []
    for each in result.groups:
        group = {"hits": shapes.hits(each.hits), "id": each.id}
        if each.lookup is not None:
            group["lookup"] = shapes.point(each.lookup)
        groups.append(group)
    return {"groups": groups}


@operation(Right.READ, RETRIEVE)
async def retrieve(service: Service, call: Call) -> Any:
    """Look up points by their ids."""
    collection = await service.current(call.collection)
    given = RETRIEVE.read(call.body)
    given.setdefault("with_payload", False)  # as Qdrant's server, not as its description
    ids(given["ids"])
    few = isinstance(given["ids"], list) and len(given["ids"]) <= _SHORT
    kind = (call.collection, "retrieve", bool(given.get("with_vectors"))) if few else None
    return await service.lanes.read(
        kind, lambda: call.shapes.points(collection.retrieve(**given)), call.timeout
    )


@operation(Right.READ)
async def get_point(service: Service, call: Call) -> Any:
    """Look up one point."""
    collection = await service.current(call.collection)
    wanted = point_id(call.item)
    found = await service.lanes.read(
        (call.collection, "retrieve", True),
        partial(collection.retrieve, [wanted], with_payload=True, with_vectors=True),
        call.timeout,
    )
    if not found:
        raise Refusal(NOT_FOUND, f"Not found: Point with id {call.item} does not exists!")
    return call.shapes.point(found[0])


@operation(Right.READ, SCROLL)
async def scroll(service: Service, call: Call) -> Any:
    """Walk through the points in the order of their ids, or of a value, a page at a time."""
    collection = await service.current(call.collection)
    given = page(SCROLL.read(call.body))
    limit = given.get("limit", 10)
    kind: Hashable | None = None
    if type(limit) is int and limit <= _SHORT and "order_by" not in given:
        filter = _text(given.get("scroll_filter"))
        kind = (call.collection, "scroll", filter, bool(given.get("with_vectors")))

    def work() -> Page:
        records, following = collection.scroll(**given)
        return Page(call.shapes.points(records), following)

    return await service.lanes.read(kind, work, call.timeout)


@operation(Right.READ, COUNT)
async def count(service: Service, call: Call) -> Any:
    """Count points."""
    collection = await service.current(call.collection)
    given = COUNT.read(call.body)
    _check_exact(given)
    kind = (call.collection, "count", _text(given.get("count_filter")))
    counted = await service.lanes.read(kind, partial(collection.count, **given), call.timeout)
    return {"count": counted.count}


@operation(Right.READ, FACET)
async def facet(service: Service, call: Call) -> Any:
    """Count the points that have each value of a field of the payload."""
    collection = await service.current(call.collection)
    given = page(FACET.read(call.body))
    _check_exact(given)
    found = await service.lanes.read(None, partial(collection.facet, **given), call.timeout)
    return {"hits": [{"value": each.value, "count": each.count} for each in found.hits]}


def _check_exact(given: dict[str, Any]) -> None:
    if not isinstance(given.get("exact", True), bool):
        raise malformed("exact: expected a boolean")


def _kind(name: str, request: dict[str, Any]) -> Hashable | None:
    """What searches have in common that take about as long. None: it may be long."""
    limit, asked = request.get("limit", 10), request["query"]
    if type(limit) is not int or limit > _SHORT or type(asked) is dict or "prefetch" in request:
        return None
    if request.keys() <= _PLAIN:
        return name, limit, type(asked), request.get("with_payload") is True
    rest = {key: value for key, value in request.items() if key != "query"}
    return name, type(asked), _text(rest)


def _kind_of_batch(name: str, verb: str, requests: list[dict[str, Any]]) -> Hashable | None:
    if len(requests) > _FEW:
        return None
    rest = [
        {key: value for key, value in each.items() if key not in ("query", "vector")}
        for each in requests
    ]
    if any(type(each.get("query")) is dict or "prefetch" in each for each in requests):
        return None
    limits = (each.get("limit", 10) for each in requests)
    if any(type(limit) is not int or limit > _SHORT for limit in limits):
        return None
    return name, verb, _text(rest)


def _text(value: Any) -> bytes | None:
    return None if value is None else msgspec.json.encode(value)
