"""BM25: a text as a sparse vector, whose inner product with that of a query ranks texts by words.

A document has an index for each of its tokens, with the weight of the formula of Robertson and
others, without how rare the token is: that is the collection's part (``Modifier.IDF``). A query
has the same indices with the value 1. An index is the hash of a token, as FastEmbed and Qdrant
make it, so that vectors may come from any of the three.

Queries by text (`vecdb.engine.read.text`) rank by the same formula, without vectors.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from vecdb.models.documents import NO_LANGUAGE, Bm25Config, Document
from vecdb.models.payload_schema import (
    Language,
    Snowball,
    SnowballLanguage,
    SnowballParams,
    TextIndexParams,
    TextIndexType,
)
from vecdb.models.sparse import SparseVector
from vecdb.models.validation import coerce
from vecdb.payload.texts import BREAK, Tokenize, ranking_tokenizer, tokenizer

Doubles = npt.NDArray[np.float64]

_DEFAULT = Bm25Config()


def of_document(given: Any, what: str) -> SparseVector:
    """The vector of a point. Raises InvalidInputError."""
    document = coerce(Document, given, what)
    config = document.options or _DEFAULT
    tokens = [token for token in _tokenizers(config)[0](document.text) if token != BREAK]
    frequencies = Counter(tokens)
    counts = np.fromiter(frequencies.values(), np.float64, len(frequencies))
    length = 1 - config.b + config.b * len(tokens) / config.avg_len
    weights = saturated(counts, length, config.k)
    return _vector(dict(zip(map(index_of, frequencies), weights.tolist(), strict=True)))


def saturated(counts: Doubles, lengths: Doubles | float, k: float) -> Doubles:
    """What tokens count that are so often, ``float64 (n)``, in texts of these lengths: 1 is that of
    the average."""
    weights: Doubles = counts * (k + 1) / (counts + k * lengths)
    return weights


def rarity(points: int, having: npt.NDArray[np.int64]) -> Doubles:
    """What tokens count of which each is in so many of some points, ``float64 (n)``: their IDF."""
    factors: Doubles = np.log1p((points - having + 0.5) / (having + 0.5))
    return factors


def of_query(given: Any, what: str) -> SparseVector:
    """The vector of a query. Raises InvalidInputError."""
    document = coerce(Document, given, what)
    tokens = _tokenizers(document.options or _DEFAULT)[1](document.text)
    return _vector({index_of(token): 1.0 for token in tokens if token != BREAK})


def _vector(weights: dict[int, float]) -> SparseVector:
    indices = sorted(weights)
    return SparseVector(indices=indices, values=[weights[index] for index in indices])


@lru_cache(maxsize=1 << 16)
def index_of(token: str) -> int:
    """The index of a token: 2^31 of them are in use."""
    import mmh3

    return abs(mmh3.hash(token))


def _tokenizers(config: Bm25Config) -> tuple[Tokenize, Tokenize]:
    return _made(msgspec.json.encode(config))


@lru_cache(maxsize=64)
def _made(encoded: bytes) -> tuple[Tokenize, Tokenize]:
    """The tokens of a document, and of a query."""
    params = _text_index(coerce(Bm25Config, msgspec.json.decode(encoded)))
    return tokenizer(params), ranking_tokenizer(params)


def _text_index(config: Bm25Config) -> TextIndexParams:
    """The text index that has the tokens of these options."""
    language, stemmer, stopwords = config.language or "english", config.stemmer, config.stopwords
    if language != NO_LANGUAGE:
        if stemmer is None and language in _names(SnowballLanguage):
            stemmer = SnowballParams(type=Snowball.SNOWBALL, language=SnowballLanguage(language))
        if stopwords is None and language in _names(Language):
            stopwords = Language(language)
    return TextIndexParams(
        type=TextIndexType.TEXT,
        tokenizer=config.tokenizer,
        lowercase=config.lowercase,
        ascii_folding=config.ascii_folding,
        stopwords=stopwords,
        stemmer=stemmer,
        min_token_len=config.min_token_len,
        max_token_len=config.max_token_len,
    )


def _names(kind: Any) -> set[str]:
    return {each.value for each in kind}
