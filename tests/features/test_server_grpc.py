"""``vecdb serve``: gRPC over both engines: who may call what, limits, deadlines, health."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import numpy as np
import pytest
from qdrant_client import grpc as q
from serving import Server, log_of, new_collection, put, result, serving, start

from vecdb.errors import InvalidInputError
from vecdb.server.grpc.methods import METHODS, Method
from vecdb.server.settings import API_VERSION, address_of
from vecdb.server.table import Right

WRITE, READ = "may-do-everything", "may-read"
KEYS = {"VECDB_API_KEY": WRITE, "VECDB_READ_ONLY_API_KEY": READ}
ENGINES = ("grpcio", "h2")
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

Code = grpc.StatusCode


@pytest.fixture(scope="module", params=ENGINES)
def server(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp(request.param) / "db"
    with serving(
        directory,
        *("--grpc-port", "0", "--grpc-engine", request.param),
        *("--max-body-mb", "1", "--sync", "never", "--access-log"),
        environment=KEYS,
    ) as running:
        with running.http(WRITE) as http:
            put(
                http,
                new_collection(http, "c"),
                *(
                    {"id": n, "vector": [1, 2, 3, n], "payload": {"n": n, "text": "x" * 99}}
                    for n in range(20)
                ),
            )
        yield running


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc, options=UNLIMITED) as opened:
        yield opened


def call(
    channel: grpc.Channel, path: str, data: bytes = b"", key: str | None = WRITE, **options: Any
) -> bytes:
    """Bytes for bytes."""
    metadata = () if key is None else (("api-key", key),)
    options.setdefault("metadata", metadata)
    options.setdefault("timeout", 60)
    answer: bytes = channel.unary_unary(path)(data, **options)
    return answer


def refused(code: grpc.StatusCode, function: Callable[..., Any], *given: Any, **named: Any) -> str:
    """The text of a refusal."""
    with pytest.raises(grpc.RpcError) as caught:
        function(*given, **named)
    assert caught.value.code() is code, caught.value
    text: str = caught.value.details()
    return text


def code_of(channel: grpc.Channel, *given: Any) -> grpc.StatusCode:
    try:
        call(channel, *given)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return Code.OK


def count(channel: grpc.Channel, key: str | None = WRITE, **options: Any) -> int:
    data = q.CountPoints(collection_name="c", exact=True).SerializeToString()
    answer = call(channel, "/qdrant.Points/Count", data, key, **options)
    found: int = q.CountResponse.FromString(answer).result.count
    return found


# -- keys ------------------------------------------------------------------------------------------


def harmless(method: Method) -> bytes:
    """A request that changes nothing, even if it is allowed: what it names is not there."""
    message = method.request()
    if "collection_name" in method.fields:
        message.collection_name = "none"
    if method.operation.name == "create_collection":
        message.collection_name = "/"
    answer: bytes = message.SerializeToString()
    return answer


_NO_PATH = q.WithPayloadSelector(include=q.PayloadIncludeSelector(fields=["a["]))


@pytest.mark.parametrize("path", [path for path in METHODS if not path.endswith("/CreateFull")])
def test_every_method_with_every_key(channel: grpc.Channel, path: str) -> None:
    method = METHODS[path]
    data, right = harmless(method), method.operation.right
    if right is Right.OPEN:
        for key in (None, READ, WRITE):
            call(channel, path, data, key)
    else:
        text = refused(Code.UNAUTHENTICATED, call, channel, path, data, None)
        assert text == "Must provide an API key or an Authorization bearer token"
    assert refused(Code.UNAUTHENTICATED, call, channel, path, data, "x") == (
        "Invalid API key or JWT"
    )
    if right > Right.READ:
        text = refused(Code.PERMISSION_DENIED, call, channel, path, data, READ)
        if right is Right.WRITE:
            assert text == "Forbidden: Write access to collection none is required"
        else:
            assert text == "Forbidden: Global manage access is required"
    keys = (WRITE,) if right > Right.READ else (WRITE, READ)
    for key in keys:
        assert code_of(channel, path, data, key) in (
            *(Code.OK, Code.NOT_FOUND, Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED),
        )


def test_rights_are_those_of_http() -> None:
    """The table, looked at by somebody who does not trust it."""
    reading = {
        *("Get", "List", "ListCollectionAliases", "ListAliases", "CollectionClusterInfo"),
        *("CollectionExists", "ListShardKeys", "Search", "SearchBatch", "SearchGroups", "Scroll"),
        *("Recommend", "RecommendBatch", "RecommendGroups", "Discover", "DiscoverBatch", "Count"),
        *("Query", "QueryBatch", "QueryGroups", "Facet", "SearchMatrixPairs"),
        *("SearchMatrixOffsets", "ListFull"),
    }
    for path, method in METHODS.items():
        name = path.rpartition("/")[2]
        if name in ("HealthCheck", "Check"):
            assert method.operation.right is Right.OPEN
        else:
            assert (method.operation.right is Right.READ) is (name in reading), path


def test_a_bearer_token_is_a_key(channel: grpc.Channel) -> None:
    assert count(channel, metadata=(("authorization", f"Bearer {READ}"),)) == 20


def test_keys_are_not_in_the_log(server: Server, channel: grpc.Channel) -> None:
    count(channel, metadata=(("api-key", READ), ("x-request-id", "0815")))
    text = log_of(Path(server.log.with_suffix(""))).read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    [line] = [line for line in lines if line.get("x-request-id") == "0815"]
    assert line["path"] == "/qdrant.Points/Count"
    assert (line["method"], line["status"], line["client"]) == ("gRPC", 0, "127.0.0.1")
    assert WRITE not in text
    assert READ not in text


# -- what is no method, no message -----------------------------------------------------------------


def test_unknown_methods(channel: grpc.Channel) -> None:
    for path in ("/qdrant.Points/Nothing", "/qdrant.PointsInternal/Upsert", "/x"):
        refused(Code.UNAUTHENTICATED, call, channel, path, key=None)
        assert refused(Code.UNIMPLEMENTED, call, channel, path) == f"there is no method {path}"


def test_bytes_that_are_no_message(channel: grpc.Channel) -> None:
    text = refused(Code.INVALID_ARGUMENT, call, channel, "/qdrant.Points/Count", b"\xff\xff")
    assert text == "Format error in body: expected a message qdrant.CountPoints"


def _newer(message: Any) -> Any:
    """The message with one more field, as a newer client may send it."""
    made = type(message)()
    made.ParseFromString(message.SerializeToString() + bytes([15 << 3 | 2, 2, 8, 1]))
    return made


def _selector(*must: Any) -> Any:
    return q.PointsSelector(filter=q.Filter(must=must))


_RANGE = q.FieldCondition(key="n", range=_newer(q.Range(gt=0)))
_EVERY = q.Filter(must=[q.Condition(has_id=q.HasIdCondition(has_id=[q.PointId(num=1)]))])
_OPERATION = q.PointsUpdateOperation
_PLAIN = q.PointStruct(id=q.PointId(num=1), vectors=q.Vectors(vector=q.Vector(data=[1, 2, 3, 4])))


@pytest.mark.parametrize(
    ("path", "message", "where"),
    [
        ("Delete", _newer(q.DeletePoints(points=q.PointsSelector(filter=_EVERY))), "DeletePoints"),
        ("Delete", q.DeletePoints(points=q.PointsSelector(filter=_newer(_EVERY))), "Filter"),
        ("Delete", q.DeletePoints(points=_newer(_selector())), "PointsSelector"),
        ("Delete", q.DeletePoints(points=_selector(_newer(q.Condition()))), "Condition"),
        ("Delete", q.DeletePoints(points=_selector(q.Condition(field=_RANGE))), "Range"),
        ("SetPayload", q.SetPayloadPoints(points_selector=_newer(_selector())), "PointsSelector"),
        ("Upsert", q.UpsertPoints(points=[_newer(_PLAIN)]), "PointStruct"),
        ("Upsert", q.UpsertPoints(points=[_PLAIN], update_filter=_newer(_EVERY)), "Filter"),
        (
            "UpdateBatch",
            q.UpdateBatchPoints(
                operations=[
                    _OPERATION(delete_points=_OPERATION.DeletePoints(points=_newer(_selector())))
                ]
            ),
            "PointsSelector",
        ),
    ],
)
def test_a_newer_field_of_what_changes_points(
    channel: grpc.Channel, path: str, message: Any, where: str
) -> None:
    """It was passed over, and more was deleted than was meant."""
    message.collection_name, message.wait = "c", True
    data = message.SerializeToString()
    text = refused(Code.INVALID_ARGUMENT, call, channel, f"/qdrant.Points/{path}", data)
    assert text == f"Format error in body: {where}: unknown field number 15"
    assert count(channel) == 20


def test_a_newer_field_of_a_read(channel: grpc.Channel) -> None:
    data = _newer(q.CountPoints(collection_name="c")).SerializeToString()
    answer = q.CountResponse.FromString(call(channel, "/qdrant.Points/Count", data))
    assert answer.result.count == 20


_A_FIELD = q.FieldCondition(key="a", match=q.Match(keyword="b"))


@pytest.mark.parametrize(
    ("path", "message", "where"),
    [
        ("Count", q.CountPoints(filter=_newer(_EVERY)), "Filter"),
        ("Count", q.CountPoints(filter=q.Filter(must=[q.Condition(field=_RANGE)])), "Range"),
        (
            "Query",
            q.QueryPoints(
                prefetch=[q.PrefetchQuery(filter=q.Filter(must=[_newer(q.Condition())]))]
            ),
            "Condition",
        ),
        (
            "Search",
            q.SearchPoints(
                vector=[1, 2, 3, 4],
                limit=1,
                filter=q.Filter(must_not=[q.Condition(field=_newer(_A_FIELD))]),
            ),
            "FieldCondition",
        ),
        ("Scroll", q.ScrollPoints(order_by=_newer(q.OrderBy(key="a"))), "OrderBy"),
        (
            "Get",
            q.GetPoints(
                ids=[q.PointId(num=1)],
                with_payload=q.WithPayloadSelector(
                    include=_newer(q.PayloadIncludeSelector(fields=["a"]))
                ),
            ),
            "PayloadIncludeSelector",
        ),
        (
            "QueryGroups",
            q.QueryPointGroups(group_by="a", with_lookup=_newer(q.WithLookup(collection="c"))),
            "WithLookup",
        ),
    ],
)
def test_a_newer_field_of_what_chooses(
    channel: grpc.Channel, path: str, message: Any, where: str
) -> None:
    """A newer bound of a filter was passed over, and more was found than was asked for."""
    message.collection_name = "c"
    data = message.SerializeToString()
    text = refused(Code.INVALID_ARGUMENT, call, channel, f"/qdrant.Points/{path}", data)
    assert text == f"Format error in body: {where}: unknown field number 15"


@pytest.mark.parametrize(
    ("path", "message", "code", "text"),
    [
        (
            "Collections/Create",
            q.CreateCollection(collection_name=".."),
            Code.INVALID_ARGUMENT,
            "Validation error in body: [collection_name: collection name cannot be '..']",
        ),
        (
            "Collections/Create",
            q.CreateCollection(
                collection_name="pinned", payload=q.PayloadStorageParams(memory=q.Memory.Pinned)
            ),
            Code.INVALID_ARGUMENT,
            "Validation error in body: [payload.memory: `pinned` memory placement is not supported",
        ),
        (
            "Points/Search",
            q.SearchPoints(collection_name="c", vector=[1, 2, 3, 4]),
            Code.INVALID_ARGUMENT,
            "Validation error in body: [limit: value 0 invalid, must be 1 or larger]",
        ),
        (
            "Points/Search",
            q.SearchPoints(collection_name="c", vector=[1, 2, 3], limit=1),
            Code.INVALID_ARGUMENT,
            "Wrong input: Vector dimension error: expected dim: 4, got 3; ",
        ),
        (
            "Points/Search",
            q.SearchPoints(collection_name="c", vector=[1, 2, 3, 4], limit=1, vector_name="x"),
            Code.INVALID_ARGUMENT,
            "Wrong input: Not existing vector name error: x",
        ),
        (
            "Points/Count",
            q.CountPoints(collection_name="ä%☃"),
            Code.NOT_FOUND,
            "Not found: Collection `ä%☃` doesn't exist!",
        ),
        (
            "Points/Get",
            q.GetPoints(collection_name="c", ids=[q.PointId(uuid="x")]),
            Code.INVALID_ARGUMENT,
            'Wrong input: Can not recognize "x" as point id; ',
        ),
        (
            "Points/Get",
            q.GetPoints(collection_name="c", timeout=0),
            Code.INVALID_ARGUMENT,
            "Validation error in body: [timeout: value 0 invalid, must be 1 or larger]",
        ),
        (
            "Points/Count",
            q.CountPoints(collection_name="c", read_consistency=q.ReadConsistency(factor=0)),
            Code.INVALID_ARGUMENT,
            "Wrong input: read_consistency: ",
        ),
        (
            "Points/Delete",
            q.DeletePoints(collection_name="c", ordering=q.WriteOrdering(type=7)),
            Code.INVALID_ARGUMENT,
            "Wrong input: ordering: ",
        ),
        (
            "Points/Delete",
            q.DeletePoints(collection_name="c"),
            Code.INVALID_ARGUMENT,
            "Bad request: Either list of point ids or filter must be provided",
        ),
        (
            "Points/Count",
            q.CountPoints(
                collection_name="c",
                shard_key_selector=q.ShardKeySelector(shard_keys=[q.ShardKey(keyword="x")]),
            ),
            Code.INVALID_ARGUMENT,
            "",
        ),
        (
            "Points/SearchMatrixPairs",
            q.SearchMatrixPoints(collection_name="c", sample=1),
            Code.INVALID_ARGUMENT,
            "Validation error in body: [sample: value 1 invalid, must be 2 or larger]",
        ),
        (
            "Points/Facet",
            q.FacetCounts(collection_name="c", key="n", limit=0),
            Code.INVALID_ARGUMENT,
            "Validation error in body: [limit: value 0 invalid, must be 1 or larger]",
        ),
        (
            "Points/SearchGroups",
            q.SearchPointGroups(collection_name="c", vector=[1.0] * 4, limit=1, group_by="n"),
            Code.INVALID_ARGUMENT,
            "Validation error in body: [group_size: value 0 invalid, must be 1 or larger]",
        ),
        (
            "Collections/Create",
            q.CreateCollection(
                collection_name="c",
                vectors_config=q.VectorsConfig(params=q.VectorParams(size=4, distance=1)),
            ),
            Code.ALREADY_EXISTS,
            "Wrong input: Collection `c` already exists!",
        ),
        (
            "Collections/Create",
            q.CreateCollection(
                collection_name="d",
                vectors_config=q.VectorsConfig(params=q.VectorParams(size=0, distance=1)),
            ),
            Code.INVALID_ARGUMENT,
            "Validation error in body: [vectors.size: value 0 invalid, must be from 1 to 65536]",
        ),
        (
            "Points/SearchBatch",
            q.SearchBatchPoints(collection_name="c", search_points=[q.SearchPoints(vector=[1])]),
            Code.INVALID_ARGUMENT,
            "Validation error in body: [search_points[0].limit: ",
        ),
        (
            "Points/QueryBatch",
            q.QueryBatchPoints(
                collection_name="c",
                query_points=[q.QueryPoints(), q.QueryPoints(with_payload=_NO_PATH)],
            ),
            Code.INVALID_ARGUMENT,
            "Wrong input: query_points[1].with_payload.include: ",
        ),
        (
            "Points/RecommendBatch",
            q.RecommendBatchPoints(
                collection_name="c",
                recommend_points=[q.RecommendPoints(positive=[q.PointId(num=77)], limit=1)],
            ),
            Code.NOT_FOUND,
            "Not found: No point with id 77 found; recommend_points[0].positive[0]: ",
        ),
        (
            "Collections/CreateShardKey",
            q.CreateShardKeyRequest(collection_name="c"),
            Code.UNIMPLEMENTED,
            "Qdrant is running in standalone mode",
        ),
        (
            "Snapshots/Delete",
            q.DeleteSnapshotRequest(collection_name="c", snapshot_name="../x"),
            Code.INVALID_ARGUMENT,
            "Wrong input: snapshot_name: ",
        ),
        (
            "Snapshots/Delete",
            q.DeleteSnapshotRequest(collection_name="c", snapshot_name="c-1.snapshot"),
            Code.NOT_FOUND,
            "Not found: Snapshot c-1.snapshot not found",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" in value else "",
)
def test_codes_and_words(
    channel: grpc.Channel, path: str, message: Any, code: grpc.StatusCode, text: str
) -> None:
    found = refused(code, call, channel, f"/qdrant.{path}", message.SerializeToString())
    assert found.startswith(text), found


# -- limits ----------------------------------------------------------------------------------------


def upsert(size: int) -> bytes:
    point = q.PointStruct(
        id=q.PointId(num=99),
        vectors=q.Vectors(vector=q.Vector(data=[1, 2, 3, 4])),
        payload={"text": q.Value(string_value="x" * size)},
    )
    return q.UpsertPoints(collection_name="c", points=[point], wait=True).SerializeToString()


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_large_messages(channel: grpc.Channel, compression: Any) -> None:
    path = "/qdrant.Points/Upsert"
    refused(
        Code.RESOURCE_EXHAUSTED, call, channel, path, upsert((1 << 20) + 1), compression=compression
    )
    call(channel, path, upsert((1 << 20) - 1000), compression=compression)
    data = q.GetPoints(
        collection_name="c",
        ids=[q.PointId(num=99)],
        with_payload=q.WithPayloadSelector(enable=True),
    ).SerializeToString()
    found = q.GetResponse.FromString(call(channel, "/qdrant.Points/Get", data)).result[0]
    assert len(found.payload["text"].string_value) == (1 << 20) - 1000
    data = q.DeletePoints(
        collection_name="c",
        wait=True,
        points=q.PointsSelector(points=q.PointsIdsList(ids=[q.PointId(num=99)])),
    ).SerializeToString()
    answer = q.PointsOperationResponse.FromString(call(channel, "/qdrant.Points/Delete", data))
    assert answer.result.status == q.UpdateStatus.Completed
    assert count(channel) == 20


@pytest.mark.parametrize(
    ("address", "encodings", "packed"),
    [
        ("127.0.0.2", "identity, gzip", True),
        ("127.0.0.2", "identity", False),
        ("127.0.0.1", "identity, gzip", False),
    ],
)
def test_long_answers_for_other_machines_are_compressed(
    server: Server, address: str, encodings: str, packed: bool
) -> None:
    message = q.ScrollPoints(
        collection_name="c", with_vectors=q.WithVectorsSelector(enable=True), limit=20
    ).SerializeToString()
    transport = httpx.HTTPTransport(
        http1=False, http2=True, local_address=address, verify=ssl.create_default_context()
    )
    headers = {
        "content-type": "application/grpc",
        "te": "trailers",
        "api-key": READ,
        "grpc-accept-encoding": encodings,
    }
    with httpx.Client(transport=transport, trust_env=False) as http:
        answer = http.post(
            f"http://{server.grpc}/qdrant.Points/Scroll",
            headers=headers,
            content=struct.pack(">BI", 0, len(message)) + message,
        )
    assert answer.status_code == 200
    flag, length = struct.unpack(">BI", answer.content[:5])
    data = answer.content[5:]
    assert (flag, length) == (packed, len(data))
    if packed:
        assert answer.headers["grpc-encoding"] == "gzip"
    found = q.ScrollResponse.FromString(gzip.decompress(data) if packed else data)
    assert len(found.result) == 20


def test_many_calls_at_once(server: Server) -> None:
    async def many() -> list[int]:
        async with grpc.aio.insecure_channel(server.grpc) as opened:
            method = opened.unary_unary("/qdrant.Points/Count")
            data = q.CountPoints(collection_name="c").SerializeToString()
            answers = await asyncio.gather(
                *(method(data, metadata=(("api-key", READ),)) for _ in range(200))
            )
        return [q.CountResponse.FromString(each).result.count for each in answers]

    assert asyncio.run(many()) == [20] * 200


@pytest.mark.parametrize("engine", ENGINES)
def test_too_many_calls_at_once(tmp_path: Path, engine: str) -> None:
    options = ("--grpc-port", "0", "--grpc-engine", engine, "--max-in-flight", "1")
    with serving(tmp_path / "db", *options, "--sync", "always") as running:
        with running.http() as http:
            new_collection(http, "c")

        async def many() -> list[grpc.StatusCode | None]:
            async with grpc.aio.insecure_channel(running.grpc) as opened:
                method = opened.unary_unary("/qdrant.Points/Upsert")
                calls = [method(upsert(10)) for _ in range(40)]
                return [await each.code() for each in calls]

        codes = asyncio.run(many())
        assert set(codes) == {Code.OK, Code.UNAVAILABLE}
        with grpc.insecure_channel(running.grpc) as opened:
            call(opened, "/qdrant.Points/Upsert", upsert(10))  # all places are free again


# -- older clients ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "older"),
    [("python-client/1.15.1", True), ("go-client/1.9.0", True), ("python-client/1.16.0", False)],
)
def test_older_clients_get_vectors_in_the_form_they_know(
    server: Server, agent: str, older: bool
) -> None:
    vectors = q.WithVectorsSelector(enable=True)
    nearest = q.Query(nearest=q.VectorInput(dense=q.DenseVector(data=[1, 2, 3, 4])))
    query = q.QueryPoints(collection_name="c", query=nearest, with_vectors=vectors, limit=1)
    batch = q.QueryBatchPoints(collection_name="c", query_points=[query])
    page = q.ScrollPoints(collection_name="c", with_vectors=vectors, limit=1)
    lookup = q.WithLookup(collection="c", with_vectors=vectors)
    more: Any = {
        "collection_name": "c",
        "group_by": "n",
        "with_lookup": lookup,
        "with_vectors": vectors,
    }
    groups = q.QueryPointGroups(query=nearest, **more)
    old_groups = q.SearchPointGroups(vector=[1, 2, 3, 4], limit=10, group_size=3, **more)
    options = [("grpc.primary_user_agent", agent)]
    with grpc.insecure_channel(server.grpc, options=options) as opened:
        found = [
            q.QueryResponse.FromString(
                call(opened, "/qdrant.Points/Query", query.SerializeToString())
            ).result[0],
            q.QueryBatchResponse.FromString(
                call(opened, "/qdrant.Points/QueryBatch", batch.SerializeToString())
            )
            .result[0]
            .result[0],
            q.ScrollResponse.FromString(
                call(opened, "/qdrant.Points/Scroll", page.SerializeToString())
            ).result[0],
        ]
        in_groups = q.QueryGroupsResponse.FromString(
            call(opened, "/qdrant.Points/QueryGroups", groups.SerializeToString())
        ).result
        as_before = q.SearchGroupsResponse.FromString(
            call(opened, "/qdrant.Points/SearchGroups", old_groups.SerializeToString())
        ).result
    assert as_before == in_groups
    assert len(in_groups.groups) == 10
    found += [in_groups.groups[0].hits[0], in_groups.groups[0].lookup]
    for point in found:
        vector = point.vectors.vector
        assert len(vector.dense.data) == 4
        assert list(vector.data) == (list(vector.dense.data) if older else [])


# -- deadlines and cancelled calls -----------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_deadlines_and_cancelled_calls_leave_nothing_behind(tmp_path: Path, engine: str) -> None:
    with serving(tmp_path / "db", "--grpc-port", "0", "--grpc-engine", engine) as running:
        vectors = np.random.default_rng(1).standard_normal((2000, 64)).astype(np.float32)
        with running.http() as http:
            config = {"size": 64, "distance": "Dot"}
            result(http.put("/collections/c", json={"vectors": config}))
            ids = list(range(len(vectors)))
            batch = {"ids": ids, "vectors": vectors.tolist()}
            result(http.put("/collections/c/points", json={"batch": batch}))
            searches = [
                q.SearchPoints(
                    vector=vector, limit=200, with_vectors=q.WithVectorsSelector(enable=True)
                )
                for vector in vectors[:80].tolist()
            ]
            data = q.SearchBatchPoints(collection_name="c", search_points=searches)
            with grpc.insecure_channel(running.grpc, options=UNLIMITED) as opened:
                method = opened.unary_unary("/qdrant.Points/SearchBatch")
                with pytest.raises(grpc.RpcError) as caught:
                    method(data.SerializeToString(), timeout=0.05)
                assert caught.value.code() is Code.DEADLINE_EXCEEDED
                future = method.future(data.SerializeToString(), timeout=60)
                time.sleep(0.05)
                future.cancel()
                whole = method(data.SerializeToString(), timeout=60)
            answers = q.SearchBatchResponse.FromString(whole).result
            assert [len(each.result) for each in answers] == [200] * 80
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                metrics = dict(
                    line.rsplit(" ", 1)
                    for line in http.get("/metrics").text.splitlines()
                    if not line.startswith("#")
                )
                if metrics["vecdb_in_flight"] == "1" and metrics["vecdb_reads_waiting"] == "0":
                    break  # this very request
                time.sleep(0.1)
            assert metrics["vecdb_in_flight"] == "1"
            assert metrics["vecdb_reads_waiting"] == "0"


# -- health, telemetry -----------------------------------------------------------------------------


def test_health(channel: grpc.Channel) -> None:
    answer = call(channel, "/qdrant.Qdrant/HealthCheck", key=None)
    reply = q.HealthCheckReply.FromString(answer)
    assert (reply.title, reply.version) == ("qdrant - vector search engine", API_VERSION)
    assert len(reply.commit) == 40
    path = "/grpc.health.v1.Health/Check"
    assert call(channel, path, key=None) == b"\x08\x01"  # serving
    assert call(channel, path, b"\x0a\x0dqdrant.Points", key=None) == b"\x08\x01"
    refused(Code.NOT_FOUND, call, channel, path, b"\x0a\x01x")


def test_calls_are_counted(server: Server, channel: grpc.Channel) -> None:
    def counted(http: Any, status: str) -> int:
        requests = result(http.get("/telemetry"))["requests"]
        assert not any("qdrant" in endpoint for endpoint in requests["rest"]["responses"])
        of_method = requests["grpc"]["responses"].get("/qdrant.Points/Count", {})
        found: int = of_method.get(status, {"count": 0})["count"]
        return found

    with server.http(WRITE) as http:
        before = counted(http, "0"), counted(http, "5")
        count(channel)
        none = q.CountPoints(collection_name="none").SerializeToString()
        refused(Code.NOT_FOUND, call, channel, "/qdrant.Points/Count", none)
        assert (counted(http, "0"), counted(http, "5")) == (before[0] + 1, before[1] + 1)
        text = http.get("/metrics").text
        assert 'grpc_responses_total{endpoint="/qdrant.Points/Count",status="0"}' in text
        assert 'endpoint="/qdrant' not in "".join(
            line for line in text.splitlines() if line.startswith("rest_")
        )


# -- the process -----------------------------------------------------------------------------------


def test_where_grpc_is(tmp_path: Path) -> None:
    def printed(*options: str, **environment: str) -> str:
        process = start(tmp_path / "db", *options, environment=environment)
        assert process.stdout is not None
        if "--json" in options:
            lines = "".join(iter(process.stdout.readline, "}\n")) + "}"
        else:
            lines = process.stdout.readline() + process.stdout.readline()
        process.terminate()
        process.communicate()
        assert process.returncode == 0
        return lines

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    assert "gRPC" not in printed("--no-grpc")
    assert f"gRPC is at 127.0.0.1:{port}. " in printed("--grpc-port", port)
    named = printed("--json", "--grpc-port", port)
    assert json.loads(named)["grpc"] == f"127.0.0.1:{port}"
    assert "grpc" not in json.loads(printed("--json", "--no-grpc"))


def test_the_port_of_the_environment() -> None:
    assert address_of({"QDRANT__SERVICE__GRPC_PORT": "7"}) == ("127.0.0.1", 6333, 7)
    assert address_of({"QDRANT__SERVICE__GRPC_PORT": ""}) == ("127.0.0.1", 6333, None)
    for wrong in ("x", "²", "1" * 5000):
        with pytest.raises(InvalidInputError, match="QDRANT__SERVICE__GRPC_PORT: expected a port"):
            address_of({"QDRANT__SERVICE__GRPC_PORT": wrong})


@pytest.mark.parametrize("engine", ENGINES)
def test_a_port_that_is_taken(tmp_path: Path, engine: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        process = start(tmp_path / "db", "--grpc-port", port, "--grpc-engine", engine)
        assert process.wait(60) != 0
        assert process.stdout is not None
        process.stdout.close()
    assert port in log_of(tmp_path / "db").read_text()
    assert not (tmp_path / "db").exists()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_calls_under_way_end_before_the_server(
    tmp_path: Path, engine: str, number: signal.Signals
) -> None:
    with serving(tmp_path / "db", "--grpc-port", "0", "--grpc-engine", engine) as running:
        with running.http() as http:
            new_collection(http, "c")
        told: list[int] = []

        def write() -> None:
            with grpc.insecure_channel(running.grpc) as opened:
                for n in range(100_000):
                    point = q.PointStruct(
                        id=q.PointId(num=n), vectors=q.Vectors(vector=q.Vector(data=[1, 2, 3, n]))
                    )
                    data = q.UpsertPoints(collection_name="c", points=[point], wait=True)
                    try:
                        call(opened, "/qdrant.Points/Upsert", data.SerializeToString())
                    except grpc.RpcError:
                        return
                    told.append(n)

        writers = [threading.Thread(target=write) for _ in range(3)]
        for each in writers:
            each.start()
        while len(told) < 20:
            time.sleep(0.01)
        assert running.stop(number) == 0
        for each in writers:
            each.join(60)
    with serving(tmp_path / "db") as running, running.http() as http:
        body = {"ids": sorted(set(told))}
        assert len(result(http.post("/collections/c/points", json=body))) == len(set(told))


@pytest.mark.parametrize("engine", ENGINES)
def test_tls(tmp_path: Path, engine: str) -> None:
    folder = Path(__file__).parent / "tls"
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def use(name: str) -> bytes:
        cert.write_bytes((folder / f"{name}.pem").read_bytes())
        key.write_bytes((folder / f"{name}.key").read_bytes())
        return cert.read_bytes()

    def version(root: bytes) -> str:
        credentials = grpc.ssl_channel_credentials(root)
        with grpc.secure_channel(running.grpc, credentials) as opened:
            answer = call(opened, "/qdrant.Qdrant/HealthCheck", wait_for_ready=False)
        found: str = q.HealthCheckReply.FromString(answer).version
        return found

    one = use("one")
    options = ("--grpc-port", "0", "--grpc-engine", engine, "--tls-cert", cert, "--tls-key", key)
    with serving(tmp_path / "db", *options) as running:
        assert version(one) == API_VERSION
        two = use("two")
        refused(Code.UNAVAILABLE, version, two)
        running.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while True:
            try:
                assert version(two) == API_VERSION
                break
            except grpc.RpcError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        refused(Code.UNAVAILABLE, version, one)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_follower_refuses_writes(tmp_path: Path, engine: str) -> None:
    with serving(tmp_path / "db") as writer, writer.http() as http:
        put(http, new_collection(http, "c"), {"id": 1, "vector": [1, 2, 3, 4]})
        options = ("--grpc-port", "0", "--grpc-engine", engine, "--read-only")
        with (
            serving(tmp_path / "db", *options) as follower,
            grpc.insecure_channel(follower.grpc) as opened,
        ):
            assert count(opened, None) == 1
            text = refused(Code.PERMISSION_DENIED, call, opened, "/qdrant.Points/Upsert", upsert(1))
            assert text.startswith("Forbidden: ")
            put(http, "/collections/c", {"id": 2, "vector": [1, 2, 3, 4]})
            deadline = time.monotonic() + 30
            while count(opened, None) != 2:
                assert time.monotonic() < deadline
                time.sleep(0.05)
