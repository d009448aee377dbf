"""The workloads of ``proofs.io_faults``: steps on a database, and on a model of its points.

A step is a tuple: what to do, and with what. Everything happens in the collection ``NAME``, unless
the step names another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vecdb import VecDB, models
from vecdb.errors import NotFoundError
from vecdb.storage.wal import SyncLevel

NAME = "c"
DIM = 16
BASE: dict[str, Any] = {
    "vectors_config": {"size": DIM, "distance": "Dot"},
    "optimizers_config": {
        "max_optimization_threads": 0,  # steps of the optimizer are steps of the workload
        "indexing_threshold": 0,
        "default_segment_number": 8,
    },
}

Points = dict[int, tuple[tuple[float, ...], dict[str, Any]]]
"""Vector and payload by id."""
Step = tuple[Any, ...]

WRITES = ("put", "delete", "set", "clear")


@dataclass(frozen=True)
class Workload:
    """``setup`` makes the database, ``steps`` is what happens while the disk fails."""

    steps: list[Step]
    setup: list[Step] = field(default_factory=list)
    killed: bool = False
    """The setup ends without ``close``: opening it is a recovery."""
    opens: bool = False
    """The first open is under the fault, too."""
    new: bool = False
    """There is no database before."""
    background: bool = False
    """The optimizer works by itself: calls cannot be counted."""
    level: SyncLevel = "always"
    memory_limit: int | None = None
    """Bytes at which the write that fills the memory segment makes a checkpoint."""


def vector(point: int, version: int) -> list[float]:
    """Exact in float32, different for every version."""
    return [float((point * 31 + version * 7 + d) % 97) for d in range(DIM)]


def put(first: int, count: int, version: int) -> Step:
    return ("put", first, count, version)


def optimizer(**settings: Any) -> Step:
    return ("update", {"optimizers_config": settings})


def quantize(config: Any) -> Step:
    return ("update", {"quantization_config": config})


SCALAR = quantize({"scalar": {"type": "int8"}})
BINARY = quantize({"binary": {"always_ram": True}})
FORTY = [put(0, 40, 0), ("flush",), optimizer(indexing_threshold=1)]
SEGMENTS = [
    *[step for n in range(3) for step in (put(100 * n, 20, n), ("flush",))],
    ("delete", [3, 4, 105]),
]
LOGGED = [put(0, 9, 0), ("flush",), put(5, 9, 1), ("set", [1, 6]), ("delete", [7])]

WORKLOADS: dict[str, Workload] = {
    "ingest": Workload([put(10 * n, 7, n) for n in range(8)]),
    "overwrite": Workload(
        [put(0, 12, 1), ("delete", [5, 6]), ("set", [7, 8]), put(5, 1, 3), ("clear", [0])],
        setup=[put(0, 10, 0), ("flush",)],
    ),
    "flush": Workload(
        [put(0, 9, 1), ("flush",), put(5, 9, 2), ("delete", [0, 1]), ("flush",), ("set", [2])]
    ),
    "unsynced": Workload(
        [put(0, 9, 1), ("set", [3]), ("flush",), put(5, 9, 2), ("delete", [1]), ("close",)],
        level="never",
    ),
    "fill": Workload(
        [put(9 * n, 20, n) for n in range(4)], setup=[put(0, 9, 9)], memory_limit=3000
    ),
    "convert": Workload(
        [optimizer(indexing_threshold=1), ("optimize",), put(5, 5, 9), ("set", [8])],
        setup=[put(0, 40, 0), ("flush",), SCALAR],
    ),
    "merge": Workload(
        [optimizer(default_segment_number=1), ("set", [101]), ("optimize",), ("delete", [102])],
        setup=[*SEGMENTS, put(200, 3, 5)],
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
            BINARY,
            ("optimize",),
            optimizer(memmap_threshold=1),
            quantize("Disabled"),
            ("optimize",),
            put(3, 3, 4),
        ],
        setup=FORTY,
    ),
    "collections": Workload(
        [("create", "other"), ("drop", "other"), put(1, 2, 3), ("create", "more")]
    ),
    "reopen": Workload([put(0, 5, 1), ("reopen",), put(3, 5, 2), ("reopen",)]),
    "recovery": Workload([put(2, 5, 3), ("reopen",)], setup=LOGGED, killed=True, opens=True),
    "close": Workload([put(3, 9, 1), ("set", [4]), ("close",)], setup=[put(0, 9, 0)]),
    "new": Workload([("create", NAME), put(0, 5, 1), ("flush",)], opens=True, new=True),
    "bulk": Workload(
        [put(0, 1500, 1), ("flush",), SCALAR, ("optimize",), put(100, 50, 2)], setup=FORTY
    ),
    "background": Workload(
        [step for n in range(6) for step in (put(30 * n, 40, n), ("flush",))],
        setup=[*FORTY, SCALAR, optimizer(max_optimization_threads=1)],
        background=True,
    ),
}
if hasattr(VecDB, "create_snapshot"):
    WORKLOADS["snapshot"] = Workload(
        [put(0, 9, 1), ("snapshot",), put(5, 9, 2), ("restore",), put(7, 2, 3)], setup=LOGGED
    )


def change(points: Points, step: Step) -> Points:
    """The points after a step. Raises KeyError if one of them is missing."""
    points = dict(points)
    match step:
        case ("put", first, count, version):
            for point in range(first, first + count):
                points[point] = (tuple(vector(point, version)), {"version": version})
        case ("delete", ids):
            for point in ids:
                points.pop(point, None)
        case ("set", ids):
            for point in ids:
                points[point] = (points[point][0], {**points[point][1], "set": True})
        case ("clear", ids):
            for point in ids:
                points[point] = (points[point][0], {})
    return points


def read(db: VecDB) -> Points:
    """All points as they are."""
    records, after = db.scroll(NAME, limit=100_000, with_vectors=True)
    assert after is None
    return {r.id: (tuple(r.vector), r.payload) for r in records}  # type: ignore[arg-type, misc]


def perform(db: VecDB, step: Step) -> None:
    """Do one step on the real thing; not those that open or close it."""
    match step:
        case ("put", first, count, version):
            points = range(first, first + count)
            vectors = np.array([vector(p, version) for p in points], dtype=np.float32)
            payloads = [{"version": version}] * count
            db.upsert(NAME, models.Batch(ids=list(points), vectors=vectors, payloads=payloads))
        case ("delete", ids):
            db.delete(NAME, ids)
        case ("set", ids):
            db.set_payload(NAME, {"set": True}, ids)
        case ("clear", ids):
            db.clear_payload(NAME, ids)
        case ("flush",):
            db.flush(NAME)
        case ("optimize",):
            db.optimizer.run_once()
        case ("update", arguments):
            db.update_collection(NAME, **arguments)
        case ("create", name):
            db.create_collection(name, **BASE)
        case ("drop", name):
            db.delete_collection(name)
        case ("snapshot",):
            db.create_snapshot(NAME)
        case ("restore",):
            found = db.list_snapshots(NAME)
            if not found:
                raise NotFoundError("no snapshot could be taken")
            db.recover_snapshot(NAME, found[-1].name)
        case _:
            raise AssertionError(f"no such step: {step}")


def prepare(name: str, path: Path) -> None:
    """The database a workload starts from."""
    workload = WORKLOADS[name]
    db = VecDB(path)
    db.create_collection(NAME, **BASE)
    for step in workload.setup:
        perform(db, step)
    if not workload.killed:
        db.close()
