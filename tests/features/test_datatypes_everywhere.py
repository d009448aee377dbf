"""Originals as float16 and uint8 on every face, and wherever a collection goes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_client
from exchange_tools import SEVERAL
from qdrant_client import models as theirs
from serving import Server, serving

import vecdb.qdrant
from proofs.model.oracle import require_sound
from vecdb import AsyncVecDB, VecDB, exchange, models
from vecdb.cli.main import main
from vecdb.engine.repair.rebuild import repair_database
from vecdb.errors import InvalidInputError

ROWS, DIM = 120, 6
RNG = np.random.default_rng(2)
NUMBERS = {
    "half": RNG.standard_normal((ROWS, DIM)).astype(np.float32),
    "byte": (RNG.random((ROWS, DIM)) * 270 - 5).astype(np.float32),
    "scaled": RNG.standard_normal((ROWS, DIM)).astype(np.float32),
}
CONFIG: dict[str, Any] = {
    "half": {"size": DIM, "distance": "Euclid", "datatype": "float16"},
    "byte": {"size": DIM, "distance": "Cosine", "datatype": "uint8"},
    "scaled": {"size": DIM, "distance": "Cosine", "datatype": "float16"},
}
HELD = {
    "half": NUMBERS["half"].astype(np.float16).astype(np.float32),
    "byte": np.clip(np.trunc(NUMBERS["byte"]), 0, 255),
}
QUERY = [3.0, 1.5, -2.25, 40.0, 5.0, 6.0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server") / "db", "--grpc-port", "0") as running:
        yield running


def filled(db: VecDB, name: str = "c") -> None:
    db.create_collection(name, CONFIG)
    db.upsert(name, models.Batch(ids=list(range(ROWS)), vectors=NUMBERS))


def everything(db: VecDB, name: str = "c") -> dict[Any, Any]:
    """All vectors, and what a search by each name finds."""
    records = db.scroll(name, limit=1000, with_vectors=True)[0]
    hits = {
        using: [
            (hit.id, hit.score)
            for hit in db.query_points(name, query=QUERY, using=using, limit=20).points
        ]
        for using in CONFIG
    }
    return {record.id: record.vector for record in records} | hits


def datatypes(db: VecDB, name: str = "c") -> dict[str, Any]:
    vectors = db.get_collection(name).config.params.vectors
    return {using: params.datatype.value for using, params in vectors.items()}


DATATYPES = {using: config["datatype"] for using, config in CONFIG.items()}


@pytest.fixture
def expected() -> dict[Any, Any]:
    with VecDB(":memory:") as db:
        filled(db)
        found = everything(db)
        for using, held in HELD.items():
            assert np.array_equal(np.float32([found[n][using] for n in range(ROWS)]), held)
        return found


@pytest.mark.parametrize("face", ["embedded", "http", "grpc"])
def test_through_qdrants_client(server: Server, face: str, expected: dict[Any, Any]) -> None:
    name = f"by {face}"
    client: Any
    if face == "embedded":
        client = vecdb.qdrant.QdrantClient(":memory:")
    else:
        grpc = int(server.grpc.rpartition(":")[2])
        client = qdrant_client.QdrantClient(
            host="127.0.0.1",
            port=server.port,
            grpc_port=grpc,
            prefer_grpc=face == "grpc",
            check_compatibility=False,
        )
    client.create_collection(
        name,
        vectors_config={
            using: theirs.VectorParams(
                size=DIM,
                distance=theirs.Distance(config["distance"]),
                datatype=theirs.Datatype(config["datatype"]),
            )
            for using, config in CONFIG.items()
        },
    )
    points = [
        theirs.PointStruct(id=n, vector={u: rows[n].tolist() for u, rows in NUMBERS.items()})
        for n in range(ROWS)
    ]
    client.upsert(name, points=points, wait=True)
    vectors = client.get_collection(name).config.params.vectors
    assert {using: params.datatype.value for using, params in vectors.items()} == DATATYPES
    for record in client.scroll(name, limit=1000, with_vectors=True)[0]:
        for using, vector in record.vector.items():
            assert vector == pytest.approx(expected[record.id][using], rel=1e-7)
    for using in CONFIG:
        found = client.query_points(name, query=QUERY, using=using, limit=20).points
        assert [hit.id for hit in found] == [point for point, _ in expected[using]]
        scores = [score for _, score in expected[using]]
        assert [hit.score for hit in found] == pytest.approx(scores, rel=1e-6)
    client.close()


def test_through_coroutines(expected: dict[Any, Any]) -> None:
    async def found() -> dict[Any, Any]:
        async with AsyncVecDB(":memory:") as db:
            await db.create_collection("c", CONFIG)
            await db.upsert("c", models.Batch(ids=list(range(ROWS)), vectors=NUMBERS))
            records, _ = await db.scroll("c", limit=1000, with_vectors=True)
            hits = {}
            for using in CONFIG:
                answer = await db.query_points("c", query=QUERY, using=using, limit=20)
                hits[using] = [(hit.id, hit.score) for hit in answer.points]
            return {record.id: record.vector for record in records} | hits

    assert asyncio.run(found()) == expected


@pytest.mark.parametrize("kind", SEVERAL)
def test_through_a_file(kind: str, tmp_path: Path, expected: dict[Any, Any]) -> None:
    """To the bit; bytes and halves stay what they are."""
    file = tmp_path / f"all.{kind}"
    with VecDB(":memory:") as db:
        filled(db)
        exchange.export_collection(db.collection("c"), file)
        exchange.import_collection(db, "back", file)
        assert datatypes(db, "back") == DATATYPES
        assert everything(db, "back") == expected


@pytest.mark.parametrize("grpc", [False, True], ids=["rest", "grpc"])
def test_through_a_server(server: Server, grpc: bool, expected: dict[Any, Any]) -> None:
    options: Any = {"prefer_grpc": grpc, "grpc_port": int(server.grpc.rpartition(":")[2])}
    with VecDB(":memory:") as db:
        filled(db)
        pushed = exchange.push_collection(db.collection("c"), server.url, f"p{grpc}", **options)
        assert pushed.differences == []
        assert (
            exchange.pull_collection(db, server.url, f"p{grpc}", "back", **options).points == ROWS
        )
        assert datatypes(db, "back") == DATATYPES
        assert everything(db, "back") == expected


def test_through_a_log_an_archive_and_a_repair(tmp_path: Path, expected: dict[Any, Any]) -> None:
    path = tmp_path / "db"
    with VecDB(path) as db:
        filled(db)
        assert everything(db) == expected
    with VecDB(path) as db:
        assert everything(db) == expected
        db.flush()
        db.upsert("c", models.Batch(ids=[1], vectors={u: v[1:2] for u, v in NUMBERS.items()}))
        archived = str(path / "snapshots" / db.create_full_snapshot().name)
        assert main(["restore", archived, "--to", str(tmp_path / "r")]) == 0
    for saved in (path, tmp_path / "r"):
        require_sound(saved)
        with VecDB(saved) as db:
            assert datatypes(db) == DATATYPES
            assert everything(db) == expected
    # Some bytes are lost, and with them what stands in their block: all rows.
    shutil.copytree(path, tmp_path / "damaged")
    files = (tmp_path / "damaged").rglob("vectors.byte")
    file = max(files, key=lambda each: each.stat().st_size)
    data = bytearray(file.read_bytes())
    data[80:120] = bytes(40)
    file.write_bytes(data)
    repair_database(tmp_path / "damaged", tmp_path / "saved")
    with VecDB(tmp_path / "saved") as db:
        assert datatypes(db) == DATATYPES
        for record in db.scroll("c", limit=1000, with_vectors=True)[0]:
            vector = dict(expected[record.id])
            if record.id != 1:  # whose vectors are in the log, too
                del vector["byte"]
            assert record.vector == vector


def test_a_transfer_into_another_datatype_is_refused(server: Server) -> None:
    """What is there would not be what was sent."""
    with VecDB(":memory:") as db:
        wide = {"size": 4, "distance": "Dot"}
        db.create_collection("c", wide)
        db.upsert("c", [models.PointStruct(id=1, vector=[1.5, 2, 3, 4])])
        exchange.push_collection(db.collection("c"), server.url, "wide")
        db.create_collection("narrow", {**wide, "datatype": "uint8"})
        with pytest.raises(InvalidInputError, match="4 numbers of uint8 by Dot"):
            exchange.push_collection(db.collection("narrow"), server.url, "wide", resume=True)
