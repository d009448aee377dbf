"""What a caller leaves out, gets wrong or asks for twice: Qdrant's local mode and ``vecdb.qdrant``.

Three tables: calls that both answer alike, calls that both refuse, and calls in which vecdb differs
on purpose, each with the reason. Where local mode is not what a server is, vecdb is like a server.
Local mode of other versions differs here and there; these are the answers of the newest.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import qdrant_client
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse
from qdrant_client.local.qdrant_local import QdrantLocal
from qdrant_pair import ROWS, filled, plain

import vecdb
from vecdb.qdrant import QdrantClient

Client = qdrant_client.QdrantClient
Call = Callable[[Any], Any]

Q = ROWS[3].tolist()
ID = str(uuid.UUID(int=10))
TUNED = models.VectorParams(
    size=8,
    distance=models.Distance.DOT,
    on_disk=True,
    datatype=models.Datatype.FLOAT32,
    hnsw_config=models.HnswConfigDiff(m=3, payload_m=2, inline_storage=True),
    quantization_config=models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.9)
    ),
)


def point(point_id: Any, **given: Any) -> models.PointStruct:
    return models.PointStruct(id=point_id, vector=given.pop("vector", Q), **given)


def match(key: str, value: Any) -> models.Filter:
    return models.Filter(
        must=[models.FieldCondition(key=key, match=models.MatchValue(value=value))]
    )


def alias(name: str, of: str) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=of, alias_name=name)
    )


def searched(**params: Any) -> Call:
    given = models.SearchParams(**params)
    return lambda c: c.query_points("one", Q, limit=1, search_params=given)


def counted(**field: Any) -> Call:
    given = models.Filter(must=[models.FieldCondition(**field)])
    return lambda c: c.count("one", given)


FEW = models.Filter(must=[models.HasIdCondition(has_id=[1, 2, 3, 4, 5])])

ANSWERED: dict[str, Call] = {
    # points that are not there, or asked for twice
    "retrieve": lambda c: c.retrieve("one", [1, 1000]),
    "retrieve twice": lambda c: c.retrieve("one", [1, 1, 2]),
    "retrieve nothing": lambda c: c.retrieve("one", []),
    "retrieve a UUID": lambda c: c.retrieve("one", [uuid.UUID(int=1)]),
    "retrieve with Nones": lambda c: c.retrieve("one", [1], None, None),
    "delete": lambda c: (c.delete("one", [1, 1000]), c.count("one")),
    "scroll from": lambda c: c.scroll("one", limit=2, offset=1000),
    "the last page": lambda c: c.scroll("one", limit=60, with_payload=False),
    "offset behind all": lambda c: c.query_points("one", Q, limit=2, offset=300),
    "pairs of near points": lambda c: sorted(
        (pair.a, pair.b, round(pair.score, 4))
        for pair in c.search_matrix_pairs("one", FEW, limit=2, sample=10).pairs
    ),
    "near points as a matrix": lambda c: sorted(
        c.search_matrix_offsets("one", query_filter=FEW, limit=2, sample=10).ids
    ),
    # points in every form
    "UUIDs in any spelling": lambda c: (
        c.upsert("one", [point(ID.upper()), point(uuid.UUID(int=11).urn)]),
        c.retrieve("one", [uuid.UUID(ID).hex, str(uuid.UUID(int=11))]),
        [record.id for record in c.scroll("one", limit=99)[0]][-2:],
    ),
    "no payload": lambda c: (
        c.upsert("one", [point(100, payload=None)]),
        c.retrieve("one", [100]),
    ),
    "no vectors": lambda c: (
        c.upsert("two", [point(100, vector={})]),
        c.retrieve("two", [100], with_vectors=True),
    ),
    "a vector of zeros": lambda c: (
        c.upsert("one", [point(100, vector=[0.0] * 8)]),
        c.retrieve("one", [100], with_vectors=True),
    ),
    "not waited for": lambda c: (c.upsert("one", [point(100)], wait=False), c.count("one")),
    "written on a condition": lambda c: (
        c.upsert("one", [point(1, payload={})], update_filter=match("n", 5)),
        c.retrieve("one", [1]),
    ),
    "an upload of nothing": lambda c: (c.upload_points("one", []), c.count("one")),
    "an upload in parallel": lambda c: (
        c.upload_points("one", [point(n) for n in range(100, 105)], parallel=2),
        c.count("one"),
    ),
    "a collection of iterators": lambda c: (
        c.upload_collection(
            "one",
            iter(ROWS[:3].tolist()),
            payload=iter([{"a": 1}, None, {}]),
            ids=iter([100, 101, 102]),
        ),
        c.retrieve("one", [100, 101, 102]),
    ),
    "a collection without ids": lambda c: (c.upload_collection("one", ROWS[:3]), c.count("one")),
    # queries
    "no query": lambda c: c.query_points("one", limit=2, offset=3, query_filter=match("tag", "b")),
    "no query in a batch": lambda c: c.query_batch_points("one", [models.QueryRequest(limit=1)]),
    "a batch of nothing": lambda c: c.query_batch_points("one", []),
    "any number": lambda c: len(c.query_points("one", Q, limit=999_999_999).points),
    "a threshold of 0": lambda c: c.query_points("one", Q, score_threshold=0.0),
    "a threshold of a distance": lambda c: c.query_points("two", Q, "b", score_threshold=2.5),
    "nearest to an id": lambda c: c.query_points("one", models.NearestQuery(nearest=3), limit=2),
    "none of the payload": lambda c: c.query_points("one", Q, limit=1, with_payload=[]),
    "hnsw_ef of 0": searched(hnsw_ef=0),
    "every parameter": searched(
        hnsw_ef=64,
        exact=True,
        indexed_only=True,
        quantization=models.QuantizationSearchParams(ignore=True, rescore=True, oversampling=2.0),
        acorn=models.AcornSearchParams(enable=True),
    ),
    # filters
    "retrieve a text that is no id": lambda c: c.retrieve("one", ["x", 1]),
    "delete a text that is no id": lambda c: (
        c.delete("one", ["x"]).status,
        c.delete("one", models.PointIdsList(points=["x", 3])).status,
        c.count("one"),
    ),
    "an empty filter": lambda c: c.scroll("one", scroll_filter=models.Filter(), limit=1),
    "empty lists": lambda c: c.scroll(
        "one", scroll_filter=models.Filter(must=[], should=[], must_not=[]), limit=1
    ),
    "one condition, no list": lambda c: c.count(
        "one", models.Filter(must=models.HasIdCondition(has_id=[1, 2, 1000]))
    ),
    "min_should": lambda c: c.count(
        "one",
        models.Filter(
            min_should=models.MinShould(
                conditions=[*(match("n", 3).must or []), *(match("tag", "b").must or [])],  # type: ignore[misc]
                min_count=2,
            )
        ),
    ),
    "values_count": counted(key="deep.list", values_count=models.ValuesCount(gt=1)),
    "a range of times on numbers": counted(
        key="n", range=models.DatetimeRange(gt="2020-01-01T00:00:00Z")
    ),
    "any of": counted(key="n", match=models.MatchAny(any=[1, 2, 777])),
    "is_empty": lambda c: c.count(
        "one",
        models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="deep"))]),
    ),
    "has_vector": lambda c: c.count(
        "two", models.Filter(must=[models.HasVectorCondition(has_vector="b")])
    ),
    "an empty nested filter": lambda c: c.count(
        "one",
        models.Filter(
            must=[models.NestedCondition(nested=models.Nested(key="n", filter=models.Filter()))]
        ),
    ),
    "exact=False": lambda c: c.count("one", exact=False).count > 0,
    "delete all by a filter": lambda c: (c.delete("one", models.Filter()), c.count("one")),
    # payloads
    "set_payload at a key": lambda c: (
        c.set_payload("one", {"x": 1}, [1], key="deep"),
        c.set_payload("one", {"x": 1}, [2], key="n"),
        c.set_payload("one", {}, [3]),
        c.retrieve("one", [1, 2, 3]),
    ),
    "delete_payload of what is not there": lambda c: (
        c.delete_payload("one", ["n.x", "other", "deep.list"], [1]),
        c.retrieve("one", [1]),
    ),
    "operations together": lambda c: (
        c.batch_update_points(
            "one",
            [
                models.UpsertOperation(upsert=models.PointsList(points=[point(100)])),
                models.DeleteOperation(delete=models.PointIdsList(points=[1])),
                models.SetPayloadOperation(
                    set_payload=models.SetPayload(payload={"x": 1}, points=[2])
                ),
                models.OverwritePayloadOperation(
                    overwrite_payload=models.SetPayload(payload={"x": 1}, points=[3])
                ),
                models.ClearPayloadOperation(clear_payload=models.PointIdsList(points=[4])),
                models.DeletePayloadOperation(
                    delete_payload=models.DeletePayload(keys=["n"], points=[5])
                ),
            ],
        ),
        c.scroll("one", limit=99, with_vectors=True),
    ),
    "operations, none": lambda c: c.batch_update_points("one", []),
    # collections
    "aliases": lambda c: (
        c.update_collection_aliases([alias("x", "one")]),
        (c.count("x"), c.get_aliases(), c.get_collection_aliases("one")),
        c.collection_exists("x"),
        c.update_collection_aliases(
            [
                models.RenameAliasOperation(
                    rename_alias=models.RenameAlias(old_alias_name="x", new_alias_name="y")
                )
            ]
        ),
        c.get_collection_aliases("one"),
        c.delete_collection("one"),
        c.get_aliases(),
    ),
    "all collections": lambda c: sorted(each.name for each in c.get_collections().collections),
    "an alias that is not there": lambda c: c.update_collection_aliases(
        [models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="other"))]
    ),
    "a collection that is not there": lambda c: (
        c.delete_collection("other"),
        c.collection_exists("other"),
        c.get_collection_aliases("other"),
    ),
    "a collection made anew": lambda c: (
        c.recreate_collection("one", vectors_config=TUNED),
        c.count("one"),
    ),
    "every setting": lambda c: (
        c.create_collection(
            "three",
            vectors_config=TUNED,
            hnsw_config=models.HnswConfigDiff(m=0, inline_storage=False, max_indexing_threads=2),
            optimizers_config=models.OptimizersConfigDiff(
                max_optimization_threads=models.MaxOptimizationThreadsSetting.AUTO,
                prevent_unoptimized=True,
                indexing_threshold=0,
                default_segment_number=2,
                flush_interval_sec=1,
            ),
            wal_config=models.WalConfigDiff(wal_capacity_mb=1),
            on_disk_payload=True,
            metadata={"x": 1},
        ),
        c.get_collection("three").config.metadata,
    ),
    "a vector name more": lambda c: (
        c.create_vector_name(
            "two",
            "x",
            models.DenseVectorNameConfig(
                dense=models.DenseVectorConfig(size=2, distance=models.Distance.DOT)
            ),
        ),
        sorted(c.get_collection("two").config.params.vectors),
        c.delete_vector_name("two", "x"),
        sorted(c.get_collection("two").config.params.vectors),
    ),
    "an index": lambda c: (
        c.create_payload_index("one", "n", models.PayloadSchemaType.INTEGER),
        c.create_payload_index("one", "tag", "keyword"),
        c.delete_payload_index("one", "n"),
        c.delete_payload_index("one", "other"),
    ),
    "the version": lambda c: c.info(),
    "no snapshots": lambda c: (c.list_snapshots("one"), c.list_full_snapshots()),
    # objects
    "as JSON": lambda c: (
        c.retrieve("two", [1], with_vectors=True)[0].model_dump_json(),
        c.scroll("one", limit=1)[0][0].model_dump(exclude_unset=True),
        c.count("one").model_dump_json(),
    ),
    "copied": lambda c: c.retrieve("two", [1], with_vectors=True)[0].model_copy(deep=True),
}


@pytest.fixture
def both() -> Iterator[tuple[Client, Client]]:
    theirs, ours = Client(":memory:"), QdrantClient(":memory:")
    yield filled(theirs), filled(ours)
    theirs.close()
    ours.close()


@pytest.mark.filterwarnings("ignore:.*local:UserWarning", "ignore:.*recreate:DeprecationWarning")
@pytest.mark.parametrize("call", ANSWERED.values(), ids=ANSWERED.keys())
def test_both_answer_alike(both: tuple[Client, Client], call: Call) -> None:
    theirs, ours = both
    assert plain(call(ours)) == plain(call(theirs))


# What is asked for, and the status of vecdb's refusal.
REFUSED: dict[str, tuple[int, Call]] = {
    "set_payload": (404, lambda c: c.set_payload("one", {"x": 1}, [1, 1000])),
    "overwrite_payload": (404, lambda c: c.overwrite_payload("one", {"x": 1}, [1, 1000])),
    "delete_payload": (404, lambda c: c.delete_payload("one", ["n"], [1, 1000])),
    "clear_payload": (404, lambda c: c.clear_payload("one", [1, 1000])),
    "update_vectors": (
        404,
        lambda c: c.update_vectors("one", [models.PointVectors(id=1000, vector=Q)]),
    ),
    "delete_vectors": (404, lambda c: c.delete_vectors("two", ["a"], [1, 1000])),
    "batch_update_points": (
        404,
        lambda c: c.batch_update_points(
            "one",
            [
                models.SetPayloadOperation(
                    set_payload=models.SetPayload(payload={"x": 1}, points=[1000])
                )
            ],
        ),
    ),
    "a query by an id": (404, lambda c: c.query_points("one", 1000)),
    "a query by an id without that vector": (404, lambda c: c.query_points("two", 0, using="b")),
    "no such vector": (400, lambda c: c.query_points("one", Q, using="other")),
    "no name of a vector": (400, lambda c: c.query_points("two", Q)),
    "no such vector to delete": (400, lambda c: c.delete_vectors("two", ["other"], [1])),
    "a short query": (400, lambda c: c.query_points("one", [1.0])),
    "a short vector": (400, lambda c: c.upsert("one", [point(1, vector=[1.0])])),
    "no number": (400, lambda c: c.upsert("one", [point(1, vector=[float("nan")] * 8)])),
    "a malformed id": (400, lambda c: c.upsert("one", [point("no-uuid")])),
    "a float": (400, lambda c: c.retrieve("one", [1.0])),
    "a limit of 0": (400, lambda c: c.query_points("one", Q, limit=0)),
    "a negative limit": (400, lambda c: c.query_points("one", Q, limit=-1)),
    "a page of 0": (400, lambda c: c.scroll("one", limit=0)),
    "a threshold without a query": (400, lambda c: c.query_points("one", score_threshold=0.5)),
    "delete nothing": (400, lambda c: c.delete("one", [])),
    "no such collection": (404, lambda c: c.get_collection("other")),
    "no such collection to change": (404, lambda c: c.update_collection("other")),
    "a collection twice": (409, lambda c: c.create_collection("one", vectors_config=TUNED)),
    "an alias of an alias": (
        404,
        lambda c: (
            c.update_collection_aliases([alias("x", "one")]),
            c.update_collection_aliases([alias("y", "x")]),
        ),
    ),
    "an alias of nothing": (404, lambda c: c.update_collection_aliases([alias("x", "other")])),
    "an alias named as a collection": (
        409,
        lambda c: c.update_collection_aliases([alias("two", "one")]),
    ),
    "no such alias to rename": (
        404,
        lambda c: c.update_collection_aliases(
            [
                models.RenameAliasOperation(
                    rename_alias=models.RenameAlias(old_alias_name="x", new_alias_name="y")
                )
            ]
        ),
    ),
    "get_optimizations": (501, lambda c: c.get_optimizations("one")),
    "cluster_status": (501, lambda c: c.cluster_status()),
}


@pytest.mark.parametrize(("status", "call"), REFUSED.values(), ids=REFUSED.keys())
def test_both_refuse(both: tuple[Client, Client], status: int, call: Call) -> None:
    theirs, ours = both
    before = plain(ours.scroll("one", limit=99, with_vectors=True))
    with pytest.raises((ValueError, TypeError, KeyError, NotImplementedError)) as there:
        call(theirs)
    with pytest.raises(UnexpectedResponse) as here:
        call(ours)
    assert here.value.status_code == status
    assert isinstance(here.value, ValueError)
    if isinstance(there.value, NotImplementedError):
        assert isinstance(here.value, NotImplementedError)
    assert plain(ours.scroll("one", limit=99, with_vectors=True)) == before


@pytest.mark.filterwarnings("ignore:.*recreate:DeprecationWarning")
def test_where_things_are_may_be_said_in_the_newer_word() -> None:
    memory, distance = models.Memory, models.Distance.DOT
    with QdrantClient(":memory:") as client:

        def params(name: str = "") -> Any:
            found = client.get_collection("c").config.params.vectors
            return found[name] if isinstance(found, dict) else found

        client.create_collection(
            "c",
            vectors_config={
                **{
                    name: models.VectorParams(size=8, distance=distance, memory=memory.COLD)
                    for name in ("memory", "size", "hnsw_config", "quantization_config")
                },
                "b": models.VectorParams(
                    size=8,
                    distance=distance,
                    on_disk=True,
                    memory=memory.CACHED,
                    hnsw_config=models.HnswConfigDiff(memory=memory.PINNED),
                    quantization_config=models.BinaryQuantization(
                        binary=models.BinaryQuantizationConfig(memory=memory.COLD)
                    ),
                ),
            },
            quantization_config=models.ScalarQuantization(
                scalar=models.ScalarQuantizationConfig(
                    type=models.ScalarType.INT8, always_ram=False, memory=memory.PINNED
                )
            ),
        )
        for name in ("memory", "size", "hnsw_config", "quantization_config"):
            assert params(name).memory is memory.COLD
        assert params("b").on_disk is True
        assert params("b").memory is memory.CACHED
        assert params("b").quantization_config.binary.memory is memory.COLD
        codes = client.get_collection("c").config.quantization_config
        assert isinstance(codes, models.ScalarQuantization)
        assert codes.scalar.memory is memory.PINNED
        client.update_collection("c", vectors_config={"b": models.VectorParamsDiff(memory="cold")})
        assert params("b").memory is memory.COLD
        given: Any = {"size": 8, "distance": "Dot", "memory": "cold"}
        client.recreate_collection("c", vectors_config=given)
        assert params().memory is memory.COLD
        with pytest.raises(UnexpectedResponse, match="memory: expected one of 'cold'"):
            client.recreate_collection("c", vectors_config=given | {"memory": "warm"})


def refused(call: Call) -> Call:
    def said(client: Client) -> Any:
        try:
            return call(client)
        except UnexpectedResponse as error:
            return error.status_code

    return said


# What is asked for, what vecdb says, and why that is not what local mode says.
DIFFERENT: dict[str, tuple[Any, str, Call]] = {
    "retrieve a negative id": (400, "a server", refused(lambda c: c.retrieve("one", [-1]))),
    "scroll from a malformed id": (400, "a server", refused(lambda c: c.scroll("one", offset="x"))),
    "a condition of nothing": (400, "a server", refused(counted(key="n"))),
    "an index without a schema": (
        400,
        "a server",
        refused(lambda c: c.create_payload_index("one", "n")),
    ),
    "write nothing": (
        models.UpdateStatus.COMPLETED,
        "local mode until 1.15, and programs that rely on it",
        lambda c: c.upsert("one", []).status,
    ),
    "points as a tuple": (
        61,
        "it is clear",
        lambda c: (c.upsert("one", (point(100),)), c.count("one"))[1].count,
    ),
    "points as dicts": (
        61,
        "it is clear",
        lambda c: (c.upsert("one", [{"id": 100, "vector": Q}]), c.count("one"))[1].count,
    ),
    "no limit": (10, "the default", lambda c: len(c.query_points("one", Q, limit=None).points)),
    "a change of the settings": (
        True,
        "it is done",
        lambda c: c.update_collection(
            "one", optimizers_config=models.OptimizersConfigDiff(indexing_threshold=5)
        ),
    ),
    "the indexes": (
        ["n"],
        "a server",
        lambda c: (
            c.create_payload_index("one", "n", "integer"),
            list(c.get_collection("one").payload_schema),
        )[1],
    ),
    "a snapshot": ("one", "vecdb has them", lambda c: c.create_snapshot("one").name[:3]),
}


@pytest.mark.filterwarnings("ignore:.*local:UserWarning")
@pytest.mark.parametrize(
    ("said", "call"), [(d[0], d[2]) for d in DIFFERENT.values()], ids=DIFFERENT.keys()
)
def test_vecdb_differs(both: tuple[Client, Client], said: Any, call: Call) -> None:
    theirs, ours = both
    assert call(ours) == said
    try:
        there = call(theirs)
    except Exception:
        return
    assert there != said, "no difference any more"


@pytest.mark.filterwarnings("ignore:.*recreate:DeprecationWarning")
def test_every_verb_that_both_have_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here or beside: what is called on vecdb while the tables are gone through."""
    import test_qdrant_client_answers as answers

    called: set[str] = set()
    call = vecdb.qdrant.local.VecDBLocal.call

    def noted(self: Any, verb: str, /, *positional: Any, **given: Any) -> Any:
        called.add(verb)
        return call(self, verb, *positional, **given)

    monkeypatch.setattr(vecdb.qdrant.local.VecDBLocal, "call", noted)
    tables = [ANSWERED.values(), answers.CALLS.values(), [each[2] for each in DIFFERENT.values()]]
    for each in [call for table in tables for call in table]:
        with QdrantClient(":memory:") as client:
            each(filled(client))
    shared = {
        name
        for name in dir(vecdb.VecDB)
        if name[0] != "_" and callable(getattr(QdrantLocal, name, None))
    }
    alone = {"close", "info"}  # not by ``call``
    snapshots = {name for name in shared if "snapshot" in name}  # not in local mode
    assert shared - called - alone - snapshots == set()
