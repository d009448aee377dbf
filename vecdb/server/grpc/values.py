"""Values: payloads and times, as messages have them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from vecdb.server.grpc.messages import Message
from vecdb.server.grpc.shapes import reads, writes
from vecdb.server.status import malformed

_INT64 = 1 << 63


def payload(fields: Mapping[str, Message]) -> dict[str, Any]:
    """JSON, of the fields of a payload."""
    return {key: read_value(fields[key]) for key in fields}


def write_payload(value: Mapping[str, Any], fields: Mapping[str, Message]) -> None:
    """Put JSON into the fields of a payload."""
    for key, each in value.items():
        write_value(each, fields[key])


@reads("Value")
def read_value(message: Message) -> Any:
    """JSON, of one value."""
    kind = message.WhichOneof("kind")
    if kind == "string_value":
        return message.string_value
    if kind == "integer_value":
        return message.integer_value
    if kind == "double_value":
        return message.double_value
    if kind == "bool_value":
        return message.bool_value
    if kind == "list_value":
        return [read_value(each) for each in message.list_value.values]
    if kind == "struct_value":
        return payload(message.struct_value.fields)
    return None


@writes("Value")
def write_value(value: Any, message: Message) -> None:
    """Put one value of JSON into a message. An integer beyond 64 bits with a sign becomes a
    double, which is what a message has for it."""
    kind = type(value)
    if kind is str:
        message.string_value = value
    elif kind is int:
        if -_INT64 <= value < _INT64:
            message.integer_value = value
        else:
            message.double_value = value
    elif kind is float:
        message.double_value = value
    elif kind is bool:
        message.bool_value = value
    elif kind is dict:
        message.struct_value.SetInParent()
        write_payload(value, message.struct_value.fields)
    elif kind is list:
        message.list_value.SetInParent()
        values = message.list_value.values
        for each in value:
            write_value(each, values.add())
    else:
        message.null_value = 0


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@reads("Timestamp")
def read_time(message: Message) -> str:
    """A time as text. Raises Refusal."""
    try:
        whole = _EPOCH + timedelta(seconds=message.seconds)
    except OverflowError:
        raise malformed(f"expected a time, got {message.seconds} seconds") from None
    if not 0 <= message.nanos < 1_000_000_000:
        raise malformed(f"expected a time, got {message.nanos} nanoseconds")
    text = whole.replace(tzinfo=None).isoformat()
    return f"{text}.{message.nanos:09d}Z" if message.nanos else f"{text}Z"


@writes("Timestamp")
def write_time(value: str, message: Message) -> None:
    """Put a time that is text into a message."""
    time = datetime.fromisoformat(value.replace("Z", "+00:00"))
    if time.tzinfo is None:
        time = time.replace(tzinfo=timezone.utc)
    since = time - _EPOCH
    message.seconds = since.days * 86_400 + since.seconds
    message.nanos = since.microseconds * 1000
