"""Effects: what an operation amounts to in some state, and making it so.

What can go wrong with an operation (a damaged row, a payload that grows too large) goes wrong in
``rewrite``, which changes nothing; ``apply`` cannot fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec import Struct

from vecdb.engine.operations import (
    Delete,
    DropVectors,
    EditPayload,
    EditVectors,
    Operation,
    Upsert,
)
from vecdb.engine.read.rows import gather
from vecdb.engine.schema import row_bytes
from vecdb.engine.store import Store
from vecdb.engine.view import Offsets, View
from vecdb.errors import CorruptionError, InvalidInputError
from vecdb.payload import edit, encoding
from vecdb.payload.paths import parse_path
from vecdb.storage.format import MAX_FRAME, DamageError
from vecdb.storage.payload_edits import PayloadEdits
from vecdb.vectors.blocks import Block, none_of, replaced

MAX_OPERATION = MAX_FRAME - (1 << 16)
"""Bytes of one write, encoded."""
_AT_ONCE = 1024  # payloads that are read together


class NewPayloads(Struct, frozen=True):
    """Rows of one segment and the payloads they are given."""

    edits: PayloadEdits
    rows: Offsets
    payloads: list[bytes]


Effect = Upsert | list[NewPayloads] | None
"""What an operation adds to a state: whole new rows, or payloads of rows that stay."""


def apply(store: Store, seq: int, operation: Operation, effect: Effect) -> int | None:
    """Change the memory segment, the alive masks and the payload edits as the operation says.
    ``effect`` is what ``rewrite`` made of it. Under the write lock; does not publish. How many
    points a deletion took; None: it was none."""
    if isinstance(operation, Delete):
        return store.kill(operation.keys, in_memory=True)
    if isinstance(effect, Upsert):
        store.kill(effect.keys, in_memory=False)
        store.memory.append(seq, effect.keys, effect.payloads, effect.vectors)
    elif effect is not None:
        for new in effect:
            new.edits.append([seq] * len(new.rows), new.rows.tolist(), new.payloads)
    return None


def rewrite(view: View, operation: Operation) -> Effect:
    """The effect of an operation on this state, which must be the state now; None: it adds nothing.
    Raises InvalidInputError and CorruptionError."""
    if isinstance(operation, Delete):
        return None
    if isinstance(operation, Upsert):
        return operation
    if isinstance(operation, EditPayload):
        return _new_payloads(view, operation)
    return _edited(view, operation)


def _new_payloads(view: View, edit: EditPayload) -> list[NewPayloads]:
    where, rows = view.locate(edit.keys)
    whole = whole_payload(edit)
    change = payload_editor(edit)
    changes = []
    for number in np.unique(where[where >= 0]).tolist():
        segment_view, mine = view.segments[number], rows[where == number]
        payloads: list[bytes] = []
        if whole is not None:  # the stored ones need not be read; one object, however many points
            changes.append(NewPayloads(segment_view.edits, mine, [whole] * len(mine)))
            continue
        try:
            for start in range(0, len(mine), _AT_ONCE):
                payloads += map(change, segment_view.payloads(mine[start : start + _AT_ONCE]))
        except DamageError as error:
            raise CorruptionError("payload of a point to edit", str(error)) from None
        changes.append(NewPayloads(segment_view.edits, mine, payloads))
    return changes


def _edited(view: View, edit: EditVectors | DropVectors) -> Upsert | None:
    where, rows = view.locate(edit.keys)
    known = np.flatnonzero(where >= 0)
    if not len(known):
        return None
    size = len(known) * row_bytes(view.schema)
    if size > MAX_OPERATION:
        raise InvalidInputError(
            f"the edit rewrites {len(known)} points with {size} bytes of vectors; the limit of "
            f"one edit is {MAX_OPERATION}. Edit fewer points at a time"
        )
    where, rows = where[known], rows[known]
    keys = [edit.keys[number] for number in known.tolist()]
    payloads = [
        bytes(view.segments[number].payload(row))
        for number, row in zip(where.tolist(), rows.tolist(), strict=True)
    ]
    vectors: dict[str, Block] = {}
    for name in view.schema:
        if isinstance(edit, DropVectors) and name in edit.names:
            vectors[name] = none_of(len(rows), view.schema[name].dim)
            continue
        block = gather(view, where, rows, name)
        if isinstance(edit, EditVectors) and name in edit.vectors:
            new = edit.vectors[name].take(known)
            block = replaced(block, new.flags(), new)
        vectors[name] = block
    return Upsert(keys, payloads, vectors)


def whole_payload(operation: EditPayload) -> bytes | None:
    """The payload after the edit, if it does not depend on the one before."""
    if operation.mode == "clear":
        return encoding.EMPTY
    return encoding.encode(operation.payload) if operation.mode == "overwrite" else None


def payload_editor(operation: EditPayload) -> Callable[[Any], bytes]:
    """The function that turns a stored payload into the one after the edit. It raises DamageError,
    and InvalidInputError if the payload grows too large."""
    to_set = parse_path(operation.path) if operation.mode == "set" and operation.path else []
    to_delete = list(map(parse_path, operation.paths)) if operation.mode == "delete" else []
    pack = encoding.packer()

    def change(stored: Any) -> bytes:
        payload = encoding.decode(stored)
        if operation.mode == "set":
            edit.merge_at(payload, to_set, operation.payload)
        for path in to_delete:
            edit.delete_at(payload, path)
        return encoding.encode(payload, pack)

    return change
