"""Links: how a follower asks the writer, in HTTP over a pair of sockets.

A link has no name, so nobody else can use it; the parent hands the other end over. A link carries
one request at a time, and is kept for the next one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress

import httptools
from msgspec import Struct

Header = tuple[bytes, bytes]

CALL = (b"content-type", b"application/grpc")
"""The header of a call of gRPC; its body is the bare message."""
STATUS = b"x-status"
"""The header of the refusal of a call: its statuses in both protocols. Its body is the text."""

_IDLE = 16
"""So many links are kept."""
_PIECE = 1 << 16


class NoWriterError(Exception):
    """There is no writer to ask, or it has ended before it answered."""

    def __init__(self, begun: bool) -> None:
        more = "; what it was asked for may have been done" if begun else ""
        super().__init__(f"the process that writes has ended, and is started again{more}")
        self.begun = begun


class Reply(Struct):
    """What the writer has answered."""

    status: int
    headers: list[Header]
    body: bytes


class Writer:
    """The writer, as a follower sees it. ``hand_over`` gives it the other end of a link; False: it
    is not there."""

    def __init__(self, hand_over: Callable[[socket.socket], bool]) -> None:
        self._hand_over = hand_over
        self._idle: list[_Link] = []

    async def ask(
        self,
        method: bytes,
        target: bytes,
        headers: Iterable[Header],
        body: bytes | AsyncIterator[bytes],
    ) -> Reply:
        """Its answer to a request. Raises NoWriterError, and what ``body`` raises."""
        link = await self._link()
        try:
            reply = await link.ask(method, target, headers, body)
        except BaseException:
            link.close()
            raise
        if link.is_usable and len(self._idle) < _IDLE:
            self._idle.append(link)
        else:
            link.close()
        return reply

    async def _link(self) -> _Link:
        while self._idle:
            link = self._idle.pop()
            if link.is_usable:
                return link
            link.close()
        mine, other = socket.socketpair()
        with other:
            if not self._hand_over(other):
                mine.close()
                raise NoWriterError(False)
        mine.setblocking(False)
        return _Link(*await asyncio.open_unix_connection(sock=mine))

    def close(self) -> None:
        """Give all links up that are not in use."""
        for link in self._idle:
            link.close()
        self._idle.clear()


class _Link:
    """One link, and the answer that comes by it (it is the parser's receiver)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._complete = True
        self._keeps = True

    @property
    def is_usable(self) -> bool:
        """Whether another request can go this way."""
        return self._complete and self._keeps and not self._reader.at_eof()

    async def ask(
        self,
        method: bytes,
        target: bytes,
        headers: Iterable[Header],
        body: bytes | AsyncIterator[bytes],
    ) -> Reply:
        """As ``Writer.ask``."""
        self._complete = False
        head = [method, b" ", target, b" HTTP/1.1\r\n"]
        for name, value in headers:
            head += [name, b": ", value, b"\r\n"]
        if isinstance(body, bytes):
            self._writer.write(b"".join([*head, b"content-length: %d\r\n\r\n" % len(body), body]))
            return await self._answer()
        self._writer.write(b"".join([*head, b"transfer-encoding: chunked\r\n\r\n"]))
        sending = asyncio.ensure_future(self._send(body))
        answering = asyncio.ensure_future(self._answer())
        try:
            await asyncio.wait([sending, answering], return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            # It may have been answered before all of it was sent, and the rest is not wanted.
            self._keeps = sending.done()
            return await answering
        finally:
            for task in (sending, answering):
                task.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)

    async def _send(self, body: AsyncIterator[bytes]) -> None:
        async for piece in body:
            self._writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            with suppress(OSError):  # the answer tells
                await self._writer.drain()
        self._writer.write(b"0\r\n\r\n")

    async def _answer(self) -> Reply:
        self._reply = Reply(0, [], b"")
        self._pieces: list[bytes] = []
        parser = httptools.HttpResponseParser(self)
        while not self._complete:
            try:
                data = await self._reader.read(_PIECE)
            except OSError:
                data = b""
            if not data:
                raise NoWriterError(True)
            parser.feed_data(data)
        self._keeps = self._keeps and parser.should_keep_alive()
        self._reply.status = parser.get_status_code()
        self._reply.body = b"".join(self._pieces)
        return self._reply

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of the answer came."""
        self._reply.headers.append((name.lower(), value))

    def on_body(self, piece: bytes) -> None:
        """A piece of its body came."""
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._complete = True

    def close(self) -> None:
        """Of no use any more."""
        self._writer.close()
