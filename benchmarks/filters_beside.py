"""Searches with filters beside peers, and what an index of the payload costs each to create.

Each system is a worker process on one core, as in ``benchmarks.compare``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import Run, spread, version_of
from benchmarks.data import Floats, Rows, scored
from benchmarks.process import Failed, Process
from benchmarks.systems import SYSTEMS, missing

LABELS = ("vecdb", "Qdrant Edge scalar", "zvec")
LARGEST = 200_000
"""More rows than that, and the graphs of peers would take too long to build."""
K = 10
_SLICE = 200


class Case(NamedTuple):
    """Filters that are alike: a range of ``field`` that a share of the rows pass."""

    field: str
    """``rank`` has nothing to do with the vectors; ``near`` is how many rows are nearer to one
    certain row."""
    share: float
    far: bool = False
    """The farthest pass, not the nearest."""

    @property
    def aim(self) -> float:
        """The recall that we aim for."""
        return 0.98 if self.field == "rank" else 0.97

    @property
    def name(self) -> str:
        return "range" if self.field == "rank" else "far" if self.far else "near"

    def some(self, rows: int, count: int, random: np.random.Generator) -> list[list[Any]]:
        """So many filters, hardly two of which are the same: nothing is worth remembering.

        Ranges of ranks begin anywhere; of the others only the inner end moves, by a 20th at most.
        """
        width = max(1, round(self.share * rows))
        if self.field == "rank":
            starts = random.integers(0, rows - width + 1, size=count)
            return [[self.field, start, start + width] for start in starts.tolist()]
        widths = (width - random.integers(0, width // 20 + 1, size=count)).tolist()
        if self.far:
            return [[self.field, rows - each, rows] for each in widths]
        return [[self.field, 0, each] for each in widths]


CASES = (
    *(Case("rank", share) for share in (0.001, 0.01, 0.1, 0.5)),
    *(Case("near", share) for share in (0.01, 0.1, 0.3)),
    *(Case("near", share, far=True) for share in (0.01, 0.1, 0.5)),
)


class _Field:
    """The workers, and why others have none."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.workers: dict[str, Process] = {}
        self.skipped: dict[str, str] = {}

    def takes_part(self, label: str) -> bool:
        reason = missing(label) if label in self.run.systems else "not asked for"
        if reason is not None:
            self.skipped[label] = reason
        return reason is None

    @contextmanager
    def trying(self, label: str) -> Iterator[None]:
        """Go on without a system that fails."""
        try:
            yield
        except Failed as failed:
            self.run.say(f"{label} failed: {failed}")
            self.skipped[label] = str(failed)
            self.workers.pop(label).end()

    def start(self, label: str, fields: dict[str, list[Any]], indexed: bool) -> Process:
        """A worker that has taken in all points."""
        directory = self.run.fresh(f"filters-{label.replace(' ', '-')}")
        path = directory.with_suffix(".json")
        path.write_text(json.dumps(fields))
        worker = Process(label, self.run.data, directory, [self.run.core])
        self.workers[label] = worker
        worker.ask("fields", path=str(path), indexed=indexed)
        worker.ask("ingest")
        return worker

    def end(self) -> None:
        for worker in self.workers.values():
            worker.end()
            shutil.rmtree(worker.directory, ignore_errors=True)


# -- searches ----------------------------------------------------------------------------------


def measure(run: Run) -> dict[str, Any]:
    """Recall and p50 of each system and case, and of searches without a filter."""
    random = np.random.default_rng(run.seed)
    base = run.data.vectors
    center = int(random.integers(run.rows))
    nearness = scored(base, base[center : center + 1], run.data.metric)[0]
    order = {
        "rank": np.argsort(random.permutation(run.rows)),
        "near": np.argsort(-nearness, kind="stable"),
    }
    fields = {field: np.argsort(rows).tolist() for field, rows in order.items()}
    field = _Field(run)
    try:
        for label in LABELS:
            if label != "vecdb" and run.rows > LARGEST:
                field.skipped[label] = f"its graph of {run.rows:,} rows was not built"
            elif field.takes_part(label):
                run.say(f"{label}: building with two fields")
                with field.trying(label):
                    field.start(label, fields, indexed=True).ask("build")
        asked = [case and case.some(run.rows, _count(run), random) for case in (None, *CASES)]
        truth = _Truth(run, order, asked)
        systems = {label: _about(worker, label) for label, worker in field.workers.items()}
        efforts = _efforts(field, systems, truth)
        cases = _cases(field, efforts, truth, random)
    finally:
        field.end()
    return {
        "rows": run.rows,
        "queries": _count(run),
        "systems": systems,
        "skipped": field.skipped,
        "cases": cases,
    }


def _count(run: Run) -> int:
    return min(run.times(_SLICE, 20), len(run.queries))


def _about(worker: Process, label: str) -> dict[str, Any]:
    about = worker.ask("describe")
    efforts = about["efforts"] if label != "vecdb" else [None]
    return {"version": version_of(SYSTEMS[label][1]), "note": about["note"], "efforts": efforts}


class _Truth:
    """What the filters of each case let pass, and how good a hit must be for each query: not worse
    than the tenth of all that pass, by score, as everywhere."""

    def __init__(
        self, run: Run, order: dict[str, Rows], asked: list[list[list[Any]] | None]
    ) -> None:
        self.asked = asked
        self._run = run
        self._ranks = {field: np.argsort(rows) for field, rows in order.items()}
        self._bounds: list[list[tuple[int, float]]] = [[] for _ in asked]
        for number in range(_count(run)):
            scores = self._scores(number, slice(None))
            for at, between in enumerate(asked):
                name, low, high = between[number] if between else ("rank", 0, run.rows)
                passing = scores[order[name][low:high]]
                k = min(K, len(passing))
                least = float(np.partition(passing, -k)[-k])
                self._bounds[at].append((k, least - 1e-6 * max(1.0, abs(least))))

    def recall(self, at: int, found: list[list[int]]) -> float:
        """Of the answers to the queries of one case."""
        hits, between = 0, self.asked[at]
        for number, rows in enumerate(found):
            mine = np.unique(np.array(rows, dtype=np.int64))
            if between:
                name, low, high = between[number]
                ranks = self._ranks[name][mine]
                mine = mine[(ranks >= low) & (ranks < high)]
            k, least = self._bounds[at][number]
            hits += min(k, int((self._scores(number, mine) >= least).sum()))
        return hits / max(1, sum(k for k, _ in self._bounds[at][: len(found)]))

    def _scores(self, number: int, rows: Any) -> Floats:
        data = self._run.data
        query = data.asked[number : number + 1]
        found: Floats = scored(data.vectors[rows], query, data.metric)[0]
        return found


def _efforts(
    field: _Field, systems: dict[str, dict[str, Any]], truth: _Truth
) -> list[dict[str, Any]]:
    """Of each case and system, by recall: no option for vecdb; for others the fastest that finds
    what is aimed for, or without a filter as much as vecdb, or the one that finds most."""
    chosen: list[dict[str, Any]] = []
    for at, case in enumerate((None, *CASES)):
        efforts: dict[str, Any] = {}
        for label in list(field.workers):
            with field.trying(label):
                tried = []
                for effort in systems[label]["efforts"]:
                    answer = field.workers[label].ask(
                        "find", effort=effort, start=0, count=_count(field.run), **_in(truth, at)
                    )
                    recall = truth.recall(at, answer["found"])
                    tried.append((recall, float(np.median(answer["ns"])), effort))
                least = case.aim if case else efforts["vecdb"][0] if "vecdb" in efforts else 0.98
                enough = [one for one in tried if one[0] >= least]
                recall, _, effort = min(enough, key=lambda one: one[1]) if enough else max(tried)
                efforts[label] = (recall, effort)
        field.run.say(f"filters: {case.name if case else 'none'}: {efforts}")
        chosen.append(efforts)
    return chosen


def _in(truth: _Truth, at: int) -> dict[str, Any]:
    return {"between": truth.asked[at]}


def _cases(
    field: _Field,
    efforts: list[dict[str, Any]],
    truth: _Truth,
    random: np.random.Generator,
) -> list[dict[str, Any]]:
    """Rounds of one system after the other, with new filters, the same ones for all."""
    run, cases, count = field.run, (None, *CASES), _count(field.run)
    times: list[dict[str, list[Any]]] = [{label: [] for label in field.workers} for _ in cases]
    for number in range(run.times(9, 2)):
        for at, case in enumerate(cases):
            between = case and case.some(run.rows, count, random)
            labels = list(field.workers)
            first = number % max(1, len(labels))
            for label in labels[first:] + labels[:first]:
                with field.trying(label):
                    times[at][label].append(
                        field.workers[label].ask(
                            "time",
                            effort=efforts[at][label][1],
                            start=0,
                            count=count,
                            warm=count // 10,
                            between=between,
                        )
                    )
        run.say(f"filters: round {number + 1}")
    return [
        {
            "name": case.name if case else "no filter",
            "share": case.share if case else 1.0,
            "systems": {
                label: {
                    **_summary(times[at][label]),
                    "recall": efforts[at][label][0],
                    "effort": efforts[at][label][1],
                }
                for label in field.workers
            },
        }
        for at, case in enumerate(cases)
    ]


def _summary(rounds: list[list[int]]) -> dict[str, Any]:
    each = np.array(rounds, dtype=np.float64) / 1e3
    return {
        "p50": float(np.median(np.median(each, axis=1))),
        "p99": float(np.median(np.percentile(each, 99, axis=1))),
        "rounds_p50": np.median(each, axis=1).tolist(),
    }


# -- creating indexes --------------------------------------------------------------------------


def creation(run: Run) -> dict[str, Any]:
    """Seconds of creating both indexes, alone and while searches follow one another, in turn, on
    one core and on all; and p99 of searches, idle and meanwhile.

    Edge has no index of vectors here, which this does not need: its searches are scans.
    """
    random = np.random.default_rng(run.seed)
    cities = random.integers(1000, size=run.rows).tolist()
    fields = {
        "rank": random.permutation(run.rows).tolist(),
        "city": [f"city {city}" for city in cities],
    }
    field = _Field(run)
    rounds: dict[str, dict[str, list[Any]]] = {}
    efforts: dict[str, Any] = {}
    try:
        for label in LABELS[:2]:
            if field.takes_part(label):
                run.say(f"{label}: taking in points without an index of their payload")
                with field.trying(label):
                    worker = field.start(label, fields, indexed=False)
                    efforts[label] = None
                    if label == "vecdb":
                        worker.ask("build")
                    else:
                        efforts[label] = worker.ask("describe")["efforts"][0]
                    rounds[label] = {"one core": [], "all cores": []}
        for name, cores in (("one core", [run.core]), ("all cores", run.cores)):
            for _ in range(run.times(5 if run.rows <= LARGEST else 3)):
                for label in list(field.workers):
                    with field.trying(label):
                        worker = field.workers[label]
                        worker.ask("pin", cores=cores)
                        answer = worker.ask("index", effort=efforts[label], idle=1000)
                        rounds[label][name].append(answer)
            run.say(f"indexes of payloads: created on {name}")
    finally:
        field.end()
    return {
        "cores": len(run.cores),
        "skipped": field.skipped,
        "systems": {
            label: {name: _creation(each) for name, each in rounds[label].items()}
            for label in field.workers
        },
    }


def _creation(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Of all rounds: there are few searches in each."""
    before = [one for each in rounds for one in each["before"]]
    during = [one for each in rounds for one in each["during"]]
    return {
        "alone_seconds": spread([each["alone"] for each in rounds]),
        "seconds": spread([each["seconds"] for each in rounds]),
        "idle_p99": float(np.percentile(before, 99)),
        "p99": float(np.percentile(during, 99)),
        "longest": max(during),
        "searches": len(during),
    }
