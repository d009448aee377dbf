"""``vecdb serve``: metrics, telemetry, the log of requests, the description."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import Server, error, new_collection, put, result, serving

from vecdb.server.routes import ROUTES

SAMPLE = re.compile(
    r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{[a-z_]+="(?:[^"\\\n]|\\.)*"(,[a-z_]+="(?:[^"\\\n]|\\.)*")*\})?'
    r" [-+0-9.e]+"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("operation") / "db"
    with serving(directory, "--metrics-prefix", "my_", "--access-log") as running:
        with running.http() as http:
            path = new_collection(http, "c")
            put(http, path, *({"id": n, "vector": [n, 1, 2, 3]} for n in range(3)))
            new_collection(http, "%C3%A4%0A")
        yield running


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


def samples(text: str) -> dict[str, float]:
    """The figures, each of which must be well formed and follow the head of its family."""
    found: dict[str, float] = {}
    family = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
        elif line.startswith("# TYPE "):
            assert line.split()[2:] in ([family, "gauge"], [family, "counter"])
        else:
            assert SAMPLE.fullmatch(line), line
            name, _, figure = line.rpartition(" ")
            assert name.partition("{")[0] == family
            assert name not in found
            found[name] = float(figure)
    return found


def test_metrics(http: httpx.Client) -> None:
    for _ in range(3):
        result(http.post("/collections/c/points/count", json={}))
    error(http.post("/collections/c/points/query", json={"query": [1]}), 400)
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = samples(answer.text)
    assert found['my_collection_points{id="c"}'] == 3
    assert found["my_collections_total"] == 2
    assert found["my_collections_vector_total"] == 3
    count = 'method="POST",endpoint="/collections/{collection_name}/points/count",status="200"'
    assert found[f"my_rest_responses_total{{{count}}}"] >= 3
    least, most, average = (
        found[f"my_rest_responses_{kind}_duration_seconds{{{count}}}"]
        for kind in ("min", "max", "avg")
    )
    assert 0 < least <= average <= most
    wrong = 'method="POST",endpoint="/collections/{collection_name}/points/query",status="400"'
    assert found[f"my_rest_responses_total{{{wrong}}}"] == 1
    assert f"my_rest_responses_min_duration_seconds{{{wrong}}}" not in found
    assert found["my_vecdb_in_flight"] == 1
    assert found["my_process_open_fds"] > 0
    apart = samples(http.get("/metrics?per_collection=true").text)
    assert apart[f'my_rest_responses_total{{{count},collection="c"}}'] >= 3


def test_names_cannot_break_out_of_their_labels() -> None:
    from vecdb.server.operations.metrics import Families

    families = Families("")
    families.add("a", "gauge", "b", [({"id": 'x"\\\n# HELP'}, 1)])
    assert families.text().splitlines()[2:] == ['a{id="x\\"\\\\\\n# HELP"} 1']


def test_callers_cannot_make_counters_grow(http: httpx.Client) -> None:
    before = http.get("/metrics").text.count("\n")
    for n in range(50):
        http.get(f"/collections/made-up-{n}", headers={"user-agent": f"made-up-{n}/1"})
        http.get(f"/made-up-{n}")
    text = http.get("/metrics?per_collection=true").text
    assert "made-up" not in text
    assert http.get("/metrics").text.count("\n") <= before + 15


def test_clients_are_counted(server: Server) -> None:
    with server.http() as http:
        http.get("/", headers={"user-agent": "qdrant-js/1.18.0"})
        found = samples(http.get("/metrics").text)
    assert found['my_vecdb_clients_total{client="qdrant-js"}'] == 1


@pytest.mark.parametrize("level", range(7))
def test_telemetry(http: httpx.Client, level: int) -> None:
    found = result(http.get(f"/telemetry?details_level={level}&anonymize=true"))
    keys = {"id", "app", "collections", "cluster", "requests", "quota"}
    more = {"memory", "hardware", "search_pool"} if level else set()
    assert found.keys() == keys | more
    assert found["app"]["name"] == "qdrant"
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["app"]["version"])
    assert found["collections"]["number_of_collections"] == 2
    responses = found["requests"]["rest"]["responses"]
    created = responses["PUT /collections/{collection_name}"]["200"]
    assert created["count"] == 2
    if level == 0:
        return
    collection = found["collections"]["collections"][0]
    if level == 1:
        assert collection.keys() == {"vectors", "optimizers_status", "params"}
    else:
        expected = {"id", "init_time_ms", "config"}
        expected |= {"shards", "transfers", "resharding"} if level > 2 else set()
        assert collection.keys() == expected
    if level >= 3:
        local = collection["shards"][0]["local"]
        assert local["update_queue"] == {"length": 0, "op_num": 1}
    if level >= 4:
        [segment] = local["segments"]
        assert segment["info"]["num_points"] == 3


def test_telemetry_by_collection(http: httpx.Client) -> None:
    found = result(http.get("/telemetry?per_collection=true"))["requests"]["rest"]
    puts = found["per_collection_responses"]["c"]["PUT /collections/{collection_name}/points"]
    assert puts["200"]["count"] == 1
    for wrong in ("x", "%C2%B2", "1" * 5000):  # the last two were errors of the server
        error(http.get(f"/telemetry?details_level={wrong}"), 400)
    error(http.get("/telemetry?timeout=0"), 400)


def test_a_line_for_each_request(server: Server) -> None:
    with server.http() as http:
        http.get("/collections/c", headers={"x-request-id": "of-this-test", "api-key": "secret"})
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    [line] = [each for each in lines if each.get("x-request-id") == "of-this-test"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/collections/c", 200)
    assert line["bytes"] > 100
    assert line["client"] == "127.0.0.1"
    assert "secret" not in server.log.read_text()


def test_without_being_asked_nothing_is_logged(tmp_path: Path) -> None:
    with serving(tmp_path / "db") as running, running.http() as http:
        http.get("/collections")
        http.get("/nothing")
        assert running.log.read_text() == ""


def test_the_description(http: httpx.Client) -> None:
    described = http.get("/openapi.json").json()
    assert described["openapi"].startswith("3.")
    operations = [
        (method.upper(), path) for path, each in described["paths"].items() for method in each
    ]
    assert sorted(operations) == sorted((route.method, route.path) for route in ROUTES)
    entries = [entry for each in described["paths"].values() for entry in each.values()]
    names = [entry["operationId"] for entry in entries]
    assert len(set(names)) == len(names)
    for path, each in described["paths"].items():
        for entry in each.values():
            named = {parameter["name"] for parameter in entry["parameters"]}
            assert named == set(re.findall(r"\{(\w+)\}", path))
    query = described["paths"]["/collections/{collection_name}/points/query"]["post"]
    schema = query["requestBody"]["content"]["application/json"]["schema"]
    assert {"query", "filter", "limit", "with_payload"} <= schema["properties"].keys()


def test_facts(http: httpx.Client) -> None:
    assert result(http.get("/issues")) == {"issues": []}
    assert result(http.delete("/issues")) is True
    assert result(http.get("/cluster")) == {"status": "disabled"}
    assert result(http.get("/cluster/telemetry")) == {"collections": {}, "cluster": None}
    quotas = result(http.get("/quotas"))
    assert quotas["config"]["enabled"] is False
    assert 0 < quotas["usage"]["memory_usage"] <= 100
    assert "not supported" in error(http.put("/quotas", json={}), 400)
