"""Soak: a long random history of one database, compared with a model in plain Python all along.

Eleven collections lie side by side: no codes, scalar, binary and product codes; all in RAM, codes
in RAM, or all on disk; with one vector or several, some of them missing, under all four distances,
integers and UUIDs as ids; and one that comes and goes. Operations are drawn from every verb of the
API, while the optimizer works in the background. After each write the points it was about are
read, every answer is compared with a brute-force one, and after every restart everything is. The
database is restarted by an orderly close, by a crash (SIGKILL while the optimizer is at work), or
by a crash in the middle of a write (the log is then cut anywhere in the last one). Another process
reads along.

    python -m proofs.soak --operations 200000 --restarts 200 --seed 7 --json soak.json
    python -m proofs.soak --again DIR      take the life of the database that failed once more

Exit code 0: nothing differed. After a failure the directory is kept, and a copy of it as it was
before the life in which it failed.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from proofs import lives, long_run
from proofs.lives import Message, percentiles
from proofs.long_run import follow
from proofs.soak.life import Plan, draw_plan, live
from proofs.soak.world import World

RECORD = "soak.json"


class Failure(Exception):
    """A life went wrong."""

    def __init__(self, plan: Plan, number: int, problem: str) -> None:
        super().__init__(problem)
        self.plan = plan
        self.number = number
        """Of the operation."""


class Figures:
    """What is counted."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.counts = Counter(
            dict.fromkeys(
                (
                    *("operations", "comparisons", "mismatches", "readings"),
                    *("replayed", "torn_tails", "indexed_segments"),
                ),
                0,
            )
        )
        self.restarts: Counter[str] = Counter()
        self.verbs: Counter[str] = Counter()
        self.opens: list[float] = []

    def count(self, plan: Plan, said: Message) -> None:
        """One more life."""
        self.counts["operations"] += plan.count
        for name, key in (
            ("comparisons", "comparisons"),
            ("readings", "readings"),
            ("replayed", "replayed"),
            ("torn_tails", "torn"),
            ("indexed_segments", "indexed"),
        ):
            self.counts[name] += said[key]
        self.restarts[plan.end] += 1
        self.verbs += Counter(said["verbs"])
        self.opens.append(said["seconds"])

    def summary(self, seed: int, failure: str | None) -> Message:
        """The JSON of a run."""
        return {
            "tool": "soak",
            "seed": seed,
            "failure": failure,
            **self.counts,
            "restarts": max(0, sum(self.restarts.values()) - 1),
            "ends": dict(sorted(self.restarts.items())),
            "open_ms": percentiles(self.opens),
            "verbs": dict(sorted(self.verbs.items())),
            "seconds": round(time.monotonic() - self.started, 1),
            **lives.setting(),
        }


def plans(seed: int, operations: int, restarts: int) -> list[Plan]:
    """Lives of any length, and one without an operation that compares what is there at the end."""
    rng = Random(f"{seed}/lives")
    inner = sorted(rng.sample(range(1, operations), min(restarts, operations) - 1))
    starts = [0, *inner, operations]
    counts = [
        after - before for before, after in zip(starts, [*starts[1:], operations], strict=True)
    ]
    return [draw_plan(seed, n, starts[n], count) for n, count in enumerate(counts)]


def live_once(path: Path, world: World, plan: Plan, bar: Any) -> tuple[Message, bool]:
    """One life, and the world after it; what it said, and whether its last operation is gone.
    Raises Failure."""
    shared = mmap.mmap(-1, 8)
    done = memoryview(shared).cast("q")
    done[0] = plan.first
    said: Message = {}

    def heed(messages: list[Message]) -> int:
        for message in messages:
            said.update(message)
        bar.update(done[0] - bar.n)
        return int(done[0])

    problem = follow(
        lambda say: live(path, world, plan, done, say), heed, killed=plan.end != "close"
    )
    if problem is not None:
        said.setdefault("problem", problem)
    if said.get("problem"):
        raise Failure(plan, done[0], said["problem"])
    lost = plan.end == "torn" and _tear(path, plan, said["tail"])
    world.follow(range(plan.first, plan.first + plan.count - lost))
    return said, lost


def _tear(path: Path, plan: Plan, tail: Any) -> bool:
    """Cut the log within the last operation, as if the crash had come while it was written; if
    it is still the newest log. Whether the operation is gone."""
    if tail is None:
        return False
    log: Path = path / tail[0]
    before = int(tail[1])
    if not log.exists() or max(log.parent.glob("*.wal")) != log:
        return False
    size = log.stat().st_size
    length = Random(f"{plan.first}/tear").randint(before, size)
    os.truncate(log, length)
    return length < size


def run(options: argparse.Namespace, work: Path, figures: Figures) -> str | None:
    """All lives, until one fails; how, and how to replay it."""
    from tqdm import tqdm

    path = work / "db"
    world = World(options.seed)
    lost: list[int] = []
    with tqdm(total=options.operations, unit="op", mininterval=1.0, smoothing=0.05) as bar:
        for plan in plans(options.seed, options.operations, options.restarts):
            shutil.rmtree(work / "before", ignore_errors=True)
            if path.exists():
                shutil.copytree(path, work / "before")
            try:
                said, torn = live_once(path, world, plan, bar)
            except Failure as failure:
                figures.counts["mismatches"] += 1
                return _keep(options, work, failure, lost)
            figures.count(plan, said)
            if torn:
                lost.append(plan.first + plan.count - 1)
        bar.update(options.operations - bar.n)
    return None


def _keep(options: argparse.Namespace, work: Path, failure: Failure, lost: list[int]) -> str:
    """Write down what ``--again`` needs; what to tell the user."""
    record = {
        "seed": options.seed,
        "operations": options.operations,
        "restarts": options.restarts,
        "life": failure.plan.number,
        "lost": lost,
        "operation": failure.number,
        "problem": str(failure),
    }
    (work / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    return (
        f"seed {options.seed}, operation {failure.number}: {failure}\n"
        f"the directory as it is: {work / 'db'}; before that life: {work / 'before'}\n"
        f"that life once more: python -m proofs.soak --again {work}\n"
        f"from the beginning: python -m proofs.soak --seed {options.seed} "
        f"--operations {options.operations} --restarts {options.restarts}"
    )


def again(kept: Path) -> str | None:
    """Take the life that failed once more, on a copy of the directory as it was before it."""
    from tqdm import tqdm

    record = json.loads((kept / RECORD).read_text())
    world = World(record["seed"])
    plan = plans(record["seed"], record["operations"], record["restarts"])[record["life"]]
    lost = set(record["lost"])
    world.follow(number for number in range(plan.first) if number not in lost)
    with tempfile.TemporaryDirectory(prefix="vecdb-soak-") as work:
        path = Path(work) / "db"
        if (kept / "before").exists():
            shutil.copytree(kept / "before", path)
        with tqdm(total=plan.first + plan.count, initial=plan.first, unit="op") as bar:
            try:
                live_once(path, world, plan, bar)
            except Failure as failure:
                return f"operation {failure.number}: {failure}"
    return None


def main() -> int:
    options = long_run.parsed(long_run.parser_of(__doc__, RECORD, operations=200_000, restarts=200))
    lives.load()
    if options.again:
        return long_run.repeat(again, options.again)
    figures = Figures()
    return long_run.run("soak", options, figures, lambda work: run(options, work, figures))


if __name__ == "__main__":
    sys.exit(main())
