"""The application: HTTP in, one operation, HTTP out (ASGI).

What a request is refused for, in this order: where it comes from, who asks, what it asks for, how
many others there are, how large it is. Only then is its body read, and the operation begun.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import lru_cache
from gzip import compress
from typing import Any, NoReturn
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from vecdb.models.reading import drop_unknown
from vecdb.server import answers, downloads
from vecdb.server.access import Access, check_right
from vecdb.server.answers import (
    Accepted,
    Bare,
    Download,
    Envelope,
    Lines,
    Redirect,
    Text,
    encode,
)
from vecdb.server.bodies import Gone, Receive, chunks, read_body, read_packed
from vecdb.server.counters import Counters
from vecdb.server.pages import Page, pages_of
from vecdb.server.requests import whole
from vecdb.server.routes import Route, find
from vecdb.server.service import Service
from vecdb.server.status import (
    BUSY,
    INTERNAL,
    NO_SUCH_METHOD,
    NOT_FOUND,
    UNKNOWN_CALLER,
    WRONG,
    Refusal,
    malformed,
    out_of_range,
    refusal_of,
)
from vecdb.server.table import Call, Right, Shapes
from vecdb.server.workers.links import NoWriterError, Reply, Writer

Scope = Mapping[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_log = logging.getLogger("vecdb.server")
_access_log = logging.getLogger("vecdb.server.access")

_SHAPES = Shapes(answers.hits, answers.points, answers.point)
_JSON: Headers = [(b"content-type", b"application/json")]
_LINES = (b"content-type", b"application/x-ndjson")
_decode = msgspec.json.Decoder().decode
_WORTH_PACKING = 1024
_LOCAL = ("127.0.0.1", "::1")
_PASSED_ON = frozenset(
    {b"api-key", b"authorization", b"content-encoding", b"content-type", b"host"}
)
"""What the writer is told of the head of a request. All else is between the caller and us."""
_PASSED_BACK = frozenset({b"content-type", b"retry-after"})
_ALLOWED = b"api-key, authorization, content-type"


class Request(Struct):
    """A request and how far it has come."""

    scope: Scope
    receive: Receive
    headers: Mapping[bytes, bytes]
    started: float
    route: Route | None = None
    right: Right = Right.OPEN
    call: Call | None = None
    origin: bytes | None = None
    size: int = 0
    begun: bool = False
    """Whether something of an answer is out, after which no other can be given."""


class App:
    """One server's application. ``access`` needs the port, which is known once it listens.
    ``passed_on``: requests come from another process of the server, which counts and logs them."""

    def __init__(self, service: Service, access: Access, *, passed_on: bool = False) -> None:
        self._service = service
        self._counters = Counters() if passed_on else service.counters
        self._access = access
        settings = service.settings
        self._most_in_flight = settings.max_in_flight
        self._most_bytes = settings.max_body_bytes
        self._logs = settings.access_log and not passed_on
        self._pages = pages_of(settings)
        self._last_client: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http", scope["type"]
        request = Request(scope, receive, dict(scope["headers"]), time.perf_counter())
        counters = self._counters
        counters.in_flight += 1
        try:
            status = await self._answered(request, send)
        except Gone:
            return
        finally:
            counters.in_flight -= 1
        route = request.route
        if route is not None:
            seconds = time.perf_counter() - request.started
            name = "" if request.call is None else request.call.collection
            counters.ended(route.method, route.path, status, name, seconds)
        if self._logs:
            self._log_access(request, status)

    async def _answered(self, request: Request, send: Send) -> int:
        """The status of the answer that was sent. Raises Gone if none was, or not the whole."""
        try:
            answer = await self._answer(request)
            if type(answer) is Download:
                return await self._send_file(request, answer, send)
            if type(answer) is Lines:
                return await self._send_pieces(request, 200, [_LINES], answer.pieces, send)
            return await self._send_answer(request, answer, send)
        except Gone:
            raise
        except Exception as error:
            if request.begun:  # half an answer is out, and uvicorn ends the connection
                _log.error("%s: half an answer", request.scope["path"], exc_info=error)
                raise Gone from error
            return await self._send_refusal(request, error, send)

    # -- a request comes in ----------------------------------------------------------------------

    async def _answer(self, request: Request) -> Any:
        scope, headers, service = request.scope, request.headers, self._service
        request.origin = self._access.check_source(headers)
        method: str = scope["method"]
        if method == "OPTIONS" and request.origin is not None:
            return Text("")
        path = scope["raw_path"].decode("latin-1")
        if method == "GET":
            for pages in self._pages:
                if pages.has(path):
                    return await pages.find(path)
        right = request.right = self._access.right_of(headers)
        drop_unknown.set(service.drop(may_write=right > Right.READ))
        route, names, known = find(method, path)
        if route is None:
            check_right(right, Right.READ, "")
            raise Refusal(NO_SUCH_METHOD if known else NOT_FOUND, "")
        request.route = route
        operation = route.operation
        check_right(right, operation.right, names.get("collection", ""))
        if len(names.get("collection", "")) > 255:
            problem = f'value "{names["collection"]}" invalid, must be from 1 to 255 characters'
            raise out_of_range([f"collection_name: {problem}"], "path parameters")
        if self._counters.in_flight > self._most_in_flight:
            raise Refusal(BUSY, "Service unavailable: too many requests are under way; try again")
        agent = headers.get(b"user-agent")
        if agent is not None:
            self._counters.client(agent)
        client = scope.get("client")
        alone = client == self._last_client
        call = request.call = Call(headers=headers, alone=alone, shapes=_SHAPES, **names)
        self._last_client = client
        if scope["query_string"]:
            _read_options(call, operation.right, scope["query_string"])
        writer = operation.writer_of(service)
        if writer is not None:
            try:
                return await self._ask(writer, request)
            except NoWriterError as error:
                if operation.right > Right.READ:
                    raise Refusal(BUSY, f"Service unavailable: {error}") from None
        if operation.streams:
            call.stream = chunks(request.receive)
        elif operation.fields is not None:
            body = await read_body(request.receive, headers, self._most_bytes)
            call.body = self._read(body, headers)
        return await operation.do(service, call)

    async def _ask(self, writer: Writer, request: Request) -> Reply:
        """The writer's answer to a request. Raises NoWriterError."""
        scope, headers, route = request.scope, request.headers, request.route
        assert route is not None
        target: bytes = scope["raw_path"]
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        passed_on = [each for each in scope["headers"] if each[0] in _PASSED_ON]
        method = scope["method"].encode()
        if route.operation.streams:
            return await writer.ask(method, target, passed_on, chunks(request.receive))
        body = await read_packed(request.receive, headers, self._most_bytes)
        return await writer.ask(method, target, passed_on, body)

    def _read(self, body: bytes, headers: Mapping[bytes, bytes]) -> dict[str, Any]:
        if not body:
            return {}
        kind = headers.get(b"content-type", b"")
        if kind != b"application/json" and not kind.lower().startswith(b"application/json"):
            raise Refusal(WRONG, "Content type error: expected application/json")
        try:
            read = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise malformed(str(error)) from None
        if type(read) is not dict:
            raise malformed("expected an object")
        return read

    # -- its answer goes out ---------------------------------------------------------------------

    async def _send_answer(self, request: Request, answer: Any, send: Send) -> int:
        kind = type(answer)
        if kind is Text:
            headers = [(b"content-type", answer.content_type.encode())]
            return await self._send(
                request, answer.http_status, answer.content.encode(), headers, send
            )
        if kind is Page:
            return await self._send(request, 200, answer.content, answer.headers, send)
        if kind is Reply:
            headers = [each for each in answer.headers if each[0] in _PASSED_BACK]
            return await self._send(request, answer.status, answer.body, headers, send)
        if kind is Redirect:
            headers = [(b"location", answer.location.encode())]
            return await self._send(request, 303, b"", headers, send)
        if kind is Bare:
            return await self._send(request, 200, encode(answer.value), _JSON, send)
        seconds = time.perf_counter() - request.started
        if kind is Accepted:
            body = encode({"status": "accepted", "time": seconds})
            return await self._send(request, 202, body, _JSON, send)
        body = encode(Envelope(answer, "ok", seconds))
        return await self._send(request, 200, body, _JSON, send)

    async def _send_refusal(self, request: Request, error: Exception, send: Send) -> int:
        route = request.route
        refusal = refusal_of(error, "" if route is None else route.operation.name)
        status = refusal.status
        text, headers = refusal.text, _JSON
        if status is INTERNAL:
            _log.error("%s %s", request.scope["method"], request.scope["path"], exc_info=error)
            if request.right < Right.WRITE:  # it may name files of this machine
                text = "Service internal error: see the log of the server"
        if request.call is None:
            self._counters.refused(_reason(status.http))
        if status is BUSY:
            headers = [*_JSON, (b"retry-after", b"1")]
        if status is UNKNOWN_CALLER:
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            body = text.encode()
        elif not text:
            headers, body = [], b""
        else:
            seconds = 0.0 if request.call is None else time.perf_counter() - request.started
            body = encode({"status": {"error": text}, "time": seconds})
        return await self._send(request, status.http, body, headers, send)

    async def _send(
        self, request: Request, status: int, body: bytes, headers: Headers, send: Send
    ) -> int:
        if len(body) > _WORTH_PACKING and b"accept-encoding" in request.headers:
            body, headers = _packed(request, body, headers)
        headers = [*headers, (b"content-length", b"%d" % len(body))]
        if request.origin is not None:
            headers += _cors(request.origin)
        request.size = len(body)
        request.begun = True
        try:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        except RuntimeError:
            await _has_broken()
        return status

    async def _send_file(self, request: Request, answer: Download, send: Send) -> int:
        sending = await downloads.begin(answer, request.headers.get(b"range"))
        try:
            pieces = sending.pieces()
            return await self._send_pieces(request, sending.status, sending.headers, pieces, send)
        finally:
            sending.file.close()

    async def _send_pieces(
        self,
        request: Request,
        status: int,
        headers: Headers,
        pieces: AsyncIterator[bytes],
        send: Send,
    ) -> int:
        if request.origin is not None:
            headers += _cors(request.origin)
        request.begun = True
        # The body was read, or there is none: what may still come is that the caller goes.
        gone = asyncio.ensure_future(request.receive())
        try:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            async for piece in pieces:
                if gone.done() and gone.result()["type"] == "http.disconnect":
                    raise Gone
                request.size += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except RuntimeError:
            await _has_broken()
        finally:
            gone.cancel()
        return status

    def _log_access(self, request: Request, status: int) -> None:
        headers = request.headers
        client = request.scope.get("client")
        line = {
            "time": time.time(),
            "client": client[0] if client else None,
            "method": request.scope["method"],
            "path": request.scope["path"],
            "status": status,
            "seconds": round(time.perf_counter() - request.started, 6),
            "bytes": request.size,
        }
        for name in ("user-agent", "x-request-id", "x-tracing-id", "traceparent"):
            value = headers.get(name.encode())
            if value is not None:
                line[name] = value.decode("latin-1")[:200]
        _access_log.info("%s", encode(line).decode())


def _read_options(call: Call, right: Right, query: bytes) -> None:
    """What stands beside the body: in HTTP, behind the question mark."""
    parse = _parsed if len(query) <= _SHORT_QUERY else _parse
    try:
        options = call.options = parse(query)
    except ValueError:
        raise Refusal(WRONG, "Deserialize error in query parameters: not valid") from None
    wait = options.get("wait", "false")
    if wait not in ("true", "false"):
        raise _wrong_option("wait", "`true` or `false`")
    call.wait = wait == "true"
    timeout = options.get("timeout")
    if timeout is not None:
        seconds = whole(timeout)
        if seconds is None or len(timeout) > 9:
            raise _wrong_option("timeout", "seconds")
        if seconds == 0 and right > Right.READ:
            problem = "timeout: value 0 invalid, must be 1 or larger"
            raise out_of_range([problem], "query parameters")
        if seconds == 0:
            raise _wrong_option("timeout", "a nonzero number of seconds")
        call.timeout = float(seconds)
    if options.get("ordering", "weak") not in ("weak", "medium", "strong"):
        raise _wrong_option("ordering", "one of weak, medium, strong")
    consistency = options.get("consistency", "all")
    if consistency not in ("majority", "quorum", "all", "") and not whole(consistency):
        raise _wrong_option("consistency", "a number, majority, quorum or all")


def _parse(query: bytes) -> Mapping[str, str]:
    return dict(parse_qsl(query.decode("ascii"), max_num_fields=100, strict_parsing=False))


_parsed = lru_cache(256)(_parse)
"""A client asks with the same few again and again."""
_SHORT_QUERY = 256


async def _has_broken() -> NoReturn:
    """A connection has, of which uvloop says so at a write. uvicorn hears of it a moment later, and
    would complain of half an answer before. Raises Gone."""
    await asyncio.sleep(0.01)
    raise Gone


def _wrong_option(name: str, expected: str) -> Refusal:
    return Refusal(WRONG, f"Deserialize error in query parameters: {name}: expected {expected}")


def _packed(request: Request, body: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """A large body gzipped, if the caller wants that and is not on this machine."""
    client = request.scope.get("client")
    if client is None or client[0] in _LOCAL:
        return body, headers
    if b"gzip" not in request.headers[b"accept-encoding"]:
        return body, headers
    return compress(body, 1, mtime=0), [*headers, (b"content-encoding", b"gzip")]


def _cors(origin: bytes) -> Headers:
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-headers", _ALLOWED),
        (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
        (b"vary", b"origin"),
    ]


def _reason(status: int) -> str:
    return {401: "key", 403: "forbidden", 404: "route", 405: "route", 503: "busy"}.get(
        status, "other"
    )
