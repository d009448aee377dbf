"""What may be there after a crash: the states of a workload, and how much of it was promised.

At the level "always" everything acknowledged is there, and of what was under way any beginning.
At the other levels the points of a collection may go back as far as the last fence (a checkpoint,
a sync) that was acknowledged: to the state after some operation, never to one with a hole. The
existence and the configuration of a collection are durable at every level.

Steps of several threads have no order of their own. Theirs is that of the operation numbers the
database gave them, which the acknowledgements tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from proofs.model.oracle import Points, points_difference
from proofs.powerloss.steps import SPACES, Model, State, Step
from proofs.powerloss.trace import Ack


@dataclass(frozen=True)
class Task:
    """A step of a workload with its number and those it comes after."""

    number: int
    step: Step
    after: tuple[int, ...]
    lanes: tuple[tuple[Task, ...], ...] = ()

    def all(self) -> list[Task]:
        """The inner tasks, then this one."""
        return [t for lane in self.lanes for task in lane for t in task.all()] + [self]


def plan(steps: Sequence[Step]) -> list[Task]:
    """The steps as numbered tasks; 0 is opening the database."""
    return _plan(steps, 1, (0,))


def _plan(steps: Sequence[Step], number: int, after: tuple[int, ...]) -> list[Task]:
    tasks = []
    for step in steps:
        lanes = []
        for lane in step.inner():
            lanes.append(tuple(_plan(lane, number, after)))
            number += sum(len(task.all()) for task in lanes[-1])
        ends = tuple(lane[-1].number for lane in lanes) or after
        tasks.append(Task(number, step, ends, tuple(lanes)))
        after = (number,)
        number += 1
    return tasks


@dataclass(frozen=True)
class Allowed:
    """What one image may hold, as positions in a history."""

    acked: int
    """The last position of which everything is durable but, perhaps, points."""
    last: int
    """The last position that may have been begun."""
    fences: tuple[tuple[str, int], ...] = ()
    """At the lower sync levels: to where the points of each collection may go back."""


@dataclass
class History:
    """The states a workload goes through, in the order in which the database did its steps."""

    tasks: list[Task]
    entries: list[tuple[int, State]]
    """(position, state); a step that passes through several states has several entries."""
    positions: dict[int, int]
    """Of every task that changes something."""

    @staticmethod
    def of(steps: Sequence[Step], start: State, acks: Iterable[Ack] = ()) -> History:
        """``acks``: all of the trace."""
        tasks = plan(steps)
        seqs = {ack.step: ack.seq for ack in acks}
        history = History(tasks, [(0, start)], {0: 0})
        for task in tasks:
            inner = task.all()[:-1]
            if len(task.lanes) > 1:  # side by side: in the order the database says
                inner = sorted(
                    (t for t in inner if seqs.get(t.number)), key=lambda t: seqs[t.number]
                )
            for each in [*inner, task]:
                history._add(each)
        return history

    def _add(self, task: Task) -> None:
        position = len(self.positions)
        self.positions[task.number] = position
        for state in task.step.pass_through(self.entries[-1][1]):
            self.entries.append((position, state))

    @property
    def end(self) -> State:
        """After all of it."""
        return self.entries[-1][1]

    def everything(self) -> State:
        """Every collection there ever was, as it was last."""
        collections = {n: m for _, s in self.entries for n, m in s.collections.items()}
        return State(collections, self.end.snapshots)

    def states(self, first: int, last: int) -> list[State]:
        """Those after ``first`` and all up to ``last``."""
        before = [state for position, state in self.entries if position <= first]
        return before[-1:] + [s for position, s in self.entries if first < position <= last]

    def difference(self, found: State, allowed: Allowed) -> str | None:
        """What of a state is not allowed; None if all of it is."""
        states = self.states(allowed.acked, allowed.last)
        fences = dict(allowed.fences)
        for name in {*found.snapshots, *(n for s in states for n in s.snapshots)}:
            counts = [len(state.snapshots.get(name, ())) for state in states]
            if len(found.snapshots.get(name, ())) not in counts:
                return f"{name}: {len(found.snapshots.get(name, ()))} snapshots, not {counts}"
        for name in sorted({*found.collections, *(n for s in states for n in s.collections)}):
            model = found.collections.get(name)
            models = [state.collections.get(name) for state in states]
            if (model is None) not in [m is None for m in models]:
                return f"collection {name!r} is {'missing' if model is None else 'there'}"
            if model is None:
                continue
            there = [m for m in models if m is not None]
            if not any(m.config.items() <= model.config.items() for m in there):
                return f"{name}: configuration {model.config}, not {there[0].config}"
            first = min(fences.get(name, allowed.acked), allowed.acked)
            older = [s.collections.get(name) for s in self.states(first, allowed.last)]
            wanted = [m.points for m in older if m is not None]
            if model.points not in wanted:
                return f"{name}: {_difference(model.points, wanted)}"
        beside = [s.aliases for s in states if s.collections.keys() == found.collections.keys()]
        if found.aliases not in beside:
            return f"aliases {found.aliases}, not {beside}"
        return None

    def _kind(self, name: str, found: Model) -> str:
        """The last kind that a collection was of, with the vectors that it has."""
        kinds = [state.collections.get(name) for _, state in reversed(self.entries)]
        known = [model for model in kinds if model is not None]
        fit = (m.space for m in known if _vectors(m) == found.config.get("vectors", _vectors(m)))
        return next(fit, known[0].space)

    def known(self, found: State, allowed: Allowed | None = None) -> State:
        """A state that was found, with the kinds of its collections and what its snapshots hold."""
        states = [state for _, state in self.entries]
        if allowed is not None:
            states = self.states(allowed.acked, allowed.last)
        collections = {
            name: replace(model, space=self._kind(name, model))
            for name, model in found.collections.items()
        }
        snapshots = {
            name: next(
                state.snapshots.get(name, ())
                for state in states
                if len(state.snapshots.get(name, ())) == len(archives)
            )
            for name, archives in found.snapshots.items()
        }
        return State(collections, snapshots, found.aliases)


def _vectors(model: Model) -> dict[str, list[Any]]:
    return {name: list(kind) for name, kind in SPACES[model.space].vectors.items()}


def _difference(found: Points, wanted: list[Points]) -> str:
    counts = " or ".join(str(n) for n in dict.fromkeys(map(len, wanted)))
    return f"{len(found)} points, expected {counts}: {points_difference(found, wanted[0])}"


@dataclass
class Promise:
    """What was promised so far, as the acknowledgements of a trace come in."""

    history: History
    level: str
    _acked: set[int] = field(default_factory=set)
    _floor: int = 0
    _floors: dict[int, int] = field(default_factory=lambda: {0: 0})
    """The floor at the moment each task was acknowledged."""
    _fences: dict[str, int] = field(default_factory=dict)

    def acknowledge(self, number: int) -> None:
        """A task has returned."""
        self._acked.add(number)
        task = self._task(number)
        if task is None:
            return
        position = self.history.positions.get(number)
        if position is not None and task.step.promised:
            self._floor = max(self._floor, position)
        self._floors[number] = self._floor
        if task.step.fence:
            covered = max(self._floors[n] for n in task.after)
            if len(task.after) == 1 and position is not None:
                covered = max(covered, position)
            for name in self._names() if task.step.into == "*" else {task.step.into}:
                self._fences[name] = max(self._fences.get(name, 0), covered)

    def allowed(self) -> Allowed:
        """What an image of this moment may hold."""
        last = self._floor
        positions = self.history.positions
        for task in sorted(self._all(), key=lambda t: positions.get(t.number, 0)):
            position = positions.get(task.number, 0)
            if position > last and not self._may_have_begun(task):
                break  # there are no holes: nothing after it can be there
            last = max(last, position)
        fences = (
            {} if self.level == "always" else {n: self._fences.get(n, 0) for n in self._names()}
        )
        return Allowed(self._floor, last, tuple(sorted(fences.items())))

    def _may_have_begun(self, task: Task) -> bool:
        return task.number in self._acked or all(n in self._acked for n in task.after)

    def _all(self) -> list[Task]:
        return [t for task in self.history.tasks for t in task.all()]

    def _task(self, number: int) -> Task | None:
        return next((task for task in self._all() if task.number == number), None)

    def _names(self) -> set[str]:
        return {name for _, state in self.history.entries for name in state.collections}
