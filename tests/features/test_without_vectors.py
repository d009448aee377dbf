"""Collections without vectors, and points without vectors: ids and payloads, as in Qdrant."""

from __future__ import annotations

import asyncio
import copy
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import qdrant_client
from qdrant_client import models as theirs
from random_life import live

from proofs.model.oracle import Oracle, require_sound
from proofs.model.writes import INDEXES, UPLOADS, VECTOR_NAMES, WEIGHTS, Pool
from vecdb import AsyncVecDB, VecDB, models
from vecdb.engine.read.reader import Wanted
from vecdb.engine.repair.rebuild import repair_database
from vecdb.engine.write import checkpoint, conditional
from vecdb.engine.write.ingest import prepare_upsert, prepare_vectors
from vecdb.engine.write.writer import submit, submit_each
from vecdb.errors import (
    CorruptionError,
    InvalidInputError,
    StorageFullError,
    WriteError,
    copy_of,
)
from vecdb.qdrant import QdrantClient

QUIET: Any = {"max_optimization_threads": 0}
DENSE: Any = {"dense": {"size": 2, "distance": "Dot"}}


def points(start: int, stop: int, **payload: Any) -> list[models.PointStruct]:
    return [
        models.PointStruct(id=n, vector={}, payload={"n": n, **payload}) for n in range(start, stop)
    ]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[VecDB]:
    """Rows in two files and in memory."""
    db = VecDB(tmp_path / "db")
    db.create_collection("c", optimizers_config=QUIET)
    for start in (0, 20):
        db.upsert("c", points(start, start + 20))
        db.flush()
    db.upsert("c", points(40, 50))
    yield db
    db.close()


def payloads(db: VecDB, name: str = "c") -> dict[Any, Any]:
    return {r.id: r.payload for r in db.scroll(name, limit=10_000)[0]}


def told(*arguments: str) -> str:
    """What a command says."""
    command = [sys.executable, "-m", "vecdb", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def segments(db: VecDB) -> list[tuple[int, int]]:
    return [(s.points, s.deleted) for s in db.get_collection("c").segments]


# -- as Qdrant's local mode ------------------------------------------------------------------------


def filled(client: qdrant_client.QdrantClient) -> qdrant_client.QdrantClient:
    client.create_collection("c")
    client.create_collection("named", {"a": theirs.VectorParams(size=2, distance="Dot")})  # type: ignore[arg-type]
    client.upsert("c", [theirs.PointStruct(id=n, vector={}, payload={"n": n}) for n in range(9)])
    client.upload_points("c", [theirs.PointStruct(id=n, vector={}) for n in (20, 21)])
    client.upload_collection("c", vectors=[{}, {}], payload=[{"n": 1}, {"n": 2}], ids=[30, 31])
    client.upsert("c", theirs.Batch(ids=[40, 41], vectors={}, payloads=[{"n": 5}, {}]))
    client.upsert("named", [theirs.PointStruct(id=1, vector={}, payload={"n": 1})])
    client.upsert("named", [theirs.PointStruct(id=2, vector={"a": [1.0, 2.0]})])
    return client


def some(value: int) -> theirs.Filter:
    match = theirs.MatchValue(value=value)
    return theirs.Filter(must=[theirs.FieldCondition(key="n", match=match)])


def edited(client: qdrant_client.QdrantClient) -> Any:
    client.set_payload("c", {"new": [1]}, points=[1, 2])
    client.overwrite_payload("c", {"all": None}, points=[3])
    client.delete_payload("c", ["n"], points=some(4))
    client.clear_payload("c", points_selector=[5])
    client.delete("c", points_selector=[6, 1000])
    client.batch_update_points(
        "c",
        [
            theirs.UpsertOperation(
                upsert=theirs.PointsList(points=[theirs.PointStruct(id=50, vector={})])
            ),
            theirs.SetPayloadOperation(
                set_payload=theirs.SetPayload(payload={"of": "batch"}, points=[50])
            ),
            theirs.DeleteOperation(delete=theirs.PointIdsList(points=[0])),
        ],
    )
    return client.scroll("c", limit=100, with_vectors=True)


def named_later(client: qdrant_client.QdrantClient) -> Any:
    dense = theirs.DenseVectorConfig(size=2, distance=theirs.Distance.DOT)
    client.create_vector_name("c", "v", theirs.DenseVectorNameConfig(dense=dense))
    client.upsert("c", [theirs.PointStruct(id=3, vector={"v": [1.0, 2.0]})])
    client.update_vectors("c", [theirs.PointVectors(id=2, vector={"v": [2.0, 2.0]})])
    found = client.query_points("c", [1.0, 1.0], using="v").points
    near = [(hit.id, hit.score) for hit in found]
    during = client.scroll("c", limit=100, with_vectors=True)
    client.delete_vector_name("c", "v")
    return near, during, client.scroll("c", limit=100, with_vectors=True)


CALLS: dict[str, Callable[[qdrant_client.QdrantClient], Any]] = {
    "scroll": lambda c: c.scroll("c", limit=100),
    "scroll with vectors": lambda c: c.scroll("c", limit=100, with_vectors=True),
    "scroll with a filter": lambda c: c.scroll("c", some(5)),
    "pages": lambda c: c.scroll("c", limit=3, offset=4),
    "retrieve": lambda c: c.retrieve("c", [1, 7, 99], with_vectors=True),
    "retrieve without vectors": lambda c: c.retrieve("c", [1]),
    "count": lambda c: c.count("c"),
    "count with a filter": lambda c: c.count("c", some(1)),
    "has a vector": lambda c: c.count(
        "c", theirs.Filter(must=[theirs.HasVectorCondition(has_vector="a")])
    ),
    "query by nothing": lambda c: [p.id for p in c.query_points("c", limit=4).points],
    "query by nothing with vectors": lambda c: [
        p.vector for p in c.query_points("c", limit=4, with_vectors=True).points
    ],
    "edits": edited,
    "a vector later": named_later,
    "vectors": lambda c: c.get_collection("c").config.params.vectors,
    "points": lambda c: c.get_collection("c").points_count,
    "exists": lambda c: c.collection_exists("c"),
    "anew": lambda c: (c.recreate_collection("c"), c.count("c")),
    "lacking": lambda c: c.scroll("named", with_vectors=True),
    "lacking, asked for": lambda c: c.retrieve("named", [1, 2], with_vectors=["a"]),
    "lacking, searched": lambda c: [
        hit.id for hit in c.query_points("named", [1.0, 1.0], using="a").points
    ],
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_as_in_local_mode(call: Callable[[qdrant_client.QdrantClient], Any]) -> None:
    local, ours = qdrant_client.QdrantClient(":memory:"), QdrantClient(":memory:")
    try:
        assert call(filled(ours)) == call(filled(local))
    finally:
        local.close()
        ours.close()


REFUSED: dict[str, Callable[[qdrant_client.QdrantClient], Any]] = {
    "query": lambda c: c.query_points("c", [1.0]),
    "query by name": lambda c: c.query_points("c", [1.0], using="a"),
    "query by id": lambda c: c.query_points("c", 1),
    "write": lambda c: c.upsert("c", [theirs.PointStruct(id=1, vector=[1.0])]),
    "write by name": lambda c: c.upsert("c", [theirs.PointStruct(id=1, vector={"a": [1.0]})]),
    "delete vectors": lambda c: c.delete_vectors("c", ["a"], [1]),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED.keys())
def test_what_needs_a_vector_is_refused(call: Callable[[qdrant_client.QdrantClient], Any]) -> None:
    local, ours = qdrant_client.QdrantClient(":memory:"), QdrantClient(":memory:")
    try:
        with pytest.raises(ValueError, match=r"not found|Not existing vector name"):
            call(filled(local))
        with pytest.raises(ValueError, match="this collection has no vectors"):
            call(filled(ours))
    finally:
        local.close()
        ours.close()


# -- by the verbs of vecdb -------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, None, "nothing"])
def test_every_way_to_say_it(given: Any, tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", *([] if given == "nothing" else [given]))
        assert db.get_collection("c").config.params.vectors == {}
        assert repr(db.collection("c")) == "<Collection 'c': 0 points, no vectors>"
        db.upsert("c", [{"id": 1, "vector": {}, "payload": {"a": 1}}])
    with VecDB(tmp_path / "db") as db:
        assert db.get_collection("c").config.params.vectors == {}
        assert payloads(db) == {1: {"a": 1}}
        db.recreate_collection("c")
        assert payloads(db) == {}


def test_what_is_wanted_of_a_point(db: VecDB) -> None:
    for flag, wanted in ((True, {}), (False, None), ([], None)):
        assert db.retrieve("c", [3], with_vectors=flag)[0].vector == wanted
        assert db.scroll("c", limit=1, with_vectors=flag)[0][0].vector == wanted
        assert db.query_points("c", limit=1, with_vectors=flag).points[0].vector == wanted
    assert Wanted(True, None) != Wanted(True, [])


def test_names_that_are_not_there(db: VecDB) -> None:
    for call in (
        lambda: db.scroll("c", with_vectors=["a"]),
        lambda: db.update_collection("c", vectors_config={"a": {"on_disk": True}}),
        lambda: db.query_points("c", using="a"),
    ):
        with pytest.raises(InvalidInputError, match="unknown vector name 'a'; this collection has"):
            call()
    with pytest.raises(InvalidInputError, match=r"give one \{\} a point"):
        db.upload_collection("c", {}, payload=[{"a": 1}])
    assert payloads(db) == {n: {"n": n} for n in range(50)}


def test_uploads(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c")
        db.upload_points("c", points(0, 2500))
        vectors: Iterator[dict[str, Any]] = ({} for _ in range(2500))
        rows = ({"n": n} for n in range(2500, 5000))
        db.upload_collection("c", vectors, rows, range(2500, 5000))
        assert payloads(db) == {n: {"n": n} for n in range(5000)}


def test_conditions_of_writes(db: VecDB) -> None:
    db.upsert("c", points(45, 55, again=1), update_mode="insert_only")
    db.upsert(
        "c", points(0, 2, again=2), update_filter={"must": [{"key": "n", "range": {"gt": 0}}]}
    )
    db.upsert("c", points(90, 99), update_mode="update_only")
    expected = {n: {"n": n} for n in range(50)} | {n: {"n": n, "again": 1} for n in range(50, 55)}
    assert payloads(db) == expected | {1: {"n": 1, "again": 2}}


def test_what_is_kept_with_it(db: VecDB) -> None:
    db.create_payload_index("c", "n", "integer")
    db.update_collection_aliases(
        [{"create_alias": {"collection_name": "c", "alias_name": "other"}}]
    )
    codes: Any = {"scalar": {"type": "int8"}}
    db.update_collection("c", metadata={"of": "c"}, quantization_config=codes)
    info = db.get_collection("other")
    assert info.payload_schema["n"].points == 50
    assert info.config.metadata == {"of": "c"}
    assert (info.points_count, info.vectors_count, info.indexed_vectors_count) == (50, 0, 0)
    assert [segment.vectors for segment in info.segments] == [{}, {}, {}]
    report = db.memory_report("c")
    assert report["parts"]["originals"]["file"] == 0
    assert report["parts"]["payload"]["file"] > 0


def test_a_reader_in_another_process_follows(db: VecDB) -> None:
    with VecDB(db.path, read_only=True) as reader:
        db.delete("c", [0, 45])
        db.set_payload("c", {"new": 1}, [1])
        db.flush()
        db.upsert("c", points(60, 62))
        reader.refresh()
        assert payloads(reader) == payloads(db)
        db.create_vector_name("c", "v", DENSE)
        db.upsert("c", [{"id": 60, "vector": {"v": [1, 2]}}])
        reader.refresh()
        assert reader.query_points("c", [1, 1], using="v").points[0].id == 60
        db.delete_vector_name("c", "v")
        reader.refresh()
        assert reader.get_collection("c").config.params.vectors == {}
        assert payloads(reader) == payloads(db)


def test_snapshots(db: VecDB, tmp_path: Path) -> None:
    one, full = db.create_snapshot("c"), db.create_full_snapshot()
    wanted = payloads(db)
    db.delete("c", list(range(30)))
    db.recover_snapshot("c", one.name)
    assert payloads(db) == wanted
    db.recover_snapshot("d", db.path / "snapshots/c" / one.name)
    assert payloads(db, "d") == wanted
    told("restore", str(db.path / "snapshots" / full.name), "--to", str(tmp_path / "restored"))
    with VecDB(tmp_path / "restored") as restored:
        assert payloads(restored) == wanted
    require_sound(tmp_path / "restored")


def test_a_killed_process_left_a_log(db: VecDB, tmp_path: Path) -> None:
    db.delete("c", [1, 41])
    db.set_payload("c", {"new": 1}, [2, 42])
    shutil.copytree(db.path, tmp_path / "killed")
    with VecDB(tmp_path / "killed") as again:
        assert payloads(again) == payloads(db)
    require_sound(tmp_path / "killed")


def test_the_command_line(db: VecDB) -> None:
    db.flush()
    assert db.wait_for_optimizer("c")
    path = db.path
    db.close()
    shown = told("info", str(path))
    assert "c: 50 points, status green" in shown
    assert "vectors     none" in shown
    rows = [line.split()[1:] for line in shown.splitlines()]
    assert ["file", "50", "0", "-", "-", "-", "-"] in rows
    told("check", str(path))
    told("snapshot", "--collection", "c", "--to", str(path.parent / "one"), str(path))
    told("restore", str(path.parent / "one"), "--to", str(path.parent / "new"))
    info = json.loads(told("info", str(path.parent / "new"), "--json"))["collections"]["c"]
    assert info["config"]["params"]["vectors"] == {}
    told("repair", "--to", str(path.parent / "saved"), str(path))
    with VecDB(path.parent / "saved") as saved:
        assert payloads(saved) == {n: {"n": n} for n in range(50)}
        assert saved.get_collection("c").config.params.vectors == {}


def test_coroutines(tmp_path: Path) -> None:
    async def run() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            await db.create_collection("c")
            await asyncio.gather(*(db.upsert("c", points(n, n + 1)) for n in range(20)))
            assert (await db.count("c")).count == 20
            records, _ = await db.scroll("c", limit=1, with_vectors=True)
            assert records == [models.Record(0, {"n": 0}, {})]
            with pytest.raises(InvalidInputError, match="this collection has no vectors"):
                await db.query_points("c", [1.0])
            await db.recreate_collection("c")
            assert (await db.count("c")).count == 0

    asyncio.run(run())


# -- the optimizer ---------------------------------------------------------------------------------


def test_the_optimizer_comes_to_rest(tmp_path: Path) -> None:
    """It never did: sizes were those of the largest of no vectors."""
    with VecDB(tmp_path / "db") as db:
        db.create_collection(
            "c", optimizers_config={"indexing_threshold": 1, "memmap_threshold": 1}
        )
        for start in range(0, 3000, 300):
            db.upsert("c", points(start, start + 300, text="x" * 50))
            db.flush()
        assert db.wait_for_optimizer("c")
        info = db.get_collection("c")
        assert info.status is models.CollectionStatus.GREEN
        assert info.segments_count <= 2
        assert payloads(db) == {n: {"n": n, "text": "x" * 50} for n in range(3000)}
    require_sound(tmp_path / "db")


def test_dead_rows_are_removed(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", optimizers_config={"vacuum_min_vector_number": 100})
        db.upsert("c", points(0, 1000))
        db.flush()
        db.delete("c", list(range(600)))
        assert db.wait_for_optimizer("c")
        assert segments(db) == [(400, 0)]
        assert payloads(db) == {n: {"n": n} for n in range(600, 1000)}


def test_a_large_segment_is_not_written_anew_for_a_few_points(tmp_path: Path) -> None:
    """All sizes were 0 KB, so all were alike."""
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", optimizers_config=QUIET)
        rng = np.random.default_rng(0)
        for start in range(0, 2000, 1000):
            large = [
                models.PointStruct(id=n, vector={}, payload={"t": rng.bytes(500).hex()})
                for n in range(start, start + 1000)
            ]
            db.upsert("c", large)
        db.flush()
        for start in (5000, 5010, 5020):
            db.upsert("c", points(start, start + 10))
            db.flush()
        assert db.wait_for_optimizer("c")
        assert sorted(segments(db)) == [(30, 0), (2000, 0)]


def test_no_segment_grows_beyond_its_limit(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", optimizers_config={**QUIET, "max_segment_size": 100})
        for start in range(0, 240, 20):
            db.upsert("c", points(start, start + 20, text="x" * 1000))  # 20 KB
            db.flush()
        assert db.wait_for_optimizer("c")
        sizes = [
            sum(path.stat().st_size for path in directory.iterdir())
            for directory in (db.path / "collections/c/segments").iterdir()
        ]
        assert len(sizes) > 2
        assert max(sizes) < 150_000


def test_a_build_takes_a_few_rows_at_a_time(db: VecDB, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as fit into a block, of which each row took nothing."""
    from vecdb.engine import sources

    monkeypatch.setattr(sources, "_BLOCK_BYTES", 64 * 7)
    pieces = list(sources.blocks_of(np.arange(20), {}))
    assert [len(piece) for piece in pieces] == [7, 7, 6]
    db.update_collection("c", optimizers_config={"default_segment_number": 1})
    db.flush()
    assert db.wait_for_optimizer("c")
    assert segments(db) == [(50, 0)]
    assert payloads(db) == {n: {"n": n} for n in range(50)}


# -- vectors that come and go ----------------------------------------------------------------------


def test_the_first_name_comes_and_the_last_one_goes(db: VecDB) -> None:
    wanted = payloads(db)
    for name in ("v", ""):
        db.create_vector_name("c", name, DENSE)
        db.update_vectors("c", [{"id": 3, "vector": {name: [1, 2]}}])
        assert [hit.id for hit in db.query_points("c", [1, 1], using=name).points] == [3]
        db.flush()
        db.delete_vector_name("c", name)
        assert db.get_collection("c").config.params.vectors == {}
        assert payloads(db) == wanted
        files = {path.name for path in (db.path / "collections/c/segments").rglob("*")}
        assert not {"vectors", "vectors.v"} & files
    db.close()
    require_sound(db.path)
    with VecDB(db.path) as again:
        assert payloads(again) == wanted
        assert again.wait_for_optimizer("c")


def replaced(db: VecDB) -> None:
    db.create_vector_name("c", "w", DENSE)
    db.delete_vector_name("c", "v")


def larger(db: VecDB) -> None:
    db.delete_vector_name("c", "v")
    db.create_vector_name("c", "v", {"dense": {"size": 3, "distance": "Dot"}})


@pytest.mark.parametrize(
    "change",
    [lambda db: db.delete_vector_name("c", "v"), replaced, larger],
    ids=["gone", "replaced", "larger"],
)
@pytest.mark.parametrize("written", [False, True], ids=["", "written"])
def test_repair_knows_what_became_of_the_names(
    change: Callable[[VecDB], Any], written: bool, tmp_path: Path
) -> None:
    """The catalog's configuration was not believed when no segment had a vector of it."""
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"v": {"size": 2, "distance": "Dot"}}, None, QUIET)
        db.upsert("c", [{"id": n, "vector": {"v": [n, 1]}, "payload": {"n": n}} for n in range(9)])
        db.flush()
        change(db)
        if written:
            db.upsert("c", points(20, 22))
        wanted = db.scroll("c", limit=100, with_vectors=True)
        config = db.get_collection("c").config
    report = repair_database(tmp_path / "db", tmp_path / "saved")
    assert report.complete
    with VecDB(tmp_path / "saved") as saved:
        assert saved.scroll("c", limit=100, with_vectors=True) == wanted
        assert saved.get_collection("c").config == config


def test_repair_without_the_catalog(db: VecDB, tmp_path: Path) -> None:
    db.close()
    (db.path / "collections/c/catalog/data.mdb").write_bytes(bytes(8192))
    repair_database(db.path, tmp_path / "saved")
    with VecDB(tmp_path / "saved") as saved:
        assert payloads(saved) == {n: {"n": n} for n in range(50)}
        assert saved.get_collection("c").config.params.vectors == {}


@pytest.mark.parametrize("seed", range(4))
def test_any_life(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes of every kind, checkpoints, merges and recoveries; in every other one a vector comes
    and goes."""
    monkeypatch.setattr(checkpoint, "MEMORY_LIMIT", 20_000)
    rng = Random(seed)
    oracle, pool = Oracle({}), Pool(str(seed), {}, 300)
    weights = {**WEIGHTS, **INDEXES, **UPLOADS, "upsert": 16}
    if seed % 2:
        weights |= dict.fromkeys(VECTOR_NAMES, 2)
    path = tmp_path / "db"
    db = VecDB(path, sync="never")
    settings = {"indexing_threshold": 1, "default_segment_number": 2}
    db.create_collection("c", None, {"scalar": {"type": "int8"}}, {**QUIET, **settings})
    live(db, oracle, pool, weights, rng)


# -- points that lack vectors ----------------------------------------------------------------------


@pytest.mark.parametrize("flushed", [False, True], ids=["memory", "file"])
def test_points_that_lack_some_or_all_vectors(flushed: bool, tmp_path: Path) -> None:
    two: Any = {name: {"size": 2, "distance": "Cosine"} for name in "ab"}
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", two)
        given: list[dict[str, Any]] = [{}, {"a": [1.0, 0.0]}, {"a": [0.0, 1.0], "b": [1.0, 0.0]}]
        db.upsert("c", [{"id": n, "vector": vector} for n, vector in enumerate(given)])
        if flushed:
            db.flush()
        records, _ = db.scroll("c", with_vectors=True)
        assert [record.vector for record in records] == given
        assert [hit.id for hit in db.query_points("c", [1, 0], using="a").points] == [1, 2]
        assert db.get_collection("c").vectors_count == 3
        lacking: Any = {"must_not": [{"has_vector": "a"}, {"has_vector": "b"}]}
        assert [record.id for record in db.scroll("c", lacking)[0]] == [0]


def test_a_batch_without_vectors(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"a": {"size": 2, "distance": "Dot"}})
        db.create_collection("one", {"size": 2, "distance": "Dot"})
        for name in ("c", "one"):
            db.upsert(name, models.Batch(ids=[1, 2], vectors={}))
            records, _ = db.scroll(name, with_vectors=True)
            assert [record.vector for record in records] == [{}, {}]  # as in Qdrant


# -- a write is made for the vectors that there are ------------------------------------------------


def anew(db: VecDB, distance: str) -> None:
    db.delete_vector_name("c", "v")
    db.create_vector_name("c", "v", {"dense": {"size": 2, "distance": distance}})


@pytest.fixture
def cosine(tmp_path: Path) -> Iterator[VecDB]:
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"v": {"size": 2, "distance": "Cosine"}})
        db.upsert("c", [{"id": 1, "vector": {"v": [1, 0]}, "payload": {"n": 1}}])
        yield db


POINT: Any = [{"id": 1, "vector": {"v": [3, 4]}}]
PREPARED: dict[str, Callable[[Any], Any]] = {
    "upsert": lambda schema: prepare_upsert(schema, models.parse_points(POINT)),
    "upsert on a condition": lambda schema: conditional.upsert(
        schema, POINT, {"must": [{"key": "n", "match": {"value": 1}}]}
    )[0],
    "vectors": lambda schema: lambda view: prepare_vectors(schema, POINT),
    "vectors on a condition": lambda schema: conditional.update_vectors(
        schema, POINT, {"must": [{"has_id": [1]}]}
    ),
}


@pytest.mark.parametrize("prepare", PREPARED.values(), ids=PREPARED.keys())
def test_a_vector_made_for_another_distance_is_refused(
    cosine: VecDB, prepare: Callable[[Any], Any]
) -> None:
    """It had been scaled to length 1 for Cosine, and was stored so under Dot."""
    store = cosine.collection("c")._store
    request = prepare(store.schema)
    if not callable(request):
        assert np.allclose(request.vectors["v"].values, [[0.6, 0.8]])
    anew(cosine, "Dot")
    cosine.upsert("c", [{"id": 1, "vector": {"v": [1, 0]}, "payload": {"n": 1}}])
    with pytest.raises(InvalidInputError, match=r"'v'.*taken from the collection meanwhile"):
        submit(store, request)
    assert cosine.retrieve("c", [1], with_vectors=True)[0].vector == {"v": [1.0, 0.0]}


@pytest.mark.parametrize("prepare", PREPARED.values(), ids=PREPARED.keys())
def test_one_made_for_the_same_distance_is_stored(
    cosine: VecDB, prepare: Callable[[Any], Any]
) -> None:
    store = cosine.collection("c")._store
    request = prepare(store.schema)
    anew(cosine, "Cosine")
    cosine.update_collection("c", metadata={"a": 1})
    cosine.set_payload("c", {"n": 1}, [1])
    submit(store, request)
    found = cosine.retrieve("c", [1], with_vectors=True)[0].vector
    assert np.allclose(found["v"], [0.6, 0.8])  # type: ignore[index, call-overload]


def test_a_point_without_the_vector_does_not_mind(cosine: VecDB) -> None:
    store = cosine.collection("c")._store
    request = prepare_upsert(store.schema, points(7, 9))
    cosine.delete_vector_name("c", "v")
    submit(store, request)
    assert payloads(cosine)[7] == {"n": 7}
    assert cosine.get_collection("c").config.params.vectors == {}
    cosine.flush()


# -- whose error it is -----------------------------------------------------------------------------


def failing_in_a_group(db: VecDB, count: int) -> list[BaseException]:
    """What each of several callers hears whose writes were one group."""
    store = db.collection("c")._store
    heard: list[BaseException] = []

    def write(number: int) -> None:
        try:
            db.upsert("c", points(100 + number, 101 + number))
        except BaseException as error:
            heard.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(count)]
    with store.write:
        for number, thread in enumerate(threads, 1):
            thread.start()
            while len(store.queue) < number:
                pass
    for thread in threads:
        thread.join()
    return heard


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (lambda: StorageFullError(28, "no space"), StorageFullError),
        (lambda: WriteError(5, "broken"), WriteError),
        (lambda: MemoryError("no memory"), MemoryError),
    ],
    ids=["full", "broken", "another"],
)
def test_each_caller_hears_of_a_failed_group_by_an_error_of_its_own(
    db: VecDB, monkeypatch: pytest.MonkeyPatch, raised: Callable[[], BaseException], kind: Any
) -> None:
    """All of them raised one object, and what one noted in it the others saw."""

    def fail(*_: Any) -> None:
        raise raised()

    monkeypatch.setattr(db.collection("c")._store, "append", fail)
    heard = failing_in_a_group(db, 3)
    assert len({id(error) for error in heard}) == 3
    assert {type(error) for error in heard} == {kind}
    assert len({str(error) for error in heard}) == 1
    causes = {error.__cause__ for error in heard} - {None}
    assert len(causes) == 1  # the first
    first = [error for error in heard if error.__cause__ is None]
    assert first == list(causes)
    heard[0].add_note("mine")
    assert not any(hasattr(error, "__notes__") for error in heard[1:])
    monkeypatch.undo()
    assert payloads(db) == {n: {"n": n} for n in range(50)}


def test_several_writes_of_one_call_have_an_error_each(
    db: VecDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So coroutines do, whose writes are committed together."""
    store = db.collection("c")._store

    def fail(*_: Any) -> None:
        raise MemoryError("no memory")

    monkeypatch.setattr(store, "append", fail)
    writes = [[prepare_upsert(store.schema, points(n, n + 1))] for n in (100, 101, 102)]
    outcomes = submit_each(store, writes)
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert all(type(outcome) is MemoryError for outcome in outcomes)


def test_coroutines_for_which_there_is_no_thread_have_an_error_each(tmp_path: Path) -> None:
    async def run() -> list[Any]:
        async with AsyncVecDB(tmp_path / "db") as db:
            await db.create_collection("c")
            raised = RuntimeError("can't start new thread")

            def fail(*_: Any) -> None:
                raise raised

            queues: Any = db._calls._queues
            start, queues._start = queues._start, fail
            writes = (db.upsert("c", points(n, n + 1)) for n in range(3))
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
            queues._start = start
            assert all(isinstance(outcome, BaseException) for outcome in outcomes)
            return list(outcomes)

    outcomes = asyncio.run(run())
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert {str(outcome) for outcome in outcomes} == {"can't start new thread"}
    assert len({id(outcome.__cause__) for outcome in outcomes}) == 1


class Odd(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} {second}")


@pytest.mark.parametrize(
    "error",
    [StorageFullError(28, "no space"), CorruptionError("path", "detail"), KeyError("k")],
    ids=lambda error: type(error).__name__,
)
def test_copies_of_errors(error: BaseException) -> None:
    error.add_note("a note")
    own = copy_of(error)
    assert type(own) is type(error)
    assert (own.args, own.__cause__, own.__notes__) == (error.args, error, ["a note"])
    assert own.__notes__ is not error.__notes__


def test_the_copy_of_an_error_that_cannot_be_copied() -> None:
    error = Odd(1, 2)
    with pytest.raises(TypeError):
        copy.copy(error)
    own = copy_of(error)
    assert isinstance(own, WriteError)
    assert str(own) == "Odd: 1 2"
    assert own.__cause__ is error
