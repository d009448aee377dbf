"""All points within a distance over HTTP: as ``VecDB.within`` finds them, a line for each."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.features.serving import Server, error, serving
from vecdb import VecDB

PATH = "/vecdb/collections/c/points/within"
ROWS, DIM = 3000, 16


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("within") / "db"
    vectors = np.random.default_rng(5).standard_normal((ROWS, DIM)).astype(np.float32)
    with VecDB(path) as db:
        db.create_collection("c", {"a": {"size": DIM, "distance": "Euclid"}})
        db.upload_collection("c", {"a": vectors}, [{"n": row % 7} for row in range(ROWS)])
    return path


@pytest.fixture(scope="module")
def found_here(directory: Path) -> dict[str, list[Any]]:
    with VecDB(directory, read_only=True) as db:
        return {
            name: list(db.within("c", **asked, using="a", with_vectors=True))
            for name, asked in ASKED.items()
        }


ASKED: dict[str, dict[str, Any]] = {
    "all": {"query": [0.0] * DIM, "score_threshold": 1e9},
    "some": {"query": [0.5] * DIM, "score_threshold": 4.0},
    "filtered": {
        "query": [0.5] * DIM,
        "score_threshold": 5.0,
        "query_filter": {"must": [{"key": "n", "match": {"value": 3}}]},
    },
    "none": {"query": [0.0] * DIM, "score_threshold": 0.0},
}


@pytest.fixture(scope="module")
def server(directory: Path, found_here: dict[str, list[Any]]) -> Iterator[Server]:
    with serving(directory) as server:
        yield server


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


@pytest.mark.parametrize("name", ASKED)
def test_the_lines_are_what_the_verb_finds(
    http: httpx.Client, found_here: dict[str, list[Any]], name: str
) -> None:
    asked = {**ASKED[name], "using": "a", "with_payload": True, "with_vector": True}
    if "query_filter" in asked:
        asked["filter"] = asked.pop("query_filter")
    answer = http.post(PATH, json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    here = found_here[name]
    assert [line["id"] for line in lines] == [point.id for point in here]
    assert [np.float32(line["score"]) for line in lines] == [np.float32(p.score) for p in here]
    assert [line["payload"] for line in lines] == [point.payload for point in here]
    for line, point in zip(lines, here, strict=True):
        assert np.array_equal(np.float32(line["vector"]["a"]), np.float32(point.vector["a"]))
    assert len(lines) == {"all": ROWS, "none": 0}.get(name, len(lines))
    assert name in ("all", "none") or 0 < len(lines) < ROWS


def test_what_is_wrong_is_said_before_the_first_line(http: httpx.Client) -> None:
    asked = {"query": [0.0] * DIM, "using": "a", "score_threshold": 1.0}
    assert "score_threshold" in error(http.post(PATH, json={**asked, "score_threshold": None}), 400)
    assert "`limit`" in error(http.post(PATH, json={**asked, "limit": 3}), 400)
    assert "expected 16 numbers" in error(http.post(PATH, json={**asked, "query": [1.0]}), 400)
    assert str(1 << 40) in error(http.post(PATH, json={**asked, "query": 1 << 40}), 404)
    error(http.post("/vecdb/collections/none/points/within", json=asked), 404)


def test_who_hangs_up_is_not_sent_the_rest(server: Server, http: httpx.Client) -> None:
    body = json.dumps(
        {"query": [0.0] * DIM, "using": "a", "score_threshold": 1e9, "with_vector": True}
    ).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head + body)
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
    answer = http.post(PATH, content=body, headers={"content-type": "application/json"})
    assert len(answer.text.splitlines()) == ROWS
