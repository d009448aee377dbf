"""Values: what rows have at a path of their payloads. Of each payload one field is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vecdb.engine.read.rows import decoded, in_pieces
from vecdb.engine.view import Offsets, SegmentView
from vecdb.errors import InvalidInputError
from vecdb.payload.columns import canonical
from vecdb.payload.encoding import field_decoder
from vecdb.payload.paths import elements, parse_path, selector


class Values:
    """The values at a path."""

    def __init__(self, path: Any, what: str) -> None:
        """``what`` is given. Raises InvalidInputError."""
        if not isinstance(path, str):
            raise InvalidInputError(f"{what}: expected a path in the payload, got {path!r:.60}")
        steps = parse_path(path, what)
        self.field = canonical(path)
        """The path in its canonical spelling."""
        self._select, self._decode = selector(steps), field_decoder(str(steps[0]))

    def read(self, segment_view: SegmentView, rows: Offsets) -> Iterator[Sequence[Any]]:
        """Those of several rows, one after the other; an array stands for its elements. Raises
        CorruptionError."""
        for some in in_pieces(rows):
            for row, data in zip(some.tolist(), segment_view.payloads(some), strict=True):
                yield elements(self._select(decoded(segment_view, row, data, self._decode)))
