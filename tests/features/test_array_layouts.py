"""Arrays of every order of bytes, memory and type mean their numbers, whichever verb takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vecdb import VecDB, models

ROWS, DIM = 23, 6
NUMBERS = np.random.default_rng(0).integers(-90, 90, size=(ROWS, DIM))


def strided(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Every second row and every third number of a larger array."""
    larger = np.full((2 * ROWS, 3 * DIM), 99, dtype=array.dtype)
    larger[::2, ::3] = array
    return larger[::2, ::3]


def backwards(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Strides below zero."""
    return np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1]


def packed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A field of records, which is not aligned."""
    records = np.zeros(ROWS, dtype=[("flag", "u1"), ("vector", array.dtype, (DIM,))])
    records["vector"] = array
    return records["vector"]


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


LAYOUTS: dict[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "transposed": lambda array: np.ascontiguousarray(array.T).T,
    "strided": strided,
    "backwards": backwards,
    "packed": packed,
    "read_only": read_only,
}
TYPES = ("<f4", ">f4", "<f8", ">f8", "<f2", ">f2", "<i8", ">i2", "i1", "longdouble")


@pytest.fixture
def db() -> Iterator[VecDB]:
    with VecDB() as db:
        db.create_collection("one", {"size": DIM, "distance": "Dot"})
        db.create_collection(
            "two",
            {"a": {"size": DIM, "distance": "Dot"}, "b": {"size": DIM, "distance": "Dot"}},
        )
        yield db


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_array_means_its_numbers(db: VecDB, layout: str, dtype: str) -> None:
    array = LAYOUTS[layout](NUMBERS.astype(dtype))
    assert np.array_equal(array, NUMBERS)
    ids = list(range(ROWS))
    for write in (
        lambda: db.upsert("one", models.Batch(ids=ids, vectors=array)),
        lambda: db.upload_collection("one", array, ids=ids, batch_size=7),
        lambda: db.upload_points(
            "one", (models.PointStruct(id=i, vector=row) for i, row in enumerate(array))
        ),
        lambda: db.update_vectors(
            "one", [models.PointVectors(id=i, vector=row) for i, row in enumerate(array)]
        ),
    ):
        write()
        records = db.retrieve("one", ids, with_vectors=True)
        assert np.array_equal(np.array([record.vector for record in records]), NUMBERS)
        # The next one must write its numbers itself.
        db.upsert("one", models.Batch(ids=ids, vectors=np.zeros((ROWS, DIM), dtype=np.float32)))
    db.upload_collection("two", {"a": array, "b": array[::-1]}, ids=ids, batch_size=7)
    records = db.retrieve("two", ids, with_vectors=True)
    for name, expected in (("a", NUMBERS), ("b", NUMBERS[::-1])):
        got = np.array([record.vector[name] for record in records])  # type: ignore[index,call-overload]
        assert np.array_equal(got, expected)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_query_means_its_numbers(db: VecDB, layout: str, dtype: str) -> None:
    plain = NUMBERS.astype(np.float32)
    db.upsert("one", models.Batch(ids=list(range(ROWS)), vectors=plain))
    array = LAYOUTS[layout](NUMBERS.astype(dtype))
    for row in range(0, ROWS, 5):
        expected = np.sort(plain @ plain[row])[::-1]
        for found in (
            db.search("one", array[row], limit=ROWS),
            db.query_points("one", array[row], limit=ROWS).points,
            db.query_batch_points("one", [{"query": array[row], "limit": ROWS}])[0].points,
        ):
            assert [point.score for point in found] == expected.tolist()


@pytest.mark.parametrize("dtype", ["<u8", ">u8", "<i8", ">i4", "u1", ">u2"])
def test_ids_of_any_integers(db: VecDB, dtype: str) -> None:
    ids = np.arange(0, 2 * ROWS, 2).astype(dtype)
    apart = np.zeros((ROWS, 3), dtype=dtype)
    apart[:, 1] = ids
    for given in (ids, apart[:, 1], ids[::-1]):
        db.upload_collection("one", NUMBERS, ids=given)
        records = db.retrieve("one", given, with_vectors=True)
        assert [record.id for record in records] == given.tolist()
        assert np.array_equal(np.array([record.vector for record in records]), NUMBERS)
