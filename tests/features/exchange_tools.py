"""What the tests of exports, imports and transfers have in common: collections of all kinds."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest

from vecdb import Collection, VecDB, models
from vecdb.exchange import parts

ONE_VECTOR = ("npy", "fvecs", "fbin", "hdf5")
SEVERAL = ("jsonl", "parquet", "safetensors")
FORMATS = (*SEVERAL, *ONE_VECTOR)
MANY: Any = {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}
"""Of multivectors."""


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of many parts."""
    monkeypatch.setattr(parts, "_PART_ROWS", 40)
    monkeypatch.setattr(parts, "_PAGE_NUMBERS", 170)


def of_two_vectors(db: VecDB, name: str = "two", count: int = 250, seed: int = 0) -> Collection:
    """Integers and UUIDs, vectors of two names of which some are absent, and odd payloads."""
    chance = np.random.default_rng(seed)
    db.create_collection(
        name,
        {
            "a": {"size": 7, "distance": "Euclid"},
            "b": {
                "size": 3,
                "distance": "Dot",
                "quantization_config": {"scalar": {"type": "int8"}},
            },
        },
        optimizers_config={"indexing_threshold": 777},
        metadata={"made by": "a test"},
    )
    ids: list[Any] = list(range(0, 3 * (count - count // 4), 3))
    ids[-1] = 2**64 - 1
    ids += [str(uuid.UUID(bytes=chance.bytes(15) + b"\0")) for _ in range(count - len(ids))]
    a, b = chance.normal(size=(count, 7)), chance.normal(size=(count, 3))
    db.upsert(
        name,
        models.Batch(
            ids=ids,
            vectors={
                "a": [None if row % 3 == 0 else a[row] for row in range(count)],
                "b": [None if row % 7 == 0 else b[row] for row in range(count)],
            },
            payloads=[payload_of(row) for row in range(count)],
        ),
    )
    db.create_payload_index(name, "number", "integer")
    db.create_payload_index(name, "text", {"type": "text", "tokenizer": "word", "lowercase": True})
    return db.collection(name)


def of_unequal_vectors(db: VecDB, dense: bool = True, count: int = 250) -> Collection:
    """Points with sparse vectors of two names, some of them with nothing, and with multivectors;
    some of each are absent."""
    db.create_collection(
        "c",
        {"d": {"size": 3, "distance": "Dot"}, "many": MANY} if dense else {},
        sparse_vectors_config={
            "words": models.SparseVectorParams(modifier=models.Modifier.IDF),
            "plain": models.SparseVectorParams(index=models.SparseIndexParams(on_disk=True)),
        },
    )
    rng, points = np.random.default_rng(4), []
    for number in range(count):
        vector: dict[str, Any] = {"d": rng.normal(size=3)} if dense and number % 4 else {}
        if dense and number % 7:
            vector["many"] = rng.normal(size=(int(rng.integers(1, 5)), 2))
        for name, share in (("words", 3), ("plain", 5)):
            if number % share:
                size = int(rng.integers(0, 6))
                indices = rng.choice([0, 1, 2, 7, 1000, 2**31, 2**32 - 1], size, replace=False)
                values = rng.normal(size=size).astype(np.float32)
                vector[name] = models.SparseVector(indices=indices.tolist(), values=values.tolist())
        points.append({"id": number, "vector": vector, "payload": {"n": number}})
    db.upsert("c", points)
    return db.collection("c")


def payload_of(row: int) -> dict[str, Any] | None:
    """Of some rows none, of others everything that JSON has."""
    if row % 5 == 0:
        return None
    return {
        "number": row,
        "text": 'ä "quoted"\nand\u2028broken \U0001f600' if row % 2 else "",
        "deep": {"list": [1, 2.5, None, True, {"": []}]},
    }


def points_of(collection: Collection, names: list[str] | bool = True) -> list[models.Record]:
    """All points, in the order of their ids."""
    return collection.scroll(limit=100_000, with_vectors=names)[0]


def with_vector(collection: Collection, name: str) -> list[models.Record]:
    """The points that have a vector of this name, with that alone."""
    given = collection.scroll({"must": [{"has_vector": name}]}, limit=100_000, with_vectors=[name])
    return given[0]
