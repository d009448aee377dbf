"""The index of tokens: what it finds, what it says, and doing without it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from multi_tools import scores, stages
from snapshot_tools import snapshot_path

from vecdb import VecDB
from vecdb.engine.repair.check import check_database
from vecdb.engine.repair.rebuild import repair_database
from vecdb.errors import CorruptionError

ROWS, SIZE = 1500, 16
RNG = np.random.default_rng(11)
WORDS = RNG.standard_normal((120, SIZE)).astype(np.float32)
MANY = {"comparator": "max_sim"}


def tokens(rng: np.random.Generator, least: int = 1, most: int = 12) -> Any:
    """A few words, each moved a little."""
    words = WORDS[rng.integers(len(WORDS), size=rng.integers(least, most + 1))]
    return words + 0.3 * rng.standard_normal(words.shape).astype(np.float32)


def fill(db: VecDB, distance: str = "Dot") -> None:
    """Points of which some lack the multivector, in one segment with an index."""
    params = {"size": SIZE, "distance": distance}
    db.create_collection(
        "c",
        {"m": {**params, "multivector_config": MANY}, "d": params},
        optimizers_config={"indexing_threshold": 1, "max_optimization_threads": 1},
    )
    rng = np.random.default_rng(3)
    points = [
        {
            "id": i,
            "vector": {"d": tokens(rng, 1, 1)[0], **({"m": tokens(rng)} if i % 9 else {})},
            "payload": {"n": i % 50},
        }
        for i in range(ROWS)
    ]
    db.upsert("c", points)
    db.flush("c")
    assert db.wait_for_optimizer("c", timeout=300)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("multi") / "db"
    with VecDB(path) as db:
        fill(db)
    return path


@pytest.fixture
def copied(made: Path, db_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(made, db_path)
    return db_path


@pytest.mark.parametrize("distance", ["Dot", "Euclid", "Manhattan", "Cosine"])
def test_the_index_finds_what_a_scan_finds_as_far_as_the_recall_asks(
    open_db: Callable[..., VecDB], distance: str
) -> None:
    db = open_db()
    fill(db, distance)
    rng = np.random.default_rng(8)
    found = dict.fromkeys((0.8, 0.97), 0)
    for _ in range(30):
        query = tokens(rng, 4, 40)
        exact = scores(db, query, search_params={"exact": True})
        for recall in found:
            mine = scores(db, query, search_params={"recall": recall})
            assert len(mine) == 10
            assert {i: mine[i] for i in mine if i in exact} == {
                i: exact[i] for i in exact if i in mine
            }
            found[recall] += len(mine.keys() & exact.keys())
        assert scores(db, query, search_params={"recall": 1.0}) == exact
    for recall, hits in found.items():
        assert hits >= (recall - 0.1) * 300


def test_the_index_reads_a_part_of_the_rows_and_says_which(copied: Path) -> None:
    rng = np.random.default_rng(2)
    with VecDB(copied) as db:
        query = tokens(rng, 6, 6)
        done = stages(db, query, limit=5)
        with_it = ROWS - len(range(0, ROWS, 9))
        assert done["estimates"].rows == with_it
        assert 64 <= done["originals"].rows < with_it
        assert done["originals"].kept == 5
        more = stages(db, query, limit=5, search_params={"hnsw_ef": 700})
        assert more["originals"].rows >= 700
        assert stages(db, query, limit=5, search_params={"exact": True}).keys() == {"originals"}
        few = {"must": [{"key": "n", "match": {"value": 3}}]}
        assert "estimates" not in stages(db, query, query_filter=few)
        half = {"must": [{"key": "n", "range": {"lt": 25}}]}
        assert stages(db, query, query_filter=half)["estimates"].rows < with_it
        got = scores(db, query, query_filter=half, search_params={"recall": 1.0})
        assert got == scores(db, query, query_filter=half, search_params={"exact": True})
        assert not any(i % 50 >= 25 or i % 9 == 0 for i in got)


def test_pages_have_no_point_twice(copied: Path) -> None:
    query = tokens(np.random.default_rng(5), 5, 5)
    with VecDB(copied) as db:
        pages = [
            [p.id for p in db.query_points("c", query, using="m", limit=7, offset=at).points]
            for at in range(0, 70, 7)
        ]
        every = [i for page in pages for i in page]
        assert len(set(every)) == len(every) == 70


def test_examples_are_exact_with_an_index_too(copied: Path) -> None:
    with VecDB(copied) as db:
        query = {"recommend": {"positive": [1, 2], "negative": [4], "strategy": "best_score"}}
        assert scores(db, query) == scores(db, query, search_params={"exact": True})


def harm(path: Path, kind: str, at: int) -> Path:
    [file] = path.glob(f"collections/c/segments/*/{kind}.m")
    data = bytearray(file.read_bytes())
    data[at] ^= 4
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("kind", ["token-index", "token-labels"])
@pytest.mark.parametrize("at", [20, 200])  # in the header, and in the data
def test_an_index_that_is_damaged_is_done_without_and_made_anew(
    copied: Path, kind: str, at: int
) -> None:
    query = tokens(np.random.default_rng(6), 5, 5)
    with VecDB(copied) as db:
        db.update_collection("c", optimizers_config={"max_optimization_threads": 0})
        exact = scores(db, query, search_params={"exact": True})
    file = harm(copied, kind, at)
    assert [Path(p.path).name for p in check_database(copied).problems] == [file.name]
    with VecDB(copied) as db:
        assert scores(db, query) == exact
        assert [d.path for d in db.get_collection("c").damaged_files] == [str(file)]
        db.update_collection("c", optimizers_config={"max_optimization_threads": 1})
        assert db.wait_for_optimizer("c", timeout=300)
        assert db.get_collection("c").damaged_files == []
        assert "estimates" in stages(db, query)
    assert check_database(copied).ok


@pytest.mark.parametrize("kind", ["token-offsets", "tokens", "present"])
def test_originals_that_are_damaged_are_no_answer_and_the_rest_is_saved(
    copied: Path, tmp_path: Path, kind: str
) -> None:
    query = tokens(np.random.default_rng(7), 5, 5)
    with VecDB(copied) as db:
        before: Any = {r.id: r for r in db.scroll("c", limit=ROWS, with_vectors=True)[0]}
    file = harm(copied, kind, 100)
    data = bytearray(file.read_bytes())
    data[90:110] = bytes(b ^ 0x55 for b in data[90:110])  # more than a bit, which is put right
    file.write_bytes(data)
    assert not check_database(copied).ok
    with pytest.raises(CorruptionError), VecDB(copied) as db:
        db.query_points("c", query, using="m", search_params={"exact": True})
    report = repair_database(copied, tmp_path / "saved")
    assert not report.complete
    with VecDB(tmp_path / "saved") as db:
        saved: Any = {r.id: r for r in db.scroll("c", limit=ROWS, with_vectors=True)[0]}
        assert saved.keys() == before.keys()
        for point_id, record in saved.items():
            was = before[point_id].vector
            assert {**was, **record.vector} == was
            assert record.vector["d"] == was["d"]
    assert check_database(tmp_path / "saved").ok


def test_a_snapshot_has_them(copied: Path, open_db: Callable[..., VecDB]) -> None:
    query = tokens(np.random.default_rng(9), 5, 5)
    with VecDB(copied) as db:
        answer = scores(db, query)
        snapshot = db.create_snapshot("c")
        assert snapshot is not None
        db.recover_snapshot("again", snapshot_path(db, snapshot))
        found = db.query_points("again", query, using="m").points
        assert {p.id: p.score for p in found} == answer


def test_names_of_multivectors_come_and_go(copied: Path) -> None:
    query = np.ones((2, 3), dtype=np.float32)
    with VecDB(copied) as db:
        db.create_vector_name(
            "c",
            "late",
            {"dense": {"size": 3, "distance": "Dot", "multivector_config": MANY}},
        )
        assert db.query_points("c", query, using="late").points == []
        db.update_vectors("c", [{"id": 5, "vector": {"late": [[1, 2, 3], [0, 0, 1]]}}])
        found = db.query_points("c", query, using="late").points
        assert [(p.id, p.score) for p in found] == [(5, 12.0)]
        db.delete_vector_name("c", "m")
        db.flush("c")
    with VecDB(copied) as db:
        [record] = db.retrieve("c", [5], with_vectors=True)
        assert isinstance(record.vector, dict)
        assert record.vector.keys() == {"d", "late"}
    assert check_database(copied).ok
