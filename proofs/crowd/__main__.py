"""Crowd: many databases, collections, handles and readers in one process, for a long time.

Databases are moved, removed, copied and made again at each other's places while handles on them
live; handles are forgotten; children are forked; processes are killed. Every handle must work on
what it opened or say that it cannot, nothing acknowledged may be missing from a database wherever
it stands now, and what a process holds (descriptors, private memory, segments) and what lies on
disk must not grow with the number of operations.

    python -m proofs.crowd --operations 200000 --restarts 40 --seed 7 --json crowd.json

Exit code 0: nothing differed, and what was held stayed flat. ``--mutants`` plants known bugs
instead, one at a time (exit code 0: each was found).
"""

from __future__ import annotations

import argparse
import itertools
import mmap
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from proofs import lives, long_run
from proofs.crowd.life import Plan, draw_plan, live
from proofs.crowd.mutants import MUTANTS
from proofs.crowd.world import World
from proofs.lives import Message
from proofs.long_run import follow

_GROWTH = 1.25
"""What is held in the last third of a run may be so many times what was held in the first."""
_LEFT = 1.10
"""And so many times, after all is closed, what there was before."""
_LEFT_MB = 32


class Failure(Exception):
    """A life went wrong. The operation and the problem."""


class Figures:
    """What is counted."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.counts: Counter[str] = Counter(dict.fromkeys(("operations", "comparisons"), 0))
        self.verbs: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.samples: list[dict[str, float]] = []
        self.left: list[dict[str, dict[str, float]]] = []

    def growth(self) -> dict[str, dict[str, float]]:
        """Of each thing that is held, the medians of the first and the last third of the run."""
        third = len(self.samples) // 3
        if third == 0:
            return {}
        parts = (self.samples[:third], self.samples[-third:])
        found = {}
        for name, of in (
            *(("descriptors", "collections"), ("private_mb", "handles")),
            *(("segments", "collections"), ("disk_mb", "stored")),
        ):
            first, last = (
                statistics.median(each[name] / max(1.0, each[of]) for each in part)
                for part in parts
            )
            found[f"{name} / {of}"] = {"first": round(first, 3), "last": round(last, 3)}
        return found

    def unsteady(self) -> list[str]:
        """What grew, in words."""
        found = [
            f"{name} grew from {each['first']} to {each['last']}"
            for name, each in self.growth().items()
            if each["last"] > _GROWTH * each["first"]
        ]
        for each in self.left:
            before, after = each["before"], each["after"]
            if after["private_mb"] > _LEFT * before["private_mb"] + _LEFT_MB:
                found.append(f"private memory after closing: {after}, before: {before}")
            if after["descriptors"] > before["descriptors"]:
                found.append(f"descriptors after closing: {after}, before: {before}")
        return found

    def summary(self, seed: int, failure: str | None) -> Message:
        """The JSON of a run."""
        return {
            "tool": "crowd",
            "seed": seed,
            "failure": failure,
            **self.counts,
            "mismatches": int(failure is not None),
            "restarts": sum(self.ends.values()),
            "ends": dict(sorted(self.ends.items())),
            "verbs": dict(sorted(self.verbs.items())),
            "refused": dict(sorted(self.refused.items())),
            "most": {name: max(each[name] for each in self.samples) for name in self.samples[0]}
            if self.samples
            else {},
            "growth": self.growth(),
            "left": self.left[-3:],
            "unsteady": self.unsteady(),
            "seconds": round(time.monotonic() - self.started, 1),
            **lives.setting(),
        }


def plans(seed: int, operations: int, restarts: int) -> list[Plan]:
    """Lives of any length."""
    rng = Random(f"{seed}/lives")
    cuts = sorted(rng.sample(range(1, operations), min(restarts, operations - 1)))
    starts = [0, *cuts, operations]
    return [draw_plan(seed, first, after - first) for first, after in itertools.pairwise(starts)]


def live_once(root: Path, world: World, plan: Plan, figures: Figures, bar: Any) -> None:
    """One life, and the world after it. Raises Failure."""
    shared = mmap.mmap(-1, 8)
    done = memoryview(shared).cast("q")
    done[0] = plan.first
    outcomes: list[str] = []
    said: Message = {}

    def heed(messages: list[Message]) -> int:
        before = len(outcomes)
        for message in messages:
            if "outcome" in message:
                outcomes.append(message.pop("outcome"))
            if "sample" in message:
                figures.samples.append(message.pop("sample"))
            said.update(message)
        bar.update(len(outcomes) - before)
        return len(outcomes)

    problem = follow(lambda say: live(root, world, plan, done, say), heed, killed=plan.crash)
    if problem is not None:
        said.setdefault("problem", problem)
    if said.get("problem"):
        raise Failure(f"operation {done[0]}: {said['problem']}")
    world.follow(plan.first, outcomes)
    world.end_of_life()
    figures.counts["operations"] += len(outcomes)
    figures.counts["comparisons"] += said["comparisons"]
    figures.verbs += Counter(said["verbs"])
    figures.refused += Counter(said["refused"])
    figures.ends["crash" if plan.crash else "close"] += 1
    if not plan.crash:
        figures.left.append({"before": said["before"], "after": said["after"]})


def run(options: argparse.Namespace, work: Path, figures: Figures) -> str | None:
    """All lives, until one fails; how."""
    from tqdm import tqdm

    world = World(options.seed)
    try:
        with tqdm(total=options.operations, unit="op", mininterval=1.0, smoothing=0.05) as bar:
            for plan in plans(options.seed, options.operations, options.restarts):
                live_once(work, world, plan, figures, bar)
    except Failure as error:
        return f"seed {options.seed}, {error}\nthe databases as they are: {work}"
    return None


def plant_all(options: argparse.Namespace) -> int:
    """Known bugs, one at a time; 1 if one of them is not found."""
    missed = 0
    for name, mutant in MUTANTS.items():
        with tempfile.TemporaryDirectory(prefix="vecdb-crowd-") as work, mutant.planted():
            found = run(options, Path(work), Figures())
        missed += found is None
        print(f"{name:32} {(found or 'NOT FOUND').splitlines()[0]}", flush=True)
    return int(missed > 0)


def main() -> int:
    parser = long_run.parser_of(__doc__, operations=200_000, restarts=40)
    parser.add_argument(
        "--mutants", action="store_true", help="plant known bugs instead: each must be found"
    )
    options = long_run.parsed(parser)
    lives.load()
    if options.mutants:
        return plant_all(options)
    figures = Figures()
    return long_run.run(
        "crowd",
        options,
        figures,
        lambda work: run(options, work, figures),
        also_wrong=lambda summary: list(summary["unsteady"]),
    )


if __name__ == "__main__":
    sys.exit(main())
