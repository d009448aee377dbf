"""``vecdb serve --lenient``: unknown fields are left out, counted and logged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from qdrant_client import grpc as protos
from serving import Server, error, new_collection, put, result, serving

from vecdb.server.counters import MOST_FIELDS, MOST_FIELDS_OF_READERS, Counters

VECTOR = [0.1, 0.2, 0.3, 0.4]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("lenient") / "db"
    with serving(directory, "--lenient", "--grpc-port", "0") as running:
        with running.http() as http:
            put(http, new_collection(http, "c"), {"id": 1, "vector": VECTOR})
        yield running


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


def _query(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/collections/c/points/query", json={"query": VECTOR, **fields})


def test_fields_are_left_out_at_every_depth(server: Server, http: httpx.Client) -> None:
    first = {"prefetch": [{"fresh": 1}], "query": VECTOR, "fresher": 1}
    for _ in range(2):
        params = {"newer": {"a": 1}, "exact": True}
        found = result(_query(http, new=1, params=params, prefetch=first))
        assert [point["id"] for point in found["points"]] == [1]
    new_collection(http, "d", hnsw_config={"m": 8, "newest\n": 1}, payload={"unheard": 1})
    lines = http.get("/metrics").text.splitlines()
    counts = [line for line in lines if line.startswith("vecdb_dropped_fields_total")]
    assert sorted(counts) == [
        'vecdb_dropped_fields_total{field="HnswConfigDiff.newest\\n"} 1',
        'vecdb_dropped_fields_total{field="SearchParams.newer"} 2',
        'vecdb_dropped_fields_total{field="fresh"} 2',
        'vecdb_dropped_fields_total{field="fresher"} 2',
        'vecdb_dropped_fields_total{field="new"} 2',
        'vecdb_dropped_fields_total{field="unheard"} 1',
    ]
    log = server.log.read_text()
    for field in ("'new'", "'SearchParams.newer'", r"'HnswConfigDiff.newest\n'", "'unheard'"):
        assert log.count(f"unknown field {field} was left out") == 1


def test_searches_that_come_together_by_both_protocols(server: Server) -> None:
    """Those of one turn of the loop are made together, whoever began it."""
    over = threading.Event()

    def by_grpc() -> None:
        with grpc.insecure_channel(server.grpc) as channel:
            call = channel.unary_unary("/qdrant.Points/Search")
            search = protos.SearchPoints(collection_name="c", vector=VECTOR, limit=1)
            while not over.is_set():
                call(search.SerializeToString())

    def by_http(number: int) -> set[int]:
        with server.http() as http:
            return {_query(http, params={"newer": 1}).status_code for _ in range(100)}

    with ThreadPoolExecutor(8) as threads:
        others = [threads.submit(by_grpc) for _ in range(4)]
        try:
            assert set().union(*threads.map(by_http, range(4))) == {200}
        finally:
            over.set()
        for other in others:
            other.result()


@pytest.mark.parametrize(
    "fields",
    [
        {"filter": {"musts": []}},
        {"filter": {"must": {"key": "a", "match": {"value": 1, "values": 2}}}},
        {"with_payload": {"include": ["a"], "excludes": []}},
        {"prefetch": {"query": VECTOR, "filter": {"musts": []}}, "query": VECTOR},
        {"query": {"order_by": {"key": "a", "end_at": 3}}},
        {"params": {"memory": "cold"}},
        {"params": {"idf": {"corpus": {"musts": []}}}},
        {"shard_key": "a"},
    ],
)
def test_what_is_refused_all_the_same(http: httpx.Client, fields: dict[str, Any]) -> None:
    error(_query(http, **fields), 400)


def test_what_is_refused_of_groups_and_pages(http: httpx.Client) -> None:
    """What chooses is refused all the same."""
    lookup = {"collection": "c", "filter": {}}
    asked = {"query": VECTOR, "group_by": "a", "with_lookup": lookup}
    error(http.post("/collections/c/points/query/groups", json=asked), 400)
    order = {"key": "a", "end_at": 3}
    error(http.post("/collections/c/points/scroll", json={"order_by": order}), 400)


_POINT = {"id": 1, "vector": VECTOR}
_FILTER = {"must": [{"has_id": [1]}]}
_COLUMNS = {"ids": [1], "vectors": [VECTOR]}


@pytest.mark.parametrize(
    ("operation", "method", "path", "body"),
    [
        ("upsert", "PUT", "", {"points": [_POINT], "update_filters": _FILTER}),
        ("upsert", "PUT", "", {"points": [_POINT | {"version": 3}]}),
        ("upsert", "PUT", "", {"batch": _COLUMNS, "new": 1}),
        ("upsert", "PUT", "", {"batch": _COLUMNS | {"versions": [3]}}),
        ("delete", "POST", "/delete", {"filter": _FILTER, "limit": 1}),
        ("delete", "POST", "/delete", {"points": [1], "must_not": []}),
        ("set_payload", "POST", "/payload", {"payload": {}, "points": [1], "Key": "a"}),
        ("overwrite_payload", "PUT", "/payload", {"payload": {}, "filter": _FILTER, "if": 1}),
        ("delete_payload", "POST", "/payload/delete", {"keys": ["a"], "points": [1], "if": 1}),
        ("clear_payload", "POST", "/payload/clear", {"filter": _FILTER, "keys": ["a"]}),
        ("update_vectors", "PUT", "/vectors", {"points": [_POINT], "update_filters": _FILTER}),
        ("update_vectors", "PUT", "/vectors", {"points": [_POINT | {"version": 3}]}),
        ("delete_vectors", "POST", "/vectors/delete", {"vector": [""], "points": [1], "if": 1}),
    ],
)
def test_what_changes_points_is_refused(
    http: httpx.Client, operation: str, method: str, path: str, body: dict[str, Any]
) -> None:
    """An unknown field was left out, and more was changed than was meant: a delete with a `limit`
    deleted all that its filter let through, an upsert with `update_filters` wrote whatever was
    there."""
    points = "/collections/c/points"
    before = result(http.get(f"{points}/1"))
    assert "unknown field" in error(http.request(method, f"{points}{path}", json=body), 400)
    batch = {"operations": [{operation: body}]}
    assert "unknown field" in error(http.post(f"{points}/batch", json=batch), 400)
    assert result(http.get(f"{points}/1")) == before


def test_a_batch_of_changes_is_refused_for_what_is_beside_it(http: httpx.Client) -> None:
    batch: dict[str, Any] = {"operations": [{"delete": {"points": [7]}}]}
    path = "/collections/c/points/batch"
    assert "unknown field `if`" in error(http.post(path, json={**batch, "if": 1}), 400)
    other = {"operations": [{"delete": {"points": [7]}, "if": 1}]}
    error(http.post(path, json=other), 400)


def test_an_action_of_aliases_is_refused_for_what_is_beside_it(http: httpx.Client) -> None:
    """One of two changes was done, and the other dropped."""
    create = {"create_alias": {"collection_name": "c", "alias_name": "a"}}
    for action in (
        {**create, "delete_alias": {"alias_name": "a"}},
        {**create, "fresh": 1},
    ):
        answer = http.post("/collections/aliases", json={"actions": [action]})
        assert answer.status_code == 400, answer.text
    assert http.get("/aliases").json()["result"]["aliases"] == []


def test_a_caller_may_make_up_any_number_of_names() -> None:
    counters = Counters()
    for number in range(MOST_FIELDS + 10):
        counters.dropped(f"{number:>100}"[::-1])
    assert len(counters.dropped_fields) == MOST_FIELDS + 1
    assert counters.dropped_fields["other"] == 10


def _dropped(http: httpx.Client) -> dict[str, int]:
    """How often each unknown field was left out."""
    lines = http.get("/metrics").text.splitlines()
    found = (line.split() for line in lines if line.startswith("vecdb_dropped_fields_total{"))
    return {labels.split('"')[1]: int(count) for labels, count in found}


def test_names_of_those_who_may_only_read_leave_room(tmp_path: Path) -> None:
    """They used up all the names that are remembered, and those of others were neither counted nor
    logged."""
    keys = {"VECDB_API_KEY": "writes", "VECDB_READ_ONLY_API_KEY": "reads"}
    with (
        serving(tmp_path / "db", "--lenient", "--grpc-port", "0", environment=keys) as server,
        server.http("writes") as writer,
        server.http("reads") as reader,
    ):
        put(writer, new_collection(writer, "c"), {"id": 1, "vector": VECTOR})
        for start in range(0, MOST_FIELDS + 100, 100):
            made_up = {f"f{number}": 1 for number in range(start, start + 100)}
            result(_query(reader, **made_up))
        result(_query(writer, fresh=1))
        counts = _dropped(writer)
        assert counts["fresh"] == 1
        assert counts["other"] == MOST_FIELDS + 100 - MOST_FIELDS_OF_READERS
        assert len(counts) == MOST_FIELDS_OF_READERS + 2
        assert "unknown field 'fresh' was left out" in server.log.read_text()


def test_collections_that_are_not_there_are_not_counted_apart(http: httpx.Client) -> None:
    """Whoever asked whether there are a thousand others used up the names that are counted."""
    for number in range(5):
        assert result(http.get(f"/collections/none{number}/exists")) == {"exists": False}
    assert result(http.get("/collections/c/exists")) == {"exists": True}
    text = http.get("/metrics?per_collection=true").text
    assert 'collection="c"' in text
    assert 'collection="none' not in text
