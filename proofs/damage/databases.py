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
import shutil
import signal
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.random  # takes random bits when it is loaded, which must not be ours

from proofs.damage.specs import COLLECTIONS, MANUAL, ORDER, Spec, Step
from proofs.model.multi import MANY
from proofs.model.oracle import Oracle, PointId
from proofs.model.sparse import MODIFIERS, given
from proofs.model.writes import Row, Write, perform, take
from vecdb import VecDB
from vecdb.storage.builder import SegmentBuilder
from vecdb.storage.wal import Wal


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
            if distance in MANY:
                vectors[name] = np.stack([vectors[name] + n for n in range(1 + number % 4)])
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
    os.urandom = rng.randbytes


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
