"""The experiment: build once, then a fresh process for each mode and each limit of memory."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Run, drop_from_cache, version_of
from benchmarks.compare import disk_bytes
from benchmarks.footprint import counters, groups
from benchmarks.footprint.cells import Cell
from benchmarks.footprint.groups import Group, NoGroup, Place
from benchmarks.process import Failed, Process
from benchmarks.systems import OTHERS, SYSTEMS

_WORKER = "benchmarks.footprint.worker"
Result = dict[str, Any]


class Footprint:
    """One experiment: what is asked of every cell, and where databases are."""

    def __init__(self, run: Run, options: argparse.Namespace, limits: dict[str, int]) -> None:
        """``limits``: bytes by their names."""
        self.run, self.limits = run, limits
        self.recall: float = options.recall
        self.searches: int = options.searches
        self.cold: int = options.cold
        """How many searches warm, and right after the start."""
        self.seconds: float = options.seconds
        """The most that one pass of them may take."""
        self.databases: Path = options.databases or run.directory / "databases"
        self.databases.mkdir(parents=True, exist_ok=True)
        self.place: Place | None = None
        self.no_limits: str | None = None
        try:
            self.place = groups.place()
        except NoGroup as reason:
            self.no_limits = str(reason)
            run.say(f"no limits of memory: {reason}")

    # -- databases -----------------------------------------------------------------------------

    def built(self, cell: Cell) -> Result:
        """What is known of a cell's database, which is built if it is not there."""
        directory = self.databases / cell.files
        note = directory.with_name(f"{directory.name}.json")
        data = {**self.run.about_data(), "seed": self.run.seed, "recall": self.recall}
        if note.exists():
            known: Result = json.loads(note.read_text())
            if known["data"] == data:
                return known
            note.unlink()
        shutil.rmtree(directory, ignore_errors=True)
        self.run.say(f"{cell.label}: building")
        with self._process(cell, self.run.cores) as worker:
            result: Result = {"data": data, "note": worker.ask("describe")["note"]}
            result["ingest"], result["build"] = worker.ask("ingest"), worker.ask("build")
            result["effort"] = self._effort(worker)
            worker.ask("close")
        result["disk_bytes"] = disk_bytes(directory)
        note.write_text(json.dumps(result))
        return result

    def _effort(self, worker: Process) -> Any:
        """The quickest of the system's efforts that reaches the recall; or the most thorough."""
        known: list[tuple[float, float, Any]] = []
        for effort in worker.ask("describe")["efforts"]:
            answer = worker.ask("watch", effort=effort, count=self.searches, seconds=self.seconds)
            recall = self.run.data.recall(answer["found"])
            known.append((recall, statistics.median(answer["ns"]), effort))
        enough = [one for one in known if one[0] >= self.recall]
        if enough:
            return min(enough, key=lambda one: one[1])[2]
        return max(known, key=lambda one: one[0])[2]

    def _process(self, cell: Cell, cores: list[int], group: Group | None = None) -> Process:
        return Process(
            cell.system,
            self.run.data,
            self.databases / cell.files,
            cores,
            module=_WORKER,
            arranged={"codes": cell.codes, "mode": cell.mode},
            within=group.command if group else (),
        )

    # -- measuring -----------------------------------------------------------------------------

    def measure(self, cell: Cell) -> Result:
        """One cell, without a limit and with each."""
        known = self.built(cell)
        with self._process(cell, self.run.cores) as worker:
            worker.ask("move")
        result = {
            "system": cell.system,
            "version": version_of({**SYSTEMS, **OTHERS}[cell.system][1]),
            "codes": cell.codes,
            "mode": cell.mode,
            **{name: known[name] for name in ("note", "ingest", "build", "effort", "disk_bytes")},
            "free": self._searched(cell, known["effort"]),
        }
        if self.place is not None:
            result["limits"] = {
                name: self._within(cell, known["effort"], size)
                for name, size in self.limits.items()
            }
        return result

    def _within(self, cell: Cell, effort: Any, size: int) -> Result:
        assert self.place is not None
        name = f"vecdb-footprint-{os.getpid()}"
        with groups.limited(self.place, name, size) as group:
            try:
                result = self._searched(cell, effort, group)
            except Failed as failed:
                result = {"failed": "did not fit" if group.killed() else str(failed)}
            result["limit_bytes"], result["peak_bytes"] = size, group.peak()
        self.run.say(f"{cell.label}, {name_of(size)}: {_in_brief(result)}")
        return result

    def _searched(self, cell: Cell, effort: Any, group: Group | None = None) -> Result:
        """A fresh process, its files out of the page cache: the first searches, and later ones."""
        directory = self.databases / cell.files
        drop_from_cache(directory)
        with self._process(cell, [self.run.core], group) as worker:
            result: Result = {"process": worker.ask("memory_now")}
            result["open_seconds"] = worker.ask("open")["seconds"]
            result["opened"] = worker.ask("memory_now")
            drop_from_cache(directory)  # what opening has read ahead, and did not keep
            kept = counters.cached(directory)
            result["cold"] = self._pass(worker, effort, self.cold, each=True)
            result["cold"]["cached"] = counters.cached(directory) - kept
            self._pass(worker, effort, self.searches)
            result["warm"] = self._pass(worker, effort, self.searches)
            result["searched"] = worker.ask("memory_now")
            result["cached"] = counters.cached(directory)
        if group is None:
            self.run.say(f"{cell.label}: {_in_brief(result)}")
        return result

    def _pass(self, worker: Process, effort: Any, count: int, each: bool = False) -> Result:
        """Searches in a row: times in µs, recall, and what the kernel counted for each."""
        answer = worker.ask(
            "watch",
            timeout=300 + 10 * self.seconds,  # one search may take long where memory is short
            effort=effort,
            count=count,
            seconds=self.seconds,
            each=each,
        )
        times = np.array(answer["ns"]) / 1e3
        result = {
            "searches": len(times),
            "p50": float(np.median(times)),
            "p99": float(np.percentile(times, 99)),
            "mean": float(times.mean()),
            "recall": self.run.data.recall(answer["found"]),
            "each": {name: value / len(times) for name, value in answer["events"].items()},
        }
        if each:
            result["disk_p50"] = float(np.median(answer["disk"]))
        return result


def name_of(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def _in_brief(result: Result) -> str:
    if "failed" in result:
        return str(result["failed"])
    searched, warm, cold = result["searched"], result["warm"], result["cold"]
    return (
        f"{name_of(searched['anonymous'])} anonymous, {name_of(searched['database'])} mapped, "
        f"p50 {warm['p50']:,.0f} µs (cold {cold['p50']:,.0f}), recall {warm['recall']:.3f}"
    )
