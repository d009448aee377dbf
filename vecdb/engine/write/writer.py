"""Writing: operations get their order, go to the WAL as one frame, and are applied.

Group commit: a writer queues its operation and takes the write lock. Whoever gets the lock first
commits everything queued so far, with one write and one sync; the others find theirs done. The
batching window is the time that the sync before takes; there is no timer.

A write returns when it is durable (as far as the sync level goes) and visible to new reads.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecdb import ids
from vecdb.engine.operations import (
    Delete,
    DropVectors,
    EditPayload,
    EditVectors,
    Operation,
    Upsert,
    encode,
)
from vecdb.engine.read.rows import gather_vectors
from vecdb.engine.schema import row_bytes
from vecdb.engine.signals import Uninterrupted
from vecdb.engine.store import Store
from vecdb.engine.view import Offsets, View
from vecdb.errors import (
    CorruptionError,
    InvalidInputError,
    NotFoundError,
    StorageFullError,
    VecdbError,
)
from vecdb.payload import edit, encoding
from vecdb.payload.paths import parse_path
from vecdb.storage import lookup
from vecdb.storage.format import MAX_FRAME, DamageError
from vecdb.storage.payload_edits import PayloadEdits
from vecdb.vectors.block import VectorBlock

# An operation that depends on no state, or a function that makes one from the state it applies to
# (None: nothing to do).
Request = Upsert | Delete | Callable[[View], Operation | None]

_GROUP_BYTES = 1 << 20
_ASK_EVERY = 1 << 20  # bytes that are written until the disk is asked again for its free space
_GROUP_OPERATIONS = 256
_MAX_OPERATION = MAX_FRAME - (1 << 16)
_AT_ONCE = 1024  # payloads that are read together


class Ticket:
    """One queued request and, later, its outcome."""

    __slots__ = ("buffers", "done", "effect", "error", "operation", "request", "seq", "size")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.operation: Operation | None = None
        self.effect: Effect = None  # what an edit amounts to
        self.buffers: list[Any] = []
        self.size = 0
        self.seq = 0
        self.done = False
        self.error: BaseException | None = None

    def prepare(self, operation: Operation) -> None:
        """Encode the operation. Raises InvalidInputError if it is too large for one frame."""
        self.operation = operation
        self.buffers = encode(operation)
        self.size = sum(memoryview(buffer).nbytes for buffer in self.buffers)
        if self.size > _MAX_OPERATION:
            raise InvalidInputError(
                f"the write is {self.size} bytes; the limit of one write is {_MAX_OPERATION}. "
                f"Split it into smaller batches"
            )

    def fail(self, error: BaseException) -> None:
        """The request has no effect."""
        self.error = error
        self.done = True


def submit(store: Store, request: Request) -> int:
    """Commit a request; the seq it got (of the last operation, if it had nothing to do). From any
    thread."""
    ticket = _ticket(request)
    _commit_all(store, [ticket])
    error, ticket.error = ticket.error, None  # by its frames it has the ticket
    if error is None:
        return ticket.seq
    try:
        raise error
    finally:
        del error


def submit_all(store: Store, requests: Sequence[Request]) -> list[int | BaseException]:
    """Commit several requests, in order and in as few groups as they fit in; none depends on
    another. For each the seq it got, or what ``submit`` would have raised."""
    tickets: list[Ticket] = []
    outcomes: list[int | BaseException] = [0] * len(requests)
    numbers: list[int] = []
    for number, request in enumerate(requests):
        try:
            tickets.append(_ticket(request))
        except InvalidInputError as error:
            outcomes[number] = error
        else:
            numbers.append(number)
    try:
        _commit_all(store, tickets)
    except Exception as error:
        for ticket in tickets:
            if not ticket.done:
                ticket.fail(error)
    for number, ticket in zip(numbers, tickets, strict=True):
        outcomes[number] = ticket.seq if ticket.error is None else ticket.error
        ticket.error = None
    return outcomes


def _ticket(request: Request) -> Ticket:
    """Raises InvalidInputError if the request is too large."""
    ticket = Ticket(request)
    if isinstance(request, (Upsert, Delete)):
        ticket.effect = None if isinstance(request, Delete) else request
        ticket.prepare(request)
    return ticket


def _commit_all(store: Store, tickets: list[Ticket]) -> None:
    store.require_outside()
    with Uninterrupted():  # outermost: a signal's handler runs when the lock is free again
        store.queue.extend(tickets)
        with store.write:
            try:
                for ticket in tickets:
                    while not ticket.done:
                        _commit_group(store)
            except BaseException:
                for ticket in tickets:  # nobody else is to do what its caller hears has failed
                    if not ticket.done:
                        _withdraw(store, ticket)
                raise


def _withdraw(store: Store, ticket: Ticket) -> None:
    """Take a ticket from the queue, if it is there."""
    while True:
        try:
            return store.queue.remove(ticket)
        except ValueError:
            return None
        except IndexError:  # another writer has queued one meanwhile
            continue


def _commit_group(store: Store) -> None:
    group = _with_space(store, _take_group(store))
    if not group:
        return
    first_seq = store.next_seq
    try:
        store.require_writable()
        store.append(first_seq, [ticket.buffers for ticket in group])
    except VecdbError as error:
        if store.wal.failed is not None:
            store.fail(store.wal.failed)
        for ticket in group:
            ticket.fail(error)
        return
    except BaseException as error:
        # Whether the frame is whole is unknown: nothing may follow it.
        store.fail(f"{error!r} while writing to the WAL")
        for ticket in group:
            ticket.fail(error)
        raise
    try:
        for ticket in group:
            assert ticket.operation is not None
            apply(store, store.next_seq, ticket.operation, ticket.effect)
            ticket.seq = store.next_seq
            store.next_seq += 1
        store.written_at = time.monotonic()
        store.rush.add(sum(ticket.size for ticket in group), store.written_at)
        store.publish()
    except BaseException as error:
        # The WAL has operations that memory lacks: only reopening brings them together.
        store.fail(f"{type(error).__name__} while applying operation {store.next_seq}: {error}")
        for ticket in group:
            ticket.fail(error)
        raise
    for ticket in group:
        ticket.done = True


def _take_group(store: Store) -> list[Ticket]:
    """The queued tickets that one frame takes. One whose operation depends on the state must
    see all before it applied, so it goes alone."""
    group: list[Ticket] = []
    size = 0
    while store.queue and len(group) < _GROUP_OPERATIONS:
        ticket = store.queue[0]
        if group and size + ticket.size > _GROUP_BYTES:
            break  # beyond what one frame may hold it could not be read back
        if callable(ticket.request):
            if group:
                break
            store.queue.popleft()
            if _resolve(store, ticket):
                return [ticket]
            continue
        store.queue.popleft()
        group.append(ticket)
        size += ticket.size
    return group


def _resolve(store: Store, ticket: Ticket) -> bool:
    assert callable(ticket.request)
    try:
        store.require_writable()
        operation = ticket.request(store.view)
        if operation is None:
            ticket.seq = store.next_seq - 1
            ticket.done = True
            return False
        # Everything that can go wrong with an edit (a damaged row, a payload grown too large)
        # must go wrong before it is in the WAL, or it would go wrong again at every open.
        ticket.effect = rewrite(store.view, operation)
        ticket.prepare(operation)
    except Exception as error:
        ticket.fail(error)
        return False
    return True


def _with_space(store: Store, group: list[Ticket]) -> list[Ticket]:
    """The tickets that may go on. Those that add rows are refused before the disk is full: deleting
    takes space, too, in the log and for what is left of the segments."""
    size = sum(ticket.size for ticket in group)
    store.room -= size
    if store.room >= 0:
        return group
    adding = [ticket for ticket in group if not isinstance(ticket.operation, Delete)]
    free, kept = lookup.free_bytes(store.path), store.kept_free()
    if not adding or free is None or free - size >= kept:
        store.room = 0 if free is None else max(0, min(free - size - kept, _ASK_EVERY))
        return group
    for ticket in adding:
        ticket.fail(
            StorageFullError(
                errno.ENOSPC,
                f"{store.path}: no space for {size} bytes: of {free} that are free, {kept} are "
                f"kept for deleting",
            )
        )
    return [ticket for ticket in group if ticket.error is None]


@dataclass(frozen=True, slots=True)
class NewPayloads:
    """Rows of one segment and the payloads they are given."""

    edits: PayloadEdits
    rows: Offsets
    payloads: list[bytes]


Effect = Upsert | list[NewPayloads] | None
"""What an operation adds to a state: whole new rows, or payloads of rows that stay."""


def apply(store: Store, seq: int, operation: Operation, effect: Effect) -> None:
    """Change the memory segment, the alive masks and the payload edits as the operation says.
    ``effect`` is what ``rewrite`` made of it. Under the write lock; does not publish."""
    if isinstance(operation, Delete):
        store.kill(operation.keys, in_memory=True)
    elif isinstance(effect, Upsert):
        store.kill(effect.keys, in_memory=False)
        store.memory.append(seq, effect.keys, effect.payloads, effect.vectors)
    elif effect is not None:
        for new in effect:
            new.edits.append([seq] * len(new.rows), new.rows.tolist(), new.payloads)


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
    if size > _MAX_OPERATION:
        raise InvalidInputError(
            f"the edit rewrites {len(known)} points with {size} bytes of vectors; the limit of "
            f"one edit is {_MAX_OPERATION}. Edit fewer points at a time"
        )
    where, rows = where[known], rows[known]
    keys = [edit.keys[number] for number in known.tolist()]
    payloads = [
        bytes(view.segments[number].payload(row))
        for number, row in zip(where.tolist(), rows.tolist(), strict=True)
    ]
    vectors = {}
    for name in view.schema:
        values, has = gather_vectors(view, where, rows, name)
        if isinstance(edit, EditVectors) and name in edit.vectors:
            new = edit.vectors[name].take(known)
            given = new.flags()
            values[given] = new.values[given]
            has |= given
        if isinstance(edit, DropVectors) and name in edit.names:
            values[:] = 0
            has[:] = False
        vectors[name] = VectorBlock.of(values, has)
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


def existing(view: View, keys: list[int]) -> list[int]:
    """The keys, if all of them are live points. Raises NotFoundError naming the first that is
    not."""
    where, _ = view.locate(keys)
    missing = np.flatnonzero(where < 0)
    if len(missing):
        point = ids.external(keys[int(missing[0])])
        raise NotFoundError(f"point {point!r} does not exist ({len(missing)} of {len(keys)} ids)")
    return keys
