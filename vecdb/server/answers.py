"""Answers: what operations return, and its JSON.

Vectors and scores are 32-bit numbers and are written in the shortest form that means the same
number, as Qdrant does: ``0.15``, and not the 64-bit ``0.15000000596046448``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
from msgspec import Raw, Struct

from vecdb import models


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


class Hit(Struct, omit_defaults=True, gc=False):
    """A point that was found."""

    id: Any
    version: int
    score: Any
    payload: dict[str, Any] | None = None
    vector: Any = None


class Records:
    """Points that were looked up, as the engine has them. JSON is made of them when an answer is
    written, which not every protocol does."""

    __slots__ = ("_records",)

    def __init__(self, records: Sequence[models.Record]) -> None:
        self._records = records

    def __iter__(self) -> Iterator[models.Record]:
        return iter(self._records)

    def in_json(self) -> list[Point]:
        """What JSON is made of."""
        return [point(each) for each in self._records]


class Hits:
    """Points that were found, as the engine has them."""

    __slots__ = ("_found",)

    def __init__(self, found: Sequence[models.ScoredPoint]) -> None:
        self._found = found

    def __iter__(self) -> Iterator[models.ScoredPoint]:
        return iter(self._found)

    def in_json(self) -> list[Hit]:
        """What JSON is made of."""
        found = self._found
        if not found:
            return []
        scores = floats([point.score for point in found])[1:-1].split(b",")
        if found[0].vector is None:
            return [
                Hit(p.id, p.version, Raw(score), p.payload)
                for p, score in zip(found, scores, strict=True)
            ]
        return [
            Hit(p.id, p.version, Raw(score), p.payload, vector(p.vector))
            for p, score in zip(found, scores, strict=True)
        ]


class Points(Struct):
    """The answer of a query."""

    points: Hits


class Page(Struct):
    """The answer of a scroll."""

    points: Records
    next_page_offset: int | str | None


class Bare(Struct):
    """JSON without an envelope."""

    value: Any


class Text(Struct):
    """Text of a content type of its own."""

    content: str
    content_type: str = "text/plain; charset=utf-8"
    http_status: int = 200


class Accepted(Struct):
    """The work goes on, and nobody waits for it."""


class Download(Struct):
    """A file, whose bytes are the answer."""

    path: Path
    name: str
    checksum: str | None


def point(record: models.Record) -> Point:
    """A point that was looked up."""
    return Point(
        record.id, record.payload, None if record.vector is None else vector(record.vector)
    )


def vector(value: Any) -> Any:
    """A vector, or vectors by name, with numbers in their shortest form."""
    if isinstance(value, dict):
        return {name: vector(each) for name, each in value.items()}
    return None if value is None else Raw(floats(value))


def floats(values: Any) -> bytes:
    """32-bit numbers as a JSON list."""
    return orjson.dumps(np.asarray(values, np.float32), option=orjson.OPT_SERIALIZE_NUMPY)


def _in_json(value: Any) -> Any:
    if isinstance(value, (Hits, Records)):
        return value.in_json()
    raise TypeError(f"{type(value).__name__} is not JSON")


encode = msgspec.json.Encoder(enc_hook=_in_json).encode
