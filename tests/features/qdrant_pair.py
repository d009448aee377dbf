"""The same collections on Qdrant's local mode and on vecdb, and answers made comparable."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
import pytest
import qdrant_client
from pydantic import BaseModel
from qdrant_client import models

RNG = np.random.default_rng(7)
ROWS = RNG.standard_normal((60, 8)).astype(np.float32)
PAYLOADS: list[dict[str, Any]] = [
    {"n": i, "tag": "ab"[i % 2], "deep": {"list": [i, i + 1], "none": None}} if i % 7 else {}
    for i in range(60)
]


def filled(client: qdrant_client.QdrantClient) -> qdrant_client.QdrantClient:
    """The client, with a collection of one vector and one of two."""
    client.create_collection(
        "one", vectors_config=models.VectorParams(size=8, distance=models.Distance.COSINE)
    )
    client.create_collection(
        "two",
        vectors_config={
            "a": models.VectorParams(size=8, distance=models.Distance.DOT),
            "b": models.VectorParams(size=8, distance=models.Distance.EUCLID),
        },
    )
    client.upsert(
        "one",
        points=models.Batch(ids=list(range(60)), vectors=ROWS.tolist(), payloads=PAYLOADS),
    )
    client.upload_points(
        "two",
        points=(
            models.PointStruct(
                id=i,
                vector={"a": ROWS[i].tolist(), "b": (ROWS[i] / 2).tolist()}
                if i % 3
                else {"a": ROWS[i].tolist()},
                payload=PAYLOADS[i],
            )
            for i in range(60)
        ),
    )
    return client


def plain(answer: Any) -> Any:
    """An answer in which all is to be the same: the classes of objects, which of their fields were
    set, and to what; but for what is another number on each side, versions and operations. Scores
    and vectors are rounded."""
    if isinstance(answer, BaseModel):
        fields = {
            name: plain(value)
            for name, value in vars(answer).items()
            if name not in ("version", "operation_id")
        }
        given = answer.model_fields_set - {"order_value"}  # local mode sets it to None, sometimes
        return {"is": type(answer), "set": sorted(given), **fields}
    if isinstance(answer, Enum):
        return answer
    if isinstance(answer, float):
        return pytest.approx(answer, abs=1e-4)
    if isinstance(answer, dict):
        return {name: plain(value) for name, value in answer.items()}
    if isinstance(answer, tuple):
        return tuple(map(plain, answer))
    if isinstance(answer, list):
        return [plain(each) for each in answer]
    return answer
