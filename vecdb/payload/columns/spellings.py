"""Spellings: moments and UUIDs, which are strings in JSON, in the few bytes that tell them.

A section of such strings has one spelling, from which each is written again to the letter. Strings
of any other spelling stay in the dictionary of texts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb.payload.columns.body import Array, Reader, Writer, whole
from vecdb.payload.columns.codings import NumberCoding, positions, read_numbers
from vecdb.payload.columns.keys import LEAST, NOTHING, Interval, Keys
from vecdb.storage.format import DamageError

Flags = npt.NDArray[np.bool_]

_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d(?:([T ])\d\d:\d\d:\d\d(?:\.(\d{1,6}))?(Z|\+00:00|))?", re.ASCII
)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)

_DAY = 86_400_000_000
_DAYS_OF_MONTH = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


# -- moments -----------------------------------------------------------------------------------


How = tuple[str, int, str]
"""What stands between date and time, digits of the fraction, the zone. ``("", 0, "")``: a date."""


class Spelling:
    """One way to write moments: a date, with a time in UTC or without one."""

    def __init__(self, how: How) -> None:
        self.how = between, digits, zone = how
        self.between, self.digits, self.zone = how
        fraction = "." + "0" * digits if digits else ""
        time = f"{between}00:00:00{fraction}{zone}" if between else ""
        self._template = np.frombuffer(f"0000-00-00{time}".encode(), dtype=np.uint8)
        self.length = len(self._template)
        zone_at = self.length - len(zone)
        places = np.arange(self.length)
        self._digits = (self._template == ord("0")) & (places < zone_at)

    @staticmethod
    def of(text: str) -> How | None:
        """How a text is written."""
        match = _MOMENT.fullmatch(text)
        if match is None:
            return None
        between, fraction, zone = match.groups()
        return between or "", len(fraction or ""), zone or ""

    def read(self, texts: npt.NDArray[np.uint8]) -> tuple[Keys, Flags]:
        """The microseconds of texts ``uint8 (n, length)``, and which of them are moments in this
        spelling: the others have no meaning."""
        numbers = texts - np.uint8(ord("0"))  # what is below wraps to a large number
        good = np.where(self._digits, numbers <= 9, texts == self._template).all(axis=1)

        def number(start: int, end: int) -> npt.NDArray[np.int64]:
            places = 10 ** np.arange(end - start - 1, -1, -1, dtype=np.int64)
            return numbers[:, start:end].astype(np.int64) @ places

        year, month, day = number(0, 4), number(5, 7), number(8, 10)
        good &= (year >= 1) & (month >= 1) & (month <= 12)
        leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
        longest = _DAYS_OF_MONTH[np.where(good, month, 0)] + (leap & (month == 2))
        good &= (day >= 1) & (day <= longest)
        months = np.where(good, (year - 1970) * 12 + month - 1, 0)
        days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day - 1
        keys = days * _DAY
        if self.between:
            hour, minute, second = number(11, 13), number(14, 16), number(17, 19)
            good &= (hour <= 23) & (minute <= 59) & (second <= 59)
            keys += ((hour * 60 + minute) * 60 + second) * 1_000_000
            if self.digits:
                keys += number(20, 20 + self.digits) * 10 ** (6 - self.digits)
        return keys, good

    def write(self, keys: Keys) -> list[str]:
        """The texts of moments. Raises DamageError."""
        if len(keys) and not _FIRST <= int(keys.min()) <= int(keys.max()) <= _LAST:
            raise DamageError("a column has a moment before the year 1 or after 9999")
        unit = "us" if self.digits else "s" if self.between else "D"
        moments = keys.astype("datetime64[us]").astype(f"datetime64[{unit}]")
        texts: list[str] = np.datetime_as_string(moments).tolist()
        end = 20 + self.digits if self.digits else self.length - len(self.zone)
        if not self.between:
            return texts
        return [f"{text[:10]}{self.between}{text[11:end]}{self.zone}" for text in texts]


_FIRST = int(np.datetime64("0001-01-01", "us").astype(np.int64))
_LAST = int(np.datetime64("9999-12-31T23:59:59.999999", "us").astype(np.int64))


class Moments:
    """Strings that are moments in one spelling."""

    synonyms = False

    def __init__(self, spelling: Spelling, numbers: NumberCoding) -> None:
        self.spelling, self.numbers = spelling, numbers
        self.count = numbers.count

    def find_all(self, texts: Sequence[str]) -> list[Interval]:
        keys, good = self.spelling.read(matrix(texts, self.spelling.length)[1])
        return [self.numbers.interval((key, key)) for key in keys[good].tolist()]

    def prefix(self, text: str) -> list[Interval] | None:
        return None

    def within(self, moments: Interval) -> list[Interval]:
        return [self.numbers.interval(moments)]

    def values(self, codes: Array) -> list[str]:
        return self.spelling.write(self.numbers.keys(codes))

    def moments(self, codes: Array) -> Keys:
        return self.numbers.keys(codes)

    @property
    def nbytes(self) -> int:
        return self.numbers.nbytes

    def verify(self) -> None:
        """Raises DamageError for what is no moment."""

    def pack(self, writer: Writer) -> list[Any]:
        return ["moments", *self.spelling.how, self.numbers.pack(writer)]

    @classmethod
    def read(cls, facts: list[Any], reader: Reader) -> Moments:
        """Raises DamageError."""
        if len(facts) != 4:
            raise DamageError(f"no moments are {facts!r:.60}")
        between, digits, zone, numbers = facts
        if between not in ("", "T", " ") or zone not in ("", "Z", "+00:00"):
            raise DamageError(f"no moment is written with {between!r:.60} and {zone!r:.60}")
        how = between, whole(digits, 0, 6), zone
        return cls(Spelling(how), read_numbers(numbers, reader))


# -- UUIDs -------------------------------------------------------------------------------------

_UUID_TEMPLATE = "00000000-0000-0000-0000-000000000000"
_HYPHENS = (8, 13, 18, 23)
_HEX = np.full(256, 255, dtype=np.uint8)
_HEX[np.frombuffer(b"0123456789abcdef", dtype=np.uint8)] = np.arange(16)
_HEX_PLACES = [place for place in range(36) if place not in _HYPHENS]


class Uuids:
    """Strings that are UUIDs in lower case with hyphens: a sorted list of 16 bytes each."""

    length = len(_UUID_TEMPLATE)
    synonyms = False

    def __init__(self, listed: npt.NDArray[np.uint8]) -> None:
        self._listed = listed  # uint8 (n, 16)
        self._ordered = listed.reshape(-1).view("S16")
        self.count = len(listed)

    @staticmethod
    def spells(text: str) -> bool:
        """Whether a text is one."""
        return _UUID.fullmatch(text) is not None

    @staticmethod
    def parse(texts: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], Flags]:
        """The bytes of texts ``uint8 (n, 36)``, and which of them are UUIDs."""
        digits = _HEX[texts[:, _HEX_PLACES]]
        good = (digits < 16).all(axis=1) & (texts[:, _HYPHENS] == ord("-")).all(axis=1)
        return (digits[:, ::2] << 4 | digits[:, 1::2] & 15).astype(np.uint8), good

    def find_all(self, texts: Sequence[str]) -> list[Interval]:
        wanted, good = self.parse(matrix(texts, self.length)[1])
        ordered = np.ascontiguousarray(wanted[good]).reshape(-1).view("S16")
        first = np.searchsorted(self._ordered, ordered, side="left") + 1
        last = np.searchsorted(self._ordered, ordered, side="right")
        return list(zip(first.tolist(), last.tolist(), strict=True))

    def prefix(self, text: str) -> list[Interval]:
        return [self._beginning(text)]

    def _beginning(self, text: str) -> Interval:
        least = text + _UUID_TEMPLATE[len(text) :]
        most = text + _UUID_TEMPLATE.replace("0", "f")[len(text) :]
        if not self.spells(least):
            return NOTHING
        low, high = (bytes.fromhex(each.replace("-", "")) for each in (least, most))
        first = np.searchsorted(self._ordered, np.bytes_(low), side="left")
        last = np.searchsorted(self._ordered, np.bytes_(high), side="right")
        return int(first) + 1, int(last)

    def within(self, moments: Interval) -> list[Interval]:
        return []  # none names a moment

    def moments(self, codes: Array) -> Keys:
        return np.full(len(codes), LEAST, dtype=np.int64)

    def values(self, codes: Array) -> list[str]:
        rows = self._listed[positions(codes, self.count)]
        texts = (bytes(row).hex() for row in rows)
        return [f"{t[:8]}-{t[8:12]}-{t[12:16]}-{t[16:20]}-{t[20:]}" for t in texts]

    @property
    def nbytes(self) -> int:
        return self._listed.nbytes

    def verify(self) -> None:
        if (self._ordered[1:] <= self._ordered[:-1]).any():
            raise DamageError("a column has UUIDs that are not sorted")

    def pack(self, writer: Writer) -> list[Any]:
        return ["uuids", writer.put(self._listed.reshape(-1))]

    @classmethod
    def read(cls, facts: list[Any], reader: Reader) -> Uuids:
        """Raises DamageError."""
        listed = reader.array(facts[0] if facts else None, width=1)
        if len(listed) % 16:
            raise DamageError(f"UUIDs of {len(listed)} bytes")
        return cls(listed.reshape(-1, 16))


def matrix(
    texts: Sequence[str], length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Those of some texts that have ``length`` letters, all of them ASCII: their positions, and
    their bytes, ``uint8 (n, length)``."""
    chosen = [at for at, text in enumerate(texts) if len(text) == length and text.isascii()]
    data = "".join([texts[at] for at in chosen]).encode()
    return (
        np.array(chosen, dtype=np.int64),
        np.frombuffer(data, dtype=np.uint8).reshape(-1, length),
    )
