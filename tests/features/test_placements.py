"""Placements: any part is pinned, cached or cold, as ``memory`` or an older name says; switched at
once, without a byte rewritten, and seen by the kernel as by the report."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB, models
from vecdb.errors import InvalidInputError
from vecdb.storage.files import BY_KIND
from vecdb.storage.placements import Placements, VectorPlacements

ROWS, DIM = 2000, 64
RNG = np.random.default_rng(7)
VECTORS = RNG.standard_normal((ROWS, DIM)).astype(np.float32)
QUERIES = RNG.standard_normal((4, DIM)).astype(np.float32)
MEMORY = ("pinned", "cached", "cold")
FIELD = {"type": "keyword"}
CODES = {"type": "int8"}
SPARSE = [{"indices": [n % 50, 50 + n % 7], "values": [1.0, 0.5]} for n in range(ROWS)]


def create(db: VecDB, **config: Any) -> None:
    given: dict[str, Any] = {
        "vectors_config": {"v": {"size": DIM, "distance": "Cosine"}},
        "sparse_vectors_config": {"s": {}},
        "quantization_config": {"scalar": CODES},
        "optimizers_config": {"indexing_threshold": 100},
        **config,
    }
    db.create_collection("c", **given)


def fill(db: VecDB) -> None:
    db.create_payload_index("c", "word", "keyword")
    payloads = [{"word": f"word {n % 40}", "text": "x" * 50} for n in range(ROWS)]
    vectors = {"v": VECTORS, "s": SPARSE}
    db.upsert("c", models.Batch(ids=range(ROWS), vectors=vectors, payloads=payloads))
    db.flush("c")
    assert db.wait_for_optimizer("c", timeout=120)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[VecDB]:
    with VecDB(tmp_path / "db", sync="never") as db:
        create(db)
        fill(db)
        yield db


def place(db: VecDB, part: str, memory: str) -> None:
    """Say where a part is to be, in the words that it has for that."""
    if part == "originals":
        db.update_collection("c", vectors_config={"v": {"memory": memory}})
    elif part == "codes":
        codes = {"scalar": {**CODES, "memory": memory}}
        db.update_collection("c", quantization_config=codes)
    elif part == "index":
        db.update_collection("c", hnsw_config={"memory": memory})
    elif part == "sparse index":
        db.update_collection("c", sparse_vectors_config={"s": {"index": {"memory": memory}}})
    elif part == "columns":
        db.create_payload_index("c", "word", {**FIELD, "memory": memory})
    else:
        name = {"ids": "id_tracker", "payload": "payload"}[part]
        db.update_collection("c", collection_params={name: {"memory": memory}})


# Which files that is of, as they are called.
PARTS = {
    "originals": ("vectors.v",),
    "codes": ("codes.v",),
    "index": ("sketch.v",),
    "sparse index": ("postings.s", "terms.s"),
    "ids": ("ids", "order", "seqs"),
    "payload": ("payload", "payload-offsets"),
    "columns": ("column.word",),
}


def answers(db: VecDB) -> Any:
    word = {"must": [{"key": "word", "match": {"value": "word 3"}}]}
    found: list[Any] = [db.scroll("c", limit=50, with_vectors=True)]
    for query in QUERIES:
        for more in ({}, {"query_filter": word}, {"search_params": {"exact": True}}):
            asked: dict[str, Any] = {"using": "v", "with_payload": True, **more}
            found.append(db.query_points("c", query=query, **asked).points)
    found.append(db.query_points("c", query={"indices": [3, 51], "values": [1, 1]}, using="s"))
    return found


def segment_files(db: VecDB) -> dict[str, tuple[int, int, int]]:
    status = {p.name: p.stat() for p in db.path.glob("collections/c/segments/*/*")}
    return {name: (s.st_ino, s.st_mtime_ns, s.st_size) for name, s in status.items()}


def arrays(db: VecDB) -> dict[str, Any]:
    """The open files of the one segment."""
    [state] = db.collection("c")._store.files.values()
    return state.segment.arrays


def mappings(path: Path) -> list[dict[str, Any]]:
    """What smaps has of the mappings of a file: their figures in bytes, and their flags."""
    found: list[dict[str, Any]] = []
    inside = False
    with open("/proc/self/smaps") as smaps:
        for line in smaps:
            words = line.split(maxsplit=5)
            if "-" in words[0] and not words[0].endswith(":"):
                inside = len(words) == 6 and words[5].strip() == str(path)
                if inside:
                    found.append({})
            elif inside and words[0] == "VmFlags:":
                found[-1]["flags"] = line.split()[1:]
            elif inside:
                found[-1][words[0].rstrip(":")] = int(words[1]) * 1024
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_where_it_is_said_to_be(db: VecDB, part: str) -> None:
    """By smaps: a pinned file is not mapped, and a cold one is mapped for random access."""
    before, stored = answers(db), segment_files(db)
    done = db.get_collection("c").optimizer_progress.completed
    for memory in (*MEMORY, *reversed(MEMORY)):
        place(db, part, memory)
        opened = arrays(db)
        for name in PARTS[part]:
            array = opened[name]
            assert array.placement == memory
            here = mappings(array.path.resolve())
            if memory == "pinned":
                assert array.mapped_size == 0
                assert array.anonymous_size >= array.header.data_size
                assert here == []
            else:
                assert array.anonymous_size == 0
                [mapping] = here
                assert mapping["Size"] == array.mapped_size
                assert ("rr" in mapping["flags"]) == (memory == "cold")
        assert answers(db) == before
        assert segment_files(db) == stored
    assert db.get_collection("c").optimizer_progress.completed == done
    others = set(opened) - set(PARTS[part])
    assert {opened[name].placement for name in others if BY_KIND[opened[name].header.kind].placed}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_nothing_is_read_of_is_not_resident(db: VecDB) -> None:
    """A quantizer and an index are copied when they are opened: their files stayed in memory."""
    for name in ("quantizer.v", "index.v", "manifest"):
        array = arrays(db)[name]
        assert sum(mapping["Rss"] for mapping in mappings(array.path.resolve())) == 0
        assert array.anonymous_size == (0 if name == "manifest" else array.header.data_size)


def test_placements_outlive_the_process(db: VecDB, tmp_path: Path) -> None:
    for part, memory in zip(PARTS, MEMORY * 3, strict=False):
        place(db, part, memory)
    before = {name: array.placement for name, array in arrays(db).items()}
    found = answers(db)
    assert set(before.values()) == set(MEMORY)
    db.close()
    with VecDB(tmp_path / "db") as again:
        assert {name: array.placement for name, array in arrays(again).items()} == before
        assert answers(again) == found
    with VecDB(tmp_path / "db", read_only=True) as reader:
        assert {name: array.placement for name, array in arrays(reader).items()} == before
        assert answers(reader) == found


def test_placements_of_a_new_collection(tmp_path: Path) -> None:
    """What is said at the beginning is as good, and it is shown."""
    with VecDB(tmp_path / "db", sync="never") as db:
        create(
            db,
            vectors_config={
                "v": {
                    "size": DIM,
                    "distance": "Cosine",
                    "memory": "cached",
                    "hnsw_config": {"memory": "cold"},
                    "quantization_config": {"binary": {"memory": "pinned"}},
                }
            },
            sparse_vectors_config={"s": {"index": {"memory": "cold"}}},
            payload={"memory": "cold"},
            id_tracker={"memory": "pinned"},
        )
        fill(db)
        found = {name: array.placement for name, array in arrays(db).items()}
        assert found["vectors.v"] == "cached"
        assert found["codes.v"] == "pinned"
        assert found["sketch.v"] == "cold"
        assert found["postings.s"] == found["sparse-values.s"] == "cold"
        assert found["payload"] == "cold"
        assert found["ids"] == "pinned"
        config = models.to_builtins(db.get_collection("c").config)
        assert config["params"]["payload"] == {"memory": "cold"}
        assert config["params"]["id_tracker"] == {"memory": "pinned"}
        assert config["params"]["vectors"]["v"]["memory"] == "cached"
        [segment] = db.get_collection("c").segments
        vector = segment.vectors["v"]
        assert (vector.placement, vector.codes_placement) == ("cached", "pinned")
        assert vector.index is not None
        assert vector.index.placement == "cold"


OLDER: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"vectors_config": {"v": {"on_disk": True}}}, {"vectors.v": "cold", "sketch.v": "cached"}),
    ({"vectors_config": {"v": {"on_disk": False}}}, {"vectors.v": "pinned", "sketch.v": "pinned"}),
    ({"optimizers_config": {"memmap_threshold": 1}}, {"vectors.v": "cold"}),
    ({"quantization_config": {"scalar": {**CODES, "always_ram": True}}}, {"codes.v": "pinned"}),
    ({"quantization_config": {"scalar": {**CODES, "always_ram": False}}}, {"codes.v": "cached"}),
    ({"hnsw_config": {"on_disk": True}}, {"sketch.v": "cold"}),
    ({"hnsw_config": {"on_disk": False}}, {"sketch.v": "pinned"}),
    ({"sparse_vectors_config": {"s": {"index": {"on_disk": True}}}}, {"postings.s": "cold"}),
    ({"collection_params": {"on_disk_payload": True}}, {"payload": "cold"}),
    ({"collection_params": {"on_disk_payload": False}}, {"payload": "cached"}),
    # ``memory`` counts more.
    (
        {"vectors_config": {"v": {"on_disk": True, "memory": "pinned"}}},
        {"vectors.v": "pinned"},
    ),
    (
        {"quantization_config": {"scalar": {**CODES, "always_ram": True, "memory": "cold"}}},
        {"codes.v": "cold"},
    ),
]


@pytest.mark.parametrize("number", range(len(OLDER)))
def test_the_older_names(db: VecDB, number: int) -> None:
    change, expected = OLDER[number]
    db.update_collection("c", **change)
    found = {name: array.placement for name, array in arrays(db).items()}
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    "change",
    [
        {"vectors_config": {"v": {"memory": "warm"}}},
        {"hnsw_config": {"memory": "ram"}},
        {"collection_params": {"payload": {"memory": "disk"}}},
        {"collection_params": {"id_tracker": {"memory": 1}}},
        {"quantization_config": {"scalar": {**CODES, "memory": True}}},
        {"sparse_vectors_config": {"s": {"index": {"memory": "Cold"}}}},
    ],
)
def test_another_word_is_refused(db: VecDB, change: dict[str, Any]) -> None:
    before = models.to_builtins(db.get_collection("c").config)
    with pytest.raises(InvalidInputError, match="'cold', 'cached', 'pinned'"):
        db.update_collection("c", **change)
    assert models.to_builtins(db.get_collection("c").config) == before


def test_switching_while_threads_search(db: VecDB) -> None:
    """Whoever reads keeps its view: every answer is the one that it was before."""
    collection, stop, wrong = db.collection("c"), threading.Event(), []

    def found_of(query: Any) -> list[Any]:
        return [hit.id for hit in collection.query_points(query, using="v").points]

    expected = [found_of(query) for query in QUERIES]

    def search() -> None:
        while not stop.is_set():
            for query, ids in zip(QUERIES, expected, strict=True):
                found = found_of(query)
                if found != ids:
                    wrong.append(found)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            for part in ("originals", "codes", "index", "ids", "payload"):
                for memory in MEMORY:
                    place(db, part, memory)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_what_would_be_pinned_is_known_without_opening_it(db: VecDB) -> None:
    """And with ``cached`` in its place nothing is."""
    place(db, "originals", "pinned")
    place(db, "ids", "pinned")
    [state] = db.collection("c")._store.files.values()
    segment = state.segment
    sizes = segment.placements.pinned_parts(segment.row)
    opened = [a for a in segment.arrays.values() if a.placement == "pinned"]
    assert {("originals", "v"), ("index", "v"), ("ids", "")} <= sizes.keys()
    more = sum(sizes.values()) - sum(array.anonymous_size for array in opened)
    assert 0 <= more < len(opened) * (4096 + os.sysconf("SC_PAGESIZE"))
    assert segment.placements.demoted().pinned_parts(segment.row) == {}
    cold = Placements({"v": VectorPlacements("cold", "pinned", "cold")}, ids="cold")
    assert cold.demoted() == Placements({"v": VectorPlacements("cold", "cached", "cold")}, "cold")
