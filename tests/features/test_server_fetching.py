"""``vecdb serve --snapshot-urls``: snapshots that are fetched from elsewhere."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from serving import error, new_collection, put, result, serving

from vecdb.server import fetching
from vecdb.server.fetching import _is_public, fetched
from vecdb.server.status import Refusal


class Elsewhere:
    """A server that has a snapshot. It remembers what it was asked."""

    def __init__(self) -> None:
        self.snapshot = b""
        self.asked: list[tuple[str, str | None]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler) -> None:
                self.answer(handler)

            def log_message(handler, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append((handler.path, handler.headers["api-key"]))
        size = len(self.snapshot)
        if handler.path == "/moved":
            handler.send_response(302)
            handler.send_header("location", f"{self.url}/whole")
            handler.end_headers()
            return
        if handler.path == "/none":
            handler.send_error(404)
            return
        handler.send_response(200)
        length = {"/large": 1 << 60, "/short": size + 100}.get(handler.path, size)
        if handler.path != "/endless":
            handler.send_header("content-length", str(length))
        handler.end_headers()
        handler.wfile.write(self.snapshot)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    there = Elsewhere()
    thread = threading.Thread(target=there.http.serve_forever)
    thread.start()
    yield there
    there.http.shutdown()
    thread.join()
    there.http.server_close()


def test_a_snapshot_is_fetched(tmp_path: Path, elsewhere: Elsewhere) -> None:
    options = ("--snapshot-urls", "--snapshot-host", "127.0.0.1", "--sync", "never")
    with serving(tmp_path / "db", *options) as running, running.http() as http:
        path = new_collection(http, "c")
        put(http, path, {"id": 1, "vector": [1, 2, 3, 4]})
        made = result(http.post(f"{path}/snapshots"))
        elsewhere.snapshot = http.get(f"{path}/snapshots/{made['name']}").content
        checksum = hashlib.sha256(elsewhere.snapshot).hexdigest()

        def recover(name: str, where: str, **more: str) -> Any:
            body = {"location": f"{elsewhere.url}/{where}", **more}
            return http.put(f"/collections/{name}/snapshots/recover", json=body)

        assert result(recover("one", "whole", checksum=checksum, api_key="secret")) is True
        assert elsewhere.asked == [("/whole", "secret")]
        assert result(recover("two", "endless")) is True
        for name in ("one", "two"):
            count = http.post(f"/collections/{name}/points/count", json={})
            assert result(count) == {"count": 1}
        assert "Checksum mismatch" in error(recover("c", "whole", checksum="0" * 64), 400)
        assert "it is answered with status 302" in error(recover("c", "moved"), 400)
        assert elsewhere.asked[-1][0] == "/moved"  # and not what it says
        assert "it is answered with status 404" in error(recover("c", "none"), 400)
        assert "bytes" in error(recover("c", "short"), 400)
        assert "half of what is free" in error(recover("c", "large"), 507)
        elsewhere.snapshot = b"x" * 100_000
        assert "not a whole snapshot" in error(recover("c", "whole"), 400)
        assert result(http.post(f"{path}/points/count", json={})) == {"count": 1}
        assert not list((tmp_path / "db" / "snapshots").glob("*.tmp*"))


def test_nothing_is_fetched_by_default(tmp_path: Path, elsewhere: Elsewhere) -> None:
    with serving(tmp_path / "db") as running, running.http() as http:
        body = {"location": f"{elsewhere.url}/whole"}
        text = error(http.put("/collections/c/snapshots/recover", json=body), 400)
        assert "without --snapshot-urls" in text
        assert not elsewhere.asked


def test_private_addresses_are_not_asked_unless_they_are_named(elsewhere: Elsewhere) -> None:
    elsewhere.snapshot = b"abc"
    local = elsewhere.url.replace("127.0.0.1", "localhost")
    for url in (
        elsewhere.url,
        local,
        "http://169.254.169.254/",
        "http://[::1]/",
        "http://10.0.0.1",
    ):
        with pytest.raises(Refusal, match="is in a network that is not public"):
            list(fetched(url, ("other",), 100))
    assert not elsewhere.asked
    assert b"".join(fetched(f"{elsewhere.url}/a?b=c", ("127.0.0.1",), 100)) == b"abc"
    assert elsewhere.asked == [("/a?b=c", None)]
    with pytest.raises(Refusal, match="half of what is free"):
        list(fetched(f"{elsewhere.url}/endless", ("127.0.0.1",), 2))


@pytest.mark.parametrize(
    "url",
    ["ftp://127.0.0.1/", "http://", "http://a:b@127.0.0.1/", "http://127.0.0.1:x/", "file:///x"],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(Refusal, match="cannot be fetched") as caught:
        list(fetched(url, ("127.0.0.1",), 100))
    assert caught.value.status.http == 400


def test_public_addresses() -> None:
    private = ("127.0.0.1", "::1", "::ffff:10.0.0.1", "2002:7f00:1::", "fe80::1%eth0", "0.0.0.0")
    # Site-local ones have gone out of use, but there are networks that have them: that of a virtual
    # machine reaches its host by one.
    for address in (*private, "64:ff9b::7f00:1", "169.254.169.254", "fec0::2", "::127.0.0.1"):
        assert not _is_public(address), address
    for address in ("1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"):
        assert _is_public(address), address


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The other end of what is connected to."""
    near, far = socket.socketpair()
    monkeypatch.setattr(fetching, "_connected", lambda parts, hosts: near)
    far.settimeout(60)
    with near, far:
        yield far


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.com/a", b"example.com"),
        ("http://example.com/a", b"example.com"),
        ("https://example.com:444/a", b"example.com:444"),
        ("https://example.com:80/a", b"example.com:80"),
    ],
)
def test_a_host_is_named_without_the_port_of_its_scheme(
    far: socket.socket, url: str, host: bytes
) -> None:
    """Signed URLs are signed with the name of their host: one with `:443` is another."""
    far.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc")
    assert b"".join(fetched(url, (), 100)) == b"abc"
    assert b"\r\nHost: " + host + b"\r\n" in far.recv(1000)


def test_a_fetch_ends_when_the_server_does(far: socket.socket) -> None:
    """The end of the server waited for the other side, however long that took."""
    stops = threading.Event()
    far.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabc")
    later = threading.Timer(0.2, stops.set)
    later.start()
    with pytest.raises(Refusal, match="the server ends"):
        list(fetched("http://example.com/a", (), 2000, stops=stops.is_set))
    later.join()


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"])
def test_bytes_that_come_one_by_one_are_not_waited_for(
    far: socket.socket, head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them came in time, and all of them would have taken for ever."""
    monkeypatch.setattr(fetching, "_SECONDS", 0.5)
    ended = threading.Event()

    def drip() -> None:
        with suppress(OSError):  # it hung up
            while not ended.wait(0.02):
                far.sendall(b"x")

    far.sendall(head)
    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        with pytest.raises(Refusal, match=r"fewer than .* bytes came"):
            list(fetched("http://example.com/a", (), 2000))
    finally:
        ended.set()
        dripping.join()


def test_a_name_whose_first_address_leads_nowhere(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first was tried: a name with an address of IPv6 was out of reach without that."""
    elsewhere.snapshot, port = b"whole", elsewhere.http.server_address[1]

    def addresses(*_: Any, **__: Any) -> list[Any]:
        kind = socket.SOCK_STREAM
        return [
            (socket.AF_INET, kind, 6, "", ("127.0.0.2", port)),
            (socket.AF_INET, kind, 6, "", ("127.0.0.1", port)),
        ]

    def connected(address: tuple[str, int], *_: Any) -> socket.socket:
        if address[0] != "127.0.0.1":
            raise ConnectionRefusedError("nobody is there")
        there = socket.socket()
        there.connect(address)
        return there

    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    monkeypatch.setattr(socket, "create_connection", connected)
    url = f"http://two.example:{port}/whole"
    assert b"".join(fetched(url, ["two.example"], 100)) == b"whole"
