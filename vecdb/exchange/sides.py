"""Sides of a transfer: a collection here, or one of a Qdrant server (`qdrant_server`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from vecdb.collection import Collection
from vecdb.exchange.columns import PointId, vector_params


class Point(Struct):
    """A point on its way. Its vectors are what the side that was asked returned for them."""

    id: PointId
    vector: Any
    payload: dict[str, Any]


class Side(Protocol):
    """What points come from, or go to."""

    @property
    def where(self) -> str:
        """What to call it in a message."""

    @property
    def vectors(self) -> Mapping[str, str]:
        """What the vectors of each name are, as ``dense`` and ``sparse`` say it."""

    def count(self) -> int:
        """How many points it has."""

    def page(self, offset: PointId | None, limit: int) -> tuple[list[Point], PointId | None]:
        """Points in the order of their ids, and the id of the next."""

    def there(self, ids: Sequence[PointId]) -> set[PointId]:
        """Which of these points it has."""

    def points(self, ids: Sequence[PointId]) -> list[Point]:
        """Those of these points that it has."""

    def write(self, points: Sequence[Point]) -> None:
        """Write points; durable when this returns."""

    def best_scores(self, vector: Any, using: str, limit: int) -> list[float]:
        """The scores of the points nearest to a vector, found by an exact search, best first."""


def dense(params: Any) -> str:
    """What dense vectors are, as far as points and scores depend on it: by parameters of ours, or
    of Qdrant's client."""
    many = ", many a point" if params.multivector_config is not None else ""
    kept = "float32" if params.datatype is None else params.datatype.value
    return f"{params.size} numbers of {kept} by {params.distance.value}{many}"


def sparse(modifier: str | None) -> str:
    """What sparse vectors are, as far as points and scores depend on it."""
    return f"sparse, with modifier {modifier or 'none'}"


class Here:
    """A collection of an open database."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self.where = f"collection {collection.name!r} here"
        config = collection.info().config
        self.vectors = {name: dense(params) for name, params in vector_params(config).items()} | {
            name: sparse(params.modifier.value if params.modifier else None)
            for name, params in (config.params.sparse_vectors or {}).items()
        }

    def count(self) -> int:
        """How many points it has."""
        return self._collection.count().count

    def page(self, offset: PointId | None, limit: int) -> tuple[list[Point], PointId | None]:
        """Points in the order of their ids, and the id of the next."""
        records, next_id = self._collection.scroll(limit=limit, offset=offset, with_vectors=True)
        return list(map(_point, records)), next_id

    def there(self, ids: Sequence[PointId]) -> set[PointId]:
        """Which of these points it has."""
        records = self._collection.retrieve(ids, with_payload=False)
        return {record.id for record in records}  # type: ignore[misc]  # what comes back is canonical

    def points(self, ids: Sequence[PointId]) -> list[Point]:
        """Those of these points that it has."""
        return list(map(_point, self._collection.retrieve(ids, with_vectors=True)))

    def write(self, points: Sequence[Point]) -> None:
        """Write points; durable when this returns, as the database's ``sync`` says."""
        self._collection.upsert(
            [{"id": p.id, "vector": p.vector, "payload": p.payload} for p in points]
        )

    def best_scores(self, vector: Any, using: str, limit: int) -> list[float]:
        """The scores of the points nearest to a vector, found by an exact search, best first."""
        found = self._collection.query_points(
            vector,
            using=using or None,
            limit=limit,
            search_params={"exact": True},
            with_payload=False,
        )
        return [point.score for point in found.points]


def _point(record: Any) -> Point:
    return Point(record.id, {} if record.vector is None else record.vector, record.payload or {})
