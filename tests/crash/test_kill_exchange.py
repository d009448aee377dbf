"""Exports and imports that are killed: no half file, and the next one goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kill_client import environment

from vecdb import VecDB, exchange, models

pytestmark = pytest.mark.crash

COUNT = 90

# Killed before a call that changes files, the one with this number.
EXPORT = """
import os, signal, sys
from vecdb import VecDB, exchange
from vecdb.exchange import parts
from vecdb.storage import fs

directory, path, left, way = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
resume = way == "resume"
parts._PART_ROWS, parts._PAGE_NUMBERS = 15, 45
listdir = os.listdir
os.listdir = lambda place: sorted(listdir(place))  # so that parts are removed before other files

def counted(call):
    def instead(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)
    return instead

with VecDB(directory, read_only=True) as db:
    names = "make_dir rename remove_file remove_tree sync_dir write_file discard".split()
    for name in names:
        setattr(fs, name, counted(getattr(fs, name)))
    for name in ("rmdir", "unlink"):
        setattr(os, name, counted(getattr(os, name)))
    fs.AppendFile.sync = counted(fs.AppendFile.sync)
    exchange.export_collection(db.collection("c"), path, resume=resume, overwrite=not resume)
"""

IMPORT = """
import os, signal, sys
from vecdb import Collection, VecDB, exchange

directory, path, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
upsert = Collection.upsert

def counted(*arguments, **options):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return upsert(*arguments, **options)

Collection.upsert = counted
with VecDB(directory) as db:
    exchange.import_collection(db, "copy", path, batch_size=20)
"""


def child(program: str, *arguments: object) -> int:
    """The exit code of a process."""
    words = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(words, env=environment(), timeout=120, check=False).returncode


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A database of a collection."""
    path = tmp_path / "c.db"
    with VecDB(path) as db:
        db.create_collection("c", {"size": 3, "distance": "Dot"})
        vectors = np.random.default_rng(0).normal(size=(COUNT, 3))
        payloads = [{"n": n} for n in range(COUNT)]
        db.upsert("c", models.Batch(ids=list(range(COUNT)), vectors=vectors, payloads=payloads))
    return path


def test_an_export_killed_anywhere_leaves_no_half_file(directory: Path, tmp_path: Path) -> None:
    """Killed before every fourth call in turn; each time the next one finishes it."""
    path = tmp_path / "points.npy"
    with VecDB(directory, read_only=True) as db:
        points = db.scroll("c", limit=COUNT, with_vectors=True)[0]
        number = kept = 0
        while True:
            code = child(EXPORT, directory, path, number, "new")
            if code == 0:
                break
            assert code == -signal.SIGKILL
            if path.exists():
                assert len(np.load(path)) == COUNT
            elif number == 0:
                assert not list(path.parent.glob("points.*"))
                exchange.export_collection(db.collection("c"), path)
            beside = path.with_name("points.npy.exporting")
            kept = max(kept, len(list(beside.glob("*.part"))))
            if beside.exists():
                exchange.export_collection(db.collection("c"), path, resume=True)
            assert not beside.exists()
            assert np.array_equal(np.load(path), np.float32([point.vector for point in points]))
            assert np.load(f"{path}.ids.npy").tolist() == [point.id for point in points]
            lines = Path(f"{path}.payload.jsonl").read_text().splitlines()
            assert [json.loads(line) for line in lines] == [point.payload for point in points]
            number += 4
    assert number > 20, "it was killed less often than it does something"
    assert kept == 6, "a part that was whole stayed"


def test_an_export_killed_while_it_resumes_goes_on(directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl"
    number, rounds = 8, 0
    while child(EXPORT, directory, path, number, "resume") != 0:
        assert not path.exists() or path.read_bytes().count(b"\n") == COUNT
        rounds += 1
        number += 1
    assert rounds > 4
    with VecDB() as db:
        assert exchange.import_collection(db, "copy", path).points == COUNT


def test_a_killed_import_goes_on(directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl"
    with VecDB(directory) as db:
        exchange.export_collection(db.collection("c"), path)
        points = db.scroll("c", limit=COUNT, with_vectors=True)[0]
    for number in range(5):
        code = child(IMPORT, directory, path, number)
        assert code == -signal.SIGKILL
        with VecDB(directory) as db:
            report = exchange.import_collection(db, "copy", path, batch_size=13, resume=True)
            assert (report.points, report.skipped) == (COUNT, 20 * number)
            assert db.scroll("copy", limit=COUNT, with_vectors=True)[0] == points
            db.delete_collection("copy")
    assert child(IMPORT, directory, path, 5) == 0
