"""Bodies: the bytes of a request, as far as the limits allow."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from vecdb.server.status import WRONG, Refusal

Receive = Callable[[], Awaitable[Any]]
_GZIP = 16 + zlib.MAX_WBITS
_LARGE = 1 << 18
"""Bytes that are unpacked in another thread."""


class Gone(Exception):
    """The caller has hung up; nobody waits for an answer."""


def too_large(limit: int) -> Refusal:
    """A body that is refused for its size."""
    return Refusal(WRONG, f"Payload error: the body is larger than the limit of {limit} bytes")


async def chunks(receive: Receive, limit: int | None = None, size: int = 0) -> AsyncIterator[bytes]:
    """The pieces of a body as they come, after ``size`` bytes of it. Raises Refusal if it is too
    large; Gone."""
    while True:
        message = await _next(receive)
        chunk = message.get("body", b"")
        size += len(chunk)
        if limit is not None and size > limit:
            raise too_large(limit)
        if chunk:
            yield chunk
        if not message.get("more_body"):
            return


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    """A whole body, unpacked. Raises as ``chunks``."""
    body = await read_packed(receive, headers, limit)
    encoding = headers.get(b"content-encoding")
    if encoding is None or encoding == b"identity" or not body:
        return body
    if encoding.lower() != b"gzip":
        raise Refusal(WRONG, "Payload error: of encodings only gzip is understood")
    if len(body) < _LARGE:
        return unpack(body, limit)
    return await asyncio.to_thread(unpack, body, limit)


async def read_packed(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    """A whole body, as it comes. Raises as ``chunks``."""
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limit:
        raise too_large(limit)
    message = await _next(receive)
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        if len(body) > limit:
            raise too_large(limit)
        pieces = [body]
        async for chunk in chunks(receive, limit, len(body)):
            pieces.append(chunk)
        body = b"".join(pieces)
    elif len(body) > limit:
        raise too_large(limit)
    return body


async def _next(receive: Receive) -> Any:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    return message


def unpack(data: bytes, limit: int) -> bytes:
    """What gzip made of at most ``limit`` bytes; no more of it is ever unpacked. Raises Refusal."""
    pieces: list[bytes] = []
    left = limit
    try:
        while data:
            stream = zlib.decompressobj(_GZIP)
            pieces.append(stream.decompress(data, left + 1))
            left -= len(pieces[-1])
            if left < 0 or stream.unconsumed_tail:
                raise too_large(limit)
            if not stream.eof:
                raise Refusal(WRONG, "Payload error: the gzip data end too early")
            data = stream.unused_data
    except zlib.error as error:
        raise Refusal(WRONG, f"Payload error: not valid gzip: {error}") from None
    return b"".join(pieces)
