"""The core: one call in bytes, its answer in bytes, whatever transport brought it.

What a call is refused for comes in the order of HTTP: who asks, what it asks for, how many others
there are. A transport has read the message by then, and has seen to its size.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError

from vecdb.models.reading import drop_unknown
from vecdb.server.access import Access, check_right
from vecdb.server.answers import encode
from vecdb.server.counters import GRPC, Counters
from vecdb.server.grpc.methods import METHODS, Method
from vecdb.server.grpc.points import SHAPES, add_older_form
from vecdb.server.service import Service
from vecdb.server.status import (
    BUSY,
    INTERNAL,
    NO_SUCH_METHOD,
    WRONG,
    Refusal,
    Status,
    refusal_of,
)
from vecdb.server.table import Right
from vecdb.server.workers.links import CALL, STATUS, NoWriterError, Writer

Headers = Mapping[bytes, bytes]

CODES = {
    "OK": 0,
    "CANCELLED": 1,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "DATA_LOSS": 15,
    "UNAUTHENTICATED": 16,
}
"""The numbers of statuses."""

_log = logging.getLogger("vecdb.server")
_access_log = logging.getLogger("vecdb.server.access")

_OLD_CLIENT = re.compile(rb"\b(?:[a-z]+-client|qdrant-js)/1\.(?:[0-9]|1[0-5])\.")
"""Clients that know only the older form of vectors."""
_FLATTENED = re.compile(r"(?<=[\[ ])(?:internal|search_request|scroll_request)\.")
_JSON = " in JSON body: "
_PATH = " in path parameters: "


class Core:
    """Answers the calls of one server. ``passed_on``: they come from another process of it, which
    counts and logs them."""

    def __init__(self, service: Service, access: Access, *, passed_on: bool = False) -> None:
        self._service = service
        self._counters = Counters() if passed_on else service.counters
        self.access = access
        self._most_in_flight = service.settings.max_in_flight
        self._logs = service.settings.access_log and not passed_on
        self._calls = 0
        """Of this turn of the loop."""
        self._calls_before = 0

    async def call(self, path: str, data: bytes, headers: Headers, client: str) -> bytes:
        """The response to a message. ``client``: the address of the caller. Raises Refusal. If it
        is cancelled, a read is dropped, and a write done wholly or not at all."""
        started = time.perf_counter()
        service, counters = self._service, self._counters
        counters.in_flight += 1
        method = METHODS.get(path)
        collection, code, size = "", 0, 0
        begun = False
        right = Right.OPEN
        try:
            right = self.access.right_of(headers)
            drop_unknown.set(service.drop(may_write=right > Right.READ))
            method = self._allowed(path, method, data, right)
            message = _parsed(method, data)
            collection = method.collection(message)
            agent = headers.get(b"user-agent")
            if agent is not None:
                counters.client(agent)
            call = method.call(message)
            call.alone, call.shapes = self._is_alone(), SHAPES
            writer = method.operation.writer_of(service)
            if writer is not None:
                passed_on = await _passed_on(writer, method, data, headers)
                if passed_on is not None:
                    size = len(passed_on)
                    return passed_on
            begun = True
            answer = await method.operation.do(service, call)
            response = method.respond(answer, time.perf_counter() - started)
            if agent is not None and _OLD_CLIENT.search(agent):
                _add_older_forms(response)
            answered: bytes = response.SerializeToString()
            size = len(answered)
            return answered
        except asyncio.CancelledError:
            code = CODES["CANCELLED"]
            raise
        except Exception as error:
            refusal = self._refusal(error, path, method, right)
            code = CODES[refusal.status.grpc]
            if not begun:
                counters.refused(_REASONS.get(refusal.status.grpc, "other"))
            raise refusal from None
        finally:
            counters.in_flight -= 1
            seconds = time.perf_counter() - started
            if method is not None:
                counters.ended(GRPC, method.path, code, collection, seconds)
            if self._logs:
                self._log_access(path, code, seconds, size, headers, client)

    def _allowed(self, path: str, method: Method | None, data: bytes, right: Right) -> Method:
        """The method, if the caller may call it and it can be begun. Raises Refusal."""
        if method is None:
            check_right(right, Right.READ, "")
            raise Refusal(NO_SUCH_METHOD, f"there is no method {path}")
        needed = method.operation.right
        if right < needed:
            # Nothing that a stranger sends is looked at.
            name = "" if right is Right.OPEN else method.collection(_parsed(method, data))
            check_right(right, needed, name)
        if self._counters.in_flight > self._most_in_flight:
            text = "Service unavailable: too many requests are under way; try again"
            raise Refusal(BUSY, text)
        return method

    def _is_alone(self) -> bool:
        """Whether calls come one by one. Many may come by one connection, so that the caller says
        nothing of it; but those that come together come in one turn of the loop."""
        if not self._calls:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._calls += 1
        return self._calls == 1 and self._calls_before <= 1

    def _end_turn(self) -> None:
        self._calls_before, self._calls = self._calls, 0

    def _refusal(self, error: Exception, path: str, method: Method | None, right: Right) -> Refusal:
        refusal = refusal_of(error, "" if method is None else method.operation.name)
        if refusal.status is INTERNAL:
            _log.error("%s", path, exc_info=error)
            if right < Right.WRITE:  # it may name files of this machine
                return Refusal(INTERNAL, "Service internal error: see the log of the server")
        text = _in_words_of_grpc(refusal.text)
        return Refusal(refusal.status, text if method is None else method.in_message(text))

    def _log_access(
        self, path: str, code: int, seconds: float, size: int, headers: Headers, client: str
    ) -> None:
        line: dict[str, Any] = {
            "time": time.time(),
            "client": client,
            "method": GRPC,
            "path": path,
            "status": code,
            "seconds": round(seconds, 6),
            "bytes": size,
        }
        for name in ("user-agent", "x-request-id", "x-tracing-id", "traceparent"):
            value = headers.get(name.encode())
            if value is not None:
                line[name] = value.decode("latin-1")[:200]
        _access_log.info("%s", encode(line).decode())


async def _passed_on(writer: Writer, method: Method, data: bytes, headers: Headers) -> bytes | None:
    """The writer's response; None: there is no writer, and what is known here will do. Raises
    Refusal."""
    names = (b"api-key", b"authorization", b"user-agent")
    given = [(name, headers[name]) for name in names if name in headers]
    try:
        reply = await writer.ask(b"POST", method.path.encode(), [CALL, *given], data)
    except NoWriterError as error:
        if method.operation.right <= Right.READ:
            return None
        raise Refusal(BUSY, f"Service unavailable: {error}") from None
    for name, value in reply.headers:
        if name == STATUS:
            http, _, grpc = value.decode().partition(" ")
            raise Refusal(Status(int(http), grpc), reply.body.decode())
    return reply.body


_REASONS = {
    "UNAUTHENTICATED": "key",
    "PERMISSION_DENIED": "forbidden",
    "UNIMPLEMENTED": "route",
    "UNAVAILABLE": "busy",
}


def _parsed(method: Method, data: bytes) -> Any:
    try:
        return method.parse(data)
    except DecodeError:
        name = method.request.DESCRIPTOR.full_name
        raise Refusal(WRONG, f"Format error in body: expected a message {name}") from None


def _in_words_of_grpc(text: str) -> str:
    """A text without what it says of JSON and paths, and of how a body is nested there."""
    for part in (_JSON, _PATH):
        head, found, rest = text.partition(part)
        if found and head in ("Format error", "Validation error"):
            return f"{head} in body: {_FLATTENED.sub('', rest)}"
    return text


def _add_older_forms(response: Any) -> None:
    fields = response.DESCRIPTOR.fields_by_name
    kind = fields["result"].message_type if "result" in fields else None
    if kind is None:
        return
    if kind.name in ("ScoredPoint", "RetrievedPoint"):
        add_older_form(response.result)
    elif kind.name == "BatchResult":
        for each in response.result:
            add_older_form(each.result)
    elif kind.name == "GroupsResult":
        for group in response.result.groups:
            add_older_form(group.hits)
            if group.HasField("lookup"):
                add_older_form([group.lookup])
