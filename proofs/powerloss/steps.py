"""What a crash workload is made of: each step on the real database, and on a model of it.

A model is plain Python: for every collection its points and the part of its configuration that
steps change. ``pass_through`` gives the states that a step may leave behind when it is cut short,
the last of which is there when it is done. ``fence`` says that what was acknowledged before the
step is durable when it returns, whatever the sync level.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vecdb import VecDB, models

PointId = int | str
Point = tuple[dict[str, Any], dict[str, tuple[float, ...]]]
"""Payload and vectors by name."""
Lanes = list[list[Callable[[], None]]]


@dataclass(frozen=True)
class Space:
    """What kind of collection: vector names with dimension and distance, and the kind of ids."""

    vectors: dict[str, tuple[int, str]]
    uuids: bool = False
    background: bool = False
    """The optimizer's thread works, instead of steps of the workload."""

    @property
    def settings(self) -> dict[str, Any]:
        """Of the optimizer."""
        threads, threshold = (1, 1) if self.background else (0, 0)
        return {
            "max_optimization_threads": threads,
            "indexing_threshold": threshold,
            "default_segment_number": 8,
        }

    def point_id(self, number: int) -> PointId:
        """Every other id is a UUID where the space has UUIDs."""
        return str(uuid.UUID(int=number << 70 | 1)) if self.uuids and number % 2 else number

    def point(self, number: int, version: int) -> Point:
        """Different for every version, exact in float32; not every point has every vector."""
        payload = {"version": version, "place": number % 5}
        names = [n for n in self.vectors if not n or n == "a" or (number + version) % 3]
        return payload, {name: self.vector(name, number, version) for name in names}

    def vector(self, name: str, number: int, version: int) -> tuple[float, ...]:
        """The vector of a point."""
        dim = self.vectors[name][0]
        first = number * 31 + version * 7 + len(name)
        return tuple(float((first + 3 * d) % 97) for d in range(dim))


SPACES = {
    "plain": Space({"": (16, "Dot")}),
    "wide": Space({"": (64, "Euclid")}),
    "clustered": Space({"": (6, "Euclid")}),
    "named": Space({"a": (8, "Dot"), "b": (4, "Manhattan")}, uuids=True),
    "background": Space({"": (16, "Dot")}, background=True),
}


@dataclass(frozen=True)
class Model:
    """One collection as it should be."""

    space: str
    points: dict[PointId, Point]
    config: dict[str, Any]


@dataclass(frozen=True)
class State:
    """The database as it should be."""

    collections: dict[str, Model] = field(default_factory=dict)
    snapshots: dict[str, tuple[Model, ...]] = field(default_factory=dict)
    """What was in a collection at each of its snapshots, by the name of the collection."""

    def with_model(self, name: str, model: Model | None) -> State:
        """The same with one collection changed, or gone."""
        collections = {n: m for n, m in self.collections.items() if n != name}
        return replace(
            self, collections=collections if model is None else {**collections, name: model}
        )


class Run:
    """A database that steps are performed on."""

    def __init__(self, path: Path, state: State, **options: Any) -> None:
        self.path = path
        self.options = options
        self.spaces = {name: SPACES[model.space] for name, model in state.collections.items()}
        self.db = VecDB(path, **options)

    def reopen(self) -> None:
        """Close and open."""
        self.db.close()
        self.db = VecDB(self.path, **self.options)


class Step:
    """The base: changes nothing."""

    into = "c"
    fence = False
    promised = True
    """Whether the step is there for good once it has returned."""

    def inner(self) -> tuple[tuple[Step, ...], ...]:
        """Steps within this one: several lanes side by side, each one after the other."""
        return ()

    def pass_through(self, state: State) -> list[State]:
        """The states that a crash in this step may leave, the last one when it is done."""
        return [state]

    def perform(self, run: Run) -> int:
        """Do it; the number of the operation, 0 if it has none."""
        raise NotImplementedError

    def perform_all(self, run: Run, lanes: Lanes) -> int:
        """Do it; each lane is a list of what does the inner steps, one after the other."""
        return self.perform(run)


# -- points ----------------------------------------------------------------------------------------


class PointStep(Step):
    """Changes points of one collection in one operation."""

    def pass_through(self, state: State) -> list[State]:
        model = state.collections[self.into]
        points = dict(model.points)
        self.change(points, SPACES[model.space])
        return [state.with_model(self.into, replace(model, points=points))]

    def change(self, points: dict[PointId, Point], space: Space) -> None:
        """What the operation does to the points."""
        raise NotImplementedError


@dataclass(frozen=True)
class Put(PointStep):
    """Write ``count`` points from ``first``."""

    first: int
    count: int
    version: int
    into: str = "c"

    def change(self, points: dict[PointId, Point], space: Space) -> None:
        for n in range(self.first, self.first + self.count):
            points[space.point_id(n)] = space.point(n, self.version)

    def perform(self, run: Run) -> int:
        space = run.spaces[self.into]
        numbers = range(self.first, self.first + self.count)
        rows = [space.point(n, self.version) for n in numbers]
        ids = [space.point_id(n) for n in numbers]
        batch: Any
        if list(space.vectors) == [""]:
            vectors = np.array([row[1][""] for row in rows], dtype=np.float32)
            batch = models.Batch(ids=ids, vectors=vectors, payloads=[row[0] for row in rows])
        else:
            batch = [
                models.PointStruct(id=i, payload=p, vector={n: list(v) for n, v in vs.items()})
                for i, (p, vs) in zip(ids, rows, strict=True)
            ]
        return run.db.upsert(self.into, batch).operation_id or 0


@dataclass(frozen=True)
class Delete(PointStep):
    """Delete points by id, or all at a place by filter."""

    numbers: tuple[int, ...] = ()
    place: int | None = None
    into: str = "c"

    def change(self, points: dict[PointId, Point], space: Space) -> None:
        for point_id in _selected(points, space, self.numbers, self.place):
            points.pop(point_id, None)

    def perform(self, run: Run) -> int:
        selector = _selector(run.spaces[self.into], self.numbers, self.place)
        return run.db.delete(self.into, selector).operation_id or 0


@dataclass(frozen=True)
class Edit(PointStep):
    """Change payloads: ``set`` and ``overwrite`` write, ``unset`` and ``clear`` remove."""

    how: str
    numbers: tuple[int, ...] = ()
    place: int | None = None
    value: int = 1
    into: str = "c"

    def change(self, points: dict[PointId, Point], space: Space) -> None:
        for point_id in _selected(points, space, self.numbers, self.place):
            payload, vectors = points[point_id]
            if self.how == "set":
                payload = {**payload, "set": self.value}
            elif self.how == "unset":
                payload = {k: v for k, v in payload.items() if k != "version"}
            else:
                payload = {"set": self.value} if self.how == "overwrite" else {}
            points[point_id] = payload, vectors

    def perform(self, run: Run) -> int:
        selector = _selector(run.spaces[self.into], self.numbers, self.place)
        points = run.db.collection(self.into)
        if self.how == "set":
            result = points.set_payload({"set": self.value}, selector)
        elif self.how == "overwrite":
            result = points.overwrite_payload({"set": self.value}, selector)
        elif self.how == "unset":
            result = points.delete_payload(["version"], selector)
        else:
            result = points.clear_payload(selector)
        return result.operation_id or 0


@dataclass(frozen=True)
class PutVectors(PointStep):
    """New vectors of one name for existing points."""

    numbers: tuple[int, ...]
    version: int
    name: str = "b"
    into: str = "c"

    def change(self, points: dict[PointId, Point], space: Space) -> None:
        for n in self.numbers:
            payload, vectors = points[space.point_id(n)]
            new = {**vectors, self.name: space.vector(self.name, n, self.version)}
            points[space.point_id(n)] = payload, new

    def perform(self, run: Run) -> int:
        space = run.spaces[self.into]
        rows = [
            models.PointVectors(
                id=space.point_id(n),
                vector={self.name: list(space.vector(self.name, n, self.version))},
            )
            for n in self.numbers
        ]
        return run.db.update_vectors(self.into, rows).operation_id or 0


@dataclass(frozen=True)
class DropVectors(PointStep):
    """Remove the vectors of one name from existing points."""

    numbers: tuple[int, ...]
    name: str = "b"
    into: str = "c"

    def change(self, points: dict[PointId, Point], space: Space) -> None:
        for n in self.numbers:
            payload, vectors = points[space.point_id(n)]
            left = {name: v for name, v in vectors.items() if name != self.name}
            points[space.point_id(n)] = payload, left

    def perform(self, run: Run) -> int:
        selector = _selector(run.spaces[self.into], self.numbers, None)
        return run.db.delete_vectors(self.into, [self.name], selector).operation_id or 0


def _selected(
    points: dict[PointId, Point], space: Space, numbers: tuple[int, ...], place: int | None
) -> list[PointId]:
    if place is None:
        return [space.point_id(n) for n in numbers]
    return [i for i, (payload, _) in points.items() if payload.get("place") == place]


def _selector(space: Space, numbers: tuple[int, ...], place: int | None) -> Any:
    if place is None:
        return [space.point_id(n) for n in numbers]
    return {"must": [{"key": "place", "match": {"value": place}}]}
