"""A collection as a dict and numpy: what vecdb has to agree with.

It uses nothing of vecdb but its ``check`` of closed files. Points are never changed in place, so a
copy of an oracle is a copy of one dict.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from proofs.model import meaning
from proofs.model.multi import MANY, max_sims
from proofs.model.narrow import plain as plain_distance
from proofs.model.narrow import rounded
from proofs.model.sparse import MODIFIERS, is_given, numbers_of

Floats = npt.NDArray[np.float32]
PointId = int | str  # a str is a canonical UUID

SCALE = max(1, int(os.environ.get("VECDB_TEST_SCALE", "1")))
"""How many times longer than by default the searches for bugs are."""

SIMILARITIES = (
    *("Cosine", "Dot", "Many Cosine", "Many Dot", "float16 Dot", "uint8 Dot"),
    *MODIFIERS,
)


@dataclass(frozen=True, eq=False)
class Point:
    """One point; ``vectors`` holds the names it has."""

    payload: dict[str, Any]
    vectors: Mapping[str, npt.NDArray[Any]]

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        """The same JSON, and the same numbers to the last bit."""
        return (
            isinstance(other, Point)
            and canonical(self.payload) == canonical(other.payload)
            and self.vectors.keys() == other.vectors.keys()
            and all(np.array_equal(v, other.vectors[n]) for n, v in self.vectors.items())
        )


Points = dict[PointId, Point]


class Oracle:
    """``vectors``: name -> (dimension, distance); the unnamed vector is ``""``. Sparse vectors have
    arrays, too, with zeros where they have no index; multivectors arrays of several rows."""

    def __init__(self, vectors: Mapping[str, tuple[int, str]]) -> None:
        self.vectors = dict(vectors)
        self.points: Points = {}
        self.indexes: dict[str, str] = {}
        """What is said of fields of the payload: their types."""

    def copy(self) -> Oracle:
        """A snapshot."""
        other = Oracle(self.vectors)
        other.points = dict(self.points)
        other.indexes = dict(self.indexes)
        return other

    # -- writing ---------------------------------------------------------------------------

    def stored(self, name: str, vector: Any) -> Floats:
        """The vector as it is kept: as float32, of length 1 under Cosine."""
        return rounded(self.asked(name, vector), self.vectors[name][1])

    def asked(self, name: str, vector: Any) -> Floats:
        """The same of a query, which is not rounded to what originals are kept in."""
        array = np.asarray(numbers_of(vector) if is_given(vector) else vector, dtype=np.float32)
        dim, distance = self.vectors[name]
        assert array.shape[-1] == dim
        assert array.ndim == (2 if distance in MANY else 1)
        if distance in ("Cosine", "Many Cosine"):
            lengths = np.linalg.norm(array.astype(np.float64), axis=-1, keepdims=True)
            array = (array / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return array

    def upsert(
        self,
        rows: Iterable[tuple[PointId, Any, Mapping[str, Any]]],
        condition: dict[str, Any] | None = None,
        mode: str | None = None,
    ) -> None:
        """(id, payload or None, vectors by name), one after the other. Those that are there only if
        they match the condition."""
        for point_id, payload, vectors in rows:
            point = self.points.get(point_id)
            if mode == ("update_only" if point is None else "insert_only"):
                continue
            if point is not None and condition and not self.matches(condition, point_id):
                continue
            kept = {name: self.stored(name, vector) for name, vector in vectors.items()}
            self.points[point_id] = Point(plain(payload or {}), kept)

    def delete(self, ids: Iterable[PointId]) -> None:
        for point_id in ids:
            self.points.pop(point_id, None)

    def set_payload(self, ids: Iterable[PointId], payload: Any, key: str | None = None) -> None:
        """Merge into the object at a path of plain names, made where there is none; a None takes
        its key away."""
        for point_id in ids:
            new = plain(self.points[point_id].payload)
            target = new
            for step in key.split(".") if key else []:
                if not isinstance(target.get(step), dict):
                    target[step] = {}
                target = target[step]
            target.update(plain(payload))
            for name in [name for name, value in payload.items() if value is None]:
                del target[name]
            self._replace(point_id, payload=new)

    def overwrite_payload(self, ids: Iterable[PointId], payload: Any) -> None:
        for point_id in ids:
            self._replace(point_id, payload=plain(payload))

    def delete_payload(self, ids: Iterable[PointId], keys: Iterable[str]) -> None:
        keys = list(keys)
        for point_id in ids:
            new = plain(self.points[point_id].payload)
            for key in keys:
                target: Any = new
                *steps, last = key.split(".")
                for step in steps:
                    target = target.get(step) if isinstance(target, dict) else None
                if isinstance(target, dict):
                    target.pop(last, None)
            self._replace(point_id, payload=new)

    def clear_payload(self, ids: Iterable[PointId]) -> None:
        self.overwrite_payload(ids, {})

    def update_vectors(
        self,
        rows: Iterable[tuple[PointId, Mapping[str, Any]]],
        condition: dict[str, Any] | None = None,
    ) -> None:
        for point_id, vectors in rows:
            if condition and not self.matches(condition, point_id):
                continue
            kept = {name: self.stored(name, vector) for name, vector in vectors.items()}
            self._replace(point_id, vectors={**self.points[point_id].vectors, **kept})

    def delete_vectors(self, ids: Iterable[PointId], names: Iterable[str]) -> None:
        names = set(names)
        for point_id in ids:
            vectors = self.points[point_id].vectors
            self._replace(point_id, vectors={n: v for n, v in vectors.items() if n not in names})

    def _replace(self, point_id: PointId, **changed: Any) -> None:
        point = self.points[point_id]
        self.points[point_id] = Point(
            changed.get("payload", point.payload), changed.get("vectors", point.vectors)
        )

    # -- reading ---------------------------------------------------------------------------

    def ids(self) -> list[PointId]:
        """In the order of ``scroll``: numbers, then UUIDs."""
        return sorted(self.points, key=lambda i: (isinstance(i, str), i))

    def matching(self, filter: dict[str, Any] | None) -> list[PointId]:
        """The ids that match a filter in its JSON form, in order."""
        return [i for i in self.ids() if filter is None or self.matches(filter, i)]

    def matches(self, filter: dict[str, Any], point_id: PointId) -> bool:
        """Whether a point matches."""
        point, texts = (
            self.points[point_id],
            [f for f, kind in self.indexes.items() if kind == "text"],
        )
        return meaning.matches(filter, point_id, point.payload, point.vectors, texts)

    def scores(
        self, name: str, query: Any, filter: dict[str, Any] | None = None
    ) -> dict[PointId, float]:
        """The public score of every matching point that has the vector, and, if vectors are sparse,
        an index in common with the query."""
        distance = self.vectors[name][1]
        wanted = self.weighted(name, self.asked(name, query))
        ids = [i for i in self.matching(filter) if name in self.points[i].vectors]
        if not ids:
            return {}
        if distance in MANY:
            near = self.similarities(name, self.rows(name, ids), wanted)
            apart = np.sqrt(-near) if distance == "Many Euclid" else np.abs(near)
            found = near if distance in SIMILARITIES else apart
            return dict(zip(ids, found.tolist(), strict=True))
        rows = self.rows(name, ids).astype(np.float64)
        if distance in MODIFIERS:
            shared = np.flatnonzero(((rows != 0) & (wanted != 0)).any(axis=1))
            ids, rows = [ids[row] for row in shared], rows[shared]
        if distance in SIMILARITIES:
            scores = rows @ wanted
        elif plain_distance(distance) == "Euclid":
            scores = np.sqrt(np.square(rows - wanted).sum(axis=1))
        else:
            scores = np.abs(rows - wanted).sum(axis=1)
        return dict(zip(ids, scores.tolist(), strict=True))

    def rows(self, name: str, ids: Iterable[PointId]) -> Any:
        """The vectors of some points: an array, or a list of arrays if they are multivectors."""
        rows = [self.points[i].vectors[name] for i in ids]
        return rows if self.vectors[name][1] in MANY else np.array(rows)

    def similarities(
        self, name: str, rows: Any, example: npt.NDArray[Any]
    ) -> npt.NDArray[np.float64]:
        """How near rows are to an example, larger is nearer; squared under Euclid."""
        distance = self.vectors[name][1]
        if distance not in MANY:
            return _similarities(plain_distance(distance), rows, example)
        return max_sims(partial(_similarities, MANY[distance]), rows, example)

    def weighted(self, name: str, query: Floats) -> npt.NDArray[np.float64]:
        """A query as it is compared with points: under IDF rare numbers count for more."""
        wide = query.astype(np.float64)
        if self.vectors[name][1] != "Idf":
            return wide
        rows = [point.vectors[name] for point in self.points.values() if name in point.vectors]
        having = np.count_nonzero(np.array([query, *rows])[1:], axis=0)
        counted: npt.NDArray[np.float64] = wide * np.log(
            (len(rows) - having + 0.5) / (having + 0.5) + 1
        )
        return counted

    def points_with(self, field: str) -> int:
        """How many points have a value at a path."""
        return sum(
            not meaning.is_empty(meaning.selected(point.payload, field))
            for point in self.points.values()
        )

    def best_first(self, name: str, scores: Iterable[float]) -> list[float]:
        return sorted(scores, reverse=self.vectors[name][1] in SIMILARITIES)

    # -- comparing -------------------------------------------------------------------------

    def difference(self, collection: Any) -> str | None:
        """What a collection's points are that they should not be; None if they are equal."""
        wanted = self.ids()
        count = collection.count().count
        records, following = collection.scroll(limit=len(wanted) + 1, with_vectors=True)
        found = [record.id for record in records]
        if found != wanted:
            missing = sorted(map(str, set(wanted) - set(found)))[:10]
            extra = sorted(map(str, set(found) - set(wanted)))[:10]
            return f"ids: {len(found)}, not {len(wanted)}; missing {missing}, too many {extra}"
        if following is not None or count != len(wanted):
            return f"count {count}, next page {following!r}; {len(wanted)} points expected"
        for record in records:
            problem = self.record_difference(record)
            if problem:
                return problem
        return None

    def record_difference(self, record: Any) -> str | None:
        """The same for one point with payload and vectors."""
        point = self.points[record.id]
        if canonical(record.payload) != canonical(point.payload):
            return f"point {record.id!r}: payload {record.payload}, not {point.payload}"
        vectors = record.vector if record.vector is not None else {}
        if not isinstance(vectors, dict):
            vectors = {"": vectors}
        if set(vectors) != set(point.vectors):
            return f"point {record.id!r}: vectors {set(vectors)}, not {set(point.vectors)}"
        for name, vector in vectors.items():
            kept = point.vectors[name]
            if is_given(vector):
                vector = numbers_of(vector)
            # Only what was normalised may be a little different: who did it rounded in his way.
            error = 1e-6 + 1e-5 * np.abs(kept) if self.vectors[name][1].endswith("Cosine") else 0.0
            near = len(vector) == len(kept) and np.abs(vector - kept) <= error
            if not np.all(near):
                return f"point {record.id!r}: vector {name!r} {vector}, not {kept}"
        return None

    def search_difference(
        self,
        hits: Any,
        name: str,
        query: Any,
        limit: int,
        filter: dict[str, Any] | None = None,
        *,
        error: float = 0.0,
    ) -> str | None:
        """What is wrong with search results. ``error``: how far a score may be from the truth; 0
        also asks for exactly the best scores."""
        scores = self.scores(name, query, filter)
        found = [hit.id for hit in hits]
        what = f"search {name!r} limit {limit} filter {filter}"
        if len(set(found)) != len(found):
            return f"{what}: a point twice in {found}"
        if not set(found) <= set(scores):
            return f"{what}: {set(found) - set(scores)} do not belong there"
        if len(found) != min(limit, len(scores)):
            return f"{what}: {len(found)} of {min(limit, len(scores))} results"
        given = [hit.score for hit in hits]
        if given != self.best_first(name, given):
            return f"{what}: not best first: {given}"
        true = [scores[i] for i in found]
        allowed = error + 1e-4 + 1e-4 * np.abs(true)
        if (np.abs(np.subtract(given, true)) > allowed).any():
            return f"{what}: scores {given} of {found}, the true ones are {true}"
        best = self.best_first(name, scores.values())[: len(given)]
        if not error and not np.allclose(given, best, rtol=1e-4, atol=1e-4):
            return f"{what}: scores {given} of {found}, the best are {best}"
        return None

    def mmr_difference(
        self,
        hits: Any,
        name: str,
        query: Any,
        limit: int,
        filter: dict[str, Any] | None,
        diversity: float,
        candidates: int,
    ) -> str | None:
        """What is wrong with results chosen from so many of the nearest points. Where two points
        are equally good, either may have been chosen; what follows is judged by the choice."""
        ids = list(self.scores(name, query, filter))
        found = [hit.id for hit in hits]
        what = f"mmr {name!r} limit {limit} of {candidates}, diversity {diversity}, filter {filter}"
        if len(set(found)) != len(found) or not set(found) <= set(ids):
            return f"{what}: {found} are not different points that match"
        if len(found) != min(limit, candidates, len(ids)):
            return f"{what}: {len(found)} of {min(limit, candidates, len(ids))} results"
        if not found:
            return None
        rows = self.rows(name, ids)
        wanted = self.asked(name, query)
        relevance = self.similarities(name, rows, wanted)
        ranked = self.similarities(name, rows, self.weighted(name, wanted))
        last = np.sort(ranked)[::-1][: min(candidates, len(ids))][-1]
        error = 1e-4 + 1e-4 * float(np.abs(ranked).max())
        surely, possibly = ranked > last + error, ranked >= last - error
        error = 1e-4 + 1e-4 * float(np.abs(relevance).max())
        worth = relevance
        likeness = np.full(len(ids), -np.inf)
        for number, one in enumerate(found):
            place = ids.index(one)
            best = worth[surely].max(initial=-np.inf)
            if not possibly[place] or worth[place] < best - error:
                return f"{what}: {one!r} is no choice at {number} of {found}"
            surely[place] = False
            near = self.similarities(name, rows, rows[place])
            error = max(error, 1e-4 * float(np.abs(near).max()))
            likeness = np.maximum(likeness, near)
            worth = (1 - diversity) * relevance - diversity * likeness
        true = self.scores(name, query, filter)
        wrong = [h.id for h in hits if not np.isclose(h.score, true[h.id], rtol=1e-4, atol=1e-4)]
        return f"{what}: wrong scores of {wrong}" if wrong else None


def _similarities(
    distance: str, rows: npt.NDArray[Any], example: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    wide = rows.astype(np.float64)
    if distance in SIMILARITIES:
        products: npt.NDArray[np.float64] = wide @ example.astype(np.float64)
        return products
    between = wide - example
    apart = np.square(between) if distance == "Euclid" else np.abs(between)
    nearness: npt.NDArray[np.float64] = -apart.sum(axis=1)
    return nearness


def read(collection: Any) -> Points:
    """All points of a collection as they are. Raises AssertionError if they are not counted so."""
    records, after = collection.scroll(limit=1_000_000, with_vectors=True)
    count = collection.count().count
    if after is not None or count != len(records):
        raise AssertionError(f"count {count}, {len(records)} points, more from {after}")
    points = {}
    for record in records:
        vectors = record.vector if record.vector is not None else {}
        named = vectors if isinstance(vectors, dict) else {"": vectors}
        kept = {
            name: numbers_of(vector) if is_given(vector) else np.array(vector)
            for name, vector in named.items()
        }
        points[record.id] = Point(record.payload or {}, kept)
    if len(points) != len(records):
        raise AssertionError("a point is there twice")
    return points


def points_difference(found: Points, expected: Points) -> str | None:
    """What points are that they should not be; None if they are equal."""
    missing = [i for i in expected if i not in found]
    extra = [i for i in found if i not in expected]
    changed = [i for i in found if i in expected and found[i] != expected[i]]
    if not (missing or extra or changed):
        return None
    return f"missing {missing[:5]}, unexpected {extra[:5]}, different {changed[:5]}"


def plain(payload: Any) -> Any:
    """A deep copy of JSON."""
    return json.loads(json.dumps(payload))


def canonical(payload: Any) -> str:
    """Text that is equal only for the same JSON: 1, 1.0 and true differ."""
    return json.dumps(payload, sort_keys=True)


def require_sound(path: Path) -> None:
    """Every byte of a closed database is as it should be."""
    from vecdb.engine.repair.check import check_database

    report = check_database(path)
    assert report.ok, f"{path}: {report.problems}"
