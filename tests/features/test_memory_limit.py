"""``memory_limit``: real processes stay within it while they take in, build and search."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from snapshot_tools import run

from vecdb import AsyncVecDB, VecDB, models
from vecdb.cli.main import main
from vecdb.engine.budget import LEAST, Budget
from vecdb.engine.read import remembered
from vecdb.errors import InvalidInputError, OverBudgetError

Floats = npt.NDArray[np.float32]

DIM = 1024
ROW = 4 * DIM


def rows(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((count, DIM), dtype=np.float32)


# -- real processes --------------------------------------------------------------------------

LIFE = """
import json, sys
import numpy as np
from vecdb import VecDB, models

path, codes = sys.argv[1:3]
limit, count, dim = map(int, sys.argv[3:])

def anonymous():
    for line in open("/proc/self/smaps_rollup"):
        if line.startswith("Anonymous:"):
            return 1024 * int(line.split()[1])

def batch(start, size):
    random = np.random.default_rng(start)
    points = np.random.default_rng(1).standard_normal((200, dim), dtype=np.float32)
    return points[random.integers(200, size=size)] + random.standard_normal((size, dim), np.float32)

def payloads_of(ids):
    return [{"word": f"word {n % 97}", "text": "z" * 200} for n in ids]

# What a process has that has used all of vecdb once, and what the caller holds, are not the
# database's.
with VecDB(path + "-small", sync="never") as db:
    db.create_collection(
        "c",
        models.VectorParams(size=dim, distance="Cosine"),
        quantization_config=None if codes == "none" else {codes: {"always_ram": True}},
        optimizers_config={"indexing_threshold": 1},
    )
    db.create_payload_index("c", "word", "keyword")
    held = models.Batch(ids=range(500), vectors=batch(0, 500), payloads=payloads_of(range(500)))
    db.upsert("c", held)
    db.wait_for_optimizer("c")
    db.query_points("c", query=batch(0, 10)[7], limit=5)
own = anonymous()
del held
print(json.dumps({"own": own}), flush=True)
with VecDB(path, memory_limit=limit, sync="never") as db:
    db.create_collection(
        "c",
        models.VectorParams(size=dim, distance="Cosine"),
        quantization_config=None if codes == "none" else {codes: {"always_ram": True}},
    )
    db.create_payload_index("c", "word", "keyword")
    for start in range(0, count, 500):
        size = min(500, count - start)
        ids = range(start, start + size)
        payloads = payloads_of(ids)
        db.upsert("c", models.Batch(ids=ids, vectors=batch(start, size), payloads=payloads))
    assert db.wait_for_optimizer("c", timeout=600)
    words = models.Filter(must=[models.FieldCondition(key="word", match={"value": "word 5"})])
    found = 0
    for start in range(0, count, max(500, count // 40 // 500 * 500)):
        query = batch(start, min(500, count - start))[7]
        hits = db.query_points("c", query=query, limit=5).points
        found += hits[0].id == start + 7
        hits = db.query_points("c", query=query, query_filter=words).points
        assert hits and all(hit.id % 97 == 5 for hit in hits)
    info = db.get_collection("c")
    print(json.dumps({
        "found": found,
        "searches": len(range(0, count, max(500, count // 40 // 500 * 500))),
        "points": db.count("c").count,
        "indexed": info.indexed_vectors_count,
        "codes": db.memory_report("c")["parts"]["codes"]["anonymous"],
        "originals": db.memory_report("c")["parts"]["originals"]["anonymous"],
    }), flush=True)
"""


def lived(path: Path, limit: int, count: int, codes: str) -> dict[str, Any]:
    """What a process has to say that lives within a limit, and ``most`` of the anonymous memory
    that the kernel counted for it meanwhile."""
    numbers = map(str, (limit, count, DIM))
    command = [sys.executable, "-c", LIFE, str(path), codes, *numbers]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    most, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.005):
            most = max(most, _anonymous(child.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        out, _ = child.communicate(timeout=900)
    finally:
        ended.set()
        watcher.join()
        child.kill()
    assert child.returncode == 0
    said: dict[str, Any] = {"most": most}
    for line in out.splitlines():
        said |= json.loads(line)
    return said


def _anonymous(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                return 1024 * int(line.split()[1])
    except OSError:  # it has ended
        pass
    return 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("codes", ["none", "binary"])
def test_five_times_the_limit_is_taken_in_built_and_searched_within_it(
    tmp_path: Path, codes: str
) -> None:
    limit = 64 << 20
    count = 5 * limit // ROW
    life = lived(tmp_path / "db", limit, count, codes)
    assert life["own"] < life["most"] <= life["own"] + limit
    assert life["points"] == life["indexed"] == count
    assert life["found"] >= 0.9 * life["searches"] > 0
    assert (life["codes"] > 0) == (codes == "binary"), "codes that were asked for have room"
    assert life["originals"] < limit, "not all of them have"


# -- what does not fit -----------------------------------------------------------------------


def pinned(path: Path, count: int = 6000, **vector: Any) -> Floats:
    """Make a database of vectors that are to be in memory."""
    vectors = rows(count)
    with VecDB(path, sync="never") as db:
        db.create_collection("c", {"size": DIM, "distance": "Cosine", **vector})
        db.upsert("c", models.Batch(ids=range(count), vectors=vectors))
        db.wait_for_optimizer("c")
    return vectors


def anonymous(db: VecDB, part: str = "originals") -> int:
    return int(db.memory_report("c")["parts"][part]["anonymous"])


@pytest.mark.parametrize("read_only", [False, True])
def test_opening_says_what_does_not_fit_and_what_to_change(tmp_path: Path, read_only: bool) -> None:
    pinned(tmp_path, on_disk=False)
    before = sorted(each for each in tmp_path.rglob("*") if each.is_file())
    with pytest.raises(OverBudgetError) as caught:
        VecDB(tmp_path, memory_limit=LEAST, read_only=read_only)
    assert sorted(each for each in tmp_path.rglob("*") if each.is_file()) == before
    said = str(caught.value)
    assert f"memory_limit of {LEAST:,} bytes" in said
    assert re.search(r"originals in segment \d+ of 'c': 24,5\d\d,\d{3}", said)
    assert "on_disk" in said
    assert "on_over_budget='demote'" in said
    [enough] = re.findall(r"memory_limit=([\d,]+)", said)
    size = int(enough.replace(",", ""))
    with pytest.raises(OverBudgetError):
        VecDB(tmp_path, memory_limit=size - size // 50, read_only=read_only)
    with VecDB(tmp_path, memory_limit=size, read_only=read_only) as db:
        assert anonymous(db) == pytest.approx(6000 * ROW, rel=0.01)


def test_what_does_not_fit_is_mapped_on_request_which_the_report_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = pinned(tmp_path, on_disk=False)
    with (
        caplog.at_level(logging.WARNING, "vecdb"),
        VecDB(tmp_path, memory_limit=LEAST, on_over_budget="demote") as db,
    ):
        assert anonymous(db) == 0 < anonymous(db, "sketches")
        [demoted] = db.memory_report("c")["demoted"]
        assert demoted["part"] == "originals"
        assert demoted["bytes"] > 6000 * ROW
        report = db.memory_report()
        assert report["memory_limit"] == LEAST
        found = db.query_points("c", query=vectors[17], limit=1)
        assert found.points[0].id == 17
    [warning] = [each.message for each in caplog.records if "leaves no room" in each.message]
    assert "originals in segment" in warning
    with VecDB(tmp_path) as db:  # without a limit they are where they were
        assert anonymous(db) >= 6000 * ROW
        report = db.memory_report()
        assert report["memory_limit"] is None
        assert report["collections"]["c"]["demoted"] == []


def test_what_nobody_asked_for_is_pinned_where_there_is_room(tmp_path: Path) -> None:
    pinned(tmp_path)
    with VecDB(tmp_path, memory_limit=LEAST) as db:
        assert anonymous(db) == 0 < anonymous(db, "sketches")
        assert db.memory_report("c")["demoted"] == []
    with VecDB(tmp_path, memory_limit="128MB") as db:
        assert anonymous(db) >= 6000 * ROW


def test_a_change_of_the_configuration_keeps_to_the_limit_at_once(tmp_path: Path) -> None:
    vectors = pinned(tmp_path, on_disk=True)

    def place(where: str) -> None:
        db.update_collection("c", vectors_config={"": models.VectorParamsDiff(memory=where)})

    with VecDB(tmp_path, memory_limit=LEAST) as db:
        assert anonymous(db) == 0
        place("pinned")
        assert anonymous(db) == 0
        assert [each["part"] for each in db.memory_report("c")["demoted"]] == ["originals"]
        assert db.query_points("c", query=vectors[3], limit=1).points[0].id == 3
        place("cached")
        assert db.memory_report("c")["demoted"] == []
    with VecDB(tmp_path, memory_limit="128MB") as db:
        place("pinned")
        assert anonymous(db) >= 6000 * ROW
        place("cold")
        assert anonymous(db) == 0


def test_a_collection_that_goes_makes_room_for_others(tmp_path: Path) -> None:
    with VecDB(tmp_path, memory_limit=LEAST, sync="never") as db:
        room = db._database.budget.pins
        count = int(0.8 * room) // ROW
        for name in "ab":
            db.create_collection(name, {"size": DIM, "distance": "Dot", "on_disk": False})
            db.upsert(name, models.Batch(ids=range(count), vectors=rows(count)))
            db.flush(name)
        assert len(db.memory_report("a")["demoted"]) + len(db.memory_report("b")["demoted"]) > 0
        assert db._database.budget.pinned <= room
        db.delete_collection("a")
        db.flush("b")
        db.update_collection("b", optimizers_config={"indexing_threshold": 0})
        assert db.memory_report("b")["demoted"] == []


# -- rows in memory, and what is remembered ----------------------------------------------------


def test_collections_share_the_room_for_rows_in_memory(tmp_path: Path) -> None:
    with VecDB(tmp_path, memory_limit=LEAST, sync="never") as db:
        budget = db._database.budget
        for number in range(6):
            db.create_collection(str(number), {"size": DIM, "distance": "Dot"})
        for start in range(0, 2400, 200):
            for number in range(6):
                points = models.Batch(ids=range(start, start + 200), vectors=rows(200, start))
                db.upsert(str(number), points)
                stores = db._database.stores()
                held = [store.unwritten_size for store in stores]
                assert max(held) <= budget.rows + 300 * ROW
                assert sum(held) <= 2 * budget.rows + 300 * ROW
        assert all(db.count(str(number)).count == 2400 for number in range(6))


def test_a_filter_makes_way_for_another_within_the_limit(tmp_path: Path) -> None:
    count = 200_000
    with VecDB(tmp_path, memory_limit=LEAST, sync="never") as db:
        db.create_collection("c", {}, optimizers_config={"automatic_indexes": False})
        for start in range(0, count, 20_000):
            ids = range(start, start + 20_000)
            db.upsert("c", models.Batch(ids=ids, vectors={}, payloads=[{"n": n % 9} for n in ids]))
        db.flush("c")
        db.wait_for_optimizer("c")
        store = db._database.store("c")
        for most in range(30):
            db.count("c", models.Filter(must=[{"key": "n", "range": {"lt": most / 4}}]))
        held = [state.segment for state in store.files.values()]
        kept = sum(map(remembered.private_bytes, held))
        filters = [len(remembered.matches_of(segment)) for segment in held]
        assert 0 < kept <= LEAST // 32 + len(held) * count // 4
        assert 1 <= max(filters) < 30


# -- everywhere ------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["", "much", "512", 0, True, 1.5e9])
def test_a_malformed_limit_makes_no_database(tmp_path: Path, given: Any) -> None:
    with pytest.raises(InvalidInputError, match="memory_limit: expected"):
        VecDB(tmp_path / "db", memory_limit=given)
    with pytest.raises(InvalidInputError, match="on_over_budget: expected"):
        VecDB(tmp_path / "db", on_over_budget=given)
    assert not (tmp_path / "db").exists()


def test_a_temporary_database_has_one_too() -> None:
    with VecDB(memory_limit="64MB") as db:
        db.create_collection("c", {"size": DIM, "distance": "Dot"})
        db.upsert("c", models.Batch(ids=range(3000), vectors=rows(3000)))
        assert db.memory_report()["memory_limit"] == 64_000_000
        assert db._database.store("c").unwritten_size <= db._database.budget.rows + 1000 * ROW


def test_a_database_for_coroutines_keeps_to_it(tmp_path: Path) -> None:
    pinned(tmp_path, on_disk=False)

    async def opened(**options: Any) -> Any:
        async with AsyncVecDB(tmp_path, **options) as db:
            return (await db.memory_report())["memory_limit"]

    assert asyncio.run(opened(memory_limit="32MiB", on_over_budget="demote")) == LEAST
    with pytest.raises(OverBudgetError):
        asyncio.run(opened(memory_limit="32MiB"))


def test_a_client_of_qdrants_keeps_to_it(tmp_path: Path) -> None:
    qdrant = pytest.importorskip("vecdb.qdrant")
    pinned(tmp_path, on_disk=False)
    with pytest.raises(OverBudgetError):
        qdrant.QdrantClient(path=tmp_path, memory_limit="32MiB")
    client = qdrant.QdrantClient(path=tmp_path, memory_limit="32MiB", on_over_budget="demote")
    assert client.memory_report()["memory_limit"] == LEAST
    client.close()
    with pytest.raises(InvalidInputError, match="memory_limit"):
        qdrant.QdrantClient(path=tmp_path, memory_limit="a lot")


def test_without_a_limit_nothing_is_counted(tmp_path: Path) -> None:
    pinned(tmp_path, count=100)
    with VecDB(tmp_path) as db:
        budget = db._database.budget
        assert isinstance(budget, Budget)
        assert budget.limit is None
        assert budget.pinned == 0 < anonymous(db)


def test_info_says_whether_it_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pinned(tmp_path, on_disk=False)
    assert main(["info", str(tmp_path), "--memory-limit", "32MiB"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "there is no room for what is said to be in memory: originals of c, segment" in said
    assert "24.6 MB" in said
    assert main(["info", str(tmp_path), "--memory-limit", str(128 << 20)]) == 0
    assert "all that is said to be in memory has room" in capsys.readouterr().out
    assert main(["info", str(tmp_path), "--memory-limit", "32"]) == 2
    assert "memory_limit: expected" in capsys.readouterr().err


def test_a_server_gives_its_processes_equal_parts(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    from vecdb.server.settings import Settings

    settings = Settings(directory=tmp_path, workers=4, memory_limit=4 * LEAST)
    assert Settings.unpacked(settings.packed()).memory_of_each == LEAST
    assert Settings(directory=tmp_path, workers=4).memory_of_each is None


def test_a_server_with_too_little_for_each_process_does_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("uvicorn")
    command = ["serve", str(tmp_path / "db"), "--memory-limit", "100MB", "--workers", "4"]
    assert main(command) == 2
    assert "memory_limit: expected at least" in capsys.readouterr().err
    assert not (tmp_path / "db").exists()


def test_a_server_opens_its_database_with_it(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    pinned(tmp_path / "db", on_disk=False)
    found = run("serve", tmp_path / "db", "--memory-limit", "32MiB", "--port", "0")
    assert found.returncode == 2
    assert "on_over_budget" in found.stderr
