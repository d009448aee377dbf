"""``memory_report`` against what the kernel says of the process."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from vecdb import VecDB, models
from vecdb.engine.memory import report as footprint
from vecdb.engine.memory.explanation import explained

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

FIGURES = {"file", "anonymous", "mapped", "resident"}
MB = 1 << 20


def collection_files(db: VecDB) -> list[Path]:
    return [p for p in db.path.glob("collections/*/**/*") if p.is_file()]


def resident_of(paths: list[Path]) -> int:
    """Resident bytes of all mappings of these files, read from /proc/self/smaps by hand."""
    names = {str(path.resolve()) for path in paths}
    total, counts = 0, False
    with open("/proc/self/smaps") as smaps:
        for line in smaps:
            words = line.split(maxsplit=5)
            if "-" in words[0] and not words[0].endswith(":"):
                counts = len(words) == 6 and words[5].strip() in names
            elif counts and words[0] == "Rss:":
                total += int(words[1]) * 1024
    return total


def make(path: Path, rows: int, dim: int, memmap: int = 0, always_ram: bool = True) -> VecDB:
    db = VecDB(path, sync="never")
    db.create_collection(
        "c",
        {"size": dim, "distance": "Cosine"},
        quantization_config={"scalar": {"type": "int8", "always_ram": always_ram}},
        optimizers_config={"indexing_threshold": 100, "memmap_threshold": memmap},
    )
    vectors = np.random.default_rng(1).standard_normal((rows, dim), dtype=np.float32)
    payloads = [{"n": n, "text": "x" * (n % 50)} for n in range(rows)]
    db.upsert("c", models.Batch(ids=np.arange(rows), vectors=vectors, payloads=payloads))
    db.flush("c")
    assert db.wait_for_optimizer("c", timeout=120)
    return db


def check_shape(report: dict[str, Any]) -> None:
    assert set(report) == {
        *("parts", "total", "vectors", "columns", "segments", "demoted", "explanation")
    }
    for part in [*report["parts"].values(), report["total"]]:
        assert set(part) == FIGURES
        assert all(type(value) is int and value >= 0 for value in part.values())
        assert part["resident"] <= part["mapped"] + 4096
    for figure in FIGURES:
        assert report["total"][figure] == sum(p[figure] for p in report["parts"].values())
    for part, figures in report["parts"].items():
        if part not in ("wal", "catalog"):  # which are of no segment
            for figure in FIGURES:
                each = [s["parts"].get(part, {}).get(figure, 0) for s in report["segments"]]
                assert figures[figure] == sum(each)


def test_an_empty_collection(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        report = db.memory_report("c")
        check_shape(report)
        assert report == db.collection("c").memory_report()
        assert report["parts"]["originals"] == dict.fromkeys(FIGURES, 0)


def test_the_memory_segment_counts(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db", sync="never") as db:
        db.create_collection("c", {"size": 256, "distance": "Dot"})
        vectors = np.ones((2000, 256), np.float32)
        db.upsert("c", models.Batch(ids=np.arange(2000), vectors=vectors))
        part = db.memory_report("c")["parts"]["memory_segment"]
        assert vectors.nbytes <= part["anonymous"] < 2.5 * vectors.nbytes
        assert db.memory_report("c")["parts"]["wal"]["file"] >= vectors.nbytes
        db.flush("c")
        parts = db.memory_report("c")["parts"]
        assert parts["memory_segment"]["anonymous"] < MB
        assert parts["wal"]["file"] < 4096
        assert parts["originals"]["anonymous"] >= vectors.nbytes


def held_by(work: Callable[[], object]) -> int:
    """Bytes that are in use after some work and were not before, as Python's allocators count."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


FIELDS: dict[str, tuple[str, dict[str, Any]]] = {
    "number": ("integer", {"range": {"gte": 10}}),
    "word": ("keyword", {"match": {"value": "word 1"}}),
    "text": ("text", {"match": {"text": "three"}}),
    "at": ("geo", {"geo_radius": {"center": {"lon": 1, "lat": 2}, "radius": 1e6}}),
}


def with_fields(db: VecDB, name: str, rows: int) -> None:
    db.create_collection(
        name, {"size": 1, "distance": "Dot"}, optimizers_config={"max_optimization_threads": 0}
    )
    payloads = [
        {
            "number": n * 7,
            "word": f"word {n % 2000}",
            "text": f"one two three {n}",
            "at": {"lon": n % 180, "lat": n % 80},
        }
        for n in range(rows)
    ]
    vectors = np.ones((rows, 1), dtype=np.float32)
    db.upsert(name, models.Batch(ids=np.arange(rows), vectors=vectors, payloads=payloads))


def ask_all(db: VecDB, name: str) -> None:
    for key, (_, condition) in FIELDS.items():
        db.count(name, {"must": [{"key": key, **condition}]})


def test_columns_of_points_in_memory_and_of_edits_count(tmp_path: Path) -> None:
    """Reads make them and keep them, in private memory that no part of the report had."""

    def private() -> int:
        return int(db.memory_report("c")["parts"]["columns"]["anonymous"])

    with VecDB(tmp_path / "db", sync="never") as db:
        for name in ("warm", "c"):
            with_fields(db, name, 6000)
            for field, (schema, _) in FIELDS.items():
                db.create_payload_index(name, field, schema)
        ask_all(db, "warm")  # what is imported and compiled by it
        assert private() == 0
        held = held_by(lambda: ask_all(db, "c"))
        assert 1_000_000 < 0.9 * held < private() < 1.1 * held
        db.flush("c")
        files = sum(p.stat().st_size for p in db.path.glob("collections/c/segments/*/column.*"))
        part = db.memory_report("c")["parts"]["columns"]
        assert (part["anonymous"], part["file"]) == (0, files)
        assert files < part["mapped"] < files + 4 * 4096
        for _ in range(2):  # edits in memory, then in a file
            db.set_payload("c", {"number": 5, "word": "other"}, list(range(2000)))
            held = held_by(lambda: ask_all(db, "c"))
            assert 50_000 < 0.8 * held < private() < 1.1 * held
            db.flush("c")
            assert private() == 0


def test_what_is_remembered_of_filters_counts(tmp_path: Path) -> None:
    rows, filters = 8_000, 3
    with VecDB(tmp_path / "db", sync="never") as db:
        with_fields(db, "c", rows)
        db.flush("c")
        assert db.memory_report("c")["parts"]["filters"]["anonymous"] == 0
        for n in range(filters):
            db.count("c", {"must": [{"key": "number", "range": {"gte": n}}]})
        part = db.memory_report("c")["parts"]["filters"]
        assert part == {**dict.fromkeys(FIGURES, 0), "anonymous": filters * rows // 4}


def test_one_look_at_the_process_does_for_all_collections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To report five hundred collections one by one took minutes: each asks about all mappings."""
    with VecDB(tmp_path / "db", sync="never") as db:
        for number in range(5):
            db.create_collection(f"c{number}", {"size": 8, "distance": "Dot"})
            db.upsert(f"c{number}", [{"id": n, "vector": [n] * 8} for n in range(number + 1)])
        db.flush()
        db.upsert("c1", [{"id": 7, "vector": [1] * 8}])
        looks: list[Path] = []
        real = footprint.resident_by_file
        with monkeypatch.context() as patch:
            patch.setattr(
                footprint, "resident_by_file", lambda path: looks.append(path) or real(path)
            )
            report = db.memory_report()
        assert len(looks) == 1
        assert set(report) == {"collections", "total", "memory_limit", "process"}
        process = report["process"]
        assert process["own"]["anonymous"] == process["anonymous"] - report["total"]["anonymous"]
        assert process["own"]["resident"] == process["resident"] - report["total"]["resident"]
        assert report["collections"] == {f"c{n}": db.memory_report(f"c{n}") for n in range(5)}
        for figure in FIGURES:
            each = [part["total"][figure] for part in report["collections"].values()]
            assert report["total"][figure] == sum(each)
        assert report["total"]["resident"] > 0


@pytest.mark.parametrize(
    ("memmap", "always_ram", "originals", "codes"),
    [
        (0, True, "anonymous", "anonymous"),
        (100, True, "mapped", "anonymous"),
        (100, False, "mapped", "mapped"),
    ],
    ids=["all in RAM", "originals on disk", "all on disk"],
)
def test_figures_agree_with_the_kernel(
    tmp_path: Path, memmap: int, always_ram: bool, originals: str, codes: str
) -> None:
    rows, dim = 3000, 128
    with make(tmp_path / "db", rows, dim, memmap, always_ram) as db:
        db.search("c", np.ones(dim), limit=5)
        report = db.memory_report("c")
        check_shape(report)
        parts = report["parts"]

        # file: what stat says, of every file there is
        stats = {p: p.stat().st_size for p in collection_files(db)}
        segments = sum(size for p, size in stats.items() if "segments" in p.parts)
        logs = sum(size for p, size in stats.items() if "wal" in p.parts)
        data = sum(parts[n]["file"] for n in parts if n not in ("wal", "catalog"))
        assert data == segments
        assert parts["wal"]["file"] == logs
        mdb = next(p for p in stats if p.name == "data.mdb")
        assert parts["catalog"]["file"] == mdb.stat().st_size

        # placement
        for name, placement, size in (
            ("originals", originals, 4 * rows * dim),
            ("codes", codes, rows * dim),
        ):
            other = "mapped" if placement == "anonymous" else "anonymous"
            assert size <= parts[name][placement] < 1.1 * size + 8192
            assert parts[name][other] == 0

        words = report["explanation"]
        assert "originals" in words
        assert "codes" in words
        assert (" pinned" in words) == ("anonymous" in (originals, codes))
        [segment] = report["segments"][:1]
        assert segment["vectors"][""]["originals"] == parts["originals"]
        assert segment["vectors"][""]["codes"] == parts["codes"]

        # resident: what the kernel says of the mappings of these files
        files = [p for p in stats if "segments" in p.parts]
        resident = sum(parts[n]["resident"] for n in parts if n not in ("wal", "catalog"))
        assert resident == resident_of(files)
        names = {str(p.resolve()) for p in files}
        maps = psutil.Process().memory_maps(grouped=True)
        assert resident == sum(m.rss for m in maps if m.path in names)
        assert parts["catalog"]["resident"] == resident_of([mdb])

        # and after every page has been touched: those of a cold file are given up behind
        db.scroll("c", limit=rows, with_vectors=True)
        db.search("c", np.ones(dim), limit=5, search_params={"exact": True})
        parts = db.memory_report("c")["parts"]
        if originals == "mapped":
            assert parts["originals"]["resident"] < rows * dim
            db.update_collection("c", vectors_config={"": {"memory": "cached"}})
            db.search("c", np.ones(dim), limit=5, search_params={"exact": True})
            parts = db.memory_report("c")["parts"]
            assert parts["originals"]["resident"] >= 4 * rows * dim
        resident = sum(parts[n]["resident"] for n in parts if n not in ("wal", "catalog"))
        assert resident == resident_of(files)


MEASURE = """
import gc, json, re, sys
import numpy as np, psutil
from vecdb import VecDB

def anonymous():
    gc.collect()
    status = open("/proc/self/status").read()
    return int(re.search(r"RssAnon:\\s+(\\d+)", status)[1]) * 1024

def unique():
    return psutil.Process().memory_full_info().uss

path, small = sys.argv[1:]
with VecDB(small) as db:                       # everything is imported and warm
    db.search("c", np.ones(256), limit=1)
    db.memory_report("c")
first, first_unique = anonymous(), unique()
db = VecDB(path)
opened = anonymous()
report = db.memory_report("c")
hit = db.search("c", np.ones(256), limit=1)[0]
searched = anonymous()
after = db.memory_report("c")
everything = db.memory_report()
print(json.dumps({
    "grown": opened - first, "grown_unique": unique() - first_unique,
    "searched": searched - first, "report": report, "after": after, "own": first,
    "all": everything, "anonymous": anonymous(),
}))
db.close()
"""


def measure(path: Path, small: Path) -> dict[str, Any]:
    command = [sys.executable, "-W", "error", "-c", MEASURE, str(path), str(small)]
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "0"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)  # type: ignore[no-any-return]


def test_a_fresh_process_has_what_the_report_says(tmp_path: Path) -> None:
    """60 MB in RAM cost 60 MB of anonymous memory, by smaps to 2 %; the same mapped costs next to
    none."""
    make(tmp_path / "small", 400, 256).close()
    rows = 48_000  # 47 MB of vectors, 12 MB of codes
    db = make(tmp_path / "db", rows, 256)
    assert db.get_collection("c").indexed_vectors_count == rows
    db.close()

    ram = measure(tmp_path / "db", tmp_path / "small")
    said = ram["report"]["total"]["anonymous"]
    assert said >= rows * 256 * 5
    assert abs(ram["grown"] - said) < 0.02 * said, (ram["grown"], said)
    assert abs(ram["searched"] - said) < 0.02 * said, (ram["searched"], said)
    shown = ram["all"]["process"]
    assert abs(shown["anonymous"] - ram["anonymous"]) < 0.02 * ram["anonymous"]
    assert abs(shown["own"]["anonymous"] - ram["own"]) < 0.02 * ram["anonymous"]
    resident = ram["after"]["total"]["resident"]
    assert abs(ram["grown_unique"] - said - resident) < 0.15 * said + 8 * MB

    with VecDB(tmp_path / "db") as db:
        db.update_collection(
            "c",
            optimizers_config={"memmap_threshold": 1},
            quantization_config={"scalar": {"type": "int8", "always_ram": False}},
        )
    disk = measure(tmp_path / "db", tmp_path / "small")
    assert disk["report"]["total"]["anonymous"] < MB
    assert disk["report"]["total"]["mapped"] >= rows * 256 * 5
    assert disk["grown"] < 6 * MB
    assert disk["searched"] < 10 * MB


def test_the_explanation() -> None:
    nothing = dict.fromkeys(FIGURES, 0)
    mapped = {"file": 88 * 10**6, "anonymous": 0, "mapped": 88 * 10**6, "resident": 3_140_000}
    pinned = {"file": 22 * 10**6, "anonymous": 22 * 10**6, "mapped": 0, "resident": 0}
    rows = {**nothing, "anonymous": 5_000_000}
    parts = {"originals": mapped, "codes": pinned, "seqs": nothing, "memory_segment": rows}
    assert explained(parts) == (
        "originals 88.0 MB mapped, 3.14 MB resident; codes 22.0 MB pinned; "
        "memory segment 5.00 MB in memory"
    )
    assert explained({"originals": nothing}) == "next to nothing in memory"


def test_switching_gives_the_memory_back(tmp_path: Path) -> None:
    def anonymous() -> int:
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    with make(tmp_path / "db", 16_000, 256) as db:  # 20 MB
        in_ram = anonymous()
        said = db.memory_report("c")["total"]["anonymous"]
        assert said > 20 * 1000 * 1000
        db.update_collection(
            "c",
            optimizers_config={"memmap_threshold": 1},
            quantization_config={"scalar": {"type": "int8", "always_ram": False}},
        )
        assert db.memory_report("c")["total"]["anonymous"] < MB
        assert anonymous() < in_ram - said // 2
