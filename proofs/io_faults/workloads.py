"""The workloads of ``proofs.io_faults``: steps on a database, and on a model of its points.

Everything happens in the collection ``NAME``, unless a step names another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from proofs.model.oracle import Oracle, Points
from proofs.model.writes import Row, Write, perform, take
from vecdb import VecDB
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

VECTORS = {"": (DIM, "Dot")}


@dataclass(frozen=True)
class Upkeep:
    """A step that is no write: a verb, and what it is about."""

    verb: str
    name: str = NAME
    settings: dict[str, Any] = field(default_factory=dict)


Step = Write | Upkeep


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


def row(point: int, version: int) -> Row:
    """Exact in float32, different for every version."""
    vector = ((point * 31 + version * 7 + np.arange(DIM)) % 97).astype(np.float32)
    return point, {"version": version}, {"": vector}


def put(first: int, count: int, version: int) -> Write:
    return Write("upsert", 2, [row(point, version) for point in range(first, first + count)])


def delete(*ids: int) -> Write:
    return Write("delete", ids=ids)


def edit(*ids: int) -> Write:
    return Write("set_payload", ids=ids, payload={"set": True})


def clear(*ids: int) -> Write:
    return Write("clear_payload", ids=ids)


FLUSH, OPTIMIZE = Upkeep("flush"), Upkeep("optimize")
SNAPSHOT, RESTORE = Upkeep("snapshot"), Upkeep("restore")
OPEN, REOPEN, CLOSE = Upkeep("open"), Upkeep("reopen"), Upkeep("close")


def create(name: str) -> Upkeep:
    return Upkeep("create", name)


def drop(name: str) -> Upkeep:
    return Upkeep("drop", name)


def optimizer(**settings: Any) -> Upkeep:
    return Upkeep("update", settings={"optimizers_config": settings})


def quantize(config: Any) -> Upkeep:
    return Upkeep("update", settings={"quantization_config": config})


def vector(name: str, there: bool) -> Upkeep:
    """A vector name comes, or goes."""
    return Upkeep("update", settings={"vector": name, "there": there})


def index(field: str, kind: str | None) -> Upkeep:
    """A field of the payload gets an index, or loses it."""
    return Upkeep("update", settings={"field": field, "kind": kind})


def batch(*parts: Write) -> Write:
    return Write("batch_update_points", parts=parts)


def marked(version: int) -> Write:
    """An edit of all points of a version."""
    of_version = {"must": [{"key": "version", "match": {"value": version}}]}
    return Write("set_payload", filter=of_version, payload={"marked": version})


SCALAR = quantize({"scalar": {"type": "int8"}})
BINARY = quantize({"binary": {"always_ram": True}})
FORTY: list[Step] = [put(0, 40, 0), FLUSH, optimizer(indexing_threshold=1)]
SEGMENTS: list[Step] = [
    *[step for n in range(3) for step in (put(100 * n, 20, n), FLUSH)],
    delete(3, 4, 105),
]
LOGGED: list[Step] = [put(0, 9, 0), FLUSH, put(5, 9, 1), edit(1, 6), delete(7)]

WORKLOADS: dict[str, Workload] = {
    "ingest": Workload([put(10 * n, 7, n) for n in range(8)]),
    "overwrite": Workload(
        [put(0, 12, 1), delete(5, 6), edit(7, 8), put(5, 1, 3), clear(0)],
        setup=[put(0, 10, 0), FLUSH],
    ),
    "flush": Workload([put(0, 9, 1), FLUSH, put(5, 9, 2), delete(0, 1), FLUSH, edit(2)]),
    "batch": Workload(
        [
            *(batch(put(0, 9, 1), marked(1), delete(1, 2), put(2, 1, 5)), FLUSH),
            *(batch(marked(5), put(5, 3, 6), marked(6)), batch(delete(*range(5)), marked(1))),
        ],
        setup=[put(0, 20, 0), FLUSH],
    ),
    "names": Workload(
        [
            *(vector("n", True), put(0, 9, 1), delete(3), vector("n", False), put(5, 9, 2)),
            *(vector("m", True), FLUSH, edit(1), REOPEN, vector("m", False)),
        ],
        setup=[put(0, 20, 0), FLUSH],
    ),
    "columns": Workload(
        [
            *(index("version", "integer"), put(0, 9, 1), edit(3), FLUSH, marked(1)),
            *(index("marked", "integer"), FLUSH, index("version", None), OPTIMIZE, REOPEN),
        ],
        setup=[put(0, 20, 0), FLUSH],
    ),
    "unsynced": Workload(
        [put(0, 9, 1), edit(3), FLUSH, put(5, 9, 2), delete(1), CLOSE],
        level="never",
    ),
    "fill": Workload(
        [put(9 * n, 20, n) for n in range(4)], setup=[put(0, 9, 9)], memory_limit=3000
    ),
    "convert": Workload(
        [optimizer(indexing_threshold=1), OPTIMIZE, put(5, 5, 9), edit(8)],
        setup=[put(0, 40, 0), FLUSH, SCALAR],
    ),
    "merge": Workload(
        [optimizer(default_segment_number=1), edit(101), OPTIMIZE, delete(102)],
        setup=[*SEGMENTS, put(200, 3, 5)],
    ),
    "vacuum": Workload(
        [
            delete(*range(10)),
            optimizer(vacuum_min_vector_number=1, deleted_threshold=0.1),
            edit(15),
            OPTIMIZE,
            OPTIMIZE,
            edit(16),
        ],
        setup=[put(0, 30, 0), FLUSH],
    ),
    "configure": Workload(
        [
            BINARY,
            OPTIMIZE,
            optimizer(memmap_threshold=1),
            quantize("Disabled"),
            OPTIMIZE,
            put(3, 3, 4),
        ],
        setup=FORTY,
    ),
    "collections": Workload([create("other"), drop("other"), put(1, 2, 3), create("more")]),
    "reopen": Workload([put(0, 5, 1), REOPEN, put(3, 5, 2), REOPEN]),
    "recovery": Workload([put(2, 5, 3), REOPEN], setup=LOGGED, killed=True, opens=True),
    "close": Workload([put(3, 9, 1), edit(4), CLOSE], setup=[put(0, 9, 0)]),
    "new": Workload([create(NAME), put(0, 5, 1), FLUSH], opens=True, new=True),
    "bulk": Workload([put(0, 1500, 1), FLUSH, SCALAR, OPTIMIZE, put(100, 50, 2)], setup=FORTY),
    "background": Workload(
        [step for n in range(6) for step in (put(30 * n, 40, n), FLUSH)],
        setup=[*FORTY, SCALAR, optimizer(max_optimization_threads=1)],
        background=True,
    ),
}
if hasattr(VecDB, "create_snapshot"):
    WORKLOADS["snapshot"] = Workload(
        [put(0, 9, 1), SNAPSHOT, put(5, 9, 2), RESTORE, put(7, 2, 3)],
        setup=[index("version", "integer"), *LOGGED],
    )


def change(points: Points, write: Write) -> Points:
    """The points after a write. Raises KeyError if one of them is missing."""
    oracle = Oracle(VECTORS)
    oracle.points = dict(points)
    take(oracle, write)
    return oracle.points


def do(db: VecDB, step: Step) -> None:
    """A step on the real thing; not those that open or close it."""
    if isinstance(step, Write):
        perform(db.collection(NAME), step)
        return
    match step.verb:
        case "flush":
            db.flush(NAME)
        case "optimize":
            db.optimizer.run_once()
        case "update" if "vector" in step.settings:
            collection, name = db.collection(NAME), step.settings["vector"]
            if step.settings["there"]:
                collection.create_vector_name(name, {"dense": {"size": 3, "distance": "Dot"}})
            else:
                collection.delete_vector_name(name)
        case "update" if "field" in step.settings:
            collection, field = db.collection(NAME), step.settings["field"]
            if step.settings["kind"] is None:
                collection.delete_payload_index(field)
            else:
                collection.create_payload_index(field, step.settings["kind"])
        case "update":
            db.update_collection(NAME, **step.settings)
        case "create":
            db.create_collection(step.name, **BASE)
        case "drop":
            db.delete_collection(step.name)
        case "snapshot":
            db.create_snapshot(NAME)
        case "restore":
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
        do(db, step)
    if not workload.killed:
        db.close()
