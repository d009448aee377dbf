"""A search of codes without an index finds the share that was asked for, of any data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB

ROWS, DIM, QUERIES, LIMIT = 4000, 48, 40, 10
Array = np.ndarray[Any, Any]
CODES: dict[str, Any] = {
    "scalar": {"scalar": {"type": "int8"}},
    "binary": {"binary": {}},
    "turbo": {"turbo": {}},
    "product": {"product": {"compression": "x32"}},
}
CLIPPED: dict[str, Any] = {"scalar": {"type": "int8", "quantile": 0.99}}
DISTANCES = ["Cosine", "Dot", "Euclid", "Manhattan"]


def _clusters(rng: np.random.Generator, count: int) -> Array:
    middles = np.random.default_rng(1).normal(size=(60, DIM))
    return 0.6 * middles[rng.integers(60, size=count)] + 0.5 * rng.normal(size=(count, DIM))


def clusters(rng: np.random.Generator) -> tuple[Array, Array]:
    return _clusters(rng, ROWS), _clusters(rng, QUERIES)


def noise(rng: np.random.Generator) -> tuple[Array, Array]:
    return rng.normal(size=(ROWS, DIM)), rng.normal(size=(QUERIES, DIM))


def off_centre(rng: np.random.Generator) -> tuple[Array, Array]:
    return _clusters(rng, ROWS) + 4, (_clusters(rng, QUERIES) + 4) / 100


def other_side(rng: np.random.Generator) -> tuple[Array, Array]:
    return _clusters(rng, ROWS) + 3, -_clusters(rng, QUERIES)


def giants(rng: np.random.Generator) -> tuple[Array, Array]:
    rows = _clusters(rng, ROWS)
    rows[[5, 500, 3000]] *= 1000
    return rows, _clusters(rng, QUERIES)


def lengths(rng: np.random.Generator) -> tuple[Array, Array]:
    return _clusters(rng, ROWS) * np.exp(rng.normal(size=(ROWS, 1))), _clusters(rng, QUERIES)


def equal_rows(rng: np.random.Generator) -> tuple[Array, Array]:
    rows = _clusters(rng, ROWS)
    rows[rng.choice(ROWS, ROWS // 20, replace=False)] = rows[0]
    queries = _clusters(rng, QUERIES)
    queries[:4] = rows[0]
    return rows, queries


def bits(rng: np.random.Generator) -> tuple[Array, Array]:
    return rng.choice([-1.0, 1.0], (ROWS, DIM)), rng.choice([-1.0, 1.0], (QUERIES, DIM))


DATA: list[Callable[[np.random.Generator], tuple[Array, Array]]] = [
    *(clusters, noise, off_centre, other_side, giants, lengths, equal_rows, bits),
]


def exact_scores(distance: str, rows: Array, query: Array) -> Array:
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    if distance == "Euclid":
        return -((rows - query) ** 2).sum(axis=1)  # type: ignore[no-any-return]
    if distance == "Manhattan":
        return -np.abs(rows - query).sum(axis=1)  # type: ignore[no-any-return]
    if distance == "Cosine":
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ query  # type: ignore[no-any-return]


def share(scores: Array, found: list[Any], limit: int) -> float:
    """Of the true best, how many are found; equal scores are equally good."""
    last = np.sort(scores)[-limit]
    reached = scores[[hit.id for hit in found]] >= last - 1e-5 * np.abs(scores).max()
    return float(reached.mean())


@contextmanager
def filled(distance: str, codes: Any, rows: Array) -> Iterator[VecDB]:
    with VecDB(":memory:") as db:
        db.create_collection(
            "c",
            {"size": rows.shape[1], "distance": distance},
            quantization_config=codes,
            optimizers_config={"indexing_threshold": 0, "memmap_threshold": 1},
        )
        payload = [{"third": row % 3} for row in range(len(rows))]
        db.upload_collection("c", rows, ids=range(len(rows)), payload=payload)
        db.flush("c")
        assert db.wait_for_optimizer("c", timeout=100)
        yield db


@pytest.mark.slow
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("codes", CODES)
def test_what_is_asked_for_is_found(codes: str, distance: str, data: Any) -> None:
    rows, queries = (each.astype(np.float32) for each in data(np.random.default_rng(7)))
    scores = [exact_scores(distance, rows, query) for query in queries]
    third = {"must": [{"key": "third", "match": {"value": 1}}]}
    allowed = np.arange(ROWS) % 3 == 1
    with filled(distance, CODES[codes], rows) as db:
        found: dict[Any, float] = {}
        for limit in (1, LIMIT, 150):
            for recall in (0.9, 0.97, 0.99, 1.0):
                params = {"recall": recall}
                shares = [
                    share(s, db.search("c", q, limit=limit, search_params=params), limit)
                    for q, s in zip(queries, scores, strict=True)
                ]
                found[limit, recall] = float(np.mean(shares))
                # Of so few single results, one miss is 2.5 %.
                assert found[limit, recall] >= recall - (0.01 if limit > 1 else 0.05), found
            assert found[limit, 1.0] == 1.0
            assert [found[limit, r] for r in (0.9, 0.97, 0.99)] == sorted(
                found[limit, r] for r in (0.9, 0.97, 0.99)
            )
        filtered = [
            share(np.where(allowed, s, -np.inf), db.search("c", q, query_filter=third), LIMIT)
            for q, s in zip(queries, scores, strict=True)
        ]
        assert np.mean(filtered) >= 0.96


@pytest.mark.parametrize("distance", DISTANCES)
def test_what_clipping_takes_from_a_row_is_expected(distance: str) -> None:
    """Words of few topics: nearly all values are zero, and the largest are clipped just where a
    query has them, too. The first candidates do not show such errors: 0.95 was found."""
    rng = np.random.default_rng(7)
    common = 1.0 / np.arange(1, 257) ** 0.7
    topics = rng.gamma(0.3, size=(40, 256)) * common
    topics /= topics.sum(axis=1, keepdims=True)
    words = rng.poisson(12 * topics[rng.integers(40, size=6200)]) * np.log(2 / common)
    words = (words / np.linalg.norm(words, axis=1, keepdims=True)).astype(np.float32)
    rows, queries = words[:6000], words[6000:]
    with filled(distance, CLIPPED, rows) as db:
        shares = [
            share(exact_scores(distance, rows, query), db.search("c", query), LIMIT)
            for query in queries
        ]
    assert np.mean(shares) >= 0.97


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("distance", ["Dot", "Manhattan"])
def test_asking_for_more_never_gives_less(codes: str, distance: str) -> None:
    """A recall, and beside it or alone a number of originals."""
    rows, queries = (each.astype(np.float32) for each in giants(np.random.default_rng(7)))
    factors = (1, 2, 30, 100)
    by_recall: list[Any] = [
        {"recall": 0.5},
        {},
        *({"recall": 0.97, "quantization": {"oversampling": factor}} for factor in factors),
        {"recall": 0.99, "quantization": {"oversampling": 100}},
        {"exact": True},
    ]
    alone: list[Any] = [*({"quantization": {"oversampling": f}} for f in factors), {"exact": True}]
    with filled(distance, CODES[codes], rows) as db:
        for query in queries:
            scores = exact_scores(distance, rows, query)
            for asked in (by_recall, alone):
                before = -np.inf
                for params in asked:
                    hits = db.search("c", query, search_params=params)
                    now = np.sort(scores[[int(hit.id) for hit in hits]])
                    assert (now >= before - 1e-4 * np.abs(now)).all(), params
                    before = now


@pytest.mark.parametrize("codes", CODES)
def test_as_many_originals_are_read_as_the_caller_says(codes: str) -> None:
    """Neither fewer nor more, unless a recall is asked for beside it."""
    rows, queries = (each.astype(np.float32) for each in giants(np.random.default_rng(7)))

    def read(db: VecDB, factor: float, **more: Any) -> int:
        params = {"quantization": {"oversampling": factor}, **more}
        response = db.query_points("c", queries[0], search_params=params, explain=True)
        assert response.explanation is not None
        return int(response.explanation[0].stages[-1].rows)

    with filled("Cosine", CODES[codes], rows) as db:
        for factor in (1.0, 1.55, 7.3):
            assert read(db, factor) == int(factor * 10)
            assert read(db, factor, recall=0.97) >= max(int(factor * 10), 16)


def test_the_explanation_says_why_all_are_scanned() -> None:
    rows, queries = (each.astype(np.float32) for each in noise(np.random.default_rng(7)))

    def stages(db: VecDB, **params: Any) -> list[Any]:
        response = db.query_points("c", queries[0], search_params=params, explain=True)
        assert response.explanation is not None
        return response.explanation[0].stages

    with filled("Euclid", CODES["product"], rows) as db:
        [whole] = stages(db, recall=1.0)
        assert (whole.by, whole.rows, whole.reason) == ("originals", ROWS, "for a recall of 1")
        [whole] = stages(db)
        assert whole.reason == "product codes tell too little of this query"
    with filled("Euclid", CODES["scalar"], rows) as db:
        first, last = stages(db, recall=0.99)
        assert (first.by, first.reason) == ("codes", "all scalar codes, for a recall of 0.99")
        assert first.kept == last.rows < 100
        [alone] = stages(db, quantization={"rescore": False})
        assert (alone.by, alone.kept) == ("codes", 10)
