"""Configuration: how collections are set up, where messages have it in a form of their own."""

from __future__ import annotations

from typing import Any

from vecdb.server.grpc.messages import Message
from vecdb.server.grpc.naming import words
from vecdb.server.grpc.shapes import read, reads, variant, write, write_plain, writes

# -- vectors ---------------------------------------------------------------------------------------


@reads("VectorsConfig", "VectorsConfigDiff")
def read_vectors(message: Message) -> dict[str, Any]:
    """The unnamed vector, or vectors by name; none at all is none of these."""
    if message.WhichOneof("config") is None:
        return {}
    config: dict[str, Any] = read(variant(message)[1])
    return config


@writes("VectorsConfig")
def write_vectors(value: dict[str, Any], message: Message) -> None:
    """Put the unnamed vector, or vectors by name, into a message."""
    if "size" in value and not isinstance(value["size"], dict):
        write(value, message.params)
    else:
        message.params_map.SetInParent()
        write(value, message.params_map)


# -- quantization, optimizer -----------------------------------------------------------------------


@reads("Disabled")
def read_disabled(message: Message) -> str:
    """No quantization."""
    return "Disabled"


@writes("BinaryQuantizationQueryEncoding")
def write_query_encoding(value: str, message: Message) -> None:
    """Put the word into a message."""
    message.setting = words(message.DESCRIPTOR.fields_by_name["setting"].enum_type).number(value)


@writes("MaxOptimizationThreads")
def write_threads(value: int | str, message: Message) -> None:
    """Put a number, or the word ``auto``, into a message."""
    if isinstance(value, str):
        message.setting = message.Setting.Value("Auto")
    else:
        message.value = value


@writes("OptimizerStatus")
def write_optimizer_status(value: str | dict[str, str], message: Message) -> None:
    """Put ``ok``, or an error, into a message."""
    if value == "ok":
        message.ok = True
    else:
        assert isinstance(value, dict)
        message.error = value["error"]


# -- payload indexes -------------------------------------------------------------------------------


@reads("PayloadIndexParams")
def read_index(message: Message) -> dict[str, Any]:
    """The settings of a payload index, with its type."""
    name, settings = variant(message)
    return {"type": name.removesuffix("_index_params"), **read(settings)}


@writes("PayloadIndexParams")
def write_index(value: dict[str, Any], message: Message) -> None:
    """Put the settings of a payload index into a message."""
    settings = getattr(message, f"{value['type']}_index_params")
    settings.SetInParent()
    write({name: each for name, each in value.items() if name != "type"}, settings)


@reads("CreateFieldIndexCollection")
def read_field_index(message: Message) -> dict[str, Any]:
    """A request for a payload index. Its type may stand beside the settings, or alone."""
    body = {"field_name": message.field_name}
    if message.HasField("field_index_params"):
        return {**body, "field_schema": read(message.field_index_params)}
    if message.HasField("field_type"):
        number = message.field_type
        field = message.DESCRIPTOR.fields_by_name["field_type"]
        return {**body, "field_schema": words(field.enum_type).word(number)}
    return body


@reads("KeywordPrefixParams")
def read_prefix(message: Message) -> bool:
    """An index for prefixes is asked for by a message without fields."""
    return True


@writes("KeywordPrefixParams")
def write_prefix(value: Any, message: Message) -> None:
    """The message is there or not."""


@reads("StemmingAlgorithm")
def read_stemmer(message: Message) -> dict[str, Any]:
    """The algorithm with its settings."""
    name, settings = variant(message)
    if name == "disabled":
        return {"type": "none"}
    return {"type": name, **read(settings)}


@writes("StemmingAlgorithm")
def write_stemmer(value: dict[str, Any], message: Message) -> None:
    """Put the algorithm into a message."""
    if value["type"] == "none":
        message.disabled.SetInParent()
    else:
        message.snowball.language = value["language"]


@writes("StopwordsSet")
def write_stopwords(value: str | dict[str, Any], message: Message) -> None:
    """Put words that are not looked for into a message: a language, or a choice of them."""
    chosen = {"languages": [value]} if isinstance(value, str) else value
    message.languages.extend(chosen.get("languages") or ())
    message.custom.extend(chosen.get("custom") or ())


@writes("TextIndexParams")
def write_text_index(value: dict[str, Any], message: Message) -> None:
    """Put a text index into a message. Of one that does not rank the message says nothing."""
    write_plain({k: v for k, v in value.items() if k != "scoring" or v is not False}, message)


@writes("TextScoringParams")
def write_scoring(value: Any, message: Message) -> None:
    """There is one kind."""
    message.type = 0


# -- new names of vectors --------------------------------------------------------------------------


@reads("CreateVectorNameRequest")
def read_vector_name(message: Message) -> dict[str, Any]:
    """What the new vector is like. Raises Refusal."""
    name, config = variant(message)
    return {name.removesuffix("_config"): read(config)}
