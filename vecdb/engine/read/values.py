"""Values: what rows have at a path of their payloads. Of each payload one field is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vecdb.engine.read.rows import decoded, in_pieces
from vecdb.engine.view import Offsets, SegmentView
from vecdb.errors import InvalidInputError
from vecdb.payload.encoding import field_decoder
from vecdb.payload.paths import elements, parse_path, selector

Values = Callable[[SegmentView, Offsets], Iterator[Sequence[Any]]]
"""Reads the values of several rows, one after the other; an array stands for its elements. Raises
CorruptionError."""


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
                yield elements(select(decoded(segment_view, row, data, decode)))

    return read
