"""The databases that ``proofs.damage`` damages, and what they hold after every operation.

Every collection is built by steps, which are taken on the real thing and, apart from it, on an
oracle (``proofs/model/oracle.py``). Together the collections have every kind of file there is: each
kind of codes, indexes, each storage mode, named vectors, points without some of them, UUID ids,
dead rows, edited payloads, several segments. These directories are made:

=============  =====================================================================
``older``      closed, an earlier state of ``closed``
``eve``        the same, before the last commit of ``closed``: a change of a configuration
``closed``     closed orderly
``halfway``    copied while it was open, an earlier state of ``killed``
``killed``     left by SIGKILL: logs to replay, one of them in two files, one retired in part
``other``      a database of its own, made like ``closed`` of other numbers
=============  =====================================================================

With the same seed the same bytes are built, so that a case can be replayed.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.random  # takes random bits when it is loaded, which must not be ours

from proofs.model.oracle import Oracle, PointId
from proofs.model.sparse import MODIFIERS, PLACES, given
from proofs.model.writes import Row, Write, perform, take
from vecdb import VecDB
from vecdb.storage.builder import SegmentBuilder
from vecdb.storage.wal import Wal

Step = tuple[Any, ...]

MANUAL = {"max_optimization_threads": 0, "indexing_threshold": 1, "default_segment_number": 8}
SCALAR = {"scalar": {"type": "int8", "always_ram": False}}
QUANTILE = {"scalar": {"type": "int8", "quantile": 0.9}}
BINARY = {"binary": {"always_ram": True}}
PRODUCT = {"product": {"compression": "x16", "always_ram": False}}


@dataclass(frozen=True)
class Spec:
    """One collection: what it is created with, and the steps that fill it."""

    vectors: dict[str, tuple[int, str]]
    """Name to dimension and distance."""
    create: dict[str, Any]
    rebuild: dict[str, Any]
    """A change of the configuration after which every segment has to be written anew."""
    mapped: tuple[str, ...] = ()
    """Files, beside payload and seqs, that are mapped and verified only when they are used."""
    wide: bool = False
    """Every third id is a UUID."""
    text: int = 12
    """Characters of the longest value of a payload."""
    first: list[Step] = field(default_factory=list)
    second: list[Step] = field(default_factory=list)
    third: list[Step] = field(default_factory=list)
    """Until ``halfway`` is copied."""
    fourth: list[Step] = field(default_factory=list)
    """Until the process is killed."""


def _vector(dim: int, distance: str, **more: Any) -> dict[str, Any]:
    return {"size": dim, "distance": distance, **more}


_WRITES: dict[str, Any] = {
    "first": [
        ("upsert", 0, 26),
        ("flush",),
        ("upsert", 22, 20),
        ("delete", [3, 4, 21]),
        ("flush",),
        ("optimize",),
        ("delete", [1]),
        ("flush",),
    ],
    "second": [("upsert", 40, 17), ("set", [2, 43]), ("flush",), ("optimize",)],
    "third": [("upsert", 60, 5), ("delete", [2, 42])],
    "fourth": [("set", [61, 9]), ("upsert", 10, 3), ("upsert", 70, 2)],
}

_FEWER_SEGMENTS: dict[str, Any] = {
    **_WRITES,
    "first": [
        ("upsert", 0, 26),
        ("delete", [3, 4]),
        ("upsert", 22, 20),
        ("flush",),
        ("optimize",),
        ("delete", [1]),
        ("flush",),
    ],
}

# Rows and dimensions are small, so that every byte of nearly every file can be damaged.
COLLECTIONS: dict[str, Spec] = {
    # No codes; everything in anonymous memory. The last step of ``closed`` is a commit that
    # moves nothing but the configuration; the process is killed in a checkpoint, between the
    # commit and the removal of the log that it made unnecessary.
    "plain": Spec(
        {"": (8, "Cosine")},
        {"vectors_config": _vector(8, "Cosine")},
        rebuild={"quantization_config": QUANTILE, "optimizers_config": {"memmap_threshold": 1}},
        wide=True,
        **{
            **_WRITES,
            "second": [
                *_WRITES["second"],
                ("copy", "eve"),
                ("configure", {"deleted_threshold": 0.7}),
            ],
            "fourth": [*_WRITES["fourth"], ("die in a checkpoint",)],
        },
    ),
    # Everything mapped, originals and codes. Segments of ``older`` have been merged.
    "scalar": Spec(
        {"": (16, "Euclid")},
        {
            "vectors_config": _vector(16, "Euclid", on_disk=True),
            "quantization_config": SCALAR,
        },
        mapped=("vectors", "codes", "column.place"),
        rebuild={"quantization_config": QUANTILE},
        **{
            **_WRITES,
            "second": [
                ("upsert", 40, 17),
                ("flush",),
                ("index", "place", "integer"),
                ("configure", {"default_segment_number": 1}),
                ("optimize",),
                ("upsert", 80, 16),
                ("flush",),
                ("optimize",),
                ("delete", [80]),
                ("flush",),
            ],
        },
    ),
    # Mapped originals, codes in anonymous memory.
    "binary": Spec(
        {"": (70, "Dot")},
        {
            "vectors_config": _vector(70, "Dot", on_disk=True),
            "quantization_config": BINARY,
        },
        mapped=("vectors",),
        rebuild={"quantization_config": QUANTILE},
        wide=True,
        **_FEWER_SEGMENTS,
    ),
    # Named vectors, which not every point has; originals in anonymous memory, mapped codes.
    # Two WAL files have to be replayed: the checkpoint between them failed.
    "named": Spec(
        {"a": (16, "Cosine"), "b": (8, "Manhattan"), "c/Ü": (6, "Dot")},
        {
            "vectors_config": {
                "a": _vector(16, "Cosine", quantization_config=QUANTILE),
                "b": _vector(8, "Manhattan", quantization_config=PRODUCT),
                "c/Ü": _vector(6, "Dot"),
            },
        },
        mapped=("codes.b",),
        rebuild={"vectors_config": {"a": {"quantization_config": BINARY}}},
        **{
            **_FEWER_SEGMENTS,
            "third": [*_WRITES["third"], ("fail to flush",), ("drop", [6, 7], ["a", "c/Ü"])],
        },
    ),
    # Indexes: of the name that the rows are in order of, and of one that has its own order; some
    # points have no vector of a name. The other segment is too small for one.
    "indexed": Spec(
        {"a": (64, "Euclid"), "b": (32, "Dot")},
        {
            "vectors_config": {
                "a": _vector(64, "Euclid", on_disk=True, quantization_config=SCALAR),
                "b": _vector(32, "Dot"),
            },
        },
        mapped=("vectors.a", "codes.a", "sketch.a"),
        rebuild={"vectors_config": {"a": {"quantization_config": BINARY}}},
        **{
            **_WRITES,
            "first": [
                ("upsert", 0, 640),
                ("delete", [3, 4, 21]),
                ("flush",),
                ("optimize",),
                ("delete", [1]),
                ("flush",),
            ],
            "second": [("upsert", 640, 9), ("set", [2, 43]), ("flush",), ("optimize",)],
        },
    ),
    # Sparse vectors, which not every point has, with an inverted index in one of the segments.
    "sparse": Spec(
        {"a": (8, "Dot"), "s": (PLACES, "Idf")},
        {
            "vectors_config": {"a": _vector(8, "Dot")},
            "sparse_vectors_config": {"s": {"modifier": "idf", "index": {"on_disk": True}}},
        },
        mapped=("postings.s", "sparse-indices.s", "sparse-values.s"),
        rebuild={"quantization_config": QUANTILE},
        **{
            **_WRITES,
            "first": [("upsert", 0, 320), ("delete", [3, 4]), ("flush",), ("delete", [1])],
            "second": [("upsert", 320, 9), ("set", [2, 43]), ("flush",)],
        },
    ),
    # No vectors. Nothing asks for other codes here: all segments become one.
    "payloads": Spec(
        {},
        {},
        rebuild={
            "optimizers_config": {
                "default_segment_number": 1,
                "vacuum_min_vector_number": 1,
                "deleted_threshold": 0.0,
            }
        },
        mapped=("column.place", "column.text"),
        wide=True,
        **{
            **_WRITES,
            "first": [("index", "place", "integer"), *_WRITES["first"]],
            "second": [*_WRITES["second"], ("index", "text", "keyword")],
        },
    ),
    # Files of several blocks, one segment, everything mapped.
    "large": Spec(
        {"": (400, "Euclid")},
        {
            "vectors_config": _vector(400, "Euclid", on_disk=True),
            "quantization_config": SCALAR,
        },
        mapped=("vectors", "codes"),
        rebuild={"quantization_config": QUANTILE},
        text=1000,
        first=[("upsert", 0, 170), ("flush",), ("optimize",)],
        second=[("set", [n for n in range(170) if n % 4]), ("delete", [5, 6, 7]), ("flush",)],
        third=[("upsert", 5, 1)],
        fourth=[("set", [5])],
    ),
}
ORDER = ["scalar", "binary", "named", "indexed", "sparse", "payloads", "large", "plain"]
"""``plain`` is last: the process dies in it."""


@dataclass(frozen=True)
class States:
    """What a collection holds after every operation, by its number in the log."""

    by_seq: list[Oracle]
    configs: list[dict[str, Any]]
    """The optimizer settings that were asked for, by the same number."""

    @property
    def last(self) -> int:
        return len(self.by_seq) - 1


@dataclass(frozen=True)
class Databases:
    """Directories by name, and the states of their collections."""

    root: Path
    states: dict[str, dict[str, States]]

    def path(self, template: str) -> Path:
        return self.root / template


def point_id(spec: Spec, number: int) -> PointId:
    """Numbers, or every third of them as a UUID."""
    if spec.wide and number % 3 == 0:
        return str(uuid.UUID(int=(number + 1) * 0x6A09E667F3BCC908B2FB1366EA957D3E % (1 << 127)))
    return number


def rows_of(spec: Spec, start: int, count: int, seed: int, seq: int) -> list[Row]:
    """The points of an upsert: some without a payload, some without some vectors."""
    rng = np.random.default_rng([seed, seq])
    rows: list[Row] = []
    for number in range(start, start + count):
        payload: dict[str, Any] = {"n": number, "place": number % 4, "seq": seq}
        payload["text"] = "".join(
            map(chr, rng.integers(97, 123, size=int(rng.integers(spec.text))))
        )
        vectors: dict[str, Any] = {
            name: rng.standard_normal(dim).astype(np.float32)
            for name, (dim, _) in spec.vectors.items()
        }
        for name, (_, distance) in spec.vectors.items():
            if distance in MODIFIERS:
                vectors[name] = given(np.where(vectors[name] > 0.3, vectors[name], np.float32(0)))
        for position, name in enumerate(spec.vectors):
            if len(spec.vectors) > 1 and (number + position) % 5 == 0:
                del vectors[name]
        rows.append((point_id(spec, number), None if number % 7 == 3 else payload, vectors))
    return rows


def write_of(spec: Spec, step: Step, seed: int, seq: int) -> Write | None:
    """The write that a step is; None if it is none."""
    match step:
        case ("upsert", start, count):
            return Write("upsert", rows=rows_of(spec, start, count, seed, seq))
        case ("delete", numbers):
            return Write("delete", ids=[point_id(spec, n) for n in numbers])
        case ("set", numbers):
            ids = [point_id(spec, n) for n in numbers]
            return Write("set_payload", ids=ids, payload={"set": seq})
        case ("drop", numbers, names):
            return Write("delete_vectors", ids=[point_id(spec, n) for n in numbers], names=names)
    return None


def do(db: VecDB, name: str, step: Step, seed: int, seq: int) -> bool:
    """One step on the database; whether it was a write, which had this number."""
    collection = db.collection(name)
    write = write_of(COLLECTIONS[name], step, seed, seq)
    if write is not None:
        perform(collection, write)
        return True
    match step:
        case ("flush",):
            collection.flush()
        case ("optimize",):
            collection.wait_for_optimizer()
        case ("index", field, kind):
            collection.create_payload_index(field, kind)
        case ("configure", settings):
            db.update_collection(name, optimizers_config=settings)
        case ("copy", template):
            if db.path.name == "main":
                shutil.copytree(db.path, db.path.parent / template)
        case ("fail to flush",):
            _failing_flush(db, name)
        case ("die in a checkpoint",):
            Wal.retire = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
            collection.flush()
        case _:
            raise AssertionError(f"no such step: {step}")
    return False


def _failing_flush(db: VecDB, name: str) -> None:
    """A checkpoint that stops after a new WAL file was begun and before the commit."""
    finish = SegmentBuilder.finish

    def fail(*_: Any) -> Any:
        raise OSError("no more")

    SegmentBuilder.finish = fail  # type: ignore[method-assign, assignment]
    try:
        db.collection(name).flush()
    except OSError:
        pass
    SegmentBuilder.finish = finish  # type: ignore[method-assign]


def states_of(name: str, phases: list[str], seed: int) -> States:
    """The state after every operation of some phases."""
    spec = COLLECTIONS[name]
    oracle, config = Oracle(spec.vectors), dict(MANUAL)
    found = States([oracle.copy()], [config])
    for step in [step for phase in phases for step in getattr(spec, phase)]:
        write = write_of(spec, step, seed, len(found.by_seq))
        if write is not None:
            take(oracle, write)
            found.by_seq.append(oracle.copy())
            found.configs.append(config)
        elif step[0] == "configure":
            config = {**config, **step[1]}
            found.configs[-1] = config
    return found


def _run(db: VecDB, phase: str, seed: int, seqs: dict[str, int]) -> None:
    for name in ORDER:
        for step in getattr(COLLECTIONS[name], phase):
            seqs[name] += do(db, name, step, seed, seqs[name] + 1)


def _create(db: VecDB) -> None:
    for name in ORDER:
        db.create_collection(name, optimizers_config=MANUAL, **COLLECTIONS[name].create)


def _make_repeatable(seed: int) -> None:
    """Uuids and salts from the seed."""
    rng = random.Random(seed)
    uuid.uuid4 = lambda: uuid.UUID(int=rng.getrandbits(128), version=4)
    secrets.randbits = rng.getrandbits  # type: ignore[assignment]
    secrets.token_hex = lambda size: rng.randbytes(size).hex()  # type: ignore[assignment, misc]


def _build_main(root: Path, seed: int) -> None:
    seqs = dict.fromkeys(ORDER, 0)
    with VecDB(root / "main") as db:
        _create(db)
        _run(db, "first", seed, seqs)
    shutil.copytree(root / "main", root / "older")
    with VecDB(root / "main") as db:
        _run(db, "second", seed, seqs)
    shutil.copytree(root / "main", root / "closed")
    db = VecDB(root / "main")
    _run(db, "third", seed, seqs)
    shutil.copytree(root / "main", root / "halfway")
    _run(db, "fourth", seed, seqs)


def _build_other(root: Path, seed: int) -> None:
    seqs = dict.fromkeys(ORDER, 0)
    with VecDB(root / "other") as db:
        _create(db)
        _run(db, "first", seed, seqs)
        _run(db, "second", seed, seqs)


def _in_child(build: Callable[[Path, int], None], root: Path, seed: int, code: int) -> None:
    child = os.fork()
    if child == 0:
        try:
            _make_repeatable(seed)
            build(root, seed)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != code:
        raise RuntimeError(f"the databases could not be built: status {status}")


def build(root: Path, seed: int) -> Databases:
    """Make all directories below ``root``."""
    _in_child(_build_main, root, seed, -signal.SIGKILL)
    (root / "main").rename(root / "killed")
    _in_child(_build_other, root, seed + 1, 0)
    phases = ["first", "second", "third", "fourth"]
    upto = {"older": 1, "closed": 2, "halfway": 3, "killed": 4}
    states = {
        template: {name: states_of(name, phases[:count], seed) for name in ORDER}
        for template, count in upto.items()
    }
    states["other"] = {name: states_of(name, phases[:2], seed + 1) for name in ORDER}
    plain = states["closed"]["plain"]
    before = States(plain.by_seq, [*plain.configs[:-1], dict(MANUAL)])
    states["eve"] = {**states["closed"], "plain": before}
    return Databases(root, states)
