"""``vecdb repair``: what is whole is saved, what is not is named, and nothing is made up.

Every test damages a copy of one of two databases, repairs it, and compares the result with every
state that each point ever had.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecdb
from proofs.model.oracle import SCALE, Oracle, Point, PointId, canonical, require_sound
from tests.cases import first_few
from vecdb import VecDB, models
from vecdb.engine.repair import rebuild as repair_module
from vecdb.engine.repair import salvage
from vecdb.engine.repair.rebuild import CollectionRepair, RepairReport, repair_database
from vecdb.errors import (
    CorruptionError,
    FormatVersionError,
    InvalidInputError,
    LockedError,
    NotADatabaseError,
)
from vecdb.storage import fs, layout
from vecdb.storage.catalog import Catalog, Change
from vecdb.storage.format_line import pack_format_line

VECTORS = {"plain": {"": (16, "Cosine")}, "named": {"text": (8, "Dot"), "ä b": (4, "Euclid")}}
OPTIMIZER = {"max_optimization_threads": 0, "indexing_threshold": 1}


@dataclass
class Story:
    """What was written to one collection: the state now, and all earlier states of each point."""

    oracle: Oracle
    states: dict[PointId, list[Point | None]] = field(default_factory=dict)

    def note(self, ids: Iterable[PointId]) -> None:
        for point_id in ids:
            self.states.setdefault(point_id, []).append(self.oracle.points.get(point_id))


def uuid_of(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


class Author:
    """Writes to a database, and the same to the stories."""

    def __init__(self, db: VecDB, seed: int) -> None:
        self.db = db
        self.rng = np.random.default_rng(seed)
        self.stories = {name: Story(Oracle(vectors)) for name, vectors in VECTORS.items()}

    def create(self) -> None:
        self.db.create_collection(
            "plain",
            vectors_config={"size": 16, "distance": "Cosine"},
            quantization_config={"scalar": {"type": "int8"}},
            optimizers_config=OPTIMIZER,
        )
        self.db.create_collection(
            "named",
            vectors_config={
                name: {"size": size, "distance": distance}
                for name, (size, distance) in VECTORS["named"].items()
            },
            optimizers_config=OPTIMIZER,
        )

    def upsert(self, name: str, ids: Iterable[PointId]) -> None:
        ids = list(ids)
        rows = []
        for point_id in ids:
            vectors = {
                vector: self.rng.standard_normal(size).astype(np.float32)
                for vector, (size, _) in VECTORS[name].items()
                if name == "plain" or self.rng.random() < 0.7
            }
            payload = {"n": int(self.rng.integers(1000)), "tags": ["a", "b"] * (len(rows) % 4)}
            rows.append((point_id, payload if self.rng.random() < 0.8 else None, vectors))
        points = [
            models.PointStruct(
                id=i, payload=p, vector=v[""].tolist() if "" in v else {k: v[k].tolist() for k in v}
            )
            for i, p, v in rows
        ]
        self.db.upsert(name, points)
        self.stories[name].oracle.upsert(rows)
        self.stories[name].note(ids)

    def delete(self, name: str, ids: Iterable[PointId]) -> None:
        ids = list(ids)
        self.db.delete(name, ids)
        self.stories[name].oracle.delete(ids)
        self.stories[name].note(ids)

    def edit(self, name: str, ids: Iterable[PointId]) -> None:
        story = self.stories[name]
        ids = [point_id for point_id in ids if point_id in story.oracle.points]
        payload = {"edit": int(self.rng.integers(1000))}
        self.db.set_payload(name, payload, ids)
        story.oracle.set_payload(ids, payload)
        story.note(ids)
        vector = next(iter(VECTORS[name]))
        values = self.rng.standard_normal(VECTORS[name][vector][0]).astype(np.float32)
        given = values.tolist() if not vector else {vector: values.tolist()}
        self.db.update_vectors(name, [models.PointVectors(id=ids[0], vector=given)])
        story.oracle.update_vectors([(ids[0], {vector: values})])
        story.note(ids[:1])
        self.db.delete_vectors(name, [vector], [ids[1]])
        story.oracle.delete_vectors([ids[1]], [vector])
        story.note(ids[1:2])
        self.db.clear_payload(name, [ids[2]])
        story.oracle.clear_payload([ids[2]])
        story.note(ids[2:3])

    def write(self, optimize: bool) -> None:
        """Three segments, the last ones without codes, with dead rows in each; then a log."""
        self.create()
        for name in VECTORS:
            for start in (0, 60, 120):
                self.upsert(name, range(start, start + 80))
                self.upsert(name, [uuid_of(i) for i in range(start, start + 5)])
                self.delete(name, range(start + 10, start + 20))
                self.edit(name, range(start, start + 9))
                self.db.flush(name)
                if optimize and start == 60:
                    self.db.wait_for_optimizer(name)
            self.delete(name, range(30, 35))
            self.db.flush(name)
        for name in VECTORS:
            self.upsert(name, range(190, 210))
            self.edit(name, range(40, 50))
            self.delete(name, range(120, 125))
            self.upsert(name, range(300, 310))


@dataclass
class Source:
    """A database to be copied, and what was written to it."""

    path: Path
    stories: dict[str, Story]


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Closed in order: everything is in segments."""
    path = tmp_path_factory.mktemp("repair") / "closed"
    with VecDB(path) as db:
        author = Author(db, 1)
        author.write(optimize=True)
    return Source(path, author.stories)


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """As a killed process leaves it: the last operations are in the log only."""
    path = tmp_path_factory.mktemp("repair") / "crashed"
    with VecDB(path.with_name("living")) as db:
        author = Author(db, 2)
        author.write(optimize=True)
        shutil.copytree(path.with_name("living"), path)
    return Source(path, author.stories)


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Source], Path]:
    """A copy to damage."""

    def copy(source: Source) -> Path:
        shutil.copytree(source.path, tmp_path / "damaged")
        return tmp_path / "damaged"

    return copy


@pytest.fixture(autouse=True)
def all_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports list every lost point."""
    monkeypatch.setattr(repair_module, "SHOWN_IDS", 1 << 30)


# -- comparing ---------------------------------------------------------------------------------


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "LOCK"
    }


def repaired(path: Path, stories: dict[str, Story]) -> RepairReport:
    """Repair into ``path``-new, and hold the result against what was written."""
    before = bytes_of(path)
    target = path.with_name(path.name + "-new")
    shutil.rmtree(target, ignore_errors=True)
    report = repair_database(path, target)
    assert bytes_of(path) == before, "the damaged database was changed"
    require_sound(target)
    assert report.complete == all(found.complete for found in report.collections)
    with VecDB(target) as db:
        names = {c.name for c in db.get_collections().collections}
        assert names == {c.name for c in report.collections if c.error is None}
        for found in report.collections:
            if found.error is None:
                records, _ = db.scroll(found.name, limit=10_000, with_vectors=True)
                assert len(records) == found.saved
                judge(stories[found.name], found, records)
    return report


def judge(story: Story, found: CollectionRepair, records: list[Any]) -> None:
    """Fail for a point that was never written, and for a loss that the report does not name."""
    wanted = story.oracle
    for record in records:
        assert record.id in story.states, f"point {record.id!r} was never written"
        require_written(story.states[record.id], record)
    if found.complete and not found.torn_bytes:
        assert wanted_difference(wanted, records) is None
        assert {r.id for r in records} == set(wanted.points)
    log_is_whole = not (found.log_gaps or found.unusable_operations or found.torn_bytes)
    if not log_is_whole or found.uncertain:
        return
    # Then every point is as it is now, or named.
    partly = {point.id: set(point.lost) for point in found.partly_lost_points}
    assert len(partly) == found.partly_lost
    missing = set(wanted.points) - {record.id for record in records}
    assert {record.id for record in records} <= set(wanted.points)
    assert set(found.lost_ids) <= missing
    assert len(missing) <= found.lost
    for record in records:
        point = wanted.points[record.id]
        vectors = vectors_of(record)
        lost = partly.get(record.id, set())
        if canonical(record.payload) != canonical(point.payload):
            assert "payload" in lost or found.edits_skipped, record
        for name in VECTORS[found.name]:
            if not same(vectors.get(name), point.vectors.get(name)):
                assert (f"vector {name}" if name else "vector") in lost, record


def require_written(states: list[Point | None], record: Any) -> None:
    """Every part of the record was once written to this point."""
    known = [state for state in states if state is not None]
    for name, vector in vectors_of(record).items():
        assert any(same(vector, state.vectors.get(name)) for state in known), record
    for key, value in (record.payload or {}).items():
        written = [state.payload[key] for state in known if key in state.payload]
        assert canonical(value) in map(canonical, written), record


def wanted_difference(oracle: Oracle, records: list[Any]) -> str | None:
    for record in records:
        problem = oracle.record_difference(record)
        if problem:
            return problem
    return None


def vectors_of(record: Any) -> dict[str, Any]:
    vectors = record.vector if record.vector is not None else {}
    return vectors if isinstance(vectors, dict) else {"": vectors}


def same(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return bool(np.allclose(one, other, rtol=1e-5, atol=1e-6))


def one(report: RepairReport, name: str) -> CollectionRepair:
    return next(found for found in report.collections if found.name == name)


# -- damage ------------------------------------------------------------------------------------


def flip(path: Path, at: int | None = None) -> None:
    """One bit."""
    data = bytearray(path.read_bytes())
    offset = len(data) // 3 if at is None else at
    data[offset] ^= 0x10
    path.write_bytes(data)


def wreck(path: Path) -> None:
    """Some bytes in the middle, beyond what one flipped bit can explain."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    for offset in range(middle, min(middle + 16, len(data))):
        data[offset] ^= 0x5A
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def cut_end(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"\0" * 100)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def remove(path: Path) -> None:
    path.unlink()


Damage = Callable[[Path], None]
DAMAGES: list[Damage] = [flip, wreck, cut, cut_end, lengthen, empty, remove]
ORIGINALS = ["ids", "seqs", "payload", "payload-offsets", "vectors*", "present*"]
DERIVED = ["order", "codes", "quantizer", "manifest"]
PATTERNS = {
    **{name: f"segments/*/{name}" for name in (*ORIGINALS, *DERIVED)},
    "FORMAT": "FORMAT",
    "catalog": "catalog/data.mdb",
    "log": "wal/*.wal",
}


def files(path: Path, collection: str, kind: str) -> list[Path]:
    return sorted((path / "collections" / collection).glob(PATTERNS[kind]))


# -- nothing is damaged ------------------------------------------------------------------------


def test_of_a_healthy_database_everything_is_saved(closed: Source, tmp_path: Path) -> None:
    target = tmp_path / "new"
    report = repair_database(closed.path, target)
    assert report.complete
    assert not report.damaged
    for found in report.collections:
        assert found == CollectionRepair(
            found.name, str(closed.path / "collections" / found.name), saved=found.saved
        )
    require_equal(closed.path, target)


def require_equal(path: Path, target: Path) -> None:
    """Payloads, bits of vectors, and configurations."""
    with VecDB(path, read_only=True) as old, VecDB(target, read_only=True) as new:
        assert old.get_collections() == new.get_collections()
        for description in old.get_collections().collections:
            name = description.name
            wanted, _ = old.scroll(name, limit=10_000, with_vectors=True)
            saved, _ = new.scroll(name, limit=10_000, with_vectors=True)
            assert [(r.id, canonical(r.payload)) for r in saved] == [
                (r.id, canonical(r.payload)) for r in wanted
            ]
            for one, other in zip(wanted, saved, strict=True):
                ours, theirs = vectors_of(one), vectors_of(other)
                assert set(ours) == set(theirs)
                assert all(np.array_equal(ours[key], theirs[key]) for key in ours)
            assert old.get_collection(name).config == new.get_collection(name).config


def test_of_a_database_left_by_a_crash_everything_is_saved(
    crashed: Source, copy_of: Callable[[Source], Path]
) -> None:
    path = copy_of(crashed)
    report = repaired(path, crashed.stories)
    assert report.complete
    assert all(found.operations > 0 for found in report.collections)
    require_equal(path, path.with_name("damaged-new"))


def test_a_torn_last_write_is_no_loss(crashed: Source, copy_of: Callable[[Source], Path]) -> None:
    """It was never acknowledged. What was before it is saved."""
    path = copy_of(crashed)
    last = files(path, "plain", "log")[-1]
    os.truncate(last, last.stat().st_size - 5)
    report = repaired(path, crashed.stories)
    assert report.complete
    assert one(report, "plain").torn_bytes > 0
    with VecDB(path) as opened, VecDB(path.with_name("damaged-new")) as new:
        assert opened.count("plain") == new.count("plain")


def test_an_empty_database(tmp_path: Path) -> None:
    VecDB(tmp_path / "db").close()
    assert repair_database(tmp_path / "db", tmp_path / "new").complete
    require_equal(tmp_path / "db", tmp_path / "new")


def test_a_collection_never_written_to(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", vectors_config={"size": 4, "distance": "Dot"})
    assert repair_database(tmp_path / "db", tmp_path / "new").complete
    require_equal(tmp_path / "db", tmp_path / "new")


# -- one file ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("kind", PATTERNS)
def test_one_damaged_file(
    kind: str, damage: Damage, crashed: Source, copy_of: Callable[[Source], Path]
) -> None:
    """What of the file can be proven is saved, and so is all of the other collection."""
    path = copy_of(crashed)
    collection = "named" if kind == "present*" else "plain"
    found = files(path, collection, kind)
    damaged = found[(DAMAGES.index(damage) + len(kind)) % len(found)]
    damage(damaged)
    report = repaired(path, crashed.stories)
    assert len(report.collections) == 2
    saved = one(report, collection)
    assert report.complete == saved.complete, "the other collection is whole"
    if kind in DERIVED:
        assert saved.complete
    elif kind in ORIGINALS and damage in (flip, cut_end, lengthen):
        assert saved.complete
        assert [problem.path for problem in saved.damaged] == [str(damaged)]
    elif (kind, damage) == ("log", remove):
        assert saved.log_gaps
    elif not saved.complete:
        assert any(problem.path.startswith(str(damaged)) for problem in saved.damaged), saved


def test_one_flipped_bit_anywhere_in_a_file_of_points_loses_nothing(
    closed: Source, copy_of: Callable[[Source], Path], rng: np.random.Generator
) -> None:
    """Each block has a checksum, and the bit is found by trying."""
    path = copy_of(closed)
    for collection in VECTORS:
        for kind in ORIGINALS:
            for file in files(path, collection, kind):
                flip(file, int(rng.integers(file.stat().st_size)))
    report = repaired(path, closed.stories)
    assert report.complete
    assert all(found.damaged for found in report.collections)
    require_equal(closed.path, path.with_name("damaged-new"))


def test_a_wrecked_header_and_footer_cost_nothing(
    closed: Source, copy_of: Callable[[Source], Path]
) -> None:
    """The catalog knows what the file is, and each block has a checksum of its own."""
    path = copy_of(closed)
    for kind in ORIGINALS:
        for number, file in enumerate(files(path, "named", kind)):
            data = bytearray(file.read_bytes())
            offsets = range(24) if number % 2 else range(len(data) - 8, len(data))
            for offset in offsets:
                data[offset] ^= 0x5A
            file.write_bytes(data)
    assert repaired(path, closed.stories).complete


# -- what is lost ------------------------------------------------------------------------------


def test_a_payload_that_is_lost_is_named_and_the_vectors_are_saved(
    closed: Source, copy_of: Callable[[Source], Path]
) -> None:
    path = copy_of(closed)
    remove(files(path, "plain", "payload")[0])
    found = one(repaired(path, closed.stories), "plain")
    assert found.partly_lost > 0
    assert {tuple(point.lost) for point in found.partly_lost_points} == {("payload",)}
    points = closed.stories["plain"].oracle.points
    assert found.saved + found.lost == len(points)
    assert not any(points[i].vectors for i in found.lost_ids), "nothing of them is left"


def test_a_vector_that_is_lost_is_named_and_the_other_one_is_saved(
    closed: Source, copy_of: Callable[[Source], Path]
) -> None:
    path = copy_of(closed)
    for file in files(path, "named", "vectors*"):
        if file.name == "vectors.text":
            wreck(file)
    found = one(repaired(path, closed.stories), "named")
    points = closed.stories["named"].oracle.points
    assert {tuple(point.lost) for point in found.partly_lost_points} == {("vector text",)}
    named = {point.id for point in found.partly_lost_points} | set(found.lost_ids)
    assert named == {i for i, point in points.items() if "text" in point.vectors}
    # A point that had nothing else is lost: its id alone is no point.
    assert set(found.lost_ids) == {
        i for i, p in points.items() if set(p.vectors) == {"text"} and not p.payload
    }


def test_a_point_without_its_only_vector_keeps_its_payload(
    closed: Source, copy_of: Callable[[Source], Path]
) -> None:
    path = copy_of(closed)
    for file in files(path, "plain", "vectors*"):
        cut(file)
    found = one(repaired(path, closed.stories), "plain")
    points = closed.stories["plain"].oracle.points
    assert set(found.lost_ids) == {i for i, p in points.items() if p.vectors and not p.payload}
    assert found.saved == len(points) - found.lost
    assert all(point.lost == ["vector"] for point in found.partly_lost_points)


def test_damaged_payload_offsets_are_worked_out_from_the_payloads(
    closed: Source, copy_of: Callable[[Source], Path]
) -> None:
    path = copy_of(closed)
    for file in files(path, "plain", "payload-offsets"):
        wreck(file)
    assert one(repaired(path, closed.stories), "plain").complete


def test_points_whose_ids_are_damaged_are_counted(
    closed: Source, copy_of: Callable[[Source], Path]
) -> None:
    path = copy_of(closed)
    wreck(files(path, "plain", "ids")[0])
    found = one(repaired(path, closed.stories), "plain")
    assert found.lost > 0
    assert found.lost_ids == []
    assert found.saved + found.lost == len(closed.stories["plain"].oracle.points)


def test_a_missing_segment_is_counted(closed: Source, copy_of: Callable[[Source], Path]) -> None:
    path = copy_of(closed)
    directory = files(path, "plain", "ids")[0].parent
    shutil.rmtree(directory)
    found = one(repaired(path, closed.stories), "plain")
    assert found.lost > 0
    assert found.saved + found.lost == len(closed.stories["plain"].oracle.points)
    assert [problem.path for problem in found.damaged] == [str(directory)]
    assert found.uncertain == 0


def test_only_the_damaged_block_is_lost(tmp_path: Path, rng: np.random.Generator) -> None:
    """64 KiB of vectors are 1 024 of 16 dimensions."""
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 16, "distance": "Dot"})
        vectors = rng.standard_normal((10_000, 16)).astype(np.float32)
        db.upsert("c", models.Batch(ids=np.arange(10_000), vectors=vectors))
    [file] = (tmp_path / "db").glob("collections/c/segments/*/vectors")
    data = bytearray(file.read_bytes())
    data[64 + 3 * 65536 + 5 : 64 + 3 * 65536 + 9] = b"\xff\xff\xff\xff"
    file.write_bytes(data)
    found = one(repair_database(tmp_path / "db", tmp_path / "new"), "c")
    assert found.lost_ids == list(range(3 * 1024, 4 * 1024))
    assert found.saved == 10_000 - 1024
    with VecDB(tmp_path / "new") as new:
        for record in new.retrieve("c", [0, 3071, 4096, 9999], with_vectors=True):
            assert np.array_equal(record.vector, vectors[record.id])


def test_a_sector_that_cannot_be_read(
    closed: Source, copy_of: Callable[[Source], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO is damage of one block, wherever it comes."""
    path = copy_of(closed)
    bad = {str(files(path, "plain", "payload")[0]): 100}
    bad[str(files(path, "named", "catalog")[0])] = 5000
    real = os.pread

    def pread(fd: int, size: int, offset: int) -> bytes:
        if offset <= bad.get(os.readlink(f"/proc/self/fd/{fd}"), -1) < offset + size:
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, size, offset)

    monkeypatch.setattr(salvage.os, "pread", pread)
    report = repaired(path, closed.stories)
    assert one(report, "plain").partly_lost > 0
    assert "Input/output error" in str(one(report, "named").damaged)


# -- the catalog -------------------------------------------------------------------------------


def test_without_a_catalog_deleted_points_may_be_back_and_are_counted(
    crashed: Source, copy_of: Callable[[Source], Path]
) -> None:
    path = copy_of(crashed)
    for collection in VECTORS:
        shutil.rmtree(path / "collections" / collection / "catalog")
    report = repaired(path, crashed.stories)
    assert {found.name for found in report.collections} == VECTORS.keys()
    for found in report.collections:
        points = crashed.stories[found.name].oracle.points
        assert found.lost == found.partly_lost == 0
        assert found.saved >= len(points), "nothing that lives is lost"
        assert 0 < found.saved - len(points) <= found.uncertain
        assert found.uncertain <= found.saved - 30, "30 were written anew in the log"
    with VecDB(path.with_name("damaged-new")) as db:
        for found in report.collections:
            records, _ = db.scroll(found.name, limit=10_000, with_vectors=True)
            living = crashed.stories[found.name].oracle
            assert set(living.points) <= {record.id for record in records}
            here = [record for record in records if record.id in living.points]
            assert wanted_difference(living, here) is None
            wanted = VECTORS[found.name]
            vectors = db.get_collection(found.name).config.params.vectors
            named = {"": vectors} if isinstance(vectors, models.VectorParams) else vectors
            assert {name: (v.size, v.distance.value) for name, v in named.items()} == wanted


@pytest.mark.parametrize("kept", ["config", "state", "segment", "alive"])
def test_of_a_wrecked_catalog_each_whole_row_is_used(
    kept: str, crashed: Source, copy_of: Callable[[Source], Path]
) -> None:
    """One bit in every row of all but one kind."""
    path = copy_of(crashed)
    [file] = files(path, "named", "catalog")
    data = bytearray(file.read_bytes())
    for key in (b"config", b"state", b"segment/", b"alive/"):
        if key.startswith(kept.encode()):
            continue
        at = data.find(key)
        while at >= 0:
            data[at + 30] ^= 1
            at = data.find(key, at + 1)
    file.write_bytes(data)
    found = one(repaired(path, crashed.stories), "named")
    assert found.error is None
    assert found.lost == 0
    assert found.saved >= len(crashed.stories["named"].oracle.points)
    if kept == "alive":  # what died before the last checkpoint is still known to be dead
        bare = path.with_name("bare")
        shutil.copytree(path, bare)
        remove(files(bare, "named", "catalog")[0])
        assert found.uncertain < one(repaired(bare, crashed.stories), "named").uncertain


def test_the_newer_of_two_states_is_used_whatever_the_meta_pages_say(
    closed: Source, copy_of: Callable[[Source], Path]
) -> None:
    """LMDB takes the meta page with the larger number, which one flipped bit can change."""
    path = copy_of(closed)
    [file] = files(path, "plain", "catalog")
    data = bytearray(file.read_bytes())
    numbers = [int.from_bytes(data[at + 144 : at + 152], "little") for at in (0, 4096)]
    older = 4096 * int(numbers[1] < numbers[0])
    data[older + 144 + 4] |= 1
    file.write_bytes(data)
    found = one(repaired(path, closed.stories), "plain")
    assert found.saved == len(closed.stories["plain"].oracle.points)
    require_equal(closed.path, path.with_name("damaged-new"))


def test_a_catalog_from_an_older_copy_hides_no_newer_segment(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    path = tmp_path / "db"
    with VecDB(path) as db:
        author = Author(db, 7)
        author.create()
        author.upsert("plain", range(50))
        db.flush()
        shutil.copytree(path / "collections/plain/catalog", tmp_path / "old")
        author.delete("plain", range(10))
        author.upsert("plain", range(100, 150))
        author.upsert("named", range(3))
    shutil.rmtree(path / "collections/plain/catalog")
    shutil.move(tmp_path / "old", path / "collections/plain/catalog")
    found = one(repaired(path, author.stories), "plain")
    assert found.saved == 100
    assert found.uncertain == 100


def test_a_catalog_of_another_collection_is_not_believed(
    closed: Source, copy_of: Callable[[Source], Path]
) -> None:
    path = copy_of(closed)
    shutil.rmtree(path / "collections/plain/catalog")
    shutil.copytree(path / "collections/named/catalog", path / "collections/plain/catalog")
    found = one(repaired(path, closed.stories), "plain")
    assert found.uncertain == found.saved >= len(closed.stories["plain"].oracle.points)


@pytest.mark.parametrize("empty", [True, False])
def test_a_catalog_of_another_collection_changes_no_metric_and_hides_no_point(
    empty: bool, tmp_path: Path
) -> None:
    path = tmp_path / "db"
    with VecDB(path) as db:
        for name, distance in (("c", "Dot"), ("other", "Euclid")):
            db.create_collection(name, {"size": 2, "distance": distance})
            if empty and name == "other":
                continue
            db.upsert(name, [models.PointStruct(id=1, vector=[1.0, 2.0])])
            db.upsert(name, [models.PointStruct(id=2, vector=[1.0, 2.0])])
            db.flush(name)
        db.delete("other", [2])
    shutil.rmtree(path / "collections/c/catalog")
    shutil.copytree(path / "collections/other/catalog", path / "collections/c/catalog")
    assert one(repair_database(path, tmp_path / "new"), "c").saved == 2
    with VecDB(tmp_path / "new") as db:
        vectors = db.get_collection("c").config.params.vectors
        assert isinstance(vectors, models.VectorParams)
        assert vectors.distance is models.Distance.DOT


def test_a_whole_file_of_another_life_of_the_database_is_not_believed(tmp_path: Path) -> None:
    """A copy of a database lives on by itself, and gives the same numbers to other segments."""
    for path in (tmp_path / "db", tmp_path / "copy"):
        if path.name == "db":
            with VecDB(path) as db:
                db.create_collection("c", {"size": 2, "distance": "Dot"})
            shutil.copytree(path, tmp_path / "copy")
        with VecDB(path) as db:
            vector = [1.0, float(path.name == "db")]
            db.upsert("c", [models.PointStruct(id=1, vector=vector, payload={"a": 1})])
    [ours] = files(tmp_path / "db", "c", "vectors*")
    [theirs] = files(tmp_path / "copy", "c", "vectors*")
    assert str(ours.relative_to(tmp_path / "db")) == str(theirs.relative_to(tmp_path / "copy"))
    shutil.copy(theirs, ours)
    found = one(repair_database(tmp_path / "db", tmp_path / "new"), "c")
    assert [(point.id, point.lost) for point in found.partly_lost_points] == [(1, ["vector"])]
    assert "not the file" in str(found.damaged)


def test_files_of_another_segment_or_collection_are_not_believed(
    closed: Source, copy_of: Callable[[Source], Path]
) -> None:
    path = copy_of(closed)
    for kind in ("payload", "payload-offsets", "seqs"):
        first, *_, last = files(path, "plain", kind)
        other = files(path, "named", kind)[0]
        shutil.copy(first, path / "kept")
        shutil.copy(other, first)
        shutil.copy(path / "kept", last)
        remove(path / "kept")
    found = one(repaired(path, closed.stories), "plain")
    assert found.partly_lost > 0
    assert "another" in str(found.damaged) or "not the file" in str(found.damaged)


def test_a_configuration_that_cannot_be_is_taken_from_a_manifest(
    closed: Source, copy_of: Callable[[Source], Path]
) -> None:
    path = copy_of(closed)
    catalog = Catalog(path / "collections/plain/catalog")
    state = catalog.read()
    change = Change(state.applied_seq, state.next_segment_id, state.live, {"params": "nonsense"})
    catalog.commit(change)
    assert repaired(path, closed.stories).complete
    require_equal(closed.path, path.with_name("damaged-new"))


def test_without_any_configuration_a_collection_is_lost(
    closed: Source, copy_of: Callable[[Source], Path]
) -> None:
    path = copy_of(closed)
    for file in [*files(path, "plain", "catalog"), *files(path, "plain", "manifest")]:
        remove(file)
    report = repaired(path, closed.stories)
    assert "configuration" in str(one(report, "plain").error)
    assert one(report, "named").complete
    assert not report.complete


# -- who it is ---------------------------------------------------------------------------------


def test_without_their_names_collections_are_called_by_their_directories(tmp_path: Path) -> None:
    names = ["c", "Ärger im Büro", "x" * 250]
    with VecDB(tmp_path / "db") as db:
        for name in names:
            db.create_collection(name, {"size": 2, "distance": "Dot"})
            db.upsert(name, [models.PointStruct(id=1, vector=[1.0, 2.0])])
    for file in (tmp_path / "db").rglob("FORMAT"):
        remove(file)
    report = repair_database(tmp_path / "db", tmp_path / "new")
    assert report.complete, "a name is no point"
    assert len(report.damaged) == 1
    found = {collection.name for collection in report.collections}
    assert {"c", "Ärger im Büro"} < found
    with VecDB(tmp_path / "new") as db:
        assert [db.count(name).count for name in found] == [1, 1, 1]


def test_a_restored_collection_has_taken_the_place_of_the_old_one(tmp_path: Path) -> None:
    """Whole and durable under its new name: a crash came before the old one was moved away."""
    parent = tmp_path / "db" / "collections"
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        shutil.copytree(parent / "c", tmp_path / "old")
        db.upsert("c", [models.PointStruct(id=1, vector=[1.0, 2.0])])
    (parent / "c").rename(parent / layout.restored_dir("c"))
    shutil.move(tmp_path / "old", parent / "c")
    (parent / layout.new_dir()).mkdir()
    report = repair_database(tmp_path / "db", tmp_path / "new")
    assert report.complete
    assert [collection.name for collection in report.collections] == ["c"]
    assert ids_of(tmp_path / "new") == [1]


def test_a_collection_of_a_newer_format_is_left_alone(
    closed: Source, copy_of: Callable[[Source], Path]
) -> None:
    path = copy_of(closed)
    line = pack_format_line({"format": 2, "uuid": "0" * 32, "name": b"plain".hex()})
    (path / "collections/plain/FORMAT").write_bytes(line)
    report = repaired(path, closed.stories)
    assert "format version 2" in str(one(report, "plain").error)
    assert one(report, "named").complete
    (path / "FORMAT").write_bytes(pack_format_line({"format": 2, "uuid": "0" * 32}))
    with pytest.raises(FormatVersionError):
        repair_database(path, path.with_name("never"))


# -- the log -----------------------------------------------------------------------------------


def make_log(path: Path) -> None:
    """Ten operations, each in a frame of its own, none in a segment."""
    with VecDB(path.with_name("living")) as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        for number in range(1, 11):
            db.upsert("c", [models.PointStruct(id=number, vector=[number, 1.0])])
        shutil.copytree(path.with_name("living"), path)


def ids_of(path: Path) -> list[Any]:
    with VecDB(path) as db:
        return [record.id for record in db.scroll("c", limit=100)[0]]


def frame_size(path: Path) -> int:
    """All frames of ``make_log`` are equally long."""
    size = path.stat().st_size - 64
    assert size % 10 == 0
    return size // 10


def test_a_hole_in_the_log_is_named_and_the_rest_applied(tmp_path: Path) -> None:
    path = tmp_path / "db"
    make_log(path)
    [file] = files(path, "c", "log")
    size = frame_size(file)
    for frame in (3, 4, 7):
        flip(file, 64 + frame * size + 50)
    found = one(repair_database(path, tmp_path / "new"), "c")
    assert [(gap.first, gap.last) for gap in found.log_gaps] == [(4, 5), (8, 8)]
    assert (found.operations, found.operations_lost, found.saved) == (7, 3, 7)
    assert ids_of(tmp_path / "new") == [1, 2, 3, 6, 7, 9, 10]


def test_a_flipped_bit_in_the_header_of_the_log_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "db"
    make_log(path)
    [file] = files(path, "c", "log")
    flip(file, 34)  # in the salt, without which no frame can be read
    assert repair_database(path, tmp_path / "new").complete
    assert ids_of(tmp_path / "new") == list(range(1, 11))


def test_a_missing_file_of_the_log_is_a_hole(tmp_path: Path) -> None:
    path = tmp_path / "db"
    make_log(path)
    later = tmp_path / "later"
    with VecDB(path) as db:
        db.upsert("c", [models.PointStruct(id=77, vector=[1.0, 1.0])])
        shutil.copytree(path, later)
    *_, file = files(later, "c", "log")
    file.rename(file.with_name(f"{20:020d}.wal"))
    found = one(repair_database(later, tmp_path / "new"), "c")
    assert [(gap.first, gap.last) for gap in found.log_gaps] == [(11, 19)]
    for file in files(later, "c", "log"):
        remove(file)
    found = one(repair_database(later, tmp_path / "new2"), "c")
    assert [(gap.first, gap.last) for gap in found.log_gaps] == [(11, None)]
    assert ids_of(tmp_path / "new2") == list(range(1, 11))


def test_an_old_file_of_the_log_brings_nothing_old_back(tmp_path: Path) -> None:
    """Its removal need not have been durable, and without a catalog it is not known to be old."""
    path = tmp_path / "db"
    with VecDB(path) as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        for value in (1, 2):
            rows = [models.PointStruct(id=i, vector=[1.0, value]) for i in range(3)]
            db.upsert("c", rows)
            if value == 1:
                [old] = files(path, "c", "log")
                shutil.copy(old, tmp_path / "old")
            db.flush()
    shutil.copy(tmp_path / "old", old)
    remove(files(path, "c", "catalog")[0])
    assert one(repair_database(path, tmp_path / "new"), "c").saved == 3
    with VecDB(tmp_path / "new") as db:
        records, _ = db.scroll("c", with_vectors=True)
    assert [list(record.vector) for record in records] == [[1.0, 2.0]] * 3


def test_what_a_later_file_of_the_log_replaced_is_not_applied(tmp_path: Path) -> None:
    """Recovery stops at a torn write and goes on in a new file; what stood behind is void."""
    path = tmp_path / "db"
    make_log(path)
    [file] = files(path, "c", "log")
    void = file.read_bytes()
    os.truncate(file, 64 + 5 * frame_size(file))
    with VecDB(path) as db:
        db.upsert("c", [models.PointStruct(id=100, vector=[1.0, 1.0])])
        shutil.copytree(path, tmp_path / "later")
    file = tmp_path / "later" / file.relative_to(path)
    file.write_bytes(void)
    flip(file, 64 + 5 * frame_size(file) + 50)  # the write that was torn
    remove(files(tmp_path / "later", "c", "catalog")[0])
    found = one(repair_database(tmp_path / "later", tmp_path / "new"), "c")
    assert found.log_gaps == []
    assert ids_of(tmp_path / "new") == [1, 2, 3, 4, 5, 100]


def test_edits_of_lost_points_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with VecDB(tmp_path / "living") as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        rows = [models.PointStruct(id=i, vector=[1.0, i], payload={"i": i}) for i in range(9)]
        db.upsert("c", rows)
        db.flush()
        db.set_payload("c", {"edited": True}, [1, 2, 3])
        db.upsert("c", rows[5:])
        shutil.copytree(tmp_path / "living", path)
    wreck(files(path, "c", "ids")[0])
    found = one(repair_database(path, tmp_path / "new"), "c")
    assert (found.edits_skipped, found.lost, found.saved) == (3, 9, 4)
    assert ids_of(tmp_path / "new") == [5, 6, 7, 8]


def test_the_log_makes_good_what_a_segment_has_lost(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with VecDB(tmp_path / "living") as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        rows = [models.PointStruct(id=i, vector=[1.0, i], payload={"i": i}) for i in range(6)]
        db.upsert("c", rows)
        db.flush()
        db.upsert("c", rows[:2])
        db.overwrite_payload("c", {"new": 1}, [2])
        db.delete("c", [3])
        shutil.copytree(tmp_path / "living", path)
    wreck(files(path, "c", "payload")[0])
    found = one(repair_database(path, tmp_path / "new"), "c")
    assert [point.id for point in found.partly_lost_points] == [4, 5]
    assert found.lost == 0
    with VecDB(tmp_path / "new") as db:
        payloads = {record.id: record.payload for record in db.scroll("c", limit=10)[0]}
    assert payloads == {0: {"i": 0}, 1: {"i": 1}, 2: {"new": 1}, 4: {}, 5: {}}


# -- vector names that came and went after the configuration that is left -----------------------

Named = dict[str, dict[str, Any]]
A: Named = {"a": {"size": 4, "distance": "Dot"}}
AB: Named = A | {"b": {"size": 2, "distance": "Euclid"}}


def with_names_changed(path: Path, vectors: Named, change: Callable[[VecDB], None]) -> None:
    """Six points in a segment, then what ``change`` writes in the log; the catalog is destroyed."""
    living = path.with_name("living")
    with VecDB(living) as db:
        db.create_collection("c", vectors)
        given = {name: [1.0] * params["size"] for name, params in vectors.items()}
        rows = [models.PointStruct(id=i, vector=given, payload={"i": i}) for i in range(6)]
        db.upsert("c", rows)
        db.flush()
        change(db)
        shutil.copytree(living, path)
    catalog = path / "collections/c/catalog/data.mdb"
    catalog.write_bytes(np.random.default_rng(1).bytes(catalog.stat().st_size))


def dense(size: int, distance: str) -> dict[str, Any]:
    return {"dense": {"size": size, "distance": distance}}


def named_vectors(path: Path) -> tuple[Named, dict[Any, dict[str, list[float]]]]:
    """What the vector names of the collection are, and the vectors of each point."""
    require_sound(path)
    with VecDB(path) as db:
        config = db.get_collection("c").config.params.vectors
        assert isinstance(config, dict)
        records, _ = db.scroll("c", limit=100, with_vectors=True)
        named = {n: {"size": v.size, "distance": v.distance.value} for n, v in config.items()}
        vectors = {r.id: {n: list(v) for n, v in vectors_of(r).items()} for r in records}
        return named, vectors


@pytest.mark.parametrize("vectors", [A, AB])
def test_points_written_after_a_vector_name_went_are_saved(vectors: Named, tmp_path: Path) -> None:
    """They were refused, and not counted as lost; vectors that had been dropped were counted."""

    def drop(db: VecDB) -> None:
        db.delete_vector_name("c", "a")
        rest = {"b": [3.0, 4.0]} if "b" in vectors else {}
        rows = [models.PointStruct(id=i, vector=rest, payload={"i": i}) for i in range(10, 20)]
        db.upsert("c", rows)
        db.set_payload("c", {"edited": True}, [1, 11])

    with_names_changed(tmp_path / "db", vectors, drop)
    found = one(repair_database(tmp_path / "db", tmp_path / "new"), "c")
    assert (found.saved, found.lost, found.partly_lost, found.operations) == (16, 0, 0, 2)
    assert found.unusable_operations == found.guessed == []
    named, saved = named_vectors(tmp_path / "new")
    assert named == {n: params for n, params in vectors.items() if n != "a"}
    kept = {"b": [1.0, 1.0]} if "b" in vectors else {}
    rest = {"b": [3.0, 4.0]} if "b" in vectors else {}
    assert saved == dict.fromkeys(range(6), kept) | dict.fromkeys(range(10, 20), rest)
    with VecDB(tmp_path / "new") as db:
        payloads = [record.payload for record in db.retrieve("c", [1, 11])]
    assert payloads == [{"i": 1, "edited": True}, {"i": 11, "edited": True}]


@pytest.mark.parametrize("by", ["upsert", "update_vectors"])
def test_vectors_of_a_name_that_came_later_are_saved(by: str, tmp_path: Path) -> None:
    """What its distance was is in no operation: the report says what it is taken for."""

    def add(db: VecDB) -> None:
        db.create_vector_name("c", "b", dense(2, "Euclid"))
        if by == "upsert":
            vector: Any = {"a": [2.0] * 4, "b": [3.0, 4.0]}
            db.upsert("c", [models.PointStruct(id=10, vector=vector)])
        db.update_vectors("c", [models.PointVectors(id=1, vector={"b": [5.0, 6.0]})])
        db.delete_vectors("c", ["b"], [2])

    with_names_changed(tmp_path / "db", A, add)
    report = repair_database(tmp_path / "db", tmp_path / "new")
    found = one(report, "c")
    assert (found.lost, found.partly_lost, found.unusable_operations) == (0, 0, [])
    assert found.guessed == ["vector b: Dot"]
    assert not found.complete
    named, saved = named_vectors(tmp_path / "new")
    assert named == A | {"b": {"size": 2, "distance": "Dot"}}
    expected = {i: {"a": [1.0] * 4} for i in range(6)}
    expected[1] |= {"b": [5.0, 6.0]}
    if by == "upsert":
        expected[10] = {"a": [2.0] * 4, "b": [3.0, 4.0]}
    assert saved == expected
    assert "vector b: Dot" in run("repair", tmp_path / "db", "--to", tmp_path / "again").stdout


def test_vectors_of_a_name_of_another_dimension_now_are_saved(tmp_path: Path) -> None:
    def replace(db: VecDB) -> None:
        db.delete_vector_name("c", "b")
        db.create_vector_name("c", "b", dense(3, "Cosine"))
        vector: Any = {"a": [2.0] * 4, "b": [0.0, 0.0, 7.0]}
        db.upsert("c", [models.PointStruct(id=i, vector=vector) for i in (5, 10)])
        db.update_vectors("c", [models.PointVectors(id=1, vector={"b": [0.0, 5.0, 0.0]})])

    with_names_changed(tmp_path / "db", AB, replace)
    found = one(repair_database(tmp_path / "db", tmp_path / "new"), "c")
    assert (found.saved, found.lost, found.partly_lost) == (7, 0, 0)
    assert found.guessed == ["vector b: Dot"]
    assert found.unusable_operations == []
    named, saved = named_vectors(tmp_path / "new")
    assert named == A | {"b": {"size": 3, "distance": "Dot"}}
    written = {"a": [2.0] * 4, "b": [0.0, 0.0, 1.0]}
    expected = {i: {"a": [1.0] * 4} for i in range(5)} | {5: written, 10: written}
    expected[1] |= {"b": [0.0, 1.0, 0.0]}
    assert saved == expected


def test_vectors_of_a_name_that_went_and_came_again_are_not_taken_for_lost(tmp_path: Path) -> None:
    def again(db: VecDB) -> None:
        db.delete_vector_name("c", "b")
        db.upsert("c", [models.PointStruct(id=10, vector={"a": [2.0] * 4})])
        db.create_vector_name("c", "b", dense(2, "Manhattan"))
        db.upsert("c", [models.PointStruct(id=11, vector={"b": [3.0, 4.0]})])

    with_names_changed(tmp_path / "db", AB, again)
    found = one(repair_database(tmp_path / "db", tmp_path / "new"), "c")
    assert (found.saved, found.lost, found.partly_lost) == (8, 0, 0)
    assert found.guessed == ["vector b: Euclid"], "as an older configuration says; not certain"
    expected = {i: {"a": [1.0] * 4} for i in range(6)}
    expected |= {10: {"a": [2.0] * 4}, 11: {"b": [3.0, 4.0]}}
    assert named_vectors(tmp_path / "new") == (AB, expected)


def test_what_an_old_file_of_the_log_says_of_vector_names_counts_for_nothing(
    tmp_path: Path,
) -> None:
    """The segment has been written since, with a configuration that knows the newer names."""
    path = tmp_path / "db"
    with VecDB(path) as db:
        db.create_collection("c", A)
        db.upsert("c", [models.PointStruct(id=1, vector={"a": [1.0] * 4})])
        [old] = files(path, "c", "log")
        shutil.copy(old, tmp_path / "old")
        db.create_vector_name("c", "b", dense(2, "Euclid"))
        db.upsert("c", [models.PointStruct(id=2, vector={"b": [1.0, 2.0]})])
        db.flush()
        db.update_vectors("c", [models.PointVectors(id=1, vector={"b": [3.0, 4.0]})])
    shutil.copy(tmp_path / "old", old)
    remove(files(path, "c", "catalog")[0])
    found = one(repair_database(path, tmp_path / "new"), "c")
    assert (found.lost, found.partly_lost, found.guessed) == (0, 0, [])
    named, saved = named_vectors(tmp_path / "new")
    assert named == AB
    assert saved == {1: {"a": [1.0] * 4, "b": [3.0, 4.0]}, 2: {"b": [1.0, 2.0]}}


def test_a_vector_that_is_lost_stays_lost_whatever_names_came(tmp_path: Path) -> None:
    def add(db: VecDB) -> None:
        db.create_vector_name("c", "b", dense(2, "Euclid"))
        db.upsert("c", [models.PointStruct(id=5, vector={"b": [3.0, 4.0]})])

    with_names_changed(tmp_path / "db", A, add)
    remove(files(tmp_path / "db", "c", "vectors*")[0])
    found = one(repair_database(tmp_path / "db", tmp_path / "new"), "c")
    assert [(p.id, p.lost) for p in found.partly_lost_points] == [
        (i, ["vector a"]) for i in range(5)
    ]
    assert named_vectors(tmp_path / "new")[1] == {i: {} for i in range(5)} | {5: {"b": [3.0, 4.0]}}


# -- any damage --------------------------------------------------------------------------------


def random_damage(path: Path, rng: np.random.Generator) -> list[str]:
    """One to six kinds of harm to any files; what was done."""
    done = []
    for _ in range(int(rng.integers(1, 7))):
        names = sorted(str(file) for file in path.rglob("*") if file.is_file())
        file = Path(names[int(rng.integers(len(names)))])
        if file.name in ("LOCK", "lock.mdb"):
            continue
        size = max(1, file.stat().st_size)
        at, length = int(rng.integers(size)), int(rng.integers(1, 200))
        what = str(rng.choice(["flip", "noise", "zeros", "cut", "remove", "swap", "directory"]))
        done.append(f"{what} {file.relative_to(path)} {at} {length}")
        data = bytearray(file.read_bytes())
        if what == "flip" and data:
            data[at] ^= 1 << int(rng.integers(8))
        elif what == "noise":
            data[at : at + length] = rng.bytes(len(data[at : at + length]))
        elif what == "zeros":
            data[at : at + 512] = bytes(len(data[at : at + 512]))
        elif what == "cut":
            data = data[:at]
        elif what == "swap":
            alike = [Path(name) for name in names if Path(name).name == file.name]
            data = bytearray(alike[int(rng.integers(len(alike)))].read_bytes())
        file.write_bytes(data)
        if what == "remove":
            remove(file)
        elif what == "directory" and rng.random() < 0.2:
            shutil.rmtree(file.parent if file.parent != path else path / "collections" / "plain")
    return done


@pytest.mark.slow
@pytest.mark.parametrize("seed", first_few(6, range(25 * SCALE)))
def test_random_damage(
    seed: int, closed: Source, crashed: Source, copy_of: Callable[[Source], Path]
) -> None:
    rng = np.random.default_rng([20_261_122, seed])
    source = crashed if seed % 3 else closed
    path = copy_of(source)
    done = random_damage(path, rng)
    try:
        repaired(path, source.stories)
    except (NotADatabaseError, CorruptionError):
        assert not (path / "collections").is_dir()
    except BaseException:
        print(f"seed {seed}: {done}")
        raise
    for name in VECTORS:  # a collection to which nothing was done is saved wholly
        if not any(f"collections/{name}/" in line or "directory" in line for line in done):
            shutil.rmtree(path.with_name("damaged-new"))
            assert one(repaired(path, source.stories), name).complete


# -- from where, to where ----------------------------------------------------------------------


def test_a_database_that_is_open_is_refused(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db"), pytest.raises(LockedError, match=f"pid {os.getpid()}"):
        repair_database(tmp_path / "db", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_only_a_new_or_empty_directory_is_written_to(closed: Source, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("keep")
    (tmp_path / "file").write_text("keep")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for to in (full, tmp_path / "file", tmp_path / "link", tmp_path / "no" / "parent"):
        with pytest.raises(InvalidInputError, match=str(to)):
            repair_database(closed.path, to)
    for to in (closed.path, closed.path / "inside", closed.path.parent):
        with pytest.raises(InvalidInputError, match="outside"):
            repair_database(closed.path, to)
    assert bytes_of(full) == {"mine": b"keep"}
    (tmp_path / "empty").mkdir()
    assert repair_database(closed.path, tmp_path / "empty").complete
    require_equal(closed.path, tmp_path / "empty")


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(NotADatabaseError):
            repair_database(path, tmp_path / "new")
    VecDB(tmp_path / "db").close()
    shutil.rmtree(tmp_path / "db" / "collections")
    with pytest.raises(CorruptionError, match="collections"):
        repair_database(tmp_path / "db", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left")])
@pytest.mark.parametrize("existed", [True, False])
def test_what_was_made_is_removed_when_it_stops(
    error: Any, existed: bool, crashed: Source, tmp_path: Path
) -> None:
    target = tmp_path / "new"
    if existed:
        target.mkdir()

    def stop(done: int, total: int) -> None:
        assert 0 < done <= total
        assert not (target / "FORMAT").exists(), "nobody takes it for a database"
        if done > total // 2:
            raise error

    with pytest.raises(type(error) if isinstance(error, OSError) else error):
        repair_database(crashed.path, target, stop)
    assert target.exists() == existed
    assert not existed or not list(target.iterdir())
    assert repair_database(crashed.path, target).complete


def test_what_a_killed_repair_leaves_is_not_taken_for_a_database(
    crashed: Source, tmp_path: Path
) -> None:
    code = f"""
import os
from vecdb.engine.repair.rebuild import repair_database

def progress(done, total):
    if done > total // 2:
        os._exit(9)

repair_database({str(crashed.path)!r}, {str(tmp_path / "new")!r}, progress)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(vecdb.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=120, check=False)
    assert done.returncode == 9
    assert list((tmp_path / "new" / "collections").iterdir())
    with pytest.raises(NotADatabaseError):
        VecDB(tmp_path / "new")
    with pytest.raises(InvalidInputError, match="new or an empty"):
        repair_database(crashed.path, tmp_path / "new")


@pytest.mark.parametrize("error", [errno.EACCES, errno.EMFILE])
def test_what_may_not_be_read_is_not_lost(
    error: int, closed: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It was taken for damage: the new database had no vectors.
    def refuse(path: Path) -> Any:
        if path.name.startswith("vectors"):
            raise OSError(error, os.strerror(error), str(path))
        return io.FileIO(path)

    monkeypatch.setattr(salvage, "FileIO", refuse)
    with pytest.raises(OSError, match="vectors") as caught:
        repair_database(closed.path, tmp_path / "new")
    assert caught.value.errno == error
    assert not (tmp_path / "new").exists()


def test_a_full_disk_leaves_nothing(
    crashed: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fs.AppendFile.append

    def append(self: Any, buffers: Any) -> None:
        if self.path.name == "vectors.text":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, buffers)

    monkeypatch.setattr(fs.AppendFile, "append", append)
    with pytest.raises(OSError, match="No space"):
        repair_database(crashed.path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


# -- the command -------------------------------------------------------------------------------


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    root = str(Path(vecdb.__file__).parent.parent)
    return subprocess.run(
        [sys.executable, "-m", "vecdb", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": root},
    )


def test_the_command_says_what_was_saved(
    crashed: Source, copy_of: Callable[[Source], Path], tmp_path: Path
) -> None:
    path = copy_of(crashed)
    done = run("repair", path, "--to", tmp_path / "a")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("everything was saved: 2 collections, ")
    wreck(files(path, "plain", "ids")[0])
    remove(files(path, "named", "payload")[0])
    flip(files(path, "named", "log")[0], 100)
    done = run("repair", path, "--to", tmp_path / "b")
    assert (done.returncode, done.stderr) == (1, "")
    for words in (
        "SOMETHING WAS LOST",
        "their ids are lost",
        "(payload)",
        "Lost of the log",
        "ids",
    ):
        assert words in done.stdout, done.stdout
    done = run("repair", path, "--to", tmp_path / "c", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    report = json.loads(done.stdout)
    assert report["complete"] is False
    assert [c["name"] for c in report["collections"]] == ["named", "plain"]
    done = run("repair", path, "--to", tmp_path / "c")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"vecdb: {tmp_path / 'c'} exists;")
