"""Searches of the multivectors ``m`` of a collection ``c``."""

from __future__ import annotations

from typing import Any

from vecdb import VecDB


def stages(db: VecDB, query: Any, **given: Any) -> dict[str, Any]:
    """The stages of a search in the only segment, by what each of them is by."""
    response = db.query_points("c", query, using="m", explain=True, **given)
    assert response.explanation is not None
    [segment] = response.explanation
    return {stage.by: stage for stage in segment.stages}


def scores(db: VecDB, query: Any, **given: Any) -> dict[Any, float]:
    """What a search finds, by id."""
    return {p.id: p.score for p in db.query_points("c", query, using="m", **given).points}
