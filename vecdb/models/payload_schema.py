"""Payload indexes: which fields of the payload are said to be of which type.

Stored and shown, with every setting Qdrant has for them; what a search does with one is in
docs/filters.md.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from msgspec import Meta, Struct

from vecdb.models.reading import By, Model, Refused, converter, fields_of, refuse
from vecdb.models.validation import Checked, read

TokenLength = Annotated[int, Meta(ge=0)]


class PayloadSchemaType(str, Enum):
    """What a field is said to have. Other values in it are found as well."""

    KEYWORD = "keyword"
    INTEGER = "integer"
    FLOAT = "float"
    GEO = "geo"
    TEXT = "text"
    BOOL = "bool"
    DATETIME = "datetime"
    UUID = "uuid"


class KeywordIndexType(str, Enum):
    """The ``type`` of `KeywordIndexParams`."""

    KEYWORD = "keyword"


class IntegerIndexType(str, Enum):
    """The ``type`` of `IntegerIndexParams`."""

    INTEGER = "integer"


class FloatIndexType(str, Enum):
    """The ``type`` of `FloatIndexParams`."""

    FLOAT = "float"


class GeoIndexType(str, Enum):
    """The ``type`` of `GeoIndexParams`."""

    GEO = "geo"


class TextIndexType(str, Enum):
    """The ``type`` of `TextIndexParams`."""

    TEXT = "text"


class BoolIndexType(str, Enum):
    """The ``type`` of `BoolIndexParams`."""

    BOOL = "bool"


class DatetimeIndexType(str, Enum):
    """The ``type`` of `DatetimeIndexParams`."""

    DATETIME = "datetime"


class UuidIndexType(str, Enum):
    """The ``type`` of `UuidIndexParams`."""

    UUID = "uuid"


class Memory(str, Enum):
    """Where a part of a collection is kept: cold and cached are mapped from disk, pinned is in
    memory of the process's own."""

    COLD = "cold"
    CACHED = "cached"
    PINNED = "pinned"


class TokenizerType(str, Enum):
    """How a text is cut into tokens."""

    PREFIX = "prefix"
    WHITESPACE = "whitespace"
    WORD = "word"
    MULTILINGUAL = "multilingual"
    CODE = "code"


class Snowball(str, Enum):
    """The ``type`` of `SnowballParams`."""

    SNOWBALL = "snowball"


class SnowballLanguage(str, Enum):
    """The language of a stemmer."""

    ARABIC = "arabic"
    ARMENIAN = "armenian"
    DANISH = "danish"
    DUTCH = "dutch"
    ENGLISH = "english"
    FINNISH = "finnish"
    FRENCH = "french"
    GERMAN = "german"
    GREEK = "greek"
    HUNGARIAN = "hungarian"
    ITALIAN = "italian"
    NORWEGIAN = "norwegian"
    PORTUGUESE = "portuguese"
    ROMANIAN = "romanian"
    RUSSIAN = "russian"
    SPANISH = "spanish"
    SWEDISH = "swedish"
    TAMIL = "tamil"
    TURKISH = "turkish"


class Language(str, Enum):
    """Of stop words."""

    ARABIC = "arabic"
    AZERBAIJANI = "azerbaijani"
    BASQUE = "basque"
    BENGALI = "bengali"
    CATALAN = "catalan"
    CHINESE = "chinese"
    DANISH = "danish"
    DUTCH = "dutch"
    ENGLISH = "english"
    FINNISH = "finnish"
    FRENCH = "french"
    GERMAN = "german"
    GREEK = "greek"
    HEBREW = "hebrew"
    HINGLISH = "hinglish"
    HUNGARIAN = "hungarian"
    INDONESIAN = "indonesian"
    ITALIAN = "italian"
    JAPANESE = "japanese"
    KAZAKH = "kazakh"
    NEPALI = "nepali"
    NORWEGIAN = "norwegian"
    PORTUGUESE = "portuguese"
    ROMANIAN = "romanian"
    RUSSIAN = "russian"
    SLOVENE = "slovene"
    SPANISH = "spanish"
    SWEDISH = "swedish"
    TAJIK = "tajik"
    TURKISH = "turkish"


class NoStemmer(str, Enum):
    """The ``type`` of `DisabledStemmerParams`."""

    NONE = "none"


class TextScoringType(str, Enum):
    """The ``type`` of `TextScoringParams`."""

    BM25 = "bm25"


class SnowballParams(Checked, frozen=True, kw_only=True):
    """Words of a language are cut to their stems, as Snowball does it."""

    type: Snowball
    language: SnowballLanguage


class DisabledStemmerParams(Checked, frozen=True, kw_only=True):
    """Words stay as they are."""

    type: NoStemmer


class StopwordsSet(Checked, frozen=True, kw_only=True):
    """Words that are no tokens: those of some languages, and some of one's own."""

    languages: list[Language] | None = None
    custom: list[str] | None = None


class TextScoringParams(Checked, frozen=True, kw_only=True):
    """Queries by text may rank by this field."""

    type: TextScoringType


class KeywordIndexParams(Checked, frozen=True, kw_only=True):
    """An index of a field of strings."""

    type: KeywordIndexType
    is_tenant: bool | None = None
    on_disk: bool | None = None
    memory: Memory | None = None
    enable_hnsw: bool | None = None
    prefix: bool | None = None
    nested: str | None = None


class IntegerIndexParams(Checked, frozen=True, kw_only=True):
    """An index of a field of integers."""

    type: IntegerIndexType
    lookup: bool | None = None
    range: bool | None = None
    is_principal: bool | None = None
    on_disk: bool | None = None
    memory: Memory | None = None
    enable_hnsw: bool | None = None
    nested: str | None = None


class FloatIndexParams(Checked, frozen=True, kw_only=True):
    """An index of a field of numbers."""

    type: FloatIndexType
    is_principal: bool | None = None
    on_disk: bool | None = None
    memory: Memory | None = None
    enable_hnsw: bool | None = None
    nested: str | None = None


class GeoIndexParams(Checked, frozen=True, kw_only=True):
    """An index of a field of places."""

    type: GeoIndexType
    on_disk: bool | None = None
    memory: Memory | None = None
    enable_hnsw: bool | None = None
    nested: str | None = None


class TextIndexParams(Checked, frozen=True, kw_only=True):
    """An index of a field of texts, and what its tokens are."""

    type: TextIndexType
    tokenizer: TokenizerType | None = None
    min_token_len: TokenLength | None = None
    max_token_len: TokenLength | None = None
    lowercase: bool | None = None
    ascii_folding: bool | None = None
    phrase_matching: bool | None = None
    stopwords: Language | StopwordsSet | None = None
    on_disk: bool | None = None
    memory: Memory | None = None
    stemmer: SnowballParams | DisabledStemmerParams | None = None
    enable_hnsw: bool | None = None
    scoring: bool | TextScoringParams | None = None
    nested: str | None = None

    def _problem(self) -> str | None:
        least, most = self.min_token_len, self.max_token_len
        if least is None or most is None or least <= most:
            return None
        return f"expected min_token_len to be at most max_token_len, got {least} and {most}"


class BoolIndexParams(Checked, frozen=True, kw_only=True):
    """An index of a field of bools."""

    type: BoolIndexType
    on_disk: bool | None = None
    memory: Memory | None = None
    enable_hnsw: bool | None = None
    nested: str | None = None


class DatetimeIndexParams(Checked, frozen=True, kw_only=True):
    """An index of a field of dates."""

    type: DatetimeIndexType
    is_principal: bool | None = None
    on_disk: bool | None = None
    memory: Memory | None = None
    enable_hnsw: bool | None = None
    nested: str | None = None


class UuidIndexParams(Checked, frozen=True, kw_only=True):
    """An index of a field of UUIDs."""

    type: UuidIndexType
    is_tenant: bool | None = None
    on_disk: bool | None = None
    memory: Memory | None = None
    enable_hnsw: bool | None = None
    nested: str | None = None


PayloadSchemaParams = (
    KeywordIndexParams
    | IntegerIndexParams
    | FloatIndexParams
    | GeoIndexParams
    | TextIndexParams
    | BoolIndexParams
    | DatetimeIndexParams
    | UuidIndexParams
)

_PARAMS: dict[PayloadSchemaType, type[Model]] = {
    PayloadSchemaType.KEYWORD: KeywordIndexParams,
    PayloadSchemaType.INTEGER: IntegerIndexParams,
    PayloadSchemaType.FLOAT: FloatIndexParams,
    PayloadSchemaType.GEO: GeoIndexParams,
    PayloadSchemaType.TEXT: TextIndexParams,
    PayloadSchemaType.BOOL: BoolIndexParams,
    PayloadSchemaType.DATETIME: DatetimeIndexParams,
    PayloadSchemaType.UUID: UuidIndexParams,
}
_EXPECTED = "a PayloadSchemaType, or index parameters with their type"


def _params(value: Any) -> Any:
    """Index parameters: which of them, their ``type`` says."""
    fields = fields_of(value)
    kind = getattr(value, "type", None) if fields is None else fields.get("type")
    if fields is None and not isinstance(value, tuple(_PARAMS.values())):
        raise refuse(_EXPECTED, value)
    try:
        known = converter(PayloadSchemaType)(kind)
    except Refused as refused:
        raise refused.under(".type") from None
    return converter(_PARAMS[known])(value)


def _field_schema(value: Any) -> Any:
    if isinstance(value, str):
        return converter(PayloadSchemaType)(value)
    return _params(value)


PayloadFieldSchema = Annotated[
    PayloadSchemaType | PayloadSchemaParams, By(_field_schema, _EXPECTED)
]


class PayloadIndexInfo(Struct, forbid_unknown_fields=True):
    """One entry of ``payload_schema``."""

    data_type: PayloadSchemaType
    params: Annotated[PayloadSchemaParams | None, By(_params, _EXPECTED)] = None
    """None: the index was asked for by its type alone."""
    points: int = 0
    """How many points have a value in the field; null and [] are none."""


def parse_field_schema(value: Any, what: str = "field_schema") -> PayloadFieldSchema:
    """A type, by itself or with parameters."""
    schema: PayloadFieldSchema = read(PayloadFieldSchema, value, what)
    return schema


def type_of(schema: PayloadFieldSchema) -> PayloadSchemaType:
    """The type of what is in a field."""
    if isinstance(schema, PayloadSchemaType):
        return schema
    return PayloadSchemaType(schema.type.value)
