"""Rude callers: they hang up in the middle, send half of what they promised, or do not read."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable

import h2.config
import h2.connection
import h2.settings

from proofs.server_soak.points import DIM, NAME
from proofs.serving import Server

_PATH = f"/collections/{NAME}"
_MULTIPART = "multipart/form-data; boundary=soak"


class Rude:
    """One of them, who begins anew each time."""

    def __init__(self, server: Server, *, seed: int, done: Counter[str]) -> None:
        self._server = server
        self._random = random.Random(seed)
        self._done = done

    async def act(self) -> None:
        """One rudeness."""
        kinds: list[Callable[[], Awaitable[None]]] = [
            self._half_a_head,
            self._half_a_body,
            self._unread,
            self._slowly_read,
            self._half_an_upload,
            self._half_a_download,
            self._no_http2,
            self._stalled_http2,
        ]
        kind = self._random.choice(kinds)
        try:
            await kind()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the server may hang up, too
        self._done[kind.__name__.strip("_").replace("_", " ")] += 1

    async def _pause(self) -> None:
        await asyncio.sleep(self._random.expovariate(20))

    async def _connect(self, port: int, buffer: int | None = None) -> _Connection:
        plain = socket.socket()
        if buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=plain, limit=1 << 10)
        return _Connection(reader, writer, plain, abruptly=self._random.random() < 0.5)

    async def _half_a_head(self) -> None:
        head = b"POST / HTTP/1.1\r\nhost: localhost\r\nx-half: "
        async with await self._connect(self._server.port) as connection:
            connection.writer.write(head[: self._random.randrange(len(head))])
            await self._pause()

    async def _half_a_body(self) -> None:
        points = [{"id": 1 << 40, "vector": [0.0] * DIM}] * 200
        request = _request("PUT", f"{_PATH}/points", json.dumps({"points": points}).encode())
        async with await self._connect(self._server.port) as connection:
            connection.writer.write(request[: self._random.randrange(len(request) - 1)])
            await self._pause()

    async def _unread(self) -> None:
        async with await self._connect(self._server.port) as connection:
            connection.writer.write(_everything())
            await self._pause()

    async def _slowly_read(self) -> None:
        async with await self._connect(self._server.port, buffer=4096) as connection:
            for _ in range(5):
                connection.writer.write(_everything())
            for _ in range(20):
                await connection.reader.read(512)
                await asyncio.sleep(0.02)

    async def _half_an_upload(self) -> None:
        head = b'--soak\r\ncontent-disposition: form-data; name="snapshot"; filename="s"\r\n\r\n'
        path = f"{_PATH}/snapshots/upload?wait=true"
        request = _request("POST", path, head + bytes(1 << 18), _MULTIPART)
        async with await self._connect(self._server.port) as connection:
            connection.writer.write(request[: self._random.randrange(len(request) - 1)])
            await self._pause()

    async def _half_a_download(self) -> None:
        async with await self._connect(self._server.port) as connection:
            connection.writer.write(_request("POST", f"{_PATH}/snapshots?wait=true"))
            name = (await connection.result())["name"]
            connection.writer.write(_request("GET", f"{_PATH}/snapshots/{name}"))
            await connection.reader.read(512)
        async with await self._connect(self._server.port) as connection:
            connection.writer.write(_request("DELETE", f"{_PATH}/snapshots/{name}"))
            await connection.result()

    async def _no_http2(self) -> None:
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self._random.randbytes(100)
        async with await self._connect(self._server.grpc_port) as connection:
            connection.writer.write(preface[self._random.choice((0, 3, 24)) :])
            await self._pause()

    async def _stalled_http2(self) -> None:
        """A call whose answer there is no window for."""
        http2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        http2.local_settings = h2.settings.Settings(
            initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0}
        )
        http2.initiate_connection()
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":authority": "localhost",
            ":path": "/qdrant.Points/Count",
            "content-type": "application/grpc",
            "te": "trailers",
        }
        http2.send_headers(1, list(headers.items()))
        name = NAME.encode()
        message = b"\x0a" + bytes([len(name)]) + name  # field 1: the name of the collection
        http2.send_data(1, b"\0" + struct.pack(">I", len(message)) + message, end_stream=True)
        async with await self._connect(self._server.grpc_port) as connection:
            connection.writer.write(http2.data_to_send())
            await self._pause()


class _Connection:
    """One that is closed at the end of its block; abruptly: as by a process that is killed."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        plain: socket.socket,
        *,
        abruptly: bool,
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._plain = plain
        self._abruptly = abruptly

    async def __aenter__(self) -> _Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._abruptly:
            # Closed with a reset, and without what has not been sent.
            now = struct.pack("ii", 1, 0)
            self._plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
            self.writer.transport.abort()
        else:
            self.writer.close()

    async def result(self) -> dict[str, str]:
        """What a request came to that must be answered well."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("http/1.1 200"), head
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        body = json.loads(await self.reader.readexactly(length))
        result = body["result"]
        return result if isinstance(result, dict) else {}


def _request(method: str, path: str, body: bytes = b"", kind: str = "application/json") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def _everything() -> bytes:
    """A request for all points."""
    body = {"limit": 100_000, "with_vector": True}
    return _request("POST", f"{_PATH}/points/scroll", json.dumps(body).encode())
