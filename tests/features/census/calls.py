"""A program as the calls it makes, and a client that keeps what was answered."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from qdrant_client import models

DIM = 4
ROWS: list[list[float]] = np.random.default_rng(11).standard_normal((12, DIM)).tolist()
QUERY: list[float] = np.random.default_rng(12).standard_normal(DIM).tolist()
IDS = [str(uuid.UUID(int=n + 1)) for n in range(len(ROWS))]
SERVER: dict[str, Any] = {"url": "http://localhost:6333"}
CLOUD: dict[str, Any] = {"url": "https://cloud.example.com:6333", "api_key": "secret"}
COSINE = models.VectorParams(size=DIM, distance=models.Distance.COSINE)


def points(payload: Callable[[int], dict[str, Any]], ids: Iterable[Any] = IDS) -> list[Any]:
    """A point for each id, with the payload of its number."""
    return [
        models.PointStruct(id=each, vector=ROWS[n], payload=payload(n))
        for n, each in enumerate(ids)
    ]


def equals(key: str, value: Any) -> models.FieldCondition:
    """The condition nearly every program builds."""
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


@dataclass(frozen=True)
class Program:
    """``needs``: what besides a constructor it takes for granted, in letters. K: parameters that
    mean something to a cluster only; I: payload indexes; C: exceptions, classes and attributes of
    Qdrant's. ``constructor``: the arguments of its client. ``run``: its calls."""

    name: str
    needs: str
    constructor: dict[str, Any]
    run: Callable[[Calls], None]


PROGRAMS: list[Program] = []


def program(
    name: str, needs: str = "", **constructor: Any
) -> Callable[[Callable[[Calls], None]], Callable[[Calls], None]]:
    """Put the function below into the table, as the calls of the program of this name."""

    def put(run: Callable[[Calls], None]) -> Callable[[Calls], None]:
        PROGRAMS.append(Program(name, needs, constructor, run))
        return run

    return put


class Calls:
    """A client, and what its verbs have answered: (verb, answer), for a comparison."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.answers: list[tuple[str, Any]] = []
        self.errors: list[Exception] = []

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        ask = getattr(self.client, verb, None) or getattr(_Older(self.client), verb)

        def call(*positional: Any, **given: Any) -> Any:
            try:
                answer = ask(*positional, **given)
            except Exception as error:
                self.errors.append(error)
                self.answers.append((verb, "refused"))
                raise
            self.answers.append((verb, plain(answer)))
            return answer

        return call


class _Older:
    """Verbs that versions of Qdrant's client had which some programs are written for, by those that
    took their place. vecdb has both."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def search(self, collection_name: str, query_vector: Any, **given: Any) -> Any:
        return self._client.query_points(collection_name, query=query_vector, **given).points

    def search_batch(self, collection_name: str, requests: Any) -> Any:
        newer = [
            models.QueryRequest(query=each["vector"], params=each["params"], limit=each["limit"])
            for each in requests
        ]
        answers = self._client.query_batch_points(collection_name, requests=newer)
        return [answer.points for answer in answers]


def plain(answer: Any) -> Any:
    """Without the numbers that each side gives on its own. Of a collection's information, what was
    asked for when it was made and how many points there are: local mode has no index to report, and
    tells the vector named "" from the one without a name, which a server does not."""
    if isinstance(answer, models.CollectionInfo):
        params = answer.config.params
        vectors = plain(params.vectors)
        if isinstance(vectors, dict) and vectors.keys() == {""}:
            vectors = vectors[""]
        return [answer.status, answer.points_count, vectors, params.sparse_vectors or {}]
    if isinstance(answer, models.CollectionsResponse):
        return sorted(each.name for each in answer.collections)
    if isinstance(answer, models.VectorParams):
        return [answer.size, answer.distance, answer.on_disk]
    if hasattr(answer, "model_dump"):
        return {"is": type(answer).__name__, **plain(answer.model_dump())}
    if isinstance(answer, dict):
        own = ("version", "operation_id")
        return {name: plain(value) for name, value in answer.items() if name not in own}
    if isinstance(answer, (list, tuple)):
        return [plain(each) for each in answer]
    return answer


def same(one: Any, other: Any) -> bool:
    """Whether two plain answers are equal, but for the last digits of scores and vectors."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-5)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other
