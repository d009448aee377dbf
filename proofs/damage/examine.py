"""Open a damaged database, read everything, use it, and take notes of what came of it.

What the notes should be is told by ``judge.py``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from proofs.damage import reasons
from proofs.damage.answers import Expected, ask_all
from proofs.damage.databases import Databases
from proofs.damage.kinds import Case, Place, apply
from proofs.damage.specs import COLLECTIONS, ORDER
from proofs.model.sparse import MODIFIERS, given
from vecdb import VecDB
from vecdb.engine.repair.check import check_database
from vecdb.errors import CorruptionError, FormatVersionError, NotADatabaseError, VecdbError

DETECTED = (CorruptionError, FormatVersionError, NotADatabaseError)
PROBE = 777_777

State = tuple[str, int]
"""A database, and up to which operation a collection of it is meant."""


@dataclass
class Found:
    """Notes on one collection."""

    unavailable: str | None = None
    """Why it cannot be used: the text of a CorruptionError or FormatVersionError."""
    absent: bool = False
    errors: list[str] = field(default_factory=list)
    """Texts of CorruptionErrors that reads raised."""
    wrong: list[str] = field(default_factory=list)
    """Wrong answers, and errors of other types."""
    damaged_files: list[str] = field(default_factory=list)
    rebuilt: str | None = None
    """What the optimizer did not put right."""
    torn: int = 0


@dataclass
class Notes:
    """Everything one examination found."""

    check: list[str] = field(default_factory=list)
    """Problems that ``check`` reports of the damaged database."""
    refused: str | None = None
    """What ``VecDB`` raised, if it is an error for damage."""
    errors: list[str] = field(default_factory=list)
    """Texts of CorruptionErrors that closing raised."""
    wrong: list[str] = field(default_factory=list)
    found: dict[str, Found] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    """Problems that ``check`` reports after the database was used and closed."""


class Truth:
    """What should be there: for each database and collection the answers after each operation."""

    def __init__(self, databases: Databases) -> None:
        self.databases = databases
        self._expected: dict[tuple[str, str, int], Expected] = {}
        self.applied: dict[tuple[str, str], int] = {}

    def last(self, template: str, name: str) -> State:
        return template, self.databases.states[template][name].last

    def expected(self, name: str, state: State) -> Expected:
        template, seq = state
        key = (name, *state)
        if key not in self._expected:
            states = self.databases.states[template][name]
            self._expected[key] = Expected(states.by_seq[seq], states.configs[seq])
        return self._expected[key]

    def learn(self, template: str, path: Path) -> None:
        """Take the answers of a copy of an undamaged database, and see that they are true."""
        problems = check_database(path).problems
        assert not problems, f"{template}: {problems}"
        for name in ORDER:
            catalog = path / "collections" / name / "catalog" / "data.mdb"
            read = reasons.read_catalog(catalog.read_bytes())
            self.applied[template, name] = read.applied_seq
        with VecDB(path) as db:
            for name in ORDER:
                self.expected(name, self.last(template, name)).learn(db.collection(name))


class Warnings(logging.Handler):
    """What vecdb logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def company(case: Case) -> list[str]:
    """The collections of a copy: the damaged ones and one other, in turn. Every eighth time, and if
    no collection is damaged but the database itself, all of them."""
    others = [name for name in ORDER if name not in case.owners]
    turn = sum(case.id.encode())  # the same in every run
    if not case.owners or turn % 8 == 0:
        return ORDER
    return [*sorted(case.owners), *others[turn % len(others) :][:1]]


def examine(case: Case, place: Place, truth: Truth, states: dict[str, State]) -> Notes:
    """``states``: what each collection should hold."""
    notes = Notes()
    handler = Warnings()
    logger = logging.getLogger("vecdb")
    logger.addHandler(handler)
    logger.propagate = False
    if case.mode != "live":
        notes.check = _checked(place.root)
    try:
        db = VecDB(place.root, sync="never")
    except DETECTED as error:
        notes.refused = str(error)
        notes.after = _checked(place.root)
        return notes
    except Exception as error:
        notes.wrong.append(f"VecDB: {type(error).__name__}: {error}")
        return notes
    if case.mode == "live":
        apply(case, place)
    for name, state in states.items():
        notes.found[name] = _read(db, name, truth.expected(name, state), case)
    _use(db, notes)
    notes.warnings = handler.texts
    logger.removeHandler(handler)
    try:
        db.close()
    except DETECTED as error:
        notes.errors.append(str(error))
    except Exception as error:
        notes.wrong.append(f"close: {type(error).__name__}: {error}")
    notes.after = _checked(place.root)
    if case.mode == "live" and case.kind == "data.mdb" and not notes.after:
        _read_again(case, place, truth, states, notes)
    return notes


def _read_again(
    case: Case, place: Place, truth: Truth, states: dict[str, State], notes: Notes
) -> None:
    """A catalog that was damaged while it was open, and has been written to since."""
    with VecDB(place.root, sync="never") as db:
        for name in case.owners:
            again = _read(db, name, truth.expected(name, states[name]), case)
            notes.wrong += [*again.errors, *again.wrong]


def _checked(root: Path) -> list[str]:
    try:
        return [f"{p.path}: {p.detail}" for p in check_database(root).problems]
    except DETECTED as error:
        return [str(error)]
    except Exception as error:
        return [f"WRONG {type(error).__name__}: {error}"]


def _read(db: VecDB, name: str, expected: Expected, case: Case) -> Found:
    found = Found()
    try:
        collection = db.collection(name)
    except DETECTED as error:
        found.unavailable = str(error)
        return found
    except LookupError:
        found.absent = True
        return found
    except Exception as error:
        found.wrong.append(f"collection: {type(error).__name__}: {error}")
        return found
    mine = name in case.owners
    if mine and case.mode == "build":
        found.errors += _rebuild(db, name, found)
    errors, wrong = ask_all(
        collection, expected, brief=not mine, rebuilt=mine and case.mode == "build"
    )
    found.errors += errors
    found.wrong += wrong
    found.torn = collection.recovery.torn_bytes
    found.damaged_files = [d.path for d in getattr(collection.info(), "damaged_files", [])]
    if found.damaged_files:
        found.rebuilt = _repaired(collection, expected)
    return found


def _rebuild(db: VecDB, name: str, found: Found) -> list[str]:
    """Have every segment written anew: damage must not get into the new files."""
    try:
        db.update_collection(name, **COLLECTIONS[name].rebuild)
        db.wait_for_optimizer(name)
    except (VecdbError, OSError) as error:
        return [str(error)]
    return []


def _repaired(collection: Any, expected: Expected) -> str | None:
    """What is not as it should be after the optimizer has had its turn."""
    try:
        collection.wait_for_optimizer()
    except Exception as error:
        return f"optimizer: {error}"
    if collection.info().damaged_files:
        return f"still damaged: {collection.info().damaged_files}"
    errors, wrong = ask_all(collection, expected, rebuilt=True)
    return next(iter([*errors, *wrong]), None)


def _use(db: VecDB, notes: Notes) -> None:
    """Write to every collection that can be read, and see it there."""
    for name, found in notes.found.items():
        if found.unavailable or found.absent or found.errors or found.wrong:
            continue
        try:
            problem = _written(db.collection(name), name)
        except DETECTED as error:
            found.errors.append(str(error))
            continue
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if problem is not None:
            found.wrong.append(f"writing: {problem}")


def _written(collection: Any, name: str) -> str | None:
    vectors: dict[str, Any] = {
        v: given(np.ones(dim, np.float32)) if distance in MODIFIERS else np.ones(dim)
        for v, (dim, distance) in COLLECTIONS[name].vectors.items()
    }
    before = collection.count().count
    vector = vectors.get("", vectors)
    collection.upsert([{"id": PROBE, "vector": vector, "payload": {"probe": 1}}])
    records = collection.retrieve([PROBE])
    if [r.payload for r in records] != [{"probe": 1}] or collection.count().count != before + 1:
        return f"a point that was written is not there: {records}"
    if name in ("plain", "named"):  # the others leave it to the end
        collection.flush()
    collection.delete([PROBE])
    after = collection.count().count
    return None if after == before else f"{after} points after a deletion, {before} before"
