"""``vecdb serve``: requests and answers of Qdrant's HTTP interface."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from serving import Server, error, new_collection, put, result, serving

VECTOR = [0.1, 0.2, 0.3, 0.4]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("http") / "db", "--sync", "never") as running:
        yield running


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


@pytest.fixture
def path(http: httpx.Client) -> Iterator[str]:
    """A collection with three points."""
    path = new_collection(http, "c")
    put(
        http,
        path,
        *(
            {"id": n, "vector": [n, 0, 0, 0.5], "payload": {"n": n, "list": [1, {"a": None}]}}
            for n in (1, 2, 3)
        ),
    )
    yield path
    http.delete(path)


# -- envelopes and errors --------------------------------------------------------------------------


def test_what_it_says_of_itself(http: httpx.Client) -> None:
    root = http.get("/")
    assert root.headers["content-type"] == "application/json"
    assert root.json().keys() == {"title", "version", "commit"}
    assert len(root.json()["commit"]) == 40
    assert http.get("/healthz").text == http.get("/livez").text == "healthz check passed"
    assert http.get("/readyz").text == "all shards are ready"
    assert "server" not in root.headers


def test_unknown_paths_and_methods_have_no_body(http: httpx.Client) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/collections/c/nothing", 404),
        ("PATCH", "/collections", 405),
        ("POST", "/", 405),
    ):
        answer = http.request(method, path)
        assert (answer.status_code, answer.content) == (status, b""), path


def test_a_collection_that_is_not_there(http: httpx.Client) -> None:
    text = "Not found: Collection `none` doesn't exist!"
    assert error(http.get("/collections/none"), 404) == text
    body = {"query": VECTOR}
    assert error(http.post("/collections/none/points/query", json=body), 404) == text
    assert error(http.put("/collections/none/points", json={"points": []}), 404) == text
    assert result(http.get("/collections/none/exists")) == {"exists": False}
    assert result(http.delete("/collections/none")) is False


def test_unknown_fields_beside_several_requests(http: httpx.Client, path: str) -> None:
    """They were passed over."""
    points = f"{path}/points"
    for url, field in (
        (f"{points}/query/batch", "searches"),
        (f"{points}/search/batch", "searches"),
        (f"{points}/recommend/batch", "searches"),
        (f"{points}/discover/batch", "searches"),
        (f"{points}/batch", "operations"),
        ("/collections/aliases", "actions"),
    ):
        assert "missing field" in error(http.post(url, json={}), 400)
        body = {field: [], "other": 1}
        assert "unknown field `other`" in error(http.post(url, json=body), 400), url
        result(http.post(url, json={field: [], "other": None}))


def test_a_collection_that_is_there_already(http: httpx.Client, path: str) -> None:
    body = {"vectors": {"size": 4, "distance": "Dot"}}
    text = error(http.put(path, json=body), 409)
    assert text == "Wrong input: Collection `c` already exists!"


def test_not_json(http: httpx.Client, path: str) -> None:
    kind = {"content-type": "application/json"}
    for content in (b"{", b"[1]", b'"x"', b'{"query": [NaN]}', b"\xff", b"[" * 100_000):
        answer = http.post(f"{path}/points/query", content=content, headers=kind)
        assert error(answer, 400).startswith("Format error in JSON body: ")
    answer = http.post(f"{path}/points/query", content=b"{}", headers={"content-type": "text/json"})
    assert "application/json" in error(answer, 400)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"query": [1, 2, 3]}, "Wrong input: Vector dimension error: expected dim: 4, got 3"),
        ({"query": VECTOR, "using": "x"}, "Wrong input: Not existing vector name error: x"),
        (
            {"prefetch": {}, "query": {"formula": {"ln": 0}}},
            "Wrong input: The expression ln of 0.0 produced a non-finite number; ",
        ),
        (
            {"prefetch": {}, "query": {"formula": {"sum": ["a.b"]}}},
            "Wrong input: Expected number value for a.b in the payload and/or in the formula "
            "defaults. Error: ",
        ),
        ({"query": "x"}, 'Wrong input: Can not recognize "x" as point id'),
        ({"query": VECTOR, "unheard_of": 1}, "Format error in JSON body: unknown field `unheard"),
        ({"query": VECTOR, "limit": -1}, "Format error in JSON body: internal.limit: invalid"),
        ({"query": VECTOR, "filter": {"musts": []}}, "Wrong input: filter: unknown field"),
        (
            {"query": VECTOR, "lookup_from": {"collection": 5}},
            "Wrong input: lookup_from.collection",
        ),
        ({"query": VECTOR, "shard_key": "a"}, "Wrong input: shard_key: "),
    ],
)
def test_the_words_of_a_wrong_query(
    http: httpx.Client, path: str, body: dict[str, Any], text: str
) -> None:
    assert error(http.post(f"{path}/points/query", json=body), 400).startswith(text)


def test_the_words_of_a_collection_to_look_up_in_that_is_not_there(
    http: httpx.Client, path: str
) -> None:
    """They were those of a collection that is read itself, of which Qdrant has others."""
    body = {"query": 1, "lookup_from": {"collection": "x"}}
    text = error(http.post(f"{path}/points/query", json=body), 404)
    assert text == "Not found: Collection x not found"
    several = {"searches": [{"query": 1}, body]}
    text = error(http.post(f"{path}/points/query/batch", json=several), 404)
    assert text.startswith("Not found: Collection x not found; searches[1].lookup_from: ")
    groups = {"query": 1, "group_by": "n", "with_lookup": "x"}
    text = error(http.post(f"{path}/points/query/groups", json=groups), 404)
    assert text == "Not found: Collection x not found"


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ([], ": dense vector must not be empty]"),
        ([[]], ".data: all vectors must be non-empty]"),
        ([VECTOR, []], ".data: all vectors must be non-empty]"),
        (
            [VECTOR, VECTOR[1:]],
            ".data: all vectors must have the same dimension, found vector with dimension 3]",
        ),
    ],
)
def test_the_words_of_wrong_multivectors(http: httpx.Client, wrong: Any, text: str) -> None:
    """They were vecdb's alone, and those of a query's length, too."""
    path = "/collections/multi"
    many = {"size": 4, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}
    result(http.put(path, json={"vectors": {"": many, "late": many}}))
    for vector, at in ((wrong, "vector"), ({"late": wrong}, "vector.?")):
        for where in ("points", "points/vectors"):
            body = {"points": [{"id": 1, "vector": vector}]}
            said = error(http.put(f"{path}/{where}", json=body), 422)
            assert said == f"Validation error in JSON body: [points[0].{at}{text}"
    said = error(
        http.post(f"{path}/points/query", json={"query": VECTOR[1:], "using": "late"}), 400
    )
    assert said.startswith("Wrong input: Vector dimension error: expected dim: 4, got 3; ")
    result(http.delete(path))


def test_the_words_of_a_vector_where_there_are_none(http: httpx.Client) -> None:
    """The same, of a vector for a collection without vectors."""
    path = "/collections/no_vectors"
    result(http.put(path, json={}))
    text = error(http.put(f"{path}/points", json={"points": [{"id": 1, "vector": [1, 2]}]}), 400)
    assert text.startswith("Wrong input: Not existing vector name error: ")
    result(http.delete(path))


@pytest.mark.parametrize(
    ("wrong", "status", "words", "within"),
    [
        ({"query": 17}, 404, "Not found: No point with id 17 found; ", ".query: "),
        (
            {"query": VECTOR, "using": "x"},
            400,
            "Wrong input: Not existing vector name error: x; ",
            ": unknown vector name",
        ),
    ],
)
def test_what_is_wrong_in_one_of_several_says_in_which(
    http: httpx.Client, path: str, wrong: dict[str, Any], status: int, words: str, within: str
) -> None:
    """Qdrant's words about points and vector names took the place of all that was known."""
    right = {"query": VECTOR}
    answer = http.post(f"{path}/points/query/batch", json={"searches": [right, wrong]})
    assert error(answer, status).startswith(f"{words}searches[1]{within}")
    upon = {"prefetch": [right, wrong], "query": {"fusion": "rrf"}}
    answer = http.post(f"{path}/points/query", json=upon)
    assert error(answer, status).startswith(f"{words}prefetch[1]{within}")
    answer = http.post(f"{path}/points/query/batch", json={"searches": [right, upon]})
    assert error(answer, status).startswith(f"{words}searches[1].prefetch[1]{within}")
    for each in ("query", "search"):
        asked = {"vector": VECTOR, "limit": 1} if each == "search" else right
        bad = {"searches": [asked, {**asked, "with_payload": ["a["]}]}
        text = error(http.post(f"{path}/points/{each}/batch", json=bad), 400)
        assert text.startswith("Wrong input: searches[1].with_payload: 'a[' is not a path")
    keys = {"delete_payload": {"keys": ["a["], "points": [1]}}
    text = error(http.post(f"{path}/points/batch", json={"operations": [keys]}), 400)
    assert text.startswith("Wrong input: operations[0].delete_payload: keys[0]: 'a[' is not")


_NO_PATH = {"must": [{"key": "a[", "match": {"value": 1}}]}
_EXAMPLES = {"positive": [17], "limit": 1}
_SHORT = {"vector": [1.0], "limit": 1}


@pytest.mark.parametrize(
    ("where", "body", "place"),
    [
        ("query", {"query": VECTOR}, "filter"),
        ("search", {"vector": VECTOR, "limit": 1}, "filter"),
        ("scroll", {}, "filter"),
        ("count", {}, "filter"),
        ("../facet", {"key": "a"}, "filter"),
        ("search/matrix/pairs", {}, "filter"),
        ("delete", {}, "filter"),
        ("payload", {"payload": {}}, "filter"),
        ("payload/delete", {"keys": ["a"]}, "filter"),
        ("payload/clear", {}, "filter"),
        ("vectors/delete", {"vector": [""]}, "filter"),
        ("query", {"query": VECTOR, "prefetch": {"filter": _NO_PATH}}, "prefetch.filter"),
        ("query/batch", {"searches": [{}, {"filter": _NO_PATH}]}, "searches[1].filter"),
        ("search/batch", {"searches": [_SHORT]}, "searches[0].vector"),
        ("search", _SHORT, "vector"),
        ("recommend", {"positive": [1], "strategy": "x", "limit": 1}, "strategy"),
        ("recommend/batch", {"searches": [_EXAMPLES]}, "searches[0].positive[0]"),
        ("discover/batch", {"searches": [{"target": 17, "limit": 1}]}, "searches[0].target"),
        (
            "batch",
            {"operations": [{"delete": {"filter": _NO_PATH}}]},
            "operations[0].delete.filter",
        ),
        (
            "batch",
            {"operations": [{"set_payload": {"payload": {}, "filter": _NO_PATH}}]},
            "operations[0].set_payload.filter",
        ),
        (
            "batch",
            {"operations": [{"upsert": {"points": [{"id": "x", "vector": VECTOR}]}}]},
            "operations[0].upsert.points[0].id",
        ),
        ("delete", {"points": ["x"]}, "points[0]"),
        (
            "query/groups",
            {"group_by": "a", "with_lookup": {"collection": "c", "with_payload": ["a["]}},
            "with_lookup.with_payload",
        ),
    ],
)
def test_what_is_wrong_is_called_what_the_body_calls_it(
    http: httpx.Client, path: str, where: str, body: dict[str, Any], place: str
) -> None:
    """It had the name of an argument of a verb: query_filter, points_selector, requests[0]."""
    if place == "filter":
        body = {**body, "filter": _NO_PATH}
    url = f"{path}/points/{where}" if where != "../facet" else f"{path}/facet"
    answer = http.post(url, json=body)
    assert re.search(rf"(?:: |; ){re.escape(place)}: ", error(answer, answer.status_code))


def test_an_unknown_field_of_a_point_in_a_batch(http: httpx.Client, path: str) -> None:
    """It was said of which point, and not of which operation."""
    point = {"id": 1, "vector": VECTOR, "foo": 1}
    operations = [{"delete": {"points": [7]}}, {"upsert": {"points": [point]}}]
    text = error(http.post(f"{path}/points/batch", json={"operations": operations}), 400)
    assert "operations[1].upsert.points[0].unknown field `foo`" in text


@pytest.mark.parametrize("where", ["payload", "params.payload"])
def test_an_unknown_field_of_where_payloads_are(http: httpx.Client, path: str, where: str) -> None:
    """It was ignored."""
    payload = {"payload": {"memory": "cold", "on_disc": True}}
    if where == "payload":
        answer = http.put(
            "/collections/other", json={"vectors": {"size": 4, "distance": "Dot"}, **payload}
        )
    else:
        answer = http.patch(path, json={"params": payload})
    text = f"Format error in JSON body: {where}.unknown field `on_disc`, expected memory"
    assert error(answer, 400) == text


def test_points_that_are_not_there(http: httpx.Client, path: str) -> None:
    text = error(http.post(f"{path}/points/query", json={"query": 17}), 404)
    assert text == "Not found: No point with id 17 found"
    text = error(http.get(f"{path}/points/17"), 404)
    assert text == "Not found: Point with id 17 does not exists!"
    body = {"payload": {"a": 1}, "points": [17]}
    text = error(http.post(f"{path}/points/payload", json=body), 404)
    assert text == "Not found: No point with id 17 found"
    text = error(http.get(f"{path}/points/x"), 400)
    assert text == 'Wrong input: Can not recognize "x" as point id'


def test_more_results_than_64_bits_count_are_refused_with_a_query_and_without(
    http: httpx.Client, path: str
) -> None:
    """They were taken for as many as there can be."""
    sample = {"sample": 9}
    for key, where, body in (
        ("limit", "points/query", {}),
        ("limit", "points/query", {"query": VECTOR}),
        ("limit", "points/query", {"query": {"sample": "random"}}),
        ("limit", "points/scroll", {}),
        ("limit", "points/scroll", {"order_by": "n"}),
        ("limit", "facet", {"key": "n"}),
        ("limit", "points/search", {"vector": VECTOR}),
        ("limit", "points/search/matrix/pairs", sample),
        ("sample", "points/search/matrix/pairs", sample),
    ):
        text = error(http.post(f"{path}/{where}", json={**body, key: 1 << 64}), 400)
        assert text.startswith(f"Format error in JSON body: {key}: invalid value: integer"), where
        result(http.post(f"{path}/{where}", json={**body, key: (1 << 64) - 1}))


@pytest.mark.parametrize("name", [".", "..", "%2E", "%2e%2E"])
def test_a_name_that_clients_take_for_another_path(server: Server, name: str) -> None:
    """It could be made, and most clients could not ask for it; httpx is one of them."""
    connection = HTTPConnection("127.0.0.1", server.port)
    with closing(connection):

        def ask(method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
            kind = {"content-type": "application/json"}
            connection.request(method, path, body, kind)
            answer = connection.getresponse()
            return answer.status, answer.read()

        body = b'{"vectors": {"size": 4, "distance": "Dot"}}'
        status, text = ask("PUT", f"/collections/{name}", body)
        assert (status, b"[collection_name: collection name cannot be '." in text) == (422, True)
        assert ask("PUT", f"/collections/{name}/snapshots/recover", b'{"location": "x"}')[0] == 422
        assert ask("POST", f"/collections/{name}/snapshots/upload")[0] == 422
        assert ask("GET", f"/collections/{name}/exists")[1].startswith(b'{"result":{"exists":false')
        assert ask("PUT", "/collections/...", body)[0] == 200
        assert ask("DELETE", "/collections/...")[0] == 200


@pytest.mark.parametrize(
    ("method", "where", "body", "text"),
    [
        (
            "PUT",
            "/collections/big",
            {"vectors": {"size": 65537, "distance": "Dot"}},
            "Validation error in JSON body: "
            "[vectors.size: value 65537 invalid, must be from 1 to 65536]",
        ),
        (
            "PUT",
            "/collections/big",
            {"vectors": {"a": {"size": 0, "distance": "Dot"}}, "shard_number": 0},
            "Validation error in JSON body: "
            "[vectors.?.size: value 0 invalid, must be from 1 to 65536; "
            "shard_number: value 0 invalid, must be 1 or larger]",
        ),
        (
            "POST",
            "/collections/c/points/query",
            {"query": VECTOR, "limit": 0},
            "Validation error in JSON body: [internal.limit: value 0 invalid, must be 1 or larger]",
        ),
        (
            "POST",
            "/collections/c/points/search",
            {"vector": VECTOR, "limit": 3, "params": {"quantization": {"oversampling": 0.5}}},
            "Validation error in JSON body: [search_request.params.quantization.oversampling: "
            "value 0.5 invalid, must be 1.0 or larger]",
        ),
        (
            "PUT",
            "/collections/a%3Cb",
            {"vectors": {"size": 4, "distance": "Dot"}},
            "Validation error in path parameters: "
            "[collection_name: collection name cannot contain '<' char]",
        ),
        (
            "PUT",
            "/collections/c",
            {"vectors": {"size": 4, "distance": "Dot"}, "payload": {"memory": "pinned"}},
            "Validation error in JSON body: "
            "[payload.memory: `pinned` memory placement is not supported for payload storage]",
        ),
        (
            "PATCH",
            "/collections/c",
            {"params": {"payload": {"memory": "pinned"}}},
            "Validation error in JSON body: "
            "[params.payload.memory: `pinned` memory placement is not supported for payload "
            "storage]",
        ),
        (
            "GET",
            f"/collections/{'x' * 256}",
            None,
            f'Validation error in path parameters: [collection_name: value "{"x" * 256}" invalid, '
            "must be from 1 to 255 characters]",
        ),
        (
            "PUT",
            "/collections/c?timeout=0",
            {},
            "Validation error in query parameters: [timeout: value 0 invalid, must be 1 or larger]",
        ),
        (
            "PUT",
            "/collections/c/points/vectors",
            {"points": [{"id": 1, "vector": {}}]},
            "Validation error in JSON body: "
            "[points[0].vector: must specify vectors to update for point]",
        ),
        (
            "PUT",
            "/collections/c/vectors/late",
            {"dense": {"size": 0, "distance": "Dot"}},
            "Validation error in JSON body: [dense.size: value 0 invalid, must be from 1 to 65536]",
        ),
        (
            "PUT",
            "/collections/c/index",
            {
                "field_name": "n",
                "field_schema": {"type": "integer", "lookup": False, "range": False},
            },
            "Validation error: the 'lookup' and 'range' capabilities can't be both disabled",
        ),
        (
            "POST",
            "/collections/c/points/count",
            {"filter": {"must": [{"key": "n"}]}},
            "Validation error in JSON body: [At least one field condition must be specified; "
            "filter.must[0]: expected exactly one of match, range, geo_bounding_box, "
            "geo_radius, geo_polygon, values_count, is_empty, is_null, got none; give each its "
            "own condition]",
        ),
        (
            "PATCH",
            "/collections/c",
            {"hnsw_config": {"ef_construct": 3}},
            "Validation error in JSON body: "
            "[hnsw_config.ef_construct: value 3 invalid, must be 4 or larger]",
        ),
    ],
)
def test_values_out_of_their_range(
    http: httpx.Client, path: str, method: str, where: str, body: Any, text: str
) -> None:
    assert error(http.request(method, where, json=body), 422) == text


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("timeout=0", "timeout"),
        ("timeout=x", "timeout"),
        ("wait=yes", "wait"),
        ("ordering=odd", "ordering"),
        ("consistency=0", "consistency"),
        ("timeout=%C2%B2", "timeout"),
        ("consistency=%C2%B2", "consistency"),
        (f"consistency={'1' * 5000}", "consistency"),
    ],
)
def test_wrong_parameters_beside_the_body(
    http: httpx.Client, path: str, query: str, name: str
) -> None:
    """A raised 2 is a digit, and no number: it was an error of the server, as were 5,000 digits."""
    answer = http.post(f"{path}/points/count?{query}", json={})
    assert error(answer, 400).startswith(f"Deserialize error in query parameters: {name}: ")


def test_known_and_unknown_parameters_that_change_nothing(http: httpx.Client, path: str) -> None:
    query = "consistency=majority&timeout=5&ordering=strong&wait=true&of_a_newer_client=1"
    assert result(http.post(f"{path}/points/count?{query}", json={})) == {"count": 3}


def test_options_in_the_body_of_a_batch_of_changes(http: httpx.Client, path: str) -> None:
    """qdrant-js sends them there, and was refused."""
    body = {"operations": [], "timeout": 5, "wait": True, "ordering": "weak"}
    assert result(http.post(f"{path}/points/batch", json=body)) == []


@pytest.mark.parametrize(
    ("method", "where"),
    [
        ("POST", "/cluster/recover"),
        ("DELETE", "/cluster/peer/1"),
        ("POST", "/collections/c/cluster"),
        ("PUT", "/collections/c/shards"),
        ("POST", "/collections/c/shards/delete"),
    ],
)
def test_there_is_no_cluster(http: httpx.Client, method: str, where: str) -> None:
    text = error(http.request(method, where), 405)
    assert text == "Qdrant is running in standalone mode"


# -- reading and writing ---------------------------------------------------------------------------


def test_numbers_have_their_shortest_form(http: httpx.Client, path: str) -> None:
    """As text: 0.1, and not the 64-bit number nearest to the 32-bit one."""
    put(http, path, {"id": 9, "vector": VECTOR})
    answer = http.get(f"{path}/points/9")
    assert '"vector":[0.1,0.2,0.3,0.4]' in answer.text
    body = {"query": [0, 0, 0, 1], "limit": 9, "with_vector": True}
    found = result(http.post(f"{path}/points/query", json=body))["points"]
    assert [each["score"] for each in found] == [0.5, 0.5, 0.5, 0.4]
    assert found[-1]["vector"] == VECTOR


def test_what_a_query_returns_if_it_does_not_say(http: httpx.Client, path: str) -> None:
    [first, *_] = result(http.post(f"{path}/points/query", json={"query": [1, 0, 0, 0]}))["points"]
    assert first.keys() == {"id", "version", "score"}
    assert first["id"] == 3
    [first] = result(http.post(f"{path}/points", json={"ids": [1]}))
    assert first == {"id": 1}
    page = result(http.post(f"{path}/points/scroll", json={"limit": 2}))
    assert [each.keys() for each in page["points"]] == [{"id", "payload"}] * 2
    assert page["next_page_offset"] == 3
    page = result(http.post(f"{path}/points/scroll", json={"offset": 3}))
    assert page["next_page_offset"] is None
    assert page["points"][0]["payload"] == {"n": 3, "list": [1, {"a": None}]}


def test_forms_of_a_query(http: httpx.Client, path: str) -> None:
    def ids(**body: Any) -> list[int]:
        found = result(http.post(f"{path}/points/query", json=body))["points"]
        return [each["id"] for each in found]

    assert ids(query=[1, 0, 0, 0]) == ids(query={"nearest": [1, 0, 0, 0]}) == [3, 2, 1]
    assert ids(query={"nearest": [1, 0, 0, 0], "mmr": None}) == [3, 2, 1]
    assert ids(query=[1, 0, 0, 0], using="") == [3, 2, 1]
    assert ids(query=1) == ids(query={"nearest": 1}) == [3, 2]
    assert ids() == [1, 2, 3]
    assert ids(query=[1, 0, 0, 0], limit=18446744073709551615, offset=1) == [2, 1]
    assert ids(query=[1, 0, 0, 0], score_threshold=1.5) == [3, 2]
    nulls = dict.fromkeys(
        ("using", "filter", "params", "prefetch", "lookup_from", "shard_key", "score_threshold")
    )
    assert ids(query=[1, 0, 0, 0], **nulls) == [3, 2, 1]
    match = {"key": "n", "match": {"value": 2}, "range": None, "geo_radius": None}
    assert ids(query=[1, 0, 0, 0], filter={"must": match, "should": None}) == [2]
    params = {"exact": True, "hnsw_ef": 64, "quantization": {"oversampling": 2.0}}
    assert ids(query=[1, 0, 0, 0], params=params) == [3, 2, 1]


def test_conditions_on_texts_places_and_slices(http: httpx.Client, path: str) -> None:
    payloads = [
        {"t": "Good cheap hardware", "at": {"lon": 1, "lat": 1}},
        {"t": ["cheap", "good"], "at": [{"lon": 5, "lat": 5}, {"lon": 50, "lat": 5}]},
    ]
    points = [
        {"id": 10 + n, "vector": [1, 0, 0, 0], "payload": payload}
        for n, payload in enumerate(payloads)
    ]
    result(http.put(f"{path}/points?wait=true", json={"points": points}))

    def ids(**condition: Any) -> list[int]:
        body = {"filter": {"must": condition}, "limit": 100}
        found = result(http.post(f"{path}/points/scroll", json=body))
        return [point["id"] for point in found["points"]]

    assert ids(key="t", match={"text": "CHEAP good"}) == [10]
    assert ids(key="t", match={"text_any": "hardware, cheap"}) == [10, 11]
    assert ids(key="t", match={"phrase": "good cheap"}) == [10]
    assert ids(key="t", match={"prefix": "Good"}) == [10]
    assert ids(key="t", match={"substring": "oo"}) == [10, 11]
    box = {"top_left": {"lon": 0, "lat": 6}, "bottom_right": {"lon": 2, "lat": 0}}
    assert ids(key="at", geo_bounding_box=box) == [10]
    circle = {"center": {"lon": 50, "lat": 5.001}, "radius": 500}
    assert ids(key="at", geo_radius=circle) == [11]
    corners = [(0, 0), (9, 0), (9, 9), (0, 0)]
    exterior = {"points": [{"lon": lon, "lat": lat} for lon, lat in corners]}
    assert ids(key="at", geo_polygon={"exterior": exterior, "interiors": None}) == []
    parts = [ids(slice={"total": 2, "index": n}) for n in range(2)]
    assert sorted(parts[0] + parts[1]) == [1, 2, 3, 10, 11]

    index = {"field_name": "t", "field_schema": {"type": "text", "tokenizer": "prefix"}}
    result(http.put(f"{path}/index?wait=true", json=index))
    assert ids(key="t", match={"text": "go ch"}) == [10, 11]

    body = {"filter": {"must": [{"key": "at", "geo_radius": {**circle, "radius": -1}}]}}
    assert "must[0].geo_radius.radius" in error(http.post(f"{path}/points/scroll", json=body), 400)
    polygon = {"exterior": {"points": exterior["points"][:3]}}
    body = {"filter": {"must": [{"key": "at", "geo_polygon": polygon}]}}
    assert "at least 4 points" in error(http.post(f"{path}/points/scroll", json=body), 400)


def test_points_in_the_order_of_a_value(http: httpx.Client, path: str) -> None:
    ordered = {"key": "n", "direction": "desc", "start_from": 2}
    page = result(http.post(f"{path}/points/scroll", json={"order_by": ordered, "limit": 2}))
    assert [(each["id"], each["order_value"]) for each in page["points"]] == [(2, 2), (1, 1)]
    assert page["next_page_offset"] is None
    body = {"query": {"order_by": "n"}, "limit": 2}
    found = result(http.post(f"{path}/points/query", json=body))["points"]
    first = {"id": 1, "version": found[0]["version"], "score": 1.0, "order_value": 1}
    assert found[0] == first
    assert found[1]["order_value"] == 2
    text = error(http.post(f"{path}/points/scroll", json={"order_by": "n", "offset": 2}), 400)
    assert "offset" in text
    assert "key" in error(http.post(f"{path}/points/scroll", json={"order_by": {}}), 400)


def test_points_by_chance(http: httpx.Client, path: str) -> None:
    body: dict[str, Any] = {"query": {"sample": "random"}}
    found = result(http.post(f"{path}/points/query", json=body))["points"]
    assert sorted(each["id"] for each in found) == [1, 2, 3]
    assert len(result(http.post(f"{path}/points/query", json=body | {"offset": 2}))["points"]) == 3
    body = {"query": {"sample": "first"}}
    assert "sample" in error(http.post(f"{path}/points/query", json=body), 400)


def test_facets(http: httpx.Client, path: str) -> None:
    many = [{"id": n, "payload": {"city": f"c{n:02}"}, "vector": VECTOR} for n in range(10, 22)]
    put(http, path, *many)
    put(http, path, {"id": 30, "payload": {"city": ["c15", "c15", True, 7]}, "vector": VECTOR})
    hits = result(http.post(f"{path}/facet", json={"key": "city"}))["hits"]
    assert hits[0] == {"value": "c15", "count": 2}
    assert len(hits) == 10
    body = {"key": "city", "limit": 1 << 63, "exact": True, "filter": {"must": {"has_id": [30]}}}
    hits = result(http.post(f"{path}/facet", json=body))["hits"]
    assert [each["value"] for each in hits] == [True, 7, "c15"]
    assert result(http.post(f"{path}/facet", json={"key": "none"})) == {"hits": []}
    assert "missing field `key`" in error(http.post(f"{path}/facet", json={}), 400)
    text = error(http.post(f"{path}/facet", json={"key": "n", "limit": 0}), 422)
    assert text.endswith("[limit: value 0 invalid, must be 1 or larger]")
    assert "exact" in error(http.post(f"{path}/facet", json={"key": "n", "exact": 1}), 400)


def test_groups(http: httpx.Client, path: str) -> None:
    put(http, path, *({"id": n, "payload": {"n": 1}, "vector": VECTOR} for n in range(10, 16)))
    new_collection(http, "lookup")
    put(http, "/collections/lookup", {"id": 1, "payload": {"name": "one"}, "vector": VECTOR})
    query = {"query": VECTOR, "group_by": "n", "with_lookup": "lookup"}
    groups = result(http.post(f"{path}/points/query/groups", json=query))["groups"]
    assert {each["id"]: len(each["hits"]) for each in groups} == {1: 3, 2: 1, 3: 1}
    for each in groups:
        assert each["hits"][0].keys() == {"id", "version", "score"}
        if each["id"] == 1:
            assert each["lookup"] == {"id": 1, "payload": {"name": "one"}}
        else:
            assert "lookup" not in each
    search: dict[str, Any] = {
        "vector": {"name": "", "vector": VECTOR},
        "group_by": "n",
        "group_size": 3,
    }
    search |= {"limit": 10, "with_lookup": {"collection": "lookup"}}
    assert result(http.post(f"{path}/points/search/groups", json=search))["groups"] == groups
    for where, body in (("query", query), ("search", search)):
        url = f"{path}/points/{where}/groups"
        assert "missing field `group_by`" in error(
            http.post(url, json=body | {"group_by": None}), 400
        )
        for name in ("limit", "group_size"):
            text = error(http.post(url, json=body | {name: 0}), 422)
            assert text.endswith(f"[{name}: value 0 invalid, must be 1 or larger]")
        assert "Collection none not found" in error(
            http.post(url, json=body | {"with_lookup": "none"}), 404
        )
        assert "unknown field `offset`" in error(http.post(url, json=body | {"offset": 1}), 400)
    http.delete("/collections/lookup")


def test_old_and_new_names_of_a_search(http: httpx.Client, path: str) -> None:
    new = {"vector": [1, 0, 0, 0], "limit": 2, "with_vector": True, "with_payload": ["n"]}
    old = {"vector": [1, 0, 0, 0], "top": 2, "with_vectors": True, "with_payload": ["n"]}
    found = result(http.post(f"{path}/points/search", json=new))
    assert found == result(http.post(f"{path}/points/search", json=old))
    assert [each["payload"] for each in found] == [{"n": 3}, {"n": 2}]
    batch = {"searches": [new, old]}
    assert result(http.post(f"{path}/points/search/batch", json=batch)) == [found, found]
    text = error(http.post(f"{path}/points/search", json={"vector": VECTOR}), 400)
    assert text == "Format error in JSON body: missing field `limit`"


def test_batches_of_queries(http: httpx.Client, path: str) -> None:
    one = {"query": [1, 0, 0, 0], "limit": 2}
    alone = result(http.post(f"{path}/points/query", json=one))
    other = {"query": {"nearest": 1}, "filter": None, "with_payload": True}
    two = result(http.post(f"{path}/points/query/batch", json={"searches": [one, other]}))
    assert two == [alone, result(http.post(f"{path}/points/query", json=other))]
    wrong = {"searches": [one, {"query": VECTOR, "limit": 0}]}
    text = error(http.post(f"{path}/points/query/batch", json=wrong), 422)
    assert "searches[1].limit: value 0 invalid" in text


def test_a_read_gives_the_same_in_either_lane(http: httpx.Client, path: str) -> None:
    """The first of a kind runs in a thread, later ones in the event loop."""
    body = {"query": VECTOR, "with_payload": True, "with_vector": True}
    answers = [result(http.post(f"{path}/points/query", json=body)) for _ in range(30)]
    assert all(answer == answers[0] for answer in answers)
    lines = http.get("/metrics").text.splitlines()
    taken = {line.split()[0]: float(line.split()[1]) for line in lines if "reads_total{" in line}
    assert taken['vecdb_reads_total{lane="loop"}'] > 0
    assert taken['vecdb_reads_total{lane="thread"}'] > 0


def test_what_a_write_is_told(http: httpx.Client, path: str) -> None:
    body = {"points": [{"id": 5, "vector": VECTOR}]}
    assert result(http.put(f"{path}/points", json=body))["status"] == "acknowledged"
    assert result(http.put(f"{path}/points?wait=false", json=body))["status"] == "acknowledged"
    done = result(http.put(f"{path}/points?wait=true", json=body))
    assert done["status"] == "completed"
    assert isinstance(done["operation_id"], int)


def test_forms_of_points(http: httpx.Client, path: str) -> None:
    twice = [{"id": 6, "vector": [9, 9, 9, 9]}, {"id": 6, "vectors": {"": VECTOR}}]
    put(http, path, *twice)
    assert result(http.get(f"{path}/points/6"))["vector"] == VECTOR
    spelled = "0123456789ABCDEF0123456789abcdef"
    put(http, path, {"id": spelled, "vector": VECTOR, "payload": None})
    found = result(http.get(f"{path}/points/{spelled}"))
    assert found["id"] == "01234567-89ab-cdef-0123-456789abcdef"
    assert found["payload"] == {}
    largest = (1 << 64) - 1
    put(http, path, {"id": largest, "vector": VECTOR})
    assert result(http.get(f"{path}/points/{largest}"))["id"] == largest
    batch = {"batch": {"ids": [7, 8], "vectors": [VECTOR] * 2, "payloads": [{"a": 1}, None]}}
    result(http.put(f"{path}/points", json=batch))
    assert result(http.get(f"{path}/points/7"))["payload"] == {"a": 1}
    assert result(http.post(f"{path}/points/count", json={"exact": False}))["count"] == 8
    wrong = {"points": [{"id": 9, "vector": [1, 2]}]}
    assert "dimension" in error(http.put(f"{path}/points?wait=false", json=wrong), 400)
    wrong = {"points": [{"id": 9}]}
    text = error(http.put(f"{path}/points", json=wrong), 400)
    assert text == "Format error in JSON body: points[0].missing field `vector`"


def test_payloads(http: httpx.Client, path: str) -> None:
    def payload(number: int) -> Any:
        return result(http.get(f"{path}/points/{number}"))["payload"]

    odd = {"n": 10, "null": None, "deep": {"a": [None, True, 1.5, "x"]}}
    result(http.put(f"{path}/points/payload", json={"payload": odd, "points": [1]}))
    assert payload(1) == odd
    body = {"payload": {"b": 2}, "key": "deep", "filter": {"must": [{"has_id": [1]}]}}
    result(http.post(f"{path}/points/payload", json=body))
    assert payload(1)["deep"] == {"a": [None, True, 1.5, "x"], "b": 2}
    body = {"keys": ["deep", "null"], "points": [1], "filter": None}
    result(http.post(f"{path}/points/payload/delete", json=body))
    assert payload(1) == {"n": 10}
    result(http.post(f"{path}/points/payload/clear", json={"points": [1]}))
    assert payload(1) == {}
    text = error(http.post(f"{path}/points/payload", json={"payload": {}}), 400)
    assert text == "Bad request: Either list of point ids or filter must be provided"


def test_deletions(http: httpx.Client, path: str) -> None:
    body = {"filter": {"must": [{"key": "n", "range": {"gte": 2}}]}}
    result(http.post(f"{path}/points/delete", json=body))
    assert result(http.post(f"{path}/points/count", json={}))["count"] == 1
    result(http.post(f"{path}/points/delete", json={"points": [1, 99]}))
    assert result(http.post(f"{path}/points/count", json={}))["count"] == 0


def test_vectors_by_name(http: httpx.Client) -> None:
    sizes = {"a": {"size": 4, "distance": "Dot"}, "b": {"size": 2, "distance": "Euclid"}}
    path = new_collection(http, "named", vectors=sizes)
    put(http, path, {"id": 1, "vector": {"a": VECTOR, "b": [1, 2]}})
    twice = [{"id": 1, "vector": {"b": [3, 4]}}, {"id": 1, "vector": {"a": VECTOR}}]
    result(http.put(f"{path}/points/vectors", json={"points": twice}))
    assert result(http.get(f"{path}/points/1"))["vector"] == {"a": VECTOR, "b": [3, 4]}
    body = {"vector": {"name": "b", "vector": [0, 0]}, "limit": 1}
    [found] = result(http.post(f"{path}/points/search", json=body))
    assert found["score"] == 5.0
    result(http.post(f"{path}/points/vectors/delete", json={"vector": ["b"], "points": [1]}))
    assert result(http.get(f"{path}/points/1"))["vector"] == {"a": VECTOR}
    config = {"dense": {"size": 3, "distance": "Cosine"}}
    result(http.put(f"{path}/vectors/late", json=config))
    params = result(http.get(path))["config"]["params"]["vectors"]
    assert params["late"] == config["dense"]
    result(http.delete(f"{path}/vectors/late"))
    assert result(http.get(path))["config"]["params"]["vectors"].keys() == {"a", "b"}
    http.delete(path)


def test_several_operations_as_one(http: httpx.Client, path: str) -> None:
    operations = [
        {"upsert": {"points": [{"id": 4, "vector": VECTOR, "payload": {"n": 4}}]}},
        {"set_payload": {"payload": {"m": 1}, "points": [4], "filter": None}},
        {"overwrite_payload": {"payload": {"k": 1}, "filter": {"must": [{"has_id": [1]}]}}},
        {"delete_payload": {"keys": ["n"], "points": [4]}},
        {"clear_payload": {"points": [2]}},
        {"update_vectors": {"points": [{"id": 2, "vector": [0, 0, 0, 1]}]}},
        {"delete": {"points": [3]}},
        {"upsert": {"batch": {"ids": [5], "vectors": [VECTOR]}}},
        {"delete_vectors": {"vector": [""], "points": [5]}},
    ]
    told = result(http.post(f"{path}/points/batch?wait=true", json={"operations": operations}))
    assert [each["status"] for each in told] == ["completed"] * len(operations)
    page = result(http.post(f"{path}/points/scroll", json={"with_vector": True}))
    by_id = {each["id"]: each for each in page["points"]}
    assert by_id.keys() == {1, 2, 4, 5}
    assert by_id[4]["payload"] == {"m": 1}
    assert by_id[1]["payload"] == {"k": 1}
    assert by_id[2]["vector"] == [0, 0, 0, 1]
    operations = [{"delete": {"points": [4]}}, {"update_vectors": {"points": [{"id": 4}]}}]
    error(http.post(f"{path}/points/batch", json={"operations": operations}), 400)
    assert result(http.get(f"{path}/points/4"))["id"] == 4  # nothing of it was done


def test_an_upsert_on_a_condition(http: httpx.Client, path: str) -> None:
    body = {
        "points": [{"id": 1, "vector": VECTOR}, {"id": 50, "vector": VECTOR}],
        "update_mode": "insert_only",
    }
    result(http.put(f"{path}/points", json=body))
    assert result(http.get(f"{path}/points/1"))["vector"] == [1, 0, 0, 0.5]
    assert result(http.get(f"{path}/points/50"))["vector"] == VECTOR


# -- collections -----------------------------------------------------------------------------------


def test_the_life_of_a_collection(http: httpx.Client) -> None:
    body = {
        "vectors": {"size": 4, "distance": "Cosine"},
        "shard_number": 1,
        "replication_factor": 1,
        "write_consistency_factor": 1,
        "sharding_method": "auto",
        "init_from": None,
        "on_disk_payload": True,
        "sparse_vectors": {},
        "optimizers_config": {"indexing_threshold_kb": 77},
        "hnsw_config": {"m": 8},
        "quantization": {"scalar": {"type": "int8", "quantile": 0.99}},
        "metadata": {"owner": "tests"},
    }
    assert result(http.put("/collections/life?timeout=20", json=body)) is True
    assert {"name": "life"} in result(http.get("/collections"))["collections"]
    info = result(http.get("/collections/life"))
    assert info["status"] == "green"
    assert info["optimizer_status"] == "ok"
    assert info["segments_count"] >= 1
    assert info["config"]["optimizer_config"]["indexing_threshold"] == 77
    assert info["config"]["hnsw_config"]["m"] == 8
    assert info["config"]["params"]["vectors"] == body["vectors"]
    assert info["config"]["quantization_config"] == body["quantization"]
    assert info["config"]["metadata"] == {"owner": "tests"}
    assert "recall" not in info["config"]["optimizer_config"]
    change = {"optimizers_config": {"indexing_threshold": 5}, "params": {"replication_factor": 1}}
    assert result(http.patch("/collections/life", json=change)) is True
    optimizers = result(http.get("/collections/life"))["config"]["optimizer_config"]
    assert optimizers["indexing_threshold"] == 5
    shard = result(http.get("/collections/life/cluster"))["local_shards"][0]
    assert shard == {"shard_id": 0, "points_count": 0, "state": "Active"}
    assert result(http.get("/collections/life/shards")) == {}
    assert result(http.delete("/collections/life")) is True


@pytest.mark.parametrize("body", [{}, {"vectors": None}, {"vectors": {}, "sparse_vectors": {}}])
def test_a_collection_without_vectors(http: httpx.Client, body: Any) -> None:
    assert result(http.put("/collections/bare", json=body)) is True
    assert result(http.get("/collections/bare"))["config"]["params"]["vectors"] == {}
    put(http, "/collections/bare", {"id": 1, "vector": {}, "payload": {"n": 1}})
    page = result(http.post("/collections/bare/points/scroll", json={"with_vector": True}))
    assert [each["payload"] for each in page["points"]] == [{"n": 1}]
    error(http.post("/collections/bare/points/query", json={"query": VECTOR}), 400)
    assert result(http.delete("/collections/bare")) is True


@pytest.mark.parametrize("name", ["{collection_name}", "a b", "ä%", "a%20b", "x" * 200])
def test_odd_names(http: httpx.Client, name: str) -> None:
    path = f"/collections/{quote(name, safe='')}"
    body = {"vectors": {"size": 4, "distance": "Dot"}}
    assert result(http.put(path, json=body)) is True
    assert result(http.get("/collections")) == {"collections": [{"name": name}]}
    assert result(http.delete(path)) is True


def test_a_written_slash_stays_in_its_name(http: httpx.Client, path: str) -> None:
    assert "`../../c`" in error(http.get("/collections/..%2F..%2Fc"), 404)
    assert result(http.get("/collections///c/"))["points_count"] == 3


def test_aliases(http: httpx.Client, path: str) -> None:
    create = {"create_alias": {"collection_name": "c", "alias_name": "other"}}
    assert result(http.post("/collections/aliases", json={"actions": [create]})) is True
    expected = {"aliases": [{"alias_name": "other", "collection_name": "c"}]}
    assert result(http.get("/aliases")) == expected
    assert result(http.get(f"{path}/aliases")) == expected
    assert result(http.post("/collections/other/points/count", json={}))["count"] == 3
    body = {"vectors": {"size": 4, "distance": "Dot"}}
    text = error(http.put("/collections/other", json=body), 400)
    assert text == "Wrong input: Alias `other` already exists!"
    for number, action in enumerate(
        (
            {"create_alias": {"collection_name": "c", "alias_name": ".."}},
            {"rename_alias": {"old_alias_name": "other", "new_alias_name": "a/b"}},
        )
    ):
        [(kind, fields)] = action.items()
        body = {"actions": [create] * number + [action]}
        text = error(http.post("/collections/aliases", json=body), 422)
        place = f"actions[{number}].{kind}.{list(fields)[-1]}: collection name cannot"
        assert text.startswith(f"Validation error in JSON body: [{place}")
    missing = {"create_alias": {"collection_name": "none", "alias_name": "x"}}
    text = error(http.post("/collections/aliases", json={"actions": [missing]}), 404)
    assert text == "Not found: Collection `none` doesn't exist!"
    assert result(http.get("/collections/aliases/exists")) == {"exists": False}


def test_payload_indexes(http: httpx.Client, path: str) -> None:
    body = {"field_name": "n", "field_schema": "integer"}
    assert result(http.put(f"{path}/index?wait=true", json=body))["status"] == "completed"
    schema = result(http.get(path))["payload_schema"]
    assert schema["n"]["data_type"] == "integer"
    assert schema["n"]["points"] == 3
    result(http.delete(f"{path}/index/n"))
    assert result(http.get(path))["payload_schema"] == {}


def test_what_the_optimizer_does(http: httpx.Client, path: str) -> None:
    found = result(http.get(f"{path}/optimizations?with=queued,%20idle_segments"))
    assert found.keys() == {"summary", "running", "queued", "idle_segments"}
    assert found["idle_segments"][0]["points_count"] == 3
    text = error(http.get(f"{path}/optimizations?with=odd"), 400)
    assert "odd" in text


def test_a_score_threshold_without_scores_is_refused_in_qdrants_words(
    http: httpx.Client, path: str
) -> None:
    # The engine had other words than those that the server knew.
    query = {"score_threshold": 10}
    text = error(http.post(f"{path}/points/query", json=query), 400)
    assert text.startswith("Bad request: A query is needed to use the score_threshold. Can't have")
    query |= {"query": {"order_by": {"key": "n"}}}
    text = error(http.post(f"{path}/points/query", json=query), 400)
    assert text == "Bad request: Can't use score_threshold with an order_by query."


def test_where_the_bytes_are(http: httpx.Client, path: str) -> None:
    memory = result(http.get(f"{path}/memory"))
    assert memory["total"]["ram_bytes"] > 0
    assert memory["vectors"][0]["storage"].keys() == memory["total"].keys()
    assert memory["sparse_vectors"] == []


def test_where_the_bytes_of_each_vector_name_are(http: httpx.Client) -> None:
    """Sparse vectors were in none of the lists."""
    vectors = {"dense": {"size": 8, "distance": "Dot"}, "other": {"size": 4, "distance": "Dot"}}
    body = {"vectors": vectors, "sparse_vectors": {"words": {}}}
    result(http.put("/collections/bytes", json=body))
    vector = {
        "dense": [1.0] * 8,
        "other": [1.0] * 4,
        "words": {"indices": [1, 5], "values": [1.0, 2.0]},
    }
    points = [{"id": n, "vector": vector} for n in range(300)]
    result(http.put("/collections/bytes/points?wait=true", json={"points": points}))
    memory = result(http.get("/collections/bytes/memory"))
    assert memory["other"]["memory_segment"]["ram_bytes"] > 300 * 4 * (8 + 4)
    assert [each["name"] for each in memory["vectors"]] == ["dense", "other"]
    assert [each["name"] for each in memory["sparse_vectors"]] == ["words"]
    keys = {"name", "storage", "index", "quantized"}
    assert all(each.keys() == keys for each in memory["vectors"] + memory["sparse_vectors"])
    result(http.delete("/collections/bytes"))


def test_packed_bodies(http: httpx.Client, path: str) -> None:
    points = [{"id": n, "vector": VECTOR, "payload": {"text": "x" * 50}} for n in range(100, 200)]
    packed = gzip.compress(json.dumps({"points": points}).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    result(http.put(f"{path}/points", content=packed, headers=headers))
    assert result(http.post(f"{path}/points/count", json={}))["count"] == 103
    answer = http.put(f"{path}/points", content=packed[:-9], headers=headers)
    assert "gzip" in error(answer, 400)
    headers["content-encoding"] = "br"
    assert "gzip" in error(http.put(f"{path}/points", content=packed, headers=headers), 400)
