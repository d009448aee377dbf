"""A database of many small collections: what each holds, and what is given back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vecdb import VecDB, models

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

with vecdb.VecDB(base + "/warm", sync="never") as db:
    db.create_collection("t0", {"size": DIM, "distance": "Dot"})
    db.upsert("t0", batch)
    db.flush()
    db.memory_report("t0")
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


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A directory in memory where there is one: hundreds of files need not wait for a disk."""
    shared_memory = Path("/dev/shm")
    parent = shared_memory if shared_memory.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="vecdb-test-", dir=parent) as path:
        yield Path(path)


@pytest.mark.parametrize("points", [0, 10])
def test_a_small_collection_takes_little_memory_and_no_descriptor(
    in_memory: Path, points: int
) -> None:
    """Each took 2 to 4 MB, mostly LMDB's, and kept four descriptors and six a segment: at the
    usual limit of 1024 a database with a hundred collections could not be opened."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(in_memory), str(points)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    states = json.loads(run.stdout)
    before = states.pop("before")
    for name, state in states.items():
        each = (state["private"] - before["private"]) / 150
        assert each < 100_000, (name, each)
        if "closed" in name:
            assert each < 60_000, (name, each)
        if "written" not in name:
            assert state["descriptors"] <= before["descriptors"] + 1, name


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
