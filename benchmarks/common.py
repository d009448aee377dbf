"""What every part needs: the data, a directory on a real disk, databases, and clocks."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import vecdb
from benchmarks.data import Data, resized
from benchmarks.data import Floats as Floats
from benchmarks.data import K as K
from benchmarks.systems import SYSTEMS
from vecdb import models
from vecdb.collection import Collection
from vecdb.engine.optimize.build import build

BATCH = 1000
COLLECTION = "bench"
CODES_ONLY = {"indexing_threshold": 0, "memmap_threshold": 1, "max_optimization_threads": 0}
"""Optimizer: codes for every collection, however small, and no index: what codes alone are worth.
The steps run in the thread that waits for them."""
_DISTANCES = {
    "cosine": models.Distance.COSINE,
    "dot": models.Distance.DOT,
    "l2": models.Distance.EUCLID,
}
_IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")


class Run:
    """One run of the tool: options, data, and a temporary directory that goes with it."""

    def __init__(self, options: argparse.Namespace, core: int, cores: list[int]) -> None:
        self.quick: bool = options.quick
        self.seed: int = options.seed
        self.sizes: list[tuple[int, int]] | None = options.sizes
        for label in options.systems or ():
            if label not in SYSTEMS:
                known = ", ".join(SYSTEMS)
                raise SystemExit(f"bench: --systems: unknown system {label!r}; there are {known}")
        self.systems: list[str] = [
            label
            for label, (library, _, _) in SYSTEMS.items()
            if label in (options.systems or SYSTEMS)
            and (library == "vecdb" or not options.no_peers)
        ]
        self.core, self.cores = core, cores
        """What is pinned runs on the one; what says so runs on all of them."""
        parent = options.workdir or Path(tempfile.gettempdir())
        if filesystem(parent) in _IN_MEMORY:
            raise SystemExit(f"bench: {parent} is in memory; give --workdir on a real disk")
        self.directory = Path(tempfile.mkdtemp(prefix="vecdb-bench-", dir=parent))
        folder = options.data
        if options.rows is not None:  # its truth and payload are another's
            folder = self.directory / f"{folder.resolve().name}-{options.rows}"
            resized(options.data, folder, options.rows, self.seed)
        self.data = Data(folder, options.metric, 50 if self.quick else None)
        self.base, self.queries = self.data.base, self.data.queries
        self.payload = self.data.payload
        self._loaded: dict[str, Path] = {}
        # Kernels are compiled once on a machine, which is no part of any figure.
        subprocess.run([sys.executable, "-m", "vecdb", "warmup"], check=True, stdout=sys.stderr)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def rows(self) -> int:
        return self.data.rows

    @property
    def dim(self) -> int:
        return self.data.dim

    def say(self, text: str) -> None:
        """Progress, on standard error."""
        print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)

    def times(self, full: int, quick: int = 1) -> int:
        """How often to repeat something."""
        return quick if self.quick else full

    def fresh(self, name: str) -> Path:
        """A path in the temporary directory at which nothing exists."""
        path = self.directory / name
        shutil.rmtree(path, ignore_errors=True)
        return path

    def loaded(self, metric: str) -> Path:
        """A closed database with all rows in one segment, float32 only. Not to be changed."""
        if metric not in self._loaded:
            self.say("loading a database to work on")
            self._loaded[metric] = self.fresh(f"loaded-{metric}")
            with vecdb.VecDB(self._loaded[metric]) as db:
                fill(create(db, self.dim, metric), self.base)
                in_one_segment(db)
        return self._loaded[metric]

    def copy(self, name: str, metric: str = "cosine") -> Path:
        """A copy of the loaded database that may be changed."""
        path = self.fresh(name)
        shutil.copytree(self.loaded(metric), path)
        return path

    def setting(self) -> dict[str, Any]:
        """Machine, versions and data: what the figures depend on."""
        versions = {"vecdb": version_of("vecdb-embedded")}
        for name in ("numpy", "numba", "lmdb", "msgspec", "msgpack", "xxhash"):
            versions[name] = version_of(name)
        return {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "quick": self.quick,
            "seed": self.seed,
            "machine": {
                "processor": _processor(),
                "processors": os.cpu_count(),
                "pinned_to": self.core,
                "memory_gib": round(_memory_bytes() / 2**30, 1),
                "system": f"{platform.system()} {platform.release()} {platform.machine()}",
                "filesystem": filesystem(self.directory),
                "fdatasync_ms": round(1e3 * _sync_seconds(self.directory), 3),
            },
            "versions": {"python": platform.python_version(), **versions},
            "data": self.about_data(),
        }

    def about_data(self) -> dict[str, Any]:
        return {
            "name": self.data.name,
            "rows": self.rows,
            "dim": self.dim,
            "metric": self.data.metric,
            "queries": len(self.queries),
            "payload": self.payload is not None,
        }


# -- databases ---------------------------------------------------------------------------------


def create(db: vecdb.VecDB, dim: int, metric: str = "cosine", **config: Any) -> Collection:
    """An empty collection. No background work unless ``config`` wants it."""
    config.setdefault("optimizers_config", {"max_optimization_threads": 0})
    db.create_collection(
        COLLECTION, models.VectorParams(size=dim, distance=_DISTANCES[metric]), **config
    )
    return db.collection(COLLECTION)


def small_payloads(count: int) -> list[dict[str, Any]]:
    """The payload of every measurement that does not say otherwise."""
    return [{"n": i, "group": i % 7} for i in range(count)]


def fill(collection: Collection, base: Floats, payloads: list[Any] | None = None) -> float:
    """Upsert everything in batches from numpy; the seconds that took."""
    payloads = small_payloads(len(base)) if payloads is None else payloads
    ids = list(range(len(base)))
    started = time.perf_counter()
    for start in range(0, len(base), BATCH):
        end = start + BATCH
        collection.upsert(
            models.Batch(ids=ids[start:end], vectors=base[start:end], payloads=payloads[start:end])
        )
    return time.perf_counter() - started


def in_one_segment(db: vecdb.VecDB) -> None:
    """Checkpoint, and merge what there is into one segment file."""
    store = db.collection(COLLECTION)._store
    db.flush()
    if len(store.files) > 1:
        build(store, tuple(store.files))


def drop_from_cache(path: Path) -> None:
    """Ask the kernel to forget the files of a directory: what is resident then was touched."""
    if not hasattr(os, "posix_fadvise"):
        return
    os.sync()
    for file in path.rglob("*"):
        if file.is_file():
            fd = os.open(file, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


# -- clocks ------------------------------------------------------------------------------------


def nanoseconds(function: Callable[[], Any]) -> int:
    """How long one call takes."""
    started = time.perf_counter_ns()
    function()
    return time.perf_counter_ns() - started


def spread(values: list[float]) -> dict[str, Any]:
    """A median with what stands around it."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "runs": len(values),
    }


def child(code: str, *arguments: str) -> Any:
    """What a fresh interpreter prints, as JSON. It runs on our processor."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"a child process failed:\n{done.stderr}")
    return json.loads(done.stdout) if done.stdout.strip() else None


# -- the machine -------------------------------------------------------------------------------


def filesystem(path: Path) -> str:
    """The type of the file system a path is on, as the kernel names it."""
    best, kind = "", "unknown"
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return kind
    real = str(path.resolve())
    for line in mounts:
        _, mount, type_, *_ = line.split()
        inside = real == mount or real.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, type_
    return kind


def _sync_seconds(directory: Path) -> float:
    """Median time of appending 4 KiB and syncing it."""
    path = directory / "sync"
    times = []
    with open(path, "wb", buffering=0) as file:
        for _ in range(30):
            started = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    path.unlink()
    return statistics.median(times)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def version_of(distribution: str) -> str | None:
    """What is installed; of vecdb what is measured, which may be a checkout."""
    if distribution == "vecdb-embedded":
        return vecdb.__version__
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
