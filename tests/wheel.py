"""An installed wheel builds and searches an index with each library of kernels that this processor
runs, where there is no numba. `.ci/run` runs this."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

SEARCH = """
import sys
import numpy as np
import vecdb
from vecdb import models
from vecdb.kernels import library

rows = np.random.default_rng(0).standard_normal((5000, 64), dtype=np.float32)
with vecdb.VecDB(":memory:") as db:
    db.create_collection("c", {"size": 64, "distance": "Cosine"}, quantization_config={"turbo": {}},
                         optimizers_config={"indexing_threshold": 1})
    db.upsert("c", models.Batch(ids=np.arange(5000), vectors=rows))
    assert db.wait_for_optimizer("c", timeout=200)
    found = [db.search("c", row, limit=1)[0].id for row in rows[:100]]
assert found == list(range(100)), found
print(sys.version.split()[0], np.__version__, library.path().name)
"""

assert importlib.util.find_spec("numba") is None
assert importlib.util.find_spec("llvmlite") is None

from vecdb.kernels.processors import best_of, machine_features  # noqa: E402

processors = best_of(os.uname().machine, machine_features())
assert processors, "no library is for this processor"
for processor in processors:
    environment = {**os.environ, "VECDB_KERNELS": processor.name}
    subprocess.run([sys.executable, "-c", SEARCH], env=environment, check=True)
