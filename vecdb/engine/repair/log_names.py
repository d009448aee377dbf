"""The vector names of a damaged collection, as its log tells them.

The configuration that is left may be older than the log: names have come and gone since. An upsert
holds every name that there was when it was made, and the dimension of each; an edit of vectors
those that it gives. A distance is in no operation.
"""

from __future__ import annotations

from msgspec import Struct

from vecdb.engine.operations import DropVectors, EditVectors, Operation, Upsert, decode
from vecdb.engine.repair.salvage import SalvagedLog
from vecdb.storage.format import DamageError
from vecdb.vectors.blocks import none_of


class LogNames(Struct, frozen=True):
    """The names after the last operation."""

    dims: dict[str, int]
    absent: dict[str, int]
    """Of names that came on the way: the operation up to which no point had a vector of it."""

    def had(self, name: str, dim: int, seq: int) -> bool:
        """Whether a vector that an operation gave is one of a name that is there in the end."""
        return self.dims.get(name) == dim and seq > self.absent.get(name, 0)

    def fitted(self, seq: int, operation: Operation) -> Operation:
        """An operation of the log, made for the names of its time, as one for these. What it has of
        names that went is left out: it was taken from the collection later."""
        if isinstance(operation, DropVectors):
            return DropVectors(operation.keys, [n for n in operation.names if n in self.dims])
        if not isinstance(operation, (Upsert, EditVectors)):
            return operation
        kept = {n: b for n, b in operation.vectors.items() if self.had(n, b.dim, seq)}
        if isinstance(operation, EditVectors):
            return EditVectors(operation.keys, kept)
        rows = len(operation.keys)
        none = {n: none_of(rows, dim) for n, dim in self.dims.items() if n not in kept}
        return Upsert(operation.keys, operation.payloads, none | kept)


def names_after(log: SalvagedLog, dims: dict[str, int], since: int) -> LogNames:
    """The names that the log ends with. ``dims``: what a configuration says that is not older than
    the operation ``since``; an older operation may be one of a file that a crash left over, and
    counts for nothing."""
    names, last = dict(dims), since
    absent: dict[str, int] = {}
    for seq, data in log.operations():
        if seq <= since:
            continue
        try:
            operation = decode(data)
        except DamageError:  # named where the operations are applied
            continue
        if isinstance(operation, (Upsert, EditVectors)):
            given = {name: block.dim for name, block in operation.vectors.items()}
            came = given.items() - names.items()
            absent |= {name: last for name, _ in came}
            names |= given
            if isinstance(operation, Upsert):
                names, last = given, seq
    return LogNames(names, absent)
