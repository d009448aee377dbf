"""Messages of gRPC as JSON: what Qdrant's client makes of its own models is read as these models
are over HTTP, and answers are written so that the client reads the same."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import grpc as client
from qdrant_client import models as m
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

from vecdb import models
from vecdb.server.grpc.messages import class_of
from vecdb.server.grpc.methods import METHODS, Method
from vecdb.server.grpc.points import add_older_form, hits, record, records
from vecdb.server.grpc.shapes import read, write
from vecdb.server.status import Refusal


def _kinds(descriptor: Descriptor, known: dict[str, Descriptor]) -> None:
    if descriptor.full_name in known:
        return
    known[descriptor.full_name] = descriptor
    for field in descriptor.fields:
        if field.message_type is not None:
            _kinds(field.message_type, known)


KINDS: dict[str, Descriptor] = {}
for _method in METHODS.values():
    _kinds(_method.request.DESCRIPTOR, KINDS)
    _kinds(_method.response.DESCRIPTOR, KINDS)


def ours(message: Any) -> Any:
    """A message of the client, as the server gets it."""
    kind = class_of(KINDS[message.DESCRIPTOR.full_name])
    return kind.FromString(message.SerializeToString())


def plain(value: Any) -> Any:
    """JSON to compare: arrays as lists, numbers as 32-bit ones, times as times."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float):
        with np.errstate(over="ignore"):
            return float(np.float32(value))
    if isinstance(value, str) and value[:2] == "20" and value[10:11] == "T":
        return datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    return value


def dumped(model: Any) -> Any:
    return plain(model.model_dump(mode="json", by_alias=True, exclude_none=True))


# -- requests --------------------------------------------------------------------------------------

KEY = "city"
WHEN = datetime.datetime(2024, 2, 29, 1, 2, 3, 450_000, tzinfo=datetime.timezone.utc)
UUID = "5c56c793-69f3-4fbf-87e6-c4bf54c28c26"
BERLIN = m.FieldCondition(key=KEY, match=m.MatchValue(value="Berlin"))
POINT = m.GeoPoint(lon=1.5, lat=0.0)
LINE = m.GeoLineString(points=[POINT, m.GeoPoint(lon=3, lat=-4)])


def field(**condition: Any) -> m.FieldCondition:
    return m.FieldCondition(key=KEY, **condition)


CONDITIONS: list[Any] = [
    BERLIN,
    field(match=m.MatchValue(value=7)),
    field(match=m.MatchValue(value=True)),
    field(match=m.MatchText(text="a b")),
    field(match=m.MatchTextAny(text_any="a b")),
    field(match=m.MatchPhrase(phrase="a b")),
    field(match=m.MatchPrefix(prefix="a b")),
    field(match=m.MatchSubstring(substring="")),
    field(match=m.MatchAny(any=["a", "b"])),
    field(match=m.MatchAny(any=[1, 2])),
    field(match=m.MatchExcept(**{"except": ["a"]})),
    field(match=m.MatchExcept(**{"except": [0]})),
    field(range=m.Range(gte=0, lt=2.5)),
    field(range=m.DatetimeRange(gt=WHEN, lte=WHEN)),
    field(geo_bounding_box=m.GeoBoundingBox(top_left=POINT, bottom_right=POINT)),
    field(geo_radius=m.GeoRadius(center=POINT, radius=5.5)),
    field(geo_polygon=m.GeoPolygon(exterior=LINE, interiors=[LINE])),
    field(values_count=m.ValuesCount(gt=0, lte=9)),
    field(is_empty=False),
    field(is_null=True),
    m.IsEmptyCondition(is_empty=m.PayloadField(key=KEY)),
    m.IsNullCondition(is_null=m.PayloadField(key=KEY)),
    m.HasIdCondition(has_id=[0, UUID]),
    m.HasIdCondition(has_id=[]),
    m.HasVectorCondition(has_vector=""),
    m.SliceCondition(slice=m.Slice(total=4, index=0)),
    m.NestedCondition(nested=m.Nested(key="a[]", filter=m.Filter(must_not=[BERLIN]))),
    m.Filter(should=[BERLIN], min_should=m.MinShould(conditions=[BERLIN], min_count=0)),
]


@pytest.mark.parametrize("condition", CONDITIONS, ids=repr)
def test_conditions(condition: Any) -> None:
    for filter in (m.Filter(must=[condition]), m.Filter(must_not=[condition], should=[condition])):
        assert plain(read(ours(RestToGrpc.convert_filter(filter)))) == dumped(filter)


def test_an_empty_filter() -> None:
    assert read(ours(client.Filter())) == {}


SPARSE = m.SparseVector(indices=[3, 1], values=[0.1, 2.0])
MULTI = [[1.0, 2.0], [0.5, 0.25]]
PAIR = m.ContextPair(positive=1, negative=[0.5, 1.5])
QUERIES: list[Any] = [
    m.NearestQuery(nearest=[0.1, 0.2]),
    m.NearestQuery(nearest=UUID),
    m.NearestQuery(nearest=0),
    m.NearestQuery(nearest=SPARSE),
    m.NearestQuery(nearest=MULTI),
    m.NearestQuery(nearest=[0.1], mmr=m.Mmr(diversity=0.5, candidates_limit=7)),
    m.RecommendQuery(
        recommend=m.RecommendInput(
            positive=[1, [0.5]], negative=[UUID], strategy=m.RecommendStrategy.BEST_SCORE
        )
    ),
    m.DiscoverQuery(discover=m.DiscoverInput(target=[0.5], context=[PAIR])),
    m.ContextQuery(context=[PAIR, PAIR]),
    m.OrderByQuery(order_by=m.OrderBy(key="n", direction=m.Direction.DESC, start_from=WHEN)),
    m.OrderByQuery(order_by=m.OrderBy(key="n", start_from=3)),
    m.FusionQuery(fusion=m.Fusion.RRF),
    m.FusionQuery(fusion=m.Fusion.DBSF),
    m.RrfQuery(rrf=m.Rrf(k=7, weights=[0.5, 2.0])),
    m.SampleQuery(sample=m.Sample.RANDOM),
    m.FormulaQuery(
        formula=m.SumExpression(
            sum=[
                1.5,
                "$score",
                BERLIN,
                m.MultExpression(mult=[m.NegExpression(neg="n"), 2.0]),
                m.DivExpression(div=m.DivParams(left="a", right=2.0, by_zero_default=1.0)),
                m.PowExpression(pow=m.PowParams(base="a", exponent=2.0)),
                m.GeoDistance(geo_distance=m.GeoDistanceParams(origin=POINT, to="home")),
                m.DatetimeExpression(datetime="2024-01-01"),
                m.DatetimeKeyExpression(datetime_key="when"),
                m.ExpDecayExpression(exp_decay=m.DecayParamsExpression(x="a", scale=5.0)),
                m.LnExpression(ln=m.AbsExpression(abs="a")),
            ]
        ),
        defaults={"a": 1, "when": "2024", "deep": {"x": [None, 0.5]}},
    ),
]


def bare(query: dict[str, Any]) -> Any:
    """A query for the nearest is, without more to say, the vector itself."""
    return query["nearest"] if query.keys() == {"nearest"} else query


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: type(query).__name__)
def test_queries(query: Any) -> None:
    assert plain(read(ours(RestToGrpc.convert_query(query)))) == bare(dumped(query))


def test_a_whole_query() -> None:
    prefetch = m.Prefetch(
        query=m.NearestQuery(nearest=[0.5]),
        using="a",
        filter=m.Filter(must=[BERLIN]),
        params=m.SearchParams(
            hnsw_ef=3,
            exact=False,
            quantization=m.QuantizationSearchParams(ignore=False, rescore=True, oversampling=2.5),
            indexed_only=True,
            acorn=m.AcornSearchParams(enable=True, max_selectivity=0.5),
        ),
        score_threshold=0.3,
        limit=0,
        lookup_from=m.LookupLocation(collection="other", vector="b"),
        prefetch=[m.Prefetch(limit=4)],
    )
    message = client.QueryPoints(
        collection_name="c",
        prefetch=[RestToGrpc.convert_prefetch_query(prefetch)],
        query=RestToGrpc.convert_query(m.FusionQuery(fusion=m.Fusion.RRF)),
        using="",
        offset=0,
        limit=3,
        score_threshold=0.7,
        with_payload=RestToGrpc.convert_with_payload_interface(["a"]),
        with_vectors=RestToGrpc.convert_with_vectors(["a"]),
    )
    expected = dumped(prefetch)
    expected["query"] = expected["query"]["nearest"]
    found = read(ours(message))
    assert plain(found) == {
        "prefetch": [expected],
        "query": {"fusion": "rrf"},
        "using": "",
        "offset": 0,
        "limit": 3,
        "score_threshold": plain(0.7),
        "with_payload": {"include": ["a"]},
        "with_vectors": ["a"],
    }
    assert found["score_threshold"] == 0.7  # as people write it
    assert found["prefetch"][0]["score_threshold"] == 0.3


CONFIGS: dict[str, tuple[str, Any]] = {
    "dense": (
        "convert_vectors_config",
        m.VectorParams(
            size=4,
            distance=m.Distance.MANHATTAN,
            on_disk=True,
            datatype=m.Datatype.FLOAT16,
            hnsw_config=m.HnswConfigDiff(m=0, ef_construct=4, payload_m=3),
            multivector_config=m.MultiVectorConfig(comparator=m.MultiVectorComparator.MAX_SIM),
            quantization_config=m.ScalarQuantization(
                scalar=m.ScalarQuantizationConfig(type=m.ScalarType.INT8, quantile=0.99)
            ),
        ),
    ),
    "product": (
        "convert_quantization_config",
        m.ProductQuantization(
            product=m.ProductQuantizationConfig(compression=m.CompressionRatio.X4, always_ram=True)
        ),
    ),
    "binary": (
        "convert_quantization_config",
        m.BinaryQuantization(
            binary=m.BinaryQuantizationConfig(
                encoding=m.BinaryQuantizationEncoding.ONE_AND_HALF_BITS,
                query_encoding=m.BinaryQuantizationQueryEncoding.SCALAR4BITS,
            )
        ),
    ),
    "turbo": (
        "convert_quantization_config",
        m.TurboQuantization(turbo=m.TurboQuantQuantizationConfig(bits=m.TurboQuantBitSize.BITS1_5)),
    ),
    "optimizers": (
        "convert_optimizers_config_diff",
        m.OptimizersConfigDiff(
            deleted_threshold=0.2,
            vacuum_min_vector_number=100,
            default_segment_number=0,
            max_segment_size=1,
            memmap_threshold=0,
            indexing_threshold=5,
            flush_interval_sec=1,
            max_optimization_threads=3,
        ),
    ),
    "wal": ("convert_wal_config_diff", m.WalConfigDiff(wal_capacity_mb=3, wal_segments_ahead=0)),
    "sparse": (
        "convert_sparse_vector_params",
        m.SparseVectorParams(index=m.SparseIndexParams(on_disk=True), modifier=m.Modifier.IDF),
    ),
    "strict": (
        "convert_strict_mode_config",
        m.StrictModeConfig(enabled=True, max_query_limit=0, search_max_oversampling=1.5),
    ),
    "keyword": (
        "convert_payload_schema_params",
        m.KeywordIndexParams(type=m.KeywordIndexType.KEYWORD, is_tenant=True),
    ),
    "integer": (
        "convert_payload_schema_params",
        m.IntegerIndexParams(type=m.IntegerIndexType.INTEGER, lookup=False, range=True),
    ),
    "text": (
        "convert_payload_schema_params",
        m.TextIndexParams(
            type=m.TextIndexType.TEXT,
            tokenizer=m.TokenizerType.MULTILINGUAL,
            lowercase=False,
            min_token_len=2,
            stopwords=m.StopwordsSet(languages=[m.Language.ENGLISH], custom=["x"]),
            stemmer=m.SnowballParams(type=m.Snowball.SNOWBALL, language="german"),
        ),
    ),
    "uuid": ("convert_payload_schema_params", m.UuidIndexParams(type=m.UuidIndexType.UUID)),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_there_and_back(name: str) -> None:
    converter, config = CONFIGS[name]
    message = getattr(RestToGrpc, converter)(config)
    if name == "optimizers":
        message.ClearField("deprecated_max_optimization_threads")  # the client gives both
    found = read(ours(message))
    assert plain(found) == dumped(config)
    if "quantile" in str(found):
        assert found["quantization_config"]["scalar"]["quantile"] == 0.99
    again = class_of(KINDS[message.DESCRIPTOR.full_name])()
    write(found, again)
    assert type(message).FromString(again.SerializeToString()) == message


def test_vectors_by_name_and_none_at_all() -> None:
    size = m.VectorParams(size=4, distance=m.Distance.DOT)
    found = read(ours(RestToGrpc.convert_vectors_config({"a": size, "size": size})))
    assert found == {"a": dumped(size), "size": dumped(size)}
    assert read(ours(client.VectorsConfig())) == {}
    again = class_of(KINDS["qdrant.VectorsConfig"])()
    write(found, again)
    assert read(again) == found


def test_disabled_quantization() -> None:
    message = RestToGrpc.convert_quantization_config_diff(m.Disabled.DISABLED)
    assert read(ours(message)) == "Disabled"


@pytest.mark.parametrize("name", ["WhitespaceTokens", "none"])
def test_stemmers(name: str) -> None:
    message = client.TextIndexParams(tokenizer=client.TokenizerType.Whitespace)
    if name == "none":
        message.stemmer.disabled.SetInParent()
    found = read(ours(message))
    assert found["tokenizer"] == "whitespace"
    assert found.get("stemmer") == ({"type": "none"} if name == "none" else None)


# -- points that come in ---------------------------------------------------------------------------

PAYLOAD = {
    "null": None,
    "text": "☃ \x00",
    "int": -(1 << 63),
    "double": 1.0,
    "true": True,
    "list": [1, 2.5, [], {}],
    "deep": {"a": {"b": [None]}},
}


def point(vector: Any) -> Any:
    struct = m.PointStruct(id=UUID, vector=vector, payload=PAYLOAD)
    return read(ours(RestToGrpc.convert_point_struct(struct)))


@pytest.mark.parametrize(
    "vector",
    [[0.1, 0.2], MULTI, {"a": [1.0, 2.0], "": [0.5]}, {"s": SPARSE, "m": MULTI}, {}],
    ids=str,
)
def test_points(vector: Any) -> None:
    found = point(vector)
    expected = m.PointStruct(id=UUID, vector=vector, payload=PAYLOAD)
    assert found.keys() == {"id", "vector", "payload"}
    assert plain(found) == dumped(expected) | {"payload": plain(PAYLOAD)}
    assert found["payload"] == PAYLOAD
    assert [type(found["payload"][name]) for name in ("int", "double", "true")] == [
        int,
        float,
        bool,
    ]


def test_a_plain_vector_is_an_array() -> None:
    vector = point([0.1, 0.2])["vector"]
    assert isinstance(vector, np.ndarray)
    assert vector.dtype == np.float32


def test_a_point_without_id_and_vector() -> None:
    assert read(ours(client.PointStruct())) == {"payload": {}}


def test_the_older_form_of_vectors() -> None:
    older = client.Vector(data=[1, 2, 3, 4])
    assert plain(read(ours(older))) == [1, 2, 3, 4]
    older.vectors_count = 2
    assert read(ours(older)) == [[1, 2], [3, 4]]
    for count in (0, 3, 1 << 31):
        older.vectors_count = count
        with pytest.raises(Refusal, match="vectors_count"):
            read(ours(older))
    sparse = client.Vector(data=[1, 2], indices=client.SparseIndices(data=[7, 5]))
    assert read(ours(sparse)) == {"indices": [7, 5], "values": [1, 2]}


def test_numbers_that_are_sent_one_by_one() -> None:
    """As a program may that does not pack them."""
    wire = b"".join(b"\x15" + np.float32(x).tobytes() for x in (0.5, -2.0))
    message = class_of(KINDS["qdrant.SearchPoints"]).FromString(wire + b"\x20\x03")
    assert len(UnknownFieldSet(message)) == 2
    found = read(message)
    assert found["limit"] == 3
    assert found["vector"].tolist() == [0.5, -2.0]


def test_bytes_that_are_no_numbers() -> None:
    message = class_of(KINDS["qdrant.DenseVector"])(data=b"\0\0\0")
    with pytest.raises(Refusal, match="four bytes"):
        read(message)


@pytest.mark.parametrize("name", ["PointId", "Match", "Query", "Condition", "WithPayloadSelector"])
def test_an_alternative_that_is_none(name: str) -> None:
    with pytest.raises(Refusal, match=f"{name}: expected one of "):
        read(class_of(KINDS[f"qdrant.{name}"])())


def test_a_word_that_there_is_not() -> None:
    message = class_of(KINDS["qdrant.VectorParams"])(size=4, distance=77)
    with pytest.raises(Refusal, match="Distance: there is no value 77"):
        read(message)


@pytest.mark.parametrize(
    ("seconds", "nanos", "text"),
    [
        (0, 0, "1970-01-01T00:00:00Z"),
        (-1, 5, "1969-12-31T23:59:59.000000005Z"),
        (253_402_300_799, 999_999_999, "9999-12-31T23:59:59.999999999Z"),
        (253_402_300_800, 0, None),
        (1 << 62, 0, None),
        (0, -1, None),
        (0, 1_000_000_000, None),
    ],
)
def test_times(seconds: int, nanos: int, text: str | None) -> None:
    message = class_of(KINDS["google.protobuf.Timestamp"])(seconds=seconds, nanos=nanos)
    if text is None:
        with pytest.raises(Refusal, match="expected a time"):
            read(message)
    else:
        assert read(message) == text


# -- whatever comes --------------------------------------------------------------------------------

_NUMBERS = {
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_STRING: st.sampled_from(["", "a", "ä\0"]),
    FieldDescriptor.TYPE_BYTES: st.sampled_from([b"", b"abc", b"\0" * 8]),
    FieldDescriptor.TYPE_DOUBLE: st.sampled_from([0.0, -1.5, float("nan"), 1e300]),
    FieldDescriptor.TYPE_FLOAT: st.sampled_from([0.0, 0.1, float("inf")]),
    FieldDescriptor.TYPE_INT64: st.sampled_from([0, 1, -(1 << 63), (1 << 63) - 1]),
    FieldDescriptor.TYPE_UINT64: st.sampled_from([0, 1, (1 << 64) - 1]),
    FieldDescriptor.TYPE_UINT32: st.sampled_from([0, 1, (1 << 32) - 1]),
    FieldDescriptor.TYPE_INT32: st.sampled_from([0, 1, -(1 << 31)]),
    FieldDescriptor.TYPE_ENUM: st.sampled_from([0, 1, 2, 99]),
}


def fill(draw: Any, message: Any, depth: int) -> None:
    """Any fields with any values."""
    for each in message.DESCRIPTOR.fields:
        if not draw(st.integers(0, 2)):
            continue
        kind = each.message_type
        if kind is None:
            value = _NUMBERS[each.type]
            if each.is_repeated:
                getattr(message, each.name).extend(draw(st.lists(value, max_size=2)))
            else:
                setattr(message, each.name, draw(value))
        elif depth:
            target = getattr(message, each.name)
            if kind.GetOptions().map_entry:
                key = draw(st.text(max_size=2))
                if kind.fields_by_name["value"].message_type is not None:
                    fill(draw, target[key], depth - 1)
            elif each.is_repeated:
                fill(draw, target.add(), depth - 1)
            else:
                target.SetInParent()
                fill(draw, target, depth - 1)


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.path)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_message_is_read_or_refused(method: Method, data: st.DataObject) -> None:
    message = method.request()
    fill(data.draw, message, 3)
    message = method.parse(message.SerializeToString())
    try:
        body = read(message)
        method.call(message)
    except Refusal:
        return
    assert isinstance(body, dict)
    msgspec.json.encode(plain(body))


def test_all_methods_are_served() -> None:
    served = {path.rpartition("/")[0] for path in METHODS}
    assert served == {
        *("/qdrant.Collections", "/qdrant.Points", "/qdrant.Snapshots", "/qdrant.Qdrant"),
        "/grpc.health.v1.Health",
    }
    for service in ("collections_service", "points_service", "snapshots_service", "qdrant"):
        module = getattr(client, f"{service}_pb2")
        for found in module.DESCRIPTOR.services_by_name.values():
            for each in found.methods:
                method = METHODS[f"/{found.full_name}/{each.name}"]
                assert method.request.DESCRIPTOR.full_name == each.input_type.full_name
                assert method.response.DESCRIPTOR.full_name == each.output_type.full_name


# -- answers ---------------------------------------------------------------------------------------


def answered(path: str, answer: Any) -> Any:
    """An answer, as the client reads it."""
    method = METHODS[path]
    response = method.respond(answer, 0.25)
    theirs = getattr(client, method.response.DESCRIPTOR.name)
    message = theirs.FromString(response.SerializeToString())
    assert message.time == 0.25
    return message


VECTORS: list[Any] = [None, [0.1, 0.2], {"a": [0.5], "b": [1.5, 2.5]}, {}]


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_hits(vector: Any) -> None:
    found = [models.ScoredPoint(7, 3, 0.1, PAYLOAD, vector), models.ScoredPoint(UUID, 4, -1.5)]
    message = answered("/qdrant.Points/Search", hits(found))
    first, second = (GrpcToRest.convert_scored_point(each) for each in message.result)
    assert (first.id, first.version, first.payload) == (7, 3, PAYLOAD)
    assert first.score == np.float32(0.1)
    assert plain(first.vector) == plain(vector)
    assert (second.id, second.payload or {}, second.vector) == (UUID, {}, None)


def test_records() -> None:
    found = [models.Record(1, {"a": 1 << 63}, [0.5])]
    message = answered("/qdrant.Points/Get", records(found))
    found_record = GrpcToRest.convert_retrieved_point(message.result[0])
    assert found_record.payload == {"a": float(1 << 63)}  # larger than a message's integers
    assert found_record.vector == [0.5]


def test_vectors_for_older_clients() -> None:
    found = [models.Record(1, {}, [0.5, 1.5]), models.Record(2), models.Record(3, {}, {"a": [2.0]})]
    message = METHODS["/qdrant.Points/Get"].respond(records(found), 0)
    add_older_form(message.result)
    theirs = client.GetResponse.FromString(message.SerializeToString())
    assert list(theirs.result[0].vectors.vector.data) == [0.5, 1.5]
    assert list(theirs.result[0].vectors.vector.dense.data) == [0.5, 1.5]
    assert not theirs.result[1].HasField("vectors")
    assert list(theirs.result[2].vectors.vectors.vectors["a"].data) == [2.0]


def test_groups_facets_and_matrices() -> None:
    found_hits = hits([models.ScoredPoint(7, 3, 0.5)])
    groups = [{"id": each, "hits": found_hits} for each in (1, -1, "a")]
    groups[0]["lookup"] = record(models.Record(5, {"x": 1}))
    found = answered("/qdrant.Points/QueryGroups", {"groups": groups}).result
    group = GrpcToRest.convert_groups_result(found).groups
    assert [each.id for each in group] == [1, -1, "a"]
    assert [each.hits[0].id for each in group] == [7, 7, 7]
    assert group[0].lookup is not None
    assert group[0].lookup.payload == {"x": 1}

    counts = [{"value": each, "count": 2} for each in ("a", True, -3)]
    facets = answered("/qdrant.Points/Facet", {"hits": counts}).hits
    assert [GrpcToRest.convert_facet_value_hit(each).value for each in facets] == ["a", True, -3]

    pairs = {"pairs": [{"a": 1, "b": UUID, "score": 0.5}]}
    matrix = answered("/qdrant.Points/SearchMatrixPairs", pairs).result
    assert GrpcToRest.convert_search_matrix_pairs(matrix).model_dump() == pairs
    offsets = {"offsets_row": [0], "offsets_col": [1], "scores": [0.5], "ids": [1, UUID]}
    matrix = answered("/qdrant.Points/SearchMatrixOffsets", offsets).result
    assert GrpcToRest.convert_search_matrix_offsets(matrix).model_dump() == offsets


def _messages(value: Any) -> Iterator[Any]:
    yield value
    for descriptor, each in value.ListFields():
        if descriptor.message_type is not None and not descriptor.is_repeated:
            yield from _messages(each)


def test_a_collection() -> None:
    info = {
        "status": "yellow",
        "optimizer_status": {"error": "no space"},
        "warnings": [{"message": "w"}],
        "vectors_count": 5,  # which only HTTP has
        "indexed_vectors_count": 4,
        "points_count": 3,
        "segments_count": 2,
        "config": {
            "params": {"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 1},
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 9},
            "optimizer_config": {
                "deleted_threshold": 0.25,
                "vacuum_min_vector_number": 100,
                "default_segment_number": 0,
                "flush_interval_sec": 5,
                "max_optimization_threads": None,
            },
            "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
            "quantization_config": {"turbo": {"bits": "bits4"}},
            "metadata": {"a": [1, None]},
        },
        "payload_schema": {
            "a": {"data_type": "keyword", "points": 3},
            "b": {
                "data_type": "text",
                "params": {"type": "text", "stopwords": "english", "tokenizer": "word"},
                "points": 0,
            },
        },
        "update_queue": {"length": 0},
    }
    found = answered("/qdrant.Collections/Get", info).result
    for each in _messages(found):
        assert not len(UnknownFieldSet(each))
    rest = GrpcToRest.convert_collection_info(found)
    assert rest.status == "yellow"
    assert rest.optimizer_status == m.OptimizersStatusOneOf1(error="no space")
    assert rest.warnings == [m.CollectionWarning(message="w")]
    assert (rest.indexed_vectors_count, rest.points_count, rest.segments_count) == (4, 3, 2)
    assert rest.config.params.vectors == m.VectorParams(size=4, distance=m.Distance.DOT)
    assert rest.config.quantization_config.turbo.bits == "bits4"
    assert rest.config.metadata == {"a": [1, None]}
    assert rest.payload_schema["a"].data_type == "keyword"
    assert rest.payload_schema["b"].params.stopwords == "english"
