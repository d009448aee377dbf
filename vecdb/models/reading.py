"""From annotations to functions that read a value: the machinery behind ``coerce``.

msgspec can neither decode Qdrant's untagged unions nor re-check an existing struct, so the
annotations of our structs are compiled here, once per type and at first use, into closures that
do both. The rules they follow are in ``vecdb.models.validation``.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping, Set
from contextvars import ContextVar
from enum import Enum
from functools import cache, cached_property
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
import numpy as np
from msgspec.structs import FieldInfo

from vecdb.errors import InvalidInputError

T = TypeVar("T")
Convert = Callable[[Any], Any]

# Fields of Qdrant's own models that have no counterpart here: worth a plainer word than
# "unknown" to somebody who moves working code over.
# fmt: off
_QDRANT_ONLY = frozenset({
    "memory", "order_value", "shard_key",
})
# fmt: on

drop_unknown: ContextVar[Callable[[str], None] | None] = ContextVar("drop_unknown", default=None)
"""Is told of each unknown field, which is then left out. None: unknown fields are refused."""

_NOUNS = {bool: "a bool", int: "an integer", float: "a number", str: "a string"}

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


class KnowsItsFields(msgspec.StructMeta):
    """A struct that is made with wrong arguments refuses them as ``coerce`` would: msgspec's own
    error names neither the struct nor its fields. It takes up to 0.4 µs."""

    if not TYPE_CHECKING:  # a type checker that saw it would no longer check the arguments

        def __call__(cls, *values: Any, **fields: Any) -> Any:
            try:
                return super().__call__(*values, **fields)
            except TypeError:
                known, required = known_fields(cls)
                json_names = dict(keys(cls))
                given = {json_names.get(name, name) for name in fields}
                if values:
                    problem = f"expected keyword arguments only; known fields: {', '.join(known)}"
                elif not required <= given <= known.keys():
                    problem = _misfit(cls, given)
                else:
                    raise
                raise InvalidInputError(f"{cls.__name__}: {problem}") from None


class Model(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    metaclass=KnowsItsFields,
):
    """Base of configuration and requests: immutable, keyword arguments only.

    Subclasses repeat ``frozen`` and ``kw_only``, because type checkers do not inherit them.
    """


class Strict(Model, frozen=True, kw_only=True):
    """Base of what chooses points or fields. An unknown field is refused even where others are left
    out: more would be chosen without it."""


class Refused(Exception):
    """A value did not pass. Collects the path to it while unwinding."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = ""

    def under(self, step: str) -> Refused:
        self.path = step + self.path
        return self


class By:
    """Annotation marker: this field is read by ``function`` instead of by its type."""

    def __init__(self, function: Convert, expected: str) -> None:
        self.function = function
        self.expected = expected


def show(value: Any) -> str:
    """A value in an error message: short, with its type where that does not speak for itself."""
    if value is None:
        return "None"
    if isinstance(value, (msgspec.Struct, np.ndarray)) or hasattr(value, "model_dump"):
        return type(value).__name__
    return f"{_short.repr(value)} ({type(value).__name__})"


def refuse(expected: str, value: Any) -> Refused:
    return Refused(f"expected {expected}, got {show(value)}")


def fields_of(value: Any) -> Mapping[str, Any] | None:
    """The fields of a dict or of a pydantic object; None for anything else."""
    if isinstance(value, Mapping):
        return value
    dump = getattr(value, "model_dump", None)
    if dump is None or isinstance(value, type):
        return None
    fields: Mapping[str, Any] = dump(by_alias=True, exclude_none=True, warnings=False)
    return fields


@cache
def converter(annotation: Any) -> Convert:
    """The function that reads a value of ``annotation``."""
    if annotation is Any:
        return lambda value: value
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        kind, note = arguments
        if isinstance(note, By):
            return note.function
        return _number(kind, annotation, note)
    if origin in (Union, UnionType):
        return _union(annotation, arguments)
    if origin is list:
        return _list(arguments[0])
    if origin is dict:
        return _dict(arguments[1])
    if origin is Literal:
        return _literal(annotation, arguments)
    if annotation is int or annotation is float:
        return _number(annotation, annotation, msgspec.Meta())
    if annotation is bool or annotation is str:
        return _plain(annotation)
    if issubclass(annotation, Enum):
        return _enum(annotation)
    if issubclass(annotation, msgspec.Struct):
        return _StructReader(annotation)
    raise TypeError(f"no rule to read {annotation!r}")


def _describe(annotation: Any) -> str:
    """What a value of ``annotation`` is, in the words of an error message."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        kind, note = arguments
        return note.expected if isinstance(note, By) else _describe_bounds(_describe(kind), note)
    if origin in (Union, UnionType):
        return " or ".join(_describe(member) for member in arguments)
    if origin is list:
        return "a list"
    if origin is dict:
        return "a dict"
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        members = [repr(member.value) for member in annotation]
        return members[0] if len(members) == 1 else f"one of {', '.join(members)}"
    names = {
        bool: "a bool",
        int: "an integer",
        float: "a number",
        str: "a string",
        NoneType: "None",
    }
    return names.get(annotation) or annotation.__name__


def _describe_bounds(noun: str, bounds: msgspec.Meta) -> str:
    if bounds.gt is not None:
        return f"{noun} above {bounds.gt}, up to {bounds.le}"
    if bounds.le is not None:
        return f"{noun} from {bounds.ge} to {bounds.le}"
    return f"{noun} >= {bounds.ge}"


def _number(kind: type, annotation: Any, bounds: msgspec.Meta) -> Convert:
    low = -math.inf if bounds.ge is None else bounds.ge
    above = -math.inf if bounds.gt is None else bounds.gt
    high = math.inf if bounds.le is None else bounds.le
    # Without bounds an infinity can mean something (an open range); with them it is a mistake.
    unlimited = bounds.ge is None and bounds.gt is None and bounds.le is None
    accepted = (int, np.integer) if kind is int else (int, float, np.integer, np.floating)

    def convert(value: Any) -> Any:
        if type(value) is not kind:
            # A bool is an int to Python, but not to JSON.
            if isinstance(value, bool) or not isinstance(value, accepted):
                raise refuse(_describe(annotation), value)
            try:
                value = kind(value)
            except OverflowError:
                raise refuse(_describe(annotation), value) from None
        # NaN fails every comparison.
        if low <= value <= high and (unlimited or above < value != math.inf):
            return value
        raise refuse(_describe(annotation), value)

    return convert


def _plain(kind: type) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, kind):
            # An enum of strings, or numpy's: equal to the plain one, and yet of another type.
            return str.__str__(value) if kind is str else value
        if kind is bool and isinstance(value, np.bool_):
            return bool(value)
        raise refuse(_describe(kind), value)

    return convert


def _literal(annotation: Any, allowed: tuple[Any, ...]) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, Enum):
            value = value.value
        if value in allowed:
            return value
        raise refuse(_describe(annotation), value)

    return convert


def _enum(kind: type[Enum]) -> Convert:
    def convert(value: Any) -> Any:
        if type(value) is kind:
            return value
        try:
            return kind(value.value if isinstance(value, Enum) else value)
        except ValueError:
            raise refuse(_describe(kind), value) from None

    return convert


def _list(item: Any) -> Convert:
    convert_item = converter(item)

    def convert(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if not isinstance(value, (list, tuple, range, Set)):
            raise refuse("a list", value)
        result = []
        for entry in value:
            try:
                result.append(convert_item(entry))
            except Refused as refused:
                raise refused.under(f"[{len(result)}]") from None
        return result

    return convert


def _dict(item: Any) -> Convert:
    convert_item = None if item is Any else converter(item)

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise refuse("a dict", value)
        for key in value:
            if not isinstance(key, str):
                raise Refused(f"expected string keys, got {show(key)}")
        if convert_item is None:
            return value  # a payload: what it holds is checked where it is encoded
        result = {}
        for key, entry in value.items():
            try:
                result[key] = convert_item(entry)
            except Refused as refused:
                raise refused.under(f"[{key!r}]") from None
        return result

    return convert


def _union(annotation: Any, members: tuple[Any, ...]) -> Convert:
    optional = NoneType in members
    members = tuple(member for member in members if member is not NoneType)
    structs = [m for m in members if isinstance(m, type) and issubclass(m, msgspec.Struct)]
    others = [converter(member) for member in members if member not in structs]
    expected = " or ".join(map(_describe, members))
    if len(members) == 1:
        convert_one = converter(members[0])
        return lambda value: None if value is None else convert_one(value)

    def convert(value: Any) -> Any:
        if value is None and optional:
            return None
        for struct in structs:
            if isinstance(value, struct):
                return converter(struct)(value)
        fields = fields_of(value) if structs else None
        if fields is not None:
            return converter(_by_fields(structs, fields))(fields)
        for convert_other in others:
            try:
                return convert_other(value)
            except Refused as refused:
                if refused.path:  # it was this member, and a part of it is wrong
                    raise
        raise refuse(expected, value)

    return convert


def _by_fields(structs: list[Any], fields: Mapping[str, Any]) -> Any:
    """The struct that a dict with these fields is: the first whose required fields are there."""
    for struct in structs:
        known, required = known_fields(struct)
        if required <= fields.keys() and (required or not fields or known & fields.keys()):
            return struct
    shapes = (
        f"{s.__name__} ({', '.join(known_fields(s)[1] or known_fields(s)[0])})" for s in structs
    )
    raise Refused(
        f"expected one of {'; '.join(shapes)}; got fields {', '.join(map(repr, fields))}"
        + _not_supported(fields)
    )


def _not_supported(fields: Any) -> str:
    foreign = [repr(name) for name in fields if name in _QDRANT_ONLY]
    return f" ({', '.join(foreign)}: Qdrant's, not supported by vecdb)" if foreign else ""


@cache
def _infos(struct: Any) -> tuple[FieldInfo, ...]:
    return msgspec.structs.fields(struct)


@cache
def keys(struct: Any) -> tuple[tuple[str, str], ...]:
    """(attribute, JSON name) of every field."""
    return tuple((info.name, info.encode_name) for info in _infos(struct))


@cache
def known_fields(struct: Any) -> tuple[dict[str, None], frozenset[str]]:
    """The JSON names of all fields, in their order, and those of the required ones."""
    required = frozenset(info.encode_name for info in _infos(struct) if info.required)
    return dict.fromkeys(key for _, key in keys(struct)), required


def _misfit(struct: Any, given: Set[str]) -> str:
    """What is wrong with these (JSON) names of fields, when something is."""
    known, required = known_fields(struct)
    unknown = [key for key in given if key not in known]
    missing = [key for key in known if key in required and key not in given]
    what = f"unknown field {unknown[0]!r}" if unknown else f"missing field {missing[0]!r}"
    return f"{what}; known fields: {', '.join(known)}" + _not_supported(unknown)


class _StructReader:
    """Reads one struct type. Fields are compiled at first use: types refer to each other."""

    def __init__(self, struct: Any) -> None:
        self.struct = struct
        # A struct may define _problem() for rules that span its fields.
        self.problem: Callable[[Any], str | None] | None = getattr(struct, "_problem", None)

    @cached_property
    def fields(self) -> tuple[tuple[str, str, Any, Convert], ...]:
        """(attribute, JSON name, default or NODEFAULT, converter) of every field."""
        return tuple(
            (info.name, info.encode_name, info.default, converter(info.type))
            for info in _infos(self.struct)
        )

    def __call__(self, value: Any) -> Any:
        if isinstance(value, self.struct):
            changes = self.changes(value)
            value = msgspec.structs.replace(value, **changes) if changes else value
        else:
            fields = fields_of(value)
            if fields is None:
                raise refuse(f"{self.struct.__name__} or its dict", value)
            value = self._build(fields)
        if self.problem is not None:
            problem = self.problem(value)
            if problem is not None:
                raise Refused(problem)
        return value

    def changes(self, value: Any) -> dict[str, Any]:
        """The fields of an existing struct that are not in their final form yet, in that form."""
        changes = {}
        for name, _, default, convert in self.fields:
            old = getattr(value, name)
            if old is default:
                continue
            if old is None and default is not msgspec.NODEFAULT:
                changes[name] = default
                continue
            try:
                new = convert(old)
            except Refused as refused:
                raise refused.under(f".{name}") from None
            if new is not old:
                changes[name] = new
        return changes

    def _build(self, fields: Mapping[str, Any]) -> Any:
        known, required = known_fields(self.struct)
        if not fields.keys() <= known.keys():  # a dump of Qdrant's objects has their unset fields
            given = {k: v for k, v in fields.items() if v is not None or k not in _QDRANT_ONLY}
            drop = drop_unknown.get()
            if drop is not None and not issubclass(self.struct, Strict):
                for key in given.keys() - known.keys() - _QDRANT_ONLY:
                    drop(f"{self.struct.__name__}.{key}")
                    del given[key]
            fields = given
        if not required <= fields.keys() <= known.keys():
            raise Refused(_misfit(self.struct, fields.keys()))
        arguments = {}
        for name, key, _, convert in self.fields:
            value = fields.get(key)
            if value is None and key not in required:
                continue
            try:
                arguments[name] = convert(value)
            except Refused as refused:
                raise refused.under(f".{key}") from None
        return self.struct(**arguments)


def check_fields(struct: Model) -> None:
    """Raise Refused for a field of an existing struct that could not be read."""
    reader = converter(type(struct))
    assert isinstance(reader, _StructReader)
    reader.changes(struct)
