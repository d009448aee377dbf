"""Points a second, from numpy, in batches; and peers doing the same in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import vecdb
from bench import peers
from bench.common import BATCH, Run, create, fill, small_payloads, spread

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
    if run.peers:
        for peer in peers.PEERS:
            reason = peer.missing()
            if reason is not None:
                skipped[peer.name] = reason
                run.say(f"skipping {peer.name}: {reason}")
                continue
            ways[peer.name] = lambda peer=peer: peer.ingest(run)  # type: ignore[misc]
            notes[peer.name] = peer.note
    slow = {peer.name for peer in peers.PEERS if peer.slow}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    rounds = run.times(7)
    for number in range(rounds):
        for name, way in ways.items():
            if name in slow and number > 0:
                continue
            results[name].append(way())
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


def _ours(run: Run, payloads: list[Any], sync: Any = "always", **config: Any) -> dict[str, float]:
    path = run.fresh("ingest")
    with vecdb.VecDB(path, sync=sync) as db:
        # The optimizer as configured by default: its thread shares our one core.
        collection = create(db, run.dim, optimizers_config=None, **config)
        seconds = fill(collection, run.base, payloads)
        # Until nothing is left to do: codes are built, or the last rows are in a segment file.
        started = time.perf_counter()
        collection.flush()
        collection.wait_for_optimizer()
        settled = time.perf_counter() - started
    run.fresh("ingest")
    return {"points_per_second": run.rows / seconds, "settle_seconds": settled}
