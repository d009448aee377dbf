"""Messages: the classes of Qdrant's protocol buffers, out of the package qdrant-client.

Only the modules that hold the definitions are loaded, under a name of their own: to import the
package takes seconds and 100 MB. The classes are made anew, apart from the client's, because a list
of 32-bit floats is read as bytes here. On the wire the two are the same, and an array is made of
bytes at once, where a list takes 25 ns a number.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

from google.protobuf import timestamp_pb2
from google.protobuf.descriptor import Descriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

Message = Any
"""Of a class that is made when this module is imported."""

_HOME = f"{__name__}_of_qdrant"
_FILES = ("points_service", "collections_service", "snapshots_service", "qdrant")

_HEALTH = """
HealthCheckRequest  service string
HealthCheckResponse status int32
"""
_HEALTH_PACKAGE = "grpc.health.v1"


def _definitions() -> dict[str, FileDescriptorProto]:
    """The files of all messages, those first that others need."""
    found = importlib.util.find_spec("qdrant_client")
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError("No module named 'qdrant_client'", name="qdrant_client")
    home = ModuleType(_HOME)
    home.__path__ = [f"{place}/grpc" for place in found.submodule_search_locations]
    sys.modules[_HOME] = home
    files: dict[str, FileDescriptorProto] = {}

    def add(descriptor: Any) -> None:
        for needed in descriptor.dependencies:
            add(needed)
        files[descriptor.name] = FileDescriptorProto.FromString(descriptor.serialized_pb)

    add(timestamp_pb2.DESCRIPTOR)
    for name in _FILES:
        add(importlib.import_module(f"{_HOME}.{name}_pb2").DESCRIPTOR)
    return files


def _health() -> FileDescriptorProto:
    """The messages of the service by which machines are asked whether they are well."""
    file = FileDescriptorProto(name="health.proto", package=_HEALTH_PACKAGE, syntax="proto3")
    for line in _HEALTH.strip().splitlines():
        message, field, kind = line.split()
        number = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
        one = FieldDescriptorProto.LABEL_OPTIONAL
        file.message_type.add(
            name=message, field=[FieldDescriptorProto(name=field, number=1, type=number, label=one)]
        )
    service = file.service.add(name="Health")
    names = [f".{_HEALTH_PACKAGE}.{each.name}" for each in file.message_type]
    service.method.add(name="Check", input_type=names[0], output_type=names[1])
    return file


def _read_floats_as_bytes(message: DescriptorProto) -> None:
    for field in message.field:
        repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
        if repeated and field.type == FieldDescriptorProto.TYPE_FLOAT:
            field.label = FieldDescriptorProto.LABEL_OPTIONAL
            field.type = FieldDescriptorProto.TYPE_BYTES
            field.ClearField("options")
    for nested in message.nested_type:
        _read_floats_as_bytes(nested)


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for file in [*_definitions().values(), _health()]:
        for message in file.message_type:
            _read_floats_as_bytes(message)
        pool.Add(file)
    return pool


_POOL = _pool()

SERVICES: dict[str, ServiceDescriptor] = {
    name: _POOL.FindServiceByName(name)
    for name in (
        "qdrant.Qdrant",
        "qdrant.Collections",
        "qdrant.Points",
        "qdrant.Snapshots",
        f"{_HEALTH_PACKAGE}.Health",
    )
}
REQUESTS = frozenset(
    method.input_type.full_name for service in SERVICES.values() for method in service.methods
)
"""The names of the messages that are requests."""


def class_of(descriptor: Descriptor) -> type[Message]:
    """The class of a message."""
    made: type[Message] = GetMessageClass(descriptor)
    return made


def named(name: str) -> type[Message]:
    """The class of a message of Qdrant's."""
    return class_of(_POOL.FindMessageTypeByName(f"qdrant.{name}"))
