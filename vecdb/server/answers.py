"""Answers: what operations return, and its JSON.

Vectors and scores are 32-bit numbers and are written in the shortest form that means the same
number, as Qdrant does: ``0.15``, and not the 64-bit ``0.15000000596046448``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
from msgspec import Raw, Struct

from vecdb import models

encode = msgspec.json.Encoder().encode


class Envelope(Struct):
    """What is around every result."""

    result: Any
    status: str
    time: float


class Point(Struct, omit_defaults=True, gc=False):
    """A point that was looked up."""

    id: Any
    payload: dict[str, Any] | None = None
    vector: Any = None
    order_value: int | float | None = None


class Hit(Struct, omit_defaults=True, gc=False):
    """A point that was found."""

    id: Any
    version: int
    score: Any
    payload: dict[str, Any] | None = None
    vector: Any = None
    order_value: int | float | None = None


class Sparse(Struct):
    """A sparse vector."""

    indices: Any
    values: Raw


class Points(Struct):
    """The answer of a query. ``points`` are in the shape of the caller's protocol, here and in
    ``Page``."""

    points: Any


class Page(Struct):
    """The answer of a scroll."""

    points: Any
    next_page_offset: int | str | None


class Bare(Struct):
    """JSON without an envelope."""

    value: Any


class Text(Struct):
    """Text of a content type of its own."""

    content: str
    content_type: str = "text/plain; charset=utf-8"
    http_status: int = 200


class Redirect(Struct):
    """Where to ask instead, beside the path that was asked for."""

    location: str


class Accepted(Struct):
    """The work goes on, and nobody waits for it."""


class Download(Struct):
    """A file, whose bytes are the answer."""

    path: Path
    name: str
    checksum: str | None


class Lines(Struct):
    """JSON lines, which are sent as they are made."""

    pieces: AsyncIterator[bytes]


def points(records: Iterable[models.Record]) -> Raw:
    """The JSON of points that were looked up."""
    return Raw(encode(list(map(point, records))))


def point(record: models.Record) -> Point:
    """One of them."""
    return Point(record.id, record.payload, vector(record.vector), record.order_value)


def hits(found: Sequence[models.ScoredPoint]) -> Raw:
    """The JSON of points that were found."""
    return Raw(encode(_hits(found)))


def hit_lines(found: Sequence[models.ScoredPoint]) -> bytes:
    """The same, a line for each."""
    return b"".join(encode(hit) + b"\n" for hit in _hits(found))


def _hits(found: Sequence[models.ScoredPoint]) -> list[Hit]:
    if not found:
        return []
    scores = floats([point.score for point in found])[1:-1].split(b",")
    if found[0].vector is None:
        return [
            Hit(p.id, p.version, Raw(score), p.payload, None, p.order_value)
            for p, score in zip(found, scores, strict=True)
        ]
    return [
        Hit(p.id, p.version, Raw(score), p.payload, vector(p.vector), p.order_value)
        for p, score in zip(found, scores, strict=True)
    ]


def vector(value: Any) -> Any:
    """A vector, or vectors by name, with numbers in their shortest form."""
    if isinstance(value, dict):
        return {name: vector(each) for name, each in value.items()}
    if isinstance(value, models.SparseVector):
        return Sparse(value.indices, Raw(floats(value.values)))
    return None if value is None else Raw(floats(value))


def floats(values: Any) -> bytes:
    """32-bit numbers as a JSON list."""
    return orjson.dumps(np.asarray(values, np.float32), option=orjson.OPT_SERIALIZE_NUMPY)
