"""``vecdb serve``: from its start to its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import (
    BEGUN,
    end_by_two_signals,
    error,
    log_of,
    new_collection,
    put,
    result,
    serving,
    start,
)
from snapshot_tools import run

from vecdb import VecDB
from vecdb.cli import main


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_closes_the_database(tmp_path: Path, number: int) -> None:
    with serving(tmp_path / "db") as running:
        assert running.lines == [
            f"vecdb serves {tmp_path / 'db'} at http://127.0.0.1:{running.port}",
            "Ctrl-C or SIGTERM stops it.",
        ]
        with running.http() as http:
            put(http, new_collection(http, "c"), {"id": 1, "vector": [1, 2, 3, 4]})
            assert running.stop(number) == 0
    assert log_of(tmp_path / "db").read_text() == ""
    with VecDB(tmp_path / "db") as db:  # its lock is free, and all is in segments
        info = db.get_collection("c")
        assert (info.points_count, info.segments[0].kind) == (1, "file")


def test_a_request_that_is_under_way_is_answered(tmp_path: Path) -> None:
    with serving(tmp_path / "db") as running:
        with running.http() as http:
            path = new_collection(http, "c")
        body = json.dumps({"points": [{"id": 1, "vector": [1, 2, 3, 4]}]}).encode()
        with socket.create_connection(("127.0.0.1", running.port)) as caller:
            head = (
                f"PUT {path}/points HTTP/1.1\r\nhost: localhost\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            caller.sendall(head.encode() + body[:5])
            time.sleep(0.2)
            running.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            caller.sendall(body[5:])
            assert b" 200 " in caller.recv(1000)
        assert running.process.wait(60) == 0
    with VecDB(tmp_path / "db") as db:
        assert len(db.collection("c")) == 1


def test_a_second_signal_does_not_wait_but_closes_the_database(tmp_path: Path) -> None:
    with serving(tmp_path / "db") as running:
        with running.http() as http:
            put(http, new_collection(http, "c"), {"id": 1, "vector": [1, 2, 3, 4]})
        with socket.create_connection(("127.0.0.1", running.port)) as caller:
            caller.sendall(BEGUN)
            end_by_two_signals(running)
    with VecDB(tmp_path / "db") as db:
        assert db.get_collection("c").segments[0].kind == "file"


def test_a_database_that_is_in_use(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db"):
        process = start(tmp_path / "db")
        assert process.communicate(timeout=60)[0] == ""
        assert process.returncode == 2
        assert f"pid {os.getpid()} " in log_of(tmp_path / "db").read_text()


def test_a_port_that_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = run("serve", tmp_path / "db", "--port", str(port))
        assert found.returncode == 2
        assert f"127.0.0.1:{port}: " in found.stderr
    assert not (tmp_path / "db").exists()


def test_a_follower_sees_what_the_writer_writes(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 4, "distance": "Dot"})
        with serving(tmp_path / "db", "--read-only") as running, running.http() as http:
            assert running.lines[0].endswith(", read only")
            for n in range(1, 6):
                db.upsert("c", [{"id": n, "vector": [n, 0, 0, 0]}])
                wait_for(http, "/collections/c/points/count", {"count": n})
            db.create_collection("d", {"size": 4, "distance": "Dot"})
            db.flush()
            wait_for(http, "/collections/d/points/count", {"count": 0})
            body = {"query": [1, 0, 0, 0], "limit": 1}
            [found] = result(http.post("/collections/c/points/query", json=body))["points"]
            assert found["id"] == 5
            for method, path, sent in (
                ("PUT", "/collections/c/points", {"points": [{"id": 9, "vector": [1, 2, 3, 4]}]}),
                ("PUT", "/collections/e", {"vectors": {"size": 4, "distance": "Dot"}}),
                ("DELETE", "/collections/c", None),
                ("POST", "/collections/c/snapshots", None),
            ):
                text = error(http.request(method, path, json=sent), 403)
                assert text.startswith("Forbidden: ")
            assert running.stop() == 0


def wait_for(http: httpx.Client, path: str, expected: Any) -> None:
    """Until a follower has it, which it should before long."""
    deadline = time.monotonic() + 30
    while True:
        answer = http.post(path, json={})
        if answer.status_code == 200 and answer.json()["result"] == expected:
            return
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.02)


def test_its_address_from_the_environment(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {"QDRANT__SERVICE__HTTP_PORT": str(port), "QDRANT__SERVICE__HOST": "localhost"}
    process = start(tmp_path / "db", "--port", str(port), environment=environment)
    assert process.stdout is not None
    assert (
        process.stdout.readline() == f"vecdb serves {tmp_path / 'db'} at http://localhost:{port}\n"
    )
    process.terminate()
    assert process.wait(60) == 0
    process.stdout.close()


def test_json_for_programs_that_start_it(tmp_path: Path) -> None:
    process = start(tmp_path / "db", "--json")
    assert process.stdout is not None
    text = "".join(iter(process.stdout.readline, "}\n")) + "}"
    url = json.loads(text)["listening"]
    assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    process.terminate()
    assert process.wait(60) == 0
    process.stdout.close()


def test_without_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [*sys.modules]:
        if name.startswith("vecdb.server"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main.main(["serve", str(tmp_path / "db")]) == 2
    assert "pip install 'vecdb-embedded[server]'" in capsys.readouterr().err
    assert not (tmp_path / "db").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--api-version", "new"], "--api-version"),
        (["--metrics-prefix", "a b"], "--metrics-prefix"),
        (["--port", "x"], "--port"),
        (["--max-body-mb", "0"], "--max-body-mb"),
    ],
)
def test_wrong_arguments(tmp_path: Path, options: list[str], text: str) -> None:
    found = run("serve", tmp_path / "db", *options)
    assert found.returncode == 2
    assert text in found.stderr
    assert not (tmp_path / "db").exists()


@pytest.mark.crash
@pytest.mark.parametrize("round", range(3))
def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path, round: int) -> None:
    """Several callers write until the process is killed; each remembers what it was told."""
    import threading

    told: set[int] = set()
    with serving(tmp_path / "db") as running:
        with running.http() as http:
            new_collection(http, "c")

        def write(number: int) -> None:
            with running.http() as http:
                for n in range(number * 1_000_000, number * 1_000_000 + 100_000):
                    points = [{"id": n, "vector": [n, 1, 2, 3], "payload": {"n": n}}]
                    try:
                        answer = http.put("/collections/c/points", json={"points": points})
                    except httpx.TransportError:
                        return
                    if answer.status_code == 200:
                        told.add(n)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        while len(told) < 50 * (round + 1):
            time.sleep(0.005)
        running.process.kill()
        for thread in threads:
            thread.join()
    with serving(tmp_path / "db") as running, running.http() as http:
        found = result(http.post("/collections/c/points", json={"ids": sorted(told)}))
        assert {each["id"] for each in found} == told
        [one] = result(
            http.post("/collections/c/points", json={"ids": [max(told)], "with_payload": True})
        )
        assert one["payload"] == {"n": max(told)}
