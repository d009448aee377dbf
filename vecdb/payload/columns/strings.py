"""Strings: a sorted dictionary of texts in UTF-8, the bytes one after another.

Beside the bytes stands the length of each text, and of every 64th where it starts: little beside
the texts, as offsets of all would not be.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb.payload.columns.body import Array, Reader, Writer, narrowest
from vecdb.payload.columns.codings import positions
from vecdb.payload.columns.keys import NOTHING, Interval
from vecdb.storage.format import DamageError

_BLOCK = 64
_HEADS = 64
"""A binary search takes about as long as to read the first texts of so many blocks."""


class Strings:
    """Sorted distinct texts, whose codes are 1, 2, …"""

    def __init__(self, texts: npt.NDArray[np.uint8], lengths: Array, starts: Array) -> None:
        self._bytes = texts
        self._texts = memoryview(texts)  # type: ignore[arg-type]
        self._lengths = lengths
        self._starts = starts  # of text 0, 64, 128, …
        self.count = len(lengths)

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> Strings:
        """Of sorted distinct texts."""
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        ends = np.cumsum(lengths)
        starts = (ends - lengths)[::_BLOCK]
        size = int(ends[-1]) if len(texts) else 0
        return cls(
            np.frombuffer(b"".join(texts), dtype=np.uint8),
            lengths.astype(narrowest(int(lengths.max(initial=0)))),
            starts.astype(narrowest(size)),
        )

    def find(self, text: str) -> Interval:
        """The code of a text."""
        wanted = encoded(text)
        if not wanted:  # the first of all, if it is there
            return (1, 1) if self.count and self._lengths[0] == 0 else NOTHING
        block = bisect_right(range(len(self._starts)), wanted, key=self._head) - 1
        if block < 0:
            return NOTHING
        first, at = block * _BLOCK, int(self._starts[block])
        ends = self._lengths[first : first + _BLOCK].cumsum(dtype=np.int64)
        texts = bytes(self._texts[at : at + int(ends[-1])])
        # The bytes may also stand inside a longer text, or across two.
        where = texts.find(wanted)
        while where >= 0:
            number = int(ends.searchsorted(where, side="right"))
            if int(ends[number]) == where + len(wanted):
                begin = int(ends[number - 1]) if number else 0
                if begin == where:
                    return first + number + 1, first + number + 1
            where = texts.find(wanted, where + 1)
        return NOTHING

    def find_all(self, texts: Sequence[str]) -> list[Interval]:
        """The codes of those of some texts that there are."""
        if len(texts) == 1 or _HEADS * len(texts) < len(self._starts):
            return [self.find(text) for text in texts]
        heads = [self._head(block) for block in range(len(self._starts))]
        of_block: dict[int, list[bytes]] = {}
        for text in texts:
            wanted = encoded(text)
            of_block.setdefault(bisect_right(heads, wanted) - 1, []).append(wanted)
        of_block.pop(-1, None)  # they come before all
        found = []
        for block, some in of_block.items():
            first = block * _BLOCK
            codes = {text: code for code, text in enumerate(self._texts_of(block), first + 1)}
            found += [codes[wanted] for wanted in some if wanted in codes]
        return [(code, code) for code in found]

    def prefix(self, text: str) -> Interval:
        """The codes of the texts that begin with ``text``."""
        wanted = encoded(text)
        beyond = _successor(wanted)
        return self._from(wanted), self.count if beyond is None else self._from(beyond) - 1

    def values(self, codes: Array) -> list[str]:
        """The texts of some codes. Raises DamageError."""
        at = positions(codes, self.count)
        if len(at) < len(self._starts):
            found: list[Any] = [self._text(number + 1) for number in at.tolist()]
        else:
            lengths = self._lengths.astype(np.int64)
            begins = np.cumsum(lengths) - lengths
            spans = zip(begins[at].tolist(), lengths[at].tolist(), strict=True)
            found = [self._texts[begin : begin + length] for begin, length in spans]
        try:
            return [str(text, "utf-8", "surrogatepass") for text in found]
        except UnicodeDecodeError as error:
            raise DamageError(f"a column has a text that is none: {error}") from None

    def _from(self, wanted: bytes) -> int:
        """The code of the first text that is not less; one too many if all are."""
        low, high = 0, len(self._starts)  # blocks: the last whose first text is less, and after
        while low < high:
            middle = (low + high) // 2
            if self._head(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            return 1
        first = (low - 1) * _BLOCK
        for code, text in enumerate(self._texts_of(low - 1), first + 1):
            if text >= wanted:
                return code
        return min(first + _BLOCK, self.count) + 1

    def _head(self, block: int) -> bytes:
        """The first text of a block."""
        at = int(self._starts[block])
        return bytes(self._texts[at : at + int(self._lengths[block * _BLOCK])])

    def _texts_of(self, block: int) -> Iterator[bytes]:
        """The texts of a block."""
        first, at = block * _BLOCK, int(self._starts[block])
        for length in self._lengths[first : first + _BLOCK].tolist():
            yield bytes(self._texts[at : at + length])
            at += length

    def _text(self, code: int) -> bytes:
        block, within = divmod(code - 1, _BLOCK)
        first = block * _BLOCK
        at = int(self._starts[block]) + int(
            self._lengths[first : first + within].sum(dtype=np.int64)
        )
        return bytes(self._texts[at : at + int(self._lengths[code - 1])])

    @property
    def nbytes(self) -> int:
        """Of the arrays."""
        return self._bytes.nbytes + self._lengths.nbytes + self._starts.nbytes

    def verify(self) -> None:
        """Raises DamageError for what is no text, or not sorted."""
        lengths = self._lengths.astype(np.int64)
        if not np.array_equal((np.cumsum(lengths) - lengths)[::_BLOCK], self._starts):
            raise DamageError("a column has texts that begin elsewhere")
        texts = self.values(np.arange(1, self.count + 1))
        if any(one >= other for one, other in pairwise(texts)):
            raise DamageError("a column has texts that are not sorted")

    def pack(self, writer: Writer) -> list[Any]:
        """The facts that ``read`` reads."""
        return [writer.put(self._bytes), writer.put(self._lengths), writer.put(self._starts)]

    @classmethod
    def read(cls, facts: Any, reader: Reader) -> Strings:
        """Raises DamageError."""
        if type(facts) is not list or len(facts) != 3:
            raise DamageError(f"no dictionary is {facts!r:.60}")
        lengths = reader.array(facts[1])
        starts = reader.array(facts[2], -(-len(lengths) // _BLOCK))
        return cls(reader.array(facts[0], width=1), lengths, starts)


def encoded(text: str) -> bytes:
    """UTF-8, in the order of code points; what a filter asks for may have lone surrogates."""
    return text.encode("utf-8", "surrogatepass")


def _successor(text: bytes) -> bytes | None:
    """The least text beyond all that begin with ``text``; None: there is none."""
    head = text.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else None
