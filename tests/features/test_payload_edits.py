"""An edit of payloads changes payloads: its rows keep their place, their vectors, their index."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofs.model.oracle import require_sound
from vecdb import VecDB, models
from vecdb.engine.optimize import build as build_module
from vecdb.engine.read import reader
from vecdb.engine.repair.check import check_database
from vecdb.engine.repair.rebuild import repair_database
from vecdb.engine.store import Store
from vecdb.engine.write import checkpoint, effects, writer
from vecdb.errors import CorruptionError, InvalidInputError
from vecdb.storage import fs, layout, payload_edits
from vecdb.storage.catalog import Catalog

DIM = 16
ROWS = 400
VECTORS = np.random.default_rng(3).standard_normal((ROWS, DIM)).astype(np.float32)
QUIET: Any = {"max_optimization_threads": 0}
OpenDB = Callable[..., VecDB]


def points(numbers: Any, **payload: Any) -> models.Batch:
    ids = list(numbers)
    payloads = [{"n": n, "kind": n % 5, **payload} for n in ids]
    return models.Batch(ids=ids, vectors=VECTORS[ids], payloads=payloads)


def kind(value: Any) -> Any:
    return {"must": [{"key": "kind", "match": {"value": value}}]}


def create(db: VecDB, **optimizer: Any) -> None:
    db.create_collection(
        "c", {"size": DIM, "distance": "Dot"}, optimizers_config={**QUIET, **optimizer}
    )


@pytest.fixture
def db(open_db: OpenDB) -> VecDB:
    """Points in two file segments, which nothing rewrites unasked."""
    db = open_db()
    create(db, indexing_threshold=0)
    for start in (0, ROWS // 2):
        db.upsert("c", points(range(start, start + ROWS // 2)))
        db.flush("c")
    return db


def store_of(db: VecDB) -> Store:
    return db.collection("c")._store


def payloads(db: VecDB) -> dict[Any, Any]:
    """All payloads, which everything that reads them must give alike; and versions."""
    records, _ = db.scroll("c", limit=10_000)
    found = {record.id: record.payload for record in records}
    assert {r.id: r.payload for r in db.retrieve("c", list(found))} == found
    hits = db.search("c", VECTORS[0], limit=10_000, search_params={"exact": True})
    assert {hit.id: hit.payload for hit in hits} == found
    for value in (1, 3, "edited"):
        ids = {i for i, payload in found.items() if payload.get("kind") == value}
        assert db.count("c", kind(value)).count == len(ids)
        assert {r.id for r in db.scroll("c", kind(value), limit=10_000)[0]} == ids
        hits = db.search("c", VECTORS[1], query_filter=kind(value), limit=10_000)
        assert {hit.id for hit in hits} == ids
    return {hit.id: (hit.version, hit.payload) for hit in db.search("c", VECTORS[0], limit=10_000)}


def rebuild(db: VecDB, during: Callable[[], None] = lambda: None) -> None:
    """All file segments become one; something else happens when their rows have been copied."""
    store, done = store_of(db), []

    def progress(*_: int) -> None:
        if not done:
            done.append(True)
            during()

    build_module.build(store, tuple(store.files), progress=progress)
    assert len(store.files) == 1


def in_another_thread(work: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def edit_files(db: VecDB) -> list[Path]:
    return sorted(db.path.glob("collections/*/segments/*/payload-edits.*"))


def after_a_kill(db: VecDB, path: Path) -> VecDB:
    """What another process would find if this one were killed now."""
    shutil.copytree(db.path, path)
    return VecDB(path)


# -- what stays where it is --------------------------------------------------------------------


def test_rows_keep_their_index_and_segments(open_db: OpenDB) -> None:
    db = open_db()
    create(db, indexing_threshold=1)
    db.upsert("c", points(range(ROWS)))
    assert db.wait_for_optimizer("c", timeout=60)
    before = db.get_collection("c")
    assert before.indexed_vectors_count == ROWS
    db.set_payload("c", {"seen": True}, kind(3))
    db.overwrite_payload("c", {"kind": "edited"}, [0, 1])
    db.flush("c")
    assert db.wait_for_optimizer("c", timeout=60)
    after = db.get_collection("c")
    assert after.segments == before.segments
    assert after.indexed_vectors_count == ROWS
    assert payloads(db)[3][1] == {"n": 3, "kind": 3, "seen": True}


def test_vectors_do_not_count(db: VecDB, monkeypatch: pytest.MonkeyPatch) -> None:
    db.upsert("c", points(range(10)))
    for module in (writer, effects):
        monkeypatch.setattr(module, "MAX_OPERATION", 8 * ROWS + 216)
    before = store_of(db).memory.vector_bytes
    with pytest.raises(InvalidInputError, match="limit of one edit"):
        db.delete_vectors("c", [""], list(range(ROWS)))
    db.set_payload("c", {"kind": "edited"}, {"must_not": []})
    db.overwrite_payload("c", {"kind": "edited"}, list(range(ROWS)))
    db.delete_payload("c", ["n"], {"must_not": []})
    db.clear_payload("c", list(range(ROWS)))
    assert store_of(db).memory.vector_bytes == before
    assert all(payload == {} for _, payload in payloads(db).values())


def test_memory_is_bounded_by_checkpoints(db: VecDB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "MEMORY_LIMIT", 1 << 16)
    for number in range(4):
        db.set_payload("c", {"text": str(number) * 1000}, {"must_not": []})
        assert store_of(db).memory_size < 1 << 16
    assert payloads(db)[7][1]["text"] == "3" * 1000


def test_one_payload_for_many_points_is_made_once(db: VecDB) -> None:
    db.overwrite_payload("c", {"kind": "edited"}, list(range(ROWS)))
    made = [p for s in store_of(db).files.values() for p in s.edits._payloads]
    assert len(made) == ROWS
    assert len(set(map(id, made))) == 1


# -- what is read ------------------------------------------------------------------------------


def test_edits_in_memory_in_files_and_in_both(db: VecDB, tmp_path: Path) -> None:
    expected = payloads(db)

    def edit(how: str, ids: list[int], *given: Any) -> None:
        seq = getattr(db, how)("c", *given, ids).operation_id
        for point in ids:
            payload = dict(expected[point][1])
            if how == "set_payload":
                payload |= given[0]
            elif how == "overwrite_payload":
                payload = given[0]
            elif how == "clear_payload":
                payload = {}
            else:
                payload.pop("n", None)
            expected[point] = (seq, payload)

    for number in range(3):
        edit("set_payload", [1, 2, 3 + number, 250], {"kind": number})
        edit("set_payload", [2, 3, 251], {"kind": "edited"})
        assert payloads(db) == expected
        edit("overwrite_payload", [5, 260 + number], {"kind": 1})
        edit("delete_payload", [6, 7, 8 + number], ["n"])
        edit("clear_payload", [9, 399])
        assert payloads(db) == expected
        with after_a_kill(db, tmp_path / f"memory-{number}") as other:
            assert payloads(other) == expected
        db.flush("c")
        assert len(edit_files(db)) == 2
        assert payloads(db) == expected
        with VecDB(db.path, read_only=True) as other:
            assert payloads(other) == expected
        with after_a_kill(db, tmp_path / f"files-{number}") as other:
            assert payloads(other) == expected
    rebuild(db)
    assert edit_files(db) == []
    assert payloads(db) == expected
    db.close()
    with VecDB(db.path) as again:
        assert payloads(again) == expected


def test_edits_of_rows_that_are_in_memory(open_db: OpenDB, tmp_path: Path) -> None:
    db = open_db()
    create(db)
    db.upsert("c", points(range(20)))
    view = store_of(db).view
    db.set_payload("c", {"kind": "edited"}, [3, 4])
    assert store_of(db).memory.rows == 20
    assert payloads(db)[3] == (2, {"n": 3, "kind": "edited"})
    assert reader.count(view, reader.condition(kind("edited"), "filter")) == 0
    with after_a_kill(db, tmp_path / "killed") as other:
        assert payloads(other) == payloads(db)
    db.flush("c")
    assert edit_files(db) == []
    assert payloads(db)[3] == (2, {"n": 3, "kind": "edited"})


def test_a_walk_reads_each_row_by_itself(db: VecDB, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looked for each row as for thousands, which took ten times as long as to read it."""
    db.set_payload("c", {"flag": 1}, list(range(0, ROWS, 2)))
    db.flush("c")
    db.set_payload("c", {"flag": 2}, list(range(0, ROWS, 3)))
    expected = [2 if n % 3 == 0 else 1 if n % 2 == 0 else None for n in range(ROWS)]
    monkeypatch.setattr(payload_edits.PayloadEdits, "payloads", None)
    records, _ = db.scroll("c", limit=ROWS)
    assert [record.payload.get("flag") for record in records] == expected
    two = {"must": [{"key": "flag", "match": {"value": 2}}]}
    assert [r.id for r in db.scroll("c", two, limit=ROWS)[0]] == list(range(0, ROWS, 3))


def test_an_edited_point_is_replaced_deleted_and_given_vectors(db: VecDB) -> None:
    db.set_payload("c", {"kind": "edited"}, [1, 2, 3, 4])
    db.flush("c")
    db.set_payload("c", {"x": 1}, [3, 4])
    db.delete("c", [1])
    db.upsert("c", points([2]))
    db.update_vectors("c", [models.PointVectors(id=3, vector=VECTORS[7].tolist())])
    for _ in range(2):
        found = payloads(db)
        assert 1 not in found
        assert found[2][1] == {"n": 2, "kind": 2}
        assert found[3][1] == {"n": 3, "kind": "edited", "x": 1}
        assert found[4][1] == {"n": 4, "kind": "edited", "x": 1}
        [record] = db.retrieve("c", [3], with_vectors=True)
        assert record.vector == VECTORS[7].tolist()
        db.flush("c")


def test_a_view_sees_the_payloads_of_its_moment(db: VecDB) -> None:
    old = store_of(db).view
    condition = reader.condition(kind("edited"), "filter")
    db.set_payload("c", {"kind": "edited"}, [1, 300])
    middle = store_of(db).view
    db.set_payload("c", {"kind": "edited"}, [2])
    db.set_payload("c", {"kind": 0}, [1])
    for after in (lambda: None, lambda: db.flush("c"), lambda: rebuild(db), db.close):
        after()
        assert reader.matching_keys(old, condition) == []
        assert reader.matching_keys(middle, condition) == [1, 300]
        [one] = reader.retrieve(middle, [1], reader.Wanted(True, []))
        assert one.payload == {"n": 1, "kind": "edited"}


def test_a_dead_row_stays_in_an_older_view_of_a_remembered_filter(db: VecDB) -> None:
    db.set_payload("c", {"kind": "edited"}, [1, 2])
    view = store_of(db).view
    db.delete("c", [1])
    condition = reader.condition(kind("edited"), "filter")
    assert reader.matching_keys(store_of(db).view, condition) == [2]
    assert reader.matching_keys(view, condition) == [1, 2]


def test_a_filter_is_tested_on_what_was_edited_since(db: VecDB) -> None:
    def tested() -> int:
        found = db.query_points("c", VECTORS[0], query_filter=kind("edited"), explain=True)
        stages = [stage for segment in found.explanation for stage in segment.stages]
        return sum(stage.rows for stage in stages if stage.by == "filter")

    assert tested() == ROWS
    db.set_payload("c", {"kind": "edited"}, [1, 2, 300])
    assert (tested(), tested()) == (3, 0)
    db.set_payload("c", {"kind": "edited"}, [2])
    assert (tested(), tested()) == (1, 0)


# -- the optimizer -----------------------------------------------------------------------------


@pytest.mark.parametrize("flushed", [False, True])
def test_edits_made_during_a_build_are_carried_over(
    db: VecDB, tmp_path: Path, flushed: bool
) -> None:
    db.set_payload("c", {"kind": "edited"}, [1, 2, 3, 250])
    db.flush("c")
    db.set_payload("c", {"x": 0}, [2, 3, 251])

    def during() -> None:
        db.set_payload("c", {"x": 1}, [3, 4, 252])
        db.delete("c", [5, 250])
        if flushed:
            db.flush("c")
            db.set_payload("c", {"x": 2}, [4, 6, 253])
            db.delete("c", [6])

    rebuild(db, during)
    expected = payloads(db)
    assert expected[1][1] == {"n": 1, "kind": "edited"}
    assert expected[2][1] == {"n": 2, "kind": "edited", "x": 0}
    assert expected[3][1] == {"n": 3, "kind": "edited", "x": 1}
    assert expected[4][1] == {"n": 4, "kind": 4, "x": 2 if flushed else 1}
    assert expected[251][1] == {"n": 251, "kind": 1, "x": 0}
    assert expected[252][1] == {"n": 252, "kind": 2, "x": 1}
    assert (253 in expected, 5 in expected, 6 in expected) == (True, False, not flushed)
    assert len(edit_files(db)) == flushed
    with after_a_kill(db, tmp_path / "killed") as other:
        assert payloads(other) == expected
    with VecDB(db.path, read_only=True) as other:
        assert payloads(other) == expected
    db.flush("c")
    assert payloads(db) == expected
    db.close()
    with VecDB(db.path) as again:
        assert payloads(again) == expected


def test_edits_made_during_a_checkpoint_are_carried_over(
    db: VecDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.upsert("c", points(range(10), again=True))
    db.set_payload("c", {"x": 0}, [1, 2, 3, 100, 101, 102, 300])
    build, killed = checkpoint._build, tmp_path / "killed"

    def write() -> None:
        db.set_payload("c", {"x": 1}, [2, 4, 101, 103, 300])
        db.delete("c", [3, 102])
        db.upsert("c", points([5, 104]))
        db.set_payload("c", {"x": 2}, [5, 4, 103])
        shutil.copytree(db.path, killed)

    def building(*given: Any) -> Any:
        in_another_thread(write)
        return build(*given)

    monkeypatch.setattr(checkpoint, "_build", building)
    db.flush("c")
    monkeypatch.undo()
    expected = payloads(db)
    assert [expected[n][1].get("x") for n in (1, 2, 4, 5)] == [0, 1, 2, 2]
    assert [expected[n][1].get("x") for n in (100, 101, 103, 104, 300)] == [0, 1, 2, None, 1]
    assert not {3, 102} & expected.keys()
    with VecDB(killed) as other:
        assert payloads(other) == expected
    with after_a_kill(db, tmp_path / "later") as other:
        assert payloads(other) == expected
    db.flush("c")
    assert payloads(db) == expected


def test_segments_that_a_checkpoint_takes_along(
    db: VecDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.set_payload("c", {"x": 0}, [1, 300])
    db.flush("c")
    db.set_payload("c", {"x": 1}, [1, 2, 301])
    db.upsert("c", points([7]))
    store = store_of(db)
    monkeypatch.setattr(checkpoint, "_absorbed", lambda store: tuple(store.files))
    build = checkpoint._build

    def building(*given: Any) -> Any:
        in_another_thread(lambda: db.set_payload("c", {"x": 2}, [2, 302, 7]))
        return build(*given)

    monkeypatch.setattr(checkpoint, "_build", building)
    db.flush("c")
    monkeypatch.undo()
    assert len(store.files) == 1
    expected = payloads(db)
    found = [expected[n][1].get("x") for n in (1, 2, 7, 300, 301, 302)]
    assert found == [1, 2, 2, 0, 1, 2]
    with after_a_kill(db, tmp_path / "killed") as other:
        assert payloads(other) == expected


# -- files -------------------------------------------------------------------------------------


def test_a_new_file_takes_up_those_not_much_larger(
    db: VecDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload_edits, "_SMALL", 0)
    half = list(range(ROWS // 2))
    db.set_payload("c", {"text": "x" * 500}, half)
    db.flush("c")
    [first] = edit_files(db)
    db.set_payload("c", {"text": "y"}, [1])
    db.flush("c")
    assert len(edit_files(db)) == 2
    db.set_payload("c", {"text": "z"}, [1, 2])
    db.flush("c")
    kept, taken = edit_files(db)
    assert kept == first
    assert payloads(db)[1][1]["text"] == "z"
    db.close()
    with VecDB(db.path) as again:
        found = payloads(again)
        assert [found[n][1]["text"] for n in (0, 1, 2)] == ["x" * 500, "z", "z"]
        again.set_payload("c", {"text": "w"}, half)
        again.flush("c")
        assert len(edit_files(again)) == 2
        again.set_payload("c", {"text": "v" * 500}, half)
        again.flush("c")
        assert len(edit_files(again)) == 1
        assert taken not in edit_files(again)
        assert {found[n][1]["text"] for found in [payloads(again)] for n in half} == {"v" * 500}
    require_sound(db.path)


def test_edits_of_rows_that_died_are_left_out(db: VecDB) -> None:
    db.set_payload("c", {"text": "x" * 500}, [1, 2, 3])
    db.delete("c", [1, 2])
    db.flush("c")
    [file] = edit_files(db)
    assert file.stat().st_size < 1000
    db.delete("c", [3])
    db.set_payload("c", {"x": 1}, [4])
    db.delete("c", [4])
    db.flush("c")
    assert edit_files(db) == []


def test_what_a_crash_leaves_is_removed(db: VecDB) -> None:
    db.set_payload("c", {"kind": "edited"}, [1])
    db.flush("c")
    [file] = edit_files(db)
    expected = payloads(db)
    db.close()
    leftovers = [file.with_name(layout.edits_file(n)) for n in (1, 99)]
    for leftover in leftovers:
        shutil.copy(file, leftover)
    report = check_database(db.path)
    assert report.ok
    assert report.collections[0].leftovers == 2
    with VecDB(db.path, read_only=True) as again:
        assert payloads(again) == expected
    with VecDB(db.path) as again:
        removed = again.collection("c").recovery.removed
        assert sorted(removed) == [f"{p.parent.name}/{p.name}" for p in leftovers]
        assert edit_files(again) == [file]
        assert payloads(again) == expected


@pytest.mark.parametrize("step", ["write", "sync_dir", "commit"])
def test_a_checkpoint_that_fails_forgets_nothing(
    db: VecDB, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str
) -> None:
    db.set_payload("c", {"kind": "edited"}, [1, 300])
    db.flush("c")
    db.set_payload("c", {"x": 1}, [1, 2, 300])
    db.upsert("c", points([5], x=2))
    expected, files = payloads(db), edit_files(db)
    with monkeypatch.context() as patch:

        def fail(*_: Any) -> None:
            raise OSError(5, "planted")

        if step == "write":
            patch.setattr(checkpoint, "write_edits", fail)
        elif step == "sync_dir":
            sync = fs.sync_dir
            patch.setattr(fs, "sync_dir", lambda p: fail() if p == files[1].parent else sync(p))
        else:
            patch.setattr(Catalog, "commit", fail)
        with pytest.raises(OSError, match="planted"):
            db.flush("c")
    assert payloads(db) == expected
    if step == "commit":  # nobody knows: what may have been committed must stay
        assert len(edit_files(db)) == 4
    else:
        assert edit_files(db) == files
        db.set_payload("c", {"x": 3}, [2, 5])
        expected = payloads(db)
        db.flush("c")
        assert payloads(db) == expected
    with after_a_kill(db, tmp_path / "killed") as other:
        assert payloads(other) == expected


def test_an_archive_takes_edits_along(db: VecDB, tmp_path: Path) -> None:
    db.set_payload("c", {"kind": "edited"}, [1, 300])
    db.flush("c")
    db.set_payload("c", {"x": 1}, [1, 2])
    expected = payloads(db)
    snapshot = db.create_snapshot("c")
    db.clear_payload("c", list(range(ROWS)))
    db.recover_snapshot("c", db.path / "snapshots" / "c" / snapshot.name)
    assert payloads(db) == expected


def test_memory_report_counts_them(db: VecDB) -> None:
    def figures(part: str) -> dict[str, int]:
        return db.collection("c").memory_report()["parts"][part]

    payload, memory = figures("payload"), figures("memory_segment")
    db.set_payload("c", {"text": "x" * 500}, [1, 2, 3])
    assert figures("memory_segment")["anonymous"] > memory["anonymous"] + 1500
    db.flush("c")
    assert figures("memory_segment")["anonymous"] == memory["anonymous"]
    assert figures("payload")["file"] > payload["file"] + 1500


# -- damage ------------------------------------------------------------------------------------


@pytest.fixture
def harmed(db: VecDB, tmp_path: Path) -> Path:
    """A database with payload edits, to be damaged: 200 edited points, 1 KB each."""
    db.set_payload("c", {"kind": "edited", "text": "x" * 1000}, list(range(200)))
    db.flush("c")
    shutil.copytree(db.path, tmp_path / "harmed")
    return tmp_path / "harmed"


def damage(root: Path, at: int) -> Path:
    """Two bits of the file of payload edits flip, which nothing mends. Returns the file."""
    [file] = root.glob("collections/*/segments/*/payload-edits.*")
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    data[at + 1] ^= 1
    file.write_bytes(bytes(data))
    return file


def test_a_damaged_payload_is_not_served(harmed: Path) -> None:
    file = damage(harmed, -70_000)
    with VecDB(harmed, read_only=True) as db:
        with pytest.raises(CorruptionError, match=file.name):
            db.scroll("c", limit=200)
        [record] = db.retrieve("c", [300])
        assert record.payload == {"n": 300, "kind": 0}
    assert {problem.path for problem in check_database(harmed).problems} == {str(file)}


def test_damaged_payloads_keep_no_others_back(harmed: Path) -> None:
    file = damage(harmed, -70_000)
    with VecDB(harmed) as db:
        for number in range(3):
            db.set_payload("c", {"x": number}, [300, 199])
            db.flush("c")
            assert len(list(file.parent.glob("payload-edits.*"))) == 2
        with pytest.raises(CorruptionError, match=file.name):
            db.scroll("c", limit=200)
        db.set_payload("c", {"x": 1}, [199])
        db.overwrite_payload("c", {"kind": "edited"}, list(range(200)))
        db.flush("c")
        assert payloads(db)[77][1] == {"kind": "edited"}
    require_sound(harmed)


@pytest.mark.parametrize("how", ["head", "missing", "short"])
def test_damage_of_all_is_damage_of_the_collection(harmed: Path, how: str) -> None:
    file = damage(harmed, 100)
    if how == "missing":
        file.unlink()
    elif how == "short":
        file.write_bytes(file.read_bytes()[:-8])
    with VecDB(harmed) as db:
        assert file.name in str(db.damaged["c"])
    assert {problem.path for problem in check_database(harmed).problems} == {str(file)}


def test_repair_keeps_the_edits_that_are_whole(harmed: Path, tmp_path: Path) -> None:
    damage(harmed, -70_000)
    report = repair_database(harmed, tmp_path / "saved")
    [found] = report.collections
    assert (found.lost, found.uncertain) == (0, 0)
    assert 0 < found.partly_lost < 150
    with VecDB(tmp_path / "saved") as saved:
        kinds = [payload.get("kind") for _, payload in payloads(saved).values()]
        assert len(kinds) == ROWS
        assert kinds.count("edited") == 200 - found.partly_lost
        assert kinds.count(None) == found.partly_lost


@pytest.mark.parametrize("how", ["head", "missing"])
def test_repair_says_where_payloads_may_be_old(harmed: Path, tmp_path: Path, how: str) -> None:
    file = damage(harmed, 100)
    if how == "missing":
        file.unlink()
    report = repair_database(harmed, tmp_path / "saved")
    [found] = report.collections
    assert not report.complete
    assert (found.saved, found.lost, found.partly_lost) == (ROWS, 0, 0)
    assert found.uncertain == ROWS // 2


def test_repair_finds_edits_without_a_catalog(db: VecDB, tmp_path: Path) -> None:
    db.set_payload("c", {"kind": "edited"}, [1, 300])
    db.flush("c")
    db.set_payload("c", {"x": 1}, [1, 2])
    expected = {point: payload for point, (_, payload) in payloads(db).items()}
    shutil.copytree(db.path, tmp_path / "killed")
    [catalog] = (tmp_path / "killed").glob("collections/*/catalog/data.mdb")
    catalog.write_bytes(bytes(catalog.stat().st_size))
    repair_database(tmp_path / "killed", tmp_path / "saved")
    with VecDB(tmp_path / "saved") as saved:
        assert {point: payload for point, (_, payload) in payloads(saved).items()} == expected
