"""Push and pull: a collection goes to a server and comes back, over REST and gRPC, whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchange_tools import of_two_vectors, of_unequal_vectors, points_of
from serving import Server, serving

import vecdb
from vecdb import Collection, VecDB, exchange
from vecdb.errors import AlreadyExistsError, InvalidInputError, NotFoundError
from vecdb.exchange import qdrant_server, sides, transfer

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server") / "there.db", "--grpc-port", "0") as server:
        yield server


def grpc_port(server: Server) -> int:
    return int(server.grpc.rpartition(":")[2])


def alike(mine: Collection, other: Collection) -> None:
    """The same points; vectors of unit length are scaled again where they come in."""
    for point, copy in zip(points_of(mine), points_of(other), strict=True):
        assert (point.id, point.payload) == (copy.id, copy.payload)
        assert point.vector.keys() == copy.vector.keys()  # type: ignore[union-attr]
        for name, vector in point.vector.items():  # type: ignore[union-attr]
            assert np.allclose(vector, copy.vector[name], rtol=0, atol=1e-6)  # type: ignore


@pytest.mark.parametrize("grpc", [False, True], ids=["rest", "grpc"])
def test_a_collection_goes_there_and_back(db: VecDB, server: Server, grpc: bool) -> None:
    given = of_two_vectors(db)
    options: dict[str, Any] = {"prefer_grpc": grpc, "grpc_port": grpc_port(server)}
    there = f"by {grpc}"
    pushed = exchange.push_collection(given, server.url, there, batch_size=64, **options)
    assert pushed == exchange.TransferReport(there, 250, 0, 20, [])
    pulled = exchange.pull_collection(db, server.url, there, "back", batch_size=64, **options)
    assert pulled == exchange.TransferReport("back", 250, 0, 20, [])
    alike(given, db.collection("back"))
    mine, back = given.info().config, db.get_collection("back").config
    assert back.params.vectors == mine.params.vectors
    assert back.optimizer_config == mine.optimizer_config
    assert back.payload_schema == mine.payload_schema
    assert back.metadata == mine.metadata


@pytest.mark.parametrize("grpc", [False, True], ids=["rest", "grpc"])
def test_vectors_of_unequal_length_go_there_and_back(db: VecDB, server: Server, grpc: bool) -> None:
    given = of_unequal_vectors(db)
    options: dict[str, Any] = {"prefer_grpc": grpc, "grpc_port": grpc_port(server)}
    there = f"sparse by {grpc}"
    pushed = exchange.push_collection(given, server.url, there, batch_size=64, **options)
    assert pushed == exchange.TransferReport(there, 250, 0, 20, [])
    exchange.pull_collection(db, server.url, there, "back", batch_size=64, **options)
    assert points_of(db.collection("back")) == points_of(given)
    back = db.get_collection("back").config.params
    assert back.sparse_vectors == given.info().config.params.sparse_vectors
    assert back.vectors == given.info().config.params.vectors


def test_the_unnamed_vector_goes_too(db: VecDB, server: Server) -> None:
    db.create_collection("one", {"size": 4, "distance": "Cosine"}, {"binary": {"always_ram": True}})
    rows = np.random.default_rng(0).normal(size=(30, 4))
    db.upload_collection("one", rows, ids=range(30))
    assert exchange.push_collection(db.collection("one"), server.url).differences == []
    exchange.pull_collection(db, server.url, "one", "back")
    config = db.get_collection("back").config
    assert config.quantization_config == db.get_collection("one").config.quantization_config
    got = np.array([point.vector for point in points_of(db.collection("back"))])
    assert np.allclose(got, [point.vector for point in points_of(db.collection("one"))], atol=1e-6)


def test_nothing_is_written_into_what_is_there_unasked(db: VecDB, server: Server) -> None:
    given = of_two_vectors(db)
    exchange.push_collection(given, server.url, "taken")
    with pytest.raises(AlreadyExistsError, match="has a collection 'taken'; resume=True"):
        exchange.push_collection(given, server.url, "taken")
    with pytest.raises(AlreadyExistsError, match="there is a collection 'two' here"):
        exchange.pull_collection(db, server.url, "taken", "two")
    with pytest.raises(NotFoundError, match="has no collection 'none'"):
        exchange.pull_collection(db, server.url, "none")
    db.create_collection("other", {"c": {"size": 3, "distance": "Dot"}})
    with pytest.raises(InvalidInputError, match=r"vector 'c': .*'taken' at .* has none"):
        exchange.push_collection(db.collection("other"), server.url, "taken", resume=True)


@pytest.mark.parametrize(
    ("mine", "message"),
    [
        (
            {"": {"size": 4, "distance": "Dot"}},
            "4 numbers of float32 by Cosine.*4 numbers of float32 by Dot",
        ),
        (
            {"": {"size": 5, "distance": "Cosine"}},
            "4 numbers of float32 by Cosine.*5 numbers of float32 by Cosine",
        ),
        ({"": {"size": 4, "distance": "Cosine"}, "words": {}}, "modifier idf.*modifier none"),
        ({"": {"size": 4, "distance": "Cosine"}}, "'words': .*modifier idf.*has none"),
    ],
)
def test_a_transfer_goes_on_between_collections_that_are_alike_only(
    db: VecDB, server: Server, mine: dict[str, Any], message: str
) -> None:
    """Points went into a collection of another metric, and were compared afterwards."""

    def make(name: str, sparse: Any, dense: Any) -> Collection:
        db.recreate_collection(name, dense, sparse_vectors_config=sparse)
        return db.collection(name)

    good = make("good", {"words": {"modifier": "idf"}}, {"size": 4, "distance": "Cosine"})
    good.upsert([{"id": 1, "vector": [1, 2, 3, 4]}])
    sparse = {"words": mine["words"]} if "words" in mine else None
    other = make("unlike", sparse, mine[""])
    with server.http() as http:
        http.delete("/collections/unlike")
        http.delete("/collections/alike")
    exchange.push_collection(other, server.url, "unlike")
    exchange.push_collection(good, server.url, "alike")
    with pytest.raises(InvalidInputError, match=message):
        exchange.push_collection(good, server.url, "unlike", resume=True)
    with pytest.raises(InvalidInputError, match=message):
        exchange.pull_collection(db, server.url, "alike", "unlike", resume=True)
    assert len(other) == 0
    exchange.pull_collection(db, server.url, "unlike", resume=True)  # nothing came to it there
    assert len(other) == 0


@pytest.mark.parametrize("way", ["push", "pull"])
def test_what_was_interrupted_goes_on(db: VecDB, server: Server, way: str) -> None:
    given = of_two_vectors(db)
    name = f"half {way}"
    if way == "pull":
        exchange.push_collection(given, server.url, name)

    def move(**options: Any) -> exchange.TransferReport:
        if way == "push":
            return exchange.push_collection(given, server.url, name, batch_size=30, **options)
        return exchange.pull_collection(db, server.url, name, batch_size=30, **options)

    def interrupted(done: int, total: int | None) -> None:
        if done >= 90:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(progress=interrupted)
    report = move(resume=True)
    assert (report.points, report.skipped, report.differences) == (250, 90, [])
    if way == "push":
        exchange.pull_collection(db, server.url, name)
    alike(given, db.collection(name))


KILLED = """
import os, signal, sys
from vecdb import VecDB, exchange

def killed(done, total):
    if done >= 90:
        os.kill(os.getpid(), signal.SIGKILL)

way, directory, url, name = sys.argv[1:]
with VecDB(directory) as db:
    if way == "push":
        exchange.push_collection(
            db.collection("two"), url, name, batch_size=30, progress=killed
        )
    else:
        exchange.pull_collection(db, url, name, batch_size=30, progress=killed)
"""


@pytest.mark.crash
@pytest.mark.parametrize("way", ["push", "pull"])
def test_what_was_killed_goes_on(tmp_path: Path, server: Server, way: str) -> None:
    directory, name = tmp_path / "here.db", f"killed {way}"
    with VecDB(directory) as db:
        of_two_vectors(db)
        if way == "pull":
            exchange.push_collection(db.collection("two"), server.url, name)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, way, directory, server.url, name],
        env={**os.environ, "PYTHONPATH": str(Path(vecdb.__file__).parent.parent)},
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    words = [sys.executable, "-m", "vecdb", way, server.url, "--resume", "--json"]
    words += ["--from", str(directory), "--collection", "two", "--as", name] if way == "push" else [
        "--to", str(directory), "--collection", name,
    ]  # fmt: skip
    told = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert told.returncode == 0, told.stderr
    assert '"skipped": 90' in told.stdout
    with VecDB(directory) as db:
        if way == "push":
            exchange.pull_collection(db, server.url, name)
        alike(db.collection("two"), db.collection(name))


def test_what_is_not_alike_is_told(
    db: VecDB, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison would be worth nothing if it found nothing."""
    given = of_two_vectors(db)
    exchange.push_collection(given, server.url, "changed")
    points = points_of(given)
    with server.http() as http:
        path = "/collections/changed/points"
        for body in (
            {"payload": {"number": -1}, "points": [points[7].id]},
            {"payload": {"more": 1}, "points": [points[5].id]},
        ):
            assert http.post(f"{path}/payload", json=body).status_code == 200
        body = {"points": [{"id": points[8].id, "vector": {"a": [9] * 7}}]}
        assert http.put(f"{path}/vectors?wait=true", json=body).status_code == 200
        body = {"points": [points[9].id]}
        assert http.post(f"{path}/delete?wait=true", json=body).status_code == 200
        point = {"id": 999_999, "vector": {}}
        assert http.put(f"{path}?wait=true", json={"points": [point, {**point, "id": 999_998}]})
    connected = qdrant_server.Server(server.url, None, False, 6334, 60)
    there = qdrant_server.There(connected, "changed")
    found = transfer._differences(sides.Here(given), there, [p.id for p in points])
    connected.close()
    text = "\n".join(found)
    assert "has 250 points" in text
    assert " 251" in text
    for place in (5, 7):
        assert f"point {points[place].id!r} has another payload" in text
    assert f"point {points[9].id!r} is missing" in text
    assert f"a search for point {points[8].id!r} by vector 'a' has the scores" in text
    assert "by vector 'b'" not in text.replace(f"point {points[9].id!r}", "")


def test_multivectors_are_pushed_and_pulled(db: VecDB, server: Server) -> None:
    many = {"size": 3, "distance": "Cosine", "multivector_config": {"comparator": "max_sim"}}
    db.create_collection("late", {"m": many})
    rows = [[[1.0 + i, 2.0, 3.0]] * (1 + i % 3) for i in range(30)]
    db.upsert("late", [{"id": i, "vector": {"m": row} if i else {}} for i, row in enumerate(rows)])
    for grpc in (False, True):
        options: dict[str, Any] = {"prefer_grpc": grpc, "grpc_port": grpc_port(server)}
        name = f"late by {grpc}"
        report = exchange.push_collection(db.collection("late"), server.url, name, **options)
        assert report.differences == []
        report = exchange.pull_collection(db, server.url, name, **options)
        assert report.differences == []
        assert report.points == 30
        [one] = db.retrieve(name, [4], with_vectors=True)
        assert one.vector == db.retrieve("late", [4], with_vectors=True)[0].vector


def test_a_server_that_does_not_answer_is_named(db: VecDB) -> None:
    given = of_two_vectors(db)
    for grpc in (False, True):
        with pytest.raises(ConnectionError, match=r"http://127.0.0.1:1"):
            exchange.push_collection(given, "http://127.0.0.1:1", prefer_grpc=grpc, grpc_port=1)
    for url in ("127.0.0.1:6333", "", None):
        with pytest.raises(InvalidInputError, match="url: expected http://"):
            exchange.push_collection(given, url)  # type: ignore[arg-type]


def test_the_key_is_sent_and_a_wrong_one_refused(db: VecDB, tmp_path: Path) -> None:
    given = of_two_vectors(db)
    with serving(
        tmp_path / "keyed.db", "--grpc-port", "0", environment={"VECDB_API_KEY": "secret"}
    ) as server:
        for grpc in (False, True):
            options: dict[str, Any] = {"prefer_grpc": grpc, "grpc_port": grpc_port(server)}
            with pytest.raises(InvalidInputError, match=server.url):
                exchange.push_collection(given, server.url, "x", api_key="wrong", **options)
            name = f"by {grpc}"
            report = exchange.push_collection(given, server.url, name, api_key="secret", **options)
            assert report.differences == []


@pytest.mark.parametrize("more", [{"datatype": "turbo4"}])
def test_what_vecdb_has_not_is_refused(server: Server, more: dict[str, Any]) -> None:
    """Not made without it, in silence."""

    class Client:
        def get_collection(self, name: str) -> Any:
            from qdrant_client import models as theirs

            return theirs.CollectionInfo.model_validate(
                {
                    "status": "green",
                    "optimizer_status": "ok",
                    "segments_count": 1,
                    "payload_schema": {},
                    "config": {
                        "params": {"vectors": {"size": 4, "distance": "Dot", **more}},
                        "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10},
                        "optimizer_config": {
                            "deleted_threshold": 0.2,
                            "vacuum_min_vector_number": 1000,
                            "default_segment_number": 0,
                            "flush_interval_sec": 5,
                        },
                    },
                }
            )

    connected = qdrant_server.Server(server.url, None, False, 6334, 60)
    connected.client.close()
    connected.client = Client()  # type: ignore[assignment]
    with pytest.raises(InvalidInputError, match=next(iter(more))):
        connected.config("x")


def test_a_sample_is_as_large_as_it_can_be() -> None:
    sample = transfer._Sample(5)
    for number in range(3):
        sample.see(number)
    assert sample.ids == [0, 1, 2]
    for number in range(3, 100):
        sample.see(number)
    assert len(set(sample.ids)) == 5
