"""From the arguments that Qdrant's client passes on to those of a verb of ``VecDB``.

Qdrant's client passes everything it knows with every call, mostly as None. What no verb here names
is dropped when it is None or empty, or when nothing depends on it where there is no cluster; all
else goes on as it is, and ``VecDB`` says whether it has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from inspect import Parameter, signature
from typing import Any

# Local mode ignores these, too.
_OF_CLUSTERS = frozenset(
    {
        "append_payload",
        "collection_params",
        "consistency",
        "grpc_grace",
        "id_tracker",
        "method",
        "ordering",
        "replication_factor",
        "shard_key_selector",
        "shard_number",
        "sharding_method",
        "strict_mode_config",
        "timeout",
        "write_consistency_factor",
    }
)


def fitting(verb: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What of the arguments goes to a verb."""
    named = _named(getattr(verb, "__func__", verb))
    return {
        name: value
        for name, value in given.items()
        if name in named or not (value is None or name in _OF_CLUSTERS or _is_empty(value))
    }


@cache
def _named(verb: Callable[..., Any]) -> frozenset[str]:
    parameters = signature(verb).parameters.values()
    return frozenset(p.name for p in parameters if p.kind is not Parameter.VAR_KEYWORD)


def _is_empty(value: Any) -> bool:
    return isinstance(value, (dict, list, tuple)) and not value


def points(given: Any) -> Any:
    """The points of an upsert: a list or a ``Batch``, also out of the objects around them that a
    request has."""
    for wrapper in ("batch", "points"):  # PointsBatch, PointsList
        inside = getattr(given, wrapper, None)
        if inside is not None:
            return inside
    return given


def vectors_config(given: Any) -> Any:
    """``{"": params}`` is the unnamed vector, as for a server."""
    if isinstance(given, Mapping) and given.keys() == {""}:
        return given[""]
    return given


def with_vectors(given: Iterable[Any]) -> Iterable[Any]:
    """Points to upload. A point that was read without a vector has none."""
    for point in given:
        if getattr(point, "vector", ()) is None:
            point = point.model_copy(update={"vector": {}})
        yield point
