"""Optimizer: the background thread that brings collections into the form they are configured for.

One daemon thread a database, woken by change, never by polling. It asks ``planner.plan`` what to do
and does it with ``checkpoint`` and ``build``; ``run_once`` is the same step for tests. An error is
kept in the collection's status, the old segments go on serving, and the step is tried again after
longer and longer waits.

Collections take turns, a step each, so none waits for another that always has something to do; one
that somebody waits for has every second turn. While points come faster than an index of them could
be built, no index is begun that would have to be built again: it would slow down the load for
nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from vecdb.engine.optimize.build import build
from vecdb.engine.optimize.columns import write_columns
from vecdb.engine.optimize.meter import Cancelled
from vecdb.engine.planner import Plan, over_budget, plan
from vecdb.engine.statistics import statistics
from vecdb.engine.store import Store
from vecdb.engine.write.checkpoint import checkpoint_held
from vecdb.errors import ClosedError, InvalidInputError, OptimizerError
from vecdb.storage.mapping import give_back_freed_memory

_log = logging.getLogger("vecdb")

# After a look the thread rests this long, so that a burst of writes costs a few looks a second.
_REST = 0.02


def next_step(store: Store, *, patient: bool = False) -> Plan | None:
    """What the planner says now; None also for a collection that takes no writes. ``patient``:
    leave out what can wait until a rush is over."""
    with store.write:
        if store.closed or store.failure is not None or store.is_lost:
            return None
        if store.frozen is not None:  # a checkpoint that failed half-way, or one at work
            return Plan("checkpoint")
        _take_demand(store)
        settled = bool(store.waiting) or _pause(store) <= 0.0
        rushing = patient and not settled and store.rush.left(time.monotonic()) > 0.0
        stats = statistics(store, settled=settled, rushing=rushing)
        return plan(stats, store.schema, store.config.optimizer_config)


def _take_demand(store: Store) -> None:
    """Let fields have columns that filters keep asking for. Under the write lock."""
    if not store.demand.due <= store.automatic:
        store.automatic |= store.demand.due
        store.publish()


def _pause(store: Store) -> float:
    """Seconds until writing counts as paused: ``flush_interval_sec`` after the last write."""
    return store.written_at + store.config.optimizer_config.flush_interval_sec - time.monotonic()


class Optimizer:
    """The worker of one database. ``stores`` gives the open collections."""

    def __init__(self, stores: Callable[[], Iterable[Store]]) -> None:
        self._stores = stores
        self._condition = threading.Condition()  # no lock is taken under it
        self._told = 0  # how often those who wait for it were told to look again
        self._changed = True
        self._stopping = False
        self._running = threading.RLock()  # one step at a time, thread or run_once
        self._current: Store | None = None
        # By something of each caller. Ctrl-C may come first: it is removed before it is there.
        self._waited_for: dict[object, Store] = {}
        self._callers: set[object] = set()
        """Of those that want to do a step themselves."""
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, a daemon: it must not keep the interpreter from ending."""
        self._thread = threading.Thread(target=self._loop, name="vecdb-optimizer", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something changed: look again."""
        if self._changed:
            return  # not looked yet; spares every write of a burst the lock
        with self._condition:
            self._changed = True
            self._tell()

    def _tell(self) -> None:
        """Let all who wait look again. Under the condition."""
        self._told += 1
        self._condition.notify_all()

    def stop(self) -> None:
        """Cancel what runs, here or in a caller's thread, and end the thread. Waits for both."""
        with self._condition:
            self._stopping = True
            self._tell()
        thread = self._thread
        # One that could not be started, as there are too many, has no identity.
        if thread is not None and thread.ident not in (None, threading.get_ident()):
            thread.join()
        with self._running:
            pass

    def run_once(self, store: Store | None = None) -> bool:
        """Do the next step of each collection (or of one) here and now. Returns whether one was
        done. Raises what the step raised."""
        done = False
        for candidate in [store] if store is not None else list(self._stores()):
            done |= self._step_here(candidate)
        return done

    def wait(self, store: Store, timeout: float | None) -> bool:
        """Wait until nothing is left to do. False: ``timeout`` seconds passed first, or the
        optimizer was stopped. Raises OptimizerError if a step that began since fails, or a failure
        has closed the collection to writes. What failed before is tried again at once: much may
        have changed."""
        deadline, caller = deadline_of(timeout), object()
        try:
            store.waiting.add(caller)
            self._waited_for[caller] = store
            store.optimizer.retry_at = 0.0
            self.wake()
            return self._wait(store, deadline, store.optimizer.begun)
        finally:
            try:
                self._waited_for.pop(caller, None)
            finally:
                store.waiting.discard(caller)

    def _wait(self, store: Store, deadline: float | None, begun: int) -> bool:
        while True:
            _require_well(store)
            if self._thread is None or _disabled(store):
                try:
                    if not self._step_here(store):
                        return next_step(store) is None
                except Exception as error:
                    raise _failure(store) from error
                if deadline is not None and time.monotonic() >= deadline:
                    return next_step(store) is None
                continue
            told = self._told
            if store.optimizer.error is not None and store.optimizer.failed_in > begun:
                raise _failure(store)
            # Not under the condition: it takes the write lock, and who has that may call ``wake``.
            # In this order: what a step has committed is no longer due while it removes files.
            if next_step(store) is None and store.optimizer.task is None:
                _require_well(store)
                return True
            if self._stopping:
                return False
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            with self._condition:
                if self._told == told:  # else a step has ended since this looked
                    self._condition.wait(min(left, 1.0) if left is not None else 1.0)

    def leave(self, store: Store) -> None:
        """Wait until no step works on a closed collection: its build sees that and stops."""
        with self._condition:
            self._condition.wait_for(lambda: self._current is not store)

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._stopping, _REST)
                self._condition.wait_for(
                    lambda: self._stopping or self._changed, self._until_next()
                )
                if self._stopping:
                    return
                self._changed = False
            self._look()

    def _look(self) -> None:
        """Do what there is to do. It is a method, so that the sleeping thread's frame keeps no
        store."""
        self._press()
        done = False
        while self._round():
            done = True
        if done:  # what was freed were many small pieces, which the C library keeps
            give_back_freed_memory()

    def _round(self) -> bool:
        """Do a step of each collection that has one. Returns whether any was done."""
        done = False
        for store in self._stores():
            for each in (*set(self._waited_for.values()), store):
                done |= self._turn(each)
        return done

    def _turn(self, store: Store) -> bool:
        """Do one step of a collection, unless it is to wait. Returns whether it was done."""
        with self._condition:  # callers go first: a lock does not tell who has waited longest
            self._condition.wait_for(lambda: self._stopping or not self._callers)
        if _disabled(store) or store.optimizer.retry_at > time.monotonic():
            return False
        try:
            return self._step(store, patient=True)
        except Exception as error:
            # Kept in the collection's status; the thread must go on for the others.
            _log.warning("collection %r: optimizer: %s", store.name, error)
            return False

    def _press(self) -> None:
        """Let collections give back memory, as long as all of them together hold too much."""
        stores = [store for store in self._stores() if store.is_on_disk]
        pressed = over_budget({store: store.memory_size for store in stores})
        for store in stores:
            store.pressed = store in pressed

    def _until_next(self) -> float | None:
        """Seconds until something may have to be done without another change: a failed step is
        tried again, or writing has paused."""
        times = []
        for store in self._stores():
            if _disabled(store):
                continue
            if store.optimizer.error is not None:
                times.append(store.optimizer.retry_at - time.monotonic())
            elif (pause := _pause(store)) > 0.0:
                times.append(min(pause, store.rush.left(time.monotonic()) or pause))
        return max(0.0, min(times)) if times else None

    def _step_here(self, store: Store) -> bool:
        """Do a step in the caller's thread, before the next one in the background."""
        caller = object()
        try:
            self._callers.add(caller)
            return self._step(store)
        finally:
            self._callers.discard(caller)
            with self._condition:
                self._tell()

    def _step(self, store: Store, *, patient: bool = False) -> bool:
        """The next one; whether there was any."""
        store.require_outside()
        with self._running:
            state = store.optimizer
            step = next_step(store, patient=patient)
            if step is None:
                state.succeeded()
            if step is None or self._stopping:
                return False
            try:
                self._current = store
                state.begun += 1
                state.task, state.done_rows, state.total_rows = step.task, 0, 0
                self._run(store, step)
            except Cancelled:
                return False
            except BaseException as error:
                state.failed(step.task, error)
                raise
            else:
                state.succeeded()
                state.completed += 1
            finally:
                state.task = None
                with self._condition:
                    self._current = None
                    self._tell()
            return True

    def _run(self, store: Store, step: Plan) -> None:
        if step.task == "checkpoint":
            with store.maintenance:
                if next_step(store) == step:  # a writer may have made it while this one waited
                    checkpoint_held(store)
            return

        def progress(done: int, total: int) -> None:
            store.optimizer.done_rows, store.optimizer.total_rows = done, total

        def cancelled() -> bool:
            return self._stopping or store.closing

        if step.task == "columns":
            write_columns(store, step.segments[0], cancelled=cancelled, progress=progress)
        else:
            build(store, step.segments, cancelled=cancelled, progress=progress)


def deadline_of(timeout: Any) -> float | None:
    """The moment, by ``time.monotonic``, at which a wait ends. Raises InvalidInputError."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout != timeout:
        raise InvalidInputError(f"timeout: expected seconds or None, got {timeout!r:.60}")
    return time.monotonic() + timeout


def _require_well(store: Store) -> None:
    if store.closed:
        raise ClosedError(f"collection {store.name!r} {store.closed_because}")
    if store.failure is not None:
        raise OptimizerError(
            f"collection {store.name!r} is closed to writes since a failure, and nothing is done "
            f"in it: {store.failure}; close it and open it again"
        )


def _failure(store: Store) -> OptimizerError:
    reason = store.optimizer.error or store.failure
    return OptimizerError(f"collection {store.name!r}: the optimizer failed: {reason}")


def _disabled(store: Store) -> bool:
    return store.config.optimizer_config.max_optimization_threads == 0
