"""What a database should hold while a disk fails, and whether it does."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from proofs.io_faults.workloads import NAME, Step, change, row
from proofs.model.oracle import Points, points_difference, read
from proofs.model.writes import Write
from vecdb import VecDB
from vecdb.engine.repair.check import check_database

PATIENCE = 60.0  # seconds; only for what goes on in the background


class Wrong(Exception):
    """What a case found."""


def require(condition: bool, message: str) -> None:
    if not condition:
        raise Wrong(message)


@dataclass
class World:
    """What is known to be there. ``maybe``: what a step that raised may have left."""

    points: Points
    names: set[str]
    maybe_points: list[Points] = field(default_factory=list)
    maybe_names: set[str] = field(default_factory=set)
    config: str | None = None
    maybe_config: bool = False
    saved: list[Points] = field(default_factory=list)
    """What the newest snapshot may hold, the likeliest first."""

    def after(self, step: Step) -> Points:
        """The points after a step that works."""
        if isinstance(step, Write):
            return change(self.points, step)
        return self.saved[0] if step.verb == "restore" and self.saved else self.points

    def take(self, step: Step) -> None:
        """The step was acknowledged."""
        self.points = self.after(step)
        if isinstance(step, Write):
            return
        if step.verb == "restore":
            self.maybe_points, self.maybe_config = self.saved[1:], True
        elif step.verb == "create":
            self.names.add(step.name)
        elif step.verb == "drop":
            self.names.discard(step.name)
        elif step.verb == "snapshot":
            self.saved = [self.points, *self.maybe_points]

    def doubt(self, step: Step) -> None:
        """The step raised, and nobody knows what is on disk."""
        after = self.after(step)
        if after != self.points:
            self.maybe_points.append(after)
        if isinstance(step, Write):
            return
        if step.verb in ("create", "drop"):
            self.maybe_names.add(step.name)
        self.maybe_config |= step.verb in ("update", "restore")

    def settle(self, db: VecDB) -> None:
        """One of the things that may be there is: now it is known which."""
        names = {c.name for c in db.get_collections().collections}
        require(
            names - self.maybe_names == self.names - self.maybe_names,
            f"collections {sorted(names)}; {sorted(self.names)} are known, "
            f"{sorted(self.maybe_names)} not",
        )
        self.names, self.maybe_names = names, set()
        if NAME in names:
            points = read(db.collection(NAME))
            problems = [
                points_difference(points, state) for state in [self.points, *self.maybe_points]
            ]
            require(None in problems, f"after reopening: {problems}")
            self.points = points
            config = repr(db.get_collection(NAME).config)
            fine = self.maybe_config or self.config in (None, config)
            require(fine, f"the configuration is {config}, not {self.config}")
            self.config = config
        self.maybe_points, self.maybe_config = [], False


# -- comparing -------------------------------------------------------------------------------


def difference(db: VecDB, world: World, live: Callable[[str], bool]) -> str | None:
    """What an open database shows that it should not; None if it is as it should be."""
    names = {c.name for c in db.get_collections().collections}
    if names - world.maybe_names != world.names - world.maybe_names:
        return f"collections {sorted(names)}, not {sorted(world.names)}"
    if NAME not in names or not live(NAME):
        return None
    return points_difference(read(db.collection(NAME)), world.points) or _search(db, world.points)


def _search(db: VecDB, points: Points) -> str | None:
    query = row(17, 3)[2][""].astype(np.float64)
    true = {i: float(point.vectors[""] @ query) for i, point in points.items()}
    best = sorted(true.values(), reverse=True)[:10]
    for params in (None, {"exact": True}):
        hits = db.search(NAME, query, search_params=params, limit=10)
        if len(hits) != len(best) or any(abs(true[h.id] - h.score) > 1 for h in hits):  # type: ignore[index]
            return f"search {params}: {[(h.id, h.score) for h in hits]}, the best are {best}"
        if params and [h.score for h in hits] != best:
            return f"exact search: {[h.score for h in hits]}, the best are {best}"
    return None


def require_known(db: VecDB, world: World) -> None:
    problem = difference(db, world, lambda name: True)
    require(problem is None, f"reopened and used: {problem}")


def require_sound(path: Path) -> None:
    report = check_database(path)
    require(report.ok, f"check: {report.problems[:3]}")


def require_tidy(db: VecDB, path: Path) -> None:
    """Nothing is there that nobody will ever remove."""
    strays = [str(p.relative_to(path)) for p in path.rglob(".*")]
    for name in [c.name for c in db.get_collections().collections]:
        inner = db.collection(name)._store
        listed = {segment.id for segment in db.get_collection(name).segments}
        strays += [p.name for p in inner.segments_path.iterdir() if p.name not in listed]
    require(not strays, f"left over: {strays}")


def descriptors() -> dict[int, str]:
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            found[int(entry)] = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:
            pass
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        require(time.monotonic() < deadline, "it does not recover by itself")
        time.sleep(0.01)


def quieten(dead: list[str]) -> None:
    logging.getLogger("vecdb").setLevel(logging.CRITICAL)
    threading.excepthook = lambda args: dead.append(f"{args.thread}: {args.exc_value!r}")
