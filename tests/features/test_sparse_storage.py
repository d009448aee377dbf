"""Sparse vectors on disk: damage, repair, snapshots, readers, names that come and go."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from proofs.model.oracle import Oracle
from proofs.model.sparse import PLACES, given
from proofs.model.writes import Pool
from vecdb import VecDB
from vecdb.engine.read import idf
from vecdb.engine.repair.check import check_database
from vecdb.engine.repair.rebuild import repair_database
from vecdb.errors import CorruptionError, InvalidInputError

ROWS = 3000
VECTORS = {"s": (PLACES, "Sparse"), "words": (PLACES, "Idf"), "d": (4, "Dot")}
CONFIG: dict[str, Any] = {
    "vectors_config": {"d": {"size": 4, "distance": "Dot"}},
    "sparse_vectors_config": {"s": {"index": {"on_disk": True}}, "words": {"modifier": "idf"}},
    "optimizers_config": {"max_optimization_threads": 0},
}
ORIGINALS = ("sparse-offsets", "sparse-indices", "sparse-values")
QUERY = {"indices": [0, 2, 300, 2**31], "values": [1.0, -0.5, 2.0, 0.25]}


def fill(db: VecDB, rows: int = ROWS) -> Oracle:
    """Points of which some lack a vector, in one segment."""
    oracle, rng = Oracle(VECTORS), Random(4)
    pool = Pool("storage", VECTORS, 10)
    db.create_collection("c", **CONFIG)
    points = [(i, {"n": i % 7}, pool.vectors(rng, oracle)) for i in range(rows)]
    db.upsert("c", [{"id": i, "payload": p, "vector": v} for i, p, v in points])
    oracle.upsert(points)
    db.flush()
    return oracle


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Oracle]:
    path = tmp_path_factory.mktemp("sparse") / "db"
    with VecDB(path) as db:
        return path, fill(db)


@pytest.fixture
def copied(made: tuple[Path, Oracle], db_path: Path) -> tuple[Path, Oracle]:
    """A copy that a test may damage."""
    shutil.copytree(made[0], db_path)
    return db_path, made[1].copy()


def harm(path: Path, kind: str, name: str = "s", at: int = 200) -> Path:
    """Flip a bit of a file of the segment."""
    [file] = path.glob(f"collections/c/segments/*/{kind}.{name}")
    data = bytearray(file.read_bytes())
    data[at] ^= 4
    file.write_bytes(data)
    return file


def right(db: VecDB, oracle: Oracle) -> None:
    """Both names answer as the model, by whatever way."""
    for name in ("s", "words"):
        for params in (None, {"exact": True}):
            hits = db.query_points("c", QUERY, using=name, limit=40, search_params=params).points
            assert oracle.search_difference(hits, name, QUERY, 40) is None


@pytest.mark.parametrize("kind", ["terms", "postings"])
@pytest.mark.parametrize("name", ["s", "words"])
def test_an_index_that_is_damaged_is_done_without_and_made_anew(
    copied: tuple[Path, Oracle], kind: str, name: str
) -> None:
    path, oracle = copied
    file = harm(path, kind, name)
    assert [Path(p.path).name for p in check_database(path).problems] == [file.name]
    with VecDB(path) as db:
        right(db, oracle)
        assert [d.path for d in db.get_collection("c").damaged_files] == [str(file)]
        db.update_collection("c", optimizers_config={"max_optimization_threads": 1})
        assert db.wait_for_optimizer("c", timeout=60)
        assert db.get_collection("c").damaged_files == []
        right(db, oracle)
    assert check_database(path).ok


@pytest.mark.parametrize("kind", [*ORIGINALS, "present"])
def test_originals_that_are_damaged_are_no_answer_and_the_rest_is_saved(
    copied: tuple[Path, Oracle], tmp_path: Path, kind: str
) -> None:
    path, oracle = copied
    file = harm(path, kind, at=100)
    data = bytearray(file.read_bytes())
    data[90:110] = bytes(20)  # more than a bit, which would be put right
    file.write_bytes(data)
    assert not check_database(path).ok
    with pytest.raises(CorruptionError), VecDB(path) as db:
        db.query_points("c", QUERY, using="s", search_params={"exact": True})
    report = repair_database(path, tmp_path / "saved")
    assert not report.complete
    with VecDB(tmp_path / "saved") as db:
        saved: dict[Any, Any] = {
            r.id: r for r in db.scroll("c", limit=ROWS + 1, with_vectors=True)[0]
        }
        assert len(saved) == ROWS
        lost = 0
        for point_id, point in oracle.points.items():
            vectors = saved[point_id].vector
            if "s" in point.vectors and "s" not in vectors:
                lost += 1
                vectors = {**vectors, "s": given(point.vectors["s"])}
            saved[point_id].vector = vectors
            assert oracle.record_difference(saved[point_id]) is None
        assert 0 < lost <= ROWS or kind == "present"
    assert check_database(tmp_path / "saved").ok


def test_a_flipped_bit_of_originals_is_put_right(
    copied: tuple[Path, Oracle], tmp_path: Path
) -> None:
    path, oracle = copied
    for kind in ORIGINALS:
        harm(path, kind)
    repair_database(path, tmp_path / "saved")
    with VecDB(tmp_path / "saved") as db:
        assert oracle.difference(db.collection("c")) is None
        right(db, oracle)


def test_a_snapshot_has_them(copied: tuple[Path, Oracle], open_db: Callable[..., VecDB]) -> None:
    _, oracle = copied
    db = open_db()
    snapshot = db.create_snapshot("c")
    db.delete("c", list(range(0, ROWS, 2)))
    db.recover_snapshot("c", str(db.snapshot_path("c", snapshot.name)))
    assert oracle.difference(db.collection("c")) is None
    right(db, oracle)


def test_a_reader_sees_what_is_written(copied: tuple[Path, Oracle]) -> None:
    path, oracle = copied
    with VecDB(path) as db, VecDB(path, read_only=True) as reader:
        right(reader, oracle)
        rows = [(5, {"n": 1}, {"words": QUERY}), (ROWS, None, {"s": QUERY})]
        for point_id, payload, vectors in rows:
            db.upsert("c", [{"id": point_id, "payload": payload, "vector": vectors}])
        oracle.upsert(rows)
        reader.refresh()
        right(reader, oracle)
        right(db, oracle)


def test_a_name_comes_and_goes(copied: tuple[Path, Oracle], open_db: Callable[..., VecDB]) -> None:
    """Segments of before have nothing of it; its files go with it."""
    path, oracle = copied
    db = open_db()
    db.create_vector_name("c", "new", {"sparse": {"modifier": "idf"}})
    db.create_vector_name("c", "new", {"sparse": {"modifier": "idf"}})  # nothing to do
    with pytest.raises(InvalidInputError, match="is there already, sparse, with modifier idf"):
        db.create_vector_name("c", "new", {"sparse": {}})
    assert db.query_points("c", QUERY, using="new").points == []
    db.update_vectors("c", [{"id": 9, "vector": {"new": QUERY}}])
    assert [p.id for p in db.query_points("c", QUERY, using="new").points] == [9]
    db.flush()
    [found] = db.query_points("c", {"indices": [0], "values": [1.0]}, using="new").points
    assert found.id == 9
    assert found.score == pytest.approx(0.28768, rel=1e-4)  # ln(1 + 0.5 / 1.5)
    db.delete_vector_name("c", "s")
    db.delete_vector_name("c", "new")
    assert not list(path.glob("collections/c/segments/*/*.s"))
    with pytest.raises(InvalidInputError, match="unknown vector name 's'"):
        db.query_points("c", QUERY, using="s")
    oracle.vectors.pop("s")
    oracle.delete_vectors(list(oracle.points), ["s"])
    assert oracle.difference(db.collection("c")) is None


def test_idf_counts_the_points_that_live(
    copied: tuple[Path, Oracle], open_db: Callable[..., VecDB]
) -> None:
    """What was counted before is brought up to date: by deletions, edits, memory and files."""
    _, oracle = copied
    db = open_db()
    rng, pool = Random(8), Pool("idf", VECTORS, 10)
    for step in range(6):
        gone = rng.sample(sorted(oracle.points, key=int), 150)
        db.delete("c", gone)
        oracle.delete(gone)
        rows: list[Any] = [
            (ROWS + 100 * step + i, None, pool.vectors(rng, oracle)) for i in range(100)
        ]
        rows += [(i, None, pool.vectors(rng, oracle)) for i in rng.sample(gone, 30)]
        db.upsert("c", [{"id": i, "vector": v} for i, _, v in rows])
        oracle.upsert(rows)
        right(db, oracle)
        if step == 3:
            db.flush()
            right(db, oracle)
    db.close()
    right(open_db(), oracle)


@pytest.mark.parametrize("rows", [1, 257, 301, 304])
def test_idf_of_any_number_of_rows_that_all_have_the_vector(
    open_db: Callable[..., VecDB], rows: int
) -> None:
    """Of a segment without dead rows, whose mask ends within a byte."""
    db, oracle = open_db(), Oracle(VECTORS)
    db.create_collection("c", **CONFIG)
    points = [
        (i, None, {"words": given(np.eye(PLACES, dtype=np.float32)[i % 7])}) for i in range(rows)
    ]
    db.upsert("c", [{"id": i, "vector": v} for i, _, v in points])
    oracle.upsert(points)
    for _ in range(2):
        hits = db.query_points("c", QUERY, using="words", limit=5).points
        assert oracle.search_difference(hits, "words", QUERY, 5) is None
        db.flush()


@pytest.mark.parametrize("recent", [0, 4096])
def test_idf_is_right_after_a_count_that_was_interrupted(
    copied: tuple[Path, Oracle],
    open_db: Callable[..., VecDB],
    monkeypatch: pytest.MonkeyPatch,
    recent: int,
) -> None:
    """Half of the rows had been counted, and were counted again."""
    _, oracle = copied
    monkeypatch.setattr(idf, "_ROWS", 64)
    monkeypatch.setattr(idf, "_RECENT", recent)
    db = open_db()
    points = [(ROWS + i, None, {"words": QUERY}) for i in range(500)]
    db.upsert("c", [{"id": i, "vector": v} for i, _, v in points])
    oracle.upsert(points)
    gone = sorted(oracle.points, key=int)[:700]
    db.delete("c", gone)
    oracle.delete(gone)
    for after in (1, 3, 9):
        with monkeypatch.context() as patch:
            for segment_view in db.collection("c")._view().segments:
                patch.setattr(segment_view.segment, "block", _stopping(segment_view.segment, after))
            with pytest.raises(KeyboardInterrupt):
                db.query_points("c", QUERY, using="words")
    right(db, oracle)
    assert db.memory_report("c")["parts"]["frequencies"]["anonymous"] > 0


def _stopping(segment: Any, after: int) -> Callable[..., Any]:
    block, calls = segment.block, count()

    def stop(*arguments: Any) -> Any:
        if next(calls) >= after:
            raise KeyboardInterrupt
        return block(*arguments)

    return stop


def test_masked_arrays_are_refused(open_db: Callable[..., VecDB]) -> None:
    db = open_db()
    db.create_collection("c", **CONFIG)
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    with pytest.raises(InvalidInputError, match="expected plain values, got a masked array"):
        db.upsert("c", [{"id": 1, "vector": {"s": {"indices": [1, 2], "values": masked}}}])


def test_values_without_all_their_digits_are_bounded(open_db: Callable[..., VecDB]) -> None:
    """The step between codes was rounded down: by the index other rows were found than without."""
    db = open_db()
    db.create_collection("c", **CONFIG)
    rng = np.random.default_rng(3)
    least = 1.4e-45
    points = [
        {
            "id": i,
            "vector": {
                "s": {"indices": [0, 2], "values": (rng.integers(1, 841, 2) * least).tolist()}
            },
        }
        for i in range(2000)
    ]
    db.upsert("c", points)
    db.flush()
    for query in rng.integers(1, 9, (50, 2)) * 1e18:
        asked = {"indices": [0, 2], "values": query.tolist()}
        by_index = db.query_points("c", asked, using="s", limit=5).points
        exact = db.query_points("c", asked, using="s", limit=5, search_params={"exact": True})
        assert [p.score for p in by_index] == [p.score for p in exact.points]


def test_what_was_done_is_explained(copied: tuple[Path, Oracle]) -> None:
    path, oracle = copied
    with VecDB(path) as db:
        answer = db.query_points("c", QUERY, using="s", limit=3, explain=True)
        [segment] = answer.explanation or []
        assert [stage.by for stage in segment.stages] == ["postings", "originals"]
        exact = db.query_points(
            "c", QUERY, using="s", limit=3, explain=True, search_params={"exact": True}
        )
        [stage] = (exact.explanation or [])[0].stages
        there = sum("s" in point.vectors for point in oracle.points.values())
        assert (stage.by, stage.rows, stage.reason) == ("originals", there, "asked for")


def test_a_filter_that_leaves_few_rows_has_only_them_looked_at(
    copied: tuple[Path, Oracle],
) -> None:
    path, oracle = copied
    few: dict[str, Any] = {"must": [{"has_id": [3, 700, 701, 702, 2999]}]}
    with VecDB(path) as db:
        for name in ("s", "words"):
            answer = db.query_points("c", QUERY, using=name, query_filter=few, explain=True)
            assert oracle.search_difference(answer.points, name, QUERY, 10, few) is None
            last = (answer.explanation or [])[0].stages[-1]
            assert (last.by, last.reason) == ("originals", "few rows are allowed")
            assert last.rows == sum(
                name in oracle.points[i].vectors for i in (3, 700, 701, 702, 2999)
            )


def test_what_finds_nothing_has_nothing_to_choose_from(copied: tuple[Path, Oracle]) -> None:
    """MMR failed where the only segment has points, and none of them an index of the query."""
    path, _ = copied
    nobody = {"indices": [77], "values": [1.0]}
    with VecDB(path) as db:
        for query in (nobody, {"nearest": nobody, "mmr": {"diversity": 0.5}}):
            assert db.query_points("c", query, using="s").points == []
            assert db.query_points("c", query, using="s", limit=3, offset=2).points == []
        groups = db.query_points_groups("c", "n", nobody, using="s").groups
        assert groups == []
        assert list(db.within("c", nobody, 0.0, using="s")) == []


def test_an_index_takes_few_bytes(copied: tuple[Path, Oracle]) -> None:
    path, oracle = copied
    numbers = sum(
        int((point.vectors["words"] != 0).sum())
        for point in oracle.points.values()
        if "words" in point.vectors
    )
    files = path.glob("collections/c/segments/*/*.words")
    size = sum(f.stat().st_size for f in files if f.name.startswith(("terms", "postings")))
    assert size < 6 * numbers + 1024


def test_a_memory_report_tells_vector_names_apart(open_db: Callable[..., VecDB]) -> None:
    """A server could not say where the bytes of sparse vectors were."""
    db = open_db()
    dense = {name: {"size": size, "distance": "Dot"} for name, size in (("a", 8), ("b", 4))}
    db.create_collection("sizes", dense, sparse_vectors_config={"words": {}})
    vector = {"a": [1.0] * 8, "b": [1.0] * 4, "words": {"indices": [1, 5], "values": [1.0, 2.0]}}
    db.upsert("sizes", [{"id": n, "vector": vector} for n in range(300)])
    db.flush("sizes")
    report = db.memory_report("sizes")
    [segment] = [each for each in report["segments"] if each["points"]]
    files = {
        name: sum(parts[part]["file"] for part in parts if part != "ids")
        for name, parts in segment["vectors"].items()
    }
    assert files["a"] - files["b"] == 300 * 4 * (8 - 4)
    assert files["words"] > 300 * 2 * (4 + 4)
    of_vectors = ("originals", "codes", "quantizers", "sketches", "indexes")
    assert sum(files.values()) == sum(report["parts"][part]["file"] for part in of_vectors)
