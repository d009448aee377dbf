"""Codes of tokens: what they find, what they leave to be read, and doing without them."""

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

ROWS, SIZE = 700, 16
WORDS = np.random.default_rng(11).standard_normal((120, SIZE)).astype(np.float32)
MANY = {"comparator": "max_sim"}
CODES: dict[str, Any] = {
    "scalar": {"scalar": {"type": "int8"}},
    "binary": {"binary": {"encoding": "two_bits"}},
    "product": {"product": {"compression": "x8"}},
    "turbo": {"turbo": {}},
}
WITH_IT = ROWS - len(range(0, ROWS, 9))
INDEXED = {"indexing_threshold": 1, "memmap_threshold": 0, "max_optimization_threads": 1}
MAPPED = {"indexing_threshold": 0, "memmap_threshold": 1, "max_optimization_threads": 1}
"""Codes without an index."""


def tokens(rng: np.random.Generator, least: int = 1, most: int = 12) -> Any:
    """A few words, each moved a little."""
    words = WORDS[rng.integers(len(WORDS), size=rng.integers(least, most + 1))]
    return words + 0.3 * rng.standard_normal(words.shape).astype(np.float32)


def fill(
    db: VecDB,
    codes: Any,
    distance: str = "Dot",
    optimizer: Any = INDEXED,
    on_disk: bool = True,
) -> None:
    """Points of which some lack the multivector, in one segment."""
    vector = {"size": SIZE, "distance": distance, "multivector_config": MANY, "on_disk": on_disk}
    db.create_collection("c", {"m": vector}, quantization_config=codes, optimizers_config=optimizer)
    rng = np.random.default_rng(3)
    rows = [(i, tokens(rng) if i % 9 else None) for i in range(ROWS)]
    db.upsert(
        "c",
        [
            {"id": i, "vector": {} if row is None else {"m": row}, "payload": {"n": i % 50}}
            for i, row in rows
        ],
    )
    db.flush("c")
    assert db.wait_for_optimizer("c", timeout=300)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an index, and codes whose errors show."""
    path = tmp_path_factory.mktemp("codes") / "db"
    with VecDB(path) as db:
        fill(db, CODES["binary"])
    return path


@pytest.fixture
def copied(made: Path, db_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(made, db_path)
    return db_path


EXACT = {"exact": True}


def asked(**quantization: Any) -> dict[str, Any]:
    return {"quantization": quantization}


@pytest.mark.parametrize("distance", ["Dot", "Euclid", "Manhattan", "Cosine"])
@pytest.mark.parametrize("kind", CODES)
def test_codes_find_what_originals_find_and_originals_have_the_last_word(
    open_db: Callable[..., VecDB], kind: str, distance: str
) -> None:
    db = open_db()
    fill(db, CODES[kind], distance)
    rng = np.random.default_rng(8)
    hits = by_codes = 0
    for _ in range(15):
        query = tokens(rng, 4, 40)
        exact = scores(db, query, search_params=EXACT)
        every = scores(db, query, search_params=EXACT, limit=ROWS)
        mine = scores(db, query)
        assert {"codes", "originals"} <= stages(db, query).keys()
        assert mine == {i: every[i] for i in mine}
        hits += len(mine.keys() & exact.keys())
        assert scores(db, query, search_params=asked(ignore=True)).items() <= every.items()
        assert scores(db, query, search_params=asked(oversampling=float(ROWS))) == exact
        rough = scores(db, query, search_params=asked(rescore=False))
        assert rough.keys() <= every.keys()
        assert rough.items() != exact.items()
        # What codes say is of the metric's scale.
        apart = np.array([rough[i] - every[i] for i in rough])
        assert np.abs(apart).mean() < 0.5 * np.std(list(every.values()))
        by_codes += len(rough.keys() & exact.keys())
    assert hits >= 0.85 * 150
    assert by_codes >= 0.4 * 150


@pytest.mark.parametrize("optimizer", [INDEXED, MAPPED], ids=["index", "no index"])
def test_oversampling_says_exactly_how_many_originals_are_read(
    open_db: Callable[..., VecDB], optimizer: dict[str, Any]
) -> None:
    db = open_db()
    fill(db, CODES["scalar"], optimizer=optimizer)
    query = tokens(np.random.default_rng(2), 6, 6)
    for factor, read in ((1.0, 8), (2.5, 20), (7.9, 63), (1000.0, WITH_IT)):
        done = stages(db, query, limit=8, search_params=asked(oversampling=factor))
        assert (done["originals"].rows, done["originals"].kept) == (read, 8)
        assert done["codes"].rows >= done["codes"].kept == read
        assert ("estimates" in done) == (optimizer is INDEXED)
    few = {"must": [{"key": "n", "match": {"value": 3}}]}
    done = stages(db, query, limit=2, query_filter=few, search_params=asked(oversampling=2.0))
    assert done["originals"].rows == 4
    assert "estimates" not in done
    more = {"recall": 0.9, "quantization": {"oversampling": 12.0}}
    assert stages(db, query, limit=8, search_params=more)["originals"].rows >= 96


def test_stages_are_those_that_pay(copied: Path) -> None:
    query = tokens(np.random.default_rng(2), 6, 6)
    with VecDB(copied) as db:
        done = stages(db, query, limit=5)
        assert done["estimates"].rows == WITH_IT
        assert 5 <= done["originals"].rows <= done["codes"].rows <= WITH_IT
        assert done["codes"].reason == "binary codes of tokens"
        alone = stages(db, query, limit=5, search_params=asked(rescore=False))
        assert (alone["codes"].kept, "originals" in alone) == (5, False)
        assert "codes" not in stages(db, query, search_params=asked(ignore=True))
        assert "codes" not in stages(db, query, search_params={"recall": 1.0})
        assert stages(db, query, search_params=EXACT).keys() == {"originals"}
        example = {"recommend": {"positive": [1, 2], "strategy": "best_score"}}
        assert scores(db, example) == scores(db, example, search_params=EXACT)
        # In RAM originals are scored as soon as codes.
        db.update_collection("c", vectors_config={"m": {"on_disk": False}})
        assert db.wait_for_optimizer("c", timeout=300)
        assert stages(db, query).keys() == {"estimates", "originals"}
        assert "codes" in stages(db, query, search_params=asked(oversampling=2.0))


@pytest.mark.parametrize("kind", ["codes", "quantizer"])
@pytest.mark.parametrize("at", [20, 200])  # in the header, and in the data
def test_codes_that_are_damaged_are_done_without_and_made_anew(
    copied: Path, kind: str, at: int
) -> None:
    query = tokens(np.random.default_rng(6), 5, 5)
    with VecDB(copied) as db:
        db.update_collection("c", optimizers_config={"max_optimization_threads": 0})
        exact = scores(db, query, search_params=EXACT)
    [file] = copied.glob(f"collections/c/segments/*/{kind}.m")
    data = bytearray(file.read_bytes())
    data[at] ^= 4
    file.write_bytes(data)
    assert [Path(p.path).name for p in check_database(copied).problems] == [file.name]
    with VecDB(copied) as db:
        assert scores(db, query, search_params=asked(oversampling=float(ROWS))) == exact
        assert [d.path for d in db.get_collection("c").damaged_files] == [str(file)]
        assert "codes" not in stages(db, query)
        db.update_collection("c", optimizers_config={"max_optimization_threads": 1})
        assert db.wait_for_optimizer("c", timeout=300)
        assert db.get_collection("c").damaged_files == []
        assert "codes" in stages(db, query)
    assert check_database(copied).ok


def test_codes_come_change_and_go_with_the_configuration(copied: Path) -> None:
    query = tokens(np.random.default_rng(7), 5, 5)

    def file() -> list[str]:
        return [p.name for p in copied.glob("collections/c/segments/*/*") if "codes" in p.name]

    with VecDB(copied) as db:
        exact = scores(db, query, search_params=EXACT)
        for codes, kind in ((CODES["scalar"], "scalar"), ("Disabled", None)):
            db.update_collection("c", quantization_config=codes)
            assert db.wait_for_optimizer("c", timeout=300)
            [segment] = db.get_collection("c").segments
            assert segment.vectors["m"].quantization == kind
            assert file() == (["codes.m"] if kind else [])
            assert scores(db, query, search_params=EXACT) == exact
        own = {"m": {"quantization_config": {"scalar": {"type": "int8", "always_ram": True}}}}
        db.update_collection("c", vectors_config=own)
        assert db.wait_for_optimizer("c", timeout=300)
        report = db.memory_report("c")["vectors"]["m"]
        count = report["originals"]["file"] // (4 * SIZE)
        assert report["codes"]["anonymous"] >= 0.9 * SIZE * count
        [segment] = db.get_collection("c").segments
        assert segment.vectors["m"].codes_placement == "pinned"
        assert segment.vectors["m"].placement == "cold"
    assert check_database(copied).ok


def test_a_snapshot_and_a_repair_have_them(copied: Path, tmp_path: Path) -> None:
    query = tokens(np.random.default_rng(9), 5, 5)
    with VecDB(copied) as db:
        answer = scores(db, query, search_params=asked(rescore=False))
        snapshot = db.create_snapshot("c")
        assert snapshot is not None
        db.recover_snapshot("again", snapshot_path(db, snapshot))
        again = db.query_points("again", query, using="m", search_params=asked(rescore=False))
        assert {p.id: p.score for p in again.points} == answer
    report = repair_database(copied, tmp_path / "saved")
    assert report.complete
    with VecDB(tmp_path / "saved") as db:
        assert db.wait_for_optimizer("c", timeout=300)
        assert "codes" in stages(db, query)


def test_rows_and_codes_without_a_single_token(open_db: Callable[..., VecDB]) -> None:
    db = open_db()
    fill(db, CODES["product"])
    db.delete_vectors("c", ["m"], list(range(ROWS)))
    db.flush("c")
    db.update_collection("c", optimizers_config={"vacuum_min_vector_number": 1})
    db.upsert("c", [{"id": 1, "vector": {}}])
    assert db.wait_for_optimizer("c", timeout=300)
    for params in ({}, asked(rescore=False), asked(oversampling=3.0)):
        assert scores(db, np.ones((2, SIZE)), search_params=params) == {}


@pytest.mark.parametrize("optimizer", [INDEXED, MAPPED], ids=["index", "no index"])
@pytest.mark.parametrize("distance", ["Dot", "Euclid"])
def test_estimates_that_overflow_are_no_reason_to_find_nothing(
    open_db: Callable[..., VecDB], distance: str, optimizer: dict[str, Any]
) -> None:
    db = open_db()
    vector = {"size": SIZE, "distance": distance, "multivector_config": MANY, "on_disk": True}
    rng = np.random.default_rng(3)

    def far(row: Any) -> Any:  # as long as the door lets in
        return row * (1.7e19 / np.linalg.norm(row, axis=1, keepdims=True))

    for kind, codes in CODES.items():
        db.create_collection(
            kind, {"m": vector}, quantization_config=codes, optimizers_config=optimizer
        )
        db.upsert(kind, [{"id": i, "vector": {"m": far(tokens(rng))}} for i in range(ROWS)])
        db.flush(kind)
        assert db.wait_for_optimizer(kind, timeout=300)
        query = far(tokens(rng, 6, 6))
        exact = db.query_points(kind, query, using="m", search_params=EXACT).points
        found = db.query_points(kind, query, using="m").points
        assert [p.score for p in found] == [p.score for p in exact]
        for params in (asked(ignore=True), asked(rescore=False), asked(oversampling=2.0)):
            points = db.query_points(kind, query, using="m", search_params=params).points
            assert len(points) == len(exact) == 10
