"""Measure: what is stored is asked in one way after the other, query by query.

What comes back is kept as it came, with the work that ``explain`` tells of; `judge` says what it
is worth.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from proofs.recall.cells import Asking
from proofs.recall.stored import Stored
from vecdb import models
from vecdb.engine.read.segment import scan, sketches, widen

_NEVER = 1 << 62


@dataclass
class Answers:
    """What came back for some queries, the first ones. Of ``q`` queries and ``k`` results:"""

    ids: npt.NDArray[np.int64]
    """``(q, k)``, -1 where there is none."""
    scores: npt.NDArray[np.float64]
    """``(q, k)``, as they were returned."""
    work: dict[str, npt.NDArray[np.int64]]
    """Rows whose sketches, codes, originals were scored: ``(q,)`` each."""
    candidates: npt.NDArray[np.int64]
    """Rows that went on from the sketches: ``(q,)``."""
    whole: npt.NDArray[np.bool_]
    """Whether all originals of a file were scanned: ``(q,)``."""
    micros: npt.NDArray[np.float64]
    """What each query took: ``(q,)``."""
    notes: list[str] = field(default_factory=list)
    """What was wrong with answers beside their rows."""

    def extend(self, more: Answers) -> None:
        """With those of the queries that follow."""
        self.ids = np.concatenate([self.ids, more.ids])
        self.scores = np.concatenate([self.scores, more.scores])
        self.work = {k: np.concatenate([v, more.work[k]]) for k, v in self.work.items()}
        self.candidates = np.concatenate([self.candidates, more.candidates])
        self.whole = np.concatenate([self.whole, more.whole])
        self.micros = np.concatenate([self.micros, more.micros])
        self.notes = list(dict.fromkeys(self.notes + more.notes))


class Questions:
    """The queries of some data, asked of what is stored of it."""

    def __init__(self, stored: Stored, queries: npt.NDArray[np.float32]) -> None:
        self._stored, self._queries = stored, queries

    def ask(self, asking: Asking, start: int, end: int) -> Answers:
        """What some of the queries find. Warnings are notes: in a program that makes errors of
        warnings they would end the search."""
        with warnings.catch_warnings(record=True) as caught, _as_in_large_segments(asking):
            warnings.simplefilter("always")
            answers = (self._batch if asking.batch else self._one_by_one)(asking, start, end)
        said = (f"warning: {w.category.__name__}: {w.message}" for w in caught)
        answers.notes += list(dict.fromkeys(said))
        return answers

    def _one_by_one(self, asking: Asking, start: int, end: int) -> Answers:
        answers = _nothing(end - start, asking.k * asking.pages)
        for number, query in enumerate(self._queries[start:end]):
            points: list[models.ScoredPoint] = []
            for page in range(asking.pages):
                began = time.perf_counter()
                found = self._stored.collection.query_points(
                    query,
                    using=self._stored.using,
                    query_filter=self._stored.filters[asking.filtered],
                    search_params=asking.params,
                    limit=asking.k,
                    offset=page * asking.k,
                    with_payload=False,
                    explain=True,
                )
                answers.micros[number] += 1e6 * (time.perf_counter() - began)
                points += found.points
                _note_work(answers, number, asking, found.explanation)
            _put(answers, number, points)
        return answers

    def _batch(self, asking: Asking, start: int, end: int) -> Answers:
        answers = _nothing(end - start, asking.k)
        name = self._stored.using
        requests = [
            {
                "vector": query if name is None else {"name": name, "vector": query},
                "limit": asking.k,
                "filter": self._stored.filters[asking.filtered],
                "params": asking.params,
            }
            for query in self._queries[start:end]
        ]
        began = time.perf_counter()
        found = self._stored.collection.search_batch(requests)
        answers.micros[:] = 1e6 * (time.perf_counter() - began) / len(requests)
        for number, points in enumerate(found):
            _put(answers, number, points)
        return answers


def _nothing(queries: int, results: int) -> Answers:
    return Answers(
        ids=np.full((queries, results), -1, dtype=np.int64),
        scores=np.full((queries, results), np.nan),
        work={by: np.zeros(queries, dtype=np.int64) for by in ("sketches", "codes", "originals")},
        candidates=np.zeros(queries, dtype=np.int64),
        whole=np.zeros(queries, dtype=np.bool_),
        micros=np.zeros(queries),
    )


def _note_work(answers: Answers, number: int, asking: Asking, explanation: Any) -> None:
    """Adds what ``explain`` tells of one query, and what it should tell and does not."""
    if not explanation:
        answers.notes.append("explain: nothing is explained")
        return
    for segment in explanation:
        if not segment.stages:
            answers.notes.append("explain: no stage in a segment")
        last = [stage.by for stage in segment.stages][-1:]
        if asking.rescore and last not in ([], ["filter"], ["originals"]):
            answers.notes.append("explain: originals do not have the last word")
        for stage in segment.stages:
            if not stage.reason:
                answers.notes.append("explain: a stage without a reason")
            if stage.by in answers.work:
                answers.work[stage.by][number] += stage.rows
            if stage.by == "sketches":
                answers.candidates[number] += stage.kept
            if stage.by == "originals" and segment.kind == "file":
                answers.whole[number] |= stage.rows >= segment.points


def _put(answers: Answers, number: int, points: list[models.ScoredPoint]) -> None:
    room = answers.ids.shape[1]
    if len(points) > room:
        answers.notes.append(f"{len(points)} results where {room} were asked for")
    answers.ids[number, : len(points)] = [point.id for point in points[:room]]
    answers.scores[number, : len(points)] = [point.score for point in points[:room]]


@contextmanager
def _as_in_large_segments(asking: Asking) -> Iterator[None]:
    """What matches a filter is looked for by sketches, not scanned: those of near partitions for a
    visit, else all."""
    was = sketches._MOST_MATCH, widen._SCAN_BYTES, scan._MOST_VISITED
    sketches._MOST_MATCH = 0.0 if asking.filtered == "visit" else _NEVER
    widen._SCAN_BYTES = -_NEVER
    scan._MOST_VISITED = 0 if asking.filtered == "deep" else _NEVER
    try:
        yield
    finally:
        sketches._MOST_MATCH, widen._SCAN_BYTES, scan._MOST_VISITED = was
