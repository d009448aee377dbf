"""How time grows with the number of vectors: made-up clustered data of several sizes."""

from __future__ import annotations

import shutil
from typing import Any

from benchmarks import curves, data
from benchmarks.common import Run
from benchmarks.process import Failed, Process
from benchmarks.systems import load, missing

SIZES = ((10_000, 384), (100_000, 384), (1_000_000, 384))
"""Vectors and their dimensions, unless others are asked for."""
_QUICK = ((1_000, 32), (2_000, 32))
QUERIES = 500


def measure(run: Run) -> dict[str, Any]:
    """For each size: ingest and build on all cores, then the curve on one."""
    labels = [name for name in run.systems if missing(name) is None and load(name).grows]
    sizes: list[dict[str, Any]] = []
    for rows, dim in run.sizes or (_QUICK if run.quick else SIZES):
        folder = run.fresh("growth")
        run.say(f"making {rows:,} vectors of {dim} numbers and their truth")
        data.synthetic(folder, rows, dim, run.times(QUERIES, 20), run.seed)
        systems = _one(run, data.Data(folder, "cosine"), labels)
        sizes.append({"rows": rows, "dim": dim, "systems": systems})
        shutil.rmtree(folder)
    return {"cores": len(run.cores), "sizes": sizes}


def _one(run: Run, vectors: data.Data, labels: list[str]) -> dict[str, Any]:
    results: dict[str, dict[str, Any]] = {label: {} for label in labels}
    workers: dict[str, Process] = {}
    efforts: dict[str, list[Any]] = {}

    def fail(label: str, failed: Failed) -> None:
        run.say(f"{label} failed: {failed}")
        results[label]["failed"] = str(failed)
        workers.pop(label).end()

    try:
        for label in labels:
            directory = run.fresh(f"growth-{label.replace(' ', '-')}")
            workers[label] = worker = Process(label, vectors, directory, run.cores)
            try:
                efforts[label] = worker.ask("describe")["efforts"][:: run.times(1, 3)]
                results[label]["ingest"] = worker.ask("ingest")
                results[label]["build"] = worker.ask("build")
                worker.ask("pin", cores=[run.core])
            except Failed as failed:
                fail(label, failed)
            else:
                run.say(f"{label}: built in {results[label]['build']['seconds']:.1f} s")
        found = curves.measure(run, vectors, workers, efforts, fail)
        for label, curve in found.items():
            results[label].update(curve=curve, **curves.summary(curve))
            results[label]["memory_built"] = workers[label].ask("memory")
    finally:
        for worker in workers.values():
            worker.end()
            shutil.rmtree(worker.directory, ignore_errors=True)
    return results
