"""Repair: everything of a damaged database that can be proven whole, written to a new one.

The damaged one is only read. What each file says is believed as far as its checksums go:

    inventory   who a collection is, its configuration, its state, its segments
    salvaged    its points, row by row, then the operations of its log, past what is damaged;
                its vector names, as the log ends with them
    here        both go through the ordinary engine into the new database; then the report

The new database gets its FORMAT last: until all is saved nobody can take it for one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct, field

from vecdb import ids
from vecdb.engine.open import database_dir
from vecdb.engine.open.aliases import read_aliases, write_aliases
from vecdb.engine.open.places import create_collection, is_committed
from vecdb.engine.open.recovery import close_store, open_store
from vecdb.engine.operations import Delete, Operation, Upsert
from vecdb.engine.optimize.optimizer import Optimizer
from vecdb.engine.repair.check import Problem, check_files
from vecdb.engine.repair.inventory import Inventory, read_format_line
from vecdb.engine.repair.salvaged_points import SalvagedPoints, only
from vecdb.engine.store import Store
from vecdb.engine.view import View
from vecdb.engine.write.checkpoint import checkpoint_if_full
from vecdb.engine.write.writer import Request, submit
from vecdb.errors import (
    CorruptionError,
    FormatVersionError,
    InvalidInputError,
    LockedError,
)
from vecdb.storage import fs, layout, lookup
from vecdb.storage.files import PAYLOAD, VECTORS
from vecdb.storage.format import DamageError
from vecdb.storage.place import entered

Progress = Callable[[int, int], None]

SHOWN_IDS = 20
"""So many ids of lost points are listed; the counts are complete."""

_EDITED_AT_ONCE = 200  # points whose whole rows, 1 MiB of payload each, fit one operation


class PartlyLost(Struct):
    """A point that was saved without its payload or some of its vectors."""

    id: int | str
    lost: list[str]
    """``payload``, ``vector``, ``vector <name>``."""


class LostOperations(Struct):
    """A hole in the log."""

    first: int
    last: int | None
    """None: how many there were, if any, cannot be told."""
    reason: str


class CollectionRepair(Struct):
    """What was saved of one collection, and what was not."""

    name: str
    directory: str
    error: str | None = None
    """Why nothing could be saved."""
    saved: int = 0
    """Points in the new database."""
    lost: int = 0
    """Points with nothing saved, as far as they can be counted."""
    lost_ids: list[int | str] = field(default_factory=list)
    """The first of them whose ids are known."""
    partly_lost: int = 0
    partly_lost_points: list[PartlyLost] = field(default_factory=list)
    uncertain: int = 0
    """Saved points that may have been deleted or replaced since, or have an older payload: what
    would tell it is damaged."""
    operations: int = 0
    """Operations of the log that were applied."""
    operations_lost: int = 0
    log_gaps: list[LostOperations] = field(default_factory=list)
    unusable_operations: list[str] = field(default_factory=list)
    guessed: list[str] = field(default_factory=list)
    """Vector names that only the log knows, and the distance that was taken for theirs: no
    operation tells it."""
    edits_skipped: int = 0
    """Lost points that an edit in the log wanted to change."""
    torn_bytes: int = 0
    """At the end of the log: a write that a crash cut short, or damage of the last one."""
    damaged: list[Problem] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether everything was saved."""
        return self.error is None and not (
            self.lost
            or self.partly_lost
            or self.uncertain
            or self.log_gaps
            or self.unusable_operations
            or self.guessed
            or self.edits_skipped
        )


class RepairReport(Struct):
    """``complete`` when nothing was lost."""

    source: str
    target: str
    complete: bool = True
    collections: list[CollectionRepair] = field(default_factory=list)
    damaged: list[Problem] = field(default_factory=list)
    """Files of the database itself."""
    seconds: float = 0.0


def repair_database(
    path: Path | str, to: Path | str, progress: Progress = lambda done, total: None
) -> RepairReport:
    """Save what is whole of the database in ``path`` to a new one in ``to``. ``progress`` is called
    with bytes read and bytes to read. Raises NotADatabaseError, LockedError, FormatVersionError,
    InvalidInputError (``to`` is not new), OSError; ``to`` is then as before."""
    started = time.monotonic()
    source, target = Path(path).absolute(), Path(to).absolute()
    report = RepairReport(str(source), str(target))
    lock = None
    try:
        _require_database(source, report)
        lock = _lock(source)
        _require_new(target, source)
        with _making(target):
            meter = _Meter(source, progress)
            for collection, escaped in _collection_dirs(source):
                found = _save_collection(collection, escaped, target, meter)
                report.collections.append(found)
            aliases_kept = _save_aliases(source, target, report)
            database_dir.initialize(target)
            checked = check_files(target)
            for problem in checked.problems:
                raise CorruptionError(problem.path, f"just written, and {problem.detail}")
    finally:
        if lock is not None:
            lock.release()
    saved = all(collection.complete for collection in report.collections)
    report.complete = saved and aliases_kept
    report.seconds = time.monotonic() - started
    return report


class _Meter:
    """Bytes read, of the files that hold points and operations."""

    def __init__(self, source: Path, progress: Progress) -> None:
        names = PAYLOAD.name, f"{VECTORS.name}*"
        patterns = [*(f"{layout.SEGMENTS}/*/{name}" for name in names), f"{layout.WAL}/*.wal"]
        found = [f for p in patterns for f in source.glob(f"{layout.COLLECTIONS}/*/{p}")]
        self._total = sum(file.stat().st_size for file in found)
        self._done = 0
        self._progress = progress

    def advance(self, done: int) -> None:
        """Report some more bytes read."""
        self._done = min(self._done + done, self._total)
        self._progress(self._done, self._total)


# -- from where, to where ----------------------------------------------------------------------


def _require_database(source: Path, report: RepairReport) -> None:
    collections = source / layout.COLLECTIONS
    if not collections.is_dir():
        database_dir.require_format_file(source)
    _, detail = read_format_line(source / layout.FORMAT)
    if detail:
        report.damaged.append(Problem(str(source / layout.FORMAT), detail))
    if not collections.is_dir():
        raise CorruptionError(collections, "the directory is missing; there is nothing to save")


def _lock(source: Path) -> fs.FileLock | None:
    """The lock, if it can be had; it may be damaged, too."""
    try:
        return database_dir.lock_to_read(source)
    except LockedError:
        raise
    except (OSError, CorruptionError):
        return None


def _require_new(target: Path, source: Path) -> None:
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise InvalidInputError(f"{target}: the new database must be outside of the damaged one")
    if not target.exists() and not target.is_symlink():
        if not target.parent.is_dir():
            raise InvalidInputError(f"{target}: the directory {target.parent} does not exist")
    elif not target.is_dir() or any(target.iterdir()):
        raise InvalidInputError(f"{target} exists; give a new or an empty directory")


@contextmanager
def _making(target: Path) -> Iterator[None]:
    """A directory for a new database, locked; as before if the block does not end well."""
    made = not target.exists()
    with entered(target.parent):
        if made:
            fs.make_dir(target)
            fs.sync_dir(target.parent)
        try:
            with entered(target) as place:
                yield from _locked(target)
                place.require()
        except BaseException:
            if made:
                fs.remove_empty_dir(target)
            raise


def _locked(target: Path) -> Iterator[None]:
    lock: fs.FileLock | None = None
    try:
        lock = fs.FileLock(target / layout.LOCK, f"database {target}")
        fs.make_dir(target / layout.COLLECTIONS)
        yield
    except BaseException:
        # FORMAT first, and that durable: without it nobody takes what is left for a database.
        fs.remove_file(target / layout.FORMAT)
        fs.sync_dir(target)
        for path in lookup.entries(target):  # there was nothing in it before
            fs.remove_tree(path)
        raise
    finally:
        if lock is not None:
            lock.release()


def _collection_dirs(source: Path) -> list[tuple[Path, str]]:
    """The directory of each collection and its escaped name. A restored collection that is about to
    take the place of another counts as having taken it."""
    found: dict[str, Path] = {}
    for path in sorted((source / layout.COLLECTIONS).iterdir()):
        replaced = layout.parse_restored_dir(path.name)
        if path.is_dir() and replaced is not None:
            if is_committed(path):
                found[replaced] = path
        elif layout.may_be_place(path.name) and path.is_dir():
            found.setdefault(path.name, path)
    return [(path, escaped) for escaped, path in sorted(found.items())]


def _save_aliases(source: Path, target: Path, report: RepairReport) -> bool:
    """Keep the aliases of the collections that are saved. Returns whether they could be read."""
    try:
        aliases = read_aliases(source)
    except (CorruptionError, FormatVersionError, OSError) as error:
        report.damaged.append(Problem(str(source / layout.ALIASES), str(error)))
        return False
    saved = {collection.name for collection in report.collections if collection.error is None}
    kept = {alias: name for alias, name in aliases.items() if name in saved and alias not in saved}
    if kept:
        write_aliases(target, kept)
    return True


# -- one collection ----------------------------------------------------------------------------


def _save_collection(path: Path, escaped: str, target: Path, meter: _Meter) -> CollectionRepair:
    report = CollectionRepair(layout.unescape(escaped), str(path))
    try:
        inventory = Inventory(path, escaped)
    except FormatVersionError as error:
        report.error = str(error)
        return report
    report.name = inventory.name
    if inventory.config is None:
        report.error = "neither the catalog nor a segment has a whole configuration"
    else:
        salvaged = SalvagedPoints(inventory, inventory.config, meter.advance)
        _write(salvaged, target, report)
        _account(salvaged, report)
    report.damaged = [Problem(*entry) for entry in sorted(inventory.damaged.items())]
    return report


def _write(salvaged: SalvagedPoints, target: Path, report: CollectionRepair) -> None:
    """Write the points, then the operations, through the ordinary engine."""
    parent = target / layout.COLLECTIONS
    # Nothing need be durable before the end, and then it is in segment files.
    store = open_store(create_collection(parent, report.name, salvaged.config), "never")
    optimizer = Optimizer(lambda: [store])
    store.changed = optimizer.wake
    optimizer.start()
    try:
        saver = _Saver(store, report)
        for rows in salvaged.rows():
            saver.submit(rows)
        for seq, operation in salvaged.operations():
            if saver.apply(seq, operation):
                salvaged.note_applied(operation)
        report.saved = store.view.live
    except BaseException:
        optimizer.stop()
        close_store(store, keep=False)
        raise
    optimizer.stop()
    close_store(store)


class _Saver:
    """Writes to the new collection."""

    def __init__(self, store: Store, report: CollectionRepair) -> None:
        self._store = store
        self._report = report

    def submit(self, request: Request) -> None:
        """Commit one operation, and make room for the next."""
        submit(self._store, request)
        checkpoint_if_full(self._store)
        self._store.changed()

    def apply(self, seq: int, operation: Operation) -> bool:
        """Apply an operation of the log. Returns whether that was possible."""
        try:
            if isinstance(operation, (Upsert, Delete)):
                self.submit(operation)
            else:
                self._edit(operation)
        except (InvalidInputError, DamageError, KeyError, IndexError, TypeError) as error:
            self._report.unusable_operations.append(f"operation {seq}: {error}")
            return False
        self._report.operations += 1
        return True

    def _edit(self, operation: Any) -> None:
        where, _ = self._store.view.locate(operation.keys)
        known = np.flatnonzero(where >= 0)
        self._report.edits_skipped += len(where) - len(known)
        for start in range(0, len(known), _EDITED_AT_ONCE):
            some = only(operation, known[start : start + _EDITED_AT_ONCE])
            self.submit(partial(_whatever_the_state, some))


def _whatever_the_state(operation: Operation, view: View) -> Operation:
    return operation


# -- the account -------------------------------------------------------------------------------


def _account(salvaged: SalvagedPoints, report: CollectionRepair) -> None:
    """Report what was lost on the way."""
    missing = np.flatnonzero(salvaged.missing)
    report.lost = salvaged.unknown + len(missing)
    report.lost_ids = [_id(salvaged, position) for position in missing[:SHOWN_IDS].tolist()]
    partly = np.flatnonzero(salvaged.lost.any(axis=1) & ~salvaged.missing)
    report.partly_lost = len(partly)
    names = ["payload", *map(_vector, salvaged.names)]
    for position in partly[:SHOWN_IDS].tolist():
        lost = [names[column] for column in np.flatnonzero(salvaged.lost[position]).tolist()]
        report.partly_lost_points.append(PartlyLost(_id(salvaged, position), lost))
    report.uncertain = int((~salvaged.certain & ~salvaged.rewritten & ~salvaged.missing).sum())
    log = salvaged.inventory.log
    report.unusable_operations = salvaged.bad_operations + report.unusable_operations
    report.log_gaps = [LostOperations(gap.first, gap.last, gap.reason) for gap in log.gaps]
    report.operations_lost = len(report.unusable_operations) + sum(
        gap.last - gap.first + 1 for gap in log.gaps if gap.last is not None
    )
    report.torn_bytes = log.torn_bytes
    report.guessed = [
        f"{_vector(name)}: {salvaged.schema[name].distance.value}" for name in salvaged.guessed
    ]
    for path, detail in log.damaged:
        salvaged.inventory.note(path, detail)


def _vector(name: str) -> str:
    return f"vector {name}" if name else "vector"


def _id(salvaged: SalvagedPoints, position: int) -> int | str:
    return ids.external(ids.from_array(salvaged.keys[position : position + 1])[0])
