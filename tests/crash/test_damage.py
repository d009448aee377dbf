"""``proofs.damage`` in short: a few hundred of its hundred thousand cases, and planted bugs that
it must find. And a test for every bug of the engine that it found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vecdb import VecDB
from vecdb.engine.repair.check import check_database
from vecdb.errors import CorruptionError, LockedError
from vecdb.storage.catalog import Catalog

pytestmark = pytest.mark.crash

ROOT = Path(__file__).parent.parent.parent
VECTORS = {"size": 4, "distance": "Dot"}


def run(*arguments: str) -> str:
    """The tool, in a process of its own: it forks, and its children may die."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "proofs.damage", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.slow
def test_no_wrong_answer_and_no_signal(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    run("--per-group", "1", "--limit", "120", "--json", str(figures))
    report = json.loads(figures.read_text())
    assert report["cases"] == 120
    assert not {"WRONG", "SIGNAL"} & set(report["outcomes"])
    assert {"detected", "tolerated", "harmless"} <= set(report["outcomes"])
    assert report["reasons"]


@pytest.mark.slow
def test_planted_bugs_are_caught() -> None:
    planted = ["blind", "credulous", "lenient", "forgetful", "deaf"]
    out = run("--limit", "12", "--mutant", *planted)
    assert f"{len(planted)} of {len(planted)} planted bugs caught" in out


# -- what it found -----------------------------------------------------------------------------


@pytest.fixture
def closed(db_path: Path) -> Path:
    """A database with two collections: ``c`` of two points, ``other`` of one."""
    with VecDB(db_path) as db:
        for name, count in (("c", 2), ("other", 1)):
            db.create_collection(name, VECTORS, optimizers_config={"max_optimization_threads": 0})
            vectors = np.eye(4, dtype=np.float32)[:count]
            db.upsert(name, {"ids": list(range(count)), "vectors": vectors, "payloads": None})
    return db_path


def collection(path: Path, name: str = "c") -> Path:
    return path / "collections" / name


def the_only(path: Path, pattern: str) -> Path:
    [found] = path.glob(pattern)
    return found


def require_noticed(path: Path, name: str, named: Path) -> None:
    """One collection is damaged, the error names the file, check finds it, the other works."""
    problems = check_database(path).problems
    assert any(str(named) in problem.path for problem in problems), problems
    with VecDB(path) as db:
        assert list(db.damaged) == [name]
        with pytest.raises(CorruptionError) as caught:
            db.collection(name)
        assert str(named) in str(caught.value)
        rest = next(c.name for c in db.get_collections().collections if c.name != name)
        assert db.count(rest).count > 0
        db.upsert(rest, [{"id": 9, "vector": [1, 2, 3, 4]}])
        assert db.retrieve(rest, [9])


IN_PLACE: dict[str, Callable[[Path], None]] = {
    "directory": lambda path: path.mkdir(),
    "link to nowhere": lambda path: path.symlink_to("/nowhere/at/all"),
    "link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("what", IN_PLACE)
@pytest.mark.parametrize(
    "pattern", ["FORMAT", "catalog/data.mdb", "catalog/lock.mdb", "wal/*.wal", "segments/*/ids"]
)
def test_something_else_in_the_place_of_a_file(closed: Path, pattern: str, what: str) -> None:
    """It raised a bare OSError, which kept the whole database from opening."""
    path = the_only(collection(closed), pattern)
    path.unlink()
    IN_PLACE[what](path)
    require_noticed(closed, "c", path)


@pytest.mark.parametrize("what", IN_PLACE)
def test_something_else_in_the_place_of_the_lock(closed: Path, what: str) -> None:
    """The same; here the database cannot be opened, and the error says why."""
    (closed / "LOCK").unlink()
    IN_PLACE[what](closed / "LOCK")
    with pytest.raises(CorruptionError, match="LOCK"):
        VecDB(closed)
    with pytest.raises(CorruptionError, match="LOCK"):
        check_database(closed)


@pytest.mark.parametrize("name", ["wal", "segments", "catalog"])
def test_a_file_in_the_place_of_a_directory(closed: Path, name: str) -> None:
    shutil.rmtree(collection(closed) / name)
    (collection(closed) / name).write_bytes(b"")
    require_noticed(closed, "c", collection(closed) / name)


def test_a_lost_log_is_missed(closed: Path) -> None:
    """It was taken for an empty one: what it held was gone without a word."""
    with VecDB(closed) as db:
        db.upsert("c", [{"id": 7, "vector": [1, 1, 1, 1]}])
        copy = closed.with_name("copy")
        shutil.copytree(closed, copy)
    the_only(collection(copy), "wal/*.wal").unlink()
    require_noticed(copy, "c", collection(copy) / "wal")


def test_a_new_collection_has_a_log_before_it_has_its_name(db_path: Path) -> None:
    """So that a log without a file is always damage."""
    from vecdb import models
    from vecdb.engine.open.places import create_collection

    with VecDB(db_path):
        pass
    config = models.CollectionConfig(params=models.CollectionParams(vectors=VECTORS))
    path = create_collection(db_path / "collections", "new", config)
    assert [p.name for p in (path / "wal").iterdir()] == [f"{1:020}.wal"]


def test_the_catalog_of_another_collection_is_refused(db_path: Path) -> None:
    """An empty collection took the configuration of any other whose catalog it was given."""
    with VecDB(db_path) as db:
        db.create_collection("c", VECTORS)
        db.create_collection("other", VECTORS)
        db.upsert("other", [{"id": 1, "vector": [1, 1, 1, 1]}])
    path = collection(db_path) / "catalog/data.mdb"
    with VecDB(db_path.with_name("new")) as db:
        db.create_collection("c", {"size": 16, "distance": "Euclid"})
    shutil.copyfile(collection(db_path.with_name("new")) / "catalog/data.mdb", path)
    require_noticed(db_path, "c", path)


def test_an_older_configuration_is_refused(closed: Path) -> None:
    """A copy of the catalog from before a change of nothing but the configuration was accepted:
    what the log begins with was the same in both."""
    data = collection(closed) / "catalog/data.mdb"
    old = closed.with_name("old")
    with VecDB(closed) as db:
        shutil.copyfile(data, old)
        db.update_collection("c", optimizers_config={"deleted_threshold": 0.7})
    shutil.copyfile(old, data)
    require_noticed(closed, "c", collection(closed) / "wal")


def test_a_flip_that_a_commit_would_trip_over_is_found_when_opening(closed: Path) -> None:
    """LMDB reads its rows well with a wrong list of free pages, a wrong count or wrong flags, and
    then spoils the next commit, or aborts the process. Reading told nothing."""
    data = collection(closed) / "catalog/data.mdb"
    whole = data.read_bytes()
    newest = 4096 if whole[4096 + 144 : 4096 + 152] > whole[144:152] else 0
    free, rows, last_page = newest + 40, newest + 88, newest + 136
    offsets = [
        *[(free + field, 0) for field in (8, 16, 24, 32, 40)],
        *[(rows + field, 0) for field in (0, 6, 8, 16, 24, 32, 40)],
        *[(rows + 4, bit) for bit in range(8)],
        *[(free + 4, bit) for bit in range(8)],
        (last_page, 0),
    ]
    for at, bit in offsets:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << bit
        data.write_bytes(damaged)
        with pytest.raises(CorruptionError, match=r"data\.mdb"):
            Catalog(data.parent)
    data.write_bytes(whole)
    Catalog(data.parent).read()


COMMIT = """
import sys
from pathlib import Path
from vecdb import VecDB
from vecdb.errors import CorruptionError

with VecDB(sys.argv[1]) as db:
    db.upsert("c", [{"id": 7, "vector": [1, 1, 1, 1]}])
    data = Path(sys.argv[1], "collections/c/catalog/data.mdb")
    with open(data, "r+b") as file:
        whole = file.read()
        newest = 4096 if whole[4096 + 144 : 4096 + 152] > whole[144:152] else 0
        file.seek(newest + 92)
        file.write(bytes([whole[newest + 92] ^ 4]))
    try:
        db.flush("c")
    except CorruptionError as error:
        print(error.path)
    assert db.retrieve("c", [7])
    with open(data, "r+b") as file:
        file.write(whole)
"""


def test_a_catalog_damaged_while_it_is_open_does_not_kill_the_next_commit(closed: Path) -> None:
    """With a wrong flag in its meta page the commit was a segmentation fault."""
    done = subprocess.run(
        [sys.executable, "-c", COMMIT, str(closed)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(collection(closed) / "catalog/data.mdb")
    with VecDB(closed) as db:
        assert db.retrieve("c", [7])


def test_the_manifest_of_a_segment_is_verified_when_it_is_opened(closed: Path) -> None:
    """Damage of its content was seen by ``check`` alone, and never mended."""
    path = the_only(collection(closed), "segments/*/manifest")
    data = bytearray(path.read_bytes())
    data[80] ^= 1
    path.write_bytes(data)
    assert [p.path for p in check_database(closed).problems] == [str(path)]
    with VecDB(closed) as db:
        assert [f.path for f in db.get_collection("c").damaged_files] == [str(path)]
        assert db.wait_for_optimizer("c")
        assert not db.get_collection("c").damaged_files
    assert check_database(closed).ok


def test_a_locked_database_is_still_only_locked(closed: Path) -> None:
    with VecDB(closed), pytest.raises(LockedError, match=str(os.getpid())):
        VecDB(closed)
