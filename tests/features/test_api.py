"""Every verb, on the database and on a collection, against Qdrant's own exact local mode."""

from __future__ import annotations

import inspect
import itertools
import typing
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from vecdb import Collection, VecDB, models
from vecdb.errors import InvalidInputError
from vecdb.qdrant_arguments import OfCollections, OfPoints

DISTANCES = ["Cosine", "Dot", "Euclid", "Manhattan"]
DIM = 8
UUIDS = [str(uuid.UUID(int=number << 64 | 7)) for number in range(1, 9)]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[VecDB]:
    with VecDB(tmp_path / "api.db") as database:
        yield database


def numbers(*shape: int, seed: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# -- the verbs themselves ------------------------------------------------------------------

DATABASE_VERBS = [
    "create_collection",
    "recreate_collection",
    "get_collection",
    "get_collections",
    "collection_exists",
    "update_collection",
    "delete_collection",
    "close",
]
POINT_VERBS = [
    "upsert",
    "upload_points",
    "upload_collection",
    "delete",
    "set_payload",
    "overwrite_payload",
    "delete_payload",
    "clear_payload",
    "update_vectors",
    "delete_vectors",
    "retrieve",
    "scroll",
    "count",
    "search",
    "search_batch",
    "query_points",
    "within",
    "query_batch_points",
    "query_points_groups",
    "search_groups",
    "recommend",
    "recommend_batch",
    "recommend_groups",
    "discover",
    "discover_batch",
    "facet",
    "flush",
    "wait_for_optimizer",
    "memory_report",
]


def test_every_verb_is_there_documented_and_typed() -> None:
    for name in DATABASE_VERBS + POINT_VERBS:
        assert inspect.getdoc(getattr(VecDB, name)), name
    for name in POINT_VERBS:
        method = getattr(Collection, name)
        assert inspect.getdoc(method), name
        assert "self" in inspect.signature(method).parameters
        first = list(inspect.signature(getattr(VecDB, name)).parameters)[1]
        assert first == "collection_name"


def test_verbs_of_both_say_the_same() -> None:
    """To ``help`` as well: those of the database said "see the other" only."""
    for name in POINT_VERBS:
        if name in vars(VecDB):  # of one collection, or of all
            continue
        assert inspect.getdoc(getattr(VecDB, name)) == inspect.getdoc(getattr(Collection, name))


@pytest.mark.parametrize("cls", [VecDB, Collection])
def test_annotations_can_be_read_at_run_time(cls: type) -> None:
    """They named what is imported for type checkers only: a NameError."""
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if name == "__init__" or not name.startswith("_"):
            hints = typing.get_type_hints(method)
            assert hints.keys() - {"return"} == inspect.signature(method).parameters.keys() - {
                "self"
            }


def test_handles_of_one_collection_are_equal(db: VecDB) -> None:
    for name in ("a", "b"):
        db.create_collection(name, {"size": 2, "distance": "Dot"})
    handle = db.collection("a")
    assert handle == db.collection("a")
    assert handle != db.collection("b")
    assert {handle, db.collection("a"), db.collection("b")} == {handle, db.collection("b")}
    db.recreate_collection("a", {"size": 2, "distance": "Dot"})
    assert handle != db.collection("a")


CALLS: dict[str, dict[str, Any]] = {
    "create_collection": {"vectors_config": {"size": 2, "distance": "Dot"}},
    "recreate_collection": {"vectors_config": {"size": 2, "distance": "Dot"}},
    "update_collection": {},
    "collection_exists": {},
    "get_collection": {},
    "upsert": {"points": [{"id": 1, "vector": [1, 1], "payload": {"a": 1}}]},
    "upload_points": {"points": [{"id": 1, "vector": [1, 1]}]},
    "upload_collection": {"vectors": [[1, 1]], "ids": [1]},
    "set_payload": {"payload": {"b": 1}, "points": [1]},
    "overwrite_payload": {"payload": {"b": 1}, "points": [1]},
    "delete_payload": {"keys": ["b"], "points": [1]},
    "clear_payload": {"points_selector": [1]},
    "update_vectors": {"points": [{"id": 1, "vector": [2, 2]}]},
    "delete_vectors": {"vectors": [""], "points": [1]},
    "retrieve": {"ids": [1]},
    "scroll": {},
    "count": {},
    "query_points": {"query": [1, 1]},
    "query_batch_points": {"requests": [{"query": [1, 1]}]},
    "query_points_groups": {"group_by": "a", "query": [1, 1]},
    "facet": {"key": "a"},
    "delete": {"points_selector": [1]},
    "create_snapshot": {},
    "list_snapshots": {},
    "delete_collection": {},
}
"""Calls of verbs that Qdrant's client has too, in an order in which all of them can be made."""


def test_what_qdrants_client_takes_may_be_none(tmp_path: Path) -> None:
    """As frameworks pass it, which were written for that client. It was a TypeError."""
    with VecDB(tmp_path / "none.db") as db:
        for verb, given in CALLS.items():
            theirs = inspect.signature(getattr(QdrantClient, verb)).parameters
            unset = {name for name, parameter in theirs.items() if parameter.default is None}
            calls: list[Any] = [lambda v=verb, **rest: getattr(db, v)("c", **rest)]
            if verb in POINT_VERBS:
                calls.append(lambda v=verb, **rest: getattr(db.collection("c"), v)(**rest))
            for call in calls:
                call(**dict.fromkeys(unset - given.keys()), **given)
        name = db.create_collection("d", {"size": 2, "distance": "Dot"}) and db.create_snapshot("d")
        theirs = inspect.signature(QdrantClient.recover_snapshot).parameters
        unset = {name for name, parameter in theirs.items() if parameter.default is None}
        assert db.recover_snapshot("d", name.name, **dict.fromkeys(unset))
        db.close(grpc_grace=None)


def test_every_verb_of_both_is_called_with_none() -> None:
    both = {name for name in DATABASE_VERBS + POINT_VERBS if hasattr(QdrantClient, name)}
    assert both - CALLS.keys() == {"close", "get_collections"}


def test_verbs_have_the_parameters_of_qdrants_client() -> None:
    """What is None, or of no effect, is taken; what vecdb has not as well, to say so."""
    for verb in CALLS.keys() | {"close", "recover_snapshot"}:
        theirs = inspect.signature(getattr(QdrantClient, verb)).parameters.keys() - {"kwargs"}
        ours = inspect.signature(getattr(VecDB, verb)).parameters
        kind = OfPoints if verb in POINT_VERBS else OfCollections
        taken = kind.__annotations__.keys() if "qdrant" in ours else set()
        assert theirs - ours.keys() <= taken, verb
        assert not taken & ours.keys() - {"payload"}, verb


@pytest.mark.parametrize(
    ("verb", "argument", "value"),
    [
        ("query_points", "shard_key_selector", "a"),
        ("create_collection", "sharding_method", "custom"),
        ("update_collection", "strict_mode_config", {"enabled": True}),
    ],
)
def test_what_would_change_the_answer_is_refused(
    db: VecDB, verb: str, argument: str, value: Any
) -> None:
    db.create_collection("c", {"size": 2, "distance": "Dot"})
    name = "new" if verb == "create_collection" else "c"
    with pytest.raises(InvalidInputError, match=f"^{argument}: Qdrant's, not supported by vecdb: "):
        getattr(db, verb)(name, **CALLS[verb], **{argument: value})
    assert db.count("c").count == 0
    assert not db.collection_exists("new")


def test_what_decides_nothing_in_one_process_is_taken(db: VecDB) -> None:
    """Also the empty configuration that LangChain passes."""
    several = {"shard_number": 2, "replication_factor": 1, "write_consistency_factor": 1}
    config = {"size": 2, "distance": "Dot"}
    db.create_collection("c", config, sparse_vectors_config={}, timeout=5, **several)
    db.upsert("c", CALLS["upsert"]["points"], ordering="strong", timeout=5)
    assert db.query_points("c", [1, 1], timeout=5, consistency="majority", prefetch=[]).points
    assert db.collection("c").retrieve([1], consistency=1, timeout=1)
    db.delete_collection("c", timeout=3)


def test_a_wrong_keyword_names_the_class_that_was_called(db: VecDB) -> None:
    """It was "Verbs.search()", of which nobody has heard."""
    with pytest.raises(TypeError, match=r"^VecDB\.search\(\) got an unexpected keyword .*'limt'"):
        db.search("c", [1.0], limt=3)  # type: ignore[call-arg]
    with pytest.raises(
        TypeError, match=r"^VecDB\.search\(\) got an unexpected keyword .*'payload'"
    ):
        db.search("c", [1.0], payload=None)  # type: ignore[call-arg]
    assert Collection.search.__qualname__ == "Collection.search"


def test_collections_come_and_go(db: VecDB) -> None:
    assert db.get_collections().collections == []
    for name in ("b", "a", "c"):
        assert db.create_collection(name, models.VectorParams(size=2, distance="Dot")) is True
    assert [c.name for c in db.get_collections().collections] == ["a", "b", "c"]
    assert db.collection_exists("a")
    assert not db.collection_exists("A")
    db.upsert("a", [{"id": 1, "vector": [1, 2]}])
    assert db.recreate_collection("a", {"size": 3, "distance": "Euclid"}) is True
    assert db.count("a").count == 0
    assert db.get_collection("a").config.params.vectors == models.VectorParams(
        size=3, distance=models.Distance.EUCLID
    )
    assert db.recreate_collection("new", {"size": 3, "distance": "Dot"}) is True
    assert db.delete_collection("a") is True
    assert db.delete_collection("a") is False
    assert not db.collection_exists("a")
    assert [c.name for c in db.get_collections().collections] == ["b", "c", "new"]


def test_get_collection_tells_what_was_configured_and_what_is_there(db: VecDB) -> None:
    db.create_collection(
        "c",
        vectors_config={
            "text": models.VectorParams(size=4, distance=models.Distance.COSINE, on_disk=True),
            "image": {"size": 2, "distance": "Dot"},
        },
        quantization_config={"scalar": {"type": "int8"}},
        optimizers_config={"indexing_threshold": 7},
        hnsw_config={"m": 5},
        wal_config={"wal_capacity_mb": 3},
        on_disk_payload=True,
    )
    db.upsert("c", [{"id": 1, "vector": {"text": [1, 0, 0, 0]}}, {"id": 2, "vector": {}}])
    info = db.get_collection("c")
    assert info.status is models.CollectionStatus.GREEN
    assert info.optimizer_status == "ok"
    assert (info.points_count, info.vectors_count, info.indexed_vectors_count) == (2, 1, 0)
    assert info.segments_count == len(info.segments) == 1
    config = models.to_builtins(info.config)
    assert config["params"]["vectors"]["text"]["on_disk"] is True
    assert config["params"]["on_disk_payload"] is True
    assert config["quantization_config"] == {"scalar": {"type": "int8"}}
    assert config["optimizer_config"]["indexing_threshold"] == 7
    assert config["hnsw_config"]["m"] == 5
    assert config["wal_config"]["wal_capacity_mb"] == 3


def test_configuration_and_points_survive_reopening(tmp_path: Path) -> None:
    with VecDB(tmp_path / "x") as db:
        db.create_collection(
            "c", {"size": 2, "distance": "Dot"}, optimizers_config={"memmap_threshold": 9}
        )
        db.upsert("c", [{"id": UUIDS[0], "vector": [1, 2], "payload": {"ä": ["ß", None, 1.5]}}])
        before = models.to_builtins(db.get_collection("c").config)
    with VecDB(tmp_path / "x") as db:
        assert models.to_builtins(db.get_collection("c").config) == before
        (record,) = db.retrieve("c", [UUIDS[0]], with_vectors=True)
        assert record == models.Record(UUIDS[0], {"ä": ["ß", None, 1.5]}, [1.0, 2.0])


def test_versions_grow_with_every_change(db: VecDB) -> None:
    db.create_collection("c", {"size": 2, "distance": "Dot"})
    first = db.upsert("c", [{"id": 1, "vector": [1, 2]}, {"id": 2, "vector": [2, 1]}])
    second = db.set_payload("c", {"a": 1}, [2])
    assert first.status == second.status == models.UpdateStatus.COMPLETED
    assert first.operation_id is not None
    assert second.operation_id is not None
    assert second.operation_id > first.operation_id
    hits = db.search("c", [1, 1])
    assert {hit.id: hit.version for hit in hits} == {1: first.operation_id, 2: second.operation_id}


def test_memory_is_a_database_that_leaves_nothing(tmp_path: Path) -> None:
    db = VecDB(":memory:")
    path = db.path
    db.create_collection("c", {"size": 2, "distance": "Dot"})
    db.upsert("c", [{"id": 1, "vector": [1, 2]}])
    db.flush()
    assert path.exists()
    db.close()
    db.close()
    assert not path.exists()


# -- writing -------------------------------------------------------------------------------


def test_upsert_takes_every_form_and_agrees(db: VecDB) -> None:
    vectors = numbers(3, DIM)
    payloads = [{"n": 0}, None, {"n": 2}]
    forms: dict[str, Any] = {
        "structs": [
            models.PointStruct(id=i, vector=vectors[i], payload=payloads[i]) for i in range(3)
        ],
        "dicts": [
            {"id": i, "vector": vectors[i].tolist(), "payload": payloads[i]} for i in range(3)
        ],
        "tuple": tuple({"id": i, "vector": vectors[i], "payload": payloads[i]} for i in range(3)),
        "batch": models.Batch(ids=np.arange(3), vectors=vectors, payloads=payloads),
        "float64": models.Batch(
            ids=[0, 1, 2], vectors=vectors.astype(np.float64), payloads=payloads
        ),
        "batch dict": {"ids": [0, 1, 2], "vectors": vectors.tolist(), "payloads": payloads},
        "fortran": models.Batch(
            ids=[0, 1, 2], vectors=np.asfortranarray(vectors), payloads=payloads
        ),
        "uuid objects": None,
    }
    results = []
    for name, points in forms.items():
        db.create_collection(name, {"size": DIM, "distance": "Dot"})
        if points is None:
            points = [{"id": uuid.UUID(UUIDS[0]), "vector": vectors[0]}]
            db.upsert(name, points)
            assert db.retrieve(name, UUIDS[:1])[0].id == UUIDS[0]
            continue
        db.upsert(name, points)
        results.append(db.retrieve(name, [0, 1, 2], with_vectors=True))
    assert all(result == results[0] for result in results)
    assert [record.payload for record in results[0]] == [{"n": 0}, {}, {"n": 2}]


def test_the_callers_array_is_not_kept(db: VecDB) -> None:
    db.create_collection("c", {"size": 2, "distance": "Cosine"})
    db.create_collection("d", {"size": 2, "distance": "Dot"})
    array = np.array([[3, 4]], dtype=np.float32)
    payload = {"a": {"b": [1]}}
    for name in ("c", "d"):
        db.upsert(name, models.Batch(ids=[1], vectors=array, payloads=[payload]))
    assert array.tolist() == [[3, 4]]  # Cosine must not normalise in place
    array[:] = 9
    payload["a"]["b"].append(2)  # type: ignore[attr-defined]
    assert db.retrieve("c", [1], with_vectors=True)[0].vector == pytest.approx([0.6, 0.8])
    assert db.retrieve("d", [1], with_vectors=True)[0].vector == [3, 4]
    assert db.retrieve("d", [1])[0].payload == {"a": {"b": [1]}}
    returned = db.retrieve("d", [1])[0].payload
    assert returned is not None
    returned["a"]["b"].append(3)
    assert db.retrieve("d", [1])[0].payload == {"a": {"b": [1]}}


def test_the_last_of_equal_ids_in_one_batch_counts(db: VecDB) -> None:
    db.create_collection("c", {"size": 1, "distance": "Dot"})
    db.upsert(
        "c", models.Batch(ids=[1, 2, 1], vectors=[[1], [2], [3]], payloads=[{}, {}, {"x": 1}])
    )
    assert db.count("c").count == 2
    assert db.retrieve("c", [1], with_vectors=True) == [models.Record(1, {"x": 1}, [3.0])]
    same = [UUIDS[0], UUIDS[0].upper(), UUIDS[0].replace("-", "")]
    db.upsert("c", models.Batch(ids=same, vectors=[[1], [2], [3]]))
    assert db.count("c").count == 3
    assert db.retrieve("c", [UUIDS[0]], with_vectors=True)[0].vector == [3.0]


def test_upserting_again_replaces_the_whole_point(db: VecDB) -> None:
    db.create_collection(
        "c", {"a": {"size": 1, "distance": "Dot"}, "b": {"size": 1, "distance": "Dot"}}
    )
    db.upsert("c", [{"id": 1, "vector": {"a": [1], "b": [2]}, "payload": {"x": 1, "y": 1}}])
    for flush in (False, True):
        if flush:
            db.flush("c")
        db.upsert("c", [{"id": 1, "vector": {"a": [3]}, "payload": {"x": 2}}])
        (record,) = db.retrieve("c", [1], with_vectors=True)
        assert record == models.Record(1, {"x": 2}, {"a": [3.0]})
        assert db.search("c", ("b", [1])) == []
        assert db.count("c").count == 1


def test_upload_points_and_collection_in_batches(db: VecDB) -> None:
    vectors = numbers(25, DIM)
    payloads = [{"n": n} for n in range(25)]
    for name in ("points", "array", "list", "stream", "named", "dicts"):
        kind: Any = {"size": DIM, "distance": "Dot"}
        db.create_collection(name, {"v": kind} if name in ("named", "dicts") else kind)
    db.upload_points(
        "points",
        (models.PointStruct(id=n, vector=vectors[n], payload=payloads[n]) for n in range(25)),
        batch_size=4,
        parallel=2,
        max_retries=1,
        wait=True,
    )
    db.upload_collection("array", vectors, payload=payloads, ids=itertools.count(), batch_size=7)
    db.upload_collection(
        "list", vectors=vectors.tolist(), payload=iter(payloads), ids=list(range(25))
    )
    db.upload_collection("stream", iter(vectors), payload=payloads, ids=range(25), batch_size=10)
    db.collection("named").upload_collection({"v": vectors}, payloads, np.arange(25), 25)
    db.collection("dicts").upload_collection([{"v": row} for row in vectors], payloads, range(25))
    expected = db.scroll("points", limit=100, with_vectors=True)[0]
    assert [record.payload for record in expected] == payloads
    for name in ("array", "list", "stream"):
        assert db.scroll(name, limit=100, with_vectors=True)[0] == expected
    for name in ("named", "dicts"):
        found = db.scroll(name, limit=100, with_vectors=True)[0]
        assert [r.vector for r in found] == [{"v": r.vector} for r in expected]


def test_upload_collection_makes_up_ids(db: VecDB) -> None:
    db.create_collection("c", {"size": DIM, "distance": "Dot"})
    db.upload_collection("c", numbers(5, DIM), batch_size=2)
    records = db.scroll("c")[0]
    assert len({uuid.UUID(str(record.id)) for record in records}) == 5


def test_upload_collection_leaves_out_vectors_that_are_none(db: VecDB) -> None:
    kinds = {name: {"size": 2, "distance": "Dot"} for name in "ab"}
    db.create_collection("c", kinds)
    db.upload_collection("c", {"a": [[1, 2], None], "b": [None, [3, 4]]}, ids=[1, 2])
    assert [r.vector for r in db.scroll("c", with_vectors=True)[0]] == [
        {"a": [1, 2]},
        {"b": [3, 4]},
    ]


# -- reading -------------------------------------------------------------------------------


def test_scroll_pages_visit_everything_once_ints_before_uuids(db: VecDB) -> None:
    db.create_collection("c", {"size": 1, "distance": "Dot"})
    ids: list[Any] = [5, 2**64 - 1, 0, *UUIDS, 2**63, 17]
    for number, point_id in enumerate(ids):  # over several segments
        db.upsert("c", [{"id": point_id, "vector": [number]}])
        if number % 5 == 4:
            db.flush("c")
    expected = [0, 5, 17, 2**63, 2**64 - 1, *sorted(UUIDS)]
    for limit in (1, 2, 3, len(expected), 100):
        seen: list[Any] = []
        offset = None
        while True:
            page, offset = db.scroll("c", limit=limit, offset=offset)
            assert len(page) == limit or offset is None
            seen += [record.id for record in page]
            if offset is None:
                break
        assert seen == expected
    page, offset = db.scroll("c", limit=2, offset=6)  # an id that does not exist
    assert ([r.id for r in page], offset) == ([17, 2**63], 2**64 - 1)
    page, offset = db.scroll("c", limit=10, offset=UUIDS[-1])
    assert ([r.id for r in page], offset) == ([UUIDS[-1]], None)
    page, _ = db.scroll("c", models.Filter(must=models.HasIdCondition(has_id=[17, UUIDS[3]])))
    assert [r.id for r in page] == [17, UUIDS[3]]


def test_retrieve_keeps_the_order_asked_for(db: VecDB) -> None:
    db.create_collection("c", {"size": 1, "distance": "Dot"})
    db.upsert("c", models.Batch(ids=[1, 2, UUIDS[0]], vectors=[[1], [2], [3]]))
    records = db.retrieve("c", [UUIDS[0].upper(), 9, 2, 1])
    assert [r.id for r in records] == [UUIDS[0], 2, 1]
    assert db.retrieve("c", []) == []


PAYLOAD = {
    "city": "Oslo",
    "n": 1,
    "tags": ["a", "b"],
    "geo": {"lat": 1.5, "name": {"en": "x"}},
    "list": [{"a": 1, "b": 2}, {"a": 3}, {"b": 5}],
}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (True, PAYLOAD),
        (False, None),
        (None, None),
        (["city"], {"city": "Oslo"}),
        (("city", "none"), {"city": "Oslo"}),
        ([], {}),
        ({"include": []}, {}),
        ({"exclude": []}, PAYLOAD),
        (["geo.lat"], {"geo": {"lat": 1.5}}),
        (["geo.name.en", "n"], {"geo": {"name": {"en": "x"}}, "n": 1}),
        (models.PayloadSelectorInclude(include=["tags"]), {"tags": ["a", "b"]}),
        ({"include": ["n"]}, {"n": 1}),
        (
            models.PayloadSelectorExclude(exclude=["tags", "geo.name"]),
            {"city": "Oslo", "n": 1, "geo": {"lat": 1.5}, "list": PAYLOAD["list"]},
        ),
        ({"exclude": ["geo", "list"]}, {"city": "Oslo", "n": 1, "tags": ["a", "b"]}),
        (["list[].a", "city"], {"city": "Oslo", "list": [{"a": 1}, {"a": 3}, {}]}),
        ({"include": ["geo", "n"], "exclude": ["geo.lat"]}, {"n": 1, "geo": {"name": {"en": "x"}}}),
        (models.PayloadSelector(include=["tags"], exclude=["tags"]), {}),
        ({"exclude": ["list[].a", "tags", "geo"]}, {"city": "Oslo", "n": 1, "list": [{"b": 2}, {}, {"b": 5}]}),
        (["list.a"], {"list": []}),
        (["list[].a", "list"], {"list": PAYLOAD["list"]}),
    ],
)  # fmt: skip
def test_with_payload_forms(db: VecDB, selector: Any, expected: Any) -> None:
    db.create_collection("c", {"size": 1, "distance": "Dot"})
    db.upsert("c", [{"id": 1, "vector": [1], "payload": PAYLOAD}])
    for flush in (False, True):
        if flush:
            db.flush("c")
        assert db.retrieve("c", [1], with_payload=selector)[0].payload == expected
        assert db.scroll("c", with_payload=selector)[0][0].payload == expected
        assert db.search("c", [1], with_payload=selector)[0].payload == expected
        assert db.query_points("c", [1], with_payload=selector).points[0].payload == expected
        assert db.query_points("c", with_payload=selector).points[0].payload == expected
        request = {"vector": [1], "limit": 1, "with_payload": selector}
        assert db.search_batch("c", [request])[0][0].payload == expected
        request = {"query": [1], "with_payload": selector}
        assert db.query_batch_points("c", [request])[0].points[0].payload == expected
        assert db.retrieve("c", [1])[0].payload == PAYLOAD  # nothing was cut from what is stored


def test_with_vectors_forms(db: VecDB) -> None:
    kinds = {name: {"size": 2, "distance": "Dot"} for name in "abc"}
    db.create_collection("c", kinds)
    db.create_collection("u", {"size": 2, "distance": "Dot"})
    db.upsert("c", [{"id": 1, "vector": {"a": [1, 2], "b": [3, 4]}}])
    db.upsert("u", [{"id": 1, "vector": [1, 2]}])
    forms: list[tuple[Any, Any]] = [
        (True, {"a": [1, 2], "b": [3, 4]}),
        (False, None),
        (None, None),
        (["b"], {"b": [3, 4]}),
        (["a", "c"], {"a": [1, 2]}),
    ]
    for form, expected in forms:
        assert db.retrieve("c", [1], with_vectors=form)[0].vector == expected
        assert db.scroll("c", with_vectors=form)[0][0].vector == expected
        assert db.search("c", ("a", [1, 1]), with_vectors=form)[0].vector == expected
        found = db.query_points("c", [1, 1], using="a", with_vectors=form).points
        assert found[0].vector == expected
    assert db.retrieve("u", [1], with_vectors=True)[0].vector == [1, 2]
    assert db.retrieve("u", [1], with_vectors=[""])[0].vector == [1, 2]


@pytest.mark.parametrize("distance", DISTANCES)
def test_offset_and_threshold_cut_the_same_list(db: VecDB, distance: str) -> None:
    db.create_collection("c", {"size": DIM, "distance": distance})
    vectors = numbers(60, DIM)
    db.upsert("c", models.Batch(ids=np.arange(40), vectors=vectors[:40]))
    db.flush("c")
    db.upsert("c", models.Batch(ids=np.arange(40, 60), vectors=vectors[40:]))
    query = numbers(DIM, seed=2)
    everything = db.search("c", query, limit=100)
    scores = [hit.score for hit in everything]
    assert len(everything) == 60
    assert scores == sorted(scores, reverse=distance in ("Cosine", "Dot"))
    assert db.search("c", query, limit=7, offset=5) == everything[5:12]
    assert db.search("c", query, limit=7, offset=58) == everything[58:]
    assert db.search("c", query, limit=7, offset=60) == []
    for position in (0, 9, 59):  # as in Qdrant, a score that equals the threshold is left out
        cut = db.search("c", query, limit=100, score_threshold=scores[position])
        assert cut == everything[:position]
        between = db.search("c", query, limit=7, offset=5, score_threshold=scores[position])
        assert between == everything[5 : min(12, position)]
    nothing = 1e9 if distance in ("Cosine", "Dot") else -1.0
    assert db.search("c", query, score_threshold=nothing) == []


@pytest.mark.parametrize("distance", DISTANCES)
def test_search_query_points_and_the_batches_agree(db: VecDB, distance: str) -> None:
    db.create_collection("c", {"size": DIM, "distance": distance})
    db.upsert(
        "c",
        models.Batch(
            ids=np.arange(50),
            vectors=numbers(50, DIM),
            payloads=[{"even": n % 2 == 0} for n in range(50)],
        ),
    )
    query = numbers(DIM, seed=3).tolist()
    even = {"must": [{"key": "even", "match": {"value": True}}]}
    params = models.SearchParams(exact=True)
    options: dict[str, Any] = {"limit": 5, "offset": 1, "with_payload": True}
    expected = db.search(
        "c", query, query_filter=even, search_params=params, with_vectors=True, **options
    )
    assert len(expected) == 5
    found = db.query_points(
        "c", query, query_filter=even, search_params=params, with_vectors=True, **options
    )
    assert found.points == expected
    request = dict(options, filter=even, params=params, with_vector=True)
    assert db.search_batch("c", [{"vector": query, **request}] * 2) == [expected] * 2
    assert db.search_batch("c", [models.SearchRequest(vector=query, **request)]) == [expected]
    batch = db.query_batch_points("c", [{"query": query, **request}, {"query": 3, "limit": 1}])
    assert batch[0].points == expected
    assert batch[1].points[0].payload is None
    assert db.query_batch_points("c", [models.QueryRequest(query=query, **request)]) == [
        models.QueryResponse(expected)
    ]
    assert db.search_batch("c", []) == []
    collection = db.collection("c")
    assert collection.search(query, even, params, 5, 1, True, True) == expected
    assert collection.query_points(query, None, even, params, 5, 1, True, True).points == expected


def test_query_points_by_id_and_without_a_query(db: VecDB) -> None:
    db.create_collection("c", {"size": DIM, "distance": "Euclid"})
    ids = [*range(20), *UUIDS]
    vectors = numbers(len(ids), DIM)
    db.upsert("c", models.Batch(ids=ids, vectors=vectors, payloads=[{"n": n} for n in range(28)]))
    for number, point_id in [(4, 4), (22, UUIDS[2]), (22, uuid.UUID(UUIDS[2]))]:
        by_id = db.query_points("c", point_id, limit=5).points
        by_vector = db.search("c", vectors[number], limit=6)
        assert by_vector[0].id == ids[number]
        assert by_id == by_vector[1:]
    browsed = db.query_points("c", limit=9, offset=18).points
    assert [point.id for point in browsed] == [18, 19, *UUIDS[:7]]
    assert all(point.score == 1 for point in browsed)
    with pytest.raises(InvalidInputError, match="score_threshold: expected None without a query"):
        db.query_points("c", score_threshold=0.5)
    odd = models.Filter(must=models.FieldCondition(key="n", range=models.Range(gte=26)))
    assert [p.id for p in db.query_points("c", query_filter=odd).points] == UUIDS[6:]


def test_named_vectors_may_be_missing(db: VecDB) -> None:
    kinds = {"a": {"size": 2, "distance": "Dot"}, "b": {"size": 3, "distance": "Euclid"}}
    db.create_collection("c", kinds)
    db.upsert(
        "c",
        [
            {"id": 1, "vector": {"a": [1, 0]}},
            {"id": 2, "vector": {"b": [0, 0, 1]}},
            {"id": 3, "vector": {"a": [2, 0], "b": [0, 0, 2]}},
            {"id": 4, "vector": {}},
        ],
    )
    for flush in (False, True):
        if flush:
            db.flush("c")
        assert [h.id for h in db.search("c", ("a", [1, 1]), limit=9)] == [3, 1]
        named = models.NamedVector(name="b", vector=[0, 0, 0])
        assert [h.id for h in db.search("c", named, limit=9)] == [2, 3]
        both = {"must": [{"has_vector": "a"}], "must_not": [{"has_vector": "b"}]}
        assert [r.id for r in db.scroll("c", both)[0]] == [1]
        assert db.count("c").count == 4
        assert db.get_collection("c").vectors_count == 4
    db.update_vectors("c", [models.PointVectors(id=4, vector={"a": [9, 9]})])
    db.delete_vectors("c", ["b"], [3])
    assert [h.id for h in db.search("c", ("a", [1, 1]), limit=9)] == [4, 3, 1]
    assert db.retrieve("c", [3], with_vectors=True)[0].vector == {"a": [2, 0]}
    db.delete_vectors("c", ["a"], models.Filter(must=models.HasVectorCondition(has_vector="a")))
    assert db.search("c", ("a", [1, 1])) == []
    assert db.count("c").count == 4


# -- against Qdrant's local mode -------------------------------------------------------------


class Twins:
    """The same calls on vecdb and on Qdrant's local mode; reads must agree."""

    def __init__(self, db: VecDB, client: Any) -> None:
        self.db = db
        self.client = client

    def write(self, verb: str, **arguments: Any) -> None:
        getattr(self.db, verb)("c", **arguments)
        getattr(self.client, verb)("c", **arguments)

    def compare_points(self) -> None:
        ours = self.db.scroll("c", limit=1000, with_vectors=True)[0]
        theirs = self.client.scroll("c", limit=1000, with_vectors=True)[0]
        assert {r.id: r.payload for r in ours} == {r.id: r.payload or {} for r in theirs}
        vectors = {r.id: r.vector for r in theirs}
        for record in ours:
            expected = vectors[record.id]
            if isinstance(expected, dict):
                assert isinstance(record.vector, dict)
                assert record.vector.keys() == expected.keys()
                for name, vector in expected.items():
                    assert record.vector[name] == pytest.approx(vector, abs=1e-5)
            else:
                assert record.vector == pytest.approx(expected, abs=1e-5)

    def compare_query(self, query: Any, **options: Any) -> None:
        ours = self.db.query_points("c", query, **options).points
        theirs = self.client.query_points("c", query, **options).points
        assert len(ours) == len(theirs)
        scores = np.array([point.score for point in ours])
        np.testing.assert_allclose(scores, [p.score for p in theirs], rtol=1e-4, atol=1e-4)
        if not len(ours):
            return
        # Ids may swap, or at the end be others, only among equal scores.
        apart = np.abs(np.diff(scores)) > 2e-4
        position = 0
        for size in np.diff(np.flatnonzero(np.r_[True, apart, True])).tolist():
            last = position + size == len(ours) and len(ours) == options.get("limit", 10)
            first = position == 0 and options.get("offset")
            if not last and not first:
                mine = {p.id for p in ours[position : position + size]}
                assert mine == {p.id for p in theirs[position : position + size]}
            position += size


@pytest.fixture
def twins(db: VecDB) -> Iterator[Any]:
    client = QdrantClient(":memory:")

    def make(**config: Any) -> Twins:
        db.create_collection("c", **config)
        client.create_collection("c", **config)
        return Twins(db, client)

    yield make
    client.close()


def sample_payload(rng: np.random.Generator) -> dict[str, Any]:
    payload: dict[str, Any] = {"n": int(rng.integers(0, 20)), "city": str(rng.choice(["A", "B"]))}
    if rng.random() < 0.5:
        payload["tags"] = [str(t) for t in rng.choice(list("xyz"), int(rng.integers(0, 3)))]
    if rng.random() < 0.3:
        payload["deep"] = {"a": {"b": int(rng.integers(0, 3))}, "list": [{"v": 1}, {"v": 2}]}
    if rng.random() < 0.2:
        payload["city"] = None
    return payload


# ruff: noqa: E501
FILTERS: list[Any] = [
    None,
    {"must": [{"key": "n", "range": {"gte": 5, "lt": 15}}]},
    {"should": [{"key": "city", "match": {"value": "A"}}, {"key": "tags", "match": {"value": "x"}}]},
    {"must_not": [{"key": "tags", "match": {"any": ["x", "y"]}}]},
    {"must": [{"key": "deep.a.b", "match": {"except": [1]}}]},
    {"must": [{"is_empty": {"key": "tags"}}], "must_not": [{"is_null": {"key": "city"}}]},
    {"must": [{"has_id": [3, 5, 8, 13, 21, 999]}]},
    {"must": [{"key": "tags", "values_count": {"gte": 2}}]},
    {"must": [{"nested": {"key": "deep.list", "filter": {"must": [{"key": "v", "match": {"value": 2}}]}}}]},
    {"min_should": {"conditions": [{"key": "n", "range": {"gt": 3}}, {"key": "city", "match": {"value": "B"}}], "min_count": 2}},
    {"must": [{"key": "n", "match": {"value": 77}}]},
]  # fmt: skip


@pytest.mark.parametrize("distance", DISTANCES)
def test_answers_agree_with_qdrant(twins: Any, distance: str) -> None:
    from qdrant_client import models as theirs

    rng = np.random.default_rng(5)
    pair = twins(vectors_config=theirs.VectorParams(size=DIM, distance=distance))
    vectors = numbers(120, DIM, seed=6)
    vectors[7] = vectors[8]  # a tie
    vectors[9] = 0
    points = [
        theirs.PointStruct(id=n, vector=row.tolist(), payload=sample_payload(rng))
        for n, row in enumerate(vectors)
    ]
    pair.write("upsert", points=points[:80])
    pair.db.flush("c")
    pair.write("upsert", points=points[70:])
    pair.write("delete", points_selector=[0, 71, 119, 5000])
    pair.compare_points()
    for number, filter in enumerate(FILTERS):
        condition = theirs.Filter(**filter) if filter else None
        for seed in (10, 11):
            query = numbers(DIM, seed=seed + 10 * number).tolist()
            pair.compare_query(query, query_filter=condition)
            pair.compare_query(query, query_filter=condition, limit=5, offset=3)
            pair.compare_query(query, query_filter=condition, limit=200)
            threshold = 0.5 if distance in ("Cosine", "Dot") else 3.0
            pair.compare_query(query, query_filter=condition, limit=200, score_threshold=threshold)
        pair.compare_query(8, query_filter=condition, limit=20)
        assert pair.db.count("c", condition) == models.CountResult(
            pair.client.count("c", condition).count
        )
        ours = pair.db.scroll("c", condition, limit=500)[0]
        assert [r.id for r in ours] == [
            r.id for r in pair.client.scroll("c", condition, limit=500)[0]
        ]
    pair.compare_query(numbers(DIM, seed=4).tolist(), limit=1)


def test_payload_edits_agree_with_qdrant(twins: Any) -> None:
    from qdrant_client import models as theirs

    pair = twins(vectors_config=theirs.VectorParams(size=2, distance="Dot"))
    payloads: list[Any] = [
        {"a": 1},
        {"a": {"b": {"c": 1}}, "x": [1, 2]},
        {"a": {"b": 5}},
        None,
        {"list": [{"v": 1}, {"v": 2, "w": 3}], "a": []},
        {"a": None, "x": None},
    ]
    pair.write(
        "upsert",
        points=[theirs.PointStruct(id=n, vector=[n, 1], payload=p) for n, p in enumerate(payloads)],
    )
    everything = list(range(6))
    edits: list[tuple[str, dict[str, Any]]] = [
        ("set_payload", {"payload": {"new": {"k": 1}}, "points": [0, 3]}),
        ("set_payload", {"payload": {"z": 2}, "points": everything, "key": "new"}),
        ("set_payload", {"payload": {"z": [3]}, "points": everything, "key": "a.b"}),
        ("set_payload", {"payload": {"w": 9}, "points": [4], "key": "list[1]"}),
        ("set_payload", {"payload": {"q": 9}, "points": [4], "key": "list[]"}),
        ("set_payload", {"payload": {"x": {"y": 1}}, "points": theirs.Filter(must=[theirs.HasIdCondition(has_id=[1, 5])])}),
        ("delete_payload", {"keys": ["x.y", "nothing", "a.b.z"], "points": everything}),
        ("delete_payload", {"keys": ["list[0]"], "points": [4]}),
        ("delete_payload", {"keys": ["list[].w"], "points": [4]}),
        ("overwrite_payload", {"payload": {"only": 1}, "points": [2, 3]}),
        ("clear_payload", {"points_selector": [0]}),
        ("clear_payload", {"points_selector": theirs.FilterSelector(filter=theirs.Filter(must=[theirs.FieldCondition(key="only", match=theirs.MatchValue(value=1))]))}),
        ("delete", {"points_selector": theirs.PointIdsList(points=[5])}),
    ]  # fmt: skip
    for number, (verb, arguments) in enumerate(edits):
        if number % 4 == 3:
            pair.db.flush("c")
        pair.write(verb, **arguments)
        try:
            pair.compare_points()
        except AssertionError as error:
            raise AssertionError(f"after edit {number}: {verb} {arguments}: {error}") from None


def test_setting_null_removes_the_key_as_qdrant_does(twins: Any) -> None:
    from qdrant_client import models as theirs

    pair = twins(vectors_config=theirs.VectorParams(size=1, distance="Dot"))
    payload = {"a": 1, "b": {"c": 1}, "null": None}
    pair.write("upsert", points=[theirs.PointStruct(id=1, vector=[1], payload=payload)])
    pair.compare_points()
    pair.write("set_payload", payload={"a": None}, points=[1])
    pair.compare_points()
    pair.write("overwrite_payload", payload={"a": None}, points=[1])
    pair.compare_points()


def test_named_vectors_agree_with_qdrant(twins: Any) -> None:
    from qdrant_client import models as theirs

    pair = twins(
        vectors_config={
            "a": theirs.VectorParams(size=4, distance="Cosine"),
            "b": theirs.VectorParams(size=3, distance="Manhattan"),
        }
    )
    rng = np.random.default_rng(8)
    points = []
    for number in range(60):
        vector: dict[str, Any] = {}
        if number % 3:
            vector["a"] = rng.standard_normal(4).tolist()
        if number % 4:
            vector["b"] = rng.standard_normal(3).tolist()
        points.append(theirs.PointStruct(id=number, vector=vector, payload=sample_payload(rng)))
    pair.write("upsert", points=points[:30])
    pair.db.flush("c")
    pair.write("upsert", points=points[30:])
    pair.write("delete_vectors", vectors=["a"], points=[1, 2, 31])
    new = [theirs.PointVectors(id=n, vector={"b": [n, 0.5, 1.0]}) for n in (0, 4, 33)]
    pair.write("update_vectors", points=new)
    pair.write("delete_vectors", vectors=["b"], points=[5, 35, 33])
    pair.compare_points()
    for flush in (False, True):
        if flush:
            pair.db.flush("c")
        for filter in (None, FILTERS[1], FILTERS[6], {"must": [{"has_vector": "a"}]}):
            condition = theirs.Filter(**filter) if filter else None
            for name, size in (("a", 4), ("b", 3)):
                query = numbers(size, seed=9).tolist()
                pair.compare_query(query, using=name, query_filter=condition, limit=100)
                pair.compare_query(query, using=name, query_filter=condition, limit=4, offset=2)
        pair.compare_query(7, using="a", limit=50)
        pair.compare_query(7, using="b", limit=50)


def test_qdrants_batch_object(twins: Any) -> None:
    from qdrant_client import models as theirs

    pair = twins(vectors_config=theirs.VectorParams(size=2, distance=theirs.Distance.EUCLID))
    batch = theirs.Batch(
        ids=[1, UUIDS[0]], vectors=[[1.0, 2.0], [3.0, 4.0]], payloads=[{"a": 1}, {}]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pair.write("upsert", points=batch)
    pair.compare_points()
    pair.compare_query([0.0, 0.0], limit=2)
