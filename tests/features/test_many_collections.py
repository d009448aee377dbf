"""A database of many small collections: what each holds, and what is given back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vecdb import VecDB, models
from vecdb.engine import planner

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PROGRAM = """
import gc, json, os, resource, sys
import numpy as np
import vecdb

base, points, limit = sys.argv[1], int(sys.argv[2]), 96
COLLECTIONS, DIM = 150, 512  # rows in memory took a large page each where a dimension is 2^n
vectors = np.ones((max(points, 1), DIM), np.float32)
batch = vecdb.models.Batch(ids=np.arange(len(vectors)), vectors=vectors)
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

def state():
    gc.collect()
    with open("/proc/self/status") as status:
        private = next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))
    return {"private": private, "descriptors": len(os.listdir("/proc/self/fd"))}

def work(db):
    for number in range(COLLECTIONS):
        if points:
            db.upsert(f"t{number}", batch)

with vecdb.VecDB(base + "/warm", sync="never") as db:  # what is needed once is not a collection's
    db.create_collection("t0", {"size": DIM, "distance": "Dot"})
    for _ in range(10):
        db.upsert("t0", batch)
        db.flush()
    db.wait_for_optimizer()
    db.memory_report()
states = {"before": state()}
db = vecdb.VecDB(base + "/db", sync="never")
for number in range(COLLECTIONS):
    db.create_collection(f"t{number}", {"size": DIM, "distance": "Dot"})
work(db)
states["written"] = state()
db.flush()
states["flushed"] = state()
db.close()
states["closed"] = state()
db = vecdb.VecDB(base + "/db", sync="never")
states["opened"] = state()
work(db)
assert all(db.count(f"t{number}").count == points for number in range(COLLECTIONS))
states["written again"] = state()
db.close()
states["closed again"] = state()
print(json.dumps(states))
"""


@pytest.mark.parametrize("points", [0, 10])
def test_a_small_collection_takes_little_memory_and_no_descriptor(
    tmp_path: Path, points: int
) -> None:
    """Each took 2 to 4 MB, mostly LMDB's, and kept four descriptors and six a segment: at the
    usual limit of 1024 a database with a hundred collections could not be opened."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path), str(points)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    states = json.loads(run.stdout)
    before = states.pop("before")
    for name, state in states.items():
        each = (state["private"] - before["private"]) / 150
        assert each < 100_000, (name, each)
        if "closed" in name:  # what Python keeps of its own heap does not grow with collections
            assert 150 * each < 10_000_000, (name, each)
        if "written" not in name:
            # The directory of the database, and its lock.
            assert state["descriptors"] <= before["descriptors"] + 2, name


def descriptors() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:  # the one of the directory
            pass
    return found


def test_a_segment_holds_no_descriptor(tmp_path: Path) -> None:
    """Files that were removed meanwhile are still there for those who read them."""
    with VecDB(tmp_path / "db") as db:
        db.create_collection(
            "c",
            {"size": 8, "distance": "Dot", "on_disk": True},
            optimizers_config={"max_optimization_threads": 0},
        )
        for start in range(0, 50, 10):
            vectors = np.arange(80, dtype=np.float32).reshape(10, 8) + start
            batch = models.Batch(ids=np.arange(start, start + 10), vectors=vectors)
            db.upsert("c", batch)
            db.flush("c")
        held = {path for path in descriptors() if str(tmp_path) in path}
        assert held <= {str(tmp_path / "db"), str(tmp_path / "db" / "LOCK")}
        view = db.collection("c")._view()
        part = view.segments[0].segment
        expected = part.take("", np.arange(10))
        db.delete("c", models.Filter())
        db.flush("c")
        assert not part.path.exists()
        np.testing.assert_array_equal(part.take("", np.arange(10)), expected)


def in_memory_of(db: VecDB) -> int:
    reports = db.memory_report()["collections"].values()
    return sum(report["parts"]["memory_segment"]["anonymous"] for report in reports)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_idle_collections_on_disk_leave_memory(tmp_path: Path) -> None:
    """What was below the threshold stayed in memory as long as the collection was open."""
    vectors = np.ones((500, 64), np.float32)
    with VecDB(tmp_path / "db", sync="never") as db:
        for name, on_disk in (("disk", True), ("ram", False)):
            db.create_collection(
                name,
                {"size": 64, "distance": "Dot", "on_disk": on_disk},
                optimizers_config={"flush_interval_sec": 0},
            )
            db.upsert(name, models.Batch(ids=np.arange(500), vectors=vectors))
        report = db.collection("disk").memory_report
        wait_until(lambda: report()["parts"]["memory_segment"]["anonymous"] == 0)
        assert report()["parts"]["originals"]["mapped"] >= vectors.nbytes
        assert report()["total"]["anonymous"] < 4096
        assert db.wait_for_optimizer()
        assert in_memory_of(db) >= vectors.nbytes  # of the other one


def test_collections_on_disk_that_are_written_to_share_a_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "MEMORY_BUDGET", 1 << 20)
    vectors = np.ones((500, 64), np.float32)  # 125 KB, and as much for the rest of the rows
    with VecDB(tmp_path / "db", sync="never") as db:
        for number in range(20):
            db.create_collection(
                f"c{number}",
                {"size": 64, "distance": "Dot", "on_disk": True},
                optimizers_config={"flush_interval_sec": 3600},
            )
            db.upsert(f"c{number}", models.Batch(ids=np.arange(500), vectors=vectors))
        wait_until(lambda: in_memory_of(db) <= 1 << 20)
        assert in_memory_of(db) > 1 << 19
        assert all(db.count(f"c{number}").count == 500 for number in range(20))


MEMORY = """
import sys, time, vecdb

def kept():
    for line in open("/proc/self/smaps_rollup"):
        if line.startswith("Anonymous"):
            return int(line.split()[1]) << 10

with vecdb.VecDB(sys.argv[1], sync="never") as db:
    db.create_collection(
        "c", {"size": 2, "distance": "Dot"}, optimizers_config={"flush_interval_sec": 3600}
    )
    before = kept()
    for i in range(300):
        payload = {"text": str(i % 10) * (40_000 + 300 * i)}
        db.upsert("c", [{"id": i, "vector": [1, i], "payload": payload}])
    full = kept()
    db.update_collection("c", optimizers_config={"flush_interval_sec": 0})
    until = time.monotonic() + 60
    while kept() - before > (full - before) / 4 and time.monotonic() < until:
        time.sleep(0.05)
    print(before, full, kept())
    sys.exit(kept() - before > (full - before) / 4)
"""


def test_the_system_gets_back_what_payloads_took(tmp_path: Path) -> None:
    """They were many pieces of memory, which the C library kept."""
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
