"""Transfers between a collection here and one of a Qdrant server: push, pull, and a comparison."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from vecdb.collection import Collection
from vecdb.database import VecDB
from vecdb.errors import AlreadyExistsError, InvalidInputError, NotFoundError
from vecdb.exchange.columns import PointId
from vecdb.exchange.creating import create_like
from vecdb.exchange.extras import library
from vecdb.exchange.progress import Progress, ticking
from vecdb.exchange.sides import Here, Point, Side

if TYPE_CHECKING:
    from vecdb.exchange.qdrant_server import Server

_BEST = 10
_TOLERANCE = 1e-4
"""How far scores may be apart, as a part of the larger: sides add in another order."""


class TransferReport(Struct):
    """What a push or pull did."""

    collection: str
    points: int
    """That were read."""
    skipped: int
    """Of those, how many were there already when it was resumed."""
    compared: int
    """Points of which vectors' scores and payloads were compared afterwards."""
    differences: list[str]
    """What is not alike on both sides; empty: all that was compared is."""


def push_collection(
    collection: Collection,
    url: str,
    collection_name: str | None = None,
    *,
    api_key: str | None = None,
    prefer_grpc: bool = False,
    grpc_port: int = 6334,
    timeout: int = 60,
    batch_size: int = 256,
    resume: bool = False,
    sample: int = 20,
    progress: Progress = False,
) -> TransferReport:
    """Copy a collection to a Qdrant server: configuration, payload indexes and points.

    ``url``: that of the server. ``collection_name``: what to call it there; None: as here.
    ``prefer_grpc``: points go over gRPC, to ``grpc_port``. ``timeout``: seconds a request may take.
    ``resume`` goes on with a transfer that was interrupted: points that are there stay as they are.
    Afterwards the counts of both sides are compared, and of ``sample`` points by chance payloads
    and the scores of exact searches; ``differences`` has what is not alike.

    Raises AlreadyExistsError (the server has a collection of that name), InvalidInputError (it
    refuses something, or with ``resume`` its collection has other vectors), ConnectionError (it
    does not answer).
    """
    name = collection_name or collection.name
    server = _connect(url, api_key, prefer_grpc, grpc_port, timeout)
    try:
        from vecdb.exchange.qdrant_server import There

        if not server.has(name):
            server.create(name, collection.info().config)
        elif not resume:
            raise AlreadyExistsError(f"{url} has a collection {name!r}; {_RESUME}")
        return _transfer(
            name, Here(collection), There(server, name), batch_size, resume, sample, progress
        )
    finally:
        server.close()


def pull_collection(
    db: VecDB,
    url: str,
    collection_name: str,
    into: str | None = None,
    *,
    api_key: str | None = None,
    prefer_grpc: bool = False,
    grpc_port: int = 6334,
    timeout: int = 60,
    batch_size: int = 256,
    resume: bool = False,
    sample: int = 20,
    progress: Progress = False,
) -> TransferReport:
    """Copy a collection of a Qdrant server into a database, as ``push_collection`` does the other
    way.

    ``into``: what to call it here; None: as there. Raises NotFoundError (the server has none of
    that name), AlreadyExistsError, InvalidInputError (it has something that vecdb has not),
    ConnectionError.
    """
    name = into or collection_name
    server = _connect(url, api_key, prefer_grpc, grpc_port, timeout)
    try:
        from vecdb.exchange.qdrant_server import There

        if not server.has(collection_name):
            raise NotFoundError(f"{url} has no collection {collection_name!r}")
        if not db.collection_exists(name):
            create_like(db, name, server.config(collection_name))
        elif not resume:
            raise AlreadyExistsError(f"there is a collection {name!r} here; {_RESUME}")
        here, there = Here(db.collection(name)), There(server, collection_name)
        return _transfer(name, there, here, batch_size, resume, sample, progress)
    finally:
        server.close()


_RESUME = "resume=True writes those points into it that it has not"


def _connect(
    url: str, api_key: str | None, prefer_grpc: bool, grpc_port: int, timeout: int
) -> Server:
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise InvalidInputError(f"url: expected http://… or https://…, got {url!r:.100}")
    library("qdrant_client", "qdrant")
    from vecdb.exchange.qdrant_server import Server

    return Server(url, api_key, prefer_grpc, grpc_port, timeout)


def _transfer(
    name: str,
    source: Side,
    target: Side,
    batch_size: int,
    resume: bool,
    sample: int,
    progress: Progress,
) -> TransferReport:
    """Copy all points, then compare."""
    _must_be_alike(source, target)
    chosen = _Sample(sample)
    next_id: PointId | None = None
    done = skipped = 0
    with ticking(progress, name, source.count()) as tick:
        while True:
            points, next_id = source.page(next_id, batch_size)
            wanted = points
            if resume and points:
                there = target.there([point.id for point in points])
                wanted = [point for point in points if point.id not in there]
            if wanted:
                target.write(wanted)
            for point in points:
                chosen.see(point.id)
            skipped += len(points) - len(wanted)
            done += len(points)
            tick(len(points))
            if next_id is None:
                break
    return TransferReport(
        name, done, skipped, len(chosen.ids), _differences(source, target, chosen.ids)
    )


def _must_be_alike(source: Side, target: Side) -> None:
    """Raise InvalidInputError unless both sides have the same vectors: names, sizes, distances."""
    for name in [*source.vectors, *target.vectors]:
        sides = [side.vectors.get(name, "none") for side in (source, target)]
        if sides[0] != sides[1]:
            raise InvalidInputError(
                f"vector {name!r}: {source.where} has {sides[0]}, {target.where} has {sides[1]}"
            )


class _Sample:
    """Some of many ids, each as likely as any other, chosen while they go by."""

    def __init__(self, size: int) -> None:
        self.ids: list[PointId] = []
        self._size = size
        self._seen = 0
        self._chance = random.Random()

    def see(self, point_id: PointId) -> None:
        """One more id."""
        self._seen += 1
        if len(self.ids) < self._size:
            self.ids.append(point_id)
        elif (place := self._chance.randrange(self._seen)) < self._size:
            self.ids[place] = point_id


def _differences(source: Side, target: Side, ids: Sequence[PointId]) -> list[str]:
    """What is not alike on both sides, by the counts and by some points."""
    found = []
    counts = source.count(), target.count()
    if counts[0] != counts[1]:
        found.append(f"{source.where} has {counts[0]} points, {target.where} {counts[1]}")
    theirs = {point.id: point for point in target.points(ids)}
    for mine in source.points(ids):
        other = theirs.get(mine.id)
        if other is None:
            found.append(f"point {mine.id!r} is missing in {target.where}")
            continue
        if mine.payload != other.payload:
            found.append(f"point {mine.id!r} has another payload in {target.where}")
        for using, vector in _vectors(mine).items():
            scores = [side.best_scores(vector, using, _BEST) for side in (source, target)]
            if not _alike(*scores):
                called = f" by vector {using!r}" if using else ""
                found.append(
                    f"a search for point {mine.id!r}{called} has the scores {scores[0]} in "
                    f"{source.where}, {scores[1]} in {target.where}"
                )
    return found


def _vectors(point: Point) -> dict[str, Any]:
    return point.vector if isinstance(point.vector, dict) else {"": point.vector}


def _alike(mine: Sequence[float], other: Sequence[float]) -> bool:
    """Whether scores are equal but for rounding. Near zero only their scale says how large that may
    be."""
    scale = max((abs(score) for score in (*mine, *other)), default=0.0)
    return len(mine) == len(other) and all(
        math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE * scale)
        for a, b in zip(mine, other, strict=True)
    )
