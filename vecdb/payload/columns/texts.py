"""Texts: what the codings of strings have in common, and the dictionary that takes any string."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from vecdb.models.datetimes import parse_datetime, with_zone
from vecdb.payload.columns.body import Array, Reader, Writer, narrowest
from vecdb.payload.columns.codings import positions
from vecdb.payload.columns.keys import LEAST, MOST, Interval, Keys, microseconds
from vecdb.payload.columns.spellings import Moments, Uuids
from vecdb.payload.columns.strings import Strings
from vecdb.storage.format import DamageError


class TextCoding(Protocol):
    """Strings as codes 1, 2, …"""

    count: int
    """The highest code."""

    @property
    def synonyms(self) -> bool:
        """Whether several codes may name one moment."""
        ...

    def find_all(self, texts: Sequence[str]) -> list[Interval]:
        """The codes of some texts, each an interval; those that have none may be empty ones."""
        ...

    def prefix(self, text: str) -> list[Interval] | None:
        """The codes of the texts that begin with ``text``; None: it cannot say."""
        ...

    def within(self, moments: Interval) -> list[Interval]:
        """The codes of the texts that name a moment in an interval of microseconds."""
        ...

    def values(self, codes: Array) -> list[str]:
        """The texts of some codes. Raises DamageError."""
        ...

    def moments(self, codes: Array) -> Keys:
        """The moments that the texts of some codes name, LEAST for none. Raises DamageError."""
        ...

    @property
    def nbytes(self) -> int:
        """Of the arrays."""
        ...

    def verify(self) -> None:
        """Raises DamageError for what `build` would not have made."""
        ...

    def pack(self, writer: Writer) -> list[Any]:
        """The facts that ``read_texts`` reads."""
        ...


class Dictionary:
    """Any strings. Those that name moments, in whatever spelling, are sorted by them as well."""

    def __init__(self, strings: Strings, moments: Keys, moment_codes: Array) -> None:
        self._strings = strings
        self._moments, self._moment_codes = moments, moment_codes
        self.count = strings.count
        self.find_all, self.values = strings.find_all, strings.values

    @classmethod
    def of(cls, texts: Sequence[str], encoded: Sequence[bytes]) -> Dictionary:
        """Of sorted distinct texts, and these in UTF-8."""
        found = [
            (microseconds(with_zone(moment)), code)
            for code, text in enumerate(texts, 1)
            if "-" in text
            and text.lstrip()[:1].isdigit()  # few are looked at more closely
            and (moment := parse_datetime(text)) is not None
        ]
        found.sort()
        return cls(
            Strings.of(encoded),
            np.array([moment for moment, _ in found], dtype=np.int64),
            np.array([code for _, code in found], dtype=narrowest(len(texts))),
        )

    @property
    def synonyms(self) -> bool:
        return bool(np.any(self._moments[1:] == self._moments[:-1]))

    def prefix(self, text: str) -> list[Interval]:
        return [self._strings.prefix(text)]

    def within(self, moments: Interval) -> list[Interval]:
        first, last = max(moments[0], LEAST), min(moments[1], MOST)
        if first > last:
            return []
        begin = np.searchsorted(self._moments, np.int64(first), side="left")
        end = np.searchsorted(self._moments, np.int64(last), side="right")
        return [(code, code) for code in self._moment_codes[begin:end].tolist()]

    def moments(self, codes: Array) -> Keys:
        of_text = np.full(self.count, LEAST, dtype=np.int64)
        of_text[positions(self._moment_codes, self.count)] = self._moments
        return of_text[positions(codes, self.count)]

    @property
    def nbytes(self) -> int:
        return self._strings.nbytes + self._moments.nbytes + self._moment_codes.nbytes

    def verify(self) -> None:
        self._strings.verify()
        positions(self._moment_codes, self.count)

    def pack(self, writer: Writer) -> list[Any]:
        moments = [writer.put(self._moments), writer.put(self._moment_codes)]
        return ["dictionary", self._strings.pack(writer), *moments]

    @classmethod
    def read(cls, facts: list[Any], reader: Reader) -> Dictionary:
        """Raises DamageError."""
        if len(facts) != 3:
            raise DamageError("a dictionary without moments")
        moments = reader.keys(facts[1])
        return cls(Strings.read(facts[0], reader), moments, reader.array(facts[2], len(moments)))


_READERS: dict[str, Callable[[list[Any], Reader], TextCoding]] = {
    "dictionary": Dictionary.read,
    "moments": Moments.read,
    "uuids": Uuids.read,
}


def read_texts(facts: Any, reader: Reader) -> TextCoding:
    """A coding of strings from its facts. Raises DamageError."""
    if type(facts) is list and facts and type(facts[0]) is str and facts[0] in _READERS:
        return _READERS[facts[0]](facts[1:], reader)
    raise DamageError(f"no coding of strings is {facts!r:.60}")
