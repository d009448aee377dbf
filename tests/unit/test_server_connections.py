"""Connections: requests that come before the answer to the one before them."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import httptools
import uvicorn
from uvicorn.server import ServerState

from vecdb import AsyncVecDB
from vecdb.server.connections import Connection
from vecdb.server.running import Running
from vecdb.server.settings import Settings
from vecdb.server.sockets import listening


def request(method: str, path: str, body: Any = None) -> bytes:
    """As it goes over the wire."""
    text = b"" if body is None else json.dumps(body).encode()
    kind = "content-type: application/json\r\n" if text else ""
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{kind}content-length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


class Answers:
    """What a server sends, answer by answer."""

    def __init__(self) -> None:
        self.found: list[tuple[int, bytes]] = []
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.found.append((self._parser.get_status_code(), self._body))
        self._body = b""


def test_requests_that_are_sent_together_are_answered_in_their_order() -> None:
    """The first of them takes the longest, and each needs what those before it did."""

    async def run() -> None:
        config = {"vectors": {"size": 2, "distance": "Dot"}}
        point = {"points": [{"id": 1, "vector": [1, 2]}]}
        sent = [
            request("PUT", "/collections/c", config),
            request("PUT", "/collections/c/points?wait=true", point),
            request("POST", "/collections/c/points/count", {}),
            request("GET", "/collections/none"),
            request("GET", "/healthz"),
        ]
        settings = Settings(directory=Path(":memory:"), port=0)
        listener = listening("127.0.0.1", 0)
        port = listener.getsockname()[1]
        async with AsyncVecDB(":memory:") as database:
            running = Running(settings, database, port, None)
            started = asyncio.Event()
            serving = asyncio.ensure_future(running.serve([listener], started.set))
            await asyncio.wait_for(started.wait(), 60)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"".join(sent))
            answers = Answers()
            while len(answers.found) < len(sent):
                data = await asyncio.wait_for(reader.read(1 << 16), 60)
                assert data, answers.found
                answers.feed(data)
            writer.close()
            running.stop()
            await asyncio.wait_for(serving, 60)
        listener.close()
        assert [status for status, _ in answers.found] == [200, 200, 200, 404, 200]
        assert json.loads(answers.found[2][1])["result"] == {"count": 1}
        assert b"`none`" in answers.found[3][1]
        assert answers.found[4][1].startswith(b"healthz")

    asyncio.run(run())


def test_each_request_hears_that_its_connection_has_ended() -> None:
    """uvicorn tells the one that came last, and the one before it waited for ever."""

    async def run() -> None:
        heard: list[str] = []
        begun = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            while (message := await receive())["type"] == "http.request":
                if not message.get("more_body"):
                    begun.set()
            heard.append(f"{scope['path']} {message['type']}")

        config = uvicorn.Config(app, http=Connection, ws="none", lifespan="off", log_config=None)
        config.load()
        near, far = socket.socketpair()
        far.setblocking(False)
        state, ended = ServerState(), asyncio.Event()

        def connection() -> Connection:
            made = Connection(config, state, {})
            made.closed = ended.set
            return made

        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(connection, far)
        with near:
            near.sendall(request("GET", "/first") + request("GET", "/second"))
            await asyncio.wait_for(begun.wait(), 60)
        await asyncio.wait_for(ended.wait(), 60)
        tasks = list(state.tasks)
        await asyncio.wait_for(asyncio.gather(*tasks), 60)
        assert heard == ["/first http.disconnect"]

    asyncio.run(run())
