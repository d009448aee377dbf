"""Reading in one process while another writes, checkpoints, optimizes and is killed.

The writer's steps follow from a seed, so every state it can be in is known. What a reader sees
after ``refresh`` must be one of them: not before the last write that was acknowledged when the
refresh began, not after the one under way when it returned.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kill_client import KillServer, environment
from workloads import NAME, State, create, write_step

from proofs.model.oracle import SCALE, require_sound
from vecdb import VecDB

pytestmark = pytest.mark.crash

LIVES, REFRESHES = 3 * SCALE, 8


def acknowledged(acks: Path) -> int:
    """How many writes have returned."""
    lines = acks.read_bytes().splitlines()
    return int(lines[-1].split()[1]) + 1 if lines else 0


def wait_for(acks: Path, count: int, kill_server: KillServer) -> None:
    """Until so many writes have returned."""
    end = time.monotonic() + 60
    while acknowledged(acks) < count:
        assert time.monotonic() < end, f"nothing is written:\n{kill_server.errors()}"
        time.sleep(0.002)


class Moments:
    """The states of a plan, one after the other."""

    def __init__(self, seed: int) -> None:
        self.seed, self.count, self.state = seed, 0, State()
        self.state.take({"do": "create", "name": NAME})

    def move_to(self, count: int) -> None:
        while self.count < count:
            self.state.take(write_step(self.seed, self.count))
            self.count += 1

    def find(self, db: VecDB, last: int) -> int:
        """The moment, up to ``last``, that a database shows."""
        state, count = self.state.copy(), self.count
        problems = []
        while count <= last:
            problem = state.difference(db)
            if problem is None:
                return count
            problems.append(f"{count}: {problem}")
            state.take(write_step(self.seed, count))
            count += 1
        raise AssertionError("the reader shows no state that ever was:\n" + "\n".join(problems))


@pytest.mark.timeout(300 * SCALE)
@pytest.mark.parametrize("sync", ["always", "never"])
def test_every_read_is_the_state_of_some_moment(
    sync: str, kill_server: KillServer, tmp_path: Path
) -> None:
    seed = 7 if SCALE == 1 else time.time_ns() % 2**32
    rng = random.Random(seed)
    path, acks = tmp_path / "db", tmp_path / "acks"
    acks.touch()
    with VecDB(path) as db:
        create(db)
    moments = Moments(seed)
    moved, replayed = 0, 0
    with VecDB(path, read_only=True) as reader:
        for life in range(LIVES):
            what = f"seed {seed}, life {life}, sync {sync!r}"
            first = moments.count
            job = {"path": str(path), "sync": sync, "seed": seed, "first": first}
            pid = kill_server.start({**job, "acks": str(acks)})
            try:
                for number in range(REFRESHES):
                    wait_for(acks, moments.count + rng.randrange(6), kill_server)
                    before = acknowledged(acks)
                    moved += reader.refresh()
                    assert not reader.damaged, what
                    after = acknowledged(acks)
                    moments.move_to(max(before, moments.count))
                    moments.move_to(moments.find(reader, after + 1))
                    if number % 3 == 0:
                        with VecDB(path, read_only=True) as fresh:  # one that has just come
                            moments.find(fresh, acknowledged(acks) + 1)
                            replayed += fresh.collection(NAME).recovery.replayed
            finally:
                os.kill(pid, signal.SIGKILL)
                assert kill_server.finish() == -signal.SIGKILL, kill_server.errors()
            reader.refresh()
            done = acknowledged(acks)
            moments.move_to(max(done, moments.count))
            moments.move_to(moments.find(reader, done + 1))  # the write under way, or not
            # What the reader saw is what the next writer must find.
    assert moved > LIVES
    assert replayed > 0
    with VecDB(path) as db:
        assert moments.state.difference(db) is None
    require_sound(path)


READ = """
import sys
from vecdb import VecDB
with VecDB(sys.argv[1], read_only=True) as db:
    sys.stdin.readline()
    db.refresh()
    print(len(db.collection("points")), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def two_readers(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    path = tmp_path / "db"
    with VecDB(path) as db:
        create(db)
    command = [sys.executable, "-c", READ, str(path)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    readers = [subprocess.Popen(command, env=environment(), **pipes) for _ in range(2)]
    yield readers
    for reader in readers:
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.close()
        reader.stdout.close()
        assert reader.wait(30) == 0


def tell(reader: subprocess.Popen[str]) -> None:
    assert reader.stdin is not None
    reader.stdin.write("go on\n")
    reader.stdin.flush()


def test_readers_hinder_neither_a_writer_nor_each_other(
    two_readers: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    path = tmp_path / "db"
    with VecDB(path) as db:
        db.upsert(NAME, {"ids": [1, 2], "vectors": [[0.5] * 64] * 2})
        db.flush()
        for reader in two_readers:
            tell(reader)
            assert reader.stdout is not None
            assert reader.stdout.readline() == "2\n"
        db.delete(NAME, [1])
    with VecDB(path) as db:  # with the readers still there
        assert db.count(NAME).count == 1
    require_sound(path)


def _read_in_child(path: Path, queue: Any) -> None:
    with VecDB(path, read_only=True) as db:
        queue.put(len(db.collection(NAME)))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking beside threads
def test_a_child_may_read_what_its_parent_writes(method: str, tmp_path: Path) -> None:
    path = tmp_path / "db"
    with VecDB(path) as db:
        create(db)
        db.upsert(NAME, {"ids": [1, 2, 3], "vectors": [[0.5] * 64] * 3})
        context: Any = multiprocessing.get_context(method)
        queue = context.Queue()
        child = context.Process(target=_read_in_child, args=(path, queue))
        child.start()
        assert queue.get(timeout=60) == 3
        child.join(60)
        assert child.exitcode == 0
        db.upsert(NAME, {"ids": [4], "vectors": [[0.5] * 64]})
        assert db.count(NAME).count == 4
