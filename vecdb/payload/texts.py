"""Texts: which tokens a text has, and whether it has those of a query.

A text index says how a text becomes tokens; without one they are its words in lower case. The
rules are those of Qdrant's tokenizers:

* ``word``: letters and digits in a row. ``whitespace``: what stands between blanks.
* ``prefix``: words, and in a text each beginning of a word as well.
* ``code``: words, and the parts of ``getUserById`` or ``HTTPServer``.
* ``multilingual``: words in lower case without accents; where a script has no blanks, as Chinese,
  Japanese and Thai, every character and every two neighbours. Qdrant looks such words up in
  dictionaries; by neighbours a query finds whatever contains it, without one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from itertools import pairwise, takewhile

import msgspec

from vecdb.models.conditions import MatchPhrase, MatchText, MatchTextAny
from vecdb.models.payload_schema import TextIndexParams, TextIndexType, TokenizerType
from vecdb.models.validation import coerce
from vecdb.payload.words import Words

Tokenize = Callable[[str], list[str]]
DocumentTest = Callable[[Sequence[str]], bool]
"""(the texts of a document) -> does it have what a query asks for?"""

WITHOUT_INDEX = TextIndexParams(type=TextIndexType.TEXT)

BREAK = ""
"""Stands between tokens that are no neighbours: no phrase goes across it."""

_LONGEST_BEGINNING = 64
"""Beginnings of a word are no longer than this, if an index sets no limit: a word without an end
would take its length to the square."""


def tokenizer(params: TextIndexParams = WITHOUT_INDEX) -> Tokenize:
    """The function that gives the tokens of a text, in their order; among them may be ``BREAK``.
    Raises InvalidInputError, see ``Words``."""
    return _tokenizers(msgspec.json.encode(params))[0]


def query_tokenizer(params: TextIndexParams = WITHOUT_INDEX) -> Tokenize:
    """The function that gives the tokens which a text must have to be found by a query. Raises
    InvalidInputError."""
    return _tokenizers(msgspec.json.encode(params))[1]


def ranking_tokenizer(params: TextIndexParams = WITHOUT_INDEX) -> Tokenize:
    """The function that gives the tokens of a query by which texts are ranked. A name in camel case
    ranks by its whole as well, which a filter need not look for. Raises InvalidInputError."""
    return (tokenizer if params.tokenizer is TokenizerType.CODE else query_tokenizer)(params)


@lru_cache(maxsize=64)
def _tokenizers(encoded: bytes) -> tuple[Tokenize, Tokenize]:
    """Of a text, and of a query."""
    params = coerce(TextIndexParams, msgspec.json.decode(encoded))
    words, kind = Words(params), params.tokenizer
    if kind is TokenizerType.WHITESPACE:
        return (lambda text: words.kept(text.split()),) * 2
    if kind is TokenizerType.PREFIX:
        return (
            lambda text: _beginnings(words.stems(words_of(text)), params),
            lambda text: [
                word[: words.longest] for word in words.stems(words_of(text), stop=False)
            ],
        )
    if kind is TokenizerType.CODE:
        return (
            lambda text: _with_wholes(words, text),
            lambda text: words.kept(part for word in words_of(text) for part in parts_of(word)),
        )
    if kind is TokenizerType.MULTILINGUAL:
        return (
            lambda text: words.kept(_multilingual(text, _characters_and_neighbours)),
            lambda text: words.kept(_multilingual(text, _neighbours)),
        )
    return (lambda text: words.kept(words_of(text)),) * 2


# -- tests -----------------------------------------------------------------------------------------


def document_test(
    match: MatchText | MatchTextAny | MatchPhrase, params: TextIndexParams = WITHOUT_INDEX
) -> DocumentTest:
    """The test of a document, which is one text or several: they have all tokens of the query, one
    of them, or in one text all of them in a row. A query without a token finds nothing."""
    tokens = tokenizer(params)
    if isinstance(match, MatchPhrase):
        phrase = list(takewhile(lambda token: token != BREAK, tokens(match.phrase)))
        return lambda texts: any(has_phrase(tokens(text), phrase) for text in texts)
    of_query = query_tokenizer(params)
    if isinstance(match, MatchTextAny):
        wanted = frozenset(of_query(match.text_any))
        return lambda texts: any(not wanted.isdisjoint(tokens(text)) for text in texts)
    wanted = frozenset(of_query(match.text))
    if not wanted:
        return lambda texts: False

    def has_all(texts: Sequence[str]) -> bool:
        if len(texts) == 1:
            return wanted.issubset(tokens(texts[0]))
        return wanted.issubset(token for text in texts for token in tokens(text))

    return has_all


def has_phrase(tokens: Sequence[str], phrase: Sequence[str]) -> bool:
    """Whether the tokens of a phrase stand among those of a text, in a row."""
    # No token has a blank in it. A string is looked for in linear time, however often it nearly
    # stands there.
    return bool(phrase) and f" {' '.join(phrase)} " in f" {' '.join(tokens)} "


# -- words -----------------------------------------------------------------------------------------

_ASCII_WORD = re.compile(r"[0-9A-Za-z]+")


def words_of(text: str) -> list[str]:
    """Letters, digits and the vowel signs of a script, in a row."""
    return _ASCII_WORD.findall(text) if text.isascii() else _word().findall(text)


@cache
def _word() -> re.Pattern[str]:
    signs = "".join(chr(code) for code in range(0x300, 0x1E900) if _is_vowel_sign(chr(code)))
    return re.compile(rf"(?:[^\W_]|[{signs}])+")


def _is_vowel_sign(character: str) -> bool:
    """Marks that Unicode calls alphabetic, as near as their classes tell: not the accents above and
    below, nuktas, viramas, tones and selectors."""
    kind, order = unicodedata.category(character), unicodedata.combining(character)
    if kind == "Mc":
        return order in (0, 6)
    if kind != "Mn" or "\ufe00" <= character <= "\ufe0f":
        return False
    return order == 0 or 10 <= order <= 36 or order in (84, 91, 103, 118, 129, 130, 132)


def _beginnings(words: Iterable[str], params: TextIndexParams) -> list[str]:
    shortest, longest = params.min_token_len or 1, params.max_token_len or _LONGEST_BEGINNING
    found = []
    for word in words:
        found += [word[:length] for length in range(shortest, min(len(word), longest + 1))]
        if len(word) <= longest or params.max_token_len is None:
            found.append(word)
    return found


# -- code ------------------------------------------------------------------------------------------

# U: a capital, d: a digit, s: that letter, l: another letter.
_PART = (
    r"U{2,}s(?![ls])(?:d[dls]*)?"  # URLs
    r"|U+(?=U[ls])"  # HTTP, before Server
    r"|d*U+[dls]*"  # Server2, ID
    r"|[dls]+"  # get
)


def parts_of(word: str) -> list[str]:
    """The parts of a name in camel case."""
    shape = "".join(
        "U" if c.isupper() else "d" if c.isnumeric() else "s" if c == "s" else "l" for c in word
    )
    return [word[match.start() : match.end()] for match in _pattern(_PART).finditer(shape)]


def _with_wholes(words: Words, text: str) -> list[str]:
    """The parts of names, and apart from them the names that have several."""
    names = [(name, parts_of(name)) for name in words_of(text)]
    tokens = words.kept(part for _, parts in names for part in parts)
    for whole in words.kept(name for name, parts in names if len(parts) > 1):
        tokens += [BREAK, whole]
    return tokens


# -- multilingual ----------------------------------------------------------------------------------

_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # Japanese syllables
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)
_RUN = rf"[{_UNSPACED}]+|[^{_UNSPACED}]+"
_IS_UNSPACED = rf"[{_UNSPACED}]"
# Accents of Latin and Greek; points of Hebrew; vowels and the long stroke of Arabic.
_ACCENT = "(?<=[A-Za-z\u0370-\u03ff])[\u0300-\u036f]+|[\u0591-\u05c7\u0640\u064b-\u065f\u0670]"


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """Compiled when it is needed: few collections have such an index, and sets of characters take
    milliseconds."""
    return re.compile(text)


def _multilingual(text: str, unspaced: Callable[[str], list[str]]) -> Iterable[str]:
    if not text.isascii():
        apart = unicodedata.normalize("NFKD", text)
        text = unicodedata.normalize("NFKC", _pattern(_ACCENT).sub("", apart))
    find_runs, is_unspaced = _pattern(_RUN).findall, _pattern(_IS_UNSPACED).match
    for word in words_of(text.lower()):
        for run in find_runs(word):
            if is_unspaced(run):
                yield from unspaced(run)
            else:
                yield run


def _characters_and_neighbours(run: str) -> list[str]:
    found = [run[0]]
    for one, other in pairwise(run):
        found += [one + other, other]
    return found


def _neighbours(run: str) -> list[str]:
    return [one + other for one, other in pairwise(run)] or [run]
