"""Opening a database, importing the package, and what memory an open database takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import vecdb
from benchmarks.common import COLLECTION, Run, child, drop_from_cache, in_one_segment, spread
from benchmarks.systems import MODES

# -- opening -----------------------------------------------------------------------------------

_LOAD_AND_DIE = """
import os, signal, sys
import numpy as np, vecdb
from benchmarks.common import create, fill
base = np.load(sys.argv[2])
db = vecdb.VecDB(sys.argv[1])
fill(create(db, base.shape[1]), base)
os.kill(os.getpid(), signal.SIGKILL)
"""

_OPEN = """
import json, sys, time
import numpy, vecdb
started = time.perf_counter()
with vecdb.VecDB(sys.argv[1]) as db:
    print(json.dumps(time.perf_counter() - started))
"""


def opening(run: Run) -> dict[str, Any]:
    """Median times of ``VecDB(path)``, with the files in the page cache."""
    ram, mapped = run.copy("open-ram"), run.copy("open-mapped")
    with vecdb.VecDB(mapped) as db:
        db.update_collection(COLLECTION, vectors_config={"": {"on_disk": True}})
    killed = _killed(run)
    runs = run.times(15, 3)
    times: dict[str, list[float]] = {"clean, RAM": [], "clean, mapped": [], "after SIGKILL": []}
    fresh: list[float] = []
    replayed, wal_bytes = 0, 0
    for _ in range(runs):
        for name, path in (("clean, RAM", ram), ("clean, mapped", mapped)):
            times[name].append(_seconds_to_open(path)[0])
        path = run.fresh("open-killed")
        shutil.copytree(killed, path)
        os.sync()  # or the copy's own write-back is part of the figure
        wal_bytes = sum(f.stat().st_size for f in path.glob("collections/*/wal/*"))
        seconds, report = _seconds_to_open(path)
        times["after SIGKILL"].append(seconds)
        replayed = report.replayed
        fresh.append(child(_OPEN, str(ram)))
    return {
        "rows": run.rows,
        "seconds": {name: spread(values) for name, values in times.items()},
        "fresh_process": spread(fresh),
        "replayed_operations": replayed,
        "wal_bytes": wal_bytes,
    }


def _seconds_to_open(path: Path) -> tuple[float, Any]:
    started = time.perf_counter()
    db = vecdb.VecDB(path)
    seconds = time.perf_counter() - started
    report = db.collection(COLLECTION).recovery
    db.close()
    return seconds, report


def _killed(run: Run) -> Path:
    """A database whose process was killed after its last acknowledged write."""
    import numpy as np

    run.say("loading a database in a process that gets killed")
    path, data = run.fresh("killed"), run.directory / "killed.npy"
    np.save(data, run.base)
    done = subprocess.run(
        [sys.executable, "-c", _LOAD_AND_DIE, str(path), str(data)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode >= 0:
        raise RuntimeError(f"the process was to be killed, but ended:\n{done.stderr}")
    data.unlink()
    return path


# -- import ------------------------------------------------------------------------------------

_IMPORT = """
import json, sys, time
import numpy
started = time.perf_counter()
import vecdb
package = time.perf_counter() - started
before = {name for name in ("numba", "lmdb") if name in sys.modules}
vecdb.VecDB
print(json.dumps([package, time.perf_counter() - started, sorted(before)]))
"""


def imports(run: Run) -> dict[str, Any]:
    """Fresh interpreters in turn: with numpy only, and with vecdb on top."""
    numpy_only, both, package, with_class = [], [], [], []
    loaded: list[str] = []
    child(_IMPORT)  # bytecode is written
    for _ in range(run.times(15, 3)):
        numpy_only.append(_process_seconds("import numpy"))
        both.append(_process_seconds("import numpy; import vecdb"))
        one, two, loaded = child(_IMPORT)
        package.append(one)
        with_class.append(two)
    alone, together = spread(numpy_only), spread(both)
    return {
        "process_with_numpy": alone,
        "process_with_vecdb": together,
        "difference_of_medians": together["median"] - alone["median"],
        "import_vecdb": spread(package),
        "import_vecdb_and_VecDB": spread(with_class),
        "loaded_by_import": loaded,
    }


def _process_seconds(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


# -- memory ------------------------------------------------------------------------------------

_STATUS = """
import json, sys
import numpy as np, vecdb
import vecdb.database, vecdb.kernels.codes, vecdb.kernels.distance, vecdb.kernels.topk, psutil
def kib():
    fields = {}
    for line in open("/proc/self/status"):
        name, _, value = line.partition(":")
        if name in ("RssAnon", "RssFile", "VmHWM"):
            fields[name] = int(value.split()[0])
    return fields
before = kib()
queries = np.load(sys.argv[2])
with vecdb.VecDB(sys.argv[1]) as db:
    collection = db.collection("bench")
    opened, report_opened = kib(), collection.memory_report()["total"]
    for query in queries:
        collection.search(query, limit=10)
    print(json.dumps({"before": before, "opened": opened, "searched": kib(),
        "report_opened": report_opened, "report_searched": collection.memory_report()["total"],
        "parts": collection.memory_report()["parts"]}))
"""


def memory(run: Run) -> dict[str, Any]:
    """What the kernel counts for a fresh process beside what ``memory_report`` says."""
    import numpy as np

    path = run.copy("memory")
    queries = run.directory / "queries.npy"
    np.save(queries, run.queries[:100])
    modes: dict[str, Any] = {}
    for name, (on_disk, always_ram) in MODES.items():
        with vecdb.VecDB(path) as db:
            db.update_collection(
                COLLECTION,
                vectors_config={"": {"on_disk": on_disk}},
                quantization_config={"scalar": {"type": "int8", "always_ram": always_ram}},
                optimizers_config={"indexing_threshold": 1, "max_optimization_threads": 0},
            )
            db.wait_for_optimizer()
            in_one_segment(db)
        drop_from_cache(path)
        modes[name] = child(_STATUS, str(path), str(queries))
        run.say(f"{name}: RssAnon {modes[name]['searched'].get('RssAnon', 0) // 1024} MiB")
    return {"codes": "scalar", "queries": min(100, len(run.queries)), "modes": modes}
