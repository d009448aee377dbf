"""``vecdb serve --workers``: several processes that are one server."""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
from qdrant_client import grpc as q
from serving import (
    BEGUN,
    Server,
    end_by_two_signals,
    error,
    log_of,
    new_collection,
    put,
    result,
    serving,
    start,
    workers,
)

from vecdb import VecDB
from vecdb.server.settings import MOST_WORKERS, Settings
from vecdb.server.workers import channel
from vecdb.server.workers.board import Board, new_board
from vecdb.server.workers.channel import Channel
from vecdb.server.workers.links import NoWriterError, Writer
from vecdb.server.workers.parent import _Parent
from vecdb.server.workers.worker import _Worker

TLS = Path(__file__).parent / "tls"
ENGINES = ("grpcio", "h2")


def until(happened: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for it; what it is."""
    deadline = time.monotonic() + seconds
    while True:
        found = happened()
        if found:
            return found
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)


def connections_of(processes: Iterable[psutil.Process], port: int) -> list[int]:
    """How many each of the processes has at a port."""
    there = [
        each.pid
        for each in psutil.net_connections("tcp")
        if each.status == "ESTABLISHED" and each.laddr[1:] == (port,)
    ]
    return sorted(there.count(process.pid) for process in processes)


class Callers:
    """Clients of one connection each; those that are next to each other have different workers."""

    def __init__(self, server: Server, count: int, key: str | None = None) -> None:
        limits = httpx.Limits(max_connections=1)
        self.clients = [server.http(key, limits=limits) for _ in range(count)]
        for client in self.clients:
            assert client.get("/healthz").status_code in (200, 401)

    def __enter__(self) -> list[httpx.Client]:
        return self.clients

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("workers") / "db"
    options = ("--workers", "3", "--sync", "never", "--max-body-mb", "1", "--access-log")
    with serving(directory, *options) as running:
        yield running


# -- its start and its end -----------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_and_closes_the_database(tmp_path: Path, number: int) -> None:
    with serving(tmp_path / "db", "--workers", "2") as running:
        assert running.lines == [
            f"vecdb serves {tmp_path / 'db'} at http://127.0.0.1:{running.port}",
            "Ctrl-C or SIGTERM stops it.",
        ]
        with Callers(running, 2) as clients:
            path = new_collection(clients[1], "c")
            put(clients[1], path, {"id": 1, "vector": [1, 2, 3, 4]})
            processes = workers(running)
            assert sorted(processes) == [0, 1]
            # A terminal and systemd send it to all; only the first process counts.
            for process in processes.values():
                process.send_signal(number)
            assert result(clients[0].post(f"{path}/points/count", json={})) == {"count": 1}
            assert running.stop(number) == 0
            assert not any(process.is_running() for process in processes.values())
    assert log_of(tmp_path / "db").read_text() == ""
    with VecDB(tmp_path / "db") as db:
        info = db.get_collection("c")
        assert (info.points_count, info.segments[0].kind) == (1, "file")


def test_a_request_that_is_under_way_is_answered(tmp_path: Path) -> None:
    """A write that came to a follower, whose body is late, when the signal comes."""
    with serving(tmp_path / "db", "--workers", "2") as running, Callers(running, 2) as clients:
        path = new_collection(clients[0], "c")
        body = b'{"points": [{"id": 1, "vector": [1, 2, 3, 4]}]}'
        callers = []
        for _ in range(2):
            caller = socket.create_connection(("127.0.0.1", running.port))
            head = (
                f"PUT {path}/points HTTP/1.1\r\nhost: localhost\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            caller.sendall(head.encode() + body[:5])
            callers.append(caller)
        time.sleep(0.2)
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        for caller in callers:
            with caller:
                caller.sendall(body[5:])
                assert b" 200 " in caller.recv(1000)
        assert running.process.wait(60) == 0
    with VecDB(tmp_path / "db") as db:
        assert len(db.collection("c")) == 1


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with serving(tmp_path / "db", "--workers", "2") as running:
        with Callers(running, 2) as clients:
            path = new_collection(clients[0], "c")
            put(clients[1], path, {"id": 1, "vector": [1, 2, 3, 4]})
        callers = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(2)]
        for caller in callers:
            caller.sendall(BEGUN)
        end_by_two_signals(running)
        for caller in callers:
            caller.close()
    with VecDB(tmp_path / "db") as db:
        assert db.get_collection("c").segments[0].kind == "file"


def test_a_database_that_is_in_use(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db"):
        process = start(tmp_path / "db", "--workers", "2")
        assert process.communicate(timeout=60)[0] == ""
        assert process.returncode == 2
    log = log_of(tmp_path / "db").read_text()
    assert f"pid {os.getpid()} " in log
    assert log.count("\n") == 1


@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
def test_a_port_that_is_in_use(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        process = start(tmp_path / "db", "--workers", "2", option, port)
        assert process.communicate(timeout=60)[0] == ""
        assert process.returncode == 2
        assert f"127.0.0.1:{port}: " in log_of(tmp_path / "db").read_text()
    assert not (tmp_path / "db").exists()


def test_two_servers_never_share_a_port(tmp_path: Path) -> None:
    with serving(tmp_path / "one", "--workers", "2", "--grpc-port", "0") as running:
        port = running.grpc.rpartition(":")[2]
        process = start(tmp_path / "two", "--workers", "2", "--grpc-port", port)
        assert process.communicate(timeout=60)[0] == ""
        assert process.returncode == 2
        assert f"127.0.0.1:{port}: " in log_of(tmp_path / "two").read_text()


@pytest.mark.parametrize(
    ("directory", "count", "text"),
    [
        (":memory:", "2", "--workers: a database in memory is in one process"),
        ("db", str(MOST_WORKERS + 1), f"--workers: expected at most {MOST_WORKERS}"),
        ("db", "0", "--workers"),
    ],
)
def test_wrong_numbers_of_workers(tmp_path: Path, directory: str, count: str, text: str) -> None:
    process = start(Path(directory), "--workers", count)
    log = log_of(Path(directory))
    try:
        assert process.communicate(timeout=60)[0] == ""
        assert process.returncode == 2
        assert text in log.read_text()
    finally:
        log.unlink()


# -- what one has written, all can read ----------------------------------------------------------


@pytest.mark.parametrize("sync", ["always", "never"])
def test_what_was_answered_is_read_everywhere(tmp_path: Path, sync: str) -> None:
    """Writes and reads by connections to any of three processes, in any order: a read that begins
    after a write was answered sees it."""
    chance = random.Random(7)
    with (
        serving(tmp_path / "db", "--workers", "3", "--sync", sync) as running,
        Callers(running, 6) as clients,
    ):
        path = new_collection(clients[0], "c")
        new_collection(clients[1], "other")
        points: dict[int, dict[str, Any]] = {}
        for step in range(400):
            writer, reader = chance.choice(clients), chance.choice(clients)
            wait = {"wait": chance.choice(("true", "false"))}
            id = chance.randrange(50)
            kind = chance.random()
            if kind < 0.6:
                point = {"id": id, "vector": [id, 1, 2, 3], "payload": {"step": step}}
                result(writer.put(f"{path}/points", params=wait, json={"points": [point]}))
                points[id] = {"step": step}
            elif kind < 0.8:
                body: dict[str, Any] = {"points": [id]}
                result(writer.post(f"{path}/points/delete", params=wait, json=body))
                points.pop(id, None)
            elif kind < 0.95 and id in points:
                body = {"payload": {"more": step}, "points": [id]}
                result(writer.post(f"{path}/points/payload", params=wait, json=body))
                points[id]["more"] = step
            else:
                put(writer, "/collections/other", {"id": step, "vector": [1, 2, 3, 4]})
            if chance.random() < 0.5:
                body = {"ids": [id], "with_payload": True}
                found = result(reader.post(f"{path}/points", json=body))
                expected = [points[id]] if id in points else []
                assert [each["payload"] for each in found] == expected
            else:
                count = result(reader.post(f"{path}/points/count", json={}))
                assert count == {"count": len(points)}
        for client in clients:
            body = {"limit": 100, "with_payload": True}
            page = result(client.post(f"{path}/points/scroll", json=body))
            assert {each["id"]: each["payload"] for each in page["points"]} == points


def test_collections_and_aliases_are_the_same_everywhere(server: Server) -> None:
    chance = random.Random(3)
    with Callers(server, 6) as clients:
        for step in range(20):
            name, alias = f"made{step}", f"alias{step}"
            path = new_collection(chance.choice(clients), name)
            for client in clients:
                assert result(client.get(f"{path}/exists")) == {"exists": True}
                assert result(client.get(path))["points_count"] == 0
            create = {"create_alias": {"collection_name": name, "alias_name": alias}}
            body = {"actions": [create]}
            assert result(chance.choice(clients).post("/collections/aliases", json=body)) is True
            by_alias = f"/collections/{alias}"
            put(chance.choice(clients), by_alias, {"id": 1, "vector": [1, 2, 3, 4]})
            for client in clients:
                assert result(client.post(f"{by_alias}/points/count", json={})) == {"count": 1}
                found = result(client.get("/aliases"))["aliases"]
                assert found == [{"alias_name": alias, "collection_name": name}]
            assert result(chance.choice(clients).delete(path)) is True
            for client in clients:
                error(client.post(f"{path}/points/count", json={}), 404)
                error(client.post(f"{by_alias}/points/count", json={}), 404)
                names = result(client.get("/collections"))["collections"]
                assert all(each["name"] != name for each in names)


def test_callers_at_once(tmp_path: Path) -> None:
    """Each of many callers at once writes by one connection and reads by another."""

    async def call(running: Server) -> None:
        options: Any = {"base_url": running.url, "trust_env": False, "timeout": 60}
        async with httpx.AsyncClient(**options) as writer, httpx.AsyncClient(**options) as reader:

            async def go(caller: int) -> None:
                for step in range(20):
                    id = caller * 1000 + step
                    point = {"id": id, "vector": [caller, step, 0, 1]}
                    result(await writer.put("/collections/c/points", json={"points": [point]}))
                    sent: Any = {"ids": [id]}
                    [found] = result(await reader.post("/collections/c/points", json=sent))
                    assert found["id"] == id
                    sent = {"query": id, "limit": 1000}
                    hits = result(await reader.post("/collections/c/points/query", json=sent))
                    assert len(hits["points"]) >= step

            await asyncio.gather(*(go(caller) for caller in range(16)))

    with serving(tmp_path / "db", "--workers", "2") as running:
        with running.http() as http:
            new_collection(http, "c")
        asyncio.run(call(running))
        with Callers(running, 2) as clients:
            for client in clients:
                count = result(client.post("/collections/c/points/count", json={}))
                assert count == {"count": 16 * 20}


# -- who answers what ----------------------------------------------------------------------------


def test_connections_are_spread_evenly(tmp_path: Path) -> None:
    with serving(tmp_path / "db", "--workers", "3") as running:
        processes = workers(running)

        connections = partial(connections_of, processes.values(), running.port)
        with Callers(running, 12) as clients:
            assert connections() == [4, 4, 4]
            for client in clients[:9]:
                client.close()
            until(lambda: sum(connections()) == 3)
            with Callers(running, 9):
                assert sum(connections()) == 12
                # The parent hears of ends a little after the system does.
                assert max(connections()) - min(connections()) <= 2
        until(lambda: sum(connections()) == 0)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_connections_for_grpc_are_spread_evenly_by_h2(tmp_path: Path, secure: bool) -> None:
    """They stay for long, and the system spreads them by chance: a worker may get none."""
    options: list[str | Path] = ["--workers", "3", "--grpc-port", "0", "--grpc-engine", "h2"]
    if secure:
        options += ["--tls-cert", TLS / "one.pem", "--tls-key", TLS / "one.key"]
    with serving(tmp_path / "db", *options) as running:
        port = int(running.grpc.rpartition(":")[2])
        connections = partial(connections_of, workers(running).values(), port)

        def call(count: int) -> list[grpc.Channel]:
            alone = [("grpc.use_local_subchannel_pool", 1)]
            channels = []
            for _ in range(count):
                if secure:
                    trusted = grpc.ssl_channel_credentials((TLS / "one.pem").read_bytes())
                    channel = grpc.secure_channel(f"localhost:{port}", trusted, options=alone)
                else:
                    channel = grpc.insecure_channel(running.grpc, options=alone)
                channels.append(channel)
                health = channel.unary_unary("/qdrant.Qdrant/HealthCheck")
                assert b"qdrant" in health(b"", timeout=60)
            return channels

        channels = call(12)
        assert connections() == [4, 4, 4]
        for each in channels[:9]:
            each.close()
        until(lambda: sum(connections()) == 3)
        channels += call(9)
        assert sum(connections()) == 12
        # The parent hears of ends a little after the system does.
        assert max(connections()) - min(connections()) <= 2
        with Callers(running, 3):  # those of HTTP are spread by themselves
            assert connections_of(workers(running).values(), running.port) == [1, 1, 1]
        for each in channels:
            each.close()
        until(lambda: sum(connections()) == 0)
        assert running.stop() == 0
        assert log_of(tmp_path / "db").read_text() == ""


def test_nobody_is_turned_away_while_all_workers_stand_still(tmp_path: Path) -> None:
    """More callers than the channels to the workers take: a full socket was taken for a process
    that had ended, and 366 of 1,200 connections were reset."""
    count = 700
    with serving(tmp_path / "db", "--workers", "2") as running:
        processes = workers(running).values()
        for process in processes:
            process.suspend()
        with ExitStack() as opened:
            for process in processes:
                opened.callback(process.resume)
            callers = []
            for _ in range(count):
                caller = socket.create_connection(("127.0.0.1", running.port), 60)
                callers.append(opened.enter_context(caller))
                caller.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            for process in processes:
                process.resume()
            answers = [caller.recv(1000).partition(b"\r\n")[0] for caller in callers]
        assert answers == [b"HTTP/1.1 200 OK"] * count
        assert running.stop() == 0


def test_one_worker_that_stands_still_gets_no_more_than_it_has_room_for(tmp_path: Path) -> None:
    with serving(tmp_path / "db", "--workers", "2") as running:
        victim = workers(running)[1]
        victim.suspend()
        try:
            with ExitStack() as opened:
                callers = [
                    opened.enter_context(socket.create_connection(("127.0.0.1", running.port), 60))
                    for _ in range(800)
                ]
                for caller in callers:
                    caller.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
                answers = [caller.recv(1000).partition(b"\r\n")[0] for caller in callers[-100:]]
                assert answers == [b"HTTP/1.1 200 OK"] * 100
        finally:
            victim.resume()
        assert running.stop() == 0


def test_refusals_are_those_of_the_writer(server: Server) -> None:
    answers = []
    with Callers(server, 3) as clients:
        for client in clients:
            path = new_collection(client, "refusals")
            short = {"points": [{"id": 1, "vector": [1, 2]}]}
            texts = [
                error(client.put(path, json={"vectors": {"size": 4, "distance": "Dot"}}), 409),
                error(client.put(f"{path}/points", json=short), 400),
                error(client.put("/collections/none/points", json=short), 404),
                error(client.put(f"{path}/points", json={"points": []}), 422)
                if client.put(f"{path}/points", json={"points": []}).status_code == 422
                else "",
                error(client.post(f"{path}/points/delete", json={}), 400),
                error(client.put(f"{path}/points", content=b"{", headers=JSON), 400),
                error(client.put(f"{path}/points?timeout=x", json=short), 400),
                error(client.put(f"{path}/points", content=b"x" * (2 << 20), headers=JSON), 400),
            ]
            assert client.patch(f"{path}/points", json={}).status_code == 405
            answers.append(texts)
            result(client.delete(path))
    assert answers[0] == answers[1] == answers[2]


JSON = {"content-type": "application/json"}


def test_bodies_and_snapshots_by_way_of_a_follower(server: Server) -> None:
    with Callers(server, 3) as clients:
        path = new_collection(clients[0], "bodies")
        for number, client in enumerate(clients):
            body = b'{"points": [{"id": %d, "vector": [1, 2, 3, 4]}]}' % number
            packed = {**JSON, "content-encoding": "gzip"}
            result(client.put(f"{path}/points", content=gzip.compress(body), headers=packed))
            chunks = iter([body[:9], body[9:]])
            result(client.put(f"{path}/points", content=chunks, headers=JSON))
        for client in clients:
            assert result(client.post(f"{path}/points/count", json={})) == {"count": 3}
            made = result(client.post(f"{path}/snapshots"))
            for other in clients:
                assert made in result(other.get(f"{path}/snapshots"))
            sent = clients[1].get(f"{path}/snapshots/{made['name']}").content
            assert len(sent) == made["size"]
            result(client.post(f"{path}/points/delete", json={"filter": {}}))
            for other in clients:
                assert result(other.post(f"{path}/points/count", json={})) == {"count": 0}
            files = {"snapshot": ("any.snapshot", sent)}
            assert result(client.post(f"{path}/snapshots/upload", files=files)) is True
            for other in clients:
                assert result(other.post(f"{path}/points/count", json={})) == {"count": 3}
            broken = {"snapshot": ("any.snapshot", sent[:-100] + b"x" * 100)}
            error(client.post(f"{path}/snapshots/upload", files=broken), 400)
            assert result(client.delete(f"{path}/snapshots/{made['name']}")) is True
        result(clients[0].delete(path))


def test_keys_hold_everywhere(tmp_path: Path) -> None:
    keys = {"VECDB_API_KEY": "all", "VECDB_READ_ONLY_API_KEY": "reads"}
    with serving(tmp_path / "db", "--workers", "2", environment=keys) as running:
        with Callers(running, 2, "all") as clients:
            path = new_collection(clients[1], "c")
            put(clients[0], path, {"id": 1, "vector": [1, 2, 3, 4]})
        body = {"points": [{"id": 2, "vector": [1, 2, 3, 4]}]}
        for key, status in ((None, 401), ("wrong", 401), ("reads", 403)):
            with Callers(running, 2, key) as clients:
                for client in clients:
                    assert client.put(f"{path}/points", json=body).status_code == status
                    assert client.get(path).status_code == (200 if key == "reads" else 401)
        with Callers(running, 2, "reads") as clients:
            for client in clients:
                assert result(client.post(f"{path}/points/count", json={})) == {"count": 1}


def test_figures_are_those_of_all(tmp_path: Path) -> None:
    with serving(tmp_path / "db", "--workers", "2", "--access-log") as running:
        with Callers(running, 2) as clients:
            path = new_collection(clients[1], "c")
            for number in range(10):
                client = clients[number % 2]
                put(client, path, {"id": number, "vector": [1, 2, 3, 4]})
                result(client.post(f"{path}/points/count", json={}))

            def counted(client: httpx.Client, method: str, path: str) -> int:
                start = f'rest_responses_total{{method="{method}",endpoint="{path}",status="200"}} '
                lines = client.get("/metrics").text.splitlines()
                return sum(int(line.rpartition(" ")[2]) for line in lines if line.startswith(start))

            points = "/collections/{collection_name}/points"
            for client in clients:
                while counted(client, "POST", f"{points}/count") < 10:
                    time.sleep(0.1)
                assert counted(client, "POST", f"{points}/count") == 10
                assert counted(client, "PUT", points) == 10
                assert "\nvecdb_processes 2\n" in client.get("/metrics").text
                requests = result(client.get("/telemetry"))["requests"]["rest"]["responses"]
                assert requests[f"PUT {points}"]["200"]["count"] == 10
            victim = workers(running)[1]
            victim.kill()
            until(lambda: workers(running).get(1, victim).pid != victim.pid)
        with running.http() as http:  # what it had counted is counted still
            until(lambda: http.get("/readyz").status_code == 200)
            assert counted(http, "PUT", points) == 10
        written = log_of(tmp_path / "db").read_text()
        assert written.count('"method":"PUT","path":"/collections/c/points"') == 10


def has(client: httpx.Client, count: int) -> bool:
    return bool(result(client.post("/collections/c/points/count", json={})) == {"count": count})


def test_following_another_process(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 4, "distance": "Dot"})
        with serving(tmp_path / "db", "--read-only", "--workers", "2") as running:
            assert running.lines[0].endswith(", read only")
            with Callers(running, 2) as clients:
                for n in range(1, 4):
                    db.upsert("c", [{"id": n, "vector": [n, 0, 0, 0]}])
                    for client in clients:
                        until(partial(has, client, n))
                for client in clients:
                    body = {"points": [{"id": 9, "vector": [1, 2, 3, 4]}]}
                    error(client.put("/collections/c/points", json=body), 403)
                    assert client.get("/readyz").status_code == 200
                    assert result(client.get("/collections/c"))["points_count"] == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_grpc(tmp_path: Path, engine: str) -> None:
    """Each channel is a connection, and goes to any process: with a dozen, all have some."""
    keys = {"VECDB_API_KEY": "all", "VECDB_READ_ONLY_API_KEY": "reads"}
    options = ("--workers", "2", "--grpc-port", "0", "--grpc-engine", engine)
    with serving(tmp_path / "db", *options, environment=keys) as running, ExitStack() as opened:
        alone = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            opened.enter_context(grpc.insecure_channel(running.grpc, options=alone))
            for _ in range(12)
        ]

        def call(number: int, path: str, message: Any, key: str | None = "all") -> bytes:
            metadata = () if key is None else (("api-key", key),)
            answer: bytes = channels[number % 12].unary_unary(f"/qdrant.{path}")(
                message.SerializeToString(), metadata=metadata, timeout=60
            )
            return answer

        params = q.VectorParams(size=4, distance=q.Distance.Dot)
        create = q.CreateCollection(
            collection_name="c", vectors_config=q.VectorsConfig(params=params)
        )
        call(0, "Collections/Create", create)
        texts = set()
        for number in range(48):
            vector = q.Vectors(vector=q.Vector(data=[number, 1, 2, 3]))
            point = q.PointStruct(id=q.PointId(num=number), vectors=vector)
            upsert = q.UpsertPoints(collection_name="c", points=[point])
            call(number, "Points/Upsert", upsert)
            data = call(number * 5 + 7, "Points/Count", q.CountPoints(collection_name="c"))
            assert q.CountResponse.FromString(data).result.count == number + 1
            with pytest.raises(grpc.RpcError) as caught:
                call(number, "Collections/Create", create)
            assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
            texts.add(caught.value.details())
            for key, code in (
                (None, grpc.StatusCode.UNAUTHENTICATED),
                ("reads", grpc.StatusCode.PERMISSION_DENIED),
            ):
                with pytest.raises(grpc.RpcError) as caught:
                    call(number, "Points/Upsert", upsert, key)
                assert caught.value.code() is code
        assert texts == {"Wrong input: Collection `c` already exists!"}
        assert running.stop() == 0
        assert log_of(tmp_path / "db").read_text() == ""


# -- what ends -----------------------------------------------------------------------------------


def test_a_follower_that_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path / "db", "--workers", "2") as running, Callers(running, 2) as clients:
        path = new_collection(clients[0], "c")
        victim = workers(running)[1]
        victim.kill()
        victim.wait(60)
        with Callers(running, 4) as others:  # whoever calls now has an answer
            for number, client in enumerate(others):
                put(client, path, {"id": number, "vector": [1, 2, 3, 4]})
        until(lambda: workers(running).get(1, victim).pid != victim.pid)
        until(lambda: "worker 1 ended by signal 9" in running.log.read_text())
        [survivor] = [each for each in clients if lives(each)]
        put(survivor, path, {"id": 99, "vector": [1, 2, 3, 4]})
        with Callers(running, 4) as others:
            for client in others:
                assert result(client.post(f"{path}/points/count", json={})) == {"count": 5}
        assert running.stop() == 0


def test_what_was_counted_outlives_a_follower(tmp_path: Path) -> None:
    """Unknown fields that were left out were forgotten."""
    options = ("--workers", "2", "--lenient")
    with serving(tmp_path / "db", *options) as running, running.http() as first:
        path = new_collection(first, "c")

        def is_counted(number: int) -> bool:
            with running.http() as client:
                lines = client.get("/metrics").text.splitlines()
            return f'vecdb_dropped_fields_total{{field="new"}} {number}' in lines

        def reaches(process: psutil.Process) -> bool:
            """Call four times; whether one of the calls came to that process."""
            nonlocal calls
            with Callers(running, 4) as clients:
                for client in clients:
                    result(client.post(f"{path}/points/count", json={"new": 1}))
                    calls += 1
                return any(each.raddr for each in process.net_connections("tcp"))

        calls = 0
        before = workers(running)
        victim = before[1]
        until(lambda: reaches(victim))
        until(lambda: is_counted(calls))
        victim.kill()
        victim.wait(60)
        heir = until(lambda: {*workers(running).values()} - {*before.values()}).pop()
        until(lambda: reaches(heir))
        until(lambda: is_counted(calls))


def lives(client: httpx.Client) -> bool:
    """Whether its connection still has somebody at the other end. A caller whose pool has a dead
    connection makes a new one for the next request, unless it has sent this one already."""
    pool: Any = client._transport
    [connection] = pool._pool.connections
    return not connection.has_expired()


def test_a_writer_that_is_killed(tmp_path: Path) -> None:
    """Reads are answered meanwhile, writes are refused until there is another one."""
    with serving(tmp_path / "db", "--workers", "3") as running, Callers(running, 3) as clients:
        path = new_collection(clients[0], "c")
        for number in range(20):
            put(clients[number % 3], path, {"id": number, "vector": [number, 2, 3, 4]})
        victim = workers(running)[0]
        victim.kill()
        victim.wait(60)
        followers = until(lambda: [each for each in clients if lives(each)])
        assert len(followers) == 2
        refused = 0
        body = {"points": [{"id": 20, "vector": [1, 2, 3, 4]}]}
        deadline = time.monotonic() + 60
        for step in range(100_000):
            client = followers[step % 2]
            count = result(client.post(f"{path}/points/count", json={}))
            assert count == {"count": 20}
            assert result(client.get(path))["points_count"] == 20
            answer = client.put(f"{path}/points", json=body)
            if answer.status_code == 200:
                break
            assert answer.headers["retry-after"] == "1"
            assert "the process that writes has ended" in error(answer, 503)
            refused += 1
            assert time.monotonic() < deadline
        assert refused
        assert victim.pid != workers(running)[0].pid
        for client in followers:
            assert client.get("/readyz").status_code == 200
            assert result(client.post(f"{path}/points/count", json={})) == {"count": 21}
        assert running.stop() == 0
    with VecDB(tmp_path / "db") as db:
        assert len(db.collection("c")) == 21


def test_the_server_says_that_it_is_not_ready_without_a_writer(tmp_path: Path) -> None:
    with serving(tmp_path / "db", "--workers", "2") as running, Callers(running, 2) as clients:
        victim = workers(running)[0]
        victim.kill()
        [follower] = until(lambda: [each for each in clients if lives(each)][-1:])
        until(lambda: follower.get("/readyz").status_code == 503)
        until(lambda: follower.get("/readyz").status_code == 200)


def test_a_parent_that_is_killed(tmp_path: Path) -> None:
    """The others end, and the database is free."""
    with serving(tmp_path / "db", "--workers", "3") as running, Callers(running, 3) as clients:
        path = new_collection(clients[0], "c")
        for number in range(9):
            put(clients[number % 3], path, {"id": number, "vector": [1, 2, 3, 4]})
        processes = workers(running)
        running.process.kill()
        running.process.wait(60)
        _, alive = psutil.wait_procs(processes.values(), 60)
        assert not alive
    with serving(tmp_path / "db", "--workers", "2") as running, Callers(running, 2) as clients:
        for client in clients:
            assert result(client.post(f"{path}/points/count", json={})) == {"count": 9}


UNSTEADY = """
import sys
from pathlib import Path
from vecdb.server.workers import parent
from vecdb.server.settings import Settings
chosen = Settings(directory=Path(sys.argv[1]), port=0, workers=2, restarts=2)
sys.exit(parent.run(chosen, lambda url, grpc: print(f"vecdb serves it at {url}\\n", flush=True)))
"""


def test_workers_that_end_again_and_again(tmp_path: Path) -> None:
    with serving(tmp_path / "db", program=UNSTEADY) as running:
        with running.http() as http:
            new_collection(http, "c")
        for _ in range(3):
            victim = until(lambda: workers(running).get(0))
            victim.kill()
            victim.wait(60)
        assert running.process.wait(60) == 2
        log = log_of(tmp_path / "db").read_text()
        text = "vecdb: worker 0 ended 3 times within a minute, now by signal 9; the server ends"
        assert log.splitlines()[-1] == text
    with VecDB(tmp_path / "db") as db:
        assert db.collection_exists("c")


def test_certificates_are_read_again_by_all(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def use(name: str) -> None:
        cert.write_bytes((TLS / f"{name}.pem").read_bytes())
        key.write_bytes((TLS / f"{name}.key").read_bytes())

    def is_served(name: str) -> bool:
        """By four connections one after the other, which go to both processes."""
        for _ in range(4):
            trusted = ssl.create_default_context(cafile=TLS / f"{name}.pem")
            try:
                with running.http(verify=trusted) as http, running.http(verify=trusted) as other:
                    assert http.get("/healthz").status_code == 200
                    assert other.get("/healthz").status_code == 200
            except httpx.ConnectError:
                return False
        return True

    use("one")
    options = ("--tls-cert", cert, "--tls-key", key, "--workers", "2")
    with serving(tmp_path / "db", *options) as running:
        assert is_served("one")
        use("two")
        running.process.send_signal(signal.SIGHUP)
        until(lambda: is_served("two"))
        assert not is_served("one")
        with socket.create_connection(("127.0.0.1", running.port)) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert b"200" not in plain.recv(100)
        assert running.stop() == 0


# -- the parts -----------------------------------------------------------------------------------


def test_a_board_has_whole_texts(tmp_path: Path) -> None:
    """Another process writes while this one reads."""
    file = new_board(2)
    board = Board(file, 2)
    assert board.read(1) == b""
    texts = [bytes([number]) * (1000 + 7 * number) for number in range(200)]
    program = """
import sys
from vecdb.server.workers import channel
from vecdb.server.workers.board import Board
board = Board(int(sys.argv[1]), 2)
for _ in range(20):
    for number in range(200):
        board.write(1, bytes([number]) * (1000 + 7 * number))
board.changed(False)
"""
    words = [sys.executable, "-c", program, str(file)]
    seen = set()
    with subprocess.Popen(words, pass_fds=[file]) as writer:
        while not board.changes and writer.poll() is None:
            seen.add(board.read(1))
        assert writer.wait(60) == 0
    assert seen <= {b"", *texts}
    assert board.read(1) == texts[-1]
    assert board.read(0) == b""
    board.write(1, b"x" * (1 << 23))  # too long: the last one stays
    assert board.read(1) == texts[-1]
    assert (board.changes, board.collections, board.has_writer, board.closed(1)) == (1, 0, False, 0)
    os.close(file)


def test_a_full_channel_keeps_what_it_is_told() -> None:
    """In its order, each letter with its own file, until the other process reads."""

    async def tell() -> None:
        mine, other = socket.socketpair()
        told: list[bytes] = []
        got: list[bytes] = []
        is_empty = asyncio.Event()
        end, reader = Channel(mine), Channel(other)
        end.listen({}, gone=lambda: None, emptied=is_empty.set)
        while len(told) < 3000 and not (end.is_full and len(told) % 10 == 0):
            near, far = socket.socketpair()
            with near, far:
                near.sendall(b"%d" % len(told))
                told.append(b"%d" % len(told))
                assert end.tell(channel.LINK, far)
        assert end.is_full
        assert end.tell(channel.STOP)
        assert not is_empty.is_set()

        def take(link: socket.socket | None) -> None:
            assert link is not None
            with link:
                got.append(link.recv(10))

        has_ended = asyncio.Event()
        stop = {channel.STOP: lambda _: got.append(b"stop"), channel.LINK: take}
        reader.listen(stop, gone=has_ended.set)
        await asyncio.wait_for(is_empty.wait(), 60)
        assert not end.is_full
        end.close()
        await asyncio.wait_for(has_ended.wait(), 60)
        assert got == [*told, b"stop"]
        assert not reader.tell(channel.READY)
        reader.close()

    asyncio.run(tell())


def test_what_waits_for_a_process_that_ends_is_let_go() -> None:
    async def tell() -> None:
        mine, other = socket.socketpair()
        end = Channel(mine)
        end.listen({}, gone=lambda: None)
        near, far = socket.socketpair()
        with near:
            with far:
                while not end.is_full:
                    assert end.tell(channel.LINK, far)
            other.close()
            until_empty = asyncio.get_running_loop().time() + 60
            while end.is_full and asyncio.get_running_loop().time() < until_empty:
                await asyncio.sleep(0.01)
            assert not end.is_full
            assert near.recv(1) == b""  # nobody has the other end any more
        end.close()

    asyncio.run(tell())


def test_settings_reach_a_worker_as_they_are() -> None:
    settings = Settings(
        directory=Path("a b"), keys=("ä", "b"), tls_cert=Path("x"), workers=3, stop_seconds=0.5
    )
    assert Settings.unpacked(settings.packed()) == settings


def test_nobody_answers_a_link() -> None:
    async def ask(hand_over: Callable[[socket.socket], bool]) -> str:
        writer = Writer(hand_over)
        with pytest.raises(NoWriterError) as caught:
            await writer.ask(b"PUT", b"/", [], b"x")
        return str(caught.value)

    assert "may have been done" not in asyncio.run(ask(lambda other: False))
    assert "may have been done" in asyncio.run(ask(lambda other: True))


def test_a_connection_that_is_lost_on_its_way_has_ended(tmp_path: Path) -> None:
    """A worker that has no room for its file counted as busier by one for as long as it lived."""
    file = new_board(1)
    near, far = socket.socketpair()
    with near, far:
        worker = _Worker(0, Settings(directory=tmp_path), Channel(near), file)
        worker._take_connection(False, None)
        worker._take_connection(True, None)
    board = Board(file, 1)
    assert (board.closed(0), board.closed(0, grpc=True)) == (1, 1)
    os.close(file)


def test_links_to_a_writer_that_stands_still_do_not_use_up_all_files(tmp_path: Path) -> None:
    """Each waited in the parent, also of callers who had given up; then no caller got in."""

    async def links() -> None:
        listener = socket.socket()
        parent = _Parent(Settings(directory=tmp_path, workers=2), listener, None)
        mine, other = socket.socketpair()
        writer = parent._workers[0]
        end = writer.channel = Channel(mine)
        writer.is_ready = True
        while not end.is_full:
            parent._link(socket.socket())
        before = psutil.Process().num_fds()
        for _ in range(600):
            parent._link(socket.socket())
        assert psutil.Process().num_fds() < before + 300
        assert end.tell(channel.STOP)
        end.close()
        assert psutil.Process().num_fds() < before
        other.close()
        listener.close()
        os.close(parent._file)

    asyncio.run(links())
