"""Tokens: which rows have which tokens of a text index (`vecdb.payload.texts`) in their texts."""

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
from vecdb.payload.columns.body import Reader, Writer
from vecdb.payload.columns.sections import Offsets, Section
from vecdb.payload.columns.strings import Strings, encoded
from vecdb.payload.columns.three_valued import Bits, every_row
from vecdb.payload.texts import BREAK, query_tokenizer, tokenizer
from vecdb.storage.format import DamageError

TextMatch = MatchText | MatchTextAny | MatchPhrase


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

    def __init__(self, rules: str, strings: Strings, section: Section) -> None:
        self.rules = rules
        self._strings, self._section = strings, section

    @classmethod
    def of(
        cls, rules: str, rows: int, owners: Offsets, numbers: npt.NDArray[Any], texts: Sequence[str]
    ) -> Tokens:
        """Of tokens by their numbers in a list, in the order of the rows whose they are."""
        present, where = np.unique(numbers, return_inverse=True)
        found = sorted((encoded(texts[number]), at) for at, number in enumerate(present.tolist()))
        code_of = np.zeros(len(present), dtype=np.uint64)
        code_of[[at for _, at in found]] = np.arange(1, len(found) + 1, dtype=np.uint64)
        strings = Strings.of([token for token, _ in found])
        return cls(rules, strings, Section.of(rows, owners, code_of[where], len(found)))

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
    def nbytes(self) -> int:
        """Of the arrays."""
        return self._strings.nbytes + self._section.nbytes

    def pack(self, writer: Writer) -> list[Any]:
        """The facts that ``read`` reads."""
        return [self.rules, self._strings.pack(writer), self._section.pack(writer)]

    @classmethod
    def read(cls, facts: list[Any], reader: Reader, rows: int) -> Tokens:
        """Raises DamageError."""
        rules, strings, section = facts
        if type(rules) is not str:
            raise DamageError(f"tokens by the rules {rules!r:.60}")
        return cls(rules, Strings.read(strings, reader), Section.read(section, reader, rows))

    def verify(self) -> None:
        """Raises DamageError for what ``of`` would not have made."""
        self._section.verify(self._strings.count)
        self._strings.verify()
