"""Kill a process in the middle of writing, reopen its database, and count what is there.

Run it with ``python examples/crash_safe_ingest.py``. The child prints the number of each batch
after its write returned; every batch it printed must be found, and no batch in part.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import vecdb
from vecdb import models

BATCH, DIM, ENOUGH = 100, 32, 25


def ingest(path: str) -> None:
    """The child: write until killed."""
    rng = np.random.default_rng(0)
    with vecdb.VecDB(path) as db:
        db.create_collection("log", models.VectorParams(size=DIM, distance=models.Distance.DOT))
        for batch in range(1_000_000):
            ids = np.arange(batch * BATCH, (batch + 1) * BATCH)
            vectors = rng.standard_normal((BATCH, DIM)).astype(np.float32)
            db.upsert("log", models.Batch(ids=ids, vectors=vectors))
            print(batch, flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "db")
        command = [sys.executable, __file__, path]
        acknowledged = -1
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                acknowledged = int(line)
                if acknowledged == ENOUGH:
                    child.kill()  # SIGKILL: no handler, no close, no goodbye
        print(f"killed after batch {acknowledged} was acknowledged")

        with vecdb.VecDB(path) as db:
            log = db.collection("log")
            print(f"reopened: {log.recovery}")
            batches, rest = divmod(len(log), BATCH)
            print(f"found {batches} whole batches and {rest} points of a part")
            assert batches >= acknowledged + 1
            assert rest == 0


if __name__ == "__main__":
    ingest(sys.argv[1]) if len(sys.argv) > 1 else main()
