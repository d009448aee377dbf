"""Damage that a database lives with: of derived files, and of one collection among several."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB, models
from vecdb.engine.repair.check import check_database
from vecdb.errors import AlreadyExistsError, CorruptionError, LockedError
from vecdb.storage import lookup
from vecdb.storage.files import FILES
from vecdb.storage.segment import FileSegment

DIM, ROWS = 32, 3000
QUANTIZATIONS: dict[str, Any] = {
    "scalar": {"scalar": {"type": "int8", "always_ram": True}},
    "scalar-mapped": {"scalar": {"type": "int8", "always_ram": False}},
    "binary": {"binary": {"always_ram": False}},
    "product": {"product": {"compression": "x16", "always_ram": False}},
}


def vectors() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((ROWS, DIM)).astype(np.float32)


_made: dict[str, tempfile.TemporaryDirectory[str]] = {}


def make(path: Path, quantization: Any) -> None:
    """A copy of one that is made once for each quantization: it takes a second."""
    key = str(quantization)
    if key not in _made:
        _made[key] = tempfile.TemporaryDirectory()
        _make(Path(_made[key].name) / "db", quantization)
    shutil.copytree(Path(_made[key].name) / "db", path)


def _make(path: Path, quantization: Any) -> None:
    with VecDB(path) as db:
        for name in ("c", "other"):
            db.create_collection(
                name,
                {
                    "": {"size": DIM, "distance": "Euclid"},
                    "m": {
                        "size": 4,
                        "distance": "Dot",
                        "multivector_config": {"comparator": "max_sim"},
                    },
                },
                sparse_vectors_config={"s": {}},
                quantization_config=quantization,
                optimizers_config={"indexing_threshold": 1, "memmap_threshold": 1},
            )
            sparse = [{"indices": [i % 5, 5 + i % 9], "values": [1.0, 2.0]} for i in range(ROWS)]
            many = [[[i % 7, i % 5, 1, 2], [i % 3, 1, i % 4, 3]] for i in range(ROWS)]
            all_kinds = {"": vectors(), "s": sparse, "m": many}
            db.upsert(name, models.Batch(ids=range(ROWS), vectors=all_kinds))
            db.delete(name, [7])
        assert db.wait_for_optimizer()


def exact(query: np.ndarray, limit: int) -> list[int]:
    distances = np.linalg.norm(vectors() - query, axis=1)
    distances[7] = np.inf
    return np.argsort(distances, kind="stable")[:limit].tolist()


def require_exact(db: VecDB, name: str = "c") -> None:
    """Every partition of an index is visited and every row rescored, if there are any."""
    params: Any = {"hnsw_ef": ROWS, "quantization": {"oversampling": ROWS / 20}}
    for n in range(5):
        query = np.full(DIM, 0.1 * n, dtype=np.float32)
        hits = db.search(name, query, search_params=params, limit=20)
        assert [hit.id for hit in hits] == exact(query, 20)


# What has to be asked for to use them.
USES: dict[str, Any] = {"codes": {"quantization": {"rescore": False}}, "sketch": None}


def use(db: VecDB, file: str) -> None:
    """Search so that a file is used: what is mapped is verified then."""
    hits = db.search("c", np.zeros(DIM), search_params=USES.get(file), limit=20)
    assert len({hit.id for hit in hits}) == 20
    words: Any = {"indices": [3, 7], "values": [1.0, 1.0]}
    hits = db.query_points("c", words, using="s", limit=ROWS).points
    wanted = [number for number in range(ROWS) if (number % 5 == 3 or number % 9 == 2)]
    assert {hit.id for hit in hits} == set(wanted) - {7}
    hits = db.query_points("c", [[1.0, 1.0, 0.0, 0.0]], using="m", limit=20).points
    assert [hit.score for hit in hits] == [10.0] * 20  # the most: 6 + 4


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def file_of(root: Path, name: str) -> Path:
    """Of the dense vectors, if they have one of this name, else of the others."""
    segments = root / "collections" / "c" / "segments"
    names = (name, f"{name}.s", f"{name}.m")
    [found, *_] = [path for each in names for path in segments.glob(f"*/{each}")]
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


@pytest.mark.parametrize("file", ["codes", "sketch"])
def test_searches_that_meet_the_same_damage_at_once_all_go_on(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first that did without the file answered; for the others it was no longer known to
    be one that a segment can do without."""
    path = tmp_path / "db"
    make(path, QUANTIZATIONS["binary"])
    flip(file_of(path, file), 70)
    both = threading.Barrier(2)
    quarantine = FileSegment.quarantine

    def together(*arguments: Any) -> None:
        both.wait(10)
        quarantine(*arguments)

    monkeypatch.setattr(FileSegment, "quarantine", together)
    with VecDB(path, read_only=True) as db, ThreadPoolExecutor(2) as pool:
        for search in [pool.submit(use, db, file) for _ in range(2)]:
            search.result()


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("file", [f.name for f in FILES if f.derived and f.per != "field"])
@pytest.mark.parametrize("quantization", ["scalar", "binary"])
def test_a_derived_file_is_done_without_and_written_anew(
    quantization: str, file: str, harm: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "db"
    make(path, QUANTIZATIONS[quantization])
    damaged = file_of(path, file)
    HARM[harm](damaged)
    assert [Path(p.path).name for p in check_database(path).problems] == [damaged.name]
    with VecDB(path, read_only=True) as db, caplog.at_level(logging.WARNING, "vecdb"):
        use(db, file)
        require_exact(db)
        if not (file == "manifest" and harm == "flipped"):  # its content is read by others only
            found = db.get_collection("c").damaged_files
            assert [f.path for f in found] == [str(damaged)]
            assert str(damaged) in caplog.text
        assert db.get_collection("other").damaged_files == []
    with VecDB(path) as db:
        use(db, file)
        require_exact(db)
        assert db.wait_for_optimizer()
        if file != "manifest" or harm != "flipped":  # its content is read by check and repair only
            assert not damaged.parent.exists()
            assert db.get_collection("c").damaged_files == []
            assert db.check().ok
        require_exact(db)
        assert db.count("c").count == ROWS - 1


@pytest.mark.parametrize("file", [f.name for f in FILES if f.derived])
def test_a_derived_file_that_the_disk_cannot_read_is_done_without(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the database could be opened for it."""
    path = tmp_path / "db"
    make(path, QUANTIZATIONS["scalar"])
    with VecDB(path) as db:
        db.update_collection("c", optimizers_config={"max_optimization_threads": 0})
        db.set_payload("c", {"kind": 3}, list(range(500, 900)))
        db.create_payload_index("c", "kind", "integer")
    bad = file_of(path, f"{file}*" if file == "column" else file)
    real = lookup.open_read

    def open_read(path: Path, **options: Any) -> Any:
        if path == bad:
            raise OSError(errno.EIO, "injected")
        return real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(lookup, "open_read", open_read)
        with VecDB(path) as db:
            [found] = db.get_collection("c").damaged_files
            assert (found.path, found.detail) == (str(bad), "cannot be read: injected")
            require_exact(db)
            is_3 = {"must": [{"key": "kind", "match": {"value": 3}}]}
            assert db.count("c", is_3).count == 400
    with VecDB(path) as db:
        assert db.get_collection("c").damaged_files == []
        require_exact(db)


@pytest.mark.parametrize("file", USES)
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_what_a_search_finds_damaged_is_done_without(
    quantization: str, file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "db"
    make(path, QUANTIZATIONS[quantization])
    with VecDB(path) as db:
        db.update_collection("c", optimizers_config={"max_optimization_threads": 0})
    damaged = file_of(path, file)
    flip(damaged, damaged.stat().st_size // 2)
    with VecDB(path) as db:
        use(db, file)
        require_exact(db)
        [found] = db.get_collection("c").damaged_files
        assert found.path == str(damaged)
        assert "does not match its checksum" in found.detail
        assert caplog.text.count(str(damaged)) == 1  # said once
        db.update_collection("c", optimizers_config={"max_optimization_threads": 1})
        assert db.wait_for_optimizer()
        assert db.get_collection("c").damaged_files == []
        vectors = db.get_collection("c").segments[0].vectors[""]
        assert vectors.quantization is not None
        assert vectors.index is not None
        require_exact(db)
    assert check_database(path).ok


@pytest.mark.parametrize("file", [f.name for f in FILES if not f.derived and not f.optional])
def test_one_damaged_collection_keeps_no_other_from_opening(
    file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "db"
    make(path, None)
    damaged = file_of(path, file)
    os.truncate(damaged, 100)
    before = files_of(path / "collections" / "c")
    with VecDB(path) as db:
        assert list(db.damaged) == ["c"]
        assert isinstance(db.damaged["c"], CorruptionError)
        assert str(damaged) in caplog.text
        assert [c.name for c in db.get_collections().collections] == ["c", "other"]
        assert db.collection_exists("c")
        for use in (db.collection, db.get_collection, db.count, db.flush):
            with pytest.raises(CorruptionError, match=f"{damaged.name}: 100 bytes") as caught:
                use("c")
            assert caught.value.path == str(damaged)
        with pytest.raises(AlreadyExistsError):
            db.create_collection("c", {"size": 2, "distance": "Dot"})
        require_exact(db, "other")
        db.upsert("other", [{"id": 1, "vector": [0.5] * DIM}])
        db.flush()
        assert db.wait_for_optimizer()
        report = db.check()
        assert {p.path for p in report.problems} == {str(damaged)}
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


def test_check_writes_nothing_and_needs_no_more_than_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a read-only medium, and beside a lock file of another user, it failed; and it made a lock
    # file where there was none.
    path = tmp_path / "c.db"
    with VecDB(path) as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        db.upsert("c", [{"id": 1, "vector": [1, 2]}])
    real = os.open

    def open_to_read(file: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT) and path in Path(file).parents:
            raise OSError(errno.EROFS, "Read-only file system", str(file))
        return real(file, flags, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_to_read)
        assert check_database(path).ok
    (path / "LOCK").unlink()
    assert check_database(path).ok
    assert not (path / "LOCK").exists()
    with VecDB(path), pytest.raises(LockedError):
        check_database(path)


def test_check_says_each_thing_once(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    with VecDB(path) as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        db.upsert("c", [{"id": n, "vector": [n, 2], "payload": {"n": n}} for n in range(50)])
    flip(file_of(path, "payload"), 100)
    problems = [(problem.path, problem.detail) for problem in check_database(path).problems]
    assert problems
    assert len(set(problems)) == len(problems)
