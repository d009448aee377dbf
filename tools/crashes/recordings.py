"""Traced runs of workloads, kept in directories: a failure can be looked at with the same run.

disk     where the database is while the workload runs; removed afterwards
start    what was on the disk before
trace    the system calls, as strace prints them
root     the path the disk had
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from crashes.check import Recovery, explore
from crashes.children import Failed, in_children
from crashes.model import Disk, Image
from crashes.oracle import Allowed, History, Promise
from crashes.steps import State
from crashes.trace import Ack, Moment, Replay, acknowledgements, record, run
from crashes.workloads import WORKLOADS, after_crash, start_of

TOOLS = Path(__file__).resolve().parent.parent
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
        disk = Disk()
        disk.load(self.directory / "start")
        promise = Promise(self.history, self.level)
        seen: set[tuple[bytes, Allowed]] = set()
        root = (self.directory / "root").read_text()
        for count, moment in enumerate(Replay(disk, root).run(self.directory / "trace"), 1):
            if isinstance(moment, Ack):
                promise.acknowledge(moment.step)
            allowed = promise.allowed()
            changed = moment is Moment.CHANGED
            for choice in disk.latest() if changed else disk.choices(count):
                image = Image(disk, choice)
                key = image.digest(), allowed
                if key not in seen:
                    seen.add(key)
                    yield count, image, allowed


def recordings_of(
    name: str, directory: Path, mutant: str | None = None, jobs: int = 1
) -> list[Recording]:
    """The runs of a workload: those in ``directory``, or new ones that are put there."""
    if WORKLOADS[name].crashed:
        return _recoveries(name, directory, mutant, jobs)
    workload = WORKLOADS[name]
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
    """Runs that open what a crash of another workload left."""
    crashed = WORKLOADS[name].crashed
    assert crashed is not None
    [base] = recordings_of(crashed, directory / "base", None, jobs)
    if not (directory / "0").exists():
        _choose_starts(base, directory, jobs)
    starts = sorted((d for d in directory.iterdir() if d.name.isdigit()), key=lambda d: int(d.name))
    recordings = []

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
        recordings.append(Recording(start, history, WORKLOADS[crashed].level))
    return recordings


def _choose_starts(base: Recording, directory: Path, jobs: int) -> None:
    """Images for which recovery has different things to do."""
    every = max(1, sum(1 for _ in base.images()) // _EXPLORED)
    some = ((n, image) for n, (_, image, _) in enumerate(base.images()) if n % every == 0)
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
    for number, (_, image, _) in enumerate(base.images()):
        if number in wanted:
            image.write(directory / str(list(wanted).index(number)) / "start")


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
        program = ["-m", "crashes.workloads"]
    else:
        program = ["-m", "crashes.mutants", mutant, str(TOOLS / "crashes" / "workloads.py")]
    return [sys.executable, *program, name, str(disk)]


def _environment() -> dict[str, str]:
    paths = os.pathsep.join([str(TOOLS), str(TOOLS.parent)])
    return {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
