"""Collecting: the values of rows, one after the other, and the column they become."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb.models.payload_schema import TextIndexParams
from vecdb.payload.columns.body import Array, narrowest
from vecdb.payload.columns.codings import number_coding
from vecdb.payload.columns.column import BOOLS, Column, Flags, Numbers, Texts
from vecdb.payload.columns.keys import LEAST, MOST, Keys, keys_of_floats
from vecdb.payload.columns.naming import spelled
from vecdb.payload.columns.places import Places
from vecdb.payload.columns.sections import Offsets, Section
from vecdb.payload.columns.spellings import Moments, Spelling, Uuids, matrix
from vecdb.payload.columns.strings import encoded
from vecdb.payload.columns.texts import Dictionary, TextCoding
from vecdb.payload.columns.three_valued import Bits
from vecdb.payload.columns.tokens import Tokens, counts_tokens, rules_of
from vecdb.payload.encoding import field_decoder
from vecdb.payload.geo import place
from vecdb.payload.paths import parse_path, selector
from vecdb.payload.texts import BREAK, tokenizer
from vecdb.storage.format import pack_bits

_SAMPLE = 64
"""Strings that are looked at for their spelling."""


LONGEST = 256
"""Letters of the strings that a column has. Longer ones are texts, which nobody asks for whole."""


def build(path: str, payloads: Iterable[Any], text: TextIndexParams | None = None) -> Column:
    """The column of a path, of stored payloads, one for each row. ``text``: the text index of the
    field, of which it then has the tokens, and no strings. Raises InvalidInputError for what is no
    path, DamageError for a payload that cannot be decoded."""
    collector = Collector(path, text)
    collector.extend(payloads)
    return collector.column(0, collector.rows)


class _Pairs:
    """Values of one type and the rows that have them, in the order of the rows."""

    def __init__(self, kind: str) -> None:
        self.rows = array("I")
        self.values: array[Any] = array(kind)

    @property
    def nbytes(self) -> int:
        """About how much memory they take."""
        return sys.getsizeof(self.rows) + sys.getsizeof(self.values)

    def between(self, begin: int, end: int) -> tuple[Offsets, Array]:
        """Those of some rows, numbered from 0 on. Copies, since an array in use cannot grow."""
        rows = np.array(self.rows)
        first, last = np.searchsorted(rows, (begin, end))
        values = np.array(self.values)
        if len(values) > len(rows):
            values = values.reshape(-1, 2)
        return rows[first:last].astype(np.int64) - begin, values[first:last]


class _Strings(_Pairs):
    """Strings and the rows that have them, each string once."""

    def __init__(self) -> None:
        super().__init__("I")  # numbers of texts
        self._numbers: dict[str, int] = {}
        self.texts: list[str] = []
        self._bytes = 0  # of the texts and their numbers

    @property
    def nbytes(self) -> int:
        return super().nbytes + self._bytes + sum(map(sys.getsizeof, (self._numbers, self.texts)))

    def add(self, row: int, text: str) -> int:
        """The number of the text."""
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self.texts)
            self.texts.append(text)
            self._bytes += sys.getsizeof(text) + sys.getsizeof(number)
        self.rows.append(row)
        self.values.append(number)
        return number


class Collector:
    """Takes payloads and keeps what they have at a path."""

    def __init__(self, path: str, text: TextIndexParams | None = None) -> None:
        steps = parse_path(path)
        self.path = spelled(steps)
        self.rows = 0
        self._select, self._decode = selector(steps), field_decoder(str(steps[0]))
        self._bools, self._ints, self._floats = _Pairs("B"), _Pairs("q"), _Pairs("d")
        self._strings = _Strings()
        self._places = _Pairs("d")  # two numbers each
        self._text = text
        self._longest = LONGEST if text is None else 0
        if text is not None:
            self._tokens, self._tokenize = _Strings(), tokenizer(text)
            self._counts_tokens = counts_tokens(text)
            self._of_row: list[str] = []  # the tokens of the row that is being taken
            # Of rows: how many tokens they have; and those they have several times, and how often.
            self._lengths, self._repeated = _Pairs("I"), _Pairs("I")
        self._empty, self._null, self._rest, self._huge, self._long = (array("I") for _ in range(5))
        # Rows where they are not as in most: the row, its fewest and most elements.
        self._counts = array("I")

    @property
    def nbytes(self) -> int:
        """About how much memory it takes."""
        values: list[_Pairs] = [self._bools, self._ints, self._floats, self._strings, self._places]
        if self._text is not None:
            values += [self._tokens, self._lengths, self._repeated]
        marks = self._empty, self._null, self._rest, self._huge, self._long, self._counts
        return sum(each.nbytes for each in values) + sum(map(sys.getsizeof, marks))

    def extend(self, payloads: Iterable[Any]) -> None:
        """Take the payloads of more rows. Raises DamageError."""
        select, decode, strings = self._select, self._decode, self._strings
        longest = self._longest
        for data in payloads:
            found = select(decode(data))
            row = self.rows
            self.rows = row + 1
            if len(found) == 1 and type(found[0]) is str and len(found[0]) <= longest:
                strings.add(row, found[0])  # the most frequent case, made fast
            else:
                self._take(row, found)
                if self._text is not None:
                    self._end_text(row)

    def _take(self, row: int, found: Sequence[Any]) -> None:
        empty = True
        counts = []
        for value in found:
            if type(value) is list:
                for element in value:
                    self._take_one(row, element)
                counts.append(len(value))
            else:
                self._take_one(row, value)
                counts.append(value is not None)
            empty = empty and (value is None or value == [])
        if empty:
            self._empty.append(row)
        elif (fewest := min(counts)) != 1 or max(counts) != 1:
            self._counts.extend((row, fewest, max(counts)))

    def _take_one(self, row: int, value: Any) -> None:
        kind = type(value)
        if kind is str:
            if len(value) <= self._longest:
                self._strings.add(row, value)
            else:
                self._long.append(row)
            if self._text is not None:
                self._of_row += self._tokenize(value)
        elif kind is int:
            if LEAST <= value <= MOST:
                self._ints.rows.append(row)
                self._ints.values.append(value)
            else:
                self._huge.append(row)
        elif kind is float:
            self._floats.rows.append(row)
            self._floats.values.append(value)
        elif kind is bool:
            self._bools.rows.append(row)
            self._bools.values.append(value)
        elif value is None:
            self._null.append(row)
        else:
            self._rest.append(row)
            if (at := place(value)) is not None:
                self._places.rows.append(row)
                self._places.values.extend(at)

    def _end_text(self, row: int) -> None:
        """Take the tokens of a row, which its texts have left."""
        if not self._of_row:
            return
        found = Counter(self._of_row)
        self._of_row.clear()
        found.pop(BREAK, None)
        for token, times in found.items():
            number = self._tokens.add(row, token)
            if times > 1 and self._counts_tokens:
                self._repeated.rows.append(row)
                self._repeated.values.extend((number, times))
        if self._counts_tokens:
            self._lengths.rows.append(row)
            self._lengths.values.append(sum(found.values()))

    # -- the column ------------------------------------------------------------------------------

    def column(self, begin: int, end: int) -> Column:
        """The column of the rows from ``begin`` to ``end``."""
        rows = end - begin

        def bits(marked: array[int]) -> Bits | None:
            found = np.array(marked)
            found = found[(found >= begin) & (found < end)]
            if not len(found):
                return None
            flags = np.zeros(rows, dtype=np.bool_)
            flags[found - begin] = True
            return pack_bits(flags)

        flags = Flags(*map(bits, (self._empty, self._null, self._rest, self._huge, self._long)))
        owners, bools = self._bools.between(begin, end)
        whose, places = self._places.between(begin, end)
        integers, (who, floats) = self._ints.between(begin, end), self._floats.between(begin, end)
        return Column(
            self.path,
            rows,
            flags,
            self._count_arrays(begin, end, flags.empty),
            Section.of(rows, owners, bools.astype(np.uint64) + np.uint64(1), BOOLS.count)
            if len(bools)
            else None,
            _numbers(rows, *integers),
            _numbers(rows, who, keys_of_floats(floats)),
            self._text_sections(rows, *self._strings.between(begin, end)),
            self._longest,
            Places.of(rows, places, whose) if len(places) else None,
            self._token_section(begin, end),
        )

    def _token_section(self, begin: int, end: int) -> Tokens | None:
        if self._text is None:
            return None
        owners, numbers = self._tokens.between(begin, end)
        rules, texts, rows = rules_of(self._text), self._tokens.texts, end - begin
        if not self._counts_tokens:
            return Tokens.of(rules, rows, owners, numbers, texts)
        whose, found = self._lengths.between(begin, end)
        lengths = np.zeros(rows, dtype=np.int64)
        lengths[whose] = found
        several, of_tokens = self._repeated.between(begin, end)
        repeated = several, of_tokens.reshape(-1, 2).astype(np.int64)
        return Tokens.of(rules, rows, owners, numbers, texts, lengths, repeated)

    def _count_arrays(self, begin: int, end: int, empty: Bits | None) -> tuple[Array, Array] | None:
        counted = np.array(self._counts).reshape(-1, 3).astype(np.int64)
        counted = counted[(counted[:, 0] >= begin) & (counted[:, 0] < end)]
        if not len(counted):
            return None
        usual = np.ones(end - begin, dtype=np.int64)
        if empty is not None:
            usual -= np.unpackbits(empty, count=end - begin, bitorder="little")
        arrays = []
        for found in (counted[:, 1], counted[:, 2]):
            counts = usual.copy()
            counts[counted[:, 0] - begin] = found
            arrays.append(counts.astype(narrowest(int(counts.max()))))
        return arrays[0], arrays[1]

    def _text_sections(self, rows: int, owners: Offsets, numbers: Array) -> list[Texts]:
        """The strings, in sections by how they are written."""
        if not len(numbers):
            return []
        present, where = np.unique(numbers, return_inverse=True)
        texts = [self._strings.texts[number] for number in present.tolist()]
        found = []
        left = np.arange(len(texts))
        if (short := _short_form(texts)) is not None:
            length, parse = short
            chosen, data = matrix(texts, length)
            coding, codes, good = parse(data)
            if coding is not None:
                chosen = chosen[good]
                code_of = np.zeros(len(texts), dtype=np.uint64)
                code_of[chosen] = codes
                found.append(_texts(rows, owners, code_of[where], coding))
                left = np.setdiff1d(left, chosen)
        if len(left):
            pairs = sorted((encoded(texts[at]), at) for at in left.tolist())
            order = np.array([at for _, at in pairs])
            code_of = np.zeros(len(texts), dtype=np.uint64)
            code_of[order] = np.arange(1, len(order) + 1, dtype=np.uint64)
            dictionary = Dictionary.of([texts[at] for at in order], [text for text, _ in pairs])
            found.append(_texts(rows, owners, code_of[where], dictionary))
        return found


def _numbers(rows: int, owners: Offsets, keys: Keys) -> Numbers | None:
    if not len(keys):
        return None
    coding = number_coding(np.unique(keys), max(rows, len(keys)))
    return Numbers(coding, Section.of(rows, owners, coding.codes(keys), coding.count))


def _texts(rows: int, owners: Offsets, codes: npt.NDArray[np.uint64], coding: TextCoding) -> Texts:
    mine = codes > 0
    return Texts(coding, Section.of(rows, owners[mine], codes[mine], coding.count))


_Split = tuple[TextCoding | None, npt.NDArray[np.uint64], npt.NDArray[np.bool_]]
"""A coding, the codes of the texts that it can say, and which these are."""


def _short_form(texts: Sequence[str]) -> tuple[int, Callable[..., _Split]] | None:
    """The length of most of some texts, by a sample of them, and what codes them, if they are
    moments or UUIDs."""
    some = texts[:: len(texts) // _SAMPLE + 1]
    if sum(map(Uuids.spells, some)) * 2 > len(some):
        return Uuids.length, _uuids
    (how, often), *_ = Counter(map(Spelling.of, some)).most_common(1)
    if how is None or often * 2 <= len(some):
        return None
    spelling = Spelling(how)
    return spelling.length, partial(_moments, spelling)


def _moments(spelling: Spelling, data: npt.NDArray[np.uint8]) -> _Split:
    keys, good = spelling.read(data)
    keys = keys[good]
    if not len(keys):
        return None, np.empty(0, dtype=np.uint64), good
    numbers = number_coding(np.unique(keys), len(keys))
    return Moments(spelling, numbers), numbers.codes(keys), good


def _uuids(data: npt.NDArray[np.uint8]) -> _Split:
    parsed, good = Uuids.parse(data)
    listed = parsed[good]
    if not len(listed):
        return None, np.empty(0, dtype=np.uint64), good
    order = np.argsort(np.ascontiguousarray(listed).view("S16").reshape(-1))
    codes = np.empty(len(listed), dtype=np.uint64)
    codes[order] = np.arange(1, len(listed) + 1, dtype=np.uint64)
    return Uuids(np.ascontiguousarray(listed[order])), codes, good
