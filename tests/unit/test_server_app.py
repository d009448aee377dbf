"""The application of a server by itself, without connections."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from vecdb import AsyncVecDB
from vecdb.server import downloads
from vecdb.server.access import Access
from vecdb.server.answers import Download
from vecdb.server.app import App
from vecdb.server.description import described
from vecdb.server.routes import ROUTES, find
from vecdb.server.service import Service
from vecdb.server.settings import Settings, is_loopback, keys_of
from vecdb.server.status import Refusal

Ask = Callable[..., Awaitable[tuple[int, dict[bytes, bytes], bytes]]]


def with_app(work: Callable[[Ask, Service], Awaitable[None]], **options: Any) -> None:
    """Run a coroutine with a function that asks an application."""

    async def run() -> None:
        settings = Settings(directory=Path("unused"), **options)
        async with AsyncVecDB(":memory:") as database:
            service = Service(database, settings, described())
            app = App(service, Access(settings, 6333))

            async def ask(
                method: str,
                path: str,
                client: str = "127.0.0.1",
                breaks_after: int = 1 << 30,
                **headers: str,
            ) -> tuple[int, dict[bytes, bytes], bytes]:
                sent: list[dict[str, Any]] = []

                async def receive() -> dict[str, Any]:
                    return {"type": "http.request", "body": b""}

                async def send(message: dict[str, Any]) -> None:
                    if len(sent) == breaks_after:
                        raise RuntimeError("the handler is closed")  # as uvloop says it
                    sent.append(message)

                given = {"host": "localhost", **headers}
                scope = {
                    "type": "http",
                    "method": method,
                    "path": path,
                    "raw_path": path.encode(),
                    "query_string": b"",
                    "client": (client, 1),
                    "headers": [
                        (name.replace("_", "-").encode(), value.encode())
                        for name, value in given.items()
                    ],
                }
                await app(scope, receive, send)
                body = b"".join(each.get("body", b"") for each in sent[1:])
                return sent[0]["status"], dict(sent[0]["headers"]), body

            await work(ask, service)

    asyncio.run(run())


def test_a_large_answer_is_packed_for_other_machines() -> None:
    async def work(ask: Ask, service: Service) -> None:
        _, headers, plain = await ask("GET", "/openapi.json", "10.0.0.1")
        assert b"content-encoding" not in headers
        _, headers, packed = await ask(
            "GET", "/openapi.json", "10.0.0.1", accept_encoding="br, gzip"
        )
        assert headers[b"content-encoding"] == b"gzip"
        assert int(headers[b"content-length"]) == len(packed) < len(plain)
        assert json.loads(gzip.decompress(packed)) == json.loads(plain)
        for client, accepted in (("127.0.0.1", "gzip"), ("10.0.0.1", "br")):
            _, headers, body = await ask("GET", "/openapi.json", client, accept_encoding=accepted)
            assert b"content-encoding" not in headers
            assert body == plain
        _, headers, _ = await ask("GET", "/", "10.0.0.1", accept_encoding="gzip")
        assert b"content-encoding" not in headers  # so small that it would become larger

    with_app(work)


def test_a_failure_of_the_server_is_logged_and_answered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(ask: Ask, service: Service) -> None:
        def fail() -> Any:
            raise ZeroDivisionError("of the test")

        monkeypatch.setattr(service.database, "get_collections", fail)
        status, _, body = await ask("GET", "/collections")
        assert (status, json.loads(body)["status"]) == (
            500,
            {"error": "Service internal error: of the test"},
        )
        assert service.counters.in_flight == 0

    with_app(work)
    assert "GET /collections" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_connection_that_breaks_in_the_middle_of_an_answer_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(ask: Ask, service: Service) -> None:
        status, _, body = await ask("GET", "/collections", breaks_after=1)
        assert (status, body) == (200, b"")  # and no second answer after the first
        await ask("GET", "/nowhere", breaks_after=1)
        assert service.counters.in_flight == 0

    with_app(work)
    assert not caplog.records


def test_a_failure_in_the_middle_of_an_answer_is_logged_and_not_answered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    snapshot = tmp_path / "snapshot"
    snapshot.write_bytes(b"bytes")
    opened = []

    async def begin(*_: Any) -> downloads.Sending:
        opened.append(snapshot.open("rb"))
        return downloads.Sending(opened[0], 200, [], 0, 9)  # more than there are

    async def work(ask: Ask, service: Service) -> None:
        monkeypatch.setattr(downloads, "begin", begin)
        monkeypatch.setattr(App, "_answer", give)
        status, _, body = await ask("GET", "/collections")
        assert (status, body) == (200, b"bytes")

    async def give(*_: Any) -> Download:
        return Download(snapshot, "snapshot", None)

    with_app(work)
    assert "half an answer" in caplog.text
    assert opened[0].closed


def test_it_is_not_ready_while_it_stops() -> None:
    async def work(ask: Ask, service: Service) -> None:
        assert (await ask("GET", "/readyz"))[0] == 200
        service.stopping = True
        assert (await ask("GET", "/readyz"))[0] == 503
        assert (await ask("GET", "/livez"))[0] == 200

    with_app(work)


def test_every_route_is_found_by_its_path() -> None:
    for route in ROUTES:
        found, names, known = find(route.method, route.path)
        assert found is route
        assert known
        assert len(names) == route.path.count("{")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/collections/aliases", "update_aliases"),
        ("GET", "/collections/aliases", "get_collection"),
        ("GET", "/collections/c/points/query", "get_point"),
        ("POST", "/collections/c/points/query", "query"),
        ("GET", "//collections/", "list_collections"),
        ("GET", "/collections/c/points/1/2", None),
        ("GET", "/nothing", None),
    ],
)
def test_words_come_before_names(method: str, path: str, expected: str | None) -> None:
    route, _, _ = find(method, path)
    assert (None if route is None else route.operation.name) == expected


def test_settings() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("127.8.8.8")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("example.org")
    environment = {"VECDB_API_KEY": "a", "QDRANT__SERVICE__API_KEY": "a", "VECDB_ALT_API_KEY": "b"}
    assert keys_of(environment) == (("a", "b"), None)
    directory = Path("x")
    assert Settings(directory=directory).problem() is None
    assert Settings(directory=directory, host="0.0.0.0").problem() is not None
    assert Settings(directory=directory, host="0.0.0.0", insecure=True).problem() is None
    open_to_all = Settings(directory=directory, host="0.0.0.0", keys=("a",))
    assert open_to_all.problem() is None
    assert open_to_all.warning() is not None


def test_time_is_up_and_the_work_goes_on() -> None:
    async def work(ask: Ask, service: Service) -> None:
        ended: list[int] = []

        async def last(number: int) -> int:
            await asyncio.sleep(0.05)
            ended.append(number)
            if number == 2:
                raise ZeroDivisionError
            return number

        assert await service.within(None, last(0)) == 0
        assert await service.within(60.0, last(3)) == 3
        for number in (1, 2):
            with pytest.raises(Refusal) as caught:
                await service.within(0.001, last(number))
            assert caught.value.status.http == 408
        assert ended == [0, 3]
        await service.finish()
        assert ended == [0, 3, 1, 2]

    with_app(work)
