"""Heaps of equal rows are set aside in the index, and nothing is lost by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vecdb import VecDB, models
from vecdb.engine.read.segment import sketches

Floats = npt.NDArray[np.float32]

ROWS, DIM = 16000, 24
HEAP = np.arange(0, ROWS, 2)
"""Half of all rows, zeros; their ids."""
INDEXED = {"indexing_threshold": 1000}
Kept = Callable[[str], VecDB]
METRICS = ("Euclid", "Manhattan", "Dot", "Cosine")


def data() -> tuple[Floats, Floats]:
    """Rows, and queries that are like the other half."""
    random = np.random.default_rng(5)
    centres = 0.7 * random.normal(size=(100, DIM))
    rows = centres[random.integers(100, size=ROWS + 60)] + random.normal(size=(ROWS + 60, DIM))
    rows[HEAP] = 0
    return rows[:ROWS].astype(np.float32), rows[ROWS:].astype(np.float32)


def filled(metric: str, place: str | Path = ":memory:", codes: Any = None) -> VecDB:
    rows, _ = data()
    db = VecDB(place)
    sizes = {"size": DIM, "distance": metric}
    db.create_collection("c", sizes, optimizers_config=INDEXED, quantization_config=codes)
    payload = [{"third": number % 3 == 0} for number in range(ROWS)]
    db.upload_collection("c", rows, ids=range(ROWS), payload=payload, batch_size=5000)
    assert db.wait_for_optimizer()
    return db


@pytest.fixture(scope="module")
def kept() -> Iterator[Kept]:
    """Collections by metric, of which nothing is changed."""
    made: dict[str, VecDB] = {}

    def of(metric: str) -> VecDB:
        if metric not in made:
            made[metric] = filled(metric)
        return made[metric]

    yield of
    for db in made.values():
        db.close()


@pytest.fixture
def by_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filtered searches go by the index, as in a large collection."""
    monkeypatch.setattr(sketches, "_MOST_MATCH", 0.0)


def originals(db: VecDB, query: Floats) -> int:
    """How many were scored for ten results."""
    (segment,) = db.query_points("c", query, limit=10, explain=True).explanation
    return sum(stage.rows for stage in segment.stages if stage.by == "originals")


def ids(db: VecDB, query: Floats, limit: int, **search: Any) -> list[int]:
    return [int(hit.id) for hit in db.search("c", query, limit=limit, **search)]


def scores(db: VecDB, query: Floats, limit: int, **search: Any) -> list[float]:
    return [hit.score for hit in db.search("c", query, limit=limit, **search)]


def recall(db: VecDB, metric: str, queries: Floats, limit: int, **search: Any) -> float:
    """By score, so that of equal rows any will do."""
    sign = 1 if metric in ("Dot", "Cosine") else -1
    shares = []
    for query in queries:
        best = scores(db, query, limit, search_params={"exact": True}, **search)
        found = np.array(scores(db, query, limit, **search))
        assert len(found) == limit
        shares.append(np.mean(sign * found >= sign * best[-1] - 1e-4))
    return float(np.mean(shares))


@pytest.mark.parametrize("metric", METRICS)
def test_a_heap_of_half_the_rows_does_not_take_the_place_of_all_candidates(
    metric: str, kept: Kept
) -> None:
    """Neighbours stood behind thousands of candidates that told as much: all originals were
    scanned."""
    _, queries = data()
    db = kept(metric)
    assert np.mean([originals(db, query) for query in queries]) < ROWS / 20
    assert recall(db, metric, queries, 10) >= 0.95


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("limit", [101, 300])
def test_more_results_than_stay_of_a_heap(metric: str, limit: int, kept: Kept) -> None:
    """The heap stands before a part of the results, and is in nobody's way."""
    _, queries = data()
    assert recall(kept(metric), metric, queries[:20], limit) >= 0.95


@pytest.mark.parametrize("metric", ["Euclid", "Manhattan"])
def test_who_wants_more_of_a_heap_than_stay_gets_them(metric: str, kept: Kept) -> None:
    db, query = kept(metric), np.full(DIM, 0.001, np.float32)
    for limit in (100, 101, 150, 1000):
        found = ids(db, query, limit)
        assert len(set(found)) == limit
        assert np.isin(found, HEAP).all()
    several = [ids(db, query, 60, offset=offset) for offset in range(0, 600, 60)]
    assert len(np.unique(several)) == 600
    assert np.isin(several, HEAP).all()


@pytest.mark.usefixtures("by_index")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("limit", [10, 100, 150])
def test_a_filter_that_leaves_rows_of_a_heap(metric: str, limit: int, kept: Kept) -> None:
    thirds = models.Filter(must=[models.FieldCondition(key="third", match={"value": True})])
    _, queries = data()
    queries = np.concatenate((0.05 * queries[:10], queries[10:20]))
    assert recall(kept(metric), metric, queries, limit, query_filter=thirds) >= 0.95


@pytest.mark.parametrize("metric", ["Euclid", "Manhattan"])
@pytest.mark.parametrize("left", [0, 80])
def test_deleted_rows_of_those_that_stay(metric: str, left: int) -> None:
    """The first hundred of a heap stay among the other rows."""
    query = np.full(DIM, 0.001, np.float32)
    with filled(metric) as db:
        stay = sorted(ids(db, query, 100))
        db.delete("c", stay[left:])
        for limit in (10, 100):
            found = ids(db, query, limit)
            assert len(set(found)) == limit
            assert np.isin(found, HEAP).all()
            assert not np.isin(found, stay[left:]).any()


@pytest.mark.parametrize("rescore", [True, False])
def test_a_heap_among_results_by_codes(rescore: bool) -> None:
    codes = {"scalar": {"type": "int8", "always_ram": True}}
    params = {"quantization": {"rescore": rescore}}
    query = np.full(DIM, 0.001, np.float32)
    with filled("Euclid", codes=codes) as db:
        before = ids(db, query, 100, search_params=params)
        found = ids(db, query, 150, search_params=params)
        assert len(set(found)) == 150
        assert np.isin(found, HEAP).all()
        db.delete("c", before[80:])
        found = ids(db, query, 100, search_params=params)
        assert len(set(found)) == 100
        assert np.isin(found, HEAP).all()


def test_a_heap_is_there_after_opening_again(tmp_path: Path) -> None:
    query = np.full(DIM, 0.001, np.float32)
    with filled("Euclid", tmp_path / "db") as db:
        before = {limit: ids(db, query, limit) for limit in (10, 100, 300)}
        scored = originals(db, query)
    with VecDB(tmp_path / "db") as db:
        assert {limit: ids(db, query, limit) for limit in before} == before
        assert originals(db, query) == scored < ROWS
        db.delete("c", before[100])
        assert not set(ids(db, query, 100)) & set(before[100])
        assert np.isin(ids(db, query, 100), HEAP).all()


def test_a_heap_in_the_order_of_another_vector() -> None:
    rows, queries = data()
    with VecDB(":memory:") as db:
        sizes = {"long": {"size": DIM + 1, "distance": "Dot"}}
        db.create_collection(
            "c", sizes | {"a": {"size": DIM, "distance": "Euclid"}}, optimizers_config=INDEXED
        )
        long = np.random.default_rng(1).normal(size=(ROWS, DIM + 1)).astype(np.float32)
        db.upload_collection("c", {"long": long, "a": rows}, ids=range(ROWS), batch_size=5000)
        assert db.wait_for_optimizer()
        shares = []
        for query in queries[:20]:
            answer = db.query_points("c", query, using="a", limit=150)
            exact = db.query_points("c", query, using="a", limit=150, search_params={"exact": True})
            last = exact.points[-1].score
            shares.append(np.mean([hit.score <= last + 1e-4 for hit in answer.points]))
        assert np.mean(shares) >= 0.95
        zero = np.full(DIM, 0.001, np.float32)
        hits = db.query_points("c", zero, using="a", limit=150).points
        assert np.isin([int(hit.id) for hit in hits], HEAP).all()
