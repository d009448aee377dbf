"""What the optimizer does by itself, what it says, and how it fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofs.model.oracle import require_sound
from vecdb import VecDB, models, quantization
from vecdb.errors import OptimizerError

DIM = 256  # one vector is one kilobyte
RNG = np.random.default_rng(12)
VECTORS = RNG.standard_normal((3000, DIM)).astype(np.float32)
SCALAR: Any = {"scalar": {"type": "int8"}}
EXACT = models.SearchParams(exact=True)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[VecDB]:
    with VecDB(tmp_path / "db", sync="never") as database:
        yield database


def create(db: VecDB, quantization_config: Any = SCALAR, **optimizers: Any) -> None:
    db.create_collection(
        "c",
        {"size": DIM, "distance": "Cosine"},
        quantization_config=quantization_config,
        optimizers_config=optimizers,
    )


def put(db: VecDB, start: int, stop: int, flush: bool = True) -> None:
    ids = np.arange(start, stop)
    payloads = [{"n": n} for n in ids.tolist()]
    db.upsert("c", models.Batch(ids=ids, vectors=VECTORS[start:stop], payloads=payloads))
    if flush:
        db.flush("c")


def settle(db: VecDB) -> models.CollectionInfo:
    assert db.wait_for_optimizer("c", timeout=60) is True
    info = db.get_collection("c")
    assert info.status is models.CollectionStatus.GREEN
    assert info.optimizer_status == "ok"
    assert info.optimizer_progress.running is None
    assert info.optimizer_progress.pending is None
    return info


def check(db: VecDB, alive: Any) -> None:
    """Everything alive is there once, is found by its vector, and nothing else is."""
    alive = np.asarray(alive)
    assert db.count("c").count == len(alive)
    records = db.scroll("c", limit=10_000)[0]
    assert [r.id for r in records] == alive.tolist()
    assert all(r.payload == {"n": r.id} for r in records)
    for number in alive[:: max(1, len(alive) // 7)].tolist():
        for params in (None, EXACT):
            (hit,) = db.search("c", VECTORS[number], limit=1, search_params=params)
            assert (hit.id, hit.score) == (number, pytest.approx(1, abs=1e-5))
    dead = np.setdiff1d(np.arange(0, 300), alive)[:5]
    for number in dead.tolist():
        assert all(hit.id != number for hit in db.search("c", VECTORS[number], limit=50))


def everything(db: VecDB) -> Any:
    """All points as an exact search sees them; equal scores in the order of ids."""
    hits = db.search("c", VECTORS[100], limit=10_000, search_params=EXACT)
    return sorted((h.score, int(h.id), h.version) for h in hits)


def disk_bytes(db: VecDB) -> int:
    return sum(p.stat().st_size for p in db.path.glob("collections/*/segments/*/*"))


def kinds(info: models.CollectionInfo) -> list[str | None]:
    return [s.vectors[""].quantization for s in info.segments]


def segment_directories(db: VecDB) -> int:
    return len(list(db.path.glob("collections/*/segments/*")))


# -- what it does --------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", ["indexing_threshold", "memmap_threshold"])
def test_a_segment_is_converted_at_either_threshold(db: VecDB, threshold: str) -> None:
    other = {"indexing_threshold": 0} if threshold == "memmap_threshold" else {}
    create(db, **{threshold: 500}, **other)
    put(db, 0, 499)
    info = settle(db)
    assert kinds(info) == [None]
    assert info.indexed_vectors_count == 0
    put(db, 0, 500)  # the same again, and one more
    info = settle(db)
    assert kinds(info) == ["scalar"]
    assert (info.points_count, info.indexed_vectors_count) == (500, 500)
    placement = info.segments[0].vectors[""].placement
    assert placement == ("cold" if threshold == "memmap_threshold" else "pinned")
    check(db, np.arange(500))


def test_without_flush_memory_is_converted_too(db: VecDB) -> None:
    create(db, indexing_threshold=500)
    put(db, 0, 499, flush=False)
    assert [s.kind for s in settle(db).segments] == ["memory"]
    put(db, 499, 600, flush=False)
    info = settle(db)
    assert kinds(info) == ["scalar"]
    check(db, np.arange(600))


@pytest.mark.parametrize("wanted", [1, 2, 4])
def test_segments_merge_towards_their_number(db: VecDB, wanted: int) -> None:
    create(db, default_segment_number=wanted, indexing_threshold=100)
    for start in range(0, 1000, 50):
        put(db, start, start + 50)
        if start % 200 == 0:
            settle(db)
    info = settle(db)
    assert wanted <= info.segments_count <= wanted + 1
    check(db, np.arange(1000))
    assert segment_directories(db) == info.segments_count
    db.close()
    with VecDB(db.path) as again:
        check(again, np.arange(1000))
        assert again.get_collection("c").segments_count == info.segments_count


def test_segments_do_not_merge_beyond_their_size(db: VecDB) -> None:
    create(db, default_segment_number=1, max_segment_size=300, indexing_threshold=0)
    for start in range(0, 1000, 100):
        put(db, start, start + 100)
    info = settle(db)
    assert max(s.points for s in info.segments) <= 300
    assert info.segments_count <= 6
    check(db, np.arange(1000))


def test_deleted_space_comes_back(db: VecDB) -> None:
    create(db, deleted_threshold=0.3, vacuum_min_vector_number=100, indexing_threshold=100)
    put(db, 0, 2000)
    settle(db)
    full = disk_bytes(db)
    db.delete("c", list(range(500)))  # a quarter: not yet
    info = settle(db)
    assert disk_bytes(db) == full
    assert sum(s.deleted for s in info.segments) == 500
    check(db, np.arange(500, 2000))
    db.delete("c", list(range(500, 1000)))
    info = settle(db)
    assert disk_bytes(db) < 0.6 * full
    assert sum(s.deleted for s in info.segments) == 0
    check(db, np.arange(1000, 2000))
    db.delete("c", models.Filter())  # everything there is
    info = settle(db)
    assert (info.points_count, info.segments_count) == (0, 0)
    assert disk_bytes(db) == 0
    assert db.search("c", VECTORS[0]) == []


def test_overwriting_is_deleting_too(db: VecDB) -> None:
    create(db, deleted_threshold=0.2, vacuum_min_vector_number=100, indexing_threshold=100)
    for _ in range(6):
        put(db, 0, 400)
    info = settle(db)
    assert disk_bytes(db) < 3 * 400 * DIM * 5
    assert sum(s.points for s in info.segments) == 400
    check(db, np.arange(400))


def test_few_points_are_not_worth_a_vacuum(db: VecDB) -> None:
    create(db, vacuum_min_vector_number=1000)
    put(db, 0, 500)
    db.delete("c", list(range(490)))
    assert sum(s.deleted for s in settle(db).segments) == 490
    check(db, np.arange(490, 500))


def test_an_unchanged_configuration_is_no_work(db: VecDB) -> None:
    create(db, indexing_threshold=100)
    put(db, 0, 300)
    done = settle(db).optimizer_progress.completed
    assert done >= 1
    for change in (
        {"quantization_config": SCALAR},
        {"quantization_config": {"scalar": {"type": "int8", "quantile": 1.0}}},
        {"quantization_config": {"scalar": {"type": "int8", "always_ram": True}}},
        {"hnsw_config": {"m": 64}},
        {"optimizers_config": {"flush_interval_sec": 1}},
        {},
    ):
        db.update_collection("c", **change)
        assert settle(db).optimizer_progress.completed == done
    db.update_collection("c", quantization_config={"binary": {}})
    info = settle(db)
    assert info.optimizer_progress.completed == done + 1
    assert kinds(info) == ["binary"]
    assert segment_directories(db) == 1


@pytest.mark.slow
def test_every_segment_is_rebuilt_after_a_change_of_codec(db: VecDB) -> None:
    create(db, default_segment_number=3, max_segment_size=300, indexing_threshold=100)
    for start in range(0, 900, 300):
        put(db, start, start + 300)
    assert kinds(settle(db)) == ["scalar"] * 3
    db.update_collection("c", quantization_config={"product": {"compression": "x8"}})
    assert kinds(settle(db)) == ["product compression=8"] * 3
    db.update_collection("c", quantization_config="Disabled")
    assert kinds(settle(db)) == [None] * 3
    check(db, np.arange(900))


# -- with no thread ------------------------------------------------------------------------


def test_without_threads_waiting_does_the_work(db: VecDB) -> None:
    create(db, indexing_threshold=100, max_optimization_threads=0)
    put(db, 0, 300)
    info = db.get_collection("c")
    assert info.status is models.CollectionStatus.GREY
    assert info.optimizer_progress.pending == "convert"
    assert kinds(info) == [None]
    check(db, np.arange(300))
    assert kinds(settle(db)) == ["scalar"]
    check(db, np.arange(300))


# -- while it works ------------------------------------------------------------------------


class Gate:
    """Stops ``fit`` until opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        fit = kind.fit

        def gated(*arguments: Any, **options: Any) -> Any:
            self.entered.set()
            assert self.open.wait(60)
            return fit(*arguments, **options)

        monkeypatch.setattr(kind, "fit", gated)


def test_reads_and_writes_go_on_during_a_build(db: VecDB, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, quantization.ScalarQuantizer)
    create(db, indexing_threshold=100)
    put(db, 0, 300)
    assert gate.entered.wait(60)
    info = db.get_collection("c")
    assert info.status is models.CollectionStatus.YELLOW
    progress = info.optimizer_progress
    assert progress.running == "convert"
    assert (progress.rows_done, progress.rows_total) == (
        300,
        900,
    )  # copied; to be encoded, and indexed
    assert db.wait_for_optimizer("c", timeout=0.05) is False

    check(db, np.arange(300))
    db.delete("c", list(range(50)))
    put(db, 300, 350, flush=False)
    db.set_payload("c", {"new": True}, [60])
    db.upsert("c", [{"id": 70, "vector": VECTORS[71], "payload": {"n": 70}}])
    db.flush("c")
    before = everything(db)
    gate.open.set()
    info = settle(db)
    assert "scalar" in kinds(info)
    assert everything(db) == before
    assert db.count("c").count == 300
    assert db.retrieve("c", [60])[0].payload == {"n": 60, "new": True}
    assert db.retrieve("c", list(range(50))) == []
    assert {h.id for h in db.search("c", VECTORS[71], limit=2)} == {70, 71}
    ids = [r.id for r in db.scroll("c", limit=1000)[0]]
    assert ids == list(range(50, 350))


@pytest.mark.parametrize("how", ["close", "delete", "recreate", "update"])
def test_a_build_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    gate = Gate(monkeypatch, quantization.ScalarQuantizer)
    db = VecDB(tmp_path / "db", sync="never")
    create(db, indexing_threshold=100)
    put(db, 0, 300)
    assert gate.entered.wait(60)
    threading.Timer(0.1, gate.open.set).start()
    if how == "close":
        db.close()
        db = VecDB(tmp_path / "db")
    elif how == "delete":
        db.delete_collection("c")
        create(db, quantization_config=None)
        put(db, 0, 300)
    elif how == "recreate":
        db.recreate_collection("c", {"size": DIM, "distance": "Cosine"})
        put(db, 0, 300)
    else:
        db.update_collection("c", quantization_config="Disabled")
    info = settle(db)
    assert kinds(info) == ["scalar" if how == "close" else None]
    check(db, np.arange(300))
    assert segment_directories(db) == 1
    db.close()
    with VecDB(tmp_path / "db") as again:
        check(again, np.arange(300))


# -- when it fails -------------------------------------------------------------------------


def broken(*arguments: Any, **options: Any) -> Any:
    raise RuntimeError("the flux capacitor is empty")


@pytest.mark.parametrize("step", ["convert", "rebuild", "merge"])
def test_a_failing_build_leaves_everything_serving(
    db: VecDB, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    if step == "convert":
        create(db, indexing_threshold=100)
        monkeypatch.setattr(quantization.ScalarQuantizer, "fit", broken)
        put(db, 0, 300)
        before = [None]
    elif step == "rebuild":
        create(db, quantization_config={"binary": {}}, indexing_threshold=100)
        put(db, 0, 300)
        before = kinds(settle(db))
        monkeypatch.setattr(quantization.ScalarQuantizer, "fit", broken)
        db.update_collection("c", quantization_config=SCALAR)
    else:
        create(db, indexing_threshold=100, default_segment_number=1)
        db.update_collection("c", optimizers_config={"max_optimization_threads": 0})
        for start in range(0, 300, 60):
            put(db, start, start + 60)
        before = [None] * 5
        monkeypatch.setattr(quantization.ScalarQuantizer, "fit", broken)
        db.update_collection("c", optimizers_config={"max_optimization_threads": 1})
    with pytest.raises(OptimizerError, match=r"'c'.*flux capacitor"):
        db.wait_for_optimizer("c", timeout=60)
    info = db.get_collection("c")
    assert info.status is models.CollectionStatus.RED
    assert isinstance(info.optimizer_status, models.OptimizersStatusError)
    assert info.optimizer_status.error == f"{step}: RuntimeError: the flux capacitor is empty"
    assert info.optimizer_progress.pending == step
    assert info.optimizer_progress.running is None
    assert kinds(info) == before
    check(db, np.arange(300))
    assert segment_directories(db) == len(before)  # nothing of the failed build is left

    put(db, 300, 310)  # writes go on
    assert db.count("c").count == 310
    monkeypatch.undo()
    # Nobody asks for it: the next try makes it well.
    deadline = time.monotonic() + 60
    while db.get_collection("c").status is not models.CollectionStatus.GREEN:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    info = settle(db)
    assert "scalar" in kinds(info)
    check(db, np.arange(310))


def test_a_failing_build_without_threads(db: VecDB, monkeypatch: pytest.MonkeyPatch) -> None:
    create(db, indexing_threshold=100, max_optimization_threads=0)
    put(db, 0, 300)
    with monkeypatch.context() as patch:
        patch.setattr(quantization.ScalarQuantizer, "fit", broken)
        with pytest.raises((OptimizerError, RuntimeError), match="flux capacitor"):
            db.wait_for_optimizer("c")
        assert db.get_collection("c").status is models.CollectionStatus.RED
        check(db, np.arange(300))
    assert kinds(settle(db)) == ["scalar"]


def test_without_threads_too_the_error_is_an_optimizer_error(
    db: VecDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(db, indexing_threshold=100, max_optimization_threads=0)
    put(db, 0, 300)
    monkeypatch.setattr(quantization.ScalarQuantizer, "fit", broken)
    with pytest.raises(OptimizerError, match="flux capacitor"):
        db.wait_for_optimizer("c")


def test_one_failing_collection_does_not_stop_the_others(
    db: VecDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(db, indexing_threshold=100)
    db.create_collection(
        "other",
        {"size": DIM, "distance": "Dot"},
        quantization_config={"binary": {}},
        optimizers_config={"indexing_threshold": 100},
    )
    monkeypatch.setattr(quantization.ScalarQuantizer, "fit", broken)
    put(db, 0, 200)
    with pytest.raises(OptimizerError):
        db.wait_for_optimizer("c", timeout=60)
    db.upsert("other", models.Batch(ids=np.arange(200), vectors=VECTORS[:200]))
    db.flush("other")
    assert db.wait_for_optimizer("other", timeout=60)
    assert db.get_collection("other").indexed_vectors_count == 200
    with pytest.raises(OptimizerError):
        db.wait_for_optimizer(timeout=60)  # all of them
    # A change of configuration that makes the failing step unnecessary is a cure as well.
    db.update_collection("c", quantization_config={"binary": {}})
    deadline = time.monotonic() + 60
    while db.get_collection("c").status is not models.CollectionStatus.GREEN:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert kinds(settle(db)) == ["binary"]


def test_reopening_starts_afresh_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, VecDB(tmp_path / "db", sync="never") as db:
        patch.setattr(quantization.ScalarQuantizer, "fit", broken)
        create(db, indexing_threshold=100)
        put(db, 0, 200)
        with pytest.raises(OptimizerError):
            db.wait_for_optimizer("c", timeout=60)
    with VecDB(tmp_path / "db") as db:
        assert kinds(settle(db)) == ["scalar"]
        check(db, np.arange(200))


@pytest.mark.parametrize("having", [0, 1, 2, 80, 300])
def test_an_index_of_a_name_that_few_points_have(having: int, tmp_path: Path) -> None:
    # With fewer than two, no row has another that its effort could be measured by, and the build
    # failed; with fewer than 105 a table of efforts was empty, and the index refused. Both were
    # tried again for ever.
    rng = np.random.default_rng(5)
    rare = rng.standard_normal((having, 4)).astype(np.float32)
    common = rng.standard_normal((300, 8)).astype(np.float32)
    with VecDB(tmp_path / "few.db") as db:
        db.create_collection(
            "c",
            {"a": {"size": 8, "distance": "Dot"}, "b": {"size": 4, "distance": "Euclid"}},
            optimizers_config={"indexing_threshold": 1},
        )
        both = [
            {"id": n, "vector": {"a": common[n]} | ({"b": rare[n]} if n < having else {})}
            for n in range(300)
        ]
        db.upsert("c", both)
        assert db.wait_for_optimizer("c")
        info = db.get_collection("c")
        assert info.optimizer_status == "ok"
        assert [set(segment.vectors) for segment in info.segments] == [{"a", "b"}]
        assert all(vector.index for vector in info.segments[0].vectors.values())
        hits = db.search("c", ("b", np.zeros(4, dtype=np.float32)), limit=10)
        best = np.argsort(np.linalg.norm(rare, axis=1))[:10]
        assert [hit.id for hit in hits] == best.tolist()
    require_sound(tmp_path / "few.db")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("distance", ["Dot", "Euclid", "Manhattan"])
def test_vectors_near_the_limit_are_indexed_without_a_warning(
    distance: str, open_db: Callable[..., VecDB]
) -> None:
    """Where warnings are errors, overflow in a measurement ended each build of the index."""
    values = np.random.default_rng(0).uniform(-3e18, 3e18, (600, 32)).astype(np.float32)
    db = open_db(":memory:")
    db.create_collection(
        "c",
        {"size": 32, "distance": distance},
        optimizers_config={"indexing_threshold": 1, "max_optimization_threads": 0},
    )
    db.upsert("c", models.Batch(ids=range(600), vectors=values))
    assert db.wait_for_optimizer("c")
    assert len(db.search("c", values[0], limit=600)) == 600
