"""Column: what the rows of a segment have at one path of their payloads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb.models.conditions import MatchPhrase, Range, ValuesCount
from vecdb.models.payload_schema import TextIndexParams
from vecdb.payload.columns.body import Array, Reader, Writer, whole
from vecdb.payload.columns.codings import NumberCoding, Stepped, read_numbers
from vecdb.payload.columns.entries import Entries, Facet, facet_of
from vecdb.payload.columns.frequencies import Occurrences
from vecdb.payload.columns.keys import (
    LEAST,
    MOST,
    Interval,
    float_interval,
    floats_of_keys,
    int_interval,
)
from vecdb.payload.columns.places import Places
from vecdb.payload.columns.sections import Offsets, Section
from vecdb.payload.columns.texts import TextCoding, read_texts
from vecdb.payload.columns.three_valued import Bits, Bounds, exactly, no_row, union
from vecdb.payload.columns.tokens import TextMatch, Tokens, rules_of
from vecdb.payload.columns.wanted import Wanted
from vecdb.storage.format import DamageError, pack_bits

BOOLS = Stepped(0, 1, 2)


class Numbers(NamedTuple):
    """The numbers of a column that are of one type."""

    coding: NumberCoding
    section: Section

    def mask(self, wanted: Sequence[Interval]) -> Bits:
        """Bits of the rows with a number whose key is in any of some intervals."""
        return self.section.mask([self.coding.interval(keys) for keys in wanted])


class Texts(NamedTuple):
    """Strings of a column."""

    coding: TextCoding
    section: Section


class Flags(Struct):
    """What is known of every row, one bit each. None: true of no row."""

    empty: Bits | None = None
    """It has nothing at the path but nulls and empty arrays."""
    null: Bits | None = None
    """A value is null, or an array that holds a null."""
    rest: Bits | None = None
    """A value is an object or an array in an array."""
    huge: Bits | None = None
    """A value is an integer that does not fit 64 bits with a sign, which the column has not."""
    long: Bits | None = None
    """A value is a string that is too long for the column."""


class Column:
    """All scalar values of ``rows`` rows at ``path``. Immutable.

    Its bytes may be a mapped file, which can be damaged where nobody looked yet: every method that
    reads them raises DamageError.
    """

    def __init__(
        self,
        path: str,
        rows: int,
        flags: Flags,
        counts: tuple[Array, Array] | None = None,
        bools: Section | None = None,
        ints: Numbers | None = None,
        floats: Numbers | None = None,
        texts: Sequence[Texts] = (),
        longest: int = 0,
        places: Places | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        self.path, self.rows = path, rows
        self._flags = flags
        # The fewest and the most elements that a value of the row has. None: 0 where the row is
        # empty, 1 elsewhere.
        self._counts = counts
        self._bools, self._ints, self._floats, self._texts = bools, ints, floats, texts
        self._longest = longest  # letters of a string that is kept
        self._places, self._tokens = places, tokens

    @property
    def open(self) -> Bits | None:
        """Rows of which it does not have all values; None: it has those of every row."""
        huge, long = self._flags.huge, self._flags.long
        if huge is None or long is None:
            return long if huge is None else huge
        return huge | long

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        flags = self._flags
        arrays = [flags.empty, flags.null, flags.rest, flags.huge, flags.long]
        arrays += self._counts or ()
        parts: list[Any] = [self._bools, self._places, self._tokens]
        for held in (self._ints, self._floats, *self._texts):
            parts += held or ()
        return sum(each.nbytes for each in (*arrays, *parts) if each is not None)

    # -- conditions ------------------------------------------------------------------------------

    def matching(self, wanted: Wanted, params: TextIndexParams | None = None) -> Bounds:
        """The rows with a value that is wanted. ``params``: the text index of the field."""
        flags, found, open_ = self._flags, [], []
        if self._bools is not None and wanted.bools:
            found.append(self._bools.mask([BOOLS.interval(keys) for keys in wanted.bools]))
        if self._ints is not None and wanted.ints:
            found.append(self._ints.mask(wanted.ints))
        if self._floats is not None and (floats := wanted.floats()):
            found.append(self._floats.mask(floats))
        if wanted.ints and flags.huge is not None:
            open_.append(flags.huge)
        if wanted.texts is not None:
            for coding, section in self._texts:
                if (of_texts := wanted.texts(coding)) is not None:
                    found.append(section.mask(of_texts))
                else:
                    open_.append(section.mask([(1, coding.count)]))
            if flags.long is not None:
                self._add_long(wanted, flags.long, params, found, open_)
        if wanted.area is not None and self._places is not None:
            found.append(self._places.within(wanted.area))
        if wanted.rest and flags.rest is not None:
            found.append(flags.rest)
        surely = union(found, self.rows)
        return surely, union([surely, *open_], self.rows) if open_ else surely

    def _add_long(
        self,
        wanted: Wanted,
        long: Bits,
        params: TextIndexParams | None,
        found: list[Bits],
        open_: list[Bits],
    ) -> None:
        """Add the rows that have one of the strings wanted, or may have, among those that are too
        long for the column."""
        listed = [text for text in wanted.listed or () if len(text) > self._longest]
        if wanted.rest and not listed:
            found.append(long)
        elif wanted.listed is None or wanted.rest:
            open_.append(long)
        elif params is None or (tokens := self._tokens_by(params)) is None:
            open_ += [long] if listed else []
        else:
            open_ += [long & tokens.of_text(text, params) for text in listed]

    def tokens(
        self, match: TextMatch, params: TextIndexParams, one_object: bool = False
    ) -> Bounds | None:
        """The rows whose texts have what a text index finds; None: the column is of no such index.
        ``one_object``: one object of an array must have it by itself."""
        tokens = self._tokens_by(params)
        if tokens is None:
            return None
        bits, one_is_enough = tokens.matching(match, params)
        # Of several tokens it is not known whether they stand in a row, or in one object.
        apart = isinstance(match, MatchPhrase) or one_object or params.nested is not None
        return (bits if one_is_enough or not apart else no_row(self.rows)), bits

    def occurrences(self, tokens: Sequence[str], params: TextIndexParams) -> Occurrences | None:
        """Where some tokens are, and how often; None: the column is of no such index."""
        found = self._tokens_by(params)
        return None if found is None else found.occurrences(tokens)

    def _tokens_by(self, params: TextIndexParams) -> Tokens | None:
        """The tokens, if it is this index that makes them."""
        tokens = self._tokens
        return tokens if tokens is not None and tokens.rules == rules_of(params) else None

    def empty(self) -> Bits:
        """The rows that ``is_empty`` is true of."""
        return no_row(self.rows) if self._flags.empty is None else self._flags.empty

    def null(self) -> Bits:
        """The rows that ``is_null`` is true of."""
        return no_row(self.rows) if self._flags.null is None else self._flags.null

    def counted(self, bounds: ValuesCount) -> Bounds:
        """The rows with a number of values in bounds."""
        first, last = int_interval(Range(**_given(bounds)))
        first = max(first, 0)
        if self._counts is None:
            empty = self.empty()
            parts = [empty] if first <= 0 <= last else []
            return exactly(union([*parts, ~empty] if first <= 1 <= last else parts, self.rows))
        fewest, most = self._counts
        first, last = (min(each, int(np.iinfo(np.int64).max)) for each in (first, last))
        fewest, most = fewest.astype(np.int64), most.astype(np.int64)
        # With several values, what lies between the fewest and the most is not known.
        surely = ((fewest >= first) & (fewest <= last)) | ((most >= first) & (most <= last))
        return pack_bits(surely), pack_bits((fewest <= last) & (most >= first))

    # -- values ----------------------------------------------------------------------------------

    def facet(self, mask: Bits | None = None) -> list[Facet]:
        """How many rows of a mask have each value. Rows that are ``open`` have more."""
        found = []
        if self._bools is not None:
            counts = self._bools.counts(mask, 2)
            found.append(Facet(counts, lambda at: [value == 1 for value in at.tolist()]))
        if self._ints is not None:
            of_ints = self._ints.coding
            found.append(
                facet_of(
                    self._ints.section, mask, of_ints.count, lambda c: of_ints.keys(c).tolist()
                )
            )
        for coding, section in self._texts:
            found.append(facet_of(section, mask, coding.count, coding.values))
        return found

    def members(self, mask: Bits) -> Iterator[Entries]:
        """The integers and strings of the rows of a mask that have no other values. Rows that are
        ``open`` have more. Raises DamageError."""
        others = [each for each in (self._flags.null, self._flags.rest) if each is not None]
        if self._bools is not None:
            others.append(self._bools.mask([(1, BOOLS.count)]))
        if self._floats is not None:
            others.append(self._floats.section.mask([(1, self._floats.coding.count)]))
        mask = mask & ~union(others, self.rows)
        if self._ints is not None:
            of_ints = self._ints.coding
            for rows, codes in self._ints.section.pairs(mask):
                yield Entries((int,), lambda n: [of_ints.interval((n, n))], codes, rows)
        for coding, section in self._texts:
            for rows, codes in section.pairs(mask):
                yield Entries((str,), partial(_find, coding), codes, rows)

    def ordered(
        self, mask: Bits | None, start: float | None, descending: bool, count: int
    ) -> tuple[list[int | float], Offsets]:
        """The entries of ``count`` rows of a mask that come first, and all that tie with the last:
        their values and rows, in no order. Values are numbers, and moments as microseconds, from
        ``start`` on. A row has an entry for each of its values. Rows that are ``open`` have more.
        """
        ends = Range(**({} if start is None else {"lte" if descending else "gte": start}))
        values: list[int | float] = []
        owners: list[Offsets] = []
        sources = 0
        for found, rows in self._placed(mask, ends, descending, count):
            values += found
            owners.append(rows)
            sources += len(rows) > 0
        rows = np.concatenate(owners) if owners else np.empty(0, dtype=np.int64)
        if sources < 2:
            return values, rows
        entries = dict.fromkeys(zip(values, rows.tolist(), strict=True))  # 1 and 1.0 of a row: once
        return [value for value, _ in entries], np.array([row for _, row in entries], np.int64)

    def _placed(
        self, mask: Bits | None, ends: Range, descending: bool, count: int
    ) -> Iterator[tuple[list[Any], Offsets]]:
        """The entries that come first of each type."""
        whole = int_interval(ends)
        for numbers, interval in ((self._ints, whole), (self._floats, _finite(ends))):
            if numbers is None:
                continue
            first, last = numbers.coding.interval(interval)
            for rows, codes in numbers.section.pairs(mask):
                inside = (codes >= max(first, 1)) & (codes <= last)
                rows, codes = _foremost(rows[inside], codes[inside], descending, count)
                keys = numbers.coding.keys(codes)
                found = keys if numbers is self._ints else floats_of_keys(keys)
                yield found.tolist(), rows
        first, last = max(whole[0], LEAST + 1), min(whole[1], MOST)
        for coding, section in self._texts:
            synonyms = coding.synonyms
            for rows, codes in section.pairs(mask):
                keys = coding.moments(codes)
                inside = (keys >= first) & (keys <= last) if first <= last else keys < keys
                rows, keys = rows[inside], keys[inside]
                if synonyms:  # before any are left out: a row counts once for a moment
                    rows, keys = _each_once(rows, keys)
                rows, keys = _foremost(rows, keys, descending, count)
                yield keys.tolist(), rows

    # -- bytes -----------------------------------------------------------------------------------

    def verify(self) -> None:
        """Read every number. Raises DamageError for what `build` would not have made."""
        if self._bools is not None:
            self._bools.verify(BOOLS.count)
        for numbers in (self._ints, self._floats):
            if numbers is not None:
                numbers.section.verify(numbers.coding.count)
        for coding, section in self._texts:
            section.verify(coding.count)
            coding.verify()
        if self._places is not None:
            self._places.verify()
        if self._tokens is not None:
            self._tokens.verify()

    def pack(self) -> list[Any]:
        """The buffers of a file's body, one after the other; docs/file-format.md has the layout."""
        writer = Writer()

        def put(array: Array | None) -> list[int] | None:
            return None if array is None else writer.put(array)

        def numbers(found: Numbers | None) -> list[Any] | None:
            return found and [found.coding.pack(writer), found.section.pack(writer)]

        flags = self._flags
        facts = {
            "path": self.path,
            "rows": self.rows,
            "flags": [
                put(each) for each in (flags.empty, flags.null, flags.rest, flags.huge, flags.long)
            ],
            "counts": self._counts and [put(each) for each in self._counts],
            "bools": self._bools and self._bools.pack(writer),
            "ints": numbers(self._ints),
            "floats": numbers(self._floats),
            "texts": [
                [each.coding.pack(writer), each.section.pack(writer)] for each in self._texts
            ],
            "longest": self._longest,
            "places": self._places and self._places.pack(writer),
            "tokens": self._tokens and self._tokens.pack(writer),
            "frequencies": self._tokens and self._tokens.pack_frequencies(writer),
        }
        return writer.pack(facts)

    @classmethod
    def read(cls, data: npt.NDArray[np.uint8], rows: int) -> Column:
        """The column of ``rows`` rows whose body these bytes are; its arrays are views of them.
        Raises DamageError."""
        reader = Reader(data)
        facts = reader.facts
        path = facts.get("path")
        if type(path) is not str or facts.get("rows") != rows:
            raise DamageError(f"a column of {facts.get('rows')!r:.60} rows, expected {rows}")

        def several(name: str, count: int | None) -> list[Any]:
            found = facts.get(name)
            if type(found) is not list or (count is not None and len(found) != count):
                raise DamageError(f"a column with the {name} {found!r:.60}")
            return found

        def numbers(name: str) -> Numbers | None:
            if facts.get(name) is None:
                return None
            coding, section = several(name, 2)
            return Numbers(read_numbers(coding, reader), Section.read(section, reader, rows))

        def texts(found: Any) -> Texts:
            if type(found) is not list or len(found) != 2:
                raise DamageError(f"no texts are {found!r:.60}")
            return Texts(read_texts(found[0], reader), Section.read(found[1], reader, rows))

        flags = [
            None if each is None else reader.array(each, -(-rows // 8), width=1)
            for each in several("flags", 5)
        ]
        counts = None
        if facts.get("counts") is not None:
            fewest, most = several("counts", 2)
            counts = reader.array(fewest, rows), reader.array(most, rows)
        bools = facts.get("bools")
        return cls(
            path,
            rows,
            Flags(*flags),
            counts,
            None if bools is None else Section.read(bools, reader, rows),
            numbers("ints"),
            numbers("floats"),
            [texts(each) for each in several("texts", None)],
            whole(facts.get("longest"), 0, MOST),
            Places.read(several("places", 3), reader, rows) if facts.get("places") else None,
            Tokens.read(several("tokens", 3), reader, rows, facts.get("frequencies"))
            if facts.get("tokens")
            else None,
        )


def _given(bounds: ValuesCount) -> dict[str, int | None]:
    return {"lt": bounds.lt, "gt": bounds.gt, "gte": bounds.gte, "lte": bounds.lte}


def _finite(ends: Range) -> Interval:
    """The keys of the floats in a range, NaN never."""
    first, last = float_interval(ends)
    return first, min(last, float_interval(Range(lte=float("inf")))[1])


def _find(coding: TextCoding, text: str) -> Sequence[Interval]:
    return coding.find_all([text])


def _each_once(rows: Offsets, numbers: Array) -> tuple[Offsets, Array]:
    """Entries without those that are there before."""
    order = np.lexsort((numbers, rows))
    rows, numbers = rows[order], numbers[order]
    first = np.ones(len(rows), dtype=np.bool_)
    first[1:] = (rows[1:] != rows[:-1]) | (numbers[1:] != numbers[:-1])
    return rows[first], numbers[first]


def _foremost(rows: Offsets, numbers: Array, descending: bool, count: int) -> tuple[Offsets, Array]:
    """The ``count`` entries whose numbers come first, and all that tie with the last."""
    if count >= len(numbers):
        return rows, numbers
    if count == 0:
        return rows[:0], numbers[:0]
    place = len(numbers) - count if descending else count - 1
    limit = np.partition(numbers, place)[place]
    chosen = numbers >= limit if descending else numbers <= limit
    return rows[chosen], numbers[chosen]
