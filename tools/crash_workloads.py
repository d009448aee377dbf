"""Workloads for crash tests: seeded operations on one collection, and what state each leaves.

Run as a program it performs a workload in a directory and prints ``ACK n`` after operation ``n``
returned, with ``os.write``, so that in a trace of system calls the acknowledgements have their
place between the writes. Imported, it tells what the state must be after any number of operations.

    python tools/crash_workloads.py NAME DIRECTORY [--setup]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vecdb import VecDB, models

DIM = 16
State = dict[int, tuple[tuple[float, ...], dict[str, Any]]]
Step = tuple[Any, ...]

BASE = {
    "vectors_config": {"size": DIM, "distance": "Dot"},
    "optimizers_config": {
        "max_optimization_threads": 0,
        "indexing_threshold": 0,
        "default_segment_number": 8,
    },
}


@dataclass(frozen=True)
class Workload:
    """``setup`` makes the durable starting point, ``steps`` is what is traced."""

    steps: list[Step]
    setup: list[Step] = field(default_factory=list)
    killed: bool = False
    """The setup ends without ``close``: opening it is a recovery."""


def vector(point: int, version: int) -> list[float]:
    """Exact in float32, different for every version."""
    return [float((point * 31 + version * 7 + d) % 97) for d in range(DIM)]


def put(first: int, count: int, version: int) -> Step:
    return ("put", first, count, version)


def optimizer(**settings: Any) -> Step:
    return ("update", {"optimizers_config": settings})


def quantize(config: Any) -> Step:
    return ("update", {"quantization_config": config})


SCALAR = {"scalar": {"type": "int8"}}
BINARY = {"binary": {"always_ram": True}}
THREE_SEGMENTS = [
    *[step for n in range(3) for step in (put(100 * n, 20, n), ("flush",))],
    ("delete", [3, 4, 105]),
]

WORKLOADS: dict[str, Workload] = {
    "ingest": Workload([put(10 * n, 7, n) for n in range(8)]),
    "overwrite": Workload(
        [put(0, 12, 1), put(4, 12, 2), ("delete", [5, 6]), ("set", [7, 8]), put(5, 1, 3)],
        setup=[put(0, 10, 0), ("flush",)],
    ),
    "checkpoint": Workload(
        [put(0, 9, 1), ("flush",), put(5, 9, 2), ("delete", [0, 1]), ("flush",), ("set", [2])]
    ),
    "convert": Workload(
        [optimizer(indexing_threshold=1), ("optimize",), put(5, 5, 9), ("set", [8])],
        setup=[put(0, 40, 0), ("flush",), quantize(SCALAR)],
    ),
    "merge": Workload(
        [
            put(200, 3, 5),
            optimizer(default_segment_number=1),
            ("set", [101]),
            ("optimize",),
            ("delete", [102]),
        ],
        setup=THREE_SEGMENTS,
    ),
    "vacuum": Workload(
        [
            ("delete", list(range(10))),
            optimizer(vacuum_min_vector_number=1, deleted_threshold=0.1),
            ("set", [15]),
            ("optimize",),
            ("optimize",),
            ("set", [16]),
        ],
        setup=[put(0, 30, 0), ("flush",)],
    ),
    "configure": Workload(
        [
            quantize(BINARY),
            ("optimize",),
            optimizer(memmap_threshold=1),
            quantize("Disabled"),
            ("optimize",),
            put(3, 3, 4),
        ],
        setup=[put(0, 40, 0), ("flush",), optimizer(indexing_threshold=1)],
    ),
    "create": Workload([("create", "other"), ("drop", "other"), put(1, 2, 3), ("create", "more")]),
    "reopen": Workload([put(0, 5, 1), ("reopen",), put(3, 5, 2), ("reopen",)]),
    "recovery": Workload(
        [put(2, 5, 3), ("reopen",)],
        setup=[put(0, 9, 0), ("flush",), put(5, 9, 1), ("set", [1, 6]), ("delete", [7])],
        killed=True,
    ),
}


def apply(state: State, step: Step) -> State:
    """The points after a step."""
    state = dict(state)
    match step:
        case ("put", first, count, version):
            for point in range(first, first + count):
                state[point] = (tuple(vector(point, version)), {"version": version})
        case ("delete", points):
            for point in points:
                state.pop(point, None)
        case ("set", points):
            for point in points:
                state[point] = (state[point][0], {**state[point][1], "set": True})
    return state


def states(workload: Workload) -> list[State]:
    """After no step, after the first, …"""
    state: State = {}
    for step in workload.setup:
        state = apply(state, step)
    found = [state]
    for step in workload.steps:
        found.append(apply(found[-1], step))
    return found


def collections_after(workload: Workload, count: int) -> set[str]:
    """Names of the collections beside "c" after ``count`` steps."""
    names: set[str] = set()
    for step in workload.steps[:count]:
        if step[0] == "create":
            names.add(step[1])
        elif step[0] == "drop":
            names.discard(step[1])
    return names


def read(db: VecDB) -> State:
    """All points of "c" as they are."""
    records, after = db.scroll("c", limit=100_000, with_vectors=True)
    assert after is None
    return {r.id: (tuple(r.vector), r.payload) for r in records}  # type: ignore[arg-type, misc, union-attr]


def perform(db: VecDB, step: Step, path: Path) -> VecDB:
    """Do one step on the real thing."""
    match step:
        case ("put", first, count, version):
            points = range(first, first + count)
            vectors = np.array([vector(p, version) for p in points], dtype=np.float32)
            payloads = [{"version": version}] * count
            db.upsert("c", models.Batch(ids=list(points), vectors=vectors, payloads=payloads))
        case ("delete", points):
            db.delete("c", points)
        case ("set", points):
            db.set_payload("c", {"set": True}, points)
        case ("flush",):
            db.flush("c")
        case ("optimize",):
            db.optimizer.run_once()
        case ("update", arguments):
            db.update_collection("c", **arguments)
        case ("create", name):
            db.create_collection(name, **BASE)
        case ("drop", name):
            db.delete_collection(name)
        case ("reopen",):
            db.close()
            db = VecDB(path)
    return db


def main() -> None:
    name, path = sys.argv[1], Path(sys.argv[2])
    workload = WORKLOADS[name]
    if "--setup" in sys.argv:
        db = VecDB(path)
        db.create_collection("c", **BASE)
        for step in workload.setup:
            db = perform(db, step, path)
        if workload.killed:
            os._exit(0)
        db.close()
        return
    db = VecDB(path)
    acknowledge: Callable[[int], int] = lambda n: os.write(1, b"ACK %d\n" % n)  # noqa: E731
    acknowledge(0)
    for number, step in enumerate(workload.steps, 1):
        db = perform(db, step, path)
        acknowledge(number)
    os._exit(0)  # no close: the crash comes anyway


if __name__ == "__main__":
    main()
