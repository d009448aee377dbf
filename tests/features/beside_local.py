"""The same random points in vecdb and in Qdrant's local mode: for what is asked of payloads, and
(`Both`) of vectors that are not simply dense."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import numpy as np
import pytest
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


@pytest.fixture(scope="module", params=range(3))
def both(
    request: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[VecDB, qdrant_client.QdrantClient]]:
    """`beside`, of three seeds."""
    with beside(tmp_path_factory.mktemp("both") / "db", request.param) as two:
        yield two


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


class Both(ABC):
    """One database of each kind, which are written to alike. Points have vectors of ``names``, and
    simple ones to prefetch by."""

    names: tuple[str, ...]
    ids: int
    """Of so many ids points are written."""
    rel: float
    """How far scores may be from each other: each side sums in its own order."""

    def __init__(
        self, open_db: Callable[..., VecDB], seed: int, vectors: dict[str, Any], **config: Any
    ) -> None:
        self.rng = Random(seed)
        self._open = open_db
        self.theirs = qdrant_client.QdrantClient(":memory:")
        self.ours = open_db()
        dense = theirs.VectorParams(size=3, distance=theirs.Distance.DOT)
        for db in (self.ours, self.theirs):
            db.create_collection("c", vectors_config={"dense": dense, **vectors}, **config)
        self.known: set[int] = set()

    @abstractmethod
    def vector(self, name: str) -> Any:
        """One that is stored or asked by."""

    @abstractmethod
    def same(self, name: str, mine: Any, wanted: Any) -> None:
        """Assert that stored ones are the same."""

    def _vectors(self) -> dict[str, Any]:
        made: dict[str, Any] = {name: self.vector(name) for name in self.names}
        made["dense"] = [self.rng.randint(-3, 3) for _ in range(3)]
        return {name: vector for name, vector in made.items() if self.rng.random() < 0.85}

    def _do(self, verb: str, *arguments: Any) -> None:
        for db in (self.ours, self.theirs):
            getattr(db, verb)("c", *arguments)

    def write(self, count: int) -> None:
        """Something of everything that is written."""
        rng = self.rng
        ids = [rng.randrange(self.ids) for _ in range(count)]
        points = [
            theirs.PointStruct(id=i, vector=self._vectors(), payload={"n": rng.randrange(5)})
            for i in dict.fromkeys(ids)
        ]
        self._do("upsert", points)
        self.known |= set(ids)
        gone = rng.sample(sorted(self.known), len(self.known) // 10)
        self._do("delete", gone)
        self.known -= set(gone)
        known = sorted(self.known)
        edits = [
            theirs.PointVectors(id=i, vector=made)
            for i in rng.sample(known, len(known) // 12)
            if (made := self._vectors())
        ]
        self._do("update_vectors", edits)
        without = rng.sample(known, len(known) // 15)
        self._do("delete_vectors", [rng.choice(self.names)], without)

    def reopen(self) -> None:
        """Ours alone."""
        self.ours.close()
        self.ours = self._open()

    def asked(self, **query: Any) -> None:
        """The same points with the same scores, but for the order of equal ones."""
        query = {"limit": 1000, "with_payload": False, **query}
        mine = self.ours.query_points("c", **query).points
        wanted = self.theirs.query_points("c", **query).points
        close: dict[str, Any] = {"rel": self.rel, "abs": 1e-5}
        assert [p.score for p in mine] == pytest.approx([p.score for p in wanted], **close)
        scores = {p.id: p.score for p in mine}
        assert len(scores) == len(mine)
        if query["limit"] == 1000:
            assert scores == pytest.approx({p.id: p.score for p in wanted}, **close)

    def ask(self) -> None:
        """All kinds of queries."""
        for name in self.names:
            self._ask(name)

    def _ask(self, name: str) -> None:
        rng = self.rng
        some = [self.vector(name) for _ in range(4)]
        query_filter = theirs.Filter.model_validate(
            {"must": [{"key": "n", "match": {"value": rng.randrange(6)}}]}
        )
        self.asked(query=some[0], using=name)
        self.asked(query=some[0], using=name, limit=3)
        self.asked(query=some[0], using=name, limit=5, offset=4)
        self.asked(query=some[1], using=name, query_filter=query_filter)
        self.asked(query=some[1], using=name, score_threshold=2.0)
        with_it = self._with(name)
        if not with_it:
            return
        ids = rng.sample(with_it, min(3, len(with_it)))
        self.asked(query=ids[0], using=name)
        for strategy in ("average_vector", "best_score", "sum_scores"):
            given = theirs.RecommendInput(
                positive=[some[0], *ids], negative=some[2:3], strategy=strategy
            )
            self.asked(query=theirs.RecommendQuery(recommend=given), using=name)
        pairs = [theirs.ContextPair(positive=some[1], negative=some[2])]
        discover = theirs.DiscoverInput(target=some[0], context=pairs)
        self.asked(query=theirs.DiscoverQuery(discover=discover), using=name)
        self.asked(query=theirs.ContextQuery(context=pairs), using=name)
        enough = self._uncut(some[0], name, query_filter, 20)
        prefetch = [
            theirs.Prefetch(query=some[0], using=name, limit=enough, filter=query_filter),
            theirs.Prefetch(query=[1.0, 0.0, 2.0], using="dense", limit=2000),
        ]
        self.asked(query=some[3], using=name, prefetch=prefetch)
        fusion = theirs.FusionQuery(fusion=theirs.Fusion.DBSF)
        self.asked(query=fusion, prefetch=prefetch)

    def _uncut(self, query: Any, name: str, query_filter: Any, least: int) -> int:
        """A limit that does not go through points with equal scores, of which either may come."""
        found = self.theirs.query_points(
            "c", query=query, using=name, query_filter=query_filter, limit=1000
        ).points
        scores = [point.score for point in found]
        cuts = (n for n in range(least, len(scores)) if scores[n - 1] - scores[n] > 1e-4)
        return next(cuts, 1000)

    def _with(self, name: str) -> list[int]:
        records = self.theirs.retrieve("c", sorted(self.known), with_vectors=[name])
        return [int(record.id) for record in records if name in record.vector]

    def compare(self) -> None:
        """Every point, with its vectors."""
        mine: Any
        wanted: Any
        mine, _ = self.ours.scroll("c", limit=10_000, with_vectors=True)
        wanted, _ = self.theirs.scroll("c", limit=10_000, with_vectors=True)
        assert [p.id for p in mine] == sorted(p.id for p in wanted)
        by_id = {p.id: p for p in wanted}
        for point in mine:
            other = by_id[point.id].vector
            assert point.vector.keys() == other.keys()
            for name in self.names:
                if name in other:
                    self.same(name, point.vector[name], other[name])
