"""Growing: the column of a segment in memory, which gets rows all the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from vecdb.models.conditions import ValuesCount
from vecdb.models.payload_schema import TextIndexParams
from vecdb.payload.columns.collecting import Collector
from vecdb.payload.columns.column import Column
from vecdb.payload.columns.entries import Entries, Facet
from vecdb.payload.columns.frequencies import Occurrences
from vecdb.payload.columns.sections import Offsets
from vecdb.payload.columns.three_valued import Bits, Bounds, exactly
from vecdb.payload.columns.tokens import TextMatch
from vecdb.payload.columns.wanted import Wanted

_PIECE = 1024
"""Rows of the smallest piece that is kept, a multiple of 8: masks of pieces join by whole bytes."""


class Growing:
    """The column of rows that are only ever appended, by one thread at a time."""

    def __init__(self, path: str, text: TextIndexParams | None = None) -> None:
        self._collector = Collector(path, text)
        self._pieces: tuple[Column, ...] = ()  # the largest first

    @property
    def rows(self) -> int:
        """How many rows were taken."""
        return self._collector.rows

    @property
    def nbytes(self) -> int:
        """About how much memory the values take, beside the columns that were made of them."""
        return self._collector.nbytes

    def extend(self, payloads: Iterable[Any]) -> None:
        """Take the stored payloads of more rows. Raises DamageError."""
        self._collector.extend(payloads)

    def column(self) -> Joined:
        """The column of the rows so far. Pieces double, as in a binary number: each row is put into
        as many as it has digits."""
        collector, pieces = self._collector, list(self._pieces)
        kept = sum(piece.rows for piece in pieces)
        while kept + _PIECE <= collector.rows:
            size = _PIECE
            while pieces and pieces[-1].rows == size:
                size += pieces.pop().rows
            kept += _PIECE
            pieces.append(collector.column(kept - size, kept))
        self._pieces = tuple(pieces)  # the last: what is cut short changes nothing
        if kept < collector.rows or not pieces:
            pieces.append(collector.column(kept, collector.rows))
        return Joined(tuple(pieces))


class Joined:
    """Columns of rows that follow one another, as one: all but the last of a multiple of 8 rows."""

    def __init__(self, pieces: tuple[Column, ...]) -> None:
        self.pieces = pieces
        self.path = pieces[0].path
        self.rows = sum(piece.rows for piece in pieces)

    @property
    def nbytes(self) -> int:
        """As `Column.nbytes`."""
        return sum(piece.nbytes for piece in self.pieces)

    @property
    def open(self) -> Bits | None:
        """As `Column.open`."""
        if all(piece.open is None for piece in self.pieces):
            return None
        none = [np.zeros(-(-piece.rows // 8), dtype=np.uint8) for piece in self.pieces]
        return np.concatenate(
            [n if p.open is None else p.open for n, p in zip(none, self.pieces, strict=True)]
        )

    def matching(self, wanted: Wanted, params: TextIndexParams | None = None) -> Bounds:
        """As `Column.matching`."""
        return self._bounds(lambda piece: piece.matching(wanted, params))

    def tokens(
        self, match: TextMatch, params: TextIndexParams, one_object: bool = False
    ) -> Bounds | None:
        """As `Column.tokens`."""
        found = [piece.tokens(match, params, one_object) for piece in self.pieces]
        told = [bounds for bounds in found if bounds is not None]
        if len(told) < len(found):
            return None
        return _joined(told)

    def occurrences(self, tokens: Sequence[str], params: TextIndexParams) -> Occurrences | None:
        """As `Column.occurrences`."""
        found = [(start, piece.occurrences(tokens, params)) for start, piece in self._starts()]
        told = [(start, each) for start, each in found if each is not None]
        if len(told) < len(found):
            return None
        return Occurrences(
            np.concatenate([each.lengths for _, each in told]),
            [
                (
                    np.concatenate([each.having[number][0] + start for start, each in told]),
                    np.concatenate([each.having[number][1] for _, each in told]),
                )
                for number in range(len(tokens))
            ],
        )

    def counted(self, bounds: ValuesCount) -> Bounds:
        """As `Column.counted`."""
        return self._bounds(lambda piece: piece.counted(bounds))

    def empty(self) -> Bits:
        """As `Column.empty`."""
        return np.concatenate([piece.empty() for piece in self.pieces])

    def null(self) -> Bits:
        """As `Column.null`."""
        return np.concatenate([piece.null() for piece in self.pieces])

    def _bounds(self, of: Callable[[Column], Bounds]) -> Bounds:
        return _joined([of(piece) for piece in self.pieces])

    def facet(self, mask: Bits | None = None) -> list[Facet]:
        """As `Column.facet`, a value in several of them."""
        found = []
        for start, piece in self._starts():
            found += piece.facet(_part(mask, start, piece.rows))
        return found

    def members(self, mask: Bits) -> Iterator[Entries]:
        """As `Column.members`."""
        for first, piece in self._starts():
            part = mask[first // 8 : -(-(first + piece.rows) // 8)]
            for entries in piece.members(part):
                yield entries._replace(rows=entries.rows + first)

    def ordered(
        self, mask: Bits | None, start: float | None, descending: bool, count: int
    ) -> tuple[list[int | float], Offsets]:
        """As `Column.ordered`, with more entries: those of each piece that come first there."""
        values: list[int | float] = []
        owners = []
        for first, piece in self._starts():
            part = _part(mask, first, piece.rows)
            found, rows = piece.ordered(part, start, descending, count)
            values += found
            owners.append(rows + first)
        return values, np.concatenate(owners)

    def _starts(self) -> list[tuple[int, Column]]:
        starts, start = [], 0
        for piece in self.pieces:
            starts.append((start, piece))
            start += piece.rows
        return starts


def _part(mask: Bits | None, start: int, rows: int) -> Bits | None:
    return None if mask is None else mask[start // 8 : -(-(start + rows) // 8)]


def _joined(several: list[Bounds]) -> Bounds:
    surely = np.concatenate([each[0] for each in several])
    if all(true is open_ for true, open_ in several):
        return exactly(surely)
    return surely, np.concatenate([each[1] for each in several])
