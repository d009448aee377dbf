"""``vecdb serve``: HTTP and gRPC give the same answer to the same request, be it a result or a
refusal. Qdrant's client sends each of them either way; what it compares has gone through its own
conversions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from qdrant_client import QdrantClient
from qdrant_client import models as m
from qdrant_client.http.exceptions import UnexpectedResponse
from serving import serving

Operation = Callable[[QdrantClient, str], Any]
UUID = "5c56c793-69f3-4fbf-87e6-c4bf54c28c26"
DIM = 4

_CODES = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    409: "ALREADY_EXISTS",
    422: "INVALID_ARGUMENT",
}
_PLACE = re.compile(r"^((?:Format|Validation) error in )(?:JSON body|query parameters)")
_OF_MESSAGES = re.compile(
    r"(?<=[ \[])(?:(search|query|recommend|discover)_points(?=\[)|shard_key_selector(?=:))"
)
"""What messages have another name for than bodies."""
_INCLUDED = re.compile(r"\b(with_(?:payload|vectors?))\.include(?=[:\[])")
"""Bodies may have a list in place of an object with one, messages may not."""
_NAMES = re.compile("by_http|by_grpc")
_FLATTENED = re.compile(r"\b(?:internal|search_request|scroll_request)\.")


# -- both ways -------------------------------------------------------------------------------------


class Both:
    """One server, and a client of each protocol with a collection of its own."""

    def __init__(self, http: QdrantClient, rpc: QdrantClient) -> None:
        self.clients = {"by_http": http, "by_grpc": rpc}
        for name in self.clients:
            http.create_collection(
                name,
                vectors_config={
                    "": m.VectorParams(size=DIM, distance=m.Distance.COSINE),
                    "e": m.VectorParams(size=2, distance=m.Distance.EUCLID),
                },
                sparse_vectors_config={"s": m.SparseVectorParams(modifier=m.Modifier.IDF)},
            )

    def fill(self) -> None:
        """The same points for either."""
        for name in self.clients:
            client = self.clients["by_http"]
            client.delete(name, m.FilterSelector(filter=m.Filter()))
            client.upsert(name, POINTS)

    def outcomes(self, operation: Operation) -> list[Any]:
        """What the operation comes to, either way."""
        return [outcome(operation, client, name) for name, client in self.clients.items()]

    def contents(self) -> list[Any]:
        """All points of either collection."""
        client = self.clients["by_http"]
        return [plain(client.scroll(name, limit=1000, with_vectors=True)) for name in self.clients]


def outcome(operation: Operation, client: QdrantClient, name: str) -> Any:
    """A result, or the code and text of a refusal. A request that the client does not even send is
    no example."""
    try:
        return "answer", plain(operation(client, name), name)
    except UnexpectedResponse as error:
        text = json.loads(error.content)["status"]["error"]
        code = _CODES[error.status_code or 0]
    except grpc.RpcError as error:
        text, code = error.details(), error.code().name
    except Exception as error:
        event(f"not sent: {type(error).__name__}")
        assume(False)
    text = _FLATTENED.sub("", _PLACE.sub(r"\1body", text))
    text = _OF_MESSAGES.sub(lambda found: "searches" if found[1] else "shard_key", text)
    text = _INCLUDED.sub(r"\1", text)
    return code, _NAMES.sub("NAME", text)  # one that lists what there is has both


def plain(value: Any, name: str = "") -> Any:
    """A result to compare. A number of 32 bits comes as text one way; the other has no difference
    between no payload and an empty one."""
    if isinstance(value, BaseModel):
        return plain(dict(value), name)
    if isinstance(value, dict):
        return {key: _field(key, each, name) for key, each in value.items() if key not in _OWN}
    if isinstance(value, (list, tuple)):
        return [plain(each, name) for each in value]
    if isinstance(value, float):
        return float(np.float32(value))
    if isinstance(value, str) and name:
        return value.replace(name, "NAME")
    return value


_OWN = ("time", "operation_id")  # what is not sent the other way takes numbers, too


def _field(key: str, value: Any, name: str) -> Any:
    if key == "payload":
        return value or None
    value = plain(value, name)
    return (value or None) if key == "vector" else value


@pytest.fixture(scope="module", params=["grpcio", "h2"])
def both(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    directory = tmp_path_factory.mktemp("both") / "db"
    options = ("--sync", "never", "--grpc-port", "0", "--grpc-engine", request.param)
    with serving(directory, *options) as server:
        http = QdrantClient(url=server.url)
        port = int(server.grpc.rpartition(":")[2])
        rpc = QdrantClient(host="127.0.0.1", port=server.port, grpc_port=port, prefer_grpc=True)
        yield Both(http, rpc)
        http.close()
        rpc.close()


# -- values ----------------------------------------------------------------------------------------

numbers = st.sampled_from([0.0, 1.0, -0.5, 0.25, 3.0])
ids = st.one_of(st.integers(0, 12), st.sampled_from([UUID, UUID.upper(), (1 << 64) - 1]))
odd_ids = st.one_of(ids, ids, ids, st.just("no id"))
dense = st.one_of(
    st.lists(numbers, min_size=DIM, max_size=DIM),
    st.lists(numbers, min_size=DIM, max_size=DIM),
    st.lists(numbers, min_size=1, max_size=DIM),
)
pairs = st.lists(numbers, min_size=2, max_size=2)
keys = st.sampled_from(["n", "city", "deep", "deep.x", "tags", "tags[]", "none", 'a "b"', "ä"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.sampled_from([0.5, 1.0, -1e300]),
    st.sampled_from(["Berlin", "Oslo", "", "☃\x00"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=5,
)
payloads = st.dictionaries(keys, values, max_size=4)
names = st.sampled_from(["", "", "", "e", "e", "s", "x"])
sparse = st.one_of(
    st.builds(
        lambda indices, values: m.SparseVector(indices=indices, values=values),
        st.lists(st.sampled_from([0, 1, 3, 5, (1 << 32) - 1]), min_size=2, max_size=2),
        st.lists(numbers, min_size=2, max_size=2),
    ),
    st.sampled_from([[], [1.0]]).map(lambda values: m.SparseVector(indices=[], values=values)),
    st.builds(
        lambda text, options: m.Document(text=text, model="qdrant/bm25", options=options),
        st.sampled_from(["Berlin and Oslo", "", "running dogs ☃"]),
        # Right ones: of two mistakes in one request either protocol may name the other.
        st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "k": st.sampled_from([0.0, 1.2]),
                "language": st.sampled_from(["english", "german"]),
            },
        ),
    ),
)

WORDS: list[Any] = [
    m.SparseVector(indices=[3, 1], values=[0.5, 2.0]),
    m.SparseVector(indices=[(1 << 32) - 1, 0, 3], values=[1.0, 0.1, -1.5]),
    m.SparseVector(indices=[], values=[]),
    m.Document(text="Oslo and Berlin, the cities", model="qdrant/bm25"),
]
POINTS = [
    m.PointStruct(
        id=n,
        vector={"": [1.0, n, -n, 0.5], "e": [n, 1.0], "s": WORDS[n % 4]}
        if n % 3
        else [0.5, n, 1.0, n],
        payload={
            "n": n,
            "city": ["Berlin", "Oslo", None][n % 3],
            "tags": [str(n % 2), n],
            "deep": {"x": n / 4, "when": f"2024-01-{n + 1:02d}T00:00:00Z"},
        },
    )
    for n in range(10)
]


def _some(**fields: Any) -> Any:
    """Some of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


ranges = st.one_of(
    _some(gt=numbers, gte=numbers, lt=numbers, lte=numbers).map(lambda f: m.Range(**f)),
    st.sampled_from(["2024-01-03T00:00:00Z", "2024-01-05T12:00:00.25Z"]).map(
        lambda when: m.DatetimeRange(gt=when)
    ),
)
# Functions and numbers: Hypothesis writes a strategy out, and warns of one that is long.


def _match_of_text(number: int) -> Any:
    text = ["Berlin", "berlin, 0", "", "ber"][number % 4]
    kinds = [m.MatchText, m.MatchTextAny, m.MatchPhrase, m.MatchPrefix, m.MatchSubstring]
    kind: Any = kinds[number // 4]
    return kind(**{next(iter(kind.model_fields)): text})


def _in_area(key: str, number: int) -> Any:
    """A box, a polygon, and an open line, which is none."""
    corners = [m.GeoPoint(lon=lon, lat=lat) for lon, lat in [(0, 60), (20, 60), (20, 0), (0, 0)]]
    if number == 0:
        box = m.GeoBoundingBox(top_left=corners[0], bottom_right=corners[2])
        return m.FieldCondition(key=key, geo_bounding_box=box)
    line = m.GeoLineString(points=[*corners, corners[0]] if number == 1 else corners)
    return m.FieldCondition(key=key, geo_polygon=m.GeoPolygon(exterior=line, interiors=[]))


def _slice(number: int) -> Any:
    """One of two slices, and two that there are not."""
    return m.SliceCondition(slice=m.Slice(total=0 if number == 3 else 2, index=number))


matches = st.one_of(
    st.sampled_from(["Berlin", "0", 3, True, 1 << 62]).map(lambda v: m.MatchValue(value=v)),
    st.lists(st.sampled_from(["Berlin", "1"]), max_size=2).map(lambda v: m.MatchAny(any=v)),
    st.lists(st.integers(0, 5), min_size=1, max_size=2).map(lambda v: m.MatchAny(any=v)),
    st.lists(st.sampled_from(["Oslo"]), max_size=2).map(lambda v: m.MatchExcept(**{"except": v})),
    st.integers(0, 19).map(_match_of_text),
)
geo = st.builds(m.GeoPoint, lon=st.sampled_from([0.0, 13.5]), lat=st.sampled_from([0.0, 52.5]))
fields = st.one_of(
    st.builds(lambda key, match: m.FieldCondition(key=key, match=match), keys, matches),
    st.builds(lambda key, range: m.FieldCondition(key=key, range=range), keys, ranges),
    st.builds(
        lambda key, count: m.FieldCondition(key=key, values_count=m.ValuesCount(**count)),
        keys,
        _some(gt=st.integers(0, 2), lte=st.integers(0, 2)),
    ),
    st.builds(
        lambda key, centre: m.FieldCondition(
            key=key, geo_radius=m.GeoRadius(center=centre, radius=500.0)
        ),
        keys,
        geo,
    ),
    st.builds(_in_area, keys, st.integers(0, 2)),
)
conditions = st.one_of(
    fields,
    fields,
    keys.map(lambda key: m.IsEmptyCondition(is_empty=m.PayloadField(key=key))),
    keys.map(lambda key: m.IsNullCondition(is_null=m.PayloadField(key=key))),
    st.lists(odd_ids, max_size=3).map(lambda found: m.HasIdCondition(has_id=found)),
    names.map(lambda name: m.HasVectorCondition(has_vector=name)),
    st.integers(0, 3).map(_slice),
    fields.map(
        lambda field: m.NestedCondition(nested=m.Nested(key="deep", filter=m.Filter(must=[field])))
    ),
)
some_conditions = st.lists(conditions, min_size=1, max_size=2)
filters = st.recursive(
    _some(
        must=some_conditions,
        should=some_conditions,
        must_not=some_conditions,
        min_should=st.builds(
            lambda found, count: m.MinShould(conditions=found, min_count=count),
            some_conditions,
            st.integers(0, 2),
        ),
    ).map(lambda found: m.Filter(**found)),
    lambda inner: st.builds(lambda a, b: m.Filter(must=[a], must_not=[b]), inner, conditions),
    max_leaves=2,
)
params = _some(
    idf=st.sampled_from(
        [
            m.IdfScope.GLOBAL,
            m.IdfCorpusParams(corpus=m.Filter(must=[m.HasIdCondition(has_id=[1, 2, 5])])),
        ]
    ),
    hnsw_ef=st.integers(0, 40),
    exact=st.booleans(),
    indexed_only=st.booleans(),
    quantization=_some(
        ignore=st.booleans(),
        rescore=st.booleans(),
        oversampling=st.sampled_from([0.5, 1.0, 2.5, 4.0]),
    ).map(lambda found: m.QuantizationSearchParams(**found)),
).map(lambda found: m.SearchParams(**found))
with_payload = st.one_of(
    st.booleans(),
    st.lists(keys, max_size=2),
    st.lists(keys, max_size=2).map(lambda found: m.PayloadSelectorExclude(exclude=found)),
)
with_vectors = st.one_of(st.booleans(), st.lists(names, max_size=2))
orders = st.builds(
    lambda key, more: m.OrderBy(key=key, **more),
    keys,
    _some(
        direction=st.sampled_from(list(m.Direction)),
        start_from=st.one_of(
            st.integers(-1, 5), st.sampled_from([0.5, -1e300, datetime(2024, 1, 3, 12)])
        ),
    ),
)
examples = st.lists(numbers, min_size=DIM, max_size=DIM) | ids
sides = st.builds(lambda p, n: m.ContextPair(positive=p, negative=n), examples, examples)
recommended = st.builds(
    lambda fields: m.RecommendQuery(recommend=m.RecommendInput(**fields)),
    _some(
        positive=st.lists(examples, max_size=3),
        negative=st.lists(examples, max_size=2),
        strategy=st.sampled_from(list(m.RecommendStrategy)),
    ),
)


def _feedback(target: Any, examples: list[Any]) -> m.RelevanceFeedbackQuery:
    """The later an example, the better it is."""
    strategy = m.NaiveFeedbackStrategy(naive=m.NaiveFeedbackStrategyParams(a=1.0, b=0.5, c=0.25))
    items = [m.FeedbackItem(example=each, score=n / 4) for n, each in enumerate(examples)]
    given = m.RelevanceFeedbackInput(target=target, feedback=items, strategy=strategy)
    return m.RelevanceFeedbackQuery(relevance_feedback=given)


asked = st.one_of(
    *[st.lists(numbers, min_size=DIM, max_size=DIM)] * 8,
    dense,
    pairs,
    ids,
    odd_ids,
    st.none(),
    dense.map(lambda vector: m.NearestQuery(nearest=vector)),
    st.builds(
        lambda nearest, fields: m.NearestQuery(nearest=nearest, mmr=m.Mmr(**fields)),
        dense | ids,
        _some(
            diversity=st.sampled_from([0.0, 0.7, 1.0, 1.5]),
            candidates_limit=st.sampled_from([0, 1, 9, 16_385]),
        ),
    ),
    st.just(m.FusionQuery(fusion=m.Fusion.RRF)),
    recommended,
    st.builds(
        lambda target, pairs: m.DiscoverQuery(
            discover=m.DiscoverInput(target=target, context=pairs)
        ),
        examples,
        st.lists(sides, max_size=3),
    ),
    st.lists(sides, min_size=1, max_size=3).map(lambda pairs: m.ContextQuery(context=pairs)),
    st.builds(_feedback, examples, st.lists(examples, max_size=3)),
    keys.map(lambda key: m.OrderByQuery(order_by=key)),
    orders.map(lambda order: m.OrderByQuery(order_by=order)),
    sparse,
)
sparse_examples = sparse | ids
of_words = st.builds(
    lambda query, fields: {"query": query, "using": "s", **fields},
    st.one_of(
        sparse,
        sparse_examples.map(lambda each: m.NearestQuery(nearest=each)),
        st.builds(
            lambda p, n, strategy: m.RecommendQuery(
                recommend=m.RecommendInput(positive=p, negative=n, strategy=strategy)
            ),
            st.lists(sparse_examples, max_size=2),
            st.lists(sparse_examples, max_size=2),
            st.sampled_from(list(m.RecommendStrategy)),
        ),
        st.builds(
            lambda target, positive, negative: m.DiscoverQuery(
                discover=m.DiscoverInput(
                    target=target,
                    context=m.ContextPair(positive=positive, negative=negative),
                )
            ),
            sparse_examples,
            sparse_examples,
            sparse_examples,
        ),
    ),
    _some(limit=st.integers(0, 40), score_threshold=numbers, with_vectors=with_vectors),
)
hybrid = st.builds(
    lambda query, fusion: {
        "prefetch": [
            m.Prefetch(query=query, using="s", limit=5),
            m.Prefetch(query=[1.0, 0.0, 0.0, 0.0], limit=5),
        ],
        "query": m.FusionQuery(fusion=fusion),
    },
    sparse,
    st.sampled_from(list(m.Fusion)),
)
queries = _some(
    query=asked,
    using=st.sampled_from([None] * 7) | names,
    limit=st.integers(0, 40),
    offset=st.integers(0, 4),
    score_threshold=numbers,
    with_payload=with_payload,
    with_vectors=with_vectors,
    prefetch=st.sampled_from([None] * 7 + [[m.Prefetch(query=[1.0, 0.0, 0.0, 0.0], limit=3)]]),
)


# -- operations ------------------------------------------------------------------------------------


def verb(name: str, *given: Any, **more: Any) -> Operation:
    """A method of the client, called on a collection."""

    def call(client: QdrantClient, collection: str) -> Any:
        return getattr(client, name)(collection, *given, **more)

    return call


def _query(fields: dict[str, Any], filter: Any, search: Any) -> Operation:
    return verb("query_points", query_filter=filter, search_params=search, **fields)


def _groups(key: str, fields: dict[str, Any], filter: Any, more: dict[str, Any]) -> Operation:
    given = {name: value for name, value in fields.items() if name != "offset"}
    return verb("query_points_groups", key, query_filter=filter, **given, **more)


def _sample(client: QdrantClient, name: str) -> Any:
    """All points, as what is drawn by chance is not the same twice."""
    query = m.SampleQuery(sample=m.Sample.RANDOM)
    found = client.query_points(name, query=query, limit=1000).points
    return sorted(found, key=lambda point: str(point.id))


def _request(fields: dict[str, Any], filter: Any) -> m.QueryRequest:
    renamed = {"with_vectors": "with_vector"}
    named = {renamed.get(name, name): each for name, each in fields.items()}
    return m.QueryRequest(filter=filter, **named)


reads = st.one_of(
    st.builds(_query, queries, st.none() | filters, st.none() | params),
    st.builds(_query, queries, st.none() | filters, st.none() | params),
    st.builds(_query, of_words | hybrid, st.none() | filters, st.none() | params),
    st.lists(st.builds(_request, queries, st.none() | filters), max_size=3).map(
        lambda found: verb("query_batch_points", found)
    ),
    st.builds(
        lambda found, fields: verb("retrieve", found, **fields),
        st.lists(odd_ids, max_size=4),
        _some(with_payload=with_payload, with_vectors=with_vectors),
    ),
    st.builds(
        lambda filter, fields: verb("scroll", scroll_filter=filter, **fields),
        st.none() | filters,
        _some(
            limit=st.integers(0, 12),
            offset=odd_ids,
            with_payload=with_payload,
            with_vectors=with_vectors,
        ),
    ),
    st.builds(
        lambda order, filter, fields: verb(
            "scroll", scroll_filter=filter, order_by=order, **fields
        ),
        keys | orders,
        st.none() | filters,
        _some(limit=st.integers(0, 12), with_payload=with_payload, with_vectors=with_vectors),
    ),
    st.builds(
        lambda key, filter, fields: verb("facet", key, facet_filter=filter, **fields),
        keys,
        st.none() | filters,
        _some(limit=st.integers(0, 5), exact=st.booleans()),
    ),
    st.builds(
        _groups,
        keys,
        queries,
        st.none() | filters,
        _some(
            group_size=st.integers(0, 4),
            with_lookup=st.sampled_from(
                ["none", m.WithLookup(collection="by_http", with_vectors=["e"])]
            ),
        ),
    ),
    filters.map(lambda filter: verb("count", count_filter=filter)),
    st.just(verb("count", exact=False)),
    st.just(verb("collection_exists")),
    st.just(verb("get_collection")),
    st.just(verb("get_collection_aliases")),
    st.just(verb("list_snapshots")),
    st.just(_sample),
    st.just(verb("search_matrix_pairs", limit=2, sample=1000)),
    st.just(verb("search_matrix_offsets", limit=2, sample=1000)),
    st.just(verb("search_matrix_pairs", sample=1)),
    st.just(lambda client, name: client.count(f"{name}_none")),
    st.just(lambda client, name: client.get_collection("")),
)

vectors = st.one_of(
    dense,
    st.fixed_dictionaries({}, optional={"": dense, "e": pairs, "s": sparse}),
    st.just({"x": [1.0]}),
)
points = st.builds(
    lambda id, vector, payload: m.PointStruct(id=id, vector=vector, payload=payload),
    odd_ids,
    vectors,
    st.none() | payloads,
)
selected = st.one_of(
    st.lists(odd_ids, max_size=3).map(lambda found: m.PointIdsList(points=found)),
    filters.map(lambda found: m.FilterSelector(filter=found)),
)
point_vectors = st.builds(lambda id, vector: m.PointVectors(id=id, vector=vector), ids, vectors)
schemas = st.sampled_from(
    [
        m.PayloadSchemaType.KEYWORD,
        m.PayloadSchemaType.DATETIME,
        m.IntegerIndexParams(type=m.IntegerIndexType.INTEGER, lookup=True, range=False),
        m.TextIndexParams(
            type=m.TextIndexType.TEXT,
            tokenizer=m.TokenizerType.WORD,
            min_token_len=2,
            stopwords=m.StopwordsSet(languages=[m.Language.ENGLISH], custom=["x"]),
            stemmer=m.SnowballParams(type=m.Snowball.SNOWBALL, language=m.SnowballLanguage.ENGLISH),
        ),
    ]
)
settings_of_collections = _some(
    hnsw_config=_some(m=st.integers(0, 20), ef_construct=st.integers(1, 60)).map(
        lambda found: m.HnswConfigDiff(**found)
    ),
    optimizers_config=_some(
        deleted_threshold=st.sampled_from([0.25, 0.5, 1.5]),
        vacuum_min_vector_number=st.integers(90, 200),
        indexing_threshold=st.integers(0, 9000),
    ).map(lambda found: m.OptimizersConfigDiff(**found)),
    quantization_config=st.sampled_from(
        [
            m.ScalarQuantization(
                scalar=m.ScalarQuantizationConfig(type=m.ScalarType.INT8, quantile=0.99)
            ),
            m.BinaryQuantization(binary=m.BinaryQuantizationConfig(always_ram=True)),
            m.ProductQuantization(
                product=m.ProductQuantizationConfig(compression=m.CompressionRatio.X4)
            ),
        ]
    ),
)


def _create(size: int, distance: Any, more: dict[str, Any]) -> Operation:
    def call(client: QdrantClient, name: str) -> Any:
        client.delete_collection(f"{name}_new")
        config = m.VectorParams(size=size, distance=distance)
        made = client.create_collection(f"{name}_new", vectors_config={"v": config}, **more)
        return made, client.get_collection(f"{name}_new"), client.delete_collection(f"{name}_new")

    return call


def _snapshot(client: QdrantClient, name: str) -> Any:
    made = client.create_snapshot(name)
    assert made is not None
    found = client.list_snapshots(name)
    assert made in found
    return client.delete_snapshot(name, made.name), len(found)


def _aliases(client: QdrantClient, name: str) -> Any:
    create = m.CreateAlias(collection_name=name, alias_name=f"{name}_alias")
    rename = m.RenameAlias(old_alias_name=f"{name}_alias", new_alias_name=f"{name}_other")
    done = client.update_collection_aliases(
        [m.CreateAliasOperation(create_alias=create), m.RenameAliasOperation(rename_alias=rename)]
    )
    count = client.count(f"{name}_other")
    found = client.get_collection_aliases(name)
    delete = m.DeleteAlias(alias_name=f"{name}_other")
    client.update_collection_aliases([m.DeleteAliasOperation(delete_alias=delete)])
    return done, count, found


waits = st.fixed_dictionaries({"wait": st.booleans()})
operations_of_batches = st.one_of(
    st.lists(points, max_size=2).map(
        lambda found: m.UpsertOperation(upsert=m.PointsList(points=found))
    ),
    selected.map(lambda found: m.DeleteOperation(delete=found)),
    st.builds(
        lambda payload, found: m.SetPayloadOperation(
            set_payload=m.SetPayload(payload=payload, points=found)
        ),
        payloads,
        st.lists(ids, max_size=2),
    ),
    st.builds(
        lambda found, filter: m.DeletePayloadOperation(
            delete_payload=m.DeletePayload(keys=found, filter=filter)
        ),
        st.lists(keys, max_size=2),
        filters,
    ),
    selected.map(lambda found: m.ClearPayloadOperation(clear_payload=found)),
    st.lists(point_vectors, max_size=2).map(
        lambda found: m.UpdateVectorsOperation(update_vectors=m.UpdateVectors(points=found))
    ),
)
writes = st.one_of(
    st.builds(
        lambda found, more: verb("upsert", found, **more), st.lists(points, max_size=4), waits
    ),
    st.builds(
        lambda found, filter: verb("upsert", found, update_filter=filter),
        st.lists(points, max_size=2),
        filters,
    ),
    st.builds(lambda found, more: verb("delete", found, **more), selected, waits),
    st.builds(
        lambda payload, found, key: verb("set_payload", payload, found, key=key),
        payloads,
        selected,
        st.none() | keys,
    ),
    st.builds(lambda payload, found: verb("overwrite_payload", payload, found), payloads, selected),
    st.builds(
        lambda found, where: verb("delete_payload", found, where),
        st.lists(keys, max_size=2),
        selected,
    ),
    selected.map(lambda found: verb("clear_payload", found)),
    st.lists(point_vectors, max_size=3).map(lambda found: verb("update_vectors", found)),
    st.builds(
        lambda found, where: verb("delete_vectors", found, where),
        st.lists(names, max_size=2),
        selected,
    ),
    st.lists(operations_of_batches, max_size=3).map(
        lambda found: verb("batch_update_points", found)
    ),
    st.builds(lambda key, schema: verb("create_payload_index", key, schema), keys, schemas),
    keys.map(lambda key: verb("delete_payload_index", key)),
    st.builds(
        _create,
        st.sampled_from([0, 1, 8, 65_537]),
        st.sampled_from(list(m.Distance)),
        settings_of_collections,
    ),
    settings_of_collections.map(lambda found: verb("update_collection", **found)),
    st.sampled_from(["s", "x", "new"]).map(
        lambda name: verb(
            "update_collection",
            sparse_vectors_config={
                name: m.SparseVectorParams(index=m.SparseIndexParams(full_scan_threshold=7))
            },
        )
    ),
    st.just(
        verb(
            "create_vector_name",
            "new",
            m.SparseVectorNameConfig(sparse=m.SparseVectorConfig(modifier=m.Modifier.IDF)),
        )
    ),
    st.just(verb("delete_vector_name", "new")),
    st.just(_snapshot),
    st.just(_aliases),
    st.just(lambda client, name: client.delete_snapshot(name, "none")),
    st.just(lambda client, name: client.delete_collection(f"{name}_none")),
    st.just(lambda client, name: client.create_collection(name, vectors_config={})),
)


# -- the tests -------------------------------------------------------------------------------------

few = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
# Of each engine for gRPC half: what they are given to answer with is the same code.
many = settings(few, max_examples=1500, derandomize=False)


def same_answers(both: Both, operation: Operation) -> None:
    one, other = both.outcomes(operation)
    event(str(one[0]))
    assert one == other


def same_effects(both: Both, operations: list[Operation]) -> None:
    both.fill()
    for operation in operations:
        same_answers(both, operation)
    one, other = both.contents()
    assert one == other


@pytest.fixture
def filled(both: Both) -> Both:
    """With points to read."""
    both.fill()
    return both


@settings(few, max_examples=200)
@given(operation=reads)
def test_a_read_is_answered_alike(filled: Both, operation: Operation) -> None:
    same_answers(filled, operation)


@few
@given(operations=st.lists(writes, min_size=1, max_size=3))
def test_writes_do_alike(both: Both, operations: list[Operation]) -> None:
    same_effects(both, operations)


@pytest.mark.slow
@pytest.mark.timeout(900)
@many
@given(operation=reads)
def test_any_read_is_answered_alike(filled: Both, operation: Operation) -> None:
    same_answers(filled, operation)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(many, max_examples=220)
@given(operations=st.lists(writes, min_size=1, max_size=8))
def test_any_writes_do_alike(both: Both, operations: list[Operation]) -> None:
    same_effects(both, operations)
