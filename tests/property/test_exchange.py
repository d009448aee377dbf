"""Any collection comes back from any format as it was."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vecdb import VecDB, exchange, models

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
IDS = st.integers(0, 2**64 - 1) | st.integers(0, 2**96).map(lambda n: str(uuid.UUID(int=n)))
NAMES = st.sampled_from(["", "a", "b", "vector", "ä ö", "payload", "ids"])


SPARSE_NAMES = st.sampled_from(["words", "_vector", "values_vector", "ü"])


@st.composite
def sparse_vectors(draw: Any) -> models.SparseVector:
    """Some of the first numbers and the last, in any order."""
    indices = draw(st.lists(st.integers(0, 5) | st.just(2**32 - 1), max_size=4, unique=True))
    numbers = st.floats(-1e6, 1e6, width=32)
    values = draw(st.lists(numbers, min_size=len(indices), max_size=len(indices)))
    return models.SparseVector(indices=indices, values=values)


@st.composite
def collections(draw: Any) -> tuple[dict[str, int], models.Batch]:
    """Dimensions by vector name, 0 of sparse ones, and points."""
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    dims = {name: draw(st.integers(1, 5)) for name in names}
    ids = draw(st.lists(IDS, max_size=12, unique=True))
    vectors: dict[str, Any] = {}
    for name, dim in dims.items():
        numbers = st.floats(-1e6, 1e6, width=32)
        rows = draw(arrays.arrays(np.float32, (len(ids), dim), elements=numbers))
        has = draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
        vectors[name] = [row if there else None for row, there in zip(rows, has, strict=True)]
    for name in draw(st.lists(SPARSE_NAMES, max_size=2, unique=True)):
        dims[name] = 0
        vectors[name] = [draw(st.none() | sparse_vectors()) for _ in ids]
    objects = st.dictionaries(st.text(max_size=4), JSON, max_size=3)
    payloads = [draw(st.none() | objects) for _ in ids]
    return dims, models.Batch(ids=ids, vectors=vectors, payloads=payloads)


def points_of(db: VecDB, name: str, names: Any = True) -> list[models.Record]:
    return db.scroll(name, limit=100, with_vectors=names)[0]


def shown(point: models.Record) -> tuple[Any, ...]:
    """All of a point; 1 and 1.0 differ. An unnamed vector may stand alone."""
    vector = {"": point.vector} if isinstance(point.vector, list) else point.vector
    return point.id, repr(point.payload), sorted((vector or {}).items(), key=lambda pair: pair[0])


@settings(max_examples=25, deadline=None)
@given(collections(), st.integers(1, 5))
@pytest.mark.parametrize(
    "format", ["jsonl", "parquet", "safetensors", "npy", "fvecs", "fbin", "hdf5"]
)
def test_any_collection_comes_back(
    format: str, drawn: tuple[dict[str, int], models.Batch], batch_size: int
) -> None:
    dims, points = drawn
    with VecDB() as db, tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        dense = {name: dim for name, dim in dims.items() if dim}
        params = {name: {"size": dim, "distance": "Dot"} for name, dim in dense.items()}
        sparse: dict[str, Any] = {name: {"modifier": "idf"} for name in dims if name not in dense}
        db.create_collection("c", params, sparse_vectors_config=sparse)
        if len(points.ids):
            db.upsert("c", points)
        path = Path(directory) / f"x.{format}"
        if format in ("jsonl", "parquet", "safetensors"):
            exchange.export_collection(db.collection("c"), path)
            expected = points_of(db, "c")
        elif dense:
            name = min(dense)
            exchange.export_collection(db.collection("c"), path, vectors=name)
            with_it = {"must": [{"has_vector": name}]}
            expected = db.scroll("c", with_it, limit=100, with_vectors=[name])[0]
        else:
            return
        exchange.import_collection(db, "copy", path, batch_size=batch_size)
        assert list(map(shown, points_of(db, "copy"))) == list(map(shown, expected))
