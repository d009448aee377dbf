"""``vecdb serve``: bodies that are too large, too slow or not what they say; too many requests."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from serving import Server, error, new_collection, put, result, serving

from vecdb.server.bodies import Gone, read_body, unpack
from vecdb.server.status import Refusal

JSON = {"content-type": "application/json"}


IMPATIENT = """
import sys
from pathlib import Path
from vecdb.server import running, settings
chosen = settings.Settings(
    directory=Path(sys.argv[1]), port=0, body_seconds=0.6, header_seconds=0.6, unwanted_seconds=0.6
)
running.run(chosen, lambda url, grpc: print(f"vecdb serves it at {url}\\n", flush=True))
"""


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits for nobody, so that a test need not wait for it."""
    with serving(tmp_path_factory.mktemp("impatient") / "db", program=IMPATIENT) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("limits") / "db"
    with serving(directory, "--max-body-mb", "1", "--max-in-flight", "4") as running:
        with running.http() as http:
            put(http, new_collection(http, "c"), {"id": 1, "vector": [1, 2, 3, 4]})
        yield running


def test_large_bodies(server: Server) -> None:
    large = b'{"points": [], "x": "' + b"x" * (1 << 20) + b'"}'
    with server.http() as http:
        for content in (large, iter([large[:1000], large[1000:]])):  # declared, and in chunks
            answer = http.put("/collections/c/points", content=content, headers=JSON)
            assert "larger than the limit of 1048576 bytes" in error(answer, 400)
        assert result(http.get("/collections/c"))["points_count"] == 1


def test_a_body_that_grows_when_it_is_unpacked(server: Server) -> None:
    """Harmless as such: two megabytes of blanks, a limit of one."""
    packed = gzip.compress(b"{" + b" " * (2 << 20) + b"}")
    assert len(packed) < 10_000
    with server.http() as http:
        headers = {**JSON, "content-encoding": "gzip"}
        answer = http.put("/collections/c/points", content=packed, headers=headers)
        assert "larger than the limit" in error(answer, 400)


def test_no_more_is_unpacked_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Watched:
        def __init__(self, bits: int) -> None:
            self.inner = make(bits)

        def decompress(self, data: bytes, most: int) -> bytes:
            asked.append(most)
            return self.inner.decompress(data, most)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    make = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Watched)
    packed = gzip.compress(bytes(500)) + gzip.compress(bytes(500))  # two members are one body
    assert unpack(packed, 1000) == bytes(1000)
    assert asked == [1001, 501]
    with pytest.raises(Refusal, match="larger than the limit of 999"):
        unpack(packed, 999)
    with pytest.raises(Refusal, match="end too early"):
        unpack(packed[:-1], 1000)
    with pytest.raises(Refusal, match="not valid gzip"):
        unpack(b"x" * 100, 1000)


def receiving(*messages: Any) -> Callable[[], Awaitable[Any]]:
    """What a server hands to an application."""
    left = list(messages)

    async def receive() -> Any:
        return left.pop(0)

    return receive


def test_bodies_in_pieces() -> None:
    async def body(*pieces: Any) -> bytes:
        return await read_body(receiving(*pieces), {}, 100)

    def piece(data: bytes, more: bool = True) -> Any:
        return {"type": "http.request", "body": data, "more_body": more}

    async def try_all() -> None:
        assert await body(piece(b"ab"), piece(b""), piece(b"c", False)) == b"abc"
        with pytest.raises(Refusal, match="larger than the limit of"):
            await body(piece(b"x" * 60), piece(b"y" * 60))
        with pytest.raises(Gone):
            await body(piece(b"x"), {"type": "http.disconnect"})

    asyncio.run(try_all())


HEAD = (
    b"POST /collections/c/points/count HTTP/1.1\r\nhost: localhost\r\n"
    b"content-type: application/json\r\n"
)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        HEAD,
        HEAD + b"content-length: 100\r\n\r\n{",
        HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n",
    ],
    ids=["nothing", "half a head", "half a body", "a chunk"],
)
def test_slow_callers(impatient: Server, sent: bytes) -> None:
    """Each is cut off; one that is quick is answered meanwhile, and may be silent in between."""
    with impatient.http() as http:
        if http.get("/collections/c").status_code == 404:
            new_collection(http, "c")
        with socket.create_connection(("127.0.0.1", impatient.port), timeout=60) as slow:
            slow.sendall(sent)
            assert slow.recv(1000) == b""
        assert result(http.post("/collections/c/points/count", json={})) == {"count": 0}


def test_half_of_a_second_request(impatient: Server) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=60) as slow:
        for _ in range(2):  # silent in between, for longer than a half request may be
            slow.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            received = b""
            while b"passed" not in received:
                received += slow.recv(1000)
            assert b" 200 " in received
            time.sleep(1.5)
        slow.sendall(b"GET /healthz HTTP/1.1\r\nhost:")
        assert slow.recv(1000) == b""


def test_a_slow_caller_that_goes_on_is_served(impatient: Server) -> None:
    with (
        impatient.http() as http,
        socket.create_connection(("127.0.0.1", impatient.port), timeout=60) as slow,
    ):
        body = b'{"exact": true}'
        slow.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body))
        for byte in body:  # for longer than it may be silent
            time.sleep(0.15)
            slow.sendall(bytes([byte]))
        assert b"HTTP/1.1 " in slow.recv(1000)
        assert http.get("/healthz").status_code == 200


def test_a_body_that_nobody_wants_is_cut_off(impatient: Server) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=60) as caller:
        caller.sendall(HEAD + b"content-length: 99999999999\r\n\r\n")
        assert b"HTTP/1.1 400" in caller.recv(1000)
        with suppress(OSError):  # reset, or a broken pipe
            while True:
                caller.sendall(bytes(100_000))


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}x",
        HEAD + b"transfer-encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding : chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        HEAD.replace(b"\r", b"") + b"content-length: 2\n\n{}",
        b"GET /\0 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 100_000,
        b"GET / HTTP/1.1\r\nx: " + b"y" * 600_000,
        b"GET /" + b"y" * 600_000,
    ],
    ids=[
        *("length and chunks", "two lengths", "two encodings", "a blank", "no returns", "a null"),
        *("another protocol", "many headers", "a long header", "a long path"),
    ],
)
def test_requests_that_are_none(server: Server, sent: bytes) -> None:
    """Where a request ends must not be a matter of opinion. One answer, and the connection ends."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as caller:
        received = b""
        with suppress(OSError):  # cut off while it sends
            caller.sendall(sent)
            while piece := caller.recv(1000):
                received += piece
        assert received == b"" or received.startswith(b"HTTP/1.1 400 ")
        assert received.count(b"HTTP/1.1") <= 1
    assert server.log.read_text() == ""


def test_too_many_requests(server: Server) -> None:
    """Four whose bodies have not come are all that may be under way."""
    head = (
        b"POST /collections/c/points/count HTTP/1.1\r\nhost: localhost\r\n"
        b"content-type: application/json\r\ncontent-length: 2\r\n\r\n"
    )
    with server.http() as http:
        waiting = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
        try:
            for each in waiting:
                each.sendall(head)
            answer = until(lambda: http.post("/collections/c/points/count", json={}), 503)
            assert "too many requests" in error(answer, 503)
            assert answer.headers["retry-after"] == "1"
            for each in waiting:
                each.sendall(b"{}")
                assert b" 200 " in each.recv(200)
        finally:
            for each in waiting:
                each.close()
        until(lambda: http.post("/collections/c/points/count", json={}), 200)
        assert 'vecdb_refusals_total{reason="busy"}' in http.get("/metrics").text


def until(request: Callable[[], Any], status: int) -> Any:
    """The first answer with that status."""
    deadline = time.monotonic() + 30
    while True:
        answer = request()
        if answer.status_code == status:
            return answer
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.01)


def test_a_caller_that_hangs_up(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        caller.sendall(
            b"PUT /collections/c/points HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        )
    with server.http() as http:
        until(lambda: http.get("/collections/c"), 200)
    assert "Traceback" not in server.log.read_text()


def test_too_many_ids_and_searches(server: Server) -> None:
    with server.http() as http:
        text = error(http.post("/collections/c/points", json={"ids": [1] * 65_537}), 400)
        assert "at most 65536 ids" in text
        searches = {"searches": [{"limit": 1}] * 1001}
        text = error(http.post("/collections/c/points/query/batch", json=searches), 400)
        assert "at most 1000" in text


def test_many_at_once(server: Server) -> None:
    """Readers and writers, each with its connection: all are answered, or told to come again."""
    failures: list[str] = []

    query = {"query": [1, 0, 0, 0], "limit": 1}

    def work(number: int) -> None:
        with server.http() as http:
            for n in range(20):
                body = {"points": [{"id": 1000 * number + n, "vector": [n, 0, 0, 0]}]}
                until(lambda body=body: http.put("/collections/c/points", json=body), 200)
                answer = until(lambda: http.post("/collections/c/points/query", json=query), 200)
                if not answer.json()["result"]["points"]:
                    failures.append(answer.text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with server.http() as http:
        assert result(http.get("/collections/c"))["points_count"] == 121
