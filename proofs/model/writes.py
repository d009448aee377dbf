"""Random writes: drawn from a seed and a model of the collection, and taken by both.

``draw`` depends on nothing but its arguments, so whoever knows the seed and how many writes
there were knows what must be stored.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from proofs.model.drawing import FIELDS, random_conditions, random_payload
from proofs.model.multi import MANY, params_of
from proofs.model.narrow import drawn
from proofs.model.oracle import Floats, Oracle, PointId
from proofs.model.sparse import MODIFIERS, PLACES, given
from vecdb import models

Row = tuple[PointId, dict[str, Any] | None, dict[str, Any]]
"""An id, a payload and vectors by name, sparse ones as a collection takes them."""

WEIGHTS = {
    "upsert": 8,
    "delete": 3,
    "set_payload": 3,
    "overwrite_payload": 2,
    "delete_payload": 2,
    "clear_payload": 1,
    "update_vectors": 3,
    "delete_vectors": 2,
    "batch_update_points": 2,
}
INDEXES = {"create_payload_index": 1, "delete_payload_index": 1}
"""They change the configuration, which is not in the log."""
VECTOR_NAMES = {"create_vector_name": 1, "delete_vector_name": 1}
"""So do these; one name is given and taken again and again, each time with another dimension."""
_NEW = "new"
UPLOADS = {"upload_points": 1, "upload_collection": 1}
"""These are several writes, one after the other: not for who kills them in between."""

BY_FILTER = 0.15
"""How often points are selected by a filter."""
CONDITIONAL = 0.25
"""How often points or vectors are written on a condition."""


@dataclass(frozen=True)
class Write:
    """A verb of ``Collection`` and its arguments; ``form``: which of the forms they may have."""

    verb: str
    form: int = 0
    rows: Sequence[Row] = ()
    ids: Sequence[PointId] = ()
    filter: dict[str, Any] | None = None
    payload: dict[str, Any] = field(default_factory=dict)
    key: str | None = None
    names: Sequence[str] = ()
    """Of payload keys or vectors, of a field and its type."""
    condition: dict[str, Any] | None = None
    mode: str | None = None
    """Which of the points that are there are written."""
    parts: Sequence[Write] = ()
    """Of a batch."""


class Pool:
    """The ids and vectors that writes are made of."""

    def __init__(self, seed: str, vectors: Mapping[str, tuple[int, str]], size: int) -> None:
        rng = np.random.default_rng(list(seed.encode()))
        uuids = rng.random() < 0.6
        self.ids: list[PointId] = [_point_id(number, uuids) for number in range(size)]
        self.own: list[PointId] | None = None
        """If given, writes are about these only, those by a filter too."""
        self._seed = seed
        self._tables: dict[tuple[str, int], Floats] = {}
        for name, (dim, _) in vectors.items():
            self._table(name, dim)

    def _table(self, name: str, dim: int) -> Floats:
        """The vectors that are drawn from."""
        table = self._tables.get((name, dim))
        if table is None:
            rng = np.random.default_rng(list(f"{self._seed}/{name}/{dim}".encode()))
            table = rng.standard_normal((256, dim)).astype(np.float32)
            table[0] = 0.0
            self._tables[name, dim] = table
        return table

    def share(self, number: int, of: int) -> Pool:
        """The ``number``-th of several pools that have no id in common."""
        part = copy.copy(self)
        part.ids = part.own = self.ids[number::of]
        return part

    def vector(self, rng: Random, name: str, kind: tuple[int, str]) -> Any:
        """Of a dimension and a distance: often one of a few, sometimes zeros. Sparse ones have few
        numbers, multivectors one to four vectors."""
        dim, distance = kind
        table = self._table(name, dim)
        vector: Floats = table[rng.randrange(len(table))]
        vector = drawn(vector * np.float32(rng.choice((1, 1, -1, 0.5, 2))), distance)
        if distance in MANY:
            more = table[[rng.randrange(len(table)) for _ in range(rng.randrange(4))]]
            return np.concatenate([vector[None], more])
        if distance not in MODIFIERS:
            return vector
        return given(np.where(np.abs(vector) > 0.8, vector, 0.0).astype(np.float32))

    def vectors(self, rng: Random, oracle: Oracle, *, complete: bool = False) -> dict[str, Any]:
        """By name; now and then one is missing."""
        names = [name for name in oracle.vectors if complete or rng.random() > 0.1]
        return {name: self.vector(rng, name, oracle.vectors[name]) for name in names}

    def some(self, rng: Random, most: int) -> list[PointId]:
        """One to ``most`` different ids."""
        return rng.sample(self.ids, rng.randint(1, min(most, len(self.ids))))


def _point_id(number: int, uuids: bool) -> PointId:
    """Small numbers and large ones, and every fourth a UUID, if there are any."""
    if uuids and number % 4 == 3:
        return str(uuid.UUID(int=(7919 * number) << (number % 97)))
    return 2**64 - 1 - number if number % 50 == 0 else number


def draw(
    rng: Random,
    oracle: Oracle,
    pool: Pool,
    weights: Mapping[str, int] = WEIGHTS,
) -> Write:
    """The next write."""
    verb = rng.choices(list(weights), list(weights.values()))[0]
    form = rng.randrange(4)
    if verb in INDEXES:
        kind = rng.choice([kind.value for kind in models.PayloadSchemaType])
        return Write(verb, form, names=(rng.choice(FIELDS), kind))
    if verb in VECTOR_NAMES:
        verb = "delete_vector_name" if _NEW in oracle.vectors else "create_vector_name"
        distance = rng.choice(("Dot", "Euclid", "Many Dot", "uint8 Euclid", *MODIFIERS))
        dim = PLACES if distance in MODIFIERS else rng.randint(2, 9)
        return Write(verb, form, names=(_NEW, str(dim), distance))
    if verb == "batch_update_points":
        return Write(verb, form, parts=_parts(rng, oracle, pool))
    if not oracle.points or verb in ("upsert", *UPLOADS):
        verb = verb if verb in UPLOADS else "upsert"
        rows = _rows(rng, oracle, pool, holes=verb != "upload_collection")
        if verb in UPLOADS or rng.random() > CONDITIONAL:
            return Write(verb, form, rows)
        mode = rng.choice((None, "upsert", "insert_only", "update_only"))
        condition = random_filter(rng, oracle, pool) if rng.random() < 0.7 else None
        return Write(verb, form, rows, condition=condition, mode=mode)
    if verb == "update_vectors":
        rows = [(i, None, pool.vectors(rng, oracle)) for i in _existing(rng, oracle, 8)]
        rows = [row for row in rows if row[2]]
        condition = random_filter(rng, oracle, pool) if rng.random() < CONDITIONAL else None
        if rows:
            return Write(verb, form, rows, condition=condition)
        return Write("clear_payload", form, ids=[_any(oracle)])
    if verb == "delete_vectors" and not oracle.vectors:
        verb = "clear_payload"
    ids, filter = [], None
    if rng.random() < BY_FILTER:
        filter = random_filter(rng, oracle, pool)
    elif verb == "delete":  # also such as are not there
        ids = pool.some(rng, 6)
    else:
        ids = _existing(rng, oracle, 8)
    if verb in ("set_payload", "overwrite_payload"):
        key = rng.choice((None, None, "deep", "deep.x")) if verb == "set_payload" else None
        payload = random_payload(rng)
        return Write(verb, form, ids=ids, filter=filter, payload=payload, key=key)
    if verb == "delete_payload":
        keys = ("n", "a", "tags", "deep.x", "words", "at", "when", "parts", "none")
        names = rng.sample(keys, rng.randint(1, 3))
    else:
        names = [rng.choice(sorted(oracle.vectors))] if verb == "delete_vectors" else []
    return Write(verb, form, ids=ids, filter=filter, names=names)


def _parts(rng: Random, oracle: Oracle, pool: Pool) -> list[Write]:
    """Writes of a batch, each drawn in the state that those before it leave."""
    state, parts = oracle.copy(), []
    weights = {verb: weight for verb, weight in WEIGHTS.items() if verb != "batch_update_points"}
    for _ in range(rng.randint(1, 5)):
        parts.append(draw(rng, state, pool, weights))
        take(state, parts[-1])
    return parts


def _rows(rng: Random, oracle: Oracle, pool: Pool, *, holes: bool) -> list[Row]:
    """Points to write; ``holes``: some may lack a vector, and one may come twice."""
    ids = pool.some(rng, rng.choice((1, 3, 12, 12, 40)))
    if holes and rng.random() < 0.2:
        ids.append(ids[0])  # the last counts
    complete = not holes or rng.random() < 0.5
    return [
        (
            point_id,
            None if rng.random() < 0.1 else random_payload(rng),
            pool.vectors(rng, oracle, complete=complete),
        )
        for point_id in ids
    ]


def _existing(rng: Random, oracle: Oracle, most: int) -> list[PointId]:
    known = list(oracle.points)
    return rng.sample(known, rng.randint(1, min(most, len(known))))


def _any(oracle: Oracle) -> PointId:
    return next(iter(oracle.points))


def random_filter(rng: Random, oracle: Oracle, pool: Pool) -> dict[str, Any]:
    """A filter in its JSON form."""
    name = rng.choice(sorted(oracle.vectors) or [_NEW])
    filter = random_conditions(rng, pool.some(rng, 30), name)
    return filter if pool.own is None else {"must": [{"has_id": pool.own}, filter]}


def take(oracle: Oracle, write: Write) -> list[PointId]:
    """A write on the model; the ids it was about."""
    if write.verb == "batch_update_points":
        return [point_id for part in write.parts for point_id in take(oracle, part)]
    if write.verb in ("upsert", *UPLOADS):
        oracle.upsert(write.rows, write.condition, write.mode)
        return [row[0] for row in write.rows]
    if write.verb == "update_vectors":
        rows = ((point_id, vectors) for point_id, _, vectors in write.rows)
        oracle.update_vectors(rows, write.condition)
        return [row[0] for row in write.rows]
    if write.verb == "create_payload_index":
        oracle.indexes[write.names[0]] = write.names[1]
        return []
    if write.verb == "delete_payload_index":
        oracle.indexes.pop(write.names[0], None)
        return []
    if write.verb == "create_vector_name":
        oracle.vectors.setdefault(write.names[0], (int(write.names[1]), write.names[2]))
        return []
    if write.verb == "delete_vector_name":
        oracle.vectors.pop(write.names[0], None)
        oracle.delete_vectors(list(oracle.points), write.names[:1])
        return []
    ids = list(write.ids) if write.filter is None else oracle.matching(write.filter)
    match write.verb:
        case "delete":
            oracle.delete(ids)
        case "set_payload":
            oracle.set_payload(ids, write.payload, write.key)
        case "overwrite_payload":
            oracle.overwrite_payload(ids, write.payload)
        case "delete_payload":
            oracle.delete_payload(ids, write.names)
        case "clear_payload":
            oracle.clear_payload(ids)
        case "delete_vectors":
            oracle.delete_vectors(ids, write.names)
        case _:
            raise AssertionError(write.verb)
    return ids


def perform(collection: Any, write: Write) -> Any:
    """A write on the real thing; what that says."""
    points = _selector(write)
    match write.verb:
        case "upsert":
            return collection.upsert(_points(write), **_condition(write))
        case "upload_points":
            return collection.upload_points(iter(_structs(write)), batch_size=5)
        case "upload_collection":
            ids, columns, payloads = _columns(write)
            # Without columns nothing tells how many rows there are.
            vectors = columns if len(columns) else [{} for _ in ids]
            return collection.upload_collection(vectors, iter(payloads), ids, batch_size=7)
        case "update_vectors":
            return collection.update_vectors(_vectors(write), update_filter=write.condition)
        case "batch_update_points":
            return collection.batch_update_points(list(map(_operation, write.parts)))
        case "create_payload_index":
            field, kind = write.names
            scoring = {"scoring": True} if kind == "text" else {}
            return collection.create_payload_index(
                field, {"type": kind, **scoring} if write.form % 2 else kind
            )
        case "delete_payload_index":
            return collection.delete_payload_index(write.names[0])
        case "create_vector_name":
            name, size, distance = write.names
            if distance in MODIFIERS:
                return collection.create_vector_name(
                    name, {"sparse": {"modifier": MODIFIERS[distance]}}
                )
            return collection.create_vector_name(name, {"dense": params_of(int(size), distance)})
        case "delete_vector_name":
            return collection.delete_vector_name(write.names[0])
        case "delete":
            return collection.delete(points)
        case "set_payload":
            return collection.set_payload(write.payload, points, write.key)
        case "overwrite_payload":
            return collection.overwrite_payload(write.payload, points)
        case "delete_payload":
            return collection.delete_payload(write.names, points)
        case "clear_payload":
            return collection.clear_payload(points)
        case "delete_vectors":
            return collection.delete_vectors(write.names, points)
        case _:
            raise AssertionError(write.verb)


def _condition(write: Write) -> dict[str, Any]:
    """Of an upsert, as its arguments or fields."""
    given = {"update_filter": write.condition, "update_mode": write.mode}
    return {name: value for name, value in given.items() if value is not None}


def _vectors(write: Write) -> list[dict[str, Any]]:
    return [{"id": i, "vector": _vector(v)} for i, _, v in write.rows]


def _operation(write: Write) -> Any:
    """A write as an operation of a batch, every other one as a struct."""
    selected: dict[str, Any] = {"points": list(write.ids)}
    if write.filter is not None:
        selected = {"filter": write.filter}
    kind, given = write.verb, selected
    match write.verb:
        case "upsert":
            points = _points(write)
            name = "points" if isinstance(points, list) else "batch"
            given = {name: points, **_condition(write)}
        case "update_vectors":
            given = {"points": _vectors(write), "update_filter": write.condition}
        case "set_payload":
            given = {"payload": write.payload, "key": write.key, **selected}
        case "overwrite_payload":
            given = {"payload": write.payload, **selected}
        case "delete_payload":
            given = {"keys": list(write.names), **selected}
        case "delete_vectors":
            given = {"vector": list(write.names), **selected}
    operation = {kind: given}
    if write.form % 2:
        return operation
    struct = "".join(map(str.capitalize, kind.split("_"))) + "Operation"
    return models.coerce(getattr(models, struct), operation)


def _selector(write: Write) -> Any:
    if write.filter is not None:
        given: Any = {"filter": write.filter}
        return models.coerce(models.FilterSelector, given) if write.form % 2 else given
    ids = [uuid.UUID(i) if isinstance(i, str) and write.form == 1 else i for i in write.ids]
    return {"points": ids} if write.form == 2 else ids


def _points(write: Write) -> Any:
    """An upsert in one of four forms: two of points, two of columns."""
    if write.form == 0:
        return [
            {"id": i, "vector": _vector(vectors), "payload": payload}
            for i, payload, vectors in write.rows
        ]
    if write.form == 1:
        return _structs(write)
    ids, columns, payloads = _columns(write)
    batch: Any = {"ids": ids, "vectors": columns, "payloads": payloads}
    return models.Batch(**batch) if write.form == 2 else batch


def _structs(write: Write) -> list[models.PointStruct]:
    return [
        models.PointStruct(id=i, vector=_vector(vectors), payload=payload)
        for i, payload, vectors in write.rows
    ]


def _vector(vectors: dict[str, Any]) -> Any:
    """One vector where there is no name, else a dict."""
    return vectors[""] if list(vectors) == [""] else vectors


def _columns(write: Write) -> tuple[list[PointId], Any, list[Any]]:
    """Ids, vectors by name (an array, or a list if a row has none or another number of them) and
    payloads."""
    ids, payloads, vectors = map(list, zip(*write.rows, strict=True))
    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in vectors for name in row):
        column = [row.get(name) for row in vectors]
        whole = len({row.shape if isinstance(row, np.ndarray) else None for row in column}) == 1
        whole = whole and isinstance(column[0], np.ndarray)
        columns[name] = np.stack(column) if whole else column
    return ids, columns[""] if list(columns) == [""] else columns, payloads
