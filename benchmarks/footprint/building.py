"""Measure what memory it takes to ingest and to build, with and without a limit.

    python -m benchmarks.footprint.building --rows 1000000 --dim 384 --limits none,512MB

Vectors are made by a seed, in a file that is mapped: they count for nobody. A process each ingests
them, waits for the optimizer and searches. Its parent reads meanwhile what the kernel counts:
``RssAnon`` of ``/proc/PID/status`` a hundred times a second, and ``Anonymous`` of
``/proc/PID/smaps_rollup``, which takes longer, every second.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

_OFTEN = 0.01
_SELDOM = 1.0
_BATCH = 2000
_SEARCHES = 500


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint.building")
    add = parser.add_argument
    add("--rows", type=int, default=1_000_000)
    add("--dim", type=int, default=384)
    add("--seed", type=int, default=1)
    add("--limits", default="none,512MB", help="values of memory_limit, comma-separated")
    add("--codes", default="none", choices=("none", "scalar", "binary"))
    add("--in-ram", action="store_true", help="say nothing of where originals are")
    add("--payload", action="store_true", help="a payload, with two indexed fields")
    add("--vectors", type=Path, help="a file of vectors: used if it is there, else made")
    add("--workdir", type=Path, help="must be a real disk")
    add("--json", type=Path)
    add("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        _child(json.loads(options.child))
        return 0
    results = []
    with tempfile.TemporaryDirectory(prefix="vecdb-building-", dir=options.workdir) as folder:
        vectors = options.vectors or Path(folder, "vectors.npy")
        if not vectors.exists():
            _make(vectors, options.rows, options.dim, options.seed)
        for number, limit in enumerate(options.limits.split(",")):
            order = {
                "vectors": str(vectors),
                "database": str(Path(folder, f"db{number}")),
                "limit": None if limit == "none" else limit,
                "codes": options.codes,
                "on_disk": None if options.in_ram else True,
                "payload": options.payload,
            }
            results.append(_measure(order))
            _show(results[-1])
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def _make(path: Path, rows: int, dim: int, seed: int) -> None:
    """Rows around a thousand centres."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((1000, dim), dtype=np.float32)
    out = np.lib.format.open_memmap(path, "w+", np.float32, (rows, dim))
    for start in range(0, rows, 10_000):
        count = min(10_000, rows - start)
        noise = random.standard_normal((count, dim), dtype=np.float32)
        out[start : start + count] = centres[random.integers(len(centres), size=count)] + noise
    out.flush()


def _measure(order: dict[str, Any]) -> dict[str, Any]:
    """Run one child; the most of each figure in each of its phases, and the seconds: of the clock,
    and of processors."""
    command = [sys.executable, "-m", "benchmarks.footprint.building", "--child", json.dumps(order)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    phases: dict[str, dict[str, float]] = {}
    phase, began, slow, worked = "start", time.monotonic(), 0.0, 0.0
    status, rollup = (Path(f"/proc/{child.pid}/{name}") for name in ("status", "smaps_rollup"))
    said: dict[str, Any] = {}
    while True:
        now = time.monotonic()
        most = phases.setdefault(phase, {"rss": 0, "smaps": 0, "seconds": 0.0, "cpu": 0.0})
        most["seconds"] = now - began
        most["rss"] = max(most["rss"], _figure(status, "RssAnon:"))
        if now - slow > _SELDOM:
            slow = now
            most["cpu"] = _processor_seconds(child.pid) - worked
            most["smaps"] = max(most["smaps"], _figure(rollup, "Anonymous:"))
        if select.select([child.stdout], [], [], _OFTEN)[0]:
            line = child.stdout.readline()
            if not line:
                break
            word, _, rest = line.strip().partition(" ")
            if word == "phase":
                most["cpu"] = _processor_seconds(child.pid) - worked
                worked += most["cpu"]
                print(f"{order['limit']}: {phase}: {most}", file=sys.stderr, flush=True)
                phase, began = rest, now
            else:
                said[word] = json.loads(rest)
    if child.wait() != 0:
        raise SystemExit(f"building: the process of {order} failed")
    return {"limit": order["limit"], "codes": order["codes"], "phases": phases, **said}


def _processor_seconds(pid: int) -> float:
    """Of all threads of a process; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _figure(path: Path, name: str) -> int:
    """One line of a file of the kernel, in bytes; 0 when the process is gone."""
    try:
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _show(result: dict[str, Any]) -> None:
    print(f"limit {result['limit'] or 'none'}, codes {result['codes']}")
    for phase, figures in result["phases"].items():
        rss, smaps = (figures[name] / 2**20 for name in ("rss", "smaps"))
        print(
            f"  {phase:10} {rss:8.1f} MiB ({smaps:8.1f}) {figures['seconds']:8.1f} s, "
            f"{figures['cpu']:8.1f} s of processors"
        )
    print(f"  {result.get('report')}", flush=True)


def _child(order: dict[str, Any]) -> None:
    from vecdb import VecDB, models

    def phase(name: str) -> None:
        print("phase", name, flush=True)

    codes = {
        "none": None,
        "scalar": {"scalar": {"type": "int8", "always_ram": True}},
        "binary": {"binary": {"always_ram": True}},
    }[order["codes"]]
    vectors = np.load(order["vectors"], mmap_mode="r")
    rows, dim = vectors.shape
    more = {} if order["limit"] is None else {"memory_limit": order["limit"]}
    with VecDB(order["database"], sync="never", **more) as db:
        params = models.VectorParams(
            size=dim, distance=models.Distance.COSINE, on_disk=order["on_disk"]
        )
        db.create_collection("c", vectors_config=params, quantization_config=codes)
        if order["payload"]:
            for field, kind in (("number", "integer"), ("word", "keyword")):
                db.create_payload_index("c", field, kind)
        collection = db.collection("c")
        phase("ingest")
        for start in range(0, rows, _BATCH):
            batch = np.array(vectors[start : start + _BATCH])
            payload = None
            if order["payload"]:
                payload = [
                    {"number": i, "word": f"word {i % 5000}", "text": "lorem ipsum " * 8}
                    for i in range(start, start + len(batch))
                ]
            collection.upload_collection(batch, payload, ids=range(start, start + len(batch)))
        phase("optimize")
        collection.wait_for_optimizer()
        phase("search")
        for row in range(_SEARCHES):
            collection.query_points(np.array(vectors[row * (rows // _SEARCHES)]), limit=10)
        report = db.memory_report()
        print("report", json.dumps(report["total"]), flush=True)
        phase("close")


if __name__ == "__main__":
    sys.exit(main())
