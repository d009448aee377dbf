"""Texts in queries, and in the place of vectors: what a text is to be made a vector with."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Annotated, Any

from msgspec import Meta

from vecdb.models.payload_schema import (
    DisabledStemmerParams,
    Language,
    SnowballLanguage,
    SnowballParams,
    StopwordsSet,
    TokenizerType,
    TokenLength,
)
from vecdb.models.reading import By, Model, converter, fields_of, refuse
from vecdb.models.sparse import is_sparse
from vecdb.models.validation import Checked

# fmt: off
_CODES = {
    "ar": "arabic", "az": "azerbaijani", "bn": "bengali", "ca": "catalan", "da": "danish",
    "de": "german", "el": "greek", "en": "english", "es": "spanish", "eu": "basque",
    "fi": "finnish", "fr": "french", "he": "hebrew", "hu": "hungarian", "id": "indonesian",
    "it": "italian", "ja": "japanese", "kk": "kazakh", "ne": "nepali", "nl": "dutch",
    "no": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sl": "slovene",
    "sv": "swedish", "ta": "tamil", "tg": "tajik", "tr": "turkish", "zh": "chinese",
}
# fmt: on
"""ISO 639-1."""
NO_LANGUAGE = "none"
_LANGUAGES = {each.value for each in (*Language, *SnowballLanguage)} | {NO_LANGUAGE}


def _language(value: Any) -> Any:
    name = converter(str)(value)
    name = _CODES.get(name, name)
    if name not in _LANGUAGES:
        raise refuse(f"one of {', '.join(sorted(_LANGUAGES))}, or an ISO 639-1 code", value)
    return name


class Bm25Config(Checked, frozen=True, kw_only=True):
    """How a text becomes the weights of BM25."""

    k: Annotated[float, Meta(ge=0.0)] = 1.2
    """The larger, the more it counts how often a token is in a text."""
    b: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.75
    """How much less a token counts in a text that is longer than others: not at all to in full."""
    avg_len: Annotated[float, Meta(gt=0.0, le=1e12)] = 256.0
    """Tokens of a text, on the average."""
    tokenizer: TokenizerType | None = None
    """None: ``word``."""
    language: Annotated[str | None, By(_language, "a language")] = None
    """Of the stemmer and the stop words that are not given; None: English; ``"none"``: neither."""
    lowercase: bool | None = None
    ascii_folding: bool | None = None
    stopwords: Language | StopwordsSet | None = None
    stemmer: SnowballParams | DisabledStemmerParams | None = None
    min_token_len: TokenLength | None = None
    max_token_len: TokenLength | None = None


def _options(value: Any) -> Any:
    """The options of Qdrant's server; or those of FastEmbed, in the words of the former."""
    if value is None or isinstance(value, Bm25Config):
        return value
    fields = fields_of(value)
    if fields is None:
        raise refuse("Bm25Config or a dict of options", value)
    return converter(Bm25Config)(_as_servers(fields))


def _as_servers(fields: Mapping[str, Any]) -> dict[str, Any]:
    options = dict(fields)
    for older, newer in (("token_max_length", "max_token_len"),):
        if older in options:
            options[newer] = options.pop(older)
    if options.pop("disable_stemmer", False):
        options["stemmer"] = {"type": "none"}
        options.setdefault("stopwords", {})
    words = options.get("stopwords")
    if isinstance(words, (list, tuple, Set)):
        options["stopwords"] = {"custom": list(words)}
    return options


class Document(Model, frozen=True, kw_only=True):
    """A text that is to be made a sparse vector, here, by the model ``"qdrant/bm25"``: in the place
    of a point's vector, or of a query."""

    text: str
    model: str
    options: Annotated[Bm25Config | None, By(_options, "Bm25Config or a dict of options")] = None

    def _problem(self) -> str | None:
        if self.model.lower() != BM25:
            return (
                f"expected the model {BM25!r}, which needs nothing else, got {self.model!r:.60}; "
                f"vectors of other models are made by the caller"
            )
        return None


BM25 = "qdrant/bm25"


class Bm25Params(Model, frozen=True, kw_only=True):
    """The numbers of BM25."""

    k: Annotated[float, Meta(ge=0.0, le=1e12)] | None = None
    """The larger, the more it counts how often a token is in a text; None: 1.2."""
    b: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    """How much less a token counts in a text that is longer than others: not at all to in full;
    None: 0.75."""


class Bm25Scoring(Model, frozen=True, kw_only=True):
    """How the points of a text query are ranked. There is no other way than BM25."""

    bm25: Bm25Params


class TextQueryInput(Model, frozen=True, kw_only=True):
    """A text to rank points by, and how."""

    query: str
    scoring: Bm25Scoring | None = None


class TextQuery(Model, frozen=True, kw_only=True):
    """Points by how well the texts of a field of their payload fit a text, as BM25 has it
    (Robertson and Zaragoza 2009). ``using`` is the field, which has a text index with ``scoring``.

    A point is a result if it has any token of the text; its score is the sum over these, each once,
    of ``ln(1 + (N - n + 0.5) / (n + 0.5)) * f * (k + 1) / (f + k * (1 - b + b * l / L))``. ``N``
    points have tokens there, and ``L`` on the average; ``n`` have this one. The point has ``l``, of
    which ``f`` are this one. A length keeps its first 13 bits."""

    text: str | TextQueryInput


def is_document(value: Any) -> bool:
    """Whether a value has the form of a document, ours, Qdrant's or JSON's."""
    if isinstance(value, Document):
        return True
    if isinstance(value, (list, tuple)) or not hasattr(value, "model_dump"):
        return isinstance(value, Mapping) and "text" in value and "model" in value
    return not isinstance(value, type) and hasattr(value, "text") and hasattr(value, "model")


def makes_sparse(value: Any) -> bool:
    """Whether a value has the form of a sparse vector, or of a text that is made one."""
    return is_sparse(value) or is_document(value)
