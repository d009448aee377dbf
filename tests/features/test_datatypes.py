"""Originals as float16 and uint8: half and a quarter of the bytes, and the results of vectors that
were rounded before they came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB, models
from vecdb.errors import InvalidInputError

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
        there[:400] = read(db, 400)
        compare(db)
        db.flush("c")
        db.upsert("c", models.Batch(ids=list(range(400, ROWS)), vectors=vectors[400:]))
        alive[400:] = True
        there[400:] = read(db, ROWS)[400:]
        require_kept(there, vectors, distance, datatype)
        compare(db)
        db.delete("c", [3, 5, 401, 402])
        alive[[3, 5, 401, 402]] = False
        compare(db)
        db.flush("c")
        compare(db)
    with VecDB(tmp_path / "db") as db:
        compare(db)
        assert db.check().ok


def read(db: VecDB, rows: int) -> np.ndarray:
    records = db.retrieve("c", list(range(rows)), with_vectors=True)
    return np.array([record.vector for record in records], dtype=np.float32)


def require_kept(
    there: np.ndarray, vectors: np.ndarray, distance: models.Distance, datatype: str
) -> None:
    """What is there is what was given, rounded. Scaled first, it may be rounded to either side."""
    expected = kept(vectors, distance, datatype)
    if distance is models.Distance.COSINE and datatype == "float16":
        one_more = np.abs(np.spacing(expected.astype(np.float16))).astype(np.float32)
        assert (np.abs(there - expected) <= one_more).all()
        assert (there != expected).mean() < 1e-3
    else:
        assert np.array_equal(there, expected)


def more_is_better(distance: models.Distance) -> bool:
    return distance in (models.Distance.COSINE, models.Distance.DOT)


CODES: list[Any] = [
    None,
    models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type="int8")),
    models.BinaryQuantization(binary=models.BinaryQuantizationConfig()),
    models.ProductQuantization(product=models.ProductQuantizationConfig(compression="x16")),
]


KINDS = [(distance, datatype) for datatype in NARROW for distance in DISTANCES]
CASES = [
    pytest.param(*kind, CODES[(number + more) % 4], bool(more), id=f"{kind[0].value}-{kind[1]}")
    for number, kind in enumerate(KINDS)
    for more in (0, 1)
]
"""Each kind of vectors with two kinds of codes, with one of them on disk."""


@pytest.mark.parametrize(("distance", "datatype", "codes", "on_disk"), CASES)
def test_codes_and_indexes_are_of_what_is_kept(
    distance: models.Distance, datatype: str, codes: Any, on_disk: bool
) -> None:
    """The recall that is aimed for, by exact scores, and exact answers where they are wanted."""
    rows = 2000
    random = np.random.default_rng(3)
    middles = numbers(datatype, 30, seed=4)
    vectors = middles[random.integers(0, 30, rows)] + 0.3 * numbers(datatype, rows, seed=5)
    queries = middles[random.integers(0, 30, 40)] + 0.3 * numbers(datatype, 40, seed=6)
    with VecDB(":memory:") as db:
        db.create_collection(
            "c",
            params(distance, datatype, on_disk=on_disk, quantization_config=codes),
            optimizers_config={"indexing_threshold": 1, "memmap_threshold": 0},
        )
        for start in range(0, rows, 1000):
            some = list(range(start, start + 1000))
            db.upsert("c", models.Batch(ids=some, vectors=vectors[start : start + 1000]))
        assert db.wait_for_optimizer("c", timeout=300)
        (segment,) = [s for s in db.get_collection("c").segments if s.points]
        of_vector = segment.vectors[""]
        assert of_vector.bytes == rows * DIM * (1 if datatype == "uint8" else 2)
        assert of_vector.index is not None
        assert (of_vector.quantization is None) == (codes is None)
        there = read(db, rows)
        require_kept(there, vectors, distance, datatype)
        found_all = 0
        for query in queries:
            expected = scores_of(there, query, distance, datatype)
            better = -expected if more_is_better(distance) else expected
            best = np.sort(better)[:10]
            for exact in (False, True):
                found = db.query_points(
                    "c", query=query, limit=10, search_params=models.SearchParams(exact=exact)
                ).points
                ids = [int(point.id) for point in found]
                np.testing.assert_allclose(
                    [point.score for point in found], expected[ids], rtol=2e-6, atol=2e-6
                )
                hits = int((better[ids] <= best[-1] + 2e-6 * (1 + abs(best[-1]))).sum())
                assert not exact or hits == 10
                found_all += hits if not exact else 0
        assert found_all >= 0.95 * 10 * len(queries)


QUERIES: list[Any] = [
    lambda q, of: q,
    lambda q, of: 7,
    lambda q, of: {"recommend": {"positive": [3, 4, 5], "negative": [9]}},
    lambda q, of: {"recommend": {"positive": [3, q], "strategy": "best_score"}},
    lambda q, of: {"recommend": {"positive": [3, 4], "negative": [8], "strategy": "sum_scores"}},
    lambda q, of: {"discover": {"target": q, "context": [{"positive": 1, "negative": 2}]}},
    lambda q, of: {"context": [{"positive": 1, "negative": 2}, {"positive": 3, "negative": 4}]},
    lambda q, of: {"nearest": q, "mmr": {"diversity": 0.4, "candidates_limit": 40}},
    lambda q, of: {"nearest": 5, "mmr": {"diversity": 0.7, "candidates_limit": 20}},
]


@pytest.mark.parametrize("flushed", [False, True], ids=["memory", "file"])
def test_every_query_finds_what_it_finds_of_rounded_vectors_in_float32(
    distance: models.Distance, datatype: str, flushed: bool
) -> None:
    """Beside a collection of float32 that was given what is kept. Under Cosine halves are not of
    length 1 to the last bit: there the other one is of inner products."""
    vectors, query = numbers(datatype, 300), np.abs(numbers(datatype, 1, seed=9)[0])
    there = kept(vectors, distance, datatype)
    other = distance
    if distance is models.Distance.COSINE and datatype == "float16":
        other, query = models.Distance.DOT, query / np.linalg.norm(query)
    with VecDB(":memory:") as db:
        db.create_collection("narrow", params(distance, datatype))
        db.create_collection("wide", params(other, None))
        for name, given in (("narrow", vectors), ("wide", there)):
            db.upsert(name, models.Batch(ids=list(range(300)), vectors=given))
            if flushed:
                db.flush(name)
        for number, make in enumerate(QUERIES):
            if distance is models.Distance.COSINE and number in (2, 3):
                continue  # what is averaged, or given as an example, is scaled there alone
            asked = make(query.tolist(), other)
            ours, theirs = (
                db.query_points(name, query=asked, limit=12).points for name in ("narrow", "wide")
            )
            assert [p.id for p in ours] == [p.id for p in theirs], asked
            np.testing.assert_allclose(
                [p.score for p in ours], [p.score for p in theirs], rtol=3e-6, atol=2e-6
            )
        middle = float(np.median([p.score for p in db.query_points("wide", query=query).points]))
        ours, theirs = (
            sorted(p.id for p in db.within(name, query, middle)) for name in ("narrow", "wide")
        )
        assert ours == theirs
        matrices = [
            db.search_matrix_pairs(name, sample=300, limit=3).pairs for name in ("narrow", "wide")
        ]
        assert [(p.a, p.b) for p in matrices[0]] == [(p.a, p.b) for p in matrices[1]]
        queries = np.stack([query, query[::-1]])
        ours, theirs = (db.search_arrays(name, queries, limit=5) for name in ("narrow", "wide"))
        assert np.array_equal(ours.ids, theirs.ids)


def test_what_float16_cannot_hold_is_refused_and_changes_nothing() -> None:
    with VecDB(":memory:") as db:
        db.create_collection("c", models.VectorParams(size=2, distance="Dot", datatype="float16"))
        db.upsert("c", [models.PointStruct(id=1, vector=[65519.0, 6e-8])])
        good = models.PointStruct(id=2, vector=[1.0, 1.0])
        for point in ([65520.0, 0.0], [0.0, -1e6]):
            with pytest.raises(InvalidInputError, match=r"point 3.*float16 cannot hold"):
                db.upsert("c", [good, models.PointStruct(id=3, vector=point)])
            with pytest.raises(InvalidInputError, match="float16 cannot hold, at row 1"):
                db.upsert("c", models.Batch(ids=[2, 3], vectors=np.float32([[1, 1], point])))
        (only,) = db.scroll("c", with_vectors=True)[0]
        assert only.vector == [65504.0, float(np.float16(6e-8))]


def test_bytes_take_what_qdrant_makes_of_numbers() -> None:
    """Without the fraction; what is out of range to its end. As its Edge 0.7 does."""
    with VecDB(":memory:") as db:
        db.create_collection("c", models.VectorParams(size=4, distance="Dot", datatype="uint8"))
        db.upsert("c", [models.PointStruct(id=1, vector=[0.99, 255.9, 256, -0.5])])
        db.upsert("c", models.Batch(ids=[2], vectors=np.float64([[1.9, 2.5, -3, 1e18]])))
        db.update_vectors("c", [models.PointVectors(id=2, vector=[1.9, 2.5, -3, 300])])
        records = db.retrieve("c", [1, 2], with_vectors=True)
        assert [r.vector for r in records] == [[0, 255, 255, 0], [1, 2, 0, 255]]


def test_the_datatype_is_in_the_configuration_and_cannot_change(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"a": params(models.Distance.DOT, "float16")})
        db.create_vector_name(
            "c", "b", {"dense": {"size": 3, "distance": "Dot", "datatype": "uint8"}}
        )
        db.upsert("c", [models.PointStruct(id=1, vector={"b": [1.5, 2, 3]})])
        with pytest.raises(InvalidInputError, match=r"there already, .* and datatype uint8"):
            db.create_vector_name("c", "b", {"dense": {"size": 3, "distance": "Dot"}})
        with pytest.raises(InvalidInputError, match="datatype"):
            db.update_collection("c", vectors_config={"a": {"datatype": "uint8"}})
    with VecDB(tmp_path / "db") as db:
        named = db.get_collection("c").config.params.vectors
        assert {n: p.datatype for n, p in named.items()} == {
            "a": models.Datatype.FLOAT16,
            "b": models.Datatype.UINT8,
        }
        db.flush("c")
        # Another of the same name and size keeps other numbers.
        db.delete_vector_name("c", "b")
        db.create_vector_name("c", "b", {"dense": {"size": 3, "distance": "Dot"}})
        db.update_vectors("c", [models.PointVectors(id=1, vector={"b": [1.5, 2, -3]})])
        assert db.retrieve("c", [1], with_vectors=True)[0].vector == {"b": [1.5, 2, -3]}


def test_narrow_multivectors_are_refused() -> None:
    many = {"comparator": "max_sim"}
    with pytest.raises(InvalidInputError, match="expected 'float32' for multivectors"):
        models.VectorParams(size=4, distance="Dot", datatype="float16", multivector_config=many)


@pytest.mark.parametrize("datatype", ["float32", *NARROW])
def test_what_was_read_is_written_again_to_the_bit(
    distance: models.Distance, datatype: str
) -> None:
    """Vectors of length 1 were scaled once more, and changed in the last bit: 1,614 of 5,000."""
    vectors = np.abs(numbers(datatype, 2000, seed=7))
    with VecDB(":memory:") as db:
        db.create_collection("c", params(distance, datatype))
        db.upsert("c", models.Batch(ids=list(range(2000)), vectors=vectors))

        first = read(db, 2000)
        db.upsert("c", models.Batch(ids=list(range(2000)), vectors=first))
        assert np.array_equal(first.view(np.uint32), read(db, 2000).view(np.uint32))
        db.upsert(
            "c", [models.PointStruct(id=n, vector=row.tolist()) for n, row in enumerate(first)]
        )
        assert np.array_equal(first.view(np.uint32), read(db, 2000).view(np.uint32))
