"""``vecdb serve``: numbers out of their range have status 422, as programs that look for it expect;
what is no number of that kind has 400. The ranges are those of Qdrant's server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from serving import error, new_collection, serving

VECTOR = [0.1, 0.2, 0.3, 0.4]
CREATE = {"vectors": {"size": 4, "distance": "Dot"}}
NAMED = {"vectors": {"a": {"size": 4, "distance": "Dot"}}}
QUERY = {"query": VECTOR}
SEARCH = {"vector": VECTOR, "limit": 3}
GROUPS = {"query": VECTOR, "group_by": "n"}
SEARCH_GROUPS = {"vector": VECTOR, "group_by": "n", "limit": 3, "group_size": 2}
MMR = {"query": {"nearest": VECTOR, "mmr": {}}}

# Method, path, a body that is well but for one field, the path to that field; the least and the
# largest it may be, of which either may be None.
RANGES: list[tuple[str, str, dict[str, Any], str, float | None, float | None]] = [
    ("PUT", "/new", CREATE, "vectors.size", 1, 65_536),
    ("PUT", "/new", NAMED, "vectors.a.size", 1, 65_536),
    ("PUT", "/new", CREATE, "shard_number", 1, None),
    ("PUT", "/new", CREATE, "replication_factor", 1, None),
    ("PUT", "/new", CREATE, "write_consistency_factor", 1, None),
    ("PUT", "/new", CREATE, "wal_config.wal_capacity_mb", 1, None),
    ("PUT", "/new", CREATE, "wal_config.wal_retain_closed", 1, None),
    ("PUT", "/new", CREATE, "vectors.hnsw_config.ef_construct", 4, None),
    ("PUT", "/new", CREATE, "vectors.quantization_config.scalar.quantile", 0.5, 1.0),
    ("PUT", "/new", NAMED, "vectors.a.hnsw_config.full_scan_threshold", 10, None),
    ("PUT", "/new", NAMED, "vectors.a.quantization_config.scalar.quantile", 0.5, 1.0),
    *(
        (method, path, body, field, low, high)
        for method, path, body in (("PUT", "/new", CREATE), ("PATCH", "/c", {}))
        for field, low, high in (
            ("hnsw_config.ef_construct", 4, None),
            ("hnsw_config.full_scan_threshold", 10, None),
            ("optimizers_config.deleted_threshold", 0.0, 1.0),
            ("optimizers_config.vacuum_min_vector_number", 100, None),
            ("optimizers_config.max_segment_size", 1, None),
            ("quantization_config.scalar.quantile", 0.5, 1.0),
        )
    ),
    ("PATCH", "/c", {}, "params.replication_factor", 1, None),
    ("PATCH", "/c", {}, "params.write_consistency_factor", 1, None),
    ("PATCH", "/c", {}, "params.read_fan_out_factor", 1, None),
    ("PUT", "/c/vectors/new", {"dense": {"distance": "Dot"}}, "dense.size", 1, 65_536),
    *(
        ("POST", path, body, field, low, high)
        for path, body in (
            ("/c/points/query", QUERY),
            ("/c/points/query/groups", GROUPS),
            ("/c/points/search", SEARCH),
            ("/c/points/search/groups", SEARCH_GROUPS),
        )
        for field, low, high in (
            ("limit", 1, None),
            ("params.hnsw_ef", 1, None),
            ("params.quantization.oversampling", 1.0, None),
            ("params.acorn.max_selectivity", 0.0, 1.0),
        )
    ),
    ("POST", "/c/points/query/groups", GROUPS, "group_size", 1, None),
    ("POST", "/c/points/search/groups", SEARCH_GROUPS, "group_size", 1, None),
    ("POST", "/c/points/query", MMR, "query.mmr.diversity", 0.0, 1.0),
    ("POST", "/c/points/query", MMR, "query.mmr.candidates_limit", None, 16_384),
    ("POST", "/c/points/scroll", {}, "limit", 1, None),
    ("POST", "/c/facet", {"key": "n"}, "limit", 1, None),
]


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        serving(tmp_path_factory.mktemp("ranges") / "db", "--sync", "never") as server,
        server.http() as client,
    ):
        new_collection(client, "c")
        yield client


def with_field(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of a body in which the field has that value."""
    name, _, rest = path.partition(".")
    new = with_field(body.get(name, {}), rest, value) if rest else value
    if name == "scalar" and rest:
        new = {"type": "int8", **new}
    return {**body, name: new}


@pytest.mark.parametrize("case", RANGES, ids=lambda case: " ".join(map(str, (*case[:2], case[3]))))
def test_a_number_out_of_its_range(http: httpx.Client, case: Any) -> None:
    method, path, body, field, low, high = case

    def send(value: Any) -> httpx.Response:
        return http.request(method, f"/collections{path}", json=with_field(body, field, value))

    whole = isinstance(high if low is None else low, int)
    if low is not None and (low > 0 or not whole):
        below = low - 1 if whole else low - 0.25
        text = error(send(below), 422)
        assert text.startswith("Validation error in JSON body: [")
        assert f"{field.rpartition('.')[2]}: value {below} invalid, must be " in text
    if high is not None:
        assert error(send(high + 1), 422).startswith("Validation error in JSON body: [")
    for wrong in (-1, "many", [1]) if whole else ("many", [1]):
        assert error(send(wrong), 400)
    assert http.get("/collections/new/exists").json()["result"]["exists"] is False


@pytest.mark.parametrize("path", ["/c/points/query/batch", "/c/points/search/batch"])
def test_a_batch_says_which_of_its_searches(http: httpx.Client, path: str) -> None:
    wrong = {**(QUERY if "query" in path else SEARCH), "limit": 0}
    right = {**wrong, "limit": 1}
    answer = http.post(f"/collections{path}", json={"searches": [right, wrong]})
    problem = "[searches[1].limit: value 0 invalid, must be 1 or larger]"
    assert error(answer, 422) == f"Validation error in JSON body: {problem}"


@pytest.mark.parametrize(
    ("method", "path", "body", "problem"),
    [
        ("PUT", "/points/vectors", {"points": []}, "points: must specify points to update"),
        (
            "POST",
            "/points/vectors/delete",
            {"vector": [], "points": [1]},
            "vector: must specify vector names to delete",
        ),
        (
            "POST",
            "/points/batch",
            {"operations": [{"delete_vectors": {"vector": [], "points": [1]}}]},
            "operations[0].delete_vectors.vector: must specify vector names to delete",
        ),
        (
            "POST",
            "/points/count",
            {"filter": {"min_should": {"conditions": [], "min_count": 0}}},
            "min_count must be greater than 0",
        ),
    ],
)
def test_what_must_not_be_empty(
    http: httpx.Client, method: str, path: str, body: dict[str, Any], problem: str
) -> None:
    answer = http.request(method, f"/collections/c{path}", json=body)
    assert error(answer, 422) == f"Validation error in JSON body: [{problem}]"
