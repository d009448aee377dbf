"""Values: what rows have at a path of their payloads. Of each payload one field is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vecdb import ids
from vecdb.engine.view import Offsets, SegmentView
from vecdb.errors import CorruptionError, InvalidInputError
from vecdb.payload.encoding import field_decoder
from vecdb.payload.paths import elements, parse_path, selector
from vecdb.storage.format import DamageError

_AT_ONCE = 1024
"""Rows of which the payloads are in memory together."""

Values = Callable[[SegmentView, Offsets], Iterator[Sequence[Any]]]
"""Reads the values of several rows, one after the other; an array stands for its elements. Raises
CorruptionError."""


def in_pieces(rows: Offsets) -> Iterator[Offsets]:
    """The rows, some at a time."""
    return (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))


def values_at(path: Any, what: str) -> Values:
    """The function that reads the values at a path. Raises InvalidInputError."""
    if not isinstance(path, str):
        raise InvalidInputError(f"{what}: expected a path in the payload, got {path!r:.60}")
    try:
        steps = parse_path(path)
    except InvalidInputError as error:
        raise InvalidInputError(f"{what}: {error}") from None
    select, decode = selector(steps), field_decoder(str(steps[0]))

    def read(segment_view: SegmentView, rows: Offsets) -> Iterator[Sequence[Any]]:
        for some in in_pieces(rows):
            for row, data in zip(some.tolist(), segment_view.payloads(some), strict=True):
                try:
                    fields = decode(data)
                except DamageError as error:
                    point = ids.external(segment_view.segment.key(row))
                    raise CorruptionError(f"payload of point {point}", str(error)) from None
                yield elements(select(fields))

    return read
