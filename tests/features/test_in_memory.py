"""``":memory:"``: where it is, and how often it holds its data; databases in read-only places."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from vecdb import VecDB, models
from vecdb.engine.archive import restore
from vecdb.engine.archive.capture import capture
from vecdb.engine.write import checkpoint
from vecdb.errors import ClosedError
from vecdb.storage import fs, lookup

PROGRAM = """
import json, os, sys
import numpy as np
import vecdb

ROWS, DIM = 40_000, 768
vectors = np.ones((5000, DIM), np.float32)

def held(db):
    with open("/proc/self/status") as status:
        private = next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))
    files = [path for path in db.path.rglob("*") if path.is_file()]
    return private + sum(path.stat().st_blocks * 512 for path in files)

with vecdb.VecDB(":memory:") as db:
    db.create_collection(
        "c", {"size": DIM, "distance": "Dot"}, optimizers_config={"indexing_threshold": 0}
    )
    db.upsert("c", vecdb.models.Batch(ids=np.arange(1), vectors=vectors[:1]))
    before = held(db)
    for first in range(0, ROWS, 5000):
        ids = np.arange(first, first + 5000)
        db.upsert("c", vecdb.models.Batch(ids=ids, vectors=vectors))
    loaded = held(db) - before
    db.flush()
    flushed = held(db) - before
    print(json.dumps([figure / (4 * ROWS * DIM) for figure in (loaded, flushed)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_vectors_are_held_once() -> None:
    """They were in the log or a file, and once more in private memory: 2.3 times and more."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    loaded, flushed = json.loads(run.stdout)
    assert loaded < 1.35
    assert flushed < 1.3


def test_a_snapshot_has_all_that_was_written(tmp_path: Path) -> None:
    """Without a log, what is not in a file yet must get there first."""
    with VecDB(":memory:") as db:
        for name in ("a", "b"):
            db.create_collection(name, {"size": 2, "distance": "Dot"})
            db.upsert(name, [{"id": 1, "vector": [1, 2], "payload": {"n": 1}}])
        db.flush()
        db.set_payload("a", {"n": 2}, [1])
        db.upsert("a", [{"id": 2, "vector": [3, 4]}])
        db.delete("b", [1])
        names = [db.create_snapshot("a").name, db.create_full_snapshot().name]
        with VecDB(tmp_path / "db") as other:
            other.recover_snapshot("a", db.path / "snapshots" / "a" / names[0])
            other.recover_snapshot("b", db.path / "snapshots" / names[1])
            points, _ = other.scroll("a", with_vectors=True)
            assert [(p.id, p.payload, p.vector) for p in points] == [
                (1, {"n": 2}, [1.0, 2.0]),
                (2, {}, [3.0, 4.0]),
            ]
            assert other.count("b").count == 0
        db.recover_snapshot("b", db.path / "snapshots" / "a" / names[0])
        assert db.count("b").count == 2
        db.upsert("b", [{"id": 3, "vector": [5, 6]}])
        assert db.count("b").count == 3
        assert db.check().problems == []


def test_a_snapshot_may_be_taken_in_the_middle_of_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without what is written in a log, each file of it that began seemed to follow a gap."""
    captured = []

    def build(*arguments: Any) -> Any:
        captured.append(capture(db.collection("c")._store.path))
        return real(*arguments)

    real = checkpoint._build
    monkeypatch.setattr(checkpoint, "_build", build)
    with VecDB(":memory:") as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        for number in range(3):
            db.upsert("c", [{"id": number, "vector": [1, number]}])
            db.flush("c")
        assert db.count("c").count == 3
        for each in captured:
            each.close()
    assert [each.manifest.last_seq for each in captured] == [0, 1, 2]


def test_a_full_snapshot_leaves_out_what_is_dropped_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are written to files first, and the next of them was not there any more."""

    def build(*arguments: Any) -> Any:
        db.delete_collection("b")
        return real(*arguments)

    real = checkpoint._build
    with VecDB(":memory:") as db:
        for name in ("a", "b", "c"):
            db.create_collection(name, {"size": 2, "distance": "Dot"})
            db.upsert(name, [{"id": 1, "vector": [1, 2]}])
        monkeypatch.setattr(checkpoint, "_build", build)
        snapshot = db.create_full_snapshot()
        assert restore.contents(db.path / "snapshots" / snapshot.name) == (True, ["a", "c"])
    with pytest.raises(ClosedError):
        db.flush()


def test_where_parts_live_stays_so_when_the_configuration_changes() -> None:
    with VecDB(":memory:") as db:
        db.create_collection("c", {"size": 4, "distance": "Dot"})
        db.upsert("c", models.Batch(ids=np.arange(300), vectors=np.eye(300, 4, dtype=np.float32)))
        db.flush()
        for changes in ({}, {"optimizers_config": {"memmap_threshold": 0}}):
            if changes:
                db.update_collection("c", **changes)
            parts = db.memory_report("c")["parts"]
            assert parts["originals"]["anonymous"] == 0
            assert parts["originals"]["mapped"] >= 300 * 16
        db.update_collection("c", quantization_config={"scalar": {"type": "int8"}})
        assert db.wait_for_optimizer()
        assert len(db.search("c", [1, 0, 0, 0], limit=5)) == 5


@pytest.mark.parametrize(
    ("memory", "usual", "expected"),
    [
        (64 << 20, 10 << 30, "usual"),  # what a container gets by default
        (8 << 30, 1 << 40, "memory"),
        (0, 64 << 20, "usual"),
        (64 << 20, 1 << 20, "memory"),
        (64 << 20, 64 << 20, "memory"),
    ],
)
def test_a_temporary_database_goes_where_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int, usual: int, expected: str
) -> None:
    """In a container ":memory:" was full after 64 MB, whatever TMPDIR said."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(lookup, "free_bytes", lambda path: usual if path == tmp_path else memory)
    made: list[Path] = []

    def make(prefix: str, dir: Path) -> str:
        made.append(Path(dir))
        return str(tmp_path / "made")

    monkeypatch.setattr(tempfile, "mkdtemp", make)
    assert fs.make_temporary_dir() == tmp_path / "made"
    assert made == [tmp_path if expected == "usual" else Path("/dev/shm")]


def test_the_other_place_does_if_the_first_may_not_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    real, refused = tempfile.mkdtemp, []

    def make(*, prefix: str, dir: Path) -> str:
        if Path(dir) != tmp_path:
            refused.append(dir)
            raise PermissionError
        return real(prefix=prefix, dir=dir)

    monkeypatch.setattr(tempfile, "mkdtemp", make)
    with VecDB(":memory:") as db:
        assert db.path.parent == tmp_path
        db.create_collection("c", {"size": 2, "distance": "Dot"})
    assert len(refused) <= 1
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs a directory there")
def test_to_read_a_database_no_directory_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only container, without a directory for temporary files, could not read one."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise PermissionError("read-only")

    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        db.upsert("c", [{"id": 1, "vector": [1, 2]}])
        with monkeypatch.context() as patch:
            for name in ("mkdtemp", "gettempdir"):
                patch.setattr(tempfile, name, refuse)
            patch.setattr(os, "mkdir", refuse)
            with VecDB(tmp_path / "db", read_only=True) as reader:
                assert reader.count("c").count == 1
                db.upsert("c", [{"id": 2, "vector": [1, 2]}])
                reader.refresh()
                assert reader.count("c").count == 2


_FILLS = """
import os, sys
from vecdb import VecDB

db = VecDB(":memory:")
db.create_collection("c", {"size": 4, "distance": "Dot"})
db.upsert("c", {"ids": [1], "vectors": [[1.0, 2.0, 3.0, 4.0]]})
db.flush()
print(db.path, flush=True)
sys.stdin.read()
"""


def _started() -> tuple[subprocess.Popen[str], Path]:
    """A process that has a database in memory, and where."""
    process = subprocess.Popen(
        [sys.executable, "-c", _FILLS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.parametrize("signalled", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_left_is_removed_by_the_next(signalled: signal.Signals) -> None:
    killed, left = _started()
    living, kept = _started()
    killed.send_signal(signalled)
    killed.communicate()  # closes the pipes, too
    with VecDB(":memory:") as db:
        assert Path(db.path) not in (left, kept)
        assert not left.exists()
        assert (kept / "collections").is_dir()
    living.communicate("")
    assert living.returncode == 0
    assert not kept.exists()


def test_what_is_no_temporary_database_is_left_alone(tmp_path: Path) -> None:
    """It may have such a name, and a process that is gone."""
    with VecDB(":memory:") as db:
        where = Path(db.path).parent
    mine = where / f"{fs.TEMPORARY_PREFIX}of-{tmp_path.name}"
    try:
        with VecDB(mine) as db:
            db.create_collection("c", {"size": 4, "distance": "Dot"})
        (mine / "LOCK").write_text(f"pid {2**22 + 1} on elsewhere\n")
        VecDB(":memory:").close()
        with VecDB(mine) as db:
            assert db.collection_exists("c")
    finally:
        fs.remove_tree(mine)
