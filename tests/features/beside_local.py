"""The same random points in vecdb and in Qdrant's local mode, for what is asked of payloads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_client
from pydantic import BaseModel
from qdrant_client import models as theirs

import vecdb.qdrant
from vecdb import VecDB

POINTS = 160
DIM = 5
ROWS = np.random.default_rng(7).standard_normal((3 * POINTS, DIM)).astype(np.float32)
TIMES = [
    "2024-05-31T10:00:00Z",
    "2024-05-31T12:00:00+02:00",  # the same moment
    "2024-05-31",
    "2024-05-31 10:00:00.25",
    "1969-12-31T23:59:59.999999Z",
    "2262-01-01T00:00:00-05:00",
    "0999-01-01",
]
VALUES: list[Any] = [*range(-2, 5), 2**60, 2**60 + 1, 1.0, 2.5, -0.5, True, False, None]
WORDS: list[Any] = ["a", "b", "ä", "", "1", 1, 0, True, None, 2.5, {"a": 1}, ["a"]]
"""What a payload may hold at ``n`` and at ``tag``."""


def point_id(number: int) -> int | str:
    """Of every third point a UUID."""
    return str(UUID(int=number)) if number % 3 == 0 else number


def payload(rng: Random) -> dict[str, Any]:
    """Fields that may be missing, of mixed types, arrays, and below others."""

    def some(values: list[Any]) -> Any:
        if rng.random() < 0.3:
            return [rng.choice(values) for _ in range(rng.randrange(4))]
        return rng.choice(values)

    made = {
        "n": some([*VALUES, *TIMES, "soon"]),
        "small": rng.randrange(6),
        "when": some(TIMES),
        "tag": some(WORDS),
        "group": rng.choice(("x", "y", "z", 5, -1)),
        "deep": {"list": [{"k": rng.choice(WORDS[:6])} for _ in range(rng.randrange(3))]},
        "a b": {"c": rng.choice(VALUES)},
    }
    return {name: value for name, value in made.items() if rng.random() < 0.85}


FILTERS: list[dict[str, Any]] = [
    {"must": [{"key": "small", "range": {"gte": 3}}]},
    {"must_not": [{"key": "tag", "match": {"value": "a"}}]},
    {"should": [{"is_empty": {"key": "n"}}, {"key": "group", "match": {"any": ["x", "y"]}}]},
    {"must": [{"has_id": [point_id(n) for n in range(0, POINTS, 4)]}]},
    {"must": [{"key": "small", "match": {"value": 77}}]},
]


@contextmanager
def beside(path: Path, seed: int) -> Iterator[tuple[VecDB, qdrant_client.QdrantClient]]:
    """Both with the same points. Ours has them in several segments, of files and in memory, with
    points that were deleted, replaced and edited."""
    rng = Random(seed)
    client = qdrant_client.QdrantClient(":memory:")
    with VecDB(path) as ours:
        for db in (ours, client):
            params = theirs.VectorParams(size=DIM, distance=theirs.Distance.DOT)
            db.create_collection("c", vectors_config=params)
        for start in range(0, POINTS, 40):
            numbers = [*range(start, start + 40), *rng.sample(range(start + 1), min(start, 5))]
            points = [_point(number, rng, start) for number in numbers]
            _both(ours, client, "upsert", points=points)
            if start < 120:
                ours.flush("c")
        dead = [point_id(n) for n in rng.sample(range(POINTS), 20)]
        _both(ours, client, "delete", points_selector=dead)
        edited = [point_id(n) for n in rng.sample(range(POINTS), 15)]
        there = [record.id for record in ours.retrieve("c", edited)]
        for some in (there[::2], there[1::2]):
            _both(ours, client, "set_payload", payload=payload(rng), points=some)
        yield ours, client
    client.close()


def _point(number: int, rng: Random, version: int) -> theirs.PointStruct:
    row = ROWS[(number + version) % len(ROWS)].tolist()
    return theirs.PointStruct(id=point_id(number), vector=row, payload=payload(rng))


def _both(ours: VecDB, client: qdrant_client.QdrantClient, verb: str, **arguments: Any) -> None:
    for db in (ours, client):
        getattr(db, verb)("c", **arguments)


def drawn_filter(rng: Random) -> theirs.Filter | None:
    """None, or a filter that both take."""
    return theirs.Filter.model_validate(rng.choice(FILTERS)) if rng.random() < 0.6 else None


@contextmanager
def clients() -> Iterator[tuple[Any, qdrant_client.QdrantClient]]:
    """Qdrant's client on vecdb, and on its local mode, with the same points."""
    with vecdb.qdrant.QdrantClient(":memory:") as ours:
        theirs_ = qdrant_client.QdrantClient(":memory:")
        rng = Random(5)
        points = [_point(number, rng, 0) for number in range(60)]
        for client in (ours, theirs_):
            params = theirs.VectorParams(size=DIM, distance=theirs.Distance.DOT)
            client.create_collection("c", vectors_config=params)
            client.upsert("c", points)
        yield ours, theirs_
        theirs_.close()


def fields(result: Any) -> Any:
    """The fields of an object of Qdrant's, without scores, which each sums up in its own way, and
    without versions, which local mode has not."""
    if isinstance(result, (list, tuple)):
        return [fields(each) for each in result]
    if isinstance(result, dict):
        return {k: fields(v) for k, v in result.items() if k not in ("score", "version")}
    if isinstance(result, BaseModel):
        return {"type": type(result), **fields(dict(result))}
    return result
