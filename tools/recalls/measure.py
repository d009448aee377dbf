"""Measure: a collection is made as a `Place` says, and each asking is asked of it, query by query.

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

from recalls.cells import CODES, Asking, Place
from recalls.generators import Data
from recalls.truth import Mask, Rows, Truth
from vecdb import models
from vecdb.database import VecDB
from vecdb.engine import scan

_IN_FILES = {"index": 1.0, "codes": 1.0, "mixed": 0.75, "second": 1.0, "memory": 0.0}
_NAME = "asked"
"""Of the vector, where there are two."""
_INDEXED = ("index", "mixed", "second")
_INDEX_ROWS = 256
"""Smaller segments are scanned, and need no index."""
_SCANNED_VALUES = "_FILTERED_VALUES"
"""The engine scans what a filter leaves up to so many values: none, where it is to visit them."""


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


class Collection:
    """One place, made. ``masks``: by the filter of an asking, which rows it may return."""

    def __init__(self, db: VecDB, place: Place, data: Data, truth: Truth, seed: int) -> None:
        self.place, self.queries = place, data.queries
        self._db = db
        self._name = _NAME if place.way == "second" else None
        random = np.random.default_rng([seed, 7])
        tenth = random.integers(10, size=len(data.base))
        side = data.base.astype(np.float64) @ random.normal(size=data.base.shape[1])
        half = side > np.median(side)
        alive = np.ones(len(data.base), dtype=np.bool_)
        self._filters = {
            "": None,
            "scan": {"must": [{"key": "tenth", "match": {"value": 3}}]},
            "visit": {"must": [{"key": "half", "match": {"value": True}}]},
        }
        payload = [{"tenth": int(t), "half": bool(h)} for t, h in zip(tenth, half, strict=True)]
        self._made = self._make(data, payload)
        if place.way == "mixed":
            dead = _near_some(truth, random, alive)
            self._made.delete(dead.tolist())
            alive[dead] = False
        self.masks = {"": alive, "scan": alive & (tenth == 3), "visit": alive & half}
        self.problems = self._problems()

    def _make(self, data: Data, payload: list[Any]) -> Any:
        place, rows = self.place, len(data.base)
        ram = {"ram": None, "mapped": False, "codes in ram": True}[place.storage]
        codes = CODES[place.codes]
        if codes is not None:
            codes = {kind: {**config, "always_ram": ram} for kind, config in codes.items()}
        if self._db.collection_exists("recall"):  # the one before could not be made
            self._db.delete_collection("recall")
        params: dict[str, Any] = {
            "size": data.base.shape[1],
            "distance": place.metric,
            "on_disk": place.storage != "ram",
            "quantization_config": codes,
        }
        vectors: Any = data.base
        if self._name is not None:
            first = np.random.default_rng(rows).normal(size=(rows, data.base.shape[1] + 8))
            vectors = {"first": first.astype(np.float32), self._name: data.base}
            params = {"first": {"size": first.shape[1], "distance": "Dot"}, self._name: params}
        self._db.create_collection(
            "recall",
            params,
            optimizers_config={
                "indexing_threshold": 1 if place.way in _INDEXED else 0,
                "memmap_threshold": 1,
                "max_optimization_threads": 0,  # builds are done by who waits for them
            },
        )
        collection = self._db.collection("recall")
        filed = round(rows * _IN_FILES[place.way])
        for start, end in ((0, filed), (filed, rows)):
            some = slice(start, end)
            if start < end:
                collection.upload_collection(
                    vectors[some]
                    if self._name is None
                    else {name: column[some] for name, column in vectors.items()},
                    payload=payload[some],
                    ids=range(start, end),
                    batch_size=5000,
                )
            if end == filed > 0:
                self._db.wait_for_optimizer()
        return collection

    def _problems(self) -> list[str]:
        """Why this is not the place that was wanted."""
        info = self._db.get_collection("recall")
        if info.optimizer_status != "ok":
            return [f"optimizer: {info.optimizer_status}"]
        if self.place.way not in _INDEXED:
            return []
        large = [s for s in info.segments if s.kind == "file" and s.points >= _INDEX_ROWS]
        without = [s.id for s in large if any(v.index is None for v in s.vectors.values())]
        return [f"segment {each} has no index" for each in without]

    def close(self) -> None:
        self._db.delete_collection("recall")

    def ask(self, asking: Asking, start: int, end: int) -> Answers:
        """What some of the queries find. Warnings are notes: in a program that makes errors of
        warnings they would end the search."""
        with warnings.catch_warnings(record=True) as caught, _visiting(asking):
            warnings.simplefilter("always")
            answers = (self._batch if asking.batch else self._one_by_one)(asking, start, end)
        said = (f"warning: {w.category.__name__}: {w.message}" for w in caught)
        answers.notes += list(dict.fromkeys(said))
        return answers

    def _one_by_one(self, asking: Asking, start: int, end: int) -> Answers:
        answers = _nothing(end - start, asking.k * asking.pages)
        for number, query in enumerate(self.queries[start:end]):
            points: list[models.ScoredPoint] = []
            for page in range(asking.pages):
                began = time.perf_counter()
                found = self._made.query_points(
                    query,
                    using=self._name,
                    query_filter=self._filters[asking.filtered],
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
        requests = [
            {
                "vector": query if self._name is None else {"name": self._name, "vector": query},
                "limit": asking.k,
                "filter": self._filters[asking.filtered],
                "params": asking.params,
            }
            for query in self.queries[start:end]
        ]
        began = time.perf_counter()
        found = self._made.search_batch(requests)
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


def _near_some(truth: Truth, random: np.random.Generator, alive: Mask) -> Rows:
    """Rows to delete: one of ten anywhere, and what is nearest to every third query."""
    near = truth.nearest(alive, min(60, len(truth.queries)), 20)[::3]
    return np.unique(np.append(near, np.flatnonzero(random.random(len(alive)) < 0.1)))


@contextmanager
def _visiting(asking: Asking) -> Iterator[None]:
    """What matches a filter is looked for by the index, as where it is too much to be scanned."""
    values = getattr(scan, _SCANNED_VALUES)  # a name that is gone would test nothing
    if asking.filtered == "visit":
        setattr(scan, _SCANNED_VALUES, 0)
    try:
        yield
    finally:
        setattr(scan, _SCANNED_VALUES, values)
