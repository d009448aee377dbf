"""Tokens: which rows have which tokens of a text index (`vecdb.payload.texts`), and how often."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import structs

from vecdb.models.conditions import MatchPhrase, MatchText, MatchTextAny
from vecdb.models.payload_schema import TextIndexParams
from vecdb.payload.columns.body import Array, Reader, Writer
from vecdb.payload.columns.frequencies import Frequencies, Occurrences
from vecdb.payload.columns.sections import Offsets, Section
from vecdb.payload.columns.strings import Strings, encoded
from vecdb.payload.columns.three_valued import Bits, every_row
from vecdb.payload.texts import BREAK, query_tokenizer, tokenizer
from vecdb.storage.format import DamageError, unpack_bits

TextMatch = MatchText | MatchTextAny | MatchPhrase


def counts_tokens(params: TextIndexParams | None) -> bool:
    """Whether a column of a text index has frequencies: the index ranks rows, each as one
    document."""
    return params is not None and bool(params.scoring) and params.nested is None


def rules_of(params: TextIndexParams) -> str:
    """What of a text index makes the tokens of a text. An index with other rules has others."""
    same = structs.replace(
        params,
        on_disk=None,
        memory=None,
        enable_hnsw=None,
        phrase_matching=None,
        scoring=None,
        nested=None,
    )
    return msgspec.json.encode(same).decode()


class Tokens:
    """The tokens that ``rows`` rows have, each token of a row once."""

    def __init__(
        self,
        rules: str,
        strings: Strings,
        section: Section,
        frequencies: Frequencies | None = None,
    ) -> None:
        self.rules = rules
        self._strings, self._section = strings, section
        self._frequencies = frequencies

    @classmethod
    def of(
        cls,
        rules: str,
        rows: int,
        owners: Offsets,
        numbers: npt.NDArray[Any],
        texts: Sequence[str],
        lengths: Array | None = None,
        repeated: tuple[Offsets, npt.NDArray[Any]] | None = None,
    ) -> Tokens:
        """Of tokens by their numbers in a list, in the order of the rows whose they are.
        ``lengths``, if they are counted: how many tokens each row has; ``repeated``: rows that have
        a token several times, and of each the token's number and how often."""
        present, where = np.unique(numbers, return_inverse=True)
        found = sorted((encoded(texts[number]), at) for at, number in enumerate(present.tolist()))
        code_of = np.zeros(len(present), dtype=np.uint64)
        code_of[[at for _, at in found]] = np.arange(1, len(found) + 1, dtype=np.uint64)
        strings = Strings.of([token for token, _ in found])
        frequencies = None
        if lengths is not None and repeated is not None:
            whose, several = repeated
            codes = code_of[np.searchsorted(present, several[:, 0])]
            frequencies = Frequencies.of(lengths, codes, whose, several[:, 1])
        section = Section.of(rows, owners, code_of[where], len(found))
        return cls(rules, strings, section, frequencies)

    def matching(self, match: TextMatch, params: TextIndexParams) -> tuple[Bits, bool]:
        """The rows that have the tokens asked for, and whether one of them is enough. Raises
        DamageError."""
        if isinstance(match, MatchTextAny):
            wanted = set(query_tokenizer(params)(match.text_any))
            return self._section.mask([self._strings.find(token) for token in wanted]), True
        if isinstance(match, MatchPhrase):
            tokens = tokenizer(params)(match.phrase)
            # A phrase may have a token twice: then it is not enough that a row has it.
            phrase = list(takewhile(lambda token: token != BREAK, tokens))
            wanted, surely = set(phrase), len(phrase) == 1
        else:
            wanted = set(query_tokenizer(params)(match.text))
            surely = len(wanted) == 1
        if not wanted:
            return self._section.mask([]), True
        return self._having(wanted), surely

    def occurrences(self, tokens: Sequence[str]) -> Occurrences | None:
        """Where some tokens are; None: they were not counted. Raises DamageError."""
        frequencies = self._frequencies
        if frequencies is None:
            return None
        having = []
        for token in tokens:
            code, last = self._strings.find(token)
            rows = np.flatnonzero(unpack_bits(self._section.mask([(code, last)]), self.rows))
            # What is not there has no code, so that of another must not be asked for.
            having.append((rows, frequencies.counts(code, rows) if code <= last else rows))
        return Occurrences(frequencies.lengths, having)

    def of_text(self, text: str, params: TextIndexParams) -> Bits:
        """The rows that have all tokens of a text, as those must that have the text. Raises
        DamageError."""
        return self._having(set(tokenizer(params)(text)) - {BREAK})

    def _having(self, wanted: set[str]) -> Bits:
        bits = every_row(self._section.rows)
        for token in wanted:
            bits &= self._section.mask([self._strings.find(token)])
        return bits

    @property
    def rows(self) -> int:
        """How many rows it is of."""
        return self._section.rows

    @property
    def nbytes(self) -> int:
        """Of the arrays."""
        counted = 0 if self._frequencies is None else self._frequencies.nbytes
        return self._strings.nbytes + self._section.nbytes + counted

    def pack(self, writer: Writer) -> list[Any]:
        """The facts that ``read`` reads, without the frequencies."""
        return [self.rules, self._strings.pack(writer), self._section.pack(writer)]

    def pack_frequencies(self, writer: Writer) -> list[Any] | None:
        """What stands beside them in the file, where an older vecdb looks for nothing."""
        return None if self._frequencies is None else self._frequencies.pack(writer)

    @classmethod
    def read(cls, facts: list[Any], reader: Reader, rows: int, frequencies: Any = None) -> Tokens:
        """Raises DamageError."""
        rules, strings, section = facts
        if type(rules) is not str:
            raise DamageError(f"tokens by the rules {rules!r:.60}")
        return cls(
            rules,
            Strings.read(strings, reader),
            Section.read(section, reader, rows),
            None if frequencies is None else Frequencies.read(frequencies, reader, rows),
        )

    def verify(self) -> None:
        """Raises DamageError for what ``of`` would not have made."""
        self._section.verify(self._strings.count)
        self._strings.verify()
        if self._frequencies is not None:
            self._frequencies.verify(self._strings.count)
