"""``vecdb export``, ``import``, ``push`` and ``pull`` as they are typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from exchange_tools import of_two_vectors, points_of
from serving import serving

import vecdb
from vecdb import VecDB

PLACES = [str(Path(vecdb.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(PLACES)}


def run(*words: object, code: int = 0, key: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command, which ends with this exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "vecdb", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**ENVIRONMENT, "QDRANT_API_KEY": key},
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "my.db"
    with VecDB(path) as db:
        of_two_vectors(db)
    return path


def test_out_of_one_database_into_another(directory: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "points.parquet", tmp_path / "other.db"
    with VecDB(directory) as db:  # which an application has open
        done = run("export", directory, "--collection", "two", "--to", file)
        given = points_of(db.collection("two"))
    assert done.stdout.startswith(f"{file}: 250 points, ")
    assert done.stderr == ""
    done = run("import", file, "--to", other, "--collection", "copy")
    assert done.stdout == "copy: 250 points read\n"
    done = run("import", file, "--to", other, "--collection", "copy", "--resume", "--json")
    assert json.loads(done.stdout) == {
        "path": str(file), "collection": "copy", "points": 250, "skipped": 250, "replaced": 0
    }  # fmt: skip
    done = run("import", file, "--to", other, "--collection", "copy")
    assert done.stdout == "copy: 250 points read, 250 replaced others of their ids\n"
    with VecDB(other) as db:
        assert points_of(db.collection("copy")) == given


def test_what_may_be_said_of_an_export(directory: Path, tmp_path: Path) -> None:
    words = ["export", directory, "--collection", "two", "--to", tmp_path / "x"]
    assert "expected a name that ends in" in run(*words, code=2).stderr
    words += ["--format", "npy"]
    assert "npy holds the vectors of one name" in run(*words, code=2).stderr
    words += ["--vector", "a", "--no-payload"]
    done = run(*words)
    assert "left out: " in done.stdout
    assert "overwrite" in run(*words, code=2).stderr
    report = json.loads(run(*words, "--overwrite", "--json").stdout)
    assert report["format"] == "npy"
    assert report["points"] + report["left_out"] == 250
    done = run(
        "import", tmp_path / "x", "--to", tmp_path / "y.db", "--collection", "c", "--format", "npy"
    )
    assert f"{report['points']} points" in done.stdout
    none = tmp_path / "z.db"
    done = run("import", tmp_path / "no.npy", "--to", none, "--collection", "c", code=2)
    assert "no such file" in done.stderr
    assert not none.exists()


def test_there_and_back(directory: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "there.db", environment={"VECDB_API_KEY": "secret"}) as server:
        push = ["push", server.url, "--from", directory, "--collection", "two", "--as", "there"]
        assert server.url in run(*push, code=2, key="wrong").stderr
        done = run(*push, key="secret")
        assert done.stdout == (
            "there: 250 points copied\nboth sides are alike by their counts and 20 points\n"
        )
        assert "resume" in run(*push, code=2, key="secret").stderr
        pull = ["pull", server.url, "--to", tmp_path / "back.db", "--collection", "there"]
        run(*pull, "--as", "back", key="secret")
        with VecDB(tmp_path / "back.db") as db:
            assert points_of(db.collection("back")) == points_of_directory(directory)
            db.delete("back", [0])
            db.upsert("back", [{"id": 1, "vector": {}}, {"id": 2, "vector": {}}])
        done = run(*pull, "--as", "back", "--resume", code=1, key="secret")
        assert "249 of them were there" in done.stdout
        assert "not alike: " in done.stdout


def points_of_directory(directory: Path) -> list[vecdb.models.Record]:
    with VecDB(directory, read_only=True) as db:
        return points_of(db.collection("two"))
