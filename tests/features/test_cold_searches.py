"""Cold originals where memory is short: a search reads its candidates, and nothing around them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.common import drop_from_cache
from benchmarks.footprint import groups
from vecdb import VecDB, models

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ROWS, DIM, SEARCHES = 16_000, 512, 100  # 33 MB of originals
LIMIT = 56 << 20  # of which the process itself takes some 30

SEARCH = """
import json, re, sys
import numpy as np
from vecdb import VecDB

def read():
    return int(re.search(r"read_bytes: (\\d+)", open("/proc/self/io").read())[1])

queries = np.load(sys.argv[2])
with VecDB(sys.argv[1], read_only=True) as db:
    collection = db.collection("c")
    found, pages = [], []
    for query in queries:
        before = read()
        found.append([hit.id for hit in collection.search(query, with_payload=False)])
        pages.append((read() - before) // 4096)
    resident = db.memory_report("c")["parts"]["originals"]["resident"]
print(json.dumps({"found": found, "pages": pages, "resident": resident}))
"""


def search(path: Path, queries: Path, limit: int) -> dict[str, Any]:
    try:
        with groups.limited(groups.place(), f"vecdb-cold-{os.getpid()}", limit) as group:
            command = [*group.command, sys.executable, "-c", SEARCH, str(path), str(queries)]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
    except groups.NoGroup as reason:
        pytest.skip(f"no control group here: {reason}")
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)  # type: ignore[no-any-return]


def test_a_search_reads_what_it_needs(disk: Path) -> None:
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((ROWS, DIM), dtype=np.float32)
    queries = vectors[:SEARCHES] + 0.1 * rng.standard_normal((SEARCHES, DIM), dtype=np.float32)
    np.save(disk / "queries.npy", queries)
    with VecDB(disk / "db", sync="never") as db:
        db.create_collection(
            "c", models.VectorParams(size=DIM, distance=models.Distance.COSINE, memory="cold")
        )
        db.upsert("c", models.Batch(ids=range(ROWS), vectors=vectors))
        db.flush("c")
        assert db.wait_for_optimizer("c", timeout=300)
        expected = [[hit.id for hit in db.search("c", query)] for query in queries]
        index = db.get_collection("c").segments[0].vectors[""].index
        assert index is not None
    drop_from_cache(disk / "db")
    found = search(disk / "db", disk / "queries.npy", LIMIT)
    assert found["found"] == expected
    # A candidate is in two pages at most, beside the block that is read once to be verified. With
    # what the kernel reads around each it was the whole file for every few of them.
    candidates = max(effort.candidates for effort in index.efforts)
    verified, rows = ROWS * DIM * 4 // 4096, 2 * SEARCHES * candidates
    assert sum(found["pages"]) <= verified + rows
