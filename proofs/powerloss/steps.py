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

from proofs.model.multi import MANY
from proofs.model.oracle import Oracle, PointId, Points
from proofs.model.sparse import MODIFIERS, PLACES, given
from proofs.model.writes import Row, Write, perform, take
from vecdb import VecDB

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

    def row(self, number: int, version: int) -> Row:
        """Different for every version, exact in float32; not every point has every vector."""
        payload = {"version": version, "place": number % 5}
        names = [n for n in self.vectors if not n or n == "a" or (number + version) % 3]
        vectors = {name: self.vector(name, number, version) for name in names}
        return self.point_id(number), payload, vectors

    def vector(self, name: str, number: int, version: int) -> Any:
        """The vector of a point, as a collection takes it."""
        dim, distance = self.vectors[name]
        first = number * 31 + version * 7 + len(name)
        numbers = ((first + 3 * np.arange(dim)) % 97).astype(np.float32)
        if distance in MANY:
            return numbers + np.arange(1 + first % 3, dtype=np.float32)[:, None]
        if distance not in MODIFIERS:
            return numbers
        return given(np.where(numbers % 3 == 0, numbers, np.float32(0)))

    def after(self, points: Points, write: Write) -> Points:
        """The points after a write."""
        oracle = Oracle(self.vectors)
        oracle.points = dict(points)
        take(oracle, write)
        return oracle.points


_A, _B = {"a": (8, "Dot")}, {"b": (4, "Manhattan")}
SPACES = {
    "plain": Space({"": (16, "Dot")}),
    "wide": Space({"": (64, "Euclid")}),
    "clustered": Space({"": (6, "Euclid")}),
    "named": Space({**_A, **_B}, uuids=True),
    "sparse": Space({**_A, "s": (PLACES, "Sparse")}, uuids=True),
    "narrow": Space({**_A, "h": (5, "float16 Dot"), "n": (6, "uint8 Euclid")}, uuids=True),
    "multi": Space({**_A, "m": (6, "Many Dot")}, uuids=True),
    "named-abc": Space({**_A, **_B, "c": (5, "Euclid")}, uuids=True),
    "named-ac": Space({**_A, "c": (5, "Euclid")}, uuids=True),
    "named-acb": Space({**_A, "c": (5, "Euclid"), "b": (4, "Dot")}, uuids=True),
    "background": Space({"": (16, "Dot")}, background=True),
    "none": Space({}, uuids=True),
    "only-a": Space(_A, uuids=True),
    "only-b": Space(_B, uuids=True),
}


@dataclass(frozen=True)
class Model:
    """One collection as it should be."""

    space: str
    points: Points
    config: dict[str, Any]


@dataclass(frozen=True)
class State:
    """The database as it should be."""

    collections: dict[str, Model] = field(default_factory=dict)
    snapshots: dict[str, tuple[Model, ...]] = field(default_factory=dict)
    """What was in a collection at each of its snapshots, by the name of the collection."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Of collections, by alias."""

    def with_model(self, name: str, model: Model | None) -> State:
        """The same with one collection changed, or gone, and with it its aliases."""
        collections = {n: m for n, m in self.collections.items() if n != name}
        if model is not None:
            return replace(self, collections={**collections, name: model})
        aliases = {alias: n for alias, n in self.aliases.items() if n != name}
        return replace(self, collections=collections, aliases=aliases)


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

    def write(self, space: Space) -> Write:
        """The operation."""
        raise NotImplementedError

    def pass_through(self, state: State) -> list[State]:
        model = state.collections[self.into]
        space = SPACES[model.space]
        points = space.after(model.points, self.write(space))
        return [state.with_model(self.into, replace(model, points=points))]

    def perform(self, run: Run) -> int:
        write = self.write(run.spaces[self.into])
        result = perform(run.db.collection(self.into), write)
        last = result[-1] if isinstance(result, list) else result
        return last.operation_id or 0


@dataclass(frozen=True)
class Put(PointStep):
    """Write ``count`` points from ``first``."""

    first: int
    count: int
    version: int
    into: str = "c"
    older: int | None = None
    """Of those that are there only those of an older version than this."""
    mode: str | None = None

    def write(self, space: Space) -> Write:
        numbers = range(self.first, self.first + self.count)
        form = 2 if list(space.vectors) == [""] else 1  # columns, and points
        rows = [space.row(n, self.version) for n in numbers]
        condition = None
        if self.older is not None:
            condition = {"must": [{"key": "version", "range": {"lt": self.older}}]}
        return Write("upsert", form, rows, condition=condition, mode=self.mode)


@dataclass(frozen=True)
class Delete(PointStep):
    """Delete points by id, or all at a place by filter."""

    numbers: tuple[int, ...] = ()
    place: int | None = None
    into: str = "c"

    def write(self, space: Space) -> Write:
        return Write("delete", **_selected(space, self.numbers, self.place))


@dataclass(frozen=True)
class Edit(PointStep):
    """Change payloads: ``set`` and ``overwrite`` write, ``unset`` and ``clear`` remove."""

    how: str
    numbers: tuple[int, ...] = ()
    place: int | None = None
    value: int = 1
    into: str = "c"

    def write(self, space: Space) -> Write:
        selected = _selected(space, self.numbers, self.place)
        match self.how:
            case "set" | "overwrite":
                return Write(f"{self.how}_payload", payload={"set": self.value}, **selected)
            case "unset":
                return Write("delete_payload", names=["version"], **selected)
            case "clear":
                return Write("clear_payload", **selected)
        raise AssertionError(self.how)


@dataclass(frozen=True)
class PutVectors(PointStep):
    """New vectors of one name for existing points."""

    numbers: tuple[int, ...]
    version: int
    name: str = "b"
    into: str = "c"

    def write(self, space: Space) -> Write:
        vectors = {n: space.vector(self.name, n, self.version) for n in self.numbers}
        rows: list[Row] = [(space.point_id(n), None, {self.name: v}) for n, v in vectors.items()]
        return Write("update_vectors", rows=rows)


@dataclass(frozen=True)
class DropVectors(PointStep):
    """Remove the vectors of one name from existing points."""

    numbers: tuple[int, ...]
    name: str = "b"
    into: str = "c"

    def write(self, space: Space) -> Write:
        return Write("delete_vectors", names=[self.name], **_selected(space, self.numbers, None))


@dataclass(frozen=True)
class Batch(PointStep):
    """Several of these as one write."""

    parts: tuple[PointStep, ...]
    into: str = "c"

    def write(self, space: Space) -> Write:
        return Write("batch_update_points", parts=[part.write(space) for part in self.parts])


def _selected(space: Space, numbers: tuple[int, ...], place: int | None) -> dict[str, Any]:
    if place is None:
        return {"ids": [space.point_id(n) for n in numbers]}
    return {"filter": {"must": [{"key": "place", "match": {"value": place}}]}}
