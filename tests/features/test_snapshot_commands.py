"""Snapshots taken while everything goes on, of whole databases, and by the commands."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import sys
import termios
import threading
from pathlib import Path

import numpy as np
import pytest
from snapshot_tools import (
    COMMAND,
    DIM,
    ENVIRONMENT,
    QUIET,
    VECTORS,
    OpenDb,
    content,
    files_of,
    hidden,
    put,
    run,
    snapshot_path,
)
from snapshot_tools import db as db  # fixtures
from snapshot_tools import full as full

from vecdb import VecDB
from vecdb.engine.archive import restore
from vecdb.engine.repair.check import check_database
from vecdb.errors import (
    AlreadyExistsError,
    LockedError,
    NotADatabaseError,
    NotFoundError,
)

# -- while everything goes on ------------------------------------------------------------------


class Stream:
    """A thread that writes numbered batches, and what there is after each of them."""

    def __init__(self, db: VecDB) -> None:
        self.db = db
        self.issued = self.acknowledged = 0
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @staticmethod
    def ids(number: int) -> list[int]:
        return [(number * 7 + j * 3) % 150 for j in range(12)]

    def apply(self, points: dict[int, int], number: int) -> None:
        for point in self.ids(number):
            if number % 5:
                points[point] = number
            else:
                points.pop(point, None)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                number = self.issued = self.issued + 1
                ids = self.ids(number)
                if number % 5:
                    vectors = np.full((len(ids), DIM), number, dtype=np.float32)
                    payloads = [{"number": number}] * len(ids)
                    self.db.upsert("c", {"ids": ids, "vectors": vectors, "payloads": payloads})
                else:
                    self.db.delete("c", ids)
                self.acknowledged = number
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for(self, number: int) -> None:
        """Until this many batches are acknowledged."""
        while self.acknowledged < number and self.error is None:
            self._thread.join(0.001)

    def matching(self, found: dict[int, int], least: int, most: int) -> int | None:
        """After how many of the batches, within these bounds, there is what was found."""
        points: dict[int, int] = {}
        for number in range(1, most + 1):
            if number > least and points == found:
                return number - 1
            self.apply(points, number)
        return most if points == found else None


def points_of(db: VecDB, name: str) -> dict[int, int]:
    found = {}
    for record in db.scroll(name, limit=10_000, with_vectors=True)[0]:
        assert record.payload is not None
        assert list(record.vector) == [record.payload["number"]] * DIM  # type: ignore[arg-type]
        found[int(record.id)] = record.payload["number"]
    return found


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "another-process"])
def test_hot(elsewhere: bool, open_db: OpenDb, tmp_path: Path) -> None:
    """Each snapshot is one exact state between the call and its return: every batch that was
    acknowledged before, none half. Checkpoints, builds, merges and vacuums go on meanwhile."""
    db = open_db(sync="never")
    db.create_collection(
        "c",
        VECTORS,
        quantization_config={"scalar": {"type": "int8"}},
        optimizers_config={
            "indexing_threshold": 1,
            "default_segment_number": 1,
            "vacuum_min_vector_number": 8,
            "deleted_threshold": 0.05,
        },
    )
    taken: list[tuple[Path, int, int]] = []
    stop = threading.Event()

    def flush() -> None:
        while not stop.is_set():
            db.flush()

    flusher = threading.Thread(target=flush)
    flusher.start()
    try:
        with Stream(db) as stream:
            stream.wait_for(30)
            while not db.get_collection("c").optimizer_progress.completed:
                stream.wait_for(stream.acknowledged + 1)
            for number in range(3 if elsewhere else 12):
                stream.wait_for(30 * (number + 1))
                least = stream.acknowledged
                if elsewhere:
                    path = tmp_path / f"{number}.snapshot"
                    done = run("snapshot", db.path, "--collection", "c", "--to", path)
                    assert done.returncode == 0, done.stderr
                else:
                    path = snapshot_path(db, db.create_snapshot("c"))
                taken.append((path, least, stream.issued))
        assert stream.error is None
    finally:
        stop.set()
        flusher.join()
    for path, least, most in taken:
        db.recover_snapshot("then", path)
        found = points_of(db, "then")
        assert stream.matching(found, least, most) is not None, (least, most)
    assert stream.matching(points_of(db, "c"), stream.acknowledged, stream.issued) is not None


def test_collections_that_come_and_go(open_db: OpenDb, tmp_path: Path) -> None:
    """A full snapshot has those that are there all the time, and of the others any."""
    db = open_db()
    for name in ("c", "d"):
        db.create_collection(name, VECTORS)
        put(db, 0, 50, name)
    stop, errors = threading.Event(), []

    def come_and_go() -> None:
        try:
            while not stop.is_set():
                db.create_collection("cc", VECTORS, optimizers_config=QUIET)
                put(db, 0, 30, "cc")
                db.delete_collection("cc")
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        taken = [snapshot_path(db, db.create_full_snapshot()) for _ in range(15)]
    finally:
        stop.set()
        thread.join()
    assert not errors
    for number, path in enumerate(taken):
        found = restore.restore_database(path, tmp_path / str(number))
        assert (found["c"], found["d"]) == (50, 50)
        assert found.get("cc", 0) in (0, 30)
        assert check_database(tmp_path / str(number)).ok


# -- a whole database, and the commands --------------------------------------------------------


def test_a_whole_database(db: VecDB, full: Path, open_db: OpenDb, tmp_path: Path) -> None:
    want = {name: content(db, name) for name in ("c", "empty", "Ü / 3")}
    found = restore.restore_database(full, tmp_path / "new")
    assert found == {name: len(points) for name, points in want.items()}
    (tmp_path / "there").mkdir()
    restore.restore_database(full, tmp_path / "there")
    for path in (tmp_path / "new", tmp_path / "there"):
        other = open_db(path)
        assert {c.name: content(other, c.name) for c in other.get_collections().collections} == want
    assert (tmp_path / "new" / "FORMAT").read_bytes() != (db.path / "FORMAT").read_bytes()
    with pytest.raises(NotADatabaseError):
        restore.restore_database(full, tmp_path / "new")
    # One collection of it, where the database is open.
    db.delete_collection("Ü / 3")
    assert db.recover_snapshot("Ü / 3", full)
    assert content(db, "Ü / 3") == want["Ü / 3"]
    with pytest.raises(NotFoundError, match="'c', 'empty', 'Ü / 3'"):
        db.recover_snapshot("nobody", full)
    assert not hidden(tmp_path)


def test_a_database_of_no_collection(open_db: OpenDb, tmp_path: Path) -> None:
    db = open_db()
    path = snapshot_path(db, db.create_full_snapshot())
    assert restore.restore_database(path, tmp_path / "new") == {}
    assert open_db(tmp_path / "new").get_collections().collections == []


def test_the_commands(db: VecDB, open_db: OpenDb, tmp_path: Path) -> None:
    """On a database that this process has open; so no lock is taken."""
    db.create_collection("d", VECTORS)
    put(db, 0, 5, "d")
    one, all_ = tmp_path / "one.snapshot", tmp_path / "all.snapshot"
    done = run("snapshot", db.path, "--collection", "d", "--to", one)
    assert (done.returncode, done.stderr) == (0, "")
    assert hashlib.sha256(one.read_bytes()).hexdigest() in done.stdout
    assert (tmp_path / "one.snapshot.sha256").read_text().endswith("  one.snapshot\n")
    done = run("snapshot", db.path, "--to", all_, "--json")
    report = json.loads(done.stdout)
    assert report["path"] == str(all_)
    assert report["snapshot"]["checksum"] == hashlib.sha256(all_.read_bytes()).hexdigest()

    new = tmp_path / "new"
    done = run("restore", all_, "--to", new, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["collections"] == {"c": 30, "d": 5}
    done = run("restore", one, "--to", new, "--collection", "e")
    assert (done.returncode, done.stderr) == (0, "")
    assert "e: 5 points" in done.stdout
    other = open_db(new)
    assert content(other) == content(db)
    assert content(other, "d") == content(other, "e") == content(db, "d")
    put(other, 100, 3, "d")
    other.close()
    done = run("restore", one, "--to", new)
    assert done.returncode == 2
    assert "'d' exists" in done.stderr
    assert run("restore", one, "--to", new, "--replace").returncode == 0
    assert run("restore", all_, "--to", new, "--collection", "c", "--replace").returncode == 0
    assert content(open_db(new), "d") == content(db, "d")
    # A new database of one collection, under its own name and under another.
    assert run("restore", one, "--to", tmp_path / "x").returncode == 0
    assert run("restore", one, "--to", tmp_path / "y", "--collection", "Y").returncode == 0
    assert run("restore", all_, "--to", tmp_path / "z", "--collection", "d").returncode == 0
    names = [open_db(tmp_path / n).get_collections().collections[0].name for n in "xyz"]
    assert names == ["d", "Y", "d"]


def test_commands_that_cannot_be_done(db: VecDB, full: Path, tmp_path: Path) -> None:
    """Each says why, and leaves everything as it was."""
    one = snapshot_path(db, db.create_snapshot("c"))
    taken, busy, strange = tmp_path / "taken", tmp_path / "busy", tmp_path / "strange"
    taken.write_text("mine")
    strange.mkdir()
    (strange / "notes.txt").write_text("mine")
    restore.restore_database(full, busy)
    bad = tmp_path / "bad.snapshot"
    bad.write_bytes(one.read_bytes())
    bad.with_name("bad.snapshot.sha256").write_text("0" * 64 + "  bad.snapshot\n")
    holder = VecDB(busy)
    before = files_of(tmp_path)
    for arguments, reason in [
        (("snapshot", db.path, "--to", taken), "taken exists"),
        (("snapshot", db.path, "--to", tmp_path / "no" / "x"), "does not exist"),
        (("snapshot", db.path, "--collection", "nobody", "--to", tmp_path / "x"), "there are: 'c'"),
        (("snapshot", tmp_path / "none", "--to", tmp_path / "x"), "not a vecdb database"),
        (("restore", full, "--to", strange), "not empty"),
        (("restore", full, "--to", taken), "not empty"),
        (("restore", full, "--to", tmp_path / "no" / "x"), "does not exist"),
        (("restore", full, "--to", busy), "is of a whole database"),
        (("restore", full, "--to", tmp_path / "x", "--collection", "nobody"), "there are: 'c'"),
        (("restore", one, "--to", busy, "--replace"), f"pid {os.getpid()}"),
        (("restore", tmp_path / "none", "--to", tmp_path / "x"), "no such file"),
        (("restore", taken, "--to", tmp_path / "x"), f"{taken}: is not a vecdb snapshot"),
        (("restore", bad, "--to", tmp_path / "x"), f"not {'0' * 64}"),
        (("restore", db.path, "--to", tmp_path / "x"), "is not a file"),
    ]:
        done = run(*arguments)
        assert done.returncode == 2, arguments
        assert reason in done.stderr, (arguments, done.stderr)
        assert len(done.stderr.splitlines()) == 1
        assert done.stdout == ""
    assert files_of(tmp_path) == before
    assert not hidden(tmp_path)
    with pytest.raises(LockedError):
        restore.restore_collection(one, busy, "c", replace=True)
    holder.close()
    with pytest.raises(AlreadyExistsError):
        restore.restore_collection(one, busy, "c")
    assert "give --replace" in run("restore", one, "--to", busy).stderr


def test_a_checksum_beside_a_file_of_any_name_counts(db: VecDB, tmp_path: Path) -> None:
    """Beside a name that is not ASCII it was passed over, and so was one that is none."""
    path = tmp_path / "größe.snapshot"
    report = json.loads(run("snapshot", db.path, "--to", path, "--json").stdout)
    beside = path.with_name(path.name + ".sha256")
    assert beside.read_text().split() == [report["snapshot"]["checksum"], path.name]
    for text, reason in [("0" * 64 + f"  {path.name}\n", "SHA-256 is"), ("x", "holds no SHA-256")]:
        beside.write_text(text)
        done = run("restore", path, "--to", tmp_path / "new")
        assert done.returncode == 2
        assert reason in done.stderr
        assert not (tmp_path / "new").exists()
    beside.unlink()
    assert run("restore", path, "--to", tmp_path / "new").returncode == 0


@pytest.mark.parametrize("command", ["snapshot", "restore", "restore-into"])
def test_ctrl_c_leaves_nothing_behind(command: str, db: VecDB, full: Path, tmp_path: Path) -> None:
    arguments = {
        "snapshot": ["snapshot", db.path, "--to", tmp_path / "new"],
        "restore": ["restore", full, "--to", tmp_path / "new"],
        "restore-into": [
            "restore",
            full,
            "--to",
            tmp_path / "old",
            "--collection",
            "c",
            "--replace",
        ],
    }[command]
    restore.restore_database(full, tmp_path / "old")
    before = files_of(tmp_path)
    for call in ("AppendFile.append", "AppendFile.sync", "sync_dir"):
        # The signal comes after the call's third time, as if from the keyboard.
        script = f"""
import os, signal, sys
from vecdb.cli.main import main
from vecdb.storage import fs
owner = fs.AppendFile if {call!r}.startswith("AppendFile") else fs
name = {call!r}.split(".")[-1]
function, calls = getattr(owner, name), []
def interrupted(*arguments):
    function(*arguments)
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGINT)
setattr(owner, name, interrupted)
sys.exit(main({[str(argument) for argument in arguments]!r}))
"""
        if command == "snapshot" and call != "AppendFile.append":
            script = script.replace("== 3", "== 1")
        words = [sys.executable, "-c", script]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
        assert (done.returncode, done.stderr) == (130, "vecdb: interrupted\n"), call
        assert files_of(tmp_path) == before, call
        assert not hidden(tmp_path), call


def test_bars_on_a_terminal(db: VecDB, tmp_path: Path) -> None:
    for arguments, what in (
        (["snapshot", str(db.path), "--to", str(tmp_path / "file")], b"MB written"),
        (["restore", str(tmp_path / "file"), "--to", str(tmp_path / "new")], b"MB read"),
    ):
        parent, child = pty.openpty()
        try:
            termios.tcsetwinsize(child, (24, 90))  # a bar needs room
            done = subprocess.run(
                [*COMMAND, *arguments], stdout=child, stderr=child, timeout=60, env=ENVIRONMENT
            )
            assert done.returncode == 0
            assert what in os.read(parent, 65536)
        finally:
            os.close(parent)
            os.close(child)
