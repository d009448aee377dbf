"""From the arguments that Qdrant's client passes on to those of a verb of ``VecDB``.

Qdrant's client passes everything it knows with every call, mostly as None. What no verb here names
is dropped when it is None or empty, or when nothing depends on it where there is no cluster; all
else goes on as it is, and ``VecDB`` says whether it has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from inspect import Parameter, signature
from typing import Any

from qdrant_client.local.qdrant_local import QdrantLocal

from vecdb import models
from vecdb.errors import InvalidInputError

# Uploads are written in batches, each of which is one write to disk. Qdrant's client makes them for
# a network, 64 points each.
_BATCH = 1000

# Local mode ignores these, too.
_OF_CLUSTERS = frozenset(
    {
        "append_payload",
        "consistency",
        "grpc_grace",
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


def prepared(
    verb: str, method: Callable[..., Any], positional: tuple[Any, ...], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments, by name, for a method of ``VecDB``; positional ones are in Qdrant's order.

    Raises TypeError, as any function, if there are too many, or there is one twice.
    """
    arguments = {**_by_name(verb, method, positional, given), **given}
    change = _CHANGED.get(verb)
    if change is not None:
        change(arguments)
    named = _named(getattr(method, "__func__", method))
    return {
        name: value
        for name, value in arguments.items()
        if name in named or not (value is None or name in _OF_CLUSTERS or _is_empty(value))
    }


def _by_name(
    verb: str, method: Callable[..., Any], positional: tuple[Any, ...], given: Mapping[str, Any]
) -> dict[str, Any]:
    if not positional:
        return {}
    order = _order(verb, method)
    if len(positional) > len(order):
        raise TypeError(
            f"{verb}() takes {len(order)} positional arguments but {len(positional)} were given"
        )
    arguments = dict(zip(order, positional, strict=False))
    for name in arguments.keys() & given.keys():
        raise TypeError(f"{verb}() got multiple values for argument {name!r}")
    return arguments


@cache
def _named(verb: Callable[..., Any]) -> frozenset[str]:
    parameters = signature(verb).parameters.values()
    return frozenset(p.name for p in parameters if p.kind is not Parameter.VAR_KEYWORD)


def _order(verb: str, method: Callable[..., Any]) -> list[str]:
    theirs = getattr(QdrantLocal, verb, None)
    return _names(method) if theirs is None else _names(theirs)[1:]


def _names(verb: Callable[..., Any]) -> list[str]:
    """Of the arguments that may be given by position."""
    parameters = signature(verb).parameters.values()
    return [p.name for p in parameters if p.kind is Parameter.POSITIONAL_OR_KEYWORD]


def _is_empty(value: Any) -> bool:
    return isinstance(value, (dict, list, tuple)) and not value


# -- what has another form there -------------------------------------------------------------


def _upsert(arguments: dict[str, Any]) -> None:
    """A list of points or a ``Batch``, also out of the objects around them that a request has."""
    given = arguments.get("points")
    for wrapper in ("batch", "points"):  # PointsBatch, PointsList
        inside = getattr(given, wrapper, None)
        if inside is not None:
            arguments["points"] = inside


def _upload(arguments: dict[str, Any]) -> None:
    size = arguments.get("batch_size")
    arguments["batch_size"] = max(size, _BATCH) if isinstance(size, int) else _BATCH


def _upload_points(arguments: dict[str, Any]) -> None:
    _upload(arguments)
    if "points" in arguments:  # or the verb says that they are missing
        arguments["points"] = _with_vectors(arguments["points"])


def _with_vectors(points: Iterable[Any]) -> Iterator[Any]:
    """A point that was read without a vector has none."""
    for point in points:
        if getattr(point, "vector", ()) is None:
            point = point.model_copy(update={"vector": {}})
        yield point


def _create_collection(arguments: dict[str, Any]) -> None:
    """``{"": params}`` is the unnamed vector, as for a server."""
    given = arguments.setdefault("vectors_config", None)
    if isinstance(given, Mapping) and given.keys() == {""}:
        arguments["vectors_config"] = given[""]


def _retrieve(arguments: dict[str, Any]) -> None:
    """Texts that are no ids name no point. A server refuses them, local mode does not, and programs
    look for what they have made up."""
    wanted = arguments.get("ids")
    if isinstance(wanted, list):
        arguments["ids"] = [each for each in wanted if not _is_no_id(each)]


def _delete(arguments: dict[str, Any]) -> None:
    """The same for those to delete."""
    given = arguments.get("points_selector")
    wanted = getattr(given, "points", given)
    if isinstance(wanted, list) and any(map(_is_no_id, wanted)):
        kept = [each for each in wanted if not _is_no_id(each)]
        arguments["points_selector"] = {"must": [{"has_id": kept}]}


def _is_no_id(given: Any) -> bool:
    if not isinstance(given, str):
        return False
    try:
        models.parse_point_id(given)
    except InvalidInputError:
        return True
    return False


def _create_payload_index(arguments: dict[str, Any]) -> None:
    """``field_schema`` was once called ``field_type``."""
    older = arguments.pop("field_type", None)
    if arguments.get("field_schema") is None:
        arguments["field_schema"] = older


_CHANGED: dict[str, Callable[[dict[str, Any]], None]] = {
    "create_collection": _create_collection,
    "create_payload_index": _create_payload_index,
    "delete": _delete,
    "recreate_collection": _create_collection,
    "retrieve": _retrieve,
    "upload_collection": _upload,
    "upload_points": _upload_points,
    "upsert": _upsert,
}
