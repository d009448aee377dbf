"""Points a second, from numpy, in batches; and peers doing the same in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import vecdb
from benchmarks.common import BATCH, Run, create, fill, small_payloads, spread
from benchmarks.process import Failed, Process
from benchmarks.systems import SYSTEMS, load, missing

SCALAR = {"scalar": {"type": "int8"}}


def measure(run: Run) -> dict[str, Any]:
    """Fresh databases in turn: ours in several configurations, and the peers, round by round."""
    ways: dict[str, Callable[[], dict[str, float]]] = {
        "vecdb": lambda: _ours(run, small_payloads(run.rows)),
        "vecdb, sync never": lambda: _ours(run, small_payloads(run.rows), sync="never"),
        "vecdb, optimizer building scalar codes": lambda: _ours(
            run, small_payloads(run.rows), quantization_config=SCALAR
        ),
    }
    if run.payload is not None:
        payload = run.payload
        ways["vecdb, the data set's own payload"] = lambda: _ours(run, payload)
    notes = {
        "vecdb": "default: every batch is on disk (fdatasync) before upsert returns",
        "vecdb, sync never": "the kernel decides when; survives the process, not the power",
        "vecdb, optimizer building scalar codes": "default sync; the optimizer's thread shares "
        "the one core",
        "vecdb, the data set's own payload": "default sync",
    }
    skipped = {}
    for label in _databases(run.systems):
        reason = missing(label)
        if reason is not None:
            skipped[label] = reason
            run.say(f"skipping {label}: {reason}")
            continue
        name = f"{label}, no payload"
        ways[name] = lambda label=label: _system(run, label)  # type: ignore[misc]
        notes[name] = "a worker process; " + load(label).note
    results: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for number in range(run.times(7)):
        for name in list(ways):
            try:
                results[name].append(ways[name]())
            except Failed as failed:
                run.say(f"{name} failed: {failed}")
                skipped[name] = str(failed)
                del ways[name], results[name]
                continue
            run.say(f"round {number + 1}, {name}: {results[name][-1]['points_per_second']:,.0f}/s")
    return {
        "batch": BATCH,
        "ways": {
            name: {
                "note": notes[name],
                **{key: spread([one[key] for one in runs]) for key in runs[0]},
            }
            for name, runs in results.items()
        },
        "skipped": skipped,
    }


def _databases(labels: list[str]) -> list[str]:
    """One configuration of each library that takes points in before it builds anything."""
    first: dict[str, str] = {}
    for label in labels:
        first.setdefault(SYSTEMS[label][0], label)
    return [name for name in first.values() if missing(name) is not None or load(name).database]


def _system(run: Run, label: str) -> dict[str, float]:
    with Process(label, run.data, run.fresh("ingest"), [run.core]) as worker:
        seconds = worker.ask("ingest")["seconds"]
    run.fresh("ingest")
    return {"points_per_second": run.rows / seconds}


def _ours(run: Run, payloads: list[Any], sync: Any = "always", **config: Any) -> dict[str, float]:
    path = run.fresh("ingest")
    with vecdb.VecDB(path, sync=sync) as db:
        # The optimizer as configured by default: its thread shares our one core.
        collection = create(db, run.dim, run.data.metric, optimizers_config=None, **config)
        seconds = fill(collection, run.base, payloads)
        # Until nothing is left to do: codes are built, or the last rows are in a segment file.
        started = time.perf_counter()
        collection.flush()
        collection.wait_for_optimizer()
        settled = time.perf_counter() - started
    run.fresh("ingest")
    return {"points_per_second": run.rows / seconds, "settle_seconds": settled}
