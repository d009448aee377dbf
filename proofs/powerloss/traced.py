"""The program that is traced: it performs a workload on the database DIRECTORY/db.

    python -m proofs.powerloss.traced NAME DIRECTORY [--setup]

It prints ``ACK n seq`` after step ``n`` returned, with ``os.write``, so that in a trace of system
calls the acknowledgements have their place between the writes.
"""

from __future__ import annotations

import os
import random
import sys
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from proofs.powerloss.check import config_of
from proofs.powerloss.promises import History, Task, plan
from proofs.powerloss.steps import SPACES, Model, Run, Space, State
from proofs.powerloss.workloads import WORKLOADS, after_crash, start_of
from vecdb.storage import layout


def perform(run: Run, task: Task) -> None:
    """Do a task and those within it, and acknowledge each."""
    lanes: list[list[Callable[[], None]]] = [
        [lambda t=inner: perform(run, t) for inner in lane]  # type: ignore[misc]
        for lane in task.lanes
    ]
    seq = task.step.perform_all(run, lanes)
    acknowledge(task.number, seq)


def acknowledge(number: int, seq: int) -> None:
    """Say, between the system calls, that a step is done."""
    os.write(1, b"ACK %d %d\n" % (number, seq))


def repeatable(seed: str) -> None:
    """Random names and salts, the same in every run: so the number of an image stays the same."""
    rng = random.Random(seed)
    os.urandom = rng.randbytes
    uuid.uuid4 = lambda: uuid.UUID(int=rng.getrandbits(128), version=4)
    snapshot_file, moment = layout.snapshot_file, datetime(2026, 1, 1, tzinfo=timezone.utc)
    layout.snapshot_file = lambda prefix, number, _: snapshot_file(  # type: ignore[assignment]
        prefix, number, moment
    )


def _spaces(run: Run, history: History) -> dict[str, Space]:
    """What kinds of collections a crash has left: their vectors tell."""
    names = [c.name for c in run.db.get_collections().collections]
    configs = {name: config_of(run.db.get_collection(name).config) for name in names}
    found = State({name: Model("", {}, config) for name, config in configs.items()})
    return {n: SPACES[m.space] for n, m in history.known(found).collections.items()}


def main() -> None:
    name, path = sys.argv[1], Path(sys.argv[2]) / "db"
    repeatable(" ".join([name, *sys.argv[3:]]))
    workload = WORKLOADS[name]
    before = workload.crashed or workload.killed_in
    if before:
        crashed = WORKLOADS[before]
        history = History.of(crashed.steps, start_of(crashed).end)
        run = Run(path, history.everything(), **crashed.options)
        run.spaces = _spaces(run, history)
        steps = after_crash(run.spaces)
    elif "--setup" in sys.argv:
        run, steps = Run(path, State(), **workload.options), workload.setup
    else:
        run, steps = Run(path, start_of(workload).everything(), **workload.options), workload.steps
    acknowledge(0, 0)
    for task in plan(steps):
        perform(run, task)
    if "--setup" in sys.argv and not workload.killed:
        run.db.close()
    os._exit(0)  # no close: the crash comes anyway


if __name__ == "__main__":
    main()
