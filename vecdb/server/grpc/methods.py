"""Methods: which calls mean which operation, and what of its answer goes where."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from msgspec import Struct

from vecdb.server.answers import Text
from vecdb.server.grpc import configuration, naming, points, searches, values  # noqa: F401  # shapes
from vecdb.server.grpc.messages import SERVICES, Message, class_of
from vecdb.server.grpc.shapes import read, refuse_unknown, write
from vecdb.server.operations import OPERATIONS
from vecdb.server.status import NOT_FOUND, WRONG, Refusal, out_of_range
from vecdb.server.table import Call, Operation

_TABLE = """
qdrant.Qdrant/HealthCheck                      root                        value
grpc.health.v1.Health/Check                    readiness                   health
qdrant.Collections/Get                         get_collection              result
qdrant.Collections/List                        list_collections            fields
qdrant.Collections/Create                      create_collection           result
qdrant.Collections/Update                      update_collection           result
qdrant.Collections/Delete                      delete_collection           result
qdrant.Collections/UpdateAliases               update_aliases              result
qdrant.Collections/ListCollectionAliases       list_collection_aliases     fields
qdrant.Collections/ListAliases                 list_aliases                fields
qdrant.Collections/CollectionClusterInfo       collection_cluster          fields
qdrant.Collections/CollectionExists            collection_exists           result
qdrant.Collections/UpdateCollectionClusterSetup update_collection_cluster  result
qdrant.Collections/CreateShardKey              create_shard_key            result
qdrant.Collections/DeleteShardKey              delete_shard_key            result
qdrant.Collections/ListShardKeys               list_shard_keys             fields
qdrant.Points/Upsert                           upsert                      result
qdrant.Points/Delete                           delete                      result
qdrant.Points/Get                              retrieve                    result
qdrant.Points/UpdateVectors                    update_vectors              result
qdrant.Points/DeleteVectors                    delete_vectors              result
qdrant.Points/SetPayload                       set_payload                 result
qdrant.Points/OverwritePayload                 overwrite_payload           result
qdrant.Points/DeletePayload                    delete_payload              result
qdrant.Points/ClearPayload                     clear_payload               result
qdrant.Points/CreateFieldIndex                 create_payload_index        result
qdrant.Points/DeleteFieldIndex                 delete_payload_index        result
qdrant.Points/CreateVectorName                 create_vector_name          result
qdrant.Points/DeleteVectorName                 delete_vector_name          result
qdrant.Points/Search                           search                      result
qdrant.Points/SearchBatch                      search_batch                lists
qdrant.Points/SearchGroups                     search_groups               result
qdrant.Points/Scroll                           scroll                      page
qdrant.Points/Recommend                        recommend                   result
qdrant.Points/RecommendBatch                   recommend_batch             lists
qdrant.Points/RecommendGroups                  recommend_groups            result
qdrant.Points/Discover                         discover                    result
qdrant.Points/DiscoverBatch                    discover_batch              lists
qdrant.Points/Count                            count                       result
qdrant.Points/UpdateBatch                      batch_update                result
qdrant.Points/Query                            query                       points
qdrant.Points/QueryBatch                       query_batch                 lists_of_points
qdrant.Points/QueryGroups                      query_groups                result
qdrant.Points/Facet                            facet                       fields
qdrant.Points/SearchMatrixPairs                search_matrix_pairs         result
qdrant.Points/SearchMatrixOffsets              search_matrix_offsets       result
qdrant.Snapshots/Create                        create_snapshot             snapshot
qdrant.Snapshots/List                          list_snapshots              snapshots
qdrant.Snapshots/Delete                        delete_snapshot             nothing
qdrant.Snapshots/CreateFull                    create_full_snapshot        snapshot
qdrant.Snapshots/ListFull                      list_full_snapshots         snapshots
qdrant.Snapshots/DeleteFull                    delete_full_snapshot        nothing
"""

Fields = dict[str, Any]

SERVING, NOT_SERVING = 1, 2


def _health(answer: Text) -> Fields:
    return {"status": SERVING if answer.http_status == 200 else NOT_SERVING}


_ANSWERS: dict[str, Callable[[Any], Fields]] = {
    "result": lambda answer: {"result": answer},
    "fields": lambda answer: answer,
    "value": lambda answer: answer.value,
    "health": _health,
    "points": lambda answer: {"result": answer.points},
    "page": lambda answer: {
        "result": answer.points,
        "next_page_offset": answer.next_page_offset,
    },
    "lists": lambda answer: {"result": [{"result": each} for each in answer]},
    "lists_of_points": lambda answer: {"result": [{"result": each.points} for each in answer]},
    "snapshot": lambda answer: {"snapshot_description": answer},
    "snapshots": lambda answer: {"snapshot_descriptions": answer},
    "nothing": lambda answer: {},
}
"""What of an operation's answer is in which field of a response."""

_ITEMS = {
    "CreateVectorName": "vector_name",
    "DeleteVectorName": "vector_name",
    "DeleteFieldIndex": "field_name",
    "Delete": "snapshot_name",
    "DeleteFull": "snapshot_name",
}
"""The field that is the item of a call."""


class Method(Struct, frozen=True, eq=False):
    """One method of one service."""

    path: str
    operation: Operation
    request: type[Message]
    response: type[Message]
    answer: Callable[[Any], Fields]
    item: str | None
    fields: frozenset[str]
    """Of the request."""
    renamed: dict[str, str]
    """Fields of the request by what bodies call them, where that is another name."""
    timed: bool
    """Whether the response says how long it took."""

    def parse(self, data: bytes) -> Message:
        """The message of a request. Raises google.protobuf.message.DecodeError."""
        return self.request.FromString(data)

    def collection(self, message: Message) -> str:
        """The collection that is meant, if any."""
        return message.collection_name if "collection_name" in self.fields else ""

    def call(self, message: Message) -> Call:
        """What the operation is asked for. Raises Refusal."""
        fields = self.fields
        call = Call(collection=self.collection(message))
        if len(call.collection) > 255:
            problem = f'value "{call.collection}" invalid, must be from 1 to 255 characters'
            raise out_of_range([f"collection_name: {problem}"], "body")
        if self.item is not None:
            call.item = getattr(message, self.item)
        if self.operation.fields is not None:
            if self.operation.fields.strict:
                refuse_unknown(message)
            call.body = read(message)
        elif "service" in fields:
            _check_service(message.service)
        if "wait" in fields:
            call.wait = message.wait
        if "timeout" in fields and message.HasField("timeout"):
            call.timeout = _seconds(message.timeout)
        if "ordering" in fields and message.ordering.type not in (0, 1, 2):
            raise Refusal(WRONG, f"Wrong input: ordering: there is no {message.ordering.type}")
        if "read_consistency" in fields and message.HasField("read_consistency"):
            _check_consistency(message.read_consistency)
        return call

    def in_message(self, text: str) -> str:
        """What is wrong with a body, with the place as it is in the message."""

        def name(found: re.Match[str]) -> str:
            return self.renamed.get(found[0], found[0])

        return _PLACE.sub(name, text) if self.renamed else text

    def respond(self, answer: Any, seconds: float) -> Message:
        """The message of an answer."""
        response = self.response()
        write(self.answer(answer), response)
        if self.timed:
            response.time = seconds
        return response


_PLACE = re.compile(r"(?<=[ \[])(?:searches|shard_key)(?=[\[:])")
"""The fields at the beginning of a place that messages call something else."""


def _seconds(timeout: int) -> float:
    if timeout == 0:
        raise out_of_range(["timeout: value 0 invalid, must be 1 or larger"], "body")
    return float(min(timeout, 1_000_000_000))


def _check_consistency(consistency: Message) -> None:
    """What is read is the same everywhere, as there is one place; but some values mean nothing."""
    if consistency.WhichOneof("value") == "factor":
        valid = consistency.factor > 0
    else:
        valid = consistency.type in (0, 1, 2)
    if not valid:
        text = "Wrong input: read_consistency: expected a factor above 0, or a type"
        raise Refusal(WRONG, text)


def _check_service(name: str) -> None:
    if name and name not in SERVICES:
        raise Refusal(NOT_FOUND, f"Not found: there is no service {name}")


def _renamed(request: Descriptor) -> dict[str, str]:
    names = ((naming.in_json(request, field.name), field.name) for field in request.fields)
    return {called: name for called, name in names if called not in (None, naming.MERGED, name)}


def _method(descriptor: MethodDescriptor, operation: str, answer: str) -> Method:
    request, response = class_of(descriptor.input_type), class_of(descriptor.output_type)
    fields = frozenset(descriptor.input_type.fields_by_name)
    item = _ITEMS.get(descriptor.name)
    return Method(
        path=f"/{descriptor.containing_service.full_name}/{descriptor.name}",
        operation=OPERATIONS[operation],
        request=request,
        response=response,
        answer=_ANSWERS[answer],
        item=item if item in fields else None,
        fields=fields,
        renamed=_renamed(descriptor.input_type),
        timed="time" in descriptor.output_type.fields_by_name,
    )


def _read_table() -> dict[str, Method]:
    methods = {}
    for line in _TABLE.strip().splitlines():
        path, operation, answer = line.split()
        owner, _, name = path.partition("/")
        descriptor = SERVICES[owner].methods_by_name.get(name)
        if descriptor is not None:  # an older qdrant-client does not know all of them
            method = _method(descriptor, operation, answer)
            methods[method.path] = method
    return methods


METHODS = _read_table()
"""By the paths of calls."""
