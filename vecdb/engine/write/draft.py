"""Draft: the state as it will be after operations that are not in the log yet.

Each operation of a batch sees those before it, and all of them must be sure to succeed before the
first one is logged. So they are tried on a view of their own. Nothing of the collection is changed:
masks are replaced and never written to, what is added goes to a memory segment that nobody else
knows, and payload edits are copied before one is added.
"""

from __future__ import annotations

from msgspec.structs import replace

from vecdb import ids
from vecdb.engine.bits import without
from vecdb.engine.operations import Delete, Operation, Upsert
from vecdb.engine.schema import datatypes_of, dims_of
from vecdb.engine.store import view_of
from vecdb.engine.view import View
from vecdb.engine.write.effects import Effect
from vecdb.storage.memory import MemorySegment
from vecdb.storage.payload_edits import PayloadEdits


class Draft:
    """Begins as ``view``, the state now. One thread's."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._parts = list(view.segments)
        self._own: set[int] = set()  # parts whose payload edits are a copy
        self._added = MemorySegment(0, dims_of(view.schema), datatypes_of(view.schema))

    def apply(self, seq: int, operation: Operation, effect: Effect) -> None:
        """Go on to the state after an operation. ``effect`` is what it amounts to in ``view``."""
        if isinstance(operation, Delete):
            self._kill(operation.keys)
            self._kill_added(operation.keys)
        elif isinstance(effect, Upsert):
            self._kill(effect.keys)
            self._added.append(seq, effect.keys, effect.payloads, effect.vectors)
        elif effect is not None:
            for new in effect:
                seqs = [seq] * len(new.rows)
                self._own_edits(new.edits).append(seqs, new.rows.tolist(), new.payloads)
        self._publish()

    def _own_edits(self, edits: PayloadEdits) -> PayloadEdits:
        """The same, as may be added to."""
        for number, part in enumerate(self._parts):
            if part.edits is edits and number not in self._own:
                self._own.add(number)
                self._parts[number] = part = replace(part, edits=edits.copy())
                return part.edits
        return edits

    def _kill(self, keys: list[int]) -> None:
        array = ids.to_array(keys)
        for number, part in enumerate(self._parts):
            alive, died = without(part.segment, part.rows, part.alive, keys, array)
            if died:
                self._parts[number] = replace(part, alive=alive, live=part.live - died)

    def _kill_added(self, keys: list[int]) -> None:
        rows = self._added.locate(keys, ids.to_array(keys), self._added.rows)
        rows = rows[rows >= 0]
        if len(rows):
            self._added.kill(rows)

    def _publish(self) -> None:
        parts = [replace(part, seen=part.edits.count) for part in self._parts]
        parts += [view_of(self._added)] if self._added.rows else []
        self.view = replace(self.view, segments=tuple(parts))
