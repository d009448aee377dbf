"""Known bugs, planted to see that the damage test finds them.

Each has the text that names of cases it must make fail contain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proofs.damage import examine
from vecdb.engine import planner
from vecdb.engine.open import recovery
from vecdb.engine.repair import check
from vecdb.errors import CorruptionError
from vecdb.storage import arrays, catalog, replay


def blind() -> None:
    """blocks of mapped files are not compared with their checksums"""
    arrays.PlacedArray._verify_blocks = lambda self, blocks: None  # type: ignore[method-assign]


def laundering() -> None:
    """rows are taken from a mapped file without verifying it, by reads and by builds"""
    arrays.PlacedArray.verify_rows = lambda self, rows: self.array  # type: ignore[method-assign]


def credulous() -> None:
    """LMDB opens a catalog whatever its pages say"""
    catalog.require_sound = lambda path: None


def unsigned() -> None:
    """the checksums of the catalog's rows are not compared"""
    catalog.unpack_row = lambda key, row: row[8:]


def lenient() -> None:
    """a damaged operation in the middle of a log ends it, as a torn tail does"""
    replay.require_torn_tail = lambda *arguments: None


def logless() -> None:
    """a collection without a log has an empty one"""
    operations = replay.Replay.operations

    def quiet(self: replay.Replay) -> Any:
        return operations(self) if replay.wal_files(self.directory) else iter(())

    replay.Replay.operations = quiet  # type: ignore[method-assign]


def forgetful() -> None:
    """a log does not tell an older copy of the catalog from the newest"""
    begin = recovery.Replay

    def begun(directory: Any, uuid: bytes, after: int, transaction: int) -> replay.Replay:
        return begin(directory, uuid, after)

    recovery.Replay = check.Replay = begun  # type: ignore[assignment, misc]


def stubborn() -> None:
    """segments with a damaged derived file are never built anew"""
    mismatch = planner._mismatch

    def undamaged(segment: Any, *more: Any) -> Any:
        return None if segment.damaged else mismatch(segment, *more)

    planner._mismatch = undamaged


def vague() -> None:
    """errors do not name the file"""
    CorruptionError.__str__ = lambda self: self.detail  # type: ignore[method-assign]


def deaf() -> None:
    """check finds nothing"""
    examine.check_database = lambda path: check.CheckReport()


@dataclass(frozen=True)
class Mutant:
    """A bug, and where it shows."""

    plant: Callable[[], None]
    cases: str

    @property
    def what(self) -> str:
        return self.plant.__doc__ or ""


MUTANTS = {
    mutant.plant.__name__: mutant
    for mutant in (
        Mutant(blind, "read:collections/large/segments/0000000000000004/vectors:flip"),
        Mutant(laundering, "build:collections/large/segments/0000000000000004/vectors:flip"),
        Mutant(credulous, "closed:read:collections/named/catalog/data.mdb:flip"),
        Mutant(unsigned, "closed:read:collections/named/catalog/data.mdb:flip"),
        Mutant(lenient, "killed:read:collections/binary/wal/00000000000000000007.wal:flip"),
        Mutant(logless, "killed:read:collections/binary/wal/00000000000000000007.wal:delete"),
        Mutant(forgetful, "closed:read:collections/plain/catalog/data.mdb:from:eve"),
        Mutant(stubborn, "/quantizer:cut"),
        Mutant(vague, "/seqs:cut"),
        Mutant(deaf, "/ids:cut"),
    )
}
