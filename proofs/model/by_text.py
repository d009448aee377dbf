"""What is asked of texts: points by how well a field fits a text, beside BM25 worked out here.

The function returns what an answer is that it should not be; None if all is well.
"""

from __future__ import annotations

import math
from collections import Counter
from random import Random
from typing import Any

import numpy as np

from proofs.model.drawing import random_text
from proofs.model.meaning import elements, selected, words
from proofs.model.oracle import Oracle, PointId
from proofs.model.writes import Pool, random_filter

_K, _B = 1.2, 0.75
_EACH = 3
"""Texts that are looked for in a field."""


def ranked_by_texts(collection: Any, oracle: Oracle, pool: Pool, rng: Random) -> str | None:
    """Points by some texts, in every field that has an index which scores; of another, an error."""
    schema = collection.info().payload_schema
    for field, kind in oracle.indexes.items():
        scoring = kind == "text" and bool(schema[field].params and schema[field].params.scoring)
        for _ in range(_EACH if scoring else 1):
            problem = _ranked(collection, oracle, pool, rng, field, scoring=scoring)
            if problem:
                return problem
    return None


def _ranked(
    collection: Any, oracle: Oracle, pool: Pool, rng: Random, field: str, *, scoring: bool
) -> str | None:
    asked = random_text(rng)
    filter = random_filter(rng, oracle, pool) if rng.random() < 0.5 else None
    limit = rng.choice((1, 10, len(oracle.points) + 1))
    what = f"text {asked!r} in {field!r}, filter {filter}, limit {limit}"
    try:
        answer = collection.query_points(
            {"text": asked}, using=field, query_filter=filter, limit=limit, with_payload=False
        )
    except ValueError as error:
        return f"{what}: {error}" if scoring or "scoring" not in str(error) else None
    if not scoring:
        return f"{what}: found {answer.points} without an index that scores"
    scores = _scores(oracle, field, asked)
    matching = set(oracle.matching(filter))
    true = {i: score for i, score in scores.items() if i in matching}
    found = {point.id: point.score for point in answer.points}
    if len(answer.points) != len(found) or len(found) != min(limit, len(true)):
        return f"{what}: {list(found)} of {list(true)}"
    if not found.keys() <= true.keys():
        return f"{what}: {list(found)}, which are not all among {list(true)}"
    given, best = list(found.values()), sorted(true.values(), reverse=True)[: len(found)]
    if not np.allclose(given, best, rtol=1e-5):
        return f"{what}: scores {given}, the best are {best}"
    if not np.allclose(given, [true[i] for i in found], rtol=1e-5):
        return f"{what}: scores {found}, not {true}"
    return None


def _scores(oracle: Oracle, field: str, asked: str) -> dict[PointId, float]:
    """Of every point that has one of the tokens: how rare each is among all points with a text,
    and how much it counts in a document of this length."""
    documents: dict[PointId, Counter[str]] = {}
    for point_id, point in oracle.points.items():
        texts = [v for v in elements(selected(point.payload, field)) if isinstance(v, str)]
        tokens = Counter(word for text in texts for word in words(text))
        if tokens:
            documents[point_id] = tokens
    average = sum(tokens.total() for tokens in documents.values()) / max(1, len(documents))
    scores: dict[PointId, float] = {}
    for word in set(words(asked)):
        having = sum(word in tokens for tokens in documents.values())
        rare = math.log1p((len(documents) - having + 0.5) / (having + 0.5))
        for point_id, tokens in documents.items():
            if tokens[word]:
                norm = _K * (1 - _B + _B * tokens.total() / average)
                score = rare * tokens[word] * (_K + 1) / (tokens[word] + norm)
                scores[point_id] = scores.get(point_id, 0.0) + score
    return scores
