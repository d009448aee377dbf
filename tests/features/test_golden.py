"""Files of every format version that was ever released open, and hold what they held."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from golden.make_golden import contents

from proofs.model.oracle import require_sound
from vecdb import VecDB
from vecdb.cli.main import main
from vecdb.storage.format import VERSION

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
VERSIONS = sorted(GOLDEN.glob("format-*"))


def expected(version: Path) -> Any:
    return json.loads((version / "expected.json").read_text(encoding="utf-8"))


def plain(found: Any) -> Any:
    return json.loads(json.dumps(found))


def kinds(db: VecDB) -> set[str]:
    """What kinds of codes there are."""
    vectors = [v for s in db.get_collection("Codes ü").segments for v in s.vectors.values()]
    return {vector.quantization.split()[0] for vector in vectors if vector.quantization}


def test_there_are_files_of_this_version() -> None:
    assert GOLDEN / f"format-{VERSION}" in VERSIONS


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_a_database_that_was_left_by_a_crash(version: Path, tmp_path: Path) -> None:
    path = tmp_path / "db"
    shutil.copytree(version / "db", path)
    require_sound(path)
    with VecDB(path, read_only=True) as db:
        assert plain(contents(db)) == expected(version)
        assert db.collection("plain").recovery.replayed == 6
        assert not db.get_collection("Codes ü").damaged_files
    with VecDB(path) as db:
        assert not db.damaged
        assert plain(contents(db)) == expected(version)
        # Codes that nothing reads any more are made anew, as any derived part.
        assert db.wait_for_optimizer("Codes ü", timeout=100)
        assert kinds(db) == {"scalar", "binary", "product"}
        assert plain(contents(db)) == expected(version)
    with VecDB(path) as db:  # what recovery has written
        assert plain(contents(db)) == expected(version)
    require_sound(path)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_an_archive(version: Path, tmp_path: Path) -> None:
    path = tmp_path / "db"
    assert main(["restore", str(version / "full.snapshot"), "--to", str(path)]) == 0
    with VecDB(path) as db:
        assert plain(contents(db)) == expected(version)
    require_sound(path)
