"""Where originals and codes live: configured, switched without rewriting, never seen in answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB, models

ROWS, DIM = 1000, 64  # 250 KB
RNG = np.random.default_rng(3)
VECTORS = RNG.standard_normal((ROWS, DIM)).astype(np.float32)
QUERIES = RNG.standard_normal((5, DIM)).astype(np.float32)
RAM, DISK, CACHED = "pinned", "cold", "cached"

# always_ram of the codes, memmap_threshold, on_disk of the vector -> originals, codes
MODES: dict[str, tuple[bool | None, int | None, bool | None, str, str]] = {
    "all in RAM": (True, None, None, RAM, RAM),
    "all in RAM, unset": (None, None, None, RAM, CACHED),
    "originals on disk": (True, 100, None, DISK, RAM),
    "all on disk": (False, 100, None, DISK, CACHED),
    "codes follow to disk": (None, 100, None, DISK, CACHED),
    "below the threshold": (None, 1000, None, RAM, CACHED),
    "threshold zero": (None, 0, None, RAM, CACHED),
    "vector on disk": (True, None, True, DISK, RAM),
    "vector on disk, codes follow": (None, None, True, DISK, CACHED),
    "vector kept in RAM": (None, 100, False, RAM, CACHED),
    "only codes on disk": (False, None, None, RAM, CACHED),
}


@pytest.fixture
def open_db(tmp_path: Path) -> Iterator[Callable[[], VecDB]]:
    opened: list[VecDB] = []

    def open_() -> VecDB:
        for db in opened:
            db.close()
        opened.append(VecDB(tmp_path / "db", sync="never"))
        return opened[-1]

    yield open_
    for db in opened:
        db.close()


def scalar(always_ram: bool | None) -> dict[str, Any]:
    config: dict[str, Any] = {"type": "int8"}
    if always_ram is not None:
        config["always_ram"] = always_ram
    return {"scalar": config}


def fill(db: VecDB, quantization: Any, memmap: int | None, on_disk: bool | None) -> None:
    optimizers = {"indexing_threshold": 200, "default_segment_number": 2}
    if memmap is not None:
        optimizers["memmap_threshold"] = memmap
    db.create_collection(
        "c",
        models.VectorParams(size=DIM, distance=models.Distance.COSINE, on_disk=on_disk),
        quantization_config=quantization,
        optimizers_config=optimizers,
    )
    payloads = [{"n": n} for n in range(ROWS)]
    db.upsert("c", models.Batch(ids=np.arange(ROWS), vectors=VECTORS, payloads=payloads))
    db.flush("c")
    assert db.wait_for_optimizer("c", timeout=60)
    db.upsert("c", [{"id": ROWS, "vector": QUERIES[0], "payload": {"n": ROWS}}])
    db.delete("c", [1, 2])
    db.flush("c")  # a small second segment


def placements(db: VecDB) -> tuple[str, str | None]:
    """Of the large segment."""
    segment = max(db.get_collection("c").segments, key=lambda s: s.points)
    part = segment.vectors[""]
    return part.placement, part.codes_placement


def answers(db: VecDB) -> Any:
    found = []
    for query in QUERIES:
        for quantization in (None, {"rescore": False}, {"ignore": True}, {"oversampling": 3.0}):
            hits = db.search(
                "c",
                query,
                search_params={"quantization": quantization},
                query_filter={"must": [{"key": "n", "range": {"gte": 10}}]},
                with_vectors=True,
            )
            found.append([(h.id, h.version, h.payload, h.vector, h.score) for h in hits])
    return found, db.scroll("c", limit=2000, with_vectors=True)[0]


def files(db: VecDB) -> dict[str, tuple[int, int, int]]:
    """Every file of the segments: inode, time of change and size."""
    found = {}
    for path in sorted(db.path.glob("collections/*/segments/*/*")):
        status = os.stat(path)
        found[str(path)] = (status.st_ino, status.st_mtime_ns, status.st_size)
    assert found
    return found


@pytest.mark.parametrize("mode", MODES)
def test_modes(open_db: Any, mode: str) -> None:
    always_ram, memmap, on_disk, originals, codes = MODES[mode]
    db = open_db()
    fill(db, scalar(always_ram), memmap, on_disk)
    assert placements(db) == (originals, codes)
    before, on_disk_before = answers(db), files(db)
    db = open_db()
    assert placements(db) == (originals, codes)
    assert answers(db) == before
    assert files(db) == on_disk_before
    small = min(db.get_collection("c").segments, key=lambda s: s.points)
    assert small.vectors[""].quantization is None
    assert small.vectors[""].placement == (DISK if on_disk else RAM)


@pytest.mark.slow
def test_answers_are_the_same_in_every_mode(tmp_path: Path) -> None:
    seen = []
    for number, (always_ram, memmap, on_disk, _, _) in enumerate(MODES.values()):
        with VecDB(tmp_path / str(number), sync="never") as db:
            fill(db, scalar(always_ram), memmap, on_disk)
            seen.append(answers(db))
    assert all(other == seen[0] for other in seen)


@pytest.mark.parametrize("kind", ["scalar", "binary", "product"])
def test_switching_reopens_and_rewrites_nothing(open_db: Any, kind: str) -> None:
    details: dict[str, Any] = {"scalar": {"type": "int8"}, "product": {"compression": "x8"}}

    def config(always_ram: bool) -> Any:
        return {kind: {**details.get(kind, {}), "always_ram": always_ram}}

    db = open_db()
    fill(db, config(True), None, None)
    before, stored = answers(db), files(db)
    completed = db.get_collection("c").optimizer_progress.completed
    switches: list[tuple[dict[str, Any], str, str]] = [
        ({"optimizers_config": {"memmap_threshold": 100}}, DISK, RAM),
        ({"quantization_config": config(False)}, DISK, CACHED),
        ({"optimizers_config": {"memmap_threshold": 0}}, RAM, CACHED),
        ({"vectors_config": {"": {"on_disk": True}}}, DISK, CACHED),
        ({"quantization_config": config(True)}, DISK, RAM),
        ({"vectors_config": {"": {"on_disk": False}}}, RAM, RAM),
        ({"optimizers_config": {"memmap_threshold": 1}}, RAM, RAM),  # on_disk=False wins
        (
            {
                "vectors_config": {"": models.VectorParamsDiff(on_disk=True)},
                "quantization_config": config(False),
            },
            DISK,
            CACHED,
        ),
    ]
    for change, originals, codes in switches:
        db.update_collection("c", **change)
        assert db.wait_for_optimizer("c", timeout=60)
        assert placements(db) == (originals, codes), change
        assert answers(db) == before
        assert files(db) == stored
    assert db.get_collection("c").optimizer_progress.completed == completed
    db = open_db()
    assert placements(db) == (DISK, CACHED)
    assert answers(db) == before
    assert files(db) == stored


def test_a_search_goes_on_over_a_switch(open_db: Any) -> None:
    """A handle and results from before a switch are as good as new."""
    db = open_db()
    fill(db, scalar(True), None, None)
    collection = db.collection("c")
    before = collection.search(QUERIES[0])
    db.update_collection("c", optimizers_config={"memmap_threshold": 1})
    assert collection.search(QUERIES[0]) == before
    db.upsert("c", [{"id": 5, "vector": QUERIES[0]}])
    assert {h.id for h in collection.search(QUERIES[0], limit=2)} == {5, ROWS}


def test_each_vector_name_has_its_own_place(open_db: Any) -> None:
    db = open_db()
    params = {"size": DIM, "distance": "Dot"}
    db.create_collection(
        "c",
        {
            "a": {**params, "on_disk": True, "quantization_config": scalar(True)},
            "b": {**params, "on_disk": False},
            "d": {**params, "quantization_config": {"binary": {"always_ram": False}}},
        },
        optimizers_config={"indexing_threshold": 100},
    )
    columns = dict.fromkeys("abd", VECTORS)
    db.upsert("c", models.Batch(ids=np.arange(ROWS), vectors=columns))
    db.flush("c")
    assert db.wait_for_optimizer("c", timeout=60)
    wanted = {"a": (DISK, RAM), "b": (RAM, None), "d": (RAM, CACHED)}
    for _ in range(2):
        (segment,) = db.get_collection("c").segments
        found = {n: (v.placement, v.codes_placement) for n, v in segment.vectors.items()}
        assert found == wanted
        db = open_db()
    stored = files(db)
    db.update_collection("c", vectors_config={"b": {"on_disk": True}, "d": {"on_disk": True}})
    (segment,) = db.get_collection("c").segments
    assert {n: v.placement for n, v in segment.vectors.items()} == dict.fromkeys("abd", DISK)
    assert files(db) == stored


def test_a_refused_switch_changes_nothing(open_db: Any) -> None:
    db = open_db()
    fill(db, scalar(True), None, None)
    before = models.to_builtins(db.get_collection("c").config)
    with pytest.raises(ValueError, match="on_disk"):
        db.update_collection(
            "c", optimizers_config={"memmap_threshold": 1}, vectors_config={"": {"on_disk": "no"}}
        )
    assert models.to_builtins(db.get_collection("c").config) == before
    assert placements(db) == (RAM, RAM)
