"""vecdb and its peers, side by side, on one set of vectors: everything a user would ask about.

Each system is a worker process on one core. What takes seconds (ingest, build) is done one
system after another; what takes microseconds is interleaved (see ``benchmarks.curves``).
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import curves
from benchmarks.common import Run, spread, version_of
from benchmarks.process import Failed, Process
from benchmarks.systems import SYSTEMS, load, missing

BATCH = 100
EVERY = 0.01


class Field:
    """The systems that take part, what was found about each, and their workers."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.results: dict[str, dict[str, Any]] = {}
        self.skipped: dict[str, str] = {}
        self.workers: dict[str, Process] = {}
        self.efforts: dict[str, list[Any]] = {}
        for label in run.systems:
            reason = missing(label)
            if reason is None and run.data.metric not in load(label).metrics:
                reason = f"not made for {run.data.metric}"
            if reason is None:
                self.results[label] = {"version": version_of(SYSTEMS[label][1])}
            else:
                self.skipped[label] = reason
                run.say(f"skipping {label}: {reason}")

    def directory(self, label: str) -> Path:
        return self.run.directory / label.replace(" ", "-")

    def fail(self, label: str, failed: Failed) -> None:
        """Write it down and go on with the others."""
        self.run.say(f"{label} failed: {failed}")
        self.results[label].setdefault("failed", []).append(str(failed))
        self.workers.pop(label, None)

    @contextmanager
    def trying(self, label: str) -> Iterator[None]:
        try:
            yield
        except Failed as failed:
            self.fail(label, failed)


def measure(run: Run) -> dict[str, Any]:
    """All parts in order. A system that fails in one is left out of what needs its worker."""
    field = Field(run)
    try:
        _load(field)
        found = curves.measure(run, run.data, field.workers, field.efforts, field.fail)
        for label, curve in found.items():
            field.results[label]["curve"] = curve
            field.results[label].update(curves.summary(curve))
        _batches(field)
        _settle(field)
    finally:
        for worker in field.workers.values():
            worker.end()
    _starts(field)
    _busy(field)
    return {
        "metric": run.data.metric,
        "vectors": len(run.data.base),
        "queries": len(run.data.queries),
        "systems": field.results,
        "skipped": field.skipped,
    }


def _load(field: Field) -> None:
    """Ingest and build, once each: seconds by the clock, and of processor time."""
    for label, result in field.results.items():
        shutil.rmtree(field.directory(label), ignore_errors=True)
        worker = Process(label, field.run.data, field.directory(label), [field.run.core])
        field.workers[label] = worker
        with field.trying(label):
            about = worker.ask("describe")
            field.efforts[label] = about["efforts"][:: field.run.times(1, 3)]
            result["note"] = about["note"]
            result["ingest"] = worker.ask("ingest")
            result["build"] = worker.ask("build")
            field.run.say(
                f"{label}: ingest {result['ingest']['seconds']:.2f} s, "
                f"build {result['build']['seconds']:.2f} s"
            )


def _batches(field: Field) -> None:
    """100 queries as one batch against one by one, in turn."""
    answers: dict[str, list[dict[str, Any]]] = {label: [] for label in field.workers}
    for number in range(field.run.times(9, 2)):
        for label in list(field.workers):
            with field.trying(label):
                effort = field.results[label]["usual"]
                start = 0 if number == 0 else number * BATCH
                answer = field.workers[label].ask("batch", effort=effort, start=start, count=BATCH)
                answers[label].append(answer)
    for label, all_ in answers.items():
        if all_:
            field.results[label]["batch"] = {
                "count": BATCH,
                "single_per_second": BATCH / statistics.median(one["single"] for one in all_),
                "batch_per_second": BATCH / statistics.median(one["batch"] for one in all_),
                "gain": statistics.median(one["single"] / one["batch"] for one in all_),
                "recall": _recall_of(field, all_[0]["found"]),
            }


def _recall_of(field: Field, found: list[list[int]]) -> float:
    """The batch's queries go round if there are fewer; each counts once here."""
    return field.run.data.recall(found[: len(field.run.data.queries)])


def _settle(field: Field) -> None:
    """Memory of the process that built and searched; then everything to disk."""
    for label in list(field.workers):
        with field.trying(label):
            worker, result = field.workers[label], field.results[label]
            worker.ask("find", effort=result["usual"], start=0, count=field.run.times(1000, 50))
            result["memory_built"] = worker.ask("memory")
            worker.ask("close")
            result["disk_bytes"] = disk_bytes(worker.directory)
            result["index_bytes"] = {
                name: disk_bytes(worker.directory, pattern)
                for name, pattern in load(label).index_files.items()
            }


def _starts(field: Field) -> None:
    """A new process until its first answer, in turn; then its memory after a thousand searches."""
    ready = [label for label, result in field.results.items() if "disk_bytes" in result]
    seconds: dict[str, list[float]] = {label: [] for label in ready}
    for _ in range(field.run.times(7, 1) + 1):  # the first one warms the page cache
        for label in ready:
            with field.trying(label), _again(field, label) as worker:
                worker.answer()
                seconds[label].append(time.perf_counter() - worker.started)
    for label in ready:
        result = field.results[label]
        if not seconds[label]:
            continue
        result["start_seconds"] = spread(seconds[label][1:] or seconds[label])
        with field.trying(label), _again(field, label) as worker:
            worker.answer()
            worker.ask("find", effort=result["usual"], start=0, count=field.run.times(1000, 50))
            result["memory_reopened"] = worker.ask("memory")
    field.run.say("new processes: done")


def _again(field: Field, label: str) -> Process:
    effort = {"effort": field.results[label]["usual"]}
    return Process(label, field.run.data, field.directory(label), [field.run.core], effort)


def _busy(field: Field) -> None:
    """A search every 10 ms while the index is built, on all cores; and idle, before and after."""
    for label, result in field.results.items():
        if "usual" not in result or not load(label).database:
            continue
        shutil.rmtree(field.directory(label), ignore_errors=True)
        cores = field.run.cores
        with (
            field.trying(label),
            Process(label, field.run.data, field.directory(label), cores) as worker,
        ):
            worker.ask("hold")
            worker.ask("ingest")
            answer = worker.ask(
                "busy",
                timeout=120 + 10 * result["build"]["seconds"],  # one of them never answers
                effort=result["usual"],
                every=EVERY,
                idle=field.run.times(300, 20),
            )
            result["busy"] = {
                "cores": len(cores),
                "build_seconds": answer["build_seconds"],
                **{
                    when: _latency(answer[when])
                    for when in ("before", "during", "after")
                    if answer[when]
                },
            }
            during = result["busy"]["during"]
            field.run.say(f"{label}: p99 {during['p99']:.1f} ms while building")


def _latency(milliseconds: list[float]) -> dict[str, float]:
    return {
        "p50": float(np.percentile(milliseconds, 50)),
        "p99": float(np.percentile(milliseconds, 99)),
        "longest": max(milliseconds),
        "searches": len(milliseconds),
    }


def disk_bytes(directory: Path, pattern: str = "*") -> int:
    """Bytes of disk that a directory's files take: they may have holes."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob(pattern) if path.is_file())
