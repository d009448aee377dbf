"""Shapes: messages as the JSON that stands for the same over HTTP, and back.

Most messages are objects, field by field. What differs is said by name: in ``naming`` where a table
can say it, in the modules that register readers and writers where it takes a function. A field that
nobody thought of is passed on under its own name, and the operation refuses it by that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message as ProtocolMessage
from google.protobuf.unknown_fields import UnknownFieldSet

from vecdb.server.grpc import naming
from vecdb.server.grpc.messages import Message, named
from vecdb.server.status import malformed

Read = Callable[[Any], Any]
Write = Callable[[Any, Message], None]

_READERS: dict[str, Read] = {}
_WRITERS: dict[str, Write] = {}

_FLOAT32 = np.dtype("<f4")


def reads(*names: str) -> Callable[[Read], Read]:
    """The function reads messages of these names."""

    def add(function: Read) -> Read:
        _READERS.update(dict.fromkeys(names, function))
        return function

    return add


def writes(*names: str) -> Callable[[Write], Write]:
    """The function writes JSON into messages of these names."""

    def add(function: Write) -> Write:
        _WRITERS.update(dict.fromkeys(names, function))
        return function

    return add


def read(message: Message) -> Any:
    """A message as JSON. Raises Refusal."""
    return _reader(message.DESCRIPTOR)(message)


def plain(message: Message) -> dict[str, Any]:
    """A message as an object, field by field, whatever else reads it. Raises Refusal."""
    return _plain_reader(message.DESCRIPTOR)(message)


def write(value: Any, message: Message) -> None:
    """Put JSON into a message that is empty. What the message has no field for is left out."""
    _writer(message.DESCRIPTOR)(value, message)


def write_plain(value: dict[str, Any], message: Message) -> None:
    """Put an object into a message, field by field, whatever else writes it."""
    _plain_writer(message.DESCRIPTOR)(value, message)


def refuse_unknown(message: Message) -> None:
    """Raise Refusal for a field that this version of the messages has not. Points are not looked
    through, as their vectors and payloads are nearly all of the bytes there are."""
    _refuse_own_unknown(message)
    within = _looked_through(message.DESCRIPTOR)
    if within:
        for field, value in message.ListFields():
            if field.number in within:
                for each in value if field.is_repeated else (value,):
                    refuse_unknown(each)


def _refuse_own_unknown(message: Message) -> None:
    unknown = UnknownFieldSet(message)
    if len(unknown):
        name = message.DESCRIPTOR.name
        raise malformed(f"{name}: unknown field number {unknown[0].field_number}")


@cache
def _looked_through(descriptor: Descriptor) -> frozenset[int]:
    if descriptor.name in ("PointStruct", "PointVectors"):
        return frozenset()
    within = (field for field in descriptor.fields if field.message_type and not _is_map(field))
    return frozenset(field.number for field in within)


def variant(message: Message) -> tuple[str, Any]:
    """Which of its alternatives a message is, and the value, not read. Raises Refusal."""
    choice = message.DESCRIPTOR.oneofs[0]  # those of optional fields come behind it
    name = message.WhichOneof(choice.name)
    if name is None:
        known = ", ".join(field.name for field in choice.fields)
        raise malformed(f"{message.DESCRIPTOR.name}: expected one of {known}")
    return name, getattr(message, name)


def floats(data: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Numbers of 32 bits. Raises Refusal."""
    if len(data) % 4:
        raise malformed("expected 32-bit numbers, which are four bytes each")
    return np.frombuffer(data, _FLOAT32)


def shortest(number: float) -> float:
    """The shortest decimal that a 32-bit number is, as people write it: 0.99, and not
    0.9900000095367432."""
    return float(str(np.float32(number)))


# -- reading ---------------------------------------------------------------------------------------


@cache
def _reader(descriptor: Descriptor) -> Read:
    reader = _reader_by_name(descriptor)
    return partial(_read_known, reader) if descriptor.name in _choosing() else reader


def _read_known(reader: Read, message: Message) -> Any:
    _refuse_own_unknown(message)
    return reader(message)


@cache
def _choosing() -> frozenset[str]:
    """The messages that choose points, or parts of them, and all within these but ids, of which
    there may be many. Reads, too, refuse their unknown fields: more would be chosen without."""
    found: set[str] = {"PointId"}
    waiting = [named(name).DESCRIPTOR for name in _CHOOSING]
    while waiting:
        message = waiting.pop()
        if message.name not in found:
            found.add(message.name)
            waiting += [field.message_type for field in message.fields if field.message_type]
    return frozenset(found - {"PointId"})


_CHOOSING = ("Filter", "OrderBy", "WithLookup", "WithPayloadSelector")


def _reader_by_name(descriptor: Descriptor) -> Read:
    name = descriptor.name
    special = _READERS.get(name)
    if special is not None:
        return special
    if name in naming.BARE:
        return _Bare(descriptor)
    if name in naming.KEYED:
        return _Keyed(naming.KEYED[name])
    return _plain_reader(descriptor)


@cache
def _plain_reader(descriptor: Descriptor) -> _Plain:
    return _Plain(descriptor)


def _of_one(field: FieldDescriptor) -> Read | None:
    """What reads one value of a field; None: it is what it is."""
    if field.message_type is not None:
        return read
    if field.enum_type is not None:
        return naming.words(field.enum_type).word
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _list_of_floats
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return shortest
    return None


def _list_of_floats(data: bytes) -> list[float]:
    return floats(data).tolist()  # type: ignore[no-any-return]


def _of_field(field: FieldDescriptor) -> Read | None:
    """What reads the value of a field, be it one or many."""
    if _is_map(field):
        each = _of_one(field.message_type.fields_by_name["value"])
        return dict if each is None else partial(_read_map, each)
    each = _of_one(field)
    if not field.is_repeated:
        return each
    return list if each is None else partial(_read_list, each)


def _read_map(each: Read, found: Any) -> dict[str, Any]:
    return {key: each(found[key]) for key in found}


def _read_list(each: Read, found: Any) -> list[Any]:
    return [each(value) for value in found]


def _is_map(field: FieldDescriptor) -> bool:
    kind = field.message_type
    return kind is not None and bool(kind.GetOptions().map_entry)


class _Plain:
    """Reads an object, field by field. Numbers and strings that cannot be left out are always
    there, and so are lists, unless an empty one means that there is none."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._fields: dict[int, tuple[str, Read | None]] = {}
        self._always: list[tuple[str, str, Read | None]] = []
        for field in descriptor.fields:
            name = naming.in_json(descriptor, field.name)
            if name is None:
                continue
            convert = _of_field(field)
            self._fields[field.number] = (name, convert)
            # Asked first: a list of numbers comes as one field of bytes.
            absent = (descriptor.name, field.name) in naming.ABSENT_IF_EMPTY
            if not field.is_repeated:
                absent |= field.has_presence or field.enum_type is not None
            if not absent:
                self._always.append((name, field.name, convert))
            elif field.enum_type is not None and not field.has_presence:
                word = naming.words(field.enum_type).of_zero
                if word is not None:
                    self._always.append((name, field.name, convert))

    def __call__(self, message: Message) -> dict[str, Any]:
        given: dict[str, Any] = {}
        fields = self._fields
        for name, attribute, convert in self._always:
            value = getattr(message, attribute)
            given[name] = value if convert is None else convert(value)
        for field, value in message.ListFields():
            known = fields.get(field.number)
            if known is None:
                continue
            name, convert = known
            if name == naming.MERGED:
                given.update(read(value))
            elif name not in given:
                given[name] = value if convert is None else convert(value)
        return given


class _Bare:
    """Reads the value of the only field that there is, or that is set."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._fields = {field.number: _of_field(field) for field in descriptor.fields}
        [first, *more] = descriptor.fields
        self._empty: Callable[[], Any] | None = None
        if not more and first.is_repeated:
            self._empty = dict if _is_map(first) else list
        elif not more and first.type == FieldDescriptor.TYPE_BYTES:
            self._empty = list

    def __call__(self, message: Message) -> Any:
        for field, value in message.ListFields():
            convert = self._fields[field.number]
            return value if convert is None else convert(value)
        if self._empty is not None:
            return self._empty()
        name, value = variant(message)
        convert = self._fields[message.DESCRIPTOR.fields_by_name[name].number]
        return value if convert is None else convert(value)


class _Keyed:
    """Reads an alternative as an object of one key, its name; or, if that is among ``bare``, as
    it is."""

    def __init__(self, kind: naming.Alternatives) -> None:
        self._kind = kind

    def __call__(self, message: Message) -> Any:
        name, value = variant(message)
        convert = _of_one(message.DESCRIPTOR.fields_by_name[name])
        if convert is not None:
            value = convert(value)
        if name in self._kind.bare:
            return value
        return {self._kind.renamed.get(name, name): value}


# -- writing ---------------------------------------------------------------------------------------


@cache
def _writer(descriptor: Descriptor) -> Write:
    name = descriptor.name
    special = _WRITERS.get(name)
    if special is not None:
        return special
    if name in naming.BARE:
        return _write_bare
    return _plain_writer(descriptor)


@cache
def _plain_writer(descriptor: Descriptor) -> _PlainWriter:
    return _PlainWriter(descriptor)


def _write_bare(value: Any, message: Message) -> None:
    [field] = message.DESCRIPTOR.fields
    write_field(value, message, field)


class _PlainWriter:
    """Writes an object, or the alternative that is an object's only key."""

    def __init__(self, descriptor: Descriptor) -> None:
        kind = naming.KEYED.get(descriptor.name)
        renamed = {} if kind is None else kind.renamed
        self._fields: dict[str, FieldDescriptor] = {}
        for field in descriptor.fields:
            name = renamed.get(field.name) or naming.in_json(descriptor, field.name)
            if name is not None:
                self._fields[name] = field  # the last of them, which is the newest

    def __call__(self, value: Any, message: Message) -> None:
        fields = self._fields
        for name, each in value.items():
            field = fields.get(name)
            if field is not None and each is not None:
                write_field(each, message, field)


def write_field(value: Any, message: Message, field: FieldDescriptor) -> None:
    """Put JSON into a field of a message."""
    kind = field.message_type
    if kind is None:
        if field.is_repeated:
            getattr(message, field.name).extend(value)
        else:
            setattr(message, field.name, _scalar(value, field))
        return
    target = getattr(message, field.name)
    if _is_map(field):
        of_value = kind.fields_by_name["value"]
        for key, each in value.items():
            if of_value.message_type is None:
                target[key] = _scalar(each, of_value)
            else:
                write(each, target[key])
    elif isinstance(value, ProtocolMessage):  # points, written where they were found
        if field.is_repeated:
            target.MergeFrom(value.result)
        else:
            target.CopyFrom(value)
    elif field.is_repeated:
        write_one = _writer(kind)
        for each in value:
            write_one(each, target.add())
    else:
        target.SetInParent()
        write(value, target)


def _scalar(value: Any, field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return naming.words(field.enum_type).number(value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return np.asarray(value, _FLOAT32).tobytes()
    return value
