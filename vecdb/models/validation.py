"""The door: any accepted form of an argument in, one validated struct out, and back to JSON.

A caller may pass one of our structs, a plain dict in Qdrant's JSON shape, or an object of
``qdrant_client.models`` (recognised by its ``model_dump``; the package is never imported).
Whatever the form, types and ranges are checked here, because a msgspec constructor checks
neither (but see ``Checked``). A refusal names the field, what was expected and what came.

Three rules hold for every struct:

* ``None`` means "not given": the field takes its default; one that has none refuses it.
* An unknown field is refused, and the known ones are listed.
* In a union of structs the fields present decide which one is meant, as in Qdrant's JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import Enum
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import numpy as np

from vecdb.errors import InvalidInputError
from vecdb.models.reading import (
    Model,
    Refused,
    check_fields,
    converter,
    keys,
    known_fields,
    show,
)

T = TypeVar("T")


def coerce(type_: type[T], value: Any, what: str | None = None) -> T:
    """``value`` as a validated ``type_``; ``what`` names the argument in the error.

    ``None`` is an empty ``type_`` if that has no required field. Values are normalised: ids and
    datetimes to their canonical form, numpy scalars to Python's.
    """
    if value is None:
        empty: T | None = _empty(type_)  # type: ignore[arg-type]
        if empty is None:
            raise InvalidInputError(
                f"{what or type_.__name__}: expected {type_.__name__}, got None"
            )
        return empty
    return read(type_, value, what or type_.__name__)  # type: ignore[no-any-return]


def read(annotation: Any, value: Any, what: str) -> Any:
    """Like ``coerce``, for any annotation: unions, lists, dicts."""
    try:
        return converter(annotation)(value)
    except Refused as refused:
        raise InvalidInputError(f"{what}{refused.path}: {refused.reason}") from None
    except RecursionError:
        raise InvalidInputError(f"{what}: nested too deeply") from None


class Checked(Model, frozen=True, kw_only=True):
    """Base of configuration: checked when it is made, too, so that a mistake is reported where it
    was made. Requests and points are checked at their use alone: there may be millions of them.
    """

    def __post_init__(self) -> None:
        try:
            check_fields(self)
        except Refused as refused:
            what = type(self).__name__
            raise InvalidInputError(f"{what}{refused.path}: {refused.reason}") from None


def to_builtins(value: Any) -> Any:
    """``value`` in Qdrant's JSON shape: dicts, lists, strings and numbers; unset fields omitted.

    Only fields of structs are omitted: a null inside a payload is data.
    """
    if isinstance(value, Enum):  # before the str it also is
        return value.value
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, msgspec.Struct):
        fields = ((key, getattr(value, name)) for name, key in keys(type(value)))
        return {key: to_builtins(field) for key, field in fields if field is not None}
    if isinstance(value, Mapping):
        return {key: to_builtins(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_builtins(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise InvalidInputError(f"expected a model or JSON data, got {show(value)}")


def to_json(value: Any) -> str:
    """``value`` as JSON text in Qdrant's shape."""
    return msgspec.json.encode(to_builtins(value)).decode()


@cache
def _empty(struct: Any) -> Any:
    if not issubclass(struct, Model) or known_fields(struct)[1]:
        return None
    return struct()  # frozen, so it can be shared
