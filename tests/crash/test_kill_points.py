"""A process is killed at its k-th file operation, for every k until it gets to the end.

What is there afterwards is what the steps that returned made, or those and the one that was under
way; and the database goes on working. The k of a failure replays it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from kill_client import KillServer
from workloads import CREATE, FLUSH, NAME, WORKLOADS, State, Step, take, write_step

from proofs.model.oracle import SCALE, require_sound
from vecdb import VecDB

pytestmark = pytest.mark.crash

STRIDE = 1 if SCALE > 1 else 2
"""By default every second k: an append alone is three of them."""


def prepare(kill_server: KillServer, path: Path, before: list[Step]) -> State:
    """A database after the steps before, and the state it has."""
    if not before:
        return State()
    acks = path.parent / "acks"
    acks.touch()
    code = kill_server.run({"path": str(path), "steps": before, "acks": str(acks)})
    killed = before[-1]["do"] == "kill"
    assert code == (-9 if killed else 0), kill_server.errors()
    state = State()
    for step in before:
        if step["do"] != "kill":
            state.take(step)
    return state


def states_of(state: State, steps: list[Step]) -> list[State]:
    """The state before all steps, after the first, and so on."""
    states = [state]
    for step in steps:
        states.append(states[-1].copy())
        states[-1].take(step)
    return states


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", WORKLOADS)
def test_every_kill_point(name: str, kill_server: KillServer, tmp_path: Path) -> None:
    before, steps = WORKLOADS[name]
    template = tmp_path / "template"
    states = states_of(prepare(kill_server, template, before), steps)
    finished, k = False, 1
    while not finished:
        path, acks = tmp_path / f"{k}", tmp_path / f"{k}.acks"
        if template.exists():
            shutil.copytree(template, path)
        acks.touch()
        job = {"path": str(path), "steps": steps, "acks": str(acks), "kill_at": k}
        code = kill_server.run(job)
        finished = code == 0
        assert code in (0, -9), f"{name}, k={k}:\n{kill_server.errors()}"
        acked = acks.read_text().count("ACK")
        assert acked == len(steps) or not finished
        recovers(path, states[acked : acked + 2], f"{name}, killed at k={k}, {acked} steps done")
        shutil.rmtree(path)
        k += STRIDE
    assert k > 10, "nothing was killed"


def recovers(path: Path, allowed: list[State], what: str) -> None:
    """The database opens with one of the allowed states, goes on working, and is sound."""
    if path.exists() and (path / "FORMAT").exists():
        require_sound(path)
    with VecDB(path) as db:
        problems = [state.difference(db) for state in allowed]
        assert None in problems, f"{what}: {problems}"
        state = allowed[problems.index(None)].copy()
        more: list[Step] = [write_step(99, 0), FLUSH]
        for step in more if NAME in state.collections else [CREATE, *more]:
            take(db, step)
            state.take(step)
        assert db.wait_for_optimizer(), what
        assert state.difference(db) is None, what
        leftovers = [p.name for p in (path / "collections").iterdir() if p.name.startswith(".")]
        assert not leftovers, what
        assert _unlisted(db) == [], what
    require_sound(path)
    with VecDB(path) as db:
        assert state.difference(db) is None, what


def _unlisted(db: VecDB) -> list[Any]:
    """Segment directories that no collection uses."""
    found = []
    for name in [c.name for c in db.get_collections().collections]:
        store = db.collection(name)._store
        used = {s.id for s in db.get_collection(name).segments}
        found += [p for p in store.segments_path.iterdir() if p.name not in used]
    return found


def test_killed_again_and_again_while_opening(kill_server: KillServer, tmp_path: Path) -> None:
    """Recovery that is killed at every of its operations in turn, on one and the same directory."""
    before, steps = WORKLOADS["open-close"]
    path = tmp_path / "db"
    state = prepare(kill_server, path, before)
    acks = tmp_path / "acks"
    for k in [*range(1, 12), *range(1, 12)]:
        job = {"path": str(path), "steps": steps, "acks": str(acks), "kill_at": k}
        assert kill_server.run(job) == -9, f"k={k}:\n{kill_server.errors()}"
    recovers(path, [state], "after 22 kills")
