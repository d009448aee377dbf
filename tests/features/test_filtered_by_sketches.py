"""Filtered searches of an index: the sketches of all that match are scanned, wherever these are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB
from vecdb.engine.read.segment import widen

Floats = np.ndarray[Any, Any]
Made = Callable[[str], VecDB]
ROWS, DIM = 12_000, 96
METRICS = ["Cosine", "Dot", "Euclid", "Manhattan"]
FILTERS = {
    "here and there": {"must": [{"key": "n", "match": {"value": 3}}]},
    "one side": {"must": [{"key": "side", "match": {"value": True}}]},
    "the other side": {"must_not": [{"key": "side", "match": {"value": True}}]},
    "far from the middle": {"must": [{"key": "far", "match": {"value": True}}]},
}


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in segments that are too large for a scan of the vectors of all that match."""
    monkeypatch.setattr(widen, "_SCAN_BYTES", -(1 << 62))


def rows_and_queries(seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(60, DIM))
    rows = middles[rng.integers(60, size=ROWS)] + 0.6 * rng.normal(size=(ROWS, DIM))
    queries = middles[rng.integers(60, size=24)] + 0.6 * rng.normal(size=(24, DIM))
    return rows.astype(np.float32), queries.astype(np.float32)


def payloads(rows: Floats) -> list[dict[str, Any]]:
    side, lengths = rows[:, 0] + rows[:, 1] > 0, np.linalg.norm(rows, axis=1)
    far = lengths > np.quantile(lengths, 0.8)
    return [
        {"n": number % 10, "side": bool(side[number]), "far": bool(far[number])}
        for number in range(len(rows))
    ]


def filled(metric: str, vectors: Any, named: bool = False) -> VecDB:
    db = VecDB(":memory:")
    one = {"size": DIM, "distance": metric}
    config: dict[str, Any] = one
    if named:  # the larger one orders the rows
        config = {"first": {"size": DIM + 32, "distance": "Dot"}, "asked": one}
    db.create_collection("c", config, optimizers_config={"indexing_threshold": 1})
    payload = payloads(vectors["asked"] if named else vectors)
    ids = range(len(payload))
    db.upload_collection("c", vectors, ids=ids, payload=payload, batch_size=4000)
    for field in ("n", "side", "far"):
        db.create_payload_index("c", field, "integer" if field == "n" else "bool")
    assert db.wait_for_optimizer()
    return db


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    """Databases by metric, of which nothing is changed."""
    kept: dict[str, VecDB] = {}

    def of(metric: str) -> VecDB:
        if metric not in kept:
            kept[metric] = filled(metric, rows_and_queries()[0])
        return kept[metric]

    yield of
    for db in kept.values():
        db.close()


def scores(db: VecDB, query: Any, filter: Any, limit: int, **search: Any) -> list[float]:
    return [hit.score for hit in db.search("c", query, filter, limit=limit, **search)]


def stages(db: VecDB, query: Any, filter: Any, limit: int = 10, **search: Any) -> list[str]:
    found = db.query_points("c", query, query_filter=filter, limit=limit, explain=True, **search)
    assert found.explanation is not None
    return [stage.by for segment in found.explanation for stage in segment.stages]


def recall(db: VecDB, queries: Any, filter: Any, limit: int, **search: Any) -> float:
    """By score."""
    shares = []
    for query in queries:
        best = scores(db, query, filter, limit, search_params={"exact": True}, **search)
        found = scores(db, query, filter, limit, **search)
        assert len(found) == len(best)
        worst, sign = best[-1], 1 if best[0] >= best[-1] else -1
        shares.append(np.mean(sign * np.array(found) >= sign * worst - 1e-4))
    return float(np.mean(shares))


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("metric", METRICS)
def test_recall_holds_wherever_the_matches_are(metric: str, name: str, made: Made) -> None:
    _, queries = rows_and_queries()
    db, filter = made(metric), FILTERS[name]
    assert "sketches" in stages(db, queries[0], filter)
    for limit in (1, 10, 60):
        assert recall(db, queries, filter, limit) >= 0.97


@pytest.mark.parametrize("metric", METRICS)
def test_asking_for_more_gives_no_less(metric: str, made: Made) -> None:
    """Rescored candidates, ef or a recall."""
    _, queries = rows_and_queries()
    db, filter = made(metric), FILTERS["one side"]
    sign = -1 if metric in ("Euclid", "Manhattan") else 1
    for query in queries[:10]:
        usual = np.sort(sign * np.array(scores(db, query, filter, 10)))
        for params in (
            {"quantization": {"oversampling": 8.0}},
            {"hnsw_ef": 400},
            {"recall": 0.999},
            {"recall": 1.0},
        ):
            more = np.sort(sign * np.array(scores(db, query, filter, 10, search_params=params)))
            assert (more >= usual - 1e-5).all(), params


def test_more_than_match_are_all_that_match(made: Made) -> None:
    _, queries = rows_and_queries()
    db, filter = made("Euclid"), FILTERS["here and there"]
    found = db.search("c", queries[0], filter, limit=5000)
    assert len({hit.id for hit in found}) == len(found) == ROWS // 10


def test_deleted_rows_and_the_rows_of_another_segment_beside_a_filter() -> None:
    rows, queries = rows_and_queries(1)
    with filled("Euclid", rows) as db:
        filter = FILTERS["one side"]
        best = [hit.id for query in queries for hit in db.search("c", query, filter, limit=3)]
        db.delete("c", sorted(set(best)))
        late = [
            {"id": ROWS + n, "vector": q, "payload": {"side": True}} for n, q in enumerate(queries)
        ]
        db.upsert("c", late)
        for number, query in enumerate(queries):
            found = [hit.id for hit in db.search("c", query, filter, limit=10)]
            assert found[0] == ROWS + number
            assert not set(found) & set(best)
        assert recall(db, queries, filter, 10) >= 0.97


def test_a_second_vector_whose_rows_stand_in_another_order() -> None:
    """Positions are not rows there, and the bits of a mask are of rows."""
    rows, queries = rows_and_queries(2)
    first = np.random.default_rng(3).normal(size=(ROWS, DIM + 32)).astype(np.float32)
    with filled("Cosine", {"first": first, "asked": rows}, named=True) as db:
        for name, filter in FILTERS.items():
            assert "sketches" in stages(db, queries[0], filter, using="asked"), name
            named = [("asked", query) for query in queries]
            assert recall(db, named, filter, 10) >= 0.97, name


def test_rows_of_two_scales() -> None:
    """Sketches of the narrow rows are a thousand times as exact, and they alone were candidates:
    that nothing is missed of the others was concluded from them."""
    rng = np.random.default_rng(5)
    middles = rng.normal(size=(40, 48)) * 50
    wide = rng.random(ROWS) < 0.5
    rows = middles[rng.integers(40, size=ROWS)]
    rows += rng.normal(size=rows.shape) * np.where(wide, 40.0, 0.05)[:, None]
    queries = (middles[rng.integers(40, size=60)] + 60 * rng.normal(size=(60, 48))).astype("f4")
    with VecDB(":memory:") as db:
        config = {"size": 48, "distance": "Euclid"}
        db.create_collection("c", config, optimizers_config={"indexing_threshold": 1})
        payload = [{"half": number % 2} for number in range(ROWS)]
        db.upload_collection("c", rows.astype("f4"), ids=range(ROWS), payload=payload)
        assert db.wait_for_optimizer()
        filter = {"must": [{"key": "half", "match": {"value": 1}}]}
        for limit in (1, 10):
            assert recall(db, queries, filter, limit) >= 0.97


def test_skewed_rows_whose_scale_tells_how_far_their_sketch_is_off() -> None:
    """Rows with a few large components are estimated too low by a query that asks for all of them.
    A line through estimates and scores did not know: 0.92 of 0.97 was found under a filter."""
    rng = np.random.default_rng(11)
    rows = rng.gamma(0.15, size=(20_000, DIM)).astype(np.float32)
    sums = rows.sum(axis=1)
    low = sums < np.median(sums)
    queries = rng.random((60, DIM)).astype(np.float32)
    with VecDB(":memory:") as db:
        config = {"size": DIM, "distance": "Dot"}
        db.create_collection("c", config, optimizers_config={"indexing_threshold": 1})
        payload = [{"low": bool(each)} for each in low]
        db.upload_collection("c", rows, ids=range(len(rows)), payload=payload, batch_size=5000)
        assert db.wait_for_optimizer()
        filter = {"must": [{"key": "low", "match": {"value": True}}]}
        assert recall(db, queries, filter, 1) >= 0.96
        assert recall(db, queries, filter, 10) >= 0.97


QUANTIZED = {"scalar": {"type": "int8", "always_ram": True}}


def with_codes(on_disk: bool) -> VecDB:
    rows, _ = rows_and_queries(4)
    db = VecDB()
    config = {"size": DIM, "distance": "Euclid", "on_disk": on_disk}
    optimizers = {"indexing_threshold": 1, "memmap_threshold": 1 if on_disk else None}
    db.create_collection("c", config, optimizers_config=optimizers, quantization_config=QUANTIZED)
    db.upload_collection("c", rows, ids=range(ROWS), payload=payloads(rows), batch_size=4000)
    assert db.wait_for_optimizer()
    return db


def rescored(db: VecDB, query: Any, filter: Any, **search: Any) -> int:
    found = db.query_points("c", query, query_filter=filter, limit=10, explain=True, **search)
    assert found.explanation is not None
    stages = [stage for segment in found.explanation for stage in segment.stages]
    return sum(stage.rows for stage in stages if stage.by == "originals")


@pytest.mark.parametrize("share", ["one side", "nearly all"])
def test_codes_have_the_last_word_beside_a_filter(share: str) -> None:
    """A visit that left doubts was followed by a search that read originals."""
    _, queries = rows_and_queries(4)
    filters = {**FILTERS, "nearly all": {"must_not": [{"key": "n", "match": {"value": 3}}]}}
    with with_codes(on_disk=True) as db:
        params = {"quantization": {"rescore": False}}
        for query in queries:
            assert rescored(db, query, filters[share], search_params=params) == 0


def test_codes_spare_originals_on_disk_beside_a_filter() -> None:
    _, queries = rows_and_queries(4)
    with with_codes(on_disk=True) as db:
        filter = FILTERS["one side"]
        assert "codes" in stages(db, queries[0], filter)
        assert np.mean([rescored(db, query, filter) for query in queries]) < 40
        assert recall(db, queries, filter, 10) >= 0.97


def test_as_many_originals_as_the_caller_wants_beside_a_filter(made: Made) -> None:
    _, queries = rows_and_queries()
    nearly_all = {"must_not": [{"key": "n", "match": {"value": 3}}]}
    with with_codes(on_disk=False) as db:
        for filter, share in ((FILTERS["one side"], 1.0), (nearly_all, 0.8)):  # of near partitions
            for query in queries[:6]:
                params: Any = {"hnsw_ef": 2000}
                found = rescored(made("Cosine"), query, filter, search_params=params)
                assert found >= share * 2000
                params = {"quantization": {"oversampling": 50.0}}
                assert rescored(db, query, filter, search_params=params) == 500
                assert rescored(made("Cosine"), query, filter, search_params=params) < 500


def test_a_large_part_of_all_that_match_is_scored_by_vectors(made: Made) -> None:
    _, queries = rows_and_queries()
    assert "sketches" not in stages(made("Cosine"), queries[0], FILTERS["one side"], limit=1000)


def test_a_filter_that_leaves_nearly_all_goes_by_near_partitions(made: Made) -> None:
    _, queries = rows_and_queries()
    db = made("Cosine")
    filter = {"must_not": [{"key": "n", "match": {"value": 3}}]}
    found = db.query_points("c", queries[0], query_filter=filter, explain=True)
    assert found.explanation is not None
    stages = [stage for stage in found.explanation[0].stages if stage.by == "sketches"]
    assert "partitions" in stages[0].reason
    assert recall(db, queries, filter, 10) >= 0.93


@pytest.mark.parametrize("metric", METRICS)
def test_half_of_the_rows_are_looked_for_near_the_query(metric: str, made: Made) -> None:
    """All sketches of what matches were read, wherever that was. Where what matches is rare near
    the query, they still are."""
    _, queries = rows_and_queries()
    db = made(metric)
    half = {"must": [{"key": "n", "range": {"lt": 5}}]}
    found = [visited(db, query, half) for query in queries]
    assert np.median(found) < ROWS / 2
    assert recall(db, queries, half, 10) >= 0.97
    assert recall(db, queries, half, 1) >= 0.97
    far = {"must_not": [{"has_id": nearest(db, queries, 400)}]}
    assert recall(db, queries, far, 10) >= 0.97


def visited(db: VecDB, query: Any, filter: Any) -> int:
    """How many sketches are read."""
    explanation = db.query_points("c", query, query_filter=filter, explain=True).explanation
    assert explanation is not None
    return sum(s.rows for one in explanation for s in one.stages if s.by == "sketches")


def nearest(db: VecDB, queries: Any, count: int) -> list[int]:
    """The ids of what is nearest to any of the queries."""
    return sorted({hit.id for q in queries for hit in db.search("c", q, limit=count)})  # type: ignore[misc]


@pytest.mark.parametrize("metric", METRICS)
def test_queries_among_the_matches_and_queries_far_from_them_in_one_batch(
    metric: str, made: Made
) -> None:
    """Each is searched as it would be alone: near partitions of one, all that match of another."""
    _, queries = rows_and_queries()
    db, filter = made(metric), FILTERS["one side"]
    assert len({goes_near(db, query, filter) for query in queries}) == 2
    requests = [{"query": query, "filter": filter, "limit": 10} for query in queries]
    for query, answer in zip(queries, db.query_batch_points("c", requests), strict=True):
        alone = db.search("c", query, filter, limit=10)
        np.testing.assert_allclose(
            [hit.score for hit in answer.points], [hit.score for hit in alone], rtol=1e-5
        )


def goes_near(db: VecDB, query: Any, filter: Any) -> bool:
    """Whether a query visits near partitions."""
    found = db.query_points("c", query, query_filter=filter, limit=10, explain=True)
    assert found.explanation is not None
    return any(
        "rows near the query match" in stage.reason
        for segment in found.explanation
        for stage in segment.stages
    )
