"""``vecdb serve``: snapshots made, sent and received over HTTP."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Server, error, new_collection, put, result, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("snapshots") / "db", "--sync", "never") as running:
        yield running


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    """With a collection of 50 points, and no snapshots."""
    with server.http() as client:
        path = new_collection(client, "c")
        put(client, path, *({"id": n, "vector": [n, 1, 2, 3]} for n in range(50)))
        yield client
        for each in result(client.get("/snapshots")):
            client.delete(f"/snapshots/{each['name']}")
        for each in result(client.get("/collections/c/snapshots")):
            client.delete(f"/collections/c/snapshots/{each['name']}")
        client.delete(path)


def points(http: httpx.Client, name: str = "c") -> int:
    return int(result(http.get(f"/collections/{name}"))["points_count"])


def directory_of(server: Server) -> Path:
    return server.log.with_suffix("")


@pytest.mark.parametrize("path", ["/collections/c/snapshots", "/collections/c/shards/0/snapshots"])
def test_a_snapshot_there_and_back(http: httpx.Client, server: Server, path: str) -> None:
    made = result(http.post(path))
    assert result(http.get(path)) == [made]
    sent = http.get(f"{path}/{made['name']}")
    assert sent.status_code == 200
    assert sent.headers["content-type"] == "application/octet-stream"
    assert f'filename="{made["name"]}"' in sent.headers["content-disposition"]
    assert len(sent.content) == made["size"]
    assert hashlib.sha256(sent.content).hexdigest() == made["checksum"]
    http.post("/collections/c/points/delete", json={"filter": {}})
    assert points(http) == 0
    files = {"snapshot": ("any.snapshot", sent.content)}
    query = {"checksum": made["checksum"], "priority": "snapshot", "wait": "true"}
    assert result(http.post(f"{path}/upload", params=query, files=files)) is True
    assert points(http) == 50
    assert result(http.post("/collections/new/snapshots/upload", files=files)) is True
    assert points(http, "new") == 50
    http.delete("/collections/new")
    assert result(http.delete(f"{path}/{made['name']}")) is True
    assert result(http.get(path)) == []
    assert "Snapshot" in error(http.delete(f"{path}/{made['name']}"), 404)
    assert http.get(f"{path}/{made['name']}").status_code == 404
    leftovers = [each for each in (directory_of(server) / "snapshots").iterdir() if each.is_file()]
    assert leftovers == []


def test_parts_of_a_snapshot(http: httpx.Client) -> None:
    path = "/collections/c/snapshots"
    name, size = (lambda made: (made["name"], made["size"]))(result(http.post(path)))
    whole = http.get(f"{path}/{name}").content
    for wanted, status, expected in (
        ("bytes=0-9", 206, whole[:10]),
        ("bytes=100-", 206, whole[100:]),
        ("bytes=-7", 206, whole[-7:]),
        (f"bytes=5-{size * 2}", 206, whole[5:]),
        ("bytes=0-1,5-6", 200, whole),
        (f"bytes={'1' * 5000}-", 200, whole),  # was an error of the server
        (f"bytes={size}-", 416, b""),
    ):
        sent = http.get(f"{path}/{name}", headers={"range": wanted})
        assert (sent.status_code, sent.content) == (status, expected), wanted


def test_snapshots_of_the_whole_database(http: httpx.Client) -> None:
    made = result(http.post("/snapshots"))
    assert result(http.get("/snapshots")) == [made]
    sent = http.get(f"/snapshots/{made['name']}").content
    assert hashlib.sha256(sent).hexdigest() == made["checksum"]
    http.delete("/collections/c")
    files = {"snapshot": sent}
    assert result(http.post("/collections/c/snapshots/upload", files=files)) is True
    assert points(http) == 50
    assert result(http.delete(f"/snapshots/{made['name']}")) is True
    assert http.delete(f"/snapshots/{made['name']}").status_code == 404


def test_nobody_need_wait(http: httpx.Client) -> None:
    answer = http.post("/collections/c/snapshots?wait=false")
    assert answer.status_code == 202
    assert answer.json().keys() == {"status", "time"}
    assert answer.json()["status"] == "accepted"
    result(http.post("/collections/c/snapshots"))  # after it, as they are made one by one
    assert len(result(http.get("/collections/c/snapshots"))) == 2

    name = result(http.get("/collections/c/snapshots"))[0]["name"]
    answer = http.delete(f"/collections/c/snapshots/{name}?wait=false")
    assert answer.status_code == 202
    result(http.post("/collections/c/snapshots"))
    assert len(result(http.get("/collections/c/snapshots"))) == 2


def test_a_damaged_snapshot_changes_nothing(http: httpx.Client, server: Server) -> None:
    made = result(http.post("/collections/c/snapshots"))
    sent = bytearray(http.get(f"/collections/c/snapshots/{made['name']}").content)
    upload = "/collections/c/snapshots/upload"
    files: Any = {"snapshot": bytes(sent)}
    answer = http.post(upload, params={"checksum": "0" * 64}, files=files)
    assert answer.status_code == 400
    assert "SHA-256" in error(answer, 400)
    answer = http.post(upload, params={"checksum": "abc"}, files=files)
    assert "invalid_sha256_hash" in error(answer, 422)
    sent[len(sent) // 2] ^= 1
    for damaged in (bytes(sent), bytes(sent[:-700]), b"", b"not a snapshot" * 1000):
        answer = http.post(upload, files={"snapshot": damaged})
        assert error(answer, 400).startswith("Bad request: not a whole snapshot: ")
        assert points(http) == 50
    leftovers = [each for each in (directory_of(server) / "snapshots").iterdir() if each.is_file()]
    assert leftovers == []


def test_a_caller_that_hangs_up_in_the_middle(http: httpx.Client, server: Server) -> None:
    made = result(http.post("/collections/c/snapshots"))
    sent = http.get(f"/collections/c/snapshots/{made['name']}").content
    body = b'--b\r\ncontent-disposition: form-data; name="snapshot"\r\n\r\n' + sent
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        caller.sendall(
            b"POST /collections/c/snapshots/upload HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: multipart/form-data; boundary=b\r\n"
            b"content-length: %d\r\n\r\n" % (len(body) + 100) + body[: len(body) // 2]
        )
        directory = directory_of(server) / "snapshots"
        wait_until(lambda: any(each.name.startswith(".new-") for each in directory.iterdir()))
    wait_until(lambda: not any(each.is_file() for each in directory.iterdir()))
    assert points(http) == 50
    assert result(http.post("/collections/c/snapshots"))["size"] > 0  # nothing is in its way
    assert server.log.read_text() == ""


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_forms_that_are_none(http: httpx.Client) -> None:
    upload = "/collections/c/snapshots/upload"
    assert "multipart" in error(http.post(upload, content=b"x"), 400)
    kind = {"content-type": "multipart/form-data; boundary=b"}
    for content in (
        b"",
        b"--b\r\n\r\n",
        b'--b\r\ncontent-disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n',
        b'--b\r\ncontent-disposition: form-data; name="snapshot"\r\n\r\nx',
        b"no boundary at all",
    ):
        answer = http.post(upload, content=content, headers=kind)
        assert answer.status_code == 400, (content, answer.text)
    assert points(http) == 50


def test_recovery_from_a_file_of_the_database(http: httpx.Client, server: Server) -> None:
    made = result(http.post("/collections/c/snapshots"))
    recover = "/collections/c/snapshots/recover"
    file = directory_of(server) / "snapshots" / "c" / made["name"]
    for location in (made["name"], f"file://{file}", f"file://localhost{file}"):
        http.post("/collections/c/points/delete", json={"filter": {}})
        body = {"location": location, "checksum": made["checksum"], "priority": "no_sync"}
        assert result(http.put(recover, json=body)) is True
        assert points(http) == 50


@pytest.mark.parametrize(
    ("location", "status"),
    [
        ("file://elsewhere/x.snapshot", 400),
        ("file:///etc/passwd", 403),
        ("{snapshots}/../FORMAT", 403),
        ("{snapshots}/c/none.snapshot", 400),
        ("/etc/passwd", 400),
        ("none.snapshot", 400),
        ("beside.snapshot", 400),
        ("x" * 300 + ".snapshot", 400),
        ("file:///" + "x" * 300, 400),
        ("http://127.0.0.1/x.snapshot", 400),
        ("ftp://127.0.0.1/x.snapshot", 400),
        ("", 400),
        (7, 400),
    ],
)
def test_recovery_reads_nothing_else(
    http: httpx.Client, server: Server, location: Any, status: int
) -> None:
    if isinstance(location, str):
        location = location.replace("{snapshots}", f"file://{directory_of(server)}/snapshots")
    error(http.put("/collections/c/snapshots/recover", json={"location": location}), status)
    assert points(http) == 50


@pytest.mark.parametrize("name", ["..%2F..%2FFORMAT", "FORMAT", "%00", "c", "%2E%2E"])
def test_names_are_looked_up_and_never_made_paths(http: httpx.Client, name: str) -> None:
    result(http.post("/collections/c/snapshots"))
    for path in ("/collections/c/snapshots", "/snapshots"):
        assert http.get(f"{path}/{name}").status_code in (400, 404)
        assert http.delete(f"{path}/{name}").status_code in (400, 404, 405)


def test_other_shards_are_not_there(http: httpx.Client) -> None:
    assert "Shard 1" in error(http.get("/collections/c/shards/1/snapshots"), 404)
    error(http.get("/collections/c/shards/x/snapshots"), 400)
    made = result(http.post("/collections/c/snapshots"))
    body = {"location": made["name"]}
    error(http.put("/collections/none/shards/0/snapshots/recover", json=body), 404)
    assert result(http.put("/collections/c/shards/0/snapshots/recover", json=body)) is True
