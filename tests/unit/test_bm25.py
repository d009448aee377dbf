"""BM25: texts become the vectors that FastEmbed and Qdrant make of them.

``golden/bm25.json`` has what FastEmbed 0.9.1 made of texts in many languages, with the stop words
of here, and what Qdrant Edge 0.9 made with options; of the former Edge makes the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import models as there

from vecdb import bm25, models
from vecdb.errors import InvalidInputError

GOLDEN = json.loads(
    (Path(__file__).parent.parent / "golden" / "bm25.json").read_text(encoding="utf-8")
)


def document(text: str, **options: Any) -> dict[str, Any]:
    return {"text": text, "model": "qdrant/bm25", "options": options}


@pytest.mark.parametrize(("language", "text", "weights"), GOLDEN["documents"])
def test_a_document_has_fastembeds_weights(
    language: str, text: str, weights: dict[str, float]
) -> None:
    made = bm25.of_document(document(text, language=language), "vector")
    assert made.indices == [int(index) for index in weights]
    assert made.values == pytest.approx(list(weights.values()), rel=1e-15)
    query = bm25.of_query(document(text, language=language), "query")
    assert query.indices == made.indices
    assert query.values == [1.0] * len(made.indices)


@pytest.mark.parametrize(("options", "text", "weights", "query"), GOLDEN["options"])
def test_options_mean_what_they_mean_to_qdrant(
    options: dict[str, Any], text: str, weights: dict[str, float], query: list[int]
) -> None:
    made = bm25.of_document(document(text, **options), "vector")
    assert made.indices == [int(index) for index in weights]
    assert np.float32(made.values).tolist() == list(weights.values())
    assert bm25.of_query(document(text, **options), "query").indices == query


@pytest.mark.parametrize(
    ("fastembeds", "qdrants"),
    [
        ({"token_max_length": 4}, {"max_token_len": 4}),
        ({"disable_stemmer": True}, {"stemmer": {"type": "none"}, "stopwords": {}}),
        ({"disable_stemmer": True}, {"language": "none"}),
        ({"disable_stemmer": False}, {}),
        ({"stopwords": {"dogs"}}, {"stopwords": {"custom": ["dogs"]}}),
        (
            {"disable_stemmer": True, "stopwords": ["dogs"]},
            {"stemmer": {"type": "none"}, "stopwords": {"custom": ["dogs"]}},
        ),
    ],
)
def test_options_may_be_fastembeds(fastembeds: Any, qdrants: Any) -> None:
    text = "The dogs are running home"
    ours = bm25.of_document(document(text, **fastembeds), "vector")
    assert ours == bm25.of_document(document(text, **qdrants), "vector")


def test_a_document_comes_in_any_form() -> None:
    config = {"k": 2.0, "stemmer": {"type": "snowball", "language": "german"}}
    forms = [
        document("Häuser", **config),
        there.Document(text="Häuser", model="Qdrant/bm25", options=config),
        there.Document(
            text="Häuser", model="qdrant/bm25", options=there.Bm25Config.model_validate(config)
        ),
        models.Document(
            text="Häuser",
            model="Qdrant/BM25",
            options=models.coerce(models.Bm25Config, config),
        ),
    ]
    assert all(map(models.is_document, forms))
    vectors = [bm25.of_document(form, "vector") for form in forms]
    assert vectors == vectors[:1] * 4
    assert len(vectors[0].indices) == 1


@pytest.mark.parametrize(
    "value", ["text", {"text": "x"}, [1.0], {"indices": [], "values": []}, there.Document, None, 3]
)
def test_what_is_no_document(value: Any) -> None:
    assert not models.is_document(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "prithivida/Splade_PP_en_v1"}, "expected the model 'qdrant/bm25', .* 'prith"),
        ({"text": 3}, r"text: expected a string"),
        ({"options": {"language": "klingon"}}, r"options.*language: expected one of .*'klingon'"),
        ({"options": {"k": -1.0}}, r"options.*k: expected a number >= 0"),
        ({"options": {"b": 1.5}}, r"options.*b: expected a number from 0"),
        ({"options": {"avg_len": 0}}, r"options.*avg_len: expected a number above 0"),
        ({"options": {"kk": 1}}, r"options: unknown field 'kk'"),
        ({"options": 3}, r"options: expected Bm25Config or a dict"),
        ({"more": 3}, r"unknown field 'more'"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], message: str) -> None:
    given = {**document("text"), **change}
    with pytest.raises(InvalidInputError, match=rf"^point 3: {message}|^point 3.{message}"):
        bm25.of_document(given, "point 3")
