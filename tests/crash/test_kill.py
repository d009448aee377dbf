"""A process that writes is killed at any moment, over and over, on one and the same directory.

It reports every write that returned. What is there afterwards must be what these writes made, or
these and the one that was under way, wholly. The optimizer is at work in the background all the
time, and nobody tidies up between the rounds.
"""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from kill_client import KillServer
from oracle import SCALE, require_sound
from workloads import NAME, State, create, write_step

from vecdb import VecDB

pytestmark = pytest.mark.crash

ROUNDS = 12 * SCALE


@pytest.mark.timeout(300 * SCALE)
@pytest.mark.parametrize("sync", ["always", "interval", "never"])
def test_kill_at_random(sync: Any, kill_server: KillServer, tmp_path: Path) -> None:
    seed = {"always": 1, "interval": 2, "never": 3}[sync]
    if SCALE > 1:
        seed = time.time_ns() % 2**32
    rng = random.Random(seed)
    path = tmp_path / "db"
    with VecDB(path) as db:
        create(db)
    state = State()
    state.take({"do": "create", "name": NAME})
    done, replayed = 0, 0
    for number in range(ROUNDS):
        what = f"seed {seed}, round {number}, sync {sync!r}, from write {done} on; {path}"
        acked = write_until_killed(kill_server, path, sync, seed, done, rng)
        for n in range(done, done + acked):
            state.take(write_step(seed, n))
        done += acked
        further = state.copy()
        further.take(write_step(seed, done))
        # A copy is opened, so that the next process finds the crash as it was.
        copy = tmp_path / "copy"
        shutil.copytree(path, copy)
        require_sound(copy)
        with VecDB(copy) as db:
            problems = [state.difference(db), further.difference(db)]
            assert None in problems, f"{what}; {acked} acknowledged: {problems}"
            if problems[0] is not None:
                state, done = further, done + 1
            replayed += db.collection(NAME).recovery.replayed
            assert db.wait_for_optimizer(), what
            assert state.difference(db) is None, what
        require_sound(copy)
        shutil.rmtree(copy)
    assert done > ROUNDS
    assert replayed > 0, "no round had anything to replay"


def write_until_killed(
    kill_server: KillServer, path: Path, sync: str, seed: int, first: int, rng: random.Random
) -> int:
    """How many writes were acknowledged, from ``first`` on."""
    fifo = path.parent / "acks"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    wanted, rest = rng.randrange(40), rng.random() * 0.01
    heard = b""
    try:
        job = {"path": str(path), "sync": sync, "seed": seed, "first": first, "acks": str(fifo)}
        pid = kill_server.start(job)
        while heard.count(b"ACK") < wanted:
            ready, _, _ = select.select([reader], [], [], 60)
            assert ready, f"nothing is written:\n{kill_server.errors()}"
            data = os.read(reader, 4096)
            assert data or not heard, f"the process ended:\n{kill_server.errors()}"
            heard += data
        select.select([], [], [], rest)  # a moment of any length: somewhere in the next write
        os.kill(pid, signal.SIGKILL)
        assert kill_server.finish() == -signal.SIGKILL, kill_server.errors()
        while data := os.read(reader, 65536):
            heard += data
    finally:
        os.close(reader)
        fifo.unlink()
    return heard.count(b"ACK")
