"""Originals as float16 and uint8: half and a quarter of the bytes, and the results of vectors that
were rounded before they came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB, models

DIM, ROWS = 24, 700
DISTANCES = list(models.Distance)
NARROW = ["float16", "uint8"]


def numbers(datatype: str, rows: int, seed: int = 0) -> np.ndarray:
    """Vectors of which rounding leaves something, and of bytes something beyond the range."""
    random = np.random.default_rng(seed)
    if datatype == "uint8":
        return (random.random((rows, DIM)) * 290 - 20).astype(np.float32)
    return random.standard_normal((rows, DIM)).astype(np.float32)


def rounded(vectors: np.ndarray, datatype: str) -> np.ndarray:
    """What is kept of them, where they are not scaled first."""
    if datatype == "uint8":
        return np.clip(np.trunc(vectors), 0, 255).astype(np.float32)
    return vectors.astype(np.float16).astype(np.float32)


def kept(vectors: np.ndarray, distance: models.Distance, datatype: str) -> np.ndarray:
    if distance is models.Distance.COSINE and datatype == "float16":
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return rounded(vectors, datatype)


def scores_of(
    rows: np.ndarray, query: np.ndarray, distance: models.Distance, datatype: str
) -> np.ndarray:
    """In float64. Rows that were scaled before they were rounded are not scaled again."""
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    if distance is models.Distance.DOT:
        return rows @ query
    if distance is models.Distance.COSINE:
        products = rows @ (query / np.linalg.norm(query))
        if datatype == "float16":
            return products
        lengths = np.linalg.norm(rows, axis=1)
        return products / np.where(lengths > 0, lengths, 1)
    if distance is models.Distance.EUCLID:
        return np.linalg.norm(rows - query, axis=1)
    return np.abs(rows - query).sum(axis=1)


def params(distance: models.Distance, datatype: str | None, **more: Any) -> models.VectorParams:
    return models.VectorParams(size=DIM, distance=distance, datatype=datatype, **more)


@pytest.fixture(params=DISTANCES, ids=lambda distance: distance.value)
def distance(request: pytest.FixtureRequest) -> models.Distance:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=NARROW)
def datatype(request: pytest.FixtureRequest) -> str:
    return request.param  # type: ignore[no-any-return]


def test_results_are_those_of_rounded_vectors(
    tmp_path: Path, distance: models.Distance, datatype: str
) -> None:
    """In memory, in files, in both, after deletions, an index and a reopening."""
    vectors, queries = numbers(datatype, ROWS), numbers(datatype, 5, seed=1)
    there = kept(vectors, distance, datatype)
    alive = np.ones(ROWS, dtype=np.bool_)

    def compare(db: VecDB, *, exact: bool = True) -> None:
        for query in queries:
            expected = scores_of(there, query, distance, datatype)
            better = -expected if more_is_better(distance) else expected
            order = np.argsort(np.where(alive, better, np.inf), kind="stable")[:10]
            found = db.query_points(
                "c", query=query, limit=10, search_params=models.SearchParams(exact=exact)
            ).points
            np.testing.assert_allclose(
                [point.score for point in found], expected[order], rtol=2e-6, atol=1e-6
            )
            np.testing.assert_allclose(
                [expected[int(point.id)] for point in found],
                expected[order],
                rtol=2e-6,
                atol=1e-6,
            )

    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", params(distance, datatype))
        db.upsert("c", models.Batch(ids=list(range(400)), vectors=vectors[:400]))
        alive[400:] = False
        compare(db)
        db.flush("c")
        db.upsert("c", models.Batch(ids=list(range(400, ROWS)), vectors=vectors[400:]))
        alive[400:] = True
        compare(db)
        db.delete("c", [3, 5, 401, 402])
        alive[[3, 5, 401, 402]] = False
        compare(db)
        db.flush("c")
        compare(db)
    with VecDB(tmp_path / "db") as db:
        compare(db)
        records = db.retrieve("c", list(range(ROWS)), with_vectors=True)
        for record in records:
            assert np.array_equal(np.float32(record.vector), there[int(record.id)])
        assert db.check().ok


def more_is_better(distance: models.Distance) -> bool:
    return distance in (models.Distance.COSINE, models.Distance.DOT)
