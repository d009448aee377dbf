"""What the crash tests do to a database, as steps that the process to be killed takes and that
the test takes again on an oracle. Everything follows from a seed and a step's number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from proofs.model import writes
from proofs.model.oracle import Oracle
from proofs.model.writes import Row, Write

DIM = 64  # four rows are one kilobyte
NAME = "points"
IDS = 60
PLACES = 6  # values of the payload's "place", which filters select by

SCALAR = {"scalar": {"type": "int8", "always_ram": True}}
BINARY = {"binary": {"always_ram": False}}

OPTIMIZER = {
    "indexing_threshold": 1,
    "memmap_threshold": 2,
    "default_segment_number": 1,
    "vacuum_min_vector_number": 8,
}

Step = dict[str, Any]
"""``do`` and its arguments; JSON."""


def write_step(seed: int, number: int) -> Step:
    """The ``number``-th write of a plan: a batch, an overwrite, a delete or an edit."""
    rng = np.random.default_rng([seed, number])
    kind = rng.choice(["upsert", "upsert", "upsert", "delete", "set", "clear", "drop"])
    if number == 0 or kind == "upsert":
        ids = rng.choice(IDS, size=int(rng.integers(1, 25)), replace=False)
        return {"do": "upsert", "ids": ids.tolist(), "seed": [seed, number]}
    if kind == "delete":
        ids = rng.choice(IDS, size=int(rng.integers(1, 8)), replace=False)
        return {"do": "delete", "ids": ids.tolist()}
    return {"do": kind, "place": int(rng.integers(PLACES)), "number": number}


def rows_of(step: Step) -> list[Row]:
    """The points of an upsert."""
    rng = np.random.default_rng(step["seed"])
    vectors = rng.standard_normal((len(step["ids"]), DIM)).astype(np.float32)
    number = step["seed"][-1]
    return [
        (point_id, {"op": number, "place": int(rng.integers(PLACES))}, {"": vector})
        for point_id, vector in zip(step["ids"], vectors, strict=True)
    ]


def write_of(step: Step) -> Write:
    """The write that a step is."""
    match step["do"]:
        case "upsert":
            return Write("upsert", 3, rows_of(step))
        case "delete":
            return Write("delete", ids=step["ids"])
        case "set":
            payload = {"set": step["number"]}
            return Write("set_payload", filter=at(step["place"]), payload=payload)
        case "clear":
            return Write("delete_payload", filter=at(step["place"]), names=["set", "op"])
        case "drop":
            return Write("delete_vectors", filter=at(step["place"]), names=[""])
    raise AssertionError(f"no such step: {step}")


def at(place: int) -> dict[str, Any]:
    """The filter of the points at a place."""
    return {"must": [{"key": "place", "match": {"value": place}}]}


def create(db: Any, name: str = NAME, **optimizer: Any) -> None:
    """A collection with codes after four rows."""
    db.create_collection(
        name,
        {"size": DIM, "distance": "Euclid"},
        quantization_config=SCALAR,
        optimizers_config={**OPTIMIZER, **optimizer},
    )


def take(db: Any, step: Step) -> None:
    """One step on a database."""
    do = step["do"]
    if do == "create":
        create(db, step["name"], max_optimization_threads=0)
    elif do == "drop_collection":
        db.delete_collection(step["name"])
    elif do == "optimize":
        db.optimizer.run_once()
    elif do == "flush":
        db.flush()
    elif do == "configure":
        db.update_collection(NAME, **step["change"])
    elif do == "snapshot":
        db.create_snapshot(NAME)
    elif do == "recover":
        db.recover_snapshot(NAME, db.list_snapshots(NAME)[-1].name)
    else:
        writes.perform(db.collection(NAME), write_of(step))


class State:
    """What a database should hold: its collections, each an oracle."""

    def __init__(self) -> None:
        self.collections: dict[str, Oracle] = {}
        self.snapshot: Oracle | None = None

    def copy(self) -> State:
        other = State()
        other.snapshot = self.snapshot
        other.collections = {name: oracle.copy() for name, oracle in self.collections.items()}
        return other

    def take(self, step: Step) -> None:
        """One step on the model."""
        do = step["do"]
        if do == "create":
            self.collections[step["name"]] = Oracle({"": (DIM, "Euclid")})
            return
        if do == "drop_collection":
            self.collections.pop(step["name"], None)
            return
        if do in ("optimize", "flush", "configure"):
            return
        if do == "snapshot":
            self.snapshot = self.collections[NAME].copy()
            return
        if do == "recover":
            assert self.snapshot is not None
            self.collections[NAME] = self.snapshot.copy()
            return
        writes.take(self.collections[NAME], write_of(step))

    def difference(self, db: Any) -> str | None:
        """What a database holds that it should not; None if it is as it should be."""
        names = [c.name for c in db.get_collections().collections]
        if names != sorted(self.collections):
            return f"collections {names}, not {sorted(self.collections)}"
        for name, oracle in self.collections.items():
            problem = oracle.difference(db.collection(name)) or _search(oracle, db.collection(name))
            if problem:
                return f"{name}: {problem}"
        return None


def _search(oracle: Oracle, collection: Any) -> str | None:
    query = np.linspace(-1, 1, DIM, dtype=np.float32)
    params = {"quantization": {"oversampling": 10.0}}
    hits = collection.search(query, search_params=params, limit=IDS)
    return oracle.search_difference(hits, "", query, IDS)


def plan(seed: int, count: int) -> list[Step]:
    return [write_step(seed, number) for number in range(count)]


def _upserts(seed: int, count: int) -> list[Step]:
    steps = [write_step(seed, number) for number in range(100 * count)]
    return [step for step in steps if step["do"] == "upsert"][:count]


CREATE = {"do": "create", "name": NAME}
FLUSH = {"do": "flush"}
OPTIMIZE = {"do": "optimize"}
SNAPSHOT = {"do": "snapshot"}
RECOVER = {"do": "recover"}
EDITS: list[Step] = [{"do": "delete", "ids": [0, 1, 2]}, {"do": "set", "place": 1, "number": 900}]


def _all(seed: int) -> Step:
    return {"do": "upsert", "ids": list(range(IDS)), "seed": [seed, 0]}


# name -> (what was there before, what is done until the process is killed)
WORKLOADS: dict[str, tuple[list[Step], list[Step]]] = {
    "ingest": ([CREATE], _upserts(1, 6)),
    "overwrite-delete": ([CREATE, _all(2), FLUSH], plan(2, 12)),
    "flush": ([CREATE, _all(3), FLUSH, *plan(3, 5)], [FLUSH, *plan(4, 2), FLUSH]),
    "convert": ([CREATE, _all(5), FLUSH, *EDITS], [OPTIMIZE, *plan(5, 2), OPTIMIZE]),
    "merge": (
        [CREATE, *[s for step in _upserts(6, 5) for s in (step, FLUSH)], *EDITS],
        [OPTIMIZE, OPTIMIZE],
    ),
    "vacuum": (
        [CREATE, _all(7), FLUSH, OPTIMIZE],
        [{"do": "delete", "ids": list(range(0, IDS, 3))}, OPTIMIZE, OPTIMIZE, *EDITS],
    ),
    "rebuild": (
        [CREATE, _all(8), FLUSH, OPTIMIZE, *EDITS],
        [
            {"do": "configure", "change": {"quantization_config": BINARY}},
            OPTIMIZE,
            {"do": "configure", "change": {"quantization_config": "Disabled"}},
            OPTIMIZE,
        ],
    ),
    "places": (
        [CREATE, _all(9), FLUSH, OPTIMIZE, *EDITS],
        [
            {"do": "configure", "change": {"optimizers_config": {"memmap_threshold": 0}}},
            {"do": "configure", "change": {"vectors_config": {"": {"on_disk": True}}}},
        ],
    ),
    "collections": (
        [CREATE, _all(10)],
        [
            {"do": "create", "name": "Other Ü"},
            {"do": "drop_collection", "name": NAME},
            CREATE,
            *_upserts(11, 2),
            {"do": "drop_collection", "name": "Other Ü"},
        ],
    ),
    "empty-all": (
        [CREATE, _all(12), FLUSH, OPTIMIZE],
        [{"do": "delete", "ids": list(range(IDS))}, FLUSH, OPTIMIZE, *_upserts(13, 1)],
    ),
    # The snapshot has codes, dead rows and a log; what it replaces has another segment and log.
    "snapshot": ([CREATE, _all(15), FLUSH, OPTIMIZE, *EDITS], [SNAPSHOT, *_upserts(15, 1)]),
    "recover": (
        [
            CREATE,
            _all(16),
            FLUSH,
            OPTIMIZE,
            *EDITS,
            SNAPSHOT,
            *_upserts(17, 2),
            FLUSH,
            *plan(17, 2),
        ],
        [RECOVER, *_upserts(18, 1)],
    ),
    "recover-deleted": (
        [CREATE, _all(19), FLUSH, *EDITS, SNAPSHOT, {"do": "drop_collection", "name": NAME}],
        [RECOVER, *_upserts(20, 1)],
    ),
    # Opening after a crash, and closing, with a log to replay; nothing else is done.
    "open-close": ([CREATE, _all(14), FLUSH, OPTIMIZE, *plan(14, 6), {"do": "kill"}], []),
    "new-database": ([], [CREATE]),
}
