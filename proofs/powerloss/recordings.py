"""Traced runs of workloads, kept in directories: a failure can be looked at with the same run.

disk     where the database is while the workload runs; removed afterwards
start    what was on the disk before, or what the process before saw of it when it was killed
kill     after how many moments of that process
trace    the system calls, as strace prints them
root     the path the disk had
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from proofs.powerloss.check import Recovery, explore
from proofs.powerloss.children import Failed, in_children
from proofs.powerloss.disk import Choice, Disk, Image
from proofs.powerloss.promises import Allowed, History, Promise
from proofs.powerloss.steps import State
from proofs.powerloss.trace import Ack, Moment, Replay, acknowledgements, record, run
from proofs.powerloss.workloads import WORKLOADS, after_crash, start_of

ROOT = Path(__file__).resolve().parent.parent.parent
_STARTS = 8
"""Images of one workload that the recoveries of another start from."""
_EXPLORED = 200
"""Images of which they are chosen."""


@dataclass(frozen=True)
class Recording:
    """One traced run and what it means."""

    directory: Path
    history: History
    level: str

    def images(self) -> Iterator[tuple[int, Image, Allowed]]:
        """Every image and what it may hold, after so many moments. None comes twice with the same
        promise. An image is good until the next one is asked for."""
        seen: set[tuple[bytes, Allowed]] = set()
        for count, moment, disk, allowed in self.moments():
            changed = moment is Moment.CHANGED
            for choice in disk.latest() if changed else disk.choices(count):
                image = Image(disk, choice)
                key = image.digest(), allowed
                if key not in seen:
                    seen.add(key)
                    yield count, image, allowed

    def moments(self) -> Iterator[tuple[int, Ack | Moment, Disk, Allowed]]:
        """Every moment, the disk at it, and what may be there after a crash."""
        disk = Disk()
        disk.load(self.directory / "start")
        promise = Promise(self.history, self.level)
        for count, moment in enumerate(self._replayed(disk), 1):
            if isinstance(moment, Ack):
                promise.acknowledge(moment.step)
            yield count, moment, disk, promise.allowed()

    def kills(self) -> Iterator[tuple[int, Image, Allowed]]:
        """What a process that is killed leaves to the next one: all it did, durable or not."""
        for count, moment, disk, allowed in self.moments():
            if not isinstance(moment, Ack):
                yield count, Image(disk, Choice(frozenset(disk.pending))), allowed

    def _replayed(self, disk: Disk) -> Iterator[Ack | Moment]:
        root = (self.directory / "root").read_text()
        return Replay(disk, root).run(self.directory / "trace")


@dataclass(frozen=True)
class Second(Recording):
    """The run of a process that finds what a killed one left. ``history`` begins with the states
    that a power loss may go back to until it has opened: the last one is what it found."""

    killed: Recording
    kill: int
    """After how many moments."""
    found: int
    """The position of what was found."""

    def moments(self) -> Iterator[tuple[int, Ack | Moment, Disk, Allowed]]:
        before = next(at for at in self.killed.moments() if at[0] == self.kill)
        disk, opened = before[2], False
        promise = Promise(self.history, self.level)
        for count, moment in enumerate(self._replayed(disk), 1):
            if isinstance(moment, Ack):
                promise.acknowledge(moment.step)
                opened = True
            allowed = promise.allowed()
            if not opened:
                allowed = Allowed(0, self.found)
            elif allowed.acked < self.found:  # no step has returned yet
                allowed = Allowed(self.found, max(self.found, allowed.last))
            yield count, moment, disk, allowed


Images = Callable[[], Iterator[tuple[int, Image, Allowed]]]


def recordings_of(
    name: str, directory: Path, mutant: str | None = None, jobs: int = 1
) -> list[Recording]:
    """The runs of a workload: those in ``directory``, or new ones that are put there."""
    workload = WORKLOADS[name]
    if workload.crashed or workload.killed_in:
        return _recoveries(name, directory, mutant, jobs)
    here = directory / "0"
    if not here.exists():
        disk = here / "disk"
        disk.mkdir(parents=True)
        if workload.setup:
            run([*_program(name, disk, None), "--setup"], _environment())
        shutil.copytree(disk, here / "start")
        _record(name, here, mutant)
    acks = acknowledgements(here / "trace")
    history = History.of(workload.steps, start_of(workload).end, acks)
    return [Recording(here, history, workload.level)]


def _recoveries(name: str, directory: Path, mutant: str | None, jobs: int) -> list[Recording]:
    """Runs that open what a crash, or a kill, of another workload left."""
    crashed = WORKLOADS[name].crashed or WORKLOADS[name].killed_in
    assert crashed is not None
    [base] = recordings_of(crashed, directory / "base", None, jobs)
    if not (directory / "0").exists():
        _choose_starts(base.images if WORKLOADS[name].crashed else base.kills, directory, jobs)
    starts = sorted((d for d in directory.iterdir() if d.name.isdigit()), key=lambda d: int(d.name))
    recordings: list[Recording] = []

    def copy(start: Path, slot: Path) -> None:
        shutil.rmtree(slot, ignore_errors=True)
        shutil.copytree(start / "start", slot)

    # One at a time, so that they stay in order.
    for start, answer in in_children(starts, copy, _explore, directory, 1):
        if isinstance(answer, Failed):
            raise RuntimeError(f"{name}: the start {start.name} cannot be opened: {answer}")
        found = base.history.known(answer[1])
        if not (start / "trace").exists():
            shutil.copytree(start / "start", start / "disk")
            _record(name, start, mutant)
        history = History.of(after_crash(found.collections), found)
        if WORKLOADS[name].crashed:
            recordings.append(Recording(start, history, WORKLOADS[crashed].level))
        else:
            recordings.append(_second(start, history, base))
    return recordings


def _second(start: Path, history: History, base: Recording) -> Second:
    """``history``: from what was found on."""
    kill = int((start / "kill").read_text())
    allowed = next(at[3] for at in base.moments() if at[0] == kill)
    states = base.history.states(allowed.acked, allowed.last)
    older = [replace(state, snapshots={}) for state in states]  # which nobody looks for
    found = max(n for n, state in enumerate(older) if not _differs(history.entries[0][1], state))
    entries = [*enumerate(older[:found]), *((found + at, state) for at, state in history.entries)]
    positions = {task: found + at for task, at in history.positions.items()}
    whole = History(history.tasks, entries, positions)
    return Second(start, whole, base.level, base, kill, found)


def _differs(found: State, wanted: State) -> str | None:
    return History([], [(0, wanted)], {}).difference(found, Allowed(0, 0))


def _choose_starts(images: Images, directory: Path, jobs: int) -> None:
    """Images for which recovery has different things to do."""
    every = max(1, sum(1 for _ in images()) // _EXPLORED)
    some = ((n, image) for n, (_, image, _) in enumerate(images()) if n % every == 0)
    kinds: dict[Recovery, list[int]] = defaultdict(list)
    answers = in_children(some, lambda item, slot: item[1].write(slot), _explore, directory, jobs)
    for (number, _), answer in answers:
        if isinstance(answer, Failed):
            raise RuntimeError(f"image {number} of the crashed workload cannot be opened: {answer}")
        kinds[answer[0]].append(number)
    # The middle one of each kind, then those a quarter in, and so on.
    spread = [[sorted(ns)[len(ns) * k // 8] for k in (4, 2, 6, 1, 7)] for ns in kinds.values()]
    chosen = dict.fromkeys(n for row in zip_longest(*spread) for n in row if n is not None)
    wanted = dict.fromkeys(list(chosen)[:_STARTS])
    for number, (moment, image, _) in enumerate(images()):
        if number in wanted:
            here = directory / str(list(wanted).index(number))
            image.write(here / "start")
            (here / "kill").write_text(str(moment))


def _explore(_: None, slot: Path) -> tuple[Recovery, State]:
    return explore(slot / "db")


def _record(name: str, directory: Path, mutant: str | None) -> None:
    disk = directory / "disk"
    (directory / "root").write_text(str(disk))
    record(_program(name, disk, mutant), directory / "trace", _environment())
    shutil.rmtree(disk)


def _program(name: str, disk: Path, mutant: str | None) -> list[str]:
    """With a bug planted in the engine, if one is named."""
    if mutant is None:
        program = ["-m", "proofs.powerloss.traced"]
    else:
        program = ["-m", "proofs.powerloss.mutants", mutant, "proofs.powerloss.traced"]
    return [sys.executable, *program, name, str(disk)]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
