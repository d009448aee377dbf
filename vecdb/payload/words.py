"""Words: what becomes of a word before it is compared: folded, lowered, dropped or stemmed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from vecdb.errors import InvalidInputError
from vecdb.models.payload_schema import (
    Language,
    SnowballLanguage,
    SnowballParams,
    StopwordsSet,
    TextIndexParams,
)

_LISTS = Path(__file__).with_name("stop_words.txt")
"""A language a line: those of NLTK, which has them of the Snowball project and others."""
_STEMS = 1 << 16


class Words:
    """The rules of a text index for one word. Raises InvalidInputError for a stemmer that there is
    not."""

    def __init__(self, params: TextIndexParams) -> None:
        self._fold = params.ascii_folding is True
        self._lower = params.lowercase is not False
        self._stop = _stop_words(params, self._lower)
        stemmer = params.stemmer
        self._stem = _stemmer(stemmer.language) if isinstance(stemmer, SnowballParams) else None
        self._shortest = params.min_token_len or 0
        self.longest = params.max_token_len
        self._only_lower = self._lower and not (
            self._fold or self._stop or self._stem or self._shortest or self.longest is not None
        )

    def kept(self, words: Iterable[str]) -> list[str]:
        """What is left of words: those that are neither stop words nor too short or too long."""
        if self._only_lower:  # as without an index: in a fifth of the time
            return [word.lower() for word in words]
        return [
            word for word in self.stems(words) if self.longest is None or len(word) <= self.longest
        ]

    def stems(self, words: Iterable[str], stop: bool = True) -> list[str]:
        """The same of any length above the least; ``stop=False``: stop words as well."""
        found = []
        for word in words:
            word = self._lowered(word)
            if stop and word in self._stop:
                continue
            if self._stem is not None:
                word = self._stem(word)
            if len(word) >= self._shortest and word:
                found.append(word)
        return found

    def _lowered(self, word: str) -> str:
        if self._fold and not word.isascii():
            word = folded(word)
        return word.lower() if self._lower else word


def folded(text: str) -> str:
    """Letters and signs that are Latin in another dress, in plain ASCII; all else as it is."""
    return "".join(map(_folded_character, text))


@lru_cache(maxsize=4096)
def _folded_character(character: str) -> str:
    if character.isascii():
        return character
    apart = unicodedata.normalize("NFKD", character)
    plain = "".join(map(_plain, (part for part in apart if not unicodedata.combining(part))))
    return plain if plain.isascii() and " " not in plain else character


_NAMED = re.compile(r"LATIN (CAPITAL|SMALL) (?:LETTER|LIGATURE) ([A-Z]{1,2})(?: WITH .*)?")
# fmt: off
_ELSE = {
    "ß": "ss", "ẞ": "SS", "Þ": "TH", "þ": "th", "Ð": "D", "ð": "d", "ı": "i", "ĸ": "q",
    "Ŋ": "N", "ŋ": "n", "Ə": "A", "ə": "a", "Ɛ": "E", "ɛ": "e", "Ɔ": "O", "ɔ": "o",
    "‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-",
}
# fmt: on


def _plain(part: str) -> str:
    """A letter that Unicode takes no further apart: its name tells of AE, or of O with stroke."""
    named = _NAMED.fullmatch(unicodedata.name(part, "")) if not part.isascii() else None
    if named is None:
        return _ELSE.get(part, part)
    return named[2] if named[1] == "CAPITAL" else named[2].lower()


def _stop_words(params: TextIndexParams, lower: bool) -> frozenset[str]:
    given = params.stopwords
    if given is None:
        return frozenset()
    if isinstance(given, Language):
        given = StopwordsSet(languages=[given])
    words = set(given.custom or [])
    for language in given.languages or []:
        words |= _listed(language)
    return frozenset(word.lower() for word in words) if lower else frozenset(words)


@lru_cache
def _listed(language: Language) -> frozenset[str]:
    for line in _LISTS.read_text(encoding="utf-8").splitlines():
        name, *words = line.split(" ")
        if name == f"{language.value}:":
            return frozenset(words)
    raise AssertionError(language)


@lru_cache
def _stemmer(language: SnowballLanguage) -> Callable[[str], str]:
    from py_rust_stemmers import SnowballStemmer

    try:
        stemmer = SnowballStemmer(language.value)
    except ValueError:
        raise InvalidInputError(
            f"stemmer: there is none for {language.value!r}; expected another language, or none"
        ) from None
    stem: Callable[[str], str] = lru_cache(maxsize=_STEMS)(stemmer.stem_word)
    return stem
