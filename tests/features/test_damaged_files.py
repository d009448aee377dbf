"""Damage that a database lives with: of derived files, and of one collection among several."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB, models
from vecdb.engine.check import check_database
from vecdb.errors import AlreadyExistsError, CorruptionError

DIM, ROWS = 32, 3000
QUANTIZATIONS: dict[str, Any] = {
    "scalar": {"scalar": {"type": "int8", "always_ram": True}},
    "scalar-mapped": {"scalar": {"type": "int8", "always_ram": False}},
    "binary": {"binary": {"always_ram": False}},
    "product": {"product": {"compression": "x16", "always_ram": False}},
}


def vectors() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((ROWS, DIM)).astype(np.float32)


def make(path: Path, quantization: Any, *, threads: int | None = None) -> None:
    with VecDB(path) as db:
        for name in ("c", "other"):
            db.create_collection(
                name,
                {"size": DIM, "distance": "Euclid"},
                quantization_config=quantization,
                optimizers_config={"indexing_threshold": 1, "memmap_threshold": 1},
            )
            db.upsert(name, models.Batch(ids=range(ROWS), vectors=vectors()))
            db.delete(name, [7])
        assert db.wait_for_optimizer()


def exact(query: np.ndarray, limit: int) -> list[int]:
    distances = np.linalg.norm(vectors() - query, axis=1)
    distances[7] = np.inf
    return np.argsort(distances, kind="stable")[:limit].tolist()


def require_exact(db: VecDB, name: str = "c", *, codes: bool = True) -> None:
    """``codes``: there may be some; then every row has to be rescored."""
    params: Any = {"quantization": {"oversampling": ROWS / 20}} if codes else None
    for n in range(5):
        query = np.full(DIM, 0.1 * n, dtype=np.float32)
        hits = db.search(name, query, search_params=params, limit=20)
        assert [hit.id for hit in hits] == exact(query, 20)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def file_of(root: Path, name: str) -> Path:
    [found] = root.glob(f"collections/c/segments/*/{name}")
    return found


def files_of(path: Path) -> dict[Path, bytes]:
    """What every file holds, but for LMDB's lock file, which has no state."""
    files = (p for p in path.rglob("*") if p.is_file() and p.name != "lock.mdb")
    return {p: p.read_bytes() for p in files}


HARM: dict[str, Callable[[Path], Any]] = {
    "flipped": lambda path: flip(path, 70),
    "header": lambda path: flip(path, 20),
    "cut": lambda path: os.truncate(path, 100),
    "empty": lambda path: os.truncate(path, 0),
    "gone": lambda path: path.unlink(),
    "another": lambda path: shutil.copy(next(path.parent.glob("vectors")), path),
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("file", ["codes", "quantizer", "order", "manifest"])
@pytest.mark.parametrize("quantization", ["scalar", "binary"])
def test_a_derived_file_is_done_without_and_written_anew(
    quantization: str, file: str, harm: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "db"
    make(path, QUANTIZATIONS[quantization])
    damaged = file_of(path, file)
    HARM[harm](damaged)
    assert [Path(p.path).name for p in check_database(path).problems] == [file]
    with VecDB(path, read_only=True) as db, caplog.at_level(logging.WARNING, "vecdb"):
        require_exact(db, codes=file not in ("codes", "quantizer"))
        if not (file in ("codes", "manifest") and harm == "flipped"):  # mapped: found when used
            found = db.get_collection("c").damaged_files
            assert [f.path for f in found] == [str(damaged)]
            assert str(damaged) in caplog.text
        assert db.get_collection("other").damaged_files == []
    with VecDB(path) as db:
        require_exact(db)
        assert db.wait_for_optimizer()
        if file != "manifest" or harm != "flipped":  # its content is read by check and repair only
            assert not damaged.parent.exists()
            assert db.get_collection("c").damaged_files == []
            assert db.check().ok
        require_exact(db)
        assert db.count("c").count == ROWS - 1


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_codes_found_damaged_by_a_search_are_done_without(
    quantization: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "db"
    make(path, QUANTIZATIONS[quantization])
    with VecDB(path) as db:
        db.update_collection("c", optimizers_config={"max_optimization_threads": 0})
    codes = file_of(path, "codes")
    flip(codes, codes.stat().st_size // 2)
    with VecDB(path) as db:
        require_exact(db, codes=False)
        [found] = db.get_collection("c").damaged_files
        assert found.path == str(codes)
        assert "does not match its checksum" in found.detail
        assert caplog.text.count(str(codes)) == 1  # said once
        db.update_collection("c", optimizers_config={"max_optimization_threads": 1})
        assert db.wait_for_optimizer()
        assert db.get_collection("c").damaged_files == []
        assert db.get_collection("c").segments[0].vectors[""].quantization is not None
        require_exact(db)
    assert check_database(path).ok


def test_one_damaged_collection_keeps_no_other_from_opening(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "db"
    make(path, None)
    vectors_file = file_of(path, "vectors")
    os.truncate(vectors_file, 100)
    before = files_of(path / "collections" / "c")
    with VecDB(path) as db:
        assert list(db.damaged) == ["c"]
        assert isinstance(db.damaged["c"], CorruptionError)
        assert str(vectors_file) in caplog.text
        assert [c.name for c in db.get_collections().collections] == ["c", "other"]
        assert db.collection_exists("c")
        for use in (db.collection, db.get_collection, db.count, db.flush):
            with pytest.raises(CorruptionError, match="vectors: 100 bytes") as caught:
                use("c")
            assert caught.value.path == str(vectors_file)
        with pytest.raises(AlreadyExistsError):
            db.create_collection("c", {"size": 2, "distance": "Dot"})
        require_exact(db, "other")
        db.upsert("other", [{"id": 1, "vector": [0.5] * DIM}])
        db.flush()
        assert db.wait_for_optimizer()
        report = db.check()
        assert {p.path for p in report.problems} == {str(vectors_file)}
    assert files_of(path / "collections" / "c") == before  # not touched
    with VecDB(path, read_only=True) as db:
        assert list(db.damaged) == ["c"]
    with VecDB(path) as db:
        assert db.delete_collection("c")
        assert db.damaged == {}
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        assert db.count("c").count == 0
    assert check_database(path).ok


def test_a_damaged_collection_is_named_even_without_its_format_file(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with VecDB(path) as db:
        db.create_collection("Füße 1", {"size": 2, "distance": "Dot"})
    [format_file] = path.glob("collections/*/FORMAT")
    format_file.unlink()
    with VecDB(path) as db:
        assert list(db.damaged) == ["Füße 1"]
        db.recreate_collection("Füße 1", {"size": 2, "distance": "Dot"})
        assert db.damaged == {}


@pytest.mark.parametrize("part", ["FORMAT", "segments/*/ids"])
def test_a_damaged_collection_with_a_long_name_is_not_made_anew(tmp_path: Path, part: str) -> None:
    """Its directory is called by a hash. It was listed by that, so its name seemed to be free, and
    ``create_collection`` removed it to make room."""
    name, vectors = "日本語の文書を検索するための埋め込み" * 2, {"size": 2, "distance": "Dot"}
    path = tmp_path / "db"
    with VecDB(path) as db:
        db.create_collection(name, vectors)
        db.upsert(name, [{"id": 1, "vector": [1.0, 2.0]}])
    [damaged] = path.glob(f"collections/*/{part}")
    whole = damaged.read_bytes()
    damaged.write_bytes(bytes([*whole[:-1], whole[-1] ^ 1]))
    for read_only in (False, True):
        with VecDB(path, read_only=read_only) as db:
            [listed] = db.damaged
            assert listed == (name if part != "FORMAT" else damaged.parent.name)
            assert [c.name for c in db.get_collections().collections] == [listed]
            for known in (name, listed):
                assert db.collection_exists(known)
                with pytest.raises(CorruptionError):
                    db.count(known)
    with VecDB(path) as db, pytest.raises(AlreadyExistsError):
        db.create_collection(name, vectors)
    damaged.write_bytes(whole)
    with VecDB(path) as db:
        assert db.damaged == {}
        assert db.count(name).count == 1
    damaged.write_bytes(b"")
    with VecDB(path) as db:
        assert db.delete_collection(name)
        assert db.damaged == {}
        db.create_collection(name, vectors)
