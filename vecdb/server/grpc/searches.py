"""Searches: requests and conditions that messages have in a form of their own.

The older requests for searches, recommendations and discoveries have the vectors of a point and
those that are given in fields apart, where HTTP has them in one.
"""

from __future__ import annotations

from typing import Any

from vecdb.server.grpc.messages import Message
from vecdb.server.grpc.points import numbers
from vecdb.server.grpc.shapes import plain, read, reads, shortest, variant, writes

# -- the requests made most often ------------------------------------------------------------------


def _common(message: Message) -> dict[str, Any]:
    """What all searches have."""
    body: dict[str, Any] = {}
    has = message.HasField
    if has("filter"):
        body["filter"] = read(message.filter)
    if has("params"):
        body["params"] = read(message.params)
    if has("score_threshold"):
        body["score_threshold"] = shortest(message.score_threshold)
    if has("with_payload"):
        body["with_payload"] = read(message.with_payload)
    if has("with_vectors"):
        body["with_vectors"] = read(message.with_vectors)
    if has("shard_key_selector"):
        body["shard_key"] = read(message.shard_key_selector)
    return body


def _offset(message: Message, body: dict[str, Any]) -> dict[str, Any]:
    if message.HasField("offset"):
        body["offset"] = message.offset
    return body


def _query_vector(message: Message) -> Any:
    """The vector that is searched for, perhaps with its name."""
    vector: Any = numbers(message, "vector")
    if message.HasField("sparse_indices"):
        vector = {"indices": list(message.sparse_indices.data), "values": vector.tolist()}
    elif not message.vector_name:
        return vector
    return {"name": message.vector_name, "vector": vector}


@reads("SearchPoints")
def read_search(message: Message) -> dict[str, Any]:
    """A search."""
    body = _offset(message, _common(message))
    return body | {"vector": _query_vector(message), "limit": message.limit}


@reads("SearchPointGroups")
def read_search_groups(message: Message) -> dict[str, Any]:
    """A search for groups."""
    body = _common(message)
    body |= {"vector": _query_vector(message), "limit": message.limit}
    body |= {"group_by": message.group_by, "group_size": message.group_size}
    if message.HasField("with_lookup"):
        body["with_lookup"] = read(message.with_lookup)
    return body


@reads("QueryPoints")
def read_query(message: Message) -> dict[str, Any]:
    """A query."""
    body = _offset(message, _common(message))
    has = message.HasField
    if has("query"):
        nearest = message.query.nearest
        if nearest.HasField("dense"):  # as nearly all are
            body["query"] = numbers(nearest.dense, "data")
        else:
            body["query"] = read(message.query)
    if has("using"):
        body["using"] = message.using
    if has("limit"):
        body["limit"] = message.limit
    if message.prefetch:
        body["prefetch"] = [read(each) for each in message.prefetch]
    if has("lookup_from"):
        body["lookup_from"] = read(message.lookup_from)
    return body


# -- the older requests ----------------------------------------------------------------------------


@reads("RecommendPoints", "RecommendPointGroups")
def read_recommend(message: Message) -> dict[str, Any]:
    """Examples that are points, and such that are vectors, in one list."""
    body = plain(message)
    for name in ("positive", "negative"):
        body[name] += body.pop(f"{name}_vectors")
    return body


# -- conditions ------------------------------------------------------------------------------------

_MATCHES = {
    "keyword": "value",
    "integer": "value",
    "boolean": "value",
    "keywords": "any",
    "integers": "any",
    "except_keywords": "except",
    "except_integers": "except",
}


@reads("Match")
def read_match(message: Message) -> dict[str, Any]:
    """What a field is compared with. Each type of it has a name in messages."""
    name, value = variant(message)
    if name in ("keywords", "integers", "except_keywords", "except_integers"):
        value = read(value)
    return {_MATCHES.get(name, name): value}


@reads("IdfParams")
def read_idf(message: Message) -> str | dict[str, Any]:
    """Among which points frequencies are those of indices."""
    return {"corpus": read(message.corpus)} if message.HasField("corpus") else "global"


@reads("TextQuery")
def read_text(message: Message) -> dict[str, Any]:
    """A text to rank by; the numbers of its scoring stand beside it."""
    if not message.HasField("bm25"):
        return {"query": message.query}
    return {"query": message.query, "scoring": {"bm25": read(message.bm25)}}


@reads("ShardKeySelector")
def read_shard_key(message: Message) -> Any:
    """The keys of shards; none: all shards."""
    keys = [read(each) for each in message.shard_keys]
    if not keys and not message.HasField("fallback"):
        return None
    return keys


# -- answers ---------------------------------------------------------------------------------------


@writes("GroupId")
def write_group_id(value: int | str, message: Message) -> None:
    """Put what the points of a group have in common into a message."""
    if isinstance(value, str):
        message.string_value = value
    elif value < 0:
        message.integer_value = value
    else:
        message.unsigned_value = value


@writes("FacetValue")
def write_facet_value(value: bool | int | str, message: Message) -> None:
    """Put a value that was counted into a message."""
    if isinstance(value, str):
        message.string_value = value
    elif isinstance(value, bool):
        message.bool_value = value
    else:
        message.integer_value = value
