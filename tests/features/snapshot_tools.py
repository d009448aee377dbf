"""What the tests of snapshots have in common."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecdb
from proofs.model.oracle import canonical
from vecdb import VecDB, models

DIM = 8
VECTORS: Any = {"size": DIM, "distance": "Dot"}
QUIET: Any = {"max_optimization_threads": 0}
OpenDb = Callable[..., VecDB]

COMMAND = [sys.executable, "-m", "vecdb"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(vecdb.__file__).parent.parent)}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as from a script."""
    words = [*COMMAND, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=240, env=ENVIRONMENT)


def filled(db: VecDB) -> VecDB:
    """With a collection ``c`` of 30 points, of which some are in files and some in the log."""
    db.create_collection("c", VECTORS, optimizers_config=QUIET)
    put(db, 0, 20)
    db.flush()
    db.delete("c", [3, 4])
    put(db, 100, 12)
    return db


def full_snapshot(db: VecDB) -> Path:
    """A snapshot of the database with two more collections."""
    db.create_collection("empty", VECTORS)
    db.create_collection("Ü / 3", VECTORS)
    put(db, 0, 7, "Ü / 3")
    return snapshot_path(db, db.create_full_snapshot())


@pytest.fixture
def db(open_db: OpenDb) -> VecDB:
    """One that is `filled`."""
    return filled(open_db())


@pytest.fixture
def full(db: VecDB) -> Path:
    """A snapshot of all of it."""
    return full_snapshot(db)


def put(db: VecDB, first: int, count: int = 10, name: str = "c") -> None:
    """Points that say in their payload and vectors which batch they are of."""
    ids = list(range(first, first + count))
    block = np.arange(count * DIM, dtype=np.float32).reshape(count, DIM) + first
    db.upsert(name, {"ids": ids, "vectors": block, "payloads": [{"first": first}] * count})


def content(db: VecDB, name: str = "c") -> list[str]:
    """Everything a collection holds, in order."""
    records, after = db.scroll(name, limit=1_000_000, with_vectors=True)
    assert after is None
    return [canonical(models.to_builtins(record)) for record in records]


def files_of(root: Path) -> dict[str, str]:
    """Every file below a directory but the lock's text and LMDB's reader table, and its digest."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name not in ("LOCK", "lock.mdb")
    }


def hidden(root: Path) -> list[str]:
    """What is under construction or about to be removed."""
    return [str(path) for path in root.rglob(".*")]


def snapshot_path(db: VecDB, found: models.SnapshotDescription) -> Path:
    [path] = db.path.glob(f"snapshots/**/{found.name}")
    return path
