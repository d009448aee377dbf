"""What the demo measures of searches: answers, times, recall, rows looked at."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from vecdb import models
from vecdb.cli.demo.example_data import NAME, Data, Floats
from vecdb.database import VecDB

COLLECTION = NAME
LIMIT = 10
_SAME = 1e-6  # two scores that differ by less are rounded differently, no more

Answers = list[list[tuple[Any, float]]]  # a query's ids and scores, best first


def answers_to(
    db: VecDB, queries: Floats, params: models.SearchParams | None = None
) -> tuple[Answers, float]:
    """The answer to every query, and the median time of one."""
    answers: Answers = []
    times = []
    for query in queries:
        started = time.perf_counter()
        hits = db.search(COLLECTION, query, search_params=params, limit=LIMIT, with_payload=False)
        times.append(time.perf_counter() - started)
        answers.append([(hit.id, hit.score) for hit in hits])
    return answers, median(times)


def recall_of(data: Data, answers: Answers) -> float:
    """The share of the true nearest that the answers hold."""
    return data.recall([[row for row, _ in answer] for answer in answers], LIMIT)


def rows_looked_at(db: VecDB, queries: Floats, params: models.SearchParams) -> int:
    """How many rows the first step of a search scores, in the median."""
    rows = []
    for query in queries:
        response = db.query_points(COLLECTION, query, search_params=params, explain=True)
        rows.append(sum(segment.stages[0].rows for segment in response.explanation or ()))
    return int(median(rows))


def same_answer(before: list[tuple[Any, float]], after: list[tuple[Any, float]]) -> bool:
    """Whether two answers to one query are the same, but for rounding."""
    return [i for i, _ in before] == [i for i, _ in after] and all(
        abs(a - b) <= _SAME for (_, a), (_, b) in zip(before, after, strict=True)
    )
