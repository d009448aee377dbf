"""Operations for queries by examples in their older forms, and for matrices of distances."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from vecdb.models.examples import discover_query, recommend_query
from vecdb.server.operations.reads import found, groups_of, tidy
from vecdb.server.requests import MOST_SEARCHES, Bound, Fields, page, several
from vecdb.server.searches import arguments
from vecdb.server.service import Service
from vecdb.server.table import Call, Right, operation

_OLDER = ("filter", "params", "with_payload", "with_vector", "using", "lookup_from", "shard_key")
_EXAMPLES = ("positive", "negative", "strategy", "score_threshold")
_PAIRS = ("target", "context")
_VECTORS = {"with_vectors": "with_vector"}
_TOP = {**_VECTORS, "top": "limit"}
_BOUNDS = (
    Bound("limit", 1),
    Bound("top", 1),
    Bound("params.hnsw_ef", 1),
    Bound("params.quantization.oversampling", 1.0),
)

_RECOMMEND_OF_BATCH = Fields(
    *(*_OLDER, *_EXAMPLES, "offset"), required=("limit",), aliases=_TOP, bounds=_BOUNDS
)
RECOMMEND = Fields(
    *(*_OLDER, *_EXAMPLES, "offset"),
    required=("limit",),
    aliases=_TOP,
    bounds=_BOUNDS,
    prefix="recommend_request.",
)
RECOMMEND_GROUPS = Fields(
    *(*_OLDER, *_EXAMPLES, "with_lookup"),
    required=("group_by", "group_size", "limit"),
    aliases=_VECTORS,
    bounds=(*_BOUNDS, Bound("group_size", 1)),
)
_DISCOVER_OF_BATCH = Fields(
    *(*_OLDER, *_PAIRS, "offset"), required=("limit",), aliases=_TOP, bounds=_BOUNDS
)
DISCOVER = Fields(
    *(*_OLDER, *_PAIRS, "offset"),
    required=("limit",),
    aliases=_TOP,
    bounds=_BOUNDS,
    prefix="discover_request.",
)
BATCH = Fields(required=("searches",))
MATRIX = Fields(
    *("filter", "limit", "sample", "using", "shard_key"),
    renamed={"filter": "query_filter", "shard_key": "shard_key_selector"},
    bounds=(Bound("limit", 1), Bound("sample", 2)),
    prefix="search_request.",
)


@operation(Right.READ, RECOMMEND)
async def recommend(service: Service, call: Call) -> Any:
    """Find points that are like some examples and unlike others."""
    return await found(service, call, _request(RECOMMEND, recommend_query, call.body))


@operation(Right.READ, BATCH)
async def recommend_batch(service: Service, call: Call) -> Any:
    """Make several recommendations of one and the same state."""
    return await _batch(service, call, partial(_request, _RECOMMEND_OF_BATCH, recommend_query))


@operation(Right.READ, RECOMMEND_GROUPS)
async def recommend_groups(service: Service, call: Call) -> Any:
    """Find such points in groups, by a value of their payload."""
    collection = await service.current(call.collection)
    given = arguments(_request(RECOMMEND_GROUPS, recommend_query, call.body))

    def work() -> Any:
        return groups_of(call.shapes, collection.query_points_groups(**given))

    return await service.lanes.read(None, work, call.timeout)


@operation(Right.READ, DISCOVER)
async def discover(service: Service, call: Call) -> Any:
    """Find points near a target, on the right side of pairs of examples."""
    return await found(service, call, _request(DISCOVER, discover_query, call.body))


@operation(Right.READ, BATCH)
async def discover_batch(service: Service, call: Call) -> Any:
    """Make several discoveries of one and the same state."""
    return await _batch(service, call, partial(_request, _DISCOVER_OF_BATCH, discover_query))


def _request(
    fields: Fields, query: Callable[[dict[str, Any]], Any], body: Any, where: str = ""
) -> dict[str, Any]:
    """An older request, as ``QueryRequest`` has it."""
    given = page(fields.read(body, where))
    given["query"] = query(given)
    return tidy(given, where)


async def _batch(service: Service, call: Call, read: Callable[..., dict[str, Any]]) -> Any:
    collection = await service.current(call.collection)
    requests = [
        read(item, f"searches[{number}].")
        for number, item in enumerate(several(BATCH, call.body, MOST_SEARCHES))
    ]
    shape = call.shapes.hits

    def work() -> list[Any]:
        return [shape(each.points) for each in collection.query_batch_points(requests)]

    return await service.lanes.read(None, work, call.timeout)


@operation(Right.READ, MATRIX)
async def search_matrix_pairs(service: Service, call: Call) -> Any:
    """Find the nearest points of each point of a sample, as pairs."""
    collection = await service.current(call.collection)
    given = _matrix(call.body)
    work = partial(collection.search_matrix_pairs, **given)
    found = (await service.lanes.read(None, work, call.timeout)).pairs
    scores = _shortest([each.score for each in found])
    pairs = zip(found, scores, strict=True)
    return {"pairs": [{"a": each.a, "b": each.b, "score": score} for each, score in pairs]}


@operation(Right.READ, MATRIX)
async def search_matrix_offsets(service: Service, call: Call) -> Any:
    """Find the same, as a sparse matrix."""
    collection = await service.current(call.collection)
    given = _matrix(call.body)
    work = partial(collection.search_matrix_offsets, **given)
    found = await service.lanes.read(None, work, call.timeout)
    return {
        "offsets_row": found.offsets_row,
        "offsets_col": found.offsets_col,
        "scores": _shortest(found.scores),
        "ids": found.ids,
    }


def _shortest(scores: list[float]) -> list[float]:
    """Numbers of 32 bits in the shortest form that means the same ones."""
    return [float(str(each)) for each in np.array(scores, dtype=np.float32)]


def _matrix(body: Any) -> dict[str, Any]:
    return tidy(page(MATRIX.read(body)))
