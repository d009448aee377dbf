"""Writing: operations get their order, go to the WAL as one frame, and are applied.

Group commit: a writer queues its operations and takes the write lock. Whoever gets the lock first
commits everything queued so far, with one write and one sync; the others find theirs done. The
batching window is the time that the sync before takes; there is no timer.

A frame is in the log wholly or not at all, and a batch is in one frame, with nothing between its
operations: so is the batch.

A write returns when it is durable (as far as the sync level goes) and visible to new reads.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from vecdb.engine.operations import Delete, Operation, Upsert, encode, fitted, require_fit
from vecdb.engine.schema import Schema
from vecdb.engine.signals import Uninterrupted
from vecdb.engine.store import Store
from vecdb.engine.view import View
from vecdb.engine.write.draft import Draft
from vecdb.engine.write.effects import MAX_OPERATION, Effect, apply, rewrite
from vecdb.errors import InvalidInputError, StorageFullError, VecdbError, copy_of
from vecdb.storage import lookup
from vecdb.storage.format import MAX_OPERATIONS, DamageError

# An operation that depends on no state, or a function that makes one from the state it applies to
# (None: nothing to do).
Request = Upsert | Delete | Callable[[View], Operation | None]

_GROUP_BYTES = 1 << 20
_ASK_EVERY = 1 << 20  # bytes that are written until the disk is asked again for its free space
_GROUP_OPERATIONS = 256
_SMALL = 1 << 14  # bytes of an operation that are sooner copied than handled as a dozen buffers
_FRAMING = 16  # bytes that an operation takes in a frame beside its own, at most


class Logged:
    """One operation as it goes to the log. ``effect``: what it amounts to, if that is known."""

    __slots__ = ("buffers", "effect", "operation", "size")

    def __init__(self, operation: Operation, effect: Effect = None) -> None:
        self.operation = operation
        self.effect = effect
        self.buffers: list[Any] = encode(operation)
        size = sum(memoryview(buffer).nbytes for buffer in self.buffers)
        if size <= _SMALL:
            self.buffers = [b"".join(self.buffers)]
        self.size = size + _FRAMING


class Done(NamedTuple):
    """What came of a request: the seq of its operation, or of the one before if it had nothing to
    do, and how many points a deletion took (None: it was none, 0: or had nothing to do)."""

    seq: int
    deleted: int | None


class Ticket:
    """Queued requests, all of which become true or none, and later their outcome."""

    __slots__ = ("deleted", "done", "error", "logged", "outcome", "requests", "size", "which")

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests
        self.logged: list[Logged] = []
        self.which: list[int] = []  # for each request how many operations there are up to its own
        self.size = 0
        self.deleted: list[int | None] = []  # for each operation
        self.outcome: list[Done] = []  # for each request
        self.done = False
        self.error: BaseException | None = None

    @property
    def depends(self) -> bool:
        """Whether the operations depend on the state."""
        return any(map(callable, self.requests))

    def add(self, operation: Operation | None, effect: Effect = None) -> None:
        """The operation of the next request. Raises InvalidInputError for more than one frame."""
        if operation is not None:
            logged = Logged(operation, effect)
            self.logged.append(logged)
            self._grow(logged.size)
        self.which.append(len(self.logged))

    def _grow(self, size: int) -> None:
        self.size += size
        if self.size > MAX_OPERATION:
            raise InvalidInputError(
                f"the write is {self.size} bytes; the limit of one write is {MAX_OPERATION}. "
                f"Split it into smaller batches"
            )

    def begin_anew(self) -> None:
        """Forget operations that were worked out, if that was broken off."""
        self.logged, self.which, self.size = [], [], 0

    def fit(self, schema: Schema, dims: Mapping[str, int]) -> bool:
        """Make the operations those of a collection that has these vectors now; whether they can
        be."""
        try:
            for number, each in enumerate(self.logged):
                operation = fitted(each.operation, schema)
                if operation is not each.operation:
                    assert isinstance(operation, Upsert)
                    self.logged[number] = new = Logged(operation, operation)
                    self._grow(new.size - each.size)  # a name that came makes it larger
                require_fit(operation, dims)
        except (InvalidInputError, DamageError) as error:
            self.fail(error)
        return self.error is None

    def applied(self, seq: int) -> None:
        """The first of the operations had this number."""
        before = 0
        for count in self.which:
            deleted = self.deleted[count - 1] if count > before else 0
            self.outcome.append(Done(seq + count - 1, deleted))
            before = count

    def fail(self, error: BaseException) -> None:
        """The requests have no effect."""
        self.error = error
        self.done = True


def submit(store: Store, request: Request) -> int:
    """Commit a request; the seq it got (of the last operation, if it had nothing to do)."""
    return submit_all(store, [request])[0].seq


def submit_all(store: Store, requests: Sequence[Request]) -> list[Done]:
    """Commit requests as one write: each sees those before it, and all of them become true or
    none. What came of each. Raises InvalidInputError for too many of them."""
    ticket = _ticket(requests)
    _commit_all(store, [ticket])
    error, ticket.error = ticket.error, None  # by its frames it has the ticket
    if error is None:
        return ticket.outcome
    try:
        raise error
    finally:
        del error


def submit_each(
    store: Store, writes: Sequence[Sequence[Request]]
) -> list[list[Done] | BaseException]:
    """Commit several writes, in order and in as few groups as they fit in; none depends on another.
    For each what ``submit_all`` would have returned or raised."""
    tickets: list[Ticket] = []
    outcomes: list[list[Done] | BaseException] = [[]] * len(writes)
    numbers: list[int] = []
    for number, requests in enumerate(writes):
        try:
            tickets.append(_ticket(requests))
        except InvalidInputError as error:
            outcomes[number] = error
        else:
            numbers.append(number)
    try:
        _commit_all(store, tickets)
    except Exception as error:
        for ticket in tickets:
            if not ticket.done:
                ticket.fail(copy_of(error))
    for number, ticket in zip(numbers, tickets, strict=True):
        outcomes[number] = ticket.outcome if ticket.error is None else ticket.error
        ticket.error = None
    return outcomes


def _ticket(requests: Sequence[Request]) -> Ticket:
    """Raises InvalidInputError if there are too many requests, or they are too large."""
    if len(requests) > MAX_OPERATIONS:
        raise InvalidInputError(
            f"{len(requests)} operations; the limit of one write is {MAX_OPERATIONS}"
        )
    ticket = Ticket(requests)
    if not ticket.depends:
        for request in requests:
            assert not callable(request)
            ticket.add(request, None if isinstance(request, Delete) else request)
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
    taken: list[Ticket] = []
    try:
        group = _with_space(store, _take_group(store, taken))
    except BaseException:
        # Nothing is logged yet. Whoever waits for one of them would wait for ever.
        for ticket in reversed(taken):
            if not ticket.done and not (store.queue and store.queue[0] is ticket):
                store.queue.appendleft(ticket)
        raise
    if not group:
        return
    first_seq = store.next_seq
    try:
        store.require_writable()
        store.append(first_seq, [each.buffers for ticket in group for each in ticket.logged])
    except VecdbError as error:
        if store.wal.failed is not None:
            store.fail(store.wal.failed)
        for number, ticket in enumerate(group):
            ticket.fail(copy_of(error) if number else error)
        return
    except BaseException as error:
        # Whether the frame is whole is unknown: nothing may follow it.
        store.fail(f"{error!r} while writing to the WAL")
        for ticket in group:
            ticket.fail(copy_of(error))
        raise
    try:
        for ticket in group:
            _apply(store, ticket)
        store.written_at = time.monotonic()
        store.rush.add(sum(ticket.size for ticket in group), store.written_at)
        store.publish()
        for ticket in group:
            ticket.done = True
    except BaseException as error:
        # The WAL has operations that memory lacks: only reopening brings them together.
        store.fail(f"{type(error).__name__} while applying operation {store.next_seq}: {error}")
        for ticket in group:
            ticket.fail(copy_of(error))
        raise


def _apply(store: Store, ticket: Ticket) -> None:
    first_seq = store.next_seq
    for number, each in enumerate(ticket.logged):
        effect = each.effect
        if number and not isinstance(each.operation, (Upsert, Delete)):
            # What it was worked out for was a draft.
            effect = rewrite(store.make_view(), each.operation)
        ticket.deleted.append(apply(store, store.next_seq, each.operation, effect))
        store.next_seq += 1
    ticket.applied(first_seq)


def _take_group(store: Store, taken: list[Ticket]) -> list[Ticket]:
    """The queued tickets that one frame takes. One whose operations depend on the state must
    see all before it applied, so it goes alone. All that leave the queue are ``taken``."""
    group: list[Ticket] = []
    size = count = 0
    while store.queue:
        ticket = store.queue[0]
        depends = ticket.depends
        if depends and group:
            break
        # Before its size is asked for: names that came since it was made make it larger.
        fits = depends or ticket.fit(store.schema, store.memory.dims)
        size += ticket.size
        count += len(ticket.logged)
        if group and (size > _GROUP_BYTES or count > _GROUP_OPERATIONS):
            break  # beyond what one frame may hold it could not be read back
        taken.append(ticket)
        store.queue.popleft()
        if depends:
            if _resolve(store, ticket):
                return [ticket]
        elif fits:
            group.append(ticket)
    return group


def _resolve(store: Store, ticket: Ticket) -> bool:
    """Work out the operations of a ticket; whether there are any."""
    ticket.begin_anew()
    try:
        store.require_writable()
        draft = Draft(store.view) if len(ticket.requests) > 1 else None
        for request in ticket.requests:
            view = store.view if draft is None else draft.view
            operation = request(view) if callable(request) else request
            if operation is None:
                ticket.add(None)
                continue
            operation = fitted(operation, store.schema)
            require_fit(operation, store.memory.dims)
            # Everything that can go wrong with an edit (a damaged row, a payload grown too
            # large) must go wrong before it is in the WAL, or it would go wrong again at every
            # open.
            effect = rewrite(view, operation)
            ticket.add(operation, effect)
            if draft is not None:
                draft.apply(store.next_seq + len(ticket.logged) - 1, operation, effect)
        if not ticket.logged:  # who is told that all is done may rely on it, as after any write
            store.require_in_place()
    except Exception as error:
        ticket.fail(error)
        return False
    if not ticket.logged:
        ticket.applied(store.next_seq)
        ticket.done = True
    return bool(ticket.logged)


def _with_space(store: Store, group: list[Ticket]) -> list[Ticket]:
    """The tickets that may go on. Those that add rows are refused before the disk is full: deleting
    takes space, too, in the log and for what is left of the segments."""
    size = sum(ticket.size for ticket in group)
    store.room -= size
    if store.room >= 0:
        return group
    adding = [ticket for ticket in group if not _only_deletes(ticket)]
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


def _only_deletes(ticket: Ticket) -> bool:
    return all(isinstance(each.operation, Delete) for each in ticket.logged)
