"""Known bugs, planted to see that the damage test finds them.

Each has the text that names of cases it must make fail contain.
"""

from __future__ import annotations

from typing import Any

from proofs.damage import examine
from proofs.mutants import Mutant, put
from vecdb.engine import planner
from vecdb.engine.open import recovery
from vecdb.engine.repair import check
from vecdb.errors import CorruptionError
from vecdb.storage import arrays, catalog, replay
from vecdb.storage.wal import wal_files


def blind() -> None:
    """blocks of mapped files are not compared with their checksums"""
    put(arrays.PlacedArray, "_verify_blocks", lambda self, blocks: None)


def laundering() -> None:
    """rows are taken from a mapped file without verifying it, by reads and by builds"""
    put(arrays.PlacedArray, "verify_rows", lambda self, rows: self.array)


def gullible() -> None:
    """sparse vectors, and postings, are taken from mapped files without verifying them"""
    put(arrays.PlacedArray, "verify_spans", lambda self, starts, stops: self.array)


def credulous() -> None:
    """LMDB opens a catalog whatever its pages say"""
    put(catalog, "require_sound", lambda path: None)


def unsigned() -> None:
    """the checksums of the catalog's rows are not compared"""
    put(catalog, "unpack_row", lambda key, row: row[8:])


def lenient() -> None:
    """a damaged operation in the middle of a log ends it, as a torn tail does"""
    put(replay, "require_torn_tail", lambda *arguments: None)


def logless() -> None:
    """a collection without a log has an empty one"""
    operations = replay.Replay.operations

    def quiet(self: replay.Replay) -> Any:
        return operations(self) if wal_files(self.directory) else iter(())

    put(replay.Replay, "operations", quiet)


def forgetful() -> None:
    """a log does not tell an older copy of the catalog from the newest"""
    begin = replay.Replay

    def begun(directory: Any, uuid: bytes, after: int, transaction: int) -> replay.Replay:
        return begin(directory, uuid, after)

    put(recovery, "Replay", begun)
    put(check, "Replay", begun)


def stubborn() -> None:
    """segments with a damaged derived file are never built anew"""
    mismatch = planner._mismatch

    def undamaged(segment: Any, *more: Any) -> Any:
        return None if segment.damaged else mismatch(segment, *more)

    put(planner, "_mismatch", undamaged)


def vague() -> None:
    """errors do not name the file"""
    put(CorruptionError, "__str__", lambda self: self.detail)


def deaf() -> None:
    """check finds nothing"""
    put(examine, "check_database", lambda path: check.CheckReport())


MUTANTS: dict[str, Mutant[str]] = {
    mutant.plant.__name__: mutant
    for mutant in (
        Mutant(blind, "read:collections/large/segments/0000000000000004/vectors:flip"),
        Mutant(laundering, "build:collections/large/segments/0000000000000004/vectors:flip"),
        Mutant(gullible, "/sparse-values.s:flip"),
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
